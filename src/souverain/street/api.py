"""The room's JSON API, one router for each part."""

from ninja import Router

from souverain.street import viewer_api

router = Router()
router.add_router("", viewer_api.router)
