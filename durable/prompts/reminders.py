"""When people are told of a question: as it is asked, each time it is reminded of, when it is escalated. No I/O.

Everything follows from the question and the time, so nothing has to be remembered and no crash loses any.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from durable.core.limits import REMIND_S_MIN

if TYPE_CHECKING:
    from durable.prompts.open_prompt import OpenPrompt


def due(prompt: OpenPrompt, now_ms: int) -> list[OpenPrompt]:
    """The notices due until now; of the reminders the last one, which says all that those before it said."""
    found = [prompt]
    asked = prompt.prompt
    if asked.escalate_s is not None and now_ms >= prompt.created_at + asked.escalate_s * 1000:
        found.append(replace(prompt, notice="escalated"))
    reminders = _reminders(prompt, now_ms)
    if reminders > 0:
        found.append(replace(prompt, notice="reminder", nth=reminders))
    return found


def next_ms(prompt: OpenPrompt, now_ms: int) -> float:
    """When there is more to tell of an open question, in ms since the epoch; infinity when it has no such time."""
    asked = prompt.prompt
    times = []
    if asked.escalate_s is not None:
        times.append(prompt.created_at + asked.escalate_s * 1000)
    if asked.remind_s is not None:
        times.append(prompt.created_at + (_reminders(prompt, now_ms) + 1) * _step_ms(asked.remind_s))
    return min((each for each in times if each > now_ms), default=float("inf"))


def notice_id(prompt: OpenPrompt) -> str:
    """The id of a notice, the same from any engine and however often it is sent: its receiver knows it by that."""
    said = f"{prompt.id} {prompt.created_at} {prompt.notice} {prompt.nth}"
    return f"msg_{hashlib.sha256(said.encode()).hexdigest()[:32]}"


def _reminders(prompt: OpenPrompt, now_ms: int) -> int:
    """How many were due until now."""
    every = prompt.prompt.remind_s
    return 0 if every is None else max(0, int((now_ms - prompt.created_at) // _step_ms(every)))


def _step_ms(every_s: float) -> float:
    return max(every_s, REMIND_S_MIN) * 1000
