"""The one way out to the provider: discovery, keys, token, userinfo. It asks `core.egress`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
from django.conf import settings
from requests.adapters import HTTPAdapter

from souverain.core import egress
from souverain.core.rooms import DataClass, Destination

PURPOSE = "oidc"
ANSWER_MAX_BYTES = 1_000_000
_TIMEOUT_S = 10


def goes_to() -> Destination | None:
    """The host of the discovery document; the document may name more."""
    config = settings.OPENID
    if config is None:
        return None
    return Destination(*_address(config.discovery_url), frozenset({DataClass.PERSONAL}))


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


class EgressAdapter(HTTPAdapter):
    """Each request asks the allow-list; the answer is read within bounds before it is given."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> Any:
        host, port = _address(request.url or "")
        kwargs.update(stream=True, timeout=_TIMEOUT_S)
        try:
            with egress.permitted(host, port, PURPOSE, DataClass.PERSONAL):
                response = super().send(request, *args, **kwargs)
                response._content = _bounded(response)
        except OSError as error:
            if isinstance(error, requests.RequestException):
                raise
            raise requests.ConnectionError(str(error), request=request) from error
        return response


def _bounded(response: requests.Response) -> bytes:
    content = b""
    for piece in response.iter_content(65_536):
        content += piece
        if len(content) > ANSWER_MAX_BYTES:
            response.close()
            raise requests.exceptions.InvalidHeader("the provider's answer is too long")
    return content


class Session(requests.Session):
    """Follows no redirection and reads no proxy or netrc from the environment."""

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False
        for scheme in ("https://", "http://"):
            self.mount(scheme, EgressAdapter())

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        return super().send(request, **{**kwargs, "allow_redirects": False})


def get(url: str, headers: Mapping[str, str] | None = None) -> requests.Response:
    """Read one address of the provider; raises requests.RequestException."""
    with Session() as session:
        response = session.get(url, headers=headers)
    response.raise_for_status()
    if response.status_code != 200:
        raise requests.HTTPError(f"{response.status_code} from the provider", response=response)
    return response
