"""Code of ADK agents in durable sessions, with a scripted model."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from google.adk.agents import LlmAgent
from google.adk.models import BaseLlm, LlmRequest, LlmResponse
from google.adk.runners import InMemoryRunner
from google.genai import types

import durable
from durable.integrations.google_adk import DurableCodeExecutor

pytestmark = pytest.mark.filterwarnings("ignore")  # of ADK itself


class Scripted(BaseLlm):
    """Says one text after another, and keeps what it was sent."""

    model: str = "scripted"
    texts: list[str]
    sent: list[str] = []  # noqa: RUF012 - a field of pydantic

    async def generate_content_async(
        self, llm_request: LlmRequest, stream: bool = False
    ) -> AsyncGenerator[LlmResponse]:
        self.sent.append(str(llm_request.contents[-1].parts))
        yield LlmResponse(content=types.Content(role="model", parts=[types.Part(text=self.texts.pop(0))]))


def code(text: str) -> str:
    return f"```python\n{text}\n```"


async def talk(
    executor: DurableCodeExecutor, *texts: str, session: str = "one", data: str = ""
) -> tuple[Scripted, Any]:
    """The model after a turn that runs all of its code, and the turn's events."""
    model = Scripted(texts=list(texts))
    runner = InMemoryRunner(LlmAgent(name="analyst", model=model, code_executor=executor), app_name="test")
    await runner.session_service.create_session(app_name="test", user_id="ana", session_id=session)
    parts = [types.Part(text="go")]
    if data:
        parts.append(types.Part(inline_data=types.Blob(mime_type="text/csv", data=data.encode())))
    message = types.Content(role="user", parts=parts)
    events = [each async for each in runner.run_async(user_id="ana", session_id=session, new_message=message)]
    return model, events


def outcomes(events: Any) -> list[str]:
    """How the code of a turn ended."""
    parts = [part for each in events for part in each.content.parts or ()]
    return [part.code_execution_result.outcome.name for part in parts if part.code_execution_result]


async def test_variables_stay_also_for_another_process_of_the_same_session(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "work.db", durability="process") as engine:
        executor = DurableCodeExecutor(engine, options={"profile": "open"})
        model, _ = await talk(executor, code("x = 20\nprint('hi')\nx + 1"), "done")
        assert "hi" in model.sent[1]
        assert "21" in model.sent[1]
    async with durable.open(tmp_path / "work.db", durability="process") as engine:
        executor = DurableCodeExecutor(engine, options={"profile": "open"})
        model, _ = await talk(executor, code("print(x)"), "done")
        assert "20" in model.sent[1]
        other, _ = await talk(executor, code("print('x' in globals())"), "done", session="two")
        assert "False" in other.sent[1], "another session of ADK is another session of ours"


async def test_errors_pictures_and_warnings_are_told_as_adk_has_them(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "work.db", durability="process") as engine:
        executor = DurableCodeExecutor(engine, options={"profile": "open"}, timeout_seconds=30)
        model, events = await talk(executor, code("1/0"), "sorry")
        assert "ZeroDivisionError" in model.sent[1]
        assert outcomes(events) == ["OUTCOME_FAILED"]
        picture = base64.b64encode(b"\x89PNG").decode()
        shown = f"import sys\nprint('careful', file=sys.stderr)\ndisplay({{'image/png': '{picture}'}}, raw=True)"
        model, events = await talk(executor, code(shown), "done", session="two")
        assert outcomes(events) == ["OUTCOME_OK"], "a warning on stderr is no failure"
        assert any(each.actions.artifact_delta for each in events), "a picture is an artifact"


async def test_files_of_the_user_are_there_and_stay_as_the_code_left_them(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "work.db", durability="process") as engine:
        try:
            executor = DurableCodeExecutor(engine, optimize_data_file=True)
            reading = "import glob\nprint([open(name).read() for name in glob.glob('*.csv')])"
            model, _ = await talk(executor, code(reading), "done", data="a,b\n1,2\n")
        except durable.Unenforceable:
            pytest.skip("this machine cannot isolate sessions; namespaces would enable it")
        assert any("1,2" in each for each in model.sent)


async def test_code_past_its_time_is_stopped_and_the_session_goes_on(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "work.db", durability="process") as engine:
        executor = DurableCodeExecutor(engine, options={"profile": "open"}, timeout_seconds=1)
        model, _ = await talk(executor, code("y = 3\nwhile True: pass"), code("print(y)"), "done")
        assert "deadline" in model.sent[1]
        assert "3" in model.sent[2]


async def test_where_it_would_wait_for_itself_it_says_so(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "work.db", durability="process") as engine:
        executor = DurableCodeExecutor(engine)
        with pytest.raises(durable.BadArguments, match="own loop"):
            executor._sessions.execute("a", "1")
    with pytest.raises(durable.BadArguments, match="async with"):
        await asyncio.to_thread(DurableCodeExecutor, engine)
    with pytest.raises(durable.InvalidId):
        DurableCodeExecutor(engine, "no spaces")
