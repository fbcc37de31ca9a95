"""LangGraph on a durable store: a saver of checkpoints, and graphs that go on by themselves after a crash.

Needs the extra `langgraph` (specs/integrations.md, L1-L6).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    get_checkpoint_id,
    get_checkpoint_metadata,
    writes_sort_key,
)
from langgraph.types import Command, Interrupt
from pydantic_core import to_jsonable_python

from durable.core.errors import BadArguments, StoreError
from durable.core.limits import GRAPH_BYTES_MAX, PROMPT_CHARS_MAX
from durable.engine.engine import Engine
from durable.functions.context import Context
from durable.functions.definition import Function, function
from durable.store.port import StoreFace

_KEYS_MAX = 10_000
"""Keys of one list of the store."""
_DELETED_KEYS_MAX = 500
"""Keys that one transaction removes: others write in between."""


class DurableSaver(BaseCheckpointSaver[str]):
    """Keeps a graph's checkpoints in the store of an engine: a file, PostgreSQL, or a server.

    name: several savers with other names are apart. keep: how many checkpoints of each thread and namespace stay, the
    newest; None for all. Values of channels are kept once by their content, so a long state that does not change costs
    nothing. The methods without `a` work in other threads than that of the engine's loop.
    """

    def __init__(
        self, engine: Engine | StoreFace, *, name: str = "default", keep: int | None = None, serde: Any = None
    ) -> None:
        super().__init__(serde=serde)
        if keep is not None and keep < 1:
            raise BadArguments(f"keep= is at least 1, not {keep}")
        self._store: StoreFace = engine.store if isinstance(engine, Engine) else engine
        self._namespace = f"langgraph/{quote(name, safe='')}"
        self._keep = keep
        self._loop = asyncio.get_running_loop()

    # -- the store ----------------------------------------------------------------------------------------------------

    async def _get(self, key: str) -> Any:
        found = (await self._store.request("kv.get", {"namespace": self._namespace, "key": key})).data
        return json.loads(found["value"]) if found["found"] else None

    async def _set(self, key: str, value: Any) -> None:
        data = {"namespace": self._namespace, "key": key, "value": json.dumps(value), "quota": GRAPH_BYTES_MAX}
        await self._store.request("kv.set", data)

    async def _write(
        self, put: Mapping[str, Any], fill: Mapping[str, Any], greatest: Mapping[str, Any] | None = None
    ) -> None:
        """Set keys, those of `fill` where nothing is, and those of `greatest` where less is, in one transaction."""
        data = {
            "namespace": self._namespace,
            "quota": GRAPH_BYTES_MAX,
            "put": {key: json.dumps(value) for key, value in put.items()},
            "fill": {key: json.dumps(value) for key, value in fill.items()},
            "greatest": {key: json.dumps(value) for key, value in (greatest or {}).items()},
        }
        await self._store.request("kv.write", data)

    async def _delete(self, keys: Sequence[str]) -> None:
        for start in range(0, len(keys), _DELETED_KEYS_MAX):
            some = list(keys[start : start + _DELETED_KEYS_MAX])
            data = {"namespace": self._namespace, "quota": GRAPH_BYTES_MAX, "delete": some}
            await self._store.request("kv.write", data)

    async def _listed(self, prefix: str) -> list[str]:
        data = {"namespace": self._namespace, "prefix": prefix, "limit": _KEYS_MAX}
        keys: list[str] = (await self._store.request("kv.list", data)).data["keys"]
        return keys

    async def _keys(self, prefix: str) -> list[str]:
        keys = await self._listed(prefix)
        if len(keys) == _KEYS_MAX:
            raise StoreError(
                f"there are more than {_KEYS_MAX} checkpoints or writes under {prefix!r}; prune, or set keep="
            )
        return keys

    def _packed(self, value: Any) -> list[str]:
        kind, data = self.serde.dumps_typed(value)
        return [kind, base64.b64encode(data).decode()]

    def _unpacked(self, packed: list[str]) -> Any:
        return self.serde.loads_typed((packed[0], base64.b64decode(packed[1])))

    # -- putting ------------------------------------------------------------------------------------------------------

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,  # noqa: ARG002
    ) -> RunnableConfig:
        """Keep a checkpoint, its values, and that it is the newest, in one transaction."""
        thread, namespace = _place(config)
        values = {name: self._packed(value) for name, value in checkpoint["channel_values"].items()}
        digests = {name: _digest(packed) for name, packed in values.items()}
        blobs = {_joined("b", thread, digests[name]): packed for name, packed in values.items()}
        rest = {key: value for key, value in checkpoint.items() if key != "channel_values"}
        record = {
            "parent": config["configurable"].get("checkpoint_id"),
            "checkpoint": self._packed(rest),
            "metadata": self._packed(get_checkpoint_metadata(config, metadata)),
            "values": digests,
        }
        put = {_joined("c", thread, namespace, checkpoint["id"]): record}
        await self._write(put, blobs, {_joined("h", thread, namespace): checkpoint["id"]})
        if self._keep is not None:
            await self._prune(thread, namespace, self._keep)
        return _config(thread, namespace, checkpoint["id"])

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Keep what a task wrote; what is there already stays, but for errors and interrupts, which are replaced."""
        thread, namespace = _place(config)
        place = (thread, namespace, str(config["configurable"]["checkpoint_id"]))
        packed: dict[bool, dict[str, Any]] = {True: {}, False: {}}
        for number, (channel, value) in enumerate(writes):
            index = WRITES_IDX_MAP.get(channel, number)
            key = _joined("w", *place, task_id, str(index))
            packed[index < 0][key] = [task_path, channel, self._packed(value)]
        await self._write(packed[True], packed[False])  # all at once: a task that wrote a part would count as done

    # -- getting ------------------------------------------------------------------------------------------------------

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """A checkpoint by its id, or the newest of its thread."""
        thread, namespace = _place(config)
        found = get_checkpoint_id(config) or await self._newest(thread, namespace)
        return None if found is None else await self._tuple(thread, namespace, found)

    async def _newest(self, thread: str, namespace: str) -> str | None:
        """The id of the newest checkpoint."""
        newest: str | None = await self._get(_joined("h", thread, namespace))
        return newest

    async def _tuple(self, thread: str, namespace: str, checkpoint_id: str) -> CheckpointTuple | None:
        record = await self._get(_joined("c", thread, namespace, checkpoint_id))
        if record is None:
            return None
        names = list(record["values"])
        blobs = await asyncio.gather(*(self._get(_joined("b", thread, record["values"][name])) for name in names))
        values = {name: self._unpacked(blob) for name, blob in zip(names, blobs, strict=True)}
        keys = await self._keys(_joined("w", thread, namespace, checkpoint_id, ""))
        kept = await asyncio.gather(*(self._get(key) for key in keys))
        writes = [
            (write[0], parts[4], int(parts[5]), write[1], write[2])
            for parts, write in zip(map(_parts, keys), kept, strict=True)
            if write is not None
        ]
        writes.sort(key=lambda each: writes_sort_key(each[0], each[1], each[2]))
        parent = record["parent"]
        return CheckpointTuple(
            config=_config(thread, namespace, checkpoint_id),
            checkpoint={**self._unpacked(record["checkpoint"]), "channel_values": values},
            metadata=self._unpacked(record["metadata"]),
            parent_config=None if parent is None else _config(thread, namespace, parent),
            pending_writes=[(each[1], each[3], self._unpacked(each[4])) for each in writes],
        )

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Checkpoints, newest first."""
        configurable: Mapping[str, Any] = {} if config is None else config["configurable"]
        prefix = "c:" if config is None else _joined("c", str(configurable["thread_id"]), "")
        only, last = configurable.get("checkpoint_ns"), None if before is None else get_checkpoint_id(before)
        places = sorted((_parts(key)[1:] for key in await self._keys(prefix)), key=lambda place: place[2], reverse=True)
        for thread, namespace, checkpoint_id in places:
            if (only is not None and namespace != only) or (last is not None and checkpoint_id >= last):
                continue
            if configurable.get("checkpoint_id") not in (None, checkpoint_id):
                continue
            found = await self._tuple(thread, namespace, checkpoint_id)
            if found is None or any(found.metadata.get(key) != value for key, value in (filter or {}).items()):
                continue
            if limit is not None:
                if limit <= 0:
                    return
                limit -= 1
            yield found

    # -- forgetting and copying ---------------------------------------------------------------------------------------

    async def adelete_thread(self, thread_id: str) -> None:
        """Forget a thread."""
        for kind in "hcwb":
            while keys := await self._listed(_joined(kind, str(thread_id), "")):
                await self._delete(keys)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Forget the checkpoints of these runs, by `run_id` in their metadata."""
        wanted, places = set(run_ids), list[tuple[str, str, str]]()
        for key in await self._keys("c:"):
            record = await self._get(key)
            if record is not None and self._unpacked(record["metadata"]).get("run_id") in wanted:
                _, thread, namespace, checkpoint_id = _parts(key)
                places.append((thread, namespace, checkpoint_id))
        await self._forget(places)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy a thread with all its checkpoints and writes."""
        for kind in "bwch":
            for key in await self._keys(_joined(kind, str(source_thread_id), "")):
                _, _, *rest = _parts(key)
                await self._set(_joined(kind, str(target_thread_id), *rest), await self._get(key))

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Forget all checkpoints of these threads ("delete"), or all but the newest of each namespace."""
        if strategy not in ("keep_latest", "delete"):
            raise BadArguments(f"a strategy is keep_latest or delete, not {strategy!r}")
        for thread in map(str, thread_ids):
            if strategy == "delete":
                await self.adelete_thread(thread)
                continue
            for namespace in {_parts(key)[2] for key in await self._keys(_joined("c", thread, ""))}:
                await self._prune(thread, namespace, 1)

    async def _prune(self, thread: str, namespace: str, keep: int) -> None:
        keys = await self._keys(_joined("c", thread, namespace, ""))
        ids = sorted(_parts(key)[3] for key in keys)
        await self._forget([(thread, namespace, each) for each in ids[:-keep]])

    async def _forget(self, places: Sequence[tuple[str, str, str]]) -> None:
        """Forget checkpoints with their writes, and the values that no other checkpoint of the thread has."""
        for thread, namespace, checkpoint_id in places:
            await self._delete([_joined("c", thread, namespace, checkpoint_id)])
            await self._delete(await self._keys(_joined("w", thread, namespace, checkpoint_id, "")))
        for thread in {place[0] for place in places}:
            used, heads = set[str](), dict[str, str]()
            for key in await self._keys(_joined("c", thread, "")):
                record = await self._get(key)
                used |= set(record["values"].values())
                _, _, namespace, checkpoint_id = _parts(key)
                heads[namespace] = max(heads.get(namespace, ""), checkpoint_id)
            blobs = await self._keys(_joined("b", thread, ""))
            await self._delete([key for key in blobs if _parts(key)[2] not in used])
            for key in await self._keys(_joined("h", thread, "")):
                head = heads.get(_parts(key)[2])
                await (self._delete([key]) if head is None else self._set(key, head))

    # -- in other threads ---------------------------------------------------------------------------------------------

    def _wait[T](self, coroutine: Any) -> Any:
        """The result of one of the methods above, in a thread that is not the loop's."""
        try:
            running: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is self._loop:
            coroutine.close()
            raise BadArguments("in the engine's own loop use the asynchronous methods: graph.ainvoke, graph.astream")
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        found: CheckpointTuple | None = self._wait(self.aget_tuple(config))
        return found

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        async def all_of_them() -> Any:
            return [each async for each in self.alist(config, filter=filter, before=before, limit=limit)]

        yield from self._wait(all_of_them())

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        found: RunnableConfig = self._wait(self.aput(config, checkpoint, metadata, new_versions))
        return found

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        self._wait(self.aput_writes(config, writes, task_id, task_path))

    def delete_thread(self, thread_id: str) -> None:
        self._wait(self.adelete_thread(thread_id))

    def get_next_version(self, current: str | int | None, channel: None) -> str:  # noqa: ARG002
        """Versions that sort as text, as those of LangGraph's own savers."""
        number = 0 if current is None else int(str(current).partition(".")[0])
        return f"{number + 1:032}.{0:016}"


def _place(config: RunnableConfig) -> tuple[str, str]:
    configurable = config.get("configurable") or {}
    if "thread_id" not in configurable:
        raise BadArguments("the config names no thread: graph.ainvoke(…, {'configurable': {'thread_id': '42'}})")
    return str(configurable["thread_id"]), str(configurable.get("checkpoint_ns", ""))


def _config(thread: str, namespace: str, checkpoint_id: str) -> RunnableConfig:
    return {"configurable": {"thread_id": thread, "checkpoint_ns": namespace, "checkpoint_id": checkpoint_id}}


def _joined(*parts: str) -> str:
    """A key; the last part is empty for the beginning of keys."""
    return ":".join(quote(part, safe="") for part in parts)


def _parts(key: str) -> tuple[str, ...]:
    return tuple(map(unquote, key.split(":")))


def _digest(packed: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(packed).encode()).hexdigest()[:32]


# -- graphs that go on ------------------------------------------------------------------------------------------------

type BuildGraph = Callable[[DurableSaver], Any]
"""Makes the compiled graph with a saver: `lambda saver: builder.compile(checkpointer=saver)`."""


def durable_graph(build: BuildGraph, *, name: str, keep: int | None = None) -> Function[..., Any]:
    """A durable function that runs a graph to its end: `await engine.start(function, input, id=…)`.

    build: makes the compiled graph with the saver that it is given. name: of the function in records. keep: how many
    checkpoints of a run stay. The thread is the execution's id. After a crash it goes on from the last node that ended;
    a node that was cut runs again. Each `interrupt(value)` is a question in the inbox, asked once, and what is answered
    is what it returns. Gives the graph's values, as JSON.
    """

    @function(name=name)
    async def run_graph(ctx: Context, input: Any = None) -> Any:
        thread = ctx.id

        async def go_on(answers: dict[str, Any] | None, begin: Any) -> dict[str, Any]:
            graph = build(DurableSaver(ctx.store, name=f"graph {name}", keep=keep))
            config: RunnableConfig = {"configurable": {"thread_id": thread}}
            before = await graph.aget_state(config)
            waiting = {each.id for each in before.interrupts}
            if before.created_at is None:
                await graph.ainvoke(begin, config, durability="sync")
            elif waiting & set(answers or {}):
                await graph.ainvoke(Command(resume=answers), config, durability="sync")
            elif not waiting:  # not `before.next`: it leaves out nodes that ended and whose step did not
                await graph.ainvoke(None, config, durability="sync")
            after = await graph.aget_state(config)
            return {"interrupts": _questions(after), "values": to_jsonable_python(after.values, fallback=str)}

        answers: dict[str, Any] | None = None
        while True:
            found = await ctx.options(name="graph").run(go_on, answers, input)
            if not found["interrupts"]:
                return found["values"]
            answers = {}
            for interrupt_id, question, value in found["interrupts"]:
                answers[interrupt_id] = await ctx.ask(question, schema={}, context=json.dumps(value, indent=1))

    return run_graph


def _questions(state: Any) -> list[list[Any]]:
    """The interrupts of a graph, each with its id, a question and its value; a breakpoint is one without an id."""
    found = [[each.id, _question(each), to_jsonable_python(each.value, fallback=str)] for each in state.interrupts]
    if not found and state.next:
        found.append(["", f"Go on with {', '.join(state.next)}?", None])
    return found


def _question(interrupt: Interrupt) -> str:
    value = interrupt.value
    if isinstance(value, Mapping):
        value = next((value[key] for key in ("question", "prompt", "message") if key in value), value)
    text = value if isinstance(value, str) else json.dumps(to_jsonable_python(value, fallback=str))
    return text[:PROMPT_CHARS_MAX] or "Go on?"


__all__ = ["DurableSaver", "durable_graph"]
