"""What the tests share: servers of the package, each with a name of its own."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hostmap
import pytest
from hostmap._serve import _Process, program

# A shell lets what it starts in the background ignore Ctrl-C, and the programs of the tests would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

_numbers = itertools.count()


class Server:
    """A hostmap-server in a process of its own, which ends with the test."""

    def __init__(self, *options: str) -> None:
        self.name = f"pytest-{os.getpid()}-{next(_numbers)}"
        self.options = options
        self.start()

    def start(self) -> None:
        """Starts it and returns when clients can connect. It ends with the process of the tests, whatever ends that."""
        self._process = _Process(["--name", self.name, "--memory", "64M", *self.options])
        self._process.wait_until_ready()

    def stop(self) -> None:
        """Ends it; its files are removed."""
        self.resume()
        self._process.stop()

    def pause(self) -> None:
        """It answers nobody until resume()."""
        os.kill(self._process.pid, signal.SIGSTOP)
        for thread in Path(f"/proc/{self._process.pid}/task").iterdir():
            while " T " not in (thread / "stat").read_text(encoding="ascii"):
                time.sleep(0.001)

    def resume(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)

    def statistic(self, name: str) -> int:
        """A number of `hostmap stat`."""
        command = [program("hostmap"), "--name", self.name, "stat", "--json"]
        return int(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)[name])

    def wait_until(self, name: str, number: int) -> None:
        """Returns when this number of `hostmap stat` is `number`: the server notices the end of a connection after close() has
        returned."""
        deadline = time.monotonic() + 60
        while (found := self.statistic(name)) != number:
            assert time.monotonic() < deadline, f"{name} is {found}, and not {number}"
            time.sleep(0.01)

    def connect(self, **options: Any) -> Any:
        return hostmap.connect(self.name, **options)


@pytest.fixture(scope="session")
def shared_server() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def server(shared_server: Server) -> Iterator[Server]:
    """A server with an empty map, which the test leaves running."""
    with shared_server.connect() as m:
        m.clear()
    yield shared_server


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A server that the test may stop or pause."""
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def m(server: Server) -> Iterator[Any]:
    """An empty Map of str to bytes."""
    with server.connect() as connected:
        yield connected
