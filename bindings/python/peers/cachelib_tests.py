"""cachelib's test classes for all caches, with hostmap's: in the form of test_redis_cache.py."""

import pytest
from clear import ClearTests
from common import CommonTests
from delete_many_with_prefix import DeleteManyWithPrefixTests
from has import HasTests
from hostmap_under_test import SERVER
from serializer import SerializerTests

from cachelib.serializers import BaseRedisSerializer
from hostmap.cachelib import HostmapCache


class ReprSerializer(BaseRedisSerializer):
    def dumps(self, value):
        return repr(value).encode()

    def loads(self, stored):
        return None if stored is None else eval(stored.decode())


class CustomCache(HostmapCache):
    serializer = ReprSerializer()


@pytest.fixture(autouse=True, params=[HostmapCache, CustomCache])
def cache_factory(request, key_prefix):
    def factory(self, *args, **kwargs):
        kwargs.setdefault("key_prefix", key_prefix)
        cache = request.param(SERVER, *args, **kwargs)
        cache.clear()
        return cache

    request.cls.cache_factory = factory


class TestHostmapCache(
    CommonTests, ClearTests, HasTests, DeleteManyWithPrefixTests, SerializerTests
):
    pass
