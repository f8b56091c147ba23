"""Who may do what about memberships, and what pages say when people err."""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from souverain.cli import main
from souverain.core import clock
from souverain.core.access import SYSTEM
from souverain.core.models import Job, JournalEntry, RoleAssignment
from souverain.core.roles import Role
from souverain.portal import leaving, services
from souverain.portal.engine.members_file import BYTES_MAX, Contact
from souverain.portal.membership_forms import ToolsForm
from souverain.portal.models import Contact as KeptContact
from souverain.portal.models import Departure, Membership
from souverain.portal.tests.conftest import Town

PROVING = os.environ.get("SOUVERAIN_PROVE") == "1"
pytestmark = pytest.mark.django_db
CSV = "code_insee;commune;date_adhesion\n21054;Beaune;01/02/2026\n99999;Nulle-Part;01/02/2026\n"
Visit = Callable[[str], Client]


@pytest.fixture
def visit(town: Town) -> Visit:
    """A browser with somebody's session (a role's name), or nobody's."""

    def open_as(name: str) -> Client:
        client = Client(headers={"host": "localhost"})
        if name:
            client.force_login(town.people[name])
        return client

    return open_as


def silent(done: int, total: int | None = None, message: str = "") -> None:
    """Nobody watches this job."""


@pytest.fixture
def leaver(town: Town) -> Iterator[Departure]:
    """Dijon has asked to leave, and its export is ready."""
    membership = services.ask(SYSTEM, town.dijon, ["vault"], [Contact("elected", "Éva")])
    services.join(SYSTEM, membership, clock.today())
    departure = services.leave(SYSTEM, membership)
    leaving.export_commune(silent, departure=departure.pk)
    Job.objects.update(state=Job.State.DONE, finished_at=clock.now())
    departure.refresh_from_db()
    yield departure
    leaving.destroy_export(departure)


OWN = ("commune-admin", "commune-member")
MATRIX = {
    "/communes/{code}/adhesion/": ("operator", "auditor", *OWN),
    "/communes/{code}/adhesion/convention/": ("operator", "auditor", *OWN),
    "/communes/{code}/adhesion/modifier/": ("operator", "commune-admin"),
    "/communes/{code}/depart/": ("operator", "commune-admin"),
    "/communes/{code}/depart/export.zip": ("operator", "commune-admin"),
    "/adhesions/": ("operator", "auditor"),
    "/adhesions/communes.csv": ("operator",),
    "/adhesions/importer/": ("operator",),
}


@pytest.mark.parametrize("path", MATRIX)
def test_each_page_opens_for_those_it_is_for(visit: Visit, leaver: Departure, path: str) -> None:
    for name in ("", *map(str, Role)):
        answer = visit(name).get(path.format(code="21231"))
        allowed = name in MATRIX[path]
        assert answer.status_code == (200 if allowed else 403 if name else 302), (name, path)
        if "{code}" in path:
            elsewhere = visit(name).get(path.format(code="21054"))
            assert elsewhere.status_code in (
                (200, 302, 404) if name in ("operator", "auditor") and allowed else (403, 302)
            ), name


@pytest.mark.parametrize(
    ("action", "name"),
    [
        ("adhesion/signer", "commune-admin"),
        ("adhesion/retirer", "commune-member"),
        ("depart/demander", "commune-member"),
        ("depart/annuler", "auditor"),
        ("depart/exporter", "commune-member"),
        ("depart/recu", "commune-member"),
        ("depart/effacer", "commune-admin"),
    ],
)
def test_nobody_acts_beyond_their_role(
    visit: Visit, leaver: Departure, action: str, name: str
) -> None:
    before = list(Membership.objects.values())
    assert visit(name).post(f"/communes/21231/{action}/", {"name": "Dijon"}).status_code == 403
    assert visit("").post(f"/communes/21231/{action}/", {"name": "Dijon"}).status_code == 403
    assert list(Membership.objects.values()) == before


def read(response: Any) -> bytes:
    return b"".join(response)


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume asynchronous iterators")
def test_the_export_comes_whole_or_from_any_byte_on(visit: Visit, leaver: Departure) -> None:
    content = leaving.archive_of(leaver).read_bytes()
    url, client = "/communes/21231/depart/export.zip", visit("commune-admin")
    whole = client.get(url)
    assert read(whole) == content
    assert whole.headers["Content-Length"] == str(len(content))
    assert whole.headers["Cache-Control"] == "no-store"
    etag = whole.headers["ETag"]
    taken = JournalEntry.objects.filter(verb="membership.export_taken", organisation="21231")
    assert taken.get().actor == f"user:{client.session['_auth_user_id']}"
    for header, expected in (
        ("bytes=10-", content[10:]),
        ("bytes=0-0", content[:1]),
        ("bytes=-7", content[-7:]),
        ("bytes=5-999999999", content[5:]),
    ):
        part = client.get(url, headers={"range": header, "if-range": etag})
        assert (part.status_code, read(part)) == (206, expected), header
    beyond = client.get(url, headers={"range": f"bytes={len(content)}-"})
    assert beyond.status_code == 416
    changed = client.get(url, headers={"range": "bytes=10-", "if-range": '"another"'})
    assert (changed.status_code, read(changed)) == (200, content)
    for nonsense in ("bytes=a-b", "bytes=-", "items=0-1", "bytes=0-1,3-4"):
        assert client.get(url, headers={"range": nonsense}).status_code == 200


def test_no_export_is_given_before_it_is_whole(visit: Visit, town: Town) -> None:
    membership = services.ask(SYSTEM, town.dijon, ["vault"])
    services.join(SYSTEM, membership, clock.today())
    client, url = visit("operator"), "/communes/21231/depart/export.zip"
    assert "pas d&#x27;export à télécharger" in client.get(url, follow=True).content.decode()
    services.leave(SYSTEM, membership)
    assert "pas d&#x27;export à télécharger" in client.get(url, follow=True).content.decode()


def test_an_erasure_wants_the_name_of_the_commune(visit: Visit, leaver: Departure) -> None:
    services.acknowledge(SYSTEM, leaver)
    client = visit("operator")
    wrong = client.post("/communes/21231/depart/effacer/", {"name": "Beaune"})
    assert "Ce n&#x27;est pas « Dijon »" in wrong.content.decode()
    leaver.membership.refresh_from_db()
    assert leaver.membership.state == "leaving"
    client.post("/communes/21231/depart/effacer/", {"name": "dijon "})
    leaver.membership.refresh_from_db()
    assert leaver.membership.state == "erasing"


def test_an_interrupted_erasure_is_offered_again(visit: Visit, leaver: Departure) -> None:
    services.acknowledge(SYSTEM, leaver)
    client = visit("operator")
    client.post("/communes/21231/depart/effacer/", {"name": "Dijon"})
    Job.objects.update(state=Job.State.INTERRUPTED, finished_at=clock.now())
    assert "Reprendre l'effacement" in client.get("/communes/21231/depart/").content.decode()
    again = client.post("/communes/21231/depart/effacer/", follow=True)
    assert "L&#x27;effacement est lancé" in again.content.decode()
    assert Job.objects.filter(name="portal.erase_commune").count() == 2


def test_a_file_is_shown_before_anything_is_written(visit: Visit, town: Town) -> None:
    client = visit("operator")
    shown = client.post("/adhesions/importer/", {"file": SimpleUploadedFile("a.csv", CSV.encode())})
    page = shown.content.decode()
    assert "Aucune commune du département" in page
    assert not Membership.objects.exists()
    content = base64.b64encode(CSV.encode()).decode()
    assert content in page
    client.post("/adhesions/importer/", {"content": content})
    assert Membership.objects.get().organisation == town.beaune


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ({}, "Choisissez un fichier"),
        ({"file": SimpleUploadedFile("vide.csv", b"")}, "vide"),
        ({"file": SimpleUploadedFile("gros.csv", b"x" * (BYTES_MAX + 1))}, "1 Mio"),
        ({"file": SimpleUploadedFile("classeur.csv", b"PK\x03\x04")}, "classeur"),
        ({"content": "pas du base64 !"}, "transmis entier"),
    ],
)
def test_a_file_of_no_use_is_refused_on_the_page(
    visit: Visit, given: dict[str, Any], hint: str
) -> None:
    answer = visit("operator").post("/adhesions/importer/", given, follow=True)
    assert answer.status_code == 200
    assert hint in answer.content.decode()
    assert not Membership.objects.exists()


def test_the_list_downloaded_can_be_imported_again(visit: Visit, town: Town) -> None:
    membership = services.ask(
        SYSTEM,
        town.dijon,
        ["vault", "box"],
        [Contact("elected", "=2+5", "eva@dijon.example", "+33 3 80 00 00 00")],
    )
    services.join(SYSTEM, membership, clock.today())
    content = visit("operator").get("/adhesions/communes.csv").content
    cells = content.decode("utf-8-sig").splitlines()[1].split(";")
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in cells)
    assert services.import_members(SYSTEM, content).unchanged == ("21231",)


said = st.text(
    st.one_of(
        st.sampled_from("=+-@'\"; \t\r\n,|\ufeff\u2028éa1."),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=170,
)
addresses = st.one_of(
    st.just(""),
    st.builds("{}@{}.fr".format, st.text("aZ0=+-'._", min_size=1, max_size=70), st.just("dijon")),
)
phones = st.one_of(st.just(""), st.from_regex(r"\+?[0-9][0-9 .()-]{5,20}", fullmatch=True))


def takes(field: Any, text: str) -> bool:
    try:
        field.clean(text)
    except ValidationError:
        return False
    return True


@settings(
    max_examples=300 if PROVING else 30,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(people=st.lists(st.tuples(said, addresses, phones), min_size=4, max_size=4))
def test_whatever_the_contacts_hold_the_list_is_imported_again_unchanged(
    visit: Visit, town: Town, people: list[tuple[str, str, str]]
) -> None:
    fields = ToolsForm().fields
    instead = {"name": "Anne", "email": "a@dijon.fr", "phone": ""}
    typed: dict[str, Any] = {"tools": ["vault"]}
    for kind, person in zip(KeptContact.Kind.values, people, strict=True):
        for (part, ordinary), text in zip(instead.items(), person, strict=True):
            name = f"{kind}-{part}"
            typed[name] = text if text.strip() and takes(fields[name], text) else ordinary
    form = ToolsForm(typed)
    assert form.is_valid(), form.errors
    membership = services.current(town.dijon)
    if membership is None:
        membership = services.ask(SYSTEM, town.dijon, ["vault"], form.contacts)
        services.join(SYSTEM, membership, clock.today())
    else:
        services.describe(SYSTEM, membership, ["vault"], form.contacts)
    content = visit("operator").get("/adhesions/communes.csv").content
    outcome = services.import_members(SYSTEM, content)
    assert outcome.unchanged == ("21231",), (content, outcome)


def test_a_page_never_runs_what_somebody_typed(visit: Visit, town: Town) -> None:
    services.ask(SYSTEM, town.dijon, ["vault"], [Contact("elected", "<script>alert(1)</script>")])
    for path in ("adhesion/", "adhesion/convention/", "adhesion/modifier/"):
        assert (
            "<script>alert" not in visit("operator").get(f"/communes/21231/{path}").content.decode()
        )


@pytest.mark.parametrize("name", ["", *map(str, Role)])
def test_home_tells_everybody_how_many_have_joined(visit: Visit, town: Town, name: str) -> None:
    services.import_members(SYSTEM, CSV.encode())
    page = unescape(visit(name).get("/").content.decode())
    assert "1 commune sur 2 a rejoint le Cloud Côte-d'Or" in page
    assert ("Ce qui vous attend" in page) == (name == "operator")
    assert ("Comment rejoindre le Cloud" in page) == (name == "")
    assert ("Ma commune" in page) == name.startswith("commune")


def test_home_tells_an_operator_what_waits(visit: Visit, leaver: Departure, town: Town) -> None:
    services.ask(SYSTEM, town.beaune, ["vault"])
    page = visit("operator").get("/").content.decode()
    assert "1 convention à signer" in page
    assert "1 export prêt" in page
    services.acknowledge(SYSTEM, leaver)
    assert "1 effacement à exécuter" in visit("operator").get("/").content.decode()


def test_the_api_page_lists_what_the_schema_lists(visit: Visit, town: Town) -> None:
    schema = json.loads(visit("").get("/api/openapi.json").content)
    page = visit("").get("/documentation-technique/").content.decode()
    for path, methods in schema["paths"].items():
        for method in methods:
            assert f"{method.upper()} {path}</code>" in page
    assert f"{sum(map(len, schema['paths'].values()))} opération" in page


def test_the_privacy_notice_says_all_that_the_rooms_hold(visit: Visit, town: Town) -> None:
    from django.utils.html import escape

    from souverain.core import rooms

    page = visit("").get("/donnees-personnelles/").content.decode()
    for room in rooms.load().values():
        for holding in room.holdings:
            assert escape(holding.title) in page
            assert escape(holding.retention) in page


# The commands ------------------------------------------------------------------------------------


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["membership", *arguments])
    return done.exit_code, done.output


def test_the_commands_import_list_and_show(town: Town, tmp_path: Path) -> None:
    file = tmp_path / "communes.csv"
    file.write_text(CSV)
    code, said = run("import", str(file), "--dry-run", "--json")
    assert (code, json.loads(said)["created"]) == (1, ["21054"])
    assert not Membership.objects.exists()
    code, said = run("import", str(file))
    assert code == 1, "a line was left out"
    assert "Ligne 3, colonne code_insee" in said
    file.write_text(CSV.replace("99999;Nulle-Part", "21231;Dijon"))
    code, said = run("import", str(file), "--json")
    assert (code, json.loads(said)["unchanged"]) == (0, ["21054"])
    code, said = run("list", "--json")
    assert (code, json.loads(said)["count"]) == (0, 2)
    code, said = run("show", "21231", "--json")
    assert (code, json.loads(said)["joined_on"]) == (0, "2026-02-01")
    assert run("show", "99999")[0] == 1
    (tmp_path / "bad.csv").write_bytes(b"\x00")
    assert run("import", str(tmp_path / "bad.csv"))[0] == 1


def test_the_command_tells_a_true_proof_from_a_forged_one(
    town: Town, leaver: Departure, tmp_path: Path
) -> None:
    operator = RoleAssignment.objects.get(role=Role.OPERATOR).user
    services.acknowledge(SYSTEM, leaver)
    from souverain.core.access import of_user

    services.erase(of_user(operator), leaver)
    leaving.erase_commune(silent, departure=leaver.pk)
    leaver.refresh_from_db()
    assert leaver.proof is not None
    file = tmp_path / "preuve.json"
    file.write_text(json.dumps(leaver.proof))
    assert run("verify", str(file))[0] == 0
    file.write_text(json.dumps({**leaver.proof, "erased_at": "2020-01-01T00:00:00Z"}))
    code, said = run("verify", str(file))
    assert code == 1 and "modifié" in said
    for nonsense in ("", "[]", "{}", "null"):
        file.write_text(nonsense)
        assert run("verify", str(file))[0] == 1


def test_the_proof_opens_for_those_who_keep_it(visit: Visit, leaver: Departure) -> None:
    services.acknowledge(SYSTEM, leaver)
    visit("operator").post("/communes/21231/depart/effacer/", {"name": "Dijon"})
    leaving.erase_commune(silent, departure=leaver.pk)
    path = f"/communes/21231/depart/{leaver.pk}/preuve"
    for name in ("operator", "auditor"):
        assert "Preuve conforme" in visit(name).get(f"{path}/").content.decode()
    proof = json.load(io.BytesIO(visit("auditor").get(f"{path}.json").content))
    assert leaving.fault_in_proof(proof) is None
    assert visit("agent").get(f"{path}/").status_code == 403
    assert visit("operator").get(f"/communes/21054/depart/{leaver.pk}/preuve/").status_code == 404
