"""Random operations of two clients on one server that dies between them, beside the model.

A walk is a list of acts: (client, request), or a step of the server. It is drawn first and executed
then, so that a shorter list can be executed again: after a failure, acts are left out as long as it
still fails.
"""

import dataclasses
import pathlib
import random
import time
from collections.abc import Callable

import processes
import words
from model import Model, Moment, State, Wrong, fraction_of
from processes import Failure, Language, Server, Testee

ACTS = 250
KEYS = ["k", "key.2", "p:1", "p:2", "p:%00%FF", "12345678", "p:345678", "@1000:6C"]
TEXTS = [
    "a",
    "%",
    "abc",
    "12345678",
    "5",
    "-17",
    "05",
    "9223372036854775807",
    "$100:1",
    "$3000:2",
    "$70000:3",
    "2.5",
]
NUMBERS = ["1", "-1", "41", "9223372036854775807", "-9223372036854775808"]
FRACTIONS = ["0.5", "-0.25", "1.5"]
TTLS = ["30", "60", "100000"]
SHRINK_SECONDS = 60


@dataclasses.dataclass(frozen=True)
class Act:
    """One step of a walk. Kinds: ask; queue (asks, and the answer is that it is queued); cut (asks
    while the server is paused, and kills it); both (A asks this, and B the other request for the
    same key at the same time); restart, takeover, stop, sleep."""

    kind: str
    client: str = ""
    request: str = ""
    other: str = ""

    def lines(self) -> list[str]:
        """The act as lines of a case, without the answer."""
        if self.kind == "restart":
            return ["server kill", "server start"]
        if self.kind == "takeover":
            return ["server takeover"]
        if self.kind == "stop":
            return ["server stop", "server start"]
        if self.kind == "sleep":
            return ["sleep 120"]
        if self.kind == "cut":
            return [
                "server pause",
                f"{self.client}: start {self.request}",
                "server kill",
                "server start",
                f"{self.client}: result",
            ]
        return [f"{self.client}: {self.request}"]


class Drawer:
    """Draws the acts of a walk."""

    def __init__(self, seed: int, languages: list[Language]) -> None:
        self.random = random.Random(seed)
        self.languages = languages

    def draw(self) -> list[Act]:
        acts: list[Act] = []
        while len(acts) < ACTS:
            acts += self.some()
        return acts

    def some(self) -> list[Act]:
        """The next acts: one, or some that belong together."""
        number = self.random.randrange(100)
        client = self.random.choice("AB")
        if number < 3:
            return [Act("restart")]
        if number < 4:
            return [Act("stop")]
        if number < 6:
            return [Act("takeover")]
        if number < 8:
            return [Act("sleep")]
        if number < 10:
            return [Act("cut", client, self.supported(client, self.change))]
        if number < 20:
            return [self.both()]
        if number < 24 and self.supports(client, "flush"):
            return self.queued(client)
        acts = [Act("ask", client, self.supported(client, self.request))]
        if self.random.randrange(2) == 0:  # the other client sees what this one has done
            other = "A" if client == "B" else "B"
            keys = [word for word in acts[0].request.split() if word in KEYS] or [self.key()]
            acts.append(Act("ask", other, f"get {self.random.choice(keys)}"))
        return acts

    def supports(self, client: str, request: str) -> bool:
        language, request = self.languages[ord(client) - ord("A")], request.replace("_known ", " ")
        return not language.declaration(request) and language.is_one_call(request)

    def supported(self, client: str, draw: Callable[[], str]) -> str:
        while True:
            request = draw()
            if all(
                self.supports(client, part) for part in (request, request.removeprefix("fork "))
            ):
                return request

    def both(self) -> Act:
        """Requests for one key at one time. Each testee does these by one call."""
        key = self.key()

        def one() -> str:
            text, number = self.text(), self.random.choice(NUMBERS)
            return self.random.choice(
                [
                    f"put {key} {text}{self.ttl()}",
                    f"insert {key} {text}",
                    f"replace {key} {text}",
                    f"erase {key}",
                    f"take {key}",
                    f"append {key} {text}",
                    f"increment {key} {number}",
                    f"modify {key} {text}",
                    f"get {key}",
                ]
            )

        return Act("both", "A", self.supported("A", one), self.supported("B", one))

    def queued(self, client: str) -> list[Act]:
        """Queued writes, which nobody else interrupts until they are flushed."""
        acts = [
            Act("queue", client, f"put_async {self.key()} {self.text()}")
            for _ in range(self.random.randrange(1, 4))
        ]
        acts.append(Act("ask", client, f"get {acts[-1].request.split()[1]}"))
        between = self.random.randrange(6)
        if between < 3:
            acts.append(Act("restart" if between else "takeover"))
        return [*acts, Act("ask", client, "flush")]

    def key(self) -> str:
        return self.random.choice(KEYS)

    def text(self) -> str:
        return self.random.choice(TEXTS)

    def ttl(self) -> str:
        return self.random.choice(["", "", f" {self.random.choice(TTLS)}"])

    def change(self) -> str:
        """A change of one key."""
        key, text = self.key(), self.text()
        choose = self.random.choice
        return choose(
            [
                f"put {key} {text}{self.ttl()}",
                f"put {key} {text} keep",
                f"insert {key} {text}{self.ttl()}",
                f"replace {key} {text}{self.ttl()}",
                f"erase {key}",
                f"expire {key} {choose(TTLS)}",
                f"expire {key} forever",
                f"append {key} {text}",
                f"compare_exchange {key} {self.text()} {text}",
                f"compare_erase {key} {text}",
                f"increment {key} {choose(NUMBERS)}",
                f"increment {key} 1 {choose(['5', '-5'])} {choose(TTLS)}",
                f"increment_double {key} {choose(FRACTIONS)}",
                f"increment_stored {key} {choose(NUMBERS)}",
                f"exchange {key} {text}",
                f"take {key}",
                f"insert_or_get {key} {text}",
                f"modify {key} {text}",
                f"compute {key} {choose(['forever', *TTLS])} 60000 - {text}",
                f"put_if {key} {text} -",
            ]
        )

    def read(self) -> str:
        key = self.key()
        return self.random.choice(
            [
                f"get {key}",
                f"get {key}",
                f"exists {key}",
                f"ttl {key}",
                f"get_with_token {key}",
                f"wait {key} {self.text()} 0",
                f"wait {key} - 0",
                f"get_into {key} {self.random.choice([0, 1, 8, 100, 100_000])}",
            ]
        )

    def request(self) -> str:
        number = self.random.randrange(100)
        if number < 35:
            return self.read()
        if number < 75:
            return self.change()
        if number < 80:
            return f"fork {self.random.choice([self.read, self.change])()}"
        if number < 84:
            return f"put_if_known {self.key()} {self.text()}"
        if number < 86:
            return f"erase_if_known {self.key()}"
        keys = self.random.sample(KEYS, 3)
        return self.random.choice(
            [
                f"multi_get {' '.join(keys)}",
                f"multi_put {' '.join(f'{key} {self.text()}' for key in keys)}",
                f"multi_erase {' '.join(keys)}",
                "scan %",
                "scan p:",
                "size",
                "size",
                f"erase_prefix {self.random.choice(['p:', 'k'])}",
                self.random.choice(["clear", "size"]),
                f"get {self.random.choice(['%', '@65537:61'])}",
                f"apply put {keys[0]} {self.text()} ; get {keys[0]} ; erase {keys[1]} ; "
                f"increment {keys[2]} 1 ; append {keys[0]} {self.text()} ; "
                f"replace {keys[1]} {self.text()} ; expire {keys[2]} 100000",
            ]
        )


class Walk:
    """Executes acts with two testees on one server, and the model beside them."""

    def __init__(self, languages: list[Language], programs: pathlib.Path) -> None:
        self.languages = languages
        self.server = Server(programs, processes.private_name())
        self.testees: list[Testee] = []
        self.model = Model()
        self.queued: dict[bytes, list[State]] = {}  # what the keys of queued writes had before
        self.history: list[str] = []
        self.done = 0  # acts

    def run(self, acts: list[Act]) -> str:
        """What is wrong with the last answer of the history; empty if nothing is."""
        try:
            self.server.start([])
            self.testees = [Testee(language, self.server.name) for language in self.languages]
            for act in acts:
                self.done += 1
                self.do(act)
            self.server.stop()
            for testee in self.testees:
                testee.end()
        except (Wrong, Failure) as wrong:
            return f"expected {wrong}" if isinstance(wrong, Wrong) else str(wrong)
        finally:
            for testee in self.testees:
                testee.process.kill()
            self.server.end()
        return ""

    def concrete(self, request: str) -> str | None:
        """The request with a token, if it is to have one. None: the result is unknown."""
        parts = request.split()
        if parts[0] in ("put_if_known", "erase_if_known"):
            key = words.decode(parts[1])
            of_key = [
                self.model.tokens_of[state]
                for state in self.model.of(key)
                if state in self.model.tokens_of
            ]
            tokens = [
                token
                for token in [*of_key, *self.model.entries_of]
                if self.model.knows_result(key, token)
            ]
            return (
                " ".join([parts[0].removesuffix("_known"), *parts[1:], tokens[0]])
                if tokens
                else None
            )
        if "increment_double" in parts:
            # The model writes small numbers as the map does, and no others.
            states = self.model.of(words.decode(parts[parts.index("increment_double") + 1]))
            numbers = [fraction_of(state.value) for state in states if state]
            if any(number is not None and abs(number) > 1000 for number in numbers):
                return None
        if any(
            state and len(state.value) > 500_000
            for key in self.model.states
            for state in self.model.of(key)
        ):
            return "clear"
        return request

    def do(self, act: Act) -> None:
        if act.kind == "takeover":
            self.history += act.lines()
            self.server.takeover()
        elif act.kind in ("restart", "stop"):
            self.history += act.lines()
            self.server.kill() if act.kind == "restart" else self.server.stop()
            self.server.start([])
            if act.kind == "stop":
                self.model.lose_all()
        elif act.kind == "sleep":
            self.history += act.lines()
            time.sleep(0.12)
        elif act.kind == "both":
            self.ask_both(act)
        else:
            request = self.concrete(act.request)
            if request:
                self.ask(dataclasses.replace(act, request=request))

    def ask_both(self, act: Act) -> None:
        sent = time.monotonic()
        requests = [act.request, act.other]
        for testee, request in zip(self.testees, requests):
            testee.send(request)
        answers = [testee.receive() for testee in self.testees]
        moment = Moment(sent, time.monotonic())
        self.history += [
            f"A: start {act.request}",
            f"B: {act.other} -> {answers[1]}",
            f"A: result -> {answers[0]}",
        ]
        self.model.check_both(list(zip(requests, answers)), moment)

    def ask(self, act: Act) -> None:
        testee = self.testees[ord(act.client) - ord("A")]
        if act.kind == "queue":
            key = words.decode(act.request.split()[1])
            self.queued.setdefault(key, list(self.model.of(key)))
        if act.kind == "cut":
            self.server.pause()
        sent = time.monotonic()
        testee.send(act.request)
        if act.kind == "cut":
            time.sleep(0.01)
            self.server.kill()
            self.server.start([])
        answer = testee.receive()
        moment = Moment(sent, time.monotonic())
        self.history += act.lines()
        self.history[-1] += f" -> {answer}"
        if act.kind == "cut" and answer in ("timeout", "closed"):
            self.model.forget(act.request, moment)
            # What has timed out can be applied until a flush.
            if not testee.language.declaration("flush"):
                self.history.append(f"{act.client}: flush -> {testee.ask('flush')}")
        elif act.kind == "cut" and answer == "no_server":
            pass  # it had to connect when the server was dead: nothing was changed
        elif act.request == "flush" and answer == "closed":
            self.model.lose_queued(self.queued)
            self.queued = {}
        else:
            self.model.check(act.request, answer, moment)
        if act.request == "flush":
            self.queued = {}


def concerns(act: Act, keys: set[str]) -> bool:
    """Whether an act may have to do with these keys."""
    parts = act.request.split()
    return (
        not parts or parts[0] == "flush" or not keys.isdisjoint(parts) or not set(KEYS) & set(parts)
    )


def shrink(acts: list[Act], fails: Callable[[list[Act]], bool]) -> list[Act]:
    """A part of the acts that still fails: what concerns the keys of the last one, and of that what
    remains without halves, quarters, …"""
    deadline = time.monotonic() + SHRINK_SECONDS
    keys = set(KEYS) & set(acts[-1].request.split())
    related = [act for act in acts if concerns(act, keys)]
    if keys and fails(related):
        acts = related
    size = len(acts) // 2
    while size and time.monotonic() < deadline:
        begin = 0
        while begin < len(acts) and time.monotonic() < deadline:
            fewer = acts[:begin] + acts[begin + size :]
            if fewer and fails(fewer):
                acts = fewer
            else:
                begin += size
        size //= 2
    return acts


def walk(seed: int, languages: list[Language], programs: pathlib.Path) -> str:
    """One walk. What is wrong, with the history that leads to it; empty if nothing is."""
    acts = Drawer(seed, languages).draw()
    first = Walk(languages, programs)
    wrong = first.run(acts)
    if not wrong:
        return ""
    shorter = shrink(acts[: first.done], lambda fewer: bool(Walk(languages, programs).run(fewer)))
    last = Walk(languages, programs)
    again = last.run(shorter)
    if not again:  # it does not fail each time: the whole history is what there is
        last, again = first, wrong
    return "\n".join([*last.history, again])
