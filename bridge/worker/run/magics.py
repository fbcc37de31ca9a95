"""Habits of IPython in cells: `%magic`, `!command`, `name?`, code fences (specs/namespace.md, Habits).

Loaded when a cell does not compile: what the line in error is meant to be is written as Python, line for line, and the
cell compiled again. What has no meaning here is a SyntaxError that says what to write instead.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Callable
from time import perf_counter, process_time
from typing import Any

NAME = "__magics__"
"""The name in builtins under which transformed code finds the functions of this module."""

_LINES_MAX = 1_000
"""Lines of one cell that are looked at."""

LOADED_BYTES_MAX = 2**20
"""Of a file that `%load` puts into a cell."""

_MAGIC = re.compile(r"(?P<indent>\s*)(?P<assigned>[\w.,\[\]'\" ]+=\s*)?%(?P<name>\w+)[ \t]*(?P<rest>.*)")
_SYSTEM = re.compile(r"(?P<indent>\s*)(?P<assigned>[\w.,\[\]'\" ]+=\s*)?!{1,2}(?P<rest>.*)")
_HELP = re.compile(r"(?P<indent>\s*)(?:(?P<before>\?{1,2})\s*(?P<first>[\w.]+)|(?P<last>[\w.]+)(?P<after>\?{1,2}))\s*")
_PIP = re.compile(r"(?P<indent>\s*)(?P<name>pip|conda|uv)\s+(?P<rest>\w+.*)")
_CELL_MAGIC = re.compile(r"%%(\w+)[ \t]*(.*)")
_FENCE = re.compile(r"\s*(```+|~~~+)[\w+-]*\s*")
_PROMPT = re.compile(r"\s*(?:>>>|\.\.\.)(?: |$)")

HINTS = {
    "run": "exec(open('file.py').read()), or import the module",
    "reset": "session.clear_namespace(), or `del name`",
    "load": "read the file with open(...)",
    "recall": "In[n]",
    "rep": "In[n]",
    "writefile": "pathlib.Path('file').write_text(...)",
    "capture": "contextlib.redirect_stdout(io.StringIO())",
    "html": "display an object with _repr_html_",
    "javascript": "a session with language='javascript'",
    "sql": "a library of that database",
    "prun": "cProfile.run('...')",
    "debug": "sys.last_exc has the exception",
    "history": "In, or `durable list`",
    "store": "variables are kept as they are",
}
"""Advice on what to write instead, for magics that have no meaning here."""


class UsageError(SyntaxError):
    """A magic that sessions do not have."""


UsageError.__module__ = "builtins"
UsageError.__qualname__ = UsageError.__name__ = "SyntaxError"


def rewritten(code: str, error: SyntaxError) -> str | None:
    """The cell with the line in error written as Python; None where that is nothing of IPython's. Raises UsageError."""
    lines = code.split("\n")
    for plain in (_unfenced, _without_prompts, _dedented):
        if (found_plain := plain(lines)) is not None:
            return found_plain
    first = next((at for at, line in enumerate(lines) if line.strip()), 0)
    if (found := _CELL_MAGIC.fullmatch(lines[first].strip())) is not None:
        return _cell_magic(found[1], found[2], lines, first)
    at = (error.lineno or 1) - 1
    if not 0 <= at < len(lines) or len(lines) > _LINES_MAX:
        return None
    line = _line(lines[at])
    if line is None:
        return None
    setattr(builtins, NAME, sys.modules[__name__])
    return "\n".join([*lines[:at], line, *lines[at + 1 :]])


def _unfenced(lines: list[str]) -> str | None:
    """The cell without code fences round it: the lines keep their numbers."""
    filled = [at for at, line in enumerate(lines) if line.strip()]
    if len(filled) < 2 or not _FENCE.fullmatch(lines[filled[0]]):
        return None
    closing = next((at for at in filled[1:] if _FENCE.fullmatch(lines[at])), None)
    end = len(lines) if closing is None else closing
    return "\n".join("" if at == filled[0] or at >= end else line for at, line in enumerate(lines))


def _without_prompts(lines: list[str]) -> str | None:
    """The cell without the prompts `>>>` and `...`, and without what is no input: an example from documentation."""
    first = next((line for line in lines if line.strip()), "")
    if not first.lstrip().startswith(">>>") or not _PROMPT.match(first):
        return None
    prompts = [_PROMPT.match(line) for line in lines]
    return "\n".join(line[prompt.end() :] if prompt else "" for line, prompt in zip(lines, prompts, strict=True))


def _dedented(lines: list[str]) -> str | None:
    """The cell without the indentation that all its lines have."""
    first = next((line for line in lines if line.strip()), "")
    indent = first[: len(first) - len(first.lstrip())]
    if not indent or any(line.strip() and not line.startswith(indent) for line in lines):
        return None
    return "\n".join(line.removeprefix(indent) for line in lines)


def _line(line: str) -> str | None:
    if (found := _SYSTEM.fullmatch(line)) is not None:
        how = "lines" if found["assigned"] or line.lstrip().startswith("!!") else "system"
        return f"{found['indent']}{found['assigned'] or ''}{NAME}.{how}({found['rest']!r}, globals(), locals())"
    if (found := _MAGIC.fullmatch(line)) is not None:
        return f"{found['indent']}{found['assigned'] or ''}{_magic(found['name'], found['rest'].strip())}"
    if (found := _HELP.fullmatch(line)) is not None:
        name, marks = found["first"] or found["last"], found["before"] or found["after"]
        return f"{found['indent']}{NAME}.explain({name!r}, {len(marks)}, globals())"
    if (found := _PIP.fullmatch(line)) is not None:
        return f"{found['indent']}{_magic(found['name'], found['rest'])}"
    return None


def _magic(name: str, rest: str) -> str:
    match name:
        case "pip" | "uv":
            return f"{NAME}.pip({rest!r}, globals(), locals())"
        case "time":
            if _is_expression(rest):
                return f"({NAME}.begin(), ({rest}), {NAME}.end())[1]"
            return f"{NAME}.begin(); {rest or 'pass'}; {NAME}.end()"
        case "timeit":
            return f"{NAME}.timeit({rest!r}, globals())"
        case "cd":
            return f"{NAME}.cd({rest!r})"
        case "pwd":
            return "__import__('os').getcwd()"
        case "env" | "set_env":
            return f"{NAME}.env({rest!r})"
        case "who" | "whos":
            return f"{NAME}.who(globals())"
        case "matplotlib" | "config" | "load_ext" | "autoreload" | "reload_ext" | "pylab":
            return f"pass  # %{name} {rest}"
        case "load" | "loadpy" if _front_end() is not None:
            return f"{NAME}.load({name!r}, {rest!r})"
        case "recall" | "rep" if _front_end() is not None:
            return f"{NAME}.recall({rest!r}, globals())"
        case "pinfo" | "pinfo2":
            return f"{NAME}.explain({rest!r}, {2 if name.endswith('2') else 1}, globals())"
        case "ls" | "cat" | "mkdir" | "rm" | "cp" | "mv" | "sx" | "system" | "bash" | "sh":
            command = rest if name in ("sx", "system", "bash", "sh") else f"{name} {rest}"
            return f"{NAME}.system({command!r}, globals(), locals())"
    instead = HINTS.get(name, "plain Python")
    raise UsageError(f"%{name} is a command of IPython that sessions do not have; write {instead} instead")


def _cell_magic(name: str, rest: str, lines: list[str], first: int) -> str:
    """`%%name` over a whole cell."""
    setattr(builtins, NAME, sys.modules[__name__])
    body = lines[first + 1 :]
    match name:
        case "time":
            return "\n".join([*lines[:first], f"{NAME}.time_cell()", *body])
        case "timeit":
            return "\n".join([*lines[:first], f"{NAME}.timeit({'\n'.join(body)!r}, globals(), {rest!r})"])
        case "bash" | "sh" | "script":
            script = "\n".join(body)
            return "\n".join([*lines[:first], f"{NAME}.system({script!r}, None, None)"])
        case "python" | "python3" | "ipython":
            return "\n".join([*lines[:first], "", *body])
    raise UsageError(
        f"%%{name} is a command of IPython that sessions do not have; write {HINTS.get(name, 'plain Python')} instead"
    )


def _is_expression(text: str) -> bool:
    try:
        compile(text, "<magic>", "eval", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    except (SyntaxError, ValueError):
        return False
    return True


def run_line(name: str, line: str, names: dict[str, Any]) -> Any:
    """Run `%name line` now; its value. Raises UsageError."""
    setattr(builtins, NAME, sys.modules[__name__])
    code = _magic(name, line.strip())
    if _is_expression(code):
        return eval(code, names)  # noqa: S307  # the cell's own code
    exec(code, names)  # noqa: S102
    return None


# -- what transformed code calls ----------------------------------------------------------------------------------


def expanded(command: str, names: dict[str, Any] | None, inner: dict[str, Any] | None) -> str:
    """A command with `{expression}` and `$name` of the code's in it."""
    if names is None:
        return command

    def braced(found: re.Match[str]) -> str:
        try:
            return str(eval(found[1], names, inner))  # noqa: S307  # the cell's own code
        except Exception:
            return found[0]

    def named(found: re.Match[str]) -> str:
        where = inner if inner is not None and found[1] in inner else names
        return str(where[found[1]]) if found[1] in where else found[0]

    return re.sub(r"\$(\w+)", named, re.sub(r"\{([^{}]+)\}", braced, command))


def system(command: str, names: dict[str, Any] | None, inner: dict[str, Any] | None) -> None:
    """Run a shell's command; what it prints is the cell's output, `_exit_code` how it ended."""
    text = expanded(command, names, inner).strip()
    words = text.split(None, 1)
    if words and words[0] in ("pip", "pip3"):
        pip(words[1] if len(words) > 1 else "", None, None)
        return
    sys.stdout.flush()
    _ended(subprocess.run(text, shell=True, check=False, stdin=subprocess.DEVNULL).returncode)  # noqa: S602


def lines(command: str, names: dict[str, Any] | None, inner: dict[str, Any] | None) -> list[str]:
    """Run a shell's command; returns the lines that it prints."""
    text = expanded(command, names, inner).strip()
    done = subprocess.run(  # noqa: S602
        text, shell=True, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    _ended(done.returncode)
    return done.stdout.splitlines()


def pip(words: str, names: dict[str, Any] | None, inner: dict[str, Any] | None) -> None:
    """Install packages into the environment of this session: with pip, or uv where that made it."""
    import importlib
    import importlib.util
    import shlex
    import shutil

    arguments = shlex.split(expanded(words, names, inner))
    if arguments[:1] == ["pip"]:
        arguments = arguments[1:]
    if importlib.util.find_spec("pip") is not None:
        command = [sys.executable, "-m", "pip", *arguments]
    elif (uv := shutil.which("uv")) is not None:
        command = [uv, "pip", *arguments[:1], "--python", sys.executable, *arguments[1:]]
    else:
        raise RuntimeError(f"{sys.executable} has no pip, and there is no uv; install packages where the engine runs")
    sys.stdout.flush()
    _ended(subprocess.run(command, check=False, stdin=subprocess.DEVNULL).returncode)
    importlib.invalidate_caches()


def _ended(code: int) -> None:
    vars(sys.modules["__main__"])["_exit_code"] = code


_started: list[tuple[float, float]] = []
_of_cell: list[bool] = []


def begin() -> None:
    """Begin to measure time."""
    _started.append((perf_counter(), process_time()))


def end() -> None:
    """Say how long it took."""
    wall, used = _started.pop()
    print(f"CPU times: {_seconds(process_time() - used)}\nWall time: {_seconds(perf_counter() - wall)}")


def time_cell() -> None:
    """Measure from here to the end of the cell."""
    begin()
    _of_cell.append(True)


def cell_ended() -> None:
    """Say how long the cell took, if it wanted that."""
    if _of_cell:
        end()
    _of_cell.clear()
    _started.clear()


def timeit(code: str, names: dict[str, Any], setup: str = "") -> None:
    """Run the code many times; prints the mean of one, and its deviation."""
    import statistics
    import timeit as timer

    while (option := re.match(r"\s*-[nrtcqop]\s*\d*\s*", code)) is not None:
        code = code[option.end() :]
    measured = timer.Timer(code or "pass", setup or "pass", globals=names)
    count, _took = measured.autorange()
    each = [one / count for one in measured.repeat(7, count)]
    mean, deviation = statistics.mean(each), statistics.pstdev(each)
    print(f"{_seconds(mean)} ± {_seconds(deviation)} per loop (mean ± std. dev. of 7 runs, {count:,} loops each)")


def _seconds(value: float) -> str:
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if value * factor >= 1:
            return f"{value * factor:.3g} {unit}"
    return f"{value * 1e9:.3g} ns"


def cd(directory: str) -> None:
    """Change the working directory, and print it."""
    os.chdir(os.path.expanduser(directory.strip("'\"") or "~"))
    print(os.getcwd())


def env(text: str) -> str | dict[str, str] | None:
    """`NAME=value` or `NAME value` sets, `NAME` reads, nothing lists the environment."""
    if not text:
        return dict(os.environ)
    name, separator, value = text.partition("=") if "=" in text else text.partition(" ")
    if not separator:
        return os.environ[name]
    os.environ[name.strip()] = value.strip()
    print(f"env: {name.strip()}={value.strip()}")
    return None


def _front_end() -> Any:
    """The shell of a notebook, whose front end can be asked for something; None elsewhere."""
    get = getattr(builtins, "get_ipython", None)
    return None if get is None else get()


def load(name: str, file: str) -> None:
    """Put a file's text in the place of the cell's code, below the line that asked for it."""
    path = os.path.expanduser(file.strip("'\""))
    if not os.path.exists(path) and os.path.exists(f"{path}.py"):
        path += ".py"
    if not path or os.path.isdir(path):
        raise ValueError(f"%{name} takes the name of a file")
    if os.path.getsize(path) > LOADED_BYTES_MAX:
        raise ValueError(f"{path} has more than {LOADED_BYTES_MAX:,} bytes, which no cell takes")
    with open(path, encoding="utf-8", errors="replace") as opened:
        text = opened.read()
    _front_end().set_next_input(f"# %{name} {file}\n{text}", replace=True)


def recall(which: str, names: dict[str, Any]) -> None:
    """Put code of earlier cells (`4`, `4-6`, `4 7`) into the next one; without a number the last value's text."""
    if not which:
        _front_end().set_next_input(str(names.get("_", "")))
        return
    history = list(names["In"])
    first = _front_end().execution_count - len(history) + 1
    found: list[str] = []
    for part in which.split():
        bounds = part.split("-")
        if not all(bound.isdecimal() for bound in bounds) or len(bounds) > 2:
            raise ValueError(f"%recall takes numbers of cells (4, 4-6), not {part!r}")
        found += history[max(0, int(bounds[0]) - first) : max(0, int(bounds[-1]) - first + 1)]
    if not found:
        raise ValueError(f"there is no cell {which}; the newest {len(history)} are there")
    _front_end().set_next_input("\n".join(found))


def who(names: dict[str, Any]) -> None:
    """Print the user's names."""
    hidden = ("_", "In", "Out")
    print("   ".join(sorted(n for n in names if not n.startswith(hidden))) or "There are no variables.")


def explain(name: str, marks: int, names: dict[str, Any]) -> None:
    """Show what there is to know of a name: signature, text, with two marks its source; in a notebook in its pager."""
    text = "\n".join(_described(name, marks, names))
    shell = _front_end()
    if shell is None:
        print(text)
    else:
        shell.payload_manager.write_payload({"source": "page", "data": {"text/plain": text}, "start": 0})


def _described(name: str, marks: int, names: dict[str, Any]) -> list[str]:
    try:
        value = eval(name, names)  # noqa: S307  # the cell's own names
    except Exception:
        return [f"Object `{name}` not found."]
    last: tuple[str, Callable[[], str]] = (
        ("Source:\n", lambda: inspect.getsource(value))
        if marks > 1
        else ("Docstring:\n", lambda: inspect.getdoc(value) or "<no docstring>")
    )
    parts: list[tuple[str, Callable[[], str]]] = [
        ("Signature: ", lambda: f"{name}{inspect.signature(value)}"),
        ("String:    ", lambda: _short(value)),
        last,
    ]
    found = [f"Type:      {type(value).__qualname__}"]
    for label, read in parts:
        try:
            found.append(f"{label}{read()}")
        except (TypeError, ValueError, OSError):
            continue
    return found


def _short(value: Any) -> str:
    from bridge.worker.namespace.values import bounded_repr

    return bounded_repr(value, 200)
