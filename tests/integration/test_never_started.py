"""Workers that were given to somebody and never get to run: they are over like others, from the bottom up."""

from __future__ import annotations

import pytest
from job_support import drain
from life_support import Log, Napper, states
from support import Recorder, settle, within
from trio.testing import MockClock

from trioworkers import (
    BaseWorker,
    BusEndWorkerMessage,
    BusJobRequestMessage,
    BusJobResponseMessage,
    LocalBus,
    WorkerRunner,
    WorkerStateError,
    open_runner,
)
from trioworkers._transitions import WorkerState
from trioworkers.registry import WorkerRegistry


async def given_up(bus: LocalBus) -> list[str]:
    """Attach a worker with children, ask each for a job, stop it before it has run, and return who answered, in order."""
    names = ("top", "left", "right", "below", "under")
    top, left, right, below, under = family = [BaseWorker(name) for name in names]
    await left.add_workers(below, under)
    await top.add_workers(left, right)
    await top.attach(registry=WorkerRegistry("runner"), bus=bus)
    for worker in family:
        bus.post(BusJobRequestMessage(source="test", target=worker.name, job_id=f"for {worker.name}"))
    with bus.tap() as messages:
        await top.stop()
        answers = [message for message in drain(messages) if isinstance(message, BusJobResponseMessage)]
    assert states(*family) == [WorkerState.FINISHED] * 5
    assert [name for name in names if name in bus] == []
    assert {answer.reason for answer in answers} == {f"worker {answer.source!r} has stopped: never started" for answer in answers}
    return [answer.source for answer in answers]


async def test_children_are_given_up_before_their_parents() -> None:
    """L6: in a tree that never ran, children are over before their parents; who asked them is told that they never started."""
    assert await given_up(LocalBus()) == ["right", "under", "below", "left", "top"]


async def test_a_child_that_never_started_is_watched_no_more() -> None:
    """A parent whose child was stopped before it ran does not hear of somebody else who has the name later."""
    parent, other = Recorder("parent"), BaseWorker("other")
    child = BaseWorker("name")
    await parent.add_workers(child, BaseWorker("stays"))
    await child.stop()
    assert [worker.name for worker in parent.children] == ["stays"]
    async with open_runner(parent, other):
        await other.add_workers(BaseWorker("name"))
        await settle()
    assert sorted(entry[2] for entry in parent.log if entry[1] == "ready") == ["other", "stays"]


async def test_who_ends_a_child_says_so(autojump_clock: MockClock) -> None:
    """``end_workers`` tells each child who ended it; that is the reason which its own askers get."""
    ends: Log = []
    parent, child = BaseWorker("parent"), Napper("child")
    await parent.add_workers(child)
    async with open_runner(parent) as runner, within(9):
        with runner.bus.tap() as messages:
            await parent.end_workers("child")
            ends += [(message.target, message.reason) for message in drain(messages) if isinstance(message, BusEndWorkerMessage)]
    assert ends == [("child", "ended by 'parent'")]


async def test_a_runner_that_never_ran_gives_its_workers_up() -> None:
    """Ending a runner before it runs is the end of its workers, too; asking through it says why that leads nowhere."""
    worker, runner = BaseWorker("worker"), WorkerRunner()
    await runner.add_workers(worker)
    await runner.end()
    await worker.wait()
    with pytest.raises(WorkerStateError, match=f"runner {runner.name!r} has ended: never started$"):
        await runner.request_job("worker")
