"""hostmap as a backend of dogpile.cache, registered under the name "hostmap".

region = dogpile.cache.make_region().configure(
    "hostmap", expiration_time=60,
        arguments={"name": "web", "prefix": "shop:", "distributed_lock": True})
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dogpile.cache.api import NO_VALUE, BytesBackend, CacheMutex

from ._hostmap import Full, Map

__all__ = ["HostmapBackend"]

_MAP_OPTIONS = ("name", "prefix", "timeout", "dir", "group", "user", "read_only", "wait_for_server")


class HostmapBackend(BytesBackend):
    """Values that all processes of the host share; serialized by dogpile.cache, by default as
    pickles.

    Arguments: those of hostmap.Map (name, prefix, timeout, dir, group, user, read_only,
    wait_for_server), and
    ttl: seconds after which the server removes a value; longer than the region's expiration_time,
    since dogpile.cache serves the old value while one caller computes the new one. None: until it
    is deleted.
    distributed_lock: one of all *processes* computes a value, not one of each; with a lease, which
    ends with its process.
    lock_timeout: seconds that such a computation may take (60). lock_prefix: what the names of
    these leases begin with.

    Connects at once. Use dogpile.cache's sha1_mangle_key if keys may be longer than 65,536 bytes.
    """

    def __init__(self, arguments: dict[str, Any]) -> None:
        self._map: Map[str, bytes] = Map(
            **{name: arguments[name] for name in _MAP_OPTIONS if name in arguments}
        )
        self._ttl: float | None = arguments.get("ttl")
        self._distributed_lock: bool = arguments.get("distributed_lock", False)
        self._lock_timeout: float = arguments.get("lock_timeout") or 60.0
        self._lock_prefix: str = arguments.get("lock_prefix") or "lock:"

    def has_lock_timeout(self) -> bool:
        return self._distributed_lock

    def get_mutex(self, key: str) -> CacheMutex | None:
        return (
            _LeaseMutex(self._map, self._lock_prefix + key, self._lock_timeout)
            if self._distributed_lock
            else None
        )

    def get_serialized(self, key: str) -> Any:
        return self._map.get(key, NO_VALUE)

    def get_serialized_multi(self, keys: Iterable[str]) -> Sequence[Any]:
        keys = list(keys)
        found = self._map.get_many(keys)
        return [found.get(key, NO_VALUE) for key in keys]

    def set_serialized(self, key: str, value: bytes) -> None:
        self._map.put(key, value, self._ttl)

    def set_serialized_multi(self, mapping: Mapping[str, bytes]) -> None:
        self._map.put_many(mapping, self._ttl)

    def delete(self, key: str) -> None:
        self._map.delete_many([key])

    def delete_multi(self, keys: Iterable[str]) -> None:
        self._map.delete_many(keys)


class _LeaseMutex(CacheMutex):
    def __init__(self, map: Map[str, bytes], name: str, length: float) -> None:
        self._map, self._name, self._length = map, name, length
        self._number: int | None = None

    def acquire(self, wait: bool = True) -> bool:
        try:
            number = self._map.lease(self._name, self._length, None if wait else 0)
        except Full:
            # A process can hold 64 leases or more at once; beyond them a value may be computed
            # twice, which is better than not at all.
            self._number = None
            return True
        if number is None:
            return False
        self._number = number
        return True

    def release(self) -> None:
        """Does nothing if the lease has ended, as it has after a computation that took too long."""
        number, self._number = self._number, None
        if number is not None:
            self._map.release(self._name, number)

    def locked(self) -> bool:
        try:
            number = self._map.lease(self._name, self._length)
        except Full:  # acquire() would succeed
            return False
        if number is None:
            return True
        self._map.release(self._name, number)
        return False
