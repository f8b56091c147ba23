"""A key added or removed is told, by what the stock restic does and by what a thief would do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from django.test import Client

from souverain.core import access
from souverain.core.models import (
    Device,
    Event,
    JournalEntry,
    Notification,
    Organisation,
    RoleAssignment,
    User,
)
from souverain.core.objects import FolderStore
from souverain.vault import key_changes, services
from souverain.vault.models import KeyChange
from souverain.vault.tests.conftest import Server, named, restic

PAGE = "/vault/communes/21231/"


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    store = FolderStore(tmp_path)
    monkeypatch.setattr(services, "store", lambda: store)
    departement = Organisation.objects.create(kind="departement", code="21", name="Côte-d'Or")
    dijon = Organisation.objects.create(kind="commune", code="21231", name="Dijon")
    for name, role, place in (
        ("maire", "commune-admin", dijon),
        ("agent", "commune-member", dijon),
        ("exploitant", "operator", departement),
    ):
        person = User.objects.create_user(f"{name}@cotedor.example", "secret")
        RoleAssignment.objects.create(user=person, organisation=place, role=role)
    return services.add_device(access.SYSTEM, dijon, "poste <b>", ["backup", "prune"])[0]


def add_key(device: Device) -> str:
    """A key file, as an attacker with the address alone sends it."""
    incoming = services.store().incoming()
    content = os.urandom(400)
    incoming.write(content)
    found = services.set_of(device)
    services.record_object(found, "keys", named(content), incoming, device)
    return named(content)


def page_of(name: str) -> tuple[Client, str]:
    client = Client()
    client.force_login(User.objects.get(email=f"{name}@cotedor.example"))
    return client, client.get(PAGE).content.decode()


@pytest.mark.django_db
def test_the_first_key_of_a_repository_is_no_alarm(device: Device) -> None:
    add_key(device)
    assert not KeyChange.objects.exists()
    assert not Notification.objects.exists()
    assert "À vérifier" not in page_of("maire")[1]


@pytest.mark.django_db
def test_a_second_key_is_told_to_the_commune_and_to_the_operators_until_somebody_meant_it(
    device: Device,
) -> None:
    add_key(device)
    name = add_key(device)
    told = {
        found.user.email.partition("@")[0] for found in Notification.objects.select_related("user")
    }
    assert told == {"maire", "agent", "exploitant"}
    assert Event.objects.filter(name="vault.key_changed").count() == 1
    client, page = page_of("maire")
    assert "Clé ajoutée" in page and "poste &lt;b&gt;" in page and "poste <b>" not in page
    page_of_agent = page_of("agent")
    assert "C'était voulu" not in page_of_agent[1].replace("&#x27;", "'")
    assert page_of_agent[0].post(f"{PAGE}depots/general/cles/vues/").status_code == 403

    assert client.post(f"{PAGE}depots/general/cles/vues/").status_code == 302
    assert "Clé ajoutée" not in client.get(PAGE).content.decode()
    seen = KeyChange.objects.get()
    assert (seen.name, bool(seen.seen_at)) == (name, True)
    assert JournalEntry.objects.filter(verb="vault.key_changes_seen").count() == 1
    client.post(f"{PAGE}depots/general/cles/vues/")
    assert JournalEntry.objects.filter(verb="vault.key_changes_seen").count() == 1


@pytest.mark.django_db
def test_a_flood_of_keys_is_one_message_and_a_removal_another(device: Device) -> None:
    names = [add_key(device) for _ in range(30)]
    assert KeyChange.objects.count() == 29
    assert Notification.objects.filter(user__email="maire@cotedor.example").count() == 1
    services.bury_object(services.set_of(device), "keys", names[0], device)
    titles = Notification.objects.filter(user__email="maire@cotedor.example").values_list(
        "title", flat=True
    )
    assert sum(title.startswith("Clé retirée") for title in titles) == 1
    dijon = Organisation.objects.get(code="21231")
    assert {change.added for change in key_changes.of_commune(dijon)} == {True, False}


def test_stock_restic_init_is_silent_and_key_add_and_passwd_are_told(
    server: Server, tmp_path: Path
) -> None:
    repository = server.device(roles="backup restore prune", scope="cles")
    count = (
        "from souverain.vault.models import KeyChange\n"
        "found = KeyChange.objects.filter(deposit_set__code='cles')\n"
        "print([found.filter(added=added).count() for added in (True, False)])"
    )
    restic(repository, tmp_path, "init")
    (tmp_path / "acte.txt").write_text("acte")
    restic(repository, tmp_path, "backup", "acte.txt")
    assert server.python(count) == "[0, 0]"
    new = tmp_path / "nouveau"
    new.write_text("autre mot de passe")
    restic(repository, tmp_path, "key", "add", "--new-password-file", str(new))
    assert server.python(count) == "[1, 0]"
    restic(repository, tmp_path, "key", "passwd", "--new-password-file", str(new))
    assert server.python(count) == "[2, 1]"
