"""What a map must answer: each key has a list of possible states, and each answer rules some out.

A key has several possible states while its end may or may not have come, and after a change whose
outcome is unknown. The model reads requests and answers of the suite as they are, so it can follow
any sequence of them.
"""

import dataclasses
import math
import re

import steps
from words import decode, encode

# A read may return a value for one tick of the kernel longer than it lives.
TICK_SECONDS = 0.05
MOST_KEY_BYTES = 65536
INT64 = range(-(1 << 63), 1 << 63)
CHANGES = frozenset(
    "put insert replace erase expire append compare_exchange compare_erase increment "
    "increment_double increment_stored exchange take insert_or_get modify compute put_if "
    "erase_if".split()
)
SINGLE = CHANGES | {"get", "get_into", "exists", "ttl", "wait", "get_with_token"}


@dataclasses.dataclass(frozen=True)
class Entry:
    """A value, and between which two times of the monotonic clock it ends (infinity: never)."""

    value: bytes
    earliest: float = math.inf
    latest: float = math.inf

    def with_value(self, value: bytes) -> "Entry":
        return dataclasses.replace(self, value=value)


State = Entry | None
Step = tuple[str, State]  # what must be answered, and the state after it


class Wrong(Exception):
    """An answer that no possible state explains; str() says what would have been right."""


class Moment:
    """When a request was sent, and when its answer came."""

    def __init__(self, sent: float, answered: float) -> None:
        self.sent, self.answered = sent, answered

    def possible(self, states: list[State]) -> list[State]:
        """These states, with those that have ended or may have ended."""
        found: list[State] = []
        for state in states:
            if state and self.answered >= state.earliest and None not in found:
                found.append(None)
            has_ended = state and self.sent > state.latest + TICK_SECONDS
            if not has_ended and state not in found:
                found.append(state)
        return found

    def with_ttl(self, value: bytes, ttl: str, before: State = None) -> Entry:
        if ttl == "forever":
            return Entry(value)
        if ttl == "keep":
            return before.with_value(value) if before else Entry(value)
        return Entry(value, self.sent + int(ttl) / 1000, self.answered + int(ttl) / 1000)


def single(words: list[str], state: State, moment: Moment, tokens: dict[str, Entry]) -> Step:
    """What one operation on a key in this state must answer, and the state of the key after it."""
    operation, arguments = words[0], words[2:]
    value = state.value if state else None
    if operation == "get":
        return (f"ok {encode(value)}", state) if value is not None else ("not_found", None)
    if operation == "get_with_token":
        return (f"ok {encode(value)} *", state) if value is not None else ("not_found", None)
    if operation == "get_into":
        if value is None:
            return "not_found", None
        fits = len(value) <= int(arguments[0])
        return f"ok {encode(value)}" if fits else f"buffer_too_small {len(value)}", state
    if operation == "exists":
        return ("ok" if state else "not_found"), state
    if operation == "ttl":
        if not state:
            return "not_found", None
        if state.earliest == math.inf:
            return "ok forever", state
        least = max(1, math.floor((state.earliest - moment.answered) * 1000) - 1)
        return f"ok {least}..{max(1, math.ceil((state.latest - moment.sent) * 1000) + 1)}", state
    if operation == "wait":
        known = None if arguments[0] == "-" else decode(arguments[0])
        if known == value:
            return "timeout", state
        return (f"ok {encode(value)}", state) if value is not None else ("not_found", None)
    return change(operation, arguments, state, moment, tokens)


def change(
    operation: str, arguments: list[str], state: State, moment: Moment, tokens: dict[str, Entry]
) -> Step:
    """The same for operations that change the key."""
    value = state.value if state else None
    if operation in ("put", "insert", "replace"):
        if operation == "insert" and state:
            return "already_exists", state
        if operation == "replace" and not state:
            return "not_found", None
        ttl = arguments[1] if len(arguments) > 1 else "forever"
        return "ok", moment.with_ttl(decode(arguments[0]), ttl, state)
    if operation == "compute":
        if value is not None:
            return f"ok {encode(value)} found", state
        made = decode(arguments[3])
        return f"ok {encode(made)} computed", moment.with_ttl(made, arguments[0])
    if operation == "exchange":
        made = decode(arguments[0])
        return f"ok {encode(value) if value is not None else '-'}", (
            state.with_value(made) if state else Entry(made)
        )
    if operation == "insert_or_get":
        if value is not None:
            return f"already_exists {encode(value)}", state
        return "ok", Entry(decode(arguments[0]))
    if operation in ("append", "modify"):
        made = (value or b"") + decode(arguments[0])
        answer = f"ok {len(made) if operation == 'append' else encode(made)}"
        return answer, state.with_value(made) if state else Entry(made)
    if operation == "put_if":
        if arguments[1] == "-":
            return ("already_exists", state) if state else ("ok", Entry(decode(arguments[0])))
        return compare(state == tokens[arguments[1]], state, decode(arguments[0]))
    if operation.startswith("increment"):
        return increment(operation, arguments, state, moment)
    if not state or value is None:
        return "not_found", None
    if operation == "erase":
        return "ok", None
    if operation == "take":
        return f"ok {encode(value)}", None
    if operation == "expire":
        return "ok", moment.with_ttl(value, arguments[0])
    if operation == "compare_exchange":
        return compare(value == decode(arguments[0]), state, decode(arguments[1]))
    if operation == "compare_erase":
        return compare(value == decode(arguments[0]), state, None)
    assert operation == "erase_if", operation
    return compare(state == tokens[arguments[0]], state, None)


def compare(is_expected: bool, state: State, desired: bytes | None) -> Step:
    """A change that needs an expected value; `desired` None removes the key."""
    if not state:
        return "not_found", None
    if not is_expected:
        return "mismatch", state
    return "ok", None if desired is None else state.with_value(desired)


def integer_of(value: bytes) -> int | None:
    """The number that a value is as decimal text."""
    if not re.fullmatch(rb"0|-?[1-9][0-9]*", value) or int(value) not in INT64:
        return None
    return int(value)


def fraction_of(value: bytes) -> float | None:
    """The same for a fraction in the form of the texts that the walk uses."""
    return float(value) if re.fullmatch(rb"-?[0-9]+(\.[0-9]+)?", value) else None


def increment(operation: str, arguments: list[str], state: State, moment: Moment) -> Step:
    initial = arguments[1] if len(arguments) > 1 else "0"

    def result(answer: str, made: bytes) -> Step:
        if state:
            return f"ok {answer}", state.with_value(made)
        return f"ok {answer}", moment.with_ttl(
            made, arguments[2] if len(arguments) > 2 else "forever"
        )

    if operation == "increment_double":
        before = fraction_of(state.value) if state else float(initial)
        if before is None:
            return "not_a_number", state
        total = before + float(arguments[0])
        return result(
            "%.17g" % total, b"%d" % total if total == int(total) else repr(total).encode()
        )
    if operation == "increment_stored":
        if state and len(state.value) != 8:
            return "mismatch", state
        stored = int.from_bytes(state.value, "little", signed=True) if state else int(initial)
        total = stored + int(arguments[0])
        return (
            result(str(total), total.to_bytes(8, "little", signed=True))
            if total in INT64
            else ("overflow", state)
        )
    number = integer_of(state.value) if state else int(initial)
    if number is None:
        return "not_a_number", state
    total = number + int(arguments[0])
    return result(str(total), b"%d" % total) if total in INT64 else ("overflow", state)


class Model:
    """A map, as far as its answers have shown it."""

    def __init__(self) -> None:
        self.states: dict[bytes, list[State]] = {}
        # A token is of a value and its end. (Two writes in one millisecond may have equal ends.)
        self.entries_of: dict[str, Entry] = {}
        self.tokens_of: dict[Entry, str] = {}
        self.lapsed: set[bytes] = (
            set()
        )  # keys that have ended, and that the server may not have removed yet

    def lose_all(self) -> None:
        """The server has ended without keeping its map."""
        self.states = {key: [None] for key in self.states}
        self.lapsed.clear()

    def settle(self, key: bytes, states: list[State], moment: Moment) -> None:
        """The key has one of these states now."""
        if states != [None]:
            self.lapsed.discard(key)
        elif any(state and state.earliest <= moment.answered for state in self.of(key)):
            self.lapsed.add(key)
        self.states[key] = list(dict.fromkeys(states))

    def of(self, key: bytes) -> list[State]:
        return self.states.setdefault(key, [None])

    def check(self, request: str, answer: str, moment: Moment) -> None:
        """Follows one request. Wrong if no possible state explains the answer."""
        words = request.split()
        if words[0] == "fork":
            words = words[1:]
        if words[0] in SINGLE:
            self.check_single(words, answer, moment)
        elif words[0] == "put_async":
            self.check_single(["put", *words[1:]], answer, moment)
        else:
            getattr(self, f"check_{words[0]}")(words, answer, moment)

    def check_single(self, words: list[str], answer: str, moment: Moment) -> None:
        key = decode(words[1])
        if not key or len(key) > MOST_KEY_BYTES:
            expected = "too_large" if key else "invalid"
            if answer.split()[0] != expected:
                raise Wrong(expected)
            return
        results = [
            single(words, state, moment, self.entries_of) for state in moment.possible(self.of(key))
        ]
        fitting = [after for expected, after in results if steps.matches(expected, answer, {})]
        if not fitting:
            raise Wrong(" | ".join(dict.fromkeys(expected for expected, _ in results)))
        self.settle(key, fitting, moment)
        if words[0] == "get_with_token" and answer.startswith("ok "):
            states = [state for state in self.states[key] if state]
            if len(states) == 1:
                self.learn_token(states[0], answer.split()[2])

    def check_both(self, asked: list[tuple[str, str]], moment: Moment) -> None:
        """Two requests for one key at one time: one of the two orders must explain both answers."""
        key = decode(asked[0][0].split()[1])
        fitting: list[State] = []
        for (first, one), (second, two) in (asked, asked[::-1]):
            for state in moment.possible(self.of(key)):
                expected, between = single(first.split(), state, moment, self.entries_of)
                if not steps.matches(expected, one, {}):
                    continue
                for state_between in moment.possible([between]):
                    expected, after = single(second.split(), state_between, moment, self.entries_of)
                    if steps.matches(expected, two, {}):
                        fitting.append(after)
        if not fitting:
            raise Wrong("answers that one of the two orders explains")
        self.settle(key, fitting, moment)

    def learn_token(self, entry: Entry, token: str) -> None:
        if self.tokens_of.setdefault(entry, token) != token:
            raise Wrong(
                f"ok {encode(entry.value)} {self.tokens_of[entry]}, the token of this value before"
            )
        before = self.entries_of.setdefault(token, entry)
        if before != entry and (
            before.value != entry.value or math.inf in (before.earliest, entry.earliest)
        ):
            raise Wrong(f"another token than that of {encode(before.value)}")

    def knows_result(self, key: bytes, token: str) -> bool:
        """Whether the model can compare the token with all possible states of the key."""
        entry = self.entries_of[token]
        return all(
            not state
            or state == entry
            or state.value != entry.value
            or math.inf in (state.earliest, entry.earliest)
            for state in self.of(key)
        )

    def forget(self, request: str, moment: Moment) -> None:
        """The request has failed, and may or may not have been applied."""
        words = request.split()
        key = decode(words[1])
        before = moment.possible(self.of(key))
        after = [single(words, state, moment, self.entries_of)[1] for state in before]
        self.states[key] = list(dict.fromkeys(before + after))

    def lose_queued(self, before: dict[bytes, list[State]]) -> None:
        """Queued writes may or may not have been applied: `before` is what their keys had."""
        for key, states in before.items():
            self.states[key] = list(dict.fromkeys(states + self.of(key)))

    # ---- several keys ----

    def resolve(self, key: bytes, word: str | None, moment: Moment) -> None:
        """The key was seen with this value (None: absent)."""
        possible = moment.possible(self.of(key))
        fitting = [state for state in possible if (encode(state.value) if state else None) == word]
        if not fitting:
            shown = " or ".join(encode(state.value) if state else "absent" for state in possible)
            raise Wrong(f"the key {encode(key)} as {shown}")
        self.settle(key, fitting, moment)

    def check_flush(self, words: list[str], answer: str, moment: Moment) -> None:
        if answer != "ok":
            raise Wrong("ok")

    def check_size(self, words: list[str], answer: str, moment: Moment) -> None:
        # A key that has ended counts until the server removes it.
        least = sum(None not in moment.possible(states) for states in self.states.values())
        most = sum(states != [None] for states in self.states.values()) + len(self.lapsed)
        if not steps.matches(f"ok {least}..{most}", answer, {}):
            raise Wrong(f"ok {least}..{most}")

    def check_clear(self, words: list[str], answer: str, moment: Moment) -> None:
        if answer != "ok":
            raise Wrong("ok")
        self.lose_all()

    def check_scan(self, words: list[str], answer: str, moment: Moment) -> None:
        if not answer.startswith("ok"):
            raise Wrong("ok ...")
        pairs = [word.partition("=") for word in answer.split()[1:]]
        seen = {decode(key): value for key, _, value in pairs}
        if len(seen) != len(pairs):
            raise Wrong("no key twice")
        prefix = decode(words[1])
        for key in {*seen, *(key for key in self.states if key.startswith(prefix))}:
            self.resolve(key, seen.get(key), moment)

    def check_multi_get(self, words: list[str], answer: str, moment: Moment) -> None:
        found = answer.split()
        if found[0] != "ok" or len(found) != len(words):
            raise Wrong("ok and a word for each key")
        for key, word in zip(words[1:], found[1:]):
            self.resolve(decode(key), None if word == "-" else word, moment)

    def check_each(self, requests: list[list[str]], answer: str, moment: Moment) -> None:
        found = answer.split()
        if found[0] != "ok" or len(found) != len(requests) + 1:
            raise Wrong("ok and a status for each")
        for request, status in zip(requests, found[1:]):
            self.check_single(request, status, moment)

    def check_multi_put(self, words: list[str], answer: str, moment: Moment) -> None:
        self.check_each([["put", *pair] for pair in zip(words[1::2], words[2::2])], answer, moment)

    def check_multi_erase(self, words: list[str], answer: str, moment: Moment) -> None:
        self.check_each([["erase", key] for key in words[1:]], answer, moment)

    def check_erase_prefix(self, words: list[str], answer: str, moment: Moment) -> None:
        prefix = decode(words[1])
        keys = [key for key in self.states if key.startswith(prefix)]
        least = sum(None not in moment.possible(self.states[key]) for key in keys)
        most = sum(moment.possible(self.states[key]) != [None] for key in keys)
        if not steps.matches(f"ok {least}..{most}", answer, {}):
            raise Wrong(f"ok {least}..{most}")
        for key in keys:
            self.settle(key, [None], moment)

    def check_apply(self, words: list[str], answer: str, moment: Moment) -> None:
        requests = " ".join(words[1:]).split(" ; ")
        status, *outcomes = answer.split(" ; ")
        if status != "ok" or len(outcomes) != len(requests):
            raise Wrong("ok and an outcome for each")
        for request, outcome in zip(requests, outcomes):
            self.check_single(request.split(), outcome, moment)
