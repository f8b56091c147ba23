"""« Pourrions-nous tout récupérer aujourd'hui ? », and the evidence of the 24 hours for civil status."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.formats import date_format
from django.views.decorators.http import require_GET

from souverain.core import clock
from souverain.core.access import Actor, permits, requires
from souverain.core.format import NBSP, bytes_fr, datetime_fr, day_short, number_fr, quote_fr
from souverain.core.models import Organisation
from souverain.vault import alarm, drills, evidence, scrub, services
from souverain.vault.drills import Kept
from souverain.vault.engine import recoverable
from souverain.vault.engine.drill import FAULTS, LIMITS, Fault, Place
from souverain.vault.engine.recoverable import Answer, Facts, Gap, Reason, Receipts, Word
from souverain.vault.engine.tlog.note import Checkpoint, NoteError
from souverain.vault.models import DepositSet, Drill, Log, Session, State

ALLOWED = timedelta(hours=24)  # décret 2017-890, article 13
PERIOD_MAX_DAYS = 3 * 366
_YEAR_DAYS = 365
_SHOWN = 10
_KINDS = {Word.YES: "ok", Word.YES_BUT: "warn", Word.CANNOT_SAY: "neutral", Word.NO: "danger"}
_VERDICTS = {"passed": "ok", "failed": "danger", "unfinished": "neutral"}


def _of_commune(*, code: str, **_: Any) -> dict[str, Any]:
    return {"organisation": get_object_or_404(Organisation, code=code)}


def _trail(actor: Actor, organisation: Organisation, *after: tuple[str, str]) -> list[Any]:
    trail = [{"title": "Communes", "url": reverse("portal:communes")}]
    if permits(actor, "portal.commune", organisation=organisation):
        url = reverse("portal:commune", args=[organisation.code])
        trail.append({"title": organisation.name, "url": url})
    url = reverse("vault:commune", args=[organisation.code])
    trail.append({"title": "Coffre-fort", "url": url})
    return [*trail, *({"title": title, "url": url} for title, url in after)]


# The answer ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """What to do next: in words, what to type, and where to go."""

    sentence: str
    commands: str = ""
    url: str = ""
    action: str = ""


@dataclass(frozen=True)
class Shown:
    """A deposit set with its answer, as the page shows it."""

    deposit_set: DepositSet
    answer: Answer
    last: Kept | None
    reasons: tuple[str, ...]
    steps: tuple[Step, ...]

    @property
    def kind(self) -> str:
        return _KINDS[self.answer.word]

    @property
    def is_civil_status(self) -> bool:
        return self.deposit_set.kind == DepositSet.Kind.CIVIL_STATUS

    @property
    def key(self) -> str:
        return self.deposit_set.code

    @property
    def headline(self) -> str:
        """The answer in one line."""
        if self.answer.word is not Word.CANNOT_SAY:
            return str(self.answer.word)
        why = self.reasons[0]
        return f"{self.answer.word} : {why[:1].lower()}{why[1:]}"

    @property
    def further_reasons(self) -> tuple[str, ...]:
        """Those that the headline does not say."""
        return self.reasons[self.answer.word is Word.CANNOT_SAY :]

    @property
    def tested(self) -> str:
        return _tested(self.last) if self.last else "Aucun essai de restauration"


def answers(organisation: Organisation, now: datetime) -> list[Shown]:
    """The answer for each deposit set of a commune."""
    sets = list(DepositSet.objects.filter(organisation=organisation))
    alarms = alarm.not_closed().filter(deposit_set__in=sets)
    alarmed = set(alarms.values_list("deposit_set_id", flat=True))
    kept = drills.latest(organisation, sets)
    return [_shown(found, organisation, kept[found.pk], found.pk in alarmed, now) for found in sets]


def _shown(
    found: DepositSet, organisation: Organisation, kept: list[Kept], alarmed: bool, now: datetime
) -> Shown:
    facts = Facts(
        last_deposit_at=found.last_deposit_at,
        is_late=found.state(now) is State.LATE,
        alarm_open=alarmed,
        drills=[each.counts for each in kept],
        lost_objects=_lost_objects(found),
    )
    answer = recoverable.answer(facts, now)
    last = next((each for each in kept if each.counts is answer.drill), None)
    last = last or next(iter(kept), None)
    reasons = tuple(_why(reason, found, last, now) for reason in answer.reasons)
    steps = tuple(
        step for reason in answer.reasons for step in _next(reason, found, organisation, last)
    )
    return Shown(found, answer, last, reasons, tuple(dict.fromkeys(steps)))


def _lost_objects(found: DepositSet) -> int | None:
    """How many objects of today's state are damaged for good; None before a first integrity pass."""
    if not found.passes.exclude(ended_at=None).exists():
        return None
    lost = set(scrub.lost(found).values_list("type", "name"))
    if not lost:
        return 0
    named = services.alive(found).filter(name__in={name for _, name in lost})
    return len(lost & set(named.values_list("type", "name")))


def _why(reason: Reason, found: DepositSet, last: Kept | None, now: datetime) -> str:
    """A reason, as a sentence."""
    at = datetime_fr(last.row.at) if last else ""
    days = (now - last.row.at).days if last else 0
    backup = datetime_fr(found.last_deposit_at) if found.last_deposit_at else ""
    match reason:
        case Reason.NOTHING:
            return "Aucune sauvegarde n'est là."
        case Reason.LOST:
            return "Le contrôle d'intégrité a trouvé des données perdues."
        case Reason.DRILL_FAILED:
            assert last is not None
            return f"Le dernier essai, du {at}, a échoué : {drills.faults_fr(last.report)}."
        case Reason.NO_DRILL:
            return "Aucun essai de restauration."
        case Reason.DRILL_OLD:
            return (
                f"Le dernier essai réussi date de {days} jours : il ne dit plus rien d'aujourd'hui."
            )
        case Reason.DRILL_UNFINISHED:
            assert last is not None
            why = LIMITS.get(last.report.limit, "trop peu a été lu")
            return f"L'essai du {at} n'a pas abouti : {why}."
        case Reason.LATE:
            return f"La dernière sauvegarde date du {backup} : rien de plus récent ne reviendrait."
        case Reason.ALARM:
            return "Une alerte de rançongiciel est ouverte : prenez un moment d'avant elle."
        case Reason.DRILL_AGEING:
            return f"Le dernier essai date de {days} jours : il en faut un par mois."
        case Reason.UNKNOWN_KEY:
            return "Le rapport de l'essai est signé par une clé non enregistrée."
        case Reason.NO_RESTIC:
            return "L'essai s'est fait sans le programme restic, seul juge."


_TO_DRILL = {
    Reason.NO_DRILL,
    Reason.DRILL_OLD,
    Reason.DRILL_UNFINISHED,
    Reason.DRILL_AGEING,
}


def _next(
    reason: Reason, found: DepositSet, organisation: Organisation, last: Kept | None
) -> list[Step]:
    """What to do about a reason."""
    vault = reverse("vault:commune", args=[organisation.code])
    again = Step(
        "Sur l'appareil qui sauvegarde, faites un essai :",
        f"cd ~/coffre-fort/{found.code} &&\nsouverain vault drill --repository-file depot.txt "
        "--password-file motdepasse.txt",
    )
    match reason:
        case Reason.NOTHING:
            said = "Ajoutez l'appareil qui sauvegarde ce dépôt, ou suivez son guide."
            return [Step(said, url=vault, action="Ouvrir le coffre-fort")]
        case Reason.LATE:
            said = "Vérifiez l'appareil qui sauvegarde : la page du coffre-fort dit lequel."
            return [Step(said, url=vault, action="Ouvrir le coffre-fort")]
        case Reason.ALARM:
            return [
                Step("Traitez l'alerte d'abord.", url=f"{vault}#alerte", action="Voir l'alerte")
            ]
        case Reason.UNKNOWN_KEY:
            assert last is not None
            said = "Si cet appareil est bien le vôtre, inscrivez sa clé comme témoin :"
            return [Step(said, last.report.key, f"{vault}#preuves", "Inscrire un témoin")]
        case Reason.NO_RESTIC:
            said = "Installez restic sur l'appareil, puis recommencez l'essai :"
            return [Step(said, f"sudo apt install restic &&\n{again.commands}")]
        case Reason.DRILL_FAILED if last and (str(Fault.PASSWORD), 1) in last.report.faults:
            said = (
                "Reprenez le mot de passe de l'enveloppe ou du coffre de la mairie, et copiez-le dans "
                "motdepasse.txt. Puis recommencez l'essai :"
            )
            return [Step(said, again.commands)]
        case Reason.DRILL_FAILED | Reason.LOST:
            return [
                Step(
                    "N'effacez rien sur vos appareils, et prévenez le service informatique du "
                    "Département : un moment plus ancien est peut-être entier."
                ),
                Step(
                    "Sauvegardez de nouveau, ce qui remplace un fichier abîmé du même contenu, puis "
                    "recommencez l'essai :",
                    again.commands,
                ),
            ]
    return [again] if reason in _TO_DRILL else []


def _tested(kept: Kept) -> str:
    """What a drill did, in one sentence."""
    report = kept.report
    said = (
        f"{number_fr(report.files_restored)} fichier{'s' if report.files_restored > 1 else ''} "
        f"restauré{'s' if report.files_restored > 1 else ''} et comparé"
        f"{'s' if report.files_restored > 1 else ''} ({bytes_fr(report.bytes_restored)})"
    )
    if report.whole_listing:
        said += f" sur {number_fr(report.files_in_snapshot)} ({bytes_fr(report.bytes_in_snapshot)})"
    if report.compared_with_disk:
        said += f", dont {number_fr(report.compared_with_disk)} avec les fichiers de l'appareil"
    return said


def _place(kept: Kept) -> str:
    if kept.report.where == Place.DEPARTEMENT:
        return "console du Département"
    return quote_fr(kept.row.device.name) if kept.row.device else "appareil de la commune"


@require_GET
@requires("vault.view", of=_of_commune)
def recoverable_page(request: HttpRequest, code: str) -> HttpResponse:
    """Could everything come back today? An answer for each set, why, and what to do."""
    organisation, now = get_object_or_404(Organisation, code=code), clock.now()
    shown = answers(organisation, now)
    rows = Drill.objects.filter(deposit_set__organisation=organisation)
    latest = list(rows.select_related("deposit_set", "device")[:_SHOWN])
    content = {
        "commune": organisation,
        "trail": _trail(
            request.actor,  # type: ignore[attr-defined]
            organisation,
            ("Tout récupérer ?", ""),
        ),
        "shown": shown,
        "may_manage": permits(request.actor, "vault.manage", organisation=organisation),  # type: ignore[attr-defined]
        "columns": [{"title": title} for title in ("Dépôt", *_DRILL_TITLES)],
        "rows": [
            [{"text": drill.deposit_set.title}, *cells]
            for drill, cells in zip(latest, _drill_rows(organisation, latest), strict=True)
        ],
    }
    return render(request, "vault/recoverable.html", content)


def overview_cell(
    organisation: Organisation, sets: Sequence[DepositSet], lately: Mapping[int, datetime]
) -> dict[str, Any]:
    """For the operator's list: the oldest of the sets' last drills, when each passed lately."""
    known = [lately.get(found.pk) for found in sets if found.last_deposit_at]
    passed = [at for at in known if at]
    url = reverse("vault:recoverable", args=[organisation.code])
    if not passed or len(passed) < len(known):
        return {"text": "Aucun récent", "value": 0, "url": url}
    day = day_short(min(passed).astimezone(clock.PARIS).date())
    return {"text": day, "value": int(min(passed).timestamp()), "url": url}


def receipts_cell(organisation: Organisation, sets: Sequence[DepositSet]) -> dict[str, Any]:
    """For the same list: the way to the evidence of the 24 hours."""
    civil_status = [found for found in sets if found.kind == DepositSet.Kind.CIVIL_STATUS]
    if not civil_status:
        return {"text": "—"}
    url = reverse("vault:receipts", args=[organisation.code, civil_status[0].code])
    return {"text": "Preuve", "url": url}


_DRILL_TITLES = ("Quand", "Verdict", "Restauré", "Où", "Signature")


def _drill_rows(organisation: Organisation, rows: Sequence[Drill]) -> list[list[dict[str, Any]]]:
    keys = drills.registered_keys(organisation)
    return [_drill_row(drills.kept(row, keys), row) for row in rows]


def _drill_row(kept: Kept | None, row: Drill) -> list[dict[str, Any]]:
    when = {"text": datetime_fr(row.at), "value": row.at.timestamp()}
    if kept is None:
        damaged = {"text": "Rapport changé", "state": "danger"}
        return [when, damaged, {"text": "—"}, {"text": "—"}, {"text": "ne tient pas"}]
    verdict = {"text": row.get_verdict_display(), "state": _VERDICTS[row.verdict]}
    found = "; ".join(FAULTS[kind] for kind, _ in kept.report.faults) or _tested(kept)
    return [when, verdict, {"text": found}, {"text": _place(kept)}, {"text": _signature(kept)}]


def _signature(kept: Kept) -> str:
    if kept.report.where == Place.DEPARTEMENT:
        return "clé du Département"
    return "témoin inscrit" if kept.counts.known_key else "clé non enregistrée"


# The 24 hours -------------------------------------------------------------------------------------


class PeriodForm(forms.Form):
    """From which day to which, legal days included."""

    du = forms.DateField(
        label="Du", widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")
    )
    au = forms.DateField(
        label="Au", widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")
    )

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or {}
        start, end = given.get("du"), given.get("au")
        if start and end:
            if not start <= end <= clock.today():
                raise ValidationError(
                    "La période commence avant de finir, et finit aujourd'hui au plus."
                )
            if (end - start).days > PERIOD_MAX_DAYS:
                raise ValidationError("La période est de trois ans au plus.")
        return given


def _period(request: HttpRequest) -> tuple[PeriodForm, date, date]:
    """What was asked for, or the last twelve months."""
    today = clock.today()
    default = {"du": today - timedelta(days=_YEAR_DAYS), "au": today}
    asked = request.GET.keys() & default.keys()
    form = PeriodForm(request.GET) if asked else PeriodForm(initial=default)
    if asked and form.is_valid():
        return form, form.cleaned_data["du"], form.cleaned_data["au"]
    return form, default["du"], default["au"]


def receipts_of(found: DepositSet, first: date, last: date, now: datetime) -> Receipts:
    """The gaps between the complete deposits of a set, in a period of legal days."""
    start, end = clock.day_bounds(first)[0], clock.day_bounds(last)[1]
    ended = Session.objects.filter(deposit_set=found, ended_at__isnull=False)
    instants = ended.order_by("ended_at").values_list("ended_at", flat=True)
    within = [at for at in instants.filter(ended_at__gte=start, ended_at__lt=end) if at]
    before = instants.filter(ended_at__lt=start).last()
    after = instants.filter(ended_at__gte=end).first()
    return recoverable.receipts(within, before, after, now)


def _civil_status_set(code: str, set_code: str) -> DepositSet:
    found = DepositSet.objects.select_related("organisation")
    return get_object_or_404(
        found, organisation__code=code, code=set_code, kind=DepositSet.Kind.CIVIL_STATUS
    )


def hours_fr(length: timedelta) -> str:
    """« 25 h 04 », rounded down."""
    minutes = int(length.total_seconds()) // 60
    return f"{number_fr(minutes // 60)}{NBSP}h{NBSP}{minutes % 60:02}"


@require_GET
@requires("vault.view", of=_of_commune)
def receipts_page(request: HttpRequest, code: str, set_code: str) -> HttpResponse:
    """The evidence of the 24 hours, to be printed."""
    found, now = _civil_status_set(code, set_code), clock.now()
    organisation = found.organisation
    form, first, last = _period(request)
    told = receipts_of(found, first, last, now)
    start, end = clock.day_bounds(first)[0], clock.day_bounds(last)[1]
    made = Drill.objects.filter(deposit_set=found, at__gte=start, at__lt=end)
    made_rows = list(made.select_related("deposit_set", "device").order_by("at", "pk"))
    page = reverse("vault:recoverable", args=[code])
    longest = told.longest
    content = {
        "commune": organisation,
        "departement": settings.NAMES,
        "deposit_set": found,
        "trail": _trail(
            request.actor,  # type: ignore[attr-defined]
            organisation,
            ("Tout récupérer ?", page),
            ("Preuve des 24 heures", ""),
        ),
        "form": form,
        "first": first,
        "last": last,
        "made_at": now,
        "deposits": told.deposits,
        "begins": told.first,
        "longest": longest,
        "longest_hours": hours_fr(longest.length) if longest else "",
        "over": len(told.over(ALLOWED)),
        "gap_columns": [
            {"title": "Sauvegarde reçue"},
            {"title": "La suivante"},
            {"title": "Délai", "kind": "number"},
        ],
        "gap_rows": [_gap_row(gap) for gap in told.over(ALLOWED)],
        "month_columns": [
            {"title": "Mois"},
            {"title": "Sauvegardes reçues", "kind": "number"},
            {"title": "Le plus long délai", "kind": "number"},
            {"title": "Délais de 24 h ou plus", "kind": "number"},
        ],
        "month_rows": _month_rows(told, now),
        "drill_columns": [{"title": title} for title in _DRILL_TITLES],
        "drill_rows": _drill_rows(organisation, made_rows),
        "checkpoint": _checkpoint(organisation),
        "evidence": evidence.of(organisation),
        "csv_query": f"du={first.isoformat()}&au={last.isoformat()}",
    }
    status = 422 if form.is_bound and not form.is_valid() else 200
    return render(request, "vault/receipts.html", content, status=status)


def _gap_row(gap: Gap) -> list[dict[str, Any]]:
    since = {"text": datetime_fr(gap.since), "value": gap.since.timestamp()}
    until: dict[str, Any] = {"text": "pas encore reçue", "value": 0}
    if gap.until:
        until = {"text": datetime_fr(gap.until), "value": gap.until.timestamp()}
    seconds = int(gap.length.total_seconds())
    return [since, until, {"text": hours_fr(gap.length), "value": seconds, "kind": "number"}]


def _month_rows(told: Receipts, now: datetime) -> list[list[dict[str, Any]]]:
    """One row for each month in which a deposit came, or a gap is open."""
    months: dict[str, list[Gap]] = {}
    for gap in told.gaps:
        months.setdefault(_month(gap.until or now), []).append(gap)
    first = _month(told.first) if told.first else ""
    rows: list[list[dict[str, Any]]] = []
    for month, gaps in months.items():
        longest = max(gap.length for gap in gaps)
        seconds = int(longest.total_seconds())
        came = sum(gap.until is not None for gap in gaps) + (month == first)
        over = sum(gap.length >= ALLOWED for gap in gaps)
        rows.append(
            [
                {"text": month},
                {"text": came, "kind": "number"},
                {"text": hours_fr(longest), "value": seconds, "kind": "number"},
                {"text": over, "kind": "number"},
            ]
        )
    return rows


def _month(instant: datetime) -> str:
    return date_format(instant.astimezone(clock.PARIS), f"F{NBSP}Y")


def _checkpoint(organisation: Organisation) -> Checkpoint | None:
    """The last checkpoint of the commune's log."""
    found = Log.objects.filter(pk=organisation.pk).first()
    try:
        return Checkpoint.parse(found.checkpoint) if found else None
    except NoteError:
        return None


@require_GET
@requires("vault.view", of=_of_commune)
def receipts_csv(request: HttpRequest, code: str, set_code: str) -> HttpResponse:
    """Every gap of the period, for a spreadsheet."""
    found, now = _civil_status_set(code, set_code), clock.now()
    _, first, last = _period(request)
    text = io.StringIO()
    writer = csv.writer(text, delimiter=";", lineterminator="\r\n")
    writer.writerow(["Sauvegarde reçue", "La suivante", "Secondes", "24 h ou plus"])
    for gap in receipts_of(found, first, last, now).gaps:
        since = gap.since.astimezone(clock.PARIS).isoformat(timespec="seconds")
        until = gap.until.astimezone(clock.PARIS).isoformat(timespec="seconds") if gap.until else ""
        over = "oui" if gap.length >= ALLOWED else "non"
        writer.writerow([since, until, int(gap.length.total_seconds()), over])
    response = HttpResponse("\ufeff" + text.getvalue(), content_type="text/csv; charset=utf-8")
    name = f"preuve-24-heures-{found.organisation.code}-{found.code}.csv"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
