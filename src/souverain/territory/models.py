"""The territory's records, written only by `territory.services`."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models

from souverain.core import clock
from souverain.core.models import Organisation


class Epci(models.Model):
    """An intercommunalité, by its SIREN."""

    organisation = models.OneToOneField(Organisation, models.PROTECT, primary_key=True)
    kind = models.CharField(max_length=8)
    population = models.PositiveIntegerField()


class Commune(models.Model):
    """A commune of today, by its INSEE code. Position: RGF93 degrees; area: km²."""

    organisation = models.OneToOneField(
        Organisation, models.PROTECT, primary_key=True, related_name="commune"
    )
    code = models.CharField(max_length=5, unique=True)
    name = models.CharField(max_length=160)
    siren = models.CharField(max_length=9, blank=True)
    population = models.PositiveIntegerField(null=True)
    postcodes = models.JSONField(default=list)
    arrondissement = models.CharField(max_length=80, blank=True)
    epci = models.ForeignKey(Epci, models.PROTECT, null=True, related_name="communes")
    longitude_deg = models.FloatField(null=True)
    latitude_deg = models.FloatField(null=True)
    area_km2 = models.FloatField(null=True)
    updated_at = models.DateTimeField(default=clock.now)

    class Meta:
        ordering: ClassVar = ["code"]

    def __str__(self) -> str:
        return self.name


class FormerCommune(models.Model):
    """A commune that was merged into another one, by its old INSEE code."""

    code = models.CharField(primary_key=True, max_length=5)
    name = models.CharField(max_length=160, blank=True)
    kind = models.CharField(max_length=40)
    successor = models.ForeignKey(Commune, models.CASCADE, related_name="former_communes")


class CommuneOutline(models.Model):
    """A commune's real outline, imported by the operator: WKB polygons in RGF93 degrees, whole
    and lightened for maps. Provenance: `source` as the operator names it, the file's SHA-256."""

    commune = models.OneToOneField(
        Commune, models.CASCADE, primary_key=True, related_name="outline"
    )
    geometry = models.BinaryField()
    display = models.BinaryField()
    area_km2 = models.FloatField()
    source = models.CharField(max_length=200)
    file_sha256 = models.CharField(max_length=64)
    imported_at = models.DateTimeField(default=clock.now)


class Provenance(models.TextChoices):
    """Where roads and assets come from, shown wherever they are."""

    MEASURED = "measured", "relevé sur place"
    DECLARED = "declared", "déclaré par un fichier"
    SYNTHETIC = "synthetic", "synthétique, pour essai"


class RoadSource(models.Model):
    """A file of roads or of reference posts that was imported, or a synthesis. The links and posts
    in force belong to one; another import of the same kind replaces it."""

    class Kind(models.TextChoices):
        ROADS = "roads", "Routes"
        POSTS = "reference-posts", "Points de repère"

    kind = models.CharField(max_length=16, choices=Kind)
    name = models.CharField(max_length=200)
    provenance = models.CharField(max_length=10, choices=Provenance)
    departement = models.CharField(max_length=3)
    file_sha256 = models.CharField(max_length=64)
    """Of the file; of the terms of the synthesis."""
    rows = models.PositiveIntegerField()
    left_out = models.PositiveIntegerField(default=0)
    imported_at = models.DateTimeField(default=clock.now)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["kind", "provenance"],
                condition=models.Q(provenance="synthetic"),
                name="territory_one_synthesis",
            )
        ]


class RoadLink(models.Model):
    """A piece of road between two nodes. Links meet only where they share one."""

    class RoadClass(models.TextChoices):
        MOTORWAY = "motorway", "Autoroute"
        NATIONAL = "national", "Route nationale"
        DEPARTMENTAL = "departmental", "Route départementale"
        COMMUNAL = "communal", "Voie communale"
        CYCLEWAY = "cycleway", "Voie cyclable"
        TRACK = "track", "Chemin"
        OTHER = "other", "Autre voie"

    source = models.ForeignKey(RoadSource, models.CASCADE, related_name="links")
    identifier = models.CharField(max_length=40)
    number = models.CharField(max_length=24, blank=True, db_index=True)
    road_class = models.CharField(max_length=12, choices=RoadClass)
    level = models.SmallIntegerField(default=0)
    one_way = models.SmallIntegerField(default=0)
    start_node = models.BigIntegerField()
    end_node = models.BigIntegerField()
    length_m = models.FloatField()
    vertices_m = models.BinaryField()
    """Little-endian float64 triples: Lambert-93 easting, northing, height (NaN: unknown)."""


class ReferencePost(models.Model):
    """A reference post (PR) where it stands, Lambert-93. `side`: D or G on a separate carriageway,
    C otherwise; `cumulated_m`: metres from the road's beginning, as its source says."""

    source = models.ForeignKey(RoadSource, models.CASCADE, related_name="posts")
    road = models.CharField(max_length=24)
    departement = models.CharField(max_length=3)
    pr = models.PositiveIntegerField()
    side = models.CharField(max_length=1)
    x_m = models.FloatField()
    y_m = models.FloatField()
    cumulated_m = models.FloatField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["source", "road", "pr", "side"], name="territory_post_once"
            )
        ]


class Asset(models.Model):
    """Something of the road that the département keeps (a sign, a drain, a barrier): where it is
    and how surely, who surveyed it and when. A new survey makes a new asset that supersedes."""

    class State(models.TextChoices):
        IN_SERVICE = "in-service", "En service"
        SUPERSEDED = "superseded", "Remplacé par un relevé plus récent"
        RETIRED = "retired", "Déposé"

    class Datum(models.TextChoices):
        NGF = "NGF-IGN69", "NGF-IGN69"
        ELLIPSOID = "ellipsoid", "ellipsoïde RGF93"
        UNKNOWN = "unknown", "non précisée"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=40, db_index=True)
    state = models.CharField(max_length=10, choices=State, default=State.IN_SERVICE)
    x_m = models.FloatField()
    y_m = models.FloatField()
    z_m = models.FloatField(null=True)
    sigma_xy_m = models.FloatField(null=True)
    sigma_z_m = models.FloatField(null=True)
    datum = models.CharField(max_length=12, choices=Datum, default=Datum.UNKNOWN)
    road = models.CharField(max_length=40, blank=True, db_index=True)
    pr = models.IntegerField(null=True)
    abscissa_m = models.FloatField(null=True)
    side = models.CharField(max_length=1, blank=True)
    distance_m = models.FloatField(null=True)
    """From the road's axis."""
    source = models.CharField(max_length=200)
    provenance = models.CharField(max_length=10, choices=Provenance)
    surveyed_at = models.DateTimeField()
    attributes = models.JSONField(default=dict)
    supersedes = models.OneToOneField(
        "self", models.PROTECT, null=True, related_name="superseded_by"
    )
    recorded_at = models.DateTimeField(default=clock.now)
    ended_at = models.DateTimeField(null=True)
    """When it was superseded or retired."""

    class Meta:
        ordering: ClassVar = ["recorded_at", "id"]
