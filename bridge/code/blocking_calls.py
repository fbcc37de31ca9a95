"""Calls that hold up an event loop: the table, and where a text makes one (specs/namespace.md, M1). Pure."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping

from durable.core.frozen_record import FrozenRecord

type Resolve = Callable[[str], str | None]
"""A lookup for names that the text does not bind: gives a dotted path, `path()` for an instance of it, or None."""

BLOCKING: Mapping[str, str] = {
    "time.sleep": "await asyncio.sleep(...)",
    "requests.get": "an async HTTP client",
    "requests.post": "an async HTTP client",
    "requests.put": "an async HTTP client",
    "requests.patch": "an async HTTP client",
    "requests.delete": "an async HTTP client",
    "requests.head": "an async HTTP client",
    "requests.request": "an async HTTP client",
    "urllib.request.urlopen": "an async HTTP client",
    "socket.socket().recv*": "asyncio.open_connection(...)",
    "socket.socket().send*": "asyncio.open_connection(...)",
    "socket.socket().accept": "asyncio.start_server(...)",
    "socket.socket().connect": "asyncio.open_connection(...)",
    "socket.create_connection": "asyncio.open_connection(...)",
    "os.system": "asyncio.create_subprocess_shell(...)",
    "subprocess.run": "asyncio.create_subprocess_exec(...)",
    "subprocess.call": "asyncio.create_subprocess_exec(...)",
    "subprocess.check_call": "asyncio.create_subprocess_exec(...)",
    "subprocess.check_output": "asyncio.create_subprocess_exec(...)",
    "subprocess.Popen": "asyncio.create_subprocess_exec(...)",
    "pathlib.Path().read*": "asyncio.to_thread(...)",
    "pathlib.Path().write*": "asyncio.to_thread(...)",
    "open": "asyncio.to_thread(...)",
}
"""Patterns of blocking calls (`*`: any end of the last part), and what to use instead in asynchronous code."""

_SAME = {
    "posix": "os",
    "_io.open": "open",
    "builtins.open": "open",
    "_socket": "socket",
    "pathlib._local": "pathlib",
    "pathlib.PosixPath": "pathlib.Path",
    "requests.api": "requests",
}
"""The names that the interpreter gives to some modules and functions, and their usual names."""

_BUILTIN = frozenset({"open"})


class BlockingCall(FrozenRecord, frozen=True):
    """One call in a text: what is called, in which line, what to use instead."""

    name: str
    line: int
    instead: str


class BlockingTable:
    """Patterns of blocking calls with their advice."""

    def __init__(self, patterns: Mapping[str, str] = BLOCKING) -> None:
        self._exact = {name: instead for name, instead in patterns.items() if not name.endswith("*")}
        self._open = {name[:-1]: instead for name, instead in patterns.items() if name.endswith("*")}
        self._words = frozenset(name.rpartition(".")[2] for name in self._exact)
        self._starts = tuple(start.rpartition(".")[2] for start in self._open)

    def mentions(self, name: str) -> bool:
        """Whether a call of the table can end with this name."""
        return name in self._words or name.startswith(self._starts)

    def with_names(self, names: Iterable[str]) -> BlockingTable:
        """The table with these names added."""
        more = {name: "asyncio.to_thread(...)" for name in names if name}
        return BlockingTable({**self._exact, **{f"{start}*": instead for start, instead in self._open.items()}, **more})

    def advice(self, path: str) -> str | None:
        """The advice for a call of this dotted path; None when it does not block."""
        found = self._exact.get(path)
        if found is not None:
            return found
        for start, instead in self._open.items():
            if path.startswith(start) and "." not in path[len(start) :]:
                return instead
        return None


def canonical(path: str) -> str:
    """The usual dotted path of what has several."""
    for found, usual in _SAME.items():
        if path == found or path.startswith((f"{found}.", f"{found}()")):
            path = usual + path[len(found) :]
    return path


def blocking_calls(tree: ast.AST, table: BlockingTable, resolve: Resolve) -> list[BlockingCall]:
    """The calls of the table, in order of their lines."""
    found = _Reader(table, resolve).read(tree)
    return sorted(found, key=lambda call: call.line)


def names_bound(tree: ast.AST, table: BlockingTable, resolve: Resolve) -> dict[str, str | None]:
    """The names that a text binds at its top level, each with the path of what it is, or None."""
    reader = _Reader(table, resolve)
    reader.read(tree)
    return reader.outermost.names


class _Scope:
    """Names of one function, or of the whole: the path of what each is, or None when that is not known."""

    def __init__(self, resolve: Resolve, outer: _Scope | None = None) -> None:
        self.names: dict[str, str | None] = {}
        self._resolve = resolve
        self._outer = outer

    def lookup(self, name: str) -> str | None:
        if name in self.names:
            return self.names[name]
        if self._outer is not None:
            return self._outer.lookup(name)
        found = self._resolve(name)
        return canonical(found) if found is not None else name if name in _BUILTIN else None


class _Reader:
    """Reads a text in order, statement by statement; functions after the scope around them is known."""

    def __init__(self, table: BlockingTable, resolve: Resolve) -> None:
        self._table = table
        self._resolve = resolve
        self.outermost = _Scope(resolve)
        self._found: list[BlockingCall] = []

    def read(self, tree: ast.AST) -> list[BlockingCall]:
        left = [(tree, self.outermost)]
        while left:
            node, scope = left.pop()
            left += [(inner, self._inside(inner, scope)) for inner in self._visit(node, scope)]
        return self._found

    def _inside(self, function: ast.AST, outer: _Scope) -> _Scope:
        scope = _Scope(self._resolve, outer)
        arguments = getattr(function, "args", None)
        if isinstance(arguments, ast.arguments):
            every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
            scope.names.update((one.arg, None) for one in every if one is not None)
        return scope

    def _visit(self, root: ast.AST, scope: _Scope) -> list[ast.AST]:
        """Visit everything of one scope; returns the functions in it, whose bodies are scopes of their own."""
        functions: list[ast.AST] = []
        left: list[ast.AST] = list(_body(root))[::-1]
        while left:
            node = left.pop()
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                functions.append(node)
                if not isinstance(node, ast.Lambda):
                    scope.names[node.name] = None
                    left += node.decorator_list
                left += [one for one in (*node.args.defaults, *node.args.kw_defaults) if one is not None]
                continue
            if isinstance(node, ast.ClassDef):
                scope.names[node.name] = None
            self._calls(node, scope)
            self._bind(node, scope)
            left += list(ast.iter_child_nodes(node))[::-1]
        return functions

    def _calls(self, node: ast.AST, scope: _Scope) -> None:
        if isinstance(node, ast.Call):
            path = self._path(node.func, scope)
            instead = None if path is None else self._table.advice(path)
            if path is not None and instead is not None:
                self._found.append(BlockingCall(path, node.lineno, instead))

    def _bind(self, node: ast.AST, scope: _Scope) -> None:
        for name, path in self._bindings(node, scope):
            scope.names[name] = path

    def _bindings(self, node: ast.AST, scope: _Scope) -> Iterator[tuple[str, str | None]]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield (
                    alias.asname or alias.name.partition(".")[0],
                    alias.name if alias.asname else alias.name.partition(".")[0],
                )
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}" if not node.level else None
        elif isinstance(node, ast.Assign):
            path = self._path(node.value, scope)
            for target in node.targets:
                yield from _targets(target, path)
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr):
            yield from _targets(node.target, None if node.value is None else self._path(node.value, scope))
        elif isinstance(node, ast.withitem):
            if node.optional_vars is not None:
                yield from _targets(node.optional_vars, self._path(node.context_expr, scope))
        elif isinstance(node, ast.For | ast.AsyncFor | ast.comprehension):
            yield from _targets(node.target, None)

    def _path(self, node: ast.AST, scope: _Scope) -> str | None:
        """The dotted path of what an expression is: names, attributes, calls, and a path joined with `/`."""
        parts: list[str] = []
        while True:
            if isinstance(node, ast.Attribute):
                parts.append(f".{node.attr}")
                node = node.value
            elif isinstance(node, ast.Call):
                parts.append("()")
                node = node.func
            elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
                node = node.left
            elif isinstance(node, ast.Name):
                found = scope.lookup(node.id)
                return None if found is None else found + "".join(reversed(parts))
            else:
                return None


def _body(root: ast.AST) -> Iterator[ast.AST]:
    if isinstance(root, ast.Lambda):
        yield root.body
    elif isinstance(root, ast.FunctionDef | ast.AsyncFunctionDef):
        yield from root.body
    else:
        yield from ast.iter_child_nodes(root)


def _targets(target: ast.AST, path: str | None) -> Iterator[tuple[str, str | None]]:
    if isinstance(target, ast.Name):
        yield target.id, path
    elif isinstance(target, ast.Tuple | ast.List):
        for one in target.elts:
            yield from _targets(one, None)
    elif isinstance(target, ast.Starred):
        yield from _targets(target.value, None)
