"""Random object graphs: captured in one process, restored in a new one, compared in identity and value.

A graph is a program: hypothesis draws its statements, so that a failure prints the code that repeats it.
"""

from __future__ import annotations

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.unit.checkpoint_process import Process

NAMES = [f"v{n}" for n in range(8)]

PRELUDE = """
import dataclasses, enum, itertools, threading, weakref
import numpy as np
number = 10
class Plain:
    pass
class Slotted:
    __slots__ = ('value', '__weakref__')
@dataclasses.dataclass(eq=False)
class Record:
    value: object = None
    others: list = dataclasses.field(default_factory=list)
class Colour(enum.Enum):
    RED = 1
def closure(kept):
    count = [0]
    def add():
        count[0] += number
        return kept
    return add
def local_class(kept):
    class Local:
        held = kept
        class Inner:
            pass
    return Local
for name in [f'v{n}' for n in range(8)]:
    globals()[name] = None
"""

DESCRIBE = """
def describe(skip):
    # Numbers every object by first visit and writes what it holds by those numbers: equal text, equal graph.
    numbers, lines, todo = {}, [], []
    keep = []
    def see(value):
        if value is None or type(value) in (int, str, float, bool):
            return repr(value)
        if value is globals():
            return 'globals'
        if type(value).__name__ in ('generator', 'LostValue'):
            return 'a generator, or what stands in its place'
        if id(value) not in numbers:
            numbers[id(value)] = len(numbers)
            keep.append(value)
            todo.append(value)
        return f'#{numbers[id(value)]}'
    def parts(value):
        kind = type(value)
        if kind is dict:
            return [(see(k), see(v)) for k, v in value.items()]
        if kind in (list, tuple):
            return [see(item) for item in value]
        if kind is set:
            return sorted(see(item) for item in value)
        if kind is np.ndarray:
            return [see(value.base), value.tolist(), str(value.dtype), value.strides, value.flags.writeable]
        if kind is type(closure):
            cells = [see(cell) for cell in value.__closure__ or ()]
            return [value.__qualname__, value.__module__, see(value.__globals__), cells, see(value.__defaults__)]
        if kind is type((lambda: kind).__closure__[0]):
            return [see(value.cell_contents)]
        if kind is weakref.ReferenceType:
            return [see(value())]
        if isinstance(value, type):
            shown = {k: see(v) for k, v in sorted(vars(value).items()) if k in ('held', 'Inner', 'late')}
            return [value.__qualname__, [see(base) for base in value.__mro__[1:-1]], shown]
        if kind is Slotted:
            return [see(kind), see(getattr(value, 'value', None))]
        if kind in (type(threading.Lock()),):
            return []
        return [see(kind), {k: see(v) for k, v in vars(value).items()}] if hasattr(value, '__dict__') else []
    for name in ['v0', 'v1', 'v2', 'v3', 'v4', 'v5', 'v6', 'v7', 'closure', 'Plain', 'Record']:
        lines.append(f'{name} = ' + ('lost' if name in skip else see(globals()[name])))
    while todo:
        value = todo.pop(0)
        lines.append(f'#{numbers[id(value)]} {type(value).__name__} {parts(value)}')
    return lines
"""

MAKE = [
    "{a} = []",
    "{a} = [{b}, {c}, {b}]",
    "{a} = ({b}, {c})",
    "{a} = {{'k': {b}, 1: {c}}}",
    "{a} = {{1, 'x', (2, 3)}}",
    "{a} = {b}",
    "{a} = 5",
    "{a} = 'text' * 400",
    "{a} = Plain()",
    "{a} = Record({b}, [{c}])",
    "{a} = Slotted(); {a}.value = {b}",
    "{a} = Colour.RED",
    "{a} = closure({b})",
    "{a} = lambda kept={b}: (kept, number)",
    "{a} = local_class({b})",
    "{a} = local_class({b}).Inner()",
    "{a} = np.arange(12.0).reshape(3, 4)",
    "{a} = np.arange(5000)",
    "{a} = {b}[1:] if isinstance({b}, np.ndarray) and {b}.ndim else {a}",
    "{a} = threading.Lock()",
    "{a} = weakref.ref(Plain.kept)",
    "Plain.kept = {b} if isinstance({b}, (Plain, Record)) else Plain.kept",
    "{a} = (item for item in [1])",
    "{a} = globals()",
]
LINK = [
    "if isinstance({a}, list): {a}.append({b})",
    "if isinstance({a}, dict) and {a} is not globals(): {a}[len({a})] = {b}",
    "if isinstance({a}, (Plain, Record, Slotted)): {a}.value = {b}",
    "if isinstance({a}, type): {a}.late = {b}",
]

names = st.sampled_from(NAMES)
statements = st.lists(
    st.builds(
        lambda template, a, b, c: template.format(a=a, b=b, c=c), st.sampled_from(MAKE + LINK * 3), names, names, names
    ),
    min_size=4,
    max_size=24,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(statements)
@example(["v0 = []", "v1 = [v0, v0, v0]", "v0.append(v1)", "v2 = closure(v1)", "v3 = v2", "v0.append(v2)"])
@example(["v0 = local_class(None)", "v1 = local_class(v0).Inner()", "v0.late = v1", "v2 = [v1]"])
@example(["v0 = (item for item in [1])", "v1 = [v0, 1, 2]", "v2 = []", "v3 = [v2, v1, v2]", "v4 = [v2, v2, v2]"])
def test_a_graph_comes_back_as_it_was(program: list[str]) -> None:
    code = "\n".join([PRELUDE, "Plain.kept = Record()", DESCRIBE, *program])
    with Process() as first:
        first.run(code)
        payload, _changed, lost, _rebuilt = first.capture()
        expected = {name for name in NAMES if first.value(f"type({name}).__name__ == 'generator'")}
        assert {name for name in lost if name.isidentifier()} == expected
        before = first.value(f"describe({sorted(lost)!r})")
        assert first.capture()[1] is False
    with Process() as second:
        report = second.restore(payload)
        assert {entry[0] for entry in report["lost"]} == lost.keys()
        assert second.value(f"describe({sorted(lost)!r})") == before
        second.run("number = 99")
        for name in NAMES:
            if name not in lost and second.value(f"getattr({name}, '__name__', '') == 'add'"):
                second.run(f"was = {name}.__closure__[0].cell_contents[0]; {name}()")
                assert second.value(f"{name}.__closure__[0].cell_contents[0] - was") == 99
