"""@hostmap.cache: results of functions, computed once for all processes of the host."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import datetime
import decimal
import enum
import functools
import hashlib
import inspect
import os
import pathlib
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar, cast, overload

from . import codecs
from ._hostmap import AlreadyExists, Error, Full, Map, Mismatch, Timeout
from ._thread import in_own_thread

F = TypeVar("F", bound=Callable[..., Any])

_MISSING: Any = object()
# What waiters get when the computation of another process has failed; no other event gives them
# this code.
_FAILED = 3
# In place of the number of a computation that is done without the others' knowledge.
_ALONE = -1
# The keys that this thread or task computes, one within the other.
_computing: contextvars.ContextVar[frozenset[tuple[int, str]]] = contextvars.ContextVar(
    "hostmap.cache", default=frozenset()
)
# Longer arguments become a digest: a key may have 65,536 bytes at most, and a long one makes every
# hit slow.
_LONGEST_ARGUMENTS = 512

# Their repr() is the same in all processes, and different values have different ones.
_PLAIN: frozenset[type] = frozenset({bool, bytes, complex, float, int, str, type(None)})
_PLAIN_SLOW = frozenset(
    {
        bytearray,
        datetime.date,
        datetime.timedelta,
        decimal.Decimal,
        pathlib.PosixPath,
        pathlib.PurePosixPath,
        range,
        uuid.UUID,
    }
)


def _stable(value: Any) -> str:
    """Text for a value that is the same in all processes."""
    kind = type(value)
    if kind in _PLAIN or kind in _PLAIN_SLOW:
        return repr(value)
    if kind is tuple:
        return f"({','.join(map(_stable, value))},)"
    if kind is list:
        return f"[{','.join(map(_stable, value))}]"
    if kind is set or kind is frozenset:
        return f"{kind.__name__}({','.join(sorted(map(_stable, value)))})"
    if kind is dict:
        return (
            "{"
            + ",".join(sorted(f"{_stable(key)}:{_stable(item)}" for key, item in value.items()))
            + "}"
        )
    if kind is datetime.datetime or kind is datetime.time:
        return f"{kind.__name__}({value.isoformat()})"
    if isinstance(value, enum.Enum):
        return f"{kind.__module__}.{kind.__qualname__}({_stable(value.value)})"
    raise TypeError(
        f"an argument of type {kind.__module__}.{kind.__qualname__} has no form that is the "
        "same in all processes; give @hostmap.cache a key= function that makes a str of the "
        "arguments"
    )


def _name_of(function: Callable[..., Any]) -> str:
    """What keys of the function begin with: the same in all processes that run this code."""
    module = function.__module__
    if module in (
        "__main__",
        "__mp_main__",
    ):  # the latter: the main module in a child of multiprocessing that was spawned
        # Two programs may have functions of the same name in their main modules.
        file = inspect.getsourcefile(inspect.unwrap(function))
        module = (
            f"__main__:{os.path.abspath(file)}" if file and os.path.exists(file) else "__main__"
        )
    return f"cache:{module}.{function.__qualname__}"


def _key_maker(
    function: Callable[..., Any], prefix: str, key: Callable[..., str] | None
) -> Callable[[Any, Any], str]:
    start = prefix + "("

    def long_key(text: str) -> str:
        digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=24)
        return f"{start}#{digest.hexdigest()})"

    def make(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        if kwargs:
            # f(1, x=2) and f(1, 2) are the same call: arguments that have a place go there.
            bound = inspect.signature(function).bind(*args, **kwargs)
            args, kwargs = bound.args, bound.kwargs
        for value in args:
            if type(value) not in _PLAIN:
                text = _stable(args)
                break
        else:
            text = repr(args)
        if kwargs:
            text += _stable(kwargs)
        return f"{start}{text})" if len(text) <= _LONGEST_ARGUMENTS else long_key(text)

    def make_by_key(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        text = key(*args, **kwargs)  # type: ignore[misc]
        if not isinstance(text, str):
            raise TypeError(
                f"the key= function of {prefix} returned {type(text).__name__}; it must return str"
            )
        return f"{start}{text})" if len(text) <= _LONGEST_ARGUMENTS else long_key(text)

    return make if key is None else make_by_key


class _Results:
    """The map of one cached function, and what happens on a miss."""

    def __init__(
        self, map: Map[str, Any] | str | None, prefix: str, ttl: float | None, lease: float
    ) -> None:
        self._server = map if isinstance(map, str) else None
        self._map = map if isinstance(map, Map) else None
        self._lock = threading.Lock()
        self.prefix = prefix
        self._ttl = ttl
        self._lease = lease

    def map(self) -> Map[str, Any]:
        """The map; of a cache without one, it is connected at the first call."""
        if self._map is None:
            with self._lock:
                if self._map is None:
                    self._map = Map(self._server, codec=codecs.JSON)
        return self._map

    @contextlib.contextmanager
    def computation(self, key: str) -> Iterator[None]:
        """Around all of a miss: one that waits for itself would do so forever."""
        outer = _computing.get()
        if (id(self), key) in outer:
            raise RecursionError(f"the computation of {key} has called itself with these arguments")
        token = _computing.set(outer | {(id(self), key)})
        try:
            yield
        finally:
            _computing.reset(token)

    def begin(self, key: str) -> tuple[Any, int]:
        """(value, 0), or (None, the number of the computation that this caller has to do). Sleeps
        while another caller computes, for as long as a computation may take, whatever the timeout
        of the map is."""
        end = time.monotonic() + self._lease
        map = self.map()
        while True:
            try:
                return map.compute_begin(key, self._lease)
            except Mismatch:  # the other computation failed: its exception belongs to its caller
                pass
            except Full:
                # A process can hold 64 leases or more at once, and calls that are nested deeper
                # than that, or as many at the same time, compute without one: perhaps twice, which
                # is better than not at all.
                return None, _ALONE
            except Timeout:
                if time.monotonic() >= end:
                    raise

    def put(self, key: str, value: Any, number: int) -> Any:
        """Stores the value that was computed, and returns what a hit returns from now on."""
        map = self.map()
        try:
            if number == _ALONE:
                if not map.add(key, value, self._ttl):
                    return map.get(key, value)
            else:
                map.compute_put(key, value, number, self._ttl)
        except AlreadyExists:  # somebody else has stored one meanwhile: all callers return the same
            return map.get(key, value)
        except BaseException:  # such as a value that the codec cannot store
            self.fail(key, number)
            raise
        # Through the codec: a result must not change its type from the first call to the second.
        codec = map.codec
        return bytes(value) if codec is None else codec.loads(bytes(codec.dumps(value)))

    def fail(self, key: str, number: int) -> None:
        """Leaves the task to another caller. The caller gets the exception of the computation: what
        happens here does not matter, since the lease ends by itself."""
        if number != _ALONE:
            with contextlib.suppress(Error):
                self.map().compute_fail(key, number, _FAILED)


def _wrap(
    function: Callable[..., Any],
    results: _Results,
    make_key: Callable[[Any, Any], str],
    plain: frozenset[type],
) -> Callable[..., Any]:
    # What a hit needs is bound here, and the key of plain arguments is made in place, as make_key
    # does it: every call of a Python function would cost as much as the lookup itself.
    missing = _MISSING
    start = results.prefix + "("
    longest = len(start) + _LONGEST_ARGUMENTS + 1

    get: Callable[[str, Any], Any]

    def connect(key: str, default: Any) -> Any:
        nonlocal get
        get = results.map().get
        return get(key, default)

    get = connect

    def compute(key: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with results.computation(key):
            value, number = results.begin(key)
            if not number:
                return value
            try:
                value = function(*args, **kwargs)
            except BaseException:
                results.fail(key, number)
                raise
            return results.put(key, value, number)

    @functools.wraps(function)
    def cached(*args: Any, **kwargs: Any) -> Any:
        if kwargs or not plain:
            key = make_key(args, kwargs)
        else:
            for value in args:
                if type(value) not in plain:
                    key = make_key(args, kwargs)
                    break
            else:
                key = f"{start}{args!r})"
                if len(key) > longest:
                    key = make_key(args, kwargs)
        value = get(key, missing)
        return compute(key, args, kwargs) if value is missing else value

    return cached


def _wrap_async(
    function: Callable[..., Awaitable[Any]], results: _Results, make_key: Callable[[Any, Any], str]
) -> Callable[..., Any]:
    computing: dict[
        Any, asyncio.Future[None]
    ] = {}  # by event loop and key: resolved when the call that computes has ended

    @functools.wraps(function)
    async def cached(*args: Any, **kwargs: Any) -> Any:
        key = make_key(args, kwargs)
        while True:
            value = results.map().get(key, _MISSING)
            if value is not _MISSING:
                return value
            with results.computation(key):
                pass  # no call may wait for one that waits for it
            loop = asyncio.get_running_loop()
            other = computing.get((loop, key))
            if other is None:
                break
            await asyncio.wait([other])  # of the calls in this loop one alone needs a thread
        ended = computing[loop, key] = loop.create_future()
        try:
            with results.computation(key):
                return await compute(key, args, kwargs)
        finally:
            del computing[loop, key]
            ended.set_result(None)

    async def compute(key: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        begun: list[int] = []
        abandoned = threading.Event()

        def begin() -> tuple[Any, int]:
            value, number = results.begin(key)
            if number:
                begun.append(number)
                if abandoned.is_set():  # the caller was cancelled while this thread slept
                    _fail_once(results, key, begun)
            return value, number

        try:
            value, number = await in_own_thread(begin)
            if not number:
                return value
            value = await function(*args, **kwargs)
            begun.clear()
        except BaseException:
            abandoned.set()
            _fail_once(results, key, begun)
            raise
        return await in_own_thread(lambda: results.put(key, value, number))

    return cached


def _fail_once(results: _Results, key: str, begun: list[int]) -> None:
    try:
        number = begun.pop()  # one of two threads gets it
    except IndexError:
        return
    results.fail(key, number)


@overload
def cache(map: F, /) -> F: ...


@overload
def cache(
    map: Map[str, Any] | str | None = None,
    *,
    prefix: str | None = None,
    ttl: float | None = None,
    key: Callable[..., str] | None = None,
    lease: float = 60.0,
) -> Callable[[F], F]: ...


def cache(
    map: Any = None,
    *,
    prefix: str | None = None,
    ttl: float | None = None,
    key: Callable[..., str] | None = None,
    lease: float = 60.0,
) -> Any:
    """Decorates a function so that its results are shared by all processes of the host:

        @hostmap.cache(ttl=60)
        def load(user: str) -> dict: ...

    If several threads or processes miss the same result at once, one of them computes it and the
    others sleep until it is there. An exception passes through to the caller whose computation
    raised it and is not stored; one of those that wait computes next. Results are stored by the
    codec of the map, and all calls return what a reading returns: with JSON a tuple becomes a list,
    at the first call, too.

    map: where results are kept, a Map with str keys; or the name of a server, to which a Map with
    codecs.JSON is connected at the first call; None: the server "distributed-memory", likewise.
    prefix: what the keys begin with; None: "cache:MODULE.QUALNAME".
    ttl: seconds that a result stays; None: until it is removed.
    key: makes a str of the arguments; None: arguments may be None, bool, int, float, complex, str,
    bytes, Enum, dates and times, Decimal, UUID, paths, and tuples, lists, sets and dicts of these;
    anything else is a TypeError. 1, 1.0 and True are different.
    lease: seconds that one computation may take; afterwards, or when its process dies, another
    caller computes as well.

    The function may be `async def`: a hit does not block, and waiting for another process does not
    block the event loop. Generator functions are a TypeError.

    The result has cache_key(*args, **kwargs), the key in the map, and cache_clear(), which removes
    all results of the function, returns how many, and takes time in proportion to the whole table;
    to forget one result, erase its key. NoServer, Closed, Timeout and Full pass through to the
    caller.
    """
    if callable(map) and not isinstance(map, Map):
        return cache()(map)  # @hostmap.cache without parentheses
    if not (map is None or isinstance(map, (str, Map))):
        raise TypeError(
            "@hostmap.cache takes a Map, the name of a server, or nothing; "
            f"not {type(map).__name__}"
        )
    if isinstance(map, Map) and map.options.get("encoding", "utf-8") is None:
        raise TypeError("@hostmap.cache needs a Map with str keys, not one with encoding=None")
    if ttl is not None and not ttl > 0:
        raise ValueError(
            f"the ttl of @hostmap.cache is a number of seconds above 0, or None; not {ttl!r}"
        )
    if not lease > 0:
        raise ValueError(
            f"the lease of @hostmap.cache is a number of seconds above 0, not {lease!r}"
        )

    def decorate(function: F) -> F:
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(
                f"{function.__qualname__} is a generator, whose result cannot be stored: "
                "let it return a list, and decorate that"
            )
        if not callable(function) or not hasattr(function, "__qualname__"):
            raise TypeError(f"@hostmap.cache decorates functions, not {type(function).__name__}")
        results = _Results(map, _name_of(function) if prefix is None else prefix, ttl, lease)
        make_key = _key_maker(function, results.prefix, key)
        cached: Any
        if inspect.iscoroutinefunction(function):
            cached = _wrap_async(function, results, make_key)
        else:
            cached = _wrap(function, results, make_key, _PLAIN if key is None else frozenset())
        cached.cache_key = lambda *args, **kwargs: make_key(args, kwargs)
        cached.cache_clear = lambda: results.map().delete_prefix(results.prefix + "(")
        return cast(F, cached)

    return decorate
