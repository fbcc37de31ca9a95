"""A failure of user code as text: the user's frames only."""

from __future__ import annotations

import os
import traceback

from bridge.worker.namespace.values import cut
from durable.core.errors import DurableError

TRACEBACK_CHARS_MAX = 100_000
"""A traceback's text, cut in the middle when longer."""

NAME_CHARS_MAX = 1_000
"""A class's name, and its module's."""

MESSAGE_CHARS_MAX = 10_000
"""An exception's message."""

PACKAGE_DIRECTORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))) + os.sep

SCRIPT = "<script "
"""How the file names of cells begin whose text is ours: they run a script in another language."""

_ROOT = os.path.dirname(os.path.dirname(PACKAGE_DIRECTORY))
OURS = (PACKAGE_DIRECTORY, os.path.join(_ROOT, "capabilities") + os.sep, SCRIPT)


def type_name(error: BaseException) -> str:
    """The qualified name, without a module where that is plain; our errors as users import them."""
    kind = type(error)
    name = cut(kind.__qualname__, NAME_CHARS_MAX)
    if isinstance(error, DurableError) and kind.__module__.startswith(("durable.", "capabilities.")):
        return f"durable.{name}"
    if kind.__module__ in ("builtins", "__main__"):
        return name
    return f"{cut(str(kind.__module__), NAME_CHARS_MAX)}.{name}"


def message_of(error: BaseException) -> str:
    """`str(error)`, bounded; an exception whose text raises says so."""
    try:
        return cut(str(error), MESSAGE_CHARS_MAX)
    except Exception as second:
        return f"<the text of this {type(error).__qualname__} raised {type(second).__qualname__}>"


def format_error(error: BaseException) -> str:
    """The traceback of `error`, of its causes and of its group's members, without our frames; of another language,
    its own.
    """
    try:
        if isinstance(error, DurableError) and error.foreign_traceback:
            return cut(error.foreign_traceback, TRACEBACK_CHARS_MAX)
        summary = traceback.TracebackException.from_exception(error)
        _drop_ours(summary)
        if not summary.stack and summary.__cause__ is None and summary.__context__ is None and not summary.exceptions:
            lines = summary.format_exception_only()
        else:
            lines = summary.format()
        return cut("".join(lines), TRACEBACK_CHARS_MAX)
    except Exception as second:
        return f"{type_name(error)}: {message_of(error)}\n(formatting it raised {type(second).__qualname__})\n"


def _drop_ours(summary: traceback.TracebackException) -> None:
    left = [summary]
    while left:
        one = left.pop()
        one.stack = traceback.StackSummary.from_list([f for f in one.stack if not f.filename.startswith(OURS)])
        left += [other for other in (one.__cause__, one.__context__) if other is not None]
        left += one.exceptions or []
