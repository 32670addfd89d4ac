"""What the suites name as their backend: adapters, connected to the server of this run."""

import os
from typing import Any

SERVER = os.environ["HOSTMAP_PEERS_SERVER"]

try:
    import hostmap.django
except ImportError:  # each suite has an environment of its own
    pass
else:

    class DjangoCache(hostmap.django.Cache):
        """The tests give caches that must be apart different LOCATIONs; here each is a part of one
        map."""

        def __init__(self, location: str, params: dict[str, Any]) -> None:
            params = {**params, "OPTIONS": {"prefix": f"{location}:", **params.get("OPTIONS", {})}}
            super().__init__(SERVER, params)


try:
    import dogpile.cache

    import hostmap.dogpile
except ImportError:
    pass
else:

    class DogpileBackend(hostmap.dogpile.HostmapBackend):
        def __init__(self, arguments: dict[str, Any]) -> None:
            super().__init__({**arguments, "name": SERVER})

    dogpile.cache.register_backend("hostmap_under_test", __name__, "DogpileBackend")

try:
    import hostmap.aiocache
except ImportError:
    pass
else:

    class AiocacheCache(hostmap.aiocache.HostmapCache):
        def __init__(self, **options: Any) -> None:
            super().__init__(SERVER, **options)
