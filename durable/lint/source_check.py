"""The source of a module: its durable functions found and checked, comments `# noqa` heeded. Nothing of it is run."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator

from durable.lint import rules
from durable.lint.function_check import FunctionCheck, LintFinding
from durable.lint.module_names import AnyFunction, ModuleNames

_NOQA = re.compile(r"#\s*noqa(?::\s*(?P<codes>[A-Z]+[0-9]+(?:[,\s]+[A-Z]+[0-9]+)*))?", re.IGNORECASE)

_DECORATORS = ("function",)
_ACTORS = ("actor",)


def check_source(source: str) -> list[LintFinding]:
    """The findings in the durable functions of a module, by place. A text that is no Python is one finding."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError) as error:
        line, column = getattr(error, "lineno", None) or 1, getattr(error, "offset", None) or 1
        return [
            LintFinding(rules.SYNTAX.code, line, column, "", f"no Python: {getattr(error, 'msg', None) or error}", "")
        ]
    names = ModuleNames.of(tree)
    found: dict[tuple[int, int, str], LintFinding] = {}
    for finding in _findings(tree, names):
        found.setdefault((finding.line, finding.column, finding.code), finding)
    ignored = _ignored(source) if found else {}
    kept = [each for each in found.values() if not _is_ignored(each, ignored)]
    return sorted(kept, key=lambda each: (each.line, each.column, each.code))


def _findings(tree: ast.Module, names: ModuleNames) -> Iterator[LintFinding]:
    """The findings of all durable functions, and of the functions that these call."""
    seen: set[AnyFunction] = set()
    waiting = [
        (owner, function, shown, _skipped(owner, function)) for owner, function, shown in durable_functions(tree, names)
    ]
    while waiting:
        owner, function, shown, skip = waiting.pop(0)
        if function in seen:
            continue
        seen.add(function)
        check = FunctionCheck(names, function, shown, owner=owner, skip=skip)
        yield from check.check()
        for called_owner, called in check.called:
            through = shown if " through " in shown else f"{shown} through {called.name}"
            waiting.append((called_owner, called, through, _skipped(called_owner, called)))


def _skipped(owner: str, function: AnyFunction) -> int:
    """How many parameters stand before the context: `self`."""
    static = any(isinstance(each, ast.Name) and each.id == "staticmethod" for each in function.decorator_list)
    return int(bool(owner) and not static)


def durable_functions(tree: ast.Module, names: ModuleNames) -> Iterator[tuple[str, AnyFunction, str]]:
    """Functions with `@durable.function`, wherever they are, and turns of actors: their class, node and shown name."""

    def below(node: ast.AST, owner: ast.ClassDef | None, prefix: str) -> Iterator[tuple[str, AnyFunction, str]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                yield from below(child, child, f"{prefix}{child.name}.")
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                if _is_decorated(child, names) or (owner is not None and _is_turn(child, owner, names)):
                    yield owner.name if owner is not None else "", child, f"{prefix}{child.name}"
                yield from below(child, None, f"{prefix}{child.name}.")
            else:
                yield from below(child, owner, prefix)

    yield from below(tree, None, "")


def _is_decorated(function: AnyFunction, names: ModuleNames) -> bool:
    return any(names.is_durable(_called(each), *_DECORATORS) for each in function.decorator_list)


def _is_turn(function: AnyFunction, owner: ast.ClassDef, names: ModuleNames) -> bool:
    """Whether it is a method of an actor that is kept, and takes the context of a turn."""
    durable = any(names.is_durable(_called(each), *_ACTORS) and not _in_memory(each) for each in owner.decorator_list)
    parameters = [*function.args.posonlyargs, *function.args.args]
    return durable and isinstance(function, ast.AsyncFunctionDef) and len(parameters) > 1 and parameters[1].arg == "ctx"


def _in_memory(decorator: ast.expr) -> bool:
    """`@durable.actor(durable=False)`, whose turns are not replayed."""
    keywords = decorator.keywords if isinstance(decorator, ast.Call) else []
    return any(
        each.arg == "durable" and isinstance(each.value, ast.Constant) and each.value.value is False
        for each in keywords
    )


def _called(decorator: ast.expr) -> ast.expr:
    return decorator.func if isinstance(decorator, ast.Call) else decorator


def _ignored(source: str) -> dict[int, frozenset[str]]:
    """The codes that comments let pass, by line; none named means all."""
    found = {}
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            match = _NOQA.search(token.string) if token.type == tokenize.COMMENT else None
            if match is not None:
                codes = re.split(r"[,\s]+", match["codes"].upper()) if match["codes"] else []
                found[token.start[0]] = frozenset(codes)
    except (tokenize.TokenError, SyntaxError):
        pass  # it was parsed, so what cannot be read here is at the end
    return found


def _is_ignored(finding: LintFinding, ignored: dict[int, frozenset[str]]) -> bool:
    codes = ignored.get(finding.line)
    return codes is not None and (not codes or finding.code in codes)
