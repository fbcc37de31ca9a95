"""The worker's side: turn a live namespace into a payload that holds only what changed (specs/checkpoint.md)."""

from __future__ import annotations

import pickle
import time
import types
from collections.abc import Mapping
from dataclasses import dataclass

from checkpoint.format import (
    FORMAT,
    PYTHON,
    TEXT_CHARS_MAX,
    Contents,
    Group,
    Lost,
    Part,
    Payload,
    Rebuilt,
    chunk_digest,
    cut,
    decode_payload,
    encode_payload,
)
from checkpoint.interpreter import State, read_sources, read_state
from checkpoint.lost import LOST, LostNames
from checkpoint.pickling.dumps import Dump, Grouping
from checkpoint.pickling.importable import importable
from checkpoint.pickling.pickler import Scope
from checkpoint.survey import INTERNAL, Survey, buckets, survey_namespace


@dataclass(frozen=True, slots=True)
class Capture:
    """A payload for the engine. `changed` is False when it brings no data and the table is the last one's."""

    payload: bytes
    changed: bool
    lost: list[Lost]
    rebuilt: list[Rebuilt]
    cost_ns: int


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
        self._grouping = Grouping()
        self._sent: set[bytes] = set()
        self._table: bytes = b""
        self._made: dict[str, tuple[int, str]] = {}
        self._state: tuple[State, Group] | None = None
        self._sources: tuple[frozenset[str], Group] | None = None

    def capture(self, execution: str = "") -> Capture:
        """Save the namespace as it is now. `execution` is named as the maker of what is newly unsaveable.

        Never raises for a value that cannot be saved: it is left out and named in `lost`.
        """
        started = time.perf_counter_ns()
        survey = survey_namespace(self._namespace, self._internals, self._externals)
        scope = Scope(self._namespace, self._externals)
        for name, value in survey.values.items():
            if isinstance(value, type | types.FunctionType) and not importable(value):
                scope.definitions.setdefault(id(value), name)
        dumps = self._grouping.dumps(scope, survey)
        fresh: dict[bytes, memoryview] = {}
        groups = [self._state_group(survey, fresh), self._sources_group(scope, fresh)]
        groups += [_atoms_group(names, survey.atoms, fresh) for names in buckets(survey.atoms)]
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

    # The groups that hold no variables, and the losses

    def _state_group(self, survey: Survey, fresh: dict[bytes, memoryview]) -> Group:
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

    def _losses(self, survey: Survey, execution: str) -> list[Lost]:
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


def _values_group(dump: Dump, fresh: dict[bytes, memoryview]) -> Group:
    parts = [_part(dump.stream, fresh), *(_part(buffer.raw(), fresh) for buffer in dump.buffers)]
    return Group("values", dump.names, tuple(sorted(dump.needs)), tuple(parts))
