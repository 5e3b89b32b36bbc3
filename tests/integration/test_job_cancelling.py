"""Giving a job up: what its handler meets, what its asker is told, in which order."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from job_support import Counter, Hand, Log, ask, drain, echo, failure, forever, nap, tidy
from support import Alarm, Doer, Recorder, settle, within
from trio.testing import MockClock

from trioworkers import (
    BaseWorker,
    BusCancelWorkerMessage,
    BusJobCancelMessage,
    BusJobRequestMessage,
    BusJobResponseMessage,
    JobError,
    JobStatus,
    handles,
    open_runner,
)


class Bell(BaseWorker):
    """Writes down when it hears an alarm."""

    def __init__(self, name: str, log: Log) -> None:
        super().__init__(name)
        self.log = log

    @handles(Alarm)
    async def ring(self, message: Alarm) -> None:
        """Write it down."""
        self.log.append(("alarm", trio.current_time()))


async def test_a_cancel_never_overtakes_its_request(autojump_clock: MockClock) -> None:
    """U17: a job given up right after it was asked for never calls its handler, and nothing of it stays on either side."""
    done: Log = []

    async def effect(hand: Hand, message: BusJobRequestMessage) -> None:
        done.append("side effect")

    doer, asker = Hand("doer", effect), Recorder("asker")
    async with open_runner(doer, asker), within(1):
        await settle()
        job_id = await asker.request_job("doer", name="do")
        await asker.cancel_job_group(job_id, reason="changed my mind")
        await settle()
        assert (done, doer.active_jobs, asker.job_groups) == ([], {}, {})
        assert asker.log[-1] == ("asker", "error", "doer", "cancelled", "changed my mind")
        await ask(asker, "doer")
    assert done == ["side effect"]


async def test_a_cancel_is_applied_while_the_worker_is_busy(autojump_clock: MockClock) -> None:
    """U17: a hook that keeps the answerer busy delays neither a request's job nor its cancel."""
    log: Log = []
    doer = Hand("doer", tidy(0, log))

    @doer.event_handler("on_activated")
    async def busy(worker: BaseWorker, args: Any) -> None:
        await trio.sleep(9)

    async with open_runner(doer) as runner, within(5):
        assert (await failure(runner, "doer", timeout=0.05)).reason == "timeout"
        assert log == [("doer", "gone", 0.05)]


async def test_the_order_at_a_cancel(autojump_clock: MockClock) -> None:
    """At a cancel the handler unwinds, then its answer goes out, then ``on_job_cancelled`` runs, once, with the reason."""
    log: Log = []
    doer = Hand("doer", tidy(2, log))
    doer.add_event_handler("on_job_cancelled", lambda worker, message: log.append((message.reason, len(worker.active_jobs))))
    asker = BaseWorker("asker")
    async with open_runner(doer, asker) as runner, within(9):
        with runner.bus.tap() as messages:
            job_id = await asker.request_job("doer", name="do")
            await settle()
            await asker.cancel_job_group(job_id, reason="enough")
            await asker.cancel_job_group(job_id, reason="again")
            assert list(asker.job_groups) == [job_id]
            await trio.sleep(3)
            assert asker.job_groups == {}
            sent = [type(messages.receive_nowait()).__name__ for _ in range(3)]
            with pytest.raises(trio.WouldBlock):
                messages.receive_nowait()
    assert sent == ["BusJobRequestMessage", "BusJobCancelMessage", "BusJobResponseMessage"]
    assert log == [("doer", "gone", 2), ("enough", 0)]


async def test_the_handler_can_learn_the_reason(autojump_clock: MockClock) -> None:
    """The ``Cancelled`` that a handler meets says why its job was given up."""
    seen: list[str] = []

    async def look(hand: Hand, message: BusJobRequestMessage) -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled as error:
            seen.append(str(error))
            raise

    asker = BaseWorker("asker")
    async with open_runner(Hand("doer", look), asker), within(9):
        job_id = await asker.request_job("doer", name="do")
        await settle()
        await asker.cancel_job_group(job_id, reason="the user left")
        await settle()
    assert len(seen) == 1
    assert "the user left" in seen[0]


@pytest.mark.parametrize("when", ["answered", "unknown"])
async def test_giving_up_what_is_over_is_nothing(when: str, autojump_clock: MockClock) -> None:
    """Giving up a job that is done, or was never there, sends nothing and fires nothing."""
    doer, asker = Recorder("doer"), Recorder("asker")

    async def answer(worker: BaseWorker, message: BusJobRequestMessage) -> None:
        await worker.send_job_response(message.job_id)

    doer.add_event_handler("on_job_request", answer)
    async with open_runner(doer, asker) as runner, within(9):
        async with asker.job("doer") as asked:
            pass
        await settle()
        log, posted = list(asker.log + doer.log), runner.bus.statistics().posted
        await asker.cancel_job_group(asked.job_id if when == "answered" else "nothing", reason="late")
        await settle()
        assert (asker.log + doer.log, runner.bus.statistics().posted) == (log, posted)


async def test_a_cancel_after_the_streams_end_is_nothing(autojump_clock: MockClock) -> None:
    """R6: a job whose stream has ended is over: a cancel that comes then fires no hook, sends no second answer, leaves nothing."""

    async def stream(doer: Doer, message: BusJobRequestMessage) -> None:
        await doer.send_job_stream_start(message.job_id)
        await doer.send_job_stream_end(message.job_id, {"a": 1})
        await trio.sleep(1)

    log: Log = []
    doer = Doer("doer", stream)
    doer.add_event_handler("on_job_cancelled", lambda worker, message: log.append(message))
    async with open_runner(doer) as runner, within(9):
        async with runner.job("doer") as asked:
            await settle()
            runner.bus.post(BusJobCancelMessage(source=runner.name, target="doer", job_id=asked.job_id, reason="late"))
        await trio.sleep(2)
        assert (asked.response, log, doer.active_jobs) == ({"a": 1}, [], {})
        assert doer.statistics().answering.ended == {"completed": 1}
        assert doer.statistics().answering.strangers == 1


async def test_only_its_asker_may_cancel_a_job(autojump_clock: MockClock) -> None:
    """A cancel by a stranger, a second cancel, and one for a job that is not there, are dropped and counted."""
    doer = Hand("doer", nap(1))
    async with open_runner(doer) as runner, within(9):
        async with runner.job("doer", name="do") as asked:
            for source, job_id in (("stranger", asked.job_id), (runner.name, "no such job")):
                runner.bus.post(BusJobCancelMessage(source=source, target="doer", job_id=job_id))
        assert asked.response == {"slept": 1}
        assert doer.statistics().answering.strangers == 2
        job_id = await runner.request_job("doer", name="do")
        for _ in range(2):
            runner.bus.post(BusJobCancelMessage(source=runner.name, target="doer", job_id=job_id))
        assert doer.statistics().answering.strangers == 3


async def test_a_handler_that_swallows_cancellation_delays_only_itself(autojump_clock: MockClock) -> None:
    """U18: while a cancelled handler refuses to end, its worker hears messages, does other jobs, and applies other cancels."""
    log: Log = []

    async def deaf(hand: Hand, message: BusJobRequestMessage) -> dict[str, Any]:
        with trio.CancelScope(shield=True):
            await trio.sleep(message.payload["for"])
        await trio.lowlevel.checkpoint()
        return {"quick": True}

    doer = Hand("doer", deaf)
    doer.add_event_handler("on_bus_message", lambda worker, message: log.append(type(message).__name__))
    async with open_runner(doer, shutdown_timeout=1) as runner, within(20):
        first = await runner.request_job("doer", name="do", payload={"for": 10})
        await settle()
        runner._requester.cancel_by_id(first, "enough")
        assert await ask(runner, "doer", payload={"for": 0}) == {"quick": True}
        await settle()
        log.clear()
        runner.bus.post(Alarm(source="a", target="doer"))
        await settle()
        assert (log, trio.current_time(), len(doer.active_jobs)) == (["Alarm"], 0, 1)
        runner.cancel_nowait("enough of all")
    assert trio.current_time() == 10


async def test_cleanups_run_side_by_side(autojump_clock: MockClock) -> None:
    """U19: eight jobs cancelled together clean up side by side, and a system message sent then is heard at once."""
    log: Log = []
    doer, bell, asker = Hand("doer", tidy(0.3, log)), Bell("bell", log), BaseWorker("asker")
    doer.add_event_handler("on_bus_message", lambda worker, message: log.append(("heard", trio.current_time())))
    async with open_runner(doer, bell, asker) as runner, within(9):
        ids = [await asker.request_job("doer", name="do") for _ in range(8)]
        await settle()
        log.clear()
        for job_id in ids:
            await asker.cancel_job_group(job_id)
        runner.bus.post(Alarm(source="asker", target="bell"))
        runner.bus.post(Alarm(source="asker", target="doer"))
        await trio.sleep(0.9)
        assert log[:-8].count(("heard", 0)) == 9
        assert ("alarm", 0) in log
        assert log[-8:] == [("doer", "gone", 0.3)] * 8


async def test_stopping_answers_when_the_handlers_are_gone(autojump_clock: MockClock) -> None:
    """R13, U23: a worker that stops answers its jobs when their handlers have unwound, not before, and skips ``on_job_cancelled``."""
    log: Log = []
    doer, asker = Recorder("doer", log=log), Recorder("asker")

    async def slow(worker: BaseWorker, message: BusJobRequestMessage) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.3)

    doer.add_event_handler("on_job_request", slow)
    async with open_runner(doer, asker), within(9):
        with pytest.raises(JobError) as caught:
            async with asker.job("doer"):
                await settle()
                await doer.stop()
        assert (trio.current_time(), caught.value.reason) == (0.3, "worker 'doer' stopped")
        assert not [entry for entry in log if entry[1] == "job cancelled"]


@pytest.mark.parametrize("status", [JobStatus.COMPLETED, JobStatus.FAILED])
async def test_a_handler_may_answer_what_it_has_when_its_worker_stops(status: JobStatus, autojump_clock: MockClock) -> None:
    """U23: an answer given in ``finally`` while the worker stops is the answer, and nothing goes wrong over it."""

    async def partial(hand: Hand, message: BusJobRequestMessage) -> None:
        try:
            await trio.sleep_forever()
        finally:
            hand.send_job_response_nowait(message.job_id, {"part": 1}, status=status)

    doer, asker = Hand("doer", partial), Recorder("asker")
    async with open_runner(doer, asker), within(9):
        await asker.request_job("doer", name="do")
        await settle()
        await doer.stop()
        await settle()
        assert [entry for entry in asker.log if entry[1] == "response"] == [("asker", "response", "doer", status, {"part": 1})]
        assert asker.job_groups == {}


async def test_an_answer_after_giving_up_is_only_the_acknowledgement(autojump_clock: MockClock) -> None:
    """J1, J3: what a handler answers after its asker has given up decides nothing and is shown to no hook."""

    async def partial(hand: Hand, message: BusJobRequestMessage) -> dict[str, Any]:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:  # noqa: ASYNC103 - that is the test
            return {"too": "late"}

    asker = Recorder("asker")
    doer = Hand("doer", partial)
    async with open_runner(doer, asker), within(9):
        with pytest.raises(JobError) as caught:
            async with asker.job("doer", name="do") as asked:
                await settle()
                await asker.cancel_job_group(asked.job_id, reason="enough")
        await settle()
        assert (caught.value.status, caught.value.response, asked.response) == (JobStatus.CANCELLED, None, {})
        assert [entry[1] for entry in asker.log if entry[1] in {"response", "completed", "error"}] == ["error"]
        assert asker.statistics().asking.strangers == 0


@pytest.mark.parametrize("how", ["stops", "fails", "is ended"])
async def test_an_asker_that_leaves_takes_its_jobs_along(how: str, autojump_clock: MockClock) -> None:
    """U44, R25: when a worker stops, fails or is ended past its deadline, what it asked for is cancelled, and it waits for that."""
    log: Log = []

    class Asker(BaseWorker):
        """Asks, and then has nothing to do."""

        async def run(self, params: Any, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            """Write down the end."""
            try:
                await super().run(params, task_status=task_status)
            finally:
                log.append((self.name, "over", trio.current_time()))

        async def on_activated(self, args: dict[str, Any] | None) -> None:
            """Ask, and fail if told to."""
            await self.request_job("doer", name="do")
            await trio.sleep(1)
            if how == "fails":
                raise KeyError

    doer, asker = Hand("doer", tidy(2, log)), Asker("asker")
    try:
        async with open_runner(doer, asker, shutdown_timeout=1) as runner, within(9):
            await trio.sleep(1)
            if how == "stops":
                await asker.stop()
            if how == "is ended":
                await runner.end_workers("asker")
            await trio.sleep_forever()
    except* (KeyError, trio.TooSlowError):
        pass
    assert log == [
        ("doer", "gone", 4 if how == "is ended" else 3),
        ("asker", "over", 4 if how == "is ended" else 3),
    ]


@pytest.mark.parametrize("how", ["stops", "fails"])
async def test_an_answerer_that_leaves_answers_at_once(how: str, autojump_clock: MockClock) -> None:
    """J7: a requester whose answerer stops or fails is answered at once, not at its timeout."""
    doer = Hand("doer", forever)

    @doer.event_handler("on_bus_message")
    async def fail(worker: BaseWorker, message: object) -> None:
        if isinstance(message, Alarm):
            raise KeyError

    errors: list[JobError] = []
    try:
        async with open_runner(doer) as runner, within(9), trio.open_nursery() as nursery:

            async def wait() -> None:
                errors.append(await failure(runner, "doer", timeout=60))

            nursery.start_soon(wait)
            await trio.sleep(1)
            if how == "fails":
                runner.bus.post(Alarm(source="a", target="doer"))
            else:
                await doer.stop()
    except* KeyError:
        assert how == "fails"
    assert [error.status for error in errors] == [JobStatus.CANCELLED]


async def test_an_answerer_that_leaves_before_its_job_begins_answers_at_once(autojump_clock: MockClock) -> None:
    """J7: a job whose answerer is cancelled before the handler's first step is answered at once; the handler never begins."""
    began: Log = []
    doer, asker = Hand("doer", tidy(0, began)), Recorder("asker")
    async with open_runner(doer, asker) as runner, within(9):
        await settle()
        await asker.request_job("doer", name="do", timeout=60)
        runner.bus.post(BusCancelWorkerMessage(source="a", target="doer"))
        await settle()
        assert (began, asker.job_groups, trio.current_time()) == ([], {}, 0)
        assert [entry[:4] for entry in asker.log if entry[1] == "error"] == [("asker", "error", "doer", "cancelled")]


async def test_nested_work_goes_with_its_job(autojump_clock: MockClock) -> None:
    """R25: what a handler has asked for, or spawned, ends before its own job does: nothing turns up under a later job."""
    log: Log = []

    async def outer(hand: Hand, message: BusJobRequestMessage) -> None:
        try:
            await ask(hand, "inner")
        finally:
            log.append(("outer", "unwound", trio.current_time()))

    async with open_runner(Hand("outer", outer), Hand("inner", tidy(2, log))) as runner, within(9):
        await failure(runner, "outer", timeout=1)
    assert log == [("inner", "gone", 3), ("outer", "unwound", 3)]


async def test_giving_up_from_inside_a_hook(autojump_clock: MockClock) -> None:
    """A job can be given up from inside ``on_job_update``; its block is left with a ``JobError`` at once."""

    async def tell(hand: Hand, message: BusJobRequestMessage) -> None:
        await hand.send_job_update(message.job_id, {})
        await trio.sleep_forever()

    asker = BaseWorker("asker")

    @asker.event_handler("on_job_update")
    async def give_up(worker: BaseWorker, message: Any) -> None:
        await worker.cancel_job_group(message.job_id, reason="heard enough")

    async with open_runner(asker, Hand("doer", tell)), within(1):
        assert (await failure(asker, "doer")).reason == "heard enough"


async def test_a_cancel_while_waiting_to_be_ready(autojump_clock: MockClock) -> None:
    """A request that is held until its worker is ready can be cancelled, and is answered, while it is held; the job never begins."""
    done: Log = []

    class Slow(Hand):
        """Takes its time to be ready."""

        async def start(self) -> None:
            """Take it."""
            await trio.sleep(2)
            await super().start()

    async def effect(hand: Hand, message: BusJobRequestMessage) -> None:
        done.append(message.job_id)

    doer = Slow("doer", effect)
    async with open_runner() as runner, within(9), trio.open_nursery() as nursery:
        nursery.start_soon(runner.add_workers, doer)
        await trio.sleep(1)
        with runner.bus.tap() as messages:
            for job_id in ("one", "two", "two"):
                runner.bus.post(BusJobRequestMessage(source="asker", target="doer", job_id=job_id, job_name="do"))
            assert doer.statistics().answering.held == 2
            runner.bus.post(BusJobCancelMessage(source="stranger", target="doer", job_id="one"))
            runner.bus.post(BusJobCancelMessage(source="asker", target="doer", job_id="one"))
            seen = [messages.receive_nowait() for _ in range(6)]
        assert isinstance(seen[5], BusJobResponseMessage)
        assert (seen[5].target, seen[5].job_id, seen[5].status, seen[5].reason) == ("asker", "one", "cancelled", "cancelled")
        assert (doer.statistics().answering.held, doer.statistics().answering.strangers) == (1, 2)
        await trio.sleep(2)
    assert done == ["two"]


@pytest.mark.parametrize("never", [True, False])
async def test_what_is_held_is_answered_if_readiness_never_comes(never: bool, autojump_clock: MockClock) -> None:
    """J7: a request that is held for a worker that never gets ready is answered CANCELLED; else it is done."""

    class Doubtful(Hand):
        """Gets ready or not."""

        async def start(self) -> None:
            """Decide."""
            self.bus.post(BusJobRequestMessage(source="asker", target=self.name, job_id="one", job_name="do"))
            if never:
                raise KeyError
            await super().start()

    async with open_runner() as runner, within(9):
        with runner.bus.tap() as messages:
            try:
                await runner.add_workers(Doubtful("doer", echo))
            except* KeyError:
                assert never
            await settle()
            answers = [message for message in drain(messages) if isinstance(message, BusJobResponseMessage)]
    assert [answer.status for answer in answers] == [JobStatus.CANCELLED if never else JobStatus.COMPLETED]


async def test_one_id_is_one_job(autojump_clock: MockClock) -> None:
    """U4: a second request with an id that is in work is dropped and counted if it is its asker's, answered ERROR if not."""
    doer = Hand("doer", nap(1))
    async with open_runner(doer) as runner, within(9):
        with runner.bus.tap() as messages:
            for source in ("asker", "asker", "somebody else"):
                runner.bus.post(BusJobRequestMessage(source=source, target="doer", job_id="one", job_name="do"))
            assert list(doer.active_jobs) == ["one"]
            await trio.sleep(2)
            seen = [messages.receive_nowait() for _ in range(5)]
        answers = [(message.target, message.status) for message in seen if isinstance(message, BusJobResponseMessage)]
    assert answers == [("somebody else", JobStatus.ERROR), ("asker", JobStatus.COMPLETED)]
    assert doer.statistics().answering.strangers == 2


async def test_cancelling_a_stream_nobody_iterates(autojump_clock: MockClock) -> None:
    """J7: a producer that waits for credit is cancelled like any other handler."""
    counter = Counter("counter")
    async with open_runner(counter) as runner, within(9):
        with pytest.raises(JobError, match="timeout"):
            async with runner.job("counter", name="count", payload={"to": 1000}, timeout=1):
                await trio.sleep_forever()
        assert (len(counter.sent), counter.active_jobs) == (64, {})


async def test_a_worker_cannot_be_asked_when_it_is_cancelling(autojump_clock: MockClock) -> None:
    """J7: a request that reaches a worker that is stopping, or has stopped, is answered."""
    doer = Hand("doer", tidy(2, []))
    answers: list[Any] = []
    async with open_runner(doer) as runner, within(9), trio.open_nursery() as nursery:
        job_id = await runner.request_job("doer", name="do")
        await settle()
        nursery.start_soon(doer.stop)
        await trio.sleep(1)
        with runner.bus.tap() as messages:
            runner.bus.post(BusJobRequestMessage(source="asker", target="doer", job_id="new", job_name="do"))
            answers += [messages.receive_nowait(), messages.receive_nowait()]
        assert job_id in doer.active_jobs
    assert isinstance(answers[1], BusJobResponseMessage)
    assert answers[1].status is JobStatus.CANCELLED
    assert answers[1].reason is not None
    assert answers[1].reason.startswith("worker 'doer' has stopped")
