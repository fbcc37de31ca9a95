"""The chain of a context: each stage it was compacted at, its messages kept once by their digests (specs/agents.md, K).

It lies among the values of its execution, so that it is forgotten with it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import msgspec

from durable.agents.compaction import Compacted
from durable.agents.conversation import AgentMessage, digest_of
from durable.core.errors import NotFound
from durable.core.limits import CONTEXT_BYTES_MAX
from durable.store.port import StoreFace

NAMESPACE = "session/execution/"
"""Of the values of an execution (specs/store.md, G6)."""

_MESSAGE = "message:"
_BLOCK = "block:"
_STAGE = "stage:"

BLOCK_MAX = 32
"""Digests in a block."""

_KEPT: WeakKeyDictionary[StoreFace, dict[str, set[str]]] = WeakKeyDictionary()
"""The keys that this process has kept already, by namespace: it is there, and need not be written again."""


class ContextStage(msgspec.Struct, frozen=True):
    """One compaction: the messages before and after it, by their digests, oldest first.

    place: that of the operation that made it; stages are in its order. name: of the context. strategies: what was done.
    tokens_before, tokens_after, limit: in tokens. level: how often the oldest part has been summarised.
    """

    place: tuple[int, ...]
    name: str
    strategies: tuple[str, ...]
    tokens_before: int
    tokens_after: int
    limit: int
    level: int
    before: tuple[str, ...]
    after: tuple[str, ...]

    @property
    def key(self) -> str:
        """Where it is kept."""
        return f"{_STAGE}{self.name}:{'.'.join(map(str, self.place))}"

    def to_record(self, values: dict[str, str]) -> str:
        """As it is kept: messages are named by blocks of digests, which `values` gets, so that what stages have in
        common from the beginning on is kept once."""
        record = msgspec.to_builtins(self)
        for side in ("before", "after"):
            texts = [json.dumps(record[side][n : n + BLOCK_MAX]) for n in range(0, len(record[side]), BLOCK_MAX)]
            record[side] = [digest_of(text) for text in texts]
            values.update({f"{_BLOCK}{digest}": text for digest, text in zip(record[side], texts, strict=True)})
        return msgspec.json.encode(record).decode()


@dataclass(frozen=True, slots=True)
class ContextChain:
    """The stages of one execution's contexts."""

    store: StoreFace
    execution: str

    @property
    def _namespace(self) -> str:
        return f"{NAMESPACE}{self.execution}.context"

    async def keep(
        self, operation: str, name: str, before: Sequence[AgentMessage], compacted: Compacted, limit: int
    ) -> str:
        """Keep the stage that an operation made, by its id; where it is kept. The same one again changes nothing."""
        stage = ContextStage(
            _place(operation),
            name,
            compacted.strategies,
            compacted.before,
            compacted.after,
            limit,
            max((each.level for each in compacted.messages), default=0),
            tuple(each.digest() for each in before),
            tuple(each.digest() for each in compacted.messages),
        )
        values = {f"{_MESSAGE}{each.digest()}": each.encode() for each in (*before, *compacted.messages)}
        record = stage.to_record(values)
        kept = _KEPT.setdefault(self.store, {}).setdefault(self._namespace, set())
        new = {key: text for key, text in values.items() if key not in kept}
        await asyncio.gather(*(self._set(key, text) for key, text in new.items()))
        kept.update(new)
        await self._set(stage.key, record)
        return stage.key

    async def stages(self, name: str | None = None) -> list[ContextStage]:
        """The stages in the order in which they were made; of one context, or of all."""
        keys = await self._keys(_STAGE if name is None else f"{_STAGE}{name}:")
        found = [await self._stage(await self._get(key)) for key in keys]
        return sorted(found, key=lambda stage: stage.place)

    async def _stage(self, text: str) -> ContextStage:
        """From a record, in which messages are named by blocks."""
        record = msgspec.json.decode(text)
        for side in ("before", "after"):
            blocks = [json.loads(await self._get(f"{_BLOCK}{each}")) for each in record[side]]
            record[side] = [digest for block in blocks for digest in block]
        return msgspec.convert(record, ContextStage)

    async def messages(self, stage: ContextStage, *, before: bool = False) -> list[AgentMessage]:
        """The messages of a stage, after its compaction or before it: a context that can be gone on with. NotFound."""
        digests = stage.before if before else stage.after
        once = list(dict.fromkeys(digests))
        texts = await asyncio.gather(*(self._get(f"{_MESSAGE}{digest}") for digest in once))
        found = dict(zip(once, map(AgentMessage.decode, texts), strict=True))
        return [found[digest] for digest in digests]

    async def _keys(self, prefix: str) -> list[str]:
        data = {"namespace": self._namespace, "prefix": prefix, "limit": 10_000}
        keys: list[str] = (await self.store.request("kv.list", data)).data["keys"]
        return keys

    async def _get(self, key: str) -> str:
        found = (await self.store.request("kv.get", {"namespace": self._namespace, "key": key})).data
        if not found["found"]:
            what = key.partition(":")[0]
            raise NotFound(f"{what} of the context of {self.execution}", key.partition(":")[2])
        value: str = json.loads(found["value"])
        return value

    async def _set(self, key: str, text: str) -> None:
        data = {"namespace": self._namespace, "key": key, "value": json.dumps(text), "quota": CONTEXT_BYTES_MAX}
        await self.store.request("kv.set", data)


def _place(operation: str) -> tuple[int, ...]:
    """The numbers in an operation's id, behind those of its execution."""
    return tuple(int(part) for part in operation.split(".") if part.isdigit())
