// <button data-copy="ID"> copies the text of the element of that id.
import { unseen } from './dom'

/** Plain http has no clipboard: then the text is selected, ready for Ctrl+C. */
async function copyText(source: HTMLElement): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(source.textContent?.trim() ?? '')
    return true
  } catch {
    getSelection()?.selectAllChildren(source)
    return false
  }
}

export function enhanceCopyButtons(root: ParentNode): void {
  for (const button of unseen<HTMLButtonElement>(root, 'button[data-copy]', 'Copy')) {
    const source = document.getElementById(button.dataset['copy'] ?? '')
    const status = button.parentElement?.querySelector<HTMLElement>('[role="status"]')
    if (!source) continue
    button.hidden = false
    button.addEventListener('click', async () => {
      const copied = await copyText(source)
      if (status) status.textContent = copied ? 'Copié' : 'Texte sélectionné : faites Ctrl + C'
    })
  }
}
