"""Map among signals, threads, forked and spawned processes, and interpreters."""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

import hostmap
import pytest


def run_python(code: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-X", "dev", "-c", textwrap.dedent(code), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


# ---- signals ----

# What blocks without end while the server is stopped, or nobody changes the key.
BLOCKING = {
    "put": "m['a'] = b'1'",
    "delete": "del m['present']",
    "take": "m.pop('present')",
    "incr": "m.incr('a')",
    "flush": "m.put_async('a', b'1'); m.flush()",
    "put_many": "m.put_many({f'k{i}': b'1' for i in range(5000)})",
    "connect": "hostmap.connect(name, timeout=None)",
    "wait": "m.wait('absent')",
    "watch": "[0 for _ in m.watch('absent')]",
    "lease": "m.lease('held', 100, wait=None)",
    "compute": "m.compute_begin('held', 100)",
    "wait_for_server": "hostmap.connect('nobody-' + name, timeout=None, wait_for_server=True)",
}


@pytest.mark.parametrize("call", BLOCKING)
def test_ctrl_c_ends_a_call_that_blocks(own_server: Any, call: str) -> None:
    code = f"""
        import hostmap, sys
        name = sys.argv[1]
        m = hostmap.connect(name, timeout=None)
        holder = hostmap.connect(name)
        m["present"] = b"1"
        if {call!r} == "lease":
            holder.lease("held", 100)
        if {call!r} == "compute":
            holder.compute_begin("held", 100)
        print("ready", flush=True)
        sys.stdin.readline()
        print("blocks", flush=True)
        try:
            {BLOCKING[call]}
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        sys.stdin.readline()
        m.put("after", b"works")
        print(m["after"].decode(), flush=True)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), own_server.name], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        if call not in ("wait", "watch", "lease", "compute"):
            own_server.pause()
        process.stdin.write("go\n")
        process.stdin.flush()
        assert process.stdout.readline() == "blocks\n"
        time.sleep(0.2)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
        own_server.resume()
        process.stdin.write("go\n")
        process.stdin.flush()
        assert process.stdout.readline() == "works\n"
        assert process.wait(60) == 0


def test_a_signal_whose_handler_returns_does_not_end_the_call(m: Any) -> None:
    handled = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: handled.append(number))
    timer = threading.Timer(0.3, lambda: m.put("a", b"1"))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
        timer.start()
        assert m.wait("a") == b"1"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        timer.join()
    assert len(handled) > 3


def test_a_signal_handler_must_not_use_a_map(m: Any) -> None:
    def handler(number: int, frame: object) -> None:
        m["from the handler"] = b"1"

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(RuntimeError, match="a signal handler must not use a Map"):
            m.wait("a")
    finally:
        signal.signal(signal.SIGALRM, before)
    assert len(m) == 0


def test_a_signal_handler_may_use_a_map_outside_of_a_call(m: Any) -> None:
    before = signal.signal(signal.SIGALRM, lambda number, frame: m.put("from the handler", b"1"))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        deadline = time.monotonic() + 60
        while "from the handler" not in m and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert m["from the handler"] == b"1"


# ---- threads ----


def test_the_gil_is_free_while_a_call_sleeps(own_server: Any) -> None:
    with own_server.connect(timeout=None) as m:
        own_server.pause()
        blocked = threading.Thread(target=lambda: m.put("a", b"1"))
        blocked.start()
        for _ in range(100):  # this thread would not get so far if the other one kept the GIL
            time.sleep(0.001)
        assert blocked.is_alive()
        assert m.get("b") is None
        own_server.resume()
        blocked.join(60)
        assert m["a"] == b"1"


def test_threads_share_a_map(m: Any) -> None:
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for i in range(300):
                m.incr("total")
                m[f"{number}-{i}"] = b"%d" % i
                assert m[f"{number}-{i}"] == b"%d" % i
                m.put_async(f"async-{number}", b"%d" % i)
                if i % 50 == 0:
                    m.flush()
                    assert len(list(m.scan(f"{number}-"))) == i + 1
                    m.get_many([f"{number}-{j}" for j in range(i)])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert errors == [] and m["total"] == b"1800" and len(m) == 1807


def test_close_while_another_thread_waits(server: Any) -> None:
    m = server.connect()
    results: list[object] = []

    def wait() -> None:
        try:
            results.append(m.wait("a", timeout=60))
        except hostmap.Error as error:
            results.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.1)
    m.close()
    with pytest.raises(hostmap.Invalid):
        m["b"]
    with server.connect() as other:
        other["a"] = b"1"
        thread.join(60)
        assert results == [b"1"]


def test_an_iterator_belongs_to_one_thread_at_a_time(m: Any) -> None:
    watch = m.watch("a")
    next(watch)
    thread = threading.Thread(target=lambda: next(watch))
    thread.start()
    time.sleep(0.1)
    with pytest.raises(ValueError, match="another thread"):
        next(watch)
    m["a"] = b"1"
    thread.join(60)


# ---- processes ----


def test_fork(m: Any) -> None:
    m["before"] = b"1"
    child = os.fork()
    if child == 0:
        try:
            m["child"] = m["before"] + b"2"
            m.close()
            os._exit(0)
        except BaseException:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert m["child"] == b"12"
    m["after"] = b"3"


def add_hundred(m: Any, key: str) -> None:
    for _ in range(100):
        m.incr(key)


def add_by_name(name: str, key: str) -> None:
    add_hundred(hostmap.connect(name), key)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("passed", ["map", "name"])
def test_children_of_multiprocessing_leave_in_order(own_server: Any, method: str, passed: str) -> None:
    context: Any = multiprocessing.get_context(method)
    with own_server.connect() as m:
        m.incr("total", 0)
        if passed == "map":
            children = [context.Process(target=add_hundred, args=(m, "total")) for _ in range(3)]
        else:
            children = [context.Process(target=add_by_name, args=(own_server.name, "total")) for _ in range(3)]
        for child in children:
            child.start()
        for child in children:
            child.join(120)
            assert child.exitcode == 0
        assert m["total"] == b"300"
    own_server.wait_until("connections", 0)
    assert own_server.statistic("reaped") == 0  # none of them is counted as died


def test_a_pool_of_processes(own_server: Any) -> None:
    with own_server.connect() as m:
        with concurrent.futures.ProcessPoolExecutor(2) as pool:
            for future in [pool.submit(add_hundred, m, "total") for _ in range(4)]:
                future.result(120)
        assert m["total"] == b"400"
    own_server.wait_until("connections", 0)
    assert own_server.statistic("reaped") == 0


def test_a_program_that_does_not_close_leaves_in_order(own_server: Any) -> None:
    code = """
        import hostmap, sys
        m = hostmap.connect(sys.argv[1])
        m["a"] = b"1"
        keep = [m]; keep.append(keep)
    """
    done = run_python(code, own_server.name)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    own_server.wait_until("connections", 0)
    assert own_server.statistic("reaped") == 0


def test_a_child_that_just_ends_is_counted_as_died(own_server: Any) -> None:
    child = os.fork()
    if child == 0:
        m = own_server.connect()
        m["a"] = b"1"
        os._exit(0)
    os.waitpid(child, 0)
    own_server.wait_until("reaped", 1)


@pytest.mark.parametrize("call", ["put", "flush", "wait", "watch", "lease", "compute", "wait_for_server"])
def test_a_program_ends_while_its_threads_are_in_calls(own_server: Any, call: str) -> None:
    """Python begins to end while the threads sleep, and is not done before each has wanted the GIL back."""
    code = f"""
        import hostmap, sys, threading, time
        name = sys.argv[1]
        m = hostmap.connect(name, timeout=None)
        holder = hostmap.connect(name)
        if {call!r} == "lease":
            holder.lease("held", 100)
        if {call!r} == "compute":
            holder.compute_begin("held", 100)

        def run():
            begun.release()
            {BLOCKING[call]}

        print("ready", flush=True)
        sys.stdin.readline()
        begun = threading.Semaphore(0)
        for _ in range(3):
            threading.Thread(target=run, daemon=True).start()
            begun.acquire()
        time.sleep(0.2)

        class EndsSlowly:
            def __del__(self, sleep=time.sleep):
                sleep(1.5)  # longer than a sleep of the library

        sys.kept_until_the_end = EndsSlowly()
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), own_server.name], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        if call in ("put", "flush"):
            own_server.pause()
        _, errors = process.communicate("go\n", timeout=60)
        own_server.resume()
    assert (process.returncode, errors) == (0, "")


def in_child(run: Callable[[], None]) -> None:
    """Runs it in a forked child, where it must not raise."""
    child = os.fork()
    if child == 0:
        try:
            run()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def test_a_scan_that_a_thread_reads_at_a_fork(own_server: Any) -> None:
    """The child has not that thread, and what the thread was changing is lost there."""
    m = own_server.connect(timeout=None, wait_for_server=True)
    m.update({str(i): b"1" for i in range(20_000)})
    iterator = m.scan()
    next(iterator)
    own_server.stop()

    def read() -> None:
        with contextlib.suppress(hostmap.Error):
            for _ in iterator:
                pass

    thread = threading.Thread(target=read)
    thread.start()
    time.sleep(0.5)  # it has come to keys that it must fetch, and waits for a server
    with pytest.raises(ValueError, match="another thread is reading from this iterator"):
        next(iterator)

    def use() -> None:
        with pytest.raises(hostmap.Invalid, match="was in use when the process forked: make another one in the child"):
            next(iterator)
        m.close()
        with pytest.raises(hostmap.Invalid, match="this Map is closed"):
            next(iterator)

    in_child(use)
    own_server.start()
    thread.join(60)
    assert not thread.is_alive()
    m.close()


def test_a_watch_in_which_a_thread_waits_at_a_fork(m: Any) -> None:
    """The child may wait in it: nothing of it was being changed."""
    watch = m.watch("a")
    assert next(watch) is None
    seen = []
    thread = threading.Thread(target=lambda: seen.append(next(watch)))
    thread.start()
    time.sleep(0.1)
    with pytest.raises(ValueError, match="another thread is waiting in this iterator"):
        next(watch)

    def use() -> None:
        threading.Timer(0.2, lambda: m.put("a", b"of the child")).start()
        assert next(watch) == b"of the child"

    in_child(use)
    thread.join(60)
    assert seen == [b"of the child"]


def test_two_threads_that_connect_one_map(own_server: Any) -> None:
    """One of them does; the other is refused, and no connection is left open."""
    own_server.pause()
    m = hostmap.Map.__new__(hostmap.Map)
    outcomes: list[str] = []

    def connect() -> None:
        try:
            m.__init__(own_server.name, timeout=None)  # type: ignore[misc]
            outcomes.append("connected")
        except RuntimeError as refused:
            outcomes.append(str(refused))

    first = threading.Thread(target=connect)
    first.start()
    time.sleep(0.2)  # it sleeps until the server accepts it
    connect()
    own_server.resume()
    first.join(60)
    assert outcomes == ["another thread connects this Map: wait until it has, or make another one", "connected"]
    m["a"] = b"1"
    assert own_server.statistic("connections") == 1
    connect()
    assert outcomes[2] == "this Map is connected already: make another one"
    m.close()
    own_server.wait_until("connections", 0)


def test_children_of_a_thread_that_waits(m: Any) -> None:
    """A child forked while another thread is in a call can use and close the Map."""
    thread = threading.Thread(target=lambda: m.wait("a"))
    thread.start()
    time.sleep(0.1)
    child = os.fork()
    if child == 0:
        try:
            m["child"] = b"1"
            m.close()
            os._exit(0 if m.closed else 2)
        except BaseException:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    m["a"] = b"1"
    thread.join(60)
    assert m["child"] == b"1"


# ---- interpreters ----


def test_subinterpreters_with_the_shared_gil(server: Any) -> None:
    code = """
        import sys
        import hostmap
        m = hostmap.connect(sys.argv[1])
        m["main"] = b"1"
        try:
            import _xxsubinterpreters as interpreters
            interpreter = interpreters.create(isolated=False)
        except ImportError:
            import _interpreters as interpreters
            interpreter = interpreters.create("legacy")
        inside = f'''
        import hostmap
        m = hostmap.connect({sys.argv[1]!r})
        assert m["main"] == b"1"
        m["sub"] = b"2"
        try:
            m["absent"]
        except KeyError:
            m["error"] = b"3"
        m.close()
        '''
        import textwrap
        error = interpreters.run_string(interpreter, textwrap.dedent(inside))
        assert error is None, error
        interpreters.destroy(interpreter)
        assert m["sub"] == b"2" and m["error"] == b"3"
        print("done")
    """
    done = run_python(code, server.name)
    assert done.stdout == "done\n", done.stderr


@pytest.mark.skipif(sys.version_info < (3, 13), reason="interpreters with a GIL of their own can be made from Python since 3.13")
def test_subinterpreters_with_a_gil_of_their_own_are_refused() -> None:
    code = """
        import _interpreters as interpreters
        interpreter = interpreters.create("isolated")
        print(interpreters.run_string(interpreter, "import hostmap"))
    """
    done = run_python(code)
    assert "ImportError" in done.stdout and "interpreter" in done.stdout, done.stderr


def test_another_extension_than_the_interpreter_can_load_is_one_clear_error() -> None:
    code = """
        import sys
        sys.modules["hostmap._hostmap"] = None
        try:
            import hostmap
        except ImportError as error:
            print(error)
    """
    done = run_python(code)
    assert "It needs CPython 3.11 or later" in done.stdout and "pip install" in done.stdout
