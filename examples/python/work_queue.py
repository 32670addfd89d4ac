"""Jobs for many processes: each is done, also if a worker dies in the middle of it, and idle
workers sleep.

    python work_queue.py       (it starts a server of its own)

A job stays in the map until it is done. Who works on it holds its lease, which ends when its
process dies: another worker then does the job again, so a job is done at least once. Each search
takes time in proportion to the whole table: use a server for the queue alone.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable

import hostmap

JOBS = 40
WORKERS = 3
JOB_SECONDS = 60.0  # longest time that a job may take


def put(queue: hostmap.Map[str, bytes], job: bytes) -> None:
    number = queue.incr("next")
    queue[f"job:{number:012}"] = job
    queue.incr("changes")  # wakes the workers that sleep


def work(queue: hostmap.Map[str, bytes], do: Callable[[bytes], None]) -> None:
    while "stop" not in queue:
        changes = queue.get("changes")  # before the search: what comes later changes it
        for key, _ in sorted(queue.scan("job:")):  # the oldest first
            number = queue.lease(key, JOB_SECONDS)
            if number is None:
                continue  # somebody works on it
            try:
                job = queue.get(key)  # absent: somebody has just done it
                if job is not None:
                    do(job)
                    del queue[key]
            finally:
                queue.release(key, number)
        try:
            queue.wait(
                "changes", changes, timeout=1
            )  # then it searches for jobs of workers that have died
        except hostmap.Timeout:
            pass


def worker(queue: hostmap.Map[str, bytes], dies: bool) -> None:
    def do(job: bytes) -> None:
        if dies:
            os._exit(1)
        queue.add("done:" + job.decode(), b"")

    work(queue, do)


def main() -> None:
    with hostmap.serve() as queue:
        for number in range(JOBS):
            put(queue, str(number).encode())
        first = multiprocessing.Process(target=worker, args=(queue, True))
        first.start()
        first.join()  # it dies in its first job
        workers = [
            multiprocessing.Process(target=worker, args=(queue, False)) for _ in range(WORKERS)
        ]
        for process in workers:
            process.start()
        while any(queue.scan("job:")):
            changes = queue.get("changes")
            try:
                queue.wait("changes", changes, timeout=0.1)
            except hostmap.Timeout:
                pass
        queue["stop"] = b""
        queue.incr("changes")
        for process in workers:
            process.join()
        done = sum(1 for key in queue if key.startswith("done:"))
        print(
            f"{done} of {JOBS} jobs are done; the first worker died with exit code {first.exitcode}"
        )


if __name__ == "__main__":
    main()
