"""A server for as long as a block of Python runs: for tests, notebooks and one-off jobs."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from ._hostmap import Map

# The kernel sends SIGTERM to the server when this process dies, however it dies. The setting
# belongs to the process that is then replaced by the server, so it is made by a small interpreter
# in between: code that runs between fork and exec in a process with threads (preexec_fn) could wait
# for a lock that nobody holds any more.
_LAUNCHER = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
if os.getppid() != int(sys.argv[1]): sys.exit("the process that started hostmap-server has ended")
os.execv(sys.argv[2], sys.argv[2:])
"""
_START_SECONDS = 60  # far more than a start takes, also under a debugger
_STOP_SECONDS = 30


def program(name: str) -> str:
    """The path of `hostmap` or `hostmap-server`: that of this package, else the one in PATH."""
    packaged = Path(__file__).parent / "bin" / name
    if packaged.is_file():
        return str(packaged)
    found = shutil.which(name)
    # The script that pip has installed under this name runs this function, too.
    if found is None or os.path.realpath(found) == os.path.realpath(sys.argv[0]):
        raise FileNotFoundError(
            f"there is no {name}, neither in this package ({packaged}) nor in PATH: "
            "install the wheel of hostmap, or build the programs and add their folder to PATH"
        )
    return found


class _Process:
    """One running hostmap-server."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self._decided = threading.Event()  # `ready` has been printed, or the server has ended
        self._ready = False
        self._lines: list[str] = []
        self._failure: Exception | None = None
        self._child: subprocess.Popen[str] | None = None
        # The death signal is sent when the *thread* that started the child ends, so one thread does
        # that and then stays: it reads what the server prints until the server ends.
        thread = threading.Thread(
            target=self._run, args=(list(arguments),), name="hostmap-server", daemon=True
        )
        thread.start()
        self._thread = thread

    def _run(self, arguments: list[str]) -> None:
        try:
            if not sys.executable:
                raise RuntimeError(
                    "serve() needs sys.executable, which an embedded Python lacks: "
                    "start hostmap-server yourself"
                )
            command = [
                sys.executable,
                "-I",
                "-S",
                "-c",
                _LAUNCHER,
                str(os.getpid()),
                program("hostmap-server"),
                *arguments,
            ]
            # A session of its own: Ctrl-C in the terminal must reach Python, which then stops the
            # server, and not the server.
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            assert self._child.stdout is not None
            for line in self._child.stdout:
                if line.startswith("ready "):
                    self._ready = True
                    self._decided.set()
                self._lines = [*self._lines[-19:], line.rstrip("\n")]
            self._child.stdout.close()
            self._child.wait()
        except Exception as error:  # handed to the thread that waits for the start
            self._failure = error
        finally:
            self._decided.set()

    def wait_until_ready(self) -> None:
        if not self._decided.wait(_START_SECONDS):
            self.stop()
            raise RuntimeError(
                f"hostmap-server printed no `ready` within {_START_SECONDS} s; "
                f"its last lines: {self._last()}"
            )
        if self._failure is not None:
            raise self._failure
        if not self._ready:
            raise RuntimeError(f"hostmap-server did not start: {self._last()}")

    def _last(self) -> str:
        return " / ".join(self._lines) or "it printed nothing"

    @property
    def pid(self) -> int:
        assert self._child is not None
        return self._child.pid

    def stop(self) -> int:
        """Stops the server and returns its exit code; negative: the signal that killed it."""
        if self._child is None:
            return 0
        self._child.terminate()
        try:
            return self._child.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            return self._child.wait()
        finally:
            self._thread.join(_STOP_SECONDS)


class Serve:
    """A server of its own and a Map of it, as a context manager; `hostmap.serve` describes the
    arguments.

    `name` is the name of the server, for other processes; `pid` that of its process while it runs.
    """

    def __init__(
        self,
        name: str | None,
        memory: str,
        buckets: int,
        keep: bool,
        dir: str | None,
        arguments: Sequence[str],
        options: dict[str, Any],
    ) -> None:
        self.name = f"python-{os.getpid()}-{secrets.token_hex(4)}" if name is None else name
        self._dir = dir
        self._keep = keep
        self._arguments = [
            "--name",
            self.name,
            "--memory",
            memory,
            *(["--dir", dir] if dir else []),
            *(["--keep"] if keep else []),
            *arguments,
            "--",
            str(buckets),
        ]
        self._options = options
        self._process: _Process | None = None
        self._owner = 0
        self._map: Map[Any, Any] | None = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def __enter__(self) -> Map[Any, Any]:
        if self._process is not None:
            raise RuntimeError(
                f"the server {self.name!r} already runs; call hostmap.serve() for another one"
            )
        process = _Process(self._arguments)
        self._process, self._owner = process, os.getpid()
        try:
            process.wait_until_ready()
            self._map = Map(self.name, dir=self._dir, **self._options)
        except BaseException:
            self._stop()
            raise
        return self._map

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._map is not None:
                self._map.close()
        finally:
            self._map = None
            self._stop()

    def _stop(self) -> None:
        process, self._process = self._process, None
        if (
            process is None or os.getpid() != self._owner
        ):  # a forked child leaves the server to its parent
            return
        if process.stop() < 0 and not self._keep:
            # A server that was killed leaves its files. The next one of this name removes them: one
            # with --fresh, at once.
            cleaner = _Process(["--fresh", *self._arguments])
            cleaner.wait_until_ready()
            cleaner.stop()


def serve(
    name: str | None = None,
    *,
    memory: str = "64M",
    buckets: int = 1024,
    keep: bool = False,
    dir: str | None = None,
    arguments: Sequence[str] = (),
    **options: Any,
) -> Serve:
    """Runs the hostmap-server of this package for as long as a `with` block, and gives a Map that
    is connected to it:

        with hostmap.serve() as map:
            map["language"] = b"Python"

    name: of the server; None: a name that nobody else has (`map.name` is it). Another server of
    this name is a RuntimeError with the server's message. memory, buckets, dir: as for
    hostmap-server; `arguments`: further ones for it, such as ["--eviction", "clock"]. options:
    those of Map, such as codec and prefix.

    Blocks until the server is ready. When the block is left, also by an exception, the map is
    closed, the server is stopped, and its files are removed; with keep=True its files stay, and the
    next serve() of this name continues the map. The server ends with this process, whatever ends
    it. In a process that was forked in the block, leaving the block stops nothing.
    """
    return Serve(name, memory, buckets, keep, dir, arguments, options)
