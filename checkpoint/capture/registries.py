"""Registrations of code with libraries (copyreg, csv, logging, …): read as plain dicts, and put back (worker side).

By the module that has to be loaded for it. What is in one when its module has been imported is the library's own.
"""

from __future__ import annotations

import abc
import sys
from collections.abc import Callable, Mapping
from typing import Any

type Entries = dict[Any, Any]

_DIALECT = (
    "delimiter", "doublequote", "escapechar", "lineterminator", "quotechar", "quoting", "skipinitialspace", "strict",
)  # fmt: skip

_ABCS = ("collections.abc", "numbers", "os", "io", "contextlib")
"""Modules whose abstract classes are looked at."""


def _loaded(name: str) -> Any:
    return sys.modules[name]


def _reducers() -> Entries:
    """The user's own: libraries register theirs again when they are imported."""
    table = _loaded("copyreg").dispatch_table.items()
    return {
        cls: reducer for cls, reducer in table if "__main__" in (cls.__module__, getattr(reducer, "__module__", ""))
    }


def _register_reducers(entries: Mapping[Any, Any]) -> None:
    _loaded("copyreg").dispatch_table.update(entries)


def _register_namespaces(entries: Mapping[Any, Any]) -> None:
    _loaded("xml.etree.ElementTree")._namespace_map.update(entries)


def _dialects() -> Entries:
    csv = _loaded("csv")
    found = {name: csv.get_dialect(name) for name in csv.list_dialects()}
    return {name: {part: getattr(dialect, part) for part in _DIALECT} for name, dialect in found.items()}


def _register_dialects(entries: Mapping[Any, Any]) -> None:
    for name, parts in entries.items():
        _loaded("csv").register_dialect(name, **parts)


def _of_sqlite() -> Entries:
    sqlite3 = _loaded("sqlite3")
    adapters = {("adapter", key[0]): function for key, function in sqlite3.adapters.items()}
    return adapters | {("converter", name): function for name, function in sqlite3.converters.items()}


def _register_with_sqlite(entries: Mapping[Any, Any]) -> None:
    for (kind, key), function in entries.items():
        getattr(_loaded("sqlite3"), f"register_{kind}")(key, function)


def _register_levels(entries: Mapping[Any, Any]) -> None:
    for level, name in entries.items():
        _loaded("logging").addLevelName(level, name)


REGISTRIES: dict[str, tuple[Callable[[], Entries], Callable[[Mapping[Any, Any]], object]]] = {
    "copyreg": (_reducers, _register_reducers),
    "csv": (_dialects, _register_dialects),
    "logging": (lambda: dict(_loaded("logging")._levelToName), _register_levels),
    "sqlite3": (_of_sqlite, _register_with_sqlite),
    "xml.etree.ElementTree": (lambda: dict(_loaded("xml.etree.ElementTree")._namespace_map), _register_namespaces),
}
"""How each is read, and how it is put back."""


def registered_classes() -> list[tuple[str, str, type]]:
    """Classes of the session registered with abstract ones of the standard library, by where those are."""
    found: list[tuple[str, str, type]] = []
    for module in _ABCS:
        for name, owner in list(vars(sys.modules.get(module, abc)).items()):
            if isinstance(owner, abc.ABCMeta):
                known = (reference() for reference in abc._get_dump(owner)[0])  # type: ignore[attr-defined]
                found += [(module, name, cls) for cls in known if cls is not None and cls.__module__ == "__main__"]
    return found
