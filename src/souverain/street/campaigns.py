"""Campaigns: opened, published, withdrawn."""

from __future__ import annotations

import re
from typing import Any

from django.db import transaction

from souverain.core import clock, events, journal
from souverain.core.access import Actor
from souverain.core.models import Organisation
from souverain.street.models import Campaign, Panorama

_NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


class CampaignError(ValueError):
    """What was asked of a campaign cannot be; the message is a French sentence."""


def find(name: str) -> Campaign:
    """Raises CampaignError."""
    found = Campaign.objects.filter(name=name).first()
    if found is None:
        raise CampaignError(f"Il n'y a pas de campagne « {name} ».")
    return found


@transaction.atomic
def create(actor: Actor, name: str, title: str = "", **terms: Any) -> Campaign:
    """Open a campaign under a name that no other has. Raises CampaignError."""
    if not _NAME.fullmatch(name) or len(name) > 60:
        raise CampaignError(
            f"« {name} » ne peut pas nommer une campagne : lettres minuscules sans accent, "
            "chiffres et tirets, 60 caractères au plus."
        )
    if Campaign.objects.filter(name=name).exists():
        raise CampaignError(f"La campagne « {name} » existe déjà.")
    owner = Organisation.objects.get(kind=Organisation.Kind.DEPARTEMENT)
    campaign = Campaign.objects.create(name=name, title=title or name, organisation=owner, **terms)
    journal.append(
        actor, "street.campaign_created", organisation=owner.code, object=f"campaign:{campaign.pk}"
    )
    return campaign


@transaction.atomic
def publish(actor: Actor, campaign: Campaign) -> None:
    """Show its panoramas to everybody. Raises CampaignError when it is still received, or when a
    picture was not looked at for faces and plates."""
    if campaign.state == Campaign.State.RECEIVING:
        raise CampaignError("La réception de cette campagne n'est pas terminée.")
    ready = campaign.panoramas.filter(state=Panorama.State.READY)
    if not ready.exists():
        raise CampaignError("Cette campagne n'a aucune image prête.")
    bare = ready.filter(detector="").count()
    if bare and campaign.provenance == Campaign.Provenance.MEASURED:
        raise CampaignError(
            f"{bare} images n'ont pas été contrôlées (visages, plaques) : floutez-les d'abord."
        )
    campaign.state, campaign.published_at = Campaign.State.PUBLISHED, clock.now()
    campaign.save(update_fields=["state", "published_at"])
    journal.append(
        actor,
        "street.campaign_published",
        organisation=campaign.organisation.code,
        object=f"campaign:{campaign.pk}",
        data={"panoramas": ready.count()},
    )
    events.emit("street.campaign_published", payload={"campaign": campaign.name})


@transaction.atomic
def withdraw(actor: Actor, campaign: Campaign) -> None:
    """Show it to nobody but those who work on it. It can be published again. Raises CampaignError
    when it is not published: one that is received would pass for one that can be."""
    published = Campaign.objects.filter(pk=campaign.pk, state=Campaign.State.PUBLISHED)
    if not published.update(state=Campaign.State.WITHDRAWN):
        raise CampaignError("Cette campagne n'est pas publiée.")
    campaign.state = Campaign.State.WITHDRAWN
    journal.append(
        actor,
        "street.campaign_withdrawn",
        organisation=campaign.organisation.code,
        object=f"campaign:{campaign.pk}",
    )
