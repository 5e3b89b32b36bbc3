"""Hooks around jobs: awaiting jobs inside them, their failures, which of them tell of an end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from job_support import Counter, Hand, Log, ask, boom, echo, failure, forever, idle, nap
from support import Alarm, Doer, Recorder, settle, within
from trio.testing import MockClock

from trioworkers import (
    BaseWorker,
    BusJobRequestMessage,
    JobError,
    JobFailed,
    JobGroupError,
    JobStatus,
    WorkerRunner,
    handles,
    open_runner,
    worker_ready,
)
from trioworkers._hooks import WorkerHooks

HOOKS = [name for name in vars(WorkerHooks) if name.startswith("on_")]


async def tour(runner: WorkerRunner, asker: BaseWorker) -> None:
    """Make everything happen to a worker that it has a hook for."""
    child, other = BaseWorker("child"), BaseWorker("other")
    await asker.add_workers(child)
    await runner.add_workers(other)
    await other.stop()
    await child.send_bus_error_message("a small one")
    await asker.request_job("teller", timeout=9)
    await asker.request_job("counter", name="count", payload={"to": 1})
    await asker.request_job("bad", name="do")
    job_id = await runner.request_job("asker")
    await settle()
    runner._requester.request_update(job_id, "asker")
    await settle()
    runner._requester.cancel_by_id(job_id, "enough")
    runner.bus.post(Alarm(source="teller", target="asker"))
    await settle()
    await asker.deactivate_worker("asker")
    await settle()


async def tell(doer: Doer, message: BusJobRequestMessage) -> None:
    """A script: an update, then the answer."""
    await doer.send_job_update(message.job_id, {"n": 1})
    await doer.send_job_response(message.job_id)


class Marked(BaseWorker):
    """Asks inside its marked methods."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.log: Log = []

    @handles(Alarm)
    async def alarm(self, message: Alarm) -> None:
        """Ask."""
        self.log.append(await ask(self, "echo", payload={"in": "alarm"}))

    @worker_ready(name="other")
    async def other_is_ready(self, data: Any) -> None:
        """Ask."""
        self.log.append(await ask(self, "echo", payload={"in": "ready"}))


def supporters() -> list[BaseWorker]:
    """Return those whom the tour needs, and one who answers."""
    return [Doer("teller", tell), Counter("counter"), Hand("bad", boom), Hand("echo", echo)]


def asking(hook: str, log: Log, *, registered: bool) -> BaseWorker:
    """Return a worker that asks for a job, once, inside a hook: its own method, or a handler registered for it."""

    async def ask_once(worker: BaseWorker, *args: object) -> None:
        if not log:
            log.append("begins")
            log.append(await ask(worker, "echo", payload={"in": hook}, timeout=5))

    if registered:
        worker = BaseWorker("asker")
        worker.add_event_handler(hook, ask_once)
    else:
        worker = type("Asker", (BaseWorker,), {hook: ask_once})("asker")
    if hook not in {"on_job_request", "on_bus_message"}:
        worker.add_event_handler("on_job_request", lambda worker, message: None)
    return worker


@pytest.mark.parametrize("registered", [False, True])
@pytest.mark.parametrize("hook", HOOKS)
async def test_a_job_can_be_awaited_inside_every_hook(hook: str, registered: bool, autojump_clock: MockClock) -> None:
    """U7: inside every hook, and every handler registered for one, a job can be awaited: its answer does not queue behind the hook."""
    log: Log = []
    asker = asking(hook, log, registered=registered)
    if hook == "on_bus_message":
        asker.add_event_handler("on_job_request", lambda worker, message: None)
    async with open_runner(*supporters(), asker) as runner, within(4):
        await tour(runner, asker)
        assert trio.current_time() == 0
    assert log == ["begins", {"echo": {"in": hook}}]


async def test_a_job_can_be_awaited_inside_marked_methods(autojump_clock: MockClock) -> None:
    """U7: inside methods marked with ``@handles`` and ``@worker_ready`` a job can be awaited as well."""
    asker = Marked("asker")
    asker.add_event_handler("on_job_request", lambda worker, message: None)
    async with open_runner(*supporters(), asker) as runner, within(4):
        await tour(runner, asker)
    assert sorted(asker.log, key=str) == [{"echo": {"in": "alarm"}}, {"echo": {"in": "ready"}}]


async def test_every_hook_has_its_event(autojump_clock: MockClock) -> None:
    """Each hook is an event of the same name; a handler, sync or async, runs right after the hook, in the same place."""
    log: Log = []
    asker = Recorder("asker", log=log)
    asker.add_event_handler("on_job_update", lambda worker, message: log.append("after the hook"))
    async with open_runner(asker, Doer("teller", tell)), within(4):
        await settle()
        log.clear()
        await asker.request_job("teller")
        await settle()
        assert log == [
            ("asker", "update", "teller", {"n": 1}),
            "after the hook",
            ("asker", "response", "teller", "completed", None),
            ("asker", "completed", {"teller": {}}),
        ]


async def test_a_job_inside_on_activated_holds_up_nothing(autojump_clock: MockClock) -> None:
    """U7, R24: a coordinator may live in ``on_activated``; the first activation waits for nobody, and messages go on."""
    log: Log = []

    async def coordinate(worker: BaseWorker, args: Any) -> None:
        await worker.activate_worker("helper")
        log.append(await ask(worker, "helper"))

    coordinator, helper = Hand("coordinator", echo), Hand("helper", nap(3))
    coordinator.add_event_handler("on_activated", coordinate)
    async with open_runner(helper, coordinator) as runner, within(9):
        await trio.sleep(1)
        assert await ask(runner, "coordinator") == {"echo": {}}
        assert trio.current_time() == 1
        await trio.sleep(3)
    assert log == [{"slept": 3}]


# -- hooks that raise -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hook", ["on_job_response", "on_job_completed", "on_job_cancelled", "on_job_error"])
async def test_a_hook_that_raises_cannot_lose_an_answer(hook: str, autojump_clock: MockClock) -> None:
    """J1, U6: what must happen at an answer has happened before any hook runs: one that raises fails its worker, not the asker."""
    outcomes: Log = []

    async def fail(worker: BaseWorker, *args: object) -> None:
        raise KeyError(hook)

    bad = hook == "on_job_error"
    asker, doer = BaseWorker("asker"), Hand("doer", boom if bad else forever if hook == "on_job_cancelled" else echo)
    (doer if hook == "on_job_cancelled" else asker).add_event_handler(hook, fail)
    with pytest.raises(ExceptionGroup) as caught:
        async with open_runner(asker, doer), within(60):
            with trio.CancelScope(shield=True):  # from the end of the runner, which comes at the same time
                try:
                    outcomes.append(await ask(asker, "doer", timeout=1))
                except JobError as error:
                    outcomes.append((error.reason, trio.current_time()))
            assert idle(doer)
            assert idle(asker)
            await trio.sleep_forever()
    assert outcomes == {
        "on_job_error": [("ValueError: boom", 0)],
        "on_job_cancelled": [("timeout", 1)],
    }.get(hook, [{"echo": {}}])
    assert [error.args for error in caught.value.exceptions if isinstance(error, KeyError)] == [(hook,)]


async def test_an_update_hook_that_raises_ends_the_wait(autojump_clock: MockClock) -> None:
    """J7, U6: a hook that raises in the middle of a job fails the asker; its job is cancelled and nobody waits for ever."""
    errors: list[JobError] = []
    asker = BaseWorker("asker")

    async def tell_and_stay(hand: Hand, message: BusJobRequestMessage) -> None:
        await hand.send_job_update(message.job_id, {})
        await trio.sleep_forever()

    @asker.event_handler("on_job_update")
    async def fail(worker: BaseWorker, message: Any) -> None:
        raise KeyError

    doer = Hand("doer", tell_and_stay)
    with pytest.raises(ExceptionGroup):
        async with open_runner(asker, doer), within(60):
            errors.append(await failure(asker, "doer"))
            assert idle(doer)
            await trio.sleep_forever()
    assert [error.status for error in errors] == [JobStatus.CANCELLED]


# -- which hook tells of the end ------------------------------------------------------------------------------------------


async def early(hand: Hand, message: BusJobRequestMessage) -> None:
    """A script: answer, and run on."""
    await hand.send_job_response(message.job_id)
    await trio.sleep(3)


async def refuse(hand: Hand, message: BusJobRequestMessage) -> None:
    """A script: refuse the job."""
    raise JobFailed("no")


ENDS: dict[str, tuple[Callable[[Hand, BusJobRequestMessage], Awaitable[Any]], str, str | None]] = {
    "returns": (echo, "completed", None),
    "answers early": (early, "completed", None),
    "raises": (boom, "error", "ValueError: boom"),
    "fails": (refuse, "error", "no"),
    "times out": (forever, "error", "timeout"),
    "is given up": (forever, "error", "enough"),
    "is given up without a reason": (forever, "error", "cancelled"),
    "answerer stops": (forever, "error", "worker 'doer' stopped"),
    "answerer ends": (forever, "error", "worker 'doer' stopped"),
    "block raises": (forever, "error", "its block was left with KeyError"),
}


@pytest.mark.parametrize("how", ENDS)
async def test_exactly_one_hook_tells_of_the_end(how: str, autojump_clock: MockClock) -> None:
    """J1: each request fires ``on_job_completed`` or ``on_job_error``, once, whoever ended it, with the answer or one made up."""
    script, hook, reason = ENDS[how]
    asker, doer = Recorder("asker"), Hand("doer", script)
    async with open_runner(asker, doer, shutdown_timeout=1) as runner, within(20):
        job_id = await asker.request_job("doer", name="do", timeout=2 if how == "times out" else None)
        await settle()
        if how.startswith("is given up"):
            await asker.cancel_job_group(job_id, reason=None if "without" in how else "enough")
        if how == "answerer stops":
            await doer.stop()
        if how == "answerer ends":
            await runner.end_workers("doer")
        if how == "block raises":
            await asker.cancel_job_group(job_id)
            await settle()
            asker.log.clear()
            with pytest.raises(KeyError):
                async with asker.job("doer", name="do"):
                    raise KeyError
        await trio.sleep(5)
        ends = [entry for entry in asker.log if entry[1] in {"completed", "error"}]
        assert [entry[1] for entry in ends] == [hook]
        assert ends[0][-1] == (reason if hook == "error" else {"doer": {"echo": {}} if how == "returns" else {}})
        assert asker.job_groups == {}


async def test_with_all_answers_wanted_failures_complete(autojump_clock: MockClock) -> None:
    """With ``cancel_on_error=False`` failed answers are responses like others, and the request completes."""
    asker = Recorder("asker")
    async with open_runner(asker, Hand("good", echo), Hand("bad", boom)), within(20):
        await asker.request_job_group("good", "bad", name="do", cancel_on_error=False)
        await settle()
        told = [entry[1:] for entry in asker.log if entry[1] in {"response", "completed", "error"}]
        assert sorted(told[:2], key=str) == [("response", "bad", "error", None), ("response", "good", "completed", {"echo": {}})]
        assert told[2:] == [("completed", {"good": {"echo": {}}})]


async def test_a_given_up_group_with_all_answers_wanted_tells_an_error(autojump_clock: MockClock) -> None:
    """Giving a group up ends it early, whatever ``cancel_on_error``: its answers so far are kept in the error."""
    asker = Recorder("asker")
    async with open_runner(asker, Hand("good", echo), Hand("slow", forever)), within(20):
        with pytest.raises(JobGroupError) as caught:
            async with asker.job_group("good", "slow", name="do", cancel_on_error=False, timeout=1):
                pass
        await settle()
        assert (caught.value.responses, list(caught.value.errors)) == ({"good": {"echo": {}}}, ["slow"])
        assert [entry[1:] for entry in asker.log if entry[1] in {"completed", "error"}] == [("error", "slow", "cancelled", "timeout")]


async def test_a_streams_end_is_no_response(autojump_clock: MockClock) -> None:
    """A stream's end fires ``on_job_stream_end``, not ``on_job_response``; the request completes with its data."""
    asker = Recorder("asker")
    async with open_runner(asker, Counter("counter")), within(20):
        await asker.request_job("counter", name="count", payload={"to": 1})
        await settle()
        assert [entry[1:] for entry in asker.log if entry[1] not in {"activated", "ready"}] == [
            ("stream start", "counter", None),
            ("stream data", "counter", {"n": 0}),
            ("stream end", "counter", None),
            ("completed", {"counter": {}}),
        ]


async def test_hooks_nobody_overrides_cost_nothing(autojump_clock: MockClock) -> None:
    """A worker without hooks queues nothing for its jobs, on either side."""
    asker, counter = BaseWorker("asker"), Counter("counter")
    async with open_runner(asker, counter), within(20):
        async with asker.job("counter", name="count", payload={"to": 10}) as asked:
            assert len([event async for event in asked]) == 12
        for worker in (asker, counter):
            mailbox = worker.statistics().mailbox
            assert (mailbox.handled, mailbox.peak) == (0, 0)


# -- inactive -------------------------------------------------------------------------------------------------------------


async def test_inactivity_is_no_filter(autojump_clock: MockClock) -> None:
    """U5, R23: inactive workers get jobs, answers and cancels like others: it is a state for the user's logic, which may ask."""
    log: Log = []

    async def look(hand: Hand, message: BusJobRequestMessage) -> dict[str, Any]:
        try:
            await trio.sleep(message.payload["for"])
        finally:
            log.append((hand.active, trio.current_time()))
        return {"active": hand.active}

    doer, asker = Hand("doer", look), Recorder("asker")
    async with open_runner(doer, asker), within(20):
        async with asker.job("doer", name="do", payload={"for": 2}) as asked:
            await asker.deactivate_worker("asker")
            await asker.deactivate_worker("doer")
        assert (asked.response, asker.active) == ({"active": False}, False)
        assert (await failure(asker, "doer", payload={"for": 9}, timeout=1)).reason == "timeout"
        await settle()
        assert log == [(False, 2), (False, 3)]
        assert [entry[1] for entry in asker.log if entry[1] in {"response", "completed", "error"}] == [
            "response",
            "completed",
            "error",
        ]


async def test_an_update_request_is_shown_to_the_answerer(autojump_clock: MockClock) -> None:
    """J3: ``on_job_update_requested`` runs at the answerer while its job is open, and tells who asks."""
    doer = Recorder("doer")
    doer.add_event_handler("on_job_request", lambda worker, message: None)
    async with open_runner(doer, BaseWorker("asker")) as runner:
        asker = runner.get_worker("asker")
        assert asker is not None
        async with asker.job("doer") as asked:
            await asker.request_job_update(asked.job_id, "doer")
            await settle()
            await doer.send_job_response(asked.job_id)
    assert ("doer", "update requested", "asker") in doer.log
