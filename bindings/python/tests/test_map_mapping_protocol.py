"""CPython's own tests of mappings, unchanged except for the type."""

from __future__ import annotations

import itertools
import pickle
import unittest
from collections.abc import Iterator
from typing import Any

import hostmap
import pytest
from test import mapping_tests

_server: list[str] = []
_prefixes = itertools.count()


@pytest.fixture(autouse=True)
def _remember_the_server(server: Any) -> Iterator[None]:
    _server[:] = [server.name]
    yield


class Dict(hostmap.Map[str, Any]):
    """A Map that is made as a dict is: empty, and filled by the arguments."""

    def __init__(self, *arguments: Any, **items: Any) -> None:
        super().__init__(_server[0], codec=pickle, prefix=f"{next(_prefixes)}:")
        self.update(*arguments, **items)


class BasicTest(mapping_tests.BasicTestMappingProtocol):
    type2test = Dict


class FullTest(mapping_tests.TestMappingProtocol):
    type2test = Dict


# What dicts have and maps among processes have not.
NOT_FOR_A_MAP = {
    "test_values": "keys that are int",
    "test_items": "keys that are int",
    "test_clear": "keys that are int",
    "test_update": "keys that are int",
    "test_copy": "copy() of dict: no part of MutableMapping",
    "test_fromkeys": "fromkeys() of dict: no part of MutableMapping",
    "test_popitem": "two maps of the same keys pop them in the same order: a Map has no order",
    "test_setdefault": "changes a value inside the map: a Map holds what was stored",
}


def pytest_generate_tests(metafunc: Any) -> None:
    if "case" in metafunc.fixturenames:
        cases = unittest.TestSuite([unittest.defaultTestLoader.loadTestsFromTestCase(kind) for kind in (BasicTest, FullTest)])
        tests = [test for suite in cases for test in suite]  # type: ignore[union-attr]
        metafunc.parametrize("case", tests, ids=[f"{type(test).__name__}.{test._testMethodName}" for test in tests])


def test_mapping(case: Any) -> None:
    result = unittest.TestResult()
    case.run(result)
    failures = [text for _, text in result.failures + result.errors]
    if isinstance(case, FullTest) and case._testMethodName in NOT_FOR_A_MAP:
        assert failures, f"{case._testMethodName} passes: take it off the list"
        pytest.skip(NOT_FOR_A_MAP[case._testMethodName])
    assert failures == []
    assert result.testsRun == 1


# pytest collects classes of unittest by itself; these are run by test_mapping.
BasicTest.__test__ = FullTest.__test__ = False  # type: ignore[attr-defined]
