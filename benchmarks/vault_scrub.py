"""The integrity pass beside what it stands on, and parity beside `par2` and `zfec`, on one input.

Objects of 16 to 18 MiB, as restic's packs are, in a folder store. Scrub: SHA-256 of every file
against its name. Parity: eight bins and two shards; mending: two of the ten lost whole, then the
rebuilt files compared byte by byte. `par2 create -b80 -r25` and `par2 repair` (Debian par2) do the same
on the same files; `zfec` (8 of 10) codes and decodes them in memory, reads and checks nothing:
`pip install --target DIR zfec` and DIR on PYTHONPATH. MB/s of the objects, best of the rounds. What is
not installed is left out.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from souverain.core.objects import FolderStore, Incoming
from souverain.vault.engine.parity import packing
from souverain.vault.engine.parity.manifest import COPIES, Bins, Manifest, Member, longest
from souverain.vault.engine.parity.stripe import ParityShard, Piece, encode, mend

MB = 1e6


class Bench:
    """Objects and their parity in two folders, without records."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.objects, self.parity = FolderStore(folder / "objets"), FolderStore(folder / "parite")
        dice = random.Random(21)
        self.members: list[Member] = []
        while self.bytes < megabytes * MB:
            content = dice.randbytes((16 << 20) + dice.randrange(2 << 20))
            name = hashlib.sha256(content).hexdigest()
            self.members.append(Member("data", name, len(content), name))
            self._commit(self.objects, name, content)

    @property
    def bytes(self) -> int:
        return sum(each.size for each in self.members)

    def _commit(self, store: FolderStore, key: str, content: bytes) -> None:
        incoming = store.incoming()
        incoming.write(content)
        incoming.mend(key, incoming.sha256)

    def path(self, member: Member) -> Path:
        return self.objects.path(member.name)

    def scrub(self) -> None:
        def is_whole(member: Member) -> bool:
            return self.objects.sha256(member.name) == member.sha256

        with ThreadPoolExecutor(max_workers=2) as threads:
            assert all(threads.map(is_whole, self.members))

    def _reader(self, number: int) -> Callable[[Piece], Iterator[bytes]]:
        def read(piece: Piece) -> Iterator[bytes]:
            try:
                if isinstance(piece, ParityShard):
                    yield from self.parity.read(f"{number}-{piece.number}")
                else:
                    yield from self.objects.read(piece.name)
            except FileNotFoundError:
                return

        return read

    def protect(self) -> list[Manifest]:
        made = []
        for number, bins in enumerate(packing.pack(self.members)):
            made.append(self._protect(number, bins))
        return made

    def _protect(self, number: int, bins: Bins) -> Manifest:
        incoming: list[Incoming] = [self.parity.incoming() for _ in range(2)]
        manifest = encode(
            "vault/21231/x", bins, self._reader(number), lambda n, b: incoming[n].write(b)
        )
        for shard, each in enumerate(incoming):
            each.mend(f"{number}-{shard}", each.sha256)
        for copy in range(COPIES):
            self._commit(self.parity, f"{number}-m{copy}", bytes(manifest))
        return manifest

    def mend(self, stripes: list[Manifest], lost: list[set[Piece]]) -> None:
        for number, (manifest, gone) in enumerate(zip(stripes, lost, strict=True)):
            found = mend(manifest, self._reader(number), gone, self._draft)
            assert set(found.kept) == gone and not found.damaged

    def _draft(self, piece: Piece) -> Draft:
        assert isinstance(piece, Member)
        return Draft(self.objects.incoming(), piece)


class Draft:
    """A file that takes its place only with the SHA-256 of its name."""

    def __init__(self, incoming: Incoming, member: Member) -> None:
        self._incoming, self._member = incoming, member
        self.write, self.drop = incoming.write, incoming.abort

    @property
    def sha256(self) -> str:
        return self._incoming.sha256

    def keep(self) -> None:
        self._incoming.mend(self._member.name, self._member.sha256)


class Took(NamedTuple):
    """Of this process and of its children."""

    wall_s: float
    cpu_s: float


def timed(work: Callable[[], object]) -> Took:
    start, before = time.perf_counter(), os.times()
    work()
    after = os.times()
    return Took(time.perf_counter() - start, sum(after[:4]) - sum(before[:4]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mb", type=int, default=280, help="size of the objects (MB)")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="souverain-bench-"))
    try:
        measure(folder, asked.mb, asked.rounds)
    finally:
        shutil.rmtree(folder)


def rates(size: int, *times: Took) -> str:
    walls = " / ".join(f"{size / MB / each.wall_s:.0f}" for each in times)
    best = min(each.cpu_s for each in times)
    return f"{walls} MB/s, {size / MB / best:.0f} MB a second of CPU"


def measure(folder: Path, megabytes: int, rounds: int) -> None:
    bench = Bench(folder, megabytes)
    print(f"Python {platform.python_version()}; {os.cpu_count()} CPU; ", end="")
    print(f"load {os.getloadavg()[0]:.1f}; {len(bench.members)} objects, {bench.bytes / MB:.0f} MB")

    def show(title: str, times: list[Took], note: str = "") -> None:
        print(f"  {title:42} {rates(bench.bytes, *times)} {note}")

    def stored() -> int:
        return sum(file.stat().st_size for file in bench.parity.root.rglob("*") if file.is_file())

    show("scrub, two threads", [timed(bench.scrub) for _ in range(rounds)])
    times, stripes = [], []
    for _ in range(rounds):
        times.append(timed(lambda: stripes.append(bench.protect())))
    show("parity, read, proved, coded, fsynced", times, f"overhead {stored() / bench.bytes:.1%}")
    copies = {member: bench.path(member).read_bytes() for member in bench.members}
    times = []
    for turn in range(rounds):
        lost: list[set[Piece]] = []
        for manifest in stripes[0]:
            full = sorted((bin for bin in manifest.bins if bin), key=lambda bin: -bin[0].size)
            lost.append({*full[turn % len(full)], *full[(turn + 1) % len(full)]})
            for piece in lost[-1]:
                bench.path(piece).unlink()  # type: ignore[arg-type]
        times.append(timed(partial(bench.mend, stripes[0], lost)))
        assert all(bench.path(member).read_bytes() == copies[member] for member in copies)
    show("repair, 2 of 10 shards lost, byte-exact", times)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"  (peak memory, with the copies it compares with: {peak:.0f} MiB)")
    small_sets()
    zfec_on(list(copies.values()), rounds)
    if shutil.which("par2"):
        par2_on(bench, folder, copies)
    else:
        print("  par2 is not installed (apt-get install par2): left out")


def small_sets() -> None:
    """What parity costs sets that do not fill a stripe, by their objects' sizes alone."""
    dice = random.Random(5)
    for packs in (1, 2, 5, 8, 20, 100):
        sizes = [155, 450, *(300 for _ in range(30))]
        sizes += [dice.randrange(500, 40_000) for _ in range(30)]  # indexes
        sizes += [(16 << 20) + dice.randrange(2 << 20) for _ in range(packs - 1)]
        sizes += [dice.randrange(1 << 20, 16 << 20)]
        members = [Member("data", f"{i:064x}", size, f"{i:064x}") for i, size in enumerate(sizes)]
        cost = sum(2 * longest(bins) for bins in packing.pack(members))
        print(
            f"  overhead of a set of {packs:3} packs ({sum(sizes) / MB:.0f} MB): {cost / sum(sizes):.0%}"
        )


def zfec_on(contents: list[bytes], rounds: int) -> None:
    try:
        import zfec
    except ImportError:
        print("  zfec is not installed: left out")
        return
    block = 64 << 10
    groups = [contents[at : at + 8] for at in range(0, len(contents) - 7, 8)]
    size = sum(len(each) // block * block for group in groups for each in group)

    def columns() -> Iterator[list[bytes]]:
        for group in groups:
            for at in range(0, min(map(len, group)) - block, block):
                yield [each[at : at + block] for each in group]

    coder, decoder = zfec.Encoder(8, 10), zfec.Decoder(8, 10)
    coded = timed(lambda: [coder.encode(data, [8, 9]) for data in columns()])
    parity = [coder.encode(data, [8, 9]) for data in columns()]

    def decode() -> None:
        for data, shards in zip(columns(), parity, strict=True):
            decoder.decode([*data[2:], *shards], [2, 3, 4, 5, 6, 7, 8, 9])

    decoded = timed(decode)
    print(f"  zfec, encode in memory: {rates(size, coded)}")
    print(f"  zfec, decode in memory, 2 lost: {rates(size, decoded)}")


def par2_on(bench: Bench, folder: Path, copies: dict[Member, bytes]) -> None:
    work = folder / "par2"
    work.mkdir()
    for member, content in copies.items():
        (work / member.name).write_bytes(content)
    names = [member.name for member in copies]
    quiet = {"cwd": work, "stdout": subprocess.DEVNULL, "check": True}
    create = ["par2", "create", "-q", "-q", "-b80", "-r25", "-n1", "parite.par2", *names]
    took = timed(lambda: subprocess.run(create, **quiet))  # type: ignore[call-overload]
    size = sum(file.stat().st_size for file in work.glob("*.par2"))
    print(f"  par2 create: {rates(bench.bytes, took)}, overhead {size / bench.bytes:.1%}")
    for name in names[: max(1, len(names) * 2 // 10)]:
        (work / name).unlink()
    repair = ["par2", "repair", "-q", "-q", "parite.par2"]
    took = timed(lambda: subprocess.run(repair, **quiet))  # type: ignore[call-overload]
    assert all((work / member.name).read_bytes() == content for member, content in copies.items())
    print(f"  par2 repair, a fifth of the files lost: {rates(bench.bytes, took)}")


if __name__ == "__main__":
    main()
