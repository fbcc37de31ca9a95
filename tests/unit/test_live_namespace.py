"""Changing a namespace from outside, in threads (specs/namespace.md, N2-N3 and the strategies), and the code cache."""

from __future__ import annotations

import threading

import pytest

from bridge.worker.namespace.access import LiveNamespace, UpdateRefused, better
from bridge.worker.namespace.main_module import ENGINE_INTERNALS, initial_internals
from bridge.worker.run.code_cache import TEXTS_MAX, CodeCache, cache_size, digest_of


def test_ten_threads_of_a_hundred_updates_lose_nothing() -> None:
    namespace = LiveNamespace(initial_internals())
    start = threading.Barrier(10)

    def work(n: int) -> None:
        start.wait()
        for i in range(100):
            with namespace.lock:  # read and changed as one
                total = namespace.values(["total"])["total"] if "total" in namespace.mapping else 0
                assert isinstance(total, int)
                namespace.update({f"t{n}_{i}": i, "total": total + 1})

    threads = [threading.Thread(target=work, args=(n,)) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert namespace.mapping["total"] == 1000
    assert len(namespace.users()) == 1001


@pytest.mark.parametrize(
    ("old", "new", "taken"),
    [
        (1, None, False),
        (None, None, False),
        ([1], [], False),
        ({}, [], True),
        (None, [], True),
        (None, 0, True),
        (1, 0, True),
        (1, 1, False),
        (1, 1.0, True),
        (1, True, True),
        ("text", "", False),
        ("", "text", True),
    ],
)
def test_smart_keeps_values_from_what_is_empty_or_the_same(old: object, new: object, taken: bool) -> None:
    assert better(old, new) is taken


def test_internals_are_refused_to_users_and_left_by_clear() -> None:
    namespace = LiveNamespace(initial_internals())
    for name in ENGINE_INTERNALS:
        with pytest.raises(UpdateRefused, match=name):
            namespace.update({name: 1, "x": 1})
    namespace.update({"x": 1})
    assert namespace.clear() == ["x"]
    assert namespace.mapping.keys() == ENGINE_INTERNALS
    with pytest.raises(ValueError, match="strategy"):
        namespace.update({"x": 1}, strategy="other")  # type: ignore[arg-type]


def test_the_cache_drops_what_was_least_recently_used() -> None:
    cache: CodeCache[int] = CodeCache(2)
    for n in (1, 2):
        cache.put(digest_of(str(n)), n)
    assert cache.get(digest_of("1")) == 1
    cache.put(digest_of("3"), 3)
    assert [cache.get(digest_of(str(n))) for n in (1, 2, 3)] == [1, None, 3]
    off: CodeCache[int] = CodeCache(0)
    off.put(digest_of("1"), 1)
    assert len(off) == 0


@pytest.mark.parametrize(
    ("text", "size"),
    [(None, TEXTS_MAX), ("", TEXTS_MAX), ("7", 7), ("0", 0), ("None", 0), ("-3", 0), ("many", TEXTS_MAX)],
)
def test_the_caches_size_is_the_environments(text: str | None, size: int) -> None:
    assert cache_size({} if text is None else {"ASYNC_EXECUTOR_AST_CACHE_SIZE": text}) == size


def test_texts_under_other_flags_have_other_digests() -> None:
    assert digest_of("x", 1) != digest_of("x", 2)
    assert digest_of("\ud800") != digest_of("x")
