"""The private parts of resonate-sdk that `functions/resonate/sdk.py` stands on: a new SDK that moves one fails here."""

from __future__ import annotations

import inspect
from typing import Any

from resonate.chain import Link
from resonate.context import Context, _State
from resonate.core import Core, _ExecFulfilled, _ExecSuspended
from resonate.durable import DurableFunction
from resonate.effects import ResonateEffects
from resonate.registry import Registry
from resonate.send import Sender
from resonate.transport import Transport

from durable.functions.definition import NEVER, Retry


def parameters(fn: Any) -> list[str]:
    return list(inspect.signature(fn).parameters)


def test_the_state_of_a_context_has_what_we_reach_for() -> None:
    source = inspect.getsource(_State.__init__)
    for name in (
        "seq",
        "effects",
        "spawned_remote",
        "spawned_locals",
        "tree",
        "chain",
        "workflow",
        "origin_id",
        "branch_id",
        "timeout_at",
    ):
        assert f"self.{name}" in source
    assert "self._state.seq += 1" in inspect.getsource(Context._next_id)
    assert parameters(Context._global_req)[1:] == ["id", "timeout", "data", "target", "timer", "external", "parent"]
    assert parameters(Context._remote_future)[1:] == ["req", "link", "df"]


def test_the_effects_have_two_methods_a_cache_and_the_lease() -> None:
    assert parameters(ResonateEffects.create_promise) == ["self", "req"]
    assert parameters(ResonateEffects.settle_promise) == ["self", "id", "result"]
    assert parameters(ResonateEffects._absorb) == ["self", "record"]
    source = inspect.getsource(ResonateEffects.__init__)
    for name in ("sender", "codec", "task_id", "task_version", "cache", "_stopped"):
        assert f"self.{name}" in source


def test_a_local_child_is_a_link_a_node_and_a_task_to_join() -> None:
    source = inspect.getsource(Context.run)
    for part in (
        "self._state.workflow = True",
        "self._state.chain.link()",
        'self._state.tree.add_child(self._state.id, req.id, "int")',
        "self._state.spawned_locals.append(SpawnedLocal(id=req.id, handle=task))",
        "self._state.tree.settle(req.id)",
    ):
        assert part in source
    assert parameters(Link.run) == ["self", "work"]


def test_core_takes_ports_and_releases_while_handling_the_reason() -> None:
    assert {"sender", "fencing"} <= set(Core.__struct_fields__)
    assert not Core.__struct_config__.frozen
    source = inspect.getsource(Core.execute_until_blocked_outer)
    assert source.index("except (ResonateError, PlatformError)") < source.index("task_release")


def test_core_runs_a_function_once_and_is_told_how_it_ended() -> None:
    assert parameters(Core.execute_until_blocked_inner) == ["self", "promise", "effects"]
    assert "self.execute_until_blocked_inner(promise, effects)" in inspect.getsource(Core.execute_until_blocked_outer)
    assert _ExecFulfilled.__struct_fields__ == ("state", "value", "tree")
    assert _ExecSuspended.__struct_fields__ == ("todos", "tree")
    outer = inspect.getsource(Core.execute_until_blocked_outer)
    assert "case _ExecFulfilled(state=state, value=value):" in outer  # the tree is the SDK's own, to assert by
    assert "case _ExecSuspended(todos=todos):" in outer


def test_what_runs_tasks_is_made_of_parts_that_import_no_http() -> None:
    assert {"resolver", "heartbeat", "pid", "ttl", "retry_policy", "clock", "observer"} <= set(Core.__struct_fields__)
    assert parameters(Transport.__init__) == ["self", "network", "sources", "observer"]
    assert parameters(Sender.__init__)[:3] == ["self", "transport", "auth"]
    assert parameters(Core.on_message) == ["self", "task_id", "version"]
    assert parameters(Core.execute_until_blocked_outer) == ["self", "task_id", "task_version", "promise", "preload"]
    assert "self._by_key" in inspect.getsource(Registry.__init__)


def test_a_stated_signature_is_what_the_sdk_reads_of_a_step() -> None:
    async def body(ctx: Any) -> int:
        return 1

    body.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_ONLY)]
    )
    assert DurableFunction(body).pack_args() is not None


def test_our_retry_is_the_sdks_policy() -> None:
    assert NEVER.next(1) is None
    retry = Retry(max_retries=3, delay=0.5, factor=2, max_delay=1.5)
    assert [retry.next(n) for n in (1, 2, 3, 4)] == [0.5, 1.0, 1.5, None]


def test_the_registry_is_asked_by_name_and_version() -> None:
    assert parameters(Registry.get) == parameters(Registry.get_policy) == ["self", "name", "version"]
    source = inspect.getsource(Core)
    assert "self.registry.get(task_data.func, task_data.version)" in source
    assert "self.registry.get_policy(task_data.func, task_data.version)" in source
