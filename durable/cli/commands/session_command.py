"""`durable session list|show|vars|restart|close|grant|revoke`"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from durable.cli import exit_codes
from durable.cli.command_group import Command, Settings, asynchronous, in_loop, settings

if TYPE_CHECKING:
    from durable.sessions.namespace import Variable
    from durable.store.port import StoreFace


@click.group("session", short_help="Sessions: list, show, vars, restart, close, grant, revoke.")
def command() -> None:
    """Sessions: named interpreters that keep their variables."""


@command.command("list", cls=Command)
@asynchronous
async def list_(chosen: Settings) -> int:
    """All sessions: how many executions each has had, and who holds it."""
    from durable.cli.engine_or_client import looked_at
    from durable.cli.execution_status import served
    from durable.engine.views import session_view

    async with looked_at(chosen) as store:
        living = await served(store)
        views = [session_view(row, living) for row in await store.reads.sessions() if not row.run]
    out = chosen.out()
    if out.json:
        out.document(views)
        return exit_codes.DONE
    rows = [
        (view.name, view.state, view.executions, view.unfinished or "", view.owner_pid, view.worker_pid)
        for view in views
    ]
    out.table(("session", "state", "executions", "unfinished", "engine", "worker"), rows, "no sessions")
    return exit_codes.DONE


@command.command("show", cls=Command, short_help="One session: how it was made and how it is.")
@click.argument("session", metavar="SESSION")
@asynchronous
async def show(chosen: Settings, session: str) -> int:
    """One session: what it was made with, who holds it, how its worker is."""
    from durable.cli.engine_or_client import opened
    from durable.cli.text_output import to_text

    async with opened(chosen, create=False) as store:
        found = await _found(store, session)
        rows = (await store.request("checkpoint.list", {"session": session})).data["checkpoints"]
        record = (await store.request("session.get", {"session": session})).data
    found["checkpoints"] = len(rows)
    found |= _vitals(found["worker_pid"] if _is_here(store, record) else None)
    out = chosen.out()
    if out.json:
        out.document(found)
        return exit_codes.DONE
    shown = {key.replace("_", " "): value for key, value in found.items() if value not in (None, "", [], {})}
    out.table(("", ""), [(key, value if isinstance(value, str) else to_text(value)) for key, value in shown.items()])
    return exit_codes.DONE


@command.command("vars", cls=Command, short_help="Its variables, as of the newest checkpoint.")
@click.argument("session", metavar="SESSION")
@asynchronous
async def vars_(chosen: Settings, session: str) -> int:
    """The variables, as of the newest checkpoint: the one after the last execution, where that could be saved.

    Types, sizes and values are looked at in a worker that is made for it: no engine that has the session is asked.
    """
    from durable.cli.engine_or_client import open_engine
    from durable.cli.text_output import line
    from durable.core.errors import DurableError

    out = chosen.out()
    variables: list[Variable] = []
    async with open_engine(chosen, out, serve=False, create=False) as engine:
        await _found(engine.store, session)
        history = engine.checkpoints_of(session)
        listed = await history.listing()
        found = await history.show(listed[-1].id) if listed else None
        if found is not None and found.names:
            try:
                variables = await history.variables(found.info.id)
            except (DurableError, OSError) as error:
                out.say(f"only names are known, the values cannot be loaded here: {line(str(error))}")
    names = list(found.names) if found is not None else []
    modules = [list(module) for module in found.modules] if found is not None else []
    lost = [{"name": each.name, "kind": each.kind, "reason": each.reason} for each in found.lost] if found else []
    if out.json:
        out.document(
            {
                "session": session,
                "checkpoint": None if found is None else found.info.id,
                "names": names,
                "modules": modules,
                "lost": lost,
                "variables": [asdict(each) for each in variables],
            }
        )
        return exit_codes.DONE
    known = {each.name: each for each in variables}
    rows: list[tuple[Any, ...]] = []
    for name in names:
        variable = known.get(name)
        shown = ("", "", "") if variable is None else (variable.type, variable.size, variable.repr)
        rows.append((name, *shown))
    rows += [(name, "module", "", f"{module} {version}".strip()) for name, module, version in modules]
    rows += [(each["name"], each["kind"], "", "") for each in lost]
    out.table(("name", "type", "bytes", "value"), rows, f"{session} has no variables")
    for each in lost:
        out.say(f"{each['name']} ({each['kind']}) is in no checkpoint: {line(each['reason'])}")
    return exit_codes.DONE


@command.command("restart", cls=Command, short_help="End its worker; the next has the variables.")
@click.argument("session", metavar="SESSION")
@click.option("--clear", is_flag=True, help="Forget the variables and checkpoints too, and cancel what has not ended.")
@asynchronous
async def restart(chosen: Settings, session: str, clear: bool) -> int:
    """End the worker; the next execution gets another, with the variables restored.

    One that runs goes on in the new worker, from its newest checkpoint. With --clear nothing is restored: the session
    is made anew with the profile, limits and grants that it had.
    """
    from durable.cli.engine_or_client import open_engine

    out = chosen.out()
    async with open_engine(chosen, out, serve=False, create=False) as engine:
        found = await _found(engine.store, session)
        record = (await engine.store.request("session.get", {"session": session})).data
        if clear:
            await _forget(engine, session)
            again = {"session": session, "engine": None, "options": record["options"]}
            await engine.store.request("session.open", again)
        ended = await _end_worker(engine.store, record)
    if not ended and not clear:
        out.say(f"{session} has no worker; the next execution starts one")
    else:
        out.say(f"{session} begins {'empty' if clear else 'in a new worker'}")
    if out.json:
        out.document({"session": session, "worker_pid": found["worker_pid"], "ended": ended, "cleared": clear})
    return exit_codes.DONE


@command.command("close", cls=Command, short_help="Forget it, with all that it has saved.")
@click.argument("session", metavar="SESSION")
@asynchronous
async def close(chosen: Settings, session: str) -> int:
    """Forget the session: its worker, variables, checkpoints and files. What has not ended is cancelled."""
    from durable.cli.engine_or_client import open_engine

    out = chosen.out()
    async with open_engine(chosen, out, serve=False, create=False) as engine:
        await _found(engine.store, session)
        record = (await engine.store.request("session.get", {"session": session})).data
        await _forget(engine, session)
        await _end_worker(engine.store, record)
    out.say(f"{session} is closed")
    if out.json:
        out.document({"session": session, "state": "closed"})
    return exit_codes.DONE


async def _found(store: StoreFace, session: str) -> dict[str, Any]:
    """The session's view and what it was made with. Raises NotFound, for a closed one too."""
    from durable.cli.execution_status import served
    from durable.core.errors import NotFound
    from durable.engine.views import session_view
    from durable.sessions.language import language_of

    row = next((row for row in await store.reads.sessions() if row.name == session and not row.closed), None)
    if row is None:
        raise NotFound("session", session, "`durable session list` has them all")
    options = row.options
    return {
        **asdict(session_view(row, await served(store))),
        "language": language_of(options),
        "profile": options.get("profile") or "open",
        "limits": options.get("limits") or {},
        "grants": options.get("grants") or [],
    }


def _vitals(pid: int | None) -> dict[str, Any]:
    """How its worker is, where it is on this machine."""
    from bridge.host.proc_vitals import cpu_seconds, memory_now, why_stuck

    if pid is None or memory_now(pid) is None:
        return {"worker_memory": None, "worker_cpu_time": None, "worker_stuck": None}
    return {
        "worker_memory": memory_now(pid),
        "worker_cpu_time": cpu_seconds(pid),
        "worker_stuck": why_stuck(pid) or None,
    }


async def _forget(engine: Any, session: str) -> None:
    from durable.sessions.session import Session

    await Session(engine, session, ()).close()


async def _end_worker(store: StoreFace, record: dict[str, Any]) -> bool:
    """Kill the worker that is on record, where it is on this machine; its engine notices."""
    from durable.sessions.ownership.left_worker import end_worker

    if not _is_here(store, record):
        return False
    await end_worker(int(record["worker"]["pid"]), int(record["worker"]["start"]))
    return True


def _is_here(store: StoreFace, record: dict[str, Any]) -> bool:
    """Whether the worker that is on record is a process of this machine: its start time is that process's."""
    from durable.sessions.ownership.left_worker import start_time

    worker = record.get("worker")
    return worker is not None and store.local is not None and start_time(int(worker["pid"])) == int(worker["start"])


@command.command("grant", cls=Command, short_help="Allow it more from its next call on.")
@click.argument("session")
@click.argument("grant")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), metavar="S", help="For so long only.")
@click.option("--by", metavar="WHO", help="Who says so, for the audit.")
def grant_(session: str, grant: str, seconds: float | None, by: str | None) -> int:
    """Allow SESSION more from its next call on: `fetch`, `fetch:api.example.com`, `level:trusted`."""
    chosen = settings()
    return in_loop(lambda: _permit(chosen, session, grant, seconds, by, revoke=False))


@command.command("revoke", cls=Command, short_help="Allow it this no more.")
@click.argument("session")
@click.argument("grant")
@click.option("--by", metavar="WHO", help="Who says so, for the audit.")
def revoke_(session: str, grant: str, by: str | None) -> int:
    """Allow SESSION this no more, from its next call on."""
    chosen = settings()
    return in_loop(lambda: _permit(chosen, session, grant, None, by, revoke=True))


async def _permit(
    chosen: Settings, session: str, grant: str, seconds: float | None, by: str | None, *, revoke: bool
) -> int:
    from capabilities.capability import Capabilities
    from capabilities.registry import STANDARD
    from durable.cli.engine_or_client import opened
    from durable.core.errors import NotFound
    from durable.sessions.calls.audit import Audit
    from durable.sessions.permissions import PermissionChanges

    async with opened(chosen, create=False) as store:
        if all(row.name != session or row.closed for row in await store.reads.sessions()):
            raise NotFound("session", session)
        audit = Audit(store)
        changes = PermissionChanges(store, Capabilities(), audit, any_name=True)
        if revoke:
            await changes.revoke(session, grant, by=by)
        else:
            await changes.grant(session, grant, seconds=seconds, by=by)
        audit.flush()
    out, name, done = chosen.out(), grant.partition(":")[0], "revoked" if revoke else "granted"
    if name not in (*STANDARD, "level", "*"):
        out.say(f"{name} is no standard capability: it is one where an engine has its own of that name")
    out.say(f"{done} {grant}: it counts from the next call on")
    if out.json:
        out.document({"session": session, "grant": grant, "state": done, "seconds": seconds, "by": by})
    return exit_codes.DONE
