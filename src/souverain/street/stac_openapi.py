"""What the STAC API says of itself (OpenAPI), and why it has not all that Panoramax has."""

from __future__ import annotations

import re
from typing import Any

from souverain.street import stac

_PATHS: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("get", "", "Page d'accueil (catalogue STAC)", ()),
    ("get", "conformance", "Classes de conformité", ()),
    ("get", "configuration", "Ce que les clients de Panoramax demandent d'abord", ()),
    ("get", "collections", "Les séquences publiées", ("limit", "token")),
    ("get", "collections/{collectionId}", "Une séquence", ()),
    ("get", "collections/{collectionId}/thumb.jpg", "Vignette d'une séquence", ()),
    ("get", "collections/{collectionId}/geovisio_status", "État de chaque image", ()),
    ("get", "collections/{collectionId}/items", "Les images d'une séquence, dans l'ordre",
     ("limit", "startAfterRank", "withPicture", "bbox", "datetime")),
    ("get", "collections/{collectionId}/items/{itemId}", "Une image", ()),
    ("get", "search", "Recherche d'images",
     ("bbox", "intersects", "datetime", "ids", "collections", "limit", "token", "sortby",
      "place_position", "place_distance")),
    ("post", "search", "Recherche d'images, en JSON", ()),
    ("get", "pictures/{pictureId}", "Une image", ()),
    ("get", "pictures/{pictureId}/{size}.jpg", "Image entière (hd), réduite (sd) ou vignette", ()),
    ("get", "pictures/{pictureId}/tiled/{column}_{row}.jpg", "Tuile de l'image entière", ()),
    ("get", "map/style.json", "Style MapLibre", ()),
    ("get", "map/{z}/{x}/{y}.mvt", "Tuile vectorielle", ()),
    ("get", "users/", "Les producteurs", ()),
    ("get", "users/search", "Recherche d'un producteur", ("q",)),
    ("get", "users/{userId}", "Un producteur", ()),
    ("get", "users/{userId}/collection", "Les séquences d'un producteur", ("limit", "token")),
    ("get", "users/{userId}/catalog/", "Les séquences d'un producteur", ()),
    ("get", "users/me", "Le porteur du jeton", ()),
    ("get", "users/me/collection", "Les séquences que le porteur du jeton a envoyées",
     ("limit", "token")),
    ("get", "users/me/catalog", "Les mêmes", ()),
    ("get", "users/me/upload_sets", "Les envois du porteur du jeton", ("limit",)),
    ("post", "upload_sets", "Ouvrir un envoi : une campagne en réception", ()),
    ("get", "upload_sets/{uploadSetId}", "Où en est un envoi", ()),
    ("get", "upload_sets/{uploadSetId}/files", "Les fichiers d'un envoi", ()),
    ("post", "upload_sets/{uploadSetId}/files", "Envoyer une image (multipart)", ()),
    ("post", "upload_sets/{uploadSetId}/complete", "Finir un envoi et lancer la réception", ()),
)  # fmt: skip

_ELSEWHERE = (
    (r"docs/swagger", "Il n'y a pas de page Swagger : le contrat est dans docs/specs.json."),
    (
        r"users/[^/]+/map/.*",
        "Il n'y a pas de carte par compte : un seul producteur publie. Prenez map/.",
    ),
    (
        r"(?:users/me/tokens|auth/tokens)(?:/.*)?",
        "Les jetons se font sur la page « Mon profil » du portail, jamais par un autre programme.",
    ),
    (
        r"reports(?:/.*)?|users/me/reports",
        "Les demandes de floutage se font sur les pages de Côte-d'Or Street, avec un reçu.",
    ),
    (
        r".*excluded_areas.*",
        "Il n'y a pas de zones exclues : le département ne parcourt que ses routes.",
    ),
    (r"pages/.*", "Les pages de ce service sont sur le portail."),
    (
        r"(?:.*/)?annotations(?:/.*)?",
        "Les relevés du département sont dans son inventaire, pas en annotations.",
    ),
    (
        r"transfers(?:/.*)?|users/[^/]+/transfers",
        "Les images ne passent pas à un autre compte : le département en est le producteur.",
    ),
    (
        r"jobs/stats|admin/.*",
        "L'état du service est sur la page de supervision du portail.",
    ),
    (
        r"pictures/.*\.webp|collections/.*/thumb\.webp",
        "Les images sont en JPEG : demandez le même nom en .jpg.",
    ),
    (
        r".*/prepare",
        "La préparation se lance depuis le département : un envoi fini est préparé seul.",
    ),
    (
        r"collections.*",
        "Une séquence se reçoit par un envoi (upload_sets) et ne se modifie pas ici.",
    ),
)


def reason_for(path: str) -> str:
    """Why nothing answers at a path under the API's root."""
    for pattern, reason in _ELSEWHERE:
        if re.fullmatch(pattern, path):
            return reason
    return "Cette adresse ne désigne rien."


def document(root: str) -> dict[str, Any]:
    """OpenAPI 3.0.3."""
    paths: dict[str, dict[str, Any]] = {}
    for method, path, summary, query in _PATHS:
        parameters = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in re.findall(r"\{(\w+)\}", path)
        ] + [{"name": name, "in": "query", "schema": {"type": "string"}} for name in query]
        paths.setdefault(f"/{path}", {})[method] = {
            "summary": summary,
            "operationId": re.sub(r"\W+", "_", f"{method}_{path or 'landing'}").strip("_"),
            "parameters": parameters,
            "responses": {
                "200": {"description": "La réponse"},
                "default": {
                    "description": "Un refus, avec une phrase (RFC 9457)",
                    "content": {"application/problem+json": {}},
                },
            },
        }
    return {
        "openapi": "3.0.3",
        "info": {"title": "Côte-d'Or Street, STAC", "version": stac.VERSION},
        "servers": [{"url": root.rstrip("/")}],
        "paths": paths,
    }
