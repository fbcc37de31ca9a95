"""The capability `messaging`, for actors of the store and those in memory (specs/actors.md, W10-W12)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from capabilities.actors.errors import ActorStopped, UnknownCorrelation
from capabilities.call import CapabilityCall
from durable.actors.actor_requests import CALLBACK, MESSAGE, actor_request, address
from durable.actors.names import actor_name, is_actor, kind_and_key
from durable.core.errors import BadArguments
from durable.functions.definition import KNOWN
from durable.records.values import encode

if TYPE_CHECKING:
    from durable.actors.local_actors import LocalActors
    from durable.actors.management import Actors, Mail


def addressed(target: str) -> str:
    """The name of the actor `class/key`. InvalidId, BadArguments."""
    kind, separator, key = target.partition("/")
    if not separator:
        raise BadArguments(f"{target!r} is no actor: write its class and its key, such as Cart/ana")
    return actor_name(kind, key)


def sender_of(execution: str) -> str:
    """The actor whose turn an execution is part of, "" for anything else."""
    name = execution.partition("@")[0]
    return name if is_actor(name) else ""


class ActorMessaging:
    """Messages of code that has the capability."""

    def __init__(self, actors: Actors, engine: Mail, local: LocalActors) -> None:
        self._actors = actors
        self._engine = engine
        self._local = local

    async def send(self, call: CapabilityCall, target: str, message: bytes) -> None:
        """Put a message into an actor's mailbox, once for a call. ActorStopped, MailboxFull."""
        name = addressed(target)
        sender = sender_of(call.execution)
        if not call.key and self._local.knows(name):
            self._local.tell(name, MESSAGE, [address(sender), message])
            return
        await self._tell(name, [address(sender), _written(message)], call.key, sender)

    async def request(self, call: CapabilityCall, target: str, message: bytes, timeout_ms: int) -> str:
        """The same, with a reply for the actor that asks; the request's id. BadArguments for who is no actor."""
        name, asker = addressed(target), _asker(call)
        if not call.key:
            return self._local.request(asker, name, [address(asker), message], timeout_ms / 1_000)
        id = f"request-{self._actors.message_id(call.key)}"
        args = [asker, name, message, timeout_ms]
        await self._engine.start_as(id, actor_request, args, {})
        return id

    async def cancel(self, call: CapabilityCall, request: str) -> None:
        """Let no reply come to a request. UnknownCorrelation where it was answered, or is none of this actor's."""
        asker = _asker(call)
        if not call.key:
            self._local.cancel_request(asker, request)
            return
        row = await self._engine.store.reads.get_promise(f"exec:{request}")
        if row is None or row.tags.get("durable:function") != actor_request.id or row.param["args"][0] != asker:
            raise UnknownCorrelation(request)
        if not await self._engine.cancel(request, f"{address(asker)} does not want its reply any more"):
            raise UnknownCorrelation(request)

    async def publish(self, call: CapabilityCall, topic: str, message: bytes) -> int:
        """Send to every actor that subscribed, once for a call; how many there are. InvalidTopic."""
        sender = sender_of(call.execution)
        if not call.key:
            return self._local.publish(topic, [address(sender), message])
        return await self._actors.publish(topic, address(sender), message, id=call.key, sender=sender)

    async def subscribe(self, call: CapabilityCall, pattern: str, *, wanted: bool) -> None:
        """Have the actor that asks get what is published on a pattern's topics, or no more. InvalidTopic."""
        asker = _asker(call)
        if not call.key:
            self._local.subscribe(asker, pattern, wanted=wanted)
            return
        await self._actors.subscribe_by_name(asker, pattern, MESSAGE if wanted else None)

    async def answer(self, asker: str, request: str, answer: dict[str, Any]) -> None:
        """Tell an actor what came of its request; one that is stopped has it among its dead letters."""
        try:
            await self._actors.tell_by_name(asker, CALLBACK, [request, answer], id=f"answer {request}")
        except ActorStopped:
            return

    async def _tell(self, name: str, args: list[Any], key: str, sender: str) -> None:
        id = self._actors.message_id(key) if key else None
        capacity = _capacity(name)
        await self._actors.send(name, MESSAGE, args, {}, id=id, sender=sender, capacity=capacity)


def _asker(call: CapabilityCall) -> str:
    asker = sender_of(call.execution)
    if not asker:
        raise BadArguments("only an actor has where a reply could come to; call it from a message that an actor takes")
    return asker


def _capacity(name: str) -> int | None:
    """The room in an actor's mailbox, where its class is known here."""
    served = KNOWN.get(f"actor~{kind_and_key(name)[0]}@1")
    described = getattr(getattr(served, "companion", None), "described", None)
    return None if described is None else described.mailbox


def _written(message: bytes) -> Any:
    return encode(message, "the message", bytes)
