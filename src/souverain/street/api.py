"""The room's operations under `/api/street/`: one module for each part of the room."""

from __future__ import annotations

from ninja import Router

from souverain.street import finding_api, inventory_api, measure_api, viewer_api

router = Router()
router.add_router("", finding_api.router)
router.add_router("", viewer_api.router)
router.add_router("", inventory_api.router)
router.add_router("", measure_api.router)
