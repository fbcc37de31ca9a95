"""The questions that are settled, the newest first, with how and by whom (specs/prompt.md, State of a question)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from capabilities.prompts.states import PromptState, promise_states_of, state_of
from durable.core import ids
from durable.store.rows import PromiseRow, PromptRow

if TYPE_CHECKING:
    from capabilities.prompts.prompt import Settlement
    from durable.store.page_reads import PageReads

READ_ROWS_MAX = 2_000
"""Questions that are looked at for one page, where not all of them belong into it."""

type Place = tuple[int, str]
"""When a question was settled (ms), and its id: its place in the list."""


@dataclass(frozen=True, slots=True)
class SettledPrompt:
    """A question, what became of it, and what was answered; `settlement` is empty where nobody answered."""

    row: PromptRow
    state: PromptState
    settlement: Settlement
    settled_at: int | None

    @staticmethod
    def of(promise: PromiseRow) -> SettledPrompt:
        """The question of a promise, which may be open, too."""
        from capabilities.prompts.prompt import Settlement

        answer = promise.value if promise.state == "resolved" else None
        settlement = Settlement() if answer is None else Settlement.from_record(answer)
        state = state_of(promise.state, declined=settlement.declined)
        execution = promise.id.removeprefix(ids.PREFIX).partition(":")[0]
        asked = (promise.param, promise.tags, promise.created_at, promise.timeout_at)
        return SettledPrompt(PromptRow(promise.id, execution, *asked), state, settlement, promise.settled_at)


class SettledPage(NamedTuple):
    """A page of settled questions, and the place behind which the next one begins; None on the last."""

    prompts: list[SettledPrompt]
    next: Place | None


async def settled_page(
    reads: PageReads,
    state: PromptState | None,
    before: Place | None,
    limit: int,
    fits: Callable[[SettledPrompt], bool] = lambda _: True,
) -> SettledPage:
    """Up to `limit` settled questions behind a place, those in one state or all, that `fits` takes.

    READ_ROWS_MAX are looked at, so that a page may have fewer, or none, and still a next one.
    """
    ends = [each for each in PromptState if each is not PromptState.OPEN] if state is None else [state]
    promises = sorted({promise for each in ends for promise in promise_states_of(each)})
    found, place, looked_at = list[SettledPrompt](), before, 0
    while True:
        rows = await reads.settled_prompts_page(promises, place, limit)
        looked_at += len(rows)
        for row in rows:
            prompt, place = SettledPrompt.of(row), (row.settled_at or 0, row.id)
            if prompt.state in ends and fits(prompt):
                found.append(prompt)
            if len(found) == limit:
                return SettledPage(found, place)
        if len(rows) < limit:
            return SettledPage(found, None)
        if looked_at >= READ_ROWS_MAX:
            return SettledPage(found, place)


async def settled_under(reads: PageReads, execution: str, state: PromptState | None) -> list[SettledPrompt]:
    """All settled questions of an execution and of what is under it, the newest first."""
    found, after = list[SettledPrompt](), ""
    while True:
        rows = await reads.children_page(execution, after, READ_ROWS_MAX)
        for row in rows:
            if row.settled_at is not None and row.tags.get("durable:capability") == "input":
                prompt = SettledPrompt.of(row)
                found += [prompt] if state in (None, prompt.state) else []
        if len(rows) < READ_ROWS_MAX:
            return sorted(found, key=lambda prompt: (prompt.settled_at or 0, prompt.row.id), reverse=True)
        after = rows[-1].id
