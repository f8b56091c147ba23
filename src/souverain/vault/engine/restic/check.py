"""The verdict on a repository: the same as `restic check --read-data`, by other means."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TypeVar

from souverain.vault.engine.restic import FormatError
from souverain.vault.engine.restic.files import Snapshot, parse_snapshot
from souverain.vault.engine.restic.index import DATA, TREE, Blob
from souverain.vault.engine.restic.packs import (
    LENGTH_FIELD,
    header_size,
    parse_header,
    sealed_header_size,
)
from souverain.vault.engine.restic.repository import Repository, reason
from souverain.vault.engine.restic.trees import ID, SPECIAL, Node

CHUNK = 1 << 20
MAX_TOLD = 1000  # faults kept; the others are counted
NULL = bytes(ID)

Item = TypeVar("Item")
Found = TypeVar("Found")
Progress = Callable[[int, int], None]  # bytes done, of


@dataclass(frozen=True)
class Fault:
    """`file`: as `data/<name>` or `tree/<id>`; `message`: in French, without its final stop."""

    file: str
    message: str


@dataclass
class Report:
    """`notes` say what is odd and harmless; any fault makes the repository bad."""

    errors: list[Fault] = field(default_factory=list)
    notes: list[Fault] = field(default_factory=list)
    error_count: int = 0
    note_count: int = 0
    snapshots: int = 0
    trees: int = 0
    packs: int = 0
    blobs: int = 0
    read_bytes: int = 0

    @property
    def ok(self) -> bool:
        return not self.error_count

    def fault(self, file: str, message: str) -> None:
        self.error_count += 1
        if len(self.errors) < MAX_TOLD:
            self.errors.append(Fault(file, message))

    def note(self, file: str, message: str) -> None:
        self.note_count += 1
        if len(self.notes) < MAX_TOLD:
            self.notes.append(Fault(file, message))


def check(repository: Repository, workers: int, progress: Progress | None = None) -> Report:
    """Read everything: index, packs (each byte, each blob, their headers), snapshots, trees.

    Snapshots are listed before the index is read, so that a backup that ends meanwhile is no fault.
    """
    report = Report()
    snapshots = _check_snapshots(repository, report)
    for name, error in repository.read_index():
        if error:
            report.fault(f"index/{name.hex()}", reason(error))
    sizes = _check_pack_list(repository, report)
    _check_trees(repository, snapshots, report)
    report.blobs = len(repository.index)
    total = sum(sizes.values())
    for pack, faults in _in_threads(
        lambda pack: (pack, list(pack_faults(repository, pack, sizes[pack]))), sizes, workers
    ):
        for message in faults:
            report.fault(f"data/{pack.hex()}", message)
        report.packs += 1
        report.read_bytes += sizes[pack]
        if progress:
            progress(report.read_bytes, total)
    return report


def _check_snapshots(repository: Repository, report: Report) -> list[Snapshot]:
    found = []
    for name, size in repository.named("snapshots"):
        try:
            found.append(parse_snapshot(name, repository.load("snapshots", name, size)))
        except (FormatError, OSError) as error:
            report.fault(f"snapshots/{name.hex()}", reason(error))
    report.snapshots = len(found)
    return found


def _check_pack_list(repository: Repository, report: Report) -> dict[bytes, int]:
    """Compare the files with the index; gives the packs to read, with their true size."""
    present = dict(repository.named("data"))
    to_read = {}
    for pack in repository.index.packs:
        blobs = repository.index.blobs_of(pack)
        size, file = present.pop(pack, None), f"data/{pack.hex()}"
        if not blobs:
            continue
        if size is None:
            report.fault(file, "Le paquet manque")
            continue
        expected = sum(blob.length for blob in blobs) + header_size(blobs)
        if size != expected:
            report.fault(file, f"Le paquet a {size} octets au lieu de {expected}")
        if len({blob.type for blob in blobs}) > 1:
            report.note(file, "Le paquet mêle répertoires et données")
        to_read[pack] = size
    for pack in present:
        report.note(f"data/{pack.hex()}", "Le paquet n'est dans aucun index")
    return to_read


def _check_trees(repository: Repository, snapshots: list[Snapshot], report: Report) -> None:
    """Walk what the snapshots reach, each tree once: a bit for each row of the index."""
    seen = bytearray(len(repository.index) // 8 + 1)
    todo = [snapshot.tree for snapshot in snapshots]
    while todo:
        tree = todo.pop()
        row = next(repository.index.rows(TREE, tree), None)
        if row is not None:
            if seen[row >> 3] >> (row & 7) & 1:
                continue
            seen[row >> 3] |= 1 << (row & 7)
        file = f"tree/{tree.hex()}"
        try:
            for node in repository.tree(tree):
                for message in node_faults(repository, node):
                    report.fault(file, message)
                if not node.has_plain_name:
                    report.note(file, "Un nom de fichier est piégé : il ne sera pas restauré")
                if node.type == "dir" and node.subtree not in (None, NULL):
                    todo.append(node.subtree)
        except (FormatError, OSError) as error:
            report.fault(file, reason(error))
        report.trees += 1


def node_faults(repository: Repository, node: Node) -> Iterator[str]:
    """What is wrong with an entry of a directory."""
    shown = node.name.decode(errors="backslashreplace")
    if not node.name:
        yield "Une entrée n'a pas de nom"
    if node.type == "file":
        if node.content is None:
            yield f"Le fichier « {shown} » n'a pas de contenu"
        for name in node.blobs:
            if next(repository.index.rows(DATA, name), None) is None:
                yield f"Le fichier « {shown} » a perdu le blob {name.hex()}"
    elif node.type == "dir":
        if node.subtree in (None, NULL):
            yield f"Le répertoire « {shown} » n'a pas de contenu"
    elif node.type != "symlink" and node.type not in SPECIAL:
        yield f"L'entrée « {shown} » est d'un type inconnu"


def pack_faults(repository: Repository, pack: bytes, size: int) -> Iterator[str]:
    """What is wrong with a pack, every byte of it read once, in order."""
    blobs = repository.index.blobs_of(pack)
    name, digest, position = pack.hex(), sha256(), 0
    starts = [0, *(blob.offset + blob.length for blob in blobs)]

    def digest_up_to(end: int) -> None:
        nonlocal position
        while position < end:
            step = min(CHUNK, end - position)
            digest.update(repository.source.read("data", name, position, step))
            position += step

    if any(blob.offset != start for blob, start in zip(blobs, starts, strict=False)):
        yield "Dans l'index, des blobs du paquet se recouvrent ou laissent des trous"
    try:
        for blob in blobs:
            try:
                sealed = repository.read_sealed(blob)
                digest_up_to(min(blob.offset, size))
                digest.update(memoryview(sealed)[max(0, position - blob.offset) :])
                position = max(position, blob.offset + blob.length)
                repository.open_blob(blob, sealed)
            except FormatError as error:
                yield f"Blob {blob.id.hex()} : {reason(error)}"
        digest_up_to(size)
        if digest.digest() != pack:
            yield "Le contenu n'a pas l'empreinte de son nom"
        yield from _header_faults(repository, pack, size, blobs)
    except (FormatError, OSError) as error:
        yield reason(error)


def _header_faults(
    repository: Repository, pack: bytes, size: int, indexed: list[Blob]
) -> Iterator[str]:
    """Where the header of a pack and the index differ."""
    read, name = repository.source.read, pack.hex()
    field = read("data", name, -LENGTH_FIELD, LENGTH_FIELD)
    sealed_size = sealed_header_size(field, size)
    sealed = read("data", name, size - LENGTH_FIELD - sealed_size, sealed_size)
    if LENGTH_FIELD + sealed_size != header_size(indexed):
        yield "L'en-tête du paquet n'a pas la longueur que dit l'index"
    for blob in parse_header(repository.open_sealed(sealed), pack):
        if blob not in repository.index.find(blob.type, blob.id):
            yield f"L'index n'a pas le blob {blob.id.hex()}, ou le place ailleurs"


def _in_threads(
    function: Callable[[Item], Found], items: Iterable[Item], workers: int
) -> Iterator[Found]:
    """As `map`, in threads, with few items under way; leaving it early starts no other."""
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Found]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
