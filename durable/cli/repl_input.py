"""Reading a cell from a terminal: editing, history, completion, more lines where a block or bracket is open."""

from __future__ import annotations

import ast
import codeop
import os
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from durable.cli import javascript_input
from durable.sessions.language import Language

INDENT = "    "
_TYPED = re.compile(r"[\w.]*\Z")

type Complete = Callable[[str], Awaitable[list[str]]]


def needs_more(text: str) -> bool:
    """Whether Python would read another line: an open bracket, string or block. What cannot become right does not."""
    lines, _, last = text.rpartition("\n")
    if not last.strip():
        text = f"{lines}\n"  # an empty line ends a block, whatever it is indented by
    compiler = codeop.CommandCompiler()
    compiler.compiler.flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    try:
        return compiler(text, "<cell>", "single") is None
    except (SyntaxError, ValueError, OverflowError):
        return False


def indent_after(text: str, language: Language = "python") -> str:
    """The indentation of the line that follows."""
    last = text.rpartition("\n")[2]
    own = last[: len(last) - len(last.lstrip())]
    return own + INDENT if last.rstrip().endswith(":" if language == "python" else ("{", "(", "[")) else own


def history_path() -> Path:
    """Where what was typed is kept, for its user only."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return state / "durable" / "repl_history"


class Reader:
    """One person's inputs, one after the other."""

    def __init__(self, complete: Complete, language: Language = "python") -> None:
        self._prompt: PromptSession[str] = PromptSession(
            ">>> ",
            multiline=True,
            prompt_continuation=lambda width, _line, _wrapped: "... ".rjust(width),
            completer=_Names(complete),
            complete_while_typing=False,
            history=_history(),
            key_bindings=_keys(language),
        )

    async def read(self) -> str | None:
        """The next input; None at its end (Ctrl-D). Ctrl-C drops what was typed."""
        while True:
            try:
                return await self._prompt.prompt_async()
            except KeyboardInterrupt:
                continue
            except EOFError:
                return None


def _history() -> History:
    path = history_path()
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600))
        return FileHistory(path)
    return InMemoryHistory()


class Burst:
    """Lines that come at once: pasted ones have their indentation, those typed ahead wait for ours."""

    def __init__(self) -> None:
        self._helped = False

    def indentation(self, before: str, following: str, language: Language) -> str:
        """The indentation to put after `before`; `following` is the next character, if more came at once."""
        ours = indent_after(before, language)
        if not following:
            self._helped = False
            return ours
        last = before.rpartition("\n")[2]
        opens = len(ours) > len(last) - len(last.lstrip())
        self._helped = following not in " \t" and (self._helped or opens)
        return ours if self._helped else ""

    def end(self) -> None:
        """The input is whole."""
        self._helped = False


def _keys(language: Language) -> KeyBindings:
    keys = KeyBindings()
    burst = Burst()
    goes_on = needs_more if language == "python" else javascript_input.needs_more

    @keys.add("enter")
    @keys.add("c-j")  # typed ahead, while the terminal was not ours
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        text = buffer.text
        if buffer.document.is_cursor_at_the_end and not goes_on(text):
            burst.end()
            buffer.validate_and_handle()
        else:
            waiting = event.app.key_processor.input_queue
            before, following = buffer.document.text_before_cursor, waiting[0].data if waiting else ""
            buffer.insert_text("\n" + burst.indentation(before, following, language))

    @keys.add("tab")
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if not buffer.document.current_line_before_cursor.strip():
            buffer.insert_text(INDENT)
        elif buffer.complete_state is not None:
            buffer.complete_next()
        else:
            buffer.start_completion(insert_common_part=True)

    return keys


class _Names(Completer):
    def __init__(self, complete: Complete) -> None:
        self._complete = complete

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> list[Completion]:  # noqa: ARG002
        return []  # only asked for asynchronously

    async def get_completions_async(
        self,
        document: Document,
        complete_event: CompleteEvent,  # noqa: ARG002
    ) -> AsyncGenerator[Completion]:
        found = _TYPED.search(document.text_before_cursor)
        typed = found[0] if found is not None else ""
        for name in await self._complete(typed):
            yield Completion(name, -len(typed), display=name.rpartition(".")[2])
