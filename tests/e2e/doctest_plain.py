"""Docstring examples, and what plain CPython says to them: a process that the doctest corpus asks (doctest_corpus).

`python -m tests.e2e.doctest_plain` answers one JSON line for each that it reads: `{"collect": where}` the examples of
a module, a package or a folder of documentation sources; `{"run": [code, …], "folder": path}` what each example says.
Either is done in a fork of this process, which has nothing of another docstring in it.
"""

from __future__ import annotations

import ast
import codeop
import contextlib
import doctest
import importlib
import io
import json
import linecache
import os
import pkgutil
import re
import select
import signal
import sys
import tempfile
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bridge.worker.namespace.values import bounded_repr
from bridge.worker.run.tracebacks import message_of, type_name

COLLECT_S = 180.0
RUN_S = 15.0

_LEFT_OUT = re.compile(
    r"\b(input|help|exit|quit|breakpoint|_exit|abort|kill|fork\w*|rmtree|webbrowser|turtle|tkinter|urlopen|getpass"
    r"|set_trace|runcall|await|asyncio\.run|HTTPS?Connection|ServerProxy|socket|doctest|pdb|readline|spawn\w*"
    r"|fetch_\w+|show_versions|gc|getrefcount|settrace|setprofile|_getframe|(?:print|extract|format)_stack|getsizeof|perf_counter|process_time|monotonic"
    r"|now|utcnow|today)\b|\btime\(\)"
)
"""Examples that ask somebody, end the process, need a network, or tell of the interpreter itself or of the time."""

_SKIPPED = re.compile(
    r"^(antigravity|this|idlelib|lib2to3|turtle|tkinter|__main__|pip|ensurepip)\b|__main__|\.conftest"
)
_USUAL = {"np": "numpy", "pd": "pandas", "nx": "networkx", "pl": "polars", "plt": "matplotlib.pyplot", "sp": "scipy"}
"""What documentation takes as imported."""

type Docstring = dict[str, Any]


def collect(where: str) -> list[Docstring]:
    """The docstrings with examples: `name`, `examples`."""
    found = _of_folder(Path(where)) if os.path.isdir(where) else _of_modules(where)
    return [docstring for docstring in found if len(docstring["examples"]) > 1]


def _of_folder(folder: Path) -> Iterator[Docstring]:
    parser = doctest.DocTestParser()
    for path in sorted(folder.rglob("*.rst*")):
        text = path.read_text(errors="replace")
        for number, section in enumerate(re.split(r"\n(?=[^\n]+\n[=\-~^*]{4,}\n)", text)):
            with contextlib.suppress(ValueError):
                sources = _sources(parser.get_examples(section))
                if sources:
                    yield {"name": f"{path.relative_to(folder)}#{number}", "examples": sources}


def _of_modules(where: str) -> Iterator[Docstring]:
    names = sorted(sys.stdlib_module_names) if where == "stdlib" else [where]
    seen: set[str] = set()
    for name in names:
        if not _SKIPPED.search(name):
            for module in _with_submodules(name):
                yield from _of_module(module, seen)


def _with_submodules(name: str) -> Iterator[types.ModuleType]:
    module = _imported(name)
    if module is None:
        return
    yield module
    for info in pkgutil.iter_modules(getattr(module, "__path__", ()), f"{name}."):
        if not _SKIPPED.search(info.name):
            yield from _with_submodules(info.name)


def _imported(name: str) -> types.ModuleType | None:
    try:
        return importlib.import_module(name)
    except BaseException:  # what is made for another system, or asks for what is not installed
        return None


def _of_module(module: types.ModuleType, seen: set[str]) -> Iterator[Docstring]:
    try:
        tests = doctest.DocTestFinder(exclude_empty=True).find(module, module.__name__)
    except Exception:
        return
    for test in tests:
        sources = _sources(test.examples)
        text = "".join(sources)
        if sources and text not in seen:
            seen.add(text)
            yield {"name": test.name, "examples": [*_imports(module, text), *sources]}


def _imports(module: types.ModuleType, text: str) -> list[str]:
    """What a docstring takes as there: the names of its module, and the usual abbreviations."""
    words = set(re.findall(r"[A-Za-z_]\w*", text))
    own = sorted(word for word in words & vars(module).keys() if not word.startswith("__") and word not in _USUAL)
    usual = [f"import {_USUAL[word]} as {word}\n" for word in sorted(words & _USUAL.keys())]
    return [*usual, *([f"from {module.__name__} import {', '.join(own)}\n"] if own else [])]


def _sources(examples: list[doctest.Example]) -> list[str]:
    if any(_LEFT_OUT.search(example.source) for example in examples):
        return []
    return [example.source for example in examples if not example.options.get(doctest.SKIP)]


def run(sources: list[str], folder: str) -> list[str]:
    """What each example says, where this process does what a session does: the last expression's value is shown."""
    os.chdir(folder)
    sys.modules["__main__"] = types.ModuleType("__main__")
    compiler = codeop.Compile()
    with open("/dev/null") as nothing, tempfile.TemporaryFile("w+") as said:
        os.dup2(nothing.fileno(), 0)
        os.dup2(nothing.fileno(), 2)
        os.dup2(said.fileno(), 1)
        sys.stdin = os.fdopen(0, closefd=False)
        sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), write_through=True)
        return [_said(source, f"<cell {number}>", compiler, said) for number, source in enumerate(sources)]


def _said(source: str, filename: str, compiler: codeop.Compile, said: Any) -> str:
    value: object = None
    error = ""
    try:
        value = _evaluated(source, filename, compiler)
    except BaseException as raised:
        error = f"{type_name(raised)}: {message_of(raised)}"
    shown = bounded_repr(value)
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    said.seek(0)
    text = said.read()
    said.seek(0)
    said.truncate()
    return together(text, shown, error)


def _evaluated(source: str, filename: str, compiler: codeop.Compile) -> object:
    namespace = vars(sys.modules["__main__"])
    linecache.cache[filename] = len(source), None, source.splitlines(keepends=True), filename
    body = ast.parse(source, filename).body
    last = body[-1] if body and isinstance(body[-1], ast.Expr) else None
    rest = body if last is None else body[:-1]
    exec(compiler(ast.Module(rest, []), filename, "exec"), namespace)  # type: ignore[arg-type]
    value = None if last is None else eval(compiler(ast.Expression(last.value), filename, "eval"), namespace)  # type: ignore[arg-type]
    if value is not None:
        namespace["_"] = value
    return value


def together(printed: str, shown: str, error: str) -> str:
    """One text of what an example printed, showed and raised."""
    return "\n".join(part for part in (printed.rstrip("\n"), shown, error) if part)


def forked(work: Callable[[], Any], seconds: float) -> Any:
    """What `work` returns in a fork of this process; None when it does not return in time."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        with contextlib.suppress(BaseException):
            os.setsid()
            os.close(reader)
            answer = json.dumps(work()).encode()
            with open(writer, "wb") as stream:
                stream.write(answer)
        os._exit(0)
    os.close(writer)
    data = b""
    with open(reader, "rb", buffering=0) as stream:
        while select.select([stream], [], [], seconds)[0] and (chunk := stream.read(2**16)):
            data += chunk
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    try:
        return json.loads(data)
    except ValueError:
        return None


def main() -> None:
    os.environ["MPLBACKEND"] = "agg"
    with os.fdopen(os.dup(1), "w", buffering=1) as answers:
        os.dup2(2, 1)
        for line in sys.stdin:
            asked = json.loads(line)
            if "collect" in asked:
                where = asked["collect"]
                print(json.dumps(forked(lambda: collect(where), COLLECT_S)), file=answers)  # noqa: B023
                if where != "stdlib" and not os.path.isdir(where):
                    _imported(where)
            else:
                work = lambda: run(asked["run"], asked["folder"])  # noqa: B023, E731
                print(json.dumps(forked(work, RUN_S)), file=answers)


if __name__ == "__main__":
    main()
