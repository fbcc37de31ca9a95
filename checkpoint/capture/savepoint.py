"""A namespace at one moment, to which it can be put back in the same process (specs/namespace.md, T1-T3).

What did not change since keeps its identity: the namespace is captured again at the end, and only groups whose bytes
differ are loaded. Bytes that differ for another reason cost an identity, never a value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from checkpoint.capture.incremental_capture import Capturer
from checkpoint.capture.survey import HISTORIES, MODULE_NAMES
from checkpoint.format.group_table import GroupTable, read_table
from checkpoint.format.payload import Group, chunk_digest, decode_payload
from checkpoint.lost_names import LostNames
from checkpoint.pickling.loaders import Loading, loading
from checkpoint.restore import Restoration, in_load_order


@dataclass(frozen=True, slots=True)
class Rollback:
    """`restored`: names that have their old contents again by loading them. `kept`: names whose objects could not be
    saved, so that they are as the code left them, with why."""

    restored: tuple[str, ...]
    kept: tuple[tuple[str, str], ...]


class Savepoint:
    """Made before code runs; `roll_back` once, after it. Holds the namespace's values till then, and a copy of them."""

    def __init__(
        self, namespace: dict[str, object], internals: frozenset[str], externals: Mapping[str, object]
    ) -> None:
        self._namespace = namespace
        self._internals = internals
        self._externals = externals
        self._chunks: dict[bytes, memoryview] = {}
        self._capturer = Capturer(namespace, internals, externals=externals, lost=LostNames(), alone=True)
        self._bindings = {name: value for name, value in namespace.items() if name not in internals}
        self._saved = self._capture()

    def roll_back(self) -> Rollback:
        """Put the user's names back. Values that were changed come back as copies of what they were."""
        self._bind_again()
        changed = self._changed(self._capture())
        reloaded = {name for group in changed for name in group.names}
        kept = {name: value for name, value in self._bindings.items() if name not in reloaded}
        state = Loading(self._namespace, self._externals, loaded=kept, kept=self._capturer.kept)
        restoration = Restoration(self._saved, self._chunks, state, self._internals)
        with loading(state):
            restoration.load_groups(in_load_order(changed))
        failed = {entry.name: entry.reason for entry in restoration.losses()}
        self._replace_in_history(reloaded - failed.keys())
        return Rollback(tuple(sorted(reloaded - failed.keys())), tuple(sorted(failed.items())))

    def _capture(self) -> GroupTable:
        payload = decode_payload(self._capturer.capture().payload)
        self._chunks.update((chunk_digest(chunk), memoryview(chunk)) for chunk in payload.chunks)
        return read_table(payload.contents, self._chunks.__getitem__)

    def _bind_again(self) -> None:
        namespace, bindings = self._namespace, self._bindings
        for name in [name for name in namespace if name not in bindings and name not in self._internals]:
            if name not in MODULE_NAMES:
                del namespace[name]
        namespace.update(bindings)

    def _changed(self, now: GroupTable) -> list[Group]:
        """The saved groups whose contents are others now, and those that need them."""
        same = {(group.kind, group.names): group.parts for group in now.groups}
        groups = [group for group in self._saved.groups if group.kind in ("values", "definitions")]
        changed = {group.names for group in groups if same.get((group.kind, group.names)) != group.parts}
        while True:
            names = {name for members in changed for name in members}
            more = {group.names for group in groups if group.names not in changed and names & set(group.needs)}
            if not more:
                return [group for group in groups if group.names in changed]
            changed |= more

    def _replace_in_history(self, names: set[str]) -> None:
        """`_` and `Out` show the values that took the place of theirs."""
        new = {id(self._bindings[name]): self._namespace[name] for name in names}
        if not new:
            return
        for name in self._internals & self._namespace.keys():
            value = self._namespace[name]
            if id(value) in new:
                self._namespace[name] = new[id(value)]
        values = self._namespace.get(HISTORIES[1])
        if isinstance(values, dict):
            values.update({key: new[id(value)] for key, value in values.items() if id(value) in new})
