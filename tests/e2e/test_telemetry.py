"""Spans and metrics of OpenTelemetry, with the SDK's exporters in memory (specs/telemetry.md)."""

from __future__ import annotations

from pathlib import Path

import pytest
from mcp.client import Client
from mcp.shared import _otel
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import durable
from durable.mcp.server import mcp_server
from durable.mcp.tool_host import McpOptions
from durable.telemetry import OpenTelemetry
from durable.telemetry.trace_ids import attempt_span_id, trace_id_of
from tests.e2e.mcp_process import ERAS


class Desk:
    """A program's own telemetry: its provider, and what it exported."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.tracer = self.provider.get_tracer("the program's")
        meters = MeterProvider([self.reader])
        self.observer = OpenTelemetry(tracer_provider=self.provider, meter_provider=meters)

    def spans(self, name: str = "") -> list[ReadableSpan]:
        found = [span for span in self.exporter.get_finished_spans() if span.name.startswith(name)]
        return sorted(found, key=lambda span: span.start_time or 0)

    def one(self, name: str) -> ReadableSpan:
        (found,) = self.spans(name)
        return found

    def points(self, name: str) -> list[tuple[dict[str, object], float]]:
        data = self.reader.get_metrics_data()
        assert data is not None
        metrics = [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics if m.name == name]
        return [
            (dict(point.attributes or {}), point.value if isinstance(point, NumberDataPoint) else point.sum)
            for metric in metrics
            for point in metric.data.data_points
            if isinstance(point, NumberDataPoint | HistogramDataPoint)
        ]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def context_of(span: ReadableSpan) -> trace.SpanContext:
    assert span.context is not None
    return span.context


def parent_of(span: ReadableSpan) -> int:
    assert span.parent is not None
    return span.parent.span_id


def attribute(span: ReadableSpan, name: str) -> object:
    return (span.attributes or {}).get(name)


TRACER = trace.get_tracer("a step's")
seen_in_steps: list[int] = []


async def fetch(row: int) -> int:
    seen_in_steps.append(trace.get_current_span().get_span_context().span_id)
    return row


def in_a_thread() -> str:
    seen_in_steps.append(trace.get_current_span().get_span_context().span_id)
    return "done"


@durable.function
async def inner(ctx: durable.Context, row: int) -> int:
    return await ctx.run(fetch, row)


@durable.function
async def review(ctx: durable.Context) -> str:
    await ctx.run(fetch, 1)
    await ctx.run(in_a_thread)
    await ctx.run(inner, 2)
    answer = await ctx.ask("Go on?")
    return f"{answer}"


async def test_each_attempt_has_one_span_linked_to_the_one_before(tmp_path: Path, desk: Desk) -> None:
    seen_in_steps.clear()
    path = tmp_path / "work.db"
    async with durable.open(path, durability="process", observer=desk.observer) as engine:
        with desk.tracer.start_as_current_span("request") as request:
            execution = await engine.start(review, id="r")
        prompt = await the_prompt(engine)
        change = engine.changed()
        while (await execution.info()).state != "waiting":
            await change
            change = engine.changed()
    async with durable.open(path, durability="process", observer=desk.observer) as engine:
        await engine.answer(prompt, "yes", by="ana")
        assert await (await engine.get("r")).result() == "yes"
    assert execution.id == "r"

    first, second = desk.spans("execution review")
    assert {context_of(span).trace_id for span in desk.spans() if span.name != "request"} == {trace_id_of("r")}
    assert [context_of(each).span_id for each in (first, second)] == [attempt_span_id("r", n) for n in (1, 2)]
    assert first.parent is None
    assert [link.context.span_id for link in first.links] == [request.get_span_context().span_id]
    assert [link.context.span_id for link in second.links] == [
        context_of(first).span_id,
        request.get_span_context().span_id,
    ]
    assert attribute(first, "durable.outcome") == "waiting"
    assert attribute(first, "durable.waits_for") == ("r:input:1",)
    assert (attribute(second, "durable.outcome"), attribute(second, "durable.state")) == ("settled", "resolved")
    assert [attribute(each, "durable.replayed") for each in (first, second)] == [False, True]

    fetches = desk.spans("step fetch")
    threaded = desk.one("step in_a_thread")
    nested, again = desk.spans("step inner")[0], desk.spans("step inner")[1:]
    assert [parent_of(each) for each in fetches] == [context_of(first).span_id, context_of(nested).span_id]
    assert parent_of(nested) == context_of(first).span_id
    assert again == [], "what is recorded has no span on replay"
    assert seen_in_steps == [context_of(each).span_id for each in (fetches[0], threaded, fetches[1])]
    asked = desk.one("prompt")
    assert parent_of(asked) == context_of(first).span_id
    assert attribute(asked, "durable.prompt.id") == prompt


async def the_prompt(engine: durable.Engine) -> str:
    change = engine.changed()
    while not (prompts := await engine.prompts()):
        await change
        change = engine.changed()
    return prompts[0].id


fails_left = [2]


def flaky() -> str:
    fails_left[0] -= 1
    if fails_left[0] >= 0:
        raise ValueError("a secret of the code: 4711")
    return "ok"


@durable.function
async def tries(ctx: durable.Context) -> str:
    return await ctx.options(retry=durable.Retry(max_retries=5, delay=0.001)).run(flaky)


async def test_each_try_of_a_step_has_a_span_and_no_value_of_the_code_is_in_any(tmp_path: Path, desk: Desk) -> None:
    fails_left[0] = 2
    async with durable.open(tmp_path / "work.db", durability="process", observer=desk.observer) as engine:
        assert await (await engine.start(tries, id="t")).result() == "ok"
    spans = desk.spans("step flaky")
    assert [attribute(each, "durable.attempt") for each in spans] == [1, 2, 3]
    assert [each.status.status_code.name for each in spans] == ["ERROR", "ERROR", "UNSET"]
    assert "4711" not in "".join(span.to_json() for span in desk.spans())
    assert desk.points("durable.step.retries") == [({"step": "flaky"}, 2)]
    assert desk.points("durable.steps") == [({"step": "flaky", "ok": True}, 1)]
    (labels, count), *others = desk.points("durable.executions.settled")
    assert (labels["state"], count, others) == ("resolved", 1, [])


CELL = """
from opentelemetry import trace
found = trace.get_current_span().get_span_context()
[format(found.trace_id, '032x'), format(found.span_id, '016x')]
"""


@durable.function
async def through_a_cell(ctx: durable.Context) -> list[str]:
    result = await ctx.execute(CELL, session="desk")
    return list(result.value)


async def test_a_cell_continues_the_trace_of_the_function_that_ran_it(tmp_path: Path, desk: Desk) -> None:
    async with durable.open(tmp_path / "work.db", durability="process", observer=desk.observer) as engine:
        trace_id, span_id = await (await engine.start(through_a_cell, id="c")).result()
        alone = await (await engine.session("desk")).execute("trace.get_current_span().get_span_context().is_valid")
        quiet = await (await engine.session("desk")).execute("found.is_valid", journal=False)
    cell = desk.spans("cell desk")[0]
    assert (int(trace_id, 16), int(span_id, 16)) == (trace_id_of("c"), context_of(cell).span_id)
    assert parent_of(cell) == attempt_span_id("c", 1)
    assert attribute(cell, "durable.session.name") == "desk"
    assert parent_of(desk.one("worker start")) == context_of(cell).span_id
    checkpoint = desk.spans("checkpoint")[0]
    assert parent_of(checkpoint) == context_of(cell).span_id
    assert alone.value is True, "a cell that nobody's function runs has a trace of its own"
    assert quiet.value is True
    by_itself = desk.spans("cell desk")[1]
    assert context_of(by_itself).trace_id == trace_id_of(str(attribute(by_itself, "durable.execution.id")))
    assert by_itself.parent is None


async def test_code_that_nobody_traces_does_not_import_opentelemetry(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "work.db", durability="process") as engine:
        found = await (await engine.session("desk")).execute("import sys; 'opentelemetry' in sys.modules")
    assert found.value is False


@pytest.mark.parametrize("mode", ERAS)
async def test_a_cell_of_an_agent_is_the_run_of_a_tool_in_the_trace_of_its_caller(
    desk: Desk, tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_otel, "_tracer", desk.provider.get_tracer("mcp"))
    async with (
        durable.open(tmp_path / "work.db", durability="process", observer=desk.observer) as engine,
        mcp_server(engine, McpOptions(profile="open")) as server,
        Client(server, mode=mode) as client,
    ):
        with desk.tracer.start_as_current_span("agent") as agent:  # the client sends its context in `_meta`
            called = await client.call_tool("run_code", {"code": "1"})
        assert not called.is_error
    message = next(each for each in desk.spans("tools/call run_code") if each.kind == trace.SpanKind.SERVER)
    cell = desk.one("cell main")
    assert attribute(cell, "gen_ai.operation.name") == attribute(message, "gen_ai.operation.name") == "execute_tool"
    assert attribute(cell, "gen_ai.tool.name") == attribute(message, "gen_ai.tool.name") == "run_code"
    (link,) = cell.links
    assert (link.context.trace_id, link.context.span_id) == (context_of(message).trace_id, context_of(message).span_id)
    assert context_of(message).trace_id == agent.get_span_context().trace_id
