"""`durable.open`: an opened store plus what runs on it in this process."""

from __future__ import annotations

import asyncio
import inspect
import os
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypedDict, Unpack

from bridge.confine.confinement import kept_environment
from bridge.confine.limits import Limits, Profile
from bridge.launch.pool import Pool, PoolMetrics, WorkerPool
from bridge.launch.zygote import Zygote
from bridge.protocol.output_rules import OutputPolicy, OutputRules
from capabilities.capability import Capabilities, Capability
from durable.core import events, ids
from durable.core.durations import EVERY_FUNCTION, ExecutionAge, retention_rules, seconds
from durable.core.errors import BadArguments, Conflict, EngineClosed, NotFound, StoreFull, StoreRefused
from durable.core.events import Observer, PromptAsked, PromptExpired, log_event
from durable.core.limits import CANCEL_GRACE_S, DRAIN_LOOK_S, PARKED_S, TASKS_MAX
from durable.core.observers import Observers
from durable.core.value_codec import ValueCodec
from durable.engine.attempt_events import AttemptEvents
from durable.engine.capability_host import CapabilityHost
from durable.engine.executions import Executions
from durable.executions.deployment_name import deployment_name
from durable.executions.handle import Execution
from durable.executions.states import OPEN
from durable.functions.definition import KNOWN, NEVER, Function, known_as, on_new, require_durable
from durable.functions.resonate import sdk
from durable.functions.resonate.store_ports import record_of
from durable.functions.resonate.task_runner import TaskRunner
from durable.functions.step import StepThreads
from durable.sessions.calls.audit import Audit, AuditEntry, read_audit
from durable.sessions.checkpoints.retention import Keep, Retention, blobs_of
from durable.sessions.execution.cell import FUNCTION, FUNCTION_ID, CellParam, cell_tags
from durable.sessions.execution.runner import LiveSession
from durable.sessions.language import Language, check_language, language_of, language_option
from durable.sessions.ownership.owner import SessionHost
from durable.sessions.ownership.session_confinement import check_machine, check_same, confinement_of, options_of
from durable.sessions.permissions import PermissionChanges, Permissions, asked_options, check_permissions
from durable.sessions.required_capabilities import own_capabilities, require_known
from durable.sessions.services import House
from durable.store.changes import Changes, StoreChange
from durable.store.port import StoreFace, open_store
from durable.store.rows import ExecutionRow, State
from durable.store.target import is_url, parsed
from durable.store.upkeep.blob_sweeper import keep_swept
from durable.store.upkeep.expiry import keep_expired

if TYPE_CHECKING:  # each is imported when it is first used: most engines use none of them
    from capabilities.permissions.levels import Level
    from durable.actors.management import Actors
    from durable.client.api_models import BulkOutcome
    from durable.core.answer_types import Given
    from durable.engine.deployment_operations import Deployments
    from durable.engine.execution_document import ExecutionDocument
    from durable.engine.queue_operations import Queues
    from durable.engine.schedule_operations import Missed, Overlap, Schedule, Schedules
    from durable.executions.bulk_work import BulkAction
    from durable.executions.execution_search import ExecutionPage
    from durable.executions.forking import Forked
    from durable.executions.stream_reader import StreamItem
    from durable.functions.dispatcher import Passes
    from durable.functions.replay.replay_check import ReplayCheck
    from durable.prompts.channels import Told
    from durable.prompts.inbox import Inbox
    from durable.prompts.open_prompt import OpenPrompt
    from durable.prompts.webhooks import Webhook
    from durable.queues.queue import Queue
    from durable.queues.queue_place import Debounce
    from durable.sandbox.component_registry import Component
    from durable.sandbox.sandbox import Sandbox
    from durable.sessions.checkpoints.history import CheckpointHistory
    from durable.sessions.output.live_output import Event
    from durable.sessions.session import Session

GROUP = "default"

NOT_REPLAYED = frozenset(("durable_execute", "capability"))
"""Functions of the engine's own: what they record is no function's."""

_NOT_OPEN = "the engine is not open; use `async with durable.open(...) as engine`"
_OPENED = frozenset(("_audit", "_executions", "_host", "_house", "_threads"))  # what `open` makes


class Engine:
    """Runs durable functions and sessions on one store. Use `async with durable.open(path) as engine`."""

    _hooks: Any = None
    _passes: Passes | None = None
    _has_worker = False

    def __init__(
        self,
        target: str | os.PathLike[str],
        *,
        serve: bool = True,
        durability: Literal["power", "process"] = "power",
        capabilities: Iterable[Capability] = (),
        components: Iterable[Component] = (),
        parked: float = PARKED_S,
        preload: Sequence[str] = (),
        pool: Pool | None = None,
        group: str = GROUP,
        create: bool = True,
        token: str | None = None,
        blobs: str | None = None,
        keep: Keep | None = None,
        override_environment: bool = False,
        webhooks: Sequence[Webhook] = (),
        concurrency: int = TASKS_MAX,
        queues: Iterable[Queue | str] | None = None,
        deployment: str | None = None,
        retention: ExecutionAge | None = None,
        codec: ValueCodec | None = None,
        observer: Observer | Iterable[Observer] = log_event,
    ) -> None:
        if concurrency < 1:
            raise BadArguments(f"concurrency is a whole number from 1, not {concurrency!r}")
        self._concurrency = concurrency
        self._taken = None if queues is None else _names_of(queues)
        self.deployment = deployment_name(deployment)
        self._retention = None if retention is None else retention_rules(retention, "durable.open")
        self._observer = observer = Observers.of(observer)
        self._attempts = AttemptEvents(observer)
        self.engine_id = uuid.uuid4().hex
        self.group = group
        self._target = parsed(target)
        self._options: dict[str, Any] = {"durability": durability, "create": create, "token": token, "codec": codec}
        self._remote = is_url(target)
        self._serve = serve
        self._capabilities = Capabilities.of(capabilities)
        self._components = _declared(components)
        self._parked = parked
        self._blobs = blobs
        self._keep = keep or Keep()
        self._override_environment = override_environment or os.environ.get("DURABLE_OVERRIDE_ENVIRONMENT") == "1"
        clean = Zygote(
            preload=("bridge.confine.apply", *preload),
            observer=observer,
            environment=lambda: kept_environment(os.environ),
        )
        self._pool = WorkerPool(Zygote(preload=preload, observer=observer), clean, pool, observer=observer)
        self._store: StoreFace | None = None
        self._runner: TaskRunner | None = None
        self._connection: Any = None
        self._sweeping: asyncio.Task[None] | None = None
        self._expiring: asyncio.Task[None] | None = None
        self._posting: asyncio.Task[None] | None = None
        self._measuring: asyncio.Task[None] | None = None
        self._opening = False
        self._closing = False
        self._guard: asyncio.Task[None] | None = None
        self._undo: list[Callable[[], None]] = []
        self._changes = Changes()
        self._prompt_changes = Changes()
        self._sandbox: Sandbox | None = None
        self._actors: Actors | None = None
        self._queues: Queues | None = None
        self._schedules: Schedules | None = None
        self._deployments: Deployments | None = None
        self._webhooks = tuple(webhooks)

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    if not TYPE_CHECKING:  # the checker sees the attributes themselves

        def __getattr__(self, name: str) -> Any:
            """Say of what `open` makes that it is not there yet, not which attribute is missing."""
            if name in _OPENED:
                raise EngineClosed(_NOT_OPEN)
            raise AttributeError(f"an engine has no attribute {name!r}", name=name, obj=self)

    def start_worker(self) -> None:
        """Begin to start a worker for the first session that is not isolated, before the store is open.

        `close` ends it, also where the store could not be opened.
        """
        self._has_worker = True
        self._pool.start_one()

    async def open(self) -> Self:
        """Open the store and begin to serve, once. StoreError and StoreNewer say why a file cannot be opened."""
        if self._closing:
            raise EngineClosed("this engine was closed; make another one with durable.open(...)")
        if self._opening:
            raise Conflict(
                "this engine is open already; `async with` opens it too. Another one is another durable.open(...)"
            )
        self._opening = True
        try:
            self._store = store = await self._open_store()
        except BaseException:
            self._opening = False
            raise
        self._threads = StepThreads()
        self._audit = audit = Audit(store)
        self._house = house = House(
            store,
            self.engine_id,
            self._capabilities,
            self._threads,
            self._observer,
            self._parked,
            self._pool,
            Retention(blobs_of(store, self._blobs), self._keep, self._override_environment),
            audit,
        )
        house.lent = CapabilityHost(self)
        self._host = SessionHost(house)
        self._executions = Executions(
            store,
            self._host,
            engine_id=self.engine_id,
            group=self.group,
            remote=self._remote,
            observer=self._observer,
            deployment=self.deployment,
        )
        self._undo.append(store.watch(self._on_change))
        if self._webhooks:
            from durable.prompts.webhooks import Hooks

            self._hooks = Hooks(self._webhooks, self._prompts, store.key, self._prompt_changes.next, self._observer)
        if self._serve:
            try:
                await self.serve()
            except BaseException:
                await self.close()
                raise
        return self

    async def _open_store(self) -> StoreFace:
        return await open_store(self._target, observer=self._observer, **self._options)

    async def _close_store(self, store: StoreFace) -> None:
        await store.close()

    async def serve(self) -> None:
        """Begin to run executions and sessions: what `open` does unless it was told serve=False. Idempotent."""
        from durable.engine.queue_watch import keep_measured
        from durable.prompts.url_listeners import keep_posting

        store = self.store
        if self._runner is not None:
            return
        if self.deployment:
            store.require("deployments")
        self._connection = connection = store.connect(self.engine_id, self.group)
        self._runner = sdk.build(
            connection,
            store,
            engine_id=self.engine_id,
            lifecycle=self,
            concurrency=self._concurrency,
        )
        self._executions.runner = self._runner
        self._runner.register(FUNCTION, 1, self._host.durable_execute, NEVER)
        for known in set(KNOWN.values()):
            self._register(known)
        self._undo.append(on_new(self._learn))
        self._runner.start()
        self._guard = asyncio.create_task(_until_cancelled())
        if store.local is not None:
            self._sweeping = asyncio.create_task(keep_swept(store.local, self._observer))
            self._posting = asyncio.create_task(keep_posting(store.local, self._observer))
            self._measuring = asyncio.create_task(keep_measured(store.local.reads, self._observer))
            store.local.tell_renewals(self._pool.alive_until)
        await store.request(
            "engine.join",
            {
                "engine": self.engine_id,
                "group": self.group,
                "pid": os.getpid(),
                "functions": [FUNCTION_ID, *KNOWN, *self._capabilities.served()],
                "serves_sessions": self._taken is None,
                "deployment": self.deployment,
                "retention": self._rules(set(KNOWN.values())),
                **({} if self._taken is None else {"queues": self._taken}),
            },
        )
        if store.local is not None:  # now that the rules are those of this code
            self._expiring = asyncio.create_task(keep_expired(store.local, self._observer))

    def _register(self, function: Function[..., Any]) -> None:
        attempt, runner = self._made_passes().of(function), self._runner
        assert runner is not None, "it serves"
        for key, _, version in (each.rpartition("@") for each in function.ids):
            runner.register(key, int(version), attempt, function.retry)

    def _made_passes(self) -> Passes:
        """The passes of durable functions, made with the first function: an engine of sessions has none."""
        if self._passes is None:
            from durable.functions.dispatcher import Passes

            self._passes = Passes(
                store=self.store,
                closing=lambda: self.ending,
                threads=self._threads,
                cells=self,
                observer=self._observer,
            )
        return self._passes

    def _learn(self, function: Function[..., Any]) -> None:
        self._register(function)
        served = {"engine": self.engine_id, "functions": function.ids}
        self.store.post("engine.serve", {**served, "retention": self._rules([function])})

    def _rules(self, functions: Iterable[Function[..., Any]]) -> dict[str, dict[str, int | None]]:
        """How long executions of these functions are kept, and of those that say nothing."""
        found = {each: known.retention for known in functions if known.retention is not None for each in known.ids}
        return found if self._retention is None else {**found, EVERY_FUNCTION: self._retention}

    async def drain(self, timeout: float | timedelta | None = None) -> bool:
        """Take nothing new, and return when all that runs here has ended or waits; False when `timeout` (seconds or
        timedelta) passes first. Other engines get what comes. `close` comes next: what still runs goes on elsewhere."""
        limit = seconds(timeout)
        if self._runner is None:
            return True
        slots = self._runner.slots
        slots.close()
        serves_none = {"engine": self.engine_id, "group": self.group, "pid": os.getpid(), "functions": []}
        kept = {"serves_sessions": False, "deployment": self.deployment}
        await self.store.request("engine.join", {**serves_none, **kept})
        ends = None if limit is None else asyncio.get_running_loop().time() + limit
        while slots.held:
            if ends is not None and asyncio.get_running_loop().time() >= ends:
                return False
            await asyncio.wait([self.changed()], timeout=DRAIN_LOOK_S)
        return True

    @property
    def running(self) -> int:
        """How many executions run here now."""
        return 0 if self._runner is None else self._runner.slots.held

    async def close(self) -> None:
        """Stop working and give everything back: tasks are released, nothing is settled by it. Idempotent."""
        store = self._store
        if self._closing or (store is None and not self._has_worker):
            return
        self._closing = True
        if store is None:
            await self._pool.close()
            return
        for undo in reversed(self._undo):
            undo()
        with store.hurried():
            await self._leave(store)
        await self._close_store(store)

    async def _leave(self, store: StoreFace) -> None:
        """Give back what it runs, and end its processes."""
        if self._hooks is not None:
            await self._hooks.close()
        for task in (self._sweeping, self._expiring, self._posting, self._measuring, self._guard):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        await self._host.close()
        await self._pool.close()
        if self._runner is not None:
            await self._connection.stop()
            self._runner.cancel()
            await self._runner.stop()
            with suppress(StoreFull):  # the others see that it is gone, as after a kill
                await store.request("engine.leave", {"engine": self.engine_id})
        self._threads.close()
        if self._actors is not None:
            await self._actors.close()
        if self._sandbox is not None:
            await self._sandbox.close()
        self._changes.tell()
        self._prompt_changes.tell()

    @property
    def ending(self) -> bool:
        """Whether it is being closed, or its loop ends without that: `asyncio.run` cancels all tasks, functions' too.

        That is no cancel of theirs: they stay as they are, as after a kill.
        """
        return self._closing or (self._guard is not None and self._guard.cancelling() > 0)

    @property
    def store(self) -> StoreFace:
        """The opened store; EngineClosed before `open`."""
        if self._store is None:
            raise EngineClosed(_NOT_OPEN)
        return self._store

    def _require_serving(self, lacking: str) -> None:
        """Conflict where this engine runs nothing itself; EngineClosed before `open`."""
        assert self.store is not None
        if self._runner is None:
            raise Conflict(f"this engine was opened with serve=False, it has {lacking}")

    @property
    def workers(self) -> PoolMetrics:
        """How many workers this engine has, and how launching them went."""
        return self._pool.metrics()

    @property
    def sandbox(self) -> Sandbox:
        """Foreign code, run once, with nothing but what it is given: JavaScript, Python, WebAssembly."""
        if self._sandbox is None:
            from durable.sandbox.sandbox import Sandbox

            self._sandbox = Sandbox(self)
        return self._sandbox

    @cached_property
    def _prompts(self) -> Inbox:
        from durable.prompts.inbox import Inbox

        return Inbox(self.store, observer=self._observer)

    @property
    def queues(self) -> Queues:
        """The queues of the store: listed, changed, paused, drained."""
        from durable.engine.queue_operations import Queues

        if self._queues is None:
            self._queues = Queues(self.store, self.changed)
        return self._queues

    @property
    def deployments(self) -> Deployments:
        """The deployments of the store: listed, chosen for new work, given up; executions moved to another one."""
        from durable.engine.deployment_operations import Deployments

        if self._deployments is None:
            self._deployments = Deployments(self)
        return self._deployments

    @property
    def schedules(self) -> Schedules:
        """The schedules of the store: listed, paused, triggered, made up for, deleted."""
        from durable.engine.schedule_operations import Schedules

        if self._schedules is None:
            self._schedules = Schedules(self.store, self.group)
        return self._schedules

    @property
    def actors(self) -> Actors:
        """The actors of the store: found, stopped, restarted; their tree and dead letters; topics."""
        if self._actors is None:
            from durable.actors.management import Actors

            self._actors = Actors(self)
        return self._actors

    def actor(self, cls: type | str, key: str) -> Any:
        """An actor by its class (`@durable.actor`) and a key: `await engine.actor(Cart, "ana").add("book")`.

        A class by its name alone checks no arguments. InvalidId, BadArguments.
        """
        return self.actors.reference(cls, key)

    def let_go(self, actor: str) -> None:
        """End the instance that is kept here for an actor that is a component, if one is."""
        if self._sandbox is not None:
            self._sandbox.let_go(actor)

    async def put(self, kind: str, request: dict[str, Any]) -> dict[str, Any]:
        """Record what stands in line; where nothing is before it, it begins here at once."""
        return await self._executions.put(kind, request)

    # -- executions ---------------------------------------------------------------------------------------------

    async def start[**P, T](
        self,
        fn: Function[P, T],
        *args: Any,
        id: str | None = None,
        timeout: float | timedelta | None = None,
        tags: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> Execution[T]:
        """Start an execution, or attach to the one that has this id.

        id: the caller's name for it, minted when None. timeout: seconds or timedelta, none by default. tags: words that
        it is found by (`executions`); where the function has a parameter of that name, they are its argument. The
        arguments are recorded as JSON. Raises Conflict when the id exists with other code or arguments, BadArguments.
        """
        require_durable(fn)
        execution_id = ids.mint_execution_id() if id is None else ids.check_given_id(id)
        if tags is not None and "tags" in inspect.signature(fn.fn).parameters:
            kwargs["tags"], tags = tags, None
        await self.start_as(execution_id, fn, args, dict(kwargs), seconds(timeout), tags or {})
        return Execution(self, execution_id, fn.returns)

    async def start_as(
        self,
        id: str,
        fn: Function[..., Any],
        args: Sequence[Any],
        kwargs: dict[str, Any],
        timeout: float | None = None,
        tags: Mapping[str, str] = {},
    ) -> None:
        """Start an execution under an id that was minted for it, or attach to it. Conflict, BadArguments."""
        fn.check_newest()
        packed, named, arguments = fn.pack(tuple(args), kwargs)
        data = {"func": fn.key, "args": packed, "kwargs": named, "version": fn.version}
        is_call = partial(fn.is_call, packed=packed, named=named)
        await self._executions.start(id, fn, data, arguments, timeout, is_call, tags)

    async def enqueue[**P, T](
        self,
        queue: Queue | str,
        fn: Function[P, T],
        *args: Any,
        id: str | None = None,
        key: str = "",
        priority: int = 0,
        delay: float | timedelta | None = None,
        dedupe: str | None = None,
        debounce: Debounce | None = None,
        timeout: float | timedelta | None = None,
        tags: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> Execution[T]:
        """Put an execution into a queue: it begins when the queue lets it, in turn with other keys (docs/queues.md).

        queue: a `durable.Queue`, or the name of one that is there. key: whose it is: keys take turns. priority: higher
        ones begin first. delay: seconds or timedelta before which it does not begin. dedupe: while another execution of
        the queue has the same, that is the answer. debounce: seconds without another call of this `dedupe` after which
        it begins, with the arguments of the last one; or (seconds, at most). id, timeout, tags: as for `start`; the
        time that it waits counts. Arguments of the function that have one of these names are given by place. Conflict,
        BadArguments; NotFound where there is no queue of that name.
        """
        from durable.queues.queue import Queue
        from durable.queues.queue_place import Place, name_of

        require_durable(fn)
        fn.check_newest()
        self.store.require("queues")
        place = Place(key, priority, delay, dedupe, debounce)
        execution_id = ids.mint_execution_id() if id is None else ids.check_given_id(id)
        packed, named, arguments = fn.pack(args, dict(kwargs))
        data = {"func": fn.key, "args": packed, "kwargs": named, "version": fn.version}
        is_call = partial(fn.is_call, packed=packed, named=named)
        put = partial(
            self._executions.enqueue, execution_id, fn, data, arguments, seconds(timeout), is_call, tags or {},
            name_of(queue), place,
        )  # fmt: skip
        if isinstance(queue, Queue):
            await self.queues.declare(queue)
        try:
            found = await put()
        except NotFound:
            if not isinstance(queue, Queue):
                raise
            await self.queues.declare(queue, anew=True)  # somebody deleted it since
            found = await put()
        return Execution(self, found, fn.returns)

    async def schedule[**P, T](
        self,
        id: str,
        when: str | float | timedelta,
        fn: Function[P, T],
        *args: Any,
        timezone: str | None = None,
        overlap: Overlap = "allow",
        jitter: float | timedelta | None = None,
        missed: Missed = "once",
        paused: bool | None = None,
        timeout: float | timedelta | None = None,
        **kwargs: Any,
    ) -> Schedule:
        """Start an execution at every tick, each tick once (docs/schedules.md). One of this id is that from now on.

        when: a cron line, or seconds or timedelta between ticks. timezone: of the line, UTC when None. overlap: while
        an execution of the schedule goes on, a tick starts another one ("allow"), nothing ("skip"), one that waits for
        it ("queue"), or one after it was cancelled ("cancel"). jitter: seconds by which it may begin later. missed: of
        ticks that passed while nothing ran the newest ("once"), each ("all"), or none ("skip"). paused: None for as it
        is. timeout: seconds that each execution has. BadArguments, InvalidId.
        """
        require_durable(fn)
        fn.check_newest()
        return await self.schedules.put(
            id,
            when,
            fn,
            args,
            dict(kwargs),
            timezone=timezone,
            overlap=overlap,
            jitter=jitter,
            missed=missed,
            paused=paused,
            timeout=timeout,
        )

    async def start_with_signal[**P, T](
        self,
        fn: Function[P, T],
        *args: Any,
        id: str,
        signal: str,
        value: Any = None,
        key: str | None = None,
        timeout: float | timedelta | None = None,
        **kwargs: Any,
    ) -> Execution[T]:
        """Start an execution, or attach to the one that has this id, and send it a signal. Errors of both."""
        execution = await self.start(fn, *args, id=id, timeout=timeout, **kwargs)
        await self.signal(id, signal, value, key=key)
        return execution

    async def signal(self, id: str, name: str, value: Any = None, *, key: str | None = None) -> bool:
        """Send a signal to an execution, which gets it by `ctx.signal(name)`: now, or when it comes to that.

        Signals of one name are taken in the order in which they were sent. key: what is sent again under it is not
        sent; then this is False. InvalidAnswer where somebody waits for it and the value does not fit; NotFound;
        Conflict where the execution has ended.
        """
        from durable.executions.signal_sender import send_signal

        return await send_signal(self.store, id, name, value, key=key)

    async def settle(self, promise: str, value: Any = None, *, error: str | None = None) -> None:
        """Settle a promise of `ctx.promise()`, by its id: with a value, or with the text of an error.

        InvalidAnswer (with field errors) leaves it open; NotFound; Conflict where it was settled otherwise.
        """
        from durable.executions.signal_sender import settle_promise

        await settle_promise(self.store, promise, value, error=error)

    def stream(
        self, id: str, name: str, offset: int = 0, *, wait_through_halts: bool = False
    ) -> AsyncGenerator[StreamItem]:
        """The items that an execution writes to a stream (`ctx.stream`), from an offset on, until it has ended.

        A reader that was interrupted goes on behind the last item that it got, at `item.offset + 1`. NotFound; Halted
        as soon as it is held up, after what it wrote; wait_through_halts: wait on.
        """
        from durable.executions.stream_reader import read_stream

        return read_stream(self.store, id, name, offset, wait_through_halts=wait_through_halts)

    async def streams(self, id: str) -> dict[str, int]:
        """The streams of an execution by name: the offset that the next item gets."""
        return {each.name: each.next_offset for each in await self.store.reads.streams(id)}

    async def published(
        self, id: str, key: str, *, wait: bool = False, timeout: float | timedelta | None = None
    ) -> Any:
        """The newest value that an execution published under a key (`ctx.publish`), as JSON has it.

        wait: return as soon as there is one. timeout: seconds or timedelta, then TimeoutError. NotFound where there is
        none, or the execution ends without one; Halted.
        """
        from durable.executions.stream_reader import read_published

        return await read_published(self.store, id, key, wait=wait, timeout=seconds(timeout))

    async def all_published(self, id: str) -> dict[str, Any]:
        """The newest value of each key that an execution published. NotFound."""
        from durable.executions.stream_reader import list_published

        return {row.key: row.value for row in await list_published(self.store, id)}

    async def get(self, id: str) -> Execution[Any]:
        """A handle on an existing execution; NotFound."""
        found = Execution[Any](self, id)
        row = await found.info()
        known = known_as(row.function or "")
        return Execution(self, id, known.returns if known is not None else inspect.Parameter.empty)

    async def executions(
        self,
        *,
        state: State | None = None,
        function: str | None = None,
        tag: tuple[str, str] | Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        text: str = "",
        limit: int = 100,
        before: str | None = None,
    ) -> ExecutionPage:
        """A page of executions, newest first: a list, with the `cursor` that is `before` of the next page, or None.

        function: its name, or `where::name@version`. tag: a name and its value. tags: several by name, which all have
        to hold. since, until: when they were made. text: words that stand in the id, function, tags, arguments, result,
        error or note. By several tags or by text LOOKED_AT_ROWS_MAX executions are looked at for a page, which then is
        short and has a cursor. BadArguments, also where the execution `before` which the page lies is gone.
        """
        from durable.executions.execution_search import execution_filter, search

        wanted = execution_filter(
            state=state, function=function, tag=tag, tags=tags, since=since, until=until, text=text
        )
        return await search(self.store.reads, wanted, limit=limit, before=before)

    async def count_executions(
        self,
        *,
        function: str | None = None,
        tag: tuple[str, str] | Mapping[str, str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> dict[str, int]:
        """How many executions there are in each state that has any, as `executions` finds them.

        Of each state at most COUNTED_ROWS_MAX are counted: that number means so many or more. BadArguments for more
        than one tag: an index answers one.
        """
        from durable.executions.execution_search import execution_filter

        wanted = execution_filter(function=function, tag=tag, since=since, until=until)
        if len(wanted.tags) > 1:
            raise BadArguments("executions are counted by one tag, not by several")
        named = wanted.tags[0] if wanted.tags else None
        found: dict[str, int] = await self.store.reads.count_executions(
            function=function, tag=named, since=wanted.since, until=wanted.until
        )
        return found

    async def tag(self, id: str, **tags: str | None) -> dict[str, str]:
        """Give an execution tags that it is found by, also one that has ended; None takes one off.

        Returns all that it has then. NotFound; BadArguments for what is too long or too many.
        """
        from durable.executions.bulk_work import tag_execution

        return await tag_execution(self.store, id, tags)

    async def cancel(self, id: str, reason: str = "", *, grace: float | timedelta = CANCEL_GRACE_S) -> bool:
        """Cancel an execution; returns when it has ended. False when it was settled before. NotFound.

        A durable function gets CancelledError where it waits, its asynchronous steps too; what it does then, durable
        operations included, has `grace` seconds. Whatever it comes to, the execution is cancelled.
        """
        return await self._executions.cancel(id, reason, seconds(grace) or 0.0)

    async def delete(self, id: str) -> None:
        """Forget an execution that has ended, with its steps, output and result; its id is free then.

        NotFound; Conflict where it has not ended, or somebody waits for it, or its parent has not ended.
        """
        from durable.executions.bulk_work import delete_execution

        await delete_execution(self.store, id)

    async def interrupt(self, id: str, *, raises: bool = False) -> bool:
        """Stop an execution so that `resume` goes on with it; False when it does not run, wait or stand in a queue.

        Code in a session gets SIGINT, another, SIGKILL; `resume` begins at the last checkpoint before the statement
        that was cut, and calls that were recorded get their recorded answers. raises: raise KeyboardInterrupt in the
        code instead, and let the execution end as the code decides; on the machine where it runs only. NotFound;
        Conflict when there is no code to raise it in.
        """
        return await self._executions.interrupt(id, raises=raises)

    async def resume(self, id: str) -> bool:
        """Continue an execution that was interrupted or halted; False when it was not. NotFound."""
        return await self._executions.resume(id)

    async def fork_execution(
        self, id: str, *, step: int, new_id: str | None = None, changed: Mapping[str, Any] | None = None
    ) -> Execution[Any]:
        """Start an execution with what another one recorded before its operation number `step`, from 1.

        What is before the step is not done again, answered questions stay answered. It goes on with today's code.
        new_id: its id; `<id>-fork-<n>` when None. changed: arguments by name in place of the recorded ones; where what
        is before the step depends on them, the replay is halted. NotFound; Conflict where a step before that has not
        ended; BadArguments.
        """
        from durable.executions.forking import fork

        return await self.get((await fork(self.store, id, step, new_id, changed=changed)).id)

    async def fork_executions(
        self,
        executions: Iterable[ExecutionRow],
        *,
        step: int,
        changed: Mapping[str, Any] | None = None,
        dry_run: bool = False,
    ) -> list[Forked]:
        """Fork many executions before their operation number `step`, as `executions` finds them, each for itself.

        changed: as for `fork_execution`. dry_run: only say what each fork would have. Where one cannot be forked its
        `problem` says why; code in sessions is left out.
        """
        from durable.executions.forking import fork_each

        return await fork_each(self.store, executions, step, changed=changed, dry_run=dry_run)

    async def rewind(
        self, id: str, *, step: int, new_id: str | None = None, changed: Mapping[str, Any] | None = None
    ) -> Execution[Any]:
        """Go back to before the operation number `step` of an execution, from 1: a fork that takes its place.

        The old one keeps its record and names the new one (`rewound_as`). Where it is open it is cancelled at once,
        without clean-up: what is before the step goes on in the new one, its open children are cancelled, whoever waits
        for it gets ExecutionCancelled that names the new one. Signals that nobody took go to that. new_id:
        `<id>-rewind-<n>` when None. Otherwise as `fork_execution`; Conflict where it was rewound before.
        """
        from durable.executions.forking import rewind

        return await self.get((await rewind(self.store, id, step, new_id, changed=changed)).id)

    async def rewind_executions(
        self,
        executions: Iterable[ExecutionRow],
        *,
        step: int,
        changed: Mapping[str, Any] | None = None,
        dry_run: bool = False,
    ) -> list[Forked]:
        """Rewind many executions, each for itself, as `fork_executions` forks them."""
        from durable.executions.forking import fork_each

        return await fork_each(self.store, executions, step, changed=changed, dry_run=dry_run, in_place=True)

    async def retry(self, id: str, *, new_id: str | None = None) -> Execution[Any]:
        """Start an execution with all that one recorded that failed, was lost, cancelled or timed out, but the failure.

        The step that failed is performed again, and what was begun by whoever knew of it; nothing else is. new_id: its
        id; `<id>-retry-<n>` when None. NotFound; Conflict where it has not ended so.
        """
        from durable.executions.forking import fork

        return await self.get((await fork(self.store, id, None, new_id)).id)

    async def bulk(
        self,
        action: BulkAction,
        *,
        ids: Iterable[str] = (),
        state: State | None = None,
        session: str | None = None,
        function: str | None = None,
        tags: Mapping[str, str] | None = None,
        text: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 100,
        cursor: str | None = None,
        dry_run: bool = False,
        reason: str = "",
        set: Mapping[str, str | None] | None = None,
        step: int | None = None,
        changed: Mapping[str, Any] | None = None,
    ) -> BulkOutcome:
        """Cancel, resume, retry, tag, fork, rewind or delete many executions, each for itself: what became of each.

        Those of `ids`, or the newest `limit` that fit the filters of `executions`; `cursor` is `next` of the outcome
        before. dry_run: only say what would become of each. reason: of cancelling; nobody waits for clean-up. set: the
        tags to give, None takes one off. step, changed: of forks and rewinds. What cannot be changed is in the outcome
        with `able` false and a `note`. BadArguments.
        """
        from durable.executions.bulk_work import bulk_outcome, bulk_work, named_or_fitting
        from durable.executions.execution_search import execution_filter

        wanted = execution_filter(
            state=state, session=session, function=function, tags=tags, since=since, until=until, text=text
        )
        work = bulk_work(action, reason=reason, tags=set, step=step, changed=changed)
        choice = named_or_fitting(ids, wanted, limit, cursor)
        return await bulk_outcome(self.store, work, choice, dry_run=dry_run)

    async def check_replay(self, id: str, fn: Function[..., Any] | None = None) -> ReplayCheck:
        """Say whether an execution would be replayed by today's code: nothing is performed, nothing changes.

        fn: the code to check it with, where that is not the function that it is recorded as. NotFound; Conflict for
        code in a session and messages to actors, which are not replayed.
        """
        from durable.functions.replay.recorded_promises import read_record
        from durable.functions.replay.replay_check import check_replay, not_checked

        if fn is not None:
            require_durable(fn)
        row = await self.store.reads.get_execution(id)
        if row is None:
            raise NotFound("execution", id, "`durable list` shows what there is")
        if row.session is not None or row.function.partition("@")[0] in NOT_REPLAYED or "~" in id:
            raise Conflict(f"{id} is code in a session or a message to an actor: those are not replayed")
        function = known_as(row.function) if fn is None else fn
        if function is None or function.companion is not None:
            return not_checked(id, row.function, f"this process does not know {row.function}")
        promise_id = ids.execution_promise(id)
        root = (await self.store.request("promise.get", {"id": promise_id})).data["promise"]
        record = await read_record(self.store, promise_id)
        return await check_replay(
            function, record_of(root), record, store=self.store, threads=self._threads, cells=self
        )

    async def upgrade(self, id: str, fn: Function[..., Any], *, deployment: str | None = None) -> ReplayCheck:
        """Have an open execution that nobody runs go on as `fn`, another version of its function, if it replays so.

        deployment: whose engines go on with it, others than so far. Returns the check. Conflict where it would not
        replay, runs, or has ended; NotFound.
        """
        require_durable(fn)
        row = await self.store.reads.get_execution(id)
        if row is not None and row.settled_at is not None:
            raise Conflict(f"{id} has ended: it is {row.state}")
        found = await self.check_replay(id, fn)
        assert row is not None
        if not found.ok:
            raise Conflict(f"{id} would not be replayed by {fn.id}: {found.reason}")
        wish: dict[str, Any] = {"id": ids.execution_promise(id), "function": fn.id, "source": fn.source}
        wish |= {"version": row.starts, "deployment": deployment}
        try:
            await self.store.request("execution.upgrade", wish)
        except StoreRefused as refused:
            if refused.status == 404:
                hint = "`durable deployment list` shows what there is"
                raise NotFound("deployment", deployment or "", hint) from None
            raise Conflict(refused.message) from None
        return replace(found, function=fn.id)

    async def check_replays(self, function: str | None = None, *, limit: int = 10_000) -> list[ReplayCheck]:
        """The same of all open executions of functions, or of one function, the newest first of each state."""
        found = []
        for state in OPEN:
            for row in await self.executions(state=state.value, function=function, limit=limit):
                if row.session is None and "~" not in row.id and row.function.partition("@")[0] not in NOT_REPLAYED:
                    found.append(await self.check_replay(row.id))
        return found

    async def export(self, id: str, *, open_values: bool = False) -> ExecutionDocument:
        """Everything of an execution of a durable function as one JSON document, which `import_execution` reads.

        open_values: show what is encrypted in the store. NotFound; Conflict for code in a session.
        """
        from durable.engine.execution_document import export_document

        row = await self.store.reads.get_execution(id)
        if row is None:
            raise NotFound("execution", id, "`durable list` shows what there is")
        return await export_document(self.store, row, open_values=open_values)

    async def import_execution(self, document: ExecutionDocument | str | dict[str, Any]) -> Execution[Any]:
        """Recreate an execution from its document, whole or not at all; what has not ended goes on over its record.

        BadArguments, Conflict where this store has the id.
        """
        from durable.engine.execution_document import ExecutionDocument
        from durable.executions.exported_record import import_

        state = document if isinstance(document, ExecutionDocument) else ExecutionDocument.from_json(document)
        return await self.get(await import_(self.store, state.record))

    async def skip_checkpoint(self, checkpoint: int) -> None:
        """Forget a checkpoint that is refused, so that its session goes on from the one before. NotFound, Conflict."""
        await self._host.skip_checkpoint(checkpoint)

    # -- sessions and people ------------------------------------------------------------------------------------

    async def session(
        self,
        name: str,
        *,
        grants: Iterable[str] = (),
        level: Level | None = None,
        permissions: Permissions | None = None,
        profile: Profile | None = None,
        limits: Limits | None = None,
        output: OutputPolicy | OutputRules | None = None,
        language: Language | None = None,
    ) -> Session:
        """A session by name, made when it does not exist.

        grants: capabilities beside `input`, as `name` or `name:resource`. level, permissions: a level, or a manifest
        (an object, or a TOML file's path); then `input` has to be granted too (specs/permission.md). profile: "open",
        or "isolated" for code that may reach nothing but its own directory. limits: what it may use. output: what code
        that prints meets when nobody takes it ("block", "drop_new", "drop_oldest", "error"), or all OutputRules.
        language: "python", or "javascript" for cells that are scripts (specs/javascript.md). What it was made with
        counts: Conflict when something else is asked for, Unenforceable when this machine cannot enforce it.
        """
        from durable.sessions.session import Session

        ids.check_session_name(name)
        asked = asked_options(self._capabilities, grants, level, permissions)
        rules = OutputRules(policy=output) if isinstance(output, str) else output
        options = {**asked, **options_of(profile, limits, rules), **language_option(language, limits)}
        if self._runner is not None:
            await check_machine(confinement_of(self.store, name, options))
        row = (await self.store.request("session.open", {"session": name, "engine": None, "options": options})).data
        check_language(name, row.get("options") or {}, language)
        check_same(name, row.get("options") or {}, profile, limits, rules)
        recorded = row.get("options") or {}
        check_permissions(name, recorded, asked)
        if self._runner is not None:
            self._pool.start()  # its warm-up overlaps with what comes before the first cell
        return Session(
            self, name, tuple(recorded.get("grants") or ()), language_of(recorded), own_capabilities(recorded)
        )

    async def fork(self, session: str, name: str, *, checkpoint: str | int | None = None) -> Session:
        """A new session `name` that begins with what a checkpoint of another holds (by number or label; the newest).

        It has the other's grants, profile and limits, and a history of its own. NotFound, Conflict when `name` exists.
        """
        self._require_serving("no session of its own")
        await self.checkpoints_of(session).fork(self._host, name, checkpoint)
        return await self.session(name)

    async def import_checkpoint(
        self, path: str | os.PathLike[str], name: str | None = None, *, trust: bool = False
    ) -> Session:
        """A new session from a file that `Session.export` wrote, under the name that it had or another.

        It has the profile and grants of the one that it comes from. trust: take a file of another store, whose
        signature cannot be checked here. CheckpointTampered, CheckpointError, Conflict, BadArguments.
        """
        from durable.sessions.checkpoints import export

        self._require_serving("no session of its own")
        return await self.session(await export.import_(self._house, self._host, Path(path), name, trust=trust))

    def checkpoints_of(self, session: str) -> CheckpointHistory:
        """The checkpoints of a session: listed, shown, compared."""
        from durable.sessions.checkpoints.history import CheckpointHistory

        return CheckpointHistory(self._house, session)

    async def audit(
        self, session: str | None = None, *, limit: int = 100, before: int | None = None
    ) -> list[AuditEntry]:
        """The requests of code and the decisions on them, newest first. before: the last id of the page before."""
        self._audit.flush()
        return await read_audit(self.store, session, limit, before)

    def permissions(self) -> PermissionChanges:
        """Granting and revoking while sessions live; `durable.session` objects have it for themselves."""
        return PermissionChanges(self.store, self._capabilities, self._audit)

    def observe(self, event: events.Event) -> None:
        """Tell the engine's observer, and its webhooks what code notifies of."""
        self._observer(event)
        if isinstance(event, events.Notified) and self._hooks is not None:
            self._hooks.notify(event)

    async def prompts(self) -> list[OpenPrompt]:
        """The questions that wait for a person, oldest first."""
        return await self._prompts.open()

    async def answer(
        self,
        prompt: str,
        value: Any = None,
        *,
        by: str | None = None,
        decline: bool = False,
        why: str = "",
        teams: Sequence[str] = (),
        via: str = "api",
    ) -> bool:
        """Answer a prompt; False when it still waits for other persons.

        by, teams: who answers, and of which teams, for questions that name who may; whoever calls this is believed.
        InvalidAnswer (with field errors) and NotAsked leave it open; Conflict names who answered first; AnswerLate
        after its deadline; NotFound.
        """
        return await self._prompts.answer(prompt, value, by=by, decline=decline, why=why, teams=teams, via=via)

    async def answers(self, prompt: str) -> list[Given]:
        """The answers to a prompt: who, what, when and through which channel, in order. NotFound."""
        return await self._prompts.answers(prompt)

    def on_prompt(self, callback: Told) -> Callable[[], None]:
        """Call back for each open question, those of other processes too: now, and as they come. Returns what ends it.

        callback: takes an OpenPrompt; sync or async. It is told of each question once while this engine is open, and
        again at the times of its reminders and its escalation (`OpenPrompt.notice`).
        """
        from durable.prompts.channels import PromptChannel

        channel = PromptChannel(self._prompts, self._prompt_changes.next, callback, self._observer)
        self._undo.append(channel.close)
        return channel.close

    async def blocking_prompts(self, id: str) -> list[str] | None:
        """The prompts that an execution waits for, its children's included; None when it does not wait for people."""
        return await self._prompts.blocking(id)

    # -- what functions and sessions need of the engine ---------------------------------------------------------

    def cell(self, code: str, session: str, inputs: dict[str, Any]) -> dict[str, Any]:
        self.store.require("sessions")
        return CellParam(code=code, session=session, inputs=inputs).to_json()

    def cell_tags(self, session: str) -> dict[str, str]:
        return cell_tags(session)

    def cell_target(self) -> str:
        return f"poll://any@{self.group}"

    async def submit(self, session: str, cell: dict[str, Any]) -> dict[str, Any]:
        """Record a cell; where this engine has the session and a slot, its task is acquired at once and begins."""
        return await self._executions.submit(session, cell)

    @property
    def host(self) -> SessionHost:
        return self._host

    async def live(self, session: str) -> LiveSession:
        """The session with its worker, which only the engine that owns it has; Conflict says who that is."""
        self._require_serving(f"no worker for session {session!r}")
        return await self._host.owned(session)

    async def require_known(self, session: str, needed: Mapping[str, str]) -> None:
        """Require that what the session's code may call is known here, or to another living engine. NotServed."""
        await require_known(self.store, self._capabilities, session, needed)

    async def release(self, id: str, version: int, error: BaseException | None) -> None:
        """An attempt ended without an outcome: halt its task, or count the attempt (the SDK's release)."""
        self._pass_over(id)
        if self.ending:
            return  # engine.leave releases all at once, or the end of this process
        self._attempts.given_up(id)
        await self._executions.gave_up(id, version, error)

    def suspension(self, id: str) -> sdk.Suspension:
        """The remains of the pass of a task that is to be suspended now."""
        found = None if self._passes is None else self._passes.suspensions.get(id)
        return found or sdk.Suspension()

    def suspended(self, id: str, waits: Sequence[str]) -> None:
        self._pass_over(id)
        self._attempts.waits(id, waits)

    def _pass_over(self, id: str) -> None:
        if self._passes is not None:
            self._passes.forget(id)
        self._host.let_pass(id)

    def begins(self, promise: sdk.PromiseRecord, version: int) -> None:
        self._attempts.begins(promise, version)

    def fulfilled(self, id: str, state: str) -> None:
        self._attempts.settled(id, state)

    def ended(self, id: str) -> None:
        self._attempts.ended(id)

    def saves_of(self, id: str) -> dict[str, Any] | None:
        """The outcome of a turn of an actor, to be saved with its end."""
        return None if self._passes is None else self._passes.saves_of(id)

    def epoch_of(self, id: str) -> int | None:
        """The epoch under which a cell was run here: its outcome counts only in that."""
        return self._host.epochs.pop(id, None)

    def follow(self, id: str, offset: int = 0, *, wait_through_halts: bool = False) -> AsyncIterator[Event]:
        """The output of an execution, from an offset in characters until it is settled, and where it was taken back.

        Of a durable function: of its cells as well, from their beginning; each event names the `execution` it is of.
        Halted, after what was printed, as soon as it or what it waits for is halted; wait_through_halts: go on.
        """
        from durable.sessions.output.follow import follow

        return follow(self, id, offset, wait_through_halts=wait_through_halts)

    def changed(self) -> asyncio.Future[None]:
        """Done at the next change of the store, by anyone. Take it before you look, so that nothing falls between:
        `while (change := engine.changed()) and await execution.state() != "waiting": await change`."""
        return self._changes.next()

    def _on_change(self, change: StoreChange) -> None:
        if self._passes is not None:
            self._passes.cancel(change.cancelled)
        if change.lapsed:
            self._host.end_workers()
        if change.regressed:
            self._host.forget_all()
        if (change.prompts or change.expired) and self._observer.watching:
            self._tell_prompts(change)
        if change.foreign or change.stopped or (self._remote and change.sessions):
            self._host.look()
        asked = change.prompts or change.expired or any(map(ids.parse_call, change.settled))
        if asked or change.foreign or self._remote:
            self._prompt_changes.tell()
        self._changes.tell()

    def _tell_prompts(self, change: StoreChange) -> None:
        """Tell of questions that this process recorded; those of a store elsewhere are told there."""
        if self._store is None or self._store.local is None:
            return
        for prompt in change.prompts:
            self._observer(PromptAsked(ids.execution_of(prompt), prompt))
        for prompt in change.expired:
            self._observer(PromptExpired(ids.execution_of(prompt), prompt))


def _names_of(queues: Iterable[Queue | str]) -> list[str]:
    """The queues that an engine takes from, by name and in order. BadArguments."""
    from durable.queues.queue_place import name_of

    return sorted({name_of(queue) for queue in queues})


def _declared(given: Iterable[Component]) -> Iterable[Component]:
    """The components, checked. BadArguments."""
    if given == ():
        return ()
    from durable.sandbox.component_registry import Declared

    return Declared.of(given)


async def _until_cancelled() -> None:
    await asyncio.get_running_loop().create_future()


class EngineOptions(TypedDict, total=False):
    """The options of `durable.open`, by name."""

    serve: bool
    durability: Literal["power", "process"]
    capabilities: Iterable[Capability]
    components: Iterable[Component]
    parked: float
    preload: Sequence[str]
    pool: Pool | None
    group: str
    create: bool
    token: str | None
    blobs: str | None
    keep: Keep | None
    override_environment: bool
    webhooks: Sequence[Webhook]
    concurrency: int
    queues: Iterable[Queue | str] | None
    deployment: str | None
    retention: ExecutionAge | None
    codec: ValueCodec | None
    observer: Observer | Iterable[Observer]


def open(target: str | os.PathLike[str] = ".durable/state.db", **options: Unpack[EngineOptions]) -> Engine:
    """An engine on a store: a path (made when missing), a database's URL, that of a server, or ":memory:" for one that
    ends with the engine.

    serve: False for a client that runs nothing itself. durability: "power" survives the machine, "process" only the
    process. token: for a URL; DURABLE_TOKEN when None. capabilities: what sessions can be granted. components: what
    functions can call. parked: seconds a waiting worker stays in memory. preload: modules that workers find imported
    already, such as "numpy". pool: how many workers there may be, and how many are forked before they are asked for.
    blobs: where large data of checkpoints is kept, "s3://bucket/prefix" (DURABLE_BLOBS when None), else beside the
    file. keep: which checkpoints stay beside the newest, a `durable.Keep`. override_environment: restore sessions also
    where Python or a package is another one than before; what cannot be loaded is lost, and named. webhooks: where
    questions are told of, each a `durable.Webhook(url, secret)`; signed, and sent until they are taken. concurrency:
    how many executions it runs at a time; those that wait do not count. queues: the queues from which alone it takes
    executions; then it takes none that stands in no queue, and no sessions. deployment: what this code is called: new
    work goes to the newest, what has begun stays with its own (docs/versions.md; DURABLE_DEPLOYMENT when None).
    retention: how long executions are kept once they have ended, of functions that do not say it themselves
    (docs/retention.md); None leaves it as it is. codec: how values are written, a `durable.ValueCodec`: encrypted,
    compressed (DURABLE_KEYS when None). observer: called with each of the engine's events, or several of them
    (docs/telemetry.md); the log when not given.
    """
    return Engine(target, **options)


__all__ = ["Engine", "open"]
