"""Faces: CenterFace (Xu et al. 2019, arXiv 1911.03599), on windows at full resolution."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from souverain.street.engine.windows import Pixels, resized

if TYPE_CHECKING:
    import onnxruntime

_STRIDE = 4
_MULTIPLE = 32
# The file fixes its input at 10 × 3 × 32 × 32. `08 xx` is a dimension of that value, `12 00` one
# without value: of the same length, so the rest of the protobuf stays where it is.
_FIXED = (
    (bytes.fromhex("0a02080a0a0208030a0208200a020820"), bytes.fromhex("0a0212000a0208030a0212000a021200")),
    *(
        (
            bytes.fromhex(f"0a02080a0a0208{channels}0a0208080a020808"),
            bytes.fromhex(f"0a0212000a0208{channels}0a0212000a021200"),
        )
        for channels in ("01", "02", "0a")
    ),
)  # fmt: skip


def session(model: bytes) -> onnxruntime.InferenceSession:
    import onnxruntime  # heavy: only where pictures are looked at

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = False  # it never gives back what the largest window took
    # Idle threads must not burn the processor of everybody else.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class CenterFace:
    def __init__(self, path: Path) -> None:
        model = path.read_bytes()
        for fixed, free in _FIXED:
            model = model.replace(fixed, free)
        self._session = session(model)

    def __call__(
        self, pixels: Pixels, threshold: float, scale: float = 1.0
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Boxes (n, 4): left, top, right, bottom in the window's pixels, and their scores (n,).
        `scale` is how much the window is enlarged first."""
        height, width = pixels.shape[:2]
        seen = (
            pixels.astype(np.float32)
            if scale == 1.0
            else resized(pixels, round(height * scale), round(width * scale))
        )
        rows, columns = (-(-n // _MULTIPLE) * _MULTIPLE for n in seen.shape[:2])
        batch = np.zeros((1, 3, rows, columns), np.float32)
        batch[0, :, : seen.shape[0], : seen.shape[1]] = seen.transpose(2, 0, 1)
        heat, sizes, offsets = self._session.run(["537", "538", "539"], {"input.1": batch})
        row, column = np.nonzero(heat[0, 0] > threshold)
        tall, wide = np.exp(sizes[0, :, row, column].T.astype(float)) * _STRIDE
        middle_y = (row + offsets[0, 0, row, column] + 0.5) * _STRIDE
        middle_x = (column + offsets[0, 1, row, column] + 0.5) * _STRIDE
        boxes = np.stack(
            [middle_x - wide / 2, middle_y - tall / 2, middle_x + wide / 2, middle_y + tall / 2], 1
        )
        return boxes / scale, heat[0, 0, row, column].astype(np.float64)
