"""`ctx` of an actor's method: that of a durable function, and what only an actor does."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

from capabilities.actors.errors import InvalidSupervision, TreeIntegrityViolation
from capabilities.actors.supervision import Strategy
from durable.actors.actor_class import class_of
from durable.actors.component_messages import ComponentMessage, take_message
from durable.actors.names import kind_and_key, shown
from durable.actors.supervise import unsupervised
from durable.core.durations import seconds
from durable.core.errors import BadArguments
from durable.functions import sandbox_step
from durable.functions.context import Context
from durable.functions.failures import cut
from durable.functions.replay.record import OperationKey
from durable.records.values import digest, to_json
from durable.store.protocol.requests import is_kept

if TYPE_CHECKING:
    from durable.actors.management import Actors
    from durable.actors.reference import ActorReference
    from durable.functions.replay.function_pass import FunctionPass


REMINDER_CHARS_MAX = 1_000


class ActorContext(Context):
    """The context of one turn. `name` is the actor's in the store, `key` as its users write it."""

    name: str
    key: str
    sender: str
    """The actor that sent the message, "" for anybody else."""
    chain: list[str]
    """The actors that wait for this turn, and this one."""
    journal_entry: str | None
    """What is added to the journal of an actor that is a component, with the end of this turn."""
    forgets_journal: bool
    """Whether its state was saved, and the journal is not needed any more."""
    _parent: str | None
    _supervises: bool

    @classmethod
    def of(
        cls, context: Context, name: str, parent: str | None, sender: str, chain: list[str], *, supervises: bool
    ) -> Self:
        """The same context, for a turn of the actor `name`."""
        own = cls.__new__(cls)
        own.__dict__.update(context.__dict__)
        own.name, own.key, own.sender, own.chain, own._parent = name, kind_and_key(name)[1], sender, chain, parent
        own._supervises = supervises
        return own

    def _inside(self, function_pass: FunctionPass) -> Context:
        """A function inside a turn has the context of any durable function."""
        return Context(function_pass, self._threads, self._cells)

    @property
    def actors(self) -> Actors:
        """The engine's actors: for steps, not for the method itself."""
        found: Actors = self._cells.actors
        return found

    def time_s(self) -> float:
        """Seconds since the Unix epoch, the same at every replay."""
        return self._pass.loop.time()

    def chance(self, n: int) -> float:
        """The n-th number from 0 to 1 of this turn, the same in every process."""
        drawn = hashlib.blake2b(f"{self.id}:{n}".encode(), digest_size=8).digest()
        return int.from_bytes(drawn) / 2**64

    def actor(self, cls: type, key: str) -> ActorReference:
        """Another actor: its requests are waited for, `tell` sends and goes on. ActorCycle where it waits for this."""
        return self.actors.inside(self, cls, key, self.chain)

    def call_component(
        self, component: str, config: bytes, kind: str, args: list[Any], memory: dict[str, Any]
    ) -> Awaitable[dict[str, Any]]:
        """Give a message to the instance that this actor is: its `value` or `err`, and what its memory is next.

        memory: `kept`, `saved` and `last` of the actor. What is next is one of `kept`, `saved`, or `entry` with
        `execution`; `dropped` says why nothing was called.
        """
        what = f"{component}.{args[0] if kind == 'invoke' else kind}"
        made = OperationKey("component", what, digest(component, kind, args))
        message = ComponentMessage(component, self.name, config, kind, args, memory)
        cells, actors = self._cells, self.actors

        async def perform(execution: str) -> Any:
            return to_json(await take_message(cells.sandbox, actors, message, execution), f"what {what} came to")

        return self._begin(made, sandbox_step.performing(self._pass, perform, self._ends), lambda value: value)

    # -- topics, times -----------------------------------------------------------------------------------------------

    def publish(self, topic: str, *args: Any) -> Awaitable[int]:  # type: ignore[override]  # of actors it is a topic
        """Send to every actor that subscribed to the topic, once; how many there are. InvalidTopic."""
        actors, sender = self.actors, self.name

        async def publish(topic: str, *args: Any) -> int:
            return await actors.publish(topic, *args, id=_step_id(), sender=sender)

        return self.run(publish, topic, *args)

    def subscribe(self, pattern: str, method: str) -> Awaitable[None]:
        """Have what is published on these topics sent to a method of this actor."""
        actors, name = self.actors, self.name

        async def subscribe(pattern: str, method: str) -> None:
            await actors.subscribe_by_name(name, pattern, method)

        return self.run(subscribe, pattern, method)

    def remind(
        self,
        reminder: str,
        method: str,
        *args: Any,
        after: float | timedelta,
        every: float | timedelta | None = None,
    ) -> Awaitable[None]:
        """Send a message to this actor after some seconds, and then every so often; another one of its name ends."""
        _check_reminder(reminder)
        first, again = seconds(after) or 0.0, seconds(every)
        if again is not None and again <= 0:
            raise BadArguments(f"a reminder comes every so many seconds, more than 0, not {every!r}")
        actors, name = self.actors, self.name

        async def remind(reminder: str, method: str, args: list[Any], first: float, again: float | None) -> None:
            await actors.remind(name, reminder, method, args, first, again, _step_id())

        return self.run(remind, reminder, method, list(args), first, again)

    def forget_reminder(self, reminder: str) -> Awaitable[bool]:
        """End a reminder; False when there was none."""
        _check_reminder(reminder)
        actors, name = self.actors, self.name

        async def forget_reminder(reminder: str) -> bool:
            return await actors.forget_reminder(name, reminder)

        return self.run(forget_reminder, reminder)

    # -- supervision -------------------------------------------------------------------------------------------------

    async def spawn(self, cls: type, key: str) -> ActorReference:
        """An actor under this one: when it gives up and escalates, this one's supervision decides.

        InvalidSupervision where this one's class says nothing of supervision (A37). TreeIntegrityViolation where the
        other is under another one, or this one is under it.
        """
        described = class_of(cls)
        if not self._supervises:
            raise InvalidSupervision(unsupervised(shown(self.name)))
        if not described.durable:
            raise InvalidSupervision(f"{described.kind} is durable=False: it cannot be under an actor that is durable")
        actors, parent = self.actors, self.name

        async def spawn(kind: str, key: str) -> str:
            found = await actors.spawn(kind, key, parent)
            return "" if found is None else found

        wrong = await self.run(spawn, described.kind, key)
        if wrong:
            raise TreeIntegrityViolation(wrong)
        return self.actor(cls, key)

    async def restart_children(self, failed: str, strategy: str) -> None:
        """Restart the child that failed and those that the strategy adds."""
        actors, parent = self.actors, self.name

        async def restart_children(failed: str, strategy: str) -> list[str]:
            return await actors.restart_group(parent, failed, Strategy(strategy))

        restarted = await self.run(restart_children, failed, strategy)
        self.log("%s: restarted %s", shown(self.name), ", ".join(map(shown, restarted)) or "nothing")

    async def stop_children(self, note: str) -> None:
        """Stop all children, the last one first."""
        actors, parent = self.actors, self.name

        async def stop_children(note: str) -> None:
            await actors.stop_group(parent, note)

        await self.run(stop_children, note)

    async def tell_by_name(self, actor: str, method: str, args: list[Any], id: str) -> None:
        """Send a message to an actor by its name in the store, once for an id."""
        actors, sender = self.actors, self.name

        async def tell(actor: str, method: str, args: list[Any], id: str) -> None:
            await actors.tell_by_name(actor, method, args, id=id, sender=sender)

        await self.run(tell, actor, method, args, id)


def _check_reminder(name: object) -> None:
    """BadArguments for what a store cannot keep as a reminder's name."""
    if not isinstance(name, str) or not 0 < len(name) <= REMINDER_CHARS_MAX or not is_kept(name):
        raise BadArguments(
            f"a reminder's name is text of 1 to {REMINDER_CHARS_MAX} characters without NUL, not {cut(repr(name), 80)}"
        )


def _step_id() -> str:
    """An id for what a step sends: the same whenever the step is run again."""
    from capabilities.capability import call_id

    return call_id()
