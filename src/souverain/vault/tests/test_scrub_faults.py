"""The integrity pass on real processes and disks: killed, full, cut off, and judged by restic."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from souverain.core import s3
from souverain.core.tests.seaweedfs import ACCESS_KEY, SECRET_KEY, SeaweedFS
from souverain.vault.tests.conftest import Server, restic, same

COMMAND = [sys.executable, "-m", "souverain", "vault", "scrub"]
DEPOSIT = """
import random
from souverain.core.models import Device
from souverain.vault import services
from souverain.vault.tests.conftest import named
device, dice = Device.objects.select_related('organisation').get(), random.Random({seed})
for number in range({count}):
    content = dice.randbytes(int(10 ** dice.uniform(2, 6)))
    incoming = services.store().incoming()
    incoming.write(content)
    kind = ('keys', 'index', 'snapshots', 'data', 'data')[number % 5]
    services.record_object(services.set_of(device), kind, named(content), incoming, device)
    incoming.abort()
"""
# It kills itself at its n-th opening, renaming or removal of one of its files.
KILLED_AT = """
import os, signal, sys
import django
django.setup()
from souverain.core import access
from souverain.vault import scrub
from souverain.vault.models import DepositSet
seen = 0
def count(event, arguments):
    global seen
    if event in ('open', 'os.rename', 'os.remove') and str(arguments[0]).startswith({home!r}):
        seen += 1
        if seen == {moment}:
            os.kill(os.getpid(), signal.SIGKILL)
sets = list(DepositSet.objects.select_related('organisation'))
sys.addaudithook(count)
scrub.scrub(access.SYSTEM, sets, repair=True, rate=0)
"""


@pytest.fixture
def home(tmp_path: Path) -> Server:
    """A commune's vault without its web server."""
    made = Server(tmp_path / "home")
    made.prepare()
    made.device()
    return made


def scrub(
    home: Server, *options: str, code: int = 0, wrap: tuple[str, ...] = ()
) -> dict[str, object]:
    """The command to its end, which must be that exit code."""
    command = [*wrap, *COMMAND, "--json", "--rate", "0", *options]
    done = subprocess.run(
        command, env=home.environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == code, done.stderr
    found: dict[str, object] = json.loads(done.stdout or done.stderr)
    return found


def objects(home: Server) -> dict[Path, bytes]:
    files = home.folder().rglob("*")
    return {file: file.read_bytes() for file in files if file.is_file()}


def hurt(dice: random.Random, files: list[Path]) -> None:
    """Remove a file and cut another; or change a byte in several."""
    some = dice.sample(files, 5)
    if dice.random() < 0.5:
        some[0].unlink()
        some[1].write_bytes(some[1].read_bytes()[: dice.randrange(50)])
        return
    for file in some:
        content = bytearray(file.read_bytes())
        content[dice.randrange(len(content))] ^= 255
        file.write_bytes(content)


def test_killed_anywhere_it_goes_on(home: Server, proving: bool) -> None:
    """While it reads, mends and writes parity; what it leaves is right, and the next turn ends it."""
    dice = random.Random(12)
    rounds, killed = (40, 0) if proving else (3, 0)
    for turn in range(rounds):
        have_parity = list(objects(home))
        home.python(DEPOSIT.format(seed=turn, count=10))
        whole = objects(home)
        if have_parity:
            hurt(dice, have_parity)
        moment = dice.randrange(1, 4 * len(whole))  # of some 5 steps an object
        done = subprocess.run(
            [sys.executable, "-c", KILLED_AT.format(home=str(home.home), moment=moment)],
            env=home.environment,
        )
        killed += done.returncode == -signal.SIGKILL
        told = scrub(home, "--repair")
        assert told["ok"] and objects(home) == whole
    assert killed > rounds / 2
    assert home.journal_is_whole()
    # Nothing of the parity is left that no stripe vouches for.
    names = home.python(
        "from souverain.vault.models import Stripe\n"
        "print('\\n'.join(Stripe.objects.values_list('name', flat=True)))"
    ).split()
    kept = {file.parent.name for file in (home.home / "parity/parity").rglob("*") if file.is_file()}
    assert kept == set(names)


def test_a_disk_that_is_full_leaves_what_there_was(home: Server, tmp_path: Path) -> None:
    home.python(DEPOSIT.format(seed=1, count=12))
    small = home.home / "parity"
    small.mkdir()
    (small / "parity").mkdir()
    fill = f"mount -t tmpfs -o size=64k tmpfs {small} && "
    wrap = ("unshare", "--mount", "sh", "-c", fill + 'exec "$@"', "sh")
    whole = objects(home)
    told = scrub(home, "--repair", code=1, wrap=wrap)
    assert "No space left" in str(told["detail"])
    assert objects(home) == whole
    assert scrub(home, "--repair")["ok"]
    # The objects' disk is full when something must be mended: nothing is worse than before.
    lost = max(whole, key=lambda file: len(whole[file]))
    lost.unlink()
    temporary = home.home / "objects/.tmp"
    mount = f"mount -t tmpfs -o size=64k tmpfs {temporary} && "
    wrap = ("unshare", "--mount", "sh", "-c", mount + 'exec "$@"', "sh")
    told = scrub(home, "--repair", code=1, wrap=wrap)
    assert "No space left" in str(told["detail"])
    assert objects(home) == {file: content for file, content in whole.items() if file != lost}
    told = scrub(home, "--repair")
    assert told["ok"] and objects(home) == whole


def test_the_command_says_what_is_damaged_and_by_its_exit_code(home: Server) -> None:
    home.python(DEPOSIT.format(seed=1, count=12))
    told = scrub(home, "--repair", "--commune", "21231", "--set", "general")
    assert told["ok"] and told["damages"] == {"count": 0, "items": []}
    (row,) = told["sets"]["items"]  # type: ignore[index]
    assert row["objects"] == 12 and row["protected_bytes"] == row["read_bytes"]
    file = next(iter(objects(home)))
    content = file.read_bytes()
    file.write_bytes(b"")
    told = scrub(home, code=1)
    assert not told["ok"] and told["found"] == 1
    assert told["damages"]["items"][0]["name"] == file.name  # type: ignore[index]
    told = scrub(home, "--repair")
    assert told["ok"] and (told["found"], told["mended"], told["lost"]) == (1, 1, 0)
    assert file.read_bytes() == content
    done = subprocess.run(COMMAND, env=home.environment, capture_output=True, text=True)
    assert done.returncode == 0
    assert "21231/general : 12 objets relus" in done.stdout and "0 perdus" in done.stdout
    for wrong in (["--set", "general"], ["--rate", "-3"]):
        done = subprocess.run([*COMMAND, *wrong], env=home.environment, capture_output=True)
        assert done.returncode == 2
    scrub(home, "--commune", "99999", code=1)


def test_restic_reads_a_mended_repository(server: Server, tree: Path, tmp_path: Path) -> None:
    repository = server.device(scope="reparation")
    restic(repository, tmp_path, "init")
    restic(repository, tmp_path, "backup", "mairie")
    (tree / "plus").write_bytes(os.urandom(3 << 20))
    restic(repository, tmp_path, "backup", "mairie")
    chosen = ("--repair", "--commune", "21231", "--set", "reparation")
    scrub(server, *chosen)
    folder, dice = server.folder(scope="reparation"), random.Random(5)
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    packs = sorted((folder / "data").rglob("*/*"), key=lambda file: -file.stat().st_size)
    packs[0].unlink()
    for kind in ("keys", "index", "snapshots"):
        file = dice.choice(list((folder / kind).iterdir()))
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 4
        file.write_bytes(content)
    (folder / "config").write_bytes(b"")
    restic(repository, tmp_path, "check", "--read-data", fails=True)
    told = scrub(server, *chosen)
    assert told["ok"] and told["mended"] == 5
    assert before == {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    restic(repository, tmp_path, "check", "--read-data")
    restic(repository, tmp_path, "restore", "latest", "--target", "rendu")
    assert same(tree, tmp_path / "rendu" / "mairie")


def test_on_s3_it_is_the_same(seaweedfs: SeaweedFS, tmp_path: Path) -> None:
    """Objects and parity on S3; that it stops is neither a damage nor a loss."""
    server = Server(tmp_path / "home")
    server.environment |= {
        "SOUVERAIN_OBJECTS_URL": seaweedfs.address("controle"),
        "SOUVERAIN_PARITY": seaweedfs.address("parite"),
        s3.ACCESS_KEY: ACCESS_KEY,
        s3.SECRET_KEY: SECRET_KEY,
    }
    server.prepare()
    server.device()
    server.python(DEPOSIT.format(seed=3, count=15))
    assert scrub(server, "--repair")["ok"]
    look = (
        "from souverain.vault import services\n"
        "print(sorted((key, services.store().sha256(key)) for key in services.store().keys('vault')))"
    )
    whole = server.python(look)
    server.python(
        "from souverain.vault import services, parity\n"
        "keys = sorted(services.store().keys('vault'))\n"
        "services.store().remove(keys[0])\n"
        "bad = services.store().incoming()\n"
        "bad.write(b'abime')\n"
        "bad.mend(keys[-1], bad.sha256)\n"
        "parity.store().remove(sorted(parity.store().keys('parity'))[0])\n"
    )
    assert server.python(look) != whole
    told = scrub(server, "--repair")
    assert told["ok"] and told["mended"] == 2, (
        "the manifest's copy is of the stripe, and mended too"
    )
    assert server.python(look) == whole
    seaweedfs.stop()
    try:
        scrub(server, "--repair", code=1)
    finally:
        seaweedfs.start()
    told = scrub(server, "--repair")
    assert told["ok"] and told["found"] == 0
    assert not (server.home / "parity").exists() and not (server.home / "objects").exists()
    shutil.rmtree(server.home)
