"""Answering: early, late, by others, while being cancelled."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import trio
from job_support import Hand, Log, ask, failure, forever, nap
from support import Doer, Recorder, settle, within
from trio.testing import MockClock

from trioworkers import (
    DEFERRED,
    BaseWorker,
    BusJobRequestMessage,
    BusJobResponseMessage,
    BusJobStreamCreditMessage,
    BusJobStreamDataMessage,
    BusJobStreamEndMessage,
    BusJobStreamStartMessage,
    BusJobUpdateMessage,
    BusJobUpdateRequestMessage,
    BusMessage,
    JobError,
    JobStatus,
    NoSuchJobError,
    job,
    open_runner,
)


async def defer(hand: Hand, message: BusJobRequestMessage) -> object:
    """A script: answer later."""
    return DEFERRED


async def nothing(doer: Doer, message: BusJobRequestMessage) -> None:
    """A script for ``on_job_request``: return without an answer."""


def deferring(kind: str) -> BaseWorker:
    """Return a worker that defers, by what its handler returns or by its hook."""
    return Hand("doer", defer) if kind == "returned" else Doer("doer", nothing)


# -- later ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["returned", "hook"])
async def test_a_deferred_job_stays_open_until_answered(kind: str, autojump_clock: MockClock) -> None:
    """``return DEFERRED``, and ``on_job_request`` without an answer, keep a job open, visibly, until somebody answers it."""
    doer = deferring(kind)

    async def later(job_id: str) -> None:
        await trio.sleep(5)
        assert list(doer.active_jobs) == [job_id]
        answering = doer.statistics().answering
        assert (answering.active, answering.deferred) == (1, 1)
        await doer.send_job_update(job_id, {"soon": True})
        await doer.send_job_response(job_id, {"at": trio.current_time()})

    async with open_runner(doer) as runner, within(9), trio.open_nursery() as nursery:
        async with runner.job("doer", name="do" if kind == "returned" else None) as asked:
            nursery.start_soon(later, asked.job_id)
            assert [event.data async for event in asked] == [{"soon": True}]
        assert (asked.response, trio.current_time(), doer.active_jobs) == ({"at": 5}, 5, {})
        assert doer.statistics().answering.deferred == 0


@pytest.mark.parametrize("kind", ["returned", "hook"])
@pytest.mark.parametrize("how", ["given up", "stops"])
async def test_a_deferred_job_has_a_way_out(how: str, kind: str, autojump_clock: MockClock) -> None:
    """J7: a deferred job's scope is open: cancelling it, or stopping its worker, answers it."""
    doer, asker = deferring(kind), BaseWorker("asker")
    async with open_runner(doer, asker), within(9):
        with pytest.raises(JobError) as caught:
            async with asker.job("doer", name="do" if kind == "returned" else None) as asked:
                await settle()
                await (doer.stop() if how == "stops" else asker.cancel_job_group(asked.job_id, reason="enough"))
        assert caught.value.reason == ("worker 'doer' stopped" if how == "stops" else "enough")
        assert doer.active_jobs == {}


async def test_deferring_after_an_answer_is_nothing(autojump_clock: MockClock) -> None:
    """A handler that has answered and returns DEFERRED has answered; what it returns besides is not used."""

    async def both(hand: Hand, message: BusJobRequestMessage) -> object:
        await hand.send_job_response(message.job_id, {"explicit": True})
        return DEFERRED if "defer" in message.payload else {"returned": True}

    doer = Hand("doer", both)
    async with open_runner(doer) as runner, within(9):
        assert await ask(runner, "doer", payload={"defer": True}) == {"explicit": True}
        assert await ask(runner, "doer") == {"explicit": True}
        await settle()
        assert doer.statistics().answering.ended == {"completed": 2}
    assert repr(DEFERRED) == "DEFERRED"


# -- early ----------------------------------------------------------------------------------------------------------------


async def test_a_handler_that_answers_early_and_runs_on_has_left_the_job(autojump_clock: MockClock) -> None:
    """J2: who answers early and runs on is excepted: the block is left, later cancels are ignored, the worker waits for it."""
    log: Log = []

    async def early(doer: Doer, message: BusJobRequestMessage) -> None:
        await doer.send_job_response(message.job_id, {"early": True})
        await trio.sleep(5)
        log.append(("done", trio.current_time()))

    doer, asker = Doer("doer", early), BaseWorker("asker")
    async with open_runner(doer, asker), within(9):
        async with asker.job("doer") as asked:
            pass
        assert (asked.response, trio.current_time()) == ({"early": True}, 0)
        await asker.cancel_job_group(asked.job_id)
    assert log == [("done", 5)]


async def test_what_a_handler_raises_after_its_answer_fails_the_worker(autojump_clock: MockClock) -> None:
    """An exception after an early answer is no job's any more: it is the worker's own, and fails it; the answer stands."""

    async def early(doer: Doer, message: BusJobRequestMessage) -> None:
        await doer.send_job_response(message.job_id, {"early": True})
        await trio.sleep(1)
        raise KeyError("later")

    answers: list[Any] = []
    with pytest.raises(ExceptionGroup) as caught:
        async with open_runner(Doer("doer", early)) as runner, within(9):
            answers.append(await ask(runner, "doer", None))
            await trio.sleep_forever()
    assert answers == [{"early": True}]
    assert [type(error) for error in caught.value.exceptions] == [KeyError]


@pytest.mark.parametrize("status", list(JobStatus))
@pytest.mark.parametrize("urgent", [True, False])
async def test_an_explicit_answer_says_how_the_job_ended(status: JobStatus, urgent: bool, autojump_clock: MockClock) -> None:
    """An explicit answer has any status, urgent or not; all but COMPLETED end the block with a ``JobError`` that has the response."""

    async def answer(doer: Doer, message: BusJobRequestMessage) -> None:
        await doer.send_job_response(message.job_id, {"a": 1}, status=status, urgent=urgent)

    async with open_runner(Doer("doer", answer)) as runner, within(9):
        if status is JobStatus.COMPLETED:
            assert await ask(runner, "doer", None) == {"a": 1}
        else:
            error = await failure(runner, "doer", None)
            assert (error.status, error.response, error.reason) == (status, {"a": 1}, None)
            assert str(error).endswith("no reason given")


async def test_a_job_answered_before_its_first_step_never_begins(autojump_clock: MockClock) -> None:
    """J4: a job that somebody else answers before its handler's first step is over; its handler never begins."""
    log: Log = []

    async def begin(hand: Hand, message: BusJobRequestMessage) -> None:
        log.append("began")

    doer, asker = Hand("doer", begin), Recorder("asker")
    async with open_runner(doer, asker), within(9):
        await settle()
        job_id = await asker.request_job("doer", name="do")
        doer.send_job_response_nowait(job_id, {"by": "other"})
        await settle()
        assert (log, asker.log[-1]) == ([], ("asker", "completed", {"doer": {"by": "other"}}))
        await ask(asker, "doer")
    assert log == ["began"]


# -- not there ------------------------------------------------------------------------------------------------------------

VERBS: dict[str, Callable[[BaseWorker, str], Any]] = {
    "response": lambda worker, job_id: worker.send_job_response(job_id),
    "response_nowait": lambda worker, job_id: worker.send_job_response_nowait(job_id),
    "update": lambda worker, job_id: worker.send_job_update(job_id, {}),
    "urgent update": lambda worker, job_id: worker.send_job_update(job_id, {}, urgent=True),
    "update_nowait": lambda worker, job_id: worker.send_job_update_nowait(job_id, {}),
    "urgent update_nowait": lambda worker, job_id: worker.send_job_update_nowait(job_id, {}, urgent=True),
    "stream_start": lambda worker, job_id: worker.send_job_stream_start(job_id),
    "stream_start_nowait": lambda worker, job_id: worker.send_job_stream_start_nowait(job_id),
    "stream_data": lambda worker, job_id: worker.send_job_stream_data(job_id, {}),
    "stream_data_nowait": lambda worker, job_id: worker.send_job_stream_data_nowait(job_id, {}),
    "stream_end": lambda worker, job_id: worker.send_job_stream_end(job_id),
    "stream_end_nowait": lambda worker, job_id: worker.send_job_stream_end_nowait(job_id),
}


async def call(verb: str, worker: BaseWorker, job_id: str) -> None:
    """Call a verb that must not get as far as returning, if it is a sync one."""
    await VERBS[verb](worker, job_id)


@pytest.mark.parametrize("verb", VERBS)
async def test_answering_what_is_not_there_is_an_error(verb: str, autojump_clock: MockClock) -> None:
    """Every answering verb raises a ``RuntimeError`` for a job that was never there, or is answered, and sends nothing."""
    doer = Hand("doer", nap(0))
    async with open_runner(doer) as runner, within(9):
        async with runner.job("doer", name="do") as asked:
            pass
        posted = runner.bus.statistics().posted
        for job_id in ("nothing", asked.job_id):
            with pytest.raises(NoSuchJobError, match=f"no active job '{job_id}'") as caught:
                await call(verb, doer, job_id)
            assert isinstance(caught.value, RuntimeError)
        assert runner.bus.statistics().posted == posted


@pytest.mark.parametrize("verb", [verb for verb in VERBS if not verb.endswith("nowait")])
async def test_a_cancelled_verb_has_no_effect(verb: str, autojump_clock: MockClock) -> None:
    """An async verb in a cancelled scope raises ``Cancelled`` and has sent nothing."""
    doer = Hand("doer", forever)
    async with open_runner(doer) as runner, within(9):
        with pytest.raises(JobError):
            async with runner.job("doer", name="do") as asked:
                await settle()
                if verb in {"stream_data", "stream_end"}:
                    await doer.send_job_stream_start(asked.job_id)
                posted = runner.bus.statistics().posted
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await call(verb, doer, asked.job_id)
                assert scope.cancelled_caught
                assert (runner.bus.statistics().posted, list(doer.active_jobs)) == (posted, [asked.job_id])
                await doer.stop()


async def test_the_sync_twins_work_while_being_cancelled(autojump_clock: MockClock) -> None:
    """All answering verbs have sync twins that can be used in ``finally`` under cancellation."""
    log: Log = []

    async def last_words(hand: Hand, message: BusJobRequestMessage) -> None:
        try:
            await trio.sleep_forever()
        finally:
            hand.send_job_update_nowait(message.job_id, {"a": 1})
            hand.send_job_update_nowait(message.job_id, {"b": 2}, urgent=True)
            hand.send_job_stream_start_nowait(message.job_id, {"c": 3})
            hand.send_job_stream_data_nowait(message.job_id, {"d": 4})
            hand.send_job_stream_end_nowait(message.job_id, {"e": 5})

    doer, asker = Hand("doer", last_words), Recorder("asker")
    async with open_runner(doer, asker), within(9):
        await asker.request_job("doer", name="do")
        await settle()
        await doer.stop()
        await settle()
        log += [entry[1:] for entry in asker.log if entry[1] not in {"activated", "ready", "lost"}]
    assert log == [
        ("update", "doer", {"a": 1}),
        ("update", "doer", {"b": 2}),
        ("stream start", "doer", {"c": 3}),
        ("stream data", "doer", {"d": 4}),
        ("stream end", "doer", {"e": 5}),
        ("completed", {"doer": {"e": 5}}),
    ]


# -- strangers and doubles ------------------------------------------------------------------------------------------------

BY_STRANGERS: dict[str, Callable[[str, str], BusMessage]] = {
    "answer": lambda source, job_id: BusJobResponseMessage(source=source, target="asker", job_id=job_id, response={"x": 1}),
    "update": lambda source, job_id: BusJobUpdateMessage(source=source, target="asker", job_id=job_id, update={"x": 1}),
    "stream start": lambda source, job_id: BusJobStreamStartMessage(source=source, target="asker", job_id=job_id),
    "stream data": lambda source, job_id: BusJobStreamDataMessage(source=source, target="asker", job_id=job_id),
    "stream end": lambda source, job_id: BusJobStreamEndMessage(source=source, target="asker", job_id=job_id),
}


@pytest.mark.parametrize("what", BY_STRANGERS)
async def test_what_strangers_say_is_dropped_and_counted(what: str, autojump_clock: MockClock) -> None:
    """U16, J1: whatever is said about a request by somebody who was not asked, or about none, is dropped and counted."""
    asker = Recorder("asker")
    async with open_runner(asker, Hand("doer", nap(1))) as runner, within(9):
        async with asker.job("doer", name="do") as asked:
            runner.bus.post(BY_STRANGERS[what]("stranger", asked.job_id))
            runner.bus.post(BY_STRANGERS[what]("doer", "no such job"))
            assert [event async for event in asked] == []
        await settle()
        assert (asked.response, asker.statistics().asking.strangers) == ({"slept": 1}, 2)
        assert [entry[1] for entry in asker.log if entry[1] not in {"activated", "ready"}] == ["response", "completed"]


@pytest.mark.parametrize("what", BY_STRANGERS)
async def test_what_comes_after_the_answer_is_dropped_and_counted(what: str, autojump_clock: MockClock) -> None:
    """U4, U26: a second answer, or anything else after the first, reaches no hook and changes nothing: dropped and counted."""
    asker = Recorder("asker")
    async with open_runner(asker, Hand("doer", nap(1)), Hand("other", nap(2))) as runner, within(9):
        async with asker.job_group("doer", "other", name="do") as group:
            await trio.sleep(1.5)
            runner.bus.post(BY_STRANGERS[what]("doer", group.job_id))
        await settle()
        assert group.responses == {"doer": {"slept": 1}, "other": {"slept": 2}}
        assert asker.statistics().asking.strangers == 1
        assert [entry[1] for entry in asker.log if entry[1] not in {"activated", "ready"}] == ["response", "response", "completed"]


@pytest.mark.parametrize("source", ["stranger", "asker"])
async def test_what_strangers_ask_of_an_answerer_is_dropped_and_counted(source: str, autojump_clock: MockClock) -> None:
    """Asking for news, or granting credit, for a job that is not one's own, or is over, is dropped and counted."""
    log: Log = []
    doer = Hand("doer", nap(1))
    doer.add_event_handler("on_job_update_requested", lambda worker, message: log.append(message.source))
    async with open_runner(doer, BaseWorker("asker")) as runner, within(9):
        runner.bus.post(BusJobRequestMessage(source="asker", target="doer", job_id="one", job_name="do"))
        for job_id in ("one", "none"):
            runner.bus.post(BusJobUpdateRequestMessage(source=source, target="doer", job_id=job_id))
            runner.bus.post(BusJobStreamCreditMessage(source=source, target="doer", job_id=job_id))
        await settle()
        assert doer.statistics().answering.strangers == (4 if source == "stranger" else 2)
        assert log == ([] if source == "stranger" else ["asker"])


async def test_news_on_request(autojump_clock: MockClock) -> None:
    """``request_job_update`` runs ``on_job_update_requested`` where the job is, which may answer with an update."""

    async def forever_doing(hand: Hand, message: BusJobRequestMessage) -> None:
        await trio.sleep(2)

    doer, asker = Hand("doer", forever_doing), BaseWorker("asker")

    @doer.event_handler("on_job_update_requested")
    async def tell(worker: BaseWorker, message: BusJobUpdateRequestMessage) -> None:
        await worker.send_job_update(message.job_id, {"at": trio.current_time()})

    async with open_runner(doer, asker), within(9), asker.job("doer", name="do") as asked:
        await trio.sleep(1)
        await asker.request_job_update(asked.job_id, "doer")
        assert [event.data async for event in asked] == [{"at": 1}]


async def test_a_stream_answered_from_elsewhere_is_closed(autojump_clock: MockClock) -> None:
    """J3: when somebody else answers a job that streams, its generator is closed at its next chunk, and its worker is fine."""
    log: Log = []

    class Fountain(BaseWorker):
        """Streams until somebody says that it is enough."""

        @job(name="pour")
        async def pour(self, message: BusJobRequestMessage) -> AsyncIterator[dict[str, Any]]:
            """Yield drops."""
            try:
                while True:
                    yield {"drop": 1}
                    await trio.sleep(1)
            finally:
                log.append("closed")

    fountain = Fountain("fountain")
    async with open_runner(fountain) as runner, within(9):
        async with runner.job("fountain", name="pour") as pouring:
            await trio.sleep(2.5)
            await fountain.send_job_response(pouring.job_id, {"enough": True})
        await trio.sleep(1)
        assert (pouring.response, log, fountain.statistics().answering.active) == ({"enough": True}, ["closed"], 0)
        assert (await failure(runner, "fountain", name="leak")).status is JobStatus.FAILED  # it is there, and answers


async def test_a_stream_that_answers_a_job_that_is_not_there(autojump_clock: MockClock) -> None:
    """J1: a generator's own ``NoSuchJobError`` is its job's error, like any other exception."""

    class Muddler(BaseWorker):
        """Mixes up its jobs."""

        @job(name="pour")
        async def pour(self, message: BusJobRequestMessage) -> AsyncIterator[dict[str, Any]]:
            """Yield once, then answer somebody else's job."""
            yield {"drop": 1}
            self.send_job_update_nowait("another", {"drop": 2})

    async with open_runner(Muddler("muddler")) as runner, within(1):
        error = await failure(runner, "muddler", name="pour")
    assert error.status is JobStatus.ERROR
    assert error.reason is not None
    assert error.reason.startswith("NoSuchJobError: worker 'muddler' has no active job 'another'")
