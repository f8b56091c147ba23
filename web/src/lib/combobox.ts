// Search with suggestions, after the WAI-ARIA "editable combobox with list autocomplete" pattern.
// <input data-combobox-url="/api/…" data-combobox-target="ID of a hidden field"
//        data-combobox-href="/communes/{code}/">
import { create, sameOrigin, unseen } from './dom'

interface Item {
  code: string
  name: string
  postcodes?: string[]
  epci_name?: string | null
  found_as?: { name: string | null } | null
}

const SHOWN = 10
const PAUSE_MS = 150

function detail(item: Item): string {
  const former = item.found_as?.name ? `anciennement ${item.found_as.name}` : ''
  return [former, item.postcodes?.[0] ?? item.code, item.epci_name].filter(Boolean).join(' · ')
}

class Combobox {
  private readonly list: HTMLUListElement
  private readonly status: HTMLElement
  private readonly target: HTMLInputElement | null
  private items: Item[] = []
  private active = -1
  private pending: AbortController | undefined
  private timer = 0

  constructor(private readonly input: HTMLInputElement) {
    const id = `${input.id}-liste`
    this.list = create('ul', {
      className: 'combobox-list',
      attributes: { id, role: 'listbox', 'aria-label': 'Propositions' },
    })
    this.list.hidden = true
    this.status = create('div', { className: 'combobox-status', attributes: { role: 'status' } })
    this.target = document.getElementById(
      input.dataset['comboboxTarget'] ?? '',
    ) as HTMLInputElement | null
    input.after(this.list, this.status)
    for (const [name, value] of Object.entries({
      role: 'combobox',
      autocomplete: 'off',
      'aria-autocomplete': 'list',
      'aria-expanded': 'false',
      'aria-controls': id,
    }))
      input.setAttribute(name, value)
    input.addEventListener('input', () => this.changed())
    input.addEventListener('keydown', (event) => this.pressed(event))
    input.addEventListener('blur', () => this.close())
  }

  private changed(): void {
    if (this.target) this.target.value = ''
    clearTimeout(this.timer)
    this.pending?.abort()
    this.say('', false)
    const query = this.input.value.trim()
    if (query.length < 2) return this.close()
    this.timer = window.setTimeout(() => void this.ask(query), PAUSE_MS)
  }

  private async ask(query: string): Promise<void> {
    this.pending = new AbortController()
    const url = new URL(this.input.dataset['comboboxUrl'] ?? '', location.href)
    url.searchParams.set('q', query)
    try {
      const response = await fetch(url, { signal: this.pending.signal })
      if (!response.ok) throw new Error(String(response.status))
      this.items = ((await response.json()) as { items: Item[] }).items.slice(0, SHOWN)
      this.draw()
    } catch (error) {
      if ((error as Error).name === 'AbortError') return
      this.close()
      this.say('La recherche ne répond pas. Réessayez dans un instant.', true)
    }
  }

  private draw(): void {
    this.list.replaceChildren(...this.items.map((item, index) => this.option(item, index)))
    this.setActive(-1)
    const count = this.items.length
    this.list.hidden = count === 0
    this.input.setAttribute('aria-expanded', String(count > 0))
    if (count === 0) this.say('Aucune commune trouvée.', true)
    else this.say(`${count} ${count > 1 ? 'communes proposées' : 'commune proposée'}.`, false)
  }

  /** Told to everybody when the list has nothing to show, to screen readers always. */
  private say(words: string, toAll: boolean): void {
    this.status.textContent = words
    this.status.classList.toggle('visually-hidden', !toAll)
  }

  private option(item: Item, index: number): HTMLLIElement {
    const option = create('li', {
      attributes: { role: 'option', id: `${this.list.id}-${index}`, 'aria-selected': 'false' },
    })
    option.append(
      create('span', { text: item.name }),
      create('span', { className: 'detail', text: detail(item) }),
    )
    // Keeps the focus in the field, so that "blur" does not close the list before the click.
    option.addEventListener('mousedown', (event) => event.preventDefault())
    option.addEventListener('click', () => this.choose(index))
    return option
  }

  private setActive(index: number): void {
    this.active = index
    ;[...this.list.children].forEach((option, at) => {
      option.setAttribute('aria-selected', String(at === index))
      if (at === index) option.scrollIntoView({ block: 'nearest' })
    })
    if (index < 0) this.input.removeAttribute('aria-activedescendant')
    else this.input.setAttribute('aria-activedescendant', `${this.list.id}-${index}`)
  }

  private pressed(event: KeyboardEvent): void {
    if (event.isComposing) return
    if (event.key === 'Escape' && !this.list.hidden) {
      event.preventDefault()
      return this.close()
    }
    if (this.list.hidden) return
    const last = this.items.length - 1
    if (event.key === 'ArrowDown') this.setActive(this.active === last ? 0 : this.active + 1)
    else if (event.key === 'ArrowUp') this.setActive(this.active <= 0 ? last : this.active - 1)
    else if (event.key === 'Enter') this.choose(Math.max(this.active, 0))
    else return
    event.preventDefault()
  }

  private choose(index: number): void {
    const item = this.items[index]
    if (!item) return
    this.input.value = item.name
    if (this.target) this.target.value = item.code
    this.close()
    const pattern = this.input.dataset['comboboxHref']
    const href = pattern && sameOrigin(pattern.replace('{code}', encodeURIComponent(item.code)))
    if (href) location.assign(href)
    else this.input.dispatchEvent(new Event('change', { bubbles: true }))
  }

  private close(): void {
    clearTimeout(this.timer)
    this.pending?.abort()
    this.list.hidden = true
    this.input.setAttribute('aria-expanded', 'false')
    this.input.removeAttribute('aria-activedescendant')
  }
}

export function enhanceComboboxes(root: ParentNode): void {
  for (const input of unseen<HTMLInputElement>(root, 'input[data-combobox-url]', 'Combobox')) {
    new Combobox(input)
  }
}
