"""Wrong arguments of the verbs that make, own, start and end workers: an error at the call, and nothing has happened."""

from __future__ import annotations

import importlib.resources
import math
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from life_support import Napper, ask, state, states
from support import settle

import trioworkers
from trioworkers import (
    BaseWorker,
    BusMessage,
    UnknownWorkerError,
    WorkerParams,
    WorkerRunner,
    WorkersError,
    WorkerStateError,
    open_runner,
)
from trioworkers._transitions import WorkerState

NO_WORKERS: list[Any] = ["worker", None, 5, BaseWorker, object()]


@pytest.mark.parametrize(("name", "error"), [("", ValueError), (5, TypeError), (b"worker", TypeError), (["worker"], TypeError)])
def test_a_bad_name_is_refused(name: Any, error: type[Exception]) -> None:
    """A worker's name is a non-empty str: anything else is an error at construction."""
    with pytest.raises(error, match="a worker's name must"):
        BaseWorker(name)


def test_a_name_is_made_up() -> None:
    """Without a name a worker gets one of its class's, that no other of this process has."""

    class Clerk(BaseWorker):
        pass

    first, second = Clerk(), Clerk()
    assert (first.name.partition("#")[0], second.name.partition("#")[0]) == ("Clerk", "Clerk")
    assert first.name != second.name


@pytest.mark.parametrize("value", NO_WORKERS)
@pytest.mark.parametrize("running", [True, False])
async def test_only_workers_can_be_added(running: bool, value: Any) -> None:
    """What is no worker is a TypeError, and the workers given with it stay new."""
    good, parent = BaseWorker("good"), BaseWorker("parent")
    async with open_runner(*([parent] if running else [])) as runner:
        owners: list[BaseWorker | WorkerRunner] = [runner, parent]
        for owner in owners:
            with pytest.raises(TypeError, match="only workers can be added"):
                await owner.add_workers(good, value)
        assert (state(good), parent.children, "good" in runner.bus) == (WorkerState.NEW, [], False)


@pytest.mark.parametrize(("name", "error"), [("", ValueError), (5, TypeError), (None, TypeError), ("nobody", UnknownWorkerError)])
async def test_bad_names_end_nobody(name: Any, error: type[Exception]) -> None:
    """A wrong name among the children to end is an error, and none of them ends."""
    parent, child = BaseWorker("parent"), BaseWorker("child")
    await parent.add_workers(child)
    async with open_runner(parent) as runner:
        with pytest.raises(error):
            await parent.end_workers("child", name)
        with pytest.raises(error):
            await runner.end_workers("parent", name)
        await settle()
        assert states(parent, child) == [WorkerState.READY] * 2


@pytest.mark.parametrize("verb", ["end", "cancel"])
@pytest.mark.parametrize("reason", [5, b"enough", ["enough"]])
async def test_a_bad_reason_ends_nothing(verb: str, reason: Any) -> None:
    """A reason is a str or None: anything else is a TypeError, and nobody is told to leave."""
    worker = Napper("worker")
    async with open_runner(worker) as runner:
        by_worker: Callable[..., Awaitable[None]] = getattr(worker, verb)
        by_runner: Callable[..., Awaitable[None]] = getattr(runner, verb)
        with pytest.raises(TypeError, match=r"^a reason must be a str"):
            await by_worker(reason=reason)
        with pytest.raises(TypeError, match=r"^a reason must be a str"):
            await by_runner(reason)
        await ask(runner, "worker", "nap", seconds=0)
        assert state(worker) is WorkerState.READY


@pytest.mark.parametrize(
    ("timeout", "error"), [(-1, ValueError), (math.nan, ValueError), ("10", TypeError), (None, TypeError), (True, TypeError)]
)
def test_a_bad_shutdown_timeout_is_refused(timeout: Any, error: type[Exception]) -> None:
    """Seconds are a number, zero or more, perhaps infinite: anything else is an error, of params and of runners."""
    for make in (WorkerParams, WorkerRunner):
        with pytest.raises(error, match="shutdown_timeout must be"):
            make(shutdown_timeout=timeout)
        make(shutdown_timeout=0)
        make(shutdown_timeout=math.inf)


async def test_what_needs_surroundings_says_so() -> None:
    """U34: verbs of a worker that is on no bus are a WorkerStateError with the way out; nothing is silently lost."""
    worker = BaseWorker("worker")
    calls: list[Callable[[], Awaitable[object]]] = [
        worker.end,
        worker.cancel,
        lambda: worker.send_bus_message(BusMessage(source="worker")),
        lambda: worker.send_bus_error_message("help"),
        lambda: worker.activate_worker("other"),
        lambda: worker.deactivate_worker("other"),
        lambda: worker.watch_workers("other"),
        lambda: worker.request_job("other"),
        lambda: worker.request_job_group("other"),
        lambda: worker.cancel_job_group("1"),
        lambda: worker.request_job_update("1", "other"),
    ]
    for call in calls:
        with pytest.raises(WorkerStateError, match="'worker' is not attached: add it to a runner or to a worker first"):
            await call()
    for attribute in ("bus", "registry"):
        with pytest.raises(RuntimeError, match="'worker' is not attached"):
            getattr(worker, attribute)
    assert issubclass(WorkerStateError, WorkersError)
    assert state(worker) is WorkerState.NEW


async def test_without_a_runner_there_is_no_session_to_end() -> None:
    """end() and cancel() of a worker whose runner is not on the bus are errors: nobody could do it."""
    runner = WorkerRunner()
    worker = BaseWorker("worker")
    await worker.attach(registry=runner.registry, bus=trioworkers.LocalBus())
    for call in (worker.end, worker.cancel):
        with pytest.raises(WorkerStateError, match=r"'worker' has no runner that could end the session: use stop\(\)"):
            await call()
    await worker.stop()


@pytest.mark.parametrize("error", [5, None, ValueError("boom")])
async def test_a_bad_error_report_is_refused(error: Any) -> None:
    """An error is reported in words; anything else is a TypeError, and nobody hears it."""
    heard: list[object] = []
    worker = BaseWorker("worker")
    async with open_runner(worker) as runner:
        runner.add_event_handler("on_error", lambda runner, data: heard.append(data))
        with pytest.raises(TypeError):
            await worker.send_bus_error_message(error)
        await worker.send_bus_error_message("in words")
        await settle()
    assert [getattr(data, "error", None) for data in heard] == ["in words"]


def test_bad_event_handlers_are_refused() -> None:
    """There is no event of an unknown name, and what cannot be called is no handler; neither is registered."""
    worker = BaseWorker("worker")
    with pytest.raises(ValueError, match="there is no event 'on_everything'"):
        worker.event_handler("on_everything")(print)
    with pytest.raises(TypeError, match="an event handler must be callable"):
        worker.add_event_handler("on_activated", 5)  # type: ignore[arg-type]  # that is the point


def test_the_package_is_typed() -> None:
    """R30: the marker that says so is part of the package."""
    assert importlib.resources.files(trioworkers).joinpath("py.typed").is_file()
