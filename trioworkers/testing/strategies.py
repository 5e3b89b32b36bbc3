"""Ways to choose who runs next.

=========== ====================================================================================================================
uniform     every runnable task is as likely
pos         each *step* draws a priority when it becomes due, the highest runs (partial order sampling: Yuan, Yang, Gu, CAV 2018):
            every order of two racing steps is about as likely, however many other steps there are
pct         each *task* draws a priority, the highest runs until it waits; at ``depth - 1`` random moments the one that runs falls to
            the bottom (Burckhardt, Kothari, Musuvathi, Nagarakatte, ASPLOS 2010): good at starving somebody for long
portfolio   these in turn, the plain schedule first: no single one is good at everything
exhaustive  every schedule with few preemptions, those with fewest first
=========== ====================================================================================================================
"""

from __future__ import annotations

import heapq
import itertools
import random
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, final

import attrs
import trio

from .schedule import Hold

Name = Literal["portfolio", "uniform", "pos", "pct", "exhaustive"]
LENGTH = 100
"""So many choices a run is taken to have, as long as nobody knows better."""


@attrs.define(eq=False)
class Strand:
    """A task, as a schedule sees it.

    Args:
        label: Its name, and a number if it is not the first of that name.
        order: Where it stands among the others: by the step it was born in, then by its label.
        task: Itself.
        steps: How many steps it has taken.
        overtaken: How many steps others have taken since its own next one was due.
    """

    label: str
    order: tuple[int, str, int]
    task: trio.lowlevel.Task
    steps: int = 0
    overtaken: int = 0


class Strategy(ABC):
    """Chooses, in one run. Subclass it for a search of your own."""

    @abstractmethod
    def choose(self, runnable: Sequence[Strand], default: int, *, preempts: bool) -> int:
        """Return the index of the one that runs next.

        Args:
            runnable: Whose next step is due: at least two, oldest first.
            default: The index of the one the plain schedule would choose.
            preempts: Whether that one is just running, so that to choose another one is to interrupt it.
        """


@final
class Plain(Strategy):
    """The plain schedule."""

    def choose(self, runnable: Sequence[Strand], default: int, *, preempts: bool) -> int:
        """The default."""
        del runnable, preempts
        return default


@final
class Uniform(Strategy):
    """Anyone."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(f"uniform {seed}")

    def choose(self, runnable: Sequence[Strand], default: int, *, preempts: bool) -> int:
        """Anyone."""
        del default, preempts
        return self._random.randrange(len(runnable))


@final
class Pos(Strategy):
    """Partial order sampling: each step has a priority."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(f"pos {seed}")
        self._priorities: dict[Strand, float] = {}

    def choose(self, runnable: Sequence[Strand], default: int, *, preempts: bool) -> int:
        """The highest; its next step will have another."""
        del default, preempts
        priorities = [self._priorities.setdefault(strand, self._random.random()) for strand in runnable]
        chosen = priorities.index(max(priorities))
        del self._priorities[runnable[chosen]]
        return chosen


@final
class Pct(Strategy):
    """Probabilistic concurrency testing: each task has a priority, and ``depth - 1`` times the highest falls to the bottom.

    Args:
        seed: Decides.
        depth: How many orderings must come together for the bug looked for.
        length: About how many choices the run has.
    """

    def __init__(self, seed: int = 0, depth: int = 3, length: int = LENGTH) -> None:
        self._random = random.Random(f"pct {seed}")
        self._priorities: dict[Strand, float] = {}
        self._falls = sorted(self._random.randrange(max(1, length)) for _ in range(depth - 1))
        self._choices = 0

    def choose(self, runnable: Sequence[Strand], default: int, *, preempts: bool) -> int:
        """The highest."""
        del default, preempts
        priorities = [self._priorities.setdefault(strand, 1 + self._random.random()) for strand in runnable]
        while self._falls and self._falls[0] <= self._choices:
            highest = priorities.index(max(priorities))
            priorities[highest] = self._priorities[runnable[highest]] = -float(self._falls.pop(0))
        self._choices += 1
        return priorities.index(max(priorities))


@final
class Follow(Strategy):
    """What was written down. A hold that does not apply is passed over."""

    def __init__(self, holds: Iterable[Hold]) -> None:
        self._holds: dict[tuple[str, int], deque[str]] = {}
        for hold in holds:
            self._holds.setdefault((hold.held, hold.step), deque()).append(hold.run)

    def choose(self, runnable: Sequence[Strand], default: int, *, preempts: bool) -> int:
        """The one that the next hold of this step of the default names."""
        del preempts
        strand = runnable[default]
        wanted = self._holds.get((strand.label, strand.steps))
        labels = [other.label for other in runnable]
        while wanted:
            label = wanted.popleft()
            if label in labels:
                return labels.index(label)
        return default


Weight = tuple[int, int]


@final
class Exhaustive(Strategy):
    """One of all schedules: the first choices are given, the others plain; what else could have been chosen is noted.

    Args:
        given: Indices.
        weight: How many preemptions there are among them, and how many choices that are not plain.
    """

    def __init__(self, given: tuple[int, ...] = (), weight: Weight = (0, 0)) -> None:
        self.given = given
        self.weight = weight
        self._choices: list[int] = []
        self._others: list[tuple[int, bool]] = []

    def choose(self, runnable: Sequence[Strand], default: int, *, preempts: bool) -> int:
        """As given."""
        place = len(self._choices)
        chosen = min(self.given[place], len(runnable) - 1) if place < len(self.given) else default
        self._choices.append(chosen)
        self._others.append((len(runnable), preempts))
        return chosen

    def branches(self, preemptions: int) -> Iterator[tuple[Weight, int, int]]:
        """After its run: the weight, the place and the choice of each that differs in one choice, and is plain from there on."""
        for place in range(len(self.given), len(self._choices)):
            count, preempts = self._others[place]
            weight = self.weight[0] + preempts, self.weight[1] + 1
            if weight[0] <= preemptions:
                yield from ((weight, place, other) for other in range(count) if other != self._choices[place])

    def branch(self, weight: Weight, place: int, other: int) -> Exhaustive:
        """One of them."""
        return Exhaustive((*self._choices[:place], other), weight)


def portfolio(seed: int, length: Callable[[], int]) -> Iterator[Strategy]:
    """All in turn, the plain one first."""
    yield Plain()
    while True:
        for make in (Pos, Uniform, _pct(2, length), Pos, Uniform, _pct(3, length), _pct(4, length)):
            yield make(seed)
            seed += 1


def one_kind(make: Callable[[int], Strategy], seed: int) -> Iterator[Strategy]:
    """One kind, with another seed each time."""
    while True:
        yield make(seed)
        seed += 1


def exhaustive(preemptions: int) -> Iterator[Exhaustive]:
    """Every schedule with at most so many preemptions: those with fewest first, and of these, those that are most like the plain one.

    By replay, without memory of states: a run with given first choices shows what else could have been chosen after them. Choosing
    anybody when the running task waits is free; only interrupting it costs (Musuvathi, Qadeer, PLDI 2007).
    """
    numbers = itertools.count()
    waiting: list[tuple[Weight, int, int, int, Exhaustive]] = []
    strategy = Exhaustive()
    while True:
        yield strategy
        for weight, place, other in strategy.branches(preemptions):
            heapq.heappush(waiting, (weight, next(numbers), place, other, strategy))
        if not waiting:
            return
        weight, _, place, other, parent = heapq.heappop(waiting)
        strategy = parent.branch(weight, place, other)


def strategies(name: Name, seed: int, preemptions: int, length: Callable[[], int]) -> Iterator[Strategy]:
    """The strategies of that name, one for each run.

    Args:
        name: Which.
        seed: That of the first one; each has the next.
        preemptions: For ``"exhaustive"``: at most so many.
        length: About how many choices a run has, as far as is known by now.
    """
    kinds: dict[Name, Callable[[], Iterator[Strategy]]] = {
        "portfolio": lambda: portfolio(seed, length),
        "uniform": lambda: one_kind(Uniform, seed),
        "pos": lambda: one_kind(Pos, seed),
        "pct": lambda: one_kind(_pct(3, length), seed),
        "exhaustive": lambda: exhaustive(preemptions),
    }
    return kinds[name]()


def _pct(depth: int, length: Callable[[], int]) -> Callable[[int], Strategy]:
    return lambda seed: Pct(seed, depth, length())
