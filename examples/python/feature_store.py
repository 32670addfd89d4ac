"""Features that all processes of data loaders share: one copy in memory, whatever the number of
loaders.

    python feature_store.py [fork | spawn]       (it starts a server of its own)

Each row is stored as its bare bytes, so that a loader reads it straight into its place in a batch,
without an object in between.
"""

from __future__ import annotations

import multiprocessing
import sys
from typing import Any

import hostmap
import numpy

ROWS = 2000
WIDTH = 256
BATCH = 64
LOADERS = 3


def fill(store: hostmap.Map[str, bytes]) -> None:
    rows = numpy.random.default_rng(1).random((ROWS, WIDTH), dtype=numpy.float32)
    store.put_many((f"row:{index}", row) for index, row in enumerate(rows))
    store["sum"] = str(float(rows.sum(dtype=numpy.float64))).encode()


def load(store: hostmap.Map[str, bytes], first: int, sums: multiprocessing.Queue[float]) -> None:
    batch = numpy.empty((BATCH, WIDTH), numpy.float32)  # used again for each batch
    total = 0.0
    indexes = range(first, ROWS, LOADERS)
    for begin in range(0, len(indexes), BATCH):
        part = indexes[begin : begin + BATCH]
        for place, index in enumerate(part):
            store.get_into(f"row:{index}", batch[place])
        total += float(batch[: len(part)].sum(dtype=numpy.float64))
    sums.put(total)


def main() -> None:
    context: Any = multiprocessing.get_context(sys.argv[1] if len(sys.argv) > 1 else "spawn")
    with hostmap.serve(memory="64M") as store:
        fill(store)
        sums = context.Queue()
        loaders = [
            context.Process(target=load, args=(store, first, sums)) for first in range(LOADERS)
        ]
        for process in loaders:
            process.start()
        total = sum(sums.get() for _ in loaders)
        for process in loaders:
            process.join()
        expected = float(store["sum"])
        agree = abs(total - expected) < 1e-6 * expected
        print(f"{ROWS} rows by {LOADERS} loaders: {'the sums agree' if agree else 'WRONG SUM'}")


if __name__ == "__main__":
    main()
