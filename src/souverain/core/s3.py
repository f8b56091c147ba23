"""Objects on any S3 (Ceph, Garage, SeaweedFS …), through `obstore`.

A put is spooled, and hashed, in an anonymous file under `SOUVERAIN_HOME/spool`: an upload that was
cut or whose content is wrong never reaches S3, and memory stays bounded. The content then goes
straight under its name, in one request or in parts that S3 shows only once it has them all: a bucket
with object lock would keep for months what was staged elsewhere. A name is written once because we
look first, alone on this machine; small content also asks the server to refuse a second time
(`If-None-Match: *`), which Ceph RGW 16.2 ignores. Across machines, what two writers race to put has
the SHA-256 of its name, or is put under the database's own lock.

A bucket that keeps versions never loses one by a plain DELETE: `versions` is how bytes leave it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import S3Store as Client

from souverain.core import clock, egress
from souverain.core.objects import (
    CHUNK,
    PURPOSE,
    TEMPORARY,
    AlreadyThere,
    Incoming,
    Store,
    StoreUnavailable,
    WrongContent,
    safe_parts,
)
from souverain.core.rooms import DataClass

if TYPE_CHECKING:
    from souverain.core.s3_versions import Versions

ACCESS_KEY, SECRET_KEY = "SOUVERAIN_S3_ACCESS_KEY", "SOUVERAIN_S3_SECRET_KEY"
SMALL_BYTES = 1 << 20
LARGEST_BYTES = 5 << 30
"""What one copy inside S3 takes (CopyObject), by which a hidden version comes back."""
PART_BYTES = 8 << 20
PARTS_AT_ONCE = 2
_LOCKS = 1024
"""A writer holds one while it sends: few, and unlike names would wait for each other."""
_ASK_AGAIN_S = 1.0
_PROBE = f"{TEMPORARY}/controle"
_PROBE_AGAIN = timedelta(hours=1)
"""A bucket with object lock keeps each probe for months."""


class S3Store(Store):
    """Objects under a prefix of one bucket."""

    def __init__(
        self,
        bucket: str,
        prefix: str,
        endpoint: str,
        region: str,
        keys: tuple[str, str],
        spool: Path,
        data_classes: frozenset[DataClass],
    ) -> None:
        parts = urlsplit(endpoint)
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self.bucket, self.endpoint, self.region, self.keys_given = bucket, endpoint, region, keys
        self.prefix = f"{prefix}/" if prefix else ""
        self._data_classes = data_classes
        self._asked_at = -_ASK_AGAIN_S
        self._versions: Versions | None = None
        self.spool = spool

        def client(retries: int, within: timedelta) -> Client:
            return Client(
                bucket,
                endpoint=endpoint,
                region=region,
                access_key_id=keys[0],
                secret_access_key=keys[1],
                virtual_hosted_style_request=False,
                client_options={
                    "allow_http": parts.scheme == "http",
                    "connect_timeout": timedelta(seconds=5),
                    "timeout": within,
                },
                retry_config={"max_retries": retries, "retry_timeout": timedelta(seconds=10)},
            )

        self.client = client(2, timedelta(seconds=60))
        self._impatient = client(0, timedelta(seconds=5))

    @classmethod
    def at(cls, address: str, setting: str) -> Self:
        """The store at the `s3://bucket/prefix?endpoint=…&region=…` of a setting, with the keys of
        the environment. Raises ValueError, in French and without the secrets."""
        from django.conf import settings

        from souverain.core import rooms

        parts = urlsplit(address)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        unknown = sorted(query.keys() - {"endpoint", "region"})
        endpoint = query.get("endpoint", "").rstrip("/")
        host = _host_of(endpoint)
        if not parts.netloc or parts.username or unknown or not host:
            raise ValueError(
                f"{setting} : adresse attendue, "
                "s3://compartiment/prefixe?endpoint=https://hote&region=nom."
            )
        if not endpoint.startswith("https:") and not egress.is_loopback(host):
            raise ValueError(f"{setting} : hors de cette machine, endpoint doit être en https.")
        prefix = unquote(parts.path).strip("/")
        try:
            if prefix:
                safe_parts(prefix)
        except ValueError:
            raise ValueError(f"{setting} : le préfixe est mal formé.") from None
        keys = os.environ.get(ACCESS_KEY, ""), os.environ.get(SECRET_KEY, "")
        if not all(keys):
            # Without keys the library would ask a cloud provider's own address for some.
            raise ValueError(f"Objets sur S3 : {ACCESS_KEY} et {SECRET_KEY} doivent être donnés.")
        held = rooms.held_classes()
        region = query.get("region", "us-east-1")
        return cls(parts.netloc, prefix, endpoint, region, keys, settings.HOME / "spool", held)

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Ask `egress`, then turn the library's errors into French. Native code opens its own
        sockets, which Python's audit hook does not see."""
        if time.monotonic() - self._asked_at >= _ASK_AGAIN_S:
            for data_class in sorted(self._data_classes):
                egress.permit(self._host, self._port, PURPOSE, data_class)
            self._asked_at = time.monotonic()
        try:
            yield
        except (PermissionDeniedError, UnauthenticatedError):
            raise self.refused() from None
        except AlreadyExistsError:
            raise
        except BaseError as error:
            raise self.unavailable() from error

    def refused(self) -> StoreUnavailable:
        return StoreUnavailable(
            "Le stockage S3 refuse nos clés : l'opérateur doit vérifier "
            f"{ACCESS_KEY} et {SECRET_KEY}."
        )

    def unavailable(self) -> StoreUnavailable:
        return StoreUnavailable(
            f"Le stockage S3 ({self._host}:{self._port}) ne répond pas. Rien n'a été pris ; "
            "réessayez dans quelques minutes."
        )

    @contextmanager
    def versions(self) -> Iterator[Versions | None]:
        from souverain.core.s3_versions import Versions  # botocore, which few processes need

        with (
            self.calling(),
            egress.permitted(self._host, self._port, PURPOSE, min(self._data_classes)),
        ):
            if self._versions is None:
                found = Versions(self)
                # A bucket that keeps versions goes on keeping them; another may begin to.
                self._versions = found if found.are_kept() else None
            yield self._versions

    @contextmanager
    def alone(self, key: str) -> Iterator[None]:
        """One writer at a time on a key, among the processes of this machine."""
        stripe = hashlib.sha256(key.encode()).digest()[0] % _LOCKS
        self.spool.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.spool / f"lock-{stripe}", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def key(self, key: str) -> str:
        """The key inside the bucket. Raises ValueError for one that could leave the store."""
        return self.prefix + "/".join(safe_parts(key))

    def incoming(self) -> Incoming:
        return S3Incoming(self)

    def size(self, key: str) -> int | None:
        try:
            with self.calling():
                return int(obstore.head(self.client, self.key(key))["size"])
        except FileNotFoundError:
            return None

    def read(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        size = self.size(key)
        if size is None:
            raise FileNotFoundError(key)
        end = size if length is None else min(size, start + length)
        if start >= end:
            return
        with self.calling():
            options: Any = {"range": (start, end)}
            got = obstore.get(self.client, self.key(key), options=options)
            for piece in got.stream(min_chunk_size=CHUNK):
                view = memoryview(piece)
                for at in range(0, len(view), CHUNK):
                    yield bytes(view[at : at + CHUNK])

    def names(self, prefix: str) -> list[str]:
        under = self.key(prefix) + "/"
        with self.calling():
            found = obstore.list_with_delimiter(self.client, under)
        paths = [*found["common_prefixes"], *(item["path"] for item in found["objects"])]
        return sorted(path.rstrip("/").rpartition("/")[2] for path in paths)

    def keys(self, prefix: str) -> Iterator[str]:
        with self.calling():
            for page in obstore.list(self.client, self.key(prefix) + "/"):
                for item in page:
                    yield item["path"].removeprefix(self.prefix)

    def tidy(self, prefix: str) -> None:
        """S3 has no folders."""

    def remove(self, key: str) -> bool:
        safe_parts(key)
        with self.versions() as versions:
            if versions is None:
                return self.hide(key)
            found = versions.of(key)
            stay = [each for each in found if not versions.delete(each)]
        if any(each.is_latest and not each.is_marker for each in stay):
            self.hide(key)
        return any(not each.is_marker for each in found)

    def hide(self, key: str) -> bool:
        if self.size(key) is None:
            return False
        with self.calling(), suppress(FileNotFoundError):
            obstore.delete(self.client, self.key(key))
        return True

    def sweep(self, before: datetime) -> int:
        from souverain.core.s3_versions import Versions

        with self.versions() as versions:
            return (versions or Versions(self)).abort_uploads(before)

    def check(self) -> None:
        probe = f"{self.prefix}{_PROBE}"
        try:
            with self.calling(), suppress(FileNotFoundError):
                if (
                    clock.now() - obstore.head(self._impatient, probe)["last_modified"]
                    < _PROBE_AGAIN
                ):
                    return
            with self.calling():
                obstore.put(self._impatient, probe, b"souverain")
        except FileNotFoundError:
            raise StoreUnavailable("Le compartiment S3 n'existe pas.") from None


def _host_of(endpoint: str) -> str:
    """The host of an http(s) address, or nothing when it is not one."""
    try:
        parts = urlsplit(endpoint)
        _ = parts.port
    except ValueError:
        return ""
    plain = parts.scheme in ("http", "https") and not (parts.username or parts.path or parts.query)
    return (parts.hostname or "") if plain else ""


class S3Incoming(Incoming):
    """An anonymous file on this machine, until S3 has it."""

    def __init__(self, store: S3Store) -> None:
        self._store = store
        store.spool.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._spooled = tempfile.TemporaryFile(dir=store.spool)  # noqa: SIM115 - closed by abort
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def write(self, chunk: bytes) -> None:
        if self.size + len(chunk) > LARGEST_BYTES:
            raise ValueError("Un objet fait 5 Gio au plus.")
        self._spooled.write(chunk)
        self._hash.update(chunk)
        self.size += len(chunk)

    def seal(self) -> None:
        """Nothing is durable before it has its name."""

    def commit(self, key: str, sha256: str | None = None) -> None:
        self._ready(sha256)
        with self._store.alone(key):
            if self._store.exists(key):
                raise AlreadyThere(key)
            try:
                self._name(key, again=False)
            except AlreadyExistsError:
                raise AlreadyThere(key) from None
        self.abort()

    def mend(self, key: str, sha256: str) -> None:
        self._ready(sha256)
        with self._store.alone(key):
            self._name(key, again=True)
        self.abort()

    def _ready(self, sha256: str | None) -> None:
        if sha256 is not None and sha256 != self.sha256:
            raise WrongContent(sha256)

    def _name(self, key: str, *, again: bool) -> None:
        """Put the content under its name; over what is there only if `again`."""
        client, target = self._store.client, self._store.key(key)
        self._spooled.seek(0)
        with self._store.calling():
            if self.size <= SMALL_BYTES:
                mode: Any = "overwrite" if again else "create"
                obstore.put(client, target, self._spooled.read(), mode=mode)
                return
            obstore.put(
                client,
                target,
                self._spooled,
                use_multipart=True,
                chunk_size=PART_BYTES,
                max_concurrency=PARTS_AT_ONCE,
            )

    def abort(self) -> None:
        self._spooled.close()
