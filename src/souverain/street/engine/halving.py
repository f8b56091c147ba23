"""The inner loop of `pyramid`, compiled."""

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def halve(rows, half):  # type: ignore[no-untyped-def]
    last = rows.shape[1] - 1
    for y in range(half.shape[0]):
        above, below = rows[2 * y], rows[2 * y + 1]
        for x in range(half.shape[1]):
            a, b = 2 * x, min(2 * x + 1, last)
            for k in range(3):
                total = np.uint32(above[a, k]) + above[b, k] + below[a, k] + below[b, k]
                half[y, x, k] = (total + 2) >> 2
