"""A bounded context in a durable function: a summary is asked for once, the chain is kept, the store stays small."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, override

import pytest

import durable
from durable.agents import (
    AgentMessage,
    CallPart,
    ContextChain,
    ContextWindow,
    HttpSummarizer,
    ScriptedSummarizer,
    SummaryFailed,
    SummaryRequest,
    assistant,
    system,
    tool,
    user,
)
from tests import commit_kills
from tests.e2e.cli_process import Terminal
from tests.e2e.context_job import TURNS, WINDOW

JOB = "tests.e2e.context_job"


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[durable.Engine]:
    async with durable.open(tmp_path / ".durable" / "state.db", durability="process") as found:
        yield found


@pytest.mark.parametrize("kill_after", [0, 19, 31])
def test_a_summary_is_asked_for_once_wherever_the_process_dies(tmp_path: Path, kill_after: int) -> None:
    """All points: `python -m tests.e2e.context_kills`."""
    check_job(tmp_path, commit_kills.lives(JOB, tmp_path, kill_after))
    assert (tmp_path / "killed").exists() == bool(kill_after)


def check_job(folder: Path, said: dict[str, Any]) -> None:
    asked = commit_kills.noted(folder)
    assert len(asked) == len(set(asked)) == len(said["levels"]), asked
    assert len(said["sizes"]) == TURNS
    assert max(said["sizes"]) <= WINDOW * 0.8
    assert said["levels"] == sorted(said["levels"])
    assert said["levels"][-1] > 1, "there is a summary of a summary"


FULL = [system("s"), user("task"), *(assistant("word " * 200) for _ in range(20)), user("go on")]


@durable.function
async def compacting(ctx: durable.Context, url: str) -> list[str]:
    summarizer = HttpSummarizer(url, "scripted", key="secret-key") if url else ScriptedSummarizer()
    window = ContextWindow(window=4_000, summarizer=summarizer, retry=durable.Retry(max_retries=2, delay=0.01))
    first = await window.fit_in(ctx, FULL)
    second = await window.fit_in(ctx, [*first, *(assistant("more " * 200) for _ in range(20)), user("and now")])
    forced = await window.fit_in(ctx, second[:6], force=True)
    return [each.encode() for each in (*second, *forced)][:3]


async def test_the_chain_can_be_looked_at_and_gone_on_with(engine: durable.Engine, tmp_path: Path) -> None:
    await (await engine.start(compacting, "", id="run")).result()
    chain = ContextChain(engine.store, "run")
    stages = await chain.stages()
    assert [stage.level for stage in stages][:2] == [1, 2]
    assert await chain.messages(stages[0], before=True) == FULL
    summary = next(each for each in await chain.messages(stages[1]) if each.kind == "summary")
    assert summary.level == 2
    keys = (await engine.store.request("kv.list", {"namespace": "session/execution/run.context"})).data["keys"]
    kept = [key for key in keys if key.startswith("message:")]
    named = {digest for stage in stages for digest in (*stage.before, *stage.after)}
    assert len(kept) == len(named), "each message once"
    terminal = Terminal(tmp_path)
    shown = terminal.durable("context", "run")
    assert shown.code == 0
    assert "summarize" in shown.out
    listed = terminal.durable("--json", "context", "run").data
    assert [each["level"] for each in listed] == [stage.level for stage in stages]
    whole = terminal.durable("--json", "context", "run", "--stage", "1", "--before").data
    assert [AgentMessage.decode(json.dumps(each)) for each in whole] == FULL
    assert "[Summary of what came before]" in terminal.durable("context", "run", "--stage", "2").out
    assert terminal.durable("context", "run", "--stage", "9").code == 3
    assert terminal.durable("context", "nothing").code == 3


async def test_two_hundred_turns_stay_small_and_the_store_grows_with_them(engine: durable.Engine) -> None:
    """2 MB of tool output under 32k tokens; the second hundred turns take what the first did."""

    @durable.function(name="long_agent")
    async def agent(ctx: durable.Context, turns: int) -> list[int]:
        window = ContextWindow(window=32_000, summarizer=ScriptedSummarizer())
        messages, largest = [system("s"), user("task")], 0
        for turn in range(turns):
            call = CallPart(f"c{turn}", "read", json.dumps({"n": turn}))
            text = await ctx.run(lambda n: f"{n:04d} " * 2_000, turn)
            messages += [assistant(f"turn {turn}", call), tool(call, text)]
            messages = await window.fit_in(ctx, messages)
            largest = max(largest, window.tokens(messages))
        return [largest]

    used = []
    for turns in (100, 200):
        largest = await (await engine.start(agent, turns, id=f"run{turns}")).result()
        assert largest[0] < 32_000
        used.append(
            (await engine.store.request("kv.usage", {"namespace": f"session/execution/run{turns}.context"})).data
        )
    assert used[1]["used"] < 2.2 * used[0]["used"], used
    assert used[1]["used"] < 2.2 * 200 * 10_000, "each message once, and once as it was cut"


class ChatDouble(BaseHTTPRequestHandler):
    """A server that speaks chat completions, and fails as it is told to."""

    answers: list[tuple[int, Any]]
    asked: list[dict[str, Any]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.asked.append({"path": self.path, "authorization": self.headers["authorization"], **body})
        status, said = self.answers.pop(0) if self.answers else (200, None)
        answer = {"choices": [{"message": {"content": f"answer {len(self.asked)}"}}]} if said is None else said
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.send_header("retry-after", "0")
        self.end_headers()
        self.wfile.write(data)

    @override
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def chat_server(*answers: tuple[int, Any]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Its URL, and what it was asked."""
    handler = type("Double", (ChatDouble,), {"answers": list(answers), "asked": []})
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", handler.asked  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def test_a_model_over_http_writes_the_summaries(engine: durable.Engine) -> None:
    with chat_server((429, {}), (500, {}), (200, None)) as (url, asked):
        messages = await (await engine.start(compacting, url, id="run")).result()
    assert any("answer" in each for each in messages)
    assert asked[0]["path"] == "/v1/chat/completions"
    assert asked[0]["authorization"] == "Bearer secret-key"
    assert asked[0]["messages"][0]["content"].startswith("Summarise the beginning")
    assert asked[0] == asked[1] == asked[2], "busy, then failing, then well: the same is asked again"


@pytest.mark.parametrize(
    "answer", [(401, {"error": "key"}), (200, {"choices": []}), (200, {"choices": [{"message": {}}]})]
)
async def test_an_answer_that_is_no_summary_is_done_without(engine: durable.Engine, answer: tuple[int, Any]) -> None:
    with chat_server(*[answer] * 9) as (url, asked):
        messages = await (await engine.start(compacting, url, id="run")).result()
    assert any("key_points" in each for each in messages)
    assert len(asked) % 3 == 0 or answer[0] == 401
    with chat_server(answer) as (url, _), pytest.raises((SummaryFailed, durable.Fatal)):
        await HttpSummarizer(url, "scripted").summarize(SummaryRequest((user("x"),), "{words}", 10))
