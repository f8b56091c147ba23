"""One's own account: invitation, profile, tokens, messages."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from souverain.core import clock, once, rooms
from souverain.core.access import requires, serves_departement
from souverain.core.models import Invitation, User
from souverain.core.openid.people import is_linked
from souverain.core.services import (
    accept_invitation,
    create_token,
    give_name,
    invited_account,
    live_tokens,
    open_invitation,
    opens_by_itself,
    renews,
    revoke_token,
    scopes_of,
)
from souverain.portal.forms import TokenForm
from souverain.portal.views.notices import operations_by_permission


@never_cache
@requires("core.public")
@require_http_methods(["GET", "POST"])
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    """A one-time link. Opening it changes nothing (mail scanners open links); the button does."""
    answer = _invitation_answer(request, token)
    # The path is the secret: no Referer holds it, not even ours. `no-referrer` would have browsers
    # send `Origin: null` with the form, which the protection against forged requests refuses.
    answer.headers["Referrer-Policy"] = "strict-origin"
    return answer


def _invitation_answer(request: HttpRequest, token: str) -> HttpResponse:
    signed_in = request.user if isinstance(request.user, User) else None
    if request.method == "GET":
        return _invitation_page(request, open_invitation(token), signed_in)
    try:
        user = accept_invitation(token, signed_in)
    except ValidationError as error:
        if error.code == "sign-in":
            return redirect_to_login(request.path)
        messages.error(request, " ".join(error.messages))
        return redirect("account_login")
    if signed_in == user and signed_in.session_generation == user.session_generation:
        messages.success(request, "Votre nouveau rôle est enregistré.")
        return redirect("portal:home")
    give_name(user, request.POST.get("full_name", ""))
    login(request, user, backend=settings.AUTHENTICATION_BACKENDS[0])
    messages.info(request, "Choisissez maintenant votre mot de passe.")
    return redirect("account_set_password")


def _invitation_page(
    request: HttpRequest, found: Invitation | None, signed_in: User | None
) -> HttpResponse:
    account = invited_account(found) if found else None
    other = account is not None and account != signed_in
    context = {
        "invitation": found,
        "must_sign_in": found and account and other and not opens_by_itself(found, account),
        "renews": found and account and renews(found, account),
        "signed_in_as_another": signed_in is not None and account != signed_in,
    }
    return render(request, "portal/invitation.html", context)


@require_GET
@requires("core.own")
def profile(request: HttpRequest) -> HttpResponse:
    """One's own account: roles, password, second factor, tokens."""
    person = request.actor.user  # type: ignore[attr-defined]
    context = {
        "linked": is_linked(person),
        "linking_renews": person.address_proven_at is None and not serves_departement(person),
        "tokens": live_tokens(person).count(),
    }
    return render(request, "portal/profile.html", context)


@never_cache
@requires("core.own")
@require_http_methods(["GET", "POST"])
def tokens(request: HttpRequest) -> HttpResponse:
    """One's API tokens; a POST makes one, and leads back here, where its secret is shown once."""
    person = request.actor.user  # type: ignore[attr-defined]
    form = TokenForm(scopes_of(person), operations_by_permission(), request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            _, secret = create_token(
                request.actor,  # type: ignore[attr-defined]
                person,
                name=form.cleaned_data["name"],
                scopes=form.cleaned_data["scopes"],
                life=form.life,
            )
            once.keep(request, "token", secret)
            return redirect("portal:tokens")
        except ValidationError as error:
            form.add_error(None, error)
    titles = {code: permission.title for code, permission in rooms.permissions().items()}
    context = {
        "form": form,
        "secret": once.take(request, "token") if request.method == "GET" else None,
        "tokens": [
            {
                "token": token,
                "dialog": f"revoquer-{token.pk}",
                "scopes": [titles.get(code, code) for code in token.scopes],
            }
            for token in live_tokens(person)
        ],
    }
    return render(request, "portal/tokens.html", context, status=422 if form.errors else 200)


@require_POST
@requires("core.own")
def forget_token(request: HttpRequest, pk: int) -> HttpResponse:
    """Revoke one of one's own tokens."""
    person = request.actor.user  # type: ignore[attr-defined]
    token = get_object_or_404(live_tokens(person), pk=pk)
    revoke_token(request.actor, token)  # type: ignore[attr-defined]
    messages.success(request, f"Le jeton « {token.name} » est révoqué.")
    return redirect("portal:tokens")


@requires("core.own")
@require_http_methods(["GET", "POST"])
def notifications(request: HttpRequest) -> HttpResponse:
    """One's messages; a POST marks them all as read."""
    mine = request.actor.user.notifications  # type: ignore[attr-defined]
    if request.method == "POST":
        mine.filter(read_at=None).update(read_at=clock.now())
        return redirect("portal:notifications")
    context = {"notifications": mine.order_by("-created_at")[:200]}
    return render(request, "portal/notifications.html", context)
