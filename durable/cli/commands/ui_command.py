"""`durable ui`"""

from __future__ import annotations

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, Settings, asynchronous, until_ended
from durable.cli.exit_codes import Unusable


@click.command("ui", cls=Command, short_help="Look at the store in a browser.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The port to listen on [default: a free one].")
@click.option("--no-browser", is_flag=True, help="Only print the address.")
@asynchronous
async def command(chosen: Settings, port: int, no_browser: bool) -> int:
    """Show the store in a browser, until Ctrl-C: executions, questions, sessions, and what can be done with them.

    The address lets one browser in, once and within two minutes; it is of this machine only. What is looked at runs no
    code. Restoring a checkpoint, or running code in a session that no living engine serves, makes this process an
    engine until it ends.
    """
    import asyncio
    import secrets

    from durable.cli.engine_or_client import observers_of
    from durable.core.observers import Observers
    from durable.http.dashboard_mount import DashboardMount
    from durable.http.serve import listen, serving
    from durable.http.server_state import Site
    from durable.store.port import open_direct
    from durable.store.target import is_url

    out = chosen.out()
    if is_url(chosen.path):
        raise Unusable(f"{chosen.path} shows its own dashboard: open that address in a browser")
    observer = Observers.of(observers_of(chosen, out, lambda: None))
    token = secrets.token_urlsafe(32)
    store = await open_direct(chosen.path, create=False, observer=observer)
    try:
        site = Site(store, token, observer=observer)
        with listen("127.0.0.1", port) as sock:
            pages = DashboardMount(site, chosen.path, runs_code=True)
            async with serving(site, sock, pages) as url:
                address = f"{url}/ui/login?code={pages.dashboard.logins.code(token)}"
                out.say(f"the dashboard of {store.name}; Ctrl-C ends it")
                if out.json:
                    out.document({"url": address})
                else:
                    out.data(address)
                if not no_browser:
                    await asyncio.to_thread(_browse, address)
                await until_ended(out)
    finally:
        await store.close()
    return exit_codes.DONE


def _browse(address: str) -> None:
    """Open the user's browser, where there is one; the address is printed in any case."""
    import contextlib
    import webbrowser

    with contextlib.suppress(webbrowser.Error, OSError):
        webbrowser.open(address)
