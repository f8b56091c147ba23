"""A real Chromium looks around, walks and points in Côte-d'Or Street; pixels are looked at."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from playwright.sync_api import Browser, Page

from souverain.portal.tests.test_membership_browser import SETUP, Visitor, browser, signed_in
from souverain.street.engine import sphere
from souverain.street.tests import viewer_scene
from souverain.vault.tests.conftest import Server

__all__ = ["browser"]
pytestmark = pytest.mark.browser
WIDEST_DEG, CLOSEST_DEG = 90.0, 6.0  # vertical fields of view at zoom 0 and 100
OVERLAYS = """() => document.querySelectorAll(
    '.street-caption, .street-tools, .street-minimap, .street-status'
).forEach(element => element.style.display = 'none')"""
FILLED = """() => {
    const { left, top, right, bottom } = document.querySelector('.street-frame').getBoundingClientRect()
    const page = document.documentElement
    return left === 0 && top === 0 && right === innerWidth && bottom === innerHeight
        && page.scrollWidth <= innerWidth && page.scrollHeight <= innerHeight
}"""
AFTER_TWO_FRAMES = """() => new Promise(done =>
    requestAnimationFrame(() => requestAnimationFrame(() => done())))"""

Image = npt.NDArray[np.float64]


class Street(NamedTuple):
    server: Server
    ids: dict[str, Any]

    @property
    def url(self) -> str:
        return f"http://localhost:{self.server.port}"


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory, proving: bool) -> Iterator[Street]:
    server = Server(tmp_path_factory.mktemp("home"))
    server.python(SETUP)
    width = 12288 if proving else 6144
    told = server.enter(sys.executable, "-m", "souverain.street.tests.viewer_scene", str(width))
    server.start()
    yield Street(server, json.loads(told))
    server.kill()


def sharp(page: Page) -> None:
    """Everything that the screen asks for is drawn."""
    page.locator("street-viewer[data-state=sharp]").wait_for(timeout=60_000)
    page.evaluate(AFTER_TWO_FRAMES)
    page.locator("street-viewer[data-state=sharp]").wait_for(timeout=60_000)


def test_marks_are_where_the_geometry_says(street: Street, browser: Browser) -> None:
    """At 100 random views of a leaning panorama, within a pixel of the screen."""
    errors = marks_off(browser, street, 100)
    assert len(errors) >= 150
    assert max(errors) <= 1.0


def marks_off(browser: Browser, street: Street, views: int) -> list[float]:
    """How far each mark is from its place, in pixels, over random views that show one at least."""
    page = browser.new_page(viewport={"width": 900, "height": 700})
    page.goto(f"{street.url}/street/vue/{street.ids['leaning']}/")
    sharp(page)
    page.evaluate(OVERLAYS)
    box = page.locator(".street-screen").bounding_box()
    assert box is not None
    random = np.random.default_rng(20261127)
    camera = viewer_scene.marks()
    leaning = viewer_scene.LEANING
    pose = street.ids["grid_heading_deg"], leaning["pitch_deg"], leaning["roll_deg"]
    world = sphere.to_world(sphere.angles_to_direction(camera[:, 0], camera[:, 1]), *pose)
    errors: list[float] = []
    for view in range(views):
        fov = float(np.exp(random.uniform(np.log(8), np.log(85))))
        aim = camera[random.integers(len(camera))] + random.uniform(-0.3, 0.3, 2) * fov
        aim[1] = np.clip(aim[1], -85, 85)
        page.evaluate(
            "([yaw, elevation, zoom]) => document.querySelector('street-viewer')"
            ".look(yaw, elevation, zoom)",
            [float(aim[0]), float(aim[1]), (fov - WIDEST_DEG) / (CLOSEST_DEG - WIDEST_DEG) * 100],
        )
        sharp(page)
        shot = picture_of(page, box)
        looked = sphere.to_world(sphere.angles_to_direction([aim[0]], [aim[1]]), *pose)[0]
        before = len(errors)
        for at in projected(world, looked, fov, shot.shape[1], shot.shape[0]):
            found = centre_of_mark(shot, at, fov)
            if found is not None:
                errors.append(float(np.hypot(*(found - at))))
        assert len(errors) > before, f"view {view} shows no mark: {aim}, {fov}"
    return errors


def picture_of(page: Page, box: Any) -> Image:
    """The screen's pixels, shape (height, width, 3)."""
    import cv2

    pixels = np.frombuffer(page.screenshot(clip=dict(box)), np.uint8)  # type: ignore[arg-type]
    shot = cv2.imdecode(pixels, cv2.IMREAD_COLOR)
    assert shot is not None
    return shot.astype(float)


def projected(world: Image, looked: Image, fov_deg: float, width: int, height: int) -> Image:
    """Directions of the world on a level perspective screen, in continuous pixels; shape (n, 2),
    those behind left out."""
    heading = np.arctan2(looked[0], looked[1])
    right = np.array([np.cos(heading), -np.sin(heading), 0.0])
    up = np.cross(right, looked)
    focal = height / 2 / np.tan(np.radians(fov_deg) / 2)
    depth = world @ looked
    ahead = world[depth > 0.2]
    depth = ahead @ looked
    return np.stack(
        [
            width / 2 + focal * (ahead @ right) / depth,
            height / 2 - focal * (ahead @ up) / depth,
        ],
        -1,
    )


def centre_of_mark(shot: Image, at: Image, fov_deg: float) -> Image | None:
    """The middle of the coloured disc expected there; None when it is not wholly on the screen."""
    height, width = shot.shape[:2]
    focal = height / 2 / np.tan(np.radians(fov_deg) / 2)
    tangent = np.hypot(at[0] - width / 2, at[1] - height / 2) / focal
    reach = focal * np.radians(viewer_scene.MARK_RADIUS_DEG) * (1 + tangent**2) + 6
    left, top = np.floor(at - reach).astype(int)
    right, bottom = np.ceil(at + reach).astype(int)
    if left < 0 or top < 0 or right > width or bottom > height:
        return None
    part = shot[top:bottom, left:right]
    colour = np.clip(part.max(axis=2) - part.min(axis=2) - 40, 0, None)
    assert colour.sum() > 0, f"no colour around {at}"
    rows, columns = np.mgrid[top:bottom, left:right] + 0.5
    return np.array([(colour * columns).sum(), (colour * rows).sum()]) / colour.sum()


def test_one_walks_points_and_comes_back(street: Street, browser: Browser) -> None:
    context = signed_in(browser, street.server, "")
    visitor = Visitor(context, street.server)
    asked: list[str] = []
    visitor.page.on("request", lambda request: asked.append(request.url))
    page = visitor.open(f"/street/vue/{street.ids['street-0']}/?yaw=-10&elevation=0&zoom=20")
    sharp(page)
    page.evaluate(
        "() => { window.points = [];"
        " addEventListener('street-point', event => points.push(event.detail)) }"
    )
    assert "D971 PR 12+350" in (page.text_content(".street-caption") or "")
    assert "images de synthèse" in (page.text_content(".street-caption") or "")
    visitor.look("street-vue")

    page.locator(".street-screen").focus()
    page.keyboard.press("ArrowUp")
    page.wait_for_url(f"**/street/vue/{street.ids['street-1']}/*")
    sharp(page)
    # The other campaign at the same place, in its own time; what is not published is not there.
    assert page.locator(".street-dates a").count() == 1
    page.locator(".street-dates a").click()
    page.wait_for_url(f"**/street/vue/{street.ids['older']}/*")
    page.go_back()
    page.wait_for_url(f"**/street/vue/{street.ids['street-1']}/*")
    page.go_back()
    page.wait_for_url(f"**/street/vue/{street.ids['street-0']}/*")
    sharp(page)
    assert (
        page.evaluate("document.querySelector('street-viewer').panorama.id")
        == street.ids["street-0"]
    )

    page.locator(".street-screen").focus()
    page.keyboard.press("Space")
    points = page.evaluate("window.points")
    view = page.evaluate("document.querySelector('street-viewer').view")
    assert points[-1]["panorama"] == street.ids["street-0"]
    assert abs(points[-1]["yaw_deg"] - view["yaw_deg"]) < 1e-6

    assert asked and all(url.startswith((street.url, "data:", "blob:")) for url in asked)
    assert visitor.refused == []


def test_a_view_that_is_not_published_is_nobodys(street: Street, browser: Browser) -> None:
    draft = street.ids["draft"]
    for name, status in (("", 404), ("commune-member", 404), ("agent", 200)):
        page = signed_in(browser, street.server, name).new_page()
        answer = page.goto(f"{street.url}/street/vue/{draft}/")
        assert answer is not None and answer.status == status, name
        answer = page.goto(f"{street.url}/api/street/panoramas/{draft}")
        assert answer is not None and answer.status == status, name


TOUR = """
from souverain.core import access
from souverain.street import tours
tour = tours.create(access.SYSTEM, "Une rue d'essai", "Trois vues d'une rue de synthèse.")
for number, panorama in enumerate({panoramas}, 1):
    tours.add_stop(access.SYSTEM, tour, panorama, f"Vue {{number}}", "Quelques mots.",
                   yaw_deg=-10.0, elevation_deg=0.0)
tours.publish(access.SYSTEM, tour)
"""


def compose(street: Street) -> None:
    panoramas = [street.ids[f"street-{number}"] for number in range(3)]
    street.server.python(TOUR.format(panoramas=panoramas))


class Elsewhere(BaseHTTPRequestHandler):
    """A commune's own site, which frames the address that it is asked for."""

    def do_GET(self) -> None:
        framed = self.path.partition("?")[2]
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(f'<iframe src="{framed}" width="880" height="560"></iframe>'.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def elsewhere() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_a_visitor_strolls_along_a_tour_and_a_site_frames_it(
    street: Street, browser: Browser, elsewhere: str
) -> None:
    compose(street)
    visitor = Visitor(signed_in(browser, street.server, ""), street.server)
    asked: list[str] = []
    visitor.page.on("request", lambda request: asked.append(request.url))
    page = visitor.open("/street/")
    page.locator("[data-street-map][data-drawn=yes]").wait_for(timeout=60_000)
    assert "Une rue d'essai" in visitor.look("street")
    page.get_by_label("Voir ma commune").fill("Beaune")
    page.get_by_role("button", name="Chercher").click()
    page.get_by_text("Aucune image publiée à Beaune").wait_for()

    page = visitor.open("/street/promenades/une-rue-d-essai/")
    sharp(page)
    visitor.look("street-promenade")
    page.get_by_role("link", name="Étape suivante").click()
    page.wait_for_url("**?arret=2")
    sharp(page)
    assert (
        page.evaluate("document.querySelector('street-viewer').panorama.id")
        == street.ids["street-1"]
    )
    code = page.text_content("#code") or ""
    assert "/street/embed/une-rue-d-essai/" in code
    assert page.locator("iframe").count() == 0

    # Somebody else's site: another origin, which may frame this page and no other.
    outside = browser.new_page(viewport={"width": 900, "height": 600})
    for path, framed in (("/street/embed/une-rue-d-essai/", True), ("/street/", False)):
        outside.goto(f"{elsewhere}/?{street.url}{path}")
        frame = outside.frames[1]
        if framed:
            frame.locator("street-viewer[data-state=sharp]").wait_for(timeout=60_000)
            assert "Images : Département" in (frame.text_content("main") or "")
            assert frame.evaluate(FILLED)
        else:
            assert frame.locator("main").count() == 0
    outside.set_viewport_size({"width": 390, "height": 600})
    outside.goto(f"{street.url}/street/embed/une-rue-d-essai/")
    sharp(outside)
    assert outside.evaluate(FILLED)
    assert all(url.startswith((street.url, "data:", "blob:")) for url in asked)


def test_an_agent_works_at_the_desk(street: Street, browser: Browser) -> None:
    visitor = Visitor(signed_in(browser, street.server, "agent"), street.server)
    page = visitor.open(f"/street/bureau/?panorama={street.ids['draft']}")
    sharp(page)
    assert "non publiée" in (page.text_content(".street-caption") or "")
    visitor.look("street-bureau")
    page.locator("summary", has_text="Aller à").click()
    page.get_by_role("textbox", name="Route").fill("D9999")
    page.get_by_label("PR + abscisse").fill("12+350")
    page.get_by_role("button", name="Aller à cet endroit").click()
    page.locator(".error-summary, .field-errors, [role=alert]").first.wait_for()
    sharp(page)
    # A click on the picture gives the ray of the camera there: the middle of the screen.
    page.evaluate(
        "() => { window.points = [];"
        " addEventListener('street-point', event => points.push(event.detail)) }"
    )
    box = page.locator(".street-screen").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    view = page.evaluate("document.querySelector('street-viewer').view")
    point = page.evaluate("window.points")[0]
    fov = WIDEST_DEG + (CLOSEST_DEG - WIDEST_DEG) * view["zoom"] / 100
    pixel = np.degrees(2 * np.tan(np.radians(fov) / 2) / box["height"])
    for angle in ("yaw_deg", "elevation_deg"):
        assert abs(point[angle] - view[angle]) < 0.6 * pixel
    page.evaluate(
        "() => document.querySelector('street-viewer')"
        ".setMarkers([{id: 'a', yaw_deg: 5, elevation_deg: 0, label: '<b>Panneau', kind: 'sign'}])"
    )
    assert page.locator(".street-marker-sign").is_visible()


def test_an_operator_composes_a_tour(street: Street, browser: Browser) -> None:
    visitor = Visitor(signed_in(browser, street.server, "operator"), street.server)
    page = visitor.open("/street/bureau/promenades/")
    page.get_by_label("Titre").fill("Le canal à Dijon")
    visitor.look("street-promenades")
    page.get_by_role("button", name="Préparer cette promenade").click()
    page.wait_for_url("**/bureau/promenades/le-canal-a-dijon/")
    for number in (0, 1):
        link = (
            f"{street.url}/street/vue/{street.ids[f'street-{number}']}/?yaw=30&elevation=-2&zoom=20"
        )
        page.get_by_label("Adresse de la vue").fill(link)
        page.get_by_label("Titre de l'étape").fill(f"Écluse {number}")
        page.get_by_role("button", name="Ajouter cette étape").click()
        page.get_by_role("link", name=f"Écluse {number}", exact=True).wait_for()
    page.get_by_role("button", name="Monter : Écluse 1").click()
    page.wait_for_load_state()
    assert page.locator(".street-stops > li a").all_text_contents() == ["Écluse 1", "Écluse 0"]
    visitor.look("street-promenade-composer")
    page.get_by_role("button", name="Publier la promenade").click()
    page.get_by_text("La promenade est publiée.").wait_for()
    answer = browser.new_page().goto(f"{street.url}/street/promenades/le-canal-a-dijon/")
    assert answer is not None and answer.status == 200
