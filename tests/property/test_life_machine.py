"""A state machine over real workers: rules are plain synchronous code, the world is stepped in between, the model looks each time."""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from property.house import House, Op
from property.profiles import PROFILE, PROFILES

from trioworkers.testing import World

names = st.sampled_from(["a", "b", "c", "d"])
askers = st.sampled_from(["", "a", "b", "c", "d"])
targets = st.lists(names, min_size=1, max_size=3, unique=True).map(tuple)
naps = st.sampled_from([0.0, 0.25, 0.5, 1.0])
timeouts = st.sampled_from([None, None, None, 0.0, 0.25, 0.5, 2.0])
steps = st.integers(0, 12)
counts = st.sampled_from([2, 70, 70])
quick = st.sampled_from(["", "", "none", "raise", "fail", "junk"])
slow = st.sampled_from(["forever", "swallow", "slow", "early", "nested", "defer"])
bodies = st.sampled_from(["wait", "raise", "cancel", "give up", "grace", "ask for news"])


class LifeMachine(RuleBasedStateMachine):
    """Anything may be done to four or five workers at any moment; every promise holds after every step."""

    tally: ClassVar[Counter[str]] = Counter()
    number = 0

    @initialize(
        seed=st.integers(0, 2**16),
        step_cost=st.sampled_from([0.0, 0.0, 1 / 128]),
        shutdown_timeout=st.sampled_from([4.0, 1.0, 0.0, float("inf")]),
        owners=st.tuples(st.just(""), *(st.sampled_from(["", *known]) for known in ("a", "ab", "abc"))),
    )
    def begin(self, seed: int, step_cost: float, shutdown_timeout: float, owners: tuple[str, ...]) -> None:
        """A world under a schedule of its own; up to four workers, of which some are children of others."""
        self.number = 0
        self.world = World(seed, step_cost=step_cost)
        self.shutdown_timeout = shutdown_timeout
        self.owners = owners
        self.gracefully = seed % 2 == 0
        self._move_in()

    def _move_in(self) -> None:
        adds = [
            Op(verb="add", who=owner, to=(name,), n=place) for place, (owner, name) in enumerate(zip(self.owners, "abcd", strict=True))
        ]
        self.house = House(self.world, self.shutdown_timeout, adds)
        self.world.steps(40)

    def _do(self, steps: int, verb: str, **fields: Any) -> None:
        self.number += 1
        self.tally[f"rule {fields.pop('rule', verb)}"] += 1
        self.house.do(Op(verb=verb, k=self.number, **fields))
        self.world.steps(steps)
        self.house.check()

    # -- family and life ---------------------------------------------------------------------------------------------------

    @rule(
        owner=askers,
        name=st.sampled_from("abcdef"),
        start=st.sampled_from(["", "nap", "raise"]),
        n=st.integers(0, 5),
        flag=st.booleans(),
        steps=steps,
    )
    def add(self, owner: str, name: str, start: str, n: int, flag: bool, steps: int) -> None:
        """Add a worker, or adopt a child, perhaps one that cannot be."""
        self._do(steps, "add", rule="add", who=owner, to=(name,), do=start, n=n, flag=flag)

    @rule(who=names, name=names, do=st.sampled_from(["", "nap", "stay", "other"]), flag=st.booleans(), steps=steps)
    def activate(self, who: str, name: str, do: str, flag: bool, steps: int) -> None:
        """Activate, or hand over."""
        self._do(steps, "activate", who=who, to=(name,), do=do, flag=flag)

    @rule(who=names, name=names, steps=steps)
    def deactivate(self, who: str, name: str, steps: int) -> None:
        """Deactivate."""
        self._do(steps, "deactivate", who=who, to=(name,))

    @rule(who=names, to=targets, steps=steps)
    def watch(self, who: str, to: tuple[str, ...], steps: int) -> None:
        """Watch others."""
        self._do(steps, "watch", who=who, to=to)

    @rule(who=names, steps=steps)
    def stop(self, who: str, steps: int) -> None:
        """Stop one, with all below it."""
        self._do(steps, "stop", who=who)

    @rule(who=names, steps=steps)
    def end_workers(self, who: str, steps: int) -> None:
        """End one, by its owner."""
        self._do(steps, "end_workers", who=who)

    @precondition(lambda self: self.number > 8)
    @rule(who=askers, verb=st.sampled_from(["end", "cancel"]), steps=steps)
    def end(self, who: str, verb: str, steps: int) -> None:
        """End or cancel the session."""
        self._do(steps, verb, rule="end", who=who)

    @precondition(lambda self: self.number > 8)
    @rule(who=names, steps=steps)
    def crash_run(self, who: str, steps: int) -> None:
        """Crash one beside its hooks."""
        self._do(steps, "crash_run", who=who)

    @precondition(lambda self: self.number > 8)
    @rule(name=names, flag=st.booleans(), steps=steps)
    def crash_hook(self, name: str, flag: bool, steps: int) -> None:
        """Crash one in a hook."""
        self._do(steps, "post", rule="crash_hook", to=(name,), do="raise", flag=flag)

    # -- talking -----------------------------------------------------------------------------------------------------------

    @rule(
        who=askers,
        to=st.one_of(st.just(()), names.map(lambda name: (name,))),
        nap=naps,
        n=st.integers(0, 1),
        flag=st.booleans(),
        steps=steps,
    )
    def post(self, who: str, to: tuple[str, ...], nap: float, n: int, flag: bool, steps: int) -> None:
        """Send a plain message, data or system, to one or to all; its hook may take a nap."""
        self._do(steps, "post", who=who, to=to, do="nap", nap=nap, n=n, flag=flag)

    @rule(who=askers, name=names, do=st.sampled_from(["ask", "report", "end children", "stop"]), flag=st.booleans(), steps=steps)
    def post_orders(self, who: str, name: str, do: str, flag: bool, steps: int) -> None:
        """Send a message whose hook does something."""
        self._do(steps, "post", rule="post_orders", who=who, to=(name,), do=do, flag=flag)

    # -- jobs --------------------------------------------------------------------------------------------------------------

    @rule(
        who=askers,
        to=targets,
        job=st.sampled_from(["work", "queue", ""]),
        do=quick,
        nap=naps,
        timeout=timeouts,
        flag=st.booleans(),
        steps=steps,
    )
    def request(
        self, who: str, to: tuple[str, ...], job: str, do: str, nap: float, timeout: float | None, flag: bool, steps: int
    ) -> None:
        """Ask one or many, without a block."""
        self._do(steps, "request", who=who, to=to, job=job, do=do, nap=nap, timeout=timeout, flag=flag, use="iterate")

    @rule(who=names, to=targets, job=st.sampled_from(["work", "queue", ""]), do=slow, nap=naps, timeout=timeouts, steps=steps)
    def request_long(self, who: str, to: tuple[str, ...], job: str, do: str, nap: float, timeout: float | None, steps: int) -> None:
        """Ask for something that takes its time, or never ends."""
        self._do(steps, "request", rule="request_long", who=who, to=to, job=job, do=do, nap=nap, timeout=timeout)

    @rule(
        who=askers,
        to=names,
        job=st.sampled_from(["work", "queue", "nobody"]),
        do=st.one_of(quick, slow),
        nap=naps,
        timeout=timeouts,
        use=bodies,
        steps=steps,
    )
    def block(self, who: str, to: str, job: str, do: str, nap: float, timeout: float | None, use: str, steps: int) -> None:
        """Hold one job in a block, and do something in it."""
        self._do(steps, "block", who=who, to=(to,), job=job, do=do, nap=nap, timeout=timeout, use=use)

    @rule(
        who=askers,
        to=targets,
        job=st.sampled_from(["work", "queue"]),
        do=st.one_of(quick, slow),
        nap=naps,
        timeout=timeouts,
        use=bodies,
        flag=st.booleans(),
        steps=steps,
    )
    def group(  # noqa: PLR0917 - a rule has many dice
        self, who: str, to: tuple[str, ...], job: str, do: str, nap: float, timeout: float | None, use: str, flag: bool, steps: int
    ) -> None:
        """Hold a group in a block."""
        self._do(steps, "block", rule="group", who=who, to=to, job=job, do=do, nap=nap, timeout=timeout, use=use, flag=flag)

    @rule(
        who=askers,
        to=targets,
        job=st.sampled_from(["stream", "stream", "strand", "work", ""]),
        do=st.sampled_from(["", "drowsy", "raise", "updates", "burst", "slow"]),
        n=counts,
        nap=naps,
        timeout=timeouts,
        use=st.sampled_from(["iterate", "slow", "late", "break", "wait", "give up"]),
        steps=steps,
    )
    def stream(  # noqa: PLR0917 - a rule has many dice
        self, who: str, to: tuple[str, ...], job: str, do: str, n: int, nap: float, timeout: float | None, use: str, steps: int
    ) -> None:
        """Consume streams and updates: fast, slowly, late, not to the end, not at all."""
        self._do(steps, "block", rule="stream", who=who, to=to, job=job, do=do, n=n, nap=nap, timeout=timeout, use=use)

    @rule(who=askers, to=targets, n=st.integers(0, 3))
    def read_through(self, who: str, to: tuple[str, ...], n: int) -> None:
        """Read streams to their ends, at once: so that some end is seen, whatever the dice say."""
        self._do(0, "block", rule="read_through", who=who, to=to, job="stream", n=n, use="iterate")
        self.world.settle()
        self.house.check_rest()

    @rule(n=st.integers(0, 3), flag=st.booleans(), steps=steps)
    def answer(self, n: int, flag: bool, steps: int) -> None:
        """Answer what was deferred, urgently or not."""
        self._do(steps, "answer", n=n, flag=flag)

    @rule(who=names, n=st.integers(1, 3), steps=steps)
    def cancel_job(self, who: str, n: int, steps: int) -> None:
        """Give requests up."""
        self._do(steps, "cancel_job", who=who, n=n)

    @rule(who=names, steps=steps)
    def ask_news(self, who: str, steps: int) -> None:
        """Ask for news."""
        self._do(steps, "ask_news", who=who)

    # -- time --------------------------------------------------------------------------------------------------------------

    @rule(count=st.integers(1, 40))
    def step(self, count: int) -> None:
        """Go on a little."""
        self.tally["rule step"] += 1
        self.world.steps(count)
        self.house.check()

    @rule()
    def settle(self) -> None:
        """Go on until everything waits."""
        self.tally["rule settle"] += 1
        self.world.settle()
        self.house.check_rest()

    @rule(seconds=st.sampled_from([0.25, 0.5, 1.0, 2.0]))
    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.tally["rule advance"] += 1
        self.world.advance(seconds)
        self.house.check_rest()

    @precondition(lambda self: self.house.running.done)
    @rule()
    def move(self) -> None:
        """The session is over: see that nothing is left, and begin another."""
        self.tally["rule move"] += 1
        self._leave()
        self._move_in()

    def _leave(self) -> None:
        self.house.leave(gracefully=self.gracefully)
        self.tally.update(self.house.model.tally)

    def teardown(self) -> None:
        """Stop everything: nothing is left."""
        try:
            self._leave()
        finally:
            self.world.close()


EXPECTED = (
    *(f"rule {name}" for name in vars(LifeMachine) if hasattr(getattr(LifeMachine, name), "hypothesis_stateful_rule")),
    *(f"answered {status}" for status in ("completed", "failed", "error", "cancelled")),
    *("timed out", "cancelled", "credit", "window reached", "sequential", "refused while ending", "activations", "deactivations"),
    *(f"planted in {where}" for where in ("hook", "run", "start")),
    *(f"iterated {kind}" for kind in ("update", "stream_start", "stream_data", "stream_end")),
    *(f"block left with {what}" for what in ("NoneType", "JobError", "JobGroupError", "PlantedError", "Cancelled")),
    *(
        f"on_job_{hook}"
        for hook in (
            "response",
            "update",
            "update_requested",
            "completed",
            "error",
            "stream_start",
            "stream_data",
            "stream_end",
            "cancelled",
        )
    ),
    *(f"on_worker_{hook}" for hook in ("ready", "lost", "failed")),
    *("on_activated", "on_deactivated", "on_letter", "on_bell", "on_bus_message"),
)
"""What must have happened if the machine was worth running."""


def test_anything_at_any_moment() -> None:
    """L1-L6, J1-J7, B1-B5, R1, R2 hold after every step; and the run was no empty one: every rule and every way to end was seen."""
    LifeMachine.tally.clear()
    run_state_machine_as_test(LifeMachine, settings=PROFILES[PROFILE])
    missing = [what for what in EXPECTED if not LifeMachine.tally[what]]
    assert missing == ([] if PROFILE != "dev" else missing)
