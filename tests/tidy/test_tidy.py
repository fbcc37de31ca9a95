"""Rules of the house that a reader relies on: names, folders, docstrings, references to specs."""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache

import pytest

from checkpoint.pickling.moved_modules import MOVED
from tests.tidy.picture import mermaid
from tests.tidy.repeats import repeats
from tests.tidy.sources import PACKAGES, ROOT, imported, modules, place, tree

FILES_MAX = 16
LARGER = {
    "durable/core": "what everybody needs: one file for each kind of thing",
    "durable/cli": "the texts, tables and options that commands share",
    "durable/cli/commands": "one file for each command",
    "durable/store/postgres": "one file for each thread, each table of its own, and what it takes to be let in",
    "durable/store/operations": "one file for each subject of the store",
    "capabilities/sandbox/wasm": "one runtime with two ways to call it",
    "checkpoint/pickling": "one recipe for each kind of object",
}
"""Folders with more files than a newcomer can look over, and why they stay one."""

PROTOCOLS = {
    "bridge/protocol/messages.py",
    "bridge/launch/zygote_protocol.py",
    "durable/store/protocol/requests.py",
    "durable/store/protocol/reads.py",
    "durable/client/api_models.py",
}
"""Messages are named as they travel, and used with their module's name."""

SHOWN_TWICE = {"OutputOverflow", "OutputDrainTimeout"}
"""Errors that a cell raises in its worker and that its caller gets, under one name."""

FIRST_WORDS = {"What", "It", "Those", "Who", "This", "None"}

LINES_MAX = 70

SAME_NAME = {
    "__init__.py": "Python's",
    "__main__.py": "Python's",
    "main.py": "the program of a process",
    "errors.py": "the errors of its folder",
    "limits.py": "the limits of its folder",
    "states.py": "the table of its folder's states",
    "values.py": "the values of its folder's wire",
    "deadline.py": "of a script and of a module",
    "snapshot.py": "of a script's instance and of a module's",
    "prompt_form.py": "on a terminal and on a page",
    "reads.py": "of the store, and how they travel",
    "executions.py": "what an engine does with them, and what the store does",
    "kv.py": "the capability, and its rows",
}
"""File names that stand in several folders, and the one thing that each means there."""

KINDS_OF_STORE = {"sqlite", "postgres", "remote", "resonate_server"}
"""Folders whose files share names: what each kind of store has for the same thing."""

UNITS = {
    *(
        "S",
        "MS",
        "NS",
        "TICKS",
        "BYTES",
        "KIB",
        "MIB",
        "MB",
        "BITS",
        "CHARS",
        "ROWS",
        "PAGES",
        "ATOMS",
        "MINUTES",
        "TURNS",
    ),
    *("FACTOR", "PERCENT", "MAX", "MIN", "KEPT", "LEVEL", "TRIES", "YEARS", "BEATS"),
}
"""Words that say what a number counts, or that it is a bound of what the rest of its name counts."""

NUMBERS_OF_OTHERS = {
    "durable/cli/exit_codes.py",
    "bridge/confine/apply.py",
    "bridge/confine/landlock.py",
    "bridge/confine/seccomp.py",
    "bridge/confine/syscall_numbers.py",
    "bridge/confine/syscalls.py",
    "bridge/worker/io/output_streams.py",
    "bridge/worker/parent_death.py",
    "capabilities/sandbox/javascript/handles.py",
    "capabilities/sandbox/javascript/ffi.py",
    "capabilities/standard/process_supervisor.py",
    "checkpoint/blobs/directory.py",
    "checkpoint/capture/dirty_pages.py",
    "checkpoint/capture/forked_capture.py",
    "checkpoint/pickling/importable.py",
}
"""Files with numbers of the kernel, of an engine or of exit codes, under the names that those have there."""

NOT_COUNTED = {
    *("PORT", "VERSION", "PROTOCOL_VERSION", "APPLICATION_ID", "_FORM", "DESCRIPTORS_FORK"),
    *("STATUS_BUSY", "TOO_MUCH", "_BAD_FILE", "EXIT_NOT_HELD", "FUTURE_FLAGS", "GOES_ON", "CANCEL"),
    *("_MIGRATING", "UNFINISHED", "FIRST_CALL", "_HASHES_FROM", "_RELOAD", "ASKS_FROM", "FUEL_UNLIMITED"),
}
"""Numbers that count nothing: versions, statuses, marks, and where numbering begins."""

STORE_NUMBERS = {"EVERY", "SEARCH_DEFAULT", "PAGE", "_PAGE", "AWAIT_AT_ONCE", "_LOOK_REST", "_CREATED_AT"}
"""Numbers of the store that are named otherwise."""


def sources() -> Iterator[tuple[str, ast.Module]]:
    for path in modules().values():
        yield str(path.relative_to(ROOT)), tree(path)


def test_a_file_name_is_one_idea() -> None:
    counted = Counter(path.name for path in modules().values() if path.parent.name not in KINDS_OF_STORE)
    assert {name for name, count in counted.items() if count > 1} <= set(SAME_NAME)


def numbers() -> Iterator[tuple[str, str]]:
    """Each module's constants that are numbers: the file, the name."""
    for name, module in sources():
        for node in module.body:
            target = node.target if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [None])[0]
            if isinstance(target, ast.Name) and target.id.isupper() and _is_number(getattr(node, "value", None)):
                yield name, target.id


def _is_number(node: ast.expr | None) -> bool:
    match node:
        case ast.Constant(value=bool()):
            return False
        case ast.Constant(value=int() | float()):
            return True
        case ast.BinOp():
            return _is_number(node.left) and _is_number(node.right)
        case ast.UnaryOp():
            return _is_number(node.operand)
        case _:
            return False


def test_a_number_says_what_it_counts() -> None:
    """By a unit or a bound among the words of its name."""
    found = [
        f"{name}: {constant}"
        for name, constant in numbers()
        if not UNITS & set(constant.strip("_").split("_"))
        and name not in NUMBERS_OF_OTHERS
        and constant not in NOT_COUNTED
        and not (name.startswith("durable/store/") and constant in STORE_NUMBERS)
    ]
    assert found == []


def test_every_limit_has_a_reason() -> None:
    """A text after it, or after the last of those that it stands with."""
    path = modules()["durable.core.limits"]
    body = tree(path).body[1:]
    without, waits = [], []
    for node in body:
        if isinstance(node, ast.Assign):
            waits.append(place(path, node))
        elif isinstance(node, ast.Expr):
            waits.clear()
        else:
            without += waits
            waits.clear()
    assert without + waits == []


def test_a_folder_can_be_looked_over() -> None:
    counted = Counter(str(path.parent.relative_to(ROOT)) for path in modules().values() if path.name != "__init__.py")
    large = {folder for folder, count in counted.items() if count > FILES_MAX}
    assert large == set(LARGER)


def test_a_class_has_a_name_of_its_own() -> None:
    places = defaultdict(list)
    for path in modules().values():
        name = str(path.relative_to(ROOT))
        if name in PROTOCOLS:
            continue
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and node.name not in SHOWN_TWICE:
                places[node.name].append(place(path, node))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_nothing_of_ours_is_imported_under_another_name() -> None:
    found = set()
    for name, module in sources():
        for node in ast.walk(module):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PACKAGES:
                found |= {(name, alias.asname) for alias in node.names if alias.asname not in (None, alias.name)}
    assert found == set()


def test_no_name_is_assigned_twice_at_module_level() -> None:
    twice = []
    for name, module in sources():
        seen = Counter(
            target.id
            for node in module.body
            for target in ([node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", []))
            if isinstance(target, ast.Name)
        )
        twice += [f"{name}: {each}" for each, count in seen.items() if count > 1]
    assert twice == []


def test_functions_are_short() -> None:
    long = []
    for path in modules().values():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                if node.end_lineno - node.lineno >= LINES_MAX:
                    long.append(f"{place(path, node)} {node.name}")
    assert long == []


def test_a_docstring_begins_with_its_subject() -> None:
    found = []
    for path in modules().values():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
                first = re.match(r"\W*(\w+)", ast.get_docstring(node) or "")
                if first is not None and first[1] in FIRST_WORDS:
                    found.append(f"{place(path, node)} {first[1]}")
    for folder in ("tests", "benchmarks", "examples", "docs_tools"):
        for path in (ROOT / folder).rglob("*.py"):
            first = re.match(r'"""\W*(\w+)', path.read_text(encoding="utf-8"))
            if first is not None and first[1] in FIRST_WORDS:
                found.append(f"{place(path)} {first[1]}")
    assert found == []


_CITED = re.compile(r"(?:specs/)?([a-z-]+)\.md[,)]? \(?([A-Z]{1,2}\d+[a-z]?)\b")


@cache
def spec_numbers(page: str) -> Counter[str]:
    """Numbers that a page defines, each at the beginning of an item or of a table's row: `- S1.`, `| S1 |`."""
    text = (ROOT / "specs" / f"{page}.md").read_text(encoding="utf-8")
    return Counter(re.findall(r"^(?:- |\| |\* )?\**([A-Z]{1,2}\d+[a-z]?)\**(?:\.|:| )", text, re.MULTILINE))


@pytest.mark.parametrize("page", sorted(path.stem for path in (ROOT / "specs").glob("*.md")))
def test_no_number_of_a_spec_page_is_given_twice(page: str) -> None:
    assert {number: count for number, count in spec_numbers(page).items() if count > 1} == {}


def test_what_code_cites_of_the_specs_is_there() -> None:
    pages = {path.stem for path in (ROOT / "specs").glob("*.md")}
    missing = []
    for path in modules().values():
        for page, number in _CITED.findall(path.read_text(encoding="utf-8")):
            if page in pages and number not in spec_numbers(page):
                missing.append(f"{path.relative_to(ROOT)}: {page}.md {number}")
    assert missing == []


def test_modules_that_are_loaded_together_make_no_circle() -> None:
    graph = {name: imported(name, typing=False) for name in modules()}
    todo, order = set(graph), []
    while todo:
        ready = {name for name in todo if not graph[name] & todo}
        if not ready:
            break
        order += sorted(ready)
        todo -= ready
    assert todo == set()


def test_the_picture_of_the_layers_is_that_of_the_imports() -> None:
    text = (ROOT / "specs" / "architecture.md").read_text(encoding="utf-8")
    assert "\n".join(mermaid()) in text


def test_files_that_the_architecture_names_are_there() -> None:
    text = (ROOT / "specs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_]+(?:/[a-z_0-9]+)+(?:\.py|\.sql)?)/?`", text))
    gone = {name for name in named if not ((ROOT / name).exists() or (ROOT / "durable" / name).exists())}
    assert gone == set()


_MODULE_TABLE = re.compile(r"^\| module of `([a-z_/]+)` .*\n\|.*\n((?:\|.*\n)+)", re.MULTILINE)


@pytest.mark.parametrize(("page", "tables"), [("sandbox", 2), ("javascript", 1)])
def test_modules_that_a_table_of_the_specs_names_are_all_there_are(page: str, tables: int) -> None:
    """Under `module of FOLDER`, in the first column."""
    found = _MODULE_TABLE.findall((ROOT / "specs" / f"{page}.md").read_text(encoding="utf-8"))
    assert len(found) == tables
    for folder, rows in found:
        named = {name for row in rows.splitlines() for name in re.findall(r"`([a-z_0-9/]+)`", row.split("|")[1])}
        here = {path.stem for path in (ROOT / folder).glob("*.py")} - {"__init__"}
        below = {name for name in named - here if not list((ROOT / folder).glob(f"{name}*"))}
        assert (here - named, below) == (set(), set()), folder


def test_nobody_outside_the_store_asks_what_kind_of_store_it_is() -> None:
    kinds = {"Store", "RemoteStore"}
    found = []
    for path in modules().values():
        if path.is_relative_to(ROOT / "durable" / "store"):
            continue
        for node in ast.walk(tree(path)):
            called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance"
            if called and {each.id for each in ast.walk(node) if isinstance(each, ast.Name)} & kinds:
                found.append(place(path, node))
    assert found == []


def test_modules_that_moved_are_where_old_checkpoints_are_told() -> None:
    assert set(MOVED.values()) <= set(modules())
    here = set(MOVED) & set(modules())
    assert {modules()[name].name for name in here} <= {"__init__.py"}, "folders may have the name of a file that moved"


def test_no_logic_stands_in_two_places() -> None:
    """Those that stay apart: specs/architecture.md, What looks alike and stays apart."""
    wasm = "capabilities/sandbox/wasm"
    assert set(repeats()) == {
        ("bridge/worker/calls/prompt_functions.py", "bridge/worker/calls/prompt_functions.py"),
        (f"{wasm}/component_imports.py", f"{wasm}/module_imports.py"),
        ("durable/functions/step.py", "bridge/host/checkpoint_stream.py"),
        ("durable/store/reads.py", "durable/store/reads.py"),
    }
