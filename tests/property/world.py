"""A trio program that is stepped from plain, synchronous code, under a chosen schedule, in virtual time.

A property test that draws inside a running trio program mixes two kinds of control flow that do not mix. So the program runs as a
*guest* (:func:`trio.lowlevel.start_guest_run`), and the host is the test itself: it turns the crank as often as it likes, and between
two turns it looks around, or asks the program to do something. Time is virtual and only goes on when the test says so.

A turn is taken only when there is something to do (a runnable task, or a deadline that has passed). So nothing ever spins, nothing
waits in a thread, the clock never jumps by itself, and a program that cannot go on is seen as such: :class:`DeadlockError`.

**The schedule.** By itself trio runs its tasks in rounds: all that are runnable, each once, in one of very few orders; and under
Hypothesis it does so in the *same* order for every example. A program may not rely on either, and many bugs need more. So the
:class:`Scheduler`, seeded by the test, decides: whole rounds in random order, single steps, or single steps by random priorities.
"""

from __future__ import annotations

import gc
import math
import random  # noqa: TID251 - seeded
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, MutableSequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import attrs
import outcome
import trio
import trio.testing

T = TypeVar("T")
STEP_LIMIT = 100_000
"""So many turns without a rest are taken for a program that never rests."""


class DeadlockError(AssertionError):
    """Nothing can ever run again, and something was still expected."""


class LivelockError(AssertionError):
    """It runs and runs, and time stands still."""


# -- the schedule ----------------------------------------------------------------------------------------------------------


class Scheduler(random.Random):
    """Decides who runs next; stands in for trio's own random generator during a turn.

    Args:
        seed: Decides everything. The kind of schedule goes round with it: 0 rounds, 1 single steps, 2 priorities, 3 rounds, ...
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.kind = ("rounds", "steps", "priorities")[seed % 3]
        self._priorities: dict[Any, float] = {}

    def shuffle(self, x: MutableSequence[Any]) -> None:
        """Trio calls this each turn with the tasks that are runnable, in the order they were born; it runs what is left in ``x``."""
        if self.kind == "rounds" or not x:
            super().shuffle(x)
            return
        task = x[self._choose(x)]
        x.remove(task)
        _postpone(x)
        x[:] = [task]

    def _choose(self, batch: MutableSequence[Any]) -> int:
        if self.kind == "steps":
            return self.randrange(len(batch))
        priorities = [self._priorities.setdefault(task, self.random()) for task in batch]
        chosen = priorities.index(max(priorities))
        if self.random() < 0.3:  # now and then it is somebody else's turn, so that nobody waits for ever
            del self._priorities[batch[chosen]]
        return chosen


@contextmanager
def _scheduled_by(scheduler: Scheduler) -> Iterator[None]:
    """Let ``scheduler`` decide for a turn.

    This and :func:`_postpone` are the only places that touch names that trio keeps to itself. ``_r`` and
    ``_ALLOW_DETERMINISTIC_SCHEDULING`` are there for its own Hypothesis plugin, since 2019.
    """
    run: Any = trio._core._run
    saved = run._r, run._ALLOW_DETERMINISTIC_SCHEDULING
    run._r, run._ALLOW_DETERMINISTIC_SCHEDULING = scheduler, True
    try:
        yield
    finally:
        run._r, run._ALLOW_DETERMINISTIC_SCHEDULING = saved


def _postpone(tasks: MutableSequence[Any]) -> None:
    """Put runnable tasks back: they are runnable in the next turn, too."""
    run: Any = trio._core._run
    run.GLOBAL_RUN_CONTEXT.runner.runq.extend(tasks)


# -- what runs -------------------------------------------------------------------------------------------------------------


@attrs.define(eq=False)
class Handle(Generic[T]):
    """Something that was spawned.

    Args:
        name: Its task's name.
    """

    name: str
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    done: bool = False
    error: Exception | None = None
    _value: list[T] = attrs.field(factory=list, init=False)

    async def hold(self, fn: Callable[..., Awaitable[T]], *args: Any) -> None:
        """Run ``fn(*args)``, and keep what comes out of it."""
        try:
            with self.scope:
                self._value.append(await fn(*args))
        except Exception as error:
            self.error = error
        finally:
            self.done = True

    def result(self) -> T:
        """What it returned; raises what it raised.

        Raises:
            LookupError: It was cancelled, or is not done.
        """
        if self.error is not None:
            raise self.error
        if not self._value:
            raise LookupError(f"{self.name!r} has no result")
        return self._value[0]


class World:
    """One trio program.

    ::

        with World(seed=7) as world:
            handle = world.spawn(some_async_function, 1, 2)
            world.steps(3)
            world.advance(10)
            assert handle.result() == 3

    Args:
        seed: The schedule.
        step_cost: Each turn takes up to so many (virtual) seconds, so that a timeout can race with work.
        limit: See :data:`STEP_LIMIT`.
    """

    def __init__(self, seed: int = 0, *, step_cost: float = 0.0, limit: int = STEP_LIMIT) -> None:
        self.after_turn: Callable[[], object] = lambda: None
        self.scheduler = Scheduler(seed)
        self.turns = 0
        self._step_cost = step_cost
        self._limit = limit
        self._clock = trio.testing.MockClock(autojump_threshold=0)
        self._host: deque[Callable[[], object]] = deque()
        self._root = trio.CancelScope()
        self._nursery: trio.Nursery | None = None
        self._outcome: outcome.Outcome[None] | None = None
        self._closed = False
        self._collecting = gc.isenabled()
        _collect(when=False)  # when garbage is collected depends on what ran before; a world depends on its seed alone
        trio.lowlevel.start_guest_run(
            self._main,
            run_sync_soon_threadsafe=self._host.append,
            run_sync_soon_not_threadsafe=self._host.append,
            done_callback=self._over,
            clock=self._clock,
            host_uses_signal_set_wakeup_fd=True,
        )
        self.settle()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        try:
            self.close()
        except DeadlockError as stuck:
            if error is None:
                raise
            error.add_note(str(stuck))  # the first error says more

    async def _main(self) -> None:
        with self._root:
            async with trio.open_nursery() as self._nursery:
                await trio.sleep_forever()

    def _over(self, result: outcome.Outcome[None]) -> None:
        self._outcome = result

    # -- turning the crank -------------------------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """Virtual seconds since the beginning."""
        return self._clock.current_time()

    @property
    def is_busy(self) -> bool:
        """Whether something can run now."""
        if self._outcome is not None:
            return False
        statistics = trio.lowlevel.current_statistics()
        return (
            statistics.tasks_runnable > 0
            or statistics.seconds_to_next_deadline <= 0
            or statistics.run_sync_soon_queue_size > 0  # trio itself uses it when it leaves
        )

    @property
    def wait(self) -> float:
        """Seconds until something happens by itself; ``inf`` if nothing ever will."""
        return math.inf if self._outcome is not None else trio.lowlevel.current_statistics().seconds_to_next_deadline

    def spawn(self, fn: Callable[..., Awaitable[T]], *args: Any, name: str = "client") -> Handle[T]:
        """Start a task; it takes its first step when the schedule says so."""
        assert self._nursery is not None
        handle: Handle[T] = Handle(name)
        self._nursery.start_soon(handle.hold, fn, *args, name=name)
        return handle

    def steps(self, count: int) -> int:
        """Take up to ``count`` turns; return how many there were to take."""
        for taken in range(count):
            if not self.is_busy:
                return taken
            self._turn()
        return count

    def settle(self) -> None:
        """Go on until nothing can without time passing, or somebody doing something.

        Raises:
            LivelockError: That never happens.
        """
        if self.steps(self._limit) == self._limit and self.is_busy:
            raise LivelockError(f"still busy after {self._limit} turns:\n{self.tree()}")

    def advance(self, seconds: float) -> None:
        """Settle, let time pass, settle: one deadline after another."""
        self.settle()
        end = self.now + seconds
        while self.now + self.wait <= end:
            self._pass()
        self._clock.jump(max(0.0, end - self.now))
        self.settle()

    def run(self, fn: Callable[..., Awaitable[T]], *args: Any, name: str = "run") -> T:
        """Run something to its end, whatever time that takes; return what it returns.

        Raises:
            DeadlockError: It cannot get there.
        """
        handle = self.spawn(fn, *args, name=name)
        self._finish(lambda: handle.done)
        if not handle.done:
            raise DeadlockError(f"{name!r} can never end:\n{self.tree()}")
        return handle.result()

    def close(self) -> None:
        """Cancel everything, and see it gone. Idempotent.

        Raises:
            DeadlockError: Something could not be cancelled; it has been broken off by force.
        """
        if self._closed:
            return
        self._closed = True
        stuck = ""
        try:
            self._root.cancel(reason="the world is closed")
            self._finish(lambda: self._outcome is not None)
            while self._outcome is None:  # behind one shield there may be another
                stuck = stuck or self.tree()
                _unshield()
                self._finish(lambda: self._outcome is not None)
        finally:
            _collect(when=self._collecting)
        if stuck:
            raise DeadlockError(f"shielded, and nothing will ever wake it:\n{stuck}")
        assert self._outcome is not None
        self._outcome.unwrap()

    def _turn(self) -> None:
        self.turns += 1
        self._clock.jump(self.scheduler.random() * self._step_cost)
        with _scheduled_by(self.scheduler):
            self._host.popleft()()
        self.after_turn()

    def _pass(self) -> None:
        """Let time pass until the next deadline."""
        self._clock.jump(max(0.0, self.wait))
        self._clock.jump(0.0 if self.is_busy else 2 * math.ulp(self.now))  # the sum may be a hair too small
        self.settle()

    def _finish(self, is_over: Callable[[], bool]) -> None:
        self.settle()
        while not is_over() and self.wait < math.inf:
            self._pass()

    # -- looking around ----------------------------------------------------------------------------------------------------

    def tasks(self) -> Iterator[tuple[int, trio.lowlevel.Task]]:
        """All tasks and how deep they are, parents before their children, by name."""
        root = trio.lowlevel.current_root_task() if self._outcome is None else None
        waiting = [] if root is None else [(0, root)]
        while waiting:
            depth, task = waiting.pop()
            yield depth, task
            children = [child for nursery in task.child_nurseries for child in nursery.child_tasks]
            waiting.extend((depth + 1, child) for child in sorted(children, key=lambda child: child.name, reverse=True))

    def tree(self) -> str:
        """The tasks, and where each of them waits, innermost first."""
        lines = [f"t={self.now:g}, turn {self.turns}"]
        for depth, task in self.tasks():
            calls = [(frame.f_globals.get("__name__", ""), frame.f_code.co_name, line) for frame, line in task.iter_await_frames()]
            where = [f"{name}:{line}" for module, name, line in calls if not module.startswith("trio.")]
            lines.append(f"{'  ' * depth}{task.name} @ {' < '.join(where[::-1])}")
        return "\n".join(lines)


def _collect(*, when: bool) -> None:
    (gc.enable if when else gc.disable)()


def _unshield() -> None:
    """Take away every shield there is: the last means against a program that could not be ended otherwise."""
    for scope in [found for found in gc.get_objects() if isinstance(found, trio.CancelScope)]:
        scope.shield = False
