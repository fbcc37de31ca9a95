"""How many tokens a context has: what the provider reported, estimates for what came after it, windows of models."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from durable.agents.conversation import AgentMessage, CallPart
from durable.core.errors import BadArguments
from durable.core.limits import CHARS_PER_TOKEN, MESSAGE_TOKENS_MIN

type Tokenizer = Callable[[str], int]
"""Tokens of a text."""

_WINDOWS = {
    "claude": 200_000,
    "gemini": 1_000_000,
    "gpt-3.5": 16_385,
    "gpt-4": 8_192,
    "gpt-4-turbo": 128_000,
    "gpt-4.1": 1_000_000,
    "gpt-4o": 128_000,
    "gpt-5": 400_000,
    "llama-3": 128_000,
    "mistral": 128_000,
    "o1": 200_000,
    "o3": 200_000,
    "o4": 200_000,
}
"""Tokens of windows by the beginning of a model's name, where `genai-prices` is not installed or does not know it."""


def estimated(text: str) -> int:
    """About how many tokens a text has: its bytes by four, so that scripts other than Latin are not underestimated."""
    return math.ceil(len(text.encode("utf-8", "surrogatepass")) / CHARS_PER_TOKEN)


@dataclass(frozen=True, slots=True)
class TokenCounter:
    """Counts tokens of messages. tokenizer: an exact count of a text; None estimates.

    factor: by how much what a provider reported was more than the count.
    """

    tokenizer: Tokenizer = estimated
    factor: float = 1.0

    def message(self, message: AgentMessage) -> int:
        """The tokens of one message."""
        found = MESSAGE_TOKENS_MIN
        for part in message.parts:
            if isinstance(part, CallPart):
                found += self.tokenizer(part.tool) + self.tokenizer(part.arguments) + self.tokenizer(part.id)
            else:
                found += self.tokenizer(part.text)
        return math.ceil(found * self.factor)

    def messages(self, messages: Sequence[AgentMessage]) -> int:
        """The tokens of these messages, whatever was reported."""
        return sum(map(self.message, messages))

    def context(self, messages: Sequence[AgentMessage]) -> int:
        """The tokens of a context: what was reported last, and these of what came after."""
        last = max((place for place, each in enumerate(messages) if each.tokens is not None), default=None)
        if last is None:
            return self.messages(messages)
        return (messages[last].tokens or 0) + self.messages(messages[last + 1 :])

    def calibrated(self, messages: Sequence[AgentMessage]) -> TokenCounter:
        """A counter that counts as the provider did: tools and instructions that it counts are in no message."""
        last = max((place for place, each in enumerate(messages) if each.tokens is not None), default=None)
        if last is None:
            return self
        counted = sum(map(TokenCounter(self.tokenizer).message, messages[: last + 1]))
        factor = (messages[last].tokens or 0) / max(counted, 1)
        return TokenCounter(self.tokenizer, max(1.0, factor))


def window_of(model: str) -> int:
    """Tokens of a model's window. BadArguments for a model that nobody knows."""
    name = model.rpartition("/")[2].rpartition(":")[2].lower()
    found = _from_prices(name)
    if found is not None:
        return found
    known = [beginning for beginning in _WINDOWS if name.startswith(beginning)]
    if not known:
        raise BadArguments(f"the window of {model!r} is not known; give it: ContextWindow(window=…)")
    return _WINDOWS[max(known, key=len)]


def _from_prices(name: str) -> int | None:
    try:
        from genai_prices.data_snapshot import get_snapshot
    except ImportError:
        return None
    try:
        return get_snapshot().find_provider_model(name, None, None, None)[1].context_window
    except LookupError:
        return None
