"""The adapters for Django, cachelib, dogpile.cache and aiocache, beyond what the tests of these
projects check."""

from __future__ import annotations

import asyncio
import datetime
import importlib.metadata
import threading
import time
from collections.abc import Iterator
from typing import Any

import aiocache
import cachelib
import cachelib.serializers
import dogpile.cache
import flask
import flask_caching
import flask_session
import hostmap
import hostmap.aiocache
import hostmap.cachelib
import hostmap.dogpile
import pytest
from django.conf import settings

settings.configure(CACHES={})

import hostmap.django  # noqa: E402  (needs the settings)

SECONDS = 60
THREADS = 4
ROUNDS = 250


def in_threads(call: Any) -> None:
    """Calls it ROUNDS times in each of some threads."""
    failures = []

    def run() -> None:
        try:
            for _ in range(ROUNDS):
                call()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert not failures


def await_absence(key: str, m: Any) -> None:
    end = time.monotonic() + SECONDS
    while key in m:
        assert time.monotonic() < end
        time.sleep(0.01)


# ---- Django ----


@pytest.fixture
def django_cache(server: Any) -> Any:
    return hostmap.django.Cache(server.name, {"TIMEOUT": 100})


def test_django_keys_have_prefix_and_version(django_cache: Any, m: Any) -> None:
    django_cache.set("answer", 42)
    django_cache.set("answer", 43, version=2)
    assert sorted(m) == ["django::1:answer", "django::2:answer"]
    assert django_cache.get("answer") == 42
    assert django_cache.get("answer", version=2) == 43
    assert 99 < m.ttl("django::1:answer") <= 100
    assert django_cache.incr_version("answer") == 2
    assert django_cache.get("answer", version=2) == 42


def test_django_clear_leaves_what_is_not_djangos(django_cache: Any, m: Any) -> None:
    m["other"] = b"1"
    django_cache.set("a", 1)
    hostmap.django.Cache(m.name, {"KEY_PREFIX": "p", "OPTIONS": {"timeout": 3.0}}).set("a", 1)
    django_cache.clear()
    assert list(m) == ["other"]


def test_django_stores_whole_numbers_as_text(django_cache: Any, m: Any) -> None:
    for number, value in enumerate([0, -5, 2**63 - 1, 2**63, True, "7", 1.5, None, [1]]):
        django_cache.set(str(number), value)
        found = django_cache.get(str(number), "absent")
        assert found == value
        assert type(found) is type(value)
    assert m["django::1:1"] == b"-5"


def test_django_increments_are_atomic_and_keep_the_end(django_cache: Any, m: Any) -> None:
    django_cache.set("n", 0, 1000)
    in_threads(lambda: django_cache.incr("n"))
    assert django_cache.get("n") == THREADS * ROUNDS
    assert 100 < m.ttl("django::1:n") <= 1000
    django_cache.delete("n")
    with pytest.raises(ValueError, match="'n' not found"):
        django_cache.incr("n")
    assert not django_cache.has_key("n")


def test_django_zero_and_negative_timeouts_store_nothing(django_cache: Any, m: Any) -> None:
    for timeout in (0, -1):
        django_cache.set("key", 1)
        django_cache.set("key", 2, timeout)
        assert django_cache.add("key", 2, timeout)
        django_cache.set_many({"key": 1, "more": 2})
        django_cache.set_many({"key": 1, "more": 2}, timeout)
        django_cache.set("key", 1)
        assert not django_cache.add("key", 2, timeout)
        assert django_cache.touch("key", timeout)
        assert not django_cache.touch("key", timeout)
        assert len(m) == 0


def test_django_connects_at_the_first_use_and_says_what_is_wrong() -> None:
    cache = hostmap.django.Cache("no-such-server", {})
    with pytest.raises(hostmap.NoServer):
        cache.get("key")
    with pytest.raises(TypeError, match="no_such_option"):
        hostmap.django.Cache("", {"OPTIONS": {"no_such_option": 1}}).get("key")


# ---- cachelib, Flask-Caching, Flask-Session ----


def test_cachelib_prefix_ttl_and_clear(server: Any, m: Any) -> None:
    cache = hostmap.cachelib.HostmapCache(server.name, default_timeout=100, key_prefix="shop:")
    m["other"] = b"1"
    cache.set("key", [1])
    assert 99 < m.ttl("shop:key") <= 100
    cache.set("key", 5, timeout=0)
    assert m.ttl("shop:key") is None
    assert m["shop:key"] == b"5"
    cache.set("key", 6, timeout=datetime.timedelta(seconds=50))
    assert cache.inc("key") == 7
    assert 49 < m.ttl("shop:key") <= 50
    assert cache.inc("new", 3) == 3
    assert 99 < m.ttl("shop:new") <= 100
    cache.clear()
    assert list(m) == ["other"]


def test_cachelib_negative_timeout_stores_nothing(server: Any, m: Any) -> None:
    cache = hostmap.cachelib.HostmapCache(server.name)
    cache.set("key", 1)
    assert cache.set("key", 1, timeout=-1)
    assert not cache.has("key")
    assert cache.add("key", 1, timeout=-1)
    assert cache.set_many({"key": 1}, timeout=-1) == ["key"]
    assert len(m) == 0


def test_cachelib_increments_are_atomic(server: Any) -> None:
    cache = hostmap.cachelib.HostmapCache(server.name)
    in_threads(lambda: cache.inc("n"))
    assert cache.get("n") == THREADS * ROUNDS


def test_cachelib_a_value_that_the_serializer_refuses_is_an_error(server: Any) -> None:
    cache = hostmap.cachelib.HostmapCache(server.name)
    cache.serializer = cachelib.serializers.JSONSerializer()
    with pytest.raises(TypeError, match="JSONSerializer cannot store a value of type set"):
        cache.set("key", {1})
    with pytest.raises(hostmap.NotANumber):
        cache.set("text", "x")
        cache.inc("text")


def test_cachelib_errors_of_delete_many_are_ignored_or_not(own_server: Any) -> None:
    patient = hostmap.cachelib.HostmapCache(own_server.name, timeout=0.1)
    strict = hostmap.cachelib.HostmapCache(
        own_server.name, ignore_delete_many_errors=False, timeout=0.1
    )
    patient.set("a", 1)
    strict.get("a")
    own_server.pause()
    try:
        assert patient.delete_many("a", "absent") == ["absent"]
        with pytest.raises(RuntimeError, match="not all keys were deleted"):
            strict.delete_many("a")
    finally:
        own_server.resume()


def test_flask_caching(server: Any, m: Any) -> None:
    app = flask.Flask("test")
    cache = flask_caching.Cache(
        app,
        config={
            "CACHE_TYPE": "hostmap.cachelib.HostmapCache",
            "CACHE_OPTIONS": {"name": server.name, "key_prefix": "flask:"},
        },
    )
    calls = []

    @cache.memoize(100)
    def double(x: int) -> int:
        calls.append(x)
        return 2 * x

    @app.route("/")
    @cache.cached(timeout=100)
    def index() -> str:
        calls.append("index")
        return "page"

    with app.app_context():
        assert [double(1), double(1), double(2)] == [2, 2, 4]
        cache.delete_memoized(double, 1)
        assert [double(1), double(2)] == [2, 4]
    client = app.test_client()
    assert client.get("/").text == client.get("/").text == "page"
    assert calls == [1, 2, 1, "index"]
    assert any(key.startswith("flask:view//") for key in m)


def test_flask_session(server: Any, m: Any) -> None:
    app = flask.Flask("test")
    app.config.update(
        SESSION_TYPE="cachelib",
        SESSION_CACHELIB=hostmap.cachelib.HostmapCache(server.name, key_prefix="session:"),
    )
    flask_session.Session(app)

    @app.route("/")
    def index() -> str:
        flask.session["visits"] = flask.session.get("visits", 0) + 1
        return str(flask.session["visits"])

    client = app.test_client()
    assert [client.get("/").text for _ in range(3)] == ["1", "2", "3"]
    assert app.test_client().get("/").text == "1"
    assert len([key for key in m if key.startswith("session:")]) == 2


# ---- dogpile.cache ----


def region(server: Any, **arguments: Any) -> Any:
    return dogpile.cache.make_region().configure(
        "hostmap",
        expiration_time=60,
        arguments={"name": server.name, "prefix": "dogpile:", **arguments},
    )


def test_dogpile_finds_the_backend_by_its_name(server: Any, m: Any) -> None:
    (entry,) = [
        entry
        for entry in importlib.metadata.entry_points(group="dogpile.cache")
        if entry.name == "hostmap"
    ]
    assert entry.load() is hostmap.dogpile.HostmapBackend
    one = region(server, ttl=100)
    one.set("key", {"a": 1})
    assert one.get("key") == {"a": 1}
    assert 99 < m.ttl("dogpile:key") <= 100


def test_dogpile_computes_once_for_all_regions(server: Any) -> None:
    calls = []
    values = []

    def compute() -> int:
        calls.append(1)
        time.sleep(0.2)
        return 7

    def run() -> None:  # a region of its own, as another process would have
        values.append(region(server, distributed_lock=True).get_or_create("key", compute))

    threads = [threading.Thread(target=run) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert values == [7] * THREADS
    assert len(calls) == 1


def test_dogpile_a_mutex_whose_time_is_over_is_free_and_its_release_does_nothing(
    server: Any,
) -> None:
    backend = region(server, distributed_lock=True, lock_timeout=0.05).backend
    assert backend.has_lock_timeout()
    first, second = backend.get_mutex("key"), backend.get_mutex("key")
    assert first.acquire()
    assert second.acquire()  # sleeps until the first one has ended
    first.release()
    second.release()
    second.release()
    assert not first.locked()


def test_dogpile_computes_more_values_at_once_than_a_process_can_hold_leases(server: Any) -> None:
    backend = region(server, distributed_lock=True).backend
    mutexes = [backend.get_mutex(f"key {number}") for number in range(1000)]
    for mutex in mutexes:
        assert mutex.acquire(False)
    assert backend.get_mutex("key 0").locked()
    assert not all(mutex.locked() for mutex in mutexes)
    assert not backend.get_mutex("key 0").acquire(False)
    for mutex in mutexes:
        mutex.release()
    assert backend.get_mutex("key 0").acquire(False)


# ---- aiocache ----


@pytest.fixture
def aio_cache(server: Any) -> Iterator[Any]:
    yield aiocache.Cache(
        hostmap.aiocache.HostmapCache, name=server.name, namespace="shop:", ttl=100
    )


def test_aiocache_namespace_ttl_and_clear(aio_cache: Any, m: Any) -> None:
    async def main() -> None:
        m["other"] = b"1"
        await aio_cache.set("key", {"a": [1]})
        assert m["shop:key"] == b'{"a": [1]}'
        assert 99 < m.ttl("shop:key") <= 100
        assert await aio_cache.get("key") == {"a": [1]}
        await aio_cache.set("forever", 1, ttl=0)
        assert m.ttl("shop:forever") is None
        await aio_cache.clear(namespace="shop:")
        assert list(m) == ["other"]
        await aio_cache.close()
        assert await aio_cache.get("key") is None  # connects again
        await aio_cache.close()

    asyncio.run(main())


def test_aiocache_pickles_and_compare_and_set(aio_cache: Any, m: Any) -> None:
    async def main() -> None:
        aio_cache.serializer = aiocache.serializers.PickleSerializer()
        await aio_cache.set("key", {1, 2})
        assert await aio_cache.get("key") == {1, 2}
        assert await aio_cache.multi_get(["key", "absent"]) == [{1, 2}, None]
        seen = await aio_cache._gets("shop:key", encoding=None)
        assert await aio_cache.set("key", {3}, ttl=50, _cas_token=seen) is True
        assert 49 < m.ttl("shop:key") <= 50
        assert await aio_cache.set("key", {4}, _cas_token=seen) == 0
        assert await aio_cache.get("key") == {3}
        assert await aio_cache.raw("get", "shop:key") == m["shop:key"]
        await aio_cache.close()

    asyncio.run(main())


def test_aiocache_from_a_url(server: Any, m: Any) -> None:
    async def main() -> None:
        async with aiocache.Cache.from_url(f"hostmap://{server.name}") as cache:
            await cache.set("key", "value")
        assert m["key"] == b'"value"'

    asyncio.run(main())
