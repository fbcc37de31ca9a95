"""Pydantic AI with its own durability on DBOS, on SQLite; the tool is a step. (Its SQLite: see dbos_functions.)"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

import pysqlite3

sys.modules["sqlite3"] = pysqlite3
sys.modules["sqlite3.dbapi2"] = pysqlite3.dbapi2

from dbos import DBOS  # noqa: E402 - SQLite must be exchanged first
from pydantic_ai import Agent  # noqa: E402
from pydantic_ai.durable_exec.dbos import DBOSDurability  # noqa: E402

from benchmarks.contenders.agent_program import MODEL, timed  # noqa: E402
from benchmarks.turns import Ready, serve  # noqa: E402


@asynccontextmanager
async def setup(directory: Path) -> AsyncIterator[Ready]:
    url = f"sqlite:///{directory / 'dbos.sqlite'}"
    DBOS(
        config={"name": "benchmark", "system_database_url": url, "log_level": "ERROR", "run_admin_server": False},
    )
    agent = Agent(MODEL, name="timed", capabilities=[DBOSDurability()])

    @agent.tool_plain
    @DBOS.step()
    async def add(number: int) -> int:
        return number + 1

    @DBOS.workflow()
    async def run() -> str:
        return str((await agent.run("go")).output)

    DBOS.launch()
    try:
        about = f"pydantic-ai {version('pydantic-ai-slim')}, DBOS {version('dbos')}, SQLite"
        yield Ready(about, {"steps": lambda size: timed(size, run)})
    finally:
        DBOS.destroy()


if __name__ == "__main__":
    serve(setup)
