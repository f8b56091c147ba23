"""What the integrity passes and the parity say: on a commune's page, the operator's, the console."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import Max, Sum
from django.urls import reverse

from souverain.core import clock
from souverain.core.format import bytes_fr, datetime_fr, percent_fr
from souverain.core.models import Organisation
from souverain.vault import parity, scrub
from souverain.vault.models import Damage, DepositSet, ScrubPass, Stripe

_LISTED = 20
_WORST_FIRST = ("danger", "warn", "neutral", "ok")


@dataclass(frozen=True)
class Integrity:
    """One deposit set: its last full pass, the one under way, what is damaged, its parity."""

    deposit_set: DepositSet
    last: ScrubPass | None
    under_way: ScrubPass | None
    damaged: list[Damage]
    protected_bytes: int
    parity_bytes: int

    @property
    def lost(self) -> list[Damage]:
        return [each for each in self.damaged if each.lost_at and each.type != scrub.PARITY]

    @property
    def state(self) -> tuple[str, str]:
        """A kind of state and its word."""
        if self.lost:
            return "danger", "Objets perdus"
        if self.damaged:
            return "warn", "À réparer"
        if self.last is None:
            return "neutral", "Pas encore contrôlé"
        if clock.now() - self.last.started_at > scrub.SILENT_AFTER:
            return "warn", "Contrôle en retard"
        return "ok", "Intact"

    @property
    def kind(self) -> str:
        return self.state[0]

    @property
    def word(self) -> str:
        return self.state[1]

    @property
    def listed(self) -> list[Damage]:
        return self.damaged[:_LISTED]

    @property
    def overhead(self) -> float | None:
        """The parity's bytes over those of the objects that have one."""
        return self.parity_bytes / self.protected_bytes if self.protected_bytes else None


def of(organisation: Organisation) -> list[Integrity]:
    """Of each deposit set of a commune."""
    sets = DepositSet.objects.filter(organisation=organisation)
    return list(_of_sets(sets.select_related("organisation")))


def _of_sets(sets: Iterable[DepositSet]) -> Iterator[Integrity]:
    wanted = list(sets)
    last = _passes(wanted, ended=True)
    under_way = _passes(wanted, ended=False)
    damaged: dict[int, list[Damage]] = {}
    for each in Damage.objects.filter(
        deposit_set__in=wanted, mended_at=None, gone_at=None
    ).order_by("type", "name"):
        damaged.setdefault(each.deposit_set_id, []).append(each)
    stripes = Stripe.objects.filter(deposit_set__in=wanted).order_by()
    sums = {
        pk: (held, 2 * length)
        for pk, held, length in stripes.values("deposit_set")
        .annotate(held=Sum("bytes"), long=Sum("length"))
        .values_list("deposit_set", "held", "long")
    }
    for found in wanted:
        held, of_parity = sums.get(found.pk, (0, 0))
        yield Integrity(
            found,
            last.get(found.pk),
            under_way.get(found.pk),
            damaged.get(found.pk, []),
            # A stripe kept for what it may yet give back holds objects that another has too.
            min(held, found.stored_bytes),
            of_parity,
        )


def _passes(sets: Iterable[DepositSet], *, ended: bool) -> dict[int, ScrubPass]:
    """The latest pass of each set, among those that ended or those under way."""
    found = ScrubPass.objects.filter(deposit_set__in=sets, ended_at__isnull=not ended).order_by()
    latest = found.values("deposit_set").annotate(last=Max("pk")).values("last")
    return {each.deposit_set_id: each for each in ScrubPass.objects.filter(pk__in=latest)}


def of_all() -> dict[str, Any]:
    """What the operator's list says."""
    rows = []
    found = _of_sets(DepositSet.objects.select_related("organisation"))
    for each in sorted(found, key=lambda each: _WORST_FIRST.index(each.kind)):
        last = each.last
        rows.append(
            [
                {
                    "text": each.deposit_set.organisation.name,
                    "url": reverse("vault:commune", args=[each.deposit_set.organisation.code]),
                },
                {"text": each.deposit_set.title},
                {"text": each.word, "state": each.kind},
                {
                    "text": datetime_fr(last.ended_at) if last and last.ended_at else "Aucun",
                    "value": int(last.ended_at.timestamp()) if last and last.ended_at else 0,
                },
                *(_number(getattr(last, name, None)) for name in ("found", "mended", "lost")),
                {
                    "text": percent_fr(each.overhead, 1) if each.overhead else "—",
                    "value": round(each.overhead or 0, 4),
                    "kind": "number",
                },
            ]
        )
    titles = ("Commune", "Dépôt", "État", "Dernier passage complet")
    figures = ("Trouvés", "Réparés", "Perdus", "Parité")
    return {
        "integrity_rows": rows,
        "integrity_columns": [
            *({"title": title} for title in titles),
            *({"title": title, "kind": "number"} for title in figures),
        ],
        "parity_is_apart": parity.is_apart(),
    }


def _number(value: int | None) -> dict[str, Any]:
    return {"text": "—" if value is None else value, "value": value or 0, "kind": "number"}


# The console -------------------------------------------------------------------------------------


def report(passes: Iterable[ScrubPass]) -> dict[str, Any]:
    """What the passes found, and what is still damaged."""
    made = list(passes)
    found = {each.deposit_set.pk: each for each in _of_sets([row.deposit_set for row in made])}
    sets = [_json(row, found[row.deposit_set.pk]) for row in made]
    damages = [_damage(each) for row in made for each in found[row.deposit_set.pk].damaged]
    totals = {name: sum(row[name] for row in sets) for name in ("found", "mended", "lost")}
    return {
        "ok": not damages,
        **totals,
        "sets": {"count": len(sets), "items": sets},
        "damages": {"count": len(damages), "items": damages},
    }


def _json(row: ScrubPass, found: Integrity) -> dict[str, Any]:
    return {
        "commune": row.deposit_set.organisation.code,
        "set": row.deposit_set.code,
        "started_at": clock.rfc3339(row.started_at),
        "ended_at": clock.rfc3339(row.ended_at) if row.ended_at else None,
        "objects": row.objects_read,
        "read_bytes": row.bytes_read,
        "found": row.found,
        "mended": row.mended,
        "lost": row.lost,
        "protected_bytes": found.protected_bytes,
        "parity_bytes": found.parity_bytes,
    }


def _damage(each: Damage) -> dict[str, Any]:
    return {
        "commune": each.deposit_set.organisation.code,
        "set": each.deposit_set.code,
        "type": each.type,
        "name": each.name,
        "found_at": clock.rfc3339(each.found_at),
        "lost": each.lost_at is not None,
    }


def lines(told: dict[str, Any]) -> Iterator[str]:
    """The same, to read."""
    for row in told["sets"]["items"]:
        yield (
            f"{row['commune']}/{row['set']} : {row['objects']} objets relus "
            f"({bytes_fr(row['read_bytes'])}), {row['found']} abîmés, {row['mended']} réparés, "
            f"{row['lost']} perdus"
        )
    for each in told["damages"]["items"]:
        word = "perdu" if each["lost"] else "abîmé (réparer : --repair)"
        yield f"{each['commune']}/{each['set']}  {each['type']}/{each['name']}  {word}"
