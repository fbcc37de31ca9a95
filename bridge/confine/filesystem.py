"""The file system of an isolated worker: its own directory, the Python installation read-only, four devices.

Everything is bound into a small tmpfs at the path it has outside, so that what was imported goes on working; then that
becomes the root, and the rest of the machine has no name any more (specs/isolation.md, Tree).
"""

from __future__ import annotations

import os
import stat
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bridge.confine import syscalls

SESSION = "/session"
"""The session's directory as its code sees it: where it starts, its HOME and its place for temporary files."""

DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
LIBRARIES = ("/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib")
DATA = ("/etc/ld.so.cache", "/usr/share/zoneinfo")
OWN_PACKAGES = (
    *("bridge", "checkpoint", "durable/__init__.py", "durable/core"),
    *("capabilities/__init__.py", "capabilities/sandbox", "capabilities/call_signature.py"),
)
OWN = Path(__file__).resolve().parents[2]
SHARED_MEMORY = "/dev/shm"  # noqa: S108  # where semaphores of multiprocessing live
SHARED_BYTES_MAX = 64 * 2**20
STAGE = "/dev"
"""Where the tree is built: any directory that is always there."""
ROOT_BYTES_MAX = 2**20
"""The tree itself holds only directories, empty files and links."""

_SYSTEM = ("/", "/usr", "/usr/local")
"""Prefixes that hold more than Python: of these only Python's own places are shown."""


@dataclass(frozen=True, slots=True)
class Source:
    """A path to show, opened before anything covers it."""

    path: str
    fd: int
    is_directory: bool


def shown(executable: str = sys.executable) -> list[str]:
    """Absolute paths to show read-only: the installation, its libraries, our own packages. No links among them."""
    wanted = [*_interpreter(executable), *LIBRARIES, *DATA, *(str(OWN / name) for name in OWN_PACKAGES)]
    return sorted({os.path.realpath(path) for path in wanted if os.path.exists(path)})


def _interpreter(executable: str) -> Iterator[str]:
    for prefix in {sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix}:
        if prefix not in _SYSTEM:
            yield prefix
    yield executable
    paths = sysconfig.get_paths()
    for name in ("stdlib", "platstdlib", "purelib", "platlib"):
        yield paths[name]
    yield f"/lib/python{sys.version_info[0]}"  # Debian's packages for the system's Python
    yield f"/usr/lib/python{sys.version_info[0]}/dist-packages"


def links(paths: Iterable[str]) -> dict[str, str]:
    """Symbolic links that lie on these paths, and where they point."""
    found: dict[str, str] = {}
    todo = list(paths)
    while todo:
        at = "/"
        for part in todo.pop().strip("/").split("/"):
            at = os.path.join(at, part)
            if at in found:
                break
            if os.path.islink(at):
                found[at] = os.readlink(at)
                todo.append(os.path.normpath(os.path.join(os.path.dirname(at), found[at])))
                break
    return found


class Tree:
    """The tree, planned outside and built inside.

    `disk` limits the session's directory, which is then a file system in memory.
    """

    def __init__(self, directory: str, disk: int | None) -> None:
        self._paths = [*_outermost(shown()), *DEVICES]
        self._links = links([sys.executable, *LIBRARIES, *DATA, sys.prefix, sys.base_prefix])
        self._disk = disk
        self._directory = directory
        self._process = os.open(f"/proc/{os.getpid()}", os.O_PATH | os.O_CLOEXEC)
        if disk is None:
            os.makedirs(directory, 0o700, exist_ok=True)

    @property
    def read_only(self) -> list[str]:
        """Paths that are shown beside the session's own: all in them can be read, run and listed, nothing written.

        The directory of our packages too, without anything else in it: an import of one lists it.
        """
        shown = [path for path in self._paths if path not in DEVICES]
        return shown if str(OWN) in _SYSTEM else [*shown, str(OWN)]

    def give_to(self, uid: int) -> None:
        """Let another user own the session's directory."""
        if self._disk is None:
            os.chown(self._directory, uid, uid)

    def enter(self) -> None:
        """Build the tree and make it the root. Needs its own mount namespace and the right to mount. Raises OSError."""
        syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
        before = os.umask(0o022)
        try:
            self._build(STAGE)
        finally:
            os.umask(before)
        syscalls.change_root(STAGE)
        syscalls.restrict_mount("/", "ro", "nosuid", recursive=False)
        os.chdir(SESSION)

    def _build(self, root: str) -> None:
        sources = [_open(path) for path in self._paths]  # in this namespace, and before the stage covers anything
        process = _open(f"/proc/{os.getpid()}")
        session = None if self._disk is not None else _open(self._directory)
        _tmpfs_on(root, ROOT_BYTES_MAX, "0755")
        for source in sources:
            _bind(root, source, source.path, "ro", "nosuid", *(() if source.path in DEVICES else ("nodev",)))
        _bind(root, process, "/proc/self", "ro", "nosuid", "nodev", "noexec")
        for link, target in self._links.items():
            if not os.path.lexists(root + link):
                os.makedirs(os.path.dirname(root + link), exist_ok=True)
                os.symlink(target, root + link)
        os.makedirs(root + SHARED_MEMORY, exist_ok=True)
        _tmpfs_on(root + SHARED_MEMORY, min(SHARED_BYTES_MAX, self._disk or SHARED_BYTES_MAX), "1777")
        if session is not None:
            _bind(root, session, SESSION, "nosuid", "nodev")
        else:
            os.mkdir(root + SESSION)
            _tmpfs_on(root + SESSION, self._disk or 0, "0777")

    def map_user(self, uid: int, gid: int) -> None:
        """After `enter`, in a new user namespace: be this user, as outside, and nobody else."""
        map_user(f"/proc/self/fd/{self._process}", uid, gid)  # the one below /proc/self is read-only

    def close(self) -> None:
        """Close the last descriptor of the outside."""
        os.close(self._process)


def _bind(root: str, source: Source, path: str, *flags: str) -> None:
    target = root + path
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if source.is_directory:
        os.makedirs(target, exist_ok=True)
    else:
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o444))
    syscalls.mount(f"/proc/self/fd/{source.fd}", target, "", syscalls.MS_BIND | syscalls.MS_REC)
    syscalls.restrict_mount(target, *flags)
    os.close(source.fd)


def map_user(process: str, uid: int, gid: int) -> None:
    """Write the maps of the user namespace that a process (its directory in /proc) has just made."""
    for name, line in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"{process}/{name}", "w") as file:
            file.write(line)


def _open(path: str) -> Source:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    return Source(path, fd, stat.S_ISDIR(os.fstat(fd).st_mode))


def _outermost(paths: Iterable[str]) -> list[str]:
    """The paths without those that lie in another one of them."""
    kept: list[str] = []
    for path in sorted(paths):
        if not any(path == one or path.startswith(f"{one}/") for one in kept):
            kept.append(path)
    return kept


def _tmpfs_on(path: str, size: int, mode: str) -> None:
    # Each 4 KiB of the limit allows one name too: empty files must not fill the kernel's memory instead.
    data = f"size={size},nr_inodes={max(size // 4096, 1024)},mode={mode}"
    syscalls.mount("tmpfs", path, "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, data)
