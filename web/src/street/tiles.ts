// The sphere of one panorama, drawn from the tiles of its pyramid: an adapter of Photo Sphere Viewer.
//
// The stock tiles adapter hangs its textures on a polyhedron of 64 × 32 flat faces: between the
// edges of a face a picture is up to 0.03° off, more than a pixel once one zooms in. Here each tile
// is a patch whose fragments ask the sphere itself where they look: the patch's shape does not
// matter. The level is chosen by the pixels per degree of the screen; requests for what has left the
// screen are cut; what is far is forgotten beyond a budget of memory.
import {
  AbstractAdapter,
  CONSTANTS,
  events,
  SYSTEM,
  type PanoData,
  type TextureData,
  type Viewer,
} from '@photo-sphere-viewer/core'
import {
  BufferAttribute,
  BufferGeometry,
  ClampToEdgeWrapping,
  Group,
  LinearFilter,
  LinearMipmapLinearFilter,
  Matrix4,
  Mesh,
  ShaderMaterial,
  Texture,
  Vector3,
} from 'three'

/** One level of the pyramid, half of the level before it. */
export interface Level {
  width: number
  height: number
  columns: number
  rows: number
}

export interface TiledPanorama {
  /** Largest first. */
  levels: Level[]
  pose: { grid_heading_deg: number; pitch_deg: number; roll_deg: number }
  /** Null where the picture covers nothing (cropped panoramas). */
  tileUrl(level: number, column: number, row: number): string | null
}

type TiledData = TextureData<Tile[], TiledPanorama, TiledPanoData>

interface TiledPanoData extends PanoData {
  tiled: TiledPanorama
}

const RADIUS = CONSTANTS.SPHERE_RADIUS
const CONCURRENT = 6
const SEGMENT = Math.PI / 60
const PART = Math.PI / 15
/** A patch goes this far beyond its tile, so that its flat pieces leave no gap; fragments that
 * look elsewhere are dropped. */
const MARGIN = 2e-3
/** A level is good enough down to this many of its pixels per pixel of the screen. */
const SHARP = 0.9

const VERTEX = /* glsl */ `
  varying vec3 towards;
  varying float roughYaw;
  attribute float yaw;
  void main() {
    towards = position;
    roughYaw = yaw;
    gl_Position = projectionMatrix * modelViewMatrix * vec4(position, 1.0);
  }
`
// atanf of Cephes: the built-in may be wrong by 4096 units in the last place.
const FRAGMENT = /* glsl */ `
  precision highp float;
  uniform sampler2D map;
  uniform vec4 bounds; // left, top, width, height, in radians
  uniform float opacity;
  varying vec3 towards;
  varying float roughYaw;
  const float PI = 3.141592653589793;
  float arctangent(float y, float x) {
    float a = abs(y), b = abs(x), start, t;
    if (a > 2.414213562373095 * b) { start = PI / 2.0; t = -b / a; }
    else if (a > 0.4142135623730950 * b) { start = PI / 4.0; t = (a - b) / (a + b); }
    else { start = 0.0; t = a / b; }
    float z = t * t;
    float angle = start + t + t * z * (((8.05374449538e-2 * z - 1.38776856032e-1) * z
      + 1.99777106478e-1) * z - 3.33329491539e-1);
    if (x < 0.0) angle = PI - angle;
    return y < 0.0 ? -angle : angle;
  }
  void main() {
    float yaw = arctangent(-towards.x, towards.z);
    yaw += 2.0 * PI * floor((roughYaw - yaw) / (2.0 * PI) + 0.5);
    float elevation = arctangent(towards.y, length(towards.xz));
    vec2 at = vec2(yaw - bounds.x, bounds.y - elevation) / bounds.zw;
    if (at.x < 0.0 || at.x > 1.0 || at.y < 0.0 || at.y > 1.0) discard;
    gl_FragColor = vec4(texture2D(map, at).rgb, opacity);
  }
`

interface Bounds {
  left: number
  top: number
  width: number
  height: number
}

/** A tile in pixels of the largest level: column `c` of `columns` begins at `c · width // columns`,
 * and each level has half of the pixels of the one before it, rounded up. */
export function tileBox(levels: Level[], at: number, column: number, row: number): Bounds {
  const { width, height, columns, rows } = levels[at]!
  const whole = levels[0]!
  const scale = 2 ** at
  const x = (c: number): number => Math.min(whole.width, Math.floor((c * width) / columns) * scale)
  const y = (r: number): number => Math.min(whole.height, Math.floor((r * height) / rows) * scale)
  return {
    left: x(column),
    top: y(row),
    width: x(column + 1) - x(column),
    height: y(row + 1) - y(row),
  }
}

/** Where a tile lies on the sphere (radians): yaw grows to the right from -π, elevation upwards. */
function boundsOf(levels: Level[], at: number, column: number, row: number): Bounds {
  const box = tileBox(levels, at, column, row)
  const { width, height } = levels[0]!
  return {
    left: (box.left / width) * 2 * Math.PI - Math.PI,
    top: Math.PI / 2 - (box.top / height) * Math.PI,
    width: (box.width / width) * 2 * Math.PI,
    height: (box.height / height) * Math.PI,
  }
}

/** Yaw and elevation (radians) → a point of the sphere in Photo Sphere Viewer's frame. */
function point(yaw: number, elevation: number, into = new Vector3()): Vector3 {
  const flat = Math.cos(elevation) * RADIUS
  return into.set(-flat * Math.sin(yaw), RADIUS * Math.sin(elevation), flat * Math.cos(yaw))
}

function patch({ left, top, width, height }: Bounds): BufferGeometry {
  const across = Math.max(2, Math.ceil(width / SEGMENT))
  const down = Math.max(2, Math.ceil(height / SEGMENT))
  const positions: number[] = []
  const yaws: number[] = []
  const indices: number[] = []
  const corner = new Vector3()
  for (let j = 0; j <= down; j++) {
    const low = top + MARGIN - ((height + 2 * MARGIN) * j) / down
    const elevation = Math.max(-Math.PI / 2, Math.min(Math.PI / 2, low))
    for (let i = 0; i <= across; i++) {
      const yaw = left - MARGIN + ((width + 2 * MARGIN) * i) / across
      positions.push(...point(yaw, elevation, corner).toArray())
      yaws.push(yaw)
      if (i === across || j === down) continue
      const a = j * (across + 1) + i
      indices.push(a, a + across + 1, a + 1, a + 1, a + across + 1, a + across + 2)
    }
  }
  const geometry = new BufferGeometry()
  geometry.setAttribute('position', new BufferAttribute(new Float32Array(positions), 3))
  geometry.setAttribute('yaw', new BufferAttribute(new Float32Array(yaws), 1))
  geometry.setIndex(indices)
  return geometry
}

async function fetchImage(url: string, signal: AbortSignal): Promise<ImageBitmap> {
  const response = await fetch(url, { signal })
  if (!response.ok) throw new Error(`HTTP ${response.status} ${url}`)
  // The picture's numbers as they are: no colour profile, no turn.
  return createImageBitmap(await response.blob(), {
    colorSpaceConversion: 'none',
    premultiplyAlpha: 'none',
    imageOrientation: 'none',
  })
}

/** A tile: wanted, then on its way, then drawn. */
class Tile {
  /** Directions that stand for parts of the tile, and how far such a part reaches (radians). */
  readonly parts: Vector3[] = []
  readonly reach: number
  mesh: Mesh<BufferGeometry, ShaderMaterial> | undefined
  loading: AbortController | undefined
  failed = false
  lastSeen = 0
  bytes = 0

  constructor(
    readonly level: number,
    readonly bounds: Bounds,
    readonly url: string,
    private readonly mipmaps: boolean,
  ) {
    const { left, top, width, height } = bounds
    const across = Math.ceil(width / PART)
    const down = Math.ceil(height / PART)
    for (let j = 0; j < down; j++) {
      for (let i = 0; i < across; i++) {
        const elevation = top - ((j + 0.5) / down) * height
        this.parts.push(point(left + ((i + 0.5) / across) * width, elevation).normalize())
      }
    }
    this.reach = Math.hypot(width / across, height / down) / 2
  }

  async load(opacity: number): Promise<void> {
    this.loading = new AbortController()
    try {
      const image = await fetchImage(this.url, this.loading.signal)
      this.mesh = this.draw(image, opacity)
    } catch (error) {
      if ((error as Error).name !== 'AbortError') {
        this.failed = true
        throw error
      }
    } finally {
      this.loading = undefined
    }
  }

  private draw(image: ImageBitmap, opacity: number): Mesh<BufferGeometry, ShaderMaterial> {
    const texture = new Texture(image)
    texture.flipY = false
    texture.wrapS = texture.wrapT = ClampToEdgeWrapping
    texture.magFilter = LinearFilter
    texture.minFilter = this.mipmaps ? LinearMipmapLinearFilter : LinearFilter
    texture.generateMipmaps = this.mipmaps
    texture.anisotropy = 4
    texture.onUpdate = () => image.close()
    texture.needsUpdate = true
    const { left, top, width, height } = this.bounds
    const material = new ShaderMaterial({
      vertexShader: VERTEX,
      fragmentShader: FRAGMENT,
      uniforms: {
        map: { value: texture },
        bounds: { value: [left, top, width, height] },
        opacity: { value: opacity },
      },
      transparent: opacity < 1,
      depthTest: false,
      depthWrite: false,
    })
    const mesh = new Mesh(patch(this.bounds), material)
    this.bytes = image.width * image.height * (this.mipmaps ? 16 / 3 : 4)
    return mesh
  }

  setOpacity(opacity: number): void {
    const material = this.mesh?.material
    if (!material) return
    material.uniforms['opacity']!.value = opacity
    material.transparent = opacity < 1
  }

  forget(): void {
    this.loading?.abort()
    if (!this.mesh) return
    ;(this.mesh.material.uniforms['map']!.value as Texture).dispose()
    this.mesh.material.dispose()
    this.mesh.geometry.dispose()
    this.mesh.removeFromParent()
    this.mesh = undefined
    this.bytes = 0
  }
}

/** The tiles of every level, level 0 the largest; a cropped panorama has fewer. */
function tilesOf(panorama: TiledPanorama): Tile[][] {
  return panorama.levels.map((level, at) => {
    const tiles: Tile[] = []
    for (let row = 0; row < level.rows; row++) {
      for (let column = 0; column < level.columns; column++) {
        const url = panorama.tileUrl(at, column, row)
        if (url) tiles.push(new Tile(at, boundsOf(panorama.levels, at, column, row), url, true))
      }
    }
    return tiles
  })
}

/** What is seen of the sphere: between four planes through its middle. */
class Sight {
  private readonly sides: Vector3[]
  private readonly forward: Vector3

  constructor(
    viewer: Viewer,
    private readonly toWorld: Matrix4,
  ) {
    const { hFov, vFov } = viewer.state
    const { yaw, pitch } = viewer.getPosition()
    this.forward = point(yaw, pitch).normalize()
    const right = new Vector3(-Math.cos(yaw), 0, -Math.sin(yaw))
    const up = new Vector3().crossVectors(right, this.forward)
    const inwards = (sideways: Vector3, fov: number): Vector3 =>
      sideways
        .clone()
        .multiplyScalar(Math.cos((fov * Math.PI) / 360))
        .addScaledVector(this.forward, Math.sin((fov * Math.PI) / 360))
    this.sides = [
      inwards(right, hFov),
      inwards(right.clone().negate(), hFov),
      inwards(up, vFov),
      inwards(up.clone().negate(), vFov),
    ]
  }

  /** How far a tile is from the middle of the screen (radians); undefined when none of it is seen. */
  distance(tile: Tile): number | undefined {
    const tolerance = -Math.sin(tile.reach)
    const seen = tile.parts
      .map((part) => part.clone().applyMatrix4(this.toWorld))
      .filter((part) => this.sides.every((inwards) => inwards.dot(part) >= tolerance))
    if (seen.length) return Math.min(...seen.map((part) => part.angleTo(this.forward)))
    return undefined
  }
}

/** All that is drawn of one panorama. */
class TiledSphere extends Group {
  private readonly tiles: Tile[][]
  private opacity = 1
  private round = 0
  private readonly running = new Set<Tile>()
  private wanted: Tile[] = []
  /** The level that the screen asks for. */
  level = -1

  constructor(
    readonly panorama: TiledPanorama,
    private readonly viewer: Viewer,
  ) {
    super()
    this.tiles = tilesOf(panorama)
  }

  /** The smallest level, already loaded, stays as long as the panorama. */
  setBase(base: Tile[]): void {
    this.tiles[this.tiles.length - 1] = base
    for (const tile of base) this.show(tile)
  }

  setOpacity(opacity: number): void {
    this.opacity = opacity
    for (const tile of this.tiles.flat()) tile.setOpacity(opacity)
  }

  /** True when everything that the screen asks for is drawn. */
  get complete(): boolean {
    return this.level >= 0 && this.wanted.length === 0 && this.running.size === 0
  }

  refresh(budget: number): void {
    this.round++
    this.level = this.bestLevel()
    this.updateMatrixWorld(true)
    const sight = new Sight(this.viewer, this.matrixWorld)
    const seen = (this.tiles[this.level] ?? [])
      .flatMap((tile) => {
        const distance = sight.distance(tile)
        return distance === undefined ? [] : [{ tile, distance }]
      })
      .sort((a, b) => a.distance - b.distance)
      .map((item) => item.tile)
    for (const tile of seen) tile.lastSeen = this.round
    for (const tile of this.running) if (tile.lastSeen !== this.round) tile.loading?.abort()
    this.wanted = seen.filter((tile) => !tile.mesh && !tile.loading && !tile.failed)
    for (const tile of this.drawn()) if (tile.mesh) tile.mesh.visible = tile.level >= this.level
    this.keepWithin(budget)
    this.next()
  }

  /** Levels are largest first: the last that is sharp enough in the middle of the screen. */
  private bestLevel(): number {
    const { size, vFov } = this.viewer.state
    const half = (vFov * Math.PI) / 360
    const pixels = size.height * SYSTEM.pixelRatio
    const perRadian = pixels / 2 / Math.tan(half)
    const { levels } = this.panorama
    for (let at = levels.length - 1; at > 0; at--) {
      if (levels[at]!.width / (2 * Math.PI) >= SHARP * perRadian) return at
    }
    return 0
  }

  private drawn(): Tile[] {
    return this.tiles.flat().filter((tile) => tile.mesh)
  }

  private keepWithin(budget: number): void {
    const drawn = this.drawn()
    let bytes = drawn.reduce((sum, tile) => sum + tile.bytes, 0)
    const old = drawn
      .filter((tile) => tile.level < this.tiles.length - 1 && tile.lastSeen !== this.round)
      .sort((a, b) => a.lastSeen - b.lastSeen)
    for (const tile of old) {
      if (bytes <= budget) break
      bytes -= tile.bytes
      tile.forget()
    }
  }

  private next(): void {
    while (this.running.size < CONCURRENT) {
      const tile = this.wanted.shift()
      if (!tile) return
      this.running.add(tile)
      void tile
        .load(this.opacity)
        .then(
          () => tile.mesh && this.show(tile),
          (error: unknown) => console.warn(error),
        )
        .finally(() => {
          this.running.delete(tile)
          this.next()
          if (this.complete) this.viewer.needsUpdate()
        })
    }
  }

  private show(tile: Tile): void {
    if (!tile.mesh) return
    // Finer over coarser; level 0 is the finest.
    tile.mesh.renderOrder = this.panorama.levels.length - tile.level
    tile.mesh.visible = this.level < 0 || tile.level >= this.level
    tile.setOpacity(this.opacity)
    this.add(tile.mesh)
    this.viewer.needsUpdate()
  }

  forget(): void {
    this.wanted = []
    for (const tile of this.tiles.flat()) tile.forget()
  }
}

/** Memory for textures: a phone has little. */
function budget(): number {
  return matchMedia('(pointer: coarse)').matches ? 64e6 : 256e6
}

export class TiledSphereAdapter extends AbstractAdapter<
  TiledPanorama,
  TiledPanoData,
  Tile[],
  TiledSphere
> {
  static override readonly id = 'tiled-sphere'
  // Photo Sphere Viewer warns when it is not its own.
  static override readonly VERSION = '5.15.1'

  private loading: AbortController | undefined
  private next: TiledSphere | undefined
  private stale = true
  /** What is on the screen. */
  sphere: TiledSphere | undefined

  override init(): void {
    const look = (): void => void (this.stale = true)
    this.viewer.addEventListener(events.PositionUpdatedEvent.type, look)
    this.viewer.addEventListener(events.ZoomUpdatedEvent.type, look)
    this.viewer.addEventListener(events.SizeUpdatedEvent.type, look)
    this.viewer.addEventListener(events.BeforeRenderEvent.type, () => this.refresh())
    this.viewer.addEventListener(events.TransitionDoneEvent.type, ({ completed }) => {
      if (completed) this.sphere = this.next
      this.stale = true
    })
  }

  override destroy(): void {
    this.loading?.abort()
    this.sphere?.forget()
  }

  private refresh(): void {
    if (!this.stale || !this.sphere || !this.viewer.state.size.height) return
    this.stale = false
    this.sphere.refresh(budget())
  }

  /** Whether everything that the screen asks for is drawn. */
  get complete(): boolean {
    return !this.stale && (this.sphere?.complete ?? false)
  }

  override supportsTransition(): boolean {
    return true
  }

  override supportsPreload(): boolean {
    return false
  }

  /** The whole sphere at its smallest level: enough to show it. */
  override async loadTexture(panorama: TiledPanorama): Promise<TiledData> {
    this.loading?.abort()
    const loading = (this.loading = new AbortController())
    const base = tilesOf(panorama).at(-1) ?? []
    const forget = (): void => base.forEach((tile) => tile.forget())
    loading.signal.addEventListener('abort', forget)
    await Promise.all(base.map((tile) => tile.load(1)))
    loading.signal.throwIfAborted()
    loading.signal.removeEventListener('abort', forget)
    const { width, height } = panorama.levels[0]!
    return {
      panorama,
      texture: base,
      cacheKey: base[0]?.url ?? '',
      panoData: {
        isEquirectangular: true,
        fullWidth: width,
        fullHeight: height,
        croppedWidth: width,
        croppedHeight: height,
        croppedX: 0,
        croppedY: 0,
        // Photo Sphere Viewer turns the sphere as GPano says: by sphere.py's angles.
        poseHeading: panorama.pose.grid_heading_deg,
        posePitch: panorama.pose.pitch_deg,
        poseRoll: panorama.pose.roll_deg,
        tiled: panorama,
      },
    }
  }

  override createMesh({ tiled }: TiledPanoData): TiledSphere {
    return new TiledSphere(tiled, this.viewer)
  }

  override setTexture(sphere: TiledSphere, { texture }: TiledData, transition: boolean): void {
    sphere.setBase(texture)
    if (transition) this.next = sphere
    else this.sphere = sphere
    this.stale = true
  }

  override setTextureOpacity(sphere: TiledSphere, opacity: number): void {
    sphere.setOpacity(opacity)
  }

  override disposeTexture({ texture }: TiledData): void {
    for (const tile of texture) tile.forget()
  }

  override disposeMesh(sphere: TiledSphere): void {
    sphere.forget()
  }
}
