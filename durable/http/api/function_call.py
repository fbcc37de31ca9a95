"""A function call that comes as JSON: which function is meant, and the record of the call."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any

from durable.core import ids
from durable.core.clock import TIME_MAX_MS, now_ms
from durable.core.definition_id import CELL, SOURCE, is_capability, is_served
from durable.core.errors import BadArguments, Conflict, NotFound, StoreRefused
from durable.engine.engine import GROUP
from durable.functions.definition import Function, known_as
from durable.http.api.server_engine import TRACEPARENT
from durable.queues.queue_place import Place, enqueue_request, queue_error
from durable.records.values import bind_json, digest, pack, to_json, unpack
from durable.store.direct_store import DirectStore
from durable.store.operations import execution_tags
from durable.store.protocol.requests import Refused

_ID = re.compile(r"[^@\s][^@]*@[1-9][0-9]{0,8}\Z")


async def served_functions(store: DirectStore) -> dict[str, int]:
    """The durable functions that living engines serve, by id, and how many of them do."""
    found: dict[str, int] = {}
    for row in await store.reads.engines():
        if store.engine_alive(row.engine):
            for function in row.functions:
                if _is_startable(function):
                    found[function] = found.get(function, 0) + 1
    return found


def _is_startable(function: str) -> bool:
    """Whether people start it by its name: not cells, capabilities, turns of actors, nor what engines run for
    themselves."""
    if function == CELL or is_capability(function) or function.startswith(ids.MAILBOX):
        return False
    known = known_as(function)
    return known is None or known.startable


async def function_id(store: DirectStore, named: str) -> str:
    """The whole id of a function by its name, `where::name`, or `where::name@version`, which need not be served.

    NotFound where no living engine serves one of that name; Conflict where they serve several.
    """
    if _ID.match(named):
        return named
    keys: dict[str, int] = {}
    for served in await served_functions(store):
        key, _, version = served.rpartition("@")
        if key == named or key.endswith(f"::{named}"):
            keys[key] = max(keys.get(key, 0), int(version))
    if not keys:
        hint = "no living engine serves it: GET /api/v1/functions lists them; WHERE::NAME@VERSION is taken as it is"
        raise NotFound("function", named, hint)
    if named in keys:  # engines serve what has a name of its own under the name of its module, too
        return f"{named}@{keys[named]}"
    chosen = _one_of({key: version for key, version in keys.items() if not _is_other_spelling(key, keys)})
    if chosen is None:
        raise Conflict(f"{named!r} may be {', '.join(sorted(keys))}; say which")
    return chosen


def _one_of(keys: dict[str, int]) -> str | None:
    return None if len(keys) != 1 else "@".join(map(str, next(iter(keys.items()))))


def _is_other_spelling(key: str, keys: dict[str, int]) -> bool:
    """Whether a key is a module's name written as a file's, which engines serve too: `jobs.py::f` beside `jobs::f`."""
    place, separator, name = key.rpartition("::")
    return (
        bool(separator)
        and place.endswith(".py")
        and any(other != key and is_served(f"{key}@1", [f"{other}@1"]) for other in keys if other.endswith(f"::{name}"))
    )


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """A call as it is recorded. `function` is a whole id, `args` and `kwargs` are JSON."""

    function: str
    args: list[Any]
    kwargs: dict[str, Any]
    arguments: str
    """The digest by which two calls are told apart."""

    @classmethod
    def of(cls, function: str, args: list[Any], kwargs: dict[str, Any]) -> FunctionCall:
        """A call, checked where the function is known in this process. BadArguments, NotEncodable."""
        known = known_as(function)
        if known is None:
            packed, named = to_json(args, "the arguments"), to_json(kwargs, "the arguments")
            return cls(function, packed, named, digest(packed, named))
        return cls._known(function, known, args, kwargs)

    @classmethod
    def _known(cls, function: str, known: Function[..., Any], args: list[Any], kwargs: dict[str, Any]) -> FunctionCall:
        bound = bind_json(known.fn, args, kwargs, skip_first=True)
        packed, named, arguments = known.pack(bound.args, bound.kwargs)
        return cls(function, packed, named, arguments)

    def data(self) -> str | None:
        """The data of its promise."""
        key, _, version = self.function.rpartition("@")
        return pack({"func": key, "args": self.args, "kwargs": self.kwargs, "version": int(version)})

    def tags(self) -> dict[str, str]:
        """The tags that say what it is."""
        known = known_as(self.function)
        found = {"durable:function": self.function, "durable:arguments": self.arguments}
        return found if known is None else {**found, SOURCE: known.source}

    def is_recorded_as(self, promise: dict[str, Any]) -> bool:
        """Whether a promise is of this call."""
        tags = promise["tags"]
        if not is_served(tags.get("durable:function", ""), [self.function]):
            return False
        if tags.get("durable:arguments") == self.arguments:
            return True
        data = unpack((promise.get("param") or {}).get("data"))
        return isinstance(data, dict) and (data.get("args"), data.get("kwargs")) == (self.args, self.kwargs)


async def begin(
    store: DirectStore,
    call: FunctionCall,
    execution_id: str | None,
    timeout: float | None,
    tags: dict[str, str],
    queued: tuple[str, Place] | None = None,
) -> tuple[str, bool]:
    """Record an execution, or attach to the one of this id; its id, and whether it was made now. timeout: s. Conflict.

    Whatever engine serves the function goes on with it. queued: the queue that lets it begin, and its place there.
    """
    chosen = ids.mint_execution_id() if execution_id is None else ids.check_given_id(execution_id)
    try:
        execution_tags.check(tags)
    except Refused as refused:
        raise BadArguments(refused.message) from None
    promise_id, nonce = ids.execution_promise(chosen), os.urandom(16).hex()
    own = {f"{execution_tags.TAG}{name}": value for name, value in tags.items()}
    traced = {ids.TRACEPARENT: TRACEPARENT.get()} if TRACEPARENT.get() else {}
    request = {
        "id": promise_id,
        "timeoutAt": TIME_MAX_MS if timeout is None else now_ms() + int(timeout * 1000),
        "param": {"data": call.data()},
        "tags": {
            "resonate:scope": "global",
            "resonate:target": f"poll://any@{GROUP}",
            "resonate:origin": ids.ORIGIN,
            "resonate:branch": promise_id,
            "resonate:parent": promise_id,
            "durable:nonce": nonce,
            **call.tags(),
            **own,
            **traced,
            **({} if queued is None else queued[1].tags(queued[0])),
        },
    }
    found = await _recorded(store, request, queued)
    made = found["tags"].get("durable:nonce") == nonce
    if found["id"] != promise_id:  # another one of the queue has the same `dedupe`
        return str(found["id"]).removeprefix(ids.PREFIX), False
    if not made and not call.is_recorded_as(found):
        raise Conflict(
            f"execution {chosen!r} exists with another function or other arguments, as "
            f"{found['tags'].get('durable:function') or 'no function'}; use another id"
        )
    return chosen, made


async def _recorded(store: DirectStore, promise: dict[str, Any], queued: tuple[str, Place] | None) -> dict[str, Any]:
    """The promise as it is recorded."""
    kind, request = "promise.create", promise
    if queued is not None:
        kind, request = "queue.enqueue", enqueue_request(*queued, promise)
    try:
        found: dict[str, Any] = (await store.request(kind, request)).data["promise"]
    except StoreRefused as refused:
        if queued is not None:
            raise queue_error(refused, queued[0]) from None
        raise BadArguments(refused.message) from None
    return found
