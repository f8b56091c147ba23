"""The territory's verbs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from django.db import transaction

from souverain.core import journal
from souverain.core.access import Actor
from souverain.core.models import Organisation
from souverain.core.services import put_organisations
from souverain.territory.engine.decoupage import Departement, read_departement
from souverain.territory.engine.positions import Position, read_positions
from souverain.territory.models import Commune, Epci, FormerCommune

POSITIONS = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Loaded:
    communes: int
    epcis: int
    former_communes: int
    population: int


@transaction.atomic
def load_departement(actor: Actor, number: str, folder: Path) -> Loaded:
    """Create or bring up to date a département, its EPCI and its communes from the folder of
    `@etalab/decoupage-administratif`. Raises `DecoupageError`, in French, naming file and key."""
    read = read_departement(folder, number)
    known = POSITIONS / f"communes-{number}.csv"
    positions = read_positions(known) if known.exists() else {}
    put_organisations(Organisation.Kind.DEPARTEMENT, [(number, read.name, "")])
    _put_epcis(read)
    _put_communes(read, positions)
    _put_former(read)
    loaded = Loaded(
        communes=len(read.communes),
        epcis=len(read.epcis),
        former_communes=len(read.former_communes),
        population=sum(commune.population or 0 for commune in read.communes),
    )
    journal.append(
        actor,
        "territory.loaded",
        organisation=number,
        data={"communes": loaded.communes, "epcis": loaded.epcis},
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
            )
        )
    Commune.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["organisation"],
        update_fields=[
            "name",
            "siren",
            "population",
            "postcodes",
            "arrondissement",
            "epci",
            "longitude_deg",
            "latitude_deg",
            "area_km2",
        ],
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
