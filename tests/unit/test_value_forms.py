"""Values that a durable function keeps come back as they were: every kind, with and without an annotation."""

from __future__ import annotations

import asyncio
import collections
import enum
import math
import os
import re
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, NamedTuple, NewType

import pytest
from pydantic import BaseModel, ConfigDict, Field, field_serializer, field_validator
from pydantic.dataclasses import dataclass as pydantic_dataclass

from durable.core.errors import BadArguments, NotEncodable
from durable.records import notation
from durable.records.values import (
    _same,
    argument_digests,
    bind_json,
    digest,
    encode,
    from_json,
    pack,
    to_json,
    unpack,
)

Key = NewType("Key", bytes)
type Alias = bytes
RAW = b"\xff\x00raw"
NAN = math.nan


class Colour(enum.Enum):
    RED = "red"
    RAW = RAW


class Level(enum.IntEnum):
    LOW = 1


class Text(str):
    pass


class Pair(NamedTuple):
    name: str
    data: bytes


@dataclass
class Row:
    key: bytes
    score: float = 0.0
    at: datetime | str = ""
    parts: list[bytes] = field(default_factory=list)


class Model(BaseModel):
    data: bytes
    either: bytes | str = ""
    score: float = 0.0
    when: datetime | None = None


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    data: bytes
    when: datetime
    score: float


class Base64(BaseModel):
    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
    data: bytes


class Hex(BaseModel):
    data: bytes

    @field_serializer("data", when_used="json")
    def _write(self, value: bytes) -> str:
        return value.hex()

    @field_validator("data", mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        return bytes.fromhex(value) if isinstance(value, str) else value


@pydantic_dataclass
class Checked:
    data: bytes


def shown_id(item: Any) -> str:
    return getattr(item, "__name__", type(item).__name__)


NOW = datetime(2026, 1, 2, 3, 4, 5, 6, UTC)

BY_ANNOTATION: list[tuple[Any, Any]] = [
    (RAW, bytes),
    (b"text", bytes),
    (RAW, bytes | None),
    (None, bytes | None),
    (RAW, bytes | str),
    ("text", bytes | str),
    ("AAE=", bytes | str),
    (b"text", str | bytes),
    (Key(RAW), Key),
    (RAW, Alias),
    (RAW, Annotated[bytes, Field(max_length=100)]),
    (RAW, Annotated[bytes, "a note"] | None),
    ([RAW, b"text"], list[bytes]),
    ({"a": RAW}, dict[str, bytes]),
    ({RAW: "a"}, dict[bytes, str]),
    ((RAW, "x"), tuple[bytes, str]),
    ({RAW, b"b"}, set[bytes]),
    ([RAW, "x", None], list[bytes | str | None]),
    (Pair("a", RAW), Pair),
    (Row(RAW, NAN, NOW, [RAW]), Row),
    (Row(b"utf-8", math.inf, "2026-01-02"), Row),
    ([Row(RAW)], list[Row]),
    (Model(data=RAW, either=b"bytes", score=NAN, when=NOW), Model),
    (Model(data=b"a", either="str"), Model),
    ({"m": [Model(data=RAW)]}, dict[str, list[Model]]),
    (Strict(data=RAW, when=NOW, score=NAN), Strict),
    ([Strict(data=b"a", when=NOW, score=1.5)], list[Strict]),
    (Base64(data=RAW), Base64),
    ([Base64(data=RAW), NAN], list[Base64 | float]),
    (Hex(data=RAW), Hex),
    (Checked(RAW), Checked),
    (Colour.RED, Colour),
    (Colour.RAW, Colour),
    (Level.LOW, Level),
    ({Colour.RED: 1}, dict[Colour, int]),
    (bytearray(RAW), bytearray),
    (bytearray(RAW), Any),
    (NAN, float),
    ([NAN, math.inf, -math.inf], list[float]),
    (NAN, float | None),
    ({1: "a", "1": "b"}, dict[int | str, str]),
    ({1: "a"}, dict[int, str]),
    ({1.5: "a", NAN: "b"}, dict[float, str]),
    ({None: 1}, dict[None, int]),
    ({True: 1, "true": 2}, dict[bool | str, int]),
    ({(1, 2): "a"}, dict[tuple[int, int], str]),
    ({frozenset({1}): "a"}, dict[frozenset[int], str]),
    ({date(2026, 1, 1): 1}, dict[date, int]),
    ({uuid.UUID(int=5): 1}, dict[uuid.UUID, int]),
    ((1, (2, "x")), tuple[int, tuple[int, str]]),
    ((1, 2), tuple[int, ...] | list[int]),
    ([1, 2], tuple[int, ...] | list[int]),
    ({1, 2}, set[int] | list[int]),
    (frozenset({frozenset({2, 1}), frozenset({3})}), frozenset[frozenset[int]]),
    (collections.deque([1, 2]), collections.deque[int]),
    (NOW, datetime),
    (NOW, datetime | str),
    (str(NOW), datetime | str),
    (date(2026, 1, 2), date | datetime),
    (time(3, 4), time | str),
    (timedelta(days=-1, microseconds=5), timedelta),
    (timedelta(days=-1, microseconds=5), timedelta | float),
    (Decimal("1.50"), Decimal),
    (Decimal("1.5"), Decimal | float),
    (1.5, Decimal | float),
    ("1.5", Decimal | str),
    (Decimal("-0.00"), Decimal),
    (Fraction(1, 3), Fraction),
    (uuid.UUID(int=7), uuid.UUID | str),
    (str(uuid.UUID(int=7)), uuid.UUID | str),
    (Path("a/b"), Path),
    (Path("a/b"), Path | str),
    (1 + 2j, complex),
    (complex(0, math.inf), complex | str),
    (10**5000, int),
    ({"n": 10**5000}, dict[str, int]),
    (2**64, int),
    (-(2**70), int),
    (re.compile("a+"), re.Pattern[str]),
    ({"durable:bytes": "AAE="}, dict[str, str]),
    ({"durable:dict": [[1, 2]]}, dict[str, Any]),
]

UNANNOTATED: list[Any] = [
    RAW,
    b"text",
    bytearray(RAW),
    memoryview(RAW),
    [RAW],
    {"a": {"b": RAW}},
    {1: "a", "1": "b"},
    {1: "a"},
    {1.5: "a"},
    {None: "a"},
    {(1, ("x", 2)): "a"},
    {RAW: 1},
    {(1, RAW): 1},
    {True: 1},
    NAN,
    {"x": [math.inf]},
    10**5000,
    {"durable:bytes": "AAE="},
    {"durable:int": 5},
    {"durable:dict": [[1, 2]]},
    {"durable:x": {"durable:y": 1}},
    {"": 1},
]


def through(value: Any, annotation: Any) -> Any:
    return from_json(unpack(pack(encode(value, "the result of f", annotation))), annotation, "the result of f")


@pytest.mark.parametrize(("value", "annotation"), BY_ANNOTATION, ids=shown_id)
def test_a_value_comes_back_by_its_annotation(value: Any, annotation: Any) -> None:
    assert _same(through(value, annotation), value), through(value, annotation)


@pytest.mark.parametrize("value", UNANNOTATED, ids=shown_id)
def test_what_json_cannot_tell_comes_back_without_an_annotation(value: Any) -> None:
    assert _same(through(value, Any), value)


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        ((1, 2), [1, 2]),
        ({3, 1, 2}, [1, 2, 3]),
        (NOW, "2026-01-02T03:04:05.000006Z"),
        (Decimal("1.5"), "1.5"),
        (Colour.RED, "red"),
        (Text("plain"), "plain"),
        (Row(RAW), {"key": RAW, "score": 0.0, "at": "", "parts": []}),
        ({date(2026, 1, 1): 1}, {"2026-01-01": 1}),
        (True, True),
    ],
    ids=shown_id,
)
def test_the_rest_comes_back_without_an_annotation_as_json_has_it(value: Any, seen: Any) -> None:
    assert _same(through(value, Any), seen)


def test_what_an_annotation_leaves_open_is_as_without_one() -> None:
    value = {"printed": ("a", ""), "at": NOW, "raw": RAW, 1: NAN}
    for annotation in (Any, dict[str | int, Any], dict, dict[str | int, Any] | None):
        assert _same(through(value, annotation), through(value, Any)), annotation


@pytest.mark.parametrize(
    ("recorded", "annotation", "value"),
    [
        ("/wBy", bytes, b"\xff\x00r"),
        ("/wBy", bytes | None, b"\xff\x00r"),
        ("/wBy", Annotated[bytes, Field(max_length=5)], b"\xff\x00r"),
        ("/wBy", Key, b"\xff\x00r"),
        (["text"], list[bytes], [b"text"]),
        ({"1": "a"}, dict[int, str], {1: "a"}),
        ("/wBy", Any, "/wBy"),
    ],
)
def test_what_older_versions_recorded_is_still_read(recorded: Any, annotation: Any, value: Any) -> None:
    assert _same(from_json(recorded, annotation, "x"), value)


def test_bytes_under_their_own_annotation_are_recorded_as_before() -> None:
    assert encode(b"\xff", "x", bytes) == encode(b"\xff", "x", bytes | None) == "/w=="
    assert encode({1: "a"}, "x", dict[int, str]) == {"1": "a"}


class Prefixed(str):
    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        return self is other


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def cycle() -> Any:
    value: list[Any] = []
    value += [value, value]
    return value


async def items() -> AsyncIterator[int]:
    yield 1


def endless() -> Iterator[int]:
    raise AssertionError("it was drained")
    yield 1


class Holder(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    found: Any


REFUSED: list[tuple[Any, str]] = [
    ({"items": [0, 0, 0, {"price": object()}]}, r"at result\.items\[3\]\.price: a value of type object has no JSON"),
    ({"a b": {1: object()}}, r"at result\['a b'\]\[1\]"),
    ([Row(b"", parts=[object()])], r"at result\[0\]\.parts\[0\]"),  # type: ignore[list-item]
    (Holder(found=[object()]), r"at result\.found\[0\]"),
    ({Prefixed("a"): 1, Prefixed("a"): 2}, r"the keys 'a' and 'a' are both 'a'"),
    ({date(2026, 1, 1): 1, "2026-01-01": 2}, r"datetime.date\(2026, 1, 1\) and '2026-01-01'"),
    ({(1, 2): 1, frozenset({1, 2}): 2}, r"are both \[1, 2\]"),
    ({object(): 1}, "a key of type object"),
    (endless(), "generator gives its items once.*return a list"),
    ((endless() for _ in [1]), "return a list"),
    ([map(str, endless())], r"at result\[0\].*return a list"),
    ({"x": zip([1], [2], strict=True)}, "return a list"),
    (iter([1]), "return a list"),
    (items(), "return a list"),
    (Holder(found=endless()), "return a list"),
    (range(3), "return a list"),
    ({}.keys(), "return a list"),
    (deep(251), "nested deeper than 250"),
    (deep(100_000), "nested deeper than 250"),
    (cycle(), "holds itself"),
    ("lone \ud800", "lone surrogates"),
    ({"a": ["x", "\udcff"]}, r"at result\.a\[1\].*lone surrogates"),
    ({"\ud800": 1}, "lone surrogates"),
    (lambda: 1, "function has no JSON"),
    (ValueError("x"), "ValueError has no JSON"),
    (memoryview(b"abcd").cast("i"), "memoryview"),
    ("x" * 13_000_000, "too large"),
]


@pytest.mark.parametrize(("value", "said"), REFUSED, ids=lambda item: str(item)[:40] if isinstance(item, str) else "")
def test_what_cannot_be_kept_is_refused_once_with_its_place(value: Any, said: str) -> None:
    with pytest.raises(NotEncodable, match=f"the result of f .*{said}"):
        encode(value, "the result of f")


def test_a_file_and_a_coroutine_are_refused(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("line\n")
    with (tmp_path / "f").open() as file:
        with pytest.raises(NotEncodable, match="return a list"):
            encode(file, "the result of f")
        assert file.readline() == "line\n"
    waiting = asyncio.sleep(0)
    with pytest.raises(NotEncodable, match="was not awaited"):
        encode(waiting, "the result of f")
    waiting.close()


@pytest.mark.parametrize(
    "value", [NAN, [NAN], {1: "a", "1": "b"}, 10**5000, [RAW], memoryview(RAW), endless(), deep(251)], ids=shown_id
)
def test_plain_json_refuses_what_it_has_not(value: Any) -> None:
    with pytest.raises(NotEncodable):
        to_json(value, "the inputs")


def test_what_was_deep_enough_before_still_is() -> None:
    assert through(deep(250), Any) == deep(250)
    assert through(deep(250), list[Any]) == deep(250)


def test_what_does_not_fit_names_the_place() -> None:
    with pytest.raises(BadArguments, match=r"the answer does not fit .*: \[1\]\.data: Field required"):
        from_json([{"data": "a"}, {}], list[Model], "the answer")
    with pytest.raises(BadArguments, match="base64"):
        from_json("no base64!", bytes, "the answer")


def test_people_are_shown_plain_json() -> None:
    recorded = encode({"b": RAW, "k": {1: NAN}, "n": [10**5000]}, "x")
    assert notation.shown(recorded) == {"b": "/wByYXc=", "k": {"1": "nan"}, "n": [hex(10**5000)]}


def test_a_hand_written_object_that_is_no_notation_stays() -> None:
    for value in ({"durable:bytes": 5}, {"durable:bytes": "!"}, {"durable:what": 1}, {"durable:dict": 3}):
        assert from_json(value, Any, "x") == value


# -- digests --------------------------------------------------------------------------------------------------------


def test_digests_are_those_that_records_hold() -> None:
    """Taken before the notation: executions under way are compared with these."""
    assert {name: digest(*parts) for name, parts in DIGESTED.items()} == RECORDED_DIGESTS


DIGESTED: dict[str, tuple[Any, ...]] = {
    "none": (None,),
    "call": ("charge", (1, "a"), {"amount": Decimal("1.5")}),
    "bytes": (b"raw", bytearray(b"x")),
    "nan": (NAN, [math.inf]),
    "model": (Model(data=b"a"), Row(b"b")),
    "keys": ({1: "a", "b": 2}, {(1, 2): 3}),
    "sets": ({"x", "y"}, frozenset({1})),
    "dates": (NOW, date(2026, 1, 1), timedelta(5)),
    "object": (object(), len),
    "large": (2**70, 10**300),
    "surrogate": ("\ud800",),
}


RECORDED_DIGESTS = {
    "bytes": "536a742073a14e029a14f7a0a6cb0f23",
    "call": "331b1f87372bd7ff50bd2136329d4cbd",
    "dates": "9285cf7167bf97cfea3e0dd7f2ca0d8b",
    "keys": "12e18bd59acd90eb566b9d554f02e4a6",
    "large": "753261ff2582159c4cc0a5e82881e109",
    "model": "96ae009d0a26ffce795423e63455d035",
    "nan": "c41251fcf49a2a42d7dcd7fb4effdee6",
    "none": "776cef04829d5d743f6a1bad2a143069",
    "object": "438f00e8edb0d20b7a843c7ef190f4b5",
    "sets": "003cc206a0fbd2f6675566e86dff0d09",
    "surrogate": "6b817521aea6f58470252d4ec682705f",
}


def test_a_digest_of_what_has_no_end_ends() -> None:
    assert digest(cycle()) == digest(cycle())
    assert digest({("a",): 10**5000}) != digest({("a",): 10**5001})


def call(a: int, b: int = 2, *, c: tuple[int, ...] = (), at: date = date(2026, 1, 1), **rest: int) -> None: ...


def test_defaults_written_out_or_not_are_one_call() -> None:
    def first(*args: Any, **kwargs: Any) -> str:
        return next(argument_digests(bind_json(call, list(args), kwargs, skip_first=False)))

    assert first(1) == first(1, 2) == first(1, b=2) == first(a=1, c=[]) == first(1, at="2026-01-01") == digest((1,), {})
    assert len({first(1), first(1, 3), first(1, c=[1]), first(1, x=1), first(2)}) == 5


def test_every_way_to_write_a_call_that_was_recorded_before_is_known() -> None:
    now = set(argument_digests(bind_json(call, [1], {"b": 2}, skip_first=False)))
    before = [((1,), {}), ((1, 2), {}), ((1, 2), {"c": ()}), ((1,), {"c": ()}), ((1, 2), {"at": date(2026, 1, 1)})]
    assert {digest(args, kwargs) for args, kwargs in before} <= now
    assert digest((1, 3), {}) not in now


SETS = """
import enum
from collections import deque
from dataclasses import dataclass
from pydantic import BaseModel
from durable.records.values import digest

WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"]
ALL = frozenset(WORDS)

@dataclass(frozen=True)
class Named:
    name: str
    words: frozenset[str] = ALL

class Model(BaseModel):
    words: set[str]
    groups: set[frozenset[str]]

Color = enum.Enum("Color", WORDS)
PAIRS = {frozenset((one, "and", "more")) for one in WORDS}

for value in (
    set(WORDS), {(word, 1) for word in WORDS}, set(Color), {Named(word) for word in WORDS}, PAIRS, frozenset({ALL}),
    {(pair, 1) for pair in PAIRS}, {frozenset((pair, ALL)) for pair in PAIRS}, {"a": [{"b": PAIRS}]},
    Model(words=set(WORDS), groups=PAIRS), {Named("n", frozenset((pair,))) for pair in PAIRS}, deque([set(WORDS)]),
):
    print(digest(value))
"""


def test_the_digest_of_sets_is_the_same_in_every_process() -> None:
    """The order of a set is another one in each process, which a replay after a restart must not see."""

    def digests(seed: str) -> list[str]:
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", SETS], env=environment, capture_output=True, text=True, check=True)
        return done.stdout.split()

    first = digests("1")
    assert (len(first), len(set(first))) == (12, 11), "a deque of one set reads as a set of one"
    assert digests("2") == digests("3") == first
    assert digest({frozenset("a")}) == digest([["a"]]), "as it always was"
