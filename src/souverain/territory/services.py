"""The territory's verbs."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import orjson
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
from souverain.territory.engine.projection import lonlat_to_metres, metric_crs
from souverain.territory.engine.roads import ReferencePosts, RoadNetwork, link_lengths_m
from souverain.territory.engine.synthetic_roads import synthetic_roads
from souverain.territory.models import (
    Asset,
    Commune,
    CommuneOutline,
    Epci,
    FormerCommune,
    Provenance,
    ReferencePost,
    RoadLink,
    RoadSource,
)

POSITIONS = Path(__file__).parent / "data"
DISPLAY_TOLERANCE_M = 100.0
COLUMNS = ("name", "siren", "population", "postcodes", "arrondissement", "epci", "updated_at")
POSITION_COLUMNS = ("longitude_deg", "latitude_deg", "area_km2")
LOADED = "territory.loaded"
OUTLINES_IMPORTED = "territory.outlines_imported"
ROADS_IMPORTED = "territory.roads_imported"
ROADS_SYNTHESISED = "territory.roads_synthesised"
POSTS_IMPORTED = "territory.reference_posts_imported"
ROADS_M = {"21": 8_489_000.0}
"""The real length of the roads and cycle routes to survey; elsewhere in proportion to the area."""
ROADS_M_PER_KM2 = 969.0
MAX_ATTRIBUTES_BYTES = 16_384
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


# --- roads -----------------------------------------------------------------------------------------


class RoadsError(ValueError):
    """Roads, posts or an asset cannot be written; the message is French."""


@dataclass(frozen=True)
class Synthesised:
    """What a synthesis made."""

    links: int
    length_m: float
    posts: int
    bridges: int
    roundabouts: int


def synthesise_roads(actor: Actor, departement: str, seed: int) -> Synthesised:
    """Make roads that do not exist between the communes, to try everything before real ones are
    imported; they replace an earlier synthesis. Raises RoadsError when the communes have no
    places, or when real roads are there."""
    number = normalise_number(departement)
    places = [
        place
        for commune in Commune.objects.all()
        if departement_of(commune.code) == number and (place := _position(commune))
    ]
    if len(places) < 3:
        raise RoadsError(f"Le département {number} n'est pas chargé, ou ses communes sans place.")
    communes_m = lonlat_to_metres(
        [place.longitude_deg for place in places],
        [place.latitude_deg for place in places],
        metric_crs(number),
    )
    by_area = ROADS_M_PER_KM2 * sum(place.area_km2 for place in places)
    made = synthetic_roads(communes_m, ROADS_M.get(number, by_area), seed)
    terms = hashlib.sha256(f"{__version__} {number} {seed}".encode() + communes_m.tobytes())
    name = f"Réseau synthétique, graine {seed}"
    with transaction.atomic():
        serialise_writers()
        if real_roads():
            raise RoadsError("De vraies routes sont importées : rien n'est inventé par-dessus.")
        RoadSource.objects.filter(provenance=Provenance.SYNTHETIC).delete()
        for kind, rows in (
            (RoadSource.Kind.ROADS, len(made.classes)),
            (RoadSource.Kind.POSTS, len(made.posts.prs)),
        ):
            source = RoadSource.objects.create(
                kind=kind,
                name=name,
                provenance=Provenance.SYNTHETIC,
                departement=number,
                file_sha256=terms.hexdigest(),
                rows=rows,
            )
            if kind == RoadSource.Kind.ROADS:
                _put_links(source, made.network, made.classes.tolist())
            else:
                _put_posts(source, made.posts, [None] * rows)
        journal.append(
            actor,
            ROADS_SYNTHESISED,
            organisation=number,
            data={"seed": seed, "links": len(made.classes), "posts": len(made.posts.prs)},
        )
    kinds = [crossing.kind for crossing in made.crossings]
    return Synthesised(
        links=len(made.classes),
        length_m=made.length_m,
        posts=len(made.posts.prs),
        bridges=kinds.count("bridge"),
        roundabouts=kinds.count("roundabout"),
    )


def real_roads() -> RoadSource | None:
    """The import whose links are in force, when they are not synthetic."""
    roads = RoadSource.objects.filter(kind=RoadSource.Kind.ROADS)
    return roads.exclude(provenance=Provenance.SYNTHETIC).first()


def _put_links(source: RoadSource, network: RoadNetwork, classes: list[str]) -> None:
    packed = network.vertices_m.astype("<f8")
    columns = (
        network.identifiers.tolist(),
        network.numbers.tolist(),
        classes,
        network.levels.tolist(),
        network.one_way.tolist(),
        network.nodes.tolist(),
        link_lengths_m(network).tolist(),
        network.starts[:-1].tolist(),
        network.starts[1:].tolist(),
    )
    rows = (
        RoadLink(
            source=source,
            identifier=identifier,
            number=number,
            road_class=road_class,
            level=level,
            one_way=one_way,
            start_node=nodes[0],
            end_node=nodes[1],
            length_m=length_m,
            vertices_m=packed[start:stop].tobytes(),
        )
        for identifier, number, road_class, level, one_way, nodes, length_m, start, stop in zip(
            *columns, strict=True
        )
    )
    RoadLink.objects.bulk_create(rows, batch_size=2_000)


def _put_posts(source: RoadSource, posts: ReferencePosts, cumulated_m: list[float | None]) -> None:
    columns = (posts.roads.tolist(), posts.prs.tolist(), posts.sides.tolist(), posts.xy_m.tolist())
    ReferencePost.objects.bulk_create(
        (
            ReferencePost(
                source=source,
                road=road,
                departement=source.departement,
                pr=pr,
                side=side,
                x_m=xy[0],
                y_m=xy[1],
                cumulated_m=cumulated,
            )
            for road, pr, side, xy, cumulated in zip(*columns, cumulated_m, strict=True)
        ),
        batch_size=2_000,
    )


# --- assets ----------------------------------------------------------------------------------------


def put_asset(
    actor: Actor,
    *,
    kind: str,
    x_m: float,
    y_m: float,
    source: str,
    surveyed_at: datetime,
    z_m: float | None = None,
    sigma_xy_m: float | None = None,
    sigma_z_m: float | None = None,
    datum: str = Asset.Datum.UNKNOWN,
    provenance: str = Provenance.MEASURED,
    attributes: Mapping[str, Any] | None = None,
    supersedes: UUID | None = None,
    identifier: UUID | None = None,
) -> Asset:
    """Record an asset at a place (Lambert-93), with its position on the road that is nearest.

    `supersedes`: the asset of which this is a newer survey. Again with the same `identifier`: the
    same asset, nothing written. Raises RoadsError, in French.
    """
    told: dict[str, Any] = {
        "kind": kind,
        "x_m": x_m,
        "y_m": y_m,
        "z_m": z_m,
        "sigma_xy_m": sigma_xy_m,
        "sigma_z_m": sigma_z_m,
        "datum": datum,
        "source": source,
        "provenance": provenance,
        "surveyed_at": surveyed_at,
        "attributes": dict(attributes or {}),
    }
    _check_asset(told)
    with transaction.atomic():
        serialise_writers()
        if identifier and (known := Asset.objects.filter(pk=identifier).first()):
            if any(getattr(known, name) != value for name, value in told.items()):
                raise RoadsError(f"L'équipement {identifier} existe déjà, avec un autre contenu.")
            return known
        older = _in_service(supersedes) if supersedes else None
        if older:
            _end(older, Asset.State.SUPERSEDED)
        asset = Asset.objects.create(
            id=identifier or uuid4(), supersedes=older, **told, **_road_position(x_m, y_m)
        )
        journal.append(
            actor,
            "territory.asset_recorded",
            organisation=_departement_code(),
            object=f"asset:{asset.pk}",
            data={"supersedes": str(supersedes) if supersedes else ""},
        )
    return asset


def retire_asset(actor: Actor, identifier: UUID) -> Asset:
    """The asset is no longer there; its record stays. Raises RoadsError when it is not in
    service."""
    with transaction.atomic():
        serialise_writers()
        asset = _in_service(identifier)
        _end(asset, Asset.State.RETIRED)
        journal.append(
            actor,
            "territory.asset_retired",
            organisation=_departement_code(),
            object=f"asset:{asset.pk}",
        )
    return asset


def _in_service(identifier: UUID) -> Asset:
    asset = Asset.objects.filter(pk=identifier).first()
    if asset is None:
        raise RoadsError(f"Aucun équipement {identifier}.")
    if asset.state != Asset.State.IN_SERVICE:
        state = Asset.State(asset.state).label.lower()
        raise RoadsError(f"L'équipement {identifier} n'est plus en service ({state}).")
    return asset


def _end(asset: Asset, state: Asset.State) -> None:
    asset.state, asset.ended_at = state, clock.now()
    asset.save(update_fields=["state", "ended_at"])


def _departement_code() -> str:
    found = Organisation.objects.filter(kind=Organisation.Kind.DEPARTEMENT).first()
    return found.code if found else ""


def _check_asset(told: Mapping[str, Any]) -> None:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,39}", str(told["kind"])):
        raise RoadsError(
            f"Nature « {str(told['kind'])[:40]} » refusée : minuscules, chiffres, « - », « _ »."
        )
    for name, least, most in (
        ("x_m", -2e6, 2e7),
        ("y_m", -2e7, 2e7),
        ("z_m", -500.0, 9_000.0),
        ("sigma_xy_m", 0.0, 1e4),
        ("sigma_z_m", 0.0, 1e4),
    ):
        value = told[name]
        if value is None and name not in ("x_m", "y_m"):
            continue
        if not (isinstance(value, int | float) and math.isfinite(value) and least <= value <= most):
            raise RoadsError(f"{name} : {value} n'est pas entre {least:g} et {most:g} m.")
    if told["datum"] not in Asset.Datum.values or told["provenance"] not in Provenance.values:
        raise RoadsError("Le système d'altitude ou la provenance n'est pas connu.")
    if not 0 < len(told["source"]) <= 200:
        raise RoadsError("La source manque, ou dépasse 200 caractères.")
    at = told["surveyed_at"]
    if at.tzinfo is None or at > clock.now() + timedelta(days=1):
        raise RoadsError("La date du relevé doit porter un fuseau et n'être pas à venir.")
    try:
        size = len(orjson.dumps(told["attributes"]))
    except TypeError as error:
        raise RoadsError("Les attributs ne sont pas du JSON.") from error
    if size > MAX_ATTRIBUTES_BYTES:
        raise RoadsError(f"Les attributs dépassent {MAX_ATTRIBUTES_BYTES} octets.")


def _road_position(x_m: float, y_m: float) -> dict[str, Any]:
    from souverain.territory import roads  # it reads the verbs that are named here

    position = roads.positions_of(np.array([[x_m, y_m]]))[0]
    if position is None:
        return {}
    return {
        "road": position.road[:40],
        "pr": position.pr,
        "abscissa_m": position.abscissa_m,
        "side": position.side,
        "distance_m": position.distance_m,
    }
