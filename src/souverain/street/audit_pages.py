"""The report of a delivery: the page with its drawing, the PDF and the CSV."""

from __future__ import annotations

import io
from dataclasses import dataclass
from math import cos, radians
from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods

from souverain.core import clock, jobs
from souverain.core.access import of_departement, requires
from souverain.core.format import datetime_fr, number_fr, percent_fr
from souverain.core.models import Job
from souverain.street import delivery_audit, derivation
from souverain.street.delivery_audit import KINDS, SAMPLE_MAX
from souverain.street.models import Campaign
from souverain.territory.engine.roads import RoadNameError, parse_road

_WIDTH, _HEIGHT = 1000.0, 560.0
_MARGIN = 24.0
_PDF_ROWS = 60
_TABLE = ("Défaut", "Image ou route", "Constat")


class AuditForm(forms.Form):
    """What to check."""

    roads = forms.CharField(
        label="Routes commandées",
        required=False,
        max_length=2000,
        help_text="Séparées par des virgules : D971, D974. Vide : les routes parcourues.",
    )
    look = forms.IntegerField(
        label="Images à montrer de nouveau au détecteur",
        min_value=0,
        max_value=SAMPLE_MAX,
        initial=0,
        help_text="Un échantillon, toujours le même ; une à deux minutes par image.",
    )

    def clean_roads(self) -> list[str]:
        try:
            return [
                parse_road(part) for part in self.cleaned_data["roads"].split(",") if part.strip()
            ]
        except RoadNameError as error:
            raise forms.ValidationError(str(error)) from error


@require_http_methods(["GET", "POST"])
@requires("street.deliver", of=of_departement)
def control(request: HttpRequest, name: str) -> HttpResponse:
    """The last report of a campaign; POST asks for a new one."""
    campaign = get_object_or_404(Campaign, name=name)
    form = AuditForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        jobs.submit(
            request.actor,  # type: ignore[attr-defined]
            delivery_audit.audit_job,
            {
                "campaign": campaign.name,
                "ordered_roads": form.cleaned_data["roads"],
                "look": form.cleaned_data["look"],
            },
        )
        messages.success(request, "Le contrôle est demandé : le rapport apparaîtra ici.")
        return redirect("street:control", name=name)
    kept = delivery_audit.last(campaign)
    report = kept.report if kept else None
    context = {
        "campaign": campaign,
        "form": form,
        "report": report,
        "job": _under_way(campaign),
        **(_shown(report) if report else {}),
    }
    return render(request, "street/control.html", context, status=422 if form.errors else 200)


def _under_way(campaign: Campaign) -> Job | None:
    return (
        Job.objects.filter(
            name=delivery_audit.audit_job.name,
            arguments__campaign=campaign.name,
            state__in=(*jobs.WAITING, *jobs.ACTIVE),
        )
        .order_by("-pk")
        .first()
    )


def _shown(report: dict[str, Any]) -> dict[str, Any]:
    counts = [(KINDS[kind][0], count) for kind, count in report["counts"].items() if kind in KINDS]
    return {
        "at": clock.parse_rfc3339(report["at"]),
        "total": sum(count for _, count in counts),
        "covered": _covered(report),
        "counts": [
            [{"text": title}, {"text": number_fr(count), "value": count, "kind": "number"}]
            for title, count in counts
            if count
        ],
        "count_columns": [{"title": "Défaut"}, {"title": "Nombre", "kind": "number"}],
        "fault_columns": [{"title": title} for title in _TABLE],
        "faults": [[{"text": text} for text in _cells(fault)] for fault in report["listed"]],
        "cut": any(count > delivery_audit.LISTED for _, count in counts),
        "drawing": drawing(report),
    }


def _covered(report: dict[str, Any]) -> str | None:
    if not report["ordered_m"]:
        return None
    # 99.996 % is not all of it.
    share = int(report["covered_m"] / report["ordered_m"] * 1e4) / 1e4
    return percent_fr(share, 2)


def _cells(fault: dict[str, Any]) -> tuple[str, str, str]:
    return (
        KINDS[fault["kind"]][0],
        fault["file"] or fault["position"] or fault["road"] or "—",
        fault["message"],
    )


# The drawing --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Drawing:
    """Drives as SVG path data, faults as points, north up, all in `width` × `height`."""

    width: float
    height: float
    path: str
    lines: list[list[tuple[float, float]]]
    points: list[tuple[float, float, str]]


def drawing(report: dict[str, Any]) -> Drawing | None:
    """None where nothing has a place."""
    lines = report["drawing"]
    places = [place for line in lines for place in line]
    faults = [fault for fault in report["listed"] if fault["longitude_deg"] is not None]
    places += [[fault["longitude_deg"], fault["latitude_deg"]] for fault in faults]
    if not places:
        return None
    west, east = min(p[0] for p in places), max(p[0] for p in places)
    south, north = min(p[1] for p in places), max(p[1] for p in places)
    # One degree of longitude is shorter than one of latitude.
    ratio = cos(radians((south + north) / 2))
    scale = min(
        (_WIDTH - 2 * _MARGIN) / max((east - west) * ratio, 1e-6),
        (_HEIGHT - 2 * _MARGIN) / max(north - south, 1e-6),
    )
    width = (east - west) * ratio * scale + 2 * _MARGIN
    left = (_WIDTH - width) / 2 + _MARGIN

    def at(longitude: float, latitude: float) -> tuple[float, float]:
        return (
            round(left + (longitude - west) * ratio * scale, 1),
            round(_MARGIN + (north - latitude) * scale, 1),
        )

    drawn = [[at(*place) for place in line] for line in lines]
    path = "".join(
        "M" + "L".join(f"{x} {y}" for x, y in (line if len(line) > 1 else line * 2))
        for line in drawn
    )
    points = [
        (*at(fault["longitude_deg"], fault["latitude_deg"]), " : ".join(_cells(fault)))
        for fault in faults
    ]
    height = (north - south) * scale + 2 * _MARGIN
    return Drawing(_WIDTH, round(height, 1), path, drawn, points)


# Exports ------------------------------------------------------------------------------------------


def _report_of(name: str) -> dict[str, Any]:
    kept = delivery_audit.last(get_object_or_404(Campaign, name=name))
    if kept is None or not kept.report:
        raise Http404
    report: dict[str, Any] = kept.report
    return report


@require_GET
@requires("street.deliver", of=of_departement)
def control_csv(request: HttpRequest, name: str) -> HttpResponseBase:
    """All the faults of the last report."""
    report = _report_of(name)
    store = derivation.store()
    if store.size(report["csv_key"]) is None:
        raise Http404
    response = StreamingHttpResponse(
        store.read(report["csv_key"]), content_type="text/csv; charset=utf-8"
    )
    response.headers["Content-Disposition"] = f'attachment; filename="controle-{name}.csv"'
    return response


@require_GET
@requires("street.deliver", of=of_departement)
def control_pdf(request: HttpRequest, name: str) -> HttpResponse:
    """The last report on paper."""
    campaign = get_object_or_404(Campaign, name=name)
    response = HttpResponse(pdf(campaign, _report_of(name)), content_type="application/pdf")
    response.headers["Content-Disposition"] = f'attachment; filename="controle-{name}.pdf"'
    return response


def pdf(campaign: Campaign, report: dict[str, Any]) -> bytes:
    """The report as A4 pages: the figures, the drawing, the first faults of the list."""
    from reportlab.graphics.shapes import Circle, Drawing, PolyLine
    from reportlab.lib import colors
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.styles import getSampleStyleSheet
    from reportlab.platypus import Flowable, Paragraph, SimpleDocTemplate, Spacer, Table

    styles = getSampleStyleSheet()

    def words(text: str, style: str = "BodyText") -> Paragraph:
        return Paragraph(_latin(text), styles[style])

    title = f"Contrôle de la livraison « {campaign.title} »"
    told: list[Flowable] = [words(title, "Title")]
    told += [words(line) for line in _lines(campaign, report)]
    drawn = drawing(report)
    if drawn is not None:
        scale = 480 / drawn.width
        picture = Drawing(480, drawn.height * scale)
        for line in drawn.lines:
            flat = [v * scale for x, y in line for v in (x, drawn.height - y)]
            if len(line) > 1:
                picture.add(PolyLine(flat, strokeColor=colors.HexColor("#1F6F8B"), strokeWidth=0.8))
        for x, y, _ in drawn.points:
            picture.add(
                Circle(
                    x * scale, (drawn.height - y) * scale, 2.2,
                    fillColor=colors.HexColor("#B42318"), strokeColor=None,
                )
            )  # fmt: skip
        told += [Spacer(1, 8), picture, words("Bleu : images livrées. Rouge : défauts listés.")]
    counts = [[words(KINDS[k][0]), words(number_fr(n))] for k, n in report["counts"].items() if n]
    grid = [("GRID", (0, 0), (-1, -1), 0.4, colors.grey), ("VALIGN", (0, 0), (-1, -1), "TOP")]
    if counts:
        rows = [[words("Défaut"), words("Nombre")], *counts]
        told += [Spacer(1, 8), Table(rows, [360, 100], style=grid, repeatRows=1)]
        listed = report["listed"][:_PDF_ROWS]
        rows = [[words(cell) for cell in _TABLE], *([words(c) for c in _cells(f)] for f in listed)]
        told += [Spacer(1, 12), Table(rows, [140, 120, 220], style=grid, repeatRows=1)]
        if sum(report["counts"].values()) > len(listed):
            told.append(words("La liste entière est dans le fichier CSV."))
    out = io.BytesIO()
    SimpleDocTemplate(out, pagesize=A4, title=_latin(title, escape=False), lang="fr").build(told)
    return out.getvalue()


def _lines(campaign: Campaign, report: dict[str, Any]) -> list[str]:
    lines = [
        f"Rapport du {datetime_fr(clock.parse_rfc3339(report['at']))}. "
        f"{number_fr(report['panoramas'])} images en {number_fr(report['drives'])} trajets.",
        f"Commande : une image tous les {number_fr(report['spacing_m'])} m, position à "
        f"{number_fr(report['sigma_xy_limit_m'])} m et cap à "
        f"{number_fr(report['sigma_heading_limit_deg'])}° près (un écart-type).",
    ]
    if report["provenance"] == Campaign.Provenance.SYNTHETIC:
        lines.append("Images de synthèse : ce rapport ne dit rien d'une route réelle.")
    covered = _covered(report)
    if covered:
        named = ", ".join(report["ordered_roads"]) or "les routes parcourues"
        kilometres = number_fr(report["ordered_m"] / 1000, 1)
        lines.append(f"Couverture : {covered} de {kilometres} km ({named}).")
    else:
        lines.append("Aucune route connue pour ces images : couverture non contrôlée.")
    if report["looked_again"]:
        lines.append(f"{report['looked_again']} images montrées de nouveau au détecteur.")
    lines.append("Aucun défaut." if report["conform"] else "Des défauts ont été trouvés.")
    return lines


def _latin(text: str, *, escape: bool = True) -> str:
    """The standard fonts of PDF have no narrow no-break space, and Latin letters alone."""
    plain = text.replace("\u202f", "\u00a0").encode("cp1252", "replace").decode("cp1252")
    if escape:
        plain = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return plain
