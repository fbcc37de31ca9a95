"""`python -m tests.e2e.test262_suite FOLDER [--limit N --seed S] [--native DIRECTORY]`: JavaScript as it is specified.

FOLDER: a checkout of tc39/test262. A seeded sample of test/language and test/built-ins, each in an instance of its own
by `engine.sandbox.javascript`, in sloppy and in strict mode as its flags say, its harness first. Beside it, where
DIRECTORY has the package quickjs-ng (`pip install --target DIRECTORY quickjs-ng==0.17.0.2`: our engine in our version,
as native code), what that makes of the same scripts. Tests are left out that need more than one realm or thread
(`$262`). Modules are ours alone to run: that package loads none.

What differs is listed: from the native engine where that can run it, else from the standard. Exits with 1 when that is
not one of the reasons in specs/javascript.md (Beside the standard).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Self

import durable

AREAS = ("test/language", "test/built-ins")
LIMITS = durable.SandboxLimits(memory=128 * 2**20, fuel=None, timeout_ms=30_000)
NATIVE_S = 30.0
EVALUATED = "This statement should not be evaluated"
"""What a test throws whose source is no JavaScript."""
NO_TEXT = "embedded null character"
"""The native engine's package takes no text with a NUL."""
HARNESS = ("assert.js", "sta.js")
DONE = "doneprintHandle.js"
COMPLETE, FAILURE = "Test262:AsyncTestComplete", "Test262:AsyncTestFailure:"
BEGIN = """
var $262 = {
  global: globalThis, gc() {}, detachArrayBuffer(buffer) { buffer.transfer(); },
};
"""
OURS = "var print = (...values) => console.log(...values);"
UNHAD = re.compile(r"\$262\s*\.\s*(createRealm|agent|evalScript|AbstractModuleSource|IsHTMLDDA)")
"""What a host of the suite may have, and ours has not: other realms, threads."""

PROPOSED = frozenset(
    (
        "import-defer",
        "source-phase-imports",
        "source-phase-imports-module-source",
        "immutable-arraybuffer",
        "ShadowRealm",
    )
)
"""With modules, and not in this engine."""

ENGINES = re.compile(
    r"/(namespace-unambiguous-if-|import-and-export-propagates-binding|module-graphs-does-not-hang|rejection-order)"
    r"|using/initializer-.*imported-module"
)
"""Modules that quickjs-ng's own list of known errors has, beside what it says of scripts."""

_ABOUT = re.compile(r"/\*---(.*?)---\*/", re.S)


@dataclass(frozen=True, slots=True)
class Case:
    """A test in one mode, and what is specified of it."""

    file: Path
    name: str
    source: str
    strict: bool
    flags: frozenset[str]
    includes: tuple[str, ...]
    features: frozenset[str]
    negative: tuple[str, str] | None
    """The phase, and the error's name."""

    @classmethod
    def read(cls, file: Path, folder: Path) -> list[Case]:
        """In the modes that its flags say."""
        source = file.read_bytes().decode("utf-8", "surrogatepass")
        found = _ABOUT.search(source)
        about = found[1].replace("\r\n", "\n").replace("\r", "\n") if found else ""
        flags = frozenset(_listed(about, "flags"))
        negative = re.search(r"^negative:\s*\n((?:[ \t]+.*\n?)+)", about, re.M)
        wanted = None
        if negative is not None:
            fields = dict(re.findall(r"(\w+):\s*(\S+)", negative[1]))
            wanted = fields["phase"], fields["type"]
        modes = [False] if flags & {"raw", "module", "noStrict"} else [True] if "onlyStrict" in flags else [False, True]
        name = str(file.relative_to(folder))
        includes = tuple(_listed(about, "includes"))
        features = frozenset(_listed(about, "features"))
        return [cls(file, name, source, mode, flags, includes, features, wanted) for mode in modes]

    @property
    def title(self) -> str:
        """Its file, and its mode."""
        return f"{self.name}{' (strict)' if self.strict else ''}"

    def harness(self, folder: Path, *before: str) -> str:
        """What runs before it; "" for what is to be run alone."""
        if "raw" in self.flags:
            return ""
        names = [*HARNESS, *([DONE] if "async" in self.flags else []), *self.includes]
        return "\n".join([*before, BEGIN, *(_harness(folder / "harness" / name) for name in names)])

    def script(self) -> str:
        """Its source in its mode."""
        return f'"use strict";\n{self.source}' if self.strict else self.source

    def verdict(self, error: str, printed: str) -> str:
        """What is not as specified, of what it ended with; "" when all is."""
        if self.negative is not None:
            wanted = self.negative[1]
            return "" if error.partition(":")[0] == wanted else f"{error or 'nothing'} instead of {wanted}"
        if error:
            return error
        if "async" in self.flags and COMPLETE not in printed:
            return printed.partition(FAILURE)[2].strip() or "it was never done"
        return ""


_texts: dict[Path, str] = {}


def _harness(file: Path) -> str:
    if file not in _texts:
        _texts[file] = file.read_text()
    return _texts[file]


def _listed(about: str, name: str) -> list[str]:
    found = re.search(rf"^{name}:[ \t]*(?:\[([^\]]*)\]|\n((?:[ \t]+-.*\n?)+))", about, re.M)
    if found is None:
        return []
    return re.findall(r"[^\s,]+", found[1]) if found[1] is not None else re.findall(r"-\s*(\S+)", found[2])


def cases(folder: Path, limit: int, seed: int, only: str = "") -> Iterator[Case]:
    """Those of a sample of files that can be run here."""
    files = sorted(file for area in AREAS for file in (folder / area).rglob("*.js") if "_FIXTURE" not in file.name)
    files = [file for file in files if only in str(file.relative_to(folder))]
    random.Random(seed).shuffle(files)
    for file in files[:limit] if limit else files:
        for case in Case.read(file, folder):
            if UNHAD.search(case.source) is None and "CanBlockIsTrue" not in case.flags:
                yield case


async def ours(engine: durable.Engine, case: Case, folder: Path) -> tuple[str, str]:
    """What it ended with, "" for nothing, and what it printed, in an instance of its own."""
    modules: dict[str, str | bytes] = {}
    script, module = case.script(), "module" in case.flags
    if module or "_FIXTURE" in case.source:
        modules = _modules(case)
    if module:
        script = f"import {json.dumps('./' + case.file.name)};"
    async with engine.sandbox.javascript(limits=LIMITS, modules=modules) as js:
        try:
            if harness := case.harness(folder, OURS):
                await js.execute(harness)
            await js.execute(script, module=module)
        except durable.ScriptError as error:
            return f"{error.name}: {error.message}", js.used.stdout
        except durable.SandboxError as error:
            return f"{type(error).__name__}: {error}", ""
        return "", js.used.stdout


def _modules(case: Case) -> dict[str, str | bytes]:
    """Itself and what lies around it for its kind, with what that names."""
    folder = case.file.parent
    near = [file for file in folder.rglob("*") if file.is_file()]
    found = {file: _module(file) for file in near if file == case.file or "_FIXTURE" in file.name}
    while more := [file for file in near if file not in found and _named(file.name, found.values())]:
        found |= {file: _module(file) for file in more}
    return {str(file.relative_to(folder)): source for file, source in found.items()}


def _named(name: str, sources: Iterable[str | bytes]) -> bool:
    return any(f"/{name}" in source for source in sources if isinstance(source, str))


def _module(file: Path) -> str | bytes:
    data = file.read_bytes()
    return data.decode("utf-8", "surrogatepass") if file.suffix in (".js", ".json") else data


class Native:
    """The same engine as native code, in a process that is begun again when it crashed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def run(self, case: Case, folder: Path) -> tuple[str, str]:
        """What it ended with, and what it printed."""
        if self._process is None or self._process.poll() is not None:
            program = Path(__file__).with_name("test262_native.py")
            self._process = subprocess.Popen(
                [sys.executable, str(program), str(self._directory)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        scripts = [script for script in (case.harness(folder), case.script()) if script]
        print(json.dumps({"scripts": scripts, "seconds": NATIVE_S}), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            self._process.wait()
            return "it crashed", ""
        error, printed = json.loads(answer)
        return error, printed


@dataclass(frozen=True, slots=True)
class Difference:
    """What ours makes of a case, and the native engine; "" is as specified, None is unknown."""

    case: Case
    ours: str
    native: str | None


def reason(found: Difference) -> str:
    """Which row of specs/javascript.md, Beside the standard, has it; "" for none."""
    case, said = found.case, f"{found.ours} {found.case.source}"
    if "Atomics" in said or "SharedArrayBuffer" in said:
        return "T1"
    if "may not import" in found.ours and "dynamic-import" in case.features:
        return "T2"
    if case.negative and "await" in case.source and "module" not in case.flags and EVALUATED in found.ours:
        return "T4"
    if found.native is None and (case.features & PROPOSED or ENGINES.search(case.name)):
        return "T3"
    return ""


async def suite(
    folder: Path, limit: int, seed: int, native: Path | None, only: str = ""
) -> tuple[Counter[str], list[Difference]]:
    """How many there were of each kind, and what differs: from the native engine, or, without it, from the standard."""
    count: Counter[str] = Counter()
    found: list[Difference] = []
    with tempfile.TemporaryDirectory() as place, Native(native or Path()) as beside:
        async with durable.open(Path(place) / "work.db") as engine:
            for case in cases(folder, limit, seed, only):
                wrong = case.verdict(*await ours(engine, case, folder))
                theirs = None
                if native is not None and "module" not in case.flags and "_FIXTURE" not in case.source:
                    said = beside.run(case, folder)
                    theirs = None if NO_TEXT in said[0] else case.verdict(*said)
                count["all"] += 1
                count["as specified"] += not wrong
                count["beside the native engine"] += theirs is not None
                count["as specified there"] += theirs == ""
                if bool(wrong) != bool(theirs) if theirs is not None else bool(wrong):
                    found.append(Difference(case, wrong, theirs))
    return count, found


def main() -> int:
    """A sample, and what differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit", type=int, default=0, help="files; all without it")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--native", type=Path, help="where quickjs-ng is installed")
    parser.add_argument("--only", default="", help="part of a test's path")
    chosen = parser.parse_args()
    began = monotonic()
    count, found = asyncio.run(suite(chosen.folder, chosen.limit, chosen.seed, chosen.native, chosen.only))
    for each in sorted(found, key=lambda each: each.case.title):
        there = "" if each.native is None else f"; native: {each.native or 'as specified'}"
        print(f"{reason(each) or '!!'} {each.case.title}: {(each.ours or 'as specified')[:200]}{there[:200]}")
    reasons = Counter(reason(each) or "no reason" for each in found)
    said = ", ".join(f"{number:,} {kind}" for kind, number in count.items())
    why = ", ".join(f"{number:,} by {each}" for each, number in sorted(reasons.items()))
    print(f"{said}; {len(found):,} differ{why and f': {why}'}; {monotonic() - began:.0f} s")
    return int("no reason" in reasons or not count["all"])


if __name__ == "__main__":
    sys.exit(main())
