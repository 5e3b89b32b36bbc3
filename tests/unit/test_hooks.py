"""How hooks are fired: the method first, then the handlers, and nothing for those that nobody wants."""

from __future__ import annotations

import inspect
from collections.abc import Coroutine
from typing import Any

import pytest

from trioworkers import WorkerReadyData
from trioworkers._hooks import Hooks, WorkerHooks

READY = WorkerReadyData("w", "r")


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that waits for nothing."""
    with pytest.raises(StopIteration):
        coroutine.send(None)


class Quiet(WorkerHooks):
    """Overrides nothing."""


class Listener(WorkerHooks):
    """Overrides one hook."""

    def __init__(self) -> None:
        self.log: list[Any] = []

    async def on_worker_ready(self, data: WorkerReadyData) -> None:
        """Write it down."""
        self.log.append(("hook", data))

    async def also(self, data: WorkerReadyData) -> None:
        """A handler like those that users register: a function of the worker and the argument."""
        self.log.append(("async", data))


class Below(Listener):
    """Inherits an overridden hook."""


def test_only_what_is_overridden_is_wanted() -> None:
    """A hook is wanted if the class, or one of its bases, overrides it; asking for one that does not exist is no."""
    assert not Hooks(Quiet(), WorkerHooks).wants("on_worker_ready")
    for owner in (Listener(), Below()):
        hooks = Hooks(owner, WorkerHooks)
        assert hooks.wants("on_worker_ready")
        assert not hooks.wants("on_worker_lost")
        assert not hooks.wants("on_no_such_hook")


def test_a_registered_handler_is_wanted() -> None:
    """A handler makes its hook wanted, and no other."""
    hooks = Hooks(Quiet(), WorkerHooks)
    hooks.register("on_worker_lost", print)
    assert hooks.wants("on_worker_lost")
    assert not hooks.wants("on_worker_ready")


def test_the_hook_first_then_the_handlers() -> None:
    """U38: handlers, sync or async, run right after the hook, in the order registered, with the owner and the arguments."""
    owner = Listener()
    hooks = Hooks(owner, WorkerHooks)

    def second(worker: Listener, data: WorkerReadyData) -> None:
        worker.log.append(("sync", data))

    hooks.register("on_worker_ready", Listener.also)
    hooks.register("on_worker_ready", second)
    run(hooks.fire("on_worker_ready", READY))
    assert owner.log == [("hook", READY), ("async", READY), ("sync", READY)]


def test_firing_what_nobody_wants_does_nothing() -> None:
    """A hook that nobody overrides is not called, and needs no handler."""
    run(Hooks(Quiet(), WorkerHooks).fire("on_worker_ready", READY))


def test_a_handler_registered_meanwhile_waits_for_the_next_time() -> None:
    """A handler that registers another does not run it in the same round."""
    owner = Listener()
    hooks = Hooks(owner, WorkerHooks)

    def late(worker: Listener, data: WorkerReadyData) -> None:
        worker.log.append("late")

    hooks.register("on_worker_ready", lambda worker, _: hooks.register("on_worker_ready", late))
    run(hooks.fire("on_worker_ready", READY))
    assert owner.log == [("hook", READY)]
    run(hooks.fire("on_worker_ready", READY))
    assert owner.log == [("hook", READY), ("hook", READY), "late"]


def test_a_hook_that_raises_keeps_its_handlers_from_running() -> None:
    """An exception leaves the hook as it is; what comes after it does not run."""
    log: list[str] = []

    class Raising(WorkerHooks):
        async def on_worker_ready(self, data: WorkerReadyData) -> None:
            raise ValueError("boom")

    hooks = Hooks(Raising(), WorkerHooks)
    hooks.register("on_worker_ready", lambda *_: log.append("handler"))
    with pytest.raises(ValueError, match="boom"):
        hooks.fire("on_worker_ready", READY).send(None)
    assert log == []


def test_an_unknown_event_is_an_error() -> None:
    """Registering for an event that does not exist is a ValueError that lists those that do."""
    with pytest.raises(ValueError, match="there is no event 'on_redy'; there are: on_activated, on_deactivated, on_worker_ready"):
        Hooks(Quiet(), WorkerHooks).register("on_redy", print)


def test_a_handler_can_be_called() -> None:
    """A handler that cannot be called is refused at once."""
    wrong: Any = 5
    with pytest.raises(TypeError, match="an event handler must be callable, not 5"):
        Hooks(Quiet(), WorkerHooks).register("on_worker_ready", wrong)


def test_further_events() -> None:
    """An owner may have events for which it has no method."""
    log: list[Any] = []
    hooks = Hooks(Quiet(), WorkerHooks, also=("on_error",))
    assert not hooks.wants("on_error")
    hooks.register("on_error", lambda owner, *args: log.append(args))
    assert hooks.wants("on_error")
    run(hooks.fire("on_error", "boom"))
    assert log == [("boom",)]


def test_every_hook_is_async_and_does_nothing() -> None:
    """Each hook of a worker is an async method that takes its argument, and returns without waiting."""
    owner = Quiet()
    for name, hook in vars(WorkerHooks).items():
        if name.startswith("on_"):
            assert inspect.iscoroutinefunction(hook), name
            arguments = [None] * (len(inspect.signature(hook).parameters) - 1)
            run(getattr(owner, name)(*arguments))


def test_the_hooks_are_those_of_the_reference() -> None:
    """Every hook of the reference is there, and those of our own."""
    assert [name for name in vars(WorkerHooks) if name.startswith("on_")] == [
        "on_activated",
        "on_deactivated",
        "on_worker_ready",
        "on_worker_lost",
        "on_worker_failed",
        "on_job_request",
        "on_job_response",
        "on_job_update",
        "on_job_update_requested",
        "on_job_completed",
        "on_job_error",
        "on_job_stream_start",
        "on_job_stream_data",
        "on_job_stream_end",
        "on_job_cancelled",
        "on_bus_message",
    ]
