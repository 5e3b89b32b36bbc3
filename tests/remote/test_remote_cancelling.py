"""Cancels across runners: never before their request, never lost, and nobody is left before the other has stopped."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from job_support import Hand, ask, echo, failure, forever, idle, nap, tidy
from memory_bus import TTL
from remote_support import Place, quiet, town
from support import Recorder
from trio.testing import MockClock

from trioworkers import BaseWorker, BusJobRequestMessage, JobError, JobStatus, PeerDownError, job


class Blocker(BaseWorker):
    """Cannot be stopped for a while."""

    @job(name="do")
    async def block(self, message: BusJobRequestMessage) -> None:
        """Take ten seconds, whatever happens."""
        with trio.CancelScope(shield=True):
            await trio.sleep(10)


def queue_behind(place: Place, count: int) -> None:
    """Have something else wait to be sent first."""
    [peer] = place.bus._peers()
    for _ in range(count):
        peer.link.push(1, b"\x04nonsense")


async def test_a_cancel_right_behind_its_request(autojump_clock: MockClock) -> None:
    """N1: a cancel in the system lane does not overtake its request in the data lane, however much lies in front of that."""
    recorder = Recorder("hand")
    async with town(window=8) as place:
        _, left = await place.open_all(right=[recorder], left=[Recorder("asker")])
        asker = left.runner.get_worker("asker")
        assert asker is not None
        queue_behind(left, 40)
        job_id = await asker.request_job("hand")
        await asker.cancel_job_group(job_id, reason="at once")
        await trio.sleep(10)
        assert idle(asker)
        assert not recorder.active_jobs
        assert left.bus.statistics().jobs == 0


async def test_a_job_cancelled_before_its_first_step(autojump_clock: MockClock) -> None:
    """A request and its cancel that come at the same time: the handler is never called, and the asker hears of it."""

    async def never(hand: Hand, message: BusJobRequestMessage) -> None:
        raise NotImplementedError

    asker, hand = Recorder("asker"), Hand("hand", never)
    async with town() as place:
        right, left = await place.open_all(right=[hand], left=[asker])
        right.way.pause()
        for _ in range(5):
            job_id = await asker.request_job("hand", name="do")
            await asker.cancel_job_group(job_id)
        await trio.sleep(1)
        right.way.resume()
        await trio.sleep(4)
        assert hand.statistics().answering.ended == {"cancelled": 5}
        assert quiet(left, right)


async def test_a_cancel_while_the_request_waits(autojump_clock: MockClock) -> None:
    """A cancel while its request is still in the outbox, for the line is cut, takes effect when there is a line again."""
    hand = Hand("hand", forever)
    async with town() as place:
        right, left = await place.open_all(right=[hand], left=[])
        left.way.cut()
        with trio.move_on_after(1):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(mend_later, left)
                async with left.runner.job("hand", name="do"):
                    pass
        assert idle(hand)
        assert hand.statistics().answering.ended == {"cancelled": 1}
        await trio.sleep(3)
        assert quiet(left, right)


async def mend_later(place: Place) -> None:
    """Mend a line in two seconds, whatever happens here."""
    with trio.CancelScope(shield=True):
        await trio.sleep(2)
        place.way.mend()


@pytest.mark.parametrize("how", ["cancelled", "failed"])
async def test_when_the_block_is_left_the_handler_is_gone(how: str, autojump_clock: MockClock) -> None:
    """J2: whichever way a job's block is left, by then its handler elsewhere does not run any more."""
    log: list[Any] = []
    async with town() as place:
        _, left = await place.open_all(right=[Hand("hand", tidy(2, log))], left=[])
        with trio.move_on_after(1) if how == "cancelled" else pytest.raises(ZeroDivisionError):
            async with left.runner.job("hand", name="do"):
                await trio.sleep(0.5)
                if how == "failed":
                    raise ZeroDivisionError
                await trio.sleep_forever()
        assert len(log) == 1
        assert not left.bus.statistics().jobs


async def test_a_grace(autojump_clock: MockClock) -> None:
    """With ``cancel_grace`` a handler that does not stop is left behind, and its late answer is nothing to anybody."""
    async with town() as place:
        right, left = await place.open_all(right=[Blocker("blocker")], left=[])
        start = trio.current_time()
        with trio.move_on_after(1):
            async with left.runner.job("blocker", name="do", cancel_grace=2):
                pass
        assert trio.current_time() == pytest.approx(start + 3, abs=0.1)
        assert left.bus.statistics().jobs == 1
        await trio.sleep(10)
        assert quiet(left, right)


async def test_no_grace_is_needed_for_the_dead(autojump_clock: MockClock) -> None:
    """N2: who waits for a cancelled handler to stop waits no longer than until its runner is declared down."""
    async with town() as place:
        right, left = await place.open_all(right=[Blocker("blocker")], left=[])
        start = trio.current_time()
        with trio.move_on_after(1):
            async with left.runner.job("blocker", name="do"):
                await trio.sleep(0.5)
                right.crash()
        assert trio.current_time() < start + TTL + 2.5


async def test_an_asker_that_stops(autojump_clock: MockClock) -> None:
    """When an asker stops, what it has asked for elsewhere stops, and it is not finished before."""
    log: list[Any] = []
    asker = Recorder("asker")
    async with town() as place:
        right, left = await place.open_all(right=[Hand("hand", tidy(1, log))], left=[asker])
        await asker.request_job("hand", name="do")
        await trio.sleep(1)
        await asker.stop()
        assert len(log) == 1
        await trio.sleep(3)
        assert quiet(left, right)


async def test_an_answerer_that_stops(autojump_clock: MockClock) -> None:
    """N2: when an answerer stops, is ended or crashes, whoever waits for it elsewhere is told at once."""
    async with town() as place:
        right, left = await place.open_all(right=[Hand("one", forever), Hand("two", nap(2))], left=[])
        one, two = (right.runner.get_worker(name) for name in ("one", "two"))
        assert one is not None
        assert two is not None
        async with trio.open_nursery() as nursery:
            errors: list[JobError] = []

            async def expect_failure() -> None:
                errors.append(await failure(left.runner, "one"))

            nursery.start_soon(expect_failure)
            nursery.start_soon(ask, left.runner, "two")
            await trio.sleep(1)
            await one.stop()
            await right.runner.end_workers("two")
        assert errors[0].status is JobStatus.CANCELLED
        assert "worker 'one' stopped" in str(errors[0])


async def test_asking_one_that_has_just_gone(autojump_clock: MockClock) -> None:
    """A request to somebody who is gone when it arrives is answered in his name."""
    async with town() as place:
        right, left = await place.open_all(right=[Hand("hand", echo)], left=[])
        left.way.pause()
        await right.runner.end_workers("hand")
        async with trio.open_nursery() as nursery:
            errors: list[JobError] = []

            async def expect_failure() -> None:
                errors.append(await failure(left.runner, "hand"))

            nursery.start_soon(expect_failure)
            await trio.sleep(1)
            left.way.resume()
        assert errors[0].status is JobStatus.ERROR
        assert "no worker 'hand' here" in str(errors[0])
        await trio.sleep(3)
        assert quiet(left, right)


async def test_runners_that_end_with_jobs_in_flight(autojump_clock: MockClock) -> None:
    """L6: a runner that ends finishes what it does for others, refuses what is new, and its last answers arrive."""
    async with town() as place:
        right, left = await place.open_all(right=[Hand("hand", nap(3))], left=[])
        async with trio.open_nursery() as nursery:
            answers: list[dict[str, Any]] = []

            async def expect_answer() -> None:
                answers.append(await ask(left.runner, "hand"))

            for _ in range(20):
                nursery.start_soon(expect_answer)
            await trio.sleep(1)
            nursery.start_soon(right.leave)
            await trio.sleep(1)
            error = await failure(left.runner, "hand")
            assert "is ending" in str(error)
        assert answers == [{"slept": 3}] * 20


async def test_many_last_answers(autojump_clock: MockClock) -> None:
    """Last answers arrive even if there are many more than go at one time, and an asker that leaves takes its jobs along."""
    async with town(window=8) as place:
        right, left = await place.open_all(right=[Hand("hand", nap(3))], left=[])
        async with trio.open_nursery() as nursery:
            answers: list[dict[str, Any]] = []

            async def expect_answer() -> None:
                answers.append(await ask(left.runner, "hand"))

            for _ in range(100):
                nursery.start_soon(expect_answer)
            await trio.sleep(2)
            await right.leave()
        assert len(answers) == 100


async def test_a_runner_is_cancelled_with_jobs_in_flight(autojump_clock: MockClock) -> None:
    """A cancelled runner still answers what it held, and cancels what it has asked for."""
    log: list[Any] = []
    async with town() as place:
        right, left = await place.open_all(right=[Hand("hand", tidy(1, log))], left=[Hand("other", forever)])
        async with trio.open_nursery() as nursery:

            async def expect_failure() -> None:
                error = await failure(right.runner, "other")
                assert not isinstance(error, PeerDownError)
                assert error.status is JobStatus.CANCELLED

            async def hold() -> None:
                await failure(left.runner, "hand")

            nursery.start_soon(expect_failure)
            nursery.start_soon(hold)
            await trio.sleep(1)
            left.runner.cancel_nowait("enough")
        assert len(log) == 1
