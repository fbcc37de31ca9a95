"""A cell as statements: compiled whole first, then each top-level statement by itself (E1, E2)."""

from __future__ import annotations
import __future__

import ast
import inspect
import linecache
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import CodeType
from typing import NamedTuple

from bridge.worker.run.code_cache import CodeCache, cache_size, digest_of
from checkpoint.capture.class_sources import note_imports

FUTURE_FLAGS = 0
for _name in __future__.all_feature_names:
    FUTURE_FLAGS |= getattr(__future__, _name).compiler_flag

SOURCES_MAX = 1_000
"""Cells whose source stays available to tracebacks and `inspect.getsource`."""

SHORT_CHARS = 200
"""Cells up to this are first tried as one expression: half the time of parsing and compiling apart."""

_sources: dict[str, None] = {}


class Statement(NamedTuple):
    """One top-level statement. `awaits`: evaluating its code gives a coroutine. `has_value`: it is an expression.
    `loops`: it is a `for`."""

    code: CodeType
    awaits: bool
    has_value: bool
    loops: bool = False


class CompiledCell(NamedTuple):
    """A compiled cell, the `from __future__` flags that hold after it, and the digest of its text and flags."""

    statements: list[Statement]
    future_flags: int
    key: bytes = b""

    @property
    def awaits(self) -> bool:
        """One of its statements does."""
        return any(statement.awaits for statement in self.statements)


_compiled: CodeCache[CompiledCell] = CodeCache(cache_size(os.environ))


def future_flags_of(namespace: Mapping[str, object]) -> int:
    """The flags of the `from __future__` imports whose names are there: how they come back with a checkpoint."""
    found = (namespace.get(name) for name in __future__.all_feature_names)
    flags = 0
    for feature in found:
        if isinstance(feature, __future__._Feature):
            flags |= feature.compiler_flag
    return flags & FUTURE_FLAGS


def remember_source(code: str, filename: str) -> None:
    """Make the cell's lines available under its file name."""
    linecache.cache[filename] = (len(code), None, code.splitlines(keepends=True), filename)
    _sources[filename] = None
    note_imports(filename, code)
    if len(_sources) > SOURCES_MAX:
        oldest = next(iter(_sources))
        del _sources[oldest]
        linecache.cache.pop(oldest, None)


def filename_of(code: str, execution_id: str) -> str:
    """A cell's file name: of its execution; with a digest where another text has that, as unjournaled ones do."""
    filename = f"<cell {execution_id}>"
    known = linecache.cache.get(filename)
    if known is None or len(known) != 4 or "".join(known[2]) == code:
        return filename
    return f"<cell {execution_id} {digest_of(code).hex()[:8]}>"


def compile_cell(code: str, filename: str, future_flags: int) -> CompiledCell:
    """Compile, or raise what `compile` raises (SyntaxError, ValueError, RecursionError…); nothing has run then."""
    key = digest_of(code, future_flags)
    known = _compiled.get(key)
    if known is not None:
        return CompiledCell([_renamed(statement, filename) for statement in known.statements], known.future_flags, key)
    cell = _compile_cell(code, filename, future_flags)._replace(key=key)
    _compiled.put(key, cell)
    return cell


def _renamed(statement: Statement, filename: str) -> Statement:
    """The same code under the file name of the cell that runs now."""
    code, awaits, has_value, loops = statement
    return Statement(_named(code, filename), awaits, has_value, loops)


def _named(code: CodeType, filename: str) -> CodeType:
    constants = code.co_consts
    if any(isinstance(constant, CodeType) for constant in constants):
        constants = tuple(_named(one, filename) if isinstance(one, CodeType) else one for one in constants)
    return code.replace(co_filename=filename, co_consts=constants)


def _compile_cell(code: str, filename: str, future_flags: int) -> CompiledCell:
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | future_flags
    if len(code) <= SHORT_CHARS and code[:1] not in " \t" and "\n" not in code:
        try:
            short = compile(code, filename, "eval", flags, dont_inherit=True)
        except (SyntaxError, ValueError):
            pass  # not one expression: below, which also says what is wrong
        else:
            return CompiledCell([Statement(short, bool(short.co_flags & inspect.CO_COROUTINE), True)], future_flags)
    tree = compile(code, filename, "exec", flags | ast.PyCF_ONLY_AST, dont_inherit=True)
    assert isinstance(tree, ast.Module)
    body = tree.body
    if len(body) > 1:
        whole = compile(tree, filename, "exec", flags, dont_inherit=True)
        future_flags |= whole.co_flags & FUTURE_FLAGS
        flags |= future_flags
    with _warned_already(len(body) > 1):
        statements = [
            _statement(node, filename, flags, docstring=len(body) > 1 and at == 0) for at, node in enumerate(body)
        ]
    for statement in statements:
        future_flags |= statement.code.co_flags & FUTURE_FLAGS
    return CompiledCell(statements, future_flags)


def _statement(node: ast.stmt, filename: str, flags: int, *, docstring: bool) -> Statement:
    """A bare string is a docstring only as the first of several statements; elsewhere it must not set `__doc__`."""
    is_docstring = docstring and isinstance(node, ast.Expr) and _is_text(node.value)
    if isinstance(node, ast.Expr) and not is_docstring:
        code = compile(ast.Expression(node.value), filename, "eval", flags, dont_inherit=True)
        has_value = True
    else:
        code = compile(ast.Module([node], []), filename, "exec", flags, dont_inherit=True)
        has_value = False
    return Statement(
        code, bool(code.co_flags & inspect.CO_COROUTINE), has_value, isinstance(node, ast.For | ast.AsyncFor)
    )


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


@contextmanager
def _warned_already(active: bool) -> Iterator[None]:
    """The whole cell's compilation has shown its SyntaxWarnings; `catch_warnings` would reset "once" for all."""
    if not active:
        yield
        return
    shown = warnings.showwarning
    warnings.showwarning = lambda *_args, **_kwargs: None
    try:
        yield
    finally:
        warnings.showwarning = shown
