// The desk's panel « Mesurer »: points at the same thing in two views, or once on the road, and shows
// what the server makes of it. It computes nothing itself.
import '../styles/street.scss'
import { create, icon } from '../lib/dom'
import type { Panorama } from './panorama'
import type { StreetViewer } from './viewer'

interface Click {
  panorama: string
  yaw_deg: number
  elevation_deg: number
}

interface Proposal extends Click {
  text: string
}

interface Point {
  x_m: number | null
  sigma_m: number | null
  error: string | null
  proposals: Proposal[]
}

interface Measured {
  text: string | null
  error: string | null
  provenance: string
  points: Point[]
}

interface Kept {
  id: string
  kind: Kind
  label: string | null
  text: string
  provenance: string
}

type Kind = 'point' | 'distance' | 'width' | 'height' | 'area'

const NEEDED: Record<Kind, number> = { point: 1, distance: 2, width: 2, height: 2, area: 3 }
const NAMES: Record<Kind, string> = {
  point: 'Position',
  distance: 'Distance',
  width: 'Largeur',
  height: 'Hauteur',
  area: 'Surface',
}
const SYNTHETIC = 'image de synthèse'

class MeasureError extends Error {}

function token(): string {
  const headers = JSON.parse(document.body.getAttribute('hx-headers') ?? '{}') as Record<string, string>
  return headers['X-CSRFToken'] ?? ''
}

/** The answer of the API; its French sentence as a MeasureError. */
async function ask<T>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  let answer: Response
  try {
    answer = await fetch(`/api/street/${path}`, {
      method,
      signal: signal ?? null,
      headers: { 'Content-Type': 'application/json', 'X-CSRFToken': token() },
      body: body === undefined ? null : JSON.stringify(body),
    })
  } catch (error) {
    if (signal?.aborted) throw error
    throw new MeasureError('Le serveur ne répond pas. Vérifiez votre connexion et réessayez.')
  }
  if (answer.ok) return (answer.status === 204 ? undefined : await answer.json()) as T
  const problem = (await answer.json().catch(() => ({}))) as { detail?: string }
  throw new MeasureError(problem.detail || 'La mesure ne peut pas être faite.')
}

function line(sight: Click[]): HTMLLIElement {
  return create('li', { text: sight.length === 1 ? '1 visée' : `${sight.length} visées` })
}

class MeasurePanel {
  private sights: Click[][] = [[]]
  private last: Measured | undefined
  private asking: AbortController | undefined

  constructor(
    private readonly panel: HTMLDetailsElement,
    private readonly viewer: StreetViewer,
  ) {
    viewer.addEventListener('street-point', (event) => this.pointed((event as CustomEvent<Click>).detail))
    viewer.addEventListener('street-panorama', () => this.mark())
    panel.addEventListener('toggle', () => this.mark())
    for (const input of panel.querySelectorAll('input[name="measure-kind"]'))
      input.addEventListener('change', () => this.restart())
    this.road.addEventListener('change', () => {
      this.part('height').hidden = !this.road.checked
      void this.measure()
    })
    this.camera.addEventListener('change', () => void this.measure())
    this.part('next').addEventListener('click', () => this.next())
    this.part('keep').addEventListener('click', () => void this.keep())
    this.part('undo').addEventListener('click', () => this.undo())
    this.part('clear').addEventListener('click', () => this.restart())
    panel.hidden = false
    this.write()
    void this.list()
  }

  private part(name: string): HTMLElement {
    return this.panel.querySelector<HTMLElement>(`[data-measure-${name}]`)!
  }

  private get road(): HTMLInputElement {
    return this.panel.querySelector<HTMLInputElement>('#measure-road')!
  }

  private get camera(): HTMLInputElement {
    return this.panel.querySelector<HTMLInputElement>('#measure-camera')!
  }

  private get label(): HTMLInputElement {
    return this.panel.querySelector<HTMLInputElement>('#measure-label')!
  }

  private get kind(): Kind {
    return this.panel.querySelector<HTMLInputElement>('input[name="measure-kind"]:checked')!.value as Kind
  }

  private get current(): Click[] {
    return this.sights[this.sights.length - 1]!
  }

  /** Whether every point is situated. */
  private get whole(): boolean {
    return this.last !== undefined && this.last.points.every((point) => point.x_m !== null)
  }

  /** Of the desk's tools the open one alone has the clicks. */
  private pointed(click: Click): void {
    if (!this.panel.open) return
    const same = this.current.findIndex((other) => other.panorama === click.panorama)
    const kept = { panorama: click.panorama, yaw_deg: click.yaw_deg, elevation_deg: click.elevation_deg }
    if (same >= 0) this.current[same] = kept
    else this.current.push(kept)
    this.mark()
    void this.measure()
  }

  private next(): void {
    this.sights.push([])
    this.write()
    this.panel.querySelector('h2')!.scrollIntoView({ block: 'nearest' })
  }

  private undo(): void {
    if (this.current.length === 0 && this.sights.length > 1) this.sights.pop()
    else this.current.pop()
    this.mark()
    void this.measure()
  }

  private restart(): void {
    this.sights = [[]]
    this.last = undefined
    this.asking?.abort()
    this.part('answer').hidden = true
    this.part('views').replaceChildren()
    this.mark()
    this.write()
  }

  private body(): { kind: Kind; points: unknown[] } {
    const sights = this.sights.filter((sight) => sight.length > 0)
    const kind = sights.length >= NEEDED[this.kind] ? this.kind : 'point'
    const height = Number(this.camera.value)
    const road = this.road.checked
      ? { on_road: true, ...(height > 0.2 && height < 10 ? { camera_height_m: height } : {}) }
      : {}
    const asked = kind === this.kind ? sights : sights.slice(-1)
    return { kind, points: asked.map((rays) => ({ rays, ...road })) }
  }

  /** Ask the server what the clicks give so far. A later click makes an earlier question void. */
  private async measure(): Promise<void> {
    this.asking?.abort()
    this.part('views').replaceChildren()
    if (this.sights.every((sight) => sight.length === 0)) {
      this.restart()
      return
    }
    const asking = (this.asking = new AbortController())
    try {
      this.last = await ask<Measured>('POST', 'measure', this.body(), asking.signal)
      this.answer()
    } catch (error) {
      if (asking.signal.aborted) return
      if (!(error instanceof MeasureError)) throw error
      this.last = undefined
      this.tell('warn', error.message)
    }
    this.write()
  }

  private answer(): void {
    const measured = this.last!
    const waits = this.current.length === 1 && !this.road.checked
    const proposals = measured.points.flatMap((point) => point.proposals)
    if (measured.text) {
      const asked = this.body().kind
      const made = measured.provenance === 'synthetic' ? ` (${SYNTHETIC})` : ''
      this.tell('ok', `${NAMES[asked]} : ${measured.text}${made}`)
    } else if (waits) this.part('answer').hidden = true
    else this.tell('warn', measured.error ?? 'La mesure ne peut pas être faite.')
    this.part('views').replaceChildren(...proposals.map((proposal) => this.proposal(proposal)))
  }

  private proposal(proposal: Proposal): HTMLButtonElement {
    const made = create('button', { className: 'btn btn-quiet', attributes: { type: 'button' } })
    made.append(icon('signpost'), proposal.text)
    made.addEventListener('click', () => {
      const { yaw_deg, elevation_deg } = proposal
      void this.viewer.show(proposal.panorama, { yaw_deg, elevation_deg })
    })
    return made
  }

  private tell(kind: 'ok' | 'warn', sentence: string): void {
    const answer = this.part('answer')
    answer.className = `answer answer-${kind}`
    answer.textContent = sentence
    answer.hidden = false
  }

  private write(): void {
    const kind = this.kind
    const clicks = this.sights.reduce((sum, sight) => sum + sight.length, 0)
    const situated = this.whole && this.current.length > 0
    const complete = situated && this.last?.text !== null && this.body().kind === kind
    const more = situated && (kind === 'area' || this.sights.length < NEEDED[kind])
    const hadFocus = this.panel.contains(document.activeElement) ? document.activeElement : null
    this.part('step').textContent = this.step(situated, complete)
    this.part('points').replaceChildren(...this.sights.filter((s) => s.length).map(line))
    this.part('next').hidden = !more
    this.part('keep').hidden = this.part('name').hidden = !complete
    for (const name of ['undo', 'clear']) (this.part(name) as HTMLButtonElement).disabled = clicks === 0
    // A button that has just gone leaves the focus to what says the next step.
    if (hadFocus instanceof HTMLElement && hadFocus.closest('[hidden]')) this.road.focus()
  }

  private step(situated: boolean, complete: boolean): string {
    const name = this.kind === 'point' ? 'le point' : `le point ${this.sights.length}`
    if (this.current.length === 0) return `Pointez ${name} dans la vue, d’un clic ou par la touche Espace.`
    if (complete && this.kind !== 'area') return 'Mesure faite. Une visée de plus l’affine.'
    if (situated) return 'Ce point est situé. Passez au suivant, ou visez-le encore pour l’affiner.'
    return 'Allez à une autre vue, et pointez le même point.'
  }

  /** Shows the clicks of the present view. */
  private mark(): void {
    const here: Panorama | undefined = this.viewer.panorama
    if (!here || !this.panel.open) return
    this.viewer.setMarkers(
      this.sights.flatMap((sight, index) =>
        sight
          .filter((click) => click.panorama === here.id)
          .map((click) => ({ ...click, id: `measure-${index}`, label: `Point ${index + 1}`, kind: 'measure' })),
      ),
    )
  }

  private async keep(): Promise<void> {
    try {
      await ask('POST', 'measurements', { ...this.body(), label: this.label.value })
    } catch (error) {
      if (!(error instanceof MeasureError)) throw error
      this.tell('warn', error.message)
      return
    }
    this.label.value = ''
    this.restart()
    this.tell('ok', 'Mesure gardée.')
    await this.list()
  }

  private async list(): Promise<void> {
    let items: Kept[]
    try {
      items = (await ask<{ items: Kept[] }>('GET', 'measurements')).items
    } catch (error) {
      if (!(error instanceof MeasureError)) throw error
      this.part('kept').replaceChildren(create('li', { text: error.message }))
      return
    }
    this.part('files').hidden = items.length === 0
    const lines = items.slice(0, 50).map((item) => this.kept(item))
    const none = create('li', { text: 'Aucune mesure gardée.' })
    this.part('kept').replaceChildren(...(lines.length ? lines : [none]))
  }

  private kept(item: Kept): HTMLLIElement {
    const row = create('li')
    const name = item.label ? `${NAMES[item.kind]}, ${item.label}` : NAMES[item.kind]
    const made = item.provenance === 'synthetic' ? ` (${SYNTHETIC})` : ''
    row.append(create('span', { text: `${name} : ${item.text}${made}` }))
    const erase = create('button', {
      className: 'btn btn-quiet',
      attributes: { type: 'button', title: 'Effacer cette mesure' },
    })
    erase.append(icon('trash'), create('span', { className: 'visually-hidden', text: `Effacer ${name}` }))
    erase.addEventListener('click', () => void this.erase(item))
    row.append(erase)
    return row
  }

  private async erase(item: Kept): Promise<void> {
    try {
      await ask('DELETE', `measurements/${encodeURIComponent(item.id)}`)
    } catch (error) {
      if (!(error instanceof MeasureError)) throw error
      this.tell('warn', error.message)
    }
    await this.list()
  }
}

const panel = document.querySelector<HTMLDetailsElement>('[data-street-measure]')
const viewer = document.querySelector<StreetViewer>('street-viewer')
if (panel && viewer) void customElements.whenDefined('street-viewer').then(() => new MeasurePanel(panel, viewer))
