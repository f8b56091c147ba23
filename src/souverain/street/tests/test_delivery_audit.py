"""A delivery's report: what was put wrong is told, on the command line, the page, the PDF, the CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from click.testing import CliRunner
from django.test import Client

from souverain.core import access, jobs
from souverain.core.models import Job, JournalEntry, Organisation, RoleAssignment, User
from souverain.core.roles import Role
from souverain.street import delivery_audit
from souverain.street.cli import cli
from souverain.street.models import Campaign, Delivery, Panorama, RejectedPicture
from souverain.street.tests.drives import drive
from souverain.street.tests.test_links_records import deliver, known_roads, lattice, synthetic
from souverain.territory.engine.synthetic_roads import SyntheticRoads

__all__ = ["known_roads", "lattice", "synthetic"]


def run(*arguments: str) -> Any:
    result = CliRunner().invoke(cli, ["audit", *arguments, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture
def delivered(synthetic: Campaign, lattice: SyntheticRoads) -> list[Panorama]:
    return deliver(synthetic, drive(lattice.network))


def spoil(rows: list[Panorama]) -> dict[str, set[str]]:
    """One fault of each kind; the names of the files at fault."""
    change = Panorama.objects.filter
    change(pk=rows[20].pk).delete()
    change(pk=rows[40].pk).update(sha256=rows[39].sha256)
    change(pk=rows[60].pk).update(heading_deg=(rows[60].heading_deg + 90) % 360)
    change(pk=rows[80].pk).update(width=1234)
    change(pk=rows[100].pk).update(sigma_xy_m=0.2)
    change(pk=rows[120].pk).update(sigma_heading_deg=None)
    change(pk=rows[140].pk).update(detector="")
    change(pk=rows[160].pk).update(taken_at=rows[159].taken_at - timedelta(milliseconds=5))
    RejectedPicture.objects.create(
        campaign=rows[0].campaign, file_name="=abîmée.jpg", reason="Le fichier est tronqué."
    )
    told = {
        "gap": 21, "duplicate": 40, "heading": 60, "gpano": 80, "sigma_xy": 100,
        "sigma_missing": 120, "unblurred": 140, "time": 160,
    }  # fmt: skip
    return {kind: {rows[i].file_name} for kind, i in told.items()} | {"rejected": {"=abîmée.jpg"}}


def test_a_good_delivery_conforms(synthetic: Campaign, delivered: list[Panorama]) -> None:
    told = run(synthetic.name)
    assert told["conform"] is True and told["items"] == []
    assert told["panoramas"] == len(delivered)
    assert told["covered_m"] == told["ordered_m"] > 1000
    assert JournalEntry.objects.filter(verb="street.delivery_audited").count() == 1


def test_each_fault_is_told_with_its_file(synthetic: Campaign, delivered: list[Panorama]) -> None:
    wanted = spoil(delivered)
    told = run(synthetic.name)
    assert told["conform"] is False and told["count"] == len(told["items"])
    found: dict[str, set[str]] = {}
    for item in told["items"]:
        assert item["message"]
        found.setdefault(item["kind"], set()).add(item["file"])
    assert found == wanted
    assert {kind: count for kind, count in told["counts"].items() if count} == {
        kind: len(files) for kind, files in wanted.items()
    }


def test_a_road_ordered_is_to_be_covered_whole(
    synthetic: Campaign, delivered: list[Panorama], lattice: SyntheticRoads
) -> None:
    driven = drive(lattice.network)
    links = lattice.network.numbers == "D102"
    hole = [
        row.pk for i, row in enumerate(delivered)
        if links[driven.link[i]] and 30 < driven.along_m[i] < 90
    ]  # fmt: skip
    Panorama.objects.filter(pk__in=hole).delete()
    told = run(synthetic.name, "--road", "RD 102")
    stretches = [item for item in told["items"] if item["kind"] == "uncovered"]
    assert stretches and all(item["road"] == "D102" for item in stretches)
    assert all("sans image, de D102 PR" in item["message"] for item in stretches)
    assert told["ordered_roads"] == ["D102"]
    assert told["covered_m"] == pytest.approx(
        told["ordered_m"] - sum(item["value"] for item in stretches)
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["rien"], "pas de campagne « rien »"),
        (["essai-2026", "--road", "D31415"], "n'a pas de route D31415"),
        (["essai-2026", "--road", "rue"], "n'est pas un numéro de route"),
    ],
)
def test_what_is_badly_asked_is_said(
    synthetic: Campaign, arguments: list[str], sentence: str
) -> None:
    result = CliRunner().invoke(cli, ["audit", *arguments])
    assert result.exit_code == 1 and sentence in result.output


def test_real_pictures_are_not_held_against_synthetic_roads(
    campaign: Campaign, lattice: SyntheticRoads
) -> None:
    deliver(campaign, drive(lattice.network))
    told = run(campaign.name)
    assert told["roads_known"] is False and told["ordered_m"] == 0
    result = CliRunner().invoke(cli, ["audit", campaign.name, "--road", "D1"])
    assert result.exit_code == 1 and "importez le réseau" in result.output


def test_an_empty_campaign_is_no_failure(campaign: Campaign) -> None:
    assert run(campaign.name)["panoramas"] == 0


# The page -----------------------------------------------------------------------------------------


@pytest.fixture
def operator(synthetic: Campaign, client: Client) -> Iterator[Client]:
    user = User.objects.create_user("o@cotedor.fr", password="x")
    owner = Organisation.objects.get(code="21")
    RoleAssignment.objects.create(user=user, organisation=owner, role=Role.OPERATOR)
    client.force_login(user)
    yield client


PAGE = "/street/campagnes/essai-2026/controle/"


def test_the_page_asks_for_a_report_and_shows_it(
    operator: Client, delivered: list[Panorama]
) -> None:
    assert "pas encore été contrôlée" in operator.get(PAGE).text
    spoil(delivered)
    answer = operator.post(PAGE, {"roads": "", "look": "0"})
    assert answer.status_code == 302
    (job,) = Job.objects.filter(name="street.audit")
    assert "en cours" in operator.get(PAGE).text
    told = jobs.find(job.name)(lambda done, total=None, message="": None, **job.arguments)
    assert told["faults"] == 9
    Job.objects.filter(pk=job.pk).update(state=Job.State.DONE)
    page = operator.get(PAGE).text
    assert "9 défauts" in page and "000060.jpg" in page and '<path d="M' in page
    assert "Données d&#x27;exemple" in page or "Données d'exemple" in page
    assert page.count("<circle") == 8  # the refused picture has no place


def test_a_bad_road_is_said_on_the_page(operator: Client) -> None:
    answer = operator.post(PAGE, {"roads": "D1, rue", "look": "0"})
    assert answer.status_code == 422 and "n&#x27;est pas un numéro" in answer.text
    assert not Job.objects.filter(name="street.audit").exists()


def test_the_csv_has_every_fault_and_no_formula(
    operator: Client, synthetic: Campaign, delivered: list[Panorama], monkeypatch: Any
) -> None:
    Panorama.objects.filter(campaign=synthetic).update(sigma_xy_m=1.0)
    spoil(delivered)
    monkeypatch.setattr(delivery_audit, "LISTED", 5)
    made = delivery_audit.run(access.SYSTEM, synthetic)
    assert len(made.report["listed"]) < 30 < len(made.faults)
    answer = operator.get("/street/campagnes/essai-2026/controle.csv")
    text = b"".join(answer.streaming_content).decode("utf-8-sig")  # type: ignore[arg-type]
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == len(made.faults)
    assert "'=abîmée.jpg" in {row["file"] for row in rows}


def test_the_pdf_is_read_by_others(
    operator: Client, synthetic: Campaign, delivered: list[Panorama]
) -> None:
    spoil(delivered)
    RejectedPicture.objects.create(campaign=synthetic, file_name="<b>日本&", reason="Refusée.")
    delivery_audit.run(access.SYSTEM, synthetic)
    answer = operator.get("/street/campagnes/essai-2026/controle.pdf")
    assert answer.content.startswith(b"%PDF-") and answer.content.rstrip().endswith(b"%%EOF")
    assert len(answer.content) > 5_000


def test_without_a_report_there_is_nothing_to_export(operator: Client) -> None:
    for kind in ("csv", "pdf"):
        assert operator.get(f"/street/campagnes/essai-2026/controle.{kind}").status_code == 404


def test_an_agent_does_not_see_the_report(synthetic: Campaign, client: Client) -> None:
    user = User.objects.create_user("a@cotedor.fr", password="x")
    owner = Organisation.objects.get(code="21")
    RoleAssignment.objects.create(user=user, organisation=owner, role=Role.AGENT)
    client.force_login(user)
    assert client.get(PAGE).status_code == 403
    assert client.post(PAGE, {"look": "0"}).status_code == 403


def test_only_audits_are_reports(synthetic: Campaign) -> None:
    Delivery.objects.create(campaign=synthetic, report={"received": 12})
    assert delivery_audit.last(synthetic) is None
