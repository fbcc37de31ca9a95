# ruff: noqa: E501  # a description is code as text
"""A corpus of values of the standard library and of common packages: each is saved, and restored in another process.

It comes back equal, by a description made for its kind, or it is in the report (lost, a placeholder, made anew). What
is neither is a silent difference, of which there must be none. `python -m tests.e2e.value_corpus [GROUP …]` prints the
table; heavy packages come by `uv run --with sqlalchemy,networkx,… python -m tests.e2e.value_corpus`. Those that are
not installed are named.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.util import find_spec

from tests.unit.checkpoint_process import Process
from tests.value_expressions import GROUPS, Group

DESCRIBE = r"""
def _describe_all(_names):
    import collections, enum, itertools, re, types
    def describe(value, seen, depth=0):
        kind = type(value)
        name = f"{kind.__module__}.{kind.__qualname__}"
        if kind.__name__ == "LostValue":
            return "lost"
        if value is None or kind in (bool, int, float, complex, str, bytes, bytearray, type(...), type(NotImplemented)):
            return f"{name} {value!r}"
        if id(value) in seen and kind is not tuple:
            return f"#{seen[id(value)]}"
        seen[id(value)] = len(seen)
        keep.append(value)
        if depth > 12:
            return name
        inner = lambda item: describe(item, seen, depth + 1)
        if str(kind.__module__).startswith("numpy") and hasattr(value, "dtype") and hasattr(value, "tolist"):
            extra = sorted((k, inner(v)) for k, v in getattr(value, "__dict__", {}).items())
            items = inner(value.tolist()) if value.dtype == object else repr(value.tolist())
            return f"{name} {value.dtype} {getattr(value, 'shape', ())} {items} {extra}"
        if name.startswith(("pandas", "polars", "pyarrow")) and hasattr(value, "to_dict"):
            return f"{name} {value.to_dict()!r} {getattr(value, 'dtypes', '')!s}"
        if name.startswith("sympy") and hasattr(kind, "is_commutative"):  # what was deduced of it is a cache
            import sympy
            return f"{name} {sympy.srepr(value)}"
        if name.startswith("numpy.random"):
            return f"{name} {getattr(value, 'bit_generator', value).state if name != 'numpy.random.mtrand.RandomState' else value.get_state()!r}"
        if name.startswith("numpy.polynomial"):
            return f"{name} {value!r}"
        if isinstance(value, enum.Enum):
            members = getattr(kind, "__members__", {})
            return f"{name} {value._name_} {value is members.get(value._name_, value)} {inner(value._value_)} {sorted(members)}"
        if isinstance(value, types.ModuleType):
            return f"module {value.__name__}"
        if isinstance(value, type):
            if value.__module__ != "__main__":
                return f"class {value.__module__}.{value.__qualname__}"
            skip = ("__dict__", "__weakref__", "__module__", "__slotnames__", "__abstractmethods__", "_abc_impl",
                    "__annotate__", "__annotations_cache__")
            held = {k: inner(v) for k, v in sorted(vars(value).items()) if k not in skip}
            return f"class {value.__qualname__} {[base.__qualname__ for base in value.__mro__]} {held}"
        if isinstance(value, types.FunctionType):
            cells = [inner(cell.cell_contents) for cell in value.__closure__ or ()]
            return f"function {value.__qualname__} {inner(value.__defaults__)} {inner(value.__kwdefaults__)} {cells} {sorted(vars(value))}"
        if isinstance(value, types.CodeType):
            return f"code {value.co_name} {value.co_code.hex()}"
        if kind.__module__ == "unittest.mock":  # it makes others each time that it is looked at
            held = object.__getattribute__(value, "__dict__") if hasattr(kind, "__dict__") else {}
            return f"{name} {sorted(map(str, held))}"
        if kind in (staticmethod, classmethod):
            return f"{name} {inner(value.__func__)}"
        if kind.__name__ == "Proxy":
            return f"{name} {inner(object.__getattribute__(value, 'target'))}"
        if kind is types.MappingProxyType:
            return f"{name} {sorted((str(k), inner(v)) for k, v in value.items() if k not in ('__dict__', '__weakref__'))}"
        parts = []
        if isinstance(value, dict):
            parts.append([(inner(k), inner(v)) for k, v in dict.items(value)])
        elif isinstance(value, (list, tuple)) or kind is collections.deque or isinstance(value, collections.deque):
            base = next(base for base in (list, tuple, collections.deque) if isinstance(value, base))
            parts.append([inner(item) for item in base.__iter__(value)])
        elif isinstance(value, (set, frozenset)):
            ordered = sorted(value, key=lambda item: describe(item, dict(seen), depth + 1))
            parts.append([inner(item) for item in ordered])
        elif isinstance(value, BaseException):
            parts += [inner(value.args), str(value), inner(value.__cause__), sorted(getattr(value, "__notes__", []))]
        elif isinstance(value, (int, float, complex, str, bytes)):
            base = next(base for base in (int, float, complex, str, bytes) if isinstance(value, base))
            parts.append(base.__repr__(value))
        elif hasattr(kind, "__next__"):
            try:
                parts.append([inner(item) for item in itertools.islice(value, 6)])
            except Exception as error:
                parts.append(repr(error))
        for attribute in ("locked", "is_set", "tell", "getvalue", "tobytes", "isoformat", "as_dict", "qsize", "cache_parameters"):
            if hasattr(kind, attribute) and attribute in ("tell", "getvalue", "locked", "is_set", "tobytes", "qsize"):
                try:
                    parts.append((attribute, inner(getattr(value, attribute)())))
                except Exception as error:
                    parts.append((attribute, type(error).__name__))
        held = {}
        for base in kind.__mro__:
            slot = vars(base).get("__dict__")
            if type(slot).__name__ == "getset_descriptor":
                held.update(slot.__get__(value))
                break
        for base in kind.__mro__:
            for key, member in vars(base).items():
                if isinstance(member, types.MemberDescriptorType) and base.__module__ != "builtins" and key not in held:
                    try:
                        held[key] = member.__get__(value)
                    except AttributeError:
                        pass
        parts.append({key: inner(item) for key, item in sorted(held.items(), key=str) if "cache" not in key and key not in OWN})
        if not parts[0]:
            try:
                text = repr(value)
            except Exception as error:
                text = type(error).__name__
            parts.append(re.sub(r" at 0x[0-9A-Fa-f]+|\d{12,}|0x[0-9A-Fa-f]{6,}", "", text))
        return f"{name} {parts}"
    OWN = ("__traceback__", "_waiters", "_loop", "_owner", "_thread", "_ident",
           "__vectorcalloffset__", "_b_needsfree_", "_handle", "_hash",
           "_cid_gen")  # of matplotlib: each pickling takes a number
    found = {}
    for name in _names:
        keep = []
        if name in globals():
            try:
                found[name] = describe(globals()[name], {})
            except Exception as error:
                found[name] = f"cannot be described: {type(error).__name__}: {error}"
    return found
"""


@dataclass(frozen=True)
class Row:
    """One value: `outcome` is equal, reported, or SILENT, with what was before and after."""

    group: str
    expression: str
    outcome: str
    detail: str = ""


def run(group: Group) -> list[Row]:
    """Every value of one group."""
    names = {f"v{number}": expression for number, expression in enumerate(group.expressions)}
    with Process() as first, Process() as second:
        first.run(group.prelude)
        unmade = {}
        for name, expression in names.items():
            try:
                first.run(f"{name} = {expression}")
            except AssertionError as error:
                unmade[name] = str(error)
        first.run(DESCRIBE)
        payload, _changed, lost, rebuilt = first.capture()
        before = first.value(f"_describe_all({list(names)!r})")
        report = second.restore(payload)
        after = second.value(f"_describe_all({list(names)!r})")
    reported = {name: lost[name][1] for name in lost} | rebuilt | {entry[0]: entry[2] for entry in report["lost"]}
    return [
        _row(group, name, expression, unmade.get(name), before.get(name, ""), after.get(name, ""), reported)
        for name, expression in names.items()
    ]


def _row(
    group: Group, name: str, expression: str, unmade: str | None, before: str, after: str, reported: dict[str, str]
) -> Row:
    if unmade is not None:
        return Row(group.name, expression, "NOT MADE", unmade)
    if before == after and "cannot be described" not in before:
        return Row(group.name, expression, "equal")
    told = [
        why for path, why in reported.items() if path == name or path.startswith((f"{name}[", f"{name}.", f"{name} "))
    ]
    if told:
        return Row(group.name, expression, "reported", told[0])
    return Row(group.name, expression, "SILENT", f"{before}\n    -> {after}")


def installed(group: Group) -> bool:
    """Whether the package of a group is there."""
    return not group.package or find_spec(group.package) is not None


def main(chosen: list[str]) -> int:
    """Print the table; 1 when something came back different without a word."""
    counts: dict[str, int] = {}
    for group in GROUPS:
        if chosen and group.name not in chosen:
            continue
        if not installed(group):
            print(f"{group.name:14} not installed: {group.package}")
            continue
        rows = run(group)
        for row in rows:
            counts[row.outcome] = counts.get(row.outcome, 0) + 1
            if row.outcome != "equal":
                print(
                    f"{group.name:14} {row.outcome:9} {row.expression[:60]:60} {row.detail[: 300 if row.outcome != 'SILENT' else 3000]}"
                )
        print(f"{group.name:14} {sum(row.outcome == 'equal' for row in rows)} of {len(rows)} equal", flush=True)
    print(
        f"in all {sum(counts.values())} values: "
        + ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
    )
    return 1 if counts.get("SILENT") or counts.get("NOT MADE") else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
