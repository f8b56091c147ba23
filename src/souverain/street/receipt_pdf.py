"""The receipt of a request as a sheet of paper."""

from __future__ import annotations

import io
from typing import Any
from xml.sax.saxutils import escape

from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.lib.units import mm
from reportlab.platypus import Paragraph, SimpleDocTemplate, Spacer

from souverain.core.format import datetime_fr
from souverain.street.models import BlurRequest


def drawn(asked: BlurRequest) -> bytes:
    """The PDF of a request that was carried out."""
    assert asked.receipt is not None and asked.answered_at is not None
    styles, out = getSampleStyleSheet(), io.BytesIO()
    text, small, told = styles["BodyText"], styles["Code"], asked.receipt
    original = (
        "L'image d'origine, gardée sous accès restreint, a été floutée au même endroit."
        if told["original"] == "replaced"
        else "L'image d'origine n'est pas gardée."
    )
    flow: list[Any] = [
        Paragraph("Reçu de floutage", styles["Title"]),
        Paragraph(f"Demande <b>{escape(asked.code)}</b>", text),
        Paragraph(f"Reçue le {datetime_fr(asked.received_at)}.", text),
        Paragraph(f"Faite le {datetime_fr(asked.answered_at)}.", text),
        Paragraph(f"Image {escape(told['panorama'])}, version {told['version']}.", text),
        Paragraph(original, text),
    ]
    if asked.answer:
        flow.append(Paragraph(escape(asked.answer), text))
    flow += [
        Spacer(1, 5 * mm),
        Paragraph("Objets remplacés", styles["Heading2"]),
        Paragraph(
            "Chaque objet qui montrait la zone n'existe plus ; à sa place est celui dont "
            "l'empreinte SHA-256 est donnée en second.",
            text,
        ),
    ]
    for each in told["objects"]:
        flow += [
            Spacer(1, 3 * mm),
            Paragraph(escape(each["key"]), text),
            Paragraph(f"avant {each['sha256_before']}", small),
            Paragraph(f"après {each['sha256_after']}", small),
        ]
    SimpleDocTemplate(
        out, pagesize=A4, title=f"Reçu de floutage {asked.code}", author="Département", lang="fr"
    ).build(flow)
    return out.getvalue()
