"""Executions of one engine: recorded before anything is dispatched, attached to, stopped, continued."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from durable.core import ids
from durable.core.agent_tool import tool_tags
from durable.core.clock import TIME_MAX_MS, now_ms
from durable.core.definition_id import SOURCE, another_program, has_moved, is_served, source_of
from durable.core.errors import INTERRUPTED, BadArguments, Conflict, DurableError, NotFound, StoreRefused, not_found
from durable.core.events import AttemptFailed, ExecutionCreated, ExecutionResumed, LeaseLost
from durable.core.limits import LEASE_MS
from durable.core.observers import Observers
from durable.functions.definition import Function
from durable.functions.resonate import sdk
from durable.functions.resonate.task_runner import TaskRunner
from durable.records.values import pack, unpack
from durable.sessions.execution.interrupt import signal_worker
from durable.sessions.ownership.owner import SessionHost
from durable.store.operations import execution_tags
from durable.store.port import StoreFace
from durable.store.protocol.requests import Refused
from durable.store.rows import ExecutionRow

if TYPE_CHECKING:
    from durable.queues.queue_place import Place


class Executions:
    """The operations of `durable.Engine` on executions and cells, by their ids."""

    def __init__(
        self,
        store: StoreFace,
        host: SessionHost,
        *,
        engine_id: str,
        group: str,
        remote: bool,
        observer: Observers,
        deployment: str = "",
    ) -> None:
        self.runner: TaskRunner | None = None
        """Once this process serves: it may begin here what it has just recorded."""
        self._store = store
        self._host = host
        self._engine_id = engine_id
        self._group = group
        self._remote = remote
        self._observer = observer
        self._deployment = deployment

    async def start(
        self,
        execution_id: str,
        function: Function[..., Any],
        data: dict[str, Any],
        arguments: str,
        timeout: float | None,
        is_call: Callable[[str], bool],
        tags: Mapping[str, str],
    ) -> None:
        """Record an execution of `function`, or attach to the one of this id. timeout: s. Conflict.

        is_call: whether a recorded digest that is not `arguments` is of this call all the same.
        """
        promise = self._root(execution_id, function, data, arguments, timeout)
        promise["tags"] |= _checked(tags)
        if self._deployment:
            promise["tags"][ids.DEPLOYMENT] = self._deployment
        found = await self._create(promise)
        if found["tags"].get("durable:nonce") == promise["tags"]["durable:nonce"]:
            if self._observer.watching:
                self._observer(ExecutionCreated(execution_id, function.id.rpartition("@")[0]))
            return
        _check_same(found, promise, function, is_call)
        if found["state"] == "pending" and has_moved(found["tags"].get(SOURCE), function.source):
            await self._store.request("execution.source", {"id": found["id"], "source": function.source})

    async def enqueue(
        self,
        execution_id: str,
        function: Function[..., Any],
        data: dict[str, Any],
        arguments: str,
        timeout: float | None,
        is_call: Callable[[str], bool],
        tags: Mapping[str, str],
        queue: str,
        place: Place,
    ) -> str:
        """Put an execution of `function` into a queue, or attach to the one of this id or `dedupe`: its id. timeout: s.

        Where nothing is before it, there is room, and a slot is free here, it begins at once. Conflict, NotFound.
        """
        from durable.queues.queue_place import enqueue_request, queue_error

        promise = self._root(execution_id, function, data, arguments, timeout)
        promise["tags"] |= _checked(tags) | place.tags(queue)
        try:
            found = await self.put("queue.enqueue", enqueue_request(queue, place, promise))
        except StoreRefused as refused:
            raise queue_error(refused, queue) from None
        recorded = found["promise"]
        if recorded["tags"].get("durable:nonce") == promise["tags"]["durable:nonce"]:
            if self._observer.watching and found["made"]:
                self._observer(ExecutionCreated(execution_id, function.id.rpartition("@")[0]))
        elif recorded["id"] == promise["id"]:
            _check_same(recorded, promise, function, is_call)
        return str(recorded["id"]).removeprefix(ids.PREFIX)

    def _root(
        self,
        execution_id: str,
        function: Function[..., Any],
        data: dict[str, Any],
        arguments: str,
        timeout: float | None,
    ) -> dict[str, Any]:
        promise_id = ids.execution_promise(execution_id)
        promise: dict[str, Any] = {
            "id": promise_id,
            "timeoutAt": TIME_MAX_MS if timeout is None else now_ms() + int(timeout * 1000),
            "param": {"data": pack(data)},
            "tags": {
                "resonate:scope": "global",
                "resonate:target": f"poll://any@{self._group}",
                "resonate:origin": ids.ORIGIN,
                "resonate:branch": promise_id,
                "resonate:parent": promise_id,
                "durable:function": function.id,
                SOURCE: function.source,
                "durable:arguments": arguments,
                "durable:nonce": os.urandom(16).hex(),
            },
        }
        return self._traced(promise)

    def _traced(self, promise: dict[str, Any]) -> dict[str, Any]:
        """The promise, with the trace context of whoever makes it, where somebody traces."""
        traceparent = self._observer.traceparent()
        if traceparent:
            promise["tags"][ids.TRACEPARENT] = traceparent
        return promise

    async def _create(self, promise: dict[str, Any]) -> dict[str, Any]:
        """Create the promise; where a slot is free here, with its task acquired at once."""
        store, runner = self._store, self.runner
        if runner is None or not runner.slots.take():
            return _promise(await store.request("promise.create", promise))
        task: dict[str, Any] = {}
        action = {"kind": "promise.create", "head": {}, "data": promise}
        try:
            answer = await store.request("task.create", {"pid": self._engine_id, "ttl": LEASE_MS, "action": action})
            task, found = answer.data["task"], _promise(answer)
        except StoreRefused as error:
            if error.status not in (409, 422):
                raise
            return _promise(await store.request("promise.get", {"id": promise["id"]}))
        finally:
            if task.get("state") != "acquired":
                runner.slots.give()
        if task["state"] == "acquired":
            runner.execute_acquired(task["id"], task["version"], found)
        return found

    async def submit(self, session: str, cell: dict[str, Any]) -> dict[str, Any]:
        """Record a cell; where this engine has the session and a slot, its task is acquired at once and begins."""
        promise = self._traced(cell["promise"])
        promise["tags"] |= tool_tags()
        found = await self.put("cell.submit", {"session": session, **cell}, on_acquired=self._host.fresh.add)
        recorded = found["promise"]
        if self._observer.watching and recorded["tags"].get("durable:nonce") == promise["tags"]["durable:nonce"]:
            self._observer(ExecutionCreated(recorded["id"].removeprefix(ids.PREFIX), "", session))
        return found

    async def put(
        self, kind: str, request: dict[str, Any], *, on_acquired: Callable[[str], None] | None = None
    ) -> dict[str, Any]:
        """Record what stands in line; where this engine has a slot and nothing is before it, it begins at once.

        on_acquired: called with the task's id before that. It then begins before this returns.
        """
        runner = self.runner if self.runner is not None and self.runner.slots.take() else None
        if runner is not None:
            request = {**request, "engine": self._engine_id, "ttl": LEASE_MS}
        task = None
        try:
            found: dict[str, Any] = (await self._store.request(kind, request)).data
            task = found.get("task")
        finally:
            if runner is not None and task is None:
                runner.slots.give()
        if runner is not None and task is not None:
            if on_acquired is not None:
                on_acquired(task["id"])
            runner.execute_acquired(task["id"], task["version"], found["promise"], eager=on_acquired is not None)
        return found

    async def gave_up(self, id: str, version: int, error: BaseException | None) -> None:
        """An attempt at a task ended without an outcome: halt it, or count the attempt."""
        try:
            if isinstance(error, sdk.HaltTask):
                await self._store.request("task.halt", {"id": id, "version": version, "note": str(error.error)})
                return
            text = str(error) if error is not None else "released"
            cause = "returned" if isinstance(error, sdk.HandedBack | sdk.FunctionNotFoundError) else "failed"
            await self._store.request("task.fail", {"id": id, "version": version, "error": text, "cause": cause})
            self._observer(AttemptFailed(id.removeprefix(ids.PREFIX), text))
        except (StoreRefused, DurableError):  # the lease was lost: whoever has it decides
            if self._observer.watching:
                self._observer(LeaseLost(id.removeprefix(ids.PREFIX), version))

    async def cancel(self, id: str, reason: str, grace: float) -> bool:
        """Cancel an execution, and return when it has ended; False when it was settled before. grace: s."""
        promise_id = ids.execution_promise(id)
        wish = {"id": promise_id, "reason": reason, "grace_ms": int(grace * 1000)}
        with not_found("execution", id):
            answer = await self._store.request("execution.cancel", wish)
        if not answer.data["cancelled"]:
            return False
        if _promise(answer)["state"] == "pending":
            await self._store.settled(promise_id)
        return True

    async def interrupt(self, id: str, *, raises: bool = False) -> bool:
        """Halt its task and stop its code; with `raises`, KeyboardInterrupt in its code instead."""
        row = await self._store.reads.get_execution(id)
        if row is None:
            raise NotFound("execution", id)
        if raises:
            return row.state == "running" and await self._raise(row)
        if row.settled_at is not None or row.state == "interrupted":
            return False
        promise_id = ids.execution_promise(id)
        try:
            await self._store.request("task.halt", {"id": promise_id, "note": INTERRUPTED})
        except StoreRefused as error:
            if error.status != 409:
                raise
            return False
        if row.session is not None:
            await self._host.interrupted(row.session, promise_id)
        return True

    async def _raise(self, row: ExecutionRow) -> bool:
        if row.session is None:
            raise Conflict(f"{row.id} is a durable function: only code in a session can be told KeyboardInterrupt")
        if self._remote and not self._host.here(row.session):
            raise Conflict(f"{row.id} may run on another machine: KeyboardInterrupt can be raised where it runs only")
        worker = (await self._store.request("session.get", {"session": row.session})).data.get("worker")
        return worker is not None and signal_worker(int(worker["pid"]), int(worker["start"]))

    async def resume(self, id: str) -> bool:
        """Continue an execution that was interrupted or halted; False when it was not."""
        try:
            await self._store.request("task.continue", {"id": ids.execution_promise(id)})
        except StoreRefused as error:
            if error.status == 404:
                raise NotFound("execution", id) from None
            if error.status == 409:
                return False
            raise
        if self._observer.watching:
            self._observer(ExecutionResumed(id))
        return True


def _checked(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags that an execution is found by, as its promise has them. BadArguments."""
    for name, value in tags.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise BadArguments(f"tags are names and texts, not {name!r}: {value!r}")
    try:
        execution_tags.check(dict(tags))
    except Refused as refused:
        raise BadArguments(refused.message) from None
    return {f"{execution_tags.TAG}{name}": value for name, value in tags.items()}


def _promise(answer: Any) -> dict[str, Any]:
    found: dict[str, Any] = answer.data["promise"]
    return found


def _check_same(
    found: dict[str, Any], wanted: dict[str, Any], function: Function[..., Any], is_call: Callable[[str], bool]
) -> None:
    """Attaching needs the same function and arguments; the Conflict shows both."""
    tags, execution_id = found["tags"], found["id"].removeprefix("exec:")
    recorded, arguments = tags.get("durable:function", ""), tags.get("durable:arguments")
    same = arguments == wanted["tags"]["durable:arguments"] or (arguments is not None and is_call(arguments))
    if not same or not is_served(recorded, function.ids):
        raise Conflict(
            f"execution {execution_id!r} exists as {_shown(found)}, not as {_shown(wanted)}; "
            "use another id, or start it with what it has"
        )
    source = source_of(recorded, tags)
    if source is not None and another_program(recorded, source, function.id, function.source):
        raise Conflict(
            f"execution {execution_id!r} exists as {function.id} of {source}, which is another file than "
            f"{function.source}. If these are two programs, use another id, and give the functions names of their own "
            "in records: @durable.function(name=...). If one took the place of the other, move the other away"
        )


def _shown(promise: dict[str, Any]) -> str:
    data = unpack((promise.get("param") or {}).get("data")) or {}
    if not isinstance(data, dict):
        return str(promise["tags"].get("durable:function"))
    shown = [repr(value) for value in data.get("args", [])]
    shown += [f"{key}={value!r}" for key, value in (data.get("kwargs") or {}).items()]
    return f"{promise['tags'].get('durable:function')}({', '.join(shown)})"
