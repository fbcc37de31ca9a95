"""An open question as channels, programs and answerers see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from capabilities.prompts.prompt import Prompt

type Notice = Literal["asked", "reminder", "escalated"]


@dataclass(frozen=True, slots=True)
class OpenPrompt:
    """A question that waits: its promise id, which execution asks, what, since when (ms), until when (ms).

    For who is told of it (`Engine.on_prompt`), notice says why: it is asked, reminded of (the nth time), escalated.
    """

    id: str
    execution: str
    prompt: Prompt
    created_at: int
    timeout_at: int
    notice: Notice = "asked"
    nth: int = 0

    @property
    def question(self) -> str:
        return self.prompt.question
