"""What ``urgent`` does to an answer, and who is told what of an update asked for too late."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from job_support import Hand, Log, drain, forever
from support import Note, Recorder, settle, within
from trio.testing import MockClock

from trioworkers import (
    BaseWorker,
    BusJobRequestMessage,
    BusJobResponseMessage,
    BusJobUpdateMessage,
    BusJobUpdateRequestMessage,
    JobEvent,
    JobGroupEvent,
    JobGroupResponse,
    handles,
    open_runner,
)
from trioworkers.messages import Priority


@pytest.mark.parametrize("urgent", [None, False, True])
@pytest.mark.parametrize("waits", [True, False])
async def test_only_an_urgent_answer_is_a_system_message(waits: bool, urgent: bool | None, autojump_clock: MockClock) -> None:
    """``urgent`` makes an answer a system message, by either verb; without it an answer is a data message like others."""
    doer, asker = Hand("doer", forever), BaseWorker("asker")
    settings: dict[str, Any] = {} if urgent is None else {"urgent": urgent}
    async with open_runner(doer, asker) as runner, within(1):
        job_id = await asker.request_job("doer", name="do")
        await settle()
        with runner.bus.tap() as messages:
            if waits:
                await doer.send_job_response(job_id, {"n": 1}, **settings)
            else:
                doer.send_job_response_nowait(job_id, {"n": 1}, **settings)
            (answer,) = drain(messages)
        assert isinstance(answer, BusJobResponseMessage)
        assert (answer.priority, answer.response) == (Priority.SYSTEM if urgent else Priority.DATA, {"n": 1})


@pytest.mark.parametrize("urgent", [None, False, True])
@pytest.mark.parametrize("waits", [True, False])
async def test_only_an_urgent_update_is_a_system_message(waits: bool, urgent: bool | None, autojump_clock: MockClock) -> None:
    """``urgent`` makes an update a system message, by either verb; without it an update is a data message like others."""
    doer, asker = Hand("doer", forever), BaseWorker("asker")
    settings: dict[str, Any] = {} if urgent is None else {"urgent": urgent}
    async with open_runner(doer, asker) as runner, within(1):
        job_id = await asker.request_job("doer", name="do")
        await settle()
        with runner.bus.tap() as messages:
            if waits:
                await doer.send_job_update(job_id, {"n": 1}, **settings)
            else:
                doer.send_job_update_nowait(job_id, {"n": 1}, **settings)
            (news,) = drain(messages)
        assert isinstance(news, BusJobUpdateMessage)
        assert (news.priority, news.update) == (Priority.SYSTEM if urgent else Priority.DATA, {"n": 1})


async def test_the_hooks_of_an_urgent_answer_overtake_what_waits(autojump_clock: MockClock) -> None:
    """An urgent answer is seen by its asker's hooks before data messages that came earlier and still wait."""
    log: Log = []

    class Asker(BaseWorker):
        """Writes down what it sees."""

        @handles(Note)
        async def on_note(self, message: Note) -> None:
            """Write it down."""
            log.append(message.text)

        async def on_job_response(self, message: BusJobResponseMessage) -> None:
            """Write it down."""
            log.append(message.response)

        async def on_job_completed(self, result: JobGroupResponse) -> None:
            """Write it down."""
            log.append(("completed", result.responses["doer"]))

    doer, asker = Hand("doer", forever), Asker("asker")
    async with open_runner(doer, asker) as runner, within(1):
        urgent, plain = [await asker.request_job("doer", name="do") for _ in range(2)]
        await settle()
        runner.bus.post(Note(source="test", target="asker", text="note"))
        doer.send_job_response_nowait(plain, {"plain": True})
        doer.send_job_response_nowait(urgent, {"urgent": True}, urgent=True)
        await settle()
        urgently, plainly = {"urgent": True}, {"plain": True}
        assert log == [urgently, ("completed", urgently), "note", plainly, ("completed", plainly)]


async def test_an_urgent_update_overtakes_when_nothing_of_its_job_waits(autojump_clock: MockClock) -> None:
    """When the hooks of a job's earlier events have run, its next urgent event overtakes what waits, each time."""
    log: Log = []

    class Asker(BaseWorker):
        """Writes down what it sees."""

        @handles(Note)
        async def on_note(self, message: Note) -> None:
            """Write it down."""
            log.append(message.text)

        async def on_job_update(self, message: BusJobUpdateMessage) -> None:
            """Write it down."""
            log.append(message.update)

    doer, asker = Hand("doer", forever), Asker("asker")
    async with open_runner(doer, asker) as runner, within(1):
        job_id = await asker.request_job("doer", name="do")
        for number in range(3):
            await settle()
            doer.send_job_update_nowait(job_id, {"plain": number})
            await settle()
            runner.bus.post(Note(source="test", target="asker", text=f"note {number}"))
            doer.send_job_update_nowait(job_id, {"urgent": number}, urgent=True)
        await settle()
    assert log == [entry for number in range(3) for entry in ({"plain": number}, {"urgent": number}, f"note {number}")]


# -- updates --------------------------------------------------------------------------------------------------------------


async def test_a_wrong_update_is_refused_by_the_sync_verb(autojump_clock: MockClock) -> None:
    """An update that is no dict is an error to who sends it without waiting, urgent or not; the job is still active."""
    doer, asker = Hand("doer", forever), BaseWorker("asker")
    async with open_runner(doer, asker), within(1):
        job_id = await asker.request_job("doer", name="do")
        await settle()
        for urgent in (False, True):
            with pytest.raises(TypeError, match=r"^a job's update must be a dict or None, not 5$"):
                doer.send_job_update_nowait(job_id, 5, urgent=urgent)  # type: ignore[arg-type]
        assert list(doer.active_jobs) == [job_id]


async def test_an_iterator_says_what_kind_each_event_is(autojump_clock: MockClock) -> None:
    """An update is given out as an update, by the iterator of a job and by that of a group, which says whose it is."""

    async def tell(hand: Hand, message: BusJobRequestMessage) -> None:
        await hand.send_job_update(message.job_id, {"n": 1})

    async with open_runner(Hand("doer", tell)) as runner, within(1):
        async with runner.job("doer", name="do") as asked:
            assert [event async for event in asked] == [JobEvent(JobEvent.UPDATE, {"n": 1})]
        async with runner.job_group("doer", name="do") as group:
            assert [event async for event in group] == [JobGroupEvent(JobGroupEvent.UPDATE, "doer", {"n": 1})]


async def test_an_update_asked_for_too_late_is_not_heard_of(autojump_clock: MockClock) -> None:
    """Who has answered a job before the hook's turn comes is not asked for news of it any more."""
    answered = trio.Event()

    class Busy(Recorder):
        """Takes its time over a note, and answers a job by hand."""

        @handles(Note)
        async def on_note(self, message: Note) -> None:
            """Wait for the answer."""
            self.note("note")
            await answered.wait()

        async def on_job_request(self, message: BusJobRequestMessage) -> None:
            """Leave it to somebody."""

    busy, asker = Busy("busy"), BaseWorker("asker")
    async with open_runner(busy, asker) as runner, within(1):
        early, late = [await asker.request_job("busy") for _ in range(2)]
        await settle()
        busy.log.clear()
        runner.bus.post(Note(source="test", target="busy"))
        await settle()
        for job_id in (early, late):
            runner.bus.post(BusJobUpdateRequestMessage(source="asker", target="busy", job_id=job_id))
        busy.send_job_response_nowait(early)
        answered.set()
        await settle()
        assert busy.log == [("busy", "note"), ("busy", "update requested", "asker")]
