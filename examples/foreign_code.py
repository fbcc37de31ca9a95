"""Code that somebody else wrote, a model perhaps: JavaScript in a sandbox, with what it was given and nothing else.

uv run python examples/foreign_code.py
"""

from __future__ import annotations

import asyncio

import durable

WRITTEN_BY_A_MODEL = """
const prices = await Promise.all(basket.map(sku => lookup(sku)));
console.log(`${prices.length} prices`);
({ total: prices.reduce((sum, price) => sum + price, 0) })
"""


@durable.capability
def lookup(sku: str) -> float:
    """The price of an item. The answer is recorded: code that was killed and runs again gets the same one."""
    return 9.5 if sku == "a1" else 3.0


@durable.function
async def order(ctx: durable.Context, basket: list[str]) -> float:
    ran = await ctx.sandbox(WRITTEN_BY_A_MODEL, inputs={"basket": basket}, grants=["lookup"])
    print("it printed:", ran.stdout.strip())
    return float(ran.value["total"])


async def main() -> None:
    async with durable.open(":memory:", capabilities=[lookup]) as engine:
        execution = await engine.start(order, ["a1", "b2", "b2"])
        print("the order costs", await execution.result())

        short = durable.SandboxLimits.javascript(timeout_ms=1_000, memory=16 * 2**20)
        for code in ("while (true) {}", "lookup('a1')", "a = []; for (;;) a.push(new Array(1e5).fill(0))", "1 +"):
            try:
                await engine.sandbox.run(code, language="javascript", limits=short)
            except durable.SandboxError as error:
                print(f"{code!r}: {type(error).__name__}: {error}")


if __name__ == "__main__":
    asyncio.run(main())
