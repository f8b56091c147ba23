"""The pages show a commune's own vault, to its own members."""

from __future__ import annotations

import pytest
from django.test import Client

from souverain.core import access
from souverain.core.models import Device, Organisation, RoleAssignment, User
from souverain.vault import services

pytestmark = pytest.mark.django_db


def test_an_admin_sees_and_revokes_her_own_devices_only() -> None:
    dijon = Organisation.objects.create(kind="commune", code="21231", name="Dijon")
    beaune = Organisation.objects.create(kind="commune", code="21054", name="Beaune")
    device, _ = services.add_device(access.SYSTEM, dijon, "poste du secrétariat", ["backup"])
    other, _ = services.add_device(access.SYSTEM, beaune, "autre", ["backup"])
    user = User.objects.create_user("a@dijon.invalid")
    RoleAssignment.objects.create(user=user, role="commune-admin", organisation=dijon)
    client = Client()
    client.force_login(user, backend="allauth.account.auth_backends.AuthenticationBackend")
    page = client.get("/vault/communes/21231/")
    assert page.status_code == 200 and "poste du secrétariat" in page.content.decode()
    assert client.get("/vault/communes/21054/").status_code == 403
    assert client.get("/vault/").status_code == 403
    assert client.post(f"/vault/communes/21231/appareils/{other.pk}/revoquer/").status_code == 404
    assert client.post(f"/vault/communes/21231/appareils/{device.pk}/revoquer/").status_code == 302
    assert (
        Device.objects.get(pk=device.pk).revoked_at
        and not Device.objects.get(pk=other.pk).revoked_at
    )


def test_the_operator_sees_every_vault() -> None:
    departement = Organisation.objects.create(kind="departement", code="21", name="Côte-d'Or")
    dijon = Organisation.objects.create(kind="commune", code="21231", name="Dijon")
    services.create_set(access.SYSTEM, dijon)
    user = User.objects.create_user("o@cotedor.invalid")
    RoleAssignment.objects.create(user=user, role="operator", organisation=departement)
    client = Client()
    client.force_login(user, backend="allauth.account.auth_backends.AuthenticationBackend")
    page = client.get("/vault/")
    assert page.status_code == 200 and "/vault/communes/21231/" in page.content.decode()
