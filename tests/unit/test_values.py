"""Values and failures at the durability boundary."""

from __future__ import annotations

import enum
import json
import pickle
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from durable.core.errors import BadArguments, ExecutionCancelled, ExecutionError, ExecutionLost, NotEncodable
from durable.functions.failures import Rejection, document, read_document, rebuild, rejection
from durable.records.codec import StripPickle
from durable.records.values import digest, from_json, pack, to_json, unpack


class Colour(enum.Enum):
    RED = "red"


class Model(BaseModel):
    when: datetime
    tags: set[str] = set()


@dataclass
class Point:
    x: int
    y: tuple[int, Decimal]


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (Point(1, (2, Decimal("1.5"))), Point),
        (Model(when=datetime(2026, 1, 1, tzinfo=UTC), tags={"a"}), Model),
        ([Model(when=datetime(2026, 1, 1, tzinfo=UTC))], list[Model]),
        ({1: "a", 2: "b"}, dict[int, str]),
        (Colour.RED, Colour),
        (timedelta(seconds=90), timedelta),
        (b"bytes", bytes),
        (None, str | None),
        (frozenset({1, 2}), frozenset[int]),
    ],
)
def test_a_value_comes_back_as_its_annotation_says(value: object, annotation: Any) -> None:
    recorded = unpack(pack(to_json(value, "the value")))
    assert from_json(recorded, annotation, "the value") == value


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**53), 2**53)
        | st.floats(allow_nan=False)
        | st.text(st.characters(exclude_categories=["Cs"])),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
        max_leaves=20,
    )
)
def test_json_is_the_same_after_the_record(value: Any) -> None:
    if isinstance(value, float) and abs(value) == float("inf"):
        return
    try:
        recorded = to_json(value, "x")
    except NotEncodable:
        assert "inf" in repr(value).lower()
        return
    assert unpack(pack(recorded)) == value


@pytest.mark.parametrize("value", [object(), {"a": object()}, float("nan"), [float("inf")], lambda: None])
def test_what_has_no_json_is_refused_by_name(value: object) -> None:
    with pytest.raises(NotEncodable, match="the result of f cannot be recorded"):
        to_json(value, "the result of f")


def test_what_does_not_fit_is_refused_field_by_field() -> None:
    with pytest.raises(BadArguments, match=r"the answer does not fit.*when"):
        from_json({"tags": []}, Model, "the answer")


def test_a_digest_is_the_same_in_every_process() -> None:
    code = (
        "from durable.records.values import digest; "
        "print(digest({'b': {'x', 'y', 'z'}, 'a': frozenset('abc')}, [1, (2, 3)], object()))"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": str(n)}, capture_output=True, text=True, check=True
        ).stdout
        for n in range(4)
    }
    assert len(seen) == 1
    assert digest(1) != digest("1")
    assert digest([1, 2]) != digest([2, 1])


def test_an_error_goes_through_the_record_and_is_still_what_it_was() -> None:
    try:
        raise KeyError("missing")
    except KeyError as error:
        carried = rejection(error, "job")
    found = rebuild("rejected", {"__type": "error", "message": str(carried)}, "job")
    assert isinstance(found, KeyError)
    assert isinstance(found, ExecutionError)
    assert str(found) == "KeyError: 'missing'"
    assert "test_values.py" in found.traceback
    again = json.loads(str(rejection(found, "outer")))
    assert again["exception_type"] == "KeyError"
    assert again["execution_id"] == "job"


@pytest.mark.parametrize(
    "kind", ["SystemExit", "StopIteration", "ExceptionGroup", "os.system", "print", "", "durable.core"]
)
def test_only_harmless_builtins_are_looked_up(kind: str) -> None:
    found = rebuild("rejected", {"message": json.dumps({"type": "error", "exception_type": kind})}, "job")
    assert type(found) is ExecutionError


def test_states_and_foreign_rejections_have_their_own_errors() -> None:
    assert isinstance(rebuild("rejected_canceled", {"message": "no"}, "job"), ExecutionCancelled)
    assert isinstance(rebuild("rejected_timedout", None, "job"), TimeoutError)
    lost = {
        "type": "error",
        "exception_type": "durable.ExecutionLost",
        "exception_message": "gone",
        "last_error": "boom",
    }
    assert "boom" in str(rebuild("rejected", {"message": json.dumps(lost)}, "job"))
    assert isinstance(rebuild("rejected", {"message": json.dumps(lost)}, "job"), ExecutionLost)
    assert read_document("plain")["exception_message"] == "plain"
    assert read_document(5)["exception_message"] == "rejected without a message"


def test_an_error_whose_text_fails_is_still_recorded() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    assert "no text" not in document(Broken(), "job")["exception_message"]


def test_a_pickle_never_passes_the_codec_in_either_direction() -> None:
    strip = StripPickle()
    evil = {"__type": "error", "message": "m", "__py_pickle": "gASV"}
    spelled = json.dumps(evil).replace("__py_pickle", "\\u005f_py_pickle").encode()
    for text in (json.dumps(evil).encode(), spelled):
        assert json.loads(strip.decrypt(text)) == {"__type": "error", "message": "m"}
        assert json.loads(strip.encrypt(text)) == {"__type": "error", "message": "m"}
    with pytest.raises(TypeError):
        pickle.dumps(Rejection("x"))
