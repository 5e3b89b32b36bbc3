"""Runners that crash, hang, are cut off; servers that go down: whoever waits is told, and what is left goes on."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from job_support import Hand, ask, echo, failure, forever, idle, nap, tidy
from memory_bus import OUTAGE, TTL, no_server
from remote_support import Lines, Place, Town, quiet, town
from support import Note, Recorder
from trio.testing import MockClock

from trioworkers import BusResetError, JobError, JobGroupError, JobStatus, PeerDownError


async def asking(place: Place, whom: str, errors: list[JobError]) -> None:
    """Ask, and be told why not."""
    errors.append(await failure(place.runner, whom))


async def usable(place: Town) -> None:
    """Everybody can do what everybody asks for."""
    await trio.sleep(2)
    hands = [worker for one in place.places for worker in one.runner.workers if isinstance(worker, Hand) and worker.script is echo]
    for one in place.places:
        for hand in hands:
            assert await ask(one.runner, hand.name, timeout=30) == {"echo": {}}


async def test_a_runner_that_crashes(autojump_clock: MockClock) -> None:
    """N2, U9: whoever waits for a runner that crashes is told, with its name, within the ttl; what it had asked for is cancelled."""
    log: list[Any] = []
    watcher = Recorder("watcher")
    async with town() as place:
        left, right, _ = await place.open_all(left=[watcher, Hand("here", tidy(0, log))], right=[Hand("there", forever)], third=[])
        await watcher.watch_workers("there")
        async with trio.open_nursery() as nursery:
            errors: list[JobError] = []
            start = trio.current_time()
            nursery.start_soon(asking, left, "there", errors)
            await right.runner.request_job("here", name="do")
            await trio.sleep(1)
            right.crash()
        [error] = errors
        assert isinstance(error, PeerDownError)
        assert error.status is JobStatus.ERROR
        assert "runner 'right' (right" in str(error)
        assert trio.current_time() - start < TTL + 2.5
        await trio.sleep(1)
        assert [name for name, *_ in log] == ["here"]
        assert [entry for entry in watcher.log if entry[1] == "lost"] == [("watcher", "lost", "there")]
        assert left.runner.registry.remote_workers == []
        assert left.bus.statistics().jobs == 0


async def test_a_group_that_loses_a_member(autojump_clock: MockClock) -> None:
    """N2: a member that is lost is that member's error; the others are cancelled, or go on."""
    async with town() as place:
        left, right = await place.open_all(left=[Hand("here", nap(20))], right=[Hand("there", forever)])
        async with trio.open_nursery() as nursery:
            with pytest.raises(JobGroupError) as caught:
                async with left.runner.job_group("here", "there", name="do"):
                    right.crash()
            assert isinstance(caught.value.errors["there"], PeerDownError)
            assert caught.value.errors["here"].status is JobStatus.CANCELLED
            nursery.cancel_scope.cancel()


async def test_only_those_concerned(autojump_clock: MockClock) -> None:
    """N2: when one runner is lost, jobs with others go on, on both sides."""
    async with town() as place:
        left, right, third = await place.open_all(left=[Hand("here", nap(20))], right=[Hand("there", nap(20))], third=[])
        answers: list[dict[str, Any]] = []

        async def expect_answer(asker: Place, whom: str) -> None:
            answers.append(await ask(asker.runner, whom))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_answer, left, "there")
            nursery.start_soon(expect_answer, right, "here")
            await trio.sleep(1)
            third.crash()
        assert answers == [{"slept": 20}] * 2


async def test_a_clean_leave_is_no_crash(autojump_clock: MockClock) -> None:
    """N2: when a runner leaves, the others know at once."""
    async with town() as place:
        left, right = await place.open_all(left=[], right=[Hand("there", forever)])
        async with trio.open_nursery() as nursery:
            errors: list[JobError] = []
            nursery.start_soon(asking, left, "there", errors)
            await trio.sleep(1)
            start = trio.current_time()
            right.runner.cancel_nowait("go")
            await right.leave()
        assert trio.current_time() - start < 0.1
        assert errors[0].status is JobStatus.CANCELLED
        assert left.bus.statistics().peers == ()


@pytest.mark.parametrize("how", ["paused", "cut"])
async def test_a_short_absence_is_none(how: str, autojump_clock: MockClock) -> None:
    """N5: a runner that hangs, or is cut off, for less than the ttl misses nothing, and is not missed."""
    async with town() as place:
        left, right = await place.open_all(left=[], right=[Hand("there", echo)])
        lives = left.incarnation, right.incarnation
        if how == "paused":
            right.way.pause()
        else:
            right.way.cut()
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(ask, left.runner, "there")
            await trio.sleep(TTL - 1.5)
            right.way.resume()
            right.way.mend()
        assert (left.incarnation, right.incarnation) == lives
        await trio.sleep(3)
        assert quiet(left, right)


@pytest.mark.parametrize("how", ["paused", "cut"])
async def test_a_long_absence(how: str, autojump_clock: MockClock) -> None:
    """N3: a runner that is away for longer than the ttl is down for the others; it finds out, and begins again with its workers."""
    log: list[Any] = []
    lines = Lines()
    async with town() as place:
        left, right = await place.open_all(
            left=[Hand("here", tidy(0, log)), Hand("echo", echo)], right=[Hand("there", tidy(0, log)), Hand("oche", echo)]
        )
        right.bus.add_observer(lines)
        before = right.incarnation
        async with trio.open_nursery() as nursery:
            here: list[JobError] = []
            there: list[JobError] = []
            nursery.start_soon(asking, left, "there", here)
            nursery.start_soon(asking, right, "here", there)
            await trio.sleep(1)
            if how == "paused":
                right.way.pause()
            else:
                right.way.cut()
            await trio.sleep(TTL + 2)
            assert [type(error) for error in here] == [PeerDownError]
            assert there == []
            assert [name for name, *_ in log] == ["here"]
            right.way.resume()
            right.way.mend()
        assert [type(error) for error in there] == [BusResetError]
        assert "this runner has lost its place on the bus: it was taken for dead" in str(there[0])
        await usable(place)
        assert [name for name, *_ in log] == ["here", "there"]
        assert right.incarnation != before
        assert right.bus.statistics().resets == 1
        assert ("connected", right.incarnation) in lines.log
        assert [what for what, *_ in lines.log if what != "connected"] == ["disconnected"] * (how == "cut") + ["lost", "joined"]
        await trio.sleep(3)
        assert quiet(left, right)


async def test_a_name_taken_meanwhile(autojump_clock: MockClock) -> None:
    """N3, N4: a root whose name was claimed while its runner was away is cancelled, with that as its reason; the others go on."""
    async with town() as place:
        root = Recorder("root")
        left, right = await place.open_all(left=[], right=[root, Hand("there", echo)])
        right.way.pause()
        await trio.sleep(TTL + 2)
        await left.runner.add_workers(Recorder("root"))
        taken_by = left.incarnation
        right.way.resume()
        await root.wait()
        assert root.statistics().state == "finished"
        await usable(place)
        assert right.runner.registry.remote_workers == ["root"]
        assert place.server.names["root"] == taken_by
        assert right.error is None


async def test_a_runner_s_own_name_taken_meanwhile(autojump_clock: MockClock) -> None:
    """N3, N4: a runner whose own name was claimed while it was away ends, and says why; its workers are cancelled."""
    async with town() as place:
        root = Recorder("root")
        right = await place.open("right", root)
        right.way.pause()
        third = await place.open("right")
        right.way.resume()
        await right.gone.wait()
        assert isinstance(right.error, BaseExceptionGroup)
        assert "the name 'right' is taken on this bus" in str(right.error.exceptions[0])
        assert root.statistics().state == "finished"
        right.scope.cancel()
        assert third.incarnation in place.server.members


@pytest.mark.parametrize("seconds", [0.3, 3.0, 10.0])
async def test_an_outage_with_memory(seconds: float, autojump_clock: MockClock) -> None:
    """N5, U57: a server that comes back with what it knew, however late: nobody is taken for dead, no job is lost."""
    async with town() as place:
        left, right = await place.open_all(left=[], right=[Hand("there", nap(1)), Hand("oche", echo)])
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(ask, left.runner, "there")
                nursery.start_soon(ask, left.runner, "oche")
                await trio.sleep(0.1)
            with no_server(place.server, keep=True):
                for _ in range(5):
                    nursery.start_soon(ask, left.runner, "oche")
                    await trio.sleep(seconds / 5)
        assert left.bus.statistics().resets == right.bus.statistics().resets == 0
        await trio.sleep(3)
        assert quiet(left, right)


async def test_an_outage_without_memory(autojump_clock: MockClock) -> None:
    """N3, U10: a server that comes back empty: jobs end as reset on both sides, and all begin again."""
    log: list[Any] = []
    async with town() as place:
        left, right = await place.open_all(left=[Hand("echo", echo)], right=[Hand("there", tidy(0, log)), Hand("oche", echo)])
        async with trio.open_nursery() as nursery:
            errors: list[JobError] = []
            nursery.start_soon(asking, left, "there", errors)
            await trio.sleep(1)
            with no_server(place.server, keep=False):
                await trio.sleep(2)
                assert errors == log == []
        assert [type(error) for error in errors] == [BusResetError]
        assert "the server has lost what it knew" in str(errors[0])
        await usable(place)
        assert len(log) == 1
        assert left.bus.statistics().resets == right.bus.statistics().resets == 1


async def test_an_outage_beyond_the_limit(autojump_clock: MockClock) -> None:
    """N2, N3, U10: when a server is away for too long, whoever waits is told; local work goes on, and all is well when it is back."""
    async with town() as place:
        hand = Hand("there", forever)
        left, right = await place.open_all(left=[Hand("echo", echo)], right=[hand, Hand("oche", echo)])
        async with trio.open_nursery() as nursery:
            errors: list[JobError] = []
            nursery.start_soon(asking, left, "there", errors)
            await trio.sleep(1)
            with no_server(place.server, keep=True):
                await trio.sleep(OUTAGE + 5)
                assert [type(error) for error in errors] == [BusResetError]
                assert left.bus.statistics().incarnation is None
                assert not left.bus.statistics().connected
                assert await ask(left.runner, "echo") == {"echo": {}}
                assert left.runner.registry.remote_workers == []
                left.bus.post(Note(source="left", target="there"))
                assert left.bus.statistics().dead_letters == 1
                assert idle(hand)
                assert right.bus.statistics().jobs == 0
        await usable(place)


async def test_leaving_while_nothing_can_be_reached(autojump_clock: MockClock) -> None:
    """A runner whose line is cut when it ends tries for a while, and goes."""
    async with town(leave_timeout=3) as place:
        left = await place.open("left", Recorder("a"))
        left.way.cut()
        await trio.sleep(1)
        start = trio.current_time()
        await left.leave()
        assert trio.current_time() - start == pytest.approx(3)
        assert left.error is None
        left.scope.cancel()


async def test_leaving_between_two_lives(autojump_clock: MockClock) -> None:
    """A runner that ends while it is no member, and cannot become one, goes soon."""
    async with town() as place:
        left = await place.open("left", Recorder("a"))
        with no_server(place.server, keep=False):
            await trio.sleep(OUTAGE + 3)
            assert left.bus.statistics().incarnation is None
            start = trio.current_time()
            await left.leave()
        assert trio.current_time() - start < 1.5
        assert left.error is None


async def test_cancelled_between_two_lives(autojump_clock: MockClock) -> None:
    """So does one that is cancelled."""
    async with town() as place:
        left = await place.open("left", Recorder("a"))
        with no_server(place.server, keep=False):
            await trio.sleep(OUTAGE + 3.5)
            left.scope.cancel()
            await left.gone.wait()
        assert left.error is None


@pytest.mark.parametrize("fault", ["lose", "double"])
async def test_frames_lost_and_doubled(fault: str, autojump_clock: MockClock) -> None:
    """N1: a transport that loses frames, or brings them twice, is not noticed but in the statistics."""
    async with town() as place:
        left, right = await place.open_all(left=[], right=[Hand("there", echo)])
        await trio.sleep(3)
        for count in (1, 2, 7):
            if fault == "lose":
                place.server.lose_next = count
            else:
                place.server.double_next = count
            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(ask, left.runner, "there")
        place.server.lose_next = 1 if fault == "lose" else 0
        assert await ask(left.runner, "there") == {"echo": {}}
        await trio.sleep(10)
        assert quiet(left, right)
        links = [peer.link for one in (left, right) for peer in one.bus.statistics().peers]
        assert sum(link.resent + link.duplicates for link in links) > 0


async def test_observers(autojump_clock: MockClock) -> None:
    """Who looks on sees connections come and go, and other runners."""
    lines = Lines()
    async with town() as place:
        left = await place.open("left", runner={"observers": [lines]})
        right = await place.open("right")
        there = right.incarnation
        await trio.sleep(1)
        left.way.cut()
        await trio.sleep(1)
        left.way.mend()
        await trio.sleep(1)
        await right.leave()
        await trio.sleep(1)
        here = left.incarnation
        reason = "it has left, or nothing was heard of it for too long"
        assert lines.log == [
            ("connected", here),
            ("joined", there),
            ("disconnected", "the line is lost"),
            ("connected", here),
            ("lost", there, reason),
        ]
        statistics = left.bus.statistics()
        assert (statistics.connected, statistics.incarnation, statistics.resets) == (True, here, 0)
