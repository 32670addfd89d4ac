"""The programs of this package: `python -m hostmap …` is hostmap, `python -m hostmap server …`
is hostmap-server."""

from __future__ import annotations

import os
import sys

from ._serve import program


def main() -> None:
    arguments = sys.argv[1:]
    name = "hostmap"
    if arguments[:1] == ["server"]:
        name = "hostmap-server"
        del arguments[0]
    try:
        path = program(name)
    except FileNotFoundError as error:
        sys.exit(f"hostmap: {error}")
    os.execv(path, [name, *arguments])


if __name__ == "__main__":
    main()
