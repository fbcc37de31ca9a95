"""State of the process that code sets and relies on (specs/checkpoint.md, Process state; worker side).

Read at a capture: what differs from what the process began with, or from what a module was when it had been imported.
Each entry is saved like a variable, under a name that no user has, so that objects are shared with the namespace and
what cannot be saved is named. `begin` is called before any code of the user runs.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _thread
import atexit
import contextvars
import gc
import os
import signal
import sys
import types
import warnings
from abc import get_cache_token
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from operator import is_
from typing import Any

from checkpoint.capture.class_patches import may_patch, patches
from checkpoint.capture.library_changes import WATCHED, Watch
from checkpoint.capture.registered_hooks import RecordedHooks, is_users
from checkpoint.capture.registries import REGISTRIES, made_modules, registered_classes
from checkpoint.capture.settings import LOOP, NotSet, ProcessSettings, of_loop, putters
from checkpoint.pickling.importable import is_made_by_hand, module_of

PROCESS = "\0process:"
"""Starts the saved names of entries."""

KIND = "process state"
"""The type of what is lost of it, in reports."""

PATCH = "\0patch"

STREAMS = ("stdin", "stdout", "stderr")
_SKIPPED = frozenset(STREAMS) | frozenset((
    "__stdin__", "__stdout__", "__stderr__", "modules", "path", "last_exc", "last_type", "last_value", "last_traceback",
    "_", "ps1", "ps2", "path_importer_cache", "__warningregistry__", "__builtins__", "__dict__", "meta_path", "filters",
    "_filters_version", "_onceregistry", "onceregistry", "gettrace",
))  # fmt: skip
"""Attributes of modules that are this process's own, or that are saved otherwise."""

_TOLD_OTHERWISE = frozenset((
    "mimetypes.types_map", "mimetypes.common_types", "mimetypes.suffix_map", "mimetypes.encodings_map",
    "mimetypes.inited", "zoneinfo.TZPATH",
))  # fmt: skip
"""Attributes of modules that their own functions set, and that are saved as settings."""

_LIVE = frozenset(("decimal", "numpy"))
"""Packages whose context variables are saved by what they mean."""


class ProcessState:
    """The state that one process began with. `interrupts` holds the user's handler of SIGINT, not installed at rest."""

    def __init__(self) -> None:
        self.context: contextvars.Context | None = None
        """The context in which the code of cells runs."""
        self.interrupts: Callable[[Any], Any] | None = None
        """Called with a handler of SIGINT to set it, with None to get the user's own or None."""
        self._modules: dict[int, tuple[dict[str, Any], dict[str, Any]]] = {}
        self._known = 0
        self._begun = False
        self._options: dict[str, Any] = {}
        self._exits: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = []
        self._handlers: dict[int, Any] = {}
        self._simple: dict[str, Any] = {}
        self._filters: list[Any] = []
        self._owned: dict[int, tuple[str, str]] = {}
        self._may_patch = False
        """Code ran that may have put something into a class of a library."""
        self._abstract: tuple[object, list[tuple[str, str, type]]] = None, []
        """Registrations with abstract classes, and the number that rises with each."""
        self.watch = Watch(self._is_original)
        self.loop: Any = None
        """The event loop of the code."""
        self._loop_began: dict[str, Any] = {}
        self._settings = ProcessSettings()
        self._names = frozenset[str]()
        """Modules that there were."""
        self._calls = RecordedHooks()

    def begin(self, replaced: Iterable[str] = ()) -> None:
        """Note what there is; code of the user comes after this. replaced: modules that the worker changed itself."""
        self._begun = True
        self._handlers = dict(_handlers())
        self._simple = _simple()
        self._filters = list(warnings.filters)
        self._watch_exits()
        self._calls.begin()
        self._loop_began = of_loop(self.loop)
        self._names = frozenset(sys.modules)
        for name in (*replaced, "atexit", "codecs", "os"):
            self._modules.pop(id(sys.modules.get(name)), None)
        self._known = 0
        self.note_modules()

    def _watch_exits(self) -> None:
        register, unregister = atexit.register, atexit.unregister
        exits = self._exits

        def registered(func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Callable[..., Any]:
            register(func, *args, **kwargs)
            if is_users(func):
                exits.append((func, args, kwargs))
            return func

        def unregistered(func: Callable[..., Any], /) -> None:
            unregister(func)
            exits[:] = [entry for entry in exits if entry[0] != func]

        for replaced, plain in ((registered, register), (unregistered, unregister)):
            replaced.__name__, replaced.__doc__, replaced.__module__ = plain.__name__, plain.__doc__, "atexit"
        atexit.register, atexit.unregister = registered, unregistered

    def note_modules(self) -> None:
        """After a statement: note the modules that it imported. Does next to nothing where it imported none."""
        if len(sys.modules) == self._known:
            return
        for name, module in list(sys.modules.items()):
            own = "__main__" in (name, getattr(module, "__name__", None))  # multiprocessing gives it another name, too
            if type(module) is types.ModuleType and not own and id(module) not in self._modules:
                self._modules[id(module)] = vars(module), dict(vars(module))
        self._known = len(sys.modules)
        for name, read in _OPTIONS.items():
            if name in sys.modules and name not in self._options:
                with suppress(Exception):
                    self._options[name] = read()
        self._settings.note(in_code_context)

    def note_code(self, code: types.CodeType) -> None:
        """Before a statement: what it may change."""
        self.watch.before(code)

    def note_restored(self, values: Iterable[object]) -> None:
        """After a restore: what functions may change that came back."""
        for value in values:
            is_class = issubclass(type(value), type)  # `isinstance` would ask the value itself
            held = type.__dict__["__dict__"].__get__(value).values() if is_class else (value,)
            for each in list(held):
                function = each.__func__ if type(each) in (staticmethod, classmethod) else each
                if type(function) is types.FunctionType and function.__module__ == "__main__":
                    self.watch.before(function.__code__)

    def _is_original(self, module: types.ModuleType, name: str, value: object) -> bool:
        known = self._modules.get(id(module))
        return known is not None and known[1].get(name, self) is value

    def original_place(self, function: Any) -> tuple[str, str] | None:
        """Module and name of a function that has another one in its place now."""
        name = getattr(function, "__name__", None)
        module = sys.modules.get(getattr(function, "__module__", None) or "")
        if type(module) is not types.ModuleType or not isinstance(name, str):
            return None
        return (module.__name__, name) if self._is_original(module, name, function) else None

    def original(self, module_name: str, name: str) -> object:
        """The value that a module had under a name when it had been imported."""
        module = _module(module_name)
        known = self._modules.get(id(module))
        return known[1][name] if known is not None and name in known[1] else getattr(module, name)

    def note_statement(self, code: types.CodeType) -> None:
        """After a statement: note what it imported, and whether it may have changed a class."""
        self.note_modules()
        for module in self.watch.after(code):
            self.watch.forget_stored(self._modules[id(module)][1])
        self._may_patch = self._may_patch or may_patch(code)

    # -- at a capture -----------------------------------------------------------------------------------------------

    def read(self, namespace: Mapping[str, object]) -> dict[str, object]:
        """The entries to be saved, by the names that reports have for them."""
        found: dict[str, object] = {}
        if not self._begun:
            return found  # nothing is known to compare with
        for read in (
            self._read_streams, self._read_context, self._read_signals, self._read_libraries, self.watch.read,
            self._read_settings,
        ):  # fmt: skip
            with suppress(Exception):  # a library that is half there: what it has is not known
                found.update(read())
        found.update({name: value for name, value in _simple().items() if self._simple.get(name) != value})
        if warnings.filters != self._filters:
            found["warnings.filters"] = list(warnings.filters)
        if self._exits:
            found["atexit"] = list(self._exits)
        if self._calls.made:
            found["calls"] = list(self._calls.made)
        if "modules" in self.watch.names:
            found.update((f"sys.modules[{name!r}]", made) for name, made in made_modules(self._names))
        if self._abstract[0] != get_cache_token():
            self._abstract = get_cache_token(), registered_classes()
        if self._abstract[1]:
            found["abstract classes"] = list(self._abstract[1])
        for cls, name, value in patches(namespace) if self._may_patch else ():
            found[f"{cls.__module__}.{cls.__qualname__}.{name}"] = (PATCH, cls, name, value)
        modules = list(self.watch.modules.values())
        for value in list(namespace.values()):
            module = value if type(value) is types.ModuleType else module_of(value)
            if module is not None:
                modules.append(module)
        for module in {id(module): module for module in modules}.values():
            if not is_made_by_hand(module):
                found.update(self._changed(module))
        return found

    def _read_settings(self) -> Iterator[tuple[str, object]]:
        yield from self._settings.read(in_code_context, self.watch.names).items()
        for name, value in of_loop(self.loop).items():
            if value is not self._loop_began.get(name) and value != self._loop_began.get(name):
                yield name, value

    def _read_streams(self) -> Iterator[tuple[str, object]]:
        for name in STREAMS:
            if not hasattr(sys, name):
                yield f"sys.{name} (deleted)", True
            elif getattr(sys, name) is not getattr(sys, f"__{name}__"):
                yield f"sys.{name}", getattr(sys, name)

    def _read_context(self) -> Iterator[tuple[str, object]]:
        if self.context is None:
            return
        empty = contextvars.Context()
        for variable, value in self.context.items():
            owner = self._owner(variable)
            if owner is not None and owner[0].partition(".")[0].lstrip("_") not in _LIVE:
                yield f"{owner[0]}.{owner[1]}", ("variable", *owner, value)
        copied = self.context.copy()
        decimal: Any = sys.modules.get("decimal")
        if decimal is not None:
            used, plain = copied.run(decimal.getcontext), empty.run(decimal.getcontext)
            if repr(used) != repr(plain):
                yield "decimal.getcontext()", used
        numpy: Any = sys.modules.get("numpy")
        if numpy is not None and hasattr(numpy, "geterr"):
            if copied.run(numpy.geterr) != empty.run(numpy.geterr):
                yield "numpy.geterr()", copied.run(numpy.geterr)
            options = copied.run(numpy.get_printoptions)
            if options != empty.run(numpy.get_printoptions) or options != self._options.get("numpy", options):
                yield "numpy.get_printoptions()", options

    def _owner(self, variable: contextvars.ContextVar[Any]) -> tuple[str, str] | None:
        """The module and name of a context variable of a library; None for those of cells, which are variables."""
        known = self._owned.get(id(variable))
        if known is None:
            for name, module in list(sys.modules.items()):
                for attribute, value in list(getattr(module, "__dict__", {}).items()):
                    if value is variable and name != "__main__":
                        known = self._owned[id(variable)] = name, attribute
        return known

    def _read_signals(self) -> Iterator[tuple[str, object]]:
        for number, handler in _handlers():
            if handler is self._handlers.get(number) or number == _SIGINT:
                continue
            if getattr(handler, "__module__", "") != "bridge.worker.namespace.time_limit":
                yield f"the handler of {_signal_name(number)}", handler
        handler = None if self.interrupts is None else self.interrupts(None)
        if handler is not None:
            yield "the handler of SIGINT", handler

    def _read_libraries(self) -> Iterator[tuple[str, object]]:
        if "logging" in sys.modules:
            yield from _read_logging()
        for name, read in _OPTIONS.items():
            before = self._options.get(name)
            if before is None or name == "numpy":
                continue
            changed = _difference(before, read())
            if changed:
                yield f"{name} options", changed

    def _changed(self, module: types.ModuleType) -> Iterator[tuple[str, object]]:
        """Attributes of a module that are others than when it had been imported."""
        known = self._modules.get(id(module))
        if known is None:
            return
        now, before = known
        if len(now) == len(before) and all(map(is_, now.values(), before.values())):
            return
        for name, value in list(now.items()):
            is_own = isinstance(value, types.ModuleType) or name in _SKIPPED or self._is_private(name, value)
            if is_own or (name in before and before[name] is value) or not isinstance(name, str):
                continue
            if f"{module.__name__}.{name}" in _TOLD_OTHERWISE or _is_capture_of_warnings(value):
                continue
            if name not in before and _is_lazy(module, value):
                continue
            yield f"{module.__name__}.{name}", ("attribute", module.__name__, name, value)
        for name in before.keys() - now.keys():
            yield f"{module.__name__}.{name} (deleted)", ("deleted", module.__name__, name)

    def _is_private(self, name: str, value: object) -> bool:
        """Whether a library keeps this for itself in its module, and did not get it from the user."""
        return name.startswith("_") and name not in self.watch.stored and not is_users(value)

    # -- at a restore -----------------------------------------------------------------------------------------------

    def apply(self, entries: Mapping[str, object]) -> list[tuple[str, str]]:
        """Put back what was read; returns what could not be, each with why."""
        failed: list[tuple[str, str]] = []
        for name, value in entries.items():
            try:
                self._apply(name, value)
            except NotSet as error:
                failed.append((name, str(error)))
            except Exception as error:
                failed.append((name, f"it could not be put back: {type(error).__name__}: {error}"))
        return failed

    def _apply(self, name: str, value: Any) -> None:
        first, _, rest = name.partition(".")
        context = code_context()
        if isinstance(value, tuple) and value and value[0] == PATCH:
            self._may_patch = True
            setattr(*value[1:])
        elif isinstance(value, tuple) and value and value[0] == WATCHED:
            self.watch.apply(value)
        elif name.startswith("sys.modules["):
            sys.modules[value[0]] = value[1]
        elif name in LOOP:
            LOOP[name][1](self.loop, value)
        elif name == "calls":
            self._calls.repeat(value)
        elif isinstance(value, tuple) and value and value[0] in ("attribute", "variable", "deleted"):
            module = __import__("importlib").import_module(value[1])
            self.note_modules()
            self.watch.names.add(value[2])
            self.watch.stored.add(value[2])
            self.watch.modules.setdefault(value[1], module)
            if value[0] == "attribute":
                setattr(module, value[2], value[3])
            elif value[0] == "variable":
                context.run(getattr(module, value[2]).set, value[3])
            elif hasattr(module, value[2]):
                delattr(module, value[2])
        elif first == "sys" and rest.partition(" ")[0] in STREAMS:
            if rest.endswith("(deleted)"):
                delattr(sys, rest.partition(" ")[0])
            else:
                setattr(sys, rest, value)
        elif name.startswith("the handler of "):
            text = name.removeprefix("the handler of ")
            number = int(text) if text.isdigit() else signal.Signals[text]
            if number == signal.SIGINT and self.interrupts is not None:
                self.interrupts(value)
            else:
                signal.signal(number, value)
        elif name == "warnings.filters":
            warnings.filters[:] = value  # type: ignore[index]
            warnings._filters_mutated()  # type: ignore[attr-defined]
        elif name == "abstract classes":
            for module_name, owner, cls in value:
                getattr(_module(module_name), owner).register(cls)
        elif name == "atexit":
            for function, args, kwargs in value:
                atexit.register(function, *args, **kwargs)
        else:
            self._settings.restored.add(name)
            _APPLY[name](context, value)


PROCESS_STATE = ProcessState()
"""The state of this process: a worker has one."""


def code_context() -> contextvars.Context:
    """The context in which the code of cells runs; a copy of the current one where there is none."""
    context = PROCESS_STATE.context
    return contextvars.copy_context() if context is None else context


def in_code_context(function: Callable[..., Any], *args: Any) -> Any:
    """Call it in the context of the code of cells; in the current one where there is none."""
    context = PROCESS_STATE.context
    return function(*args) if context is None else context.run(function, *args)


def _is_capture_of_warnings(value: object) -> bool:
    """Whether it is what `logging.captureWarnings` puts in the place of `warnings.showwarning`."""
    return value is getattr(sys.modules.get("logging"), "_showwarning", _signal_name)


def _signal_name(number: int) -> str:
    name = _NAMES.get(number)
    return str(number) if name is None else name


_NAMES = {int(number): number.name for number in signal.Signals}


def _is_lazy(module: types.ModuleType, value: object) -> bool:
    """A module's own late attribute: what it defines itself, or takes from its package, when it is first asked for."""
    home = getattr(value, "__module__", None)
    if isinstance(home, str):
        return home.partition(".")[0] == module.__name__.partition(".")[0]
    return hasattr(module, "__getattr__")


def _handlers() -> Iterator[tuple[int, Any]]:
    for number in _NUMBERS:
        yield number, _signal.getsignal(number)


_SIGINT = int(signal.SIGINT)
_NUMBERS = sorted(int(number) for number in signal.valid_signals() if number not in (signal.SIGKILL, signal.SIGSTOP))


def _simple() -> dict[str, Any]:
    """Plain numbers and texts that processes have."""
    mask = os.umask(0o077)
    os.umask(mask)
    found: dict[str, Any] = {
        "umask": mask,
        "sys.getswitchinterval()": sys.getswitchinterval(),
        "sys.get_int_max_str_digits()": sys.get_int_max_str_digits(),
        "gc": (gc.isenabled(), gc.get_threshold()),
        "threading.stack_size()": _thread.stack_size(),
    }
    if type(getattr(sys, "argv", None)) is list:
        found["the contents of sys.argv"] = list(sys.argv)
    locale: Any = sys.modules.get("_locale")
    if locale is not None:
        found["locale"] = locale.setlocale(locale.LC_ALL, None)
    sockets: Any = sys.modules.get("_socket")
    if sockets is not None and (timeout := sockets.getdefaulttimeout()) is not None:
        found["socket.getdefaulttimeout()"] = timeout
    return found


def _set_gc(value: tuple[bool, tuple[int, int, int]]) -> None:
    (gc.enable if value[0] else gc.disable)()
    gc.set_threshold(*value[1])


def _module(name: str) -> Any:
    return __import__("importlib").import_module(name)


type Apply = Callable[[contextvars.Context, Any], object]

_APPLY: dict[str, Apply] = {
    "umask": lambda _context, value: os.umask(value),
    "sys.getswitchinterval()": lambda _context, value: sys.setswitchinterval(value),
    "sys.get_int_max_str_digits()": lambda _context, value: sys.set_int_max_str_digits(value),
    "gc": lambda _context, value: _set_gc(value),
    "threading.stack_size()": lambda _context, value: _thread.stack_size(value),
    "the contents of sys.argv": lambda _context, value: sys.argv.__setitem__(slice(None), value),
    "locale": lambda _context, value: _module("_locale").setlocale(_module("_locale").LC_ALL, value),
    "socket.getdefaulttimeout()": lambda _context, value: _module("socket").setdefaulttimeout(value),
    "decimal.getcontext()": lambda context, value: context.run(_module("decimal").setcontext, value),
    "numpy.geterr()": lambda context, value: context.run(lambda: _module("numpy").seterr(**value)),
    "numpy.get_printoptions()": lambda context, value: context.run(lambda: _set_print_options(value)),
    "pandas options": lambda _context, value: _set_pandas(value),
    "matplotlib options": lambda _context, value: _module("matplotlib").rcParams.update(value),
    "logging": lambda _context, value: _apply_logging(value),
}
"""How each entry is put back, in the context of the code where it is one of that."""


def _set_print_options(value: dict[str, Any]) -> None:
    numpy = _module("numpy")
    known = numpy.get_printoptions()
    numpy.set_printoptions(**{name: one for name, one in value.items() if name in known})


def _pandas() -> dict[str, Any]:
    config: Any = sys.modules["pandas"]._config.config
    return dict(_flat(config._global_config))


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _set_pandas(value: Mapping[str, Any]) -> None:
    pandas = _module("pandas")
    for name, one in value.items():
        pandas.set_option(name, one)


def _matplotlib() -> dict[str, Any]:
    params = sys.modules["matplotlib"].rcParams
    # Not by its own methods: asked for the backend, it chooses one. That is the worker's.
    return {name: dict.__getitem__(params, name) for name in dict.keys(params) if name != "backend"}


def _numpy() -> dict[str, Any]:
    found: dict[str, Any] = contextvars.Context().run(sys.modules["numpy"].get_printoptions)
    return found


_OPTIONS: dict[str, Callable[[], dict[Any, Any]]] = {
    "numpy": _numpy,
    "pandas": _pandas,
    "matplotlib": _matplotlib,
    **{name: read for name, (read, _put_back) in REGISTRIES.items()},
}
"""Options of libraries, and what was registered with them, by module."""


def _register(name: str, _context: contextvars.Context, value: Mapping[Any, Any]) -> None:
    _module(name)
    REGISTRIES[name][1](value)


_APPLY.update(putters())
_APPLY.update({f"{name} options": partial(_register, name) for name in REGISTRIES})


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    for name, value in now.items():
        if name not in before or (before[name] is not value and not _same(before[name], value)):
            changed[name] = value
    return changed


def _same(a: object, b: object) -> bool:
    try:
        return bool(a == b)
    except Exception:
        return False


# Logging: levels and handlers, of each logger where they are not the default.


def _loggers() -> Iterable[Any]:
    logging: Any = sys.modules["logging"]
    yield logging.root
    for name in sorted(logging.root.manager.loggerDict):
        logger = logging.root.manager.loggerDict[name]
        if isinstance(logger, logging.Logger):
            yield logger


def _read_logging() -> Iterator[tuple[str, object]]:
    logging: Any = sys.modules["logging"]
    loggers: dict[str, dict[str, Any]] = {}
    for logger in _loggers():
        level = logging.WARNING if logger is logging.root else logging.NOTSET
        handlers = [handler for handler in logger.handlers if type(handler) is not logging.NullHandler]
        changed = (logger.level, handlers, logger.propagate, logger.disabled, logger.filters)
        own = type(logger).__module__ == "__main__"
        if own or changed != (level, [], True, False, []):
            loggers[logger.name] = dict(zip(_LOGGER, changed, strict=True))
        if own:
            more = {name: value for name, value in vars(logger).items() if name not in vars(logging.root)}
            loggers[logger.name]["class"] = type(logger), more
    if loggers or logging.root.manager.disable:
        yield "logging", (loggers, logging.root.manager.disable)


_LOGGER = ("level", "handlers", "propagate", "disabled", "filters")


def _apply_logging(value: tuple[dict[str, dict[str, Any]], int]) -> None:
    import logging

    loggers, disabled = value
    for name, state in loggers.items():
        logger = logging.root if name == "root" else logging.getLogger(name)
        if "class" in state:
            logger.__class__, more = state["class"]
            vars(logger).update(more)
        logger.setLevel(state["level"])
        logger.handlers[:] = state["handlers"]
        logger.propagate, logger.disabled = state["propagate"], state["disabled"]
        logger.filters[:] = state["filters"]
    logging.disable(disabled)
