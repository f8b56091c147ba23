// A panorama as `/api/street/panoramas/<id>` tells it.
import { sameOrigin } from '../lib/dom'
import type { Pose } from './sphere'
import { tileBox, type Level, type TiledPanorama } from './tiles'

export interface Link {
  id: string
  along: boolean
  label_fr: string
  grid_heading_deg: number
  distance_m: number
  rise_m: number | null
  road: string | null
  page: string
}

export interface OtherDate {
  id: string
  campaign_title: string
  taken_at_fr: string
  page: string
}

export interface Crop {
  left: number
  top: number
  width: number
  height: number
}

export interface Panorama extends Pose {
  id: string
  campaign: string
  campaign_title: string
  published: boolean
  provenance: string
  provenance_fr: string
  licence: string
  taken_at: string
  taken_at_fr: string
  longitude_deg: number
  latitude_deg: number
  heading_deg: number
  convergence_deg: number
  road: string | null
  place_fr: string
  width: number
  height: number
  crop: Crop | null
  tiles: string
  levels: Level[]
  page: string
  links: Link[]
  dates: OtherDate[]
}

/** A sentence for the reader. */
export class PanoramaError extends Error {}

export async function fetchPanorama(id: string, signal: AbortSignal): Promise<Panorama> {
  const response = await fetch(`/api/street/panoramas/${encodeURIComponent(id)}`, { signal })
  if (response.status === 404) throw new PanoramaError('Cette vue n’existe pas, ou n’est pas publiée.')
  if (!response.ok) throw new PanoramaError('La vue ne répond pas. Réessayez dans un instant.')
  return (await response.json()) as Panorama
}

/** Whether a tile shows something of a cropped picture. */
function covered({ crop, levels }: Panorama, level: number, column: number, row: number): boolean {
  if (!crop) return true
  const box = tileBox(levels, level, column, row)
  return (
    box.left < crop.left + crop.width &&
    box.left + box.width > crop.left &&
    box.top < crop.top + crop.height &&
    box.top + box.height > crop.top
  )
}

export function tiled(panorama: Panorama): TiledPanorama {
  return {
    levels: panorama.levels,
    pose: panorama,
    tileUrl(level, column, row) {
      if (!covered(panorama, level, column, row)) return null
      return sameOrigin(
        panorama.tiles
          .replace('{level}', String(level))
          .replace('{column}', String(column))
          .replace('{row}', String(row)),
      )
    },
  }
}
