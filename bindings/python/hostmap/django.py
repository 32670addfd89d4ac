"""hostmap as a cache of Django.

CACHES = {"default": {"BACKEND": "hostmap.django.Cache", "LOCATION": "web"}}
"""

from __future__ import annotations

import functools
import pickle
from collections.abc import Iterable
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache

from ._hostmap import Map

__all__ = ["Cache"]


class _IntOrPickle:
    """Whole numbers as decimal text, so that other programs can read and count them; everything
    else as a pickle, which begins with a byte that no number has."""

    def dumps(self, value: Any, /) -> bytes:
        if type(value) is int and -(2**63) <= value < 2**63:
            return b"%d" % value
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)

    def loads(self, data: bytes, /) -> Any:
        return pickle.loads(data) if data[:1] == b"\x80" else int(data)


_CODEC = _IntOrPickle()


@functools.cache
def _connect(name: str | None, options: tuple[tuple[str, Any], ...]) -> Map[str, Any]:
    # Django makes a cache object for each thread; they share one connection.
    return Map(name, codec=_CODEC, **dict(options))


class Cache(BaseCache):  # type: ignore[misc]  # Django has no types
    """Values that all processes of the host share.

    LOCATION: the name of the server; empty: "distributed-memory". TIMEOUT, KEY_PREFIX, VERSION and
    KEY_FUNCTION are as for all caches of Django. OPTIONS: those of hostmap.Map, such as timeout and
    dir, and prefix: what all keys begin with in the server ("django:"). clear() removes only the
    keys below this prefix, of all versions and KEY_PREFIXes. MAX_ENTRIES and CULL_FREQUENCY have no
    effect: memory is the limit, with `hostmap-server --memory 512M --eviction clock`.

    As Django's other caches do, it stores pickles: whoever may write to the map may run code in
    this process. incr and decr are atomic and keep the end of a key. Exceptions of hostmap pass
    through. Connects at the first use; thread-safe.
    """

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)
        options = {"prefix": "django:", **(params.get("OPTIONS") or {})}
        for of_other_caches in ("MAX_ENTRIES", "CULL_FREQUENCY"):
            options.pop(of_other_caches, None)
        self._name = location or None
        self._options = tuple(sorted(options.items()))

    @functools.cached_property
    def _map(self) -> Map[str, Any]:
        return _connect(self._name, self._options)

    def _ttl(self, timeout: Any) -> float | None:
        """Seconds; None: forever; 0 or less: not at all."""
        if timeout is DEFAULT_TIMEOUT:
            timeout = self.default_timeout
        return None if timeout is None else float(timeout)

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        return self._map.get(self.make_and_validate_key(key, version), default)

    def get_many(self, keys: Iterable[Any], version: int | None = None) -> dict[Any, Any]:
        names = {self.make_and_validate_key(key, version): key for key in keys}
        return {names[name]: value for name, value in self._map.get_many(names).items()}

    def has_key(self, key: Any, version: int | None = None) -> bool:
        return self.make_and_validate_key(key, version) in self._map

    def set(
        self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> None:
        name = self.make_and_validate_key(key, version)
        ttl = self._ttl(timeout)
        if ttl is not None and ttl <= 0:
            self._map.delete_many([name])
        else:
            self._map.put(name, value, ttl)

    def set_many(
        self, data: dict[Any, Any], timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> list[Any]:
        named = {self.make_and_validate_key(key, version): value for key, value in data.items()}
        ttl = self._ttl(timeout)
        if ttl is not None and ttl <= 0:
            self._map.delete_many(named)
        else:
            self._map.put_many(named, ttl)
        return []

    def add(
        self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        name = self.make_and_validate_key(key, version)
        ttl = self._ttl(timeout)
        if ttl is not None and ttl <= 0:
            return name not in self._map
        return self._map.add(name, value, ttl)

    def touch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        name = self.make_and_validate_key(key, version)
        ttl = self._ttl(timeout)
        if ttl is not None and ttl <= 0:
            return self._map.delete_many([name]) == 1
        return self._map.expire(name, ttl)

    def delete(self, key: Any, version: int | None = None) -> bool:
        return self._map.delete_many([self.make_and_validate_key(key, version)]) == 1

    def delete_many(self, keys: Iterable[Any], version: int | None = None) -> None:
        self._map.delete_many([self.make_and_validate_key(key, version) for key in keys])

    def incr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        """ValueError: the key is absent. TypeError: its value is not a number."""
        name = self.make_and_validate_key(key, version)
        while True:
            value: Any = self._map.get(name, self._missing_key)
            if value is self._missing_key:
                raise ValueError(f"Key {key!r} not found")
            if self._map.replace(
                name, value, value + delta
            ):  # False: another process has changed it meanwhile
                return value + delta  # type: ignore[no-any-return]

    def clear(self) -> None:
        self._map.clear()
