"""Every room's manifest is whole, and says what its source does."""

from __future__ import annotations

import importlib
import re
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from django.apps import apps
from django.template.loader import get_template
from django.urls import resolve, reverse

from souverain.core import queries, rooms, worker
from souverain.core.models import Job
from souverain.core.roles import Role
from souverain.core.rooms import Reach, Room
from tests import source

ROOMS = list(rooms.load().values())
ICONS = Path(__file__).parents[1] / "web/node_modules/bootstrap-icons/icons"
NAME = re.compile(r"[a-z][a-z0-9_]*")
CODE = re.compile(r"[a-z][a-z0-9]*\.[a-z][a-z0-9_]*")
every_room = pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)


def _folder(room: Room) -> Path:
    return source.ROOT / room.name


def _once(names: list[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    assert not twice, f"declared twice: {twice}"


@every_room
def test_a_room_is_named_and_described(room: Room) -> None:
    assert NAME.fullmatch(room.name) and _folder(room).is_dir()
    assert room.title and room.summary.endswith(".")
    assert importlib.import_module(f"souverain.{room.name}").__doc__


@every_room
def test_icons_exist(room: Room) -> None:
    named = [room.icon, *(item.icon for item in room.navigation)]
    for template in _folder(room).rglob("*.html"):
        named += re.findall(
            r'(?:icon|empty_icon=|submit_icon=)\s?"([a-z0-9-]+)"', template.read_text()
        )
    missing = [name for name in named if not (ICONS / f"{name}.svg").exists()]
    assert not missing, f"{room.name}: not in Bootstrap Icons: {missing}"


def test_permissions_are_named_once_and_in_french() -> None:
    _once([permission.code for permission in rooms.every("permissions")])
    for room in ROOMS:
        for permission in room.permissions:
            assert CODE.fullmatch(permission.code)
            assert permission.code.startswith(f"{room.name}."), permission.code
            assert permission.title, permission.code
            assert permission.public or permission.grants, f"{permission.code}: for nobody"
            assert set(permission.grants) <= set(Role)
            assert all(isinstance(reach, Reach) for reach in permission.grants.values())


def test_every_declared_permission_is_asked_somewhere() -> None:
    text = "\n".join(path.read_text() for path in source.modules() if path.name != "room.py")
    menu = {item.permission for item in rooms.every("navigation")}
    idle = [code for code in rooms.permissions() if f'"{code}"' not in text and code not in menu]
    assert not idle, f"declared, but no view, operation or service asks for them: {idle}"


def test_navigation_leads_somewhere_with_its_own_permission() -> None:
    _once([item.url for item in rooms.every("navigation")])
    for item in rooms.every("navigation"):
        assert item.title
        view = resolve(reverse(item.url)).func
        assert view.permission == item.permission, item.url  # type: ignore[attr-defined]


def test_settings_read_are_declared_and_the_other_way_round() -> None:
    declared = [setting.name for setting in rooms.every("settings")]
    _once(declared)
    read = source.environment_variables()
    read.pop("DJANGO_SETTINGS_MODULE", None)
    for name, path in read.items():
        assert name in declared, f"{path.name} reads {name}: declare it in a room's `settings`"
    for setting in rooms.every("settings"):
        assert setting.title, setting.name
        assert setting.name in read, f"{setting.name} is declared, and nothing reads it"


def test_events_told_are_declared_by_their_room() -> None:
    declared = {kind.name: room for room in ROOMS for kind in room.events}
    _once([kind.name for kind in rooms.every("events")])
    for name, path in source.emitted_events().items():
        assert name in declared, f"{path}: declare the event {name} in the room's manifest"
        assert path.is_relative_to(_folder(declared[name])), f"{name} is told by another room"
    for kind in rooms.every("events"):
        assert CODE.fullmatch(kind.name) and kind.title, kind.name


def test_subscriptions_await_declared_events() -> None:
    declared = {kind.name for kind in rooms.every("events")}
    _once([subscription.name for subscription in rooms.every("subscriptions")])
    for subscription in rooms.every("subscriptions"):
        assert subscription.events <= declared, subscription.name


def test_answers_are_to_declared_queries() -> None:
    _once([query.name for query in queries.ALL])
    for query, answer in rooms.every("answers"):
        assert query in queries.ALL and callable(answer)
    assert all(query.title for query in queries.ALL)


def test_jobs_are_named_after_their_room() -> None:
    _once([function.name for function in rooms.every("jobs")])
    for room in ROOMS:
        for function in room.jobs:
            assert CODE.fullmatch(function.name) and function.name.startswith(f"{room.name}.")
            assert function.title


def test_duties_have_a_name_of_their_own_and_a_wait() -> None:
    duties = worker.duties()
    _once([duty.name for duty in duties])
    assert all(duty.every > timedelta(0) for duty in duties)


def test_health_checks_are_named_and_titled() -> None:
    for room in ROOMS:
        _once([item.name for item in room.health])
        assert all(item.title for item in room.health)


@every_room
def test_a_room_with_records_says_what_it_holds(room: Room) -> None:
    if list(apps.get_app_config(room.name).get_models()):
        assert room.holdings, f"{room.name} has models: declare its `holdings`"
    for held in room.holdings:
        assert held.data_classes
        told = (held.title, held.purpose, held.legal_basis, held.retention, held.recipients)
        assert all(told), held.title


@every_room
def test_routes_and_api_can_be_imported(room: Room) -> None:
    if room.urls:
        assert importlib.import_module(room.urls).urlpatterns
    if room.api:
        module, _, name = room.api.partition(":")
        assert getattr(importlib.import_module(module), name)


def test_one_room_is_the_home() -> None:
    assert sum(room.home for room in ROOMS) == 1


# Journal verbs -----------------------------------------------------------------------------------


def test_every_verb_written_has_french_words() -> None:
    _once([verb for room in ROOMS for verb in room.verbs])
    words = rooms.verbs()
    missing = {
        verb: path.relative_to(source.ROOT)
        for verb, path in source.journal_verbs().items()
        if not words.get(verb)
    }
    assert not missing, "add to `verbs` of the room's manifest:\n" + "\n".join(
        f'    "{verb}": "…",  # written in {path}' for verb, path in sorted(missing.items())
    )
    assert len(source.journal_verbs()) > 20


def test_every_end_of_a_job_has_french_words() -> None:
    for state in (Job.State.DONE, Job.State.FAILED, Job.State.CANCELLED, Job.State.INTERRUPTED):
        assert f"job.{state}" in rooms.verbs()


def test_words_are_for_verbs_that_exist() -> None:
    written = set(source.journal_verbs()) | {f"job.{state}" for state in Job.State.values}
    idle = sorted(set(rooms.verbs()) - written)
    assert not idle, f"declared in `verbs`, and nothing writes them: {idle}"


# Templates ---------------------------------------------------------------------------------------

_USES = re.compile(r'{%\s*(?:extends|include)\s+"([^"]+)"')
_LIBRARIES = ("account", "mfa", "socialaccount", "allauth")


@every_room
def test_templates_stay_in_their_room(room: Room) -> None:
    """A room's templates extend and include the shell's and their own, never another room's."""
    folder = _folder(room) / "templates"
    for template in folder.rglob("*.html"):
        for name in _USES.findall(template.read_text()):
            owner = name.partition("/")[0]
            allowed = {"core", room.name} | (set(_LIBRARIES) if room.name == "core" else set())
            assert owner in allowed or "/" not in name, (
                f"{template.relative_to(source.ROOT)} uses {name}: a room meets others through "
                "queries and events, not templates"
            )
            get_template(name)
        if room.name != "core":
            assert template.relative_to(folder).parts[0] == room.name


@every_room
def test_a_room_leads_to_the_pages_of_no_other_room(room: Room) -> None:
    """Nobody builds another room's address by hand: queries bring it (the portal's own excepted,
    which every page's shell leads to)."""
    others = {other.name for other in ROOMS} - {room.name, "portal", "core"}
    for template in (_folder(room) / "templates").rglob("*.html"):
        for name in re.findall(r"""{%\s*url\s+['"](\w+):""", template.read_text()):
            assert name not in others, f"{template.name} leads to a page of {name}"
