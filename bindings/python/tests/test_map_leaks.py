"""No method keeps a reference or memory that it should not, in success and in failure."""

from __future__ import annotations

import gc
import os
import statistics
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import hostmap
import pytest

from test_map import Json
from test_map_refusals import OPTIONS, REFUSALS


COUNTS_REFERENCES = "HOSTMAP_COUNTS_REFERENCES" in os.environ


def resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def everything(m: Any, objects: Any) -> None:
    """Each method once, with values that no cache of the interpreter holds."""
    key = "key of the leak test"
    value = bytes(3000)
    m[key] = value
    assert m[key] == value
    m.get(key), m.get("absent"), m.get("absent", value), key in m, "absent" in m, len(m)
    m.put(key, value, ttl=100.5)
    m.put(key, value, keep_ttl=True), m.put_async(key, value, keep_ttl=True), m.put_many({key: value}, keep_ttl=True)
    m.replace_existing(key, value, keep_ttl=True)
    m.put_async(key, bytearray(value), ttl=5)
    m.flush()
    m.ttl(key), m.expire(key, 7), m.persist(key), m.expire("absent", 7)
    m.add(key, value), m.add("added", value), m.replace_existing(key, value), m.replace_existing("absent", value)
    m.exchange(key, value), m.replace(key, value, value), m.replace(key, b"", value), m.delete_if("added", value)
    m.pop("added", None), m.setdefault(key, value), m.setdefault("new", value), m.pop("new")
    m.incr("number", 123456789), m.incr("float", 0.5, ttl=10), m.append("appended", value), m.delete_prefix("append")
    m.modify(key, lambda old: old[:-1] + b"x")
    m.put_many({"a": value, "b": bytearray(value)}, ttl=9), m.put_many([["a", value]])
    m.get_many([key, "a", "absent"]), m.delete_many(["b", "absent"])
    list(m), list(m.keys()), list(m.values()), list(m.items()), list(m.scan("a")), next(iter(m)), dict(m), m == {}, m == dict(m)
    m.update({"a": value}, b=value), m.popitem()
    m.get_into(key, bytearray(4000)) if key in m else None
    m.wait(key, b"other", timeout=0)
    next(m.watch(key))
    m.release("lease", m.lease("lease", 5)), m.lease("short", 0.001, wait=None), m.lease("short", 0.001)
    _, number = m.compute_begin("computed", 10)
    m.compute_put("computed", value, number), m.compute_begin("computed", 10), m.pop("computed")
    _, number = m.compute_begin("failed", 10)
    m.compute_fail("failed", number)
    with m.within(0.5) as quick:
        quick.get(key)
    repr(m), m.options, m.name, m.prefix, m.codec, m.closed, m.__reduce__()
    objects["o"] = {"list": [1, 2, 3]}
    objects["o"], objects.get("o"), objects.pop("o"), objects.modify("o", lambda old: [old, "x" * 1000]), dict(objects)
    for failing in (lambda: m["absent"], lambda: m.pop("absent"), lambda: m.ttl("absent"), lambda: m.get_into("a", bytearray(1)),
                    lambda: m.wait("absent", timeout=0), lambda: objects.put("x", object()), lambda: m.get_into("absent", bytearray(1)),
                    lambda: m.incr("a"), lambda: m.modify("a", lambda old: 1 / 0)):
        try:
            failing()
        except Exception:
            pass
    m.clear()


def connections(server: Any) -> None:
    with server.connect(prefix="p:", codec=Json()) as m:
        m["a"] = 1
        iter(m), next(iter(m)), m.within(1)
    for options, _, _ in OPTIONS:
        try:
            server.connect(**options)
        except Exception:
            pass


def refusals(m: Any) -> None:
    for call, _, text in REFUSALS:
        if text == "value":
            continue  # 64 MiB each time
        try:
            call(m)
        except Exception:
            pass


def assert_no_growth(function: Any, rounds: int) -> None:
    """Free lists and caches grow by less and less; a leak adds an object, 33 bytes or more, in each round of each batch.

    A debug interpreter counts all references: one to an object that is there anyway leaks without any memory. It counts those of
    an extension only if that was compiled for it, as `package debug` does."""
    all_references: Callable[[], int] = getattr(sys, "gettotalrefcount") if COUNTS_REFERENCES else lambda: 0
    tracemalloc.start()
    grown, resident, references = [], [], []
    for _ in range(5):
        before, resident_before, references_before = tracemalloc.get_traced_memory()[0], resident_bytes(), all_references()
        for _ in range(rounds):
            function()
        gc.collect()
        grown.append(tracemalloc.get_traced_memory()[0] - before)
        resident.append(resident_bytes() - resident_before)
        references.append(all_references() - references_before)
    tracemalloc.stop()
    assert min(grown) < 25 * rounds, f"{grown} bytes of Python objects in batches of {rounds} rounds"
    assert min(resident) < 200 * rounds, f"{resident} bytes resident in batches of {rounds} rounds"
    # The collector may drop what earlier tests have left in one of the batches.
    assert statistics.median(references) < rounds / 2, f"{references} references in batches of {rounds} rounds"


def test_methods_leak_nothing(m: Any, server: Any) -> None:
    with server.connect(prefix="objects:", codec=Json()) as objects:
        assert_no_growth(lambda: everything(m, objects), 200)


def test_refusals_leak_nothing(m: Any) -> None:
    assert_no_growth(lambda: refusals(m), 200)


def test_connections_leak_nothing(server: Any) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    assert_no_growth(lambda: connections(server), 100)
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_a_leak_is_found(m: Any) -> None:
    kept: list[bytes] = []
    with pytest.raises(AssertionError, match="bytes of Python objects"):
        assert_no_growth(lambda: kept.append(m.setdefault("a", bytes(100)) + b"x"), 200)


@pytest.mark.skipif(not COUNTS_REFERENCES, reason="needs a debug interpreter")
def test_a_leaked_reference_is_found(m: Any) -> None:
    kept: list[Any] = []
    with pytest.raises(AssertionError, match="references in batches"):
        assert_no_growth(lambda: kept.append(None if m.get("absent") is None else 1), 200)


def test_references_of_arguments(m: Any) -> None:
    key, value, keys = "".join(["a", "key"]), bytes(bytearray(1000)), [f"k{i}" for i in range(3)]
    before = [sys.getrefcount(thing) for thing in (key, value, keys, m)]
    for _ in range(1000):
        m[key] = value
        m[key], m.get(key, value), m.get("absent", value), m.pop("absent", value), key in m
        m.setdefault(key, value), m.add(key, value), m.exchange(key, value), m.replace(key, value, value)
        m.get_many(keys), m.put_many([(key, value)]), m.delete_many(keys), list(m.watch(key) for _ in range(2))
    assert [sys.getrefcount(thing) for thing in (key, value, keys, m)] == before


def test_with_the_debug_allocator_and_development_mode(server: Any) -> None:
    code = ("import sys; sys.path.insert(0, sys.argv[2]); import hostmap, test_map_leaks as t; from test_map import Json\n"
            "m = hostmap.connect(sys.argv[1], prefix='debug:'); o = hostmap.connect(sys.argv[1], prefix='o:', codec=Json())\n"
            "for _ in range(20): t.everything(m, o); t.refusals(m)\n"
            "print('done')")
    environment = {**os.environ, "PYTHONMALLOC": "debug", "MALLOC_PERTURB_": "165"}
    done = subprocess.run([sys.executable, "-X", "dev", "-W", "error", "-c", code, server.name, os.path.dirname(__file__)],
                          env=environment, capture_output=True, text=True, timeout=300)
    assert done.stdout == "done\n" and done.stderr == ""
