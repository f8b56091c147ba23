"""A zip from somebody unknown, read without trusting what it says of itself.

Format: PKWARE APPNOTE 6.3 (https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT). Nothing is
ever written to the disk; content is inflated piece by piece, and never beyond its declared size.
"""

from __future__ import annotations

import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from souverain.vault.engine.seda.findings import Findings

CHUNK = 1 << 20
MAX_DIRECTORY_BYTES = 128 << 20
"""Of the central directory: about a million entries."""
MAX_DEPTH = 32
MAX_NAME_BYTES = 1024
MAX_RATIO = 200
"""Inflated bytes for one of the zip, beyond FREE_BYTES; DEFLATE itself can reach 1,032."""
FREE_BYTES = 64 << 20


class ContainerError(ValueError):
    """Why an entry cannot be read, in French."""


@dataclass(frozen=True)
class Container:
    file: BinaryIO
    entries: dict[str, zipfile.ZipInfo]
    """Files by name; folders are not here."""

    def read(self, name: str) -> Iterator[bytes]:
        """The content of one entry, in pieces of at most CHUNK bytes. Raises ContainerError."""
        return _content(self.file, self.entries[name])


def open_container(file: BinaryIO, findings: Findings) -> Container | None:
    """The entries of a zip; None, with the reason found, when it is not safe to read any."""
    try:
        directory_bytes = _directory_bytes(file)
        if directory_bytes > MAX_DIRECTORY_BYTES:
            findings.refuse("archive", "Le répertoire de l'archive est trop grand.")
            return None
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, struct.error) as error:
        findings.refuse("archive", f"Ce n'est pas une archive zip lisible ({error}).")
        return None
    safe = [_is_safe(entry, findings) for entry in entries]
    expected = _names_are_unique(entries, findings) and _sizes_are_plausible(
        file, entries, findings
    )
    if not (expected and all(safe)):
        return None
    return Container(file, {entry.filename: entry for entry in entries if not entry.is_dir()})


def _directory_bytes(file: BinaryIO) -> int:
    """What the end of the archive says of its directory, before all of it is read into memory."""
    size = file.seek(0, 2)
    start = max(0, size - 65_557 - 76)
    file.seek(start)
    tail = file.read()
    end = tail.rfind(b"PK\5\6")
    if end < 0 or end + 22 > len(tail):
        raise zipfile.BadZipFile("fin d'archive introuvable")
    found: int = struct.unpack_from("<L", tail, end + 12)[0]
    wide = tail.rfind(b"PK\6\6", 0, end)
    if found == 0xFFFFFFFF and 0 <= wide <= len(tail) - 48:
        found = struct.unpack_from("<Q", tail, wide + 40)[0]
    return found


def _is_safe(entry: zipfile.ZipInfo, findings: Findings) -> bool:
    reason = _fault_of_name(entry.orig_filename) or _fault_of_kind(entry)
    if reason:
        findings.refuse(entry.orig_filename, reason)
    return not reason


def _fault_of_name(name: str) -> str:
    """What makes a path inside an archive dangerous; empty when nothing does."""
    parts = name.removesuffix("/").split("/")
    if not name or any(ord(character) < 32 or ord(character) == 127 for character in name):
        return "Nom vide ou avec un caractère de commande."
    if "\\" in name or name.startswith("/") or (len(name) > 1 and name[1] == ":"):
        return "Chemin absolu ou avec une barre inverse."
    if any(part in ("", ".", "..") for part in parts):
        return "Chemin qui sort de l'archive ou qui n'est pas net (« .. », « . », « // »)."
    if len(parts) > MAX_DEPTH or len(name.encode("utf-8", "replace")) > MAX_NAME_BYTES:
        return f"Chemin trop long, ou plus de {MAX_DEPTH} dossiers les uns dans les autres."
    return ""


def _fault_of_kind(entry: zipfile.ZipInfo) -> str:
    if entry.flag_bits & 0x2041:
        return "Entrée chiffrée."
    if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "Lien symbolique ou fichier spécial."
    if entry.is_dir() and entry.file_size:
        return "Dossier qui contient des octets."
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "Méthode de compression autre que « stored » et « deflate »."
    return ""


def _names_are_unique(entries: list[zipfile.ZipInfo], findings: Findings) -> bool:
    """Case and the form of accents do not make another name: not on every machine."""
    seen: dict[str, str] = {}
    unique = True
    for entry in entries:
        name = entry.orig_filename.removesuffix("/")
        known = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if known is not name:
            unique = False
            findings.refuse(name, "Nom présent deux fois dans l'archive.")
    return unique


def _sizes_are_plausible(
    file: BinaryIO, entries: list[zipfile.ZipInfo], findings: Findings
) -> bool:
    size = file.seek(0, 2)
    inflated = sum(entry.file_size for entry in entries)
    if inflated > FREE_BYTES and inflated > MAX_RATIO * size:
        findings.refuse(
            "archive", f"Bombe de décompression : {inflated} octets annoncés pour {size} reçus."
        )
        return False
    end = 0
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        if entry.header_offset < end:
            findings.refuse(entry.orig_filename, "Entrée qui en recouvre une autre.")
            return False
        end = entry.header_offset + 30 + entry.compress_size
    if end > size:
        findings.refuse("archive", "Des entrées dépassent la fin de l'archive.")
    return end <= size


def _content(file: BinaryIO, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    _skip_local_header(file, entry)
    position, left = file.tell(), entry.compress_size
    inflater = zlib.decompressobj(-15) if entry.compress_type == zipfile.ZIP_DEFLATED else None
    size = checksum = 0
    try:
        while left:
            file.seek(position)
            packed = file.read(min(left, CHUNK))
            if not packed:
                raise ContainerError("Contenu tronqué.")
            position, left = position + len(packed), left - len(packed)
            for piece in _inflated(inflater, packed, last=not left) if inflater else [packed]:
                size, checksum = size + len(piece), zlib.crc32(piece, checksum)
                if size > entry.file_size:
                    raise ContainerError("Le contenu dépasse la taille que l'archive annonce.")
                yield piece
    except zlib.error as error:
        raise ContainerError("Contenu compressé illisible.") from error
    if inflater and (not inflater.eof or inflater.unused_data):
        raise ContainerError("Le contenu compressé ne finit pas où l'archive le dit.")
    if size != entry.file_size or checksum != entry.CRC:
        raise ContainerError("Contenu altéré : taille ou somme de contrôle (CRC) différente.")


def _inflated(inflater: zlib._Decompress, packed: bytes, *, last: bool) -> Iterator[bytes]:
    while packed and not inflater.eof:
        yield inflater.decompress(packed, CHUNK)
        packed = inflater.unconsumed_tail
    if last and not inflater.eof:
        yield inflater.decompress(b"", CHUNK)


def _skip_local_header(file: BinaryIO, entry: zipfile.ZipInfo) -> None:
    file.seek(entry.header_offset)
    header = file.read(30)
    if len(header) < 30 or header[:4] != b"PK\3\4":
        raise ContainerError("En-tête d'entrée introuvable.")
    flags, name_bytes, extra_bytes = struct.unpack("<6xH18xHH", header)
    name = file.read(name_bytes).decode("utf-8" if flags & 0x800 else "cp437", "replace")
    if name != entry.orig_filename:
        raise ContainerError("L'entrée porte deux noms différents.")
    file.seek(extra_bytes, 1)
