"""A small campaign of actors under SIGKILL; the large one is `python -m tests.e2e.actor_campaign`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.actor_campaign import campaign
from tests.postgres_server import PostgresServer


@pytest.mark.parametrize("kind", ["file", "postgres"])
async def test_killed_engines_lose_and_repeat_nothing(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    store = str(tmp_path / "work.db")
    if kind == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        store = server.url()
    done = await campaign(store, actors=8, messages=120, engines=2, kills=2, every_s=0.6, seed=7)
    assert "120 messages" in done
