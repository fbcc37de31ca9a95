"""Code of smolagents in durable sessions, with a scripted model."""

from __future__ import annotations

import asyncio
import datetime
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from smolagents import ChatMessage, CodeAgent, MessageRole, Model, ToolCallingAgent, tool

import durable
from durable.integrations.smolagents import DurablePythonExecutor, tool_capability


class Scripted(Model):
    """Says one piece of code after another, and keeps what it was sent."""

    def __init__(self, *codes: str) -> None:
        super().__init__(model_id="scripted")
        self.codes = list(codes)
        self.sent: list[str] = []

    def generate(self, messages: list[Any], *args: Any, **kwargs: Any) -> ChatMessage:
        self.sent.append(str(messages[-1].content))
        return ChatMessage(role=MessageRole.ASSISTANT, content=f"Thought: on.\n<code>\n{self.codes.pop(0)}\n</code>")


CALLED: list[int] = []


@tool
def double(number: int) -> int:
    """Double a number.

    Args:
        number: The number.
    """
    return number * 2


@tool
def counted(number: int) -> int:
    """Count a call, here.

    Args:
        number: A number.
    """
    from tests.integrations import test_smolagents

    test_smolagents.CALLED.append(number)
    return len(test_smolagents.CALLED)


def run(store: Path, *codes: str, tools: Any = (double,), **options: Any) -> tuple[Any, Scripted]:
    """What an agent answers, without any asyncio."""
    model = Scripted(*codes)
    executor = DurablePythonExecutor(store, "desk", profile="open")
    with CodeAgent(list(tools), model, executor=executor, verbosity_level=-1) as agent:
        return agent.run("go", **options), model


def test_an_agent_without_asyncio_keeps_its_variables_for_the_next_one(tmp_path: Path) -> None:
    answer, model = run(
        tmp_path / "work.db",
        "x = double(4)\nprint('hi')\nx",
        "print('before')\n1/0",
        "final_answer({'x': x, 'long': 'y' * 50_000, 'when': when})",
        additional_args={"when": datetime.date(2020, 1, 1)},
    )
    assert (answer["x"], len(answer["long"]), answer["when"]) == (8, 50_000, datetime.date(2020, 1, 1))
    assert "hi" in model.sent[1]
    assert "8" in model.sent[1]
    assert "ZeroDivisionError" in model.sent[2]
    again, _ = run(tmp_path / "work.db", "final_answer([x, double(x), (1, 2)])")
    assert again == [8, 16, (1, 2)]


def test_code_that_is_stopped_says_so_and_the_session_goes_on(tmp_path: Path) -> None:
    executor = DurablePythonExecutor(tmp_path / "work.db", "desk", profile="open")
    try:
        executor("y = 3")
        executor._timeout = 0.5
        with pytest.raises(durable.ExecutionError, match="deadline"):
            executor("while True: pass")
        executor._timeout = None
        assert executor("y").output == 3
        assert (executor("None").output, executor("''").output, executor("z = 1").output) == (None, "", None)
    finally:
        executor.cleanup()
        executor.cleanup()


async def test_tools_that_are_capabilities_run_here_and_are_recorded(tmp_path: Path) -> None:
    CALLED.clear()
    capabilities = [tool_capability(counted)]
    async with durable.open(tmp_path / "work.db", durability="process", capabilities=capabilities) as engine:
        executor = DurablePythonExecutor(engine, "desk", profile="open", grants=["counted"])
        model = Scripted("n = counted(5)\nm = counted(number=6)", "final_answer([n, m])")
        agent = CodeAgent([counted], model, executor=executor, verbosity_level=-1)
        assert await asyncio.to_thread(agent.run, "go") == [1, 2]
        assert CALLED == [5, 6]
        assert [entry.what for entry in await engine.audit()].count("counted") == 2
        with pytest.raises(durable.BadArguments, match=r"asyncio\.to_thread"):
            executor("1")
        inner = ToolCallingAgent([], Scripted(), name="inner", description="An agent.", verbosity_level=-1)
        with pytest.raises(durable.BadArguments, match="managed agents"):
            await asyncio.to_thread(executor.send_tools, {"inner": inner})


def test_another_process_has_what_was_there_when_one_was_killed(tmp_path: Path) -> None:
    program = """
import sys
from durable.integrations.smolagents import DurablePythonExecutor
executor = DurablePythonExecutor(sys.argv[1], "desk", profile="open")
executor("kept = [1, 2, 3]")
print("ready", flush=True)
sys.stdin.read()
"""
    store, environment = tmp_path / "work.db", {**os.environ, "PYTHONPATH": os.getcwd()}
    command = [sys.executable, "-c", program, str(store)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGKILL)
    executor = DurablePythonExecutor(store, "desk", profile="open")
    try:
        assert executor("kept").output == [1, 2, 3]
    finally:
        executor.cleanup()
