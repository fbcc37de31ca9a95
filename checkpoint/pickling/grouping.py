"""Variables pickled, and put together where they share objects (worker side)."""

from __future__ import annotations

import builtins
import dataclasses
import io
import pickle
import types
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from checkpoint.capture.buffer_digests import Place, place_of
from checkpoint.capture.survey import Survey, buckets
from checkpoint.format.payload import TEXT_CHARS_MAX, Rebuilt, chunk_digest
from checkpoint.pickling.importable import kept_once
from checkpoint.pickling.namespace_owners import fills_globals, held_dicts, namespace_of, namespace_owners
from checkpoint.pickling.object_columns import Column
from checkpoint.pickling.pickler import GroupPickler, Hole, Kind, Scope
from checkpoint.pickling.shared_groups import Sharing, load_order, united
from checkpoint.pickling.stack import StackPickler, circular
from checkpoint.pickling.trial_restore import PROVEN, SHAPES_MAX, TRIAL_BYTES_MAX, Sample, Verdict, doubtful, tried
from checkpoint.pickling.unsaveable import explain, type_key, type_name

HOLES_MAX = 1_000
"""Members that do not load, in one variable, for which placeholders are made; more, and it is lost."""

STRAIGHT_MAX = 1_000
"""Digests that are remembered: 32 KB."""

_LATE_PLACE_MAX = 2**62
"""The place in a memo of the namespace of an object that does not write it itself."""

_TRIES_MAX = 3
"""Another thread may change a container while it is pickled."""


@dataclass(slots=True)
class Dump:
    """One group, pickled. Holds the memo, so that no id in it is used again while groups are compared."""

    names: tuple[str, ...]
    stream: bytes
    buffers: list[pickle.PickleBuffer | Column]
    memo: dict[int, tuple[int, object]]
    needs: set[str]
    by_value: set[int]
    rebuilt: list[Rebuilt]
    holes: dict[str, list[Hole]]
    """The holes by the variable in which they are."""

    def digest(self) -> bytes:
        """Tells whether it is the same as another time."""
        return chunk_digest(self.stream)

    def tried_as(self, shapes: Mapping[str, list[int]]) -> bytes:
        """Tells whether a trial says the same as another time: what is left out of a stream is in its shapes only."""
        first_met = [sorted(shapes.get(name, ())) for name in self.names]
        return self.digest() + chunk_digest(repr((self.names, first_met)).encode())

    def sample(self, values: Mapping[str, object]) -> Sample:
        """The sample of the group, for a trial."""
        return Sample(
            self.names, [values[name] for name in self.names], self.stream, [_bytes_of(each) for each in self.buffers]
        )

    def places(self) -> list[Place]:
        """Where its buffers are."""
        return [buffer.place if isinstance(buffer, Column) else place_of(buffer.raw()) for buffer in self.buffers]


def _proof(kind: Kind) -> tuple[str, int, int]:
    cls, shape = kind
    return type_key(cls), id(cls), shape


class _Unpickled(Exception):
    """Variables that could be pickled alone, but not together (a hook that answers differently each time)."""

    def __init__(self, names: Iterable[str], error: BaseException) -> None:
        super().__init__()
        self.names = list(names)
        self.error = error


class _Refused(Exception):
    """A variable does not load, and was taken out."""


class _NotPlain(Exception):
    """Another thread put something else into one of these atoms since the survey."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self.names = names


@dataclass(slots=True)
class Trials:
    """The findings of earlier trials, as plain data: a child that captured sends them back."""

    proven: set[tuple[str, int, int]] = field(default_factory=set)
    """Kinds that came back: as in PROVEN."""
    suspect: set[str] = field(default_factory=set)
    """Classes of which something did not load, or came back different: each group is tried that comes with them."""
    streams: set[bytes] = field(default_factory=set)
    """Groups that were tried, as what."""
    unloadable: dict[str, dict[int, str]] = field(default_factory=dict)
    """Members that do not load inside of variables: by id, why; place 0 has the id of the variable's value."""
    refused: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Variables that do not load: the id of the value, and why."""
    different: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Variables that come back different: the id of the value, and how."""


class Grouping:
    """Which variables of one namespace are saved together; remembers it from one capture to the next."""

    def __init__(self) -> None:
        self._sharing = Sharing()
        self.last: list[dict[str, int]] = []
        """The groups of several variables of the last capture: name -> id of the value."""
        self.trials = Trials(PROVEN)
        self._straight: set[bytes] = set()
        """Digests of groups in which no set or dict is in a circle with its keys."""
        self._pickler: GroupPickler | None = None

    def learn(self, last: list[dict[str, int]], trials: Trials) -> None:
        """Take over what a child that captured knows now."""
        PROVEN.update(trials.proven)
        self.last, self.trials = last, dataclasses.replace(trials, proven=PROVEN)

    def dumps(self, scope: Scope, survey: Survey) -> list[Dump]:
        """Every saveable variable but the atoms, in load order. What is not moves to `survey.lost`."""
        values, atoms = survey.values, survey.atoms
        for group in self.last:
            if all(id(values.get(name, atoms.get(name))) == identity for name, identity in group.items()):
                survey.take_out(sorted(group.keys() & atoms.keys()))
        for name, (identity, reason) in self.trials.refused.items():
            if id(values.get(name)) == identity:
                survey.lost[name] = type_name(values.pop(name)), reason
        try:
            while True:
                try:
                    found = self._attempt(scope, survey)
                    self._try_out(scope, survey, found)
                    survey.pickled = [(names, _plain(names, atoms)) for names in buckets(atoms)]
                    return found
                except _Unpickled as failed:
                    for name in failed.names:
                        _lose(survey, name, failed.error)
                except _NotPlain as failed:
                    survey.take_out(failed.names)
                except _Refused:
                    continue
        finally:
            self._pickler = None  # its memo would keep alive what it pickled last

    def _try_out(self, scope: Scope, survey: Survey, dumps: list[Dump]) -> None:
        """Restore a sample in a copy of the process. _Refused: something that does not load was taken out."""
        trials, values = self.trials, survey.values
        kinds = self._new_kinds(scope)
        names = {name for (cls, _shape), name in kinds.items() if doubtful(cls)}
        everything = not trials.suspect.isdisjoint(type_key(cls) for cls, _shape in kinds)
        shapes: dict[str, list[int]] = {}
        for (_cls, shape), name in scope.met.items():
            shapes.setdefault(name, []).append(shape)
        samples = [dump for dump in dumps if self._worth(dump, names, shapes, everything=everything)]
        verdicts = tried([dump.sample(values) for dump in samples], scope) if samples else []
        for verdict in verdicts:
            if verdict.difference:
                trials.different[verdict.name] = id(values[verdict.name]), verdict.difference
                trials.suspect.add(verdict.kind)
        problems = [verdict for verdict in verdicts if verdict.problem]
        for verdict in problems:
            self._refuse(verdict, next(dump for dump in samples if verdict.name in dump.names), survey)
        if problems:
            raise _Refused
        trials.streams |= {dump.tried_as(shapes) for dump in samples}
        if any(verdict.difference for verdict in verdicts) and not everything:
            self._try_out(scope, survey, dumps)
            return
        trials.proven |= {_proof(kind) for kind in kinds if type_key(kind[0]) not in trials.suspect}
        for dump in dumps if trials.different else ():
            for name in dump.names:
                identity, difference = trials.different.get(name, (0, ""))
                if identity == id(values[name]):
                    dump.rebuilt.append(Rebuilt(name, difference))

    def _new_kinds(self, scope: Scope) -> dict[Kind, str]:
        """The kinds of which none came back yet. Of a class that came back in many shapes all are believed."""
        kinds = {kind: name for kind, name in scope.met.items() if _proof(kind) not in self.trials.proven}
        if not any(shape for _cls, shape in kinds):
            return kinds
        known = Counter(proof[:2] for proof in self.trials.proven)
        return {kind: name for kind, name in kinds.items() if known[_proof(kind)[:2]] <= SHAPES_MAX}

    def _refuse(self, verdict: Verdict, dump: Dump, survey: Survey) -> None:
        """Placeholders for the members that do not load; the variable is lost when that did not help before."""
        value = survey.values[verdict.name]
        places = dict(dump.memo.values())
        members = {id(places[place]): why for place, why in verdict.members.items() if place in places}
        self.trials.suspect |= {type_key(type(places.get(place, value))) for place in verdict.members}
        before = self._unloadable(verdict.name, value)
        if members and id(value) not in members and not members.keys() <= before.keys() and len(before) < HOLES_MAX:
            self.trials.unloadable[verdict.name] = {0: f"{id(value)}", **before, **members}
            return
        del survey.values[verdict.name]
        self.trials.refused[verdict.name] = id(value), verdict.problem
        survey.lost[verdict.name] = type_name(value), verdict.problem

    def _unloadable(self, name: str, value: object) -> dict[int, str]:
        found = self.trials.unloadable.get(name, {})
        return found if found.get(0) == f"{id(value)}" else {}

    def _worth(self, dump: Dump, names: set[str], shapes: Mapping[str, list[int]], *, everything: bool) -> bool:
        """Whether a group is tried: something in it is doubtful, and it was not tried yet as it is."""
        if names.isdisjoint(dump.names) and not dump.holes and not everything:
            return False
        if dump.tried_as(shapes) in self.trials.streams:
            return False
        return len(dump.stream) + sum(size for _address, size in dump.places()) <= TRIAL_BYTES_MAX

    def _attempt(self, scope: Scope, survey: Survey) -> list[Dump]:
        scope.forget_owners()
        dumps = self._first_dumps(scope, survey)
        again = self._find_owners(scope, survey, dumps)
        roots = united([dump.memo for dump in dumps], self._shares(dumps, scope, survey))
        merged: dict[int, list[int]] = {}
        for index, root in enumerate(roots):
            merged.setdefault(root, []).append(index)
        chosen = [
            dumps[root]
            if len(indexes) == 1 and root not in again
            else self._together(scope, [name for index in indexes for name in dumps[index].names], survey)
            for root, indexes in merged.items()
        ]
        ordered = self._ordered(scope, chosen, survey)
        self.last = [{name: id(survey.values[name]) for name in dump.names} for dump in ordered if len(dump.names) > 1]
        return ordered

    def _find_owners(self, scope: Scope, survey: Survey, dumps: list[Dump]) -> set[int]:
        """Tell the scope of the objects whose namespaces something else holds, too, and of the namespaces of modules.
        The places of the dumps that are to be made again for it."""
        self._pickler = None  # it refers to what it pickled last
        if not dumps and not survey.small_dicts:
            return set()  # nothing that could be held
        roots = Counter(id(value) for value in (*survey.values.values(), *survey.atoms.values()))
        always = {id(scope.namespace): scope.namespace, id(builtins.__dict__): builtins.__dict__}
        memos = [dump.memo for dump in dumps]
        held = held_dicts(memos, survey.small_dicts, roots, scope.dict_classes, always.keys() | scope.of_functions)
        modules = scope.add_modules(value for value, _more in held.values())
        filling = [dump.memo if fills_globals(dump.stream) else {} for dump in dumps]
        looked_at = memos if held else filling
        if any(filling):
            held |= {identity: (value, 0) for identity, value in always.items()}
        found = namespace_owners(looked_at, held) if held else []
        for index, owner in found:
            namespace = namespace_of(owner)
            if scope.add_owner(owner, held[id(namespace)][1]):
                dumps[index].memo.setdefault(id(namespace), (_LATE_PLACE_MAX, namespace))
        names = {survey.small[identity] for identity in scope.owned if identity in survey.small} & survey.atoms.keys()
        survey.take_out(sorted(names))
        self._dump_each(scope, survey, dumps, sorted(names), len(dumps))
        there = scope.owned | modules
        return {index for index, dump in enumerate(dumps) if not there.isdisjoint(dump.memo)} if there else set()

    def _first_dumps(self, scope: Scope, survey: Survey) -> list[Dump]:
        """Every variable pickled: those that were one group last time together, if they still are the same objects."""
        values = survey.values
        dumps: list[Dump] = []
        done: set[str] = set()
        for group in self.last:
            if all(name in values and id(values[name]) == identity for name, identity in group.items()):
                dump = self._try(scope, tuple(group), values)
                if isinstance(dump, Dump):
                    dumps.append(dump)
                    done.update(group)
        self._dump_each(scope, survey, dumps, [name for name in values if name not in done], 0)
        return self._without_lost(scope, dumps, survey)

    def _dump_each(self, scope: Scope, survey: Survey, dumps: list[Dump], todo: list[str], seen: int) -> None:
        """Pickle these alone, and the atoms whose containers are in dumps from the place `seen` on, or in these."""
        values = survey.values
        while todo:
            for name in todo:
                dump = self._try(scope, (name,), values)
                if isinstance(dump, Dump):
                    dumps.append(dump)
                else:
                    _lose(survey, name, dump)
            todo = sorted(_also_in(dumps[seen:], survey))
            seen = len(dumps)
            survey.take_out(todo)

    def _without_lost(self, scope: Scope, dumps: list[Dump], survey: Survey) -> list[Dump]:
        """Whatever refers to a function or class that is lost is lost too; its group's other members are not."""
        while True:
            saved = {name for dump in dumps for name in dump.names}
            bad = [dump for dump in dumps if dump.needs - saved]
            if not bad:
                return dumps
            dumps = [dump for dump in dumps if not dump.needs - saved]
            for dump in bad:
                if len(dump.names) > 1:
                    dumps += [self._together(scope, (name,), survey) for name in dump.names]
                    continue
                needed = min(dump.needs - saved)
                value = survey.values.pop(dump.names[0])
                why = f"it needs {needed!r}, and that is lost: {survey.lost[needed][1]}"
                survey.lost[dump.names[0]] = (type_name(value), why)

    def _together(self, scope: Scope, names: Iterable[str], survey: Survey) -> Dump:
        dump = self._try(scope, names, survey.values)
        if isinstance(dump, Dump):
            return dump
        raise _Unpickled(names, dump)

    def _try(self, scope: Scope, names: Iterable[str], values: dict[str, object]) -> Dump | BaseException:
        """Pickled as fast as can be; by the pickler with a stack of its own where that does not do."""
        names = tuple(sorted(names))
        unloadable = {
            identity: why
            for name in names
            for identity, why in self._unloadable(name, values[name]).items()
            if identity
        }
        for _attempt in range(0 if unloadable else _TRIES_MAX):
            try:
                dump = self._dump(scope, names, values)
                return dump if dump is not None else self._dump_by_stack(scope, names, values, {})
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # user code runs in here: __reduce__, __getstate__
                error.__traceback__ = None  # its frames would keep all that is pickled, and be in a circle with it
                if not isinstance(error, RuntimeError) or "changed" not in str(error):
                    break
        try:
            return self._dump_by_stack(scope, names, values, unloadable)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            return error.with_traceback(None)

    def _dump(self, scope: Scope, names: tuple[str, ...], values: dict[str, object]) -> Dump | None:
        """Pickle with the fast pickler; None where it would write something that does not load as it was."""
        pickler, self._pickler = self._pickler, None  # not after it raised
        if pickler is None or pickler.scope is not scope:
            pickler = GroupPickler(scope)
        pickler.begin(frozenset(names))
        dump = _dumped(pickler, pickler.dump, names, values)
        dump.memo = pickler.memo.copy()
        texts = sorted(scope.texts.keys() & dump.memo.keys())
        if texts:
            pickler.begin(frozenset(names), texts)
            dump = _dumped(pickler, pickler.dump, names, values)
            dump.memo = pickler.memo.copy()
        self._pickler = pickler
        if not scope.keepers.keys().isdisjoint(dump.memo):
            return None
        return None if pickler.hashed and self._circular(dump, scope) else dump

    def _circular(self, dump: Dump, scope: Scope) -> bool:
        """Whether a set or dict is in a circle with its keys; looked for once in what is the same."""
        digest = dump.digest()
        if digest in self._straight:
            return False
        if circular(dump.memo, scope.hashed):
            return True
        if len(self._straight) >= STRAIGHT_MAX:
            self._straight.clear()
        self._straight.add(digest)
        return False

    def _dump_by_stack(
        self, scope: Scope, names: tuple[str, ...], values: dict[str, object], unloadable: Mapping[int, str]
    ) -> Dump:
        pickler = GroupPickler(scope)
        pickler.begin(frozenset(names), sorted(scope.texts))
        stack = StackPickler(pickler, unloadable)
        dump = _dumped(pickler, stack.dump, names, values)
        dump.memo = stack.memo
        return dump

    def _shares(
        self, dumps: list[Dump], scope: Scope, survey: Survey
    ) -> Callable[[int, object, int, int], bool | None]:
        texts = {identity for identity, name in survey.texts.items() if name in survey.values}
        sharing, namespaces = self._sharing, (id(scope.namespace), id(builtins.__dict__))

        def shared(identity: int, value: object, one: int, other: int) -> bool | None:
            if identity in namespaces or identity in scope.externals or identity in scope.texts:
                return None
            if identity in texts and any(_defines(dumps[index], survey) for index in (one, other)):
                return True
            found = sharing(value, dumps[one].by_value) and sharing(value, dumps[other].by_value)
            return found or (False if identity in texts else found)

        return shared

    def _ordered(self, scope: Scope, dumps: list[Dump], survey: Survey) -> list[Dump]:
        """Load order; definitions that refer to each other in a circle become one group."""
        if not any(dump.needs for dump in dumps):
            return dumps
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
            dumps.insert(0, self._together(scope, names, survey))


def _dumped(
    pickler: GroupPickler, dump: Callable[[object], None], names: tuple[str, ...], values: dict[str, object]
) -> Dump:
    rebuilt: list[Rebuilt] = []
    holes: dict[str, list[Hole]] = {}
    for name in names:
        value = values[name]
        pickler.variable(name, value)
        dump(value)
        if pickler.notes:
            rebuilt.append(Rebuilt(name, "; ".join(pickler.notes)[:TEXT_CHARS_MAX]))
        if pickler.holes:
            holes[name] = pickler.holes
    stream = pickler.file.getvalue()
    return Dump(names, stream, pickler.buffers, {}, pickler.needs, pickler.by_value, rebuilt, holes)


def _bytes_of(buffer: pickle.PickleBuffer | Column) -> bytes | memoryview:
    if isinstance(buffer, Column):
        return buffer.data if isinstance(buffer.data, bytes) else b""
    return buffer.raw()


class _PlainPickler(pickle.Pickler):
    """For atoms only."""

    def reducer_override(self, value: Any) -> Any:
        """Called for whatever pickle does not know by itself."""
        if type(value) is complex:
            return NotImplemented
        raise TypeError(f"{type(value).__name__} is not plain")


def _plain(names: tuple[str, ...], atoms: dict[str, object]) -> bytes:
    file = io.BytesIO()
    try:
        _PlainPickler(file, 5).dump([atoms[name] for name in names])
    except (TypeError, RuntimeError, RecursionError):
        raise _NotPlain(names) from None
    return file.getvalue()


def _also_in(dumps: list[Dump], survey: Survey) -> set[str]:
    """The atoms whose containers are in these dumps too, and the texts that functions and classes of them hold."""
    small, texts, atoms = survey.small, survey.texts, survey.atoms
    found: set[str] = set()
    for dump in dumps:
        if not dump.memo.keys().isdisjoint(small.keys()):
            found |= {small[identity] for identity in dump.memo.keys() & small.keys()}
        if texts and _defines(dump, survey) and not dump.memo.keys().isdisjoint(texts.keys()):
            names = [texts[identity] for identity in dump.memo.keys() & texts.keys()]
            found |= {name for name in names if name in atoms and _compared(atoms[name])}
    return found & atoms.keys()


def _compared(text: object) -> bool:
    """Whether a text may be a constant of its own, which Python does not keep once by itself."""
    return isinstance(text, str) and len(text) > 1 and not kept_once(text)


def _defines(dump: Dump, survey: Survey) -> bool:
    return isinstance(survey.values[dump.names[0]], type | types.FunctionType)


def _lose(survey: Survey, name: str, error: BaseException) -> None:
    survey.lost[name] = explain(survey.values.pop(name), error)
