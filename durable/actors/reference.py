"""References to actors: `cart.add("book")` is a request, `cart.tell.add("book")` a message that nobody waits for."""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from resonate.types import PromiseRecord

from capabilities.actors.errors import ActorCycle
from durable.actors.actor_class import ActorClass, ActorMethod
from durable.actors.names import shown
from durable.core.durations import seconds
from durable.core.errors import BadArguments
from durable.functions.replay.record import OperationKey
from durable.records.values import digest, from_json

if TYPE_CHECKING:
    from durable.actors.management import Actors
    from durable.functions.context import Context
    from durable.functions.replay.function_pass import UnderWay


class ActorReference:
    """An actor by class and key. It may not exist yet: its first message brings it into being.

    Its methods are those of the class: each takes what the method takes after `ctx`, and returns an awaitable of what
    it returns. Raises, on await, what the method raised as ExecutionError, ActorStopped, MailboxFull, UnknownMethod,
    BadArguments.
    """

    def __init__(self, described: ActorClass | None, name: str) -> None:
        self._described = described
        self._name = name
        self._tells = False
        self._id: str | None = None
        self._timeout: float | None = None

    @property
    def tell(self) -> ActorReference:
        """The same, for messages that are recorded and not waited for: an await gives the message's execution id."""
        other = copy.copy(self)
        other._tells = True
        return other

    def options(self, *, id: str | None = None, timeout: float | timedelta | None = None) -> ActorReference:
        """The same, for messages with these. id: a message of an id is sent once. timeout: s, RequestTimedOut then."""
        other = copy.copy(self)
        other._id, other._timeout = id, seconds(timeout)
        return other

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        if name.startswith("_"):
            raise AttributeError(name)
        method = None if self._described is None else self._described.method(name)

        def send(*args: Any, **kwargs: Any) -> Awaitable[Any]:
            return self._send(name, method, args, kwargs)

        return send

    def _send(
        self, name: str, method: ActorMethod | None, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Awaitable[Any]:
        raise NotImplementedError

    def _packed(
        self, name: str, method: ActorMethod | None, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[list[Any], dict[str, Any]]:
        if method is None:
            return list(args), dict(kwargs)
        return method.pack(args, kwargs, f"{shown(self._name)}.{name}")

    def __repr__(self) -> str:
        return f"<actor {shown(self._name)}>"


class OutsideReference(ActorReference):
    """For programs."""

    def __init__(self, actors: Actors, described: ActorClass | None, name: str) -> None:
        super().__init__(described, name)
        self._actors = actors

    async def _send(self, name: str, method: ActorMethod | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        actors, described = self._actors, self._described
        packed, named = self._packed(name, method, args, kwargs)
        if method is not None and described is not None and method.reads and not self._tells:
            return await actors.look(described, self._name, method, packed, named)
        capacity = None if described is None else described.mailbox
        sent = actors.send(self._name, name, packed, named, id=self._id, capacity=capacity)
        if self._tells:
            return (await sent).removeprefix("exec:")
        return await actors.reply(self._name, method, await sent, self._timeout)


class InsideReference(ActorReference):
    """For durable functions and turns of actors: a request is a child of theirs, recorded and awaited as one."""

    def __init__(
        self, actors: Actors, context: Context, described: ActorClass | None, name: str, chain: list[str]
    ) -> None:
        super().__init__(described, name)
        self._actors = actors
        self._context = context
        self._chain = chain

    def _send(
        self, name: str, method: ActorMethod | None, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Awaitable[Any]:
        packed, named = self._packed(name, method, args, kwargs)
        if self._tells:
            return self._tell(name, packed, named)
        if self._id is not None:
            raise BadArguments(
                f"{shown(self._name)}.{name}: a request inside a durable function is recorded as a part of that, so "
                f"it is sent once without an id; with one it is a message: `.options(id={self._id!r}).tell.{name}(…)`"
            )
        if method is not None and method.reads:
            return self._look(method, packed, named)
        if self._name in self._chain:
            raise ActorCycle([*map(shown, self._chain), shown(self._name)])
        sender = self._chain[-1] if self._chain else ""
        data, tags = self._actors.record(self._name, name, packed, named, sender, self._chain)
        del tags["durable:arguments"], tags["durable:nonce"], tags["resonate:target"]
        tags["durable:session"] = self._name
        function_pass, limit = self._context._pass, self._timeout
        made = OperationKey("actor", f"{self._name}.{name}", digest(name, packed, named))

        async def perform(found: UnderWay, known: PromiseRecord | None) -> PromiseRecord:
            return known or await function_pass.create(
                found, function_pass.remote(found, timeout=limit, data=data, task=True)
            )

        returns = None if method is None else method.returns

        def shape(value: Any) -> Any:
            return value if method is None else from_json(value, returns, f"the reply of {name}")

        return self._context._begin(made, perform, shape, tags)

    def _tell(self, name: str, packed: list[Any], named: dict[str, Any]) -> Awaitable[Any]:
        actors, target, given = self._actors, self._name, self._id
        sender = self._chain[-1] if self._chain else ""
        capacity = None if self._described is None else self._described.mailbox

        async def tell(actor: str, method: str, args: list[Any], kwargs: dict[str, Any]) -> str:
            from capabilities.capability import call_id

            id = given or actors.message_id(call_id())
            sent = await actors.send(actor, method, args, kwargs, id=id, sender=sender, capacity=capacity)
            return sent.removeprefix("exec:")

        return self._context.run(tell, target, name, packed, named)

    def _look(self, method: ActorMethod, packed: list[Any], named: dict[str, Any]) -> Awaitable[Any]:
        actors, described, target = self._actors, self._described, self._name
        assert described is not None

        async def look(actor: str, method_name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
            return await actors.look(described, actor, described.method(method_name), args, kwargs)

        return self._context.run(look, target, method.name, packed, named)
