"""Write a snapshot back to the disk, without trusting it.

Every name is opened from its own directory's descriptor, and no symbolic link is ever followed:
nothing is written outside the target. A file is written under a name of its own, then takes its
place whole. One thread walks the trees; others read, open and write the pieces of files.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from queue import SimpleQueue

from souverain.vault.engine.restic import FormatError
from souverain.vault.engine.restic.check import MAX_TOLD
from souverain.vault.engine.restic.index import DATA
from souverain.vault.engine.restic.repository import Repository, reason
from souverain.vault.engine.restic.trees import SPECIAL, Node

MAX_DEPTH = 2048  # a longer path has no name on Linux
PIECE = 4 << 20
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SET_ID = stat.S_ISUID | stat.S_ISGID
# Others (`security.*`, `trusted.*`) give rights to programs.
_ATTRIBUTES = ("user.", "system.posix_acl_")
_NO_HARD_LINK = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.ENOENT}

Progress = Callable[[int, int], None]  # bytes written, of
Tell = Callable[[bytes, str], None]  # the path, and what is wrong there, in French


@dataclass
class Restored:
    """What was done. `errors`: what could not be; `skipped`: what was left out on purpose."""

    files: int = 0
    directories: int = 0
    symlinks: int = 0
    hard_links: int = 0
    written_bytes: int = 0
    error_count: int = 0
    skipped_count: int = 0
    errors: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.error_count


def shown(path: bytes) -> str:
    """A path for the screen: what is no text, or would drive the terminal, is escaped."""
    text = path.decode(errors="backslashreplace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def walk(
    repository: Repository, tree: bytes, tell: Tell, enters: Callable[[bytes], bool] = bool
) -> Iterator[tuple[int, bytes, Node]]:
    """Every entry below a tree with its depth (from 0) and path (`/a/b`), parents first. `enters`
    is asked for each directory after it was given. What cannot be read is told, and left out."""
    stack: list[tuple[bytes, Iterator[Node]]] = []
    path, below = b"", tree
    while True:
        if below:
            try:
                if len(stack) > MAX_DEPTH:
                    raise FormatError("Les répertoires sont imbriqués trop profondément")
                stack.append((path, repository.tree(below)))
            except FormatError as error:
                tell(path or b"/", reason(error))
        if not stack:
            return
        parent, nodes = stack[-1]
        below = b""
        try:
            node = next(nodes, None)
        except FormatError as error:
            tell(parent or b"/", reason(error))
            node = None
        if node is None:
            stack.pop()
            continue
        path = parent + b"/" + node.name
        yield len(stack) - 1, path, node
        if node.type == "dir" and enters(path):
            below = node.subtree or b""
            if not below:
                tell(path, "Le répertoire n'a pas de contenu")


@dataclass(frozen=True)
class Selection:
    """The paths asked for (`/a/b`), with what is below them; everything when there is none."""

    paths: Sequence[bytes]

    def holds(self, path: bytes) -> bool:
        return not self.paths or any((path + b"/").startswith(each + b"/") for each in self.paths)

    def leads_from(self, path: bytes) -> bool:
        return any(each.startswith(path + b"/") for each in self.paths)


class _Directory:
    """An open directory of the target. It takes its rights and dates when the last of what goes
    into it is there."""

    def __init__(self, fd: int, path: bytes, parent: _Directory | None, dress: Callable[[], None]):
        self.fd, self.path = fd, path
        self._parent, self._dress = parent, dress
        self._users, self._lock = 1, threading.Lock()
        if parent:
            parent.hold()

    def hold(self) -> None:
        with self._lock:
            self._users += 1

    def release(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users:
                return
        self._dress()
        os.close(self.fd)
        if self._parent:
            self._parent.release()


@dataclass
class _Piece:
    """Blobs of a file, one after the other from an offset, each with its size."""

    offset: int
    blobs: list[tuple[bytes, int]]


@dataclass
class _Link:
    """A file that has other names: where it is restored, what it holds, and whether it is there."""

    path: bytes
    digest: bytes
    names_left: int
    failed: bool = False
    finished: threading.Event | None = field(default_factory=threading.Event)

    def finish(self, failed: bool) -> None:
        finished, self.failed, self.finished = self.finished, failed, None
        if finished:
            finished.set()

    def is_there(self) -> bool:
        """Waits for the file, if it is on its way."""
        if finished := self.finished:
            finished.wait()
        return not self.failed


class _File:
    """A file on its way: the pieces that remain, and its temporary name until it is whole."""

    def __init__(
        self, directory: _Directory, path: bytes, node: Node, temporary: bytes, link: _Link | None
    ) -> None:
        self.directory, self.path, self.node, self.temporary = directory, path, node, temporary
        self.fd = -1
        self.pieces = 1  # the walker's own hold
        self.failed = False
        self.link = link
        self.lock = threading.Lock()
        directory.hold()

    def open(self) -> int:
        """Its descriptor. Whoever writes first makes the file, so that the walker need not."""
        with self.lock:
            if self.fd < 0:
                self.fd = os.open(self.temporary, _NEW, 0o600, dir_fd=self.directory.fd)
            return self.fd


class Restoration:
    """One run. `token` makes the temporary names; `workers` threads write the files."""

    def __init__(
        self,
        repository: Repository,
        *,
        token: str,
        overwrite: bool = False,
        workers: int = 2,
        progress: Progress | None = None,
        total_bytes: int = 0,
    ) -> None:
        """`total_bytes`: what the progress is of, when it is known; else the backup is walked once
        more to learn it."""
        self.done = Restored()
        self._repository, self._overwrite, self._progress = repository, overwrite, progress
        self._as_root = os.geteuid() == 0
        self._token, self._made, self._total = token, 0, total_bytes
        self._stopped = False
        self._queue: SimpleQueue[tuple[_File, _Piece] | None] = SimpleQueue()
        self._room = threading.Semaphore(4 * workers)
        self._lock = threading.Lock()
        self._links: dict[tuple[int, int], _Link] = {}
        self._threads = [threading.Thread(target=self._work) for _ in range(workers)]
        self._root = -1

    def run(self, tree: bytes, target: Path, selection: Selection = Selection(())) -> Restored:
        """Restore what is below a tree into a folder, made if it is missing."""
        target.mkdir(parents=True, exist_ok=True)
        self._root = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        opened = [_Directory(self._root, b"", None, lambda: None)]
        try:
            if self._progress and not self._total:
                self._total = self._size_of(tree, selection)
            for thread in self._threads:
                thread.start()
            self._walk(tree, selection, opened)
            if self._stopped:
                raise KeyboardInterrupt
        except BaseException:
            self._stopped = True
            raise
        finally:
            for _ in self._threads:
                self._queue.put(None)
            for thread in self._threads:
                if thread.ident:
                    thread.join()
            while opened:
                opened.pop().release()
        return self.done

    def stop(self) -> None:
        """From a signal or another thread: `run` raises KeyboardInterrupt at the next entry, when
        no file is half written any more."""
        self._stopped = True

    def _entries(
        self, tree: bytes, tell: Tell, enters: Callable[[bytes], bool] = bool
    ) -> Iterator[tuple[int, bytes, Node]]:
        for entry in walk(self._repository, tree, tell, enters):
            if self._stopped:
                raise KeyboardInterrupt
            yield entry

    def _size_of(self, tree: bytes, selection: Selection) -> int:
        """The bytes to write, for the bar."""

        def ignored(path: bytes, message: str) -> None:
            """Told when it is restored."""

        entries = self._entries(tree, ignored)
        return sum(node.size for _, path, node in entries if selection.holds(path))

    def _walk(self, tree: bytes, selection: Selection, opened: list[_Directory]) -> None:
        missing = set(selection.paths)
        entries = self._entries(tree, self._tell, lambda path: opened[-1].path == path)
        for depth, path, node in entries:
            while len(opened) > depth + 1:
                opened.pop().release()
            missing.discard(path)
            if not selection.holds(path) and not (
                node.type == "dir" and selection.leads_from(path)
            ):
                continue
            if not node.has_plain_name:
                self._tell(path, "Nom de fichier piégé, refusé")
                continue
            try:
                self._restore(opened, path, node)
            except (OSError, ValueError, OverflowError) as error:
                self._tell(path, _why(error))
        for path in sorted(missing):
            self._tell(path, "N'est pas dans cette sauvegarde")

    def _restore(self, opened: list[_Directory], path: bytes, node: Node) -> None:
        if node.type == "dir":
            opened.append(self._enter(opened[-1], path, node))
        elif node.type == "file":
            self._restore_file(opened[-1], path, node)
        elif node.type == "symlink":
            self._restore_symlink(opened[-1], path, node)
        elif node.type in SPECIAL:
            self._skip(path, "Fichier spécial, laissé de côté")
        else:
            self._tell(path, "Entrée d'un type inconnu")

    def _enter(self, parent: _Directory, path: bytes, node: Node) -> _Directory:
        try:
            os.mkdir(node.name, 0o700, dir_fd=parent.fd)
            ours = True
        except FileExistsError:
            ours = self._overwrite
        fd = os.open(node.name, _FOLDER, dir_fd=parent.fd)
        self.done.directories += 1

        def dress() -> None:
            if ours and not self._stopped:
                self._dress(fd, path, node)

        return _Directory(fd, path, parent, dress)

    def _restore_symlink(self, parent: _Directory, path: bytes, node: Node) -> None:
        temporary = self._temporary()
        os.symlink(node.link_target, temporary, dir_fd=parent.fd)
        try:
            if self._as_root:
                os.chown(temporary, node.uid, node.gid, dir_fd=parent.fd, follow_symlinks=False)
            if node.mtime_ns is not None:
                times = (node.mtime_ns, node.mtime_ns)
                os.utime(temporary, ns=times, dir_fd=parent.fd, follow_symlinks=False)
        except (OSError, OverflowError) as error:
            self._tell(path, _why(error))
        self._place(parent, temporary, node.name)
        self.done.symlinks += 1

    def _restore_file(self, parent: _Directory, path: bytes, node: Node) -> None:
        if node.content is None:
            raise FormatError("Le contenu du fichier n'est pas dans la sauvegarde")
        if node.size > PIECE and not self._overwrite and _exists(parent.fd, node.name):
            raise FileExistsError  # a smaller one finds it out when it takes its place
        link = self._link(path, node) if node.links > 1 else None
        if link and link.path != path:
            if self._restore_link(parent, link, node):
                return
            link = None
        file = _File(parent, path, node, self._temporary(), link)
        try:
            for piece in self._pieces(node):
                self._room.acquire()
                with file.lock:
                    file.pieces += 1
                self._queue.put((file, piece))
        except FormatError as error:
            file.failed = True
            self._tell(path, str(error))
        except BaseException:
            file.failed = True
            raise
        finally:
            self._leave(file)

    def _pieces(self, node: Node) -> Iterator[_Piece]:
        """A file in pieces of some megabytes."""
        piece, end = _Piece(0, []), 0
        for name in node.blobs:
            size = self._repository.size_of(DATA, name)
            if piece.blobs and end + size - piece.offset > PIECE:
                yield piece
                piece = _Piece(end, [])
            piece.blobs.append((name, size))
            end += size
        yield piece

    def _link(self, path: bytes, node: Node) -> _Link:
        """The file of which this is a name; its first name registers it. An entry that only
        claims the same inode, with another content, is a file of its own."""
        key, digest = (node.device, node.inode), sha256(node.content or b"").digest()
        found = self._links.get(key)
        if found is None or found.digest != digest or not found.is_there():
            found = self._links[key] = _Link(path, digest, node.links)
        found.names_left -= 1
        if not found.names_left:
            del self._links[key]
        return found

    def _restore_link(self, parent: _Directory, link: _Link, node: Node) -> bool:
        """Another name for a file that was restored; false when it cannot be one."""
        *folders, name = link.path[1:].split(b"/")
        folder = os.dup(self._root)
        try:
            for each in folders:
                below = os.open(each, _FOLDER, dir_fd=folder)
                os.close(folder)
                folder = below
            temporary = self._temporary()
            os.link(name, temporary, src_dir_fd=folder, dst_dir_fd=parent.fd, follow_symlinks=False)
        except OSError as error:
            if error.errno in _NO_HARD_LINK:
                return False
            raise
        finally:
            os.close(folder)
        self._place(parent, temporary, node.name)
        self.done.hard_links += 1
        return True

    # What the threads do.

    def _work(self) -> None:
        while task := self._queue.get():
            file, piece = task
            try:
                if not file.failed and not self._stopped:
                    self._write(file, piece)
            except Exception as error:  # whatever it is, the file must not pass for whole
                with file.lock:
                    first, file.failed = not file.failed, True
                if first:
                    self._tell(file.path, _why(error))
            finally:
                self._leave(file)
                self._room.release()

    def _write(self, file: _File, piece: _Piece) -> None:
        fd, offset = file.open(), piece.offset
        for name, size in piece.blobs:
            content = memoryview(self._repository.data(name))
            if len(content) != size:
                raise FormatError("L'index annonce deux tailles pour un même blob")
            while content:
                count = os.pwrite(fd, content, offset)
                content, offset = content[count:], offset + count
            self._count(size)

    def _leave(self, file: _File) -> None:
        """Who leaves last puts the file in its place, or takes it away."""
        with file.lock:
            file.pieces -= 1
            if file.pieces:
                return
        try:
            if file.fd < 0:
                file.failed = True
            elif file.failed or self._stopped:
                file.failed = True
                os.unlink(file.temporary, dir_fd=file.directory.fd)
            else:
                self._dress(file.fd, file.path, file.node)
                self._place(file.directory, file.temporary, file.node.name)
                with self._lock:
                    self.done.files += 1
        except OSError as error:
            file.failed = True
            self._tell(file.path, _why(error))
        finally:
            if file.fd >= 0:
                os.close(file.fd)
            if file.link:
                file.link.finish(file.failed)
            file.directory.release()

    def _place(self, directory: _Directory, temporary: bytes, name: bytes) -> None:
        """Give its name to what is whole; without `overwrite`, only if nothing has that name."""
        fd = directory.fd
        try:
            if self._overwrite:
                os.rename(temporary, name, src_dir_fd=fd, dst_dir_fd=fd)
                return
            try:
                os.link(temporary, name, src_dir_fd=fd, dst_dir_fd=fd, follow_symlinks=False)
            except OSError as error:
                if error.errno not in _NO_HARD_LINK or _exists(fd, name):
                    raise
                os.rename(temporary, name, src_dir_fd=fd, dst_dir_fd=fd)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=fd)

    def _dress(self, fd: int, path: bytes, node: Node) -> None:
        """Owner (for root), attributes, rights, date. Without its owner a file loses its set-id
        bits: they would lend the rights of whoever restores."""
        try:
            mode = node.mode if self._as_root else node.mode & ~_SET_ID
            if self._as_root:
                os.chown(fd, node.uid, node.gid)
            self._set_attributes(fd, path, node)
            os.chmod(fd, mode)
            if node.mtime_ns is not None:
                os.utime(fd, ns=(node.mtime_ns, node.mtime_ns))
        except (OSError, OverflowError) as error:
            self._tell(path, _why(error))

    def _set_attributes(self, fd: int, path: bytes, node: Node) -> None:
        for name, value in node.attributes:
            try:
                if not name.startswith(_ATTRIBUTES):
                    raise ValueError
                os.setxattr(fd, name, value)
            except (OSError, ValueError):
                self._skip(path, f"Attribut « {shown(name.encode())} » laissé de côté")

    def _temporary(self) -> bytes:
        self._made += 1
        return f".restauration-{self._token}-{self._made}".encode()

    def _count(self, written: int) -> None:
        with self._lock:
            self.done.written_bytes += written
            if self._progress:
                self._progress(self.done.written_bytes, self._total)

    def _tell(self, path: bytes, message: str) -> None:
        with self._lock:
            self.done.error_count += 1
            if len(self.done.errors) < MAX_TOLD:
                self.done.errors.append(f"{shown(path)} : {message}")

    def _skip(self, path: bytes, message: str) -> None:
        with self._lock:
            self.done.skipped_count += 1
            if len(self.done.skipped) < MAX_TOLD:
                self.done.skipped.append(f"{shown(path)} : {message}")


def _exists(folder: int, name: bytes) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


_REASONS = {
    errno.EEXIST: "Existe déjà ; rien n'est remplacé sans --overwrite",
    errno.ENOTDIR: "Un fichier ou un lien porte déjà ce nom",
    errno.ELOOP: "Un lien porte déjà ce nom",
    errno.EISDIR: "Un répertoire porte déjà ce nom",
    errno.ENOSPC: "Le disque est plein",
    errno.EACCES: "Accès refusé",
    errno.ENAMETOOLONG: "Le nom est trop long",
}


def _why(error: Exception) -> str:
    """In French, without its final stop."""
    if isinstance(error, MemoryError):
        return "La mémoire manque"
    if isinstance(error, FileExistsError):
        return _REASONS[errno.EEXIST]
    if isinstance(error, OSError):
        return _REASONS.get(error.errno or 0, f"Écriture impossible ({error.strerror})")
    return str(error) if isinstance(error, FormatError) else "Contenu refusé par le système"
