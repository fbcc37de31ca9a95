"""Going back to a savepoint (specs/namespace.md, T1-T3)."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator

import pytest

from bridge.worker.namespace.main_module import ENGINE_INTERNALS, initial_internals
from checkpoint.capture.savepoint import Rollback, Savepoint

type Names = dict[str, object]
type Run = Callable[[str], Rollback]


@pytest.fixture
def names() -> Iterator[Names]:
    """The namespace of a real `__main__`, for the time of a test."""
    module, before = types.ModuleType("__main__"), sys.modules["__main__"]
    module.__dict__.update(initial_internals())
    sys.modules["__main__"] = module
    yield module.__dict__
    sys.modules["__main__"] = before


def undone(names: Names, before: str, code: str) -> Rollback:
    exec(before, names)
    savepoint = Savepoint(names, ENGINE_INTERNALS, {})
    exec(code, names)
    return savepoint.roll_back()


def test_names_come_and_go_and_change_back(names: Names) -> None:
    report = undone(names, "a = 1\nb = [1]\nc = 'x' * 500", "del a\nb = 2\nd = 3\nc = None")
    assert (names["a"], names["b"], names["c"]) == (1, [1], "x" * 500)
    assert "d" not in names
    assert report == Rollback((), ())


def test_mutated_objects_are_as_before_and_the_others_the_same(names: Names) -> None:
    exec("a = [1]\nb = {'a': a}\nuntouched = [[]]\nf = lambda: a", names)
    untouched, function = names["untouched"], names["f"]
    report = undone(names, "", "a.append(2)\nb['x'] = 1\nuntouched = 5")
    assert names["b"] == {"a": [1]}
    assert names["b"]["a"] is names["a"]
    assert names["untouched"] is untouched
    assert names["f"] is function
    assert eval("f()", names) == [1]
    assert set(report.restored) == {"a", "b"}


def test_instances_follow_their_class_back(names: Names) -> None:
    undone(names, "class C:\n    n = 1\nc = C()", "C.n = 2\nC.extra = 1")
    assert eval("(C.n, c.n, type(c) is C, hasattr(c, 'extra'))", names) == (1, 1, True, False)


def test_functions_keep_the_mapping(names: Names) -> None:
    undone(names, "y = 1\ndef f(): return y", "y = 2\nf.attribute = 1\ndef g(): pass")
    assert eval("(f(), f.__globals__ is globals(), hasattr(f, 'attribute'))", names) == (1, True, False)


def test_what_cannot_be_saved_is_kept_and_named(names: Names) -> None:
    exec("g = (n for n in range(3))", names)
    generator = names["g"]
    report = undone(names, "", "next(g)\ng = None")
    assert names["g"] is generator
    assert eval("list(g)", names) == [1, 2]
    assert [name for name, _why in report.kept] == ["g"]
    assert "frame" in report.kept[0][1]


def test_a_change_that_makes_something_unsaveable_is_undone(names: Names) -> None:
    undone(names, "a = []", "a.append(n for n in ())")
    assert names["a"] == []


def test_the_history_shows_what_took_the_place_of_its_values(names: Names) -> None:
    exec("a = [1]\nOut[1] = _ = a", names)
    undone(names, "", "a.append(2)\nIn.append('a.append(2)')")
    assert eval("(Out[1] is a, _ is a, a, In)", names) == (True, True, [1], ["a.append(2)"])


def test_large_arrays_in_place(names: Names) -> None:
    pytest.importorskip("numpy", reason="needs the extra numpy")
    report = undone(
        names, "import numpy\na = numpy.zeros(200_000)\nv = a[10:]\nb = numpy.ones(200_000)", "a[11] = 5\nb2 = b"
    )
    assert eval("(a[11], v[1], v.base is a, b.sum())", names) == (0.0, 0.0, True, 200_000.0)
    assert report.restored == ("a", "v")


def test_a_failing_setstate_keeps_the_object_and_names_it(names: Names) -> None:
    code = "class C:\n    def __init__(self): self.n = 1\n    def __setstate__(self, state): raise ValueError('no')\n"
    report = undone(names, f"{code}c = C()", "c.n = 2")
    assert eval("c.n", names) == 2
    assert [name for name, _why in report.kept] == ["c"]
