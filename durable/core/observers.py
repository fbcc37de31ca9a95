"""Several observers of an engine as one, and the one question that the engine asks them: whose trace it is in."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from durable.core.events import Event, Observer, log_event, logger


@runtime_checkable
class Tracing(Protocol):
    """An observer that knows the trace context in which this code runs."""

    def traceparent(self) -> str:
        """The context as W3C's `traceparent`, or "" where there is none."""


class Observers:
    """Every observer is told of every event. An error of one is no fault of the others, nor of the engine's work."""

    __slots__ = ("_all", "_only_logs", "_tracing")

    def __init__(self, observers: Iterable[Observer]) -> None:
        self._all = tuple(observers)
        self._only_logs = all(each is log_event for each in self._all)
        everybody: Iterable[object] = self._all
        self._tracing = next((each for each in everybody if isinstance(each, Tracing)), None)

    @classmethod
    def of(cls, given: Observer | Iterable[Observer]) -> Observers:
        """One observer, or several."""
        if isinstance(given, cls):
            return given
        return cls((given,) if callable(given) else given)

    @property
    def watching(self) -> bool:
        """Whether somebody is there for events of the normal course (`Life`); where not, nobody makes them."""
        return not self._only_logs or (bool(self._all) and logger.isEnabledFor(logging.DEBUG))

    def __call__(self, event: Event) -> None:
        for observer in self._all:
            try:
                observer(event)
            except Exception as error:
                _report(event, error)

    def traceparent(self) -> str:
        """The trace context in which this code runs, "" where nobody traces."""
        if self._tracing is None:
            return ""
        try:
            return self._tracing.traceparent()
        except Exception as error:
            _report(None, error)
            return ""


def watching(observer: Observer) -> bool:
    """Whether this observer is there for events of the normal course."""
    return observer.watching if isinstance(observer, Observers) else observer is not log_event


def traceparent(observer: Observer) -> str:
    """The trace context in which this code runs, by an observer that may know none."""
    return observer.traceparent() if isinstance(observer, Observers) else ""


def _report(event: Event | None, error: Exception) -> None:
    """Tell whoever handles errors of the loop, where one runs."""
    message = f"the observer failed at {'traceparent' if event is None else type(event).__name__}"
    try:
        asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})
    except RuntimeError:
        logger.error(message, exc_info=error)
