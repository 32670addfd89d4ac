"""hostmap.aio: a Map whose calls do not block the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import hostmap
import hostmap.aio
import pytest

SECONDS = 60


def run(main: Awaitable[Any]) -> Any:
    async def limited() -> Any:
        return await asyncio.wait_for(main, SECONDS)

    return asyncio.run(limited())


def test_its_methods_do_what_those_of_a_map_do(server: Any) -> None:
    async def main() -> None:
        async with hostmap.aio.Map(server.name) as map:
            await map.put("a", b"1")
            assert await map.get("a") == b"1"
            assert await map.get("absent") is None
            assert await map.get("absent", 0) == 0
            assert await map.contains("a")
            assert not await map.contains("absent")
            await map.put_many({"b": b"2", "c": b"3"}, ttl=100)
            assert await map.get_many(["a", "b", "absent"]) == {"a": b"1", "b": b"2"}
            assert 0 < await map.ttl("b") <= 100
            assert await map.ttl("a") is None
            assert await map.size() == 3
            assert await map.expire("a", 50)
            await map.put("a", b"1", keep_ttl=True)
            assert 0 < await map.ttl("a") <= 50
            assert await map.replace_existing("a", b"1", keep_ttl=True)
            await map.put_async("a", b"1", keep_ttl=True)
            await map.put_many({"a": b"1"}, keep_ttl=True)
            assert 0 < await map.ttl("a") <= 50
            assert await map.persist("a")
            assert not await map.add("a", b"2")
            assert await map.add("d", b"4", 10)
            assert await map.replace("a", b"1", b"5")
            assert not await map.replace("a", b"1", b"6")
            assert not await map.replace_existing("absent", b"1")
            assert await map.exchange("a", b"7") == b"5"
            assert await map.setdefault("a", b"8") == b"7"
            assert await map.incr("n") == 1
            assert await map.incr("n", 2.5) == 3.5
            assert await map.append("a", b"8") == 2
            buffer = bytearray(2)
            assert await map.get_into("a", buffer) == 2
            assert buffer == b"78"
            assert await map.modify("a", lambda value: value[:1]) == b"7"
            assert sorted([key async for key, _ in map.scan()]) == ["a", "b", "c", "d", "n"]
            assert [pair async for pair in map.scan("b")] == [("b", b"2")]
            assert await map.pop("a") == b"7"
            assert await map.pop("a", None) is None
            with pytest.raises(KeyError):
                await map.pop("a")
            assert await map.delete("b")
            assert not await map.delete("b")
            assert not await map.delete_if("c", b"0")
            assert await map.delete_many(["c", "b"]) == 1
            assert await map.delete_prefix("d") == 1
            await map.clear()
            assert await map.size() == 0
        with pytest.raises(hostmap.Invalid):
            await map.get("a")

    run(main())


def test_queued_writes_are_read_at_once_and_flushed(server: Any, m: Any) -> None:
    async def main() -> None:
        async with hostmap.aio.Map(server.name) as map:
            for number in range(1000):
                await map.put_async(f"key {number}", b"value", ttl=100)
            assert await map.get("key 999") == b"value"
            await map.flush()
            assert len(m) == 1000

    run(main())


def test_it_shares_a_map(m: Any) -> None:
    async def main() -> None:
        map = hostmap.aio.Map(m)
        assert map.map is m
        await map.put("a", b"1")

    run(main())
    assert m["a"] == b"1"
    with pytest.raises(TypeError, match="these options belong to the Map that was given: timeout"):
        hostmap.aio.Map(m, timeout=1)


def test_a_scan_of_many_keys_sees_each_once(server: Any, m: Any) -> None:
    m.put_many({f"key {number}": b"" for number in range(1000)})

    async def main() -> None:
        keys = [key async for key, _ in hostmap.aio.Map(m).scan()]
        assert sorted(keys) == sorted(m)
        assert len(keys) == 1000

    run(main())


def test_waiting_lets_the_loop_run(server: Any, m: Any) -> None:
    async def main() -> None:
        async with hostmap.aio.Map(server.name) as map:
            waits = asyncio.ensure_future(map.wait("key"))
            await asyncio.sleep(0.05)
            assert not waits.done()
            m["key"] = b"1"
            assert await waits == b"1"
            with pytest.raises(hostmap.Timeout):
                await map.wait("key", b"1", 0.05)
            with pytest.raises(hostmap.Timeout):
                await map.wait("key", b"1", 0)

    run(main())


def test_watching_yields_each_value(server: Any, m: Any) -> None:
    async def main() -> None:
        async with hostmap.aio.Map(server.name) as map:
            changes = map.watch("key")
            assert await anext(changes) is None
            m["key"] = b"1"
            assert await anext(changes) == b"1"
            del m["key"]
            assert await anext(changes) is None
            await changes.aclose()

    run(main())


def test_a_lease_is_waited_for(server: Any, m: Any) -> None:
    async def main() -> None:
        async with hostmap.aio.Map(server.name) as map:
            number = m.lease("lock", 60)
            assert await map.lease("lock", 60) is None
            assert await map.lease("lock", 60, 0.05) is None
            waits = asyncio.ensure_future(map.lease("lock", 60, None))
            await asyncio.sleep(0.05)
            assert not waits.done()
            assert m.release("lock", number)
            later = await waits
            assert later > number
            assert await map.release("lock", later)
            assert not await map.release("lock", later)

    run(main())


async def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS / 2
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


def test_a_lease_whose_caller_was_cancelled_is_released(server: Any, m: Any) -> None:
    async def main() -> None:
        async with hostmap.aio.Map(server.name) as map:
            number = m.lease("lock", 60)
            waits = asyncio.ensure_future(map.lease("lock", 60, None))
            await asyncio.sleep(0.05)
            waits.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waits
            assert m.release("lock", number)
            free: list[int] = []

            def is_free() -> bool:
                found = m.lease("lock", 60)
                if found is not None:
                    free.append(found)
                return bool(free)

            await until(is_free)
            # Nobody takes it away again: the thread of the cancelled call ends without it.
            assert m.release("lock", free[0])

    run(main())


def test_a_cancelled_wait_ends_its_thread(server: Any, m: Any) -> None:
    import threading

    def waiting() -> int:
        return sum(thread.name == "hostmap-wait" for thread in threading.enumerate())

    async def main() -> None:
        async with hostmap.aio.Map(server.name) as map:
            waits = asyncio.ensure_future(map.wait("key"))
            await asyncio.sleep(0.05)
            assert waiting() == 1
            waits.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waits
            await until(lambda: waiting() == 0)

    run(main())


def test_exceptions_are_those_of_a_map(own_server: Any) -> None:
    async def main() -> None:
        async with hostmap.aio.Map(own_server.name, timeout=0.2) as map:
            with pytest.raises(KeyError):
                await map.ttl("absent")
            await map.put("text", b"x")
            with pytest.raises(hostmap.NotANumber):
                await map.incr("text")
            own_server.pause()
            with pytest.raises(hostmap.Timeout) as caught:
                await map.put("key", b"value")
            assert caught.value.outcome_unknown
            assert await map.get("text") == b"x"
            own_server.resume()

    run(main())
    with pytest.raises(hostmap.NoServer):
        hostmap.aio.Map("no-such-server")
