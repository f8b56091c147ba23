// A second click on a button that was just pressed is the same click: its form is sent once.
import { unseen } from './dom'

const DOUBLE_CLICK_MS = 1000

export function enhanceForms(root: ParentNode): void {
  for (const form of unseen<HTMLFormElement>(root, 'form[method=post]', 'Submit')) {
    let sentAt = -Infinity
    form.addEventListener('submit', (event) => {
      if (event.timeStamp - sentAt < DOUBLE_CLICK_MS) event.preventDefault()
      else sentAt = event.timeStamp
    })
  }
}
