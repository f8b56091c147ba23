"""How the state of a membership, and of each tool, is told on pages."""

from __future__ import annotations

from dataclasses import dataclass

from souverain.core import queries
from souverain.portal.engine.lifecycle import State
from souverain.portal.models import Membership

STATES = {
    State.ASKED: ("warn", "Convention à signer"),
    State.JOINED: ("ok", "A rejoint le Cloud"),
    State.LEAVING: ("warn", "Départ demandé"),
    State.ERASING: ("danger", "Effacement en cours"),
    State.LEFT: ("neutral", "Partie"),
    State.WITHDRAWN: ("neutral", "Demande retirée"),
}
ICONS = {"vault": "safe", "mail": "envelope", "box": "shield-check"}


@dataclass(frozen=True)
class Tool:
    """One of the three tools, as a page shows it."""

    title: str
    icon: str
    kind: str
    word: str
    sentence: str
    url: str = ""


def tools_of(membership: Membership | None, code: str) -> list[Tool]:
    """The three tools with the state of each: what the tool's own room says of the commune, and
    nothing more; a tool whose room is not there is not in service."""
    cards = {card.room: card for card in queries.commune_card.ask_all(code)}
    return [
        Tool(title, ICONS[name], *_told(membership, name, cards.get(name)))
        for name, title in Membership.Tool.choices
    ]


def _told(
    membership: Membership | None, name: str, card: queries.Card | None
) -> tuple[str, str, str, str]:
    """(kind, word, sentence, url) of one tool."""
    wanted = membership is not None and membership.is_open and name in membership.tools
    if membership is not None and membership.state in (State.ERASING, State.LEFT):
        return "neutral", "Arrêté", "La commune part ou est partie.", ""
    if card is None:
        asked = "Demandé : nous préviendrons la mairie à son ouverture."
        return "neutral", "Pas encore en service", asked if wanted else "Non demandé.", ""
    if not wanted:
        return "neutral", "Non demandé", "La commune peut le demander.", card.url
    if membership is not None and membership.state == State.ASKED:
        return "info", "Demandé", "Il servira dès que la convention sera signée.", ""
    word = "Prêt à servir" if card.state == "neutral" else "En service"
    kind = "info" if card.state == "neutral" else card.state
    return kind, word, card.sentence, card.url
