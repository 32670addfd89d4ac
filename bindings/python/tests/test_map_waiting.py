"""Map: the methods that sleep until another thread or process does something."""

from __future__ import annotations

import threading
import time
from typing import Any

import hostmap
import pytest


def test_wait(m: Any) -> None:
    m["a"] = b"1"
    assert m.wait("a") == b"1" and m.wait("a", b"0") == b"1" and m.wait("b", b"0") is None
    with pytest.raises(hostmap.Timeout) as caught:
        m.wait("a", b"1", timeout=0.01)
    assert isinstance(caught.value, TimeoutError) and not caught.value.outcome_unknown
    with pytest.raises(TimeoutError):
        m.wait("b", timeout=0)
    timer = threading.Timer(0.05, lambda: m.put("a", b"2"))
    timer.start()
    assert m.wait("a", b"1", timeout=30) == b"2"
    timer.join()
    m["empty"] = b""
    assert m.wait("empty", b"x") == b""
    with pytest.raises(TimeoutError):
        m.wait("empty", b"", timeout=0)


def test_watch(m: Any) -> None:
    watch = m.watch("a")
    assert next(watch) is None
    m["a"] = b"1"
    assert next(watch) == b"1"
    m["a"] = b""
    assert next(watch) == b""
    del m["a"]
    assert next(watch) is None
    timer = threading.Timer(0.05, lambda: m.put("a", b"2"))
    timer.start()
    assert next(watch) == b"2"
    timer.join()


def test_lease(m: Any) -> None:
    number = m.lease("job", 10)
    assert number > 0 and m.lease("job", 10) is None and m.lease("job", 10, wait=0.01) is None
    assert not m.release("job", number + 1) and m.release("job", number) and not m.release("job", number)
    assert m.lease("job", 0.01) > number
    assert m.lease("job", 10, wait=None) > number + 1  # the one before ends by itself


def test_compute(m: Any, server: Any) -> None:
    value, number = m.compute_begin("k", 10)
    assert value is None and number > 0
    results = []

    def ask() -> None:
        with server.connect() as other:
            results.append(other.compute_begin("k", 10))

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.05)
    assert results == []
    m.compute_put("k", b"computed", number, ttl=100)
    thread.join(60)
    assert results == [(b"computed", 0)] and m.compute_begin("k", 10) == (b"computed", 0) and m.ttl("k") > 99
    with pytest.raises(hostmap.Error):
        m.compute_put("k", b"again", number)


@pytest.mark.parametrize("code, expected", [(1, KeyError), (3, hostmap.Mismatch), (9, hostmap.Full), (15, hostmap.Internal)])
def test_compute_that_fails(m: Any, server: Any, code: int, expected: type[BaseException]) -> None:
    _, number = m.compute_begin("k", 10)
    errors: list[BaseException] = []

    def ask() -> None:
        with server.connect() as other:
            try:
                other.compute_begin("k", 10)
            except Exception as error:
                errors.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.05)
    m.compute_fail("k", number, code)
    thread.join(60)
    assert [type(error) for error in errors] == [expected]


