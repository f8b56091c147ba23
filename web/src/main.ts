// The shell of every page: style, HTMX, and the small enhancements of plain HTML.
import './styles/main.scss'
import 'htmx.org'
import { enhanceComboboxes } from './lib/combobox'
import { enhanceCopyButtons } from './lib/copy'
import { enhanceDialogs } from './lib/dialog'
import { enhanceMenus } from './lib/menu'
import { enhancePrintButtons } from './lib/print'
import { enhanceProgress } from './lib/progress'
import { enhanceForms } from './lib/submit'
import { enhanceTables } from './lib/table'

function enhance(root: ParentNode): void {
  enhanceTables(root)
  enhanceCopyButtons(root)
  enhanceDialogs(root)
  enhanceComboboxes(root)
  enhanceProgress(root)
  enhanceForms(root)
  enhancePrintButtons(root)
  root.querySelector<HTMLElement>('[data-focus]')?.focus()
}

enhanceMenus(document)
enhance(document)
document.addEventListener('htmx:afterSwap', (event) => enhance(event.target as HTMLElement))
