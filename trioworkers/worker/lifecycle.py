"""The state of one worker (or runner), its cancel scope, and who waits for it."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio

from .._leaves import describe
from .._moment import Moment
from .._transitions import WORKER, WorkerState, advance, allows
from ..bus.lane import lineage
from ..observers import NOBODY, Observers
from .ending import Ending

OVER = (WorkerState.FINISHED, WorkerState.FAILED)
OPEN = (WorkerState.NEW, WorkerState.ATTACHED, WorkerState.STARTING, WorkerState.READY)


@attrs.define(eq=False, repr=False)
class Lifecycle:
    """Where it is in its one life. Everything here is sync but the two waits.

    Args:
        name: Whose it is.
    """

    name: str
    state: WorkerState = attrs.field(default=WorkerState.NEW, init=False)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    reason: str | None = attrs.field(default=None, init=False)
    errors: list[BaseException] = attrs.field(factory=list, init=False)
    ending: Ending | None = attrs.field(default=None, init=False)
    served: bool = attrs.field(default=False, init=False)
    was_ready: bool = attrs.field(default=False, init=False)
    _when_ready: Callable[[], None] | None = attrs.field(default=None, init=False)
    _task: trio.lowlevel.Task | None = attrs.field(default=None, init=False)
    _observers: Observers = attrs.field(default=NOBODY, init=False)
    _leaving: Moment = attrs.field(factory=Moment, init=False)
    _over: Moment = attrs.field(factory=Moment, init=False)

    # -- forward -----------------------------------------------------------------------------------------------------------

    def attach(self, observers: Observers = NOBODY) -> None:
        """It has a name and an inbox; from here on there may be observers to tell."""
        self._observers = observers
        self._step("attach")

    def start(self, when_ready: Callable[[], None] | None = None) -> None:
        """It gets a task; from here on it is stopped by cancelling that. ``when_ready`` is called as soon as it is."""
        self._when_ready = when_ready
        self._step("start")

    def occupy(self) -> None:
        """The present task is the one in which it lives."""
        self._task = trio.lowlevel.current_task()

    def serve(self) -> None:
        """Its own part of its life begins: nothing an override has around it."""
        self.served = True

    def ready(self) -> None:
        """It can be asked for things."""
        self._step("ready")
        self.was_ready = True
        call, self._when_ready = self._when_ready, None
        if call is not None:
            call()

    def remember_end(self, ending: Ending) -> bool:
        """Note that it is to end; return whether that is news. It happens when it is ready."""
        if self.ending is not None or self.state in (WorkerState.CANCELLING, *OVER):
            return False
        self.ending = ending
        self.reason = ending.reason
        self._leaving.come()
        return True

    def end(self) -> None:
        """It drains."""
        self._step("end")

    def cancel(self, reason: str | None) -> bool:
        """Stop at once; return whether that is news."""
        news = self.leave(reason)
        self.scope.cancel(reason=self.reason)
        return news

    def leave(self, reason: str | None) -> bool:
        """Its nursery is being left, by whatever scope or error; return whether that is news."""
        if not allows(WORKER, self.state, "cancel"):
            return False
        self.reason = reason or self.reason or "cancelled"
        self._step("cancel")
        self._leaving.come()
        return True

    def fail(self, errors: list[BaseException], reason: str) -> None:
        """Stop at once, with errors to tell at the end."""
        self.blame(*errors)
        self.cancel(reason)

    def blame(self, *errors: BaseException) -> None:
        """Errors to tell at the end."""
        self.errors.extend(error for error in errors if not any(error is known for known in self.errors))

    def finish(self) -> None:
        """Nothing of it runs any more."""
        if self.errors:
            self._step("fail", describe(self.errors[0]))
        else:
            self._step("finish")
        self._leaving.come()
        self._over.come()

    # -- questions ---------------------------------------------------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        """Whether nothing of it runs any more."""
        return self.state in OVER

    @property
    def is_leaving(self) -> bool:
        """Whether it ends, in whatever way, or is over."""
        return self._leaving.has_come

    def is_inside(self) -> bool:
        """Whether the present task runs in this worker, or in one below it."""
        return not self.is_over and any(task is self._task for task, _ in lineage())

    async def wait_leaving(self) -> None:
        """Wait until it ends, in whatever way."""
        await self._leaving.wait()

    async def wait_over(self) -> None:
        """Wait until nothing of it runs any more."""
        await self._over.wait()

    def _step(self, event: str, why: str | None = None) -> None:
        old, self.state = self.state, advance(WORKER, self.state, event)
        if tell := self._observers.worker_state:
            tell(self.name, old, self.state, why or self.reason)
