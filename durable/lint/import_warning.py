"""Warnings where durable functions are defined, for whoever sets the variable DURABLE_LINT (docs/lint.md)."""

from __future__ import annotations

import warnings
from functools import lru_cache
from pathlib import Path

from durable.core.errors import BadArguments
from durable.lint.function_check import LintFinding
from durable.lint.lint_targets import FileFinding, check_file

VARIABLE = "DURABLE_LINT"
MODES = ("warn", "error")


class DurableLintWarning(UserWarning):
    """Something in a durable function that a replay would not do again in the same way."""


class LintFailed(BadArguments):
    """A durable function does what a replay would not do again in the same way, and DURABLE_LINT=error."""


def tell(mode: str, path: str | None, qualified_name: str) -> None:
    """Warn of what is found in a function of a file, at its lines; LintFailed for mode "error".

    path: the file that defines it; nothing is said where there is none. Its source is read once, never run.
    """
    if mode not in MODES:
        raise BadArguments(f"{VARIABLE} is one of {', '.join(MODES)}, not {mode!r}")
    if path is None or not path.endswith(".py"):
        return
    name = qualified_name.replace(".<locals>", "")
    found = [FileFinding(path, each) for each in _findings(path) if each.function.partition(" ")[0] == name]
    if found and mode == "error":
        raise LintFailed("\n".join(each.line() for each in found))
    for each in found:
        warnings.warn_explicit(each.line(), DurableLintWarning, path, each.finding.line)


@lru_cache(maxsize=64)
def _findings(path: str) -> tuple[LintFinding, ...]:
    try:
        return tuple(check_file(Path(path)))
    except BadArguments:
        return ()
