"""A trio program that is stepped from plain, synchronous code, under a chosen schedule, in virtual time.

A test that draws its next step inside a running trio program mixes two kinds of control flow that do not mix. So the program runs as
a *guest* (:func:`trio.lowlevel.start_guest_run`), and the host is the test itself: it turns the crank as often as it likes, and
between two turns it looks around, or asks the program to do something. Time is virtual and goes on only when the host says so.

A turn is taken only when there is something to do (a runnable task, a deadline that has passed, somebody who waits for all others to
be blocked). So nothing ever spins, nothing waits in real time, the clock never jumps by itself, and a program that cannot go on is
seen as such: :class:`DeadlockError`. (The exception: a ``wait_all_tasks_blocked`` that wants a cushion of real time gets it.)
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import attrs
import outcome
import trio
import trio.testing

from ._choice import new_hook
from ._clock import VirtualClock
from ._ending import break_off, unshield, wake
from ._entropy import Entropy, Threads, outside_world
from ._scheduler import Scheduler, Step, Switch
from ._shared import UNCOLLECTED
from ._straight import wish_in
from ._where import innermost_call, tree
from .errors import DeadlockError, LivelockError, NondeterminismError
from .schedule import Granularity, Schedule
from .strategies import Follow, Pos, Strategy

T = TypeVar("T")
MAX_STEPS = 200_000
"""So many steps without a rest are taken for a program that never rests."""
_PATIENCE = 20
"""So often force is used, in vain, against a program that does not end."""


@attrs.define(eq=False)
class Handle(Generic[T]):
    """Something that was spawned in a :class:`World`.

    Args:
        name: Its task's name.
        scope: Its cancel scope.
        done: Whether it is over.
        error: What it raised.
    """

    name: str
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    done: bool = False
    error: BaseException | None = None
    _value: list[T] = attrs.field(factory=list, init=False)

    async def hold(self, fn: Callable[..., Awaitable[T]], *args: Any) -> None:
        """Run ``fn(*args)``, and keep what comes out of it."""
        try:
            with self.scope:
                self._value.append(await fn(*args))
        except (trio.Cancelled, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001 - kept for whoever asks for the result
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
        max_steps: So many steps without a rest are a :class:`LivelockError`; so are so many, with rests, in which something that is
            to be done (:meth:`run`, :meth:`finish`, :meth:`close`) is not.
        threads: ``"forbid"`` or ``"inline"``: whether what the program wants to do in a thread is an error, or done on this one.
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
        if trio.lowlevel.in_trio_run():
            raise RuntimeError("a World needs a thread without a trio program: close the other one first, or use a plain function")
        if strategy is None:
            strategy = Pos(seed) if schedule is None else Follow(schedule.holds)
        plan = Schedule((), seed, step_cost, granularity) if schedule is None else attrs.evolve(schedule, holds=())
        self.after_turn: Callable[[], object] = nothing
        self._plan = plan
        self._max_steps = max_steps
        self._host: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._root = trio.CancelScope()
        self._nursery: trio.Nursery | None = None
        self._trios: set[trio.lowlevel.Task] = set()
        self._is_over = True
        self._failure: BaseException | None = None
        with ExitStack() as stack:
            self._hook = new_hook()
            stack.callback(self._hook.release)
            self._clock = VirtualClock(self._is_anybody_idle, clock)
            now = self._clock.current_time
            self._scheduler = Scheduler(plan.granularity, plan.step_cost, plan.seed, now, self._clock.jump, self._fail, detail)
            stack.enter_context(UNCOLLECTED.use())
            stack.enter_context(outside_world(plan.seed, now, self._complain, entropy, threads))
            stack.callback(self._see_out)
            self._begin(instruments)
            self._stack = stack.pop_all()
        self._scheduler.strategy = strategy

    def _begin(self, instruments: Sequence[trio.abc.Instrument]) -> None:
        trio.lowlevel.start_guest_run(
            self._main,
            run_sync_soon_threadsafe=self._host.put,
            run_sync_soon_not_threadsafe=self._host.put,
            done_callback=self._over,
            clock=self._clock,
            instruments=[*self._hook.instruments, self._scheduler, *instruments],
            host_uses_signal_set_wakeup_fd=True,
        )
        self._is_over = False
        self.settle()
        self._trios.update(task for _, task in self.tasks())

    async def _main(self) -> None:
        with self._root:
            async with trio.open_nursery() as self._nursery:
                await trio.sleep_forever()

    def _is_anybody_idle(self) -> bool:
        return not self._scheduler.due and self._hook.idle_waiters()

    def _over(self, result: outcome.Outcome[None]) -> None:
        self._is_over = True
        if isinstance(result, outcome.Error):
            self._fail(wish_in(result.error) or result.error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        try:
            self.close()
        except Exception as late:
            if error is None:
                raise
            error.add_note(str(late))  # the first error says more

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
        if self._is_over:
            return False
        if self._scheduler.due or self._hook.is_holding():
            return True
        statistics = trio.lowlevel.current_statistics()
        return (
            statistics.tasks_runnable > 0
            or statistics.seconds_to_next_deadline <= 0
            or statistics.run_sync_soon_queue_size > 0
            or self._is_anybody_idle()
        )

    @property
    def wait(self) -> float:
        """Seconds until something happens by itself; ``inf`` if nothing ever will."""
        return math.inf if self._is_over else trio.lowlevel.current_statistics().seconds_to_next_deadline

    # -- turning the crank -------------------------------------------------------------------------------------------------

    def spawn(self, fn: Callable[..., Awaitable[T]], *args: Any, name: str | None = None) -> Handle[T]:
        """Start a task; it takes its first step when the schedule says so.

        Args:
            fn: An async function.
            args: What it is called with.
            name: The task's name; the function's own if left out.
        """
        if self._is_over or self._nursery is None:
            raise RuntimeError("this World is closed: nothing can be spawned in it any more")
        handle: Handle[T] = Handle(name or str(getattr(fn, "__name__", "task")))
        self._nursery.start_soon(self._live, handle, fn, *args, name=handle.name)
        return handle

    async def _live(self, handle: Handle[T], fn: Callable[..., Awaitable[T]], *args: Any) -> None:
        await handle.hold(fn, *args)
        wish = None if isinstance(handle.error, Exception | None) else wish_in(handle.error)
        if wish is not None:
            self._fail(wish)

    def steps(self, count: int) -> int:
        """Take up to ``count`` turns; return how many there were to take.

        A turn is one step of one task (with granularity ``"batch"`` one of each that is runnable), or none, if nothing but a deadline
        has passed.

        Raises:
            NondeterminismError: Somebody asked for what no seed decides.
            KeyboardInterrupt, SystemExit: As a task raised it. What else tasks raise is kept in their handles.
        """
        for taken in range(count):
            if not self._scheduler.due and not self.is_busy:
                return taken
            self._turn()
        return count

    def settle(self) -> None:
        """Go on until nothing can without time passing, or somebody doing something.

        Raises:
            LivelockError: That never happens.
            NondeterminismError: Somebody asked for what no seed decides, or waits for it.
        """
        if self.steps(self._max_steps) == self._max_steps and self.is_busy:
            raise LivelockError(f"still busy after {self._max_steps} steps:\n{self.tree()}")
        waiting = ", ".join(self._outsiders())
        if waiting:
            raise NondeterminismError(f"{waiting} waits for a socket or a process: no seed decides when it answers\n{self.tree()}")

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
        """Cancel everything, and see it gone. Idempotent. Afterwards the thread is free, whatever is raised.

        Raises:
            DeadlockError: Something could not be cancelled; it has been broken off by force.
            LivelockError: Something went on and on although it was cancelled; it has been broken off by force.
        """
        self._scheduler.strategy = None
        with self._stack:
            trouble = self._see_out()
        if trouble is not None:
            raise trouble

    def _see_out(self) -> BaseException | None:
        """Go on until it is over, by force if need be; return what was wrong, if anything was."""
        trouble: BaseException | None = None
        force = 0
        self._root.cancel(reason="the world is closed")
        while not self._is_over and force < _PATIENCE:
            before, hurry = self.turns, False
            try:
                self._until(lambda: self._is_over)
            except BaseException as error:  # noqa: BLE001, ASYNC103 - raised when it is over; no task of trio's runs here
                trouble, self.after_turn = trouble or error, nothing
                hurry = isinstance(error, LivelockError) or not isinstance(error, Exception)
            if hurry or self.turns == before:
                trouble = trouble or DeadlockError(f"shielded, and nothing will ever wake it:\n{self.tree()}")
                force += 1 + hurry
                self._use_force(force)
        return trouble

    def _use_force(self, degree: int) -> None:
        everybody = [task for _, task in self.tasks()]
        if degree == 1:
            unshield(everybody)
            return
        others = [task for task in everybody if task not in self._trios] or everybody
        break_off(others)
        if not self.is_busy:
            wake(others)

    def _turn(self) -> None:
        self._hook.turn(self._tick, self._scheduler.pick)
        self._scheduler.end_turn()
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        self.after_turn()
        self._scheduler.pass_time()

    def _tick(self) -> None:
        self._host.get()()  # it is there, unless somebody waits for all to be blocked for some real time

    def _pass(self) -> None:
        """Let time pass until the next deadline."""
        self._clock.jump(max(0.0, self.wait))
        self._clock.jump(0.0 if self.is_busy else 2 * math.ulp(self.now))  # the sum may be a hair too small
        self.settle()

    def _until(self, is_done: Callable[[], bool]) -> None:
        end = self.turns + self._max_steps
        self.settle()
        while not is_done() and self.wait < math.inf:
            if self.turns >= end:
                raise LivelockError(f"not done after {self._max_steps} steps:\n{self.tree()}")
            self._pass()

    def _fail(self, error: BaseException) -> None:
        """It is raised when this turn is over."""
        self._failure = error if self._failure is None else self._failure

    def _complain(self, what: str) -> NondeterminismError:
        error = NondeterminismError(f"{self._scheduler.label_of(trio.lowlevel.current_task())!r} asks for {what}")
        self._fail(error)
        return error

    # -- looking around ----------------------------------------------------------------------------------------------------

    def tasks(self) -> Iterator[tuple[int, trio.lowlevel.Task]]:
        """All tasks and how deep they are, parents before their children, the oldest first."""
        return iter(()) if self._is_over else tree(self._scheduler.age_of)

    def tree(self) -> str:
        """The program's tasks, by their labels in the schedule, and where each of them waits, innermost first."""
        return "\n".join([f"t={self.now:g}, after {self.turns} steps", *self._branches()])

    def _branches(self) -> Iterator[str]:
        for depth, task in self.tasks():
            label = self._scheduler.label_of(task)
            where = " < ".join(str(place) for place in reversed(self._scheduler.stands_at(task)))
            if not label.startswith("<"):
                yield f"{'  ' * (depth - 1)}{label} @ {where}".removesuffix(" @ ")

    def _outsiders(self) -> list[str]:
        """Who waits for something out there."""
        if self._is_over:
            return []
        io = attrs.astuple(trio.lowlevel.current_statistics().io_statistics)
        if sum(count for count in io if isinstance(count, int)) <= 1:  # trio itself always waits for one
            return []
        waiting = [self._scheduler.label_of(task) for _, task in self.tasks() if innermost_call(task) in _OUTSIDE]
        return [repr(label) for label in waiting if not label.startswith("<")]


_OUTSIDE = ("_epoll_wait", "wait_kevent", "_afd_poll", "wait_overlapped")


def nothing() -> None:
    """What a world does after each turn if there is nothing to look at."""
