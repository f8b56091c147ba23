"""The versions that an S3 bucket keeps, and what locks them: what `obstore` does not speak.

A bucket with object lock refuses, whoever asks, to delete a version or to shorten its retention
before the retention (mode COMPLIANCE) is over; a plain DELETE only puts a marker on top. botocore
signs the requests (SigV4) and requests sends them, through the sockets that `egress` watches: use a
`Versions` inside `S3Store.versions()` alone.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from itertools import groupby
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlencode
from xml.etree import ElementTree

import requests
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from souverain.core.objects import CHUNK, StoreUnavailable

if TYPE_CHECKING:
    from souverain.core.s3 import S3Store

COMPLIANCE = "COMPLIANCE"
_TIMEOUT_S = (5, 60)
_PAGE = 1000
_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


@dataclass(frozen=True)
class Version:
    """One version of a name of the store, or a marker that hides those below."""

    key: str
    id: str
    is_latest: bool
    is_marker: bool
    size: int
    modified: datetime


@dataclass(frozen=True)
class Kept:
    """What the store says of a version's retention: until when, by its own clock."""

    until: datetime | None
    now: datetime
    mode: str = ""
    legal_hold: bool = False

    @property
    def lets_go(self) -> bool:
        """Whether the store would let the bytes leave now."""
        return not self.legal_hold and (self.until is None or self.until <= self.now)

    @property
    def sure_until(self) -> datetime | None:
        """Until when nobody, the bucket's owner included, can delete it through S3."""
        return self.until if self.mode == COMPLIANCE else None


@dataclass(frozen=True)
class BucketLock:
    """The bucket's object lock: how long it locks, by itself, each version that arrives."""

    mode: str = ""
    days: int = 0


class Versions:
    """The versions of one store's bucket. Every method raises StoreUnavailable."""

    def __init__(self, store: S3Store) -> None:
        self._store = store
        self._session = requests.Session()
        self._session.trust_env = False
        self._signer = S3SigV4Auth(Credentials(*store.keys_given), "s3", store.region)

    # The bucket ----------------------------------------------------------------------------------

    def are_kept(self) -> bool:
        """Whether the bucket keeps versions."""
        found = self._read(None, {"versioning": ""})
        return _text(found, "Status") in ("Enabled", "Suspended")

    def bucket_lock(self) -> BucketLock | None:
        """The bucket's object lock; None when it has none."""
        answer = self._ask("GET", None, {"object-lock": ""})
        if answer.status_code == 404:
            return None
        found = self._parsed(answer)
        if _text(found, "ObjectLockEnabled") != "Enabled":
            return None
        rule = found.find("Rule/DefaultRetention")
        if rule is None:
            return BucketLock()
        days = int(_text(rule, "Days") or 0) + 365 * int(_text(rule, "Years") or 0)
        return BucketLock(_text(rule, "Mode"), days)

    def lock_bucket(self, days: int) -> None:
        """Have the bucket lock by itself, for that long, each version that arrives from now on."""
        done = self._write(
            "PUT",
            None,
            {"object-lock": ""},
            f'<ObjectLockConfiguration xmlns="{_NAMESPACE}"><ObjectLockEnabled>Enabled'
            f"</ObjectLockEnabled><Rule><DefaultRetention><Mode>{COMPLIANCE}</Mode>"
            f"<Days>{days}</Days></DefaultRetention></Rule></ObjectLockConfiguration>",
        )
        if not done:
            raise StoreUnavailable(
                "Le stockage S3 refuse que cette clé règle le verrou du compartiment : réglez-le avec "
                "celle de son propriétaire."
            )

    # Its versions --------------------------------------------------------------------------------

    def of(self, key: str) -> list[Version]:
        """The versions of one name."""
        return next((found for name, found in self.named(key) if name == key), [])

    def named(self, prefix: str = "", after: str = "") -> Iterator[tuple[str, list[Version]]]:
        """Each name that begins so, in order, with all its versions; those beyond `after`."""
        own, held = self._store.prefix, list[Version]()
        marks = {"key-marker": own + after if after else ""}
        while marks:
            asked = {"versions": "", "prefix": own + prefix, "max-keys": str(_PAGE), **marks}
            found = self._read(None, {**asked, "encoding-type": "url"})
            is_encoded = _text(found, "EncodingType") == "url"
            page = [
                _version(item, own, is_encoded)
                for item in found
                if item.tag in ("Version", "DeleteMarker")
            ]
            page.sort(key=lambda version: version.key.encode())
            groups = [(key, list(items)) for key, items in groupby([*held, *page], _key_of)]
            marks, held = {}, []
            if _text(found, "IsTruncated") == "true":
                last = _text(found, "NextKeyMarker")
                marks["key-marker"] = unquote(last) if is_encoded else last
                marks["version-id-marker"] = _text(found, "NextVersionIdMarker")
                # The next page may go on with the last name of this one.
                held = groups.pop()[1] if groups else []
            # Ceph 16 begins with `after` itself.
            yield from (group for group in groups if group[0].encode() > after.encode())

    def kept(self, version: Version) -> Kept:
        """What keeps a version in the store, at the store's own time."""
        answer = self._ask("HEAD", version.key, {"versionId": version.id})
        self._refuse_failure(answer)
        until = answer.headers.get("x-amz-object-lock-retain-until-date")
        return Kept(
            _instant(until) if until else None,
            parsedate_to_datetime(answer.headers["Date"]).astimezone(UTC),
            answer.headers.get("x-amz-object-lock-mode", ""),
            answer.headers.get("x-amz-object-lock-legal-hold") == "ON",
        )

    def keep(self, version: Version, until: datetime) -> bool:
        """Lock a version until an instant; False when the store refuses, as it does to shorten."""
        whole = until.astimezone(UTC) + timedelta(microseconds=999_999)  # S3 counts in seconds
        instant = whole.strftime("%Y-%m-%dT%H:%M:%SZ")
        return self._write(
            "PUT",
            version.key,
            {"retention": "", "versionId": version.id},
            f'<Retention xmlns="{_NAMESPACE}"><Mode>{COMPLIANCE}</Mode>'
            f"<RetainUntilDate>{instant}</RetainUntilDate></Retention>",
        )

    def delete(self, version: Version) -> bool:
        """Delete a version for good; False when the store refuses, its lock not being over."""
        return self._write("DELETE", version.key, {"versionId": version.id})

    def put_on_top(self, version: Version) -> None:
        """Make a version the current one of its name again, by a copy inside the store."""
        source = quote(f"/{self._store.bucket}/{self._store.prefix}{version.key}")
        answer = self._ask(
            "PUT",
            version.key,
            {},
            headers={"x-amz-copy-source": f"{source}?versionId={quote(version.id)}"},
        )
        # S3 may say 200, then fail: what it made is in the answer's body.
        if self._parsed(answer).tag != "CopyObjectResult":
            raise self._store.unavailable()

    def sha256(self, version: Version) -> str:
        """The digest of a version's bytes."""
        digest = hashlib.sha256()
        answer = self._ask("GET", version.key, {"versionId": version.id}, stream=True)
        with answer:
            self._refuse_failure(answer)
            try:
                for chunk in answer.iter_content(CHUNK):
                    digest.update(chunk)
            except requests.RequestException as error:
                raise self._store.unavailable() from error
        return digest.hexdigest()

    def abort_uploads(self, before: datetime) -> int:
        """Forget the parts of the uploads under the prefix that began before an instant and that S3
        never completed; returns how many."""
        found = self._read(None, {"uploads": "", "prefix": self._store.prefix})
        aborted = 0
        for upload in found.iter("Upload"):
            if _instant(_text(upload, "Initiated")) < before:
                key = _text(upload, "Key").removeprefix(self._store.prefix)
                aborted += self._write("DELETE", key, {"uploadId": _text(upload, "UploadId")})
        return aborted

    # Requests ------------------------------------------------------------------------------------

    def _read(self, key: str | None, query: dict[str, str]) -> ElementTree.Element:
        return self._parsed(self._ask("GET", key, query))

    def _write(self, method: str, key: str | None, query: dict[str, str], body: str = "") -> bool:
        """Whether the store did it; False when it denies that very act."""
        answer = self._ask(method, key, query, body.encode())
        if answer.status_code == 403 and self._code(answer) in ("AccessDenied", "ObjectLocked"):
            return False
        if answer.status_code == 404 and method == "DELETE":
            return True
        self._refuse_failure(answer)
        return True

    def _ask(
        self,
        method: str,
        key: str | None,
        query: dict[str, str],
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        *,
        stream: bool = False,
    ) -> requests.Response:
        url = f"{self._store.endpoint}/{quote(self._store.bucket)}"
        url += "" if key is None else f"/{quote(self._store.prefix + key)}"
        url += f"?{urlencode(query, quote_via=quote)}" if query else ""
        given = dict(headers or {})
        if body:
            md5 = hashlib.md5(body, usedforsecurity=False).digest()
            given["Content-MD5"] = base64.b64encode(md5).decode()
        request = AWSRequest(method, url, given, body)
        self._signer.add_auth(request)
        try:
            return self._session.request(
                method,
                url,
                headers=dict(request.headers),
                data=body or None,
                timeout=_TIMEOUT_S,
                allow_redirects=False,
                stream=stream,
            )
        except requests.RequestException as error:
            raise self._store.unavailable() from error

    def _code(self, answer: requests.Response) -> str:
        try:
            return _text(_tree(answer.content), "Code")
        except ElementTree.ParseError:
            return ""

    def _refuse_failure(self, answer: requests.Response) -> None:
        if answer.status_code == 403:
            raise self._store.refused()
        if answer.status_code >= 300:
            raise StoreUnavailable(
                f"Le stockage S3 a répondu {answer.status_code} {self._code(answer)}".rstrip() + "."
            )

    def _parsed(self, answer: requests.Response) -> ElementTree.Element:
        self._refuse_failure(answer)
        try:
            return _tree(answer.content)
        except ElementTree.ParseError as error:
            raise self._store.unavailable() from error


def _tree(content: bytes) -> ElementTree.Element:
    """An answer's elements, without their namespace. Expat bounds what entities may become."""
    root = ElementTree.fromstring(content)  # noqa: S314 - the store that we chose, over its own TLS
    for item in root.iter():
        item.tag = item.tag.rpartition("}")[2]
    return root


def _text(item: ElementTree.Element, path: str) -> str:
    return item.findtext(path) or ""


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _key_of(version: Version) -> str:
    return version.key


def _version(item: ElementTree.Element, prefix: str, is_encoded: bool) -> Version:
    key = _text(item, "Key")
    return Version(
        (unquote(key) if is_encoded else key).removeprefix(prefix),
        _text(item, "VersionId"),
        _text(item, "IsLatest") == "true",
        item.tag == "DeleteMarker",
        int(_text(item, "Size") or 0),
        _instant(_text(item, "LastModified")),
    )
