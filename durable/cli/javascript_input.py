"""Whether a script that is typed goes on in the next line: by its text alone, as far as brackets and signs tell."""

from __future__ import annotations

import re

_TOKEN = re.compile(
    r"""
      (?P<space> \s+ | //[^\n]* | /\*.*?\*/ )
    | (?P<comment> /\* )
    | (?P<value> [\w$]+ | '(?:[^'\\\n]|\\.)*' | "(?:[^"\\\n]|\\.)*" )
    | (?P<broken> ['"] )
    | (?P<sign> => | \+\+ | -- | . )
    """,
    re.VERBOSE | re.DOTALL,
)
_REGEX = re.compile(r"/(?:[^\\/\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+/\w*")
_TEMPLATE = re.compile(r"(?:[^`\\$]|\\.|\$(?!\{))*(?P<end>`|\$\{)?", re.DOTALL)
_CLOSES = {")": "(", "]": "[", "}": "{"}
_OPERATORS = frozenset((*"-+*/%&|^=<?:,.!~", "=>"))
_BEFORE_REGEX = frozenset(("return", "typeof", "case", "in", "of", "delete", "void", "throw", "new", "await", "yield"))


def needs_more(text: str) -> bool:
    """Whether a bracket, a template or a comment is open, or an operator last. What cannot become right does not."""
    opened: list[str] = []
    at, last = 0, "("
    while at < len(text):
        if opened and opened[-1] == "`":
            found = _TEMPLATE.match(text, at)
            assert found is not None
            at, ended = found.end(), found["end"]
            if ended == "`":
                opened.pop()
                last = "text"
            elif ended:
                opened.append("${")
                last = "{"
            else:
                return True
            continue
        found = _REGEX.match(text, at) if _begins_value(last) and text[at : at + 2] not in ("//", "/*") else None
        if found is not None:
            at, last = found.end(), "text"
            continue
        found = _TOKEN.match(text, at)
        assert found is not None
        at = found.end()
        if found["comment"]:
            return True
        if found["broken"]:
            return False
        if found["space"]:
            continue
        last = found[0]
        if last in ("(", "[", "{", "`"):
            opened.append(last)
        elif last in _CLOSES and (not opened or opened.pop().lstrip("$") != _CLOSES[last]):
            return False
    return bool(opened) or last in _OPERATORS


def _begins_value(last: str) -> bool:
    """Whether a slash after this begins a regular expression, not a division."""
    return last in _OPERATORS or last in _BEFORE_REGEX or last in ("(", "[", "{", "}", ";", ">")
