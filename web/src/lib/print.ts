// <button data-print> opens the browser's print dialog; without scripts it stays hidden.
import { unseen } from './dom'

export function enhancePrintButtons(root: ParentNode): void {
  for (const button of unseen<HTMLButtonElement>(root, 'button[data-print]', 'Print')) {
    button.hidden = false
    button.addEventListener('click', () => print())
  }
}
