"""The interceptor that completes promises: hands every Result and Error to the correlation."""

from __future__ import annotations

from bridge.correlation import Correlation
from bridge.messages import Error, FromWorker, Result


class ResultRouter:
    """Resolves with a Result's fields, rejects with an Error's; everything else is not its business."""

    def __init__(self, correlation: Correlation) -> None:
        self._correlation = correlation

    def __call__(self, message: FromWorker) -> None:
        if isinstance(message, Result):
            self._correlation.resolve(message.execution_id, message.model_dump())
        elif isinstance(message, Error) and message.execution_id is not None:
            self._correlation.reject(message.execution_id, message.model_dump())
