"""Compaction of contexts: what it keeps whatever the history, and that it fits."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durable.agents import (
    AgentMessage,
    CallPart,
    ClampParts,
    ClearToolResults,
    ContextTooSmall,
    ContextWindow,
    DropRepeatedReads,
    KeyPoints,
    ScriptedSummarizer,
    SlidingWindow,
    Summarize,
    SummaryFailed,
    SummaryRequest,
    TextPart,
    TokenCounter,
    assistant,
    from_openai,
    system,
    to_openai,
    tool,
    user,
    window_of,
)
from durable.agents.conversation import grouped
from durable.core.errors import BadArguments

WORDS = [
    "the",
    "cat",
    "sat",
    "on",
    "a",
    "mat",
    "and",
    "looked",
    "at",
    "an",
    "error:",
    "must",
    "decide.",
    "failed",
    "again\n日本語",
    "",
]


def history(seed: int, size: int) -> list[AgentMessage]:
    """A random history with calls, parallel ones among them, repeated reads, critical texts and large results."""
    chance = random.Random(seed)

    def text(most: int) -> str:
        return " ".join(chance.choice(WORDS) for _ in range(chance.randint(1, most)))

    found, number = [system("You are an agent. " + text(20)), user("The task: " + text(20))], 0
    while len(found) < size:
        roll = chance.random()
        if roll < 0.35:
            calls = []
            for _ in range(chance.choice((1, 1, 1, 2, 4))):
                number += 1
                calls.append(CallPart(f"c{number}", chance.choice(("read", "run")), f'{{"n": {chance.randint(0, 3)}}}'))
            found.append(assistant(text(10) if chance.random() < 0.5 else "", *calls))
            chance.shuffle(calls)
            for call in calls:
                found.append(tool(call, chance.choice(("same content " * 30, text(400), text(30)))))
                if chance.random() < 0.05:
                    found.append(user(text(5)))
        elif roll < 0.7:
            found.append(assistant(text(60)))
        else:
            found.append(user(text(30), critical=chance.random() < 0.03))
    return found


def check(before: list[AgentMessage], after: list[AgentMessage], limit: int) -> None:
    """What every compaction keeps."""
    assert TokenCounter().messages(after) <= limit
    grouped(after)  # no result without its call
    returned = {part.id for message in after for part in message.returns}
    waiting = {call.id for message in before for call in message.calls} - {
        part.id for message in before for part in message.returns
    }
    for message in after:
        for call in message.calls:
            assert call.id in returned or call.id in waiting, "a call lost its result"
    texts = [message.text for message in after]
    for message in before:
        if message.critical or message.role == "system":
            assert message.text in texts, "what has to stay is not there word for word"
    first = next(message for message in before if message.role == "user")
    assert first.text in texts
    assert grouped(after)[-1].messages[-1].role == grouped(before)[-1].messages[-1].role


def fitted(window: ContextWindow, before: list[AgentMessage]) -> tuple[list[AgentMessage], ContextTooSmall | None]:
    """The context, or why there is none."""
    try:
        return asyncio.run(window.fit(before)), None
    except ContextTooSmall as error:
        return [], error


CHAINS = (
    None,
    (ClampParts(), SlidingWindow()),
    (ClearToolResults(keep=1), KeyPoints()),
    (DropRepeatedReads(), Summarize()),
    (),
)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(10, 400), st.integers(0, len(CHAINS) - 1), st.integers(900, 20_000))
def test_a_compacted_context_fits_and_keeps_what_it_has_to(seed: int, size: int, chain: int, limit: int) -> None:
    before = history(seed, size)
    strategies = CHAINS[chain]
    options = {} if strategies is None else {"strategies": strategies}
    summarizer = ScriptedSummarizer(lambda request: f"summary of {len(request.messages)} " + "word " * 40)
    window = ContextWindow(window=limit, threshold=1.0, goal=0.6, summarizer=summarizer, **options)  # type: ignore[arg-type]
    after, error = fitted(window, before)
    if error is not None:
        kept = [each for each in before if each.critical or each.role == "system"]
        assert error.needed > limit
        assert TokenCounter().messages(kept) > limit / 3, "there was room"
        return
    check(before, after, limit)
    again = asyncio.run(window.fit(before))
    assert again == after, "the same messages give the same"
    if TokenCounter().messages(before) <= limit:
        assert after == before, "what fits is left as it is"


def test_five_thousand_messages_fit() -> None:
    before = history(7, 5_000)
    summarizer = ScriptedSummarizer()
    window = ContextWindow(window=32_000, summarizer=summarizer)
    after = asyncio.run(window.fit(before))
    check(before, after, 25_600)
    assert len(summarizer.requests) == 1


def test_a_context_is_summarised_again_and_again() -> None:
    """Each summary holds the one before; the first question stays the first."""
    summarizer = ScriptedSummarizer(lambda request: f"{max(each.level for each in request.messages)} levels below")
    window = ContextWindow(window=2_000, summarizer=summarizer)
    messages = [system("be brief"), user("the task")]
    for turn in range(200):
        messages = asyncio.run(window.fit([*messages, user(f"turn {turn}"), assistant("word " * 200)]))
        assert window.tokens(messages) <= 1_600
    levels = [each.level for each in messages if each.kind == "summary"]
    assert len(levels) == 1, "an older summary is in the newer one"
    assert levels[0] > 5
    assert [each.text for each in messages[:2]] == ["be brief", "the task"]


@pytest.mark.parametrize("strategy", [Summarize(), KeyPoints()])
def test_without_a_model_key_points_take_its_place(strategy: Summarize | KeyPoints) -> None:
    long = "I read the file. It was long. " + "Nothing happened. " * 100 + "Then an error occurred: disk full."
    before = [system("s"), user("task"), *(assistant(f"Step {n}. {long}") for n in range(20)), user("and now?")]
    after = asyncio.run(ContextWindow(window=4_000, strategies=[strategy]).fit(before))
    points = next(each for each in after if each.kind == "key_points")
    assert "assistant: Step 0." in points.text
    assert "error occurred" in points.text


def test_a_summary_that_fails_is_replaced_by_key_points() -> None:
    def fail(request: SummaryRequest) -> str:
        raise SummaryFailed("no model today")

    before = [user("task"), *(assistant("word " * 300) for _ in range(30)), user("go on")]
    after = asyncio.run(ContextWindow(window=4_000, summarizer=ScriptedSummarizer(fail)).fit(before))
    assert [each.kind for each in after].count("key_points") == 1


def test_what_cannot_fit_says_by_how_much() -> None:
    before = [system("x" * 8_000), user("task"), user("go on")]
    with pytest.raises(ContextTooSmall) as error:
        asyncio.run(ContextWindow(window=1_000, threshold=1.0).fit(before))
    assert error.value.limit == 1_000
    assert error.value.needed > 2_000
    assert f"{error.value.needed - 1_000} more than the 1000" in str(error.value)


def test_critical_text_is_cut_by_nothing() -> None:
    before = [
        system("s"),
        user("task"),
        AgentMessage("tool", (TextPart("the key is 4711 " * 100),), critical=True),
        *(assistant("word " * 400) for _ in range(10)),
        user("go on"),
    ]
    after = asyncio.run(ContextWindow(window=3_000).fit(before))
    assert "the key is 4711 " * 100 in [each.text for each in after]


def test_a_call_that_waits_for_its_result_stays() -> None:
    """In flight, with a message of the person after it: the result would be an orphan when it comes."""
    call = CallPart("slow", "run")
    before = [system("s"), user("task"), assistant("", call), *(user("word " * 400) for _ in range(10))]
    after = asyncio.run(ContextWindow(window=3_000).fit(before))
    assert call in [each for message in after for each in message.calls]
    grouped([*after, tool(call, "done")])


def test_a_provider_that_counts_more_is_believed() -> None:
    messages = [system("s"), user("x" * 4_000), assistant("ok", tokens=3_000), user("y" * 400)]
    window = ContextWindow(window=4_000)
    assert window.tokens(messages) == 3_000 + 104
    assert not window.needs_compaction(messages)
    assert window.needs_compaction([*messages, user("z" * 2_000)])
    assert TokenCounter().calibrated(messages).factor == pytest.approx(3_000 / 1_011, rel=0.01)
    bytes_only = ContextWindow(window=4_000, tokenizer=len)
    assert bytes_only.tokens([user("abc")]) == 7


@pytest.mark.parametrize(
    ("model", "tokens"),
    [("gpt-4o", 128_000), ("openai/gpt-4o", 128_000), ("claude-sonnet-4-5", 200_000), ("gemini-9-exotic", 1_000_000)],
)
def test_windows_are_looked_up(model: str, tokens: int) -> None:
    assert window_of(model) == tokens


def test_what_is_wrong_is_said() -> None:
    with pytest.raises(BadArguments, match="give it: ContextWindow"):
        window_of("my-own-model")
    with pytest.raises(BadArguments, match="model= or a window="):
        ContextWindow()
    with pytest.raises(BadArguments, match="goal at most threshold"):
        ContextWindow(window=100, threshold=0.3)
    call = CallPart("1", "read")
    with pytest.raises(BadArguments, match="a result of '1'"):
        grouped([user("x"), tool(call, "y")])
    with pytest.raises(BadArguments, match="waits for its result already"):
        grouped([assistant("", call), assistant("", call)])
    grouped([assistant("", call), tool(call, "a"), assistant("", call), tool(call, "b")])


def test_messages_of_chat_completions_come_and_go() -> None:
    given: list[dict[str, Any]] = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": [{"type": "text", "text": "hello"}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "1", "type": "function", "function": {"name": "read", "arguments": '{"a":1}'}}],
        },
        {"role": "tool", "tool_call_id": "1", "content": "text"},
    ]
    messages = from_openai(given)
    assert messages[2].calls == (CallPart("1", "read", '{"a":1}'),)
    assert messages[3].returns[0].tool == "read"
    assert to_openai(messages) == [given[0], {"role": "user", "content": "hello"}, *given[2:]]
    assert [AgentMessage.decode(each.encode()) for each in messages] == messages
    with pytest.raises(BadArguments):
        from_openai([{"role": "wizard", "content": "x"}])
    with pytest.raises(BadArguments):
        AgentMessage.decode("{}")
