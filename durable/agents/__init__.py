"""Agents whose context stays below their model's window, by a chain of compactions that is kept (specs/agents.md)."""

from durable.agents.compaction import (
    Budget,
    ClampParts,
    ClearToolResults,
    Compacted,
    CompactionStrategy,
    ContextTooSmall,
    DropRepeatedReads,
    KeyPoints,
    SlidingWindow,
    Summarize,
)
from durable.agents.context_chain import ContextChain, ContextStage
from durable.agents.context_window import ContextWindow
from durable.agents.conversation import (
    AgentMessage,
    CallPart,
    ReturnPart,
    TextPart,
    assistant,
    from_openai,
    system,
    to_openai,
    tool,
    user,
)
from durable.agents.summarizer import (
    HttpSummarizer,
    ScriptedSummarizer,
    Summarizer,
    SummaryFailed,
    SummaryRequest,
)
from durable.agents.token_count import TokenCounter, window_of

__all__ = [
    "AgentMessage",
    "Budget",
    "CallPart",
    "ClampParts",
    "ClearToolResults",
    "Compacted",
    "CompactionStrategy",
    "ContextChain",
    "ContextStage",
    "ContextTooSmall",
    "ContextWindow",
    "DropRepeatedReads",
    "HttpSummarizer",
    "KeyPoints",
    "ReturnPart",
    "ScriptedSummarizer",
    "SlidingWindow",
    "Summarize",
    "Summarizer",
    "SummaryFailed",
    "SummaryRequest",
    "TextPart",
    "TokenCounter",
    "assistant",
    "from_openai",
    "system",
    "to_openai",
    "tool",
    "user",
    "window_of",
]
