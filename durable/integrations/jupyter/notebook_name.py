"""The name of a notebook's session (specs/jupyter.md, Sessions). No I/O."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

STEM_CHARS_MAX = 60
"""Of a file's name in its session's: enough to know it by."""


def notebook_path(notebook: str, directory: Path) -> Path:
    """The file of a notebook. Some servers name it from their root, though the kernel runs in its directory."""
    path = (directory / notebook).resolve()
    beside = (directory / Path(notebook).name).resolve()
    return beside if not path.exists() and beside.exists() else path


def session_name(notebook: str, directory: Path) -> str:
    """The name for a notebook's path, relative to `directory`: its stem, and a digest of the whole path."""
    path = notebook_path(notebook, directory)
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", path.stem).strip("-")[:STEM_CHARS_MAX] or "notebook"
    return f"{stem}-{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"


def unnamed(connection_file: str) -> str:
    """The name for a kernel without a notebook: of its connection file, which it keeps when it is restarted."""
    return session_name(connection_file, Path("/"))


def set_aside_name(session: str, taken: set[str]) -> str:
    """A free name for what a session had before a restart."""
    number = 1
    while f"{session}-before-{number}" in taken:
        number += 1
    return f"{session}-before-{number}"


def is_set_aside(name: str, session: str) -> bool:
    """Whether a session holds what another had before a restart."""
    return re.fullmatch(rf"{re.escape(session)}-before-\d+", name) is not None
