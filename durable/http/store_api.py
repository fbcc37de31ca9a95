"""Answers requests that came over HTTP: the protocol's kinds, our own, the reads, and what only remote engines ask."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from durable.core.errors import DurableError, StoreFull, StoreRefused
from durable.http.change_feed import Feed
from durable.http.manifest_resealing import Seals
from durable.http.remote_leases import RemoteLeases
from durable.store.direct_store import DirectStore
from durable.store.operations.request_table import KINDS
from durable.store.protocol import requests
from durable.store.protocol.reads import READ, READINGS, answer_read
from durable.store.protocol.waiting_requests import NO_ROOM
from durable.store.sdk_connection import envelope_decoder, reply

type Outcome = tuple[int, object]
"""A status and its data, or the text of a refusal."""

_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, UnicodeEncodeError, RecursionError)
"""The errors of reading bytes from outside; the last for lists in lists without end."""
_NOT_OFFERED = {"engine.lost", "engine.move", "listener.claim", "listener.end"}


class SettledAwait(msgspec.Struct, frozen=True, kw_only=True):
    """Tell the client's stream of changes when these settle."""

    client: requests.Id
    ids: list[requests.Id]
    halts: list[requests.Id] = []
    """The ids of which the client wants to hear also that something holds them up."""


class _Item(msgspec.Struct, frozen=True):
    kind: str
    data: msgspec.Raw = msgspec.Raw(b"{}")


_items = msgspec.json.Decoder(list[_Item])
_decoders: dict[str, msgspec.json.Decoder[Any]] = {
    **{name: msgspec.json.Decoder(kind.request) for name, kind in KINDS.items() if name not in _NOT_OFFERED},
    **{READ + name: msgspec.json.Decoder(request) for name, (request, _) in READINGS.items()},
    "engine.beat": msgspec.json.Decoder(requests.Engine),
    "settled.await": msgspec.json.Decoder(SettledAwait),
}


class Desk:
    """One store's answers to remote clients. `clock` is monotonic, in seconds."""

    def __init__(self, store: DirectStore, seals: Seals, leases: RemoteLeases, clock: Callable[[], float]) -> None:
        self._store = store
        self._seals = seals
        self._leases = leases
        self._clock = clock
        self.feeds: dict[str, Feed] = {}
        """Open streams of changes, by client."""
        self._special: dict[str, Callable[[Any], Awaitable[requests.Answer]]] = {
            "engine.join": self._join,
            "engine.serve": self._serve,
            "engine.leave": self._leave,
            "engine.beat": self._beat,
            "task.heartbeat": self._heartbeat,
            "settled.await": self._await_settled,
            "checkpoint.publish": lambda request: self._publish("checkpoint.publish", request),
            "checkpoint.keep": lambda request: self._publish("checkpoint.keep", request),
            "checkpoint.latest": lambda request: self._unsealed("checkpoint.latest", request),
            "checkpoint.get": lambda request: self._unsealed("checkpoint.get", request),
        }

    async def envelope(self, body: bytes) -> tuple[int, str]:
        """Answer one envelope: its status and its text."""
        try:
            found = envelope_decoder().decode(body)
        except _UNREADABLE as error:
            return 400, reply("", "", 400, f"this is not a request: {error}")
        status, data = await self._outcome(found.kind, found.data)
        return status, reply(found.kind, found.head.corr_id, status, data)

    async def batch(self, body: bytes, *, again: bool = False) -> tuple[int, bytes]:
        """Answer requests that commit in their order. `again`: they may have been done before this server began."""
        try:
            items = _items.decode(body)
        except _UNREADABLE as error:
            return 400, msgspec.json.encode(f"this is not a batch: {error}")
        done = {n: await self._submitted(item) for n, item in enumerate(items) if again}
        # All are enqueued before any is waited for, so that they commit together and in order.
        outcomes = [done.get(n) or self._outcome(item.kind, item.data) for n, item in enumerate(items)]
        found = await asyncio.gather(*outcomes)
        return 200, msgspec.json.encode([{"status": status, "data": data} for status, data in found])

    async def _submitted(self, item: _Item) -> Awaitable[Outcome] | None:
        """The answer to a cell or message that is there already: of all requests these alone do more when repeated.

        A search for its nonce looks at every promise, which is affordable once in the life of a broken connection.
        """
        if item.kind not in ("cell.submit", "actor.send"):
            return None
        try:
            nonce = (_decoders[item.kind].decode(item.data).promise.tags or {}).get("durable:nonce")
        except _UNREADABLE:
            return None
        if nonce is None:
            return None
        search = {"tags": {"durable:nonce": nonce}, "limit": 1}
        promises = (await self._store.request("promise.search", search)).data["promises"]
        if not promises:
            return None
        promise = promises[0]
        place = promise["id"].rpartition("@")[2]
        made = {"promise": promise, "n": int(place) if place.isdigit() else None, "id": promise["id"], "task": None}
        return _guarded(_answered(requests.Answer(200, made)))

    def _outcome(self, kind: str, data: msgspec.Raw) -> Awaitable[Outcome]:
        try:
            return _guarded(self._begin(kind, data))
        except StoreRefused as refused:
            return _guarded(_refuse(refused))
        except _UNREADABLE as error:
            return _guarded(_refuse(StoreRefused(kind, 400, f"{kind}: {error}")))

    def _begin(self, kind: str, data: msgspec.Raw) -> Awaitable[requests.Answer]:
        """Check a request and put it into the store's queue; the rest is waited for."""
        decoder = _decoders.get(kind)
        if decoder is None:
            raise StoreRefused(kind, 400, f"unknown kind {kind!r}")
        request = decoder.decode(data)
        special = self._special.get(kind)
        if special is not None:
            return special(request)
        if kind.startswith(READ):
            return self._read(kind.removeprefix(READ), request)
        return self._store.enqueue(kind, request, waits=False)

    def _join(self, request: requests.EngineJoin) -> Awaitable[requests.Answer]:
        moving = self._store.enqueue("engine.move", requests.Engine(engine=request.engine))
        return self._joined(request.engine, moving, self._store.enqueue("engine.join", request))

    async def _joined(self, engine: str, *committed: Awaitable[requests.Answer]) -> requests.Answer:
        await asyncio.gather(*committed)
        self._leases.join(engine, self._clock())
        return self._lease({})

    def _serve(self, request: requests.EngineServe) -> Awaitable[requests.Answer]:
        self._of_ours(request.engine)
        return self._store.enqueue("engine.serve", request)

    def _leave(self, request: requests.Engine) -> Awaitable[requests.Answer]:
        self._of_ours(request.engine)
        self._leases.leave(request.engine)
        return self._store.enqueue("engine.leave", request)

    async def _beat(self, request: requests.Engine) -> requests.Answer:
        if not self._leases.beat(request.engine, self._clock()):
            raise _unknown(request.engine)
        return self._lease({"cancelled": await self._store.reads.cancelled(request.engine)})

    def _lease(self, more: dict[str, Any]) -> requests.Answer:
        return requests.Answer(200, {"lease_ms": int(self._leases.lease_s * 1000), **more})

    def _heartbeat(self, request: requests.TaskHeartbeat) -> Awaitable[requests.Answer]:
        self._leases.beat(request.pid, self._clock())
        return self._store.enqueue("task.heartbeat", request)

    def _of_ours(self, engine: str) -> None:
        """An engine on the server's machine is its own process's business."""
        if engine not in self._leases:
            raise _unknown(engine)

    async def _await_settled(self, request: SettledAwait) -> requests.Answer:
        feed = self.feeds.get(request.client)
        if feed is None:
            raise StoreRefused("settled.await", 404, f"client {request.client!r} has no stream of changes")
        feed.wait_for(request.ids, request.halts)
        return requests.Answer(200, {})

    async def _read(self, name: str, request: msgspec.Struct) -> requests.Answer:
        return requests.Answer(200, {"found": await answer_read(self._store.reads, name, request)})

    def _publish(self, kind: str, request: requests.CheckpointPublish) -> Awaitable[requests.Answer]:
        sealed = self._seals.received(request.manifest)
        return self._store.enqueue(kind, msgspec.structs.replace(request, manifest=sealed), waits=False)

    async def _unsealed(self, kind: str, request: msgspec.Struct) -> requests.Answer:
        answer = await self._store.enqueue(kind, request)
        found = answer.data["checkpoint"]
        if found is None:
            return answer
        return requests.Answer(200, {"checkpoint": {**found, "manifest": self._seals.sent(found["manifest"])}})


async def _guarded(answer: Awaitable[requests.Answer]) -> Outcome:
    try:
        return await answer
    except StoreRefused as refused:
        return refused.status, refused.message
    except StoreFull as error:
        return NO_ROOM, str(error)
    except DurableError as error:
        return 503, str(error)


async def _answered(answer: requests.Answer) -> requests.Answer:
    return answer


async def _refuse(refused: StoreRefused) -> requests.Answer:
    raise refused


def _unknown(engine: str) -> StoreRefused:
    return StoreRefused("engine", 404, f"engine {engine!r} has not joined over HTTP, or was given up; join again")
