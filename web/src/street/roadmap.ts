// The map of where panoramas are: our own pale style, our own vector tiles, no other host.
import 'maplibre-gl/dist/maplibre-gl.css'
import { Map as MapLibre, type GeoJSONSource, type StyleSpecification } from 'maplibre-gl'
import { token } from '../lib/legend'
import { FRENCH } from '../lib/maplibre'

interface Place {
  longitude_deg: number
  latitude_deg: number
}

const NOTHING: GeoJSON.FeatureCollection = { type: 'FeatureCollection', features: [] }
const CONE_M = 22
const CLOSE = 16

function style(): StyleSpecification {
  return {
    version: 8,
    sources: {
      street: {
        type: 'vector',
        tiles: [`${location.origin}/street/map/{z}/{x}/{y}.mvt`],
        minzoom: 6,
        maxzoom: 15,
      },
      here: { type: 'geojson', data: NOTHING },
    },
    layers: [
      { id: 'ground', type: 'background', paint: { 'background-color': token('--map-ground') } },
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
        'source-layer': 'panoramas',
        paint: {
          'circle-color': token('--map-ciel'),
          'circle-radius': ['interpolate', ['linear'], ['zoom'], 10, 1.5, 17, 5],
          'circle-stroke-color': token('--map-outline'),
          'circle-stroke-width': ['interpolate', ['linear'], ['zoom'], 13, 0, 16, 1.5],
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

/** What is seen, as a slice of a disc around the place. */
function cone(place: Place, heading_deg: number, fov_deg: number): GeoJSON.Feature {
  const perDegree = 111_320
  const across = perDegree * Math.cos((place.latitude_deg * Math.PI) / 180)
  const at = (turn_deg: number): [number, number] => {
    const towards = (turn_deg * Math.PI) / 180
    return [
      place.longitude_deg + (CONE_M * Math.sin(towards)) / across,
      place.latitude_deg + (CONE_M * Math.cos(towards)) / perDegree,
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
    bounds?: [number, number, number, number],
  ) {
    this.map = new MapLibre({
      container,
      style: style(),
      ...(bounds ? { bounds, fitBoundsOptions: { padding: 24 } } : { zoom: CLOSE, center: [4.9, 47.4] }),
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
    this.map.on('load', () => {
      this.loaded = true
      this.draw()
    })
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
    if (first) this.map.jumpTo({ center, zoom: Math.max(CLOSE, this.map.getZoom()) })
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
    const features = [cone(place, this.heading_deg, this.fov_deg), point]
    void this.map.getSource<GeoJSONSource>('here')?.setData({ type: 'FeatureCollection', features })
  }
}
