"""Every route, every role, every kind of target, through the whole program: what happens is what
`docs/access.md` says."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
from django.http import HttpResponse
from django.urls import reverse

from souverain.core import addresses, rooms
from souverain.core.openid.config import WELL_KNOWN, OpenID
from tests import access_matrix
from tests.access_matrix import OR_SELF, Found, Row
from tests.access_scene import (
    BEAUNE,
    BODIES,
    DIJON,
    MARKERS,
    Persona,
    Scene,
    Target,
    build,
    content_of,
)

PAGES = access_matrix.rows("Pages")
CALLS = access_matrix.rows("API")
FOUND = {found.route: found for found in access_matrix.pages()}
LOGIN = "/compte/login/"
UNSAFE = ("POST", "PUT", "PATCH", "DELETE")
HOW = "PYTHONPATH=src .venv/bin/python -m tests.access_matrix"


@pytest.fixture
def scene(db: None, settings: Any) -> Scene:
    """Everything, with a provider of identities that nobody answers for."""
    settings.OPENID = OpenID(f"http://localhost:1{WELL_KNOWN}", "nous", "secret", False, "Test", ())
    return build()


# The matrix is complete --------------------------------------------------------------------------


def test_every_route_has_its_line() -> None:
    missing = [
        *access_matrix.missing_pages(),
        *access_matrix.missing_operations(),
        *access_matrix.missing_library_routes(),
    ]
    assert not missing, "add to docs/access.md (see " + HOW + "):\n" + "\n".join(missing)


def test_no_line_names_a_route_that_is_gone() -> None:
    assert access_matrix.superfluous() == []


@pytest.mark.parametrize("row", [*PAGES, *CALLS], ids=str)
def test_a_line_says_what_the_manifest_grants(row: Row) -> None:
    checked = (
        row.checked if row.checked != "—" else access_matrix.likely_check(row.permission, False)
    )
    expected = access_matrix.line(row.methods, row.route, row.permission, checked)
    assert expected in access_matrix.DOCUMENT.read_text(), f"docs/access.md should say\n{expected}"


def test_a_line_names_the_permission_of_its_view() -> None:
    real = {route: found.view.permission for route, found in FOUND.items()}  # type: ignore[attr-defined]
    real |= {route: permission for _, route, permission in access_matrix.operations()}
    for row in (*PAGES, *CALLS):
        assert real[row.route] == row.permission, row.route
        assert row.permission in rooms.permissions(), row.route


# The walk ----------------------------------------------------------------------------------------


def path_of(row: Row, target: Target) -> str:
    """The route with the target's own values in it."""
    if is_operation(row):
        return re.sub(
            r"\{(?:\w+:)?(\w+)\}",
            lambda found: str(target.value(f"{sorted(row.methods)[0]} {row.route}", found[1])),
            row.route,
        )
    found = FOUND[row.route]
    return reverse(found.name, kwargs={a: target.value(found.name, a) for a in found.arguments})


def is_operation(row: Row) -> bool:
    """Of our own API, whose routes are written `{so}`."""
    return row.route.startswith("/api/")


def is_api(row: Row) -> bool:
    """Where tokens open, and who is refused is told so: a room's foreign API too."""
    return addresses.is_api(row.route)


def takes_target(row: Row) -> bool:
    return bool(re.search(r"[<{]", row.route))


def targets(row: Row, persona: Persona, scene: Scene) -> list[tuple[str, Target]]:
    """(what it is to the persona, the target)."""
    strangers = [("of Dijon", scene.targets[DIJON]), ("of Beaune", scene.targets[BEAUNE])]
    if not takes_target(row):
        return strangers[:1]
    if persona.own is not None and row.checked.endswith("self"):
        return [("own", persona.own), *strangers]
    return strangers


def lets_in(row: Row, persona: Persona, target: Target) -> bool:
    """What the matrix says."""
    if row.anonymous:
        return True
    if persona.role is None:
        return False
    if persona.scopes is not None and not (is_api(row) and row.permission in persona.scopes):
        return False
    role = str(persona.role)
    checked = row.checked.removesuffix(OR_SELF)
    if checked != row.checked and (target is persona.own or not takes_target(row)):
        return role in row.self
    match checked:
        case "self":
            return role in row.self and (target is persona.own or not takes_target(row))
        case "list" if persona.is_team:
            return role in row.own_group
        case "list" if persona.is_whole:
            return role in row.own_organisation | row.other_organisation
        case "list":
            return role in row.own_organisation
        case "département":
            return persona.is_whole and role in row.own_organisation
        case "organisation":
            if persona.is_team:
                return False
            if persona.organisation == target.organisation:
                return role in row.own_organisation
            return persona.is_whole and role in row.other_organisation
    raise AssertionError(f"docs/access.md: unknown check « {row.checked} » of {row.route}")


def outcome(answer: HttpResponse) -> str:
    """`in`, `refused`, `asked to sign in`, or the status that should not be."""
    status = answer.status_code
    if status in (301, 302, 303):
        to_login = answer.headers["Location"].startswith(LOGIN)
        return "asked to sign in" if to_login else "in"
    if status < 300 or status in (304, 400, 409, 422, 503):
        return "in"
    return "refused" if status in (401, 403, 404) else str(status)


def body_for(row: Row, target: Target) -> dict[str, Any]:
    key = row.route if is_operation(row) else FOUND[row.route].name
    return BODIES.get(key, lambda _: {})(target)


def refusals(row: Row, persona: Persona, method: str) -> tuple[str, ...]:
    """How somebody is refused: an unknown person is asked to sign in on a page."""
    unknown = persona.role is None or persona.bearer
    if unknown and method == "GET" and not is_api(row):
        return ("asked to sign in",)
    return ("refused",)


def test_everybody_gets_what_is_written(scene: Scene) -> None:
    wrong = [line for row in (*PAGES, *CALLS) for line in disagreements(scene, row)]
    assert not wrong, "docs/access.md and the program disagree\n" + "\n".join(wrong)


def disagreements(scene: Scene, row: Row) -> list[str]:
    wrong = []
    for persona in scene.personas:
        for what, target in targets(row, persona, scene):
            for method in sorted(row.methods):
                answer = persona.ask(method, path_of(row, target), body_for(row, target))
                got = outcome(answer)
                if row.route.startswith("/compte/openid/") and answer.status_code == 401:
                    got = "in"  # the provider did not answer, and anybody may be told so
                if row.route.endswith("/<path:rest>") and answer.status_code == 404:
                    got = "in"  # it says why nothing is there, to anybody
                expected = (
                    ("in",) if lets_in(row, persona, target) else refusals(row, persona, method)
                )
                # A redirection to the sign-in page is also how a used invitation answers.
                if got not in expected and not (row.anonymous and got == "asked to sign in"):
                    wrong.append(
                        f"{row.route}: {persona}, {method} on {what}: {got}, written {expected[0]}"
                    )
    return wrong


def test_a_method_that_is_not_written_is_refused(scene: Scene) -> None:
    target = scene.targets[DIJON]
    people = (scene.who("operator of the département"), scene.who("somebody unknown"))
    for row, persona in itertools.product((*PAGES, *CALLS), people):
        written = {
            m for other in (*PAGES, *CALLS) if other.route == row.route for m in other.methods
        }
        for method in {"GET", *UNSAFE} - written:
            answer = persona.ask(method, path_of(row, target))
            refused = persona.role is None and outcome(answer) in ("refused", "asked to sign in")
            assert answer.status_code == 405 or refused, (
                f"{row.route}: {method} answers {answer.status_code}; name the view's methods "
                f"(require_GET, require_POST…) or write the method in docs/access.md"
            )


def test_a_write_on_a_session_needs_its_csrf_token(scene: Scene) -> None:
    writes = [row for row in (*PAGES, *CALLS) if row.methods & {*UNSAFE}]
    people = [who for who in scene.personas if who.role is not None and not who.bearer]
    assert writes and people
    for row, persona in itertools.product(writes, people):
        for _, target in targets(row, persona, scene)[:1]:
            for method in sorted(row.methods & {*UNSAFE}):
                answer = persona.ask(
                    method, path_of(row, target), body_for(row, target), csrf=False
                )
                assert answer.status_code == 403, f"{row}: {persona} wrote without a CSRF token"


# A tenant never sees another tenant's record -----------------------------------------------------


def questions() -> list[dict[str, str]]:
    """Without arguments, and with every filter that might let something through."""
    other = MARKERS[BEAUNE]
    return [
        {},
        {"q": other, "organisation": BEAUNE, "commune": BEAUNE, "code": BEAUNE},
        {"q": other},
        {"organisation": BEAUNE},
        {"acteur": other, "fait": "vault.quota_set"},
        {"format": "csv", "organisation": BEAUNE},
        {"format": "jsonl"},
    ]


def test_nobody_of_a_commune_sees_a_record_of_another(scene: Scene) -> None:
    marker = MARKERS[BEAUNE].lower()
    reads = [row for row in (*PAGES, *CALLS) if "GET" in row.methods]
    people = [persona for persona in scene.personas if not persona.is_whole]
    for row, persona in itertools.product(reads, people):
        for what, target in targets(row, persona, scene):
            # An invitation's page is for whoever holds the link: it shows what the link says.
            if what == "of Beaune" and row.anonymous:
                continue
            path = path_of(row, target)
            if outcome(persona.ask("GET", path)) != "in":
                continue
            for question in questions():
                shown = content_of(persona.ask("GET", path, question)).decode().lower()
                # What the page repeats of the question itself is not a record.
                for sent in question.values():
                    shown = re.sub(rf'value="{sent}"|«\s{sent}\s»', "", shown, flags=re.IGNORECASE)
                assert marker not in shown, f"{persona} sees a record of Beaune: {path} {question}"


def test_the_walk_would_see_a_leak(scene: Scene) -> None:
    """The marker is where the operator looks: a walk that finds nothing has looked."""
    marker = MARKERS[BEAUNE].lower().encode()
    operator = scene.who("operator of the département")
    for path in (f"/communes/{BEAUNE}/", f"/vault/communes/{BEAUNE}/", "/journal/"):
        assert marker in content_of(operator.ask("GET", path)).lower(), path


# What belongs to the libraries --------------------------------------------------------------------

LIBRARY = {found.route: found for found in access_matrix.library_routes()}
_FILLERS = {"pk": 1, "key": "x", "uidb36": "x", "provider_id": "x"}


def _path(found: Found) -> str:
    if found.name.endswith("None"):
        return found.route
    return reverse(found.name, kwargs={a: _FILLERS[a] for a in found.arguments})


def test_account_pages_are_for_whom_is_written(scene: Scene) -> None:
    wrong = []
    for route, anonymous, signed_in in access_matrix.table("Account pages"):
        path = _path(LIBRARY[route.strip("`")])
        for name, cell in (
            ("somebody unknown", anonymous),
            ("a deactivated operator", anonymous),
            ("commune-member of a commune", signed_in),
        ):
            answer = scene.who(name).ask("GET", path)
            assert answer.status_code < 500, path
            sent_away = answer.headers.get("Location", "").startswith(LOGIN)
            got = "—" if sent_away or answer.status_code == 403 else "yes"
            if got != cell:
                wrong.append(f"{path}: {name}: {got} ({answer.status_code}), written {cell}")
    assert not wrong, "docs/access.md and allauth disagree\n" + "\n".join(wrong)
