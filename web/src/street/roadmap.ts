// The map of where panoramas are: our own pale style, our own vector tiles, no other host.
import 'maplibre-gl/dist/maplibre-gl.css'
import { Map as MapLibre, NavigationControl, type GeoJSONSource, type StyleSpecification } from 'maplibre-gl'
import { token } from '../lib/legend'
import { FRENCH } from '../lib/maplibre'

interface Place {
  longitude_deg: number
  latitude_deg: number
}

const NOTHING: GeoJSON.FeatureCollection = { type: 'FeatureCollection', features: [] }
const CONE_PX = 30
/** Where no bounds are given: the place and its surroundings. */
const CLOSE = 14
/** A map frames at least so much ground, that one sees where a short drive is. */
const LEAST_M = 2_000
const PER_DEGREE_M = 111_320

function style(unpublished: boolean): StyleSpecification {
  return {
    version: 8,
    sources: {
      street: {
        type: 'vector',
        tiles: [`${location.origin}/street/map/{z}/{x}/{y}.mvt${unpublished ? '?unpublished=1' : ''}`],
        minzoom: 6,
        maxzoom: 16,
      },
      communes: { type: 'geojson', data: `${location.origin}/api/territory/communes.geojson` },
      here: { type: 'geojson', data: NOTHING },
    },
    layers: [
      { id: 'ground', type: 'background', paint: { 'background-color': token('--map-ground') } },
      {
        id: 'communes',
        type: 'line',
        source: 'communes',
        paint: {
          'line-color': token('--map-ardoise'),
          'line-width': ['interpolate', ['linear'], ['zoom'], 8, 0.6, 14, 2],
          'line-opacity': 0.7,
        },
      },
      {
        id: 'sequences',
        type: 'line',
        source: 'street',
        'source-layer': 'sequences',
        layout: { 'line-cap': 'round', 'line-join': 'round' },
        paint: {
          'line-color': token('--map-ciel'),
          'line-width': ['interpolate', ['linear'], ['zoom'], 8, 1.5, 16, 5],
          'line-opacity': 0.75,
        },
      },
      {
        id: 'panoramas',
        type: 'circle',
        source: 'street',
        'source-layer': 'pictures',
        paint: {
          'circle-color': token('--map-ciel'),
          'circle-radius': ['interpolate', ['linear'], ['zoom'], 10, 1.5, 17, 5],
          'circle-stroke-color': token('--map-outline'),
          'circle-stroke-width': ['interpolate', ['linear'], ['zoom'], 13, 0, 16, 1.5],
        },
      },
      {
        id: 'names',
        type: 'symbol',
        source: 'communes',
        minzoom: 9.5,
        layout: {
          'text-field': ['get', 'name'],
          // The page's own fonts: no glyphs are asked of anybody.
          'text-font': ['Atkinson Hyperlegible', 'sans-serif'],
          'text-size': ['interpolate', ['linear'], ['zoom'], 10, 12, 14, 16],
          'text-padding': 12,
        },
        paint: {
          'text-color': token('--text'),
          'text-halo-color': token('--map-ground'),
          'text-halo-width': 2,
        },
      },
      {
        id: 'cone',
        type: 'fill',
        source: 'here',
        filter: ['==', ['geometry-type'], 'Polygon'],
        paint: { 'fill-color': token('--map-vigne'), 'fill-opacity': 0.35 },
      },
      {
        id: 'here',
        type: 'circle',
        source: 'here',
        filter: ['==', ['geometry-type'], 'Point'],
        paint: {
          'circle-color': token('--map-vigne'),
          'circle-radius': 7,
          'circle-stroke-color': '#fff',
          'circle-stroke-width': 2,
        },
      },
    ],
  }
}

/** What is seen, as a slice of a disc around the place, as large on the screen at every zoom. */
function cone(place: Place, heading_deg: number, fov_deg: number, zoom: number): GeoJSON.Feature {
  const across = PER_DEGREE_M * Math.cos((place.latitude_deg * Math.PI) / 180)
  const reach_m = (CONE_PX * 360 * across) / (512 * 2 ** zoom)
  const at = (turn_deg: number): [number, number] => {
    const towards = (turn_deg * Math.PI) / 180
    return [
      place.longitude_deg + (reach_m * Math.sin(towards)) / across,
      place.latitude_deg + (reach_m * Math.cos(towards)) / PER_DEGREE_M,
    ]
  }
  const middle: [number, number] = [place.longitude_deg, place.latitude_deg]
  const half = Math.min(fov_deg, 150) / 2
  const rim = Array.from({ length: 13 }, (_, i) => at(heading_deg - half + (2 * half * i) / 12))
  return {
    type: 'Feature',
    properties: {},
    geometry: { type: 'Polygon', coordinates: [[middle, ...rim, middle]] },
  }
}

type Bounds = [west: number, south: number, east: number, north: number]

/** The bounds, no less than `LEAST_M` wide and high. */
function widened([west, south, east, north]: Bounds): Bounds {
  const high = LEAST_M / PER_DEGREE_M
  const wide = high / Math.cos((((south + north) / 2) * Math.PI) / 180)
  const x = Math.max(0, wide - (east - west)) / 2
  const y = Math.max(0, high - (north - south)) / 2
  return [west - x, south - y, east + x, north + y]
}

export interface RoadMapOptions {
  /** West, south, east, north, in degrees. */
  bounds?: Bounds
  /** Also what is not published, for those who may see it. */
  unpublished?: boolean
  /** The buttons that zoom. */
  buttons?: boolean
}

export class RoadMap {
  private readonly map: MapLibre
  private place: Place | undefined
  private heading_deg = 0
  private fov_deg = 60
  private loaded = false

  /** `chosen` is told the id of the panorama that was clicked. */
  constructor(
    readonly container: HTMLElement,
    chosen: (id: string) => void,
    { bounds, unpublished = false, buttons = false }: RoadMapOptions = {},
  ) {
    this.map = new MapLibre({
      container,
      style: style(unpublished),
      ...(bounds ? { bounds: widened(bounds), fitBoundsOptions: { padding: 24 } } : { zoom: CLOSE, center: [4.9, 47.4] }),
      attributionControl: false,
      dragRotate: false,
      pitchWithRotate: false,
      touchPitch: false,
      maxZoom: 20,
      fadeDuration: 0,
      locale: { ...FRENCH, 'Map.Title': container.dataset['label'] ?? 'Carte des vues' },
    })
    this.map.touchZoomRotate.disableRotation()
    this.map.keyboard.disableRotation()
    if (buttons) this.map.addControl(new NavigationControl({ showCompass: false }), 'top-right')
    this.map.on('load', () => {
      this.loaded = true
      this.draw()
    })
    this.map.on('zoomend', () => this.draw())
    this.map.once('idle', () => (container.dataset['drawn'] = 'yes'))
    this.map.on('click', ({ point }) => {
      const near: [[number, number], [number, number]] = [
        [point.x - 8, point.y - 8],
        [point.x + 8, point.y + 8],
      ]
      const id: unknown = this.map.queryRenderedFeatures(near, { layers: ['panoramas'] })[0]?.properties['id']
      if (typeof id === 'string') chosen(id)
    })
    this.map.on('mouseenter', 'panoramas', () => (this.map.getCanvas().style.cursor = 'pointer'))
    this.map.on('mouseleave', 'panoramas', () => (this.map.getCanvas().style.cursor = ''))
  }

  show(place: Place): void {
    const first = !this.place
    this.place = place
    this.draw()
    const center: [number, number] = [place.longitude_deg, place.latitude_deg]
    if (first) this.map.jumpTo({ center })
    else this.map.panTo(center, { animate: !matchMedia('(prefers-reduced-motion: reduce)').matches })
  }

  turn(heading_deg: number, fov_deg: number): void {
    this.heading_deg = heading_deg
    this.fov_deg = fov_deg
    this.draw()
  }

  remove(): void {
    this.map.remove()
  }

  private draw(): void {
    const { place } = this
    if (!place || !this.loaded) return
    const point: GeoJSON.Feature = {
      type: 'Feature',
      properties: {},
      geometry: { type: 'Point', coordinates: [place.longitude_deg, place.latitude_deg] },
    }
    const features = [cone(place, this.heading_deg, this.fov_deg, this.map.getZoom()), point]
    void this.map.getSource<GeoJSONSource>('here')?.setData({ type: 'FeatureCollection', features })
  }
}
