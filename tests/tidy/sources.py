"""The project's own sources: their modules, parsed, and what each imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("durable", "bridge", "checkpoint", "capabilities")


@cache
def modules() -> dict[str, Path]:
    """Every module's file by its dotted name; a package by its own name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


@cache
def tree(path: Path) -> ast.Module:
    """The parsed file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def place(path: Path, node: ast.AST | None = None) -> str:
    """`durable/core/ids.py:12`."""
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


@cache
def imported(name: str, *, typing: bool = True) -> frozenset[str]:
    """Modules of ours that a module imports, anywhere in it. typing: those for annotations only, too."""
    found: set[str] = set()
    for node in _statements(tree(modules()[name]), typing):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {_module(node.module, alias.name) for alias in node.names}
    return frozenset(found & modules().keys() - {name})


def package_of(name: str) -> str:
    """The folder that a module lies in, dotted."""
    return name if modules()[name].name == "__init__.py" else name.rpartition(".")[0]


def _module(package: str, name: str) -> str:
    inner = f"{package}.{name}"
    return inner if inner in modules() else package


def _statements(node: ast.AST, typing: bool) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            if typing:
                yield from _statements(child, typing)
            continue
        yield child
        yield from _statements(child, typing)
