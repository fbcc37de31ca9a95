"""The classification of code by mode (specs/namespace.md, Modes). Pure: a text and a table in, a classification out."""

from __future__ import annotations

import ast
import inspect
from collections import Counter
from collections.abc import Mapping
from typing import Literal

from bridge.code.blocking_calls import BlockingCall, BlockingTable, Resolve, blocking_calls
from durable.core.frozen_record import FrozenRecord
from durable.core.limits import WARNINGS_MAX

type Mode = Literal["top_level_await", "async_def", "blocking_sync", "simple_sync", "unknown"]

CALLS_ENV = "ASYNC_EXECUTOR_BLOCKING_CALLS"
WARN_ENV = "ASYNC_EXECUTOR_WARN_BLOCKING"


class Classification(FrozenRecord, frozen=True):
    """A text's mode, and the blocking calls in it."""

    mode: Mode
    blocking: tuple[BlockingCall, ...] = ()


SIMPLE = Classification("simple_sync")
UNKNOWN = Classification("unknown")


def unresolved(_name: str) -> str | None:
    """Nothing is known of names that the text does not bind."""
    return None


def classify(code: str, *, table: BlockingTable | None = None, resolve: Resolve = unresolved) -> Classification:
    """The mode of a text by itself."""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    try:
        tree = compile(code, "<mode>", "exec", flags | ast.PyCF_ONLY_AST, dont_inherit=True)
        compiled = compile(code, "<mode>", "exec", flags, dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return UNKNOWN
    awaits = bool(compiled.co_flags & inspect.CO_COROUTINE)
    return classify_tree(tree, awaits=awaits, table=table or BlockingTable(), resolve=resolve)


def classify_tree(tree: ast.AST, *, awaits: bool, table: BlockingTable, resolve: Resolve) -> Classification:
    """The mode of a parsed text that compiles; `awaits`: at its top level."""
    blocking = tuple(blocking_calls(tree, table, resolve))
    mode: Mode
    if awaits:
        mode = "top_level_await"
    elif any(isinstance(node, ast.AsyncFunctionDef) for node in ast.walk(tree)):
        mode = "async_def"
    elif blocking:
        mode = "blocking_sync"
    else:
        return SIMPLE
    return Classification(mode, blocking)


class Detection:
    """The table in force, whether it warns, and how often each blocking call was met."""

    def __init__(
        self, environ: Mapping[str, str], *, table: BlockingTable | None = None, warn: bool | None = None
    ) -> None:
        """An argument wins over the environment, that over the default."""
        more = environ.get(CALLS_ENV, "").split(",")
        self.table = table or BlockingTable().with_names(name.strip() for name in more)
        self.warn = environ.get(WARN_ENV, "1") not in ("0", "false", "no", "off") if warn is None else warn
        self.modes: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()

    def met(self, found: Classification) -> list[str]:
        """Count one execution's classification; returns its warnings."""
        self.modes[found.mode] += 1
        if not found.blocking:
            return []
        self.calls.update(call.name for call in found.blocking)
        return [warning(call) for call in found.blocking[:WARNINGS_MAX]] if self.warn else []


def warning(call: BlockingCall) -> str:
    """The warning for a blocking call."""
    return f"line {call.line}: {call.name} holds up the session's background tasks; in a coroutine use {call.instead}"
