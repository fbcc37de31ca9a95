"""The operations that a function failed by: those whose failures its own error came from (specs/fork.md, Y17)."""

from __future__ import annotations

from collections import deque

from durable.core.errors import ExecutionError

_DEPTH_MAX = 200
"""Members and causes in each other that are followed."""

_TIMERS_MAX = 1_000
"""Timers that fired last: as many branches can end by `asyncio.timeout` at once and be told apart."""


class FailureLog:
    """The failures of operations that were raised in one function, by the ordinals of the operations."""

    def __init__(self) -> None:
        self._raised: set[int] = set()
        self._fired: deque[int] = deque(maxlen=_TIMERS_MAX)

    def raises(self, ordinal: int, error: ExecutionError) -> ExecutionError:
        """The error, which the function's code gets now."""
        self._raised.add(ordinal)
        error._raised_by = (self, ordinal)
        return error

    def timer_fires(self, ordinal: int) -> None:
        """A timer has come to its end."""
        self._fired.append(ordinal)

    def origin(self, error: BaseException) -> dict[str, list[int]]:
        """Ordinals for the record of the function's own error: `failed` are the operations that it came from, `caught`
        those whose failures the function had and went on."""
        walk = _Walk(self)
        walk.follow(error, 0)
        fired = [*self._fired][-walk.timeouts :] if walk.timeouts else []
        failed = walk.operations.union(fired)
        return {"failed": sorted(failed), "caught": sorted(self._raised - failed)}


class _Walk:
    """A walk over an error, its members, causes and contexts."""

    def __init__(self, log: FailureLog) -> None:
        self._log = log
        self._seen: dict[int, bool] = {}
        self.operations: set[int] = set()
        self.timeouts = 0
        """Errors of `asyncio.timeout` and `anyio.fail_after`: each is a timer's."""

    def follow(self, error: BaseException | None, depth: int) -> bool:
        """Whether an operation or timer is found there. What was handled meanwhile counts where nothing else does."""
        if error is None or depth > _DEPTH_MAX:
            return False
        known = self._seen.get(id(error))
        if known is None:
            self._seen[id(error)] = False  # errors can come from each other
            known = self._seen[id(error)] = self._is_own(error) or self._is_inside(error, depth + 1)
        return known

    def _is_own(self, error: BaseException) -> bool:
        if isinstance(error, ExecutionError) and error._raised_by is not None and error._raised_by[0] is self._log:
            self.operations.add(error._raised_by[1])
            return True
        if type(error) is TimeoutError and not error.args:
            self.timeouts += 1
            return True
        return False

    def _is_inside(self, error: BaseException, depth: int) -> bool:
        found = self.follow(error.__cause__, depth)
        if isinstance(error, BaseExceptionGroup):
            for member in error.exceptions:
                found = self.follow(member, depth) or found
        return found or self.follow(error.__context__, depth)
