"""A cache that all workers of gunicorn share: a page is rendered once, however many workers get a
request for it at the same time.

    python -m hostmap server --name web &
    HOSTMAP_NAME=web gunicorn --preload --workers 3 gunicorn_cache:app

Every path is a page; /statistics shows how many requests there were, by how many workers, and how
many pages were rendered.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import Any

import hostmap

# With --preload this runs once, before the workers are forked; each worker connects by itself at
# its first call.
NAME = os.environ.get("HOSTMAP_NAME")
counters = hostmap.connect(NAME, prefix="count:")
pages = hostmap.Map(NAME, codec=hostmap.codecs.STR)


@hostmap.cache(pages, prefix="page", ttl=60)
def render(path: str) -> str:
    counters.incr("rendered")
    time.sleep(0.2)  # stands for a database
    return f"the page {path}"


def app(
    environment: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], Any]
) -> Iterable[bytes]:
    path = environment["PATH_INFO"]
    if path == "/statistics":
        workers = sum(1 for key in counters if key.startswith("worker:"))
        counts = counters.get_many(["requests", "rendered"])
        text = f"{int(counts['requests'])} requests, {workers} workers, "
        text += f"{int(counts['rendered'])} rendered"
    else:
        counters.incr("requests")
        counters.incr(f"worker:{os.getpid()}")
        text = render(path)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{text}\n".encode()]
