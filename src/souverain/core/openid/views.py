"""Going to the provider, coming back from it, and leaving it."""

from __future__ import annotations

import secrets
from typing import Any
from urllib.parse import urlencode

from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.helpers import render_authentication_error
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView
from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST
from requests import RequestException

from souverain.core.access import requires
from souverain.core.openid.config import is_safe
from souverain.core.openid.provider import OpenIDAdapter, configured

_LEAVING = "openid_leaving"


def _going(request: HttpRequest, url: str, sentence: str) -> HttpResponse:
    """A page that goes on by itself. A redirection of the form would be refused by the content
    policy (`form-action`), which would otherwise have to name every host of a federation."""
    context = {"url": url, "sentence": sentence, "provider": configured().name}
    return render(request, "openid/going.html", context)


@never_cache
@require_POST
@requires("core.public")
def sign_in(request: HttpRequest) -> HttpResponse:
    """Go to the provider."""
    if settings.OPENID is None:
        raise Http404
    provider = get_adapter(request).get_provider(request, "openid")
    try:
        answer = provider.redirect_from_request(request)
    except (OAuth2Error, RequestException, ValueError) as error:
        failed: HttpResponse = render_authentication_error(request, provider, exception=error)
        return failed
    return _going(request, answer.url, "Vous partez vous identifier.")


class _Callback(OAuth2CallbackView):  # type: ignore[misc]
    def _get_state(self, request: HttpRequest, provider: Any) -> Any:
        state, answer = super()._get_state(request, provider)
        self.adapter.nonce = (state or {}).get("nonce", "")
        return state, answer


@never_cache
@require_GET
@requires("core.public")
def callback(request: HttpRequest) -> HttpResponse:
    """Come back from the provider with a code that serves once."""
    if settings.OPENID is None:
        raise Http404
    answer: HttpResponse = _Callback.adapter_view(OpenIDAdapter(request))(request)
    return answer


def prepare_to_leave(request: HttpRequest, kept: dict[str, Any]) -> None:
    """After the session was closed: remember, in the new one, how to close the provider's."""
    if is_safe(kept.get("url")):
        request.session[_LEAVING] = {**kept, "state": secrets.token_urlsafe(32)}


@never_cache
@require_GET
@requires("core.public")
def leave(request: HttpRequest) -> HttpResponse:
    """Close the provider's session too (OpenID Connect RP-Initiated Logout 1.0)."""
    kept = request.session.get(_LEAVING)
    if not kept or "id_token" not in kept:
        return redirect(settings.LOGOUT_REDIRECT_URL)
    query = urlencode(
        {
            "id_token_hint": kept.pop("id_token"),
            "post_logout_redirect_uri": settings.PUBLIC_URL + reverse("openid_left"),
            "state": kept["state"],
        }
    )
    request.session[_LEAVING] = kept
    joint = "&" if "?" in kept["url"] else "?"
    return _going(request, kept["url"] + joint + query, "Vous vous déconnectez.")


@never_cache
@require_GET
@requires("core.public")
def left(request: HttpRequest) -> HttpResponse:
    """Back from the provider, signed out there too, if the state is the one we gave."""
    kept = request.session.pop(_LEAVING, {})
    expected = str(kept.get("state", ""))
    if expected and secrets.compare_digest(expected, request.GET.get("state", "")):
        messages.success(request, "Vous êtes déconnecté.")
    return redirect(settings.LOGOUT_REDIRECT_URL)
