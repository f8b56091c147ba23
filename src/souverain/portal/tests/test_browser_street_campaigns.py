"""A real Chromium opens a campaign, sends it pictures over a line that breaks, and publishes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Route

from souverain.portal.tests.test_membership_browser import SETUP, Visitor, browser, signed_in
from souverain.street.tests.pictures import drive
from souverain.vault.tests.conftest import Server

__all__ = ["browser"]
pytestmark = pytest.mark.browser
START = datetime(2026, 6, 1, 12, tzinfo=UTC)
CHUNK = 4 << 20
RECEIVED = """
from pathlib import Path
from souverain.core import access
from souverain.street import ingest
done = ingest.receive(access.SYSTEM, "d971-2026", [Path({folder!r})], append=True, anonymise=None)
print(done.taken, len(done.rejected))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("home"))
    made.python(SETUP)
    made.start()
    yield made
    made.kill()


def test_a_campaign_from_opening_to_withdrawal(
    server: Server, browser: Browser, tmp_path: Path
) -> None:
    operator = Visitor(signed_in(browser, server, "operator"), server)
    page = operator.open("/street/campagnes/")
    assert "Aucune campagne" in operator.look("campagnes-vides")
    page.get_by_label("Nom").fill("d971-2026")
    page.get_by_label("Titre").fill("La D971, juin 2026")
    page.get_by_label("Ce que sont les images").select_option("synthetic")
    page.get_by_role("button", name="Ouvrir la campagne").click()
    page.get_by_text("est ouverte").wait_for()
    operator.look("campagne-neuve")

    # A picture of three chunks, on a line that breaks after the first: the rest is sent when the
    # same file is chosen again, and only the rest.
    folder = tmp_path / "in"
    sent = drive(folder, START, 2)
    sent[0].write_bytes(sent[0].read_bytes() + bytes(2 * CHUNK))
    offsets: list[str] = []
    broken = True

    def line(route: Route) -> None:
        if route.request.method != "PUT":
            route.continue_()
            return
        offset = route.request.url.partition("offset=")[2].partition("&")[0]
        if broken and offset != "0":
            route.abort()
            return
        offsets.append(f"{route.request.url.rpartition('/')[2].partition('?')[0]} {offset}")
        route.continue_()

    page.route("**/pictures/**", line)
    page.clock.install()
    page.get_by_label("Fichiers", exact=True).set_input_files([str(file) for file in sent])
    page.get_by_role("button", name="Recevoir").click()
    for _ in range(200):
        if page.get_by_text("Connexion perdue").count():
            break
        page.clock.run_for(10_000)  # the pauses between tries
        page.wait_for_timeout(20)
    assert offsets == ["000000.jpg 0"]
    operator.refused.clear()  # what Chromium says of a line that was cut
    broken = False
    page.get_by_role("button", name="Recevoir").click()
    page.get_by_text("La réception commence").wait_for()
    assert offsets == [
        "000000.jpg 0", f"000000.jpg {CHUNK}", f"000000.jpg {2 * CHUNK}", "000001.jpg 0"
    ]  # fmt: skip
    page.unroute_all()
    assert "Réception en cours" in (page.text_content("main") or "")
    held = list(server.home.glob("street/arrivals/*/*"))
    assert {file.name: file.read_bytes() for file in held} == {
        file.name: file.read_bytes() for file in sent
    }

    # What the command receives is on the page, with each reason.
    server.python(
        "from souverain.core import access, jobs\n"
        "from souverain.core.models import Job\n"
        "jobs.cancel(access.SYSTEM, Job.objects.get())\n"
    )
    more = tmp_path / "more"
    drive(more, START + timedelta(minutes=10), 4)
    (more / "facture.jpg").write_bytes(b"%PDF-1.7")
    assert server.python(RECEIVED.format(folder=str(more))) == "4 1"
    page = operator.open("/street/campagnes/d971-2026/")
    seen = operator.look("campagne")
    assert "facture.jpg" in seen and "n'est pas un JPEG" in seen and "Images de synthèse" in seen
    page.get_by_role("button", name="Publier la campagne").click()
    page.get_by_role("dialog").get_by_role("button", name="Publier la campagne").click()
    page.get_by_text("tout le monde la voit").wait_for()
    operator.look("campagne-publiee")
    page.get_by_role("button", name="Retirer la campagne").click()
    page.get_by_role("dialog").get_by_role("button", name="Retirer la campagne").click()
    page.get_by_text("le public n'y voit plus rien").wait_for()
    operator.open("/street/campagnes/")
    seen = operator.look("campagnes")
    assert "Retirée" in seen and "n'a encore été mesurée" in seen
