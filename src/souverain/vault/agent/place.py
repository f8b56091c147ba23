"""The folder of a deposit set on this machine, and the two secrets that lie in it.

The address goes to restic by a file, never on a command line; whatever is printed or kept passes
through `Address.hide` first.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from souverain.vault.agent import AgentError

HOME = Path("coffre-fort")
_SECRET_MAX_BYTES = 4096
_PAST = ".passe-"
_PAST_MAX_S = 24 * 3600
_IN_URL = re.compile(r"(://[^\s/:@]*):[^\s/@]*@")


@dataclass(frozen=True)
class Address:
    """What `restic -r` takes for a deposit set: `rest:https://<device>:<secret>@host/vault/<INSEE>/<set>/`."""

    text: str
    url: str
    """The same for HTTP, without the credential, ending by a slash."""
    device: str
    secret: str
    host: str
    code: str
    set: str
    password: str = ""
    """Of the repository: here so that one place hides all that is secret."""

    def hide(self, text: str) -> str:
        """A text for the screen or a file, without the secrets."""
        as_written = urlsplit(self.text.removeprefix("rest:")).password or ""
        for secret in {self.secret, as_written, self.password} - {""}:
            text = text.replace(secret, "***")
        return _IN_URL.sub(r"\1:***@", text)

    def past(self, moment: str) -> str:
        """The address of the state at a moment (RFC 3339)."""
        return f"{self.text.rstrip('/')}@{moment}/"


def parse_address(text: str, password: str = "") -> Address:
    """Raises AgentError, which does not repeat the text."""
    text = text.strip()
    try:
        parts = urlsplit(text.removeprefix("rest:"))
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        raise AgentError(_NOT_AN_ADDRESS) from None
    steps = parts.path.strip("/").split("/")
    fits = len(steps) == 3 and steps[0] == "vault" and "@" not in steps[2]
    known = parts.hostname and parts.username and parts.password
    if not (text.startswith("rest:http") and fits and known and text.isprintable()):
        raise AgentError(_NOT_AN_ADDRESS)
    return Address(
        text=text,
        url=f"{parts.scheme}://{parts.hostname}{port}/{'/'.join(steps)}/",
        device=unquote(parts.username or ""),
        secret=unquote(parts.password or ""),
        host=f"{parts.hostname}{port}",
        code=steps[1],
        set=steps[2],
        password=password,
    )


_NOT_AN_ADDRESS = (
    "depot.txt ne contient pas l'adresse d'un dépôt du coffre-fort : collez-y celle que la page de "
    "la commune a montrée, seule. Si elle est perdue, ajoutez un autre appareil."
)


@dataclass(frozen=True)
class Place:
    """The folder, and the files in it."""

    folder: Path

    @property
    def repository(self) -> Path:
        return self.folder / "depot.txt"

    @property
    def password(self) -> Path:
        return self.folder / "motdepasse.txt"

    @property
    def settings(self) -> Path:
        return self.folder / "agent.toml"

    @property
    def state(self) -> Path:
        return self.folder / "etat.json"

    @property
    def lock(self) -> Path:
        return self.folder / "verrou"

    @property
    def checkpoint(self) -> Path:
        return self.folder / "preuve.json"

    @property
    def witness(self) -> Path:
        return self.folder / "temoin.cle"

    def address(self) -> Address:
        """What depot.txt holds, with the password when there is one."""
        password = read_secret(self.password) if self.password.exists() else ""
        return parse_address(read_secret(self.repository), password)

    def exposed(self) -> list[str]:
        """The secrets that other accounts of the machine can read, where the system says so."""
        if os.name != "posix":
            return []
        secrets = (self.repository, self.password, self.witness)
        return [file.name for file in secrets if file.exists() and file.stat().st_mode & 0o077]

    @contextmanager
    def at(self, address: Address, moment: str | None) -> Iterator[Path]:
        """The file of an address for restic: depot.txt, or one that lives as long as it is read."""
        for left in self.folder.glob(f"{_PAST}*"):
            with suppress(OSError):  # of a program that was killed: nobody reads for so long
                if time.time() - left.stat().st_mtime > _PAST_MAX_S:
                    left.unlink()
        if moment is None:
            yield self.repository
            return
        descriptor, name = tempfile.mkstemp(dir=self.folder, prefix=_PAST)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(address.past(moment))
            yield Path(name)
        finally:
            with suppress(FileNotFoundError):
                Path(name).unlink()


def find(home: Path | None) -> Place:
    """The folder that was named; otherwise this one, or the only one under `~/coffre-fort`."""
    if home is not None:
        places = [home]
    elif Path("depot.txt").is_file():
        places = [Path.cwd()]
    else:
        places = sorted(file.parent for file in (Path.home() / HOME).glob("*/depot.txt"))
    if len(places) > 1:
        names = ", ".join(str(each) for each in places)
        raise AgentError(f"Ce poste a plusieurs dépôts : choisissez avec --home ({names}).")
    if not places or not (places[0] / "depot.txt").is_file():
        where = places[0] if places else Path.home() / HOME / "general"
        raise AgentError(
            f"{where / 'depot.txt'} n'existe pas : ajoutez un appareil sur la page « Coffre-fort » "
            "de la commune, et collez dans ce fichier l'adresse qu'elle montre."
        )
    return Place(places[0].absolute())


def read_secret(file: Path) -> str:
    """One line, as restic reads it: blanks around are no part of it, a byte order mark neither."""
    try:
        with file.open("rb") as opened:
            raw = opened.read(_SECRET_MAX_BYTES + 1)
        encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        text = raw.decode(encoding).strip()
    except FileNotFoundError:
        raise AgentError(f"{file} n'existe pas.") from None
    except OSError as error:
        raise AgentError(f"{file} ne se lit pas ({error.strerror}) : vérifiez le compte.") from None
    except UnicodeDecodeError:
        raise AgentError(f"{file} n'est pas un fichier de texte.") from None
    if not text or len(raw) > _SECRET_MAX_BYTES or len(text.splitlines()) > 1:
        raise AgentError(f"{file} doit contenir une seule ligne.")
    return text


def shown(text: str, limit: int = 300) -> str:
    """A name or a sentence from elsewhere: what would drive the terminal is escaped."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)
