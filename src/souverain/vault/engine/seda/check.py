"""The check of a SIP: what its manifest says, against what its zip holds.

The rules beyond the schema are those of Vitam's entry workflow (sizes, digests, one file for each
object, no orphan, no loop), which its own documents describe.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO
from urllib.parse import unquote

from lxml import etree

from souverain.vault.engine.seda import DIGESTS, MANIFEST, WEAK_DIGESTS
from souverain.vault.engine.seda.container import Container, ContainerError, open_container
from souverain.vault.engine.seda.findings import Findings
from souverain.vault.engine.seda.manifest import (
    ANY,
    GROUP,
    UNIT,
    DataObject,
    Manifest,
    parser,
    read_manifest,
)

Progress = Callable[[int, int], None]
MAX_MANIFEST_BYTES = 1 << 30
MAX_PROFILED_BYTES = 64 << 20
"""A profile needs the whole manifest in memory, at ten times its size."""


class ProfileError(ValueError):
    """Why a profile cannot be used, in French."""


def check_sip(
    file: BinaryIO,
    progress: Progress = lambda done, total: None,
    profile: bytes | None = None,
) -> Findings:
    """Check a SIP, and that it follows an archival profile (a RELAX NG schema) when one is given;
    `progress(done, total)` counts inflated bytes of the objects."""
    findings = Findings()
    container = open_container(file, findings)
    if container is None:
        return findings
    manifest = _manifest(container, findings)
    if manifest is None:
        return findings
    if profile is not None:
        _check_profile(container, profile, findings)
    elif manifest.profile:
        findings.not_checked.append(f"Profil d'archivage {manifest.profile} (--profile).")
    _check_references(manifest, findings)
    _check_tree(manifest, findings)
    _check_orphans(manifest, findings)
    _check_objects(manifest, container, findings, progress)
    return findings


def _manifest(container: Container, findings: Findings) -> Manifest | None:
    entry = container.entries.get(MANIFEST)
    if entry is None:
        findings.refuse(MANIFEST, "Le bordereau manifest.xml manque à la racine de l'archive.")
        return None
    if entry.file_size > MAX_MANIFEST_BYTES:
        findings.refuse(MANIFEST, f"Bordereau de plus de {MAX_MANIFEST_BYTES} octets.")
        return None
    try:
        return read_manifest(_Stream(container.read(MANIFEST)), findings)
    except ContainerError as error:
        findings.refuse(MANIFEST, str(error))
        return None


def _check_profile(container: Container, profile: bytes, findings: Findings) -> None:
    """A profile asks more than SEDA: the archives that wrote it hand it out."""
    if container.entries[MANIFEST].file_size > MAX_PROFILED_BYTES:
        findings.refuse(MANIFEST, f"Profil : bordereau de plus de {MAX_PROFILED_BYTES} octets.")
        return
    try:
        schema = etree.RelaxNG(etree.fromstring(profile, parser()))
    except (etree.RelaxNGError, etree.XMLSyntaxError) as error:
        raise ProfileError(f"Ce n'est pas un profil RELAX NG lisible : {error}") from error
    schema.validate(etree.fromstring(b"".join(container.read(MANIFEST)), parser()))
    for fault in schema.error_log:
        place = f"{MANIFEST}, ligne {fault.line}"
        findings.refuse(place, f"Non conforme au profil d'archivage : {fault.message}")


class _Stream(io.RawIOBase):
    """An iterator of bytes as a file that can be read."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces, self.left = pieces, b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while not self.left:
            piece = next(self.pieces, None)
            if piece is None:
                return b""
            self.left = piece
        given, self.left = self.left[:size], self.left[size:]
        return given


def _check_references(manifest: Manifest, findings: Findings) -> None:
    for reference in manifest.references:
        kind = manifest.declared.get(reference.target)
        if kind is None:
            findings.refuse(reference.place, f"« {reference.target} » n'est déclaré nulle part.")
        elif reference.kind not in (ANY, kind):
            findings.refuse(
                reference.place, f"{reference.target} est un {kind}, non un {reference.kind}."
            )


def _check_tree(manifest: Manifest, findings: Findings) -> None:
    """An archive unit is never, through any stand-in, below itself."""
    below = {
        unit: [manifest.stand_ins.get(child, child) for child in children]
        for unit, children in manifest.children.items()
    }
    done: set[str] = set()
    for start in below:
        path: dict[str, Iterator[str]] = {}
        if start not in done:
            path[start] = iter(below[start])
        while path:
            unit = next(reversed(path))
            child = next(path[unit], None)
            if child is None:
                path.popitem()
                done.add(unit)
            elif child in path:
                findings.refuse(
                    f"{MANIFEST}, ArchiveUnit {unit}",
                    f"Boucle : {child} contient {unit}, qui le contient.",
                )
            elif child in below and child not in done:
                path[child] = iter(below[child])
    for stand_in, target in manifest.stand_ins.items():
        if target in manifest.stand_ins:
            findings.refuse(
                f"{MANIFEST}, ArchiveUnit {stand_in}",
                f"ArchiveUnitRefId vise {target}, qui n'est lui-même qu'un renvoi.",
            )


def _check_orphans(manifest: Manifest, findings: Findings) -> None:
    """Each object is described by a unit, by itself or through its group."""
    orphans = {
        manifest.groups.get(identity) or identity
        for identity, kind in manifest.declared.items()
        if kind not in (UNIT, GROUP, ANY)
        and identity not in manifest.described
        and manifest.groups.get(identity) not in manifest.described
    }
    for orphan in sorted(orphans):
        findings.refuse(
            f"{MANIFEST}, {orphan}", "Aucune unité d'archives ne décrit cet objet ou ce groupe."
        )


def _check_objects(
    manifest: Manifest, container: Container, findings: Findings, progress: Progress
) -> None:
    total = sum(entry.file_size for entry in container.entries.values())
    done = 0
    used: dict[str, str] = {MANIFEST: "le bordereau"}
    for item in manifest.objects:
        name = _entry_name(item, container, findings)
        if name is None:
            continue
        if name in used:
            findings.refuse(item.place, f"« {item.uri} » est déjà {used[name]}.")
            continue
        used[name] = f"l'objet {item.identity}"
        for step in _check_content(item, name, container, findings):
            done += step
            progress(done, total)
    for name in sorted(container.entries.keys() - used.keys()):
        findings.refuse(name, "Fichier que le bordereau ne déclare pas.")
    folders = {name.partition("/")[0] for name in used if "/" in name}
    if len(folders) > 1:
        names = ", ".join(sorted(folders))
        findings.warn("archive", f"Vitam n'admet qu'un dossier d'objets, et non {names}.")


def _entry_name(item: DataObject, container: Container, findings: Findings) -> str | None:
    """The file of an object; None, with the reason, when it has none that may be read."""
    if item.attached:
        findings.warn(item.place, "Objet joint dans le bordereau : son contenu n'est pas vérifié.")
        return None
    uri = item.uri
    if not uri:
        findings.refuse(item.place, "L'objet n'a pas d'adresse (Uri).")
        return None
    decoded = unquote(uri)
    parts = re.split(r"[/\\]", decoded)
    if re.match(r"[A-Za-z][A-Za-z0-9+.\-]*:", decoded) or not parts[0] or ".." in parts:
        findings.refuse(item.place, f"Adresse hors du SIP : « {uri} ».")
        return None
    for name in (uri, decoded):
        if name in container.entries:
            return name
    findings.refuse(item.place, f"Fichier absent de l'archive : « {uri} ».")
    return None


def _check_content(
    item: DataObject, name: str, container: Container, findings: Findings
) -> Iterator[int]:
    """Yields the bytes read, piece by piece."""
    algorithm = DIGESTS.get(item.algorithm)
    if not item.digest:
        findings.refuse(item.place, "L'empreinte (MessageDigest) manque.")
    elif algorithm is None:
        known = ", ".join(DIGESTS)
        findings.refuse(
            item.place, f"Algorithme d'empreinte « {item.algorithm} » ; sont admis {known}."
        )
    elif item.algorithm in WEAK_DIGESTS:
        findings.warn(
            item.place, f"L'empreinte {item.algorithm} ne protège plus d'une falsification."
        )
    digest = hashlib.new(algorithm or "sha512", usedforsecurity=False)
    size = 0
    try:
        for piece in container.read(name):
            digest.update(piece)
            size += len(piece)
            yield len(piece)
    except ContainerError as error:
        findings.refuse(name, str(error))
        return
    if item.digest and algorithm and item.digest.lower() != digest.hexdigest():
        findings.refuse(item.place, f"L'empreinte {item.algorithm} n'est pas celle du fichier.")
    if item.size and int(item.size) != size:
        findings.refuse(item.place, f"Taille déclarée {item.size} octets, réelle {size}.")
    elif not item.size and size:
        # SEDA's Size is positive: an empty file has none.
        findings.warn(item.place, "La taille (Size) n'est pas déclarée.")
