"""Requests of the Resonate protocol to a server, one envelope each."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from resonate_base import PROTOCOL_VERSION

from durable.core.errors import StoreDenied, StoreError, StoreLacks, StoreRefused, StoreUnreachable
from durable.store.protocol.requests import Answer
from durable.store.remote.client import StoreClient


class _Head(msgspec.Struct, frozen=True):
    status: int


class _Reply(msgspec.Struct, frozen=True):
    kind: str
    head: _Head
    data: Any = None


_PROBE = "promise.get"
_replies = msgspec.json.Decoder(_Reply)


async def ask(
    client: StoreClient, kind: str, data: Mapping[str, object], *, within_s: float | None, once: bool = False
) -> Answer:
    """The answer to a request. StoreRefused (status 400 or more), StoreLacks (501), StoreError, EngineClosed."""
    reply = await _asked(client, kind, data, within_s=within_s, once=once)
    if reply.head.status == HTTPStatus.NOT_IMPLEMENTED:
        raise StoreLacks(client.url, f"{kind}: the server does not implement it")
    if reply.head.status >= HTTPStatus.BAD_REQUEST:
        raise StoreRefused(kind, reply.head.status, str(reply.data))
    return Answer(reply.head.status, reply.data)


async def _asked(
    client: StoreClient, kind: str, data: Mapping[str, object], *, within_s: float | None, once: bool
) -> _Reply:
    head = {"corrId": uuid.uuid4().hex, "version": PROTOCOL_VERSION}
    body = msgspec.json.encode({"kind": kind, "head": head, "data": data})
    headers = {"content-type": "application/json"}
    _, found = await client.send("POST", "/", body, headers, once=once, within_s=within_s)
    try:
        return _replies.decode(found)
    except msgspec.MsgspecError as error:
        raise StoreError(f"{client.url} does not speak the Resonate protocol: {error}") from None


async def speaks_protocol(client: StoreClient, within_s: float) -> bool:
    """Whether the server answers a request of the Resonate protocol. StoreUnreachable, StoreDenied."""
    try:
        reply = await _asked(client, _PROBE, {"id": "durable"}, within_s=within_s, once=True)
    except (StoreDenied, StoreUnreachable):
        raise
    except StoreError:
        return False
    return reply.kind == _PROBE and reply.head.status in (HTTPStatus.OK, HTTPStatus.NOT_FOUND)
