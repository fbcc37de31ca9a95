"""Every kind of value: captured in one process, restored in another, used there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.checkpoint_cases import cases
from tests.unit.checkpoint_process import Process


def carried(code: str, tmp_path: Path | None = None) -> tuple[Process, dict[str, list[object]]]:
    """Run code in one process, restore its namespace in a new one."""
    with Process(cwd=tmp_path) as first:
        first.run(code)
        payload = first.whole()
    second = Process(cwd=tmp_path)
    return second, second.restore(payload)


BACK = cases("""
## plain
a = 1; b = 'x' * 5000; c = [1, {2: (3,)}]; d = None
=> (a, len(b), c, d) == (1, 5000, [1, {2: (3,)}], None)
## shared
a = [1]; b = [a]; c = {'k': b}
=> b[0] is a and c['k'] is b
## cycle
a = []; a.append(a); d = {}; d['self'] = d; o = [d]
=> a[0] is a and d['self'] is d is o[0]
## function
x = 1
def f(a, b=[5], *, c=2): return a + b[0] + c + x
f.tag = 'k'
=> f(1) == 9 and f.tag == 'k'
## default shared
l = []
def f(v, into=l): into.append(v)
=> [f(3), l][1] == [3]
## annotations
class A: pass
def f(a: A) -> 'int': ...
=> f.__annotations__ == {'a': A, 'return': 'int'}
## struct
import struct; s = struct.Struct('<ih')
=> (s.format, s.size, s.pack(1, 2)) == ('<ih', 6, struct.pack('<ih', 1, 2))
## pairs
import itertools
new, begun, done = (itertools.pairwise(iter([1, 2, 3, 4])) for _ in range(3)); next(begun); list(done)
=> (list(new), list(begun), list(done)) == ([(1, 2), (2, 3), (3, 4)], [(2, 3), (3, 4)], [])
=> type(new) is itertools.pairwise
## CSV
import csv, io
out = io.StringIO(); w = csv.writer(out, delimiter=';'); w.writerow([1, 'a b']); d = csv.DictWriter(out, ['k'])
r = csv.reader(iter(['a|b', 'c|d']), delimiter='|'); first = next(r); dr = csv.DictReader(['x,y', '1,2'])
=> (w.writerow(['x', 2]), d.writerow({'k': 3}), out.getvalue()) == (5, 3, '1;a b\\r\\nx;2\\r\\n3\\r\\n')
=> (first, list(r), list(dr)) == (['a', 'b'], [['c', 'd']], [{'x': '1', 'y': '2'}])
## the namespace of an object
class A: pass
class B(A):
    def __getattr__(self, name): return 0
a, b = A(), B(); a.x = 1; b.y = 2; d, e, inside = vars(a), b.__dict__, [vars(a)]
def f(): pass
f.tag = 1; g = f.__dict__
z = A(); z.big = list(range(40)); early = vars(z)
=> [d is a.__dict__, e is b.__dict__, inside[0] is d, g is f.__dict__, early is z.__dict__] == 5 * [True]
=> [setattr(a, 'new', 5), d['new'], d.update(more=6), a.more] == [None, 5, None, 6]
## what the process has one of
import os, sys, collections, string, colorsys
from os import environ
path, modules, inside, names = sys.path, sys.modules, [sys.path, 1], vars(string)
layers = collections.ChainMap({}, os.environ); letters = [vars(string)]; colours = vars(colorsys)
=> [environ is os.environ, path is sys.path, modules is sys.modules, inside[0] is path] == 4 * [True]
=> [layers.maps[1] is environ, letters[0] is names is vars(string), colours is vars(colorsys)] == 3 * [True]
## methods that a module has one of
import random, calendar, numpy as np
from random import randint, random as draw
from calendar import monthcalendar
from numpy.random import rand
class R(random.Random): pass
own = R(3); mine = own.random; append = [].append; lower = 'A'.lower
=> [randint is random.randint, draw is random.random, monthcalendar is calendar.monthcalendar] == 3 * [True]
=> rand is np.random.rand and mine.__self__ is own
=> [random.seed(5), [draw(), random.seed(5)][0] == random.random(), lower()] == [None, True, 'a']
## views of a dict
from collections import OrderedDict, defaultdict
d = {'a': 1, 'b': 2}; keys, values, items = d.keys(), d.values(), d.items()
mine = [OrderedDict(x=1).items(), {3: 4}.values()]
class D(dict):
    def keys(self): return ['no']
sub = D(k=1); theirs = dict.keys(sub); o = OrderedDict(x=1); back = o.keys(); d['me'] = d.items()
=> [d.pop('a'), d.pop('me'), list(keys), list(values), list(items)] == [1, d.items(), ['b'], [2], [('b', 2)]]
=> [list(mine[0]), list(mine[1]), sub.update(j=2), list(theirs)] == [[('x', 1)], [4], None, ["k", "j"]]
=> [o.update(y=2), list(reversed(back)), type(back)] == [None, ['y', 'x'], type(OrderedDict().keys())]
## JSON decoder
import json; plain = json.JSONDecoder(); whole = json.JSONDecoder(parse_float=str, strict=False)
=> (plain.decode('[1, {"a": 1.5}]'), whole.decode('[1.5]')) == ([1, {'a': 1.5}], ['1.5'])
## keys by comparison
import functools
def longer(a, b): return len(a) - len(b)
key = functools.cmp_to_key(longer); one = key('ccc')
=> (sorted(['bb', 'a'], key=key), one > key('aa'), one.obj) == (['a', 'bb'], True, 'ccc')
## weak method
import weakref
class C:
    def m(self): return 5
c = C(); told = []; w = weakref.WeakMethod(c.m, told.append); dead = weakref.WeakMethod(C().m)
=> (w()(), dead()) == (5, None)
=> [globals().pop('c'), w() is None][1] is False
=> (__import__('gc').collect() >= 0, w() is None, len(told)) == (True, True, 1)
## system random
import random; r = random.SystemRandom()
=> type(r) is random.SystemRandom and 0 <= r.random() < 1
## numbers of numpy
import numpy as np; f = np.finfo('f4')
=> f.dtype == 'f4' and f.eps == np.finfo('f4').eps
## business days of numpy
import numpy as np
days = np.busdaycalendar([1, 1, 1, 1, 0, 0, 0], ['2026-12-25', '2026-12-24'])
=> days.weekmask.tolist() == [True] * 4 + [False] * 3 and days.holidays.astype(str).tolist() == ['2026-12-24']
=> np.busday_count('2026-12-21', '2026-12-28', busdaycal=days) == 3
## closure cell
def make():
    n = 0
    def up():
        nonlocal n
        n += 1
    return up, lambda: n
up, get = make()
=> [up(), up(), get()] == [None, None, 2]
## recursive inner
def make():
    def r(n): return n and n + r(n - 1)
    return r
r = make()
=> r(4) == 10
## lambda in dict
k = 3; table = {'f': lambda v: v * k}
=> table['f'](2) == 6
## generic function
def f[T](v: T) -> T: return v
=> f(1) == 1 and f.__type_params__[0].__name__ == 'T'
## decorated
import functools
def deco(f):
    @functools.wraps(f)
    def w(*a): return f(*a) + 1
    return w
@deco
def g(v): return v
=> g(1) == 2 and g.__wrapped__(1) == 1
## class
base = 10
class A:
    n = 0
    def who(self): return base
class B(A):
    __slots__ = ('v',)
    def __init__(self, v): self.v = v
    def who(self): return super().who() + self.v
b = B(1)
=> b.who() == 11 and isinstance(b, A) and type(b) is B and issubclass(B, A)
## nested class
class A:
    class In:
        v = 1
    def make(self): return self.In()
i = A().make()
=> type(i) is A.In
## property
class A:
    @property
    def p(self): return 5
    @classmethod
    def c(cls): return cls
    @staticmethod
    def s(): return 1
=> A().p == 5 and A.c() is A and A.s() == 1
## dataclass
from dataclasses import dataclass, field
@dataclass(order=True)
class D:
    a: int
    b: list = field(default_factory=list)
d = D(1)
=> d == D(1) and d < D(2) and D(1).b == []
## enum
import enum
class E(enum.Enum):
    A = 1
    B = 2
    def low(self): return self.name.lower()
v = [E.A]
=> v[0] is E.A is E(1)
## named tuple
from typing import NamedTuple
class P(NamedTuple):
    a: int = 1
p = P(2)
=> p == (2,) and P() == (1,) and type(p) is P
## abstract
import abc
class A(abc.ABC):
    @abc.abstractmethod
    def f(self): ...
class B(A):
    def f(self): return 1
b = B()
=> isinstance(b, A) and b.f() == 1
## circular classes
class A: pass
class B: pass
A.b = B; B.a = A
x = A()
=> A.b.a is A and type(x) is A
## class with its instances
class A:
    all = []
    def __init__(self): A.all.append(self)
a = A()
=> A.all[0] is a
## hash over globals
s = 7
class K:
    def __hash__(self): return hash(s)
    def __eq__(self, o): return True
d = {K(): 1}
=> d[K()] == 1
## method
class A:
    v = 2
    def f(self): return self.v
a = A(); m = a.f
=> m() == 2 and m.__self__ is a
## exception
class E(Exception): pass
e = E('x', 1)
=> e.args == ('x', 1) and type(e) is E
## module
import math, os.path as p, xml.dom.minidom
=> math.pi > 3 and p.join('a', 'b') == 'a/b' and xml.dom.minidom.parseString
## globals
g = globals(); import sys; me = sys.modules['__main__']
=> g is globals() and me.g is g
## type alias
type X = list[int]
=> X.__value__ == list[int]
## exec'd mapping
m = {}
exec('n = 1\\ndef f(): return n', m)
f = m['f']
=> [m.update(n=5), f()][1] == 5 and f.__globals__ is m
## generic class
class Box[T]:
    def get(self) -> T: ...
class Ints(Box[int]): pass
def deco[**P, *Ts](f): return f
i = Ints()
=> Box[int].__args__ == (int,) and isinstance(i, Box) and Ints.__orig_bases__ == (Box[int],)
=> Box.get.__annotations__['return'] is Box.__type_params__[0]
=> [p.__name__ for p in deco.__type_params__] == ['P', 'Ts']
## typed dict and protocol
from typing import NamedTuple, Protocol, TypedDict, runtime_checkable
class D(TypedDict, total=False):
    a: int
class E(D):
    b: str
@runtime_checkable
class Has(Protocol):
    def close(self) -> None: ...
class N[T](NamedTuple):
    v: T
d = E(a=1)
=> d == {'a': 1} and E.__optional_keys__ == {'a'} and E.__annotations__.keys() == {'a', 'b'}
=> isinstance(open('/dev/null'), Has) and not isinstance(1, Has) and N(3).v == 3
## type variables
from typing import TypeVar, AnyStr, Generic, NewType
T = TypeVar('T', bound=int); Id = NewType('Id', int); x = AnyStr
class A(Generic[T]): pass
=> A.__parameters__ == (T,) and T.__bound__ is int and Id(3) == 3 and x is AnyStr
## registering hooks
class Base:
    known = []
    def __init_subclass__(cls, **more): Base.known.append(cls)
class One(Base): pass
class Two(One): pass
class Meta(type):
    made = []
    def __new__(meta, name, bases, names):
        Meta.made.append(name)
        return super().__new__(meta, name, bases, names)
    def hello(cls): return cls.__name__
class Three(metaclass=Meta): pass
=> Base.known == [One, Two] and Meta.made == ['Three'] and Three.hello() == 'Three' and type(Three) is Meta
=> [type('Late', (Two,), {}), len(Base.known)][1] == 3
## named tuple of collections
import collections
P = collections.namedtuple('P', 'x y', defaults=[5]); p = P(1)
=> p.y == 5 and p._replace(x=2) == P(2)
## frozen and slotted dataclasses
from dataclasses import dataclass
@dataclass(frozen=True)
class F:
    a: int
@dataclass(slots=True)
class S:
    a: int
    b: int = 2
f = F(1); s = S(1); d = {f: s}
=> d[F(1)] == S(1, 2) and not hasattr(s, '__dict__')
## dataclass to inherit from
from dataclasses import dataclass
@dataclass
class A:
    a: int
=> dataclass(type('B', (A,), {'__annotations__': {'b': int}}))(1, 2).b == 2
## single dispatch
import functools
@functools.singledispatch
def f(v): return 'any'
@f.register
def _int(v: int): return 'int'
=> f('x') == 'any' and f(1) == 'int'
## pydantic model
import pydantic
class M(pydantic.BaseModel):
    a: int
    b: list[str] = []
    @pydantic.field_validator('a')
    @classmethod
    def positive(cls, v): return abs(v)
m = M(a=-1)
=> m == M(a=1) and M.model_validate_json('{"a": -3}').a == 3 and m.model_dump() == {'a': 1, 'b': []}
## exception chain
try:
    try: 1 / 0
    except ZeroDivisionError as inner: raise ValueError('outer') from inner
except ValueError as error: e = error
e.add_note('n')
=> type(e.__cause__) is ZeroDivisionError and e.__suppress_context__
=> e.__notes__ == ['n'] and e.__traceback__ is None
## bound to an abstract registry
import abc
class A(abc.ABC): pass
@A.register
class B: pass
=> issubclass(B, A)
## counter, deque, chain map
import collections
c = collections.Counter('aab'); d = collections.deque([1], maxlen=3); m = collections.ChainMap({}, {'k': 1})
dd = collections.defaultdict(lambda: []); dd['k'].append(1)
=> c['a'] == 2 and d.maxlen == 3 and m['k'] == 1 and dd['k'] == [1] and dd['new'] == []
## async function
import asyncio
k = 4
async def f():
    await asyncio.sleep(0)
    return k
def g(): yield k
=> asyncio.run(f()) == 4 and list(g()) == [4]
## lock
import threading
l = threading.Lock(); l.acquire(); r = threading.RLock()
=> l.acquire(False) and r.acquire(False)
## event
import threading
e = threading.Event(); e.set(); f = threading.Event()
=> e.is_set() and not f.is_set()
## condition
import threading
l = threading.RLock(); c = threading.Condition(l)
=> [l.acquire(), c.notify(), l.release()][1] is None and c._lock is l
## semaphore
import threading
s = threading.Semaphore(2); s.acquire()
=> s.acquire(False) and not s.acquire(False)
## queue
import queue
q = queue.Queue(); q.put([1]); q.put(2)
=> q.get() == [1] and q.get() == 2 and q.empty()
## asyncio queue
import asyncio
async def main():
    q = asyncio.Queue(1)
    await q.put(1)
    t = asyncio.create_task(q.put(2))
    await asyncio.sleep(0)
    t.cancel()
    return q
q = asyncio.run(main())
=> q.get_nowait() == 1 and asyncio.run(asyncio.wait_for(q.put(5), 1)) is None
## weakref
import weakref
class A: pass
a = A(); w = weakref.ref(a); dead = weakref.ref(A()); m = weakref.WeakKeyDictionary({a: 1})
=> w() is a and dead() is None and m[a] == 1
## lru_cache
from functools import lru_cache
k = 2
@lru_cache(maxsize=7)
def f(n): return n * k
f(1)
=> f(3) == 6 and f.cache_info()[1:3] == (1, 7)
## pattern
import re
p = re.compile('a(b+)', re.I); m = p.search('xABBc')
=> p.flags & re.I and m[1] == 'BB' and m.span() == (1, 4)
## context variable
import contextvars
v = contextvars.ContextVar('v', default=1); v.set(2)
=> v.get() == 2 and contextvars.Context().run(v.get) == 1
## memoryview
b = bytearray(b'abcd'); v = memoryview(b)
=> [v.__setitem__(0, 120), bytes(b)][1] == b'xbcd'
## thread local
import threading
t = threading.local(); t.a = 1
=> t.a == 1
## iterators
import itertools
c = itertools.count(3); next(c); i = iter([1, 2]); next(i); z = zip([1], [2])
=> next(c) == 4 and next(i) == 2 and next(z) == (1, 2)
## partial
from functools import partial
k = 3
def f(a, b): return a * b * k
p = partial(f, 2)
=> p(1) == 6 and p.func is f
## standard streams
import sys
s = sys.stdout; l = [sys.stderr]
=> s is sys.stdout and l[0] is sys.stderr
## numpy
import numpy as np
a = np.arange(6.0).reshape(2, 3)
v = a[:, 1]
r = a[::-1]
big = np.zeros(100_000)
f = np.asfortranarray(a)
t = np.array(['2020-01-01'], 'M8[D]')
o = np.array([{}, 1], object)
z = np.zeros((0, 3))
s = np.float32(2)
=> v.base is r.base is a.base is not None
=> [a.__setitem__((0, 1), 9.0), v[0], r[1, 1]][1:] == [9.0, 9.0]
=> big.base is None
=> big.flags.writeable
=> f.flags.f_contiguous
=> str(t[0]) == '2020-01-01'
=> o[0] == {}
=> z.shape == (0, 3)
=> s == 2
## numpy over bytearray
import numpy as np
b = bytearray(8); a = np.frombuffer(b, 'u1')
=> [a.__setitem__(0, 7), b[0]][1] == 7
## numpy read-only
import numpy as np
a = np.zeros(50_000); a.flags.writeable = False; m = np.rec.array([(1, 2)] * 9999)
=> not a.flags.writeable and m.flags.writeable
## warnings are none
import itertools
x = itertools.chain([1], [2])
=> list(x) == [1, 2]
""")


@pytest.mark.parametrize("kind", BACK)
def test_comes_back(kind: str) -> None:
    code, checks = BACK[kind]
    process, report = carried(code)
    with process:
        assert report["lost"] == []
        assert report["state"] == []
        for check in checks:
            assert process.value(f"bool({check})"), check


LOST = cases("""
## generator
v = (i for i in [1])
=> a generator cannot be saved: its frame is live state of this process
## coroutine
async def f(): ...
import warnings; warnings.simplefilter('ignore')
v = f()
=> a coroutine cannot be saved
## async generator
async def f(): yield
v = f()
=> an asynchronous generator cannot be saved
## socket
import socket
v = socket.socket()
=> a socket cannot be saved
## sqlite3
import sqlite3
v = sqlite3.connect(':memory:')
=> a database connection cannot be saved
## frame
import sys
v = sys._getframe()
=> a frame cannot be saved
## traceback
try: 1/0
except Exception as e: v = e.__traceback__
=> a traceback cannot be saved
## token
import contextvars
c = contextvars.ContextVar('c'); v = c.set(1)
=> a context variable's token cannot
## context
import contextvars
v = contextvars.copy_context()
=> a context cannot be saved
## event loop
import asyncio
v = asyncio.new_event_loop()
=> an event loop cannot be saved
## future
import asyncio
loop = asyncio.new_event_loop()
v = loop.create_future()
=> a future or task cannot
## pointer
import ctypes
v = ctypes.pointer(ctypes.c_int(1))
=> a pointer cannot be saved
## SimpleQueue
import queue
v = queue.SimpleQueue()
=> a SimpleQueue cannot be saved
## SSLContext
import ssl
v = ssl.create_default_context()
=> an SSL context cannot be saved
## mmap
import mmap
v = mmap.mmap(-1, 10)
=> a memory map cannot be saved
## executor
import concurrent.futures as f
v = f.ThreadPoolExecutor()
=> an executor cannot be saved
## process pool
import concurrent.futures as f
v = f.ProcessPoolExecutor()
=> an executor cannot be saved
## process
import subprocess
v = subprocess.Popen(['true']); v.wait()
=> a child process cannot be saved
## thread
import threading
v = threading.Thread(target=print)
=> a thread cannot be saved
## timer subclass
import threading
class T(threading.Timer): pass
v = T(1, print)
=> a thread cannot be saved
## part of a buffer
v = memoryview(b'abcd')[1:]
=> a view into part of a buffer cannot be saved
## raising hook
class A:
    def __reduce__(self): raise SystemExit(3)
v = A()
=> it cannot be pickled: SystemExit: 3
## deep
v = []
for _ in range(600_000): v = [v]
=> it is nested too deeply to be pickled
## iterator over a generator
v = zip((i for i in [1]), [2])
=> it cannot be restored: it is made of something that is lost: a generator cannot be saved
## method of a connection
import sqlite3
v = sqlite3.connect(':memory:').execute
=> it cannot be restored: it is made of something that is lost: a database connection cannot be saved
## class of an unsaveable kind
import threading
class T(threading.Thread): pass
v = T()
=> a thread cannot be saved
""")


@pytest.mark.parametrize("kind", LOST)
def test_is_lost_by_name_with_the_reason(kind: str) -> None:
    code, (reason,) = LOST[kind]
    with Process() as first:
        first.run(f"kept = [1, 2]\n{code}")
        payload, _changed, lost, _rebuilt = first.capture("s@7")
    assert lost["v"][1].startswith(reason)
    assert lost["v"][2] == "s@7"
    with Process() as second:
        report = second.restore(payload)
        assert second.value("kept") == [1, 2]
        assert second.value("'v' in globals()") is False
        assert ["v", *lost["v"]] in report["lost"]
        assert f"'v' was lost when the session was restored from a checkpoint (made by execution s@7): {reason}" in str(
            second.explain("v")
        )


def test_a_match_that_cannot_be_found_again_is_lost() -> None:
    with Process() as process:
        process.run("import re\nm = list(re.finditer('^|a', 'aa'))[1]\nn = list(re.finditer('(?=a)|a(?=b)', 'ab'))[1]")
        payload, _changed, lost, _rebuilt = process.capture()
    assert lost.keys() == {"n"}
    assert lost["n"][1] == "a match cannot be saved: searching again does not find the same"
    with Process() as second:
        second.restore(payload)
        assert second.value("m.span()") == (0, 1)


def test_functions_see_later_changes_of_globals() -> None:
    process, _report = carried("x = 1\ndef f(): return x\nclass A:\n def g(self): return x\na = A()\nfs = [lambda: x]")
    with process:
        process.run("x = 2")
        assert process.value("[f(), a.g(), fs[0]()]") == [2, 2, 2]
        assert process.value("f.__globals__ is A.g.__globals__ is fs[0].__globals__ is globals()") is True
        process.run("def h(): global x; x = 3\nh()")
        assert process.value("f()") == 3


def test_the_interpreters_state_comes_back(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    code = (
        "import random, os, sys, numpy\nrandom.seed(5); numpy.random.seed(6); random.random()\nos.chdir('sub')\n"
        "os.environ['MINE'] = 'yes'; del os.environ['PATH']; sys.path.append('/somewhere'); sys.setrecursionlimit(2345)"
    )
    with Process(cwd=tmp_path) as first:
        first.run(code)
        payload = first.whole()
        drawn = first.value("[random.random(), float(numpy.random.random())]")
    assert b"PYTHONPATH" not in payload
    with Process(cwd=tmp_path) as second:
        second.restore(payload)
        assert second.value("[random.random(), float(numpy.random.random())]") == drawn
        assert second.value("os.getcwd()") == str(tmp_path / "sub")
        assert second.value("(os.environ['MINE'], 'PATH' in os.environ)") == ("yes", False)
        assert second.value("('/somewhere' in sys.path, sys.getrecursionlimit())") == (True, 2345)


def test_the_source_of_cells_comes_back() -> None:
    code = """
import linecache
linecache.cache['<cell>'] = (3, None, ['def f():\\n', '    return 1\\n'], '<cell>')
def f():
    return 1
"""
    process, _report = carried(code)
    with process:
        process.run("import inspect")
        assert process.value("linecache.getline('<cell>', 2)") == "    return 1\n"


class TestFiles:
    def test_reading_goes_on_at_the_position(self, tmp_path: Path) -> None:
        (tmp_path / "in").write_text("one\ntwø\nthree\n")
        process, report = carried("f = open('in'); f.readline(); b = open('in', 'rb'); b.read(2)", tmp_path)
        with process:
            assert process.value("(f.readline(), b.read(2))") == ("twø\n", b"e\n")
            assert ["f", "a file is opened again at its position"] in report["rebuilt"]

    def test_writing_goes_on_and_nothing_is_truncated(self, tmp_path: Path) -> None:
        code = """
f = open('out', 'w'); f.write('one\\n')
a = open('log', 'a'); a.write('1')
p = open('both', 'w+b'); p.write(b'xy')
"""
        with Process(cwd=tmp_path) as first:
            first.run(code)
            payload = first.whole()
            first.run("f.write('later'); f.flush()")
        with Process(cwd=tmp_path) as second:
            second.restore(payload)
            assert (tmp_path / "out").read_text() == "one\nlater"
            second.run("f.write('TWO'); f.flush(); a.write('2'); a.flush(); p.seek(0)")
            assert second.value("(f.mode, f.name, p.read())") == ("w", "out", b"xy")
        assert (tmp_path / "out").read_text() == "one\nTWOer"
        assert (tmp_path / "log").read_text() == "12"

    def test_what_cannot_be_opened_again_is_lost(self, tmp_path: Path) -> None:
        with Process(cwd=tmp_path) as first:
            first.run(
                "f = open('gone', 'w'); s = open('short', 'w'); s.write('abc')\n"
                "closed = open('gone'); closed.close(); k = 1"
            )
            payload = first.whole()
        (tmp_path / "gone").unlink()
        (tmp_path / "short").write_text("")
        with Process(cwd=tmp_path) as second:
            report = second.restore(payload)
            reasons = {name: reason for name, _kind, reason, _execution in report["lost"]}
            assert "FileNotFoundError" in reasons["f"]
            assert "shorter" in reasons["s"]
            assert second.value("(k, closed.closed)") == (1, True)
        assert not (tmp_path / "gone").exists()

    def test_pipes_and_descriptors_are_lost(self) -> None:
        with Process() as process:
            process.run("import os\nr, w = os.pipe(); f = open(r); t = __import__('tempfile').TemporaryFile()")
            lost = process.capture()[2]
        assert lost["f"][1] == "a file opened by its descriptor cannot be saved: the descriptor belongs to this process"
        assert "t" in lost
