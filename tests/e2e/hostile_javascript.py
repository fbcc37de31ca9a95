"""Hostile scripts by the thousand: what is bad, wherever a script is run from; and instances whose memory was changed.

`python -m tests.e2e.hostile_javascript --scripts 1000 --corruptions 1000 --seed 7` tries that many; the process must
live, nothing but the sandbox's own errors may come out, and nothing may be left. test_sandbox_hostile.py runs a few in
a child.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from capabilities.sandbox import errors
from capabilities.sandbox.javascript.vm import VM
from capabilities.sandbox.javascript.warm_image import WarmImage, warm
from capabilities.sandbox.limits import JAVASCRIPT, MIB
from capabilities.sandbox.wasm.runtime import Runtime
from tests.unit.test_javascript_hostile import DEEP, ENDLESS, GREEDY, WRONG

LIMITS = JAVASCRIPT.but(timeout_ms=100, memory=16 * MIB, output=4096)
LATE_S = 2.0
"""Beyond its time, that a script on a busy machine may take to be ended."""

BAD = [*ENDLESS.values(), *GREEDY.values(), *DEEP.values(), *WRONG.values()]
PLACES = {
    "at the top": "{}",
    "a function": "(function () {{ {} }})()",
    "an async function": "await (async () => {{ {} }})()",
    "a job": "Promise.resolve().then(async () => {{ {} }}); 1",
    "a getter of the result": "({{ get a() {{ {} }} }})",
    "a getter of what is printed": "console.log([{{ get a() {{ {} }} }}])",
    "a getter of an argument": "f({{ get a() {{ {} }} }})",
    "the message of an error": "throw {{ get message() {{ {} }} }}",
    "the stack of an error": "throw Object.defineProperty(new Error('e'), 'stack', {{ get() {{ {} }} }})",
    "toString": "`${{{{ toString() {{ {} }} }}}}`",
    "toPrimitive": "+{{ [Symbol.toPrimitive]() {{ {} }} }}",
    "toJSON of all": "Object.prototype.toJSON = function () {{ {} }}; throw new Error('e')",
    "a thenable": "await {{ then() {{ {} }} }}",
    "a trap of a proxy": "new Proxy({{}}, {{ ownKeys() {{ {} }}, get() {{ {} }} }})",
    "a comparison": "[3, 1, 2].sort(() => {{ {} }})",
    "a reviver": "JSON.parse('[1]', () => {{ {} }})",
    "a reaction": "f(1); later(1).then(() => {{ {} }}); 1",
    "a rejection": "Promise.reject({{ get message() {{ {} }} }}); 1",
    "an iterator": "for (const each of {{ [Symbol.iterator]() {{ {} }} }}) {{}}",
    "a generator": "[...(function* () {{ {} }})()]",
    "a finally": "try {{ throw 1 }} finally {{ {} }}",
    "a catch": "while (true) try {{ {} }} catch {{}}",
    "a constructor": "new (class {{ constructor() {{ {} }} }})()",
    "a static block": "(class {{ static {{ {} }} }})",
    "a species": "[1].map.call(Object.assign([1], {{ constructor: {{ get [Symbol.species]() {{ {} }} }} }}), x => x)",
    "every prototype": "for (const n of Reflect.ownKeys(globalThis)) try {{ globalThis[n].prototype.constructor = "
    "globalThis[n].prototype.toString = () => {{ {} }} }} catch {{}}; [new Date(0), new Map(), 1n, `${{[]}}`]",
}
GOOD = [
    "let a = [1, { b: 'x' }, new Map([[1, 2]])]; console.log(a, 'hi'); f([1, 2]); a",
    "later({ a: 1 }).catch(() => 0); Promise.reject(new Error('q')); throw new TypeError('é'.repeat(100))",
    "await import('m'); Math.random() + Date.now()",
    "JSON.parse(JSON.stringify({ a: [1, 2, 3] })).a.map(x => x + 1)",
    "class A { constructor() { this.x = new Uint8Array(9) } }; new A()",
]


def attempt(vm: VM, code: str, **options: Any) -> str:
    """Run it; the class of the error that it ended with, "" for none; what is no error of the sandbox begins with !."""
    try:
        vm.begin(code, **options)
    except errors.SandboxError as error:
        return type(error).__name__
    except Exception as error:
        return f"!{type(error).__name__}: {error}"[:300]
    return ""


def instance(image: WarmImage) -> VM:
    """With a function of each kind and a module."""

    async def later(value: Any) -> Any:
        return value

    def same(value: Any = None) -> Any:
        return value

    return VM(image, LIMITS, functions={"f": same, "later": later}, modules={"m": "export const a = 1"})


def scripts(image: WarmImage, count: int, seed: int, report: dict[str, Any]) -> Counter[str]:
    """How often each outcome came, for what is bad in all places; then the instance works, or says that it is lost."""
    outcomes: Counter[str] = Counter()
    chance = random.Random(seed)
    for n in range(count):
        place, bad = chance.choice(list(PLACES)), chance.choice(BAD)
        code, vm = PLACES[place].format(bad, bad), instance(image)
        began = time.monotonic()
        outcome = attempt(vm, code, module=chance.random() < 0.05)
        took = time.monotonic() - began
        outcomes[outcome.split(":")[0]] += 1
        after = attempt(vm, "1")
        if outcome.startswith("!") or after not in ("", "StateLost") or (after == "StateLost") != bool(vm.lost):
            report["wrong"].append({"script": n, "place": place, "bad": bad, "outcome": outcome, "after": after})
        if took > LIMITS.timeout_ms / 1000 + LATE_S:
            report["late"].append({"script": n, "place": place, "bad": bad, "seconds": round(took, 1)})
        if vm.entry.size > LIMITS.memory:
            report["wrong"].append({"script": n, "memory": vm.entry.size})
    return outcomes


def corruptions(image: WarmImage, count: int, seed: int, report: dict[str, Any]) -> Counter[str]:
    """How often each outcome came, for instances whose memory a hole in the engine might have changed (J6)."""
    outcomes: Counter[str] = Counter()
    used = [at for at in range(0, len(image.base) - 64, 64) if any(image.base[at : at + 64])]
    for n in range(count):
        chance = random.Random(f"{seed}:{n}")
        vm = instance(image)
        vm.execute("1")
        for _ in range(chance.choice((1, 3, 10, 100, 1_000))):
            at = chance.choice(used) + chance.randrange(56)
            written = (chance.randbytes(1), chance.randbytes(4), b"\xff" * 4, b"\0" * 4, b"\xff\xff\xff\x7f")
            vm.entry.write(at, chance.choice(written))
        for code in chance.sample(GOOD, 3):
            outcome = attempt(vm, code)
            outcomes[outcome.split(":")[0]] += 1
            if outcome.startswith("!"):
                report["wrong"].append({"corruption": n, "script": code, "outcome": outcome})
    return outcomes


def left() -> dict[str, int]:
    """What this process holds."""
    gc.collect()
    status = Path("/proc/self/status").read_text()
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "mib": int(resident.split()[1]) // 1024,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scripts", type=int, default=1_000)
    parser.add_argument("--corruptions", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    report: dict[str, Any] = {"wrong": [], "late": []}
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as cache:
        runtime = Runtime(Path(cache) / "compiled", metered=False)
        image = warm(runtime)
        scripts(image, 20, given.seed + 1, report)  # what is made once is there
        report["before"] = left()
        report["scripts"] = scripts(image, given.scripts, given.seed, report)
        report["corruptions"] = corruptions(image, given.corruptions, given.seed, report)
        report["lives"] = instance(image).execute("1 + 1") == 2
        report["after"] = left()
        runtime.close()
    report["seconds"] = round(time.monotonic() - began, 1)
    print(json.dumps(report, indent=1))
    return int(bool(report["wrong"] or not report["lives"]))


if __name__ == "__main__":
    sys.exit(main())
