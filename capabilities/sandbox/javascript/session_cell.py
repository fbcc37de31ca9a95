"""Cells of a JavaScript session: what runs in its worker. The session is an ordinary one, whose namespace holds one
variable, the instance; that is pickled as its snapshot, so checkpoints, restores and forks are those of any session.
"""

from __future__ import annotations

import builtins
import json
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from wasmtime import WasmtimeError

from capabilities.sandbox.errors import Cancelled
from capabilities.sandbox.javascript import snapshot
from capabilities.sandbox.javascript.errors import ScriptError
from capabilities.sandbox.javascript.vm import VM
from capabilities.sandbox.javascript.warm_image import WarmImage, unpacked, warm
from capabilities.sandbox.limits import JAVASCRIPT, STACK_BYTES
from capabilities.sandbox.wasm.runtime import Runtime
from durable.core.foreign_value import Shown
from durable.core.lent_memory import LENT

VARIABLE = "javascript"
"""The name in the session's namespace."""
LIMITS = JAVASCRIPT.but(timeout_ms=24 * 3600 * 1000, cpu_ms=None)
"""A cell has no deadline unless it is given one (D20), which the engine holds; a question is answered days later by
another run of the cell."""
NO_ROOM = "Cannot allocate memory"
"""The system's words, by wasmtime, where a limit leaves no address space."""

MAIN_STACK_BYTES = 2 * STACK_BYTES
"""Scripts run in the main thread, whose stack grows up to a soft limit of the process."""

_images: list[WarmImage] = []


class SessionInstance:
    """The session's instance, made when it is first used."""

    def __init__(self, saved: bytes = b"") -> None:
        self._saved = saved
        self._vm: VM | None = None

    def vm(self) -> VM:
        """The instance, as it was saved."""
        if self._vm is None:
            try:
                made = VM(_image(), LIMITS, functions=_granted())
            except WasmtimeError as error:
                if NO_ROOM not in str(error):
                    raise
                raise MemoryError("JavaScript does not fit into what is left of the session's limit") from None
            if self._saved:
                snapshot.restore(made, self._saved)
            self._vm, self._saved = made, b""
        return self._vm

    def forget(self) -> None:
        """Its state is lost: the next cell begins with none."""
        self._vm = None

    def __reduce__(self) -> tuple[type[SessionInstance], tuple[bytes]]:
        return SessionInstance, (self._saved if self._vm is None else snapshot.take(self._vm),)

    def __repr__(self) -> str:
        compiled = sum(image.runtime.compilations.compiled for image in _images)
        return f"<the state of JavaScript, {compiled} modules compiled here>"


def text(code: str, inputs: Mapping[str, Any]) -> str:
    """The cell as the worker runs it: one statement, which runs the script."""
    module, names = json.dumps(__name__), json.dumps(sorted(inputs))
    return f"__import__({module}, fromlist=['run']).run({code!r}, globals(), {names})"


def run(code: str, namespace: dict[str, Any], names: list[str]) -> Shown:
    """Run a script in the session's instance. What it throws is raised, with its own stack."""
    state = namespace.get(VARIABLE)
    if not isinstance(state, SessionInstance):
        state = namespace[VARIABLE] = SessionInstance()
    vm = state.vm()
    vm.on_output = _print
    inputs = {name: namespace.pop(name) for name in names if name in namespace}
    try:
        with _interruptible(vm):
            done = vm.execute_shown(code, inputs)
        return Shown(done.value, done.shown)
    except Cancelled:
        raise KeyboardInterrupt from None
    except ScriptError as error:
        raise error.with_traceback(None) from None
    finally:
        if vm.lost:
            print(f"the state of JavaScript is lost: {vm.lost}", file=sys.stderr)
            state.forget()


@contextmanager
def _interruptible(vm: VM) -> Iterator[None]:
    """SIGINT asks the script to stop. Raised where wasm calls back it would be lost; only while a host function runs,
    a question that waits perhaps, is it raised there.
    """
    before = signal.getsignal(signal.SIGINT)
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> Any:
        vm.stop()
        return before(number, frame) if vm.imports.calling else None

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _print(stream: str, piece: str) -> None:
    (sys.stdout if stream == "stdout" else sys.stderr).write(piece)


def _granted() -> dict[str, Callable[..., Any]]:
    """The functions that the session was granted, which are builtins in it: synchronous functions here."""
    found: dict[str, Callable[..., Any]] = {}
    for name, function in vars(builtins).items():
        if hasattr(function, "aio"):
            found[name] = _plain(function)
            methods = {each: method for each, method in vars(function).items() if hasattr(method, "aio")}
            found.update({f"{name}.{each}": _plain(method) for each, method in methods.items()})
    return found


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        return function(*args)

    return call


def _image() -> WarmImage:
    """The engine's image, lent, else one made here: no cache of compiled code, nor its key, is this process's (E9)."""
    if not _images:
        _make_room()
        sparing = resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
        runtime = Runtime(metered=False, sparing=sparing)
        _images.append(_lent(runtime) or warm(runtime))
    return _images[0]


def _make_room() -> None:
    """Let the main thread's stack grow beyond what WebAssembly may take of it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    if soft != resource.RLIM_INFINITY and soft < MAIN_STACK_BYTES:
        if hard != resource.RLIM_INFINITY and hard < MAIN_STACK_BYTES:
            raise MemoryError(f"JavaScript needs a stack of {MAIN_STACK_BYTES} bytes; the limit (ulimit -s) is {hard}")
        resource.setrlimit(resource.RLIMIT_STACK, (MAIN_STACK_BYTES, hard))


def _lent(runtime: Runtime) -> WarmImage | None:
    data = LENT.pop(VARIABLE, None)
    if data is None:
        return None
    try:
        return unpacked(runtime, data)
    except ValueError:
        return None
