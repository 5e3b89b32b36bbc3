"""The hooks of the reference, all no-ops, and how they are fired: the method first, then the handlers registered for it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from functools import cache
from typing import Any

import attrs

from .messages import (
    BusJobCancelMessage,
    BusJobRequestMessage,
    BusJobResponseMessage,
    BusJobStreamDataMessage,
    BusJobStreamEndMessage,
    BusJobStreamStartMessage,
    BusJobUpdateMessage,
    BusJobUpdateRequestMessage,
    BusMessage,
)
from .types import JobGroupResponse, WorkerErrorData, WorkerLostData, WorkerReadyData

Handler = Callable[..., Any]


@cache
def declared(base: type) -> tuple[tuple[str, object], ...]:
    """Return the hooks that a class declares as no-ops, by name: the same for all who may override them."""
    return tuple((name, hook) for name, hook in vars(base).items() if name.startswith("on_"))


@cache
def one_set(names: tuple[str, ...]) -> frozenset[str]:
    """Return a set of these names: the same for all who ask for the same."""
    return frozenset(names)


@attrs.define(eq=False, repr=False)
class Hooks:
    """The hooks of one object.

    Args:
        owner: Whose methods they are.
        base: The class that declares them as no-ops; a hook is overridden if the owner's class has another function.
        also: Further event names, for which the owner has no method.
    """

    _owner: object
    _base: type
    _also: tuple[str, ...] = ()
    wanted: frozenset[str] = attrs.field(init=False)
    _overridden: frozenset[str] = attrs.field(init=False)
    _handlers: dict[str, list[Handler]] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        """See once which hooks are overridden: asking costs nothing afterwards."""
        cls = type(self._owner)
        self.wanted = self._overridden = one_set(
            tuple([name for name, hook in declared(self._base) if getattr(cls, name) is not hook])
        )

    def wants(self, name: str) -> bool:
        """Whether anything would run; ``False`` for a hook that the owner does not have."""
        return name in self.wanted

    def register(self, name: str, handler: Handler) -> None:
        """Run ``handler(owner, *args)``, sync or async, right after the hook called ``name``.

        Raises:
            ValueError: There is no such event.
            TypeError: The handler cannot be called.
        """
        events = [*(hook for hook, _ in declared(self._base)), *self._also]
        if name not in events:
            raise ValueError(f"there is no event {name!r}; there are: {', '.join(events)}")
        if not callable(handler):
            raise TypeError(f"an event handler must be callable, not {handler!r}")
        self._handlers.setdefault(name, []).append(handler)
        self.wanted |= {name}

    def fire(self, name: str, *args: object) -> Coroutine[Any, Any, None]:
        """What to await for the hook, and then its handlers in the order registered, to run."""
        if name in self._overridden and name not in self._handlers:
            run: Coroutine[Any, Any, None] = getattr(self._owner, name)(*args)
            return run
        return self._fire_all(name, *args)

    async def _fire_all(self, name: str, *args: object) -> None:
        if name in self._overridden:
            await getattr(self._owner, name)(*args)
        for handler in tuple(self._handlers.get(name, ())):
            result = handler(self._owner, *args)
            if inspect.isawaitable(result):
                await result


class WorkerHooks:
    """What a worker may override. All are ``async``, all do nothing; each is also an event of the same name.

    Reference: the hooks of BaseWorker.
    """

    async def on_activated(self, args: dict[str, Any] | None) -> None:
        """This worker is active now. ``args``: what the activation handed over. Runs in a task of its own, and may live long."""

    async def on_deactivated(self) -> None:
        """This worker is inactive now; a running ``on_activated`` has returned before."""

    async def on_worker_ready(self, data: WorkerReadyData) -> None:
        """A child, a watched worker or, for roots, another local root is ready."""

    async def on_worker_lost(self, data: WorkerLostData) -> None:
        """A worker of which ``on_worker_ready`` told, or would have told, is no longer there."""

    async def on_worker_failed(self, data: WorkerErrorData) -> None:
        """A child reported an error, or died of one; if it died, this worker fails with it when the hook returns."""

    async def on_job_request(self, message: BusJobRequestMessage) -> None:
        """A job for which there is no ``@job`` handler; runs as the job's own task. Returning without an answer defers it."""

    async def on_job_response(self, message: BusJobResponseMessage) -> None:
        """A member of a request of ours answered."""

    async def on_job_update(self, message: BusJobUpdateMessage) -> None:
        """A member of a request of ours has news."""

    async def on_job_update_requested(self, message: BusJobUpdateRequestMessage) -> None:
        """The asker of a job of ours wants news."""

    async def on_job_completed(self, result: JobGroupResponse) -> None:
        """A request of ours is over, and nothing ended it early."""

    async def on_job_error(self, message: BusJobResponseMessage) -> None:
        """A request of ours is over, ended early by this answer (one is made up for timeouts, cancels and stops)."""

    async def on_job_stream_start(self, message: BusJobStreamStartMessage) -> None:
        """A member of a request of ours began a stream."""

    async def on_job_stream_data(self, message: BusJobStreamDataMessage) -> None:
        """A member of a request of ours sent a piece of its stream."""

    async def on_job_stream_end(self, message: BusJobStreamEndMessage) -> None:
        """A member of a request of ours ended its stream: that is its answer."""

    async def on_job_cancelled(self, message: BusJobCancelMessage) -> None:
        """A job of ours was cancelled; its handler has unwound and its answer is out."""

    async def on_bus_message(self, message: BusMessage) -> None:
        """Any message this worker received, after all it does by itself."""
