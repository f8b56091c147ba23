"""Xerces-C as the judge of SEDA manifests: the one parser that compiles all three schemas."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

MAIN = {
    "2.1": "seda-vitam-2.1-main.xsd",
    "2.2": "seda-vitam-2.2-main.xsd",
    "2.3": "seda-2.3-main.xsd",
}
NAMESPACE = "fr:gouv:culture:archivesdefrance:seda:v"


class Xerces:
    """The schemas, with what they import beside them: nothing is asked of the network."""

    def __init__(self, schemas: Path, folder: Path) -> None:
        self.folder = folder
        for version in MAIN:
            name = f"seda{version.replace('.', '_')}"
            for path in [*(schemas / name).iterdir(), *(schemas / "xsd_validation").iterdir()]:
                text = re.sub(
                    r"http://www\.w3\.org/(2001/xml|1999/xlink)\.xsd", _local, path.read_text()
                )
                (folder / version).mkdir(exist_ok=True)
                (folder / version / path.name).write_text(text)

    def faults(self, manifest: bytes, folder: Path) -> str:
        """What Xerces says against a manifest; empty when it is valid."""
        file = folder / "judged.xml"
        file.write_text(self._pointing_at_its_schema(manifest.decode()))
        done = subprocess.run(
            ["DOMCount", "-n", "-s", "-v=always", file], capture_output=True, text=True, timeout=300
        )
        assert "elems)" in done.stdout or "Message:" in done.stderr, done.stdout + done.stderr
        return done.stderr.strip()

    def _pointing_at_its_schema(self, manifest: str) -> str:
        version = re.search(rf"{NAMESPACE}(2\.[123])", manifest)
        assert version, "not a version that has a schema"
        main = (self.folder / version[1] / MAIN[version[1]]).as_uri()
        plain = re.sub(r'\s(xmlns:xsi|xsi:schemaLocation)="[^"]*"', "", manifest)
        pointer = (
            ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
            f' xsi:schemaLocation="{NAMESPACE}{version[1]} {main}"'
        )
        return re.sub(r"(<ArchiveTransfer\w*)", lambda found: found[1] + pointer, plain, count=1)


def _local(found: re.Match[str]) -> str:
    return found[1].rpartition("/")[2] + ".xsd"


def is_installed() -> bool:
    return shutil.which("DOMCount") is not None
