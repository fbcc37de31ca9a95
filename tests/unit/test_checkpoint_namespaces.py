"""The namespace of an object (`vars(client)`), held by something else as well: it stays that object's namespace."""

from __future__ import annotations

import pytest

from tests.unit.checkpoint_cases import cases
from tests.unit.checkpoint_process import Process
from tests.unit.test_checkpoint_kinds import carried

HELD = cases("""
## in a list
class A: pass
a = A(); a.x = 1; inside = [vars(a)]
=> inside[0] is vars(a)
## an empty one
class A: pass
a = A(); inside = [vars(a)]
=> [setattr(a, 'x', 1), inside[0]] == [None, {'x': 1}]
## object and namespace in one variable
class A: pass
a = A(); a.x = 1; both = [a, vars(a)]; del a
=> both[1] is vars(both[0])
## the namespace before the object
class A: pass
a = A(); a.x = 1; both = [vars(a), a]; a.back = both; del a
=> [both[0] is vars(both[1]), both[1].back is both] == [True, True]
## of a SimpleNamespace
import types
ns = types.SimpleNamespace(x=1); inside = {'v': vars(ns)}
=> inside['v'] is vars(ns) and ns.x == 1
## of a SimpleNamespace in a circle
import types
ns = types.SimpleNamespace(x=1); ns.me = vars(ns); ns.all = [vars(ns), ns]
=> [ns.me is vars(ns), ns.all[0] is ns.me, ns.all[1] is ns] == 3 * [True]
## of a module made by hand
import types
m = types.ModuleType('mine'); m.x = 5; held = (vars(m), 1)
=> held[0] is vars(m) and m.x == 5
## of a library's module
import string, colorsys
held = [vars(string)]; other = {'c': vars(__import__('keyword'))}
=> [held[0] is vars(string), other['c'] is vars(__import__('keyword'))] == [True, True]
## of the session
held = [globals()]
=> held[0] is globals()
## views of it
class A: pass
a = A(); a.x = 1; items = vars(a).items(); keys = [vars(a).keys()]; get = vars(a).get
=> [setattr(a, 'y', 2), list(items), list(keys[0]), get('y')] == [None, [('x', 1), ('y', 2)], ['x', 'y'], 2]
## a mapping over it
import types, collections
class A: pass
a = A(); a.x = 1; proxy = types.MappingProxyType(vars(a)); chain = collections.ChainMap({}, vars(a))
=> [setattr(a, 'y', 2), dict(proxy), chain['y']] == [None, {'x': 1, 'y': 2}, 2]
## of a function
def f(): pass
f.tag = 1; held = [f.__dict__]
=> held[0] is f.__dict__
## of an exception
e = ValueError(1); e.note = 5; held = [vars(e)]
=> held[0] is vars(e) and e.note == 5
## shared by two objects
class Borg:
    shared = {}
    def __init__(self): self.__dict__ = self.shared
a, b = Borg(), Borg(); a.x = 1
=> [setattr(b, 'y', 2), a.x, a.y, Borg.shared] == [None, 1, 2, {'x': 1, 'y': 2}]
=> vars(a) is vars(b) is Borg.shared
## a dict that is its own
class AttrDict(dict):
    def __init__(self, *a, **k): super().__init__(*a, **k); self.__dict__ = self
a = AttrDict(x=1, sub=AttrDict(y=2))
=> [setattr(a, 'z', 3), a['z'], a.sub.y, a['x'], vars(a) is a, vars(a.sub) is a.sub] == [None, 3, 2, 1, True, True]
## a dict of a class
import collections
class D(dict): pass
class A: pass
a, b = A(), A(); a.__dict__ = D(x=1); b.__dict__ = collections.OrderedDict(y=2)
=> [type(vars(a)).__name__, a.x, type(vars(b)).__name__, b.y] == ['D', 1, 'OrderedDict', 2]
## an object that saves a copy
class A:
    def __init__(self): self.x = 1
    def __getstate__(self): return dict(self.__dict__)
a = A(); inside = [vars(a)]
=> inside[0] is vars(a) and a.x == 1
## beside slots
class S: __slots__ = ('q',)
class A(S): pass
a = A(); a.q = 1; a.x = 2; inside = [vars(a)]
=> [inside[0] is vars(a), a.q, a.x] == [True, 1, 2]
## beside greedy look-ups
class A:
    def __getattr__(self, n): return 0
a = A(); a.x = 2; inside = [vars(a)]
=> [inside[0] is vars(a), a.x] == [True, 2]
## of a list
class A(list): pass
a = A([1, 2]); a.x = 2; inside = [a.__dict__]
=> [inside[0] is vars(a), a.x, a] == [True, 2, [1, 2]]
## of a thread-local
import threading
l = threading.local(); l.x = 1; inside = [vars(l)]
=> [inside[0] is vars(l), l.x] == [True, 1]
## of a partial
import functools
p = functools.partial(int, base=2); p.tag = 1; inside = [vars(p)]
=> [inside[0] is vars(p), p.tag, p('10')] == [True, 1, 2]
## in a closure, a default and a method
class A: pass
a = A(); a.x = 1
def f(d=vars(a)): return d
def make():
    inner = vars(a)
    return lambda: inner
g = make(); m = vars(a).update
=> [f() is vars(a), g() is vars(a), m(z=3), a.z] == [True, True, None, 3]
## of a method
class A:
    def f(self): return 1
a = A(); held = [A.f.__dict__]; a.f.__func__.tag = 5
=> held[0] is A.f.__dict__
## of arguments
import argparse
args = argparse.Namespace(x=1); config = [vars(args)]
=> config[0] is vars(args)
## of many objects
import dataclasses
@dataclasses.dataclass
class P: x: int
rows = [P(i) for i in range(5)]; views = [vars(r) for r in rows]
=> all(v is vars(r) for v, r in zip(views, rows)) and [r.x for r in rows] == [0, 1, 2, 3, 4]
## an object whose namespace is the session's
class G: pass
g = G(); g.__dict__ = globals()
=> vars(g) is globals()
## an object whose namespace is a module's
import string
class G: pass
g = G(); g.__dict__ = vars(string)
=> vars(g) is vars(string)
## of an enum's member
import enum
class E(enum.Enum): A = 1
held = [vars(E.A)]
=> held[0] is vars(E.A)
## of a deep chain
class Node:
    def __init__(self, n, up): self.n, self.up = n, up
n = None
for i in range(3000): n = Node(i, n)
held = [vars(n), vars(n.up)]
=> [held[0] is vars(n), held[1] is vars(n.up), n.up.up.n] == [True, True, 2997]
## in a circle through hashes
class Node:
    def __init__(self, name): self.name, self.peers = name, set()
    def __hash__(self): return hash(self.name)
    def __eq__(self, other): return self.name == other.name
a, b = Node("a"), Node("b"); a.peers.add(b); b.peers.add(a); held = [vars(a), vars(b)]
=> [held[0] is vars(a), held[1] is vars(b), next(iter(a.peers)) is b, a in b.peers] == 4 * [True]
## in a circle of dicts that are their own
class Node(dict):
    def __init__(self, name): self.__dict__ = self; self.name, self.peers = name, set()
    def __hash__(self): return hash(self.name)
    def __eq__(self, other): return self.name == other.name
a, b = Node("a"), Node("b"); a.peers.add(b); b.peers.add(a); held = [vars(a), vars(b)]
=> [held[0] is vars(a) is a, held[1] is vars(b), next(iter(a.peers)) is b, a in b.peers] == 4 * [True]
## in a circle of sets
class Node(set):
    def __init__(self, name): self.name = name
    def __hash__(self): return hash(self.name)
    def __eq__(self, other): return self.name == other.name
a, b = Node("a"), Node("b"); a.add(b); b.add(a); held = [vars(a), vars(b)]
=> [held[0] is vars(a), held[1] is vars(b), next(iter(a)) is b, a in b] == 4 * [True]
""")

MEMBERS = cases("""
## copy of a class
class A:
    x = 1
    def f(self): return self.x
    @property
    def p(self): return 2
    @staticmethod
    def s(): return 3
class S: __slots__ = ('q',)
copy = dict(vars(A)); slots = [dict(vars(S))]; proxy = [vars(A)]
=> [copy[name] is vars(A)[name] for name in vars(A)] == len(copy) * [True]
=> proxy[0]['f'] is A.f
=> [type(copy['__dict__']).__name__, slots[0]['q'] is vars(S)['q']] == ['getset_descriptor', True]
## descriptors of builtins
a, b, c = vars(dict)['fromkeys'], vars(type)['__name__'], [vars(int)['__add__'], vars(str)['join']]
=> [a is vars(dict)['fromkeys'], b is vars(type)['__name__'], c == [int.__add__, str.join]] == 3 * [True]
""")


@pytest.mark.parametrize("where", HELD)
def test_a_held_namespace_is_still_the_objects(where: str) -> None:
    code, checks = HELD[where]
    process, report = carried(code)
    with process:
        assert report["lost"] == []
        for check in checks:
            assert process.value(f"bool({check})"), check


@pytest.mark.parametrize("what", MEMBERS)
def test_a_copy_of_a_classs_namespace_holds_what_the_class_holds(what: str) -> None:
    code, checks = MEMBERS[what]
    process, report = carried(code)
    with process:
        assert report["lost"] == []
        for check in checks:
            assert process.value(f"bool({check})"), check


def test_what_a_held_namespace_cannot_keep_is_named_at_both_places() -> None:
    process, report = carried("""
class A: pass
a = A(); a.x = 1; a.g = (i for i in 'a'); held = [vars(a)]
""")
    with process:
        assert [path in str(report["lost"]) for path in ("'a.g'", "held[0]['g']")] == [True, True]
        assert process.value("[held[0] is vars(a), a.x, type(a.g).__name__]") == [True, 1, "LostValue"]


def test_an_object_that_fills_itself_has_the_last_word_on_its_namespace() -> None:
    process, report = carried("""
class A:
    def __init__(self): self.x = 1; self.handle = (i for i in 'a')
    def __getstate__(self): return {'x': self.x}
    def __setstate__(self, state): self.x = state['x']; self.handle = 'new'
a = A(); held = [vars(a)]
""")
    with process:
        assert process.value("[held[0] is vars(a), a.x, a.handle]") == [True, 1, "new"]
        assert ["a", "a.handle comes back as builtins.str, not builtins.generator"] in report["rebuilt"]


def test_objects_that_hold_their_namespaces_alone_are_saved_as_before() -> None:
    """Pickle refers to these dicts itself: that is not taken for somebody who holds them."""
    with Process() as process:
        process.run("""
class Slots: __slots__ = ('q',)
class Beside(Slots): pass
class Greedy(list):
    def __getattr__(self, name): return 0
class Plain: pass
def f(a: int, *, k=1): return a
rows = [kind() for kind in (Beside, Greedy, Plain, ValueError) for _ in range(3)]
for row in rows: row.x = 1
rows[0].q = 2; lost = (i for i in 'a')
""")
        assert b"fill_adopting" not in process.whole()
        assert process.capture()[1] is False
        process.run("alias = [vars(rows[-1])]")
        assert b"fill_adopting" in process.whole()
        assert process.capture()[1] is False
