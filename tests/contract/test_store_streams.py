"""Streams against a plain model: offsets, what a step's later run replaces, keys' newest values (specs/streams.md)."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from durable.records.values import pack, unpack
from tests.contract.opened import acquire, opened, promise, root, status

NAMES = ("a", "b")
STEPS = ("exec:run.1", "exec:run.2")


@dataclass
class Model:
    """The items of each stream as (offset, value, step, position); the values by key."""

    items: dict[str, list[tuple[int, Any, str | None, int | None]]] = field(
        default_factory=lambda: {name: [] for name in NAMES}
    )
    ends: dict[str, int] = field(default_factory=lambda: dict.fromkeys(NAMES, 0))
    published: dict[str, Any] = field(default_factory=dict)
    writes: dict[tuple[str, str, int], tuple[int, list[Any]]] = field(default_factory=dict)
    """The newest write at each position of a step: its offset and values."""

    def write(self, name: str, values: list[Any], step: str | None = None, position: int | None = None) -> int:
        if step is not None:
            n = self.writes.get((name, step, position or 0), (-1, []))
            if n[1] == values and any(each[0] == n[0] for each in self.items[name]):
                return n[0]
            self.items[name] = [
                each for each in self.items[name] if each[2] != step or (each[3] or 0) < (position or 0)
            ]
        start = self.ends[name]
        place = [None if position is None else position + n for n in range(len(values))]
        self.items[name] += [(start + n, value, step, place[n]) for n, value in enumerate(values)]
        self.writes[name, step or "", position or 0] = (start, values)
        self.ends[name] += len(values)
        return start


def write(promise_id: str, name: str, values: list[Any], **more: Any) -> dict[str, Any]:
    tags: dict[str, Any] = {"durable_stream": name, "durable_execution": "exec:run"}
    tags |= {"durable_items": str(len(values)), **more}
    data = {**promise(promise_id, **tags), "param": {"data": pack({"items": values})}}
    return {"id": "exec:run", "version": 1, "action": {"kind": "promise.create", "data": data}}


async def test_random_writes_are_as_the_model_has_them(tmp_path: Path) -> None:
    chance = random.Random(21)
    model = Model()
    positions = {(step, name): 0 for step in STEPS for name in NAMES}
    async with opened(tmp_path / "s.db") as store:
        await store.request("promise.create", root("run"))
        await acquire(store, "run")
        for n in range(400):
            name, step = chance.choice(NAMES), chance.choice(STEPS)
            values = [chance.randrange(3) for _ in range(chance.choice((1, 1, 3)))]
            match chance.choice(["write", "step", "step", "step", "again", "publish"]):
                case "write":
                    request, made = write(f"exec:run.{n + 10}", name, values), model.write(name, values)
                case "again":
                    positions = {key: 0 if key[0] == step else value for key, value in positions.items()}
                    continue
                case "step":
                    position = positions[step, name] + 1
                    positions[step, name] += len(values)
                    tags = {"durable_step": step, "durable_position": str(position), "durable_item": str(values)}
                    request = write(f"{step}:stream:r-{n}", name, values, **tags)
                    made = model.write(name, values, step, position)
                case _:
                    data = dict.fromkeys(chance.sample("xyz", 2), n)
                    keyed: dict[str, Any] = {"durable_publish": json.dumps([*data]), "durable_execution": "exec:run"}
                    made_data = {**promise(f"exec:run.{n + 10}", **keyed), "param": {"data": pack(data)}}
                    action = {"kind": "promise.create", "data": made_data}
                    await store.request("task.fence", {"id": "exec:run", "version": 1, "action": action})
                    model.published |= data
                    continue
            answer = await store.request("task.fence", request)
            assert unpack(answer.data["action"]["data"]["promise"]["value"]["data"]) == made
        for name in NAMES:
            for offset in (0, 1, 7, model.ends[name] // 2, model.ends[name], model.ends[name] + 5):
                page = await store.reads.stream("run", name, offset)
                found = [(row.offset, row.value, row.step, row.position) for row in page.items]
                assert found == [each for each in model.items[name] if each[0] >= offset]
            few, place = [], 0
            while (page := await store.reads.stream("run", name, place, limit=2)).next_offset != place:
                few += [row.offset for row in page.items]
                place = page.next_offset
            assert few == [each[0] for each in model.items[name]]
        assert {row.key: row.value for row in await store.reads.published("run")} == model.published
        assert [row.value for row in await store.reads.published("run", "x")] == [model.published["x"]]
        assert {end.name: end.next_offset for end in await store.reads.streams("run")} == model.ends


async def test_what_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        await store.request("promise.create", root("run"))
        await acquire(store, "run")
        for promise_id, tags in (
            ("exec:other.1", {}),
            ("exec:run.1", {"durable_stream": ""}),
            ("exec:run.1", {"durable_stream": "x" * 201}),
            ("exec:run.1", {"durable_items": "0"}),
            ("exec:run.1", {"durable_items": "many"}),
            ("exec:run.1", {"durable_step": "exec:run.1"}),
            ("exec:run.1", {"durable_position": "1"}),
            ("exec:run.1:stream:r-1", {"durable_step": "exec:run.2", "durable_position": "1"}),
        ):
            assert await status(store, "task.fence", write(promise_id, "s", [1], **tags)) == 400, (promise_id, tags)
        publish = write("exec:run.1", "s", [1])
        publish["action"]["data"]["tags"] = {"durable:publish": "no list", "durable:execution": "exec:run"}
        assert await status(store, "task.fence", publish) == 400
