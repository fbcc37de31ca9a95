"""Output that waits in the worker because its code does not (specs/worker-protocol.md, B1-B5). No I/O."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple


class OutputOverflow(RuntimeError):
    """More was printed than is taken, in a session whose output policy is "error"."""


class OutputDrainTimeout(RuntimeError):
    """The output of an execution was not taken in the time that its end has for that."""


OutputOverflow.__module__ = OutputDrainTimeout.__module__ = "builtins"  # as users see it; P36 gives the plain name


class OutputPiece(NamedTuple):
    """A piece of one execution's output: `text`, or the bytes that came from a pipe, or `dropped` characters."""

    execution_id: str
    stream: str
    dropped: int
    text: str | bytes


type _Origin = tuple[str, str]


class Backlog:
    """At most `size_max` pieces, in order; what more there was is counted where it would have been.

    `add` never waits. Gaps are kept beside the pieces: one for each execution and stream, before the first piece
    (drop_oldest) or after the last (drop_new).
    """

    def __init__(self, policy: str, size_max: int) -> None:
        self._oldest = policy == "drop_oldest"
        self._raises = policy == "error"
        self._size_max = size_max
        self._pieces: deque[OutputPiece] = deque()
        self._gaps_before: dict[_Origin, int] = {}
        self._gaps_after: dict[_Origin, int] = {}

    def __len__(self) -> int:
        return len(self._pieces) + len(self._gaps_before) + len(self._gaps_after)

    def add(self, piece: OutputPiece) -> None:
        """Take a piece, or count it or another as dropped. For "error" also raises OutputOverflow."""
        if len(self._pieces) < self._size_max:
            for (execution_id, stream), count in self._gaps_after.items():
                self._pieces.append(OutputPiece(execution_id, stream, count, ""))
            self._gaps_after.clear()
            self._pieces.append(piece)
        elif self._oldest:
            _count(self._gaps_before, self._pieces.popleft())
            self._pieces.append(piece)
        else:
            _count(self._gaps_after, piece)
            if self._raises:
                raise OutputOverflow(
                    f"{self._size_max} pieces of output wait to be read, and this session's output policy is 'error'; "
                    "print less, or choose the policy 'block', 'drop_new' or 'drop_oldest'"
                )

    def first(self) -> OutputPiece | None:
        """The piece to be sent next; it stays until `sent`."""
        for gaps in (self._gaps_before, {} if self._pieces else self._gaps_after):
            for (execution_id, stream), count in gaps.items():
                return OutputPiece(execution_id, stream, count, "")
        return self._pieces[0] if self._pieces else None

    def sent(self, piece: OutputPiece) -> None:
        """`piece`, which `first` gave, was handed over."""
        if self._pieces and self._pieces[0] is piece:
            self._pieces.popleft()
            return
        for gaps in (self._gaps_before, self._gaps_after):
            origin = (piece.execution_id, piece.stream)
            if origin in gaps:
                gaps[origin] -= piece.dropped
                if not gaps[origin]:
                    del gaps[origin]
                return

    def give_up(self) -> int:
        """Make everything that waits one gap for each execution and stream; how many characters were kept until now."""
        kept = sum(len(piece.text) for piece in self._pieces)
        while self._pieces:
            _count(self._gaps_before, self._pieces.popleft())
        return kept


def _count(gaps: dict[_Origin, int], piece: OutputPiece) -> None:
    origin = (piece.execution_id, piece.stream)
    gaps[origin] = gaps.get(origin, 0) + piece.dropped + len(piece.text)
