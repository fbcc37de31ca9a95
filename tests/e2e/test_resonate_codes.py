"""The errors that Resonate has codes for carry them, RES001 to RES005, each brought about for real."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

import durable
from durable.core.errors import DurableError, NotFound, StoreDenied, StoreUnreachable
from durable.http.serve import listen, serving
from durable.http.server_state import Site
from durable.store.sqlite.store import Store
from tests.conftest import TOKEN
from tests.postgres_server import PostgresServer

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"


@durable.function
async def sleeps(ctx: durable.Context) -> None:
    await ctx.sleep(60)


async def test_a_deadline_and_a_checkpoint(tmp_path: Path) -> None:
    async with durable.open(tmp_path / "work.db") as engine:
        with pytest.raises(durable.ExecutionTimedOut) as late:
            await (await engine.start(sleeps, timeout=0.05)).result(20)
        session = await engine.session("desk")
        await session.execute("x = 1")
        with pytest.raises(NotFound) as missing:
            await session.restore("nothing")
        with pytest.raises(NotFound) as other:
            await engine.get("nothing")
    assert [each.value.resonate_code for each in (late, missing, other)] == ["RES001", "RES002", ""]


async def test_a_served_store_that_is_gone_or_refuses(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "work.db")
    try:
        with listen("127.0.0.1", 0) as sock:
            async with serving(Site(store, TOKEN), sock) as url:
                with pytest.raises(StoreDenied, match="refuses the token") as denied:
                    await durable.open(url, token="another-token-than-that").open()
        with pytest.raises(StoreUnreachable, match="does not answer") as gone:
            await durable.open(url, token=TOKEN).open()
    finally:
        await store.close()
    assert [each.value.resonate_code for each in (denied, gone)] == ["RES005", "RES004"]


async def test_a_database_that_is_gone_or_refuses(postgres_server: PostgresServer) -> None:
    url = postgres_server.password_url("porter", "right")
    for wrong in (url.replace(":right@", ":wrong@"), url.replace(":right@", "@")):
        with pytest.raises(StoreDenied) as denied:
            await durable.open(wrong).open()
        assert denied.value.resonate_code == "RES005"
        assert ":wrong@" not in str(denied.value)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(StoreUnreachable) as gone:
        await durable.open(f"postgresql://porter@127.0.0.1:{port}/postgres").open()
    assert gone.value.resonate_code == "RES004"


def _with_code(root: type[DurableError]) -> Iterator[type[DurableError]]:
    if root.resonate_code:
        yield root
    for each in root.__subclasses__():
        yield from _with_code(each)


def test_the_page_has_them_all() -> None:
    told = dict(re.findall(r"^\| `(RES\d+)` \|.*\| (.*) \|$", PAGE.read_text("utf-8"), re.MULTILINE))
    assert told.pop("RES002") == "`NotFound` of a checkpoint"
    codes = {(each.resonate_code, each.__name__) for each in _with_code(DurableError)}
    assert codes == {(code, name) for code, names in told.items() for name in re.findall(r"`(\w+)`", names)}
