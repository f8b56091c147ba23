"""What no page, form or operation takes: a NUL, which PostgreSQL refuses."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from souverain.core.middleware import holds_nul
from souverain.core.roles import Role
from souverain.core.tests.conftest import Cast

pytestmark = [pytest.mark.django_db, pytest.mark.db_both]


@pytest.fixture
def operator(cast: Cast) -> Client:
    client = Client(headers={"host": "localhost"})
    client.force_login(cast.people[Role.OPERATOR])
    return client


@pytest.mark.parametrize(
    "path",
    [
        *("/communes/?q=a%00", "/communes/?%00=a", "/communes/a%00b/", "/invitation/a%00/"),
        *("/journal/?qui=%00", "/administration/personnes/?q=%00", "/compte/login/?next=%00"),
        *("/compte/password/reset/key/1-%00/", "/static/a%00.css", "/%00"),
    ],
)
def test_a_nul_in_an_address_is_a_400_in_french(operator: Client, path: str) -> None:
    answer = operator.get(path)
    assert answer.status_code == 400
    assert "Cette demande ne peut pas être lue" in answer.content.decode()


def test_the_api_says_it_as_a_problem(operator: Client) -> None:
    for path in ("/api/territory/communes?q=%00", "/api/territory/communes/%00"):
        answer = operator.get(path)
        assert answer.status_code == 400
        assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    "body", [{"name": "a\0", "next": "/"}, {"a\0": "x"}, {"file": SimpleUploadedFile("a", b"x")}]
)
def test_a_nul_in_a_form_is_a_400(operator: Client, body: dict[str, Any]) -> None:
    path = "/administration/21/groupes/"
    if "file" in body:  # bytes may be anything
        body = {"name": "Équipe", "file": SimpleUploadedFile("a.bin", b"\0\0")}
        assert operator.post(path, body).status_code == 302
        return
    assert operator.post(path, body).status_code == 400
    assert operator.post(path, "name=a%00", "application/x-www-form-urlencoded").status_code == 400


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        (rb'{"a": "\u0000"}', True),
        (rb'["\\\u0000"]', True),
        (rb'["\\u0000"]', False),
        (b'["a\0"]', True),
        (rb'["\u00001"]', True),
        (rb'["0000"]', False),
    ],
)
def test_a_nul_in_json_is_found_and_its_spelling_is_not(
    rf: Any, body: bytes, refused: bool
) -> None:
    for kind in ("application/json", "text/plain"):  # the API reads JSON whatever it is called
        assert holds_nul(rf.post("/api/x", body, content_type=kind)) == refused


def test_an_unknown_host_is_a_400_in_french() -> None:
    answer = Client(headers={"host": "pirate.example"}).get("/")
    assert answer.status_code == 400
    assert "Cette demande ne peut pas être lue" in answer.content.decode()
