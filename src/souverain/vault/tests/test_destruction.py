"""Two people destroy a set, a week later; restoring and pruning are told."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import transaction
from django.test import Client as Browser

from souverain.core import clock, devices
from souverain.core.access import of_user
from souverain.core.models import (
    Device,
    Event,
    JournalEntry,
    Notification,
    Organisation,
    RoleAssignment,
    User,
)
from souverain.core.roles import Role
from souverain.vault import announcements, destruction, retention, services
from souverain.vault.models import DepositSet, Destruction, StoredObject
from souverain.vault.tests.conftest import Client, Server
from souverain.vault.tests.test_records import device, put
from souverain.vault.tests.test_retention import (
    DAY,
    NOON,
    TICK,
    bury,
    days_pass,
    first_pass,
    is_there,
    own_server,
)

__all__ = ["device", "own_server"]
pytestmark = [pytest.mark.django_db, pytest.mark.db_both]
PAGE = "/vault/communes/21231/depots/general/"
Somebody = Callable[..., User]


@pytest.fixture
def somebody(device: Device) -> Somebody:
    """A person with a role, on Dijon or on the département."""
    whole = Organisation.objects.create(kind="departement", code="21", name="Côte-d'Or")

    def made(name: str, role: Role) -> User:
        user = User.objects.create_user(f"{name}@exemple.fr", full_name=name)
        place = whole if role in (Role.OPERATOR, Role.AUDITOR) else device.organisation
        RoleAssignment.objects.create(user=user, role=role, organisation=place)
        return user

    return made


def verbs() -> list[str]:
    found = JournalEntry.objects.filter(verb__startswith="vault.destruction_").order_by("seq")
    return [
        verb.removeprefix("vault.destruction_") for verb in found.values_list("verb", flat=True)
    ]


def test_a_destruction_takes_two_sides_a_week_and_the_lock(
    device: Device, somebody: Somebody
) -> None:
    mayor, second = somebody("maire", Role.COMMUNE_ADMIN), somebody("adjoint", Role.COMMUNE_ADMIN)
    operator = of_user(somebody("operateur", Role.OPERATOR))
    member = somebody("agent", Role.COMMUNE_MEMBER)
    deposit_set = services.set_of(device)
    first_pass()
    with clock.frozen(NOON):
        put(device, "data", b"vivant")
        with pytest.raises(ValidationError, match="visa"):
            destruction.ask(of_user(mayor), deposit_set, "Fin de mission", " ")
        with pytest.raises(ValidationError, match="chacun son tour"):
            destruction.ask(of_user(member), deposit_set, "x", "y")
        destruction.ask(of_user(mayor), deposit_set, "Fin de mission", "VISA 2026-12")
        with pytest.raises(ValidationError, match="déjà"):
            destruction.ask(operator, deposit_set, "x", "y")
        for wrong in (of_user(mayor), of_user(second)):
            with pytest.raises(ValidationError, match="deux personnes"):
                destruction.approve(wrong, deposit_set)
        destruction.cancel(of_user(second), deposit_set)
        destruction.ask(of_user(mayor), deposit_set, "Fin de mission", "VISA 2026-12")
        destruction.approve(operator, deposit_set)
    days_pass(NOON + 7 * DAY - TICK)
    assert services.alive(deposit_set).count() == 1
    credential = device.credential_sha256
    assert devices.live(device.pk, credential) is not None
    days_pass(NOON + 7 * DAY, NOON + 7 * DAY - TICK)
    assert services.alive(deposit_set).count() == 0
    assert devices.live(device.pk, credential) is None
    found = DepositSet.objects.get(pk=deposit_set.pk)
    assert (found.live_bytes, found.stored_bytes) == (0, 6)
    assert is_there(device, b"vivant"), "the lock runs from there"
    days_pass(NOON + 96 * DAY, NOON + 7 * DAY)
    assert is_there(device, b"vivant")
    days_pass(NOON + 98 * DAY, NOON + 96 * DAY)
    assert not is_there(device, b"vivant")
    assert verbs() == ["asked", "cancelled", "asked", "approved", "executed"]
    assert Notification.objects.filter(user=mayor).count() == 5
    assert not Notification.objects.filter(user=member).exists()


def test_a_held_or_frozen_set_and_a_leap_of_the_clock_stop_an_approved_destruction(
    device: Device, somebody: Somebody
) -> None:
    mayor = of_user(somebody("maire", Role.COMMUNE_ADMIN))
    operator = of_user(somebody("operateur", Role.OPERATOR))
    deposit_set = services.set_of(device)
    first_pass()
    with clock.frozen(NOON):
        put(device, "data", b"vivant")
        destruction.ask(operator, deposit_set, "Fin", "VISA")
        destruction.approve(mayor, deposit_set)
    with clock.frozen(NOON + 8 * DAY):
        retention.reap(operator, confirm_clock=True)
        assert services.alive(deposit_set).exists(), "a week that nobody saw pass"
        hold = retention.hold(mayor, deposit_set, "Litige")
    days_pass(NOON + 20 * DAY, NOON + 8 * DAY)
    assert services.alive(deposit_set).exists()
    with clock.frozen(NOON + 20 * DAY):
        retention.lift(operator, hold)
        retention.freeze(mayor, deposit_set, "à voir")
        with pytest.raises(ValidationError):
            destruction.ask(mayor, deposit_set, "Fin", "VISA")
    days_pass(NOON + 21 * DAY, NOON + 20 * DAY)
    assert services.alive(deposit_set).exists()
    destruction.cancel(mayor, deposit_set)
    retention.thaw(operator, deposit_set)
    days_pass(NOON + 22 * DAY, NOON + 21 * DAY)
    assert services.alive(deposit_set).exists()
    assert not Destruction.objects.filter(executed_at__isnull=False).exists()


def test_a_set_is_not_destroyed_before_its_class_says(device: Device, somebody: Somebody) -> None:
    mayor = of_user(somebody("maire", Role.COMMUNE_ADMIN))
    forever = services.create_set(mayor, device.organisation, "etat-civil", kind="civil-status")
    with pytest.raises(ValidationError, match="définitive"):
        destruction.ask(mayor, forever, "Fin", "VISA")
    accounts = services.create_set(mayor, device.organisation, "comptes", kind="accounts")
    DepositSet.objects.filter(pk=accounts.pk).update(last_deposit_at=NOON)
    accounts.refresh_from_db()
    assert str(destruction.end_of(accounts)) == "2036-11-24"
    with pytest.raises(ValidationError, match="24 novembre 2036"):
        destruction.ask(mayor, accounts, "Fin", "VISA")
    with clock.frozen(NOON.replace(year=2036)):
        destruction.ask(mayor, accounts, "Fin", "VISA")
    assert destruction.end_of(services.set_of(device)) is None


# What is told ------------------------------------------------------------------------------------


def test_pruning_and_restoring_are_told_once_a_day_to_the_members(
    device: Device, somebody: Somebody
) -> None:
    member = somebody("agent", Role.COMMUNE_MEMBER)
    stranger = somebody("operateur", Role.OPERATOR)
    contents = [b"un", b"deux", b"trois"]
    with clock.frozen(NOON):
        for content in contents:
            put(device, "data", content)
        assert not Notification.objects.exists()
        bury(device, contents[0])
        bury(device, contents[1])
        for _ in range(2):
            announcements.announce(services.set_of(device), device, "restored")
    with clock.frozen(NOON + DAY):
        bury(device, contents[2])
    for verb, times in (("vault.pruned", 2), ("vault.restored", 1)):
        assert JournalEntry.objects.filter(verb=verb).count() == times
        assert Event.objects.filter(name=verb, organisation="21231").count() == times
    told = Notification.objects.filter(user=member)
    assert told.count() == 3 and all("poste" in item.body for item in told)
    assert not Notification.objects.filter(user=stranger).exists()


# The page ----------------------------------------------------------------------------------------


def visit(user: User) -> Browser:
    browser = Browser(headers={"host": "localhost"})
    browser.force_login(user)
    return browser


def test_the_page_says_how_long_and_takes_the_decisions(device: Device, somebody: Somebody) -> None:
    mayor, other = somebody("maire", Role.COMMUNE_ADMIN), somebody("adjoint", Role.COMMUNE_ADMIN)
    operator, member = somebody("op", Role.OPERATOR), somebody("agent", Role.COMMUNE_MEMBER)
    put(device, "snapshots", b"une")
    here = visit(mayor)

    def page(browser: Browser = here) -> str:
        return browser.get(f"{PAGE}conservation/").content.decode()

    def post(browser: Browser, path: str, **data: str) -> str:
        return browser.post(PAGE + path, data, follow=True).content.decode()

    assert "reste 90 jours" in page() and "Conservation définitive" in page()
    assert "reste 90 jours" in here.get("/vault/communes/21231/").content.decode()
    assert "Allonger" not in page(visit(member))
    assert "personne ne peut la raccourcir" in post(here, "verrou/", days="30")
    assert "reste 120 jours" in post(here, "verrou/", days="120")
    assert "Rançongiciel" in post(here, "geler/", reason="Rançongiciel")
    assert here.post(f"{PAGE}degeler/").status_code == 403
    assert "Gelé" not in post(visit(operator), "degeler/")
    assert "Conservation exigée" in post(here, "exiger/", reason="Litige", reference="PV 3")
    hold = retention.holds(services.set_of(device))[0]
    lift = f"/vault/communes/21231/conservations/{hold.pk}/lever/"
    assert "autre personne" in here.post(lift, follow=True).content.decode()
    assert "levée" in visit(other).post(lift, follow=True).content.decode()
    asked = {"title": "dossiers de la mairie", "reason": "Fin", "reference": "VISA 7"}
    assert "Ce n&#x27;est pas" in post(here, "destruction/demander/", **asked | {"title": "x"})
    assert "VISA 7" in post(here, "destruction/demander/", **asked)
    assert "deux personnes" in post(here, "destruction/approuver/", title=asked["title"])
    assert "dans 7 jours" in post(visit(operator), "destruction/approuver/", title=asked["title"])
    assert "sauf annulation" in here.get("/vault/communes/21231/").content.decode()
    assert "annulée" in post(visit(other), "destruction/annuler/")


def test_the_page_offers_complete_moments_only(device: Device, somebody: Somebody) -> None:
    here = visit(somebody("maire", Role.COMMUNE_ADMIN))
    with clock.frozen(NOON - 3 * DAY):
        put(device, "snapshots", b"une")
    with clock.frozen(NOON - 2 * DAY):
        put(device, "snapshots", b"deux")
    DepositSet.objects.update(complete_since=NOON - 2 * DAY)
    shown = here.get("/vault/communes/21231/").content.decode()
    assert "RETOUR-2026-11-22" in shown and "RETOUR-2026-11-21" not in shown
    asked = here.get("/vault/communes/21231/?moment=2026-11-21T14:00").content.decode()
    assert "plus complet" in asked


def test_the_row_that_is_destroyed_is_never_removed(device: Device) -> None:
    first_pass()
    with clock.frozen(NOON):
        put(device, "data", b"mort")
        bury(device, b"mort")
    days_pass(NOON + 92 * DAY)
    row = StoredObject.objects.get()
    assert row.reaped_at is not None and row.reaped_at - timedelta(days=90) >= NOON


def test_a_new_repository_does_not_take_the_place_of_a_destroyed_one(device: Device) -> None:
    """The key of its past is in its `config`: it stays, readable, as long as the lock says."""
    with clock.frozen(NOON):
        put_config(device, b"le premier")
    deposit_set = services.set_of(device)
    with transaction.atomic():
        services.bury_everything(deposit_set)
    with pytest.raises(services.ConfigExists):
        put_config(device, b"un autre")
    key = services.object_key(deposit_set, "config", "config")
    assert b"".join(services.store().read(key)) == b"le premier"


def put_config(device: Device, content: bytes) -> None:
    incoming = services.store().incoming()
    incoming.write(content)
    services.record_object(services.set_of(device), "config", "config", incoming, device)


def test_a_device_that_reads_data_back_is_told_over_the_protocol(own_server: Server) -> None:
    """Once, whatever it reads next; a machine that only backs up is not, nor is a HEAD."""
    own_server.start()
    try:
        reader = Client(own_server.device(roles="backup restore"))
        saver = Client(own_server.device(roles="backup"))
        content = b"un acte"
        path = f"data/{hashlib.sha256(content).hexdigest()}"
        assert saver.put(content) == 200
        assert saver.ask("GET", path) == (200, content)
        assert reader.ask("HEAD", path)[0] == reader.ask("GET", "data/")[0] == 200

        def told() -> str:
            return own_server.python(
                "from souverain.core.models import JournalEntry\n"
                "found = JournalEntry.objects.filter(verb='vault.restored')\n"
                "print(*found.values_list('actor', flat=True))"
            )

        assert told() == ""
        assert reader.ask("GET", path, Range="bytes=0-2") == (206, b"un ")
        assert reader.ask("GET", path) == (200, content)
        assert told() == f"device:{reader.id}"
        assert own_server.journal_is_whole()
    finally:
        own_server.kill()
