"""stac-api-validator, unmodified, with the published schemas read from a folder: run by the
validator's own Python, as `offline_validator.py SCHEMAS ARGUMENTS…`. The specification's schemas
are those that pystac ships; what an extension's schema says is not checked."""

import io
import sys
import urllib.request
from pathlib import Path

import requests

SCHEMAS = Path(sys.argv.pop(1))
_EXTENSION = "https://stac-extensions.github.io/"
_OPEN, _GET = urllib.request.urlopen, requests.sessions.Session.get
_PLACES = {
    "https://schemas.stacspec.org/v1.0.0/item-spec/json-schema/": "stac-spec/v1.0.0",
    "https://schemas.stacspec.org/v1.0.0/collection-spec/json-schema/": "stac-spec/v1.0.0",
    "https://schemas.stacspec.org/v1.0.0/catalog-spec/json-schema/": "stac-spec/v1.0.0",
    "https://geojson.org/schema/": "geojson",
}


def published(address):
    """The text of a schema; None for an address that is no schema's."""
    address = address.partition("#")[0]
    if address.startswith(_EXTENSION):
        return b"{}"
    for begin, folder in _PLACES.items():
        if address.startswith(begin):
            return (SCHEMAS / folder / address.removeprefix(begin)).read_bytes()
    return None


def get(address, **options):
    text = published(address)
    if text is None:
        return requests.request("get", address, **options)
    answer = requests.Response()
    answer.status_code, answer._content, answer.url = 200, text, address
    return answer


def urlopen(request, *arguments, **options):
    address = request if isinstance(request, str) else request.full_url
    text = published(address)
    return _OPEN(request, *arguments, **options) if text is None else io.BytesIO(text)


requests.get = get
urllib.request.urlopen = urlopen

from stac_api_validator.__main__ import main  # noqa: E402 - after the schemas have their places

main()
