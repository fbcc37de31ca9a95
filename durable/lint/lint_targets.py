"""Modules, files and folders to be checked: found by their names, and neither imported nor run."""

from __future__ import annotations

import os
import sys
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from durable.core.errors import BadArguments
from durable.lint.function_check import LintFinding
from durable.lint.rules import RULES
from durable.lint.source_check import check_source

SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages", "build", "dist", "venv", ".venv"})
"""Folders in a folder that hold no code of the user's."""


@dataclass(frozen=True, slots=True)
class FileFinding:
    """A finding and the file that it is in, as it was named."""

    file: str
    finding: LintFinding

    def line(self) -> str:
        """`file:line:col: CODE what: why; write that`, as linters print it."""
        found = self.finding
        where = f" in {found.function}" if found.function else ""
        instead = f"; write {found.instead}" if found.instead else ""
        reason = f": {found.reason}" if found.function else ""
        return f"{self.file}:{found.line}:{found.column}: {found.code} {found.message}{where}{reason}{instead}"

    def to_json(self) -> dict[str, Any]:
        """Its fields, with the reason."""
        return {"file": self.file, **asdict(self.finding), "reason": self.finding.reason}


def check_targets(
    targets: Iterable[str], *, select: Iterable[str] = (), ignore: Iterable[str] = ()
) -> tuple[list[FileFinding], int]:
    """The findings in all files that are meant, and how many files those are.

    targets: files, folders, or dotted names of modules and packages. select, ignore: codes, or how they begin. Raises
    BadArguments for what is not there and for codes that there are not.
    """
    wanted = codes(select) if select else frozenset(RULES)
    wanted -= codes(ignore)
    files = list(dict.fromkeys(file for target in targets for file in files_of(target)))
    found = [FileFinding(str(file), each) for file in files for each in check_file(file) if each.code in wanted]
    return found, len(files)


def check_file(path: Path) -> list[LintFinding]:
    """The findings in one file. BadArguments where it cannot be read."""
    try:
        with tokenize.open(path) as file:
            source = file.read()
    except (SyntaxError, UnicodeDecodeError) as error:
        return [LintFinding("DUR000", 1, 1, "", f"no Python: {error}", "")]
    except OSError as error:
        raise BadArguments(f"{str(path)!r} cannot be read: {error.strerror}") from None
    return check_source(source)


def codes(given: Iterable[str]) -> frozenset[str]:
    """The codes that are named, by their beginnings too. BadArguments."""
    found: set[str] = set()
    for text in given:
        meant = {code for code in RULES if text and code.startswith(text.upper())}
        if not meant:
            raise BadArguments(f"there is no code {text!r}; there are {', '.join(RULES)}")
        found |= meant
    return frozenset(found)


def files_of(target: str) -> Iterator[Path]:
    """The files of a target. BadArguments where there are none."""
    path = Path(target)
    if path.is_file():
        yield path
    elif path.is_dir():
        yield from _below(path)
    elif all(part.isidentifier() for part in target.split(".")) and (found := _module(target)) is not None:
        yield from _below(found.parent) if found.name == "__init__.py" or found.is_dir() else (found,)
    else:
        raise BadArguments(f"there is no file, folder or module {target!r}")


def _below(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in SKIPPED and not name.startswith("."))
        yield from (Path(root) / name for name in sorted(names) if name.endswith(".py"))


def _module(name: str) -> Path | None:
    """The file or folder of a module, looked for where Python would: its packages are not imported."""
    for entry in dict.fromkeys((os.getcwd(), *sys.path)):
        base = Path(entry or ".", *name.split("."))
        for found in (base / "__init__.py", base.with_name(f"{base.name}.py")):
            if found.is_file():
                return _shown(found)
        if base.is_dir():
            return _shown(base)
    return None


def _shown(path: Path) -> Path:
    """A path below the working directory, without that."""
    return Path(os.path.relpath(path)) if path.is_relative_to(os.getcwd()) else path
