"""The error family: one root with a stable code; a message says what happened, what was expected, what to do.

User code's failures are `ExecutionError`; ours are the other classes. Control-flow signals are not here:
they derive from BaseException and live beside the code that raises them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from types import MappingProxyType
from typing import Any, ClassVar, Self

RETRY_AFTER_S_MAX = 366 * 86_400
"""A year: more is a mistake in the unit."""

INTERRUPTED = "interrupted"
"""The note of an execution that somebody interrupted."""


class DurableError(Exception):
    """Root of every error that durable-exec raises. `code` is stable and machine-readable.

    `resonate_code` is the number that Resonate has for the same thing, RES001 to RES005; "" where it has none.
    """

    code: ClassVar[str] = "DURABLE"
    resonate_code: str = ""
    foreign_traceback: str = ""
    """Where code of another language raised it: stands in place of Python's traceback, which would show only ours."""
    printed: tuple[str, str] = ("", "")
    """The output of foreign code that ended so: stdout and stderr (`engine.sandbox.run`, `ctx.sandbox`)."""


class InvalidId(DurableError, ValueError):
    """An id that does not follow specs/execution.md."""

    code = "INVALID_ID"

    def __init__(self, given: str, rule: str) -> None:
        super().__init__(f"{given!r} is not a valid id: {rule}")
        self.given = given


class NotFound(DurableError, LookupError):
    """Nothing of that id is in the store."""

    code = "NOT_FOUND"

    def __init__(self, what: str, given: str, hint: str = "") -> None:
        super().__init__(f"no {what} {given!r} in this store" + (f"; {hint}" if hint else ""))
        self.what = what
        self.given = given
        if what == "checkpoint":
            self.resonate_code = "RES002"


class Conflict(DurableError):
    """The id exists with other code or arguments, or somebody else answered first."""

    code = "CONFLICT"


class Waiting(DurableError):
    """The execution waits for a person or a timer; `prompts` lists the promise ids to answer."""

    code = "WAITING"

    def __init__(self, execution_id: str, prompts: list[str]) -> None:
        super().__init__(f"execution {execution_id!r} is waiting" + (f" for {', '.join(prompts)}" if prompts else ""))
        self.execution_id = execution_id
        self.prompts = prompts


class Halted(DurableError):
    """The execution is halted: what is recorded of it stays, and it goes on only when somebody resumes it.

    `execution_id` is the halted one, `note` says why it is; `awaited` is the execution that was waited for: the same
    one, or one that cannot go on before it. `await engine.resume(error.execution_id)` or `durable resume ID` goes on
    with it; whoever waits from then on waits as before.
    """

    code = "HALTED"

    def __init__(self, execution_id: str, note: str = "", *, awaited: str = "") -> None:
        because = "" if note in ("", INTERRUPTED) else f": {note.rstrip('.')}"
        behind = f"{awaited} waits for it. " if awaited not in ("", execution_id) else ""
        super().__init__(
            f"{execution_id} is interrupted{because}. {behind}It stays halted until `durable resume {execution_id}` or "
            f"`await engine.resume({execution_id!r})` goes on with it; `durable cancel {execution_id}` ends it"
        )
        self.execution_id = execution_id
        self.note = note
        self.awaited = awaited or execution_id

    @property
    def interrupted(self) -> bool:
        """Somebody interrupted it (`engine.interrupt`, `durable interrupt`): nothing is wrong with it."""
        return self.note == INTERRUPTED


class StoreError(DurableError):
    """The store cannot be opened, read or written."""

    code = "STORE"


class StoreMissing(StoreError):
    """There is no store at that path, and none was to be made."""

    code = "STORE_MISSING"


class StoreFull(StoreError):
    """There is no room for what was to be stored. What runs waits for room and goes on then; what was asked was not
    done."""

    code = "STORE_FULL"


class StoreUnreachable(StoreError):
    """The store cannot be reached now. What runs goes on when it can be; what was asked may be done by then."""

    code = "STORE_UNREACHABLE"
    resonate_code = "RES004"


class StoreDenied(StoreError):
    """The server of the store does not let this user in: a wrong token or password, or none."""

    code = "STORE_DENIED"
    resonate_code = "RES005"


class StoreLacks(StoreError):
    """The server speaks the Resonate protocol alone, and what was asked for is none of it. `lacking` names it."""

    code = "STORE_LACKS"

    def __init__(self, url: str, lacking: str) -> None:
        super().__init__(
            f"{url} is a Resonate server, which has no {lacking}; functions, steps, sleeps, questions and schedules "
            "work there. A file, postgresql://… or `durable serve` has everything"
        )
        self.lacking = lacking


class KeyUnavailable(DurableError):
    """A value is encrypted with a key that this process has not, or not the right one. `key_id` names it; no key is
    ever shown."""

    code = "KEY_UNAVAILABLE"

    def __init__(self, key_id: str, known: Sequence[str], text: str = "", *, wrong: bool = False) -> None:
        here = ", ".join(map(repr, known)) or "none"
        missing = f"a value is encrypted with key {key_id!r}, which is not here (here: {here}); set DURABLE_KEYS"
        mistaken = (
            f"a value does not open with key {key_id!r} of this process: it is another key of that id, or changed"
        )
        super().__init__(text or (mistaken if wrong else missing))
        self.key_id = key_id
        self.known = list(known)


class ValueDamaged(StoreError):
    """A recorded value cannot be read: its blob is gone or damaged. `address` names the blob. Everything else in the
    store can be read, and goes on."""

    code = "VALUE_DAMAGED"

    def __init__(self, address: str, why: str) -> None:
        known = {"gone": "the store lacks the blob {} of a value", "damaged": "the blob {} of a value is damaged"}
        text = known.get(why, "the blob {} of a value cannot be read: {}").format(address, why)
        super().__init__(f"{text}; run `durable doctor`")
        self.address = address
        self.why = why


class StoreForeign(StoreError):
    """The store was prepared by another user, or others can change it: nothing of it was read or run. `owner` is whose
    it is."""

    code = "STORE_FOREIGN"

    def __init__(self, store: str, problem: str, owner: str) -> None:
        super().__init__(
            f"store {store!r} was not opened: {problem}. What is in a store runs as you. If you trust {owner} and "
            "whoever can write there, say so once with `--trust-store` (recorded for this path), or set "
            "DURABLE_TRUST_STORE to the path"
        )
        self.store = store
        self.owner = owner


class StoreNewer(StoreError):
    """The file was written by a newer durable-exec."""

    code = "STORE_NEWER"


class StoreRefused(DurableError):
    """The store answered a request with a protocol status of 400 or more."""

    code = "STORE_REFUSED"

    def __init__(self, kind: str, status: int, message: str) -> None:
        super().__init__(f"{kind}: {status} {message}")
        self.kind = kind
        self.status = status
        self.message = message


@contextmanager
def not_found(what: str, given: str, hint: str = "") -> Iterator[None]:
    """Let the store's refusal of an id that it does not have be a NotFound."""
    try:
        yield
    except StoreRefused as refused:
        if refused.status != 404:
            raise
        raise NotFound(what, given, hint) from None


class EngineClosed(DurableError):
    """The engine, session or bridge was closed; nothing durable was settled by that."""

    code = "ENGINE_CLOSED"


class NotDeclared(DurableError):
    """A command cannot call a component: the execution that needs it is halted, whoever has it can go on with it."""

    code = "COMPONENT_NOT_DECLARED"
    resonate_code = "RES003"


class NotServed(DurableError):
    """No engine that is alive knows the function, or a capability of the session; what is queued stays as it is."""

    code = "NOT_SERVED"
    resonate_code = "RES003"


class EngineFailed(DurableError):
    """An error of the engine's own: none of the code's, which is not told of it. An attempt that it ends counts."""

    code = "ENGINE_FAILED"

    def __init__(self, doing: str, error: Exception) -> None:
        super().__init__(f"the engine failed to {doing}: {error!r}")


class NotEncodable(DurableError, TypeError):
    """A value cannot be written as JSON, so it cannot be recorded."""

    code = "NOT_ENCODABLE"


class BadArguments(DurableError, TypeError):
    """Arguments do not fit the function's signature or annotations."""

    code = "BAD_ARGUMENTS"


class NonDeterminism(DurableError):
    """A replay did something else than what is recorded in that place. The execution is halted, not failed."""

    code = "NON_DETERMINISM"

    def __init__(self, position: str, recorded: str, attempted: str, hint: str = "") -> None:
        super().__init__(
            f"at {position} the record says {recorded}, the code now does {attempted}. "
            "The code or something it depends on (time, randomness, environment, order of a set) changed since then; "
            "put the code back, guard the change with `ctx.patched`, or make the value a step, then `durable resume`."
            + (f" {hint}" if hint else "")
        )
        self.position = position
        self.recorded = recorded
        self.attempted = attempted


class StepNeeded(DurableError, RuntimeError):
    """A durable function did itself what only a step may do: I/O, a thread, a subprocess, waiting for nothing."""

    code = "STEP_NEEDED"


class Deadlock(DurableError, RuntimeError):
    """Every task of a durable function waits, and no operation is under way that could wake one. It names the tasks."""

    code = "DEADLOCK"

    @classmethod
    def of(cls, function: str, tasks: Sequence[str]) -> Self:
        """The error with its message; `tasks` says of each task where it waits."""
        return cls(
            f"{function} waits for ever: no operation is under way, and each of its tasks waits for another: "
            f"{'; '.join(tasks)}. What comes from outside is brought by a step, `ctx.ask`, `ctx.execute` or `ctx.sleep`"
        )


class InvalidAnswer(DurableError, ValueError):
    """An answer that does not fit its prompt's schema; the prompt stays open. `errors` lists field errors."""

    code = "INVALID_ANSWER"

    def __init__(self, prompt: str, errors: list[dict[str, Any]]) -> None:
        lines = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'value'}: {e['msg']}" for e in errors)
        super().__init__(f"the answer does not fit {prompt}: {lines}")
        self.prompt = prompt
        self.errors = errors


class NotAsked(DurableError, PermissionError):
    """Somebody answered who is not asked; the question stays as it is."""

    code = "NOT_ASKED"

    def __init__(self, prompt: str, by: str, asked: Sequence[str]) -> None:
        super().__init__(f"{by} is not asked by {prompt}; it asks {', '.join(asked)}")
        self.prompt = prompt
        self.by = by
        self.asked = tuple(asked)


class AnswerLate(Conflict):
    """The deadline of the question passed before the answer came; what it does then is done."""

    code = "ANSWER_LATE"


class Denied(DurableError, PermissionError):
    """A call that was not granted, or that a person denied."""

    code = "DENIED"


class Busy(DurableError):
    """The worker runs another execution; nothing was changed."""

    code = "BUSY"


class ProtocolError(DurableError):
    """The other side sent what specs/worker-protocol.md does not allow; the session ends."""

    code = "PROTOCOL"


class WorkerDied(DurableError):
    """The worker process ended while something was asked of it.

    `begun` is False where it is certain that the worker never read the code that it was to run.
    """

    code = "WORKER_DIED"

    def __init__(self, message: str, *, begun: bool = True) -> None:
        super().__init__(message)
        self.begun = begun


class PoolExhausted(DurableError, TimeoutError):
    """Every worker that the pool allows is a session's; the cell is not lost, and runs when one is free."""

    code = "POOL_EXHAUSTED"

    def __init__(self, session: str, workers: int, waited_s: float) -> None:
        super().__init__(
            f"session {session!r} got no worker within {waited_s:g} s: all {workers} are other sessions'. "
            "Close one, or open the engine with a larger durable.Pool(max=...)"
        )


class CheckpointError(DurableError):
    """A checkpoint cannot be made, read or restored; nothing was changed.

    `older`: the number of an older one that is whole, where one was refused.
    """

    code = "CHECKPOINT"
    older: int | None = None


class CheckpointTampered(CheckpointError):
    """A checkpoint's signature or a chunk's digest does not fit; nothing of it was loaded."""

    code = "CHECKPOINT_TAMPERED"


class ExecutionError(DurableError, RuntimeError):
    """User code failed. Carries what the record holds of the failure.

    `exception_type` is the qualified name of what was raised, `exception_message` its text, `traceback` the user's own
    lines, `execution_id` where it happened. `bases` are the qualified names of its class and the classes above it,
    `attributes` its own attributes as far as JSON has them, `cause` the error that it was raised from.
    An error of a builtin class, or of one derived from it, is raised as an ExecutionError that also is that builtin,
    with its `args` and, for an OSError, `errno`, `strerror` and `filename`. A group has its members rebuilt.
    """

    code = "EXECUTION_FAILED"
    bases: tuple[str, ...] = ()
    cause: ExecutionError | None = None
    recorded: Mapping[str, Any] = MappingProxyType({})
    """The entries of the record beside the fields above, so that an error that passes on is recorded as it was."""
    _raised_by: tuple[object, int] | None = None
    """The operation of a durable function whose failure it is: the function's failures, and the ordinal."""

    def __init__(
        self,
        message: str,
        *,
        exception_type: str = "",
        exception_message: str = "",
        traceback: str = "",
        execution_id: str = "",
    ) -> None:
        super().__init__(message)
        self._message = message  # groups have a `message` of their own, and `args` are what the user's error had
        self.exception_type = exception_type
        self.exception_message = exception_message or message
        self.traceback = traceback
        self.execution_id = execution_id
        self.attributes: dict[str, Any] = {}

    def __str__(self) -> str:
        return self._message


class RetryAfter(DurableError):
    """Raised by a step that is to be tried again, `seconds` later at the earliest.

    It counts as a try: after the last one it is the step's failure. `raise durable.RetryAfter(30) from error`.
    """

    code = "RETRY_AFTER"

    def __init__(self, seconds: float | timedelta, message: str = "") -> None:
        length = seconds.total_seconds() if isinstance(seconds, timedelta) else seconds
        if isinstance(length, bool) or not isinstance(length, int | float) or not 0 <= length <= RETRY_AFTER_S_MAX:
            raise BadArguments(f"RetryAfter takes seconds from 0 to {RETRY_AFTER_S_MAX:.0f}, not {seconds!r}")
        super().__init__(message or f"to be tried again after {length:g} s")
        self.seconds = float(length)


class Fatal(DurableError):
    """Raised by a step that must not be tried again, whatever its Retry says. A class of yours may derive from it."""

    code = "FATAL"


class ExecutionLost(ExecutionError):
    """Given up after its attempts without progress; the last error is in the message."""

    code = "LOST"


class ExecutionCancelled(ExecutionError):
    """Cancelled by somebody (`durable cancel`)."""

    code = "CANCELLED"


class ExecutionTimedOut(ExecutionError, TimeoutError):
    """Its deadline passed."""

    code = "TIMED_OUT"
    resonate_code = "RES001"


class RetriesExhausted(DurableError):
    """A step used up its retries and pauses: its execution is halted, `durable resume` tries it once more."""

    code = "RETRIES_EXHAUSTED"

    def __init__(self, step: str, id: str, retries: int, last_error: str) -> None:
        super().__init__(f"step {step} ({id}) used up its {retries} retries; the last error was {last_error}")
        self.step = step
        self.id = id
        self.retries = retries
        self.last_error = last_error


class LimitExceeded(DurableError):
    """Code used up what it may use, wherever it ran: `resource` ("memory", "cpu", "execution", …) and its `limit`.

    ResourceExceeded in sessions and isolated Python, the sandbox's own errors in WebAssembly and JavaScript.
    """

    code = "LIMIT_EXCEEDED"
    resource: str = ""
    limit: float = 0


class ResourceExceeded(ExecutionError, LimitExceeded):
    """Code used up what its session may use: `resource` (as in `durable.Limits`), its `limit`, what was `used`.

    Bytes, seconds or a count, as the limit. Nothing else was harmed: the session goes on, restored where its worker
    had to be ended.
    """

    code = "RESOURCE_EXCEEDED"
    used: float = 0

    @classmethod
    def of(
        cls,
        resource: str,
        limit: float,
        used: float,
        *,
        remedy: str = "make the session with more in durable.Limits, or let the code use less",
        traceback: str = "",
        execution_id: str = "",
    ) -> Self:
        """The error with its message."""
        text = f"{resource}: {used:.10g} used, {limit:.10g} allowed"
        text += "" if used > limit else ", and more was asked for"
        text += f"; {remedy}"
        found = cls(
            text,
            exception_type=f"durable.{cls.__qualname__}",
            exception_message=text,
            traceback=traceback,
            execution_id=execution_id,
        )
        found.resource, found.limit, found.used = resource, limit, used
        return found


class OutputOverflow(ExecutionError):
    """More was printed than is taken, in a session whose output policy is "error"."""

    code = "OUTPUT_OVERFLOW"


class OutputDrainTimeout(ExecutionError):
    """The last output was not taken in time (`OutputRules.drain_ms`); the namespace is as the execution left it."""

    code = "OUTPUT_DRAIN_TIMEOUT"


class Unenforceable(DurableError):
    """A limit or profile was asked for that this machine cannot enforce; nothing ran. `missing` says what lacks."""

    code = "UNENFORCEABLE"

    def __init__(self, missing: list[str]) -> None:
        super().__init__(
            f"this machine cannot enforce what was asked for: {'; '.join(missing)}. Nothing ran; `durable doctor` says "
            "what it can enforce"
        )
        self.missing = missing
