"""A synthetic delivery with faults, and its report, for who looks at the page."""

from __future__ import annotations


def make() -> None:
    """In a Django process with a database: the campaign `essai-2026`, audited."""
    from souverain.core import access
    from souverain.street import campaigns, delivery_audit
    from souverain.street.models import Panorama
    from souverain.street.tests.drives import drive
    from souverain.street.tests.test_delivery_audit import spoil
    from souverain.street.tests.test_links_records import deliver
    from souverain.territory import roads
    from souverain.territory.engine.synthetic_roads import sample_roads

    class Source:
        provenance = "synthetic"
        departement = "21"

    lattice = sample_roads(5, 4)
    known = roads.Roads((), lattice.network, lattice.classes, lattice.posts, Source())  # type: ignore[arg-type]
    roads.roads = lambda: known
    campaign = campaigns.create(
        access.SYSTEM, "essai-2026", "Essai 2026, secteur nord", provenance="synthetic"
    )
    rows = deliver(campaign, drive(lattice.network))
    spoil(rows)
    Panorama.objects.filter(pk__in=[row.pk for row in rows[3000:3012]]).delete()
    delivery_audit.run(access.SYSTEM, campaign, ["D1", "D2", "D101"])
