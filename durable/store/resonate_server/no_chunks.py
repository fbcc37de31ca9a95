"""The place of large chunks of checkpoints on a Resonate server: there is none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

from durable.core.errors import StoreLacks


class NoChunks:
    """The methods of `RemoteChunks`; each raises StoreLacks."""

    def __init__(self, url: str) -> None:
        self._url = url

    def put_many(self, _blobs: Iterable[tuple[str, bytes | memoryview]]) -> None:
        self._lacking()

    def get(self, _digest: str) -> bytes | None:
        self._lacking()

    def get_many(self, _digests: Iterable[str]) -> dict[str, bytes]:
        self._lacking()

    def exists(self, _digest: str) -> bool:
        self._lacking()

    def delete(self, _digest: str) -> bool:
        self._lacking()

    def list(self) -> Iterator[Any]:
        self._lacking()

    def _lacking(self) -> NoReturn:
        raise StoreLacks(self._url, "checkpoints")
