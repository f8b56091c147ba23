// Long work, live: <div data-progress-url="/…"> listens to server-sent events whose data is
// {"state": …, "progress": 0–1 or null, "message": …}. A terminal state reloads the page, so that
// the server alone writes the result.
import { unseen } from './dom'

interface Report {
  state: string
  progress: number | null
  message: string
}

const TERMINAL = new Set(['done', 'failed', 'cancelled', 'interrupted'])

function show(block: HTMLElement, report: Report): void {
  const bar = block.querySelector('progress')
  const message = block.querySelector('.progress-message')
  if (bar && report.progress === null) bar.removeAttribute('value')
  else if (bar) bar.value = report.progress ?? 0
  if (message && message.textContent !== report.message) message.textContent = report.message
}

function listen(block: HTMLElement): void {
  const events = new EventSource(block.dataset['progressUrl'] ?? '')
  events.addEventListener('message', (event) => {
    const report = JSON.parse(String(event.data)) as Report
    show(block, report)
    if (!TERMINAL.has(report.state)) return
    events.close()
    location.reload()
  })
  events.addEventListener('error', () => {
    const message = block.querySelector('.progress-message')
    const lost = events.readyState === EventSource.CLOSED
    if (message) {
      message.textContent = lost
        ? 'Suivi interrompu. Le travail continue ; rechargez la page pour voir où il en est.'
        : 'Connexion perdue, nouvelle tentative…'
    }
  })
}

export function enhanceProgress(root: ParentNode): void {
  unseen<HTMLElement>(root, '[data-progress-url]', 'Progress').forEach(listen)
}
