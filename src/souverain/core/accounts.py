"""Accounts: what we ask of allauth. Nobody signs up alone; people are invited."""

from __future__ import annotations

import secrets
from typing import Any
from urllib.parse import urlsplit

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.signals import password_reset
from allauth.account.signals import user_logged_in as signed_in_by_allauth
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.mfa.models import Authenticator
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialAccount, SocialApp
from django.conf import settings
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from souverain.core import guesses, journal
from souverain.core.access import ANONYMOUS, of_user
from souverain.core.models import User
from souverain.core.openid import people, transport
from souverain.core.openid.provider import configured
from souverain.core.openid.views import prepare_to_leave
from souverain.core.roles import Role

SESSION_KEY = "openid"


def too_many(request: HttpRequest, wait_s: int = 60) -> HttpResponse:
    """The page shown when a limit is reached; it says when to try again."""
    answer = render(request, "429.html", {"minutes": wait_s // 60}, status=429)
    answer.headers["Retry-After"] = str(wait_s)
    return answer


def lacks_second_factor(user: User) -> bool:
    """Whether this person operates the cloud with a password alone."""
    operates = any(assignment.role == Role.OPERATOR for assignment in user.assignments)
    return operates and not Authenticator.objects.filter(user=user).exists()


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Closed to sign-up; limits guesses; closes the provider's session with ours."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        try:
            self._attempt = guesses.begin(credentials["email"], self.get_client_ip(request))
        except guesses.TooMany as error:
            journal.refuse(ANONYMOUS, "session.refused", reason="too many attempts")
            wait_s = int(error.wait.total_seconds())
            raise ImmediateHttpResponse(too_many(request, wait_s)) from error

    def authenticate(self, request: HttpRequest, **credentials: Any) -> User | None:
        user: User | None = super().authenticate(request, **credentials)
        if user is not None:
            guesses.succeeded(self._attempt)
        return user

    def get_reset_password_from_key_url(self, key: str) -> str:
        """A link in a letter leads to our address, whatever host the request named."""
        asked = urlsplit(super().get_reset_password_from_key_url(key))
        return f"{settings.PUBLIC_URL}{asked.path}"

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        public = urlsplit(settings.PUBLIC_URL).hostname
        site = {"name": settings.MFA_TOTP_ISSUER, "domain": public}
        super().send_mail(template_prefix, email, {**context, "current_site": site})

    def logout(self, request: HttpRequest) -> None:
        kept = request.session.get(SESSION_KEY)
        super().logout(request)
        if kept:
            prepare_to_leave(request, kept)

    def get_logout_redirect_url(self, request: HttpRequest) -> str:
        """allauth asks this before it signs out."""
        if SESSION_KEY in request.session:
            return reverse("openid_leave")
        return str(super().get_logout_redirect_url(request))


class SocialAccountAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]
    """A provider signs in people who were invited; it creates nobody."""

    def is_open_for_signup(self, request: HttpRequest, sociallogin: Any) -> bool:
        return False

    def list_apps(
        self, request: HttpRequest, provider: str | None = None, client_id: str | None = None
    ) -> list[SocialApp]:
        """The one provider of the environment, if any; none from the database."""
        config = settings.OPENID
        if config is None:
            return []
        return [
            SocialApp(
                provider="openid",
                provider_id="openid",
                name=config.name,
                client_id=config.client_id,
                secret=config.client_secret,
            )
        ]

    def get_requests_session(self) -> transport.Session:
        return transport.Session()

    def generate_state_param(self, state: dict[str, Any]) -> str:
        """256 bits; ProConnect wants at least 32 characters."""
        return secrets.token_urlsafe(32)

    def on_authentication_error(
        self,
        request: HttpRequest,
        provider: Any,
        error: Any = None,
        exception: Exception | None = None,
        extra_context: dict[str, Any] | None = None,
    ) -> None:
        reason = f"openid: {exception}" if exception else "openid: state, code or error"
        journal.refuse(ANONYMOUS, "session.refused", reason=reason[:80])

    def pre_social_login(self, request: HttpRequest, sociallogin: Any) -> None:
        """Find the person whom the vouched identity names, or refuse."""
        signed_in = request.user if isinstance(request.user, User) else None
        try:
            user = people.person_of(configured(), sociallogin.identity, signed_in)
        except people.Refused as refusal:
            actor = of_user(refusal.user) if refusal.user else ANONYMOUS
            journal.refuse(actor, "session.refused", reason=f"openid: {refusal.reason}")
            page = "socialaccount/authentication_error.html"
            raise ImmediateHttpResponse(
                render(request, page, {"sentence": str(refusal)}, status=403)
            ) from refusal
        people.link(user, sociallogin.identity)
        sociallogin.user = user
        sociallogin.account = SocialAccount.objects.get(uid=sociallogin.identity.key)
        sociallogin.state["leaving"] = sociallogin.leaving


@receiver(user_logged_in)
def _journal_sign_in(sender: object, user: User, **_: object) -> None:
    journal.append(of_user(user), "session.opened", object=f"user:{user.pk}")


@receiver(signed_in_by_allauth)
def _keep_way_out(
    sender: object, request: HttpRequest, sociallogin: Any = None, **_: object
) -> None:
    """What closes the provider's session, kept in ours."""
    if sociallogin is not None:
        request.session[SESSION_KEY] = sociallogin.state["leaving"]


@receiver(user_logged_out)
def _journal_sign_out(sender: object, user: User | None, **_: object) -> None:
    if user is not None:
        journal.append(of_user(user), "session.closed", object=f"user:{user.pk}")


@receiver(password_reset)
def _forget_guesses(sender: object, user: User, **_: object) -> None:
    guesses.forget(user.email)


@receiver(user_login_failed)
def _journal_failed_sign_in(sender: object, **_: object) -> None:
    journal.refuse(ANONYMOUS, "session.refused", reason="credentials")
