"""Rows to protocol records and back. The column lists here and `migrations/` are one story: keep them together."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Protocol

import msgspec

from durable.core.errors import StoreError
from durable.store.protocol.requests import Record, Value

type Row = tuple[Any, ...]
"""What a store gives back: typed by the columns asked for, which the type checker cannot see."""

EVERY = 2**63 - 1
"""The LIMIT of all rows: PostgreSQL takes no -1."""


class Queries(Protocol):
    """Whatever runs statements that only read: a transaction, or a look outside of one."""

    def rows(self, sql: str, parameters: tuple[object, ...] = ()) -> list[Row]:
        """All rows."""


CANCELLED = (
    "SELECT id FROM tasks WHERE cancel_at IS NOT NULL AND state='acquired' AND pid IN (SELECT value FROM json_each(?))"
)
"""Functions that run on any of these engines and are to end."""

PROMISE = "id,state,param_headers,param_data,value_headers,value_data,tags,timeout_at,created_at,settled_at"
TASK = "id,state,version,resumes,ttl,pid"
SCHEDULE = "id,cron,promise_id,promise_timeout,promise_param,promise_tags,created_at,next_run_at,last_run_at"

_tags = msgspec.json.Decoder(dict[str, str])
_value = msgspec.json.Decoder(Value)


def of_a_row[T](convert: Callable[[Row], T]) -> Callable[[Row], T]:
    """A conversion whose row may be of a damaged file, with values that no column holds: StoreError then."""

    @wraps(convert)
    def converted(row: Row) -> T:
        try:
            return convert(row)
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            raise StoreError(f"the store is damaged: a row that is none ({error}); run `durable doctor`") from error

    return converted


def load_tags(text: object) -> dict[str, str]:
    """Tags as stored, back as a dict. A row that does not decode was not written by this store."""
    try:
        return _tags.decode(str(text))
    except msgspec.MsgspecError as error:
        raise StoreError(f"the store is damaged: tags that are not JSON ({error}); run `durable doctor`") from error


def dump(value: object) -> str:
    """Compact JSON text for a column."""
    return msgspec.json.encode(value).decode()


def value_record(headers: object, data: object) -> Record:
    """A Value as the protocol shows it: absent fields are absent."""
    record: Record = {}
    if headers is not None:
        record["headers"] = load_tags(headers)
    if data is not None:
        record["data"] = data
    return record


def load_value(text: object) -> Value:
    """A Value from its JSON text."""
    return _value.decode(str(text))


def promise_record(row: Row, tags: dict[str, str] | None = None) -> Record:
    """A Promise from the columns of `PROMISE`. tags: those of the row, where they are at hand."""
    record: Record = {
        "id": row[0],
        "state": row[1],
        "param": value_record(row[2], row[3]),
        "value": value_record(row[4], row[5]),
        "tags": load_tags(row[6]) if tags is None else tags,
        "timeoutAt": row[7],
        "createdAt": row[8],
    }
    if row[9] is not None:
        record["settledAt"] = row[9]
    return record


def task_record(row: Row) -> Record:
    """A Task from the columns of `TASK`."""
    record: Record = {"id": row[0], "state": row[1], "version": row[2], "resumes": row[3]}
    if row[4] is not None:
        record["ttl"] = row[4]
    if row[5] is not None:
        record["pid"] = row[5]
    return record


def schedule_record(row: Row) -> Record:
    """A Schedule from the columns of `SCHEDULE`."""
    record: Record = {
        "id": row[0],
        "cron": row[1],
        "promiseId": row[2],
        "promiseTimeout": row[3],
        "promiseParam": msgspec.to_builtins(_value.decode(row[4])),
        "promiseTags": load_tags(row[5]),
        "createdAt": row[6],
        "nextRunAt": row[7],
    }
    if row[8] is not None:
        record["lastRunAt"] = row[8]
    return record
