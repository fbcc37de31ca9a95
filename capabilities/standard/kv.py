"""`kv`: JSON values under names, durable, one namespace for the session and those that are shared with it (A73)."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import Field

from capabilities.call import CapabilityCall
from capabilities.capability import Capability
from capabilities.permissions.levels import Resource
from durable.core.errors import NotEncodable, ResourceExceeded, StoreRefused

type Key = Annotated[str, Field(min_length=1, max_length=1_000, pattern=r"^[^\x00]*$")]
type Namespace = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{0,128}$")]

_REMEDY = "a manifest can allow more: storage.max_size_mb"

TOO_MUCH = 413
"""The store's answer to a value for which there is no room."""


class KeyValues(Capability):
    """Values kept under names: kv.get, kv.set, kv.delete, kv.exists, kv.list, kv.usage. JSON values; durable.

    `namespace=""` is the session's own; it goes with the session. Others are shared by name.
    """

    name = "kv"
    also = ("get", "set", "delete", "exists", "list", "usage")

    def touches(self, call: CapabilityCall) -> tuple[Resource, ...]:
        action = "write" if call.method in ("set", "delete") else "read"
        return (Resource("storage", action, call.arguments["namespace"]),)

    async def call_get(self, call: CapabilityCall, key: Key, default: Any = None, *, namespace: Namespace = "") -> Any:
        """The value under `key`, or `default`."""
        found = await call.host.request("kv.get", {"namespace": _place(call, namespace), "key": key})
        return json.loads(found["value"]) if found["found"] else default

    async def call_set(self, call: CapabilityCall, key: Key, value: Any, *, namespace: Namespace = "") -> None:
        """Keep a JSON value. ResourceExceeded when the namespace would hold more than it may."""
        try:
            text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        except ValueError as error:
            raise NotEncodable(f"kv.set({key!r}): {error}") from None
        quota = call.policy.manifest.storage_bytes_max
        data = {"namespace": _place(call, namespace), "key": key, "value": text, "quota": quota}
        try:
            await call.host.request("kv.set", data)
        except StoreRefused as refused:
            if refused.status != TOO_MUCH:
                raise
            used = (await self.call_usage(call, namespace=namespace))["used"]
            raise ResourceExceeded.of("storage", quota, used + len(text.encode()), remedy=_REMEDY) from None

    async def call_delete(self, call: CapabilityCall, key: Key, *, namespace: Namespace = "") -> bool:
        """Remove a key; whether there was one."""
        found = await call.host.request("kv.delete", {"namespace": _place(call, namespace), "key": key})
        return bool(found["deleted"])

    async def call_exists(self, call: CapabilityCall, key: Key, *, namespace: Namespace = "") -> bool:
        """Whether there is a value under `key`."""
        found = await call.host.request("kv.get", {"namespace": _place(call, namespace), "key": key})
        return bool(found["found"])

    async def call_list(self, call: CapabilityCall, prefix: str = "", *, namespace: Namespace = "") -> list[str]:
        """The keys that begin with `prefix`, in order; at most 10,000."""
        asked = {"namespace": _place(call, namespace), "prefix": prefix, "limit": 10_000}
        keys: list[str] = (await call.host.request("kv.list", asked))["keys"]
        return keys

    async def call_usage(self, call: CapabilityCall, *, namespace: Namespace = "") -> dict[str, int]:
        """`used` and `quota` in bytes, and `keys`."""
        found = await call.host.request("kv.usage", {"namespace": _place(call, namespace)})
        return {**found, "quota": call.policy.manifest.storage_bytes_max}


def _place(call: CapabilityCall, namespace: str) -> str:
    return f"shared/{namespace}" if namespace else f"session/{call.session}"
