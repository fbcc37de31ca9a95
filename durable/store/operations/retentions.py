"""Rules of how long executions are kept once they have ended, as engines declare them (specs/store.md, G8)."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from durable.core.definition_id import CELL
from durable.core.ids import MAILBOX
from durable.store.operations.row_records import dump
from durable.store.operations.transaction import Tx
from durable.store.protocol.requests import Answer, Nothing

type Rules = dict[str, int | None]
"""Milliseconds by state; None is for ever."""

EVERY_FUNCTION = "*"
KEY = "\0retentions"

_rules = msgspec.json.Decoder(dict[str, int | None])


def all_rules(tx: Tx) -> dict[str, Rules]:
    """The rules by function."""
    return {function: _rules.decode(text) for function, text in tx.rows("SELECT function, rules FROM retentions")}


def declare(tx: Tx, served: Iterable[str], rules: dict[str, Rules] | None) -> None:
    """An engine says what holds for the functions that it serves: those that it says nothing of have no rule."""
    if rules is None:
        return
    wanted = {function: dump(each) for function, each in rules.items()}
    known: dict[str, str] = dict(tx.rows("SELECT function, rules FROM retentions"))
    gone = [each for each in served if each in known and each not in wanted]
    changed = {function: text for function, text in wanted.items() if known.get(function, "") != text}
    if not gone and not changed:
        return
    tx.lock(KEY)
    tx.execute_many("DELETE FROM retentions WHERE function=?", [(function,) for function in gone])
    tx.execute_many(
        "INSERT INTO retentions (function, rules) VALUES (?1,?2) ON CONFLICT (function) DO UPDATE SET rules=?2",
        list(changed.items()),
    )


def listing(tx: Tx, _request: Nothing) -> Answer:
    """All rules, by function."""
    return Answer(200, {"rules": dict(sorted(all_rules(tx).items()))})


def kept_ms(rules: dict[str, Rules], function: str, state: str) -> tuple[bool, int | None]:
    """Whether there is a rule for executions of a function that ended so, and how long they are kept."""
    for each in (function, EVERY_FUNCTION):
        if each == EVERY_FUNCTION and (not function or function == CELL or function.startswith(MAILBOX)):
            break
        if state in rules.get(each, {}):
            return True, rules[each][state]
    return False, None
