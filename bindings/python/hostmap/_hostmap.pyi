"""The C extension: Map, its exceptions, the numbers of hostmap.h. Import them from `hostmap`."""

from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, MutableMapping, ValuesView
from types import GenericAlias, TracebackType
from typing import Any, Final, Generic, Literal, TypeVar, overload

from typing_extensions import Buffer, Self, disjoint_base

from hostmap._codec import Codec

_K = TypeVar("_K")
_V = TypeVar("_V")
_D = TypeVar("_D")

__version__: Final[str]  # of the client in this module: "0.1.0"
layout: Final[int]  # of memory; the server's must be the same
commit: Final[str]

class Error(Exception):
    """What every other exception of hostmap is, too. A key that is absent is a KeyError, and a wrong type a TypeError."""

    code: int  # of hostmap.h: HOSTMAP_TIMEOUT is 7
    outcome_unknown: bool  # True: the change may or may not have been applied; False: nothing was changed

class AlreadyExists(Error): ...  # code 2: only from compute_put and compute_begin
class Mismatch(Error): ...  # code 3: only from compute_begin
class NotANumber(Error, TypeError): ...  # code 4
class Overflow(Error, OverflowError): ...  # code 5
class BufferTooSmall(Error, ValueError):  # code 6
    size: int  # that the value has, in bytes

class Timeout(Error, TimeoutError): ...  # code 7
class NoServer(Error, ConnectionError): ...  # code 8
class Full(Error, MemoryError): ...  # code 9
class TooLarge(Error, ValueError): ...  # code 10
class Invalid(Error, ValueError): ...  # code 11; also a Map that is closed
class Permission(Error, PermissionError): ...  # code 12
class OtherVersion(Error, ConnectionError): ...  # code 13
class Closed(Error, ConnectionError): ...  # code 14
class Internal(Error): ...  # code 15

@disjoint_base
class Map(MutableMapping[_K, _V], Generic[_K, _V]):
    """A map that all processes of this host share. Like a dict, with these differences.

    Keys are str, stored as UTF-8 (bytes with encoding=None), of 1 to 65,536 bytes with the prefix. Values are bytes (any
    object with a contiguous buffer can be stored; bytes are returned), or whatever `codec` takes. Iteration takes no lock and
    is in no order: it sees each key that is present during all of it; a key that is added or removed meanwhile may or may not
    be seen. Every call may raise NoServer, Closed or Timeout.

    Threads: every method may be called from any thread, also on one Map at the same time. The GIL is released only while a
    call sleeps; signals (Ctrl-C) end the sleep. A signal handler that runs in such a sleep must not use a Map: RuntimeError.
    Fork: a child connects anew at its first call. Spawn: a Map pickles as its options.
    Blocking: a call blocks for at most `timeout` seconds, then Timeout. Reads go to the table itself and rarely block.
    """

    @overload
    def __init__(self: Map[str, bytes], name: str | None = None, *, codec: None = None, prefix: str | None = None,
                 timeout: float | None = 5.0, dir: str | None = None, group: str | None = None, user: str | None = None,
                 read_only: bool = False, wait_for_server: bool = False, encoding: Literal["utf-8"] = "utf-8") -> None: ...
    @overload
    def __init__(self: Map[str, _V], name: str | None = None, *, codec: Codec[_V], prefix: str | None = None,
                 timeout: float | None = 5.0, dir: str | None = None, group: str | None = None, user: str | None = None,
                 read_only: bool = False, wait_for_server: bool = False, encoding: Literal["utf-8"] = "utf-8") -> None: ...
    @overload
    def __init__(self: Map[bytes, bytes], name: str | None = None, *, codec: None = None, prefix: bytes | None = None,
                 timeout: float | None = 5.0, dir: str | None = None, group: str | None = None, user: str | None = None,
                 read_only: bool = False, wait_for_server: bool = False, encoding: None) -> None: ...
    @overload
    def __init__(self: Map[bytes, _V], name: str | None = None, *, codec: Codec[_V], prefix: bytes | None = None,
                 timeout: float | None = 5.0, dir: str | None = None, group: str | None = None, user: str | None = None,
                 read_only: bool = False, wait_for_server: bool = False, encoding: None) -> None:
        """Connects to the server `name` (None: "distributed-memory"). Blocks.

        codec: has dumps and loads; None: values are bytes. prefix: every key in the server begins with it; this Map sees
        only those keys, without the prefix. timeout: seconds of every call that blocks; None: no bound. dir: the
        folder of the server's files (/dev/shm). group, user: trust servers that share their files with this group alone, or
        that are of this user. read_only: changes raise Permission. wait_for_server: waits for a server to appear.
        """

    # ---- as a dict ----
    def __class_getitem__(cls, item: Any, /) -> GenericAlias: ...
    def __getitem__(self, key: _K, /) -> _V: ...
    def __setitem__(self, key: _K, value: _V, /) -> None: ...
    def __delitem__(self, key: _K, /) -> None: ...
    def __contains__(self, key: object, /) -> bool: ...
    def __iter__(self) -> Iterator[_K]: ...
    def __len__(self) -> int:
        """The number of keys; with a prefix, by a scan of the whole table."""
    def __eq__(self, other: object, /) -> bool: ...
    def keys(self) -> KeysView[_K]: ...
    def values(self) -> ValuesView[_V]: ...
    def items(self) -> ItemsView[_K, _V]: ...
    @overload
    def get(self, key: _K, default: None = None) -> _V | None: ...
    @overload
    def get(self, key: _K, default: _V | _D) -> _V | _D: ...
    @overload
    def pop(self, key: _K, /) -> _V: ...
    @overload
    def pop(self, key: _K, default: _V | _D, /) -> _V | _D:
        """Removes the key and returns its value: atomic, one process gets it."""
    def popitem(self) -> tuple[_K, _V]: ...
    def setdefault(self, key: _K, default: _V) -> _V:
        """The value of the key; an absent key gets `default` first: atomic, all callers get the same value."""
    def update(self, *args: Any, **kwargs: _V) -> None: ...
    def clear(self) -> None:
        """Removes every key, atomically for all readers; with a prefix: those that begin with it, one after the other."""

    # ---- the connection ----
    def close(self) -> None:
        """Ends the connection; does not block. Calls in progress in other threads end first. May be called twice."""
    def __enter__(self) -> Self: ...
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /) -> None:
        """Closes the Map."""
    @property
    def closed(self) -> bool: ...
    @property
    def name(self) -> str: ...
    @property
    def prefix(self) -> _K | None: ...
    @property
    def codec(self) -> Codec[_V] | None: ...
    @property
    def options(self) -> dict[str, Any]:
        """What Map(**options) needs to make the same connection again; also what a Map pickles as."""
    def within(self, seconds: float | None, /) -> Self:
        """The same map with another timeout, on the same connection: `with m.within(0.05) as quick: quick["k"]`."""

    # ---- writing ----
    def put(self, key: _K, value: _V, ttl: float | None = None, *, keep_ttl: bool = False) -> None:
        """Sets the key. ttl: seconds until it ends, above 0, rounded up to milliseconds; None: it stays until it is deleted.
        keep_ttl: it ends when it would have; an absent key stays."""
    def put_async(self, key: _K, value: _V, ttl: float | None = None, *, keep_ttl: bool = False) -> None:
        """Queues a put and blocks only while the ring is full. This Map sees the value at once, others soon after. What the
        server refuses, the next flush() raises."""
    def flush(self) -> None:
        """Blocks until the server has applied all queued writes of this Map, and raises their first error."""
    def add(self, key: _K, value: _V, ttl: float | None = None) -> bool:
        """Sets the key only if it is absent; False: it was present."""
    def replace(self, key: _K, expected: _V, desired: _V) -> bool:
        """Sets the key to `desired` if its value equals `expected`, as bytes. It keeps its ttl."""
    def replace_existing(self, key: _K, value: _V, ttl: float | None = None, *, keep_ttl: bool = False) -> bool:
        """Sets the key only if it is present; False: it was absent."""
    def exchange(self, key: _K, value: _V) -> _V | None:
        """Sets the key and returns the value that this replaced; None: it was absent."""
    @overload
    def incr(self, key: _K, by: int = 1, initial: int = 0, ttl: float | None = None) -> int: ...
    @overload
    def incr(self, key: _K, by: float, initial: float = 0, ttl: float | None = None) -> float:
        """Adds `by` to a number that is stored as decimal text, whatever the codec; an absent key counts as `initial`, and
        the key that is then made lives for `ttl`. A present key keeps its ttl. Whole numbers have 64 bits. NotANumber,
        Overflow."""
    def append(self, key: _K, more: Buffer) -> int:
        """Appends bytes to the stored bytes, whatever the codec; returns the new size. An absent key counts as empty."""
    def expire(self, key: _K, ttl: float | None) -> bool:
        """Lets a present key end in `ttl` seconds; None: never. False: it is absent."""
    def persist(self, key: _K, /) -> bool:
        """The same as expire(key, None)."""
    def delete_if(self, key: _K, expected: _V) -> bool:
        """Removes the key if its value equals `expected`, as bytes."""
    def modify(self, key: _K, function: Callable[[_V | None], _V]) -> _V:
        """Sets the key to function(its value, or None) and returns that. Atomic: if others have changed the key meanwhile,
        the function is called again, with the newer value."""

    # ---- several at once ----
    def get_many(self, keys: Iterable[_K], /) -> dict[_K, _V]:
        """The values of the keys that are present. Faster than single gets; not a snapshot."""
    def put_many(self, items: Any, ttl: float | None = None, *, keep_ttl: bool = False) -> None:
        """Sets all keys of a mapping, or of an iterable of pairs. Raises the first error; the other keys are set."""
    def delete_many(self, keys: Iterable[_K], /) -> int:
        """Removes the keys; returns how many were present."""
    def delete_prefix(self, prefix: _K, /) -> int:
        """Removes each key that begins with `prefix`; returns how many. Takes time in proportion to the whole table."""
    def scan(self, prefix: _K | None = None) -> Iterator[tuple[_K, _V]]:
        """All keys that begin with `prefix`, and their values, as in an iteration."""

    # ---- reading otherwise ----
    def get_into(self, key: _K, buffer: Buffer) -> int:
        """Copies the stored bytes into a writable buffer (bytearray, memoryview, numpy array) and returns their number.
        KeyError; BufferTooSmall: `size` of the exception says what is needed."""
    def ttl(self, key: _K, /) -> float | None:
        """Seconds that the key still lives; None: until it is deleted. KeyError: it is absent."""

    # ---- waiting, leases, values that one process computes for all ----
    def wait(self, key: _K, known: _V | None = None, timeout: float | None = None) -> _V | None:
        """Sleeps until the value of the key is another one than `known` (None: known to be absent), and returns it; None: the
        key has become absent. timeout: seconds; None: no bound; the timeout of the Map has no effect. Timeout: no change."""
    def watch(self, key: _K, /) -> Iterator[_V | None]:
        """Yields the value of the key now (None: it is absent), then each other value that it gets. Changes that follow each
        other quickly may be seen as one. next() sleeps without bound; Ctrl-C ends it."""
    def lease(self, key: _K, length: float, wait: float | None = 0) -> int | None:
        """Takes the lease of a key for `length` seconds, a permission that one holder at a time has; the number that it
        returns is larger than all before and is for release(). Sleeps for at most `wait` seconds (None: without bound) until
        it is free, then returns None. It ends also when this Map is closed or its process dies."""
    def release(self, key: _K, number: int) -> bool:
        """Releases a lease. False: this Map does not hold it any more."""
    def compute_begin(self, key: _K, lease: float) -> tuple[_V | None, int]:
        """(value, 0) if the key is present. (None, number) if this caller alone is to compute it within `lease` seconds and
        then to call compute_put or compute_fail. Other callers sleep until then; if the computation fails, they get the
        exception whose code was given to compute_fail (KeyError for 1)."""
    def compute_put(self, key: _K, value: _V, number: int, ttl: float | None = None) -> None:
        """Stores the value if the key is still absent, and wakes all waiting callers. AlreadyExists: another caller has stored one."""
    def compute_fail(self, key: _K, number: int, code: int = 15) -> None:
        """Ends the computation without a value: all waiting callers get the exception of this code (of hostmap.h, not 0)."""

def _close_all() -> None:
    """Closes every Map of this process."""

def _after_fork() -> None:
    """In a child after fork: forgets the calls that were in progress in threads that the child does not have."""
