"""Capabilities, for which code may ask the host. Deny by default: a session has `input` and what it was granted.

The host checks the arguments, decides, performs and records the answer as the promise `exec:<id>:<capability>:<n>`
(specs/capability.md). A replay gets the recorded answer. A call whose engine dies after the effect and before the
record is performed again, with the same promise id as idempotency key (`durable.call_id()` inside the function):
effects are at least once, records exactly once.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Literal, overload

from capabilities.call import CapabilityCall
from capabilities.call_signature import Method
from capabilities.permissions.levels import QUESTIONS, Resource
from capabilities.permissions.policy import Policy, PolicyDecision
from capabilities.registry import STANDARD, load
from durable.core.definition_id import ANY_CAPABILITY, capability_id, source
from durable.core.errors import BadArguments, DurableError, NotServed
from durable.core.ids import check_capability

type Kind = Literal["send_only", "request_response", "human_in_the_loop", "scheduled", "streaming"]
_OF_FUNCTIONS: tuple[Kind, ...] = ("request_response", "send_only", "streaming")

type Find = Callable[[str, str], Capability]
"""Gets a capability by its name from where it is defined, "" for wherever was looked before; DurableError."""

type RunSync = Callable[[Callable[[], Any]], Awaitable[Any]]

_call_id: contextvars.ContextVar[str] = contextvars.ContextVar("durable_call_id")


def call_id() -> str:
    """The promise id of the call or step being performed: an idempotency key to pass on, the same at every attempt.

    LookupError outside of a call and of a step, and for code that runs without a journal.
    """
    found = _call_id.get(None)
    if found is None:
        raise LookupError(
            "durable.call_id() is the key of the call or the step that is being performed, and there is none here; "
            "use it in a function that `ctx.run` runs, or in a capability"
        )
    return found


def identify_call(promise_id: str) -> None:
    """Set what `call_id` says from now on in the present context (that of one task)."""
    _call_id.set(promise_id)


class Capability:
    """One kind of thing that code may ask for. A subclass gives `name` and `call`, a method `call(self, call, ...)`
    whose further parameters and docstring are what code sees; more ways to call it are named in `also`.

    kind: send_only (its answer is None), request_response, human_in_the_loop (a person answers), scheduled (a timer
    does), streaming (it answers with a handle that later calls take). pure: performing changes nothing outside, so the
    call is recorded with its answer in one commit. waits: ways to call it that answer with the id of a promise, whose
    value the code gets when it is settled.
    """

    name: str = ""
    place: str = ""
    """The name that its calls are recorded under, where it is another: every question to a person is `input`."""
    kind: Kind = "request_response"
    pure: bool = False
    checkpoint_before: bool = False
    """A session is saved before each statement that names it, or a function that does."""
    also: tuple[str, ...] = ()
    waits: frozenset[str] = frozenset()
    performs: bool = True
    """False where nobody here performs it: a person or a timer settles its promise."""

    def __init__(self) -> None:
        self.place = self.place or self.name
        self.methods = self._find_methods()

    @property
    def where(self) -> str:
        """Where it is defined, so that the command line can load it: a module's name or a file."""
        return source(type(self).__module__)

    def _find_methods(self) -> dict[str, Method]:
        found = {}
        plain = getattr(self, "call", None)
        if plain is not None:
            found[""] = Method(self.name, plain, skip=1)
        for name in self.also:
            found[name] = Method(f"{self.name}.{name}", getattr(self, f"call_{name}"), skip=1)
        return found

    @property
    def doc(self) -> str:
        """The purpose of the capability, as `help` shows it."""
        return inspect.getdoc(type(self)) or ""

    def bind(self, method: str, args: list[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Arguments checked against the signature; BadArguments."""
        found = self.methods.get(method)
        if found is None:
            raise BadArguments(f"{self.name} has no {method!r}; it has {', '.join(filter(None, self.methods))}")
        return found.bind(args, kwargs)

    def touches(self, call: CapabilityCall) -> tuple[Resource, ...]:  # noqa: ARG002  # for subclasses
        """The resources that the call would touch, from its arguments alone. BadArguments for what nobody may touch."""
        return ()

    def allow(self, call: CapabilityCall, policy: Policy) -> PolicyDecision:
        """Whether the call may be performed. Pure."""
        return policy.decide(self.name, self.touches(call), call.now_ms())

    async def perform(self, call: CapabilityCall, run_sync: RunSync) -> Any:
        """Perform it; returns what the code gets, shaped to the annotation. `run_sync` runs a function in a thread.

        What ends a process or a task (SystemExit, KeyboardInterrupt, CancelledError) ends the call alone.
        """
        method = self.methods[call.method]
        token = _call_id.set(call.key) if call.key else None
        try:
            if method.is_async:
                value = await self._run(method, call)
            else:
                value = await run_sync(lambda: self._run(method, call))
        except (SystemExit, KeyboardInterrupt, asyncio.CancelledError) as raised:
            task = asyncio.current_task()
            if isinstance(raised, asyncio.CancelledError) and (task is None or task.cancelling()):
                raise  # it is this call that is cancelled
            raise RuntimeError(f"{self.name} raised {raised!r}") from None
        finally:
            if token is not None:
                _call_id.reset(token)
        return value if call.method in self.waits else method.returned(value)

    def _run(self, method: Method, call: CapabilityCall) -> Any:
        return method.call(call.arguments, call)

    async def forget(self, state: dict[str, Any]) -> None:
        """A session's worker is gone, or the engine closes: end what was kept for it in `call.state`."""

    def described(self) -> str | dict[str, Any]:
        """The description that the worker makes its function of: the name alone where it knows the rest."""
        methods = {name: method.described() for name, method in self.methods.items()}
        return {"name": self.name, "doc": self.doc, "methods": methods}


class FunctionCapability(Capability):
    """A function of the user's as a capability."""

    def __init__(self, name: str, kind: Kind, fn: Callable[..., Any], *, checkpoint_before: bool = False) -> None:
        self.name = check_capability(name)
        if kind not in _OF_FUNCTIONS:
            raise BadArguments(
                f"{name}: a function is {', '.join(_OF_FUNCTIONS)}, not {kind!r}; people are asked with `ask` and "
                "its like, timers are `sleep`"
            )
        self.checkpoint_before = checkpoint_before
        self.kind = kind
        self.fn = fn
        super().__init__()

    @property
    def where(self) -> str:
        return source(self.fn.__module__)

    def _find_methods(self) -> dict[str, Method]:
        return {"": Method(self.name, self.fn)}

    @property
    def doc(self) -> str:
        return inspect.getdoc(self.fn) or ""

    def _run(self, method: Method, call: CapabilityCall) -> Any:
        return method.call(call.arguments)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The function itself, for the host's own code and tests."""
        return self.fn(*args, **kwargs)


class Input(Capability):
    """Ask a person; returns the answer as text."""

    name = "input"
    kind: Kind = "human_in_the_loop"
    performs = False


@overload
def capability(
    fn: Callable[..., Any],
    /,
    *,
    name: str | None = None,
    kind: Kind = "request_response",
    checkpoint_before: bool = False,
) -> FunctionCapability: ...


@overload
def capability(
    *, name: str | None = None, kind: Kind = "request_response", checkpoint_before: bool = False
) -> Callable[[Callable[..., Any]], FunctionCapability]: ...


def capability(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    kind: Kind = "request_response",
    checkpoint_before: bool = False,
) -> Any:
    """Make a function, sync or async, a capability: register it with `durable.open(capabilities=[...])`.

    Its arguments and result are JSON, checked against its annotations. Sessions that are granted its name can call it.
    checkpoint_before: a session is saved before each statement that names it, or a function that does.
    """
    if fn is None:
        return lambda f: capability(f, name=name, kind=kind, checkpoint_before=checkpoint_before)
    return FunctionCapability(name or fn.__name__, kind, fn, checkpoint_before=checkpoint_before)


class Capabilities:
    """The capabilities that one engine knows, by name; `find` gets those of sessions that come with others."""

    def __init__(self, more: Iterable[Capability] = (), find: Find | None = None) -> None:
        self._find = find
        self._known: dict[str, Capability | None] = dict.fromkeys(STANDARD)  # None until it is used
        for item in more:
            if not isinstance(item, Capability):
                raise BadArguments(f"{item!r} is not a capability; decorate it with @durable.capability")
            if item.name in self._known and STANDARD.get(item.name, ("", ""))[1] != type(item).__name__:
                raise BadArguments(f"there is a capability {item.name!r} already; give yours another name=")
            self._known[check_capability(item.name)] = item

    def get(self, name: str) -> Capability | None:
        """The capability of that name, or None."""
        found = self._known.get(name)
        if found is None and name in self._known:
            found = self._known[name] = load(name)
        if found is None and self._find is not None:
            with suppress(DurableError):
                found = self._known[name] = self._find(name, "")
        return found

    def described(self, name: str) -> str | dict[str, Any] | None:
        """The description of the capability of that name for a worker, None where there is none."""
        if name in QUESTIONS and name in self._known and self._known[name] is None:
            return name  # as it describes itself; each session has them, and few ask
        found = self.get(name)
        return None if found is None else found.described()

    def __iter__(self) -> Iterator[Capability]:
        return iter(self.used())

    @classmethod
    def of(cls, given: Iterable[Capability]) -> Capabilities:
        """The capabilities given; the object itself when it is one."""
        return given if isinstance(given, Capabilities) else cls(given)

    def own(self) -> dict[str, str]:
        """The places where capabilities are defined, by name, without the standard ones."""
        return {found.name: found.where for found in self.used() if found.name not in STANDARD}

    def served(self) -> list[str]:
        """The ids of the engine's own capabilities, and a mark where it looks for others."""
        return [*map(capability_id, self.own()), *([ANY_CAPABILITY] if self._find is not None else [])]

    def unknown(self, needed: Mapping[str, str]) -> dict[str, str]:
        """The capabilities of these, by name and place, that are not known here and not looked for."""
        return {} if self._find is not None else {n: place for n, place in needed.items() if n not in self._known}

    def learn(self, needed: Mapping[str, str]) -> list[str]:
        """Get what is not known here and looked for, by name and place; returns the names. NotServed."""
        if self._find is None:
            return []
        wanted = [name for name in needed if name not in self._known]
        for name in wanted:
            try:
                self._known[name] = self._find(name, needed[name])
            except DurableError as error:
                raise NotServed(f"the capability {name!r} cannot be loaded: {error}") from None
        return wanted

    def saved_before(self) -> list[str]:
        """Names of the capabilities before which a session is saved."""
        return [found.name for found in self._known.values() if found is not None and found.checkpoint_before]

    def names(self) -> tuple[str, ...]:
        """The names of all capabilities."""
        return tuple(self._known)

    def used(self) -> list[Capability]:
        """The capabilities that were used so far, and the engine's own."""
        return [found for found in self._known.values() if found is not None]

    def check(self, grants: Iterable[str]) -> tuple[str, ...]:
        """The grants, `input` included; BadArguments names one that the engine does not know."""
        given = tuple(dict.fromkeys(("input", *grants)))
        for text in given:
            if not isinstance(text, str):
                raise BadArguments(f"a grant is a text: write {getattr(text, 'name', '…')!r}, not {text!r}")
        unknown = [name for name in (text.partition(":")[0] for text in given) if not self._knows(name)]
        if unknown:
            known = ", ".join(sorted(self._known))
            raise BadArguments(
                f"no capability {', '.join(unknown)}; this engine knows {known}. Your own are given to "
                "durable.open(…, capabilities=[…]), on the command line with --capabilities FILE"
            )
        return given

    def _knows(self, name: str) -> bool:
        return name in self._known or name in ("*", "level") or (self._find is not None and self.get(name) is not None)
