"""The owner of a store: looked at before anything of it is read, run or unpickled (specs/store.md, O1-O5).

A store that somebody else prepared runs that person's code with the rights of whoever opens it, and a key that others
read lets them forge checkpoints. So a store's files belong to the user who opens them, or to root, and no other user
can write to them; anything else is opened only when its user has said so.
"""

from __future__ import annotations

import json
import os
import pwd
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from durable.core.errors import StoreError, StoreForeign

VARIABLE = "DURABLE_TRUST_STORE"
"""Paths of trusted stores, as in PATH, or 1 for whatever this process opens."""

_FILES = ("", "-wal", "-shm", "-journal", ".key", ".token", ".tokens")
_SECRETS = (".key", ".token", ".tokens")
"""The endings of files whose readers can forge checkpoints, or be a client."""

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_OTHERS_READ = stat.S_IRGRP | stat.S_IROTH


def check(path: Path) -> None:
    """Raises StoreForeign when the store at this path, or a file beside it, is not its user's own."""
    path = path.absolute()
    problems = (problem_of(file, secret=str(file).endswith(_SECRETS)) for file in _beside(path))
    problem = next((each for each in problems if each is not None), None) or _problem_of_directory(path)
    if problem is not None and not trusted(path):
        raise StoreForeign(str(path), *problem)


def read_secret(path: Path, store: Path) -> bytes:
    """The content of a file that only its user may have: the key of a store, the token of its server.

    Looked at once more when it is open, so that nobody can put another in between. OSError, StoreForeign.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        problem = problem_of(path, secret=True) or _problem(path, os.fstat(descriptor), secret=True)
        if problem is not None and not trusted(store.absolute()):
            raise StoreForeign(str(store), *problem)
        return stream.read()


def problem_of(path: Path, *, secret: bool = False) -> tuple[str, str] | None:
    """The problem of one file, and the name of its owner; None for one that is its user's own, or not there."""
    try:
        found = [path.lstat()]
        if stat.S_ISLNK(found[0].st_mode):
            found.append(path.stat())
    except OSError:
        return None  # not there, or out of reach: whoever opens it says why it cannot
    return next((problem for each in found if (problem := _problem(path, each, secret=secret)) is not None), None)


def _problem(path: Path, status: os.stat_result, *, secret: bool) -> tuple[str, str] | None:
    owner, mode = name_of(status.st_uid), stat.S_IMODE(status.st_mode)
    if status.st_uid not in (os.geteuid(), 0):
        return f"{str(path)!r} belongs to {owner}, not to {name_of(os.geteuid())}", owner
    if stat.S_ISLNK(status.st_mode):
        return None
    if mode & _OTHERS_WRITE:
        return f"{str(path)!r} can be written by others (mode {mode:o}; `chmod go-w` it)", owner
    if secret and mode & _OTHERS_READ:
        return f"{str(path)!r} can be read by others (mode {mode:o}; `chmod 600` it)", owner
    return None


def _beside(path: Path) -> Iterator[Path]:
    for end in _FILES:
        yield Path(f"{path}{end}")
    directory = Path(f"{path}.d")
    yield directory
    try:
        yield from sorted(Path(entry.path) for entry in os.scandir(directory))
    except OSError:
        return


def _problem_of_directory(path: Path) -> tuple[str, str] | None:
    """The problem of a directory in which others can rename files: the next is theirs. A sticky one forbids that."""
    if not path.exists():
        return None
    status = path.parent.stat()
    mode = stat.S_IMODE(status.st_mode)
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        what = f"{str(path.parent)!r}, in which it lies, can be written by others (mode {mode:o}; `chmod o-w` it)"
        return what, name_of(status.st_uid)
    return None


def name_of(uid: int) -> str:
    """A user's name with the number."""
    try:
        return f"{pwd.getpwuid(uid).pw_name!r} (uid {uid})"
    except KeyError:
        return f"the user {uid}"


def trusted(path: Path) -> bool:
    """Whether this user said that what lies at the path is to be opened, and it still belongs to whom it did then."""
    given = os.environ.get(VARIABLE, "")
    if given == "1" or str(path) in (str(Path(each).absolute()) for each in given.split(os.pathsep) if each):
        return True
    known = _recorded().get(str(path))
    return known is not None and set(_owners(path)) <= set(known)


def trust(path: Path) -> None:
    """Record that the store at this path is trusted as long as it belongs to whom it does now. StoreError."""
    path = path.expanduser().absolute()
    if not path.exists():
        raise StoreError(f"there is no store at {str(path)!r} to trust")
    file = _file()
    known = _recorded() | {str(path): _owners(path)}
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            json.dump(known, stream, indent=1)
        draft.rename(file)
    except OSError as error:
        raise StoreError(f"{str(file)!r}, where trusted stores are recorded, cannot be written: {error}") from error


def _owners(path: Path) -> list[int]:
    """The users who own a store's files, without this one and root."""
    found = set()
    for file in _beside(path):
        try:
            found.add(file.lstat().st_uid)
        except OSError:
            continue
    return sorted(found - {os.geteuid(), 0})


def _file() -> Path:
    home = os.environ.get("XDG_STATE_HOME") or Path(pwd.getpwuid(os.geteuid()).pw_dir) / ".local" / "state"
    return Path(home) / "durable" / "trusted-stores.json"


def _recorded() -> dict[str, list[int]]:
    """The trusted stores that this user recorded; a file that others could have written says nothing."""
    try:
        file = _file()
        if problem_of(file) is not None or problem_of(file.parent) is not None:
            return {}
        found = json.loads(file.read_text())
    except (OSError, ValueError, KeyError):
        return {}
    return found if isinstance(found, dict) else {}
