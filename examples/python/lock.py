"""A lock for something outside of the map, which ends by itself, with a number that a late holder
cannot get past.

    python lock.py       (it starts a server of its own)
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from pathlib import Path

import hostmap

WORKERS = 4
DEPOSITS = 25


class Ledger:
    """Stands for a file, a device, a remote service. It keeps the largest number that it has seen
    and refuses smaller ones."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> tuple[int, int]:
        """(balance, number)"""
        balance, number = self._path.read_text().split()
        return int(balance), int(number)

    def set_balance(self, balance: int, number: int) -> bool:
        if number < self.read()[1]:
            return False
        self._path.write_text(f"{balance} {number}")
        return True


def deposit(locks: hostmap.Map[str, bytes], ledger: Ledger) -> None:
    for _ in range(DEPOSITS):
        number = locks.lease(
            "lock:ledger", length=10, wait=60
        )  # at most 10 s; sleeps for it at most 60 s
        if number is None:
            raise TimeoutError("the ledger has been locked for a minute")
        ledger.set_balance(ledger.read()[0] + 1, number)
        locks.release("lock:ledger", number)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, hostmap.serve() as locks:
        path = Path(folder) / "ledger"
        path.write_text("0 0")
        ledger = Ledger(path)
        workers = [
            multiprocessing.Process(target=deposit, args=(locks, ledger)) for _ in range(WORKERS)
        ]
        for process in workers:
            process.start()
        for process in workers:
            process.join()
        print(f"balance {ledger.read()[0]} after {WORKERS * DEPOSITS} deposits")

        late = locks.lease("lock:ledger", length=0.01)
        assert late is not None
        time.sleep(0.05)  # longer than its lease: somebody else has the lock meanwhile
        successor = locks.lease("lock:ledger", length=10, wait=60)
        assert successor is not None and ledger.set_balance(1000, successor)
        accepted = ledger.set_balance(1, late)
        print(
            f"a late holder is {'accepted' if accepted else 'refused'}; balance {ledger.read()[0]}"
        )


if __name__ == "__main__":
    main()
