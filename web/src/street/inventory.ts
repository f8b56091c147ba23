// The inventory's panel of the desk: aim at an object in one or two views, and record it.
//   <form data-street-inventory data-items-url data-kinds-url data-page-url>
//   <ul data-street-near data-items-url data-page-url>: what is recorded near the present view.
import '../styles/street-inventory.scss'
import { create } from '../lib/dom'
import type { Panorama } from './panorama'
import type { StreetViewer } from './viewer'

interface Kind {
  code: string
  title: string
  family: string
  on_road: boolean
}

interface Item {
  id: string
  title: string
  state: string
  sigma_xy_m: number | null
  attributes: Record<string, string | number>
}

interface Ray {
  panorama: string
  yaw_deg: number
  elevation_deg: number
}

const STATES: Record<string, string> = {
  draft: 'à vérifier',
  confirmed: 'confirmé',
  planned: 'travaux prévus',
  repaired: 'réparé',
  gone: 'disparu',
}

async function read<T>(url: string): Promise<T[]> {
  const response = await fetch(url)
  if (!response.ok) throw new Error(`HTTP ${response.status}`)
  return ((await response.json()) as { items: T[] }).items
}

function sigma(item: Item): string {
  return item.sigma_xy_m === null ? '' : ` (± ${Math.max(1, Math.round(item.sigma_xy_m * 100))} cm)`
}

function linkTo(item: Item, page: string): HTMLElement {
  const code = item.attributes['code']
  return create('a', {
    text: code ? `${item.title} ${code}` : item.title,
    attributes: { href: `${page}${encodeURIComponent(item.id)}/` },
  })
}

class Recorder {
  private rays: Ray[] = []
  private kinds: Kind[] = []
  private readonly select: HTMLSelectElement
  private readonly list: HTMLElement
  private readonly told: HTMLElement
  private readonly aim: HTMLButtonElement

  constructor(
    private readonly form: HTMLFormElement,
    private readonly viewer: StreetViewer,
    private readonly near: Near | undefined,
  ) {
    this.select = form.querySelector('select[name=kind]')!
    this.list = form.querySelector('.street-rays')!
    this.told = form.querySelector('.street-told')!
    this.aim = form.querySelector('[data-aim]')!
    this.aim.addEventListener('click', () => this.setAiming(!this.aiming))
    form.querySelector('[data-aim-middle]')!.addEventListener('click', () => this.aimAtMiddle())
    this.tool?.addEventListener('toggle', () => this.toggled())
    form.addEventListener('submit', (event) => {
      event.preventDefault()
      void this.record()
    })
    addEventListener('street-point', (event) => {
      if (this.aiming) this.add((event as CustomEvent<Ray>).detail)
    })
    // What the viewer cleared when it went to another view.
    addEventListener('street-panorama', () => this.mark())
    void this.fillKinds()
  }

  private get tool(): HTMLDetailsElement | null {
    return this.form.closest('details')
  }

  /** A tool that is closed leaves the clicks to the other. */
  private toggled(): void {
    if (!this.tool?.open) this.aim.setAttribute('aria-pressed', 'false')
    this.mark()
  }

  private get aiming(): boolean {
    return this.aim.getAttribute('aria-pressed') === 'true'
  }

  private setAiming(on: boolean): void {
    this.aim.setAttribute('aria-pressed', String(on))
    if (on) this.viewer.querySelector('.street-frame')?.scrollIntoView({ block: 'nearest' })
    this.say(on ? "Cliquez sur l'objet, là où il touche le sol si vous le pouvez." : '')
  }

  private say(text: string, wrong = false): void {
    this.told.textContent = text
    this.told.classList.toggle('text-danger', wrong)
  }

  private async fillKinds(): Promise<void> {
    try {
      this.kinds = await read<Kind>(this.form.dataset['kindsUrl'] ?? '')
    } catch {
      this.say("Les sortes d'objets n'ont pas pu être lues : rechargez la page.", true)
      return
    }
    for (const family of new Set(this.kinds.map((kind) => kind.family))) {
      const group = create('optgroup', { attributes: { label: family } })
      for (const kind of this.kinds.filter((one) => one.family === family))
        group.append(create('option', { text: kind.title, attributes: { value: kind.code } }))
      this.select.append(group)
    }
  }

  private aimAtMiddle(): void {
    const view = this.viewer.view
    const panorama = this.viewer.getAttribute('panorama')
    if (!view || !panorama) this.say("La vue n'est pas encore là.", true)
    else this.add({ panorama, yaw_deg: view.yaw_deg, elevation_deg: view.elevation_deg })
  }

  /** One ray a view: aiming again in the same one replaces it. */
  private add({ panorama, yaw_deg, elevation_deg }: Ray): void {
    this.rays = [
      ...this.rays.filter((ray) => ray.panorama !== panorama),
      { panorama, yaw_deg, elevation_deg },
    ]
    this.setAiming(false)
    this.show()
    this.say(
      this.rays.length > 1 || this.kind?.on_road
        ? "Vous pouvez relever l'objet, ou le viser d'une autre vue pour être plus sûr."
        : 'Allez à une autre vue, à dix mètres si possible, et visez le même point.',
    )
  }

  private get kind(): Kind | undefined {
    return this.kinds.find((kind) => kind.code === this.select.value)
  }

  private show(): void {
    this.list.hidden = this.rays.length === 0
    this.list.replaceChildren(...this.rays.map((ray, index) => this.line(ray, index)))
    this.mark()
  }

  private line(ray: Ray, index: number): HTMLElement {
    const line = create('li')
    const here = ray.panorama === this.viewer.getAttribute('panorama')
    line.append(`Visée ${index + 1}${here ? ' (cette vue)' : ''} `)
    const remove = create('button', {
      className: 'btn btn-quiet btn-sm',
      text: 'Retirer',
      attributes: { type: 'button', 'aria-label': `Retirer la visée ${index + 1}` },
    })
    remove.addEventListener('click', () => {
      this.rays = this.rays.filter((one) => one !== ray)
      this.show()
      this.aim.focus()
    })
    line.append(remove)
    return line
  }

  /** The ray of the present view, drawn on it. */
  private mark(): void {
    if (!this.tool?.open) return
    const here = this.viewer.getAttribute('panorama')
    const marked = this.rays.filter((ray) => ray.panorama === here)
    this.viewer.setMarkers(marked.map((ray) => ({ id: 'visee', label: 'Visée', kind: 'item', ...ray })))
  }

  private async record(): Promise<void> {
    if (!this.rays.length) {
      this.say("Visez d'abord l'objet.", true)
      return
    }
    const fields = new FormData(this.form)
    const button = this.form.querySelector<HTMLButtonElement>('[type=submit]')!
    button.disabled = true
    try {
      const response = await fetch(this.form.dataset['itemsUrl'] ?? '', {
        method: 'POST',
        headers: {
          'Content-Type': 'application/json',
          'X-CSRFToken': String(fields.get('csrfmiddlewaretoken') ?? ''),
        },
        body: JSON.stringify({
          kind: fields.get('kind'),
          sightings: this.rays,
          state: fields.get('confirmed') ? 'confirmed' : 'draft',
        }),
      })
      const answer = (await response.json()) as Item & { detail?: string }
      if (!response.ok) {
        this.say(answer.detail ?? "L'objet n'a pas pu être relevé.", true)
        return
      }
      this.rays = []
      this.show()
      this.viewer.setMarkers([])
      this.say('')
      this.told.append('Relevé : ', linkTo(answer, this.form.dataset['pageUrl'] ?? ''), sigma(answer), '.')
      this.near?.refresh()
    } catch {
      this.say("Le réseau ne répond pas : rien n'est perdu, recommencez.", true)
    } finally {
      button.disabled = false
    }
  }
}

/** What is recorded within 30 m of the present view. */
class Near {
  private panorama = ''

  constructor(private readonly list: HTMLElement) {
    addEventListener('street-panorama', (event) => {
      this.panorama = (event as CustomEvent<Panorama>).detail.id
      this.refresh()
    })
  }

  refresh(): void {
    if (this.panorama) void this.show(this.panorama)
  }

  private async show(panorama: string): Promise<void> {
    const { itemsUrl = '', pageUrl = '' } = this.list.dataset
    try {
      const items = await read<Item>(`${itemsUrl}?near=${encodeURIComponent(panorama)}&limit=20`)
      if (panorama !== this.panorama) return
      const lines = items.map((item) => {
        const line = create('li')
        line.append(linkTo(item, pageUrl), `, ${STATES[item.state] ?? item.state}${sigma(item)}`)
        return line
      })
      this.list.replaceChildren(...(lines.length ? lines : [create('li', { text: 'Rien encore.' })]))
    } catch {
      this.list.replaceChildren(create('li', { text: "L'inventaire ne répond pas." }))
    }
  }
}

const nearList = document.querySelector<HTMLElement>('[data-street-near]')
const near = nearList ? new Near(nearList) : undefined
const form = document.querySelector<HTMLFormElement>('form[data-street-inventory]')
const viewer = document.querySelector<StreetViewer>('street-viewer')
if (form && viewer) new Recorder(form, viewer, near)
