"""Many schedules; the one that breaks it is shrunk and explained."""

from __future__ import annotations

import inspect
import math
import os
import re
import unittest
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
import outcome
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from testing.toys import Box, counts_of_steps, lost_wakeup, mixed, producer, step, steps
from unit.strategies import steady

from trioworkers.testing import (
    DeadlockError,
    Exploration,
    Hold,
    NondeterminismError,
    ReplayError,
    Schedule,
    Settings,
    Uniform,
    explore,
    search,
    simulate,
)
from trioworkers.testing import _search as searching
from trioworkers.testing.explore import LISTENER, kind_of

LOST = Schedule((Hold("consumer", 1, "producer"),)).to_token()


@attrs.define(eq=False)
class Account:
    """Money that is taken in two steps, and may be overdrawn so far."""

    overdraft: int = 0
    money: int = 10

    async def take(self) -> None:
        """Take ten if there are ten."""
        if self.money >= 10:
            await step()
            self.money -= 10
            assert self.money >= -self.overdraft, "overdrawn"


async def overdraw(*, takers: int = 2, overdraft: int = 0, pause: int = 0) -> None:
    """Some who take from the same account, each so many steps later than the one before."""
    account = Account(overdraft)

    async def take(pause: int) -> None:
        await steps(pause)
        await account.take()

    async with trio.open_nursery() as nursery:
        for number in range(takers):
            nursery.start_soon(take, number * pause, name="taker")


async def queue_up() -> None:
    """The same, one after the other."""
    account = Account()
    for _ in range(2):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(account.take, name="taker")
            nursery.start_soon(steps, 2)


# -- a test like any other -----------------------------------------------------------------------------------------------


@pytest.fixture
def ten() -> int:
    """A fixture."""
    return 10


@pytest.mark.parametrize("more", [1, 2])
@explore(max_examples=5)
async def test_it_is_a_test_like_any_other(ten: int, more: int, tmp_path: Any) -> None:
    """Pytest collects an explored test, with its fixtures and parameters."""
    await step()
    assert ten + more in {11, 12}
    assert tmp_path.exists()


class TestInAClass:
    """Methods are explored as well."""

    @explore(max_examples=5)
    async def test_it_is_a_method_like_any_other(self, ten: int) -> None:
        """An explored method has its instance and its fixtures."""
        await step()
        assert isinstance(self, TestInAClass)
        assert ten == 10


@steady
@given(st.integers(0, 5), st.integers(0, 5))
@explore(max_examples=3)
async def test_it_goes_inside_of_given(one: int, other: int) -> None:
    """Hypothesis gives the arguments of an explored test."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(steps, one)
        nursery.start_soon(steps, other)


def test_hypothesis_shrinks_what_it_gives() -> None:
    """A failing schedule makes an example of Hypothesis' fail, which then is made as simple as can be."""
    seen: list[int] = []

    @steady
    @given(st.integers(0, 5))
    @explore(max_examples=30)
    async def tested(takers: int) -> None:
        seen.append(takers)
        await overdraw(takers=takers)

    with pytest.RaisesGroup(AssertionError, allow_unwrapped=True, flatten_subgroups=True):
        tested()
    assert seen[-1] == 2


def test_it_keeps_its_name() -> None:
    """Name, docstring, module and parameters stay; only ``async`` is gone."""

    @explore()
    async def test_something(ten: int) -> None:
        """What it is about."""
        await step()
        assert ten

    assert test_something.__name__ == "test_something"
    assert test_something.__doc__ == "What it is about."
    assert test_something.__module__ == __name__
    assert list(inspect.signature(test_something).parameters) == ["ten"]
    assert not inspect.iscoroutinefunction(test_something)
    test_something(10)


def test_it_goes_with_unittest() -> None:
    """A ``unittest.TestCase`` runs an explored method."""

    class Case(unittest.TestCase):
        @explore(max_examples=30)
        async def test_failing(self) -> None:
            await overdraw()

        @explore(max_examples=3)
        async def test_passing(self) -> None:
            await step()

        @explore()
        async def test_skipped(self) -> None:
            raise unittest.SkipTest("not here")

    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(Case).run(result)
    assert (result.testsRun, len(result.failures) + len(result.errors), len(result.skipped)) == (3, 1, 1)


# -- how often it runs ---------------------------------------------------------------------------------------------------


def test_a_sound_program_runs_as_often_as_it_may() -> None:
    """A program that nothing breaks is run under ``max_examples`` schedules, and different courses are counted."""
    runs: list[None] = []

    async def program() -> None:
        runs.append(None)
        await queue_up()

    exploration = search(program, settings=Settings(max_examples=50))
    assert (exploration.name, exploration.examples, exploration.failure) == ("program", 50, None)
    assert 5 < exploration.distinct <= 50
    assert not exploration.exhausted
    assert len(runs) == 51  # and once more, to see whether equal runs are equal
    assert str(exploration) == f"program: 50 schedules, {exploration.distinct} distinct, no failure"
    exploration.check()


def test_a_program_without_choices_takes_one_course() -> None:
    """Of a program with one task all runs are alike."""
    assert search(steps, 3, settings=Settings(max_examples=20, strategy="uniform")).distinct <= 2


@pytest.mark.parametrize(("limit", "examples"), [(0, 1), (2, 2), (2.5, 3), (100, 10)])
def test_a_time_limit_ends_it(limit: float, examples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the time is up no further schedule is begun; one is always run."""
    clock = iter(range(1000, 1100))
    monkeypatch.setattr(searching, "wall_clock", lambda: float(next(clock)))
    exploration = search(mixed, settings=Settings(max_examples=10, time_limit=limit))
    assert exploration.examples == examples
    assert not exploration.exhausted


def test_the_plain_schedule_comes_first() -> None:
    """A program that always fails does so at once, and needs no schedule."""

    async def program() -> None:
        await step()
        raise ValueError("always")

    exploration = search(program)
    assert exploration.failure is not None
    assert (exploration.failure.example, exploration.failure.strategy) == (1, "plain")
    assert exploration.failure.result.schedule == Schedule()
    assert exploration.failure.report().splitlines() == [
        "found by schedule 1 (plain), 0 preemptions; shrunk to 0 in 3 runs:",
        "  nobody need be held",
        f'replay: @explore(replay="{Schedule().to_token()}")',
    ]
    assert str(exploration) == "program: 1 schedule, 1 distinct, failed: ValueError"


@pytest.mark.parametrize("strategy", ["portfolio", "uniform", "pos", "pct", "exhaustive"])
def test_each_strategy_finds_it(strategy: Any) -> None:
    """Whatever the strategy, the lost wakeup is found, and one interruption is left of it."""
    exploration = search(lost_wakeup, settings=Settings(strategy=strategy))
    failure = exploration.failure
    assert failure is not None
    assert isinstance(failure.error, DeadlockError)
    assert failure.result.schedule == Schedule((Hold("consumer", 1, "producer"),))
    assert failure.left == 1
    assert failure.example == exploration.examples
    assert failure.strategy in {strategy, "pos", "uniform", "pct"}


def test_another_seed_looks_elsewhere() -> None:
    """The same seed finds it with the same schedule, other seeds with others."""

    def found(seed: int) -> Any:
        failure = search(lost_wakeup, settings=Settings(seed=seed)).failure
        assert failure is not None
        return failure.example, failure.preemptions, failure.report()

    assert found(3) == found(3)
    assert len({found(seed) for seed in range(5)}) > 1


def test_what_is_told_does_not_depend_on_how_it_was_found() -> None:
    """Neither the seed nor the strategy is left in what a failure is shrunk to, if it has nothing to do with either."""
    found = [
        search(lost_wakeup, settings=Settings(seed=seed, strategy=name)).failure for seed in (1, 2) for name in ("pos", "uniform")
    ]
    assert {failure and failure.result.to_token() for failure in found} == {LOST}


def test_the_seed_stays_if_it_matters() -> None:
    """A failure that chance brings keeps its seed."""

    async def program() -> None:
        await step()
        assert os.urandom(1) < b"\xf0"

    failure = search(program, settings=Settings(max_examples=1000)).failure
    assert failure is not None
    seed = failure.result.schedule.seed
    assert seed > 0
    assert simulate(program, schedule=Schedule(seed=seed)).error is not None


def test_batches_are_what_trio_does_today() -> None:
    """With orders that trio has today, tasks that are steps apart never meet; with single steps they do."""
    program = partial(overdraw, pause=4)
    assert search(program, settings=Settings(granularity="batch", max_examples=100)).failure is None
    assert search(program, settings=Settings(granularity="step", max_examples=100)).failure is not None


# -- all there are -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("counts", [(0, 0), (1, 1), (2, 1), (1, 0, 1)])
def test_all_schedules_of_a_tiny_program(counts: tuple[int, ...]) -> None:
    """Every order of all steps comes exactly once, as many as the multinomial coefficient says, and it says so."""
    courses: list[str] = []

    async def program() -> None:
        letters: list[str] = []

        async def task(letter: str, count: int) -> None:
            letters.append(letter)
            for _ in range(count):
                await step()
                letters.append(letter)

        async with trio.open_nursery() as nursery:
            for letter, count in zip("abc", counts, strict=False):
                nursery.start_soon(task, letter, count, name=letter)
        courses.append("".join(letters))

    exploration = search(program, settings=Settings(strategy="exhaustive", preemptions=99, max_examples=1000))
    expected = math.factorial(sum(counts) + len(counts)) // math.prod(math.factorial(count + 1) for count in counts)
    assert exploration.exhausted
    assert exploration.examples == exploration.distinct == expected
    assert len(courses) == expected + 1  # the first one twice
    assert len(set(courses)) == expected
    assert str(exploration) == f"program: {expected} schedules, all there are, {expected} distinct, no failure"


def test_not_all_there_are() -> None:
    """It says that it is exhausted if the last schedule was the last one that was allowed, and not if there was another."""

    def exhausted(max_examples: int) -> bool:
        return search(counts_of_steps, 0, 0, settings=Settings(strategy="exhaustive", max_examples=max_examples)).exhausted

    assert [exhausted(count) for count in (1, 2, 3)] == [False, True, True]


def test_the_first_failure_has_fewest_preemptions() -> None:
    """No schedule with fewer preemptions breaks it, if the exhaustive strategy found none."""
    for fewer in range(2):
        settings = Settings(strategy="exhaustive", preemptions=fewer, max_examples=10_000)
        assert (search(overdraw_thrice, settings=settings).exhausted, fewer) == (True, fewer)
    failure = search(overdraw_thrice, settings=Settings(strategy="exhaustive", preemptions=5, max_examples=10_000)).failure
    assert failure is not None
    assert failure.preemptions == failure.left == 2


async def overdraw_thrice() -> None:
    """Only if two are interrupted between look and leap does it fail."""
    await overdraw(takers=3, overdraft=10)


def test_time_stands_still_in_all_schedules() -> None:
    """If it is to be every schedule, steps cost nothing: no timeout may depend on chance."""

    async def program() -> None:
        await counts_of_steps(1, 1)
        assert trio.current_time() == 0

    assert search(program, settings=Settings(strategy="exhaustive", step_cost=1)).exhausted
    assert search(program, settings=Settings(step_cost=1)).failure is not None


def test_chance_is_the_same_in_all_schedules() -> None:
    """Every schedule of one program means: what it gets by chance does not change from one to the next."""
    drawn: set[bytes] = set()

    async def program() -> None:
        drawn.add(os.urandom(8))
        await counts_of_steps(1, 1)

    assert search(program, settings=Settings(strategy="exhaustive")).exhausted
    assert len(drawn) == 1


# -- what is told --------------------------------------------------------------------------------------------------------


def raised(explored: Callable[[], object]) -> BaseException:
    """What comes out of it."""
    end = outcome.capture(explored)
    assert isinstance(end, outcome.Error)
    return end.error


def test_the_error_is_the_tests_own() -> None:
    """What the test raised is raised, groups and all, with the report as a note."""

    @explore()
    async def test_something() -> None:
        await overdraw()

    error = raised(test_something)
    assert isinstance(error, ExceptionGroup)
    assert kind_of(error) == ("AssertionError",)
    (note,) = error.__notes__
    lines = note.splitlines()
    assert re.fullmatch(r"found by schedule \d+ \(\w+\), \d+ preemptions?; shrunk to 1 in \d+ runs:", lines[0])
    assert re.fullmatch(r"  t=0\.\d{3}  taker is held at Account\.take \(test_explore\.py:\d+\) while taker#2 runs", lines[1])
    assert re.fullmatch(r'replay: @explore\(replay="[\w-]+"\)', lines[2])
    assert len(lines) == 3


def test_the_replay_fails_in_the_same_way() -> None:
    """The printed replay fails at once, in the same way, and prints itself again."""

    @explore()
    async def test_something() -> None:
        await overdraw()

    note = raised(test_something).__notes__[0]
    token = re.findall('replay="(.*)"', note)[0]
    runs: list[None] = []

    @explore(replay=token)
    async def again() -> None:
        runs.append(None)
        await test_something.__wrapped__()  # type: ignore[attr-defined]  # what @wraps leaves

    error = raised(again)
    assert len(runs) == 1
    assert kind_of(error) == ("AssertionError",)
    assert error.__notes__[0].splitlines()[1:] == note.splitlines()[1:]
    assert error.__notes__[0].startswith("found by schedule 1 (replay), 1 preemption; shrunk to 1 in 0 runs:")


def test_the_replay_of_a_mended_program_passes() -> None:
    """Once the program is mended, the schedule that broke it does no harm."""
    failure = search(overdraw).failure
    assert failure is not None

    @explore(replay=failure.result.to_token())
    async def mended() -> None:
        await queue_up()

    mended()


def test_the_replay_brings_what_the_token_does_not_know() -> None:
    """What else was not as by default is part of the line to paste."""
    settings = Settings(threads="inline", entropy="real", max_steps=5000, step_cost=0.5, seed=3, max_examples=99)
    failure = search(overdraw, settings=settings).failure
    assert failure is not None
    last = failure.report().splitlines()[-1]
    assert last.endswith('", max_steps=5000, threads="inline", entropy="real")')
    assert last.count("=") == 4

    explored = eval(last.removeprefix("replay: @"), {"explore": explore})(overdraw)  # noqa: S307 - as if pasted
    assert kind_of(raised(explored)) == ("AssertionError",)


def test_checking_twice_tells_once() -> None:
    """However often the error is raised, it has one note."""
    exploration = search(overdraw)
    assert raised(exploration.check) is raised(exploration.check)
    assert len(raised(exploration.check).__notes__) == 1


async def fail_in_two_ways() -> None:
    """Who is first decides how it fails; by the plain schedule it is a ValueError."""
    box = Box()

    async def complain() -> None:
        async with trio.open_nursery():
            await step()
            raise KeyError("too early") if not box.full else ValueError("too late")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(producer, box, name="a")
        nursery.start_soon(complain, name="b")
        nursery.start_soon(steps, 3)


def test_a_failure_inside_of_nurseries_stays_of_its_kind() -> None:
    """A program that fails in two ways is shrunk to the way it failed first: if that is not the plain one, something is left."""
    found: dict[tuple[str, ...], set[bool]] = {}
    for seed in range(8):
        first = simulate(fail_in_two_ways, strategy=Uniform(seed), seed=seed)
        failure = search(fail_in_two_ways, settings=Settings(seed=seed, strategy="uniform")).failure
        assert failure is not None
        assert isinstance(failure.error, ExceptionGroup)
        assert kind_of(failure.error) == kind_of(first.error)
        found.setdefault(kind_of(failure.error), set()).add(bool(failure.result.schedule.holds))
    assert found == {("KeyError",): {True}, ("ValueError",): {False}}


def test_kinds_of_failures() -> None:
    """Failures are of a kind if what was raised, in whatever groups, is of the same types."""
    one = ExceptionGroup("", [ValueError("a"), ExceptionGroup("", [KeyError("b"), ValueError("c")])])
    assert kind_of(one) == kind_of(ExceptionGroup("", [KeyError(), ValueError()])) == ("KeyError", "ValueError")
    assert kind_of(ValueError()) == ("ValueError",)
    assert kind_of(None) == ()


def test_what_need_not_be_held_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the schedule that failed, as few holds are left as it takes: without any one of them the program does not fail so."""
    monkeypatch.setattr(searching, "PROOF_RUNS", 0)
    lengths: list[int] = []
    for seed in range(5):
        failure = search(overdraw_thrice, settings=Settings(seed=seed, strategy="uniform")).failure
        assert failure is not None
        holds = failure.result.schedule.holds
        lengths.append(len(holds))
        for number in range(len(holds)):
            simulate(overdraw_thrice, schedule=Schedule((*holds[:number], *holds[number + 1 :]))).unwrap()
    assert 2 <= min(lengths) <= max(lengths) <= 4


def test_long_runs_are_not_repeated_for_ever() -> None:
    """The longer a run is, the fewer are spent on looking for a simpler failure."""

    async def long() -> None:
        await steps(400)
        await overdraw(takers=3, overdraft=10)

    short, longer = search(overdraw_thrice).failure, search(long, settings=Settings(strategy="pct")).failure
    assert short is not None
    assert longer is not None
    assert longer.runs < 30
    assert short.runs < 300


def test_steps_cost_nothing_if_they_need_not() -> None:
    """Of a failure that has nothing to do with time, no time is left; of one that has, it stays."""

    async def race() -> None:
        with trio.move_on_after(0.001) as scope:
            await steps(50)
        assert not scope.cancelled_caught

    timeless, timed = search(overdraw).failure, search(race).failure
    assert timeless is not None
    assert timed is not None
    assert timeless.result.schedule.step_cost == 0
    assert timed.result.schedule.step_cost == 1e-4


def test_a_failure_with_fewer_preemptions_is_looked_for() -> None:
    """If what is left has several preemptions, and another schedule breaks it with fewer, that one is told."""
    for seed in range(10):
        failure = search(overdraw_thrice, settings=Settings(seed=seed, strategy="uniform")).failure
        assert failure is not None
        assert failure.left == 2


# -- what no seed decides ------------------------------------------------------------------------------------------------


class Thing:
    """Something whose place in a set nobody knows."""

    def __init__(self, number: int) -> None:
        self.number = number


def test_the_order_of_a_set_is_noticed() -> None:
    """A program whose course depends on where objects lie in memory is told to be one, step and all."""
    kept: list[Thing] = []

    async def program() -> None:
        things = [Thing(number) for number in range(50)]
        kept.extend(things)  # so that the next run's are elsewhere
        for thing in set(things):
            await steps(thing.number % 3)
            await trio.sleep(thing.number)

    with pytest.raises(NondeterminismError, match=r"the same schedule gave two different runs from step \d+ on: ") as caught:
        search(program)
    assert "Look for the order of a set" in str(caught.value)
    assert "program at t=" in str(caught.value)


def test_what_is_kept_from_one_run_to_the_next_is_noticed() -> None:
    """A program that does something the first time only is told to be one."""
    kept: list[None] = []

    async def program() -> None:
        if not kept:
            kept.append(None)
            await step()

    with pytest.raises(NondeterminismError, match=r"from step \d+ on: program at t=\S+ / the end at t="):
        search(program)


def test_a_run_that_ends_otherwise_is_another_run() -> None:
    """Two runs that take the same course, and of which one fails, are different."""
    kept: list[None] = []

    async def program() -> None:
        kept.append(None)
        await step()
        assert len(kept) == 1

    with pytest.raises(NondeterminismError, match=r"the end at t=\S+ / the end AssertionError at t="):
        search(program)


def test_a_failure_that_does_not_come_again_is_noticed() -> None:
    """A failure that the same schedule does not bring again is told to be none of a schedule's."""
    runs: list[None] = []

    async def program() -> None:
        runs.append(None)
        await step()
        assert len(runs) != 5, "the fifth time"

    with pytest.raises(
        NondeterminismError, match=r"schedule 4 \(pct\) made it fail with AssertionError\('the fifth time.*something is kept"
    ):
        search(program)


def test_what_no_seed_decides_is_not_shrunk() -> None:
    """A thread that only some schedules ask for ends the search at once."""
    runs: list[None] = []

    async def ask_if_late(box: Box) -> None:
        if not box.full:
            await trio.to_thread.run_sync(int)

    async def program() -> None:
        runs.append(None)
        box = Box()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(producer, box)
            await steps(2)
            await ask_if_late(box)

    with pytest.raises(NondeterminismError, match="threads='inline'"):
        explore(strategy="pos")(program)()
    assert len(runs) < 200
    assert search(program, settings=Settings(strategy="pos", max_examples=len(runs), threads="inline")).failure is None


def test_an_interrupt_ends_it() -> None:
    """Ctrl-C in the middle of a run ends the search at once."""
    runs: list[None] = []

    async def program() -> None:
        runs.append(None)
        if len(runs) == 5:
            await interrupt()
        await step()

    async def interrupt() -> None:
        async with trio.open_nursery():
            await step()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(program)
    assert len(runs) == 5


def test_a_skipped_test_is_skipped() -> None:
    """``pytest.skip`` inside of an explored test skips it, without another run."""
    runs: list[None] = []

    @explore()
    async def skipped() -> None:
        runs.append(None)
        async with trio.open_nursery():
            await step()
            pytest.skip("not here")

    with pytest.raises(pytest.skip.Exception):
        skipped()
    assert len(runs) == 1


# -- wrong arguments -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "kind", "text"),
    [
        (
            {"strategy": "best"},
            ValueError,
            "strategy must be one of 'portfolio', 'uniform', 'pos', 'pct', 'exhaustive', not 'best'",
        ),
        ({"max_examples": 0}, ValueError, "max_examples must be 1 or more, not 0"),
        ({"max_examples": 2.5}, TypeError, "max_examples must be of type int, not 2.5"),
        ({"preemptions": -1}, ValueError, "preemptions must be 0 or more, not -1"),
        ({"seed": None}, TypeError, "seed must be of type int, not None"),
        ({"time_limit": -1}, ValueError, "time_limit must be zero or more seconds, not -1"),
        ({"step_cost": -0.1}, ValueError, "step_cost must be zero or more seconds, not -0.1"),
        ({"step_cost": None}, TypeError, "step_cost must be a number of seconds, not None"),
        ({"granularity": "line"}, ValueError, "granularity must be one of 'step', 'batch', not 'line'"),
        ({"max_steps": 0}, ValueError, "max_steps must be 1 or more, not 0"),
        ({"threads": "real"}, ValueError, "threads must be one of 'forbid', 'inline', not 'real'"),
        ({"entropy": "none"}, ValueError, "entropy must be one of 'seeded', 'forbid', 'real', not 'none'"),
        ({"replay": LOST, "max_examples": 3}, TypeError, "replay= runs one schedule, which decides the rest: leave out max_examples"),
        (
            {"replay": LOST, "seed": 3, "strategy": "pos"},
            TypeError,
            "replay= runs one schedule, which decides the rest: leave out strategy, seed",
        ),
        ({"replay": "x"}, ReplayError, "'x' is no replay token: copy the whole line that a failure printed"),
    ],
)
def test_wrong_arguments_are_told_at_once(wrong: dict[str, Any], kind: type[Exception], text: str) -> None:
    """A wrong argument is an error of the call, before there is anything to run."""
    with pytest.raises(kind) as caught:
        explore(**wrong)
    assert str(caught.value) == text


@pytest.mark.parametrize("wrong", [print, 3, None, lambda: None, Account(), given(st.integers())(lambda _: None)], ids=str)
def test_only_async_functions_are_explored(wrong: Any) -> None:
    """What is no async function is a TypeError when it is decorated."""
    with pytest.raises(TypeError, match=r"@explore\(\.\.\.\) decorates an async function \(under @given, if there is one\), not "):
        explore()(wrong)


def test_a_plain_function_cannot_be_searched() -> None:
    """What returns nothing to wait for is told to be no async function."""
    failure = search(print).failure  # type: ignore[arg-type]  # what is tried
    assert failure is not None
    assert str(failure.error) == "<built-in function print> is no async function: it returned None"


# -- listening -----------------------------------------------------------------------------------------------------------


def test_a_listener_is_told() -> None:
    """Whoever listens is told of every exploration, replays included."""
    heard: list[Exploration] = []
    token = LISTENER.set(heard.append)
    try:
        search(mixed, settings=Settings(max_examples=2))
        raised(explore()(overdraw))
        explore(replay=Schedule().to_token())(lost_wakeup)()
    finally:
        LISTENER.reset(token)
    assert [(exploration.name, exploration.failure is None) for exploration in heard] == [
        ("mixed", True),
        ("overdraw", False),
        ("lost_wakeup", True),
    ]
    assert str(heard[2]) == "lost_wakeup: 1 schedule, 1 distinct, no failure"
