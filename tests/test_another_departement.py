"""The cloud of another département than the Côte-d'Or: nothing says that it is the Côte-d'Or's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from souverain.core.departement import named

# Every public page, the first operator's address, the sender of the mail and an agreement.
LOOK = """
import django, html, json
django.setup()
from django.conf import settings
from django.test import Client
from souverain.core.models import Invitation
from souverain.portal import services
visitor = Client(headers={"host": "localhost"})
shown = {path: html.unescape(visitor.get(path).content.decode()) for path in (
    "/", "/communes/", "/communes/carte.geojson", "/compte/login/", "/mentions-legales/",
    "/accessibilite/", "/donnees-personnelles/", "/documentation-technique/", "/api/openapi.json",
)}
shown["operator"] = Invitation.objects.get().email
shown["sender"] = settings.DEFAULT_FROM_EMAIL
shown["agreement"] = json.dumps(services.todays_agreement().canonical, ensure_ascii=False)
print(json.dumps(shown))
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("saone-et-loire")


def run(home: Path, number: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        env={
            **os.environ,
            "SOUVERAIN_HOME": str(home),
            "SOUVERAIN_DEPARTEMENT": number,
            "DATABASE_URL": "",
        },
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def shown(home: Path) -> dict[str, str]:
    made = run(home, "71", "-m", "souverain", "init")
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith("Cloud Saône-et-Loire : 5")
    looked = run(home, "71", "-c", LOOK)
    assert looked.returncode == 0, looked.stderr
    return dict(json.loads(looked.stdout))


def test_nothing_speaks_of_the_cote_d_or(shown: dict[str, str]) -> None:
    for where, text in shown.items():
        for word in ("Côte-d", "cotedor", "Dijon", "21231", "21000"):
            assert word not in text, f"{where} says {word}"


def test_the_names_are_those_of_the_departement(shown: dict[str, str]) -> None:
    assert "Le cloud des communes de Saône-et-Loire" in shown["/"]
    assert "Département de Saône-et-Loire" in shown["/mentions-legales/"]
    assert "Cloud Saône-et-Loire" in shown["agreement"]
    assert shown["operator"] == "operateur@saoneetloire.invalid"
    assert shown["sender"] == "cloud@saoneetloire.invalid"


@pytest.mark.parametrize("words", ["init", "territory load", "serve --port 1", "worker"])
def test_another_one_over_the_same_home_is_refused(
    shown: dict[str, str], home: Path, words: str
) -> None:
    refused = run(home, "21", "-m", "souverain", *words.split())
    assert (refused.returncode, refused.stdout) == (1, "")
    assert len(refused.stderr.splitlines()) == 1
    assert "celui du département 71 (Saône-et-Loire)" in refused.stderr


@pytest.mark.parametrize(
    ("number", "of", "domain"),
    [
        ("21", "de la Côte-d'Or", "cotedor.invalid"),
        ("1", "de l'Ain", "ain.invalid"),
        ("2a", "de la Corse-du-Sud", "corsedusud.invalid"),
        ("59", "du Nord", "nord.invalid"),
        ("40", "des Landes", "landes.invalid"),
    ],
)
def test_a_departement_is_named_as_in_french(number: str, of: str, domain: str) -> None:
    assert (named(number).of, named(number).domain) == (of, domain)


def test_a_number_that_names_none_is_told(tmp_path: Path) -> None:
    told = run(tmp_path, "99", "-m", "souverain", "init")
    assert (told.returncode, told.stdout) == (1, "")
    assert "SOUVERAIN_DEPARTEMENT=99" in told.stderr and len(told.stderr.splitlines()) == 1
