"""Many clients at once: what is found, how it is made small and told, and how it is lived again."""

from __future__ import annotations

import os
import subprocess
import sys
import unittest
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from trioworkers import testing
from trioworkers.testing import (
    DeadlockError,
    Handle,
    Hold,
    LivelockError,
    NondeterminismError,
    Operation,
    Plan,
    ReplayError,
    System,
    VacuousError,
    Verdict,
    World,
    _smaller,
    check_system,
    operation,
)
from trioworkers.testing._worlds import Laboratory
from trioworkers.testing.system import LeakError

step = trio.lowlevel.checkpoint


class Account(System):
    """Adds in two steps, and so may lose something."""

    def start(self) -> None:
        """Nothing is there."""
        self.value = self.added = 0

    @operation(range(1, 9))
    async def add(self, amount: int) -> None:
        """Add."""
        self.added += amount
        value = self.value
        await step()
        self.value = value + amount

    def check_rest(self) -> None:
        """Nothing is lost."""
        assert self.value == self.added


class SafeAccount(Account):
    """Adds in one step."""

    async def add(self, amount: int) -> None:
        """Add."""
        await step()
        self.added += amount
        self.value += amount


class Mailbox(System):
    """Who finds it empty hangs up a bell: too late, perhaps."""

    def start(self) -> None:
        """Somebody will write a letter."""
        self.letters = 0
        self.bell = trio.Event()
        self.writer = self.world.spawn(self.write, name="writer")

    async def write(self) -> None:
        """Write a letter."""
        await step()
        await step()
        self.letters += 1
        self.bell.set()

    @operation()
    async def read(self) -> None:
        """Wait for a letter."""
        if not self.letters:
            await step()
            self.bell = trio.Event()
            await self.bell.wait()


class SafeMailbox(Mailbox):
    """The bell has always been there."""

    async def read(self) -> None:
        """Wait for a letter."""
        await step()
        await self.bell.wait()


class Safes(System):
    """Two locks, taken in any order."""

    names = ("a", "b")

    def start(self) -> None:
        """Both are free."""
        self.locks = {name: trio.Lock() for name in self.names}

    def order(self, one: str, other: str) -> Iterable[str]:
        """In which they are taken."""
        return dict.fromkeys((one, other))

    @operation("names", "names")
    async def move(self, one: str, other: str) -> None:
        """Take what is in one to the other."""
        taken = [self.locks[name] for name in self.order(one, other)]
        for lock in taken:
            await lock.acquire()
        for lock in taken:
            lock.release()


class SafeSafes(Safes):
    """Taken in one order."""

    def order(self, one: str, other: str) -> Iterable[str]:
        """In which they are taken."""
        return sorted({one, other})


class Lamps(System):
    """Each lamp that is lit is a task, and the last one is forgotten."""

    forgotten: ClassVar[int] = 1

    def start(self) -> None:
        """It is dark."""
        self.lamps: list[Handle[None]] = []

    @operation()
    async def light(self) -> None:
        """Light one."""
        self.lamps.append(self.world.spawn(trio.sleep_forever, name=f"lamp{len(self.lamps)}"))

    @operation(range(3))
    async def wait(self, turns: int) -> None:
        """Do nothing."""
        for _ in range(turns):
            await step()

    def stop(self) -> None:
        """Put out all but one."""
        for handle in self.lamps[self.forgotten :]:
            handle.scope.cancel()


class SafeLamps(Lamps):
    """None is forgotten."""

    forgotten = 0


class Blink(System):
    """Is wrong for the time of a single step."""

    def start(self) -> None:
        """It is dark."""
        self.lit = False

    @operation()
    async def blink(self) -> None:
        """Light it for a step."""
        await step()
        self.lit = True
        try:
            await step()
        finally:
            self.lit = False

    def watch(self) -> None:
        """It must be dark."""
        assert not self.lit


class Picky(System):
    """Fails for one client with enough of everything, while another one is there, some time later."""

    def start(self) -> None:
        """Nobody is there."""
        self.here = 0

    @operation(range(100), ["plain", "odd", "strange"])
    async def visit(self, number: int, manner: str) -> None:
        """Come, look around, stay a while, go."""
        assert not (self.here and number >= 37 and manner != "plain" and trio.current_time() >= 0.25)
        self.here += 1
        await trio.sleep(0.5)
        self.here -= 1

    @operation(weight=3)
    async def pass_by(self) -> None:
        """Do nothing."""


# -- what is found ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "kind", "operations"),
    [
        (Account, AssertionError, ["add(1)", "add(1)"]),
        (Mailbox, DeadlockError, ["read()"]),
        (Safes, DeadlockError, ["move('a', 'b')", "move('b', 'a')"]),
        (Lamps, LeakError, ["light()"]),
        (Blink, AssertionError, ["blink()"]),
        (Picky, AssertionError, ["visit(0, 'plain')", "visit(37, 'odd') after 0.25 s"]),
    ],
)
def test_what_is_wrong_is_found_and_made_small(make: type[System], kind: type[Exception], operations: list[str]) -> None:
    """A lost update, a lost wakeup, two locks, a leak, a wrong moment: found, and shrunk to what is needed, as simple as can be."""
    broken = check_system(make).broken
    assert broken is not None
    assert type(broken.course.error) is kind
    told = [str(each).replace(f"#{each.number}", "") for each in broken.plan.operations]
    assert sorted(told) == sorted(operations)
    assert broken.plan.step_cost == 0.0
    assert broken.plan.holds is not None
    assert len(broken.plan.holds) <= 2


@pytest.mark.parametrize("make", [SafeAccount, SafeMailbox, SafeSafes, SafeLamps])
def test_what_is_right_passes(make: type[System]) -> None:
    """A system without a fault passes, whatever the seed."""
    for seed in (0, 1000):
        verdict = check_system(make, max_examples=60, seed=seed)
        verdict.check()
        assert verdict.broken is None
        assert verdict.worlds == 60
        assert set(verdict.operations) == set(make().menu())


def test_waiting_clients_are_named() -> None:
    """Clients that never finish are named, with the tree of tasks, each with the line it waits at."""
    broken = check_system(Safes).broken
    assert broken is not None
    lines = str(broken.course.error).splitlines()
    one, other = broken.plan.operations
    assert lines[0] == f"clients still wait at t=0: {one}, {other}"
    line = Safes.move.__code__.co_firstlineno + 5
    waiting = sorted(line.strip() for line in lines if "move#" in line and "@" in line)
    assert waiting == sorted(f"move#{each.number} @ Safes.move (test_check.py:{line})" for each in (one, other))


def test_a_client_that_takes_its_time_is_waited_for() -> None:
    """A client that is done before the system's patience ends is fine, and one that is not is told of."""

    class Slow(System):
        @operation()
        async def sleep(self) -> None:
            await trio.sleep(30)

    class Impatient(Slow):
        patience = 20.0

    assert check_system(Slow, max_examples=5).broken is None
    broken = check_system(Impatient, max_examples=5).broken
    assert broken is not None
    assert str(broken.course.error).startswith("clients still wait at t=0: sleep#")


def test_clients_may_go_on_until_the_end() -> None:
    """If not every operation comes to an end by itself, it must when the system is stopped."""

    class Service(System):
        finishes = False
        stops = True

        @operation()
        async def serve(self) -> None:
            await trio.sleep_forever()

        def stop(self) -> None:
            for _, handle in self.clients if self.stops else ():
                handle.scope.cancel()

    class Stubborn(Service):
        stops = False

    assert check_system(Service, max_examples=5).broken is None
    broken = check_system(Stubborn, max_examples=5).broken
    assert broken is not None
    assert type(broken.course.error) is DeadlockError


def test_a_program_that_never_rests_is_told() -> None:
    """A client that runs for ever, with or without others, is a livelock."""

    class Spinning(System):
        @operation()
        async def spin(self) -> None:
            while True:
                await step()

    broken = check_system(Spinning, max_steps=200).broken
    assert broken is not None
    assert type(broken.course.error) is LivelockError
    assert len(broken.plan.operations) == 1


def test_everything_is_looked_at() -> None:
    """A system is built, looked at between steps, at rest, when time has passed, stopped, and looked at once more, in this order."""
    log: list[str] = []

    class Diary(System):
        def start(self) -> None:
            log.append("start")

        @operation()
        async def nap(self) -> None:
            for _ in range(30):
                await step()
            await trio.sleep(1)

        def check(self) -> None:
            log.append("check")

        def check_rest(self) -> None:
            log.append(f"rest {self.world.now:g}")

        def stop(self) -> None:
            log.append("stop")

        def check_over(self) -> None:
            log.append("over")

    plan = Plan(1, (Operation(1, "nap"), Operation(2, "nap", (), 2.0)), 0.0, ())
    assert check_system(Diary, replay=plan).broken is None
    assert list(dict.fromkeys(log)) == ["start", "check", "rest 0", "rest 1", "rest 2", "rest 3", "stop", "over"]


def test_an_error_of_a_client_names_its_operation() -> None:
    """What a client raises is told with its operation, and with the report once, however often it is asked for."""

    class Rude(System):
        @operation(["what"])
        async def shout(self, word: str) -> None:
            raise LookupError(word)

    verdict = check_system(Rude)
    assert verdict.broken is not None
    (number,) = (each.number for each in verdict.broken.plan.operations)
    for _ in range(2):
        with pytest.raises(LookupError) as caught:
            verdict.check()
        assert caught.value.__notes__ == [f"raised by shout#{number}('what')", verdict.broken.report()]


def test_the_first_error_is_told() -> None:
    """What goes wrong while a broken world is closed hides nothing."""

    class Bitter(System):
        @operation()
        async def act(self) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.sulk)
                await trio.sleep_forever()

        async def sulk(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("at the end")

        def check_rest(self) -> None:
            raise KeyError("first")

    with pytest.raises(KeyError, match="first"):
        check_system(Bitter).check()
    World().close()


# -- what is told ----------------------------------------------------------------------------------------------------------

REPORT = """\
found in world {world}; shrunk to 2 operations, 1 preemption in {runs} runs:
  add#1(1)
  add#2(1)
  t=0.000  {held} is held at Account.add (test_check.py:{line}) while {run} runs
  t=0.000  seen after step {step}, which was {held}'s
replay: the same call, with replay=Plan({world}, {operations}, holds=(Hold('{held}', 2, '{run}'),))"""


def test_the_report_is_short_and_exact() -> None:
    """The report says which operations are needed, who is held where while whom runs, when it was seen, and how to see it again."""
    verdict = check_system(Account, length=2)
    assert verdict.broken is not None
    (switch,) = verdict.broken.course.switches
    report = REPORT.format(
        world=verdict.worlds,
        runs=verdict.broken.runs,
        held=switch.held,
        run=switch.run,
        operations="(Operation(1, 'add', (1,)), Operation(2, 'add', (1,)))",
        line=Account.add.__code__.co_firstlineno + 5,
        step=len(verdict.broken.course.trace),
    )
    with pytest.raises(AssertionError) as caught:
        verdict.check()
    assert caught.value.__notes__ == [report]


def test_a_wrong_moment_is_told_with_its_step() -> None:
    """What ``watch`` sees after a single step is told with that step: its number, its task and its time."""
    broken = check_system(Blink).broken
    assert broken is not None
    (number,) = (each.number for each in broken.plan.operations)
    last = broken.course.trace[-1]
    assert (last.label, broken.course.steps) == (f"blink#{number}", len(broken.course.trace))
    assert f"  t=0.000  seen after step {broken.course.steps}, which was blink#{number}'s" in broken.report().splitlines()


def test_a_course_can_be_drawn() -> None:
    """The course of a world that failed is a picture: who took how many steps when, and where that left it."""
    broken = check_system(Blink).broken
    assert broken is not None
    line = Blink.blink.__code__.co_firstlineno + 6
    assert broken.course.picture().splitlines()[-1].endswith(f"waits at Blink.blink (test_check.py:{line})")


def test_a_cost_of_steps_that_matters_is_told() -> None:
    """If it fails only when steps take time, the report says so, and the world to replay has it."""

    class Hurried(System):
        @operation()
        async def hurry(self) -> None:
            await step()

        def check_rest(self) -> None:
            assert self.world.now % 0.25 == 0

    broken = check_system(Hurried, step_cost=0.125).broken
    assert broken is not None
    assert "  each step takes up to 0.125 s" in broken.report().splitlines()
    assert "step_cost=0.125" in broken.replay()


def test_a_verdict_is_told_in_a_line() -> None:
    """A verdict as text says how many worlds and steps, what was found, and how often what was done, and excused."""
    verdict = Verdict(2, 1, {"put": 3, "get": 1}, None, {"put": 2})
    assert str(verdict) == "2 worlds, 1 step, no failure; get 1, put 3 (2 excused)"
    verdict = check_system(Account)
    assert str(verdict) == f"1 world, {verdict.steps} steps, failed: AssertionError; add {verdict.operations['add']}"


# -- seeds -----------------------------------------------------------------------------------------------------------------

PROGRAM = """\
import test_check
from trioworkers.testing import check_system
for make in test_check.Account, test_check.Mailbox, test_check.Picky, test_check.SafeSafes:
    verdict = check_system(make, max_examples=40, seed=3)
    print(verdict, verdict.broken and verdict.broken.report())
"""


def test_the_same_seed_gives_the_same_verdict_everywhere() -> None:
    """The verdict, report included, is the same in fresh processes with other hash seeds."""
    told = []
    for hash_seed in ("0", "1", "4711"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(Path(__file__).parent)}
        run = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)  # noqa: S603 - ours
        told.append(run.stdout)
    assert told[0].count("found in world") == 3
    assert told[0].count("no failure") == 1
    assert told[0] == told[1] == told[2]


def test_other_seeds_look_elsewhere() -> None:
    """Another seed draws other worlds; the seeds of the worlds of one call follow each other."""
    drawn = [check_system(SafeAccount, max_examples=10, seed=seed).operations["add"] for seed in range(0, 60, 10)]
    assert len(set(drawn)) > 3
    broken = check_system(Picky).broken
    assert broken is not None
    again = check_system(Picky, seed=broken.world - 1, max_examples=1).broken
    assert again is not None
    assert again.plan == broken.plan


@pytest.mark.parametrize("length", [1, 2, 3])
def test_there_are_as_many_operations_as_asked_for(length: int) -> None:
    """A world has at most ``length`` operations, and at least two if that many are allowed."""

    class Counting(SafeAccount):
        counts: ClassVar[set[int]] = set()

        def check_over(self) -> None:
            self.counts.add(len(self.clients))

    Counting.counts = set()
    assert check_system(Counting, max_examples=30, length=length).broken is None
    assert Counting.counts == set(range(min(2, length), length + 1))


@pytest.mark.parametrize("seed", range(12))
def test_what_a_strategy_did_can_be_followed(seed: int) -> None:
    """Whatever strategy decided on a world, its holds alone give the same course again."""
    laboratory = Laboratory(Safes, 1, 12, 0, 5000, 1 / 128)
    plan = laboratory.plan(seed)
    course = laboratory.live(plan)
    again = laboratory.live(attrs.evolve(plan, holds=course.schedule.holds))
    assert again.trace == course.trace
    assert again.schedule == course.schedule
    assert type(again.error) is type(course.error)


# -- living again ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [Account, Mailbox, Safes, Lamps, Blink, Picky])
def test_a_broken_world_can_be_pasted(make: type[System]) -> None:
    """What the report says to paste is Python, and gives the same world again, which is told without any search."""
    broken = check_system(make).broken
    assert broken is not None
    line = broken.report().splitlines()[-1]
    arguments = eval(f"dict({line.removeprefix('replay: the same call, with ')})", vars(testing))  # noqa: S307 - ours
    assert arguments == {"replay": broken.plan}
    verdict = check_system(make, max_examples=1000, seed=99, **arguments)
    again = verdict.broken
    assert again is not None
    assert (verdict.worlds, again.world, again.runs, again.plan) == (1, 0, 0, broken.plan)
    assert again.course.trace == broken.course.trace
    assert type(again.course.error) is type(broken.course.error)
    assert again.report().splitlines()[1:] == broken.report().splitlines()[1:]
    assert again.report().splitlines()[0].startswith("replayed: ")


def test_a_mended_system_passes_the_replay() -> None:
    """A world that was broken passes when the fault is mended, and is not vacuous."""
    broken = check_system(Account).broken
    assert broken is not None
    check_system(SafeAccount, replay=broken.plan).check()


def test_a_plan_can_be_written_by_hand() -> None:
    """A plan without holds is lived under the schedule of its seed; which is the same each time."""
    plans = [Plan(seed, (Operation(1, "add", (1,)), Operation(2, "add", (2,)))) for seed in range(20)]
    found = [[check_system(Account, replay=plan).broken is None for plan in plans] for _ in range(2)]
    assert found[0] == found[1]
    assert {*found[0]} == {True, False}


numbers = st.integers() | st.floats(allow_nan=False)
arguments = st.recursive(
    numbers | st.text() | st.none() | st.booleans() | st.binary(),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(numbers, inner),
    max_leaves=5,
)
operations = st.builds(Operation, st.integers(1), st.text(), st.lists(arguments).map(tuple), st.sampled_from([0.0, 0.25, 1.0]))
plans = st.builds(
    Plan,
    st.integers(),
    st.lists(operations).map(tuple),
    st.floats(0, allow_infinity=False),
    st.none() | st.lists(st.builds(Hold, st.text(), st.integers(0), st.text())).map(tuple),
)


@settings(max_examples=50, deadline=None)
@given(plans)
def test_a_plan_as_source_is_the_plan(plan: Plan) -> None:
    """The source of a plan is Python that makes an equal one."""
    assert eval(plan.source(), vars(testing)) == plan  # noqa: S307 - ours


def test_what_has_no_source_is_found_again_by_its_seed() -> None:
    """If an argument cannot be written down as Python, the seed of the world is told instead, and finds it again."""

    class Odd(System):
        @operation([object()])
        async def take(self, what: object) -> None:
            raise LookupError(f"not {type(what).__name__}")

    broken = check_system(Odd, seed=5).broken
    assert broken is not None
    assert broken.replay() == "seed=5, max_examples=1"
    again = check_system(Odd, seed=5, max_examples=1).broken
    assert again is not None
    assert str(again.course.error) == str(broken.course.error)


def test_what_cannot_be_replayed_is_told() -> None:
    """A plan of another system, or what is no plan, is an error at the call."""
    with pytest.raises(ReplayError) as caught:
        check_system(Mailbox, replay=Plan(1, (Operation(1, "read"), Operation(2, "add", (1,)))))
    assert str(caught.value) == "Mailbox has no operation 'add'"
    with pytest.raises(TypeError, match="replay must be a Plan, not 'eNq'"):
        check_system(Mailbox, replay="eNq")  # type: ignore[arg-type]  # that is the test


@pytest.mark.parametrize(
    ("values", "kind", "text"),
    [
        (("1", ()), TypeError, "seed must be of type int, not '1'"),
        ((1, [Operation(1, "add")]), TypeError, "operations must be of type tuple, not "),
        ((1, ("add",)), TypeError, "operations must be of type Operation, not 'add'"),
        ((1, (), -1.0), ValueError, "step_cost must be zero or more seconds, not -1.0"),
        ((1, (), 0.0, ("add",)), TypeError, "holds must be of type Hold, not 'add'"),
    ],
)
def test_a_wrong_plan_is_not_made(values: tuple[Any, ...], kind: type[Exception], text: str) -> None:
    """A plan that could not be lived is told where it is written."""
    with pytest.raises(kind) as caught:
        Plan(*values)
    assert str(caught.value).startswith(text)


# -- wrong calls -----------------------------------------------------------------------------------------------------------


class Nothing(System):
    """Nothing can be done to it."""


class Empty(Account):
    """Has nothing to draw from."""

    @operation([0], ())
    async def add(self, amount: int, more: int = 0) -> None:
        """Add."""


class Odd(Account):
    """Expects what cannot be expected."""

    expected = (ExceptionGroup,)


class Bare(Account):
    """Expects something that is no tuple."""

    expected = ValueError  # type: ignore[assignment]  # that is the test


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda: check_system(Account, max_examples=0), ValueError, "max_examples must be 1 or more, not 0"),
        (lambda: check_system(Account, max_examples="9"), TypeError, "max_examples must be of type int, not '9'"),  # type: ignore[arg-type]  # that is the test
        (lambda: check_system(Account, length=0), ValueError, "length must be 1 or more, not 0"),
        (lambda: check_system(Account, max_steps=0), ValueError, "max_steps must be 1 or more, not 0"),
        (lambda: check_system(Account, step_cost=-1), ValueError, "step_cost must be zero or more seconds, not -1"),
        (lambda: check_system(Account, seed="1"), TypeError, "seed must be of type int, not '1'"),  # type: ignore[arg-type]  # that is the test
        (lambda: check_system(7), TypeError, "make must make a system, often it is the class itself; not 7"),  # type: ignore[arg-type]  # as above
        (lambda: check_system(dict), TypeError, "make() must return a System, not {}"),  # type: ignore[arg-type]  # as above
        (
            lambda: check_system(Nothing),
            TypeError,
            "Nothing has no operations: mark async methods of it with @operation(...)",
        ),
        (
            lambda: check_system(Empty),
            ValueError,
            "Empty.add can never be done: its argument 2 has nothing to be drawn from; @operation(weight=0) takes it off the menu",
        ),
        (
            lambda: check_system(Odd),
            TypeError,
            "Odd.expected must be a tuple of exceptions that are no groups, not (<class 'ExceptionGroup'>,)",
        ),
        (
            lambda: check_system(Bare),
            TypeError,
            "Bare.expected must be a tuple of exceptions that are no groups, not <class 'ValueError'>",
        ),
        (lambda: check_system(Account, must=("add", "subtract")), ValueError, "must: Account has no operation 'subtract'"),
    ],
)
def test_a_wrong_call_is_a_clear_error(call: Callable[[], object], kind: type[Exception], text: str) -> None:
    """What cannot be checked is told at the call, before any world is run."""
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == text


def test_what_cannot_be_made_is_not_tested() -> None:
    """An error in making the system is raised as it is."""

    def make() -> System:
        raise OSError("no such thing")

    with pytest.raises(OSError, match="no such thing") as caught:
        check_system(make)
    assert not hasattr(caught.value, "__notes__")


# -- vacuity ---------------------------------------------------------------------------------------------------------------


class Shop(System):
    """Sells; ``order`` is never drawn, and ``pay`` never works."""

    expected = (LookupError,)

    def draw(self, rng: Any, number: int) -> Operation:
        """All but one."""
        return Operation(number, rng.choice(["sell", "pay"]))

    @operation()
    async def sell(self) -> None:
        """Sell."""

    @operation()
    async def pay(self) -> None:
        """Pay."""
        raise LookupError

    @operation()
    async def order(self) -> None:
        """Order."""


def test_a_check_of_nothing_is_vacuous() -> None:
    """An operation that was never drawn in many worlds is told."""
    verdict = check_system(Shop, max_examples=100)
    assert verdict.broken is None
    assert verdict.idle == ("order",)
    assert verdict.excused == {"pay": verdict.operations["pay"]}
    with pytest.raises(VacuousError) as caught:
        verdict.check()
    assert str(caught.value) == "100 worlds passed, but these operations never did anything: 'order' (never drawn)"


def test_a_few_worlds_prove_nothing() -> None:
    """In a few worlds, in which chance may leave something out, nothing is vacuous."""
    check_system(Shop, max_examples=5).check()


def test_what_must_be_done_can_be_said() -> None:
    """What must be done can be said: then that, and only that, without raising what is expected, however few worlds there are."""
    check_system(Shop, max_examples=100, must=["sell"]).check()
    verdict = check_system(Shop, max_examples=5, must=["order", "pay", "sell"])
    paid = verdict.operations["pay"]
    with pytest.raises(VacuousError) as caught:
        verdict.check()
    assert str(caught.value) == (
        "5 worlds passed, but these operations never did anything: 'order' (never drawn), "
        f"'pay' (drawn {paid} times, always raised what is expected)"
    )


def test_how_often_each_operation_was_done_is_told() -> None:
    """The verdict counts each operation that was drawn."""
    verdict = check_system(Lamps, max_examples=1)
    assert sum(verdict.operations.values()) >= 2
    assert set(verdict.operations) <= {"light", "wait"}


# -- what is no failure ----------------------------------------------------------------------------------------------------


class Interrupted(Account):
    """Is interrupted when it is looked at."""

    error: ClassVar[BaseException] = KeyboardInterrupt()

    def check_rest(self) -> None:
        """Not now."""
        raise self.error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), unittest.SkipTest("not here")])
def test_what_stops_the_test_goes_through(error: BaseException) -> None:
    """An interrupt, an exit or a skipped test is no failure: it goes through as it is, and the world is closed."""
    Interrupted.error = error
    with pytest.raises(type(error)) as caught:
        check_system(Interrupted)
    assert caught.value is error
    assert not hasattr(error, "__notes__")
    World().close()


def test_an_interrupt_of_a_client_goes_through() -> None:
    """What stops the test goes through, too, if it comes out of an operation."""

    class Impulsive(System):
        @operation()
        async def stop_all(self) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_system(Impulsive)
    World().close()


def test_a_failure_that_pytest_tells_is_one() -> None:
    """``pytest.fail`` in a look at the system is a failure, and is made small."""

    class Failing(Account):
        def check_rest(self) -> None:
            pytest.fail("as told")

    verdict = check_system(Failing)
    assert verdict.broken is not None
    assert verdict.broken.plan.operations == ()
    with pytest.raises(pytest.fail.Exception, match="as told"):
        verdict.check()


# -- what is not reproducible ----------------------------------------------------------------------------------------------


@pytest.fixture
def kept() -> Iterator[list[int]]:
    """Something that is kept from one world to the next."""
    kept: list[int] = []
    yield kept
    assert kept


def test_a_world_that_differs_from_itself_is_told(kept: list[int]) -> None:
    """A system that keeps something from one world to the next, and goes another way then, is told as such."""

    class Growing(System):
        @operation()
        async def grow(self) -> None:
            kept.append(1)
            for _ in range(len(kept) % 7):
                await step()

    with pytest.raises(
        NondeterminismError, match=r"^the same world took two different courses from step \d+ on: grow#\d+ at t=\S+ / "
    ):
        check_system(Growing, step_cost=0.0)


def test_a_failure_that_cannot_be_had_again_is_told(kept: list[int]) -> None:
    """A world that fails, and then does not, is told as such, with what it raised."""

    class Once(System):
        @operation()
        async def fail(self) -> None:
            kept.append(1)
            if len(kept) == 1:
                raise LookupError("once")

    with pytest.raises(NondeterminismError) as caught:
        check_system(Once)
    assert str(caught.value) == (
        "world 1 (seed 1) failed with LookupError('once'), and then did not: something is kept between worlds"
    )
    assert isinstance(caught.value.__cause__, LookupError)


@pytest.mark.parametrize("limit", ["RUNS", "EFFORT"])
def test_making_small_has_an_end(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When too many runs, or steps, have been spent on it, a failure is told as it then is."""
    monkeypatch.setattr(_smaller, limit, 0)
    broken = check_system(Account).broken
    assert broken is not None
    assert broken.runs <= 1
    assert len(broken.plan.operations) > 2
    assert type(broken.course.error) is AssertionError


def test_simpler_ones_may_go_round_in_circles(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ``simpler`` of one's own that never comes to an end is given up on."""
    monkeypatch.setattr(_smaller, "RUNS", 200)

    class Turning(Account):
        def simpler(self, operation: Operation) -> Iterable[Operation]:
            yield attrs.evolve(operation, args=(operation.args[0] % 8 + 1,))

    broken = check_system(Turning).broken
    assert broken is not None
    assert len(broken.plan.operations) == 2
