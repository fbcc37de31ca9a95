"""Running code journaled or not, by its kind: for programs that move to durable sessions (requirement P54)."""

from __future__ import annotations

import ast
import os
from typing import TYPE_CHECKING, Any, Literal

from bridge.code.blocking_calls import names_bound
from bridge.code.cell_mode import Classification, Detection, classify
from capabilities.permissions.levels import QUESTIONS

if TYPE_CHECKING:
    from durable.records.result import Result
    from durable.sessions.session import Session

type MigrationMode = Literal["legacy", "resonate", "auto"]


class MigrationAdapter:
    """Executes in a session: `legacy` never journals, `resonate` always does, `auto` decides for each cell.

    `auto` journals code that awaits at its top level, calls something that blocks, or asks the host (`input`, a
    granted capability); other code runs unjournaled, which is faster and is not resumed after a crash. `detection`
    has the table of blocking calls and counts what was met; one of the environment's settings by default.
    """

    def __init__(self, session: Session, mode: MigrationMode = "auto", *, detection: Detection | None = None) -> None:
        if mode not in ("legacy", "resonate", "auto"):
            raise ValueError(f"no migration mode {mode!r}; there are legacy, resonate, auto")
        self.session = session
        self.mode: MigrationMode = mode
        self.detection = detection or Detection(os.environ)
        self.journaled = 0
        """Cells that ran durably."""
        self.unjournaled = 0
        self._asks = frozenset(("input", *QUESTIONS, *(grant.partition(":")[0] for grant in session.grants)))
        ways = (f"{name}.*" for name in sorted(self._asks))  # a capability's methods: kv.get(...)
        self._table = self.detection.table.with_names((*sorted(self._asks), *ways))
        self._known: dict[str, str | None] = {}

    async def execute(self, code: str, **options: Any) -> Result:
        """`session.execute`, journaled or not; the options are the same but `journal`."""
        journal = self.journals(code)
        self.detection.met(self.classify(code))
        result = await self.session.execute(code, journal=journal, **options)
        self.journaled, self.unjournaled = self.journaled + journal, self.unjournaled + (not journal)
        if result.error is None:
            self._learn(code)
        return result

    def journals(self, code: str) -> bool:
        """Whether this code runs durably."""
        if self.mode != "auto":
            return self.mode == "resonate"
        found = self.classify(code)
        return found.mode in ("top_level_await", "blocking_sync") or any(
            call.name.partition(".")[0] in self._asks for call in found.blocking
        )

    def classify(self, code: str) -> Classification:
        """The kind of this code, after the cells that this adapter ran."""
        return classify(code, table=self._table, resolve=self._resolve)

    def _resolve(self, name: str) -> str | None:
        return self._known.get(name, name if name in self._asks else None)

    def _learn(self, code: str) -> None:
        """Remember what later cells may call by the names that this one bound."""
        try:
            tree = ast.parse(code)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return
        self._known.update(names_bound(tree, self._table, self._resolve))
