"""Records of durable/core/frozen_record.py: cheap to define, and as dataclasses to whoever uses them."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import msgspec
import pytest

from durable.client.api_models import ExecutionDetail
from durable.core.frozen_record import FrozenRecord
from durable.records.values import to_json


class Inner(FrozenRecord, frozen=True):
    name: str


class Outer(FrozenRecord, frozen=True):
    """With every kind of a default."""

    number: int
    inner: Inner
    words: list[str] = msgspec.field(default_factory=list)
    more: Inner | None = None


class Below(Outer, frozen=True):
    last: str = ""


def test_the_functions_of_dataclasses_work_on_records() -> None:
    record = Below(1, Inner("a"), last="z")
    assert dataclasses.is_dataclass(record)
    assert dataclasses.asdict(record) == {
        "number": 1,
        "inner": {"name": "a"},
        "words": [],
        "more": None,
        "last": "z",
    }
    assert dataclasses.replace(record, number=2) == Below(2, Inner("a"), last="z") != record
    fields = {field.name: field for field in dataclasses.fields(Below)}
    assert list(fields) == ["number", "inner", "words", "more", "last"]
    assert fields["number"].default is dataclasses.MISSING
    assert fields["words"].default_factory is list
    assert (fields["more"].default, fields["more"].type) == (None, "Inner | None")
    assert [field.name for field in dataclasses.fields(Inner)] == ["name"]
    assert dataclasses.fields(ExecutionDetail)[-1].name == "traceback"


def test_a_record_does_not_change_and_is_equal_to_its_like_alone() -> None:
    record = Outer(1, Inner("a"))
    with pytest.raises(AttributeError):
        record.number = 2  # type: ignore[misc]
    assert record == Outer(1, Inner("a")) == copy.copy(record) == pickle.loads(pickle.dumps(record))
    assert record != Below(1, Inner("a"))
    assert hash(Inner("a")) == hash(Inner("a"))
    assert repr(Inner("a")) == "Inner(name='a')"
    assert record.words is not Outer(2, Inner("b")).words


def test_a_record_is_recorded_as_a_dataclass_would_be() -> None:
    twin = dataclasses.make_dataclass("Outer", ["number", "inner", "words", "more"])
    assert to_json(Outer(1, Inner("a")), "it") == to_json(twin(1, {"name": "a"}, [], None), "it")
