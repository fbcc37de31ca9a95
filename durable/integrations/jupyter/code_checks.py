"""Decisions of a kernel about code that it does not run: whether it is complete, asks for help, or has `%durable`."""

from __future__ import annotations

import ast
import codeop
import re
import warnings

_HELP = re.compile(r"\s*(?:(?P<before>\?{1,2})\s*(?P<first>[\w.]+)|(?P<last>[\w.]+)\s*(?P<after>\?{1,2}))\s*")
_MAGIC = re.compile(r"\s*%durable\b[ \t]*(.*)")
_OF_IPYTHON = re.compile(r"\s*[%!?]")


def completeness(code: str) -> dict[str, str]:
    """Whether a front end should run code at Enter: complete, incomplete with an indentation, or invalid."""
    lines = code.split("\n")
    if _OF_IPYTHON.match(code):
        return {"status": "complete"}
    compiler = codeop.CommandCompiler()
    compiler.compiler.flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            compiled = compiler(code, "<cell>", "exec")
    except (SyntaxError, ValueError, OverflowError, MemoryError, RecursionError):
        return {"status": "invalid"}
    last = lines[-1]
    indented = last[:1] in (" ", "\t") and last.strip() != ""
    if compiled is not None and not indented:
        return {"status": "complete"}
    indent = last[: len(last) - len(last.lstrip())]
    return {"status": "incomplete", "indent": indent + ("    " if last.rstrip().endswith(":") else "")}


def help_asked(code: str) -> tuple[str, int] | None:
    """The name of a cell that is only `name?` or `name??`, and how much of it is asked for."""
    found = _HELP.fullmatch(code)
    if found is None:
        return None
    return found["first"] or found["last"], len(found["before"] or found["after"]) - 1


def split_magic(code: str) -> tuple[list[str], str]:
    """The `%durable` commands at the beginning of a cell, and the code after them."""
    lines = code.split("\n")
    commands = []
    for at, line in enumerate(lines):
        found = _MAGIC.fullmatch(line)
        if found is not None:
            commands.append(found[1].strip())
        elif line.strip():
            return commands, code if not commands else "\n" * at + "\n".join(lines[at:])
    return commands, "" if commands else code


def is_plain(code: str) -> bool:
    """Whether a cell is only run: it neither asks for help nor has commands."""
    return help_asked(code) is None and not split_magic(code)[0]


def hides_result(code: str) -> bool:
    """Whether a cell ends with `;`, which hides its value."""
    return code.rstrip().endswith(";")
