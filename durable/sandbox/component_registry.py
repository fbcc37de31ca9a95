"""Components as a program declares them, and those that one engine finds by their ids (specs/sandbox.md, R9)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from capabilities.sandbox.component_manifest import ComponentManifest, parse_component
from capabilities.sandbox.errors import InvalidConfiguration
from capabilities.sandbox.routing import WASM_MAGIC
from durable.core.errors import BadArguments, NotDeclared


class Component:
    """A component, declared in a module: `counter = durable.Component("Component.toml", "counter.wasm")`.

    manifest: its `Component.toml`. code: the module or component. Paths are relative to the file that declares it, both
    are looked at there and then: InvalidConfiguration, MissingMemoryConfig, MissingCpuConfig. It is compiled when it is
    first called, by an engine that was opened with it, or by a command that loads the module.
    """

    def __init__(self, manifest: str | os.PathLike[str], code: str | os.PathLike[str]) -> None:
        file = sys._getframe(1).f_globals.get("__file__")
        base = Path(file).resolve().parent if isinstance(file, str) else Path.cwd()
        text = _read(base / manifest)
        try:
            self.manifest: ComponentManifest = parse_component(text.decode(), str(base / manifest))
        except UnicodeDecodeError:
            raise InvalidConfiguration(f"{base / manifest} is no TOML; the manifest comes first") from None
        self.path = base / code
        if _read(self.path, len(WASM_MAGIC)) != WASM_MAGIC:
            raise InvalidConfiguration(f"{self.path} is no WebAssembly; the manifest comes first, then the code")

    @property
    def id(self) -> str:
        """By which it is called."""
        return self.manifest.id

    def read(self) -> bytes:
        """Its code. InvalidConfiguration when it is gone."""
        return _read(self.path)

    def same(self, other: Component) -> bool:
        """Whether either may stand for the other."""
        return self.manifest == other.manifest and self.path.resolve() == other.path.resolve()

    def __repr__(self) -> str:
        return f"<component {self.id} of {self.path}>"


type Find = Callable[[str], list[Component]]
"""What is declared under an id in what was loaded."""


class Declared:
    """The declared components of one engine."""

    def __init__(self, given: Iterable[Component] = (), find: Find | None = None) -> None:
        """find: where those are looked for that were not given."""
        self._given: dict[str, Component] = {}
        self.finds = find is not None
        self._find = find
        for each in given:
            if not isinstance(each, Component):
                raise BadArguments(f"{each!r} is no durable.Component; components=[durable.Component(manifest, code)]")
            if each.id in self._given:
                raise BadArguments(f"two components have the id {each.id!r}")
            self._given[each.id] = each

    @classmethod
    def of(cls, given: Iterable[Component] | Declared) -> Declared:
        """These; the object itself when it is one."""
        return given if isinstance(given, Declared) else cls(given)

    def __iter__(self) -> Iterator[Component]:
        return iter(self._given.values())

    def manifests(self) -> dict[str, ComponentManifest]:
        """Of those that were given, by id."""
        return {name: each.manifest for name, each in self._given.items()}

    def get(self, component: str) -> Component | None:
        """The one of that id, or None. NotDeclared where it is declared twice, differently."""
        found = self._given.get(component)
        if found is not None or self._find is None:
            return found
        everywhere = self._find(component)
        if any(not each.same(everywhere[0]) for each in everywhere):
            where = " and ".join(sorted({str(each.path) for each in everywhere}))
            raise NotDeclared(f"component {component!r} is declared twice here, and differently: its code is {where}")
        return everywhere[0] if everywhere else None


def _read(path: Path, most: int = -1) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(most)
    except OSError as error:
        raise InvalidConfiguration(f"{path} cannot be read: {error.strerror or error}") from None
