"""Modes of a cell: which kind of code a text is (specs/namespace.md, M1-M4)."""

from __future__ import annotations

import pytest

from bridge.code.blocking_calls import BLOCKING, BlockingTable
from bridge.code.cell_mode import CALLS_ENV, WARN_ENV, Detection, classify

MODES = {
    "1 + 1": "simple_sync",
    "": "simple_sync",
    "def f(): return 1": "simple_sync",
    "await f()": "top_level_await",
    "import time\ntime.sleep(1)\nawait f()": "top_level_await",
    "async with a: pass": "top_level_await",
    "async for i in a: pass": "top_level_await",
    "[i async for i in a]": "top_level_await",
    "f'{await f()}'": "top_level_await",
    "def f(x=await g()): pass": "top_level_await",
    "async def f(): await g()": "async_def",
    "class C:\n    async def f(self): open('x')": "async_def",
    "import time\ntime.sleep(1)": "blocking_sync",
    "lambda: (await x)": "unknown",
    "def f(): await x": "unknown",
    "1 +": "unknown",
    "return 1": "unknown",
    "\0": "unknown",
}


@pytest.mark.parametrize("code", MODES)
def test_modes_and_their_precedence(code: str) -> None:
    assert classify(code).mode == MODES[code]


BLOCKS = {
    "import time as t\nt.sleep(1)": "time.sleep",
    "from time import sleep\nsleep(1)": "time.sleep",
    "from time import sleep as z\nz(1)": "time.sleep",
    "import time\nz = time.sleep\nz(1)": "time.sleep",
    "import time\nclass C:\n    def f(self):\n        time.sleep(1)": "time.sleep",
    "import time\nf = lambda: time.sleep(1)": "time.sleep",
    "def f():\n    import time\n    time.sleep(1)": "time.sleep",
    "def f(): time.sleep(1)\nimport time": "time.sleep",
    "import requests\nrequests.post('x').json()": "requests.post",
    "import urllib.request\nurllib.request.urlopen('x')": "urllib.request.urlopen",
    "from urllib import request\nrequest.urlopen('x')": "urllib.request.urlopen",
    "import socket\nsocket.socket().recv(1)": "socket.socket().recv",
    "import socket\ns = socket.socket()\ns.sendall(b'')": "socket.socket().sendall",
    "import socket\nwith socket.socket() as s:\n    s.accept()": "socket.socket().accept",
    "import os\nos.system('x')": "os.system",
    "from subprocess import Popen as P\nP('x')": "subprocess.Popen",
    "from pathlib import Path\nPath('x').read_text()": "pathlib.Path().read_text",
    "from pathlib import Path\n(Path('x') / 'y').write_bytes(b'')": "pathlib.Path().write_bytes",
    "import pathlib\np: object = pathlib.Path('x')\np.read_bytes()": "pathlib.Path().read_bytes",
    "open('x')": "open",
}


@pytest.mark.parametrize("code", BLOCKS)
def test_blocking_calls_through_imports_aliases_and_chains(code: str) -> None:
    assert [call.name for call in classify(code).blocking] == [BLOCKS[code]]


@pytest.mark.parametrize(
    "code",
    [
        "time.sleep(1)",
        "import time\ntime = Clock()\ntime.sleep(1)",
        "import time\ndef f(time): time.sleep(1)",
        "import time\nfor time in clocks: time.sleep(1)",
        "def open(x): pass\nopen('x')",
        "from mine import open\nopen('x')",
        "from . import time\ntime.sleep(1)",
        "import asyncio\nasyncio.sleep(1)",
        "from pathlib import Path\nPath('x').exists()",
        "import time\ntime.sleep",
    ],
)
def test_what_only_looks_like_one(code: str) -> None:
    assert classify(code).blocking == ()


def test_names_of_earlier_cells_are_resolved() -> None:
    known = {"t": "time", "p": "pathlib._local.PosixPath()", "sh": "posix.system", "o": "_io.open"}
    code = "t.sleep(1)\np.read_text()\nsh('x')\no('x')\nother.sleep(1)"
    found = classify(code, resolve=known.get).blocking
    assert [(call.name, call.line) for call in found] == [
        ("time.sleep", 1),
        ("pathlib.Path().read_text", 2),
        ("os.system", 3),
        ("open", 4),
    ]


def test_the_table_can_be_replaced_and_added_to() -> None:
    code = "import time, mine\ntime.sleep(1)\nmine.Client().fetch_all()"
    assert classify(code, table=BlockingTable({})).mode == "simple_sync"
    added = Detection({CALLS_ENV: "mine.Client().fetch*, other.call"})
    assert [call.name for call in classify(code, table=added.table).blocking] == [
        "time.sleep",
        "mine.Client().fetch_all",
    ]
    assert BlockingTable(BLOCKING).advice("time.sleep") == "await asyncio.sleep(...)"


def test_it_counts_and_warns_unless_told_not_to() -> None:
    found = classify("import time\ntime.sleep(1)\ntime.sleep(2)")
    loud, quiet = Detection({}), Detection({WARN_ENV: "0"})
    assert [text.partition(":")[0] for text in loud.met(found)] == ["line 2", "line 3"]
    assert quiet.met(found) == []
    assert quiet.calls == loud.calls == {"time.sleep": 2}
    assert Detection({WARN_ENV: "0"}, warn=True).warn
