"""The result of code that ran in a session: its value, what it printed, how it failed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from durable.core.errors import ExecutionError
from durable.core.frozen_record import FrozenRecord
from durable.records.displays import DISPLAY, Display, applied
from durable.records.stored_output import CopyRow


class Lost(FrozenRecord, frozen=True):
    """A variable that could not be saved: its type, why, and which execution made it."""

    name: str
    kind: str
    reason: str
    execution: str = ""


class RestoreReport(FrozenRecord, frozen=True):
    """The report of a restore: names as they were, names made anew (and how), names that are lost (and why).

    recomputed: names that were lost and are there again, each with the execution that was run again for it.
    """

    restored: tuple[str, ...]
    rebuilt: tuple[tuple[str, str], ...]
    lost: tuple[Lost, ...]
    recomputed: tuple[tuple[str, str], ...] = ()

    @classmethod
    def read(cls, report: dict[str, Any]) -> RestoreReport:
        """From a worker's report, which is untrusted: what does not fit is left out."""
        rebuilt = [item for item in _listed(report, "rebuilt") if isinstance(item, list) and len(item) == 2]
        lost = [item for item in _listed(report, "lost") if isinstance(item, list) and 3 <= len(item) <= 4]
        return cls(
            tuple(str(name) for name in _listed(report, "restored")),
            tuple((str(name), str(how)) for name, how in rebuilt),
            tuple(Lost(*(str(part) for part in item)) for item in lost),
        )


@dataclass(frozen=True, slots=True)
class RolledBack:
    """The rollback of a transaction: `restored` had been changed, `kept` could not be put back, each with why."""

    restored: tuple[str, ...]
    kept: tuple[tuple[str, str], ...]

    @classmethod
    def read(cls, report: dict[str, Any]) -> RolledBack:
        """From a worker's report, which is untrusted: what does not fit is left out."""
        kept = [item for item in _listed(report, "kept") if isinstance(item, list) and len(item) == 2]
        names = tuple(str(name) for name in _listed(report, "restored"))
        return cls(names, tuple((str(name), str(why)) for name, why in kept))


def _listed(report: dict[str, Any], key: str) -> list[Any]:
    found = report.get(key)
    return found if isinstance(found, list) else []


class Texts(FrozenRecord, frozen=True):
    """The stored output of an execution; `dropped` counts the characters of its gaps."""

    stdout: str = ""
    stderr: str = ""
    dropped: int = 0
    displays: tuple[Display, ...] = ()

    @classmethod
    def of(cls, chunks: Iterable[CopyRow]) -> Texts:
        """From what the store keeps."""
        texts: dict[str, list[str]] = {"stdout": [], "stderr": [], DISPLAY: []}
        dropped = 0
        for chunk in chunks:
            texts[chunk.stream].append(chunk.text)
            dropped += 0 if chunk.text else chunk.length
        displays = (Display.read(piece) for piece in texts[DISPLAY])
        whole = applied(display for display in displays if display is not None)
        return cls("".join(texts["stdout"]), "".join(texts["stderr"]), dropped, whole)


NO_TEXTS = Texts()


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of one cell.

    `value` is the last expression's value where it is JSON, else None; `repr` is its text ("" for statements), as the
    session's language writes it.
    `error` is set when the code raised. `execution_time` is in seconds and leaves out waiting.
    `stdout` and `stderr` are what it printed; inside durable functions its last PRINTED_CHARS_MAX characters, from the
    character `printed_from` of its output on (`durable logs` has all).
    `dropped` counts the characters that are in neither: dropped by the session's output policy, or over what it stores.
    `displays` is what it showed with `display(obj)`. `mode` is what kind of code it is, `warnings` names calls in it
    that hold up background tasks (specs/namespace.md). `rollback` is set when its transaction was rolled back.
    `earlier` is what threads and tasks of earlier cells printed before this one began, at most EARLIER_CHARS_MAX
    characters (all of it is in `session.output()`); `failures` names those that ended with an error since then.
    `not_saved` says why what it left could not be saved: after a crash the session goes on from before it.
    """

    id: str
    value: Any = None
    repr: str = ""
    stdout: str = ""
    stderr: str = ""
    error: ExecutionError | None = None
    execution_time: float = 0.0
    dropped: int = 0
    displays: tuple[Display, ...] = ()
    mode: str = "simple_sync"
    warnings: tuple[str, ...] = ()
    rollback: RolledBack | None = None
    earlier: str = ""
    failures: tuple[str, ...] = ()
    not_saved: str = ""
    printed_from: int = 0

    def unwrap(self) -> Any:
        """The value; raises the error if there is one."""
        if self.error is not None:
            raise self.error
        return self.value

    @classmethod
    def from_record(cls, record: Any, printed: Texts = NO_TEXTS) -> Result:
        """From the decoded value of a resolved cell."""
        found = record if isinstance(record, dict) else {"value": record}
        printed = _printed(found) if printed == Texts() else printed
        return cls(
            id=str(found.get("id", "")),
            value=found.get("value"),
            repr=str(found.get("repr", "")),
            stdout=printed.stdout,
            stderr=printed.stderr,
            dropped=printed.dropped,
            displays=printed.displays,
            **_about(found),
        )

    @classmethod
    def failed(
        cls,
        execution_id: str,
        error: ExecutionError,
        printed: Texts = NO_TEXTS,
        document: Mapping[str, Any] = MappingProxyType({}),
    ) -> Result:
        """From the rebuilt error of a rejected cell, and the document that it was rebuilt from."""
        printed = Texts(*error.printed) if printed == Texts() else printed
        texts: dict[str, Any] = {"stdout": printed.stdout, "stderr": printed.stderr, "dropped": printed.dropped}
        return cls(execution_id, **texts, error=error, displays=printed.displays, **_about(document))


def _printed(record: Mapping[str, Any]) -> Texts:
    """The end of the output, which the record of a durable function's cell has."""
    match record.get("printed"):
        case [str(stdout), str(stderr)]:
            return Texts(stdout, stderr)
    return Texts()


def _about(record: Mapping[str, Any]) -> dict[str, Any]:
    """Further entries of a record, read from what a worker wrote: what does not fit is left out."""
    found: dict[str, Any] = {}
    if isinstance(record.get("execution_time"), int | float):
        found["execution_time"] = float(record["execution_time"])
    if isinstance(record.get("mode"), str):
        found["mode"] = record["mode"]
    if isinstance(record.get("warnings"), list):
        found["warnings"] = tuple(map(str, record["warnings"]))
    if isinstance(record.get("rollback"), dict):
        found["rollback"] = RolledBack.read(record["rollback"])
    for name in ("earlier", "not_saved"):
        if isinstance(record.get(name), str):
            found[name] = record[name]
    if isinstance(record.get("printed_from"), int):
        found["printed_from"] = record["printed_from"]
    if isinstance(record.get("failures"), list):
        found["failures"] = tuple(map(str, record["failures"]))
    return found
