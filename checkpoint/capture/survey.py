"""A namespace, sorted into what is saved how (worker side)."""

from __future__ import annotations

import sys
import types
import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from checkpoint.format.payload import NAME_CHARS_MAX, Module
from checkpoint.pickling.importable import is_made_by_hand

MODULE_NAMES = frozenset((
    "__name__", "__builtins__", "__doc__", "__loader__", "__spec__", "__package__", "__cached__", "__file__",
    "__path__", "__warningregistry__", "__annotate__", "__conditional_annotations__",
))  # fmt: skip
"""Names that belong to the module, not to the user. `__annotations__` is the user's."""

HISTORIES = ("In", "Out")
"""The engine's own containers that grow with every execution."""

INTERNAL = "\0"
"""Starts the saved name of an engine's own name: no variable of a user has it."""

_NAMES_MAX = 1_000
_number_names: dict[tuple[str, int], str] = {}
"""The saved names of items of the history: each capture asks for all of them."""

_places: dict[str, int] = {}
"""Numbers from which the group of a plain value follows, by its name."""

_ATOMS = frozenset((int, float, bool, type(None), complex))
_TEXTS = frozenset((str, bytes))
_IMMUTABLE = frozenset((tuple, frozenset))
_CONTAINERS = frozenset((list, dict, set, *_IMMUTABLE))
_ATOM_CHARS_MAX = 200
_ATOM_ITEMS_MAX = 16
_ATOMS_PER_GROUP = 16
"""Plain values up to this length, and containers of up to so many of them, are saved this many together: one pickle for
all, and one changed costs few others."""


@dataclass(slots=True)
class Survey:
    """The namespace, sorted into what is saved how. `small`: whose the containers among the atoms are, by their ids."""

    atoms: dict[str, object] = field(default_factory=dict)
    small: dict[int, str] = field(default_factory=dict)
    small_dicts: list[dict[object, object]] = field(default_factory=list)
    """The dicts among them."""
    shared: set[str] = field(default_factory=set)
    pickled: list[tuple[tuple[str, ...], bytes]] = field(default_factory=list)
    """The atoms: names, and the pickle of the list of their values. Made by `Grouping.dumps`."""
    values: dict[str, object] = field(default_factory=dict)
    modules: list[Module] = field(default_factory=list)
    packages: set[str] = field(default_factory=set)
    internals: dict[str, str] = field(default_factory=dict)
    lost: dict[str, tuple[str, str]] = field(default_factory=dict)
    texts: dict[int, str] = field(default_factory=dict)
    """Texts that are variables, by id: somebody may compare them by identity."""
    constants: Collection[int] = ()
    """Ids of texts and containers that are no atoms."""
    apart: bool = False
    """Whether no container is an atom."""

    def take_out(self, names: Iterable[str]) -> None:
        """Take out atoms that hold what others refer to as well, or what is not plain any more."""
        for name in names:
            self.values[name] = self.atoms.pop(name)


def survey_namespace(
    namespace: Mapping[str, object],
    internals: frozenset[str],
    externals: Mapping[str, object],
    *,
    constants: Collection[int] = (),
    alone: bool = False,
) -> Survey:
    """Sort every variable; a name that cannot be written is lost. `externals` are skipped under their own names.

    For a savepoint, which stands `alone`, internals are left out, and atoms are what cannot change.
    """
    survey = Survey(constants=constants, apart=alone)
    for name, value in list(namespace.items()):
        if name in MODULE_NAMES or name in internals or externals.get(name, survey) is value:
            continue
        if not _nameable(name):
            shown = repr(name)[:NAME_CHARS_MAX]
            survey.lost[shown] = (type(value).__name__, "its name is too long, or is not text")
        elif type(value) is types.ModuleType and _by_name(name, value, survey):
            continue
        else:
            _sort(survey, name, value)
    if not alone:
        _survey_internals(survey, {name: namespace[name] for name in sorted(internals & namespace.keys())})
    survey.take_out(sorted(survey.shared))
    return survey


def _by_name(name: str, module: types.ModuleType, survey: Survey) -> bool:
    found = module.__name__
    if found == "__main__" or sys.modules.get(found) is not module or not _nameable(found) or is_made_by_hand(module):
        return False
    version = getattr(module, "__version__", "")
    survey.modules.append(Module(name, found, version[:100] if isinstance(version, str) else ""))
    if hasattr(module, "__path__") or "." in found:
        survey.packages.add(found.partition(".")[0])
    return True


def _survey_internals(survey: Survey, internals: Mapping[str, object]) -> None:
    """The history item by item: else every value ever shown would be one group with all the others."""
    containers: dict[int, str] = {}
    for name, value in internals.items():  # in order: In and Out come before _ih and _oh
        if id(value) in containers:
            survey.internals[name] = "=" + containers[id(value)]
        elif name not in HISTORIES or not isinstance(value, list | dict):
            survey.internals[name] = "value"
            _sort(survey, INTERNAL + name, value)
        else:
            containers[id(value)] = name
            survey.internals[name] = "list" if isinstance(value, list) else "dict"
            items = list(enumerate(value) if isinstance(value, list) else value.items())
            for key, item in items:
                if type(key) is int:
                    item_name = _number_names.get((name, key)) or _number_name(name, key)
                elif isinstance(key, int) or (isinstance(key, str) and len(key) < 100):
                    item_name = f"{INTERNAL}{name}[{key!r}]"
                else:
                    continue
                cls = type(item)
                if cls in _ATOMS or (cls in _TEXTS and len(item) <= _ATOM_CHARS_MAX):  # nearly all of them
                    survey.atoms[item_name] = item
                else:
                    _sort(survey, item_name, item)


def _number_name(container: str, number: int) -> str:
    if len(_number_names) >= _NAMES_MAX:
        _number_names.clear()
    found = _number_names[container, number] = f"{INTERNAL}{container}[{number}]"
    return found


def _nameable(name: object) -> bool:
    """Whether a name can be written: text, not too long, no surrogates, not ours."""
    if not isinstance(name, str) or not 0 < len(name) <= NAME_CHARS_MAX or name.startswith(INTERNAL):
        return False
    return name.isascii() or name.encode("utf-8", "ignore").decode() == name


def _sort(survey: Survey, name: str, value: object) -> None:
    cls = type(value)
    if id(value) in survey.constants and name[:1] != INTERNAL:
        survey.values[name] = value
        return
    if cls is str and name[:1] != INTERNAL:
        survey.texts[id(value)] = name
    if (
        cls in _ATOMS
        or (cls in _TEXTS and len(value) <= _ATOM_CHARS_MAX)  # type: ignore[arg-type]
        or (cls in _CONTAINERS and not survey.apart and _small(survey, name, value))
    ):
        survey.atoms[name] = value
    else:
        survey.values[name] = value


def _small(survey: Survey, name: str, value: object) -> bool:
    """Whether a container is plain, and all in it. Of those that hold the same ones, `shared` has the names."""
    todo, found, dicts, items = [value], [], [], 0
    while todo:
        item = todo.pop()
        cls = type(item)
        if cls in _ATOMS:
            continue
        if cls in _TEXTS:
            if len(item) > _ATOM_CHARS_MAX or id(item) in survey.constants:  # type: ignore[arg-type]
                return False
            continue
        if cls not in _CONTAINERS or id(item) in survey.constants:
            return False
        items += len(item)  # type: ignore[arg-type]
        if items > _ATOM_ITEMS_MAX:
            return False
        todo += item  # type: ignore[arg-type]
        if cls is dict:
            todo += item.values()  # type: ignore[attr-defined]
            dicts.append(item)
        if item or cls not in _IMMUTABLE:
            found.append(id(item))
    for identity in found:
        if (other := survey.small.setdefault(identity, name)) != name:
            survey.shared |= {name, other}
    survey.small_dicts += dicts  # type: ignore[arg-type]
    return True


def _place(name: str) -> int:
    if len(_places) >= _NAMES_MAX:
        _places.clear()
    found = _places[name] = zlib.crc32(name.encode())
    return found


def buckets(atoms: dict[str, object]) -> list[tuple[str, ...]]:
    """Small values are saved some dozens together; which ones does not depend on their order."""
    if not atoms:
        return []
    count = 1 << max(0, (len(atoms) // _ATOMS_PER_GROUP)).bit_length()
    buckets: list[list[str]] = [[] for _ in range(count)]
    for name in sorted(atoms):
        place = _places.get(name)
        buckets[(_place(name) if place is None else place) & (count - 1)].append(name)
    return [tuple(names) for names in buckets if names]
