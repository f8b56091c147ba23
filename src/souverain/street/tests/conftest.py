"""A campaign and panoramas as records, for what does not need their pixels."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from souverain.core import access
from souverain.core.models import Organisation
from souverain.street import campaigns
from souverain.street.models import Campaign, Panorama
from souverain.territory.engine import projection

DIJON = (5.0415, 47.3220)
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture
def campaign(db: None) -> Campaign:
    Organisation.objects.get_or_create(
        code="21", defaults={"kind": Organisation.Kind.DEPARTEMENT, "name": "Côte-d'Or"}
    )
    return campaigns.create(access.SYSTEM, "essai-2026", "Essai 2026")


@pytest.fixture
def panorama(campaign: Campaign) -> Callable[..., Panorama]:
    """Makes a ready panorama, `east_m`, `north_m` from the middle of Dijon."""
    x0, y0 = projection.lonlat_to_metres([DIJON[0]], [DIJON[1]])[0]

    def make(east_m: float = 0.0, north_m: float = 0.0, **fields: Any) -> Panorama:
        import numpy as np

        x, y = x0 + east_m, y0 + north_m
        longitude, latitude = projection.metres_to_lonlat(np.array([[x, y]]))[0]
        number = Panorama.objects.filter(campaign=campaign).count()
        return Panorama.objects.create(
            **{
                "campaign": campaign,
                "file_name": f"{number:06}.jpg",
                "sha256": f"{number:064x}",
                "state": Panorama.State.READY,
                "detector": "essai",
                "rank": number,
                "taken_at": NOON + timedelta(seconds=number),
                "longitude_deg": longitude,
                "latitude_deg": latitude,
                "x_m": x,
                "y_m": y,
                "heading_deg": 0.0,
                "width": 5760,
                "height": 2880,
                **fields,
            }
        )

    return make


@pytest.fixture(scope="session")
def street_data() -> Path:
    """Real panoramas, which are not part of the project."""
    folder = Path(os.environ.get("SOUVERAIN_TEST_DATA") or settings.PROJECT / "../shared/data")
    if not (folder / "street").is_dir():
        message = f"SOUVERAIN_TEST_DATA: {folder / 'street'} is missing"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return folder / "street"
