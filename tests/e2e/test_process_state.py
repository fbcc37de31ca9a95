"""State of the process beside the namespace comes back, or is named (specs/checkpoint.md, Process state)."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import NamedTuple

import pytest

import durable
from durable.core.events import Event, WorkerStarted
from tests.waiting import first_prompt, in_state

ENDS = ("worker killed", "engine ended", "parked", "killed in a cell")


class Kind(NamedTuple):
    """`make` sets the state; `look` shows it, equal before and after."""

    make: str
    look: str


KINDS = {
    "streams": Kind(
        "import sys, io\nold = sys.stdout\nsys.stdout = buf = io.StringIO()\nprint('captured')",
        "buf.getvalue(), old is sys.__stdout__, sys.stdout is buf",
    ),
    "a stream of one's own": Kind(
        "import sys\nclass Tee:\n    def __init__(self, to): self.to, self.seen = to, []\n"
        "    def write(self, text): self.seen.append(text); return self.to.write(text)\n"
        "    def flush(self): self.to.flush()\nsys.stderr = tee = Tee(sys.stderr)\nprint('x', file=sys.stderr)",
        "tee.seen, sys.stderr is tee, tee.to is sys.__stderr__",
    ),
    "context variables": Kind(
        "from contextvars import ContextVar\ncv, unset = ContextVar('cv', default=1), ContextVar('u', default=[])\n"
        "n = cv.set(7)",
        "cv.get(), unset.get()",
    ),
    "decimal": Kind(
        "import decimal\ndecimal.getcontext().prec = 50\ndecimal.getcontext().rounding = decimal.ROUND_UP",
        "decimal.getcontext().prec, decimal.getcontext().rounding, str(decimal.Decimal(1) / 3)",
    ),
    "numpy": Kind(
        "import numpy as np\nn = np.seterr(divide='raise')\nnp.set_printoptions(precision=3)",
        "np.geterr()['divide'], np.get_printoptions()['precision'], repr(np.array([1.23456]))",
    ),
    "warnings": Kind(
        "import warnings\nwarnings.simplefilter('error', UserWarning)\nwarnings.filterwarnings('ignore', 'careful')",
        "[one[0] for one in warnings.filters[:2]], warnings.warn('careful')",
    ),
    "logging": Kind(
        "import logging, io\nlog = logging.getLogger('mine')\nlog.setLevel(logging.DEBUG)\nheard = io.StringIO()\n"
        "h = logging.StreamHandler(heard)\nh.setFormatter(logging.Formatter('%(levelname)s! %(message)s'))\n"
        "log.addHandler(h)\nlog.propagate = False\nlogging.getLogger().setLevel(logging.ERROR)",
        "log.level, log.propagate, logging.root.level, log.debug('hi'), heard.getvalue()[-10:], log.handlers == [h]",
    ),
    "basicConfig": Kind(
        "import logging\nlogging.basicConfig(level=logging.INFO, format='%(message)s')",
        "logging.root.level, len(logging.root.handlers), logging.root.handlers[0].formatter._fmt",
    ),
    "locale": Kind("import locale\nn = locale.setlocale(locale.LC_ALL, 'C.UTF-8')", "locale.setlocale(locale.LC_ALL)"),
    "pandas": Kind(
        "import pandas as pd\npd.set_option('display.max_rows', 7)\npd.options.display.precision = 2",
        "pd.get_option('display.max_rows'), pd.options.display.precision",
    ),
    "matplotlib": Kind(
        "import matplotlib\nmatplotlib.rcParams['lines.linewidth'] = 9.5", "matplotlib.rcParams['lines.linewidth']"
    ),
    "process": Kind(
        "import os, sys, gc, socket\nn = os.umask(0o027)\nsys.setswitchinterval(0.5)\ngc.disable()\n"
        "gc.set_threshold(900, 9, 9)\nsocket.setdefaulttimeout(3.5)\nsys.set_int_max_str_digits(9000)",
        "os.umask(0o027), sys.getswitchinterval(), gc.isenabled(), gc.get_threshold(), socket.getdefaulttimeout(), "
        "sys.get_int_max_str_digits()",
    ),
    "signals": Kind(
        "import signal, os\ngot = []\ndef heard(number, frame): got.append(number)\n"
        "n = signal.signal(signal.SIGUSR1, heard)\nn = signal.signal(signal.SIGUSR2, signal.SIG_IGN)",
        "os.kill(os.getpid(), signal.SIGUSR1), got[-1], signal.getsignal(signal.SIGUSR2) is signal.SIG_IGN, "
        "signal.getsignal(signal.SIGUSR1) is heard",
    ),
    "an interrupt's handler": Kind(
        "import signal\ndef on_int(number, frame): raise ValueError('mine')\nn = signal.signal(signal.SIGINT, on_int)",
        "signal.getsignal(signal.SIGINT) is on_int",
    ),
    "atexit": Kind(
        "import atexit\ndef bye(text): pass\nn = atexit.register(bye, 'x')",
        "[(f is bye, a) for f, a, k in __import__('checkpoint.capture.process_state', fromlist=['*'])"
        ".PROCESS_STATE._exits]",
    ),
    "attributes of modules": Kind(
        "import json, string, math\ndef loads(text): return 'patched'\njson.loads = loads\nstring.MINE = [1, 2]\n"
        "math.tau = 6\nn = json.__dict__.pop('load')",
        "json.loads('1'), json.loads is loads, string.MINE, math.tau, hasattr(json, 'load')",
    ),
    "what was registered": Kind(
        "import copyreg, csv, logging, sqlite3, numbers, collections.abc as cabc, xml.etree.ElementTree as ET\n"
        "class C: pass\ndef reduce(c): return C, ()\nn = copyreg.pickle(C, reduce)\n"
        "csv.register_dialect('mine', delimiter='#')\nlogging.addLevelName(25, 'NOTE')\n"
        "sqlite3.register_adapter(C, lambda c: 'c')\nsqlite3.register_converter('mine', lambda data: 7)\n"
        "ET.register_namespace('zz', 'http://zz')\nn = cabc.Sequence.register(C)\nn = numbers.Number.register(C)",
        "copyreg.dispatch_table[C] is reduce, csv.get_dialect('mine').delimiter, logging.getLevelName(25),"
        " sqlite3.connect(':memory:').execute('select ?', (C(),)).fetchone(), sqlite3.converters['MINE'](b''),"
        " ET._namespace_map['http://zz'], isinstance(C(), cabc.Sequence), isinstance(C(), numbers.Number)",
    ),
    "methods of libraries' classes": Kind(
        "import json, fractions, pandas as pd\nfrom textwrap import TextWrapper\n"
        "def default(self, value): return 'mine'\njson.JSONEncoder.default = default\n"
        "fractions.Fraction.twice = property(lambda self: self * 2)\nTextWrapper.size = lambda self: self.width\n"
        "@pd.api.extensions.register_dataframe_accessor('first')\nclass First:\n"
        "    def __init__(self, frame): self.frame = frame\n    def row(self): return list(self.frame.iloc[0])",
        "json.dumps(object()), json.JSONEncoder.default is default, fractions.Fraction(1, 4).twice,"
        " TextWrapper().size(), pd.DataFrame({'a': [1]}).first.row()",
    ),
    "arguments": Kind(
        "import sys, threading\nsys.argv.append('--fast')\nfrom sys import argv\nn = threading.stack_size(2**20)",
        "sys.argv[-1], argv is sys.argv, threading.stack_size()",
    ),
    "the hooks of sys": Kind(
        "import sys\ndef hook(*a): pass\nsys.excepthook = hook\nsys.tracebacklimit = 3\nsys.argv = ['x', 'y']",
        "sys.excepthook is hook, sys.tracebacklimit, sys.argv",
    ),
}


async def restored(engine: durable.Engine, session: durable.Session, seen: list[Event], end: str, store: Path) -> None:
    """Bring the session's worker to its end so that a restore follows, in one of the ways."""
    pid = [event.pid for event in seen if isinstance(event, WorkerStarted)][-1]
    if end == "worker killed":
        os.kill(pid, signal.SIGKILL)
    elif end == "parked":
        execution = await session.submit("input()")
        prompt = await first_prompt(engine)
        await in_state(engine, execution, "waiting")
        os.kill(pid, signal.SIGKILL)
        await engine.answer(prompt.id, "on")
        assert (await session.result(execution.id)).value == "on"
    elif end == "killed in a cell":
        mark = store.parent / "mark"
        code = (
            f"import os\nif not os.path.exists({str(mark)!r}):\n    open({str(mark)!r}, 'w').close()\n"
            "    os.kill(os.getpid(), 9)\n"
        )
        assert (await session.execute(f"before = 1\n{code}", checkpoint="statement")).error is None


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("what", KINDS)
async def test_it_comes_back(tmp_path: Path, what: str, end: str) -> None:
    kind, seen, store = KINDS[what], list[Event](), tmp_path / "w.db"
    async with durable.open(store, observer=seen.append) as engine:
        session = await engine.session("desk")
        made = await session.execute(kind.make)
        if what == "matplotlib" and made.error is not None and made.error.exception_type == "ModuleNotFoundError":
            pytest.skip("matplotlib is not installed here")
        assert made.error is None, made.error.traceback
        before = await session.execute(f"shown = ({kind.look})\nrepr(shown)")
        assert before.error is None, before.error.traceback
        await restored(engine, session, seen, end, store)
        if end != "engine ended":
            await _check(session, kind, before.value)
            return
    async with durable.open(store, observer=seen.append) as engine:
        await _check(await engine.session("desk"), kind, before.value)


async def _check(session: durable.Session, kind: Kind, before: object) -> None:
    after = await session.execute(f"shown = ({kind.look})\nrepr(shown)")
    assert after.error is None, after.error.traceback
    assert after.value == before
    assert after.failures == ()


async def test_what_does_not_come_back_is_named(tmp_path: Path) -> None:
    seen: list[Event] = []
    async with durable.open(tmp_path / "w.db", observer=seen.append) as engine:
        session = await engine.session("desk")
        gone = tmp_path / "gone"
        gone.mkdir()
        await session.execute(
            f"import os, sys, socket\nos.chdir({str(gone)!r})\nsys.stdout = socket.socket().makefile('w')"
        )
        shutil.rmtree(gone)
        await session.checkpoint("now")
        os.kill([event.pid for event in seen if isinstance(event, WorkerStarted)][-1], signal.SIGKILL)
        result = await session.execute("1")
        assert any("lost process state: sys.stdout" in text for text in result.failures), result.failures
        assert any(f"lost process state: the working directory {gone}" in text for text in result.failures)
        report = await session.restore("now")
        lost = {entry.name: entry.kind for entry in report.lost}
        assert lost["sys.stdout"] == "process state"
        assert lost[f"the working directory {gone}"] == "process state"


async def test_what_is_changed_in_the_statement_after_a_restore_is_changed_after_the_next(tmp_path: Path) -> None:
    seen: list[Event] = []
    async with durable.open(tmp_path / "w.db", observer=seen.append) as engine:
        session = await engine.session("desk")
        names = "names = vars(colours); del colours; names['ONE_SIXTH'] = 6"
        look = "import colorsys; [colorsys.ONE_THIRD, colorsys.ONE_SIXTH, names is vars(colorsys)]"
        for code in ("import colorsys as colours", "colours.ONE_THIRD = 5", names, look):
            result = await session.execute(code)
            os.kill([event.pid for event in seen if isinstance(event, WorkerStarted)][-1], signal.SIGKILL)
        assert result.value == [5, 6, True]


async def test_values_and_errors_are_shown_in_the_context_of_the_code(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "w.db") as engine:
        session = await engine.session("desk")
        await session.execute(
            "from contextvars import ContextVar\nunit = ContextVar('unit', default='m')\nn = unit.set('km')\n"
            "class Way:\n    def __repr__(self): return unit.get()\n"
            "class Failed(Exception):\n    def __str__(self): return unit.get()"
        )
        assert (await session.execute("Way()")).repr == "km"
        error = (await session.execute("raise Failed")).error
        assert error is not None
        assert error.exception_message == "km"
