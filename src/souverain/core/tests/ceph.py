"""Ceph's S3 (RGW) for `make prove`: a cluster of one node, private to the run, as stock Debian has it.

Monitor, manager, one OSD on a sparse file and the gateway, without systemd, without cephx, on
loopback; every process is ours and ends with `stop`. Needs Debian's ceph-mon, ceph-mgr, ceph-osd and
radosgw.
"""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any

from souverain.core.tests.seaweedfs import ACCESS_KEY, SECRET_KEY, S3Server

_CONFIGURATION = """
[global]
fsid = {fsid}
mon host = v1:127.0.0.1:{mon}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind msgr2 = false
auth cluster required = none
auth service required = none
auth client required = none
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon warn on pool no redundancy = false
mon max pg per osd = 1000
mon data = {folder}/mon
mgr data = {folder}/mgr
osd data = {folder}/osd
osd objectstore = bluestore
bluestore block size = 6442450944
osd memory target = 939524096
run dir = {folder}
admin socket = {folder}/$name.asok
log file = {folder}/$name.log
keyring = {folder}/keyring
rgw frontends = beast endpoint=127.0.0.1:{port}
rgw dns name = 127.0.0.1
"""


class Ceph(S3Server):
    """One node. `folder` must have a short path: the daemons' sockets are in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fsid, self.osd = str(uuid.uuid4()), str(uuid.uuid4())
        mon, self.port = _free_ports(2)
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.configuration = folder / "ceph.conf"
        self.configuration.write_text(
            _CONFIGURATION.format(folder=folder, fsid=self.fsid, mon=mon, port=self.port)
        )
        self.mon = mon
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        if not (self.folder / "mon").exists():
            self._make()
        else:
            self._daemon("ceph-mon", "-i", "a")
            self._daemon("ceph-osd", "-i", "0")
        self._daemon("ceph-mgr", "-i", "x")
        self._daemon("radosgw", "-n", "client.rgw")
        self._wait()

    def _make(self) -> None:
        monmap = str(self.folder / "monmap")
        at = f"[v1:127.0.0.1:{self.mon}]"
        self._run("monmaptool", "--create", "--fsid", self.fsid, "--addv", "a", at, monmap)
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap)
        self._daemon("ceph-mon", "-i", "a")
        (self.folder / "osd").mkdir()
        (self.folder / "mgr").mkdir()
        self._run("ceph", "--connect-timeout", "60", "osd", "new", self.osd)
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", self.osd)
        self._daemon("ceph-osd", "-i", "0")
        keys = ("--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY)
        self._run("radosgw-admin", "user", "create", "--uid=essai", "--display-name=essai", *keys)

    def _run(self, program: str, *arguments: str) -> str:
        known = () if program == "monmaptool" else ("-c", str(self.configuration))
        done = subprocess.run(
            [program, *known, *arguments], capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"{program}: {done.stderr[-2000:]}"
        return done.stdout

    def _daemon(self, *command: str) -> None:
        with (self.folder / "out").open("ab") as out:
            self.processes.append(
                subprocess.Popen(
                    [*command, "-f", "-c", str(self.configuration)],
                    stdout=out,
                    stderr=out,
                    start_new_session=True,
                )
            )

    def _wait(self) -> None:
        """Until the gateway answers: it opens its port once its pools are there."""
        deadline = time.monotonic() + 300
        while True:
            for process in self.processes:
                assert process.poll() is None, (self.folder / "out").read_text()[-4000:]
            try:
                urllib.request.urlopen(self.endpoint, timeout=5).close()
                return
            except urllib.error.HTTPError:
                return
            except OSError:
                assert time.monotonic() < deadline, "the gateway does not answer"
                time.sleep(0.2)

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes = []


def _free_ports(count: int) -> list[int]:
    probes: list[Any] = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports
