"""hostmap as a cache of aiocache.

cache = aiocache.Cache(hostmap.aiocache.HostmapCache, name="web", namespace="shop:")
cache = aiocache.Cache.from_url("hostmap://web")  # after `import hostmap.aiocache`
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiocache import AIOCACHE_CACHES
from aiocache.base import BaseCache
from aiocache.serializers import JsonSerializer

from . import aio

__all__ = ["HostmapCache"]

_MAP_OPTIONS = ("dir", "group", "user", "read_only", "wait_for_server")


def _stored(value: Any) -> bytes:
    return (
        bytes(value) if isinstance(value, (bytes, bytearray, memoryview)) else str(value).encode()
    )


class HostmapCache(BaseCache):  # type: ignore[misc]  # aiocache has no types
    """Values that all processes of the host share.

    name: of the server. prefix: what all keys begin with in the server, before the namespace;
    clear() without a namespace removes only the keys that begin with it. dir, group, user,
    read_only, wait_for_server: as for hostmap.Map. The other arguments are aiocache's; the
    serializer is by default its JsonSerializer.

    Reads happen at once, in the event loop; what waits for the server runs in the loop's executor.
    A ttl of 0 or None means that a key stays. Exceptions of hostmap pass through. Connects at the
    first use, which blocks for a moment. close() ends the connection; the next use connects again.
    """

    NAME = "hostmap"

    def __init__(
        self,
        name: str | None = None,
        prefix: str | None = None,
        serializer: Any = None,
        **options: Any,
    ) -> None:
        name = name or options.pop("endpoint", None)  # what Cache.from_url makes of hostmap://NAME
        self._options = {
            option: options.pop(option) for option in _MAP_OPTIONS if option in options
        }
        self._options.update(name=name, prefix=prefix)
        self._connected: aio.Map | None = None
        super().__init__(serializer=serializer or JsonSerializer(), **options)

    @classmethod
    def parse_uri_path(cls, path: str) -> dict[str, Any]:
        return {}

    @property
    def _map(self) -> aio.Map:
        if self._connected is None:
            self._connected = aio.Map(**self._options)
        return self._connected

    async def _get(self, key: str, encoding: str | None = "utf-8", _conn: Any = None) -> Any:
        return (await self._multi_get([key], encoding))[0]

    _gets = _get

    async def _multi_get(
        self, keys: Sequence[str], encoding: str | None = "utf-8", _conn: Any = None
    ) -> list[Any]:
        found = await self._map.get_many(keys)
        return [
            value if value is None or encoding is None else value.decode(encoding)
            for value in map(found.get, keys)
        ]

    async def _set(
        self,
        key: str,
        value: Any,
        ttl: float | None = None,
        _cas_token: Any = None,
        _conn: Any = None,
    ) -> Any:
        if _cas_token is None:
            await self._map.put(key, _stored(value), ttl or None)
            return True
        if not await self._map.replace(key, _stored(_cas_token), _stored(value)):
            return 0
        if ttl:
            await self._map.expire(key, ttl)
        return True

    async def _multi_set(self, pairs: Any, ttl: float | None = None, _conn: Any = None) -> bool:
        await self._map.put_many([(key, _stored(value)) for key, value in pairs], ttl or None)
        return True

    async def _add(self, key: str, value: Any, ttl: float | None = None, _conn: Any = None) -> bool:
        if not await self._map.add(key, _stored(value), ttl or None):
            raise ValueError(f"Key {key} already exists, use .set to update the value")
        return True

    async def _exists(self, key: str, _conn: Any = None) -> bool:
        return await self._map.contains(key)

    async def _increment(self, key: str, delta: int, _conn: Any = None) -> Any:
        return await self._map.incr(key, delta)

    async def _expire(self, key: str, ttl: float | None, _conn: Any = None) -> bool:
        return await self._map.expire(key, ttl or None)

    async def _delete(self, key: str, _conn: Any = None) -> int:
        return await self._map.delete_many([key])

    async def _clear(self, namespace: str | None = None, _conn: Any = None) -> bool:
        if namespace:
            await self._map.delete_prefix(namespace)
        else:
            await self._map.clear()
        return True

    async def _raw(
        self,
        command: str,
        *args: Any,
        encoding: str | None = None,
        _conn: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Any method of hostmap.aio.Map, with stored bytes as its values."""
        return await getattr(self._map, command)(*args, **kwargs)

    async def _redlock_release(self, key: str, value: Any) -> int:
        return int(await self._map.delete_if(key, _stored(value)))

    async def _close(self, *args: Any, **kwargs: Any) -> None:
        connected, self._connected = self._connected, None
        if connected is not None:
            await connected.close()


AIOCACHE_CACHES[HostmapCache.NAME] = HostmapCache
