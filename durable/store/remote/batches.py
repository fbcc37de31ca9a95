"""Requests to a remote store in the order they were posted: one batch under way, what comes meanwhile is the next.

One batch at a time keeps the order without trusting the network, and shares a round trip as a commit shares a sync.
A batch is numbered, so that the server answers one that is sent again instead of doing it again (specs/http.md, H1).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from durable.core.errors import DurableError, EngineClosed, StoreError, StoreFull, StoreRefused
from durable.core.limits import ROOM_LOOK_S
from durable.store.protocol.requests import Answer
from durable.store.protocol.waiting_requests import NO_ROOM, PATIENT

BATCH_REQUESTS_MAX = 1_000
BATCH_BYTES_GOAL = 8 * 2**20
"""A batch ends with the request that passes this."""

BYTES_OF: dict[str, tuple[str, ...]] = {
    "checkpoint.latest": ("checkpoint", "manifest"),
    "checkpoint.get": ("checkpoint", "manifest"),
}
"""Where answers hold bytes, which travel as base64. `chunk.get` holds nothing else."""

type Exchange = Callable[[int, bytes], Awaitable[tuple[int, bytes]]]
"""Sends the batch of that number until it is answered: a status and a body."""


class _Item(msgspec.Struct, frozen=True):
    status: int
    data: Any


_items = msgspec.json.Decoder(list[_Item])


class Lane:
    """The queue of one client."""

    def __init__(self, exchange: Exchange, on_full: Callable[[StoreFull], None]) -> None:
        """on_full: told, each time, that requests wait for room on the server's disk."""
        self._exchange = exchange
        self._on_full = on_full
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[str, bytes, asyncio.Future[Answer]]] = deque()
        self._for_room: deque[tuple[str, bytes, asyncio.Future[Answer]]] = deque()
        self.patient = True
        """Whether requests wait for room on the server's disk."""
        self._woken = asyncio.Event()
        self._posted = 0
        self._answered = 0
        self._progress = asyncio.Event()  # of the batch under way
        self._number = 0
        self._closed = False
        self._task = asyncio.create_task(self._run())

    def post(self, kind: str, data: Mapping[str, object]) -> asyncio.Future[Answer]:
        """Enqueue; the future has the answer, or StoreRefused, StoreError, EngineClosed."""
        future: asyncio.Future[Answer] = self._loop.create_future()
        if self._closed:
            future.set_exception(EngineClosed("the remote store is closed"))
            return future
        try:
            item = encode(kind, data)
        except (msgspec.MsgspecError, TypeError, ValueError) as error:
            future.set_exception(StoreRefused(kind, 400, str(error)))
            return future
        self._posted += 1
        if self._for_room and kind in PATIENT:
            self._for_room.append((kind, item, future))
            return future
        self._waiting.append((kind, item, future))
        self._woken.set()
        return future

    async def flushed(self) -> None:
        """Return when everything posted so far is answered, well or not."""
        target = self._posted  # counted, since whoever waits for a request may have given up on it
        while self._answered < target and not self._closed:
            await self._progress.wait()

    async def close(self) -> None:
        """Fail what is not answered. Idempotent."""
        self._closed = True
        self._task.cancel()
        await asyncio.wait([self._task])
        self._fail([*self._waiting, *self._for_room], EngineClosed("the remote store was closed"))
        self._waiting.clear()
        self._for_room.clear()
        self._progress.set()

    async def _run(self) -> None:
        while True:
            await self._woken.wait()
            taken = self._take()
            if not taken:
                self._woken.clear()
                continue
            self._number += 1
            body = b"[" + b",".join(item for _, item, _ in taken) + b"]"
            try:
                status, found = await self._exchange(self._number, body)
                self._resolve(taken, status, found)
                if self._for_room:
                    taken = [each for each in taken if each not in self._for_room]
            except DurableError as error:
                self._fail(taken, error)
            except BaseException:
                self._fail(taken, EngineClosed("the remote store was closed"))
                raise
            self._answered += len(taken)
            self._progress.set()
            self._progress = asyncio.Event()

    def _take(self) -> list[tuple[str, bytes, asyncio.Future[Answer]]]:
        taken: list[tuple[str, bytes, asyncio.Future[Answer]]] = []
        size = 0
        while self._waiting and len(taken) < BATCH_REQUESTS_MAX and size < BATCH_BYTES_GOAL:
            if taken and size + len(self._waiting[0][1]) > BATCH_BYTES_GOAL:
                break  # a large one goes alone: its refusal must not be the others'
            taken.append(self._waiting.popleft())
            size += len(taken[-1][1])
        return taken

    def _resolve(self, taken: list[tuple[str, bytes, asyncio.Future[Answer]]], status: int, found: bytes) -> None:
        if status != 200:
            text = _text(found)
            for kind, _, future in taken:
                if not future.done():
                    future.set_exception(StoreRefused(kind, status, text))
            return
        try:
            items = _items.decode(found)
        except msgspec.MsgspecError as error:
            raise StoreError(f"the server's answer cannot be read: {error}; is it `durable serve`?") from None
        for (kind, body, future), item in zip(taken, items, strict=True):
            if future.done():
                continue
            if item.status == NO_ROOM:
                self._wait_for_room(kind, body, future, StoreFull(str(item.data)))
            elif item.status >= 400:
                future.set_exception(StoreRefused(kind, item.status, str(item.data)))
            else:
                future.set_result(Answer(item.status, decode(kind, item.data)))

    def _wait_for_room(self, kind: str, body: bytes, future: asyncio.Future[Answer], error: StoreFull) -> None:
        """Ask again, in order, for what records what an engine runs; anything else fails (specs/store.md, W6)."""
        if kind not in PATIENT or not self.patient:
            future.set_exception(error)
            return
        if not self._for_room:
            self._loop.call_later(ROOM_LOOK_S, self._ask_again)
        self._for_room.append((kind, body, future))
        self._on_full(error)

    def _ask_again(self) -> None:
        self._waiting.extendleft(reversed(self._for_room))
        self._for_room.clear()
        self._woken.set()

    @staticmethod
    def _fail(taken: Any, error: DurableError) -> None:
        for _, _, future in taken:
            if not future.done():
                future.set_exception(error)


def encode(kind: str, data: Mapping[str, object]) -> bytes:
    """A request as an item of a batch. Raises TypeError and ValueError for what JSON cannot hold."""
    try:
        return msgspec.json.encode({"kind": kind, "data": data})
    except UnicodeEncodeError:
        if kind != "output.append":
            raise
        # Output may hold lone surrogates; as in the store, one character takes the place of each (S10).
        return msgspec.json.encode({"kind": kind, "data": _writable(data)})


def _writable(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list | tuple):
        return [_writable(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _writable(item) for key, item in value.items()}
    return value


def decode(kind: str, data: Any) -> Any:
    """An answer's data with its bytes as bytes."""
    if kind == "chunk.get":
        return {"chunks": {digest: msgspec.convert(text, bytes) for digest, text in data["chunks"].items()}}
    path = BYTES_OF.get(kind)
    if path is not None and data[path[0]] is not None:
        data[path[0]][path[1]] = msgspec.convert(data[path[0]][path[1]], bytes)
    return data


def _text(body: bytes) -> str:
    """The text of a refusal, whether it comes as an envelope or as a text."""
    try:
        found = msgspec.json.decode(body)
    except msgspec.MsgspecError:
        return body[:200].decode("utf-8", "replace")
    return str(found.get("data", found) if isinstance(found, dict) else found)
