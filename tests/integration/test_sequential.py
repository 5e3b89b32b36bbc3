"""``@job(sequential=True)``: one at a time, in order."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from job_support import Log, ask, failure
from support import Alarm, settle, within
from trio.testing import MockClock

from trioworkers import BaseWorker, BusJobRequestMessage, JobGroupError, JobStatus, WorkerRunner, job, open_runner


class Clerk(BaseWorker):
    """Does one thing at a time, as the payload says."""

    def __init__(self, name: str, log: Log) -> None:
        super().__init__(name)
        self.log = log
        self.busy = 0
        self.most = 0

    @job(name="do", sequential=True)
    async def do(self, message: BusJobRequestMessage) -> dict[str, Any]:
        """Answer early, take its time, ask further workers, fail: whatever is wanted."""
        wants = message.payload
        self.busy += 1
        self.most = max(self.most, self.busy)
        self.log.append((wants.get("n"), "begins", trio.current_time()))
        try:
            if "early" in wants:
                await self.send_job_response(message.job_id, {"early": True})
            await trio.sleep(wants.get("for", 1))
            if "ask" in wants:
                async with self.job(
                    wants["ask"][0], name=wants.get("name", "do"), payload={"ask": wants["ask"][1:]} if wants["ask"][1:] else {}
                ):
                    pass
            if "fail" in wants:
                raise ValueError("boom")
            return {"n": wants.get("n")}
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(wants.get("tidy", 0))
            self.busy -= 1
            self.log.append((wants.get("n"), "ends", trio.current_time()))

    @job(name="other", sequential=True)
    async def other(self, message: BusJobRequestMessage) -> None:
        """Do another thing, perhaps by way of the first."""
        if "ask" in message.payload:
            await ask(self, message.payload["ask"][0])


async def launch(runner: WorkerRunner, *wants: dict[str, Any]) -> list[str]:
    """Ask for some jobs, one after another, without waiting."""
    return [await runner.request_job("clerk", name="do", payload={"n": n, **want}) for n, want in enumerate(wants)]


async def test_they_run_one_at_a_time_in_order(autojump_clock: MockClock) -> None:
    """J5: sequential jobs of one name never overlap, and run in the order in which they were asked for."""
    clerk = Clerk("clerk", [])
    async with open_runner(clerk) as runner, within(99):
        await launch(runner, *({"for": seconds} for seconds in (3, 1, 2, 0, 1)))
        assert len(clerk.active_jobs) == 5
        await trio.sleep(8)
    assert clerk.most == 1
    assert clerk.log == [
        (0, "begins", 0),
        (0, "ends", 3),
        (1, "begins", 3),
        (1, "ends", 4),
        (2, "begins", 4),
        (2, "ends", 6),
        (3, "begins", 6),
        (3, "ends", 6),
        (4, "begins", 6),
        (4, "ends", 7),
    ]


async def test_different_names_are_independent(autojump_clock: MockClock) -> None:
    """J5: a sequential job waits for those of its own name only."""
    async with open_runner(Clerk("clerk", [])) as runner, within(99):
        await launch(runner, {"for": 5})
        assert await ask(runner, "clerk", "other") == {}
        assert trio.current_time() == 0


async def test_a_busy_slot_does_not_block_the_worker(autojump_clock: MockClock) -> None:
    """R29: while a sequential job runs and others queue, messages are heard and cancels applied."""
    log: Log = []
    clerk = Clerk("clerk", [])
    clerk.add_event_handler("on_bus_message", lambda worker, message: log.append((type(message).__name__, trio.current_time())))
    async with open_runner(clerk) as runner, within(99):
        await launch(runner, {"for": 5}, {})
        await trio.sleep(1)
        runner.bus.post(Alarm(source="a", target="clerk"))
        await settle()
    assert ("Alarm", 1) in log


@pytest.mark.parametrize("place", [0, 1, 2])
async def test_a_job_cancelled_in_the_queue_gives_its_place_up(place: int, autojump_clock: MockClock) -> None:
    """J5: a job cancelled while it is queued never begins, those behind move up; a running one frees the slot when gone."""
    clerk = Clerk("clerk", [])
    async with open_runner(clerk) as runner, within(99):
        ids = await launch(runner, {"for": 2, "tidy": 3}, {}, {})
        await trio.sleep(1)
        runner._requester.cancel_by_id(ids[place], "enough")
        await trio.sleep(20)
        assert clerk.active_jobs == {}
    begun = [(n, at) for n, what, at in clerk.log if what == "begins"]
    assert begun == {0: [(0, 0), (1, 4), (2, 5)], 1: [(0, 0), (2, 5)], 2: [(0, 0), (1, 5)]}[place]
    assert clerk.most == 1


async def test_queueing_counts_in_the_timeout(autojump_clock: MockClock) -> None:
    """A sequential job's timeout runs while it is queued, too; it then never begins."""
    clerk = Clerk("clerk", [])
    async with open_runner(clerk) as runner, within(99):
        await launch(runner, {"for": 5})
        error = await failure(runner, "clerk", timeout=2, payload={"n": "late"})
        assert (error.reason, trio.current_time()) == ("timeout", 2)
    assert [entry[0] for entry in clerk.log] == [0, 0]


async def test_the_slot_is_held_until_the_handler_is_gone(autojump_clock: MockClock) -> None:
    """J5: a handler that has answered early and runs on, or cleans up, still holds the slot."""
    clerk = Clerk("clerk", [])
    async with open_runner(clerk) as runner, within(99):
        first = runner.job("clerk", name="do", payload={"n": 0, "early": True, "for": 3, "tidy": 2})
        async with first:
            pass
        assert (first.response, trio.current_time(), clerk.active_jobs) == ({"early": True}, 0, {})
        assert await ask(runner, "clerk", payload={"n": 1}) == {"n": 1}
        assert trio.current_time() == 6
    assert clerk.most == 1


async def test_a_job_that_fails_lets_the_next_go(autojump_clock: MockClock) -> None:
    """J5: a sequential job that raises frees the slot."""
    clerk = Clerk("clerk", [])
    async with open_runner(clerk) as runner, within(99):
        await launch(runner, {"fail": True})
        assert await ask(runner, "clerk") == {"n": None}


async def test_a_queued_job_answered_by_somebody_else_never_begins(autojump_clock: MockClock) -> None:
    """J5: a job answered from elsewhere while it is queued is over: its handler never begins, those behind it keep their order."""
    clerk = Clerk("clerk", [])
    async with open_runner(clerk) as runner, within(99):
        ids = await launch(runner, {"for": 2}, {}, {})
        await trio.sleep(1)
        await clerk.send_job_response(ids[1], {"other": True})
        await settle()
        assert list(clerk.active_jobs) == [ids[0], ids[2]]
        await trio.sleep(9)
    assert [(n, at) for n, what, at in clerk.log if what == "begins"] == [(0, 0), (2, 2)]


async def test_the_queue_is_answered_when_the_worker_stops(autojump_clock: MockClock) -> None:
    """J7: those queued are answered when their worker stops."""
    clerk = Clerk("clerk", [])
    async with open_runner(clerk) as runner, within(99):
        await launch(runner, {"for": 2}, {}, {})
        await trio.sleep(1)
        await clerk.stop()
        assert clerk.statistics().answering.ended == {"cancelled": 3}
        assert runner._requester.groups == {}


# -- cycles ---------------------------------------------------------------------------------------------------------------


async def test_a_job_that_would_wait_for_itself_fails_at_once(autojump_clock: MockClock) -> None:
    """U27: a sequential handler that asks for its own slot, directly or by way of others, is FAILED at once; the cycle is named."""
    async with open_runner(Clerk("a", []), Clerk("b", []), Clerk("c", [])) as runner, within(99):
        for way in (["a"], ["b", "a"], ["b", "c", "a"]):
            error = await failure(runner, "a", payload={"ask": way, "for": 0})
            assert error.status is JobStatus.ERROR
            assert error.reason is not None
            assert "sequential job 'do' on worker 'a' would wait for itself: " in error.reason
            assert error.job_id in error.reason
            assert error.reason.count(" -> ") == len(way)
        assert await ask(runner, "a") == {"n": None}


async def test_the_chain_is_kept_when_a_handler_has_answered(autojump_clock: MockClock) -> None:
    """U27: a handler that has answered early still holds its slot: asking for it is the same cycle."""
    clerk = Clerk("a", [])
    errors: list[BaseException] = []
    try:
        async with open_runner(clerk) as runner, within(99):
            await ask(runner, "a", payload={"early": True, "ask": ["a"], "for": 0})
            await trio.sleep_forever()
    except* Exception as caught:
        errors += caught.exceptions
    assert ["would wait for itself" in str(error) for error in errors] == [True]


async def test_another_name_of_the_same_worker_is_no_cycle(autojump_clock: MockClock) -> None:
    """A sequential handler may ask its own worker for a job of another name; back into the first slot it is a cycle."""
    async with open_runner(Clerk("a", [])) as runner, within(99):
        assert await ask(runner, "a", payload={"ask": ["a"], "name": "other", "for": 0}) == {"n": None}
        error = await failure(runner, "a", payload={"ask": ["a", "a"], "name": "other", "for": 0})
        assert "would wait for itself" in str(error.reason)


async def test_a_sibling_that_holds_the_slot_is_no_cycle(autojump_clock: MockClock) -> None:
    """A member of a group may ask for a slot that another member of the group holds: it waits, as nothing waits for it in turn."""
    log: Log = []
    a, b = Clerk("a", log), Clerk("b", log)

    class Pair(BaseWorker):
        """One member holds the slot of ``a``; the other asks for it meanwhile."""

        @job(name="do")
        async def do(self, message: BusJobRequestMessage) -> dict[str, Any]:
            """Ask for the slot."""
            return await ask(self, "a", payload={"n": "second"})

    async with open_runner(a, b, Pair("pair")) as runner, within(99):
        async with runner.job_group("a", "pair", name="do", payload={"n": "first"}) as group:
            pass
        assert group.responses == {"a": {"n": "first"}, "pair": {"n": "second"}}
        with pytest.raises(JobGroupError):
            async with runner.job_group("a", "b", name="do", payload={"ask": ["a"], "for": 0}):
                pass
    assert log[:4] == [("first", "begins", 0), ("first", "ends", 1), ("second", "begins", 1), ("second", "ends", 2)]
