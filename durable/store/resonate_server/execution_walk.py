"""The record of an execution, found by its ids alone: the protocol has no request for everything under a promise.

Operations of a function are numbered without gaps, since each is created after the one before it. So the ids are asked
for in windows that grow, up to the first that is missing (specs/resonate-server.md, R3).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

WINDOW_MIN = 8
WINDOW_MAX = 64
"""Ids that are asked for at once: few executions have more operations than the first; none needs many round trips."""

type Promise = dict[str, Any]
type Get = Callable[[str], Awaitable[Promise | None]]
"""Reads a promise by its id; None where there is none."""


async def walk(get: Get, promise_id: str) -> list[Promise]:
    """All promises under `promise_id`, in order of id."""
    own, questions = await asyncio.gather(_numbered(get, f"{promise_id}."), _numbered(get, f"{promise_id}:input:"))
    below = await asyncio.gather(*(_below(get, each) for each in own if each["state"] == "pending"))
    found = [*own, *questions, *(promise for some in below for promise in some)]
    return sorted(found, key=lambda promise: str(promise["id"]))


async def _below(get: Get, step: Promise) -> list[Promise]:
    """The promises of a step that goes on: those of the nested function that it is, or its retries."""
    if (step.get("tags") or {}).get("durable:kind") != "step":
        return []
    nested, retries = await asyncio.gather(walk(get, step["id"]), _numbered(get, f"{step['id']}:retry:"))
    return [*nested, *retries]


async def _numbered(get: Get, prefix: str) -> list[Promise]:
    """The promises `<prefix>1`, `<prefix>2`, … up to the first that is missing."""
    found: list[Promise] = []
    window = WINDOW_MIN
    while True:
        first = len(found) + 1
        answers = await asyncio.gather(*(get(f"{prefix}{number}") for number in range(first, first + window)))
        for promise in answers:
            if promise is None:
                return found
            found.append(promise)
        window = min(window * 2, WINDOW_MAX)
