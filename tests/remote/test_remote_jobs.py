"""Jobs that cross from one runner to another: the same promises as at home."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from job_support import Counter, Hand, ask, boom, drain, echo, failure, forever, idle, nap, tidy
from remote_support import quiet, town
from support import Recorder
from trio.testing import MockClock

from trioworkers import (
    DEFERRED,
    BaseWorker,
    BusJobRequestMessage,
    BusJobStreamDataMessage,
    BusJobUpdateMessage,
    JobError,
    JobFailed,
    JobGroupError,
    JobStatus,
    job,
)
from trioworkers.messages import WINDOW


class Teller(BaseWorker):
    """Tells news of its jobs."""

    @job
    async def tell(self, message: BusJobRequestMessage) -> dict[str, Any]:
        """Two updates, of which the second is urgent; then an urgent answer."""
        await self.send_job_update(message.job_id, {"n": 1})
        await self.send_job_update(message.job_id, {"n": 2}, urgent=True)
        await self.send_job_update(message.job_id, {"n": 3})
        await self.send_job_response(message.job_id, {"n": 4}, urgent=True)
        return {"n": 5}

    @job
    async def part(self, message: BusJobRequestMessage) -> AsyncIterator[dict[str, Any]]:
        """A few chunks, then an error."""
        for n in range(3):
            yield {"n": n}
        await trio.sleep(1)
        raise ValueError("no more")


async def test_a_job_is_done_elsewhere(autojump_clock: MockClock) -> None:
    """N6: a job asked for in one runner is done in another, and nothing of it stays."""
    async with town() as place:
        right, left = await place.open_all(right=[Hand("hand", echo)], left=[])
        assert await ask(left.runner, "hand", payload={"x": [1, "ü", None, 1.5]}, timeout=5) == {"echo": {"x": [1, "ü", None, 1.5]}}
        await trio.sleep(2.5)
        assert quiet(right, left)


@pytest.mark.parametrize(
    ("script", "status", "reason"),
    [
        (boom, JobStatus.ERROR, "ValueError: boom"),
        (forever, JobStatus.CANCELLED, "timeout"),
    ],
)
async def test_jobs_that_fail(script: Any, status: JobStatus, reason: str, autojump_clock: MockClock) -> None:
    """How a job failed elsewhere is what its asker is told, with the traceback if there is one."""
    hand = Hand("hand", script)
    async with town() as place:
        left = (await place.open_all(right=[hand], left=[]))[1]
        error = await failure(left.runner, "hand", timeout=3)
        assert (error.status, error.reason) == (status, reason)
        assert (error.traceback is not None) == (script is boom)
        assert idle(hand)


async def test_a_job_that_says_that_it_failed(autojump_clock: MockClock) -> None:
    """The response of a FAILED job comes along."""

    async def refuse(hand: Hand, message: BusJobRequestMessage) -> None:
        raise JobFailed("no", response={"why": "because"})

    async with town() as place:
        left = (await place.open_all(right=[Hand("hand", refuse)], left=[]))[1]
        error = await failure(left.runner, "hand")
        assert (error.status, error.reason, error.response) == (JobStatus.FAILED, "no", {"why": "because"})
        assert "no handler for job 'juggle'" in str(await failure(left.runner, "hand", "juggle"))


async def test_whoever_is_not_there_yet(autojump_clock: MockClock) -> None:
    """N6: whoever asks somebody who is not there yet waits until a runner has it, in vain if there is a timeout."""
    async with town() as place:
        left = await place.open("left")
        error = await failure(left.runner, "hand", timeout=3)
        assert error.reason == "not ready within timeout"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, left.runner, "hand")
            await trio.sleep(3)
            assert left.runner.statistics().waits == {"hand": 1}
            await place.open("right", Hand("hand", echo))


async def test_streams(autojump_clock: MockClock) -> None:
    """N1, J6: the chunks of a stream come in order, all of them, with credit: its producer is at most a window ahead."""
    counter = Counter("counter")
    async with town() as place:
        left = (await place.open_all(right=[counter], left=[]))[1]
        async with left.runner.job("counter", name="count", payload={"to": 500}) as counting:
            seen: list[int] = []
            async for event in counting:
                if event.data:
                    seen.append(event.data["n"])
                    if len(seen) % 50 == 0:
                        await trio.sleep(1)
                    assert len(counter.sent) - len(seen) <= WINDOW
        assert seen == list(range(500))
        assert await ask(left.runner, "counter", "count", payload={"to": 3}) == {}


async def test_a_stream_that_nobody_reads(autojump_clock: MockClock) -> None:
    """A producer whose consumer does not read stops after a window, and goes on when it is read."""
    counter = Counter("counter")
    async with town() as place:
        left = (await place.open_all(right=[counter], left=[]))[1]
        async with left.runner.job("counter", name="count", payload={"to": 200}) as counting:
            await trio.sleep(10)
            assert len(counter.sent) == WINDOW
            assert [event.data["n"] async for event in counting if event.data] == list(range(200))


async def test_a_stream_that_breaks(autojump_clock: MockClock) -> None:
    """What was said before an error comes before it."""
    async with town() as place:
        left = (await place.open_all(right=[Teller("teller")], left=[]))[1]
        seen: list[Any] = []
        with pytest.raises(JobError, match="no more"):
            async with left.runner.job("teller", name="part") as parts:
                async for event in parts:
                    seen.append(event.data)  # noqa: PERF401 - it does not come to an end
        assert seen == [None, {"n": 0}, {"n": 1}, {"n": 2}]


async def test_updates_and_urgency(autojump_clock: MockClock) -> None:
    """N1: news of one job, urgent or not, come in the order in which they were told, and so does an urgent answer."""
    asker, teller = Recorder("asker"), Teller("teller")
    async with town() as place:
        await place.open_all(right=[teller], left=[asker])
        async with asker.job("teller", name="tell") as telling:
            seen = [event.data async for event in telling]
        assert seen == [{"n": 1}, {"n": 2}, {"n": 3}]
        assert telling.response == {"n": 4}
        await trio.sleep(1)
        assert [what for _, what, *_ in asker.log if what in {"update", "response", "completed"}] == [
            *["update"] * 3,
            "response",
            "completed",
        ]


async def test_news_that_are_asked_for(autojump_clock: MockClock) -> None:
    """An answerer elsewhere is asked for news, and tells."""

    class Sayer(Recorder):
        async def on_job_update_requested(self, message: Any) -> None:
            await self.send_job_update(message.job_id, {"so": "far"})

    class DeferringSayer(Sayer):
        @job(name="do")
        async def handle(self, message: BusJobRequestMessage) -> Any:
            return DEFERRED

    sayer, asker = DeferringSayer("sayer"), Recorder("asker")
    async with town() as place:
        await place.open_all(right=[sayer], left=[asker])
        job_id = await asker.request_job("sayer", name="do")
        await trio.sleep(0.1)
        await asker.request_job_update(job_id, "sayer")
        await trio.sleep(0.1)
        assert ("asker", "update", "sayer", {"so": "far"}) in asker.log
        await sayer.send_job_response(job_id, {"late": True})
        await trio.sleep(0.1)
        assert ("asker", "completed", {"sayer": {"late": True}}) in asker.log


async def test_asking_without_a_block(autojump_clock: MockClock) -> None:
    """Exactly one of ``on_job_completed`` and ``on_job_error`` tells how a request to somebody elsewhere has ended."""
    asker = Recorder("asker")
    async with town() as place:
        await place.open_all(right=[Hand("good", nap(1)), Hand("bad", boom), Hand("slow", forever)], left=[asker])
        await asker.request_job("good", name="do")
        await asker.request_job("bad", name="do")
        await asker.request_job("slow", name="do", timeout=2)
        job_id = await asker.request_job("slow", name="do")
        await trio.sleep(5)
        await asker.cancel_job_group(job_id, reason="enough")
        await trio.sleep(1)
        ends = [entry[1:] for entry in asker.log if entry[1] in {"completed", "error"}]
        assert ends == [
            ("error", "bad", "error", "ValueError: boom"),
            ("completed", {"good": {"slept": 1}}),
            ("error", "slow", "cancelled", "timeout"),
            ("error", "slow", "cancelled", "enough"),
        ]
        assert idle(asker)


async def test_a_group_here_and_there(autojump_clock: MockClock) -> None:
    """A group may have members here and in several other runners."""
    async with town() as place:
        *_, left = await place.open_all(one=[Hand("a", echo)], two=[Hand("b", nap(1))], left=[Hand("c", echo)])
        async with left.runner.job_group("a", "b", "c", name="do", payload={"x": 1}) as group:
            pass
        assert group.responses == {"a": {"echo": {"x": 1}}, "b": {"slept": 1}, "c": {"echo": {"x": 1}}}


async def test_a_group_that_is_given_up(autojump_clock: MockClock) -> None:
    """The first member that does not complete, wherever it is, cancels the others, wherever they are."""
    log: list[Any] = []
    async with town() as place:
        *_, left = await place.open_all(
            one=[Hand("bad", boom)], two=[Hand("there", tidy(2, log))], left=[Hand("here", tidy(1, log)), Hand("good", echo)]
        )
        with pytest.raises(JobGroupError) as caught:
            async with left.runner.job_group("good", "there", "here", "bad", name="do"):
                pass
        assert [(name, what) for name, what, _ in log] == [("here", "gone"), ("there", "gone")]
        assert {name: error.status for name, error in caught.value.errors.items()} == {
            "bad": JobStatus.ERROR,
            "here": JobStatus.CANCELLED,
            "there": JobStatus.CANCELLED,
        }
        assert caught.value.responses == {"good": {"echo": {}}}


async def test_a_group_that_goes_on(autojump_clock: MockClock) -> None:
    """Without ``cancel_on_error`` the others go on."""
    async with town() as place:
        *_, left = await place.open_all(one=[Hand("bad", boom)], two=[Hand("slow", nap(3))], left=[])
        async with left.runner.job_group("bad", "slow", name="do", cancel_on_error=False) as group:
            pass
        assert group.responses == {"slow": {"slept": 3}}


async def test_a_job_within_a_job(autojump_clock: MockClock) -> None:
    """A job asked for inside a job knows its chain across runners: a circle of sequential jobs is refused, not waited for."""

    class Circle(BaseWorker):
        def __init__(self, name: str, to: str) -> None:
            super().__init__(name)
            self.to = to

        @job(sequential=True)
        async def turn(self, message: BusJobRequestMessage) -> dict[str, Any]:
            return await ask(self, self.to, "turn")

    async with town() as place:
        *_, left = await place.open_all(one=[Circle("a", "b")], two=[Circle("b", "a")], left=[])
        error = await failure(left.runner, "a", "turn", timeout=5)
        assert "would wait for itself" in str(error)


async def test_times_that_are_left(autojump_clock: MockClock) -> None:
    """J, a timeout travels as seconds left; the deadline around a block, too, and is a time of the answerer's own clock there."""
    seen: list[BusJobRequestMessage] = []

    async def look(hand: Hand, message: BusJobRequestMessage) -> None:
        seen.append(message)

    async with town(patience=math.inf) as place:
        right, left = await place.open_all(right=[Hand("hand", look)], left=[])
        start = trio.current_time()
        with left.bus.tap() as posted:
            with trio.move_on_after(20):
                await ask(left.runner, "hand", timeout=7)
            [request] = [message for message in drain(posted) if isinstance(message, BusJobRequestMessage)]
        await ask(left.runner, "hand")
        assert [message.timeout for message in seen] == [pytest.approx(7), None]
        assert [message.deadline - start for message in seen] == [pytest.approx(20, abs=0.1), float("inf")]
        assert seen[0].deadline > start + 20  # by what the way took
        assert request.deadline == start + 20
        assert right.bus.statistics().jobs == 0


async def test_a_timeout_while_the_line_is_cut(autojump_clock: MockClock) -> None:
    """J7: both ends keep a timeout, and whoever is cut off, too."""
    log: list[Any] = []
    async with town() as place:
        right, left = await place.open_all(right=[Hand("hand", tidy(0, log))], left=[])
        start = trio.current_time()
        async with trio.open_nursery() as nursery:

            async def cut() -> None:
                for way in (left.way, right.way):
                    way.cut()
                await trio.sleep(3)
                for way in (left.way, right.way):
                    way.mend()

            with pytest.raises(JobError, match="timeout"):
                async with left.runner.job("hand", name="do", timeout=2):
                    await trio.sleep(0.5)
                    nursery.start_soon(cut)
        assert trio.current_time() < start + 4
        assert log == [("hand", "gone", pytest.approx(start + 2, abs=0.1))]


async def test_the_surroundings_give_up(autojump_clock: MockClock) -> None:
    """J2: when the deadline around a block passes, its job is cancelled elsewhere, too, and gone before the block is left."""
    log: list[Any] = []
    async with town() as place:
        left = (await place.open_all(right=[Hand("hand", tidy(1, log))], left=[]))[1]
        with trio.move_on_after(2) as scope:
            async with left.runner.job("hand", name="do"):
                pass
        assert scope.cancelled_caught
        assert len(log) == 1


async def test_chunks_and_updates_are_messages_of_the_data_lane(autojump_clock: MockClock) -> None:
    """Only what is said to be urgent goes the quick way."""
    asker = Recorder("asker")
    async with town() as place:
        await place.open_all(right=[Teller("teller"), Counter("counter")], left=[asker])
        with asker.bus.tap() as posted:
            await ask(asker, "teller", "tell")
            await ask(asker, "counter", "count", payload={"to": 2})
            kinds = [type(message) for message in drain(posted)]
        assert kinds.count(BusJobUpdateMessage) == 2
        assert kinds.count(BusJobStreamDataMessage) == 2


async def test_a_thousand_jobs(autojump_clock: MockClock) -> None:
    """Nothing of a job is retained after its end: not on the way, not at either end."""
    async with town() as place:
        right, left = await place.open_all(right=[Hand("hand", echo)], left=[Recorder("asker")])
        for _ in range(10):
            async with trio.open_nursery() as nursery:
                for _ in range(100):
                    nursery.start_soon(ask, left.runner, "hand")
        await trio.sleep(3)
        assert quiet(right, left)
        for bus in (right.bus, left.bus):
            assert len(bus._where._heard) <= 2
            for peer in bus._peers():
                assert peer.link._jobs == {}
