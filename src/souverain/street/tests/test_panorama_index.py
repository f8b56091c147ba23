"""The packed index answers what a look at every panorama would, and refuses a damaged file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from souverain.street.engine import panorama_index
from souverain.street.engine.packed import DamagedFile
from souverain.street.engine.panorama_index import Chosen, PanoramaIndex


def index_of(x: Any, y: Any, *, campaign: Any = None, taken: Any = None, **more: Any) -> Any:
    count = len(x)
    x, y = np.asarray(x, float), np.asarray(y, float)
    identifiers = np.frombuffer(
        b"".join(number.to_bytes(16, "big") for number in range(count)), "V16"
    )
    return panorama_index.build(
        **{
            "x_m": x,
            "y_m": y,
            "longitude_deg": x / 1e5,
            "latitude_deg": y / 1e5,
            "taken_us": np.arange(count) if taken is None else np.asarray(taken),
            "sequence": np.zeros(count, np.int64),
            "rank": np.arange(count),
            "campaign": np.zeros(count, np.int64) if campaign is None else np.asarray(campaign),
            "identifiers": identifiers,
            "campaigns": ["a", "b", "c"],
            **more,
        }
    )


def numbers(index: PanoramaIndex, places: Any) -> set[int]:
    return {int.from_bytes(index.identifier(place), "big") for place in places}


# Coordinates that fall on the edges of cells, close together and far apart.
metres = st.one_of(
    st.integers(-5, 5).map(lambda k: k * panorama_index.CELL_M),
    st.floats(-300, 300),
    st.floats(-2e6, 2e6),
)
panoramas = st.lists(st.tuples(metres, metres, st.integers(0, 2), st.integers(0, 9)), max_size=60)
choice = st.builds(
    Chosen,
    st.none() | st.lists(st.booleans(), min_size=3, max_size=3).map(np.array),
    st.none() | st.integers(0, 9),
    st.none() | st.integers(0, 9),
)


def mask(rows: Any, chosen: Chosen) -> Any:
    kept = np.ones(len(rows), bool)
    if chosen.campaigns is not None:
        kept &= np.array([chosen.campaigns[row[2]] for row in rows], bool)
    if chosen.since_us is not None:
        kept &= np.array([row[3] >= chosen.since_us for row in rows], bool)
    if chosen.until_us is not None:
        kept &= np.array([row[3] <= chosen.until_us for row in rows], bool)
    return kept


def of_rows(rows: Any) -> Any:
    table = np.array(rows, float).reshape(-1, 4)
    return index_of(
        table[:, 0], table[:, 1], campaign=table[:, 2].astype(int), taken=table[:, 3].astype(int)
    )


@given(panoramas, metres, metres, choice)
def test_the_nearest_is_the_nearest(rows: Any, x: float, y: float, chosen: Chosen) -> None:
    found = of_rows(rows).nearest(x, y, chosen)
    kept = mask(rows, chosen)
    if not kept.any():
        assert found is None
        return
    distances = np.array([np.hypot(row[0] - x, row[1] - y) for row in rows])
    assert found is not None and found[1] == distances[kept].min()


@given(panoramas, metres, metres, metres, metres, choice)
def test_a_box_holds_what_is_in_it(
    rows: Any, west: float, south: float, east: float, north: float, chosen: Chosen
) -> None:
    index = of_rows(rows)
    kept = mask(rows, chosen)
    truth = {
        number
        for number, (x, y, _, _) in enumerate(rows)
        if kept[number] and west <= x <= east and south <= y <= north
    }
    assert numbers(index, index.box(west, south, east, north, chosen)) == truth


@given(panoramas, metres, metres, st.floats(0, 1e6), choice)
def test_a_disc_holds_what_is_in_it_the_nearest_first(
    rows: Any, x: float, y: float, radius: float, chosen: Chosen
) -> None:
    index = of_rows(rows)
    places, distances = index.radius(x, y, radius, chosen)
    kept = mask(rows, chosen)
    truth = {
        number
        for number, row in enumerate(rows)
        if kept[number] and np.hypot(row[0] - x, row[1] - y) <= radius
    }
    assert numbers(index, places) == truth
    assert list(distances) == sorted(distances)


def test_what_is_passed_over_is_not_found() -> None:
    index = index_of([0, 10, 20], [0, 0, 0])
    first = index.nearest(1, 0)
    assert first is not None
    second = index.nearest(1, 0, Chosen(without=frozenset({first[0]})))
    assert second is not None and second[1] == 9


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e9])
def test_a_place_that_is_nowhere_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        index_of([0, bad], [0, 0])


def test_a_saved_index_answers_the_same(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    index = index_of(*random.uniform(0, 1e4, (2, 500)), stamp="état")
    index.save(tmp_path / "i")
    read = panorama_index.load(tmp_path / "i")
    assert (read.campaigns, read.stamp, len(read)) == (("a", "b", "c"), "état", 500)
    for x, y in random.uniform(-1e3, 11e3, (50, 2)):
        assert read.nearest(x, y) == index.nearest(x, y)
    assert list(tmp_path.iterdir()) == [tmp_path / "i"]


def test_an_index_of_nothing_is_an_index(tmp_path: Path) -> None:
    index_of([], []).save(tmp_path / "i")
    assert panorama_index.load(tmp_path / "i").nearest(0, 0) is None


@given(st.data())
def test_any_changed_byte_is_noticed(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged"
    index_of(np.arange(20.0), np.arange(20.0), stamp="s").save(path)
    content = bytearray(path.read_bytes())
    where = data.draw(st.integers(0, len(content) - 1))
    content[where] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    with pytest.raises(DamagedFile):
        panorama_index.load(path)


@given(st.integers(0, 3000))
def test_a_cut_file_is_refused(tmp_path_factory: pytest.TempPathFactory, length: int) -> None:
    path = tmp_path_factory.getbasetemp() / "cut"
    index_of(np.arange(20.0), np.arange(20.0)).save(path)
    whole = path.read_bytes()
    if length >= len(whole):
        return
    path.write_bytes(whole[:length])
    with pytest.raises(DamagedFile):
        panorama_index.load(path)


def test_a_full_disk_leaves_the_former_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "i"
    index_of([1.0], [1.0], stamp="former").save(path)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        index_of([2.0], [2.0]).save(path)
    assert panorama_index.load(path).stamp == "former"
    assert list(tmp_path.iterdir()) == [tmp_path / "i"]


_WRITER = """
import sys
from pathlib import Path
from souverain.street.tests.test_panorama_index import index_of
import numpy as np
path = Path(sys.argv[1])
for turn in range(10_000):
    index_of(np.arange(3000.0), np.arange(3000.0), stamp=str(turn)).save(path)
    print(turn, flush=True)
"""


def test_a_writer_killed_at_any_time_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "i"
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for _ in range(20):
        process.stdout.readline()
        assert len(panorama_index.load(path)) == 3000
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(panorama_index.load(path)) == 3000
