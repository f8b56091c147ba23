"""Faces and plates planted in real panoramas are hidden; without models nothing passes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import simplejpeg

from souverain.street import privacy
from souverain.street.engine import detection, jpeg_blocks, windows
from souverain.street.engine.boxes import Box, best_of_overlapping
from souverain.street.engine.plates import may_be_plate
from souverain.street.tests import planting

HIDDEN = 0.75


def part(number: int, left: int, top: int, width: int, height: int) -> planting.Pixels:
    pixels = planting.read(planting.DATA / f"pano_gopromax_seq_{number}.jpg")
    return pixels[top : top + height, left : left + width].copy()


def hidden_of(pixels: planting.Pixels, planted: list[planting.Planted]) -> list[bool]:
    """Which of the things, all of one kind, are hidden."""
    local = privacy.detector()
    assert isinstance(local, detection.LocalDetector)
    jpeg = simplejpeg.encode_jpeg(pixels, quality=92, colorsubsampling="420")
    seen = simplejpeg.decode_jpeg(jpeg)
    found = local.faces(seen) if planted[0].kind == "face" else local.plates(seen)
    boxes = privacy.in_blocks(jpeg_blocks.grid(jpeg), found)
    mask = planting.hidden(boxes, *pixels.shape[:2])
    return [planting.covered(thing, mask) >= HIDDEN for thing in planted]


@pytest.mark.parametrize("kind", ["face", "plate"])
def test_what_is_planted_is_hidden(kind: str, proving: bool) -> None:
    """Quickly: two dozen of each kind, of every size and under every condition. Proving: three
    whole panoramas of each. The benchmark prints the recall by size."""
    random = np.random.default_rng(7)
    least = 16 if kind == "face" else 14
    found: list[bool] = []
    for n in range(3 if proving else 1):
        pixels = (
            planting.read(planting.DATA / f"pano_gopromax_seq_{n + 1}.jpg")
            if proving
            else part(2, 1200, 700, 2400, 1200)
        )
        planted = [t for t in planting.plant(pixels, kind, random) if t.size_px >= least]
        found += hidden_of(pixels, planted)
    assert len(found) >= (500 if proving else 18)
    assert sum(found) / len(found) >= (0.98 if proving else 0.9), (sum(found), len(found))


def test_a_face_across_the_seam_is_hidden_on_both_sides() -> None:
    pixels = part(3, 0, 700, 1536, 768)
    image = planting.face(planting.PROOF[0], 40)
    x = round(1536 - image[2][0] - image[2][2] / 2)
    where = planting.paste(pixels, image, x, 330)
    assert where[0] < 1536 < where[0] + where[2]
    assert hidden_of(pixels, [planting.Planted(*where, "face", "plain")]) == [True]


def test_a_face_larger_than_the_overlap_of_windows_is_found_from_afar() -> None:
    pixels = part(4, 1500, 900, 1700, 900)
    where = planting.paste(pixels, planting.face(planting.PROOF[1], 260), 500, 60)
    assert hidden_of(pixels, [planting.Planted(*where, "face", "plain")]) == [True]


def test_without_the_models_nothing_is_blurred_and_it_is_said(
    settings: Any, tmp_path: Path
) -> None:
    settings.STREET_MODELS = tmp_path
    jpeg = simplejpeg.encode_jpeg(np.zeros((32, 64, 3), np.uint8))
    with pytest.raises(detection.ModelsMissing, match="make build/models"):
        privacy.anonymise(jpeg)


@pytest.mark.parametrize(
    ("text", "probability", "aspect", "expected"),
    [
        ("AB-123-CD", 0.99, 4.2, True),
        ("317 XC 21", 0.97, 4.2, True),
        ("B-MW 1234", 0.95, 4.0, True),
        ("48-N", 0.6, 3.0, True),
        ("GARE DE THUN LE PARADIS", 0.97, 9.0, False),
        ("SNCF", 0.99, 3.0, False),
        ("D971", 0.98, 2.5, False),
        ("STOP", 0.7, 2.5, False),
    ],
)
def test_a_plate_is_told_from_words_and_road_numbers(
    text: str, probability: float, aspect: float, expected: bool
) -> None:
    assert may_be_plate(aspect, text, probability) is expected


def test_windows_cover_every_pixel_and_pass_the_seam() -> None:
    pixels = np.zeros((500, 1000, 3), np.uint8)
    pixels[..., 0] = np.arange(1000) % 251
    seen = np.zeros((500, 1000), int)
    crossed = False
    for x, y, cut in windows.windows(pixels, (50, 450), 300, 60, wraps=True):
        columns = (x + np.arange(cut.shape[1])) % 1000
        seen[y : y + cut.shape[0], columns] += 1
        assert np.array_equal(cut[0, :, 0], columns % 251)
        crossed |= x < 970 and x + cut.shape[1] > 1030
    assert (seen[50:450] > 0).all() and not seen[:50].any() and crossed


def test_a_half_face_is_the_same_face_as_the_whole_one() -> None:
    boxes = np.array([[0, 0, 20, 20], [10, 0, 20, 20], [40, 40, 60, 60]], float)
    kept = best_of_overlapping(boxes, np.array([0.9, 0.8, 0.3]), 0.4)
    assert sorted(kept.tolist()) == [0, 2]


def test_a_box_over_the_seam_comes_in_two_pieces() -> None:
    pieces = Box(990, 10, 30, 5, "face").pieces(1000, 500, wraps=True)
    assert sorted((p.x, p.width) for p in pieces) == [(0, 20), (990, 10)]
    assert Box(2000, 10, 30, 5, "face").pieces(1000, 500, wraps=False) == []


class _Service(BaseHTTPRequestHandler):
    """Speaks sgblur's detection contract: one face and one sign, or what the test wants."""

    answer: bytes = b""
    status = 200

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.path == "/detect/" and b'name="picture"' in body and b"\xff\xd8\xff" in body
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def service(settings: Any) -> Iterator[type[_Service]]:
    class Service(_Service):
        pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings.STREET_DETECTOR_URL = f"http://127.0.0.1:{server.server_port}"
    yield Service
    server.shutdown()
    server.server_close()


def picture() -> bytes:
    return bytes(simplejpeg.encode_jpeg(np.full((100, 300, 3), 90, np.uint8)))


def test_another_detector_can_be_plugged_in(service: type[_Service]) -> None:
    service.answer = orjson.dumps(
        {
            "model": "yolo11m",
            "info": [
                {"class": "face", "confidence": 0.91, "bbox": [40, 30, 56, 50], "xywh": [40, 24, 24, 32]},
                {"class": "sign", "confidence": 0.99, "bbox": [200, 10, 220, 30], "xywh": [0, 0, 9, 9]},
            ],
        }
    )  # fmt: skip
    found = privacy.anonymise(picture())
    (box,) = found.boxes
    assert (box.kind, box.score) == ("face", 0.91)
    assert box.x <= 40 and box.y <= 30 and box.x + box.width >= 56 and box.y + box.height >= 50
    assert found.detector == "yolo11m (127.0.0.1)"


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (500, b"{}"),
        (302, b'{"info": []}'),
        (200, b"<html>"),
        (200, b"[]"),
        (200, b'{"info": [{"class": "face"}]}'),
        (200, b'{"info": [{"class": "face", "confidence": 1, "bbox": [5, 5, 5, 9]}]}'),
        (200, b'{"info": [{"class": "face", "confidence": 1, "bbox": [0, 0, 1e300, 9]}]}'),
        (200, b" " * (5 << 20)),
    ],
)
def test_a_detector_that_fails_lets_nothing_pass(
    service: type[_Service], status: int, answer: bytes
) -> None:
    service.status, service.answer = status, answer
    with pytest.raises(detection.DetectorUnavailable, match="aucune image n'est floutée"):
        privacy.anonymise(picture())


@pytest.mark.django_db
def test_a_detector_elsewhere_gets_no_picture_before_an_operator_allows_it(settings: Any) -> None:
    settings.STREET_DETECTOR_URL = "http://detecteur.exemple.fr"
    with pytest.raises(detection.DetectorUnavailable):
        privacy.anonymise(picture())
