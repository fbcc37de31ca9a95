"""Making a context smaller, by strategies from cheap to dear, until it fits. No I/O: summaries are asked of the caller.

The same messages, budget, strategies and summaries give the same messages (specs/agents.md, C1-C7).
"""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import msgspec

from durable.agents.conversation import (
    AgentMessage,
    CallPart,
    MessageGroup,
    MessagePart,
    ReturnPart,
    TextPart,
    grouped,
)
from durable.agents.summarizer import INSTRUCTIONS, SummaryRequest, names_of
from durable.agents.token_count import TokenCounter
from durable.core.errors import DurableError

type Asking = Generator[SummaryRequest, str | None, list[AgentMessage]]
"""A strategy at work: it yields what it wants summarised, and is sent the summary, or None where there is none."""


class ContextTooSmall(DurableError):
    """The part that has to stay is more than fits: instructions, the first question, the last turn, what is critical.

    needed, limit: tokens.
    """

    code = "CONTEXT_TOO_SMALL"

    def __init__(self, needed: int, limit: int) -> None:
        super().__init__(
            f"what has to stay has {needed} tokens, {needed - limit} more than the {limit} that fit; mark less as "
            "critical, shorten the instructions, or take a model with a larger window"
        )
        self.needed = needed
        self.limit = limit


@dataclass(frozen=True, slots=True)
class Budget:
    """How large a context may be, and how large it is made, in tokens. A smaller goal compacts less often."""

    limit: int
    goal: int
    counter: TokenCounter

    def over(self, messages: Sequence[AgentMessage]) -> bool:
        """Whether messages are more than the goal."""
        return self.counter.messages(messages) > self.goal


@dataclass(frozen=True, slots=True)
class Compacted:
    """A compaction: the messages, which strategies changed something, tokens before and after, summaries asked for."""

    messages: tuple[AgentMessage, ...]
    strategies: tuple[str, ...]
    before: int
    after: int
    summaries: int = 0


class CompactionStrategy(Protocol):
    """One way to make a context smaller. It keeps what is pinned, and calls together with their results."""

    @property
    def name(self) -> str: ...
    def apply(self, messages: list[AgentMessage], budget: Budget) -> Asking: ...


def protected(messages: Sequence[AgentMessage]) -> set[int]:
    """The places of messages that stay word for word: of the system, the first of the person, the critical ones."""
    first = next((place for place, each in enumerate(messages) if each.role == "user" and each.kind == "message"), -1)
    return {place for place, each in enumerate(messages) if each.critical or each.role == "system"} | {first}


def droppable(messages: Sequence[AgentMessage], keep_last: int = 1) -> list[MessageGroup]:
    """The groups that may go, oldest first: none that holds what stays, nor one of the last."""
    stays, groups = protected(messages), grouped(messages)
    middle = groups[: len(groups) - keep_last]
    return [
        group
        for group in middle
        if not group.pinned and stays.isdisjoint(range(group.start, group.start + len(group.messages)))
    ]


def without(messages: Sequence[AgentMessage], groups: Sequence[MessageGroup]) -> list[AgentMessage]:
    """The messages that are in none of these groups."""
    gone = {place for group in groups for place in range(group.start, group.start + len(group.messages))}
    return [each for place, each in enumerate(messages) if place not in gone]


def cut(text: str, chars: int) -> str:
    """A text of at most so many characters, with its beginning and its end."""
    if len(text) <= chars:
        return text
    mark = f"\n[… {len(text) - chars} of {len(text)} characters left out …]\n"
    if chars <= len(mark) + 8:
        return f"[{len(text)} characters left out]"[: max(chars, 0)]
    head = (chars - len(mark)) * 2 // 3
    return f"{text[:head]}{mark}{text[head + len(mark) - chars :]}"


@dataclass(frozen=True, slots=True)
class ClampParts:
    """Cut texts and results that are larger than a share of the limit."""

    share: float = 0.1
    name: str = "clamp_parts"

    def apply(self, messages: list[AgentMessage], budget: Budget) -> Asking:
        """Cut what is too large."""
        yield from ()
        chars = max(int(budget.limit * self.share * 3), 200)
        return _clamped(messages, chars)


def _clamped(messages: Sequence[AgentMessage], chars: int) -> list[AgentMessage]:
    stays = protected(messages)
    return [each if place in stays else _clamped_message(each, chars) for place, each in enumerate(messages)]


def _clamped_message(message: AgentMessage, chars: int) -> AgentMessage:
    parts = tuple(_clamped_part(part, chars) for part in message.parts)
    return message if parts == message.parts else message.with_parts(parts)


def _clamped_part(part: MessagePart, chars: int) -> MessagePart:
    if isinstance(part, CallPart):
        if len(part.arguments) <= chars:
            return part
        return msgspec.structs.replace(
            part, arguments=msgspec.json.encode({"cut": cut(part.arguments, chars)}).decode()
        )
    return part if len(part.text) <= chars else msgspec.structs.replace(part, text=cut(part.text, chars))


@dataclass(frozen=True, slots=True)
class DropRepeatedReads:
    """Of equal calls with equal results keep the last result: the others say that it comes later."""

    name: str = "drop_repeated_reads"

    def apply(self, messages: list[AgentMessage], budget: Budget) -> Asking:  # noqa: ARG002
        """Replace the earlier results."""
        yield from ()
        stays, arguments = protected(messages), dict[str, str]()
        seen: dict[tuple[str, str, str], tuple[int, int]] = {}
        found = list(messages)
        for place, message in enumerate(messages):
            arguments |= {call.id: call.arguments for call in message.calls}
            for number, part in enumerate(message.parts):
                if not isinstance(part, ReturnPart) or len(part.text) < _SMALL_CHARS:
                    continue
                key = (part.tool, arguments.get(part.id, ""), part.text)
                if key in seen and seen[key][0] not in stays:
                    _replace(found, *seen[key], "[the same result comes later]")
                seen[key] = (place, number)
        return found


_SMALL_CHARS = 80
"""Of a result that is not worth replacing."""


def _replace(messages: list[AgentMessage], place: int, number: int, text: str) -> None:
    parts = list(messages[place].parts)
    part = parts[number]
    assert isinstance(part, ReturnPart)
    parts[number] = msgspec.structs.replace(part, text=text)
    messages[place] = messages[place].with_parts(parts)


@dataclass(frozen=True, slots=True)
class ClearToolResults:
    """Take the text out of old results, but the last few."""

    keep: int = 3
    name: str = "clear_tool_results"

    def apply(self, messages: list[AgentMessage], budget: Budget) -> Asking:
        """Clear one after another, oldest first, until the goal is reached."""
        yield from ()
        stays, found = protected(messages), list(messages)
        places = [
            (place, number, part)
            for place, message in enumerate(messages)
            for number, part in enumerate(message.parts)
            if isinstance(part, ReturnPart)
        ]
        tokens = budget.counter.messages(found)
        for place, number, part in places[: max(len(places) - self.keep, 0)]:
            if tokens <= budget.goal:
                break
            if place not in stays and len(part.text) >= _SMALL_CHARS:
                before = budget.counter.message(found[place])
                _replace(found, place, number, f"[a result of {len(part.text)} characters, cleared]")
                tokens += budget.counter.message(found[place]) - before
        return found


@dataclass(frozen=True, slots=True)
class SlidingWindow:
    """Leave out the oldest groups until the goal is reached. keep_last: groups at the end that stay."""

    keep_last: int = 1
    name: str = "sliding_window"

    def apply(self, messages: list[AgentMessage], budget: Budget) -> Asking:
        """Leave out as few as are needed."""
        yield from ()
        return without(messages, _oldest(messages, budget, self.keep_last, 0))


def _oldest(messages: list[AgentMessage], budget: Budget, keep_last: int, room: int) -> list[MessageGroup]:
    """The oldest groups without which the rest has `room` tokens below the goal."""
    over, gone = budget.counter.messages(messages) + room - budget.goal, list[MessageGroup]()
    for group in droppable(messages, keep_last):
        if over <= 0:
            break
        gone.append(group)
        over -= budget.counter.messages(group.messages)
    return gone


@dataclass(frozen=True, slots=True)
class Summarize:
    """Put one summary in the place of the oldest groups. prompt: with `{words}` for its length.

    Without a summary, since there is no model or it failed, key points take its place.
    """

    share: float = 0.1
    """Of the limit that a summary may have."""
    keep_last: int = 3
    prompt: str = INSTRUCTIONS
    name: str = "summarize"

    def apply(self, messages: list[AgentMessage], budget: Budget) -> Asking:
        """Ask for one summary, where something is to be summarised."""
        tokens_max = max(int(budget.limit * self.share), 50)
        gone = _oldest(messages, budget, self.keep_last, tokens_max) if budget.over(messages) else []
        if not gone:
            return messages
        old = tuple(message for group in gone for message in group.messages)
        text = yield SummaryRequest(old, self.prompt, tokens_max)
        level = 1 + max((message.level for message in old), default=0)
        if text is None:
            made = AgentMessage("user", (TextPart(key_points(old, tokens_max * 3)),), kind="key_points", level=level)
        else:
            said = f"[Summary of what came before]\n{cut(text, tokens_max * 4)}"
            made = AgentMessage("user", (TextPart(said),), kind="summary", level=level)
        found = without(messages, gone)
        first = sum(1 for place in range(gone[0].start) if place not in _places(gone))
        return [*found[:first], made, *found[first:]]


def _places(groups: Sequence[MessageGroup]) -> set[int]:
    return {place for group in groups for place in range(group.start, group.start + len(group.messages))}


@dataclass(frozen=True, slots=True)
class KeyPoints:
    """Put the key points of the oldest groups in their place: first sentences, tools, errors. Needs no model."""

    share: float = 0.05
    keep_last: int = 3
    name: str = "key_points"

    def apply(self, messages: list[AgentMessage], budget: Budget) -> Asking:
        """Make the list of points."""
        work = replace(Summarize(share=self.share, keep_last=self.keep_last)).apply(messages, budget)
        try:
            next(work)
            work.send(None)
        except StopIteration as done:
            found: list[AgentMessage] = done.value
            return found
        yield from ()
        raise AssertionError("one summary is asked for at most")


_SENTENCE = re.compile(r"[^.!?\n]{3,200}[.!?]?")
_TELLING = re.compile(r"error|fail|exception|decid|must|never|always|todo|important", re.IGNORECASE)


def key_points(messages: Sequence[AgentMessage], chars: int) -> str:
    """Points that can be made without a model: of each message its first sentence, and those that tell of trouble."""
    tools = names_of(messages)
    lines = ["[Key points of what came before]"]
    if tools:
        lines.append(f"- tools used: {', '.join(tools)}"[:500])
    for message in messages:
        if message.kind != "message":
            lines += message.text.splitlines()[1:]
            continue
        sentences = [found.group().strip() for found in _SENTENCE.finditer(message.text[:20_000])]
        telling = [each for each in sentences[1:] if _TELLING.search(each)][:2]
        lines += [f"- {message.role}: {each}" for each in (*sentences[:1], *telling)]
    return cut("\n".join(lines), max(chars, 100))


DEFAULT_STRATEGIES: tuple[CompactionStrategy, ...] = (
    ClampParts(),
    DropRepeatedReads(),
    ClearToolResults(),
    Summarize(),
    SlidingWindow(),
)
"""From cheap to dear; the last one always reaches the goal, as far as what may go is enough."""


def compaction(
    messages: Sequence[AgentMessage], budget: Budget, strategies: Sequence[CompactionStrategy]
) -> Generator[SummaryRequest, str | None, Compacted]:
    """Apply strategies until the goal is reached. Yields what is to be summarised, and is sent the text or None.

    ContextTooSmall, BadArguments.
    """
    grouped(messages)
    found = [msgspec.structs.replace(each, tokens=None) for each in messages]
    before, used, summaries = budget.counter.messages(found), list[str](), 0
    for strategy in strategies:
        if not budget.over(found):
            break
        work, text = strategy.apply(found, budget), None
        try:
            request = next(work)
            while True:
                summaries += 1
                text = yield request
                request = work.send(text)
        except StopIteration as done:
            changed: list[AgentMessage] = done.value
        if changed != found:
            used.append(strategy.name)
        found = changed
    found, squeezed = squeeze(found, budget)
    after = budget.counter.messages(found)
    assert after <= budget.limit, "a compaction fits or raises"
    return Compacted(tuple(found), (*used, *(["squeeze"] if squeezed else [])), before, after, summaries)


def squeeze(messages: list[AgentMessage], budget: Budget) -> tuple[list[AgentMessage], bool]:
    """The last resort, where what is left is over the limit: leave out what may go, then cut what may be cut.

    ContextTooSmall where what has to stay word for word is too much.
    """
    counter, squeezed = budget.counter, False
    if counter.messages(messages) > budget.limit:
        smaller = Budget(budget.limit, budget.limit, counter)
        gone = _oldest(messages, smaller, 1, 0)
        messages, squeezed = without(messages, gone), True
    chars = max((len(each.text) for each in messages), default=0)
    while counter.messages(messages) > budget.limit and chars > 0:
        chars = chars // 2 if chars > 40 else 0
        messages = _clamped(messages, chars)
    needed = counter.messages(messages)
    if needed > budget.limit:
        raise ContextTooSmall(needed, budget.limit)
    return messages, squeezed
