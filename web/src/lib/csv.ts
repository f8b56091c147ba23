/** One CSV field for a French spreadsheet: `;` separated, and never read as a formula. */
export function field(text: string): string {
  const isNumber = /^[-+]?[\d\s]*[.,]?\d+$/.test(text)
  const safe = !isNumber && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text
  return /[";\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe
}

export function csv(rows: string[][]): string {
  return rows.map((row) => row.map(field).join(';') + '\r\n').join('')
}

/** Hand the text to the browser as a file; the byte order mark keeps accents in spreadsheets. */
export function download(name: string, text: string): void {
  const url = URL.createObjectURL(new Blob(['\ufeff', text], { type: 'text/csv;charset=utf-8' }))
  const link = document.createElement('a')
  link.href = url
  link.download = name
  link.click()
  setTimeout(() => URL.revokeObjectURL(url), 60_000)
}
