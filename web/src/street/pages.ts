// The maps of the stroll and of the desk: <div data-street-map data-bounds="w,s,e,n">.
// On a page that has a viewer, choosing a point walks there, and the map follows.
import '../styles/street.scss'
import type { Panorama } from './panorama'
import { RoadMap, type RoadMapOptions } from './roadmap'
import type { StreetViewer } from './viewer'

const viewer = document.querySelector<StreetViewer>('street-viewer')

function choose(id: string): void {
  if (viewer) viewer.walk({ id })
  else location.assign(`/street/vue/${encodeURIComponent(id)}/`)
}

function draw(container: HTMLElement): void {
  const edges = (container.dataset['bounds'] ?? '').split(',').map(Number)
  const options: RoadMapOptions = {
    unpublished: container.dataset['unpublished'] !== undefined,
    buttons: true,
  }
  if (edges.length === 4 && edges.every(Number.isFinite))
    options.bounds = edges as [number, number, number, number]
  const map = new RoadMap(container, choose, options)
  addEventListener('street-panorama', (event) => map.show((event as CustomEvent<Panorama>).detail))
  addEventListener('street-view', (event) => {
    const { heading_deg, hfov_deg } = (event as CustomEvent<{ heading_deg: number; hfov_deg: number }>).detail
    map.turn(heading_deg, hfov_deg)
  })
}

for (const container of document.querySelectorAll<HTMLElement>('[data-street-map]')) {
  try {
    draw(container)
  } catch (error) {
    console.error(error)
    container.textContent = 'La carte ne peut pas être dessinée ici. Cherchez par commune ou par route.'
  }
}
