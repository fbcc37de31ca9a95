"""Failures at the durability boundary: user code's error as a JSON document, and back as an exception.

resonate-sdk keeps only a rejection's message, so the message is the document (requirement D3). Nothing is
unpickled on the way back. An error whose class is a builtin exception is raised as an ExecutionError that also is that
builtin, so that `except ValueError` around a step works the same live and replayed.
"""

from __future__ import annotations

import builtins
import copyreg
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeGuard, cast

import msgspec

from durable.core.errors import (
    DurableError,
    ExecutionCancelled,
    ExecutionError,
    ExecutionLost,
    ExecutionTimedOut,
    NotEncodable,
    ResourceExceeded,
)
from durable.core.limits import ERROR_CHARS_MAX
from durable.records import notation

if TYPE_CHECKING:
    from capabilities.sandbox.errors import SandboxError

WORKER_ERRORS = frozenset({"OutputDrainTimeout", "OutputOverflow"})
"""Errors of ours that a worker tells by their plain name (requirement P36)."""

_SANDBOX_ERRORS = "capabilities.sandbox.errors"

OWN = (
    "durable.core.errors",
    "capabilities.actors.errors",
    _SANDBOX_ERRORS,
    "capabilities.sandbox.javascript.errors",
    "capabilities.sandbox.wasm.wit_values",
)
"""The modules of the errors that records name `durable.…`, the first that has the name. Imported with the first one."""


OUR_PACKAGES = frozenset({"durable", "capabilities", "bridge", "checkpoint"})

DETAILS = ("bases", "args", "fields", "attributes", "notes", "members", "members_left", "cause")
"""The entries of a document beside type, text, traceback and place."""

FIELDS: dict[type[BaseException], tuple[str, ...]] = {
    OSError: ("errno", "strerror", "filename", "filename2"),
    UnicodeDecodeError: ("encoding", "object", "start", "end", "reason"),
    UnicodeEncodeError: ("encoding", "object", "start", "end", "reason"),
    SyntaxError: ("msg", "filename", "lineno", "offset", "text", "end_lineno", "end_offset"),
    ImportError: ("msg", "name", "path"),
    NameError: ("name",),
    AttributeError: ("name",),
    SystemExit: ("code",),
    StopIteration: ("value",),
}
"""Attributes of builtin exceptions that are no part of their `__dict__`."""

DETAIL_CHARS_MAX = 128 * 2**10
"""An error's arguments, attributes and the text of its members and causes; what does not fit is left out."""

DETAIL_ERRORS_MAX = 200
DETAIL_DEPTH_MAX = 20
"""Members and causes in a document, and how deep they stand in each other: every reader follows that."""

ARGS_MAX = 20
NOTES_MAX = 20
NOTE_CHARS_MAX = 2_000

TRACEBACK_ERRORS_MAX = 100
"""Causes and members with which a traceback is made as Python makes it, which goes into each by recursion."""

SHORT_ERRORS_MAX = 20
"""Causes that the traceback of a larger one shows."""

_ROOT = Path(__file__).parents[2]
_DEMO = f"{_ROOT / 'durable' / 'demo'}{os.sep}"


@lru_cache(maxsize=1)
def _runs_user_code() -> tuple[str, ...]:
    """The directories of what runs the user's code: its frames say nothing of that code."""
    ours = [_ROOT / package for package in ("durable", "capabilities", "bridge", "checkpoint")]
    specs = [find_spec(package) for package in ("asyncio", "concurrent", "resonate")]
    theirs = [place for spec in specs if spec is not None for place in spec.submodule_search_locations or ()]
    return tuple(f"{directory}{os.sep}" for directory in (*ours, *theirs))


class Rejection(Exception):
    """Carries an error document through the SDK. Refuses to be pickled, so the SDK stores the message alone."""

    def __reduce__(self) -> NoReturn:
        raise TypeError("a rejection is recorded as JSON only")


def document(error: BaseException, execution_id: str) -> dict[str, Any]:
    """The error document of what user code raised: its type, text, the user's own traceback, where, and its classes.

    Whatever the error is, its document is JSON of a bounded size, and making it does not fail.
    """
    if isinstance(error, ExecutionError):
        # A child's failure that nobody caught: keep the first cause, it is what helps.
        return {
            "type": "error",
            "exception_type": error.exception_type,
            "exception_message": error.exception_message,
            "traceback": error.traceback,
            "execution_id": error.execution_id or execution_id,
            **error.recorded,
            **_about(error),
        }
    return {
        "type": "error",
        "exception_type": name_of(type(error)),
        "exception_message": cut(_text(error)),
        "traceback": cut(user_traceback(error)),
        "execution_id": execution_id,
        **_details(error, _Room()),
        **_about(error),
    }


def _is_of_sandbox(error: BaseException) -> TypeGuard[SandboxError]:
    """Whether it is an error of the sandbox; none is where that has not been imported."""
    module = sys.modules.get(_SANDBOX_ERRORS)
    return module is not None and isinstance(error, module.SandboxError)


def name_of(kind: type) -> str:
    """A class's name in records: qualified; of a builtin its name alone; of an error of ours `durable.<name>`."""
    if kind.__module__ == "builtins":
        return kind.__qualname__
    ours = issubclass(kind, DurableError) and kind.__module__.partition(".")[0] in OUR_PACKAGES
    return f"{'durable' if ours else kind.__module__}.{kind.__qualname__}"


class _Room(msgspec.Struct):
    """The room left in a document: characters, and errors beside the first."""

    chars: int = DETAIL_CHARS_MAX
    errors: int = DETAIL_ERRORS_MAX
    depth: int = 0


def _details(error: BaseException, room: _Room) -> dict[str, Any]:
    """The classes of an error, its arguments, attributes and notes, its members, and what it was raised from."""
    kind = type(error)
    found: dict[str, Any] = {"bases": [name_of(base) for base in kind.__mro__ if issubclass(base, BaseException)]}
    fields = {name: value for base, names in FIELDS.items() if isinstance(error, base) for name in names
              if (value := getattr(error, name, None)) is not None}  # fmt: skip
    if not isinstance(error, BaseExceptionGroup):
        args = [_kept(value, room) for value in error.args[:ARGS_MAX]]
        if all(value is not _LEFT_OUT for value in args):
            found["args"] = args
    for part, values in (("fields", fields), ("attributes", _own_attributes(error))):
        kept = {name: recorded for name, value in values.items() if (recorded := _kept(value, room)) is not _LEFT_OUT}
        if kept:
            found[part] = kept
    notes = getattr(error, "__notes__", None)
    if isinstance(notes, list) and notes:
        found["notes"] = [cut(note, NOTE_CHARS_MAX) for note in notes[:NOTES_MAX] if isinstance(note, str)]
    if room.depth < DETAIL_DEPTH_MAX:
        if isinstance(error, BaseExceptionGroup):
            members = [_member(member, room) for member in error.exceptions[: max(0, room.errors)]]
            found |= {"members": members, "members_left": len(error.exceptions) - len(members)}
        cause = _behind(error)
        if cause is not None and room.errors > 0:
            found["cause"] = _member(cause, room)
    return found


def _member(error: BaseException, room: _Room) -> dict[str, Any]:
    """An error inside another one's document: without its traceback, which is part of the whole one's."""
    room.errors -= 1
    room.depth += 1
    text = cut(
        error.exception_message if isinstance(error, ExecutionError) else _text(error), max(200, room.chars // 4)
    )
    room.chars -= len(text)
    kind = error.exception_type if isinstance(error, ExecutionError) else name_of(type(error))
    details = {**error.recorded} if isinstance(error, ExecutionError) else _details(error, room)
    room.depth -= 1
    return {"exception_type": kind, "exception_message": text, **details}


def _own_attributes(error: BaseException) -> dict[str, Any]:
    try:
        own = {name: value for name, value in vars(error).items() if name[:1] != "_" and name.isidentifier()}
    except Exception:  # a class of the user's that has its own ways
        return {}
    if isinstance(error, DurableError):  # recorded elsewhere in the document
        own = {name: value for name, value in own.items() if name not in ("foreign_traceback", "printed")}
    return own


_LEFT_OUT = object()


def _kept(value: Any, room: _Room) -> Any:
    """The recorded form of an argument or attribute; _LEFT_OUT when it is no JSON or there is no room for it."""
    from durable.records.values import encode  # pydantic, which whoever only looks at a store does without

    try:
        recorded = encode(value, "it")
        size = len(json.dumps(recorded))
    except Exception:  # a value of the user's: its own code runs
        return _LEFT_OUT
    if size > room.chars // 2:
        return _LEFT_OUT
    room.chars -= size
    return recorded


def _about(error: BaseException) -> dict[str, Any]:
    """The recorded attributes of an error, beside its text."""
    found: dict[str, Any] = {}
    if isinstance(error, ResourceExceeded):
        found = {"resource": error.resource, "limit": error.limit, "used": error.used}
    elif _is_of_sandbox(error):
        about = {name: _recordable(getattr(error, name, None)) for name in error.about}
        found = {"about": about, "used": error.used.to_json()}
    if isinstance(error, DurableError) and any(error.printed):
        found["printed"] = [cut(text) for text in error.printed]
    return found


def _recordable(value: Any) -> Any:
    from durable.records.values import to_json  # pydantic, which whoever only looks at a store does without

    if isinstance(value, str):
        return cut(value)
    try:
        return to_json(value, "it")
    except NotEncodable:
        return None


def cut(text: str, chars: int = ERROR_CHARS_MAX) -> str:
    """The text, without its middle when it is longer than can be recorded; lone surrogates as escapes."""
    if len(text) > chars:
        half = chars // 2
        text = f"{text[:half]}\n… {len(text) - 2 * half} characters cut …\n{text[-half:]}"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException as inner:
        return f"<the error's own text failed: {type(inner).__name__}>"


def user_traceback(error: BaseException) -> str:
    """The traceback without our frames and the event loop's; of another language, its own."""
    if isinstance(error, DurableError) and error.foreign_traceback:
        return error.foreign_traceback
    if _is_large(error):
        return _short_traceback(error)
    try:
        frames = traceback.TracebackException.from_exception(error, capture_locals=False)
        _trim(frames)
        alone = not frames.stack and frames.__cause__ is None and frames.__context__ is None and not frames.exceptions
        return "".join(frames.format_exception_only() if alone else frames.format())
    except Exception:
        return _short_traceback(error)


def _behind(error: BaseException) -> BaseException | None:
    """The error that this one was raised from, or while handling."""
    return error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _is_large(error: BaseException) -> bool:
    """Whether an error has more causes and members than a traceback can be made of."""
    left, seen = [error], 0
    while left:
        seen += 1
        if seen > TRACEBACK_ERRORS_MAX:
            return True
        inner = left.pop()
        left += [found for found in (inner.__cause__, inner.__context__) if found is not None]
        if isinstance(inner, BaseExceptionGroup):
            left += inner.exceptions[:TRACEBACK_ERRORS_MAX]
    return False


def _short_traceback(error: BaseException) -> str:
    """The first causes each with its own frames, the newest first, and how many more there are."""
    parts: list[str] = []
    inner: BaseException | None = error
    seen: set[int] = set()
    while inner is not None and id(inner) not in seen:
        seen.add(id(inner))
        if len(seen) <= SHORT_ERRORS_MAX:
            frames = [frame for frame in traceback.extract_tb(inner.__traceback__) if not _ours(frame)]
            lines = traceback.StackSummary.from_list(frames).format()
            parts.append("".join([*lines, f"{name_of(type(inner))}: {cut(_text(inner), NOTE_CHARS_MAX)}\n"]))
        inner = _behind(inner)
    text = "\nThe error above came from:\n\n".join(parts)
    more = len(seen) - len(parts)
    return f"{text}\n… and {more} more errors behind it\n" if more else text


def _trim(frames: traceback.TracebackException) -> None:
    frames.stack = traceback.StackSummary.from_list([frame for frame in frames.stack if not _ours(frame)])
    for inner in (frames.__cause__, frames.__context__, *(frames.exceptions or ())):
        if inner is not None:
            _trim(inner)


def _ours(frame: traceback.FrameSummary) -> bool:
    """The demo's functions are a user's."""
    return frame.filename.startswith(_runs_user_code()) and not frame.filename.startswith(_DEMO)


def rejection(error: BaseException, execution_id: str) -> Rejection:
    """The exception that makes the SDK settle an execution or step as rejected."""
    return Rejection(json.dumps(document(error, execution_id)))


def read_document(value: Any) -> dict[str, Any]:
    """The error document inside a rejected promise's decoded value, whoever wrote it."""
    message = value.get("message") if isinstance(value, dict) else value
    if isinstance(message, str):
        try:
            found = json.loads(message)
        except ValueError:
            found = None
        if isinstance(found, dict) and found.get("type") == "error":
            return found
        return {"type": "error", "exception_type": "", "exception_message": message, "traceback": ""}
    return {"type": "error", "exception_type": "", "exception_message": "rejected without a message", "traceback": ""}


def rebuild(state: str, value: Any, execution_id: str) -> ExecutionError:
    """The exception of a rejected promise: state is the record's, value its decoded value."""
    found = read_document(value)
    kind = str(found.get("exception_type") or "")
    text = str(found.get("exception_message") or "")
    where = str(found.get("execution_id") or execution_id)
    message = _shown(kind, text)
    cls: type[ExecutionError]
    if state == "rejected_timedout":
        cls, kind, text = ExecutionTimedOut, "durable.ExecutionTimedOut", f"{execution_id} passed its deadline"
        message = text
    elif state == "rejected_canceled":
        cls, kind = ExecutionCancelled, "durable.ExecutionCancelled"
        message = text = f"{execution_id} was cancelled" + (f": {text}" if value else "")
    elif kind == "durable.ExecutionLost":
        cls = ExecutionLost
        last = found.get("last_error")
        message = text + (f"; last error: {last}" if last and str(last) not in text else "")
    else:
        return _raised(found, message, where)
    error = cls(
        message,
        exception_type=kind,
        exception_message=text,
        traceback=str(found.get("traceback") or ""),
        execution_id=where,
    )
    _tell(error, found)
    _note(error, found)
    return error


def _raised(found: dict[str, Any], message: str, where: str) -> ExecutionError:
    """The error of a document, and those inside it."""
    kind = str(found.get("exception_type") or "")
    bases = tuple(str(base) for base in _list(found, "bases") if isinstance(base, str))
    members = [_inner(member, where) for member in _list(found, "members") if isinstance(member, dict)]
    cls = _class_of(kind, bases, bool(members))
    told: dict[str, Any] = {
        "exception_type": kind,
        "exception_message": str(found.get("exception_message") or ""),
        "traceback": str(found.get("traceback") or ""),
        "execution_id": where,
    }
    error = cls(message, members, **told) if issubclass(cls, _Group) else cls(message, **told)
    error.exception_message = told["exception_message"]
    error.bases = bases
    error.recorded = {name: found[name] for name in DETAILS if name in found}
    error.attributes = _read(found.get("attributes"), dict) or {}
    fields = _read(found.get("fields"), dict) or {}
    args = _read(found.get("args"), list)
    if args is not None and not (isinstance(error, BaseExceptionGroup) or _is_of_sandbox(error)):
        error.args = tuple(args)
    known = {name for base, names in FIELDS.items() if isinstance(error, base) for name in names}
    for name, value in fields.items():
        try:
            if name in known:
                setattr(error, name, value)
        except (TypeError, ValueError, AttributeError):
            continue  # of another type than the builtin takes
    if any(base.startswith("durable.") for base in bases[:-2]):  # one of ours, with what its class says it has
        for name, value in error.attributes.items():
            if not hasattr(error, name):
                setattr(error, name, value)
    if isinstance(found.get("cause"), dict):
        error.cause = _inner(found["cause"], where)
    _tell(error, found)
    _note(error, found)
    return error


def _inner(found: dict[str, Any], where: str) -> ExecutionError:
    kind, text = str(found.get("exception_type") or ""), str(found.get("exception_message") or "")
    return _raised(found, _shown(kind, text), where)


def _shown(kind: str, text: str) -> str:
    return f"{kind}: {text}" if kind and text else kind or text


def _list(found: dict[str, Any], name: str) -> list[Any]:
    value = found.get(name)
    return value if isinstance(value, list) else []


def _read(value: Any, kind: type) -> Any:
    found = notation.read(value) if isinstance(value, kind) else None
    return found if isinstance(found, kind) else None


def _note(error: ExecutionError, found: dict[str, Any]) -> None:
    """The notes that the user's error had, how many members are missing, and where it was raised."""
    for note in _list(found, "notes"):
        if isinstance(note, str):
            error.add_note(note)
    if found.get("members_left"):
        error.add_note(f"{found['members_left']} more members of the group are not recorded")
    if "execution_id" in found or "traceback" in found:
        error.add_note(f"Execution ID: {error.execution_id}")
    if error.traceback:
        error.add_note(f"Traceback where it was raised:\n{error.traceback.rstrip()}")


def add_note(error: BaseException, text: str) -> None:
    """Add a note to an error, also to what is recorded of one that a step or child raised."""
    error.add_note(text)
    if isinstance(error, ExecutionError):
        error.recorded = {**error.recorded, "notes": [*_list(dict(error.recorded), "notes"), cut(text, NOTE_CHARS_MAX)]}


def raised(error: BaseException | None, *kinds: str | type[BaseException]) -> bool:
    """Whether an error is, or was recorded as, one of these: qualified class names ("pkg.MyError") or classes.

    A step's error is raised as ExecutionError, live and replayed, since nothing is unpickled; this says what it was.
    The name of a class above it matches too.
    """
    if error is None:
        return False
    names = {kind if isinstance(kind, str) else name_of(kind) for kind in kinds}
    if isinstance(error, ExecutionError):
        found = {error.exception_type, *error.bases}
    else:
        found = {name_of(base) for base in type(error).__mro__}
    return not names.isdisjoint(found) or isinstance(error, tuple(kind for kind in kinds if isinstance(kind, type)))


def _tell(error: ExecutionError, found: dict[str, Any]) -> None:
    """Restore the attributes that `_about` recorded; what does not fit is not known."""
    match found.get("printed"):
        case [str(out), str(err)]:
            error.printed = (out, err)
    if isinstance(error, ResourceExceeded):
        error.resource = str(found.get("resource") or "")
        error.limit, error.used = _number(found.get("limit")), _number(found.get("used"))
    elif _is_of_sandbox(error):
        from capabilities.sandbox.errors import Used

        about = found.get("about")
        for name in error.about:
            setattr(error, name, about.get(name) if isinstance(about, dict) else None)
        error.used = Used.of(found.get("used"), error.printed)


def _number(found: Any) -> float:
    return found if isinstance(found, int | float) else 0


class _Group(ExecutionError, ExceptionGroup):
    """A step's exception group, with its members rebuilt: `except*` takes it apart."""

    def __new__(cls, message: str, members: Sequence[ExecutionError], **_told: str) -> Self:
        return ExceptionGroup.__new__(cls, message, members)  # RuntimeError's is not for groups

    def __init__(self, message: str, _members: Sequence[ExecutionError], **told: str) -> None:
        ExecutionError.__init__(self, message, **told)

    def derive(self, excs: Sequence[Any], /) -> Any:
        part = type(self)(
            self._message,
            excs,
            exception_type=self.exception_type,
            exception_message=self.exception_message,
            traceback=self.traceback,
            execution_id=self.execution_id,
        )
        part.bases, part.attributes, part.cause = self.bases, self.attributes, self.cause
        part._raised_by = self._raised_by
        part.recorded = {
            **{name: value for name, value in self.recorded.items() if name != "members"},
            "members": [{"exception_type": e.exception_type, "exception_message": e.exception_message, **e.recorded}
                        for e in part.exceptions if isinstance(e, ExecutionError)],
        }  # fmt: skip
        return part


STEERING = (BaseExceptionGroup, StopIteration, StopAsyncIteration)
"""Groups are `_Group`; the others steer generators and coroutines."""


@lru_cache(maxsize=256)
def _class_of(kind: str, bases: tuple[str, ...] = (), group: bool = False) -> type[ExecutionError]:
    """ExecutionError, mixed with the nearest builtin exceptions or the errors of ours among an error's classes."""
    if group:
        return _Group
    nearest: list[type[Exception]] = []
    for name in dict.fromkeys((kind, *bases)):
        found = _known(name)
        if found is not None and not any(issubclass(nearer, found) for nearer in nearest):
            if issubclass(found, ExecutionError):
                return found
            nearest.append(found)
    for taken in (tuple(nearest), tuple(nearest[:1])):
        mixed = _mixed(taken)
        if mixed is not None:
            return mixed
    return ExecutionError


def _known(kind: str) -> type[Exception] | None:
    """The exception of Python or of ours that a recorded name is of; None for the user's and for those that steer."""
    own = kind.startswith("durable.") or kind in WORKER_ERRORS
    name = kind.removeprefix("durable.")
    homes = map(import_module, OWN) if own else (builtins,)
    found = next((getattr(home, name) for home in homes if hasattr(home, name)), None)
    if not (isinstance(found, type) and issubclass(found, Exception)) or issubclass(found, STEERING):
        return None
    return None if found in (Exception, DurableError) else found


def _mixed(kinds: tuple[type[Exception], ...]) -> type[ExecutionError] | None:
    """ExecutionError and these in one class; None where their layouts do not mix."""
    if not kinds:
        return None
    body: dict[str, Any] = {"__module__": __name__, "__init__": _recorded, "__str__": ExecutionError.__str__}
    try:
        mixed = type(kinds[0].__name__, (ExecutionError, *kinds), body)
        mixed("", exception_type=kinds[0].__name__)
    except TypeError:
        return None
    copyreg.pickle(mixed, _reduced)
    return mixed


def _reduced(error: ExecutionError) -> tuple[Callable[..., ExecutionError], tuple[Any, ...]]:
    """How an error is copied, and sent to another process by whoever does that: its arguments are not its class's."""
    return _raised, (document(error, error.execution_id), str(error), error.execution_id)


copyreg.pickle(ExecutionError, _reduced)
copyreg.pickle(cast(Any, _Group), _reduced)


def _recorded(error: ExecutionError, message: str, **told: str) -> None:
    """ExecutionError's, past that of the class that is mixed in: its attributes come from the record."""
    Exception.__init__(error, message)
    error._message, error.attributes = message, {}
    error.exception_type = told.get("exception_type", "")
    error.exception_message = told.get("exception_message", "") or message
    error.traceback, error.execution_id = told.get("traceback", ""), told.get("execution_id", "")
