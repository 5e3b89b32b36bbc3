"""The runner: the top of the tree."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Iterable
from contextlib import ExitStack
from typing import Any, ClassVar, TypeVar, final

import attrs
import trio

from .._checks import check_name, check_optional_text, check_seconds
from .._hooks import Handler, Hooks
from .._load import Load
from .._routes import Effects
from .._sources import WallClock, present_clock, random_name
from .._transitions import WorkerState
from ..bus import BusStatistics, Inbox, LocalBus, WorkerBus
from ..errors import WorkerStateError
from ..jobs import JobContext, JobGroupContext, JobRequester, Request
from ..messages import BusCancelMessage, BusEndMessage, BusMessage, BusWorkerErrorMessage
from ..observers import Observer
from ..registry import WorkerRegistry
from ..types import WorkerErrorData
from ..worker import BaseWorker, WorkerParams, WorkerStatistics
from ..worker.base import family_of
from ..worker.family import Family, Place
from ..worker.lifecycle import Lifecycle
from ..worker.params import SHUTDOWN_TIMEOUT
from .signals import watch_signals

H = TypeVar("H", bound=Handler)


@attrs.frozen
class RunnerStatistics:
    """A runner at one moment; it can be asked for after its end, too.

    Args:
        name: Its name.
        state: Where it is in its life.
        started: Workers that have become ready, children included.
        finished: Those of them that are gone.
        waits: How many wait for each worker that is not ready.
        bus: What has happened on its bus.
        workers: The workers there are now, parents before their children.
    """

    name: str
    state: WorkerState
    started: int
    finished: int
    waits: dict[str, int]
    bus: BusStatistics
    workers: tuple[WorkerStatistics, ...]


class RunnerHooks:
    """A runner has no hooks to override: its events are ``on_ready`` and ``on_error``."""


def _may_wait(names: tuple[str, ...]) -> None:
    """A runner's code may wait for any worker: no worker's readiness waits for it."""
    del names


@attrs.frozen(kw_only=True, eq=False, repr=False)
class _Duties:
    """What the family of a runner needs of it."""

    child_failed: Callable[[WorkerErrorData], Awaitable[None]]
    close: Callable[[], None]
    farewell: Callable[[], Awaitable[None]]
    forsake: Callable[[], None]
    childless: Callable[[], None]

    def attached(self) -> None:
        """A runner has its place when it is made."""

    def child_gone(self, name: str) -> None:
        """A runner watches nobody."""


@final
class WorkerRunner:
    """Runs workers: owns the roots, and through them all others.

    ::

        runner = WorkerRunner()
        await runner.add_workers(Adder("adder"))
        await runner.run()

    Args:
        name: Its name on the bus; made up if left out.
        bus: The bus; a :class:`LocalBus` of its own if left out.
        handle_sigint: Whether the first SIGINT (Ctrl-C) ends gracefully and the second cancels; main thread only.
        handle_sigterm: The same for SIGTERM.
        shutdown_timeout: Seconds from the first ``end`` to the cancel of what still runs; ``inf`` allowed.
        clock: Unix time in seconds, for ``started_at``; the one that :func:`sources` says, if left out.
        observers: Those who are to be told what happens, from the runner's own beginning on; see :meth:`WorkerBus.add_observer`.

    Raises:
        TypeError, ValueError: Bad arguments.
        DuplicateWorkerError: The name is taken on the bus.

    Reference: WorkerRunner.
    """

    def __init__(
        self,
        *,
        name: str | None = None,
        bus: WorkerBus | None = None,
        handle_sigint: bool = True,
        handle_sigterm: bool = True,
        shutdown_timeout: float = SHUTDOWN_TIMEOUT,
        clock: WallClock | None = None,
        observers: Iterable[Observer] = (),
    ) -> None:
        self._name = random_name("runner") if name is None else check_name(name, "a runner's name")
        if not (bus is None or isinstance(bus, WorkerBus)):
            raise TypeError(f"a runner's bus must be a WorkerBus, not {bus!r}")
        self._bus = bus if bus is not None else LocalBus()
        self._signals = [signal.SIGINT] * bool(handle_sigint) + [signal.SIGTERM] * bool(handle_sigterm)
        self._shutdown_timeout = check_seconds(shutdown_timeout, "shutdown_timeout")
        self._registry = WorkerRegistry(self._name, clock or present_clock(), self._bus.observers)
        self._hooks = Hooks(self, RunnerHooks, ("on_ready", "on_error"))
        self._auto_end = False
        self._ran = False
        self._drained = trio.Event()
        load = Load()
        self._lifecycle = Lifecycle(self._name)
        handlers: dict[type[BusMessage], Callable[[Any], Any]] = {BusWorkerErrorMessage: self._on_error_report}
        self._inbox = Inbox(self._name, self._hooks, load, handlers=handlers, broadcasts=(BusEndMessage, BusCancelMessage))
        self._requester = JobRequester(self._name, self._inbox, load, lambda: self._bus, lambda: self._registry, _may_wait)
        self._inbox.routes.claim(self, self._effects)
        self._inbox.routes.claim(self._requester, self._requester.effects)
        duties = _Duties(
            child_failed=self._child_failed,
            close=self._close,
            farewell=self._requester.farewell,
            forsake=self._requester.forsake,
            childless=self._childless,
        )
        self._family = Family(self, self._lifecycle, self._inbox, duties, None)
        self._attach(observers)

    def __repr__(self) -> str:
        return f"<WorkerRunner {self._name!r} {self._lifecycle.state}>"

    # -- what it is --------------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Its name on the bus."""
        return self._name

    @property
    def bus(self) -> WorkerBus:
        """The bus."""
        return self._bus

    @property
    def registry(self) -> WorkerRegistry:
        """Who is ready."""
        return self._registry

    @property
    def workers(self) -> list[BaseWorker]:
        """The roots, in the order added."""
        return [child.member for child in self._family.children.values() if isinstance(child.member, BaseWorker)]

    def get_worker(self, name: str) -> BaseWorker | None:
        """The worker of that name in this runner, root or not; ``None`` if there is none."""
        for family in self._family.descendants():
            if family.name == name and isinstance(family.member, BaseWorker):
                return family.member
        return None

    def statistics(self) -> RunnerStatistics:
        """A snapshot."""
        members = [family.member for family in self._family.descendants()]
        return RunnerStatistics(
            name=self._name,
            state=self._lifecycle.state,
            started=self._registry.registered,
            finished=self._registry.unregistered,
            waits=dict(self._registry.waiting()),
            bus=self._bus.statistics(),
            workers=tuple(member.statistics() for member in members if isinstance(member, BaseWorker)),
        )

    # -- life --------------------------------------------------------------------------------------------------------------

    async def add_workers(self, *workers: BaseWorker) -> None:
        """Take workers in as roots; if this runner runs, start them, and return when all are ready.

        All or none: if one fails before it is ready, or this is cancelled, none of them stays.

        Raises:
            TypeError: One is no worker.
            FamilyError: One has a parent already, or comes twice.
            DuplicateWorkerError: A name is taken.
            WorkerStateError: One has run already, or this runner ends.
            ExceptionGroup: What those raised who failed before they were ready, flat.

        Reference: WorkerRunner.add_workers.
        """
        families = [family_of(worker) for worker in workers]
        await trio.lowlevel.checkpoint()
        self._family.adopt(families)
        await self._family.start(families)

    async def end_workers(self, *worker_names: str) -> None:
        """End some roots gracefully, and wait until they have finished; see :meth:`BaseWorker.end_workers`."""
        names = [check_name(name) for name in worker_names]
        await trio.lowlevel.checkpoint()
        await self._family.end_children(names)

    async def run(self, *, auto_end: bool = True, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run all workers until the end.

        ::

            await runner.run()

        Args:
            auto_end: Whether to end when the last root has finished; otherwise only by ``end`` and ``cancel``.
            task_status: ``started()`` is called when all workers given so far are ready.

        Raises:
            WorkerStateError: It has run before.
            BaseExceptionGroup: What workers died of: one flat group, each exception with a note of the worker's path.
            BusConnectionError: The bus cannot be reached: nothing was started.
            DuplicateWorkerError: Another runner on the bus has this runner's name.

        If it is cancelled, so is everything; nothing is left when it returns or raises.

        Reference: WorkerRunner.run.
        """
        await trio.lowlevel.checkpoint()
        if self._ran:
            raise WorkerStateError(f"runner {self._name!r} has run: make a new one")
        self._ran = True
        self._auto_end = auto_end
        if self._lifecycle.is_over:
            task_status.started()
            return
        try:
            async with self._bus.serving(self._registry):
                await self._live(task_status)
        finally:
            if not self._lifecycle.is_over:  # the bus could not be reached: nobody has been started
                self._family.abandon()

    async def end(self, reason: str | None = None) -> None:
        """Ask for a graceful end: no new jobs, running ones finish, then all leave, the last started first. Returns at once.

        Before ``run`` it is remembered: ``run`` then returns without starting anything.

        Reference: WorkerRunner.end.
        """
        await trio.lowlevel.checkpoint()
        self.end_nowait(reason)

    def end_nowait(self, reason: str | None = None) -> None:
        """Like :meth:`end`, sync."""
        self._end(check_optional_text(reason, "a reason"))

    async def cancel(self, reason: str | None = None) -> None:
        """Ask for the end of everything at once; the reason reaches every worker. Before ``run`` it is remembered.

        Reference: WorkerRunner.cancel.
        """
        await trio.lowlevel.checkpoint()
        self.cancel_nowait(reason)

    def cancel_nowait(self, reason: str | None = None) -> None:
        """Like :meth:`cancel`, sync: for ``finally`` and while being cancelled."""
        self._family.cancel(check_optional_text(reason, "a reason"))

    # -- asking, for code that is no worker --------------------------------------------------------------------------------

    def job(
        self,
        worker_name: str,
        *,
        name: str | None = None,
        payload: dict[str, Any] | None = None,
        timeout: float | None = None,
        cancel_grace: float | None = None,
    ) -> JobContext:
        """Ask a worker for a job from plain trio code; see :meth:`BaseWorker.job`."""
        request = Request.checked([worker_name], name=name, payload=payload, timeout=timeout)
        return JobContext(self._requester, request, cancel_grace)

    def job_group(
        self,
        *worker_names: str,
        name: str | None = None,
        payload: dict[str, Any] | None = None,
        timeout: float | None = None,
        cancel_on_error: bool = True,
        cancel_grace: float | None = None,
    ) -> JobGroupContext:
        """Ask several workers from plain trio code; see :meth:`BaseWorker.job_group`."""
        request = Request.checked(worker_names, name=name, payload=payload, timeout=timeout, cancel_on_error=cancel_on_error)
        return JobGroupContext(self._requester, request, cancel_grace)

    async def request_job(
        self, worker_name: str, *, name: str | None = None, payload: dict[str, Any] | None = None, timeout: float | None = None
    ) -> str:
        """Ask a worker and do not wait for the answer; see :meth:`BaseWorker.request_job`."""
        request = Request.checked([worker_name], name=name, payload=payload, timeout=timeout)
        return (await self._requester.ask_one(request)).job_id

    # -- events ------------------------------------------------------------------------------------------------------------

    def event_handler(self, event: str) -> Callable[[H], H]:
        """Register a handler, as a decorator; see :meth:`add_event_handler`."""

        def register(handler: H) -> H:
            self.add_event_handler(event, handler)
            return handler

        return register

    def add_event_handler(self, event: str, handler: Handler) -> None:
        """Run ``handler(runner, *args)``, sync or async.

        ``on_ready()``: all workers given before ``run`` are ready. ``on_error(data)``: a root reported an error, or died of one
        (``data.exception``); if it died, ``run`` raises it when the handler returns.

        Raises:
            ValueError: There is no such event.
            TypeError: The handler cannot be called.
        """
        self._hooks.register(event, handler)

    # -- inside ------------------------------------------------------------------------------------------------------------

    def _attach(self, observers: Iterable[Observer]) -> None:
        with ExitStack() as undo:
            for observer in observers:
                if self._bus.observers.add(observer):
                    undo.callback(self._bus.remove_observer, observer)
            self._family.attach(Place(self._bus, self._registry))
            undo.pop_all()

    async def _live(self, task_status: trio.TaskStatus[None]) -> None:
        if self._lifecycle.is_over:  # it was ended while the bus was connecting
            task_status.started()
            return
        await self._family.live_or_raise(f"workers of runner {self._name!r} failed", self._serve, task_status)

    async def _serve(self, task_status: trio.TaskStatus[None]) -> None:
        params = WorkerParams(trio_token=trio.lowlevel.current_trio_token(), shutdown_timeout=self._shutdown_timeout)
        await self._family.household(params, self._dwell, task_status)

    @trio.lowlevel.disable_ki_protection
    async def _dwell(self, nursery: trio.Nursery, task_status: trio.TaskStatus[None]) -> None:
        self._requester.open(nursery)
        self._inbox.system.open(nursery)  # before it is ready itself: roots may die as soon as they live
        signals: trio.CancelScope = await nursery.start(watch_signals, self._signals, self._on_signal)
        try:
            await self._family.start(list(self._family.children.values()))
            await self._ready(nursery)
            task_status.started()
            await self._drained.wait()
        finally:
            signals.cancel()

    async def _ready(self, nursery: trio.Nursery) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()  # by a worker that was ready a moment before
        self._lifecycle.ready()
        self._inbox.data.open(nursery)
        if self._lifecycle.ending is not None:
            self._family.begin_end()
        await self._hooks.fire("on_ready")
        if not self._family.children:
            self._childless()

    def _close(self) -> None:
        self._drained.set()
        self._retire()

    def _retire(self) -> None:
        reason = f"runner {self._name!r} has ended: {self._lifecycle.reason or 'no reason given'}"
        self._registry.close(reason)  # first: who waits for a worker through this runner hears which one will not come
        self._requester.close(reason)
        self._inbox.close()
        self._family.shut()

    def _end(self, reason: str | None) -> None:
        if self._lifecycle.state is WorkerState.ATTACHED:
            self._family.abandon()
        else:
            self._family.end(reason, lambda: ())

    def _childless(self) -> None:
        if self._auto_end and self._lifecycle.state is WorkerState.READY:
            self._end("all workers have finished")

    def _on_signal(self, number: signal.Signals) -> None:
        if self._lifecycle.is_leaving:
            self._family.cancel(f"second signal: {number.name}")
        else:
            self._end(number.name)

    def _on_end(self, message: BusEndMessage) -> None:
        self._end(message.reason)

    def _on_cancel(self, message: BusCancelMessage) -> None:
        self._family.cancel(message.reason)

    _effects: ClassVar[Effects] = {BusEndMessage: _on_end, BusCancelMessage: _on_cancel}

    async def _on_error_report(self, message: BusWorkerErrorMessage) -> None:
        if message.source in self._family.children:  # another runner's roots on the same bus are that runner's affair
            await self._hooks.fire("on_error", WorkerErrorData(message.source, message.error))

    async def _child_failed(self, data: WorkerErrorData) -> None:
        await self._inbox.shown(("on_error", data), lane=self._inbox.system)
