"""Values of old keys, written anew with the current one, while engines run (specs/codec.md, E9)."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from durable.core.value_codec import ValueCodec
    from durable.store.port import StoreFace


async def keys_in_use(store: StoreFace) -> Counter[str]:
    """The number of values that each key sealed, by the key's id."""
    found, after = Counter[str](), ""
    while True:
        answer = (await store.request("sealed.page", {"after": after})).data
        found.update(value["sealed_by"] for value in answer["values"])
        after = answer["next"]
        if not after:
            return found


async def rekey(store: StoreFace, codec: ValueCodec) -> AsyncGenerator[int]:
    """Seal with the current key what others sealed; yields how many values were after each page.

    It may end anywhere; the next one goes on with what is left. KeyUnavailable where a value's key is not here.
    """
    count, after, asked = 0, "", {"but": codec.current or "", "whole": True}
    while True:
        answer = (await store.request("sealed.page", {**asked, "after": after})).data
        for value in answer["values"]:
            data = value.pop("data")
            if data is None:
                continue  # forgotten meanwhile
            del value["sealed_by"]
            before = hashlib.sha256(data.encode()).hexdigest()
            sealed = {**value, "before": before, "data": codec.reseal_text(data)}
            count += (await store.request("value.reseal", sealed)).data["changed"]
        yield count
        after = answer["next"]
        if not after:
            return
