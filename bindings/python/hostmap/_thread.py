"""Calls that sleep, awaited without blocking an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_own_thread(call: Callable[[], T]) -> T:
    """Awaits a call that may sleep long. It has a thread of its own: in a pool, calls that wait for
    a result could keep the call that computes it from running."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def resolve(value: T | None, error: BaseException | None) -> None:
        if outcome.cancelled():
            return
        if isinstance(error, StopIteration):  # which no future takes
            raised = RuntimeError("the call raised StopIteration")
            raised.__cause__ = error
            error = raised
        if error is None:
            outcome.set_result(value)  # type: ignore[arg-type]
        else:
            outcome.set_exception(error)

    def run() -> None:
        value: T | None = None
        error: BaseException | None = None
        try:
            value = call()
        except BaseException as raised:  # raised again by the coroutine that awaits
            error = raised
        try:
            loop.call_soon_threadsafe(resolve, value, error)
        except RuntimeError:  # the loop has been closed: nobody waits for this any more
            pass

    threading.Thread(target=run, name="hostmap-wait", daemon=True).start()
    return await outcome
