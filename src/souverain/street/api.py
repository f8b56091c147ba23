"""The room's JSON API, one router for each part."""

from ninja import Router

from souverain.street import inventory_api

router = Router()
router.add_router("", inventory_api.router)
