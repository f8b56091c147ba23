"""The territory's records, written only by `territory.services`."""

from __future__ import annotations

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
