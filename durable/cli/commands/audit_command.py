"""`durable audit [SESSION]`: what code asked for, and what was decided."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, Settings, asynchronous

if TYPE_CHECKING:
    from durable.store.port import StoreFace


@click.command("audit", cls=Command, short_help="What code asked for, and what was decided.")
@click.argument("session", required=False)
@click.option(
    "--limit", type=click.IntRange(min=1, max=10_000), default=100, show_default=True, help="At most so many."
)
@click.option("--before", type=int, metavar="N", help="Those older than this entry: the next page.")
@asynchronous
async def command(chosen: Settings, session: str | None, limit: int, before: int | None) -> int:
    """Decisions about calls and changes of permissions, newest first; of one SESSION, or of all.

    `token:NAME` is a token of `durable serve`: what was done with it, and what it was refused.
    """
    from dataclasses import asdict

    from durable.cli.engine_or_client import looked_at
    from durable.engine.views import iso
    from durable.sessions.calls.audit import read_audit

    async with looked_at(chosen) as store:
        entries = await read_audit(store, session, limit, before)
        if session is not None and not entries and before is None and not session.startswith("token:"):
            await _require_session(store, session)
    out = chosen.out()
    if out.json:
        out.document([{**asdict(entry), "at": iso(entry.at)} for entry in entries])
        return exit_codes.DONE
    rows = [
        (
            entry.id,
            iso(entry.at),
            entry.execution or entry.who,
            entry.verdict + (f" ×{entry.times}" if entry.times > 1 else ""),
            f"{entry.what} {entry.resource}".strip(),
            entry.reason,
        )
        for entry in entries
    ]
    out.table(("n", "when", "who", "verdict", "what", "why"), rows, "nothing was asked for")
    return exit_codes.DONE


async def _require_session(store: StoreFace, session: str) -> None:
    """There is such a session, or was. NotFound."""
    from durable.core.errors import NotFound

    if all(row.name != session for row in await store.reads.sessions()):
        hint = "`durable session list` has them all, and a component is here from its first call on"
        raise NotFound("session", session, hint)
