"""WIT as far as `host.wit` uses it: packages, interfaces, records, enums, variants, flags, functions, worlds.

What is not read is refused, with its line: a binding that was guessed would be worse than none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"(?P<doc>///[^\n]*)|(?P<skip>\s+|//[^\n]*)|(?P<arrow>->)|(?P<name>%?[a-z][a-z0-9]*(?:-[a-z0-9]+)*)"
    r"|(?P<version>@\d+\.\d+\.\d+)|(?P<mark>[{}()<>,:;./_=])"
)
_PLAIN = {"bool", "s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64", "f32", "f64", "char", "string"}
_NESTED = {"list": (1, 1), "option": (1, 1), "tuple": (1, 16), "result": (0, 2)}


class BadWit(ValueError):
    """WIT that cannot be read, and where."""


@dataclass(frozen=True, slots=True)
class WitFunction:
    """`name: func(params) -> result`, with its comment."""

    params: tuple[tuple[str, str], ...]
    result: str
    doc: tuple[str, ...]


@dataclass(slots=True)
class Interface:
    """Types by name (a record's fields, else None), and functions."""

    types: dict[str, tuple[tuple[str, str], ...] | None] = field(default_factory=dict)
    functions: dict[str, WitFunction] = field(default_factory=dict)


@dataclass(slots=True)
class World:
    """Interfaces by name."""

    imports: list[str] = field(default_factory=list)
    exports: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Package:
    """`namespace:name@version`, and what is in it."""

    id: str
    version: str
    interfaces: dict[str, Interface] = field(default_factory=dict)
    worlds: dict[str, World] = field(default_factory=dict)


def parse(text: str) -> Package:
    """The package of a file. BadWit."""
    return _Reader(text).package()


class _Reader:
    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str, int]] = []
        at = 0
        while at < len(text):
            match = _TOKEN.match(text, at)
            line = text.count("\n", 0, at) + 1
            if match is None:
                raise BadWit(f"line {line}: {text[at : at + 20]!r} is not understood")
            if match.lastgroup != "skip":
                self._tokens.append((str(match.lastgroup), match.group(), line))
            at = match.end()
        self._at = 0

    def package(self) -> Package:
        self._docs()
        self._word("package")
        namespace = self._name()
        self._mark(":")
        found = Package(f"{namespace}:{self._name()}", self._next("version")[1:])
        self._mark(";")
        while self._at < len(self._tokens):
            self._docs()
            what = self._name()
            if what == "interface":
                self._once(name := self._name(), found.interfaces)
                found.interfaces[name] = self._interface(found)
            elif what == "world":
                self._once(name := self._name(), found.worlds)
                found.worlds[name] = self._world(found)
            else:
                raise self._bad(f"{what!r} where an interface or a world is expected")
        return found

    def _interface(self, package: Package) -> Interface:
        found = Interface()
        self._mark("{")
        while not self._is("}"):
            doc = self._docs()
            name = self._name()
            if self._is(":"):
                self._once(name, {**found.types, **found.functions})
                found.functions[name] = self._function(found, doc)
            elif name == "use":
                self._use(package, found)
            elif name in ("record", "enum", "variant", "flags"):
                self._type(name, found)
            else:
                raise self._bad(f"{name!r} is not understood in an interface")
        return found

    def _use(self, package: Package, found: Interface) -> None:
        other = package.interfaces.get(name := self._name())
        if other is None:
            raise self._bad(f"no interface {name!r} before this one")
        self._mark(".")
        self._mark("{")
        while True:
            each = self._name()
            if each not in other.types:
                raise self._bad(f"{name} has no type {each!r}")
            self._once(each, {**found.types, **found.functions})
            found.types[each] = other.types[each]
            if not self._is(","):
                break
        self._mark("}")
        self._mark(";")

    def _type(self, what: str, found: Interface) -> None:
        self._once(name := self._name(), {**found.types, **found.functions})
        self._mark("{")
        members: list[tuple[str, str]] = []
        while not self._is("}"):
            self._docs()
            member, kind = self._name(), ""
            if what == "record":
                self._mark(":")
                kind = self._kind(found)
            elif what == "variant" and self._is("("):
                kind = self._kind(found)
                self._mark(")")
            self._once(member, dict(members))
            members.append((member, kind))
            if not self._is(","):
                self._mark("}")
                break
        found.types[name] = tuple(members) if what == "record" else None

    def _function(self, found: Interface, doc: tuple[str, ...]) -> WitFunction:
        self._word("func")
        self._mark("(")
        params: list[tuple[str, str]] = []
        while not self._is(")"):
            self._once(name := self._name(), dict(params))
            self._mark(":")
            params.append((name, self._kind(found)))
            if not self._is(","):
                self._mark(")")
                break
        result = ""
        if self._peek()[0] == "arrow":
            self._at += 1
            result = self._kind(found)
        self._mark(";")
        return WitFunction(tuple(params), result, doc)

    def _kind(self, found: Interface) -> str:
        name = self._name()
        bounds = _NESTED.get(name)
        if bounds is None:
            if name not in _PLAIN and name not in found.types:
                raise self._bad(f"there is no type {name!r}")
            return name
        inner: list[str] = []
        if self._is("<"):
            while True:
                inner.append("_" if self._is("_") else self._kind(found))
                if not self._is(","):
                    break
            self._mark(">")
        if not bounds[0] <= len(inner) <= bounds[1]:
            raise self._bad(f"{name} of {len(inner)} types")
        return f"{name}<{','.join(inner)}>" if inner else name

    def _world(self, package: Package) -> World:
        found = World()
        self._mark("{")
        while not self._is("}"):
            self._docs()
            what, name = self._name(), self._name()
            self._mark(";")
            if what == "include" and name in package.worlds:
                found.imports += package.worlds[name].imports
                found.exports += package.worlds[name].exports
            elif what in ("import", "export") and name in package.interfaces:
                (found.imports if what == "import" else found.exports).append(name)
            else:
                raise self._bad(f"{what} {name!r} is not understood in a world")
        return found

    # -- tokens -------------------------------------------------------------------------------------------------

    def _peek(self) -> tuple[str, str, int]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "the end", 0)

    def _next(self, kind: str) -> str:
        found, text, _ = self._peek()
        if found != kind:
            raise self._bad(f"{text!r} where a {kind} is expected")
        self._at += 1
        return text

    def _name(self) -> str:
        return self._next("name").removeprefix("%")

    def _word(self, word: str) -> None:
        if (found := self._name()) != word:
            raise self._bad(f"{found!r} where {word!r} is expected")

    def _is(self, mark: str) -> bool:
        if self._peek()[:2] != ("mark", mark):
            return False
        self._at += 1
        return True

    def _mark(self, mark: str) -> None:
        if not self._is(mark):
            raise self._bad(f"{self._peek()[1]!r} where {mark!r} is expected")

    def _docs(self) -> tuple[str, ...]:
        found = []
        while self._peek()[0] == "doc":
            found.append(self._next("doc").removeprefix("///").strip())
        return tuple(found)

    def _once(self, name: str, known: object) -> None:
        assert isinstance(known, dict)
        if name in known:
            raise self._bad(f"{name!r} is defined more than once")

    def _bad(self, why: str) -> BadWit:
        line = self._peek()[2] or (self._tokens[-1][2] if self._tokens else 1)
        return BadWit(f"line {line}: {why}")
