"""LangGraph's own conformance tests of savers, and graphs that go on by themselves."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.graph import END, START, StateGraph

import durable
from durable.integrations.langgraph import DurableSaver
from tests.integrations import kills

JOB = "tests.integrations.langgraph_job"


async def test_the_saver_has_every_capability_of_the_conformance_suite(place: str) -> None:
    async with durable.open(place, durability="process") as engine:
        numbers = iter(range(100))

        @checkpointer_test(name="DurableSaver")
        async def factory() -> AsyncGenerator[DurableSaver]:
            yield DurableSaver(engine, name=f"saver {next(numbers)}")

        report = await validate(factory)
    assert {name: each.failures for name, each in report.results.items() if not each.passed} == {}
    assert len(report.results) == 8
    assert sum(each.tests_passed for each in report.results.values()) >= 81


def test_a_graph_goes_on_wherever_the_process_dies() -> None:
    """All points: `python -m tests.integrations.kills tests.integrations.langgraph_job`."""
    assert kills.survived(JOB, 12, 30) == {"done": ["plan", "left", "right", "join", "publish yes"]}


class Counted(TypedDict):
    n: int
    log: Annotated[list[str], operator.add]


def counting() -> StateGraph[Counted]:
    builder = StateGraph(Counted)

    def step(state: Counted) -> dict[str, Any]:
        return {"n": state["n"] + 1, "log": ["x" * 1_000]}

    builder.add_node("step", step)
    builder.add_edge(START, "step")
    builder.add_conditional_edges("step", lambda state: END if state["n"] % 10 == 0 else "step")
    return builder


async def test_a_bounded_history_keeps_the_newest_and_its_values(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "work.db", durability="process") as engine:
        saver = DurableSaver(engine, keep=3)
        graph = counting().compile(checkpointer=saver)
        config: Any = {"configurable": {"thread_id": "a"}, "recursion_limit": 50}
        for _ in range(3):
            state = await graph.aget_state(config)
            await graph.ainvoke({"n": state.values.get("n", 0), "log": []}, config)
        assert len([each async for each in saver.alist(config)]) == 3
        assert (await graph.aget_state(config)).values["n"] == 30
        assert len((await graph.aget_state(config)).values["log"]) == 30
        usage = (await engine.store.request("kv.usage", {"namespace": "langgraph/default"})).data
        assert usage["used"] < 8 * 30_000 * 1.5, "what no checkpoint has is gone"


async def test_synchronous_graphs_run_in_other_threads(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "work.db", durability="process") as engine:
        saver = DurableSaver(engine)
        graph = counting().compile(checkpointer=saver)
        config: Any = {"configurable": {"thread_id": "a"}, "recursion_limit": 50}
        found = await asyncio.to_thread(graph.invoke, {"n": 0, "log": []}, config)
        assert found["n"] == 10
        assert len(await asyncio.to_thread(lambda: list(graph.get_state_history(config)))) == 12
        with pytest.raises(durable.BadArguments, match="asynchronous methods"):
            graph.invoke({"n": 0, "log": []}, config)


async def test_a_list_that_is_read_slowly_holds_up_nobody_and_a_thread_has_to_be_named(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "work.db", durability="process") as engine:
        saver = DurableSaver(engine)
        await saver.adelete_thread("never there")
        graph = counting().compile(checkpointer=saver)
        config: Any = {"configurable": {"thread_id": "a:b/ü %"}, "recursion_limit": 50}
        await graph.ainvoke({"n": 0, "log": []}, config)
        listed = saver.alist(config)
        await anext(listed)
        async with asyncio.timeout(20):
            await graph.ainvoke({"n": 10, "log": []}, config)
        assert (await graph.aget_state(config)).values["n"] == 20
        with pytest.raises(durable.BadArguments, match="names no thread"):
            await saver.aget_tuple({"configurable": {}})
