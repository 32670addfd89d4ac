"""One hash map for every process on a host.

    import hostmap

    with hostmap.connect("distributed-memory") as m:
        m["language"] = b"Python"
        print(m["language"], m.incr("visits"))

`Map` is a MutableMapping that all processes of this host share; a server (`hostmap.serve()`, or hostmap-server) owns the table
in shared memory, and reads go to the table itself.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import MutableMapping

from hostmap._codec import Codec

try:
    from hostmap._hostmap import (
        AlreadyExists,
        BufferTooSmall,
        Closed,
        Error,
        Full,
        Internal,
        Invalid,
        Map,
        Mismatch,
        NoServer,
        NotANumber,
        OtherVersion,
        Overflow,
        Permission,
        Timeout,
        TooLarge,
        __version__,
        _after_fork,
        _close_all,
        commit,
        layout,
    )
except ImportError as error:
    raise ImportError(
        f"hostmap's extension module cannot be loaded here ({error}). It needs CPython 3.11 or later (not a free-threaded one) "
        f"on Linux x86-64 with glibc; this is {sys.implementation.name} {sys.version.split()[0]} on {sys.platform}. Install the "
        "package with this interpreter's own pip: python -m pip install --force-reinstall hostmap"
    ) from error

from hostmap import codecs
from hostmap._cache import cache
from hostmap._serve import serve

__all__ = [
    "AlreadyExists",
    "BufferTooSmall",
    "Closed",
    "Codec",
    "Error",
    "Full",
    "Internal",
    "Invalid",
    "Map",
    "Mismatch",
    "NoServer",
    "NotANumber",
    "OtherVersion",
    "Overflow",
    "Permission",
    "Timeout",
    "TooLarge",
    "__version__",
    "cache",
    "codecs",
    "commit",
    "connect",
    "layout",
    "serve",
]

MutableMapping.register(Map)


connect = Map  # connect("name") reads better where no class is meant


# ---- the end of a process ----
# A Map that is closed disconnects from the server. If a process ends without that, the server finds out later, and counts the
# client as died.

atexit.register(_close_all)


def _close_with_worker(_: object = None) -> None:
    """In a child of multiprocessing: it ends by os._exit, without atexit, but runs its own finalizers before."""
    sys.modules["multiprocessing.util"].Finalize(None, _close_all, exitpriority=-100)


_follows_multiprocessing = False


def _follow_multiprocessing() -> None:
    """Lets the children of multiprocessing close their Maps, if this program uses it."""
    global _follows_multiprocessing
    util = sys.modules.get("multiprocessing.util")
    if util is None or _follows_multiprocessing:
        return
    _follows_multiprocessing = True
    util.register_after_fork(_close_with_worker, _close_with_worker)


def _in_child() -> None:
    _after_fork()
    _follow_multiprocessing()


os.register_at_fork(after_in_child=_in_child)
_follow_multiprocessing()
if _follows_multiprocessing and sys.modules["multiprocessing.process"].parent_process() is not None:
    _close_with_worker()  # imported by a child that has already begun its work
