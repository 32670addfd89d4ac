"""Maps for asyncio: `hostmap.aio.Map` is a `hostmap.Map` whose calls never block the event loop.

    async with hostmap.aio.Map("sessions") as map:
        await map.put("user:7", b"...", ttl=60)
        value = await map.get("user:7")

Reads are a lookup in shared memory, faster than any switch of threads, and happen at once, in the
event loop. put_async, too, only queues a write. Everything that waits for the server runs in the
default executor of the loop; what may sleep for long (wait, watch, lease) has a thread of its own.
To write much, queue it with put_async and `await flush()` once.

Arguments, results and exceptions are those of the method of hostmap.Map with the same name. A call
that is cancelled has an unknown outcome if it changes the map; a lease that such a call still gets
is released.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import math
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, TypeVar

from . import _hostmap
from ._hostmap import Timeout
from ._thread import in_own_thread

T = TypeVar("T")

__all__ = ["Map"]

_MISSING: Any = object()
# A thread that sleeps for a call that was cancelled notices it after this time.
_SLICE_SECONDS = 1.0


class _Held(Exception):
    """Somebody else still has the lease."""


def _take(pairs: Iterator[tuple[Any, Any]], count: int) -> list[tuple[Any, Any]]:
    return list(itertools.islice(pairs, count))


async def _in_slices(
    attempt: Callable[[float], T], timeout: float | None, undo: Callable[[T], object] | None = None
) -> T:
    """Awaits attempt(seconds), which sleeps for at most that long and then raises Timeout or _Held,
    until `timeout` has passed. If the caller is cancelled, the thread soon ends, and what it may
    still get is undone."""
    end = math.inf if timeout is None else time.monotonic() + timeout
    cancelled = threading.Event()
    results: list[T] = []

    def give_back() -> None:
        try:
            result = results.pop()  # one of two threads gets it
        except IndexError:
            return
        if undo is not None:
            undo(result)

    def run() -> T:
        while True:
            try:
                result = attempt(min(_SLICE_SECONDS, max(0.0, end - time.monotonic())))
                break
            except (Timeout, _Held):
                if cancelled.is_set() or time.monotonic() >= end:
                    raise
        results.append(result)
        if cancelled.is_set():
            give_back()
        return result

    try:
        return await in_own_thread(run)
    except asyncio.CancelledError:
        cancelled.set()
        give_back()
        raise


class Map:
    """An asyncio Map. Takes the arguments of hostmap.Map, or a hostmap.Map in their place, which is
    then used by both.

    Connecting blocks for a moment; with wait_for_server for as long as the timeout says. One object
    may be used by several event loops and threads.
    """

    def __init__(self, name: str | _hostmap.Map[Any, Any] | None = None, **options: Any) -> None:
        if isinstance(name, _hostmap.Map):
            if options:
                raise TypeError(
                    f"these options belong to the Map that was given: {', '.join(options)}"
                )
            self._map: _hostmap.Map[Any, Any] = name
        else:
            self._map = _hostmap.Map(name, **options)

    @property
    def map(self) -> _hostmap.Map[Any, Any]:
        """The hostmap.Map below, for calls that may block."""
        return self._map

    async def _run(self, call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(
            None, functools.partial(call, *args, **kwargs)
        )

    # ---- the connection ----

    async def __aenter__(self) -> Map:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the connection, when calls in progress have ended."""
        await self._run(self._map.close)

    # ---- reading: at once, in the event loop ----

    async def get(self, key: Any, default: Any = None) -> Any:
        return self._map.get(key, default)

    async def get_many(self, keys: Iterable[Any]) -> dict[Any, Any]:
        return self._map.get_many(keys)

    async def get_into(self, key: Any, buffer: Any) -> int:
        return self._map.get_into(key, buffer)

    async def contains(self, key: Any) -> bool:
        return key in self._map

    async def ttl(self, key: Any) -> float | None:
        return self._map.ttl(key)

    # ---- reading the whole table: in the executor ----

    async def size(self) -> int:
        return await self._run(self._map.__len__)

    async def scan(self, prefix: Any = None) -> AsyncIterator[tuple[Any, Any]]:
        """`async for key, value in map.scan(prefix)`; the event loop runs between its parts."""
        pairs = self._map.scan(prefix)
        while True:
            part = await self._run(_take, pairs, 64)
            for pair in part:
                yield pair
            if not part:
                return

    # ---- writing ----

    async def put_async(
        self, key: Any, value: Any, ttl: float | None = None, *, keep_ttl: bool = False
    ) -> None:
        """Queues the write; sleeps, which blocks the event loop, only while the ring is full."""
        self._map.put_async(key, value, ttl, keep_ttl=keep_ttl)

    async def flush(self) -> None:
        await self._run(self._map.flush)

    async def put(
        self, key: Any, value: Any, ttl: float | None = None, *, keep_ttl: bool = False
    ) -> None:
        await self._run(self._map.put, key, value, ttl, keep_ttl=keep_ttl)

    async def put_many(
        self, items: Any, ttl: float | None = None, *, keep_ttl: bool = False
    ) -> None:
        await self._run(self._map.put_many, items, ttl, keep_ttl=keep_ttl)

    async def add(self, key: Any, value: Any, ttl: float | None = None) -> bool:
        return await self._run(self._map.add, key, value, ttl)

    async def replace(self, key: Any, expected: Any, desired: Any) -> bool:
        return await self._run(self._map.replace, key, expected, desired)

    async def replace_existing(
        self, key: Any, value: Any, ttl: float | None = None, *, keep_ttl: bool = False
    ) -> bool:
        return await self._run(self._map.replace_existing, key, value, ttl, keep_ttl=keep_ttl)

    async def exchange(self, key: Any, value: Any) -> Any:
        return await self._run(self._map.exchange, key, value)

    async def setdefault(self, key: Any, default: Any) -> Any:
        return await self._run(self._map.setdefault, key, default)

    async def incr(
        self, key: Any, by: float = 1, initial: float = 0, ttl: float | None = None
    ) -> Any:
        return await self._run(self._map.incr, key, by, initial, ttl)

    async def append(self, key: Any, more: Any) -> int:
        return await self._run(self._map.append, key, more)

    async def expire(self, key: Any, ttl: float | None) -> bool:
        return await self._run(self._map.expire, key, ttl)

    async def persist(self, key: Any) -> bool:
        return await self._run(self._map.persist, key)

    async def modify(self, key: Any, function: Callable[[Any], Any]) -> Any:
        """`function` runs in a thread of the executor."""
        return await self._run(self._map.modify, key, function)

    async def pop(self, key: Any, default: Any = _MISSING) -> Any:
        return await (
            self._run(self._map.pop, key)
            if default is _MISSING
            else self._run(self._map.pop, key, default)
        )

    async def delete(self, key: Any) -> bool:
        """Removes the key; False: it was absent."""
        return await self._run(self._map.delete_many, [key]) == 1

    async def delete_if(self, key: Any, expected: Any) -> bool:
        return await self._run(self._map.delete_if, key, expected)

    async def delete_many(self, keys: Iterable[Any]) -> int:
        return await self._run(self._map.delete_many, keys)

    async def delete_prefix(self, prefix: Any) -> int:
        return await self._run(self._map.delete_prefix, prefix)

    async def clear(self) -> None:
        await self._run(self._map.clear)

    # ---- waiting and leases: in a thread of their own ----

    async def wait(self, key: Any, known: Any = None, timeout: float | None = None) -> Any:
        return await _in_slices(lambda seconds: self._map.wait(key, known, seconds), timeout)

    async def watch(self, key: Any) -> AsyncIterator[Any]:
        """`async for value in map.watch(key)`: its value now (None: absent), then each other."""
        value = self._map.get(key)
        while True:
            yield value
            value = await self.wait(key, value)

    async def lease(self, key: Any, length: float, wait: float | None = 0) -> int | None:
        def attempt(seconds: float) -> int:
            number = self._map.lease(key, length, seconds)
            if number is None:
                raise _Held
            return number

        try:
            return await _in_slices(attempt, wait, lambda number: self._map.release(key, number))
        except _Held:
            return None

    async def release(self, key: Any, number: int) -> bool:
        return await self._run(self._map.release, key, number)
