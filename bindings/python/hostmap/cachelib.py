"""hostmap as a cache of cachelib, and thereby of Flask-Caching and Flask-Session.

    cache = hostmap.cachelib.HostmapCache("web", key_prefix="shop:")     # cachelib
    SESSION_TYPE = "cachelib"                                            # Flask-Session
    SESSION_CACHELIB = HostmapCache("web", key_prefix="session:")
    CACHE_TYPE = "hostmap.cachelib.HostmapCache"                         # Flask-Caching
    CACHE_OPTIONS = {"name": "web"}

Needs cachelib 0.16 or newer.
"""

from __future__ import annotations

from typing import Any

from cachelib.base import BaseCache
from cachelib.serializers import RedisSerializer

from ._hostmap import Error, Map

__all__ = ["HostmapCache"]


class HostmapCache(BaseCache):
    """Values that all processes of the host share.

    name: of the server. key_prefix: what its keys begin with, in the server; clear() removes only
    keys that begin with it.
    options: those of hostmap.Map, such as timeout and dir. The other arguments are cachelib's.
    Connects at the first use.

    As cachelib's caches do, it stores whole numbers as text and everything else as a pickle, so
    that whoever may write to the map may run code in this process; set `serializer` to cachelib's
    JSONSerializer to avoid that. A time to live of 0 means that the key stays. inc and dec are
    atomic and keep the end of a key; they need a number or an absent key. Exceptions of hostmap
    pass through.
    """

    serializer: Any = RedisSerializer()

    def __init__(
        self,
        name: str | None = None,
        default_timeout: Any = 300,
        key_prefix: str | None = None,
        ignore_delete_many_errors: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(default_timeout, ignore_delete_many_errors)
        self._options = {**options, "name": name, "prefix": key_prefix or None}
        self._connected: Map[str, bytes] | None = None

    @property
    def _map(self) -> Map[str, bytes]:
        if self._connected is None:
            self._connected = Map(**self._options)
        return self._connected

    def _ttl(self, timeout: Any) -> float | None:
        """Seconds; None: forever; below 0: not at all."""
        return self._normalize_timeout(timeout) or None

    def _stored(self, value: Any) -> bytes:
        stored: bytes | None = self.serializer.dumps(value)
        if stored is None:  # how some serializers of cachelib report it
            raise TypeError(
                f"{type(self.serializer).__name__} cannot store a value of type "
                f"{type(value).__name__}"
            )
        return stored

    def get(self, key: str) -> Any:
        stored = self._map.get(key)
        return None if stored is None else self.serializer.loads(stored)

    def get_many(self, *keys: str) -> list[Any]:
        found = self._map.get_many(keys)
        return [self.serializer.loads(found[key]) if key in found else None for key in keys]

    def has(self, key: str) -> bool:
        return key in self._map

    def set(self, key: str, value: Any, timeout: Any = None) -> bool:
        self.set_many({key: value}, timeout)
        return True

    def set_many(self, mapping: dict[str, Any], timeout: Any = None) -> list[Any]:
        pairs = {key: self._stored(value) for key, value in mapping.items()}
        ttl = self._ttl(timeout)
        if ttl is not None and ttl < 0:
            self._map.delete_many(pairs)
        else:
            self._map.put_many(pairs, ttl)
        return list(mapping)

    def add(self, key: str, value: Any, timeout: Any = None) -> bool:
        stored, ttl = self._stored(value), self._ttl(timeout)
        return not self.has(key) if ttl is not None and ttl < 0 else self._map.add(key, stored, ttl)

    def delete(self, key: str) -> bool:
        return self._map.delete_many([key]) == 1

    def delete_many(self, *keys: str) -> list[Any]:
        try:
            self._map.delete_many(keys)
        except Error as error:
            if not self.ignore_delete_many_errors:
                raise RuntimeError(f"not all keys were deleted: {error}") from error
            return [key for key in keys if not self.has(key)]
        return list(keys)

    def clear(self) -> bool:
        self._map.clear()
        return True

    def inc(self, key: str, delta: int = 1) -> int:
        return self._map.incr(key, delta, ttl=self._ttl(None))

    def dec(self, key: str, delta: int = 1) -> int:
        return self.inc(key, -delta)
