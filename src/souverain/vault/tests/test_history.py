"""What the pages say of a set's past."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from souverain.core import clock
from souverain.core.models import Device
from souverain.vault import freshness, guide, history, services
from souverain.vault.models import DepositSet
from souverain.vault.tests.test_records import device, put

__all__ = ["device"]
pytestmark = [pytest.mark.django_db, pytest.mark.db_both]
NIGHT = datetime(2026, 10, 24, 22, 30, tzinfo=UTC)  # 00:30 in Paris, the day of 25 hours


def test_sizes_follow_the_legal_days_and_stored_bytes_never_shrink(device: Device) -> None:
    deposit_set = services.set_of(device)
    with clock.frozen(NIGHT):
        name = put(device, "data", b"12345").name
    with clock.frozen(NIGHT + timedelta(hours=24)):  # 23:30 in Paris, the same legal day
        put(device, "data", b"678")
    with clock.frozen(NIGHT + timedelta(hours=25)):  # 00:30, the next one
        services.bury_object(deposit_set, "data", name, device)
    with clock.frozen(NIGHT + timedelta(days=3)):
        put(device, "data", b"12345")
        stored, live = history.sizes(deposit_set)
    assert [size for _, size in stored] == [0, 8, 8, 8]
    assert [size for _, size in live] == [0, 8, 3, 8]
    first_day_ends = datetime(2026, 10, 25, 23, tzinfo=UTC)
    assert stored[0][0] == datetime(2026, 10, 24, 22, tzinfo=UTC)
    assert stored[1][0] == first_day_ends and stored[-1][0] == NIGHT + timedelta(days=3)


def test_a_moment_knows_how_many_snapshots_lived_then(device: Device) -> None:
    deposit_set = services.set_of(device)
    names = []
    for hour in range(3):
        with clock.frozen(NIGHT + timedelta(hours=hour)):
            names.append(put(device, "snapshots", b"%d" % hour).name)
    with clock.frozen(NIGHT + timedelta(hours=4)):
        services.bury_object(deposit_set, "snapshots", names[0], device)
    with clock.frozen(NIGHT + timedelta(hours=5)):
        put(device, "snapshots", b"neuf")
    found = history.moments(deposit_set)
    assert [moment.snapshots for moment in found] == [3, 3, 2, 1]
    assert [moment.at for moment in found] == sorted((m.at for m in found), reverse=True)
    for moment in found:
        living = services.alive(deposit_set, moment.at).filter(type="snapshots")
        assert living.count() == moment.snapshots


def test_the_command_of_a_moment_writes_the_address_of_that_moment(tmp_path: Path) -> None:
    """Whatever the end of the line in the address file."""
    line = guide.back_in_time("2026-11-23T18:00:00.000000Z", "RETOUR").splitlines()[0]
    for address in ("rest:http://a:b@c/vault/21231/general/", "rest:http://a:b@c/v/g/\n", "x//\n"):
        (tmp_path / "depot.txt").write_text(address)
        subprocess.run(["sh", "-c", line], cwd=tmp_path, check=True)
        said = (tmp_path / "passe.txt").read_text().strip()
        assert said == f"{address.strip().rstrip('/')}@2026-11-23T18:00:00.000000Z/"
        assert (tmp_path / "passe.txt").stat().st_mode & 0o077 == 0


def test_a_commune_is_as_safe_as_its_weakest_set() -> None:
    def made(title: str, hours_ago: float | None) -> DepositSet:
        last = NIGHT - timedelta(hours=hours_ago) if hours_ago is not None else None
        return DepositSet(title=title, fresh_within_hours=24, last_deposit_at=last)

    def says(*sets: DepositSet) -> str:
        sentence = freshness.of_sets(sets, NIGHT).sentence(NIGHT, "Votre commune")
        return sentence.replace("\u00a0", " ").replace("\u202f", " ")

    assert says() == says(made("A", None)) == "Aucune sauvegarde n'est encore arrivée."
    assert says(made("A", 6.2), made("B", 1)) == "Votre commune est sauvegardée depuis 6 h 12."
    assert says(made("A", 1), made("B", None)).endswith("Rien n'est encore arrivé pour « B ».")
    assert "« B » est en retard" in says(made("A", 1), made("B", 25))
    assert says(made("A", 30), made("B", 25)).startswith("2 dépôts sont en retard : « A », « B »")
