#!/usr/bin/python3
"""A testee without a map: it answers from a dictionary, with one fault.

    dictionary.py FAULT NAME
"""

import pathlib
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from words import decode, encode  # noqa: E402


class Dictionary:
    """The operations of canary.case, and what is wrong with them."""

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.values: dict[bytes, bytes] = {}
        self.message = b""

    def answer(self, operation: str, *arguments: str) -> str:
        if operation == "message":
            return f"ok {encode(b'' if self.fault == 'mute' else self.message)}"
        if operation == "append" and self.fault == "undeclared":
            return "unsupported"
        if operation == "clear" and self.fault == "dying":
            sys.exit(3)
        if operation == "size":
            return f"ok {len(self.values)}" + (" 0" if self.fault == "talkative" else "")
        if operation == "clear":
            self.values.clear()
            return "ok"
        key = decode(arguments[0])
        if not key:
            self.message = b"a key has 1 byte or more"
            return "invalid"
        value = self.values.get(key)
        if operation == "get":
            return "not_found" if value is None else f"ok {encode(value)}"
        if operation == "put":
            if self.fault != "stale" or value is None:
                self.values[key] = decode(arguments[1])
            return "ok"
        if operation == "append":
            self.values[key] = (value or b"") + decode(arguments[1])
            return f"ok {len(self.values[key])}"
        if operation == "increment":
            number = int(value or b"0") + int(arguments[1])
            self.values[key] = b"%d" % (
                number + (1 if self.fault == "miscounting" and number > 40 else 0)
            )
            return f"ok {number}"
        if operation == "erase":
            return (
                "ok"
                if self.values.pop(key, None) is not None or self.fault == "careless"
                else "not_found"
            )
        return "unsupported"


def main() -> None:
    dictionary = Dictionary(sys.argv[1])
    for line in sys.stdin:
        print(dictionary.answer(*line.split()), flush=True)


if __name__ == "__main__":
    main()
