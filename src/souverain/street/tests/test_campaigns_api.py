"""Campaigns through the API: an upload that is cut and resumed, received by the job, published."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from souverain.core import jobs
from souverain.core.access import SYSTEM
from souverain.core.models import Job, Organisation, RoleAssignment, User
from souverain.core.roles import Role
from souverain.street import arrivals, ingest, scale
from souverain.street.models import Campaign, Delivery, Panorama
from souverain.street.tests.pictures import drive, panorama_jpeg
from souverain.street.tests.test_ingest import looked_at

pytestmark = pytest.mark.django_db
START = datetime(2026, 6, 1, 12, tzinfo=UTC)
API = "/api/street/campaigns"


@pytest.fixture(autouse=True)
def home(db: None, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    Organisation.objects.get_or_create(
        code="21", defaults={"kind": Organisation.Kind.DEPARTEMENT, "name": "Côte-d'Or"}
    )
    settings.OBJECTS_URL = f"file://{tmp_path}/objects"
    settings.HOME = tmp_path / "home"
    monkeypatch.setitem(ingest.receive.__kwdefaults__, "anonymise", looked_at)
    return tmp_path


def person(role: Role) -> Client:
    departement = Organisation.objects.get(kind=Organisation.Kind.DEPARTEMENT)
    user = User.objects.create(email=f"{role}@example.fr")
    RoleAssignment.objects.create(user=user, role=role, organisation=departement)
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def operator() -> Client:
    return person(Role.OPERATOR)


def post(client: Client, path: str, told: Any = None) -> Any:
    return client.post(path, json.dumps(told or {}), content_type="application/json")


def put(client: Client, name: str, offset: int, total: int, chunk: bytes) -> Any:
    address = f"{API}/d971/pictures/{name}?offset={offset}&total={total}"
    return client.put(address, chunk, content_type="application/octet-stream")


def large_enough() -> float:
    """Says of the reception's pictures that they had 75 megapixels each."""
    delivery = Delivery.objects.get()
    rates = delivery.report["rates"]
    rates["megapixels"] = 75.0 * rates["pictures"]
    delivery.save()
    return float(rates["megapixels"])


def run_job(job: Job) -> Any:
    """The job's own function, as the worker's process calls it."""
    return jobs.find(job.name)(lambda *_: None, **job.arguments)


def test_an_upload_cut_and_resumed_is_received_and_published(
    operator: Client, tmp_path: Path
) -> None:
    assert post(operator, API, {"name": "d971", "title": "La D971"}).status_code == 201
    files = drive(tmp_path / "in", START, 3)
    for file in files:
        content = file.read_bytes()
        half = len(content) // 2
        assert put(operator, file.name, 0, len(content), content[:half]).json() == {
            "file": file.name, "received": half, "complete": False,
        }  # fmt: skip
        # The answer was lost: the same chunk again says where to go on.
        again = put(operator, file.name, 0, len(content), content[:half])
        assert (again.status_code, again.json()["received"]) == (409, half)
        there = operator.get(f"{API}/d971/pictures/{file.name}").json()["received"]
        assert put(operator, file.name, there, len(content), content[there:]).json()["complete"]
        stored = arrivals.folder(Campaign.objects.get()) / file.name
        assert stored.read_bytes() == content
    started = post(operator, f"{API}/d971/receive")
    assert started.status_code == 202 and started.json()["job"]
    assert post(operator, f"{API}/d971/receive").status_code == 409
    assert post(operator, f"{API}/d971/publish").status_code == 409
    job = Job.objects.get()
    result = run_job(job)
    assert result["taken"] == 3 and "3 images prises" in result["summary"]
    Job.objects.update(state=Job.State.DONE)
    assert not list(arrivals.folder(Campaign.objects.get()).iterdir())
    assert post(operator, f"{API}/d971/publish").json()["state"] == "published"
    assert put(operator, "x.jpg", 0, 4, b"abcd").status_code == 422
    assert post(operator, f"{API}/d971/withdraw").json()["state"] == "withdrawn"


def test_the_refused_are_listed_and_a_trajectory_may_come_along(operator: Client) -> None:
    post(operator, API, {"name": "d971"})
    rows = "time,x_m,y_m,heading_deg\n" + "".join(
        f"2026-06-01T12:00:0{s}Z,854000,{6692000 + 20 * s},0\n" for s in range(2)
    )
    sent = {
        "t.csv": rows.encode(),
        "a.jpg": panorama_jpeg(None, taken_at=START.replace(microsecond=500_000)),
        "b.jpg": b"\0\0not a picture",
    }
    for name, content in sent.items():
        assert put(operator, name, 0, len(content), content).status_code == 200
    post(operator, f"{API}/d971/receive")
    run_job(Job.objects.get())
    assert Panorama.objects.get().y_m == pytest.approx(6692010, abs=1e-3)
    refused = operator.get(f"{API}/d971/rejected").json()
    assert refused["count"] == 1 and "pas un JPEG" in refused["items"][0]["reason"]


def test_a_chunk_of_four_mebibytes_passes_and_a_larger_one_does_not(operator: Client) -> None:
    post(operator, API, {"name": "d971"})
    whole = bytes(arrivals.CHUNK_MAX_BYTES)
    assert put(operator, "x.jpg", 0, 9 << 20, whole).status_code == 200
    assert put(operator, "x.jpg", len(whole), 9 << 20, whole + b"x").status_code == 422


@pytest.mark.parametrize(
    ("name", "offset", "total", "chunk"),
    [
        ("..%2F..%2Fx.jpg", 0, 4, b"abcd"),
        ("x.exe", 0, 4, b"abcd"),
        (".x.jpg", 0, 4, b"abcd"),
        ("x.jpg.part", 0, 4, b"abcd"),
        ("x.jpg", 0, 1 << 40, b"abcd"),
        ("x.jpg", 0, 2, b"abcd"),
        ("x.jpg", 0, 4, b""),
        ("x.jpg", 2, 4, b"cd"),
    ],
)
def test_a_wrong_chunk_leaves_nothing(
    operator: Client, name: str, offset: int, total: int, chunk: bytes, tmp_path: Path
) -> None:
    post(operator, API, {"name": "d971"})
    assert put(operator, name, offset, total, chunk).status_code in (404, 409, 422)
    held = [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert all(path.stat().st_size == 0 for path in held)


def test_a_disk_that_fills_keeps_whole_chunks_only(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    post(operator, API, {"name": "d971"})
    put(operator, "x.jpg", 0, 8, b"abcd")
    real = arrivals.os.pwrite

    def half(descriptor: int, chunk: Any, offset: int) -> int:
        real(descriptor, bytes(chunk)[:2], offset)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(arrivals.os, "pwrite", half)
    assert put(operator, "x.jpg", 4, 8, b"efgh").status_code == 507
    monkeypatch.undo()
    assert operator.get(f"{API}/d971/pictures/x.jpg").json()["received"] == 4


def test_only_operators_deliver(operator: Client) -> None:
    post(operator, API, {"name": "d971"})
    agent = person(Role.AGENT)
    assert agent.get(API).status_code == 403
    assert put(agent, "x.jpg", 0, 4, b"abcd").status_code == 403
    assert post(agent, f"{API}/d971/publish").status_code == 403
    assert Client().get(reverse("street:campaigns")).status_code == 302
    assert agent.get(reverse("street:campaigns")).status_code == 403


def test_the_pages_say_state_refusals_and_what_the_whole_takes(
    operator: Client, tmp_path: Path
) -> None:
    page = operator.get(reverse("street:campaigns")).content.decode()
    assert "Aucune campagne" in page and "n'a encore été mesurée" in page
    made = operator.post(
        reverse("street:campaigns"),
        {"name": "d971", "title": "La D971", "originals": "kept", "provenance": "measured"},
    )
    assert made.status_code == 302
    bad = operator.post(
        reverse("street:campaigns"),
        {"name": "d971", "title": "", "originals": "kept", "provenance": "measured"},
    )
    assert bad.status_code == 200 and "existe déjà" in bad.content.decode()
    drive(tmp_path / "in", START, 2)
    (tmp_path / "in" / "bad.jpg").write_bytes(b"no")
    from souverain.core import access

    ingest.receive(access.SYSTEM, "d971", [tmp_path / "in"])
    address = reverse("street:campaign", args=["d971"])
    page = operator.get(address).content.decode()
    assert "À contrôler" in page and "bad.jpg" in page and "pas un JPEG" in page
    assert operator.post(reverse("street:campaign_publish", args=["d971"])).status_code == 302
    assert Campaign.objects.get().state == Campaign.State.PUBLISHED
    assert "Retirer" in operator.get(address).content.decode()
    operator.post(reverse("street:campaign_withdraw", args=["d971"]))
    assert Campaign.objects.get().state == Campaign.State.WITHDRAWN
    large_enough()
    page = operator.get(reverse("street:campaigns")).content.decode()
    assert "1 697 800" in page.replace("\u202f", " ").replace("\xa0", " ")
    assert "Calculé" in page and "kWh" in page


def test_the_estimate_is_in_proportion_of_what_was_measured(
    operator: Client, tmp_path: Path
) -> None:
    assert operator.get(f"{API}/estimate").status_code == 404
    drive(tmp_path / "in", START, 2)
    from souverain.core import access

    rates = ingest.receive(access.SYSTEM, "d971", [tmp_path / "in"]).rates
    assert scale.estimate() is None  # thumbnails say nothing of panoramas
    rates.megapixels = large_enough()
    found = scale.estimate(1000, 75.0)
    assert found is not None
    times = 1000 * 75 / rates.megapixels
    assert found.cpu_days == pytest.approx(rates.cpu_s * times / 86400)
    assert found.bytes_kept == pytest.approx(rates.bytes_kept * times)
    assert found.objects == 3000
    told = operator.get(f"{API}/estimate?panoramas=1000&megapixels=75").json()
    assert told["provenance"] == "modelled"
    assert told["energy_kwh"] == pytest.approx(rates.cpu_s * times * 10 / 3.6e6)


@pytest.mark.parametrize("arm", [["nan", 0, 0], [1e6, 0, 0], ["-inf", 0, 0]])
def test_a_mounting_that_no_vehicle_has_is_refused(operator: Client, arm: list[Any]) -> None:
    """It would move every picture of the campaign without a word."""
    told = {"name": "d974", "lever_arm_m": arm}
    answer = operator.post("/api/street/campaigns", told, "application/json")
    assert answer.status_code == 422 and answer.json()["detail"]
    assert not Campaign.objects.filter(name="d974").exists()


def test_a_reception_that_was_killed_leaves_no_picture_as_it_came(
    operator: Client, tmp_path: Path
) -> None:
    """Killed after the pictures were recorded and before their files were removed; published since,
    the campaign takes no other reception."""
    post(operator, API, {"name": "d971"})
    campaign = Campaign.objects.get()
    where = arrivals.folder(campaign)
    first, second = drive(where, datetime(2026, 6, 1, 12, tzinfo=UTC), 2)
    ingest.receive(SYSTEM, "d971", [first], append=True, anonymise=looked_at)
    held = Job.objects.create(name="street.receive", state=Job.State.RUNNING)
    Delivery.objects.create(campaign=campaign, job=held)
    arrivals.tidy()
    assert first.exists()  # its job still works on it
    Job.objects.update(state=Job.State.INTERRUPTED)
    arrivals.tidy()
    assert (first.exists(), second.exists()) == (False, True)
    first.write_bytes(b"another picture of that name")
    arrivals.tidy()
    assert first.exists()
