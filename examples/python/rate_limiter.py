"""So many requests of a user in a time window, whichever process gets them.

python rate_limiter.py       (it starts a server of its own)
"""

from __future__ import annotations

import multiprocessing

import hostmap

LIMIT = 10
WINDOW_SECONDS = 60.0
WORKERS = 4
REQUESTS_PER_WORKER = 20


def allowed(counters: hostmap.Map[str, bytes], user: str) -> bool:
    # The first request of a window makes the counter, with its end; later ones add to it and keep
    # the end. One atomic step.
    return counters.incr(f"requests:{user}", ttl=WINDOW_SECONDS) <= LIMIT


def worker(counters: hostmap.Map[str, bytes]) -> None:
    for _ in range(REQUESTS_PER_WORKER):
        if allowed(counters, "alice"):
            counters.incr("allowed")
        else:
            counters.incr("refused")


def main() -> None:
    with hostmap.serve() as counters:
        # A Map can be passed to other processes: it is sent as its options, and they connect by
        # themselves.
        workers = [multiprocessing.Process(target=worker, args=(counters,)) for _ in range(WORKERS)]
        for process in workers:
            process.start()
        for process in workers:
            process.join()
        print(f"{counters['allowed'].decode()} allowed, {counters['refused'].decode()} refused")


if __name__ == "__main__":
    main()
