"""The worker's side: turn a live namespace into a payload that holds only what changed (specs/checkpoint.md)."""

from __future__ import annotations

import pickle
import sys
import time
import types
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from checkpoint.format import (
    FORMAT,
    NAME_CHARS_MAX,
    PYTHON,
    TEXT_CHARS_MAX,
    Contents,
    Group,
    Lost,
    Module,
    Part,
    Payload,
    Rebuilt,
    chunk_digest,
    cut,
    decode_payload,
    encode_payload,
)
from checkpoint.groups import Sharing, load_order, united
from checkpoint.interpreter import State, read_sources, read_state
from checkpoint.lost import LOST, LostNames
from checkpoint.pickler import GroupPickler, Scope
from checkpoint.recipes import importable
from checkpoint.unsaveable import explain

MODULE_NAMES = frozenset((
    "__name__", "__builtins__", "__doc__", "__loader__", "__spec__", "__package__", "__cached__", "__file__",
    "__path__", "__warningregistry__", "__annotate__", "__conditional_annotations__",
))  # fmt: skip
"""What belongs to the module, not to the user. `__annotations__` is the user's."""

HISTORIES = ("In", "Out")
"""The engine's own containers that grow with every execution."""

INTERNAL = "\0"
"""Starts the saved name of an engine's own name: no variable of a user has it."""

_ATOMS = (int, float, bool, type(None), complex, str, bytes)
_ATOM_CHARS_MAX = 1_024
_ATOMS_PER_GROUP = 32
_TRIES = 3
"""Another thread may change a container while it is pickled."""


@dataclass(frozen=True, slots=True)
class Capture:
    """A payload for the engine. `changed` is False when it brings no data and the table is the last one's."""

    payload: bytes
    changed: bool
    lost: list[Lost]
    rebuilt: list[Rebuilt]
    cost_ns: int


@dataclass(slots=True)
class _Dump:
    """One group, pickled. Holds the memo, so that no id in it is used again while groups are compared."""

    names: tuple[str, ...]
    stream: bytes
    buffers: list[pickle.PickleBuffer]
    memo: Mapping[int, tuple[int, object]]
    needs: set[str]
    by_value: set[int]
    rebuilt: list[Rebuilt]


@dataclass(slots=True)
class _Survey:
    """The namespace, sorted into what is saved how."""

    atoms: dict[str, object] = field(default_factory=dict)
    values: dict[str, object] = field(default_factory=dict)
    modules: list[Module] = field(default_factory=list)
    packages: set[str] = field(default_factory=set)
    internals: dict[str, str] = field(default_factory=dict)
    lost: dict[str, tuple[str, str]] = field(default_factory=dict)


class Capturer:
    """Captures one namespace, again and again, in one worker.

    `internals` are the engine's own names (history), `externals` objects that the worker puts into every session
    by name: they are saved as references. Keep one Capturer per session: it knows which chunks the engine has.
    """

    def __init__(
        self,
        namespace: dict[str, object],
        internals: frozenset[str] = frozenset(),
        *,
        externals: Mapping[str, object] | None = None,
        lost: LostNames = LOST,
    ) -> None:
        self._namespace = namespace
        self._internals = internals
        self._externals = externals if externals is not None else {}
        self._lost = lost
        self._sharing = Sharing()
        self._sent: set[bytes] = set()
        self._table: bytes = b""
        self._groups: list[dict[str, int]] = []
        self._made: dict[str, tuple[int, str]] = {}
        self._state: tuple[State, Group] | None = None
        self._sources: tuple[frozenset[str], Group] | None = None

    def capture(self, execution: str = "") -> Capture:
        """Save the namespace as it is now. `execution` is named as the maker of what is newly unsaveable.

        Never raises for a value that cannot be saved: it is left out and named in `lost`.
        """
        started = time.perf_counter_ns()
        survey = self._survey()
        scope = Scope(self._namespace, self._externals)
        for name, value in survey.values.items():
            if isinstance(value, type | types.FunctionType) and not importable(value):
                scope.definitions.setdefault(id(value), name)
        dumps = self._grouped(scope, survey)
        fresh: dict[bytes, memoryview] = {}
        groups = [self._state_group(survey, fresh), self._sources_group(scope, fresh)]
        groups += [_atoms_group(names, survey.atoms, fresh) for names in _buckets(survey.atoms)]
        groups += [_values_group(dump, fresh) for dump in dumps]
        lost = self._losses(survey, execution)
        contents = Contents(
            python=PYTHON,
            groups=tuple(groups),
            modules=tuple(survey.modules),
            lost=tuple(lost),
            rebuilt=tuple(entry for dump in dumps for entry in dump.rebuilt if not entry.name.startswith(INTERNAL)),
            internals=survey.internals,
        )
        return self._finish(contents, fresh, started)

    def prime(self, payload: bytes) -> None:
        """After a restore from this payload: the engine has these chunks, so they need not be sent again."""
        self._sent = set(decode_payload(payload).contents.digests())

    def forget(self) -> None:
        """The engine lost track: the next capture brings everything."""
        self._sent = set()
        self._table = b""
        self._state = None
        self._sources = None

    def _finish(self, contents: Contents, fresh: dict[bytes, memoryview], started: int) -> Capture:
        used = contents.digests()
        new = [data for digest, data in fresh.items() if digest not in self._sent]
        payload = encode_payload(Payload(format=FORMAT, contents=contents, chunks=tuple(new)))
        table = chunk_digest(payload) if not new else b""
        changed = bool(new) or table != self._table
        if new:
            table = chunk_digest(encode_payload(Payload(format=FORMAT, contents=contents, chunks=())))
        self._sent, self._table = set(used), table
        return Capture(payload, changed, list(contents.lost), list(contents.rebuilt), time.perf_counter_ns() - started)

    # Sorting the namespace

    def _survey(self) -> _Survey:
        survey = _Survey()
        for name, value in list(self._namespace.items()):
            if name in MODULE_NAMES or name in self._internals or self._externals.get(name, survey) is value:
                continue
            if not _nameable(name):
                shown = repr(name)[:NAME_CHARS_MAX]
                survey.lost[shown] = (type(value).__name__, "its name is too long, or is not text")
            elif type(value) is types.ModuleType and self._by_name(name, value, survey):
                continue
            else:
                _sort(survey, name, value)
        self._survey_internals(survey)
        return survey

    def _by_name(self, name: str, module: types.ModuleType, survey: _Survey) -> bool:
        found = module.__name__
        if found == "__main__" or sys.modules.get(found) is not module or not _nameable(found):
            return False
        version = getattr(module, "__version__", "")
        survey.modules.append(Module(name, found, version[:100] if isinstance(version, str) else ""))
        if hasattr(module, "__path__") or "." in found:
            survey.packages.add(found.partition(".")[0])
        return True

    def _survey_internals(self, survey: _Survey) -> None:
        """The history item by item: else every value ever shown would be one group with all the others."""
        containers: dict[int, str] = {}
        for name in sorted(self._internals & self._namespace.keys()):  # In and Out come before _ih and _oh
            value = self._namespace[name]
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
                    if isinstance(key, int) or (isinstance(key, str) and len(key) < 100):
                        _sort(survey, f"{INTERNAL}{name}[{key!r}]", item)

    # Pickling and grouping

    def _grouped(self, scope: Scope, survey: _Survey) -> list[_Dump]:
        dumps = self._first_dumps(scope, survey)
        roots = united([dump.memo for dump in dumps], self._shares(dumps, scope))
        merged: dict[int, list[str]] = {}
        for dump, root in zip(dumps, roots, strict=True):
            merged.setdefault(root, []).extend(dump.names)
        chosen = [
            dumps[root] if len(names) == len(dumps[root].names) else self._dump(scope, names, survey.values)
            for root, names in merged.items()
        ]
        ordered = self._ordered(scope, chosen, survey)
        self._groups = [
            {name: id(survey.values[name]) for name in dump.names} for dump in ordered if len(dump.names) > 1
        ]
        return ordered

    def _first_dumps(self, scope: Scope, survey: _Survey) -> list[_Dump]:
        """Every variable pickled: those that were one group last time together, if they still are the same objects."""
        values = survey.values
        dumps: list[_Dump] = []
        done: set[str] = set()
        for group in self._groups:
            if all(name in values and id(values[name]) == identity for name, identity in group.items()):
                dump = self._try(scope, tuple(group), values)
                if isinstance(dump, _Dump):
                    dumps.append(dump)
                    done.update(group)
        for name in [name for name in values if name not in done]:
            dump = self._try(scope, (name,), values)
            if isinstance(dump, _Dump):
                dumps.append(dump)
            else:
                survey.lost[name] = explain(values[name], dump)
        return self._without_lost(scope, dumps, survey)

    def _without_lost(self, scope: Scope, dumps: list[_Dump], survey: _Survey) -> list[_Dump]:
        """Whatever refers to a function or class that is lost is lost too; its group's other members are not."""
        while True:
            saved = {name for dump in dumps for name in dump.names}
            bad = [dump for dump in dumps if dump.needs - saved]
            if not bad:
                return dumps
            dumps = [dump for dump in dumps if not dump.needs - saved]
            for dump in bad:
                if len(dump.names) > 1:
                    singles = [self._try(scope, (name,), survey.values) for name in dump.names]
                    dumps += [single for single in singles if isinstance(single, _Dump)]
                    continue
                needed = min(dump.needs - saved)
                why = survey.lost.get(needed, ("", "it is lost"))[1]
                kind = type(survey.values[dump.names[0]]).__qualname__
                survey.lost[dump.names[0]] = (kind, f"it needs {needed!r}, and that is lost: {why}")

    def _try(self, scope: Scope, names: tuple[str, ...], values: dict[str, object]) -> _Dump | BaseException:
        for attempt in range(_TRIES):
            try:
                return self._dump(scope, names, values)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # user code runs in here: __reduce__, __getstate__
                if not isinstance(error, RuntimeError) or "changed" not in str(error) or attempt == _TRIES - 1:
                    return error
        raise AssertionError("unreachable")

    def _dump(self, scope: Scope, names: Iterable[str], values: dict[str, object]) -> _Dump:
        ordered = tuple(sorted(names))
        pickler = GroupPickler(scope, frozenset(ordered))
        rebuilt: list[Rebuilt] = []
        for name in ordered:
            pickler.notes = {}
            pickler.dump(values[name])
            if pickler.notes:
                rebuilt.append(Rebuilt(name, "; ".join(pickler.notes)[:TEXT_CHARS_MAX]))
        return _Dump(
            ordered,
            pickler.file.getvalue(),
            pickler.buffers,
            pickler.memo.copy(),
            pickler.needs,
            pickler.by_value,
            rebuilt,
        )

    def _shares(self, dumps: list[_Dump], scope: Scope) -> Callable[[int, object, int, int], bool]:
        sharing, namespaces = self._sharing, (id(self._namespace), id(__builtins__))

        def shared(identity: int, value: object, one: int, other: int) -> bool:
            if identity in namespaces or identity in scope.externals:
                return False
            return sharing(value, dumps[one].by_value) and sharing(value, dumps[other].by_value)

        return shared

    def _ordered(self, scope: Scope, dumps: list[_Dump], survey: _Survey) -> list[_Dump]:
        """Load order; definitions that refer to each other in a circle become one group."""
        dumps = sorted(
            dumps,
            key=lambda dump: (not isinstance(survey.values[dump.names[0]], type | types.FunctionType), dump.names),
        )
        while True:
            place = {name: index for index, dump in enumerate(dumps) for name in dump.names}
            order, cycle = load_order({index: [place[name] for name in dump.needs] for index, dump in enumerate(dumps)})
            if not cycle:
                return [dumps[index] for index in order]
            names = [name for index in cycle for name in dumps[index].names]
            dumps = [dump for index, dump in enumerate(dumps) if index not in cycle]
            dumps.insert(0, self._dump(scope, names, survey.values))

    # The groups that hold no variables, and the losses

    def _state_group(self, survey: _Survey, fresh: dict[bytes, memoryview]) -> Group:
        state = read_state(survey.packages)
        if self._state is None or self._state[0] != state:
            self._state = state, Group("state", (), (), (_part(pickle.dumps(state, 5), fresh),))
        return self._state[1]

    def _sources_group(self, scope: Scope, fresh: dict[bytes, memoryview]) -> Group:
        filenames = frozenset(scope.filenames)
        if self._sources is None or self._sources[0] != filenames:
            data = pickle.dumps(read_sources(filenames), 5)
            self._sources = filenames, Group("sources", (), (), (_part(data, fresh),))
        return self._sources[1]

    def _losses(self, survey: _Survey, execution: str) -> list[Lost]:
        made: dict[str, tuple[int, str]] = {}
        lost: list[Lost] = []
        for name, (kind, reason) in survey.lost.items():
            if name.startswith(INTERNAL):
                continue
            identity = id(self._namespace.get(name))
            before = self._made.get(name)
            made[name] = before if before is not None and before[0] == identity else (identity, execution)
            lost.append(Lost(name, kind[:TEXT_CHARS_MAX], reason[:TEXT_CHARS_MAX], made[name][1]))
        self._made = made
        return lost + [entry for entry in self._lost.still(self._namespace) if entry.name not in made]


def _nameable(name: object) -> bool:
    """Whether a name can be written: text, not too long, no surrogates, not ours."""
    if not isinstance(name, str) or not 0 < len(name) <= NAME_CHARS_MAX or name.startswith(INTERNAL):
        return False
    return name.isascii() or name.encode("utf-8", "ignore").decode() == name


def _sort(survey: _Survey, name: str, value: object) -> None:
    cls = type(value)
    if cls in _ATOMS and (cls not in (str, bytes) or len(value) <= _ATOM_CHARS_MAX):  # type: ignore[arg-type]
        survey.atoms[name] = value
    else:
        survey.values[name] = value


def _buckets(atoms: dict[str, object]) -> list[list[str]]:
    """Small values are saved some dozens together; which ones does not depend on their order."""
    if not atoms:
        return []
    count = 1 << max(0, (len(atoms) // _ATOMS_PER_GROUP)).bit_length()
    buckets: list[list[str]] = [[] for _ in range(count)]
    for name in sorted(atoms):
        buckets[zlib.crc32(name.encode()) & (count - 1)].append(name)
    return [names for names in buckets if names]


def _part(data: bytes | memoryview, fresh: dict[bytes, memoryview]) -> Part:
    """Cut and hash one byte string; its chunks go into `fresh`."""
    digests = []
    for chunk in cut(data):
        digest = chunk_digest(chunk)
        fresh[digest] = chunk
        digests.append(digest)
    return Part(len(data), tuple(digests))


def _atoms_group(names: list[str], atoms: dict[str, object], fresh: dict[bytes, memoryview]) -> Group:
    data = pickle.dumps([atoms[name] for name in names], 5)
    return Group("atoms", tuple(names), (), (_part(data, fresh),))


def _values_group(dump: _Dump, fresh: dict[bytes, memoryview]) -> Group:
    parts = [_part(dump.stream, fresh), *(_part(buffer.raw(), fresh) for buffer in dump.buffers)]
    return Group("values", dump.names, tuple(sorted(dump.needs)), tuple(parts))
