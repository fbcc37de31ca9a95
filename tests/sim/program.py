"""A durable function as data: a tree of nodes, and the Python source that it stands for.

Every node is a statement or a compound statement. It has a site, a number that no other node of the program has. A step
has a tag, `<path of its branch>/s<site>`, that no other step of the run has. Most forms of a step hide the tag from the
record (in a closure, a partial, a bound method), so that steps of different branches are equal to an engine and not to
the test.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Node:
    """One statement. `values` are its parameters, `blocks` the statements inside it."""

    kind: str
    site: int
    values: dict[str, Any] = field(default_factory=dict)
    blocks: tuple[tuple[Node, ...], ...] = ()

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def with_values(self, **values: Any) -> Node:
        return replace(self, values={**self.values, **values})

    def to_json(self) -> list[Any]:
        return [self.kind, self.site, self.values, [[node.to_json() for node in block] for block in self.blocks]]

    @staticmethod
    def from_json(data: list[Any]) -> Node:
        kind, site, values, blocks = data
        return Node(kind, site, values, tuple(tuple(Node.from_json(each) for each in block) for block in blocks))


type Block = tuple[Node, ...]


@dataclass(frozen=True)
class Program:
    """A whole function."""

    body: Block

    def source(self) -> str:
        return Source().program(self.body)

    def nodes(self) -> Iterator[Node]:
        def walk(block: Block) -> Iterator[Node]:
            for node in block:
                yield node
                for inner in node.blocks:
                    yield from walk(inner)

        return walk(self.body)

    def to_text(self) -> str:
        return json.dumps([node.to_json() for node in self.body], separators=(",", ":"))

    @staticmethod
    def from_text(text: str) -> Program:
        return Program(tuple(Node.from_json(each) for each in json.loads(text)))


class Source:
    """Writes the Python source of a tree. A function inside has `p`, the path of its branch, and returns `out`."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._depth = 0

    def program(self, body: Block) -> str:
        self._line("async def main(ctx):")
        self._depth += 1
        self._line('p = "m"')
        self._line("out = []")
        self._block(body)
        self._line("return out")
        return "\n".join(self._lines) + "\n"

    # -- lines --------------------------------------------------------------------------------------------------

    def _line(self, text: str) -> None:
        self._lines.append("    " * self._depth + text)

    def _open(self, text: str) -> None:
        self._line(text)
        self._depth += 1

    def _close(self) -> None:
        self._depth -= 1

    def _block(self, block: Block) -> None:
        for node in block:
            getattr(self, f"_{node.kind}")(node)

    def _inside(self, opening: str, block: Block) -> None:
        """A block that may be empty."""
        self._open(opening)
        before = len(self._lines)
        self._block(block)
        if len(self._lines) == before:
            self._line("pass")
        self._close()

    def _branch(self, name: str, block: Block, left: bool = False) -> None:
        """A coroutine function that runs a block on a path of its own. left: it logs when it is left, however."""
        self._open(f"async def {name}(p):")
        self._line("out = []")
        if left:
            self._inside("try:", block)
            self._open("finally:")
            self._line('log(ctx, f"left {p}")')
            self._close()
        else:
            self._block(block)
        self._line("return out")
        self._close()

    def _branches(self, node: Node, letter: str) -> list[str]:
        """Calls of the branches of a node: one function for all, or one for each."""
        for n, block in enumerate(node.blocks[: node["functions"]]):
            self._branch(f"b{node.site}_{n}", block, bool(node.values.get("left")))
        return [
            f'b{node.site}_{min(i, node["functions"] - 1)}(f"{{p}}/{letter}{node.site}.{i}")'
            for i in range(node["count"])
        ]

    # -- operations -----------------------------------------------------------------------------------------------

    def _operation(self, node: Node) -> str:
        """The expression that begins a step."""
        tag, argument = f'f"{{p}}/s{node.site}"', node["argument"]
        run = f'ctx.options(name="{node["name"]}").run' if node.values.get("name") else "ctx.run"
        act = "fail" if node["fails"] else "act"
        match node["form"]:
            case "plain":
                return f"{run}({act}, {tag}, {argument!r})"
            case "partial":
                return f"{run}(partial({act}, {tag}), {argument!r})"
            case "lambda":
                return f"{run}(lambda: {act}_now({tag}))"
            case "thread":
                return f"{run}(partial({act}_now, {tag}), {argument!r})"
            case "method":
                return f"{run}(Teller({tag}).{act}, {argument!r})"
            case "callable":
                return f"{run}(Caller({act}, {tag}), {argument!r})"
            case "local":
                self._open(f"async def s{node.site}(x, tag={tag}):")
                self._line(f"return await {act}(tag, x)")
                self._close()
                return f"{run}(s{node.site}, {argument!r})"
            case form:
                raise AssertionError(form)

    def _step(self, node: Node) -> None:
        operation = self._operation(node)
        if node["fails"] and node["caught"]:
            self._open("try:")
            self._line(f"out.append(await {operation})")
            self._close()
            self._open("except ValueError as error:")
            self._line('out.append(f"caught {error}")')
            self._close()
        else:
            self._line(f"out.append(await {operation})")

    def _later(self, node: Node) -> None:
        self._line(f"o{node.site} = {self._operation(node)}")
        self._block(node.blocks[0])
        self._line(f"out.append(await o{node.site})")

    def _retry(self, node: Node) -> None:
        policy = f"Retry(max_retries={node['retries']}, delay={node['delay']}, factor=1)"
        self._open("try:")
        self._line(
            f"out.append(await ctx.options(retry={policy}).run("
            f'partial(flaky, f"{{p}}/s{node.site}"), {node["failing"]}))'
        )
        self._close()
        self._open("except ValueError as error:")
        self._line('out.append(f"gave up {error}")')
        self._close()

    def _key(self, node: Node) -> None:
        self._line(f'k{node.site} = await ctx.run(partial(key, f"{{p}}/s{node.site}"))')
        self._block(node.blocks[0])
        self._line(
            f'out.append(await ctx.run(partial(charge, f"{{p}}/s{node.site}u"), k{node.site}, {node["argument"]}))'
        )

    def _sleep(self, node: Node) -> None:
        self._line(f"await {'ctx' if node['durable'] else 'asyncio'}.sleep({node['seconds']})")

    def _turn(self, node: Node) -> None:
        self._line("await asyncio.sleep(0)")

    def _ask(self, node: Node) -> None:
        self._line(f"out.append(await ctx.ask({node['question']!r}))")

    def _log(self, node: Node) -> None:
        self._line(f'log(ctx, f"{{p}} line {node.site} {{len(out)}}")')

    def _left_out(self, node: Node) -> None:
        self._line(f"k{node.site} = None  # left out")

    def _return(self, node: Node) -> None:
        self._line("return out  # early")

    # -- many at once ---------------------------------------------------------------------------------------------

    def _gather(self, node: Node) -> None:
        calls = ", ".join(self._branches(node, "g"))
        match node["errors"]:
            case "return":
                self._line(f"r{node.site} = await asyncio.gather({calls}, return_exceptions=True)")
                self._line(f'out.append([r if isinstance(r, list) else f"error {{r}}" for r in r{node.site}])')
            case "catch":
                self._open("try:")
                self._line(f"out.append(await asyncio.gather({calls}))")
                self._close()
                self._open("except ValueError as error:")
                self._line('out.append(f"gather failed: {error}")')
                self._close()
            case _:
                self._line(f"out.append(await asyncio.gather({calls}))")

    def _direct(self, node: Node) -> None:
        tag = f'f"{{p}}/s{node.site}.{{i}}"'
        self._line(
            f"out.append(await asyncio.gather(*[ctx.run(partial(act, {tag}), {node['argument']}) "
            f"for i in range({node['count']})]))"
        )

    def _group(self, node: Node) -> None:
        name = f"g{node.site}"
        calls = self._branches(node, "t")
        self._open("try:")
        self._open(f"async with asyncio.TaskGroup() as {name}:")
        self._line(f"t{node.site} = [{', '.join(f'{name}.create_task({call})' for call in calls)}]")
        self._close()
        self._line(f"out.append([t.result() for t in t{node.site}])")
        self._close()
        self._open("except* ValueError as errors:")
        self._line('out.append(f"group failed: {[str(e) for e in errors.exceptions]}")')
        self._close()

    def _anyio_group(self, node: Node) -> None:
        site = node.site
        self._branch(f"b{site}", node.blocks[0])
        self._line(f"r{site} = []")
        self._open(f"async def a{site}(i, p=p):")
        self._line(f'r{site}.append([i, await b{site}(f"{{p}}/a{site}.{{i}}")])')
        self._close()
        self._open(f"async with anyio.create_task_group() as g{site}:")
        self._open(f"for i in range({node['count']}):")
        self._line(f"g{site}.start_soon(a{site}, i)")
        self._close()
        self._close()
        self._line(f"out.append(r{site})")

    def _wait(self, node: Node) -> None:
        site = node.site
        calls = self._branches(node, "w")
        tasks = ", ".join(f'asyncio.create_task({call}, name="{i}")' for i, call in enumerate(calls))
        self._line(f"t{site} = [{tasks}]")
        self._line(f"done{site}, _ = await asyncio.wait(t{site}, return_when=asyncio.{node['condition']})")
        self._line(f"first{site} = sorted(t.get_name() for t in done{site})")
        self._line(f'log(ctx, f"{{p}} race {site} {{first{site}}}")')
        self._line(f"out.append(first{site})")
        self._inside(f'if first{site}[0] == "0":', node.blocks[-2])
        self._inside("else:", node.blocks[-1])
        match node["rest"]:
            case "cancel":
                self._open(f"for t in t{site}:")
                self._line("t.cancel()")
                self._close()
                self._line(f"await asyncio.wait(t{site})")
                self._line(f"out.append([None if t.cancelled() else t.result() for t in t{site}])")
            case "await":
                self._line(f"out.append(await asyncio.gather(*t{site}))")
            case _:
                pass

    def _futures(self, node: Node) -> None:
        """`asyncio.wait` for futures of all kinds; the order of the sets that it returns is seen."""
        site = node.site
        calls = self._branches(node, "u")
        self._line(f"u{site}, kept{site} = {{}}, []")
        self._open(f"async def fill{site}(future, branch):")
        self._open("try:")
        self._line("found = await branch")
        self._close()
        self._open("except BaseException:")
        self._line("future.cancel()")
        self._line("raise")
        self._close()
        self._open("if not future.done():")
        self._line("future.set_result(found)")
        self._close()
        self._close()
        for i, (kind, call) in enumerate(zip(node["kinds"], calls, strict=True)):
            made = {
                "task": f"asyncio.create_task({call})",
                "shield": f"asyncio.shield({call})",
                "gather": f"asyncio.gather({call})",
                "future": "asyncio.get_running_loop().create_future()",
            }[kind]
            self._line(f"f{site} = {made}")
            self._line(f'u{site}[f{site}] = "{i}"')
            if kind == "future":
                self._line(f"kept{site}.append(asyncio.create_task(fill{site}(f{site}, {call})))")
        condition = f"asyncio.{node['condition']}"
        self._line(f"done{site}, rest{site} = await asyncio.wait(set(u{site}), return_when={condition})")
        self._line(f'log(ctx, f"{{p}} futures {site} {{[u{site}[f] for f in done{site}]}}")')
        self._open(f"for f{site} in [*done{site}, *rest{site}]:")
        self._line(f'out.append(await ctx.run(partial(act, f"{{p}}/s{site}.{{u{site}[f{site}]}}"), 1))')
        self._close()
        if node["rest"] == "leave":
            return
        if node["rest"] == "cancel":
            self._open(f"for f{site} in rest{site}:")
            self._line(f"f{site}.cancel()")
            self._close()
        self._line(f"await asyncio.wait(set(u{site}))")
        self._line(f"out.append([came(f) for f in u{site}])")

    # -- what cleans up -------------------------------------------------------------------------------------------

    def _guard(self, node: Node) -> None:
        """Round the whole of a program that may be cancelled: what it had come to is seen."""
        self._inside("try:", node.blocks[0])
        self._open("finally:")
        self._line('log(ctx, f"end {out}")')
        self._line('await ctx.run(partial(act, "m/s0"), out)')
        self._close()

    def _clean_up(self, node: Node) -> None:
        body, caught, last = node.blocks
        self._inside("try:", body)
        self._open("except asyncio.CancelledError:")
        self._line(f'log(ctx, f"{{p}} cancelled {node.site} {{out}}")')
        self._line(f'out.append("cancelled {node.site}")')
        self._block(caught)
        self._line("raise")
        self._close()
        self._inside("finally:", last)

    def _stream(self, node: Node) -> None:
        """An asynchronous generator, which may be left before its end: closed, or dropped."""
        site = node.site
        self._branch(f"each{site}", node.blocks[0])
        self._branch(f"last{site}", node.blocks[1])
        self._open(f"async def stream{site}(p):")
        self._open("try:")
        self._open(f"for i in range({node['count']}):")
        self._line(f'yield await each{site}(f"{{p}}/y{site}.{{i}}")')
        self._close()
        self._close()
        self._open("finally:")
        self._line(f'log(ctx, f"{{p}} left the stream {site}")')
        self._line(f'log(ctx, f"{{p}} {{await last{site}(f"{{p}}/z{site}")}}")')
        self._close()
        self._close()
        made = f"stream{site}(p)"
        if node["inside"]:
            self._open(f"async def outer{site}(p):")
            self._open(f"async for x in {made}:")
            self._line("yield [x]")
            self._close()
            self._close()
            made = f"outer{site}(p)"
        self._line(f"n{site} = 0")
        if node["closing"]:
            self._open(f"async with aclosing({made}) as a{site}:")
            made = f"a{site}"
        self._open(f"async for x{site} in {made}:")
        self._line(f"out.append(x{site})")
        self._line(f"n{site} += 1")
        self._open(f"if n{site} == {node['taken']}:")
        self._line("break")
        self._close()
        self._close()
        if node["closing"]:
            self._close()

    def _completed(self, node: Node) -> None:
        site = node.site
        self._branch(f"each{site}", node.blocks[-1])
        calls = self._branches(node, "o")
        if node["tasks"]:
            calls = [f"asyncio.create_task({call})" for call in calls]
        self._line(f"n{site} = 0")
        self._open(f"for f{site} in asyncio.as_completed([{', '.join(calls)}]):")
        self._line(f"out.append(await f{site})")
        self._line(f'log(ctx, f"{{p}} came {site} {{out[-1]}}")')
        self._line(f'out.append(await each{site}(f"{{p}}/e{site}.{{n{site}}}"))')
        self._line(f"n{site} += 1")
        self._close()

    # -- limits of time ---------------------------------------------------------------------------------------------

    def _late(self, site: int) -> None:
        self._open("except TimeoutError:")
        self._line(f'out.append("late {site}")')
        self._line(f'log(ctx, f"{{p}} late {site}")')
        self._close()

    def _wait_for(self, node: Node) -> None:
        self._branch(f"b{node.site}", node.blocks[0])
        self._open("try:")
        self._line(f'out.append(await asyncio.wait_for(b{node.site}(f"{{p}}/f{node.site}"), {node["seconds"]}))')
        self._close()
        self._late(node.site)

    def _timeout(self, node: Node) -> None:
        self._open("try:")
        self._inside(f"async with asyncio.timeout({node['seconds']}):", node.blocks[0])
        self._close()
        self._late(node.site)

    def _fail_after(self, node: Node) -> None:
        self._open("try:")
        self._inside(f"with anyio.fail_after({node['seconds']}):", node.blocks[0])
        self._close()
        self._late(node.site)

    def _move_on(self, node: Node) -> None:
        self._inside(f"with anyio.move_on_after({node['seconds']}) as scope{node.site}:", node.blocks[0])
        self._line(f'out.append(f"moved on {{scope{node.site}.cancelled_caught}}")')

    def _shield(self, node: Node) -> None:
        site = node.site
        self._branch(f"b{site}", node.blocks[0])
        self._line(f't{site} = asyncio.create_task(b{site}(f"{{p}}/h{site}"))')
        self._open("try:")
        self._line(f"out.append(await asyncio.wait_for(asyncio.shield(t{site}), {node['seconds']}))")
        self._close()
        self._late(site)
        self._line(f"out.append(await t{site})")

    def _cancel(self, node: Node) -> None:
        site = node.site
        self._branch(f"b{site}", node.blocks[0], left=True)
        self._line(f't{site} = asyncio.create_task(b{site}(f"{{p}}/c{site}"))')
        self._block(node.blocks[1])
        self._line(f"t{site}.cancel()")
        self._line(f"await asyncio.wait([t{site}])")
        self._line(f'out.append("cancelled" if t{site}.cancelled() else t{site}.result())')

    # -- tasks that meet ----------------------------------------------------------------------------------------------

    def _queue(self, node: Node) -> None:
        site = node.site
        self._branch(f"item{site}", node.blocks[0])
        self._line(f"q{site}, done{site} = asyncio.Queue({node['size']}), []")
        self._open(f"async def worker{site}(w, p=p):")
        self._open("while True:")
        self._line(f"i = await q{site}.get()")
        self._open("try:")
        self._line(f'done{site}.append([w, i, await item{site}(f"{{p}}/q{site}.{{i}}")])')
        self._close()
        self._open("finally:")
        self._line(f"q{site}.task_done()")
        self._close()
        self._close()
        self._close()
        self._line(f"t{site} = [asyncio.create_task(worker{site}(w)) for w in range({node['workers']})]")
        self._open("try:")
        self._open(f"for i in range({node['count']}):")
        self._line(f"await q{site}.put(i)")
        self._close()
        self._line(f"await q{site}.join()")
        self._close()
        self._open("finally:")
        self._open(f"for t in t{site}:")
        self._line("t.cancel()")
        self._close()
        self._close()
        self._line(f"await asyncio.wait(t{site})")
        self._line(f"out.append(done{site})")

    def _event(self, node: Node) -> None:
        site = node.site
        self._branch(f"b{site}", node.blocks[0])
        self._line(f"event{site} = asyncio.Event()")
        self._open(f"async def set{site}(p=p):")
        self._line(f'out.append(await b{site}(f"{{p}}/v{site}"))')
        self._line(f"event{site}.set()")
        self._close()
        self._line(f"t{site} = asyncio.create_task(set{site}())")
        self._block(node.blocks[1])
        self._line(f"await event{site}.wait()")

    def _lock(self, node: Node) -> None:
        site = node.site
        self._branch(f"b{site}", node.blocks[0])
        made = "asyncio.Lock()" if node["permits"] == 1 else f"asyncio.Semaphore({node['permits']})"
        self._branch(f"before{site}", node.blocks[1])
        self._line(f"lock{site}, order{site} = {made}, []")
        self._open(f"async def hold{site}(i, p=p):")
        self._line(f'out.append(await before{site}(f"{{p}}/l{site}.{{i}}"))')
        self._open(f"async with lock{site}:")
        self._line(f"order{site}.append(i)")
        self._line(f'return await b{site}(f"{{p}}/k{site}.{{i}}")')
        self._close()
        self._close()
        self._line(f"out.append(await asyncio.gather(*[hold{site}(i) for i in range({node['count']})]))")
        self._line(f"out.append(order{site})")

    def _condition(self, node: Node) -> None:
        site = node.site
        self._branch(f"b{site}", node.blocks[0])
        self._line(f"cond{site}, box{site} = asyncio.Condition(), []")
        self._open(f"async def make{site}(i, p=p):")
        self._line(f'r = await b{site}(f"{{p}}/m{site}.{{i}}")')
        self._open(f"async with cond{site}:")
        self._line(f"box{site}.append([i, r])")
        self._line(f"cond{site}.notify_all()")
        self._close()
        self._close()
        self._open(f"async def take{site}():")
        self._open(f"async with cond{site}:")
        self._line(f"await cond{site}.wait_for(lambda: len(box{site}) >= {max(1, node['count'] - 1)})")
        self._line(f"return list(box{site})")
        self._close()
        self._close()
        self._line(f"t{site} = asyncio.create_task(take{site}())")
        self._line(f"await asyncio.gather(*[make{site}(i) for i in range({node['count']})])")
        self._line(f"out.append(await t{site})")

    # -- nested functions ------------------------------------------------------------------------------------------

    def _child(self, node: Node) -> None:
        """One or more functions with a context of their own, at once."""
        site = node.site
        for n, block in enumerate(node.blocks):
            self._open(f'async def child{site}_{n}(ctx, p=f"{{p}}/n{site}.{n}"):')
            self._line("out = []")
            if node["errors"]:
                self._inside("try:", block)
                self._open("except Exception:")
                self._line("ended(p)")
                self._line("raise")
                self._close()
            else:
                self._block(block)
            self._line("ended(p)")
            self._line("return out")
            self._close()
        names = [f"ctx.run(child{site}_{n})" for n in range(len(node.blocks))]
        if node["errors"]:
            self._open("try:")
        if len(names) == 1:
            self._line(f"out.append(await {names[0]})")
        else:
            self._line(f"out.append(await asyncio.gather({', '.join(names)}))")
        if node["errors"]:
            self._close()
            self._open("except ValueError as error:")
            self._line('out.append(f"child failed: {error}")')
            self._close()
