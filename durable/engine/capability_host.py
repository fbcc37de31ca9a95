"""Parts of the engine for capabilities: its store, functions that can be started, sessions that can be made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from capabilities.call import CapabilityCall
from capabilities.permissions.grants import level_of, read_grant
from capabilities.permissions.policy import Policy, PolicyChange
from durable.core import ids
from durable.core.clock import TIME_MAX_MS, now_ms
from durable.core.errors import BadArguments, Conflict, Denied, NotFound, not_found
from durable.core.events import Notified
from durable.functions.definition import KNOWN, Function
from durable.records.values import to_json
from durable.sessions.execution.cell import CellParam
from durable.sessions.permissions import manifest_of

if TYPE_CHECKING:
    from capabilities.permissions.manifest import Manifest
    from durable.engine.engine import Engine


class CapabilityHost:
    """The host of one engine's capabilities, for all its sessions."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def request(self, kind: str, data: Mapping[str, Any]) -> Any:
        """A request to the store; its answer's data."""
        return (await self._engine.store.request(kind, data)).data

    def function_id(self, name: str) -> str:
        """The whole id of a function that this engine knows, by it, its key or its bare name."""
        return _function(name).id

    async def start_function(self, name: str, args: list[Any], kwargs: dict[str, Any], id: str) -> str:
        """Start it under that id, or find it started."""
        await self._engine.start_as(id, _function(name), args, kwargs)
        return ids.execution_promise(id)

    async def spawn(self, parent: str, name: str, grants: list[str] | None) -> None:
        """Make a session with at most the rights of its parent, which is recorded as such."""
        options = await self._options(parent)
        held: list[str] = options.get("grants") or []
        document = (await self.request("policy.get", {"name": parent}))["own"]["document"]
        # What was granted for a while is not handed on; what was revoked is.
        lasting = {key: value for key, value in document.items() if key != "grants"}
        policy = Policy(manifest_of(options), held, PolicyChange(0, lasting))
        wanted = [text for text in held if _has(policy, text)] if grants is None else [*dict.fromkeys(grants)]
        for text in wanted:
            if not _has(policy, text) or (read_grant(text).resource and not _named(policy, held, text)):
                raise Denied(f"{parent!r} may not grant {text!r}, which it has not itself")
        manifest = policy.manifest if grants is None else _alone(policy.manifest)
        made = {**options, "grants": wanted, "permissions": manifest.to_json(), "parent": parent}
        if "defined" in options:
            child = Policy(manifest, wanted)
            made["defined"] = {n: at for n, at in options["defined"].items() if child.may_have(n, now_ms())}
        row = await self.request("session.open", {"session": name, "engine": None, "options": made})
        if (row.get("options") or {}).get("parent") != parent:
            raise Conflict(f"session {name!r} exists, and was not made by {parent!r}")
        if row["created"] and lasting.get("revoked"):
            own = (await self.request("policy.get", {"name": name}))["own"]
            change = {"name": name, "before": own["version"], "document": {"revoked": lasting["revoked"]}}
            await self.request("policy.set", change)

    async def submit(self, parent: str, name: str, code: str, inputs: dict[str, Any], nonce: str) -> str:
        """Submit a cell and return its promise: made once for a nonce, whoever tries again."""
        if (await self._options(name)).get("parent") != parent:
            raise Denied(f"{parent!r} may run code only in sessions that it spawned, not in {name!r}")
        for row in await self._engine.store.reads.list_executions(session=name, limit=1_000, whole=False):
            if row.tags.get("durable:nonce") == nonce:
                return ids.execution_promise(row.id)
        cell = CellParam(code=code, session=name, inputs=to_json(inputs, "the inputs"))
        promise = cell.promise(self._engine.cell_target(), TIME_MAX_MS, nonce)
        found: str = (await self._engine.submit(name, {"promise": promise}))["id"]
        return found

    async def send_message(self, call: CapabilityCall, target: str, message: bytes) -> None:
        """Put a message into the mailbox of the actor `class/key`, once for a call."""
        await self._engine.actors.messaging.send(call, target, message)

    async def send_request(self, call: CapabilityCall, target: str, message: bytes, timeout_ms: int) -> str:
        """The same, with a reply for the actor that asks; the request's id. BadArguments for who is no actor."""
        return await self._engine.actors.messaging.request(call, target, message, timeout_ms)

    async def cancel_request(self, call: CapabilityCall, request: str) -> None:
        """Let no reply come to a request of the actor that asks. UnknownCorrelation."""
        await self._engine.actors.messaging.cancel(call, request)

    async def publish(self, call: CapabilityCall, topic: str, message: bytes) -> int:
        """Send to every actor that subscribed, once for a call; how many there are."""
        return await self._engine.actors.messaging.publish(call, topic, message)

    async def subscribe(self, call: CapabilityCall, pattern: str, *, wanted: bool) -> None:
        """Have the actor that asks subscribe to topics, or end that."""
        await self._engine.actors.messaging.subscribe(call, pattern, wanted=wanted)

    def notified(self, call: CapabilityCall, message: str, title: str | None) -> None:
        """Tell the engine's observers."""
        self._engine.observe(Notified(call.session, call.execution, message, title or "", call.key))

    async def _options(self, session: str) -> dict[str, Any]:
        with not_found("session", session, "spawn_session(name) makes one"):
            found = await self.request("session.get", {"session": session})
        options: dict[str, Any] = found.get("options") or {}
        return options


def _has(policy: Policy, text: str) -> bool:
    grant = read_grant(text)
    if grant.name == "level":
        return policy.reaches(level_of(grant), now_ms())
    return policy.decide(grant.name, (), now_ms()).verdict == "allowed"


def _named(policy: Policy, held: list[str], text: str) -> bool:
    """Whether what a grant names can be handed on: it is held so, or everything is allowed."""
    return text in held or text in policy.manifest.grant or policy.reaches("unrestricted", now_ms())


def _alone(manifest: Manifest) -> Manifest:
    """The manifest beside chosen grants: the tables, and nothing that would allow more than the grants do."""
    trust = manifest.trust if manifest.trust in ("strict", "unknown") else "strict"
    return manifest.model_copy(update={"level": "sandbox", "grant": (), "trust": trust})


def _function(name: str) -> Function[..., Any]:
    found = {id: known for id, known in KNOWN.items() if name in (id, known.key, known.name)}
    if not found:
        raise NotFound("durable function", name, "the engine that runs the session must know it")
    newest = max(found.values(), key=lambda known: known.version)
    if len({known.key for known in found.values()}) > 1:
        raise BadArguments(f"{name!r} names {', '.join(sorted({known.id for known in found.values()}))}; say which one")
    return newest
