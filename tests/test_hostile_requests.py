"""No question, however hostile, makes a page or an operation fall over: never a 500."""

from __future__ import annotations

import os
from typing import Any

import pytest
from django.conf import settings as django_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import access_matrix
from tests.access_matrix import Row
from tests.access_scene import DIJON, Scene, build, content_of
from tests.test_access_matrix import FOUND, path_of

PROVING = os.environ.get("SOUVERAIN_PROVE") == "1"
ROWS = [*access_matrix.rows("Pages"), *access_matrix.rows("API")]
# Health is 503 without a worker, by design.
READS = [row for row in ROWS if "GET" in row.methods and row.route != "/health"]
WRITES = [row for row in ROWS if "POST" in row.methods]
NAMES = [
    *("q", "limit", "page", "organisation", "code", "commune", "format", "next", "fait", "qui"),
    *("du", "au", "avant", "apres", "offset", "lon", "lat", "at", "role", "email", "name"),
]
AWFUL = [
    *(
        "",
        "\0",
        "%00",
        "\N{GRINNING FACE}" * 500,
        "é" * 5_000,
        "x" * 20_000,
        "' OR 1=1 --",
        "<script>",
    ),
    *("-1", "0", "1e400", "NaN", "Infinity", "9" * 400, str(2**63), str(2**64), "-" + "9" * 30),
    *("../../etc/passwd", "%2e%2e%2f", "\r\nSet-Cookie: a=b", "[]", "{}", "null", "\x1b[2J"),
    *("9999-12-31", "0000-00-00", "0001-01-01T00:00:00Z", "2026-02-30", "\u202e", "\ufffe", "٣"),
]
values = st.one_of(
    st.sampled_from(AWFUL),
    st.integers().map(str),
    st.floats().map(str),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
)
questions = st.dictionaries(
    st.one_of(st.sampled_from(NAMES), st.text(max_size=5)), values, max_size=4
)
bodies = st.one_of(
    questions,
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | values,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
        max_leaves=8,
    ),
)
hostile = settings(
    max_examples=2_000 if PROVING else 120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
def scene(db: None) -> Scene:
    return build()


def operator(scene: Scene) -> Any:
    return scene.who("operator of the département")


@hostile
@given(row=st.sampled_from(READS), question=questions)
def test_a_read_never_falls_over(scene: Scene, row: Row, question: dict[str, str]) -> None:
    question = {_clean(name): _clean(text) for name, text in question.items()}
    answer = operator(scene).ask("GET", path_of(row, scene.targets[DIJON]), question)
    assert answer.status_code < 500, (row.route, question)
    content_of(answer)


@pytest.mark.parametrize("row", READS, ids=str)
def test_every_awful_value_of_every_known_question(scene: Scene, row: Row) -> None:
    """A few at a time, each value under each name at least once."""
    path = path_of(row, scene.targets[DIJON])
    for turn in range(len(AWFUL)):
        question = {name: AWFUL[(turn + place) % len(AWFUL)] for place, name in enumerate(NAMES)}
        question = {n: t.encode("utf-8", "replace").decode()[:2_000] for n, t in question.items()}
        answer = operator(scene).ask("GET", path, question)
        assert answer.status_code < 500, (row.route, question)


@pytest.mark.skipif(not WRITES, reason="no write is declared")
@hostile
@given(row=st.sampled_from(WRITES), body=bodies)
def test_a_write_never_falls_over(scene: Scene, row: Row, body: Any) -> None:
    path = path_of(row, scene.targets[DIJON])
    if not row.route.startswith("/api/"):
        body = body if isinstance(body, dict) else {"note": str(body)}
        body = {_clean(k): _clean(v) for k, v in body.items()}
    answer = operator(scene).ask("POST", path, body if isinstance(body, dict) else {"": body})
    assert answer.status_code < 500, (row.route, body)


def _clean(value: Any) -> str:
    return str(value).encode("utf-8", "replace").decode()


WITH_TEXT = [r for r in READS if r.route in FOUND and "<str:" in r.route]


@hostile
@given(row=st.sampled_from(WITH_TEXT), text=values)
def test_a_path_never_falls_over(scene: Scene, row: Row, text: str) -> None:
    from urllib.parse import quote

    piece = quote(_clean(text).replace("/", "-")[:3_000], safe="")
    for argument in FOUND[row.route].arguments:
        path = row.route.replace(f"<str:{argument}>", piece or "x")
    path = path.replace("<int:pk>", "1")
    answer = operator(scene).ask("GET", path)
    assert answer.status_code < 500, path


def test_a_body_that_is_too_big_is_refused(scene: Scene) -> None:
    too_much = {"note": "x" * (django_settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)}
    for row in WRITES:
        answer = operator(scene).ask("POST", path_of(row, scene.targets[DIJON]), too_much)
        assert answer.status_code < 500, row.route
