"""A testee of the conformance suite over the Python package: a hostmap.Map of bytes.

    python -P python.py NAME, with an interpreter in which hostmap is installed
"""

import os
import pathlib
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import hostmap  # noqa: E402
from words import decode, encode  # noqa: E402

STATUSES = (
    "ok not_found already_exists mismatch not_a_number overflow buffer_too_small timeout no_server "
    "full too_large invalid permission other_version closed internal"
).split()
LONGEST_WAIT_SECONDS = 60.0
MOST_MILLISECONDS = 1 << 52


class Unsupported(Exception):
    """The package has no such operation."""


def seconds(ttl: str) -> float | None:
    """A time to live, or a timeout. The package takes seconds, which are a float: not so many."""
    if ttl != "forever" and int(ttl) > MOST_MILLISECONDS:
        raise Unsupported
    return None if ttl == "forever" else int(ttl) / 1000


def life(ttl: str) -> dict[str, Any]:
    """The arguments of a method that stores a value and may keep the end of its key."""
    return {"keep_ttl": True} if ttl == "keep" else {"ttl": seconds(ttl)}


class Testee:
    """The Map, a scan that has begun, and the message of the last error."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.connected: Any = None
        self.scanning: Iterator[tuple[bytes, bytes]] | None = None
        self.last_message = ""

    @property
    def map(self) -> Any:
        if self.connected is None:
            self.connected = hostmap.Map(self.name, encoding=None)
        return self.connected

    def answer(self, words: list[str]) -> str:
        operation, *arguments = words
        method: Callable[..., str] | None = OPERATIONS.get(operation)
        if method is None:
            return "unsupported"
        try:
            return method(self, *arguments)
        except Unsupported:
            return "unsupported"
        except KeyError:
            return "not_found"
        except hostmap.BufferTooSmall as error:
            self.last_message = str(error)
            return f"buffer_too_small {error.size}"
        except hostmap.Error as error:
            self.last_message = str(error)
            return STATUSES[error.code]
        except Exception as error:
            return f"raised {encode(repr(error).encode())}"

    # ---- the connection ----

    def open(self) -> str:
        return "ok" if self.map else "ok"

    def connect(self, *settings: str) -> str:
        options: dict[str, Any] = {"name": self.name, "encoding": None}
        for setting in settings:
            name, _, value = setting.partition("=")
            if name in ("name", "dir", "group", "user"):
                options[name] = decode(value).decode()
            elif name == "timeout":
                options[name] = None if value == "-1" else int(value) / 1000
            elif name in ("read_only", "wait_for_server"):
                options[name] = True
            else:
                raise Unsupported
        self.close()
        self.connected = hostmap.Map(**options)
        return "ok"

    def close(self) -> str:
        if self.connected is not None:
            self.connected.close()
        self.connected = self.scanning = None
        return "ok"

    def timeout(self, milliseconds: str) -> str:
        self.connected = self.map.within(int(milliseconds) / 1000)
        return "ok"

    def message(self) -> str:
        return f"ok {encode(self.last_message.encode())}"

    def version(self) -> str:
        version, commit = hostmap.__version__.encode(), hostmap.commit.encode()
        return f"ok {encode(version)} {hostmap.layout} {encode(commit)}"

    # ---- reading ----

    def get(self, key: str) -> str:
        return f"ok {encode(self.map[decode(key)])}"

    def get_into(self, key: str, size: str) -> str:
        buffer = bytearray(int(size))
        written = self.map.get_into(decode(key), buffer)
        return f"ok {encode(bytes(buffer[:written]))}"

    def exists(self, key: str) -> str:
        return "ok" if decode(key) in self.map else "not_found"

    def ttl(self, key: str) -> str:
        left = self.map.ttl(decode(key))
        return "ok forever" if left is None else f"ok {round(left * 1000)}"

    def size(self) -> str:
        return f"ok {len(self.map)}"

    # ---- writing ----

    def put(self, key: str, value: str, ttl: str = "forever") -> str:
        self.map.put(decode(key), decode(value), **life(ttl))
        return "ok"

    def put_async(self, key: str, value: str, ttl: str = "forever") -> str:
        self.map.put_async(decode(key), decode(value), **life(ttl))
        return "ok"

    def flush(self) -> str:
        self.map.flush()
        return "ok"

    def insert(self, key: str, value: str, ttl: str = "forever") -> str:
        return "ok" if self.map.add(decode(key), decode(value), seconds(ttl)) else "already_exists"

    def replace(self, key: str, value: str, ttl: str = "forever") -> str:
        return (
            "ok"
            if self.map.replace_existing(decode(key), decode(value), **life(ttl))
            else "not_found"
        )

    def erase(self, key: str) -> str:
        del self.map[decode(key)]
        return "ok"

    def expire(self, key: str, ttl: str) -> str:
        return "ok" if self.map.expire(decode(key), seconds(ttl)) else "not_found"

    def append(self, key: str, more: str) -> str:
        return f"ok {self.map.append(decode(key), decode(more))}"

    def erase_prefix(self, prefix: str) -> str:
        return f"ok {self.map.delete_prefix(decode(prefix))}"

    def clear(self) -> str:
        self.map.clear()
        return "ok"

    def increment(self, key: str, by: str, initial: str = "0", ttl: str = "forever") -> str:
        return f"ok {self.map.incr(decode(key), int(by), int(initial), seconds(ttl))}"

    def increment_double(self, key: str, by: str, initial: str = "0", ttl: str = "forever") -> str:
        return "ok %.17g" % self.map.incr(decode(key), float(by), float(initial), seconds(ttl))

    # ---- changes that depend on the value ----

    def why_not(self, key: str) -> str:
        """The methods return False for an absent key and for another value."""
        return "mismatch" if decode(key) in self.map else "not_found"

    def compare_exchange(self, key: str, expected: str, desired: str) -> str:
        return (
            "ok"
            if self.map.replace(decode(key), decode(expected), decode(desired))
            else self.why_not(key)
        )

    def compare_erase(self, key: str, expected: str) -> str:
        return "ok" if self.map.delete_if(decode(key), decode(expected)) else self.why_not(key)

    def exchange(self, key: str, value: str) -> str:
        old = self.map.exchange(decode(key), decode(value))
        return "ok -" if old is None else f"ok {encode(old)}"

    def take(self, key: str) -> str:
        return f"ok {encode(self.map.pop(decode(key)))}"

    def insert_or_get(self, key: str, value: str) -> str:
        was_there = decode(key) in self.map
        present = self.map.setdefault(decode(key), decode(value))
        return f"already_exists {encode(present)}" if was_there else "ok"

    def modify(self, key: str, text: str) -> str:
        more = decode(text)
        return f"ok {encode(self.map.modify(decode(key), lambda value: (value or b'') + more))}"

    # ---- several at once ----

    def multi_get(self, *keys: str) -> str:
        found = self.map.get_many([decode(key) for key in keys])
        return " ".join(
            ["ok", *(encode(found[decode(key)]) if decode(key) in found else "-" for key in keys)]
        )

    def multi_put(self, *pairs: str) -> str:
        return self.multi_put_ttl("forever", *pairs)

    def multi_put_ttl(self, ttl: str, *pairs: str) -> str:
        items = [(decode(key), decode(value)) for key, value in zip(pairs[::2], pairs[1::2])]
        self.map.put_many(items, **life(ttl))
        return " ".join(["ok"] * (len(items) + 1))

    def scan(self, prefix: str) -> str:
        pairs = self.map.scan(decode(prefix)) if prefix != "%" else self.map.items()
        return " ".join(["ok", *sorted(f"{encode(key)}={encode(value)}" for key, value in pairs)])

    def scan_keys(self, prefix: str) -> str:
        keys = (
            (key for key, _ in self.map.scan(decode(prefix))) if prefix != "%" else iter(self.map)
        )
        return " ".join(["ok", *sorted(map(encode, keys))])

    def scan_begin(self, prefix: str, *what: str) -> str:
        if what:
            raise Unsupported
        self.scanning = self.map.scan(decode(prefix))
        return "ok"

    def scan_next(self) -> str:
        assert self.scanning is not None
        found = next(self.scanning, None)
        return "not_found" if found is None else f"ok {encode(found[0])} {encode(found[1])}"

    def scan_end(self) -> str:
        self.scanning = None
        return "ok"

    # ---- waiting ----

    def wait(self, key: str, known: str, milliseconds: str) -> str:
        value = self.map.wait(
            decode(key), None if known == "-" else decode(known), seconds(milliseconds)
        )
        return "not_found" if value is None else f"ok {encode(value)}"

    def lease(self, key: str, length: str, patience: str = "0") -> str:
        number = self.map.lease(decode(key), int(length) / 1000, int(patience) / 1000)
        return "already_exists" if number is None else f"ok {number}"

    def release(self, key: str, number: str) -> str:
        return "ok" if self.map.release(decode(key), int(number)) else "not_found"

    def compute(self, key: str, ttl: str, lease: str, gate: str, result: str) -> str:
        number = 0
        try:
            value, number = self.map.compute_begin(decode(key), int(lease) / 1000)
            if number:
                if gate != "-":
                    self.map[decode(gate)] = b"begun"
                    self.map.wait(decode(gate), b"begun", LONGEST_WAIT_SECONDS)
                if result.startswith("!"):
                    self.map.compute_fail(decode(key), number, STATUSES.index(result[1:]))
                    self.last_message = f"the computation has failed: {result[1:]}"
                    return f"{result[1:]} computed"
                self.map.compute_put(decode(key), decode(result), number, seconds(ttl))
                value = decode(result)
            return f"ok {encode(value)} {'computed' if number else 'found'}"
        except hostmap.Error as error:
            self.last_message = str(error)
            return f"{STATUSES[error.code]} {'computed' if number else 'found'}"

    def compute_begin(self, key: str, lease: str) -> str:
        value, number = self.map.compute_begin(decode(key), int(lease) / 1000)
        return f"not_found {number}" if number else f"ok {encode(value)}"

    def compute_put(self, key: str, value: str, ttl: str, number: str) -> str:
        self.map.compute_put(decode(key), decode(value), int(number), seconds(ttl))
        return "ok"

    def compute_fail(self, key: str, status: str, number: str) -> str:
        self.map.compute_fail(decode(key), int(number), STATUSES.index(status))
        return "ok"

    # ---- processes and threads ----

    def fork(self, *words: str) -> str:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            self.last_message = ""
            text = f"{self.answer(list(words))}\n{self.last_message}".encode()
            with os.fdopen(writing, "wb") as file:
                file.write(text)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as file:
            text = file.read()
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0:
            return "child_died"
        answer, _, message = text.decode().partition("\n")
        self.last_message = message or self.last_message
        return answer

    def threads(self, count: str, times: str, kind: str, key: str) -> str:
        m, name = self.map, decode(key)
        errors: list[Exception] = []

        def work(thread: int) -> None:
            try:
                for i in range(int(times)):
                    own = name + b"%d.%d" % (thread, i)
                    if kind == "increment":
                        m.incr(name)
                    elif kind == "put":
                        m[own] = own
                    elif kind == "put_async":
                        m.put_async(own, own)
                    else:
                        m[own] = own
                        if m[own] != own:
                            raise RuntimeError("another value than the one that was put")
                        del m[own]
                if kind == "put_async":
                    m.flush()
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(int(count))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        return "ok"

    def fill(self, prefix: str, size: str, most: str) -> str:
        count = 0
        try:
            while count < int(most):
                self.map[decode(prefix) + b"%d" % count] = b"f" * int(size)
                count += 1
        except hostmap.Error as error:
            self.last_message = str(error)
            return f"{STATUSES[error.code]} {count}"
        return f"ok {count}"


OPERATIONS: dict[str, Callable[..., str]] = {
    name: method
    for name, method in vars(Testee).items()
    if callable(method) and not name.startswith("_") and name not in ("answer", "why_not")
}


def main() -> None:
    testee = Testee(sys.argv[1])
    for line in sys.stdin:
        print(testee.answer(line.split()), flush=True)
    testee.close()


if __name__ == "__main__":
    main()
