"""The calls of one pass: matched with the record, decided, performed or put to a person, recorded, answered."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Literal

from bridge.messages import Call, CallError, CallResult
from capabilities.capability import Capability
from capabilities.prompt import Settlement, prompt_for
from durable.core import ids
from durable.core.clock import TIME_MAX_MS
from durable.core.errors import BadArguments, DurableError, EngineClosed, StoreRefused
from durable.core.limits import PROMPT_CHARS_MAX
from durable.functions.failure import document, read_document
from durable.functions.journal import Made
from durable.functions.values import digest, pack, to_json, unpack
from durable.sessions.cell import Pass

if TYPE_CHECKING:
    from durable.sessions.house import House


class Calls:
    """Answers the calls of the code that `found` runs."""

    def __init__(self, found: Pass, session: str, epoch: int, grants: tuple[str, ...], house: House) -> None:
        self.found = found
        self._session = session
        self._epoch = epoch
        self._grants = grants
        self._house = house
        self._people: dict[int, asyncio.Future[CallResult]] = {}
        self._reported: list[int] = []  # what the worker waits for, since it last got an answer

    async def answer(self, call: Call) -> CallResult:
        """Answer one call; raises NonDeterminism and StoreRefused, which stop the pass."""
        found = self.found
        capability = self._house.capabilities.get(call.capability)
        if call.execution_id != found.execution_id or call.capability not in self._grants or capability is None:
            return refused(call, self._session)
        try:
            param = _param(capability, call)
        except DurableError as error:
            return _error(call.call, document(error, found.execution_id))
        sequence = found.journal.calls(capability.name)
        sequence.concurrent = sequence.concurrent or not call.ordered
        n = sequence.take(Made("call", capability.name, digest(capability.name, param)))
        promise_id = ids.call_promise(found.execution_id, capability.name, n)
        created = await self._house.store.request(
            "call.create",
            {
                "session": self._session,
                "epoch": self._epoch,
                "awaiter": found.promise_id,
                "promise": {
                    "id": promise_id,
                    "timeoutAt": TIME_MAX_MS,
                    "param": {"data": pack(param)},
                    "tags": _tags(promise_id, found.promise_id, capability, digest(capability.name, param)),
                },
            },
        )
        promise = created.data["promise"]
        if promise["state"] != "pending":
            return _answered(call.call, promise)
        if capability.perform is None:
            return await self._ask(call, promise_id)
        promise = await asyncio.shield(self._performing(call, capability, promise_id))
        return _answered(call.call, promise)

    def _performing(self, call: Call, capability: Capability, promise_id: str) -> asyncio.Task[dict[str, Any]]:
        """The call being performed: a replay joins the one that its dead worker began, it does not begin another."""
        under_way = self._house.performing
        task = under_way.get(promise_id)
        if task is None:
            task = under_way[promise_id] = asyncio.create_task(self._perform(call, capability, promise_id))
            task.add_done_callback(lambda done: _over(under_way, promise_id, done))
        return task

    async def _ask(self, call: Call, promise_id: str) -> CallResult:
        """Wait for a person. While the code can go on meanwhile it gets the answer at once, else with the next leaf."""
        future: asyncio.Future[CallResult] = asyncio.get_running_loop().create_future()
        self._people[call.call] = future
        self.found.open_calls[call.call] = promise_id
        watching = asyncio.create_task(self._watch(call.call, promise_id))
        self._wait()
        try:
            return await future
        finally:
            watching.cancel()
            self._people.pop(call.call, None)
            self.found.open_calls.pop(call.call, None)

    async def _watch(self, call: int, promise_id: str) -> None:
        try:
            await self._house.store.settled(promise_id)
        except (StoreRefused, EngineClosed):
            return  # whoever closes tells the waiter
        if not self.found.waiting:  # else the lease is given back, and the settlement brings the next leaf
            await self.deliver({call: promise_id})

    async def _perform(self, call: Call, capability: Capability, promise_id: str) -> dict[str, Any]:
        state, value = "resolved", None
        try:
            made = await capability.answer(promise_id, *_arguments(call), self._house.threads.run)
            value = to_json(made, f"the result of {capability.name}")
        except Exception as error:
            found = document(error, self.found.execution_id)
            state, value = "rejected", {"__type": "error", "message": json.dumps(found)}
        settled = await self._house.store.request(
            "promise.settle", {"id": promise_id, "state": state, "value": {"data": pack(value)}}
        )
        promise: dict[str, Any] = settled.data["promise"]
        return promise

    def waiting(self, calls: list[int]) -> None:
        """The worker says that it can do nothing until one of these is answered."""
        self._reported = calls
        self._wait()

    def _wait(self) -> None:
        """It is said once, maybe before the promise of the last call is made: a store elsewhere takes longer."""
        if self._reported and all(call in self._people for call in self._reported):
            self.found.wait()

    async def deliver(self, calls: dict[int, str] | None = None) -> None:
        """Give the code the answers that have come: to these calls, or to all that are open."""
        store = self._house.store
        asked = list((self.found.open_calls if calls is None else calls).items())
        answers = await asyncio.gather(*(store.request("promise.get", {"id": promise}) for _, promise in asked))
        for (number, _), answer in zip(asked, answers, strict=True):
            promise = answer.data["promise"]
            future = self._people.get(number)
            if promise["state"] != "pending" and future is not None and not future.done():
                self._reported = []
                self.found.go_on()
                future.set_result(_answered(number, promise))


def _over(under_way: dict[str, asyncio.Task[dict[str, Any]]], promise_id: str, done: asyncio.Task[Any]) -> None:
    under_way.pop(promise_id, None)
    if not done.cancelled():
        done.exception()  # whoever waits for the call has it


def refused(call: Call, session: str) -> CallResult:
    """The answer to a call that was not granted, that names another execution, or that cannot be recorded."""
    text = f"{call.capability}() was not granted to session {session!r}, or cannot be called here"
    return _failed(call.call, "denied", "PermissionError", text)


def _param(capability: Capability, call: Call) -> dict[str, Any]:
    args, kwargs = _arguments(call)
    if capability.perform is not None:
        capability.bind(args, kwargs)
        return {"args": args, "kwargs": kwargs}
    if kwargs or len(args) > 1:
        raise BadArguments("input() takes one argument: the question")
    text = str(args[0]) if args else ""
    # input() is asked with any text, or none; what is too long for a question goes into its context.
    question = text.strip() or "input"
    context = text if len(question) > PROMPT_CHARS_MAX else None
    return prompt_for(question[:PROMPT_CHARS_MAX], context=context).record()


def _arguments(call: Call) -> tuple[list[Any], dict[str, Any]]:
    """The arguments as a worker sent them: lists and maps, or nothing that can be performed."""
    args, kwargs = call.arguments.get("args", []), call.arguments.get("kwargs", {})
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise BadArguments("a call's arguments are a list and a map")
    return args, kwargs


def _tags(promise_id: str, execution: str, capability: Capability, arguments: str) -> dict[str, str]:
    return {
        "resonate:scope": "global",
        "resonate:external": "true",
        "resonate:origin": ids.ORIGIN,
        "resonate:parent": ids.ORIGIN,
        "resonate:branch": promise_id,
        "durable:capability": capability.name,
        "durable:execution": execution,
        "durable:kind": "call",
        "durable:name": capability.name,
        "durable:digest": arguments,
    }


def _answered(call: int, promise: dict[str, Any]) -> CallResult:
    """What the code gets for a settled promise."""
    value = unpack((promise.get("value") or {}).get("data"))
    state = promise["state"]
    if state == "resolved":
        if (promise.get("tags") or {}).get("durable:capability") == "input":
            settlement = Settlement.from_record(value)
            if settlement.declined:
                by = f" by {settlement.by}" if settlement.by else ""
                return _failed(call, "denied", "PermissionError", f"the question was declined{by}")
            answer = settlement.value
            value = answer if isinstance(answer, str) else json.dumps(answer)
        return CallResult(call=call, value=value)
    if state == "rejected_timedout":
        text = "nobody answered before the deadline"
        return _failed(call, "timeout", "TimeoutError", text)
    if state == "rejected_canceled":
        return _failed(call, "eof", "EOFError", "the question was cancelled")
    return _error(call, read_document(value))


def _error(call: int, found: dict[str, Any]) -> CallResult:
    kind = str(found.get("exception_type") or "RuntimeError")
    return _failed(call, "error", kind, str(found.get("exception_message") or ""))


def _failed(call: int, kind: Literal["eof", "timeout", "denied", "error"], name: str, text: str) -> CallResult:
    error = CallError(kind=kind, exception_type=name, exception_message=text)
    return CallResult(call=call, error=error)
