"""The keys that a request works under where several transactions may write at a time, and their locks (postgres.md).

A key stands for one tree of promises, with all its tasks, callbacks and output, or for one session, whose cells' trees
have the session's key. Requests under different keys never touch the same rows, but for what an operation locks itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import msgspec

from durable.core.ids import PREFIX
from durable.store.protocol import requests

WHOLE = "*"
"""Held by a request that looks at everything: nothing else is written meanwhile."""
CHECKPOINTS = "\0checkpoints"
"""Chunks are shared by checkpoints of all sessions: who forgets some and who uses them again wait for each other."""

_PROMISES = {"id", "awaited", "awaiter", "execution", "prompt", "promise_id"}
_SESSIONS = {"session", "name", "actor", "parent"}
_WHOLE = (
    requests.FunctionAlias,
    requests.SweepExecutions,
    requests.SweepRetention,
    requests.SweepCheckpoints,
    requests.SweepMessages,
    requests.SweepAudit,
    requests.SweepActors,
    requests.DebugTick,
)


def promise_key(promise_id: str) -> str:
    """The key of a promise: what comes before the first `:`, `.` or `@` of its id, without `exec:`."""
    return promise_id.removeprefix(PREFIX).partition(":")[0].partition(".")[0].partition("@")[0]


def session_key(session: str) -> str:
    """The key of a session: that of its cells, `exec:<session>@<n>`."""
    return promise_key(PREFIX + session)


def engine_key(engine: str) -> str:
    """The key of an engine's row and lease."""
    return f"\0engine {engine}"


def queue_key(queue: str) -> str:
    """The key of a queue: its counts, its lines, and who of it may begin."""
    return f"\0queue {queue}"


def values_key(namespace: str) -> str:
    """The key of a namespace of values."""
    return f"\0values {namespace}"


def keys_of(request: Any) -> Iterator[str]:
    """The keys of all that a request names; WHOLE for one that looks at everything."""
    if isinstance(request, _WHOLE):
        yield WHOLE
    elif isinstance(request, requests.PolicySet) and request.name == "*":
        yield WHOLE  # it holds for the calls of every session
    elif isinstance(request, requests.CheckpointGet | requests.CheckpointLabel | requests.CheckpointPublish):
        yield CHECKPOINTS
    if isinstance(request, requests.SignalSend | requests.SignalLook):
        yield promise_key(request.execution)  # its name is no session's
    else:
        yield from _named(request)


def _named(struct: Any) -> Iterator[str]:
    for field in struct.__struct_fields__:
        value = getattr(struct, field)
        if value is None:
            continue
        if isinstance(value, msgspec.Struct):
            yield from _named(value)
        elif isinstance(value, list):
            for each in value:
                if isinstance(each, msgspec.Struct):
                    yield from _named(each)
        elif isinstance(value, str):
            if field in _PROMISES:
                yield promise_key(value)
            elif field in _SESSIONS:
                yield session_key(value)
            elif field == "engine":
                yield engine_key(value)
            elif field == "queue":
                yield queue_key(value)
            elif field == "namespace":
                yield values_key(value)
        elif isinstance(value, dict) and field == "tags" and "durable:session" in value:
            yield session_key(value["durable:session"])


@lru_cache(16_384)
def lock_number(schema: str, key: str) -> int:
    """The number that a key's advisory lock has: two keys that share one wait for each other, which harms nobody."""
    digest = hashlib.blake2b(f"{schema}\0{key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


def store_lock(schema: str) -> int:
    """The number of the lock that every transaction of a store holds, shared or alone."""
    return lock_number(schema, WHOLE)
