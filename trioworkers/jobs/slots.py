"""Tasks that do one job after the other.

To start a task and to open a cancel scope is a good part of the price of a small job. So a task whose job has ended well stays, and
waits for another job of its worker, inside its scope, which is as good as new. Each running job has a task and a scope of its own all
the same, and finds nothing in them of the one before: it brings its own name and its own context variables. A job that was cancelled,
or whose handler raised, takes its task and its scope with it; and so does one that has left something behind there, for which a task
has to answer when it ends (:class:`Traces`).

**Waiting costs memory**, so a whole tree of workers shares one :class:`Pool`. It keeps :data:`KEPT` waiting tasks, and lets the one go
that has waited longest: a worker that did one job, once, does not hold a task for ever because of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container
from contextvars import Context, copy_context
from functools import partial
from typing import Final, Generic, TypeVar

import attrs
import trio
from trio.lowlevel import add_parking_lot_breaker

KEPT: Final = 256
"""How many tasks of a tree of workers may wait for another job; each takes about 4 KB."""

J = TypeVar("J")

_HOLDERS: Final[Container[trio.lowlevel.Task]] = add_parking_lot_breaker.__globals__.get("GLOBAL_PARKING_LOT_BREAKER", ())
"""The tasks that hold a lock."""


class Pool:
    """The slots of a tree of workers that wait.

    Args:
        size: How many may.
    """

    def __init__(self, size: int = KEPT) -> None:
        self._size = size
        self._waiting: dict[object, Callable[[], None]] = {}

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def add(self, slot: object, dismiss: Callable[[], None]) -> None:
        """One more waits; when there are too many, the one that has waited longest is dismissed, and has to be removed by that."""
        self._waiting[slot] = dismiss
        if len(self._waiting) > self._size:
            next(iter(self._waiting.values()))()

    def remove(self, slot: object) -> None:
        """It waits no longer."""
        del self._waiting[slot]


class Traces:
    """What a job can leave behind in its task, to be made inside its scope before the first: it tells whether one has.

    A cancel scope (or a nursery) that is still open would cancel whatever the task does next, and leaving the job's scope inside it is
    the error that it ought to be. A lock that is still held is broken by trio when its task ends, and by nothing else. Trio has no
    public name for either; should it give them other names, nothing is found, and each job is taken for a tidy one.
    """

    __slots__ = ("_innermost", "_task")

    def __init__(self) -> None:
        self._task = trio.lowlevel.current_task()
        self._innermost = getattr(self._task, "_cancel_status", None)

    def __bool__(self) -> bool:
        """Whether anything is left."""
        return getattr(self._task, "_cancel_status", None) is not self._innermost or self._task in _HOLDERS


@attrs.define(eq=False, repr=False)
class Slot(Generic[J]):
    """A task of a worker's nursery, and the scope in which it does its jobs.

    Args:
        job: What it does; ``None`` while it waits, and when there will be nothing more to do.
        scope: Cancels the job.
    """

    job: J | None = None
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    def leave(self) -> J:
        """Its job is done: return it."""
        job, self.job = self.job, None
        assert job is not None  # noqa: S101 - it has just been done
        return job


@attrs.define(eq=False, repr=False)
class Slots(Generic[J]):
    """The slots of one worker.

    Args:
        name: What the tasks that wait are called.
        nursery: Where they live.
        pool: Those that wait, in the whole tree.
        work: The body of each: does ``slot.job`` in its scope; and then, unless the scope is cancelled, :meth:`another`.
    """

    _name: str
    _nursery: trio.Nursery
    _pool: Pool
    _work: Callable[[Slot[J]], Awaitable[None]]
    _context: Context = attrs.field(factory=Context, init=False)
    _waiting: dict[Slot[J], trio.lowlevel.Task] = attrs.field(factory=dict, init=False)
    _closed: bool = attrs.field(default=False, init=False)

    def take(self) -> Slot[J]:
        """One that waits, the latest to come, or a new one: :meth:`begin` is to follow at once."""
        return next(reversed(self._waiting), None) or Slot()

    @trio.lowlevel.enable_ki_protection
    def begin(self, slot: Slot[J], job: J, name: str) -> None:
        """Let it do a job, in a task of that name, with the context variables of the caller."""
        slot.job = job
        task = self._waiting.get(slot)
        if task is None:
            self._nursery.start_soon(self._work, slot, name=name)
        else:
            task.name = name
            task.context = copy_context()
            self._wake(slot)

    @trio.lowlevel.enable_ki_protection
    async def another(self, slot: Slot[J]) -> None:
        """Wait until ``slot.job`` is another job; it is none if no more will come, or this is cancelled."""
        if self._closed:
            return
        task = trio.lowlevel.current_task()
        task.name = self._name
        task.context = self._context
        self._waiting[slot] = task
        self._pool.add(slot, partial(self._wake, slot))
        await trio.lowlevel.wait_task_rescheduled(partial(self._cancelled, slot))

    @trio.lowlevel.enable_ki_protection
    def close(self) -> None:
        """No more jobs will come: those that wait are dismissed, those that run will be."""
        self._closed = True
        for slot in list(self._waiting):
            self._wake(slot)

    def _wake(self, slot: Slot[J]) -> None:
        trio.lowlevel.reschedule(self._forget(slot))

    def _cancelled(self, slot: Slot[J], raise_cancel: object) -> trio.lowlevel.Abort:
        del raise_cancel
        self._forget(slot)
        return trio.lowlevel.Abort.SUCCEEDED

    def _forget(self, slot: Slot[J]) -> trio.lowlevel.Task:
        self._pool.remove(slot)
        return self._waiting.pop(slot)
