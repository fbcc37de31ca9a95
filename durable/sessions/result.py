"""What an execution of code in a session returns: the value, what it printed, how it failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from durable.core.errors import ExecutionError


@dataclass(frozen=True, slots=True)
class Lost:
    """A variable that could not be saved: its type, why, and which execution made it."""

    name: str
    kind: str
    reason: str
    execution: str = ""


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What a restore brought back: names as they were, names made anew (and how), names that are lost (and why)."""

    restored: tuple[str, ...]
    rebuilt: tuple[tuple[str, str], ...]
    lost: tuple[Lost, ...]

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


def _listed(report: dict[str, Any], key: str) -> list[Any]:
    found = report.get(key)
    return found if isinstance(found, list) else []


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of one cell.

    `value` is the last expression's value where it is JSON, else None; `repr` is its text ("" for statements).
    `error` is set when the code raised. `execution_time` is in seconds and leaves out waiting.
    `stdout` and `stderr` are what it printed; inside durable functions they stay in the store (`durable logs`).
    """

    id: str
    value: Any = None
    repr: str = ""
    stdout: str = ""
    stderr: str = ""
    error: ExecutionError | None = None
    execution_time: float = 0.0

    def unwrap(self) -> Any:
        """The value; raises the error if there is one."""
        if self.error is not None:
            raise self.error
        return self.value

    @classmethod
    def from_record(cls, record: Any, *, stdout: str = "", stderr: str = "") -> Result:
        """From the decoded value of a resolved cell."""
        found = record if isinstance(record, dict) else {"value": record}
        return cls(
            id=str(found.get("id", "")),
            value=found.get("value"),
            repr=str(found.get("repr", "")),
            stdout=stdout,
            stderr=stderr,
            execution_time=float(found.get("execution_time", 0.0)),
        )

    @classmethod
    def failed(cls, execution_id: str, error: ExecutionError, *, stdout: str = "", stderr: str = "") -> Result:
        """From the rebuilt error of a rejected cell."""
        return cls(id=execution_id, error=error, stdout=stdout, stderr=stderr)
