// Sends pictures in chunks: <form data-upload="/api/…/pictures/"> with a file input. What the server
// has already is asked first, so that an upload that was cut goes on where it stopped. The form is
// posted (« Recevoir ») once everything is there, or at once when no file is chosen.
const CHUNK_BYTES = 4 * 1024 * 1024
const TRIES = 5
const PAUSE_MS = 2000

interface Arrival {
  received: number
  complete: boolean
}

interface Problem {
  detail?: string
  received?: number
}

class Refused extends Error {}

async function there(address: string): Promise<Arrival> {
  const answer = await fetch(address)
  if (!answer.ok) throw new Refused(((await answer.json()) as Problem).detail ?? 'Fichier refusé.')
  return (await answer.json()) as Arrival
}

async function send(
  file: File,
  folder: string,
  token: string,
  sent: (bytes: number) => void,
): Promise<void> {
  const address = folder + encodeURIComponent(file.name)
  let { received, complete } = await there(address)
  sent(received)
  let failures = 0
  while (!complete) {
    const chunk = file.slice(received, received + CHUNK_BYTES)
    const question = `?offset=${received}&total=${file.size}`
    try {
      const answer = await fetch(address + question, {
        method: 'PUT',
        headers: { 'Content-Type': 'application/octet-stream', 'X-CSRFToken': token },
        body: chunk,
      })
      const told = (await answer.json()) as Arrival & Problem
      if (answer.ok || answer.status === 409) {
        // Another size under this name: the server has a file that this one is not.
        if (told.received > file.size) throw new Refused(told.detail ?? 'Fichier refusé.')
        received = told.received
        complete = received === file.size
      } else if (answer.status < 500) {
        throw new Refused(told.detail ?? 'Fichier refusé.')
      } else {
        throw new TypeError(told.detail)
      }
      failures = 0
      sent(received)
    } catch (error) {
      if (error instanceof Refused || ++failures >= TRIES) throw error
      await new Promise((wake) => setTimeout(wake, PAUSE_MS * failures))
    }
  }
}

async function sendAll(form: HTMLFormElement, files: File[]): Promise<void> {
  const block = form.querySelector<HTMLElement>('.progress-block')
  const bar = form.querySelector('progress')
  const message = form.querySelector('.progress-message')
  const button = form.querySelector<HTMLButtonElement>('button[type=submit]')
  const token = form.querySelector<HTMLInputElement>('[name=csrfmiddlewaretoken]')?.value ?? ''
  if (!block || !bar || !message || !button) return
  block.hidden = false
  button.disabled = true
  const total = files.reduce((sum, file) => sum + file.size, 0)
  const refused: string[] = []
  let before = 0
  for (const [index, file] of files.entries()) {
    message.textContent = `Fichier ${index + 1} sur ${files.length} : ${file.name}`
    try {
      await send(file, form.dataset['upload'] ?? '', token, (bytes) => {
        bar.value = total ? (before + bytes) / total : 1
      })
    } catch (error) {
      if (!(error instanceof Refused)) {
        message.textContent = 'Connexion perdue. Choisissez de nouveau les mêmes fichiers : l’envoi reprendra.'
        button.disabled = false
        return
      }
      refused.push(`${file.name} : ${error.message}`)
    }
    before += file.size
  }
  button.disabled = false
  if (refused.length) message.textContent = refused.join(' ')
  else form.submit()
}

for (const form of document.querySelectorAll<HTMLFormElement>('form[data-upload]')) {
  form.addEventListener('submit', (event) => {
    const files = [...(form.querySelector<HTMLInputElement>('input[type=file]')?.files ?? [])]
    if (!files.length) return
    event.preventDefault()
    void sendAll(form, files)
  })
}
