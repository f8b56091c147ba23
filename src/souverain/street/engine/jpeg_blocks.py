"""Boxes of a JPEG made unrecognisable, in its own blocks: every other coefficient stays as it is.

A JPEG's smallest unit is the MCU (8 × 8 to 16 × 16 pixels in pictures). In the MCUs that a box
touches, the AC coefficients go and the DC coefficients become the mean of a large cell: at most
three cells a side for a face, one for a plate. Nothing of the picture but those few means is left
in the file, so nothing can be computed back, which a Gaussian on a small box allows. The symbols
of all other MCUs are copied as they are, Huffman code by Huffman code (ITU-T T.81, annex F).

Pictures within the file (thumbnails of EXIF, JFIF and Photoshop, previews after the end, MPF,
pictures inside XMP) show the face again, and go. EXIF, XMP, ICC and Adobe's colour marker stay.

Huffman-coded 8-bit JPEG in one scan is edited in place of its scan; progressive and several-scan
files are first rewritten in one scan with the same coefficients.
"""

from __future__ import annotations

import re
import struct
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import simplejpeg

from souverain.street.engine.boxes import Box

MAX_PIXELS = 200_000_000
CELLS = {"plate": 1}
"""Means left across a box, by kind: characters must not share several cells."""
OTHER_CELLS = 3

_SOI, _EOI, _SOS, _DQT, _DHT, _DRI, _COM = 0xD8, 0xD9, 0xDA, 0xDB, 0xC4, 0xDD, 0xFE
_SEQUENTIAL, _PROGRESSIVE = (0xC0, 0xC1), (0xC2,)
_FRAMES = {0xC0 + n for n in range(16)} - {_DHT, 0xC8, 0xCC}
_NEXT_MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
_EMBEDDED = re.compile(rb"\xff\xd8\xff|\xff\xd9")
_ENCODED = re.compile(rb"(?:[A-Za-z0-9+/=]{60,}(?:&#x[aAdD];|\s)*){4,}")
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_KEPT_APPLICATIONS = (_EXIF, _XMP, b"ICC_PROFILE\0", b"Adobe")

Bytes = npt.NDArray[np.uint8]


class JpegError(ValueError):
    """The file cannot be edited; the message is a French sentence."""


@dataclass
class _Component:
    identifier: int
    across: int
    down: int
    dc_table: int = 0
    ac_table: int = 0


@dataclass
class _Jpeg:
    """A file cut into its parts. `header` lists the segments (marker, payload) before the scan."""

    header: list[tuple[int, bytes]]
    frame: int = 0
    width: int = 0
    height: int = 0
    components: list[_Component] = field(default_factory=list)
    huffman: dict[tuple[int, int], bytes] = field(default_factory=dict)
    """By (class, number): the 16 counts and the symbols."""
    restart_interval: int = 0
    scans: int = 0
    scan: bytes = b""

    @property
    def mcu_width(self) -> int:
        return 8 * max(c.across for c in self.components)

    @property
    def mcu_height(self) -> int:
        return 8 * max(c.down for c in self.components)

    @property
    def columns(self) -> int:
        return -(-self.width // self.mcu_width)

    @property
    def rows(self) -> int:
        return -(-self.height // self.mcu_height)


@dataclass(frozen=True)
class Grid:
    """The size of a picture and of its MCUs, in pixels."""

    width: int
    height: int
    mcu_width: int
    mcu_height: int

    def aligned(self, box: Box) -> Box:
        """The smallest box of whole MCUs (or up to the picture's edge) that holds a box."""
        left = box.x // self.mcu_width * self.mcu_width
        top = box.y // self.mcu_height * self.mcu_height
        right = min(-(-(box.x + box.width) // self.mcu_width) * self.mcu_width, self.width)
        bottom = min(-(-(box.y + box.height) // self.mcu_height) * self.mcu_height, self.height)
        return replace(box, x=left, y=top, width=right - left, height=bottom - top)


def grid(jpeg: bytes) -> Grid:
    """Raises JpegError."""
    parts = _parse(jpeg)
    return Grid(parts.width, parts.height, parts.mcu_width, parts.mcu_height)


def replace_boxes(jpeg: bytes, boxes: Sequence[Box]) -> bytes:
    """The file with each box, clipped to the picture and grown to whole MCUs, made a mosaic of
    means, and without the pictures hidden in its metadata. Raises JpegError."""
    parts = _parse(jpeg)
    if parts.frame in _PROGRESSIVE or parts.scans > 1:
        header = parts.header
        parts = _parse(_in_one_scan(jpeg))
        parts.header = [s for s in header if _is_metadata(s[0])] + [
            s for s in parts.header if not _is_metadata(s[0])
        ]
    parts.header = _without_pictures(parts.header)
    if boxes:
        _mosaic(parts, boxes)
    return _written(parts)


def _is_metadata(marker: int) -> bool:
    return 0xE0 <= marker <= 0xEF or marker == _COM


def _in_one_scan(jpeg: bytes) -> bytes:
    """The same coefficients, Huffman-coded in one scan. libjpeg may end the whole process on a
    damaged file: it only gets one that decodes without a warning."""
    try:
        simplejpeg.decode_jpeg(jpeg, colorspace="GRAY", strict=True)
    except ValueError as error:
        raise JpegError("L'image est abîmée ou tronquée.") from error
    import jpeglib

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "a.jpg"), Path(folder, "b.jpg")
        source.write_bytes(jpeg)
        jpeglib.read_dct(source).write_dct(str(target))
        return target.read_bytes()


# ------------------------------------------------------------------------------------ the file


def _parse(jpeg: bytes) -> _Jpeg:
    if jpeg[:2] != b"\xff\xd8":
        raise JpegError("Ce n'est pas un JPEG.")
    parts, at = _Jpeg([]), 2
    while True:
        marker, at = _marker(jpeg, at)
        if marker == _EOI:
            break
        size = int.from_bytes(jpeg[at : at + 2], "big")
        payload = jpeg[at + 2 : at + size]
        if size < 2 or len(payload) != size - 2:
            raise JpegError("L'image est tronquée dans son en-tête.")
        at += size
        try:
            at = _take(parts, marker, payload, jpeg, at)
        except (IndexError, struct.error) as error:
            raise JpegError(f"Le segment {marker:02X} de l'image est illisible.") from error
        if parts.scans > 1 or (parts.scans and parts.frame in _PROGRESSIVE):
            break  # it will be rewritten: libjpeg reads the rest
    if not parts.scans:
        raise JpegError("Le fichier ne contient aucune image.")
    return parts


def _marker(jpeg: bytes, at: int) -> tuple[int, int]:
    """The marker at an offset, after its fill bytes, and the offset behind it."""
    start = at
    while at < len(jpeg) and jpeg[at] == 0xFF:
        at += 1
    if at == start or at >= len(jpeg) or jpeg[at] == 0:
        raise JpegError("L'image est tronquée ou abîmée.")
    return jpeg[at], at + 1


def _take(parts: _Jpeg, marker: int, payload: bytes, jpeg: bytes, at: int) -> int:
    """Note one segment; returns the offset at which the next one begins."""
    if marker == _SOS:
        if not parts.components:
            raise JpegError("Les données de l'image viennent avant ses dimensions.")
        parts.scans += 1
        end = _NEXT_MARKER.search(jpeg, at)
        if end is None:
            raise JpegError("L'image est tronquée.")
        if parts.scans == 1:
            _take_scan_header(parts, payload)
            parts.scan = jpeg[at : end.start()]
        return end.start()
    if parts.scans:
        return at  # between scans: libjpeg's business; behind the last: not an image of ours
    if marker in _FRAMES:
        _take_frame(parts, marker, payload)
    elif marker == _DHT:
        _take_tables(parts, payload)
    elif marker == _DRI:
        (parts.restart_interval,) = struct.unpack(">H", payload)
    elif marker == 0xCC:
        raise JpegError("Le codage arithmétique n'est pas pris en charge.")
    parts.header.append((marker, payload))
    return at


def _take_frame(parts: _Jpeg, marker: int, payload: bytes) -> None:
    if parts.frame:
        raise JpegError("L'image a deux en-têtes.")
    if marker not in _SEQUENTIAL + _PROGRESSIVE:
        raise JpegError("Ce genre de JPEG (arithmétique, sans perte) n'est pas pris en charge.")
    bits, height, width, count = struct.unpack_from(">BHHB", payload)
    if bits != 8:
        raise JpegError(f"{bits} bits par couleur : seules les images à 8 bits sont prises.")
    if not width or not height:
        raise JpegError("L'image n'a pas de dimensions.")
    if width * height > MAX_PIXELS:
        raise JpegError(f"{width} × {height} pixels : c'est plus que 200 millions.")
    if count not in (1, 3, 4) or len(payload) != 6 + 3 * count:
        raise JpegError(f"{count} composantes de couleur : 1, 3 ou 4 attendues.")
    for n in range(count):
        identifier, factors = payload[6 + 3 * n], payload[7 + 3 * n]
        across, down = factors >> 4, factors & 15
        if not (1 <= across <= 4 and 1 <= down <= 4):
            raise JpegError("L'échantillonnage des couleurs est impossible.")
        parts.components.append(_Component(identifier, across, down))
    if count == 1:  # A.2.2: a lone component has one block an MCU, whatever its factors say
        parts.components[0].across = parts.components[0].down = 1
    if sum(c.across * c.down for c in parts.components) > 10:
        raise JpegError("L'échantillonnage des couleurs est impossible.")
    parts.frame, parts.width, parts.height = marker, width, height


def _take_tables(parts: _Jpeg, payload: bytes) -> None:
    while payload:
        counts = payload[1:17]
        size = 17 + sum(counts)
        if len(counts) < 16 or size > len(payload) or payload[0] >> 4 > 1 or payload[0] & 15 > 3:
            raise JpegError("Une table de Huffman de l'image est impossible.")
        parts.huffman[payload[0] >> 4, payload[0] & 15] = payload[1:size]
        payload = payload[size:]


def _take_scan_header(parts: _Jpeg, payload: bytes) -> None:
    count = payload[0]
    if count != len(parts.components):
        if parts.frame in _SEQUENTIAL:
            parts.scans += 1  # one component a scan: more scans follow
        return
    for n, component in enumerate(parts.components):
        if payload[1 + 2 * n] != component.identifier:
            raise JpegError("Les composantes de l'image sont en désordre.")
        tables = payload[2 + 2 * n]
        component.dc_table, component.ac_table = tables >> 4, tables & 15


def _written(parts: _Jpeg) -> bytes:
    out = [b"\xff\xd8"]
    for marker, payload in parts.header:
        out += [bytes([0xFF, marker]), struct.pack(">H", len(payload) + 2), payload]
    tables = b"".join(bytes([c.identifier, c.dc_table << 4 | c.ac_table]) for c in parts.components)
    scan_header = bytes([len(parts.components)]) + tables + b"\x00\x3f\x00"
    out += [b"\xff\xda", struct.pack(">H", len(scan_header) + 2), scan_header, parts.scan]
    return b"".join([*out, b"\xff\xd9"])


# ---------------------------------------------------------------------------------- metadata


def _without_pictures(header: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    kept = []
    for marker, payload in header:
        if not _is_metadata(marker):
            kept.append((marker, payload))
        elif payload.startswith(b"JFIF\0"):
            kept.append((marker, payload[:12].ljust(12, b"\0") + b"\0\0"))
        elif payload.startswith(_EXIF):
            kept.append((marker, _blank_embedded(_without_thumbnail(payload))))
        elif payload.startswith(_XMP):
            blank = _ENCODED.sub(lambda found: b" " * len(found[0]), payload)
            kept.append((marker, _blank_embedded(blank)))
        elif payload.startswith(_KEPT_APPLICATIONS) or marker == _COM:
            kept.append((marker, _blank_embedded(payload)))
    return kept


def _blank_embedded(payload: bytes) -> bytes:
    """Zeros where a JPEG lies within a segment, with what lies within that one."""
    out, depth, start = bytearray(payload), 0, 0
    for found in _EMBEDDED.finditer(payload):
        if found[0] != b"\xff\xd9":
            start = start if depth else found.start()
            depth += 1
        elif depth:
            depth -= 1
            if not depth:
                out[start : found.end()] = bytes(found.end() - start)
    if depth:
        out[start:] = bytes(len(out) - start)
    return bytes(out)


def _without_thumbnail(payload: bytes) -> bytes:
    """EXIF whose first directory has no successor (the thumbnail's), and that one's strips blank.
    What cannot be followed is left: an embedded JPEG is blanked anyhow."""
    tiff = bytearray(payload[len(_EXIF) :])
    order = {b"II": "<", b"MM": ">"}.get(bytes(tiff[:2]))
    if order is None:
        return payload
    try:
        (first,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, first)
        link = first + 2 + 12 * count
        (second,) = struct.unpack_from(order + "I", tiff, link)
        struct.pack_into(order + "I", tiff, link, 0)
        if second:
            _blank_strips(tiff, order, second)
    except struct.error:
        pass
    return _EXIF + bytes(tiff)


def _blank_strips(tiff: bytearray, order: str, directory: int) -> None:
    """Zero the pixels that a directory points to: a JPEG (0x0201, 0x0202) or the strips of an
    uncompressed thumbnail (0x0111, 0x0117)."""
    (count,) = struct.unpack_from(order + "H", tiff, directory)
    found: dict[int, list[int]] = {}
    for n in range(count):
        tag, kind, values = struct.unpack_from(order + "HHI", tiff, directory + 2 + 12 * n)
        letter = {3: "H", 4: "I"}.get(kind)
        if tag not in (0x0111, 0x0117, 0x0201, 0x0202) or letter is None or values > 4096:
            continue
        at = directory + 10 + 12 * n
        if values * struct.calcsize(letter) > 4:
            (at,) = struct.unpack_from(order + "I", tiff, at)
        found[tag] = list(struct.unpack_from(f"{order}{values}{letter}", tiff, at))
    for offsets, lengths in ((0x0111, 0x0117), (0x0201, 0x0202)):
        for start, length in zip(found.get(offsets, ()), found.get(lengths, ()), strict=False):
            part = tiff[start : start + length]
            tiff[start : start + len(part)] = bytes(len(part))


# ------------------------------------------------------------------------------------ the scan


def _mosaic(parts: _Jpeg, boxes: Sequence[Box]) -> None:
    """Replace the boxes' MCUs in `parts.scan`, with its own Huffman tables when they have a code
    for every new symbol, else with those of annex K."""
    from souverain.street.engine import entropy_coding  # numba: only to blur

    source = _coding(parts)
    block_component = np.repeat(
        np.arange(len(parts.components)), [c.across * c.down for c in parts.components]
    )
    mcus = parts.rows * parts.columns
    scan = np.frombuffer(parts.scan, np.uint8)
    dc = np.zeros((mcus, len(block_component)), np.int16)
    changed = np.zeros(mcus, bool)
    walk = (scan, source, block_component, parts.restart_interval, dc)
    nowhere = np.zeros(0, np.uint8)
    _check(entropy_coding.transcode(*walk, source, changed, nowhere, False)[0])
    _average(
        dc.reshape(parts.rows, parts.columns, -1),
        changed.reshape(parts.rows, parts.columns),
        parts,
        block_component,
        boxes,
    )
    target, room = source, len(scan) + 64 * mcus + 64
    while True:
        out = np.empty(room, np.uint8)
        status, size = entropy_coding.transcode(*walk, target, changed, out, True)
        if status == entropy_coding.FULL:
            room *= 2
        elif status == entropy_coding.UNCODED and target is source:
            _use_standard_tables(parts)
            target = _coding(parts)
        else:
            break
    _check(status)
    parts.scan = out[:size].tobytes()


def _check(status: int) -> None:
    if status:
        raise JpegError("Les données de l'image sont tronquées ou abîmées.")


def _average(
    dc: npt.NDArray[np.int16],
    changed: npt.NDArray[np.bool_],
    parts: _Jpeg,
    block_component: npt.NDArray[np.intp],
    boxes: Sequence[Box],
) -> None:
    """Mark the MCUs of the boxes, and set their DC coefficients (rows, columns, blocks) to the
    means of their cells. The mean of DCs is the mean of the pixels (T.81, A.3.3)."""
    for box in boxes:
        for piece in box.pieces(parts.width, parts.height, wraps=False):
            top, left = piece.y // parts.mcu_height, piece.x // parts.mcu_width
            bottom = -(-(piece.y + piece.height) // parts.mcu_height)
            right = -(-(piece.x + piece.width) // parts.mcu_width)
            changed[top:bottom, left:right] = True
            cells = CELLS.get(box.kind, OTHER_CELLS)
            down, across = -(-(bottom - top) // cells), -(-(right - left) // cells)
            for row in range(top, bottom, down):
                for column in range(left, right, across):
                    cell = dc[row : min(row + down, bottom), column : min(column + across, right)]
                    for n in range(len(parts.components)):
                        own = block_component == n
                        cell[..., own] = np.rint(cell[..., own].mean())


@dataclass(frozen=True)
class _Code:
    """A Huffman table both ways: by the next 16 bits, `length << 8 | symbol` (0: no code); by
    symbol, code and length (0: no code)."""

    reading: npt.NDArray[np.uint16]
    code: npt.NDArray[np.int64]
    length: npt.NDArray[np.int64]


def _code(table: bytes) -> _Code:
    """T.81, annex C."""
    reading = np.zeros(1 << 16, np.uint16)
    code, length = np.zeros(256, np.int64), np.zeros(256, np.int64)
    following, symbols = 0, iter(table[16:])
    for bits, count in enumerate(table[:16], start=1):
        for _ in range(count):
            symbol = next(symbols)
            first, last = following << (16 - bits), (following + 1) << (16 - bits)
            if last > 1 << 16:
                raise JpegError("Une table de Huffman de l'image est impossible.")
            reading[first:last] = bits << 8 | symbol
            code[symbol], length[symbol] = following, bits
            following += 1
        following <<= 1
    return _Code(reading, code, length)


_Coding = tuple[npt.NDArray[np.uint16], npt.NDArray[np.int64], npt.NDArray[np.int64]]


def _coding(parts: _Jpeg) -> _Coding:
    """The tables that each component uses, stacked: DC of component n at 2n, AC at 2n + 1."""
    codes = []
    for component in parts.components:
        for kind, number in ((0, component.dc_table), (1, component.ac_table)):
            table = parts.huffman.get((kind, number))
            if table is None:
                raise JpegError("Une table de Huffman manque à l'image.")
            codes.append(_code(table))
    return (
        np.stack([c.reading for c in codes]),
        np.stack([c.code for c in codes]),
        np.stack([c.length for c in codes]),
    )


@cache
def _standard_tables() -> dict[tuple[int, int], bytes]:
    """Those of annex K, which encoders write unless asked to optimise."""
    return _parse(simplejpeg.encode_jpeg(np.zeros((8, 8, 3), np.uint8))).huffman


def _use_standard_tables(parts: _Jpeg) -> None:
    parts.huffman = dict(_standard_tables())
    for n, component in enumerate(parts.components):
        component.dc_table = component.ac_table = min(n, 1)
    parts.header = [s for s in parts.header if s[0] != _DHT] + [
        (_DHT, bytes([kind << 4 | number]) + table)
        for (kind, number), table in parts.huffman.items()
    ]
