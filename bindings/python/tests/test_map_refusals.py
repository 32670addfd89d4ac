"""Bad input: each has one clear error, nothing is changed, and the Map stays usable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hostmap
import pytest

Call = Callable[[Any], object]


def assign(key: Any, value: Any) -> Call:
    def call(m: Any) -> None:
        m[key] = value

    return call


class Raises:
    def __index__(self) -> int:
        raise LookupError("raised on purpose")


REFUSALS: list[tuple[Call, type[Exception], str]] = [
    (lambda m: m[b"a"], TypeError, "must be str, not <class 'bytes'>"),
    (lambda m: m[1], TypeError, "must be str, not <class 'int'>"),
    (lambda m: 1 in m, TypeError, "must be str"),
    (lambda m: m.get(None), TypeError, "must be str"),
    (lambda m: m[""], hostmap.Invalid, "key"),
    (assign("", b""), hostmap.Invalid, "key"),
    (assign("k" * 65_537, b""), hostmap.TooLarge, "key"),
    (assign("a", b"x" * (64 * 2**20 + 1)), hostmap.TooLarge, "value"),
    (assign("a", "text"), TypeError, "must be bytes or another object with a buffer, not <class 'str'>"),
    (assign("a", 5), TypeError, "give the Map a codec"),
    (assign("a", None), TypeError, "not <class 'NoneType'>"),
    (assign("a", memoryview(bytes(8))[::2]), (TypeError, BufferError), ""),  # type: ignore[list-item]
    (lambda m: m.put("a", b"", ttl=0), hostmap.Invalid, "ttl must be above 0 seconds, not 0"),
    (lambda m: m.put("a", b"", ttl=-1.5), hostmap.Invalid, "ttl must be above 0 seconds, not -1.5"),
    (lambda m: m.put("a", b"", ttl=float("nan")), hostmap.Invalid, "not nan"),
    (lambda m: m.put("a", b"", ttl=float("inf")), hostmap.Invalid, "too long"),
    (lambda m: m.put("a", b"", ttl=10**5000), hostmap.Invalid, "too long"),
    (lambda m: m.put("a", b"", ttl=-(10**400)), hostmap.Invalid, "ttl must be above 0 seconds"),
    (lambda m: m.put("a", b"", ttl="5"), TypeError, "ttl must be seconds"),
    (lambda m: m.put("a", b"", ttl=5, keep_ttl=True), hostmap.Invalid, "put() takes either ttl or keep_ttl"),
    (lambda m: m.put_async("a", b"", ttl=5, keep_ttl=True), hostmap.Invalid, "put_async() takes either ttl or keep_ttl"),
    (lambda m: m.put_many({}, ttl=5, keep_ttl=True), hostmap.Invalid, "put_many() takes either ttl or keep_ttl"),
    (
        lambda m: m.replace_existing("a", b"", ttl=5, keep_ttl=True),
        hostmap.Invalid,
        "replace_existing() takes either ttl or keep_ttl",
    ),
    (lambda m: m.put("a", b"", None, True), TypeError, "positional"),
    (lambda m: m.add("a", b"", keep_ttl=True), TypeError, "keep_ttl"),
    (lambda m: m.put("a"), TypeError, "needs the argument 'value'"),
    (lambda m: m.put("a", b"", 1, True), TypeError, "at most 3 positional"),
    (lambda m: m.put("a", b"", time=1), TypeError, "has no argument 'time'"),
    (lambda m: m.put("a", b"", key="b"), TypeError, "argument 'key' twice"),
    (lambda m: m.expire("a", 0), hostmap.Invalid, "above 0"),
    (lambda m: m.expire("a", -1), hostmap.Invalid, "above 0"),
    (lambda m: m.expire("a", float("nan")), hostmap.Invalid, "not nan"),
    (lambda m: m.add("a", b"", ttl=0), hostmap.Invalid, "above 0"),
    (lambda m: m.replace_existing("before", b"", ttl=-1), hostmap.Invalid, "above 0"),
    (lambda m: m.put_async("before", b"", ttl=0), hostmap.Invalid, "above 0"),
    (lambda m: m.put_many([("a", b"")], ttl=0), hostmap.Invalid, "above 0"),
    (lambda m: m.put_many([("a", b"")], ttl=-1), hostmap.Invalid, "above 0"),
    (lambda m: m.incr("a", "1"), TypeError, "by must be int or float, not <class 'str'>"),
    (lambda m: m.incr("a", 1, "1"), TypeError, "initial must be int or float"),
    (lambda m: m.incr("a", -(2**63) - 1), hostmap.Overflow, "64 bits"),
    (lambda m: m.incr("a", 10**5000), hostmap.Overflow, "64 bits"),
    (lambda m: m.incr("a", 10**400, 0.5), hostmap.Overflow, "beyond the range of a float"),
    (lambda m: m.incr("a", Raises()), LookupError, "raised on purpose"),
    (lambda m: m.incr("a", float("nan")), hostmap.Overflow, "infinite or not a number"),
    (lambda m: m.incr("a", float("-inf")), hostmap.Overflow, "infinite or not a number"),
    (lambda m: m.incr("a", 1.5, float("nan")), hostmap.Overflow, "infinite or not a number"),
    (lambda m: m.incr("a", 1, ttl=0), hostmap.Invalid, "above 0"),
    (lambda m: m.incr("a", 1, ttl=-1), hostmap.Invalid, "above 0"),
    (lambda m: m.append("a", "text"), TypeError, "what is appended must be bytes"),
    (lambda m: m.modify("a", 5), TypeError, "needs a function"),
    (lambda m: m.modify("a", lambda value: 5), TypeError, "must be bytes"),
    (lambda m: m.get_many(5), TypeError, "not iterable"),
    (lambda m: m.get_many(["a", 5]), TypeError, "must be str"),
    (lambda m: m.delete_many(["a", 5]), TypeError, "must be str"),
    (lambda m: m.get_many("before"), TypeError, "must be several, as in a list, not one <class 'str'>"),
    (lambda m: m.delete_many("before"), TypeError, "must be several, as in a list, not one <class 'str'>"),
    (lambda m: m.delete_many(b"before"), TypeError, "must be several, as in a list, not one <class 'bytes'>"),
    (lambda m: m.put_many(5), TypeError, "not iterable"),
    (lambda m: m.put_many([("a", b""), 5]), TypeError, "item 1 is not a pair"),
    (lambda m: m.put_many([("a", b"", 1)]), TypeError, "item 0 is not a pair"),
    (lambda m: m.put_many([("a", b""), (5, b"")]), TypeError, "must be str"),
    (lambda m: m.put_many([("a", b""), ("b", 5)]), TypeError, "must be bytes"),
    (lambda m: m.update(5), TypeError, "not iterable"),
    (lambda m: m.update([("a",)]), ValueError, "pairs of key and value"),
    (lambda m: m.scan(5), TypeError, "must be str"),
    (lambda m: m.delete_prefix(""), hostmap.Invalid, "the prefix is empty"),
    (lambda m: m.get_into("a", 5), TypeError, "must be writable and contiguous"),
    (lambda m: m.wait("a", timeout=-1), hostmap.Invalid, "timeout must be 0 seconds or more, not -1"),
    (lambda m: m.wait("a", known=5), TypeError, "must be bytes"),
    (lambda m: m.watch(5), TypeError, "must be str"),
    (lambda m: m.lease("a", 0), hostmap.Invalid, "length must be above 0"),
    (lambda m: m.lease("a", None), TypeError, "length must be seconds"),
    (lambda m: m.lease("a", 1, wait=-1), hostmap.Invalid, "wait must be 0 seconds or more"),
    (lambda m: m.release("a", "1"), TypeError, "number must be the int"),
    (lambda m: m.release("a", -1), ValueError, "number must be the int"),
    (lambda m: m.compute_begin("a", -1), hostmap.Invalid, "lease must be above 0"),
    (lambda m: m.compute_put("a", b"", None), TypeError, "number must be the int"),
    (lambda m: m.compute_fail("a", 1, 0), hostmap.Invalid, "code must be one of the numbers"),
    (lambda m: m.compute_fail("a", 1, 10**30), hostmap.Invalid, "code must be one of the numbers"),
    (lambda m: m.compute_fail("a", 1, 99), hostmap.Invalid, "code must be one of the numbers"),
    (lambda m: m.within(-1), hostmap.Invalid, "timeout must be 0 seconds or more"),
    (lambda m: m.within("1"), TypeError, "timeout must be seconds"),
    (lambda m: m.__init__(m.name), RuntimeError, "connected already"),
]


@pytest.mark.parametrize("call, error, text", REFUSALS)
def test_refused(m: Any, call: Call, error: type[Exception], text: str) -> None:
    m["before"] = b"1"
    with pytest.raises(error) as caught:
        call(m)
    assert text in str(caught.value)
    assert not getattr(caught.value, "outcome_unknown", False)
    assert dict(m) == {"before": b"1"}


OPTIONS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"timeout": -1}, hostmap.Invalid, "timeout must be 0 seconds or more"),
    ({"timeout": "5"}, TypeError, "timeout must be seconds"),
    ({"encoding": "latin-1"}, hostmap.Invalid, "encoding must be 'utf-8'"),
    ({"prefix": b"p"}, TypeError, "prefix must be of the type of the keys, str"),
    ({"prefix": "p", "encoding": None}, TypeError, "prefix must be of the type of the keys, bytes"),
    ({"prefix": "p" * 65_537}, hostmap.TooLarge, "prefix has 65537 bytes, and a key has at most 65536 with its prefix"),
    ({"prefix": b"p" * 65_537, "encoding": None}, hostmap.TooLarge, "prefix has 65537 bytes"),
    ({"codec": 5}, (TypeError, AttributeError), "dumps"),  # type: ignore[list-item]
    ({"dir": 5}, TypeError, "dir must be str or None"),
    ({"dir": "/nowhere/at/all"}, hostmap.Error, ""),
    ({"group": "no-such-group"}, hostmap.Error, "group"),
    ({"nonsense": 1}, TypeError, "nonsense"),
]


@pytest.mark.parametrize("options, error, text", OPTIONS)
def test_refused_options(server: Any, options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        server.connect(**options)
    assert text in str(caught.value)


def test_the_longest_prefix_is_a_key(server: Any) -> None:
    with server.connect(prefix="\u00e9" * 32_768) as m:
        m[""] = b"1"
        assert dict(m) == {"": b"1"}
        with pytest.raises(hostmap.TooLarge):
            m["k"] = b"2"
    with pytest.raises(hostmap.TooLarge, match="prefix has 65538 bytes"):
        server.connect(prefix="\u00e9" * 32_769)


@pytest.mark.parametrize("name, error", [("a/b", hostmap.Invalid), ("a\0b", ValueError), (5, TypeError), ("x" * 65, hostmap.Invalid)])
def test_refused_names(name: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        hostmap.connect(name)


def test_a_map_that_was_never_made() -> None:
    m: Any = hostmap.Map.__new__(hostmap.Map)
    for call in (lambda: m["a"], lambda: len(m), lambda: list(m), lambda: m.within(1), lambda: m.__reduce__()):
        with pytest.raises(RuntimeError, match="has not been made"):
            call()
    m.close()
    assert m.closed and m.options == {}
