"""The file of the communes that have joined: a CSV read with patience, checked without.

UTF-8 (with or without a byte order mark) or Windows-1252; semicolons, commas or tabs; titles of
columns with or without accents. A line that cannot be read is told with its column and how to mend
it; the others are kept.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

from souverain.territory.engine.search import fold

BYTES_MAX = 1 << 20
LINES_MAX = 2000
COLUMNS_MAX = 100
FAULTS_MAX = 500
TOOLS = ("vault", "mail", "box")
CONTACTS = ("elected", "secretary", "data-protection", "technical")

CODE, NAME, JOINED, CHOSEN = "code_insee", "commune", "date_adhesion", "outils"
_COLUMN_OF = {
    "elected": "elu",
    "secretary": "secretaire",
    "data-protection": "dpo",
    "technical": "technique",
}
CONTACT_COLUMNS = {
    f"{prefix}_{part}": (kind, part)
    for kind, prefix in _COLUMN_OF.items()
    for part in ("nom", "courriel", "telephone")
}
COLUMNS = (CODE, NAME, JOINED, CHOSEN, *CONTACT_COLUMNS)
REQUIRED = (CODE, NAME, JOINED)
_ALIASES = {
    "insee": CODE,
    "code": CODE,
    "code_commune": CODE,
    "nom": NAME,
    "nom_commune": NAME,
    "date": JOINED,
    "adhesion": JOINED,
    "date_d_adhesion": JOINED,
    "outil": CHOSEN,
}
_TOOL_NAMES = {
    "coffre fort": "vault",
    "coffre": "vault",
    "vault": "vault",
    "adresse mail conforme": "mail",
    "adresse mail": "mail",
    "adresse": "mail",
    "mail": "mail",
    "courriel": "mail",
    "boitier protection": "box",
    "boitier": "box",
    "box": "box",
}
_CODE = re.compile(r"[0-9][0-9AB][0-9]{3}")
_DATE_FORMATS = ("%d/%m/%Y", "%d-%m-%Y", "%d.%m.%Y", "%Y-%m-%d")
_MONTHS = {
    month: number
    for number, month in enumerate(
        [
            "janvier",
            "fevrier",
            "mars",
            "avril",
            "mai",
            "juin",
            "juillet",
            "aout",
            "septembre",
            "octobre",
            "novembre",
            "decembre",
        ],
        start=1,
    )
}
EMAIL = re.compile(r"[^@\s,;<>\"]{1,64}@[^@\s,;<>\"'.]+(\.[^@\s,;<>\"'.]+)+")
_PHONE = re.compile(r"\+?[0-9][0-9 .()-]{5,20}")
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_FORMULA = re.compile(r"'*[=+@\t\r-]")
_PROTECTED = re.compile(r"'+[=+@\t\r-]")
FIRST_DAY = date(2018, 5, 25)
"""The RGPD applies from this day: no agreement under its article 28 is older."""


class UnreadableFile(Exception):
    """The whole file is refused; the message is a French sentence."""


@dataclass(frozen=True)
class Contact:
    kind: str
    name: str
    email: str = ""
    phone: str = ""


@dataclass(frozen=True)
class Row:
    """One commune that has joined. `line` counts from 1, the titles included."""

    line: int
    code: str
    joined_on: date
    tools: tuple[str, ...] = ()
    contacts: tuple[Contact, ...] = ()


@dataclass(frozen=True)
class Fault:
    """Something to mend: the line, the column's title in the file (or empty), and how."""

    line: int
    column: str
    message: str


@dataclass(frozen=True)
class Reading:
    """What the file says. `ignored` are the columns that mean nothing here."""

    rows: tuple[Row, ...]
    faults: tuple[Fault, ...]
    encoding: str
    separator: str
    ignored: tuple[str, ...] = ()


@dataclass
class _Line:
    """A line under examination: its cells by column, and what is wrong with them."""

    number: int
    cells: Mapping[str, str]
    titles: Mapping[str, str]
    faults: list[Fault] = field(default_factory=list)

    def refuse(self, column: str, message: str) -> None:
        self.faults.append(Fault(self.number, self.titles.get(column, column), message))


def read(
    content: bytes, communes: Mapping[str, str], former: Mapping[str, str], today: date
) -> Reading:
    """Read the file. `communes` are today's names by INSEE code; `former` gives the successor of a
    merged commune's code. Raises `UnreadableFile` when nothing of it can be used."""
    text, encoding = _decoded(content)
    separator = _separator(text)
    # No strict mode: a stray quote must spoil its own line, not the file.
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    numbered = _numbered(lines)
    first = next(numbered, None)
    if first is None:
        raise UnreadableFile("Le fichier est vide : la première ligne doit nommer les colonnes.")
    columns, titles, ignored = _columns(first[1])
    rows: dict[str, Row] = {}
    faults: list[Fault] = []
    for count, (number, cells) in enumerate(numbered, start=1):
        if count > LINES_MAX:
            raise UnreadableFile(
                f"Plus de {LINES_MAX} lignes : coupez le fichier en plusieurs, chacun avec ses titres."
            )
        line = _Line(number, dict(zip(columns, map(_bare, cells), strict=False)), titles)
        row = _row(line, len(cells) - len(columns), communes, former, today)
        if row is not None and row.code in rows:
            line.refuse(CODE, f"cette commune est déjà à la ligne {rows[row.code].line}.")
        elif row is not None:
            rows[row.code] = row
        faults += line.faults
    return Reading(tuple(rows.values()), tuple(faults[:FAULTS_MAX]), encoding, separator, ignored)


def _decoded(content: bytes) -> tuple[str, str]:
    if len(content) > BYTES_MAX:
        raise UnreadableFile("Le fichier dépasse 1 Mio : ne gardez que la liste des communes.")
    if content.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise UnreadableFile("C'est un classeur : enregistrez-le au format CSV, puis recommencez.")
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\x00" in text:
            break
        return text, "UTF-8" if encoding == "utf-8-sig" else "Windows-1252"
    raise UnreadableFile("Ce fichier n'est pas du texte : enregistrez-le en CSV, encodage UTF-8.")


def _separator(text: str) -> str:
    """The one that the line of titles holds most."""
    title = next((line for line in text.splitlines() if line.strip()), "")
    return max(";,\t", key=title.count)


def _bare(cell: str) -> str:
    """A cell without the blanks around it, nor the mark that `safe_cell` put before it."""
    bare = cell.strip()
    return bare[1:] if _PROTECTED.match(bare) else bare


def _numbered(lines: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    """The lines that hold something, with the number of the line that each starts on."""
    start = 1
    while True:
        try:
            cells = next(lines, None)
        except csv.Error as error:
            raise UnreadableFile(
                f"Ligne {start} : un guillemet est resté ouvert, ou une case est démesurée."
            ) from error
        if cells is None:
            return
        if any(cell.strip() for cell in cells):
            yield start, cells
        start = lines.line_num + 1  # type: ignore[attr-defined]


def _columns(titles: list[str]) -> tuple[list[str], dict[str, str], tuple[str, ...]]:
    """The meaning of each column, the title of each meaning, and the titles that mean nothing."""
    if len(titles) > COLUMNS_MAX:
        raise UnreadableFile(
            f"{len(titles)} colonnes : gardez-en {COLUMNS_MAX} au plus. La première ligne doit "
            "nommer les colonnes."
        )
    known: list[str] = []
    ignored: list[str] = []
    for title in titles:
        plain = "_".join(_folded(title))
        column = _ALIASES.get(plain, plain)
        if column in known:
            raise UnreadableFile(f"La colonne « {title.strip()[:40]} » est là deux fois.")
        if column not in COLUMNS and title.strip():
            ignored.append(title.strip()[:40])
        known.append(column if column in COLUMNS else f"?{len(known)}")
    missing = [column for column in REQUIRED if column not in known]
    if missing:
        raise UnreadableFile(
            f"Il manque la colonne « {missing[0]} ». La première ligne doit nommer au moins : "
            f"{' ; '.join(REQUIRED)}."
        )
    meanings = zip(known, titles, strict=True)
    return known, {column: title.strip()[:40] for column, title in meanings}, tuple(ignored)


def _folded(text: str) -> list[str]:
    """Lower case words without accents; unlike `fold`, articles are kept."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return re.findall(r"[a-z0-9]+", "".join(c for c in plain if not unicodedata.combining(c)))


def _row(
    line: _Line, extra: int, communes: Mapping[str, str], former: Mapping[str, str], today: date
) -> Row | None:
    if extra > 0:
        line.refuse("", f"{extra} case(s) de trop : un séparateur s'est glissé dans une case ?")
    for column, cell in line.cells.items():
        if CONTROL.search(cell) or len(cell) > 254:
            line.refuse(column, "case illisible ou de plus de 254 caractères : corrigez-la.")
    if line.faults:
        return None
    code = _code(line, communes, former)
    joined_on = _joined_on(line, today)
    tools = _tools(line)
    contacts = _contacts(line)
    if line.faults or code is None or joined_on is None:
        return None
    return Row(line.number, code, joined_on, tools, contacts)


def _code(line: _Line, communes: Mapping[str, str], former: Mapping[str, str]) -> str | None:
    code = line.cells.get(CODE, "").upper().replace(" ", "")
    code = code.zfill(5) if code.isascii() and code.isdigit() else code
    if not _CODE.fullmatch(code):
        line.refuse(CODE, "écrivez le code INSEE à cinq caractères, comme 21231.")
    elif code in former and code not in communes:
        line.refuse(CODE, f"commune fusionnée : écrivez le code de la nouvelle, {former[code]}.")
    elif code not in communes:
        line.refuse(CODE, f"aucune commune du département n'a le code {code}.")
    elif fold(line.cells.get(NAME, "")) != fold(communes[code]):
        line.refuse(NAME, f"le code {code} est celui de {communes[code]} : mettez-les d'accord.")
    else:
        return code
    return None


def _joined_on(line: _Line, today: date) -> date | None:
    text = line.cells.get(JOINED, "")
    found = read_date(text)
    if found is None:
        line.refuse(JOINED, "écrivez la date comme 23/11/2026.")
    elif found > today:
        line.refuse(JOINED, "cette date n'est pas encore venue.")
    elif found < FIRST_DAY:
        line.refuse(JOINED, "cette date est avant le RGPD (25/05/2018) : vérifiez l'année.")
    else:
        return found
    return None


def read_date(text: str) -> date | None:
    """A day as French people write it: 23/11/2026, 23-11-2026, 2026-11-23, 1er décembre 2026.

    >>> read_date("1er décembre 2026"), read_date("31/02/2026")
    (datetime.date(2026, 12, 1), None)
    """
    text = text.strip()
    for known in _DATE_FORMATS:
        try:
            return datetime.strptime(text, known).date()  # noqa: DTZ007 — a day has no time zone
        except ValueError:
            continue
    words = _folded(text)
    if len(words) == 3 and words[1] in _MONTHS:
        day = words[0].removesuffix("er")
        if day.isdigit() and words[2].isdigit() and len(words[2]) == 4:
            try:
                return date(int(words[2]), _MONTHS[words[1]], int(day))
            except ValueError:
                return None
    return None


def _tools(line: _Line) -> tuple[str, ...]:
    chosen = set()
    for name in re.split(r"[,+/|&]|\bet\b", line.cells.get(CHOSEN, "")):
        words = " ".join(word for word in _folded(name) if word not in ("le", "l", "la", "de"))
        if not words:
            continue
        tool = _TOOL_NAMES.get(words)
        if tool is None:
            line.refuse(
                CHOSEN,
                f"outil inconnu « {name.strip()[:40]} » : coffre-fort, adresse mail ou boîtier, "
                "séparés par « + ».",
            )
        else:
            chosen.add(tool)
    return tuple(tool for tool in TOOLS if tool in chosen)


def _contacts(line: _Line) -> tuple[Contact, ...]:
    found = []
    for kind, prefix in _COLUMN_OF.items():
        name, email, phone = (
            line.cells.get(f"{prefix}_{part}", "") for part in ("nom", "courriel", "telephone")
        )
        if email and not EMAIL.fullmatch(email):
            line.refuse(f"{prefix}_courriel", "cette adresse n'en est pas une : nom@domaine.fr.")
        if phone and not _PHONE.fullmatch(phone):
            line.refuse(f"{prefix}_telephone", "écrivez le numéro comme 03 80 00 00 00.")
        if (email or phone) and not name:
            line.refuse(f"{prefix}_nom", "donnez aussi le nom de la personne.")
        if name:
            found.append(Contact(kind, name[:160].strip(), email.lower(), phone))
    return tuple(found)


def safe_cell(text: str) -> str:
    """A cell that no spreadsheet takes for a formula (OWASP, CSV injection): prefixed if need be,
    also when it is prefixed already, so that reading takes one away and no more.

    >>> safe_cell("=1+1"), safe_cell("'=1+1"), safe_cell("Dijon")
    ("'=1+1", "''=1+1", 'Dijon')
    """
    return f"'{text}" if _FORMULA.match(text) else text
