"""Accounts: what we ask of allauth. Nobody signs up alone; people are invited."""

from __future__ import annotations

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from django.contrib.auth.signals import user_logged_in, user_login_failed
from django.dispatch import receiver
from django.http import HttpRequest

from souverain.core import journal
from souverain.core.access import ANONYMOUS, of_user
from souverain.core.models import User


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Closed to sign-up."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False


class SocialAccountAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]
    """A provider signs in people who were invited; it creates nobody."""

    def is_open_for_signup(self, request: HttpRequest, sociallogin: Any) -> bool:
        return False


@receiver(user_logged_in)
def _journal_sign_in(sender: object, user: User, **_: object) -> None:
    journal.append(of_user(user), "session.opened", object=f"user:{user.pk}")


@receiver(user_login_failed)
def _journal_failed_sign_in(sender: object, **_: object) -> None:
    journal.refuse(ANONYMOUS, "session.refused", reason="credentials")
