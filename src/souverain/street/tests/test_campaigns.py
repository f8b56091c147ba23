"""A campaign is opened, published and withdrawn."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from souverain.core import access
from souverain.core.models import Event
from souverain.street import campaigns
from souverain.street.models import Campaign, Panorama

Make = Callable[..., Panorama]


def test_a_name_is_taken_once(campaign: Campaign) -> None:
    with pytest.raises(campaigns.CampaignError, match="existe déjà"):
        campaigns.create(access.SYSTEM, campaign.name)


@pytest.mark.parametrize("name", ["", "Été 2026", "../x", "a" * 61, "-a", "a--b"])
def test_a_name_is_plain(campaign: Campaign, name: str) -> None:
    with pytest.raises(campaigns.CampaignError, match="ne peut pas nommer"):
        campaigns.create(access.SYSTEM, name)


def test_nothing_is_published_that_nobody_looked_at(campaign: Campaign, panorama: Make) -> None:
    campaign.state = Campaign.State.READY
    with pytest.raises(campaigns.CampaignError, match="aucune image"):
        campaigns.publish(access.SYSTEM, campaign)
    panorama()
    bare = panorama(detector="")
    with pytest.raises(campaigns.CampaignError, match="1 images n'ont pas"):
        campaigns.publish(access.SYSTEM, campaign)
    bare.detector = "centerface"
    bare.save()
    campaigns.publish(access.SYSTEM, campaign)
    campaign.refresh_from_db()
    assert campaign.state == Campaign.State.PUBLISHED and campaign.published_at
    assert Event.objects.get(name="street.campaign_published").payload == {
        "campaign": campaign.name
    }
    campaigns.withdraw(access.SYSTEM, campaign)
    campaign.refresh_from_db()
    assert campaign.state == Campaign.State.WITHDRAWN


def test_what_is_still_received_is_not_published(campaign: Campaign, panorama: Make) -> None:
    panorama()
    with pytest.raises(campaigns.CampaignError, match="n'est pas terminée"):
        campaigns.publish(access.SYSTEM, campaign)
    # Nor by way of a withdrawal: what comes next may be pictures that nobody looked at.
    with pytest.raises(campaigns.CampaignError, match="n'est pas publiée"):
        campaigns.withdraw(access.SYSTEM, campaign)
    campaign.refresh_from_db()
    assert campaign.state == Campaign.State.RECEIVING
