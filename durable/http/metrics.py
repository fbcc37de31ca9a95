"""`/metrics`: what an operator watches of a served store, read from it at each scrape (specs/telemetry.md, M1-M7)."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from importlib.metadata import version

from durable.core.clock import Clock, now_ms
from durable.core.events import Event, Life, Observer
from durable.store.direct_store import DirectStore
from durable.store.rows import QueueRow, StoreFigures
from durable.telemetry.prometheus_text import Metric, text_of

FIGURES_AGAIN_S = 5.0
"""How long the store's figures are taken for new: several scrapers, or one in a hurry, cost one look."""

FIGURES_COST_FACTOR = 20
"""Between two looks passes at least this many times what a look took: a large store's other readers have the rest."""

FUNCTIONS_MAX = 1_000
"""Functions that have samples of their own, those with most executions; the others are counted as `other`."""


QUEUES_MAX = 500
"""Queues that have samples of their own."""


class ServerMetrics:
    """The metrics of one server. It is an observer, too: what happens in this process is counted by name."""

    def __init__(self, store: DirectStore, observer: Observer, clock: Clock = now_ms) -> None:
        self._store = store
        self._observer = observer
        self._clock = clock
        self._began = clock()
        self._events: Counter[str] = Counter()
        self._answered: Counter[int] = Counter()
        self._order = asyncio.Lock()
        self._figures: StoreFigures | None = None
        self._queues: list[QueueRow] = []
        self._again_at = self._latency = 0.0

    def __call__(self, event: Event) -> None:
        if not isinstance(event, Life):
            self._events[type(event).__name__] += 1
        self._observer(event)

    def answered(self, status: int) -> None:
        """Count a request by the status that it was answered with."""
        self._answered[status] += 1

    async def figures(self) -> tuple[StoreFigures, int]:
        """The store's figures, looked at anew where that is due, and the time (ms since the epoch). StoreError."""
        async with self._order:
            if self._figures is None or time.monotonic() > self._again_at:
                began = time.monotonic()
                await self._store.request("engine.list", {})
                self._latency = time.monotonic() - began
                self._figures = await self._store.reads.figures(now=self._clock())
                self._queues = await self._store.reads.queues()
                now = time.monotonic()
                self._again_at = now + max(FIGURES_AGAIN_S, FIGURES_COST_FACTOR * (now - began))
            return self._figures, self._clock()

    async def page(self) -> str:
        """The text that is scraped. Raises StoreError."""
        figures, _ = await self.figures()
        return text_of([*self._of_store(figures), *self._of_queues(), *self._of_server()])

    def _of_store(self, figures: StoreFigures) -> list[Metric]:
        executions = Metric("durable_executions", "gauge", "Executions in the store, by function and state.")
        for (function, state), count in sorted(by_function(figures.executions).items()):
            executions.add(count, function=function, state=state)
        age = max(0, self._clock() - figures.queue_oldest) / 1000 if figures.queue_oldest else 0.0
        waits = max(0, self._clock() - figures.prompts_oldest) / 1000 if figures.prompts_oldest else 0.0
        named = (
            ("durable_queue_depth", "Executions that are due and that no engine has taken.", figures.queue_depth),
            ("durable_queue_age_seconds", "How long the oldest of them has been due.", age),
            ("durable_leases", "Executions that an engine holds now.", figures.leases),
            ("durable_prompts_open", "Questions that wait for a person.", figures.prompts),
            ("durable_prompts_age_seconds", "How long the oldest of them has waited.", waits),
            ("durable_sessions", "Sessions that are not closed.", figures.sessions),
            ("durable_workers", "Sessions that have a worker process.", figures.workers),
            ("durable_checkpoints", "Checkpoints that are kept.", figures.checkpoints),
            ("durable_schedules", "Schedules.", figures.schedules),
            ("durable_store_latency_seconds", "A request to the store and back, at this scrape.", self._latency),
        )
        engines = Metric("durable_engines", "gauge", "Engines that joined, by whether they live.")
        living = sum(self._store.engine_alive(each) for each in figures.engines)
        engines.add(living, alive="true").add(len(figures.engines) - living, alive="false")
        return [executions, engines, *(Metric(name, "gauge", told).add(value) for name, told, value in named)]

    def _of_queues(self) -> list[Metric]:
        """Each queue as the last look found it; of those beyond QUEUES_MAX, by name, the sum as `other`."""
        executions = Metric("durable_queue_executions", "gauge", "Executions of a queue, by state.")
        oldest = Metric("durable_queue_oldest_seconds", "gauge", "How long the first in a queue's lines has waited.")
        started = Metric("durable_queue_started_total", "counter", "Executions that a queue has let begin.")
        shown, rest = self._queues[:QUEUES_MAX], self._queues[QUEUES_MAX:]
        for name, rows in (*((row.name, [row]) for row in shown), *((("other", rest),) if rest else ())):
            for state in ("delayed", "waiting", "running"):
                executions.add(sum(getattr(row, state) for row in rows), queue=name, state=state)
            since = min((row.oldest_at for row in rows if row.oldest_at is not None), default=None)
            oldest.add(0 if since is None else max(0, self._clock() - since) / 1000, queue=name)
            started.add(sum(row.started for row in rows), queue=name)
        return [executions, oldest, started]

    def _of_server(self) -> list[Metric]:
        events = Metric("durable_events_total", "counter", "Events of what went wrong in this server, by name.")
        for name, count in sorted(self._events.items()):
            events.add(count, event=name)
        answered = Metric("durable_http_responses_total", "counter", "Requests answered, by status.")
        for status, count in sorted(self._answered.items()):
            answered.add(count, status=str(status))
        info = Metric("durable_build_info", "gauge", "The version that serves.").add(1, version=version("durable-exec"))
        up = Metric("durable_uptime_seconds", "gauge", "How long it has served.")
        up.add((self._clock() - self._began) / 1000)
        size = Metric("durable_store_bytes", "gauge", "The store's file and its log; none for a database.")
        if self._store.file is not None:
            size.add(sum(_size(f"{self._store.path}{suffix}") for suffix in ("", "-wal")))
        return [events, answered, info, up, size]


def by_function(executions: tuple[tuple[str, str, int], ...]) -> Counter[tuple[str, str]]:
    """Counts by a function's name without its version, and state. Cells of sessions are one function."""
    found: Counter[tuple[str, str]] = Counter()
    for function, state, count in executions:
        found[function.rpartition("@")[0] or function, state] += count
    totals: Counter[str] = Counter()
    for (function, _), count in found.items():
        totals[function] += count
    if len(totals) <= FUNCTIONS_MAX:
        return found
    shown = {function for function, _ in totals.most_common(FUNCTIONS_MAX)}
    merged: Counter[tuple[str, str]] = Counter()
    for (function, state), count in found.items():
        merged[function if function in shown else "other", state] += count
    return merged


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
