"""The store of a campaign, a file or a schema of a PostgreSQL server of its own, as it is looked at from behind; and
the engines on it."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
from collections.abc import Coroutine, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg

import durable
from durable.store.postgres.address import address_of
from durable.store.upkeep import invariants
from tests.contract import postgres_rules
from tests.postgres_server import PostgresServer, rows_of
from tests.warm_python import PYTHON


class CampaignStore:
    """`place` is what `durable.open` takes."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.is_file = not place.startswith("postgresql:")

    def look(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a statement that reads."""
        if not self.is_file:
            return rows_of(self.place, sql)
        with closing(sqlite3.connect(f"file:{self.place}?mode=ro", uri=True, timeout=60)) as file:
            return file.execute(sql).fetchall()

    def log(self, table: str, columns: str, triggers: list[tuple[str, str, str]]) -> None:
        """Make a table whose rows `seq` numbers, and triggers that write to it: an event (`INSERT ON table`), a
        condition, and the INSERT."""
        if self.is_file:
            with closing(sqlite3.connect(self.place, timeout=60)) as file:
                file.execute(f"CREATE TABLE {table} (seq INTEGER PRIMARY KEY, {columns})")
                for n, (event, when, insert) in enumerate(triggers):
                    body = f"BEGIN {insert}; END"
                    file.execute(f"CREATE TRIGGER {table}_{n} AFTER {event} WHEN {when} {body}")
                file.commit()
            return
        address = address_of(self.place)
        with psycopg.connect(address.conninfo, autocommit=True) as connection:
            connection.execute(f'SET search_path TO "{address.schema}"'.encode())
            own = columns.replace("INTEGER", "bigint")
            connection.execute(
                f"CREATE TABLE {table} (seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, {own})".encode()
            )
            for n, (event, when, insert) in enumerate(triggers):
                body = f"BEGIN {insert}; RETURN NULL; END"
                connection.execute(
                    f"CREATE FUNCTION {table}_{n}() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$".encode()
                )
                connection.execute(
                    f"CREATE TRIGGER {table}_{n} AFTER {event} FOR EACH ROW WHEN ({when})"
                    f" EXECUTE FUNCTION {table}_{n}()".encode()
                )

    def broken(self) -> list[str]:
        """The rules of a store at rest that do not hold."""
        if not self.is_file:
            return postgres_rules.broken(self.place)
        with closing(sqlite3.connect(self.place)) as file:
            return [rule for rule, _ in invariants.broken(file.execute)]


class EngineProcesses:
    """Processes of a module that opens the store, says `ready` and works until it is killed."""

    def __init__(self, place: str, module: str, **environment: str) -> None:
        self._command = (PYTHON, "-m", module, place)
        self._environment = {**os.environ, **environment}
        self.running: list[asyncio.subprocess.Process] = []

    async def start(self) -> None:
        """Start one, and wait until it is ready."""
        process = await asyncio.create_subprocess_exec(
            *self._command, stdout=asyncio.subprocess.PIPE, env=self._environment
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        self.running.append(process)

    async def kill(self, which: int) -> None:
        """Kill one of those that run."""
        process = self.running.pop(which)
        process.kill()
        await process.wait()

    async def replace(self, which: int) -> None:
        """Kill one, and start another."""
        await self.kill(which)
        await self.start()


@contextmanager
def campaign_store(folder: Path, *, postgres: bool) -> Iterator[CampaignStore]:
    """A new store; with a database its server runs meanwhile."""
    if not postgres:
        yield CampaignStore(str(folder / "work.db"))
        return
    server = PostgresServer()
    try:
        yield CampaignStore(server.url())
    finally:
        server.stop()


async def serve_until_killed(place: str) -> None:
    """An engine on the store of a campaign, in a process of its own."""
    async with durable.open(place, durability="process"):
        print("ready", flush=True)
        await asyncio.Event().wait()


def report(campaign: Coroutine[Any, Any, dict[str, Any]], seed: int) -> None:
    """Run a campaign and print what it found; where it fails, the seed that makes it fail again."""
    try:
        found = asyncio.run(campaign)
    except BaseException:
        print(f"seed {seed}", file=sys.stderr)
        raise
    print(json.dumps(found))
