# ruff: noqa: E501  # one line for some values of one kind
"""The values of the corpus (tests/e2e/value_corpus.py), as expressions, by group."""

from __future__ import annotations

import builtins
from dataclasses import dataclass


@dataclass(frozen=True)
class Group:
    """Values that are made in one process, after a prelude; `package` has to be installed."""

    name: str
    prelude: str
    expressions: tuple[str, ...]
    package: str = ""


def group(name: str, prelude: str, text: str, package: str = "") -> Group:
    return Group(
        name,
        f"import warnings; warnings.simplefilter('ignore')\n{prelude}",
        tuple(line for line in text.strip().split("\n") if line),
        package,
    )


def _exceptions() -> tuple[str, ...]:
    special = {
        "UnicodeDecodeError": "('utf-8', b'abc', 1, 2, 'why')", "UnicodeEncodeError": "('utf-8', 'abc', 1, 2, 'why')",
        "UnicodeTranslateError": "('abc', 1, 2, 'why')", "BaseExceptionGroup": "('g', [ValueError(1)])",
        "ExceptionGroup": "('g', [ValueError(1), KeyError('k')])", "SyntaxError": "('no', ('f', 1, 2, 'text', 1, 3))",
        "ImportError": "('no', name='n', path='p')", "AttributeError": "('no', name='n', obj=[1])",
        "NameError": "('no', name='n')", "OSError": "(2, 'no', 'file', None, 'other')",
        "IndentationError": "('no', ('f', 1, 2, 'text', 1, 3))", "TabError": "('no', ('f', 1, 2, 'text', 1, 3))",
    }  # fmt: skip
    found = []
    for name, value in sorted(vars(builtins).items()):
        if (
            isinstance(value, type)
            and issubclass(value, BaseException)
            and value.__name__ == name
            and not name.startswith("_")
        ):
            found.append(name + special.get(name, "('text', 2)"))
    return tuple(found)


GROUPS = (
    group(
        "plain",
        "",
        """
None
True
10**40
-(2**31)
1.5e300
float('inf')
-0.0
3+4j
'text'
'ü\\ud800'
b'bytes'
bytearray(b'abc')
...
NotImplemented
[1, [2, [3]]]
(1, (2,))
{'a': {'b': 1}}
{1, 2}
frozenset({1, (2, 3)})
range(1, 10, 2)
slice(1, None, 2)
memoryview(b'abc')
int
type(None)
len
[].append
'a'.join
dict.fromkeys
str.upper
object()
property(lambda self: 1)
staticmethod(len)
classmethod(len)
super
type
zip([1, 2], 'ab')
map(str, [1, 2])
filter(None, [0, 1])
enumerate('ab', 5)
reversed([1, 2])
iter((1, 2))
iter({'a': 1})
iter({1, 2})
iter('abc')
iter(range(3))
iter(bytearray(b'ab'))
{'a': 1}.keys()
{'a': 1}.values()
{'a': 1}.items()
(i for i in [1])
lambda a, b=[1], *, c={2}: a
""",
    ),
    Group("exceptions", "", _exceptions()),
    group(
        "errors",
        "import asyncio, binascii, concurrent.futures, configparser, csv, ctypes, decimal, email.errors, ftplib, getopt, http.client, imaplib, json, locale, lzma, multiprocessing, optparse, os, pickle, queue, re, shutil, smtplib, socket, sqlite3, ssl, statistics, struct, subprocess, tarfile, tokenize, traceback, urllib.error, xml.etree.ElementTree as ET, xml.sax, zipfile, zlib, zoneinfo, argparse, ast, contextvars, copy, dataclasses, enum, graphlib, inspect, ipaddress, uuid, warnings, io",
        """
json.JSONDecodeError('no', '{', 1)
re.error('no', 'pat', 1)
subprocess.CalledProcessError(2, ['a'], b'out', b'err')
subprocess.TimeoutExpired('a', 3.0)
asyncio.CancelledError('x')
asyncio.TimeoutError()
asyncio.IncompleteReadError(b'ab', 5)
asyncio.LimitOverrunError('no', 3)
asyncio.QueueEmpty()
binascii.Error('x')
concurrent.futures.BrokenExecutor('x')
concurrent.futures.InvalidStateError('x')
configparser.NoSectionError('s')
configparser.NoOptionError('o', 's')
configparser.DuplicateSectionError('s', 'f', 3)
configparser.DuplicateOptionError('s', 'o', 'f', 3)
configparser.MissingSectionHeaderError('f', 1, 'line')
configparser.ParsingError('f')
configparser.InterpolationDepthError('o', 's', 'r')
configparser.InterpolationMissingOptionError('o', 's', 'r', 'ref')
csv.Error('x')
ctypes.ArgumentError('x')
decimal.InvalidOperation('x')
decimal.DivisionByZero('x')
email.errors.MessageError('x')
ftplib.error_perm('550')
getopt.GetoptError('m', 'o')
graphlib.CycleError('m', [1, 2, 1])
http.client.IncompleteRead(b'ab', 4)
http.client.BadStatusLine('x')
http.client.RemoteDisconnected('x')
imaplib.IMAP4.error('x')
inspect.EndOfBlock()
ipaddress.AddressValueError('x')
locale.Error('x')
lzma.LZMAError('x')
multiprocessing.TimeoutError('x')
multiprocessing.ProcessError('x')
optparse.OptionError('m', 'o')
optparse.BadOptionError('--x')
pickle.PicklingError('x')
queue.Empty()
shutil.SameFileError('x')
shutil.Error([('a', 'b', 'c')])
smtplib.SMTPResponseException(550, b'no')
smtplib.SMTPRecipientsRefused({'a': (1, b'x')})
socket.gaierror(-2, 'no')
socket.timeout('x')
sqlite3.IntegrityError('x')
ssl.SSLError(1, 'no')
ssl.SSLCertVerificationError(1, 'no')
statistics.StatisticsError('x')
struct.error('x')
tarfile.ReadError('x')
tarfile.FilterError
tokenize.TokenError('x', (1, 2))
urllib.error.URLError('r')
urllib.error.HTTPError('u', 404, 'no', {}, None)
urllib.error.ContentTooShortError('m', b'c')
ET.ParseError('x')
xml.sax.SAXParseException('m', None, xml.sax.xmlreader.Locator())
zipfile.BadZipFile('x')
zlib.error('x')
zoneinfo.ZoneInfoNotFoundError('x')
argparse.ArgumentError(None, 'm')
argparse.ArgumentTypeError('m')
copy.Error('x')
dataclasses.FrozenInstanceError('x')
io.UnsupportedOperation('x')
warnings.WarningMessage('m', UserWarning, 'f', 1)
""",
    ),
    group(
        "enums",
        """
import enum, http, inspect, plistlib, pstats, py_compile, re, signal, socket, ssl, uuid, dataclasses
class Colour(enum.Enum):
    RED = 1
    GREEN = 'g'
    ALSO = 1
class Planet(enum.Enum):
    EARTH = (5.97e24, 6.37e6)
    def __init__(self, mass, radius): self.mass, self.radius = mass, radius
    @property
    def gravity(self): return 6.67e-11 * self.mass / self.radius ** 2
class Perm(enum.Flag):
    R = 4
    W = 2
    X = 1
    RWX = 7
class Weird(enum.IntFlag, boundary=enum.KEEP):
    A = 3
    B = 8
class Ordered(enum.Enum):
    A = 1
    B = 2
    def __lt__(self, other): return self.value < other.value
class Auto(enum.StrEnum):
    ONE = enum.auto()
class Unique(enum.IntEnum):
    A = 1
Functional = enum.Enum('Functional', 'ANT BEE', module=__name__)
@dataclasses.dataclass
class Point:
    x: int
    y: int
class Points(Point, enum.Enum):
    ORIGIN = 0, 0
class Labelled(int, enum.Enum):
    def __new__(cls, value, label):
        made = int.__new__(cls, value); made._value_ = value; made.label = label
        return made
    ONE = 1, 'one'
class Unhashable(enum.Enum):
    L = [1]
class Nonmember(enum.Enum):
    A = 1
    helper = enum.nonmember(5)
""",
        """
Colour
Colour.RED
Colour.ALSO
[Colour.GREEN, {Colour.RED: 1}]
Planet
Planet.EARTH
Perm.R | Perm.X
Perm.RWX
~Perm.R
Perm(0)
Weird.A | Weird.B
Weird(16)
Ordered.A
Auto.ONE
Unique.A
Functional.ANT
Functional
Points.ORIGIN
Points
Labelled.ONE
Labelled
Unhashable.L
Nonmember
http.HTTPStatus.OK
http.HTTPMethod.GET
inspect.Parameter.KEYWORD_ONLY
plistlib.FMT_XML
pstats.SortKey.TIME
py_compile.PycInvalidationMode.CHECKED_HASH
re.I | re.M
signal.SIGTERM
signal.Handlers.SIG_DFL
socket.AF_INET
socket.SOCK_STREAM
ssl.TLSVersion.TLSv1_2
ssl.CERT_REQUIRED
ssl.OP_ALL
uuid.SafeUUID.unknown
enum.STRICT
enum.auto()
""",
    ),
    group(
        "classes",
        """
import abc, collections, ctypes, dataclasses, functools, string, typing
class Base:
    value = 1
    text = 'same'
class Same(Base):
    value = 1
    text = 'same'
class Slots:
    __slots__ = ('a', '__private', '__weakref__')
    def __init__(self): self.a, self.__private = 1, 2
class Meta(type):
    def __setattr__(cls, name, value): raise AttributeError(name)
class Guarded(metaclass=Meta):
    x = 1
class Tagged:
    def __init_subclass__(cls, *, tag, **more): cls.tag = tag
class Sub(Tagged, tag='t'): pass
class Abstract(abc.ABC):
    @abc.abstractmethod
    def f(self): ...
class Concrete(Abstract):
    def f(self): return super().f
class Named(typing.NamedTuple):
    a: int
    b: str = 'x'
class Typed(typing.TypedDict, total=False):
    a: int
class Proto(typing.Protocol):
    def f(self) -> int: ...
class Generic[T]:
    def get(self) -> T: ...
class Structure(ctypes.Structure):
    _fields_ = [('a', ctypes.c_int), ('b', ctypes.c_char * 4)]
class Union(ctypes.Union):
    _fields_ = [('a', ctypes.c_int), ('b', ctypes.c_float)]
@dataclasses.dataclass
class Data:
    a: int
    b: list = dataclasses.field(default_factory=list)
@dataclasses.dataclass(frozen=True, order=True, slots=True, kw_only=True)
class Frozen:
    a: int = 3
class Cached:
    @functools.cached_property
    def p(self): return [1]
    @functools.singledispatchmethod
    def d(self, v): return v
class Template(string.Template):
    delimiter = '%'
class Greedy:
    def __init__(self): self.url = 'u'
    def __getattr__(self, name): return lambda *a: name
class Proxy:
    def __init__(self, target): object.__setattr__(self, 'target', target)
    def __getattribute__(self, name): return getattr(object.__getattribute__(self, 'target'), name)
class Immutable:
    __slots__ = ('a',)
    def __init__(self, a): object.__setattr__(self, 'a', a)
    def __setattr__(self, name, value): raise AttributeError(name)
class Single:
    one = None
    def __new__(cls, must):
        cls.one = cls.one or super().__new__(cls)
        return cls.one
class Descriptor:
    def __set_name__(self, owner, name): self.name = name
    def __get__(self, obj, cls=None): return self if obj is None else obj.__dict__.get(self.name)
class Described:
    field = Descriptor()
def closure():
    n = [0]
    def up(): n.append(1); return n
    return up
async def coroutine_function(): pass
def generator_function(): yield 1
@functools.lru_cache(7)
def cached(n): return n
@functools.wraps(closure)
def wrapped(): pass
""",
        """
Base
Same
Same()
Slots
Slots()
Guarded
Guarded()
Sub
Concrete
Concrete()
Named
Named(1)
Typed
Typed(a=1)
Proto
Generic
Generic[int]
Structure
Structure(1, b'ab')
Union
Union(3)
(ctypes.c_int * 3)(1, 2, 3)
ctypes.c_int(5)
Data
Data(1)
Frozen
Frozen()
Cached()
Template('a %b')
Greedy()
Proxy([1])
Immutable(3)
Single(1)
Described
Described()
closure
closure()
coroutine_function
generator_function
cached
wrapped
Slots().__init__
Base.__dict__
functools.partial(closure, 1, k=2)
functools.partialmethod(closure, 1)
functools.cmp_to_key(lambda a, b: 0)
type('Made', (Base,), {'z': 1})
collections.namedtuple('Pair', 'a b', defaults=[2])(1)
dataclasses.fields(Data)
dataclasses.make_dataclass('Made', ['x'])(1)
typing.TypeVar('T', bound=int)
typing.ParamSpec('P')
typing.NewType('Id', int)
typing.Optional[int]
typing.Callable[[int], str]
typing.Literal['a', 1]
typing.Annotated[int, 'x']
typing.ForwardRef('int')
int | str
list[int]
""",
    ),
    group(
        "builtins",
        """
import array, collections, datetime, decimal, fractions, pathlib, random, types, enum
class Args(tuple):
    def __new__(cls, *args): return super().__new__(cls, args)
class Int(int):
    def __new__(cls, value, unit):
        made = super().__new__(cls, value); made.unit = unit
        return made
class Float(float):
    def __new__(cls, value, *, unit):
        made = super().__new__(cls, value); made.unit = unit
        return made
class Str(str):
    def __new__(cls, a, b): return super().__new__(cls, a + b)
class Bytes(bytes): pass
class Complex(complex):
    def __new__(cls, a, b, c): return super().__new__(cls, a, b)
class List(list):
    def __init__(self, name): super().__init__(); self.name = name
class Dict(dict):
    def __init__(self, size): super().__init__(); self.size, self.order = size, []
    def __setitem__(self, key, value): self.order.append(key); super().__setitem__(key, value)
class Set(set):
    def __init__(self, name): super().__init__(); self.name = name
class Frozen(frozenset):
    def __new__(cls, *items): return super().__new__(cls, items)
class Ordered(collections.OrderedDict):
    def __init__(self, name, *args): super().__init__(*args); self.name = name
class Default(collections.defaultdict):
    def __init__(self, name): super().__init__(list); self.name = name
class Counter(collections.Counter): pass
class Deque(collections.deque):
    def __init__(self, name, size): super().__init__(maxlen=size); self.name = name
class Buffer(bytearray):
    def __init__(self, name): super().__init__(b'xy'); self.name = name
class Array(array.array):
    def __new__(cls, name):
        made = super().__new__(cls, 'i', [1, 2]); made.name = name
        return made
class Date(datetime.date): pass
class Stamp(datetime.datetime): pass
class Delta(datetime.timedelta): pass
class Zone(datetime.tzinfo):
    def __init__(self, hours): self.hours = hours
    def utcoffset(self, moment): return datetime.timedelta(hours=self.hours)
class Money(decimal.Decimal):
    def __new__(cls, value, currency):
        made = super().__new__(cls, value); made.currency = currency
        return made
class Path(pathlib.PurePosixPath): pass
class User(collections.UserDict):
    def __init__(self, name): super().__init__(); self.name = name
class Space(types.SimpleNamespace): pass
class Rng(random.Random):
    def __init__(self, name): super().__init__(5); self.name = name
def filled(value, *items, **attributes):
    for item in items:
        (value.append if hasattr(value, 'append') else value.add)(item)
    vars(value).update(attributes)
    return value
def keyed(value, **items):
    for key, item in items.items(): value[key] = item
    return value
""",
        """
Args(1, 2)
filled(Args(1), tag=3)
Int(5, 'm')
Float(2.5, unit='k')
Str('a', 'b')
filled(Bytes(b'ab'), tag=1)
Complex(1, 2, 3)
filled(List('n'), 1, 2)
keyed(Dict(3), a=1, b=2)
filled(Set('n'), 1)
filled(Frozen(1, 2), tag=1)
Ordered('n', [(2, 1), (1, 2)])
keyed(Default('n'), a=[1])
filled(Counter('aab'), tag=1)
filled(collections.Counter('ab'), tag=2)
filled(Deque('n', 2), 1, 2, 3)
Buffer('n')
Array('n')
filled(Date(2020, 1, 2), note='n')
filled(Stamp(2020, 1, 2, 3, tzinfo=datetime.timezone.utc), note='n')
filled(Delta(days=1), note='n')
Zone(3)
Stamp(2020, 1, 1, tzinfo=Zone(2))
Money('1.50', 'EUR')
Path('a/b')
keyed(User('n'), a=1)
Space(a=1)
Rng('n')
collections.OrderedDict(a=1)
collections.defaultdict(list, a=[1])
collections.deque([1, 2], 5)
collections.ChainMap({'a': 1}, {'b': 2})
collections.UserList([1])
collections.UserString('x')
types.SimpleNamespace(a=1)
types.MappingProxyType({'a': 1})
types.ModuleType('abc')
types.MethodType(filled, 5)
types.CellType(3)
types.GenericAlias(list, (int,))
array.array('d', [1.5])
fractions.Fraction(1, 3)
decimal.Decimal('1.10')
decimal.Context(prec=5)
datetime.datetime(2020, 1, 2, 3, 4, 5, 6, datetime.timezone.utc)
datetime.time(1, 2)
datetime.timezone(datetime.timedelta(hours=2), 'X')
""",
    ),
    group(
        "library",
        "import abc, argparse, ast, asyncio, base64, bisect, bz2, calendar, cmd, code, codecs, collections.abc, configparser, contextlib, contextvars, copy, csv, datetime, decimal, difflib, doctest, email.message, email.policy, errno, filecmp, fileinput, fnmatch, gettext, glob, graphlib, gzip, hashlib, heapq, hmac, html.parser, http.client, http.cookies, http.cookiejar, importlib.metadata, inspect, io, ipaddress, itertools, json, keyword, linecache, locale, logging, logging.handlers, lzma, mailbox, math, mimetypes, multiprocessing, numbers, operator, optparse, os, pathlib, platform, pprint, queue, random, re, reprlib, sched, secrets, selectors, shelve, shlex, shutil, smtplib, socket, sqlite3, ssl, statistics, string, struct, subprocess, symtable, sys, tempfile, textwrap, threading, time, timeit, token, tokenize, trace, traceback, types, unittest, unittest.mock, urllib.parse, urllib.request, urllib.robotparser, uuid, warnings, wave, weakref, xml.dom.minidom, xml.etree.ElementTree as ET, zipfile, zlib, zoneinfo\nclass Dead: pass\nkept = Dead()\ndef parser():\n    made = argparse.ArgumentParser('p', description='d'); made.add_argument('--x', type=int, default=3); made.add_argument('files', nargs='*')\n    sub = made.add_subparsers(dest='c'); sub.add_parser('run').add_argument('-v', action='count')\n    return made\ndef raised():\n    try: 1 / 0\n    except ZeroDivisionError as error: return error\ncv = contextvars.ContextVar('cv', default=1); cv.set(5)",
        """
parser()
argparse.Namespace(a=1)
argparse.SUPPRESS
ast.parse('a = 1 + b')
asyncio.Lock()
asyncio.Event()
asyncio.Queue()
asyncio.Semaphore(2)
bz2.BZ2Compressor()
calendar.TextCalendar(6)
calendar.HTMLCalendar()
cmd.Cmd
code.InteractiveInterpreter({})
codecs.lookup('utf-8')
codecs.getincrementaldecoder('utf-8')()
configparser.ConfigParser({'a': '1'})
contextlib.ExitStack()
contextlib.nullcontext(3)
contextlib.suppress(ValueError)
contextlib.redirect_stdout(None)
contextvars.ContextVar('x', default=2)
cv
contextvars.copy_context()
csv.excel
csv.Sniffer()
csv.DictWriter(io.StringIO(), ['a'])
csv.reader(['a,b'])
difflib.SequenceMatcher(None, 'ab', 'ac')
difflib.Differ()
doctest.DocTestParser()
email.message.EmailMessage()
email.message_from_string('From: a\\n\\nbody') if hasattr(email, 'message_from_string') else 1
email.policy.default
filecmp.dircmp('/usr', '/usr')
gettext.NullTranslations()
graphlib.TopologicalSorter({1: [2]})
hashlib.sha256(b'a')
hmac.new(b'k', b'm', 'sha256')
html.parser.HTMLParser()
http.cookies.SimpleCookie('a=b')
http.cookiejar.CookieJar()
http.client.HTTPConnection('x')
http.client.HTTPMessage()
importlib.metadata.PathDistribution(pathlib.Path('x'))
inspect.signature(parser)
inspect.Parameter('x', inspect.Parameter.KEYWORD_ONLY, default=1)
inspect.currentframe()
io.StringIO('abc')
io.BytesIO(b'abc')
io.TextIOWrapper(io.BytesIO(b'ab'))
io.BufferedReader(io.BytesIO(b'ab'))
ipaddress.ip_address('1.2.3.4')
ipaddress.ip_network('10.0.0.0/8')
ipaddress.IPv6Interface('::1/64')
itertools.count(3)
itertools.cycle([1, 2])
itertools.repeat(1, 3)
itertools.accumulate([1, 2])
itertools.chain([1], [2])
itertools.chain.from_iterable([[1], [2]])
itertools.compress('ab', [1, 0])
itertools.dropwhile(bool, [1, 0, 2])
itertools.filterfalse(bool, [0, 1])
itertools.groupby([1, 1, 2])
itertools.islice([1, 2, 3], 1, 3)
itertools.pairwise([1, 2, 3])
itertools.starmap(pow, [(2, 3)])
itertools.takewhile(bool, [1, 0])
itertools.tee([1, 2])[0]
itertools.zip_longest([1], [2, 3])
itertools.product([1], [2])
itertools.permutations([1, 2])
itertools.combinations([1, 2], 1)
itertools.combinations_with_replacement([1, 2], 2)
itertools.batched([1, 2, 3], 2)
json.JSONEncoder(indent=2)
json.JSONDecoder()
linecache.cache.__class__
logging.getLogger('corpus')
logging.LogRecord('n', 10, 'p', 1, 'm', (), None)
logging.Formatter('%(message)s')
logging.StreamHandler(io.StringIO())
logging.NullHandler()
logging.handlers.MemoryHandler(5)
logging.LoggerAdapter(logging.getLogger('corpus'), {'a': 1})
lzma.LZMADecompressor()
mimetypes.MimeTypes()
numbers.Number
operator.attrgetter('a.b')
operator.itemgetter(1, 2)
operator.methodcaller('f', 1, k=2)
optparse.OptionParser(usage='u')
os.environ
os.stat('/')
os.fspath
os.terminal_size((1, 2))
pathlib.Path('a/b')
pathlib.PureWindowsPath('c:/x')
pprint.PrettyPrinter(2)
queue.Queue(3)
queue.PriorityQueue()
queue.LifoQueue()
queue.SimpleQueue()
random.Random(3)
random.SystemRandom()
re.compile('a(b)', re.I)
re.compile('a(b)').search('xab')
re.compile('a').finditer('aa')
reprlib.Repr()
reprlib.aRepr
sched.scheduler()
secrets.SystemRandom()
selectors.DefaultSelector()
shlex.shlex('a b')
socket.socket()
sqlite3.connect(':memory:')
sqlite3.Row
ssl.create_default_context()
statistics.NormalDist(1, 2)
string.Template('$a')
string.Formatter()
struct.Struct('<i')
subprocess.CompletedProcess(['a'], 0, 'o')
subprocess.Popen(['true'])
symtable.symtable('a=1', 'f', 'exec')
sys.version_info
sys.flags
sys.stdout
sys.modules['os']
tempfile.TemporaryFile()
tempfile.NamedTemporaryFile()
tempfile.SpooledTemporaryFile()
textwrap.TextWrapper(20)
threading.Lock()
threading.RLock()
threading.Event()
threading.Condition()
threading.Semaphore(3)
threading.Barrier(2)
threading.local()
threading.Thread(target=print)
threading.Timer(1, print)
threading.current_thread()
time.gmtime(0)
time.struct_time(range(9))
timeit.Timer('1')
tokenize.TokenInfo(1, 'a', (1, 0), (1, 1), 'a')
traceback.TracebackException.from_exception(raised())
traceback.extract_stack()
traceback.FrameSummary('f', 1, 'n')
raised()
raised().__traceback__
types.FunctionType
types.TracebackType
unittest.TestCase()
unittest.TestSuite()
unittest.TestResult()
unittest.mock.Mock(return_value=3, side_effect=None)
unittest.mock.MagicMock(spec=dict)
unittest.mock.AsyncMock()
unittest.mock.sentinel.x
unittest.mock.call(1, a=2)
unittest.mock.ANY
unittest.mock.patch('os.getcwd')
urllib.parse.urlparse('http://a/b?c#d')
urllib.parse.urlsplit('http://a')
urllib.request.Request('http://a', b'd', {'h': '1'})
urllib.request.build_opener()
urllib.robotparser.RobotFileParser()
uuid.UUID(int=5)
warnings.catch_warnings()
weakref.ref(kept)
weakref.ref(Dead())
weakref.proxy(kept)
weakref.WeakSet([kept])
weakref.WeakKeyDictionary({kept: 1})
weakref.WeakValueDictionary(a=kept)
weakref.WeakMethod(parser().parse_args)
weakref.finalize(kept, print)
xml.dom.minidom.parseString('<a b="c"/>')
ET.fromstring('<a b="c"><d/>t</a>')
ET.ElementTree(ET.Element('a'))
zipfile.ZipInfo('a')
zipfile.ZipFile(io.BytesIO(), 'w')
zlib.compressobj()
zoneinfo.ZoneInfo('UTC')
abc.ABC
collections.abc.Mapping
parser().parse_args([])
multiprocessing.Lock()
multiprocessing.get_context('fork')
open('/dev/null')
open('/etc/hostname', 'rb')
os.scandir('/')
""",
    ),
    group(
        "numpy",
        "import numpy as np\nbase = np.arange(6.0).reshape(2, 3)\nclass Info(np.ndarray):\n    def __array_finalize__(self, obj): self.info = getattr(obj, 'info', None)\ndef informed():\n    made = np.arange(3).view(Info); made.info = 'i'\n    return made",
        """
np.arange(5)
base[:, 1]
base.T
np.zeros(50_000)
np.array(['a', 'bb'])
np.array([{}, None], object)
np.array(['2020-01-01'], 'M8[D]')
np.zeros(3, [('a', 'i4'), ('b', 'f8')])
np.float32(2.5)
np.int8(3)
np.str_('x')
np.datetime64('2020-01-01')
np.bool_(True)
np.nan
np.dtype('f4')
np.dtype([('a', 'i4')])
np.matrix([[1, 2]])
np.asmatrix(base)
np.ma.array([1, 2], mask=[0, 1])
np.ma.array([1.0, 2.0])
np.ma.masked
np.rec.array([(1, 2.0)], names='a,b')
informed()
np.random.default_rng(3)
np.random.RandomState(3)
np.random.PCG64(3)
np.poly1d([1, 2])
np.polynomial.Polynomial([1, 2])
np.vectorize(abs)
np.add
np.sin
np.ndindex(2)
np.nditer(base)
np.s_[1:2]
np.finfo('f4')
np.iinfo('i4')
np.errstate(all='ignore')
np.broadcast(base, base)
np.array(3.0)
np.asfortranarray(base)
""",
        "numpy",
    ),
    group(
        "pandas",
        "import pandas as pd, numpy as np\nf = pd.DataFrame({'a': [1, 2], 'b': ['x', None]})",
        """
f
f['a']
f.assign(c=1)
f.groupby('a')
f.set_index('a')
f.style if False else 1
pd.Series([1, 2], name='n')
pd.Series(['a', None])
pd.Series([1, None], dtype='Int64')
pd.Categorical(['a', 'b', 'a'])
pd.Timestamp('2020-01-01', tz='UTC')
pd.Timedelta('1d')
pd.Period('2020-01')
pd.Interval(1, 2)
pd.NaT
pd.NA
pd.Index([1, 2])
pd.RangeIndex(3)
pd.MultiIndex.from_tuples([(1, 'a')])
pd.date_range('2020', periods=2)
pd.period_range('2020', periods=2)
pd.interval_range(0, 2)
pd.CategoricalDtype(['a'])
pd.offsets.MonthEnd()
pd.arrays.SparseArray([0, 1])
f.rolling(2)
f.plot if False else 1
pd.Grouper(key='a')
""",
        "pandas",
    ),
    group(
        "polars",
        "import polars as pl\nf = pl.DataFrame({'a': [1, 2], 'b': ['x', None]})",
        """
f
f.lazy()
f['a']
pl.col('a') + 1
pl.Int64
pl.List(pl.Int8)
pl.Enum(['a'])
pl.Schema({'a': pl.Int64})
f.group_by('a')
""",
        "polars",
    ),
    group(
        "pydantic",
        "import pydantic, pydantic_core, typing\nT = typing.TypeVar('T')\nclass M(pydantic.BaseModel):\n    model_config = pydantic.ConfigDict(extra='allow')\n    a: int\n    b: list[str] = []\n    _private: int = pydantic.PrivateAttr(3)\n    @pydantic.field_validator('a')\n    @classmethod\n    def positive(cls, value): return abs(value)\nclass G(pydantic.BaseModel, typing.Generic[T]):\n    v: T\n@pydantic.dataclasses.dataclass\nclass D:\n    a: int\ndef refused():\n    try: M(a='x')\n    except pydantic.ValidationError as error: return error",
        """
M(a=-1, more=2)
G[int](v=1)
D(1)
refused()
pydantic.SecretStr('x')
pydantic.HttpUrl('http://a')
pydantic_core.PydanticUndefined
pydantic.Field(default=1)
pydantic.TypeAdapter(int)
""",
        "pydantic",
    ),
    group(
        "attrs",
        "import attrs, attr\n@attrs.define\nclass A:\n    x: int\n    y: list = attrs.field(factory=list)\n@attrs.frozen\nclass F:\n    x: int\n@attr.s\nclass O:\n    x = attr.ib()",
        """
A(1)
F(1)
O(1)
A
F
attrs.NOTHING
attrs.fields(A)
attrs.field()
attrs.Factory(list)
""",
        "attrs",
    ),
    group(
        "requests",
        "import requests\nr = requests.Response(); r.status_code = 200; r._content = b'x'; r.url = 'u'",
        """
r
requests.Session()
requests.Request('GET', 'http://a')
requests.Request('GET', 'http://a').prepare()
requests.HTTPError('x', response=r)
requests.ConnectionError('x')
requests.Timeout('x')
requests.adapters.HTTPAdapter()
requests.cookies.RequestsCookieJar()
requests.structures.CaseInsensitiveDict(A=1)
requests.auth.HTTPBasicAuth('a', 'b')
""",
        "requests",
    ),
    group(
        "pyarrow",
        "import pyarrow as pa, pyarrow.csv, pyarrow.compute as pc",
        """
pa.array([1, None])
pa.table({'a': [1]})
pa.schema([('a', pa.int64())])
pa.int64()
pa.scalar(1)
pa.chunked_array([[1], [2]])
pa.py_buffer(b'x')
pa.array(['a', None, 'b']).dictionary_encode()
pa.array([[1], [2, 3]])
pa.array([{'a': 1, 'b': 'x'}])
pa.array([1.5, 2.5]).slice(1)
pa.record_batch({'a': [1, 2]})
pa.table({'a': [1]}).replace_schema_metadata({'k': 'v'})
pa.field('a', pa.list_(pa.string()), nullable=False)
pa.struct([('a', pa.int8())])
pa.decimal128(10, 2)
pa.timestamp('us', tz='UTC')
pa.dictionary(pa.int8(), pa.string())
pa.union([pa.field('a', pa.int8())], 'sparse')
pa.scalar({'a': [1]})
pa.scalar(None, pa.int8())
pa.ArrowInvalid('x')
pc.field('a') + 1
pc.ScalarAggregateOptions()
pa.csv.ReadOptions(skip_rows=1)
pa.BufferOutputStream()
pa.KeyValueMetadata({'a': 'b'})
pa.Tensor.from_numpy(__import__('numpy').ones((2, 2)))
pa.table({'a': [1, 2]}).group_by('a')
""",
        "pyarrow",
    ),
    group(
        "sklearn",
        "from sklearn.linear_model import LinearRegression\nfrom sklearn.pipeline import make_pipeline\nfrom sklearn.preprocessing import StandardScaler\nfrom sklearn.ensemble import RandomForestRegressor\nfrom sklearn.cluster import KMeans\nfrom sklearn.linear_model import LogisticRegression, Ridge\nfrom sklearn.svm import SVC\nfrom sklearn.tree import DecisionTreeClassifier\nfrom sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingRegressor, IsolationForest\nfrom sklearn.neighbors import KNeighborsClassifier, NearestNeighbors\nfrom sklearn.gaussian_process import GaussianProcessRegressor\nfrom sklearn.neural_network import MLPRegressor\nfrom sklearn.feature_extraction.text import CountVectorizer\nfrom sklearn.preprocessing import OneHotEncoder, FunctionTransformer\nfrom sklearn.compose import ColumnTransformer\nfrom sklearn.model_selection import GridSearchCV, KFold\nfrom sklearn.decomposition import PCA\nfrom sklearn.metrics import make_scorer, mean_squared_error\nfrom sklearn.utils import Bunch\nfrom sklearn.base import clone\nfrom sklearn.exceptions import NotFittedError\nX, y = [[1.0], [2.0], [3.0]], [1.0, 2.0, 3.0]",
        """
LinearRegression().fit(X, y)
make_pipeline(StandardScaler(), LinearRegression()).fit(X, y)
RandomForestRegressor(2, random_state=0).fit(X, y)
KMeans(2, n_init=1, random_state=0).fit(X)
LogisticRegression(C=2).fit(X, [0, 1, 1])
SVC(probability=False).fit(X, [0, 1, 1])
DecisionTreeClassifier(random_state=0).fit(X, [0, 1, 1])
GradientBoostingRegressor(n_estimators=2, random_state=0).fit(X, y)
HistGradientBoostingRegressor(max_iter=2, random_state=0).fit(X, y)
KNeighborsClassifier(1).fit(X, [0, 1, 1])
NearestNeighbors(n_neighbors=1, algorithm='kd_tree').fit(X)
GaussianProcessRegressor(random_state=0).fit(X, y)
MLPRegressor(hidden_layer_sizes=(2,), max_iter=3, random_state=0).fit(X, y)
CountVectorizer().fit(['a bc', 'bc de'])
OneHotEncoder(sparse_output=False).fit([['a'], ['b']])
ColumnTransformer([('n', StandardScaler(), [0])]).fit(X)
GridSearchCV(Ridge(), {'alpha': [1, 2]}, cv=2).fit(X + X, y + y)
PCA(1).fit([[1.0, 2.0], [3.0, 4.5]])
KFold(3, shuffle=True, random_state=1)
make_scorer(mean_squared_error, greater_is_better=False)
FunctionTransformer(abs)
FunctionTransformer(lambda value: value)
Bunch(data=1)
clone(Ridge(3))
NotFittedError('x')
IsolationForest(n_estimators=2, random_state=0).fit(X)
""",
        "sklearn",
    ),
    group(
        "matplotlib",
        "import matplotlib; matplotlib.use('agg')\nimport matplotlib.pyplot as plt, matplotlib.dates\nfig, ax = plt.subplots(); ax.plot([1, 2])",
        """
fig
ax
ax.lines[0]
matplotlib.colors.Normalize(0, 1)
matplotlib.colors.ListedColormap(['r'])
matplotlib.ticker.MaxNLocator(3)
matplotlib.rcParams
matplotlib.colors.LinearSegmentedColormap.from_list('m', ['r', 'b'])
plt.get_cmap('viridis')
matplotlib.colors.LogNorm(1, 10)
matplotlib.colors.BoundaryNorm([0, 1, 2], 2)
matplotlib.cm.ScalarMappable(matplotlib.colors.Normalize(0, 1), 'viridis')
matplotlib.transforms.Affine2D().rotate(1)
matplotlib.transforms.Bbox([[0, 0], [1, 1]])
matplotlib.path.Path([[0, 0], [1, 1]])
matplotlib.patches.Rectangle((0, 0), 1, 2, color='r')
matplotlib.lines.Line2D([0, 1], [0, 1])
matplotlib.text.Text(0, 0, 'a')
matplotlib.font_manager.FontProperties(size=9)
matplotlib.ticker.FuncFormatter(lambda x, at: str(x))
matplotlib.ticker.StrMethodFormatter('{x}')
matplotlib.dates.DateFormatter('%Y')
matplotlib.markers.MarkerStyle('o')
matplotlib.gridspec.GridSpec(2, 2)
matplotlib.RcParams({'lines.linewidth': 3})
matplotlib.cycler(color=['r', 'g'])
matplotlib.figure.Figure()
""",
        "matplotlib",
    ),
    group(
        "sqlalchemy",
        "import sqlalchemy as sa\nfrom sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, Session\nclass Base(DeclarativeBase): pass\nclass User(Base):\n    __tablename__ = 'u'\n    id: Mapped[int] = mapped_column(primary_key=True)\n    name: Mapped[str]\nmeta = sa.MetaData()",
        """
sa.Table('t', meta, sa.Column('a', sa.Integer))
sa.select(sa.literal(1))
sa.create_engine('sqlite://')
sa.Integer()
sa.text('select 1')
sa.URL.create('sqlite')
User
User(name='n')
""",
        "sqlalchemy",
    ),
    group(
        "networkx",
        "import networkx as nx",
        """
nx.path_graph(3)
nx.DiGraph([(1, 2)])
nx.MultiGraph([(1, 2), (1, 2)])
nx.path_graph(3).nodes
nx.path_graph(3).adj
nx.path_graph(3).subgraph([0, 1])
nx.NetworkXError('x')
""",
        "networkx",
    ),
    group(
        "PIL",
        "from PIL import Image, ImageDraw, ImageFont, ImageFilter",
        """
Image.new('RGB', (2, 2), 'red')
Image.new('P', (2, 2))
ImageDraw.Draw(Image.new('L', (2, 2)))
ImageFilter.BLUR
ImageFilter.GaussianBlur(2)
""",
        "PIL",
    ),
    group(
        "sympy",
        "import sympy as sp\nfrom sympy.combinatorics.free_groups import free_group\nx, y = sp.symbols('x y')",
        """
x ** 2 + sp.sin(y)
sp.IndexedBase('A')
sp.IndexedBase('A')[sp.Symbol('i', integer=True)]
free_group('a b')[0]
sp.Matrix([[1, x]])
sp.Function('f')(x)
sp.Rational(1, 3)
sp.oo
sp.S.true
sp.Poly(x ** 2 + 1)
""",
        "sympy",
    ),
    group(
        "boltons",
        "from boltons import cacheutils, dictutils, listutils, setutils, iterutils",
        """
cacheutils.LRU(3, {'a': 1})
cacheutils.LRI(3, {'a': 1})
listutils.BarrelList([1, 2])
dictutils.OneToOne({'a': 1})
dictutils.ManyToMany([(1, 2)])
dictutils.OrderedMultiDict([('a', 1), ('a', 2)])
dictutils.FrozenDict({'a': 1})
setutils.IndexedSet([1, 2])
""",
        "boltons",
    ),
)
