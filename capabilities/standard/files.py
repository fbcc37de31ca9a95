"""Files below one directory. Each level of a path is opened without following links, from the descriptor of the one
before: what was checked is what is opened, so a link that is put there meanwhile changes nothing (P75).
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from capabilities.call import CapabilityCall
from capabilities.capability import Capability
from capabilities.permissions.levels import Resource
from capabilities.standard.disk_usage import ENTRY_BYTES, Spaces, taken_by
from durable.core.errors import BadArguments, Denied, ResourceExceeded

type Encoding = Literal["utf-8", "ascii", "latin-1", "utf-16", "base64"]

FILE_BYTES_MAX = 10 * 2**20
LISTED_MAX = 10_000
PATH_CHARS_MAX = 4_000
LEVELS_MAX = 100

_FIXED = "a call takes no more: let it take less"

_LEVEL = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_RDONLY
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_MAKE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def clean(path: str) -> str:
    """A relative path without '.' and empty levels ("" is the root itself); Denied for one that leads out."""
    levels = [level for level in path.split("/") if level not in ("", ".")]
    if path.startswith("/") or ".." in levels or "\0" in path:
        raise Denied(f"{path[:200]!r}: a path is relative to the session's directory, without '..'")
    if len(path) > PATH_CHARS_MAX or len(levels) > LEVELS_MAX:
        raise BadArguments(f"a path of {len(path)} characters; at most {PATH_CHARS_MAX}, and {LEVELS_MAX} levels")
    return "/".join(levels)


def root_of(call: CapabilityCall) -> Path:
    """Where the session's files are: the manifest's root, or its own directory, which is made."""
    filesystem = call.policy.manifest.filesystem
    if filesystem is not None and filesystem.root is not None:
        return Path(filesystem.root)
    call.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return call.directory


@contextmanager
def _opened(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def below(root: Path, levels: list[str], *, make: bool = False) -> Iterator[int]:
    """A descriptor of the directory that these levels lead to. Denied at a link; OSError as the system has it."""
    fd = os.open(root, os.O_DIRECTORY | os.O_CLOEXEC | os.O_RDONLY)
    try:
        for level in levels:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(level, 0o700, dir_fd=fd)
            deeper = _no_link(level, fd, _LEVEL)
            os.close(fd)
            fd = deeper
        yield fd
    finally:
        os.close(fd)


def _no_link(name: str, directory: int, flags: int) -> int:
    try:
        return os.open(name, flags, dir_fd=directory)
    except OSError as error:
        if _is_link(name, directory):
            raise Denied(f"{name!r} is a link; files are reached without following links") from None
        raise OSError(error.errno, error.strerror, name) from None


def _is_link(name: str, directory: int) -> bool:
    try:
        return stat.S_ISLNK(os.lstat(name, dir_fd=directory).st_mode)
    except OSError:
        return False


def read(root: Path, path: str) -> bytes:
    """The bytes of a regular file. FileNotFoundError, IsADirectoryError, ResourceExceeded, Denied."""
    *levels, name = path.split("/")
    if not name:
        raise IsADirectoryError(f"{path or '.'!r} is a directory")
    with below(root, levels) as directory, _opened(_no_link(name, directory, _READ)) as fd:
        found = os.fstat(fd)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(f"{path!r} is a directory")
        if not stat.S_ISREG(found.st_mode):
            raise Denied(f"{path!r} is no regular file")
        chunks, size = [], 0
        while chunk := os.read(fd, 2**20):
            size += len(chunk)
            if size > FILE_BYTES_MAX:
                raise ResourceExceeded.of("file", FILE_BYTES_MAX, max(size, found.st_size), remedy=_FIXED)
            chunks.append(chunk)
        return b"".join(chunks)


def write(root: Path, path: str, data: bytes) -> None:
    """Replace or make a file, whole or not at all; directories on the way are made."""
    *levels, name = path.split("/")
    if not name:
        raise IsADirectoryError(f"{path or '.'!r} is a directory")
    if len(data) > FILE_BYTES_MAX:
        raise ResourceExceeded.of("file", FILE_BYTES_MAX, len(data), remedy=_FIXED)
    with below(root, levels, make=True) as directory:
        draft = f".{secrets.token_hex(8)}.partial"
        try:
            with _opened(os.open(draft, _MAKE, 0o600, dir_fd=directory)) as fd:
                view = memoryview(data)
                while view:
                    view = view[os.write(fd, view) :]
                os.fsync(fd)
            os.replace(draft, name, src_dir_fd=directory, dst_dir_fd=directory)  # a link there is replaced itself
        except BaseException:
            with suppress(OSError):
                os.unlink(draft, dir_fd=directory)
            raise


def growth(root: Path, path: str, size: int) -> int:
    """Bytes that a file of that size adds to what is below the root: less what it replaces, and its directories."""
    *levels, name = path.split("/")
    try:
        with below(root, levels) as directory:
            replaced = _size(name, directory)
    except FileNotFoundError:
        return taken_by(size) + len(levels) * ENTRY_BYTES  # at most
    return taken_by(size) - replaced


def _size(name: str, directory: int) -> int:
    try:
        return taken_by(os.lstat(name, dir_fd=directory).st_size)
    except FileNotFoundError:
        return 0


def delete(root: Path, path: str) -> bool:
    """Remove a file, whether there is one or not. IsADirectoryError; a link is removed itself."""
    *levels, name = path.split("/")
    if not name:
        raise IsADirectoryError(f"{path or '.'!r} is a directory")
    try:
        with below(root, levels) as directory:
            if stat.S_ISDIR(os.lstat(name, dir_fd=directory).st_mode):
                raise IsADirectoryError(f"{path!r} is a directory")
            os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return False
    return True


def listed(root: Path, path: str, *, recursive: bool) -> list[str]:
    """The contents of a directory, sorted; directories end with '/'. Links are shown, and not followed."""
    with below(root, path.split("/") if path else []) as directory:
        found: list[str] = []
        _list(directory, "", found, recursive=recursive, depth=0)
    return sorted(found)


def _list(directory: int, prefix: str, found: list[str], *, recursive: bool, depth: int) -> None:
    with os.scandir(directory) as entries:
        for entry in entries:
            if len(found) >= LISTED_MAX:
                raise ResourceExceeded.of("files listed", LISTED_MAX, LISTED_MAX + 1, remedy=_FIXED)
            is_directory = entry.is_dir(follow_symlinks=False)
            found.append(f"{prefix}{_shown(entry.name)}" + ("/" if is_directory else ""))
            if is_directory and recursive and depth < LEVELS_MAX:
                try:
                    deeper = os.open(entry.name, _LEVEL, dir_fd=directory)
                except OSError:
                    continue  # it was replaced meanwhile
                with _opened(deeper):
                    _list(deeper, f"{prefix}{_shown(entry.name)}/", found, recursive=True, depth=depth + 1)


def _shown(name: str) -> str:
    """A name as text that can be recorded: what is no UTF-8 in it becomes U+FFFD."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


class ReadFile(Capability):
    """Read files of the session's directory."""

    name = "read_file"

    def touches(self, call: CapabilityCall) -> tuple[Resource, ...]:
        return (Resource("filesystem", "read", clean(call.arguments["path"])),)

    def call(self, call: CapabilityCall, path: str, *, encoding: Encoding = "utf-8") -> str:
        """The text of a file of at most 10 MiB; encoding="base64" for one that is no text."""
        data = read(root_of(call), clean(path))
        return base64.b64encode(data).decode() if encoding == "base64" else data.decode(encoding)


class WriteFile(Capability):
    """Write files of the session's directory."""

    name = "write_file"

    def __init__(self) -> None:
        super().__init__()
        self._spaces = Spaces()

    def touches(self, call: CapabilityCall) -> tuple[Resource, ...]:
        return (Resource("filesystem", "write", clean(call.arguments["path"])),)

    def call(self, call: CapabilityCall, path: str, content: str, *, encoding: Encoding = "utf-8") -> int:
        """Make or replace a file, whole or not at all; returns its size in bytes.

        ResourceExceeded when the directory would hold more than it may.
        """
        try:
            data = base64.b64decode(content, validate=True) if encoding == "base64" else content.encode(encoding)
        except binascii.Error as error:
            raise ValueError(f"the content is not base64: {error}") from None
        root, name = root_of(call), clean(path)
        space, more = self._spaces.of(root), growth(root, name, len(data))
        with space.taking(more, call.policy.manifest.files_bytes_max, call.now_ms()):
            write(root, name, data)
        return len(data)


class DeleteFile(Capability):
    """Remove files of the session's directory."""

    name = "delete_file"

    def touches(self, call: CapabilityCall) -> tuple[Resource, ...]:
        return (Resource("filesystem", "delete", clean(call.arguments["path"])),)

    def call(self, call: CapabilityCall, path: str) -> bool:
        """Remove a file; whether there was one."""
        return delete(root_of(call), clean(path))


class ListFiles(Capability):
    """List the session's directory."""

    name = "list_files"

    def touches(self, call: CapabilityCall) -> tuple[Resource, ...]:
        return (Resource("filesystem", "list", clean(call.arguments["path"])),)

    def call(self, call: CapabilityCall, path: str = ".", *, recursive: bool = False) -> list[str]:
        """The names in a directory, sorted; directories end with '/'. At most 10,000."""
        return listed(root_of(call), clean(path), recursive=recursive)
