"""A first site that lies: a small real server that speaks the feed. What it says is refused, in
words; what is here stays."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from django.db import DatabaseError, transaction

from souverain.cli import main
from souverain.core import access, clock, egress
from souverain.core.models import Device, JournalEntry, Organisation
from souverain.vault import (
    log,
    replica,
    replica_client,
    replica_status,
    retention,
    services,
    site,
)
from souverain.vault.engine.replica import FUTURE_MAX, PAGE_EVENTS, instant_text
from souverain.vault.engine.tlog import note, tree
from souverain.vault.engine.tlog.leaves import BIRTH, Leaf, Name
from souverain.vault.models import (
    DepositSet,
    Hold,
    LogLeaf,
    ReaperPass,
    ReplicaFault,
    ReplicaSource,
    StoredObject,
)
from souverain.vault.tests.conftest import named
from souverain.vault.tests.liar import CONFIG, DEVICE, Liar, send

pytestmark = pytest.mark.django_db


@pytest.fixture
def liar() -> Iterator[Liar]:
    made = Liar()
    server = made.serve()
    Organisation.objects.create(kind="departement", code="21", name="Côte-d'Or")
    Organisation.objects.create(kind="commune", code="21231", name="Dijon")
    site._forget()
    yield made
    server.shutdown()
    server.server_close()
    site._forget()


def copying(liar: Liar) -> ReplicaSource:
    return replica.add(access.SYSTEM, liar.url, "0123456789abcdef:secret")


def pull(found: ReplicaSource) -> replica.Turn:
    found.refresh_from_db()
    return replica.pull(found, 30)


def living() -> set[str]:
    return set(StoredObject.objects.filter(died_at=None).values_list("name", flat=True))


def honest(liar: Liar) -> ReplicaSource:
    """A copy of a config, a pack and a snapshot."""
    liar.event("birth", "config", CONFIG)
    liar.event("birth", "data", b"un paquet")
    liar.event("birth", "snapshots", b"une sauvegarde")
    found = copying(liar)
    done = pull(found)
    assert done.complete and not done.troubles and done.objects == 3
    assert living() == {"config", named(b"un paquet"), named(b"une sauvegarde")}
    return found


def on_disk(kind: str, content: bytes) -> bool:
    own = DepositSet.objects.get()
    key = services.object_key(own, kind, named(content))
    return services.store().exists(key) and services.store().sha256(key) == named(content)


def test_wrong_bytes_are_not_kept_and_are_asked_again(liar: Liar) -> None:
    liar.event("birth", "data", b"le vrai contenu")
    good = liar.event("birth", "data", b"un autre")
    path = f"objects/21231/general/data/{named(b'le vrai contenu')}"
    liar.objects[path] = b"le faux contenu"
    found = copying(liar)
    done = pull(found)
    assert living() == {good["name"]} and not on_disk("data", b"le vrai contenu")
    assert "contenu que dit son nom" in " ".join(done.troubles)
    assert replica_status.status()["faults"][0]["name"] == named(b"le vrai contenu")
    liar.objects[path] = b"le vrai contenu"
    assert pull(found).objects == 1 and not ReplicaFault.objects.exists()
    row = StoredObject.objects.get(name=named(b"le vrai contenu"))
    assert instant_text(row.received_at) == liar.events[0]["at"]


def test_a_birth_whose_bytes_never_come_is_told_and_stops_nothing(liar: Liar) -> None:
    liar.event("birth", "data", b"jamais")
    liar.objects.clear()
    last = liar.event("birth", "snapshots", b"venue")
    found = copying(liar)
    for _ in range(2):
        done = pull(found)
        assert "pas là-bas" in " ".join(done.troubles) or "ne donne pas" in " ".join(done.troubles)
        assert living() == {last["name"]} and ReplicaFault.objects.count() == 1
    assert found.complete_at is not None


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "../../../../etc/passwd", "sha256": "../../../../etc/passwd"},
        {"name": "../" + "a" * 61, "sha256": "../" + "a" * 61},
        {"name": "A" * 64, "sha256": "A" * 64},
        {"type": "locks"},
        {"type": "../keys"},
        {"size": -1},
        {"size": True},
        {"size": 1 << 40},
        {"at": "hier"},
        {"at": "2026-13-45T00:00:00.000000Z"},
        {"row": "1"},
        {"event": "reaped"},
        {"sha256": "b" * 64},
        {"device": "../x"},
        {"reaped": None},
        {"name": None},
    ],
    ids=str,
)
def test_an_event_that_cannot_be_is_refused(liar: Liar, changed: dict[str, Any]) -> None:
    found = honest(liar)
    liar.event("birth", "data", b"menteur", **changed)
    done = pull(found)
    assert done.troubles and not done.complete and done.objects == 0
    assert len(living()) == 3


def test_time_travel_is_refused(liar: Liar) -> None:
    found = honest(liar)
    far = instant_text(clock.now() + FUTURE_MAX + timedelta(minutes=1))
    liar.event("birth", "data", b"de demain", at=far)
    assert "à venir" in " ".join(pull(found).troubles)
    liar.events.pop()
    liar.event("birth", "data", b"avant", at=instant_text(liar.start), row=99)
    liar.set["head"] = instant_text(clock.now())
    body = {"items": liar.events[-1:]}
    liar.instead["events/21231/general"] = lambda handler: send(handler, body)
    assert "en arrière" in " ".join(pull(found).troubles)
    liar.set["head"] = instant_text(liar.start)
    assert "a perdu" in " ".join(pull(found).troubles)
    assert len(living()) == 3


def test_a_death_of_what_never_came_is_refused(liar: Liar) -> None:
    found = honest(liar)
    liar.event("death", "data", b"jamais venu")
    assert "sans être jamais arrivé" in " ".join(pull(found).troubles)
    assert len(living()) == 3


def test_the_lock_runs_from_when_the_death_was_learnt_here(liar: Liar) -> None:
    """A first site that says of a deletion that it is a year old makes nothing leave sooner."""
    liar.start = clock.now() - timedelta(days=400)
    passes = [clock.now() - timedelta(days=days) for days in range(400, 0, -2)]
    ReaperPass.objects.bulk_create(ReaperPass(at=at, ended_at=at) for at in passes)
    found = honest(liar)
    liar.event("death", "data", b"un paquet")
    assert pull(found).deaths == 1
    now = clock.now()
    row = StoredObject.objects.get(name=named(b"un paquet"))
    assert row.died_at is not None and now - row.died_at > timedelta(days=390)
    with pytest.raises(DatabaseError, match="learnt"), transaction.atomic():
        StoredObject.objects.filter(pk=row.pk).update(reaped_at=now + timedelta(days=89))
    for day in range(92):
        with clock.frozen(now + timedelta(days=day)):
            retention.reap(access.SYSTEM)
        assert on_disk("data", b"un paquet") is (day < 90)
    assert on_disk("snapshots", b"une sauvegarde")


def test_the_last_snapshot_that_goes_freezes_the_copy(liar: Liar) -> None:
    found = honest(liar)
    liar.event("death", "snapshots", b"une sauvegarde")
    pull(found)
    [hold] = retention.holds(DepositSet.objects.get())
    assert hold.kind == Hold.Kind.FREEZE and on_disk("snapshots", b"une sauvegarde")


def test_a_lock_only_lengthens(liar: Liar) -> None:
    found = honest(liar)
    own = DepositSet.objects.get()
    liar.set["lock_days"] = 365
    pull(found)
    assert retention.lock_days(own) == 365
    liar.set["lock_days"] = 1
    assert "a raccourci" in " ".join(pull(found).troubles)
    assert retention.lock_days(own) == 365


def test_a_hold_that_is_lifted_there_stays_here(liar: Liar) -> None:
    liar.set["holds"] = [{"row": 7, "kind": "legal", "reason": "enquête", "reference": "PV 1"}]
    found = honest(liar)
    own = DepositSet.objects.get()
    assert [hold.reason for hold in retention.holds(own)] == ["enquête"]
    liar.set["holds"] = []
    pull(found)
    [hold] = retention.holds(own)
    assert "levée là-bas" in replica_status.status()["pending"][0]["what"]
    retention.lift(access.of_console(), hold)
    liar.set["holds"] = [{"row": 7, "kind": "legal", "reason": "enquête", "reference": "PV 1"}]
    pull(found)
    assert retention.holds(own) == [] and replica_status.pending() == []


def test_a_destruction_and_a_departure_there_wait_for_a_decision_here(liar: Liar) -> None:
    found = honest(liar)
    liar.set["destroyed_at"] = instant_text(clock.now())
    liar.device["revoked"] = True
    for kind, content in (
        ("config", CONFIG),
        ("data", b"un paquet"),
        ("snapshots", b"une sauvegarde"),
    ):
        liar.event("death", kind, content, sha256="" if kind == "config" else named(content))
    pull(found)
    own = DepositSet.objects.get()
    assert not living() and retention.holds(own)
    assert Device.objects.get(pk=DEVICE).revoked_at is not None
    assert "détruit là-bas" in replica_status.pending()[0].what
    liar.instead["communes"] = lambda handler: send(handler, {"items": [], "more": False})
    pull(found)
    assert "n'y est plus" in " ".join(item.what for item in replica_status.pending())
    assert on_disk("data", b"un paquet")


def test_a_new_config_never_takes_the_place_of_the_one_that_is_kept(liar: Liar) -> None:
    found = honest(liar)
    liar.event("death", "config", CONFIG, sha256="")
    liar.event("birth", "config", b"un autre!")
    assert "initialisé de nouveau" in " ".join(pull(found).troubles)
    own = DepositSet.objects.get()
    key = services.object_key(own, "config", "config")
    assert services.store().sha256(key) == named(CONFIG)


def test_a_device_is_never_given_another_secret_or_made_live_again(liar: Liar) -> None:
    found = honest(liar)
    liar.device["verifier"] = "b" * 64
    assert "n'est plus le même" in " ".join(pull(found).troubles)
    liar.device |= {"verifier": "a" * 64, "revoked": True}
    pull(found)
    liar.device["revoked"] = False
    pull(found)
    kept = Device.objects.get(pk=DEVICE)
    assert kept.credential_sha256 == "a" * 64 and kept.revoked_at is not None


def test_another_site_another_key_or_an_earlier_epoch_is_refused(liar: Liar) -> None:
    found = honest(liar)
    liar.event("birth", "data", b"de l'autre")
    for changed, said in (
        ({"site": "0" * 16}, "le même site"),
        ({"log_key": "11" * 32}, "clé des registres"),
        ({"epoch": 2}, "d'avant une promotion"),
        ({"version": 2}, "autre version"),
        ({"role": "roi"}, "rôle inconnu"),
    ):
        kept = dict(liar.state)
        liar.state |= changed
        assert said in " ".join(pull(found).troubles)
        liar.state = kept
    assert len(living()) == 3
    assert pull(found).objects == 1
    assert JournalEntry.objects.filter(verb="vault.replica_troubled").count() == 5


def endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    handler.close_connection = True
    with suppress(OSError):
        for _ in range(1 << 12):
            handler.wfile.write(bytes(1 << 20))


def test_endless_answers_are_cut(liar: Liar) -> None:
    found = honest(liar)
    pack = liar.event("birth", "data", b"sans fin")
    liar.instead[f"objects/21231/general/data/{pack['name']}"] = endless
    done = pull(found)
    assert "plus de 8 octets" in " ".join(done.troubles) and len(living()) == 3
    liar.instead["events/21231/general"] = endless
    liar.event("birth", "data", b"encore")
    assert "réponse de plus" in " ".join(pull(found).troubles)


def test_a_page_too_long_in_number_is_refused(liar: Liar) -> None:
    found = honest(liar)
    pages = [liar.event("birth", "data", str(number).encode()) for number in range(PAGE_EVENTS + 1)]
    liar.instead["events/21231/general"] = lambda handler: send(handler, {"items": pages})
    assert f"{PAGE_EVENTS} éléments" in " ".join(pull(found).troubles)
    liar.instead["events/21231/general"] = lambda handler: send(handler, b"[" * 200_000)
    assert pull(found).troubles
    assert len(living()) == 3


def test_a_line_that_trickles_ends(liar: Liar, monkeypatch: pytest.MonkeyPatch) -> None:
    found = honest(liar)
    monkeypatch.setattr(replica_client, "_PAGE_S", 1.0)
    liar.event("birth", "data", b"goutte")
    stop = threading.Event()

    def trickle(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        with suppress(OSError):
            while not stop.wait(0.05):
                handler.wfile.write(b" ")

    liar.instead["events/21231/general"] = trickle
    began = time.monotonic()
    assert "trop lentement" in " ".join(pull(found).troubles)
    assert time.monotonic() - began < 10
    stop.set()


def test_a_cut_answer_is_no_answer(liar: Liar) -> None:
    found = honest(liar)
    pack = liar.event("birth", "data", b"coupe en route")

    def cut(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(b"coupe en route")))
        handler.end_headers()
        handler.wfile.write(b"coup")
        handler.close_connection = True

    path = f"objects/21231/general/data/{pack['name']}"
    liar.instead[path] = cut
    assert "coupée" in " ".join(pull(found).troubles) and len(living()) == 3
    del liar.instead[path]
    assert pull(found).objects == 1 and on_disk("data", b"coupe en route")


def signed(liar: Liar, leaves: list[bytes], secret: Any, size: int | None = None) -> None:
    frontier = tree.Frontier()
    frontier.add(map(tree.leaf_hash, leaves))
    name = log.origin("21231")
    text = str(note.Checkpoint(name, size or len(leaves), frontier.root()))
    liar.log_page = {
        "size": size or len(leaves),
        "checkpoint": text,
        "signature": str(note.sign(text, name, secret)),
        "leaves": [leaf.decode() for leaf in leaves],
        "witnesses": [],
        "cosignatures": [],
    }
    liar.log = {"size": size or len(leaves), "cosigned": 0}


def test_a_log_that_its_key_did_not_sign_is_refused(liar: Liar) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    secret, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    liar.state["log_key"] = secret.public_key().public_bytes_raw().hex()
    found = honest(liar)
    item = Name("general", "data", named(b"un paquet"))
    leaf = bytes(Leaf(item, 9, liar.events[1]["at"], BIRTH))
    signed(liar, [leaf], other)
    assert "signé" in " ".join(pull(found).troubles)
    signed(liar, [leaf], secret)
    liar.log_page["leaves"] = [bytes(Leaf(item, 10, liar.events[1]["at"], BIRTH)).decode()]
    assert "ne continuent pas" in " ".join(pull(found).troubles)
    assert not LogLeaf.objects.exists()


def test_a_cut_group_is_all_or_nothing(liar: Liar, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fills while rows are written: neither rows nor place go on, and all comes later."""
    found = honest(liar)
    liar.event("birth", "data", b"le premier")
    liar.event("birth", "snapshots", b"le second")
    create = StoredObject.objects.create

    def full(**values: Any) -> StoredObject:
        if values["type"] == "snapshots":
            raise OSError(28, "No space left on device")
        return create(**values)

    monkeypatch.setattr(StoredObject.objects, "create", full)
    assert "disque" in " ".join(pull(found).troubles)
    assert len(living()) == 3
    monkeypatch.undo()
    assert pull(found).objects == 2 and len(living()) == 5


@pytest.mark.parametrize(("mode", "warned"), [(0o644, True), (0o600, False)])
def test_a_secret_that_other_accounts_read_is_said(
    liar: Liar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, warned: bool
) -> None:
    monkeypatch.setattr(egress, "install_hook", lambda: None)  # it would outlive this test
    file = tmp_path / "acces.txt"
    file.write_text("0123456789abcdef:secret")
    file.chmod(mode)
    words = ["vault", "replica", "add", "--from", liar.url, "--secret-file", str(file)]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert ("shred" in done.stderr) is warned
