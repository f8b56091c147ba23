"""The territory's verbs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import shapely
from django.db import transaction
from django.db.models import Sum

from souverain import __version__
from souverain.core import clock, journal
from souverain.core.access import Actor
from souverain.core.models import JournalEntry, Organisation
from souverain.core.services import put_organisations
from souverain.core.transactions import serialise_writers
from souverain.territory.engine.decoupage import (
    LISTS,
    DecoupageError,
    Departement,
    departement_of,
    normalise_number,
    read_departement,
)
from souverain.territory.engine.outlines import (
    OutlinesError,
    RowFault,
    read_outlines,
    simplify_for_display,
)
from souverain.territory.engine.positions import (
    Position,
    positions_from_outlines,
    read_positions,
)
from souverain.territory.engine.projection import metric_crs
from souverain.territory.models import Commune, CommuneOutline, Epci, FormerCommune

POSITIONS = Path(__file__).parent / "data"
DISPLAY_TOLERANCE_M = 100.0
COLUMNS = ("name", "siren", "population", "postcodes", "arrondissement", "epci", "updated_at")
POSITION_COLUMNS = ("longitude_deg", "latitude_deg", "area_km2")
LOADED = "territory.loaded"
OUTLINES_IMPORTED = "territory.outlines_imported"
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Loaded:
    """What a département holds now. `number`: as its organisation's code, `2A` for « 2a »."""

    number: str
    communes: int
    epcis: int
    former_communes: int
    population: int


def load_departement(actor: Actor, number: str, folder: Path) -> Loaded:
    """Create or bring up to date a département, its EPCI and its communes from the folder of
    `@etalab/decoupage-administratif`. Raises `DecoupageError`, in French, naming file and key."""
    number = normalise_number(number)
    require_same_departement(number)
    digest, read = _digest(number, folder), read_departement(folder, number)
    known = _positions_of(number)
    positions = read_positions(known) if known.exists() else {}
    return _write_departement(actor, read, positions, digest)


def ensure_departement(actor: Actor, number: str, folder: Path) -> Loaded:
    """As `load_departement`, except that lists which are loaded already are not read again."""
    number = normalise_number(number)
    require_same_departement(number)
    last = JournalEntry.objects.filter(verb=LOADED, organisation=number).order_by("-seq").first()
    present = _present(number)
    if last is not None and json.loads(bytes(last.body))["data"] == {
        **_counts(present),
        "lists_sha256": _digest(number, folder),
    }:
        return present
    return load_departement(actor, number, folder)


def _positions_of(number: str) -> Path:
    return POSITIONS / f"communes-{number}.csv"


def _digest(number: str, folder: Path) -> str:
    """Of all that a load stands on: the lists, the positions, and the program that reads them."""
    found = hashlib.sha256(__version__.encode())
    for path in (*(folder / name for name in LISTS), _positions_of(number)):
        if path.exists():
            found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def _present(number: str) -> Loaded:
    communes = Commune.objects.all()
    return Loaded(
        number=number,
        communes=communes.count(),
        epcis=Epci.objects.count(),
        former_communes=FormerCommune.objects.count(),
        population=communes.aggregate(total=Sum("population"))["total"] or 0,
    )


def _counts(loaded: Loaded) -> dict[str, int]:
    return {"communes": loaded.communes, "epcis": loaded.epcis}


def require_same_departement(number: str) -> None:
    """A cloud is one département's: raises `DecoupageError` when another one is loaded."""
    other = Organisation.objects.filter(kind=Organisation.Kind.DEPARTEMENT).exclude(code=number)
    if found := other.first():
        raise DecoupageError(
            f"ce cloud est celui du département {found.code} ({found.name}) : le {number} demande "
            "un autre SOUVERAIN_HOME et une autre base de données, et SOUVERAIN_DEPARTEMENT"
        )


@transaction.atomic
def _write_departement(
    actor: Actor, read: Departement, positions: dict[str, Position], digest: str
) -> Loaded:
    serialise_writers()  # before the first row: two verbs of the territory never wait in a ring
    number = read.number
    put_organisations(Organisation.Kind.DEPARTEMENT, [(number, read.name, "")])
    _put_epcis(read)
    _put_communes(read, positions)
    _put_former(read)
    loaded = Loaded(
        number=number,
        communes=len(read.communes),
        epcis=len(read.epcis),
        former_communes=len(read.former_communes),
        population=sum(commune.population or 0 for commune in read.communes),
    )
    journal.append(
        actor,
        LOADED,
        organisation=number,
        data={**_counts(loaded), "lists_sha256": digest},
    )
    return loaded


def _put_epcis(read: Departement) -> None:
    organisations = put_organisations(
        Organisation.Kind.EPCI, [(epci.siren, epci.name, epci.siren) for epci in read.epcis]
    )
    Epci.objects.bulk_create(
        [
            Epci(organisation=organisations[epci.siren], kind=epci.kind, population=epci.population)
            for epci in read.epcis
        ],
        update_conflicts=True,
        unique_fields=["organisation"],
        update_fields=["kind", "population"],
    )


def _put_communes(read: Departement, positions: dict[str, Position]) -> None:
    organisations = put_organisations(
        Organisation.Kind.COMMUNE,
        [(commune.code, commune.name, commune.siren or "") for commune in read.communes],
    )
    epcis = {epci.organisation.code: epci for epci in Epci.objects.select_related("organisation")}
    arrondissements = {found.code: found.name for found in read.arrondissements}
    now = clock.now()
    rows = []
    for commune in read.communes:
        place = positions.get(commune.code)
        rows.append(
            Commune(
                organisation=organisations[commune.code],
                code=commune.code,
                name=commune.name,
                siren=commune.siren or "",
                population=commune.population,
                postcodes=list(commune.postcodes),
                arrondissement=arrondissements.get(commune.arrondissement or "", ""),
                epci=epcis.get(commune.epci or ""),
                longitude_deg=place.longitude_deg if place else None,
                latitude_deg=place.latitude_deg if place else None,
                area_km2=place.area_km2 if place else None,
                updated_at=now,
            )
        )
    Commune.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["organisation"],
        update_fields=[*COLUMNS, *(POSITION_COLUMNS if positions else ())],
    )


def _put_former(read: Departement) -> None:
    successors = {commune.code: commune for commune in Commune.objects.all()}
    FormerCommune.objects.bulk_create(
        [
            FormerCommune(
                code=former.code,
                name=former.name or "",
                kind=former.kind,
                successor=successors[former.successor],
            )
            for former in read.former_communes
        ],
        update_conflicts=True,
        unique_fields=["code"],
        update_fields=["name", "kind", "successor"],
    )


@dataclass(frozen=True)
class Imported:
    """What an import of outlines did. `faults` are the rows left out, `missing` the communes that
    still have no real outline."""

    outlines: int
    merged: int
    elsewhere: int
    missing: tuple[str, ...]
    faults: tuple[RowFault, ...]
    layer: str
    crs: str


def import_outlines(
    actor: Actor,
    file: Path,
    departement: str,
    source: str = "",
    progress: Progress = lambda done, total: None,
) -> Imported:
    """Replace the approximate cells of a département by the real outlines of a file.

    Again with the same file: the same records. Communes that the file does not give keep what
    they had. `source` is shown with the map (the file's name otherwise). Raises `OutlinesError`,
    in French; then nothing is written but the refusal in the journal.
    """
    number = normalise_number(departement)
    communes = {c.code: c for c in Commune.objects.all() if departement_of(c.code) == number}
    try:
        if not communes:
            raise OutlinesError(f"Le département {number} n'est pas chargé.")
        read = read_outlines(
            file,
            number,
            communes.keys(),
            dict(FormerCommune.objects.values_list("code", "successor__code")),
            {code: place for code, c in communes.items() if (place := _position(c))},
            progress,
        )
        digest = _sha256(file)
    except (OutlinesError, OSError):
        journal.refuse(
            actor, "territory.outlines_refused", organisation=number, reason="unusable file"
        )
        raise
    lighter = simplify_for_display(read.outlines, number, DISPLAY_TOLERANCE_M)
    places = positions_from_outlines(read.outlines, metric_crs(number))
    rows = [
        CommuneOutline(
            commune=communes[place.code],
            geometry=shapely.to_wkb(read.outlines[place.code]),
            display=shapely.to_wkb(lighter[place.code]),
            area_km2=place.area_km2,
            source=(source or file.name)[:200],
            file_sha256=digest,
        )
        for place in places
    ]
    _write_outlines(actor, number, rows, places, len(read.faults))
    return Imported(
        outlines=len(read.outlines),
        merged=len(read.merged),
        elsewhere=read.elsewhere,
        missing=read.missing,
        faults=read.faults,
        layer=read.layer,
        crs=read.crs,
    )


def _position(commune: Commune) -> Position | None:
    if None in (commune.longitude_deg, commune.latitude_deg, commune.area_km2):
        return None
    return Position(
        commune.code,
        float(commune.longitude_deg or 0),
        float(commune.latitude_deg or 0),
        float(commune.area_km2 or 0),
    )


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


@transaction.atomic
def _write_outlines(
    actor: Actor, number: str, rows: list[CommuneOutline], places: list[Position], left_out: int
) -> None:
    serialise_writers()
    CommuneOutline.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["commune"],
        update_fields=["geometry", "display", "area_km2", "source", "file_sha256", "imported_at"],
    )
    _place_those_without_a_point({row.commune.code: row.commune for row in rows}, places)
    journal.append(
        actor,
        OUTLINES_IMPORTED,
        organisation=number,
        data={"file_sha256": rows[0].file_sha256, "outlines": len(rows), "left_out": left_out},
    )


def _place_those_without_a_point(communes: dict[str, Commune], places: list[Position]) -> None:
    """A département whose points are not shipped takes them from the outlines."""
    now = clock.now()
    bare = [place for place in places if communes[place.code].longitude_deg is None]
    for place in bare:
        commune = communes[place.code]
        commune.longitude_deg = place.longitude_deg
        commune.latitude_deg = place.latitude_deg
        commune.area_km2 = place.area_km2
        commune.updated_at = now
    Commune.objects.bulk_update(
        [communes[place.code] for place in bare],
        [*POSITION_COLUMNS, "updated_at"],
    )
