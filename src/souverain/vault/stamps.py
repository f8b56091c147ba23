"""The daily word of an outside timestamping authority (RFC 3161) on each log."""

from __future__ import annotations

import logging
import secrets
from urllib.parse import urlsplit

import requests
from django.conf import settings

from souverain.core import clock, egress
from souverain.core.rooms import DataClass, Destination
from souverain.vault import log, site
from souverain.vault.engine import stamp
from souverain.vault.models import Log

logger = logging.getLogger(__name__)
PURPOSE = "timestamp"
_ANSWER_MAX_BYTES = 64 << 10
_TIMEOUT_S = 20


class NoStamp(Exception):
    """The authority gave no valid timestamp. The message is in French."""


def goes_to() -> Destination | None:
    """The host of SOUVERAIN_TSA_URL. It learns a digest, nothing else."""
    parts = urlsplit(settings.TSA_URL)
    if not parts.hostname:
        return None
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return Destination(parts.hostname, port, frozenset({DataClass.PUBLIC}))


def stamp_logs() -> None:
    """Once a legal day, have each log that has grown stamped; tried again until it is done."""
    if goes_to() is None or site.is_read_only():
        return
    day = clock.today().isoformat()
    grown = Log.objects.exclude(signed_size=0).select_related("organisation")
    for found in grown:
        code = found.organisation.code
        if found.stamped_size == found.signed_size or log.has_stamp(code, day):
            continue
        try:
            signed = found.signed
            token = ask(signed)
        except NoStamp as error:
            logger.warning("the log of %s is not stamped: %s", code, error)
            return
        log.keep_stamp(found, day, signed, token)


def ask(content: bytes) -> bytes:
    """The authority's answer, once it is known to be of this content. Raises NoStamp."""
    there = goes_to()
    if there is None:
        raise NoStamp("SOUVERAIN_TSA_URL ne nomme aucune autorité d'horodatage")
    nonce = secrets.randbits(63)
    try:
        with egress.permitted(there.host, there.port, PURPOSE, DataClass.PUBLIC):
            answer = _post(stamp.request(content, nonce))
        if stamp.read(answer, content).nonce != nonce:
            raise NoStamp("l'autorité d'horodatage a répondu à une autre question")
    except (requests.RequestException, OSError) as error:
        raise NoStamp(f"l'autorité d'horodatage ne répond pas ({error})") from error
    except stamp.StampError as error:
        raise NoStamp(f"l'autorité d'horodatage a mal répondu ({error})") from error
    return answer


def _post(query: bytes) -> bytes:
    with requests.Session() as session:
        session.trust_env = False
        response = session.post(
            settings.TSA_URL,
            data=query,
            headers={"content-type": "application/timestamp-query"},
            timeout=_TIMEOUT_S,
            allow_redirects=False,
            stream=True,
        )
        response.raise_for_status()
        content = b""
        for piece in response.iter_content(4096):
            content += piece
            if len(content) > _ANSWER_MAX_BYTES:
                raise NoStamp("la réponse de l'autorité d'horodatage est trop longue")
    return content
