"""Freed heap goes back to the system when it is asked for, and a stranger cannot make that be asked for at will."""

from __future__ import annotations

import ctypes
import threading
from pathlib import Path
from time import monotonic

import pytest

from durable.core import freed_memory

PIECES, BYTES = 200_000, 600
"""Beyond what Python's own allocator takes, below what is mapped by itself."""


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="only glibc keeps so much")
def test_freed_heap_is_given_back() -> None:
    pieces = [bytes(BYTES) for _ in range(PIECES)]
    full = resident()
    kept = pieces[-100:]  # above all the others: the C library cannot give back those by itself
    del pieces
    freed_memory.give_back()
    assert full - resident() > PIECES * BYTES // 2
    assert len(kept) == 100


def test_a_stranger_causes_it_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    trims = threading.Semaphore(0)
    monkeypatch.setattr(freed_memory, "give_back", trims.release)
    for _ in range(2):
        monkeypatch.setattr(freed_memory, "_last", monotonic() - freed_memory.PAUSE_S)
        assert freed_memory.give_back_beside()
        assert not freed_memory.give_back_beside()
        assert trims.acquire(timeout=10)
    assert not trims.acquire(blocking=False)
