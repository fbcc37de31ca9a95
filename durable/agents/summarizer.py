"""Writers of summaries: a port, a model behind an OpenAI-compatible server, and one that says what it was told to."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from durable.agents.conversation import AgentMessage, CallPart, ReturnPart, TextPart, digest_of
from durable.core.errors import DurableError, Fatal, RetryAfter
from durable.core.limits import SUMMARY_S, SUMMARY_TRANSCRIPT_CHARS_MAX

INSTRUCTIONS = """Summarise the beginning of this conversation between a person, an assistant and its tools, so that the
assistant can go on from your summary alone. Keep what was asked, what was decided and why, names, numbers, paths and
ids word for word, what was done and with what result, errors, and what is still open. Write plain text of at most
{words} words, without an introduction."""
"""The usual prompt. `{words}` is how long the summary may be."""


@dataclass(frozen=True, slots=True)
class SummaryRequest:
    """A summary to be written: the messages, the prompt, and how many tokens the summary may have."""

    messages: tuple[AgentMessage, ...]
    prompt: str
    tokens_max: int

    @property
    def instructions(self) -> str:
        """The prompt with its figures."""
        return self.prompt.replace("{words}", str(max(20, self.tokens_max * 2 // 3)))

    def digest(self) -> str:
        """The digest of all that is asked: a replay that asks otherwise is told of."""
        said = "\n".join((self.prompt, str(self.tokens_max), *(each.digest() for each in self.messages)))
        return digest_of(said)

    @property
    def transcript(self) -> str:
        """The messages as text, cut in the middle where they are very long."""
        text = "\n\n".join(map(_told, self.messages))
        if len(text) <= SUMMARY_TRANSCRIPT_CHARS_MAX:
            return text
        half = SUMMARY_TRANSCRIPT_CHARS_MAX // 2
        return f"{text[:half]}\n\n[…]\n\n{text[-half:]}"


def _told(message: AgentMessage) -> str:
    lines = []
    for part in message.parts:
        match part:
            case TextPart(text):
                lines.append(text)
            case CallPart(_, tool, arguments):
                lines.append(f"[calls {tool}({arguments})]")
            case ReturnPart(_, tool, text):
                lines.append(f"[{tool} returned] {text}")
    who = f"summary, level {message.level}" if message.kind == "summary" else message.role
    return f"{who}: " + "\n".join(lines)


class Summarizer(Protocol):
    """Writes summaries."""

    async def summarize(self, request: SummaryRequest) -> str: ...


class SummaryFailed(DurableError):
    """A summary could not be had; the context is shortened without one."""

    code = "SUMMARY_FAILED"


@dataclass(slots=True)
class ScriptedSummarizer:
    """Summaries without a model, for tests: `write` makes one of each request, and `requests` has them all."""

    write: Callable[[SummaryRequest], str] = lambda request: f"{len(request.messages)} messages"
    requests: list[SummaryRequest] = field(default_factory=list)

    async def summarize(self, request: SummaryRequest) -> str:
        self.requests.append(request)
        return self.write(request)


@dataclass(frozen=True, slots=True)
class HttpSummarizer:
    """A model behind a server that speaks OpenAI's chat completions: OpenAI, vLLM, Ollama, LiteLLM and others.

    url: the base, such as "http://localhost:11434/v1". key: None for OPENAI_API_KEY, which may be missing. Needs the
    extra `agents`. A server that is busy or fails is asked again as a step's retries say; RetryAfter, Fatal.
    """

    url: str
    model: str
    key: str | None = field(default=None, repr=False)
    timeout_s: float = SUMMARY_S

    async def summarize(self, request: SummaryRequest) -> str:
        """The model's text. SummaryFailed."""
        import httpx

        key = self.key or os.environ.get("OPENAI_API_KEY")
        body = {
            "model": self.model,
            "max_tokens": request.tokens_max,
            "messages": [
                {"role": "system", "content": request.instructions},
                {"role": "user", "content": request.transcript},
            ],
        }
        headers = {"authorization": f"Bearer {key}"} if key else {}
        try:
            async with httpx.AsyncClient(timeout=self.timeout_s) as client:
                answer = await client.post(f"{self.url.rstrip('/')}/chat/completions", json=body, headers=headers)
        except httpx.HTTPError as error:
            raise SummaryFailed(f"{self.url} gave no summary: {error or type(error).__name__}") from None
        if answer.status_code in (429, 503):
            raise RetryAfter(_seconds(answer.headers.get("retry-after")), f"{self.url} is busy: {answer.status_code}")
        if answer.status_code >= 500:
            raise SummaryFailed(f"{self.url} gave no summary: {answer.status_code} {answer.text[:200]}")
        if answer.status_code >= 400:
            raise Fatal(f"{self.url} refused to summarise: {answer.status_code} {answer.text[:200]}")
        return _content(answer)


def _seconds(text: str | None) -> float:
    try:
        return min(max(float(text or 1.0), 0.0), 3_600.0)
    except ValueError:
        return 1.0


def _content(answer: Any) -> str:
    try:
        text = answer.json()["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError):
        text = None
    if not isinstance(text, str) or not text.strip():
        raise SummaryFailed(f"an answer without a text: {answer.text[:200]}")
    return text.strip()


def names_of(messages: Sequence[AgentMessage]) -> list[str]:
    """The tools that messages call, each once."""
    return list(dict.fromkeys(call.tool for message in messages for call in message.calls))
