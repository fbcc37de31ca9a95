"""The process that `tests.warm_python` forks programs from: `python -m tests.warm_python_process SOCKET MODULE …`.

Each program becomes what `python -m NAME`, `python -c CODE` or `python FILE` is, in a child of the process that asks
for it (CLONE_PARENT), which collects it as any other.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import io
import marshal
import os
import runpy
import signal
import socket
import sys
import threading
import types
from importlib.machinery import BuiltinImporter, SourceFileLoader
from typing import Any, NamedTuple

REQUEST_BYTES_MAX = 150_000
"""Of a packet; the kernel's buffer of a socket takes no larger one."""

CLONE = {"x86_64": 56, "aarch64": 220}
"""The number of the system call on each machine; on others programs start in the usual way."""
_CLONE_PARENT, _CLONE_CHILD_SETTID, _CLONE_CHILD_CLEARTID = 0x0000_8000, 0x0100_0000, 0x0020_0000
_PR_GET_TID_ADDRESS = 40
_DESCRIPTORS_MAX = 8
_libc = ctypes.PyDLL(None)


class Program(NamedTuple):
    """What a child is to become."""

    words: list[str]
    cwd: str
    environment: dict[str, str]
    kept: list[int]
    ignored: list[int]
    session: bool


def clone() -> int:
    """`os.fork`, but for the parent: the child is a sibling of this process. This process has one thread."""
    thread_id = ctypes.c_void_p()  # where libc keeps it, which fork would set
    if _libc.prctl(_PR_GET_TID_ADDRESS, ctypes.byref(thread_id), 0, 0, 0):
        raise OSError("the kernel does not tell where the thread's id is kept")
    flags = _CLONE_PARENT | _CLONE_CHILD_SETTID | _CLONE_CHILD_CLEARTID | signal.SIGCHLD
    number, none = CLONE[os.uname().machine], ctypes.c_long(0)
    last = (thread_id, none) if os.uname().machine == "x86_64" else (none, thread_id)
    ctypes.pythonapi.PyOS_BeforeFork()
    pid = int(_libc.syscall(number, ctypes.c_long(flags), none, none, *last))
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    assert pid > 0, "it can be forked"
    return pid


def serve(control: socket.socket) -> tuple[Program, list[int]]:
    """Fork a child for each request. Returns in children only, with the descriptors that came."""
    while True:
        data, descriptors, _, _ = socket.recv_fds(control, REQUEST_BYTES_MAX, _DESCRIPTORS_MAX)
        if not data:
            os._exit(0)
        pid = clone()
        if pid == 0:
            control.close()
            return Program(*marshal.loads(data)), descriptors
        for descriptor in descriptors:
            os.close(descriptor)
        control.send(str(pid).encode())


def settle(program: Program, descriptors: list[int]) -> None:
    """In the child: take over its descriptors, its environment and its place."""
    if program.session:
        os.setsid()
    threading.main_thread()._set_native_id()  # type: ignore[attr-defined]
    for each in signal.valid_signals():
        if (signal.getsignal(each) is signal.SIG_IGN) != (each in program.ignored):
            signal.signal(each, signal.SIG_IGN if each in program.ignored else signal.SIG_DFL)
    above = max(*program.kept, *descriptors, 2) + 1
    for number, descriptor in zip([0, 1, 2, *program.kept], list(descriptors), strict=True):
        os.dup2(descriptor, above + number)
    for number in (0, 1, 2, *program.kept):
        os.dup2(above + number, number, inheritable=number <= 2)
    held = {0, 1, 2, *program.kept}
    for number in map(int, os.listdir("/proc/self/fd")):
        if number not in held:
            try:
                os.close(number)
            except OSError:  # the one that read the folder
                pass
    os.environ.clear()
    os.environ.update(program.environment)
    os.chdir(program.cwd)
    sys.stdin = stream(0, sys.stdin)
    sys.stdout = stream(1, sys.stdout)
    sys.stderr = stream(2, sys.stderr)
    vars(sys).update(__stdin__=sys.stdin, __stdout__=sys.stdout, __stderr__=sys.stderr)


def stream(number: int, usual: Any) -> Any:
    """A standard stream as the interpreter's start makes it; `usual` is this process's own."""
    own = open(number, "rb" if number == 0 else "wb", 0 if usual.write_through else -1, closefd=False)  # noqa: SIM115
    return io.TextIOWrapper(
        own, usual.encoding, usual.errors, "\n" if number else None, usual.line_buffering, usual.write_through
    )


def become(program: Program) -> None:
    """Run it as the interpreter's own start does."""
    first, *words = program.words
    main: Any = types.ModuleType("__main__")
    main.__builtins__ = sys.modules["builtins"]
    main.__annotations__ = {}
    sys.modules["__main__"] = main
    sys.orig_argv[:] = [sys.executable, *program.words]
    path = program.environment.get("PYTHONPATH", "")
    sys.path[1:1] = [os.path.abspath(entry) for entry in path.split(os.pathsep) if path and entry not in sys.path]
    if first == "-m":
        sys.argv[:] = words
        sys.path[0] = program.cwd
        runpy._run_module_as_main(words[0])  # type: ignore[attr-defined]
    elif first == "-c":
        sys.argv[:] = ["-c", *words[1:]]
        if not sys.flags.safe_path:
            sys.path[0] = ""
        main.__loader__ = BuiltinImporter
        exec(compile(words[0], "<string>", "exec", dont_inherit=True), main.__dict__)
    else:
        sys.argv[:] = program.words
        sys.path[0] = os.path.dirname(os.path.realpath(first))
        main.__file__, main.__loader__ = first, SourceFileLoader("__main__", first)
        with open(first, "rb") as source:
            code = compile(source.read(), first, "exec", dont_inherit=True)
        exec(code, main.__dict__)


def end(status: object) -> None:
    """End a program as the interpreter does, but for freeing what all of them share. Returns where that is not all."""
    if not isinstance(status, int | None):
        return
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit((status or 0) & 0xFF)


def main() -> Program:
    """Import, then fork; the program, in a child."""
    control = socket.socket(fileno=int(sys.argv[1]))
    for name in sys.argv[2:]:
        importlib.import_module(name)
    assert threading.active_count() == 1, "what is imported begins no thread"
    gc.collect()
    gc.freeze()  # programs end sooner that do not look through all of it
    program, descriptors = serve(control)
    settle(program, descriptors)
    return program


if __name__ == "__main__":
    forked = main()
    try:
        become(forked)
        end(0)
    except SystemExit as ended:
        end(ended.code)
        raise
