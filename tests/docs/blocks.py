"""The fenced code blocks of a Markdown page, and the commands in those of a console.

How a page is written: a `python` block with a title is written to that file, and run unless a console of the page names
it; one without a title is run. In a `console` each `$ ` is a command, which has to end with 0 or as its comment says
(`# exit 4`); the lines below are what it prints, on stdout and stderr, where `…` stands for anything. A command that
ends with `&` runs on; `$ kill %1` ends it. `<!-- not run: why -->` before a block says why it cannot be run.
"""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

RUN = ("python", "console")
"""Languages whose blocks run. Code of other systems is `py`."""

CONTINUED = "\0"
"""In place of the shell's own line break and `> ` inside quotes."""

_FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```[ ]*$", re.MULTILINE | re.DOTALL)
_REASON = re.compile(r"<!-- not run: (?P<reason>(?:(?!-->).)+?) -->\s*$", re.DOTALL)
_TITLE = re.compile(r'title="(?P<title>[^"]+)"')
_EXIT = re.compile(r"\bexit (\d+)\b")


@dataclass(frozen=True)
class CodeBlock:
    """One block: its language, the file that it is, its text, the line it begins at, and why it is not run."""

    language: str
    title: str
    text: str
    line: int
    reason: str


@dataclass
class TypedCommand:
    """What is typed after `$`: words, variables before them, the code it is to end with, and what it is to print."""

    words: list[str]
    variables: dict[str, str]
    behind: bool
    code: int
    shown: list[str] = field(default_factory=list)


def name_of(page: Path) -> str:
    """A page's path in the project."""
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> Iterator[CodeBlock]:
    """All blocks of a page, in order."""
    text = page.read_text()
    for found in _FENCE.finditer(text):
        info = found["info"].strip()
        language, _, rest = info.partition(" ")
        title = _TITLE.search(rest)
        reason = _REASON.search(text, 0, found.start())
        yield CodeBlock(
            language,
            title["title"] if title else "",
            textwrap.dedent(found["text"]),
            text.count("\n", 0, found.start()) + 1,
            " ".join(reason["reason"].split()) if reason else "",
        )


def commands(text: str) -> list[TypedCommand]:
    """The commands of a console, each with the lines below it. A comment `# exit 4` says how one ends."""
    found: list[TypedCommand] = []
    for line in text.replace("\\\n", " ").replace("\n> ", CONTINUED).splitlines():
        if not line.startswith("$ "):
            assert found, f"a console begins with a command, not with {line!r}"
            found[-1].shown.append(line)
            continue
        words = shlex.split(line[2:].replace(CONTINUED, "\n"), comments=True)
        variables = {}
        while "=" in words[0]:
            name, _, value = words.pop(0).partition("=")
            variables[name] = value
        behind = words[-1] == "&"
        code = _EXIT.search(line.rpartition(" # ")[2]) if " # " in line else None
        found.append(TypedCommand(words[:-1] if behind else words, variables, behind, int(code[1]) if code else 0))
    return found


def pattern(shown: list[str]) -> re.Pattern[str]:
    """What fits the lines shown: `…` stands for anything, and how words are spaced does not count."""
    words = " ".join(" ".join(shown).split())
    return re.compile(".*".join(re.escape(part.strip()) for part in words.split("…")), re.DOTALL)
