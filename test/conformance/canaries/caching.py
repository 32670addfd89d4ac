#!/usr/bin/python3
"""A testee with the fault that only a second client shows: it keeps what it has read, and does not notice changes by others.

    caching.py PROGRAM NAME

It passes all other operations to the testee PROGRAM.
"""

import subprocess
import sys

READS = ("get", "exists")


def main() -> None:
    testee = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert testee.stdin and testee.stdout
    known: dict[str, str] = {}
    for line in sys.stdin:
        if line.split()[0] not in (*READS, "message"):
            known.clear()
        if line not in known:
            testee.stdin.write(line)
            testee.stdin.flush()
            known[line] = testee.stdout.readline()
        print(known[line], end="", flush=True)
    testee.stdin.close()
    testee.wait()


if __name__ == "__main__":
    main()
