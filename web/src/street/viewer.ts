// <street-viewer panorama="ID">: one panorama, to look around, point at and walk on from.
//
// Attributes: `panorama`; `address` says what the browser's address follows: "page" (each view is
// the page /street/vue/<id>/), "query" (?panorama=<id> on the present page), otherwise nothing;
// `bare` leaves out the map and the text beneath (embedded frames); `unpublished` shows on the map
// also what is not published.
//
// Angles outside are the camera's: yaw 0 in the middle of the picture, growing to the right, and
// elevation from its horizon, as `engine/sphere.py` says. Events (they bubble):
// - street-panorama: a panorama is on the screen; detail: the JSON of /api/street/panoramas/<id>
// - street-point: somebody pointed; detail: {panorama, yaw_deg, elevation_deg}
// - street-marker: a marker was chosen; detail: {id}
// - street-view: the view turned; detail: {panorama, yaw_deg, elevation_deg, zoom, heading_deg (from
//   true north), fov_deg (vertical), hfov_deg}
// `data-state`: loading, shown (first pixels), sharp (all that the screen asks for) or failed.
import '@photo-sphere-viewer/core/index.css'
import '@photo-sphere-viewer/markers-plugin/index.css'
import '../styles/street.scss'
import { events, Viewer } from '@photo-sphere-viewer/core'
import { MarkersPlugin } from '@photo-sphere-viewer/markers-plugin'
import { create, icon } from '../lib/dom'
import { Arrows } from './arrows'
import { fetchPanorama, PanoramaError, tiled, type Link, type Panorama } from './panorama'
import type { RoadMap } from './roadmap'
import { toCamera, toWorld, turned, wrapped, type Angles } from './sphere'
import { TiledSphereAdapter } from './tiles'

export interface Marker extends Angles {
  id: string
  label: string
  /** Becomes the class `street-marker-<kind>`. */
  kind: string
}

interface View extends Angles {
  zoom: number
}

const RADIAN = Math.PI / 180
const TURN_DEG = 6
const WIDEST_DEG = 90
const CLOSEST_DEG = 6
/** One walks to the link that is within this of where one looks. */
const AHEAD_DEG = 60
/** A phone's width, as in street.scss. */
const NARROW = '(max-width: 40rem)'
const ADDRESS_PAUSE_MS = 300
const HELP: [string, string][] = [
  ['← →', 'tourner'],
  ['↑ ou Entrée', 'avancer dans la direction regardée'],
  ['↓', 'reculer'],
  ['Page préc. et Page suiv.', 'lever et baisser les yeux'],
  ['+ −', 'approcher et éloigner'],
  ['Espace', 'pointer le milieu de la vue'],
  ['N', 'regarder vers le nord'],
  ['F', 'plein écran'],
]

const calm = (): boolean => matchMedia('(prefers-reduced-motion: reduce)').matches

function metres(distance_m: number): string {
  return `${distance_m.toLocaleString('fr-FR', { maximumFractionDigits: 0 })} m`
}

/** A finite number of the address, within bounds. */
function within(text: string | null, low: number, high: number): number | undefined {
  const value = text === null || text.trim() === '' ? NaN : Number(text)
  return Number.isFinite(value) ? Math.min(high, Math.max(low, value)) : undefined
}

/** In another site's frame the browser may refuse storage, which Photo Sphere Viewer reads to
 * remember whether one touches the screen: then it remembers nothing. */
function doWithoutStorage(): void {
  try {
    void window.localStorage
  } catch {
    Object.defineProperty(window, 'localStorage', { value: {} })
  }
}

function button(name: string, words: string, act: () => void): HTMLButtonElement {
  const made = create('button', { attributes: { type: 'button', title: words } })
  made.append(icon(name), create('span', { className: 'visually-hidden', text: words }))
  made.addEventListener('click', act)
  return made
}

export class StreetViewer extends HTMLElement {
  panorama: Panorama | undefined
  private viewer: Viewer | undefined
  private arrows: Arrows | undefined
  private map: RoadMap | undefined
  private loading: AbortController | undefined
  private addressTimer = 0
  private readonly frame = create('div', { className: 'street-frame' })
  private readonly screen = create('div', {
    className: 'street-screen',
    attributes: {
      tabindex: '0',
      role: 'application',
      'aria-label': 'Vue à 360°',
      'aria-roledescription': 'vue à 360°',
    },
  })
  private readonly caption = create('div', { className: 'street-caption' })
  private readonly needle = create('span', { className: 'street-needle' })
  private readonly mapBox = create('div', { className: 'street-minimap' })
  private readonly mapButton = button('map', 'Carte', () => this.foldMap(!this.mapBox.hidden))
  private readonly status = create('p', { className: 'street-status', attributes: { role: 'status' } })
  private readonly below = create('div', { className: 'street-below' })
  private readonly help = this.makeHelp()
  private readonly back = (): void => void this.followAddress()

  connectedCallback(): void {
    if (this.viewer) return
    this.draw()
    // The answer travels while the graphics start.
    void this.followAddress()
    try {
      this.start()
    } catch (error) {
      console.error(error)
      this.fail('Ce navigateur ne peut pas dessiner la vue. Le texte dit où mènent les chemins.')
    }
    addEventListener('popstate', this.back)
  }

  disconnectedCallback(): void {
    removeEventListener('popstate', this.back)
    clearTimeout(this.addressTimer)
    this.loading?.abort()
    this.map?.remove()
    this.viewer?.destroy()
    this.viewer = this.arrows = this.map = undefined
  }

  /** Go to a panorama; the look stays towards the same direction of the world, unless it is given. */
  async show(id: string, view?: Partial<View>): Promise<void> {
    this.loading?.abort()
    const loading = (this.loading = new AbortController())
    this.dataset['state'] = 'loading'
    try {
      const panorama = await fetchPanorama(id, loading.signal)
      if (loading.signal.aborted) return
      await this.enter(panorama, view, loading.signal)
    } catch (error) {
      if ((error as Error).name === 'AbortError' || loading.signal.aborted) return
      console.error(error)
      this.fail(
        error instanceof PanoramaError
          ? error.message
          : 'La vue ne peut pas être chargée. Vérifiez votre connexion et réessayez.',
      )
    }
  }

  /** Look towards these angles of the camera. */
  look(yaw_deg: number, elevation_deg: number, zoom?: number): void {
    const { viewer, panorama } = this
    if (!viewer || !panorama) return
    const world = toWorld({ yaw_deg, elevation_deg }, panorama)
    viewer.rotate({ yaw: world.yaw_deg * RADIAN, pitch: world.elevation_deg * RADIAN })
    if (zoom !== undefined) viewer.zoom(zoom)
  }

  /** Marks on the present panorama; they go when one walks on. */
  setMarkers(markers: Marker[]): void {
    const { viewer, panorama } = this
    if (!viewer || !panorama) return
    viewer.getPlugin<MarkersPlugin>('markers').setMarkers(
      markers.map((marker) => {
        const world = toWorld(marker, panorama)
        return {
          id: marker.id,
          element: create('span', { className: `street-marker street-marker-${marker.kind}` }),
          position: { yaw: world.yaw_deg * RADIAN, pitch: world.elevation_deg * RADIAN },
          anchor: 'center center',
          tooltip: { content: new Option(marker.label).innerHTML },
        }
      }),
    )
    this.viewer?.needsUpdate()
  }

  /** Where one looks, in the camera's angles. */
  get view(): View | undefined {
    const { viewer, panorama } = this
    if (!viewer || !panorama || !viewer.state.ready) return undefined
    const { yaw, pitch } = viewer.getPosition()
    const seen = toCamera({ yaw_deg: yaw / RADIAN, elevation_deg: pitch / RADIAN }, panorama)
    return { ...seen, zoom: viewer.getZoomLevel() }
  }

  /** The address of this page at this view. */
  get permalink(): string {
    const { panorama, view } = this
    if (!panorama) return location.href
    const url = new URL(
      this.getAttribute('address') === 'query' ? location.pathname : panorama.page,
      location.origin,
    )
    if (this.getAttribute('address') === 'query') url.searchParams.set('panorama', panorama.id)
    if (view) {
      url.searchParams.set('yaw', view.yaw_deg.toFixed(2))
      url.searchParams.set('elevation', view.elevation_deg.toFixed(2))
      url.searchParams.set('zoom', view.zoom.toFixed(1))
    }
    return url.href
  }

  // Making ---------------------------------------------------------------------------------------

  private draw(): void {
    const compass = create('button', {
      className: 'street-compass',
      attributes: { type: 'button', title: 'Regarder vers le nord' },
    })
    compass.append(this.needle, create('span', { className: 'visually-hidden', text: 'Regarder vers le nord' }))
    compass.addEventListener('click', () => this.turnTo(0))
    const tools = create('div', { className: 'street-tools', attributes: { role: 'group', 'aria-label': 'Commandes de la vue' } })
    tools.append(
      compass,
      button('arrow-up', 'Avancer', () => this.walkTowards(0)),
      button('plus-lg', 'Approcher', () => this.viewer?.zoom(this.viewer.getZoomLevel() + 10)),
      button('dash-lg', 'Éloigner', () => this.viewer?.zoom(this.viewer.getZoomLevel() - 10)),
      button('arrows-fullscreen', 'Plein écran', () => this.toggleFullscreen()),
      button('question-lg', 'Aide du clavier', () => this.help.showModal()),
    )
    this.frame.append(this.screen, this.caption, tools, this.status, this.help)
    if (!this.bare) {
      this.mapBox.id = 'street-minimap'
      this.mapButton.setAttribute('aria-controls', this.mapBox.id)
      tools.append(this.mapButton)
      this.frame.append(this.mapBox)
      this.foldMap(matchMedia(NARROW).matches)
    }
    this.replaceChildren(this.frame, ...(this.bare ? [] : [this.below]))
    this.screen.addEventListener('keydown', (event) => this.pressed(event))
  }

  private makeHelp(): HTMLDialogElement {
    const dialog = create('dialog', { className: 'dialog', attributes: { 'aria-label': 'Aide du clavier' } })
    const list = create('dl', { className: 'street-keys' })
    for (const [keys, words] of HELP) list.append(create('dt', { text: keys }), create('dd', { text: words }))
    const close = create('button', { className: 'btn btn-quiet', text: 'Fermer', attributes: { type: 'button' } })
    close.addEventListener('click', () => dialog.close())
    dialog.append(
      create('h2', { text: 'Au clavier, dans la vue' }),
      list,
      create('p', { text: 'Au doigt : glissez pour tourner, écartez deux doigts pour approcher, touchez une flèche du sol pour avancer.' }),
      close,
    )
    return dialog
  }

  private start(): void {
    doWithoutStorage()
    const viewer = new Viewer({
      container: this.screen,
      adapter: TiledSphereAdapter,
      plugins: [[MarkersPlugin, {}]],
      navbar: false,
      keyboard: false,
      minFov: CLOSEST_DEG,
      maxFov: WIDEST_DEG,
      defaultZoomLvl: 20,
      moveInertia: calm() ? 0 : 0.8,
      canvasBackground: '#1f2937',
      loadingTxt: 'La vue se charge…',
      lang: { loadError: 'La vue ne peut pas être chargée.', webglError: 'Ce navigateur ne dessine pas en 3D (WebGL).' },
    })
    this.viewer = viewer
    this.arrows = new Arrows(viewer, (link) => this.walk(link))
    viewer.addEventListener(events.ClickEvent.type, ({ data }) => {
      if (data.rightclick || this.arrows?.clicked(data.objects as never)) return
      // A mouse tells whole pixels, rounded down: it pointed at the middle of one.
      const half = Number.isInteger(data.clientX) && Number.isInteger(data.clientY) ? 0.5 : 0
      const at = { x: data.viewerX + half, y: data.viewerY + half }
      const { yaw, pitch } = viewer.dataHelper.viewerCoordsToSphericalCoords(at) ?? data
      this.point({ yaw_deg: yaw / RADIAN, elevation_deg: pitch / RADIAN })
    })
    viewer.addEventListener(events.PositionUpdatedEvent.type, () => this.turnedView())
    viewer.addEventListener(events.ZoomUpdatedEvent.type, () => this.turnedView())
    viewer.addEventListener(events.RenderEvent.type, () => this.drawn())
    viewer.getPlugin<MarkersPlugin>('markers').addEventListener('select-marker', ({ marker }) => {
      this.tell('street-marker', { id: marker.id })
    })
  }

  private get bare(): boolean {
    return this.hasAttribute('bare')
  }

  // Going from one panorama to another ------------------------------------------------------------

  private async enter(panorama: Panorama, view: Partial<View> | undefined, signal: AbortSignal): Promise<void> {
    const { viewer } = this
    if (!panorama.levels.length) throw new PanoramaError('L’image de cette vue n’est pas encore prête.')
    const first = !this.panorama
    if (viewer) {
      const still = first || calm() || document.hidden
      const shown = await viewer.setPanorama(tiled(panorama), {
        transition: still ? false : { speed: 350, rotation: false, effect: 'fade' },
        showLoader: first,
      })
      if (!shown || signal.aborted) return
    }
    this.panorama = panorama
    this.setMarkers([])
    this.arrows?.show(panorama.links)
    if (view?.yaw_deg !== undefined || first) this.look(view?.yaw_deg ?? 0, view?.elevation_deg ?? 0, view?.zoom)
    if (viewer) this.dataset['state'] = 'shown'
    performance.mark('street-shown')
    this.setAttribute('panorama', panorama.id)
    this.write(panorama)
    this.turnedView()
    this.tell('street-panorama', panorama)
    void this.showMap(panorama)
  }

  /** Go there, as a step that the browser's back button undoes. */
  walk(link: { id: string }): void {
    void this.show(link.id).then(() => {
      if (this.panorama?.id === link.id) this.pushAddress()
    })
  }

  /** Walk to the link nearest to where one looks, turned by so many degrees. */
  private walkTowards(turn_deg: number): void {
    const { viewer, panorama } = this
    if (!viewer || !panorama || this.dataset['state'] === 'loading') return
    const looked = viewer.getPosition().yaw / RADIAN + turn_deg
    const apart = (link: Link): number => Math.abs(wrapped(link.grid_heading_deg - looked))
    const ahead = panorama.links.filter((link) => apart(link) <= AHEAD_DEG).sort((a, b) => apart(a) - apart(b))[0]
    if (ahead) this.walk(ahead)
    else this.say(turn_deg ? 'Aucune vue derrière vous.' : 'Aucune vue devant vous. Tournez-vous, ou choisissez dans la liste.')
  }

  private async followAddress(): Promise<void> {
    const query = new URLSearchParams(location.search)
    const kind = this.getAttribute('address')
    const page = /^\/street\/vue\/([0-9a-f-]{36})\/$/.exec(location.pathname)?.[1]
    const id = (kind === 'page' ? page : kind === 'query' ? query.get('panorama') : null) ?? this.getAttribute('panorama')
    if (!id) return
    const view = {
      yaw_deg: within(kind ? query.get('yaw') : this.getAttribute('yaw'), -360, 360),
      elevation_deg: within(kind ? query.get('elevation') : this.getAttribute('elevation'), -90, 90),
      zoom: within(kind ? query.get('zoom') : this.getAttribute('zoom'), 0, 100),
    }
    if (this.panorama?.id === id) {
      if (view.yaw_deg !== undefined) this.look(view.yaw_deg, view.elevation_deg ?? 0, view.zoom)
      return
    }
    await this.show(id, view as Partial<View>)
  }

  private pushAddress(): void {
    if (!this.getAttribute('address')) return
    clearTimeout(this.addressTimer)
    history.pushState(null, '', this.permalink)
  }

  private replaceAddress(): void {
    if (!this.getAttribute('address') || this.dataset['state'] === 'loading') return
    history.replaceState(history.state, '', this.permalink)
  }

  // Looking ---------------------------------------------------------------------------------------

  private pressed(event: KeyboardEvent): void {
    const { viewer } = this
    if (!viewer?.state.ready || event.ctrlKey || event.altKey || event.metaKey) return
    const step = (TURN_DEG * viewer.state.vFov) / WIDEST_DEG
    const actions: Record<string, () => void> = {
      ArrowLeft: () => this.turn(-step, 0),
      ArrowRight: () => this.turn(step, 0),
      ArrowUp: () => this.walkTowards(0),
      Enter: () => this.walkTowards(0),
      ArrowDown: () => this.walkTowards(180),
      PageUp: () => this.turn(0, step),
      PageDown: () => this.turn(0, -step),
      '+': () => viewer.zoom(viewer.getZoomLevel() + 5),
      '=': () => viewer.zoom(viewer.getZoomLevel() + 5),
      '-': () => viewer.zoom(viewer.getZoomLevel() - 5),
      ' ': () => this.pointMiddle(),
      n: () => this.turnTo(0),
      f: () => this.toggleFullscreen(),
      '?': () => this.help.showModal(),
    }
    const act = actions[event.key] ?? actions[event.key.toLowerCase()]
    if (!act) return
    event.preventDefault()
    act()
    if (event.key.startsWith('Arrow') || event.key.startsWith('Page')) this.screen.classList.add('by-keyboard')
  }

  private turn(right_deg: number, up_deg: number): void {
    const { viewer } = this
    if (!viewer) return
    const { yaw, pitch } = viewer.getPosition()
    const raised = Math.max(-90, Math.min(90, pitch / RADIAN + up_deg))
    viewer.rotate({ yaw: yaw + right_deg * RADIAN, pitch: raised * RADIAN })
  }

  /** Turn to a heading from true north. */
  private turnTo(heading_deg: number): void {
    const { viewer, panorama } = this
    if (!viewer || !panorama) return
    viewer.rotate({ yaw: (heading_deg - panorama.convergence_deg) * RADIAN, pitch: viewer.getPosition().pitch })
  }

  private point(world: Angles): void {
    const { panorama } = this
    if (!panorama) return
    this.tell('street-point', { panorama: panorama.id, ...toCamera(world, panorama) })
  }

  private pointMiddle(): void {
    const { viewer } = this
    if (!viewer) return
    const { yaw, pitch } = viewer.getPosition()
    this.point({ yaw_deg: yaw / RADIAN, elevation_deg: pitch / RADIAN })
  }

  private toggleFullscreen(): void {
    if (document.fullscreenElement) void document.exitFullscreen()
    else void this.frame.requestFullscreen?.().catch(() => this.say('Ce navigateur refuse le plein écran.'))
  }

  /** The heading from true north, where one looks. */
  private get heading_deg(): number {
    const { viewer, panorama } = this
    return viewer && panorama ? turned(viewer.getPosition().yaw / RADIAN + panorama.convergence_deg) : 0
  }

  private turnedView(): void {
    const { viewer, panorama, view } = this
    if (!viewer || !panorama || !view) return
    const heading_deg = this.heading_deg
    this.needle.style.transform = `rotate(${-heading_deg}deg)`
    this.map?.turn(heading_deg, viewer.state.hFov)
    clearTimeout(this.addressTimer)
    this.addressTimer = window.setTimeout(() => {
      this.replaceAddress()
      this.writeLinks()
      this.tell('street-view', { panorama: panorama.id, ...view, heading_deg, fov_deg: viewer.state.vFov,
        hfov_deg: viewer.state.hFov,
      })
    }, ADDRESS_PAUSE_MS)
  }

  private drawn(): void {
    const { state } = this.dataset
    if (state !== 'shown' && state !== 'sharp') return
    // Photo Sphere Viewer keeps its adapter to itself in its types.
    const { adapter } = this.viewer as unknown as { adapter: TiledSphereAdapter }
    this.dataset['state'] = adapter.complete ? 'sharp' : 'shown'
    if (adapter.complete && state === 'shown') performance.mark('street-sharp')
  }

  // Telling ---------------------------------------------------------------------------------------

  private tell(name: string, detail: unknown): void {
    this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true }))
  }

  private say(words: string): void {
    this.status.textContent = words
    this.status.classList.add('is-shown')
  }

  private fail(words: string): void {
    this.dataset['state'] = 'failed'
    this.say(words)
  }

  private write(panorama: Panorama): void {
    this.status.textContent = ''
    this.status.classList.remove('is-shown')
    const when = create('span', { text: panorama.taken_at_fr })
    this.caption.replaceChildren(create('strong', { text: panorama.place_fr }), when)
    if (panorama.provenance === 'synthetic')
      this.caption.append(create('span', { className: 'street-synthetic', text: panorama.provenance_fr }))
    if (!panorama.published)
      this.caption.append(create('span', { className: 'street-unpublished', text: 'non publiée' }))
    this.screen.setAttribute('aria-label', `Vue à 360° : ${panorama.place_fr}, ${panorama.taken_at_fr}`)
    if (this.getAttribute('address') === 'page') {
      document.title = `${panorama.place_fr} · ${document.title.split(' · ').at(-1)}`
      const heading = document.querySelector('[data-street-place]')
      if (heading) heading.textContent = panorama.place_fr
    }
    if (!this.bare) this.below.replaceChildren(this.words(panorama), this.times(panorama), this.actions())
    this.writeLinks()
  }

  /** Where, when, and where one can go: the view in words. */
  private words(panorama: Panorama): HTMLElement {
    const section = create('section', { className: 'street-words', attributes: { 'aria-label': 'La vue en mots' } })
    const list = create('ul')
    for (const link of panorama.links) {
      const item = create('li')
      const text = `${link.label_fr}, à ${metres(link.distance_m)}`
      const anchor = create('a', { text, attributes: { href: link.page } })
      this.takesOver(anchor, link.id)
      item.append(anchor)
      list.append(item)
    }
    section.append(
      create('p', { text: `${panorama.place_fr}, ${panorama.taken_at_fr}. ${panorama.campaign_title}.` }),
      create('h2', { text: 'D’ici, on peut' }),
      panorama.links.length ? list : create('p', { text: 'Aucune autre vue n’est reliée à celle-ci.' }),
    )
    return section
  }

  private times(panorama: Panorama): HTMLElement {
    const section = create('section', { attributes: { 'aria-label': 'Le même endroit à d’autres dates' } })
    section.append(create('h2', { text: 'Le même endroit à d’autres dates' }))
    if (!panorama.dates.length) {
      section.append(create('p', { text: 'Une seule campagne est passée ici.' }))
      return section
    }
    const list = create('ul', { className: 'street-dates' })
    for (const other of panorama.dates) {
      const anchor = create('a', { text: other.taken_at_fr, attributes: { href: other.page } })
      anchor.append(create('span', { className: 'detail', text: ` ${other.campaign_title}` }))
      this.takesOver(anchor, other.id)
      const item = create('li')
      item.append(anchor)
      list.append(item)
    }
    section.append(list)
    return section
  }

  private actions(): HTMLElement {
    const bar = create('p', { className: 'actions street-actions' })
    for (const [name, words] of [['link-45deg', 'Lien vers cette vue'], ['eye-slash', 'Flouter quelque chose ici']]) {
      const anchor = create('a', { className: 'btn btn-quiet', attributes: { 'data-link': name! } })
      anchor.append(icon(name!), ` ${words}`)
      bar.append(anchor)
    }
    return bar
  }

  /** Links that hold the present angles. */
  private writeLinks(): void {
    const { panorama, view } = this
    const anchor = (name: string): HTMLAnchorElement | null => this.below.querySelector(`[data-link="${name}"]`)
    const link = anchor('link-45deg')
    if (link) link.href = this.permalink
    const blur = anchor('eye-slash')
    if (!blur || !panorama || !view) return
    const query = new URLSearchParams({
      panorama: panorama.id,
      yaw: view.yaw_deg.toFixed(2),
      elevation: view.elevation_deg.toFixed(2),
    })
    blur.href = `/street/floutage/?${query.toString()}`
  }

  /** A link of this page walks instead of loading a page, unless one asks for another window. */
  private takesOver(anchor: HTMLAnchorElement, id: string): void {
    anchor.addEventListener('click', (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return
      event.preventDefault()
      this.walk({ id })
      this.screen.focus()
    })
  }

  /** On a phone the map would hide the arrows: there it waits to be asked for. */
  private foldMap(folded: boolean): void {
    this.mapBox.hidden = folded
    this.mapButton.setAttribute('aria-expanded', String(!folded))
    if (!folded && this.panorama) void this.showMap(this.panorama)
  }

  private async showMap(panorama: Panorama): Promise<void> {
    if (this.bare || this.mapBox.hidden) return
    if (!this.map) {
      try {
        const { RoadMap } = await import('./roadmap')
        this.map ??= new RoadMap(this.mapBox, (id) => this.walk({ id }), {
          unpublished: this.hasAttribute('unpublished'),
        })
      } catch (error) {
        console.error(error)
        this.mapBox.remove()
        this.mapButton.remove()
        return
      }
    }
    this.map.show(this.panorama ?? panorama)
    if (this.viewer) this.map.turn(this.heading_deg, this.viewer.state.hFov)
  }
}

customElements.define('street-viewer', StreetViewer)
