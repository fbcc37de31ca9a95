"""Kinds of the standard library and numpy that refuse to be pickled though all that they are can be told: by their
attributes, or by what the garbage collector finds in them (worker side). The loading halves are here, too.
"""

from __future__ import annotations

import csv
import functools
import gc
import itertools
import json.scanner
import types
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from checkpoint.pickling import loaders
from checkpoint.pickling.unsaveable import Unsaveable

type Reduced = tuple[Any, ...]


class _Notes(Protocol):
    def note(self, how: str) -> None: ...


_DIALECT = (
    "delimiter", "doublequote", "escapechar", "lineterminator", "quotechar", "quoting", "skipinitialspace", "strict",
)  # fmt: skip


def _held(value: object) -> list[Any]:
    """The objects to which a value refers, without its class."""
    return [other for other in gc.get_referents(value) if other is not type(value)]


def _dialect(value: Any) -> dict[str, object]:
    return {name: getattr(value.dialect, name) for name in _DIALECT}


def _writer(writer: Any, _notes: _Notes) -> Reduced:
    write = next((one for one in _held(writer) if getattr(one, "__name__", "") == "write"), None)
    if not isinstance(write, types.BuiltinMethodType | types.MethodType):
        raise Unsaveable("_csv.writer", type(writer))
    return make_csv, ("writer", write.__self__, _dialect(writer))


def _reader(reader: Any, notes: _Notes) -> Reduced:
    if reader.line_num:
        notes.note("a CSV reader comes back with line_num 0")
    lines = next(one for one in _held(reader) if hasattr(type(one), "__next__"))
    return make_csv, ("reader", lines, _dialect(reader))


def make_csv(kind: str, file: Any, dialect: Mapping[str, Any]) -> object:
    """A reader of an iterator, or a writer to a file."""
    return getattr(csv, kind)(file, **dialect)


def _view(view: Any, _notes: _Notes) -> Reduced:
    (of,) = _held(view)
    return make_view, (type(view).__name__, of)


def make_view(kind: str, of: Any) -> object:
    """The keys, values or items of a dict, by the builtin's own method."""
    builtin: Any = OrderedDict if kind.startswith("odict") else dict
    return getattr(builtin, kind.partition("_")[2])(of)


def _pairwise(pairs: Any, _notes: _Notes) -> Reduced:
    held = _held(pairs)  # the iterator, then what came last, and from Python 3.13 on the pair that it gives
    held = held[: len(held) - _PAIRS_KEPT]
    return make_pairwise, (held[0] if held else (), held[1:])


_PAIRS_KEPT = len(_held(itertools.pairwise(()))) - 1


def make_pairwise(items: Iterable[object], before: list[object]) -> object:
    """Pairs from where the iterator was."""
    return itertools.pairwise(itertools.chain(before, items) if before else items)


def _key(key: Any, _notes: _Notes) -> Reduced:
    return make_key, tuple(_held(key))


def make_key(compare: Callable[[Any, Any], Any], *value: object) -> object:
    """The result of `functools.cmp_to_key`, or one of its keys."""
    key: Any = functools.cmp_to_key(compare)
    return key(*value) if value else key


_SCANNED = ("strict", "object_hook", "object_pairs_hook", "parse_float", "parse_int", "parse_constant")


def _scanner(scanner: Any, _notes: _Notes) -> Reduced:
    return make_scanner, ({name: getattr(scanner, name) for name in _SCANNED},)


def make_scanner(options: Mapping[str, object]) -> object:
    """The scanner with which a JSONDecoder reads."""
    return json.scanner.c_make_scanner(types.SimpleNamespace(**options))  # type: ignore[attr-defined]


def _weak_method(method: Any, _notes: _Notes) -> Reduced:
    on_death = method.__callback__  # there only while it lives
    names = () if on_death is None else on_death.__code__.co_freevars
    cells = {} if on_death is None else dict(zip(names, on_death.__closure__, strict=True))
    callback = cells["callback"].cell_contents if "callback" in cells else None
    return make_weak_method, (method(), callback)


def make_weak_method(method: Any, callback: Callable[[object], object] | None) -> object:
    """A weak reference to a bound method; None makes a dead one."""
    return weakref.WeakMethod(loaders.make_event(False).is_set if method is None else method, callback)


def _system_random(generator: Any, _notes: _Notes) -> Reduced:
    return type(generator), (), vars(generator) or None, None, None, loaders.fill_attributes


RECIPES: dict[str, Callable[[Any, Any], Reduced]] = {
    "_csv.writer": _writer,
    "_csv.reader": _reader,
    "_json.Scanner": _scanner,
    "_struct.Struct": lambda value, _notes: (type(value), (value.format,)),
    "itertools.pairwise": _pairwise,
    "functools.KeyWrapper": _key,
    "weakref.WeakMethod": _weak_method,
    "random.SystemRandom": _system_random,
    "numpy.finfo": lambda value, _notes: (type(value), (value.dtype,)),
    **{f"builtins.{kind}_{what}": _view for kind in ("dict", "odict") for what in ("keys", "values", "items")},
}
"""Recipes for exactly these types."""
