"""The end of a deposit set: its retention class, and its destruction, which takes two people.

Asked by one side (the commune's administrator or the département's operator), approved by another
person of the other side, executed a week later unless somebody cancels: then every object dies, and
the bytes leave when the lock of the set was seen to pass, as for any other death.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.core.exceptions import ValidationError
from django.db import transaction

from souverain.core import access, clock, devices, journal
from souverain.core.access import Actor
from souverain.core.format import date_fr, datetime_fr
from souverain.core.models import Device
from souverain.core.roles import Role
from souverain.core.transactions import serialise_writers
from souverain.vault import retention
from souverain.vault.models import DepositSet, Destruction

DELAY = timedelta(days=7)
_VERBS = {
    "asked": "vault.destruction_asked",
    "approved": "vault.destruction_approved",
    "cancelled": "vault.destruction_cancelled",
    "executed": "vault.destruction_executed",
}


@dataclass(frozen=True)
class Term:
    """A retention class: how long, what then, and who decides (durée d'utilité administrative)."""

    title: str
    years: int | None
    """Counted from the last deposit; None when no date ends it."""
    then: str
    decides: str


TERMS: dict[str, Term] = {
    DepositSet.Retention.STANDARD: Term(
        "Tant que la commune s'en sert",
        None,
        "destruction à la demande : ce n'est qu'une copie des dossiers de la mairie",
        "l'administrateur de la commune et un opérateur du Département",
    ),
    DepositSet.Retention.TEN_YEARS: Term(
        "10 ans après la dernière sauvegarde",
        10,
        "destruction, avec le visa d'élimination des Archives départementales",
        "les Archives départementales, puis la commune et le Département",
    ),
    DepositSet.Retention.FOREVER: Term(
        "Conservation définitive",
        None,
        "versement aux Archives départementales ; aucune destruction",
        "les Archives départementales",
    ),
}
"""Sources: SIAF, DGP/SIAF/2014/006 (tri des archives communales) and DPACI/RES/2009/018. The table
of a class never replaces the visa (Code du patrimoine, article L. 212-2)."""


def end_of(deposit_set: DepositSet) -> date | None:
    """The legal day on which the set reaches the end of its class; None when no date ends it."""
    years = TERMS[deposit_set.retention_class].years
    if years is None:
        return None
    since = deposit_set.last_deposit_at or deposit_set.created_at
    day = since.astimezone(clock.PARIS).date()
    try:
        return day.replace(year=day.year + years)
    except ValueError:  # a 29 February
        return date(day.year + years, 3, 1)


def pending(deposit_set: DepositSet) -> Destruction | None:
    """The request that was neither cancelled nor executed."""
    return Destruction.objects.filter(
        deposit_set=deposit_set, cancelled_at=None, executed_at=None
    ).first()


def due_at(request: Destruction) -> datetime | None:
    """When an approved request is executed, by the clock alone."""
    return None if request.approved_at is None else request.approved_at + DELAY


def _side(actor: Actor, deposit_set: DepositSet) -> bool:
    """Whether the actor speaks for the département (True) or for the commune (False)."""
    if retention.is_operator(actor):
        return True
    for assignment in actor.assignments:
        own = assignment.organisation_id == deposit_set.organisation_id
        if own and assignment.group_id is None and assignment.role == Role.COMMUNE_ADMIN:
            return False
    raise ValidationError(
        "Il faut un administrateur de la commune et un opérateur du Département, chacun son tour."
    )


@transaction.atomic
def ask(actor: Actor, deposit_set: DepositSet, reason: str, reference: str) -> Destruction:
    """Ask to destroy what a set holds. Raises ValidationError."""
    reason, reference = " ".join(reason.split()), " ".join(reference.split())
    if not 1 <= len(reason) <= 300 or not 1 <= len(reference) <= 120:
        raise ValidationError(
            "Dites le motif (300 caractères) et la référence du visa d'élimination (120)."
        )
    serialise_writers()
    _refuse_kept(deposit_set)
    if pending(deposit_set):
        raise ValidationError("Une destruction est déjà demandée.")
    made = Destruction.objects.create(
        deposit_set=deposit_set,
        reason=reason,
        reference=reference,
        asked_by=str(actor),
        asked_by_operator=_side(actor, deposit_set),
        asked_at=clock.now(),
    )
    _step(actor, made, "asked", "La destruction est demandée", reason)
    return made


def _refuse_kept(deposit_set: DepositSet) -> None:
    if retention.holds(deposit_set):
        raise ValidationError("Ce dépôt est gelé ou sous conservation exigée.")
    if deposit_set.retention_class == DepositSet.Retention.FOREVER:
        raise ValidationError("Ce dépôt est à conservation définitive : il ne se détruit pas.")
    end = end_of(deposit_set)
    if end is not None and clock.today() < end:
        raise ValidationError(f"Ce dépôt se garde jusqu'au {date_fr(end)}.")


@transaction.atomic
def approve(actor: Actor, deposit_set: DepositSet) -> Destruction:
    """Approve what somebody of the other side asked. Raises ValidationError."""
    serialise_writers()
    found = pending(deposit_set)
    if found is None or found.approved_at is not None:
        raise ValidationError("Aucune destruction n'attend d'approbation.")
    _refuse_kept(deposit_set)
    same_person = found.asked_by == str(actor)
    if same_person or _side(actor, deposit_set) == found.asked_by_operator:
        raise ValidationError(
            "La demande et l'approbation viennent de deux personnes, l'une de la commune, l'autre "
            "du Département."
        )
    found.approved_by, found.approved_at = str(actor), clock.now()
    found.save(update_fields=["approved_by", "approved_at"])
    when = datetime_fr(found.approved_at + DELAY)
    _step(actor, found, "approved", f"La destruction est approuvée, pour le {when}")
    return found


@transaction.atomic
def cancel(actor: Actor, deposit_set: DepositSet) -> None:
    """Cancel a request: anybody of either side, until it is executed. Raises ValidationError."""
    serialise_writers()
    found = pending(deposit_set)
    if found is None:
        raise ValidationError("Aucune destruction n'est en attente.")
    found.cancelled_by, found.cancelled_at = str(actor), clock.now()
    found.save(update_fields=["cancelled_by", "cancelled_at"])
    _step(actor, found, "cancelled", "La destruction est annulée")


def execute_due(now: datetime) -> int:
    """Execute what was approved a week ago, a week that the reaper saw pass, in no held set."""
    executed = 0
    for found in Destruction.objects.filter(
        approved_at__lte=now - DELAY, cancelled_at=None, executed_at=None
    ):
        executed += _execute(found.pk, now)
    return executed


@transaction.atomic
def _execute(pk: int, now: datetime) -> bool:
    serialise_writers()
    found = Destruction.objects.select_related("deposit_set__organisation").get(pk=pk)
    deposit_set, over = found.deposit_set, found.cancelled_at or found.executed_at
    assert found.approved_at is not None
    ready = retention.seen().after(found.approved_at, DELAY)
    if over or ready is None or ready > now or retention.holds(deposit_set):
        return False
    found.executed_at = clock.now()
    found.save(update_fields=["executed_at"])
    revoked = list(
        Device.objects.filter(
            room="vault",
            organisation=deposit_set.organisation,
            scope=deposit_set.code,
            revoked_at=None,
        )
    )
    for device in revoked:
        devices.revoke(device)
    died = retention.bury_all(deposit_set)
    days = retention.lock_days(deposit_set)
    _step(
        access.SYSTEM,
        found,
        "executed",
        f"La destruction est faite ; les données quittent le disque dans {days} jours",
        objects=died,
        revoked_devices=len(revoked),
    )
    return True


def _step(
    actor: Actor, found: Destruction, step: str, said: str, reason: str = "", **data: int
) -> None:
    """Journal a step, and tell those who administer the commune."""
    deposit_set = found.deposit_set
    journal.append(
        actor,
        _VERBS[step],
        organisation=deposit_set.organisation.code,
        object=deposit_set.code,
        data={"destruction": found.pk, **data},
        detail={"reason": reason, "reference": found.reference} if reason else None,
    )
    body = "Elle s'annule sur la page du coffre-fort." if step in ("asked", "approved") else ""
    retention.tell_admins(deposit_set, f"{said} : {deposit_set.title}", body)
