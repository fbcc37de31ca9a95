"""Path patterns: `*` within one level, `**` over levels, `?`, `[abc]` (A72). Matched on clean relative paths."""

from __future__ import annotations

import re
from functools import lru_cache

GLOB_CHARS_MAX = 1_000


class BadGlob(ValueError):
    """A pattern that matches nothing anyone meant; refused when the manifest is loaded."""


def check_glob(pattern: str) -> str:
    """Return the pattern, or raise BadGlob naming what is wrong with it."""
    compile_glob(pattern)
    return pattern


@lru_cache(maxsize=1024)
def compile_glob(pattern: str) -> re.Pattern[str]:
    """The pattern as a regular expression over a whole path."""
    if not pattern or len(pattern) > GLOB_CHARS_MAX or "\0" in pattern:
        raise BadGlob(f"{pattern[:40]!r} is no path pattern: it is empty, too long, or holds a NUL")
    if pattern.startswith("/") or ".." in pattern.split("/") or "" in pattern.split("/"):
        raise BadGlob(f"{pattern!r} must be relative to the root, without '..' and empty levels")
    levels = pattern.split("/")
    found = ""
    for number, level in enumerate(levels):
        last = number == len(levels) - 1
        if level == "**":
            # `a/**` is `a` too: a directory may be listed by whoever may list all in it.
            found = f"{found[:-1]}(?:/.*)?" if last and found else found + (".*" if last else "(?:[^/]+/)*")
        elif "**" in level:
            raise BadGlob(f"{pattern!r}: '**' stands for whole levels, write 'a/**/b'")
        else:
            found += _level(level, pattern) + ("" if last else "/")
    return re.compile(found + r"\Z", re.DOTALL)


def _level(level: str, pattern: str) -> str:
    found, at = "", 0
    while at < len(level):
        char = level[at]
        if char == "*":
            found += "[^/]*"
        elif char == "?":
            found += "[^/]"
        elif char == "[":
            end = level.find("]", at + 2)
            if end < 0:
                raise BadGlob(f"{pattern!r}: '[' without ']'")
            inside = level[at + 1 : end]
            negated = inside.startswith("!")
            body = re.sub(r"([\\\]\[^&~|])", r"\\\1", inside[1:] if negated else inside)
            try:
                re.compile(f"[{body}]")
            except re.error as error:
                raise BadGlob(f"{pattern!r}: [{inside}] is no set of characters: {error}") from None
            found += f"(?!/)[{'^' if negated else ''}{body}]"
            at = end
        else:
            found += re.escape(char)
        at += 1
    return found


def matches(pattern: str, path: str) -> bool:
    """Whether a clean relative path ("" or "." is the root itself) fits."""
    if path in ("", "."):
        return pattern == "**"
    return compile_glob(pattern).match(path) is not None
