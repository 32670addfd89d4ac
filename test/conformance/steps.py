"""The cases: what a line means, and whether an answer is the expected one. See README.md."""

import dataclasses
import pathlib
import re
import shlex

import words

CLIENT = re.compile(r"([A-Z]): +(.*)")
SERVER_VERBS = ("start", "kill", "stop", "takeover", "pause", "continue", "patch")
ERRORS = (
    "not_a_number",
    "overflow",
    "buffer_too_small",
    "timeout",
    "no_server",
    "full",
    "too_large",
    "invalid",
    "permission",
    "other_version",
    "closed",
    "internal",
)
STATUSES = ("ok", "not_found", "already_exists", "mismatch") + ERRORS


class Malformed(Exception):
    """A line of a case that means nothing; str() says which one and why."""


@dataclasses.dataclass(frozen=True)
class Step:
    """One line of a case."""

    place: str  # FILE:LINE
    text: str
    kind: str  # server, sleep, kill, ask, until, start, pending, result
    client: str = ""
    request: str = ""  # of ask, until and start; of server: its verb and options
    expected: str = ""  # of ask, until and result


@dataclasses.dataclass
class Case:
    """A case: its steps, and whether a server with the default options runs when it begins."""

    name: str
    place: str
    steps: list[Step]

    @property
    def starts_server(self) -> bool:
        return not (self.steps and self.steps[0].kind == "server")

    @property
    def clients(self) -> list[str]:
        return sorted({step.client for step in self.steps if step.client})


def repeat(text: str) -> str:
    """The text with each <COUNT:WORDS> written out: the words COUNT times, with 0, 1, ... as #."""
    return re.sub(
        r"<(\d+):([^>]*)>",
        lambda match: " ".join(match[2].replace("#", str(i)) for i in range(int(match[1]))),
        text,
    )


def parse_step(place: str, text: str) -> Step:
    """The step that a line describes. Malformed if it describes none."""

    def malformed(why: str) -> Malformed:
        return Malformed(f"{place}: {why}: {text}")

    if text.startswith("server "):
        request = text.removeprefix("server ").strip()
        if request.split()[0] not in SERVER_VERBS:
            raise malformed("a server can " + ", ".join(SERVER_VERBS))
        return Step(place, text, "server", request=request)
    if re.fullmatch(r"sleep \d+", text):
        return Step(place, text, "sleep", request=text.split()[1])
    match = CLIENT.fullmatch(text)
    client, rest = (match[1], match[2]) if match else ("A", text)
    if rest in ("kill", "pending"):
        return Step(place, text, rest, client)
    if rest.startswith("start "):
        return Step(place, text, "start", client, rest.removeprefix("start ").strip())
    request, arrow, expected = (repeat(part.strip()) for part in rest.partition("->"))
    if not arrow or not request or not expected:
        raise malformed("write OPERATION -> ANSWER")
    for alternative in expected.split(" | "):
        for status in alternative.split(" ; "):
            if status.split()[0] not in STATUSES:
                raise malformed(f"'{status.split()[0]}' is not a status")
    if request == "result":
        return Step(place, text, "result", client, expected=expected)
    if request.split()[0] in ("scan", "scan_keys", "scan_parts"):
        status, *found = expected.split()  # testees sort what they find
        expected = " ".join([status, *sorted(found)])
    kind = "until" if request.startswith("until ") else "ask"
    return Step(place, text, kind, client, request.removeprefix("until ").strip(), expected)


def read_cases(folder: pathlib.Path) -> list[Case]:
    """All cases of the *.case files in a folder. Malformed at the first line that means nothing."""
    cases: list[Case] = []
    for path in sorted(folder.glob("*.case")):
        begun = False
        for number, line in enumerate(path.read_text().splitlines(), 1):
            place, text = f"{path.name}:{number}", line.strip()
            if not text or text.startswith("#"):
                continue
            if text.startswith("case "):
                cases.append(Case(f"{path.stem}: {text.removeprefix('case ').strip()}", place, []))
                begun = True
            elif not begun:
                raise Malformed(f"{place}: a file begins with 'case NAME': {text}")
            else:
                cases[-1].steps.append(parse_step(place, text))
    names = [case.name for case in cases]
    for case in cases:
        if not case.steps:
            raise Malformed(f"{case.place}: the case '{case.name}' has no step")
        if names.count(case.name) > 1:
            raise Malformed(f"{case.place}: two cases have the name '{case.name}'")
    return cases


def substitute(request: str, variables: dict[str, str]) -> str:
    """The request with {NAME} replaced by what an earlier answer had in the place of =NAME."""
    return re.sub(r"\{(\w+)\}", lambda match: variables[match[1]], request)


def matches_word(expected: str, got: str, captured: dict[str, str]) -> bool:
    """Whether one word of an answer is as expected; `captured` gets what =NAME stands for."""
    if expected == "*":
        return True
    if expected.startswith("="):
        captured[expected[1:]] = got
        return True
    span = re.fullmatch(r"(-?\d*)\.\.(-?\d*)", expected)
    if span:
        if not re.fullmatch(r"-?\d+", got):
            return False
        return (not span[1] or int(span[1]) <= int(got)) and (
            not span[2] or int(got) <= int(span[2])
        )
    if expected.startswith("~"):
        return words.decode(expected[1:]) in words.decode(got)
    key, equals, value = expected.partition("=")
    if equals:  # a pair of a scan
        return got == f"{canonical(key)}={canonical(value)}"
    return got == expected or got == canonical(expected)


def canonical(word: str) -> str:
    """A word as a testee writes it, if it stands for long bytes."""
    return words.canonical(word) if word[0] in "@$" else word


def matches(expected: str, got: str, variables: dict[str, str]) -> bool:
    """Whether an answer is an expected one; then `variables` get what it has in place of =NAME."""
    for alternative in expected.split(" | "):
        pattern = substitute(alternative, variables).split()
        answer = got.split()
        if pattern[-1] == "...":
            pattern.pop()
            answer = answer[: len(pattern)]
        captured: dict[str, str] = {}
        if len(pattern) == len(answer) and all(
            matches_word(*pair, captured) for pair in zip(pattern, answer)
        ):
            variables.update(captured)
            return True
    return False


def server_options(request: str) -> list[str]:
    """The options behind the verb of a server step."""
    return shlex.split(request)[1:]
