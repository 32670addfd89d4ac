"""The guide: its blocks of Python, one after the other, as a reader would run them; and the reference is up to date."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("document", ["docs/start/python.md", "bindings/python/README.md", "README.md"])
def test_the_blocks_of_a_document(server: Any, document: str) -> None:
    blocks = BLOCK.findall((ROOT / document).read_text(encoding="utf-8"))
    assert blocks
    program = "\n".join(blocks)
    named = re.sub(
        r'(connect|aio\.Map)\("(guide|sessions|distributed-memory)"', rf'\1("{server.name}"', program
    )
    assert named != program
    done = subprocess.run([sys.executable, "-P", "-c", named], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_the_reference_is_what_the_sources_say() -> None:
    done = subprocess.run([sys.executable, ROOT / "bindings/python/make_reference", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
