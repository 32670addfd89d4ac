"""The benchmark of the Python package: hostmap beside what else processes share a dict by. One run, all contenders mixed.

    bindings/python/package bench [--rounds N] [--json FILE]

Each round calls every contender once, in random order: `first` reads keys in random order, `again` one key over and over. A figure
is the 10th percentile of all rounds, in nanoseconds a call, the loop of Python included. What is compared is printed as a ratio.
Maps and caches are read by `get`, where they have one, and the table of hostmap has the size to which it has grown by itself.

The floor of a get is `bytes.lstrip` of 101 bytes that begin with a space: a method that takes its argument as the fastest of C do,
and makes a bytes object of 100 bytes that lie where the argument lies.
"""

from __future__ import annotations

import argparse
import contextlib
import dbm
import json
import multiprocessing
import os
import pickle
import random
import shelve
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import diskcache
import hostmap
import lmdb
import numpy
import pymemcache
import redis
from UltraDict import UltraDict

KEYS = 20_000
MANY_KEYS = 500_000
VALUE = bytes(range(100))
MEBIBYTE = 1 << 20


def key_of(number: int) -> str:
    """16 characters."""
    return f"key-{number:012d}"


class Contenders:
    """What is measured: the calls of one kind, and how many of them a round makes."""

    def __init__(self) -> None:
        self.calls: dict[str, tuple[Callable[[Any], Any], list[Any], int]] = {}
        self.first: dict[str, list[float]] = {}
        self.again: dict[str, list[float]] = {}

    def add(self, name: str, call: Callable[[Any], Any], arguments: list[Any], count: int) -> None:
        self.calls[name] = (call, arguments, count)
        self.first[name], self.again[name] = [], []

    def measure(self, name: str) -> None:
        call, arguments, count = self.calls[name]
        chosen = random.choices(arguments, k=count)
        begin = time.perf_counter_ns()
        for argument in chosen:
            call(argument)
        middle = time.perf_counter_ns()
        for _ in chosen:
            call(argument)
        end = time.perf_counter_ns()
        self.first[name].append((middle - begin) / count)
        self.again[name].append((end - middle) / count)

    def run(self, rounds: int) -> None:
        names = list(self.calls)
        for _ in range(rounds):
            random.shuffle(names)
            for name in names:
                self.measure(name)

    def figures(self, name: str) -> tuple[float, float]:
        def tenth(samples: list[float]) -> float:
            return sorted(samples)[len(samples) // 10]

        return tenth(self.first[name]), tenth(self.again[name])


@contextlib.contextmanager
def process(command: list[str], ready: Callable[[], object]) -> Iterator[None]:
    """A server in a process of its own; `ready` raises until it serves."""
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            try:
                ready()
                break
            except Exception:
                time.sleep(0.05)
        else:
            raise RuntimeError(f"{command[0]} does not serve")
        yield
    finally:
        running.terminate()
        running.wait()


def measure(rounds: int) -> tuple[Contenders, Contenders, Contenders]:
    """Gets of 100 bytes among 20,000 keys; the same among 500,000; other calls."""
    small, large, others = Contenders(), Contenders(), Contenders()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        os.chmod(folder, 0o777)  # memcached, which refuses to run as root, makes its socket there
        name = f"bench-{os.getpid()}"
        server = Path(hostmap.__file__).parent / "bin" / "hostmap-server"
        stack.enter_context(process([str(server), "--name", name, "--memory", "1G"], lambda: hostmap.connect(name).close()))
        m = stack.enter_context(hostmap.connect(name))
        keys = [key_of(i) for i in range(KEYS)]
        content = {key: VALUE for key in keys}
        m.put_many(content)
        small.add("hostmap", m.get, keys, 2000)

        copy = {key: bytes(bytearray(VALUE)) for key in keys}  # values of its own, as those of a cache are
        small.add("dict", copy.get, keys, 2000)
        small.add("floor: bytes.lstrip", bytes.lstrip, [b" " + VALUE for _ in keys], 2000)

        redis_socket, memcached_socket = f"{folder}/redis", f"{folder}/memcached"
        r = redis.Redis(unix_socket_path=redis_socket)
        stack.enter_context(process(["redis-server", "--port", "0", "--unixsocket", redis_socket, "--save", "", "--dir", folder], r.ping))
        r.mset(content)
        small.add("redis-py", r.get, keys, 50)

        c = pymemcache.Client(memcached_socket)
        stack.enter_context(process(["memcached", "-s", memcached_socket, "-u", "nobody", "-a", "777"], c.version))
        c.set_many(content)
        small.add("pymemcache", c.get, keys, 50)

        manager = stack.enter_context(multiprocessing.get_context("spawn").Manager())
        managed = manager.dict(content)
        small.add("Manager().dict", managed.get, keys, 50)

        cache = stack.enter_context(diskcache.Cache(f"{folder}/diskcache"))
        with cache.transact():
            for key in keys:
                cache[key] = VALUE
        small.add("diskcache", cache.get, keys, 100)

        environment = lmdb.open(f"{folder}/lmdb", map_size=1 << 30)
        with environment.begin(write=True) as transaction:
            for key in keys:
                transaction.put(key.encode(), VALUE)

        def lmdb_get(key: str) -> bytes | None:
            with environment.begin() as transaction:
                return transaction.get(key.encode())

        small.add("lmdb", lmdb_get, keys, 1000)

        shelf = stack.enter_context(shelve.open(f"{folder}/shelf", protocol=pickle.HIGHEST_PROTOCOL))
        shelf.update(content)
        small.add("shelve", shelf.get, keys, 500)

        ultra = UltraDict(content, size=16 << 20, auto_unlink=True)
        small.add("UltraDict", ultra.get, keys, 1000)
        small.run(rounds)

        all_keys = [key_of(i) for i in range(MANY_KEYS)]
        m.clear()
        with hostmap.connect(name) as among_many:
            for i in range(0, MANY_KEYS, 10_000):
                among_many.put_many({key: VALUE for key in all_keys[i : i + 10_000]})
            big_dict = {key: bytes(bytearray(VALUE)) for key in all_keys}
            random.shuffle(all_keys)  # not in the order in which memory was taken
            large.add("hostmap", among_many.get, all_keys, 5000)
            large.add("dict", big_dict.get, all_keys, 5000)
            batches = [all_keys[i : i + 64] for i in range(0, MANY_KEYS - 64, 64)]
            large.add("hostmap get_many(64)", among_many.get_many, batches, 80)
            large.run(rounds)

            array = numpy.random.default_rng(1).integers(0, 256, MEBIBYTE, dtype=numpy.uint8)
            blobs = [f"blob-{i}" for i in range(16)]
            for blob in blobs:
                m[blob] = array
                r.set(blob, array.tobytes())
                cache[blob] = array
            sources = [array.copy() for _ in blobs]
            target = numpy.empty(MEBIBYTE, dtype=numpy.uint8)
            others.add("1 MiB: hostmap get_into", lambda blob: m.get_into(blob, target), blobs, 16)
            others.add("1 MiB: memcpy", lambda source: numpy.copyto(target, source), sources, 16)
            others.add("1 MiB: hostmap get", m.get, blobs, 16)
            others.add("1 MiB: redis-py get", r.get, blobs, 4)
            others.add("1 MiB: diskcache, a pickled array", cache.get, blobs, 4)
            others.add("put_async", lambda key: m.put_async(key, VALUE), keys, 500)
            others.add("put", lambda key: m.put(key, VALUE), keys, 100)
            others.add("redis-py set", lambda key: r.set(key, VALUE), keys, 50)
            if hasattr(hostmap, "cache"):

                @hostmap.cache(m, prefix="cached:")
                def cached(number: int) -> bytes:
                    return VALUE

                for number in range(1000):
                    cached(number)
                others.add("@hostmap.cache hit", cached, list(range(1000)), 1000)
            others.run(rounds)
            m.flush()
    return small, large, others


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100, help="of each contender (default: 100)")
    parser.add_argument("--json", type=Path, help="writes all figures to this file")
    options = parser.parse_args()
    small, large, others = measure(options.rounds)

    print(f"\nPython {sys.version.split()[0]}, hostmap {hostmap.__version__}, shelve on {dbm.whichdb.__module__}; ns a call\n")
    figures: dict[str, dict[str, tuple[float, float]]] = {}
    for title, group in (
        (f"get of 16 + 100 bytes among {KEYS:,} keys", small),
        (f"the same among {MANY_KEYS:,} keys", large),
        ("other calls", others),
    ):
        figures[title] = {name: group.figures(name) for name in group.calls}
        print(f"| {title} | first | again |\n|---|---:|---:|")
        for name, (first, again) in figures[title].items():
            print(f"| {name} | {first:,.0f} | {again:,.0f} |")
        print()

    get = small.figures("hostmap")[0]
    large_get = large.figures("hostmap")[0]
    goals: list[tuple[str, float, str, float]] = [
        ("get, first, µs", get / 1000, "<=", 0.3),
        ("times faster than redis-py", small.figures("redis-py")[0] / get, ">=", 80),
        ("times faster than Manager().dict", small.figures("Manager().dict")[0] / get, ">=", 80),
        ("times faster than pymemcache", small.figures("pymemcache")[0] / get, ">=", 50),
        (f"get in that of dict, among {MANY_KEYS:,}", large_get / large.figures("dict")[0], "<=", 1.0),
        ("a key of get_many(64) in a single get", large.figures("hostmap get_many(64)")[0] / 64 / large_get, "<=", 0.5),
        ("put_async, µs", others.figures("put_async")[0] / 1000, "<=", 0.4),
        ("1 MiB: speed of get_into in that of memcpy",
         others.figures("1 MiB: memcpy")[0] / others.figures("1 MiB: hostmap get_into")[0], ">=", 0.5),
    ]
    if "@hostmap.cache hit" in others.calls:
        goals.append(("@hostmap.cache hit, µs", others.figures("@hostmap.cache hit")[0] / 1000, "<=", 1.5))
    print("| goal | measured | wanted | |\n|---|---:|---:|---|")
    for text, measured, relation, wanted in goals:
        reached = measured <= wanted if relation == "<=" else measured >= wanted
        print(f"| {text} | {measured:.2f} | {relation} {wanted:g} | {'reached' if reached else 'MISSED'} |")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
