"""Django's test class for all caches, with hostmap's: in the form of its RedisCacheTests."""

from cache.tests import BaseCacheTests, caches_setting_for_tests
from django.test import TestCase, override_settings


# As for Django's Redis and memcached backends: the number of entries is not a limit of theirs.
@override_settings(
    CACHES=caches_setting_for_tests(
        base={"BACKEND": "hostmap_under_test.DjangoCache"}, exclude={"cull", "zero_cull"}
    )
)
class HostmapCacheTests(BaseCacheTests, TestCase):
    pass
