"""Signals: values sent to an execution from outside, which its waits take in order (specs/signals.md).

Of one name either signals lie there that nobody has taken, or waits stand in line; never both.
"""

from __future__ import annotations

from durable.core.ids import PREFIX
from durable.core.limits import SIGNALS_OPEN_MAX, VALUE_BYTES_MAX
from durable.store.operations.large_values import StoredText
from durable.store.operations.settlement import settle
from durable.store.operations.transaction import Tx
from durable.store.protocol.requests import EMPTY, Answer, Record, Refused, SignalLook, SignalSend, Value

SIGNAL = "durable:signal"
"""Tag of a promise that waits for a signal: its name."""
EXECUTION = "durable:execution"
"""Tag of a call's or wait's promise: the promise of the execution that it is of."""


def check_wait(promise_id: str, tags: dict[str, str]) -> None:
    """Refuse a wait that is not under the execution that it says it is of."""
    execution = tags.get(EXECUTION, "")
    if not execution or not promise_id.startswith((f"{execution}.", f"{execution}:")):
        raise Refused(400, f"the wait {promise_id!r} for a signal is not under its {EXECUTION} {execution!r}")


def wait(tx: Tx, promise_id: str, tags: dict[str, str]) -> Record | None:
    """A promise that waits was made: it takes the oldest signal, and its record is returned, or it stands in line."""
    execution, name = tags[EXECUTION], tags[SIGNAL]
    signal = tx.row(
        "SELECT n, key, data FROM signals WHERE execution=? AND name=? AND taken=0 ORDER BY n LIMIT 1",
        (execution, name),
    )
    if signal is None:
        stand_in_line(tx, promise_id, tags)
        return None
    n, key, data = signal
    if key is None:
        tx.execute("DELETE FROM signals WHERE execution=? AND name=? AND n=?", (execution, name, n))
    else:
        tx.execute("UPDATE signals SET taken=1, data=NULL WHERE execution=? AND name=? AND n=?", (execution, name, n))
    return settle(tx, promise_id, "resolved", Value(data=None if data is None else StoredText(data)))


def stand_in_line(tx: Tx, promise_id: str, tags: dict[str, str]) -> None:
    """Enter a pending wait behind the others, and forget those before them that have ended otherwise."""
    execution, name = tags[EXECUTION], tags[SIGNAL]
    _shorten_line(tx, execution, name)
    last = tx.row("SELECT n FROM signal_waits WHERE execution=? AND name=? ORDER BY n DESC LIMIT 1", (execution, name))
    n = 1 if last is None else last[0] + 1
    tx.execute(
        "INSERT INTO signal_waits (execution, name, n, promise) VALUES (?,?,?,?)", (execution, name, n, promise_id)
    )


def send(tx: Tx, request: SignalSend) -> Answer:
    """Give a signal to the first wait in line, or keep it for the next one. Once for each key.

    Where that wait has a schema other than the one that the sender checked, nothing is done, and `look` is the wait.
    404: no such execution. 409: it has ended.
    """
    execution, name = request.execution, request.name
    if request.value.data is not None and len(request.value.data) > VALUE_BYTES_MAX:
        raise Refused(400, f"the value of a signal is over the limit of {VALUE_BYTES_MAX} bytes (VALUE_BYTES_MAX)")
    tx.lock_promise(execution)
    state, first = _line(tx, execution, name)
    if request.key is not None and tx.row(KEYED, (execution, name, request.key)) is not None:
        return Answer(200, {"sent": False, "wait": None, "look": None})
    if state != "pending":
        raise Refused(409, f"execution {execution.removeprefix(PREFIX)!r} has ended: it takes no signal")
    if first is None:
        _keep(tx, request)
        return Answer(200, {"sent": True, "wait": None, "look": None})
    n, promise_id = first
    if request.fits is not None:
        row = tx.promise_row(promise_id)
        assert row is not None, f"a wait in line is a promise: {promise_id}"
        wait = tx.record(row)
        if wait["param"].get("data", request.fits) != request.fits:
            return Answer(200, {"sent": False, "wait": None, "look": wait})
    if request.key is not None:
        _enter(tx, request, data=None, taken=True)
    tx.execute_soon("DELETE FROM signal_waits WHERE execution=? AND name=? AND n<=?", (execution, name, n))
    settle(tx, promise_id, "resolved", request.value)
    return Answer(200, {"sent": True, "wait": promise_id, "look": None})


def look(tx: Tx, request: SignalLook) -> Answer:
    """The promise that takes the next signal of a name, if one waits, and how many signals nobody has taken."""
    _, first = _line(tx, request.execution, request.name)
    if first is None:
        return Answer(200, {"wait": None, "open": _open(tx, request.execution, request.name)})
    row = tx.promise_row(first[1])
    assert row is not None
    return Answer(200, {"wait": tx.record(row), "open": 0})


def forget(tx: Tx, execution: str) -> None:
    """Delete what an execution that is deleted has of signals and waits."""
    tx.execute("DELETE FROM signals WHERE execution=?", (execution,))
    tx.execute("DELETE FROM signal_waits WHERE execution=?", (execution,))


LAST = "SELECT n FROM signals WHERE execution=? AND name=? ORDER BY n DESC LIMIT 1"
"""The number of the last signal of a name."""
KEYED = "SELECT n FROM signals WHERE execution=? AND name=? AND key=?"


def first_wait(column: str, execution: str, name: str) -> str:
    """A query for a column of the first wait in line of an execution and a signal's name."""
    return (
        f"SELECT x.{column} FROM signal_waits x JOIN promises q ON q.id=x.promise"
        f" WHERE x.execution={execution} AND x.name={name} AND q.state='pending' ORDER BY x.n LIMIT 1"
    )


LINE = (
    "SELECT p.state, w.n, w.promise FROM promises p JOIN tasks t ON t.id=p.id LEFT JOIN signal_waits w"
    f" ON w.execution=?1 AND w.name=?2 AND w.n=({first_wait('n', '?1', '?2')})"
    " WHERE p.id=?1 AND t.session IS NULL AND t.timer=0"
)


def _line(tx: Tx, execution: str, name: str) -> tuple[str, tuple[int, str] | None]:
    """The state of the promise of a durable function, or 404; the number and promise of the first wait that is pending.

    Those before it have ended otherwise, and leave the line with it.
    """
    row = tx.row(LINE, (execution, name))
    if row is None:
        raise Refused(404, f"there is no execution {execution!r} of a durable function")
    return str(row[0]), None if row[1] is None else (int(row[1]), str(row[2]))


def _shorten_line(tx: Tx, execution: str, name: str) -> None:
    """The waits before the first that is pending leave the line."""
    while True:
        row = tx.row(
            "SELECT w.n, p.state FROM signal_waits w LEFT JOIN promises p ON p.id=w.promise"
            " WHERE w.execution=? AND w.name=? ORDER BY w.n LIMIT 1",
            (execution, name),
        )
        if row is None or row[1] == "pending":
            return
        tx.execute("DELETE FROM signal_waits WHERE execution=? AND name=? AND n=?", (execution, name, row[0]))


def _keep(tx: Tx, request: SignalSend) -> None:
    """Keep a signal that nobody waits for."""
    execution, name = request.execution, request.name
    if _open(tx, execution, name) >= SIGNALS_OPEN_MAX:
        raise Refused(
            429, f"{SIGNALS_OPEN_MAX} signals {name!r} wait for execution {execution!r} already (SIGNALS_OPEN_MAX)"
        )
    _enter(tx, request, data=tx.values.stored((request.value or EMPTY).data), taken=False)


def _enter(tx: Tx, request: SignalSend, *, data: str | None, taken: bool) -> None:
    execution, name = request.execution, request.name
    last = tx.row(LAST, (execution, name))
    n = 1 if last is None else last[0] + 1
    tx.execute_soon(
        "INSERT INTO signals (execution, name, n, key, data, taken, sent_at) VALUES (?,?,?,?,?,?,?)",
        (execution, name, n, request.key, data, int(taken), tx.now),
    )


def _open(tx: Tx, execution: str, name: str) -> int:
    """How many signals nobody has taken: they lie one behind the other."""
    ends = []
    for order in ("ASC", "DESC"):
        sql = f"SELECT n FROM signals WHERE execution=? AND name=? AND taken=0 ORDER BY n {order} LIMIT 1"
        row = tx.row(sql, (execution, name))
        if row is None:
            return 0
        ends.append(int(row[0]))
    return ends[1] - ends[0] + 1
