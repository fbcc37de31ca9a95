"""pytest's plugin in runs of its own (specs/testing.md)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import durable
from durable import testing

JOBS = """
import durable

@durable.function
async def job(ctx):
    await ctx.sleep(86400)
    return await ctx.run(len, [1])

@durable.function
async def changed(ctx):
    await ctx.sleep(7)
"""

TESTS = """
import pytest
from jobs_of_plugin import job

async def test_fixture(durable_engine):
    assert await (await durable_engine.start(job)).result() == 1
    assert durable_engine.time.elapsed.days == 1

@pytest.mark.durable(signals={"go": 5})
async def test_marker(durable_engine):
    assert durable_engine.script.signals == {"go": 5}
"""


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    others = [f"-pno:{each}" for each in ("cacheprovider", "hypothesispytest", "xdist", "timeout", "anyio")]
    command = [sys.executable, "-m", "pytest", "-q", "--strict-markers", *others, *options]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=115, check=False
    )


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"
    )
    (tmp_path / "jobs_of_plugin.py").write_text(JOBS)
    (tmp_path / "test_jobs.py").write_text(TESTS)
    from durable.cli.load_target import load

    jobs = load(str(tmp_path / "jobs_of_plugin.py"))
    async with testing.open() as engine:
        for function in (jobs.job, jobs.changed):
            await (await engine.start(function, id=function.name)).result()
            await testing.record(engine, function.name, tmp_path / f"{function.name}.history.json")
    (tmp_path / "jobs_of_plugin.py").write_text(JOBS.replace("sleep(7)", "sleep(80)"))
    return tmp_path


def test_the_fixture_the_marker_and_histories_work(folder: Path) -> None:
    done = run(folder)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed, 3 passed" in done.stdout, done.stdout
    assert "NonDeterminism" in done.stdout
    assert "changed.1" in done.stdout


def test_the_plugin_imports_nothing_of_the_engine_before_it_is_used() -> None:
    code = "import sys, pytest, durable.testing.pytest_plugin, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    ours = {name for name in loaded if name.split(".")[0] in ("durable", "bridge", "capabilities", "checkpoint")}
    assert ours == {"durable", "durable.testing", "durable.testing.pytest_plugin"}
    assert not loaded & {"asyncio", "sqlite3", "pydantic", "resonate", "aiosqlite"} - {"asyncio"}


def test_public_names_are_there() -> None:
    for name in testing.__all__:
        assert getattr(testing, name) is not None
    assert dir(testing)
    with pytest.raises(AttributeError):
        testing.nothing
    assert issubclass(testing.Stuck, durable.DurableError)
