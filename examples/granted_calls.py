"""Granted capabilities: a function of yours, files of its own, and nothing else for code in a session.

uv run python examples/granted_calls.py
"""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

import durable


class Item(BaseModel):
    sku: str
    price: float


@durable.capability
def lookup(sku: str) -> Item:
    """Find an item by its number."""
    return Item(sku=sku, price=9.5)


async def main() -> None:
    async with durable.open(":memory:", capabilities=[lookup]) as engine:
        session = await engine.session("desk", grants=["lookup", "write_file", "env:LANG"])
        result = await session.execute("item = lookup('a1')\nwrite_file('price.txt', str(item['price']))\nitem")
        print(result.value)
        print((await session.execute("env('HOME')")).error)
        await session.revoke("lookup")
        print((await session.execute("lookup('a2')")).error)
        for entry in reversed(await engine.audit()):
            print(entry.verdict, entry.what, entry.resource, entry.reason)


if __name__ == "__main__":
    asyncio.run(main())
