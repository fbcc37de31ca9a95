"""Programs from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from .program import Block, Node, Program

DEPTH_MAX = 3
"""Compound statements inside one another: deeper ones take long and find nothing else."""
STEPS_MAX = 14
"""Steps that a run of the program makes, about."""


@dataclass(frozen=True)
class Scope:
    """Where a block stands. `times`: how often it runs. `cancelled`: it may be cancelled, so a step that blocks a
    thread and cannot be stopped has no place in it. `anyio`: a cancelled await is cancelled again and again."""

    depth: int = 0
    times: int = 1
    cancelled: bool = False
    anyio: bool = False


class Generator:
    """Draws one program."""

    def __init__(self, seed: int, *, cancelled: bool = False) -> None:
        self._random = random.Random(f"program {seed}")
        self._scope = Scope(cancelled=cancelled)
        self._site = 0
        self._left = float(self._random.randint(4, STEPS_MAX))

    def program(self) -> Program:
        body: list[Node] = []
        while self._left > 0 and len(body) < 6:
            body.append(self._node(self._scope))
        if self._random.random() < 0.5:
            body.append(self._pause(self._scope))
        body.append(self._step(self._scope))
        if self._scope.cancelled:
            body = [Node("guard", 0, {}, (tuple(body),))]
        return Program(tuple(body))

    # -- parts --------------------------------------------------------------------------------------------------

    def _next(self) -> int:
        self._site += 1
        return self._site

    def _seconds(self) -> float:
        """A duration that no other site has."""
        return round(self._random.randint(2, 24) / 10 + self._next() / 1000, 3)

    def _block(self, scope: Scope, most: int = 2) -> Block:
        return tuple(self._node(scope) for _ in range(self._random.randint(1, most)))

    def _node(self, scope: Scope) -> Node:
        chosen = self._random
        if scope.depth >= DEPTH_MAX or self._left <= 0 or chosen.random() < 0.3 + 0.1 * scope.depth:
            kinds = ["step"] * 8 + ["pause"] * 2 + ["ask"] * 2 + ["log", "turn", "later", "key", "retry", "retry"]
            if self._left <= 0:
                kinds = ["step"] * 4 + ["log", "turn"]
            return self._simple(chosen.choice(kinds), scope)
        compound = chosen.choice(
            ["gather"] * 3
            + ["group"] * 2
            + ["wait"] * 3
            + ["completed"] * 2
            + ["queue"] * 2
            + ["child"] * 2
            + ["later", "key", "direct", "anyio_group", "wait_for", "timeout", "fail_after", "move_on", "shield"]
            + ["cancel", "event", "lock", "condition"]
            + ["clean_up"] * 2
            + ["futures"] * 2
            + ["stream"] * 2
        )
        node: Node = getattr(self, f"_{compound}")(replace(scope, depth=scope.depth + 1))
        return node

    def _simple(self, kind: str, scope: Scope) -> Node:
        match kind:
            case "log" | "turn":
                return Node(kind, self._next())
            case _:
                node: Node = getattr(self, f"_{kind}")(scope)
                return node

    def _step(self, scope: Scope, *, fails: bool = False) -> Node:
        self._left -= scope.times
        forms = ["plain", "partial", "partial", "method", "callable", "local"]
        if not scope.cancelled:
            forms += ["lambda", "lambda", "thread"]
        caught = not fails and self._random.random() < 0.12
        values = {
            "form": self._random.choice(forms),
            "argument": self._random.choice([1, 1, 2, "x"]),
            "fails": fails or caught,
            "caught": caught,
            "name": self._random.choice([None, None, None, "n1", "n2"]),
        }
        return Node("step", self._next(), values)

    def _retry(self, scope: Scope) -> Node:
        """A step that fails some times first; without enough retries it fails for good."""
        failing, retries = self._random.choice([(1, 1), (1, 2), (2, 2), (2, 3), (1, 0), (2, 1)])
        self._left -= min(failing, retries) + 1
        delay = self._random.choice([0.0, 0.65, 0.65, 1.65, 1.65, 6.05])  # the last one holds nothing meanwhile
        site = self._next()
        return Node("retry", site, {"failing": failing, "retries": retries, "delay": delay and delay + site / 1000})

    def _pause(self, scope: Scope) -> Node:
        return Node("sleep", self._next(), {"durable": self._random.random() < 0.6, "seconds": self._seconds()})

    def _ask(self, scope: Scope) -> Node:
        self._left -= scope.times
        return Node("ask", self._next(), {"question": self._random.choice(["ok?", "ok?", "who?"])})

    def _later(self, scope: Scope) -> Node:
        step = self._step(scope).with_values(fails=False, caught=False)
        return replace(step, kind="later", blocks=(self._block(scope),))

    def _key(self, scope: Scope) -> Node:
        self._left -= 2 * scope.times
        inner = self._block(scope, 1) if self._random.random() < 0.5 else ()
        return Node("key", self._next(), {"argument": self._random.choice([5, 5, 7])}, (inner,))

    # -- branches -----------------------------------------------------------------------------------------------

    def _branched(self, scope: Scope, fewest: int = 2) -> tuple[int, int, list[Block]]:
        """Count of branches, count of functions for them, their blocks."""
        count = self._random.randint(fewest, 3)
        functions = 1 if self._random.random() < 0.5 else count
        times = scope.times * (count if functions == 1 else 1)
        return count, functions, [self._block(replace(scope, times=times)) for _ in range(functions)]

    def _with_failure(self, blocks: list[Block], scope: Scope) -> list[Block]:
        """The blocks, one of which ends with a failure that it does not catch."""
        n = self._random.randrange(len(blocks))
        return [(*block, self._step(scope, fails=True)) if i == n else block for i, block in enumerate(blocks)]

    def _gather(self, scope: Scope) -> Node:
        errors = self._random.choice(["", "", "", "return", "catch"])
        count, functions, blocks = self._branched(scope)
        if errors:
            blocks = self._with_failure(blocks, scope)
        return Node("gather", self._next(), {"count": count, "functions": functions, "errors": errors}, tuple(blocks))

    def _group(self, scope: Scope) -> Node:
        fails = self._random.random() < 0.3
        inner = replace(scope, cancelled=scope.cancelled or fails)
        count, functions, blocks = self._branched(inner)
        if fails:
            blocks = self._with_failure(blocks, inner)
        left = self._random.random() < 0.5
        return Node("group", self._next(), {"count": count, "functions": functions, "left": left}, tuple(blocks))

    def _direct(self, scope: Scope) -> Node:
        count = self._random.randint(2, 4)
        self._left -= count * scope.times
        return Node("direct", self._next(), {"count": count, "argument": self._random.choice([1, 2])})

    def _anyio_group(self, scope: Scope) -> Node:
        count = self._random.randint(2, 3)
        block = self._block(replace(scope, times=scope.times * count))
        return Node("anyio_group", self._next(), {"count": count}, (block,))

    def _wait(self, scope: Scope) -> Node:
        condition = self._random.choice(["FIRST_COMPLETED"] * 3 + ["ALL_COMPLETED"])
        rest = self._random.choice(["cancel", "await", "leave"])
        inner = replace(scope, cancelled=scope.cancelled or rest != "await")
        count, functions, blocks = self._branched(inner)
        ways = [(self._step(scope),), (self._step(scope),)]
        values = {"condition": condition, "rest": rest, "count": count, "functions": functions}
        return Node("wait", self._next(), values, (*blocks, *ways))

    def _completed(self, scope: Scope) -> Node:
        count, functions, blocks = self._branched(scope)
        each = self._block(replace(scope, times=scope.times * count, depth=DEPTH_MAX), 1)
        values = {"count": count, "functions": functions, "tasks": self._random.random() < 0.5}
        return Node("completed", self._next(), values, (*blocks, each))

    def _futures(self, scope: Scope) -> Node:
        rest = self._random.choice(["cancel", "cancel", "await", "leave"])
        count, functions, blocks = self._branched(replace(scope, cancelled=scope.cancelled or rest != "await"), 3)
        self._left -= count * scope.times
        kinds = ["task", "shield", "shield", "gather", "gather", "future", "future"]
        values = {
            "condition": self._random.choice(["FIRST_COMPLETED"] * 3 + ["ALL_COMPLETED"]),
            "rest": rest,
            "count": count,
            "functions": functions,
            "kinds": [self._random.choice(kinds) for _ in range(count)],
        }
        return Node("futures", self._next(), values, tuple(blocks))

    # -- what cleans up -----------------------------------------------------------------------------------------

    def _clean_up(self, scope: Scope) -> Node:
        body = self._block(scope)
        caught = self._block(replace(scope, depth=DEPTH_MAX), 1) if self._random.random() < 0.6 else ()
        return Node("clean_up", self._next(), {}, (body, caught, self._block(replace(scope, depth=DEPTH_MAX))))

    def _stream(self, scope: Scope) -> Node:
        count = self._random.randint(2, 3)
        each = self._block(replace(scope, times=scope.times * count, depth=max(2, scope.depth)), 1)
        values = {
            "count": count,
            "taken": self._random.randint(1, count + 1),
            "closing": self._random.random() < 0.5,
            "inside": self._random.random() < 0.3,
        }
        return Node("stream", self._next(), values, (each, self._block(replace(scope, depth=DEPTH_MAX))))

    # -- limits -------------------------------------------------------------------------------------------------

    def _limit(self, kind: str, scope: Scope) -> Node:
        block = self._block(replace(scope, cancelled=True))
        return Node(kind, self._next(), {"seconds": self._seconds()}, (block,))

    def _wait_for(self, scope: Scope) -> Node:
        return self._limit("wait_for", scope)

    def _timeout(self, scope: Scope) -> Node:
        return self._limit("timeout", scope)

    def _fail_after(self, scope: Scope) -> Node:
        return self._limit("fail_after", replace(scope, anyio=True))

    def _move_on(self, scope: Scope) -> Node:
        return self._limit("move_on", replace(scope, anyio=True))

    def _shield(self, scope: Scope) -> Node:
        return Node("shield", self._next(), {"seconds": self._seconds()}, (self._block(scope),))

    def _cancel(self, scope: Scope) -> Node:
        block = self._block(replace(scope, cancelled=True))
        return Node("cancel", self._next(), {}, (block, self._block(scope, 1)))

    # -- tasks that meet ------------------------------------------------------------------------------------------

    def _queue(self, scope: Scope) -> Node:
        count = self._random.randint(2, 4)
        block = self._block(replace(scope, times=scope.times * count, depth=max(2, scope.depth), cancelled=True), 1)
        values = {"count": count, "workers": self._random.randint(1, 3), "size": self._random.choice([0, 0, 1])}
        return Node("queue", self._next(), values, (block,))

    def _event(self, scope: Scope) -> Node:
        return Node("event", self._next(), {}, (self._block(scope), self._block(scope, 1)))

    def _lock(self, scope: Scope) -> Node:
        count = self._random.randint(2, 3)
        inner = replace(scope, times=scope.times * count)
        values = {"count": count, "permits": self._random.choice([1, 1, 2])}
        return Node("lock", self._next(), values, (self._block(inner, 1), self._block(replace(inner, depth=3), 1)))

    def _condition(self, scope: Scope) -> Node:
        count = self._random.randint(2, 3)
        return Node("condition", self._next(), {"count": count}, (self._block(replace(scope, times=count), 1),))

    def _child(self, scope: Scope) -> Node:
        blocks = [self._block(scope) for _ in range(self._random.choice([1, 1, 2, 3]))]
        errors = self._random.random() < 0.2
        if errors:
            blocks = self._with_failure(blocks, scope)
        return Node("child", self._next(), {"errors": errors}, tuple(blocks))


def generate(seed: int, *, cancelled: bool = False) -> Program:
    """The program of a seed. cancelled: it is one whose execution may be cancelled."""
    return Generator(seed, cancelled=cancelled).program()
