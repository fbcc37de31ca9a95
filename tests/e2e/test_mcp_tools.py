"""The tools of the MCP server, called by the official client in both eras of the protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jsonschema
import mcp_types as types
import pytest
from mcp.client import Client
from mcp.client.extension import advertise
from mcp.shared.exceptions import MCPError

import durable
from durable.core.limits import MCP_CALLS_MAX, MCP_OUTPUT_CHARS_MAX
from durable.mcp.elicitation import TASKS
from durable.mcp.server import mcp_server
from durable.mcp.tool_host import McpOptions
from tests.e2e.mcp_process import ERAS, text_of
from tests.waiting import first_prompt, until

pytestmark = pytest.mark.parametrize("mode", ERAS)


@durable.function
async def total(ctx: durable.Context, a: int, b: int = 1) -> int:
    return await ctx.run(lambda: a + b)


@durable.function
async def publish(ctx: durable.Context, what: str) -> str:
    await ctx.approve(f"Publish {what}?")
    return "published"


FUNCTIONS: dict[str, durable.Function[..., Any]] = {"total": total, "publish": publish}


@asynccontextmanager
async def client_of(
    engine: durable.Engine, mode: str, options: McpOptions | None = None, **more: Any
) -> AsyncIterator[Client]:
    options = options or McpOptions(profile="open", functions=FUNCTIONS)
    async with mcp_server(engine, options) as server, Client(server, mode=mode, **more) as client:
        yield client


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[durable.Engine]:
    async with durable.open(tmp_path / "work.db", durability="process") as found:
        yield found


async def test_code_runs_in_a_session_that_keeps_its_variables(engine: durable.Engine, mode: str) -> None:
    async with client_of(engine, mode) as client:
        first = await client.call_tool("run_code", {"code": "x = 41\nprint('hello')"})
        second = await client.call_tool("run_code", {"code": "x + 1"})
        other = await client.call_tool("run_code", {"code": "x", "session": "other"})
        names = await client.call_tool("session_variables", {})
        sessions = await client.call_tool("session_list", {})
    assert (text_of(first), first.is_error) == ("hello", False)
    assert second.structured_content is not None
    assert (second.structured_content["value"], second.structured_content["state"]) == (42, "completed")
    assert other.is_error
    assert "NameError" in text_of(other)
    assert "x: int = 41" in text_of(names)
    assert sessions.structured_content is not None
    assert {each["session"] for each in sessions.structured_content["sessions"]} == {"main", "other"}


async def test_every_result_fits_the_schema_that_its_tool_promises(engine: durable.Engine, mode: str) -> None:
    calls: list[tuple[str, dict[str, Any]]] = [
        ("run_code", {"code": "1"}),
        ("checkpoint", {"label": "a"}),
        ("restore", {"checkpoint": "a"}),
        ("fork", {"name": "copy", "checkpoint": "a"}),
        ("start", {"function": "total", "args": {"a": 1}}),
        ("status", {"execution": "main@1"}),
        ("output", {"execution": "main@1"}),
        ("wait", {"execution": "main@1"}),
        ("interrupt", {"execution": "main@1"}),
        ("resume", {"execution": "main@1"}),
        ("cancel", {"execution": "main@1"}),
        ("engine_status", {}),
        ("engine_status", {"execution_id": "main@1"}),
        ("engine_interrupt", {"execution_id": "main@1"}),
        ("engine_resume", {"execution_id": "main@1"}),
        ("session_list", {}),
        ("session_variables", {}),
        ("inbox", {}),
    ]
    async with client_of(engine, mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        for name, arguments in calls:
            result = await client.call_tool(name, arguments)
            assert not result.is_error, (name, text_of(result))
            schema = tools[name].output_schema
            assert schema is not None
            jsonschema.validate(result.structured_content, schema)
    assert set(tools) - {name for name, _ in calls} == {"answer", "execute_agent_code"}


async def test_a_call_returns_in_its_time_and_wait_goes_on(engine: durable.Engine, mode: str) -> None:
    async with client_of(engine, mode) as client:
        code = "import asyncio\nprint('begun')\nawait asyncio.sleep(3)\n'done'"
        first = await client.call_tool("run_code", {"code": code, "wait_s": 0.1})
        assert first.structured_content is not None
        assert first.structured_content["done"] is False
        assert "call wait(execution='main@1')" in text_of(first)
        second = await client.call_tool("wait", {"execution": first.structured_content["execution"]})
    assert second.structured_content is not None
    assert second.structured_content["value"] == "done"
    assert second.structured_content["stdout"] == "begun\n"


async def test_the_same_id_runs_once(engine: durable.Engine, mode: str) -> None:
    async with client_of(engine, mode) as client:
        await client.call_tool("run_code", {"code": "n = 0"})
        for _ in range(2):
            found = await client.call_tool("run_code", {"code": "n += 1\nn", "id": "once"})
            assert found.structured_content is not None
            assert (found.structured_content["execution"], found.structured_content["value"]) == ("main@once", 1)
        other = await client.call_tool("run_code", {"code": "n += 2", "id": "once"})
        for _ in range(2):
            started = await client.call_tool("start", {"function": "total", "args": [1, 2], "id": "sum"})
            assert started.structured_content is not None
            assert (started.structured_content["execution"], started.structured_content["value"]) == ("sum", 3)
    assert other.is_error
    assert text_of(other).startswith("CONFLICT: ")


async def test_failed_code_is_an_error_with_its_traceback(engine: durable.Engine, mode: str) -> None:
    async with client_of(engine, mode) as client:
        found = await client.call_tool("run_code", {"code": "def f():\n    1/0\nf()"})
    assert found.is_error
    assert 'File "<cell main@1>", line 2, in f' in text_of(found)
    assert found.structured_content is not None
    assert found.structured_content["error"]["type"] == "ZeroDivisionError"


async def test_arguments_are_taken_as_models_and_clients_write_them(engine: durable.Engine, mode: str) -> None:
    async with client_of(engine, mode) as client:
        nulls = await client.call_tool("run_code", {"code": "1", "session": None, "id": None, "wait_s": None})
        by_name = await client.call_tool("start", {"function": "total", "args": '{"a": 40, "b": 2}'})
        in_order = await client.call_tool("start", {"function": "total", "args": "[41, 1]", "id": None})
        no_code = await client.call_tool("run_code", {"code": None})
        text = await client.call_tool("start", {"function": "total", "args": "41"})
    assert [text_of(each) for each in (nulls, by_name, in_order)] == ["1", "42", "42"]
    assert all("BAD_ARGUMENTS" in text_of(each) for each in (no_code, text))


async def test_pictures_are_images_and_long_output_is_paged(engine: durable.Engine, mode: str) -> None:
    code = (
        "class Plot:\n    def _repr_png_(self):\n        return b'\\x89PNG fake'\n"
        "display(Plot())\nprint('a' * 50_000)\nprint('end')"
    )
    async with client_of(engine, mode) as client:
        found = await client.call_tool("run_code", {"code": code})
        images = [each for each in found.content if each.type == "image"]
        assert [each.mime_type for each in images] == ["image/png"]
        assert found.structured_content is not None
        assert found.structured_content["truncated"]
        assert len(text_of(found)) < 3 * MCP_OUTPUT_CHARS_MAX
        read, offset = "", 0
        while True:
            page = await client.call_tool("output", {"execution": "main@1", "offset": offset, "limit": 20_000})
            report = page.structured_content
            assert report is not None
            read += "".join(each["text"] for each in report["pieces"] if each["stream"] == "stdout")
            assert report["next_offset"] > offset
            offset = report["next_offset"]
            if not report["more"]:
                break
    assert read == "a" * 50_000 + "\nend\n"
    assert report["done"]


async def test_a_question_is_put_to_the_person_behind_the_client(engine: durable.Engine, mode: str) -> None:
    asked = []

    async def person(_: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        asked.append(params.message)
        if len(asked) == 1:
            return types.ElicitResult(action="accept", content={"answer": "no number"})
        return types.ElicitResult(action="accept", content={"answer": 7})

    code = "n = ask('How many?', schema=int)\nn * 2"
    async with client_of(engine, mode, elicitation_callback=person) as client:
        found = await client.call_tool("run_code", {"code": code})
    assert found.structured_content is not None
    assert found.structured_content["value"] == 14
    assert asked[0] == "How many?"
    assert len(asked) == 2
    assert asked[1].startswith("Please answer again")
    assert [each.id for each in await engine.prompts()] == []


async def test_an_open_form_is_shown_once_whoever_waits(engine: durable.Engine, mode: str) -> None:
    asked: list[str] = []
    shown, answered = asyncio.Event(), asyncio.Event()

    async def person(_: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        asked.append(params.message)
        shown.set()
        await answered.wait()
        return types.ElicitResult(action="accept", content={"answer": "Ana"})

    async with client_of(engine, mode, elicitation_callback=person) as client:
        await client.call_tool("run_code", {"code": "1"})  # its worker is there
        running = asyncio.create_task(client.call_tool("run_code", {"code": "input('Who?')", "wait_s": 2}))
        await shown.wait()
        if mode == "legacy":  # the call ends before the person is done, and another one waits
            first = await running
            assert "only" not in text_of(first)
            assert "a question waits" in text_of(first)
            running = asyncio.create_task(client.call_tool("wait", {"execution": "main@2"}))
            await asyncio.sleep(0)
        answered.set()
        found = await running
    assert found.structured_content is not None
    assert found.structured_content["value"] == "Ana"
    assert asked == ["Who?"]


async def test_a_question_without_a_form_is_told_and_answered_by_the_tool(engine: durable.Engine, mode: str) -> None:
    async with client_of(engine, mode) as client:
        found = await client.call_tool("run_code", {"code": "input('Who?')"})
        assert found.structured_content is not None
        assert not found.is_error
        prompt = found.structured_content["questions"][0]
        assert (prompt["prompt"], prompt["for_people"]) == ("exec:main@1:input:1", False)
        behind = await client.call_tool("run_code", {"code": "'next'", "wait_s": 0.3})
        assert behind.structured_content is not None
        assert behind.structured_content["questions"][0]["prompt"] == prompt["prompt"], "it is queued behind"
        waiting = await client.call_tool("inbox", {})
        assert "Who?" in text_of(waiting)
        await client.call_tool("answer", {"prompt": prompt["prompt"], "value": "Bo"})
        twice = await client.call_tool("answer", {"prompt": prompt["prompt"], "value": "Cy"})
        done = await client.call_tool("wait", {"execution": "main@1"})
    assert text_of(twice).startswith("CONFLICT: ")
    assert done.structured_content is not None
    assert done.structured_content["value"] == "Bo"


async def test_an_agent_cannot_approve_for_a_person(engine: durable.Engine, mode: str) -> None:
    async with client_of(engine, mode) as client:
        found = await client.call_tool("start", {"function": "publish", "args": ["news"], "id": "p"})
        assert found.structured_content is not None
        question = found.structured_content["questions"][0]
        assert question["for_people"]
        assert question["link"] is None
        refused = await client.call_tool("answer", {"prompt": question["prompt"], "value": True})
        assert text_of(refused).startswith("NOT_ASKED: ")
        await engine.answer((await first_prompt(engine)).id, True, by="ana")
        done = await client.call_tool("wait", {"execution": "p"})
        assert done.structured_content is not None
        assert done.structured_content["value"] == "published"
    options = McpOptions(profile="open", functions=FUNCTIONS, approvals=True, answers_at="https://answers.example")
    async with client_of(engine, mode, options) as client:
        found = await client.call_tool("start", {"function": "publish", "args": ["more"], "id": "q"})
        assert found.structured_content is not None
        question = found.structured_content["questions"][0]
        assert question["link"].startswith("https://answers.example/prompts/exec%3Aq%3Ainput%3A1/answer?link=")
        allowed = await client.call_tool("answer", {"prompt": question["prompt"], "value": True})
        assert not allowed.is_error


async def test_interrupt_and_resume_go_on_with_it(engine: durable.Engine, mode: str) -> None:
    code = "import asyncio\nran = 1\nwhile not go:\n    await asyncio.sleep(0.01)\nran"
    async with client_of(engine, mode) as client:
        await client.call_tool("run_code", {"code": "go = False"})
        await client.call_tool("run_code", {"code": code, "wait_s": 0.3})
        stopped = await client.call_tool("engine_interrupt", {"execution_id": "main@2"})
        assert stopped.structured_content is not None
        assert (stopped.structured_content["state"], stopped.structured_content["done"]) == ("interrupted", True)
        halted = await client.call_tool("wait", {"execution": "main@2"})
        assert "resume(execution='main@2')" in text_of(halted)
        again = await client.call_tool("engine_resume", {"execution_id": "main@2"})
        assert again.structured_content is not None
        assert again.structured_content["done"]
        ended = await client.call_tool("cancel", {"execution": "main@2", "reason": "enough"})
        assert ended.structured_content is not None
        assert ended.structured_content["state"] == "cancelled"
        nothing = await client.call_tool("resume", {"execution": "main@2"})
        assert nothing.structured_content is not None
        assert not nothing.structured_content["done"]


async def test_what_is_wrong_with_a_call_is_a_typed_error(engine: durable.Engine, mode: str) -> None:
    wrong: list[tuple[str, dict[str, Any], str]] = [
        ("run_code", {}, "BAD_ARGUMENTS: code: Field required"),
        ("run_code", {"code": 7}, "BAD_ARGUMENTS: code: "),
        ("run_code", {"code": "1", "wait_s": 600}, "BAD_ARGUMENTS: wait_s: "),
        ("run_code", {"code": "1", "session": "../../etc/passwd"}, "BAD_ARGUMENTS: session: "),
        ("run_code", {"code": "1", "session": "a\x00b"}, "BAD_ARGUMENTS: session: "),
        ("run_code", {"code": "1", "surprise": 1}, "BAD_ARGUMENTS: surprise: Extra inputs"),
        ("run_code", {"code": "x" * 1_000_001}, "BAD_ARGUMENTS: code: "),
        ("run_code", {"code": "1", "id": "12"}, "BAD_ARGUMENTS: id: "),
        ("run_code", {"code": "print(", "session": "syntax"}, ""),
        ("wait", {"execution": "nothing@1"}, "NOT_FOUND: "),
        ("wait", {"execution": "../x"}, "INVALID_ID: "),
        ("wait", {"execution": "x" * 5_000}, "BAD_ARGUMENTS: execution: "),
        ("output", {"execution": "nothing@1", "offset": -1}, "BAD_ARGUMENTS: offset: "),
        ("restore", {"checkpoint": "nothing"}, "NOT_FOUND: "),
        ("session_variables", {"session": "nothing"}, "NOT_FOUND: "),
        ("fork", {"name": "x", "session": "nothing"}, "NOT_FOUND: "),
        ("start", {"function": "os.system", "args": ["true"]}, "NOT_FOUND: "),
        ("start", {"function": "total", "args": ["text"]}, "BAD_ARGUMENTS: "),
        ("start", {"function": "total", "args": {"a": 1, "timeout": 3}}, "BAD_ARGUMENTS: "),
        ("answer", {"prompt": "exec:nothing:input:1", "value": 1}, "NOT_FOUND: "),
        ("answer", {"prompt": "exec:nothing:fetch:1", "value": 1}, "NOT_FOUND: "),
        ("engine_interrupt", {"execution_id": "nothing"}, "NOT_FOUND: "),
        ("engine_resume", {"execution_id": "nothing"}, "NOT_FOUND: "),
    ]
    async with client_of(engine, mode) as client:
        await client.call_tool("run_code", {"code": "1"})
        for name, arguments, text in wrong:
            found = await client.call_tool(name, arguments)
            assert found.is_error, (name, arguments)
            assert text_of(found).startswith(text), (name, text_of(found))
            assert len(text_of(found)) < 3_000
        for name in ("nothing", "", "x" * 10_000):
            with pytest.raises(MCPError, match="Unknown tool"):
                await client.call_tool(name, {})
        for uri in ("durable://execution/nothing", "file:///etc/passwd", "durable://session/../x/variables"):
            with pytest.raises(MCPError, match="not found"):
                await client.read_resource(uri)
        status = await client.call_tool("engine_status", {})
        assert status.structured_content is not None
        use = {each["tool"]: each for each in status.structured_content["tools"]}
        assert use["run_code"]["errors"] == 9


async def test_resources_show_executions_and_variables(engine: durable.Engine, mode: str) -> None:
    async with client_of(engine, mode) as client:
        await client.call_tool("run_code", {"code": "x = 3\nx"})
        listed = {str(each.uri) for each in (await client.list_resources()).resources}
        assert listed == {"durable://execution/main@1", "durable://session/main/variables"}
        execution = (await client.read_resource("durable://execution/main@1")).contents[0]
        variables = (await client.read_resource("durable://session/main/variables")).contents[0]
    assert isinstance(execution, types.TextResourceContents)
    assert isinstance(variables, types.TextResourceContents)
    assert '"value": 3' in execution.text
    assert '"name": "x"' in variables.text


async def test_agents_get_no_session_that_is_held_less_strictly(engine: durable.Engine, mode: str) -> None:
    await engine.session("mine")
    async with client_of(engine, mode, McpOptions()) as client:
        for tool, arguments in (("run_code", {"code": "1"}), ("session_variables", {}), ("checkpoint", {})):
            found = await client.call_tool(tool, {"session": "mine", **arguments})
            assert text_of(found).startswith("CONFLICT: session 'mine' is not isolated")


async def test_a_reading_server_changes_nothing(tmp_path: Path, mode: str) -> None:
    async with durable.open(tmp_path / "work.db") as engine:
        await (await engine.session("main")).execute("print('x')\n1")
    async with (
        durable.open(tmp_path / "work.db", serve=False, create=False) as engine,
        client_of(engine, mode, McpOptions(read_only=True)) as client,
    ):
        tools = {tool.name for tool in (await client.list_tools()).tools}
        assert tools == {"wait", "output", "status", "session_list", "inbox", "engine_status"}
        found = await client.call_tool("wait", {"execution": "main@1"})
        assert found.structured_content is not None
        assert found.structured_content["value"] == 1
        with pytest.raises(MCPError, match="Unknown tool"):
            await client.call_tool("run_code", {"code": "1"})


async def test_a_hundred_calls_at_once(engine: durable.Engine, mode: str) -> None:
    async with client_of(engine, mode) as client:
        calls = [
            client.call_tool("run_code", {"code": f"{n} * 2", "session": f"s{n % 4}", "wait_s": 50}) for n in range(100)
        ]
        results = await asyncio.gather(*calls)
    assert [each.structured_content and each.structured_content["value"] for each in results] == [
        2 * n for n in range(100)
    ]
    assert MCP_CALLS_MAX >= 100


async def test_an_execution_is_a_task_for_clients_that_know_tasks(engine: durable.Engine, mode: str) -> None:
    if mode == "legacy":
        async with client_of(engine, mode) as client:
            with pytest.raises(MCPError):
                await ask(client, "tasks/get", taskId="main@1")
        return
    async with client_of(engine, mode, extensions=[advertise(TASKS)], elicitation_callback=decline) as client:
        quick = await call(client, "run_code", code="1")  # a task only where a second is not enough
        assert quick.get("structuredContent", {"value": 1})["value"] == 1
        await engine.store.settled("exec:main@1")
        found = await call(client, "run_code", code="name = input('Who?')\nname.upper()")
        assert (found["resultType"], found["taskId"]) == ("task", "main@2")
        task = await in_status(engine, client, "main@2", "input_required")
        (key,) = task["inputRequests"]
        assert task["inputRequests"][key]["params"]["message"] == "Who?"
        with pytest.raises(MCPError, match="words"):
            await ask(
                client, "tasks/update", taskId="main@2", inputResponses={key: {"action": "accept", "content": {}}}
            )
        responses = {key: {"action": "accept", "content": {"answer": "ana"}}}
        assert (await ask(client, "tasks/update", taskId="main@2", inputResponses=responses))[
            "resultType"
        ] == "complete"
        await engine.store.settled("exec:main@2")
        done = await ask(client, "tasks/get", taskId="main@2")
        assert (done["status"], done["result"]["structuredContent"]["value"]) == ("completed", "ANA")
        failing = await call(client, "run_code", code="input('x')\n1/0")
        await in_status(engine, client, "main@3", "input_required")
        responses = {"exec:main@3:input:1": {"action": "decline"}}
        await ask(client, "tasks/update", taskId=failing["taskId"], inputResponses=responses)
        await engine.store.settled("exec:main@3")
        failed = await ask(client, "tasks/get", taskId="main@3")
        assert (failed["status"], failed["result"]["isError"]) == ("completed", True)
        endless = await call(client, "run_code", code="import asyncio\nawait asyncio.sleep(1000)")
        assert endless["status"] == "working"
        for _ in range(2):
            assert await ask(client, "tasks/cancel", taskId=endless["taskId"])
        assert (await ask(client, "tasks/get", taskId=endless["taskId"]))["status"] == "cancelled"
        with pytest.raises(MCPError, match="NOT_FOUND"):
            await ask(client, "tasks/get", taskId="nothing")
    async with client_of(engine, mode) as client:
        with pytest.raises(MCPError) as unclaimed:
            await ask(client, "tasks/get", taskId="main@2")
        assert unclaimed.value.error.code == types.MISSING_REQUIRED_CLIENT_CAPABILITY


async def decline(_: Any, __: types.ElicitRequestParams) -> types.ElicitResult:
    return types.ElicitResult(action="decline")


async def ask(client: Client, method: str, **params: Any) -> dict[str, Any]:
    """A request of the extension, past the client's own methods."""
    data: dict[str, Any] = {"method": method, "params": params}
    client.session._stamp(data, {})
    return await client.session._dispatcher.send_raw_request(method, data["params"])


async def in_status(engine: durable.Engine, client: Client, task: str, status: str) -> dict[str, Any]:
    """The task as soon as it has that status."""

    async def look() -> dict[str, Any] | None:
        found = await ask(client, "tasks/get", taskId=task)
        return found if found["status"] == status else None

    found = await until(engine, look)
    assert found is not None
    return found


async def call(client: Client, name: str, **arguments: Any) -> dict[str, Any]:
    return await ask(client, "tools/call", name=name, arguments=arguments)
