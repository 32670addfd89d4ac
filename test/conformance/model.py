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
# While all keys together take less of the memory than this, none is evicted and no write is refused.
# The rest is for size classes, which waste up to half, and for the other form of keys.
SHARE_THAT_FITS = 1 / 4
BYTES_BESIDE_VALUE = 64  # of an entry and its place in a bucket, at most
CHANGES = frozenset(
    "put insert replace erase expire append compare_exchange compare_erase increment "
    "increment_double increment_stored exchange take insert_or_get modify compute put_if "
    "erase_if".split()
)
LEASES = frozenset("lease release compute_begin compute_put compute_fail close".split())
SINGLE = CHANGES | {"get", "get_into", "exists", "ttl", "wait", "get_with_token"}


@dataclasses.dataclass(frozen=True)
class Entry:
    """A value, and between which two times of the monotonic clock it ends (infinity: never)."""

    value: bytes
    earliest: float = math.inf
    latest: float = math.inf

    def with_value(self, value: bytes) -> "Entry":
        return dataclasses.replace(self, value=value)


@dataclasses.dataclass(frozen=True)
class Lease:
    """Its holder, its number, and between which two times it ends by itself."""

    holder: str  # empty: a client that has ended, which the server may not have noticed yet
    number: int
    earliest: float
    latest: float


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
    """A map, as far as its answers have shown it. `memory` has its bytes; `eviction` is its policy."""

    def __init__(self, memory: float = math.inf, eviction: str = "none") -> None:
        self.memory, self.eviction = memory, eviction
        self.states: dict[bytes, list[State]] = {}
        # A token is of a value and its end. (Two writes in one millisecond may have equal ends.)
        self.entries_of: dict[str, Entry] = {}
        self.tokens_of: dict[Entry, str] = {}
        self.lapsed: set[bytes] = (
            set()
        )  # keys that have ended, and that the server may not have removed yet
        # The bytes that each key may have. A smaller value in a full map keeps the place of the old one.
        self.room: dict[bytes, int] = {}
        self.leases: dict[bytes, list[Lease | None]] = {}  # that a key may have (None: that it has none)
        self.last_numbers: dict[bytes, int] = {}  # of the leases of a key

    def lose_all(self) -> None:
        """The map has become empty."""
        self.states = {key: [None] for key in self.states}
        self.lapsed.clear()
        self.room.clear()

    # ---- a map that is full ----

    def is_nearly_full(self, more: int = 0) -> bool:
        """Whether the keys that may be there, and so many bytes more, can need memory that others have."""
        return more + sum(self.room.values()) > self.memory * SHARE_THAT_FITS

    def store(self, key: bytes, states: list[State]) -> None:
        """The key has one of these states now, or loses it if the map is nearly full."""
        self.states[key] = list(dict.fromkeys(states))
        if states == [None]:
            self.room.pop(key, None)
        else:
            sizes = [len(state.value) for state in states if state]
            self.room[key] = max(
                self.room.get(key, 0), len(key) + BYTES_BESIDE_VALUE + max(sizes, default=0)
            )
        self.evict()

    def can_be_evicted(self, state: State) -> bool:
        if not state or self.eviction == "none":
            return False
        return self.eviction == "clock" or state.earliest < math.inf

    def evict(self) -> None:
        """Whatever the policy allows to remove may be absent from now on, if the map is nearly full."""
        if self.eviction == "none" or not self.is_nearly_full():
            return
        for states in self.states.values():
            if None not in states and any(self.can_be_evicted(state) for state in states):
                states.append(None)

    def settle(self, key: bytes, states: list[State], moment: Moment) -> None:
        """The key has one of these states now."""
        if states != [None]:
            self.lapsed.discard(key)
        elif any(state and state.earliest <= moment.answered for state in self.of(key)):
            self.lapsed.add(key)
        self.store(key, states)

    def of(self, key: bytes) -> list[State]:
        return self.states.setdefault(key, [None])

    def check(self, request: str, answer: str, moment: Moment, client: str = "A") -> None:
        """Follows one request. Wrong if no possible state explains the answer."""
        words = request.split()
        if words[0] == "fork":
            words, client = words[1:], ""  # a child, which has ended when its answer is there
        if words[0] == "compute":
            self.check_compute(words, answer, moment)
        elif words[0] in SINGLE:
            self.check_single(words, answer, moment)
        elif words[0] == "put_async":
            before = list(self.of(decode(words[1])))
            self.check_single(["put", *words[1:]], answer, moment)
            if self.is_nearly_full():  # the server may refuse it, which the next flush reports
                self.lose_queued({decode(words[1]): before})
        elif words[0] in LEASES:
            getattr(self, f"check_{words[0]}")(words, answer, moment, client)
        else:
            getattr(self, f"check_{words[0]}")(words, answer, moment)

    def check_single(self, words: list[str], answer: str, moment: Moment) -> None:
        key = decode(words[1])
        if not key or len(key) > MOST_KEY_BYTES:
            expected = "too_large" if key else "invalid"
            if answer.split()[0] != expected:
                raise Wrong(expected)
            return
        states = moment.possible(self.of(key))
        fitting = [after for state in states for after in self.after(words, answer, state, moment)]
        if not fitting:
            expected = (single(words, state, moment, self.entries_of)[0] for state in states)
            raise Wrong(" | ".join(dict.fromkeys(expected)))
        self.settle(key, fitting, moment)
        if words[0] == "get_with_token" and answer.startswith("ok "):
            states = [state for state in self.states[key] if state]
            if len(states) == 1:
                self.learn_token(states[0], answer.split()[2])

    def after(self, words: list[str], answer: str, state: State, moment: Moment) -> list[State]:
        """The states that the key of a request can have after this answer, if it was in this state."""
        expected, made = single(words, state, moment, self.entries_of)
        is_tight = self.is_nearly_full(len(made.value) if made else 0)
        if words[0] in CHANGES and answer.split()[0] == "full" and is_tight:
            return [state]  # nothing was changed
        if not steps.matches(expected, answer, {}):
            return []
        return [made, None] if is_tight and self.can_be_evicted(made) else [made]

    def check_both(self, asked: list[tuple[str, str]], moment: Moment) -> None:
        """Two requests for one key at one time: one of the two orders must explain both answers."""
        key = decode(asked[0][0].split()[1])
        fitting: list[State] = []
        for (first, one), (second, two) in (asked, asked[::-1]):
            for state in moment.possible(self.of(key)):
                for between in self.after(first.split(), one, state, moment):
                    for state_between in moment.possible([between]):
                        fitting += self.after(second.split(), two, state_between, moment)
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
        self.store(key, before + after)

    def lose_queued(self, before: dict[bytes, list[State]]) -> None:
        """Queued writes may or may not have been applied: `before` is what their keys had."""
        for key, states in before.items():
            self.store(key, states + self.of(key))

    # ---- leases ----

    def leases_of(self, key: bytes, moment: Moment) -> list[Lease | None]:
        """The leases that the key may have now."""
        found: list[Lease | None] = []
        for lease in self.leases.get(key, [None]):
            if lease and (not lease.holder or moment.answered >= lease.earliest):
                found.append(None)
            if not lease or moment.sent <= lease.latest + TICK_SECONDS:
                found.append(lease)
        return list(dict.fromkeys(found))

    def end_client(self, client: str) -> None:
        """Its leases end as soon as the server notices."""
        for key, leases in self.leases.items():
            self.leases[key] = [
                dataclasses.replace(lease, holder="") if lease and lease.holder == client else lease
                for lease in leases
            ]

    def end_server(self) -> None:
        """A server does not know the leases of the one before it."""
        self.leases.clear()

    def can_block(self, key: bytes, moment: Moment) -> bool:
        """Whether a request that waits for the lease of the key may have to wait for long."""
        return any(
            lease and lease.holder and lease.latest > moment.answered + 1
            for lease in self.leases_of(key, moment)
        )

    def has_task(self, key: bytes, client: str, moment: Moment) -> bool:
        """Whether the client surely holds the lease of the key, and for long, and nothing but requests
        changes the key meanwhile."""
        leases = self.leases_of(key, moment)
        return (
            len(leases) == 1
            and leases[0] is not None
            and leases[0].holder == client
            and leases[0].earliest > moment.answered + 10
            and all(not state or state.earliest == math.inf for state in self.of(key))
        )

    def grant(self, key: bytes, number: str, length: str, client: str, moment: Moment) -> None:
        """A lease was given out."""
        if None not in self.leases_of(key, moment):
            raise Wrong("no lease while another one has not ended")
        least = self.last_numbers.get(key, 0) + 1
        if not number.isdecimal() or int(number) < least:
            raise Wrong(f"a number of {least} or more")
        seconds = int(length) / 1000
        self.last_numbers[key] = int(number)
        self.leases[key] = [
            Lease(client, int(number), moment.sent + seconds, moment.answered + seconds)
        ]

    def give_back(
        self, key: bytes, number: str, answer: str, client: str, moment: Moment
    ) -> None:
        """The answer to whoever ends a lease."""
        leases = self.leases_of(key, moment)
        others = [
            lease
            for lease in leases
            if not lease or not client or (lease.holder, lease.number) != (client, int(number))
        ]
        expected = ["not_found"] * bool(others) + ["ok"] * (len(others) < len(leases))
        if answer not in expected:
            raise Wrong(" | ".join(expected))
        self.leases[key] = [None] if answer == "ok" else others

    def check_lease(self, words: list[str], answer: str, moment: Moment, client: str) -> None:
        key = decode(words[1])
        held = [lease for lease in self.leases_of(key, moment) if lease]
        if answer == "already_exists" and held and len(words) == 3:  # no patience
            self.leases[key] = list(held)
        elif answer.startswith("ok "):
            self.grant(key, answer.split()[1], words[2], client, moment)
        else:
            raise Wrong("already_exists" if held and len(words) == 3 else "ok *")

    def check_release(self, words: list[str], answer: str, moment: Moment, client: str) -> None:
        self.give_back(decode(words[1]), words[2], answer, client, moment)

    def check_compute_fail(
        self, words: list[str], answer: str, moment: Moment, client: str
    ) -> None:
        self.give_back(decode(words[1]), words[3], answer, client, moment)

    def check_compute_begin(
        self, words: list[str], answer: str, moment: Moment, client: str
    ) -> None:
        key, found = decode(words[1]), answer.split()
        if len(found) != 2 or found[0] not in ("ok", "not_found"):
            raise Wrong("ok and the value, or not_found and the number of a task")
        self.resolve(key, found[1] if found[0] == "ok" else None, moment)
        if found[0] == "not_found":
            self.grant(key, found[1], words[2], client, moment)

    def check_compute_put(self, words: list[str], answer: str, moment: Moment, client: str) -> None:
        key = decode(words[1])
        self.check_single(["insert", *words[1:4]], answer, moment)
        self.leases[key] = list(
            dict.fromkeys(
                None if lease and (lease.holder, lease.number) == (client, int(words[4])) else lease
                for lease in self.leases_of(key, moment)
            )
        )

    def check_compute(self, words: list[str], answer: str, moment: Moment) -> None:
        self.check_single(words, answer, moment)
        if answer.endswith(" computed"):
            key = decode(words[1])
            if None not in self.leases_of(key, moment):
                raise Wrong("no computation while somebody holds the lease")
            self.leases[key] = [None]

    def check_close(self, words: list[str], answer: str, moment: Moment, client: str) -> None:
        if answer != "ok":
            raise Wrong("ok")
        self.end_client(client)

    def check_handover(
        self, ended: tuple[str, str, str], waited: tuple[str, str, str], moment: Moment
    ) -> None:
        """A client has ended its task while another one waited for that: requests, answers, clients.
        Whoever waits for a value gets the status of the failure, if there is one."""
        request, answer, client = ended
        if request != "kill":
            self.check(request, answer, moment, client)
        else:
            self.end_client(client)
        failure = ""
        if request.startswith("compute_fail") and answer == "ok":
            failure = request.split()[2]
        elif request.startswith("compute_put") and answer == "full":
            failure = answer
        if not waited[0].startswith("compute") or waited[1].split()[0] != failure:
            self.check(*waited[:2], moment, waited[2])

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

    def check_fill(self, words: list[str], answer: str, moment: Moment) -> None:
        prefix, value, most = decode(words[1]), b"f" * int(words[2]), int(words[3])
        status, _, count = answer.partition(" ")
        if status not in ("ok", "full") or not count.isdecimal() or not 0 <= int(count) <= most:
            raise Wrong(f"ok {most} | full 0..{most}")
        for i in range(int(count)):
            self.settle(prefix + b"%d" % i, [Entry(value)], moment)
        if (status == "ok") != (int(count) == most) or (
            status == "full" and not self.is_nearly_full(len(value))
        ):
            raise Wrong(f"ok {most}")

    def check_each(self, requests: list[list[str]], answer: str, moment: Moment) -> None:
        found = answer.split()
        if found == ["full"] and self.is_nearly_full():  # of a function that raises its first error
            for request in requests:
                self.forget(" ".join(request), moment)
            return
        refused = [status for status in found[1:] if status not in ("ok", "not_found")]
        if found[0] != (refused or ["ok"])[0] or len(found) != len(requests) + 1:
            raise Wrong("a status for all, and one for each")
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
