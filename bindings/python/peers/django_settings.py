"""Settings for Django's runtests.py: those of its test_sqlite.py, and a runner that reports each
test by its name."""

import unittest

from django.test.runner import DiscoverRunner
from test_sqlite import *  # noqa: F403


class Result(unittest.TextTestResult):
    def _report(self, test, outcome):
        print(f"\nRESULT {test.id()} {outcome}", flush=True)

    def addSuccess(self, test):
        super().addSuccess(test)
        self._report(test, "passed")

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self._report(test, "failed")

    def addError(self, test, error):
        super().addError(test, error)
        self._report(test, "failed")

    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        if error is not None:
            self._report(test, "failed")

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._report(test, "skipped")


class Runner(DiscoverRunner):
    def get_resultclass(self):
        return Result


TEST_RUNNER = "hostmap_settings.Runner"
