"""The views that keys(), values() and items() of a Map return."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from typing import Any

# The views of collections.abc read the value of each key after the key: one that is removed in between would be a KeyError in
# the middle of an iteration. A scan reads both at once.


class Keys(KeysView[Any]):
    """The keys of a Map."""


class Values(ValuesView[Any]):
    """The values of a Map."""

    def __iter__(self) -> Iterator[Any]:
        return self._mapping._scan_values()  # type: ignore[attr-defined, no-any-return]


class Items(ItemsView[Any, Any]):
    """The pairs of key and value of a Map."""

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return self._mapping.scan()  # type: ignore[attr-defined, no-any-return]
