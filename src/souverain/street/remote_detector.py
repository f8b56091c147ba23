"""A detector behind HTTP, for graphics cards: what sgblur's detection service speaks.

`POST <address>/detect/` with the JPEG as the field `picture` of a form; the answer is
`{"model": …, "info": [{"class": "face"|"plate"|…, "confidence": …, "bbox": [left, top, right,
bottom]}]}` in pixels of the picture (sgblur, src/detect/detect.py). We replace the blocks
ourselves, so its `/blur/` half is not needed."""

from __future__ import annotations

import math
from typing import Any
from urllib.parse import urlsplit

import orjson
import requests
from django.conf import settings

from souverain.core import egress
from souverain.core.rooms import DataClass, Destination
from souverain.street.engine.boxes import Box
from souverain.street.engine.detection import FACE_MARGIN, DetectorUnavailable
from souverain.street.engine.windows import Pixels

PURPOSE = "street-detector"
_TIMEOUT_S = (10, 600)
_ANSWER_MAX_BYTES = 4 << 20
_KINDS = ("face", "plate")


def goes_to() -> Destination | None:
    """The host of SOUVERAIN_STREET_DETECTOR_URL. It sees pictures that are not blurred yet."""
    parts = urlsplit(settings.STREET_DETECTOR_URL)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return Destination(parts.hostname, port, frozenset({DataClass.PERSONAL}))


class RemoteDetector:
    """Raises DetectorUnavailable whenever it has not looked: nothing passes in silence."""

    def __init__(self) -> None:
        there = goes_to()
        if there is None:
            raise DetectorUnavailable(
                "SOUVERAIN_STREET_DETECTOR_URL : une adresse http:// ou https:// est attendue."
            )
        self._there = there
        self.name = f"détecteur {there.host}"

    def find(self, jpeg: bytes, pixels: Pixels) -> list[Box]:
        try:
            with egress.permitted(self._there.host, self._there.port, PURPOSE, DataClass.PERSONAL):
                answer = _post(jpeg)
            told = orjson.loads(answer)
            boxes = [box for each in told["info"] if (box := _box(each)) is not None]
            self.name = f"{str(told.get('model', 'détecteur'))[:40]} ({self._there.host})"[:80]
        except (requests.RequestException, OSError) as error:
            raise DetectorUnavailable(
                f"Le détecteur {self._there.host} ne répond pas : aucune image n'est floutée."
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DetectorUnavailable(
                f"Le détecteur {self._there.host} a mal répondu : aucune image n'est floutée."
            ) from error
        return boxes


def _post(jpeg: bytes) -> bytes:
    with requests.Session() as session:
        session.trust_env = False
        response = session.post(
            settings.STREET_DETECTOR_URL.rstrip("/") + "/detect/",
            files={"picture": ("picture.jpg", jpeg, "image/jpeg")},
            timeout=_TIMEOUT_S,
            allow_redirects=False,
            stream=True,
        )
        response.raise_for_status()
        if response.status_code != 200:
            raise ValueError("a redirection")
        content = b""
        for piece in response.iter_content(1 << 16):
            content += piece
            if len(content) > _ANSWER_MAX_BYTES:
                raise ValueError("the answer is too long")
    return content


def _box(told: dict[str, Any]) -> Box | None:
    """A face or a plate, with a margin; None for another class. Raises ValueError, TypeError,
    KeyError for what is no box."""
    if told["class"] not in _KINDS:
        return None
    left, top, right, bottom = (float(n) for n in told["bbox"])
    score = float(told["confidence"])
    if not all(map(math.isfinite, (left, top, right, bottom, score))):
        raise ValueError("not a number")
    if right <= left or bottom <= top or max(abs(left), abs(top), right, bottom) > 1e6:
        raise ValueError("not a box")
    x, y = math.floor(left), math.floor(top)
    box = Box(x, y, math.ceil(right) - x, math.ceil(bottom) - y, told["class"], score)
    return box.grown(FACE_MARGIN)
