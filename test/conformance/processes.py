"""The processes of a run: servers and testees. Each has its own name, and ends with its owner."""

import dataclasses
import fnmatch
import glob
import os
import pathlib
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = HERE.parent.parent
# A watchdog: whoever is silent for so long has a bug.
WATCHDOG_SECONDS = 60
DEFAULT_SERVER = ["--memory", "16M", "--workers", "1", "64"]


def hostmap_python() -> str:
    """An interpreter that has the package hostmap: $HOSTMAP_PYTHON, or that of its tests."""
    built = sorted(SOURCE.glob("build-python/test-3.*/bin/python"))
    return os.environ.get("HOSTMAP_PYTHON") or str(
        built[0] if built else SOURCE / "build-python/test-3.11/bin/python"
    )


class Failure(Exception):
    """Something that is not as it should be; str() says what."""


def with_owner(command: list[str]) -> list[str]:
    """The command, ended by the kernel if this process dies."""
    return ["setpriv", "--pdeathsig", "KILL", *command]


class Server:
    """A server under a name of its own. Starts and stops as the steps say; `options` are those of a
    start that names none."""

    def __init__(
        self, programs: pathlib.Path, name: str, options: list[str] = DEFAULT_SERVER
    ) -> None:
        self.programs, self.name, self.options = programs, name, options
        self.process: subprocess.Popen[str] | None = None
        self.errors = tempfile.TemporaryFile("w+")

    def start(self, options: list[str]) -> None:
        """Starts it and blocks until it is ready."""
        if self.process:
            raise Failure("the server runs already: a case can only stop or kill it")
        command = [
            str(self.programs / "hostmap-server"),
            "--name",
            self.name,
            *(options or self.options),
        ]
        self.process = subprocess.Popen(
            with_owner(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        assert self.process.stdout
        ready, _, _ = select.select([self.process.stdout], [], [], WATCHDOG_SECONDS)
        line = self.process.stdout.readline() if ready else ""
        if not line.startswith("ready"):
            raise Failure(f"the server did not start: {self.last_errors()}")

    def last_errors(self) -> str:
        self.errors.seek(0)
        return self.errors.read()[-500:].strip() or "it has printed no error"

    def signal(self, number: int) -> None:
        if not self.process:
            raise Failure("no server runs")
        self.process.send_signal(number)

    def pause(self) -> None:
        """Stops all of its threads: returns when they have stopped."""
        self.signal(signal.SIGSTOP)
        assert self.process
        os.waitpid(self.process.pid, os.WUNTRACED)

    def wait(self) -> int:
        assert self.process
        try:
            code = self.process.wait(WATCHDOG_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Failure("the server did not end") from None
        finally:
            if self.process.stdout:
                self.process.stdout.close()
            self.process = None
        return code

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.wait()

    def stop(self) -> None:
        self.signal(signal.SIGTERM)
        code = self.wait()
        if code != 0:
            raise Failure(f"the server ended with {code}: {self.last_errors()}")

    def takeover(self) -> None:
        """Starts another server that takes map and clients over from this one, which then ends."""
        if not self.process:
            raise Failure("no server runs")
        before, self.process = self.process, None
        try:
            self.start([*self.options, "--takeover"])
            code = before.wait(WATCHDOG_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failure("the server before the takeover did not end") from None
        finally:
            before.kill()
            before.wait()
            if before.stdout:
                before.stdout.close()
        if code != 0:
            raise Failure(f"the server before the takeover ended with {code}: {self.last_errors()}")

    def patch(self, region: str, offset: int, data: bytes) -> None:
        """Writes bytes into one of its files."""
        with open(f"/dev/shm/{self.name}-{region}", "r+b") as file:
            file.seek(offset)
            file.write(data)

    def do(self, request: str, options: list[str]) -> None:
        """One step of a case."""
        verb = request.split()[0]
        if verb == "start":
            self.start(options)
        elif verb == "patch":
            self.patch(options[0], int(options[1]), bytes.fromhex(options[2]))
        elif verb == "continue":
            self.signal(signal.SIGCONT)
        else:
            getattr(self, verb)()

    def has_died(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def end(self) -> None:
        """Ends it if it runs, and removes its files."""
        if self.process:
            self.process.kill()
            self.wait()
        self.errors.close()
        for file in glob.glob(f"/dev/shm/{glob.escape(self.name)}-*"):
            os.unlink(file)


@dataclasses.dataclass
class Unsupported:
    """A line of a .testee file: requests that this testee does not support."""

    pattern: str
    why: str
    was_asked: bool = False


class Language:
    """What a .testee file says: how to start a testee, and what it does not support."""

    def __init__(self, path: pathlib.Path, programs: pathlib.Path) -> None:
        self.name = path.stem
        self.command: list[str] = []
        self.unsupported: list[Unsupported] = []
        self.several_calls: list[str] = []  # patterns
        places = {
            "build": str(programs),
            "here": str(HERE),
            "source": str(SOURCE),
            "python": sys.executable,
            "hostmap_python": hostmap_python(),
        }
        for number, line in enumerate(path.read_text().splitlines(), 1):
            word, _, rest = line.strip().partition(" ")
            if not word or word.startswith("#"):
                continue
            if word == "command":
                self.command = [part.format(**places) for part in rest.split()]
            elif word == "several_calls" and " # " in rest:
                self.several_calls.append(rest.partition(" # ")[0].strip())
            elif word == "unsupported" and " # " in rest:
                pattern, _, why = rest.partition(" # ")
                self.unsupported.append(Unsupported(pattern.strip(), why.strip()))
            else:
                raise Failure(
                    f"{path.name}:{number}: write 'command WORDS', 'unsupported PATTERN # why' or "
                    f"'several_calls PATTERN # why': {line}"
                )
        if not self.command:
            raise Failure(f"{path.name}: it has no line 'command WORDS'")

    def missing(self) -> str:
        """The part of the command that does not exist; empty if all do."""
        for part in self.command:
            if "/" in part and not pathlib.Path(part).exists():
                return part
        return "" if shutil.which(self.command[0]) else self.command[0]

    def is_one_call(self, request: str) -> bool:
        """Whether the testee does this by one call, so that nothing comes in between."""
        return not any(fnmatch.fnmatchcase(request, pattern) for pattern in self.several_calls)

    def declaration(self, request: str) -> Unsupported | None:
        """The declaration that this request is not supported."""
        for line in self.unsupported:
            if fnmatch.fnmatchcase(request, line.pattern):
                line.was_asked = True
                return line
        return None


class Testee:
    """A process that answers requests, a line each."""

    def __init__(self, language: Language, server: str) -> None:
        self.language = language
        self.process = subprocess.Popen(
            with_owner([*language.command, server]), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.rest = b""
        self.is_asked = False

    def send(self, request: str) -> None:
        """Sends a request; receive() has its answer."""
        if self.is_asked:
            raise Failure("the testee has not answered the request before: take its 'result' first")
        self.is_asked = True
        assert self.process.stdin
        try:
            self.process.stdin.write(request.encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # receive() reports how it ended

    def has_answer(self) -> bool:
        assert self.process.stdout
        return b"\n" in self.rest or bool(select.select([self.process.stdout], [], [], 0)[0])

    def receive(self) -> str:
        """Blocks for the answer. Failure if the testee dies or is silent for a minute."""
        if not self.is_asked:
            raise Failure("nothing was started: 'result' belongs to an earlier 'start'")
        assert self.process.stdout
        deadline = time.monotonic() + WATCHDOG_SECONDS
        while b"\n" not in self.rest:
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self.process.stdout], [], [], left)[0]:
                raise Failure(
                    f"the testee {self.language.name} has not answered for {WATCHDOG_SECONDS} s"
                )
            part = os.read(self.process.stdout.fileno(), 1 << 16)
            if not part:
                raise Failure(
                    f"the testee {self.language.name} ended with {self.process.wait()} "
                    "instead of an answer"
                )
            self.rest += part
        line, _, self.rest = self.rest.partition(b"\n")
        self.is_asked = False
        return line.decode("ascii", "backslashreplace").strip()

    def ask(self, request: str) -> str:
        self.send(request)
        return self.receive()

    def kill(self) -> None:
        self.process.kill()
        self.end(was_killed=True)

    def end(self, was_killed: bool = False) -> None:
        """Closes its input, which ends it. Failure if it then reports one by its exit code."""
        try:
            if self.process.stdin:
                self.process.stdin.close()
        except BrokenPipeError:
            pass
        try:
            code = self.process.wait(1 if self.is_asked else WATCHDOG_SECONDS)
            if code != 0 and not was_killed:
                raise Failure(f"the testee {self.language.name} ended with {code}")
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            if not self.is_asked:
                raise Failure(
                    f"the testee {self.language.name} did not end with its input"
                ) from None
        finally:
            if self.process.stdout:
                self.process.stdout.close()


_names = threading.Lock()
_count = 0


def private_name() -> str:
    """The name of a server that nobody else has."""
    global _count
    with _names:
        _count += 1
        return f"conformance.{os.getpid()}.{_count}"
