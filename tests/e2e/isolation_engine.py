"""An engine with one isolated session that is given pieces of code by name; prints what became of each as JSON.

`python -m tests.e2e.isolation_engine DIRECTORY`, with `{name: code}` on stdin. DIRECTORY is the engine's own.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import durable

SECRET = "a secret of the engine"
STUCK_S = 60
LIMITS = durable.Limits(memory=256 * 2**20, wall=30, output=100_000, files=96, disk=8 * 2**20, processes=16)


async def try_out(engine: durable.Engine, session: str, limits: durable.Limits, codes: dict[str, str]) -> Any:
    found: dict[str, Any] = {}
    inputs = {"engine": os.getpid(), "home": str(Path.home()), "outside": str(Path.cwd())}
    for number, (name, code) in enumerate(codes.items()):
        own = f"{session}-{number}" if name.startswith("bomb") else session  # what is left of one harms no other
        box = await engine.session(own, profile="isolated", limits=limits)
        print(name, file=sys.stderr, flush=True)
        async with asyncio.timeout(STUCK_S):
            found[name] = await try_one(box, code, inputs)
    return found


async def try_one(box: durable.Session, code: str, inputs: dict[str, Any]) -> dict[str, Any]:
    result = await box.execute(code, inputs=inputs)
    error = result.error
    return {
        "value": result.value,
        "kind": "" if error is None else error.exception_type,
        "text": "" if error is None else error.exception_message,
        "resource": getattr(error, "resource", ""),
        "goes_on": (await box.execute("1 + 1")).value == 2,
    }


async def main() -> None:
    codes = json.load(sys.stdin)
    Path("secret.txt").write_text(SECRET)
    fd = os.open("secret.txt", os.O_RDONLY)
    os.set_inheritable(fd, True)
    os.environ["ENGINE_TOKEN"] = SECRET * 40  # long enough to be found in memory that was freed
    async with durable.open("work.db", durability="process") as engine:
        limited = await try_out(engine, "limited", LIMITS, codes)
        # The same with a directory that is kept: what lies in it was put there from outside.
        kept = Path("work.db.d/sessions/kept")
        kept.mkdir(parents=True)
        (kept / "planted").symlink_to(Path("secret.txt").resolve())
        more = {
            "planted link": "open('planted').read()",
            "keeps files": "open('kept.txt', 'w').write('kept')",
            "link out": "import os; os.symlink('/etc/passwd', 'link'); open('link').read()",
        }
        loose = await try_out(engine, "kept", durable.Limits(wall=30), more)
        found = {**limited, **loose, "on disk": {"value": (kept / "kept.txt").read_text()}}
        await (await engine.session("kept")).close()
        found["closed"] = {"value": kept.exists()}
    print(json.dumps(found))


if __name__ == "__main__":
    logging.basicConfig(level=logging.DEBUG, format="%(relativeCreated)d %(message)s")
    for noisy in ("asyncio", "aiosqlite"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    os.chdir(sys.argv[1])
    asyncio.run(main())
