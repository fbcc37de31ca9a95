"""Registrations of code with libraries (copyreg, csv, logging, …): read as plain dicts, and put back (worker side).

By the module that has to be loaded for it. What is in one when its module has been imported is the library's own.
"""

from __future__ import annotations

import abc
import os
import sys
import types
from collections.abc import Callable, Container, Iterator, Mapping
from typing import Any

from checkpoint.capture.class_sources import CELL
from checkpoint.pickling.importable import is_made_by_hand

type Entries = dict[Any, Any]

_DIALECT = (
    "delimiter", "doublequote", "escapechar", "lineterminator", "quotechar", "quoting", "skipinitialspace", "strict",
)  # fmt: skip

_ABCS = ("collections.abc", "numbers", "os", "io", "contextlib", "importlib.abc", "typing")
"""Modules whose abstract classes are looked at."""


def _loaded(name: str) -> Any:
    return sys.modules[name]


def _reducers() -> Entries:
    """The user's own: libraries register theirs again when they are imported."""
    table = _loaded("copyreg").dispatch_table.items()
    users = {
        cls: reducer for cls, reducer in table if "__main__" in (cls.__module__, getattr(reducer, "__module__", ""))
    }
    extensions: Entries = _loaded("copyreg")._extension_registry
    return users | extensions


def _register_reducers(entries: Mapping[Any, Any]) -> None:
    for key, value in entries.items():
        if isinstance(key, tuple):
            _loaded("copyreg").add_extension(*key, value)
        else:
            _loaded("copyreg").dispatch_table[key] = value


def _register_namespaces(entries: Mapping[Any, Any]) -> None:
    _loaded("xml.etree.ElementTree")._namespace_map.update(entries)


def _dialects() -> Entries:
    csv = _loaded("csv")
    found = {name: csv.get_dialect(name) for name in csv.list_dialects()}
    own = {name: {part: getattr(dialect, part) for part in _DIALECT} for name, dialect in found.items()}
    return dict.fromkeys(("excel", "excel-tab", "unix")) | own


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


def _register_dialects_gone(entries: Mapping[Any, Any]) -> None:
    _register_dialects({name: parts for name, parts in entries.items() if parts is not None})
    for name, parts in entries.items():
        if parts is None and name in _loaded("csv").list_dialects():
            _loaded("csv").unregister_dialect(name)


def _of_logging() -> Entries:
    logging = _loaded("logging")
    captured = {"captureWarnings": logging._warnings_showwarning is not None}
    factory = {"setLogRecordFactory": logging.getLogRecordFactory(), "setLoggerClass": logging.getLoggerClass()}
    found: Entries = logging._levelToName | captured | factory
    return found | {"lastResort": getattr(logging.lastResort, "level", None)}


def _register_with_logging(entries: Mapping[Any, Any]) -> None:
    logging = _loaded("logging")
    for key, value in entries.items():
        if key == "lastResort":
            if logging.lastResort is not None:
                logging.lastResort.setLevel(value)
        elif isinstance(key, str):
            getattr(logging, key)(value)
        else:
            logging.addLevelName(key, value)


def _lines() -> Entries:
    """Of code that has no file, but for the cells', which are saved with what comes from them."""
    lines = _loaded("linecache").cache.items()
    return {
        name: entry
        for name, entry in lines
        if len(entry) == 4 and entry[1] is None and not name.startswith(CELL) and not os.path.exists(name)
    }


def _put_lines(entries: Mapping[Any, Any]) -> None:
    _loaded("linecache").cache.update(entries)


def _types() -> Entries:
    """Types by suffix, without those that the machine's files have."""
    mimetypes = _loaded("mimetypes")
    tables = ("types_map", "common_types", "suffix_map", "encodings_map")
    if not mimetypes.inited:
        return {}
    if not _MACHINE_TYPES:
        read = mimetypes.MimeTypes([name for name in mimetypes.knownfiles if os.path.isfile(name)])
        found = (read.types_map[1], read.types_map[0], mimetypes._suffix_map_default, mimetypes._encodings_map_default)
        _MACHINE_TYPES.update(
            {(table, key): one for table, held in zip(tables, found, strict=True) for key, one in held.items()}
        )
    now = {(table, key): one for table in tables for key, one in getattr(mimetypes, table).items()}
    return {key: one for key, one in now.items() if _MACHINE_TYPES.get(key) != one}


_MACHINE_TYPES: Entries = {}


def _register_types(entries: Mapping[Any, Any]) -> None:
    mimetypes = _loaded("mimetypes")
    if not mimetypes.inited:
        mimetypes.init()
    for (table, key), one in entries.items():
        if table in ("types_map", "common_types"):
            mimetypes.add_type(one, key, strict=table == "types_map")
        else:
            getattr(mimetypes, table)[key] = one


def made_modules(known: Container[str]) -> Iterator[tuple[str, tuple[str, object]]]:
    """Entries that code put into `sys.modules`: modules that no import made, objects of its own, None."""
    for name, module in list(sys.modules.items()):
        if name in known:
            continue
        by_hand = type(module) is types.ModuleType and is_made_by_hand(module)
        if module is None or by_hand or type(module).__module__ == "__main__":
            yield name, (name, module)


REGISTRIES: dict[str, tuple[Callable[[], Entries], Callable[[Mapping[Any, Any]], object]]] = {
    "copyreg": (_reducers, _register_reducers),
    "csv": (_dialects, _register_dialects_gone),
    "linecache": (_lines, _put_lines),
    "logging": (_of_logging, _register_with_logging),
    "mimetypes": (_types, _register_types),
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
