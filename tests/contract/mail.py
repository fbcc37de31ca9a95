"""Compares what a subject pushes with what the oracle says is owed.

Every unblock is owed exactly once, to its listener. An execute may be sent again at any time as long as the
task is pending at that version, to an engine that its target names; the first one is owed when a task is
created, woken or continued, and is forgiven when the task moves on before it was sent. A subject may look at its
deadlines by itself before a request of the same moment: what that request ends may have been sent before it.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter

from .oracle import Oracle
from .stream import ADDRESSES

MAIL_S = 10.0
"""How long a message that is owed may take: it is sent after the answer, by another part of the subject."""

type Execute = tuple[str, int]
"""Task id and version."""


class Mail:
    """Messages of one run, the oracle's and the subject's."""

    def __init__(self, oracle: Oracle, patience_s: float = MAIL_S) -> None:
        self._oracle = oracle
        self._patience_s = patience_s
        self._arrived = asyncio.Event()
        self._allowed: dict[Execute, str] = {}
        self.clear()

    def clear(self) -> None:
        """Forget all messages: the state was reset."""
        self._unblocks_owed: Counter[str] = Counter()
        self._unblocks: Counter[str] = Counter()
        self._executes_owed: set[Execute] = set()
        self._executes: set[Execute] = set()
        self._under_way, self._allowed = self._allowed, {}  # what was sent again just before comes after the reset
        self._strange: list[tuple[Execute, str]] = []
        """Executes that nothing allowed when they came, and their addresses."""

    def owe(self, now: int) -> None:
        """Take over what the oracle's last request pushed, and which executes it allows from now on."""
        self._allowed |= self._oracle.due_before
        self._strange = [(key, address) for key, address in self._strange if not self._allows(key, address)]
        for address, message in self._oracle.pushed:
            if message["kind"] == "unblock":
                self._unblocks_owed[_unblock(address, message["data"]["promise"])] += 1
                continue
            key = (message["data"]["task"]["id"], message["data"]["task"]["version"])
            self._allowed[key] = address
            if address in ADDRESSES:
                self._executes_owed.add(key)
        self._allowed |= self._oracle.due(now)

    def receive(self, address: str, text: str) -> None:
        """A message pushed to the connection whose unicast address this is."""
        message = json.loads(text)
        if message["kind"] == "unblock":
            self._unblocks[_unblock(address, message["data"]["promise"])] += 1
        else:
            key = (message["data"]["task"]["id"], message["data"]["task"]["version"])
            if key not in self._allowed and key in self._under_way:
                return
            if not self._allows(key, address):
                self._strange.append((key, address))
            self._executes.add(key)
        self._arrived.set()

    async def difference(self) -> str | None:
        """Wait for what is owed; then what is missing or too much."""
        try:
            async with asyncio.timeout(self._patience_s):
                while self._missing():
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            pass
        lines = [f"not pushed: {missing}" for missing in self._missing()]
        lines += [f"pushed without reason: {key}" for key in _groups(self._unblocks) - _groups(self._unblocks_owed)]
        lines += [
            f"execute {key} to {address}, the target is {self._allowed.get(key)}" for key, address in self._strange
        ]
        return "\n".join(lines) or None

    def _allows(self, key: Execute, address: str) -> bool:
        target = self._allowed.get(key)
        return target is not None and (target == address or not target.startswith("poll://uni@"))

    def _missing(self) -> list[str]:
        unicast = Counter({key: n for key, n in self._unblocks_owed.items() if key.startswith("poll://uni@")})
        late = (_groups(self._unblocks_owed) - _groups(self._unblocks)) | (unicast - self._unblocks)
        waiting = [key for key in self._executes_owed - self._executes if self._still(*key)]
        return [*late, *(f"execute {key}" for key in waiting)]

    def _still(self, task_id: str, version: int) -> bool:
        task = self._oracle.tasks[task_id]
        return (task.state, task.version) == ("pending", version)


def _unblock(address: str, promise: dict[str, object]) -> str:
    return f"{address} {promise['id']} {promise['state']} {json.dumps(promise.get('value') or {}, sort_keys=True)}"


def _groups(unblocks: Counter[str]) -> Counter[str]:
    """The same without addresses: whoever listens to a group's address is any of its connections."""
    groups: Counter[str] = Counter()
    for key, count in unblocks.items():
        groups[key.split(" ", 1)[1]] += count
    return groups
