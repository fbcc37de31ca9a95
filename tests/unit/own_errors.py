"""Each caller gets its own error, in whatever thread: the same for modules and components."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from capabilities.sandbox import errors
from capabilities.sandbox.wasm.fuel_meter import FuelMeter


def strangers(make: Callable[[Callable[[int], Any]], Any], trap: str) -> list[object]:
    """What came to a caller in eight threads that was not its own. make: a call with this host function."""
    wrong: list[object] = []

    def work(thread: int) -> None:
        def host(n: int) -> int:
            raise ValueError(f"thread {thread} call {n}")

        for n in range(20):
            try:
                make(host).call("ask", n)
            except errors.HostError as error:
                if str(error.__cause__) != f"thread {thread} call {n}":
                    wrong.append(error)
            except Exception as error:
                wrong.append(error)
            try:
                make(host).call(trap)
            except errors.ComponentTrapped:
                pass
            except Exception as error:
                wrong.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return wrong


def cancelled(call: FuelMeter, work: Callable[[], Any], begun: Callable[[], Any]) -> BaseException | None:
    """What `work` came to in a thread of its own, when its call was cancelled as soon as `begun` returned."""
    with ThreadPoolExecutor(1) as threads:
        ending = threads.submit(work)
        try:
            begun()
        finally:
            call.cancel()
        return ending.exception(60)
