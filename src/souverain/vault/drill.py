"""A restore drill: a sample of the latest backup, restored twice and compared, where the password is.

The stock `restic` is the judge; our own reader is the second opinion. Both read one instant of the
vault, which nothing changes. What they restore lies in a private folder that goes with the drill.
Needs no Django and no database.

`run` is the whole drill of a machine; `drill` is the same wherever a `Vault` is read.
"""

from __future__ import annotations

import base64
import heapq
import os
import random
import re
import secrets
import shutil
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Protocol

from souverain.vault import witness
from souverain.vault.audit import AuditError, Kept
from souverain.vault.drill_folder import private_folder
from souverain.vault.drill_remote import Remote
from souverain.vault.engine import drill as reports
from souverain.vault.engine.drill import Budget, Fault, Limit, Piece, Place, Report, Verdict
from souverain.vault.engine.restic import FormatError
from souverain.vault.engine.restic.files import Snapshot
from souverain.vault.engine.restic.index import DATA, TREE
from souverain.vault.engine.restic.repository import Repository, Source, WrongPassword
from souverain.vault.engine.restic.trees import Node
from souverain.vault.engine.tlog.note import Key
from souverain.vault.restoration import MAX_DEPTH, Restoration, Selection
from souverain.vault.whole import write_whole

SAMPLE_BYTES = 64 << 20
FILES = 50
KEY_FILE = "temoin.cle"
PENDING, REFUSED = "essai-a-envoyer", "essai-refuse"
_MARGIN = 0.9  # of what is left of a day's reads: restic may fetch some bytes more
_LISTING_SHARE = 0.25  # of it, for the directories
_DRAWN = 8  # files drawn for each one wanted: not all fit
_LISTED_MAX = 5_000_000
_PATH_MAX = 3000  # bytes; Linux ends at 4096, our own folder included
_SLOWEST = 100_000  # bytes a second; slower than that, restic is given up
_START_S = 120
SPARE_BYTES = 16 << 20
_PIECE = 1 << 20
_PIPED_MAX = 4096  # what any pipe holds before it is read
_STATUS = re.compile(rb"unexpected HTTP response \((\d{3})\)")
_UNREACHABLE = re.compile(
    rb'(?:Get|Head|Post) "[^"]+": .*(?:dial tcp|connection reset|timeout|no such host|tls:|EOF)'
)
_FINAL = frozenset({401, 403, 404, 410, 416, 500})
_READ_ONLY = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC

Progress = Callable[[int, int], None]


class DrillError(Exception):
    """There is nothing to drill, or no way to. The message is in French, without its stop."""


class Vault(Protocol):
    """Where a drill reads: one instant of one deposit set. `stopped` says why it answers no more:
    what was then told of the files is not their fault."""

    code: str
    set_code: str
    moment: str
    source: Source
    stopped: Limit

    def left_bytes(self) -> int | None:
        """What may still be read of the data today; None when it is not counted."""

    def repository(self) -> str:
        """What `restic -r` takes, its secret included."""


# The drill of a machine ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """A drill's report, and what became of it. `known_key`: whether the commune registered the key
    that signed it, when the server said so; `waiting`: reports that stay in files, to be sent by
    the next drill; `refused`: what the server will never take, and why."""

    report: Report
    sent: bool
    known_key: bool | None
    waiting: int
    refused: tuple[str, ...]


def run(
    repository_file: Path,
    password: bytes,
    *,
    sample_bytes: int = SAMPLE_BYTES,
    files: int = FILES,
    key_file: Path | None = None,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Drill the deposit set of an address file, and send the report, and those that wait. The
    report is on the disk before it is sent. Raises DrillError, AuditError, OSError."""
    folder = repository_file.absolute().parent
    secret = witness.secret_in(key_file or folder / KEY_FILE)
    vault = Remote(repository_file.read_text())
    report = drill(
        vault,
        password,
        where=Place.MACHINE,
        key=witness.key_of(vault.code, secret),
        base=folder,
        sample_bytes=sample_bytes,
        files=files,
        host=socket.gethostname(),
        seen=Kept.parse(checkpoint.read_bytes()) if checkpoint else None,
        progress=progress,
    )
    at = report.at.replace(":", "-")
    own = folder / f"{PENDING}-{vault.set_code}-{at}.note"
    write_whole(own, str(reports.sign(report, secret)).encode())
    return _deliver(vault, folder, report, own)


def _deliver(vault: Remote, folder: Path, report: Report, own: Path) -> Outcome:
    """Send what waits, oldest first, until the server cannot take one."""
    known_key, sent, refused = None, False, []
    waiting = sorted(folder.glob(f"{PENDING}-{vault.set_code}-[0-9][0-9][0-9][0-9]-??-??T*.note"))
    with suppress(AuditError):
        while waiting:
            answer = vault.send(waiting[0].read_bytes())
            file = waiting.pop(0)
            if answer["accepted"]:
                file.unlink()
                if file == own:
                    known_key, sent = answer["known_key"], True
            else:
                file.rename(file.with_name(file.name.replace(PENDING, REFUSED, 1)))
                refused.append(answer["said"])
    return Outcome(report, sent, known_key, len(waiting), tuple(refused))


# The drill ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _File:
    """A file of the backup, and the directories on its path."""

    path: bytes
    node: Node
    trees: tuple[bytes, ...]


@dataclass
class _Found:
    """What a drill found so far. `listed_*`: of the backup; `files`, `bytes`: restored, and right."""

    snapshot: Snapshot | None = None
    snapshots: int = 0
    listed_files: int = 0
    listed_bytes: int = 0
    whole: bool = False
    files: int = 0
    bytes: int = 0
    compared: int = 0
    changed: int = 0
    faults: list[Fault] = field(default_factory=list)
    limit: Limit = Limit.NONE
    restic_version: str = ""


class _Over(Exception):
    """The drill ends here; what was found says why."""


def drill(
    vault: Vault,
    password: bytes,
    *,
    where: Place,
    key: Key,
    base: Path,
    sample_bytes: int = SAMPLE_BYTES,
    files: int = FILES,
    host: str = "",
    seen: Kept | None = None,
    progress: Progress | None = None,
) -> Report:
    """Draw, restore, compare. `key`: who will sign; `host`: this machine's name, when its own files
    may be compared; `seen`: the log's checkpoint that it audited. Raises DrillError, AuditError,
    OSError."""
    began, found = time.monotonic(), _Found()
    with suppress(_Over), private_folder(base) as (folder, held):
        repository = _open(vault, password, found)
        drawn = _draw(vault, repository, _DRAWN * files, found)
        chosen = _choose(vault, repository, drawn, Budget(files, sample_bytes), found)
        total = sum(file.node.size for file in chosen)
        _need_room(folder, 2 * total)
        ours, theirs = folder / "lecteur", folder / "restic"
        _restore(vault, repository, chosen, ours, progress, found)
        judged = _restore_with_restic(vault, password, chosen, theirs, held, found)
        _need_room(folder, 0)
        for file in chosen:
            _compare(repository, file, ours, theirs if judged else None, host, found)
    return _report(vault, where, key, seen, round(time.monotonic() - began), found)


def _report(
    vault: Vault, where: Place, key: Key, seen: Kept | None, seconds: int, found: _Found
) -> Report:
    checkpoint, faults = seen and seen.checkpoint, reports.count_faults(found.faults)
    snapshot_at = ""
    if found.snapshot:
        since = timedelta(microseconds=found.snapshot.time_ns // 1000)
        snapshot_at = reports.instant(datetime(1970, 1, 1, tzinfo=UTC) + since)
    return Report(
        commune=vault.code,
        set=vault.set_code,
        where=where,
        key=str(key),
        at=reports.instant(datetime.now(UTC)),
        moment=vault.moment,
        snapshot_at=snapshot_at,
        snapshots=found.snapshots,
        files_in_snapshot=found.listed_files,
        bytes_in_snapshot=found.listed_bytes,
        whole_listing=found.whole,
        files_restored=found.files,
        bytes_restored=found.bytes,
        compared_with_disk=found.compared,
        changed_since=found.changed,
        faults=tuple(faults),
        limit=found.limit,
        restic_version=found.restic_version,
        log_size=checkpoint.size if checkpoint else 0,
        log_root=base64.b64encode(checkpoint.root).decode() if checkpoint else "",
        seconds=seconds,
        verdict=reports.verdict(faults, found.limit, found.files),
    )


def _blame(vault: Vault, found: _Found, fault: Fault) -> None:
    """Note a fault, unless the vault stopped answering: then end the drill."""
    if vault.stopped:
        found.limit = vault.stopped
        raise _Over
    found.faults.append(fault)


def _left(vault: Vault, found: _Found) -> int | None:
    try:
        return vault.left_bytes()
    except AuditError:
        found.limit = Limit.NETWORK
        raise _Over from None


def _need_room(folder: Path, size: int) -> None:
    """A full disk here is no fault of the backup."""
    free = shutil.disk_usage(folder).free
    if free < size + SPARE_BYTES:
        raise DrillError(
            f"il faut {(size + SPARE_BYTES) // 10**6} Mo libres là où l'essai restaure, "
            f"il en reste {free // 10**6}"
        )


def _open(vault: Vault, password: bytes, found: _Found) -> Repository:
    try:
        if not any(True for _ in vault.source.names("config")) and not vault.stopped:
            raise DrillError("ce dépôt n'est pas encore initialisé : il n'y a rien à restaurer")
        repository = Repository.open(vault.source, password)
        snapshots = repository.snapshots()
        if not snapshots:
            raise DrillError("ce dépôt ne contient aucune sauvegarde : il n'y a rien à restaurer")
        found.snapshot, found.snapshots = snapshots[-1], len(snapshots)
        for _, error in repository.read_index():
            if error:
                _blame(vault, found, Fault.REPOSITORY)
    except WrongPassword:
        _blame(vault, found, Fault.PASSWORD)
        raise _Over from None
    except (FormatError, OSError):
        _blame(vault, found, Fault.REPOSITORY)
        raise _Over from None
    return repository


def _draw(vault: Vault, repository: Repository, wanted: int, found: _Found) -> list[_File]:
    """List the backup and draw files, each with the same chance. Where the day's reads do not
    cover all directories, as many as they cover are listed, in random order."""
    assert found.snapshot is not None
    left, chance = _left(vault, found), random.SystemRandom()
    allowed = None if left is None else int(left * _LISTING_SHARE)
    drawn: list[tuple[float, int, _File]] = []
    tree = found.snapshot.tree
    todo: list[tuple[bytes, tuple[bytes, ...]]] = [(b"", (tree,))]
    found.whole = True
    while todo:
        at = chance.randrange(len(todo))
        todo[at], todo[-1] = todo[-1], todo[at]
        parent, trees = todo.pop()
        cost = _sealed_bytes(repository, trees[-1])
        is_over = found.listed_files > _LISTED_MAX or len(trees) > MAX_DEPTH
        if is_over or (allowed is not None and cost > allowed):
            found.whole = False
            continue
        allowed = None if allowed is None else allowed - cost
        try:
            for node in repository.tree(trees[-1]):
                path = parent + b"/" + node.name
                if node.type == "dir" and node.subtree:
                    todo.append((path, (*trees, node.subtree)))
                elif node.type == "dir":
                    _blame(vault, found, Fault.LISTING)
                elif node.type == "file":
                    found.listed_files += 1
                    found.listed_bytes += node.size
                    if node.has_plain_name and len(path) < _PATH_MAX:
                        entry = (chance.random(), found.listed_files, _File(path, node, trees))
                        (heapq.heappush if len(drawn) < wanted else heapq.heappushpop)(drawn, entry)
        except (FormatError, OSError):
            found.whole = False
            _blame(vault, found, Fault.LISTING)
    if found.whole and not found.listed_files:
        _blame(vault, found, Fault.EMPTY)
    return [file for *_, file in drawn]


def _sealed_bytes(repository: Repository, tree: bytes) -> int:
    return next((copy.length for copy in repository.index.find(TREE, tree)), 0)


def _choose(
    vault: Vault, repository: Repository, drawn: list[_File], budget: Budget, found: _Found
) -> list[_File]:
    """Of the files drawn, those that fit; ends the drill when none does."""
    left = _left(vault, found)
    budget.reads = None if left is None else int(left * _MARGIN)
    known: set[bytes] = set()
    chosen = []
    for file in drawn:
        copies = (repository.index.find(DATA, name)[:1] for name in file.node.blobs)
        blobs = [Piece(b.pack, b.offset, b.offset + b.length) for copy in copies for b in copy]
        new = set(file.trees) - known
        trees = sum(_sealed_bytes(repository, tree) for tree in new)
        if budget.takes(file.node.size, blobs, trees):
            chosen.append(file)
            known |= new
    if not chosen and drawn and left is None:
        # Each is larger than the sample: one is better than none.
        chosen = [min(drawn, key=lambda file: file.node.size)]
    if not chosen:
        if left is not None and (drawn or not found.whole):
            found.limit = Limit.BUDGET
        raise _Over
    return chosen


def _restore(
    vault: Vault,
    repository: Repository,
    chosen: Sequence[_File],
    target: Path,
    progress: Progress | None,
    found: _Found,
) -> None:
    """With our own reader. What it could not restore, the comparison sees."""
    assert found.snapshot is not None
    total = sum(file.node.size for file in chosen)
    restoration = Restoration(
        repository, token=secrets.token_hex(6), progress=progress, total_bytes=total or 1
    )
    restoration.run(found.snapshot.tree, target, Selection([file.path for file in chosen]))
    if vault.stopped:
        found.limit = vault.stopped
        raise _Over


# The judge ----------------------------------------------------------------------------------------


def _restore_with_restic(
    vault: Vault,
    password: bytes,
    chosen: Sequence[_File],
    target: Path,
    held: int,
    found: _Found,
) -> bool:
    """With the stock program. False when it is not there."""
    program = shutil.which("restic")
    if program is None:
        return False
    assert found.snapshot is not None
    asked = subprocess.run(
        [program, "version"], capture_output=True, timeout=60, env=_environment()
    )
    told = asked.stdout.split()
    found.restic_version = told[1].decode("ascii", "replace")[:40] if len(told) > 1 else "?"
    includes = [part for file in chosen for part in (b"--include", _escaped(file.path))]
    seconds = _START_S + sum(file.node.size for file in chosen) // _SLOWEST
    with ExitStack() as pipes:
        address = pipes.enter_context(_piped(vault.repository().encode()))
        secret = pipes.enter_context(_piped(password))
        command = [
            *(program, "--no-cache", "--no-lock"),
            *("--repository-file", f"/dev/fd/{address}", "--password-file", f"/dev/fd/{secret}"),
            *("restore", found.snapshot.id.hex(), "--target", os.fspath(target)),
        ]
        # With the lock of the folder: as long as restic writes there, nobody wipes it.
        kept_open = (address, secret, held)
        failed, limit = _judge([*map(os.fsencode, command), *includes], kept_open, seconds)
    if failed:
        _left(vault, found)  # a server that is gone is no fault of the backup
    if limit:
        found.limit = limit
        raise _Over
    if failed:
        found.faults.append(Fault.RESTIC)
    return True


def _environment() -> dict[str, str]:
    """Nothing that would name another repository or password than the drill does."""
    return {name: value for name, value in os.environ.items() if name[:6] != "RESTIC"}


def _judge(
    command: Sequence[bytes], kept_open: Sequence[int], seconds: float
) -> tuple[bool, Limit]:
    """Whether restic failed, and what stopped it. It tries again for a quarter of an hour what will
    never be answered otherwise: such an answer ends it at once."""
    status, unreachable, late, process = 0, False, threading.Event(), None
    try:
        process = subprocess.Popen(
            command,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=kept_open,
        )
        timer = threading.Timer(seconds, _give_up, (process, late))
        timer.daemon = True
        timer.start()
        assert process.stderr is not None
        for line in process.stderr:
            told = _STATUS.search(line)
            unreachable = unreachable or _UNREACHABLE.search(line) is not None
            if told and int(told[1]) in _FINAL:
                status = int(told[1])
                process.kill()
        process.wait()
        timer.cancel()
    finally:
        if process is not None:
            process.kill()
            process.wait()
    if status == 403:
        return True, Limit.BUDGET
    failed = process.returncode != 0
    if late.is_set() or status == 401 or (failed and unreachable and not status):
        return True, Limit.NETWORK
    return failed, Limit.NONE


def _give_up(process: subprocess.Popen[bytes], late: threading.Event) -> None:
    late.set()
    process.kill()


@contextmanager
def _piped(content: bytes) -> Iterator[int]:
    """A descriptor from which one program reads a secret, which no disk and no list of processes
    ever shows."""
    if len(content) > _PIPED_MAX:
        raise DrillError("le mot de passe ou l'adresse est démesuré")
    reader, writer = os.pipe()
    try:
        with open(writer, "wb") as opened:  # noqa: PTH123
            opened.write(content)
        yield reader
    finally:
        os.close(reader)


def _escaped(path: bytes) -> bytes:
    """A path as a pattern of restic's that means it alone."""
    return re.sub(rb"([\\*?\[\]])", rb"\\\1", path)


# Comparing ----------------------------------------------------------------------------------------


def _compare(
    repository: Repository,
    file: _File,
    ours: Path,
    theirs: Path | None,
    host: str,
    found: _Found,
) -> None:
    """The bytes of both against the hashes in the backup; then the machine's own file."""
    below = os.fsdecode(file.path.lstrip(b"/"))
    right = _is_right(repository, ours / below, file.node)
    if not right:
        found.faults.append(Fault.READER)
    copy = ours / below
    if theirs:
        copy = theirs / below
        judged = _is_right(repository, copy, file.node)
        right = judged is True
        if not right:
            found.faults.append(Fault.MISSING if judged is None else Fault.CONTENT)
    if not right:
        return
    found.files += 1
    found.bytes += file.node.size
    assert found.snapshot is not None
    if host and host == found.snapshot.hostname:
        _compare_with_disk(file, copy, found.snapshot, found)


def _is_right(repository: Repository, copy: Path, node: Node) -> bool | None:
    """Whether a restored file is, blob after blob, what the backup's hashes say; None without one."""
    try:
        with copy.open("rb") as opened:
            for name in node.blobs:
                if sha256(opened.read(repository.size_of(DATA, name))).digest() != name:
                    return False
            return not opened.read(1)
    except FormatError:
        return False
    except OSError:
        return None


def _compare_with_disk(file: _File, copy: Path, snapshot: Snapshot, found: _Found) -> None:
    roots = [os.fsencode(path) for path in snapshot.paths]
    for path in reports.on_disk(file.path, roots):
        same = _is_same(path, copy, file.node, snapshot.time_ns)
        if same is not None:
            found.compared += 1
            if not same:
                found.faults.append(Fault.DISK)
            return
    found.changed += 1


def _is_same(path: bytes, copy: Path, node: Node, made_ns: int) -> bool | None:
    """Whether the machine's file is the copy; None when it changed since the backup, as its size, its
    dates or a change meanwhile say, or when it cannot be read."""
    try:
        descriptor = os.open(path, _READ_ONLY)
    except OSError:
        return None
    with open(descriptor, "rb") as mine, copy.open("rb") as theirs:  # noqa: PTH123
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode) or _dates(before)[:2] != (node.size, node.mtime_ns):
            return None
        try:
            same = _same_bytes(mine, theirs)
        except OSError:
            return None
        after = os.fstat(descriptor)
    if _dates(before) != _dates(after) or (not same and after.st_ctime_ns >= made_ns):
        return None
    return same


def _dates(about: os.stat_result) -> tuple[int, int, int]:
    return about.st_size, about.st_mtime_ns, about.st_ctime_ns


def _same_bytes(left: BinaryIO, right: BinaryIO) -> bool:
    while True:
        piece = left.read(_PIECE)
        if piece != right.read(_PIECE):
            return False
        if not piece:
            return True


__all__ = ["FILES", "SAMPLE_BYTES", "DrillError", "Outcome", "Vault", "Verdict", "drill", "run"]
