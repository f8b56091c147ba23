// The legend is written by the server; the map takes its categories and colours from it.
export interface LegendItem {
  value: string
  label: string
  colour: string
}

export interface Legend {
  items: LegendItem[]
}

/** The present value of a colour token, in the page's theme. */
export function token(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim()
}

export function readLegend(figure: HTMLElement): Legend {
  const entries = [...figure.querySelectorAll<HTMLElement>('.legend [data-value]')]
  return {
    items: entries.map((entry) => ({
      value: entry.dataset['value'] ?? '',
      label: entry.textContent?.replace(/\s+/g, ' ').trim() ?? '',
      colour: token(`--map-${entry.querySelector<HTMLElement>('.swatch')?.dataset['color'] ?? 'pierre'}`),
    })),
  }
}
