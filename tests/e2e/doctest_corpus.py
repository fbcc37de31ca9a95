"""Docstring examples as sessions, which are cut off between examples: what comes back must be what was there.

`python -m tests.e2e.doctest_corpus --package stdlib numpy … [--sources FOLDER] [--kills N] [--limit N] [--seed S]`.
Each docstring of the packages, and each section of documentation sources in a folder, is a session, its examples are
cells. Only examples on whose output two processes of plain CPython agree, each asked three times, count. A session runs
plain, and in one way of coming back after each example: its worker killed, forgotten at rest, parked while a person
thinks, its engine closed and opened again, its engine killed. Packages come by
`uv run --with sympy,networkx … python -m …`.

What an example says is compared. Where it differs:
plain: the session that nothing was done to says something else than CPython.
named: the report of the session names what the example uses, or the error says that it was lost.
SILENT: neither; of these there must be none.
hang: no answer within the deadline.
After its first difference the rest of a docstring is not compared: what failed there is missing further on.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import re
import select
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DEADLINE_S = 40.0
WAYS = {"killed": 76, "forgotten": 6, "parked": 6, "reopened": 6, "engine killed": 6}
"""How often each is drawn, of a hundred."""

PLAIN_TIMES = 3
"""How often each process of plain CPython is asked: an example that draws lots may agree with itself once."""

_NO_CODE = ("SyntaxError", "IndentationError")
"""What plain CPython says to examples that no session is given as they are: one takes indented code as IPython does."""

OF_THE_ENGINE = ("reopened", "engine killed")
TOGETHER = 50
"""Sessions of one engine that are cut off together, example by example, when it ends."""


class Hangs(Exception):
    """No answer came in time."""


class Asked:
    """A process that answers one JSON line for each that it reads."""

    def __init__(self, *command: str, **environment: str) -> None:
        self._command = [sys.executable, "-W", "ignore", "-m", *command]
        self._environment = {**os.environ, **environment}
        self.start()

    def start(self) -> None:
        self._child = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=self._environment,
            start_new_session=True,
        )
        self._rest = b""

    def ask(self, *, seconds: float = DEADLINE_S, **question: Any) -> Any:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps(question).encode() + b"\n")
        while b"\n" not in self._rest:
            ready = select.select([self._child.stdout], [], [], seconds)[0]
            chunk = os.read(self._child.stdout.fileno(), 2**20) if ready else b""
            if not chunk:
                raise Hangs("no answer" if not ready else "it ended")
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\n")
        return json.loads(line)

    def close(self) -> None:
        assert self._child.stdin is not None
        self._child.stdin.close()
        try:
            self._child.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        os.kill(self._child.pid, signal.SIGKILL)
        self._child.communicate()


@dataclass
class Docstring:
    """`expected`: what plain CPython says to each example, None where two processes do not agree."""

    source: str
    name: str
    examples: list[str]
    expected: list[str | None] = field(default_factory=list)

    @property
    def counted(self) -> int:
        return sum(said is not None for said in self.expected)


@dataclass
class Difference:
    way: str
    what: str
    docstring: Docstring
    at: int
    said: str
    report: list[list[str]] = field(default_factory=list)

    def __str__(self) -> str:
        before = "".join(self.docstring.examples[: self.at + 1]).rstrip()
        code = "\n".join(f"    | {line}" for line in before.split("\n"))
        named = "".join(f"\n    report: {' '.join(entry)[:200]}" for entry in self.report[:10])
        expected = self.docstring.expected[self.at]
        outcome = f"    expected: {expected!r:.600}\n    came:     {self.said!r:.600}"
        return f"{self.what}, {self.way}: {self.docstring.name}\n{code}\n{outcome}{named}"


class Corpus:
    """The docstrings of one source, run in every way."""

    def __init__(self, folder: Path, random_: random.Random, kills: int, verbose: bool) -> None:
        self._folder = folder
        self._random = random_
        self._kills = kills
        self._verbose = verbose
        self._numbers = 0
        self.counts: Counter[tuple[str, str]] = Counter()
        self.found: list[Difference] = []

    def collected(self, source: str, limit: int) -> list[Docstring]:
        """Those on which two processes of CPython agree, until there are `limit` examples."""
        plain = [Asked("tests.e2e.doctest_plain", PYTHONHASHSEED=seed) for seed in ("1", "2")]
        try:
            found, _again = (process.ask(collect=source, seconds=300.0) or [] for process in plain)  # it imports, too
            self._random.shuffle(found)
            kept: list[Docstring] = []
            for one in found:
                if sum(docstring.counted for docstring in kept) >= limit:
                    break
                docstring = Docstring(source, one["name"], one["examples"])
                docstring.expected = _agreed([self._plain(process, docstring) for process in plain * PLAIN_TIMES])
                if docstring.counted and not any((said or "").startswith(_NO_CODE) for said in docstring.expected):
                    kept.append(docstring)
            return kept
        finally:
            for process in plain:
                process.kill()

    def _plain(self, process: Asked, docstring: Docstring) -> list[str]:
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            said = process.ask(run=docstring.examples, folder=folder) or []
            return [_normal(text, folder) for text in said]

    def run(self, source: str, docstrings: list[Docstring], ways: list[str]) -> None:
        """Plain, then each in the way that is drawn for it."""
        preload = [] if source == "stdlib" or os.path.isdir(source) else [source]
        drawn: dict[str, list[Docstring]] = {way: [] for way in ("plain", *ways)}
        for docstring in docstrings:
            way = self._random.choices(ways, [WAYS[way] for way in ways])[0]
            drawn[way].append(docstring)
        job = Asked("tests.e2e.doctest_job", str(self._folder / f"{self._numbers}.db"), *preload)
        try:
            for docstring in docstrings:
                self._batch(job, "plain", [docstring])
            for way in ways:
                size = TOGETHER if way in OF_THE_ENGINE else 1
                for at in range(0, len(drawn[way]), size):
                    if way != "killed" or self.counts["killed", "restores"] < self._kills:
                        self._batch(job, way, drawn[way][at : at + size])
        finally:
            job.kill()

    def _batch(self, job: Asked, way: str, docstrings: list[Docstring]) -> None:
        running: dict[int, tuple[str, str, Docstring]] = {}
        for docstring in docstrings:
            self._numbers += 1
            folder = self._folder / f"place{self._numbers}"
            folder.mkdir()
            running[self._numbers] = f"desk{self._numbers}", str(folder), docstring
            self._said(job, "", running[self._numbers], f"__import__('os').chdir({str(folder)!r})")
        for at in range(max(len(docstring.examples) for docstring in docstrings)):
            for number, (session, folder_, docstring) in list(running.items()):
                if at >= len(docstring.examples) or not self._example(job, way, (session, folder_, docstring), at):
                    del running[number]
                    self._closed(job, session)
            if running and way == "reopened":
                job.close()
                job.start()
            elif running and way == "engine killed":
                job.kill()
                job.start()
            self.counts[way, "restores"] += len(running) * (way != "plain")

    def _closed(self, job: Asked, session: str) -> None:
        try:
            job.ask(do="close", session=session)
        except (Hangs, OSError):
            job.kill()
            job.start()

    def _said(self, job: Asked, way: str, where: tuple[str, str, Docstring], code: str) -> tuple[str, str]:
        then = way if way in ("killed", "forgotten", "parked") else ""
        answer = job.ask(do="run", session=where[0], code=code, then=then)
        return _normal(answer["said"], where[1]), answer["told"]

    def _example(self, job: Asked, way: str, where: tuple[str, str, Docstring], at: int) -> bool:
        """Run one example; False where the docstring is not to be run on."""
        docstring = where[2]
        expected = docstring.expected[at]
        try:
            said, told = self._said(job, way, where, docstring.examples[at])
        except (Hangs, OSError) as error:
            job.kill()
            job.start()
            self._note(Difference(way, "hang", docstring, at, str(error)))
            return False
        if expected is None:
            return True
        self.counts[way, "examples"] += 1
        if said == expected:
            return True
        if way == "plain":
            self._note(Difference(way, "plain", docstring, at, said))
            docstring.expected[at:] = [None] * (len(docstring.expected) - at)  # says nothing of the other ways either
            return False
        report = job.ask(do="report", session=where[0])
        named = "was lost when the session was restored" in told or _names(report, docstring, at)
        self._note(Difference(way, "named" if named else "SILENT", docstring, at, f"{said}\n{told}", report))
        return False

    def _note(self, difference: Difference) -> None:
        self.counts[difference.way, difference.what] += 1
        self.found.append(difference)
        if self._verbose or difference.what in ("SILENT", "hang"):
            print(difference, flush=True)


def _normal(text: str, folder: str) -> str:
    """Without addresses, places and what differs in how cells are called."""
    text = re.sub(r"\b0x[0-9a-fA-F]+", "0x", text.replace(folder, "FOLDER"))
    return re.sub(r"<cell [^>]*>, line \d+", "CELL", re.sub(r'File "<[^"]*>", line \d+', "File, line", text))


def _agreed(answers: list[list[str]]) -> list[str | None]:
    if len({len(answer) for answer in answers}) != 1:
        return []
    return [said[0] if len(set(said)) == 1 else None for said in zip(*answers, strict=True)]


def _names(report: Iterable[list[str]], docstring: Docstring, at: int) -> bool:
    """Whether the report names something that an example uses, itself or by the functions and classes that it names."""
    used = _used(ast.parse(docstring.examples[at]))
    bodies = {name: names for source in docstring.examples[:at] for name, names in _defined(source)}
    todo = list(used)
    while todo:
        more = bodies.get(todo.pop(), set()) - used
        used |= more
        todo += more
    for name, kind, _why in report:
        if kind == "process state" or not name.lstrip("\0")[:1].isidentifier():
            return True
        if re.split(r"[^\w]", name.lstrip("\0"), maxsplit=1)[0] in used:
            return True
    return False


def _used(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _defined(source: str) -> Iterator[tuple[str, set[str]]]:
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, _used(node)


def table(source: str, counts: Counter[tuple[str, str]]) -> str:
    """A line for each way."""
    columns = ("examples", "restores", "plain", "named", "SILENT", "hang")
    lines = [f"{source[-24:]:26}" + "".join(f"{column:>10}" for column in columns)]
    for way in ("plain", *WAYS):
        if any(counts[way, column] for column in columns):
            lines.append(f"  {way:24}" + "".join(f"{counts[way, column]:>10}" for column in columns))
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--package", nargs="*", default=[], help="packages; stdlib: all modules of the standard library"
    )
    parser.add_argument("--sources", nargs="*", default=[], help="folders of documentation sources (.rst, .rst.txt)")
    parser.add_argument("--kills", type=int, default=10**6, help="at most so many in each source")
    parser.add_argument("--limit", type=int, default=10**6, help="examples of each source")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    parser.add_argument("--ways", nargs="*", default=list(WAYS), choices=list(WAYS), metavar="WAY")
    parser.add_argument("--name", default="", help="only docstrings whose name has this in it")
    parser.add_argument("--verbose", action="store_true", help="plain differences and named losses too")
    given = parser.parse_args()
    print(f"seed {given.seed}")
    total: Counter[tuple[str, str]] = Counter()
    for source in (*given.package, *given.sources):
        with tempfile.TemporaryDirectory() as folder:
            corpus = Corpus(Path(folder), random.Random(given.seed), given.kills, given.verbose)
            docstrings = [one for one in corpus.collected(source, given.limit) if given.name in one.name]
            print(f"{source[-24:]}: {len(docstrings)} docstrings, {sum(one.counted for one in docstrings)} examples")
            corpus.run(source, docstrings, given.ways)
        print(table(source, corpus.counts), flush=True)
        total += corpus.counts
    print(table("in all", total))
    return 1 if any(total[way, what] for way, what in total if what in ("SILENT", "hang", "plain")) else 0


if __name__ == "__main__":
    sys.exit(main())
