"""Every command is in `docs/access.md`, acts as the Unix user, and journals what is written there."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import click
import numpy as np
import pytest
import simplejpeg
from click.testing import CliRunner
from django.conf import settings

from souverain.cli import main
from souverain.core import access, clock, egress, jobs, journal
from souverain.core.models import Device, Job, JournalEntry, Organisation
from souverain.core.rooms import DataClass
from souverain.street import derivation
from souverain.street.models import Campaign, Panorama
from souverain.territory.services import load_departement
from souverain.vault import retention, services
from souverain.vault.engine.tlog import note
from souverain.vault.models import DepositSet, Destruction, ReaperPass, ReplicaSource, Site
from souverain.vault.tests.liar import Liar, send
from souverain.vault.tests.restic_writer import PASSWORD, Writer, node
from tests import access_matrix
from tests.access_scene import BEAUNE, DIJON, MARKERS, Scene, build

ROWS = {
    re.sub("^souverain ", "", cells[0].strip("`")): cells
    for cells in access_matrix.table("Commands")
}
# These run until a signal ends them; their own tests start and stop them.
ENDLESS = {"serve", "worker"}


def _job(scene: Scene) -> list[str]:
    function = jobs.JobFunction("essai", "Essai", jobs.Resources(), lambda progress: None)
    return [str(jobs.submit(access.SYSTEM, function, {}).pk)]


def _rule(scene: Scene) -> list[str]:
    found = egress.allow(access.SYSTEM, "mail.exemple.fr", 25, "smtp", [DataClass.INTERNAL])
    return [str(found.pk)]


def _starting(scene: Scene) -> list[str]:
    [identity] = _job(scene)
    Job.objects.filter(pk=identity).update(state=Job.State.STARTING)
    return [identity]


def _leapt(scene: Scene) -> list[str]:
    ReaperPass.objects.create(at=clock.now() - timedelta(days=30))
    return ["--confirm-clock"]


def _empty_set(scene: Scene) -> list[str]:
    """The scene's objects are rows without files."""
    dijon = Organisation.objects.get(code=DIJON)
    DepositSet.objects.create(organisation=dijon, code="vide", title="Vide")
    return ["--commune", DIJON, "--set", "vide"]


def _standard(scene: Scene) -> list[str]:
    """A set that nothing keeps."""
    found = scene.targets[DIJON].records[DepositSet]
    services.create_set(access.SYSTEM, found.organisation, "libre")
    return ["--commune", DIJON, "--set", "libre"]


def _asked(scene: Scene) -> list[str]:
    """A destruction that the commune's administrator asked for."""
    options = _standard(scene)
    found = DepositSet.objects.get(code="libre", organisation__code=DIJON)
    Destruction.objects.create(
        deposit_set=found,
        reason="x",
        reference="y",
        asked_by="user:1",
        asked_by_operator=False,
        asked_at=clock.now(),
    )
    return options


def _held(scene: Scene) -> list[str]:
    """A hold that somebody else placed."""
    found = scene.targets[DIJON].records[DepositSet]
    return [str(retention.hold(access.SYSTEM, found, "enquête").pk)]


def _outlines(scene: Scene) -> list[str]:
    Path("contours.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    return ["contours.geojson"]


def _loaded(scene: Scene) -> list[str]:
    load_departement(access.of_console(), "21", settings.DECOUPAGE)
    return ["--seed", "21"]


def _members(scene: Scene) -> list[str]:
    Path("communes.csv").write_text("code_insee;commune;date_adhesion\n21231;Dijon;23/11/2024\n")
    return ["communes.csv"]


def _proof(scene: Scene) -> list[str]:
    Path("preuve.json").write_text("{}")
    return ["preuve.json"]


def _repository(scene: Scene) -> list[str]:
    made = Writer(Path("depot"))
    tree = made.tree(node("acte", content=[]))
    made.index()
    made.snapshot(tree)
    Path("motdepasse.txt").write_text(PASSWORD)
    return ["depot", "--password-file", "motdepasse.txt"]


def _folder(scene: Scene) -> list[str]:
    Path("RETOUR").mkdir()
    return ["RETOUR", "sac", "--bagit"]


def _audit(scene: Scene) -> list[str]:
    key = str(note.Key(f"cotedor.invalid/vault/{DIJON}", bytes(32)))
    return ["--checkpoint", "preuve.json", "--folder", ".", "--key", key]


def _machine(*words: str) -> Callable[[Scene], list[str]]:
    """A town hall's machine that reaches nobody."""

    def made(scene: Scene) -> list[str]:
        Path("depot.txt").write_text("rest:http://a:b@127.0.0.1:1/vault/21231/general/")
        Path("motdepasse.txt").write_text("x")
        if words == ("--print",):
            Path("agent.toml").write_text("dossiers = ['/mairie']")
        return list(words)

    return made


def _other_site() -> Liar:
    """Another vault, that has nothing."""
    found = Liar()
    found.instead["communes"] = lambda handler: send(handler, {"items": [], "more": False})
    found.serve()
    return found


def _replaced(scene: Scene) -> list[str]:
    Site.objects.create(name="0" * 16, role=Site.Role.FENCED, epoch=1)
    Path("acces.txt").write_text("0123456789abcdef:secret")
    return ["--from", _other_site().url, "--secret-file", "acces.txt"]


def _copying(scene: Scene) -> list[str]:
    ReplicaSource.objects.create(address="http://localhost:9")
    return []


def _copy(scene: Scene) -> list[str]:
    Site.objects.create(name="0" * 16, role=Site.Role.COPY)
    return []


def _promoted(scene: Scene) -> list[str]:
    now = clock.now()
    ReplicaSource.objects.create(address=_other_site().url, promoted_at=now, fenced_at=now)
    (settings.HOME / "replica-secret").write_text("0123456789abcdef:secret")
    return []


def _sip(scene: Scene) -> list[str]:
    Path("versement.zip").write_bytes(b"")
    return ["versement.zip"]


# What a command is called with; those that need nothing are not here.
def _picture(*rest: str) -> Callable[[Scene], list[str]]:
    """A picture that says neither where nor when it was taken."""

    def given(scene: Scene) -> list[str]:
        grey = np.full((64, 128, 3), 128, np.uint8)
        Path("image.jpg").write_bytes(simplejpeg.encode_jpeg(grey))
        return ["image.jpg", *rest]

    return given


def _campaign(scene: Scene) -> list[str]:
    return [scene.targets[DIJON].records[Campaign].name]


def _rays(scene: Scene) -> list[str]:
    head = "id,x_m,y_m,z_m,heading_deg,pitch_deg,sigma_xyz_m,sigma_deg"
    rows = ("a,850000,6690000,250,45,0,0.02,0.05", "a,850010,6690000,250,315,0,0.02,0.05")
    Path("visees.csv").write_text("\n".join((head, *rows)))
    return ["visees.csv"]


def _detections(scene: Scene) -> list[str]:
    told = {
        "detector": {"name": "essai", "version": "1", "f1": 0.5, "f1_on": "rien"},
        "campaign": _campaign(scene)[0],
        "detections": [],
    }
    Path("detections.json").write_text(json.dumps(told))
    return ["detections.json"]


def _seen(scene: Scene) -> list[str]:
    """A panorama that has its picture and its tiles."""
    found = scene.targets[DIJON].records[Panorama]
    derivation.derive(found, simplejpeg.encode_jpeg(np.full((256, 512, 3), 128, np.uint8)))
    return ["--panorama", str(found.pk), "--yaw", "0", "--elevation", "0"]


EXAMPLES: dict[str, Callable[[Scene], list[str]]] = {
    "egress allow": lambda scene: [
        *("mail.exemple.fr", "25"),
        *("--purpose", "smtp", "--data-class", "internal"),
    ],
    "egress remove": _rule,
    "job cancel": _job,
    "job run": _starting,
    "job show": _job,
    "journal export": lambda scene: ["journal.jsonl"],
    "membership import": _members,
    "membership show": lambda scene: [DIJON],
    "membership verify": _proof,
    "organisation show": lambda scene: [DIJON],
    "street audit": _campaign,
    "street blur": _picture("-o", "floutee.jpg"),
    "street compare": lambda scene: [
        scene.targets[code].records[Campaign].name for code in (DIJON, BEAUNE)
    ],
    "street demo pictures": lambda scene: _picture()(scene),
    "street erase": _seen,
    "street ingest": _picture("--campaign", "essai-console", "--no-blur"),
    "street items export": lambda scene: ["objets.csv"],
    "street items import": _detections,
    "street links": _campaign,
    "street locate": lambda scene: ["--at", "5.04,47.32"],
    "street pose": _picture(),
    "street triangulate": _rays,
    "territory import outlines": _outlines,
    "territory import reference-posts": _outlines,
    "territory import roads": _outlines,
    "territory synthesize": _loaded,
    "user create": lambda scene: [
        *("--email", "a@exemple.fr"),
        *("--organisation", DIJON, "--role", "commune-admin"),
    ],
    "vault agent drill": _machine(),
    "vault agent find": _machine("acte"),
    "vault agent restore": _machine("--to", "RETOUR"),
    "vault agent run": _machine(),
    "vault agent schedule": _machine("--print"),
    "vault agent setup": _machine("."),
    "vault agent status": _machine(),
    "vault announce": lambda scene: [
        *("--commune", DIJON, "--set", scene.targets[DIJON].records[DepositSet].code),
        *("--bytes", "1000000000", "--reason", "registres"),
    ],
    "vault device add": lambda scene: ["--commune", DIJON, "--name", "poste", "--role", "backup"],
    "vault device revoke": lambda scene: [str(scene.targets[DIJON].records[Device].pk)],
    "vault export": _folder,
    "vault audit": _audit,
    "vault destruction approve": _asked,
    "vault destruction ask": lambda scene: [
        *_standard(scene),
        *("--reason", "fin de mission", "--reference", "visa 1"),
    ],
    "vault destruction cancel": _asked,
    "vault hold lift": _held,
    "vault hold place": lambda scene: [*_standard(scene), "--reason", "enquête"],
    "vault lock lengthen": lambda scene: [*_standard(scene), "--days", "400"],
    "vault log export": lambda scene: ["--commune", DIJON, "registre.zip"],
    "vault log key": lambda scene: ["--commune", DIJON],
    "vault log proof": lambda scene: ["--commune", DIJON, "config"],
    "vault witness add": lambda scene: [
        *("--commune", DIJON, "--name", "Mairie"),
        *("--key", str(note.Key("mairie", bytes(32), note.COSIGNATURE))),
    ],
    "vault witness list": lambda scene: ["--commune", DIJON],
    "vault witness remove": lambda scene: ["--commune", DIJON, "--name", MARKERS[DIJON]],
    "vault quota": lambda scene: ["--commune", DIJON, "--bytes", "1000000000"],
    "vault reap": _leapt,
    "vault scrub": _empty_set,
    "vault drill": _machine("--repository-file", "depot.txt", "--password-file", "motdepasse.txt"),
    "vault replica add": _replaced,
    "vault replica authorize": lambda scene: ["--name", "Beaune"],
    "vault replica promote": _copy,
    "vault replica recover": _promoted,
    "vault replica remove": _copying,
    "vault repository check": _repository,
    "vault repository ls": _repository,
    "vault repository restore": lambda scene: [*_repository(scene), "--target", "rendu"],
    "vault recovery combine": lambda scene: ["--output", "motdepasse.txt"],
    "vault recovery split": lambda scene: [
        *("--threshold", "2", "--shares", "3"),
        *("--commune", "Dijon", "secours"),
    ],
    "vault sip check": _sip,
    "vault set add": lambda scene: [
        *("--commune", DIJON),
        *("--set", "etat-civil", "--kind", "civil-status"),
    ],
}
# Commands whose example is refused: what they journal is the refusal, if anything.
REFUSED = {
    "street demo pictures",
    "street locate",
    "territory import outlines",
    "territory import reference-posts",
    "territory import roads",
    "job run",
    "membership verify",
    "vault agent drill",
    "vault agent find",
    "vault agent restore",
    "vault agent run",
    "vault agent setup",
    "vault agent status",
    "vault audit",
    "vault drill",
    "vault log proof",
    "vault recovery combine",
    "vault replica pull",
    "vault sip check",
    "vault store keep",
    "vault store lock",
}


@pytest.fixture
def scene(db: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Scene:
    monkeypatch.chdir(tmp_path)
    return build()


def test_every_command_has_its_line() -> None:
    missing = access_matrix.missing_commands()
    assert not missing, "add to docs/access.md, ## Commands:\n" + "\n".join(missing)
    gone = sorted(set(ROWS) - set(access_matrix.commands()))
    assert not gone, f"docs/access.md names commands that do not exist: {gone}"


def test_a_command_names_a_permission_or_is_for_the_console_alone() -> None:
    from souverain.core import rooms

    for words, cells in ROWS.items():
        assert cells[1] == "console" or cells[1].strip("`") in rooms.permissions(), words


def _arguments(words: str, command: click.Command, scene: Scene) -> list[str]:
    if words in EXAMPLES:
        return EXAMPLES[words](scene)
    needed = [parameter.name for parameter in command.params if parameter.required]
    assert not needed, f"tests/test_access_commands.py: add to EXAMPLES how to call « {words} »"
    return []


@pytest.mark.parametrize("words", sorted(set(ROWS) - ENDLESS))
def test_a_command_journals_what_is_written(
    scene: Scene, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(egress, "install_hook", lambda: None)  # it would outlive this test
    arguments = _arguments(words, access_matrix.commands()[words], scene)
    before = journal.head().seq
    outcome = CliRunner().invoke(main, [*words.split(), *arguments])
    assert words in REFUSED or outcome.exit_code == 0, outcome.output
    entries = list(JournalEntry.objects.filter(seq__gt=before))
    allowed = set(re.findall("`([^`]+)`", ROWS[words][2]))
    told = {entry.verb for entry in entries}
    assert told <= allowed, f"docs/access.md, {words}: it also writes {sorted(told - allowed)}"
    assert bool(told) is bool(allowed), f"docs/access.md, {words}: it writes {sorted(told)}"
    console = str(access.of_console())
    actors = {entry.actor for entry in entries}
    assert actors <= ({"system"} if words == "job run" else {console})


def test_an_unknown_command_is_a_usage_fault() -> None:
    outcome = CliRunner().invoke(main, ["tout", "effacer"])
    assert outcome.exit_code == 2


@pytest.mark.parametrize(
    ("words", "code", "status"),
    [(["tout", "effacer"], 2, 400), (["organisation", "show", "99999"], 1, 422)],
)
@pytest.mark.django_db
def test_with_json_a_fault_is_a_problem_on_stderr(words: list[str], code: int, status: int) -> None:
    outcome = CliRunner().invoke(main, [*words, "--json"])
    problem = json.loads(outcome.stderr)
    assert (outcome.exit_code, outcome.stdout, problem["status"]) == (code, "", status)
    assert words[-1] in problem["detail"] or words[0] in problem["detail"]
    plain = CliRunner().invoke(main, words)
    assert problem["detail"] in plain.stderr
