#!/usr/bin/python3
"""A testee of the conformance suite over the command line: each operation is a call of `hostmap`.

    command_line.py PROGRAM NAME
"""

import json
import math
import pathlib
import re
import subprocess
import sys
from collections.abc import Callable

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from words import decode, encode  # noqa: E402

# The program reports several statuses by one exit code. Its message says which one.
REFUSALS = (
    (b"not a decimal number", "not_a_number"),
    (b"would exceed 64 bits", "overflow"),
    (b"too long", "too_large"),
    (b"longer than", "too_large"),
    (b"infinite or not a number", "overflow"),
    (b"memory", "full"),
    (b"as many connections", "full"),
    (b"read_only", "permission"),
    (b"no scan of this map", "invalid"),
    (b"zero token", "invalid"),
)


class Unsupported(Exception):
    """The command line has no such operation."""


class Testee:
    """The options of `connect`, and the message of the last error."""

    def __init__(self, program: str, name: str) -> None:
        self.program, self.name = program, name
        self.options: list[bytes] = []
        self.message = b""
        self.status = ""
        self.output = b""
        self.errors = b""

    def call(
        self, command: str, *arguments: bytes, options: tuple[str, ...] = (), value: bytes = b""
    ) -> str:
        """Calls the program. Returns the status, and keeps what it has printed."""
        name = [] if b"--name" in self.options else [b"--name", self.name.encode()]
        words = [
            self.program.encode(),
            *name,
            *self.options,
            command.encode(),
            *(option.encode() for option in options),
        ]
        if any(b"\0" in argument for argument in arguments):
            words.append(b"-x")
            arguments = tuple(
                argument.replace(b"\\", rb"\x5c").replace(b"\0", rb"\x00") for argument in arguments
            )
        words += [b"--", *arguments]
        done = subprocess.run(words, input=value, capture_output=True)
        self.output, self.errors = done.stdout, done.stderr
        if done.returncode:
            self.message = done.stderr.strip()
        self.status = self.status_of(done.returncode, command)
        return self.status

    def status_of(self, code: int, command: str) -> str:
        if code == 1:
            if b"exists already" in self.errors:
                return "already_exists"
            return "mismatch" if b"not the expected one" in self.errors else "not_found"
        if code == 3:
            return "closed" if b"closed the connection" in self.errors else "no_server"
        if code == 4:
            return next(
                (status for text, status in REFUSALS if text in self.errors),
                "refused " + encode(self.errors),
            )
        return {0: "ok", 2: "invalid", 5: "timeout", 6: "other_version"}.get(
            code, f"exit_code_{code}"
        )

    def line(self) -> str:
        """`ok` and the line that was printed; the status alone after an error."""
        return f"ok {self.output.decode().strip()}" if self.status == "ok" else self.status

    def value(self) -> str:
        return f"ok {encode(self.output)}" if self.status == "ok" else self.status

    # ---- operations ----

    def connect(self, *settings: str) -> str:
        options: list[bytes] = []
        for setting in settings:
            name, _, value = setting.partition("=")
            if name in ("name", "dir", "group", "user"):
                options += [b"--" + name.encode(), decode(value)]
            elif name == "timeout":
                options += [b"--timeout", str(int(value) / 1000).encode()]
            elif name == "read_only":
                options.append(b"--read-only")
            elif name == "wait_for_server":
                options.append(b"--wait")
            else:
                raise Unsupported
        self.options = options
        status = self.call("exists", b"key")
        return "ok" if status == "not_found" else status

    def close(self) -> str:
        self.options = []
        return "ok"

    @staticmethod
    def ttl_options(ttl: str) -> tuple[str, ...]:
        if ttl in ("", "forever"):
            return ()
        return ("--keep-ttl",) if ttl == "keep" else (f"--ttl={ttl}ms",)

    def put(self, key: str, value: str, ttl: str = "", *options: str) -> str:
        return self.call(
            "put",
            decode(key),
            b"-",
            options=(*options, *self.ttl_options(ttl)),
            value=decode(value),
        )

    def insert(self, key: str, value: str, ttl: str = "") -> str:
        return self.put(key, value, ttl, "--if-absent")

    def replace(self, key: str, value: str, ttl: str = "") -> str:
        return self.put(key, value, ttl, "--if-present")

    def put_if(self, key: str, value: str, token: str) -> str:
        return self.put(key, value, "", f"--if-token={'0' * 32 if token == '-' else token}")

    def get(self, key: str) -> str:
        self.call("get", decode(key))
        return self.value()

    def get_with_token(self, key: str) -> str:
        self.call("get", decode(key), options=("--token",))
        return (
            f"{self.value()} {self.errors.decode().strip()}" if self.status == "ok" else self.status
        )

    def exists(self, key: str) -> str:
        return self.call("exists", decode(key))

    def ttl(self, key: str) -> str:
        self.call("ttl", decode(key))
        return self.line().removesuffix("ms")

    def expire(self, key: str, ttl: str) -> str:
        if ttl == "forever":
            return self.call("persist", decode(key))
        return self.call("expire", decode(key), ttl.encode() + b"ms")

    def erase(self, key: str) -> str:
        return self.call("erase", decode(key))

    def erase_if(self, key: str, token: str) -> str:
        return self.call(
            "erase", decode(key), options=(f"--if-token={'0' * 32 if token == '-' else token}",)
        )

    def erase_prefix(self, prefix: str) -> str:
        bytes_of = decode(prefix)
        self.call(
            "erase", options=("-x", "--prefix=" + "".join(f"\\x{byte:02x}" for byte in bytes_of))
        )
        return self.line()

    def append(self, key: str, value: str) -> str:
        self.call("append", decode(key), b"-", value=decode(value))
        return self.line()

    def exchange(self, key: str, value: str) -> str:
        was_there = (
            self.exists(key) == "ok"
        )  # the program prints nothing for an absent key and for an empty value
        self.call("exchange", decode(key), b"-", value=decode(value))
        return "ok -" if self.status == "ok" and not was_there else self.value()

    def take(self, key: str) -> str:
        self.call("take", decode(key))
        return self.value()

    def increment(self, key: str, by: str, initial: str = "0", ttl: str = "") -> str:
        self.call(
            "incr",
            decode(key),
            by.encode(),
            options=(f"--initial={initial}", *self.ttl_options(ttl)),
        )
        return self.line()

    def increment_double(self, key: str, by: str, initial: str = "0", ttl: str = "") -> str:
        if not (math.isfinite(float(by)) and math.isfinite(float(initial))):
            raise Unsupported  # a usage error: no number is infinite
        fraction = by if set(by) & set(".einf") else f"{by}.0"
        self.increment(key, fraction, initial, ttl)
        return "ok %.17g" % float(self.output) if self.status == "ok" else self.status

    def version(self) -> str:
        printed = subprocess.run([self.program, "--version"], capture_output=True, text=True).stdout
        match = re.search(r"(\d+\.\d+\.\d+).*layout(?: version)? (\d+)", printed)
        return f"ok {match[1]} {match[2]}" if match else f"ok {encode(printed.encode())}"

    def clear(self) -> str:
        return self.call("clear")

    def size(self) -> str:
        self.call("stat", options=("--json",))
        return f"ok {json.loads(self.output)['entries']}" if self.status == "ok" else self.status

    @staticmethod
    def scanned(line: str) -> str:
        """A line of a scan as a word: some bytes are \\xNN, and a tab is before the value."""
        return "=".join(
            encode(re.sub(rb"\\x(..)", lambda match: bytes([int(match[1], 16)]), part.encode()))
            for part in line.split("\t")
        )

    def scan(self, prefix: str, options: tuple[str, ...] = ("--values",)) -> str:
        self.call("scan", decode(prefix), options=options)
        words = sorted(map(self.scanned, self.output.decode().splitlines()))
        return " ".join(["ok", *words]) if self.status == "ok" else self.status

    def scan_keys(self, prefix: str) -> str:
        return self.scan(prefix, ())

    def scan_part(
        self, cursor: str, limit: str, prefix: str, *options: str
    ) -> tuple[str, list[str]]:
        """The next cursor (empty after an error), and the words of what was found."""
        self.call(
            "scan", decode(prefix), options=(*options, f"--cursor={cursor}", f"--limit={limit}")
        )
        if self.status != "ok":
            return "", []
        *lines, after = self.output.decode().splitlines()
        return after, list(map(self.scanned, lines))

    def scan_from(self, cursor: str, limit: str, prefix: str) -> str:
        after, words = self.scan_part(cursor, limit, prefix, "--values")
        return " ".join(["ok", after, *sorted(words)]) if after else self.status

    def scan_parts(self, limit: str, prefix: str) -> str:
        words: list[str] = []
        cursor = "0"
        while True:
            cursor, more = self.scan_part(cursor, limit, prefix)
            words += more
            if not cursor:
                return self.status
            if cursor == "0":
                return " ".join(["ok", *sorted(words)])

    def wait(self, key: str, known: str, milliseconds: str) -> str:
        if known == "-" or milliseconds == "0":
            raise Unsupported  # the program waits for a change of what it has read, and not 0 s
        timeout = () if milliseconds == "forever" else (f"--timeout={int(milliseconds) / 1000}",)
        status = self.call(
            "wait",
            decode(key),
            options=(
                "-x",
                *timeout,
                "--not=" + "".join(f"\\x{byte:02x}" for byte in decode(known)),
            ),
        )
        return self.get(key) if status == "ok" else status

    def fill(self, prefix: str, size: str, most: str) -> str:
        for count in range(int(most)):
            status = self.call(
                "put", decode(prefix) + str(count).encode(), b"-", value=b"f" * int(size)
            )
            if status != "ok":
                return f"{status} {count}"
        return f"ok {most}"

    def answer(self, operation: str, *arguments: str) -> str:
        if operation == "message":
            return f"ok {encode(self.message)}"
        method: Callable[..., str] | None = (
            getattr(self, operation, None) if operation in OPERATIONS else None
        )
        if not method:
            return "unsupported"
        try:
            return method(*arguments)
        except Unsupported:
            return "unsupported"
        except (ValueError, TypeError) as error:
            return f"malformed {encode(str(error).encode())}"
        except OSError as error:
            return f"os_error {encode(str(error).encode())}"


OPERATIONS = frozenset(
    "connect close put insert replace put_if get get_with_token exists ttl expire erase erase_if "
    "erase_prefix append exchange version take increment increment_double clear size scan "
    "scan_keys scan_from scan_parts wait fill".split()
)


def main() -> None:
    testee = Testee(*sys.argv[1:3])
    for line in sys.stdin:
        print(testee.answer(*line.split()), flush=True)


if __name__ == "__main__":
    main()
