#!/usr/bin/python3
"""A testee that keeps what it has read, and does not notice changes by others.

    caching.py PROGRAM NAME

It passes all other operations to the testee PROGRAM.
"""

import subprocess
import sys

READS = ("get", "exists")


def main() -> None:
    testee = subprocess.Popen(
        sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert testee.stdin and testee.stdout
    known: dict[str, str] = {}
    for line in sys.stdin:
        operation, *words = line.split()
        answer = known.get(line)
        if answer is None:
            testee.stdin.write(line)
            testee.stdin.flush()
            answer = testee.stdout.readline()
        if operation in READS:
            known[line] = answer
        else:  # it does know what it has changed itself
            known = {read: old for read, old in known.items() if read.split()[1] not in words}
        print(answer, end="", flush=True)
    testee.stdin.close()
    testee.wait()


if __name__ == "__main__":
    main()
