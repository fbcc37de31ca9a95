"""One durable function, gone through statement by statement: what in it a replay would not do again in the same way.

What runs elsewhere is left out: the functions that steps are made of, classes, functions that are only passed on. A
helper of the same module that is called directly is gone through too, since its code runs in the function.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from durable.lint import rules
from durable.lint.module_names import AnyFunction, ModuleNames
from durable.lint.rules import LintRule


@dataclass(frozen=True, slots=True)
class LintFinding:
    """Something that is wrong at one place. line, column: from 1."""

    code: str
    line: int
    column: int
    function: str
    message: str
    instead: str

    @property
    def reason(self) -> str:
        """Why it is wrong in a durable function."""
        return rules.RULES[self.code].reason


_SETS = ("set", "frozenset")
_ORDERED = frozenset({"list", "tuple", "enumerate", "iter", "reversed", "zip", "map", "filter"})
"""Builtins that hand on the order of what they are given."""


class FunctionCheck(ast.NodeVisitor):
    """The check of one function's body."""

    def __init__(
        self, names: ModuleNames, function: AnyFunction, shown: str, *, owner: str = "", skip: int = 0
    ) -> None:
        self._names = names
        self._shown = shown
        self._owner = owner
        self._function = function
        parameters = [*function.args.posonlyargs, *function.args.args]
        self._receiver = parameters[0].arg if skip and parameters else ""
        self._contexts = {each.arg for each in parameters[skip : skip + 1]}
        self._local = frozenset(_local_names(function))
        self._globals = {name for node in _own_nodes(function) if isinstance(node, ast.Global) for name in node.names}
        self._nested = {node.name: node for node in _own_nodes(function) if isinstance(node, _FUNCTIONS)}
        self._sets = _set_names(function, parameters)
        self._used = {
            node.id for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
        }
        self._inside: set[str] = set()
        self.found: list[LintFinding] = []
        self.called: list[tuple[str, AnyFunction]] = []
        """Functions of this module whose code runs in this one, with the class that they are of."""

    def check(self) -> list[LintFinding]:
        """Everything that is wrong in it."""
        for statement in self._function.body:
            self.visit(statement)
        return self.found

    def _tell(self, rule: LintRule, node: ast.AST, what: str, instead: str) -> None:
        line, column = getattr(node, "lineno", 1), getattr(node, "col_offset", 0) + 1
        self.found.append(LintFinding(rule.code, line, column, self._shown, what, instead))

    # -- what runs elsewhere ----------------------------------------------------------------------------------------

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """A function inside: its code runs where it is called."""

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        """As `visit_FunctionDef`."""

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """A class inside: its methods run where they are called."""

    def _visit_inside(self, name: str) -> None:
        """A function inside that is called directly."""
        if name not in self._inside:
            self._inside.add(name)
            for statement in self._nested[name].body:
                self.visit(statement)

    # -- calls ------------------------------------------------------------------------------------------------------

    def visit_Call(self, node: ast.Call) -> None:
        method = self._method_of_context(node.func)
        if method is not None:
            self._visit_operation(node, method)
            return
        name = self._names.full_name(node.func, self._local)
        if name is not None:
            self._check_call(node, name)
        self._check_path(node)
        self._check_set_call(node)
        self._check_mutation(node)
        self._follow(node)
        self.generic_visit(node)

    def _method_of_context(self, node: ast.expr) -> str | None:
        """The method that is called on the context, or on what `ctx.options(…)` gave."""
        if not isinstance(node, ast.Attribute):
            return None
        return node.attr if self._is_context(node.value) else None

    def _is_context(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Name):
            return node.id in self._contexts
        options = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "options"
        return options and self._is_context(node.func.value)  # type: ignore[attr-defined]

    def _visit_operation(self, node: ast.Call, method: str) -> None:
        """Its arguments are computed here, the function that it runs is not."""
        arguments = [*node.args, *(each.value for each in node.keywords)]
        for place, argument in enumerate(arguments):
            elsewhere = method in rules.TAKE_STEPS and place == 0
            if not elsewhere or not isinstance(argument, ast.Lambda | ast.Name | ast.Attribute):
                self.visit(argument)
        if isinstance(node.func, ast.Attribute):
            self.visit(node.func.value)

    def _check_call(self, node: ast.Call, name: str) -> None:
        if name in rules.ALLOWED and (node.args or node.keywords):
            return
        found = rules.CALLS.get(name)
        if found is None:
            package = next((each for each in rules.PACKAGES if name.startswith(f"{each}.")), None)
            if package is None or (name.rpartition(".")[2][:1].isupper() and name.endswith(("Error", "Exception"))):
                return
            found = rules.PACKAGES[package]
        if name == "time.localtime" and node.args:
            return
        self._tell(found[0], node, f"{name}()", found[1])

    def _check_path(self, node: ast.Call) -> None:
        """`Path(…).read_text()`."""
        if not isinstance(node.func, ast.Attribute) or node.func.attr not in rules.PATH_METHODS:
            return
        inner = node.func.value
        if isinstance(inner, ast.Call) and self._names.full_name(inner.func, self._local) == "pathlib.Path":
            self._tell(rules.IO, node, f"Path(…).{node.func.attr}()", "put it into a step: await ctx.run(…)")

    def _follow(self, node: ast.Call) -> None:
        """The code of a function of this module that is called directly runs here."""
        function = node.func
        if isinstance(function, ast.Name):
            if function.id in self._nested:
                self._visit_inside(function.id)
            elif function.id in self._names.functions and function.id not in self._local:
                self.called.append(("", self._names.functions[function.id]))
        elif isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
            method = self._names.methods.get((self._owner, function.attr))
            if self._receiver and function.value.id == self._receiver and method is not None:
                self.called.append((self._owner, method))

    def visit_Raise(self, node: ast.Raise) -> None:
        """An error that is made to be raised does nothing, whatever module it is of."""
        for raised in (node.exc, node.cause):
            if isinstance(raised, ast.Call):
                for argument in (*raised.args, *(each.value for each in raised.keywords)):
                    self.visit(argument)
            elif raised is not None:
                self.visit(raised)

    # -- the environment, and what is shared ------------------------------------------------------------------------

    def visit_Attribute(self, node: ast.Attribute) -> None:
        name = self._names.full_name(node, self._local)
        if name in rules.ENVIRONMENT_NAMES:
            self._tell(rules.ENVIRONMENT, node, name, "an argument of the function, or a step")
            return
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        name = self._names.full_name(node, self._local)
        if name in rules.ENVIRONMENT_NAMES and node.id != name:
            self._tell(rules.ENVIRONMENT, node, name, "an argument of the function, or a step")

    def visit_Assign(self, node: ast.Assign) -> None:
        self._check_targets(node.targets)
        if isinstance(node.value, ast.Call) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if self._method_of_context(node.value.func) == "options":
                self._contexts.add(name)
            elif name not in self._used:
                self._check_unawaited(node.value)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._check_targets([node.target])
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self._check_targets([node.target])
            self.visit(node.value)

    def visit_Delete(self, node: ast.Delete) -> None:
        self._check_targets(node.targets)

    def _check_targets(self, targets: Iterable[ast.expr]) -> None:
        for target in targets:
            if isinstance(target, ast.Tuple | ast.List):
                self._check_targets(target.elts)
            elif isinstance(target, ast.Name):
                if target.id in self._globals:
                    self._tell(rules.SHARED, target, f"global {target.id} is assigned", "a local variable, or a step")
            elif isinstance(target, ast.Attribute | ast.Subscript):
                root = self._shared_root(target.value)
                if root is not None:
                    self._tell(rules.SHARED, target, f"{root} is changed", "a local variable, or a step")

    def _check_mutation(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Attribute) and node.func.attr in rules.MUTATORS:
            root = self._shared_root(node.func.value)
            if root is not None and self._is_collection(root):
                self._tell(rules.SHARED, node, f"{root}.{node.func.attr}() changes it", "a local variable, or a step")

    def _shared_root(self, node: ast.expr) -> str | None:
        """The variable of the module that an expression begins with; a module that was imported is one too."""
        while isinstance(node, ast.Attribute | ast.Subscript):
            node = node.value
        if not isinstance(node, ast.Name) or node.id in self._local:
            return None
        known = node.id in self._names.assigned or node.id in self._names.imported
        return node.id if known else None

    def _is_collection(self, name: str) -> bool:
        value = self._names.assigned.get(name)
        if isinstance(value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp):
            return True
        made = self._names.full_name(value.func) if isinstance(value, ast.Call) else None
        return (made or "").rpartition(".")[2] in {
            "list",
            "dict",
            "set",
            "defaultdict",
            "Counter",
            "deque",
            "OrderedDict",
        }

    # -- the order of sets --------------------------------------------------------------------------------------------

    def visit_For(self, node: ast.For) -> None:
        self._check_order(node.iter)
        self._check_targets([node.target])
        self.generic_visit(node)

    def visit_ListComp(self, node: ast.ListComp) -> None:
        self._visit_comprehension(node)

    def visit_DictComp(self, node: ast.DictComp) -> None:
        self._visit_comprehension(node)

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> None:
        """Whoever takes it may not care for the order, as `any` and `sorted` do not; operations in it do."""
        self._visit_unordered(node)

    def visit_SetComp(self, node: ast.SetComp) -> None:
        self._visit_unordered(node)

    def _visit_unordered(self, node: ast.GeneratorExp | ast.SetComp) -> None:
        inside = (each.func for each in ast.walk(node.elt) if isinstance(each, ast.Call))
        if any(self._method_of_context(function) for function in inside):
            self._visit_comprehension(node)
        else:
            self.generic_visit(node)

    def _visit_comprehension(self, node: ast.ListComp | ast.DictComp | ast.GeneratorExp | ast.SetComp) -> None:
        for generator in node.generators:
            self._check_order(generator.iter)
        self.generic_visit(node)

    def visit_Starred(self, node: ast.Starred) -> None:
        self._check_order(node.value)
        self.generic_visit(node)

    def _check_set_call(self, node: ast.Call) -> None:
        name = node.func.id if isinstance(node.func, ast.Name) else None
        joins = isinstance(node.func, ast.Attribute) and node.func.attr == "join"
        if (name in _ORDERED and name not in self._local) or joins:
            for argument in node.args:
                self._check_order(argument)
        if isinstance(node.func, ast.Attribute) and node.func.attr == "pop" and not node.args:
            self._check_order(node.func.value)

    def _check_order(self, node: ast.expr) -> None:
        if isinstance(node, ast.GeneratorExp):
            for generator in node.generators:
                self._check_order(generator.iter)
        elif self._is_set(node) and not _all_numbers(node):
            self._tell(rules.SET_ORDER, node, "a set is gone through", "sorted(…), or a dict or a list")

    def _is_set(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Set | ast.SetComp):
            return True
        if isinstance(node, ast.Name):
            return node.id in self._sets
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr | ast.BitAnd | ast.Sub | ast.BitXor):
            return self._is_set(node.left) or _is_keys(node.left)
        return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _SETS

    # -- operations that nobody awaits -----------------------------------------------------------------------------

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call):
            self._check_unawaited(node.value)
        self.generic_visit(node)

    def _check_unawaited(self, call: ast.Call) -> None:
        method = self._method_of_context(call.func)
        if method in rules.OPERATIONS:
            self._tell(rules.UNAWAITED, call, f"ctx.{method}(…) is begun and not awaited", f"await ctx.{method}(…)")
        elif self._names.full_name(call.func, self._local) == "asyncio.sleep":
            self._tell(rules.UNAWAITED, call, "asyncio.sleep(…) is not awaited", "await ctx.sleep(…)")


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def _own_nodes(function: AnyFunction) -> Iterator[ast.AST]:
    """The nodes of a function, without those inside functions and classes in it; these themselves are given."""
    waiting: list[ast.AST] = [*function.body]
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)


def _local_names(function: AnyFunction) -> Iterator[str]:
    """Parameters, and whatever is assigned in it; names that are declared global are none."""
    arguments = function.args
    for parameter in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
        yield parameter.arg
    for extra in (arguments.vararg, arguments.kwarg):
        if extra is not None:
            yield extra.arg
    outside = {name for node in _own_nodes(function) if isinstance(node, ast.Global) for name in node.names}
    for node in _own_nodes(function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id not in outside:
            yield node.id
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name


def _set_names(function: AnyFunction, parameters: Iterable[ast.arg]) -> set[str]:
    """Variables that are assigned sets only, and parameters that are annotated so."""
    found = {each.arg for each in parameters if each.annotation is not None and _says_set(each.annotation)}
    others: set[str] = set()
    for node in _own_nodes(function):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            targets, value = [node.target], node.value
        elif isinstance(node, ast.For | ast.AsyncFor):
            others |= {each.id for each in ast.walk(node.target) if isinstance(each, ast.Name)}
        for target in targets:
            if isinstance(target, ast.Name):
                is_set = isinstance(value, ast.Set | ast.SetComp) or (
                    isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id in _SETS
                )
                (found if is_set and not _all_numbers(value) else others).add(target.id)
    return found - others


def _says_set(annotation: ast.expr) -> bool:
    if isinstance(annotation, ast.Subscript):
        inner = annotation.slice
        if isinstance(inner, ast.Name) and inner.id in ("int", "bool", "float"):
            return False
        annotation = annotation.value
    return isinstance(annotation, ast.Name) and annotation.id in _SETS


def _is_keys(node: ast.expr) -> bool:
    """Whether it is `something.keys()`, which an operator makes a set of."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("keys", "items")


def _all_numbers(node: ast.expr) -> bool:
    """Whether it is a set of numbers, whose order is the same in each process."""
    if not isinstance(node, ast.Set):
        return False
    return all(isinstance(each, ast.Constant) and isinstance(each.value, int | float) for each in node.elts)
