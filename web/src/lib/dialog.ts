// <button data-dialog="ID"> opens a <dialog>; <button data-dialog-close> closes the one it is in.
import { unseen } from './dom'

export function enhanceDialogs(root: ParentNode): void {
  for (const button of unseen<HTMLButtonElement>(root, 'button[data-dialog]', 'Dialog')) {
    const dialog = document.getElementById(button.dataset['dialog'] ?? '')
    if (!(dialog instanceof HTMLDialogElement)) continue
    button.addEventListener('click', () => dialog.showModal())
    dialog.addEventListener('close', () => button.focus())
    if (dialog.dataset['open'] === 'yes') dialog.showModal()
  }
  for (const button of unseen<HTMLButtonElement>(root, 'button[data-dialog-close]', 'Close')) {
    button.addEventListener('click', () => button.closest('dialog')?.close())
  }
}
