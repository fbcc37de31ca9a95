"""Kinds of values that were lost or changed once, in another process: each comes back, or is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from checkpoint.format.payload import PYTHON
from tests.unit.checkpoint_format_3 import payload
from tests.unit.checkpoint_process import Process
from tests.unit.test_checkpoint_kinds import carried
from tests.value_kinds import KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_comes_back(kind: str) -> None:
    code, checks = KINDS[kind]
    with Process() as live:
        live.run(code)
        assert [check for check in checks if not live.value(f"bool({check})")] == [], "it does not hold to begin with"
    process, report = carried(code)
    with process:
        assert report["lost"] == []
        assert [
            entry for entry in report["rebuilt"] if "comes back with" in str(entry) and "traceback" not in str(entry)
        ] == []
        assert [check for check in checks if not process.value(f"bool({check})")] == []


class TestPlaceholders:
    """One member that cannot be saved does not cost what it is in."""

    MAKE = """
import sqlite3, threading
connection = sqlite3.connect(':memory:')
rows = {'all': [1, 2], 'connection': connection, 'again': [connection]}
class Client:
    def __init__(self): self.lock, self.thread = threading.Lock(), threading.Thread(target=print)
client = Client()
def make(generator=(i for i in [1])):
    def inner(): return generator
    return inner
inner = make()
class Unloadable:
    def __init__(self, must): self.must = must
    def __reduce__(self): return Unloadable, ()
odd = [1, Unloadable(2), zip((i for i in []), [1]), {'method': connection.execute}]
class Refuses:
    def __reduce__(self): raise RuntimeError('not me')
mixed = {5, Refuses()}
"""

    def test_are_named_by_their_paths(self) -> None:
        process, report = carried(self.MAKE)
        with process:
            entries: list[Any] = report["lost"]
            lost = {entry[0]: entry[2] for entry in entries}
            assert lost["rows['connection']"] == "a database connection cannot be saved: open it again by its path"
            assert lost["client.thread"].startswith("a thread cannot be saved")
            assert lost["inner (its variable generator)"].startswith("a generator cannot be saved")
            assert lost["make.__defaults__[0]"].startswith("a generator cannot be saved")
            assert lost["odd[1]"].startswith("it cannot be restored: TypeError: Unloadable.__init__() missing")
            assert "a generator cannot be saved" in lost["odd[2]"]
            assert "a database connection cannot be saved" in lost["odd[3]['method']"]
            assert lost["mixed (one of its items)"] == "it cannot be pickled: RuntimeError: not me"
            assert {name for name in lost if name.isidentifier()} == {"connection"}
            assert process.value("(rows['all'], rows['connection'] is rows['again'][0], 5 in mixed)") == (
                [1, 2],
                True,
                True,
            )
            assert process.value("(odd[0], client.lock.acquire(False), type(inner()).__name__)") == (
                1,
                True,
                "LostValue",
            )

    @pytest.mark.parametrize(
        "use",
        [
            "{}.execute('x')", "{}()", "list({})", "next({})", "len({})", "bool({})", "{}[0]", "{} == 1", "1 < {}",
            "{} + 1", "1 + {}", "-{}", "1 in {}", "int({})", "{}.__enter__()", "open({})",
        ],
    )  # fmt: skip
    def test_say_what_they_were_when_they_are_used(self, use: str) -> None:
        process, _report = carried("import sqlite3\nd = {'c': sqlite3.connect(':memory:')}")
        with (
            process,
            pytest.raises(AssertionError, match=r"LostValueError.*sqlite3.Connection.*open it again by its path"),
        ):
            process.value(use.format("d['c']"))

    def test_can_be_looked_at_replaced_and_saved_again(self) -> None:
        process, _report = carried("import sqlite3\nd = {'c': sqlite3.connect(':memory:'), 'k': 1}")
        with process:
            assert process.value("(d['c'] is None, d['c'] in {d['c']}, 'database connection' in repr(d))") == (
                False,
                True,
                True,
            )
            assert process.capture("s@2")[2]["d['c']"][:2] == (
                "sqlite3.Connection", "a database connection cannot be saved: open it again by its path",
            )  # fmt: skip
            process.run("d['c'] = 5")
            assert process.capture("s@3")[2] == {}
            assert process.explain("d") is None

    def test_more_than_some_are_counted(self) -> None:
        with Process() as process:
            process.run("many = [(i for i in [n]) for n in range(30)]")
            lost = process.capture()[2]
        assert {"many[0]", "many[19]", "many (inside of it, 10 more)"} <= lost.keys()
        assert len(lost) == 21


class TestTrials:
    """What pickles but does not load, or as something else, is named when it is saved."""

    def test_a_class_that_does_not_load_is_named_at_the_save(self) -> None:
        with Process() as process:
            process.run(
                "class A:\n    def __init__(self): self.n = 1\n    def __setstate__(self, s): raise ValueError('no')\n"
                "a = A(); inside = [A(), 2]"
            )
            for _ in range(2):  # and not asked again while it is the same
                lost = process.capture()[2]
                assert lost["a"][1] == "it cannot be restored: ValueError: no"
                assert lost["inside[0]"][1] == "it cannot be restored: ValueError: no"
                assert lost.keys() == {"a", "inside[0]"}

    def test_what_comes_back_different_is_named_at_the_save(self) -> None:
        with Process() as process:
            process.run(
                "class A:\n    def __init__(self): self.n, self.m = 1, 2\n"
                "    def __getstate__(self): return {'n': self.n}\na = A()\n"
                "class L(list):\n    def __reduce__(self): return L, (list(self)[1:],)\nb = L([1, 2])"
            )
            rebuilt = process.capture()[3]
            assert rebuilt["a"] == "a comes back without its attributes m"
            assert rebuilt["b"] == "b comes back with 1 items, not 2"

    def test_a_kind_that_came_back_is_tried_again_with_attributes_of_other_types(self) -> None:
        with Process() as process:
            process.run(
                "class A:\n    def __init__(self, palette=None): self.palette = palette\n"
                "    def __getstate__(self): return {}\n    def __setstate__(self, s): self.palette = None\na = A()"
            )
            assert process.capture()[3] == {}
            process.run("b = A('red'); many = [A(list(range(3))) for _ in range(5)]")
            for _ in range(2):
                rebuilt = process.capture()[3]
                assert rebuilt["b"] == "b.palette comes back as builtins.NoneType, not builtins.str"
                assert rebuilt["many"] == "many[0].palette comes back as builtins.NoneType, not builtins.list"
                assert rebuilt.keys() == {"b", "many"}

    def test_what_was_one_object_and_comes_back_as_two_is_named(self) -> None:
        """A class that makes its parts anew, beside what refers to the parts that it had."""
        with Process() as process:
            process.run(
                "class Field:\n    def __new__(cls, names):\n        self = object.__new__(cls)\n"
                "        self.names = names\n        self.element = type('Element', (list,), {'field': self})\n"
                "        self.log = []\n        return self\n"
                "    def __getnewargs__(self): return self.names,\n    def __getstate__(self): return None\n"
                "f = Field('xy'); x = f.element('x'); log = Field('q').log\n"
                "one = (lambda g: [g, g.log])(Field('ab'))\nalone = Field('z').element('z')\nwhole = [Field('cd')] * 3"
            )
            for _ in range(2):
                rebuilt = process.capture()[3]
                assert rebuilt["x"] == "x.__class__ is no longer the same object as f.element"
                assert rebuilt["one"] == "one[0].log is no longer the same object as one[1]"
                assert rebuilt["alone"].endswith(".field.element is no longer the same object as alone.__class__")
                assert rebuilt.keys() == {"x", "one", "alone"}

    @pytest.mark.parametrize(
        "made",
        [
            "kept = {}\ndef make(name):\n    if name not in kept: kept[name] = Named(name)\n    return kept[name]\n",
            "import weakref\nkept = weakref.WeakValueDictionary()\ndef make(name):\n    found = kept.get(name)\n"
            "    if found is None: found = kept[name] = Named(name)\n    return found\n",
            "import functools\n@functools.lru_cache\ndef make(name): return Named(name)\n",
            "def make(name): return Named.kept.get(name) or Named.kept.setdefault(name, Named(name))\n",
        ],
        ids=["mapping", "weak mapping", "lru_cache", "mapping of the class"],
    )
    def test_what_a_library_keeps_is_compared_with_what_it_makes_in_a_new_process(
        self, made: str, tmp_path: Path
    ) -> None:
        """It comes back as itself in a copy of this process, where the library still has it."""
        (tmp_path / "keeper.py").write_text(
            "class Named:\n    kept = {}\n    def __init__(self, name): self.name, self.items = name, []\n"
            f"    def __reduce__(self): return make, (self.name,)\n{made}"
        )
        with Process() as process:
            process.run(f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import keeper; a = keeper.make('a')")
            process.run("a.items.append(1); b = [keeper.make('b')]; b[0].items.append(2); c = keeper.make('c')")
            for _ in range(2):
                rebuilt = process.capture()[3]
                assert rebuilt["a"] == "a.items comes back with 0 items, not 1"
                assert rebuilt["b"] == "b[0].items comes back with 0 items, not 1"
                assert rebuilt.keys() == {"a", "b"}
            assert process.value("a is keeper.make('a') and a.items == [1]")

    def test_a_weak_reference_to_what_comes_back_is_no_difference(self) -> None:
        with Process() as process:
            process.run(
                "import weakref\nclass A:\n    def __init__(self): self.me = weakref.ref(self)\n"
                "    def __getstate__(self): return vars(self)\na = A()"
            )
            assert process.capture()[3] == {}

    def test_nothing_of_a_trial_is_seen_in_the_session(self) -> None:
        with Process() as process:
            process.run(
                "calls = []\nclass A:\n    def __getstate__(self): return 1\n"
                "    def __setstate__(self, s): calls.append(1)\na = A()"
            )
            process.capture()
            assert process.value("calls") == []

    def test_a_trial_that_hangs_says_nothing_and_is_not_made_again(self) -> None:
        with Process() as process:
            process.run(
                "import checkpoint.pickling.trial_restore as trial, threading\ntrial.TRIAL_S = 0.2\nclass A:\n"
                "    def __getstate__(self): return 1\n    def __setstate__(self, s): threading.Event().wait()\n"
                "a = A()\n"
            )
            assert process.capture()[2] == {}
            process.run("trial.TRIAL_S = 3_600")
            assert process.capture()[2] == {}


def test_what_was_pickled_last_is_not_kept_alive() -> None:
    with Process() as process:
        process.run("import weakref, gc\nclass C: pass\nc = C(); c.me = c; dead = []; w = weakref.ref(c, dead.append)")
        process.capture()
        process.run("del c; gc.collect()")
        assert process.value("(w() is None, len(dead))") == (True, 1)


def test_what_was_pickled_last_ends_when_its_last_name_does() -> None:
    with Process() as process:
        process.run("import gc, sys, weakref; gc.disable()\nclass C: pass\nc = C(); w = weakref.ref(c); d = {'c': c}")
        process.run(
            "import numpy as np; a = np.zeros(4); rows = [c, (i for i in [1])]; e = {c: sys.stdin, 'k': map(len, rows)}"
        )
        for _ in range(2):
            process.capture()
            assert process.value("(sys.getrefcount(a), sys.getrefcount(c))") == (2, 5)
        process.run("a.resize((2, 2)); del d, c, rows, e")
        assert process.value("w()") is None


@pytest.mark.skipif(PYTHON != "3.13", reason="its code was compiled by Python 3.13")
def test_checkpoints_of_the_format_before_are_restored() -> None:
    """By the functions that its pickles name: classes, an enum, an exception, a long chain, a file."""
    with Process() as process:
        report = process.restore_payload(payload())
        assert report["lost"] == []
        process.run("length, node = 0, chain\nwhile node: length, node = length + 1, node.rest")
        assert process.value("(Colour.RED.value, favourite[0] is Colour.RED, Colour.RED.low())") == (1, True, "red")
        assert process.value("(str(error), error.code, type(error) is Failed, length)") == ("no", 3, True, 3_000)
        assert process.value("(point.n, list(queue), queue.tag, file.name, twice(4))") == (3, [1], 2, "/dev/null", 8)
