"""A place in the tree of ownership: the parent above, the children below, and the nursery they live in.

Workers and runners each have one. **The tree of families is the tree of nurseries**: a child's task is started in its parent's
nursery (:meth:`Family._seat`) and never leaves it, so that a child cannot outlive its parent, whatever happens.

**Starting** (:meth:`Family.start`): those given together are started in parallel; when the last is ready, the call returns. If one
fails or is stopped before that, all of them are stopped, the call waits until they are gone, and raises.

**The boundary** (:meth:`Family.live`): a worker's whole life happens inside its cancel scope and inside one ``try``. What comes out
is flattened to a list of plain exceptions and *handed* to the owner; nothing of it is raised through the owner's nursery. So a chain
of any depth can crash without exception groups inside exception groups, and the owner can be told first.

**Ending** goes down the tree in one instant by messages, which the bus delivers one after another: no recursion. Everything drains
at once; then each family finishes from the bottom up, the child that was started last first.

**Cancelling** goes down by messages too, so that each worker knows its reason; the nurseries would do it without them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Protocol, TypeVarTuple

import attrs
import trio

from .._leaves import describe, flat_group, leaves
from .._transitions import WorkerState
from ..bus import Inbox, WorkerBus
from ..errors import DuplicateWorkerError, FamilyError, UnknownWorkerError, WorkerStartError, WorkerStateError
from ..jobs import CHAIN, Pool
from ..messages import BusCancelWorkerMessage, BusEndWorkerMessage
from ..registry import WorkerRegistry
from ..types import WorkerErrorData
from .ending import Ending, wait_idle
from .lifecycle import OPEN, Lifecycle
from .params import WorkerParams

_NOTE = "raised in worker "
Ts = TypeVarTuple("Ts")


@attrs.define(eq=False, repr=False)
class Launch:
    """Workers that are being started together.

    Args:
        missing: How many are not ready yet.
        errors: What they died of before they were ready.
        excuses: What to say of those who were not ready, and died of nothing.
        settled: Set when all are ready, or one never will be.
    """

    missing: int
    errors: list[BaseException] = attrs.field(factory=list)
    excuses: list[BaseException] = attrs.field(factory=list)
    settled: trio.Event = attrs.field(factory=trio.Event)

    def ready(self) -> None:
        """One more is."""
        self.missing -= 1
        if not self.missing:
            self.settled.set()

    def failed(self, errors: list[BaseException], excuse: BaseException) -> None:
        """One never will be; ``excuse`` says so if nobody has an error to tell."""
        self.errors.extend(errors)
        self.excuses.append(excuse)
        self.settled.set()


@attrs.frozen(eq=False, repr=False)
class Place:
    """Where a whole tree lives.

    Args:
        bus: What carries its messages.
        registry: Who is there.
        pool: The tasks that wait for a job.
    """

    bus: WorkerBus
    registry: WorkerRegistry
    pool: Pool = attrs.field(factory=Pool)


class Duties(Protocol):
    """What a family needs to have done by the worker (or runner) whose it is."""

    def child_failed(self, data: WorkerErrorData, /) -> Awaitable[None]:
        """Run the hook for a child that died."""
        ...

    def close(self) -> None:
        """Accept nothing more, answer what waits: when all is drained, and in any case at the very end. Idempotent."""
        ...

    def farewell(self) -> Awaitable[None]:
        """Wait, whatever is cancelled, until all that was asked for from here is over."""
        ...

    def forsake(self) -> None:
        """Do not wait for that: there was no life that it could have been a part of."""
        ...

    def attached(self) -> None:
        """It has its place."""
        ...

    def child_gone(self, name: str, /) -> None:
        """The child of that name is gone."""
        ...

    def childless(self) -> None:
        """The last child is gone."""
        ...


@attrs.define(eq=False, repr=False)
class Family:
    """One worker's (or runner's) place.

    Args:
        member: The worker (or runner) itself, for those who ask who the children are.
        lifecycle: Its state.
        inbox: Its address on the bus.
        duties: What it does itself.
        run: Its ``run``; a runner has none here, for it is nobody's child, and its children are roots, without a parent.
    """

    member: object
    lifecycle: Lifecycle
    inbox: Inbox
    _duties: Duties
    _run: Callable[[WorkerParams], Awaitable[None]] | None
    place: Place | None = attrs.field(default=None, init=False)
    parent: Family | None = attrs.field(default=None, init=False)
    children: dict[str, Family] = attrs.field(factory=dict, init=False)
    params: WorkerParams = attrs.field(default=WorkerParams(), init=False)
    nursery: trio.Nursery | None = attrs.field(default=None, init=False)
    _finishing: bool = attrs.field(default=False, init=False)

    @property
    def name(self) -> str:
        """Whose place it is."""
        return self.lifecycle.name

    @property
    def is_runner(self) -> bool:
        """Whether it is at the top."""
        return self._run is None

    @property
    def _bus(self) -> WorkerBus:
        assert self.place is not None  # noqa: S101 - nobody is told anything before it is attached
        return self.place.bus

    # -- the tree ----------------------------------------------------------------------------------------------------------

    def ancestors(self) -> Iterator[Family]:
        """The parent, its parent, and so on."""
        above = self.parent
        while above is not None:
            yield above
            above = above.parent

    def descendants(self) -> Iterator[Family]:
        """All below, parents before their children."""
        waiting = list(self.children.values())[::-1]
        while waiting:
            family = waiting.pop()
            yield family
            waiting.extend(list(family.children.values())[::-1])

    def path(self) -> str:
        """The names from the top to here."""
        return "/".join(family.name for family in (*[*self.ancestors()][::-1], self))

    def adopt(self, families: Sequence[Family]) -> None:
        """Make them children, all or none; if this place is attached, so are they, with all below them.

        Raises:
            FamilyError: One has a parent, or would be its own ancestor, or comes twice.
            DuplicateWorkerError: A name is taken.
            WorkerStateError: One has run already, or this worker takes nobody in any more.
        """
        if self.lifecycle.state not in OPEN:
            raise WorkerStateError(f"{self.name!r} is {self.lifecycle.state} and takes no children in any more")
        adopted: list[Family] = []
        try:
            for family in families:
                self._check_child(family)
                if family.name in self.children:
                    raise DuplicateWorkerError(f"{self.name!r} has a child called {family.name!r} already: choose another name")
                family.parent = self
                self.children[family.name] = family
                adopted.append(family)
            if self.place is not None:
                self._attach(self.place, adopted)
                self._tell_of_end(adopted)
        except BaseException:
            for family in adopted:
                del self.children[family.name]
                family.parent = None
            raise

    def _tell_of_end(self, families: Sequence[Family]) -> None:
        """It is starting, and is to end as soon as it is ready: so are the children it takes in."""
        if self.lifecycle.ending is not None:
            for family in families:
                self._bus.post(BusEndWorkerMessage(source=self.name, target=family.name, reason=self.lifecycle.ending.reason))

    def attach(self, place: Place) -> None:
        """Take the names of this worker and all below on the bus: all or none.

        Raises:
            DuplicateWorkerError: A name is taken.
            WorkerStateError: It is attached already.
        """
        if self.lifecycle.state is not WorkerState.NEW:
            raise WorkerStateError(f"worker {self.name!r} is {self.lifecycle.state}: only a new worker can be attached")
        self._attach(place, [self])

    def detach(self) -> None:
        """Give the name back; harmless without one."""
        if self.place is not None:
            self.place.bus.unsubscribe(self.inbox)

    @staticmethod
    def _attach(place: Place, families: Sequence[Family]) -> None:
        everyone = [member for family in families for member in (family, *family.descendants())]
        subscribed: list[Family] = []
        try:
            for family in everyone:
                place.bus.subscribe(family.inbox)
                subscribed.append(family)
        except BaseException:
            for family in subscribed:
                place.bus.unsubscribe(family.inbox)
            raise
        for family in everyone:
            family._settle(place)  # noqa: SLF001 - a family may look into its own kind

    def _settle(self, place: Place) -> None:
        self.place = place
        observers = place.bus.observers
        if tell := observers.worker_attached:
            above = None if self.parent is None or self.parent.is_runner else self.parent.name
            tell(self.name, above, place.registry.runner_name)
        self.lifecycle.attach(observers)
        self._duties.attached()

    def _check_child(self, family: Family) -> None:
        if family.lifecycle.is_over:
            raise WorkerStateError(f"worker {family.name!r} is {family.lifecycle.state}: only a new worker can be added")
        if family.parent is not None:
            raise FamilyError(f"worker {family.name!r} is a child of {family.parent.name!r} already: a worker has one parent")
        if family is self or any(family is above for above in self.ancestors()):
            raise FamilyError(f"worker {family.name!r} cannot be below itself")
        if family.lifecycle.state is not WorkerState.NEW:
            raise WorkerStateError(f"worker {family.name!r} is {family.lifecycle.state}: only a new worker can be added")

    # -- starting ----------------------------------------------------------------------------------------------------------

    @trio.lowlevel.enable_ki_protection  # the body's own code can be interrupted, the leaving of the nursery cannot
    async def household(self, params: WorkerParams, body: Callable[[trio.Nursery, *Ts], Awaitable[None]], *args: *Ts) -> None:
        """Run ``body`` with the nursery in which it and its children live; closed to newcomers when it is being left.

        Raises:
            RuntimeError: The body raised a Cancelled although nothing was cancelled.
        """
        self.lifecycle.serve()
        broken = False
        async with trio.open_nursery() as self.nursery:
            self.params = params
            try:
                await body(self.nursery, *args)
            except BaseException:
                broken = True
                self.lifecycle.leave(None)
                raise
            finally:
                self._duties.close()
        if broken:  # the nursery has swallowed it: a Cancelled, but neither our scope's nor that of anything around
            raise self._stray()

    def _stray(self) -> RuntimeError:
        return RuntimeError(f"{'runner' if self.is_runner else 'worker'} {self.name!r} raised Cancelled, but nothing was cancelled")

    def shut(self) -> None:
        """The nursery is being left: nothing is started there any more."""
        self.nursery = None

    async def start(self, families: Sequence[Family]) -> None:
        """Start them in parallel; return when all are ready.

        If this raises or is cancelled, none of them is there any more.

        Raises:
            BaseExceptionGroup: What those raised who failed, flat.
        """
        waiting = [family for family in families if family.lifecycle.state is WorkerState.ATTACHED]
        if self.nursery is None or not waiting:
            return
        launch = Launch(len(waiting))
        for family in waiting:
            family.params = self.params  # an end may come before it has taken its first step
            family.lifecycle.start(partial(family._started, launch))  # noqa: SLF001 - a family may look into its own kind
            family.inbox.load.add()  # being started is something to do: an end waits for it
            self.nursery.start_soon(self._seat, family, launch, name=f"worker:{family.name}")
        trouble = f"{self.name!r} could not start its workers"
        try:
            await launch.settled.wait()
        except BaseException as error:
            await self._undo(waiting)  # noqa: ASYNC102 - shielded
            if launch.errors:  # as from a nursery: what they died of comes out beside the cancellation
                raise flat_group(trouble, [*launch.errors, error]) from None  # noqa: ASYNC104 - it is in the group
            raise
        if launch.missing:
            await self._undo(waiting)
            raise flat_group(trouble, launch.errors or launch.excuses[:1])

    async def _undo(self, families: Sequence[Family]) -> None:
        """None of them stays."""
        with trio.CancelScope(shield=True):  # noqa: ASYNC912 - nobody to wait for is fine; else without bound, as trio's nursery waits
            for family in families:
                self.cancel_child(family, "not all workers given with it could be started")
            for family in families:
                await family.lifecycle.wait_over()

    def _started(self, launch: Launch) -> None:
        self.inbox.load.done()
        launch.ready()

    @trio.lowlevel.enable_ki_protection  # an interrupt is an error of the child's: whoever has started it hears how it ended
    async def _seat(self, child: Family, launch: Launch) -> None:
        """Hold a child's life: the task that owns it, in this worker's nursery."""
        run = child._run
        assert run is not None  # noqa: S101 - only workers are adopted
        try:
            await child.live(run, self.params)
        finally:
            del self.children[child.name]
            self._duties.child_gone(child.name)
            try:
                await self._account_for(child, launch)  # noqa: ASYNC102 - cancellable: its own finally is sync
            finally:
                if not self.children:
                    self._duties.childless()

    async def _account_for(self, child: Family, launch: Launch) -> None:
        """A child is over: those who started it hear of it, or, if it died later, the hook; then fail with it."""
        lifecycle = child.lifecycle
        errors = lifecycle.errors
        if not lifecycle.was_ready:
            child.inbox.load.done()
            launch.failed(errors, WorkerStartError(f"worker {child.name!r} was stopped before it was ready: {lifecycle.reason}"))
        elif errors:
            error = errors[0] if len(errors) == 1 else flat_group(f"worker {child.name!r} failed", errors)
            try:
                await trio.lowlevel.checkpoint_if_cancelled()
                await self._duties.child_failed(WorkerErrorData(child.name, describe(error), error))
            finally:
                self.lifecycle.fail(errors, f"its child {child.name!r} failed")

    # -- the boundary ------------------------------------------------------------------------------------------------------

    @trio.lowlevel.disable_ki_protection
    async def live(self, body: Callable[[*Ts], Awaitable[None]], *args: *Ts) -> None:
        """Run ``body`` as this worker's whole life; its errors are in ``lifecycle.errors`` when this returns.

        Raises:
            trio.Cancelled: Something around this worker was cancelled.
        """
        lifecycle = self.lifecycle
        found: list[BaseException] = []
        try:
            CHAIN.set(())
            if lifecycle.state is WorkerState.ATTACHED:
                lifecycle.start()
            lifecycle.occupy()
            with lifecycle.scope:
                await trio.lowlevel.checkpoint_if_cancelled()
                await body(*args)
            if not (lifecycle.served or lifecycle.is_leaving):
                found = [WorkerStateError(f"run() of worker {self.name!r} returned without having called super().run()")]
        except BaseException as error:  # noqa: BLE001, ASYNC103 - the boundary: errors are handed on as a list, a cancellation goes on below
            found = leaves(error)
        await self._leave(found)

    async def live_or_raise(self, message: str, body: Callable[[*Ts], Awaitable[None]], *args: *Ts) -> None:
        """Like :meth:`live`, for those who have no owner to hand their errors to.

        Raises:
            BaseExceptionGroup: The errors, flat, and the cancellation if something around was cancelled as well.
        """
        try:
            await self.live(body, *args)
        except trio.Cancelled as cancelled:
            if self.lifecycle.errors:
                raise flat_group(message, [*self.lifecycle.errors, cancelled]) from None  # noqa: ASYNC104 - it is in the group
            raise
        if self.lifecycle.errors:
            raise flat_group(message, self.lifecycle.errors)

    @trio.lowlevel.enable_ki_protection
    async def _leave(self, found: list[BaseException]) -> None:
        lifecycle = self.lifecycle
        errors = [error for error in found if type(error) is not trio.Cancelled]  # which is final, and slow to ask by isinstance()
        stray = len(errors) < len(found)
        for error in errors:
            if not any(note.startswith(_NOTE) for note in getattr(error, "__notes__", ())):
                error.add_note(f"{_NOTE}{self.path()}")
        if errors:
            lifecycle.fail(errors, describe(errors[0]))
        elif stray or lifecycle.state is not WorkerState.ENDING:
            lifecycle.cancel("cancelled from outside" if stray else "its run() returned")
        try:
            if stray:
                await trio.lowlevel.checkpoint_if_cancelled()  # raises if something around this worker has caused it
                lifecycle.blame(self._stray())
        finally:
            for child in list(self.children.values()):
                child.abandon()  # given, and never started: the seats of all others are empty by now
            self._duties.close()
            await self._duties.farewell()  # noqa: ASYNC102 - shielded
            self.detach()
            lifecycle.finish()

    def abandon(self) -> None:
        """It was never started and never will be: it is over now, with all below it."""
        for family in (*[*self.descendants()][::-1], self):
            family.lifecycle.cancel("never started")
            family._duties.close()  # noqa: SLF001 - a family may look into its own kind
            family._duties.forsake()  # noqa: SLF001 - as above
            family.detach()
            family.lifecycle.finish()
            if family.parent is not None and family.parent.children.pop(family.name, None) is not None:
                family.parent._duties.child_gone(family.name)  # noqa: SLF001 - as above

    # -- ending ------------------------------------------------------------------------------------------------------------

    def end(self, reason: str | None, jobs: Callable[[], Sequence[str]]) -> None:
        """End gracefully, with all below; does nothing if it leaves already.

        Args:
            reason: Why, in words.
            jobs: The jobs that run here now, as chains name them.
        """
        own = self.parent is None or self.parent.lifecycle.ending is None
        above = None if self.parent is None else self.parent.lifecycle.ending
        ending = above or Ending(reason, trio.current_time() + self.params.shutdown_timeout)
        if not self.lifecycle.remember_end(ending):
            if above is not None and self.lifecycle.ending is not None:
                above.include(self.lifecycle.ending)
            return
        self.inbox.load.join(ending.load)
        ending.jobs |= dict.fromkeys(jobs())
        if own:
            self.lifecycle.scope.deadline = ending.deadline
        self._tell_of_end(list(self.children.values()))
        if self.lifecycle.state is WorkerState.READY:
            self.begin_end()

    def begin_end(self) -> None:
        """It is ready and is to end."""
        self.lifecycle.end()
        assert self.nursery is not None  # noqa: S101 - it has one until it is neither ready nor ending
        if self.parent is None or self.parent.lifecycle.ending is not self.lifecycle.ending:
            self.nursery.start_soon(self._wind_down, name=f"end:{self.name}")

    async def _wind_down(self) -> None:
        assert self.lifecycle.ending is not None  # noqa: S101 - begin_end() is called when there is one
        await wait_idle(self.lifecycle.ending.load)
        self._finishing = True
        await self._finish()

    def finish(self) -> None:
        """Everything around is drained: leave, the children first. Does nothing to one that ends on its own account."""
        ending = self.lifecycle.ending
        above = None if self.parent is None else self.parent.lifecycle.ending
        if self.nursery is not None and ending is above and self.lifecycle.state is WorkerState.ENDING and not self._finishing:
            self._finishing = True
            if self.children or self.inbox.load.count:
                self.nursery.start_soon(self._finish, name=f"end:{self.name}")
            else:  # as most workers have it: nothing to wait for
                self._duties.close()

    async def _finish(self) -> None:
        for child in list(self.children.values())[::-1]:
            child.finish()
            await child.lifecycle.wait_over()
        await wait_idle(self.inbox.load)
        self._duties.close()

    async def end_children(self, names: Sequence[str]) -> None:
        """End some children gracefully, and wait until they are over; from inside one of them, do not wait for that one.

        Raises:
            UnknownWorkerError: One is no child.
        """
        unknown = [name for name in names if name not in self.children]
        if unknown:
            raise UnknownWorkerError(f"{self.name!r} has no child called {', '.join(map(repr, unknown))}")
        families = [self.children[name] for name in names]
        for family in families:
            if family.lifecycle.state in (WorkerState.NEW, WorkerState.ATTACHED):
                family.abandon()
                continue
            self._bus.post(BusEndWorkerMessage(source=self.name, target=family.name, reason=f"ended by {self.name!r}"))
        for family in families:
            if not family.lifecycle.is_inside():
                await family.lifecycle.wait_over()

    # -- cancelling --------------------------------------------------------------------------------------------------------

    def cancel(self, reason: str | None) -> None:
        """Stop at once, with all below."""
        if self.lifecycle.state in (WorkerState.NEW, WorkerState.ATTACHED):
            self.abandon()
        elif self.lifecycle.cancel(reason):
            for child in list(self.children.values()):
                self.cancel_child(child, reason)

    def cancel_child(self, child: Family, reason: str | None) -> None:
        """Stop one child at once, with all below it; nothing happens if it is over."""
        if not child.lifecycle.is_over:
            self._bus.post(BusCancelWorkerMessage(source=self.name, target=child.name, reason=reason))
