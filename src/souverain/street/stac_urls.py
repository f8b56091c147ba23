"""The STAC API's addresses, those of Panoramax: `/street/api/…`."""

from django.urls import path

from souverain.street import stac_views as views
from souverain.street import upload_views

urlpatterns = [
    path("", views.landing, name="stac"),
    path("conformance", views.conformance, name="stac_conformance"),
    path("docs/specs.json", views.description, name="stac_description"),
    path("configuration", views.configuration, name="stac_configuration"),
    path("collections", views.collections, name="stac_collections"),
    path("collections/<uuid:pk>", views.collection, name="stac_collection"),
    path(
        "collections/<uuid:pk>/thumb.jpg", views.collection_thumbnail, name="stac_collection_thumb"
    ),
    path(
        "collections/<uuid:pk>/geovisio_status",
        views.collection_status,
        name="stac_collection_status",
    ),
    path("collections/<uuid:pk>/items", views.collection_items, name="stac_items"),
    path("collections/<uuid:pk>/items/<uuid:item>", views.collection_item, name="stac_item"),
    path("search", views.search, name="stac_search"),
    path("pictures/<uuid:pk>", views.picture_item, name="stac_picture_item"),
    *(
        path(f"pictures/<uuid:pk>/{size}.jpg", views.picture, {"size": size}, name=f"stac_{size}")
        for size in ("hd", "sd", "thumb")
    ),
    path(
        "pictures/<uuid:pk>/tiled/<int:column>_<int:row>.jpg", views.tile, name="stac_picture_tile"
    ),
    path("map/style.json", views.map_style, name="stac_map_style"),
    path("map/<int:z>/<int:x>/<int:y>.mvt", views.map_tile, name="stac_map_tile"),
    path("users/", views.users, name="stac_users"),
    path("users/me", upload_views.me, name="stac_me"),
    path("users/me/collection", upload_views.my_collection, name="stac_my_collection"),
    path("users/me/catalog", upload_views.my_catalog, name="stac_my_catalog"),
    path("users/me/upload_sets", upload_views.my_upload_sets, name="stac_my_upload_sets"),
    path("upload_sets", upload_views.open_set, name="stac_upload_sets"),
    path("upload_sets/<uuid:pk>", upload_views.upload_set, name="stac_upload_set"),
    path("upload_sets/<uuid:pk>/files", upload_views.files, name="stac_upload_files"),
    path("upload_sets/<uuid:pk>/complete", upload_views.complete, name="stac_upload_complete"),
    path("users/search", views.users_search, name="stac_users_search"),
    path("users/<uuid:pk>", views.user, name="stac_user"),
    path("users/<uuid:pk>/collection", views.user_collection, name="stac_user_collection"),
    path("users/<uuid:pk>/catalog/", views.user_catalog, name="stac_user_catalog"),
    path("<path:rest>", views.not_served, name="stac_not_served"),
]
