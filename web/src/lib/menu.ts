// Menus are <details>: they open without scripts, and close on Escape or a click elsewhere.
function closeMenus(except: Node | null): void {
  for (const menu of document.querySelectorAll<HTMLDetailsElement>('details.menu[open]')) {
    if (!except || !menu.contains(except)) menu.open = false
  }
}

function enhanceNavigationButton(button: HTMLButtonElement): void {
  const navigation = document.getElementById(button.getAttribute('aria-controls') ?? '')
  button.addEventListener('click', () => {
    const open = navigation?.classList.toggle('is-open') ?? false
    button.setAttribute('aria-expanded', String(open))
  })
}

export function enhanceMenus(root: ParentNode): void {
  root.querySelectorAll<HTMLButtonElement>('.menu-button').forEach(enhanceNavigationButton)
  document.addEventListener('click', (event) => closeMenus(event.target as Node))
  document.addEventListener('focusin', (event) => closeMenus(event.target as Node))
  document.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape') return
    const menu = (event.target as Element).closest<HTMLDetailsElement>('details.menu[open]')
    if (menu) {
      menu.open = false
      menu.querySelector('summary')?.focus()
    }
  })
}
