"""Which backend runs a piece of code: what was asked for, what it looks like, and why. Pure (specs/sandbox.md)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from capabilities.sandbox.errors import InvalidConfiguration

type Name = Literal["python", "javascript", "wasm"]
type Choice = Literal["auto", "python", "javascript", "wasm"]

CHOICES: tuple[Choice, ...] = get_args(Choice.__value__)
VARIABLES = ("DURABLE_SANDBOX", "MCP_SANDBOX_BACKEND")
"""The first that is set wins (D25, W12)."""
WASM_MAGIC = b"\0asm"
WASM_TEXT = "wasm_base64:"
LOOK_CHARS_MAX = 100_000
"""Characters of the code that are looked at."""

_JAVASCRIPT = (
    r"^\s*(const|let|var)\s",
    r"=>",
    r"\bfunction\b\s*\*?\s*\w*\s*\(",
    r"===|!==",
    r"\bconsole\.\w+\(",
    r";\s*$",
    r"^\s*(//|/\*)",
    r"\bnew [A-Z]\w*\(",
    r"^\s*(import|export)\s.*\bfrom\b\s*['\"]",
    r"\b(null|undefined|true|false)\b",
)
_MODULE = r"^\s*(import\s*[\w{*'\"]|export\s+(default|const|let|var|function|class|async)\b|export\s*[{*])"
_PYTHON = (
    r"^\s*(async\s+)?def \w+\(",
    r"^\s*(import \w+|from [\w.]+ import\b)",
    r"^\s*class \w+.*:\s*$",
    r"^\s*(if|elif|else|for|while|with|try|except|finally)\b.*:\s*(#.*)?$",
    r"\bprint\(",
    r"\b(None|True|False|elif|lambda|self)\b",
    r"^\s*#",
    r"\bf['\"]",
)


@dataclass(frozen=True, slots=True)
class Route:
    """Where code goes, and why."""

    backend: Name
    reason: str


def choice_of(environment: Mapping[str, str]) -> Choice:
    """The choice of the environment; "auto" when it says nothing. InvalidConfiguration names the choices."""
    for variable in VARIABLES:
        said = environment.get(variable)
        if said:
            return checked(said, variable)
    return "auto"


def checked(said: str, where: str = "backend") -> Choice:
    """One of the choices, or InvalidConfiguration."""
    for choice in CHOICES:
        if said == choice:
            return choice
    raise InvalidConfiguration(f"{where} is {said!r}; it is one of {', '.join(CHOICES)}")


def route(code: str | bytes, asked: Choice, choice: Choice, component: str = "") -> Route:
    """asked: what the caller named. choice: what the front is set to. Then what the code looks like.

    component: the id of a known one instead of code. InvalidConfiguration when it was to be run as something else.
    """
    if component:
        if asked not in ("auto", "wasm"):
            raise InvalidConfiguration(f"component {component!r} is WebAssembly; {asked} was asked for")
        return Route("wasm", f"component {component}")
    if asked != "auto":
        return Route(asked, "asked for")
    if isinstance(code, bytes) or is_wasm(code):
        return Route("wasm", "it is a WebAssembly module")
    if choice != "auto":
        return Route(choice, "this is what the sandbox is set to")
    text = code[:LOOK_CHARS_MAX]
    javascript, python = _score(text, _JAVASCRIPT), _score(text, _PYTHON)
    if python > javascript:
        return Route("python", "it looks like Python")
    if javascript > python:
        return Route("javascript", "it looks like JavaScript")
    return Route("javascript", "it looks like neither: the cheapest to begin")


def is_wasm(code: str | bytes) -> bool:
    """Whether code is WebAssembly: bytes are a module or a component; text is one when it says so."""
    return isinstance(code, bytes) or code.startswith(WASM_TEXT)


def is_module(code: str) -> bool:
    """Whether JavaScript is an ES module: a statement of it imports or exports. Its value is its exports then."""
    return re.search(_MODULE, code[:LOOK_CHARS_MAX], re.MULTILINE) is not None


def _score(text: str, signs: tuple[str, ...]) -> int:
    return sum(re.search(sign, text, re.MULTILINE) is not None for sign in signs)
