"""The task and the cancel scope in which a job runs: its own, whichever job was there before."""

from __future__ import annotations

import gc
import signal
import weakref
from contextvars import ContextVar
from typing import Any

import pytest
import trio
from job_support import Counter, Hand, ask, boom, echo, failure, nap
from life_support import own_tasks
from support import Recorder, ctrl_c, settle, within
from trio.testing import MockClock

from trioworkers import (
    BusEndWorkerMessage,
    BusJobRequestMessage,
    BusMessage,
    JobError,
    JobStatus,
    LocalBus,
    Observer,
    WorkerRunner,
    job,
    open_runner,
)
from trioworkers.jobs.slots import KEPT

WHOSE: ContextVar[str] = ContextVar("whose", default="nobody's")


class Witness(Hand):
    """Writes down in which task each job runs."""

    def __init__(self, name: str, do: Any) -> None:
        super().__init__(name, do)
        self.tasks: list[trio.lowlevel.Task] = []

    @job(name="do")
    async def handle(self, message: BusJobRequestMessage) -> Any:
        """Follow the script."""
        self.tasks.append(trio.lowlevel.current_task())
        return await super().handle(message)


async def test_a_task_does_one_job_after_the_other(autojump_clock: MockClock) -> None:
    """Jobs that end well share a task, which bears the name of the one that runs, and of none when none runs."""
    names: list[str] = []

    async def look(hand: Hand, message: BusJobRequestMessage) -> None:
        names.append(trio.lowlevel.current_task().name)
        await trio.lowlevel.checkpoint()

    doer = Witness("doer", look)
    async with open_runner(doer) as runner, within(1):
        ids = [await _id_of(runner), await _id_of(runner)]
        await settle()
        assert "idle:doer" in own_tasks()
    assert doer.tasks[0] is doer.tasks[1]
    assert names == [f"job:do#{job_id}@doer" for job_id in ids]


async def _id_of(runner: WorkerRunner) -> str:
    async with runner.job("doer", name="do") as asked:
        pass
    return asked.job_id


async def test_a_job_finds_nothing_of_the_one_before(autojump_clock: MockClock) -> None:
    """Context variables come from the sender, and what a handler sets ends with its job."""
    found: list[str] = []

    async def look(hand: Hand, message: BusJobRequestMessage) -> None:
        found.append(WHOSE.get())
        WHOSE.set("the last one's")
        await trio.lowlevel.checkpoint()

    doer = Witness("doer", look)
    async with open_runner(doer) as runner, within(1):
        await ask(runner, "doer")
        WHOSE.set("mine")
        await ask(runner, "doer")
    assert found == ["nobody's", "mine"]
    assert len(set(doer.tasks)) == 1


async def test_a_deadline_is_its_own_jobs(autojump_clock: MockClock) -> None:
    """J1: a job without a timeout is not hurried by that of the job before it, nor one with a later one by an earlier."""
    deadlines: list[float] = []

    async def nap(hand: Hand, message: BusJobRequestMessage) -> None:
        deadlines.append(trio.current_effective_deadline() - trio.current_time())
        await trio.sleep(1)

    doer = Witness("doer", nap)
    async with open_runner(doer) as runner:
        for timeout in (2, None, 3):
            async with runner.job("doer", name="do", timeout=timeout):
                pass
    assert deadlines == [2, float("inf"), 3]
    assert len(set(doer.tasks)) == 1


async def test_a_cancelled_job_takes_its_task_with_it(autojump_clock: MockClock) -> None:
    """J3: the job after one that was cancelled, while it ran or just as it completed, is not cancelled."""

    async def stubborn(hand: Hand, message: BusJobRequestMessage) -> dict[str, Any]:
        with trio.CancelScope(shield=True):
            await trio.sleep((message.payload or {})["shielded"])
        await trio.sleep((message.payload or {})["more"])
        return {}

    doer = Witness("doer", stubborn)
    async with open_runner(doer) as runner, within(60):
        for shielded, more in ((0, 5), (5, 0)):
            with pytest.raises(JobError) as caught:
                await ask(runner, "doer", payload={"shielded": shielded, "more": more}, timeout=1)
            assert caught.value.status is JobStatus.CANCELLED
            assert await ask(runner, "doer", payload={"shielded": 1, "more": 1}) == {}
    assert len(set(doer.tasks)) == 3


async def test_a_job_that_raised_takes_its_task_with_it(autojump_clock: MockClock) -> None:
    """The job after one that raised runs in a new task."""
    doer = Witness("doer", boom)
    async with open_runner(doer) as runner, within(1):
        for _ in range(2):
            with pytest.raises(JobError):
                await ask(runner, "doer")
    assert len(set(doer.tasks)) == 2


@pytest.mark.parametrize("end", [True, False], ids=["ended", "cancelled"])
async def test_a_worker_whose_tasks_wait_for_jobs_can_go(end: bool, autojump_clock: MockClock) -> None:
    """L4: tasks that wait for another job do not hold up an end, nor a cancel, of their worker."""
    doer = Hand("doer", echo)
    async with open_runner(doer) as runner, within(1):
        await ask(runner, "doer")
        await settle()
        if end:
            await runner.end_workers("doer")
        else:
            await doer.stop()
        assert "idle:doer" not in own_tasks()


async def test_a_worker_may_end_by_its_own_answer(autojump_clock: MockClock) -> None:
    """L4: the answer to a job lets its worker end at once; the task that gave it does not wait for another job."""
    doer = Hand("doer", echo)

    class Asker(Recorder):
        async def on_job_completed(self, result: Any) -> None:
            self.log.append("completed")

    asker = Asker("asker")
    async with open_runner(asker, doer) as runner, within(1):
        async with asker.job("doer", name="do"):
            await doer.bus.send(BusEndWorkerMessage(source=doer.name, target=doer.name))
        await doer.wait()
        assert runner.registry.local_workers == ["asker"]


async def test_what_waits_is_bounded_for_the_whole_runner(autojump_clock: MockClock) -> None:
    """However many workers have done a job, no more than so many tasks of a runner wait for another."""
    doers = [Hand(f"doer-{number}", echo) for number in range(KEPT + 10)]
    async with open_runner(*doers) as runner, within(1):
        for doer in doers:
            await ask(runner, doer.name)
        await settle()
        waiting = [name for name in own_tasks() if name.startswith("idle:")]
        assert len(waiting) == KEPT
        assert "idle:doer-9" not in waiting
        assert "idle:doer-10" in waiting


async def test_a_task_that_waits_holds_nothing_of_its_job(autojump_clock: MockClock) -> None:
    """What a job was asked with, and what it answered, is gone when the job is."""

    class Thing(dict[str, Any]):
        pass

    things: list[weakref.ref[Thing]] = []

    async def make(hand: Hand, message: BusJobRequestMessage) -> dict[str, Any]:
        thing = Thing()
        things.append(weakref.ref(thing))
        await trio.lowlevel.checkpoint()
        return thing

    doer = Hand("doer", make)
    async with open_runner(doer) as runner, within(1):
        asked = Thing()
        things.append(weakref.ref(asked))
        await ask(runner, "doer", payload=asked)
        del asked
        await settle()
        gc.collect()
        assert [thing() for thing in things] == [None, None]


@pytest.mark.parametrize("kind", ["answer", "stream", "timeout", "group"])
async def test_a_job_leaves_nothing_for_the_collector(kind: str, autojump_clock: MockClock) -> None:
    """What a job was made of is gone with its last reference: no cycles are left that only a garbage collection would find."""
    async with open_runner(Hand("doer", echo), Hand("other", echo), Counter("counter")) as runner, within(1):

        async def once() -> None:
            if kind == "group":
                async with runner.job_group("doer", "other", name="do"):
                    pass
            elif kind == "stream":
                async with runner.job("counter", name="count", payload={"to": 3}) as asked:
                    async for _ in asked:
                        pass
            else:
                async with runner.job("doer", name="do", timeout=5 if kind == "timeout" else None):
                    pass

        await once()
        await settle()
        gc.collect()
        gc.disable()
        try:
            await once()
            await settle()
            assert gc.collect() == 0
        finally:
            gc.enable()


async def test_a_scope_that_is_left_open_is_its_own_jobs_error(autojump_clock: MockClock) -> None:
    """A handler that leaves a cancel scope open fails, as in a task of its own; nobody after it is cancelled by that scope."""
    left = trio.CancelScope()

    async def careless(hand: Hand, message: BusJobRequestMessage) -> None:
        left.__enter__()
        hand.script = nap(1)

    doer = Witness("doer", careless)
    async with open_runner(doer) as runner, within(5):
        error = await failure(runner, "doer")
        assert (error.status, "Cancel scope stack corrupted" in str(error)) == (JobStatus.ERROR, True)
        await settle()
        left.cancel()
        assert await ask(runner, "doer") == {"slept": 1}
    assert len(set(doer.tasks)) == 2


async def test_a_lock_is_not_held_by_a_task_that_waits(autojump_clock: MockClock) -> None:
    """A lock that a handler has not released is broken when its job is done: who waits for it hears of that, and waits no longer."""
    lock = trio.Lock()

    async def careless(hand: Hand, message: BusJobRequestMessage) -> None:
        await lock.acquire()

    async with open_runner(Hand("doer", careless)) as runner, within(5):
        await ask(runner, "doer")
        with pytest.raises(trio.BrokenResourceError):
            await lock.acquire()


async def test_an_observer_may_cancel_what_surrounds_a_job_that_has_been_accepted(autojump_clock: MockClock) -> None:
    """J1: such a job is answered, once, as cancelled, also if the task that is to do it has waited for it."""
    outer = trio.CancelScope()
    accepted: list[str] = []

    class Canceller(Observer):
        def job_accepted(self, name: str, request: BusJobRequestMessage) -> None:
            """Cancel all at the second job."""
            accepted.append(request.job_id)
            if len(accepted) == 2:
                outer.cancel()

    doer = Hand("doer", echo)
    with outer:
        async with open_runner(doer, observers=[Canceller()]) as runner:
            await ask(runner, "doer")
            await settle()
            await ask(runner, "doer")
    assert doer.statistics().answering.ended == {"completed": 1, "cancelled": 1}


def test_an_interrupt_does_not_cost_an_answer() -> None:
    """J1: Ctrl-C that comes while a job is being answered comes out of the run, and the job is answered all the same."""

    class Interrupted(LocalBus):
        def check(self, message: BusMessage) -> None:
            """Press Ctrl-C."""
            signal.raise_signal(signal.SIGINT)

    doer = Hand("doer", echo)

    async def main() -> None:
        async with open_runner(doer, bus=Interrupted(), handle_sigint=False) as runner:
            await ask(runner, "doer", cancel_grace=1)

    with ctrl_c(), pytest.RaisesGroup(KeyboardInterrupt):
        trio.run(main, clock=MockClock(autojump_threshold=0))
    assert doer.statistics().answering.ended == {"completed": 1}


def test_an_interrupt_of_a_handler_is_an_interrupt() -> None:
    """Ctrl-C that hits a handler's own code stops it there, and its worker with it; its job is answered as cancelled."""
    log: list[str] = []

    async def press(hand: Hand, message: BusJobRequestMessage) -> None:
        signal.raise_signal(signal.SIGINT)
        log.append("went on")

    doer = Hand("doer", press)

    async def main() -> None:
        async with open_runner(doer, handle_sigint=False) as runner:
            await ask(runner, "doer", cancel_grace=1)

    with ctrl_c(), pytest.RaisesGroup(KeyboardInterrupt, JobError):
        trio.run(main, clock=MockClock(autojump_threshold=0))
    assert (log, doer.statistics().answering.ended) == ([], {"cancelled": 1})
