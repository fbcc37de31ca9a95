"""Which values survive on which way out of and into JavaScript (specs/sandbox.md, Values as JSON)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

import durable
from capabilities.sandbox.javascript.values import Foreign
from tests.e2e.cli_process import Terminal
from tests.e2e.isolated import need

REFUSED: Final = "cannot be recorded"
NONE: Final = None

VALUES: dict[str, tuple[Any, Any, Any]] = {
    "[1, -2.5, true, null, 'a']": ([1, -2.5, True, None, "a"],) * 3,
    "({a: {b: 1}})": ({"a": {"b": 1}},) * 3,
    "new Uint8Array([0, 255])": (b"\x00\xff", {"base64": "AP8="}, NONE),
    "[new Uint8Array([104, 105]).buffer]": ([b"hi"], [{"base64": "aGk="}], NONE),
    "new Date(0)": (datetime(1970, 1, 1, tzinfo=UTC), "1970-01-01T00:00:00+00:00", NONE),
    "new Map([['a', 1]])": ({"a": 1},) * 3,
    "new Map([[1, {}], [null, 2]])": ({1: {}, None: 2}, {"map": [[1, {}], [None, 2]]}, NONE),
    "new Set([3, 1])": ([3, 1],) * 3,
    "2n ** 60n": (2**60,) * 3,
    "10n ** 20n": (10**20, 10**20, NONE),
    "-0": (-0.0,) * 3,
    "0 / 0": (float("nan"), REFUSED, NONE),
    "1 / 0": (float("inf"), REFUSED, NONE),
    "-1 / 0": (float("-inf"), REFUSED, NONE),
    "'\\ud800'": ("\ud800", REFUSED, NONE),
    "undefined": (None,) * 3,
    "function f() {}; f": (Foreign("function", "f"), {"kind": "function", "text": "f"}, NONE),
}
"""Of code: what `engine.sandbox.run` gives; `ctx.sandbox` and `--json`; a session of JavaScript."""


@pytest.fixture(autouse=True)
def cache(sandbox_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(sandbox_cache))


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[durable.Engine]:
    async with durable.open(tmp_path / "work.db") as made:
        yield made


@durable.function
async def each_value(ctx: durable.Context) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for code in VALUES:
        try:
            found[code] = (await ctx.sandbox(code, language="javascript")).value
        except durable.ExecutionError as error:
            found[code] = REFUSED if REFUSED in str(error) else str(error)
    return found


async def test_values_out_of_javascript(engine: durable.Engine) -> None:
    direct = {code: (await engine.sandbox.run(code, language="javascript")).value for code in VALUES}
    assert repr(direct) == repr({code: found[0] for code, found in VALUES.items()})
    recorded = await (await engine.start(each_value)).result()
    assert repr(recorded) == repr({code: found[1] for code, found in VALUES.items()})
    session = await engine.session("js", language="javascript")
    in_session = {code: (await session.execute(code)).value for code in VALUES}
    assert repr(in_session) == repr({code: found[2] for code, found in VALUES.items()})


def test_values_on_the_command_line(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    fit = {code: found[1] for code, found in VALUES.items() if found[1] != REFUSED and "function" not in code}
    terminal.write("all.js", f"console.log('said'); [{', '.join(f'({code})' for code in fit)}]")
    assert terminal.durable("sandbox", "run", "all.js", "--json").data["value"] == list(fit.values())
    terminal.write("nan.js", "console.log('said'); 0 / 0;")
    refused = terminal.durable("sandbox", "run", "nan.js", "--json")
    assert (refused.code, refused.data["error"]["code"], refused.data["stdout"]) == (1, "NOT_ENCODABLE", "said\n")
    assert terminal.durable("sandbox", "run", "nan.js").out == "said\nnan\n"


@dataclass
class Order:
    amount: int


INPUTS: dict[str, Any] = {
    "bytes": b"\xff",
    "array": bytearray(b"a"),
    "day": datetime(2026, 1, 2, tzinfo=UTC),
    "some": {1},
    "named": {1: 2},
    "big": 2**60,
    "many": float("inf"),
    "order": Order(3),
}
SEEN = """
[bytes instanceof Uint8Array, array[0], day.toISOString(), some.has(1), named.get(1), typeof big, many, order.amount]
    .map(String)
"""
ARRIVED = ["true", "97", "2026-01-02T00:00:00.000Z", "true", "2", "bigint", "Infinity", "3"]


@durable.function
async def with_inputs(ctx: durable.Context, language: str) -> Any:
    if language == "javascript":
        return (await ctx.sandbox(SEEN, language=language, inputs=INPUTS)).value
    found = {name: value for name, value in INPUTS.items() if name != "many"}
    return (await ctx.sandbox("[bytes, day, some, named, order]", language=language, inputs=found)).value


async def test_values_into_javascript_and_python(engine: durable.Engine) -> None:
    assert await (await engine.start(with_inputs, "javascript")).result() == ARRIVED
    ring: list[Any] = []
    ring.append(ring)
    with pytest.raises(durable.InvalidConfiguration, match="nested deeper"):
        await engine.sandbox.run("1", language="javascript", inputs={"ring": ring})
    need("profile isolated")
    assert await (await engine.start(with_inputs, "python")).result() == [
        {"base64": "/w=="},
        "2026-01-02T00:00:00+00:00",
        [1],
        {"map": [[1, 2]]},
        {"amount": 3},
    ]
