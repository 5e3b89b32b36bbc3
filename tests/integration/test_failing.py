"""Errors: they fail the worker they come from, are handed to its parent, and come out of the run as one flat group."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import trio
from life_support import Actor, Log, Napper, Slow, ask, boom, errors_of, idle, state, states, told
from support import Note, Recorder, settle, within
from trio.testing import MockClock

from trioworkers import (
    BaseWorker,
    BusDeactivateWorkerMessage,
    BusJobRequestMessage,
    BusMessage,
    JobError,
    JobStatus,
    WorkerErrorData,
    WorkerParams,
    WorkerRunner,
    open_runner,
)
from trioworkers._transitions import WorkerState


class Broken(BaseWorker):
    """Dies where it is told to."""

    def __init__(self, name: str, where: str) -> None:
        super().__init__(name)
        self.where = where
        self.add_event_handler("on_bus_message", self.look_on)

    async def run(self, params: WorkerParams, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run beside a task that may die."""
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(super().run, params))
            task_status.started()
            await trio.sleep(1)
            self.die("run")

    def die(self, where: str) -> None:
        """Die, if this is the place."""
        if where == self.where:
            raise ValueError(f"boom in {where}")

    def look_on(self, worker: BaseWorker, message: BusMessage) -> None:
        """Die, if a handler is to."""
        if isinstance(message, Note):
            self.die("handler")

    async def on_activated(self, args: dict[str, Any] | None) -> None:
        """Perhaps die, after a while."""
        await trio.sleep(1)
        self.die("on_activated")

    async def on_deactivated(self) -> None:
        """Perhaps die."""
        self.die("on_deactivated")

    async def on_bus_message(self, message: BusMessage) -> None:
        """Perhaps die."""
        if isinstance(message, Note):
            self.die("on_bus_message")

    async def on_job_request(self, message: BusJobRequestMessage) -> None:
        """Leave it for later."""


@pytest.mark.parametrize("where", ["run", "on_activated", "on_deactivated", "on_bus_message", "handler"])
async def test_an_error_anywhere_fails_the_worker(where: str, autojump_clock: MockClock) -> None:
    """R5, U31: a worker that raised is not half alive: its job is answered, its subtree and its name are gone, its parent told."""
    log: Log = []
    parent, broken, below = Recorder("parent", log=log), Broken("broken", where), Slow("below", down=1)
    await broken.add_workers(below)
    await parent.add_workers(broken)
    runner = WorkerRunner(name="top")
    await runner.add_workers(parent)

    async def provoke() -> None:
        runner.bus.post(BusDeactivateWorkerMessage(source="test", target="broken"))
        with pytest.raises(JobError) as caught:
            await ask(runner, "broken")
        log.append((caught.value.status, "broken" in runner.bus))

    async with within(3), trio.open_nursery() as nursery:

        @runner.event_handler("on_ready")
        def start(runner: WorkerRunner) -> None:
            nursery.start_soon(provoke)
            nursery.start_soon(runner.bus.send, Note(source="test", target="broken"))

        with pytest.raises(ExceptionGroup) as caught:
            await runner.run()
        await broken.wait()
    assert [(str(error), error.__notes__) for error in told(caught.value)] == [
        (f"boom in {where}", ["raised in worker top/parent/broken"])
    ]
    assert ("parent", "failed", "broken", f"ValueError: boom in {where}") in log
    assert (JobStatus.CANCELLED, True) in log
    assert states(broken, below, parent) == [WorkerState.FAILED, WorkerState.FINISHED, WorkerState.FAILED]
    assert (runner.registry.local_workers, runner.bus.statistics().subscribers) == ([], 0)


async def test_the_name_is_free_before_the_failure_is_told(autojump_clock: MockClock) -> None:
    """R1: when ``on_worker_failed`` runs, the child is unregistered, its name is free, and it is no child any more."""

    class Parent(BaseWorker):
        async def on_worker_failed(self, data: WorkerErrorData) -> None:
            log.append((data.worker_name, data.error, data.exception, self.children))
            log.append([data.worker_name in place for place in (self.registry, self.bus)])
            await self.add_workers(BaseWorker("child"))

    log: Log = []
    parent = Parent("parent")
    await parent.add_workers(Actor("child", boom))
    runner = WorkerRunner()
    await runner.add_workers(parent)
    with pytest.raises(ExceptionGroup) as caught:
        await runner.run()
    assert log == [("child", "ValueError: boom", caught.value.exceptions[0], []), [False, False]]


async def test_a_crashing_parent_takes_its_children_along(autojump_clock: MockClock) -> None:
    """U28, L1: a parent that crashes while its children run cancels them and is over when they are; the runner comes out."""
    log: Log = []

    async def crash(worker: BaseWorker) -> None:
        await trio.sleep(1)
        raise ValueError("boom")

    parent, child = Actor("parent", crash), Slow("child", down=2, log=log)
    await parent.add_workers(child)
    runner = WorkerRunner()
    await runner.add_workers(parent)
    async with within(4):
        assert await errors_of(partial(runner.run, auto_end=False)) == ["ValueError: boom"]
    assert (log, states(parent, child)) == ([("child", "gone", 3)], [WorkerState.FAILED, WorkerState.FINISHED])


async def test_a_crashed_requesters_jobs_are_cancelled(autojump_clock: MockClock) -> None:
    """U44: a worker that dies in an overridden run() takes the jobs it asked for along."""

    class Asker(BaseWorker):
        async def run(self, params: WorkerParams, **kwargs: Any) -> None:
            async with trio.open_nursery() as nursery:
                await nursery.start(partial(super().run, params))
                await self.request_job("napper", name="nap")
                await trio.sleep(1)
                raise ValueError("boom")

    napper, parent = Napper("napper"), Actor("parent", idle)
    await parent.add_workers(Asker("asker"))
    runner = WorkerRunner()
    await runner.add_workers(napper, parent)
    assert await errors_of(runner.run) == ["ValueError: boom"]
    assert napper.log == [("napper", "begins"), ("napper", "tidied up", 2)]


async def test_grandparents_hear_in_turn(autojump_clock: MockClock) -> None:
    """An error goes up one worker at a time, each told of its own child; it keeps its path, noted once."""
    log: Log = []

    async def boom_later(worker: Actor) -> None:
        await trio.sleep(1)  # by then all are ready: who dies before, is an error of its parent's start
        await boom(worker)

    top, middle = Recorder("top", log=log), Recorder("middle", log=log)
    await middle.add_workers(Actor("bottom", boom_later))
    await top.add_workers(middle)
    runner = WorkerRunner(name="house")
    await runner.add_workers(top)
    runner.add_event_handler("on_error", lambda runner, data: log.append((runner.name, data.worker_name, data.error)))
    with pytest.raises(ExceptionGroup) as caught:
        await runner.run()
    assert [entry for entry in log if entry[1] == "failed" or entry[0] == "house"] == [
        ("middle", "failed", "bottom", "ValueError: boom"),
        ("top", "failed", "middle", "ValueError: boom"),
        ("house", "top", "ValueError: boom"),
    ]
    (error,) = told(caught.value)
    assert error.__notes__ == ["raised in worker house/top/middle/bottom"]


async def test_a_failing_on_worker_failed_adds_its_own_error() -> None:
    """If ``on_worker_failed`` raises, both errors come out, side by side, each with the path of its own worker."""

    class Parent(BaseWorker):
        async def on_worker_failed(self, data: WorkerErrorData) -> None:
            raise KeyError("mine")

    parent = Parent("parent")
    await parent.add_workers(Actor("child", boom))
    runner = WorkerRunner(name="top")
    await runner.add_workers(parent)
    with pytest.raises(ExceptionGroup) as caught:
        await runner.run()
    assert sorted((str(error), error.__notes__) for error in told(caught.value)) == [
        ("'mine'", ["raised in worker top/parent"]),
        ("boom", ["raised in worker top/parent/child"]),
    ]


async def test_a_parent_that_leaves_is_not_told(autojump_clock: MockClock) -> None:
    """A child that dies while its parent is being cancelled is not told of by a hook; its error comes out all the same."""

    class Child(BaseWorker):
        async def on_activated(self, args: object) -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("boom")

    log: Log = []
    parent = Recorder("parent", log=log)
    await parent.add_workers(Child("child"))
    runner = WorkerRunner()
    await runner.add_workers(parent)

    @runner.event_handler("on_ready")
    async def leave(runner: WorkerRunner) -> None:
        await trio.sleep(1)
        await runner.cancel("enough")

    assert await errors_of(runner.run) == ["ValueError: boom"]
    assert [entry for entry in log if entry[1] == "failed"] == []


async def test_groups_are_opened_and_their_subclasses_are_not() -> None:
    """What a worker raises in a nursery of its own comes out as a flat list; a subclass of ExceptionGroup stays whole."""

    class Meaning(ExceptionGroup[Exception]):
        def derive(self, excs: Sequence[Any], /) -> Any:
            return Meaning(self.message, excs)

    whole = Meaning("whole", [ValueError("inner")])

    async def many(worker: BaseWorker) -> None:
        raise BaseExceptionGroup("a", [ExceptionGroup("b", [ValueError("one"), whole]), KeyError("two")])

    runner = WorkerRunner()
    await runner.add_workers(Actor("worker", many))
    with pytest.raises(ExceptionGroup) as caught:
        await runner.run()
    first, second, third = caught.value.exceptions
    assert [repr(error) for error in (first, second, third)] == ["ValueError('one')", repr(whole), "KeyError('two')"]


async def test_several_errors_of_one_child_are_told_together() -> None:
    """A child that died of several errors is told of once, with a flat group."""

    class Parent(BaseWorker):
        async def on_worker_failed(self, data: WorkerErrorData) -> None:
            log.append(data)

    async def two(worker: BaseWorker) -> None:
        raise ExceptionGroup("two", [ValueError("one"), KeyError("two")])

    log: list[WorkerErrorData] = []
    parent = Parent("parent")
    await parent.add_workers(Actor("child", two))
    runner = WorkerRunner()
    await runner.add_workers(parent)
    assert await errors_of(runner.run) == ["ValueError: one", "KeyError: 'two'"]
    (data,) = log
    assert data.exception is not None
    assert [str(error) for error in told(data.exception)] == ["one", "'two'"]


async def test_one_error_of_two_workers_is_told_once() -> None:
    """The same exception raised in two places is one leaf of the group."""
    same = ValueError("boom")

    async def fail(worker: BaseWorker) -> None:
        raise same

    parent = BaseWorker("parent")
    await parent.add_workers(Actor("one", fail), Actor("two", fail))
    runner = WorkerRunner()
    await runner.add_workers(parent)
    with pytest.raises(ExceptionGroup) as caught:
        await runner.run()
    assert caught.value.exceptions == (same,)
    assert len(same.__notes__) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt("ctrl-c"), SystemExit(3), GeneratorExit()])
@pytest.mark.parametrize("where", ["hook", "job"])
async def test_an_interrupt_goes_all_the_way(where: str, error: BaseException) -> None:
    """What is no Exception, raised in a hook or in a job, is nobody's answer: it comes out of the run, everything cancelled."""

    async def fail(worker: BaseWorker) -> None:
        raise error

    class Worker(BaseWorker):
        async def on_job_request(self, message: BusJobRequestMessage) -> None:
            raise error

    parent, other = BaseWorker("parent"), BaseWorker("other")
    await parent.add_workers(Actor("child", fail) if where == "hook" else Worker("child"))
    runner = WorkerRunner(name="top")
    await runner.add_workers(parent, other)
    if where == "job":
        runner.add_event_handler("on_ready", lambda runner: runner.request_job("child"))
    with pytest.raises(BaseExceptionGroup) as caught:
        await runner.run()
    assert not isinstance(caught.value, ExceptionGroup)
    assert (caught.value.exceptions, states(parent, other)) == ((error,), [WorkerState.FAILED, WorkerState.FINISHED])


async def test_an_error_in_a_job_fails_that_job_only() -> None:
    """An exception in a job is its requester's; the worker goes on."""

    class Worker(Napper):
        async def on_job_request(self, message: BusJobRequestMessage) -> None:
            raise ValueError("boom")

    worker = Worker("worker")
    async with open_runner(worker) as runner:
        with pytest.raises(JobError, match="ValueError: boom"):
            await ask(runner, "worker")
        await ask(runner, "worker", "nap", seconds=0)
        assert state(worker) is WorkerState.READY


async def test_a_reported_error_is_no_failure(autojump_clock: MockClock) -> None:
    """U43: a child's report reaches its parent's hook only; a root's reaches ``on_error`` of its runner; nobody fails."""
    log: Log = []
    parent, child, other = Recorder("parent", log=log), BaseWorker("child"), Recorder("other", log=log)
    await parent.add_workers(child)
    async with open_runner(parent, other) as runner:
        runner.add_event_handler("on_error", lambda runner, data: log.append(("runner", data)))
        await child.send_bus_error_message("low on paper")
        await settle()
        await parent.send_bus_error_message("out of paper")
        await settle()
        assert states(parent, child) == [WorkerState.READY] * 2
    assert [entry for entry in log if entry[1] == "failed" or entry[0] == "runner"] == [
        ("parent", "failed", "child", "low on paper"),
        ("runner", WorkerErrorData("parent", "out of paper")),
    ]


async def test_failures_are_told_one_after_another(autojump_clock: MockClock) -> None:
    """``on_worker_failed`` is never held up by a busy lane, and two of its calls do not overlap."""

    class Parent(BaseWorker):
        async def on_bus_message(self, message: BusMessage) -> None:
            if isinstance(message, Note):
                await trio.sleep(10)

        async def on_worker_failed(self, data: WorkerErrorData) -> None:
            log.append((data.error, "begins", trio.current_time()))
            await trio.sleep(1)
            log.append((data.error, "ends", trio.current_time()))

    log: Log = []
    parent, child = Parent("parent"), BaseWorker("child")
    await parent.add_workers(child)
    async with open_runner(parent) as runner:
        runner.bus.post(Note(source="test", target="parent"))
        await settle()
        for error in ("first", "second"):
            await child.send_bus_error_message(error)
        await trio.sleep(3)
    assert log == [("first", "begins", 0), ("first", "ends", 1), ("second", "begins", 1), ("second", "ends", 2)]


async def test_an_error_of_a_cancelled_worker_is_not_lost(autojump_clock: MockClock) -> None:
    """A worker that raises while it tidies up after a stop is FAILED, and its parent with it."""

    class Child(BaseWorker):
        async def run(self, params: WorkerParams, **kwargs: Any) -> None:
            try:
                await super().run(params, **kwargs)
            finally:
                raise ValueError("boom")

    parent, child = Recorder("parent"), Child("child")
    await parent.add_workers(child)
    runner = WorkerRunner()
    await runner.add_workers(parent)
    runner.add_event_handler("on_ready", lambda runner: child.stop())
    assert await errors_of(runner.run) == ["ValueError: boom"]
    assert ("parent", "failed", "child", "ValueError: boom") in parent.log
    assert states(parent, child) == [WorkerState.FAILED] * 2


async def test_a_child_that_dies_while_its_parent_starts(autojump_clock: MockClock) -> None:
    """A child that was READY and dies before its parent is fails the parent's start; the parent hears of it first, as at any time."""

    async def crash(worker: BaseWorker) -> None:
        await trio.sleep(1)
        raise ValueError("boom")

    parent, slow = Recorder("parent"), Slow("slow", up=5)
    await parent.add_workers(Actor("child", crash), slow)
    runner = WorkerRunner()
    await runner.add_workers(parent)
    async with within(2):
        assert await errors_of(runner.run) == ["ValueError: boom"]
    assert parent.log == [("parent", "failed", "child", "ValueError: boom")]
    assert states(parent, slow) == [WorkerState.FAILED, WorkerState.FINISHED]


async def test_who_fails_answers_at_once(autojump_clock: MockClock) -> None:
    """J7: a request for a worker that fails, but is held up by a shield of its own, is answered, not kept until it is gone."""

    class Parent(BaseWorker):
        async def on_bus_message(self, message: BusMessage) -> None:
            if isinstance(message, Note):
                with trio.CancelScope(shield=True):
                    await trio.sleep(3)

    async def crash(worker: BaseWorker) -> None:
        await trio.sleep(1)
        raise ValueError("boom")

    async def asker() -> None:
        runner.bus.post(Note(source="test", target="parent"))
        await trio.sleep(2)
        with pytest.raises(JobError) as caught:
            await ask(other, "parent")
        log.append((caught.value.status, caught.value.reason, trio.current_time()))

    log: Log = []
    parent, other = Parent("parent"), Slow("other", down=5)
    await parent.add_workers(Actor("child", crash))
    runner = WorkerRunner()
    await runner.add_workers(parent, other)
    async with trio.open_nursery() as nursery:
        runner.add_event_handler("on_ready", lambda runner: nursery.start_soon(asker))
        assert await errors_of(runner.run) == ["ValueError: boom"]
    assert log == [(JobStatus.CANCELLED, "worker 'parent' has stopped: its child 'child' failed", 2)]


async def test_another_runners_roots_are_not_its_affair() -> None:
    """U54: on a bus shared by two runners, a root's report reaches ``on_error`` of its own runner only."""
    log: Log = []
    worker = BaseWorker("worker")
    async with open_runner(worker, name="own") as own, open_runner(name="other", bus=own.bus) as other:
        for runner in (own, other):
            runner.add_event_handler("on_error", lambda runner, data: log.append((runner.name, data.error)))
        await worker.send_bus_error_message("out of paper")
        await settle()
    assert log == [("own", "out of paper")]


# -- as deep as it gets --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("way", ["end", "cancel", "stop", "crash", "cancelled"])
async def test_a_thousand_generations(way: str, autojump_clock: MockClock) -> None:
    """L4, C1: a chain of 1 000 workers starts, and ends, is cancelled, or crashes at its far end, as a short one does."""
    chain = [Actor(f"worker-{number}", idle if way in {"cancel", "stop"} else wait_ending) for number in range(999)]
    chain.append(Actor("worker-999", boom if way == "crash" else wait_ending))
    for above, below in pairwise(chain):
        await above.add_workers(below)
    runner = WorkerRunner(name="top")
    await runner.add_workers(chain[0])
    before = trio.lowlevel.current_statistics().tasks_living

    @runner.event_handler("on_ready")
    async def leave(runner: WorkerRunner) -> None:
        await settle()
        if way == "end":
            await runner.end()
        elif way == "cancel":
            await runner.cancel()
        elif way == "stop":
            await chain[500].stop()
            await chain[0].stop()

    with trio.move_on_after(1) as scope:
        try:
            await runner.run()
        except ExceptionGroup as group:
            (error,) = told(group)
            way = f"{way} of {error}"
            path = error.__notes__
            assert path == ["raised in worker top/" + "/".join(worker.name for worker in chain)]
    assert (way, scope.cancelled_caught) in [
        ("end", False),
        ("cancel", False),
        ("stop", False),
        ("crash of boom", False),
        ("cancelled", True),
    ]
    assert set(states(*chain)) == {WorkerState.FAILED if way.startswith("crash") else WorkerState.FINISHED}
    assert (runner.statistics().started, runner.statistics().finished) == (1000, 1000)
    assert (runner.bus.statistics().subscribers, trio.lowlevel.current_statistics().tasks_living) == (0, before)


async def wait_ending(worker: BaseWorker) -> None:
    """A script: live until the end."""
    await worker.wait_ending()


async def test_children_only_hear_what_they_must() -> None:
    """U52: starting N roots, and a family of N, costs deliveries in proportion to N, not to N times N."""
    delivered = []
    for number in (50, 100):
        parent = BaseWorker("parent")
        async with open_runner(parent, *(BaseWorker(f"root-{index}") for index in range(number))) as runner:
            await parent.add_workers(*(BaseWorker(f"child-{index}") for index in range(number)))
            await settle()
            delivered.append(runner.bus.statistics().delivered)
    assert delivered[1] <= 2 * delivered[0]


async def test_an_error_is_told_although_the_start_it_breaks_is_cancelled(autojump_clock: MockClock) -> None:
    """A worker's error comes out of the run even if it fails an ancestor that was still starting, and everything is cancelled then."""
    runner = WorkerRunner()
    parent = BaseWorker("parent")
    await parent.add_workers(Broken("child", "run"), Slow("late", up=60, down=0.5))
    await runner.add_workers(parent)

    async def cancel() -> None:
        await trio.sleep(1.25)
        runner.cancel_nowait("enough")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancel)
        assert await errors_of(runner.run) == ["ValueError: boom in run"]


async def test_an_error_is_told_although_its_callers_add_is_cancelled(autojump_clock: MockClock) -> None:
    """Errors of workers that were being added come out of a cancelled ``add_workers``, beside the cancellation, as from a nursery."""
    parent = BaseWorker("parent")
    await parent.add_workers(Broken("child", "run"), Slow("late", up=60, down=0.5))
    async with open_runner() as runner:
        with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="boom in run")), trio.move_on_after(1.25):
            await runner.add_workers(parent)
