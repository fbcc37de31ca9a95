"""Identity: every id in the system is built and taken apart here (specs/execution.md).

Execution ids given by a caller match `[A-Za-z0-9_-]{1,128}`; minted ones may also hold `@` and `.`, and those of
messages to actors `~` and `=` (specs/actors.md, N1).
The execution's promise is literally `exec:<execution id>`; a call of it is `exec:<id>:<capability>:<n>`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import NamedTuple

from durable.core.clock import now_ms
from durable.core.errors import InvalidId

ORIGIN = "exec"
PREFIX = "exec:"
MAILBOX = "actor~"
"""The beginning of a session's name that is an actor's mailbox: its cells are turns (specs/actors.md, N1)."""

TRACEPARENT = "durable:traceparent"
"""The tag of a promise that has the trace context of whoever made it, as W3C writes it."""

FORKED_FROM = "durable:from"
"""Tag of a forked execution: the id that it comes from."""
REWOUND_AS = "durable:rewound-as"
"""Tag of an execution that was rewound: the id of the one that has taken its place."""
RETRIED_AS = "durable:retried-as"
"""Tag of an execution that was retried: the id of its retry."""
QUEUE = "durable:queue"
"""Tag of an execution's promise: the queue that it was put into."""
QUEUE_KEY = "durable:queue-key"
"""Tag of the same promise: its key in the queue."""
QUEUE_PRIORITY = "durable:queue-priority"
"""Tag of the same promise: its priority, where that is not 0."""
QUEUE_DEDUPE = "durable:queue-dedupe"
"""Tag of the same promise: its `dedupe`, where it is not debounced."""
WHOLE_TIME = "durable:whole-time"
"""Tag of an operation of a fork that waits in a queue: the milliseconds that it has when that begins."""
DEPLOYMENT = "durable:deployment"
"""The tag of an execution's promise that has the deployment that it was started for, "" for those of none."""

_GIVEN = re.compile(r"[A-Za-z0-9_-]{1,128}\Z")
_MINTED = re.compile(r"[A-Za-z0-9_@.~=-]{1,400}\Z")
_KEEPER = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_@.~=-]{0,239}\Z")
_CAPABILITY = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
_CALL = re.compile(
    r"exec:(?P<execution>[A-Za-z0-9_@.~=-]{1,400}):(?P<capability>[a-z][a-z0-9_]{0,63}):(?P<n>[1-9][0-9]*)\Z"
)


class CallId(NamedTuple):
    """The parts of `exec:<execution id>:<capability>:<n>`; n counts from 1."""

    execution: str
    capability: str
    n: int


def may_be_recorded(version: int, tags: Mapping[str, str]) -> bool:
    """Whether something may be recorded under an execution that was acquired as the `version`-th time: that a fork has
    a record before it begins is said by its tags."""
    return version > 1 or FORKED_FROM in tags


def mint_execution_id() -> str:
    """A random execution id: a UUID of version 7, with dashes.

    It begins with the time, so that what is new lies together in the file: with wholly random ids every commit would
    touch pages all over a large store.
    """
    random = int.from_bytes(os.urandom(10))
    value = (now_ms() & (2**48 - 1)) << 80 | 7 << 76 | (random >> 68 & 0xFFF) << 64 | 0b10 << 62 | random & (2**62 - 1)
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def is_given_id(text: str) -> bool:
    """Whether a text is an id that a caller may choose."""
    return _GIVEN.match(text) is not None


def check_given_id(text: str) -> str:
    """Return an execution id that a caller chose, or raise InvalidId naming the rule."""
    if not isinstance(text, str) or not _GIVEN.match(text):
        raise InvalidId(text, "an execution id is 1 to 128 letters, digits, '_' or '-'")
    return text


def check_cell_id(text: str) -> str:
    """Return what a caller chose to stand after a session's name in a cell's id, or raise InvalidId."""
    if not isinstance(text, str) or not _GIVEN.match(text) or text.isdigit():
        raise InvalidId(text, "a cell's id is 1 to 128 letters, digits, '_' or '-', and no number: those are counted")
    return text


def check_session_name(text: str) -> str:
    """Return a session's name, or raise InvalidId; the rule is that of a given execution id."""
    if not isinstance(text, str) or not _GIVEN.match(text):
        raise InvalidId(text, "a session's name is 1 to 128 letters, digits, '_' or '-'")
    return text


def check_capability(text: str) -> str:
    """Return a capability's name (`[a-z][a-z0-9_]{0,63}`), or raise InvalidId."""
    if not _CAPABILITY.match(text):
        raise InvalidId(text, "a capability's name is a lower-case word: [a-z][a-z0-9_]{0,63}")
    return text


def session_output(session: str) -> str:
    """Under which the output of a session between its executions is kept: their numbers begin at 1."""
    return f"{session}@0"


def health_of(actor: str) -> str:
    """The namespace of what checks found of an actor's health: no key of an actor has a `~`."""
    return f"{actor}~health"


def execution_promise(execution_id: str) -> str:
    """`exec:<execution id>` for a given or minted id."""
    if not _MINTED.match(execution_id):
        raise InvalidId(execution_id, "an execution id holds letters, digits, '_', '-', and when minted '@' and '.'")
    return PREFIX + execution_id


def check_keeper(execution_id: str) -> str:
    """Return the id of an execution that may keep files, the name of their directory, or raise InvalidId."""
    if not _KEEPER.match(execution_id):
        raise InvalidId(execution_id, "foreign code runs under at most 240 characters, the first no dot or '@'")
    return execution_id


def execution_of(promise_id: str) -> str:
    """The execution id inside `exec:<id>` or inside a call's id."""
    call = parse_call(promise_id)
    if call is not None:
        return call.execution
    rest = promise_id.removeprefix(PREFIX)
    if rest == promise_id or not _MINTED.match(rest):
        raise InvalidId(promise_id, "expected exec:<execution id>")
    return rest


def session_execution_id(session: str, n: int) -> str:
    """`<session>@<n>`, the id of a session's n-th execution; n counts from 1."""
    return f"{session}@{n}"


def call_promise(execution_id: str, capability: str, n: int) -> str:
    """`exec:<execution id>:<capability>:<n>`."""
    return f"{execution_promise(execution_id)}:{check_capability(capability)}:{n}"


def parse_call(promise_id: str) -> CallId | None:
    """The parts of a call's promise id, or None when it is not one."""
    match = _CALL.match(promise_id)
    if match is None:
        return None
    return CallId(match["execution"], match["capability"], int(match["n"]))
