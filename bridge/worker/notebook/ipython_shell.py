"""The part of IPython that libraries ask for in a notebook: `get_ipython()` and the functions of `IPython.display`.

Adapted when user code imports them, in sessions of notebooks only (specs/jupyter.md, IPython).
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import importlib.machinery
import sys
import types
from collections.abc import Callable
from typing import Any


class _Events:
    """Callbacks of cells: kept, `pre_execute` and `post_execute` are not called for cells."""

    def __init__(self) -> None:
        self._callbacks: dict[str, list[Callable[..., object]]] = {}

    def register(self, event: str, function: Callable[..., object]) -> None:
        self._callbacks.setdefault(event, []).append(function)

    def unregister(self, event: str, function: Callable[..., object]) -> None:
        self._callbacks.get(event, []).remove(function)

    def trigger(self, event: str, *arguments: object) -> None:
        for function in self._callbacks.get(event, ()):
            function(*arguments)


class _Publisher:
    """`get_ipython().display_pub`."""

    def publish(
        self, data: Any, metadata: Any = None, *, transient: Any = None, update: bool = False, **_: Any
    ) -> None:
        publish_display_data(data, metadata, transient=transient, update=update)

    def clear_output(self, wait: bool = False) -> None:
        clear_output(wait)


class _Payloads:
    """`get_ipython().payload_manager`: what the front end is asked for at the end of the cell."""

    def write_payload(self, data: dict[str, Any], single: bool = True) -> None:  # noqa: ARG002  # IPython's signature
        """Ask for it; of one source the last one counts."""
        if not isinstance(data, dict):
            raise TypeError(f"a payload is a dict, not {type(data).__name__}")
        _displays().send_payload(data)


class _Kernel:
    """`get_ipython().kernel`, as far as widgets use it."""

    parent: dict[str, Any] = {}  # noqa: RUF012  # one kernel

    @property
    def comm_manager(self) -> Any:
        import comm

        return comm.get_comm_manager()

    def get_parent(self, channel: str | None = None) -> dict[str, Any]:  # noqa: ARG002  # ipykernel's signature
        return self.parent


class ZMQInteractiveShell:
    """Stands where notebooks have IPython's shell; libraries know it by this name."""

    def __init__(self) -> None:
        self.config: dict[str, dict[str, Any]] = {"IPKernelApp": {}}
        self.events = _Events()
        self.display_pub = _Publisher()
        self.payload_manager = _Payloads()
        self.kernel = _Kernel()
        self.colors = "nocolor"

    @property
    def user_ns(self) -> dict[str, Any]:
        """The variables of cells."""
        return vars(sys.modules["__main__"])

    @property
    def execution_count(self) -> int:
        """The number of the cell that runs."""
        return _COUNT[-1]() if _COUNT else len(self.user_ns.get("In") or ())

    def set_next_input(self, text: str, replace: bool = False) -> None:
        """Put text into a cell below this one, or in the place of its own code."""
        self.payload_manager.write_payload({"source": "set_next_input", "text": str(text), "replace": bool(replace)})

    def run_line_magic(self, name: str, line: str = "", **_: Any) -> Any:
        """Run `%name line`."""
        from bridge.worker.run.magics import run_line

        return run_line(name, line, self.user_ns)

    def magic(self, text: str) -> Any:
        """Run a magic, written as in a cell."""
        name, _, line = text.lstrip("%").partition(" ")
        return self.run_line_magic(name, line)

    def system(self, command: str) -> None:
        """Run a shell's command."""
        from bridge.worker.run.magics import system

        system(command, None, None)

    def getoutput(self, command: str) -> list[str]:
        """Run a shell's command; the lines that it prints."""
        from bridge.worker.run.magics import lines

        return lines(command, None, None)

    def showtraceback(self, *_: Any, **__: Any) -> None:
        """Print the error that is being handled, as callbacks of widgets do."""
        import traceback

        sys.stderr.write(traceback.format_exc())

    def enable_matplotlib(self, *_: Any) -> None:
        """Nothing: figures are shown in the notebook."""

    def __reduce__(self) -> Any:
        return get_ipython, ()


_SHELL: list[ZMQInteractiveShell] = []

_COUNT: list[Callable[[], int]] = []
"""Tells the number of the cell that runs: `In` has the newest cells only."""


def get_ipython() -> ZMQInteractiveShell:
    """The one shell of this worker."""
    if not _SHELL:
        _SHELL.append(ZMQInteractiveShell())
    return _SHELL[0]


@contextlib.contextmanager
def parent_is(message: dict[str, Any]) -> Any:
    """A front end's message that callbacks run for: an Output widget takes what they print by its id."""
    kernel = get_ipython().kernel
    before, kernel.parent = kernel.parent, {"header": message.get("header") or {}}
    try:
        yield
    finally:
        kernel.parent = before


def _displays() -> Any:
    function: Any = builtins.display  # type: ignore[attr-defined]
    return function.__wrapped__.__self__


def display(*objects: object, **options: Any) -> Any:
    """IPython's `display`."""
    return _displays().display(*objects, **options)


def update_display(obj: object, *, display_id: str, **options: Any) -> None:
    """IPython's `update_display`."""
    _displays().display(obj, display_id=display_id, update=True, **options)


def clear_output(wait: bool = False) -> None:
    """IPython's `clear_output`."""
    _displays().clear_output(wait)


def publish_display_data(data: Any, metadata: Any = None, *, transient: Any = None, **options: Any) -> None:
    """IPython's `publish_display_data`."""
    name = (transient or {}).get("display_id")
    _displays().display(data, raw=True, metadata=metadata, display_id=name, update=bool(options.get("update")))


def adapt(module: Any) -> None:
    """Replace the functions of `IPython.core.getipython`, `IPython.core.display_functions`."""
    from bridge.worker.io.display import DisplayHandle

    if module.__name__ == "IPython.core.getipython":
        module.get_ipython = get_ipython
        return
    for function in (display, update_display, clear_output, publish_display_data):
        setattr(module, function.__name__, function)
    module.DisplayHandle = _handle_class(DisplayHandle)


def _handle_class(base: Any) -> Any:
    class NotebookDisplayHandle(base):  # type: ignore[misc]
        """A handle that user code makes by itself."""

        def __init__(self, display_id: str | None = None) -> None:
            import os

            super().__init__(_displays(), display_id or os.urandom(16).hex())

    NotebookDisplayHandle.__name__ = NotebookDisplayHandle.__qualname__ = "DisplayHandle"
    return NotebookDisplayHandle


class _Later(types.ModuleType):
    """Stands for IPython, which notebooks have loaded, until a name of it is used: libraries look for it there."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in ("__version__", "__all__", "__author__"):
            raise AttributeError(name)  # the import system asks; only code asks for the rest
        if sys.modules.get("IPython") is self:
            del sys.modules["IPython"]
        return getattr(importlib.import_module("IPython"), name)


def install(count: Callable[[], int]) -> None:
    """Give `get_ipython` to user code, and to libraries that look whether IPython is there. count: of cells."""
    _COUNT[:] = [count]
    builtins.get_ipython = get_ipython  # type: ignore[attr-defined]
    spec = importlib.machinery.PathFinder.find_spec("IPython")
    if "IPython" not in sys.modules and spec is not None:
        module: Any = _Later("IPython", "IPython, when it is used")
        module.__spec__, module.__path__ = spec, list(spec.submodule_search_locations or ())
        module.get_ipython = get_ipython
        sys.modules["IPython"] = module
    if "ipykernel.zmqshell" not in sys.modules:
        kernel: Any = types.ModuleType("ipykernel.zmqshell", "What libraries know a notebook by.")
        kernel.ZMQInteractiveShell = ZMQInteractiveShell
        sys.modules["ipykernel.zmqshell"] = kernel
