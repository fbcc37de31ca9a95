"""A failure of user code as text: the user's frames only."""

from __future__ import annotations

import os
import traceback

from bridge.worker.values import cut

TRACEBACK_CHARS_MAX = 100_000
"""A traceback's text, cut in the middle when longer."""

MESSAGE_CHARS_MAX = 10_000
"""An exception's message."""

PACKAGE_DIRECTORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def type_name(error: BaseException) -> str:
    """The qualified name, without a module where that is plain; our errors as users import them."""
    kind = type(error)
    if kind.__module__ == "durable.core.errors":
        return f"durable.{kind.__qualname__}"
    if kind.__module__ in ("builtins", "__main__"):
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def message_of(error: BaseException) -> str:
    """`str(error)`, bounded; an exception whose text raises says so."""
    try:
        return cut(str(error), MESSAGE_CHARS_MAX)
    except Exception as second:
        return f"<the text of this {type(error).__qualname__} raised {type(second).__qualname__}>"


def format_error(error: BaseException) -> str:
    """The traceback of `error`, of its causes and of its group's members, without frames of this package."""
    try:
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
        one.stack = traceback.StackSummary.from_list(
            [f for f in one.stack if not f.filename.startswith(PACKAGE_DIRECTORY)]
        )
        left += [other for other in (one.__cause__, one.__context__) if other is not None]
        left += one.exceptions or []
