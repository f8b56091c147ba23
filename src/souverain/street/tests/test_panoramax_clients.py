"""Panoramax's own clients, unmodified, against the whole program: what they send is received, what
is received they get back, and a cut loses nothing."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import simplejpeg
from django.conf import settings

from souverain.street.tests.cloud import Cloud
from souverain.street.tests.data import street_file

PEERS = Path(settings.PROJECT, "build", "peers", "bin")
SCHEMAS = Path(settings.PROJECT, "build", "stac-schemas", "pystac", "validation", "jsonschemas")
PANORAMAS = [f"pano_gopromax_seq_{number}.jpg" for number in range(1, 6)]


def peer(name: str) -> str:
    """A program of `requirements-peers.txt`, which `make install` puts there."""
    path = PEERS / name
    if not path.is_file():
        reason = f"{path} is missing: make install"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return str(path)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    street_file(PANORAMAS[0])
    peer("panoramax_cli")
    made = Cloud(tmp_path_factory.mktemp("home"))
    made.start()
    yield made
    made.stop()


def cli(cloud: Cloud, *arguments: str, home: Path) -> str:
    """Run `panoramax_cli` to its end; what it printed."""
    done = subprocess.run(
        [peer("panoramax_cli"), arguments[0], "--api-url", cloud.street, *arguments[1:]],
        env={**os.environ, "XDG_CONFIG_HOME": str(home), "COLUMNS": "300", "TERM": "dumb"},
        capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 0, said + cloud.log.read_text()[-3000:]
    return said


def ask(cloud: Cloud, path: str, token: bool = True) -> Any:
    headers = {"Authorization": f"Bearer {cloud.token}"} if token else {}
    answer = httpx.get(f"{cloud.street}/api/{path}", headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def open_set(cloud: Cloud, title: str) -> str:
    answer = httpx.post(
        f"{cloud.street}/api/upload_sets",
        json={"title": title},
        headers={"Authorization": f"Bearer {cloud.token}"},
    )
    return str(answer.json()["id"])


def send(
    cloud: Cloud, upload_set: str, name: str, content: bytes, token: str | None = None, **form: str
) -> httpx.Response:
    return httpx.post(
        f"{cloud.street}/api/upload_sets/{upload_set}/files",
        files={"file": (name, content, "image/jpeg")},
        data=form,
        headers={"Authorization": f"Bearer {cloud.token if token is None else token}"},
        timeout=60,
    )


def complete(cloud: Cloud, upload_set: str) -> Any:
    """Say that all is there and wait until it is received."""
    answer = httpx.post(
        f"{cloud.street}/api/upload_sets/{upload_set}/complete",
        headers={"Authorization": f"Bearer {cloud.token}"},
    )
    assert answer.status_code == 200, answer.text
    return eventually(lambda: ask(cloud, f"upload_sets/{upload_set}"), lambda said: said["ready"])


def eventually(look: Callable[[], Any], good: Callable[[Any], bool], within_s: float = 240) -> Any:
    deadline = time.monotonic() + within_s
    while not good(seen := look()):
        assert time.monotonic() < deadline, seen
        time.sleep(0.2)
    return seen


def small(number: int) -> bytes:
    """A real panorama, an eighth as wide, with the position and the time that it had: what is
    not about pixels needs few."""
    whole = street_file(PANORAMAS[number]).read_bytes()
    told, at = b"", 2
    while whole[at + 1] == 0xE1:  # XMP, then EXIF
        end = at + 2 + int.from_bytes(whole[at + 2 : at + 4], "big")
        told, at = told + whole[at:end], end
    told = told.replace(b">5760<", b">0720<").replace(b">2880<", b">0360<")
    pixels = simplejpeg.decode_jpeg(whole)[::8, ::8]
    reduced = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), 85)
    return reduced[:2] + told + reduced[2:]


@pytest.fixture(scope="module")
def delivered(
    cloud: Cloud, tmp_path_factory: pytest.TempPathFactory, proving: bool
) -> tuple[str, Path, str]:
    """The five real panoramas (whole when proving) as `panoramax_cli upload --wait` sends them: the
    upload set, the folder, and what the client said."""
    folder = tmp_path_factory.mktemp("tournée")
    for number, name in enumerate(PANORAMAS):
        if proving:
            shutil.copyfile(street_file(name), folder / name)
        else:
            (folder / name).write_bytes(small(number))
    said = cli(
        cloud, "upload", "--token", cloud.token, "--title", "Tournée d'été", "--wait",
        str(folder), home=folder.with_name("config"),
    )  # fmt: skip
    (upload_set,) = ask(cloud, "users/me/upload_sets")["upload_sets"]
    return upload_set["id"], folder, said


def test_the_client_sends_five_panoramas_and_waits_for_them(
    cloud: Cloud, delivered: tuple[str, Path, str]
) -> None:
    upload_set, _, said = delivered
    assert "5 pictures uploaded" in said
    assert "5 pictures processed" in said
    told = ask(cloud, f"upload_sets/{upload_set}")
    assert told["items_status"]["prepared"] == 5 and told["ready"]
    (collection,) = told["associated_collections"]
    assert collection["nb_items"] == 5
    # Nothing is published by being sent.
    assert ask(cloud, "search", token=False)["features"] == []
    assert len(ask(cloud, "search")["features"]) == 5


def test_the_client_gets_back_what_is_outside_the_blurred_boxes(
    cloud: Cloud, delivered: tuple[str, Path, str], tmp_path: Path
) -> None:
    _, folder, _ = delivered
    cli(cloud, "download", "--token", cloud.token, "--user", "me", "--path", str(tmp_path / "me"),
        home=tmp_path)  # fmt: skip
    got = {path.name: path for path in (tmp_path / "me").rglob("*.jpg")}
    assert sorted(got) == PANORAMAS
    name = PANORAMAS[0]
    boxes = json.loads(
        cloud.python(
            "import json\nfrom souverain.street.models import BlurredBox\n"
            f"print(json.dumps(list(BlurredBox.objects.filter(panorama__file_name='{name}')"
            ".values_list('x', 'y', 'width', 'height'))))"
        )
    )
    sent = simplejpeg.decode_jpeg((folder / name).read_bytes())
    back = simplejpeg.decode_jpeg(got[name].read_bytes())
    assert back.shape == sent.shape
    changed = (sent != back).any(axis=2)
    for x, y, width, height in boxes:
        # Chroma is shared by neighbouring blocks: what a decoder smooths lies within one of them.
        changed[max(0, y - 16) : y + height + 16, max(0, x - 16) : x + width + 16] = False
    assert not changed.any()


def test_what_is_published_is_got_back_by_anybody(
    cloud: Cloud, delivered: tuple[str, Path, str], tmp_path: Path, proving: bool
) -> None:
    upload_set, _, _ = delivered
    told = ask(cloud, f"upload_sets/{upload_set}")
    (collection,) = told["associated_collections"]
    publish(cloud, told["souverain:campaign"], "publish")
    try:
        cli(cloud, "download", "--collection", collection["id"], "--path", str(tmp_path),
            "--quality", "sd", home=tmp_path)  # fmt: skip
        got = sorted(tmp_path.rglob("*.jpg"))
        assert [path.name for path in got] == PANORAMAS
        width = 2048 if proving else 720
        assert simplejpeg.decode_jpeg(got[0].read_bytes()).shape == (width // 2, width, 3)
    finally:
        publish(cloud, told["souverain:campaign"], "withdraw")


def publish(cloud: Cloud, name: str, verb: str) -> None:
    cloud.python(
        "from souverain.core import access\nfrom souverain.street import campaigns\n"
        f"campaigns.{verb}(access.SYSTEM, campaigns.find('{name}'))"
    )


def test_the_same_pictures_under_another_name_are_refused_as_duplicates(
    cloud: Cloud, delivered: tuple[str, Path, str]
) -> None:
    again = open_set(cloud, "La même tournée")
    content = (delivered[1] / PANORAMAS[2]).read_bytes()
    answer = send(cloud, again, "autre-nom.jpg", content)
    assert answer.status_code == 409
    assert answer.json()["message"] == "Cette image a déjà été envoyée."
    (file,) = ask(cloud, f"upload_sets/{again}/files")["files"]
    assert file["rejected"]["reason"] == "file_duplicate"
    assert file["content_md5"] == hashlib.md5(content).hexdigest()
    assert complete(cloud, again)["items_status"] == {
        "prepared": 0, "preparing": 0, "broken": 0, "rejected": 1, "not_processed": 0,
    }  # fmt: skip


def test_each_refused_picture_is_listed_with_its_reason_and_the_others_go_on(cloud: Cloud) -> None:
    upload_set = open_set(cloud, "Une bonne et trois mauvaises")
    assert send(cloud, upload_set, "texte.jpg", b"ceci n'est pas une image").status_code == 415
    assert send(cloud, upload_set, "coupée.jpg", distinct(1)[:9000]).status_code == 202
    assert send(cloud, upload_set, "plate.jpg", street_file("flat_sony_e1.jpg").read_bytes()
                ).status_code == 202  # fmt: skip
    assert send(cloud, upload_set, "bonne.jpg", distinct(0)).status_code == 202
    told = complete(cloud, upload_set)
    assert (told["items_status"]["prepared"], told["items_status"]["rejected"]) == (1, 3)
    files = {
        one["file_name"]: one for one in ask(cloud, f"upload_sets/{upload_set}/files")["files"]
    }
    assert "rejected" not in files["bonne.jpg"] and files["bonne.jpg"]["picture_id"]
    for name in ("texte.jpg", "coupée.jpg", "plate.jpg"):
        assert len(files[name]["rejected"]["message"]) > 20, files[name]
    item = ask(cloud, f"pictures/{files['bonne.jpg']['picture_id']}")
    assert item["properties"]["original_file:name"] == "bonne.jpg"
    # A refused name is free: the right picture can be sent under it.
    assert send(cloud, upload_set, "coupée.jpg", distinct(1)).status_code == 202
    assert complete(cloud, upload_set)["items_status"]["prepared"] == 2


def test_a_cut_upload_is_resumed_by_the_client_and_loses_nothing(
    cloud: Cloud, tmp_path: Path
) -> None:
    folder = tmp_path / "coupée"
    folder.mkdir()
    for number in (2, 3, 4):
        (folder / f"{number}.jpg").write_bytes(distinct(number))
    before = {one["id"] for one in ask(cloud, "users/me/upload_sets")["upload_sets"]}
    client = subprocess.Popen(
        [peer("panoramax_cli"), "upload", "--api-url", cloud.street, "--token", cloud.token,
         "--title", "Coupée", str(folder)],
        env={**os.environ, "XDG_CONFIG_HOME": str(tmp_path)},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    # The client names its upload set in the folder: from then on it is cut, wherever it is.
    eventually(lambda: list(folder.glob("*panoramax*")) + list(folder.glob(".*")), bool, 60)
    client.send_signal(signal.SIGKILL)
    client.wait()
    said = cli(cloud, "upload", "--token", cloud.token, "--title", "Coupée", "--wait",
               str(folder), home=tmp_path)  # fmt: skip
    assert "Resume" in said or "already" in said, said
    after = ask(cloud, "users/me/upload_sets")["upload_sets"]
    (mine,) = [one for one in after if one["id"] not in before]
    files = ask(cloud, f"upload_sets/{mine['id']}/files")["files"]
    assert sorted(one["file_name"] for one in files) == ["2.jpg", "3.jpg", "4.jpg"]
    told = eventually(lambda: ask(cloud, f"upload_sets/{mine['id']}"), lambda it: it["ready"])
    assert told["items_status"]["prepared"] == 3


def test_a_killed_server_keeps_what_it_acknowledged_and_no_part(cloud: Cloud) -> None:
    upload_set = open_set(cloud, "Serveur tué")
    whole, second = distinct(1), distinct(2)
    assert send(cloud, upload_set, "1.jpg", whole).status_code == 202
    big = second + bytes(30 << 20)

    def slowly() -> Iterator[bytes]:
        head = (
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="2.jpg"\r\n'
            b"Content-Type: image/jpeg\r\n\r\n"
        )
        yield head + big[: 8 << 20]
        folder = cloud.home / "street-uploads" / upload_set
        eventually(lambda: list(folder.glob(".*.part")), bool, 60)
        for pid in cloud.web_pids():
            os.kill(pid, signal.SIGKILL)
        yield big[8 << 20 :] + b"\r\n--x--\r\n"

    with pytest.raises(httpx.HTTPError):
        httpx.post(
            f"{cloud.street}/api/upload_sets/{upload_set}/files", content=slowly(), timeout=60,
            headers={"Authorization": f"Bearer {cloud.token}",
                     "Content-Type": "multipart/form-data; boundary=x",
                     "Content-Length": str(len(big) + 200)},
        )  # fmt: skip
    eventually(cloud.listens, bool, 60)
    files = ask(cloud, f"upload_sets/{upload_set}/files")["files"]
    assert [one["file_name"] for one in files] == ["1.jpg"]
    kept = cloud.home / "street-uploads" / upload_set / "1.jpg"
    assert kept.read_bytes() == whole
    assert send(cloud, upload_set, "2.jpg", second).status_code == 202
    complete(cloud, upload_set)
    assert not list((cloud.home / "street-uploads").glob(f"{upload_set}/*"))


def distinct(number: int) -> bytes:
    """A panorama that was never sent: a comment makes its bytes its own."""
    picture = small(number)
    comment = os.urandom(12).hex().encode()
    return picture[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + picture[2:]


@pytest.mark.parametrize(
    ("name", "form", "status"),
    [
        ("../../evasion.jpg", {}, 202),
        (".cache.jpg", {}, 400),
        ("image.png", {}, 400),
        ("é" * 200 + ".jpg", {}, 400),
        ("1.jpg", {"override_longitude": "5.0"}, 400),
    ],
)
def test_a_hostile_form_is_refused_or_stays_in_its_folder(
    cloud: Cloud, name: str, form: dict[str, str], status: int
) -> None:
    upload_set = open_set(cloud, "Hostile")
    content = distinct(3) + os.urandom(16)
    assert send(cloud, upload_set, name, content, **form).status_code == status
    folder = cloud.home / "street-uploads" / upload_set
    kept = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    assert kept == (["evasion.jpg"] if status == 202 else [])


def test_who_may_not_deliver_sends_nothing(cloud: Cloud) -> None:
    upload_set = open_set(cloud, "À moi")
    assert send(cloud, upload_set, "1.jpg", b"x", token="souv_inconnu").status_code == 401
    narrow = cloud.python(
        "from datetime import timedelta\nfrom souverain.core import access, services\n"
        "from souverain.core.models import User\nuser = User.objects.get()\n"
        "print(services.create_token(access.of_user(user), user, name='lecture',"
        " scopes=['street.desk'], life=timedelta(days=1))[1])"
    )
    assert send(cloud, upload_set, "1.jpg", b"x", token=narrow).status_code == 403
    assert send(cloud, "pas-un-uuid", "1.jpg", b"x").status_code == 404
    assert ask(cloud, f"upload_sets/{upload_set}/files")["files"] == []


def test_the_validator_of_stac_apis_finds_no_error(
    cloud: Cloud, delivered: tuple[str, Path, str]
) -> None:
    told = ask(cloud, f"upload_sets/{delivered[0]}")
    publish(cloud, told["souverain:campaign"], "publish")
    try:
        item = ask(cloud, "search?limit=1", token=False)["features"][0]
        x, y = item["geometry"]["coordinates"]
        ring = [[x - 1, y - 1], [x + 1, y - 1], [x + 1, y + 1], [x - 1, y + 1], [x - 1, y - 1]]
        classes = ("core", "collections", "features", "item-search")
        done = subprocess.run(
            [peer("python"), str(Path(__file__).with_name("offline_validator.py")), str(SCHEMAS),
             "--root-url", f"{cloud.street}/api/", "--collection", item["collection"],
             "--geometry", json.dumps({"type": "Polygon", "coordinates": [ring]}),
             *(word for name in classes for word in ("--conformance", name))],
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
    finally:
        publish(cloud, told["souverain:campaign"], "withdraw")
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "Errors: none" in said, said
    assert said.count("Validating STAC API") == 4, said
