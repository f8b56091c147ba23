"""The vault: communes keep encrypted copies of sensitive data in the département's datacentre.

The stock `restic` program speaks to `server`, a pure-ASGI app: bodies stream to `core.objects`,
are checked against their SHA-256 name, made durable, then recorded by `services` with the
server's receipt time. Rows say what lived when; the folder of a deposit set stays, as it is, a
valid restic repository.
"""
