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
LEASES = ["30", "60", "60000", "60000"]
LONG = "60000"
# Most walks have room for all their keys; the others have a map that is full in between.
SERVERS = [processes.DEFAULT_SERVER] * 5 + [
    ["--memory", "2M", "--eviction", policy, "--workers", "1", "64"]
    for policy in ("clock", "expiring", "none")
]
SHRINK_SECONDS = 60


def servers() -> list[list[str]]:
    """The options of each server once."""
    return SERVERS[-4:]


@dataclasses.dataclass(frozen=True)
class Act:
    """One step of a walk. Kinds: ask; queue (asks, and the answer is that it is queued); cut (asks
    while the server is paused, and kills it); both (A asks this, and B the other request for the
    same key at the same time); handover (the other client waits by `other` for the task that this one
    ends by `request`); restart, takeover, stop, sleep."""

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

    def __init__(
        self, seed: int, languages: list[Language], server: list[str] | None = None
    ) -> None:
        self.random = random.Random(seed)
        self.languages = languages
        self.server = server or self.random.choice(SERVERS)

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
        if number < 29 and all(self.supports(each, "lease k 1") for each in "AB"):
            return self.handover(client)
        if number < 34 and self.server != processes.DEFAULT_SERVER:
            prefix, size = self.random.choice(["f:", "p:f"]), self.random.choice([300, 15000, 40000])
            most = {300: 100, 15000: 80, 40000: 30}[size]
            return [Act("ask", client, f"fill {prefix} {size} {most}")]
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

    def handover(self, client: str) -> list[Act]:
        """A client takes a lease or a task, and ends it while the other one waits for that."""
        key, choose = self.key(), self.random.choice
        other = "A" if client == "B" else "B"
        between = [
            Act("ask", other, f"put {key} {self.text()}"),
            Act("ask", choose("AB"), f"lease {key} {choose(LEASES)}"),
        ]
        return [
            Act("ask", client, f"erase {key}"),
            Act("ask", client, choose([f"lease {key} {LONG}", f"compute_begin {key} {LONG}"])),
            *(act for act in between if self.random.randrange(4) == 0),
            Act(
                "handover",
                client,
                choose(
                    [
                        f"release_known {key}",
                        f"compute_put_known {key} {self.text()} {choose(['forever', *TTLS])}",
                        f"compute_fail_known {key} mismatch",
                        f"compute_fail_known {key} overflow",
                        f"close {key}",
                        f"kill {key}",
                    ]
                ),
                choose(
                    [
                        f"lease {key} {LONG} {LONG}",
                        f"compute_begin {key} {LONG}",
                        f"compute {key} forever {LONG} - {self.text()}",
                    ]
                ),
            ),
        ]

    def lease(self) -> str:
        """A step of one who has a lease or a task, or wants it."""
        key, text = self.random.choice(KEYS[:2]), self.text()
        choose = self.random.choice
        return choose(
            [
                f"lease {key} {choose(LEASES)}",
                f"lease {key} {choose(LEASES)}",
                f"lease {key} {choose(LEASES)} {LONG}",
                f"fork lease {key} {choose(LEASES)}",
                f"release_known {key}",
                f"release_known {key}",
                f"fork release_known {key}",
                f"compute_begin {key} {choose(LEASES)}",
                f"compute_put_known {key} {text} {choose(['forever', *TTLS])}",
                f"compute_fail_known {key} {choose(['mismatch', 'timeout', 'internal'])}",
                "close",
            ]
        )

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
                f"replace {key} {text} keep",
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
        if number < 78:
            return f"fork {self.random.choice([self.read, self.change])()}"
        if number < 81:
            return f"put_if_known {self.key()} {self.text()}"
        if number < 83:
            return f"erase_if_known {self.key()}"
        if number < 89:
            return self.lease()
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


def memory_and_eviction(server: list[str]) -> tuple[int, str]:
    """Of the options of a server: its bytes, and what it evicts."""
    memory = int(server[server.index("--memory") + 1].removesuffix("M")) << 20
    return memory, server[server.index("--eviction") + 1] if "--eviction" in server else "none"


class Walk:
    """Executes acts with two testees on one server, and the model beside them."""

    def __init__(
        self, languages: list[Language], programs: pathlib.Path, server: list[str]
    ) -> None:
        self.languages = languages
        self.server = Server(programs, processes.private_name(), server)
        self.testees: list[Testee] = []
        self.model = Model(*memory_and_eviction(server))
        self.queued: dict[bytes, list[State]] = {}  # what the keys of queued writes had before
        self.history: list[str] = []
        self.done = 0  # acts
        if server != processes.DEFAULT_SERVER:
            self.history.append(f"server start {' '.join(server)}")

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

    def concrete_lease(self, request: str) -> str | None:
        """A request that has to do with the lease of a key, with a number, if it is to have one. None:
        there is no number, or it may have to wait."""
        now = time.monotonic()
        parts = request.split()
        at = parts.index("fork") + 1 if parts[0] == "fork" else 0
        operation, key = parts[at], words.decode(parts[at + 1])
        if operation.endswith("_known"):
            numbers = [
                lease.number for lease in self.model.leases_of(key, Moment(now, now)) if lease
            ]
            if not numbers and key not in self.model.last_numbers:
                return None
            number = str([*numbers, self.model.last_numbers[key]][0])
            return " ".join([*parts, number]).replace("_known ", " ")
        waits = operation != "lease" or len(parts) > at + 3
        return None if waits and self.model.can_block(key, Moment(now, now)) else request

    def concrete(self, request: str) -> str | None:
        """The request with a token, if it is to have one. None: the result is unknown."""
        parts = request.split()
        if any(part.startswith(("lease", "release", "compute")) for part in parts[:2]):
            return self.concrete_lease(request)
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
            self.model.end_server()
        elif act.kind in ("restart", "stop"):
            self.history += act.lines()
            self.server.kill() if act.kind == "restart" else self.server.stop()
            self.server.start([])
            self.model.end_server()
            if act.kind == "stop":
                self.model.lose_all()
        elif act.kind == "sleep":
            self.history += act.lines()
            time.sleep(0.12)
        elif act.kind == "both":
            self.ask_both(act)
        elif act.kind == "handover":
            self.hand_over(act)
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

    def hand_over(self, act: Act) -> None:
        now = time.monotonic()
        key = words.decode(act.request.split()[1])
        if not self.model.has_task(key, act.client, Moment(now, now)):
            return
        index = ord(act.client) - ord("A")
        holder, waiting = self.testees[index], self.testees[1 - index]
        request = act.request.split()[0]
        if request not in ("close", "kill"):
            request = self.concrete_lease(act.request) or ""
        other = "A" if act.client == "B" else "B"
        self.history += [f"{other}: start {act.other}", "sleep 5", f"{act.client}: {request}"]
        waiting.send(act.other)
        time.sleep(0.005)
        if request == "kill":
            holder.kill()
            self.testees[index] = Testee(self.languages[index], self.server.name)
            answer = "ok"
        else:
            answer = holder.ask(request)
            self.history[-1] += f" -> {answer}"
        got = waiting.receive()
        self.history.append(f"{other}: result -> {got}")
        self.model.check_handover(
            (request, answer, act.client), (act.other, got, other), Moment(now, time.monotonic())
        )

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
            self.model.end_server()
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
        elif act.request == "flush" and (
            answer == "closed" or (answer == "full" and self.model.is_nearly_full())
        ):
            self.model.lose_queued(self.queued)
            self.queued = {}
        else:
            self.model.check(act.request, answer, moment, act.client)
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
    drawer = Drawer(seed, languages)
    acts = drawer.draw()

    def new_walk() -> Walk:
        return Walk(languages, programs, drawer.server)

    first = new_walk()
    wrong = first.run(acts)
    if not wrong:
        return ""
    shorter = shrink(acts[: first.done], lambda fewer: bool(new_walk().run(fewer)))
    last = new_walk()
    again = last.run(shorter)
    if not again:  # it does not fail each time: the whole history is what there is
        last, again = first, wrong
    return "\n".join([*last.history, again])
