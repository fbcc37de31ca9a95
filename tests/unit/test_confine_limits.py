"""Limits as values, and what errors of user code say about them."""

from __future__ import annotations

import pytest

from bridge.confine.confinement import Confinement
from bridge.confine.limits import Limits, ran_out
from durable.core.errors import BadArguments, ResourceExceeded, Unenforceable
from durable.functions.failures import document, rebuild


def test_no_limit_is_no_limit() -> None:
    assert not Limits()
    assert Limits(memory=0, cpu=None) == Limits()
    assert Limits().to_json() == {}


def test_limits_travel_as_json() -> None:
    limits = Limits(memory=2**30, cpu=1.5, processes=3)
    assert limits
    assert Limits.read(limits.to_json()) == limits
    confinement = Confinement("isolated", limits, "/somewhere")
    assert Confinement.read(confinement.to_json()) == confinement
    assert Confinement().to_json() == {}


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"memory": -1}, "memory"),
        ({"memory": 1024}, "at least 67108864"),
        ({"memory": 1e9}, "a whole number"),
        ({"memory": True}, "memory"),
        ({"files": 3}, "at least 32"),
        ({"cpu": "1"}, "seconds"),
        ({"wall": float("nan")}, "wall"),
        ({"wall": float("inf")}, "wall"),
        ({"speed": 1}, "speed"),
    ],
)
def test_what_cannot_be_a_limit_is_refused(given: dict[str, object], what: str) -> None:
    with pytest.raises(BadArguments, match=what):
        Limits.read(given)


def test_profiles_are_known_or_refused() -> None:
    with pytest.raises(BadArguments, match="open, isolated"):
        Confinement("loose")  # type: ignore[arg-type]
    with pytest.raises(Unenforceable, match="isolated"):
        Confinement("open", Limits(disk=2**20))


ALL = Limits(memory=2**30, files=64, disk=2**20, processes=4)


@pytest.mark.parametrize(
    ("kind", "text", "which"),
    [
        ("MemoryError", "", "memory"),
        ("numpy._core._exceptions._ArrayMemoryError", "Unable to allocate 8 GiB", "memory"),
        ("OSError", "[Errno 12] Cannot allocate memory", "memory"),
        ("OSError", "[Errno 24] Too many open files: 'x'", "files"),
        ("OSError", "[Errno 28] No space left on device", "disk"),
        ("BlockingIOError", "[Errno 11] Resource temporarily unavailable", "processes"),
        ("RuntimeError", "can't start new thread", "processes"),
        ("ValueError", "[Errno 24] quoted by somebody", None),
        ("OSError", "[Errno 2] No such file", None),
    ],
)
def test_what_an_error_says(kind: str, text: str, which: str | None) -> None:
    assert ran_out(ALL, kind, text) == which
    assert ran_out(Limits(cpu=1), kind, text) is None  # nothing of that was limited


def test_the_error_survives_its_record() -> None:
    error = ResourceExceeded.of("memory", 100, 90, traceback="line 1", execution_id="desk@1")
    again = rebuild("rejected", {"message": __import__("json").dumps(document(error, "desk@1"))}, "desk@1")
    assert isinstance(again, ResourceExceeded)
    assert (again.resource, again.limit, again.used, again.code) == ("memory", 100, 90, "RESOURCE_EXCEEDED")
    assert "more was asked for" in str(again)
    assert again.traceback == "line 1"
