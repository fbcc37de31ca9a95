"""People's answers, as code gets them: who answered, a decision, a review. In the worker and in the engine alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

type ReviewOutcome = Literal["accepted", "edited", "responded", "declined"]


@dataclass(frozen=True, slots=True)
class Given:
    """One person's answer. `at` in milliseconds since the epoch, `via` the channel (api, cli, http, link)."""

    by: str | None
    value: Any
    declined: bool = False
    why: str = ""
    via: str = ""
    at: int = 0


@dataclass(frozen=True, slots=True)
class Decision:
    """An approval: by whom and why. A denial raises `Denied`, so this is always true.

    `by` is whoever decided it last, None when the deadline's default did. `answers` are those of all who were asked.
    """

    by: str | None
    why: str = ""
    answers: tuple[Given, ...] = ()
    approved: bool = True

    def __bool__(self) -> bool:
        return self.approved

    @classmethod
    def read(cls, found: dict[str, Any]) -> Decision:
        """From `told` (capabilities/prompts/answer_rules.py)."""
        answers = tuple(Given(**each) for each in found.get("answers") or ())
        return cls(found.get("by"), found.get("why") or "", answers, bool(found.get("approved", True)))


@dataclass(frozen=True, slots=True)
class Review:
    """A reviewed document: `document` as given or edited, None when declined; `comment` is what was said."""

    outcome: ReviewOutcome
    document: Any
    comment: str = ""
    by: str | None = None

    @property
    def accepted(self) -> bool:
        """Accepted, as it was or edited."""
        return self.outcome in ("accepted", "edited")
