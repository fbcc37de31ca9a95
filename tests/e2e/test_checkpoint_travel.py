"""Going back: checkpoints listed, shown, compared, restored; a session begun from one of another's."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

import durable
from durable.sessions.checkpoints.history import Change
from tests.warm_python import PYTHON


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "work.db"


async def test_a_difference_names_what_was_added_removed_and_changed(store: Path) -> None:
    async with durable.open(store) as engine:
        session = await engine.session("desk")
        await session.execute(
            "import math\na = 1; b = 'same'; gone = [1]; c = {'k': 1}; big = [0] * 9_000; one = two = []"
        )
        await session.checkpoint("before")
        await session.execute("a = 2; del gone; c['k'] = 2; new = 3.5; big[8_999] = 1; g = (n for n in [])")
        await session.checkpoint("after")
        found = {change.name: change for change in await session.diff("before", "after")}
        assert found.keys() == {"a", "gone", "c", "new", "big"}
        assert found["a"] == Change("a", "1", "2")
        assert (found["gone"].kind, found["gone"].before, found["gone"].after) == ("removed", "[1]", None)
        assert (found["new"].kind, found["c"].before, found["c"].after) == ("added", "{'k': 1}", "{'k': 2}")
        assert found["big"].kind == "changed"
        assert len(found["big"].before or "") <= 80
        assert await session.diff("after", "after") == []
        detail = await engine.checkpoints_of("desk").show("after")
        assert {"a", "b", "new", "one", "two"} <= set(detail.names)
        assert detail.modules[0][:2] == ("math", "math")
        assert [entry.name for entry in detail.lost] == ["g"]
        with pytest.raises(durable.NotFound):
            await session.diff("before", "never")


async def test_a_fork_begins_where_the_checkpoint_was_and_goes_its_own_way(store: Path) -> None:
    async with durable.open(store) as engine:
        session = await engine.session("desk")
        await session.execute("import numpy as np\nx = [1]; big = np.arange(300_000.0)\ndef f(): return x")
        await session.checkpoint("first")
        await session.execute("x.append(2); big[0] = 9")
        early = await engine.fork("desk", "early", checkpoint="first")
        late = await session.fork("late")
        assert (await early.execute("[f(), float(big[0])]")).value == [[1], 0.0]
        assert (await late.execute("[f(), float(big[0])]")).value == [[1, 2], 9.0]
        await early.execute("x.append('early')")
        assert (await session.execute("x")).value == [1, 2]
        with pytest.raises(durable.Conflict, match="exists"):
            await engine.fork("desk", "late")
        with pytest.raises(durable.NotFound):
            await engine.fork("nobody", "other")
        await session.close()
    async with durable.open(store) as engine:
        early = await engine.session("early")
        assert (await early.execute("[x, float(big[299_999])]")).value == [[1, "early"], 299_999.0]


def cli(store: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [PYTHON, "-m", "durable.cli", "--store", str(store), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


async def test_the_command_line(store: Path) -> None:
    async with durable.open(store) as engine:
        session = await engine.session("desk")
        await session.execute("a = 1; b = [1]")
        await session.checkpoint("one")
        await session.execute("a = 2")
        await session.checkpoint("two")
    listed = json.loads(cli(store, "--json", "checkpoint", "list", "desk").stdout)
    assert [info["label"] for info in listed if info["label"]] == ["one", "two"]
    shown = cli(store, "checkpoint", "show", "desk", "one")
    assert "a b" in shown.stdout, shown.stderr
    compared = cli(store, "checkpoint", "diff", "desk", "one", "two")
    assert ["changed", "a", "1", "2"] in [row.split() for row in compared.stdout.splitlines()], compared.stderr
    forked = cli(store, "fork", "desk", "copy", "--checkpoint", "one")
    assert forked.returncode == 0, forked.stderr
    assert cli(store, "exec", "copy", "a").stdout.strip() == "1"
    assert cli(store, "checkpoint", "restore", "desk", "one").returncode == 0
    assert cli(store, "exec", "desk", "a").stdout.strip() == "1"
    assert cli(store, "checkpoint", "show", "desk", "never").returncode == 3
    assert cli(store, "fork", "nobody", "x").returncode == 3
