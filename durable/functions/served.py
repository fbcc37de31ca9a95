"""Every durable function of this process by identity, and the pass that the SDK calls for each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from durable.functions import sdk
from durable.functions.context import Cells, Context
from durable.functions.failure import Rejection
from durable.functions.function import Function
from durable.functions.run import Run, current, forget_frames
from durable.functions.sdk import SdkContext
from durable.functions.steps import StepThreads
from durable.functions.values import bind_json, encode

type Load = Callable[[str], Awaitable[list[dict[str, Any]]]]


class Passes:
    """Runs passes of durable functions for one engine."""

    def __init__(
        self,
        *,
        load: Load,
        closing: Callable[[], bool],
        threads: StepThreads,
        cells: Cells,
    ) -> None:
        self._load = load
        self._closing = closing
        self._threads = threads
        self._cells = cells
        self.resumed: set[str] = set()
        """Executions that suspended here and may be passed again under the same lease."""

    def of(self, function: Function[..., Any]) -> Callable[..., Awaitable[Any]]:
        """The callable that the SDK's registry holds for a function."""

        async def attempt(ctx: SdkContext, *args: Any, **kwargs: Any) -> Any:
            try:
                return await self._pass(function, ctx, list(args), kwargs)
            except (Rejection, sdk.ResonateError):
                raise
            except Exception as error:  # the function's own are rejections by now
                raise sdk.PlatformError([sdk.internal(f"pass {function.name}", error)]) from error

        return attempt

    async def _pass(
        self, function: Function[..., Any], ctx: SdkContext, args: list[Any], kwargs: dict[str, Any]
    ) -> Any:
        promise_id = ctx.info.id
        first = sdk.first_attempt(ctx) and promise_id not in self.resumed
        run = Run(ctx, promise_id, self._closing)
        if not first:
            run.load(await self._load(promise_id))
        context = Context(run, ctx, self._threads, self._cells)
        token = current.set(run)
        try:
            bound = bind_json(function.fn, args, kwargs, skip_first=True)
            value = await function.fn(context, *bound.args, **bound.kwargs)
            result = None if run.suspended else encode(value, f"the result of {function.name}", function.returns)
        except BaseException as error:
            meant = await run.meaning(error)
            if isinstance(meant, sdk.Suspended):
                self.resumed.add(promise_id)
                forget_frames(error)
                sdk.forget_suspended(ctx)
            try:
                raise meant from None
            finally:
                del meant  # its traceback holds this frame
        finally:
            current.reset(token)
        if not await run.finish():  # the function swallowed its suspension; the SDK suspends it all the same
            self.resumed.add(promise_id)
        return result
