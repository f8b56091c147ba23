"""What goes wrong in a vault is said on the commune's card, and at home to who oversees."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from souverain.core import access, clock
from souverain.core.models import Device, Organisation
from souverain.vault import key_changes, services
from souverain.vault.card import commune_card
from souverain.vault.models import Damage, DepositSet, KeyChange, ScrubPass
from souverain.vault.tests.test_drill_pages import NOW, deposit, send, text
from souverain.vault.tests.test_pages import SignIn, places, signed_in

__all__ = ["places", "signed_in"]
pytestmark = [pytest.mark.django_db, pytest.mark.db_both]
VAULT = "/vault/communes/21231/"


@pytest.fixture
def registers(places: dict[str, Organisation]) -> DepositSet:
    """Dijon's only set, backed up two hours ago; Beaune has one too, where all is well."""
    for code in ("21231", "21054"):
        services.add_device(access.SYSTEM, places[code], "poste", ["backup"], f"depot-{code}")
    deposit(DepositSet.objects.get(code="depot-21054"), NOW - timedelta(hours=2))
    made = DepositSet.objects.get(code="depot-21231")
    deposit(made, NOW - timedelta(hours=2))
    return made


def lose(found: DepositSet) -> Callable[[], object]:
    seen_in = ScrubPass.objects.create(
        deposit_set=found, repairs=True, started_at=NOW, ended_at=NOW
    )
    damage = Damage.objects.create(
        deposit_set=found, seen_in=seen_in, type="data", name="0" * 64, found_at=NOW, lost_at=NOW
    )
    return lambda: Damage.objects.filter(pk=damage.pk).update(mended_at=NOW)


def change_a_key(found: DepositSet) -> Callable[[], object]:
    device = Device.objects.get(scope=found.code)
    KeyChange.objects.create(deposit_set=found, name="1" * 64, added=True, device=device, at=NOW)
    return lambda: key_changes.see(access.SYSTEM, found)


def fail_a_drill(found: DepositSet) -> Callable[[], object]:
    send(found, NOW - timedelta(minutes=3))
    send(found, NOW - timedelta(minutes=2), faults=(("content", 1),), verdict="failed")
    # What did not finish says nothing, neither good nor bad.
    send(found, NOW - timedelta(minutes=1), limit="network", verdict="unfinished")
    return lambda: send(found, NOW)


@pytest.mark.parametrize(
    ("happens", "on_the_card", "at_home", "page"),
    [
        (lose, "données gardées sont perdues", "Données perdues", f"{VAULT}#integrite"),
        (change_a_key, "clé a changé", "Clé à vérifier", f"{VAULT}#cles"),
        (fail_a_drill, "essai de restauration", "Essai de restauration", f"{VAULT}#recuperer"),
    ],
)
def test_a_trouble_is_on_the_card_and_at_home_until_it_is_over(
    happens: Callable[[DepositSet], Callable[[], object]],
    on_the_card: str,
    at_home: str,
    page: str,
    registers: DepositSet,
    signed_in: SignIn,
) -> None:
    operator = signed_in("operator", "21")

    def home() -> str:
        return text(operator, "/").split("Ce qui vous attend")[1].split("En chiffres")[0]

    with clock.frozen(NOW):
        ends = happens(registers)
        told = commune_card("21231")
        assert told.state == "danger" and on_the_card in told.sentence and told.url == page
        assert at_home in home() and "dans 1 coffre-fort" in home()
        assert f'<a href="{page}">Dijon</a>' in home()
        assert "Beaune" not in home() and commune_card("21054").state == "ok"
        ends()
        assert commune_card("21231").state == "ok"
        assert at_home not in home()


def test_the_gravest_trouble_is_the_one_on_the_card(registers: DepositSet) -> None:
    with clock.frozen(NOW):
        endings: list[Callable[[], object]] = [
            happens(registers) for happens in (fail_a_drill, change_a_key, lose)
        ]
        said = []
        for end in reversed(endings):
            said.append(commune_card("21231").url.removeprefix(VAULT))
            end()
    assert said == ["#integrite", "#cles", "#recuperer"]


def test_a_late_backup_is_said_where_nothing_worse_is(registers: DepositSet) -> None:
    with clock.frozen(NOW + timedelta(days=3)):
        assert commune_card("21231").sentence.startswith("En retard.")
        change_a_key(registers)
        assert "clé" in commune_card("21231").sentence
