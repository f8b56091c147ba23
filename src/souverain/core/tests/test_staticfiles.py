"""Static files: Vite's names stay, the rooms' own names take a digest."""

from __future__ import annotations

import json
import re
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.test import override_settings

from souverain.core.staticfiles import IMMUTABLE_URL, ViteAwareManifestStorage, hashed_by_vite

STORAGE = "souverain.core.staticfiles.ViteAwareManifestStorage"
VITE_CSS = "web/main-BbsMjXT_.css"
VITE_FONT = "web/text-GZI4o3u0.woff2"


@pytest.fixture
def collected(tmp_path: Path) -> Path:
    """The folder that collectstatic fills from one Vite build and one file of a room."""
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "web").mkdir(parents=True)
    (source / "core").mkdir()
    (source / VITE_FONT).write_bytes(b"font")
    (source / VITE_CSS).write_text(f"@font-face{{src:url(/static/{VITE_FONT})}}")
    (source / "core/error.css").write_text("body{margin:0}")
    with override_settings(
        STATIC_URL="/static/",
        STATIC_ROOT=target,
        STATICFILES_DIRS=[source],
        STATICFILES_FINDERS=["django.contrib.staticfiles.finders.FileSystemFinder"],
        STORAGES={"staticfiles": {"BACKEND": STORAGE}},
    ):
        call_command("collectstatic", interactive=False, stdout=StringIO())
    return target


def test_vite_files_are_served_under_the_one_name_they_know_each_other_by(collected: Path) -> None:
    names = json.loads((collected / "staticfiles.json").read_text())["paths"]
    assert names[VITE_CSS] == VITE_CSS
    assert names[VITE_FONT] == VITE_FONT
    assert sorted(path.name for path in (collected / "web").glob("*.css")) == [Path(VITE_CSS).name]
    assert f"url(/static/{VITE_FONT})" in (collected / VITE_CSS).read_text().replace('"', "")


def test_files_of_the_rooms_take_a_digest(collected: Path) -> None:
    names = json.loads((collected / "staticfiles.json").read_text())["paths"]
    assert re.fullmatch(r"core/error\.[0-9a-f]{12}\.css", names["core/error.css"])


@pytest.mark.parametrize(
    ("url", "immutable"),
    [
        ("/static/web/main-Dq8YYXzi.js", True),
        ("/static/web/maplibre-gl-worker-CZtFQQIV.mjs", True),
        ("/static/web/main-BbsMjXT_.css", True),
        ("/static/core/error.370ce797134a.css", True),
        ("/static/core/error.css", False),
        ("/static/manifest.json", False),
        ("/static/web/readme.txt", False),
    ],
)
def test_only_names_with_a_digest_are_kept_for_ever(url: str, immutable: bool) -> None:
    assert bool(re.match(IMMUTABLE_URL, url)) is immutable


def test_only_the_folder_of_vite_is_left_alone() -> None:
    assert hashed_by_vite("web/x-12345678.js")
    assert not hashed_by_vite("core/web/x.js")
    assert not hashed_by_vite("website/x.js")


def test_a_name_asked_without_content_stays_too(tmp_path: Path) -> None:
    storage = ViteAwareManifestStorage(location=tmp_path, base_url="/static/")
    assert storage.hashed_name(VITE_CSS) == VITE_CSS
