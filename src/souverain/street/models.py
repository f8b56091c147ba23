"""The room's records, written only by `services` and the modules named on each record.

Positions: longitude and latitude are RGF93 degrees, `x_m` and `y_m` Lambert-93 (the département's
metric projection), `z_m` a height in the named `datum`. Headings are from **true** north, as
pictures carry them; `territory.engine.projection.grid_heading` turns them to the grid.
"""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from django.db import models

from souverain.core import clock
from souverain.core.models import Job, Organisation, User


class Datum(models.TextChoices):
    NGF = "NGF-IGN69", "NGF-IGN69"
    ELLIPSOID = "ellipsoid", "ellipsoïde RGF93"
    UNKNOWN = "unknown", "non précisée"


class Campaign(models.Model):
    """A delivery of panoramas, by its name; written by `campaigns`."""

    class State(models.TextChoices):
        RECEIVING = "receiving", "En cours de réception"
        READY = "ready", "À contrôler"
        PUBLISHED = "published", "Publiée"
        WITHDRAWN = "withdrawn", "Retirée"

    class Originals(models.TextChoices):
        KEPT = "kept", "Gardées, sous accès restreint"
        DROPPED = "dropped", "Détruites après le floutage"

    class Provenance(models.TextChoices):
        """Where the pictures come from, shown wherever they are."""

        MEASURED = "measured", "prises sur la route"
        SYNTHETIC = "synthetic", "images de synthèse"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.SlugField(max_length=60, unique=True)
    title = models.CharField(max_length=160)
    organisation = models.ForeignKey(Organisation, models.PROTECT, related_name="+")
    state = models.CharField(max_length=10, choices=State, default=State.RECEIVING)
    provenance = models.CharField(max_length=10, choices=Provenance, default=Provenance.MEASURED)
    originals = models.CharField(max_length=8, choices=Originals, default=Originals.KEPT)
    licence = models.CharField(max_length=80, default="etalab-2.0")
    # Of what it was made (digest of the sources' names); another source is refused or appended.
    source_sha256 = models.CharField(max_length=64, blank=True)
    # What the order asks of the contractor, which the audit checks.
    spacing_m = models.FloatField(default=5.0)
    sigma_xy_limit_m = models.FloatField(default=0.05)
    sigma_heading_limit_deg = models.FloatField(default=0.05)
    # From the antenna to the camera, in the vehicle's frame (x right, y forward, z up), and the
    # camera's mounting angles: applied on the way in, kept so that they can be mended.
    lever_arm_m = models.JSONField(default=list)
    boresight_deg = models.JSONField(default=list)
    created_at = models.DateTimeField(default=clock.now)
    published_at = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["-created_at"]

    def __str__(self) -> str:
        return self.title


class Sequence(models.Model):
    """Panoramas taken one after the other on one drive; STAC's collection. Written by `ingest`."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    campaign = models.ForeignKey(Campaign, models.CASCADE, related_name="sequences")
    ordinal = models.PositiveIntegerField()
    title = models.CharField(max_length=160, blank=True)

    class Meta:
        ordering: ClassVar = ["campaign", "ordinal"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["campaign", "ordinal"], name="street_sequence_ordinal")
        ]


class Panorama(models.Model):
    """One picture of the sphere, where it was taken and how sure that is; written by `ingest`.

    `width` × `height` is the full sphere; `crop` is null, or the part that the picture covers:
    `{"left", "top", "width", "height"}` in its pixels. Sigmas are one standard deviation, null
    when nobody said."""

    class State(models.TextChoices):
        PREPARING = "preparing", "En préparation"
        READY = "ready", "Prête"
        HIDDEN = "hidden", "Masquée"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    campaign = models.ForeignKey(Campaign, models.CASCADE, related_name="panoramas")
    sequence = models.ForeignKey(Sequence, models.CASCADE, related_name="panoramas", null=True)
    rank = models.PositiveIntegerField(default=0)
    state = models.CharField(max_length=10, choices=State, default=State.PREPARING)
    file_name = models.CharField(max_length=255)
    sha256 = models.CharField(max_length=64)
    """Of the picture as it was received."""
    taken_at = models.DateTimeField()
    longitude_deg = models.FloatField()
    latitude_deg = models.FloatField()
    x_m = models.FloatField()
    y_m = models.FloatField()
    z_m = models.FloatField(null=True)
    datum = models.CharField(max_length=12, choices=Datum, default=Datum.UNKNOWN)
    heading_deg = models.FloatField()
    pitch_deg = models.FloatField(default=0.0)
    roll_deg = models.FloatField(default=0.0)
    sigma_xy_m = models.FloatField(null=True)
    sigma_z_m = models.FloatField(null=True)
    sigma_heading_deg = models.FloatField(null=True)
    sigma_tilt_deg = models.FloatField(null=True)
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    crop = models.JSONField(null=True)
    original_key = models.CharField(max_length=200, blank=True)
    original_bytes = models.BigIntegerField(default=0)
    picture_key = models.CharField(max_length=200, blank=True)
    """The blurred picture at full resolution, from which everything else is derived."""
    pyramid_key = models.CharField(max_length=200, blank=True)
    derived_bytes = models.BigIntegerField(default=0)
    version = models.PositiveIntegerField(default=1)
    """Grows each time that its pixels change (a new blur): part of every tile's address."""
    detector = models.CharField(max_length=80, blank=True)
    """What looked for faces and plates, with its version; empty: nobody did."""
    commune = models.CharField(max_length=5, blank=True, db_index=True)
    road = models.CharField(max_length=24, blank=True)
    """The road link's display number, `D971`; with `pr` and `abscissa_m`, the road position."""
    pr = models.IntegerField(null=True)
    abscissa_m = models.FloatField(null=True)
    side = models.CharField(max_length=1, blank=True)

    class Meta:
        ordering: ClassVar = ["campaign", "sequence", "rank"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["campaign", "file_name"], name="street_panorama_file_once"
            )
        ]
        indexes: ClassVar = [
            models.Index(fields=["sequence", "rank"], name="street_panorama_rank"),
            models.Index(fields=["road", "pr"], name="street_panorama_road"),
            models.Index(fields=["longitude_deg", "latitude_deg"], name="street_panorama_box"),
            models.Index(fields=["taken_at", "id"], name="street_panorama_taken"),
            # All that says whether the index of `finding` is up to date, without the rows.
            models.Index(
                fields=["campaign", "state", "rank", "x_m", "y_m"], name="street_panorama_place"
            ),
        ]


class RejectedPicture(models.Model):
    """A picture of a delivery that could not be taken, and the reason in French."""

    campaign = models.ForeignKey(Campaign, models.CASCADE, related_name="rejected")
    file_name = models.CharField(max_length=255)
    reason = models.CharField(max_length=400)
    at = models.DateTimeField(default=clock.now)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["campaign", "file_name"], name="street_rejected_file_once"
            )
        ]


class BlurredBox(models.Model):
    """A part of a panorama whose pixels were replaced, in pixels of the picture as received.
    Written by `privacy`."""

    class Kind(models.TextChoices):
        FACE = "face", "Visage"
        PLATE = "plate", "Plaque d'immatriculation"
        MANUAL = "manual", "Zone dessinée"
        REQUEST = "request", "Demande d'un habitant"

    panorama = models.ForeignKey(Panorama, models.CASCADE, related_name="boxes")
    kind = models.CharField(max_length=8, choices=Kind)
    x = models.PositiveIntegerField()
    y = models.PositiveIntegerField()
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    score = models.FloatField(null=True)
    request = models.ForeignKey("BlurRequest", models.SET_NULL, null=True, related_name="boxes")
    at = models.DateTimeField(default=clock.now)


class BlurRequest(models.Model):
    """A resident's « floutez-moi » or « floutez ma maison », and what was done of it; written by
    `privacy`. `contact` is erased when the answer was given; `receipt` names every object that
    was replaced, with its digests before and after."""

    class Subject(models.TextChoices):
        PERSON = "person", "Une personne"
        HOUSE = "house", "Une maison"
        VEHICLE = "vehicle", "Un véhicule"
        OTHER = "other", "Autre chose"

    class State(models.TextChoices):
        RECEIVED = "received", "Reçue"
        DONE = "done", "Faite"
        REFUSED = "refused", "Refusée"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    code = models.CharField(max_length=16, unique=True)
    """What the resident follows the request by."""
    panorama = models.ForeignKey(Panorama, models.SET_NULL, null=True, related_name="requests")
    subject = models.CharField(max_length=8, choices=Subject)
    yaw_deg = models.FloatField()
    elevation_deg = models.FloatField()
    width_deg = models.FloatField()
    height_deg = models.FloatField()
    message = models.CharField(max_length=1000, blank=True)
    contact = models.CharField(max_length=254, blank=True)
    state = models.CharField(max_length=8, choices=State, default=State.RECEIVED)
    received_at = models.DateTimeField(default=clock.now)
    answered_at = models.DateTimeField(null=True)
    answer = models.CharField(max_length=1000, blank=True)
    receipt = models.JSONField(null=True)


class PanoramaLink(models.Model):
    """From a panorama to one that can be walked to; written by `links`."""

    origin = models.ForeignKey(Panorama, models.CASCADE, related_name="links")
    target = models.ForeignKey(Panorama, models.CASCADE, related_name="+")
    along = models.BooleanField()
    """True along a road, False where one turns at a crossing."""

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["origin", "target"], name="street_link_once")
        ]


class Item(models.Model):
    """Something by the road that somebody pointed at: a sign, a defect, an asset. Position with
    its covariance (metres squared: xx, xy, xz, yy, yz, zz). Written by `inventory`."""

    class State(models.TextChoices):
        DRAFT = "draft", "À vérifier"
        CONFIRMED = "confirmed", "Confirmé"
        PLANNED = "planned", "Travaux prévus"
        REPAIRED = "repaired", "Réparé"
        GONE = "gone", "Disparu"

    class Method(models.TextChoices):
        """How the position is known."""

        RAYS = "rays", "Visée depuis plusieurs vues"
        ROAD = "road", "Visée sur la route"
        HAND = "hand", "Saisi à la main"
        DETECTED = "detected", "Trouvé par un détecteur"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    campaign = models.ForeignKey(Campaign, models.PROTECT, related_name="items", null=True)
    kind = models.CharField(max_length=40)
    state = models.CharField(max_length=10, choices=State, default=State.DRAFT)
    method = models.CharField(max_length=8, choices=Method)
    longitude_deg = models.FloatField()
    latitude_deg = models.FloatField()
    x_m = models.FloatField()
    y_m = models.FloatField()
    z_m = models.FloatField(null=True)
    datum = models.CharField(max_length=12, choices=Datum, default=Datum.UNKNOWN)
    covariance_m2 = models.JSONField(null=True)
    road = models.CharField(max_length=24, blank=True)
    pr = models.IntegerField(null=True)
    abscissa_m = models.FloatField(null=True)
    side = models.CharField(max_length=1, blank=True)
    commune = models.CharField(max_length=5, blank=True, db_index=True)
    attributes = models.JSONField(default=dict)
    surveyed_at = models.DateTimeField()
    created_at = models.DateTimeField(default=clock.now)
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    asset = models.UUIDField(null=True)
    """The asset of `territory` that this item became or confirmed."""
    detector = models.CharField(max_length=80, blank=True)


class Sighting(models.Model):
    """An item as it is seen in one panorama: the ray that points at it."""

    item = models.ForeignKey(Item, models.CASCADE, related_name="sightings")
    panorama = models.ForeignKey(Panorama, models.CASCADE, related_name="sightings")
    yaw_deg = models.FloatField()
    elevation_deg = models.FloatField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["item", "panorama"], name="street_sighting_once")
        ]


class ItemEvent(models.Model):
    """One line of an item's history: a state, a note, a photo, a work order. Never changed."""

    item = models.ForeignKey(Item, models.CASCADE, related_name="history")
    at = models.DateTimeField(default=clock.now)
    by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    state = models.CharField(max_length=10, choices=Item.State)
    note = models.CharField(max_length=1000, blank=True)
    photo_key = models.CharField(max_length=200, blank=True)
    undoes = models.OneToOneField("self", models.PROTECT, null=True, related_name="undone_by")

    class Meta:
        ordering: ClassVar = ["at", "pk"]

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise TypeError("the history of an item is never changed")
        super().save(*args, **kwargs)


class WorkOrder(models.Model):
    """Work asked on some items, by when and to whom; written by `inventory`."""

    class State(models.TextChoices):
        OPEN = "open", "À faire"
        DONE = "done", "Fait"
        CANCELLED = "cancelled", "Annulé"

    number = models.BigAutoField(primary_key=True)
    title = models.CharField(max_length=160)
    assignee = models.CharField(max_length=160, blank=True)
    due_on = models.DateField(null=True)
    state = models.CharField(max_length=10, choices=State, default=State.OPEN)
    items = models.ManyToManyField(Item, related_name="work_orders")
    created_at = models.DateTimeField(default=clock.now)
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    closed_at = models.DateTimeField(null=True)


class Measurement(models.Model):
    """What somebody measured between points, kept with its sigma. `points` lists
    `{x_m, y_m, z_m, covariance_m2, rays}`; `value` is in metres or square metres."""

    class Kind(models.TextChoices):
        POINT = "point", "Position"
        DISTANCE = "distance", "Distance"
        WIDTH = "width", "Largeur"
        HEIGHT = "height", "Hauteur"
        AREA = "area", "Surface"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=8, choices=Kind)
    label = models.CharField(max_length=160, blank=True)
    value = models.FloatField(null=True)
    sigma = models.FloatField(null=True)
    points = models.JSONField()
    method = models.CharField(max_length=8, choices=Item.Method)
    datum = models.CharField(max_length=12, choices=Datum, default=Datum.UNKNOWN)
    at = models.DateTimeField(default=clock.now)
    by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")


class Tour(models.Model):
    """A stroll for visitors: an order of panoramas with a few words at each; written by `tours`."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    slug = models.SlugField(max_length=60, unique=True)
    title = models.CharField(max_length=160)
    summary = models.CharField(max_length=400, blank=True)
    published = models.BooleanField(default=False)

    class Meta:
        ordering: ClassVar = ["title"]


class TourStop(models.Model):
    tour = models.ForeignKey(Tour, models.CASCADE, related_name="stops")
    rank = models.PositiveIntegerField()
    panorama = models.ForeignKey(Panorama, models.CASCADE, related_name="+")
    yaw_deg = models.FloatField(default=0.0)
    elevation_deg = models.FloatField(default=0.0)
    title = models.CharField(max_length=160)
    text = models.CharField(max_length=1000, blank=True)

    class Meta:
        ordering: ClassVar = ["tour", "rank"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tour", "rank"], name="street_stop_rank")
        ]


class Delivery(models.Model):
    """A job that works on a campaign: receiving it, blurring it, auditing it."""

    campaign = models.ForeignKey(Campaign, models.CASCADE, related_name="deliveries")
    job = models.ForeignKey(Job, models.SET_NULL, null=True, related_name="+")
    report = models.JSONField(null=True)
    at = models.DateTimeField(default=clock.now)


class UploadSet(models.Model):
    """A campaign that a client of Panoramax sends, file by file; written by `uploads`."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    campaign = models.OneToOneField(Campaign, models.CASCADE, related_name="upload_set")
    user = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    estimated_files = models.PositiveIntegerField(null=True)
    created_at = models.DateTimeField(default=clock.now)
    completed_at = models.DateTimeField(null=True)
    """When its sender said that all is there; null again when another file comes."""
    job = models.ForeignKey(Job, models.SET_NULL, null=True, related_name="+")


class UploadedFile(models.Model):
    """A file of an upload set, as it came. One that was refused on arrival was not kept."""

    upload_set = models.ForeignKey(UploadSet, models.CASCADE, related_name="files")
    file_name = models.CharField(max_length=255)
    size = models.BigIntegerField()
    content_md5 = models.CharField(max_length=32)
    """Panoramax's clients compare it with theirs; `sha256` is what we trust."""
    sha256 = models.CharField(max_length=64, db_index=True)
    received_at = models.DateTimeField(default=clock.now)
    refused_as = models.CharField(max_length=40, blank=True)
    """Panoramax's word for the reason; empty: kept."""
    refusal = models.CharField(max_length=400, blank=True)

    class Meta:
        ordering: ClassVar = ["pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["upload_set", "file_name"], name="street_upload_once")
        ]
