"""A trio program that is stepped from plain, synchronous code, under a chosen schedule, in virtual time.

A test that draws its next step inside a running trio program mixes two kinds of control flow that do not mix. So the program runs as
a *guest* (:func:`trio.lowlevel.start_guest_run`), and the host is the test itself: it turns the crank as often as it likes, and
between two turns it looks around, or asks the program to do something. Time is virtual and goes on only when the host says so.

A turn is taken only when there is something to do (a runnable task, a deadline that has passed, somebody who waits for all others to
be blocked). So nothing ever spins, nothing waits in a thread, the clock never jumps by itself, and a program that cannot go on is
seen as such: :class:`DeadlockError`.
"""

from __future__ import annotations

import gc
import math
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import attrs
import outcome
import trio
import trio.testing

from ._choice import new_hook
from ._clock import VirtualClock
from ._entropy import Entropy, Threads, outside_world
from ._scheduler import Scheduler, Step, Switch
from ._where import innermost_call, places, tree
from .errors import DeadlockError, LivelockError, NondeterminismError
from .schedule import Granularity, Schedule
from .strategies import Follow, Plain, Pos, Strategy

T = TypeVar("T")
MAX_STEPS = 200_000
"""So many steps without a rest are taken for a program that never rests."""


@attrs.define(eq=False)
class Handle(Generic[T]):
    """Something that was spawned in a :class:`World`.

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
        except Exception as error:  # noqa: BLE001 - kept for whoever asks for the result
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
    """One trio program, stepped by hand.

    ::

        with World(seed=7) as world:
            handle = world.spawn(some_async_function, 1, 2)
            world.steps(3)
            world.advance(10)
            assert handle.result() == 3

    One world at a time may live on a thread, and none inside a trio program. Garbage is not collected while it lives, for when that
    happens depends on what ran before.

    Args:
        seed: Decides the schedule, what randomness the program gets, and how long each step takes.
        strategy: Who decides on the schedule; :class:`Pos` of the seed if left out.
        schedule: A schedule to follow, instead of ``seed``, ``strategy``, ``step_cost`` and ``granularity``.
        step_cost: Each step takes up to so many virtual seconds, so that a timeout can race with work.
        granularity: See :class:`Schedule`.
        max_steps: So many steps without a rest are a :class:`LivelockError`.
        threads: ``"forbid"`` or ``"inline"``: whether what the program wants to do in a thread is an error, or done at once.
        entropy: ``"seeded"``, ``"forbid"`` or ``"real"``: what the program gets that asks for randomness or the time.
        detail: Note where each task stands after each step, for pictures.
        clock: A clock of the program's own, which it may move by itself.
        instruments: Further instruments of trio's.

    Raises:
        RuntimeError: A trio program, or another world, runs on this thread.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        strategy: Strategy | None = None,
        schedule: Schedule | None = None,
        step_cost: float = 0.0,
        granularity: Granularity = "step",
        max_steps: int = MAX_STEPS,
        threads: Threads = "forbid",
        entropy: Entropy = "seeded",
        detail: bool = False,
        clock: trio.testing.MockClock | None = None,
        instruments: Sequence[trio.abc.Instrument] = (),
    ) -> None:
        if _is_inside():
            raise RuntimeError("a World needs a thread without a trio program: close the other one first, or use a plain function")
        if schedule is None:
            strategy = Pos(seed) if strategy is None else strategy
        else:
            strategy = Follow(schedule.holds) if strategy is None else strategy
            seed, step_cost, granularity = schedule.seed, schedule.step_cost, schedule.granularity
        self.after_turn: Callable[[], object] = lambda: None
        self._plan = Schedule((), seed, step_cost, granularity)
        self._max_steps = max_steps
        self._stack = ExitStack()
        self._hook = new_hook()
        self._clock = VirtualClock(self._hook.idle_waiters, *([clock] if clock else []))
        self._scheduler = Scheduler(strategy, granularity, step_cost, seed, self._clock.jump, self._clock.current_time, detail)
        self._host: deque[Callable[[], object]] = deque()
        self._root = trio.CancelScope()
        self._nursery: trio.Nursery | None = None
        self._outcome: outcome.Outcome[None] | None = None
        self._complaint: NondeterminismError | None = None
        self._open(instruments, entropy, threads)

    def _open(self, instruments: Sequence[trio.abc.Instrument], entropy: Entropy, threads: Threads) -> None:
        with ExitStack() as stack:
            stack.callback(self._hook.release)
            if gc.isenabled():
                gc.disable()
                stack.callback(gc.enable)
            stack.enter_context(outside_world(self._plan.seed, self._clock.current_time, self._complain, entropy, threads))
            trio.lowlevel.start_guest_run(
                self._main,
                run_sync_soon_threadsafe=self._host.append,
                run_sync_soon_not_threadsafe=self._host.append,
                done_callback=self._over,
                clock=self._clock,
                instruments=[*self._hook.instruments, self._scheduler, *instruments],
                host_uses_signal_set_wakeup_fd=True,
            )
            self._stack = stack.pop_all()
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

    def _complain(self, error: NondeterminismError) -> None:
        self._complaint = self._complaint or error

    # -- what has happened -------------------------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """Virtual seconds since the beginning."""
        return self._clock.current_time()

    @property
    def turns(self) -> int:
        """How many steps have been taken."""
        return len(self._scheduler.trace)

    @property
    def trace(self) -> Sequence[Step]:
        """The steps that have been taken."""
        return self._scheduler.trace

    @property
    def switches(self) -> Sequence[Switch]:
        """When somebody was held, and where; kept if ``detail`` was asked for."""
        return self._scheduler.switches

    @property
    def choices(self) -> int:
        """How often there was more than one task to choose from."""
        return self._scheduler.choices

    @property
    def schedule(self) -> Schedule:
        """The schedule so far, as a value that can be run again."""
        return attrs.evolve(self._plan, holds=tuple(self._scheduler.holds))

    @property
    def is_busy(self) -> bool:
        """Whether something can run now."""
        if self._outcome is not None:
            return False
        if self._hook.is_holding():
            return True
        statistics = trio.lowlevel.current_statistics()
        return (
            statistics.tasks_runnable > 0
            or statistics.seconds_to_next_deadline <= 0
            or statistics.run_sync_soon_queue_size > 0
            or self._hook.idle_waiters()
        )

    @property
    def wait(self) -> float:
        """Seconds until something happens by itself; ``inf`` if nothing ever will."""
        return math.inf if self._outcome is not None else trio.lowlevel.current_statistics().seconds_to_next_deadline

    # -- turning the crank -------------------------------------------------------------------------------------------------

    def spawn(self, fn: Callable[..., Awaitable[T]], *args: Any, name: str | None = None) -> Handle[T]:
        """Start a task; it takes its first step when the schedule says so.

        Args:
            fn: An async function.
            args: What it is called with.
            name: The task's name; the function's own if left out.
        """
        assert self._nursery is not None  # noqa: S101 - it is there since the world was made
        handle: Handle[T] = Handle(name or str(getattr(fn, "__name__", "task")))
        self._nursery.start_soon(handle.hold, fn, *args, name=handle.name)
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
            NondeterminismError: It waits for something out there.
        """
        if self.steps(self._max_steps) == self._max_steps and self.is_busy:
            raise LivelockError(f"still busy after {self._max_steps} steps:\n{self.tree()}")
        self._look_outside()

    def advance(self, seconds: float) -> None:
        """Settle, let time pass, settle: one deadline after another."""
        self.settle()
        end = self.now + seconds
        while self.now + self.wait <= end:
            self._pass()
        self._clock.jump(max(0.0, end - self.now))
        self.settle()

    def run(self, fn: Callable[..., Awaitable[T]], *args: Any, name: str | None = None) -> T:
        """Run something to its end, whatever time that takes; return what it returns.

        Raises:
            DeadlockError: It cannot get there.
            LivelockError: It runs for ever.
        """
        handle = self.spawn(fn, *args, name=name)
        self.finish(handle)
        return handle.result()

    def finish(self, handle: Handle[Any]) -> None:
        """Go on until it is done.

        Raises:
            DeadlockError: It cannot get there.
            LivelockError: It runs for ever.
        """
        self._until(lambda: handle.done)
        if not handle.done:
            raise DeadlockError(f"{handle.name!r} can never end:\n{self.tree()}")

    def close(self) -> None:
        """Cancel everything, and see it gone. Idempotent.

        Raises:
            DeadlockError: Something could not be cancelled; it has been broken off by force.
        """
        if self._is_over():
            self._stack.close()
            return
        stuck = ""
        self._scheduler.strategy = Plain()
        with self._stack:
            self._root.cancel(reason="the world is closed")
            self._until(self._is_over)
            while not self._is_over():  # behind one shield there may be another
                stuck = stuck or self.tree()
                _unshield()
                self._until(self._is_over)
        if stuck:
            raise DeadlockError(f"shielded, and nothing will ever wake it:\n{stuck}")
        assert self._outcome is not None  # noqa: S101 - it is over
        self._outcome.unwrap()

    def _turn(self) -> None:
        self._hook.turn(self._tick, self._scheduler.pick)
        if self._scheduler.failure is not None:
            failure, self._scheduler.failure = self._scheduler.failure, None
            raise failure
        self.after_turn()

    def _tick(self) -> None:
        self._host.popleft()()

    def _pass(self) -> None:
        """Let time pass until the next deadline."""
        self._clock.jump(max(0.0, self.wait))
        self._clock.jump(0.0 if self.is_busy else 2 * math.ulp(self.now))  # the sum may be a hair too small
        self.settle()

    def _is_over(self) -> bool:
        return self._outcome is not None

    def _until(self, is_over: Callable[[], bool]) -> None:
        self.settle()
        while not is_over() and self.wait < math.inf:
            self._pass()

    # -- looking around ----------------------------------------------------------------------------------------------------

    def tasks(self) -> Iterator[tuple[int, trio.lowlevel.Task]]:
        """All tasks and how deep they are, parents before their children, by name."""
        return iter(()) if self._outcome is not None else tree()

    def tree(self) -> str:
        """The tasks, and where each of them waits, innermost first."""
        lines = [f"t={self.now:g}, after {self.turns} steps"]
        for depth, task in self.tasks():
            where = " < ".join(str(place) for place in reversed(places(task)))
            lines.append(f"{'  ' * depth}{task.name} @ {where}".removesuffix(" @ "))
        return "\n".join(lines)

    def _look_outside(self) -> None:
        """Nobody may wait for the outside world, and nobody may have asked for it."""
        if self._complaint is not None:
            complaint, self._complaint = self._complaint, None
            raise complaint
        waiting = [task.name for _, task in self.tasks() if innermost_call(task) in _OUTSIDE] if self._waits_outside() else []
        if waiting:
            names = ", ".join(map(repr, waiting))
            raise NondeterminismError(f"{names} waits for a socket, a process or a signal, which no seed decides:\n{self.tree()}")

    def _waits_outside(self) -> bool:
        if self._outcome is not None:
            return False
        io: Any = trio.lowlevel.current_statistics().io_statistics
        if io.backend != "epoll":
            return True
        return bool(io.tasks_waiting_read > 1 or io.tasks_waiting_write > 0)  # trio itself always waits for one


_OUTSIDE = ("_epoll_wait", "_kqueue_wait", "wait_readable", "wait_writable", "wait_kevent", "wait_overlapped", "_afd_poll")


def _is_inside() -> bool:
    try:
        trio.lowlevel.current_statistics()
    except RuntimeError:
        return False
    return True


def _unshield() -> None:
    """Take away every shield there is: the last means against a program that could not be ended otherwise."""
    for scope in [found for found in gc.get_objects() if isinstance(found, trio.CancelScope)]:
        scope.shield = False
