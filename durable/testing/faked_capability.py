"""Functions of a test in place of capabilities: what code asks of its host is answered by them (specs/testing.md)."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from capabilities.call import CapabilityCall
from capabilities.capability import Capability
from capabilities.registry import STANDARD, load
from durable.core.errors import BadArguments

type RunSync = Callable[[Callable[[], Any]], Awaitable[Any]]


def faked(fakes: Mapping[str, Callable[..., Any]], given: Iterable[Capability]) -> list[Capability]:
    """The capabilities given, those that are faked replaced. Permissions and arguments are checked as before.

    fakes: by a capability's name, or that of one way to call it, `"kv.get"`. Each takes the arguments of the call by
    name. BadArguments for what there is not, and for questions to people, which a script answers.
    """
    found = {each.name: each for each in given}
    by_name: dict[str, dict[str, Callable[..., Any]]] = {}
    for key, function in fakes.items():
        name, _, method = key.partition(".")
        by_name.setdefault(name, {})[method] = function
    for name, functions in by_name.items():
        real = found.get(name) or (load(name) if name in STANDARD else None)
        if real is None:
            raise BadArguments(f"there is no capability {name!r} to be faked; give it with capabilities=[…] as well")
        if not real.performs or real.waits:
            raise BadArguments(f"{name!r} is answered by people or by time, not by a function: use answers={{…}}")
        unknown = sorted(set(functions) - set(real.methods))
        if unknown:
            raise BadArguments(f"{name!r} has no {unknown[0]!r}; it has {', '.join(filter(None, real.methods))}")
        found[name] = _fake(real, functions)
    return list(found.values())


def _fake(real: Capability, functions: dict[str, Callable[..., Any]]) -> Capability:
    """The capability with other functions; an instance of a class of the same name, as the engine wants it."""

    async def perform(self: Capability, call: CapabilityCall, run_sync: RunSync) -> Any:
        function = functions.get(call.method)
        if function is None:
            return await type(real).perform(self, call, run_sync)
        value = function(**call.arguments)
        if inspect.isawaitable(value):
            value = await value
        return value if call.method in self.waits else self.methods[call.method].returned(value)

    made: Capability = object.__new__(type(type(real).__name__, (type(real),), {"perform": perform}))
    made.__dict__.update(real.__dict__)
    return made
