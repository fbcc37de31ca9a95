"""The worker's side: bring a payload back into a live namespace, all of it or nothing (specs/checkpoint.md)."""

from __future__ import annotations

import ast
import importlib
import io
import pickle
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from checkpoint.capture.buffer_digests import Place, place_of
from checkpoint.capture.interpreter_state import State, StateRollback, apply_sources, finish, prepare
from checkpoint.capture.process_state import KIND, PROCESS, PROCESS_STATE
from checkpoint.capture.survey import INTERNAL, MODULE_NAMES
from checkpoint.format import package_versions
from checkpoint.format.group_table import GroupTable, read_table
from checkpoint.format.payload import PYTHON, Group, LostVariable, PayloadPart, chunk_digest, decode_payload
from checkpoint.lost_names import LOST, LostNames, explain_name_error
from checkpoint.pickling.loaders import Loading, Pieces, loading, same_text
from checkpoint.pickling.shared_groups import load_order
from checkpoint.pickling.unpickler import GroupUnpickler
from checkpoint.pickling.unsaveable import safe_text
from durable.core.errors import CheckpointError

__all__ = ["Report", "explain_name_error", "restore_into"]

type Placed = Callable[[Place, tuple[bytes, ...]], None]

type Report = dict[str, list[Any]]
"""restored: names; rebuilt: [name, how]; lost: [name, type, reason, execution]; state: what of the interpreter's
state could not be applied, as sentences. JSON-safe."""


@dataclass(slots=True)
class _Failed:
    group: Group
    error: BaseException


def restore_into(
    namespace: dict[str, object],
    payload: bytes | memoryview,
    *,
    clear_existing: bool = False,
    internals: frozenset[str] = frozenset(),
    fresh: bool = False,
    override_environment: bool = False,
    externals: Mapping[str, object] | None = None,
    lost: LostNames = LOST,
    placed: Placed | None = None,
) -> Report:
    """Merge a checkpoint into `namespace`, which is never replaced; names that it does not have stay.

    `clear_existing` first removes what is not internal. `fresh` says that the worker is new: then the engine's own
    names come back too, the existing history containers being filled in place; in a live session they are not touched.
    `override_environment`: also where Python or packages are others; code of another Python is lost then.
    `placed` is told where the chunks of a large buffer are now, before any code could change them.
    A value whose loading raises (a module that is gone, a user's __setstate__) is lost and named. CheckpointError,
    with the namespace and the interpreter's state as they were, when the payload itself cannot be read.
    """
    parsed = decode_payload(payload)
    contents = parsed.contents
    if not override_environment:
        package_versions.check(contents)
    pages = dict(zip((page.digest for page in contents.pages), parsed.chunks, strict=False))
    if len(pages) != len(contents.pages):
        raise CheckpointError("the checkpoint data is not whole: pages are missing")
    table = read_table(contents, pages.__getitem__)
    chunks = dict(zip(table.digests, parsed.chunks, strict=False))
    if len(chunks) != len(table.digests):
        raise CheckpointError("the checkpoint data is not whole: chunks are missing")
    before, rollback = dict(namespace), StateRollback()
    state = Loading(namespace, externals if externals is not None else {}, foreign_code=contents.python != PYTHON)
    restoration = Restoration(table, chunks, state, internals, placed)
    try:
        with loading(state), warnings.catch_warnings():
            # Unpickling itertools is deprecated; until it is gone it is sound, and the user did not ask for it here.
            warnings.simplefilter("ignore", DeprecationWarning)
            if clear_existing:
                for name in [name for name in namespace if name not in internals and name not in MODULE_NAMES]:
                    if state.externals.get(name, state) is not namespace[name]:
                        del namespace[name]
            report = restoration.run()
            if fresh:
                restoration.fill_internals()
    except BaseException:
        for name in [name for name in namespace if name not in before]:
            del namespace[name]
        namespace.update(before)
        rollback()
        raise
    restoration.apply_process(report)
    if clear_existing:
        lost.forget()
    lost.remember(entry for entry in restoration.losses() if entry.name not in namespace and entry.kind != KIND)
    return report


class Restoration:
    """One restore. Names are put into the namespace as they load, since hooks of user classes may need them."""

    def __init__(
        self,
        table: GroupTable,
        chunks: dict[bytes, memoryview],
        state: Loading,
        internals: frozenset[str],
        placed: Placed | None = None,
    ) -> None:
        self._groups = table.groups
        self._contents = table.contents
        self._chunks = chunks
        self._loading = state
        self._internals = internals
        self._placed = placed
        self._lost: list[LostVariable] = []

    def run(self) -> Report:
        state = self._single("state")
        failed_state = prepare(state)
        apply_sources(self._single("sources"))
        for module in self._contents.modules:
            try:
                self._publish(module.name, importlib.import_module(module.module))
            except Exception as error:
                self._lose(module.name, "module", error)
        self.load_groups(in_load_order([group for group in self._groups if group.names]))
        failed_state += finish(state)
        loaded = self._loading.loaded
        return {
            "restored": [name for name in loaded if not name.startswith(INTERNAL)],
            "rebuilt": [[entry.name, entry.how] for entry in self._contents.rebuilt if entry.name in loaded],
            "lost": [[entry.name, entry.kind, entry.reason, entry.execution] for entry in self.losses()],
            "state": failed_state,
        }

    def apply_process(self, report: Report) -> None:
        """Put the process's state back, last: what cannot be, and what `run` could not, is lost by name."""
        PROCESS_STATE.note_modules()  # those that were imported just now, as they are before code changes them
        loaded = self._loading.loaded
        entries = {name.removeprefix(PROCESS): value for name, value in loaded.items() if name.startswith(PROCESS)}
        failed = PROCESS_STATE.apply(entries)
        PROCESS_STATE.note_restored(loaded.values())
        failed += [(name, why) for name, _, why in (text.partition(": ") for text in report["state"])]
        self._lost += [LostVariable(name, KIND, why) for name, why in failed]
        report["lost"] += [[name, KIND, why, ""] for name, why in failed]

    def losses(self) -> list[LostVariable]:
        """The variables that the capture left out, then those that could not be loaded."""
        return [*self._contents.lost, *self._lost]

    def _single(self, kind: str) -> State:
        for group in self._groups:
            if group.kind == kind:
                return dict(_load_plain(self._joined(group.parts[0])))
        return {}

    def load_groups(self, groups: list[Group]) -> None:
        """Load in order; what raises is tried again after the others: a user's hook may use globals of any group."""
        while groups:
            failed: list[_Failed] = []
            for group in groups:
                try:
                    values = self._load(group)
                except KeyboardInterrupt:
                    raise
                except BaseException as error:  # user code runs in here: __setstate__, __hash__
                    self._check_intact(group, error)
                    failed.append(_Failed(group, error))
                else:
                    for name, value in zip(group.names, values, strict=True):
                        self._publish(name, value)
            if len(failed) == len(groups):
                for entry in failed:
                    for name in entry.group.names:
                        self._lose(name, "unknown", entry.error)
                return
            groups = [entry.group for entry in failed]

    def _check_intact(self, group: Group, error: BaseException) -> None:
        """Tells a value that cannot be loaded from data that is not what was saved."""
        for part in group.parts:
            if isinstance(part, PayloadPart) and any(
                chunk_digest(self._chunks[digest]) != digest for digest in part.digests
            ):
                raise CheckpointError(f"the data of {', '.join(group.names)[:200]} is corrupt: {error}") from error

    def _load(self, group: Group) -> list[object]:
        stream = self._joined(group.parts[0])
        if group.kind == "atoms":
            return list(_load_plain(stream))
        buffers = (Pieces(self._pieces(part), self._where(part)) for part in group.parts[1:])
        unpickler = GroupUnpickler(io.BytesIO(stream), buffers, self._loading)
        try:
            unpickler.load()
        except Exception as error:
            raise CheckpointError(f"the preamble of {', '.join(group.names)[:200]} cannot be read: {error}") from error
        return [unpickler.load() for _ in group.names]

    def _pieces(self, part: PayloadPart | bytes) -> list[memoryview]:
        return [memoryview(part)] if isinstance(part, bytes) else [self._chunks[digest] for digest in part.digests]

    def _where(self, part: PayloadPart | bytes) -> Callable[[memoryview], None] | None:
        placed = self._placed
        if placed is None or isinstance(part, bytes):
            return None
        return lambda view: placed(place_of(view), part.digests)

    def _joined(self, part: PayloadPart | bytes) -> bytes | memoryview:
        pieces = self._pieces(part)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _publish(self, name: str, value: object) -> None:
        value = same_text(value)
        self._loading.loaded[name] = value
        if not name.startswith(INTERNAL) and name not in self._internals:
            self._loading.namespace[name] = value

    def _lose(self, name: str, kind: str, error: BaseException) -> None:
        if name.startswith(PROCESS):
            name, kind = name.removeprefix(PROCESS), KIND
        if not name.startswith(INTERNAL):
            self._lost.append(
                LostVariable(name, kind, f"it could not be loaded: {type(error).__name__}: {safe_text(error)}")
            )

    def fill_internals(self) -> None:
        """Give the engine's own names back to a fresh worker."""
        namespace, loaded = self._loading.namespace, self._loading.loaded
        for name, how in self._contents.internals.items():
            if name not in self._internals:
                continue
            if how == "value":
                namespace[name] = loaded.get(INTERNAL + name)
            elif how.startswith("="):
                namespace[name] = namespace[how[1:]]
            else:
                items = dict(self._items(name))
                _fill(namespace, name, items if how == "dict" else _listed(items))

    def _items(self, name: str) -> Iterator[tuple[object, object]]:
        prefix = f"{INTERNAL}{name}["
        for saved, value in self._loading.loaded.items():
            if saved.startswith(prefix):
                yield ast.literal_eval(saved[len(prefix) : -1]), value


def in_load_order(groups: list[Group]) -> list[Group]:
    groups.sort(key=lambda group: (group.kind != "definitions", group.names))
    place = {name: index for index, group in enumerate(groups) for name in group.names}
    needs = {index: [place[name] for name in group.needs if name in place] for index, group in enumerate(groups)}
    order, circle = load_order(needs)
    if circle:
        names = ", ".join(name for index in circle for name in groups[index].names)
        raise CheckpointError(f"the checkpoint's groups need each other in a circle: {names[:200]}")
    return [groups[index] for index in order]


def _listed(items: dict[object, object]) -> list[object]:
    """History by index; what was lost is None."""
    size = max((key for key in items if isinstance(key, int)), default=-1) + 1
    return [items.get(index) for index in range(size)]


def _fill(namespace: dict[str, object], name: str, value: list[object] | dict[object, object]) -> None:
    existing = namespace.get(name)
    if isinstance(existing, list) and isinstance(value, list):
        existing[:] = value
    elif isinstance(existing, dict) and isinstance(value, dict):
        existing.clear()
        existing.update(value)
    else:
        namespace[name] = value


def _load_plain(data: bytes | bytearray | memoryview) -> Any:
    try:
        return pickle.loads(data)
    except Exception as error:
        raise CheckpointError(f"the checkpoint's data is corrupt: {error}") from error
