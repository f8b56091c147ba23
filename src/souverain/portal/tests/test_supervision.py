"""What operators see of the cloud's health, and who sees which job."""

from __future__ import annotations

import shutil
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils.html import escape

from souverain.core import clock, events, jobs, rooms, verification, worker
from souverain.core.access import SYSTEM, of_user
from souverain.core.jobs import Failed
from souverain.core.models import EventCursor, Job, JournalEntry, Message, Organisation, User
from souverain.core.models import RoleAssignment as Assignment
from souverain.core.roles import Role
from souverain.core.room import ROOM as CORE

pytestmark = [pytest.mark.django_db, pytest.mark.db_both]


@pytest.fixture
def home(tmp_path: Any, settings: Any) -> Any:
    settings.HOME = tmp_path
    worker.beat()
    worker.export_journal_head()
    return tmp_path


@pytest.fixture
def people() -> dict[str, User]:
    """An operator, and a commune's administrator in Dijon and in Beaune."""
    kinds = Organisation.Kind
    places = {
        "operator": Organisation.objects.create(kind=kinds.DEPARTEMENT, code="21", name="21"),
        "dijon": Organisation.objects.create(kind=kinds.COMMUNE, code="21231", name="Dijon"),
        "beaune": Organisation.objects.create(kind=kinds.COMMUNE, code="21054", name="Beaune"),
    }
    people = {}
    for name, place in places.items():
        people[name] = User.objects.create_user(f"{name}@exemple.fr", "un mot de passe long")
        role = Role.OPERATOR if name == "operator" else Role.COMMUNE_ADMIN
        Assignment.objects.create(user=people[name], role=role, organisation=place)
    return people


def signed_in(user: User) -> Client:
    client = Client(headers={"host": "localhost"})
    client.force_login(user)
    return client


def text(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200
    return answer.content.decode()


def test_the_page_answers_first_and_names_what_is_wrong(
    home: Any, people: dict[str, User], monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = signed_in(people["operator"])
    page = text(operator, "/supervision/")
    assert "1 point demande votre attention." in page  # no commune is loaded here
    assert "Aucun incident de sécurité" in page
    checks = [item for room in rooms.load().values() for item in room.health]
    assert all(f"{escape(item.title)}</h3>" in page for item in checks)
    monkeypatch.setattr(rooms, "load", lambda: {"core": CORE})
    assert "Tout est en service." in text(operator, "/supervision/")

    Message.objects.create(
        channel="email", recipient="a@exemple.fr", subject="s", body="b", attempts=3
    )
    EventCursor.objects.create(
        subscriber="vault.tell", failing_since=clock.now(), last_error="ValueError: panne"
    )
    job = jobs.submit(SYSTEM, verification.verify_journal, {})
    Job.objects.filter(pk=job.pk).update(
        state="failed", error="Journal atteint.", finished_at=clock.now()
    )
    usage = SimpleNamespace(total=1000, used=950, free=50)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    page = text(operator, "/supervision/")
    assert "4 points demandent votre attention." in page
    for sign in ("Presque plein", "ont pas pu partir", "vault.tell échoue", "Journal atteint."):
        assert sign in page


def test_safety_incidents_are_listed(
    home: Any, people: dict[str, User], monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = rooms.EventKind("watch.alarm_raised", "Un agent ne bouge plus", safety=True)
    every = rooms.every
    monkeypatch.setattr(
        rooms, "every", lambda field: iter([kind]) if field == "events" else every(field)
    )
    events.emit("watch.alarm_raised", organisation="21231")
    page = text(signed_in(people["operator"]), "/supervision/")
    assert "Un agent ne bouge plus" in page and "Dijon" in page and "21231" not in page


def test_an_old_or_damaged_journal_head_is_seen(home: Any, people: dict[str, User]) -> None:
    operator = signed_in(people["operator"])
    assert "Empreinte à jour" in text(operator, "/supervision/")
    with clock.frozen(clock.now() + timedelta(days=3)):
        worker.beat()
        assert "Empreinte ancienne" in text(operator, "/supervision/")
    [path] = (home / worker.HEADS_FOLDER).iterdir()
    path.write_text('{"seq": 1,\n"hash": }')
    assert "ligne 2" in text(operator, "/supervision/")


def test_a_verification_is_one_job_at_a_time_and_only_operators_start_it(
    home: Any, people: dict[str, User]
) -> None:
    operator = signed_in(people["operator"])
    first, second = (operator.post("/supervision/verifier/") for _ in range(2))
    assert first.url == second.url and Job.objects.count() == 1  # type: ignore[attr-defined]
    assert "En file" in text(operator, first.url)  # type: ignore[attr-defined]
    assert signed_in(people["dijon"]).post("/supervision/verifier/").status_code == 403


def test_the_verification_finds_a_changed_entry_and_a_cut_tail(home: Any) -> None:
    jobs.submit(SYSTEM, verification.verify_journal, {})
    path = worker.settings.HOME / worker.HEADS_FOLDER / f"{clock.today()}.json"
    path.unlink()
    worker.export_journal_head()
    told: list[int] = []

    def progress(done: int, total: int | None = None, message: str = "") -> None:
        told.append(done)

    outcome = verification.verify_journal(progress)
    assert "Le journal est entier\u00a0: 1 entrée relue" in outcome["summary"]
    assert outcome["entries"] == 1 and outcome["compared_with"] == str(clock.today()) and told
    path.write_text(path.read_text().replace('"seq": 1', '"seq": 2'))
    with pytest.raises(Failed, match="la fin du journal a été coupée"):
        verification.verify_journal(progress)


def test_each_sees_their_own_jobs_and_those_of_their_organisation(
    people: dict[str, User],
) -> None:
    dijon = Organisation.objects.get(code="21231")
    submit = jobs.submit
    system = submit(SYSTEM, verification.verify_journal, {})
    commune = submit(SYSTEM, verification.verify_journal, {}, organisation=dijon)
    own = submit(of_user(people["beaune"]), verification.verify_journal, {})
    seen = {
        name: {str(job.pk) for job in (system, commune, own) if str(job.pk) in page}
        for name, page in (
            (name, text(signed_in(user), "/travaux/")) for name, user in people.items()
        )
    }
    assert seen == {
        "operator": {str(job.pk) for job in (system, commune, own)},
        "dijon": {str(commune.pk)},
        "beaune": {str(own.pk)},
    }
    for name, user in people.items():
        client = signed_in(user)
        for job in (system, commune, own):
            expected = 200 if str(job.pk) in seen[name] else 403
            assert client.get(f"/travaux/{job.pk}/").status_code == expected
            stop = client.post(f"/travaux/{job.pk}/arreter/").status_code
            mine = name == "operator" or (name == "beaune" and job == own)
            assert stop == (302 if mine else 403)
    assert set(Job.objects.values_list("state", flat=True)) == {"cancelled"}
    assert JournalEntry.objects.filter(verb="job.cancelled").count() == 3


def test_a_finished_job_shows_its_result_its_log_and_its_error(people: dict[str, User]) -> None:
    job = jobs.submit(SYSTEM, verification.verify_journal, {})
    Job.objects.filter(pk=job.pk).update(
        state="failed",
        result={"entries": 12, "summary": "Tout est relu."},
        log="ligne <b>",
        error="Arrêté : il lui fallait plus.",
        started_at=clock.now(),
        finished_at=clock.now(),
    )
    page = text(signed_in(people["operator"]), f"/travaux/{job.pk}/")
    assert (
        "Tout est relu." in page and "&quot;entries&quot;: 12" in page and "ligne &lt;b&gt;" in page
    )
    assert "Arrêté : il lui fallait plus." in page and "data-progress-url" not in page


def test_the_database_is_named(home: Any, people: dict[str, User]) -> None:
    page = text(signed_in(people["operator"]), "/supervision/")
    assert {"sqlite": "SQLite 3.", "postgresql": "PostgreSQL 1"}[connection.vendor] in page


def test_supervision_says_which_way_out_is_missing_and_what_to_type(
    home: Any, people: dict[str, User], settings: Any
) -> None:
    client = signed_in(people["operator"])
    settings.SMTP_URL = ""
    assert "egress allow" not in text(client, "/supervision/")
    settings.SMTP_URL = "smtp://compte:secret@mail.example.fr:587"
    page = text(client, "/supervision/")
    command = "souverain egress allow mail.example.fr 587 --purpose smtp --data-class personal"
    assert command in page and "secret" not in page
