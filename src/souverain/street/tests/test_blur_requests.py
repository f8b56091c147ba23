"""A resident asks, an operator answers, and nothing of what was shown is left in any copy."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from click.testing import CliRunner
from django.core.cache import cache
from django.test import Client

from souverain.core import access, clock
from souverain.core.models import JournalEntry, Organisation, RoleAssignment, User
from souverain.core.roles import Role
from souverain.street import blur_requests, campaigns, derivation, privacy
from souverain.street.cli import cli
from souverain.street.engine.boxes import Box
from souverain.street.engine.jpeg_blocks import JpegError
from souverain.street.models import BlurredBox, BlurRequest, Campaign, Panorama
from souverain.street.privacy import PrivacyError
from souverain.street.tests.test_jpeg_blocks import scene

pytestmark = pytest.mark.django_db
WIDTH, HEIGHT = 1024, 512


@pytest.fixture
def shown(
    tmp_path: Path, settings: Any, panorama: Callable[..., Panorama], campaign: Campaign
) -> Panorama:
    """A published panorama with its objects, the original among them."""
    settings.OBJECTS_URL = f"file://{tmp_path}/objects"
    cache.clear()
    made = panorama(width=WIDTH, height=HEIGHT)
    jpeg = simplejpeg.encode_jpeg(scene(WIDTH, HEIGHT), 90)
    derivation.keep_original(made, jpeg)
    made.save()
    derivation.derive(made, jpeg)
    campaign.state = Campaign.State.READY
    campaign.save()
    campaigns.publish(access.SYSTEM, campaign)
    return made


@pytest.fixture
def operator(campaign: Campaign) -> Client:
    client, user = Client(), User.objects.create_user("op@exemple.fr")
    departement = Organisation.objects.get(code="21")
    RoleAssignment.objects.create(user=user, role=Role.OPERATOR, organisation=departement)
    client.force_login(user, "allauth.account.auth_backends.AuthenticationBackend")
    return client


def files(tmp_path: Path) -> dict[str, bytes]:
    root = tmp_path / "objects"
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def ask(client: Client, shown: Panorama, **fields: Any) -> str:
    told = {
        "subject": "house", "size": "12.0", "yaw_deg": "0", "elevation_deg": "0",
        "message": "La maison bleue", "contact": "moi@exemple.fr", **fields,
    }  # fmt: skip
    answer = client.post(f"/street/floutage/?panorama={shown.pk}", told)
    assert answer.status_code == 302, answer.content.decode()
    return str(answer["Location"]).rstrip("/").rpartition("/")[2]


def test_from_the_request_to_the_receipt(
    shown: Panorama, operator: Client, client: Client, tmp_path: Path
) -> None:
    before = files(tmp_path)
    code = ask(client, shown)
    assert re.fullmatch(r"[0-9A-Z]{4}(-[0-9A-Z]{4}){2}", code)
    assert "attend sa réponse" in client.get(f"/street/floutage/{code}/").content.decode()

    asked = BlurRequest.objects.get(code=code)
    page = operator.get(f"/street/demandes/{asked.pk}/").content.decode()
    assert "La maison bleue" in page and "moi@exemple.fr" in page
    seen = operator.get(f"/street/demandes/{asked.pk}/vue.jpg")
    assert seen.status_code == 200 and simplejpeg.decode_jpeg(seen.content).max() == 255
    answer = operator.post(f"/street/demandes/{asked.pk}/flouter/", {"faite-answer": "C'est fait."})
    assert answer.status_code == 302, answer.content.decode()

    # No object of before is left, under any name.
    after = files(tmp_path)
    old = {hashlib.sha256(content).hexdigest() for content in before.values()}
    assert not old & {hashlib.sha256(content).hexdigest() for content in after.values()}
    receipt = json.loads(client.get(f"/street/floutage/{code}/recu.json").content)
    assert {each["sha256_before"] for each in receipt["objects"]} == old
    assert {each["sha256_after"] for each in receipt["objects"]} == {
        hashlib.sha256(content).hexdigest() for content in after.values()
    }
    assert receipt["duration_s"] < 10

    # In the picture and in the original, the zone is nine means at most, the rest is the same.
    (box,) = BlurredBox.objects.filter(request=asked)
    rows, columns = slice(box.y, box.y + box.height), slice(box.x, box.x + box.width)
    for name, content in after.items():
        if not name.endswith(".jpg"):
            continue
        original = next(before[n] for n in before if n.endswith("original.jpg"))
        pixels, was = (simplejpeg.decode_jpeg(j, fastupsample=True) for j in (content, original))
        assert len(np.unique(pixels[rows, columns].reshape(-1, 3), axis=0)) <= 9
        outside = np.ones(pixels.shape[:2], bool)
        outside[rows, columns] = False
        assert np.array_equal(pixels[outside], was[outside])

    asked.refresh_from_db()
    assert asked.contact == asked.message == "", "personal data outlives its use"
    follow = client.get(f"/street/floutage/{code}/").content.decode()
    assert "C'est flouté" in follow and "moi@exemple.fr" not in follow
    assert client.get(f"/street/floutage/{code}/recu.pdf").content.startswith(b"%PDF")
    verbs = set(JournalEntry.objects.values_list("verb", flat=True))
    assert {"street.blur_requested", "street.reblurred", "street.blur_answered"} <= verbs


def test_every_level_of_the_pyramid_is_made_again(shown: Panorama) -> None:
    from souverain.street.engine.pyramid import Pyramid

    def tiles() -> list[str]:
        packed = b"".join(derivation.store().read(shown.pyramid_key))
        pyramid = Pyramid.parse(packed)
        spans = [pyramid.tile(level, 0, 0) for level in range(len(pyramid.levels))]
        return [hashlib.sha256(packed[s : s + n]).hexdigest() for s, n in filter(None, spans)]

    before = tiles()
    privacy.reblur(access.SYSTEM, shown, [Box(0, 0, 300, 200, "manual")])
    shown.refresh_from_db()
    assert len(before) > 1 and not set(before) & set(tiles())


def test_a_zone_across_the_seam_is_replaced_on_both_sides(shown: Panorama) -> None:
    box = privacy.box_at(shown, 180.0, 0.0, 20.0, 10.0, "manual")
    was = simplejpeg.decode_jpeg(b"".join(derivation.store().read(shown.picture_key)))
    privacy.reblur(access.SYSTEM, shown, [box])
    shown.refresh_from_db()
    for key in (shown.picture_key, shown.original_key):
        pixels = simplejpeg.decode_jpeg(b"".join(derivation.store().read(key)))
        for columns in (slice(0, 24), slice(WIDTH - 24, WIDTH)):
            zone = pixels[HEIGHT // 2 - 10 : HEIGHT // 2 + 10, columns]
            assert len(np.unique(zone.reshape(-1, 3), axis=0)) <= 9
        assert np.array_equal(pixels[:, 100:900], was[:, 100:900])
    assert {piece.x for piece in BlurredBox.objects.filter(panorama=shown)} == {0, 992}


def test_two_blurs_at_once_are_refused_rather_than_lost(shown: Panorama) -> None:
    with privacy._alone(shown), pytest.raises(PrivacyError, match="déjà en train"):
        privacy.reblur(access.SYSTEM, shown, [Box(0, 0, 9, 9, "manual")])
    privacy.reblur(access.SYSTEM, shown, [Box(0, 0, 9, 9, "manual")])


def test_a_refusal_says_why_and_changes_nothing(
    shown: Panorama, operator: Client, client: Client, tmp_path: Path
) -> None:
    before = files(tmp_path)
    asked = BlurRequest.objects.get(code=ask(client, shown))
    silent = operator.post(f"/street/demandes/{asked.pk}/refuser/", {"refus-answer": " "})
    assert silent.status_code == 422
    operator.post(f"/street/demandes/{asked.pk}/refuser/", {"refus-answer": "Rien de tel ici."})
    asked.refresh_from_db()
    assert asked.state == BlurRequest.State.REFUSED and asked.contact == ""
    assert files(tmp_path) == before
    assert "Rien de tel ici" in client.get(f"/street/floutage/{asked.code}/").content.decode()
    again = operator.post(f"/street/demandes/{asked.pk}/flouter/", {})
    assert again.status_code == 422 and files(tmp_path) == before


def test_the_page_opens_from_the_picture_that_one_looks_at(shown: Panorama, client: Client) -> None:
    page = client.get(f"/street/floutage/?panorama={shown.pk}&yaw=20.00&elevation=-5.00")
    assert page.status_code == 200 and str(shown.pk) in page.content.decode()


def test_an_answer_given_during_a_blur_is_not_overwritten(
    shown: Panorama, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = BlurRequest.objects.get(code=ask(client, shown))

    def refused_meanwhile(*_: Any, **__: Any) -> list[Any]:
        other = BlurRequest.objects.get(pk=asked.pk)
        blur_requests.refuse(access.SYSTEM, other, "Ce n'est pas une maison.")
        return []

    monkeypatch.setattr(privacy, "reblur", refused_meanwhile)
    with pytest.raises(PrivacyError, match="déjà sa réponse"):
        blur_requests.carry_out(access.SYSTEM, asked)
    asked.refresh_from_db()
    assert asked.state == BlurRequest.State.REFUSED and asked.receipt is None


def test_a_request_in_words_waits_until_the_operator_says_where(
    shown: Panorama, operator: Client, client: Client
) -> None:
    empty = client.post("/street/floutage/", {"subject": "person"})
    assert "Dites où" in empty.content.decode()
    client.post("/street/floutage/", {"subject": "person", "message": "Rue Haute, à Beaune"})
    asked = BlurRequest.objects.get()
    assert operator.post(f"/street/demandes/{asked.pk}/flouter/", {}).status_code == 422
    where = {"panorama": str(shown.pk), "yaw_deg": 30, "elevation_deg": -5, "width_deg": 3, "height_deg": 4}  # fmt: skip
    assert operator.post(f"/street/demandes/{asked.pk}/placer/", where).status_code == 302
    assert operator.post(f"/street/demandes/{asked.pk}/flouter/", {}).status_code == 302
    asked.refresh_from_db()
    assert asked.state == BlurRequest.State.DONE


def test_a_flood_from_one_network_is_stopped(shown: Panorama, client: Client) -> None:
    for _ in range(6):
        ask(client, shown)
    told = {"subject": "person", "message": "encore"}
    answer = client.post("/street/floutage/", told)
    assert answer.status_code == 429 and answer["Retry-After"] == "3600"
    assert BlurRequest.objects.count() == 6


def test_when_too_many_wait_the_new_one_is_refused(
    shown: Panorama, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blur_requests, "WAITING_MAX", 1)
    blur_requests.ask(shown, "person")
    with pytest.raises(PrivacyError, match="attendent déjà"):
        blur_requests.ask(shown, "person")


@pytest.mark.parametrize(
    "direction",
    [
        {"yaw_deg": float("nan")}, {"yaw_deg": 1e9}, {"elevation_deg": 91.0},
        {"width_deg": 0.0}, {"height_deg": float("inf")}, {"width_deg": 359.0},
    ],
)  # fmt: skip
def test_an_impossible_zone_is_refused(shown: Panorama, direction: dict[str, float]) -> None:
    with pytest.raises(PrivacyError):
        blur_requests.ask(shown, "person", **direction)


def test_pictures_that_are_not_published_cannot_be_asked_about(
    shown: Panorama, client: Client
) -> None:
    campaigns.withdraw(access.SYSTEM, shown.campaign)
    assert client.get(f"/street/floutage/?panorama={shown.pk}").status_code == 404
    assert client.get("/street/floutage/?panorama=1").status_code == 404


def test_codes_are_read_as_people_type_them(shown: Panorama, client: Client) -> None:
    code = ask(client, shown)
    typed = code.lower().replace("-", " ").replace("0", "o").replace("1", "l")
    found = client.get("/street/floutage/", {"code": typed})
    assert found["Location"].endswith(f"/street/floutage/{code}/")
    assert client.get("/street/floutage/", {"code": "ABCD-EFGH"}).status_code == 404


def test_originals_are_read_by_operators_only_and_it_is_journalled(
    shown: Panorama, operator: Client, client: Client
) -> None:
    address = f"/street/originaux/{shown.pk}.jpg"
    assert client.get(address).status_code == 302
    content = b"".join(operator.get(address).streaming_content)  # type: ignore[attr-defined]
    assert hashlib.sha256(content).hexdigest() == derivation.store().sha256(shown.original_key)
    entry = JournalEntry.objects.get(verb="street.original_read")
    assert entry.object == f"panorama:{shown.pk}"


def test_erase_command(shown: Panorama, client: Client, tmp_path: Path) -> None:
    before = files(tmp_path)
    where = ["--panorama", str(shown.pk), "--yaw", "20", "--elevation", "-10"]
    dry = CliRunner().invoke(cli, ["erase", *where, "--dry-run", "--json"])
    assert dry.exit_code == 0 and json.loads(dry.stdout)["objects"] == []
    assert files(tmp_path) == before
    done = CliRunner().invoke(cli, ["erase", *where, "--json"])
    told = json.loads(done.stdout)
    assert {each["sha256_before"] for each in told["objects"]} == {
        hashlib.sha256(content).hexdigest() for content in before.values()
    }
    code = ask(client, shown)
    by_code = CliRunner().invoke(cli, ["erase", "--request", code.lower(), "--json"])
    assert json.loads(by_code.stdout)["code"] == code
    for wrong in (
        ["--request", "ABCD-EFGH-JKMN"], ["--panorama", str(shown.pk), "--box", "9000,0,5,5"],
        ["--panorama", str(shown.campaign_id), "--yaw", "0", "--elevation", "0"],
    ):  # fmt: skip
        refused = CliRunner().invoke(cli, ["erase", *wrong])
        assert refused.exit_code == 1 and "Aucune demande" in refused.output
    assert CliRunner().invoke(cli, ["erase"]).exit_code == 2


def test_blur_command(tmp_path: Path) -> None:
    source, target = tmp_path / "a.jpg", tmp_path / "b.jpg"
    source.write_bytes(simplejpeg.encode_jpeg(scene(320, 160), 90))
    done = CliRunner().invoke(cli, ["blur", str(source), "-o", str(target), "--json"])
    told = json.loads(done.stdout)
    assert target.exists() and "CenterFace" in told["detector"]
    for box in told["boxes"]:
        assert set(box) == {"x", "y", "width", "height", "kind", "score"}
    source.write_bytes(source.read_bytes()[:2000])
    target.unlink()
    refused = CliRunner().invoke(cli, ["blur", str(source), "-o", str(target)])
    assert refused.exit_code == 1 and "tronqué" in refused.output and not target.exists()
    same = CliRunner().invoke(cli, ["blur", str(source), "-o", str(source)])
    assert same.exit_code == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jpg"]


def test_a_damaged_copy_is_said_and_nothing_is_removed(shown: Panorama, tmp_path: Path) -> None:
    path = tmp_path / "objects" / shown.picture_key
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-900])
    before = files(tmp_path)
    with pytest.raises(JpegError):
        privacy.reblur(access.SYSTEM, shown, [Box(0, 0, 9, 9, "manual")], originals=False)
    assert files(tmp_path) == before


def test_the_home_of_an_operator_tells_how_many_wait_and_an_agent_is_told_nothing(
    shown: Panorama, operator: Client, client: Client
) -> None:
    def home() -> str:
        return operator.get("/").content.decode()

    assert "demande de floutage" not in home()
    first = BlurRequest.objects.get(code=ask(client, shown))
    assert "1 demande de floutage attend" in home()
    BlurRequest.objects.filter(pk=first.pk).update(
        received_at=clock.now() - blur_requests.PRESSING_AFTER
    )
    second = BlurRequest.objects.get(code=ask(client, shown))
    page = home()
    assert "2 demandes de floutage attendent" in page
    assert (
        f'href="/street/demandes/{first.pk}/"' in page
        and "il y a 21\N{NO-BREAK SPACE}jours" in page
    )

    def told_as() -> list[str]:
        actor = access.of_user(User.objects.get(email="op@exemple.fr"))
        return [item.kind for item in blur_requests.awaited(actor)]

    assert told_as() == ["danger"]
    blur_requests.refuse(access.SYSTEM, first, "Ce n'est pas chez vous.")
    assert told_as() == ["warn"]
    blur_requests.refuse(access.SYSTEM, second, "Ce n'est pas chez vous.")
    assert told_as() == []

    ask(client, shown)
    agent = User.objects.create_user("agent@exemple.fr")
    departement = Organisation.objects.get(code="21")
    RoleAssignment.objects.create(user=agent, role=Role.AGENT, organisation=departement)
    assert blur_requests.awaited(access.of_user(agent)) == ()


def test_the_desk_leads_those_who_answer_to_the_requests(shown: Panorama, operator: Client) -> None:
    assert 'href="/street/demandes/"' in operator.get("/street/bureau/").content.decode()
    agent, user = Client(), User.objects.create_user("agent@exemple.fr")
    departement = Organisation.objects.get(code="21")
    RoleAssignment.objects.create(user=user, role=Role.AGENT, organisation=departement)
    agent.force_login(user, "allauth.account.auth_backends.AuthenticationBackend")
    page = agent.get("/street/bureau/")
    assert page.status_code == 200 and "/street/demandes/" not in page.content.decode()
