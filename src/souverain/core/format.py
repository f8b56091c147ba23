"""French presentation of instants, durations, numbers and place names.

Pure functions: instants are aware, figures plain, and the present is an argument. Thousands are
parted by a narrow no-break space (U+202F), and a figure from its unit by a no-break space (U+00A0),
as the Imprimerie nationale asks.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

PARIS = ZoneInfo("Europe/Paris")
NBSP = "\u00a0"
THIN = "\u202f"
DAYS = ("lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi", "dimanche")
MONTHS = (
    "janvier",
    "février",
    "mars",
    "avril",
    "mai",
    "juin",
    "juillet",
    "août",
    "septembre",
    "octobre",
    "novembre",
    "décembre",
)
BYTE_UNITS = ("Ko", "Mo", "Go", "To", "Po")


def _paris(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("an instant needs a time zone")
    return moment.astimezone(PARIS)


def quote_fr(text: str) -> str:
    """A name between guillemets, which never part from it."""
    return f"«{NBSP}{text}{NBSP}»"


def date_fr(day: date) -> str:
    """A day in words; an instant is first taken to Europe/Paris.

    >>> date_fr(date(2026, 11, 23)), date_fr(date(2026, 12, 1))
    ('lundi 23 novembre 2026', 'mardi 1er décembre 2026')
    """
    if isinstance(day, datetime):
        day = _paris(day).date()
    ordinal = "1er" if day.day == 1 else str(day.day)
    return f"{DAYS[day.weekday()]} {ordinal} {MONTHS[day.month - 1]} {day.year}"


def day_short(day: date) -> str:
    """A day where room is scarce (axes, narrow columns), e.g. « 23/11/2026 »."""
    if isinstance(day, datetime):
        day = _paris(day).date()
    return f"{day:%d/%m/%Y}"


def time_fr(moment: datetime) -> str:
    """The hour in Europe/Paris, e.g. « 18 h 05 » (no-break spaces)."""
    local = _paris(moment)
    return f"{local.hour}{NBSP}h{NBSP}{local.minute:02}"


def datetime_fr(moment: datetime) -> str:
    """« lundi 23 novembre 2026, 18 h 05 », in Europe/Paris."""
    return f"{date_fr(moment)}, {time_fr(moment)}"


def _count(count: int, word: str) -> str:
    plural = "s" if count > 1 and not word.endswith("s") else ""
    return f"{number_fr(count)}{NBSP}{word}{plural}"


def duration_fr(duration: timedelta) -> str:
    """A length of time, in the words one would say: « 40 s », « 12 min », « 6 h 12 », « 3 jours ».

    Rounded down, never negative.
    """
    seconds = max(0, int(duration.total_seconds()))
    if seconds < 60:
        return f"{seconds}{NBSP}s"
    if seconds < 3600:
        return f"{seconds // 60}{NBSP}min"
    if seconds < 86_400:
        return f"{seconds // 3600}{NBSP}h{NBSP}{seconds % 3600 // 60:02}"
    days = seconds // 86_400
    if days < 60:
        return _count(days, "jour")
    if days < 730:
        return _count(days * 12 // 365, "mois")
    return _count(days // 365, "an")


def since_fr(moment: datetime, now: datetime) -> str:
    """How long a state has held: « depuis 6 h 12 »."""
    return f"depuis {duration_fr(now - moment)}"


def age_fr(moment: datetime, now: datetime) -> str:
    """How long ago, or how soon: « il y a 3 jours », « dans 2 h 00 », « à l'instant »."""
    elapsed = now - moment
    if abs(elapsed) < timedelta(minutes=1):
        return "à l'instant"
    if elapsed < timedelta(0):
        return f"dans {duration_fr(-elapsed)}"
    return f"il y a {duration_fr(elapsed)}"


def number_fr(value: float, decimals: int | None = None) -> str:
    """A number with a decimal comma; whole numbers without decimals unless they are asked for.

    >>> number_fr(8489).replace(THIN, "_"), number_fr(-1234567.5).replace(THIN, "_")
    ('8_489', '-1_234_567,5')
    >>> number_fr(3.14159, 2), number_fr(2.0), number_fr(2.0, 1)
    ('3,14', '2', '2,0')
    """
    if decimals is None:
        text = f"{round(value, 2):,.2f}".rstrip("0").rstrip(".")
    else:
        text = f"{value:,.{decimals}f}"
    if text.strip("-0.,") == "":
        text = text.lstrip("-")
    return text.translate({ord(","): THIN, ord("."): ","})


def bytes_fr(size: int) -> str:
    """A size in powers of 1,000, three figures at most: « 512 octets », « 1,25 Go », « 340 Mo »."""
    if size < 1000:
        return _count(size, "octet")
    value = float(size)
    for unit in BYTE_UNITS:
        value /= 1000
        # 999.5 would be written 1 000: it belongs to the next unit.
        if value < 999.5 or unit == BYTE_UNITS[-1]:
            break
    decimals = 0 if value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{_trimmed(value, decimals)}{NBSP}{unit}"


def _trimmed(value: float, decimals: int) -> str:
    text = number_fr(value, decimals)
    return text.rstrip("0").rstrip(",") if "," in text else text


def percent_fr(fraction: float, decimals: int = 0) -> str:
    """A fraction of one as a percentage: 0.285 → « 28,5 % » with one decimal."""
    return f"{number_fr(fraction * 100, decimals)}{NBSP}%"


_ARTICLE = re.compile(r"(?P<article>Le|Les) (?P<rest>.+)")
_VOWEL = re.compile(r"[AEIOUYÀÂÄÉÈÊËÎÏÔÖÙÛÜŒÆH]", re.IGNORECASE)


def commune_de(name: str) -> str:
    """A commune's name after « de ». An initial h is taken as mute.

    >>> [commune_de(name) for name in ("Beaune", "Arceau", "Le Val-Larrey", "Les Maillys")]
    ['de Beaune', "d'Arceau", 'du Val-Larrey', 'des Maillys']
    >>> commune_de("La Bussière-sur-Ouche"), commune_de("L'Étang-Vergy")
    ('de La Bussière-sur-Ouche', "de L'Étang-Vergy")
    """
    if match := _ARTICLE.fullmatch(name):
        return f"{'du' if match['article'] == 'Le' else 'des'} {match['rest']}"
    return f"d'{name}" if _VOWEL.match(name) else f"de {name}"


def commune_a(name: str) -> str:
    """A commune's name after « à ».

    >>> [commune_a(name) for name in ("Beaune", "Le Val-Larrey", "Les Maillys", "La Bussière")]
    ['à Beaune', 'au Val-Larrey', 'aux Maillys', 'à La Bussière']
    """
    if match := _ARTICLE.fullmatch(name):
        return f"{'au' if match['article'] == 'Le' else 'aux'} {match['rest']}"
    return f"à {name}"
