# ruff: noqa: E501  # one line for each value, and for each thing that has to hold
"""Kinds of values that were lost or changed once: code that makes them, and what has to hold when they are back.

Each kind is run over the ways in which a namespace comes back (tests/unit/test_checkpoint_values.py in two processes,
tests/e2e/test_checkpoint_values.py in real sessions).
"""

from __future__ import annotations

from tests.unit.checkpoint_cases import cases

KINDS = cases(
    r"""
## enums
import enum, dataclasses
class Planet(enum.Enum):
    EARTH = (5.97e24, 6.37e6)
    MARS = (1, 2)
    def __init__(self, mass, radius): self.mass = mass
    @property
    def double(self): return self.mass * 2
class Shape(enum.Enum): SQUARE = 2; ALIAS = 2
class Perm(enum.Flag):
    R = 4; W = 2; X = 1; RW = 6
class Odd(enum.IntFlag, boundary=enum.KEEP):
    A = 3; B = 8
@dataclasses.dataclass
class Size:
    w: int
    h: int
class Sized(Size, enum.Enum):
    S = 1, 2
    L = 3, 4
class Named(enum.Enum):
    def _generate_next_value_(name, start, count, last): return name.lower()
class Auto(Named):
    ONE = enum.auto()
class T(str, enum.Enum):
    A = 'a'
class SE(enum.StrEnum):
    A = 'a'; B = enum.auto()
class I(int, enum.Enum):
    def __new__(cls, value, label):
        obj = int.__new__(cls, value); obj._value_ = value; obj.label = label; return obj
    ONE = (1, 'eins')
class Un(enum.Enum):
    L = [1]
    @classmethod
    def _missing_(cls, v): return cls.L
class Nan(enum.Enum):
    N = float('nan');
c = Perm.R | Perm.X; l = [Planet.EARTH, Sized.L, Odd.A | Odd.B, I.ONE, Un.L, Nan.N]
import http, signal, re
lib = [http.HTTPStatus.OK, signal.SIGINT, re.I | re.M]
class Hold:
    class E(enum.Enum): A = 1
h = [Hold.E.A]
=> Planet.EARTH.mass == 5.97e24 and Planet.EARTH.double
=> 'ALIAS' in Shape.__members__ and Shape.ALIAS is Shape.SQUARE
=> c is Perm.R | Perm.X and Perm.RW is Perm.R | Perm.W and repr(c)=="<Perm.R|X: 5>"
=> l[0] is Planet.EARTH and l[1] is Sized.L and l[1].w == 3 and l[3] is I.ONE and I.ONE.label == 'eins' and I(1) is I.ONE and l[4] is Un.L and Un([1]) is Un.L and Un(5) is Un.L and l[5] is Nan.N
=> int(l[2]) == 11 and l[2] is Odd.A | Odd.B
=> Auto.ONE.value == 'one' and enum.Enum('X','Q').Q.value == 1 and Named('Z',['QQ']).QQ.value == 'qq'
=> T('a') is T.A and T.A == 'a' and SE.B == 'b' and f'{SE.A}' == 'a'
=> lib[0] is http.HTTPStatus.OK and lib[2] == re.I|re.M
=> h[0] is Hold.E.A
=> [*Planet] == [Planet.EARTH, Planet.MARS] and len(Perm) == 3
=> Planet((1,2)) is Planet.MARS
=> Sized(Size(3,4)) is Sized.L
## classes
class A:
    v = 1; s = 'x'; f = None
class B(A):
    v = 1; s = 'x'; f = None
import abc, typing, ctypes
class R(abc.ABC):
    @abc.abstractmethod
    def f(self): ...
class M(type):
    def __setattr__(cls, n, v): raise AttributeError('no')
class C(metaclass=M):
    x = 1
class P(ctypes.Structure):
    _fields_ = [('a', ctypes.c_int), ('b', ctypes.c_double)]
p = P(1, 2.5); arr = (ctypes.c_int * 3)(1,2,3)
class S:
    __slots__ = ('a', '__b', '__weakref__')
    def __init__(self): self.a = 1; self.__b = 2
    def get(self): return self.__b
s = S()
class Init:
    def __init_subclass__(cls, *, tag, **k): cls.tag = tag
class Sub(Init, tag='t'): pass
import string
class Tm(string.Template):
    delimiter = '%'
tm = Tm('a %x')
=> 'v' in vars(B) and 's' in vars(B) and 'f' in vars(B)
=> R.__abstractmethods__ == {'f'}
=> C.x == 1
=> p.a == 1 and p.b == 2.5 and P(3, 4).a == 3 and list(arr) == [1,2,3] and type(arr) is ctypes.c_int*3
=> s.get() == 2 and not hasattr(s,'__dict__')
=> Sub.tag == 't'
=> tm.substitute(x=3) == 'a 3'
## instances that answer for other names
class Client:
    def __init__(self): self.url = 'u'
    def __getattr__(self, name): return lambda *a: name
c = Client()
class Proxy:
    def __init__(self, o): object.__setattr__(self, '_o', o)
    def __getattribute__(self, n): return getattr(object.__getattribute__(self, '_o'), n)
    def __setattr__(self, n, v): setattr(object.__getattribute__(self, '_o'), n, v)
p = Proxy([1,2])
class Rec:
    def __getattr__(self, n): return self.data[n]
    def __init__(self): self.data = {'a': 1}
r = Rec()
from unittest import mock
m = mock.MagicMock(return_value=3); m.foo.bar = 5; m(1)
sp = mock.Mock(spec=dict)
calls = m.mock_calls
class Frozen:
    __slots__ = ('a',)
    def __init__(self, a): object.__setattr__(self, 'a', a)
    def __setattr__(self, n, v): raise AttributeError('frozen')
fr = Frozen(3)
class Single:
    _i = None
    def __new__(cls, must):
        if cls._i is None: cls._i = super().__new__(cls)
        return cls._i
si = Single(1)
class Obey:
    def __getattr__(self, n): return 5
    def __getstate__(self): return {'k': 1}
    def __setstate__(self, s): self.__dict__.update(s, set=True)
ob = Obey()
=> vars(c) == {'url': 'u'} and c.foo(1) == 'foo'
=> object.__getattribute__(p,'_o') == [1,2]
=> vars(r) == {'data': {'a': 1}}
=> m(4) == 3 and m.foo.bar == 5 and m.mock_calls[0] == mock.call(1)
=> isinstance(sp, dict)
=> calls == [mock.call(1)] or calls
=> fr.a == 3
=> si is Single._i and Single(2) is si
=> vars(ob) in ({}, {'k': 1, 'set': True})
## circles through hashes
class Node:
    def __init__(self, name): self.name, self.peers = name, set()
    def __hash__(self): return hash(self.name)
    def __eq__(self, other): return self.name == other.name
a, b = Node("a"), Node("b"); a.peers.add(b); b.peers.add(a)
class M:
    name = ''
    def __init__(self, n): self.map = {}; self.name = n
    def __hash__(self): return hash(self.name)
    def __eq__(self, o): return self.name == o.name
m = M('m'); m.map[m] = 1; m.map[(m, 1)] = 2; m.map['z'] = 0
class D(dict):
    pass
n = M('n'); n.map = D({n: 3}); n.map.tag = 1
import collections, dataclasses
o = M('o'); o.map = collections.OrderedDict([(o, 1), ('q', 2)]); p = M('p'); p.map = collections.defaultdict(list, {p: 1})
class Keep:
    def __init__(self, k): self.k = k
    def __getstate__(self): return {'k': self.k}
    def __setstate__(self, s): self.k = dict(s['k'])
q = M('q'); q.map = {q: 1}; q.keep = Keep({M('z'): 1})
@dataclasses.dataclass(frozen=True)
class F:
    a: int
fs = [F(i) for i in range(5)]; by = {f: f.a for f in fs}
=> b in a.peers and a in b.peers and [*a.peers][0] is b
=> m.map[m] == 1 and m.map[(m,1)] == 2 and list(m.map) == [m, (m,1), 'z']
=> n.map[n] == 3 and n.map.tag == 1 and type(n.map) is D
=> o.map[o] == 1 and list(o.map) == [o, 'q'] and p.map[p] == 1
=> q.map[q] == 1 and q.keep.k[M('z')] == 1
=> by[fs[3]] == 3 and [*by][2] is fs[2]
## depth
class L:
    __slots__ = ('next', 'v')
    def __init__(self, n, v): self.next, self.v = n, v
class O: pass
def f(): return 5
import functools
def wrap(g):
    @functools.wraps(g)
    def inner(): return g()
    return inner
head = oo = e = cons = None; w = part = f; nested, dd = [], {}
for i in range(12_000):
    head = L(head, i); nested = [nested]; cons = (i, cons); dd = {'n': dd}
    o = O(); o.n = oo; oo = o
for i in range(2_000): w = wrap(w)
for i in range(5_000):
    x = ValueError(i); x.__cause__ = e; e = x; part = functools.partial(part)
del x
def count(v, step):
    n = 0
    while v: v = step(v); n += 1
    return n
=> count(head, lambda x: x.next) == 12_000
=> count(w, lambda x: getattr(x,'__wrapped__',None)) == 2_001
=> count(e, lambda x: x.__cause__) == 5_000 and e.args == (4_999,)
=> count(nested, lambda x: x and x[0]) == 12_000
=> count(cons, lambda x: x[1]) == 12_000
=> count(dd, lambda x: x.get('n')) == 12_000
=> count(oo, lambda x: x.n) == 12_000
=> part() == 5
## exceptions
class ToolError(Exception):
    def __init__(self, tool, code): super().__init__(f"{tool}: {code}"); self.code = code
results = ["ok"] * 3 + [ToolError("grep", 2)]
class KW(ValueError):
    def __init__(self, *, field): self.field = field; super().__init__()
k = KW(field=3)
o = OSError(2, 'No', 'file');
class MyOS(OSError):
    def __init__(self, path): super().__init__(5, 'bad', path); self.path = path
mo = MyOS('p')
try: {}['x']
except KeyError as e: ke = e
try: b'\xff'.decode()
except UnicodeDecodeError as e: ue = e
try: compile('a b', 'f', 'exec')
except SyntaxError as e: se = e
try: (1).foo
except AttributeError as e: ae = e
try: import nosuch
except ImportError as e: ie = e
try: undefined
except NameError as e: ne = e
g = ExceptionGroup('g', [ValueError(1), ToolError('a', 1)])
class MyG(ExceptionGroup):
    def __new__(cls, errors, extra): s = super().__new__(cls, 'mine', errors); s.extra = extra; return s
mg = MyG([ValueError(1)], 4)
st = StopIteration(5); sx = SystemExit(3)
import subprocess, json, sqlite3, zlib, requests
cp = subprocess.CalledProcessError(3, ['a'], 'out')
try: json.loads('{')
except json.JSONDecodeError as e: je = e
sq = sqlite3.OperationalError('x'); zl = zlib.error('z')
class Slotted(Exception):
    __slots__ = ('extra',)
    def __init__(self, e): self.extra = e
sl = Slotted(7)
rq = requests.HTTPError('x', response=None)
class Custom(Exception):
    def __init__(self, a, b): super().__init__(a); self.b = b
    def __reduce__(self): return (Custom, (self.args[0], self.b))
cu = Custom(1, 2)
try:
    try: raise ToolError('x', 1)
    except ToolError as q: raise KW(field=1) from q
except KW as q: chain = q
import urllib.error
he = urllib.error.HTTPError('u', 404, 'nf', {}, None)
import asyncio
ir = asyncio.IncompleteReadError(b'ab', 5); lo = asyncio.LimitOverrunError('m', 3)
=> results[3].code == 2 and str(results[3]) == 'grep: 2' and type(results[3]) is ToolError
=> k.field == 3 and k.args == ()
=> o.filename == 'file' and o.errno == 2 and type(o) is FileNotFoundError and str(o) == "[Errno 2] No: 'file'"
=> mo.path == 'p' and mo.filename == 'p' and mo.errno == 5
=> ke.args == ('x',)
=> ue.start == 0 and ue.object == b'\xff' and 'invalid' in str(ue)
=> se.lineno == 1 and se.filename == 'f' and se.text
=> ae.name == 'foo' and ae.obj == 1
=> ie.name == 'nosuch'
=> ne.name == 'undefined'
=> len(g.exceptions) == 2 and g.exceptions[1].code == 1 and g.split(ValueError)[0]
=> mg.extra == 4 and mg.message == 'mine'
=> st.value == 5 and sx.code == 3
=> cp.returncode == 3 and cp.output == 'out' and str(cp)
=> je.pos == 1 and je.doc == '{' and str(je)
=> str(sq) == 'x' and str(zl) == 'z'
=> sl.extra == 7
=> rq.args == ('x',) and rq.response is None
=> cu.b == 2
=> type(chain.__cause__) is ToolError and chain.__cause__.code == 1 and chain.__context__ is chain.__cause__
=> he.code == 404 and str(he)
=> ir.expected == 5 and ir.partial == b'ab' and lo.consumed == 3
## subclasses of builtins
import datetime, decimal, collections
class T(tuple):
    def __new__(cls, *args): return super().__new__(cls, args)
t = T(1, 2); t.extra = 5
class D(datetime.datetime): pass
d = D(2020, 1, 1, tzinfo=datetime.timezone.utc); d.note = 'n'
class Metres(int):
    def __new__(cls, v, unit): s = super().__new__(cls, v); s.unit = unit; return s
m = Metres(5, 'm')
class F(float):
    def __new__(cls, v, *, unit): s = super().__new__(cls, v); s.unit = unit; return s
f = F(2.5, unit='k')
class Str(str):
    def __new__(cls, a, b): s = super().__new__(cls, a + b); s.b = b; return s
s = Str('a', 'b')
class OD(collections.OrderedDict):
    def __init__(self, name, *a): super().__init__(*a); self.name = name
od = OD('n', [(1, 2), (0, 3)])
class DQ(collections.deque):
    def __init__(self, name, n): super().__init__(maxlen=n); self.name = name
dq = DQ('q', 2); dq.extend([1,2,3])
class DD(collections.defaultdict):
    def __init__(self, n): super().__init__(list); self.n = n
dd = DD(4); dd['k'].append(1)
class C(collections.Counter):
    pass
c = C('aab'); c.tag = 1
pc = collections.Counter('ab'); pc.tag = 2
class LRU(dict):
    def __init__(self, size): super().__init__(); self.order = []; self.size = size
    def __setitem__(self, k, v): self.order.append(k); super().__setitem__(k, v)
l = LRU(3); l['a'] = 1; l['b'] = 2
class L(list):
    def append(self, v): self.log.append(v); super().append(v)
    def __init__(self): self.log = []
ll = L(); ll.append(4)
class S(set):
    def __init__(self, name): super().__init__(); self.name = name
ss = S('s'); ss.add(1)
class FS(frozenset):
    def __new__(cls, a, b): return super().__new__(cls, [a, b])
fs = FS(1, 2); fs.k = 1
class De(decimal.Decimal): pass
de = De('1.5'); de.k = 2
class TD(datetime.timedelta): pass
td = TD(days=1, seconds=3); td.k = 1
class TZ(datetime.tzinfo):
    def __init__(self, h): self.h = h
    def utcoffset(self, d): return datetime.timedelta(hours=self.h)
    def dst(self, d): return None
    def tzname(self, d): return 'X'
tz = TZ(3); wi = datetime.datetime(2020,1,1,tzinfo=tz)
class BA(bytearray):
    def __init__(self, name): super().__init__(b'xyz'); self.name = name
ba = BA('n')
from typing import NamedTuple
class NT(NamedTuple):
    a: int
    b: int = 2
nt = NT(1)
class NTS(NT):
    def __new__(cls, total): return super().__new__(cls, total, total)
ns = NTS(4); ns.z = 1
cyc = L(); cyc.append(cyc)
import array
class Ar(array.array):
    def __new__(cls, name): s = super().__new__(cls, 'i', [1,2]); s.name = name; return s
ar = Ar('q')
class UD(collections.UserDict):
    def __init__(self, name): super().__init__(); self.name = name
ud = UD('x'); ud['a'] = 1
import enum, pathlib, fractions, uuid, random
rn = random.Random(5); drawn = random.Random(5).random()
class PP(pathlib.PurePosixPath): pass
pp = PP('a/b')
=> t == (1,2) and t.extra == 5
=> d.note == 'n' and d.year == 2020 and d.tzinfo is not None and type(d) is D
=> m == 5 and m.unit == 'm' and type(m) is Metres
=> f.unit == 'k' and f == 2.5
=> s == 'ab' and s.b == 'b'
=> list(od.items()) == [(1,2),(0,3)] and od.name == 'n' and type(od) is OD
=> list(dq) == [2,3] and dq.maxlen == 2 and dq.name == 'q'
=> dd == {'k': [1]} and dd.n == 4 and dd['z'] == []
=> c == {'a':2,'b':1} and c.tag == 1 and pc.tag == 2
=> l == {'a':1,'b':2} and l.order == ['a','b'] and l.size == 3
=> ll == [4] and ll.log == [4]
=> ss == {1} and ss.name == 's'
=> fs == {1,2} and fs.k == 1 and type(fs) is FS
=> de == decimal.Decimal('1.5') and de.k == 2
=> td.days == 1 and td.k == 1 and type(td) is TD
=> wi.utcoffset() == datetime.timedelta(hours=3) and wi.tzinfo is tz
=> ba == b'xyz' and ba.name == 'n'
=> nt == (1,2) and type(nt) is NT and ns == (4,4) and ns.z == 1 and type(ns) is NTS
=> cyc[0] is cyc and cyc.log[0] is cyc
=> list(ar) == [1,2] and ar.name == 'q'
=> ud['a'] == 1 and ud.name == 'x'
=> rn.random() == drawn
=> str(pp) == 'a/b' and type(pp) is PP
## frames and series that share memory
import pandas as pd, numpy as np
df = pd.DataFrame({"x": [1, 2, 3]}); history = [df]; df = df.assign(y=df.x * 2)
h = df; r = df.rename(columns={'x': 'q'}); ri = df.reset_index(drop=True); col = df['x']; dc = df.copy(deep=False)
idx = pd.Index(df['y'])
s = pd.Series(range(4)); s2 = s[:2]; s3 = s.astype('int64')
st = pd.DataFrame({'t': ['a', 'b'], 'd': pd.to_datetime(['2020-01-01','2020-01-02']), 'c': pd.Categorical(['u','v'])}); st2 = st.copy(deep=False)
=> [df.loc.__setitem__((df.x > 1, 'x'), 0), list(history[0].x)][1] == [1,2,3]
=> list(h.x) == [1,0,0] and h is df
=> list(r.q) == [1,2,3] and list(ri.x) == [1,2,3] and list(col) == [1,2,3] and list(dc.x) == [1,2,3]
=> [df.__setitem__('y', 5), df.loc.__setitem__((0,'y'), 9), list(idx)][2] == [2,4,6]
=> [s.__setitem__(0, 9), list(s2), list(s3), list(s)][1:] == [[0,1],[0,1,2,3],[9,1,2,3]]
=> [st.loc.__setitem__((0,'t'),'z'), list(st2.t)][1] == ['a','b'] and list(st.t) == ['z','b']
=> st2.c.dtype == 'category' and st2.d[1].day == 2
=> [r.loc.__setitem__((0,'q'), 77), list(history[0].x)][1] == [1,2,3]
## subclasses of arrays
import numpy as np, warnings; warnings.simplefilter("ignore")
x = np.arange(4.).reshape(2,2); m = np.asmatrix(x); m2 = m[0]
own = np.matrix([[1,2],[3,4]]); ov = own[0]
a = np.arange(3.); ma = np.ma.array(a, copy=False); mb = np.ma.array([1,2,3], mask=[0,1,0])
rec = np.rec.array([(1, 2.)], dtype=[('a', int), ('b', float)]); rv = rec.view(); rf = rec.a
class Info(np.ndarray):
    def __new__(cls, arr, info): o = np.asarray(arr).view(cls); o.info = info; return o
    def __array_finalize__(self, obj): self.info = getattr(obj, 'info', None)
inf = Info([1,2,3], 'hi'); base = np.zeros(3); ib = base.view(Info); ib.info = 'b'; obj = Info(np.array([{}, 1], object), 'o')
import tempfile, os
p = os.path.join(tempfile.mkdtemp(), 'f'); mm = np.memmap(p, 'f8', 'w+', shape=(4,)); mm[:] = 1; ms = mm[1:3]; mp = np.asarray(mm)[2:]
masked = np.ma.masked
=> [x.__setitem__((0,0), 9), m[0,0], m2[0,0]][1:] == [9,9] and type(m) is np.matrix
=> [own.__setitem__((0,0), 7), ov[0,0]][1] == 7 and type(ov) is np.matrix
=> ma.mask is np.ma.nomask and [a.__setitem__(0, 5), ma[0]][1] == 5
=> mb.mask.tolist() == [False, True, False] and mb.sum() == 4
=> [rec.a.__setitem__(0, 8), rv.a[0], rf[0], rec[0].a][1:] == [8,8,8]
=> inf.info == 'hi' and inf[1:].info == 'hi' and ib.info == 'b' and [base.__setitem__(0, 3), ib[0]][1] == 3 and obj.info == 'o' and obj[0] == {}
=> [mm.__setitem__(1, 5), ms[0]][1] == 5 and type(ms) is np.memmap and [mm.__setitem__(2, 6), mp[0]][1] == 6
=> masked is np.ma.masked
## constants compared by identity
import argparse, types, socket, abc as realabc
p = argparse.ArgumentParser(); p.add_argument('--a')
sup = argparse.SUPPRESS; box = [argparse.SUPPRESS]
MISSING = "<missing>"; NAMED = "NAMED"; OBJ = object()
def f(x=MISSING, y=NAMED, z=OBJ, *, k=MISSING): return x is MISSING and y is NAMED and z is OBJ and k is MISSING
class C:
    m = MISSING; n = NAMED; o = OBJ
t = socket._GLOBAL_DEFAULT_TIMEOUT; lt = [socket._GLOBAL_DEFAULT_TIMEOUT]
fake = types.ModuleType("abc"); fake.x = 1; fakes = [fake]
import dataclasses, inspect, typing
consts = [dataclasses.MISSING, inspect.Parameter.empty, NotImplemented, ..., dataclasses.KW_ONLY, typing.Any]
import attrs, pydantic_core, polars, pandas, numpy
more = [attrs.NOTHING, pydantic_core.PydanticUndefined, pandas.NA, numpy._NoValue, pandas.NaT]
=> p.parse_args([]) == argparse.Namespace(a=None)
=> sup is argparse.SUPPRESS and box[0] is argparse.SUPPRESS
=> f()
=> C.m is MISSING and C.n is NAMED and C.o is OBJ
=> t is socket._GLOBAL_DEFAULT_TIMEOUT and lt[0] is t
=> fake.x == 1 and fakes[0] is fake and fake is not realabc
=> consts[0] is dataclasses.MISSING and consts[1] is inspect.Parameter.empty and consts[4] is dataclasses.KW_ONLY and consts[5] is typing.Any
=> more[0] is attrs.NOTHING and more[1] is pydantic_core.PydanticUndefined and more[2] is pandas.NA and more[3] is numpy._NoValue and more[4] is pandas.NaT
## generics, files and subclasses
import pydantic, typing, os, tempfile, pathlib
T = typing.TypeVar('T')
class G(pydantic.BaseModel, typing.Generic[T]):
    v: T
g = G[int](v=1); GI = G[str]
d = tempfile.mkdtemp(); os.chdir(d); fl = open('rel', 'w'); fp = open(pathlib.Path('rel'));
class A: pass
class B(A): pass
@__import__('dataclasses').dataclass(slots=True)
class S(A):
    a: int
b = B()
=> type(g) is G[int] and g.v == 1 and GI is G[str]
=> fl.name == 'rel' and str(fp.name) == 'rel'
=> A.__subclasses__()[0] is B and A.__subclasses__()[-1] is S
=> len([c for c in Exception.__subclasses__() if c.__module__ == '__main__']) == 0
"""
)
