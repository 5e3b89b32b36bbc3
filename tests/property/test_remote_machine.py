"""Some runners over one server, and anything may fail at any moment: every job ends once, everything settles when nothing fails."""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from property.profiles import PROFILE, PROFILES
from property.province import FOR_EVER, Process, Province

from trioworkers.testing import World

SETTINGS = settings(PROFILES[PROFILE], max_examples=max(10, PROFILES[PROFILE].max_examples // 2))

slots = st.integers(0, 3)
targets = st.sampled_from(["w0", "w1", "w2", "w3", "kid"])
groups = st.lists(st.sampled_from(["w0", "w1", "w2", "w3"]), min_size=2, max_size=3, unique=True).map(tuple)
naps = st.sampled_from([0.0, 0.5, 3.0, 8.0])
timeouts = st.sampled_from([0.5, 2.0, 7.0, 20.0])
steps = st.integers(0, 30)


class RemoteMachine(RuleBasedStateMachine):
    """Runners join, leave, crash, hang, are cut off; the server goes down, with and without memory; and all the while they work."""

    tally: ClassVar[Counter[str]] = Counter()
    since = 0

    @initialize(seed=st.integers(0, 2**16), count=st.integers(2, 4), window=st.sampled_from([2, 8, 1024]))
    def begin(self, seed: int, count: int, window: int) -> None:
        """A few runners are there."""
        self.window = window
        self.world = World(seed)
        self.province = Province(self.world)
        for slot in range(count):
            self.province.join(slot, window)
        self.world.advance(1)
        self._engage()

    def _engage(self) -> None:
        """Everybody asks the next for something that does not end by itself: there is always something to lose."""
        for slot in range(4):
            process = self._at(slot)
            if process is not None:
                self.province.ask(process, (f"w{(slot + 1) % 4}",), "work", {"nap": FOR_EVER}, 0.0)
        self.world.advance(0.1)

    def _after(self, steps: int, what: str) -> None:
        self.tally[what] += 1
        self.since += 1
        self.world.steps(steps)
        self.province.check()

    def _at(self, slot: int) -> Process | None:
        process = self.province.at(slot)
        return process if process is not None and process.is_there else None

    # -- coming and going --------------------------------------------------------------------------------------------------

    @rule(slot=slots, steps=steps)
    def join(self, slot: int, steps: int) -> None:
        """One joins, if its place is free."""
        self.province.join(slot, self.window)
        self._after(steps, "rule join")

    @rule(slot=slots, verb=st.sampled_from(["leave", "kill"]), steps=steps)
    def go(self, slot: int, verb: str, steps: int) -> None:
        """One leaves, or is killed."""
        process = self.province.at(slot)
        if process is not None and process.runner is not None:
            if verb == "leave":
                process.leaving.set()
            else:
                self.province.kill(process)
        self._after(steps, f"rule {verb}")

    @rule(slot=slots, verb=st.sampled_from(["pause", "resume", "cut", "mend"]), steps=steps)
    def disturb(self, slot: int, verb: str, steps: int) -> None:
        """One hangs, or is cut off, or not any more."""
        process = self.province.at(slot)
        if process is not None:
            getattr(process.bus.way, verb)()
        self._after(steps, f"rule {verb}")

    @rule(keep=st.booleans(), steps=steps)
    def server(self, keep: bool, steps: int) -> None:
        """The server goes down, or comes back."""
        server = self.province.server
        if server.is_up:
            server.crash(keep=keep)
            self.tally["memory kept" if keep else "memory lost"] += 1
        else:
            server.restart()
        self._after(steps, "rule server")

    @precondition(lambda self: self.province.server.is_up)
    @rule(lost=st.integers(0, 3), doubled=st.integers(0, 3))
    def corrupt(self, lost: int, doubled: int) -> None:
        """Some frames are lost, or come twice."""
        self.province.server.lose_next = lost
        self.province.server.double_next = doubled
        self._after(0, "rule corrupt")

    # -- working -----------------------------------------------------------------------------------------------------------

    @rule(slot=slots, to=targets, urgent=st.booleans(), count=st.sampled_from([1, 3, 30]), steps=steps)
    def write(self, slot: int, to: str, urgent: bool, count: int, steps: int) -> None:
        """One writes to another."""
        process = self._at(slot)
        if process is not None:
            self.province.write(process, to, urgent=urgent, count=count)
        self._after(steps, "rule write")

    @rule(
        slot=slots,
        names=targets.map(lambda name: (name,)) | groups,
        job=st.sampled_from(["work", "work", "pass_on"]),
        nap=naps,
        timeout=timeouts,
        steps=steps,
    )
    def ask(self, slot: int, names: tuple[str, ...], job: str, nap: float, timeout: float, steps: int) -> None:
        """One asks another, or several."""
        self._ask(slot, names, job, {"nap": nap}, timeout, steps)

    @rule(slot=slots, to=targets, count=st.sampled_from([1, 30, 150]), nap=naps, timeout=timeouts, steps=steps)
    def stream(self, slot: int, to: str, count: int, nap: float, timeout: float, steps: int) -> None:
        """One asks another for a stream."""
        self._ask(slot, (to,), "count", {"to": count, "nap": nap}, timeout, steps)

    def _ask(self, slot: int, names: tuple[str, ...], job: str, payload: dict[str, Any], timeout: float, steps: int) -> None:
        process = self._at(slot)
        if process is not None:
            self.province.ask(process, names, job, payload, timeout)
        self._after(steps, f"rule {job}")

    @rule(slot=slots, to=targets, job=st.sampled_from(["work", "pass_on"]), steps=steps)
    def ask_patiently(self, slot: int, to: str, job: str, steps: int) -> None:
        """One asks for what ends only when somebody is lost, or gives up."""
        self._ask(slot, (to,), job, {"nap": FOR_EVER}, 0.0, steps)

    @rule(number=st.integers(0, 50), steps=steps)
    def give_up(self, number: int, steps: int) -> None:
        """Whoever waits is cancelled."""
        waiting = [client for client in self.province.clients if not client.done]
        if waiting:
            waiting[number % len(waiting)].scope.cancel()
        self._after(steps, "rule give up")

    # -- time --------------------------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.001, 0.1, 1.0, 2.0, 6.0, 35.0]))
    def advance(self, seconds: float) -> None:
        """Time passes."""
        self.world.advance(seconds)
        self._after(0, "rule advance")

    @precondition(lambda self: self.since > 8)
    @rule()
    def heal(self) -> None:
        """Nothing fails for a while: everything settles."""
        self.province.heal()
        self.province.check_rest()
        self.since = 0
        self._engage()
        self._after(0, "rule heal")

    def teardown(self) -> None:
        """Everything settles, and nothing is left."""
        try:
            self.province.heal()
            self.province.check_rest()
            self.province.close()
            self.tally.update(self.province.tally)
        finally:
            self.world.close()


EXPECTED = (
    *(f"rule {name}" for name in ("join", "leave", "kill", "pause", "resume", "cut", "mend", "server", "corrupt", "write")),
    *(f"rule {name}" for name in ("work", "pass_on", "count", "give up", "advance", "heal")),
    *("memory kept", "memory lost", "read", "refused", "group completed", "group failed"),
    *("job completed", "job peer down", "job bus reset", "job given up", "job cancelled: timeout"),
)
"""What must have happened if the machine was worth running."""


def test_anything_fails_at_any_moment() -> None:
    """J1, J2, J7, B1, R1 hold across runners whatever fails; and the run was no empty one."""
    RemoteMachine.tally.clear()
    run_state_machine_as_test(RemoteMachine, settings=SETTINGS)
    missing = [what for what in EXPECTED if not RemoteMachine.tally[what]]
    assert missing == ([] if PROFILE != "dev" else missing)
