// MapLibre as every map here uses it: its worker from this site, its words in French.
import workerUrl from 'maplibre-gl/dist/maplibre-gl-worker.mjs?url'
import { setWorkerUrl } from 'maplibre-gl'

setWorkerUrl(workerUrl)

export const FRENCH = {
  'NavigationControl.ZoomIn': 'Agrandir',
  'NavigationControl.ZoomOut': 'Réduire',
  'NavigationControl.ResetBearing': 'Remettre le nord en haut',
  'Map.Title': 'Carte',
  'CooperativeGesturesHandler.WindowsHelpText':
    'Tenez la touche Ctrl et tournez la molette pour agrandir la carte',
  'CooperativeGesturesHandler.MacHelpText':
    'Tenez la touche ⌘ et faites défiler pour agrandir la carte',
  'CooperativeGesturesHandler.MobileHelpText': 'Déplacez la carte avec deux doigts',
}
