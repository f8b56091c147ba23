"""The members of an organisation: who they are, whom one invited, and its groups."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from souverain.core import once
from souverain.core.access import permits, requires
from souverain.core.models import Group, Invitation, Organisation, RoleAssignment
from souverain.core.roles import Role
from souverain.core.services import (
    add_to_group,
    create_group,
    invitation_link,
    invite,
    is_last_admin,
    open_invitations,
    remove_role,
    rename_group,
    resend_invitation,
    revoke_invitation,
)
from souverain.portal.forms import GroupForm, GroupMemberForm, InvitationForm, RemovalForm


def organisation_of(request: HttpRequest, code: str, **_: Any) -> dict[str, Any]:
    """The access target of an organisation's administration."""
    return {"organisation": get_object_or_404(Organisation, code=code)}


def organisation_of_group(request: HttpRequest, pk: int, **_: Any) -> dict[str, Any]:
    """The access target of a group's page: whoever administers the whole organisation."""
    return {"organisation": get_object_or_404(Group, pk=pk).organisation}


@never_cache
@require_GET
@requires("core.members", of=organisation_of)
def members(request: HttpRequest, code: str) -> HttpResponse:
    """Who belongs to the organisation, and who was invited."""
    organisation = Organisation.objects.get(code=code)
    return _members_page(request, organisation, InvitationForm(organisation), GroupForm())


def _members_page(
    request: HttpRequest,
    organisation: Organisation,
    form: InvitationForm,
    group_form: GroupForm,
    status: int = 200,
) -> HttpResponse:
    held = organisation.role_assignments.filter(group=None).select_related("user", "organisation")
    actor = request.actor  # type: ignore[attr-defined]
    context = {
        "organisation": organisation,
        "members": [
            {
                "role": role,
                "dialog": f"retirer-{role.pk}",
                "form": RemovalForm() if is_last_admin(role) else None,
            }
            for role in held.order_by("user__full_name", "user__email")
        ],
        "invitations": open_invitations(organisation),
        "groups": organisation.groups.order_by("name"),
        "is_commune": organisation.kind == Organisation.Kind.COMMUNE,
        "sees_people": permits(actor, "core.people", organisation=organisation),
        "form": form,
        "group_form": group_form,
    }
    return render(request, "portal/members.html", context, status=status)


@never_cache
@require_POST
@requires("core.members", of=organisation_of)
def invite_member(request: HttpRequest, code: str) -> HttpResponse:
    """Invite a person; without a mail server the link is shown, once."""
    organisation = Organisation.objects.get(code=code)
    form = InvitationForm(organisation, request.POST)
    if form.is_valid():
        try:
            invitation, token = invite(
                request.actor,  # type: ignore[attr-defined]
                email=form.cleaned_data["email"],
                full_name=form.cleaned_data["full_name"],
                role=Role(form.cleaned_data["role"]),
                organisation=organisation,
            )
            return _told(request, invitation, token)
        except ValidationError as error:
            form.add_error(None, error)
    return _members_page(request, organisation, form, GroupForm(), status=422)


def _told(request: HttpRequest, invitation: Invitation, token: str) -> HttpResponse:
    """The letter leaves by itself, or the next page shows the link once."""
    code = invitation.organisation.code
    if invitation.message is not None:
        messages.success(request, f"Un message avec le lien part vers {invitation.email}.")
        return redirect("portal:members", code=code)
    once.keep(request, f"invitation:{invitation.pk}", invitation_link(token))
    return redirect("portal:invited", code=code, pk=invitation.pk)


def _invitation(code: str, pk: int) -> Invitation:
    found = Invitation.objects.select_related("organisation", "message")
    return get_object_or_404(found, pk=pk, organisation__code=code)


@never_cache
@require_GET
@requires("core.members", of=organisation_of)
def invited(request: HttpRequest, code: str, pk: int) -> HttpResponse:
    """The link to hand over, the first time."""
    context = {
        "invitation": _invitation(code, pk),
        "link": once.take(request, f"invitation:{pk}"),
    }
    return render(request, "portal/invited.html", context)


@never_cache
@require_POST
@requires("core.members", of=organisation_of)
def resend(request: HttpRequest, code: str, pk: int) -> HttpResponse:
    """Send a new link; the old one no longer works."""
    invitation = _invitation(code, pk)
    try:
        token = resend_invitation(request.actor, invitation)  # type: ignore[attr-defined]
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
        return redirect("portal:members", code=code)
    return _told(request, invitation, token)


@require_POST
@requires("core.members", of=organisation_of)
def revoke(request: HttpRequest, code: str, pk: int) -> HttpResponse:
    """Withdraw an invitation."""
    invitation = _invitation(code, pk)
    try:
        revoke_invitation(request.actor, invitation)  # type: ignore[attr-defined]
        messages.success(request, f"L'invitation de {invitation.email} est annulée.")
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    return redirect("portal:members", code=code)


@require_POST
@requires("core.members", of=organisation_of)
def remove_member(request: HttpRequest, code: str, pk: int) -> HttpResponse:
    """Take a role on the organisation, or on one of its groups, away."""
    assignment = get_object_or_404(RoleAssignment, pk=pk, organisation__code=code)
    knowingly = RemovalForm(request.POST).is_valid()
    group = assignment.group
    try:
        remove_role(request.actor, assignment, knowingly=knowingly)  # type: ignore[attr-defined]
        where = group or assignment.organisation
        messages.success(request, f"{assignment.user} n'a plus ce rôle pour {where}.")
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    if group is not None:
        return redirect("portal:group", pk=group.pk)
    return redirect("portal:members", code=code)


@require_POST
@requires("core.members", of=organisation_of)
def add_group(request: HttpRequest, code: str) -> HttpResponse:
    """Make a group."""
    organisation = Organisation.objects.get(code=code)
    form = GroupForm(request.POST)
    if form.is_valid():
        try:
            group = create_group(request.actor, organisation, form.cleaned_data["name"])  # type: ignore[attr-defined]
            messages.success(request, f"Le groupe « {group} » est créé.")
            return redirect("portal:group", pk=group.pk)
        except ValidationError as error:
            form.add_error("name", error)
    return _members_page(request, organisation, InvitationForm(organisation), form, status=422)


@require_http_methods(["GET", "POST"])
@requires("core.members", of=organisation_of_group)
def group(request: HttpRequest, pk: int) -> HttpResponse:
    """One group: its people; a POST adds one of them."""
    found = Group.objects.select_related("organisation").get(pk=pk)
    form = GroupMemberForm(found, request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            given = add_to_group(
                request.actor,  # type: ignore[attr-defined]
                found,
                form.cleaned_data["user"],
                Role(form.cleaned_data["role"]),
            )
            messages.success(request, f"{given.user} fait partie du groupe.")
            return redirect("portal:group", pk=pk)
        except ValidationError as error:
            form.add_error(None, error)
    members = RoleAssignment.objects.filter(group=found).select_related("user", "organisation")
    context = {
        "group": found,
        "members": members.order_by("user__full_name", "user__email"),
        "form": form,
        "rename_form": GroupForm(initial={"name": found.name}, prefix="nom"),
        "rename_url": reverse("portal:rename_group", args=[pk]),
    }
    return render(request, "portal/group.html", context, status=422 if form.errors else 200)


@require_POST
@requires("core.members", of=organisation_of_group)
def rename(request: HttpRequest, pk: int) -> HttpResponse:
    """Give the group another name."""
    form = GroupForm(request.POST, prefix="nom")
    if form.is_valid():
        rename_group(request.actor, Group.objects.get(pk=pk), form.cleaned_data["name"])  # type: ignore[attr-defined]
        messages.success(request, "Le groupe a changé de nom.")
    else:
        messages.error(request, "Donnez un nom au groupe.")
    return redirect("portal:group", pk=pk)
