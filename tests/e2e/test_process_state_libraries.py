"""Changes that code makes to libraries and the interpreter come back, or are named (specs/checkpoint.md)."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

import durable
from durable.core.events import Event, WorkerStarted
from tests.e2e.test_process_state import ENDS, Kind, restored

KINDS = {
    "options of polars": Kind(
        "import polars as pl\npl.Config.set_tbl_rows(3)\npl.Config.set_fmt_float('full')\n"
        "pl.Config.set_float_precision(3)",
        "repr(pl.DataFrame({'a': [1.5]})), pl.Config.state()['POLARS_FMT_MAX_ROWS']",
    ),
    "attributes of classes": Kind(
        "import unittest, logging, json, string, http\nfrom string import Template\nunittest.TestCase.maxDiff = 7\n"
        "Template.delimiter = '%'\nlogging.Formatter.mine = [1]\ndel json.JSONEncoder.item_separator\n"
        "http.HTTPStatus.mine = 4\n"
        "def change():\n    import http.client\n    http.client.HTTPConnection.debuglevel = 1\n"
        "    import textwrap\n    textwrap.MINE = 3\nchange()",
        "unittest.TestCase.maxDiff, Template.delimiter, logging.Formatter.mine, http.HTTPStatus.mine,"
        " hasattr(json.JSONEncoder, 'item_separator'), __import__('textwrap').MINE,"
        " __import__('http.client').client.HTTPConnection.debuglevel",
    ),
    "attributes of modules that are no variables": Kind(
        "import os, ssl, http.client, concurrent.futures.thread, textwrap\nos.path.MINE = 3\n"
        "concurrent.futures.thread.MINE = 4\nssl._create_default_https_context = ssl._create_unverified_context\n"
        "http.client._MAXHEADERS = 1000\ntextwrap.dedent.mine = 5\ntextwrap.indent.__defaults__ = (6,)\n"
        "textwrap.__doc__ = 'mine'",
        "os.path.MINE, concurrent.futures.thread.MINE, http.client._MAXHEADERS, textwrap.dedent.mine,"
        " ssl._create_default_https_context is ssl._create_unverified_context, textwrap.indent.__defaults__,"
        " textwrap.__doc__",
    ),
    "tables": Kind(
        "import urllib.parse, html.entities, http.server, encodings.aliases, gc, sys, doctest, reprlib\n"
        "from urllib.parse import uses_relative\nuses_relative.append('s3')\nurllib.parse.uses_netloc.append('s3')\n"
        "html.entities.name2codepoint['zz'] = 4\nencodings.aliases.aliases['zorg'] = 'utf_8'\n"
        "http.server.SimpleHTTPRequestHandler.extensions_map['.zz'] = 'x/zz'\nreprlib.aRepr.maxlist = 2\n"
        "def called(*args): pass\ngc.callbacks.append(called)\n"
        "class Finder:\n    @staticmethod\n    def find_spec(name, path=None, target=None): return None\n"
        "sys.meta_path.append(Finder)\nflag = doctest.register_optionflag('ZZ')",
        "urllib.parse.urljoin('s3://b/a', 'c'), uses_relative is urllib.parse.uses_relative,"
        " html.entities.name2codepoint['zz'], 'a'.encode('zorg'), called in gc.callbacks, Finder in sys.meta_path,"
        " http.server.SimpleHTTPRequestHandler.extensions_map['.zz'], doctest.OPTIONFLAGS_BY_NAME['ZZ'] == flag,"
        " reprlib.repr([1, 2, 3])",
    ),
    "registrations": Kind(
        "import codecs, mimetypes, shutil, webbrowser, copyreg, csv, pkgutil, linecache, email.charset, os, sys\n"
        "def look(name): return codecs.lookup('utf-8') if name == 'mine' else None\ncodecs.register(look)\n"
        "def bang(error): return '!', error.end\ncodecs.register_error('bang', bang)\n"
        "mimetypes.add_type('x/zz', '.zz')\nshutil.register_archive_format('zzz', look, description='d')\n"
        "shutil.register_unpack_format('zzz', ['.zzz'], look)\ncsv.unregister_dialect('excel-tab')\n"
        "webbrowser.register('zz', None, webbrowser.GenericBrowser('echo'))\n"
        "class F: pass\ncopyreg.add_extension('__main__', 'F', 77)\n"
        "@pkgutil.iter_importer_modules.register(F)\ndef found(f, prefix=''): return iter([('m', False)])\n"
        "linecache.cache['<gen>'] = (5, None, ['hello\\n'], '<gen>')\n"
        "email.charset.add_charset('zz', None, None, 'utf-8')\n"
        "heard = []\nsys.addaudithook(lambda event, args: heard.append(event) if event == 'mine' else None)",
        "'a'.encode('mine'), '\\xe9'.encode('ascii', 'bang'), mimetypes.guess_type('a.zz'), csv.list_dialects(),"
        " 'zzz' in shutil._ARCHIVE_FORMATS, 'zzz' in shutil._UNPACK_FORMATS, type(webbrowser.get('zz')).__name__,"
        " copyreg._extension_registry['__main__', 'F'], list(pkgutil.iter_importer_modules(F())),"
        " linecache.getline('<gen>', 1), email.charset.Charset('zz').output_charset,"
        " heard.clear(), sys.audit('mine'), len(heard)",
    ),
    "settings": Kind(
        "import decimal, csv, gc, sys, os, time, signal, calendar, gettext, zoneinfo, multiprocessing, resource\n"
        "decimal.DefaultContext.prec = 50\ndecimal.ExtendedContext.traps[decimal.Inexact] = True\n"
        "n = csv.field_size_limit(77)\ngc.set_debug(gc.DEBUG_UNCOLLECTABLE)\n"
        "sys.set_coroutine_origin_tracking_depth(3)\nos.environ['TZ'] = 'Asia/Tokyo'\ntime.tzset()\n"
        "def on_alarm(*args): pass\nn = signal.signal(signal.SIGALRM, on_alarm)\n"
        "n = signal.signal(signal.SIGRTMIN + 3, on_alarm)\ncalendar.setfirstweekday(6)\nn = gettext.textdomain('app')\n"
        "n = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})\nzoneinfo.reset_tzpath(['/x/y'])\n"
        "multiprocessing.set_start_method('spawn')\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (500, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))",
        "decimal.DefaultContext.prec, decimal.ExtendedContext.traps[decimal.Inexact], csv.field_size_limit(),"
        " gc.get_debug(), sys.get_coroutine_origin_tracking_depth(), time.timezone, calendar.firstweekday(),"
        " signal.getsignal(signal.SIGALRM) is on_alarm, signal.getsignal(signal.SIGRTMIN + 3) is on_alarm,"
        " gettext.textdomain(), signal.SIGUSR2 in signal.pthread_sigmask(signal.SIG_BLOCK, ()), zoneinfo.TZPATH,"
        " multiprocessing.get_start_method(), resource.getrlimit(resource.RLIMIT_NOFILE)[0]",
    ),
    "logging and the loop": Kind(
        "import asyncio, logging, faulthandler, sys\nclass L(logging.Logger):\n    extra = 0\n"
        "logging.setLoggerClass(L)\n"
        "log = logging.getLogger('mine')\nlog.extra = 5\nlogging.captureWarnings(True)\n"
        "logging.lastResort.setLevel(50)\n"
        "old = logging.getLogRecordFactory()\ndef made(*args, **named): return old(*args, **named)\n"
        "logging.setLogRecordFactory(made)\nfaulthandler.enable(sys.__stderr__)\n"
        "def failed(loop, context): pass\nloop = asyncio.get_running_loop()\nloop.set_exception_handler(failed)\n"
        "loop.slow_callback_duration = 9.0\nclass P(asyncio.DefaultEventLoopPolicy): pass\n"
        "asyncio.set_event_loop_policy(P())\ndel loop",
        "logging.getLoggerClass() is L, type(log) is L, log.extra, log is logging.getLogger('mine'),"
        " __import__('warnings').showwarning.__module__, logging.lastResort.level,"
        " logging.getLogRecordFactory() is made, faulthandler.is_enabled(),"
        " asyncio.get_running_loop().get_exception_handler() is failed,"
        " asyncio.get_running_loop().slow_callback_duration, type(asyncio.get_event_loop_policy()) is P",
    ),
    "functions that were replaced": Kind(
        "import json, time\nfrom unittest import mock\nreal, keep = time.time, json.dumps\ntime.time = lambda: 5\n"
        "patch = mock.patch('json.dumps', lambda *args: 'p')\nn = patch.start()",
        "time.time(), real() > 5, json.dumps(1), patch.stop(), json.dumps is keep, json.dumps(1), patch.start() and 1",
    ),
    "modules made by hand": Kind(
        "import sys, types\nm = types.ModuleType('made')\nm.x = 5\nsys.modules['made'] = m\n"
        "class Fake:\n    x = 6\nsys.modules['fake'] = Fake()\nsys.modules['antigravity'] = None",
        "__import__('made').x, __import__('made') is m, __import__('fake').x, sys.modules['antigravity']",
    ),
    "namespaces of objects": Kind(
        "import types\nns = types.SimpleNamespace(x=0)\nv = vars(ns)\nm = types.ModuleType('m')\nm.x = 0\nw = vars(m)",
        "v is vars(ns), v.__setitem__('x', v['x'] + 1), ns.x == v['x'], w is vars(m)",
    ),
    "namespaces of objects that containers hold": Kind(
        "import types, string\nclass AttrDict(dict):\n    def __init__(self, **more):\n        super().__init__(more)\n"
        "        self.__dict__ = self\n"
        "class Client: pass\na, ns, client = AttrDict(x=1, sub=AttrDict(y=2)), types.SimpleNamespace(x=3), Client()\n"
        "held = [vars(ns), vars(client), vars(string)]\nviews = {'of': vars(client).items()}\nvars(client)",
        "setattr(a.sub, 'z', 4), a.sub['z'], setattr(client, 'new', 5), list(views['of']), held[0] is vars(ns),"
        " held[1] is vars(client) is Out[1], held[2] is vars(string)",
    ),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("what", KINDS)
async def test_it_comes_back_twice(tmp_path: Path, what: str, end: str) -> None:
    """The second time from a process that did not run the code that made it."""
    kind, seen, store = KINDS[what], list[Event](), tmp_path / "w.db"
    async with durable.open(store, observer=seen.append) as engine:
        session = await engine.session("desk")
        made = await session.execute(kind.make)
        assert made.error is None, made.error.traceback
        before = await _look(session, kind)
        await restored(engine, session, seen, end, store)
        if end != "engine ended":
            assert await _look(session, kind) == before
    async with durable.open(store, observer=seen.append) as engine:
        session = await engine.session("desk")
        assert await _look(session, kind) == before
        os.kill([event.pid for event in seen if isinstance(event, WorkerStarted)][-1], signal.SIGKILL)
        assert await _look(session, kind) == before


async def _look(session: durable.Session, kind: Kind) -> object:
    result = await session.execute(f"shown = ({kind.look})\nrepr(shown)")
    assert result.error is None, result.error.traceback
    assert result.failures == ()
    return result.value


async def test_what_another_process_cannot_have_is_named(tmp_path: Path) -> None:
    seen: list[Event] = []
    async with durable.open(tmp_path / "w.db", observer=seen.append) as engine:
        session = await engine.session("desk")
        await session.execute(
            "import sys, signal, tracemalloc\ndef traced(*args): return None\nsys.setprofile(traced)\n"
            "n = signal.signal(signal.SIGALRM, traced)\nn = signal.setitimer(signal.ITIMER_REAL, 1000)\n"
            "tracemalloc.start(5)"
        )
        os.kill([event.pid for event in seen if isinstance(event, WorkerStarted)][-1], signal.SIGKILL)
        result = await session.execute("tracemalloc.get_traceback_limit()")
        assert result.value == 5
        for name in ("sys.getprofile()", "a timer", "tracemalloc"):
            assert any(f"lost process state: {name}" in text for text in result.failures), result.failures


async def test_a_rollback_leaves_the_process_as_it_is(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "w.db") as engine:
        session = await engine.session("desk")
        await session.execute(
            "import unittest, types\nns = types.SimpleNamespace(x=0)\nv = vars(ns)\n"
            "class Client: pass\nclient = Client(); client.x = 0; held = [vars(client)]"
        )
        failed = await session.execute(
            "unittest.TestCase.maxDiff = 7\nv['x'] = client.x = 1\n1 / 0", transaction="rollback_on_failure"
        )
        assert failed.error is not None
        look = await session.execute(
            "v['x'] += 5; held[0]['x'] += 6\n[unittest.TestCase.maxDiff, ns.x, v is vars(ns), client.x]"
        )
        assert look.value == [7, 5, True, 6]
