"""Settings of a process and its libraries that functions set, and functions tell (worker side).

Each is read when the process begins and at a capture, saved where it is another one, and set again by the restore.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType
from typing import Any

type Read = Callable[[Any], Any]
type Put = Callable[[Any, Any], object]


class NotSet(Exception):
    """Why something is not set again."""


def _named_only(why: str) -> Put:
    def put(_module: Any, value: Any) -> object:
        raise NotSet(f"{why} ({value})" if value else why)

    return put


def _described(function: Any) -> str:
    return "" if function is None else f"{getattr(function, '__qualname__', function)!s:.100}"


def _timers(_signal: Any) -> str:
    names = ("ITIMER_REAL", "ITIMER_VIRTUAL", "ITIMER_PROF")
    set_ = [(name, signal.getitimer(getattr(signal, name))[0]) for name in names]
    return ", ".join(f"signal.{name}" for name, left in set_ if left)


def _mask(_signal: Any) -> list[int]:
    return sorted(int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, ()))


def _put_traces(tracemalloc: Any, frames: int) -> None:
    tracemalloc.start(frames)
    raise NotSet("tracing is on again, and what was traced before is gone")


def _limits(resource: Any) -> dict[str, tuple[int, int]]:
    names = [name for name in dir(resource) if name.startswith("RLIMIT_") and name != "RLIMIT_OFILE"]
    return {name: resource.getrlimit(getattr(resource, name)) for name in names}


def _put_limits(resource: Any, values: Mapping[str, tuple[int, int]]) -> None:
    for name, value in values.items():
        number = getattr(resource, name)
        if resource.getrlimit(number) != value:
            resource.setrlimit(number, value)


_CONTEXT = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp")
_TEMPLATES = ("DefaultContext", "BasicContext", "ExtendedContext")


def _templates(decimal: Any) -> dict[str, tuple[list[Any], list[str]]]:
    contexts = {name: getattr(decimal, name) for name in _TEMPLATES}
    return {
        name: (
            [getattr(context, part) for part in _CONTEXT],
            [signal.__name__ for signal, trapped in context.traps.items() if trapped],
        )
        for name, context in contexts.items()
    }


def _put_templates(decimal: Any, values: Mapping[str, tuple[list[Any], list[str]]]) -> None:
    for name, (parts, trapped) in values.items():
        context = getattr(decimal, name)
        for part, value in zip(_CONTEXT, parts, strict=True):
            setattr(context, part, value)
        for found in context.traps:
            context.traps[found] = found.__name__ in trapped


def _policy(events: Any) -> Any:
    policy = events._event_loop_policy
    return None if policy is None or type(policy).__module__.startswith("asyncio.") else type(policy)


def _start_method(context: Any) -> str | None:
    found: str | None = context._default_context.get_start_method(allow_none=True)
    return found


SETTINGS: dict[str, tuple[str, Read, Put]] = {
    "sys.getdlopenflags()": ("sys", lambda _: sys.getdlopenflags(), lambda _, value: sys.setdlopenflags(value)),
    "sys.get_coroutine_origin_tracking_depth()": (
        "sys",
        lambda _: sys.get_coroutine_origin_tracking_depth(),
        lambda _, value: sys.set_coroutine_origin_tracking_depth(value),
    ),
    "sys.gettrace()": ("sys", lambda _: _described(sys.gettrace()), _named_only("code is not traced any more")),
    "sys.getprofile()": ("sys", lambda _: _described(sys.getprofile()), _named_only("calls are not told any more")),
    "gc.get_debug()": ("gc", lambda _: gc.get_debug(), lambda _, value: gc.set_debug(value)),
    "a timer": ("signal", _timers, _named_only("a timer does not go on in another process")),
    "blocked signals": ("signal", _mask, lambda _, value: signal.pthread_sigmask(signal.SIG_SETMASK, value)),
    "the time zone": ("time", lambda _: time.tzname, lambda _, _value: time.tzset()),
    "csv.field_size_limit()": (
        "_csv",
        lambda csv: csv.field_size_limit(),
        lambda csv, value: csv.field_size_limit(value),
    ),
    "tracemalloc": (
        "_tracemalloc",
        lambda it: it.get_traceback_limit() if it.is_tracing() else 0,
        lambda it, value: _put_traces(it, value) if value else it.stop(),
    ),
    "faulthandler": (
        "faulthandler",
        lambda it: it.is_enabled(),
        lambda it, value: it.enable(sys.__stderr__) if value else it.disable(),
    ),
    "limits of resources": ("resource", _limits, _put_limits),
    "decimal's contexts for new ones": ("decimal", _templates, _put_templates),
    "asyncio.get_event_loop_policy()": (
        "asyncio.events",
        _policy,
        lambda events, value: events.set_event_loop_policy(value and value()),
    ),
    "multiprocessing.get_start_method()": (
        "multiprocessing.context",
        _start_method,
        lambda context, value: context._default_context.set_start_method(value, force=True),
    ),
    "gettext.textdomain()": (
        "gettext",
        lambda gettext: gettext._current_domain,
        lambda gettext, value: gettext.textdomain(value),
    ),
    "calendar.firstweekday()": (
        "calendar",
        lambda calendar: calendar.firstweekday(),
        lambda calendar, value: calendar.setfirstweekday(value),
    ),
    "the opener of urllib.request": (
        "urllib.request",
        lambda request: request._opener,
        lambda request, value: request.install_opener(value),
    ),
    "zoneinfo.TZPATH": (
        "zoneinfo",
        lambda zoneinfo: list(zoneinfo.TZPATH),
        lambda zoneinfo, value: zoneinfo.reset_tzpath(value),
    ),
    "numpy.getbufsize()": (
        "numpy",
        lambda numpy: numpy.getbufsize(),
        lambda numpy, value: numpy.setbufsize(value),
    ),
    "numpy.geterrcall()": (
        "numpy",
        lambda numpy: numpy.geterrcall(),
        lambda numpy, value: numpy.seterrcall(value),
    ),
    "sklearn.get_config()": (
        "sklearn._config",
        lambda config: config.get_config(),
        lambda config, value: config.set_config(**value),
    ),
    "xarray.get_options()": (
        "xarray.core.options",
        lambda options: dict(options.get_options()),
        lambda options, value: options.set_options(**value),
    ),
    "polars.Config": (
        "polars.config",
        lambda config: config.Config.save(),
        lambda config, value: config.Config.load(value),
    ),
}
"""By the name that reports have: the module that must be loaded, how it is read, how it is set."""

OF_THE_CONTEXT = ("numpy.getbufsize()", "numpy.geterrcall()")
"""Those that belong to the context of the code."""

_DEFAULTS: dict[str, Any] = {
    "the opener of urllib.request": None,
    "numpy.getbufsize()": 8192,
    "numpy.geterrcall()": None,
    "csv.field_size_limit()": 131072,
    "gettext.textdomain()": "messages",
    "calendar.firstweekday()": 0,
    "asyncio.get_event_loop_policy()": None,
}
"""What is so when the module has been imported, also where it is imported later than the process began."""

_NAMED = {
    "os.sched_getaffinity(0)": {"sched_setaffinity"},
    "os.getpriority()": {"nice", "setpriority"},
    "limits of resources": {"setrlimit", "prlimit"},
    "decimal's contexts for new ones": set(_TEMPLATES),
    "a timer": {"setitimer", "alarm"},
    "blocked signals": {"pthread_sigmask"},
}
"""What costs to read, or what others may set too: looked at once the code names a function that sets it."""


def _put_priority(_os: Any, value: int) -> None:
    if os.getpriority(os.PRIO_PROCESS, 0) != value:
        os.setpriority(os.PRIO_PROCESS, 0, value)


if hasattr(os, "sched_setaffinity"):
    SETTINGS["os.sched_getaffinity(0)"] = (
        "os",
        lambda _: sorted(os.sched_getaffinity(0)),
        lambda _, value: os.sched_setaffinity(0, value),
    )
SETTINGS["os.getpriority()"] = ("os", lambda _: os.getpriority(os.PRIO_PROCESS, 0), _put_priority)


class ProcessSettings:
    """Settings as they were when the process began, or when their module was first seen."""

    def __init__(self) -> None:
        self._before: dict[str, Any] = {}
        self.restored: set[str] = set()
        """Those that a restore set."""

    def note(self, run: Callable[..., Any]) -> None:
        """Remember those whose modules came since the last time. run: calls in the context of the code."""
        for name, (module, _, _put) in SETTINGS.items():
            if name not in self._before and module in sys.modules:
                default = _DEFAULTS.get(name, _DEFAULTS)
                self._before[name] = self._now(name, run) if default is _DEFAULTS else default

    def read(self, run: Callable[..., Any], mentioned: set[str]) -> dict[str, Any]:
        """Settings that are others now. mentioned: the names in the session's code."""
        found: dict[str, Any] = {}
        for name, before in self._before.items():
            if name in _NAMED and name not in self.restored and _NAMED[name].isdisjoint(mentioned):
                continue
            now = self._now(name, run)
            if now is not before and now != before:
                found[name] = now
        return found

    def _now(self, name: str, run: Callable[..., Any]) -> Any:
        module, read, _ = SETTINGS[name]
        loaded: ModuleType = sys.modules[module]
        return run(read, loaded) if name in OF_THE_CONTEXT else read(loaded)


# Of the loop in which the code runs.

LOOP: dict[str, tuple[Read, Put]] = {
    "the loop's exception handler": (
        lambda loop: loop.get_exception_handler(),
        lambda loop, value: loop.set_exception_handler(value),
    ),
    "the loop's task factory": (
        lambda loop: loop.get_task_factory(),
        lambda loop, value: loop.set_task_factory(value),
    ),
    "the loop's debug mode": (lambda loop: loop.get_debug(), lambda loop, value: loop.set_debug(value)),
    "the loop's slow_callback_duration": (
        lambda loop: loop.slow_callback_duration,
        lambda loop, value: setattr(loop, "slow_callback_duration", value),
    ),
}


def of_loop(loop: Any) -> dict[str, Any]:
    """All of them."""
    return {} if loop is None else {name: read(loop) for name, (read, _) in LOOP.items()}


def putters() -> dict[str, Callable[[Any, Any], object]]:
    """How each setting is put back: called with the context of the code, and the value."""

    def put(name: str, context: Any, value: Any) -> object:
        module, _, put_back = SETTINGS[name]
        loaded = __import__("importlib").import_module(module)
        return context.run(put_back, loaded, value) if name in OF_THE_CONTEXT else put_back(loaded, value)

    return {name: partial(put, name) for name in SETTINGS}
