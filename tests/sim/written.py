"""Functions written by hand, each for a fault that users of engines like this one reported: killed at every point.

`python -m tests.sim.replay --written` runs all of them. The steps wait for the conductor instead of sleeping, so which
of them is first is the seed's choice; each function runs with several seeds.
"""

from __future__ import annotations

from dataclasses import dataclass

SEEDS = 4
"""Orders of events in which each is run."""


@dataclass(frozen=True)
class Written:
    """A function, and what it must come to in every order of events; `value` says nothing where that depends on it."""

    name: str
    text: str
    values: tuple[object, ...] = ()

    def source(self) -> str:
        return self.text


BRANCHES = Written(
    "branches of gather that make equal steps",
    """
async def main(ctx):
    async def branch(i):
        await ctx.run(act, f"m/s1.{i}")
        return await ctx.run(lambda: act_now(f"m/s2.{i}"))
    rows = await asyncio.gather(*(branch(i) for i in range(3)))
    await ctx.sleep(0.1)
    return rows
""",
    (["m/s2.0", "m/s2.1", "m/s2.2"],),
)

KEYS = Written(
    "two people are charged, each with a key made in a step",
    """
async def main(ctx):
    async def pay(person):
        k = await ctx.run(partial(key, f"m/{person}/s1"))
        await ctx.run(partial(act, f"m/{person}/s2"))
        return await ctx.run(partial(charge, f"m/{person}/s3"), k, 5)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(pay(person)) for person in ("ann", "bob")]
    await ctx.sleep(0.1)
    return [task.result()[:12] for task in tasks]
""",
    (["m/ann/s3 too", "m/bob/s3 too"],),
)

RACE = Written(
    "an answer and a deadline race",
    """
async def main(ctx):
    async def aw(op):
        return await op
    a, t = asyncio.create_task(aw(ctx.ask("ok?"))), asyncio.create_task(aw(ctx.sleep(0.6)))
    done, _ = await asyncio.wait({a, t}, return_when=asyncio.FIRST_COMPLETED)
    log(ctx, "late" if t in done else "answered")
    if t in done:
        return await ctx.run(act, "m/refund")
    await ctx.run(act, "m/ship")
    await ctx.sleep(1)
    return "shipped"
""",
    ("m/refund", "shipped"),
)

RACE_OF_STEPS = Written(
    "two steps race, the slower one is cancelled",
    """
async def main(ctx):
    async def one(i):
        await ctx.run(partial(act, f"m/s1.{i}"))
        return i
    tasks = [asyncio.create_task(one(i)) for i in range(2)]
    done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    first = min(task.result() for task in done)
    log(ctx, f"first {first}")
    for task in rest:
        task.cancel()
    await ctx.run(partial(act, f"m/won.{first}"))
    await ctx.sleep(1)
    return f"won by {first}"
""",
    ("won by 0", "won by 1"),
)

BEHIND = Written(
    "steps behind a gather",
    """
async def main(ctx):
    await asyncio.gather(*[ctx.run(partial(act, f"m/s1.{i}"), 1) for i in range(2)])
    out = [await ctx.run(act, "m/s2", 1), await ctx.run(act, "m/s3", 2)]
    await ctx.sleep(0.1)
    out.append(await ctx.run(act, "m/s4"))
    return out
""",
    (["m/s2", "m/s3", "m/s4"],),
)

BACKGROUND = Written(
    "an event that a background task sets after a durable wait",
    """
async def main(ctx):
    ev = asyncio.Event()
    async def bg():
        await ctx.sleep(0.1)
        ev.set()
    task = asyncio.create_task(bg())
    await ev.wait()
    return 1
""",
    (1,),
)

JOIN = Written(
    "a queue that workers empty, waited for with join",
    """
async def main(ctx):
    queue, out = asyncio.Queue(), []
    async def worker(w):
        while True:
            item = await queue.get()
            await ctx.sleep(0.1 + 0.01 * item)
            out.append(await ctx.run(partial(act, f"m/s1.{item}")))
            queue.task_done()
    workers = [asyncio.create_task(worker(w)) for w in range(2)]
    for item in range(4):
        queue.put_nowait(item)
    await queue.join()
    for task in workers:
        task.cancel()
    return sorted(out)
""",
    (["m/s1.0", "m/s1.1", "m/s1.2", "m/s1.3"],),
)

LIMITS = Written(
    "Python's own limits of time round durable waits",
    """
async def main(ctx):
    out = []
    try:
        async with asyncio.timeout(0.2):
            await ctx.sleep(5)
    except TimeoutError:
        out.append("timeout")
    async def nap():
        await ctx.sleep(5)
    try:
        await asyncio.wait_for(nap(), 0.3)
    except TimeoutError:
        out.append("wait_for")
    with anyio.move_on_after(0.4) as scope:
        await ctx.sleep(5)
    out.append(f"move_on_after {scope.cancelled_caught}")
    out.append(await ctx.run(act, "m/s1"))
    await asyncio.sleep(0.5)
    return out
""",
    (["timeout", "wait_for", "move_on_after True", "m/s1"],),
)

LIMIT_OF_A_QUESTION = Written(
    "a limit of time round a question",
    """
async def main(ctx):
    try:
        async with asyncio.timeout(0.2):
            answer = await ctx.ask("ok?")
            log(ctx, "answered")
            return await ctx.run(act, "m/ship")
    except TimeoutError:
        log(ctx, "late")
        return await ctx.run(act, "m/refund")
""",
    ("m/ship", "m/refund"),
)

COMPLETED = Written(
    "as_completed, given coroutines",
    """
async def main(ctx):
    async def one(i):
        return await ctx.run(partial(act, f"m/s1.{i}"))
    out = []
    for each in asyncio.as_completed([one(i) for i in range(3)]):
        out.append(await each)
        log(ctx, out[-1])
        await ctx.run(partial(act, f"m/s2.{len(out)}"))
    await ctx.sleep(0.1)
    return sorted(out)
""",
    (["m/s1.0", "m/s1.1", "m/s1.2"],),
)

NEVER_AWAITED = Written(
    "a step that is begun and never awaited",
    """
async def main(ctx):
    await ctx.run(act, "m/s1")
    step = ctx.run(act, "m/s2")
    await ctx.run(act, "m/s3")
    return 1
""",
    (1,),
)

LET_GO = Written(
    "a limit of time that an answer is within, and the steps after it",
    """
async def main(ctx):
    async def question():
        try:
            async with asyncio.timeout(0.7):
                return await ctx.ask("ok?")
        except TimeoutError:
            return "late"
    async def steps():
        return [await ctx.run(partial(act, f"m/s1.{i}")) for i in range(3)]
    answer, done = await asyncio.gather(question(), steps())
    log(ctx, answer)
    return "late" if answer == "late" else "answered"
""",
    ("late", "answered"),
)

CLEAN_UP = Written(
    "branches of a group that are cancelled and say so",
    """
async def main(ctx):
    async def branch(i):
        try:
            await ctx.run(partial(act, f"m/s1.{i}"))
            await ctx.ask("ok?")
        finally:
            log(ctx, f"left {i}")
    async def fails():
        await ctx.run(partial(fail, "m/s2"))
    try:
        async with asyncio.TaskGroup() as group:
            for i in range(4):
                group.create_task(branch(i))
            group.create_task(fails())
    except* ValueError:
        log(ctx, "failed")
    await ctx.sleep(0.1)
    return 1
""",
    (1,),
)

SIGNALS = Written(
    "signals: waited for in branches, sent before they are, and given up",
    """
async def main(ctx):
    out = []
    async def takes(name, times):
        for i in range(times):
            out.append([name, i, await ctx.signal(name)])
            log(ctx, f"{name} {out[-1][2]}")
            await ctx.run(partial(act, f"m/{name}.{i}"))
    await ctx.run(send, "m/s1", "b")
    try:
        async with asyncio.timeout(0.2):
            out.append(await ctx.signal("a"))
    except TimeoutError:
        log(ctx, "given up")
    await asyncio.gather(takes("a", 2), takes("b", 2))
    log(ctx, str(await ctx.signal("c", timeout=0.3, default="late")))
    return sorted([n, i] for n, i, *_ in out if n in "ab" and i in (0, 1))
""",
)

OUTSIDE = Written(
    "a promise that outsiders settle races with a timer and a question",
    """
async def main(ctx):
    outside = ctx.promise()
    async def wait(op):
        return await op
    tasks = [asyncio.create_task(wait(op)) for op in (outside, ctx.sleep(0.4), ctx.ask("ok?"))]
    done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    first = min(tasks.index(task) for task in done)
    log(ctx, f"first {first}")
    await ctx.run(partial(act, f"m/won.{first}"))
    value = await outside
    await ctx.run(act, "m/end", value)
    return value
""",
    ("settled exec:run.1",),
)

STREAMS = Written(
    "streams: written by branches, nested functions and steps, some of which write something else each time",
    """
async def main(ctx):
    out = ctx.stream("s")
    async def nested(ctx, i):
        await ctx.stream("s").write(f"n{i}")
        await ctx.run(partial(tell, f"m/n{i}.0/s1", "s"))
        await ctx.publish(nested=i)
    async def branch(i):
        await out.write([i, 0])
        await ctx.run(partial(tell, f"m/s{i}", "s", i == 1))
        await ctx.publish(**{f"k{i}": i, "last": i})
        await out.write([i, 1], "and more")
    await asyncio.gather(branch(0), branch(1), ctx.run(nested, 0))
    out.write("not awaited")
    await ctx.sleep(0.1)
    await ctx.options(retry=Retry(max_retries=2, delay=0.1)).run(partial(tell, "m/flaky", "t", True, 2))
    out.write("left")
    return "ended"
""",
    ("ended",),
)

GIVEN_UP = Written(
    "streams of a branch that is given up, and of a function that fails",
    """
async def main(ctx):
    async def writes():
        for i in range(3):
            await ctx.stream("s").write(i)
            await ctx.run(partial(tell, f"m/s{i}", "s"))
    try:
        async with asyncio.timeout(0.3):
            await asyncio.gather(writes(), ctx.ask("ok?"))
    except TimeoutError:
        await ctx.stream("s").write("given up")
        await ctx.publish(state="given up")
    await ctx.run(partial(fail, "m/end"))
""",
)

PATCHES = Written(
    "patches asked for in branches, nested functions and loops",
    """
async def main(ctx):
    async def nested(ctx, i):
        if ctx.patched("in"):
            await ctx.run(partial(act, f"m/n{i}.0/s1"))
    async def branch(i):
        for n in range(2):
            name = f"m/s{i}.{n}" if ctx.patched(f"p{i}") else "wrong"
            await ctx.run(partial(act, name))
        return ctx.patched("all")
    got = await asyncio.gather(branch(0), branch(1), ctx.run(nested, 0))
    ctx.patched("last")
    return got
""",
    ([True, True, None],),
)

CHILDREN = Written(
    "child executions: awaited, failed, asking, cancelled",
    """
async def main(ctx):
    async def of(child):
        try:
            return await child
        except ValueError as error:
            return f"failed {error.args}"
    first, failing = ctx.start(helper, "m/a"), ctx.start(helper, "m/b", fails=True)
    asking = ctx.start(helper, "m/c", asks=True)
    got = await asyncio.gather(of(first), of(failing))
    log(ctx, str(got))
    log(ctx, str(await asyncio.gather(of(asking), of(ctx.start(helper, "m/d")))))
    gone = ctx.start(helper, "m/e", asks=True)
    await ctx.run(act, "m/s1")
    log(ctx, str(await gone))
    log(ctx, str(await gone.cancel()))
    return got
""",
)

SAGA = Written(
    "a function that fails undoes what it did, a nested one first",
    """
async def main(ctx):
    async def child(ctx):
        await ctx.run(act, "m/n1")
        ctx.compensate(act, "m/un1")
        await ctx.run(fail, "m/n2")
    for n in range(2):
        await ctx.run(partial(act, f"m/s{n}"))
        ctx.compensate(partial(act, f"m/us{n}"))
    branch = asyncio.gather(ctx.ask("ok?"), ctx.sleep(0.2))
    try:
        await ctx.run(child)
    finally:
        log(ctx, "leaves")
        await branch
""",
)

MAPPED = Written(
    "a map over children, two at a time",
    """
async def main(ctx):
    out = await ctx.map(helper, [f"m/{n}" for n in range(4)], concurrency=2)
    log(ctx, str(out))
    return [*out, *await ctx.map(act, [f"m/s{n}" for n in range(3)], concurrency=2)]
""",
    (["m/0/c1", "m/1/c1", "m/2/c1", "m/3/c1", "m/s0", "m/s1", "m/s2"],),
)

WRITTEN = (
    BRANCHES,
    KEYS,
    RACE,
    RACE_OF_STEPS,
    BEHIND,
    BACKGROUND,
    JOIN,
    LIMITS,
    LIMIT_OF_A_QUESTION,
    COMPLETED,
    NEVER_AWAITED,
    LET_GO,
    CLEAN_UP,
    SIGNALS,
    OUTSIDE,
    CHILDREN,
    MAPPED,
    SAGA,
    STREAMS,
    GIVEN_UP,
    PATCHES,
)


# -- cancelled --------------------------------------------------------------------------------------------------------

HAD = Written(
    "a branch that has its result when the other one is cancelled",
    """
async def main(ctx):
    out = []
    async def one():
        out.append(await ctx.run(act, "m/s1"))
        log(ctx, "one has it")
    try:
        await asyncio.gather(one(), ctx.ask("ok?"))
    finally:
        log(ctx, f"cleans up {out}")
        await ctx.run(act, "m/s2", out)
""",
)

HAD_OF_NESTED = Written(
    "nested functions, some of which have ended when the rest is cancelled",
    """
async def main(ctx):
    out = []
    async def child(ctx, i):
        try:
            await ctx.run(partial(act, f"m/s1.{i}"))
            log(ctx, f"{i} goes on")
            await ctx.run(partial(act, f"m/s2.{i}"))
        finally:
            log(ctx, f"{i} cleans up")
            await ctx.run(partial(act, f"m/s3.{i}"))
    async def branch(i):
        await ctx.run(child, i)
        out.append(i)
        log(ctx, f"{i} has ended")
    try:
        await asyncio.gather(*(branch(i) for i in range(3)))
    finally:
        log(ctx, f"cleans up {out}")
        await ctx.run(act, "m/s4", out)
""",
)

HAD_OF_TIMERS = Written(
    "timers and steps, some of which have come when the rest is cancelled",
    """
async def main(ctx):
    out = []
    async def nap(i):
        await asyncio.sleep(0.3 * i)
        out.append(f"nap {i}")
        log(ctx, out[-1])
    async def step(i):
        out.append(await ctx.run(partial(act, f"m/s1.{i}")))
        log(ctx, out[-1])
    try:
        async with asyncio.TaskGroup() as group:
            for i in range(1, 4):
                group.create_task(nap(i))
                group.create_task(step(i))
    finally:
        log(ctx, f"cleans up {out}")
        for i in range(2):
            out.append(await ctx.run(partial(act, f"m/s2.{i}"), out))
""",
)

CANCELLED = (HAD, HAD_OF_NESTED, HAD_OF_TIMERS)
