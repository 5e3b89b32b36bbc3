"""One job: what a handler may do, what its asker gets, what is left."""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable
from contextvars import ContextVar, copy_context
from itertools import pairwise
from typing import Any

import pytest
import trio
from job_support import Counter, Hand, ask, boom, echo, failure, forever, nap
from support import Doer, Recorder, settle, within
from trio.testing import MockClock

from trioworkers import (
    BaseWorker,
    BusJobRequestMessage,
    JobError,
    JobFailed,
    JobGroup,
    JobStatus,
    LocalBus,
    WorkerRegistryEntry,
    WorkerStateError,
    job,
    open_runner,
)
from trioworkers.jobs.events import Events
from trioworkers.jobs.responder import Job

Script = Callable[[Hand, BusJobRequestMessage], Awaitable[Any]]

# -- what a handler's end means -------------------------------------------------------------------------------------------


async def test_a_returned_dict_is_the_response(autojump_clock: MockClock) -> None:
    """J1, U1: what a handler returns is the COMPLETED response."""
    async with open_runner(Hand("doer", echo)) as runner, within(1):
        assert await ask(runner, "doer", payload={"a": 1}) == {"echo": {"a": 1}}


async def test_a_handler_that_returns_nothing_completes_its_job(autojump_clock: MockClock) -> None:
    """U1: a handler that returns silently has answered: COMPLETED, and the response is empty."""

    async def nothing(hand: Hand, message: BusJobRequestMessage) -> None:
        await trio.lowlevel.checkpoint()

    asker = Recorder("asker")
    async with open_runner(asker, Hand("doer", nothing)), within(1):
        assert await ask(asker, "doer") == {}
        await settle()
    assert ("asker", "response", "doer", "completed", None) in asker.log


@pytest.mark.parametrize("value", [5, "text", [1], True, False, 0, ("a",)])
async def test_anything_else_returned_is_an_error(value: object, autojump_clock: MockClock) -> None:
    """A handler that returns neither a dict nor ``None`` nor DEFERRED ends its job as ERROR, which says what it returned."""

    async def odd(hand: Hand, message: BusJobRequestMessage) -> object:
        return value

    async with open_runner(Hand("doer", odd)) as runner, within(1):
        error = await failure(runner, "doer")
    assert error.status is JobStatus.ERROR
    assert error.reason == f"TypeError: the handler returned {value!r}: a job is answered by a dict, None or DEFERRED"


async def test_an_exception_is_an_error_with_type_message_and_traceback(autojump_clock: MockClock) -> None:
    """R1: a handler that raises ends its job at once as ERROR; the worker lives on and does the next."""
    log: list[str] = []

    async def once(hand: Hand, message: BusJobRequestMessage) -> dict[str, Any]:
        log.append(message.job_id)
        if len(log) == 1:
            raise ValueError("boom")
        return {}

    doer = Hand("doer", once)
    async with open_runner(doer) as runner, within(1):
        error = await failure(runner, "doer")
        assert await ask(runner, "doer") == {}
    assert (error.worker_name, error.job_id, error.status, error.response) == ("doer", log[0], JobStatus.ERROR, None)
    assert error.reason == "ValueError: boom"
    assert error.traceback is not None
    assert "in once" in error.traceback
    assert error.__notes__ == [f"The handler on worker 'doer' raised:\n{error.traceback}"]
    assert doer.statistics().answering.ended == {"error": 1, "completed": 1}


async def test_job_failed_is_a_verdict_with_a_reason_and_a_response(autojump_clock: MockClock) -> None:
    """``JobFailed`` ends the job as FAILED, with its reason and its response."""

    async def refuse(hand: Hand, message: BusJobRequestMessage) -> None:
        raise JobFailed("too big", {"limit": 3})

    async with open_runner(Hand("doer", refuse)) as runner, within(1):
        error = await failure(runner, "doer")
    assert (error.status, error.reason, error.response, error.traceback) == (JobStatus.FAILED, "too big", {"limit": 3}, None)


@pytest.mark.parametrize("depth", [1, 3])
async def test_job_failed_is_a_verdict_inside_nurseries_too(depth: int, autojump_clock: MockClock) -> None:
    """``JobFailed`` that comes out of the handler's nurseries, in groups, still is FAILED."""

    async def deep(left: int) -> None:
        if not left:
            raise JobFailed("not in here")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(deep, left - 1)
            await trio.sleep_forever()

    async def refuse(hand: Hand, message: BusJobRequestMessage) -> None:
        await deep(depth)

    async with open_runner(Hand("doer", refuse)) as runner, within(1):
        error = await failure(runner, "doer")
    assert (error.status, error.reason) == (JobStatus.FAILED, "not in here")


async def test_several_exceptions_of_one_handler_are_one_error(autojump_clock: MockClock) -> None:
    """When several tasks of a handler raise, even a ``JobFailed`` among them, the job ends as ERROR that names the group."""

    async def fail(error: Exception) -> None:
        raise error

    async def twice(hand: Hand, message: BusJobRequestMessage) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail, ValueError("one"))
            nursery.start_soon(fail, JobFailed("two"))

    async with open_runner(Hand("doer", twice)) as runner, within(1):
        error = await failure(runner, "doer")
    assert error.status is JobStatus.ERROR
    assert error.reason is not None
    assert error.reason.startswith("ExceptionGroup: ")
    assert error.traceback is not None
    assert "ValueError: one" in error.traceback
    assert "JobFailed" in error.traceback


class Unspeakable(Exception):  # noqa: N818 - an exception whose name says what it is
    """An exception whose message cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


async def test_an_exception_that_cannot_be_shown_costs_no_answer(autojump_clock: MockClock) -> None:
    """J1: an exception whose ``__str__`` raises ends its job as ERROR that names at least its type."""

    async def speechless(hand: Hand, message: BusJobRequestMessage) -> None:
        raise Unspeakable

    async with open_runner(Hand("doer", speechless)) as runner, within(1):
        error = await failure(runner, "doer")
    assert (error.status, error.reason) == (JobStatus.ERROR, "Unspeakable: (its message cannot be shown)")


async def test_a_huge_exception_is_cut(autojump_clock: MockClock) -> None:
    """An exception with a huge message ends its job as ERROR with a reason and a traceback of bounded length."""

    async def chatter(hand: Hand, message: BusJobRequestMessage) -> None:
        raise ValueError("blah" * 1_000_000)

    async with open_runner(Hand("doer", chatter)) as runner, within(1):
        error = await failure(runner, "doer")
    assert error.reason is not None
    assert error.traceback is not None
    assert error.reason.startswith("ValueError: blahblah")
    assert len(error.reason) <= 1_000
    assert len(error.traceback) <= 10_000


@pytest.mark.parametrize("alone", [True, False])
async def test_a_stray_cancelled_is_an_error_of_its_job(alone: bool, autojump_clock: MockClock) -> None:
    """A ``Cancelled`` that no enclosing scope has caused ends its job as ERROR, and never the worker."""

    async def stray(hand: Hand, message: BusJobRequestMessage) -> None:
        kept: BaseException = ValueError("replaced at once")
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as error:
                kept = error
                raise
        raise kept if alone else BaseExceptionGroup("both", [kept, ValueError("boom")])

    doer = Hand("doer", stray)
    async with open_runner(doer) as runner, within(1):
        error = await failure(runner, "doer")
        assert error.status is JobStatus.ERROR
        assert error.reason == ("Cancelled was raised, but nothing was cancelled" if alone else "ValueError: boom")
        assert runner.get_worker("doer") is doer


class Interrupt(BaseException):
    """Neither an error nor a cancellation."""


async def test_what_is_no_exception_fails_the_worker_and_answers_the_job(autojump_clock: MockClock) -> None:
    """An interrupt raised in a handler is not its job's: it fails the worker, and the asker is answered CANCELLED."""

    async def interrupt(hand: Hand, message: BusJobRequestMessage) -> None:
        raise Interrupt

    errors: list[JobError] = []
    with pytest.raises(BaseExceptionGroup) as caught:
        async with open_runner(Hand("doer", interrupt)) as runner, within(1):
            errors.append(await failure(runner, "doer"))
            await trio.sleep_forever()
    assert [type(error) for error in caught.value.exceptions if not isinstance(error, trio.Cancelled)] == [Interrupt]
    assert [error.status for error in errors] == [JobStatus.CANCELLED]


# -- nobody does it -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["typo", None])
async def test_a_job_that_nobody_handles_fails_at_once(name: str | None, autojump_clock: MockClock) -> None:
    """U1: an unknown job name, or none on a worker without ``on_job_request``, is FAILED at once and leaves nothing behind."""
    doer = Hand("doer", echo)
    async with open_runner(doer) as runner, within(1):
        error = await failure(runner, "doer", name)
        assert trio.current_time() == 0
        assert error.status is JobStatus.FAILED
        assert error.reason == f"no handler for job {name!r} on worker 'doer'"
        assert doer.active_jobs == {}
        with pytest.raises(JobError):
            await ask(runner, "doer", name)


@pytest.mark.parametrize("name", [None, "anything"])
async def test_jobs_without_a_handler_go_to_on_job_request(name: str | None, autojump_clock: MockClock) -> None:
    """A job for which there is no ``@job`` handler is given to ``on_job_request``, in a task of its own."""

    async def answer(doer: Doer, message: BusJobRequestMessage) -> None:
        await doer.send_job_response(message.job_id, {"name": message.job_name, "task": trio.lowlevel.current_task().name})

    async with open_runner(Doer("doer", answer)) as runner, within(1), runner.job("doer", name=name) as asked:
        pass
    assert asked.response == {"name": name, "task": f"job:{name or 'on_job_request'}#{asked.job_id}@doer"}


async def test_an_event_handler_for_on_job_request_handles_jobs(autojump_clock: MockClock) -> None:
    """A handler registered for ``on_job_request`` counts as one: the job is not FAILED for want of a handler."""
    doer = BaseWorker("doer")

    @doer.event_handler("on_job_request")
    async def answer(worker: BaseWorker, message: BusJobRequestMessage) -> None:
        await worker.send_job_response(message.job_id, {"by": "handler"})

    async with open_runner(doer) as runner, within(1):
        assert await ask(runner, "doer", None) == {"by": "handler"}


async def test_a_name_that_is_never_there_is_a_visible_wait_with_a_way_out(autojump_clock: MockClock) -> None:
    """U2, J7: a job for a name that never comes waits, visibly in ``statistics()``; the timeout, or the runner's end, wakes it."""
    async with open_runner() as runner, within(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(failure, runner, "nobody")
            timed_out = await failure(runner, "nobody", timeout=2)
            assert (trio.current_time(), timed_out.reason) == (2, "not ready within timeout")
            assert timed_out.status is JobStatus.CANCELLED
            assert runner.statistics().waits == {"nobody": 1}
            runner.end_nowait("enough")
        assert runner.statistics().waits == {}


async def test_the_end_of_the_runner_names_who_will_not_be_ready(autojump_clock: MockClock) -> None:
    """J7: a readiness wait that the runner's end breaks off says who will not come."""
    errors: list[JobError] = []

    async def wait() -> None:
        errors.append(await failure(runner, "nobody"))

    async with open_runner() as runner, within(1), trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await settle()
        runner.end_nowait("enough")
    assert errors[0].reason is not None
    assert errors[0].reason.startswith("'nobody' will not be ready any more: ")


async def test_an_asker_that_stops_wakes_who_waits_for_readiness_in_its_name(autojump_clock: MockClock) -> None:
    """J7: who waits, in a worker's name, for another to be ready is not left waiting when the asking worker has finished."""
    asker = BaseWorker("asker")
    errors: list[WorkerStateError] = []

    async def wait() -> None:
        with pytest.raises(WorkerStateError) as caught:
            await ask(asker, "nobody", timeout=60)
        errors.append(caught.value)

    async with open_runner(asker), within(30), trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await settle()
        await asker.stop()
    assert ["cannot ask" in str(error) for error in errors] == [True]


async def test_a_name_known_elsewhere_but_gone_is_answered(autojump_clock: MockClock) -> None:
    """J7: a request that reaches nobody comes back as an ERROR, and is counted as a dead letter."""
    async with open_runner() as runner, within(1):
        runner.registry.register(WorkerRegistryEntry("ghost"), runner="elsewhere")
        error = await failure(runner, "ghost")
        assert (error.status, error.reason) == (JobStatus.ERROR, "no worker 'ghost' here: it is not there yet, or has finished")
        assert runner.bus.statistics().dead_letters == 1


# -- what both ends know --------------------------------------------------------------------------------------------------


async def test_active_jobs_are_those_accepted_and_unanswered(autojump_clock: MockClock) -> None:
    """J4: a job is in ``active_jobs`` from the moment it is asked for to the moment it is answered, with its request."""
    doer, asker = Hand("doer", nap(1)), BaseWorker("asker")
    async with open_runner(doer, asker), within(5):
        assert (doer.active_jobs, asker.job_groups) == ({}, {})
        first = await asker.request_job("doer", name="do", payload={"n": 1})
        second = await asker.request_job("doer", name="do")
        assert list(doer.active_jobs) == list(asker.job_groups) == [first, second]
        assert doer.active_jobs[first].payload == {"n": 1}
        assert doer.statistics().answering.active == 2
        doer.send_job_response_nowait(first)
        assert list(doer.active_jobs) == list(asker.job_groups) == [second]
        await trio.sleep(1)
        await settle()
        assert (doer.active_jobs, asker.job_groups) == ({}, {})


async def test_the_views_are_copies(autojump_clock: MockClock) -> None:
    """Changing ``active_jobs`` or ``job_groups`` changes nothing but one's own copy."""
    doer, asker = Hand("doer", nap(1)), BaseWorker("asker")
    async with open_runner(doer, asker), within(5):
        await asker.request_job("doer", name="do")
        doer.active_jobs.clear()
        asker.job_groups.clear()
        assert (len(doer.active_jobs), len(asker.job_groups)) == (1, 1)


async def test_the_handler_sees_the_requesters_context(autojump_clock: MockClock) -> None:
    """U60: a handler sees the context variables that its requester had when it asked; nothing leaks back, nor to the next job."""
    who: ContextVar[str] = ContextVar("who", default="nobody")

    async def look(hand: Hand, message: BusJobRequestMessage) -> dict[str, Any]:
        seen = who.get()
        who.set("the handler")
        await trio.lowlevel.checkpoint()
        return {"seen": seen}

    async def asks(name: str) -> None:
        who.set(name)
        answers[name] = await ask(runner, "doer")
        assert who.get() == name

    answers: dict[str, Any] = {}
    async with open_runner(Hand("doer", look)) as runner, within(1):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(asks, "one")
            nursery.start_soon(asks, "two")
        assert await ask(runner, "doer") == {"seen": "nobody"}
    assert answers == {"one": {"seen": "one"}, "two": {"seen": "two"}}


async def test_the_context_is_kept_for_a_request_that_comes_too_early(autojump_clock: MockClock) -> None:
    """U60: a request that comes before its worker is ready is held with its sender's context."""
    who: ContextVar[str] = ContextVar("who", default="nobody")
    seen: list[str] = []

    async def look(hand: Hand, message: BusJobRequestMessage) -> None:
        seen.append(who.get())

    doer, bus = Hand("doer", look), LocalBus()
    async with open_runner(bus=bus) as runner, within(1):

        @bus_hook(doer)
        def ask_early() -> None:
            context = copy_context()
            context.run(who.set, "early")
            context.run(bus.post, BusJobRequestMessage(source=runner.name, target="doer", job_id="j", job_name="do"))
            assert doer.statistics().answering.held == 1

        await runner.add_workers(doer)
        await settle()
    assert seen == ["early"]


def bus_hook(worker: BaseWorker) -> Callable[[Callable[[], None]], None]:
    """Return a decorator for what is to happen when the worker has its name but is not ready: a child of it does it."""

    class Child(BaseWorker):
        """Is started before its parent is ready."""

        async def start(self) -> None:
            """Do it."""
            happen[0]()
            await super().start()

    happen: list[Callable[[], None]] = []
    worker._family().adopt([Child("child")._family()])
    return happen.append


async def test_a_payload_is_handed_over_as_it_is(autojump_clock: MockClock) -> None:
    """U59: on a local bus payload and response are the objects themselves, for all who see them: who shares them, shares them."""
    answer: dict[str, Any] = {"answer": []}

    async def change(hand: Hand, message: BusJobRequestMessage) -> dict[str, Any]:
        assert message.payload is payload
        payload["seen by"].append(hand.name)
        return answer

    payload: dict[str, Any] = {"seen by": []}
    async with (
        open_runner(Hand("one", change), Hand("two", change)) as runner,
        within(1),
        runner.job_group("one", "two", name="do", payload=payload) as group,
    ):
        pass
    assert sorted(payload["seen by"]) == ["one", "two"]
    assert group.responses["one"] is group.responses["two"] is answer


async def test_a_tap_sees_the_messages_of_a_job(autojump_clock: MockClock) -> None:
    """A tap sees the request object that the handler sees, and the answer."""
    seen: list[BusJobRequestMessage] = []

    async def keep(hand: Hand, message: BusJobRequestMessage) -> dict[str, Any]:
        seen.append(message)
        return {"a": 1}

    async with open_runner(Hand("doer", keep)) as runner, within(1):
        with runner.bus.tap() as messages:
            await ask(runner, "doer")
            request = messages.receive_nowait()
            answer = messages.receive_nowait()
        assert request is seen[0]
        assert (answer.source, answer.target, type(answer).__name__) == ("doer", runner.name, "BusJobResponseMessage")
        with pytest.raises(trio.EndOfChannel):
            messages.receive_nowait()


async def test_job_ids_come_from_the_buss_source(autojump_clock: MockClock) -> None:
    """Ids come from an injectable source, one for each request; a group's members share one."""
    ids = iter(["first", "second", "third"])
    async with open_runner(Hand("doer", echo), Hand("other", echo), bus=LocalBus(new_id=lambda: next(ids))) as runner, within(1):
        async with runner.job("doer", name="do") as one:
            pass
        async with runner.job_group("doer", "other", name="do") as two:
            pass
        assert (one.job_id, two.job_id, await runner.request_job("doer", name="do")) == ("first", "second", "third")


# -- who may ask ----------------------------------------------------------------------------------------------------------


async def test_a_worker_may_ask_itself(autojump_clock: MockClock) -> None:
    """A worker may be both asker and answerer, even of one job."""
    worker = Hand("worker", echo)
    async with open_runner(worker), within(1):
        assert await ask(worker, "worker", payload={"a": 1}) == {"echo": {"a": 1}}


async def test_a_handler_may_ask(autojump_clock: MockClock) -> None:
    """A handler may ask for jobs itself, also its own worker; each request carries the chain of jobs it is made in."""
    chains: list[tuple[str, ...]] = []

    async def countdown(hand: Hand, message: BusJobRequestMessage) -> dict[str, Any]:
        chains.append((*message.chain, f"{message.job_id}@{hand.name}"))
        left = (message.payload or {})["left"]
        if left:
            await ask(hand, "b" if hand.name == "a" else "a", payload={"left": left - 1})
        return {}

    async with open_runner(Hand("a", countdown), Hand("b", countdown)) as runner, within(1):
        await ask(runner, "a", payload={"left": 3})
    assert [len(chain) for chain in chains] == [1, 2, 3, 4]
    assert all(longer[:-1] == shorter for shorter, longer in pairwise(chains))


async def test_plain_trio_code_asks_through_the_runner(autojump_clock: MockClock) -> None:
    """``runner.job``, ``runner.job_group`` and ``runner.request_job`` let plain trio code ask."""
    done: list[Any] = []

    async def note(hand: Hand, message: BusJobRequestMessage) -> dict[str, Any]:
        done.append((hand.name, message.source, message.payload))
        return {"by": hand.name}

    async with open_runner(Hand("one", note), Hand("two", note), name="house") as runner, within(1):
        assert await ask(runner, "one", payload={"n": 1}) == {"by": "one"}
        async with runner.job_group("one", "two", name="do") as group:
            pass
        assert group.responses == {"one": {"by": "one"}, "two": {"by": "two"}}
        assert isinstance(await runner.request_job("two", name="do"), str)
        await settle()
    assert done[0] == ("one", "house", {"n": 1})
    assert sorted(done[1:3]) == [("one", "house", {}), ("two", "house", {})]
    assert done[3:] == [("two", "house", {})]


async def test_asking_when_it_can_lead_nowhere_is_an_error_at_the_call(autojump_clock: MockClock) -> None:
    """Asking on a worker that is on no bus, or has finished, is a ``RuntimeError`` at the call."""
    asker = BaseWorker("asker")
    with pytest.raises(RuntimeError, match="not attached"):
        asker.job("doer")
    async with open_runner(asker, Hand("doer", echo)) as runner, within(1):
        await asker.stop()
        with pytest.raises(RuntimeError, match="cannot ask for jobs any more: worker 'asker' has stopped: stopped"):
            asker.job("doer", name="do")
        with pytest.raises(WorkerStateError, match="cannot ask"):
            asker.job_group("doer", name="do")
        with pytest.raises(WorkerStateError, match="cannot ask"):
            await asker.request_job("doer", name="do")
    with pytest.raises(WorkerStateError, match="cannot ask"):
        runner.job("doer", name="do")


async def test_a_request_without_a_block_needs_a_running_asker(autojump_clock: MockClock) -> None:
    """A worker that does not run yet has no task that could keep a request's deadline: a block, or a hook, is the way."""
    done: list[str] = []

    class Early(BaseWorker):
        """Asks before its own start, and from there again."""

        async def start(self) -> None:
            """Ask."""
            done.append(await self.request_job("doer", name="do"))
            await super().start()

    asker = Early("asker")
    async with open_runner(Hand("doer", echo)) as runner, within(1):
        await asker.attach(registry=runner.registry, bus=runner.bus)
        with pytest.raises(WorkerStateError, match="does not run yet: ask from a hook, or hold the job in a block"):
            await asker.request_job("doer", name="do")
        assert await ask(asker, "doer") == {"echo": {}}
        await asker.stop()
        await runner.add_workers(other := Early("other"))
        assert runner.get_worker("other") is other
    assert len(done) == 1


async def test_waiting_for_oneself_to_be_ready_is_an_error(autojump_clock: MockClock) -> None:
    """J7: a worker not yet ready that asks one which can only be ready later (itself, an ancestor) is told so at once."""

    class Circular(BaseWorker):
        """Asks somebody before it is ready."""

        def __init__(self, name: str, whom: str) -> None:
            super().__init__(name)
            self.whom = whom

        async def start(self) -> None:
            """Ask."""
            await self.request_job(self.whom)

    parent = BaseWorker("parent")
    await parent.add_workers(Circular("child", "parent"))
    async with open_runner() as runner, within(1):
        for worker, whom in ((Circular("self", "self"), "self"), (parent, "parent")):
            with pytest.raises(ExceptionGroup, match="could not start") as caught:
                await runner.add_workers(worker)
            assert f"waits for '{whom}', which can only be ready later" in str(caught.value.exceptions[0])


# -- what is left, what it costs ------------------------------------------------------------------------------------------


def _alive(*classes: type) -> int:
    gc.collect()
    return sum(isinstance(thing, classes) for thing in gc.get_objects())


async def test_nothing_of_a_job_is_kept_after_its_end(autojump_clock: MockClock) -> None:
    """U50, R2: after its end no table, registry or watch list holds anything of a job, however it was asked for."""
    counter, doer, failing, asker = Counter("counter"), Hand("doer", echo), Hand("failing", boom), BaseWorker("asker")
    before = _alive(JobGroup, Job, Events)
    async with open_runner(counter, doer, failing, asker) as runner, within(100):
        for _ in range(100):
            await ask(asker, "doer")
            await ask(asker, "counter", "count", payload={"to": 3})
            await failure(asker, "failing")
            await failure(asker, "nobody", timeout=0.001)
            await asker.request_job("doer", name="do", timeout=9)
        await settle()
        assert _alive(JobGroup, Job, Events) == before
        assert runner.statistics().waits == {}
        assert runner.registry._watches == {}
        tasks = [task.name for nursery in _tasks_of("asker") for task in nursery.child_tasks]
        assert tasks == []


def _tasks_of(worker: str) -> list[trio.Nursery]:
    root = trio.lowlevel.current_root_task()
    assert root is not None
    waiting, found = [root], []
    while waiting:
        task = waiting.pop()
        found += task.child_nurseries if task.name == f"worker:{worker}" else []
        waiting += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return found


async def test_a_request_without_an_answer_or_a_timeout_is_somebodys(autojump_clock: MockClock) -> None:
    """U25: requests that are never answered belong to their asker: when it stops they are cancelled, and nothing of them stays."""
    doer, asker = Hand("doer", forever), BaseWorker("asker")
    async with open_runner(doer, asker), within(1):
        for _ in range(1000):
            await asker.request_job("doer", name="do")
        assert (len(doer.active_jobs), len(asker.job_groups)) == (1000, 1000)
        await asker.stop()
        assert (doer.active_jobs, asker.job_groups) == ({}, {})
        assert doer.statistics().answering.ended == {"cancelled": 1000}


async def test_a_job_costs_the_same_among_a_thousand(autojump_clock: MockClock) -> None:
    """U51, B3: the messages of a job are delivered once each, to the one they are for, however many workers there are."""
    bystanders = [BaseWorker(f"bystander-{number}") for number in range(1000)]
    async with open_runner(Hand("doer", echo), *bystanders) as runner, within(10):
        await settle()
        before = runner.bus.statistics()
        for _ in range(10):
            await ask(runner, "doer")
        after = runner.bus.statistics()
        assert (after.posted - before.posted, after.delivered - before.delivered) == (20, 20)
        assert {bystander.statistics().mailbox.handled for bystander in bystanders} == {0}


async def test_an_overriding_method_without_the_mark_takes_the_handler_away(autojump_clock: MockClock) -> None:
    """A subclass that overrides a handler without marking it again has no such job."""

    class Silent(Hand):
        """Has lost the mark."""

        async def handle(self, message: BusJobRequestMessage) -> Any:
            """Be an ordinary method."""
            return message

    class Loud(Hand):
        """Has kept it."""

        @job(name="do")
        async def handle(self, message: BusJobRequestMessage) -> Any:
            """Do it differently."""
            return {"loud": True}

    silent = Silent("silent", echo)
    async with open_runner(silent, Loud("loud", echo)) as runner, within(1):
        assert (await failure(runner, "silent")).status is JobStatus.FAILED
        assert await ask(runner, "loud") == {"loud": True}
        message = BusJobRequestMessage(source="a", job_id="b")
        assert await silent.handle(message) is message
