"""A folder packed as a SIP: each folder and each file an archive unit, each file an object.

The zip stores objects as they are (no compression: scans and PDFs do not shrink, and a reader has
no bomb to fear); names in it are identifiers, and the real ones are in the manifest.
"""

from __future__ import annotations

import hashlib
import html
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO

from souverain.vault.engine.folder import Item, Listing, Progress, read_file
from souverain.vault.engine.seda import MANIFEST, NAMESPACE, VERSIONS

_ILLEGAL = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# The code lists that each schema insists on.
_CODE_LISTS = ("AccessRule", "DisseminationRule", "ReuseRule", "ClassificationRule")


@dataclass(frozen=True)
class Transfer:
    """What the head of the manifest says."""

    version: str
    """One of VERSIONS."""
    made_at: datetime
    title: str
    producer: str
    """Identifier of who made, and transfers, the archives."""
    archives: str
    """Identifier of the archives that receive them."""
    agreement: str
    """Identifier of the entry contract; empty for none."""
    note: str


@dataclass(frozen=True)
class _Object:
    uri: str
    digest: str


def write_sip(
    listing: Listing,
    output: BinaryIO,
    transfer: Transfer,
    progress: Progress = lambda done, total: None,
) -> None:
    """Write a SIP; the same folder and transfer give the same bytes. `progress` counts bytes."""
    if transfer.version not in VERSIONS:
        raise ValueError(f"SEDA {transfer.version}")
    total, done = listing.bytes, 0
    objects: dict[int, _Object] = {}
    with zipfile.ZipFile(output, "w") as archive:
        for number, item in enumerate(listing.items):
            if item.is_folder:
                continue
            uri = f"Content/{_object_id(number)}{_extension(item.parts[-1])}"
            digest = hashlib.sha512()
            with archive.open(_entry(uri, transfer, item.size), "w") as entry:
                for piece in read_file(listing, item):
                    digest.update(piece)
                    entry.write(piece)
                    done += len(piece)
                    progress(done, total)
            objects[number] = _Object(uri, digest.hexdigest())
        head = _entry(MANIFEST, transfer, 0)
        head.compress_type = zipfile.ZIP_DEFLATED
        with archive.open(head, "w", force_zip64=True) as entry:
            for text in _manifest(listing, objects, transfer):
                entry.write(text.encode())


def _entry(name: str, transfer: Transfer, size: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, transfer.made_at.astimezone(UTC).timetuple()[:6])
    entry.file_size = size  # from which zipfile decides on zip64
    entry.external_attr = 0o100600 << 16
    return entry


def _object_id(number: int) -> str:
    return f"O{number}"


def _extension(name: str) -> str:
    """What a format is first guessed from, when it is harmless in a path."""
    found = re.search(r"\.[A-Za-z0-9]{1,10}$", name)
    return found[0] if found else ""


def _manifest(listing: Listing, objects: dict[int, _Object], transfer: Transfer) -> Iterator[str]:
    yield '<?xml version="1.0" encoding="UTF-8"?>\n'
    yield f'<ArchiveTransfer xmlns="{NAMESPACE}{transfer.version}">\n'
    made_at = _date_time(transfer.made_at)
    yield _tag("Comment", transfer.note) + _tag("Date", made_at)
    yield _tag("MessageIdentifier", f"souverain {made_at}")
    if transfer.agreement:
        yield _tag("ArchivalAgreement", transfer.agreement)
    lists = (*_CODE_LISTS, *(("HoldRule",) if transfer.version != "2.1" else ()))
    yield "<CodeListVersions>\n"
    yield from (_tag(f"{name}CodeListVersion", "non précisée") for name in lists)
    yield "</CodeListVersions>\n<DataObjectPackage>\n"
    for number, found in objects.items():
        yield _data_object(number, found, listing.items[number])
    yield "<DescriptiveMetadata>\n"
    yield from _units(listing, transfer.title)
    yield "</DescriptiveMetadata>\n<ManagementMetadata>\n"
    yield _tag("OriginatingAgencyIdentifier", transfer.producer)
    yield _tag("SubmissionAgencyIdentifier", transfer.producer)
    yield "</ManagementMetadata>\n</DataObjectPackage>\n"
    yield f"<ArchivalAgency>{_tag('Identifier', transfer.archives)}</ArchivalAgency>\n"
    yield f"<TransferringAgency>{_tag('Identifier', transfer.producer)}</TransferringAgency>\n"
    yield "</ArchiveTransfer>\n"


def _data_object(number: int, found: _Object, item: Item) -> str:
    # SEDA's Size is a positive number: an empty file has none.
    size = _tag("Size", str(item.size)) if item.size else ""
    return (
        f'<DataObjectGroup id="G{number}">\n<BinaryDataObject id="{_object_id(number)}">\n'
        + _tag("DataObjectVersion", "BinaryMaster_1")
        + _tag("Uri", found.uri)
        + f'<MessageDigest algorithm="SHA-512">{found.digest}</MessageDigest>\n'
        + f"{size}<FileInfo>\n{_tag('Filename', item.parts[-1])}{_modified(item)}</FileInfo>\n"
        + "</BinaryDataObject>\n</DataObjectGroup>\n"
    )


def _modified(item: Item) -> str:
    try:
        return _tag("LastModified", _date_time(datetime.fromtimestamp(item.modified_s, UTC)))
    except (OverflowError, ValueError, OSError):  # a clock far from ours set it
        return ""


def _units(listing: Listing, title: str) -> Iterator[str]:
    depth = 0
    for number, item in enumerate(listing.items):
        level = len(item.parts) + 1
        yield "</ArchiveUnit>\n" * (depth - level + 1)
        depth = level
        yield f'<ArchiveUnit id="U{number}">\n<Content>\n'
        yield _tag("DescriptionLevel", "RecordGrp" if item.is_folder else "Item")
        yield _tag("Title", item.parts[-1] if item.parts else title) + "</Content>\n"
        if not item.is_folder:
            reference = _tag("DataObjectGroupReferenceId", f"G{number}")
            yield f"<DataObjectReference>\n{reference}</DataObjectReference>\n"
    yield "</ArchiveUnit>\n" * depth


def _date_time(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")


def _tag(name: str, text: str) -> str:
    """An element with a text; what XML cannot say is shown by U+FFFD."""
    legal = html.escape(_ILLEGAL.sub("\N{REPLACEMENT CHARACTER}", text), quote=False)
    return f"<{name}>{legal.replace(chr(13), '&#13;')}</{name}>\n"
