"""`durable mcp`"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, Settings, in_loop, settings
from durable.cli.session_options import Limit
from durable.cli.text_output import Out

if TYPE_CHECKING:
    from durable.engine.engine import Engine
    from durable.functions.definition import Function
    from durable.mcp.clients import ClientTokens
    from durable.mcp.tool_host import McpOptions

TOKEN_VARIABLE = "DURABLE_MCP_TOKEN"  # noqa: S105


@dataclass(frozen=True, slots=True)
class _Serving:
    """The options of the server, as they were typed."""

    targets: tuple[str, ...]
    http: bool
    host: str
    port: int
    token_file: str | None
    clients: str | None
    hosts: tuple[str, ...]
    origins: tuple[str, ...]
    profile: Literal["open", "isolated"]
    limits: tuple[tuple[str, float], ...]
    grants: tuple[str, ...]
    read_only: bool
    approvals: bool
    answers_at: str | None


@click.command("mcp", cls=Command, short_help="Offer sessions, functions and questions to agents over MCP.")
@click.argument("targets", metavar="[FILE::FUNC]...", nargs=-1)
@click.option("--http", is_flag=True, help="Serve streamable HTTP; without it, the streams of this process.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8002, show_default=True, help="0 takes a free one.")
@click.option("--token-file", type=click.Path(dir_okay=False), help="Holds the token [default: <store>.mcp-token].")
@click.option(
    "--clients",
    type=click.Path(exists=True, dir_okay=False),
    help="A file with a line `NAME TOKEN` for each client: each then has sessions of its own.",
)
@click.option("--allow-host", "hosts", multiple=True, metavar="NAME[:PORT]", help="A name by which it is reached.")
@click.option("--allow-origin", "origins", multiple=True, metavar="URL", help="A site whose pages may call it.")
@click.option(
    "--profile",
    type=click.Choice(["isolated", "open"]),
    default="isolated",
    show_default=True,
    help="How the sessions of agents are held.",
)
@click.option("--limit", "limits", multiple=True, type=Limit(), metavar="NAME=N", help="What a session may use.")
@click.option("--grant", "grants", multiple=True, metavar="NAME[:WHAT]", help="A capability that its code may call.")
@click.option("--read-only", is_flag=True, help="Only tools that change nothing.")
@click.option("--approvals", is_flag=True, help="Agents may answer approvals, which are otherwise left to people.")
@click.option("--answers-at", metavar="URL", help="`durable serve` as people reach it: questions then have links.")
def command(**given: Any) -> int:
    """Offer the store to agents over the Model Context Protocol.

    Without --http it speaks on its stdin and stdout, for clients that start it. FILE::FUNC are the durable functions
    that `start` may start; no others. Over HTTP clients need the token: that of DURABLE_MCP_TOKEN, else of the token
    file, which is made when missing.
    """
    chosen, serving = settings(), _Serving(**given)
    return in_loop(lambda: _serve(chosen, serving))


async def _serve(chosen: Settings, serving: _Serving) -> int:
    import asyncio

    from durable.cli.engine_or_client import open_engine

    _require_mcp()
    out = chosen.out()
    options = _options(chosen, serving)
    engine = open_engine(chosen, out, serve=not serving.read_only, create=not serving.read_only)
    try:
        async with engine:
            if serving.http:
                await _over_http(engine, out, serving, options)
            else:
                await _over_stdio(engine, options)
    except asyncio.CancelledError:
        out.say("ending; nothing is lost by it")
    return exit_codes.DONE


def _require_mcp() -> None:
    from importlib.util import find_spec

    if find_spec("mcp") is None:
        from durable.core.errors import StoreError
        from durable.core.extras import install_command

        raise StoreError(f"`durable mcp` needs the package mcp; {install_command('mcp')}")


def _options(chosen: Settings, serving: _Serving) -> McpOptions:
    from dataclasses import asdict

    from bridge.confine.limits import Limits
    from durable.mcp.tool_host import DEFAULT_LIMITS, OPEN_LIMITS, McpOptions

    usual = DEFAULT_LIMITS if serving.profile == "isolated" else OPEN_LIMITS
    return McpOptions(
        profile=serving.profile,
        limits=Limits.read({**asdict(usual), **dict(serving.limits)}),
        grants=serving.grants,
        functions=_functions(serving.targets),
        read_only=serving.read_only,
        approvals=serving.approvals,
        answers_at=serving.answers_at,
        store_named=chosen.named,
    )


def _functions(targets: tuple[str, ...]) -> dict[str, Function[..., Any]]:
    """The functions by the name that agents use: their own, and all of what was typed where two have the same."""
    from durable.cli.load_target import find, split_target

    found: dict[str, Function[..., Any]] = {}
    for target in targets:
        source, name = split_target(target)
        found[target if name in found else name] = find(source, name)
    return found


async def _over_stdio(engine: Engine, options: McpOptions) -> None:
    from mcp.server.stdio import stdio_server

    from durable.mcp.server import mcp_server

    async with mcp_server(engine, options) as server, stdio_server() as (inward, outward):
        await server.run(inward, outward, server.create_initialization_options())


async def _over_http(engine: Engine, out: Out, serving: _Serving, options: McpOptions) -> None:
    import asyncio

    from durable.http.serve import listen
    from durable.mcp.http_transport import serving_mcp
    from durable.mcp.server import mcp_server

    tokens = _tokens(engine, out, serving)
    hosts = serving.hosts if serving.host in ("0.0.0.0", "::") else (*serving.hosts, f"{serving.host}:*")  # noqa: S104
    with listen(serving.host, serving.port) as sock:
        async with (
            mcp_server(engine, options) as server,
            serving_mcp(server, sock, tokens, hosts, serving.origins) as url,
        ):
            out.say("serving agents over MCP")
            if serving.host not in ("127.0.0.1", "::1", "localhost"):
                out.say("the token travels unencrypted: put a proxy with TLS in front")
            if out.json:
                out.document({"url": url})
            else:
                out.data(url)
            await asyncio.get_running_loop().create_future()


def _tokens(engine: Engine, out: Out, serving: _Serving) -> ClientTokens:
    from durable.http.access.tokens import token_for
    from durable.mcp.clients import ClientTokens, read_clients

    file = engine.store.file
    beside = Path(".durable/state.db") if file is None else file.path
    where = Path(serving.token_file) if serving.token_file is not None else Path(f"{beside}.mcp-token")
    where.parent.mkdir(parents=True, exist_ok=True)
    token, made = token_for(where, beside, TOKEN_VARIABLE)
    if made:
        out.say(f"token made, kept in {where}")
    clients = read_clients(Path(serving.clients), beside) if serving.clients is not None else {}
    return ClientTokens(token, clients)
