"""How a handler's way out becomes the answer, and what its worker's hooks are shown of it."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from job_support import Hand, Log, ask, drain, failure, forever
from support import Note, settle, within
from trio.testing import MockClock

from trioworkers import (
    BaseWorker,
    BusJobCancelMessage,
    BusJobRequestMessage,
    BusJobResponseMessage,
    BusMessage,
    JobEvent,
    JobStatus,
    LocalBus,
    WorkerStateError,
    handles,
    job,
    open_runner,
)


async def test_what_is_returned_after_a_stream_by_hand_ends_it(autojump_clock: MockClock) -> None:
    """A handler that has begun a stream by hand and returns a dict ends the stream with it: it is the response."""

    async def stream(hand: Hand, message: BusJobRequestMessage) -> dict[str, Any]:
        await hand.send_job_stream_start(message.job_id)
        await hand.send_job_stream_data(message.job_id, {"n": 1})
        return {"total": 1}

    async with open_runner(Hand("doer", stream)) as runner, within(1):
        async with runner.job("doer", name="do") as asked:
            events = [event async for event in asked]
        assert events[-1] == JobEvent(JobEvent.STREAM_END, {"total": 1})
        assert asked.response == {"total": 1}
        assert await ask(runner, "doer") == {"total": 1}


async def test_a_deadline_is_shown_as_a_cancel_of_the_asker(autojump_clock: MockClock) -> None:
    """``on_job_cancelled`` for a job whose time is over is shown a cancel like any other: from its asker, to its worker."""
    shown: list[BusJobCancelMessage] = []
    doer = Hand("doer", forever)
    doer.add_event_handler("on_job_cancelled", lambda worker, message: shown.append(message))
    async with open_runner(doer) as runner, within(9):
        error = await failure(runner, "doer", timeout=2)
        await settle()
        (message,) = shown
        assert (message.source, message.target, message.job_id) == (runner.name, "doer", error.job_id)
        assert (message.reason, error.reason) == ("timeout", "timeout")


async def test_the_hook_for_a_cancelled_job_overtakes_data(autojump_clock: MockClock) -> None:
    """``on_job_cancelled`` runs in the system lane: it does not wait for a data hook that takes its time."""
    log: Log = []

    class Busy(Hand):
        """Takes its time over notes."""

        @handles(Note)
        async def on_note(self, message: Note) -> None:
            """Sleep."""
            await trio.sleep(3)
            log.append(("note", trio.current_time()))

        async def on_job_cancelled(self, message: BusJobCancelMessage) -> None:
            """Write it down."""
            log.append(("cancelled", trio.current_time()))

    asker = BaseWorker("asker")
    async with open_runner(asker, Busy("doer", forever)) as runner, within(9):
        job_id = await asker.request_job("doer", name="do")
        await settle()
        runner.bus.post(Note(source="test", target="doer"))
        await trio.sleep(1)
        await asker.cancel_job_group(job_id)
        await trio.sleep(3)
    assert log == [("cancelled", 1), ("note", 3)]


async def test_a_cycle_is_named_link_by_link(autojump_clock: MockClock) -> None:
    """The reason of a job that would wait for itself names each job of the circle with its worker, the refused one last."""
    ids = iter(range(1, 100))

    class Clerk(BaseWorker):
        """Asks another clerk, one job at a time."""

        @job(name="ask", sequential=True)
        async def ask(self, message: BusJobRequestMessage) -> None:
            """Ask the next on the list."""
            first, *rest = (message.payload or {})["way"]
            await ask(self, first, "ask", payload={"way": rest})

    async with open_runner(Clerk("a"), Clerk("b"), bus=LocalBus(new_id=lambda: f"job-{next(ids)}")) as runner, within(9):
        error = await failure(runner, "a", "ask", payload={"way": ["b", "a"]})
    assert error.reason is not None
    assert error.reason.endswith(" would wait for itself: job-1@a -> job-2@b -> job-3@a")


async def test_a_reported_error_is_a_text() -> None:
    """``send_bus_error_message`` refuses what is no text, and says what it wants; nothing is sent."""
    worker = BaseWorker("worker")
    async with open_runner(worker) as runner:
        posted = runner.bus.statistics().posted
        with pytest.raises(TypeError) as caught:
            await worker.send_bus_error_message(5)  # type: ignore[arg-type]
        assert (str(caught.value), runner.bus.statistics().posted) == ("an error must be a str, not 5", posted)


async def test_an_id_that_is_somebody_elses_is_refused_with_a_reason(autojump_clock: MockClock) -> None:
    """A request whose id is that of another asker's job is answered with an error that says so; the job goes on."""
    doer, asker = Hand("doer", forever), BaseWorker("asker")
    async with open_runner(doer, asker) as runner, within(9):
        job_id = await asker.request_job("doer", name="do")
        await settle()
        with runner.bus.tap() as messages:
            for source in ("test", "asker"):
                runner.bus.post(BusJobRequestMessage(source=source, target="doer", job_id=job_id, job_name="do"))
            (answer,) = (message for message in drain(messages) if isinstance(message, BusJobResponseMessage))
        assert (answer.target, answer.status) == ("test", JobStatus.ERROR)
        assert answer.reason == f"worker 'doer' has a job {job_id!r} of somebody else"
        assert (list(doer.active_jobs), doer.statistics().answering.strangers) == ([job_id], 2)


async def test_a_piece_of_a_stream_that_has_not_begun_is_refused(autojump_clock: MockClock) -> None:
    """Neither verb sends a piece of a stream before its start: it is an error to the answerer, and nothing is sent."""
    doer, asker = Hand("doer", forever), BaseWorker("asker")
    async with open_runner(doer, asker) as runner, within(1):
        job_id = await asker.request_job("doer", name="do")
        await settle()
        posted = runner.bus.statistics().posted
        with pytest.raises(WorkerStateError, match="has no stream: call send_job_stream_start first"):
            doer.send_job_stream_data_nowait(job_id, {"n": 1})
        with pytest.raises(WorkerStateError, match="has no stream: call send_job_stream_start first"):
            await doer.send_job_stream_data(job_id, {"n": 1})
        assert (runner.bus.statistics().posted, list(doer.active_jobs)) == (posted, [job_id])


class Snap(LocalBus):
    """A bus on which somebody cancels a job in the very instant in which another one is answered."""

    cancel: BusJobCancelMessage | None = None

    def post(self, message: BusMessage) -> None:
        """Send, and cancel."""
        super().post(message)
        if isinstance(message, BusJobResponseMessage) and self.cancel is not None:
            cancel, self.cancel = self.cancel, None
            super().post(cancel)


async def test_a_job_cancelled_in_the_instant_of_its_turn_never_begins(autojump_clock: MockClock) -> None:
    """J5: a queued job that is cancelled in the very instant in which it gets its turn does not run a line."""
    log: Log = []

    class Clerk(BaseWorker):
        """Does one job at a time."""

        @job(name="do", sequential=True)
        async def do(self, message: BusJobRequestMessage) -> None:
            """Write down that it begins."""
            log.append(message.job_id)
            await trio.sleep(1)

    asker, bus = BaseWorker("asker"), Snap()
    async with open_runner(asker, Clerk("clerk"), bus=bus), within(9):
        first, second = [await asker.request_job("clerk", name="do") for _ in range(2)]
        bus.cancel = BusJobCancelMessage(source="asker", target="clerk", job_id=second, reason="enough")
        await trio.sleep(3)
    assert log == [first]
