"""Opening the URL of a server: `durable serve` has every request of ours, a Resonate server the protocol's alone."""

from __future__ import annotations

import os

import msgspec

from durable.core.errors import StoreDenied, StoreError
from durable.core.events import Observer
from durable.core.limits import OPEN_UNHEARD_S
from durable.store.remote.client import StoreClient
from durable.store.remote.store import RemoteStore
from durable.store.resonate_server.protocol_client import speaks_protocol
from durable.store.resonate_server.store import ResonateServerStore

VARIABLE = "DURABLE_TOKEN"

_GREETING = b'{"kind":"engine.list","data":{}}'


async def open_server(url: str, *, token: str | None, observer: Observer) -> RemoteStore | ResonateServerStore:
    """Reach the store at a server's URL. `token`: of its token file; DURABLE_TOKEN when None.

    StoreDenied, StoreUnreachable, StoreError with what is wrong.
    """
    found = token or os.environ.get(VARIABLE) or ""
    client = StoreClient(url, found, observer)
    kept = False
    try:
        if await _is_ours(client, needs_token=not found):
            return await RemoteStore.open(url, token=found, observer=observer)
        if not await speaks_protocol(client, OPEN_UNHEARD_S):
            raise StoreError(f"{url} is neither a store served by `durable serve` nor a Resonate server")
        kept = True
        return ResonateServerStore(url, found, client, observer)
    finally:
        if not kept:
            await client.close()


async def _is_ours(client: StoreClient, *, needs_token: bool) -> bool:
    """Whether the server answers a request of ours."""
    try:
        status, body = await client.send("POST", "/", _GREETING, once=True, within_s=OPEN_UNHEARD_S)
    except StoreDenied:
        if not needs_token:
            raise
        raise StoreDenied(
            f"{client.url} needs a token: set {VARIABLE} to what `durable serve` keeps in <store>.token"
        ) from None
    try:
        return status == 200 and "engines" in msgspec.json.decode(body)["data"]
    except (msgspec.MsgspecError, KeyError, TypeError):
        return False
