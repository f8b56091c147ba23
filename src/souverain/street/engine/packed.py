"""Arrays in one file, read in place (mmap): whole or refused, replaced in one step.

File: 8 bytes that name the format, the header's length and CRC-32 (little-endian, 4 bytes each),
the header (JSON: the format's own words, each array's type and length, the CRC-32 of all arrays),
zeros up to a multiple of 64, then the arrays one after the other. The checksums are there against
damage, not against malice: who can write the file can write the program.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_ALIGN = 64
_HEADER_MAX = 1 << 22


class DamagedFile(ValueError):
    """The file is not a whole one of its format; it must be made again."""


def save(path: Path, magic: bytes, words: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Put the arrays, shape (n,) each, in the place of the former file, durably, or leave that
    one. Raises OSError."""
    bodies = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    crc = 0
    for body in bodies.values():
        crc = zlib.crc32(_bytes(body), crc)
    shapes = [[name, body.dtype.str, len(body)] for name, body in bodies.items()]
    header = json.dumps({"words": words, "arrays": shapes, "crc32": crc}).encode()
    head = magic + struct.pack("<II", len(header), zlib.crc32(header)) + header

    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    partial = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(head + bytes(-len(head) % _ALIGN))
            for body in bodies.values():
                file.write(_bytes(body))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _bytes(array: Array) -> memoryview:
    return array.view(np.uint8).data


def load(path: Path, magic: bytes) -> tuple[dict[str, Any], dict[str, Array]]:
    """The words and the arrays, which stay in the file. Raises DamagedFile, or OSError."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size < len(magic) + 8:
            raise DamagedFile("too short")
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    fixed = len(magic) + 8
    if content[: len(magic)] != magic:
        raise DamagedFile("of another format or version")
    length, crc = struct.unpack("<II", content[len(magic) : fixed])
    text = content[fixed : fixed + min(length, _HEADER_MAX)]
    if len(text) != length or zlib.crc32(text) != crc:
        raise DamagedFile("the header is damaged")
    header = json.loads(text)
    start = fixed + length
    start += -start % _ALIGN
    if any(content[fixed + length : start]):
        raise DamagedFile("something between the header and the arrays")
    size = sum(np.dtype(dtype).itemsize * count for _, dtype, count in header["arrays"])
    if len(content) != start + size:
        raise DamagedFile("not of the length that the header says")
    if zlib.crc32(memoryview(content)[start:]) != header["crc32"]:
        raise DamagedFile("the arrays are not those that were written")
    arrays: dict[str, Array] = {}
    for name, dtype, count in header["arrays"]:
        arrays[name] = np.frombuffer(content, dtype, count, start)
        start += np.dtype(dtype).itemsize * count
    return header["words"], arrays
