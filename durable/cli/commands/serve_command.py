"""`durable serve`"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, Settings, in_loop, settings, until_ended
from durable.cli.exit_codes import Unusable
from durable.cli.text_output import Out
from durable.core import events
from durable.core.limits import LEASE_MS

SECRET_VARIABLE = "DURABLE_WEBHOOK_SECRET"  # noqa: S105  # its name, not a secret

PORT = 8001
"""The port that Resonate's SDKs try by themselves."""


@click.command("serve", cls=Command, short_help="Offer the store over HTTP.")
@click.argument("sources", metavar="[MODULE|FILE]...", nargs=-1)
@click.option("--engine", is_flag=True, help="Run executions and sessions in this process, too.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0 takes a free one.")
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False),
    help="Holds the token [default: <store>.token; for a database a file of the user's state].",
)
@click.option(
    "--tokens-file",
    type=click.Path(dir_okay=False),
    help="The tokens of people and programs, see `durable token` [default: <store>.tokens].",
)
@click.option("--allow-host", "hosts", multiple=True, metavar="NAME", help="A name by which it is reached.")
@click.option("--allow-origin", "origins", multiple=True, metavar="URL", help="A site whose pages may call it.")
@click.option(
    "--lease",
    type=click.FloatRange(min=0.1),
    default=LEASE_MS / 1000,
    show_default=True,
    metavar="SECONDS",
    help="How long an engine elsewhere may be silent before others get its work.",
)
@click.option("--webhook", "webhooks", multiple=True, metavar="URL", help="Tell of questions there; may be repeated.")
@click.option(
    "--webhook-secret-file",
    type=click.Path(exists=True, dir_okay=False),
    help="Holds the secret that signs what is sent [default: DURABLE_WEBHOOK_SECRET].",
)
@click.option("--answers-at", metavar="URL", help="This server as those who answer reach it [default: its own URL].")
def command(
    sources: tuple[str, ...],
    engine: bool,
    host: str,
    port: int,
    token_file: str | None,
    tokens_file: str | None,
    hosts: tuple[str, ...],
    origins: tuple[str, ...],
    lease: float,
    webhooks: tuple[str, ...],
    webhook_secret_file: str | None,
    answers_at: str | None,
) -> int:
    """Offer the store to other processes, machines and SDKs over HTTP, until Ctrl-C or SIGTERM.

    Prints the URL. Clients need the token: that of DURABLE_TOKEN, else of the token file, which is made when missing.
    Several may serve one database, each with the same token. People and programs use the API at /api/v1, with tokens of
    their own (`durable token`). With MODULEs or FILEs, or --engine, it runs their functions and sessions itself.
    """
    chosen = settings()
    if sources:
        _load(chosen.out(), sources)
    hooks = _Hooks(webhooks, _secret(webhook_secret_file) if webhooks else "", answers_at)
    offer = _Offer(host, port, token_file, tokens_file, hosts, origins, lease, engine or bool(sources))
    return in_loop(lambda: _serve(chosen, offer, hooks))


class _Offer(NamedTuple):
    """The options of the server, as they were typed."""

    host: str
    port: int
    token_file: str | None
    tokens_file: str | None
    hosts: tuple[str, ...]
    origins: tuple[str, ...]
    lease: float
    engine: bool


def _load(out: Out, sources: tuple[str, ...]) -> None:
    from durable.cli.load_target import load, place_of

    out.protect()
    for source in sources:
        load(place_of(source))


class _Hooks(NamedTuple):
    urls: tuple[str, ...]
    secret: str
    answers_at: str | None


def _secret(file: str | None) -> str:
    """From the file or the environment: a command line is seen by everybody on the machine."""
    if file is not None:
        try:
            found = Path(file).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Unusable(f"--webhook-secret-file {file!r} cannot be read: {error}") from None
    else:
        found = os.environ.get(SECRET_VARIABLE, "")
    if not found:
        raise Unusable(f"--webhook needs a secret: in {SECRET_VARIABLE}, or in a file that --webhook-secret-file names")
    return found


async def _serve(chosen: Settings, offer: _Offer, hooks: _Hooks) -> int:
    from durable.core.errors import BadArguments
    from durable.engine.store_doctor import examined
    from durable.http.access.host_check import HostCheck
    from durable.http.access.tokens import TokensFile, token_for
    from durable.http.dashboard_mount import DashboardMount
    from durable.http.serve import listen, serving
    from durable.http.server_state import Site
    from durable.prompts.webhooks import Webhook, telling
    from durable.store.port import open_direct

    out = chosen.out()
    try:  # before anything is opened
        checked = [Webhook(url, hooks.secret, hooks.answers_at) for url in hooks.urls]
        host_check = HostCheck((*offer.hosts, offer.host), offer.origins)
    except BadArguments as error:
        raise Unusable(str(error)) from None
    store = await open_direct(chosen.path, observer=_observer(out))
    try:
        file = Path(offer.token_file) if offer.token_file is not None else Path(f"{store.path}.token")
        if offer.token_file is None and store.file is None:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # of this user's state: a database has no place
        token, made = token_for(file, store.path)
        named = TokensFile(Path(offer.tokens_file or f"{store.path}.tokens"), store.path)
        site = Site(
            store,
            token,
            tokens_file=named,
            host_check=host_check,
            observer=_observer(out),
            lease_s=offer.lease,
            runs=offer.engine,
            engine_options=_engine_options(chosen) if offer.engine else None,
            examine=lambda: examined(chosen.path),
        )
        with listen(offer.host, offer.port) as sock:
            async with serving(site, sock, DashboardMount(site, chosen.path)) as url:
                if offer.engine:
                    from durable.http.api.server_engine import server_engine

                    await server_engine(site)
                if made:
                    out.say(f"token made, kept in {file}")
                _say(out, url, store.name, file, offer, links_lead_here=bool(checked) and hooks.answers_at is None)
                told = [replace(each, answers_at=hooks.answers_at or url) for each in checked]
                async with telling(store, told, _observer(out)):
                    await until_ended(out)
    finally:
        await store.close()
    return exit_codes.DONE


def _engine_options(chosen: Settings) -> dict[str, Any]:
    from durable.cli.load_target import declared, load_capabilities
    from durable.sandbox.component_registry import Declared

    return {
        "override_environment": chosen.override_environment,
        "capabilities": load_capabilities(()),
        "components": Declared(find=declared),
    }


def _say(out: Out, url: str, store: str, file: Path, offer: _Offer, *, links_lead_here: bool) -> None:
    """Say where it is served, and how clients get in."""
    from durable.http.access.tokens import VARIABLE

    clients = f"clients, with the same {VARIABLE}:"
    if not os.environ.get(VARIABLE):
        clients = f"clients: {VARIABLE}=$(cat {file})"
    out.say(f"serving {store}, in a browser at {url}/; {clients} durable --store {url} ...")
    if offer.host not in ("127.0.0.1", "::1", "localhost"):
        out.say("tokens travel unencrypted: put a proxy with TLS in front")
    if links_lead_here and offer.host in ("0.0.0.0", "::"):  # noqa: S104
        out.say(f"links lead to {url}; say how others reach it: --answers-at")
    if out.json:
        out.document({"url": url, "token_file": str(file)})
    else:
        out.data(url)


def _observer(out: Out) -> events.Observer:
    if out.json_logs:
        return events.log_event

    def observe(event: events.Event) -> None:
        match event:
            case events.PeerDead(engine, tasks):
                out.say(f"engine {engine[:8]} is gone; {tasks} of its executions are free to go on")
            case events.ExecutionHalted() | events.StoreRegressed():
                out.say(str(event))
            case events.BackgroundFailed(what, error):
                out.say(f"{what}: {error}")

    return observe
