"""Changes to what libraries have, of what the code of a session names in them (worker side).

Code changes the attributes of a library's classes and objects, and the contents of its tables, beside those of its
modules: `unittest.TestCase.maxDiff = None`, `urllib.parse.uses_relative.append('s3')`. Nothing tells of such a change.
So what the names in a statement may mean in the modules that code names is noted before the statement runs, and
compared at a capture. To look at every class of every module would cost milliseconds each time.
"""

from __future__ import annotations

import opcode
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import is_
from typing import Any

from checkpoint.capture.class_patches import made_by_user
from checkpoint.pickling.importable import attributes_of, importable, is_python_class

WATCHED = "\0watched"
"""Starts an entry of what is saved."""

type Path = tuple[str, ...]
"""A module, and the names that lead from it to an object."""

type Entry = tuple[str, Path, str, str, Any]
"""WATCHED, where the object is, what changed of it, the attribute, the change."""

_STORES = (opcode.opmap["STORE_ATTR"], opcode.opmap["DELETE_ATTR"])
_EXTENDED = opcode.opmap["EXTENDED_ARG"]
_TEXT_CHARS_MAX = 100
_ITEMS_MAX = 20_000
"""Tables with more are not compared."""

_TABLES = (list, dict, set)
_PLAIN = (int, float, complex, bool, str, bytes, type(None))
_OF_FUNCTIONS = ("__defaults__", "__kwdefaults__", "__code__", "__doc__")

_SAVED_OTHERWISE = frozenset((
    "sys.path", "sys.modules", "sys.argv", "sys.path_importer_cache", "warnings.filters", "warnings.onceregistry",
    "copyreg.dispatch_table", "sqlite3.adapters", "sqlite3.converters", "linecache.cache", "mimetypes.types_map",
    "mimetypes.common_types", "mimetypes.suffix_map", "mimetypes.encodings_map", "inspect.modulesbyfile", "gc.garbage",
))  # fmt: skip

_PRIVATE_TABLES = {
    "shutil": ("_ARCHIVE_FORMATS", "_UNPACK_FORMATS"),
    "gettext": ("_localedirs",),
    "unittest.mock": ("_patch", "_active_patches"),
    "webbrowser": ("_browsers", "_tryorder"),
}
"""Tables that functions of the module fill for its user."""


@dataclass(slots=True)
class _Noted:
    """An object as it was: `before` has its attributes, or the items of a table."""

    path: Path
    kind: str
    value: Any
    before: Any


class Watch:
    """The things compared at the captures of one process. `original` tells whether a module had this when imported."""

    def __init__(self, original: Callable[[types.ModuleType, str, object], bool]) -> None:
        self._original = original
        self.modules: dict[str, types.ModuleType] = {}
        """Modules that code names."""
        self.stored: set[str] = set()
        """Names of attributes that code sets or deletes, and texts that may be such."""
        self.names: set[str] = set()
        self._noted: dict[int, _Noted] = {}
        self._loaded = 0

    # -- before and after a statement -------------------------------------------------------------------------------

    def before(self, code: types.CodeType) -> None:
        """Note the values that the names in a statement may mean, before it changes them."""
        names, stored = set[str](), set[str]()
        _collect(code, names, stored)
        self.stored |= stored
        new = names - self.names
        if new:
            self.names |= new
            self._look(new)

    def after(self, code: types.CodeType) -> list[types.ModuleType]:
        """Look in modules that came meanwhile; returns those that the statement may have changed already."""
        if len(sys.modules) == self._loaded:
            return []
        known = set(self.modules)
        self._look(set(self.names))
        direct = {part for name in code.co_names for part in (name, name.rpartition(".")[2])}
        late = [
            module
            for name, module in self.modules.items()
            if name not in known and direct.isdisjoint((name, name.rpartition(".")[2]))
        ]
        for noted in self._noted.values():
            if noted.path[0] in {module.__name__ for module in late} and noted.kind == "attributes":
                self.forget_stored(noted.before)
        return late

    def forget_stored(self, before: dict[str, Any]) -> None:
        """Plain values that code may have set: it is not known whether they were there before."""
        for name in self.stored & before.keys():
            if type(before[name]) in _PLAIN:
                del before[name]

    def _look(self, new: set[str]) -> None:
        self._loaded = len(sys.modules)
        found = list(self.modules.values())
        if any(name[:1] == "_" for name in new):  # public ones were noted with their class
            for noted in [one for one in self._noted.values() if isinstance(one.value, type)]:
                self._note_tables(noted, new)
        for module in found:
            self._look_in(module, new)
        for name in new:
            if name not in self.modules:
                self._add_module(sys.modules.get(name))

    def _add_module(self, module: object) -> None:
        if type(module) is not types.ModuleType or module.__name__ in ("__main__", "builtins"):
            return
        name = module.__name__
        if name not in self.modules and sys.modules.get(name) is module:
            self.modules[name] = module
            self.names.update(_PRIVATE_TABLES.get(name, ()))
            names = set(self.names)
            if name.partition(".")[0] in sys.stdlib_module_names:
                tables = [held for held, value in list(vars(module).items()) if type(value) in _TABLES]
                names.update(held for held in tables if not held.startswith("_"))
            self._look_in(module, names)

    def _look_in(self, module: types.ModuleType, names: set[str]) -> None:
        members = vars(module)
        for name in names & members.keys():
            value = members[name]
            if type(value) is types.ModuleType:
                self._add_module(value)
            elif id(value) not in self._noted and self._original(module, name, value):
                self._note((module.__name__, name), value)

    def _note(self, path: Path, value: Any) -> _Noted | None:
        cls, noted = type(value), None
        if isinstance(value, type):
            if value.__module__ != "__main__" and is_python_class(value) and importable(value):
                path = (value.__module__, *value.__qualname__.split("."))
                noted = _Noted(path, "attributes", value, dict(vars(value)))
                self._note_tables(noted, self.names)
        elif cls in _TABLES:
            if len(value) <= _ITEMS_MAX and ".".join(path) not in _SAVED_OTHERWISE:
                noted = _Noted(path, "items", value, value.copy())
        elif cls is types.FunctionType:
            overloads = isinstance(vars(value).get("registry"), types.MappingProxyType)
            noted = _Noted(path, "attributes", value, _attributes(value))
            if overloads:
                noted = _Noted(path, "overloads", value, dict(value.registry))
        elif is_python_class(cls) and cls.__module__ not in ("__main__", "logging") and attributes_of(value):
            noted = _Noted(path, "attributes", value, _attributes(value))
        if noted is not None:
            self._noted[id(value)] = noted
        return noted

    def _note_tables(self, noted: _Noted, names: set[str]) -> None:
        """The public tables of a class, and those of its private ones that code names."""
        for name, value in list(noted.before.items()):
            if type(value) in _TABLES and id(value) not in self._noted and (name[:1] != "_" or name in names):
                self._note((*noted.path, name), value)

    # -- at a capture -----------------------------------------------------------------------------------------------

    def tables(self) -> dict[int, tuple[str, str]]:
        """Tables of modules, which code may have as variables too: module and name, by id."""
        found = [(key, noted.path) for key, noted in self._noted.items() if noted.kind == "items"]
        return {key: (path[0], path[1]) for key, path in found if len(path) == 2}

    def read(self) -> Iterator[tuple[str, Entry]]:
        """Changes, by the name that reports have for each."""
        for noted in list(self._noted.values()):
            label = ".".join(noted.path)
            if noted.kind == "attributes":
                yield from self._changed(label, noted)
            elif noted.kind == "overloads":
                more = {cls: found for cls, found in noted.value.registry.items() if cls not in noted.before}
                if more:
                    yield f"overloads of {label}", (WATCHED, noted.path, "overloads", "", more)
            elif (change := _difference(noted.before, noted.value)) is not None:
                yield f"the contents of {label}", (WATCHED, noted.path, "items", "", change)

    def _changed(self, label: str, noted: _Noted) -> Iterator[tuple[str, Entry]]:
        now, before = _attributes(noted.value), noted.before
        if len(now) == len(before) and all(map(is_, now.values(), before.values())):
            return
        whole = isinstance(noted.value, type | types.FunctionType)
        for name, value in now.items():
            if name in before and _equal(before[name], value):
                continue
            plain = not whole and name[:1] != "_" and type(value) in _PLAIN
            if name in self.stored or plain or made_by_user(value):
                yield f"{label}.{name}", (WATCHED, noted.path, "set", name, value)
        for name in self.stored & (before.keys() - now.keys()):
            yield f"{label}.{name} (deleted)", (WATCHED, noted.path, "delete", name, None)

    # -- at a restore -----------------------------------------------------------------------------------------------

    def apply(self, entry: Entry) -> None:
        """Make one change again."""
        _, path, what, name, change = entry
        value: Any = __import__("importlib").import_module(path[0])
        self.names.update(path)
        self._add_module(value)
        for part in path[1:]:
            value = getattr(value, part)
            if isinstance(value, type) and id(value) not in self._noted:
                self._note(path, value)
        noted = self._noted.get(id(value)) or self._note(path, value)
        if what == "items":
            _put(value, value.copy() if noted is None else noted.before, change)
        elif what == "overloads":
            for cls, function in change.items():
                value.register(cls, function)
        else:
            self.stored.add(name)
            setattr(value, name, change) if what == "set" else delattr(value, name)


def _attributes(value: Any) -> dict[str, Any]:
    if isinstance(value, type):
        return dict(vars(value))
    if type(value) is types.FunctionType:
        return vars(value) | {name: getattr(value, name) for name in _OF_FUNCTIONS}
    return dict(attributes_of(value))


def _collect(code: types.CodeType, names: set[str], stored: set[str]) -> None:
    """The names in code, and in the functions in it; of those, which are names of attributes that are set."""
    names.update(code.co_names)
    data = code.co_code
    operations = data[::2]
    if any(store in operations for store in _STORES):
        extended = 0
        for at in range(0, len(data), 2):
            argument = extended | data[at + 1]
            extended = argument << 8 if data[at] == _EXTENDED else 0
            if data[at] in _STORES:
                stored.add(code.co_names[argument])
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            _collect(constant, names, stored)
        for text in constant if type(constant) is tuple else (constant,):
            if type(text) is str and len(text) <= _TEXT_CHARS_MAX and text.replace(".", "_").isidentifier():
                parts = text.split(".")
                names.update(parts, (".".join(parts[:count]) for count in range(2, len(parts) + 1)))
                stored.update(parts)


def _equal(a: object, b: object) -> bool:
    return a is b or (type(a) is type(b) and type(a) in _PLAIN and a == b)


def _difference(before: Any, now: Any) -> Any:
    """How a table differs, None where it does not. Of a list: for each item its place in what was, or the item."""
    if type(now) is list:
        if len(now) == len(before) and all(map(is_, now, before)):
            return None
        places = {id(item): at for at, item in enumerate(before)}
        return [(places[id(item)], None) if id(item) in places else (-1, item) for item in now]
    if type(now) is set:
        return None if now == before else (now - before, before - now)
    if len(now) == len(before) and all(map(is_, now.values(), before.values())) and now.keys() == before.keys():
        return None
    changed = {key: value for key, value in now.items() if key not in before or before[key] is not value}
    gone = [key for key in before if key not in now]
    return (changed, gone) if changed or gone else None


def _put(table: Any, before: Any, change: Any) -> None:
    if type(table) is list:
        table[:] = [item if at < 0 else before[at] for at, item in change if at < len(before)]
        return
    table.clear()
    table.update(before)
    added, gone = change
    table.update(added)
    for key in gone:
        if type(table) is dict:
            table.pop(key, None)
        else:
            table.discard(key)
