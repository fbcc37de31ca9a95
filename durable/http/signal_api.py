"""`/executions/{id}/signals/{name}` and `/promises/{id}/settle`: what outsiders bring, over HTTP (specs/http.md)."""

from __future__ import annotations

from typing import Any

import msgspec

from durable.core import ids
from durable.core.errors import BadArguments, DurableError
from durable.executions.signal_sender import send_signal, settle_promise
from durable.http.prompt_api import error_answer
from durable.store.direct_store import DirectStore


class SignalBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a signal."""

    value: Any = None
    key: str | None = None


class SettleBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body that settles a promise: a value, or the text of an error."""

    value: Any = None
    error: str | None = None


_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class SignalApi:
    """Signals and values of promises that come in over HTTP."""

    def __init__(self, store: DirectStore) -> None:
        self._store = store

    async def signal(self, execution: str, name: str, body: bytes, key: str | None) -> tuple[int, dict[str, Any]]:
        """The answer to a signal. `key`: of the header, where the body names none."""
        try:
            said = _read(body, SignalBody)
            sent = await send_signal(
                self._store, execution.removeprefix(ids.PREFIX), name, said.value, key=said.key or key
            )
        except DurableError as error:
            return error_answer(error)
        return 200, {"sent": sent}

    async def settle(self, promise: str, body: bytes) -> tuple[int, dict[str, Any]]:
        """The answer to a value for a promise."""
        try:
            said = _read(body, SettleBody)
            await settle_promise(self._store, promise, said.value, error=said.error)
        except DurableError as error:
            return error_answer(error)
        return 200, {"settled": True}


def _read[T](body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except _UNREADABLE as error:
        raise BadArguments(f"the body cannot be read: {error}") from None
