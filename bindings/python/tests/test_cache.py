"""@hostmap.cache: one computation for all who miss at once."""

from __future__ import annotations

import asyncio
import datetime
import enum
import multiprocessing
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import hostmap
import pytest

SECONDS = 60


@pytest.fixture
def results(server: Any) -> Iterator[Any]:
    with server.connect(codec=hostmap.codecs.JSON) as connected:
        yield connected


def test_a_result_is_computed_once(results: Any) -> None:
    calls = []

    @hostmap.cache(results)
    def double(x: int) -> int:
        """Doubles."""
        calls.append(x)
        return 2 * x

    assert [double(1), double(1), double(2), double(1)] == [2, 2, 4, 2]
    assert calls == [1, 2]
    assert double.__name__ == "double"
    assert double.__doc__ == "Doubles."


@pytest.mark.parametrize("value", [None, False, 0, "", [], {}])
def test_empty_results_are_results(results: Any, value: Any) -> None:
    calls = []

    @hostmap.cache(results, prefix="empty")
    def compute() -> Any:
        calls.append(1)
        return value

    assert compute() == value
    assert compute() == value
    assert len(calls) == 1


def test_the_first_call_returns_what_later_ones_read(results: Any) -> None:
    @hostmap.cache(results)
    def pair() -> Any:
        return (1, 2)

    assert pair() == [1, 2]
    assert pair() == [1, 2]


def test_a_map_of_bytes_stores_bytes(m: Any) -> None:
    @hostmap.cache(m)
    def render(name: str) -> bytes:
        return bytearray(name.encode())

    assert render("home") == b"home"
    assert type(render("home")) is bytes
    assert m[render.cache_key("home")] == b"home"


def test_the_same_call_has_one_key_however_it_is_written(results: Any) -> None:
    @hostmap.cache(results)
    def function(a: int, b: int = 0, *, c: int = 0) -> list[int]:
        return [a, b, c]

    key = function.cache_key
    assert key(1, 2) == key(1, b=2) == key(b=2, a=1)
    assert key(1, c=3, b=2) == key(1, 2, c=3)
    assert function(1, b=2, c=3) == [1, 2, 3]
    with pytest.raises(TypeError):
        function(1, d=2)
    with pytest.raises(TypeError):
        function()


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


DIFFERENT = [
    (),
    (None,),
    (True,),
    (1,),
    (1.0,),
    ("1",),
    (b"1",),
    (1j,),
    (1, 2),
    ((1, 2),),
    ([1, 2],),
    ((1,), 2),
    ("a,b",),
    ("a", "b"),
    ({1, 2},),
    (frozenset({1, 2}),),
    ({1: 2},),
    ({"1": 2},),
    (((),),),
    ([],),
    ({},),
    (Colour.RED,),
    (Colour.BLUE,),
    (datetime.date(2026, 1, 2),),
    (datetime.datetime(2026, 1, 2),),
    (datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc),),
    (datetime.timedelta(1),),
    (Decimal(1),),
    (uuid.UUID(int=1),),
    (range(3),),
    ("x" * 5000,),
    ("x" * 5001,),
    (float("nan"),),
    (-0.0,),
    (0.0,),
    ("\udc80",),
    ("a'b",),
    ('a"b',),
]


def test_different_arguments_have_different_keys(results: Any) -> None:
    @hostmap.cache(results)
    def function(*args: Any) -> int:
        return 0

    keys = [function.cache_key(*args) for args in DIFFERENT]
    assert len(set(keys)) == len(DIFFERENT)
    assert max(map(len, keys)) < 1000


def test_keys_do_not_depend_on_the_process() -> None:
    program = """
import datetime, hostmap
@hostmap.cache(prefix="p")
def function(*args, **kwargs): pass
day = datetime.date(2026, 1, 2)
arguments = {3, "b", None, (1, 2)}, {"x": {1.5}, "w": [b"y"]}, day
print(function.cache_key(1, "a", *arguments, e=frozenset("abc"), d=1))
"""
    keys = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            check=True,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        ).stdout
        for seed in range(4)
    }
    assert len(keys) == 1


def test_an_argument_without_a_stable_form_is_a_type_error(results: Any) -> None:
    @hostmap.cache(results)
    def function(argument: Any) -> int:
        return 0

    for argument in (object(), [object()], {"a": object()}, int, lambda: 0):
        with pytest.raises(
            TypeError,
            match="no form that is the same in all processes; give @hostmap.cache a key= function",
        ):
            function(argument)


def test_a_key_function_replaces_the_arguments(results: Any) -> None:
    class User:
        id = 17

    @hostmap.cache(results, prefix="user", key=lambda user, **_: str(user.id))
    def load(user: User, verbose: bool = False) -> int:
        return user.id

    assert load(User(), verbose=True) == 17
    assert load.cache_key(User()) == "user(17)"
    assert results["user(17)"] == 17

    @hostmap.cache(results, key=lambda: 1)
    def wrong() -> int:
        return 0

    with pytest.raises(TypeError, match="returned int; it must return str"):
        wrong()


def test_results_end(results: Any) -> None:
    calls = []

    @hostmap.cache(results, ttl=0.2)
    def compute() -> int:
        calls.append(1)
        return len(calls)

    assert compute() == 1
    assert 0 < results.ttl(compute.cache_key()) <= 0.2
    while compute.cache_key() in results:
        time.sleep(0.01)
    assert compute() == 2


def test_clearing_forgets_the_results_of_this_function_alone(results: Any) -> None:
    @hostmap.cache(results, prefix="one")
    def one(x: int) -> int:
        return x

    @hostmap.cache(results, prefix="one_more")
    def one_more(x: int) -> int:
        return x

    for x in range(3):
        one(x)
        one_more(x)
    one("long" * 1000)
    assert one.cache_clear() == 4
    assert one.cache_clear() == 0
    assert len(results) == 3
    assert one(1) == 1


def test_an_exception_passes_through_and_is_not_stored(results: Any) -> None:
    outcomes: list[Any] = [ValueError("first"), KeyboardInterrupt(), 3]

    @hostmap.cache(results)
    def compute() -> int:
        outcome = outcomes.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    with pytest.raises(ValueError, match="first"):
        compute()
    with pytest.raises(KeyboardInterrupt):
        compute()
    assert compute() == 3
    assert compute() == 3


def test_a_result_that_cannot_be_stored_is_an_error_and_frees_the_task(results: Any) -> None:
    values = [{1}, 2]

    @hostmap.cache(results)
    def compute() -> Any:
        return values.pop(0)

    with pytest.raises(TypeError, match="not JSON serializable"):
        compute()
    assert compute() == 2


def test_threads_that_miss_at_once_compute_once(results: Any) -> None:
    calls = []
    started = threading.Barrier(8)

    @hostmap.cache(results)
    def compute() -> int:
        calls.append(1)
        time.sleep(0.2)
        return 7

    values = []

    def run() -> None:
        started.wait(SECONDS)
        values.append(compute())

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert values == [7] * 8
    assert len(calls) == 1


def compute_in_child(name: str, barrier: Any, queue: Any) -> None:
    with hostmap.connect(name) as counts, hostmap.connect(name, codec=hostmap.codecs.JSON) as map:

        @hostmap.cache(map, prefix="children")
        def compute() -> int:
            time.sleep(0.2)
            return counts.incr("computed")

        barrier.wait(SECONDS)
        queue.put(compute())


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_that_miss_at_once_compute_once(server: Any, m: Any, method: str) -> None:
    context = multiprocessing.get_context(method)
    barrier, queue = context.Barrier(4), context.Queue()
    children = [
        context.Process(target=compute_in_child, args=(server.name, barrier, queue))
        for _ in range(4)
    ]
    for child in children:
        child.start()
    assert [queue.get(timeout=SECONDS) for _ in children] == [1] * 4
    for child in children:
        child.join(SECONDS)
        assert child.exitcode == 0
    assert m["computed"] == b"1"


def test_an_exception_passes_through_where_the_server_is_gone(own_server: Any) -> None:
    with own_server.connect(codec=hostmap.codecs.JSON, timeout=1) as results:

        @hostmap.cache(results)
        def compute() -> int:
            own_server.stop()
            raise ValueError("the reason")

        try:
            with pytest.raises(ValueError, match="the reason"):
                compute()
        finally:
            own_server.start()


def test_those_who_wait_for_a_computation_that_fails_compute_themselves(results: Any) -> None:
    calls: list[int] = []
    begun = threading.Event()

    @hostmap.cache(results)
    def compute() -> int:
        calls.append(1)
        if len(calls) == 1:
            begun.set()
            time.sleep(0.3)
            raise ValueError("first")
        return len(calls)

    def fail() -> None:
        with pytest.raises(ValueError, match="first"):
            compute()

    first = threading.Thread(target=fail)
    first.start()
    assert begun.wait(SECONDS)
    assert compute() == 2
    first.join(SECONDS)


def test_a_wait_may_last_longer_than_the_timeout_of_the_map(server: Any) -> None:
    with server.connect(codec=hostmap.codecs.JSON, timeout=0.1) as results:
        begun = threading.Event()

        @hostmap.cache(results)
        def compute() -> int:
            begun.set()
            time.sleep(0.5)
            return 1

        first = threading.Thread(target=compute)
        first.start()
        assert begun.wait(SECONDS)
        assert compute() == 1
        first.join(SECONDS)


def die_while_computing(name: str) -> None:
    map = hostmap.connect(name, codec=hostmap.codecs.JSON)

    @hostmap.cache(map, prefix="dies")
    def compute() -> int:
        os._exit(1)

    compute()


def test_a_process_that_dies_while_it_computes_leaves_the_task_to_another(
    server: Any, results: Any
) -> None:
    child = multiprocessing.get_context("spawn").Process(
        target=die_while_computing, args=(server.name,)
    )
    child.start()
    child.join(SECONDS)
    assert child.exitcode == 1

    @hostmap.cache(results, prefix="dies")
    def compute() -> int:
        return 5

    assert compute() == 5


def test_computations_may_nest_deeper_than_a_process_can_hold_leases(results: Any) -> None:
    calls = []

    @hostmap.cache(results)
    def fibonacci(n: int) -> int:
        calls.append(n)
        return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

    assert fibonacci(150) == 9969216677189303386214405760200
    assert sorted(calls) == list(range(151))
    assert fibonacci.cache_clear() == 151


def test_a_computation_that_calls_itself_is_a_recursion_error(results: Any) -> None:
    @hostmap.cache(results)
    def compute(x: int) -> int:
        return compute(x)

    @hostmap.cache(results)
    async def compute_later(x: int) -> int:
        return await compute_later(x)

    with pytest.raises(RecursionError, match="has called itself with these arguments"):
        compute(1)
    with pytest.raises(RecursionError, match="has called itself with these arguments"):
        asyncio.run(asyncio.wait_for(compute_later(1), SECONDS))
    assert len(results) == 0


def test_names_of_servers_connect_at_the_first_call(server: Any) -> None:
    @hostmap.cache("no-such-server")
    def nowhere() -> int:
        return 0

    with pytest.raises(hostmap.NoServer):
        nowhere()

    @hostmap.cache(server.name, prefix="named")
    def somewhere() -> int:
        return 1

    assert somewhere() == 1
    assert somewhere.cache_clear() == 1


def test_the_main_module_has_a_name_of_its_own(tmp_path: Any) -> None:
    program = "import hostmap\n@hostmap.cache\ndef f(): pass\nprint(f.cache_key())\n"
    keys = set()
    for name in ("one.py", "two.py"):
        (tmp_path / name).write_text(program)
        keys.add(
            subprocess.run(
                [sys.executable, str(tmp_path / name)],
                check=True,
                capture_output=True,
                text=True,
                timeout=SECONDS,
            ).stdout
        )
    assert keys == {f"cache:__main__:{tmp_path}/{name}.f(())\n" for name in ("one.py", "two.py")}


def test_a_wrong_use_is_refused_at_once(server: Any, m: Any) -> None:
    with pytest.raises(TypeError, match="takes a Map, the name of a server, or nothing; not dict"):
        hostmap.cache({})
    with pytest.raises(
        ValueError, match="ttl of @hostmap.cache is a number of seconds above 0, or None; not 0"
    ):
        hostmap.cache(m, ttl=0)
    with pytest.raises(
        ValueError, match="lease of @hostmap.cache is a number of seconds above 0, not -1"
    ):
        hostmap.cache(m, lease=-1)
    with (
        server.connect(encoding=None) as of_bytes,
        pytest.raises(TypeError, match="needs a Map with str keys"),
    ):
        hostmap.cache(of_bytes)
    with pytest.raises(TypeError, match="is a generator, whose result cannot be stored"):

        @hostmap.cache(m)
        def generate() -> Any:
            yield 1

    with pytest.raises(TypeError, match="decorates functions, not int"):
        hostmap.cache(m)(3)
    with pytest.raises(TypeError, match="decorates functions, not classmethod"):
        hostmap.cache(m)(classmethod(len))


def test_a_closed_map_is_an_error(server: Any) -> None:
    map = server.connect(codec=hostmap.codecs.JSON)

    @hostmap.cache(map)
    def compute() -> int:
        return 1

    assert compute() == 1
    map.close()
    with pytest.raises(hostmap.Invalid):
        compute()


# ---- async ----


def test_coroutines_that_miss_at_once_compute_once(results: Any) -> None:
    calls = []

    @hostmap.cache(results)
    async def compute(x: int) -> int:
        calls.append(x)
        # Needs a thread of the default executor: waiting calls must not have taken them all.
        await asyncio.to_thread(time.sleep, 0.1)
        return x

    async def main() -> list[int]:
        return await asyncio.gather(*(compute(n % 2) for n in range(200)))

    assert asyncio.run(asyncio.wait_for(main(), SECONDS)) == [0, 1] * 100
    assert sorted(calls) == [0, 1]


def test_a_coroutine_does_not_block_the_loop_while_another_process_computes(results: Any) -> None:
    @hostmap.cache(results, prefix="blocks")
    async def compute() -> int:
        return 2

    value, number = results.compute_begin(compute.cache_key(), 30.0)
    assert value is None

    async def main() -> int:
        waits = asyncio.ensure_future(compute())
        await asyncio.sleep(0.1)  # the loop runs
        assert not waits.done()
        results.compute_put(compute.cache_key(), 1, number)
        return await waits

    assert asyncio.run(asyncio.wait_for(main(), SECONDS)) == 1


def test_more_coroutines_compute_at_once_than_a_process_can_hold_leases(results: Any) -> None:
    calls = []

    @hostmap.cache(results)
    async def compute(x: int) -> int:
        calls.append(x)
        await asyncio.sleep(0.1)
        return x

    async def main() -> list[int]:
        return await asyncio.gather(*(compute(n % 300) for n in range(600)))

    assert asyncio.run(asyncio.wait_for(main(), SECONDS)) == list(range(300)) * 2
    assert sorted(calls) == list(range(300))


def test_an_exception_of_a_coroutine_passes_through_and_the_next_computes(results: Any) -> None:
    calls = []

    @hostmap.cache(results)
    async def compute() -> int:
        calls.append(1)
        await asyncio.sleep(0.05)
        if len(calls) == 1:
            raise ValueError("first")
        return len(calls)

    async def main() -> list[Any]:
        return await asyncio.gather(compute(), compute(), compute(), return_exceptions=True)

    first, second, third = asyncio.run(asyncio.wait_for(main(), SECONDS))
    assert isinstance(first, ValueError)
    assert (second, third) == (2, 2)


@pytest.mark.parametrize("when", ["while it waits", "while it computes"])
def test_a_coroutine_that_is_cancelled_leaves_the_task_to_another(results: Any, when: str) -> None:
    @hostmap.cache(results, prefix="cancelled")
    async def compute(seconds: float = 0) -> int:
        await asyncio.sleep(SECONDS * 2 if block else 0)
        return 3

    block = True
    key = compute.cache_key()
    number = results.compute_begin(key, 30.0)[1] if when == "while it waits" else 0

    async def main() -> int:
        nonlocal block
        cancelled = asyncio.ensure_future(compute())
        await asyncio.sleep(0.2)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        if number:
            results.compute_fail(
                key, number, 3
            )  # its thread now gets the task, which nobody wants any more
        block = False
        return await compute()

    assert asyncio.run(asyncio.wait_for(main(), SECONDS)) == 3
