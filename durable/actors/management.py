"""`engine.actors`: messages to actors of the store; finding, stopping and restarting them; their dead letters."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import inspect
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from capabilities.actors.actor_events import ActorEventRecord, MemorySink
from capabilities.actors.errors import ActorStopped, MailboxFull, RequestTimedOut
from capabilities.actors.health import Health
from capabilities.actors.states import ChildState, HealthState
from capabilities.actors.supervision import ChildSpec, Strategy, Supervisor
from capabilities.actors.supervision_tree import SupervisionTree, TreeNode
from capabilities.actors.topics import matches, pattern_words, topic_words
from durable.actors.actor_class import ActorClass, ActorMethod, class_of
from durable.actors.actor_messaging import ActorMessaging
from durable.actors.actor_reminders import actor_reminder
from durable.actors.health_watch import ActorHealth, HealthUnasked, HealthWatch, StoredActor
from durable.actors.local_actors import LocalActor, LocalActors
from durable.actors.names import PREFIX, actor_name, kind_and_key, shown
from durable.actors.reference import ActorReference, InsideReference, OutsideReference
from durable.actors.turn import START
from durable.core import ids
from durable.core.clock import TIME_MAX_MS
from durable.core.errors import BadArguments, Conflict, NotFound, StoreRefused
from durable.core.events import ActorSupervised, Event
from durable.core.value_codec import opened
from durable.functions.failures import rebuild
from durable.records.values import digest, from_json, pack, unpack
from durable.store.port import StoreFace

if TYPE_CHECKING:
    from durable.functions.context import Context

JOURNAL_PAGE_MAX = 100
"""Entries that the store gives at a time."""
KV_BYTES_MAX = 1_000_000
"""Of the reminders of one actor."""


class Mail(Protocol):
    """The engine, as far as messages need it."""

    @property
    def store(self) -> StoreFace: ...
    async def put(self, kind: str, request: dict[str, Any]) -> dict[str, Any]: ...
    @property
    def sandbox(self) -> Any: ...
    def observe(self, event: Event) -> None: ...
    def let_go(self, actor: str) -> None: ...
    def cell_target(self) -> str: ...
    async def cancel(self, id: str, reason: str = "") -> bool: ...
    async def start_as(self, id: str, fn: Any, args: Any, kwargs: Any) -> None: ...


@dataclass(frozen=True, slots=True)
class ActorInfo:
    """An actor. `status`: running, stopped or failed; `waiting`: messages in its mailbox, the one at work included."""

    name: str
    kind: str
    key: str
    status: str
    note: str
    state: Any
    version: int
    saved: int
    """How often its state was saved."""
    restarted: int
    parent: str | None
    waiting: int
    created_at: int
    updated_at: int
    health: ActorHealth | None = None
    """For `get`; None where its class has no health checks, or none was made."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that no turn answered. `id` is its execution's, "" where it was refused when it was sent."""

    number: int
    actor: str
    id: str
    method: str
    args: list[Any]
    kwargs: dict[str, Any]
    reason: str
    at: int


class Actors:
    """The actors of a store."""

    def __init__(self, engine: Mail) -> None:
        self._engine = engine
        self.events = MemorySink()
        """What supervision did in this engine, the newest first, and counts by severity (A68)."""
        self.local = LocalActors(engine, self.note)
        """Those that are kept in memory (`durable=False`)."""
        self.health_watch = HealthWatch()
        """Asks actors of the store that took a message here lately how they are (A67)."""
        self.messaging = ActorMessaging(self, engine, self.local)
        """What code with the capability `messaging` sends."""

    def note(self, what: str, actor: str, detail: str = "") -> None:
        """Keep an event of an actor, and tell the engine's observers; messages are only kept."""
        self.events.take(ActorEventRecord(time.time(), what, shown(actor), detail))
        if what != "message":
            self._engine.observe(ActorSupervised(shown(actor), what, detail))

    # -- references -----------------------------------------------------------------------------------------------

    def reference(self, cls: type | str, key: str) -> ActorReference:
        """A reference for a program. A class by its name alone checks no arguments."""
        if isinstance(cls, str):
            return OutsideReference(self, None, actor_name(cls, key))
        described = class_of(cls)
        if not described.durable:
            return self.local.reference(described, key)
        return OutsideReference(self, described, actor_name(described.kind, key))

    def inside(self, context: Context, cls: type, key: str, chain: list[str]) -> ActorReference:
        """A reference for a durable function or a turn. chain: the actors that wait for it."""
        described = class_of(cls)
        if not described.durable:
            raise BadArguments(
                f"{described.kind} is kept in memory: what a durable function asked it could not be asked again "
                "after a crash. Ask it in a step"
            )
        return InsideReference(self, context, described, actor_name(described.kind, key), chain)

    def inside_by_name(self, context: Context, actor: str) -> ActorReference:
        """A reference for a durable function to an actor by its name in the store: it checks no arguments."""
        return InsideReference(self, context, None, actor, [])

    # -- messages -------------------------------------------------------------------------------------------------

    def record(
        self, actor: str, method: str, args: list[Any], kwargs: dict[str, Any], sender: str, chain: list[str]
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """The record of a message: its data, and its tags."""
        key = f"{PREFIX}{kind_and_key(actor)[0]}"
        message = {"method": method, "args": args, "kwargs": kwargs, "sender": sender, "chain": chain}
        data = {"func": key, "args": [message], "kwargs": {}, "version": 1}
        return data, {
            "resonate:target": self._engine.cell_target(),
            "durable:function": f"{key}@1",
            "durable:arguments": digest(method, args, kwargs),
            "durable:nonce": os.urandom(16).hex(),
        }

    async def send(
        self,
        actor: str,
        method: str,
        args: list[Any],
        kwargs: dict[str, Any],
        *,
        id: str | None = None,
        sender: str = "",
        parent: str | None = None,
        capacity: int | None = None,
    ) -> str:
        """Record a message: its promise id. ActorStopped, MailboxFull; Conflict where its id is another message's."""
        data, tags = self.record(actor, method, args, kwargs, sender, [])
        kind, key = kind_and_key(actor)
        promise = {"timeoutAt": TIME_MAX_MS, "param": {"data": pack(data)}, "tags": tags}
        request: dict[str, Any] = {"actor": actor, "kind": kind, "key": key, "promise": promise}
        optional = {"id": None if id is None else ids.check_cell_id(id), "parent": parent, "capacity": capacity}
        request |= {name: value for name, value in optional.items() if value is not None}
        found = await self._engine.put("actor.send", request)
        made = found["promise"]
        if made is None:
            if found["refused"] == "full":
                raise MailboxFull(shown(actor), capacity or 0)
            raise ActorStopped(shown(actor), found["note"])
        if made["tags"].get("durable:arguments") != tags["durable:arguments"]:
            raise Conflict(f"message {made['id'].removeprefix('exec:')!r} was sent with another method or arguments")
        return str(made["id"])

    async def reply(self, actor: str, method: ActorMethod | None, promise_id: str, timeout: float | None) -> Any:
        """The reply to a message. timeout: s."""
        settled = self._engine.store.settled(promise_id, halts=True, patient=False)
        try:
            row = await (settled if timeout is None else asyncio.wait_for(settled, timeout))
        except TimeoutError:
            raise RequestTimedOut(shown(actor), timeout or 0.0) from None
        value = opened(row.value)
        if row.state != "resolved":
            raise rebuild(row.state, value, promise_id.removeprefix(ids.PREFIX))
        returns = inspect.Parameter.empty if method is None else method.returns
        return from_json(value, returns, f"the reply of {shown(actor)}")

    async def look(
        self, described: ActorClass, actor: str, method: ActorMethod, args: list[Any], kwargs: dict[str, Any]
    ) -> Any:
        """Run a reading method on the state that was saved last."""
        row = await self.row(actor)
        return await self.look_at(described, actor, method, row or {"state": None, "version": 0}, args, kwargs)

    async def look_at(
        self,
        described: ActorClass,
        actor: str,
        method: ActorMethod,
        row: dict[str, Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] = MappingProxyType({}),
    ) -> Any:
        """The same with the row of the actor."""
        instance = described.instance(shown(actor), row["state"], row["version"])
        given, named = method.shaped(list(args), dict(kwargs))
        found = method.fn(instance, *given, **named)
        return await found if inspect.isawaitable(found) else found

    async def tell_by_name(
        self, actor: str, method: str, args: list[Any], *, id: str | None = None, sender: str = ""
    ) -> str:
        """Record a message to an actor by its name in the store, once for an id of any form."""
        return await self.send(actor, method, args, {}, id=None if id is None else self.message_id(id), sender=sender)

    @staticmethod
    def message_id(text: str) -> str:
        """An id for a message, the same for the same text."""
        return "m" + hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

    # -- topics -----------------------------------------------------------------------------------------------------

    async def publish(self, topic: str, *args: Any, id: str | None = None, sender: str = "") -> int:
        """Send to every actor that subscribed to the topic, each once for an id; how many there are. InvalidTopic."""
        topic_words(topic)
        chosen = id or os.urandom(16).hex()
        wanted = {
            each["actor"]: each["method"] for each in await self._subscriptions() if matches(each["pattern"], topic)
        }
        packed = unpack(pack(list(args)))
        sent = 0
        for actor, method in wanted.items():
            try:
                await self.tell_by_name(actor, method, packed, id=f"{chosen} {actor}", sender=sender)
                sent += 1
            except ActorStopped:
                continue  # the message is among its dead letters
        return sent

    async def subscribe(self, cls: type, key: str, pattern: str, method: str) -> None:
        """Have what is published on a pattern's topics sent to a method of an actor. InvalidTopic, UnknownMethod."""
        described = class_of(cls)
        described.method(method)
        await self.subscribe_by_name(actor_name(described.kind, key), pattern, method)

    async def subscribe_by_name(self, actor: str, pattern: str, method: str | None) -> bool:
        """The same by the actor's name; None ends it. Whether that changed anything."""
        pattern_words(pattern)
        kind, key = kind_and_key(actor)
        request = {"pattern": pattern, "actor": actor, "kind": kind, "key": key, "method": method}
        return bool((await self._engine.store.request("actor.subscribe", request)).data["changed"])

    async def _subscriptions(self) -> list[dict[str, str]]:
        found: list[dict[str, str]] = []
        after: dict[str, object] = {}
        while True:
            page = (await self._engine.store.request("actor.subscriptions", after)).data["subscriptions"]
            found += page
            if len(page) < 1_000:
                return found
            after = {"pattern": page[-1]["pattern"], "actor": page[-1]["actor"]}

    # -- reminders --------------------------------------------------------------------------------------------------

    async def remind(
        self, actor: str, reminder: str, method: str, args: list[Any], first: float, again: float | None, id: str
    ) -> None:
        """Begin a reminder, in place of one of its name. first, again: s."""
        await self._end_reminder(actor, reminder, but=self._reminder_id(actor, reminder, id))
        await self.begin_reminder(actor, reminder, method, args, first, again, id)

    async def begin_reminder(
        self, actor: str, reminder: str, method: str, args: list[Any], first: float, again: float | None, id: str
    ) -> None:
        """Begin it, once for an id, and note that it is the one of its name."""
        execution = self._reminder_id(actor, reminder, id)
        await self._engine.start_as(execution, actor_reminder, [actor, reminder, method, args, first, again], {})
        place = {"namespace": actor, "key": reminder, "value": f'"{execution}"', "quota": KV_BYTES_MAX}
        await self._engine.store.request("kv.set", place)

    def _reminder_id(self, actor: str, reminder: str, id: str) -> str:
        return f"reminder-{self.message_id(f'{actor} {reminder} {id}')}"

    async def send_reminder(self, actor: str, method: str, args: list[Any], id: str, before: str | None) -> bool | None:
        """Send the message of a reminder; none to an actor that is stopped, which gets the next one after a restart.

        None where it was not sent, since the one before it, of the id `before`, waits or is at work; False where there
        is no such actor any more.
        """
        row = await self.row(actor)
        if row is None:
            return False
        if await self._is_pending(actor, before):
            return None
        if row["status"] == "running":
            with suppress(ActorStopped):  # just now: the message is among the dead letters
                await self.tell_by_name(actor, method, args, id=id)
        return True

    async def _is_pending(self, actor: str, id: str | None) -> bool:
        """Whether a message that was sent under that id has no reply yet."""
        if id is None:
            return False
        promise = ids.execution_promise(f"{actor}@{self.message_id(id)}")
        try:
            answer = await self._engine.store.request("promise.get", {"id": promise})
        except StoreRefused as refused:
            if refused.status == 404:
                return False
            raise
        return bool(answer.data["promise"]["state"] == "pending")

    async def forget_reminder(self, actor: str, reminder: str) -> bool:
        """End a reminder; False when there was none."""
        found = await self._end_reminder(actor, reminder)
        await self._engine.store.request("kv.delete", {"namespace": actor, "key": reminder})
        return found

    async def end_of_reminder(self, actor: str, reminder: str, execution: str) -> None:
        """Its last message was sent: forget its name, unless another one has that by now."""
        place = {"namespace": actor, "key": reminder, "value": f'"{execution}"'}
        await self._engine.store.request("kv.delete", place)

    async def _end_reminder(self, actor: str, reminder: str, but: str = "") -> bool:
        execution = await self._reminder_of(actor, reminder)
        if not execution or execution == but:
            return False
        try:
            return await self._engine.cancel(execution, "another reminder of its name")
        except NotFound:
            return False

    async def _reminder_of(self, actor: str, reminder: str) -> str:
        """The execution that is the reminder of that name, "" for none."""
        answer = (await self._engine.store.request("kv.get", {"namespace": actor, "key": reminder})).data
        text = answer.get("value")
        return text.strip('"') if isinstance(text, str) else ""

    # -- health -----------------------------------------------------------------------------------------------------

    def watch(self, described: ActorClass, actor: str, loop: asyncio.AbstractEventLoop) -> None:
        """Ask an actor for its health from now on, for a minute, where its class says so. loop: the engine's."""
        checks = None if described.supervise is None else described.supervise.health
        if checks is not None:
            self.health_watch.begin(StoredActor(self, described, actor, checks), loop)

    async def component_health(
        self, component: str, actor: str, state: dict[str, Any], timeout_s: float
    ) -> Health | HealthUnasked | None:
        """The health of an actor that is a component. state: of its row."""
        found: Health | None
        kept = state.get("kept")
        if kept is not None:
            before = (kept["execution"], base64.b64decode(kept["state"]))
            found = await self._engine.sandbox.module_health(component, actor, before, timeout_s)
            return found
        from durable.sandbox.component_instances import NoInstance

        try:
            found = await self._engine.sandbox.instance_health(actor, state.get("last", ""), timeout_s)
        except NoInstance:
            return HealthUnasked.BUSY
        return found

    async def health_changed(self, actor: str, state: HealthState, reason: str) -> None:
        """Keep what was found beside the actor, and tell the engine's observers."""
        found = msgspec.json.encode(ActorHealth(str(state), reason, int(time.time() * 1_000))).decode()
        place = {"namespace": ids.health_of(actor), "key": "health", "value": found, "quota": KV_BYTES_MAX}
        await self._engine.store.request("kv.set", place)
        self.note(f"health_{state}", actor, reason)

    def let_go(self, actor: str) -> None:
        """End the instance that is kept here for an actor."""
        self._engine.let_go(actor)

    async def close(self) -> None:
        """End the actors in memory, and ask none any more."""
        await self.health_watch.close()
        await self.local.close()

    # -- journals ---------------------------------------------------------------------------------------------------

    async def journal(self, actor: str) -> list[str]:
        """The entries of the journal of an actor that is a component, in order."""
        found: list[str] = []
        after = ""
        while True:
            page = (await self._engine.store.request("actor.journal", {"actor": actor, "after": after})).data["entries"]
            found += [text for _, text in page]
            if len(page) < JOURNAL_PAGE_MAX:
                return found
            after = page[-1][0]

    # -- what there is ------------------------------------------------------------------------------------------------

    async def get(self, cls: type | str, key: str) -> ActorInfo:
        """An actor as it stands. NotFound."""
        name = actor_name(cls if isinstance(cls, str) else class_of(cls).kind, key)
        row = await self._asked("actor.get", name)
        answer = (await self._engine.store.request("kv.get", {"namespace": ids.health_of(name), "key": "health"})).data
        text = answer.get("value")
        known = msgspec.json.decode(text, type=ActorHealth) if isinstance(text, str) else None
        return replace(actor_info(row), health=known)

    async def health(self, cls: type | str, key: str) -> ActorHealth | None:
        """The health of an actor as checks found it last, in memory or of the store; None before any. NotFound."""
        local = self._local(cls, key)
        return (await self.get(cls, key)).health if local is None else local.health

    async def find(self, *, kind: str | None = None, status: str | None = None) -> list[ActorInfo]:
        """All actors, by name."""
        return [actor_info(row) for row in await self._rows(kind=kind, status=status)]

    async def _rows(self, **wanted: str | None) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        request: dict[str, object] = {name: value for name, value in wanted.items() if value is not None}
        while True:
            page = (await self._engine.store.request("actor.list", request)).data["actors"]
            found += page
            if len(page) < 1_000:
                return found
            request["after"] = page[-1]["name"]
            if "parent" in request:
                request["place"] = page[-1]["place"]

    async def stop(self, cls: type | str, key: str, note: str = "", *, force: bool = False) -> int:
        """Let an actor take no more messages; how many were waiting, which are among the dead letters. NotFound.

        A turn that has begun ends by itself; force: it is ended too.
        """
        local = self._local(cls, key)
        if local is not None:
            if force:
                local.end_turn()
            return local.stop(note)
        name = actor_name(cls if isinstance(cls, str) else class_of(cls).kind, key)
        letters = int((await self._asked("actor.stop", name, note=note, force=force))["letters"])
        self._engine.let_go(name)
        self.note("child_stopped", name, note)
        return letters

    async def restart(self, cls: type | str, key: str, *, reset: bool = False) -> None:
        """Let an actor that was stopped or failed go on, with its last saved state. reset: without it. NotFound."""
        local = self._local(cls, key)
        if local is not None:
            local.begin_anew()
            return
        name = actor_name(cls if isinstance(cls, str) else class_of(cls).kind, key)
        await self._asked("actor.restart", name, reset=reset)
        self.note("child_restarted", name, "by hand")

    async def start(self, cls: type, key: str) -> None:
        """Bring an actor into being before its first message (A36): what its start raised; RequestTimedOut.

        One in memory calls `on_start` now, within the time for that; one of the store when an engine takes the message.
        """
        described = class_of(cls)
        if not described.durable:
            await self.local.start(described, key)
            return
        name = actor_name(described.kind, key)
        await self.reply(name, None, await self.send(name, START, [], {}, capacity=described.mailbox), None)

    def _local(self, cls: type | str, key: str) -> LocalActor | None:
        """The actor in memory of a class with durable=False; None for the others."""
        if isinstance(cls, str) or class_of(cls).durable:
            return None
        return self.local.of(class_of(cls), key)

    async def delete(self, cls: type | str, key: str, *, force: bool = False) -> int:
        """Forget an actor that is stopped or failed, with its state, subscriptions, reminders and dead letters; how
        many letters those were.

        Its next message brings a new one into being. force: one that runs is stopped first, its mail is ended, and
        those that it spawned are under nobody. NotFound, Conflict.
        """
        name = actor_name(cls if isinstance(cls, str) else class_of(cls).kind, key)
        keys = (await self._engine.store.request("kv.list", {"namespace": name})).data["keys"]
        reminders = [await self._reminder_of(name, reminder) for reminder in keys]
        letters = int((await self._asked("actor.delete", name, force=force))["letters"])
        for execution in filter(None, reminders):  # one that this does not get to ends when it finds no actor
            with suppress(NotFound):
                await self._engine.cancel(execution, "its actor is deleted")
        return letters

    async def _asked(self, kind: str, name: str, **more: object) -> dict[str, Any]:
        try:
            return dict((await self._engine.store.request(kind, {"actor": name, **more})).data)
        except StoreRefused as refused:
            if refused.status == 409:
                raise Conflict(f"{refused.message}; {_REMEDIES[kind]}") from None
            if refused.status != 404:
                raise
            raise NotFound("actor", shown(name), "`durable actor list` shows what there is") from None

    async def dead_letters(
        self, cls: type | str | None = None, key: str = "", *, limit: int = 1_000
    ) -> list[DeadLetter]:
        """Messages that no turn answered, the newest first; of one actor, or of all."""
        request: dict[str, object] = {"limit": limit}
        if cls is not None:
            request["actor"] = actor_name(cls if isinstance(cls, str) else class_of(cls).kind, key)
        letters = (await self._engine.store.request("actor.letters", request)).data["letters"]
        return [dead_letter(each) for each in letters]

    async def tree(self) -> SupervisionTree:
        """The tree of supervision: actors with a supervisor, and their supervisors."""
        nodes = {
            row["name"]: TreeNode(shown(row["name"]), _shown_or_none(row["parent"]), row["status"], row["restarted"])
            for row in sorted(await self._rows(), key=lambda row: (row["place"], row["name"]))
        }
        return SupervisionTree(nodes.values())

    # -- supervision ------------------------------------------------------------------------------------------------

    async def spawn(self, kind: str, key: str, parent: str) -> str | None:
        """Bring an actor into being under another one; what is wrong with that, or None."""
        name = actor_name(kind, key)
        above: str | None = parent
        chain = [name]
        while above is not None:
            chain.append(above)
            if above == name:
                return f"supervisors in a circle: {' under '.join(map(shown, chain))}"
            row = await self.row(above)
            above = None if row is None else row["parent"]
        row = await self.row(name)
        if row is None:
            await self.send(name, START, [], {}, sender=parent, parent=parent)
            self.note("child_started", name, f"under {shown(parent)}")
            row = await self.row(name)
        if row is not None and row["parent"] != parent:  # since ever, or another one was faster
            known = "nobody" if row["parent"] is None else shown(row["parent"])
            return f"{shown(name)} is there already, under {known}; an actor is spawned before its first message"
        return None

    async def row(self, name: str) -> dict[str, Any] | None:
        """The row of an actor; None where there is none."""
        try:
            return await self._asked("actor.get", name)
        except NotFound:
            return None

    async def restart_group(self, parent: str, failed: str, strategy: Strategy) -> list[str]:
        """Restart the children of an actor that a strategy says, in start order; which they are."""
        rows = await self._rows(parent=parent)
        supervisor = Supervisor(parent, strategy)
        for row in rows:
            supervisor.supervise(ChildSpec(row["name"]))
            supervisor.children[row["name"]].state = _CHILD_STATES[row["status"]]
        concerned = [name for name in supervisor.affected(failed) if name in supervisor.children]
        for name in concerned:
            await self._asked("actor.restart", name)
            self.note("child_restarted", name, f"{shown(failed)} failed")
        return concerned

    async def stop_group(self, parent: str, note: str) -> None:
        """Stop all children of an actor, the last one first."""
        for row in reversed(await self._rows(parent=parent)):
            await self._asked("actor.stop", row["name"], note=note, status="failed")
            self.note("child_stopped", row["name"], note)


_REMEDIES = {
    "actor.restart": "stop the actor with force first",
    "actor.delete": "stop it and delete those that it spawned first, or delete it with force",
}
_CHILD_STATES = {"running": ChildState.RUNNING, "stopped": ChildState.STOPPED, "failed": ChildState.FAILED}


def _shown_or_none(name: str | None) -> str | None:
    return None if name is None else shown(name)


def actor_info(row: dict[str, Any]) -> ActorInfo:
    """An actor from its row in the store."""
    state = None if row["state"] is None else msgspec.json.decode(row["state"])
    names = ("name", "kind", "key", "status", "note", "version", "saved", "restarted", "parent", "waiting")
    return ActorInfo(
        state=state,
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        **{name: row[name] for name in names},
    )


def dead_letter(row: dict[str, Any]) -> DeadLetter:
    """A dead letter from its row in the store."""
    data = unpack(row["message"] or None)
    message = data["args"][0] if isinstance(data, dict) and data.get("args") else {}
    return DeadLetter(
        number=row["id"],
        actor=shown(row["actor"]),
        id=row["promise"].removeprefix(ids.PREFIX),
        method=str(message.get("method", "")),
        args=list(message.get("args") or ()),
        kwargs=dict(message.get("kwargs") or {}),
        reason=row["reason"],
        at=row["at"],
    )
