"""Captures of a live namespace, and restores into one."""

from __future__ import annotations

import msgspec
import pytest

from checkpoint.capture.incremental_capture import Capturer
from checkpoint.format.group_table import PAGE_BYTES, read_table
from checkpoint.format.payload import CHUNK_BYTES, FORMAT, Payload, chunk_digest, decode_payload, encode_payload
from checkpoint.lost_names import LostNames
from checkpoint.restore import restore_into
from durable.core.errors import CheckpointError
from tests.unit.checkpoint_process import Process


def data_bytes(payload: bytes) -> int:
    """How much new data a payload brings."""
    return sum(len(chunk) for chunk in decode_payload(payload).chunks)


VARIED = """
import math, threading, re, random, dataclasses, enum, functools, contextvars, numpy as np
def f(a, b=[1]): return a
class A:
    items = []
    def m(self): return super()
a = A(); A.items.append(a); s = {1, 'b', (2,)}; d = {'k': [1, 2.5, None]}; l = [d]
big = np.arange(200_000.0); v = big[3:]
@dataclasses.dataclass
class D:
    x: int = 1
ds = [D(), D()]
E = enum.Enum('E', 'P Q'); e = E.P; lock = threading.Lock()
cached = functools.lru_cache(lambda n: n); cv = contextvars.ContextVar('cv')
for i in range(100): globals()[f'n{i}'] = i
"""


class TestIncrement:
    def test_an_unchanged_namespace_brings_no_data(self) -> None:
        with Process() as process:
            process.run(VARIED)
            process.capture()
            payload, changed, _lost, _rebuilt = process.capture()
            assert not changed
            assert data_bytes(payload) == 0

    def test_a_small_change_beside_a_large_array_brings_the_small_one(self) -> None:
        with Process() as process:
            process.run(VARIED)
            process.capture()
            process.run("d['k'].append(5)")
            payload, changed, _lost, _rebuilt = process.capture()
            assert changed
            assert 0 < data_bytes(payload) < PAGE_BYTES + 100

    def test_one_changed_element_of_a_large_array_brings_one_chunk(self) -> None:
        with Process() as process:
            process.run("import numpy as np\na = np.zeros(500_000)")
            process.capture()
            process.run("a[400_000] = 1")
            assert data_bytes(process.capture()[0]) <= CHUNK_BYTES + PAGE_BYTES

    def test_after_a_restore_plain_data_is_not_sent_again(self) -> None:
        with Process() as first, Process() as second:
            first.run(
                "import numpy as np\na = np.arange(100_000.0); v = a[1:]; d = {'k': [1, 'x']}; n = 1; s = 'y' * 9000"
            )
            second.restore(first.whole())
            payload = second.capture()[0]
            assert data_bytes(payload) < 5_000 + PAGE_BYTES

    def test_groups_split_when_their_names_are_bound_anew(self) -> None:
        with Process() as process:
            process.run("a = [1]; b = [a]; c = ['c' * 300]")
            assert groups(process.whole()) == {("a", "b"), ("c",)}
            process.run("b = [2]")
            assert groups(process.whole()) == {("c",)}, "a and b are atoms now"
            process.run("c.append(a)")
            assert groups(process.whole()) == {("a", "c")}

    def test_a_long_text_in_two_variables_is_kept_once(self) -> None:
        with Process() as process:
            process.run("t = 'x' * 300_000; a = [t]; b = {'k': t}; s = 'y' * 300; c = [s]; d = [s]")
            payload = process.capture()[0]
            assert groups(payload) == {("a", "b", "t"), ("c",), ("d",), ("s",)}
            assert data_bytes(payload) < 310_000

    @pytest.mark.parametrize(
        ("code", "together"),
        [
            ("a = [1]; b = a", {("a", "b")}),
            ("a = [1]; b = {'k': (2, a)}; c = [[a]]", {("a", "b", "c")}),
            ("a = [1]; b = ['x' * 300, a]", {("a", "b")}),
            ("class A: pass\na = {'k': 1}; b = A(); b.a = a; c = [3]", {("A",), ("a", "b")}),
            ("a = [1]\ndef f(a=a): return a", {("a", "f")}),
            ("a = [1]; b = ['x' * 300, a]; c = [b, 1]", {("a", "b", "c")}),
            ("a = ((), [1]); b = (); c = ('k', ()); s = 'k'", set()),
            ("a = []; a.append(a); b = [a]", {("a", "b")}),
        ],
    )
    def test_small_containers_are_saved_together_unless_others_hold_them_too(
        self, code: str, together: set[tuple[str, ...]]
    ) -> None:
        with Process() as process:
            process.run(code)
            assert groups(process.whole()) == together
            assert process.capture()[1] is False, "and it stays so"

    def test_one_small_change_among_a_thousand_small_variables(self) -> None:
        with Process() as process:
            process.run("globals().update({f'small{n}': [n, {'key': n}] for n in range(1_000)})")
            process.capture()
            process.run("small7.append(1)")
            assert 0 < data_bytes(process.capture()[0]) <= 2 * PAGE_BYTES
            process.run("small7.append((item for item in [1])); small8.append(1)")
            assert process.capture()[2].keys() == {"small7[3]"}

    def test_arrays_of_one_dtype_and_objects_of_one_class_are_not_one_group(self) -> None:
        with Process() as process:
            process.run(
                "import numpy as np\nclass A: pass\na = np.zeros(3); b = np.zeros(3); x = A(); y = A(); f = lambda: a"
            )
            assert groups(process.whole()) == {("A",), ("a",), ("b",), ("f",), ("x",), ("y",)}

    def test_forget_brings_everything_again(self) -> None:
        with Process() as process:
            process.run("a = [1, 2, 3]")
            first = decode_payload(process.capture()[0])
            process.capture()
            assert decode_payload(process.whole()).chunks == first.chunks


def groups(payload: bytes) -> set[tuple[str, ...]]:
    """The groups of a whole payload that hold values."""
    parsed = decode_payload(payload)
    chunks = {chunk_digest(chunk): chunk for chunk in parsed.chunks}
    table = read_table(parsed.contents, chunks.__getitem__)
    return {group.names for group in table.groups if group.kind in ("values", "definitions")}


class TestMerge:
    def test_the_mapping_and_other_names_stay(self) -> None:
        with Process() as process:
            process.run("x = 1; y = [1]; me = id(globals())")
            payload = process.whole()
            process.run("x = 2; z = 3; In.append('live'); _ = 'last'")
            report = process.restore(payload)
            assert process.value("(x, y, z, id(globals()) == me)") == (1, [1], 3, True)
            assert process.value("(In, _)") == (["live"], "last")
            assert set(report["restored"]) == {"x", "y", "me"}

    def test_clear_existing_removes_what_is_not_internal(self) -> None:
        with Process() as process:
            process.run("x = 1")
            payload = process.whole()
            process.run("z = 3; In.append('live')")
            process.restore(payload, clear_existing=True)
            assert process.value("('z' in globals(), x, In, __name__)") == (False, 1, ["live"], "__main__")

    def test_a_fresh_worker_gets_the_history_in_its_own_containers(self) -> None:
        with Process() as first, Process() as second:
            first.run("x = [1]; In.extend(['x = [1]', (i for i in x), 'x']); _ = x; y = _oh")
            first.run("Out[2] = x; Out[3] = (i for i in x)")
            payload, _changed, lost, _rebuilt = first.capture()
            assert lost.keys() == {"y[3]"}
            second.run("keep = Out")
            second.restore(payload, fresh=True)
            assert second.value("(Out is keep, _oh is Out, _ is x, Out[2] is x, 3 in Out, In)") == (
                True, True, True, True, False, ["x = [1]", None, "x"],
            )  # fmt: skip

    def test_history_does_not_make_one_group_of_everything_shown(self) -> None:
        with Process() as process:
            process.run("x = [1]; y = [2]; Out[1] = x; Out[2] = y; _ = y")
            assert groups(process.whole()) == {("\0Out[1]", "x"), ("\0Out[2]", "\0_", "y")}


class TestLostNames:
    def test_they_stay_lost_through_later_checkpoints_until_assigned(self) -> None:
        with Process() as first, Process() as second, Process() as third:
            first.run("g = (i for i in [1]); h = (i for i in [1])")
            second.restore(first.capture("s@3")[0])
            second.run("h = 1")
            lost = second.capture("s@9")[2]
            assert lost.keys() == {"g"}
            assert lost["g"][2] == "s@3"
            assert second.explain("h") is None
            assert second.explain("never") is None
            third.restore(second.whole())
            assert "made by execution s@3" in str(third.explain("g"))

    def test_the_maker_is_the_execution_that_bound_it(self) -> None:
        with Process() as process:
            process.run("g = (i for i in [1])")
            assert process.capture("s@1")[2]["g"][2] == "s@1"
            assert process.capture("s@2")[2]["g"][2] == "s@1"
            process.run("g = [(i for i in [1])]")
            assert process.capture("s@3")[2]["g[0]"][2] == "s@3"
            assert process.capture("s@4")[2]["g[0]"][2] == "s@3"

    def test_a_lost_name_that_is_alive_is_not_touched(self) -> None:
        with Process() as process:
            process.run("g = (i for i in [7])")
            process.restore(process.capture()[0])
            assert process.value("next(g)") == 7
            assert process.explain("g") is None


class TestOneValueNeverSpoilsTheOthers:
    def test_a_hook_that_raises_while_loading(self) -> None:
        code = """
class A:
    def __setstate__(self, s): raise ValueError('no')
    def __getstate__(self): return 1
a = A(); b = [1]; c = [a]; d = 2
"""
        with Process() as first, Process() as second:
            first.run(code)
            report = second.restore(first.whole())
            assert {entry[0]: entry[2] for entry in report["lost"]} == {
                "a": "it cannot be restored: ValueError: no",
                "c[0]": "it cannot be restored: ValueError: no",
            }
            assert second.value("(b, d)") == ([1], 2)

    def test_hooks_that_end_the_program_or_look_like_corruption(self) -> None:
        code = """
import pickle
class Exits:
    def __setstate__(self, s): raise SystemExit(1)
    def __getstate__(self): return 1
class Corrupt(Exits):
    def __setstate__(self, s): raise pickle.UnpicklingError('odd')
a = Exits(); b = Corrupt(); c = [1]
"""
        with Process() as first, Process() as second:
            first.run(code)
            report = second.restore(first.whole())
            assert {entry[0]: entry[2] for entry in report["lost"]} == {
                "a": "it cannot be restored: SystemExit: 1",
                "b": "it cannot be restored: UnpicklingError: odd",
            }
            assert second.value("c") == [1]

    def test_what_pickles_alone_but_not_together(self) -> None:
        code = """
shared = []
class Once:
    calls = 0
    def __reduce__(self):
        Once.calls += 1
        if Once.calls > 1: raise ValueError('only once')
        return list, ()
a = [Once(), shared]; b = [shared]; c = [a]; d = {'k': 1}
"""
        with Process() as first, Process() as second:
            first.run(code)
            payload, _changed, lost, _rebuilt = first.capture()
            assert {entry[1] for entry in lost.values()} == {"it cannot be pickled: ValueError: only once"}
            second.restore(payload)
            assert lost.keys() == {"a[0]", "c[0][0]"}
            assert second.value("(d, a[1] is b[0], c[0] is a)") == ({"k": 1}, True, True)

    def test_a_long_chain_comes_back(self) -> None:
        """In both directions, and shared; of bare lists too."""
        code = """
class Node:
    def __init__(self, rest):
        self.rest, self.back = [rest], None
        if rest is not None: rest.back = self
def length(node):
    count = 0
    while node is not None:
        assert node.rest[0] is None or node.rest[0].back is node
        count, node = count + 1, node.rest[0]
    return count
long, lists = None, []
for _ in range(15_000): long = Node(long)
middle = long.rest[0].rest[0]
for _ in range(100_000): lists = [lists]
"""
        with Process() as process, Process() as other:
            process.run(code)
            payload, _changed, lost, _rebuilt = process.capture()
            assert lost == {}
            assert process.capture()[1] is False
            other.restore(payload)
            assert other.value("(length(long), long.rest[0].rest[0] is middle, len(lists[0][0]))") == (15_000, True, 1)

    def test_a_module_that_is_gone(self, tmp_path: object) -> None:
        with Process() as first, Process() as second:
            first.run(
                "import sys, types\nm = types.ModuleType('gone'); sys.modules['gone'] = m\n"
                "exec('class K: pass\\ndef f(): pass', m.__dict__)\nk = m.K(); f = m.f; x = 1"
            )
            report = second.restore(first.whole())
            assert {entry[0] for entry in report["lost"]} == {"m", "k", "f"}
            assert second.value("x") == 1

    def test_a_container_that_changes_while_it_is_pickled(self) -> None:
        with Process() as process:
            process.run(
                """
d = {}
class A:
    n = 0
    def __reduce__(self):
        A.n += 1
        if A.n == 1: d['late'] = 1
        return int, ()
d['a'] = A(); d['b'] = 2
"""
            )
            assert process.capture()[2] == {}

    def test_a_circle_that_holds_something_lost(self) -> None:
        with Process() as process:
            process.run("a = [1]; b = [a]; g = (i for i in b); c = [a, g]; a.append(b)")
            payload, _changed, lost, _rebuilt = process.capture()
            assert lost.keys() == {"g", "c[1]"}
            process.run("b.append(g)")
            assert process.capture()[2].keys() == {"a[1][1]", "b[1]", "c[1]", "g"}
        with Process() as second:
            second.restore(payload)
            assert second.value("(a[1] is b, b[0] is a)") == (True, True)

    def test_odd_names(self) -> None:
        with Process() as process:
            process.run("globals().update({'\\ud800': 1, '\\0x': 1, 'a b': [1], 'n' * 2000: 1}); ü = 2")
            payload = process.whole()
        with Process() as second:
            second.restore(payload)
            assert second.value("(globals()['a b'], ü)") == ([1], 2)


class TestAtomicity:
    """Nothing changes when a payload cannot be read, wherever it is broken."""

    def broken(self, damage: str) -> bytes:
        lost = LostNames()
        namespace: dict[str, object] = {"__name__": "x", "a": [1] * 1_000, "b": {"k": [2]}, "c": 3}
        payload = Capturer(namespace, lost=lost).capture().payload
        if damage == "truncated":
            return payload[:-10]
        parsed = decode_payload(payload)
        if damage == "format":
            return encode_payload(Payload("1", parsed.contents, parsed.chunks))
        if damage == "chunks":
            return encode_payload(Payload(FORMAT, parsed.contents, parsed.chunks[:-1]))
        if damage == "pages":
            return encode_payload(Payload(FORMAT, parsed.contents, ()))
        if damage == "python":
            return encode_payload(
                Payload(FORMAT, msgspec.structs.replace(parsed.contents, python="3.1"), parsed.chunks)
            )
        if damage == "preamble":  # as of a version that names its functions otherwise
            other = [memoryview(bytes(chunk).replace(b"live_namespace", b"dead_namespace")) for chunk in parsed.chunks]
            return encode_payload(Payload(FORMAT, parsed.contents, tuple(other)))
        assert damage == "flipped"
        flipped = [memoryview(bytes(chunk[:-3]) + b"\xff\xff\xff") for chunk in parsed.chunks]
        return encode_payload(Payload(FORMAT, parsed.contents, (*parsed.chunks[:-1], flipped[-1])))

    @pytest.mark.parametrize("damage", ["truncated", "format", "chunks", "pages", "python", "preamble", "flipped"])
    def test_nothing_changes(self, damage: str) -> None:
        payload = self.broken(damage)
        namespace: dict[str, object] = {"__name__": "x", "a": "mine", "other": 5}
        before = dict(namespace)
        with pytest.raises(CheckpointError):
            restore_into(namespace, payload, clear_existing=True, lost=LostNames())
        assert namespace == before

    def test_an_interrupt_in_the_middle_takes_everything_back(self, tmp_path: object) -> None:
        code = """
import os
os.environ['E'] = '1'
class A:
    def __setstate__(self, s):
        if hasattr(__import__('builtins'), 'second'): raise KeyboardInterrupt
    def __getstate__(self): return 1
a = 1; z = A()
"""
        with Process() as first, Process() as second:
            first.run(code)
            payload = first.whole()
            second.run(
                "__import__('builtins').second = 1; a = 'mine'; gone = 1\n"
                "import random; random.seed(1); cwd = __import__('os').getcwd()"
            )
            drawn = second.value("random.getstate()")
            with pytest.raises(AssertionError, match="KeyboardInterrupt"):
                second.restore(payload, clear_existing=True)
            assert second.value("(a, gone, 'A' in globals(), 'z' in globals())") == ("mine", 1, False, False)
            assert second.value("random.getstate()") == drawn
            assert second.value("'E' in __import__('os').environ") is False


def test_externals_are_references() -> None:
    def ask() -> str:
        return "host"

    lost = LostNames()
    namespace: dict[str, object] = {"__name__": "x", "ask": ask, "mine": [ask]}
    payload = Capturer(namespace, externals={"ask": ask}, lost=lost).capture().payload

    def ask_again() -> str:
        return "new host"

    fresh: dict[str, object] = {"__name__": "x", "ask": ask_again}
    report = restore_into(fresh, payload, externals={"ask": ask_again}, lost=lost, clear_existing=True)
    assert report["restored"] == ["mine"]
    assert fresh["mine"] == [ask_again]
    assert fresh["ask"] is ask_again
    without: dict[str, object] = {}
    assert restore_into(without, payload, lost=lost)["lost"][0][2].endswith("this session does not have 'ask'")
