"""One FIFO of hooks, and the one task at a time that runs them.

**Standing or on demand.** A worker's data lane is the body of its nursery: :meth:`Lane.serve` parks on the channel and runs what
comes. Its system lane and its activation lane have no task of their own until something is put in: then a drain task is started
in the worker's nursery, and ends when nothing is left. An idle worker costs one parked task.

**Batches.** Receiving from a trio channel that has something costs a whole turn of the scheduler; `receive_nowait` does not. So a
lane runs up to :data:`BATCH` hooks per schedule point, which is also the longest that others wait for it if its hooks never
await anything.

**System before data (B2).** The data lane has the system lane ``ahead`` of it. Before each hook it looks: if a system message
waits and the system lane is free, it parks until the system lane has moved. If the system lane is *busy* with a hook that awaits
something, data goes on: the two lanes are both live, and a slow hook delays only its own lane.

**Closing.** :meth:`close` is sync: from then on nothing is accepted, what still waits is dropped and counted, :meth:`serve` ends.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import copy_context
from functools import partial
from typing import Any, Generic, TypeVar

import attrs
import trio

from .._load import Load

BATCH = 64
T = TypeVar("T")


@attrs.define(eq=False)
class Lane(Generic[T]):
    """A FIFO of things to run.

    Args:
        name: The name of its tasks.
        run: What to do with each item.
        load: Counts each item from :meth:`put` until it has run or was dropped.
        ahead: The lane that goes first.
    """

    name: str
    _run: Callable[[T], Awaitable[None]]
    _load: Load
    ahead: Lane[Any] | None = None
    waiting: int = attrs.field(default=0, init=False)
    peak: int = attrs.field(default=0, init=False)
    handled: int = attrs.field(default=0, init=False)
    dropped: int = attrs.field(default=0, init=False)
    busy: bool = attrs.field(default=False, init=False)
    closed: bool = attrs.field(default=False, init=False)
    task: trio.lowlevel.Task | None = attrs.field(default=None, init=False)
    _draining: bool = attrs.field(default=False, init=False)
    _start: Callable[[], None] | None = attrs.field(default=None, init=False)
    _moved: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)
    _channel: tuple[trio.MemorySendChannel[T], trio.MemoryReceiveChannel[T]] | None = attrs.field(default=None, init=False)

    def put(self, item: T) -> None:
        """Append; after :meth:`close`, drop and count."""
        if self.closed:
            self.dropped += 1
            return
        self._ends[0].send_nowait(item)
        self._load.add()
        self.waiting += 1
        self.peak = max(self.peak, self.waiting)
        self._wake()

    def open(self, nursery: trio.Nursery) -> None:
        """Run what waits, and what comes, in tasks of ``nursery`` started on demand."""
        context = copy_context()

        def start() -> None:
            context.run(partial(nursery.start_soon, self._drain, name=self.name))

        self._start = start
        self._wake()

    def close(self) -> None:
        """Accept nothing more and drop what waits; whoever waits for this lane to move goes on."""
        if self.closed:
            return
        self.closed = True
        self.dropped += self.waiting
        self._load.done(self.waiting)
        self.waiting = 0
        for end in self._ends:
            end.close()
        self._moved.unpark_all()

    async def serve(self) -> None:
        """Run what comes, until closed."""
        self.task = trio.lowlevel.current_task()
        receive = self._ends[1]
        while not self.closed:
            try:
                item = await receive.receive()
            except (trio.ClosedResourceError, trio.EndOfChannel):
                break
            await self._run_one(item)
            await self._run_waiting(BATCH - 1)

    async def moved(self) -> None:
        """Wait until this lane has taken something up, or was closed."""
        await self._moved.park()

    @property
    def must_go_first(self) -> bool:
        """Whether something waits here that could start now."""
        return bool(self.waiting) and not self.busy

    @property
    def _ends(self) -> tuple[trio.MemorySendChannel[T], trio.MemoryReceiveChannel[T]]:
        """The two ends of the channel, made when first needed: most lanes of most workers never are."""
        if self._channel is None:
            self._channel = trio.open_memory_channel[T](float("inf"))
        return self._channel

    def _wake(self) -> None:
        if self.waiting and self._start is not None and not self._draining:
            self._draining = True
            self._start()

    async def _drain(self) -> None:
        self.task = trio.lowlevel.current_task()
        try:
            while self.waiting:
                await self._run_waiting(BATCH)
                if self.waiting:
                    await trio.lowlevel.checkpoint()
        finally:
            self._draining = False

    async def _run_waiting(self, limit: int) -> None:
        for _ in range(limit):
            if not self.waiting:
                return
            await self._run_one(self._ends[1].receive_nowait())

    async def _run_one(self, item: T) -> None:
        while self.ahead is not None and self.ahead.must_go_first:
            await self.ahead.moved()
        await trio.lowlevel.checkpoint_if_cancelled()
        if self.closed:
            return
        self.waiting -= 1
        self.busy = True
        self._moved.unpark_all()
        try:
            await self._run(item)
        finally:
            self.busy = False
            self.handled += 1
            self._load.done()
