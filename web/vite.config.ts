import { defineConfig } from 'vite'

export default defineConfig({
  base: '/static/',
  publicDir: false,
  build: {
    outDir: '../build/web',
    emptyOutDir: true,
    // Django's static storage recognises this folder as already hashed (core/staticfiles.py).
    assetsDir: 'web',
    // The strict policy serves fonts from files only.
    assetsInlineLimit: 0,
    manifest: 'manifest.json',
    modulePreload: { polyfill: false },
    target: 'es2022',
    // MapLibre alone weighs more than the default limit.
    chunkSizeWarningLimit: 1500,
    rolldownOptions: {
      input: ['src/main.ts', 'src/map.ts', 'src/street/viewer.ts', 'src/street/pages.ts', 'src/street/upload.ts', 'src/street/blur-request.ts', 'src/street/inventory.ts', 'src/street/measure.ts'],
      // HTMX holds an eval that its configuration (allowEval: false) never reaches.
      checks: { eval: false, pluginTimings: false },
    },
  },
  css: {
    preprocessorOptions: {
      scss: {
        // Bootstrap 5.3 still uses Sass's older functions.
        quietDeps: true,
        silenceDeprecations: ['import', 'global-builtin', 'color-functions', 'if-function'],
      },
    },
  },
})
