// The geometry of a panorama, as `souverain/street/engine/sphere.py` says it: the camera's frame is
// x right, y forward, z up; the world's is x east, y north on the map grid, z up; angles in degrees.

export type Vector = [number, number, number]

export interface Angles {
  yaw_deg: number
  elevation_deg: number
}

/** From grid north, clockwise; nose up; right side down. */
export interface Pose {
  grid_heading_deg: number
  pitch_deg: number
  roll_deg: number
}

const RADIAN = Math.PI / 180

/** Into [-180, 180). */
export const wrapped = (degrees: number): number => ((((degrees + 180) % 360) + 360) % 360) - 180

/** Into [0, 360). */
export const turned = (degrees: number): number => ((degrees % 360) + 360) % 360

export function direction({ yaw_deg, elevation_deg }: Angles): Vector {
  const yaw = yaw_deg * RADIAN
  const elevation = elevation_deg * RADIAN
  return [
    Math.cos(elevation) * Math.sin(yaw),
    Math.cos(elevation) * Math.cos(yaw),
    Math.sin(elevation),
  ]
}

export function angles([x, y, z]: Vector): Angles {
  return {
    yaw_deg: Math.atan2(x, y) / RADIAN,
    elevation_deg: Math.atan2(z, Math.hypot(x, y)) / RADIAN,
  }
}

/** Camera-to-world: Rz(-heading) · Rx(pitch) · Ry(roll), by rows. */
function rotation({ grid_heading_deg, pitch_deg, roll_deg }: Pose): [Vector, Vector, Vector] {
  const [h, p, r] = [grid_heading_deg * RADIAN, pitch_deg * RADIAN, roll_deg * RADIAN]
  const [sh, ch, sp, cp] = [Math.sin(h), Math.cos(h), Math.sin(p), Math.cos(p)]
  const [sr, cr] = [Math.sin(r), Math.cos(r)]
  return [
    [ch * cr + sh * sp * sr, sh * cp, ch * sr - sh * sp * cr],
    [-sh * cr + ch * sp * sr, ch * cp, -sh * sr - ch * sp * cr],
    [-cp * sr, sp, cp * cr],
  ]
}

const dot = (a: Vector, b: Vector): number => a[0] * b[0] + a[1] * b[1] + a[2] * b[2]

/** What the camera sees at these angles, as a grid heading and an elevation in the world. */
export function toWorld(seen: Angles, pose: Pose): Angles {
  const [east, north, up] = rotation(pose)
  const v = direction(seen)
  return angles([dot(east, v), dot(north, v), dot(up, v)])
}

/** A grid heading and an elevation in the world, as the camera sees them. */
export function toCamera(world: Angles, pose: Pose): Angles {
  const rows = rotation(pose)
  const [x, y, z] = direction(world)
  const [a, b, c] = rows
  return angles([
    a[0] * x + b[0] * y + c[0] * z,
    a[1] * x + b[1] * y + c[1] * z,
    a[2] * x + b[2] * y + c[2] * z,
  ])
}
