"""The provider as allauth knows it: the code flow with nonce, PKCE and a demanded level."""

from __future__ import annotations

import json
import secrets
from functools import cached_property
from typing import Any

from allauth.account.utils import get_next_redirect_url
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.provider import OAuth2Provider
from allauth.socialaccount.providers.oauth2.views import OAuth2Adapter
from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse

from souverain.core.openid import people, tokens, transport
from souverain.core.openid.config import WELL_KNOWN, OpenID, is_safe

_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri")


def configured() -> OpenID:
    """The provider of this program; asked for only where there is one."""
    if settings.OPENID is None:
        raise OAuth2Error("no provider is set up")
    return settings.OPENID


class OpenIDAdapter(OAuth2Adapter):  # type: ignore[misc]
    """One sign-in: reads the discovery document, exchanges the code, checks the tokens."""

    provider_id = "openid"
    nonce = ""

    @property
    def config(self) -> OpenID:
        return configured()

    @cached_property
    def discovered(self) -> dict[str, Any]:
        """The provider's own description; its issuer must be the one we were told to trust."""
        found = transport.get(self.config.discovery_url).json()
        if not isinstance(found, dict):
            raise OAuth2Error("discovery: not a JSON object")
        expected = self.config.discovery_url.removesuffix(WELL_KNOWN)
        if str(found.get("issuer", "")).rstrip("/") != expected:
            raise OAuth2Error("discovery: another issuer")
        if not all(is_safe(found.get(name)) for name in _ENDPOINTS):
            raise OAuth2Error("discovery: an address is missing or is not https")
        return found

    @property
    def authorize_url(self) -> str:
        return str(self.discovered["authorization_endpoint"])

    @property
    def access_token_url(self) -> str:
        return str(self.discovered["token_endpoint"])

    @property
    def basic_auth(self) -> bool:
        methods = self.discovered.get("token_endpoint_auth_methods_supported", [])
        return "client_secret_post" not in methods and "client_secret_basic" in methods

    def get_callback_url(self, request: HttpRequest, app: Any) -> str:
        return str(settings.PUBLIC_URL + reverse("openid_callback"))

    def complete_login(self, request: HttpRequest, app: Any, token: Any, **kwargs: Any) -> Any:
        """Check what the provider signed; the result is not yet anybody's account."""
        given = kwargs["response"].get("id_token")
        if not isinstance(given, str):
            raise OAuth2Error("token: no ID token")
        issuer, client_id = self.discovered["issuer"], self.config.client_id
        jwks = transport.get(self.discovered["jwks_uri"]).json()
        try:
            claims = tokens.id_token(
                given, jwks, issuer=issuer, client_id=client_id, nonce=self.nonce
            )
            wanted = "application/jwt" if self.config.proconnect else "application/json"
            answer = transport.get(
                self.discovered["userinfo_endpoint"],
                {"Authorization": f"Bearer {token.token}", "Accept": wanted},
            )
            told = tokens.userinfo(
                answer.content,
                answer.headers.get("Content-Type", ""),
                jwks,
                issuer=issuer,
                client_id=client_id,
                subject=claims["sub"],
                signed=self.config.proconnect,
            )
        except tokens.Unsound as error:
            raise OAuth2Error(f"token: {error}") from error
        identity = people.identity_of(self.config, issuer, claims, told)
        login = self.get_provider().sociallogin_from_response(request, {"key": identity.key})
        login.identity = identity
        login.leaving = {"id_token": given, "url": self.discovered.get("end_session_endpoint")}
        return login


class OpenIDProvider(OAuth2Provider):  # type: ignore[misc]
    id = "openid"
    name = "OpenID Connect"
    oauth2_adapter_class = OpenIDAdapter

    def get_redirect_from_request_kwargs(self, request: HttpRequest) -> dict[str, Any]:
        """Only where to come back to is the visitor's to choose: no scope, no level, no process."""
        return {"process": "login", "next_url": get_next_redirect_url(request)}

    def get_scope(self) -> list[str]:
        return list(configured().scopes)

    def get_pkce_params(self) -> dict[str, Any]:
        """PKCE, except at ProConnect, which refuses every parameter that it does not document."""
        if configured().proconnect:
            return {}
        self.app.settings["oauth_pkce_enabled"] = True
        return dict(super().get_pkce_params())

    def redirect(
        self,
        request: HttpRequest,
        process: str,
        next_url: str | None = None,
        data: Any = None,
        **kwargs: Any,
    ) -> Any:
        nonce = secrets.token_urlsafe(32)
        return super().redirect(
            request,
            process,
            next_url,
            data,
            auth_params={"nonce": nonce, **_demanded_level(configured())},
            nonce=nonce,
        )

    def extract_uid(self, data: dict[str, str]) -> str:
        return data["key"]

    def extract_extra_data(self, data: dict[str, str]) -> dict[str, str]:
        """Nothing about the person is kept beside the account."""
        return {}


def _demanded_level(config: OpenID) -> dict[str, str]:
    if not config.accepted_acr:
        return {}
    if not config.proconnect:
        return {"acr_values": " ".join(config.accepted_acr)}
    acr = {"essential": True, "values": list(config.accepted_acr)}
    return {"claims": json.dumps({"id_token": {"acr": acr}}, separators=(",", ":"))}


provider_classes = [OpenIDProvider]
