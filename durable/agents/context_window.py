"""A context that is kept below a model's window: checked before each request, compacted when it is time."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from capabilities.capability import call_id
from durable.agents.compaction import (
    DEFAULT_STRATEGIES,
    Budget,
    Compacted,
    CompactionStrategy,
    compaction,
)
from durable.agents.context_chain import ContextChain
from durable.agents.conversation import AgentMessage
from durable.agents.summarizer import Summarizer, SummaryRequest
from durable.agents.token_count import TokenCounter, Tokenizer, estimated, window_of
from durable.core.errors import BadArguments, DurableError, ExecutionError
from durable.core.limits import CONTEXT_GOAL_FACTOR, CONTEXT_THRESHOLD_FACTOR
from durable.functions.definition import Retry

if TYPE_CHECKING:
    from durable.functions.context import Context

logger = logging.getLogger("durable.agents")


@dataclass(frozen=True, slots=True)
class ContextWindow:
    """Keeps messages below a part of a model's window.

    model, window: the window is looked up by the model's name, unless it is given in tokens. threshold: the part of it
    that is used; the rest is for the answer. goal: the part to which it is compacted. strategies: in the order in which
    they are tried. summarizer: None for key points. tokenizer: None estimates. name: of this context, where one
    execution has several. retry: of a summary in a durable function. BadArguments.
    """

    model: str = ""
    window: int | None = None
    threshold: float = CONTEXT_THRESHOLD_FACTOR
    goal: float = CONTEXT_GOAL_FACTOR
    strategies: Sequence[CompactionStrategy] = DEFAULT_STRATEGIES
    summarizer: Summarizer | None = None
    tokenizer: Tokenizer = estimated
    name: str = "main"
    retry: Retry = field(default_factory=lambda: Retry(max_retries=3))

    def __post_init__(self) -> None:
        if not 0 < self.goal <= self.threshold <= 1:
            raise BadArguments(
                f"of a window goal= and threshold= are parts, goal at most threshold: {self.goal:g}, {self.threshold:g}"
            )
        if self.window is None and not self.model:
            raise BadArguments("a context window has a model= or a window= in tokens")
        if self.window is not None and self.window < 1:
            raise BadArguments(f"a window has at least one token, not {self.window}")

    @property
    def limit(self) -> int:
        """The tokens that a context may have. BadArguments for a model that nobody knows."""
        return int((self.window or window_of(self.model)) * self.threshold)

    def tokens(self, messages: Sequence[AgentMessage]) -> int:
        """The tokens of a context, by what was reported last."""
        return TokenCounter(self.tokenizer).context(messages)

    def needs_compaction(self, messages: Sequence[AgentMessage]) -> bool:
        """Whether it is time."""
        return self.tokens(messages) > self.limit

    async def fit(self, messages: Iterable[AgentMessage], *, force: bool = False) -> list[AgentMessage]:
        """The messages, compacted if it is time, or if `force` says so. Nothing of it is recorded.

        A summary that cannot be had is replaced by key points. ContextTooSmall, BadArguments.
        """
        given = list(messages)
        if not force and not self.needs_compaction(given):
            return given
        return list((await self._run(given, _undurably(self.summarizer))).messages)

    async def fit_in(
        self, ctx: Context, messages: Iterable[AgentMessage], *, force: bool = False
    ) -> list[AgentMessage]:
        """The same in a durable function: a summary is a step, asked of a model once, and each stage is kept.

        `durable context ID` shows the stages. ContextTooSmall, BadArguments.
        """
        given = list(messages)
        window = self if self.window is not None else await self.recorded(ctx)
        if not force and not window.needs_compaction(given):
            return given

        async def ask(request: SummaryRequest) -> str | None:
            if window.summarizer is None:
                return None
            summarizer = window.summarizer

            async def summarize(_: str) -> str:
                return await summarizer.summarize(request)

            try:
                return await ctx.options(name="summarize", retry=window.retry).run(summarize, request.digest())
            except ExecutionError as error:
                ctx.log("no summary, key points take its place: %s", error, level=logging.WARNING)
                return None

        compacted = await window._run(given, ask)
        chain = ContextChain(ctx.store, ctx.id)

        async def keep_stage() -> str:
            return await chain.keep(call_id(), window.name, given, compacted, window.limit)

        await ctx.options(name="context_stage").run(keep_stage)
        how = ", ".join(compacted.strategies)
        ctx.log("context %s compacted from %d to %d tokens: %s", window.name, compacted.before, compacted.after, how)
        return list(compacted.messages)

    async def recorded(self, ctx: Context) -> ContextWindow:
        """The same with the window that the model has now, which stays what it is while the function goes on."""

        async def context_window() -> int:
            return self.window or window_of(self.model)

        return replace(self, window=await ctx.run(context_window))

    async def _run(self, messages: list[AgentMessage], ask: Ask) -> Compacted:
        counter = TokenCounter(self.tokenizer).calibrated(messages)
        limit = self.limit
        budget = Budget(limit, max(int(limit * self.goal / self.threshold), 1), counter)
        work = compaction(messages, budget, self.strategies)
        try:
            request = next(work)
            while True:
                request = work.send(await ask(request))
        except StopIteration as done:
            found: Compacted = done.value
            return found


type Ask = Callable[[SummaryRequest], Awaitable[str | None]]
"""Has a summary written; None where there is none."""


def _undurably(summarizer: Summarizer | None) -> Ask:
    async def ask(request: SummaryRequest) -> str | None:
        if summarizer is None:
            return None
        try:
            return await summarizer.summarize(request)
        except DurableError as error:
            logger.warning("no summary, key points take its place: %s", error)
            return None

    return ask
