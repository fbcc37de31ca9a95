"""The worker's side: turn a live namespace into a payload that holds only what changed (specs/checkpoint.md)."""

from __future__ import annotations

import pickle
import sys
import time
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from checkpoint.capture.buffer_digests import TRACKED_BYTES_MIN, Buffers, Digests, Place, place_of
from checkpoint.capture.class_sources import IMPORTS, imports_of
from checkpoint.capture.forked_capture import Aside, Send, resident_bytes, run_aside
from checkpoint.capture.interpreter_state import State, read_sources, read_state
from checkpoint.capture.process_state import KIND, PROCESS, PROCESS_STATE
from checkpoint.capture.survey import INTERNAL, Survey, survey_namespace
from checkpoint.format.group_table import make_pages, read_table
from checkpoint.format.package_versions import packages
from checkpoint.format.payload import (
    CHUNK_BYTES,
    FORMAT,
    INLINE_BYTES_MAX,
    NAME_CHARS_MAX,
    PYTHON,
    TEXT_CHARS_MAX,
    Contents,
    Group,
    LostVariable,
    Payload,
    PayloadPart,
    Rebuilt,
    chunk_digest,
    cut,
    decode_payload,
    payload_buffers,
)
from checkpoint.lost_names import LOST, LostNames
from checkpoint.pickling.grouping import Dump, Grouping, Trials
from checkpoint.pickling.importable import importable
from checkpoint.pickling.object_columns import Column, Known
from checkpoint.pickling.paths import paths
from checkpoint.pickling.pickler import Hole, KeptValues, Scope

ASIDE_BYTES_MIN = 2 * 2**20
"""More bytes to hash than this are left to a forked child: they would take longer than a fork."""

ASIDE_PICKLING_NS = 3_000_000
"""When pickling took longer than this last time, a forked child does it. As the processor's time: on a busy machine
every pickling would take longer, most of all in children, and each small cell pay for a fork from then on."""

WAITED_NS_MIN = 50_000_000
"""Pickling that takes this long by the clock waits for something; on a busy machine the processor is had sooner."""

ASIDE_GROWTH_BYTES = 8 * 2**20
"""When the process grew by this since the last capture, there may be much to pickle."""

_UNWRITTEN = b""
"""Stands for the digest of pointers: they are not hashed, since only what they point to is saved."""

STREAMED_BYTES_MIN = 64 * 2**10
"""Chunks of a child from this size on go to the engine as they are hashed, before the payload."""

HOLES_MAX = 20
"""Placeholders in one variable that are named one by one; of the others their number."""

_THREADED = ("polars",)
"""Packages that pickle by threads of their own, of which a forked child has none: it would wait for ever."""

FAILURES_MAX = 3
"""Captures aside that failed before no more are tried: something in this process does not survive a fork."""


@dataclass(frozen=True, slots=True)
class Capture:
    """A payload for the engine. `changed` is False when it brings no data and the table is the last one's."""

    payload: bytes
    changed: bool
    lost: list[LostVariable]
    rebuilt: list[Rebuilt]
    cost_ns: int


@dataclass(slots=True)
class _Memory:
    """The state that a capture leaves for the next one. A child that captured sends it back: only plain data."""

    sent: set[bytes] = field(default_factory=set)
    """Chunks that the engine has."""
    table: bytes = b""
    """Digest of the last table."""
    made: dict[str, tuple[int, str]] = field(default_factory=dict)
    groups: list[dict[str, int]] = field(default_factory=list)
    pages: int = 0
    buffers: dict[Place, Digests] = field(default_factory=dict)
    columns: dict[Place, Known | None] = field(default_factory=dict)
    """Arrays of immutable objects: what they were pickled to, where their pointers were watched from before on."""
    trials: Trials = field(default_factory=Trials)
    pickling_ns: int = 0
    cost_ns: int = 0


class _Fresh(dict[bytes, memoryview]):
    """The chunks of a capture by digest. In a child, large ones that the engine has not go to it at once."""

    def __init__(self) -> None:
        super().__init__()
        self.streamed: set[bytes] = set()
        self._send: Send | None = None
        self._sent: set[bytes] = set()

    def stream(self, send: Send, sent: set[bytes]) -> None:
        """Send large chunks at once from now on, those that are not in `sent`."""
        self._send, self._sent = send, sent

    def __setitem__(self, digest: bytes, chunk: memoryview) -> None:
        new = digest not in self._sent and digest not in self.streamed
        if self._send is not None and len(chunk) >= STREAMED_BYTES_MIN and new:
            self._send(chunk)
            self.streamed.add(digest)
        super().__setitem__(digest, chunk)


@dataclass(frozen=True, slots=True)
class _Began:
    """When pickling began, by the clock and by the processor's time of this thread."""

    clock_ns: int = field(default_factory=time.perf_counter_ns)
    thread_ns: int = field(default_factory=time.thread_time_ns)

    def took_ns(self) -> int:
        """The time that it took of the processor; by the clock where it waited for more than that."""
        waited = time.perf_counter_ns() - self.clock_ns
        return waited if waited >= WAITED_NS_MIN else time.thread_time_ns() - self.thread_ns


@dataclass(slots=True)
class _Draft:
    """A capture under way: the namespace sorted, then pickled. What a fork would disturb is read first."""

    execution: str
    started: int
    survey: Survey
    scope: Scope
    state: Group
    fresh: _Fresh
    known: dict[Place, Digests]
    lost_before: list[LostVariable]
    imports: str
    tracked: bool = False
    """Whether `known` is from before the pickling, which nothing disturbs: a forked child's."""
    dumps: list[Dump] | None = None


class Capturer:
    """Captures one namespace, again and again, in one worker.

    `internals` are the engine's own names (history), `externals` objects that the worker puts into every session
    by name: they are saved as references. `began_bytes`: the memory that the process had when the session began, if
    that is not now: what it grew since may be much to pickle. Keep one Capturer per session: it knows which chunks the
    engine has, and the kernel tracks writes for one. One that stands `alone` (a savepoint) tracks nothing and leaves
    the history out.
    """

    def __init__(
        self,
        namespace: dict[str, object],
        internals: frozenset[str] = frozenset(),
        *,
        externals: Mapping[str, object] | None = None,
        lost: LostNames = LOST,
        began_bytes: int | None = None,
        alone: bool = False,
    ) -> None:
        self._alone = alone
        self._kept_values = KeptValues() if alone else None
        self._namespace = namespace
        self._internals = internals
        self._externals = externals if externals is not None else {}
        self._lost = lost
        self._grouping = Grouping()
        self._memory = _Memory()
        self._buffers: Buffers | None = None
        self._state: tuple[State, Group, dict[bytes, memoryview]] | None = None
        self._sources: tuple[tuple[frozenset[str], str], Group, dict[bytes, memoryview]] | None = None
        self._grown = resident_bytes() if began_bytes is None else began_bytes
        self._failures = 0
        self._fails_now = False
        self._pickles_here = False
        """A child that was to pickle did not come to its end: it may be that it never can."""
        self._kept: set[bytes] = set()
        """Chunks of the capture under way that need not be made again."""

    def made_by(self, names: Iterable[str], execution: str) -> None:
        """Name the maker of values that are there, should they be unsaveable."""
        made = {name: (id(self._namespace[name]), execution) for name in names if name in self._namespace}
        self._memory.made = {**self._memory.made, **made}

    def capture(self, execution: str = "") -> Capture:
        """Save the namespace as it is now. `execution` is named as the maker of what is newly unsaveable.

        Never raises for a value that cannot be saved: it is left out and named in `lost`.
        """
        draft = self._draft(execution)
        self._pickle(draft)
        return self._here(draft)

    def capture_aside(self, execution: str = "") -> Capture | Aside:
        """Capture; where that takes long, a forked child does it while the code goes on, and streams the payload.

        After an Aside `settle` has to be called before the next capture.
        """
        if self._failures >= FAILURES_MAX or self._fails_now:
            self._fails_now = False
            return self.capture(execution)
        draft = self._draft(execution)
        grown = resident_bytes()
        heavy = self._memory.pickling_ns > ASIDE_PICKLING_NS or grown - self._grown > ASIDE_GROWTH_BYTES
        self._grown = grown
        if heavy and not self._pickles_here and sys.modules.keys().isdisjoint(_THREADED):
            if not self._memory.columns:  # else it was done
                draft.known = self._look(self._memory.buffers)
            draft.tracked = True
        else:
            self._pickle(draft)
            if _unhashed(draft) <= ASIDE_BYTES_MIN:
                return self._here(draft)
        try:
            return run_aside(lambda send: self._in_child(draft, send))
        except OSError:  # no process or descriptor to be had, as at the end of a session's limits: the code waits, then
            if draft.dumps is None:
                self._pickle(draft)
            return self._here(draft)

    def settle(self, aside: Aside, *, stored: bool) -> None:
        """The engine has what the child captured, or it has not: then the next capture is whole, and made here."""
        data = aside.learned()
        if stored and data:
            self._memory = pickle.loads(data)
            self._grouping.learn(self._memory.groups, self._memory.trials)
            self._the_buffers().learn(self._memory.buffers)
            return
        self._failures += 1
        self._fails_now = self._pickles_here = True
        self.forget()

    @property
    def kept(self) -> Sequence[object]:
        """The objects that one that stands alone left in this process, since they cannot be saved."""
        return self._kept_values.values if self._kept_values is not None else ()

    @property
    def cost_ns(self) -> int:
        """The time that the last capture took, in this process or in a child."""
        return self._memory.cost_ns

    def prime(self, payload: bytes | memoryview) -> None:
        """After a restore from this payload: the engine has these chunks, so they need not be sent again."""
        parsed = decode_payload(payload)
        pages = dict(zip((page.digest for page in parsed.contents.pages), parsed.chunks, strict=False))
        self._memory.sent = set(read_table(parsed.contents, pages.__getitem__).digests)

    def placed(self, place: Place, digests: tuple[bytes, ...]) -> None:
        """A restore just put these chunks there: they need not be hashed while nobody writes to them."""
        if place[1] >= TRACKED_BYTES_MIN and self._the_buffers().adopt(place, digests):
            self._memory.buffers[place] = list(digests)

    def forget(self) -> None:
        """The engine lost track: the next capture brings everything."""
        self._memory.sent = set()
        self._memory.table = b""

    # The phases of a capture

    def _draft(self, execution: str) -> _Draft:
        started = time.perf_counter_ns()
        scope = Scope(self._namespace, self._externals, self._kept_values)
        if not self._alone:  # of which a savepoint has copies
            scope.texts = PROCESS_STATE.watch.tables() | scope.texts
        survey = survey_namespace(
            self._namespace, self._internals, self._externals, constants=scope.texts.keys(), alone=self._alone
        )
        if not self._alone:
            entries = PROCESS_STATE.read(self._namespace)
            survey.values.update({PROCESS + name: value for name, value in entries.items()})
        for name, value in survey.values.items():
            if isinstance(value, type | types.FunctionType) and not importable(value):
                scope.definitions.setdefault(id(value), name)
        fresh = _Fresh()
        state = self._state_group(survey, fresh)  # not in a child: `random` is seeded anew at a fork
        still = self._lost.still(self._namespace)
        known = self._look(self._memory.buffers) if self._memory.columns else {}
        scope.columns = self._known_columns(known)
        imports = imports_of(self._namespace)  # not in a child: each would read the same texts
        return _Draft(execution, started, survey, scope, state, fresh, known, still, imports)

    def _known_columns(self, known: Mapping[Place, Digests]) -> dict[Place, Known]:
        sent = self._memory.sent
        return {
            place: column
            for place, column in self._memory.columns.items()
            if column is not None and None not in known.get(place, [None]) and sent.issuperset(column[0].digests)
        }

    def _pickle(self, draft: _Draft) -> None:
        began = _Began()
        draft.dumps = self._grouping.dumps(draft.scope, draft.survey)
        self._memory.groups = self._grouping.last
        self._memory.pickling_ns = began.took_ns()
        draft.known = self._look(place for dump in draft.dumps for place in dump.places())

    def _here(self, draft: _Draft) -> Capture:
        payload, changed = self._payload(draft)
        if self._buffers is not None:
            self._buffers.learn(self._memory.buffers)
        contents = payload.contents
        data = b"".join(payload_buffers(payload))
        self._memory.cost_ns = time.perf_counter_ns() - draft.started
        return Capture(data, changed, list(contents.lost), list(contents.rebuilt), self._memory.cost_ns)

    def _in_child(self, draft: _Draft, send: Send) -> tuple[list[bytes | memoryview], bytes]:
        if draft.dumps is None:
            began = _Began()
            draft.dumps = self._grouping.dumps(draft.scope, draft.survey)
            self._memory.groups, self._memory.trials = self._grouping.last, self._grouping.trials
            self._memory.pickling_ns = began.took_ns()
        draft.fresh.stream(send, self._memory.sent)
        payload, _changed = self._payload(draft)
        self._memory.cost_ns = time.perf_counter_ns() - draft.started
        return payload_buffers(payload), pickle.dumps(self._memory, 5)

    def _payload(self, draft: _Draft) -> tuple[Payload, bool]:
        assert draft.dumps is not None
        survey, fresh, memory = draft.survey, draft.fresh, self._memory
        memory.buffers, memory.columns, self._kept = {}, {}, set()
        groups = [draft.state, self._sources_group(draft, fresh)]
        groups += [Group("atoms", names, (), (_part(data, fresh),)) for names, data in survey.pickled]
        groups += [self._values_group(dump, draft) for dump in draft.dumps]
        pages, memory.pages = make_pages(groups, memory.pages)
        contents = Contents(
            python=PYTHON,
            packages=packages(draft.scope.namespace),
            pages=tuple(page for page, _data in pages),
            modules=tuple(survey.modules),
            lost=tuple(self._losses(draft)),
            rebuilt=tuple(
                entry for dump in draft.dumps for entry in dump.rebuilt if not entry.name.startswith(INTERNAL)
            ),
            internals=survey.internals,
        )
        chunks = {page.digest: memoryview(data) for page, data in pages} | fresh
        there = memory.sent | fresh.streamed
        new = tuple(data for digest, data in chunks.items() if digest not in there)
        table = chunk_digest(b"".join(payload_buffers(Payload(format=FORMAT, contents=contents, chunks=()))))
        changed = bool(new) or table != memory.table
        memory.sent, memory.table = self._kept | chunks.keys(), table
        return Payload(format=FORMAT, contents=contents, chunks=new), changed

    # Large buffers

    def _the_buffers(self) -> Buffers:
        if self._buffers is None:
            self._buffers = Buffers()
        return self._buffers

    def _look(self, places: Iterable[Place]) -> dict[Place, Digests]:
        if self._alone:
            return {}
        large = [place for place in places if place[1] >= TRACKED_BYTES_MIN]
        return self._the_buffers().look(large, self._memory.columns) if large or self._buffers is not None else {}

    def _column_part(self, column: Column, draft: _Draft) -> PayloadPart | bytes:
        place, known = column.place, draft.known.get(column.place)
        part = column.data
        if isinstance(part, PayloadPart):
            self._kept.update(part.digests)
        else:
            part = _part(part, draft.fresh)
            known = [_UNWRITTEN] * len(known) if known is not None and draft.tracked else None
        if place[1] >= TRACKED_BYTES_MIN:
            self._memory.columns[place] = (
                (part, column.ends) if known is not None and isinstance(part, PayloadPart) else None
            )
            self._memory.buffers[place] = [None] if known is None else known
        return part

    def _buffer_part(self, view: memoryview, draft: _Draft) -> PayloadPart | bytes:
        place = place_of(view)
        known = draft.known.get(place)
        if known is None and place[1] < TRACKED_BYTES_MIN:
            return _part(view, draft.fresh)
        digests: list[bytes] = []
        for index, chunk in enumerate(cut(view)):
            found = known[index] if known is not None else None
            digest = chunk_digest(chunk) if found is None else found
            draft.fresh[digest] = chunk
            digests.append(digest)
        self._memory.buffers[place] = list(digests)
        return PayloadPart(len(view), tuple(digests))

    # The groups

    def _values_group(self, dump: Dump, draft: _Draft) -> Group:
        buffers = [
            self._column_part(buffer, draft) if isinstance(buffer, Column) else self._buffer_part(buffer.raw(), draft)
            for buffer in dump.buffers
        ]
        defines = isinstance(draft.survey.values[dump.names[0]], type | types.FunctionType)
        parts = (_part(dump.stream, draft.fresh), *buffers)
        return Group("definitions" if defines else "values", dump.names, tuple(sorted(dump.needs)), parts)

    def _state_group(self, survey: Survey, fresh: dict[bytes, memoryview]) -> Group:
        state = read_state(survey.packages)
        if self._state is None or self._state[0] != state:
            chunks: dict[bytes, memoryview] = {}
            self._state = state, Group("state", (), (), (_part(pickle.dumps(state, 5), chunks),)), chunks
        fresh.update(self._state[2])
        return self._state[1]

    def _sources_group(self, draft: _Draft, fresh: dict[bytes, memoryview]) -> Group:
        there = frozenset(draft.scope.filenames - {IMPORTS}), draft.imports
        if self._sources is None or self._sources[0] != there:
            chunks: dict[bytes, memoryview] = {}
            texts = read_sources(there[0])
            if draft.imports:
                texts[IMPORTS] = draft.imports
            self._sources = there, Group("sources", (), (), (_part(pickle.dumps(texts, 5), chunks),)), chunks
        fresh.update(self._sources[2])
        return self._sources[1]

    def _losses(self, draft: _Draft) -> list[LostVariable]:
        made: dict[str, tuple[int, str]] = {}
        lost: list[LostVariable] = []
        for name, (kind, reason) in draft.survey.lost.items():
            if name.startswith(PROCESS):
                lost.append(LostVariable(name.removeprefix(PROCESS)[:NAME_CHARS_MAX], KIND, reason[:TEXT_CHARS_MAX]))
                continue
            if name.startswith(INTERNAL):
                continue
            identity = id(self._namespace.get(name))
            before = self._memory.made.get(name)
            made[name] = before if before is not None and before[0] == identity else (identity, draft.execution)
            lost.append(LostVariable(name, kind[:TEXT_CHARS_MAX], reason[:TEXT_CHARS_MAX], made[name][1]))
        for dump in draft.dumps or ():
            holes = list({id(hole.value): hole for holes in dump.holes.values() for hole in holes}.values())
            for name in dump.names if holes else ():
                if name.startswith(PROCESS):
                    inside = f"{name.removeprefix(PROCESS)} (inside of it)"[:NAME_CHARS_MAX]
                    lost += (LostVariable(inside, KIND, hole.reason) for hole in dump.holes.get(name, [])[:1])
                elif not name.startswith(INTERNAL):
                    lost += self._placeholders(name, holes, dump.holes.get(name, ()), draft, made)
        self._memory.made = made
        return lost + [entry for entry in draft.lost_before if entry.name not in made]

    def _placeholders(
        self, name: str, holes: list[Hole], own: Sequence[Hole], draft: _Draft, made: dict[str, tuple[int, str]]
    ) -> Iterator[LostVariable]:
        """The losses inside of a variable that is not lost. `holes`: of its group; `own`: those met in it first."""
        where = paths(name, self._namespace.get(name), [hole.value for hole in holes[:HOLES_MAX]])
        first = {id(hole.value) for hole in own}
        for hole in holes[:HOLES_MAX]:
            identity = id(hole.value)
            if identity not in where and identity not in first:
                continue
            path = where.get(identity, f"{name} (inside of it)")[:NAME_CHARS_MAX]
            before = self._memory.made.get(path)
            made[path] = before if before is not None and before[0] == identity else (identity, draft.execution)
            yield LostVariable(path, hole.kind, hole.reason, made[path][1])
        if len(holes) > HOLES_MAX and own:
            more = f"{name} (inside of it, {len(holes) - HOLES_MAX} more)"[:NAME_CHARS_MAX]
            yield LostVariable(more, holes[-1].kind, holes[-1].reason, draft.execution)


def _part(data: bytes | memoryview, fresh: dict[bytes, memoryview]) -> PayloadPart | bytes:
    """A short byte string as itself, another cut and hashed; its chunks go into `fresh`."""
    if len(data) <= INLINE_BYTES_MAX:
        return bytes(data)
    digests = []
    for chunk in cut(data):
        digest = chunk_digest(chunk)
        fresh[digest] = chunk
        digests.append(digest)
    return PayloadPart(len(data), tuple(digests))


def _unhashed(draft: _Draft) -> int:
    """How many bytes are still to be hashed."""
    assert draft.dumps is not None
    total = 0
    for dump in draft.dumps:
        total += len(dump.stream)
        for buffer in dump.buffers:
            if isinstance(buffer, Column):
                total += len(buffer.data) if isinstance(buffer.data, bytes) else 0
                continue
            known = draft.known.get(place_of(buffer.raw()))
            size = buffer.raw().nbytes
            total += size if known is None else min(size, known.count(None) * CHUNK_BYTES)
    return total
