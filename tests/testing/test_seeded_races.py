"""The tester is tested: classic mistakes are found, soon, and explained in few words; the same programs without them pass."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

import attrs
import pytest
from testing import races

from trioworkers._leaves import leaves
from trioworkers.testing import DeadlockError, Schedule, Settings, explore, search, simulate
from trioworkers.testing.simulate import STEP_COST


class Program(Protocol):
    """A program with a mistake, or without."""

    __name__: str

    def __call__(self, *, mended: bool) -> Awaitable[None]:
        """Run it."""


@attrs.frozen
class Race:
    """A mistake, and what it takes to find it.

    Args:
        program: With the mistake, and without.
        error: What it leads to.
        preemptions: How many interruptions there are in the shortest schedule that shows it.
        holds: How often that schedule is not the plain one.
        budget: In so many schedules it is found: about five times what it takes in the middle.
        step_cost: How long a step takes at most.
    """

    program: Program
    error: type[Exception]
    preemptions: int
    holds: int
    budget: int
    step_cost: float = STEP_COST

    @property
    def buggy(self) -> Callable[[], Awaitable[None]]:
        """The program with the mistake."""
        return partial(self.program, mended=False)

    @property
    def mended(self) -> Callable[[], Awaitable[None]]:
        """The program without."""
        return partial(self.program, mended=True)


RACES = [
    Race(races.lost_wakeup, DeadlockError, preemptions=1, holds=1, budget=30),
    Race(races.check_then_act, AssertionError, preemptions=1, holds=1, budget=35),
    Race(races.answer_after_cancel, AssertionError, preemptions=1, holds=1, budget=35),
    Race(races.lost_update, AssertionError, preemptions=1, holds=1, budget=20),
    Race(races.checked_once, AssertionError, preemptions=1, holds=1, budget=20),
    Race(races.opposite_locks, DeadlockError, preemptions=1, holds=1, budget=20),
    Race(races.notified_too_early, DeadlockError, preemptions=1, holds=2, budget=40),
    Race(races.leaked_semaphore, DeadlockError, preemptions=1, holds=1, budget=20),
    Race(races.late_for_the_queue, AssertionError, preemptions=1, holds=1, budget=35),
    Race(races.starved_ack, AssertionError, preemptions=0, holds=1, budget=35),
    Race(races.late_reply, AssertionError, preemptions=0, holds=0, budget=45, step_cost=4e-4),
    Race(races.late_scope, DeadlockError, preemptions=0, holds=1, budget=20),
    Race(races.begun_in_order, AssertionError, preemptions=0, holds=1, budget=20),
    Race(races.reset_after_use, DeadlockError, preemptions=2, holds=2, budget=40),
    Race(races.inverted_priorities, AssertionError, preemptions=1, holds=1, budget=60),
    Race(races.swallowed_cancel, AssertionError, preemptions=0, holds=1, budget=20),
    Race(races.published_too_early, AssertionError, preemptions=1, holds=1, budget=35),
    Race(races.there_and_back, AssertionError, preemptions=1, holds=1, budget=50),
    Race(races.reused_barrier, AssertionError, preemptions=0, holds=1, budget=25),
]
SEEDS = (0, 1000, 2000)

each_race = pytest.mark.parametrize("race", RACES, ids=lambda race: race.program.__name__)


def test_no_race_is_left_out() -> None:
    """Each mistake stands in the table once."""
    programs = {function for function in vars(races).values() if "mended" in getattr(function, "__annotations__", ())}
    assert programs == {race.program for race in RACES}
    assert len(RACES) == len(programs) == 19


@each_race
def test_by_the_plain_schedule_all_is_well(race: Race) -> None:
    """Run in the plain order, in no time, neither program fails: a test that runs them once would pass."""
    for program in (race.buggy, race.mended):
        simulate(program, schedule=Schedule()).unwrap()


@each_race
def test_the_mistake_is_found(race: Race) -> None:
    """From whatever seed, the mistake is found within the budget, and as few interruptions are left as it takes."""
    for seed in SEEDS:
        failure = search(race.buggy, settings=Settings(seed=seed, max_examples=race.budget, step_cost=race.step_cost)).failure
        assert failure is not None
        assert {type(leaf) for leaf in leaves(failure.error)} == {race.error}
        assert (failure.left, len(failure.result.schedule.holds)) == (race.preemptions, race.holds)


@each_race
def test_without_the_mistake_nothing_is_found(race: Race) -> None:
    """A hundred schedules do no harm to the mended program, and they are not all the same."""
    exploration = search(race.mended, settings=Settings(max_examples=100, step_cost=race.step_cost))
    assert (exploration.failure, exploration.examples) == (None, 100)
    assert exploration.distinct > 1


@each_race
def test_what_broke_the_one_does_no_harm_to_the_other(race: Race) -> None:
    """The schedule that shows the mistake shows it again, and is harmless once it is mended."""
    failure = search(race.buggy, settings=Settings(max_examples=race.budget, step_cost=race.step_cost)).failure
    assert failure is not None
    schedule = Schedule.from_token(failure.result.to_token())
    assert repr(simulate(race.buggy, schedule=schedule).error) == repr(failure.error)
    simulate(race.mended, schedule=schedule).unwrap()


@pytest.mark.parametrize("race", [race for race in RACES if race.holds], ids=lambda race: race.program.__name__)
def test_no_simpler_schedule_shows_it(race: Race) -> None:
    """Looking through all schedules, simplest first, one with as many interruptions and choices is the first that fails."""
    failure = search(race.buggy, settings=Settings(strategy="exhaustive", max_examples=2000)).failure
    assert failure is not None
    assert failure.strategy == "exhaustive"
    assert (failure.preemptions, len(failure.result.schedule.holds)) == (race.preemptions, race.holds)


def test_without_cost_of_steps_time_does_not_race() -> None:
    """If steps take no time, a reply after 0.999 s never meets a timeout of 1 s."""
    program = partial(races.late_reply, mended=False)
    assert search(program, settings=Settings(max_examples=100, step_cost=0)).failure is None


def test_the_report_tells_where(capsys: pytest.CaptureFixture[str]) -> None:
    """The note on the error names the task that was held, the line it was held at, and who went on."""

    @explore()
    async def test_updates() -> None:
        await races.lost_update(mended=False)

    with pytest.RaisesGroup(AssertionError, allow_unwrapped=True, flatten_subgroups=True) as caught:
        test_updates()
    line = inspect.getsourcelines(races.lost_update)[1] + 6
    assert f"one is held at add (races.py:{line}) while other runs" in caught.value.__notes__[0]
    assert capsys.readouterr().out == ""
