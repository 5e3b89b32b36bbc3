"""Time: one deadline over readiness and work, kept on both sides."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest
import trio
from job_support import Hand, Log, ask, echo, failure, forever, nap, tidy
from support import Doer, Recorder, settle, within
from trio.testing import MockClock

from trioworkers import (
    BaseWorker,
    BusJobRequestMessage,
    BusJobResponseMessage,
    JobError,
    JobGroupError,
    JobStatus,
    open_runner,
)


async def test_one_deadline_over_readiness_and_work(autojump_clock: MockClock) -> None:
    """U21: with a timeout of 1.0 and a worker that is ready at 0.9, the job fails at 1.0."""
    left: list[float | None] = []

    async def look(hand: Hand, message: BusJobRequestMessage) -> None:
        left.append(message.timeout)
        await trio.sleep_forever()

    async with open_runner() as runner, within(5), trio.open_nursery() as nursery:

        async def add_late() -> None:
            await trio.sleep(0.9)
            await runner.add_workers(Hand("doer", look))

        nursery.start_soon(add_late)
        error = await failure(runner, "doer", timeout=1.0)
        assert (trio.current_time(), error.reason) == (1.0, "timeout")
    assert left == [pytest.approx(0.1)]


async def test_a_worker_that_is_not_ready_in_time(autojump_clock: MockClock) -> None:
    """U27: when the deadline comes before readiness, ``job()`` raises a ``JobError``, whatever way it is asked."""
    asker = BaseWorker("asker")
    async with open_runner(asker), within(5):
        error = await failure(asker, "nobody", timeout=1)
        assert (error.worker_name, error.status, error.reason) == ("nobody", JobStatus.CANCELLED, "not ready within timeout")
        with pytest.raises(JobError, match="not ready within timeout"):
            await asker.request_job("nobody", timeout=1)
        assert trio.current_time() == 2


@pytest.mark.parametrize("timeout", [0, 0.0])
async def test_a_timeout_of_zero(timeout: float, autojump_clock: MockClock) -> None:
    """U27: a timeout of zero fails at once, with the error of its kind, and the handler never begins."""
    done: Log = []

    async def effect(hand: Hand, message: BusJobRequestMessage) -> None:
        done.append(message)

    asker = BaseWorker("asker")
    async with open_runner(asker, Hand("doer", effect)), within(5):
        error = await failure(asker, "doer", timeout=timeout)
        assert (type(error), error.status) == (JobError, JobStatus.CANCELLED)
        with pytest.raises(JobGroupError):
            await asker.job_group("doer", name="do", timeout=timeout).__aenter__()
        with pytest.raises(JobError):
            await asker.request_job("doer", name="do", timeout=timeout)
        await settle()
        assert (done, trio.current_time(), asker.job_groups) == ([], 0, {})
        await ask(asker, "doer", timeout=0.001)
    assert len(done) == 1


@pytest.mark.parametrize("timeout", [None, float("inf")])
async def test_no_limit(timeout: float | None, autojump_clock: MockClock) -> None:
    """No timeout, or an infinite one, is no limit, and the answerer is told of none."""
    seen: list[float | None] = []

    async def slow(hand: Hand, message: BusJobRequestMessage) -> None:
        seen.append(message.timeout)
        await trio.sleep(80_000)

    async with open_runner(Hand("doer", slow)) as runner:
        assert await ask(runner, "doer", timeout=timeout) == {}
    assert seen == [None]


async def test_an_answer_in_time_is_not_touched_by_the_deadline(autojump_clock: MockClock) -> None:
    """A job answered before its deadline is COMPLETED; nothing is sent when the deadline passes."""
    asker = Recorder("asker")
    async with open_runner(asker, Hand("doer", nap(1))) as runner, within(9):
        await asker.request_job("doer", name="do", timeout=2)
        await trio.sleep(1.5)
        posted, log = runner.bus.statistics().posted, list(asker.log)
        await trio.sleep(2)
        assert (runner.bus.statistics().posted, asker.log) == (posted, log)
        assert asker.log[-1] == ("asker", "completed", {"doer": {"slept": 1}})


async def test_a_request_without_a_block_times_out_by_its_hook(autojump_clock: MockClock) -> None:
    """The timeout of a request without a block ends its job, and fires ``on_job_error`` with the reason, once."""
    asker, log = Recorder("asker"), Log()
    async with open_runner(asker, Hand("doer", tidy(2, log))), within(9):
        await asker.request_job("doer", name="do", timeout=1)
        await trio.sleep(5)
        assert [entry for entry in asker.log if entry[1] in {"error", "completed", "response"}] == [
            ("asker", "error", "doer", "cancelled", "timeout")
        ]
        assert log == [("doer", "gone", 3)]


async def test_the_answerer_keeps_the_deadline_by_itself(autojump_clock: MockClock) -> None:
    """The deadline is carried to the answerer's scope: it holds even if the asker's cancel never comes."""
    log: Log = []
    doer = Hand("doer", tidy(0, log))
    doer.add_event_handler("on_job_cancelled", lambda worker, message: log.append((message.source, message.reason)))
    async with open_runner(doer) as runner, within(9):
        with runner.bus.tap() as messages:
            request = BusJobRequestMessage(source="far away", target="doer", job_id="one", job_name="do", timeout=2)
            runner.bus.post(request)
            await trio.sleep(3)
            assert messages.receive_nowait() is request
            answer = messages.receive_nowait()
        assert isinstance(answer, BusJobResponseMessage)
        assert (answer.status, answer.reason) == (JobStatus.CANCELLED, "timeout")
        assert log == [("doer", "gone", 2), ("far away", "timeout")]


@pytest.mark.parametrize("block", [True, False])
async def test_both_ends_keep_the_deadline_and_one_outcome_comes_of_it(block: bool, autojump_clock: MockClock) -> None:
    """J1: whichever end is first to notice the deadline, the outcome is one: CANCELLED, ``timeout``, told once on either side."""
    doer, asker = Recorder("doer"), Recorder("asker")

    async def wait(worker: BaseWorker, message: BusJobRequestMessage) -> None:
        await trio.sleep_forever()

    doer.add_event_handler("on_job_request", wait)
    async with open_runner(doer, asker), within(9):
        if block:
            assert (await failure(asker, "doer", None, timeout=1)).reason == "timeout"
        else:
            await asker.request_job("doer", timeout=1)
            await trio.sleep(2)
        await settle()
        assert [entry for entry in asker.log if entry[1] == "error"] == [("asker", "error", "doer", "cancelled", "timeout")]
        assert [entry for entry in doer.log if entry[1] == "job cancelled"] == [("doer", "job cancelled", "timeout")]


async def test_an_answer_at_the_very_deadline_is_one_outcome(autojump_clock: MockClock) -> None:
    """J1: a handler that would return in the instant of its deadline has timed out, the same for hooks and block."""
    asker = Recorder("asker")
    async with open_runner(asker, Hand("doer", nap(1))), within(20):
        for _ in range(10):
            asker.log.clear()
            assert (await failure(asker, "doer", timeout=1)).reason == "timeout"
            await settle()
            assert [entry[1] for entry in asker.log if entry[1] in {"completed", "error"}] == ["error"]


# -- the surroundings -----------------------------------------------------------------------------------------------------


async def test_the_ambient_deadline_is_told(autojump_clock: MockClock) -> None:
    """``message.deadline`` tells when the block's surroundings will give up, by trio's clock; ``inf`` if never."""
    told: list[float] = []

    async def look(hand: Hand, message: BusJobRequestMessage) -> None:
        told.append(message.deadline)

    async with open_runner(Hand("doer", look)) as runner:
        await ask(runner, "doer")
        with trio.move_on_after(7), trio.move_on_after(5):
            await ask(runner, "doer")
        with trio.move_on_after(5), trio.move_on_after(7):
            await ask(runner, "doer")
            await runner.request_job("doer", name="do")
            await settle()
    assert told == [float("inf"), 5, 5, 5]


async def test_the_requests_own_timeout_is_no_ambient_deadline(autojump_clock: MockClock) -> None:
    """``message.deadline`` is about the surroundings only: a request with a timeout and no deadline around it says ``inf``."""
    told: list[tuple[float | None, float]] = []

    async def look(hand: Hand, message: BusJobRequestMessage) -> None:
        told.append((message.timeout, message.deadline))

    async with open_runner(Hand("doer", look)) as runner:
        await ask(runner, "doer", timeout=5)
    assert told == [(5, float("inf"))]


async def test_the_ambient_deadline_is_no_scope_of_the_job(autojump_clock: MockClock) -> None:
    """The ambient deadline is information: whoever extends it as it goes keeps the job, which has no scope of that deadline."""
    async with open_runner(Hand("doer", nap(3))) as runner, within(9):
        with trio.move_on_after(1) as scope:
            async with runner.job("doer", name="do") as asked:
                await trio.sleep(0.9)
                scope.deadline += 10
        assert (asked.response, trio.current_time()) == ({"slept": 3}, 3)


async def test_the_ambient_deadline_cancels_on_leaving_the_block(autojump_clock: MockClock) -> None:
    """R11: the asker's own scope enforces its deadline: the job is cancelled as the block is left, and the deadline fires."""
    log: Log = []
    async with open_runner(Hand("doer", tidy(0, log))) as runner, within(9):
        with pytest.raises(trio.TooSlowError):
            with trio.fail_after(1):
                async with runner.job_group("doer", name="do", timeout=5):
                    pass
        assert log == [("doer", "gone", 1)]


async def test_very_deep_surroundings_are_no_obstacle(autojump_clock: MockClock) -> None:
    """Where trio itself cannot tell the ambient deadline, below thousands of scopes, a job is asked for all the same."""
    told: list[float] = []

    async def look(hand: Hand, message: BusJobRequestMessage) -> None:
        told.append(message.deadline)

    async with open_runner(Hand("doer", look)) as runner:
        with ExitStack() as stack:
            for _ in range(2000):
                stack.enter_context(trio.CancelScope())
            await runner.request_job("doer", name="do")
        await settle()
    assert told == [float("inf")]


async def test_where_trio_cannot_tell_it_never_comes(monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock) -> None:
    """Where trio gives up at the depth of the surroundings, the ambient deadline is told as one that never comes."""

    def too_deep() -> float:
        raise RecursionError

    told: list[float] = []

    async def look(hand: Hand, message: BusJobRequestMessage) -> None:
        told.append(message.deadline)

    monkeypatch.setattr(trio, "current_effective_deadline", too_deep)
    async with open_runner(Hand("doer", look)) as runner:
        await runner.request_job("doer", name="do")
        await settle()
    assert told == [float("inf")]


# -- other waits count too ------------------------------------------------------------------------------------------------


async def test_an_early_answer_lifts_the_deadline(autojump_clock: MockClock) -> None:
    """A handler that has answered and runs on has left its job: its deadline does not touch it any more."""
    log: Log = []

    async def early(doer: Doer, message: BusJobRequestMessage) -> None:
        await doer.send_job_response(message.job_id, {"early": True})
        await trio.sleep(10)
        log.append(trio.current_time())

    async with open_runner(Doer("doer", early)) as runner, within(20):
        assert await ask(runner, "doer", None, timeout=1) == {"early": True}
        await trio.sleep(11)
    assert log == [10]


async def nothing(doer: Doer, message: BusJobRequestMessage) -> None:
    """A script: return without an answer."""


async def test_a_deferred_job_keeps_its_deadline(autojump_clock: MockClock) -> None:
    """A job whose handler has returned without an answer still times out."""
    doer = Doer("doer", nothing)
    async with open_runner(doer) as runner, within(20):
        assert (await failure(runner, "doer", None, timeout=1)).reason == "timeout"
        assert (trio.current_time(), doer.active_jobs) == (1, {})


async def test_a_job_that_times_out_leaves_the_worker_alone(autojump_clock: MockClock) -> None:
    """A timeout ends its job only: other jobs of the same worker go on."""

    async def either(hand: Hand, message: BusJobRequestMessage) -> Any:
        return await (forever if "slow" in message.payload else echo)(hand, message)

    async with open_runner(Hand("doer", either)) as runner, within(20):
        await failure(runner, "doer", timeout=1, payload={"slow": 1})
        assert await ask(runner, "doer", timeout=1) == {"echo": {}}
