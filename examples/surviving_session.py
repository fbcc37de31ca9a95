"""A session keeps its variables, functions and classes when everything is killed with SIGKILL.

    python examples/surviving_session.py

The same on the command line: durable exec desk 'x = 41', kill what you like, durable exec desk 'x + 1'.
"""

import asyncio
import os
import signal
import subprocess
import sys

import durable

STORE = os.environ.get("DURABLE_STORE", ".durable/examples.db")

SETUP = """
rate = 0.19
class Basket:
    def __init__(self):
        self.items = {}
    def total(self):
        return round(sum(self.items.values()) * (1 + rate), 2)
basket = Basket()
basket.items["lathe"] = 4200.0
basket.total()
"""


async def fill() -> None:
    async with durable.open(STORE) as engine:
        session = await engine.session("basket")
        result = await session.execute(SETUP)
        print(f"before: {result.value}", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)


async def look() -> None:
    async with durable.open(STORE) as engine:
        session = await engine.session("basket")
        # The restored method sees the new value of the global it uses.
        result = await session.execute("rate = 0.25\nbasket.items['chisel'] = 50.0\nbasket.total()")
        print(f"after:  {result.unwrap()}")
        assert result.value == 5312.5


if __name__ == "__main__":
    if sys.argv[1:] == ["fill"]:
        asyncio.run(fill())
    died = subprocess.run([sys.executable, __file__, "fill"], check=False)
    print(f"that process ended with signal {-died.returncode}")
    asyncio.run(look())
