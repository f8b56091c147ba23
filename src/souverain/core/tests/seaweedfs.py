"""A real S3 server for tests: SeaweedFS, private to the run, on free loopback ports."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from obstore import put
from obstore.exceptions import BaseError
from obstore.store import S3Store

BUCKET, LOCKED_BUCKET = "essai", "essai-verrou"
LOCK_DAYS = 100
ACCESS_KEY, SECRET_KEY = "essai", "secret-d-essai-2026"
_FOR_GRPC = 10_000
"""SeaweedFS opens its gRPC port this far above each port."""


def _free_ports(count: int) -> list[int]:
    """Ports that are free now, with the gRPC port above each."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as probe, socket.socket() as above:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
            if port + _FOR_GRPC >= 65_536:
                # Linux hands out high ports first: look in the lower half.
                port = port // 2 + 1000
            try:
                above.bind(("127.0.0.1", port + _FOR_GRPC))
                with socket.socket() as again:
                    if port != probe.getsockname()[1]:
                        again.bind(("127.0.0.1", port))
            except OSError:
                continue
            if port not in found:
                found.append(port)
    return found


class S3Server:
    """An S3 server and what tests do with every one."""

    endpoint: str

    def start(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        raise NotImplementedError

    def address(self, prefix: str, bucket: str = BUCKET) -> str:
        """For SOUVERAIN_OBJECTS_URL."""
        return f"s3://{bucket}/{prefix}?endpoint={self.endpoint}&region=us-east-1"

    def judge(self) -> Any:
        """Another client, with every right on the server."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            config=Config(
                s3={"addressing_style": "path"},
                retries={"max_attempts": 1},
                request_checksum_calculation="when_required",  # Ceph 16 knows none of the new ones
            ),
        )

    def lock(self, bucket: str, days: int | None = LOCK_DAYS) -> None:
        """A bucket with object lock, which locks by itself what arrives for that many days."""
        judge = self.judge()
        judge.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
        if days is not None:
            retention = {"Mode": "COMPLIANCE", "Days": days}
            judge.put_object_lock_configuration(
                Bucket=bucket,
                ObjectLockConfiguration={
                    "ObjectLockEnabled": "Enabled",
                    "Rule": {"DefaultRetention": retention},
                },
            )


class SeaweedFS(S3Server):
    """One node. `stop` and `start` again keep the data and the port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.s3, self.master, self.volume, self.filer = _free_ports(4)
        self.endpoint = f"http://127.0.0.1:{self.s3}"
        identity = {
            "name": "essai",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        weed = shutil.which("weed") or str(Path(sys.executable).parent / "weed")
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(weed, "server", "-s3", f"-dir={self.folder}", "-ip=127.0.0.1"),
                    *("-ip.bind=127.0.0.1", f"-s3.config={self.folder / 's3.json'}"),
                    *(f"-s3.port={self.s3}", f"-master.port={self.master}"),
                    *(f"-volume.port={self.volume}", f"-filer.port={self.filer}"),
                    *("-master.volumeSizeLimitMB=64", "-volume.max=120", "-s3.iam=false"),
                    # Their default ports are fixed: two runs on one machine would collide.
                    *("-s3.port.iceberg=0", "-s3.port.lance=0"),
                ],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait()

    def _wait(self) -> None:
        """Until a bucket can be written: the S3 port opens before the volumes are there."""
        deadline = time.monotonic() + 60
        while True:
            assert self.process is not None
            log = (self.folder / "log").read_text(errors="replace")
            assert self.process.poll() is None, log[-4000:]
            try:
                self._make_bucket()
                put(self._client(), "pret", b"1")
                return
            except (BaseError, OSError):
                assert time.monotonic() < deadline, log[-4000:]
                time.sleep(0.1)

    def _client(self) -> S3Store:
        return S3Store(
            BUCKET,
            endpoint=self.endpoint,
            region="us-east-1",
            access_key_id=ACCESS_KEY,
            secret_access_key=SECRET_KEY,
            virtual_hosted_style_request=False,
            client_options={"allow_http": True, "timeout": "5s"},
            retry_config={"max_retries": 0},
        )

    def _make_bucket(self) -> None:
        """A bucket is a folder of the filer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.filer, timeout=5)
        connection.request("POST", f"/buckets/{BUCKET}/")
        status = connection.getresponse().status
        connection.close()
        if status not in (201, 409):  # 409: it is there
            raise OSError(f"no bucket {BUCKET}: {status}")

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
