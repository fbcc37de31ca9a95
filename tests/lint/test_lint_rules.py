"""Rules of `durable lint`: what they find in durable functions, and what they let be (docs/lint.md)."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from durable.lint.lint_targets import check_file
from durable.lint.rules import RULES
from durable.lint.source_check import check_source
from tests.docs.blocks import PAGES, blocks

ROOT = Path(__file__).parents[2]

HEAD = """
import asyncio, datetime as dt, os, pathlib, random, secrets, socket, subprocess, sys, threading, time, uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from os import environ
from pathlib import Path
from time import time as clock

import numpy as np
import requests

import durable

CACHE = {}
SEEN = []
TOTAL = 0


def step(*args): ...

@durable.function
async def flow(ctx, name, tags: set[str]):
"""


def codes(body: str, head: str = HEAD) -> list[str]:
    return [each.code for each in check_source(head + textwrap.indent(textwrap.dedent(body), "    "))]


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("DUR001", "time.time()"),
        ("DUR001", "clock()"),
        ("DUR001", "datetime.now()"),
        ("DUR001", "dt.datetime.now(dt.UTC)"),
        ("DUR001", "dt.date.today()"),
        ("DUR001", "await ctx.run(step, time.monotonic())"),
        ("DUR001", "time.sleep(1)"),
        ("DUR002", "random.random()"),
        ("DUR002", "random.Random().random()"),
        ("DUR002", "uuid.uuid4()"),
        ("DUR002", "secrets.token_hex()"),
        ("DUR002", "np.random.rand(3)"),
        ("DUR002", "os.urandom(8)"),
        ("DUR002", "hash(name)"),
        ("DUR003", "open(name)"),
        ("DUR003", "requests.get(name)"),
        ("DUR003", "Path(name).read_text()"),
        ("DUR003", "pathlib.Path(name, 'x').write_text('')"),
        ("DUR003", "subprocess.run(['ls'])"),
        ("DUR003", "socket.create_connection(('a', 1))"),
        ("DUR003", "input('name? ')"),
        ("DUR004", "await asyncio.to_thread(step)"),
        ("DUR004", "threading.Thread(target=step).start()"),
        ("DUR004", "ThreadPoolExecutor()"),
        ("DUR004", "asyncio.run(step())"),
        ("DUR005", "os.environ['HOME']"),
        ("DUR005", "environ.get('HOME')"),
        ("DUR005", "os.getenv('HOME')"),
        ("DUR005", "sys.argv[1]"),
        ("DUR005", "if 'X' in environ: pass"),
        ("DUR006", "CACHE[name] = 1"),
        ("DUR006", "SEEN.append(name)"),
        ("DUR006", "CACHE.setdefault(name, []).append(1)"),
        ("DUR006", "global TOTAL; TOTAL += 1"),
        ("DUR006", "os.path = name"),
        ("DUR006", "del CACHE[name]"),
        ("DUR007", "for tag in tags: pass"),
        ("DUR007", "[each for each in {name, 'b'}]"),
        ("DUR007", "list(set(name))"),
        ("DUR007", "', '.join({str(each) for each in name})"),
        ("DUR007", "await asyncio.gather(*(ctx.run(step, tag) for tag in tags))"),
        ("DUR007", "print(*tags)"),
        ("DUR007", "first = tags.pop()"),
        ("DUR007", "for each in tags | {name}: pass"),
        ("DUR007", "{await ctx.run(step, tag) for tag in tags}"),
        ("DUR008", "ctx.run(step)"),
        ("DUR008", "ctx.sleep(5)"),
        ("DUR008", "forgotten = ctx.run(step)"),
        ("DUR008", "ctx.options(timeout=5).run(step)"),
        ("DUR008", "asyncio.sleep(1)"),
    ],
)
def test_what_a_replay_would_not_do_again_is_found(code: str, line: str) -> None:
    assert codes(line) == [code]


@pytest.mark.parametrize(
    "body",
    [
        "await ctx.run(lambda: time.time())",
        "await ctx.run(time.time)",
        "ctx.options(name='x').compensate(lambda: open(name))",
        "retried = ctx.options(retry=3)\nawait retried.run(lambda: random.random())",
        "def inner(): return open(name)\nawait ctx.run(inner)",
        "random = ctx.random\nrandom.choice([1])",
        "rng = random.Random(5)",
        "now = ctx.now(); uuid = ctx.uuid(); uuid.hex",
        "time = {}\ntime.time = 5\nname.time()",
        "seen = []\nseen.append(1)\nCACHE = {}\nCACHE[1] = 2",
        "for tag in sorted(tags): pass",
        "any(tag == name for tag in tags); len(tags); name in tags; sum(1 for _ in tags)",
        "for number in {1, 2, 3}: pass",
        "chosen = {name}\nchosen = list(name)\nfor each in chosen: pass",
        "operation = ctx.run(step)\nawait asyncio.sleep(1)\nawait operation",
        "tasks = [ctx.run(step, each) for each in name]\nawait asyncio.gather(*tasks)",
        "async with asyncio.TaskGroup() as group:\n    group.create_task(ctx.run(step))",
        "ctx.log('x'); child = ctx.start(step); ctx.compensate(step)",
        "raise socket.gaierror(name)",
        "datetime.fromtimestamp(5); dt.datetime(2024, 1, 1); time.strptime(name, '%Y')",
        "print(name)",
        "os.path.join(name, 'x'); Path(name).name; name.read_text()",
        "total = TOTAL + len(CACHE); SEEN.index(name); CACHE.get(name)",
        "asyncio.get_running_loop().time()",
        "class Local:\n    def now(self): return time.time()",
    ],
)
def test_what_is_right_is_let_be(body: str) -> None:
    assert codes(body) == []


def test_code_that_is_not_durable_is_let_be() -> None:
    assert codes("time.time(); CACHE[1] = 2", HEAD.replace("@durable.function\n", "")) == []
    other = HEAD.replace("import durable\n", "import click as durable\n")
    assert codes("time.time()", other) == []


@pytest.mark.parametrize(
    "head",
    [
        HEAD.replace("import durable\n", "import durable as d\n").replace(
            "@durable.function", "@d.function(version=2)"
        ),
        HEAD.replace("import durable\n", "from durable import function\n").replace("@durable.", "@"),
        HEAD.replace("import durable\n", "from durable import function as durably\n").replace(
            "@durable.function", "@durably(name='x')"
        ),
    ],
)
def test_a_durable_function_is_known_however_it_is_imported(head: str) -> None:
    assert codes("time.time()", head) == ["DUR001"]


ELSEWHERE = """
import time
import durable

def helper():
    return deeper() + 1

def deeper():
    return time.time()

def step():
    return time.time()

@durable.function
async def flow(ctx):
    def local():
        return time.time()
    await ctx.run(step)
    await ctx.run(local)
    return helper()

@durable.actor
class Cart:
    async def add(self, ctx, item):
        return self._at() + time.time()

    def _at(self):
        return time.monotonic()

    @durable.read
    def all(self):
        return time.time()

@durable.actor(durable=False)
class Memory:
    async def add(self, ctx, item):
        return time.time()

class Service:
    @durable.function
    async def call(self, ctx):
        ctx.run(step)
        return self.inside(ctx)

    def inside(self, ctx):
        return time.time()

    def never_called(self):
        return time.time()
"""


def test_the_code_that_a_function_calls_directly_is_looked_at_and_no_other() -> None:
    found = [(each.line, each.code, each.function) for each in check_source(ELSEWHERE)]
    lines = ELSEWHERE.splitlines()
    assert [(lines[line - 1].strip(), code, function) for line, code, function in found] == [
        ("return time.time()", "DUR001", "flow through helper"),
        ("return self._at() + time.time()", "DUR001", "Cart.add"),
        ("return time.monotonic()", "DUR001", "Cart.add through _at"),
        ("ctx.run(step)", "DUR008", "Service.call"),
        ("return time.time()", "DUR001", "Service.call through inside"),
    ]


def test_functions_that_call_each_other_are_gone_through_once() -> None:
    source = """
import time
import durable

def even(n):
    return odd(n - 1)

def odd(n):
    time.time()
    return even(n - 1)

@durable.function
async def flow(ctx):
    def inner(n):
        return inner(n - 1) + time.time()
    return even(5) + inner(5) + await flow.fn(ctx) + await flow(ctx)
"""
    assert [each.line for each in check_source(source)] == [9, 15]


def test_a_comment_lets_a_line_pass() -> None:
    assert codes("time.time()  # noqa") == []
    assert codes("time.time()  # noqa: DUR001 - it is only shown") == []
    assert codes("time.time()  # noqa: E501, dur001") == []
    assert codes("time.time()  # noqa: DUR002") == ["DUR001"]
    assert codes("x = '# noqa'; time.time()") == ["DUR001"]


@pytest.mark.parametrize("source", ["def (", "x = '\0'", "(" * 500, "if True:\n\t1\n        2"])
def test_what_is_no_python_is_one_finding(source: str) -> None:
    (found,) = check_source(source)
    assert found.code == "DUR000"


def test_every_code_is_explained_with_an_example_that_it_is_found_in() -> None:
    text = (ROOT / "docs/lint.md").read_text()
    assert set(re.findall(r"DUR\d\d\d", text)) == set(RULES)
    rows = re.findall(r"^\| `(DUR\d+)` \|[^|]*\| `([^`]+)` \|", text, re.MULTILINE)
    assert [code for code, _ in rows] == [code for code in RULES if code != "DUR000"]
    for code, example in rows:
        assert codes(example) == [code], example


def test_the_code_of_this_repository_gives_no_false_alarm() -> None:
    files = [*(ROOT / "examples").rglob("*.py"), *(ROOT / "durable").rglob("*.py")]
    assert [(file.name, each.line, each.code) for file in files for each in check_file(file)] == []


def test_the_documentation_has_what_it_shows_to_be_wrong_and_nothing_else() -> None:
    found = [
        (page.name, each.code, each.function)
        for page in PAGES
        for block in blocks(page)
        if block.language == "python"
        for each in check_source(block.text)
    ]
    assert found == [
        ("lint.md", "DUR008", "order"),
        ("lint.md", "DUR001", "order"),
        ("rules.md", "DUR003", "wrong"),
        ("rules.md", "DUR002", "draw"),
    ]
