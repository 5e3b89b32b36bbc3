"""Who runs next: the character of each strategy."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, cast

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from testing.toys import counts_of_steps
from unit.strategies import steady

from trioworkers.testing import Follow, Hold, Pct, Plain, Pos, Strand, Strategy, Uniform, simulate
from trioworkers.testing.strategies import LENGTH, Exhaustive, Name, exhaustive, strategies

NOBODY = cast("trio.lowlevel.Task", None)


def strands(count: int) -> list[Strand]:
    """Tasks that are due, called a, b, c."""
    return [Strand("abcdefgh"[number], (0, "abcdefgh"[number], 1), NOBODY) for number in range(count)]


def chosen(strategy: Strategy, count: int, times: int) -> list[int]:
    """Whom it chooses among ``count`` tasks of which each has always a next step."""
    due = strands(count)
    return [strategy.choose(due, 0, preempts=True) for _ in range(times)]


@attrs.define
class Game:
    """Tasks with so many steps each, without trio: the plain rule, and a strategy that may overrule it."""

    left: dict[str, int]
    preemptions: int = 0
    odd: int = 0

    def play(self, strategy: Strategy) -> str:
        """Who took a step, in order."""
        due = [Strand(label, (0, label, 1), NOBODY) for label in sorted(self.left)]
        course: list[Strand] = []
        while due:
            running = [strand for strand in due if course and strand is course[-1]]
            default = due.index((running or due)[0])
            number = strategy.choose(due, default, preempts=bool(running)) if len(due) > 1 else default
            self.odd += number != default
            self.preemptions += bool(running) and number != default
            course.append(due[number])
            due[number].steps += 1
            self.left[due[number].label] -= 1
            due = [strand for strand in due if self.left[strand.label] > 0]
        return "".join(strand.label for strand in course)


def orders(*counts: int) -> list[str]:
    """Every order of so many steps of a, b, c and so on."""
    letters = "".join(letter * count for letter, count in zip("abcdefgh", counts, strict=False))
    return sorted({"".join(order) for order in itertools.permutations(letters)})


def interruptions(course: str, *counts: int) -> int:
    """How often somebody who could have gone on does not."""
    left = dict(zip("abcdefgh", counts, strict=False))
    found = 0
    for label, after in itertools.pairwise(course):
        left[label] -= 1
        found += after != label and left[label] > 0
    return found


# -- plain, uniform, pos -------------------------------------------------------------------------------------------------


def test_plain_never_preempts() -> None:
    """The plain schedule runs a task until it waits, then the oldest."""
    game = Game({"a": 2, "b": 1, "c": 3})
    assert game.play(Plain()) == "aabccc"
    assert game.preemptions == 0


@steady
@given(st.integers(2, 6), st.integers(0, 5))
def test_plain_takes_the_default(count: int, default: int) -> None:
    """Whoever the default is, the plain schedule takes it."""
    assert Plain().choose(strands(count), default % count, preempts=False) == default % count


def test_plain_runs_in_trio() -> None:
    """In a real run the plain schedule holds nobody."""
    result = simulate(counts_of_steps, 2, 0, 1, strategy=Plain())
    assert result.schedule.holds == ()
    assert "".join(step.label for step in result.trace if len(step.label) == 1) == "aaabcc"


SEEDED: Sequence[Callable[[int], Strategy]] = (Uniform, Pos, Pct)


@pytest.mark.parametrize("make", SEEDED)
def test_the_seed_decides(make: Callable[[int], Strategy]) -> None:
    """The same seed makes the same choices, others make others."""
    assert chosen(make(3), 3, 50) == chosen(make(3), 3, 50)
    assert len({tuple(chosen(make(seed), 3, 50)) for seed in range(20)}) > 2


def test_uniform_takes_anyone() -> None:
    """Each of three tasks is chosen about as often, whatever went before."""
    pairs = Counter(itertools.pairwise(chosen(Uniform(1), 3, 9000)))
    assert len(pairs) == 9
    assert all(800 < count < 1200 for count in pairs.values())


def test_pos_is_fair_to_orders() -> None:
    """Of two single steps that race, either comes first about as often, even if one comes after many others of its task."""

    def course(seed: int) -> str:
        return Game({"a": 20, "b": 1}).play(Pos(seed))

    last = sum(course(seed).endswith("b") for seed in range(2000))
    uniform = sum(Game({"a": 20, "b": 1}).play(Uniform(seed)).endswith("b") for seed in range(2000))
    assert 40 < last < 160  # one of 21 is 95
    assert uniform == 0  # two to the power of 20 is a million


def test_pos_keeps_a_priority_until_the_step_is_taken() -> None:
    """Who is passed over keeps its priority, who runs draws a new one: a step with a low priority waits for long."""
    pos = Pos(0)
    due = strands(3)
    for _ in range(100):
        kept = dict(pos._priorities)
        number = pos.choose(due, 0, preempts=True)
        assert due[number] not in pos._priorities
        assert all(pos._priorities[strand] == kept[strand] for strand in pos._priorities if strand in kept)
        assert all(kept.get(due[number], 1.0) >= priority for priority in pos._priorities.values())


# -- pct -----------------------------------------------------------------------------------------------------------------


@steady
@given(st.integers(0, 999), st.integers(1, 5), st.integers(2, 6))
def test_pct_changes_its_mind_depth_minus_one_times(seed: int, depth: int, count: int) -> None:
    """While nobody waits, the one with the highest priority runs, and changes at most ``depth - 1`` times."""
    course = chosen(Pct(seed, depth, 50), count, 60)
    assert sum(before != after for before, after in itertools.pairwise(course)) <= depth - 1


def test_pct_falls_happen() -> None:
    """With enough tasks, each fall at a moment of its own gives the turn to another task, which was never lower."""
    course = chosen(Pct(5, 4, 50), 6, 60)
    stretches = [label for label, _ in itertools.groupby(course)]
    assert len(stretches) == len(set(stretches)) == 4


def test_pct_of_depth_one_is_a_fixed_ranking() -> None:
    """Without falls, whoever is higher always goes before whoever is lower."""
    for seed in range(20):
        course = Game({"a": 3, "b": 3, "c": 3}).play(Pct(seed, 1))
        assert [label for label, _ in itertools.groupby(course)] == sorted(set(course), key=course.index)


def test_pct_starves_for_long() -> None:
    """The lowest task does not get a turn while others have any to take."""
    shares = [Counter(chosen(Pct(seed, 2, 1000), 2, 1000)) for seed in range(50)]
    longest = [max(share.values()) for share in shares]
    assert sum(count >= 900 for count in longest) >= 5
    assert all(max(Counter(chosen(Uniform(seed), 2, 1000)).values()) < 600 for seed in range(50))


def test_pct_falls_later_than_the_run_never_happen() -> None:
    """A fall that is planned for a moment after the end does no harm."""
    assert Game({"a": 1, "b": 1}).play(Pct(0, 5, 10_000)) in {"ab", "ba"}


def test_pct_knows_no_length_of_zero() -> None:
    """A run without choices has falls at its beginning, if any."""
    assert Pct(1, 3, 0)._falls == [0, 0]
    assert set(chosen(Pct(1, 3, 0), 2, 10)) <= {0, 1}


def test_what_is_left_out_is_as_usual() -> None:
    """Without arguments the seed is 0, and priorities fall twice within the first hundred choices."""
    pairs: list[tuple[Strategy, Strategy]] = [(Uniform(), Uniform(0)), (Pos(), Pos(0)), (Pct(), Pct(0))]
    assert all(chosen(one, 3, 30) == chosen(other, 3, 30) for one, other in pairs)
    assert Pct()._falls == Pct(0, 3, 100)._falls


def test_a_fallen_task_is_below_all_others() -> None:
    """Who falls is lower than all who did not, and than those who fell before."""
    pct = Pct(7, 3, 10)
    due = strands(4)
    for _ in range(20):
        pct.choose(due, 0, preempts=True)
    fallen = [priority for priority in pct._priorities.values() if priority <= 0]
    assert len(fallen) == 2
    assert all(priority >= 1 for priority in pct._priorities.values() if priority not in fallen)


# -- follow --------------------------------------------------------------------------------------------------------------


def test_follow_does_what_is_written() -> None:
    """A hold gives the step to the one it names; the plain schedule goes on from there."""
    assert Game({"a": 2, "b": 2, "c": 2}).play(Follow([Hold("a", 1, "c"), Hold("c", 1, "b")])) == "acbbac"


def test_follow_passes_over() -> None:
    """A hold of a task that is not due is passed over, and the next one for the same step is looked at."""
    holds = [Hold("a", 0, "z"), Hold("a", 0, "b"), Hold("a", 5, "b"), Hold("z", 0, "a")]
    assert Game({"a": 2, "b": 2}).play(Follow(holds)) == "bbaa"


def test_follow_holds_once() -> None:
    """A hold is used up when its moment has come, even if its step is due again later."""
    due = strands(2)
    follow = Follow([Hold("a", 0, "b")])
    assert [follow.choose(due, 0, preempts=True) for _ in range(3)] == [1, 0, 0]


# -- exhaustive ----------------------------------------------------------------------------------------------------------


def played(preemptions: int, *counts: int) -> list[tuple[str, int]]:
    """Every course of the game that the exhaustive strategies take, and how many interruptions each has."""
    found = []
    for strategy in exhaustive(preemptions):
        game = Game(dict(zip("abcdefgh", counts, strict=False)))
        found.append((game.play(strategy), game.preemptions))
    return found


@pytest.mark.parametrize("counts", [(1,), (1, 1), (2, 2), (3, 2), (1, 1, 1), (2, 2, 2), (4, 1, 2)])
def test_exhaustive_finds_every_order_once(counts: Sequence[int]) -> None:
    """With enough preemptions, each order comes exactly once: as many as the multinomial coefficient says."""
    courses = sorted(course for course, _ in played(99, *counts))
    assert courses == orders(*counts)
    assert len(courses) == math.factorial(sum(counts)) // math.prod(map(math.factorial, counts))


@pytest.mark.parametrize("bound", range(5))
def test_exhaustive_finds_every_order_with_few_interruptions_once(bound: int) -> None:
    """With a bound, exactly those orders come that interrupt nobody more often, those with fewest first."""
    counts = 3, 2, 2
    found = played(bound, *counts)
    assert sorted(course for course, _ in found) == [course for course in orders(*counts) if interruptions(course, *counts) <= bound]
    assert all(interruptions(course, *counts) == cost for course, cost in found)
    assert [cost for _, cost in found] == sorted(cost for _, cost in found)


def test_exhaustive_goes_from_the_plain_to_the_odd() -> None:
    """Of orders with as many interruptions, those with fewer choices that are not plain come first, and each knows how many it has."""
    weights = []
    for strategy in exhaustive(3):
        game = Game({"a": 3, "b": 2, "c": 2})
        game.play(strategy)
        weights.append((game.preemptions, game.odd))
        assert weights[-1] == strategy.weight
    assert weights == sorted(weights)


def test_exhaustive_without_preemptions_orders_whole_tasks() -> None:
    """Nobody is interrupted, but who begins is free: three tasks come in six orders."""
    assert [course for course, _ in played(0, 2, 2, 2)] == ["aabbcc", "bbaacc", "ccaabb", "aaccbb", "bbccaa", "ccbbaa"]


def test_exhaustive_begins_with_the_plain_schedule() -> None:
    """The first course is the plain one."""
    assert played(3, 2, 3)[0] == ("aabbb", 0)


def test_a_choice_that_does_not_fit_is_bent() -> None:
    """A choice among more tasks than there are now takes the last of them: the program has changed, but goes on."""
    strategy = Exhaustive((3, 1), (0, 2))
    assert [strategy.choose(strands(2), 0, preempts=False) for _ in range(3)] == [1, 1, 0]
    (branch,) = strategy.branches(0)
    assert branch == ((0, 3), 2, 1)
    assert strategy.branch(*branch).given == (1, 1, 1)


# -- by name -------------------------------------------------------------------------------------------------------------


def first(count: int, name: Name, seed: int = 0, **more: Any) -> list[Strategy]:
    """The first strategies of that name."""
    found: Iterator[Strategy] = strategies(name, seed, more.get("preemptions", 2), more.get("length", lambda: LENGTH))
    return list(itertools.islice(found, count))


def test_the_portfolio_takes_turns() -> None:
    """The portfolio begins with the plain schedule and then goes round: half of it partial orders, the rest of each something."""
    kinds = [type(strategy).__name__ for strategy in first(15, "portfolio")]
    assert kinds == ["Plain", *["Pos", "Uniform", "Pct", "Pos", "Uniform", "Pct", "Pct"] * 2]


def test_the_portfolio_looks_for_bugs_of_several_depths() -> None:
    """Its priorities fall once, twice and three times."""
    falls = [len(strategy._falls) for strategy in first(8, "portfolio") if isinstance(strategy, Pct)]
    assert falls == [1, 2, 3]


def test_each_strategy_has_a_seed_of_its_own() -> None:
    """No two of a kind are the same, and those of the next seed are the same but for the first."""
    for name, make in (("uniform", Uniform), ("pos", Pos), ("pct", lambda seed: Pct(seed, 3, LENGTH))):
        found = [chosen(strategy, 3, 30) for strategy in first(3, cast("Name", name), 5)]
        assert found == [chosen(make(seed), 3, 30) for seed in (5, 6, 7)]


def test_in_the_portfolio_seeds_count_up() -> None:
    """Each of the portfolio has the next seed, whatever its kind, from the first that is not plain."""
    kinds: Sequence[Callable[[int], Strategy]] = (
        Pos,
        Uniform,
        partial(Pct, depth=2),
        Pos,
        Uniform,
        partial(Pct, depth=3),
        partial(Pct, depth=4),
        Pos,
    )
    expected = [chosen(make(seed), 3, 30) for seed, make in enumerate(kinds, 5)]
    assert [chosen(strategy, 3, 30) for strategy in first(9, "portfolio", 5)[1:]] == expected


def test_pct_is_told_how_long_a_run_is() -> None:
    """What is known of the length of a run when a strategy is made is what its falls are spread over."""
    lengths = iter([10, 1000])
    short, long = (strategy for strategy in first(2, "pct", length=lambda: next(lengths)) if isinstance(strategy, Pct))
    assert max(short._falls) < 10
    assert max(long._falls) >= 10


def test_exhaustive_by_name() -> None:
    """The exhaustive strategies end when there are no others."""
    assert len(first(9, "exhaustive")) == 1
    found = strategies("exhaustive", 0, 1, lambda: LENGTH)
    assert [Game({"a": 2, "b": 1}).play(strategy) for strategy in found] == ["aab", "baa", "aba"]


def test_a_strategy_of_ones_own() -> None:
    """Whoever writes ``choose`` is asked in a real run, with the tasks oldest first, and told if it interrupts."""
    asked: list[tuple[list[str], int, bool]] = []

    class Youngest(Strategy):
        def choose(self, runnable: Sequence[Strand], default: int, *, preempts: bool) -> int:
            asked.append(([strand.label for strand in runnable], default, preempts))
            return len(runnable) - 1

    result = simulate(counts_of_steps, 1, 1, strategy=Youngest())
    assert [told for told in asked if "a" in told[0]] == [(["a", "b"], 0, False), (["a", "b"], 1, True)]
    assert [hold for hold in result.schedule.holds if hold.held == "a"] == [Hold("a", 0, "b")]
