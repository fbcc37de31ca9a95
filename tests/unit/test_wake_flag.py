"""The flag that wakes a worker's flusher, and the gate of interrupts: an interrupt anywhere leaves both usable."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from itertools import count
from types import FrameType, SimpleNamespace
from typing import Any

import pytest

from bridge.worker.io.wake_flag import WakeFlag
from bridge.worker.run.executor import Executor
from bridge.worker.run.sigint_gate import Gate


def interrupted_at(number: int, run: Callable[[], object]) -> bool:
    """Run with a KeyboardInterrupt at that instruction of the Python code; whether there was one."""
    left = number

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal left
        frame.f_trace_opcodes = True
        if event == "opcode":
            left -= 1
            if left < 0:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def test_a_flag_whose_setting_is_interrupted_anywhere_can_be_set_again() -> None:
    for number in count():
        flag = WakeFlag()
        interrupted = interrupted_at(number, flag.set)
        waiting = threading.Thread(target=flag.wait, daemon=True)
        waiting.start()
        again = threading.Thread(target=flag.set, daemon=True)
        again.start()
        waiting.join(10)
        again.join(10)
        assert not waiting.is_alive(), number
        assert not again.is_alive(), number
        if not interrupted:
            return


def test_a_flag_is_set_until_it_is_cleared() -> None:
    flag = WakeFlag()
    assert not flag.is_set()
    flag.set()
    flag.set()
    flag.wait()
    flag.wait()
    assert flag.is_set()
    flag.clear()
    flag.clear()
    assert not flag.is_set()


def test_an_interrupt_that_was_kept_ends_the_code_and_closes_the_gate() -> None:
    gate = Gate()
    gate.begin()
    gate.pending = True
    executor: Any = SimpleNamespace(_gate=gate, _loop=None)
    with pytest.raises(KeyboardInterrupt):
        Executor._user_code(executor, lambda: pytest.fail("it does not begin"))
    assert not gate.open
    gate.on_signal(2, None)
    assert gate.pending, "kept, since no code of the user's runs"
