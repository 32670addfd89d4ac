"""Each program of examples/python, run as its first lines say."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[3] / "examples" / "python"
SECONDS = 120


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        (["rate_limiter.py"], "10 allowed, 70 refused\n"),
        (["feature_store.py", "spawn"], "2000 rows by 3 loaders: the sums agree\n"),
        (["feature_store.py", "fork"], "2000 rows by 3 loaders: the sums agree\n"),
        (["lock.py"], "balance 100 after 100 deposits\na late holder is refused; balance 1000\n"),
        (["work_queue.py"], "40 of 40 jobs are done; the first worker died with exit code 1\n"),
    ],
)
def test_an_example_prints_what_it_promises(arguments: list[str], output: str) -> None:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=EXAMPLES, capture_output=True, text=True, timeout=SECONDS
    )
    assert done.stderr == ""
    assert done.stdout == output
    assert done.returncode == 0


def test_each_example_has_a_test() -> None:
    tested = set(re.findall(r"\w+\.py", Path(__file__).read_text())) | {"gunicorn_cache.py"}
    assert {file.name for file in EXAMPLES.glob("*.py")} <= tested


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=SECONDS) as response:
        return str(response.read(), "utf-8")


def test_workers_of_gunicorn_share_a_cache(own_server: Any) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        command = [
            sys.executable,
            "-m",
            "gunicorn",
            "--preload",
            "--workers",
            "3",
            "--bind",
            f"fd://{listener.fileno()}",
            "--log-level",
            "warning",
            "gunicorn_cache:app",
        ]
        gunicorn = subprocess.Popen(
            command,
            cwd=EXAMPLES,
            pass_fds=[listener.fileno()],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "HOSTMAP_NAME": own_server.name},
        )
        try:
            site = f"http://127.0.0.1:{listener.getsockname()[1]}"
            with ThreadPoolExecutor(6) as pool:
                pages = list(pool.map(read, [f"{site}/page{number % 2}" for number in range(60)]))
            assert pages == ["the page /page0\n", "the page /page1\n"] * 30
            # Each of the two pages was rendered once, although all workers began without it.
            requests, workers, rendered = re.findall(r"\d+", read(f"{site}/statistics"))
            assert (requests, rendered) == ("60", "2")
            assert int(workers) > 1
        finally:
            gunicorn.terminate()
            _, errors = gunicorn.communicate(timeout=SECONDS)
        assert "Traceback" not in errors, errors
    # Each worker has closed its connection; none is counted as died.
    own_server.wait_until("connections", 0)
    assert own_server.statistic("reaped") == 0
