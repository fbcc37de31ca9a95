"""Open files by recipe: path, mode, position. Opening one again never truncates, creates or deletes anything."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import IO, Any

from checkpoint.pickling.unsaveable import Unsaveable

_NEVER = os.O_TRUNC | os.O_CREAT | os.O_EXCL


def file_recipe(file: io.IOBase) -> tuple[str, str, int | None, dict[str, object], object]:
    """(path, mode, position or None when closed, keyword arguments of open, the name that it was opened by).

    Flushes what is buffered, so that the position names bytes that are in the file.
    """
    text = isinstance(file, io.TextIOWrapper)
    arguments: dict[str, object] = {}
    if text:
        assert isinstance(file, io.TextIOWrapper)
        arguments = {"encoding": file.encoding, "errors": file.errors}
        binary: object = file.buffer
        if file.line_buffering:
            arguments["buffering"] = 1
    else:
        binary = file
    raw = getattr(binary, "raw", binary)
    if not isinstance(raw, io.FileIO):
        raise Unsaveable("file.other", type(file))
    if not isinstance(raw.name, str | bytes | os.PathLike):
        raise Unsaveable("file.descriptor", type(file))
    path = os.path.abspath(os.fsdecode(raw.name))
    mode = str(getattr(file, "mode", raw.mode)) if text else raw.mode
    if not text and raw is file:
        arguments["buffering"] = 0
    if file.closed:
        return path, mode, None, arguments, raw.name
    if not raw.seekable() or raw.isatty():
        raise Unsaveable("file.other", type(file))
    try:
        if file.writable():
            file.flush()
        position = file.tell()
    except OSError:
        raise Unsaveable("file.position", type(file)) from None
    return path, mode, position, arguments, raw.name


def reopen(
    path: str, mode: str, position: int | None, arguments: dict[str, Any], name: str | bytes | os.PathLike[str] = ""
) -> IO[Any]:
    """Open a file as it was. "w" stays write-only but is opened without truncation, at its old position.

    FileNotFoundError when it is gone; OSError when it has become shorter than the position.
    """
    if position is None:
        closed = _open(name or path, mode, lambda _name, _flags: os.open(os.devnull, os.O_RDWR), arguments)
        closed.close()
        return closed
    file = _open(name or path, mode, lambda _name, flags: os.open(path, flags & ~_NEVER), arguments)
    try:
        _seek(file, path, mode, position)
    except BaseException:
        file.close()
        raise
    return file


def _open(
    name: str | bytes | os.PathLike[str], mode: str, opener: Callable[[str, int], int], arguments: dict[str, Any]
) -> IO[Any]:
    return open(name, mode, opener=opener, **arguments)


def _seek(file: IO[Any], path: str, mode: str, position: int) -> None:
    if "a" in mode:
        return  # the system writes at the end, wherever that is by now
    size = os.stat(path).st_size
    # A text file's position is a cookie: its low 64 bits are the byte offset.
    if (position & (2**64 - 1)) > size:
        raise OSError(f"the file {path} has become shorter than the position {position}")
    file.seek(position)
