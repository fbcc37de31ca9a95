"""An execution as one JSON document: read back, imported elsewhere, also with encrypted values."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import durable
from tests.waiting import in_state


async def act(name: str) -> str:
    return name


@durable.function
async def job(ctx: durable.Context, name: str) -> list[str]:
    out = [await ctx.run(act, name)]
    await ctx.stream("s").write("item")
    await ctx.publish(key="value")
    return [*out, await ctx.signal("go")]


async def test_a_document_is_read_back_and_goes_on_elsewhere(place: str, tmp_path: Path) -> None:
    async with durable.open(place, durability="process") as engine:
        execution = await engine.start(job, "one", id="doc", tags={"customer": "ana"})
        await in_state(engine, execution, "waiting")
        state = await engine.export("doc")
        with pytest.raises(durable.Conflict, match="exists"):
            await engine.import_execution(state)
        with pytest.raises(durable.NotFound):
            await engine.export("other")
    text = json.dumps(state.to_json())
    assert durable.ExecutionDocument.from_json(text) == state
    assert (state.id, state.version, state.metadata["state"]) == ("doc", 1, "waiting")
    assert state.context["arguments"] == {"args": ["one"], "kwargs": {}}
    assert state.metadata["tags"] == {"customer": "ana"}
    found = [(each["kind"], each["state"], each["value"]) for each in state.results["operations"]]
    assert found == [
        ("step", "resolved", "one"),
        ("stream", "resolved", {"items": ["item"]}),
        ("publish", "resolved", {"key": "value"}),
        ("signal", "pending", None),
    ]
    async with durable.open(tmp_path / "other.db", durability="process") as other:
        imported = await other.import_execution(text)
        await imported.signal("go", "on")
        assert await imported.result(20) == ["one", "on"]
        assert await other.published("doc", "key") == "value"


async def test_encrypted_values_stay_so_in_a_document(tmp_path: Path) -> None:
    codec = durable.ValueCodec({"k": b"3" * 32}, current="k")
    async with durable.open(tmp_path / "s.db", durability="process", codec=codec) as engine:
        execution = await engine.start(job, "secret words", id="doc")
        await in_state(engine, execution, "waiting")
        await execution.signal("go", "secret words")
        await execution.result(20)
        assert "secret words" not in json.dumps((await engine.export("doc")).to_json())
        opened = await engine.export("doc", open_values=True)
        assert opened.results["result"] == ["secret words", "secret words"]
    async with durable.open(tmp_path / "other.db", durability="process", codec=codec) as other:
        assert await (await other.import_execution(opened)).result(20) == ["secret words", "secret words"]


async def test_a_document_touches_nothing_else(place: str) -> None:
    """A record that is changed by hand cannot end another execution, and is of the id that its document says."""
    async with durable.open(place, durability="process") as engine:
        for name in ("doc", "victim"):
            await in_state(engine, await engine.start(job, "one", id=name), "waiting")
        document = (await engine.export("doc")).to_json()
        await engine.cancel("doc")
        await engine.delete("doc")
        takes = {"rewinds": {"id": "exec:victim", "reason": "", "open": []}}
        for changed in ({**document, "record": {**document["record"], **takes}}, {**document, "id": "other"}):
            with pytest.raises(durable.BadArguments, match=r"no record says 'rewinds'|changed by hand"):
                await engine.import_execution(changed)
        assert [(row.id, row.state) for row in await engine.executions()] == [("victim", "waiting")]
        await (await engine.import_execution(document)).signal("go", "on")
        assert await (await engine.get("doc")).result(20) == ["one", "on"]


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"kind": "durable-execution", "version": 2}'])
def test_what_is_no_document_is_said(text: str) -> None:
    with pytest.raises(durable.BadArguments):
        durable.ExecutionDocument.from_json(text)
