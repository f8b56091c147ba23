"""A folder packed as a bag.

Format: BagIt 0.97 (https://datatracker.ietf.org/doc/html/draft-kunze-bagit-14), which readers of 1.0
(RFC 8493) take too. The difference that decides: 1.0 wants « % » encoded in names, and the most used
reader, bagit-python, does not decode it, so that « 100 %.pdf » would be missing.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from souverain.vault.engine.folder import FolderError, Item, Listing, Progress, read_file

KEPT_FOLDER = ".keep"
"""The empty file that stands for an empty folder, which a bag cannot hold (RFC 8493, 2.1.3)."""
_DECLARATION = "BagIt-Version: 0.97\nTag-File-Character-Encoding: UTF-8\n"


@dataclass(frozen=True)
class About:
    """What `bag-info.txt` says of a bag; an empty text is left out."""

    made_at: datetime
    title: str
    producer: str
    note: str


def write_bag(
    listing: Listing,
    folder: Path,
    about: About,
    progress: Progress = lambda done, total: None,
) -> None:
    """Fill an existing empty folder with a bag. Raises FolderError for a name that a bag cannot
    hold, before anything is written."""
    payload = {parts: item for item, parts in _payload(listing)}
    names = {parts: _written(parts) for parts in payload}
    _refuse_look_alikes(names.values())
    total, done = listing.bytes, 0
    manifest: list[str] = []
    for parts, item in payload.items():
        target = folder.joinpath("data", *parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with target.open("xb") as file:
            for piece in () if item.is_folder else read_file(listing, item):
                digest.update(piece)
                file.write(piece)
                done += len(piece)
                progress(done, total)
        if not item.is_folder:
            os.utime(target, (item.modified_s, item.modified_s))
        manifest.append(f"{digest.hexdigest()}  {names[parts]}\n")
    tags = {
        "bagit.txt": _DECLARATION,
        "bag-info.txt": _bag_info(about, total, len(payload)),
        "manifest-sha256.txt": "".join(manifest),
    }
    sums = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in tags.items()}
    tags["tagmanifest-sha256.txt"] = "".join(f"{sums[name]}  {name}\n" for name in sums)
    for name, text in tags.items():
        (folder / name).write_bytes(text.encode())


def _payload(listing: Listing) -> Iterator[tuple[Item, tuple[str, ...]]]:
    for at, item in enumerate(listing.items):
        if not item.is_folder:
            yield item, item.parts
        elif listing.is_empty(at):
            yield item, (*item.parts, KEPT_FOLDER)


def _written(parts: tuple[str, ...]) -> str:
    """A payload path as the manifest writes it."""
    path = "/".join(("data", *parts))
    written = path.replace("\r", "%0D").replace("\n", "%0A")
    try:
        written.encode()
    except UnicodeEncodeError:
        raise FolderError(f"Nom qui n'est pas de l'UTF-8 : {os.fsencode(path)!r}.") from None
    one_line = written.splitlines() == [written] and written.strip() == written
    if re.search(r"%0[ad]", path, re.IGNORECASE) or not one_line:
        raise FolderError(f"BagIt ne sait pas écrire ce nom ; renommez-le : {path!r}.")
    return written


def _refuse_look_alikes(names: Iterable[str]) -> None:
    """Readers of bags take two spellings of the same accents for one name, as some disks do."""
    seen: dict[str, str] = {}
    for name in names:
        if seen.setdefault(unicodedata.normalize("NFC", name), name) != name:
            raise FolderError(f"Deux noms ne diffèrent que par l'écriture des accents : {name}.")


def _bag_info(about: About, size: int, count: int) -> str:
    lines = {
        "Source-Organization": about.producer,
        "External-Description": about.title,
        "Internal-Sender-Description": about.note,
        "Bagging-Date": about.made_at.date().isoformat(),
        "Bag-Software-Agent": "souverain",
        "Payload-Oxum": f"{size}.{count}",
    }
    return "".join(
        f"{name}: {' '.join(text.split())}\n" for name, text in lines.items() if text.strip()
    )
