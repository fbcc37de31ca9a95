"""Python programs of tests as processes forked from one that has imported the engine already.

A test whose command begins with `PYTHON` instead of `sys.executable` gets a real process: a child of its own, with its
own memory, descriptors, signals and exit code. What it is spared are the imports, most of what a short program costs.
`sys.executable` stays where the start of an interpreter is what a test is about: what is imported, what the process
list shows, options of Python. Outside of pytest, and where a command cannot be forked, both are the same.
"""

from __future__ import annotations

import atexit
import marshal
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any, Self

from bridge.launch import zygote_start
from bridge.launch.launcher import spawn
from tests.warm_python_process import CLONE, REQUEST_BYTES_MAX

ROOT = Path(__file__).parents[1]

READ_AT_START = ("PYTHON", "LD_", "LC_", "LANG", "MALLOC_", "TZ")
"""Variables with these prefixes are read once, when an interpreter starts."""

READ_LATER = {"PYTHONASYNCIODEBUG", "PYTHONPATH"}
"""The exceptions: the process that is forked takes them over."""

PRELOADED = (
    "durable.engine.engine",
    "durable.functions",
    "durable.http.serve",
    "durable.prompts.webhooks",
    "durable.store.sqlite.store",
    "aiohttp",
    "pydantic",
    "resonate",
)
"""Modules that programs of tests import sooner or later, beside the commands' own."""


class WarmPython:
    """The process that programs are forked from; it is begun with the first of them, and ends with this one."""

    def __init__(
        self, modules: Sequence[str], options: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> None:
        """modules: what it imports. options: Python's. environment: this process's own where none is given."""
        self._modules = tuple(modules)
        self._options = tuple(options)
        self._environment = environment
        self._owner = 0
        self._busy = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._at_start: dict[str, str] = {}

    def start(
        self,
        words: Sequence[str],
        cwd: str,
        environment: Mapping[str, str],
        descriptors: Sequence[int],
        *,
        session: bool,
    ) -> int:
        """Fork a program, a child of this process; its pid, or 0 where it has to be started in the usual way.

        words: what follows the interpreter. descriptors: its stdin, stdout and stderr, and further ones that it keeps
        under their numbers. session: it leads a session of its own.
        """
        ignored = [int(n) for n in signal.valid_signals() if signal.getsignal(n) is signal.SIG_IGN]
        request = marshal.dumps((list(words), cwd, dict(environment), list(descriptors[3:]), ignored, session))
        if len(request) > REQUEST_BYTES_MAX or any(map(os.isatty, descriptors[:3])):
            return 0
        with self._busy:
            if self._control is None:
                self._control = self._begin()
            if read_at_start(environment) != self._at_start or self._owner != os.getpid():
                return 0  # whoever this process forked is not the parent of what it would get
            socket.send_fds(self._control, [request], descriptors)
            return int(self._control.recv(100))

    def _begin(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * REQUEST_BYTES_MAX)
        environment = os.environ if self._environment is None else self._environment
        self._owner, self._at_start = os.getpid(), read_at_start(environment)
        with theirs:
            command = [
                sys.executable,
                *self._options,
                "-m",
                "tests.warm_python_process",
                str(theirs.fileno()),
                *self._modules,
            ]
            none = subprocess.DEVNULL  # a program has streams of its own
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdin=none, stdout=none, pass_fds=(theirs.fileno(),)
            )
        atexit.register(self._end)
        return ours

    def _end(self) -> None:
        assert self._control is not None
        assert self._process is not None
        if self._owner == os.getpid():
            self._control.close()
            self._process.wait()


def read_at_start(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of an environment that only a new interpreter obeys."""
    return {k: v for k, v in environment.items() if k.startswith(READ_AT_START) and k not in READ_LATER}


def commands() -> list[str]:
    """The modules of the command line."""
    folder = ROOT / "durable/cli/commands"
    return [f"durable.cli.commands.{path.stem}" for path in sorted(folder.glob("*.py")) if path.stem != "__init__"]


class WarmCommand(str):
    """The interpreter, as the first word of a command that may be forked; such a command begins with `options`."""

    sources: Iterator[WarmPython]
    options: list[str]

    @classmethod
    def of(
        cls, count: int, modules: Sequence[str], *options: str, environment: Mapping[str, str] | None = None
    ) -> Self:
        """A command that `count` processes are forked for, in turn: one after another has another hash seed."""
        self = cls(sys.executable)
        self.sources = cycle([WarmPython(modules, options, environment) for _ in range(count)])
        self.options = list(options)
        return self


PYTHON = WarmCommand.of(1, [*commands(), *PRELOADED])
ZYGOTE = WarmCommand.of(3, ["bridge.worker.zygote_main"], "-P")


class WarmStart:
    """What is started by this process's tests in a warm way: their commands, and the zygotes of their engines."""

    def __init__(self) -> None:
        self.zygotes = True
        """False: each zygote is an interpreter of its own."""
        self.usual: Callable[..., None] = subprocess.Popen._execute_child  # type: ignore[attr-defined]
        """What starts programs where nothing is installed."""

    def install(self) -> None:
        """Let `subprocess`, and so asyncio too, fork the commands that begin with PYTHON, and engines their zygotes."""
        if sys.platform != "linux" or os.uname().machine not in CLONE:
            return

        def execute_child(popen: Any, args: Any, *rest: Any) -> None:
            if not self._program(popen, args, rest):
                self.usual(popen, args, *rest)

        def start_zygote(module: str, arguments: Iterable[object], **options: Any) -> int:
            words = list(map(str, arguments))
            return self._zygote(module, words, **options) or spawn(module, words, **options)

        subprocess.Popen._execute_child = execute_child  # type: ignore[attr-defined]
        vars(zygote_start)["spawn"] = start_zygote

    def _program(self, popen: Any, args: Any, rest: tuple[Any, ...]) -> bool:
        """Whether it was forked. `rest`: the arguments of `Popen._execute_child` behind the first."""
        if not isinstance(args, list | tuple) or not isinstance(args[0], WarmCommand):
            return False
        executable, preexec, _close, kept, cwd, env, _info, _flags, shell, *others = rest
        ends, (_restored, *users, session, group) = others[:6], others[6:]
        if executable is not None or preexec or kept or shell or users != [None, None, None, -1] or group != -1:
            return False
        program, options = args[0], list(args[1 : len(args[0].options) + 1])
        words = [os.fspath(word) for word in args[len(options) + 1 :]]
        if options != program.options or not words or (words[0].startswith("-") and words[0] not in ("-m", "-c")):
            return False
        directory = os.path.abspath(os.getcwd() if cwd is None else cwd)
        if not os.path.isdir(directory):
            return False
        stdin, _, _, stdout, _, stderr = ends
        descriptors = [number if end == -1 else end for number, end in enumerate((stdin, stdout, stderr))]
        environment = dict(os.environ if env is None else env)
        pid = next(program.sources).start(words, directory, environment, descriptors, session=bool(session))
        if pid:
            popen.pid = pid
            popen._child_created = True
            popen._close_pipe_fds(*ends)
        return bool(pid)

    def _zygote(
        self,
        module: str,
        words: Sequence[str],
        *,
        python: str,
        environment: Mapping[str, str] | None,
        replace: Mapping[int, int],
        keep: Iterable[int],
    ) -> int:
        """The pid of one that was forked; 0 where it has to be spawned."""
        if not self.zygotes or python != sys.executable:
            return 0
        code = f"from {module} import main; main({words!r})"
        seen = os.environ if environment is None else environment
        none = os.open(os.devnull, os.O_RDONLY)
        try:
            descriptors = [none, replace.get(1, 1), replace.get(2, 2), *keep]
            return next(ZYGOTE.sources).start(["-c", code], os.getcwd(), seen, descriptors, session=True)
        finally:
            os.close(none)


WARM_START = WarmStart()
