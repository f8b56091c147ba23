"""The log in the five-file form of VITAM's secured journals, which archivists know.

The layout and the names of the fields are VITAM's (`data.txt`, `merkleTree.json`, `token.tsp`,
`computing_information.txt`, `additional_information.txt`); the hashing is RFC 6962 over SHA-256, said
in the files. Each export goes on from the last, and its token covers the tokens before it.
"""

from __future__ import annotations

import base64
import json
import zipfile
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from django.core.exceptions import ValidationError
from django.db import transaction

from souverain.core import clock, journal
from souverain.core.access import Actor
from souverain.core.models import Organisation
from souverain.core.transactions import serialise_writers
from souverain.vault import log, stamps
from souverain.vault.engine.tlog import tree
from souverain.vault.engine.tlog.leaves import Leaf
from souverain.vault.export import whole_file
from souverain.vault.models import Log, LogExport

VERSION = "V1"
MONTH, YEAR = timedelta(days=30), timedelta(days=365)


@dataclass(frozen=True)
class Exported:
    """Which leaves an export has: [first, size); and whether an authority stamped it."""

    first: int
    size: int
    stamped: bool


def export(actor: Actor, organisation: Organisation, output: Path) -> Exported:
    """Write what was signed since the last export, and have it stamped where an authority is set.
    Raises ValidationError when
    there is nothing new, stamps.NoStamp, FileExistsError, OSError; nothing is recorded then."""
    before = LogExport.objects.filter(organisation=organisation).order_by("-pk").first()
    found = Log.objects.filter(pk=organisation.pk).first()
    first, size = before.size if before else 0, found.signed_size if found else 0
    if found is None or size <= first:
        raise ValidationError("Le registre n'a rien de nouveau depuis le dernier export.")
    leaves = list(log.rows(found, first, size))
    frontier = tree.Frontier()
    frontier.add(map(tree.leaf_hash, leaves))
    now, root = clock.now(), _base64(frontier.root())
    stamped = stamps.goes_to() is not None
    computing = _lines(
        currentHash=root,
        previousTimestampToken=_token(organisation, now),
        previousTimestampTokenMinusOneMonth=_token(organisation, now - MONTH),
        previousTimestampTokenMinusOneYear=_token(organisation, now - YEAR),
    )
    additional = _lines(
        numberOfElements=str(len(leaves)),
        startDate=Leaf.parse(leaves[0]).at,
        endDate=Leaf.parse(leaves[-1]).at,
        securisationVersion=VERSION,
        hashing="RFC 6962, SHA-256; one leaf is one line of data.txt, without its newline",
        tokenOver="computing_information.txt, SHA-256 (RFC 3161)" if stamped else "null",
        origin=log.origin(organisation.code),
        firstElement=str(first),
        checkpoint=_base64(found.signed),
    )
    token = stamps.ask(computing) if stamped else b""
    with whole_file(output) as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("data.txt", b"".join(leaf + b"\n" for leaf in leaves))
            archive.writestr("merkleTree.json", json.dumps({"Root": root}))
            archive.writestr("token.tsp", token)
            archive.writestr("computing_information.txt", computing)
            archive.writestr("additional_information.txt", additional)
        with transaction.atomic():
            serialise_writers()
            last = LogExport.objects.filter(organisation=organisation).order_by("-pk").first()
            if last != before:
                raise ValidationError("Un autre export vient d'être fait : recommencez.")
            LogExport.objects.create(organisation=organisation, size=size, token=token, made_at=now)
            journal.append(
                actor,
                "vault.log_exported",
                organisation=organisation.code,
                data={"first": first, "size": size, "root": root},
            )
    return Exported(first, size, stamped)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _token(organisation: Organisation, until: datetime) -> str:
    """The token of the last export made by then, as VITAM writes it."""
    made = LogExport.objects.filter(organisation=organisation, made_at__lte=until)
    found = made.order_by("-pk").first()
    return _base64(bytes(found.token)) if found and found.token else "null"


def _lines(**told: str) -> bytes:
    return "".join(f"{name}={value}\n" for name, value in told.items()).encode()
