"""The names of one module, from its source alone: what was imported, what is defined, what a name stands for."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

type AnyFunction = ast.FunctionDef | ast.AsyncFunctionDef

DURABLE = ("durable", "durable.functions.definition", "durable.functions.context", "durable.actors.actor")
"""Modules that durable's own names come from."""


@dataclass
class ModuleNames:
    """Names at the top of a module, and functions by class."""

    imported: dict[str, str] = field(default_factory=dict)
    """Full dotted names by the name that they have here."""
    functions: dict[str, AnyFunction] = field(default_factory=dict)
    methods: dict[tuple[str, str], AnyFunction] = field(default_factory=dict)
    """By class and name."""
    assigned: dict[str, ast.expr | None] = field(default_factory=dict)
    """Variables of the module, with their value where it is one expression."""

    @classmethod
    def of(cls, tree: ast.Module) -> ModuleNames:
        """Read them off a module."""
        self = cls()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                self.imported.update(_imports(node))
        for node in _statements(tree.body):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                self.functions[node.name] = node
            elif isinstance(node, ast.ClassDef):
                self.methods |= {
                    (node.name, each.name): each
                    for each in node.body
                    if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
                }
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    if isinstance(target, ast.Name):
                        self.assigned[target.id] = node.value
        return self

    def full_name(self, node: ast.expr, hidden: frozenset[str] = frozenset()) -> str | None:
        """The dotted name that an expression stands for; None for what is not imported. hidden: local names."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.insert(0, node.attr)
            node = node.value
        if not isinstance(node, ast.Name) or node.id in hidden:
            return None
        root = self.imported.get(node.id)
        if root is None:
            known = node.id in self.functions or node.id in self.assigned
            return None if parts or known else node.id
        return ".".join([root, *parts])

    def is_durable(self, node: ast.expr, *names: str) -> bool:
        """Whether an expression is one of these names of durable, as `durable.function` is."""
        full = self.full_name(node) or ""
        module, _, name = full.rpartition(".")
        return name in names and module in DURABLE


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, those under `if` and `try` too."""
    for node in body:
        yield node
        for name in ("body", "orelse", "finalbody"):
            if isinstance(node, ast.If | ast.Try | ast.With):
                yield from _statements(getattr(node, name, []))


def _imports(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            if alias.asname is not None:
                yield alias.asname, alias.name
            else:
                root = alias.name.partition(".")[0]
                yield root, root
    elif node.module is not None and not node.level:
        for alias in node.names:
            yield alias.asname or alias.name, f"{node.module}.{alias.name}"
