"""Opening the vector files that an operator brings (GDAL through pyogrio): what is checked before
anything in them is read. Nothing in a file is run or followed."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyogrio
import pyproj
from pyogrio.errors import CRSError as LayerCRSError
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError, FieldError, GeometryError
from pyproj.exceptions import CRSError, ProjError

from souverain.territory.engine.projection import RGF93

UNREADABLE = (
    DataSourceError,
    DataLayerError,
    FeatureError,
    FieldError,
    GeometryError,
    LayerCRSError,
    UnicodeDecodeError,
)

# A GeoJSON may name an address as its projection, which GDAL would ask for over the network, past
# the program's egress list: through a proxy of no known kind, nothing leaves the process.
pyogrio.set_gdal_config_options({"GDAL_HTTP_PROXY": "refused://egress"})


class VectorFileError(ValueError):
    """The file is refused. The message, in French, says what and how to mend it."""


@dataclass(frozen=True, slots=True)
class Format:
    """A file format: GDAL's name of it, what the file begins with (`at` bytes in), its greatest
    size. `is_indexed`: rows can be read by their number."""

    driver: str
    max_bytes: int
    signature: bytes
    at: int = 0
    is_indexed: bool = False


_JSON = Format("GeoJSON", 512 << 20, b"{")
FORMATS = {
    ".gpkg": Format("GPKG", 4 << 30, b"SQLite format 3\0", is_indexed=True),
    ".shp": Format("ESRI Shapefile", 2 << 30, b"\x00\x00\x27\x0a", is_indexed=True),
    ".geojson": _JSON,
    ".json": _JSON,
    ".pbf": Format("OSM", 2 << 30, b"\n\tOSMHeader", at=4),
    ".osm": Format("OSM", 2 << 30, b"<"),
    ".csv": Format("CSV", 512 << 20, b""),
}


@contextmanager
def offline() -> Iterator[None]:
    """No host is an exception to GDAL's proxy, whatever the machine's environment says."""
    exceptions = {name: os.environ.pop(name, None) for name in ("no_proxy", "NO_PROXY")}
    try:
        yield
    finally:
        os.environ.update({name: value for name, value in exceptions.items() if value is not None})


def check_file(path: Path, suffixes: Sequence[str]) -> None:
    """Refuse what is not a plain file of one of these formats. Raises VectorFileError."""
    suffix = path.suffix.lower()
    if suffix not in suffixes:
        named = [known for known in suffixes if known != ".json"]
        raise VectorFileError(
            f"{path.name} : format inconnu ; donnez un fichier "
            f"{', '.join(named[:-1])} ou {named[-1]}"
        )
    form = FORMATS[suffix]
    if set(str(path)) & set("!;\n\r"):
        raise VectorFileError(
            f"{path.name} : renommez le fichier ou son dossier sans « ! », « ; » ni saut de ligne"
        )
    if path.exists() and not path.is_file():
        raise VectorFileError(f"{path.name} : ce n'est pas un fichier ordinaire")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise VectorFileError(f"{path.name} : lecture impossible ({error.strerror})") from error
    if size > form.max_bytes:
        raise VectorFileError(f"{path.name} : plus de {form.max_bytes >> 20} Mio, refusé")
    if form.at == 0 and not form.is_indexed:
        head = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not head.startswith(form.signature, form.at):
        raise VectorFileError(f"{path.name} : le contenu n'est pas celui d'un fichier {suffix}")
    if suffix == ".gpkg":
        _check_geopackage(path)


def _check_geopackage(path: Path) -> None:
    """A GeoPackage is a database: a view in it would be computed while it is read, without end if
    its author so wished. Only plain tables and spatial indexes (R-tree) are read."""
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            computed = database.execute(
                "SELECT name FROM sqlite_master WHERE type = 'view' OR (type = 'table'"
                " AND sql LIKE 'CREATE VIRTUAL%' AND sql NOT LIKE '%USING rtree%')"
            ).fetchone()
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise unreadable(path, error) from error
    if computed:
        raise VectorFileError(
            f"{path.name} : « {str(computed[0])[:80]} » est une vue, pas une table ; "
            "exportez la couche utile dans un nouveau fichier"
        )


def unreadable(path: Path, error: Exception) -> VectorFileError:
    """The refusal of a file that GDAL or SQLite cannot read."""
    return VectorFileError(f"{path.name} : fichier illisible ou tronqué ({str(error)[:200]})")


def declared_crs(path: Path, layer: str) -> pyproj.CRS:
    """The declared projection. WGS84 degrees are taken as RGF93, as everywhere in the program."""
    declared = pyogrio.read_info(path, layer=layer)["crs"]
    if not declared:
        hint = " (le fichier .prj manque)" if path.suffix.lower() == ".shp" else ""
        raise VectorFileError(
            f"{path.name}, couche « {layer} » : projection non déclarée{hint} ; "
            "déclarez-la, par exemple EPSG:2154 (Lambert-93)"
        )
    try:
        crs = pyproj.CRS.from_user_input(declared)
        if not (crs.is_geographic or crs.is_projected) or crs.is_geocentric:
            raise CRSError("neither geographic nor projected")
        pyproj.Transformer.from_crs(crs, RGF93, always_xy=True)
    except (CRSError, ProjError) as error:
        raise VectorFileError(
            f"{path.name}, couche « {layer} » : projection « {str(declared)[:80]} » inutilisable ; "
            "convertissez le fichier en Lambert-93 (EPSG:2154)"
        ) from error
    return pyproj.CRS.from_epsg(RGF93) if crs.to_epsg() == 4326 else crs
