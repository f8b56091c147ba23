// The place pointed at in the panorama, written into the form of a blur request.
const viewer = document.querySelector<HTMLElement & { setMarkers?: (markers: unknown[]) => void }>('street-viewer')
const told = document.querySelector('[data-blur-told]')

function write(name: string, value: number): void {
  const field = document.querySelector<HTMLInputElement>(`input[name=${name}]`)
  if (field) field.value = value.toFixed(2)
}

viewer?.addEventListener('street-point', (event) => {
  const { yaw_deg, elevation_deg } = (event as CustomEvent<{ yaw_deg: number; elevation_deg: number }>).detail
  write('yaw_deg', yaw_deg)
  write('elevation_deg', elevation_deg)
  viewer.setMarkers?.([{ id: 'blur', yaw_deg, elevation_deg, label: 'À flouter', kind: 'blur' }])
  if (told) told.textContent = "L'endroit est noté dans le formulaire."
})
