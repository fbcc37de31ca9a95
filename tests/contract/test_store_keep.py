"""Which checkpoints stay, and that nothing which is needed goes with the others (specs/checkpoint.md, Keeping)."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from durable.core.errors import StoreRefused
from durable.store.sqlite.store import Store
from durable.store.upkeep.gc import thin
from tests.contract.opened import Clock, opened


async def publish(store: Store, clock: Clock, label: str | None = None, session: str = "desk", **more: Any) -> int:
    clock.now += 1_000
    data = {"session": session, "epoch": 1, "statement": 0, "final": False, "manifest": b"m", "label": label, **more}
    return int((await store.request("checkpoint.publish", data)).data["checkpoint"])


async def kept(store: Store, session: str = "desk") -> list[int]:
    rows: Any = (await store.request("checkpoint.list", {"session": session})).data["checkpoints"]
    return [row["id"] for row in rows]


async def sessions(store: Store, *names: str) -> None:
    for name in names:
        await store.request("session.open", {"session": name, "engine": "e1", "options": {}})


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        # published 1..8 a second apart; 2, 5 and 8 have labels
        ({}, [2, 5, 6, 7, 8]),
        ({"last": 1}, [2, 5, 7, 8]),
        ({"last": 4}, [2, 3, 4, 5, 6, 7, 8]),
        ({"last": 100, "age_ms": 3_500}, [2, 5, 6, 7, 8]),
        ({"last": 1, "labelled": False}, [8]),
        ({"last": 3, "labelled": False}, [6, 7, 8]),
        ({"last": 100, "labelled": False, "age_ms": 0}, [8]),
        ({"last": 0}, [2, 5, 8]),
    ],
    ids=str,
)
async def test_what_a_policy_keeps(tmp_path: Path, keep: dict[str, Any], expected: list[int]) -> None:
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        await sessions(store, "desk", "other")
        for n in range(1, 9):
            await publish(store, clock, "l" if n % 3 == 2 else None, keep={"last": 100})
        other = await publish(store, clock, session="other")
        clock.now -= 1_000
        assert await _swept(store, keep, dry_run=True) == 8 - len(expected)
        assert len(await kept(store)) == 8
        assert await _swept(store, keep) == 8 - len(expected)
        assert await kept(store) == expected
        assert await kept(store, "other") == [other]
        assert await _swept(store, keep) == 0


async def _swept(store: Store, keep: dict[str, Any], *, dry_run: bool = False) -> int:
    return [found async for found in thin(store, keep, dry_run=dry_run)][-1].checkpoints


async def test_a_publish_retires_by_its_own_policy(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        await sessions(store, "desk")
        made = [await publish(store, clock, keep={"last": 3}) for _ in range(6)]
        assert await kept(store) == made[-3:]
        clock.now += 60_000
        last = await publish(store, clock, keep={"last": 3, "age_ms": 30_000})
        assert await kept(store) == [last]


async def test_sweeping_many_sessions_goes_in_batches(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        names = [f"s{n:03}" for n in range(130)]
        await sessions(store, *names)
        for name, _ in itertools.product(names, range(2)):
            await publish(store, clock, session=name)
        found = [found.checkpoints async for found in thin(store, {"last": 1})]
        assert found == [100, 130]
        assert all([len(await kept(store, name)) == 1 for name in names])


async def test_who_builds_on_what_has_gone_is_refused(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        await sessions(store, "desk")
        first = await publish(store, clock, chunks=[("a", b"A")], uses=["a", "blob"])
        assert await publish(store, clock, chunks=[("b", b"B")], uses=["a", "blob", "b"], carried=["a", "blob"])
        third = await publish(store, clock, chunks=[("c", b"C")], uses=["c"])
        assert await kept(store) == [first + 1, third]
        fourth = await publish(store, clock, uses=["c"], carried=["c"], keep={"last": 1})
        for gone in ("a", "blob"):
            with pytest.raises(StoreRefused, match="went with the last checkpoint"):
                await publish(store, clock, uses=[gone], carried=[gone])
        assert await kept(store) == [fourth]


async def test_code_labels_some_and_people_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("durable.store.operations.checkpoints.CODE_LABELS_MAX", 3)
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        await sessions(store, "desk")
        for n in range(1, 7):
            await publish(store, clock, "person" if n == 2 else "code", by_code=n != 2, keep={"last": 1})
        assert await kept(store) == [2, 4, 5, 6]
        await store.request("checkpoint.label", {"checkpoint": 4, "label": "taken over"})
        await publish(store, clock, "code", by_code=True, keep={"last": 1})
        await publish(store, clock, "code", by_code=True, keep={"last": 1})
        assert await kept(store) == [2, 4, 6, 7, 8]
        assert await _swept(store, {"last": 1}) == 0


async def test_a_label_is_given_and_taken(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path / "s.db", clock=clock) as store:
        await sessions(store, "desk")
        made = await publish(store, clock)
        for label in ("good", None, "better"):
            await store.request("checkpoint.label", {"checkpoint": made, "label": label})
            rows: Any = (await store.request("checkpoint.list", {"session": "desk"})).data["checkpoints"]
            assert [row["label"] for row in rows] == [label]
        with pytest.raises(StoreRefused, match="does not exist"):
            await store.request("checkpoint.label", {"checkpoint": 99, "label": None})
