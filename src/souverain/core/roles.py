"""The roles that a person may hold on an organisation or a group."""

from __future__ import annotations

from django.db.models import TextChoices


class Role(TextChoices):
    OPERATOR = "operator", "Opérateur informatique"
    AGENT = "agent", "Agent"
    SUPERVISOR = "supervisor", "Encadrant"
    DUTY_OFFICER = "duty-officer", "Astreinte"
    COMMUNE_ADMIN = "commune-admin", "Administrateur de la commune"
    COMMUNE_MEMBER = "commune-member", "Membre de la commune"
    AUDITOR = "auditor", "Auditeur"
