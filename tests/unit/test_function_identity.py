"""Identities of functions, and that no two functions have the same (specs/execution.md, Identity)."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import durable
from durable.core import definition_id
from durable.core.definition_id import one_of_each
from durable.core.errors import BadArguments, Conflict
from durable.functions.definition import KNOWN, Function, known_as

JOB = """
import durable

@durable.function
async def {name}(ctx):
    return {value}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty directory that is imported from; what was defined by it is forgotten."""
    before, modules = dict(KNOWN), set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    KNOWN.clear()
    KNOWN.update(before)
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write(path: Path, name: str = "f", value: object = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(JOB.format(name=name, value=value))
    importlib.invalidate_caches()
    return path


def load(path: Path, name: str) -> ModuleType:
    """A file as `durable run` loads it."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    setattr(module, definition_id.FILE_MARK, str(path))
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def bare(fn: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def wrapper(*args: Any) -> Any:
        return await fn(*args)

    return wrapper


def wrapped(fn: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(fn)
    async def wrapper(*args: Any) -> Any:
        return await fn(*args)

    return wrapper


def test_a_decorator_that_hides_names_is_refused_and_one_that_wraps_is_not() -> None:
    async def charge(ctx: Any) -> str:
        return "charged"

    async def refund(ctx: Any) -> str:
        return "refunded"

    first: Function[..., Any] = durable.function(bare(charge))
    with pytest.raises(Conflict, match=r"(?s)test_function_identity.py:\d+ and .*name=.*functools.wraps"):
        durable.function(bare(refund))
    assert KNOWN[first.id] is first
    assert durable.function(wrapped(charge)).id != durable.function(wrapped(refund)).id


def test_a_factory_and_a_loop_need_names() -> None:
    def make(n: int, name: str | None = None) -> Function[..., Any]:
        @durable.function(name=name)
        async def job(ctx: Any) -> int:
            return n

        return job

    one = make(1)
    with pytest.raises(Conflict, match="name="):
        make(2)
    assert KNOWN[one.id] is one
    assert [make(n, name=f"job-{n}").id for n in range(3)] == ["job-0@1", "job-1@1", "job-2@1"]


def test_two_definitions_of_a_name_in_one_module_are_refused(folder: Path) -> None:
    write(folder / "twice_defined.py").write_text(JOB.format(name="f", value=1) + JOB.format(name="f", value=2))
    with pytest.raises(Conflict, match=r"twice_defined.py:4 and .*twice_defined.py:10"):
        importlib.import_module("twice_defined")


@pytest.mark.parametrize("again", [1, 2, 3])
def test_a_function_defined_by_a_test_is_defined_anew_each_time(again: int) -> None:
    @durable.function
    async def local(ctx: Any) -> int:
        return again

    assert KNOWN[local.id] is local
    local.check_newest()


def test_what_a_later_call_defined_is_not_run_for_what_an_earlier_one_did() -> None:
    namespace: dict[str, Any] = {"__name__": "made_by_calls", "durable": durable}
    exec("def make(n):\n    @durable.function\n    async def job(ctx): return n\n    return job", namespace)
    one, two = namespace["make"](1), namespace["make"](2)
    two.check_newest()
    with pytest.raises(Conflict, match="name="):
        one.check_newest()


def test_a_module_that_is_loaded_again_counts_with_its_newest_code(folder: Path) -> None:
    path = write(folder / "loaded_again.py")
    module = importlib.import_module("loaded_again")
    old = module.f
    path.write_text("# a line more\n" + JOB.format(name="f", value=22))
    importlib.invalidate_caches()
    importlib.reload(module)
    assert KNOWN["loaded_again::f@1"] is module.f is not old
    old.check_newest()
    del sys.modules["loaded_again"]
    assert importlib.import_module("loaded_again").f is KNOWN["loaded_again::f@1"]
    assert load(path, "durable_file_again").f is KNOWN["loaded_again::f@1"] is KNOWN["loaded_again.py::f@1"]


def test_a_cell_that_is_typed_again_counts_with_its_newest_code() -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for n, name in enumerate(
        ("<stdin>", "<stdin>", "<ipython-input-7-ab>", "<ipython-input-8-cd>", "/no/ipykernel_1/2.py")
    ):
        exec(compile(JOB.format(name="typed", value=n), name, "exec"), namespace)
        assert known_as(namespace["typed"].id) is namespace["typed"]


def test_two_files_of_one_name_are_refused_but_not_one_that_was_moved(folder: Path) -> None:
    here, there = write(folder / "a" / "jobs_here.py"), write(folder / "b" / "jobs_here.py", value=2)
    load(here, "durable_file_here")
    with pytest.raises(Conflict, match=r"'jobs_here.py::f@1'.*a/jobs_here.py:4 and .*b/jobs_here.py:4.*name="):
        load(there, "durable_file_there")
    here.unlink()
    assert load(there, "durable_file_there").f is KNOWN["jobs_here.py::f@1"]


@pytest.mark.parametrize("module_first", [True, False])
def test_a_module_and_its_file_are_one_function(folder: Path, module_first: bool) -> None:
    path = write(folder / "met_here.py")
    ways: list[Callable[[], Any]] = [
        lambda: importlib.import_module("met_here"),
        lambda: load(path, "durable_file_met"),
    ]
    for way in ways if module_first else reversed(ways):
        function = way().f
        assert {"met_here::f@1", "met_here.py::f@1"} == set(function.ids)
        assert known_as("met_here::f@1") is known_as("met_here.py::f@1") is known_as(f"{path}::f@1") is function
    assert known_as(f"{folder}/releases/7/met_here.py::f@1") is function


def test_of_several_spellings_one_stays() -> None:
    found = ["jobs.py::a@1", "jobs::a@1", "jobs.py::a@2", "capability:x", "jobs::b@1", "jobs.py::b@1"]
    assert one_of_each(found) == ["jobs.py::a@1", "jobs.py::a@2", "capability:x", "jobs::b@1"]


def test_a_file_of_a_package_is_its_module(folder: Path) -> None:
    path = write(folder / "packed" / "inner" / "job.py")
    (folder / "packed" / "__init__.py").touch()
    (folder / "packed" / "inner" / "__init__.py").touch()
    assert definition_id.module_of_file(str(path)) == ("packed.inner.job", str(folder))
    assert load(path, "durable_file_packed").f.id == "packed.inner.job::f@1"
    assert importlib.import_module("packed.inner.job").f.id == "packed.inner.job::f@1"
    assert known_as(f"/old/{folder.name}/packed/inner/job.py::f@1") is KNOWN["packed.inner.job::f@1"]


def test_files_of_packages_without_init_are_served_where_one_alone_has_the_name(folder: Path) -> None:
    for package in ("plain_one", "plain_two"):
        write(folder / package / "same_name.py")
    first = importlib.import_module("plain_one.same_name").f
    assert first.ids == ["plain_one.same_name::f@1", "same_name.py::f@1"]
    second = importlib.import_module("plain_two.same_name").f
    assert (first.ids, second.ids) == (["plain_one.same_name::f@1"], ["plain_two.same_name::f@1"])


def test_a_given_name_is_all_that_a_function_is_known_by() -> None:
    @durable.function(name="billing.charge", version=3, aliases=["old.module::charge", "charge@2", "pay.py::charge"])
    async def charge(ctx: Any) -> None: ...

    assert charge.id == "billing.charge@3"
    assert f"{__name__}::billing.charge@3" in charge.ids
    for former in ("old.module::charge@3", "charge@2", "pay.py::charge@3", "pay::charge@3", "/x/pay.py::charge@3"):
        assert known_as(former) is charge


@pytest.mark.parametrize("name", ["", "a::b", "a@1", "durable_execute", "capability:x", "a\nb"])
def test_names_that_records_cannot_tell_apart_are_refused(name: str) -> None:
    with pytest.raises(BadArguments, match="cannot be the name"):

        @durable.function(name=name)
        async def f(ctx: Any) -> None: ...


@pytest.mark.parametrize("aliases", ["old::f", ["old::f@x"], [""], ["old::"]])
def test_aliases_that_are_no_ids_are_refused(aliases: Any) -> None:
    with pytest.raises(BadArguments, match=r"aliases|no id"):

        @durable.function(aliases=aliases)
        async def f(ctx: Any) -> None: ...


def test_an_alias_that_is_another_function_is_refused() -> None:
    @durable.function(name="taken-name")
    async def taken(ctx: Any) -> None: ...

    with pytest.raises(Conflict, match="taken-name"):

        @durable.function(aliases=["taken-name"])
        async def f(ctx: Any) -> None: ...


def test_when_two_files_are_two_programs(tmp_path: Path) -> None:
    first, second = write(tmp_path / "releases/1/app/jobs.py"), write(tmp_path / "releases/2/app/jobs.py")
    other = write(tmp_path / "elsewhere/jobs.py")

    def differ(one: Path | str, two: Path | str) -> bool:
        return definition_id.another_program("jobs.py::f@1", str(one), "jobs.py::f@1", str(two))

    assert differ(first, second)
    (tmp_path / "current").symlink_to("releases/2")
    assert not differ(first, second)
    assert not differ(second, first)
    assert not differ(tmp_path / "current/app/jobs.py", second)
    assert differ(other, second)
    assert not definition_id.another_program("jobs::f@1", str(other), "jobs.py::f@1", str(second))
    other.unlink()
    assert not differ(other, second)


def test_a_path_keeps_the_links_that_the_shell_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "releases/1").mkdir(parents=True)
    (tmp_path / "current").symlink_to("releases/1")
    monkeypatch.chdir(tmp_path / "current")
    monkeypatch.setenv("PWD", str(tmp_path / "current"))
    assert definition_id.absolute("jobs.py") == str(tmp_path / "current/jobs.py")
    assert definition_id.absolute(os.path.join(os.getcwd(), "jobs.py")) == str(tmp_path / "current/jobs.py")
    assert definition_id.absolute("../jobs.py") == str(tmp_path / "releases/jobs.py")
    monkeypatch.setenv("PWD", "/")
    assert definition_id.absolute("jobs.py") == str(tmp_path / "releases/1/jobs.py")
