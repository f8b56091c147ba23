"""What the server really has of what restic says it sent.

A receipt here is no message of the server's: the snapshot and every pack that the repository's own
index names (sealed by the key, so that nobody without the password can write one) must be in the
server's records; then the transparency log is audited from the checkpoint that was kept, which
binds those records. What was sent in the last minute has its leaf in the next night's audit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime

import requests

from souverain.vault import audit_commands
from souverain.vault.agent.place import Address, Place, shown
from souverain.vault.agent.state import FAULTY, RECEIVED, UNKNOWN, VERIFIED, Check
from souverain.vault.audit import AuditError, Kept, Row, Server
from souverain.vault.engine.restic import FormatError
from souverain.vault.engine.restic.index import TREE
from souverain.vault.engine.restic.repository import Repository, Source
from souverain.vault.engine.tlog import note
from souverain.vault.engine.tlog.leaves import Leaf

SAMPLE_BYTES = (
    4 << 20
)  # of data, once a day: a quarter of what a machine that only backs up may read
_TIMEOUT_S = (10, 60)
_SHOWN = 3
Progress = Callable[[int, int], None]


# Whether it answers ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """Of the server: its status (None when it does not answer), and what it says."""

    status: int | None
    sentence: str = ""


def ask(address: Address, moment: str | None = None) -> Answer:
    """Ask for the repository's `config`, or for what there was at a moment."""
    if moment is not None:
        return _ask("GET", f"{address.url.rstrip('/')}@{moment}/snapshots/", address)
    return _ask("GET", f"{address.url}config", address)


def ask_to_write(address: Address) -> Answer:
    """Ask for the repository to be made, as restic does: nothing changes where there is one."""
    return _ask("POST", f"{address.url}?create=true", address)


def _ask(method: str, url: str, address: Address) -> Answer:
    try:
        with closing(
            requests.request(
                method,
                url,
                auth=(address.device, address.secret),
                timeout=_TIMEOUT_S,
                allow_redirects=False,
                stream=True,
            )
        ) as answer:
            start = next(answer.iter_content(1000), b"")
    except requests.exceptions.SSLError:
        return Answer(None, "connexion chiffrée refusée : ce poste est-il à l'heure ?")
    except (requests.RequestException, OSError, ValueError):
        return Answer(None)
    sentence = "" if answer.status_code == 200 else start.decode(errors="replace").strip()
    return Answer(answer.status_code, shown(address.hide(sentence)))


# Whether it has it -------------------------------------------------------------------------------


def check(
    place: Place,
    address: Address,
    log_key: str,
    snapshot: str,
    *,
    reads_data: bool,
    progress: Progress,
) -> tuple[Check, datetime | None]:
    """What the vault shows of a snapshot, and when it says that it received it. `reads_data`:
    whether today's sample of data is still to be read."""
    received = None
    try:
        server = Server([address.text])
        received, fault = _received(server, address, snapshot)
        if fault:
            return _told(FAULTY, snapshot, fault), received
        return _audited(place, server, log_key, snapshot, reads_data, progress), received
    except (AuditError, note.NoteError, FormatError, OSError) as error:
        why = shown(address.hide(str(error))).rstrip(".")
        outcome = UNKNOWN if received is None else RECEIVED
        return _told(outcome, snapshot, f"La vérification n'a pas pu se faire : {why}."), received


def _told(outcome: str, snapshot: str, message: str, *, cosigned: bool = False) -> Check:
    return Check(datetime.now(UTC), outcome, snapshot, message, cosigned)


def _received(server: Server, address: Address, snapshot: str) -> tuple[datetime | None, str]:
    """When the server received a snapshot, and what is missing of it, in French."""
    received, missing = _compare(server, address, snapshot)
    if missing:  # or another machine was tidying up meanwhile
        received, missing = _compare(server, address, snapshot)
    if not missing:
        return received, ""
    more = f" et {len(missing) - _SHOWN} autres objets" if len(missing) > _SHOWN else ""
    named = ", ".join(missing[:_SHOWN])
    return (
        received,
        f"Le coffre-fort n'a pas tout ce que ce poste a envoyé : il manque {named}{more}.",
    )


def _compare(server: Server, address: Address, snapshot: str) -> tuple[datetime | None, list[str]]:
    repository = Repository.open(_source(server, address.set), address.password.encode())
    missing = [
        f"l'index {name.hex()[:12]} ({error})" for name, error in repository.read_index() if error
    ]
    living = {row.object[1:]: row for row in server.records(address.set) or () if not row.died}
    row = next(
        (
            found
            for (kind, name), found in living.items()
            if kind == "snapshots" and name.startswith(snapshot)
        ),
        None,
    )
    if row is None:
        return None, [f"la sauvegarde {snapshot[:8]}", *missing]
    if not _holds_tree(repository, row):
        missing.append(f"le contenu de la sauvegarde {snapshot[:8]}")
    for pack in repository.index.packs:
        blobs = repository.index.blobs_of(pack)
        end = max((blob.offset + blob.length for blob in blobs), default=0)
        found = living.get(("data", pack.hex()))
        if found is None or found.size < end:
            missing.append(f"data/{pack.hex()[:12]}")
    try:
        return datetime.fromisoformat(row.born), missing
    except ValueError:
        raise AuditError("une réponse du coffre-fort est illisible") from None


def _holds_tree(repository: Repository, row: Row) -> bool:
    """Whether the index has the root of a snapshot: what a server hides of the index hides it too."""
    try:
        found = repository.snapshot(row.object.name)
    except FormatError:
        return False
    return bool(repository.index.find(TREE, found.tree))


def _source(server: Server, set_code: str) -> Source:
    """The repository's small files over the line, for the own reader."""

    def read(kind: str, name: str, offset: int, length: int) -> bytes:
        content = server.file(set_code, f"{kind}/{name}".rstrip("/"))
        if content is None:
            raise FileNotFoundError(f"{kind}/{name}")
        if offset or len(content) != length:
            raise FormatError("Le fichier est trop court")
        return content

    def names(kind: str) -> Iterable[tuple[str, int]]:
        if kind == "config":
            content = server.file(set_code, "config")
            return [] if content is None else [("", len(content))]
        return sorted((server.listing(set_code, kind, "") or {}).items())

    return Source(read, names)


# Whether its log holds ---------------------------------------------------------------------------


def _audited(
    place: Place,
    server: Server,
    log_key: str,
    snapshot: str,
    reads_data: bool,
    progress: Progress,
) -> Check:
    if not log_key and not place.checkpoint.exists():
        return _told(
            RECEIVED,
            snapshot,
            "Le registre n'est pas vérifié : demandez sa clé au département, puis "
            "« souverain vault agent setup --key CLÉ ».",
        )
    kept = kept_in(place, log_key, server.code)

    def audit(room: int) -> audit_commands.Done:
        def chosen(living: list[Leaf]) -> list[Leaf]:
            return audit_commands.sample(living, room)

        return audit_commands.run(
            server, place.checkpoint, kept, [], chosen, place.witness, progress
        )

    try:
        done = audit(SAMPLE_BYTES if reads_data else 0)
    except AuditError:
        if not reads_data:
            raise
        done = audit(0)  # what a day allows to read was read by something else
    if done.report.ok:
        return _told(VERIFIED, snapshot, "", cosigned=done.cosigned)
    found = done.report.findings
    more = f" (et {len(found) - 1} autres défauts)" if len(found) > 1 else ""
    return _told(FAULTY, snapshot, f"{shown(found[0].message).rstrip('.')}{more}.")


def kept_in(place: Place, log_key: str, code: str) -> Kept:
    """The last checkpoint found right, or the key alone the first time. Raises AuditError."""
    if place.checkpoint.exists():
        kept = Kept.parse(place.checkpoint.read_bytes())
    else:
        kept = Kept(parse_key(log_key))
    if log_key and parse_key(log_key) != kept.key:
        raise AuditError("cle_du_registre (agent.toml) n'est pas la clé gardée dans preuve.json")
    if kept.key.name.rpartition("/")[2] != code:
        raise AuditError("la clé du registre est celle d'une autre commune")
    return kept


def parse_key(text: str) -> note.Key:
    """Raises AuditError."""
    try:
        return note.Key.parse(text)
    except note.NoteError:
        raise AuditError("ce n'est pas la clé d'un registre") from None
