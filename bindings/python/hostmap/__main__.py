"""The programs of this package: `python -m hostmap …` is hostmap, `python -m hostmap server …`
is hostmap-server. pip installs both under their own names, too."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from ._serve import program


def _become(name: str, arguments: list[str]) -> NoReturn:
    try:
        path = program(name)
    except FileNotFoundError as error:
        sys.exit(f"{name}: {error}")
    os.execv(path, [name, *arguments])


def main() -> NoReturn:
    arguments = sys.argv[1:]
    if arguments[:1] == ["server"]:
        _become("hostmap-server", arguments[1:])
    _become("hostmap", arguments)


def hostmap() -> NoReturn:
    _become("hostmap", sys.argv[1:])


def hostmap_server() -> NoReturn:
    _become("hostmap-server", sys.argv[1:])


if __name__ == "__main__":
    main()
