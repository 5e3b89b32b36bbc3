"""One job of several workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
from job_support import Counter, Hand, Log, ask, boom, echo, forever, nap, tidy
from support import Recorder, settle, within
from trio.testing import MockClock

from trioworkers import (
    BaseWorker,
    BusJobCancelMessage,
    BusJobRequestMessage,
    BusJobResponseMessage,
    BusMessage,
    JobError,
    JobFailed,
    JobGroupEvent,
    JobGroupResponse,
    JobStatus,
    WorkerBus,
    WorkerRegistryEntry,
    WorkerStateError,
    job,
    open_runner,
)
from trioworkers import JobGroupError as GroupError

# -- what its asker gets --------------------------------------------------------------------------------------------------


async def test_responses_are_by_name_in_the_order_asked(autojump_clock: MockClock) -> None:
    """A group's responses and statuses are by worker name, in the order asked, whoever is quicker; one id is shared by all."""
    ids: list[str] = []

    async def by_name(hand: Hand, message: BusJobRequestMessage) -> dict[str, Any]:
        ids.append(message.job_id)
        await trio.sleep(len(hand.name))
        return {"by": hand.name}

    async with open_runner(Hand("a", by_name), Hand("ccc", by_name), Hand("bb", by_name)) as runner, within(5):
        async with runner.job_group("ccc", "a", "bb", name="do") as group:
            await trio.sleep(1.5)
            assert (group.responses, group.statuses) == ({"a": {"by": "a"}}, {"a": JobStatus.COMPLETED})
        assert list(group.responses.items()) == [("ccc", {"by": "ccc"}), ("a", {"by": "a"}), ("bb", {"by": "bb"})]
        assert set(group.statuses.values()) == {JobStatus.COMPLETED}
        assert set(ids) == {group.job_id}
        assert trio.current_time() == 3


async def test_requests_go_out_in_the_order_given(autojump_clock: MockClock) -> None:
    """The members of a group are asked in the order given, in one go, all with the same payload."""
    payload = {"a": 1}
    async with open_runner(*(Hand(name, echo) for name in "abc")) as runner, within(5):
        with runner.bus.tap() as messages:
            async with runner.job_group("c", "a", "b", name="do", payload=payload):
                asked = [messages.receive_nowait() for _ in range(3)]
    assert [message.target for message in asked] == ["c", "a", "b"]
    assert all(isinstance(message, BusJobRequestMessage) and message.payload is payload for message in asked)


async def test_a_group_waits_until_all_are_ready(autojump_clock: MockClock) -> None:
    """Nobody is asked before all members of a group are ready."""
    began: list[Any] = []

    async def begin(hand: Hand, message: BusJobRequestMessage) -> None:
        began.append((hand.name, trio.current_time()))

    async with open_runner(Hand("early", begin)) as runner, within(5), trio.open_nursery() as nursery:

        async def add_late() -> None:
            await trio.sleep(2)
            await runner.add_workers(Hand("late", begin))

        nursery.start_soon(add_late)
        async with runner.job_group("early", "late", name="do"):
            assert trio.current_time() == 2
    assert sorted(began) == [("early", 2), ("late", 2)]


async def test_a_group_that_is_not_ready_in_time_asks_nobody(autojump_clock: MockClock) -> None:
    """When not all members are ready within the timeout, a ``JobGroupError`` names those missing, and nobody was asked."""
    asker, there = BaseWorker("asker"), Hand("there", echo)
    async with open_runner(asker, there), within(20):
        calls: list[Callable[[], Any]] = [
            lambda: asker.job_group("there", "not there", name="do", timeout=3).__aenter__(),
            lambda: asker.request_job_group("there", "not there", name="do", timeout=3),
            lambda: asker.create_job_group_and_request_job(["there", "not there"], name="do", timeout=3),
        ]
        for number, call in enumerate(calls, 1):
            with pytest.raises(GroupError, match="not ready within timeout") as caught:
                await call()
            assert list(caught.value.errors) == ["not there"]
            assert caught.value.responses == {}
            assert trio.current_time() == 3 * number
        assert there.statistics().answering.ended == {}
        assert asker.job_groups == {}


# -- when a member does not complete --------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["raises", "fails", "is unknown", "stops"])
async def test_the_first_that_does_not_complete_ends_the_rest(how: str, autojump_clock: MockClock) -> None:
    """With ``cancel_on_error`` the first answer that is not COMPLETED cancels the rest; all are gone when the block is left."""
    log: Log = []

    async def bad(hand: Hand, message: BusJobRequestMessage) -> None:
        await trio.sleep(1)
        if how == "raises":
            raise ValueError("boom")
        if how == "fails":
            raise JobFailed("no")
        await hand.stop()
        await trio.lowlevel.checkpoint()

    async def early(hand: Hand, message: BusJobRequestMessage) -> dict[str, Any]:
        return {"early": True}

    class Known(BaseWorker):
        """Has another job."""

    worker: BaseWorker = Known("bad") if how == "is unknown" else Hand("bad", bad)
    async with open_runner(Hand("early", early), worker, Hand("slow", tidy(2, log))) as runner, within(9):
        with pytest.raises(GroupError) as caught:
            async with runner.job_group("early", "slow", "bad", name="do") as group:
                await trio.sleep_forever()
        at = 0 if how == "is unknown" else 3
        assert trio.current_time() == at
    error = caught.value
    assert not isinstance(error, BaseExceptionGroup)
    said = {
        "raises": (JobStatus.ERROR, "ValueError: boom"),
        "fails": (JobStatus.FAILED, "no"),
        "is unknown": (JobStatus.FAILED, "no handler for job 'do' on worker 'bad'"),
        "stops": (JobStatus.CANCELLED, "worker 'bad' stopped"),
    }[how]
    reason = f"worker 'bad' answered {said[0]}: {said[1]}"
    outcomes = {name: (member.status, member.reason) for name, member in error.errors.items()}
    if how == "is unknown":  # nobody has had time to do anything
        assert (outcomes, error.responses, log) == (
            {"early": (JobStatus.CANCELLED, reason), "slow": (JobStatus.CANCELLED, reason), "bad": said},
            {},
            [],
        )
    else:
        assert (outcomes, error.responses) == ({"slow": (JobStatus.CANCELLED, reason), "bad": said}, {"early": {"early": True}})
        assert log == [("slow", "gone", 3)]
    assert (error.job_id, error.reason) == (group.job_id, reason)
    assert list(group.statuses) == ["early", "slow", "bad"]


async def test_a_member_that_refuses_at_once_ends_the_group_before_the_rest_is_asked(autojump_clock: MockClock) -> None:
    """When an earlier member refuses on arrival, the later ones are not asked at all."""
    last = Hand("last", echo)
    async with open_runner(BaseWorker("first"), last) as runner, within(1):
        await settle()
        before = runner.bus.statistics().posted
        with runner.bus.tap() as messages:
            with pytest.raises(GroupError) as caught:
                async with runner.job_group("first", "last", name="do"):
                    await trio.sleep_forever()
            sent = [messages.receive_nowait() for _ in range(runner.bus.statistics().posted - before)]
    assert [message.target for message in sent if isinstance(message, BusJobRequestMessage)] == ["first"]
    assert {name: error.status for name, error in caught.value.errors.items()} == {"first": "failed", "last": "cancelled"}
    assert last.statistics().answering.ended == {}
    assert last.statistics().answering.strangers == 0


async def test_without_cancel_on_error_all_answers_are_collected(autojump_clock: MockClock) -> None:
    """U15: with ``cancel_on_error=False`` every answer counts; COMPLETED and FAILED without a response can be told apart."""

    async def refuse(hand: Hand, message: BusJobRequestMessage) -> None:
        raise JobFailed("no", {"why": 1} if hand.name == "told" else None)

    async def nothing(hand: Hand, message: BusJobRequestMessage) -> None:
        await trio.sleep(1)

    hands = Hand("nothing", nothing), Hand("silent", refuse), Hand("told", refuse), Hand("broken", boom)
    async with open_runner(*hands) as runner, within(5):
        async with runner.job_group("nothing", "silent", "told", "broken", name="do", cancel_on_error=False) as group:
            pass
        assert trio.current_time() == 1
    assert group.statuses == {
        "nothing": JobStatus.COMPLETED,
        "silent": JobStatus.FAILED,
        "told": JobStatus.FAILED,
        "broken": JobStatus.ERROR,
    }
    assert group.responses == {"nothing": {}, "told": {"why": 1}}


async def test_a_job_error_tells_who_how_what_and_why(autojump_clock: MockClock) -> None:
    """U15: each member's ``JobError`` says worker, job, status, response and reason; the group's says them all in one line."""

    async def refuse(hand: Hand, message: BusJobRequestMessage) -> None:
        raise JobFailed("no", {"left": 3})

    async with open_runner(Hand("a", refuse), Hand("b", forever)) as runner, within(5):
        with pytest.raises(GroupError) as caught:
            async with runner.job_group("a", "b", name="do") as group:
                pass
    errors = caught.value.errors
    assert {(type(error), error.job_id) for error in errors.values()} == {(JobError, group.job_id)}
    assert (errors["a"].worker_name, errors["a"].status, errors["a"].response) == ("a", JobStatus.FAILED, {"left": 3})
    assert str(caught.value) == (
        f"job group {group.job_id!r} did not complete (worker 'a' answered failed: no): "
        "a: failed (no), b: cancelled (worker 'a' answered failed: no)"
    )
    assert group.responses == {"a": {"left": 3}}


async def test_a_groups_timeout_cancels_what_is_left(autojump_clock: MockClock) -> None:
    """A group's timeout cancels those that have not answered; the answers of the others are kept."""
    log: Log = []
    async with open_runner(Hand("quick", nap(1)), Hand("slow", tidy(1, log))) as runner, within(9):
        with pytest.raises(GroupError) as caught:
            async with runner.job_group("quick", "slow", name="do", timeout=3):
                pass
        assert (trio.current_time(), log) == (4, [("slow", "gone", 4)])
    assert (caught.value.reason, caught.value.responses) == ("timeout", {"quick": {"slept": 1}})
    assert {name: error.reason for name, error in caught.value.errors.items()} == {"slow": "timeout"}


async def test_a_body_that_raises_cancels_all(autojump_clock: MockClock) -> None:
    """A group's block left with an error cancels each of its jobs, waits for all, in parallel, and lets the error out."""
    log: Log = []
    async with open_runner(*(Hand(name, tidy(2, log)) for name in "ab")) as runner, within(9):
        with pytest.raises(KeyError):
            async with runner.job_group("a", "b", name="do"):
                await settle()
                raise KeyError
        assert trio.current_time() == 2
    assert sorted(log) == [("a", "gone", 2), ("b", "gone", 2)]


async def test_grace_names_all_who_are_left_behind(autojump_clock: MockClock) -> None:
    """J2: the handlers of a group that are left behind after ``cancel_grace`` are all named on its error."""
    async with open_runner(Hand("a", tidy(9, [])), Hand("b", tidy(1, [])), Hand("c", tidy(9, []))) as runner, within(29):
        with pytest.raises(GroupError) as caught:
            async with runner.job_group("a", "b", "c", name="do", timeout=1, cancel_grace=2):
                pass
        assert trio.current_time() == 3
    assert caught.value.__notes__ == ["Left behind, still running after cancel_grace: the handler on 'a', 'c'"]


# -- strangers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", list(JobStatus))
async def test_a_strangers_answer_is_nothing(status: JobStatus, autojump_clock: MockClock) -> None:
    """U16: an answer by somebody who was not asked is neither a response nor an error of the group: dropped and counted."""
    asker = Recorder("asker")
    async with open_runner(asker, Hand("doer", nap(1)), Hand("other", nap(1))) as runner, within(5):
        async with asker.job_group("doer", "other", name="do") as group:
            runner.bus.post(
                BusJobResponseMessage(source="stranger", target="asker", job_id=group.job_id, status=status, response={"x": 1})
            )
        await settle()
        assert group.responses == {"doer": {"slept": 1}, "other": {"slept": 1}}
        assert asker.statistics().asking.strangers == 1
        assert "stranger" not in str(asker.log)


# -- without a block ------------------------------------------------------------------------------------------------------


async def test_the_record_of_a_group_can_be_waited_for(autojump_clock: MockClock) -> None:
    """``create_job_group_and_request_job`` gives the record: any number of waiters, before and after the end, get the result."""
    asker = BaseWorker("asker")
    results: list[JobGroupResponse] = []

    async def wait() -> None:
        results.append(await group.wait())

    async with open_runner(asker, Hand("a", nap(1)), Hand("b", nap(2))), within(9):
        group = await asker.create_job_group_and_request_job(["a", "b"], name="do")
        assert (group.worker_names, group.cancel_on_error, group.is_done) == (("a", "b"), True, False)
        assert asker.job_groups == {group.job_id: group}
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            nursery.start_soon(wait)
            with trio.move_on_after(0.5) as impatient:
                await group.wait()
        await wait()
        assert impatient.cancelled_caught
        assert (group.is_done, asker.job_groups, trio.current_time()) == (True, {}, 2)
    both = {"a": JobStatus.COMPLETED, "b": JobStatus.COMPLETED}
    assert results == [JobGroupResponse(group.job_id, {"a": {"slept": 1}, "b": {"slept": 2}}, both)] * 3


async def test_waiting_for_a_group_that_failed_raises(autojump_clock: MockClock) -> None:
    """Waiting for a group that was ended early raises a ``JobGroupError``, each time a new one."""
    asker = BaseWorker("asker")
    async with open_runner(asker, Hand("a", boom), Hand("b", forever)), within(9):
        group = await asker.create_job_group_and_request_job(["a", "b"], name="do")
        with pytest.raises(GroupError) as first:
            await group.wait()
        with pytest.raises(GroupError) as second:
            await group.wait()
        assert first.value is not second.value
        assert group.failure == first.value.reason == "worker 'a' answered error: ValueError: boom"


async def test_a_group_without_a_block_ends_by_its_hooks(autojump_clock: MockClock) -> None:
    """``request_job_group`` returns at once; the hooks tell of each answer, and of the end once."""
    asker = Recorder("asker")
    async with open_runner(asker, Hand("a", nap(1)), Hand("b", nap(2))), within(9):
        await settle()
        asker.log.clear()
        job_id = await asker.request_job_group("a", "b", name="do", timeout=5)
        assert (list(asker.job_groups), trio.current_time()) == ([job_id], 0)
        await trio.sleep(3)
        assert asker.log == [
            ("asker", "response", "a", "completed", {"slept": 1}),
            ("asker", "response", "b", "completed", {"slept": 2}),
            ("asker", "completed", {"a": {"slept": 1}, "b": {"slept": 2}}),
        ]
        assert asker.job_groups == {}


async def test_a_group_without_a_block_keeps_its_timeout(autojump_clock: MockClock) -> None:
    """The timeout of a request without a block is kept by the asker: its jobs are cancelled, its hook is told."""
    asker, log = Recorder("asker"), Log()
    async with open_runner(asker, Hand("a", tidy(0, log)), Hand("b", nap(1))), within(9):
        await asker.request_job_group("a", "b", name="do", timeout=3)
        await trio.sleep(4)
        assert log == [("a", "gone", 3)]
        assert asker.log[-1] == ("asker", "error", "a", "cancelled", "timeout")


async def test_a_group_can_be_asked_for_by_a_worker_that_runs_only(autojump_clock: MockClock) -> None:
    """Asking without a block on a worker that does not run yet is an error at the call."""
    asker = BaseWorker("asker")
    async with open_runner(Hand("a", echo)) as runner, within(1):
        await asker.attach(registry=runner.registry, bus=runner.bus)
        with pytest.raises(WorkerStateError, match="does not run yet"):
            await asker.create_job_group_and_request_job(["a"], name="do")
        await asker.stop()


async def test_events_of_members_come_interleaved_as_they_arrive(autojump_clock: MockClock) -> None:
    """A group's iterator gives the events of all members as they arrive, each with its worker's name, and ends with the group."""

    class Ticker(BaseWorker):
        """Streams at its own pace."""

        @job(name="tick")
        async def tick(self, message: BusJobRequestMessage) -> Any:
            """Tick twice."""
            for number in (1, 2):
                await trio.sleep(int(self.name))
                yield {"n": number}

    async with open_runner(Ticker("2"), Ticker("3")) as runner, within(9), runner.job_group("2", "3", name="tick") as group:
        events = [event async for event in group]
        assert trio.current_time() == 6
    assert sorted(events[:2], key=str) == [JobGroupEvent("stream_start", "2"), JobGroupEvent("stream_start", "3")]
    assert events[2:] == [
        JobGroupEvent("stream_data", "2", {"n": 1}),
        JobGroupEvent("stream_data", "3", {"n": 1}),
        JobGroupEvent("stream_data", "2", {"n": 2}),
        JobGroupEvent("stream_end", "2"),
        JobGroupEvent("stream_data", "3", {"n": 2}),
        JobGroupEvent("stream_end", "3"),
    ]
    assert group.responses == {"2": {}, "3": {}}


async def test_updates_are_asked_for_by_member(autojump_clock: MockClock) -> None:
    """``request_job_update`` asks one member for news; those who have answered, and strangers, are not asked."""
    asker, doer, done = Recorder("asker"), Hand("doer", nap(5)), Hand("done", nap(1))
    told: Log = []
    for worker in (doer, done):
        worker.add_event_handler("on_job_update_requested", lambda member, message: told.append((member.name, message.job_id)))
    async with open_runner(asker, doer, done) as runner, within(9):
        job_id = await asker.request_job_group("doer", "done", name="do")
        await asker.request_job_update(job_id, "doer")
        await asker.request_job_update(job_id, "done")
        await trio.sleep(2)
        posted = runner.bus.statistics().posted
        await asker.request_job_update(job_id, "done")
        await asker.request_job_update(job_id, "stranger")
        await asker.request_job_update("no such job", "doer")
        assert runner.bus.statistics().posted == posted
    assert sorted(told) == [("doer", job_id), ("done", job_id)]


# -- a transport that fails -----------------------------------------------------------------------------------------------


class Broken(WorkerBus):
    """A bus whose way outside raises."""

    def __init__(self, *, always: bool) -> None:
        super().__init__()
        self.always = always

    def publish(self, message: BusMessage) -> bool:
        """Lead nowhere; for ``far`` not even there."""
        if message.target == "far" and (self.always or isinstance(message, BusJobRequestMessage)):
            raise ConnectionError("the line is dead")
        return message.target == "far" and isinstance(message, BusJobCancelMessage)


@pytest.mark.parametrize("always", [False, True])
@pytest.mark.parametrize("block", [True, False])
async def test_a_request_that_cannot_be_sent_is_undone(block: bool, always: bool, autojump_clock: MockClock) -> None:
    """U24: when the transport fails for one member, the call raises, the members asked before are cancelled, and nothing stays."""
    done: Log = []

    async def effect(hand: Hand, message: BusJobRequestMessage) -> None:
        done.append(hand.name)

    asker, near, last = BaseWorker("asker"), Hand("near", effect), Hand("last", effect)
    async with open_runner(asker, near, last, bus=Broken(always=always)) as runner, within(9):
        runner.registry.register(WorkerRegistryEntry("far"), runner="elsewhere")
        with pytest.raises(ConnectionError, match="the line is dead"):
            if block:
                await asker.job_group("near", "far", "last", name="do").__aenter__()
            else:
                await asker.request_job_group("near", "far", "last", name="do")
        await settle()
        assert (done, asker.job_groups, near.active_jobs) == ([], {}, {})
        assert near.statistics().answering.ended == {"cancelled": 1}
        assert last.statistics().answering.ended == {}
        assert await ask(asker, "near") == {}
        with trio.move_on_after(5):
            await asker.stop()
        assert str(asker) == "<BaseWorker 'asker' finished>"


class Dying(WorkerBus):
    """A bus whose way outside takes requests, and raises for all that comes later."""

    def publish(self, message: BusMessage) -> bool:
        """Take a request to somebody far away."""
        if isinstance(message, BusJobCancelMessage):
            raise ConnectionError("the line is dead")
        return True


async def test_a_line_that_dies_leaves_only_its_own_member_behind(autojump_clock: MockClock) -> None:
    """J7, U24: when a member cannot be told to stop, the others are, nobody waits for the one, and it is counted as left behind."""
    log: Log = []
    asker = BaseWorker("asker")
    async with open_runner(asker, Hand("first", tidy(1, log)), Hand("last", tidy(1, log)), bus=Dying()) as runner, within(9):
        runner.registry.register(WorkerRegistryEntry("far"), runner="elsewhere")
        with pytest.raises(GroupError) as caught:
            async with asker.job_group("first", "far", "last", name="do", timeout=1):
                pass
        assert (trio.current_time(), list(caught.value.errors)) == (2, ["first", "far", "last"])
        assert sorted(log) == [("first", "gone", 2), ("last", "gone", 2)]
        assert (asker.job_groups, asker.statistics().asking.left_behind) == ({}, 1)


async def test_a_group_of_streams_shares_one_window(autojump_clock: MockClock) -> None:
    """J6: the members of a group share one window: together they are at most 64 events ahead; each may be ahead by one at least."""
    pair = [Counter("a"), Counter("b")]
    crowd = [Counter(f"c{number}") for number in range(100)]
    async with open_runner(*pair, *crowd) as runner, within(9):
        for members, window in ((pair, 32), (crowd, 1)):
            names = [member.name for member in members]
            async with runner.job_group(*names, name="count", payload={"to": 100}):
                await settle()
                assert {len(member.sent) for member in members} == {window}
            assert {len(member.sent) for member in members} == {100}
