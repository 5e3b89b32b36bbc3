"""Workers that leave before they are ready: what they answer, and what those who started them are told."""

from __future__ import annotations

import pytest
import trio
from job_support import Log, drain
from life_support import Slow, state
from support import settle, within
from trio.testing import MockClock

from trioworkers import (
    BaseWorker,
    BusCancelWorkerMessage,
    BusEndWorkerMessage,
    BusJobRequestMessage,
    BusJobResponseMessage,
    WorkerParams,
    WorkerStartError,
    WorkerStateError,
    open_runner,
)
from trioworkers._transitions import WorkerState


class Reluctant(BaseWorker):
    """Never gets ready, and takes three seconds to tidy up."""

    async def start(self) -> None:
        """Sleep instead."""
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(3)


async def test_who_was_stopped_while_starting_answers_at_once(autojump_clock: MockClock) -> None:
    """A worker that is stopped before it is ready answers CANCELLED at once: what was held, and what comes while it tidies up."""
    answers: Log = []
    worker = Reluctant("worker")
    async with open_runner() as runner, within(9), trio.open_nursery() as nursery:

        def ask(job_id: str) -> None:
            with runner.bus.tap() as messages:
                runner.bus.post(BusJobRequestMessage(source="test", target="worker", job_id=job_id))
                answers.extend(
                    (answer.job_id, answer.reason) for answer in drain(messages) if isinstance(answer, BusJobResponseMessage)
                )

        async def add() -> None:
            with pytest.raises(ExceptionGroup) as caught:
                await runner.add_workers(worker)
            assert caught.group_contains(WorkerStartError, match="'worker' was stopped before it was ready: stopped$")

        nursery.start_soon(add)
        await settle()
        ask("held")
        assert answers == []
        nursery.start_soon(worker.stop)
        await trio.sleep(1)
        ask("late")
        assert answers == [("late", "worker 'worker' has stopped: stopped")]
        await trio.sleep(1.5)
        ask("later")
        assert [job_id for job_id, _ in answers] == ["late", "later"]
    assert (state(worker), trio.current_time()) == (WorkerState.FINISHED, 3)


class Quitter(BaseWorker):
    """Returns from ``run`` when it is told to end, without ever having called the inherited one."""

    async def run(self, params: WorkerParams, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Wait for the end."""
        await self.wait_ending()


async def test_a_run_that_returns_before_it_is_ready_is_told_as_such(autojump_clock: MockClock) -> None:
    """A worker told to end before it is ready may just return from ``run``: it is over, and who started it is told why."""
    worker = Quitter("worker")
    async with open_runner() as runner, within(9), trio.open_nursery() as nursery:

        async def end() -> None:
            await trio.sleep(1)
            runner.bus.post(BusEndWorkerMessage(source="test", target="worker", reason="enough"))

        nursery.start_soon(end)
        with pytest.raises(ExceptionGroup) as caught:
            await runner.add_workers(worker)
    (error,) = caught.value.exceptions
    assert isinstance(error, WorkerStartError)
    assert str(error) == "worker 'worker' was stopped before it was ready: its run() returned"
    assert state(worker) is WorkerState.FINISHED


async def test_a_worker_cancelled_from_outside_says_so() -> None:
    """When a worker is run by hand in surroundings that are cancelled already, who has asked it for a job is told that."""
    worker = BaseWorker("worker")
    async with open_runner() as runner:
        await worker.attach(registry=runner.registry, bus=runner.bus)
        runner.bus.post(BusJobRequestMessage(source="test", target="worker", job_id="1"))
        with runner.bus.tap() as messages:
            with trio.CancelScope() as scope:
                scope.cancel()
                await worker.run(WorkerParams())
            answers = [message.reason for message in drain(messages) if isinstance(message, BusJobResponseMessage)]
    assert (scope.cancelled_caught, state(worker)) == (True, WorkerState.FINISHED)
    assert answers == ["worker 'worker' has stopped: cancelled from outside"]


async def test_who_is_stopped_because_of_another_is_told(autojump_clock: MockClock) -> None:
    """When one of those given together fails, each other one is cancelled with a reason that says so."""

    class Broken(BaseWorker):
        """Fails instead of being ready."""

        async def start(self) -> None:
            """Fail."""
            await trio.sleep(1)
            raise ValueError("boom")

    async with open_runner() as runner, within(9):
        with runner.bus.tap() as messages:
            with pytest.raises(ExceptionGroup, match="could not start its workers") as caught:
                await runner.add_workers(BaseWorker("ready"), Broken("broken"), Reluctant("slow"))
            cancels = {message.target: message.reason for message in drain(messages) if isinstance(message, BusCancelWorkerMessage)}
    assert [str(error) for error in caught.value.exceptions] == ["boom"]
    assert cancels == dict.fromkeys(("ready", "slow"), "not all workers given with it could be started")


async def test_a_worker_that_ended_without_a_reason_says_so(autojump_clock: MockClock) -> None:
    """Who asks a worker that has drained, and was given no reason for its end, is told that none was given."""
    worker = Slow("worker", down=2)
    async with open_runner(worker) as runner, within(9):
        runner.bus.post(BusEndWorkerMessage(source="test", target="worker"))
        await settle()
        with runner.bus.tap() as messages:
            runner.bus.post(BusJobRequestMessage(source="test", target="worker", job_id="1"))
            reasons = [message.reason for message in drain(messages) if isinstance(message, BusJobResponseMessage)]
        await worker.wait()
    assert reasons == ["worker 'worker' has stopped: no reason given"]


async def test_a_child_that_quits_before_it_is_ready_holds_no_end_up(autojump_clock: MockClock) -> None:
    """L6: a child that was being started when its parent was ended, and is never ready, is nothing to wait for any more."""
    parent = BaseWorker("parent")
    async with open_runner(parent, shutdown_timeout=100) as runner, within(50), trio.open_nursery() as nursery:

        async def add() -> None:
            with pytest.raises(ExceptionGroup) as caught:
                await parent.add_workers(Quitter("child"))
            assert caught.group_contains(WorkerStartError, match="its run\\(\\) returned$")

        nursery.start_soon(add)
        await settle()
        runner.bus.post(BusEndWorkerMessage(source="test", target="parent", reason="enough"))
        await parent.wait()
        assert (trio.current_time(), state(parent)) == (0, WorkerState.FINISHED)


async def test_a_worker_whose_surroundings_are_cancelled_takes_nobody_in(autojump_clock: MockClock) -> None:
    """U28: while a worker leaves because what is around it was cancelled, it is CANCELLING, and refuses children at the call."""
    parent, late = BaseWorker("parent"), BaseWorker("late")
    await parent.add_workers(Slow("child", down=3))
    async with open_runner() as runner, within(50), trio.open_nursery() as nursery:
        await parent.attach(registry=runner.registry, bus=runner.bus)
        nursery.start_soon(parent.run, WorkerParams())
        await settle()
        assert state(parent) is WorkerState.READY
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await trio.sleep(1)
            assert state(parent) is WorkerState.CANCELLING
            with pytest.raises(WorkerStateError, match="'parent' is cancelling and takes no children in any more"):
                await parent.add_workers(late)
    assert (state(parent), state(late)) == (WorkerState.FINISHED, WorkerState.NEW)
