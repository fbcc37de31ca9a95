"""Requests of the Resonate protocol to a server, one envelope each."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from resonate_base import PROTOCOL_VERSION

from durable.core.errors import StoreError, StoreLacks, StoreRefused
from durable.store.protocol.requests import Answer
from durable.store.remote.client import Client


class _Head(msgspec.Struct, frozen=True):
    status: int


class _Reply(msgspec.Struct, frozen=True):
    kind: str
    head: _Head
    data: Any = None


_replies = msgspec.json.Decoder(_Reply)


async def ask(
    client: Client, kind: str, data: Mapping[str, object], *, within_s: float | None, once: bool = False
) -> Answer:
    """The answer to a request. StoreRefused (status 400 or more), StoreLacks (501), StoreError, EngineClosed."""
    head = {"corrId": uuid.uuid4().hex, "version": PROTOCOL_VERSION}
    body = msgspec.json.encode({"kind": kind, "head": head, "data": data})
    headers = {"content-type": "application/json"}
    _, found = await client.send("POST", "/", body, headers, once=once, within_s=within_s)
    try:
        reply = _replies.decode(found)
    except msgspec.MsgspecError as error:
        raise StoreError(f"{client.url} does not speak the Resonate protocol: {error}") from None
    if reply.head.status == HTTPStatus.NOT_IMPLEMENTED:
        raise StoreLacks(client.url, f"{kind}: the server does not implement it")
    if reply.head.status >= HTTPStatus.BAD_REQUEST:
        raise StoreRefused(kind, reply.head.status, str(reply.data))
    return Answer(reply.head.status, reply.data)


async def speaks_protocol(client: Client, within_s: float) -> bool:
    """Whether the server answers a request of the Resonate protocol. StoreUnreachable, StoreDenied."""
    try:
        await ask(client, "promise.get", {"id": "durable"}, within_s=within_s, once=True)
    except StoreRefused as refused:
        return refused.kind == "promise.get" and refused.status == HTTPStatus.NOT_FOUND
    except (StoreLacks, StoreError):
        return False
    return True
