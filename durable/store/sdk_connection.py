"""The store as the SDK sees it: a `Network` that answers requests and a `Source` that brings messages, in-process."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec
from resonate_base import PROTOCOL_VERSION, ConnectorError

from durable.core.errors import DurableError, EngineClosed, StoreRefused
from durable.store.operations.execution_slots import Slots
from durable.store.operations.request_table import KINDS
from durable.store.operations.transaction import MessageEnd
from durable.store.protocol.requests import Record, Request

if TYPE_CHECKING:
    from durable.store.direct_store import DirectStore


class _Head(Request, frozen=True, kw_only=True):
    corr_id: str = ""


class Envelope(msgspec.Struct, frozen=True):
    """A request as it travels; `data` is decoded by its kind."""

    kind: str
    head: _Head = _Head()
    data: msgspec.Raw = msgspec.Raw(b"{}")


@cache
def envelope_decoder() -> msgspec.json.Decoder[Envelope]:
    """The reader of envelopes. Readers are made when they are first used: most engines send the store no text."""
    return msgspec.json.Decoder(Envelope)


@cache
def _decoder_of(kind: str) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(KINDS[kind].request)


@cache
def _fenced_decoder() -> msgspec.json.Decoder[_Reply]:
    return msgspec.json.Decoder(_Reply)


class DirectConnection:
    """One engine's or client's connection, at the address `poll://uni@<group>/<engine id>`."""

    def __init__(self, store: DirectStore, engine_id: str, group: str) -> None:
        self._store = store
        self._group = group
        self._receivers: list[Callable[[str], None]] = []
        self._stopped = False
        self._end = MessageEnd(engine_id, group, f"poll://uni@{group}/{engine_id}", self._push)

    def bound(self, slots: Slots, begin: Callable[[str, int, Record, Record | None], None]) -> None:
        """Offer no more than there are slots, each of which comes with its offer; to be called before `start`.

        begin: runs a task that the store acquired for this engine: its id, its version, its promise, what is recorded.
        """
        self._end.slots = slots
        self._end.begin = begin
        slots.on_free = self._store.offer_again

    def unicast(self) -> str:
        """Where this process alone is reached."""
        return self._end.address

    def resolve_target(self, target: str) -> str:
        """The address of a group, or of one preferred engine in it (`group/engine`)."""
        return f"poll://any@{target}"

    def recv(self, callback: Callable[[str], None]) -> None:
        """Register a receiver of pushed messages; to be called before `start`."""
        self._receivers.append(callback)

    async def start(self) -> None:
        """Begin to take messages; what was due before is offered now."""
        self._stopped = False
        self._store.attach(self._end)

    async def stop(self) -> None:
        """Take no more messages, send no more requests. The tasks it holds stay as they are until it leaves or dies."""
        self._stopped = True
        self._store.detach(self._end)

    async def send(self, req: str, headers: dict[str, str] | None = None) -> str:  # noqa: ARG002 - one file holds all origins
        """Answer one protocol envelope. Works before `start`; raises ConnectorError at once after `stop`."""
        if self._stopped:
            raise ConnectorError(EngineClosed("this connection is stopped"))
        try:
            return await answer_envelope(self._store, req)
        except DurableError as error:
            raise ConnectorError(error) from error

    def _push(self, message: str) -> None:
        for receiver in self._receivers:
            receiver(message)


async def answer_envelope(store: DirectStore, text: str | bytes) -> str:
    """Answer one request of the protocol, given and returned as JSON; only StoreError and EngineClosed are raised."""
    try:
        envelope = envelope_decoder().decode(text)
    except msgspec.MsgspecError as error:
        return reply("", "", 400, f"this is not a request: {error}")
    kind, corr_id = envelope.kind, envelope.head.corr_id
    known = KINDS.get(kind)
    if known is None or not known.protocol:
        return reply(kind, corr_id, 400, f"unknown kind {kind!r}")
    try:
        request = _decoder_of(kind).decode(envelope.data)
    except msgspec.MsgspecError as error:
        return reply(kind, corr_id, 400, f"{kind}: {error}")
    try:
        answer = await store.enqueue(kind, request)
    except StoreRefused as refused:
        return reply(kind, corr_id, refused.status, refused.message)
    return for_python(reply(kind, corr_id, answer.status, answer.data))


class _Action(msgspec.Struct, frozen=True):
    head: dict[str, object]
    data: object


class _Fenced(msgspec.Struct, frozen=True):
    action: _Action


class _Reply(msgspec.Struct, frozen=True):
    kind: str
    head: dict[str, object]
    data: _Fenced


def for_python(text: str) -> str:
    """An answer as the Python SDK can read it: an action in a fence that was refused is the fence's own refusal."""
    if '"task.fence"' not in text or '"action"' not in text:
        return text
    try:
        found = _fenced_decoder().decode(text)
    except msgspec.MsgspecError:
        return text
    status = found.data.action.head.get("status")
    if found.kind != "task.fence" or not isinstance(status, int) or status < HTTPStatus.BAD_REQUEST:
        return text
    return reply(found.kind, str(found.head.get("corrId", "")), status, found.data.action.data)


def reply(kind: str, corr_id: str, status: int, data: object) -> str:
    """An answer as it travels; text in place of data is an error."""
    head = {"corrId": corr_id, "status": status, "version": PROTOCOL_VERSION}
    return msgspec.json.encode({"kind": kind, "head": head, "data": data}).decode()
