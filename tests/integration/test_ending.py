"""The graceful way out: everything drains at once, then all leave, from the bottom up, under one deadline."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import trio
from life_support import Actor, Log, Napper, Slow, ask, errors_of, idle, state, states, told
from support import Note, Recorder, settle, within
from trio.testing import MockClock

from trioworkers import (
    DEFERRED,
    BaseWorker,
    BusEndWorkerMessage,
    BusJobRequestMessage,
    BusMessage,
    BusSystemMessage,
    JobError,
    JobGroupError,
    JobStatus,
    UnknownWorkerError,
    WorkerRunner,
    job,
    open_runner,
)
from trioworkers._transitions import WorkerState


def end(runner: WorkerRunner, name: str) -> None:
    """Tell one worker to end, and do not wait."""
    runner.bus.post(BusEndWorkerMessage(source="test", target=name, reason="enough"))


# -- draining ------------------------------------------------------------------------------------------------------------


async def test_a_running_job_is_finished_first(autojump_clock: MockClock) -> None:
    """U30: a lone end lets the running job complete; its requester gets the answer, not a cancel."""
    napper = Napper("napper")
    async with open_runner(napper) as runner, within(6):
        async with runner.job("napper", name="nap", payload={"seconds": 5}) as asked:
            end(runner, "napper")
            assert state(napper) is WorkerState.ENDING
        assert asked.response == {"slept": 5}
        await napper.wait()
    assert (napper.log, state(napper)) == ([("napper", "begins"), ("napper", "wakes", 5)], WorkerState.FINISHED)


async def test_an_end_never_becomes_a_cancel(autojump_clock: MockClock) -> None:
    """U29, R17: after the runner's end a worker sees END and nothing else; no cancel overtakes it, no work is cut off."""
    log: Log = []

    class Listener(Napper):
        async def on_bus_message(self, message: BusMessage) -> None:
            if isinstance(message, (BusEndWorkerMessage, BusSystemMessage)):
                log.append((self.name, type(message).__name__, getattr(message, "reason", None)))

    parent, child = Listener("parent"), Listener("child", log)
    await parent.add_workers(child)
    async with open_runner(parent) as runner:
        await runner.request_job("child", name="nap", payload={"seconds": 5})
        await settle()
        await runner.end("enough")
    assert sorted(log[1:3]) == [("child", "BusEndWorkerMessage", "enough"), ("parent", "BusEndWorkerMessage", "enough")]
    assert [*log[:1], *log[3:]] == [("child", "begins"), ("child", "wakes", 5)]


async def test_the_ending_subtree_takes_no_new_jobs(autojump_clock: MockClock) -> None:
    """From the moment of the end every worker of the subtree answers new requests CANCELLED; others go on."""
    parent, child, other = Napper("parent"), Napper("child"), Napper("other")
    await parent.add_workers(child)
    async with open_runner(parent, other) as runner:
        await runner.request_job("child", name="nap", payload={"seconds": 5})
        await settle()
        end(runner, "parent")
        for name in ("parent", "child"):
            with pytest.raises(JobError) as caught:
                await ask(runner, name, "nap", seconds=0)
            assert (caught.value.status, caught.value.reason) == (JobStatus.CANCELLED, f"worker {name!r} is ending")
        await ask(other, "other", "nap", seconds=0)
        assert trio.current_time() == 0
        await parent.wait()
        assert trio.current_time() == 5
    assert child.log == [("child", "begins"), ("child", "wakes", 5)]


class Chain(Napper):
    """Asks the next for the same job, after some seconds."""

    def __init__(self, name: str, after: str | None, log: Log) -> None:
        super().__init__(name, log)
        self.after = after

    @job(name="pass on")
    async def pass_on(self, message: BusJobRequestMessage) -> dict[str, Any]:
        """Wait, then ask the next."""
        await trio.sleep(1)
        self.log.append((self.name, trio.current_time()))
        return {} if self.after is None else await ask(self, self.after, "pass on")


async def test_what_is_asked_inside_an_accepted_job_is_still_answered(autojump_clock: MockClock) -> None:
    """An ending subtree finishes what it has begun: requests made inside a job accepted before are accepted, however deep."""
    log: Log = []
    parent = Chain("parent", "one", log)
    await parent.add_workers(Chain("one", "two", log), Chain("two", "parent's friend", log), Chain("parent's friend", None, log))
    async with open_runner(parent) as runner:
        async with runner.job("parent", name="pass on") as asked:
            await trio.sleep(0.5)
            end(runner, "parent")
            await settle()
            with pytest.raises(JobError, match="worker 'one' is ending"):
                await ask(runner, "one", "pass on")
        assert asked.response == {}
        await parent.wait()
    assert log == [("parent", 1), ("one", 2), ("two", 3), ("parent's friend", 4)]


async def test_a_job_begun_outside_is_refused_inside(autojump_clock: MockClock) -> None:
    """A job that runs elsewhere, begun before the end, does not make an ending worker accept what is asked inside it."""
    log: Log = []
    async with open_runner(Chain("outside", "ending", log), Napper("ending", log)) as runner:
        await runner.request_job("ending", name="nap", payload={"seconds": 5})
        await settle()
        end(runner, "ending")
        with pytest.raises(JobError) as caught:
            await ask(runner, "outside", "pass on")
        assert (caught.value.status, "worker 'ending' is ending" in str(caught.value)) == (JobStatus.ERROR, True)
    assert log == [("ending", "begins"), ("outside", 1), ("ending", "wakes", 5)]


async def test_queued_hooks_and_hooks_in_progress_go_on(autojump_clock: MockClock) -> None:
    """B5: what waits in a lane when the end comes is handled, and what runs goes on, on_activated too."""
    log: Log = []

    class Busy(Recorder):
        async def on_activated(self, args: dict[str, Any] | None) -> None:
            await trio.sleep(7)
            self.note("activated", trio.current_time())

        async def on_bus_message(self, message: BusMessage) -> None:
            if isinstance(message, Note):
                await trio.sleep(1)
                self.note(message.text, trio.current_time())

    busy = Busy("busy", log=log)
    async with open_runner(busy) as runner:
        for text in "abc":
            runner.bus.post(Note(source="test", target="busy", text=text))
        await trio.sleep(0.5)
        end(runner, "busy")
        runner.bus.post(Note(source="test", target="busy", text="late"))
        await busy.wait()
    assert log == [("busy", "a", 1), ("busy", "b", 2), ("busy", "c", 3), ("busy", "late", 4), ("busy", "activated", 7)]
    assert (busy.statistics().mailbox.dropped, state(busy)) == (0, WorkerState.FINISHED)


async def test_wait_ending_lets_a_long_hook_leave(autojump_clock: MockClock) -> None:
    """``wait_ending`` returns when the end begins, in whatever way, and at once if it has; a coordinator leaves then."""

    async def coordinate(worker: BaseWorker) -> None:
        await worker.wait_ending()
        log.append((worker.name, state(worker), trio.current_time()))

    log: Log = []
    ended, child, stopped = Actor("ended", coordinate), Actor("child", coordinate), Actor("stopped", idle)
    await ended.add_workers(child)
    async with open_runner(ended, stopped) as runner, within(2), trio.open_nursery() as nursery:
        nursery.start_soon(stopped.wait_ending)
        await trio.sleep(1)
        end(runner, "ended")
        await ended.wait()
        await ended.wait_ending()
        await stopped.stop()
    assert sorted(log) == [("child", WorkerState.ENDING, 1), ("ended", WorkerState.ENDING, 1)]


@pytest.mark.parametrize("kind", [JobError, JobGroupError])
@pytest.mark.parametrize("where", ["on_activated", "on_bus_message"])
async def test_a_job_error_in_a_hook_of_an_ending_worker(where: str, kind: type, autojump_clock: MockClock) -> None:
    """A JobError that leaves a hook of an ENDING worker, refused as all are, ends that hook and not the worker."""

    class Asker(BaseWorker):
        async def ask_late(self) -> None:
            await self.wait_ending()
            log.append("asks")
            async with self.job("asker") if kind is JobError else self.job_group("asker"):
                pass

        async def on_activated(self, args: dict[str, Any] | None) -> None:
            if where == "on_activated":
                await self.ask_late()

        async def on_bus_message(self, message: BusMessage) -> None:
            if isinstance(message, Note):
                log.append(message.text)
                if where == message.text:
                    await self.ask_late()

    log: list[str] = []
    asker = Asker("asker")
    async with open_runner(asker) as runner, within(1):
        runner.bus.post(Note(source="test", target="asker", text="on_bus_message"))
        await settle()
        end(runner, "asker")
        runner.bus.post(Note(source="test", target="asker", text="after"))
        await asker.wait()
    assert (log[0], sorted(log[1:])) == ("on_bus_message", ["after", "asks"])
    assert (where, log[1]) != ("on_bus_message", "after")
    assert state(asker) is WorkerState.FINISHED


async def test_a_job_error_in_a_hook_of_a_ready_worker_is_a_failure(autojump_clock: MockClock) -> None:
    """U31: the same JobError in a worker that does not end is an error like any other."""

    async def ask_for_nothing(worker: BaseWorker) -> None:
        await ask(worker, "asker", "no such job")

    runner = WorkerRunner()
    await runner.add_workers(Actor("asker", ask_for_nothing))
    (error,) = await errors_of(runner.run)
    assert error.startswith("JobError: job ")
    assert error.endswith("ended failed: no handler for job 'no such job' on worker 'asker'")


async def test_a_child_may_ask_its_ending_parent(autojump_clock: MockClock) -> None:
    """U12: a child that asks its parent something while both end is answered at once; the end does not hang."""

    async def ask_late(child: BaseWorker) -> None:
        await child.wait_ending()
        with pytest.raises(JobError) as caught:
            await ask(child, "parent", "nap")
        log.append((caught.value.status, caught.value.reason, trio.current_time()))

    log: Log = []
    parent = Napper("parent")
    await parent.add_workers(Actor("child", ask_late))
    async with within(1), open_runner(parent):
        await settle()
    assert log == [(JobStatus.CANCELLED, "worker 'parent' is ending", 0)]


async def test_a_deferred_job_holds_the_end_up(autojump_clock: MockClock) -> None:
    """L6: an accepted job whose answer is deferred is waited for, until it is answered, or the deadline."""

    class Later(BaseWorker):
        @job(name="later")
        async def later(self, message: BusJobRequestMessage) -> Any:
            return DEFERRED

    answered, forgotten = Later("answered"), Later("forgotten")
    async with open_runner(answered, forgotten, shutdown_timeout=3) as runner:
        async with runner.job("answered", name="later") as asked:
            end(runner, "answered")
            await trio.sleep(1)
            assert states(answered) == [WorkerState.ENDING]
            await answered.send_job_response(asked.job_id, {"at": "last"})
        assert asked.response == {"at": "last"}
        await answered.wait()
        assert trio.current_time() == 1
        with pytest.raises(JobError) as caught:
            async with runner.job("forgotten", name="later"):
                end(runner, "forgotten")
        assert (caught.value.status, trio.current_time()) == (JobStatus.CANCELLED, 4)


async def test_a_start_in_progress_is_something_to_do(autojump_clock: MockClock) -> None:
    """Children that a worker is starting when its end begins become ready, end with it, and the call returns."""

    async def add(worker: BaseWorker) -> None:
        await worker.add_workers(slow)
        log.append((state(slow), trio.current_time()))

    log: Log = []
    slow = Slow("slow", up=2)
    async with within(3), open_runner(Actor("parent", add)):
        await trio.sleep(1)
    assert (log, state(slow)) == ([(WorkerState.ENDING, 2)], WorkerState.FINISHED)


# -- finishing -----------------------------------------------------------------------------------------------------------


async def test_children_leave_in_reverse_start_order(autojump_clock: MockClock) -> None:
    """L1: when all is drained, the child that was started last leaves first, each with all below it, then the worker."""
    log: Log = []
    workers = {name: Slow(name, down=1, log=log) for name in ("top", "a", "a1", "a2", "b", "b1")}
    await workers["a"].add_workers(workers["a1"], workers["a2"])
    await workers["b"].add_workers(workers["b1"])
    await workers["top"].add_workers(workers["a"], workers["b"])
    async with open_runner(workers["top"]):
        pass
    assert [(name, time) for name, _, time in log] == [("b1", 1), ("b", 2), ("a2", 3), ("a1", 4), ("a", 5), ("top", 6)]


async def test_nobody_leaves_before_all_are_drained(autojump_clock: MockClock) -> None:
    """While anybody in the ending subtree still works, all are there: what one asks another inside its job can be answered."""
    log: Log = []
    parent, busy, needed = BaseWorker("parent"), Chain("busy", "needed", log), Chain("needed", None, log)
    await parent.add_workers(busy, needed)
    async with open_runner(parent) as runner:
        await runner.request_job("busy", name="pass on")
        await settle()
        end(runner, "parent")
        await trio.sleep(1.5)
        assert states(parent, busy, needed) == [WorkerState.ENDING] * 3
        assert sorted(runner.registry.local_workers) == ["busy", "needed", "parent"]
        await parent.wait()
    assert log == [("busy", 1), ("needed", 2)]


# -- the deadline --------------------------------------------------------------------------------------------------------


async def test_one_deadline_for_the_whole_subtree(autojump_clock: MockClock) -> None:
    """L6, R18: however many do not want to leave, and however deep they are, all are cancelled at one moment; the end is bounded."""
    top, middle, bottom = Napper("top"), Napper("middle"), Napper("bottom")
    await middle.add_workers(bottom)
    await top.add_workers(middle)
    async with within(5), open_runner(top, shutdown_timeout=3) as runner:
        for name in ("top", "middle", "bottom"):
            await runner.request_job(name, name="nap")
        await settle()
    assert [napper.log for napper in (top, middle, bottom)] == [
        [(name, "begins"), (name, "tidied up", 4)] for name in ("top", "middle", "bottom")
    ]
    assert states(top, middle, bottom) == [WorkerState.FINISHED] * 3


async def test_a_child_that_ends_keeps_its_own_earlier_deadline(autojump_clock: MockClock) -> None:
    """L6: the deadline counts from the first end: a child ended before its parent is cancelled at its own time."""
    parent, early, late = Napper("parent"), Napper("early"), Napper("late")
    await parent.add_workers(early, late)
    async with open_runner(parent, shutdown_timeout=3) as runner:
        for name in ("early", "late"):
            await runner.request_job(name, name="nap")
        await settle()
        end(runner, "early")
        await trio.sleep(1)
        end(runner, "parent")
        await parent.wait()
    assert (early.log[-1], late.log[-1]) == (("early", "tidied up", 4), ("late", "tidied up", 5))


async def test_a_parent_waits_for_a_child_that_has_begun_to_end(autojump_clock: MockClock) -> None:
    """A child that drains on its own account is part of its parent's end: its jobs may still ask its siblings."""
    log: Log = []
    parent, early, needed = BaseWorker("parent"), Chain("early", "needed", log), Chain("needed", None, log)
    await parent.add_workers(early, needed)
    async with open_runner(parent) as runner:
        await runner.request_job("early", name="pass on")
        await settle()
        end(runner, "early")
        end(runner, "early")
        end(runner, "parent")
        await parent.wait()
    assert log == [("early", 1), ("needed", 2)]


async def test_at_the_deadline_queued_hooks_are_dropped_and_counted(autojump_clock: MockClock) -> None:
    """B5: what still waits when the deadline passes will not be handled, and is counted: the end itself, too."""

    class Stuck(BaseWorker):
        async def on_bus_message(self, message: BusMessage) -> None:
            if isinstance(message, Note):
                await trio.sleep_forever()

    stuck = Stuck("stuck")
    async with within(4), open_runner(stuck, shutdown_timeout=3) as runner:
        for text in "abc":
            runner.bus.post(Note(source="test", target="stuck", text=text))
        await settle()
    assert (trio.current_time(), stuck.statistics().mailbox.dropped, state(stuck)) == (3, len("bc") + 1, WorkerState.FINISHED)


async def test_an_end_without_patience(autojump_clock: MockClock) -> None:
    """A shutdown timeout of zero cancels at once; an infinite one waits for as long as it takes."""
    hasty, patient = Napper("hasty"), Napper("patient")
    async with open_runner(hasty, shutdown_timeout=0) as runner:
        await runner.request_job("hasty", name="nap", payload={"seconds": 5})
        await settle()
    async with open_runner(patient, shutdown_timeout=float("inf")) as runner:
        await runner.request_job("patient", name="nap", payload={"seconds": 1_000_000})
        await settle()
    assert (hasty.log[-1], patient.log[-1]) == (("hasty", "tidied up", 1), ("patient", "wakes", 1_000_001))


async def test_a_second_end_changes_nothing(autojump_clock: MockClock) -> None:
    """The first end sets the deadline and the reason; those that follow, from whomever, are harmless."""
    napper = Napper("napper")
    async with open_runner(napper, shutdown_timeout=3) as runner:
        await runner.request_job("napper", name="nap")
        await settle()
        end(runner, "napper")
        await trio.sleep(2)
        end(runner, "napper")
        await runner.end("again")
        await runner.end("and again")
        end(runner, "napper")
    assert napper.log == [("napper", "begins"), ("napper", "tidied up", 4)]


async def test_a_cancel_overtakes_an_end(autojump_clock: MockClock) -> None:
    """C1: an ending worker can be stopped at once, from outside and from a hook of its own."""
    napper, child = Napper("napper"), Napper("child")
    await napper.add_workers(child)
    async with open_runner(napper) as runner:
        await runner.request_job("child", name="nap")
        await settle()
        end(runner, "napper")
        await trio.sleep(1)
        await napper.stop()
        assert (trio.current_time(), states(napper, child)) == (2, [WorkerState.FINISHED] * 2)


async def test_a_failure_while_ending_is_told(autojump_clock: MockClock) -> None:
    """A hook that raises while its worker ends fails the worker; nobody's hook runs in an owner that leaves already."""

    async def fail_late(worker: BaseWorker) -> None:
        await worker.wait_ending()
        await trio.sleep(1)
        raise ValueError("boom")

    parent = Recorder("parent")
    child = Actor("child", fail_late)
    await parent.add_workers(child)
    runner = WorkerRunner()
    await runner.add_workers(parent)
    runner.add_event_handler("on_ready", lambda runner: runner.end_nowait("enough"))
    with pytest.raises(ExceptionGroup) as caught:
        await runner.run()
    assert [str(error) for error in told(caught.value)] == ["boom"]
    assert states(parent, child) == [WorkerState.FAILED] * 2


# -- single children -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("owner_kind", ["runner", "worker"])
async def test_single_children_end_gracefully(owner_kind: str, autojump_clock: MockClock) -> None:
    """``end_workers`` drains some children with all below them and returns when they are over; the others, and the owner, stay."""
    owner: BaseWorker | WorkerRunner
    parent = BaseWorker("parent")
    one, two, below, three = Napper("one"), Napper("two"), Napper("below"), Napper("three")
    await one.add_workers(below)
    async with open_runner(parent) as runner:
        owner = runner if owner_kind == "runner" else parent
        await owner.add_workers(one, two, three)
        await runner.request_job("below", name="nap", payload={"seconds": 2})
        await runner.request_job("two", name="nap", payload={"seconds": 3})
        await settle()
        await owner.end_workers("one", "two")
        assert trio.current_time() == 3
        assert states(one, below, two, three, parent) == [WorkerState.FINISHED] * 3 + [WorkerState.READY] * 2
        assert below.log[-1] == ("below", "wakes", 2)
        await owner.end_workers()
        assert "three" in runner.registry


async def test_ending_who_is_no_child_is_an_error() -> None:
    """A name that is no child's is an error at the call, and nobody is ended; a finished child is none any more."""
    parent, child, below = BaseWorker("parent"), BaseWorker("child"), BaseWorker("below")
    await child.add_workers(below)
    await parent.add_workers(child)
    async with open_runner(parent) as runner:
        for names in (("child", "nobody"), ("below", "child"), ("parent",)):
            with pytest.raises(UnknownWorkerError, match="'parent' has no child called"):
                await parent.end_workers(*names)
        with pytest.raises(UnknownWorkerError, match="has no child called 'child', 'below'"):
            await runner.end_workers("parent", "child", "below")
        assert states(parent, child, below) == [WorkerState.READY] * 3
        await parent.end_workers("child")
        with pytest.raises(UnknownWorkerError):
            await parent.end_workers("child")


async def test_a_child_may_have_itself_ended(autojump_clock: MockClock) -> None:
    """Called from inside the child that is to end, ``end_workers`` asks and returns; it waits for the others."""

    async def resign(child: BaseWorker) -> None:
        await parent.end_workers(child.name, "other")
        log.append((child.name, states(child, other)))

    log: Log = []
    parent, other = BaseWorker("parent"), BaseWorker("other")
    child = Actor("child", resign)
    async with open_runner(parent), within(1):
        await parent.add_workers(other)
        await parent.add_workers(child)
        await child.wait()
    assert (log, state(child)) == ([("child", [WorkerState.ENDING, WorkerState.FINISHED])], WorkerState.FINISHED)


async def test_a_child_that_was_not_started_is_just_let_go() -> None:
    """``end_workers`` of children that have not been started yet frees their names; they never run."""
    parent, child = BaseWorker("parent"), BaseWorker("child")
    await parent.add_workers(child)
    runner = WorkerRunner()
    await parent.end_workers("child")
    assert (parent.children, state(child)) == ([], WorkerState.FINISHED)
    await runner.add_workers(parent, BaseWorker("child"))
    await runner.end_workers("parent", "child")
    assert (runner.workers, state(parent), runner.bus.statistics().subscribers) == ([], WorkerState.FINISHED, 1)


async def test_a_cancelled_wait_for_an_end_leaves_the_end_in_place(autojump_clock: MockClock) -> None:
    """``end_workers`` that is cancelled at its checkpoint asked nothing; cancelled while it waits, the children end all the same."""
    napper = Napper("napper")
    async with open_runner(napper) as runner:
        await runner.request_job("napper", name="nap", payload={"seconds": 2})
        with trio.CancelScope() as scope:
            scope.cancel()
            await runner.end_workers("napper")
        assert state(napper) is WorkerState.READY
        with trio.move_on_after(1):
            await runner.end_workers("napper")
        assert state(napper) is WorkerState.ENDING
        await napper.wait()
        assert napper.log[-1] == ("napper", "wakes", 2)


# -- the session ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["end", "cancel"])
async def test_a_worker_ends_its_own_session_only(verb: str, autojump_clock: MockClock) -> None:
    """U54: two runners on one bus: what a worker of one asks for ends all workers of its own runner, and none of the other's."""
    mine, child, theirs = BaseWorker("mine"), BaseWorker("child"), BaseWorker("theirs")
    await mine.add_workers(child)
    async with open_runner(theirs, name="other") as other, trio.open_nursery() as nursery:
        runner = WorkerRunner(name="own", bus=other.bus)
        await runner.add_workers(mine)
        await nursery.start(partial(runner.run, auto_end=False))
        ask_for: Callable[..., Awaitable[None]] = getattr(child, verb)
        await ask_for(reason="enough")
        await mine.wait()
        assert states(mine, child, theirs) == [WorkerState.FINISHED] * 2 + [WorkerState.READY]


async def test_one_worker_takes_its_siblings_along(autojump_clock: MockClock) -> None:
    """R16: a worker that ends the session ends its siblings too, so that the runner returns; the reason reaches all."""
    reasons: Log = []

    class Quitter(BaseWorker):
        async def on_activated(self, args: object) -> None:
            await trio.sleep(1)
            await self.end(reason="idle for too long")

    class Sibling(BaseWorker):
        async def on_bus_message(self, message: BusMessage) -> None:
            if isinstance(message, BusEndWorkerMessage):
                reasons.append((self.name, message.reason))

    runner = WorkerRunner()
    await runner.add_workers(Sibling("one"), Quitter("quitter"), Sibling("two"))
    async with within(2):
        await runner.run()
    assert sorted(reasons) == [("one", "idle for too long"), ("two", "idle for too long")]
