"""What the check_* scripts share: finding files, reporting, and the canary.

A check is a function check(root) that returns its problems, one line each, and raises
NothingToCheck when it finds no file of its kind: a check must not pass on nothing.
"""

import argparse
import pathlib
import sys
import tempfile

SOURCE_SUFFIXES = {".cpp", ".hpp", ".h", ".cc"}


class NothingToCheck(Exception):
    pass


def source_files(root, *folders):
    """All C++ files below these folders of root, in a stable order."""
    found = []
    for folder in folders:
        found += [path for path in (root / folder).rglob("*") if path.suffix in SOURCE_SUFFIXES]
    if not found:
        raise NothingToCheck(f"no C++ file in {', '.join(folders)} of {root}")
    return sorted(found)


def run(check, description, good, bad):
    """The main() of a check script.

    good: a tree (path -> text) in which the check finds nothing.
    bad: a list of (a tree laid over the good one, a word that a problem must contain).
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("root", nargs="?", type=pathlib.Path,
                        default=pathlib.Path(__file__).resolve().parent.parent,
                        help="the checkout to check (default: this one)")
    parser.add_argument("--self-test", action="store_true",
                        help="show that the check passes a good tree and fails bad ones")
    arguments = parser.parse_args()
    if arguments.self_test:
        sys.exit(_self_test(check, good, bad))
    try:
        problems = check(arguments.root.resolve())
    except NothingToCheck as nothing:
        sys.exit(f"nothing to check: {nothing}")
    for problem in problems:
        print(problem)
    sys.exit(1 if problems else 0)


def _problems_of(check, tree):
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for path, text in tree.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        return check(root)


def _self_test(check, good, bad):
    wrong = 0
    for problem in _problems_of(check, good):
        print(f"self-test: the good tree was refused: {problem}")
        wrong += 1
    for tree, word in bad:
        problems = _problems_of(check, {**good, **tree})
        if not any(word in problem for problem in problems):
            print(f"self-test: a bad tree was not refused with '{word}', but with {problems}:")
            print("\n".join(f"{path}:\n{text}" for path, text in tree.items()))
            wrong += 1
    try:
        _problems_of(check, {})
        print("self-test: the check passes an empty tree")
        wrong += 1
    except NothingToCheck:
        pass
    print(f"self-test: {len(bad)} bad trees, {wrong} wrong verdicts")
    return 1 if wrong or not bad else 0
