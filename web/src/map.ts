// Map island: <figure class="map-figure"> made by core/components/map.html.
// The GeoJSON of areas carries, on each feature, `name`, `href` (optional) and the categorical
// property named by data-property; a member `approximate: true` of the collection shows the note.
import './styles/map.scss'
import {
  LngLatBounds,
  Map as MapLibre,
  NavigationControl,
  type ExpressionSpecification,
  type MapGeoJSONFeature,
  type StyleSpecification,
} from 'maplibre-gl'
import { sameOrigin } from './lib/dom'
import { readLegend, token, type Legend } from './lib/legend'
import { FRENCH } from './lib/maplibre'

type Areas = GeoJSON.FeatureCollection<GeoJSON.Geometry | null> & { approximate?: boolean }

function colours(legend: Legend, property: string): ExpressionSpecification {
  const pairs = legend.items.flatMap(({ value, colour }) => [value, colour])
  const other = token('--map-pierre')
  const value = ['to-string', ['get', property]]
  return (pairs.length ? ['match', value, ...pairs, other] : ['literal', other]) as never
}

/** Our own style: a pale ground, one strong layer, nothing fetched but the areas. */
function style(
  areas: Areas,
  legend: Legend,
  property: string,
  focus: string | undefined,
): StyleSpecification {
  const selected: ExpressionSpecification = [
    'any',
    ['boolean', ['feature-state', 'selected'], false],
    ['==', ['get', 'code'], focus ?? ''],
  ]
  return {
    version: 8,
    sources: { areas: { type: 'geojson', data: areas as GeoJSON.FeatureCollection, generateId: true } },
    layers: [
      { id: 'ground', type: 'background', paint: { 'background-color': token('--map-ground') } },
      {
        id: 'areas',
        type: 'fill',
        source: 'areas',
        paint: { 'fill-color': colours(legend, property), 'fill-antialias': true },
      },
      {
        id: 'outlines',
        type: 'line',
        source: 'areas',
        paint: { 'line-color': token('--map-outline'), 'line-width': 0.8 },
      },
      {
        id: 'selected',
        type: 'line',
        source: 'areas',
        paint: {
          'line-color': token('--text'),
          'line-width': 3,
          'line-opacity': ['case', selected, 1, 0],
        },
      },
    ],
  }
}

function extend(bounds: LngLatBounds, coordinates: unknown): void {
  if (!Array.isArray(coordinates)) return
  if (typeof coordinates[0] === 'number') bounds.extend(coordinates as [number, number])
  else for (const part of coordinates) extend(bounds, part)
}

/** The bounds of all the areas, or of the one whose `code` is given. */
function boundsOf(areas: Areas, code: string | undefined): LngLatBounds {
  const bounds = new LngLatBounds()
  const shown = areas.features.filter(({ properties }) => !code || properties?.['code'] === code)
  for (const { geometry } of shown) {
    if (geometry && geometry.type !== 'GeometryCollection') extend(bounds, geometry.coordinates)
  }
  return bounds
}

async function load(url: string): Promise<Areas> {
  const response = await fetch(url)
  if (!response.ok) throw new Error(`HTTP ${response.status}`)
  return (await response.json()) as Areas
}

/** Names the area under the pointer or, with the keyboard, under the cross in the middle. */
class Selection {
  private feature: MapGeoJSONFeature | undefined

  constructor(
    private readonly map: MapLibre,
    private readonly legend: Legend,
    private readonly property: string,
    private readonly output: HTMLElement,
  ) {}

  select(feature: MapGeoJSONFeature | undefined): void {
    if (feature?.id === this.feature?.id) return
    if (this.feature) this.mark(this.feature, false)
    this.feature = feature
    if (feature) this.mark(feature, true)
    this.output.textContent = feature ? this.words(feature) : ''
    this.output.hidden = !feature
  }

  selectMiddle(): void {
    const { clientWidth, clientHeight } = this.map.getCanvas()
    this.select(
      this.map.queryRenderedFeatures([clientWidth / 2, clientHeight / 2], { layers: ['areas'] })[0],
    )
  }

  /** Where the selected area leads; null when this person may not open it. */
  get opens(): string | null {
    const href = this.feature?.properties['href'] as unknown
    return typeof href === 'string' ? sameOrigin(href) : null
  }

  open(): void {
    if (this.opens) location.assign(this.opens)
  }

  private mark(feature: MapGeoJSONFeature, selected: boolean): void {
    if (feature.id !== undefined)
      this.map.setFeatureState({ source: 'areas', id: feature.id }, { selected })
  }

  private words(feature: MapGeoJSONFeature): string {
    const value = String(feature.properties[this.property] ?? '')
    const label = this.legend.items.find((item) => item.value === value)?.label
    return [feature.properties['name'], label].filter(Boolean).join(' : ')
  }
}

function follow(map: MapLibre, frame: HTMLElement, selection: Selection): void {
  const canvas = map.getCanvas()
  const keyboard = (): boolean => canvas.matches(':focus-visible')
  map.on('mousemove', 'areas', (event) => {
    selection.select(event.features?.[0])
    canvas.style.cursor = selection.opens ? 'pointer' : ''
  })
  map.on('mouseleave', 'areas', () => {
    selection.select(undefined)
    canvas.style.cursor = ''
  })
  map.on('click', 'areas', (event) => {
    selection.select(event.features?.[0])
    selection.open()
  })
  map.on('moveend', () => keyboard() && selection.selectMiddle())
  canvas.addEventListener('focus', () => {
    frame.classList.toggle('by-keyboard', keyboard())
    if (keyboard()) selection.selectMiddle()
  })
  canvas.addEventListener('blur', () => frame.classList.remove('by-keyboard'))
  canvas.addEventListener('keydown', (event) => {
    frame.classList.add('by-keyboard')
    if (event.key === 'Enter') selection.open()
  })
}

async function draw(figure: HTMLElement): Promise<void> {
  const container = figure.querySelector<HTMLElement>('[data-map]')
  const frame = figure.querySelector<HTMLElement>('.map-frame')
  const output = figure.querySelector<HTMLElement>('.map-name')
  if (!container || !frame || !output) return
  const property = container.dataset['property'] ?? ''
  const status = figure.querySelector<HTMLElement>('.map-status')
  try {
    const areas = await load(container.dataset['sourceUrl'] ?? '')
    const note = figure.querySelector<HTMLElement>('.map-note')
    if (note) note.hidden = areas.approximate !== true
    const focus = container.dataset['focusCode']
    const bounds = boundsOf(areas, focus)
    const map = new MapLibre({
      container,
      style: style(areas, readLegend(figure), property, focus),
      ...(bounds.isEmpty() ? {} : { bounds, fitBoundsOptions: { padding: focus ? 60 : 24 } }),
      attributionControl: false,
      cooperativeGestures: true,
      dragRotate: false,
      pitchWithRotate: false,
      touchPitch: false,
      locale: { ...FRENCH, 'Map.Title': container.dataset['label'] ?? 'Carte' },
    })
    map.touchZoomRotate.disableRotation()
    map.keyboard.disableRotation()
    map.addControl(new NavigationControl({ showCompass: false }), 'top-right')
    follow(map, frame, new Selection(map, readLegend(figure), property, output))
    map.once('idle', () => {
      container.dataset['drawn'] = 'yes'
      status?.remove()
    })
    new MutationObserver(() => map.setStyle(style(areas, readLegend(figure), property, focus))).observe(
      document.documentElement,
      { attributeFilter: ['data-bs-theme'] },
    )
  } catch (error) {
    console.error(error)
    if (status) {
      status.textContent =
        'La carte ne peut pas être dessinée ici. Les mêmes renseignements sont en liste.'
    }
  }
}

for (const figure of document.querySelectorAll<HTMLElement>('.map-figure')) void draw(figure)
