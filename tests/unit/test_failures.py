"""A step's error goes through the record and is what it was: its builtin, its fields, its members, its names."""

from __future__ import annotations

import copy
import json
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any, cast

import pytest

import durable
from durable.core.errors import ExecutionError
from durable.functions.failures import document, name_of, rebuild, rejection


class MissingRow(KeyError):
    def __init__(self, table: str, row: int) -> None:
        super().__init__(table, row)
        self.table, self.row, self.raw, self.open_file = table, row, b"\xff", object()


class Refused(MissingRow):
    pass


class Both(ValueError, LookupError):
    pass


class Own(Exception):
    pass


class Broken(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Huge(Exception):
    def __str__(self) -> str:
        return "x" * 10**7


class NoAttributes(Exception):
    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        raise RuntimeError("none of your business")


class FinalAnswer(durable.Fatal):
    pass


def through(error: BaseException) -> ExecutionError:
    """The error as the function sees it, live and replayed."""
    try:
        raise error
    except BaseException as caught:
        text = str(rejection(caught, "job.1"))
    json.loads(text)
    assert len(text) < 2**20
    found = rebuild("rejected", {"__type": "error", "message": text}, "job.1")
    again = rebuild("rejected", {"message": str(rejection(found, "job"))}, "job")
    for one in (found, again):
        assert one.execution_id == "job.1"
    assert (type(again), str(again), again.args, again.bases) == (type(found), str(found), found.args, found.bases)
    return found


def caught_by(call: Callable[[], Any]) -> BaseException:
    try:
        call()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


BASES: list[tuple[BaseException, tuple[type[Exception], ...]]] = [
    (caught_by(lambda: json.loads("{")), (ValueError,)),
    (socket.gaierror(-2, "Name or service not known"), (OSError,)),
    (MissingRow("t", 5), (KeyError, LookupError)),
    (Refused("t", 5), (KeyError,)),
    (Both("x"), (ValueError, LookupError)),
    (FileNotFoundError(2, "No such file", "a.txt"), (FileNotFoundError, OSError)),
    (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"), (UnicodeDecodeError, ValueError)),
    (caught_by(lambda: compile("a b", "f.py", "exec")), (SyntaxError,)),
    (caught_by(lambda: __import__("nothing_of_that_name")), (ModuleNotFoundError, ImportError)),
    (caught_by(lambda: [].nothing), (AttributeError,)),  # type: ignore[attr-defined]
    (ConnectionResetError(104, "reset"), (ConnectionError, OSError)),
    (ZeroDivisionError("x"), (ArithmeticError,)),
    (subprocess.CalledProcessError(3, ["ls"]), ()),
    (TimeoutError(), (TimeoutError, OSError)),
    (durable.RetryAfter(5), (durable.RetryAfter,)),
    (FinalAnswer("no"), (durable.Fatal,)),
    (durable.NotFound("execution", "x"), (durable.NotFound, LookupError)),
]


@pytest.mark.parametrize(("error", "kinds"), BASES, ids=lambda item: type(item).__name__)
def test_it_is_caught_as_its_nearest_builtin(error: BaseException, kinds: tuple[type[Exception], ...]) -> None:
    found = through(error)
    everything: tuple[type[Exception], ...] = (ExecutionError, *kinds)
    for kind in everything:
        assert isinstance(found, kind)
    for base in cast("tuple[type[BaseException], ...]", type(error).__mro__[:-1]):
        assert durable.raised(found, name_of(base)), base
        assert durable.raised(found, base)
    assert not durable.raised(found, "tests.Other", ExceptionGroup, GeneratorExit)


def test_fields_arguments_attributes_and_notes_come_back() -> None:
    error = through(FileNotFoundError(2, "No such file", "a.txt"))
    assert isinstance(error, FileNotFoundError)
    assert (error.errno, error.strerror, error.filename, error.args) == (
        2,
        "No such file",
        "a.txt",
        (2, "No such file"),
    )
    assert (through(TimeoutError()).args, through(KeyError()).args) == ((), ())
    gone = through(socket.gaierror(-2, "unknown"))
    assert isinstance(gone, OSError)
    assert (gone.errno, gone.strerror) == (-2, "unknown")
    decode = through(UnicodeDecodeError("utf-8", b"\xffab", 0, 1, "invalid"))
    assert isinstance(decode, UnicodeDecodeError)
    assert (decode.object, decode.start) == (b"\xffab", 0)
    missing = MissingRow("t", 5)
    missing.add_note("look at the index")
    found = through(missing)
    assert found.args == ("t", 5)
    assert found.attributes == {"table": "t", "row": 5, "raw": b"\xff"}
    assert "look at the index" in found.__notes__
    assert str(found) == f"{__name__}.MissingRow: ('t', 5)"
    process = through(subprocess.CalledProcessError(3, ["ls"], b"out"))
    assert process.attributes == {"returncode": 3, "cmd": ["ls"], "output": b"out", "stderr": None}
    after = through(durable.RetryAfter(2.5))
    assert isinstance(after, durable.RetryAfter)
    assert after.seconds == 2.5
    lost = through(durable.NotFound("execution", "x"))
    assert isinstance(lost, durable.NotFound)
    assert lost.given == "x"


def test_what_it_was_raised_from_comes_back() -> None:
    def fails() -> None:
        try:
            raise MissingRow("t", 5)
        except KeyError as error:
            raise Own("outer") from error

    found = through(caught_by(fails))
    assert isinstance(found.cause, KeyError)
    assert found.cause.attributes["row"] == 5
    assert durable.raised(found.cause, MissingRow)
    assert "MissingRow" in found.traceback


def test_a_group_has_its_members() -> None:
    group = ExceptionGroup("many", [ValueError("a"), MissingRow("t", 1), ExceptionGroup("inner", [OSError(5, "io")])])
    seen: list[BaseException] = []
    try:
        raise through(group)
    except* ValueError as values:
        seen += values.exceptions
    except* OSError as inner:
        seen += cast("ExceptionGroup[Exception]", inner.exceptions[0]).exceptions
    except* KeyError as keys:
        seen += keys.exceptions
    assert [type(error).__name__ for error in seen] == ["ValueError", "OSError", "KeyError"]
    assert all(isinstance(error, ExecutionError) for error in seen)
    assert seen[1].errno == 5  # type: ignore[attr-defined]
    found = through(group)
    assert isinstance(found, ExceptionGroup)
    assert isinstance(found, ExecutionError)
    part = found.subgroup(KeyError)
    assert isinstance(part, ExecutionError)
    assert durable.raised(part, ExceptionGroup)
    recorded = json.loads(str(rejection(part, "x")))
    assert [member["exception_type"] for member in recorded["members"]] == [f"{__name__}.MissingRow"]
    mixed = through(BaseExceptionGroup("b", [KeyboardInterrupt(), ValueError()]))
    assert isinstance(mixed, ExceptionGroup)
    assert durable.raised(mixed.exceptions[0], "KeyboardInterrupt")


def chained(causes: int) -> BaseException:
    error: BaseException = ValueError("0")
    for n in range(1, causes):
        outer = ValueError(str(n))
        outer.__cause__ = error
        error = outer
    return error


def nested(levels: int) -> BaseException:
    error: Exception = ValueError("in")
    for _ in range(levels):
        error = ExceptionGroup("g", [error])
    return error


def circular() -> BaseException:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    return one


@pytest.mark.parametrize(
    "error",
    [
        chained(1500),
        nested(5000),
        nested(30),
        circular(),
        ExceptionGroup("wide", [ValueError(str(n)) for n in range(10_000)]),
        Broken(),
        ExceptionGroup("g", [Broken(), Huge()]),
        Huge(),
        NoAttributes(),
        Own("lone \ud800 surrogate", "\udcff"),
        Own(object(), iter([1])),
        Own("x" * 10**7),
        Own(10**5000),
        Own(float("nan")),
        GeneratorExit(),
        StopIteration(5),
        StopAsyncIteration(),
        SystemExit(3),
        KeyboardInterrupt(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_is_raised_can_be_recorded(error: BaseException) -> None:
    found = through(error)
    assert durable.raised(found, type(error))
    assert found.traceback


def test_the_first_causes_of_many_are_shown_and_the_rest_counted() -> None:
    found = document(chained(1500), "x")["traceback"]
    assert "ValueError: 1499" in found
    assert "1480 more errors" in found


def test_members_that_have_no_room_are_counted() -> None:
    found = through(ExceptionGroup("wide", [ValueError(str(n)) for n in range(1000)]))
    assert isinstance(found, ExceptionGroup)
    assert len(found.exceptions) == 200
    assert any("800 more members" in note for note in found.__notes__)


def test_documents_of_older_versions_are_read() -> None:
    old = {
        "type": "error",
        "exception_type": "KeyError",
        "exception_message": "'k'",
        "traceback": "T",
        "execution_id": "j",
    }
    found = rebuild("rejected", {"message": json.dumps(old)}, "x")
    assert isinstance(found, KeyError)
    assert str(found) == "KeyError: 'k'"
    assert found.bases == ()
    assert durable.raised(found, KeyError, "other")
    assert not durable.raised(found, ValueError)
    assert durable.raised(ValueError("live"), "Exception")
    assert not durable.raised(None, ValueError)


@pytest.mark.parametrize(
    "found",
    [
        {"bases": 5},
        {"bases": [5, "os.system", "print"], "args": {}, "fields": [], "attributes": 3, "notes": [1], "members": [1]},
        {"bases": ["OSError"], "fields": {"errno": "x", "args": 5, "__class__": 1}},
        {"bases": ["UnicodeDecodeError"], "fields": {"start": "x"}},
        {"bases": ["ExceptionGroup"], "members": []},
        {"bases": ["StopIteration"], "fields": {"value": 1}},
        {"cause": {"cause": 5, "members": [{}]}},
        {"attributes": {"__class__": 1, "message": 2, "args": 3}},
    ],
)
def test_documents_of_strangers_do_no_harm(found: dict[str, Any]) -> None:
    text = json.dumps({"type": "error", "exception_type": "their.Error", "exception_message": "m", **found})
    error = rebuild("rejected", {"message": text}, "job")
    assert isinstance(error, ExecutionError)
    assert str(error) == "their.Error: m"


@pytest.mark.parametrize("error", [MissingRow("t", 5), OSError(5, "io"), ExceptionGroup("g", [Own("x")])])
def test_an_error_can_be_copied(error: Exception) -> None:
    found = through(error)
    for again in (copy.copy(found), copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        assert (str(again), again.bases, again.execution_id) == (str(found), found.bases, "job.1")
        assert str(again.args) == str(found.args)


def test_names_do_not_need_the_class() -> None:
    code = (
        "import sys, json; from durable.functions.failures import rebuild; import durable;"
        "e = rebuild('rejected', {'message': sys.argv[1]}, 'x');"
        f"print(durable.raised(e, '{__name__}.MissingRow'), isinstance(e, KeyError))"
    )
    text = str(rejection(Refused("t", 1), "x"))
    done = subprocess.run([sys.executable, "-c", code, text], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]
