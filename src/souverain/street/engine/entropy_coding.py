"""The walk through a JPEG's scan of `jpeg_blocks`, compiled."""

import numba
import numpy as np

GOOD, BROKEN, FULL, UNCODED = 0, 1, 2, 3


@numba.njit(cache=True)
def _fill(data, at, bits, count, padding):  # type: ignore[no-untyped-def]
    """At least 48 bits in the buffer: past a marker or the end they are zeros, counted."""
    while count <= 48:
        byte = 0
        if at < data.size and data[at] != 0xFF:
            byte = data[at]
            at += 1
        elif at + 1 < data.size and data[at + 1] == 0:
            byte = 0xFF
            at += 2
        else:
            padding += 8
        bits = (bits << 8) | byte
        count += 8
    return at, bits, count, padding


@numba.njit(cache=True)
def _put(out, at, bits, count, value, length):  # type: ignore[no-untyped-def]
    """Append `length` bits; a byte FF is followed by a zero (F.1.2.3)."""
    bits = (bits << length) | value
    count += length
    while count >= 8:
        count -= 8
        byte = (bits >> count) & 0xFF
        out[at] = byte
        at += 1
        if byte == 0xFF:
            out[at] = 0
            at += 1
    return at, bits & ((1 << count) - 1), count


@numba.njit(cache=True)
def transcode(data, source, block_component, interval, dc, target, changed, out, writing):  # type: ignore[no-untyped-def]
    """Walk through a scan's MCUs (T.81, F.2). Reading, fill `dc` (MCUs, blocks). Writing, put the
    same scan to `out` with the DC coefficients of `dc`, without AC where `changed`.

    Returns a status and the bytes written."""
    reading, _, _ = source
    _, code, length = target
    at, bits, count, padding = 0, 0, 0, 0
    to, kept, held = 0, 0, 0
    predicted = np.zeros(4, np.int64)
    told = np.zeros(4, np.int64)
    for mcu in range(dc.shape[0]):
        if interval and mcu and mcu % interval == 0:
            number = 0xD0 + (mcu // interval - 1) % 8
            while at + 1 < data.size and data[at] == 0xFF and data[at + 1] == 0xFF:
                at += 1
            if at + 1 >= data.size or data[at] != 0xFF or data[at + 1] != number:
                return BROKEN, to
            at += 2
            bits, count, padding = 0, 0, 0
            predicted[:] = 0
            told[:] = 0
            if writing:
                if held:
                    to, kept, held = _put(out, to, kept, held, (1 << (8 - held)) - 1, 8 - held)
                out[to] = 0xFF
                out[to + 1] = number
                to += 2
        if writing and to + 16 * 64 * block_component.size > out.size:
            return FULL, to
        for block in range(block_component.size):
            component = block_component[block]
            table = 2 * component
            at, bits, count, padding = _fill(data, at, bits, count, padding)
            found = reading[table, (bits >> (count - 16)) & 0xFFFF]
            if found == 0:
                return BROKEN, to
            count -= found >> 8
            size = found & 0xFF
            if size > 11:
                return BROKEN, to
            if size:
                count -= size
                value = (bits >> count) & ((1 << size) - 1)
                if value < 1 << (size - 1):
                    value -= (1 << size) - 1
                predicted[component] += value
            bits &= (1 << count) - 1
            if writing:
                difference = dc[mcu, block] - told[component]
                told[component] = dc[mcu, block]
                magnitude, size = abs(difference), 0
                while magnitude >> size:
                    size += 1
                if length[table, size] == 0:
                    return UNCODED, to
                to, kept, held = _put(out, to, kept, held, code[table, size], length[table, size])
                if size:
                    if difference < 0:
                        difference += (1 << size) - 1
                    to, kept, held = _put(out, to, kept, held, difference, size)
            else:
                if abs(predicted[component]) > 32767:
                    return BROKEN, to
                dc[mcu, block] = predicted[component]
            table += 1
            copying = writing and not changed[mcu]
            place = 1
            while place < 64:
                at, bits, count, padding = _fill(data, at, bits, count, padding)
                found = reading[table, (bits >> (count - 16)) & 0xFFFF]
                if found == 0:
                    return BROKEN, to
                count -= found >> 8
                symbol = found & 0xFF
                size = symbol & 15
                count -= size
                value = (bits >> count) & ((1 << size) - 1)
                bits &= (1 << count) - 1
                if copying:
                    if length[table, symbol] == 0:
                        return UNCODED, to
                    to, kept, held = _put(
                        out,
                        to,
                        kept,
                        held,
                        (code[table, symbol] << size) | value,
                        length[table, symbol] + size,
                    )
                if symbol == 0:
                    break
                place += (symbol >> 4) + 1
                if place > 64:
                    return BROKEN, to
            if writing and changed[mcu]:
                if length[table, 0] == 0:
                    return UNCODED, to
                to, kept, held = _put(out, to, kept, held, code[table, 0], length[table, 0])
        if count < padding:
            return BROKEN, to
    if writing and held:
        to, kept, held = _put(out, to, kept, held, (1 << (8 - held)) - 1, 8 - held)
    return GOOD, to
