"""Steps side by side in a TaskGroup, each recorded by itself; one that fails does not undo the others' records.

python examples/fan_out.py
"""

import asyncio
import os
import random
import time

import durable

STORE = os.environ.get("DURABLE_STORE", ".durable/examples.db")
CITIES = ("Lima", "Oslo", "Perth", "Quito", "Turin", "Zurich")


async def measure(city: str) -> float:
    await asyncio.sleep(0.2)  # a slow service
    return round(len(city) + random.uniform(-5, 35), 1)


@durable.function
async def survey(ctx: durable.Context, cities: list[str]) -> dict[str, float]:
    async with asyncio.TaskGroup() as group:
        tasks = {city: group.create_task(ctx.run(measure, city)) for city in cities}
    found = {city: task.result() for city, task in tasks.items()}
    warmest = max(found, key=lambda city: found[city])
    return {"mean": round(sum(found.values()) / len(found), 1), warmest: found[warmest]}


async def main() -> None:
    async with durable.open(STORE) as engine:
        began = time.monotonic()
        execution = await engine.start(survey, list(CITIES))
        first = await execution.result()
        print(f"{first}, {len(CITIES)} steps of 0.2 s in {time.monotonic() - began:.1f} s")
        # The same id again attaches to what is recorded: nothing is measured twice, so nothing changes.
        again = await (await engine.start(survey, list(CITIES), id=execution.id)).result()
        assert again == first


if __name__ == "__main__":
    asyncio.run(main())
