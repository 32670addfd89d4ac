#!/usr/bin/python3
"""A testee that passes everything to another one, and changes some answers.

    lying.py FAULT PROGRAM NAME

FAULT is generous (grants a lease that somebody holds), repeating (gives two leases one number) or
forgetful (does not find every fifth value that is there).
"""

import subprocess
import sys
from collections.abc import Callable


class Faults:
    """What is done to an answer, by the name of the fault."""

    def __init__(self) -> None:
        self.last_number = ""
        self.found = 0

    def generous(self, operation: str, answer: str) -> str:
        is_refused = operation == "lease" and answer == "already_exists"
        return "ok 18446744073709551615" if is_refused else answer

    def repeating(self, operation: str, answer: str) -> str:
        if operation == "lease" and answer.startswith("ok "):
            self.last_number = self.last_number or answer.split()[1]
            return f"ok {self.last_number}"
        return answer

    def forgetful(self, operation: str, answer: str) -> str:
        if operation == "get" and answer.startswith("ok "):
            self.found += 1
            return answer if self.found % 5 else "not_found"
        return answer


def main() -> None:
    change: Callable[[str, str], str] = getattr(Faults(), sys.argv[1])
    testee = subprocess.Popen(
        sys.argv[2:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert testee.stdin and testee.stdout
    for line in sys.stdin:
        testee.stdin.write(line)
        testee.stdin.flush()
        print(change(line.split()[0], testee.stdout.readline().rstrip("\n")), flush=True)
    testee.stdin.close()
    testee.wait()


if __name__ == "__main__":
    main()
