"""``async with worker.job(...)``: a nursery of one."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import trio
from job_support import Counter, Hand, Log, ask, boom, echo, failure, forever, nap, tidy
from support import Recorder, ctrl_c, settle, within
from trio.testing import MockClock

from trioworkers import (
    BaseWorker,
    BusJobRequestMessage,
    BusJobStreamDataMessage,
    JobError,
    JobEvent,
    JobFailed,
    JobGroupError,
    JobStatus,
    Observer,
    WorkerReadyData,
    WorkerStateError,
    job,
    open_runner,
)

# -- how the body and the job hold each other -----------------------------------------------------------------------------


async def test_leaving_the_block_waits_for_the_job(autojump_clock: MockClock) -> None:
    """Like a nursery, a block whose body is done waits for its job."""
    async with open_runner(Hand("doer", nap(3))) as runner, within(4):
        async with runner.job("doer", name="do") as asked:
            assert asked.response == {}
        assert (trio.current_time(), asked.response) == (3, {"slept": 3})


async def test_a_job_that_is_done_does_not_hurry_the_body(autojump_clock: MockClock) -> None:
    """The body goes on when the job has completed, past the job's timeout too; the response is there at once."""
    async with open_runner(Hand("doer", nap(1))) as runner, within(20):
        async with runner.job("doer", name="do", timeout=5) as asked:
            await trio.sleep(2)
            assert asked.response == {"slept": 1}
            await trio.sleep(8)
        assert trio.current_time() == 10


@pytest.mark.parametrize("how", ["raises", "fails", "stops", "is given up", "times out"])
async def test_the_body_is_cancelled_when_the_job_fails(how: str, autojump_clock: MockClock) -> None:
    """A job that fails, in whatever way, cancels the body at once; the block raises one ``JobError`` that says it all."""

    async def bad(hand: Hand, message: BusJobRequestMessage) -> None:
        await trio.sleep(1)
        if how == "raises":
            raise ValueError("boom")
        if how == "fails":
            raise JobFailed("no", {"part": 1})
        await trio.sleep_forever()

    async def meddle(job_id: str) -> None:
        await trio.sleep(1)
        if how == "stops":
            await doer.stop()
        if how == "is given up":
            await asker.cancel_job_group(job_id)

    log: list[Any] = []
    doer, asker = Hand("doer", bad), BaseWorker("asker")
    async with open_runner(doer, asker), within(2), trio.open_nursery() as nursery:
        with pytest.raises(JobError) as caught:
            async with asker.job("doer", name="do", timeout=1 if how == "times out" else None) as asked:
                nursery.start_soon(meddle, asked.job_id)
                try:
                    await trio.sleep_forever()
                finally:
                    log.append(trio.current_time())
    assert log == [1]
    error = caught.value
    assert (error.worker_name, error.job_id) == ("doer", asked.job_id)
    assert (error.status, error.response, error.reason) == {
        "raises": (JobStatus.ERROR, None, "ValueError: boom"),
        "fails": (JobStatus.FAILED, {"part": 1}, "no"),
        "stops": (JobStatus.CANCELLED, None, "worker 'doer' stopped"),
        "is given up": (JobStatus.CANCELLED, None, "cancelled"),
        "times out": (JobStatus.CANCELLED, None, "timeout"),
    }[how]
    assert str(error) == f"job {asked.job_id!r} on worker 'doer' ended {error.status}: {error.reason}"


async def test_giving_up_without_a_reason_is_no_success(autojump_clock: MockClock) -> None:
    """U13: a cancel without a reason ends the block with a ``JobError``, never normally."""
    asker = BaseWorker("asker")
    async with open_runner(asker, Hand("doer", forever)), within(1):
        with pytest.raises(JobError) as caught:
            async with asker.job("doer", name="do") as asked:
                await asker.cancel_job_group(asked.job_id)
    assert (caught.value.status, caught.value.reason) == (JobStatus.CANCELLED, "cancelled")


async def test_an_answerer_that_stops_is_no_success(autojump_clock: MockClock) -> None:
    """U14: a worker that stops in the middle of a job ends the block with a ``JobError``, never normally."""
    doer = Hand("doer", forever)
    async with open_runner(doer) as runner, within(1):
        with pytest.raises(JobError) as caught:
            async with runner.job("doer", name="do"):
                await doer.stop()
    assert caught.value.status is JobStatus.CANCELLED


async def test_a_body_that_raises_cancels_the_job(autojump_clock: MockClock) -> None:
    """A block left with an error cancels its job, says why, and lets the body's own exception out as it is."""
    log: list[Any] = []
    doer = Hand("doer", tidy(0, log))

    @doer.event_handler("on_job_cancelled")
    def note(worker: BaseWorker, message: Any) -> None:
        log.append(message.reason)

    own = KeyError("mine")
    async with open_runner(doer) as runner, within(1):
        with pytest.raises(KeyError) as caught:
            async with runner.job("doer", name="do"):
                await settle()
                raise own
        await settle()
    assert caught.value is own
    assert not hasattr(own, "__notes__")
    assert log == [("doer", "gone", 0), "its block was left with KeyError"]


@pytest.mark.parametrize("where", ["in the body", "at the exit"])
async def test_an_outer_cancel_cancels_the_job_and_goes_on(where: str, autojump_clock: MockClock) -> None:
    """R4, R11: a cancellation from outside, in the body or while the exit waits, cancels the job and is never swallowed."""
    log: list[Any] = []
    async with open_runner(Hand("doer", tidy(0.5, log))) as runner, within(3):
        with trio.move_on_after(1) as scope:
            async with runner.job("doer", name="do"):
                if where == "in the body":
                    await trio.sleep_forever()
        assert scope.cancelled_caught
        assert (trio.current_time(), log) == (1.5, [("doer", "gone", 1.5)])


async def test_an_outer_cancel_while_waiting_for_readiness_sends_nothing(autojump_clock: MockClock) -> None:
    """A block cancelled before its worker is ready has asked nobody: nothing was sent, nothing stays."""
    asker = BaseWorker("asker")
    async with open_runner(asker) as runner, within(3):
        await settle()
        posted = runner.bus.statistics().posted
        with trio.move_on_after(1) as scope:
            await ask(asker, "nobody")
        assert scope.cancelled_caught
        assert (asker.job_groups, runner.statistics().waits) == ({}, {})
        assert runner.bus.statistics().posted == posted
        assert asker.statistics().asking.asked == 0


@pytest.mark.parametrize("way", ["success", "failure", "exception", "outer cancel", "timeout", "given up", "answerer stops"])
async def test_when_the_block_is_left_the_handler_is_gone(way: str, autojump_clock: MockClock) -> None:
    """J2, U22: however a block is left, no line of the handler runs afterwards, be its cleanup ever so slow."""
    log: list[Any] = []

    async def slow(hand: Hand, message: BusJobRequestMessage) -> None:
        try:
            await trio.sleep(1)
            if way == "failure":
                raise ValueError("boom")
            if way != "success":
                await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(7)
            log.append("the handler is gone")

    async def stop() -> None:
        await trio.sleep(2)
        if way == "answerer stops":
            await doer.stop()
        if way == "given up":
            await asker.cancel_job_group(ids[0], reason="enough")

    async def body() -> None:
        if way == "exception":
            await trio.sleep(2)
            raise KeyError

    ids: list[str] = []
    doer, asker = Hand("doer", slow), BaseWorker("asker")
    async with open_runner(doer, asker), within(20), trio.open_nursery() as nursery:
        nursery.start_soon(stop)
        timeout = 2 if way == "timeout" else None
        with trio.move_on_after(2 if way == "outer cancel" else 99):
            try:
                async with asker.job("doer", name="do", timeout=timeout) as asked:
                    ids.append(asked.job_id)
                    await body()
            except (KeyError, JobError) as error:
                log.append(type(error).__name__)
        log.append(("the block is left", trio.current_time()))
    failed = {
        "failure": "JobError",
        "exception": "KeyError",
        "timeout": "JobError",
        "given up": "JobError",
        "answerer stops": "JobError",
    }
    assert log == [
        "the handler is gone",
        *([failed[way]] if way in failed else []),
        ("the block is left", 8 if way in {"success", "failure"} else 9),
    ]


async def test_the_wait_for_the_handler_cannot_be_cancelled(autojump_clock: MockClock) -> None:
    """J2: further cancellations from outside do not cut the wait for a cancelled handler short."""
    log: list[Any] = []
    async with open_runner(Hand("doer", tidy(5, log))) as runner, within(9):
        with trio.move_on_after(3), trio.move_on_after(2), trio.move_on_after(1):
            await ask(runner, "doer")
        assert (log, trio.current_time()) == ([("doer", "gone", 6)], 6)


# -- cancel_grace ---------------------------------------------------------------------------------------------------------


def _left_behind(error: BaseException) -> bool:
    return "Left behind, still running after cancel_grace: the handler on 'doer'" in getattr(error, "__notes__", [])


async def test_grace_bounds_the_wait_and_the_rest_is_reported(autojump_clock: MockClock) -> None:
    """J2: with ``cancel_grace`` the wait for a cancelled handler is bounded; one left behind is noted on the error, and counted."""
    log: list[Any] = []
    doer, asker = Hand("doer", tidy(10, log)), BaseWorker("asker")
    async with open_runner(doer, asker), within(20):
        error = await failure(asker, "doer", timeout=1, cancel_grace=2)
        assert (trio.current_time(), log) == (3, [])
        assert (error.reason, _left_behind(error)) == ("timeout", True)
        asking = asker.statistics().asking
        assert (asking.left_behind, asking.open, asking.strangers) == (1, 0, 0)
        await trio.sleep(10)
        assert log == [("doer", "gone", 11)]
        assert asker.statistics().asking.strangers == 1


@pytest.mark.parametrize("grace", [2, 2.0, None, float("inf")])
async def test_a_handler_that_is_gone_in_time_is_not_reported(grace: float | None, autojump_clock: MockClock) -> None:
    """A handler that unwinds within its grace, or without a bound, leaves no report."""
    asker = BaseWorker("asker")
    async with open_runner(Hand("doer", tidy(1, [])), asker), within(20):
        error = await failure(asker, "doer", timeout=1, cancel_grace=grace)
        assert (trio.current_time(), _left_behind(error), asker.statistics().asking.left_behind) == (2, False, 0)


async def test_grace_of_zero_leaves_at_once(autojump_clock: MockClock) -> None:
    """With ``cancel_grace=0`` a block does not wait for its cancelled handler at all."""
    async with open_runner(Hand("doer", tidy(1, []))) as runner, within(20):
        error = await failure(runner, "doer", timeout=1, cancel_grace=0)
        assert (trio.current_time(), _left_behind(error)) == (1, True)


async def test_grace_reports_on_the_bodys_own_exception(autojump_clock: MockClock) -> None:
    """A handler left behind is noted on whatever leaves the block: here the body's own exception."""
    async with open_runner(Hand("doer", tidy(10, []))) as runner, within(20):
        with pytest.raises(KeyError) as caught:
            async with runner.job("doer", name="do", cancel_grace=2):
                await settle()
                raise KeyError
        assert (trio.current_time(), _left_behind(caught.value)) == (2, True)


async def test_grace_reports_on_the_outer_cancellation(autojump_clock: MockClock) -> None:
    """A handler left behind is noted on whatever leaves the block: here the cancellation from outside."""
    seen: list[bool] = []
    async with open_runner(Hand("doer", tidy(10, []))) as runner, within(20):
        with trio.move_on_after(1) as scope:
            try:
                async with runner.job("doer", name="do", cancel_grace=2):
                    await trio.sleep_forever()
            except trio.Cancelled as error:
                seen.append(_left_behind(error))
                raise
        assert scope.cancelled_caught
        assert (trio.current_time(), seen) == (3, [True])


# -- what comes out -------------------------------------------------------------------------------------------------------


async def test_the_bodys_exception_wins_and_the_jobs_error_is_its_note(autojump_clock: MockClock) -> None:
    """When the job fails and the body, cancelled by that, raises its own exception, that goes on with the ``JobError`` as a note."""
    async with open_runner(Hand("doer", boom)) as runner, within(1):
        with pytest.raises(KeyError) as caught:
            async with runner.job("doer", name="do") as asked:
                try:
                    await trio.sleep_forever()
                finally:
                    raise KeyError("mine")
    assert caught.value.__notes__ == [f"Meanwhile job {asked.job_id!r} on worker 'doer' ended error: ValueError: boom"]


async def test_what_is_left_of_the_bodys_group_goes_on(autojump_clock: MockClock) -> None:
    """When the body's nursery leaves our own ``Cancelled`` beside another exception, only that exception goes on, with the note."""

    async def stubborn() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise KeyError("mine")

    async with open_runner(Hand("doer", boom)) as runner, within(1):
        with pytest.raises(ExceptionGroup) as caught:
            async with runner.job("doer", name="do"), trio.open_nursery() as nursery:
                nursery.start_soon(stubborn)
                await trio.sleep_forever()
    assert [type(error) for error in caught.value.exceptions] == [KeyError]
    assert "ended error: ValueError: boom" in caught.value.__notes__[0]


async def test_a_body_that_swallows_our_cancel_does_not_hide_the_failure(autojump_clock: MockClock) -> None:
    """A body that catches the ``Cancelled`` we caused, and returns, still leaves a block whose job failed with its ``JobError``."""
    async with open_runner(Hand("doer", boom)) as runner, within(1):
        with pytest.raises(JobError, match="boom"):
            async with runner.job("doer", name="do"):
                with suppress(trio.Cancelled):
                    await trio.sleep_forever()


async def test_an_outer_cancel_wins_over_a_job_that_failed_before(autojump_clock: MockClock) -> None:
    """When the job has failed and the block is then cancelled from outside, the outer cancellation goes on; neither is lost."""
    notes: list[str] = []
    async with open_runner(Hand("doer", boom)) as runner, within(9):
        with trio.move_on_after(3) as scope:
            try:
                async with runner.job("doer", name="do"):
                    with trio.CancelScope(shield=True):
                        await trio.sleep(5)
                    await trio.lowlevel.checkpoint()
            except trio.Cancelled as error:
                notes += error.__notes__
                raise
        assert scope.cancelled_caught
    assert [note.split(" ended ")[1] for note in notes] == ["error: ValueError: boom"]


async def test_nested_blocks_end_from_the_inside_out(autojump_clock: MockClock) -> None:
    """When an outer job fails, the inner block's job is cancelled and gone before the outer block is left."""
    log: list[Any] = []
    async with open_runner(Hand("bad", nap_then_boom(1)), Hand("doer", tidy(2, log))) as runner, within(9):
        with pytest.raises(JobError) as caught:
            async with runner.job("bad", name="do"):
                await ask(runner, "doer")
        assert (caught.value.worker_name, log, trio.current_time()) == ("bad", [("doer", "gone", 3)], 3)


def nap_then_boom(seconds: float) -> Callable[[Hand, BusJobRequestMessage], Any]:
    """Return a script that raises after some seconds."""

    async def script(hand: Hand, message: BusJobRequestMessage) -> None:
        await trio.sleep(seconds)
        raise ValueError("boom")

    return script


async def test_what_a_handler_raises_while_it_is_given_up_is_a_note(autojump_clock: MockClock) -> None:
    """An exception in the cleanup of a handler that was given up is not lost: it is a note of the block's error."""

    async def clumsy(hand: Hand, message: BusJobRequestMessage) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("clumsy")

    async with open_runner(Hand("doer", clumsy), Hand("other", forever)) as runner, within(9):
        with pytest.raises(JobError) as alone:
            async with runner.job("doer", name="do") as asked:
                await settle()
                runner._requester.cancel_by_id(asked.job_id, "enough")
        error = alone.value
        assert (error.status, error.reason) == (JobStatus.CANCELLED, "enough")
        assert error.__notes__ == ["The handler on worker 'doer' raised while it was given up: ValueError: clumsy"]
        with pytest.raises(JobGroupError) as caught:
            async with runner.job_group("doer", "other", name="do") as group:
                await settle()
                runner._requester.cancel_by_id(group.job_id, "enough")
        assert caught.value.__notes__ == error.__notes__


@pytest.mark.parametrize("backwards", [False, True])
async def test_what_a_timeout_makes_a_handler_raise_is_still_a_timeout(
    backwards: bool, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """J1: both ends keep the deadline; whichever is first to notice, the job has timed out, and what its cleanup raised is a note."""

    async def clumsy(hand: Hand, message: BusJobRequestMessage) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("clumsy")

    async with open_runner(Hand("doer", clumsy)) as runner, within(9):
        monkeypatch.setattr("trio._core._run._r", Coin(backwards=backwards))
        error = await failure(runner, "doer", timeout=1)
    assert (error.status, error.reason) == (JobStatus.CANCELLED, "timeout")
    assert error.__notes__ == ["The handler on worker 'doer' raised while it was given up: ValueError: clumsy"]


async def test_a_body_may_leave_by_return_and_break(autojump_clock: MockClock) -> None:
    """Leaving a block by ``return`` or ``break`` is leaving it normally: the job is waited for."""

    async def returning() -> float:
        async with runner.job("doer", name="do"):
            return trio.current_time()

    async with open_runner(Hand("doer", nap(1))) as runner, within(9):
        assert (await returning(), trio.current_time()) == (0, 1)
        while True:
            async with runner.job("doer", name="do"):
                break
        assert trio.current_time() == 2


# -- rules of use ---------------------------------------------------------------------------------------------------------


async def test_a_block_asks_once(autojump_clock: MockClock) -> None:
    """A block that was entered, whether it is left or not, cannot be entered again; nothing more is sent."""
    async with open_runner(Hand("doer", echo)) as runner, within(1):
        block = runner.job("doer", name="do")
        async with block:
            with pytest.raises(WorkerStateError, match="asks once"):
                await block.__aenter__()
        with pytest.raises(RuntimeError, match="asks once"):
            await block.__aenter__()
        assert block.response == {"echo": {}}


async def test_before_it_is_entered_a_block_has_nothing_to_tell() -> None:
    """``job_id``, ``response``, ``responses``, ``statuses`` and iteration before entering a block are a ``RuntimeError``."""
    async with open_runner(Hand("doer", echo)) as runner:
        one, many = runner.job("doer", name="do"), runner.job_group("doer", name="do")
        reads: list[Callable[[], object]] = [
            lambda: one.job_id,
            lambda: one.response,
            one.__aiter__,
            lambda: many.job_id,
            lambda: many.responses,
            lambda: many.statuses,
            many.__aiter__,
        ]
        for read in reads:
            with pytest.raises(RuntimeError, match="enter the block first"):
                read()


async def test_a_block_never_entered_is_nothing() -> None:
    """Making a block sends nothing and leaves nothing."""
    asker = BaseWorker("asker")
    async with open_runner(asker):
        asker.job("nobody", timeout=0)
        assert (asker.job_groups, asker.statistics().asking.asked) == ({}, 0)


async def test_an_asker_that_stops_ends_its_blocks_elsewhere(autojump_clock: MockClock) -> None:
    """A block that a task outside holds in a worker's name fails when that worker stops, and waits for its handler."""
    log: Log = []
    asker = BaseWorker("asker")

    async def hold() -> None:
        error = await failure(asker, "doer")
        log.append((error.status, error.reason, trio.current_time()))

    async with open_runner(asker, Hand("doer", tidy(2, log))), within(9), trio.open_nursery() as nursery:
        nursery.start_soon(hold)
        await trio.sleep(1)
        await asker.stop()
        assert (trio.current_time(), str(asker)) == (3, "<BaseWorker 'asker' finished>")
    assert log == [("doer", "gone", 3), (JobStatus.CANCELLED, "worker 'asker' has stopped: stopped", 3)]


class Coin:
    """Decides for trio in which order tasks that are ready together run."""

    def __init__(self, *, backwards: bool) -> None:
        self.backwards = backwards

    def shuffle(self, batch: list[trio.lowlevel.Task]) -> None:
        """Turn the order of their creation round, or leave it."""
        if self.backwards:
            batch.reverse()


@pytest.mark.parametrize("backwards", [False, True])
async def test_a_block_left_normally_has_run_its_body(
    backwards: bool, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """J1: an answer in the very instant of the deadline is late, whichever task runs first: a cut body is never a success."""
    ends: list[float] = []

    async def answer_at_the_deadline() -> None:
        await trio.sleep(1)
        for job_id in doer.active_jobs:
            doer.send_job_response_nowait(job_id)

    async def later(worker: BaseWorker, message: BusJobRequestMessage) -> None:
        await trio.lowlevel.checkpoint()

    doer, asker = BaseWorker("doer"), Recorder("asker")
    doer.add_event_handler("on_job_request", later)
    async with open_runner(doer, asker), within(9), trio.open_nursery() as nursery:
        monkeypatch.setattr("trio._core._run._r", Coin(backwards=backwards))
        with pytest.raises(JobError) as caught:
            async with asker.job("doer", timeout=1):
                nursery.start_soon(answer_at_the_deadline)
                try:
                    await trio.sleep(2)
                finally:
                    ends.append(trio.current_time())
    assert (ends, caught.value.reason) == ([1], "timeout")


async def test_a_hook_may_wait_for_a_job_that_reads_a_long_stream(autojump_clock: MockClock) -> None:
    """J7: a stream is read in a job that a hook of the same worker waits for, by way of another: its hooks hold nobody up."""
    log: Log = []

    class Asker(BaseWorker):
        async def on_job_stream_data(self, message: BusJobStreamDataMessage) -> None:
            log.append("hook")

        async def on_worker_ready(self, data: WorkerReadyData) -> None:
            if data.worker_name == "between":
                log.append(await ask(self, "between"))

        @job(name="read")
        async def read(self, message: BusJobRequestMessage) -> dict[str, Any]:
            async with self.job("counter", name="count", payload={"to": 200}) as counting:
                return {"read": len([event async for event in counting if event.type == JobEvent.STREAM_DATA])}

    async def pass_on(hand: Hand, message: BusJobRequestMessage) -> dict[str, Any]:
        async with hand.job("asker", name="read") as reading:
            pass
        return reading.response

    async with open_runner(Asker("asker"), Counter("counter")) as runner, within(10):
        await runner.add_workers(Hand("between", pass_on))
        await settle()
    assert log == [{"read": 200}, *["hook"] * 200]


# -- an interrupt --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [None, 1], ids=["its body raised", "it timed out"])
def test_an_interrupt_comes_out_of_a_block_when_its_job_is_over(timeout: float | None) -> None:
    """J6: like a nursery, a block in the main task that waits for its job when Ctrl-C comes waits on, and is left with that."""
    log: Log = []

    async def press() -> None:
        await trio.sleep(2)
        signal.raise_signal(signal.SIGINT)

    async def main() -> None:
        trio.lowlevel.spawn_system_task(press)
        async with open_runner(Hand("doer", tidy(5, log)), handle_sigint=False) as runner:
            with pytest.raises(KeyboardInterrupt):
                async with runner.job("doer", name="do", timeout=timeout):
                    await trio.sleep(1)
                    raise ValueError("boom")
            log.append(trio.current_time())

    with ctrl_c():
        trio.run(main, clock=MockClock(autojump_threshold=0))
    assert log == [("doer", "gone", 6), 6]


def test_an_interrupt_does_not_leave_a_request_half_asked() -> None:
    """J1: Ctrl-C that comes while a request is being sent comes out of its block, with nothing left that one would wait for."""

    class Presser(Observer):
        def job_asked(self, name: str, job_id: str, worker_names: tuple[str, ...]) -> None:
            """Press Ctrl-C."""
            signal.raise_signal(signal.SIGINT)

    async def main() -> None:
        async with open_runner(Hand("doer", forever), handle_sigint=False, observers=[Presser()]) as runner:
            with pytest.raises(KeyboardInterrupt):
                await ask(runner, "doer")

    with ctrl_c():
        trio.run(main, clock=MockClock(autojump_threshold=0))
