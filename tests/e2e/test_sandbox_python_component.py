"""A real component: Python, by componentize-py. Every type of WIT there and back, the host's resources, WASI."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import durable
from capabilities.permissions.manifest import read_manifest
from capabilities.sandbox import errors
from capabilities.sandbox.component_manifest import ComponentManifest
from capabilities.sandbox.host_calls import HostCall
from capabilities.sandbox.limits import MIB, SandboxLimits
from capabilities.sandbox.wasm.component_call import ComponentCall, Handle
from capabilities.sandbox.wasm.runtime import Component, Runtime
from capabilities.sandbox.wasm.wit_values import Err, Ok, Some, Variant
from durable.core.errors import NonDeterminism
from durable.sandbox.components import Components
from durable.sandbox.sandbox_calls import SandboxCalls
from tests.components.building import built

pytestmark = pytest.mark.timeout(600)  # the first time the component is built and compiled
LIMITS = SandboxLimits(fuel=None, timeout_ms=30_000, memory=64 * MIB)
ECHO = "test:everything/echo@0.1.0"
HOST = "test:everything/host@0.1.0"
HOME = {"x": 1.5, "y": -2.0}
ADA = {"first_name": "Ada", "age": 36, "tags": ["a", "ü\0"], "home": HOME}


@pytest.fixture(scope="module")
def runtime(pytestconfig: pytest.Config) -> Iterator[Runtime]:
    assert pytestconfig.cache is not None
    made = Runtime(Path(pytestconfig.cache.mkdir("compiled")))
    yield made
    made.close()


@pytest.fixture(scope="module")
def code(runtime: Runtime, pytestconfig: pytest.Config) -> Component:
    return runtime.component(built(pytestconfig))


@dataclass
class Note:
    """A resource of the host."""

    name: str


def host(asked: list[str]) -> dict[str, Any]:
    def open(name: str) -> Note:
        if not name:
            raise Err("no name")
        return Note(name)

    def ask(question: str) -> str:
        asked.append(question)
        return f"{question}?"

    return {HOST: {"note": Note, "[method]note.text": lambda note: note.name, "open": open, "ask": ask}}


def nobody(call: HostCall) -> Future[Any]:
    raise errors.CapabilityDenied("everything", call.capability, "", "nothing is granted")


def made(runtime: Runtime, code: Component, limits: SandboxLimits = LIMITS, asked: list[str] | None = None) -> Any:
    interfaces = host([] if asked is None else asked)
    return ComponentCall(runtime, code, limits, interfaces=interfaces, port=nobody, name="everything")


def test_every_type_comes_back_as_it_went(runtime: Runtime, code: Component) -> None:
    call = made(runtime, code)
    numbers = (-128, 65_535, -(2**31), 2**64 - 1, 0.5, 1e300)
    circle, corners = Variant("circle", 2.5), Variant("corners", [HOME])
    flags = frozenset({"read", "run-it"})
    for function, args, expected in [
        ("numbers", numbers, numbers),
        ("text", ("😀", "grüß\0", True), ("😀", "grüß\0", True)),
        ("people", ([ADA, {**ADA, "home": None}],), [ADA, {**ADA, "home": None}]),
        ("shapes", ([Variant("none"), circle, Variant("named", "x"), corners],), None),
        ("colors", ("dark-red", {"read", "run-it"}), ("dark-red", flags)),
        ("maybe", (None, None), (None, None)),
        ("maybe", (1, Some(None)), (1, Some(None))),
        ("maybe", (2, Some(3)), (2, Some(3))),
        ("outcome", (Ok(5),), None),
        ("data", (bytes(range(256)) * 400,), bytes(range(256)) * 400),
        ("wide", ([0, 2**64 - 1, 5],), [0, 2**64 - 1, 5]),
    ]:
        found = call.call(f"{ECHO}#{function}", *args).value
        assert found == (expected if expected is not None else args[0]), function
    assert call.call(f"{ECHO}#outcome", Err("no")).value == Err("no")
    with pytest.raises(Err) as failed:
        call.call(f"{ECHO}#fails", "green")
    assert failed.value.value == "green"


@pytest.mark.parametrize(
    ("function", "args", "says"),
    [
        ("people", ([ADA, {**ADA, "age": 256}],), r"all\[1\]\.age: 256 is no u8"),
        ("people", ([{"age": 1}],), r"all\[0\]: field 'first-name' is missing in a dict"),
        ("people", ([{**ADA, "agee": 1}],), r"all\[0\]: there is no field 'agee'; there are first-name, age"),
        ("people", ([{**ADA, "home": {"x": "1", "y": 1}}],), r"all\[0\]\.home\.x: '1' is no f64"),
        ("people", ("Ada",), "all: 'Ada' is no list"),
        ("shapes", ([Variant("circel", 1.0)],), r"all\[0\]: 'circel' is none of none, circle, named, corners"),
        ("shapes", ([Variant("none", 1)],), r"all\[0\]: case 'none' has no value"),
        ("colors", ("green", {"reed"}), "a: 'reed' is none of read, write, run-it"),
        ("maybe", (1, 2), r"b: 2 is neither None nor Some\(value\)"),
        ("outcome", (5,), r"r: 5 is neither Ok\(value\) nor Err\(value\)"),
        ("text", ("ab", "", True), "c: 'ab' is no char"),
        ("text", ("a", "\ud800", True), "s: the string holds a lone surrogate"),
        ("numbers", (0, 0, 0, 0, 1e300, 0), "e: 1e\\+300 is no f32: it is too large"),
        ("wide", ([1, -1],), r"d\[1\]: -1 is no u64"),
        ("data", ([1, 256],), r"d\[1\]: 256 is no u8"),
    ],
)
def test_what_does_not_fit_says_where(
    runtime: Runtime, code: Component, function: str, args: tuple[Any, ...], says: str
) -> None:
    with pytest.raises(errors.ExecutionFailed, match=f"type mismatch: {says}"):
        made(runtime, code).call(f"{ECHO}#{function}", *args)


def test_resources_of_the_component(runtime: Runtime, code: Component) -> None:
    call, other = made(runtime, code), made(runtime, code)
    first = call.call(f"{ECHO}#[constructor]counter", 5).value
    second = call.call(f"{ECHO}#[constructor]counter", 7).value
    assert isinstance(first, Handle)
    assert call.call(f"{ECHO}#[method]counter.add", first, 3).value == 8
    both = call.call(f"{ECHO}#[static]counter.merge", first, second).value
    assert call.call(f"{ECHO}#[method]counter.add", both, 0).value == 15
    with pytest.raises(errors.ExecutionFailed, match="self: the resource was dropped or given away"):
        call.call(f"{ECHO}#[method]counter.add", first, 3)
    with pytest.raises(errors.ExecutionFailed, match="self: the resource is of another instance"):
        other.call(f"{ECHO}#[method]counter.add", both, 3)
    both.drop()
    both.drop()
    with pytest.raises(errors.ExecutionFailed, match="dropped"):
        call.call(f"{ECHO}#[method]counter.add", both, 3)


def test_resources_of_the_host_and_its_errors(runtime: Runtime, code: Component) -> None:
    asked: list[str] = []
    call = made(runtime, code, asked=asked)
    assert call.call("asks", "why").value == "why?"
    assert asked == ["why"]
    assert call._resources._objects == {}, "the component let go of what it was lent"
    with pytest.raises(Err) as failed:
        call.call("asks", "")
    assert failed.value.value == "no name"


def test_wasi_gives_output_and_neither_time_nor_chance(runtime: Runtime, code: Component) -> None:
    call = made(runtime, code)
    call.call("speak", "hello")
    assert (call.output.text("stdout"), call.output.text("stderr")) == ("hello\n", "hello\n")
    moments = {made(runtime, code).call("moment").value for _ in range(2)}
    assert len(moments) == 1
    assert made(runtime, code).call("moment").used.fuel == made(runtime, code).call("moment").used.fuel


def test_limits_hold_for_it(runtime: Runtime, code: Component) -> None:
    with pytest.raises(errors.ExecutionTimeout):
        made(runtime, code, LIMITS.but(timeout_ms=100)).call("spin")
    with pytest.raises(errors.FuelExhausted):
        made(runtime, code, LIMITS.but(fuel=1_000_000)).call("spin")
    with pytest.raises(errors.OutOfMemory):
        made(runtime, code, LIMITS.but(memory=1 * MIB)).call("spin")


ALLOWED = {
    "grant": ["now", "random"],
    "filesystem": {"read": ["**"], "write": ["notes/*"], "list": ["**"], "delete": ["notes/*"]},
    "storage": {"max_size_mb": 1},
}


@pytest.fixture
async def components(tmp_path: Path, runtime: Runtime, pytestconfig: pytest.Config) -> AsyncIterator[Components]:
    async with durable.open(tmp_path / "work.db") as engine:
        known = Components(engine._house, runtime)
        await known.add(ComponentManifest("every", LIMITS, read_manifest(ALLOWED)), built(pytestconfig), host([]))
        yield known
        await known.close()


async def test_it_asks_its_host_and_is_answered_again_from_the_record(components: Components, tmp_path: Path) -> None:
    first = await components.call("every", "remembers", "grüß", execution_id="one")
    now, number, keys, content, used = first.value
    assert now > 1_700_000_000_000
    assert 0 <= number < 1
    assert (keys, content, used) == (["k", "a.bin", "grüß"], bytes(range(256)), 9)
    assert first.used.stderr == "info: begins\n"
    (tmp_path / "work.db.d" / "components" / "every" / "notes" / "a.bin").unlink()
    again = await components.call("every", "remembers", "grüß", execution_id="one")
    assert (again.value, again.used.fuel) == (first.value, first.used.fuel)
    other = await components.call("every", "fails", execution_id="two")
    assert other.value == "FileNotFoundError: [Errno 2] No such file or directory: 'absent'"


async def test_another_way_to_the_same_call_is_no_replay(components: Components) -> None:
    await components.call("every", "remembers", "grüß", execution_id="way")
    known = components.get("every")
    calls = SandboxCalls(known.permits, "way", known.meter)
    with pytest.raises(NonDeterminism, match=r"this call after \d+ units of fuel, the code now does it after 5"):
        await calls.answer(HostCall("now", "", {}, fuel=5))


async def test_what_it_was_not_granted_ends_it(components: Components) -> None:
    with pytest.raises(errors.CapabilityDenied, match=r"every may not kv\.set of-others: no rule allows") as denied:
        await components.call("every", "denied", execution_id="three")
    assert denied.value.resource == "of-others"
