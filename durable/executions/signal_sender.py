"""Things that outsiders bring to executions: signals, and values of promises (specs/signals.md)."""

from __future__ import annotations

import uuid
from typing import Any
from weakref import WeakKeyDictionary

from durable.core import ids
from durable.core.errors import BadArguments, Conflict, InvalidAnswer, NotFound, StoreRefused, not_found
from durable.core.limits import SIGNAL_NAME_CHARS_MAX
from durable.records.values import pack, to_json, unpack
from durable.store.port import StoreFace
from durable.store.protocol.requests import is_kept

_TRIES_MAX = 1_000
"""How often a sender checks anew because another wait is first by then: each time somebody else's signal was taken."""
_KNOWN_MAX = 64
_KNOWN_CHARS_MAX = 16_384
_known: WeakKeyDictionary[StoreFace, dict[str, str]] = WeakKeyDictionary()
"""The param of the last wait for a signal's name that was seen in a store, with its schema, the newest last: most waits
for one name have the same."""


async def send_signal(
    store: StoreFace, execution_id: str, name: str, value: Any = None, *, key: str | None = None
) -> bool:
    """Send a signal to an execution; False where one was sent under this key before.

    InvalidAnswer where somebody waits for it and it does not fit, NotFound, Conflict where the execution has ended.
    """
    for what, text in (("name", name), ("key", key)):
        if text is not None and not (0 < len(text) <= SIGNAL_NAME_CHARS_MAX and is_kept(text)):
            most = f"1 to {SIGNAL_NAME_CHARS_MAX} characters"
            raise BadArguments(f"a signal's {what} has {most}, no NUL and no lone surrogates among them")
    plain = to_json(value, f"signal {name!r}")
    promise_id = ids.execution_promise(execution_id)
    data = pack(plain)
    if key is None and store.local is None:
        key = uuid.uuid4().hex  # a request may go to a server twice when a connection breaks
    request: dict[str, Any] = {"execution": promise_id, "name": name, "key": key}
    request["value"] = {} if data is None else {"data": data}
    known = _known.setdefault(store, {})
    fits = known.get(name, "")
    if _faults(fits, plain):
        fits = ""  # which says nothing of the wait that there is
    for _ in range(_TRIES_MAX):
        try:
            answer = (await store.request("signal.send", {**request, "fits": fits})).data
        except StoreRefused as refused:
            if refused.status == 404:
                raise NotFound("execution", execution_id) from None
            if refused.status in (409, 429):
                raise Conflict(refused.message) from None
            raise
        wait = answer["look"]
        if wait is None:
            return bool(answer["sent"])
        check_fits(wait, plain)
        fits = wait["param"]["data"]
        _remember(known, name, fits)
    raise Conflict(f"who waits for signal {name!r} of {execution_id} changes all the time; try again")


async def settle_promise(store: StoreFace, promise_id: str, value: Any = None, *, error: str | None = None) -> None:
    """Settle a promise that a function made by `ctx.promise`, with a value or with the text of an error.

    InvalidAnswer leaves it open; NotFound; Conflict where it is settled otherwise or is not for others to settle.
    """
    plain = to_json(value, "the value of a promise")
    found = await _promise(store, promise_id)
    if (found.get("tags") or {}).get("durable:kind") != "promise":
        raise Conflict(f"{promise_id!r} is no promise that a function made by ctx.promise()")
    if error is None:
        check_fits(found, plain)
    state = "resolved" if error is None else "rejected"
    data = pack(plain if error is None else {"__type": "error", "message": error})
    value_ = {} if data is None else {"data": data}
    if found["state"] == "pending":
        found = (await store.request("promise.settle", {"id": promise_id, "state": state, "value": value_})).data[
            "promise"
        ]
    if (found["state"], unpack((found.get("value") or {}).get("data"))) != (state, unpack(data)):
        raise Conflict(f"promise {promise_id!r} was settled before: it is {found['state']}")


def check_fits(promise: dict[str, Any], value: Any) -> None:
    """InvalidAnswer where a promise's schema refuses the value."""
    found = _faults((promise.get("param") or {}).get("data"), value)
    if found:
        raise InvalidAnswer(promise["id"], found)


def _faults(param: str | None, value: Any) -> list[dict[str, Any]]:
    """The faults of a value by the schema in a promise's param."""
    asked = unpack(param)
    schema = asked.get("schema") if isinstance(asked, dict) else None
    if schema is None:
        return []
    from capabilities.prompts.json_schema import faults

    return faults(schema, value)


def _remember(known: dict[str, str], name: str, param: str) -> None:
    known.pop(name, None)
    if len(param) <= _KNOWN_CHARS_MAX:
        known[name] = param
        if len(known) > _KNOWN_MAX:
            del known[next(iter(known))]


async def _promise(store: StoreFace, promise_id: str) -> dict[str, Any]:
    with not_found("promise", promise_id):
        found: dict[str, Any] = (await store.request("promise.get", {"id": promise_id})).data["promise"]
    return found
