"""Values under keys: several written at once are all there, or none of them is."""

from __future__ import annotations

from pathlib import Path

from tests.contract.opened import opened, status


async def test_keys_that_are_written_together_are_all_there_or_none(tmp_path: Path) -> None:
    async with opened(tmp_path / "work.db") as store:

        async def keys() -> dict[str, str]:
            listed = (await store.request("kv.list", {"namespace": "n"})).data["keys"]
            found = [(await store.request("kv.get", {"namespace": "n", "key": key})).data["value"] for key in listed]
            return dict(zip(listed, found, strict=True))

        first = {"namespace": "n", "quota": 60, "put": {"a": "1", "b": "2"}, "fill": {"c": "3"}}
        assert (await store.request("kv.write", first)).data == {"filled": ["c"]}
        second = {"namespace": "n", "quota": 60, "put": {"a": "4"}, "fill": {"c": "5", "d": "6"}, "delete": ["b", "x"]}
        assert (await store.request("kv.write", second)).data == {"filled": ["d"]}
        assert await keys() == {"a": "4", "c": "3", "d": "6"}
        greatest = {"namespace": "n", "quota": 60, "greatest": {"a": "3", "c": "4", "z": "1"}, "delete": ["z"]}
        await store.request("kv.write", greatest)
        assert await keys() == {"a": "4", "c": "4", "d": "6"}
        large = {"namespace": "n", "quota": 60, "put": {"e": "1", "f": "1" * 99}, "delete": ["a"]}
        assert await status(store, "kv.write", large) == 413
        assert await keys() == {"a": "4", "c": "4", "d": "6"}, "nothing of it is written"
        usage = (await store.request("kv.usage", {"namespace": "n"})).data
        assert usage == {"used": 6, "keys": 3}
        assert (await store.request("kv.write", {"namespace": "n", "quota": 0})).data == {"filled": []}


async def test_a_key_is_removed_only_where_it_has_the_value_that_is_said(tmp_path: Path) -> None:
    async with opened(tmp_path / "work.db") as store:
        place = {"namespace": "n", "key": "k"}
        await store.request("kv.set", {**place, "value": "1", "quota": 9})
        for value, deleted in (("2", False), ("1", True), ("1", False)):
            assert (await store.request("kv.delete", {**place, "value": value})).data == {"deleted": deleted}
        assert (await store.request("kv.usage", {"namespace": "n"})).data == {"used": 0, "keys": 0}
