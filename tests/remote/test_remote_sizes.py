"""What cannot leave the process is refused where it is sent, and nothing is left half done."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from job_support import Hand, ask, echo, failure, idle, tidy
from remote_support import quiet, town
from support import Note, Recorder
from trio.testing import MockClock

from trioworkers import (
    DEFERRED,
    BaseWorker,
    BusJobRequestMessage,
    JobStatus,
    MessageTooLargeError,
    NoSuchJobError,
    WireError,
    WorkerActivationArgs,
    job,
)
from trioworkers.bus.remote.calls import job_of

LARGE = {"x": "x" * 5000}
STRANGE = {"x": object()}
BAD = [pytest.param(LARGE, MessageTooLargeError, id="large"), pytest.param(STRANGE, WireError, id="strange")]
MAX = 4000


@pytest.mark.parametrize(("payload", "error"), BAD)
async def test_requests(payload: dict[str, Any], error: type[WireError], autojump_clock: MockClock) -> None:
    """N8: a request that cannot be sent raises at its asker; nothing was asked."""
    asker = Recorder("asker")
    async with town(max_message=MAX) as place:
        right, left = await place.open_all(right=[Hand("hand", echo)], left=[asker, Hand("here", echo)])
        with pytest.raises(error):
            await ask(asker, "hand", payload=payload)
        with pytest.raises(error):
            await asker.request_job("hand", name="do", payload=payload)
        assert idle(asker)
        assert await ask(asker, "here", payload=payload) == {"echo": payload}  # what stays here may be anything
        await trio.sleep(3)
        assert quiet(left, right)


async def test_a_group_of_which_one_cannot_be_asked(autojump_clock: MockClock) -> None:
    """If a member cannot be asked, those who were asked are told to stop, and gone before the error is raised."""
    here = Hand("here", tidy(1, []))
    async with town(max_message=MAX) as place:
        left = (await place.open_all(right=[Hand("there", echo)], left=[here]))[1]
        with pytest.raises(MessageTooLargeError):
            async with left.runner.job_group("here", "there", name="do", payload=LARGE):
                raise NotImplementedError
        assert idle(here)
        await trio.sleep(3)
        assert quiet(left)


@pytest.mark.parametrize(("response", "error"), BAD)
async def test_responses(response: dict[str, Any], error: type[WireError], autojump_clock: MockClock) -> None:
    """N8: a returned response that cannot be sent is the job's error."""

    async def answer(hand: Hand, message: BusJobRequestMessage) -> dict[str, Any]:
        return response

    async with town(max_message=MAX) as place:
        left = (await place.open_all(right=[Hand("hand", answer)], left=[]))[1]
        failed = await failure(left.runner, "hand")
        assert failed.status is JobStatus.ERROR
        assert str(failed.reason).startswith(error.__name__)


@pytest.mark.parametrize("urgent", [False, True])
@pytest.mark.parametrize(("response", "error"), BAD)
async def test_explicit_responses(response: dict[str, Any], error: type[WireError], urgent: bool, autojump_clock: MockClock) -> None:
    """An explicit response that cannot be sent raises at the answerer, and the job stays its own."""

    async def answer(hand: Hand, message: BusJobRequestMessage) -> Any:
        with pytest.raises(error):
            await hand.send_job_response(message.job_id, response, urgent=urgent)
        assert message.job_id in hand.active_jobs
        return DEFERRED

    hand, asker = Hand("hand", answer), Recorder("asker")
    async with town(max_message=MAX) as place:
        await place.open_all(right=[hand], left=[asker])
        job_id = await asker.request_job("hand", name="do")
        await trio.sleep(1)
        await hand.send_job_response(job_id, {"x": 1}, urgent=urgent)
        await trio.sleep(1)
        assert asker.log[-1] == ("asker", "completed", {"hand": {"x": 1}})


@pytest.mark.parametrize(("data", "error"), BAD)
async def test_events(data: dict[str, Any], error: type[WireError], autojump_clock: MockClock) -> None:
    """An update or a chunk that cannot be sent raises at the answerer, costs no credit, and the job goes on."""

    class Sender(BaseWorker):
        @job
        async def send(self, message: BusJobRequestMessage) -> dict[str, Any]:
            job_id = message.job_id
            for _ in range(100):
                with pytest.raises(error):
                    await self.send_job_update(job_id, data)
                with pytest.raises(error):
                    await self.send_job_update(job_id, data, urgent=True)
                with pytest.raises(error):
                    self.send_job_update_nowait(job_id, data)
            await self.send_job_update(job_id, {"n": 1})
            return {}

        @job
        async def stream(self, message: BusJobRequestMessage) -> None:
            job_id = message.job_id
            with pytest.raises(error):
                await self.send_job_stream_start(job_id, data)
            with pytest.raises(RuntimeError):
                await self.send_job_stream_data(job_id, {"not": "begun"})
            await self.send_job_stream_start(job_id)
            for _ in range(100):
                with pytest.raises(error):
                    await self.send_job_stream_data(job_id, data)
                with pytest.raises(error):
                    self.send_job_stream_data_nowait(job_id, data)
            await self.send_job_stream_data(job_id, {"n": 1})
            with pytest.raises(error):
                await self.send_job_stream_end(job_id, data)
            await self.send_job_stream_end(job_id, {"end": True})
            with pytest.raises(NoSuchJobError):
                await self.send_job_stream_end(job_id)

        @job
        async def generate(self, message: BusJobRequestMessage) -> AsyncIterator[dict[str, Any]]:
            for _ in range(100):
                with pytest.raises(error):
                    yield data
            yield {"n": 1}

    async with town(max_message=MAX) as place:
        left = (await place.open_all(right=[Sender("sender")], left=[]))[1]
        for name in ("send", "stream", "generate"):
            async with left.runner.job("sender", name=name, timeout=10) as sending:
                seen = [event.data async for event in sending if event.data]
            assert {"n": 1} in seen


async def test_reasons_that_cannot_be_sent(autojump_clock: MockClock) -> None:
    """No end of a job, and no cancel, is lost because the words that go with it cannot be sent."""

    async def wail(hand: Hand, message: BusJobRequestMessage) -> None:
        raise ValueError("\ud800")

    log: list[Any] = []
    asker, hand = Recorder("asker"), Hand("hand", tidy(1, log))
    async with town(max_message=MAX) as place:
        right, left = await place.open_all(right=[hand, Hand("wailer", wail), Recorder("holder")], left=[asker])
        error = await failure(asker, "wailer")
        assert error.status is JobStatus.ERROR
        assert str(error.reason).startswith("its reason could not be sent: WireError")
        for reason in ("\udfff", "x" * 5000):
            job_id = await asker.request_job("hand", name="do")
            await trio.sleep(0.1)
            await asker.cancel_job_group(job_id, reason=reason)
            await trio.sleep(2)
        assert len(log) == 2
        assert hand.statistics().answering.ended == {"cancelled": 2}
        await asker.request_job("hand", name="do")
        await trio.sleep(0.1)
        right.runner.cancel_nowait("\ud900")
        await trio.sleep(2)
        assert idle(asker)
        assert left.bus.statistics().jobs == 0


async def test_messages(autojump_clock: MockClock) -> None:
    """A plain message that cannot be sent raises at its sender: of an unknown class, too large, with something that has no bytes."""
    async with town(max_message=MAX, types={"note": Note}) as place:
        right, left = await place.open_all(right=[Recorder("reader")], left=[Recorder("writer")])
        writer = left.runner.get_worker("writer")
        assert writer is not None
        with pytest.raises(MessageTooLargeError, match=r"Note from 'writer' to 'reader' has 50\d\d bytes, and this bus carries 4000"):
            await writer.send_bus_message(Note(source="writer", target="reader", text="x" * 5000))
        with pytest.raises(WireError, match="cannot be sent"):
            left.bus.post(Note(source="writer", target="reader", text="\ud800"))
        with pytest.raises(WireError, match="cannot be sent"):
            left.bus.post(Note(source="writer", text="\ud800"))
        with pytest.raises(WireError):
            await writer.activate_worker("reader", args=WorkerActivationArgs(metadata=STRANGE))
        left.bus.post(Note(source="writer", target="writer", text="\ud800"))
        await trio.sleep(3)
        assert quiet(left, right)


async def test_classes_that_only_one_side_knows(autojump_clock: MockClock) -> None:
    """A message of a class that its sender's bus does not know is refused there; one that the receiver's does not know is counted."""
    async with town() as place:
        right = await place.open("right", Recorder("reader"))
        left = await place.open("left", types={"note": Note})
        await left.runner.registry.wait_ready("reader")
        left.bus.post(Note(source="left", target="reader", text="x"))
        await trio.sleep(1)
        assert right.bus.statistics().malformed == 1
        await right.runner.registry.wait_ready("reader")
        with pytest.raises(WireError, match="not in the table"):
            right.bus.post(Note(source="right", target="left"))


def test_what_a_user_calls_job_id_is_his_own_affair() -> None:
    """Only the library's own messages about jobs are about jobs."""
    assert job_of(Note(source="a")) is None
    assert job_of(BusJobRequestMessage(source="a", job_id="7")) == "7"
