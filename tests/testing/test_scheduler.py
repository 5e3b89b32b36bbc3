"""The schedule of a run while it runs: labels, ages, fairness, and how long steps take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import trio

from trioworkers.testing import Follow, Hold, Pct, Plain, Pos, Strand, Strategy, Uniform, World, simulate
from trioworkers.testing._choice import use_hook
from trioworkers.testing._gate import GateHook
from trioworkers.testing._hook import Hook, SwitchHook
from trioworkers.testing._scheduler import FAIRNESS
from trioworkers.testing.schedule import Granularity

step = trio.lowlevel.checkpoint


async def steps(count: int) -> None:
    """So many checkpoints."""
    for _ in range(count):
        await step()


async def crowd(*counts: int) -> None:
    """Tasks named a, b, c that do so many checkpoints each."""
    async with trio.open_nursery() as nursery:
        for name, count in zip("abcdef", counts, strict=False):
            nursery.start_soon(steps, count, name=name)


class Choosing(Strategy):
    """Does what a function says, and keeps what it was asked."""

    def __init__(self, choose: Callable[[Sequence[Strand], int], int] = lambda due, default: default) -> None:
        self._choose = choose
        self.asked: list[tuple[list[str], int, bool]] = []

    def choose(self, runnable: Sequence[Strand], default: int, *, preempts: bool) -> int:
        """What the function says."""
        self.asked.append(([strand.label for strand in runnable], default, preempts))
        return self._choose(runnable, default)


def labels(program: Callable[..., Any], *args: Any, **how: Any) -> list[str]:
    """Who took the steps of a run, without trio's own tasks."""
    result = simulate(program, *args, **how)
    result.unwrap()
    return [each.label for each in result.trace if not each.label.startswith("<")]


# -- labels ----------------------------------------------------------------------------------------------------------------


def test_tasks_of_one_name_are_numbered() -> None:
    """The second task of a name is ``name#2``, and a number is not given again when its task has ended."""

    async def generations() -> None:
        for _ in range(2):
            async with trio.open_nursery() as nursery:
                for _ in range(2):
                    nursery.start_soon(steps, 0)

    assert sorted(set(labels(generations))) == ["generations", "steps", "steps#2", "steps#3", "steps#4"]


def test_no_two_tasks_have_the_same_label() -> None:
    """A task that is named like another one's label gets another number."""

    async def look_alikes() -> None:
        async with trio.open_nursery() as nursery:
            for name in ("a", "a#2", "a", "a#2", "a"):
                nursery.start_soon(steps, 0, name=name)

    assert sorted(set(labels(look_alikes))) == ["a", "a#2", "a#2#2", "a#3", "a#4", "look_alikes"]


# -- the plain schedule ----------------------------------------------------------------------------------------------------


def test_plain_goes_on_with_who_runs() -> None:
    """By the plain schedule a task runs until it waits, then the oldest that is due goes on; of one age, by name."""

    async def start() -> None:
        async with trio.open_nursery() as nursery:
            for name in "cab":
                nursery.start_soon(steps, 1, name=name)

    assert labels(start, strategy=Plain()) == ["start", "a", "a", "b", "b", "c", "c", "start"]


def test_a_strategy_is_asked_about_the_programs_choices_only() -> None:
    """It hears who is due, oldest first, who would go on, and whether that one is just running; not of how a world comes up."""
    strategy = Choosing()
    result = simulate(crowd, 1, 1, strategy=strategy)
    assert strategy.asked == [(["a", "b"], 0, False), (["a", "b"], 0, True)]
    assert result.choices == 2


def test_a_round_takes_everyone() -> None:
    """With granularity ``batch`` all that are due take one step each, in any order, before anyone takes a second."""
    strategy = Choosing(lambda due, _: len(due) - 1)
    assert labels(crowd, 1, 1, 1, strategy=strategy, granularity="batch") == ["crowd", *"cba", *"cba", "crowd"]
    assert [asked for asked, _, _ in strategy.asked] == [["a", "b", "c"], ["a", "b"]] * 2


def test_a_switch_tells_who_was_held_where() -> None:
    """What a strategy does otherwise than the plain schedule is noted: who was held before which step, where, and who ran instead."""
    result = simulate(crowd, 2, 2, strategy=Follow([Hold("a", 0, "b"), Hold("b", 2, "a")]), step_cost=0.5, seed=1)
    assert result.schedule.holds == (Hold("a", 0, "b"), Hold("b", 2, "a"))
    first, second = result.switches
    assert (first.held, first.run, first.place, first.preempts) == ("a", "b", None, False)
    assert (second.held, second.run, second.preempts) == ("b", "a", True)
    assert str(second.place).startswith("steps (test_scheduler.py:")
    for switch in result.switches:
        assert result.trace[switch.step].label == switch.run
        assert result.trace[switch.step].time == switch.time


def test_a_step_tells_where_its_task_stands() -> None:
    """Each step knows its task's line after it; the last one has none, for then it has ended."""
    result = simulate(crowd, 2)
    mine = [each for each in result.trace if each.label == "a"]
    assert [each.place is None for each in mine] == [False, False, True]
    assert len({each.place for each in mine}) == 2


# -- fairness --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hook", [SwitchHook, GateHook])
@pytest.mark.parametrize("granularity", ["step", "batch"])
@pytest.mark.parametrize(
    "strategy",
    [Plain(), Uniform(1), Pos(1), Pct(1), Choosing(lambda due, _: 0), Choosing(lambda due, _: len(due) - 1)],
    ids=["plain", "uniform", "pos", "pct", "first", "last"],
)
def test_nobody_is_starved(strategy: Strategy, granularity: Granularity, hook: type[Hook]) -> None:
    """A task that never rests does not keep another one from its steps, whatever the strategy."""
    done: list[str] = []

    async def spin(name: str) -> None:
        while len(done) < 2:
            await step()
        done.append(name)

    async def work() -> None:
        await steps(3)
        done.append("work")

    async def rivals() -> None:
        async with trio.open_nursery() as nursery:
            for name in ("a", "z"):
                nursery.start_soon(spin, name, name=name)
            for name in ("b", "y"):
                nursery.start_soon(work, name=name)

    use_hook(hook)
    try:
        result = simulate(rivals, strategy=strategy, granularity=granularity, max_steps=10_000)
    finally:
        use_hook(None)
    result.unwrap()
    assert result.steps < 4 * 4 * 4 * FAIRNESS


def test_how_often_a_task_is_overtaken() -> None:
    """A task whose step is due is overtaken at most a fixed number of times for each one that is due."""
    taken = labels(crowd, 3 * FAIRNESS, 1, strategy=Plain())
    assert taken.index("b") - taken.index("a") == 2 * FAIRNESS


# -- time ------------------------------------------------------------------------------------------------------------------


def costs(result: Any) -> dict[tuple[str, int], float]:
    """How long each step took: by whose it was and which."""
    found: dict[tuple[str, int], float] = {}
    count: dict[str, int] = {}
    for one, following in zip(result.trace, [*result.trace[1:], None], strict=True):
        number = count[one.label] = count.get(one.label, -1) + 1
        found[one.label, number] = (result.now if following is None else following.time) - one.time
    return found


def test_a_steps_cost_is_its_own() -> None:
    """How long a step takes depends on the seed, on whose it is and which, not on the schedule; trio's own take no time."""
    one, other = (costs(simulate(crowd, 5, 5, 5, seed=3, step_cost=1.0, strategy=strategy)) for strategy in (Pos(1), Uniform(2)))
    assert one == pytest.approx(other)
    seeded = costs(simulate(crowd, 5, 5, 5, seed=4, step_cost=1.0, strategy=Pos(1)))
    assert one != pytest.approx(seeded)
    assert all(cost == 0 for (label, _), cost in one.items() if label.startswith("<"))
    mine = [cost for (label, _), cost in one.items() if not label.startswith("<")]
    assert all(0 <= cost < 1 for cost in mine)
    assert 0.2 < sum(mine) / len(mine) < 0.8


def test_a_round_takes_the_time_of_all() -> None:
    """With granularity ``batch`` the steps of a round begin together, and the next round when the time of all of them is over."""
    step_wise = simulate(crowd, 1, 1, seed=3, step_cost=1.0)
    rounds = simulate(crowd, 1, 1, seed=3, step_cost=1.0, granularity="batch")
    times = [each.time for each in rounds.trace if each.label in ("a", "b")]
    assert times[0] == times[1] < times[2] == times[3]
    assert rounds.now == pytest.approx(step_wise.now)


def test_a_world_begins_at_zero() -> None:
    """How a world comes up takes no time, whatever steps cost."""
    with World(step_cost=1.0) as world:
        assert world.now == 0
        world.run(steps, 1)
        assert world.now > 0
