"""The types of the package: strict, and the same as those of the extension."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = '''
from collections.abc import Iterator, MutableMapping
from typing import Any, assert_type
import hostmap

class Number:
    def dumps(self, value: int, /) -> bytes: return str(value).encode()
    def loads(self, data: bytes, /) -> int: return int(data)

plain = hostmap.connect("name", timeout=None)
assert_type(plain, hostmap.Map[str, bytes])
assert_type(plain["a"], bytes)
assert_type(plain.get("a"), bytes | None)
assert_type(plain.incr("a"), int)
assert_type(plain.incr("a", 0.5), float)
assert_type(plain.get_many(["a"]), dict[str, bytes])
assert_type(plain.lease("a", 5), int | None)
assert_type(plain.scan(), Iterator[tuple[str, bytes]])
numbers = hostmap.Map("name", codec=Number())
assert_type(numbers, hostmap.Map[str, int])
assert_type(numbers.modify("a", lambda value: (value or 0) + 1), int)
raw = hostmap.Map("name", encoding=None)
assert_type(raw, hostmap.Map[bytes, bytes])
with numbers.within(0.5) as quick:
    assert_type(quick, hostmap.Map[str, int])
anything: MutableMapping[str, int] = numbers
try:
    plain["a"] = b""
except hostmap.Timeout as error:
    assert_type(error.outcome_unknown, bool)
'''

WRONG = '''
import hostmap
m = hostmap.connect("name")
m["a"] = 5
m[b"a"] = b"5"
m.put("a", b"", ttl="5")
hostmap.Map("name", nonsense=1)
'''


def mypy(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Outside of the repository: the package that is installed is checked.
    return subprocess.run([sys.executable, "-P", *arguments], cwd=folder, capture_output=True, text=True, timeout=300)


def test_a_program_is_checked_strictly(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    done = mypy(tmp_path, "-m", "mypy", "--strict", "program.py")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_wrong_program_is_found(tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text(WRONG)
    done = mypy(tmp_path, "-m", "mypy", "--strict", "wrong.py")
    assert {int(line.split(":")[1]) for line in done.stdout.splitlines() if ": error:" in line} == {4, 5, 6, 7}, done.stdout


def test_the_package_is_checked_strictly(tmp_path: Path) -> None:
    done = mypy(tmp_path, "-m", "mypy", "--strict", "-m", "hostmap", "-m", "hostmap._hostmap", "-m", "hostmap._views")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_stub_describes_the_extension(tmp_path: Path) -> None:
    done = mypy(tmp_path, "-m", "mypy.stubtest", "hostmap._hostmap")
    assert done.returncode == 0, done.stdout + done.stderr
