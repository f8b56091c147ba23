// Tables that sort and export: <table data-sortable data-export="communes.csv">.
import { csv, download } from './csv'
import { create, icon, unseen } from './dom'

type Direction = 'ascending' | 'descending'
const collator = new Intl.Collator('fr', { numeric: true, sensitivity: 'base' })

const cellText = (cell: Element | undefined): string =>
  (cell?.textContent ?? '').replace(/\s+/g, ' ').trim()

/** The value that sorts: `data-value` when the cell has one, its words otherwise. */
const sortValue = (row: HTMLTableRowElement, column: number): string => {
  const cell = row.cells[column]
  return cell?.dataset['value'] ?? cellText(cell)
}

function compare(a: string, b: string): number {
  const [x, y] = [Number(a), Number(b)]
  const numeric = a !== '' && b !== '' && !Number.isNaN(x) && !Number.isNaN(y)
  return numeric ? x - y : collator.compare(a, b)
}

function sortRows(body: HTMLTableSectionElement, column: number, direction: Direction): void {
  const sign = direction === 'ascending' ? 1 : -1
  const rows = [...body.rows].map((row) => ({ row, value: sortValue(row, column) }))
  rows.sort((a, b) => {
    if (a.value === '' || b.value === '') return Number(a.value === '') - Number(b.value === '')
    return sign * compare(a.value, b.value)
  })
  body.append(...rows.map(({ row }) => row))
}

function makeSortable(table: HTMLTableElement): void {
  const headers = [...(table.tHead?.rows[0]?.cells ?? [])]
  const body = table.tBodies[0]
  if (!body) return
  const status = create('p', { className: 'visually-hidden', attributes: { role: 'status' } })
  table.after(status)
  headers.forEach((header, column) => {
    if (header.dataset['sort'] === 'none' || cellText(header) === '') return
    const title = cellText(header)
    const button = create('button', { className: 'sort-button', attributes: { type: 'button' } })
    const mark = icon('arrow-down-up')
    button.append(...header.childNodes, mark)
    header.append(button)
    button.addEventListener('click', () => {
      const direction = header.ariaSort === 'ascending' ? 'descending' : 'ascending'
      for (const other of headers) {
        other.removeAttribute('aria-sort')
        other.querySelector('.sort-button .bi')?.setAttribute('class', 'bi bi-arrow-down-up')
      }
      header.setAttribute('aria-sort', direction)
      mark.className = `bi bi-arrow-${direction === 'ascending' ? 'up' : 'down'}`
      sortRows(body, column, direction)
      const order = direction === 'ascending' ? 'croissant' : 'décroissant'
      status.textContent = `Tableau trié par « ${title} », ordre ${order}.`
    })
  })
}

/** What a spreadsheet reads: numbers plain with a decimal comma, other cells as shown. */
const exportText = (cell: HTMLTableCellElement): string => {
  const value = cell.dataset['value']
  return value && cell.classList.contains('number') ? value.replace('.', ',') : cellText(cell)
}

/** Rows as text, without the columns that only hold actions. */
function tableRows(table: HTMLTableElement): string[][] {
  const headers = [...(table.tHead?.rows[0]?.cells ?? [])]
  const kept = headers.map((header) => header.dataset['export'] !== 'none' && cellText(header) !== '')
  return [...table.rows].map((row) =>
    [...row.cells].filter((_, column) => kept[column] ?? true).map((cell) => exportText(cell)),
  )
}

function makeExportable(table: HTMLTableElement): void {
  const button = create('button', {
    className: 'btn btn-quiet btn-sm',
    attributes: { type: 'button' },
  })
  button.append(icon('download'), ' Exporter ce tableau (CSV)')
  button.addEventListener('click', () => {
    download(table.dataset['export'] || 'tableau.csv', csv(tableRows(table)))
  })
  const tools = create('div', { className: 'table-tools' })
  tools.append(button)
  const frame = table.closest('.table-scroll') ?? table
  frame.after(tools)
}

export function enhanceTables(root: ParentNode): void {
  unseen<HTMLTableElement>(root, 'table[data-sortable]', 'Sort').forEach(makeSortable)
  unseen<HTMLTableElement>(root, 'table[data-export]', 'Export').forEach(makeExportable)
}
