"""What code in a session may ask the host for. Deny by default: a session has `input` and what it was granted.

The host performs a call and records the answer as the promise `exec:<id>:<capability>:<n>`; a replay gets the recorded
answer. A call whose engine dies after the effect and before the record is performed again, with the same promise
id as idempotency key (`durable.call_id()` inside the function): effects are at least once, records exactly once.
"""

from __future__ import annotations

import contextvars
import inspect
import random as _random
import time
import uuid as _uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from durable.core.errors import BadArguments
from durable.core.ids import check_capability

type Kind = Literal["send_only", "request_response", "human_in_the_loop", "scheduled", "streaming"]

_call_id: contextvars.ContextVar[str] = contextvars.ContextVar("durable_call_id")


def call_id() -> str:
    """The promise id of the call being performed: an idempotency key to pass on. LookupError outside of one."""
    return _call_id.get()


@dataclass(frozen=True, slots=True)
class Capability:
    """One thing that code may ask for: a plain function on the host's side, or a person (`perform` None)."""

    name: str
    kind: Kind
    perform: Callable[..., Any] | None
    doc: str = ""

    def bind(self, args: list[Any], kwargs: dict[str, Any]) -> None:
        """Check the arguments against the function's signature; raises BadArguments."""
        if self.perform is None:
            return
        try:
            inspect.signature(self.perform).bind(*args, **kwargs)
        except TypeError as error:
            raise BadArguments(f"{self.name}: {error}") from None

    async def answer(self, promise_id: str, args: list[Any], kwargs: dict[str, Any], run_sync: Any) -> Any:
        """Perform the call. `run_sync` runs a synchronous function in a thread."""
        assert self.perform is not None, "a person answers this call"
        perform = self.perform
        token = _call_id.set(promise_id)
        try:
            if inspect.iscoroutinefunction(perform):
                return await perform(*args, **kwargs)
            return await run_sync(lambda: perform(*args, **kwargs))
        finally:
            _call_id.reset(token)


def capability(
    fn: Callable[..., Any] | None = None, /, *, name: str | None = None, kind: Kind = "request_response"
) -> Any:
    """Make a function, sync or async, a capability: register it with `durable.open(capabilities=[...])`.

    Its arguments and result are JSON. Sessions that are granted its name can call it.
    """
    if fn is None:
        return lambda f: capability(f, name=name, kind=kind)
    return Capability(check_capability(name or fn.__name__), kind, fn, inspect.getdoc(fn) or "")


INPUT = Capability("input", "human_in_the_loop", None, "Ask a person; returns the answer as text.")


def _now() -> float:
    """Seconds since the Unix epoch, as recorded the first time."""
    return time.time()


def _random_number() -> float:
    """A random float in [0, 1), as recorded the first time."""
    return _random.SystemRandom().random()


def _uuid4() -> str:
    """A random UUID, as recorded the first time."""
    return str(_uuid.uuid4())


STANDARD: tuple[Capability, ...] = (
    INPUT,
    Capability("now", "request_response", _now, _now.__doc__ or ""),
    Capability("random", "request_response", _random_number, _random_number.__doc__ or ""),
    Capability("uuid", "request_response", _uuid4, _uuid4.__doc__ or ""),
)


class Capabilities:
    """The capabilities that one engine knows, by name."""

    def __init__(self, more: Iterable[Capability] = ()) -> None:
        self._known = {c.name: c for c in STANDARD}
        for item in more:
            if not isinstance(item, Capability):
                raise BadArguments(f"{item!r} is not a capability; decorate it with @durable.capability")
            if item.name in self._known:
                raise BadArguments(f"there is a capability {item.name!r} already; give yours another name=")
            self._known[item.name] = item

    def get(self, name: str) -> Capability | None:
        return self._known.get(name)

    def check(self, grants: Iterable[str]) -> tuple[str, ...]:
        """The grants, `input` included; BadArguments names one that the engine does not know."""
        names = tuple(dict.fromkeys(("input", *grants)))
        unknown = [name for name in names if name not in self._known]
        if unknown:
            known = ", ".join(sorted(self._known))
            raise BadArguments(f"no capability {', '.join(unknown)}; this engine knows {known}")
        return names
