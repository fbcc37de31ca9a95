"""Histories: what executions did, as files that today's code is replayed against (specs/testing.md).

A replay performs nothing. It goes through the record as an engine does that goes on with an execution, and stops where
the record ends.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from durable.core import ids
from durable.core.definition_id import SOURCE
from durable.core.errors import BadArguments, NotFound
from durable.executions.exported_record import export, read
from durable.functions.context import Context
from durable.functions.definition import Function, known_as
from durable.functions.failures import Rejection, rebuild
from durable.functions.replay.execution_pass import ExecutionPass
from durable.functions.replay.function_body import perform
from durable.functions.replay.function_pass import FunctionPass
from durable.functions.replay.recorded_promises import ExecutionRecord
from durable.functions.replay.recorder import Outcome, Recorder
from durable.functions.resonate import sdk
from durable.functions.resonate.fence import Posted
from durable.functions.step import StepThreads
from durable.functions.step_run import Body
from durable.records import notation
from durable.records.values import unpack
from durable.testing import engine_under_test
from durable.testing.engine_under_test import EngineUnderTest
from durable.testing.errors import ReplayDiffers
from durable.testing.own_thread import run_apart

if TYPE_CHECKING:
    from resonate.types import PromiseCreateReq, PromiseRecord

    from durable.engine.engine import Engine

SUFFIX = ".history.json"
"""The end of the name of a history's file: pytest collects those."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """A replay that met nothing wrong. ended: whether the record has an end, and the function came to it again."""

    execution: str
    function: str
    operations: int
    ended: bool


class _PastRecord(sdk.ResonateError):
    """The function came to where nothing is recorded."""


class _ReadOnlyRecorder(Recorder):
    """A record that takes nothing more."""

    def __init__(self) -> None:
        self.wanted: str | None = None
        """The first promise that the function wanted to make."""

    def post(self, request: PromiseCreateReq) -> Posted | None:  # noqa: ARG002
        return None

    async def create(self, request: PromiseCreateReq) -> PromiseRecord:
        tags = request.tags
        what = f"{tags.get('durable:kind')} {tags.get('durable:name')!r}"
        self.wanted = self.wanted or f"{what} as {request.id.removeprefix(ids.PREFIX)}"
        raise sdk.PlatformError([_PastRecord(self.wanted)])

    async def settle(self, promise_id: str, outcome: Outcome, *_: Any) -> PromiseRecord:  # noqa: ARG002
        raise sdk.PlatformError([_PastRecord(promise_id)])

    async def cancel(self, promise_id: str) -> None:
        """A timer that nobody waits for any more: the record has it, or has not."""


class _ReplayContext(Context):
    """A context whose steps are not run, those that the record has no result of included."""

    def _leaf(self, *_: Any) -> Body:
        async def body(promise_id: str) -> Any:
            raise sdk.PlatformError([_PastRecord(promise_id)])

        return body


async def record(engine: Engine, id: str, path: str | os.PathLike[str]) -> None:
    """Write what an execution did until now to a file, for `replay`. NotFound; BadArguments for code in a session.

    It has what steps returned and people answered, as the store has it: no place for what must not be seen.
    """
    row = await engine.store.reads.get_execution(id)
    if row is None:
        raise NotFound("execution", id)
    if row.session is not None:
        raise BadArguments(f"{id} is code in a session, which has checkpoints and no history to replay")
    document = await export(engine.store, row)
    file = Path(path)
    tags = document["promises"][0]["tags"]
    if os.path.isabs(tags.get(SOURCE, "")):
        tags[SOURCE] = os.path.relpath(tags[SOURCE], file.parent.absolute())
    draft = file.with_name(f"{file.name}.new")
    draft.write_text(json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n", "utf-8")
    draft.replace(file)


def replay(history: str | os.PathLike[str] | dict[str, Any], function: Function[..., Any] | None = None) -> Replayed:
    """Replay a history against today's code: a file of `record`, or what `durable show ID --json` prints.

    function: by default that of the history's id, imported from where it says. Raises NonDeterminism where the code
    makes another operation than the record says, or leaves one out; ReplayDiffers where it comes to another end;
    BadArguments for what is no history. May be called with or without a running loop; nothing is performed.
    """
    place = Path()
    if not isinstance(history, dict):
        place = Path(history).absolute().parent
        history = Path(history).read_text("utf-8")
    document = read(history if isinstance(history, str) else json.dumps(history))
    found = function or _function_of(document, place)
    if found.companion is not None:
        raise BadArguments("this is a message to an actor, which has a state beside its record")
    return run_apart(lambda: _replay(document, found))


def _function_of(document: dict[str, Any], place: Path) -> Function[..., Any]:
    tags = document["promises"][0]["tags"]
    name = tags.get("durable:function", "")
    found = known_as(name)
    if found is None:
        from durable.cli.load_target import load  # brings what only the command line needs

        source = tags.get(SOURCE) or name.rpartition("::")[0]
        load(str((place / source).resolve()) if source.endswith(".py") else source)
        found = known_as(name)
    if found is None:
        raise BadArguments(f"no function {name!r} was found; give it: replay(history, function)")
    return found


async def _replay(document: dict[str, Any], function: Function[..., Any]) -> Replayed:
    root, *promises = document["promises"]
    async with engine_under_test.open(real_time=True, serve=False, observer=()) as engine:
        recorder, threads = _ReadOnlyRecorder(), StepThreads()
        run = _pass_of(document, engine, recorder)
        run.load(ExecutionRecord(promises, document["logged"], document.get("cancelled"), document.get("cancelled_at")))
        try:
            _start(run, root, function, threads, engine)
            outcome = await _outcome(run)
        finally:
            run.dispose()
            threads.close()
    execution = root["id"].removeprefix(ids.PREFIX)
    _check_end(execution, root, outcome, recorder.wanted)
    return Replayed(execution, function.id, len(promises), root["state"] != "pending")


def _pass_of(document: dict[str, Any], engine: EngineUnderTest, recorder: Recorder) -> ExecutionPass:
    root = document["promises"][0]
    return ExecutionPass(
        root["id"],
        recorder,
        engine.store,
        lambda: False,
        lambda _: None,
        origin=root["tags"].get("resonate:origin", ids.ORIGIN),
        target=root["tags"].get("resonate:target", ""),
        begun=lambda: None,
        seed=root["tags"].get("durable:nonce") or f"{root['id']} {root['createdAt']}",
    )


def _start(
    run: ExecutionPass,
    root: dict[str, Any],
    function: Function[..., Any],
    threads: StepThreads,
    engine: EngineUnderTest,
) -> None:
    data = unpack((root.get("param") or {}).get("data")) or {}
    function_pass = FunctionPass(
        run,
        run.promise_id,
        function.name,
        timeout_at=root["timeoutAt"],
        created_at=int(root["tags"].get("durable:began") or root["createdAt"]),
    )
    context = _ReplayContext(function_pass, threads, engine)

    body = partial(perform, context, function, data.get("args", []), data.get("kwargs", {}))
    function_pass.start(body, run.complete)


async def _outcome(run: ExecutionPass) -> Any:
    """The function's value, its Rejection, or Suspended or PastRecord where the record ends. NonDeterminism."""
    try:
        return await run.outcome
    except Rejection as error:
        return error
    except sdk.Suspended as suspended:
        return suspended
    except sdk.PlatformError as error:
        for cause in error.causes:
            if isinstance(cause, sdk.HaltTask):
                raise cause.error from None
            if isinstance(cause, _PastRecord):
                return cause
        raise


def _check_end(execution: str, root: dict[str, Any], outcome: Any, wanted: str | None) -> None:
    state = root["state"]
    ended = not isinstance(outcome, sdk.Suspended | _PastRecord)
    if state in ("rejected_canceled", "rejected_timedout") or (state == "pending" and not ended):
        return
    recorded = unpack((root.get("value") or {}).get("data"))
    if state == "pending":
        raise ReplayDiffers(f"{execution} goes on after its history, and today's code ends there: {_shown(outcome)}")
    end = f"{execution} {'completed' if state == 'resolved' else 'failed'} with {_shown_record(state, recorded)}"
    if not ended:
        then = f"begins {wanted}" if wanted is not None else "waits for more"
        raise ReplayDiffers(f"{end}, and today's code {then} there")
    if isinstance(outcome, Rejection):
        same = state == "rejected" and _kind(str(outcome)) == _kind((recorded or {}).get("message", ""))
    else:
        same = state == "resolved" and notation.shown(outcome) == notation.shown(recorded)
    if not same:
        raise ReplayDiffers(f"{end}, and today's code comes to {_shown(outcome)} with the same operations")


def _kind(text: str) -> tuple[object, object]:
    """The class and message of a recorded error: its traceback changes with every line of the code."""
    found = rebuild("rejected", {"message": text}, "")
    return (found.exception_type, found.exception_message)


def _shown(outcome: Any) -> str:
    return (
        _shown_record("rejected", {"message": str(outcome)}) if isinstance(outcome, Rejection) else f"{outcome!r:.300}"
    )


def _shown_record(state: str, value: Any) -> str:
    if state == "resolved":
        return f"{notation.shown(value)!r:.300}"
    return ": ".join(str(each) for each in _kind((value or {}).get("message", "")))
