"""The worker, as its users see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal, TypeVar, get_args

import attrs
import trio

from .._checks import check_name, check_optional_text, check_text
from .._decorators import Marks, collect, refuse_overriding
from .._hooks import Handler, Hooks, WorkerHooks
from .._sources import numbered_name
from ..bus import WorkerBus
from ..errors import UnknownWorkerError, WorkerStateError
from ..jobs import JobContext, JobGroup, JobGroupContext, Request
from ..messages import (
    BusActivateWorkerMessage,
    BusCancelMessage,
    BusDeactivateWorkerMessage,
    BusEndMessage,
    BusJobRequestMessage,
    BusMessage,
    BusWorkerErrorMessage,
    BusWorkerLocalErrorMessage,
)
from ..registry import WorkerRegistry
from ..types import JobStatus, WorkerActivationArgs
from .core import WorkerCore, WorkerStatistics
from .family import Family, Place
from .params import WorkerParams

H = TypeVar("H", bound=Handler)

Scope = Literal["runner", "bus"]
"""How far an end, or a cancel, of a session goes: this runner, or every runner on the bus."""


class BaseWorker(WorkerHooks):
    """A named actor that lives in its owner's nursery, owns children, and talks over the bus.

    ::

        class Adder(BaseWorker):
            @job(name="add")
            async def add(self, message):
                return {"sum": sum(message.payload["numbers"])}

    Subclass it, override hooks (all ``async``), mark methods with ``@job``, ``@worker_ready``, ``@handles``. Resources that live as
    long as the worker are held around ``run``::

        async def run(self, params, *, task_status=trio.TASK_STATUS_IGNORED):
            async with open_database() as self.database:
                await super().run(params, task_status=task_status)

    Args:
        name: Unique on its bus; made up if left out.
        active: Whether it is active from the start, or waits for its first activation.

    Raises:
        TypeError: The name is no ``str``.
        ValueError: The name is empty.

    Reference: BaseWorker.
    """

    __marks: ClassVar[Marks] = Marks()

    def __init_subclass__(cls, **kwargs: object) -> None:
        """Collect the marks of the class.

        Raises:
            ValueError: Two methods are marked for the same thing, or a marked one is called like a method of this class.
        """
        super().__init_subclass__(**kwargs)
        cls.__marks = collect(cls)
        refuse_overriding(cls, BaseWorker, cls.__marks)

    def __init__(self, name: str | None = None, *, active: bool = True) -> None:
        name = numbered_name(type(self).__name__) if name is None else check_name(name)
        self.__core = WorkerCore(
            self,
            name,
            active=bool(active),
            hooks=Hooks(self, WorkerHooks),
            marks=self.__marks,
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} {self.__core.lifecycle.state}>"

    # -- what it is --------------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Its name, unique on its bus."""
        return self.__core.name

    @property
    def bus(self) -> WorkerBus:
        """The bus.

        Raises:
            WorkerStateError: It is not attached.
        """
        return self.__core.bus()

    @property
    def registry(self) -> WorkerRegistry:
        """The registry.

        Raises:
            WorkerStateError: It is not attached.
        """
        return self.__core.registry()

    @property
    def active(self) -> bool:
        """Whether it is active: what it was asked to be last."""
        return self.__core.activation.active

    @property
    def activation_args(self) -> dict[str, Any] | None:
        """What the latest activation handed over; ``None`` when inactive."""
        return self.__core.activation.args

    @property
    def parent(self) -> str | None:
        """Its parent's name; ``None`` for a root."""
        return self.__core.parent

    @property
    def started_at(self) -> float | None:
        """Unix time (seconds) at which it became ready; ``None`` before."""
        return self.__core.started_at

    @property
    def bridged(self) -> bool:
        """Whether it bridges to something outside; subclasses that do override this."""
        return False

    @property
    def children(self) -> list[BaseWorker]:
        """Its children, in the order added."""
        return [child.member for child in self.__core.family.children.values() if isinstance(child.member, BaseWorker)]

    @property
    def active_jobs(self) -> dict[str, BusJobRequestMessage]:
        """The requests it has accepted and not answered, by job id: a copy."""
        return {job_id: job.request for job_id, job in self.__core.responder.active.items()}

    @property
    def job_groups(self) -> dict[str, JobGroup]:
        """The requests it has sent and that are not over, by job id: a copy."""
        return dict(self.__core.requester.groups)

    def statistics(self) -> WorkerStatistics:
        """A snapshot: state, mailbox, jobs asked for and answered. Works after its end, too."""
        return self.__core.statistics()

    # -- life --------------------------------------------------------------------------------------------------------------

    async def attach(self, *, registry: WorkerRegistry, bus: WorkerBus) -> None:
        """Take the name and subscribe, with all children given so far. ``add_workers`` does it for you.

        Raises:
            WorkerStateError: It is attached already, or has finished.
            DuplicateWorkerError: A name is taken.

        Reference: BaseWorker.attach.
        """
        await trio.lowlevel.checkpoint()
        self.__core.family.attach(Place(bus, registry))

    async def run(self, params: WorkerParams, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Live until finished.

        ::

            await nursery.start(worker.run, WorkerParams())        # by hand, after attach(); owners do it for you

        Overrides call ``super().run(...)`` and run their own things around and beside it.

        Args:
            params: The settings.
            task_status: ``started()`` is called when it is ready.

        Raises:
            WorkerStateError: It is not attached, or was run before.
            BaseExceptionGroup: What made it or its children fail, flat; only when run by hand, an owner is handed it.

        Reference: BaseWorker.run.
        """
        await self.__core.run(params, task_status)

    async def start(self) -> None:
        """Be ready: registered, announced, open for jobs. Called by ``run``; override it to do something just before or after.

        Raises:
            WorkerStateError: It is called from elsewhere.
            DuplicateWorkerError: Another runner on the bus has a root of that name.

        Reference: BaseWorker.start.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        await self.__core.claim()
        self.__core.ready()

    async def stop(self) -> None:
        """Stop at once, with all children: jobs answered CANCELLED, requests cancelled; waits until finished.

        From inside this worker (or one of its children) it only asks, and returns. Idempotent.

        Reference: BaseWorker.stop.
        """
        await trio.lowlevel.checkpoint()
        inside = self.__core.lifecycle.is_inside()
        self.__core.stop("stopped")
        if not inside:
            await self.__core.lifecycle.wait_over()

    async def cleanup(self) -> None:
        """Stop, and give the name back.

        Raises:
            WorkerStateError: It is called from inside this worker, which could not be waited for.

        Reference: BaseWorker.cleanup.
        """
        self.__refuse_inside("cleanup")
        await self.stop()

    async def end(self, *, reason: str | None = None, scope: Scope = "runner") -> None:
        """Ask the runner to end its whole session gracefully; returns at once.

        Args:
            reason: Why, in words.
            scope: ``"bus"`` asks every runner on the bus, on other machines too.

        Raises:
            TypeError: The reason is no ``str``.
            ValueError: The scope is neither.
            WorkerStateError: There is no runner.

        Reference: BaseWorker.end.
        """
        check_optional_text(reason, "a reason")
        await self.__tell_runner(BusEndMessage(source=self.name, target=self.registry.runner_name, reason=reason), scope)

    async def cancel(self, *, reason: str | None = None, scope: Scope = "runner") -> None:
        """Ask the runner to cancel its whole session at once; the reason reaches every worker.

        Args:
            reason: Why, in words.
            scope: ``"bus"`` asks every runner on the bus, on other machines too.

        Raises:
            TypeError: The reason is no ``str``.
            ValueError: The scope is neither.
            WorkerStateError: There is no runner.

        Reference: BaseWorker.cancel.
        """
        check_optional_text(reason, "a reason")
        await self.__tell_runner(BusCancelMessage(source=self.name, target=self.registry.runner_name, reason=reason), scope)

    async def wait(self) -> None:
        """Wait until this worker has finished.

        Raises:
            WorkerStateError: It is called from inside this worker, which would wait for itself.

        Reference: BaseWorker.wait.
        """
        self.__refuse_inside("wait")
        await self.__core.lifecycle.wait_over()

    async def wait_ending(self) -> None:
        """Wait until this worker ends, in whatever way: for long-lived hooks and handlers that want to leave early then.

        ::

            async def on_activated(self, args):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self.play_music)
                    await self.wait_ending()
                    nursery.cancel_scope.cancel()
        """
        await self.__core.lifecycle.wait_leaving()

    # -- children ----------------------------------------------------------------------------------------------------------

    async def add_workers(self, *workers: BaseWorker, watch: bool = True) -> None:
        """Take workers in as children; if this worker runs, start them, and return when all are ready.

        ::

            await self.add_workers(Reader("reader-1"), Reader("reader-2"))

        All or none: if one fails before it is ready, or this is cancelled, none of them stays.

        Args:
            workers: New workers, without a parent.
            watch: Whether ``on_worker_ready`` and ``on_worker_lost`` tell of them.

        Raises:
            TypeError: One is no worker.
            FamilyError: One has a parent, comes twice, or would be below itself.
            DuplicateWorkerError: A name is taken.
            WorkerStateError: One has run already, or this worker ends.
            ExceptionGroup: What those raised who failed before they were ready, flat.

        Reference: BaseWorker.add_workers.
        """
        families = [family_of(worker) for worker in workers]
        await trio.lowlevel.checkpoint()
        self.__core.adopt(families, watch=watch)
        await self.__core.family.start(families)

    async def end_workers(self, *worker_names: str) -> None:
        """End some children gracefully, each with all below it, and wait until they have finished.

        A call from inside such a child does not wait for it.

        Raises:
            UnknownWorkerError: One is no child of this worker.
        """
        names = [check_name(name) for name in worker_names]
        await trio.lowlevel.checkpoint()
        await self.__core.family.end_children(names)

    # -- talking -----------------------------------------------------------------------------------------------------------

    async def send_bus_message(self, message: BusMessage) -> None:
        """Send any message; see :meth:`WorkerBus.send`.

        Raises:
            TypeError: It is no message.
            WorkerStateError: This worker is not attached.

        Reference: BaseWorker.send_bus_message.
        """
        await self.bus.send(message)

    async def send_bus_error_message(self, error: str) -> None:
        """Report an error: a child's goes to its parent's ``on_worker_failed``, a root's to the runner and whoever listens.

        Raises:
            TypeError: The error is no ``str``.

        Reference: BaseWorker.send_bus_error_message.
        """
        check_text(error, "an error")
        message: BusMessage = (
            BusWorkerErrorMessage(source=self.name, error=error)
            if self.parent is None
            else BusWorkerLocalErrorMessage(source=self.name, target=self.parent, error=error)
        )
        await self.bus.send(message)

    async def activate_worker(
        self, worker_name: str, *, args: WorkerActivationArgs | None = None, deactivate_self: bool = False
    ) -> None:
        """Make a worker active.

        ::

            await self.activate_worker("writer", args=WorkerActivationArgs({"topic": "trees"}), deactivate_self=True)

        Args:
            worker_name: Whom; it need not be ready yet, but its name must be taken.
            args: What its ``on_activated`` receives.
            deactivate_self: Hand over: this worker is inactive before the other is active.

        Raises:
            UnknownWorkerError: Nobody has that name; this worker stays as it is.
            TypeError: Wrong types.

        Reference: BaseWorker.activate_worker.
        """
        if not (args is None or isinstance(args, WorkerActivationArgs)):
            raise TypeError(f"activation args must be WorkerActivationArgs or None, not {args!r}")
        await self.bus.pace()
        self.__check_known(worker_name)
        if deactivate_self and self.active:
            self.bus.post(BusDeactivateWorkerMessage(source=self.name, target=self.name))
        handed = (args.to_dict() or None) if args is not None else None
        self.bus.post(BusActivateWorkerMessage(source=self.name, target=worker_name, args=handed))

    async def deactivate_worker(self, worker_name: str) -> None:
        """Make a worker inactive.

        Raises:
            UnknownWorkerError: Nobody has that name.

        Reference: BaseWorker.deactivate_worker.
        """
        await self.bus.pace()
        self.__check_known(worker_name)
        self.bus.post(BusDeactivateWorkerMessage(source=self.name, target=worker_name))

    async def watch_workers(self, *worker_names: str) -> None:
        """Hear of workers: ``on_worker_ready`` for each that is there now or comes later, ``on_worker_lost`` when it goes.

        Raises:
            TypeError: A name is no ``str``.
            ValueError: A name is empty.

        Reference: BaseWorker.watch_workers.
        """
        names = [check_name(name) for name in worker_names]
        await self.bus.pace()
        self.__core.watches.watch(*names)

    # -- asking ------------------------------------------------------------------------------------------------------------

    async def request_job(
        self, worker_name: str, *, name: str | None = None, payload: dict[str, Any] | None = None, timeout: float | None = None
    ) -> str:
        """Ask a worker for a job and do not wait for the answer: the hooks ``on_job_...`` tell.

        ::

            job_id = await self.request_job("writer", name="draft", payload={"topic": "trees"}, timeout=30)

        Args:
            worker_name: Whom to ask; waits until it is ready.
            name: Which ``@job``; ``None`` for its ``on_job_request``.
            payload: What the handler reads.
            timeout: Seconds for readiness and work together; ``None`` for no limit.

        Returns:
            The job's id.

        Raises:
            JobError: The worker is not ready in time, or never will be.
            WorkerStateError: This worker has finished, or does not run yet.

        Reference: BaseWorker.request_job.
        """
        request = Request.checked([worker_name], name=name, payload=payload, timeout=timeout)
        return (await self.__core.requester.ask_one(request)).job_id

    def job(
        self,
        worker_name: str,
        *,
        name: str | None = None,
        payload: dict[str, Any] | None = None,
        timeout: float | None = None,
        cancel_grace: float | None = None,
    ) -> JobContext:
        """Ask a worker for a job and hold on to it: a block that behaves like a nursery of one.

        ::

            async with self.job("writer", name="draft", payload={"topic": "trees"}, timeout=30) as job:
                async for event in job:
                    print(event.data)
            print(job.response)

        Args:
            worker_name: Whom to ask; waits until it is ready.
            name: Which ``@job``; ``None`` for its ``on_job_request``.
            payload: What the handler reads.
            timeout: Seconds for readiness and work together; ``None`` for no limit.
            cancel_grace: Seconds to wait for a cancelled handler to be gone; ``None`` for as long as it takes.

        Raises:
            TypeError, ValueError: Bad arguments: at the call, nothing is sent.
            WorkerStateError: This worker has finished.

        Reference: BaseWorker.job.
        """
        request = Request.checked([worker_name], name=name, payload=payload, timeout=timeout)
        return JobContext(self.__core.requester, request, cancel_grace)

    async def request_job_group(
        self,
        *worker_names: str,
        name: str | None = None,
        payload: dict[str, Any] | None = None,
        timeout: float | None = None,
        cancel_on_error: bool = True,
    ) -> str:
        """Ask several workers for the same job and do not wait for the answers.

        Args:
            worker_names: Whom to ask; waits until all are ready.
            name: Which ``@job``.
            payload: What each handler reads.
            timeout: Seconds for readiness and work together.
            cancel_on_error: Whether the first member that does not complete ends the others.

        Returns:
            The id that the jobs share.

        Raises:
            JobGroupError: Not all are ready in time, or never will be.
            WorkerStateError: This worker has finished, or does not run yet.

        Reference: BaseWorker.request_job_group.
        """
        group = await self.create_job_group_and_request_job(
            list(worker_names), name=name, payload=payload, timeout=timeout, cancel_on_error=cancel_on_error
        )
        return group.job_id

    def job_group(
        self,
        *worker_names: str,
        name: str | None = None,
        payload: dict[str, Any] | None = None,
        timeout: float | None = None,
        cancel_on_error: bool = True,
        cancel_grace: float | None = None,
    ) -> JobGroupContext:
        """Ask several workers for the same job and hold on to it: like :meth:`job`, for many.

        ::

            async with self.job_group("a", "b", name="draft", timeout=30) as group:
                async for event in group:
                    print(event.worker_name, event.data)
            print(group.responses)

        Raises:
            TypeError, ValueError: Bad arguments: at the call, nothing is sent.
            WorkerStateError: This worker has finished.

        Reference: BaseWorker.job_group.
        """
        request = Request.checked(worker_names, name=name, payload=payload, timeout=timeout, cancel_on_error=cancel_on_error)
        return JobGroupContext(self.__core.requester, request, cancel_grace)

    async def create_job_group_and_request_job(
        self,
        worker_names: list[str],
        *,
        name: str | None = None,
        payload: dict[str, Any] | None = None,
        timeout: float | None = None,
        cancel_on_error: bool = True,
    ) -> JobGroup:
        """Ask several workers for the same job; the record of it can be waited for.

        ::

            group = await self.create_job_group_and_request_job(["a", "b"], name="draft")
            result = await group.wait()

        Raises:
            JobGroupError: Not all are ready in time, or never will be.
            WorkerStateError: This worker has finished, or does not run yet.

        Reference: BaseWorker.create_job_group_and_request_job.
        """
        request = Request.checked(worker_names, name=name, payload=payload, timeout=timeout, cancel_on_error=cancel_on_error)
        return await self.__core.requester.ask(request)

    async def cancel_job_group(self, job_id: str, *, reason: str | None = None) -> None:
        """Give a request up; nothing happens if it is unknown or done. Whoever waits for it gets the error at once.

        Reference: BaseWorker.cancel_job_group.
        """
        check_name(job_id, "a job's id")
        check_optional_text(reason, "a reason")
        await self.bus.pace()
        self.__core.requester.cancel_by_id(job_id, reason)

    async def request_job_update(self, job_id: str, worker_name: str) -> None:
        """Ask a member of a request for news: its ``on_job_update_requested`` runs. Nothing happens if it has answered.

        Reference: BaseWorker.request_job_update.
        """
        await self.bus.pace()
        self.__core.requester.request_update(job_id, worker_name)

    # -- answering ---------------------------------------------------------------------------------------------------------

    async def send_job_response(
        self,
        job_id: str,
        response: dict[str, Any] | None = None,
        *,
        status: JobStatus = JobStatus.COMPLETED,
        urgent: bool = False,
    ) -> None:
        """Answer a job; it leaves ``active_jobs``.

        ::

            await self.send_job_response(message.job_id, {"sum": 3})

        Args:
            job_id: Which job.
            response: What the requester gets.
            status: How it ended.
            urgent: Whether the requester's hooks see it before waiting messages of other jobs.

        Raises:
            NoSuchJobError: This worker has no such active job.
            TypeError, ValueError: Bad arguments; the job is still active.

        Reference: BaseWorker.send_job_response.
        """
        await self.bus.pace()
        self.send_job_response_nowait(job_id, response, status=status, urgent=urgent)

    def send_job_response_nowait(
        self,
        job_id: str,
        response: dict[str, Any] | None = None,
        *,
        status: JobStatus = JobStatus.COMPLETED,
        urgent: bool = False,
    ) -> None:
        """Like :meth:`send_job_response`, sync: for ``finally`` and while being cancelled."""
        self.__core.responder.respond(job_id, response, status, urgent=urgent)

    async def send_job_update(self, job_id: str, update: dict[str, Any] | None = None, *, urgent: bool = False) -> None:
        """Send news of a job; waits while the requester is a window behind, unless urgent.

        Raises:
            NoSuchJobError: This worker has no such active job.

        Reference: BaseWorker.send_job_update.
        """
        await self.__core.responder.update(job_id, update, urgent=urgent)

    def send_job_update_nowait(self, job_id: str, update: dict[str, Any] | None = None, *, urgent: bool = False) -> None:
        """Like :meth:`send_job_update`, sync.

        Raises:
            trio.WouldBlock: The requester is a window behind.
        """
        self.__core.responder.update_nowait(job_id, update, urgent=urgent)

    async def send_job_stream_start(self, job_id: str, data: dict[str, Any] | None = None) -> None:
        """Begin a stream.

        Raises:
            NoSuchJobError: This worker has no such active job.
            WorkerStateError: Its stream has begun already.

        Reference: BaseWorker.send_job_stream_start.
        """
        await self.bus.pace()
        self.send_job_stream_start_nowait(job_id, data)

    def send_job_stream_start_nowait(self, job_id: str, data: dict[str, Any] | None = None) -> None:
        """Like :meth:`send_job_stream_start`, sync."""
        self.__core.responder.stream_start(job_id, data)

    async def send_job_stream_data(self, job_id: str, data: dict[str, Any] | None = None) -> None:
        """Send a piece of a stream; waits while the requester is a window behind.

        Raises:
            NoSuchJobError: This worker has no such active job.
            WorkerStateError: Its stream has not begun.

        Reference: BaseWorker.send_job_stream_data.
        """
        await self.__core.responder.stream_data(job_id, data)

    def send_job_stream_data_nowait(self, job_id: str, data: dict[str, Any] | None = None) -> None:
        """Like :meth:`send_job_stream_data`, sync.

        Raises:
            trio.WouldBlock: The requester is a window behind.
        """
        self.__core.responder.stream_data_nowait(job_id, data)

    async def send_job_stream_end(self, job_id: str, data: dict[str, Any] | None = None) -> None:
        """End a stream and with it the job, COMPLETED; ``data`` is the response.

        Raises:
            NoSuchJobError: This worker has no such active job.
            WorkerStateError: Its stream has not begun.

        Reference: BaseWorker.send_job_stream_end.
        """
        await self.bus.pace()
        self.send_job_stream_end_nowait(job_id, data)

    def send_job_stream_end_nowait(self, job_id: str, data: dict[str, Any] | None = None) -> None:
        """Like :meth:`send_job_stream_end`, sync."""
        self.__core.responder.stream_end(job_id, data)

    # -- handlers ----------------------------------------------------------------------------------------------------------

    def event_handler(self, event: str) -> Callable[[H], H]:
        """Register a handler, as a decorator.

        ::

            @worker.event_handler("on_job_update")
            async def show(worker, message):
                print(message.update)

        Raises:
            ValueError: There is no such event.

        Reference: event_handler.
        """

        def register(handler: H) -> H:
            self.add_event_handler(event, handler)
            return handler

        return register

    def add_event_handler(self, event: str, handler: Handler) -> None:
        """Run ``handler(worker, *args)``, sync or async, after the hook of that name, in the same place.

        Raises:
            ValueError: There is no such event.
            TypeError: The handler cannot be called.

        Reference: add_event_handler.
        """
        self.__core.add_event_handler(event, handler)

    # -- inside ------------------------------------------------------------------------------------------------------------

    def __check_known(self, worker_name: str) -> None:
        check_name(worker_name)
        if worker_name == self.registry.runner_name or (worker_name not in self.bus and worker_name not in self.registry):
            raise UnknownWorkerError(f"nobody is called {worker_name!r}: add the worker before you activate it")

    def __refuse_inside(self, verb: str) -> None:
        if self.__core.lifecycle.is_inside():
            raise WorkerStateError(
                f"{verb}() of worker {self.name!r} was called from inside it, and would wait for itself: use stop()"
            )

    async def __tell_runner(self, message: BusMessage, scope: Scope) -> None:
        if scope not in get_args(Scope):
            raise ValueError(f'the scope of an end is "runner" or "bus", not {scope!r}')
        await self.bus.pace()
        if message.target not in self.bus:
            raise WorkerStateError(f"worker {self.name!r} has no runner that could end the session: use stop()")
        self.bus.post(message if scope == "runner" else attrs.evolve(message, target=None))

    def _family(self) -> Family:
        return self.__core.family


def family_of(worker: object) -> Family:
    """Return a worker's place in the tree.

    Raises:
        TypeError: It is no worker.
    """
    if not isinstance(worker, BaseWorker):
        raise TypeError(f"only workers can be added, not {worker!r}")
    return worker._family()  # noqa: SLF001 - for the owners in this package, not for users
