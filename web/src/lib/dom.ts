/** Elements matching `selector` that were not seen yet under `name`; each is returned once. */
export function unseen<T extends HTMLElement>(root: ParentNode, selector: string, name: string): T[] {
  const mark = `enhanced${name}`
  return [...root.querySelectorAll<T>(selector)].filter((element) => {
    if (element.dataset[mark]) return false
    element.dataset[mark] = 'yes'
    return true
  })
}

/** A new element with classes, text and attributes: text is never read as HTML. */
export function create<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  { className = '', text = '', attributes = {} as Record<string, string> } = {},
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag)
  if (className) element.className = className
  if (text) element.textContent = text
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value)
  return element
}

export function icon(name: string): HTMLElement {
  return create('i', { className: `bi bi-${name}`, attributes: { 'aria-hidden': 'true' } })
}

/** A link is followed only inside this site. */
export function sameOrigin(href: string): string | null {
  const url = new URL(href, location.href)
  return url.origin === location.origin && url.protocol.startsWith('http') ? url.href : null
}
