"""Map: every method, with one process."""

from __future__ import annotations

import collections.abc
import gc
import json
import pickle
import weakref
from typing import Any

import hostmap
import pytest


class Json:
    """A codec, as a user would write it."""

    @staticmethod
    def dumps(value: Any) -> bytes:
        return json.dumps(value).encode()

    @staticmethod
    def loads(data: bytes) -> Any:
        return json.loads(data)


# ---- as a dict ----


def test_set_get_delete(m: Any) -> None:
    m["a"] = b"1"
    assert m["a"] == b"1" and type(m["a"]) is bytes
    assert "a" in m and "b" not in m
    assert m.get("a") == b"1" and m.get("b") is None and m.get("b", 7) == 7
    assert len(m) == 1 and bool(m)
    del m["a"]
    assert "a" not in m and len(m) == 0 and not m
    with pytest.raises(KeyError) as caught:
        m["a"]
    assert caught.value.args == ("a",)
    with pytest.raises(KeyError):
        del m["a"]


@pytest.mark.parametrize("size", [0, 1, 7, 8, 100, 1023, 1024, 1025, 70_000, 1_000_000])
def test_values_of_every_size(m: Any, size: int) -> None:
    value = bytes(i % 251 for i in range(size))
    m["k"] = value
    assert m["k"] == value
    assert m.get_many(["k"]) == {"k": value}
    assert list(m.items()) == [("k", value)]
    assert m.pop("k") == value


@pytest.mark.parametrize("value", [b"bytes", bytearray(b"bytearray"), memoryview(b"memoryview")])
def test_everything_with_a_buffer_can_be_stored(m: Any, value: Any) -> None:
    m["k"] = value
    assert m["k"] == bytes(value)
    assert m.setdefault("other", value) == bytes(value)
    assert type(m.setdefault("other", value)) is bytes


def test_it_is_a_mutable_mapping(m: Any) -> None:
    assert isinstance(m, collections.abc.MutableMapping)
    match m:
        case {"absent": _}:
            raise AssertionError
        case {}:
            pass
    m.update({"a": b"1"}, b=b"2")
    m.update([("c", b"3")])
    assert dict(m) == {"a": b"1", "b": b"2", "c": b"3"}
    assert m == {"a": b"1", "b": b"2", "c": b"3"} and m != {"a": b"1"} and m != 3
    assert sorted(m.keys()) == ["a", "b", "c"] and sorted(m.values()) == [b"1", b"2", b"3"]
    assert sorted(m.items()) == [("a", b"1"), ("b", b"2"), ("c", b"3")]
    assert m.keys() & {"a", "x"} == {"a"} and ("a", b"1") in m.items() and b"3" in m.values() and len(m.items()) == 3
    key, value = m.popitem()
    assert value == {"a": b"1", "b": b"2", "c": b"3"}[key] and len(m) == 2
    m.clear()
    assert list(m) == []
    with pytest.raises(KeyError):
        m.popitem()
    with pytest.raises(TypeError):
        hash(m)


def test_items_of_a_map_that_others_change(m: Any) -> None:
    m.put_many({f"k{i}": b"v" for i in range(2000)})
    seen = 0
    for key, value in m.items():
        assert value == b"v"
        m.pop(f"k{seen}", None)
        seen += 1
    assert 1000 <= seen <= 2000


def test_keys_that_are_no_utf8(m: Any, server: Any) -> None:
    with server.connect(encoding=None) as raw:
        raw[b"\xff\xfe"] = b"1"
        assert raw[b"\xff\xfe"] == b"1" and list(raw) == [b"\xff\xfe"]
    (key,) = m
    assert key == "\udcff\udcfe" and m[key] == b"1"
    m["ключ"] = b"2"
    assert m["ключ"] == b"2" and "ключ" in list(m)


def test_bytes_keys(server: Any) -> None:
    with server.connect(encoding=None, prefix=b"p:") as raw:
        raw[b"k"] = b"v"
        assert raw.get_many([b"k", b"l"]) == {b"k": b"v"} and list(raw.scan(b"k")) == [(b"k", b"v")]
        assert raw.prefix == b"p:"
        with pytest.raises(TypeError, match="must be bytes"):
            raw["k"]


def test_prefix(m: Any, server: Any) -> None:
    m["other"] = b"1"
    with server.connect(prefix="user:") as users:
        users["7"] = b"alice"
        assert m["user:7"] == b"alice"
        assert len(users) == 1 and list(users) == ["7"] and list(users.items()) == [("7", b"alice")]
        assert users.delete_prefix("x") == 0
        long = "k" * 1000  # longer than what is composed on the stack
        users[long] = b"long"
        assert users[long] == b"long" and m["user:" + long] == b"long"
        users.clear()
        assert len(users) == 0 and dict(m) == {"other": b"1"}


def test_codec(server: Any) -> None:
    with server.connect(codec=Json()) as objects:
        objects["a"] = {"x": [1, 2]}
        assert objects["a"] == {"x": [1, 2]} and objects.get("b", 3) == 3
        assert objects.setdefault("none") is None and objects["none"] is None
        assert objects.replace("a", {"x": [1, 2]}, 5) and objects.exchange("a", 6) == 5
        assert objects.modify("a", lambda value: value + 1) == 7 and objects["a"] == 7
        assert objects.incr("a", 3) == 10 and objects["a"] == 10
        assert objects.get_many(["a", "none"]) == {"a": 10, "none": None}
        assert objects.wait("a", 9) == 10
        assert dict(objects.items()) == {"a": 10, "none": None}
        with pytest.raises(TypeError, match="not JSON serializable"):
            objects["a"] = object()
        assert objects["a"] == 10
        objects.append("a", b"}")
        with pytest.raises(json.JSONDecodeError):
            objects["a"]


class Ends:
    """A codec whose mistake is to let a StopIteration out."""

    def dumps(self, value: bytes) -> bytes:
        return value

    def loads(self, data: bytes) -> bytes:
        return next(iter(()))


@pytest.mark.parametrize("read", ["scan", "items", "values", "watch"])
def test_a_stop_iteration_of_a_codec_does_not_end_an_iterator(server: Any, read: str) -> None:
    with server.connect(codec=Ends()) as m:
        m["key"] = b"value"
        iterator = iter(m.watch("key") if read == "watch" else getattr(m, read)())
        with pytest.raises(RuntimeError, match="codec raised StopIteration"):
            list(iterator)


def test_codec_that_returns_no_bytes(server: Any) -> None:
    class Wrong:
        dumps = staticmethod(str)
        loads = staticmethod(str)

    with server.connect(codec=Wrong()) as wrong:
        with pytest.raises(TypeError, match=r"what dumps\(\) of the codec returns must be bytes"):
            wrong["a"] = 1
        assert len(wrong) == 0


# ---- writing ----


def test_put_with_a_time_to_live(m: Any) -> None:
    m.put("a", b"1", ttl=100)
    assert 99 < m.ttl("a") <= 100
    m.put("a", b"2", keep_ttl=True)
    assert m["a"] == b"2" and 99 < m.ttl("a") <= 100
    assert m.replace_existing("a", b"3", keep_ttl=True) and m["a"] == b"3" and 99 < m.ttl("a") <= 100
    assert not m.replace_existing("b", b"3", keep_ttl=True)
    m.put_many({"a": b"4", "new": b""}, keep_ttl=True)
    assert m["a"] == b"4" and 99 < m.ttl("a") <= 100 and m.ttl("new") is None
    m.put_async("a", b"5", keep_ttl=True)
    assert m["a"] == b"5" and 99 < m.ttl("a") <= 100
    m.flush()
    m["a"] = b"3"
    assert m.ttl("a") is None
    assert m.expire("a", 50) and 49 < m.ttl("a") <= 50
    assert m.persist("a") and m.ttl("a") is None
    assert m.expire("a", None) and m.ttl("a") is None
    assert not m.expire("b", 1) and not m.persist("b")
    with pytest.raises(KeyError):
        m.ttl("b")
    m.put("short", b"", ttl=0.0001)  # rounded up to a millisecond
    assert m.wait("short", b"") is None
    assert "short" not in m


def test_put_async_and_flush(m: Any) -> None:
    for i in range(1000):
        m.put_async(f"k{i}", b"v", ttl=100)
        assert m[f"k{i}"] == b"v"
    m.flush()
    assert len(m) == 1000 and m.ttl("k7") > 99
    m.put_async("big", b"x" * 65_000)
    m.flush()


def test_add_replace_existing_exchange(m: Any) -> None:
    assert m.add("a", b"1", ttl=100) and not m.add("a", b"2") and m["a"] == b"1" and m.ttl("a") > 99
    assert m.replace_existing("a", b"3", 200) and m.ttl("a") > 199 and not m.replace_existing("b", b"3") and "b" not in m
    assert m.exchange("a", b"4") == b"3" and m.exchange("new", b"5") is None and m["new"] == b"5"
    assert m.exchange("new", b"") == b"5" and m.exchange("new", b"6") == b""


def test_replace_and_delete_if(m: Any) -> None:
    m["a"] = b"1"
    assert not m.replace("a", b"0", b"2") and m.replace("a", b"1", b"2") and m["a"] == b"2"
    assert not m.replace("b", b"", b"2") and "b" not in m
    assert not m.delete_if("a", b"1") and m.delete_if("a", b"2") and "a" not in m and not m.delete_if("a", b"2")


def test_incr(m: Any) -> None:
    assert m.incr("n") == 1 and m.incr("n", 41) == 42 and m.incr("n", by=-50) == -8 and m["n"] == b"-8"
    assert m.incr("from", 5, initial=100, ttl=100) == 105 and m.ttl("from") > 99
    assert m.incr("x", 0.5) == 0.5 and m.incr("x", 1.0) == 1.5 and type(m.incr("x", 1.0)) is float
    assert m.incr("i", initial=0.25) == 1.25
    m["text"] = b"abc"
    with pytest.raises(hostmap.NotANumber) as caught:
        m.incr("text")
    assert isinstance(caught.value, TypeError) and not caught.value.outcome_unknown and caught.value.code == 4
    m["max"] = str(2**63 - 1).encode()
    with pytest.raises(hostmap.Overflow):
        m.incr("max")
    with pytest.raises(OverflowError, match="64 bits"):
        m.incr("n", 2**63)
    assert m.incr("n", True) == -7


def test_append(m: Any) -> None:
    assert m.append("a", b"xy") == 2 and m.append("a", bytearray(b"z")) == 3 and m["a"] == b"xyz"


def test_pop_and_setdefault(m: Any) -> None:
    m["a"] = b"1"
    assert m.pop("a") == b"1" and m.pop("a", None) is None and m.pop("a", 5) == 5
    with pytest.raises(KeyError):
        m.pop("a")
    assert m.setdefault("a", b"2") == b"2" and m.setdefault("a", b"3") == b"2"
    with pytest.raises(TypeError, match="needs the argument 'default'"):
        m.setdefault("b")


def test_modify(m: Any) -> None:
    seen = []

    def function(value: bytes | None) -> bytes:
        seen.append(value)
        if len(seen) == 1:
            m["a"] = b"of another"  # what another process could do meanwhile
        return (value or b"") + b"+"

    assert m.modify("a", function) == b"of another+" and seen == [None, b"of another"]

    def fails(value: bytes | None) -> bytes:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        m.modify("a", fails)
    assert m["a"] == b"of another+"


# ---- several at once, scans ----


def test_many(m: Any) -> None:
    m.put_many({"a": b"1", "b": bytearray(b"2")})
    m.put_many([("c", b"3"), ["d", b"4"]], ttl=100)
    m.put_many(iter([("e", b"5")]))
    assert m.ttl("a") is None and m.ttl("d") > 99
    assert m.get_many(["a", "x", "e", "a"]) == {"a": b"1", "e": b"5"} and m.get_many([]) == {}
    assert m.get_many(str(i) for i in range(3)) == {}
    assert m.delete_many(["a", "x", "b"]) == 2 and m.delete_many([]) == 0 and sorted(m) == ["c", "d", "e"]
    m.put_many(m.within(1))  # another Map is a mapping, too
    m.put_many({})
    big = {f"big{i}": bytes([i]) * 5000 for i in range(100)}
    m.put_many(big)
    assert m.get_many(big) == big


def test_put_many_reports_the_first_error_and_sets_the_others(m: Any) -> None:
    with pytest.raises(hostmap.TooLarge):
        m.put_many([("a", b"1"), ("k" * 70_000, b"2"), ("c", b"3")])
    assert dict(m) == {"a": b"1", "c": b"3"}


def test_scan(m: Any) -> None:
    everything = {f"{letter}{i}": b"%d" % i for letter in "ab" for i in range(1500)}
    m.put_many(everything)
    assert dict(m.scan()) == everything and len(m) == 3000 and set(m) == set(everything)
    assert dict(m.scan("a1")) == {key: value for key, value in everything.items() if key.startswith("a1")}
    assert dict(m.scan(prefix="none")) == {}
    iterator = iter(m)
    next(iterator)
    m.close()
    with pytest.raises(hostmap.Invalid, match="closed"):
        next(iterator)


def test_an_iterator_that_has_ended_stays_so(m: Any) -> None:
    m["a"] = b"1"
    iterator = m.scan()
    assert list(iterator) == [("a", b"1")] and list(iterator) == []


def test_delete_prefix(m: Any) -> None:
    m.put_many({"a1": b"", "a2": b"", "b1": b""})
    assert m.delete_prefix("a") == 2 and list(m) == ["b1"] and m.delete_prefix("a") == 0


def test_get_into(m: Any) -> None:
    m["a"] = b"12345"
    buffer = bytearray(8)
    assert m.get_into("a", buffer) == 5 and buffer == b"12345\0\0\0"
    assert m.get_into("a", memoryview(buffer)[3:]) == 5 and buffer == b"12312345"
    with pytest.raises(hostmap.BufferTooSmall) as caught:
        m.get_into("a", bytearray(4))
    assert caught.value.size == 5 and isinstance(caught.value, ValueError)
    with pytest.raises(KeyError):
        m.get_into("b", buffer)
    with pytest.raises(TypeError, match="writable"):
        m.get_into("a", b"readonly")


# ---- the connection ----


def test_within(m: Any, own_server: Any) -> None:
    with own_server.connect(timeout=None) as patient:
        patient["a"] = b"1"
        with patient.within(0.05) as quick:
            assert quick["a"] == b"1" and quick.options["timeout"] == 0.05
            own_server.pause()
            with pytest.raises(hostmap.Timeout) as caught:
                quick["a"] = b"2"
            assert caught.value.outcome_unknown and caught.value.code == 7
            own_server.resume()
        with pytest.raises(hostmap.Invalid, match="closed"):
            quick["a"]
        assert patient["a"] in (b"1", b"2")
        derived = patient.within(None)
    with pytest.raises(hostmap.Invalid, match="closed"):
        derived["a"]


def test_pickle(server: Any) -> None:
    with server.connect(codec=Json(), prefix="p:", timeout=None) as m:
        m["a"] = 1
        with pickle.loads(pickle.dumps(m)) as other:
            assert other["a"] == 1 and other.prefix == "p:" and other.options["timeout"] is None and other.name == server.name
            assert isinstance(other.codec, Json)


def test_options_make_the_same_map(server: Any) -> None:
    with server.connect(prefix="p:") as m, hostmap.Map(**m.options) as other:
        m["a"] = b"1"
        assert other["a"] == b"1" and other.options == m.options


class Counters(hostmap.Map[str, bytes]):
    """A subclass with an __init__ of its own."""

    def __init__(self, name: str) -> None:
        super().__init__(name, prefix="counters:")
        self.extra = 5

    def up(self, key: str) -> int:
        return self.incr(key)


def test_subclass(server: Any) -> None:
    with Counters(server.name) as counters:
        assert counters.up("a") == 1 and counters.extra == 5 and isinstance(counters, hostmap.Map)
        reference = weakref.ref(counters)
    del counters
    gc.collect()
    assert reference() is None


def test_closed(m: Any) -> None:
    assert not m.closed and repr(m).startswith("<hostmap.Map '")
    m.close()
    m.close()
    assert m.closed and "closed" in repr(m)
    for call in (lambda: m["a"], lambda: m.put("a", b""), lambda: len(m), lambda: list(m), lambda: m.within(1), lambda: m.flush(),
                 lambda: "a" in m, lambda: m.wait("a"), lambda: next(m.watch("a")), lambda: m.get_many(["a"])):
        with pytest.raises(hostmap.Invalid, match=r"closed: make another one by hostmap.connect\(\)"):
            call()


def test_read_only(m: Any, server: Any) -> None:
    m["a"] = b"1"
    with server.connect(read_only=True) as reader:
        assert reader["a"] == b"1" and len(reader) == 1
        with pytest.raises(hostmap.Permission) as caught:
            reader["a"] = b"2"
        assert isinstance(caught.value, PermissionError) and not caught.value.outcome_unknown


def test_no_server() -> None:
    with pytest.raises(hostmap.NoServer) as caught:
        hostmap.connect("nobody-runs-this")
    assert isinstance(caught.value, ConnectionError) and isinstance(caught.value, hostmap.Error) and caught.value.code == 8
    with pytest.raises(hostmap.NoServer):
        hostmap.connect("nobody-runs-this", wait_for_server=True, timeout=0.05)


def test_a_server_with_another_layout_of_memory(own_server: Any) -> None:
    with open(f"/dev/shm/{own_server.name}-table", "r+b") as file:
        file.seek(8)  # layout_version, in docs/reference/memory-layout.md
        before = file.read(4)
        assert int.from_bytes(before, "little") == hostmap.layout
        for other in (hostmap.layout - 1, hostmap.layout + 1):
            file.seek(8)
            file.write(other.to_bytes(4, "little"))
            file.flush()
            with pytest.raises(hostmap.OtherVersion, match=f"layout version {other}, .* {hostmap.layout}; .*upgrade") as caught:
                own_server.connect()
            assert isinstance(caught.value, ConnectionError) and hostmap.__version__ in str(caught.value)
        file.seek(8)
        file.write(before)


def test_a_map_follows_a_server_that_restarts(own_server: Any) -> None:
    with own_server.connect() as m:
        m["a"] = b"1"
        own_server.stop()
        with pytest.raises((hostmap.NoServer, hostmap.Closed)):
            m["a"] = b"2"
        own_server.start()
        m["a"] = b"3"
        assert m["a"] == b"3"


def test_errors_can_be_pickled() -> None:
    with pytest.raises(hostmap.Error) as caught:
        hostmap.connect("nobody-runs-this")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert type(copy) is hostmap.NoServer and str(copy) == str(caught.value) and copy.code == 8
