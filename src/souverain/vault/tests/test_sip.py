"""The check of SIPs: Vitam's own, hostile ones, and random damage.

The verdicts of `NAMED` are what the zips' names say (Vitam's test data); those of `MEANT` are for
names that say nothing, decided from what Vitam does with them; `UNDER_A_PROFILE` needs a document
that is not in the SIP.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from souverain.cli import main
from souverain.vault.engine.seda.check import ProfileError, check_sip
from souverain.vault.engine.seda.findings import MAX_REASONS, Findings
from souverain.vault.tests.xerces import Xerces

NAMED = {
    "KO_Reference_Unexisting.zip": "« ID006 » n'est déclaré nulle part",
    "KO_SEDA_2.3_Signature.zip": "« Signature » n'existe plus en SEDA 2.3",
    "KO_SIP_INCORRECT_OBJECT_SIZE.zip": "Taille déclarée 2 octets, réelle 6",
    "OK_468.zip": "",
    "OK_ARBO-COMPLEXE.zip": "",
    "OK_RULES_COMPLEXE_COMPLETE.zip": "",
    "OK_SEDA_2.1_Signature.zip": "",
    "OK_SEDA_2.2_Signature.zip": "",
    "OK_SIP_ARK.zip": "",
    "OK_SIP_FULL_SEDA2.2.zip": "",
    "SIP-ingest-internal-Content-KO.zip": "Fichier absent de l'archive",
    "SIP-ingest-internal-ok.zip": "",
    "SIP_INCORRECT_ALGORITHM.zip": "Algorithme d'empreinte « sha512 »",
    "SIP_OK.zip": "",
    "SIP_OK_HoldRules.zip": "",
    "Signature_OK.zip": "",
    # Vitam's own reason is not known; ours is the digest.
    "WARNING_SIP_mail_Seda2.2.zip": "L'empreinte MD5 ne protège plus",
}
# Vitam ingests both in its tests of attachment and of elimination. The second is not valid against
# the official 2.3 schema (Extended is abstract there), and Vitam relaxes it.
MEANT = {"12_UNITS_12_GOTS.zip": "", "TEST_ELIMINATION_V2.zip": ""}
UNDER_A_PROFILE = {"KO_468.zip"}
SCHEMA_IS_STRICTER = {"TEST_ELIMINATION_V2.zip"}


def check(content: bytes, **options: Any) -> Findings:
    return check_sip(io.BytesIO(content), **options)


def reasons(found: Findings) -> str:
    return "\n".join(f"{reason.place} : {reason.reason}" for reason in found.reasons)


def verdict_of_name(name: str) -> str:
    if name.startswith("WARNING"):
        return "WARNING"
    return "KO" if "KO" in name or "INCORRECT" in name else "OK"


def test_every_zip_is_expected_here(vault_data: Path) -> None:
    names = {path.name for path in (vault_data / "sip").glob("*.zip")}
    assert names == {*NAMED, *MEANT, *UNDER_A_PROFILE} and len(names) == 20


@pytest.mark.parametrize("name", sorted(NAMED))
def test_the_verdict_that_the_name_says(vault_data: Path, name: str) -> None:
    found = check((vault_data / "sip" / name).read_bytes())
    assert found.verdict == verdict_of_name(name), reasons(found)
    assert NAMED[name] in reasons(found) and bool(NAMED[name]) == bool(found.reasons)


@pytest.mark.parametrize("name", sorted(MEANT))
def test_the_verdict_that_vitam_gives(vault_data: Path, name: str) -> None:
    found = check((vault_data / "sip" / name).read_bytes())
    assert found.verdict == "OK", reasons(found)


PROFILE = b"""<grammar xmlns="http://relaxng.org/ns/structure/1.0">
<start><ref name="any"/></start>
<define name="any"><element><anyName/><zeroOrMore><choice>
  <attribute><anyName/></attribute><text/><ref name="any"/></choice></zeroOrMore></element></define>
</grammar>"""
TITLED = PROFILE.replace(
    b"<anyName/><zeroOrMore>",
    b"<anyName><except><name ns='fr:gouv:culture:archivesdefrance:seda:v2.1'>Title</name></except>"
    b"</anyName><zeroOrMore>",
).replace(
    b'<ref name="any"/></choice>',
    b'<ref name="any"/><element name="Title" ns="fr:gouv:culture:archivesdefrance:seda:v2.1">'
    b'<data type="string" datatypeLibrary="http://www.w3.org/2001/XMLSchema-datatypes">'
    b'<param name="minLength">10</param></data></element></choice>',
)


def test_a_profile_refuses_what_seda_accepts(vault_data: Path) -> None:
    """KO_468 is KO in Vitam for its archival profile alone, which the archives hold: without it
    the SIP is right, and the profile is named among what was not checked."""
    short, long = ((vault_data / "sip" / f"{name}_468.zip").read_bytes() for name in ("KO", "OK"))
    alone = check(short)
    assert alone.verdict == "OK" and "PROFIL_TNR_RNG" in alone.not_checked[0]
    assert check(short, profile=PROFILE).verdict == "OK"
    found = check(short, profile=TITLED)
    assert found.verdict == "KO" and "Non conforme au profil d'archivage" in reasons(found)
    assert check(long, profile=TITLED).verdict == "OK" and not check(long, profile=TITLED).reasons
    with pytest.raises(ProfileError, match="RELAX NG"):
        check(long, profile=b"<a/>")


def test_the_schema_agrees(vault_data: Path, xerces: Xerces, tmp_path: Path) -> None:
    """What Xerces refuses we refuse; what we refuse beyond it are the rules that no schema has."""
    beyond = set()
    for path in sorted((vault_data / "sip").glob("*.zip")):
        with zipfile.ZipFile(path) as archive:
            faults = xerces.faults(archive.read("manifest.xml"), tmp_path)
        verdict = check(path.read_bytes()).verdict
        if faults and path.name not in SCHEMA_IS_STRICTER:
            assert verdict == "KO", (path.name, faults)
        if verdict == "KO" and not faults:
            beyond.add(path.name)
    assert beyond == {
        "KO_SIP_INCORRECT_OBJECT_SIZE.zip",
        "SIP-ingest-internal-Content-KO.zip",
        "SIP_INCORRECT_ALGORITHM.zip",
    }


# One SIP, and each thing that may be wrong with it ------------------------------------------------

ACT = "né à Dijon".encode()
DIGEST = hashlib.sha512(ACT).hexdigest()
MANIFEST = f"""<?xml version="1.0" encoding="UTF-8"?>
<ArchiveTransfer xmlns="fr:gouv:culture:archivesdefrance:seda:v2.2">
<Date>2026-11-23T18:00:00Z</Date>
<MessageIdentifier>Versement 1</MessageIdentifier>
<CodeListVersions><AccessRuleCodeListVersion>x</AccessRuleCodeListVersion>
<DisseminationRuleCodeListVersion>x</DisseminationRuleCodeListVersion>
<ReuseRuleCodeListVersion>x</ReuseRuleCodeListVersion>
<ClassificationRuleCodeListVersion>x</ClassificationRuleCodeListVersion>
<HoldRuleCodeListVersion>x</HoldRuleCodeListVersion></CodeListVersions>
<DataObjectPackage>
<DataObjectGroup id="G1">
<BinaryDataObject id="O1">
<DataObjectVersion>BinaryMaster_1</DataObjectVersion>
<Uri>Content/acte.txt</Uri>
<MessageDigest algorithm="SHA-512">{DIGEST}</MessageDigest>
<Size>{len(ACT)}</Size>
</BinaryDataObject>
</DataObjectGroup>
<DescriptiveMetadata>
<ArchiveUnit id="U1"><Content><DescriptionLevel>Item</DescriptionLevel><Title>Actes</Title></Content>
<ArchiveUnit id="U2"><Content><DescriptionLevel>Item</DescriptionLevel><Title>Acte</Title></Content>
<DataObjectReference><DataObjectGroupReferenceId>G1</DataObjectGroupReferenceId></DataObjectReference>
</ArchiveUnit>
</ArchiveUnit>
</DescriptiveMetadata>
<ManagementMetadata><OriginatingAgencyIdentifier>Mairie</OriginatingAgencyIdentifier>
</ManagementMetadata>
</DataObjectPackage>
<ArchivalAgency><Identifier>AD21</Identifier></ArchivalAgency>
<TransferringAgency><Identifier>Mairie</Identifier></TransferringAgency>
</ArchiveTransfer>"""
OBJECT = MANIFEST[MANIFEST.index("<BinaryData") : MANIFEST.index("</DataObjectGroup>")]


def sip(manifest: str | bytes = MANIFEST, **files: bytes) -> bytes:
    """A SIP; `files` by name, where « __ » is a slash and « _ » a dot."""
    named = {name.replace("__", "/").replace("_", "."): content for name, content in files.items()}
    content = manifest if isinstance(manifest, bytes) else manifest.encode()
    return zipped({"manifest.xml": content, "Content/acte.txt": ACT, **named})


def zipped(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return made.getvalue()


def test_the_sip_of_these_tests_is_right(xerces: Xerces, tmp_path: Path) -> None:
    assert check(sip()).verdict == "OK", reasons(check(sip()))
    assert xerces.faults(MANIFEST.encode(), tmp_path) == ""


# What is replaced by what, the reason, and whether the schema refuses it too.
WRONG = {
    "taille": ("<Size>12", "<Size>13", "Taille déclarée 13 octets, réelle 12", False),
    "taille nulle": ("<Size>12", "<Size>0", "un nombre entier positif", True),
    "empreinte": (DIGEST, DIGEST[::-1], "L'empreinte SHA-512 n'est pas celle du fichier", False),
    "sans empreinte": (
        f'<MessageDigest algorithm="SHA-512">{DIGEST}</MessageDigest>',
        "",
        "L'empreinte (MessageDigest) manque",
        True,
    ),
    "algorithme": ("SHA-512", "CRC32", "Algorithme d'empreinte « CRC32 »", False),
    "fichier absent": ("acte.txt", "autre.txt", "Fichier absent de l'archive", False),
    "fichier en trop": ("acte.txt", "autre.txt", "Fichier que le bordereau ne déclare pas", False),
    "sortie": ("Content/acte.txt", "Content/../../etc/passwd", "Adresse hors du SIP", False),
    "sortie codée": ("Content/acte.txt", "Content/%2e%2e/x", "Adresse hors du SIP", False),
    "absolue": ("Content/acte.txt", "/etc/passwd", "Adresse hors du SIP", False),
    "ailleurs": ("Content/acte.txt", "http://exemple.fr/a", "Adresse hors du SIP", False),
    "local": ("Content/acte.txt", "file:///etc/passwd", "Adresse hors du SIP", False),
    "lecteur": ("Content/acte.txt", "C:/acte.txt", "Adresse hors du SIP", False),
    "sans adresse": ("Content/acte.txt", "", "n'a pas d'adresse", False),
    "deux fois": ('id="U2"', 'id="U1"', "Identifiant U1 déjà employé", True),
    "mal nommé": ('id="U2"', 'id="2 U"', "absent ou mal formé", True),
    "sans nom": (' id="U2"', "", "absent ou mal formé", True),
    "renvoi perdu": (">G1<", ">G9<", "« G9 » n'est déclaré nulle part", True),
    "renvoi croisé": (">G1<", ">U1<", "U1 est un unité d'archives, non un groupe", False),
    "boucle": (
        "</ArchiveUnit>\n</ArchiveUnit>",
        '<ArchiveUnit id="U3"><ArchiveUnitRefId>U1</ArchiveUnitRefId></ArchiveUnit>'
        "</ArchiveUnit>\n</ArchiveUnit>",
        "Boucle : U1 contient U2",
        False,
    ),
    "boucle sur soi": (
        "</ArchiveUnit>\n</ArchiveUnit>",
        '<ArchiveUnit id="U3"><ArchiveUnitRefId>U2</ArchiveUnitRefId></ArchiveUnit>'
        "</ArchiveUnit>\n</ArchiveUnit>",
        "Boucle : U2 contient U2",
        False,
    ),
    "orphelin": (
        "<DataObjectReference><DataObjectGroupReferenceId>G1</DataObjectGroupReferenceId>"
        "</DataObjectReference>",
        "",
        "G1 : Aucune unité d'archives ne décrit",
        False,
    ),
    "sans date": ("<Date>2026-11-23T18:00:00Z</Date>", "", "« Date » manque", True),
    "date": ("2026-11-23T18:00:00Z", "hier", "n'est pas une date", True),
    "jour seul": ("2026-11-23T18:00:00Z", "2026-11-23", "n'est pas une date", True),
    "message": (">Versement 1<", "> <", "L'identifiant du message est vide", True),
    "deux dates": (
        "<MessageId",
        "<Date>2026-11-23T18:00:00Z</Date><MessageId",
        "« Date » est en trop",
        True,
    ),
    "sans service": (
        "<ArchivalAgency><Identifier>AD21</Identifier></ArchivalAgency>",
        "",
        "« ArchivalAgency » manque",
        True,
    ),
    "service anonyme": ("<Identifier>AD21</Identifier>", "", "« Identifier » manque", True),
    "sans producteur": (
        "<OriginatingAgencyIdentifier>Mairie</OriginatingAgencyIdentifier>",
        "",
        "Le service producteur (OriginatingAgencyIdentifier) manque",
        False,
    ),
    "sans listes": (
        MANIFEST[MANIFEST.index("<CodeListV") : MANIFEST.index("<DataObjectPackage>")],
        "",
        "« CodeListVersions » manque",
        True,
    ),
    "désordre": (
        "<Uri>Content/acte.txt</Uri>",
        "<FileInfo><Filename>a</Filename></FileInfo><Uri>Content/acte.txt</Uri>",
        "« Uri » est mal placé",
        True,
    ),
    "inconnu": ("<Uri>", "<Auteur>x</Auteur><Uri>", "« Auteur » n'est pas attendu", True),
    "usage": ("BinaryMaster_1", "PhysicalMaster_1", "ne va pas à un BinaryDataObject", False),
    "unité vide": (
        "<Content><DescriptionLevel>Item</DescriptionLevel><Title>Acte</Title></Content>",
        "",
        "« Content » manque dans ArchiveUnit",
        True,
    ),
    "un fichier, deux objets": (
        OBJECT,
        OBJECT + OBJECT.replace("O1", "O2"),
        "est déjà l'objet O1",
        False,
    ),
    "mal formé": ("</DataObjectPackage>", "", "XML mal formé", True),
    "version 1": ("seda:v2.2", "seda:v1.0", "seules 2.1, 2.2 et 2.3", False),
    "autre version": ("archivesdefrance:seda:v2.2", "seda:v2.2", "Espace de noms", False),
    "version 2.0": ("seda:v2.2", "seda:v2.0", "seules 2.1, 2.2 et 2.3", False),
    "autre message": (
        "ArchiveTransfer",
        "ArchiveTransferReply",
        "et non « ArchiveTransfer »",
        True,
    ),
}


@pytest.mark.parametrize("name", sorted(WRONG))
def test_what_is_wrong_is_said(name: str, xerces: Xerces, tmp_path: Path) -> None:
    before, after, reason, by_schema = WRONG[name]
    assert before in MANIFEST
    manifest = MANIFEST.replace(before, after)
    found = check(sip(manifest))
    assert found.verdict == "KO" and reason in reasons(found), reasons(found)
    assert "manifest.xml" in found.reasons[0].place
    if "version" not in name:
        assert bool(xerces.faults(manifest.encode(), tmp_path)) == by_schema


def test_a_missing_size_is_a_warning_but_for_an_empty_file() -> None:
    without = MANIFEST.replace("<Size>12</Size>", "")
    assert check(sip(without)).verdict == "WARNING"
    nothing = without.replace(DIGEST, hashlib.sha512(b"").hexdigest())
    assert check(sip(nothing, Content__acte_txt=b"")).verdict == "OK"


def test_the_place_is_the_line() -> None:
    [reason] = check(sip(MANIFEST.replace("<Size>12", "<Size>13"))).reasons
    line = next(n for n, text in enumerate(MANIFEST.splitlines(), 1) if "<BinaryData" in text)
    assert reason.place == f"manifest.xml, ligne {line}, BinaryDataObject O1"


@pytest.mark.parametrize(
    "doctype",
    [
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd">',
        '<!DOCTYPE a [<!ENTITY % x SYSTEM "file:///etc/passwd"> %x;]>',
        "<!DOCTYPE a [<!ENTITY a 'aaaaaaaaaa'>"
        + "".join(f"<!ENTITY {'a' * n} '{('&' + 'a' * (n - 1) + ';') * 10}'>" for n in range(2, 12))
        + "]>",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_doctype_is_refused_and_nothing_of_it_read(doctype: str, encoding: str) -> None:
    manifest = MANIFEST.replace("?>", f"?>{doctype}").replace("UTF-8", encoding)
    manifest = manifest.replace("Versement 1", "&x;" if "ENTITY x" in doctype else "x")
    found = check(sip(manifest.encode(encoding)))
    assert found.verdict == "KO" and "root:" not in reasons(found)
    assert len(found.reasons) == 1 and "DOCTYPE" in reasons(found)


def test_too_deep_too_long_and_too_many_are_bounded() -> None:
    deep = MANIFEST.replace("<Title>Acte<", f"<Title>{'<a>' * 300}{'</a>' * 300}<")
    assert "XML mal formé" in reasons(check(sip(deep)))
    long = check(sip(MANIFEST.replace(">G1<", f">{'é' * 1_000_000}<")))
    assert long.verdict == "KO" and len(reasons(long)) < 2000
    many = MANIFEST.replace("<Date>", "<Intrus/><Autre/>" * 1000 + "<Date>")
    found = check(sip(many))
    assert len(found.reasons) == MAX_REASONS and found.left_out > 1000


# Hostile archives ---------------------------------------------------------------------------------


def patched(content: bytes, name: str, change: Callable[[bytearray, int, int], None]) -> bytes:
    """The zip with the two headers of one entry changed, given their offsets."""
    made = bytearray(content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        local = archive.getinfo(name).header_offset
    central = made.index(b"PK\1\2")
    while made[central + 46 :][: len(name)] != name.encode():
        central = made.index(b"PK\1\2", central + 4)
    change(made, local, central)
    return bytes(made)


def set_size(made: bytearray, local: int, central: int, size: int) -> None:
    struct.pack_into("<L", made, local + 22, size)
    struct.pack_into("<L", made, central + 24, size)


ACTE = "Content/acte.txt"
HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "pas un zip": (lambda: b"bonjour", "pas une archive zip"),
    "vide": (lambda: b"", "pas une archive zip"),
    "sans bordereau": (lambda: zipped({"a.xml": b"<a/>"}), "manifest.xml manque"),
    "tronqué": (lambda: sip()[:-40], "pas une archive zip"),
    "qui sort": (lambda: zipped({"../manifest.xml": b""}), "sort de l'archive"),
    "qui sort au milieu": (lambda: zipped({"Content/../../x": b""}), "sort de l'archive"),
    "absolu": (lambda: zipped({"/etc/passwd": b""}), "absolu"),
    "lecteur": (lambda: zipped({"C:x": b""}), "absolu"),
    "barre inverse": (lambda: zipped({"Content\\..\\x": b""}), "barre inverse"),
    "retour à la ligne": (lambda: zipped({"Content/a\nb": b""}), "caractère de commande"),
    "profond": (lambda: zipped({"a/" * 40 + "x": b""}), "les uns dans les autres"),
    "deux fois": (lambda: twice(ACTE, ACTE), "présent deux fois"),
    "deux casses": (lambda: twice(ACTE, "content/ACTE.txt"), "présent deux fois"),
    "deux accents": (lambda: twice("Content/e\u0301", "Content/\u00e9"), "présent deux fois"),
    "chiffré": (
        lambda: patched(sip(), ACTE, lambda made, local, central: flag(made, local, central, 1)),
        "chiffrée",
    ),
    "lien": (lambda: special(0o120777), "Lien symbolique"),
    "tube": (lambda: special(0o010666), "fichier spécial"),
    "bombe annoncée": (lambda: sip(Content__zeros=bytes(300 << 20)), "Bombe de décompression"),
    "bombe tue": (
        lambda: patched(
            sip(Content__acte_txt=bytes(2 << 20)),
            ACTE,
            lambda made, local, central: set_size(made, local, central, 12),
        ),
        "dépasse la taille",
    ),
    "bordereau tu": (
        lambda: patched(
            sip(), "manifest.xml", lambda made, local, central: set_size(made, local, central, 11)
        ),
        "dépasse la taille",
    ),
    "octets altérés": (
        lambda: patched(
            sip(), ACTE, lambda made, local, central: struct.pack_into("<L", made, central + 16, 7)
        ),
        "altéré",
    ),
    "deux noms": (
        lambda: patched(
            sip(), ACTE, lambda made, local, central: made.__setitem__(local + 30, ord("D"))
        ),
        "deux noms différents",
    ),
    "recouvrement": (lambda: overlapping(), "recouvre"),
    "grand répertoire": (lambda: claimed_directory(1 << 31), "trop grand"),
    "deflate64": (
        lambda: patched(
            sip(), ACTE, lambda made, local, central: struct.pack_into("<H", made, central + 10, 9)
        ),
        "Méthode de compression",
    ),
}


def twice(*names: str) -> bytes:
    made = io.BytesIO(sip())
    with zipfile.ZipFile(made, "a") as archive:
        for name in names:
            archive.writestr(name, b"")
    return made.getvalue()


def flag(made: bytearray, local: int, central: int, bits: int) -> None:
    made[local + 6] |= bits
    made[central + 8] |= bits


def special(mode: int) -> bytes:
    made = io.BytesIO(sip())
    with zipfile.ZipFile(made, "a") as archive:
        entry = zipfile.ZipInfo("Content/lien")
        entry.external_attr = mode << 16
        archive.writestr(entry, "/etc/passwd")
    return made.getvalue()


def overlapping() -> bytes:
    """Two entries whose content is the same bytes, as in Fifield's zip bomb."""
    content = sip(Content__b=ACT)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        offset = archive.getinfo(ACTE).header_offset
    return patched(
        content,
        "Content/b",
        lambda made, local, central: struct.pack_into("<L", made, central + 42, offset),
    )


def claimed_directory(size: int) -> bytes:
    made = bytearray(sip())
    struct.pack_into("<L", made, made.rindex(b"PK\5\6") + 12, size)
    return bytes(made)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_a_hostile_archive_is_refused(name: str) -> None:
    made, reason = HOSTILE[name]
    found = check(made())
    assert found.verdict == "KO" and reason in reasons(found), reasons(found)


def test_undeclared_files_of_the_bomb_are_never_inflated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes inflated are bounded by what objects declare, not by what the archive hides."""
    inflated = 0
    real = zlib.decompressobj

    class Counting:
        def __init__(self, *arguments: int) -> None:
            self.inner = real(*arguments)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

        def decompress(self, data: bytes, most: int) -> bytes:
            nonlocal inflated
            piece = self.inner.decompress(data, most)
            inflated += len(piece)
            return piece

    monkeypatch.setattr(zlib, "decompressobj", Counting)
    found = check(sip(Content__zeros=bytes(60 << 20)))
    assert found.verdict == "KO" and inflated < 1 << 20


@pytest.mark.parametrize("content", [sip(), sip(MANIFEST.replace("SHA-512", "SHA-1"))])
@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_random_damage_is_answered_by_a_verdict(content: bytes, data: st.DataObject) -> None:
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    damaged = damaged[: data.draw(st.integers(0, len(damaged) * 4))]
    assert check(bytes(damaged)).verdict in ("OK", "WARNING", "KO")


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_a_random_manifest_is_answered_by_a_verdict(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(MANIFEST)))
    end = data.draw(st.integers(start, min(len(MANIFEST), start + 60)))
    piece = data.draw(
        st.sampled_from(
            [
                "",
                MANIFEST[end : end + 80],
                "<a>",
                "&lt;",
                '<x xmlns="y"/>',
                '<ArchiveUnit id="Z">',
                "</ArchiveUnit>",
                "\0",
            ]
        )
    )
    found = check(sip(MANIFEST[:start] + piece + MANIFEST[end:]))
    assert found.verdict in ("OK", "WARNING", "KO")
    assert all(reason.place and reason.reason for reason in found.reasons)


@given(place=st.integers(0, len(ACT) - 1), value=st.integers(1, 255))
@settings(max_examples=60, deadline=None)
def test_one_changed_byte_of_an_object_is_always_found(place: int, value: int) -> None:
    changed = bytearray(ACT)
    changed[place] ^= value
    found = check(sip(Content__acte_txt=bytes(changed)))
    assert found.verdict == "KO" and "L'empreinte SHA-512" in reasons(found)


# The command --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("manifest", "verdict", "code"),
    [
        (MANIFEST, "OK", 0),
        (MANIFEST.replace("<Size>12</Size>", ""), "WARNING", 0),
        (MANIFEST.replace("<Size>12", "<Size>13"), "KO", 1),
    ],
)
def test_the_command(manifest: str, verdict: str, code: int, tmp_path: Path) -> None:
    file = tmp_path / "versement.zip"
    file.write_bytes(sip(manifest))
    asked = CliRunner().invoke(main, ["vault", "sip", "check", str(file), "--json"])
    told = json.loads(asked.stdout)
    assert (asked.exit_code, told["verdict"]) == (code, verdict)
    assert all(reason["place"] and reason["reason"] for reason in told["reasons"])
    plain = CliRunner().invoke(main, ["vault", "sip", "check", str(file)])
    assert plain.exit_code == code and plain.stdout.startswith(f"{verdict} : ")
    for reason in told["reasons"]:
        assert reason["reason"] in plain.stdout
