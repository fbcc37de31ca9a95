"""A CodeAgent of smolagents whose variables stay: with a scripted model, so that it runs without a network.

Run it again: the session has the numbers of the first time.
"""

from __future__ import annotations

import os
import tempfile
from typing import Any

from smolagents import ChatMessage, CodeAgent, MessageRole, Model, tool

from durable.integrations.smolagents import DurablePythonExecutor

CODES = ["numbers = [*globals().get('numbers', []), double(21)]\nprint(numbers)", "final_answer(len(numbers))"]


class Scripted(Model):
    """What a model would say; in earnest: InferenceClientModel(), LiteLLMModel(…)."""

    def __init__(self) -> None:
        super().__init__(model_id="scripted")
        self.codes = list(CODES)

    def generate(self, messages: list[Any], *args: Any, **kwargs: Any) -> ChatMessage:  # noqa: ARG002
        return ChatMessage(role=MessageRole.ASSISTANT, content=f"<code>\n{self.codes.pop(0)}\n</code>")


@tool
def double(number: int) -> int:
    """Double a number.

    Args:
        number: The number.
    """
    return number * 2


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = os.environ.get("DURABLE_STORE", os.path.join(folder, "work.db"))
        executor = DurablePythonExecutor(store, session="analyst", profile="open")
        with CodeAgent([double], Scripted(), executor=executor, verbosity_level=0) as agent:
            print(agent.run("Double a number, and say how often you did."))


if __name__ == "__main__":
    main()
