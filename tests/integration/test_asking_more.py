"""What an asker is told, in full: ids, reasons, defaults; and which tasks keep its deadlines."""

from __future__ import annotations

import traceback
from contextlib import nullcontext
from typing import Any

import pytest
import trio
from job_support import Hand, Log, boom, drain, echo, failure, forever, nap, tidy
from life_support import own_tasks
from support import Recorder, settle, within
from trio.testing import MockClock

from trioworkers import (
    BaseWorker,
    BusJobCancelMessage,
    BusJobRequestMessage,
    BusJobResponseMessage,
    BusMessage,
    JobError,
    JobGroupError,
    JobStatus,
    LocalBus,
    WorkerBus,
    WorkerRegistryEntry,
    WorkerStateError,
    handles,
    open_runner,
)


def numbered() -> LocalBus:
    """Return a bus whose ids are job-1, job-2 and so on."""
    ids = iter(range(1, 100))
    return LocalBus(new_id=lambda: f"job-{next(ids)}")


# -- not ready in time ----------------------------------------------------------------------------------------------------


async def test_who_is_not_ready_is_told_with_the_id_and_the_reason(autojump_clock: MockClock) -> None:
    """The errors of a request that was never sent name its id, its reason, and each worker that is missing."""
    asker = BaseWorker("asker")
    async with open_runner(asker, Hand("there", echo), bus=numbered()), within(9):
        with pytest.raises(JobGroupError) as caught:
            await asker.request_job_group("there", "missing", name="do", timeout=1)
        group = caught.value
        assert (group.job_id, group.reason, group.responses) == ("job-1", "not ready within timeout", {})
        (one,) = group.errors.values()
        assert (one.worker_name, one.job_id, one.status, one.reason) == ("missing", "job-1", JobStatus.CANCELLED, group.reason)
        with pytest.raises(JobError) as alone:
            await asker.request_job("missing", timeout=1)
        assert alone.value.job_id == "job-2"


# -- the first failure ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["request_job_group", "create_job_group_and_request_job", "job_group"])
@pytest.mark.parametrize("given", [None, True, False])
async def test_a_worker_gives_a_group_up_at_its_first_failure(given: bool | None, verb: str, autojump_clock: MockClock) -> None:
    """By whatever verb a worker asks a group, the first failure ends the others, unless ``cancel_on_error=False`` is said."""
    asker = BaseWorker("asker")
    settings: dict[str, Any] = {} if given is None else {"cancel_on_error": given}
    async with open_runner(asker, Hand("bad", boom), Hand("good", nap(3))), within(9):
        if verb == "job_group":
            with nullcontext() if given is False else pytest.raises(JobGroupError):
                async with asker.job_group("bad", "good", name="do", **settings):
                    pass
        elif verb == "request_job_group":
            job_id = await asker.request_job_group("bad", "good", name="do", **settings)
            await asker.job_groups[job_id].wait_acknowledged()
        else:
            group = await asker.create_job_group_and_request_job(["bad", "good"], name="do", **settings)
            await group.wait_acknowledged()
        assert trio.current_time() == (3 if given is False else 0)


# -- what the hook of a given up request is shown -------------------------------------------------------------------------


async def test_an_answer_that_is_made_up_is_addressed_to_the_asker(autojump_clock: MockClock) -> None:
    """``on_job_error`` for a request given up is shown an answer like any other: from the member, to the asker, with the id."""
    shown: list[BusJobResponseMessage] = []
    asker = BaseWorker("asker")
    asker.add_event_handler("on_job_error", lambda worker, message: shown.append(message))
    async with open_runner(asker, Hand("doer", forever), bus=numbered()), within(9):
        job_id = await asker.request_job("doer", name="do")
        await asker.cancel_job_group(job_id, reason="enough")
        await settle()
    (message,) = shown
    assert (message.source, message.target, message.job_id) == ("doer", "asker", "job-1")
    assert (message.status, message.reason) == (JobStatus.CANCELLED, "enough")


async def test_a_handler_that_raises_cancelled_by_itself_is_told_with_its_traceback(autojump_clock: MockClock) -> None:
    """A stray ``Cancelled`` is an error like others: its asker gets the traceback of the very line that raised it."""

    async def stray(hand: Hand, message: BusJobRequestMessage) -> None:
        kept: BaseException = ValueError("replaced at once")
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as error:
                kept = error
                raise
        raise kept

    async with open_runner(Hand("doer", stray)) as runner, within(9):
        error = await failure(runner, "doer")
    assert error.reason == "Cancelled was raised, but nothing was cancelled"
    assert error.traceback is not None
    assert "raise kept" in error.traceback


# -- deadlines without a block --------------------------------------------------------------------------------------------


async def test_a_request_without_a_block_is_given_up_at_its_deadline(autojump_clock: MockClock) -> None:
    """The asker keeps the deadline itself: it is over at that moment, although the handler takes its time to clean up."""
    asker, log = Recorder("asker"), Log()
    async with open_runner(asker, Hand("doer", tidy(5, log))), within(20):
        group = await asker.create_job_group_and_request_job(["doer"], name="do", timeout=2)
        with pytest.raises(JobGroupError) as caught:
            await group.wait()
        assert (trio.current_time(), caught.value.reason) == (2, "timeout")
        await settle()
        assert (log, asker.log[-1]) == ([], ("asker", "error", "doer", "cancelled", "timeout"))
        await group.wait_acknowledged()
        assert (trio.current_time(), log) == (7, [("doer", "gone", 7)])


async def test_only_an_open_request_with_a_deadline_has_a_task(autojump_clock: MockClock) -> None:
    """A task keeps the deadline of a request without a block, is named after it, and goes with the answer; others have none."""

    def guards() -> list[str]:
        return [name for name in own_tasks() if name.startswith("timeout:")]

    asker = BaseWorker("asker")
    async with open_runner(asker, Hand("doer", nap(3)), bus=numbered()), within(20):
        await asker.request_job("doer", name="do")
        assert guards() == []
        await asker.request_job("doer", name="no such job", timeout=5)
        assert guards() == []
        await asker.request_job("doer", name="do", timeout=5)
        assert guards() == ["timeout:job-3@asker"]
        await trio.sleep(4)
        assert guards() == []


# -- a transport that fails -----------------------------------------------------------------------------------------------


class OneWay(WorkerBus):
    """A bus whose way outside takes requests, and no cancels."""

    def publish(self, message: BusMessage) -> bool:
        """Take a request to somebody far away."""
        if isinstance(message, BusJobCancelMessage):
            raise ConnectionError("the line is dead")
        return True


class Dead(WorkerBus):
    """A bus whose way outside takes nothing."""

    def publish(self, message: BusMessage) -> bool:
        """Raise for what has a target."""
        if message.target is not None:
            raise ConnectionError("the line is dead")
        return False


async def test_each_member_left_behind_by_the_transport_is_counted(autojump_clock: MockClock) -> None:
    """Every member that cannot be told to stop counts as left behind, however many there are."""
    asker = BaseWorker("asker")
    async with open_runner(asker, bus=OneWay()) as runner, within(9):
        for name in ("far", "farther"):
            runner.registry.register(WorkerRegistryEntry(name), runner="elsewhere")
        with pytest.raises(JobGroupError):
            async with asker.job_group("far", "farther", name="do", timeout=1):
                pass
        assert asker.statistics().asking.left_behind == 2


# -- a block that was not entered -----------------------------------------------------------------------------------------


async def test_a_block_says_how_it_is_entered() -> None:
    """What is read from a block before it is entered raises, and the error says what to write."""
    async with open_runner(BaseWorker("doer")) as runner:
        for read in (
            lambda: runner.job("doer").job_id,
            lambda: runner.job("doer").response,
            lambda: runner.job("doer").__aiter__(),
            lambda: runner.job_group("doer").responses,
            lambda: runner.job_group("doer").statuses,
        ):
            with pytest.raises(WorkerStateError) as caught:
                read()
            assert str(caught.value) == "enter the block first: 'async with worker.job(...) as job:'"


async def test_a_block_that_was_entered_says_how_to_ask_again() -> None:
    """A block entered a second time raises, and the error says what to do instead."""
    async with open_runner(Hand("doer", echo)) as runner:
        block = runner.job("doer", name="do")
        async with block:
            pass
        with pytest.raises(WorkerStateError) as caught:
            await block.__aenter__()
        assert str(caught.value) == "a job block asks once: call job() or job_group() again for another request"


async def test_an_error_of_the_body_keeps_its_traceback() -> None:
    """An exception that leaves a block tells of the very line that raised it, deep in the body."""

    def deep() -> None:
        raise ValueError("boom")

    async with open_runner(Hand("doer", echo)) as runner:
        with pytest.raises(ValueError, match="boom") as caught:
            async with runner.job("doer", name="do"):
                deep()
    assert traceback.extract_tb(caught.value.__traceback__)[-1].name == "deep"


async def test_the_body_can_read_why_it_is_cancelled(autojump_clock: MockClock) -> None:
    """The ``Cancelled`` in the body of a block whose job fails carries the reason of the failure."""
    why: Log = []
    async with open_runner(Hand("doer", boom)) as runner, within(9):
        with pytest.raises(JobError):
            async with runner.job("doer", name="do"):
                try:
                    await trio.sleep_forever()
                except trio.Cancelled as error:
                    why.append(error.reason)
                    raise
    assert why == ["worker 'doer' answered error: ValueError: boom"]


# -- what user code sees of an answer -------------------------------------------------------------------------------------


async def test_marked_methods_and_the_hook_for_all_see_the_answer_itself(autojump_clock: MockClock) -> None:
    """Each message of a request is shown, as it came, to its own hook, to methods marked for it, and to ``on_bus_message``."""
    seen: list[tuple[str, BusMessage]] = []

    class Asker(BaseWorker):
        """Looks at answers in three ways."""

        @handles(BusJobResponseMessage)
        async def marked(self, message: BusJobResponseMessage) -> None:
            """Write it down."""
            seen.append(("marked", message))

        async def on_job_response(self, message: BusJobResponseMessage) -> None:
            """Write it down."""
            seen.append(("hook", message))

        async def on_bus_message(self, message: BusMessage) -> None:
            """Write it down, if it is an answer."""
            if isinstance(message, BusJobResponseMessage):
                seen.append(("all", message))

    asker = Asker("asker")
    async with open_runner(asker, Hand("doer", echo), bus=numbered()), within(9):
        await asker.request_job("doer", name="do", payload={"n": 1})
        await settle()
    assert [way for way, _ in seen] == ["marked", "hook", "all"]
    assert {(type(message), message.source) for _, message in seen} == {(BusJobResponseMessage, "doer")}


async def test_what_was_asked_is_counted(autojump_clock: MockClock) -> None:
    """``statistics()`` counts the requests that were sent, a group as one, whatever became of them; not those that were never sent."""
    asker = BaseWorker("asker")
    async with open_runner(asker, Hand("one", echo), Hand("two", boom)), within(9):
        assert asker.statistics().asking.asked == 0
        await asker.request_job("one", name="do")
        await asker.request_job_group("one", "two", name="do")
        await failure(asker, "two")
        with pytest.raises(JobError):
            await asker.request_job("nobody", timeout=1)
        assert asker.statistics().asking.asked == 3


async def test_a_block_that_could_not_be_sent_says_that_all_were_cancelled(autojump_clock: MockClock) -> None:
    """When the transport fails for one member, a block knows each member as cancelled: those asked before, and those never asked."""
    asker = BaseWorker("asker")
    async with open_runner(asker, Hand("near", forever), Hand("last", forever), bus=Dead()) as runner, within(9):
        runner.registry.register(WorkerRegistryEntry("far"), runner="elsewhere")
        block = asker.job_group("near", "far", "last", name="do")
        with runner.bus.tap() as messages:
            with pytest.raises(ConnectionError, match="the line is dead"):
                await block.__aenter__()
            cancels = [(message.target, message.reason) for message in drain(messages) if isinstance(message, BusJobCancelMessage)]
        assert cancels == [("near", "the request could not be sent: ConnectionError: the line is dead")]
        assert block.statuses == dict.fromkeys(("near", "far", "last"), JobStatus.CANCELLED)


async def test_nothing_of_the_wait_for_readiness_is_kept(autojump_clock: MockClock) -> None:
    """When a request was sent, timed out, or was cancelled before its worker was ready, nothing of its wait is kept."""
    async with open_runner(Hand("doer", echo)) as runner, within(9):
        async with runner.job("doer", name="do"):
            pass
        with pytest.raises(JobError):
            await runner.request_job("nobody", timeout=1)
        with trio.move_on_after(1):
            await runner.request_job("nobody")
        assert (runner._requester._waits, runner.registry.waiting()) == ({}, {})
