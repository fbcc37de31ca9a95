"""How an engine holds the worker of a session: what was asked for, where its directory is, whether this machine can."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bridge.confine.confinement import Confinement, kept_environment
from bridge.confine.limits import Limits, Profile, ran_out
from bridge.confine.probe import can_hold
from bridge.launch.launcher import ColdLauncher, WorkerLauncher
from bridge.launch.pool import WorkerPool
from bridge.protocol.output_rules import OutputRules
from durable.core import ids
from durable.core.errors import Conflict, ResourceExceeded, Unenforceable
from durable.functions.failures import document
from durable.sessions.execution.cell import CellDone, Failed
from durable.store.port import StoreFace

ISOLATED_LIMITS = Limits(memory=2 * 2**30, files=1_024, processes=128)
"""Of an isolated session for which none are given: no code takes the machine down. Disk is not among them, since a
limited directory ends with its worker."""


def directory_of(store: StoreFace, session: str) -> Path:
    """Where an isolated session's files are: beside the store's file, or for a store elsewhere in the user's state."""
    ids.check_session_name(session)  # it becomes part of a path
    if store.local is not None:
        return store.local.directory / "sessions" / session
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return state / "durable" / hashlib.sha256(store.key).hexdigest()[:16] / "sessions" / session


def confinement_of(store: StoreFace, session: str, options: Mapping[str, Any]) -> Confinement:
    """The confinement in a session's record. Raises BadArguments for a limit that this version does not know."""
    limits = Limits.read(options.get("limits") or {})
    profile: Profile = options.get("profile", "open")
    return Confinement(profile, limits, str(directory_of(store, session)) if profile == "isolated" else "")


def launcher_of(confinement: Confinement, warm: WorkerLauncher) -> WorkerLauncher:
    """The launcher of a worker: isolated ones, and their forking parent, know nothing of the engine's environment."""
    if confinement.profile != "isolated":
        return warm
    if isinstance(warm, WorkerPool):
        return warm.isolated
    return ColdLauncher(environment=kept_environment(os.environ))


def options_of(profile: Profile | None, limits: Limits | None, output: OutputRules | None) -> dict[str, Any]:
    """Confinement and output rules for a new session's record. BadArguments; Unenforceable for what no machine can."""
    if limits is None:
        limits = ISOLATED_LIMITS if profile == "isolated" else Limits()
    asked = Confinement(profile or "open", limits)
    held = {"profile": asked.profile, "limits": asked.limits.to_json()} if asked else {}
    return {**held, "output": output.to_json()} if output is not None and output.to_json() else held


def check_same(
    session: str,
    recorded: Mapping[str, Any],
    profile: Profile | None,
    limits: Limits | None,
    output: OutputRules | None,
) -> None:
    """An existing session keeps what it was made with. Raises Conflict where something else is asked for."""
    if output is not None and output.to_json() != (recorded.get("output") or {}):
        raise Conflict(
            f"session {session!r} exists with the output rules {recorded.get('output') or 'that are the default'}, not "
            f"{output.to_json() or 'those'}; close it to make it anew"
        )
    held = recorded.get("profile") or "open"
    if profile is not None and profile != held:
        raise Conflict(f"session {session!r} exists with the profile {held!r}; close it to make it anew as {profile!r}")
    if limits is not None and limits.to_json() != (recorded.get("limits") or {}):
        raise Conflict(
            f"session {session!r} exists with the limits {recorded.get('limits') or 'none'}, not {limits.to_json()}; "
            "close it to make it anew"
        )


async def check_machine(asked: Confinement) -> None:
    """Raises Unenforceable when a worker could not be held like this here."""
    if asked:
        found = await asyncio.to_thread(can_hold, asked)
        if not found.can:
            raise Unenforceable([found.lacks])


def named(outcome: CellDone | Failed, limits: Limits) -> CellDone | Failed:
    """Name the limit in a failure by a limit, where only the code's own error was recorded."""
    if isinstance(outcome, CellDone) or not limits:
        return outcome
    found = outcome.document
    where, traceback = str(found.get("execution_id") or ""), str(found.get("traceback") or "")
    exceeded = exceeded_by(f"{found.get('exception_type')}: {found.get('exception_message')}", limits, where, traceback)
    return outcome if exceeded is None else Failed(document(exceeded, where))


def exceeded_by(problem: str, limits: Limits, execution: str, traceback: str = "") -> ResourceExceeded | None:
    """Which limit a failure (`type: text`) tells of; None when it is another failure."""
    kind, _, text = problem.partition(": ")
    which = ran_out(limits, kind, text)
    if which is None:
        return None
    limit: float = getattr(limits, which)
    return ResourceExceeded.of(which, limit, limit, traceback=traceback, execution_id=execution)


def forget_directory(store: StoreFace, session: str) -> None:
    """Remove the files of a session that was closed."""
    from shutil import rmtree  # it brings compression with it

    rmtree(directory_of(store, session), ignore_errors=True)
