"""Plain JSON or nothing; bounded reprs (E7)."""

from __future__ import annotations

import enum
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.worker.namespace.main_module import HISTORY_MAX, InteractiveHistory, initial_internals
from bridge.worker.namespace.values import DEPTH_MAX, NotJson, bounded_repr, cut, to_json

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(JSON)
def test_json_values_are_kept_as_they_are(value: object) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        with pytest.raises(NotJson):
            to_json(value)
    else:
        assert to_json(value) == value


class Colour(str, enum.Enum):  # noqa: UP042  # the older kind, whose str() is not its text
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


@pytest.mark.parametrize(
    ("value", "sent"), [((1, (2,)), [1, [2]]), (Colour.RED, "red"), (Level.LOW, 1), ([True], [True])]
)
def test_converted(value: object, sent: object) -> None:
    assert to_json(value) == sent
    assert type(to_json(value)) in (list, str, int)


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        float("inf"),
        2**64,
        -(2**63) - 1,
        {1: 1},
        {"a": b""},
        {1, 2},
        "\ud800",
        {"\ud800": 1},
        nested(DEPTH_MAX + 1),
        object,
    ],
)
def test_refused(value: object) -> None:
    with pytest.raises(NotJson):
        to_json(value)


def test_the_deepest_allowed() -> None:
    assert to_json(nested(DEPTH_MAX)) == nested(DEPTH_MAX)


@given(st.text(max_size=300), st.integers(50, 100))
def test_cut_is_bounded_and_encodable(text: str, chars_max: int) -> None:
    shown = cut(text, chars_max)
    shown.encode()
    if len(text) <= chars_max and text.isascii():
        assert shown == text
    elif text.isascii():
        assert len(shown) <= chars_max
        assert shown.startswith(text[:5])
        assert shown.endswith(text[-5:])


def test_an_interrupt_passes_through_a_repr() -> None:
    class Forever:
        def __repr__(self) -> str:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bounded_repr(Forever())


def test_history_is_bounded_and_numbers_hold() -> None:
    names = initial_internals()
    history = InteractiveHistory(names)
    for i in range(HISTORY_MAX + 10):
        history.record_source(f"cell {i}")
        history.record_value(i)
    values, sources = names["Out"], names["In"]
    assert isinstance(values, dict)
    assert isinstance(sources, list)
    assert len(values) == HISTORY_MAX
    assert values[HISTORY_MAX + 10] == HISTORY_MAX + 9
    assert sources == [f"cell {i}" for i in range(10, HISTORY_MAX + 10)]
    again = InteractiveHistory(names)
    again.record_source("after a restore")
    again.record_value("v")
    assert values[HISTORY_MAX + 11] == "v"
    names["_"], names["__"], names["___"] = names["__"], names["___"], HISTORY_MAX + 7
    assert (names["_"], names["__"], names["___"]) == (HISTORY_MAX + 9, HISTORY_MAX + 8, HISTORY_MAX + 7)


def test_history_survives_user_code_that_broke_it() -> None:
    names = initial_internals()
    history = InteractiveHistory(names)
    names["_ih"], names["_oh"] = None, None
    history.record_source("x")
    history.record_value(1)
    assert names["_"] == 1
