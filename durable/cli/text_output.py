"""Where text goes: data to stdout, everything else to stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any, ClassVar, TextIO

CELL_CHARS_MAX = 1_000
"""Of a cell of a table, or a line of a drawing: an error may be as long as 65,536 characters, `--json` has all."""

_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if code not in (9, 10)}


def plain(text: str) -> str:
    """Text from the store without what a terminal would obey: control characters become visible."""
    return text.translate(_CONTROL)


def line(text: str) -> str:
    """The same on one line."""
    return plain(text).replace("\n", " ").replace("\t", " ")


def cut(text: str, limit: int, whole: str = "") -> str:
    """Its first `limit` characters with a note of its length and, in `whole`, of where all of it is."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}… ({len(text):,} characters{whole and f'; {whole}'})"


def counted(count: int, one: str, many: str = "") -> str:
    """A count with its noun."""
    return f"{count} {one if count == 1 else many or f'{one}s'}"


class Out:
    """The two streams of one command. `json`: data is the documented JSON, and nothing else."""

    _protected: ClassVar[TextIO | None] = None
    """Where data goes once this process is protected: every Out of it, an error's as well."""

    def __init__(self, *, json: bool = False, json_logs: bool = False) -> None:
        self.json = json
        self.json_logs = json_logs
        _lenient(sys.stdout)
        _lenient(sys.stderr)

    def protect(self) -> None:
        """From here on whatever this process and its children print goes to stderr; only `data` reaches stdout."""
        if Out._protected is not None:
            return
        sys.stdout.flush()
        own = os.dup(1)
        os.dup2(2, 1)
        Out._protected = open(own, "w", encoding=sys.stdout.encoding, errors="backslashreplace", buffering=1)  # noqa: SIM115

    @property
    def _data(self) -> TextIO:
        return Out._protected or sys.stdout

    def data(self, text: str, end: str = "\n") -> None:
        """A piece of data, flushed. BrokenPipeError when its reader is gone; what is still buffered is dropped then."""
        try:
            self._data.write(text + end)
            self._data.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._data.fileno())
            raise

    def value(self, value: Any) -> None:
        """A result: a text plain unless JSON is asked for, everything else as JSON."""
        if isinstance(value, str) and not self.json:
            self.text(value)
        else:
            self.data(to_text(value))

    def text(self, text: str) -> None:
        """A text that is somebody's value: exact for a program that reads it, without control where a person does."""
        self.data(plain(text) if self.is_terminal() else text)

    def repr(self, text: str) -> None:
        """Write the repr that a stranger's code gave to a value."""
        self.data(plain(text))

    def traceback(self, text: str) -> None:
        """A stranger's traceback, for people."""
        self.note(plain(text.rstrip("\n")))

    def document(self, value: Any) -> None:
        """A view, a list of views, or plain JSON."""
        self.data(to_text(_plain(value), indent=2))

    def say(self, text: str) -> None:
        """A message of ours."""
        if self.json_logs:
            from durable.telemetry.json_logs import message_line

            self.note(message_line("durable.cli", text))
        else:
            self.note(f"durable: {plain(text)}")

    def note(self, text: str, end: str = "\n") -> None:
        """Anything else for people, as it is."""
        sys.stderr.write(text + end)
        sys.stderr.flush()

    def is_terminal(self) -> bool:
        """Whether data goes to a person's terminal."""
        return self._data.isatty()

    def entry(self, text: str) -> None:
        """One line of a drawing for people; cut where the terminal ends."""
        text = cut(text, CELL_CHARS_MAX)
        if self.is_terminal():
            from durable.cli import terminal_table

            text = terminal_table.cut(line(text), terminal_table.width_of(self._data))
        self.data(line(text))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str = "") -> None:
        """A table on a terminal, tab-separated lines under a header elsewhere; without rows `empty` is said."""
        texts = [[line(cut("" if cell is None else str(cell), CELL_CHARS_MAX)) for cell in row] for row in rows]
        if not texts and empty:
            self.say(empty)
        elif self.is_terminal():
            from durable.cli.terminal_table import lines, width_of

            for text in lines(columns, texts, width_of(self._data)):
                self.data(text)
        else:
            for row in ([column.upper() for column in columns], *texts):
                self.data("\t".join(row))


def to_text(value: Any, indent: int | None = None) -> str:
    """JSON as text; what has none is shown by its repr."""
    return json.dumps(value, ensure_ascii=False, indent=indent, default=repr)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        shown = getattr(value, "to_json", None)
        return shown() if shown is not None else asdict(value)
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _lenient(stream: TextIO) -> None:
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
