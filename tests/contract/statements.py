"""Every SQL statement that the store's sources hold, as patterns, to be compared with what was seen to run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import durable.store

_SQL = re.compile(r"\s*(?:WITH|SELECT|INSERT|UPDATE|DELETE|REPLACE)\s")
_PARAMETER = re.compile(r"\?\d*")
_SOURCES = Path(durable.store.__file__).parent


def statements(*, but: frozenset[str]) -> dict[str, re.Pattern[str]]:
    """By `module:line`, a pattern of the statement (or its beginning) with anything for parameters and f-string holes.

    `but`: modules and folders that are left out.
    """
    found = {}
    for path in sorted(_SOURCES.rglob("*.py")):
        if path.stem not in but and path.parent.name not in but:
            for line, pattern in _of(ast.parse(path.read_text("utf-8"))):
                found[f"{path.stem}:{line}"] = re.compile(pattern, re.DOTALL)
    return found


def _of(node: ast.AST) -> Iterator[tuple[int, str]]:
    match node:
        case ast.Constant(value=str(text)) if _SQL.match(text):
            yield node.lineno, _literal(text)
        case ast.JoinedStr(values=values):
            parts = [_literal(part.value) if _text(part) else ".*" for part in values]  # type: ignore[attr-defined]
            if _text(values[0]) and _SQL.match(values[0].value):  # type: ignore[attr-defined]
                yield node.lineno, "".join(parts)
        case _:
            for child in ast.iter_child_nodes(node):
                yield from _of(child)


def _text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _literal(text: str) -> str:
    return ".+?".join(re.escape(part) for part in _PARAMETER.split(text))
