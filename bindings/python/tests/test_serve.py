"""hostmap.serve() and python -m hostmap: the programs of the package."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import hostmap
import pytest

SECONDS = 60


def files_of(name: str) -> list[Path]:
    return list(Path("/dev/shm").glob(f"{name}-*"))


def await_end(pid: int) -> None:
    """Waits until no process has this id; one that is not reaped yet has ended, too."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
        except (FileNotFoundError, ProcessLookupError):
            return
        time.sleep(0.01)
    raise AssertionError(f"process {pid} still runs")


def test_a_server_runs_for_the_block_and_leaves_no_files() -> None:
    server = hostmap.serve()
    with server as m:
        pid = server.pid
        assert pid is not None
        m["key"] = b"value"
        assert m["key"] == b"value"
        assert m.name == server.name
        assert files_of(server.name)
        with hostmap.connect(server.name) as other:
            assert other["key"] == b"value"
    await_end(pid)
    assert m.closed
    assert not files_of(server.name)
    assert server.pid is None


def test_two_servers_at_once_are_apart() -> None:
    with hostmap.serve() as one, hostmap.serve() as two:
        one["key"] = b"1"
        assert "key" not in two


def test_an_exception_ends_the_server_and_passes_through() -> None:
    server = hostmap.serve()
    with pytest.raises(ZeroDivisionError), server:
        pid = server.pid
        assert pid is not None
        1 / 0  # noqa: B018
    await_end(pid)
    assert not files_of(server.name)


def test_options_are_those_of_the_server_and_of_the_map(tmp_path: Path) -> None:
    name = f"options-{os.getpid()}"
    with hostmap.serve(
        name,
        memory="8M",
        buckets=2048,
        arguments=["--max-value", "1000"],
        codec=hostmap.codecs.STR,
        prefix="p:",
    ) as m:
        assert m.name == name
        m["key"] = "text"
        with hostmap.connect(name) as plain:
            assert plain["p:key"] == b"text"
        with pytest.raises(hostmap.TooLarge):
            m["key"] = "x" * 1001


def test_keep_keeps_the_map_for_the_next_server() -> None:
    name = f"keep-{os.getpid()}"
    with hostmap.serve(name, keep=True) as m:
        m["key"] = b"kept"
    assert files_of(name)
    with hostmap.serve(name) as m:
        assert m["key"] == b"kept"
    assert not files_of(name)


def test_a_server_that_cannot_start_is_an_error_with_its_message() -> None:
    with hostmap.serve() as m:
        with (
            pytest.raises(
                RuntimeError, match="did not start: .*a server with this name is running"
            ),
            hostmap.serve(m.name),
        ):
            pass
        m["still"] = b"there"
    with (
        pytest.raises(RuntimeError, match="did not start: .*--memory"),
        hostmap.serve(memory="no size"),
    ):
        pass
    with (
        pytest.raises(RuntimeError, match="did not start: .*no/such/folder"),
        hostmap.serve(dir="/no/such/folder"),
    ):
        pass


def test_a_map_that_cannot_be_made_ends_the_server() -> None:
    server = hostmap.serve(no_such_option=1)
    with pytest.raises(TypeError), server:
        pass
    assert server.pid is None
    assert not files_of(server.name)


def test_a_server_is_not_entered_twice() -> None:
    server = hostmap.serve()
    with server, pytest.raises(RuntimeError, match="already runs"):
        server.__enter__()
    with server as m:  # but again, as a new server
        assert len(m) == 0


def test_a_server_that_was_killed_leaves_no_files() -> None:
    server = hostmap.serve()
    with server:
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        await_end(server.pid)
    assert not files_of(server.name)


def leave_in_child(server: Any) -> None:
    server.__exit__(None, None, None)


def test_a_forked_child_that_leaves_the_block_stops_nothing() -> None:
    server = hostmap.serve()
    with server as m:
        m["key"] = b"value"
        child = multiprocessing.get_context("fork").Process(target=leave_in_child, args=(server,))
        child.start()
        child.join(SECONDS)
        assert child.exitcode == 0
        m["key"] = b"still writable"


def test_ctrl_c_in_the_terminal_reaches_python_and_not_the_server() -> None:
    with hostmap.serve() as m:
        server = hostmap.serve()
        with server:
            assert server.pid is not None
            assert os.getpgid(server.pid) != os.getpgid(0)
        m["key"] = b"value"


@pytest.mark.parametrize(
    "end",
    [
        "os.kill(os.getpid(), signal.SIGKILL)",
        "os._exit(0)",
        "sys.exit(3)",
        "raise KeyboardInterrupt",
    ],
)
@pytest.mark.parametrize("where", ["in the main thread", "in a thread that has ended"])
def test_the_server_ends_with_its_parent_however_that_ends(end: str, where: str) -> None:
    start = (
        "start()"
        if where == "in the main thread"
        else "t = threading.Thread(target=start); t.start(); t.join()"
    )
    program = f"""
import hostmap, os, signal, sys, threading
def start():
    global server, m
    server = hostmap.serve()
    m = server.__enter__()
{start}
m["key"] = b"value"  # the server outlives the thread that began it
print(server.pid, server.name, flush=True)
sys.stdin.readline()
{end}
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert parent.stdout is not None
    pid, name = parent.stdout.readline().split()
    assert files_of(name)
    parent.communicate("\n", timeout=SECONDS)
    await_end(int(pid))
    end_of_wait = time.monotonic() + SECONDS
    while files_of(name) and time.monotonic() < end_of_wait:
        time.sleep(0.01)
    assert not files_of(name)


def test_the_module_runs_the_programs_of_the_package() -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "hostmap", *arguments],
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )

    with hostmap.serve() as m:
        assert run("--name", m.name, "put", "key", "value").returncode == 0
        assert m["key"] == b"value"
        assert run("--name", m.name, "get", "absent").returncode == 1
    assert "hostmap-server" in run("server", "--help").stdout
    assert hostmap.__version__ in run("--version").stdout


@pytest.mark.parametrize("name", ["hostmap", "hostmap-server"])
def test_pip_installs_the_programs_under_their_own_names(name: str) -> None:
    script = Path(sys.executable).parent / name
    result = subprocess.run([script, "--version"], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0 and result.stdout.startswith(f"{name} "), result


def test_a_script_without_its_program_ends_with_an_error(tmp_path: Path) -> None:
    script = tmp_path / "hostmap-server"
    script.write_text(
        f"#!{sys.executable}\n"
        "import hostmap._serve, hostmap.__main__\n"
        "hostmap._serve.__file__ = '/nowhere/_serve.py'\n"
        "hostmap.__main__.hostmap_server()\n"
    )
    script.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    result = subprocess.run(
        [script], capture_output=True, text=True, timeout=60, env={**os.environ, "PATH": path}
    )
    assert result.returncode == 1 and "there is no hostmap-server" in result.stderr, result


def test_a_missing_program_is_an_error_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(
        FileNotFoundError,
        match="there is no hostmap-none, neither in this package .* install the wheel",
    ):
        hostmap._serve.program("hostmap-none")
