"""Following an execution until it ends or waits, as a client while somebody serves it, else as the engine."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from durable.cli.command_group import Settings
from durable.cli.execution_status import AwaitsAnswers, GoesOn, Standing, needs_of, served, stand
from durable.cli.text_output import Out
from durable.core import ids
from durable.core.definition_id import CELL, capability_id, is_capability
from durable.core.errors import NotServed, StoreError
from durable.engine.views import ServedFunctions
from durable.sessions.required_capabilities import own_capabilities
from durable.store.port import StoreFace, open_reader, open_store

if TYPE_CHECKING:
    from durable.core import events
    from durable.engine.engine import Engine

COLLECTORS = {
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
}
"""Variables that name a collector, as OpenTelemetry defines them."""

LOOK_FIRST_S = 0.05
LOOK_S = 1.0
"""How soon to look again when nothing wakes: soon after a change, since a suspension follows it silently, then ever
later, since only the death of the engine is left to be seen."""

LOOK_COST_FACTOR = 10
"""Between two looks passes at least this many times what a look costs."""


class Watcher(Protocol):
    """Shows something while an execution goes on."""

    async def look(self, engine: Engine, execution_id: str, *, last: bool) -> None: ...


class CommandWork(msgspec.Struct):
    """The work of a command: `begin` is called once on an open engine and gives the execution's id.

    `needs` are the functions that must be served for it. `ask` answers prompts in place and says whether it did.
    """

    begin: Callable[[Engine], Awaitable[str]]
    needs: frozenset[str]
    watcher: Watcher | None = None
    ask: Callable[[Engine, AwaitsAnswers], Awaitable[bool]] | None = None
    id: str | None = None
    create: bool = False
    """Make the store when it is missing."""
    capabilities: tuple[str, ...] = ()
    """Files or modules with capabilities of the user's own that the engine knows."""


@asynccontextmanager
async def opened(settings: Settings, *, create: bool) -> AsyncIterator[StoreFace]:
    """The store alone: enough to look, much faster than an engine."""
    store = await open_store(settings.path, create=create)
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def looked_at(settings: Settings) -> AsyncIterator[StoreFace]:
    """The store for a command that reads, opened to be written only where something is due in it."""
    store = await open_reader(settings.path)
    try:
        yield store
    finally:
        await store.close()


def open_engine(
    settings: Settings,
    out: Out,
    *,
    serve: bool,
    create: bool = True,
    capabilities: tuple[str, ...] = (),
    own: Callable[[], str | None] = lambda: None,
    **options: Any,
) -> Engine:
    """An engine on the command's store that says what goes wrong on stderr. `capabilities`: as in a CommandWork.

    `own`: the execution whose end the command itself tells.
    """
    from durable.cli.load_target import declared, load_capabilities
    from durable.engine import engine
    from durable.sandbox.component_registry import Declared

    options.setdefault("override_environment", settings.override_environment)
    options["capabilities"] = load_capabilities(capabilities)
    options.setdefault("components", Declared(find=declared))
    found: Engine = engine.open(
        settings.path, serve=serve, create=create, observer=observers_of(settings, out, own), **options
    )
    return found


def observers_of(settings: Settings, out: Out, own: Callable[[], str | None]) -> list[events.Observer]:
    """The command's own, and OpenTelemetry where the environment names a collector and the extra is installed."""
    from durable.core import events

    found: list[events.Observer] = [events.log_event if out.json_logs else _observer(out, own)]
    if COLLECTORS & os.environ.keys():
        try:
            from durable.telemetry import OpenTelemetry
        except ImportError as error:
            out.say(f"{error}; nothing is sent to the collector")
        else:
            telemetry = OpenTelemetry()
            settings.at_end.append(telemetry.close)
            found.append(telemetry)
    return found


def _observer(out: Out, own: Callable[[], str | None]) -> events.Observer:
    from durable.core import events

    def observe(event: events.Event) -> None:
        match event:
            case events.Logged(_, function, _, level, text) if level >= logging.INFO:
                out.say(f"{function}: {text}")
            case events.AttemptFailed(execution, error):
                out.say(f"{execution}: an attempt failed: {error}")
            case events.ExecutionHalted(execution):
                if execution != own():
                    out.say(str(event))
            case events.SessionRestored(session, checkpoint, _, lost) if lost:
                names = ", ".join(lost)
                out.say(f"session {session}, restored from checkpoint {checkpoint}, could not bring back {names}")
            case events.StoreSilent(url, problem):
                out.say(f"{url} does not answer ({problem}); trying again until it does")
            case events.StoreRegressed():
                out.say(str(event))
            case events.PeerDead(engine, tasks) if tasks:
                out.say(f"engine {engine[:8]} is gone; its executions are free to go on")
            case events.BackgroundFailed(what, error):
                out.say(f"{what}: {error}")
            case events.PermissionsBypassed(session):
                out.say(f"session {session} is in development mode: nothing that its code asks for is checked")
            case events.Notified(session, _, message, title):
                out.say(f"{session} says: {f'{title}: ' if title else ''}{message}")
            case _:
                events.log_event(event)

    return observe


async def drive(settings: Settings, out: Out, job: CommandWork) -> Standing:
    """Follow the job to its end or to a wait. Raises NotServed when nobody can go on with it."""
    while True:
        async with opened(settings, create=job.create) as store:
            needs = job.needs if job.id is None else job.needs | await needs_of(store.reads, job.id)
            living = await served(store)
            serving = not living.serve(needs) or not await _goes_on(store, living, job.id)
            if serving:
                await _load(store, needs)
        if settings.override_environment and not serving:
            out.say("an engine that is alive goes on with it, by its own rule for environments: set it there")
        async with open_engine(
            settings, out, serve=serving, create=job.create, capabilities=job.capabilities, own=lambda: job.id
        ) as engine:
            if job.id is None:
                job.id = await job.begin(engine)
            standing = await follow_here(engine, job, job.id, serving=serving)
        if standing is not None:
            return standing


async def follow_here(engine: Engine, job: CommandWork, execution_id: str, *, serving: bool) -> Standing | None:
    """Follow it to the end or a wait; None when this is a client and its engine is gone."""
    store = engine.store
    settled = asyncio.ensure_future(store.settled(ids.execution_promise(execution_id), patient=False))
    patience = LOOK_FIRST_S
    try:
        while True:
            change, began = engine.changed(), time.monotonic()
            standing = await stand(store.reads, execution_id)
            resting = not isinstance(standing, GoesOn)
            if job.watcher is not None:
                await job.watcher.look(engine, execution_id, last=resting)
            if isinstance(standing, AwaitsAnswers) and job.ask is not None and await job.ask(engine, standing):
                continue
            if isinstance(standing, GoesOn):
                if serving:
                    await _require_deployment(engine, execution_id)
                    await _require_served(store, execution_id, standing)
                    _require_session(engine, execution_id, standing)
                else:
                    needs = standing.needs | await _capabilities_of(store, standing)
                    living = await served(store)
                    if not living.serve(needs) or not await _goes_on(store, living, execution_id):
                        job.needs |= needs
                        return None
            if resting:
                return standing
            cost = time.monotonic() - began
            either: set[asyncio.Future[Any]] = {settled, change}
            done, _ = await asyncio.wait(either, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            patience = LOOK_FIRST_S if done else min(2 * patience, LOOK_S)
            await asyncio.wait({settled}, timeout=LOOK_COST_FACTOR * cost)
            if settled.done() and isinstance(settled.exception(), StoreError):
                await settled  # nothing can be recorded, or the server is gone
    finally:
        settled.cancel()


async def _load(store: StoreFace, functions: frozenset[str]) -> dict[str, str]:
    from durable.cli.load_target import load_ids

    return await load_ids((name for name in functions - {CELL} if not is_capability(name)), store.reads)


async def _capabilities_of(store: StoreFace, standing: GoesOn) -> frozenset[str]:
    """The capabilities of its session's own, as engines say that they know them."""
    if standing.session is None:
        return frozenset()
    options = (await store.request("session.get", {"session": standing.session})).data.get("options") or {}
    return frozenset(map(capability_id, own_capabilities(options)))


async def _require_served(store: StoreFace, execution_id: str, standing: GoesOn) -> None:
    """Require that what it needs is served here, after loading it if need be, or elsewhere."""
    missing = await _load(store, standing.needs)
    if not missing or (await served(store)).serve(missing):
        return
    reasons = "; ".join(missing.values())
    raise NotServed(
        f"{execution_id} cannot go on: no engine serves {', '.join(missing)}, and it cannot be loaded here: {reasons}. "
        f"Nothing is lost: put it back, then `durable resume {execution_id}`"
    )


async def _goes_on(store: StoreFace, living: ServedFunctions, execution_id: str | None) -> bool:
    """Whether an engine of the deployment that it belongs to is alive."""
    row = None if execution_id is None else await store.reads.get_execution(execution_id)
    return row is None or not row.function or living.go_on_with(row)


async def _require_deployment(engine: Engine, execution_id: str) -> None:
    """Require that an engine of its deployment is alive: this one, or another."""
    row = await engine.store.reads.get_execution(execution_id)
    if row is None or row.deployment == engine.deployment or not row.deployment:
        return
    if row.deployment not in (await served(engine.store)).deployments:
        raise NotServed(
            f"{execution_id} belongs to the deployment {row.deployment}, of which no engine is alive. Nothing is lost: "
            f"start one, or have it go on with other code by `durable deployment move NAME {row.id}`"
        )


def _require_session(engine: Engine, execution_id: str, standing: GoesOn) -> None:
    """Require that its session's capabilities are known here."""
    reason = None if standing.session is None else engine.host.refused.get(standing.session)
    if reason is not None:
        raise NotServed(
            f"{execution_id} cannot go on here, since session {standing.session!r} has more than this engine knows: "
            f"{reason}. Nothing is lost: an engine that is opened with these capabilities goes on with it"
        )
