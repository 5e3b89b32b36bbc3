"""One FIFO of hooks, and the one task at a time that runs them.

**Standing or on demand.** A worker's data lane is the body of its nursery: :meth:`Lane.serve` runs what comes, and parks when
nothing is left. Its system lane and its activation lane have no task of their own until something is put in: then a drain task is
started in the worker's nursery, and ends when nothing is left. An idle worker costs one parked task.

**Batches.** A turn of the scheduler costs several times what a hook does that awaits nothing. So a lane runs up to :data:`BATCH`
hooks per schedule point, which is also the longest that others wait for it if its hooks never await anything.

**System before data (B2).** The data lane has the system lane ``ahead`` of it. Before each hook it looks: if a system message
waits and the system lane is free, it parks until the system lane has moved. If the system lane is *busy* with a hook that awaits
something, data goes on: the two lanes are both live, and a slow hook delays only its own lane.

**Closing.** :meth:`close` is sync: from then on nothing is accepted, what still waits is dropped and counted, :meth:`serve` ends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextvars import Context, copy_context
from functools import partial
from typing import Any, Generic, TypeVar

import attrs
import trio

from .._load import Load

BATCH = 64
T = TypeVar("T")
Step = tuple[trio.lowlevel.Task, trio.Nursery | None]


def lineage() -> Iterator[Step]:
    """The present task, the task in whose nursery it lives, and so on, each with the nursery through which the walk came to it."""
    task: trio.lowlevel.Task | None = trio.lowlevel.current_task()
    through: trio.Nursery | None = None
    while task is not None:
        yield task, through
        through = task.parent_nursery
        task = None if through is None else through.parent_task


@attrs.define(eq=False, repr=False)
class Lane(Generic[T]):
    """A FIFO of things to run.

    Args:
        kind: Which of its owner's lanes it is.
        owner: Whose it is, by name.
        run: What to do with each item, in a lane of that kind.
        load: Counts each item from :meth:`put` until it has run or was dropped.
        ahead: The lane that goes first.
        lost: Called with each item that was dropped.
    """

    _kind: str
    _owner: str
    _run: Callable[[str, T], Awaitable[None]]
    _load: Load
    ahead: Lane[Any] | None = None
    lost: Callable[[T], object] = lambda item: item
    waiting: int = attrs.field(default=0, init=False)
    peak: int = attrs.field(default=0, init=False)
    handled: int = attrs.field(default=0, init=False)
    dropped: int = attrs.field(default=0, init=False)
    busy: bool = attrs.field(default=False, init=False)
    closed: bool = attrs.field(default=False, init=False)
    task: trio.lowlevel.Task | None = attrs.field(default=None, init=False)
    _outer: int = attrs.field(default=0, init=False)
    _idle: bool = attrs.field(default=True, init=False)
    _nursery: trio.Nursery | None = attrs.field(default=None, init=False)
    _context: Context | None = attrs.field(default=None, init=False)
    _parked: trio.lowlevel.ParkingLot | None = attrs.field(default=None, init=False)
    _queued: deque[T] | None = attrs.field(default=None, init=False)

    @property
    def name(self) -> str:
        """The name of its tasks."""
        return f"{self._kind}:{self._owner}"

    def put(self, item: T) -> None:
        """Append; after :meth:`close`, drop and count."""
        if self.closed:
            self._drop(item)
            return
        self._items.append(item)
        self._load.add()
        self.waiting += 1
        self.peak = max(self.peak, self.waiting)
        if self._idle:
            self._wake()

    def open(self, nursery: trio.Nursery) -> None:
        """Run what waits, and what comes, in tasks of ``nursery`` started on demand."""
        self._nursery, self._context = nursery, copy_context()
        self._wake()

    def close(self) -> None:
        """Accept nothing more and drop what waits; whoever waits for this lane to move goes on."""
        if self.closed:
            return
        self.closed = True
        lost, self.waiting = self.waiting, 0
        while self._queued:  # not as often as is waiting: an interrupt may have come as one was taken up
            self._drop(self._queued.popleft())
        self._load.done(lost)
        self._move()
        self._rouse()

    def _drop(self, item: T) -> None:
        self.dropped += 1
        self.lost(item)

    async def serve(self) -> None:
        """Run what comes, until closed."""
        self._idle = False  # first: after an interrupt between the two, there must be no task that one would wake
        self._begin()
        while not self.closed:
            if self.waiting:
                await trio.lowlevel.checkpoint()
            else:
                await self._rest()
            await self._run_waiting(BATCH)

    async def moved(self) -> None:
        """Wait until this lane has taken something up, or was closed."""
        if self._parked is None:
            self._parked = trio.lowlevel.ParkingLot()
        await self._parked.park()

    @property
    def must_go_first(self) -> bool:
        """Whether something waits here that could start now."""
        return bool(self.waiting) and not self.busy

    def is_hook_at(self, step: Step) -> bool:
        """Whether this step of a lineage is this lane's hook: its task, through no nursery but one that the hook has opened."""
        task, through = step
        return self.busy and self.task is task and (through is None or through in task.child_nurseries[self._outer :])

    @property
    def _items(self) -> deque[T]:
        """What waits; made when first needed: most lanes of most workers never are."""
        if self._queued is None:
            self._queued = deque()
        return self._queued

    def _wake(self) -> None:
        """Have somebody take up what waits: the task that serves and rests, or a new one."""
        if self._nursery is None or self._context is None:
            self._rouse()
        elif self.waiting and self._idle:
            self._idle = False
            self._context.run(partial(self._nursery.start_soon, self._drain, name=self.name))

    @trio.lowlevel.enable_ki_protection
    async def _rest(self) -> None:
        self._idle = True
        await trio.lowlevel.wait_task_rescheduled(self._stop_resting)

    @trio.lowlevel.enable_ki_protection
    def _rouse(self) -> None:
        if self._idle and self._nursery is None and self.task is not None:
            self._idle = False
            trio.lowlevel.reschedule(self.task)

    def _stop_resting(self, _: object) -> trio.lowlevel.Abort:
        self._idle = False
        return trio.lowlevel.Abort.SUCCEEDED

    def _move(self) -> None:
        if self._parked:  # to unpark nobody costs as much as to run a hook
            self._parked.unpark_all()

    def _begin(self) -> None:
        self.task = trio.lowlevel.current_task()
        self._outer = len(self.task.child_nurseries)

    async def _drain(self) -> None:
        self._begin()
        try:
            while self.waiting:
                await self._run_waiting(BATCH)
                if self.waiting:
                    await trio.lowlevel.checkpoint()
        finally:
            self._idle = True

    async def _run_waiting(self, limit: int) -> None:
        for _ in range(limit):
            if not self.waiting:
                return
            while self.ahead is not None and self.ahead.must_go_first:
                await self.ahead.moved()
            await trio.lowlevel.checkpoint_if_cancelled()
            if not self.waiting:  # closed
                return
            item = self._items.popleft()
            self.waiting -= 1
            self.busy = True
            self._move()
            try:
                await self._run(self._kind, item)
            finally:
                self.busy = False
                self.handled += 1
                self._load.done()
