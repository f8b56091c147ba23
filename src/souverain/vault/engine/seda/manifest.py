"""`manifest.xml`, read as a stream: what it declares, and what is wrong in its structure.

Neither a DTD, nor an entity, nor anything outside the file is ever read; depth and the size of a
text are libxml2's (256, 10 MB). libxml2 cannot compile the SEDA 2.1 and 2.2 schemas (their content
models are not deterministic), so that the structure checked here is written below.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from lxml import etree

from souverain.vault.engine.seda import MANIFEST, NAMESPACE, VERSIONS
from souverain.vault.engine.seda.findings import Findings

_XML_ID = "{http://www.w3.org/XML/1998/namespace}id"
_NCNAME = re.compile(r"[^\W\d][\w.\-·]*")
_DATE_TIME = re.compile(
    r"-?\d{4,}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
    r"T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?(Z|[+-]\d\d:\d\d)?"
)
_SIZE = re.compile(r"\+?0*[1-9]\d{0,17}")
UNIT, OBJECT, GROUP, ANY = "unité d'archives", "objet", "groupe d'objets", "élément"
_DECLARES = {
    "ArchiveUnit": UNIT,
    "BinaryDataObject": OBJECT,
    "PhysicalDataObject": OBJECT,
    "DataObjectGroup": GROUP,
}
_REFERS = {
    "ArchiveUnitRefId": UNIT,
    "DataObjectReferenceId": OBJECT,
    "SignedObjectId": OBJECT,
    "DataObjectGroupReferenceId": GROUP,
}

# For each element whose children are checked: (name, least, most) in their order. Names in one set
# may be mixed. `None` stands for anything else.
_Step = tuple[frozenset[str | None], int, int]
_MANY = 1 << 62


def _step(names: str, least: int = 0, most: int = 1) -> _Step:
    return frozenset(None if name == "*" else name for name in names.split()), least, most


def _steps(names: str) -> list[_Step]:
    """`Name` once, `Name?` at most once, `Name*` any number; in this order."""
    return [
        _step(name.rstrip("?*"), int(name[-1] not in "?*"), _MANY if name[-1] == "*" else 1)
        for name in names.split()
    ]


_ORGANISATION = [*_steps("Identifier"), _step("*", most=_MANY)]
_OBJECT_HEAD = {
    "2.1": "DataObjectSystemId? DataObjectGroupSystemId? Relationship*",
    "2.2": "DataObjectProfile? DataObjectSystemId? DataObjectGroupSystemId? Relationship*",
    "2.3": "DataObjectProfile? DataObjectSystemId? DataObjectGroupSystemId? Relationship*",
}
_OBJECT_USE = {
    "2.1": "DataObjectVersion?",
    "2.2": "DataObjectVersion?",
    "2.3": "DataObjectVersion? PersistentIdentifier* DataObjectUse? DataObjectNumber?",
}


def _shapes(version: str) -> dict[str, list[_Step]]:
    described = [
        *_steps(_OBJECT_HEAD[version]),
        _step("DataObjectGroupId DataObjectGroupReferenceId"),
        *_steps(_OBJECT_USE[version]),
    ]
    return {
        "ArchiveTransfer": _steps(
            "Comment* Date MessageIdentifier Signature? ArchivalAgreement? CodeListVersions "
            "DataObjectPackage RelatedTransferReference* TransferRequestReplyIdentifier? "
            "ArchivalAgency TransferringAgency"
        ),
        "DataObjectPackage": [
            _step("DataObjectGroup BinaryDataObject PhysicalDataObject", most=_MANY),
            *_steps("DescriptiveMetadata ManagementMetadata"),
        ],
        "DataObjectGroup": [
            _step("BinaryDataObject PhysicalDataObject", most=_MANY),
            *_steps("LogBook?"),
        ],
        "BinaryDataObject": [
            *described,
            _step("Attachment Uri"),
            *_steps(
                "MessageDigest? Size? Compressed? FormatIdentification? FileInfo? Metadata? "
                "OtherMetadata?"
            ),
        ],
        "PhysicalDataObject": [
            *described,
            *_steps("PhysicalId? PhysicalDimensions?"),
            _step("*", most=_MANY),
        ],
        "DescriptiveMetadata": _steps("ArchiveUnit*"),
        "ArchiveUnit": [
            *_steps("ArchiveUnitProfile? Management? Content"),
            _step("ArchiveUnit DataObjectReference DataObjectGroup *", most=_MANY),
        ],
        "DataObjectReference": [_step("DataObjectReferenceId DataObjectGroupReferenceId", least=1)],
        "ArchivalAgency": _ORGANISATION,
        "TransferringAgency": _ORGANISATION,
    }


@dataclass(frozen=True)
class DataObject:
    """A BinaryDataObject; the text of its elements as declared, empty when absent."""

    place: str
    identity: str
    group: str
    uri: str
    algorithm: str
    digest: str
    size: str
    attached: bool


@dataclass(frozen=True)
class Reference:
    place: str
    target: str
    kind: str


@dataclass
class Manifest:
    version: str
    objects: list[DataObject] = field(default_factory=list)
    declared: dict[str, str] = field(default_factory=dict)
    """What each identifier stands for: UNIT, OBJECT, GROUP or ANY."""
    groups: dict[str, str] = field(default_factory=dict)
    """The group of each object that is in one."""
    references: list[Reference] = field(default_factory=list)
    described: set[str] = field(default_factory=set)
    """Objects and groups to which an archive unit refers."""
    children: dict[str, list[str]] = field(default_factory=dict)
    """The archive units below each."""
    stand_ins: dict[str, str] = field(default_factory=dict)
    """Units that only stand for another one, elsewhere in the manifest."""
    profile: str = ""


@dataclass
class _Frame:
    """An element that is open."""

    name: str
    identity: str = ""
    texts: dict[str, str] = field(default_factory=dict)
    """Of a BinaryDataObject: the text of the children that count, and the digest's algorithm."""
    children: list[list[Any]] = field(default_factory=list)
    """Name, count and line of each run of children of one name."""
    seda: bool = True


_SAFELY: dict[str, Any] = {
    "resolve_entities": False,
    "load_dtd": False,
    "no_network": True,
    "huge_tree": False,
    "remove_comments": True,
    "remove_pis": True,
}


def parser() -> Any:
    """A parser for a whole document, as careful as the one that streams."""
    return etree.XMLParser(**_SAFELY)


class _Refused(Exception):
    """Nothing more can be read; the reason is among the findings."""


def read_manifest(source: Any, findings: Findings) -> Manifest | None:
    """What a manifest declares; `source` has a `read`. None when it cannot be read to its end."""
    try:
        events = etree.iterparse(source, events=("start", "end"), **_SAFELY)
        return _read(events, findings)
    except _Refused:
        return None
    except etree.XMLSyntaxError as error:
        line = error.lineno or 1
        findings.refuse(f"{MANIFEST}, ligne {line}", f"XML mal formé : {error.msg}.")
        return None


def _read(events: Iterator[tuple[str, Any]], findings: Findings) -> Manifest:
    manifest: Manifest | None = None
    shapes: dict[str, list[_Step]] = {}
    stack: list[_Frame] = []
    for event, element in events:
        if event == "start":
            if manifest is None:
                manifest = _opened(element, findings)
                shapes = _shapes(manifest.version)
            frame = _entered(element, stack, manifest, findings)
            stack.append(frame)
            continue
        assert manifest is not None
        frame = stack.pop()
        if frame.seda:
            _left(element, frame, stack, manifest, findings)
            _check_shape(element, frame, shapes, findings)
        # The frames hold what is still needed: a manifest of any length fits in memory.
        element.clear(keep_tail=False)
        while element.getprevious() is not None:
            del element.getparent()[0]
    assert manifest is not None
    return manifest


def _opened(root: Any, findings: Findings) -> Manifest:
    """Checks the document's head; raises _Refused unless it is a transfer in a known version."""
    document = root.getroottree().docinfo
    if document.internalDTD is not None or document.doctype:
        findings.refuse(MANIFEST, "Déclaration DOCTYPE refusée : elle permet de lire hors du SIP.")
        raise _Refused
    namespace, name = _split(root.tag)
    version = namespace.removeprefix(NAMESPACE)
    if not namespace.startswith(NAMESPACE):
        findings.refuse(MANIFEST, f"Espace de noms « {namespace} » : ce n'est pas du SEDA 2.")
        raise _Refused
    if version not in VERSIONS:
        findings.refuse(MANIFEST, f"SEDA {version} : seules 2.1, 2.2 et 2.3 sont prises en charge.")
        raise _Refused
    if name != "ArchiveTransfer":
        findings.refuse(MANIFEST, f"Message « {name} » et non « ArchiveTransfer ».")
        raise _Refused
    return Manifest(version)


def _entered(element: Any, stack: list[_Frame], manifest: Manifest, findings: Findings) -> _Frame:
    namespace, name = _split(element.tag)
    seda = namespace == NAMESPACE + manifest.version
    frame = _Frame(name if seda else element.tag, seda=seda)
    if stack:
        known = stack[-1].children
        if known and known[-1][0] == frame.name:
            known[-1][1] += 1
        else:
            known.append([frame.name, 1, element.sourceline])
    kind = _DECLARES.get(frame.name) if _is_declaration(frame.name, stack) else None
    if kind:
        frame.identity = element.get("id", "")
        _declare(manifest, frame.identity, kind, _place(element, frame.name), findings)
        if kind == UNIT and stack[-1].name == "ArchiveUnit":
            manifest.children.setdefault(stack[-1].identity, []).append(frame.identity)
    if (identity := element.get(_XML_ID)) is not None:
        _declare(manifest, identity, ANY, _place(element, name), findings)
    if name == "Relationship" and element.get("target"):
        place = _place(element, name)
        manifest.references.append(Reference(place, element.get("target"), ANY))
    return frame


def _is_declaration(name: str, stack: list[_Frame]) -> bool:
    """Not the DataObjectGroup by which an archive unit of Vitam refers to one, nor what an
    extension calls so."""
    parent = stack[-1].name if stack else ""
    if name == "ArchiveUnit":
        return parent in ("DescriptiveMetadata", "ArchiveUnit")
    return parent in ("DataObjectPackage", "DataObjectGroup")


def _declare(manifest: Manifest, identity: str, kind: str, place: str, findings: Findings) -> None:
    if not _NCNAME.fullmatch(identity):
        findings.refuse(place, f"Identifiant « {identity} » absent ou mal formé.")
    elif identity in manifest.declared:
        findings.refuse(place, f"Identifiant {identity} déjà employé.")
    else:
        manifest.declared[identity] = kind


def _left(
    element: Any, frame: _Frame, stack: list[_Frame], manifest: Manifest, findings: Findings
) -> None:
    parent = stack[-1] if stack else _Frame("")
    text = (element.text or "").strip()
    place = _place(element, frame.name)
    if parent.name == "BinaryDataObject" and frame.name in _TEXTS:
        parent.texts[frame.name] = text
        if frame.name == "MessageDigest":
            parent.texts["algorithm"] = element.get("algorithm", "")
    if frame.name in _REFERS:
        manifest.references.append(Reference(place, text, _REFERS[frame.name]))
        if parent.name == "DataObjectReference" and stack[-2].name == "ArchiveUnit":
            manifest.described.add(text)
        elif parent.name == "ArchiveUnit" and frame.name == "ArchiveUnitRefId":
            manifest.stand_ins[parent.identity] = text
    if parent.name in ("BinaryDataObject", "PhysicalDataObject") and frame.name in (
        "DataObjectGroupId",
        "DataObjectGroupReferenceId",
    ):
        manifest.groups[parent.identity] = text
        if frame.name == "DataObjectGroupId":
            _declare(manifest, text, GROUP, place, findings)
    elif frame.name in ("BinaryDataObject", "PhysicalDataObject"):
        if parent.name == "DataObjectGroup":
            manifest.groups[frame.identity] = parent.identity
        if frame.name == "BinaryDataObject":
            manifest.objects.append(_data_object(frame, manifest, place, findings))
    elif frame.name == "ArchivalProfile" and parent.name == "ManagementMetadata":
        manifest.profile = text
    elif parent.name == "ArchiveTransfer":
        _check_header(frame.name, text, place, findings)
    elif frame.name == "DataObjectVersion":
        _check_use(parent.name, text, place, findings)
    elif frame.name == "ManagementMetadata":
        if not any(child[0] == "OriginatingAgencyIdentifier" for child in frame.children):
            findings.refuse(place, "Le service producteur (OriginatingAgencyIdentifier) manque.")
    elif frame.name == "Content" and parent.name == "ArchiveUnit":
        _check_content(element, frame, parent, manifest.version, findings)


def _check_header(name: str, text: str, place: str, findings: Findings) -> None:
    if name == "Date" and not _DATE_TIME.fullmatch(text):
        findings.refuse(place, f"« {text[:40]} » n'est pas une date et une heure.")
    if name == "MessageIdentifier" and not text:
        findings.refuse(place, "L'identifiant du message est vide.")


_USES = {"BinaryMaster", "Dissemination", "Thumbnail", "TextContent", "PhysicalMaster"}


def _check_use(parent: str, text: str, place: str, findings: Findings) -> None:
    """The uses that Vitam knows, each for binary or for physical objects."""
    use = re.sub(r"_\d+$", "", text)
    if (parent == "BinaryDataObject" and use == "PhysicalMaster") or (
        parent == "PhysicalDataObject" and use in _USES - {"PhysicalMaster"}
    ):
        findings.refuse(place, f"L'usage « {text} » ne va pas à un {parent}.")
    elif use not in _USES:
        findings.warn(place, f"Usage « {text} » : Vitam ne connaît pas celui-là.")


def _check_content(
    element: Any, frame: _Frame, unit: _Frame, version: str, findings: Findings
) -> None:
    place = _place(element, "ArchiveUnit", unit.identity)
    names = {child[0] for child in frame.children}
    if version == "2.3" and "Signature" in names:
        findings.refuse(place, "« Signature » n'existe plus en SEDA 2.3 (SigningInformation).")
    if "Title" not in names:
        findings.warn(place, "Unité d'archives sans titre : Vitam la refuse.")


_TEXTS = {"Uri", "Size", "MessageDigest"}


def _data_object(frame: _Frame, manifest: Manifest, place: str, findings: Findings) -> DataObject:
    size = frame.texts.get("Size", "")
    if size and not _SIZE.fullmatch(size):
        findings.refuse(place, f"Taille « {size[:40]} » : un nombre entier positif est attendu.")
        size = ""
    return DataObject(
        place=place,
        identity=frame.identity,
        group=manifest.groups.get(frame.identity, ""),
        uri=frame.texts.get("Uri", ""),
        algorithm=frame.texts.get("algorithm", ""),
        digest=frame.texts.get("MessageDigest", ""),
        size=size,
        attached=any(child[0] == "Attachment" for child in frame.children),
    )


def _check_shape(
    element: Any, frame: _Frame, shapes: dict[str, list[_Step]], findings: Findings
) -> None:
    steps = shapes.get(frame.name)
    if steps is None:
        return
    if frame.name == "ArchiveUnit" and frame.children[:1] and _only(frame, "ArchiveUnitRefId"):
        return
    place = _place(element, frame.name, frame.identity)
    counts = [0] * len(steps)
    at = 0
    for name, count, line in frame.children:
        here = f"{MANIFEST}, ligne {line}"
        found = _step_of(steps, name, at)
        if found is None:
            known = _step_of(steps, name, 0) is not None
            findings.refuse(
                here,
                f"« {name} » est mal placé dans {frame.name}."
                if known
                else f"« {name} » n'est pas attendu dans {frame.name}.",
            )
            # One misplaced child does not make all those after it misplaced.
            found = _step_of(steps, name, 0)
        else:
            at = found
        if found is not None:
            counts[found] += count
            if counts[found] > steps[found][2]:
                findings.refuse(here, f"« {name} » est en trop dans {frame.name}.")
    for (names, least, _), count in zip(steps, counts, strict=True):
        if count < least:
            wanted = " ou ".join(sorted(name or "" for name in names))
            findings.refuse(place, f"« {wanted} » manque dans {frame.name}.")


def _only(frame: _Frame, name: str) -> bool:
    return [child[:2] for child in frame.children] == [[name, 1]]


def _step_of(steps: list[_Step], name: str, start: int) -> int | None:
    named = [at for at in range(start, len(steps)) if name in steps[at][0]]
    free = [at for at in range(start, len(steps)) if None in steps[at][0]]
    is_named = any(name in step[0] for step in steps)
    return named[0] if named else (free[0] if free and not is_named else None)


def _split(tag: str) -> tuple[str, str]:
    namespace, _, name = tag.rpartition("}")
    return namespace.removeprefix("{"), name


def _place(element: Any, name: str, identity: str = "") -> str:
    identity = identity or element.get("id", "")
    return f"{MANIFEST}, ligne {element.sourceline}, {name}" + (f" {identity}" if identity else "")
