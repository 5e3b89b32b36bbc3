"""The way out at once: stop, cancel, cancellation from around; what is dropped, who is answered, who hears why."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import trio
from life_support import Actor, Log, Napper, Slow, ask, errors_of, idle, own_tasks, state, states
from support import Note, Recorder, settle, within
from trio.testing import MockClock

from trioworkers import (
    DEFERRED,
    BaseWorker,
    BusCancelWorkerMessage,
    BusJobRequestMessage,
    BusJobResponseMessage,
    BusMessage,
    JobError,
    JobStatus,
    WorkerRunner,
    WorkerStateError,
    job,
    open_runner,
)
from trioworkers._transitions import WorkerState

# -- at once, with all below ---------------------------------------------------------------------------------------------


async def test_a_cancel_takes_no_time(autojump_clock: MockClock) -> None:
    """C1: from the cancel to all finished nothing waits but user code that shields itself, and all of that at the same time."""
    parent, child, other = Napper("parent"), Napper("child"), Napper("other")
    await parent.add_workers(child)
    async with within(2), open_runner(parent, other) as runner:
        for name in ("parent", "child", "other"):
            await runner.request_job(name, name="nap")
        await settle()
        await runner.cancel("enough")
    assert [napper.log[-1] for napper in (parent, child, other)] == [(name, "tidied up", 1) for name in ("parent", "child", "other")]


async def test_a_parent_stops_after_its_children(autojump_clock: MockClock) -> None:
    """U28: a parent that stops while its children run takes them along; the runner returns when the last root is gone."""
    log: Log = []
    parent, child = Slow("parent", log=log), Slow("child", down=2, log=log)
    await parent.add_workers(child)
    runner = WorkerRunner()
    await runner.add_workers(parent)
    async with within(3), trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        nursery.start_soon(parent.stop)
    assert log == [("child", "gone", 2), ("parent", "gone", 2)]


async def test_the_reason_reaches_every_worker(autojump_clock: MockClock) -> None:
    """The reason of a cancel is in the message every worker is sent, and in the cancellation that its code sees."""
    told: Log = []

    async def listen(worker: BaseWorker) -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled as cancelled:
            told.append((worker.name, cancelled.reason))
            raise

    parent, child = Actor("parent", listen), Actor("child", listen)
    await parent.add_workers(child)
    async with open_runner(parent, Actor("other", listen)) as runner:
        await settle()
        with runner.bus.tap() as messages:
            await child.cancel(reason="the house is on fire")
            heard = [messages.receive_nowait() for _ in range(messages.statistics().current_buffer_used)]
    assert sorted(told) == [(name, "the house is on fire") for name in ("child", "other", "parent")]
    assert sorted(str(message.target) for message in heard if isinstance(message, BusCancelWorkerMessage)) == [
        "child",
        "other",
        "parent",
    ]


async def test_queued_hooks_are_dropped_and_counted(autojump_clock: MockClock) -> None:
    """B5: hooks that wait when their worker is cancelled never run; each is counted as dropped."""
    log: Log = []

    class Busy(BaseWorker):
        async def on_bus_message(self, message: BusMessage) -> None:
            if isinstance(message, Note):
                log.append(message.text)
                await trio.sleep(10)

    busy = Busy("busy")
    async with open_runner(busy) as runner:
        await settle()
        for text in "abc":
            runner.bus.post(Note(source="test", target="busy", text=text))
        await trio.sleep(1)
        before = busy.statistics().mailbox
        await busy.stop()
        after = busy.statistics().mailbox
    assert (log, before.data, before.dropped) == (["a"], 2, 0)
    assert (after.data, after.system, after.dropped) == (0, 0, 2)
    assert trio.current_time() == 1


async def test_nothing_runs_after_the_end(autojump_clock: MockClock) -> None:
    """B4, L3, R13: after FINISHED no hook, no handler and no job of the worker runs, whatever comes for it."""
    log: Log = []

    class Chatty(Recorder):
        async def on_bus_message(self, message: BusMessage) -> None:
            self.note(type(message).__name__)

        async def on_job_request(self, message: BusJobRequestMessage) -> None:
            self.note("job")
            await trio.sleep(5)

    chatty, other = Chatty("chatty", log=log), BaseWorker("other")
    async with open_runner(chatty, other) as runner:
        await other.request_job("chatty")
        await settle()
        await chatty.stop()
        before = list(log)
        runner.bus.post(Note(source="other", target="chatty"))
        runner.bus.post(BusJobRequestMessage(source="other", target="chatty", job_id="1"))
        await other.send_bus_error_message("heard by nobody")
        await trio.sleep(10)
        assert [task for task in own_tasks() if "chatty" in task] == []
    assert log == before
    assert ("chatty", "job") in before


async def test_cleanup_may_still_talk(autojump_clock: MockClock) -> None:
    """Hooks that unwind under a cancel can still post messages, and answer their jobs with the sync verbs."""

    class Tidy(BaseWorker):
        async def on_job_request(self, message: BusJobRequestMessage) -> None:
            try:
                await trio.sleep_forever()
            finally:
                self.send_job_response_nowait(message.job_id, {"so far": 3}, status=JobStatus.FAILED)
                self.bus.post(Note(source=self.name, target="listener", text="goodbye"))

    class Listener(BaseWorker):
        async def on_bus_message(self, message: BusMessage) -> None:
            if isinstance(message, Note):
                log.append(message.text)

    log: Log = []
    tidy, listener = Tidy("tidy"), Listener("listener")
    async with open_runner(tidy, listener) as runner:
        job_id = await listener.request_job("tidy")
        await settle()
        group = listener.job_groups[job_id]
        await tidy.stop()
        await settle()
        assert (group.statuses, runner.bus.statistics().dead_letters) == ({"tidy": JobStatus.FAILED}, 0)
    assert log == ["goodbye"]


# -- whoever waits gets an answer ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["stop", "cancel"])
async def test_jobs_held_are_answered(way: str, autojump_clock: MockClock) -> None:
    """J7: running, queued and deferred jobs of a worker that is stopped are answered CANCELLED, when their handlers are gone."""

    class Both(Napper):
        @job(name="one at a time", sequential=True)
        async def one_at_a_time(self, message: BusJobRequestMessage) -> None:
            self.log.append("slot taken")
            await trio.sleep_forever()

        @job(name="later")
        async def later(self, message: BusJobRequestMessage) -> Any:
            return DEFERRED

    async def wait_for(name: str) -> None:
        with pytest.raises(JobError) as caught:
            await ask(runner, "both", name)
        answers.append((name, caught.value.status, trio.current_time()))

    answers: Log = []
    both = Both("both")
    async with open_runner(both, BaseWorker("other")) as runner, trio.open_nursery() as nursery:
        for name in ("nap", "one at a time", "one at a time", "later"):
            nursery.start_soon(wait_for, name)
        await settle()
        assert (len(both.active_jobs), both.statistics().answering.deferred) == (4, 1)
        if way == "stop":
            await both.stop()
        else:
            runner.bus.post(BusCancelWorkerMessage(source="test", target="both", reason="enough"))
            await both.wait()
    assert sorted(answers) == [
        ("later", JobStatus.CANCELLED, 0),
        ("nap", JobStatus.CANCELLED, 1),
        ("one at a time", JobStatus.CANCELLED, 0),
        ("one at a time", JobStatus.CANCELLED, 0),
    ]
    assert both.log.count("slot taken") == 1
    assert both.active_jobs == {}


async def test_requests_out_are_cancelled(autojump_clock: MockClock) -> None:
    """U44: what a worker has asked for is part of it: stopped, it is over only when those jobs are."""
    napper = Napper("napper")

    class Asker(BaseWorker):
        async def run(self, params: Any, **kwargs: Any) -> None:
            async with trio.open_nursery() as nursery:
                await nursery.start(partial(super().run, params))
                await self.request_job("napper", name="nap")
                await ask(self, "napper", "nap")

    asker = Asker("asker")
    async with open_runner(napper, asker):
        await settle()
        assert len(asker.job_groups) == 2
        await asker.stop()
        assert (trio.current_time(), asker.job_groups, napper.active_jobs) == (1, {}, {})
    assert sorted(napper.log) == [("napper", "begins")] * 2 + [("napper", "tidied up", 1)] * 2


async def test_asking_a_finished_worker_to_ask_is_an_error() -> None:
    """A worker that is over asks for nothing any more: an error at the call."""
    worker = BaseWorker("worker")
    async with open_runner(worker, Napper("napper")):
        await worker.stop()
        with pytest.raises(WorkerStateError, match="'worker' cannot ask for jobs any more: worker 'worker' has stopped: stopped"):
            worker.job("napper", name="nap")
        with pytest.raises(RuntimeError):
            await worker.request_job("napper", name="nap")


# -- from inside ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["on_activated", "on_bus_message", "job", "child"])
async def test_stop_from_inside_only_asks(where: str, autojump_clock: MockClock) -> None:
    """stop() from a hook, a job, or a child of the worker returns, and takes effect at the next checkpoint."""

    async def stop(worker: BaseWorker) -> None:
        await trio.sleep(0.5)  # by then the parent is ready
        await parent.stop()
        log.append(state(parent))
        await trio.sleep_forever()

    class Parent(BaseWorker):
        async def on_activated(self, args: object) -> None:
            if where == "on_activated":
                await stop(self)

        async def on_bus_message(self, message: BusMessage) -> None:
            if where == "on_bus_message" and isinstance(message, Note):
                await stop(self)

        async def on_job_request(self, message: BusJobRequestMessage) -> None:
            await stop(self)

    log: Log = []
    parent = Parent("parent")
    await parent.add_workers(Actor("child", stop if where == "child" else idle))
    async with open_runner(parent) as runner, within(1):
        if where == "job":
            with pytest.raises(JobError):
                await ask(runner, "parent")
        elif where == "on_bus_message":
            runner.bus.post(Note(source="test", target="parent"))
        await parent.wait()
    assert (log, state(parent)) == ([WorkerState.CANCELLING], WorkerState.FINISHED)


@pytest.mark.parametrize("verb", ["end", "cancel"])
async def test_end_and_cancel_from_inside_only_ask(verb: str, autojump_clock: MockClock) -> None:
    """end() and cancel() in a hook return at once; the session then ends."""

    async def leave(worker: BaseWorker) -> None:
        await getattr(worker, verb)(reason="enough")
        log.append(state(worker))

    log: Log = []
    runner = WorkerRunner()
    await runner.add_workers(Actor("worker", leave), BaseWorker("other"))
    async with within(1):
        await runner.run(auto_end=False)
    assert log == [WorkerState.ENDING if verb == "end" else WorkerState.CANCELLING]


@pytest.mark.parametrize("verb", ["wait", "cleanup"])
async def test_waiting_for_oneself_is_an_error(verb: str, autojump_clock: MockClock) -> None:
    """R27: wait() and cleanup() from inside a worker, a handler or a child of it, raise instead of waiting for ever."""

    async def wait_for_parent(worker: BaseWorker) -> None:
        with pytest.raises(WorkerStateError, match=rf"^{verb}\(\) of worker 'parent' was called from inside it") as caught:
            await getattr(parent, verb)()
        log.append((worker.name, isinstance(caught.value, RuntimeError)))

    log: Log = []
    parent = Actor("parent", wait_for_parent)
    await parent.add_workers(Actor("child", wait_for_parent))

    @parent.event_handler("on_activated")
    async def handler(worker: Actor, args: object) -> None:
        await wait_for_parent(worker)

    async with open_runner(parent), within(1):
        await settle()
        assert state(parent) is WorkerState.READY
    assert sorted(log) == [("child", True), ("parent", True), ("parent", True)]


async def test_a_sibling_and_a_parent_may_wait(autojump_clock: MockClock) -> None:
    """Any number may wait for a worker, before its end and after, from anywhere that is not inside it."""
    log: Log = []

    async def wait_for_child(worker: BaseWorker) -> None:
        await child.wait()
        log.append((worker.name, state(child)))

    child = Slow("child", down=1)
    parent = Actor("parent", wait_for_child)
    await parent.add_workers(child, Actor("sibling", wait_for_child))
    async with open_runner(parent):
        await settle()
        await child.stop()
        await child.wait()
        await settle()
    assert sorted(log) == [("parent", WorkerState.FINISHED), ("sibling", WorkerState.FINISHED)]


# -- from outside --------------------------------------------------------------------------------------------------------


async def test_stop_and_cleanup_are_idempotent(autojump_clock: MockClock) -> None:
    """stop() and cleanup() may be called by many, at the same time and after the end; each returns when the worker is over."""
    worker = Slow("worker", down=1)
    log: Log = []
    async with open_runner(worker):
        async with trio.open_nursery() as nursery:
            for verb in (worker.stop, worker.cleanup, worker.stop):

                async def call(verb: Callable[[], Awaitable[None]] = verb) -> None:
                    await verb()
                    log.append((state(worker), trio.current_time()))

                nursery.start_soon(call)
        await worker.stop()
        await worker.cleanup()
    assert log == [(WorkerState.FINISHED, 1)] * 3


async def test_a_cancelled_stop_stops_nobody() -> None:
    """stop() that is cancelled at its checkpoint had no effect."""
    worker = BaseWorker("worker")
    async with open_runner(worker):
        with trio.CancelScope() as scope:
            scope.cancel()
            await worker.stop()
        assert state(worker) is WorkerState.READY
        with trio.CancelScope() as scope:
            scope.cancel()
            await worker.end()
        assert (scope.cancelled_caught, state(worker)) == (True, WorkerState.READY)


async def test_a_first_cancel_decides_the_reason(autojump_clock: MockClock) -> None:
    """A second cancel of a worker that is leaving changes nothing."""
    worker = Slow("worker", down=1)
    async with open_runner(worker, BaseWorker("other")) as runner, trio.open_nursery() as nursery:
        nursery.start_soon(worker.stop)
        await trio.sleep(0.5)
        runner.bus.post(BusCancelWorkerMessage(source="test", target="worker", reason="too late"))
        with runner.bus.tap() as messages:
            runner.bus.post(BusJobRequestMessage(source="other", target="worker", job_id="1"))
            heard = [messages.receive_nowait() for _ in range(messages.statistics().current_buffer_used)]
    assert [(message.status, message.reason) for message in heard if isinstance(message, BusJobResponseMessage)] == [
        (JobStatus.CANCELLED, "worker 'worker' has stopped: stopped")
    ]
    assert state(worker) is WorkerState.FINISHED


@pytest.mark.parametrize("auto_end", [True, False])
async def test_cancellation_around_a_runner_is_not_swallowed(auto_end: bool, autojump_clock: MockClock) -> None:
    """U20: a timeout around run() fires as a timeout, when all workers are gone."""
    napper = Napper("napper")
    runner = WorkerRunner()
    await runner.add_workers(napper)
    runner.add_event_handler("on_ready", lambda runner: runner.request_job("napper", name="nap"))
    with pytest.raises(trio.TooSlowError):
        with trio.fail_after(3):
            await runner.run(auto_end=auto_end)
    assert (trio.current_time(), napper.log[-1], state(napper)) == (4, ("napper", "tidied up", 4), WorkerState.FINISHED)


async def test_a_scope_of_the_workers_own_cancels_it(autojump_clock: MockClock) -> None:
    """An override that cancels a scope of its own around super().run() leaves cleanly: that is no error, its children go first."""

    class Bounded(BaseWorker):
        async def run(self, params: Any, **kwargs: Any) -> None:
            with trio.move_on_after(2) as scope:
                await super().run(params, **kwargs)
            log.append((scope.cancelled_caught, states(*self.children)))

    log: Log = []
    bounded, child = Bounded("bounded"), Slow("child", down=1)
    await bounded.add_workers(child)
    async with open_runner(bounded) as runner:
        await bounded.wait()
        assert (trio.current_time(), states(bounded, child), log) == (3, [WorkerState.FINISHED] * 2, [(True, [])])
        assert "bounded" not in runner.registry


async def test_a_scope_in_a_hook_is_the_hooks_own(autojump_clock: MockClock) -> None:
    """A hook that gives something up by a timeout of its own goes on; its worker is none the wiser."""

    async def give_up(worker: BaseWorker) -> None:
        with trio.move_on_after(1):
            await trio.sleep_forever()
        log.append((state(worker), trio.current_time()))

    log: Log = []
    async with open_runner(Actor("worker", give_up)):
        await trio.sleep(2)
    assert log == [(WorkerState.READY, 1)]


async def test_a_stray_cancelled_is_an_error(autojump_clock: MockClock) -> None:
    """A Cancelled that no scope around has caused is not taken for a cancellation: it is told as an error."""
    kept: list[trio.Cancelled] = []

    async def stray(worker: BaseWorker) -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as cancelled:
                kept.append(cancelled)
        raise kept[0]

    worker, child = Actor("worker", stray), Slow("child", down=1)
    await worker.add_workers(child)
    runner = WorkerRunner()
    await runner.add_workers(worker)
    assert await errors_of(runner.run) == ["RuntimeError: worker 'worker' raised Cancelled, but nothing was cancelled"]
    assert states(worker, child) == [WorkerState.FAILED, WorkerState.FINISHED]


async def test_a_stray_cancelled_of_an_override_is_an_error(autojump_clock: MockClock) -> None:
    """The same goes for what an override raises beside super().run()."""
    kept: list[trio.Cancelled] = []

    class Stray(BaseWorker):
        async def run(self, params: Any, **kwargs: Any) -> None:
            with trio.CancelScope() as scope:
                scope.cancel()
                try:
                    await trio.lowlevel.checkpoint()
                except trio.Cancelled as cancelled:
                    kept.append(cancelled)
            raise kept[0]

    worker = Stray("worker")
    runner = WorkerRunner()
    await runner.add_workers(worker)
    assert await errors_of(runner.run) == ["RuntimeError: worker 'worker' raised Cancelled, but nothing was cancelled"]
    assert state(worker) is WorkerState.FAILED


async def test_a_slow_cleanup_delays_nobody_elses(autojump_clock: MockClock) -> None:
    """C1, R18: cancelled workers tidy up at the same time, however many they are; one that shields itself holds up no other."""
    log: Log = []
    workers = [Slow(f"worker-{number}", down=3, log=log) for number in range(8)]
    async with open_runner(*workers, Slow("quick", log=log)) as runner:
        await settle()
        await runner.cancel("enough")
    assert (trio.current_time(), log[0], sorted(log[1:])) == (
        3,
        ("quick", "gone", 0),
        [(f"worker-{number}", "gone", 3) for number in range(8)],
    )
