"""Tokens with names and roles: who may do what, how they are kept, and what is audited (specs/http-api.md)."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from durable.core.errors import BadArguments, NotFound, StoreError, StoreForeign
from durable.http.access.host_check import HostCheck
from durable.http.access.roles import ROLES, Role
from durable.http.access.tokens import Tokens, TokensFile, digest_of
from durable.http.serve import listen, serving
from durable.http.server_state import Site
from durable.sessions.calls.audit import read_audit
from durable.store.sqlite.store import Store
from tests.contract.opened import root
from tests.contract.served import TOKEN, client

NEEDS: dict[tuple[str, str], Role | None] = {
    ("POST", "/"): None,
    ("POST", "/batch"): None,
    ("HEAD", f"/chunk/{'0' * 64}"): None,
    ("GET", "/poll/g/p"): None,
    ("GET", "/changes/c"): None,
    ("GET", "/metrics"): "read",
    ("POST", "/prompts/exec:run:input:1/answer"): "answer",
    ("POST", "/executions/run/signals/n"): "operate",
    ("POST", "/promises/p/settle"): "operate",
}
"""The role that each route of the store's server needs; None for those that take its own token alone."""


def made(file: TokensFile) -> dict[str, str]:
    return {role: file.add(f"holder-{role}", role) for role in ROLES}


@pytest.mark.parametrize("route", NEEDS, ids=" ".join)
async def test_each_route_by_each_role(tmp_path: Path, route: tuple[str, str]) -> None:
    store = await Store.open(tmp_path / "s.db", durability="process")
    file, (method, path) = TokensFile(tmp_path / "s.db.tokens"), route
    tokens, needed = made(file), NEEDS[route]
    try:
        site = Site(store, TOKEN, tokens_file=file)
        site.stream_s = 0.01
        with listen("127.0.0.1", 0) as sock:
            async with serving(site, sock) as url, client() as http:
                for role in ROLES:
                    header = {"Authorization": f"Bearer {tokens[role]}"}
                    async with http.request(method, f"{url}{path}", headers=header) as response:
                        may = needed is not None and ROLES.index(role) >= ROLES.index(needed)
                        assert (response.status != 403) is may, (role, response.status)
                        assert response.status < 500
                for wrong in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {tokens['admin']}"}):
                    headers: dict[str, str] = {"Authorization": "", **wrong}
                    async with http.request(method, f"{url}{path}", headers=headers) as response:
                        assert response.status == 401
                async with http.request(method, f"{url}{path}") as response:
                    assert response.status not in (401, 403)
    finally:
        await store.close()


async def test_what_a_token_does_is_audited(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "s.db", durability="process")
    file = TokensFile(tmp_path / "s.db.tokens")
    tokens = made(file)
    try:
        site = Site(store, TOKEN, tokens_file=file)
        await store.request("promise.create", root("run"))
        with listen("127.0.0.1", 0) as sock:
            async with serving(site, sock) as url, client() as http:
                for role in ("read", "operate"):
                    headers = {"Authorization": f"Bearer {tokens[role]}"}
                    body = {"value": "a secret value"}
                    async with http.post(f"{url}/executions/run/signals/n", json=body, headers=headers) as response:
                        assert response.status == (200 if role == "operate" else 403)
        entries = await read_audit(store, None, 10, None)
        told = [(each.who, each.what, each.resource, each.verdict) for each in entries]
        what = "POST /executions/{id}/signals/{name}"
        assert told == [
            ("token:holder-operate", what, "run", "allowed"),
            ("token:holder-read", what, "run", "denied"),
        ]
        assert "secret" not in str(entries)
        assert "200" in entries[0].reason
        assert await read_audit(store, "token:holder-read", 10, None) == entries[1:]
    finally:
        await store.close()


def test_a_file_of_tokens(tmp_path: Path) -> None:
    file = TokensFile(tmp_path / "tokens")
    assert file.read() == {}
    token = file.add("ana", "answer", ("finance", "legal"))
    assert token not in file.path.read_text()
    assert os.stat(file.path).st_mode & 0o777 == 0o600
    assert file.read()["ana"].holder.teams == ("finance", "legal")
    for name, role in (("ana", "read"), ("owner", "admin"), ("", "read"), ("a b", "read"), ("a\nb admin x", "read")):
        with pytest.raises(BadArguments):
            file.add(name, role)  # type: ignore[arg-type]
    with pytest.raises(BadArguments):
        file.add("bob", "root")  # type: ignore[arg-type]
    file.remove("ana")
    with pytest.raises(NotFound):
        file.remove("ana")
    os.chmod(file.path, 0o644)
    with pytest.raises(StoreForeign):
        file.read()


@pytest.mark.parametrize(
    "line",
    [
        "ana",
        "ana read",
        "ana root 0123456789abcdef",
        "ana read short",
        "ana read 0123456789abcdef a/b",
        "owner admin 0123456789abcdef",
        "ana read 0123456789abcdef\nana read 0123456789abcdeg",
        "ana read 0123456789abcdef\nbob admin 0123456789abcdef",
        "añа read 0123456789abcdef",
    ],
)
def test_a_line_that_is_none_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"# a comment\n\n{line}\n")
    path.chmod(0o600)
    with pytest.raises(StoreError) as refused:
        TokensFile(path).read()
    assert "0123456789abcdef" not in str(refused.value)


def test_a_server_reads_its_tokens_again(tmp_path: Path) -> None:
    file = TokensFile(tmp_path / "tokens")
    tokens = Tokens(TOKEN, file)
    tokens.refresh()
    token = file.add("ana", "read")
    assert tokens.holder_of(token) is None
    tokens.refresh()
    holder = tokens.holder(f"bearer {token}")
    assert holder is not None
    assert (holder.name, holder.role, holder.owner) == ("ana", "read", False)
    good = file.path.read_text()
    file.path.write_text("nonsense\n")
    error = tokens.refreshed()
    assert error is not None
    assert tokens.holder_of(token) is None
    assert tokens.holder_of(TOKEN) is not None
    file.path.write_text(good)
    assert tokens.refreshed() is None
    assert tokens.holder_of(token) is not None
    file.remove("ana")
    tokens.refresh()
    assert tokens.holder_of(token) is None
    file.path.write_text(f"ana admin {TOKEN}\n")
    tokens.refresh()
    found = tokens.holder_of(TOKEN)
    assert found is not None
    assert found.owner  # nobody can take the server's own token for another one
    assert tokens.holder_of(digest_of(TOKEN).hex()) is None


async def test_a_removed_token_is_refused_within_moments(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "s.db", durability="process")
    file = TokensFile(tmp_path / "s.db.tokens")
    token = file.add("ana", "read")
    try:
        with listen("127.0.0.1", 0) as sock:
            async with serving(Site(store, TOKEN, tokens_file=file), sock) as url, client() as http:
                headers = {"Authorization": f"Bearer {token}"}

                async def status() -> int:
                    async with http.get(f"{url}/metrics", headers=headers) as response:
                        return response.status

                assert await status() == 200
                file.remove("ana")
                for _ in range(100):  # it looks at the file once a second
                    if (found := await status()) == 401:
                        break
                    await asyncio.sleep(0.05)
                assert found == 401
    finally:
        await store.close()


HOSTS: dict[str | None, bool] = {
    "127.0.0.1:8001": True,
    "[::1]:8001": True,
    "LOCALHOST": True,
    "localhost.": True,
    "10.1.2.3": True,
    "durable.example.org:443": True,
    "DURABLE.example.org": True,
    "evil.example": False,
    "localhost.evil.example": False,
    "": False,
    None: False,
    "[::1": False,
    "durable.example.org@evil.example": False,
}


@pytest.mark.parametrize("header", HOSTS)
def test_hosts(header: str | None) -> None:
    assert HostCheck(["durable.example.org"]).host(header) is HOSTS[header]


@pytest.mark.parametrize(
    ("origin", "good"),
    [
        (None, True),
        ("http://localhost:8001", True),
        ("https://app.example.org", True),
        ("https://APP.example.org", True),
        ("http://app.example.org", False),
        ("https://app.example.org:444", False),
        ("https://app.example.org.evil.example", False),
        ("null", False),
        ("http://localhost:9000", False),
        ("file://", False),
        ("http://[", False),
    ],
)
def test_origins(origin: str | None, good: bool) -> None:
    assert HostCheck(origins=["https://app.example.org/"]).origin(origin, "localhost:8001") is good


@pytest.mark.parametrize("site", ["*", "app.example.org", "https://", "https://a.example/x", "ftp://a.example"])
def test_a_site_is_given_as_browsers_name_it(site: str) -> None:
    with pytest.raises(BadArguments):
        HostCheck(origins=[site])


async def test_who_answers_is_the_token_unless_an_admin_says_otherwise(tmp_path: Path) -> None:
    from durable.http.access.roles import TokenHolder
    from durable.http.prompt_api import answerer_of

    ana: Any = TokenHolder("ana", "answer", ("finance",))
    assert answerer_of(ana, None, ()) == ("ana", ("finance",))
    assert answerer_of(ana, "ana", ("finance",)) == ("ana", ("finance",))
    for by, teams in (("bob", ()), (None, ("legal",)), ("", ())):
        with pytest.raises(BadArguments):
            answerer_of(ana, by, teams)
    assert answerer_of(TokenHolder("root", "admin"), "bob", ("legal",)) == ("bob", ("legal",))
