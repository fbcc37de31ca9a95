"""Topics and patterns of topics, matched without a scan of all patterns (A42)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from capabilities.actors.errors import InvalidTopic

TOPIC_CHARS_MAX = 255
"""A topic stands in records and indexes."""

ONE, REST = "*", "#"

_UNKEPT = re.compile("[\x00\ud800-\udfff]")


def _check(text: str, words: tuple[str, ...]) -> None:
    if len(text) > TOPIC_CHARS_MAX:
        raise InvalidTopic(text[:40] + "…", f"it has more than {TOPIC_CHARS_MAX} characters")
    if _UNKEPT.search(text):
        raise InvalidTopic(ascii(text), "it has a NUL or a lone surrogate")
    if not all(words):
        raise InvalidTopic(text, "a word is empty")


@lru_cache(4096)
def topic_words(topic: str) -> tuple[str, ...]:
    """The words of a topic; InvalidTopic."""
    words = tuple(topic.split("."))
    _check(topic, words)
    if ONE in words or REST in words:
        raise InvalidTopic(topic, "only patterns have * and #")
    return words


@lru_cache(4096)
def pattern_words(pattern: str) -> tuple[str, ...]:
    """The words of a pattern; InvalidTopic."""
    words = tuple(pattern.split("."))
    _check(pattern, words)
    if REST in words[:-1]:
        raise InvalidTopic(pattern, "# stands at the end")
    return words


def matches(pattern: str, topic: str) -> bool:
    """Whether a topic is one of a pattern's."""
    words, wanted = topic_words(topic), pattern_words(pattern)
    if wanted[-1] == REST:
        wanted, words = wanted[:-1], words[: len(wanted) - 1] if len(words) >= len(wanted) - 1 else words
    return len(words) == len(wanted) and all(one in (ONE, word) for one, word in zip(wanted, words, strict=True))


def covers(rule: str, pattern: str) -> bool:
    """Whether every topic of a pattern, or a topic itself, is one of a rule's."""
    wanted, given = pattern_words(rule), pattern_words(pattern)
    for place, word in enumerate(wanted):
        if word == REST:
            return True
        if place >= len(given) or given[place] == REST or word not in (ONE, given[place]):
            return False
    return len(wanted) == len(given)


class _Node[T]:
    __slots__ = ("here", "inner", "rest")

    def __init__(self) -> None:
        self.inner: dict[str, _Node[T]] = {}
        self.here: dict[T, None] = {}
        self.rest: dict[T, None] = {}


class Subscriptions[T]:
    """Subscribers by topic. A subscriber with several patterns that match gets a message once."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()
        self._patterns: dict[T, set[str]] = {}

    def add(self, pattern: str, subscriber: T) -> None:
        """Subscribe; twice is once. InvalidTopic."""
        words = pattern_words(pattern)
        node = self._root
        for word in words[:-1] if words[-1] == REST else words:
            node = node.inner.setdefault(word, _Node())
        (node.rest if words[-1] == REST else node.here)[subscriber] = None
        self._patterns.setdefault(subscriber, set()).add(pattern)

    def remove(self, pattern: str, subscriber: T) -> bool:
        """Unsubscribe; False when there was no such subscription."""
        patterns = self._patterns.get(subscriber, set())
        if pattern not in patterns:
            return False
        patterns.discard(pattern)
        if not patterns:
            del self._patterns[subscriber]
        self._remove(self._root, pattern_words(pattern), subscriber)
        return True

    def remove_all(self, subscriber: T) -> None:
        """Unsubscribe from everything."""
        for pattern in [*self._patterns.get(subscriber, ())]:
            self.remove(pattern, subscriber)

    def _remove(self, node: _Node[T], words: tuple[str, ...], subscriber: T) -> None:
        if not words:
            node.here.pop(subscriber, None)
        elif words == (REST,):
            node.rest.pop(subscriber, None)
        else:
            inner = node.inner[words[0]]
            self._remove(inner, words[1:], subscriber)
            if not (inner.here or inner.rest or inner.inner):
                del node.inner[words[0]]

    def of(self, topic: str) -> list[T]:
        """The subscribers of a topic, each once."""
        return list(dict.fromkeys(self._of(self._root, topic_words(topic))))

    def _of(self, node: _Node[T], words: tuple[str, ...]) -> Iterator[T]:
        yield from node.rest
        if not words:
            yield from node.here
            return
        for word in (words[0], ONE):
            inner = node.inner.get(word)
            if inner is not None:
                yield from self._of(inner, words[1:])

    def patterns(self, subscriber: T) -> list[str]:
        """The patterns of a subscriber, in order."""
        return sorted(self._patterns.get(subscriber, ()))

    def __len__(self) -> int:
        return sum(map(len, self._patterns.values()))
