// Where one can walk to: arrows lying on the ground, drawn in the scene.
import { events, type Viewer } from '@photo-sphere-viewer/core'
import { BufferAttribute, BufferGeometry, DoubleSide, Group, Mesh, MeshBasicMaterial } from 'three'
import type { Link } from './panorama'

const KEY = 'streetLink'
/** Metres: the camera above the road, and how far the arrows lie from beneath it. */
const CAMERA_M = 2.4
const REACH_M = 5
const TURN_REACH_M = 4

/** A chevron that points to +z, lying flat. */
function chevron(grown: number): BufferGeometry {
  const outline: [number, number][] = [
    [0, 0.8 + grown],
    [0.9 + grown, -0.25 - grown / 2],
    [0.9 + grown, -0.75 - grown],
    [0, 0.25 - grown],
    [-0.9 - grown, -0.75 - grown],
    [-0.9 - grown, -0.25 - grown / 2],
  ]
  const positions = outline.flatMap(([x, z]) => [x, 0, z])
  const geometry = new BufferGeometry()
  geometry.setAttribute('position', new BufferAttribute(new Float32Array(positions), 3))
  geometry.setIndex([0, 1, 3, 1, 2, 3, 0, 3, 5, 5, 3, 4])
  return geometry
}

function plate(geometry: BufferGeometry, colour: string, opacity: number, order: number): Mesh {
  const material = new MeshBasicMaterial({
    color: colour,
    opacity,
    transparent: true,
    side: DoubleSide,
    depthTest: false,
    depthWrite: false,
  })
  const mesh = new Mesh(geometry, material)
  mesh.renderOrder = order
  return mesh
}

function arrow(link: Link): Group {
  const group = new Group()
  const edge = plate(chevron(0.14), '#1f2937', 0.75, 100)
  const face = plate(chevron(0), '#ffffff', 0.92, 101)
  for (const mesh of [edge, face]) {
    mesh.userData = { [KEY]: link }
    group.add(mesh)
  }
  const heading = (link.grid_heading_deg * Math.PI) / 180
  const reach = link.along ? REACH_M : TURN_REACH_M
  const rise = ((link.rise_m ?? 0) * reach) / Math.max(link.distance_m, reach)
  group.position.set(-Math.sin(heading) * reach, rise - CAMERA_M, Math.cos(heading) * reach)
  group.rotation.y = -heading
  return group
}

export class Arrows {
  private group = new Group()

  constructor(
    private readonly viewer: Viewer,
    private readonly walk: (link: Link) => void,
  ) {
    viewer.renderer.addObject(this.group)
    viewer.observeObjects(KEY)
    viewer.addEventListener(events.ObjectEnterEvent.type, ({ userDataKey, object }) => {
      if (userDataKey === KEY) this.light(object as Mesh, true)
    })
    viewer.addEventListener(events.ObjectLeaveEvent.type, ({ userDataKey, object }) => {
      if (userDataKey === KEY) this.light(object as Mesh, false)
    })
  }

  show(links: Link[]): void {
    for (const mesh of this.group.children.flatMap((child) => child.children as Mesh[])) {
      mesh.geometry.dispose()
      ;(mesh.material as MeshBasicMaterial).dispose()
    }
    this.group.clear()
    for (const link of links) this.group.add(arrow(link))
    this.viewer.setCursor(null)
    this.viewer.needsUpdate()
  }

  /** Whether the click fell on an arrow; then one walks. */
  clicked(objects: { userData: Record<string, unknown> }[]): boolean {
    const link = objects.map((object) => object.userData[KEY]).find(Boolean) as Link | undefined
    if (link) this.walk(link)
    return link !== undefined
  }

  private light(mesh: Mesh, on: boolean): void {
    const face = mesh.parent?.children[1] as Mesh | undefined
    ;(face?.material as MeshBasicMaterial | undefined)?.color.set(on ? '#f0c75e' : '#ffffff')
    this.viewer.setCursor(on ? 'pointer' : null)
    this.viewer.needsUpdate()
  }
}
