"""The text of the agreement that a commune signs: personal data processed on its behalf.

Source of what it must say: Regulation (EU) 2016/679 (RGPD), article 28(3), points a to h, and
article 33(2) for breaches. The text is content-addressed: a membership keeps the SHA-256 of the
clauses that were signed, so that a later wording never passes for an earlier one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

VERSION = "2026-12"
TITLE = "Convention de sous-traitance de données personnelles"
BREACH_NOTICE_H = 48
RETURN_DAYS = 30


@dataclass(frozen=True)
class Processing:
    """One processing that the département does for the communes, as a manifest declares it."""

    room: str
    title: str
    data_classes: tuple[str, ...]
    purpose: str
    retention: str
    recipients: str


@dataclass(frozen=True)
class Clause:
    """A numbered clause: its title and its paragraphs; `items` are listed under them."""

    title: str
    paragraphs: tuple[str, ...]
    items: tuple[str, ...] = ()


@dataclass(frozen=True)
class Text:
    """The clauses and their version."""

    version: str
    clauses: tuple[Clause, ...]

    @property
    def canonical(self) -> str:
        """One spelling of the text as JSON; `sha256` covers its UTF-8 bytes."""
        return json.dumps(
            {
                "version": self.version,
                "title": TITLE,
                "clauses": [
                    {"title": c.title, "paragraphs": c.paragraphs, "items": c.items}
                    for c in self.clauses
                ],
            },
            ensure_ascii=False,
            sort_keys=True,
            separators=(",", ":"),
        )

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.canonical.encode()).hexdigest()


def read(canonical: str) -> Text:
    """The text back from its canonical spelling."""
    content = json.loads(canonical)
    return Text(
        content["version"],
        tuple(
            Clause(c["title"], tuple(c["paragraphs"]), tuple(c["items"]))
            for c in content["clauses"]
        ),
    )


def text(processings: Sequence[Processing], cloud: str) -> Text:
    """Today's clauses, with the processings that the rooms in service declare."""
    categories = sorted({name for found in processings for name in found.data_classes})
    return Text(
        VERSION,
        _typeset(
            Clause(
                "Objet",
                (
                    "La commune, responsable du traitement, confie au Département, sous-traitant, "
                    "le traitement de données personnelles pour son compte, dans les outils du "
                    f"{cloud} qu'elle a choisis. La présente convention fixe les obligations "
                    "des deux parties en application de l'article 28 du règlement (UE) 2016/679 "
                    "(RGPD).",
                ),
            ),
            Clause(
                "Durée",
                (
                    "La convention prend effet à sa signature par les deux parties. Elle dure tant "
                    f"que la commune adhère au {cloud} et jusqu'à la remise de la preuve "
                    "d'effacement de ses données. La commune peut partir quand elle le veut.",
                ),
            ),
            Clause(
                "Nature et finalité des traitements",
                (
                    "Le Département héberge, conserve, sauvegarde et restitue les données. Il ne "
                    "les emploie à aucune autre fin. Les traitements sont :",
                ),
                tuple(
                    f"{found.room}. {found.title}. Finalité : {_inner(found.purpose)}. "
                    f"Durée : {_inner(found.retention)}. Accès : {_inner(found.recipients)}."
                    for found in processings
                ),
            ),
            Clause(
                "Catégories de données et de personnes",
                (
                    f"Catégories de données : {', '.join(categories)}.",
                    "Personnes concernées : les élus et agents de la commune, et les personnes qui "
                    "figurent dans les documents que la commune dépose. La commune reste seule juge "
                    "de ce qu'elle dépose.",
                ),
            ),
            Clause(
                "Obligations du Département",
                ("Le Département :",),
                (
                    "ne traite les données que sur instruction documentée de la commune, y compris "
                    "pour tout transfert hors de l'Union européenne ; il n'en fait aucun ;",
                    "avertit aussitôt la commune s'il estime qu'une instruction viole le RGPD ;",
                    "aide la commune à répondre aux demandes des personnes (accès, rectification, "
                    "effacement, limitation, portabilité, opposition) ;",
                    "aide la commune à tenir ses obligations de sécurité, d'analyse d'impact et de "
                    "consultation de la CNIL (articles 32 à 36 du RGPD) ;",
                    "tient le registre des traitements faits pour la commune (article 30, "
                    "paragraphe 2).",
                ),
            ),
            Clause(
                "Confidentialité",
                (
                    "Les personnes que le Département autorise à traiter les données sont tenues "
                    "au secret. Leurs accès sont personnels, limités à leur mission et inscrits "
                    "dans un journal scellé que la commune peut consulter.",
                ),
            ),
            Clause(
                "Sous-traitants ultérieurs",
                (
                    "Aucun. Les données restent sur les machines du Département, dans le "
                    "département. Le Département n'en recrute pas d'autre sans autorisation écrite "
                    "et préalable de la commune.",
                ),
            ),
            Clause(
                "Sécurité",
                ("Le Département met en œuvre au moins ces mesures (article 32 du RGPD) :",),
                (
                    "échanges chiffrés ; double vérification à la connexion ;",
                    "copies du coffre-fort chiffrées sur le poste de la commune : le Département "
                    "n'en a pas la clé ;",
                    "dépôts qu'aucun appareil ne peut réécrire, contrôlés à leur réception ;",
                    "séparation des communes entre elles ; droits refusés par défaut ;",
                    "journal en ajout seul, dont toute modification se voit.",
                ),
            ),
            Clause(
                "Violation de données",
                (
                    "Le Département prévient la commune de toute violation de ses données dans les "
                    f"meilleurs délais, et au plus tard {BREACH_NOTICE_H} heures après en avoir eu "
                    "connaissance, avec ce qui lui est utile pour prévenir la CNIL et les personnes "
                    "(articles 33 et 34 du RGPD).",
                ),
            ),
            Clause(
                "Restitution et effacement",
                (
                    "Au départ de la commune, le Département lui remet toutes ses données dans des "
                    "formats ouverts, puis, une fois que la commune a accusé réception, les efface "
                    f"dans les {RETURN_DAYS} jours, ou au terme de la conservation des copies "
                    "du coffre-fort, que personne ne peut raccourcir, et lui remet une preuve "
                    "d'effacement. Le journal scellé garde les actes, sans nom ni adresse ni "
                    "contenu.",
                ),
            ),
            Clause(
                "Contrôle",
                (
                    "Le Département met à la disposition de la commune ce qui démontre le respect "
                    "de la présente convention, et permet des audits, y compris sur place, par la "
                    "commune ou l'auditeur qu'elle désigne. Le logiciel est libre : son code peut "
                    "être lu par tous.",
                ),
            ),
        ),
    )


def _typeset(*clauses: Clause) -> tuple[Clause, ...]:
    """French punctuation: a semicolon or a colon never begins a line."""

    def tied(sentence: str) -> str:
        return sentence.replace(" ;", "\u00a0;").replace(" :", "\u00a0:")

    return tuple(
        Clause(c.title, tuple(map(tied, c.paragraphs)), tuple(map(tied, c.items))) for c in clauses
    )


def _inner(sentence: str) -> str:
    """A manifest's sentence, to stand inside another one."""
    bare = sentence.strip().rstrip(".")
    return bare[:1].lower() + bare[1:]
