"""An engine for tests: a store of its own, fake time, scripted answers, faked capabilities (specs/testing.md)."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Unpack, override

from durable.core.durations import seconds
from durable.core.errors import BadArguments, Conflict, EngineClosed
from durable.core.events import Event, Observer, StepBegun, log_event
from durable.core.value_codec import ValueCodec
from durable.engine.engine import Engine, EngineOptions
from durable.store.port import StoreFace
from durable.store.target import is_database, is_url
from durable.testing.fake_time import FakeTime
from durable.testing.faked_capability import faked
from durable.testing.scripted_replies import Scripted, ScriptedReplies, Unanswered
from durable.testing.store_under_test import StoreFaults, StoreUnderTest
from durable.testing.time_skipper import TimeSkipper

if TYPE_CHECKING:
    from durable.prompts.open_prompt import OpenPrompt
    from durable.store.sqlite.fault_points import Fault


class EngineUnderTest(Engine):
    """An engine as any other, on a file, whose time is the test's. Made by `durable.testing.open`."""

    def __init__(
        self,
        target: str | os.PathLike[str],
        *,
        time: FakeTime | None,
        script: ScriptedReplies,
        fakes: Mapping[str, Callable[..., Any]],
        fault: Fault | None = None,
        **options: Unpack[EngineOptions],
    ) -> None:
        if is_url(target) or is_database(target):
            raise BadArguments(
                "the test kit's store is a file: give a path, or nothing for one that ends with the test"
            )
        self.events: list[Event] = []
        """What the engine told its observers, in order."""
        self.script = script
        self._time = time
        self._fault = fault
        self._skipper: TimeSkipper | None = None
        given = options.get("observer", log_event)
        observers: list[Observer] = [given] if callable(given) else [*given]
        options["observer"] = [*observers, self.events.append]
        options["capabilities"] = faked(fakes, options.get("capabilities", ()))
        options.setdefault("durability", "process")
        super().__init__(target, **options)

    @override
    async def open(self) -> EngineUnderTest:
        if self._time is not None:
            self._time.enter(self, self._time_moved)
        try:
            await super().open()
        except BaseException:
            if self._time is not None:
                self._time.leave(self)
            raise
        if self._time is not None:
            self._skipper = TimeSkipper(self)
        return self

    @override
    async def _open_store(self) -> StoreFace:
        options = {name: value for name, value in self._options.items() if name not in ("token", "codec")}
        store = await StoreUnderTest.open(self._target, observer=self._observer, fault=self._fault, **options)
        store.codec = self._options["codec"] or ValueCodec.from_environment()
        return store

    @override
    async def close(self) -> None:
        if self._skipper is not None:
            await self._skipper.close()
            self._skipper = None
        try:
            await super().close()
        finally:
            if self._time is not None:
                self._time.leave(self)

    def _time_moved(self) -> None:
        """Timers are the store's: let it look at them."""
        if self.is_open:
            self.store.post("engine.list", {}).add_done_callback(lambda answer: answer.exception())
            self._changes.tell()
            self._prompt_changes.tell()

    @property
    def is_left(self) -> bool:
        """Whether its loop ended without closing it."""
        return self._store is not None and self.tested_store.loop_ended

    @property
    def is_open(self) -> bool:
        """Whether it is open now."""
        return self._store is not None and not self._closing and not self.tested_store.loop_ended

    @property
    def tested_store(self) -> StoreUnderTest:
        """The store, as what it is here."""
        store = self.store
        assert isinstance(store, StoreUnderTest)
        return store

    @property
    def faults(self) -> StoreFaults:
        """Faults of the store that this engine is to meet."""
        return self.tested_store.faults

    @property
    def time(self) -> FakeTime:
        """The fake time: what it is, how much has passed. Conflict where the engine runs in real time."""
        if self._time is None:
            raise Conflict("this engine was opened with real_time=True")
        return self._time

    @property
    def is_calm(self) -> bool:
        """Whether nothing goes on in it: no request is under way, and what runs only waits for time to pass."""
        store = self.tested_store
        return store.under_way == 0 and not store.searching and self.running <= self.time.sleeping

    @property
    def steps_run(self) -> list[str]:
        """The names of the steps that this engine ran, in the order in which they were begun; each try counts."""
        return [each.name for each in self.events if isinstance(each, StepBegun) and not each.nested]

    async def advance(self, duration: float | timedelta) -> None:
        """Let fake time pass, in seconds or a timedelta: timers end, scripted answers come, until all is idle again."""
        await self._running_skipper.advance(self.time.now_ms() + int((seconds(duration) or 0.0) * 1000))

    async def until_idle(self) -> None:
        """Return when nothing goes on any more: all that was begun has ended, or waits for time or for people."""
        await self._running_skipper.until_idle()

    @property
    def _running_skipper(self) -> TimeSkipper:
        if self._skipper is None:
            if self._time is None:
                raise Conflict("this engine was opened with real_time=True")
            raise EngineClosed("the engine is not open; use `async with durable.testing.open(...) as engine`")
        return self._skipper


def open(
    target: str | os.PathLike[str] = ":memory:",
    *,
    time: FakeTime | datetime | None = None,
    real_time: bool = False,
    answers: Mapping[str, Scripted] | Callable[[OpenPrompt], Scripted] | None = None,
    signals: Mapping[str, Scripted] | None = None,
    promises: Scripted = Unanswered,
    fakes: Mapping[str, Callable[..., Any]] | None = None,
    fault: Fault | None = None,
    **options: Unpack[EngineOptions],
) -> EngineUnderTest:
    """An engine for a test, on a store that ends with it, or on a file that stays. Use `async with`.

    Whoever waits for a result lets fake time skip to the next timer; Stuck is raised there when no timer is left. time:
    that of another engine (engines on one store share it), or when it begins. real_time: none of this; for tests of
    what goes on outside of the engine. answers: by a question's text, id or pattern (`"Ship *"`), or a callable that
    takes an OpenPrompt. signals: by name. promises: for each that a function makes. Values may be Reply, InTurn,
    Unanswered. fakes: functions in place of capabilities, by name (`"fetch"`, `"kv.get"`). fault: called
    on the store's thread before and after each statement that writes. options: of `durable.open`.
    """
    if real_time and time is not None:
        raise BadArguments("real_time=True leaves nothing for time=")
    chosen = None if real_time else time if isinstance(time, FakeTime) else FakeTime(*([time] if time else []))
    script = ScriptedReplies(answers or {}, signals or {}, Unanswered() if promises is Unanswered else promises)
    return EngineUnderTest(target, time=chosen, script=script, fakes=fakes or {}, fault=fault, **options)
