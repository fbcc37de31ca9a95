"""The agent that both sides run: a scripted model of Pydantic AI that calls one tool after another."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

TOOLS = 12
STEPS = 2 * TOOLS + 1
"""Responses of the model and calls of the tool in one run."""


def _scripted(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
    turn = sum(isinstance(each, ModelResponse) for each in messages)
    if turn == TOOLS:
        return ModelResponse([TextPart("done")])
    return ModelResponse([ToolCallPart("add", {"number": turn}, f"c{turn}")])


MODEL = FunctionModel(_scripted)


async def timed(size: int, run: Callable[[], Awaitable[str]]) -> list[float]:
    """The time of a step, in so many runs."""
    samples = []
    for _ in range(size):
        started = time.perf_counter()
        assert await run() == "done"
        samples.append((time.perf_counter() - started) / STEPS)
    return samples
