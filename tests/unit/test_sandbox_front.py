"""Where code goes, and what is told of it (specs/sandbox.md, One front)."""

from __future__ import annotations

import pytest

from capabilities.sandbox.errors import FuelExhausted, InvalidConfiguration, SandboxUnavailable
from capabilities.sandbox.front import DECISIONS_MAX, Front, Ran, Task
from capabilities.sandbox.routing import Choice, choice_of, route


@pytest.mark.parametrize(
    ("code", "backend"),
    [
        ("const x = 1;\nx + 1", "javascript"),
        ("(a => a + 1)(2)", "javascript"),
        ("function f() { return 1 }\nf()", "javascript"),
        ("def f():\n    return 1\nf()", "python"),
        ("import math\nmath.pi", "python"),
        ("for i in range(3):\n    print(i)", "python"),
        ("x = None", "python"),
        ("1 + 1", "javascript"),
        (b"\0asm\x01\0\0\0", "wasm"),
        ("wasm_base64:AGFzbQ==", "wasm"),
    ],
)
def test_what_code_looks_like(code: str | bytes, backend: str) -> None:
    assert route(code, "auto", "auto").backend == backend


def test_what_is_asked_for_comes_before_what_is_set_before_what_it_looks_like() -> None:
    assert route("def f(): pass", "javascript", "python").backend == "javascript"
    assert route("const x = 1;", "auto", "python").backend == "python"
    assert route(b"\0asm", "auto", "python").backend == "wasm"


def test_the_environment_chooses_and_an_unknown_word_names_the_choices() -> None:
    assert choice_of({}) == "auto"
    assert choice_of({"MCP_SANDBOX_BACKEND": "wasm"}) == "wasm"
    assert choice_of({"MCP_SANDBOX_BACKEND": "wasm", "DURABLE_SANDBOX": "python"}) == "python"
    with pytest.raises(InvalidConfiguration, match="DURABLE_SANDBOX is 'node'; it is one of auto, python, javascript"):
        choice_of({"DURABLE_SANDBOX": "node"})


class Echo:
    """A backend that gives the code back, or runs out of fuel."""

    def __init__(self, lacks: str = "") -> None:
        self.lacks = lacks

    async def missing(self) -> str:
        return self.lacks

    async def run(self, task: Task) -> Ran:
        if task.code == "fail":
            raise FuelExhausted(1, 1, 1, 0.0)
        return Ran("javascript", task.code)


async def test_decisions_and_statistics_count_errors_too() -> None:
    front = Front({"javascript": Echo(), "python": Echo("no kernel")}, "auto")
    assert (await front.run(Task("await 1"))).value == "await 1"
    with pytest.raises(FuelExhausted):
        await front.run(Task("fail"))
    with pytest.raises(SandboxUnavailable, match="python cannot be run here: no kernel"):
        await front.run(Task("1"), "python")
    seen = [(each.backend, each.has_async, each.ended) for each in front.decisions]
    assert seen == [
        ("javascript", True, ""),
        ("javascript", False, "FUEL_EXHAUSTED"),
        ("python", False, "SANDBOX_UNAVAILABLE"),
    ]
    assert (front.statistics["javascript"].count, front.statistics["javascript"].success_rate) == (2, 0.5)
    assert not front.statistics["javascript"].healthy
    assert await front.health() == {"javascript": "", "python": "no kernel"}
    for _ in range(2 * DECISIONS_MAX):
        await front.run(Task("1"))
    assert len(front.decisions) == DECISIONS_MAX


async def test_it_is_switched_while_it_runs() -> None:
    front = Front({"javascript": Echo(), "python": Echo()}, "python")
    await front.run(Task("const x = 1;"))
    front.switch("auto")
    await front.run(Task("const x = 1;"))
    assert [each.backend for each in front.decisions] == ["python", "javascript"]
    choice: Choice = front.choice
    assert choice == "auto"
    with pytest.raises(InvalidConfiguration, match="it is one of auto"):
        front.switch("ruby")
