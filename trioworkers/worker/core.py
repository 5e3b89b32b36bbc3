"""A worker's parts, put together; and the one choreography that needs them all: opening, serving, leaving.

The parts do not know each other. Each is built here from what it needs, brings its routes, and is opened when the worker is ready
and closed when it leaves. :class:`BaseWorker` is the face of this: every public method is a line or two on one part.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import ClassVar, Protocol

import attrs
import trio

from .._decorators import Marks
from .._hooks import Handler, Hooks
from .._load import Load
from .._routes import Effects
from .._transitions import ActivationState, WorkerState
from ..bus import Inbox, MailboxStatistics, WorkerBus
from ..bus.inbox import Showing
from ..bus.lane import Lane
from ..errors import JobError, JobGroupError, WorkerStateError
from ..jobs import JobRequester, JobResponder, RequesterStatistics, ResponderStatistics, handlers_of
from ..messages import (
    BusActivateWorkerMessage,
    BusCancelWorkerMessage,
    BusDeactivateWorkerMessage,
    BusEndWorkerMessage,
    BusJobRequestMessage,
    BusMessage,
    BusWorkerLocalErrorMessage,
    BusWorkerReadyMessage,
)
from ..registry import WorkerRegistry
from ..types import WorkerErrorData, WorkerRegistryEntry
from .activation import Activation
from .family import Family, Place
from .lifecycle import Lifecycle
from .params import WorkerParams
from .watches import Watches


@attrs.frozen
class WorkerStatistics:
    """A worker at one moment; it can be asked for after the worker's end, too.

    Args:
        name: Its name.
        state: Where it is in its life.
        active: Whether it is active.
        parent: Its parent's name, ``None`` for a root.
        children: The names of the children it has now.
        mailbox: What waits for it.
        asking: What it has asked for.
        answering: What it has been asked for.
    """

    name: str
    state: WorkerState
    active: bool
    parent: str | None
    children: tuple[str, ...]
    mailbox: MailboxStatistics
    asking: RequesterStatistics
    answering: ResponderStatistics


class Member(Protocol):
    """What the core needs of the worker whose core it is; all of it may be overridden."""

    async def run(self, params: WorkerParams) -> None:
        """Live until finished."""
        ...

    async def start(self) -> None:
        """Be ready."""
        ...

    @property
    def bridged(self) -> bool:
        """Whether it bridges to something outside."""
        ...


class WorkerCore:
    """The parts of one worker."""

    def __init__(self, member: Member, name: str, *, active: bool, hooks: Hooks, marks: Marks) -> None:
        load, bus, registry = Load(), self.bus, self.registry
        messages = {cls: getattr(member, attribute) for cls, attribute in marks.messages.items()}
        ready = {watched: getattr(member, attribute) for watched, attribute in marks.ready.items()}
        self.name = name
        self.hooks = hooks
        self.started_at: float | None = None
        self._member = member
        self.lifecycle: Lifecycle = Lifecycle(name)
        self.inbox: Inbox = Inbox(name, hooks, load, self._forgives, messages)
        self.requester: JobRequester = JobRequester(name, self.inbox, load, bus, registry, self._may_wait_for)
        self.family: Family = Family(member, self.lifecycle, self.inbox, self, member.run)
        self.responder: JobResponder = JobResponder(name, self.inbox, load, bus, handlers_of(member, marks.jobs), self._refuses)
        self.activation: Activation = Activation(
            Lane("activation", name, self.inbox.perform, load),
            hooks,
            self._activation_changed,
            ActivationState.ACTIVE if active else ActivationState.INACTIVE,
        )
        self.watches: Watches = Watches(name, self.inbox, registry, ready)
        self.failures: Lane[Showing] = Lane("failures", name, self.inbox.perform, load)
        claim = self.inbox.routes.claim
        claim(self.requester, self.requester.effects)
        claim(self.responder, self.responder.effects)
        claim(self, self._effects)

    # -- the surroundings --------------------------------------------------------------------------------------------------

    def place(self) -> Place:
        """The bus and the registry.

        Raises:
            WorkerStateError: There are none yet.
        """
        if self.family.place is None:
            raise WorkerStateError(f"worker {self.name!r} is not attached: add it to a runner or to a worker first")
        return self.family.place

    def bus(self) -> WorkerBus:
        """The bus; see :meth:`place`."""
        place = self.family.place
        return self.place().bus if place is None else place.bus

    def registry(self) -> WorkerRegistry:
        """The registry; see :meth:`place`."""
        return self.place().registry

    def post(self, message: BusMessage) -> None:
        """Send now."""
        self.bus().post(message)

    @property
    def parent(self) -> str | None:
        """The parent's name; a runner is nobody's parent."""
        above = self.family.parent
        return None if above is None or above.is_runner else above.name

    # -- the choreography --------------------------------------------------------------------------------------------------

    def run(self, params: WorkerParams, task_status: trio.TaskStatus[None]) -> Awaitable[None]:
        """Live: hold one's own seat if nobody else does."""
        if self.lifecycle.state is WorkerState.NEW or self.lifecycle.is_over:
            raise WorkerStateError(f"worker {self.name!r} is {self.lifecycle.state}: attach it first, and run it once")
        if self.lifecycle.served:
            raise WorkerStateError(f"worker {self.name!r} runs already: an instance runs once")
        if self.lifecycle.state is not WorkerState.ATTACHED:
            return self._serve(params, task_status)
        return self.family.live_or_raise(f"worker {self.name!r} failed", self._serve, params, task_status)

    async def _serve(self, params: WorkerParams, task_status: trio.TaskStatus[None]) -> None:
        try:
            await self.family.household(params, self._dwell, task_status)
        finally:
            await self.requester.farewell()  # noqa: ASYNC102 - shielded
            self.watches.close()
            self.registry().unregister(self.name)

    @trio.lowlevel.disable_ki_protection
    async def _dwell(self, nursery: trio.Nursery, task_status: trio.TaskStatus[None]) -> None:
        self.requester.open(nursery)
        self.failures.open(nursery)  # before it is ready itself: its children may die as soon as they live
        self.watches.open()
        await self.family.start(list(self.family.children.values()))
        await self._member.start()
        if not self.lifecycle.was_ready:
            raise WorkerStateError(f"start() of worker {self.name!r} returned without having called super().start()")
        task_status.started()
        await self.inbox.data.serve()

    async def claim(self) -> None:
        """Be the only one of this name on the whole bus, if it is a root."""
        if self.parent is None and self.family.place is not None:
            await self.family.place.bus.claim(self.name)

    def ready(self) -> None:
        """Be ready: registered, announced, open for jobs, active if asked to be."""
        nursery = self.family.nursery
        if nursery is None or self.lifecycle.state is not WorkerState.STARTING:
            raise WorkerStateError(f"worker {self.name!r} is {self.lifecycle.state}: start() is called by run(), once")
        registry = self.registry()
        registry.register(WorkerRegistryEntry(self.name, self.parent, self.activation.active, self._member.bridged))
        self.lifecycle.ready()
        entry = registry.get(self.name)
        assert entry is not None  # noqa: S101 - it has just been registered
        self.started_at = entry.started_at
        self.post(
            BusWorkerReadyMessage(
                source=self.name,
                runner=registry.runner_name,
                parent=entry.parent,
                active=entry.active,
                bridged=entry.bridged,
                started_at=entry.started_at,
            )
        )
        if self.lifecycle.ending is not None:
            self.family.begin_end()
        else:
            self.activation.open(nursery)
            self._watch_roots()
        self.responder.open(nursery, self.place().pool)
        self.inbox.system.open(nursery)

    def _watch_roots(self) -> None:
        if self.parent is None:
            self.watches.watch_roots()

    def stop(self, reason: str | None) -> None:
        """Stop at once, with all below."""
        if self.lifecycle.is_over:
            return
        if self.lifecycle.state in (WorkerState.NEW, WorkerState.ATTACHED):
            self.family.abandon()
        else:
            self.post(BusCancelWorkerMessage(source=self.name, target=self.name, reason=reason))

    def close(self) -> None:
        """Accept nothing more, give up what is out; whatever runs has been cancelled, or is done."""
        if not self.inbox.is_closed:
            self._close_parts()
        self.family.shut()

    def _close_parts(self) -> None:
        reason = f"worker {self.name!r} has stopped: {self.lifecycle.reason or 'no reason given'}"
        self.responder.close(reason)
        self.requester.close(reason)
        self.inbox.close()
        self.activation.lane.close()
        self.failures.close()

    def adopt(self, families: Sequence[Family], *, watch: bool) -> None:
        """Take children in, and watch them."""
        self.family.adopt(families)
        if watch:
            self.watches.watch_children(*(family.name for family in families))

    def add_event_handler(self, event: str, handler: Handler) -> None:
        """Register a handler; from now on this worker may want to hear of more."""
        self.hooks.register(event, handler)
        if self.family.place is not None:
            self.bus().listen(self.inbox)
        if self.lifecycle.state is WorkerState.READY:
            self._watch_roots()

    # -- what the family needs ---------------------------------------------------------------------------------------------

    async def child_failed(self, data: WorkerErrorData) -> None:
        """Run the hook for a child that died."""
        await self.inbox.shown(("on_worker_failed", data), lane=self.failures)

    def farewell(self) -> Awaitable[None]:
        """Wait, whatever is cancelled, until all that was asked for from here is over."""
        return self.requester.farewell()

    def forsake(self) -> None:
        """Do not wait for that."""
        self.requester.forsake()

    def attached(self) -> None:
        """It has its place: from here on there may be observers to tell."""
        self._tell_active()

    def child_gone(self, name: str) -> None:
        """A child's name may be somebody else's soon."""
        self.watches.forget_child(name)

    def childless(self) -> None:
        """A worker lives on without children."""

    # -- what others want to know ------------------------------------------------------------------------------------------

    def statistics(self) -> WorkerStatistics:
        """A snapshot."""
        return WorkerStatistics(
            self.name,
            self.lifecycle.state,
            self.activation.active,
            self.parent,
            tuple(self.family.children),
            self.inbox.statistics(),
            self.requester.statistics(),
            self.responder.statistics(),
        )

    def _refuses(self, request: BusJobRequestMessage) -> str | None:
        ending = self.lifecycle.ending
        if self.lifecycle.state is WorkerState.CANCELLING:
            return f"worker {self.name!r} has stopped: {self.lifecycle.reason}"
        if ending is not None and not ending.admits(request.chain):
            return f"worker {self.name!r} is ending"
        return None

    def _may_wait_for(self, names: tuple[str, ...]) -> None:
        if self.lifecycle.was_ready:
            return
        for above in (self.family, *self.family.ancestors()):
            if above.name in names and not above.lifecycle.was_ready:
                raise WorkerStateError(
                    f"worker {self.name!r} is not ready and waits for {above.name!r}, which can only be ready later: ask from a hook"
                )

    # -- effects -----------------------------------------------------------------------------------------------------------

    def _on_activate(self, message: BusActivateWorkerMessage) -> None:
        self.activation.activate(message.args)
        self.inbox.show(message)

    def _on_deactivate(self, message: BusDeactivateWorkerMessage) -> None:
        self.activation.deactivate()
        self.inbox.show(message)

    def _on_end(self, message: BusEndWorkerMessage) -> None:
        self.inbox.show(message)
        self.family.end(message.reason, self.responder.running_links)

    def _on_cancel(self, message: BusCancelWorkerMessage) -> None:
        self.family.cancel(message.reason)
        self.close()

    def _on_error(self, message: BusWorkerLocalErrorMessage) -> None:
        self.inbox.show(message)
        self.inbox.call(("on_worker_failed", WorkerErrorData(message.source, message.error)), lane=self.failures)

    _effects: ClassVar[Effects] = {
        BusActivateWorkerMessage: _on_activate,
        BusDeactivateWorkerMessage: _on_deactivate,
        BusEndWorkerMessage: _on_end,
        BusCancelWorkerMessage: _on_cancel,
        BusWorkerLocalErrorMessage: _on_error,
    }

    def _tell_active(self) -> None:
        if tell := self.inbox.observers.worker_active:
            tell(self.name, self.activation.active)

    def _activation_changed(self) -> None:
        self._tell_active()
        entry = self.registry().get(self.name)
        if entry is not None:
            self.registry().register(attrs.evolve(entry, active=self.activation.active))

    # -- hooks -------------------------------------------------------------------------------------------------------------

    def _forgives(self, error: BaseException) -> bool:
        """A job that a hook has asked for was given up because its worker leaves: that is no failure."""
        return isinstance(error, (JobError, JobGroupError)) and self.lifecycle.is_leaving
