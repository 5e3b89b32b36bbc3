"""One run of a test, for the plugin for pytest: what it is asked for, how its simulations go, and what is told of them."""

from __future__ import annotations

import os
import shlex
import sys
import threading
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from types import TracebackType
from typing import Any, Self, TypeVar

import attrs
import pytest
import trio
import trio.testing

from _trioworkers_pytest import RUN

from ._picture import counted, told
from .errors import DeadlockError, LivelockError, NondeterminismError, ReplayError
from .schedule import Granularity, Schedule
from .simulate import SimResult, simulate
from .strategies import Name, Strategy, strategies
from .world import World

T = TypeVar("T")
PREEMPTIONS = 2
"""So many preemptions has a schedule of the exhaustive strategy at most."""
LINES = 20
"""So many holds are told at most."""
THREAD_SECONDS = 1.0
"""So long is waited, in real time, for a thread that a simulated test has left behind."""

Simulation = SimResult[Any] | World
_MACHINERY = ("trio", "outcome", "trioworkers")
_DECIDES = {"seed", "strategy", "schedule"}


# -- what is asked for ---------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Options:
    """The options of this run of pytest; ``None`` is for one that was not given.

    Raises:
        pytest.UsageError: They do not go together, or the token is none.
    """

    explore: int | None
    strategy: Name | None
    schedule: Schedule | None
    seed: int | None
    step_cost: float | None
    granularity: Granularity | None

    @classmethod
    def of(cls, config: pytest.Config) -> Self:
        """Those that were given."""
        names = ("explore", "strategy", "seed", "step_cost", "granularity")
        given = {name: config.getoption(f"tw_{name}") for name in names}
        token = config.getoption("tw_replay")
        others = [f"--tw-{name.replace('_', '-')}" for name, value in given.items() if value is not None]
        if token is not None and others:
            raise pytest.UsageError(f"--tw-replay runs one schedule, which decides the rest: leave out {', '.join(others)}")
        if given["strategy"] is not None and given["explore"] is None:
            raise pytest.UsageError("--tw-strategy says how --tw-explore=N chooses its schedules: give both")
        return cls(schedule=None if token is None else _schedule(token), **given)

    @property
    def is_asking(self) -> bool:
        """Whether tests are to be run under schedules that they did not ask for."""
        return self.explore is not None or self.schedule is not None

    def seed_of(self, item: pytest.Item) -> int:
        """The seed that was given, or one that is always the same for this test."""
        return zlib.crc32(item.nodeid.encode(errors="replace")) if self.seed is None else self.seed

    def how(self) -> dict[str, Any]:
        """What was said of every schedule."""
        return _given(step_cost=self.step_cost, granularity=self.granularity)

    def plan_of(self, item: pytest.Item) -> Plan:
        """For a test that simulates by itself."""
        return Plan("seed", {"seed": self.seed_of(item), **self.how()})

    def plans(self, item: pytest.Item, length: Callable[[], int]) -> Iterator[Plan]:
        """A plan for each run of a test that is explored."""
        if self.schedule is not None:
            yield Plan("replay", {"schedule": self.schedule})
            return
        seed, name = self.seed_of(item), self.strategy or "portfolio"
        for number, strategy in enumerate(strategies(name, seed, PREEMPTIONS, length)):
            own = 0 if name == "exhaustive" else number  # all schedules of one program, not one each of many
            yield Plan(type(strategy).__name__.lower(), {"seed": seed + own, **self.how()}, strategy)

    def again(self, item: pytest.Item) -> str:
        """Options that look at the same schedules again."""
        given = _given(explore=self.explore, strategy=self.strategy, seed=self.seed_of(item), **self.how())
        return " ".join(f"--tw-{name.replace('_', '-')}={value}" for name, value in given.items())


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _schedule(token: str) -> Schedule:
    try:
        return Schedule.from_token(token)
    except ReplayError as error:
        raise pytest.UsageError(f"--tw-replay: {error}") from None


@attrs.define(eq=False)
class Plan:
    """How the simulations of one run go. If there are several, each finds the strategy as it was at first.

    Args:
        kind: What it is called.
        how: What a :class:`World` is told.
        strategy: Who decides, if somebody does.
    """

    kind: str
    how: Mapping[str, Any]
    strategy: Strategy | None = None
    _fresh: Strategy | None = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._fresh = deepcopy(self.strategy)

    def again(self) -> Plan:
        """The same plan, for another run."""
        return Plan(self.kind, self.how, deepcopy(self._fresh))

    def arguments(self, **given: Any) -> dict[str, Any]:
        """What a :class:`World` is told if the test itself says this, which goes before what is said here."""
        strategy, self.strategy = self.strategy, deepcopy(self._fresh)
        mine = {**self.how, **_given(strategy=strategy)}
        if not _DECIDES.isdisjoint(given):
            mine = {name: value for name, value in mine.items() if name not in _DECIDES}
        return {**mine, **given}


# -- one run -------------------------------------------------------------------------------------------------------------


@attrs.define(eq=False, repr=False)
class Run:
    """One run of a test.

    Args:
        plan: How its simulations go.
        detail: Whether to note where tasks are held.
        plainly: Whether pytest-trio is to run it as it always does.
        head: What its tale begins with; empty if it is told by somebody else.
    """

    plan: Plan
    detail: bool = True
    plainly: bool = False
    head: str = ""
    reports: Sequence[pytest.TestReport] = attrs.field(default=(), init=False)
    raised: list[tuple[str, tuple[str, ...]]] = attrs.field(factory=list, init=False)
    refusal: str = attrs.field(default="", init=False)
    took_too_long: bool = attrs.field(default=False, init=False)
    _all: list[Simulation] = attrs.field(factory=list, init=False)
    _failed: Simulation | None = attrs.field(default=None, init=False)

    # -- what it does ----------------------------------------------------------------------------------------------------

    def simulated(self, async_fn: Callable[..., Awaitable[T]], *args: Any, **options: Any) -> T:
        """Run an async function; return what it returns, or raise what it raises."""
        __tracebackhide__ = True
        result = simulate(async_fn, *args, **self.plan.arguments(**{"detail": self.detail, **options}))
        self._all.append(result)
        if result.error is not None:
            self._failed = result
            raise result.error.with_traceback(without_machinery(result.error.__traceback__))
        return result.unwrap()

    def world(self) -> World:
        """A new world."""
        world = World(**self.plan.arguments(detail=self.detail))
        self._all.append(world)
        return world

    def trio_run(self, main: Callable[[], Awaitable[Any]], *, clock: Any = None, instruments: Sequence[Any] = ()) -> Any:
        """What pytest-trio runs the test by."""
        __tracebackhide__ = True
        if self.plainly:
            return trio.run(main, clock=clock, instruments=instruments)
        threads = {*threading.enumerate()}
        try:
            how = {"clock": _checked(clock), "instruments": tuple(instruments), **self._step_cost()}
            with steady(main):
                return self.simulated(_pytest_trio, main, **how)
        except NondeterminismError as error:
            self.refusal = str(error).partition("\n")[0]
            raise
        except DeadlockError:
            self._await({*threading.enumerate()} - threads)
            raise

    def _await(self, threads: Iterable[threading.Thread]) -> None:
        """See threads that the test has started gone, if they go."""
        for thread in threads:
            self.refusal = "it waits for a thread that it has started"
            thread.join(THREAD_SECONDS)

    def _step_cost(self) -> dict[str, float]:
        """None for tests that were written without; they compare times."""
        return {} if {"schedule", "step_cost"} & set(self.plan.how) else {"step_cost": 0.0}

    # -- what came of it -------------------------------------------------------------------------------------------------

    @property
    def has_failed(self) -> bool:
        """Whether it failed, and not merely as it was expected to."""
        return bool(self.raised) and any(report.failed for report in self.reports)

    @property
    def tells(self) -> bool:
        """Whether it tells of itself."""
        return bool(self.head and self._all)

    @property
    def simulation(self) -> Simulation:
        """The one to tell of, if there is one."""
        return self._failed or self._all[-1]

    @property
    def choices(self) -> int:
        """How often there was more than one task to choose from."""
        return sum(each.choices for each in self._all)

    @property
    def courses(self) -> set[int]:
        """Stands for what happened; empty if nothing was simulated."""
        return {hash(tuple(tuple(step.label for step in each.trace) for each in self._all))} if self._all else set()

    def tale(self, item: pytest.Item, head: str, again: str = "") -> str:
        """Who was held where while whom ran, the tasks if they are stuck, and how to run it again.

        Args:
            item: The test.
            head: The first line.
            again: The options that run it again; with the schedule's token if left out.
        """
        simulation = self.simulation
        holds = [f"  {told(switch)}" for switch in simulation.switches]
        more = [f"  ... and {counted(len(holds) - LINES, 'hold')} more"] if len(holds) > LINES else []
        error = getattr(simulation, "error", None)
        stuck = [str(error)] if isinstance(error, (DeadlockError, LivelockError)) else []
        line = f"replay: pytest {_path(item)} {again or f'--tw-replay={simulation.schedule.to_token()}'}"
        return "\n".join([head, *holds[:LINES], *more, *stuck, line])


def run_of(item: pytest.Item) -> Run:
    """The present run of a test that asks for simulations."""
    if RUN not in item.stash:
        options = Options.of(item.config)
        item.stash[RUN] = Run(options.plan_of(item), head=f"seed {options.seed_of(item)}:")
    return item.stash[RUN]


def without_machinery(traceback: TracebackType | None) -> TracebackType | None:
    """The traceback from the first line on that is of the program's."""
    while traceback is not None and str(traceback.tb_frame.f_globals.get("__name__")).partition(".")[0] in _MACHINERY:
        traceback = traceback.tb_next
    return traceback


def _path(item: pytest.Item) -> str:
    """What to call pytest with, from where it was called."""
    file = os.path.relpath(item.path, item.config.invocation_params.dir)
    return shlex.quote("::".join([file.replace(os.sep, "/"), *item.nodeid.split("::")[1:]]))


# -- pytest-trio ---------------------------------------------------------------------------------------------------------


async def _pytest_trio(main: Callable[[], Awaitable[Any]]) -> Any:
    return await main()


_pytest_trio.__name__ = "pytest-trio"  # what the task is called


def _checked(clock: Any) -> trio.testing.MockClock | None:
    """A clock that can be simulated.

    Raises:
        NondeterminismError: It cannot.
    """
    if clock is None or (isinstance(clock, trio.testing.MockClock) and not clock.rate):
        return clock
    raise NondeterminismError(f"its clock goes on by itself: {clock!r}")


class Queue(dict[Any, None]):
    """A set in the order in which it was filled."""

    def add(self, value: Any) -> None:
        """As of a set."""
        self[value] = None


class _Name:
    """A fixture's name, for its task: without the brackets, in which the tasks are that belong to nobody's program."""

    def __get__(self, fixture: Any, kind: type) -> str:
        return str(vars(fixture)["name"]).strip("<>")

    def __set__(self, fixture: Any, name: str) -> None:
        vars(fixture)["name"] = name


@contextmanager
def steady(main: Any) -> Iterator[None]:
    """Take away what differs from process to process in how pytest-trio runs a test.

    A fixture of its waits for those who use it in the order of a set; and two fixtures, of which one overrides the other, have the
    same name.
    """
    kind: Any = sys.modules["pytest_trio.plugin"].TrioFixture
    names: Counter[str] = Counter()
    for fixture in _fixtures(main.keywords, kind):
        fixture.user_done_events = Queue(dict.fromkeys(fixture.user_done_events))
        names[fixture.name] += 1
        fixture.name += f" {names[fixture.name]}" if names[fixture.name] > 1 else ""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "name", _Name(), raising=False)
        yield


def _fixtures(arguments: Mapping[str, Any], kind: Any) -> Iterable[Any]:
    """The async fixtures that a test needs, each once, in the order in which they are named."""
    found: dict[Any, None] = {}
    waiting = list(arguments.values())
    while waiting:
        value = waiting.pop(0)
        if isinstance(value, kind) and value not in found:
            found[value] = None
            waiting.extend(value._pytest_kwargs.values())  # noqa: SLF001 - nothing public leads there
    return found
