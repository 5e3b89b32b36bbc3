"""The state of one worker (or runner), its cancel scope, and who waits for it."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio

from .._transitions import WORKER, WorkerState, advance, allows
from .ending import Ending

OVER = (WorkerState.FINISHED, WorkerState.FAILED)
OPEN = (WorkerState.NEW, WorkerState.ATTACHED, WorkerState.STARTING, WorkerState.READY)
SERVING = (WorkerState.READY, WorkerState.ENDING)


@attrs.define(eq=False)
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
    when_ready: Callable[[], None] | None = attrs.field(default=None, init=False)
    task: trio.lowlevel.Task | None = attrs.field(default=None, init=False)
    _ending_begun: trio.Event = attrs.field(factory=trio.Event, init=False)
    _over: trio.Event = attrs.field(factory=trio.Event, init=False)

    # -- forward -----------------------------------------------------------------------------------------------------------

    def attach(self) -> None:
        """It has a name and an inbox."""
        self._step("attach")

    def start(self) -> None:
        """It gets a task; from here on it is stopped by cancelling that."""
        self._step("start")

    def ready(self) -> None:
        """It can be asked for things."""
        self._step("ready")
        self.was_ready = True
        if self.when_ready is not None:
            self.when_ready()

    def remember_end(self, ending: Ending) -> bool:
        """Note that it is to end; return whether that is news. It happens when it is ready."""
        if self.ending is not None or self.state in (WorkerState.CANCELLING, *OVER):
            return False
        self.ending = ending
        self.reason = ending.reason
        self._ending_begun.set()
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
        self._step("cancel")
        self.reason = reason or self.reason or "cancelled"
        self._ending_begun.set()
        return True

    def fail(self, errors: list[BaseException], reason: str) -> None:
        """Stop at once, with errors to tell at the end."""
        self.errors.extend(error for error in errors if not any(error is known for known in self.errors))
        self.cancel(reason)

    def finish(self) -> None:
        """Nothing of it runs any more."""
        self._step("fail" if self.errors else "finish")
        self._ending_begun.set()
        self._over.set()

    # -- questions ---------------------------------------------------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        """Whether nothing of it runs any more."""
        return self.state in OVER

    @property
    def is_serving(self) -> bool:
        """Whether its hooks run."""
        return self.state in SERVING

    @property
    def is_leaving(self) -> bool:
        """Whether it ends, in whatever way, or is over."""
        return self._ending_begun.is_set()

    def is_inside(self) -> bool:
        """Whether the present task runs in this worker, or in one below it."""
        task: trio.lowlevel.Task | None = trio.lowlevel.current_task()
        while task is not None and task is not self.task:
            nursery = task.parent_nursery
            task = nursery.parent_task if nursery is not None else None
        return task is not None and not self.is_over

    async def wait_leaving(self) -> None:
        """Wait until it ends, in whatever way."""
        await self._ending_begun.wait()

    async def wait_over(self) -> None:
        """Wait until nothing of it runs any more."""
        await self._over.wait()

    def _step(self, event: str) -> None:
        self.state = advance(WORKER, self.state, event)
