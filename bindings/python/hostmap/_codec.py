"""The interface that a Map expects of a codec; hostmap.codecs has some."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from typing_extensions import Buffer

V = TypeVar("V")


class Codec(Protocol[V]):
    """Turns values into bytes and back. A Map calls these two functions and nothing else, from any of its threads."""

    def dumps(self, value: V, /) -> Buffer:
        """The bytes of a value; what it raises passes through the call of the Map, which then changes nothing."""
        ...

    def loads(self, data: bytes, /) -> V:
        """The value of these bytes, which any process may have written."""
        ...
