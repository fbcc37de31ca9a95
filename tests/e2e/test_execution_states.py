"""The words of a store for an execution are those of the table (specs/execution.md, States)."""

from __future__ import annotations

from pathlib import Path

import durable
from durable.executions.states import ExecutionEvent, ExecutionState, step
from tests.waiting import first_prompt, in_state


@durable.function
async def asks(ctx: durable.Context) -> str:
    answer: str = await ctx.ask("Which?")
    return answer


class Followed:
    """An execution, and the state that the table has for it."""

    def __init__(self, engine: durable.Engine, execution: durable.Execution[str]) -> None:
        self.engine = engine
        self.execution = execution
        self.state = ExecutionState.PENDING

    async def came(self, *events: ExecutionEvent) -> None:
        """These events came: the store has the word of the state that they lead to."""
        for event in events:
            self.state = step(self.state, event)
        await in_state(self.engine, self.execution, self.state.value)


async def test_an_execution_goes_through_the_states_of_the_table(tmp_path: Path) -> None:
    event = ExecutionEvent
    async with durable.open(tmp_path / "work.db", serve=False) as engine:
        followed = Followed(engine, await engine.start(asks, id="one"))
        await followed.came()
        await engine.interrupt("one")
        await followed.came(event.HALT)
        await engine.resume("one")
        await followed.came(event.RESUME_FIRST)
    async with durable.open(tmp_path / "work.db") as engine:
        followed.engine, followed.execution = engine, await engine.start(asks, id="one")
        await followed.came(event.ACQUIRE, event.SUSPEND)
        await engine.interrupt("one")
        await followed.came(event.HALT)
        await engine.resume("one")
        await followed.came(event.RESUME, event.ACQUIRE, event.SUSPEND)
        await engine.answer((await first_prompt(engine)).id, "this")
        assert await followed.execution.result() == "this"
        await followed.came(event.WAKE, event.ACQUIRE, event.RESOLVE)
        cancelled = Followed(engine, await engine.start(asks, id="two"))
        await cancelled.came(event.ACQUIRE, event.SUSPEND)
        await cancelled.execution.cancel(grace=5)
        await cancelled.came(event.CANCEL)
