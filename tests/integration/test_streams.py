"""Events of a job: streams and updates, their order, and how far a producer may be ahead."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import trio
from job_support import Counter, Hand, Log, ask, failure
from support import Doer, Recorder, settle, within
from trio.testing import MockClock

from trioworkers import (
    BaseWorker,
    BusJobRequestMessage,
    BusJobStreamDataMessage,
    BusJobUpdateMessage,
    JobContext,
    JobError,
    JobEvent,
    JobFailed,
    JobStatus,
    NoSuchJobError,
    WorkerRunner,
    job,
    open_runner,
)
from trioworkers.jobs.credit import Credit

WINDOW = 64


def numbers(events: list[JobEvent]) -> list[int]:
    """Return the numbers in some events that have one."""
    return [event.data["n"] for event in events if event.data is not None]


async def tell(hand: Hand, message: BusJobRequestMessage) -> None:
    """A script: send as many updates as the payload asks for."""
    for number in range(message.payload["to"]):
        await hand.send_job_update(message.job_id, {"n": number})


async def held_failure(runner: WorkerRunner, whom: str) -> JobError:
    """Ask for a stream that nobody iterates, with a timeout of a second, and return how it failed."""
    with pytest.raises(JobError) as caught:
        async with runner.job(whom, name="do", timeout=1):
            await trio.sleep_forever()
    return caught.value


async def some(asked: JobContext, count: int) -> list[JobEvent]:
    """Iterate over at most so many events, and leave the iteration."""
    got: list[JobEvent] = []
    async for event in asked:
        got.append(event)
        if len(got) == count:
            break
    return got


# -- streams --------------------------------------------------------------------------------------------------------------


async def test_an_async_generator_is_a_stream(autojump_clock: MockClock) -> None:
    """A generator's job is a stream: one start, one piece of data per ``yield``, one end; its response is empty."""
    async with open_runner(Counter("counter")) as runner, within(1):
        async with runner.job("counter", name="count", payload={"to": 3}) as asked:
            events = [event async for event in asked]
        assert events == [
            JobEvent(JobEvent.STREAM_START),
            JobEvent(JobEvent.STREAM_DATA, {"n": 0}),
            JobEvent(JobEvent.STREAM_DATA, {"n": 1}),
            JobEvent(JobEvent.STREAM_DATA, {"n": 2}),
            JobEvent(JobEvent.STREAM_END),
        ]
        assert asked.response == {}
        async with runner.job("counter", name="count", payload={"to": 0}) as asked:
            assert [event.type async for event in asked] == ["stream_start", "stream_end"]


async def test_a_stream_by_hand(autojump_clock: MockClock) -> None:
    """Start, data and end can be sent by hand; the end's data is the response."""

    async def stream(doer: Doer, message: BusJobRequestMessage) -> None:
        await doer.send_job_stream_start(message.job_id, {"a": 1})
        await doer.send_job_stream_data(message.job_id, {"b": 2})
        doer.send_job_stream_data_nowait(message.job_id, {"c": 3})
        await doer.send_job_stream_end(message.job_id, {"d": 4})

    async with open_runner(Doer("doer", stream)) as runner, within(1), runner.job("doer") as asked:
        events = [(event.type, event.data) async for event in asked]
    assert events == [("stream_start", {"a": 1}), ("stream_data", {"b": 2}), ("stream_data", {"c": 3}), ("stream_end", {"d": 4})]
    assert asked.response == {"d": 4}


async def test_a_stream_begins_once_and_before_its_data(autojump_clock: MockClock) -> None:
    """Data or an end without a start, and a second start, are a ``RuntimeError`` to the handler; the job goes on."""
    refused: list[str] = []

    async def wrong(doer: Doer, message: BusJobRequestMessage) -> None:
        job_id = message.job_id
        verbs: list[Callable[[], Awaitable[None]]] = [
            lambda: doer.send_job_stream_data(job_id, {}),
            lambda: doer.send_job_stream_end(job_id, {}),
            lambda: doer.send_job_stream_start(job_id),
            lambda: doer.send_job_stream_start(job_id),
        ]
        for verb in verbs:
            try:
                await verb()
            except RuntimeError as error:
                refused.append(str(error).split(": ")[1])
        with pytest.raises(RuntimeError):
            doer.send_job_stream_start_nowait(job_id)
        await doer.send_job_stream_end(job_id, {"refused": len(refused)})
        with pytest.raises(NoSuchJobError):
            await doer.send_job_stream_data(job_id, {})

    async with open_runner(Doer("doer", wrong)) as runner, within(1):
        assert await ask(runner, "doer", None) == {"refused": 3}
    assert refused == ["call send_job_stream_start first"] * 2 + ["a stream is started once, by its handler"]


@pytest.mark.parametrize("error", [ValueError("boom"), JobFailed("no", {"at": 1})])
async def test_a_generator_that_raises_ends_its_stream_without_an_end(error: Exception, autojump_clock: MockClock) -> None:
    """What a generator raises after some data is the job's outcome; the iterator ends after the data, without a stream's end."""

    class Broken(BaseWorker):
        """Breaks off."""

        @job(name="do")
        async def stream(self, message: BusJobRequestMessage) -> AsyncIterator[dict[str, Any]]:
            """Yield once."""
            yield {"n": 1}
            raise error

    events: list[str] = []
    async with open_runner(Broken("doer")) as runner, within(1):
        with pytest.raises(JobError) as caught:
            async with runner.job("doer", name="do") as asked:
                try:
                    async for event in asked:
                        events.append(event.type)  # noqa: PERF401 - what was seen before a cancel counts
                finally:
                    with trio.CancelScope(shield=True):
                        events += [event.type async for event in asked]
    assert events == ["stream_start", "stream_data"]
    failed = isinstance(error, JobFailed)
    assert caught.value.status is (JobStatus.FAILED if failed else JobStatus.ERROR)
    assert caught.value.response == ({"at": 1} if failed else None)


class Stubborn(BaseWorker):
    """Streams by a generator function, and writes down in which task its parts run."""

    def __init__(self, name: str, stream: Callable[[Stubborn, BusJobRequestMessage], AsyncIterator[Any]]) -> None:
        super().__init__(name)
        self.log: Log = []
        self.make = stream

    def note(self, *what: Any) -> None:
        """Write something down."""
        self.log.append(what)

    @job(name="do")
    async def stream(self, message: BusJobRequestMessage) -> AsyncIterator[Any]:
        """Hand everything through, both ways."""
        inner = self.make(self, message)
        step: Callable[[], Awaitable[Any]] = inner.__anext__
        while True:
            try:
                value = await step()
            except StopAsyncIteration:
                return
            try:
                yield value
                step = inner.__anext__
            except BaseException as error:  # noqa: ASYNC103 - handed through
                thrown = error
                step = lambda: inner.athrow(thrown)  # type: ignore[attr-defined]  # noqa: E731, B023 - an async generator


async def test_what_a_generators_own_send_raises_is_thrown_into_it(autojump_clock: MockClock) -> None:
    """An error in sending what a generator yielded is thrown in at its ``yield``, where it can be handled; else it ends the job."""

    async def handles(worker: Stubborn, message: BusJobRequestMessage) -> AsyncIterator[Any]:
        try:
            yield "not a dict"
        except TypeError as error:
            worker.note(str(error))
        yield {"n": 1}

    async def does_not(worker: Stubborn, message: BusJobRequestMessage) -> AsyncIterator[Any]:
        try:
            yield "not a dict"
        finally:
            worker.note("closed")

    good, bad = Stubborn("good", handles), Stubborn("bad", does_not)
    async with open_runner(good, bad) as runner, within(1):
        async with runner.job("good", name="do") as asked:
            assert [event.type async for event in asked] == ["stream_start", "stream_data", "stream_end"]
        error = await failure(runner, "bad")
        assert error.reason == "TypeError: a stream's data must be a dict or None, not 'not a dict'"
    assert (good.log, bad.log) == ([("a stream's data must be a dict or None, not 'not a dict'",)], [("closed",)])


class Closer(BaseWorker):
    """Streams for ever, and writes down how that ended."""

    log: Log

    @job(name="do")
    async def stream(self, message: BusJobRequestMessage) -> AsyncIterator[dict[str, Any]]:
        """Yield until it is stopped."""
        self.log = [trio.lowlevel.current_task().name]
        try:
            while True:
                yield {"n": 1}
        finally:
            self.log.append(trio.lowlevel.current_task().name)
            with trio.CancelScope(shield=True):
                await trio.sleep(2)
            self.log.append(trio.current_time())


async def test_a_cancelled_generator_is_closed_in_its_own_task(autojump_clock: MockClock) -> None:
    """J2: a generator whose job is cancelled while it waits to send unwinds, awaits included, in its job's task."""
    closer = Closer("closer")
    async with open_runner(closer) as runner, within(9):
        assert (await held_failure(runner, "closer")).reason == "timeout"
        assert trio.current_time() == 3
    assert closer.log[0] == closer.log[1]
    assert closer.log[0].startswith("job:do#")
    assert closer.log[2] == 3


async def test_a_generator_that_ignores_cancellation_once_meets_it_again(autojump_clock: MockClock) -> None:
    """A generator that swallows ``Cancelled`` at one ``yield`` meets it at the next; the block is left, the job is CANCELLED."""

    async def ignorant(worker: Stubborn, message: BusJobRequestMessage) -> AsyncIterator[Any]:
        try:
            while True:
                yield {"n": 1}
        except trio.Cancelled:  # noqa: ASYNC103 - that is the test
            worker.note("ignored")
        yield {"n": 2}

    worker = Stubborn("doer", ignorant)
    async with open_runner(worker) as runner, within(9):
        error = await held_failure(runner, "doer")
        assert (error.status, error.reason, trio.current_time()) == (JobStatus.CANCELLED, "timeout", 1)
        assert worker.log == [("ignored",)]
        assert worker.statistics().answering.ended == {"cancelled": 1}


async def test_a_generator_that_returns_when_cancelled_is_still_cancelled(autojump_clock: MockClock) -> None:
    """J1: a generator that ends normally instead of unwinding has ended; for its asker, who gave up, the job stays CANCELLED."""

    async def polite(worker: Stubborn, message: BusJobRequestMessage) -> AsyncIterator[Any]:
        try:
            while True:
                yield {"n": 1}
        except trio.Cancelled:  # noqa: ASYNC103 - that is the test
            worker.note("bye")

    asker = Recorder("asker")
    async with open_runner(asker, Stubborn("doer", polite)), within(9):
        with pytest.raises(JobError) as caught:
            async with asker.job("doer", name="do") as asked:
                await settle()
                await asker.cancel_job_group(asked.job_id, reason="enough")
        await settle()
        assert caught.value.reason == "enough"
        assert [what for _, what, *_ in asker.log if what in {"error", "completed", "stream end"}] == ["error"]


async def test_a_generator_may_answer_by_itself(autojump_clock: MockClock) -> None:
    """A generator that answers its job itself has answered: its end sends nothing more, its next ``yield`` is an error to it."""

    async def early(worker: Stubborn, message: BusJobRequestMessage) -> AsyncIterator[Any]:
        yield {"n": 1}
        await worker.send_job_response(message.job_id, {"early": True})
        try:
            yield {"n": 2}
        except NoSuchJobError:
            worker.note("no such job")

    worker = Stubborn("doer", early)
    async with open_runner(worker) as runner, within(9):
        assert await ask(runner, "doer") == {"early": True}
        await settle()
    assert worker.log == [("no such job",)]


# -- iterating ------------------------------------------------------------------------------------------------------------


async def test_events_that_come_before_the_iteration_wait_for_it(autojump_clock: MockClock) -> None:
    """R3: an answerer quicker than the body loses nothing: events wait for the iterator, up to and after the job's end."""
    async with (
        open_runner(Counter("counter")) as runner,
        within(9),
        runner.job("counter", name="count", payload={"to": 3}) as asked,
    ):
        await trio.sleep(1)
        assert asked.response == {}
        assert [event.type async for event in asked] == ["stream_start", *["stream_data"] * 3, "stream_end"]


async def test_iterating_again_ends_at_once(autojump_clock: MockClock) -> None:
    """U8, R3: a second ``async for``, in the block after the end or after the block, ends at once."""
    async with open_runner(Counter("counter")) as runner, within(1):
        async with runner.job("counter", name="count", payload={"to": 3}) as asked:
            assert len(await some(asked, 99)) == 5
            assert [event async for event in asked] == []
        assert [event async for event in asked] == []


async def test_two_iterators_share_the_events(autojump_clock: MockClock) -> None:
    """U8: two concurrent iterators each get some of the events, none twice, and both end."""
    seen: dict[str, list[int]] = {"one": [], "two": []}

    async def iterate(asked: JobContext, name: str) -> None:
        async for event in asked:
            seen[name] += numbers([event])
            await trio.sleep(1)

    async with (
        open_runner(Counter("counter")) as runner,
        within(99),
        runner.job("counter", name="count", payload={"to": 10}) as asked,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(iterate, asked, "one")
        nursery.start_soon(iterate, asked, "two")
    assert sorted(seen["one"] + seen["two"]) == list(range(10))
    assert seen["one"]
    assert seen["two"]


async def test_leaving_one_of_two_iterators_keeps_the_other(autojump_clock: MockClock) -> None:
    """U8: when one of two iterators is left, the other goes on and loses nothing that is still to come."""
    seen: list[int] = []
    async with (
        open_runner(Counter("counter")) as runner,
        within(99),
        runner.job("counter", name="count", payload={"to": 200}) as asked,
    ):
        kept = aiter(asked)
        seen += numbers(await some(asked, 4))
        async for event in kept:
            seen += numbers([event])
    assert seen == list(range(200))


async def test_a_new_iteration_sees_what_comes_from_then_on(autojump_clock: MockClock) -> None:
    """U8: after an ``async for`` was left, a new one begins with what comes from then on."""

    async def ticks(worker: Stubborn, message: BusJobRequestMessage) -> AsyncIterator[Any]:
        for number in range(10):
            yield {"n": number}
            await trio.sleep(1)

    async with open_runner(Stubborn("doer", ticks)) as runner, within(99), runner.job("doer", name="do") as asked:
        assert numbers(await some(asked, 4)) == [0, 1, 2]
        await trio.sleep(3.5)
        assert numbers([event async for event in asked]) == [6, 7, 8, 9]


async def test_an_iterator_elsewhere_ends_with_the_block(autojump_clock: MockClock) -> None:
    """J3: an iterator in another task ends, and sees nothing more, when the block is left."""
    seen: list[Any] = []

    async def slow(hand: Hand, message: BusJobRequestMessage) -> None:
        await hand.send_job_update(message.job_id, {"n": 1})
        await trio.sleep(5)
        await hand.send_job_update(message.job_id, {"n": 2})

    async def iterate(asked: JobContext) -> None:
        async for event in asked:
            seen.append(event.data)  # noqa: PERF401 - what was seen before a cancel counts
        seen.append(trio.current_time())

    async with (
        open_runner(Hand("doer", slow)) as runner,
        within(9),
        trio.open_nursery() as nursery,
        runner.job("doer", name="do") as asked,
    ):
        nursery.start_soon(iterate, asked)
        await trio.sleep(1)
    assert seen == [{"n": 1}, 1]


async def test_an_iterator_ends_when_the_job_fails(autojump_clock: MockClock) -> None:
    """U8: an iterator does not outlive its job, however the job ends; its task is cancelled with the body, or ends."""
    seen: list[Any] = []

    async def iterate(asked: JobContext) -> None:
        async for event in asked:
            seen.append(event.data)  # noqa: PERF401 - what was seen before a cancel counts
        seen.append("end")

    async def update_and_fail(hand: Hand, message: BusJobRequestMessage) -> None:
        await hand.send_job_update(message.job_id, {"n": 1})
        await trio.sleep(1)
        raise JobFailed

    async with open_runner(Hand("doer", update_and_fail)) as runner, within(2), trio.open_nursery() as outside:
        with pytest.raises(JobError):
            async with runner.job("doer", name="do") as asked:
                outside.start_soon(iterate, asked)
                await trio.sleep_forever()
    assert seen == [{"n": 1}, "end"]


async def test_nothing_of_a_job_is_seen_after_its_end(autojump_clock: MockClock) -> None:
    """J3, U26: an update or chunk that comes after the answer is seen by no hook and no iterator: dropped and counted."""
    asker = Recorder("asker")

    async def nothing(hand: Hand, message: BusJobRequestMessage) -> None:
        await hand.send_job_update(message.job_id, {"n": 1})

    async with open_runner(asker, Hand("doer", nothing)) as runner, within(2):
        async with asker.job("doer", name="do") as asked:
            await settle()
            for late in (
                BusJobUpdateMessage(source="doer", target="asker", job_id=asked.job_id, update={"n": 2}),
                BusJobStreamDataMessage(source="doer", target="asker", job_id=asked.job_id, data={"n": 3}),
            ):
                runner.bus.post(late)
            assert [event.data async for event in asked] == [{"n": 1}]
        await settle()
        assert [entry[1:] for entry in asker.log if entry[1] in {"update", "stream data"}] == [("update", "doer", {"n": 1})]
        assert asker.statistics().asking.strangers == 2


async def test_what_a_given_up_job_still_sends_is_not_seen(autojump_clock: MockClock) -> None:
    """J3, R25: what a handler sends while it unwinds, after its asker gave it up, is seen by nobody, nor under a later job."""

    async def talkative(hand: Hand, message: BusJobRequestMessage) -> None:
        try:
            await trio.sleep_forever()
        finally:
            hand.send_job_update_nowait(message.job_id, {"late": True})

    asker = Recorder("asker")
    async with open_runner(asker, Hand("doer", talkative)), within(5):
        for _ in range(2):
            with pytest.raises(JobError):
                async with asker.job("doer", name="do") as asked:
                    await settle()
                    await asker.cancel_job_group(asked.job_id)
        await settle()
        assert [entry for entry in asker.log if entry[1] == "update"] == []


# -- one path, in order ---------------------------------------------------------------------------------------------------


async def test_updates_before_an_urgent_answer_are_all_seen(autojump_clock: MockClock) -> None:
    """U47: twenty updates and then an urgent answer: the iterator and the hooks see all twenty, in order, before the end."""

    async def urgent(doer: Doer, message: BusJobRequestMessage) -> None:
        for number in range(20):
            await doer.send_job_update(message.job_id, {"n": number})
        await doer.send_job_response(message.job_id, {"n": 20}, urgent=True)

    asker = Recorder("asker")
    async with open_runner(asker, Doer("doer", urgent)), within(2):
        async with asker.job("doer") as asked:
            assert numbers([event async for event in asked]) == list(range(20))
        await settle()
        assert [entry[1] for entry in asker.log if entry[1] not in {"activated", "ready"}] == [
            *["update"] * 20,
            "response",
            "completed",
        ]


async def test_an_urgent_update_keeps_its_place_in_its_own_job(autojump_clock: MockClock) -> None:
    """An urgent event waits behind the earlier events of its own job, and overtakes those of other jobs."""

    async def mixed(doer: Doer, message: BusJobRequestMessage) -> None:
        await doer.send_job_update(message.job_id, {"n": 1})
        await doer.send_job_update(message.job_id, {"n": 2}, urgent=True)
        doer.send_job_update_nowait(message.job_id, {"n": 3}, urgent=True)
        await doer.send_job_update(message.job_id, {"n": 4})
        await doer.send_job_response(message.job_id, {}, urgent=True)

    asker = Recorder("asker")
    async with open_runner(asker, Doer("doer", mixed)), within(2):
        async with asker.job("doer") as asked:
            assert numbers([event async for event in asked]) == [1, 2, 3, 4]
        await settle()
        updates = [entry[3]["n"] for entry in asker.log if entry[1] == "update"]
        assert updates == [1, 2, 3, 4]


# -- credit ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["chunks", "updates"])
async def test_a_producer_is_at_most_a_window_ahead(kind: str, autojump_clock: MockClock) -> None:
    """J6, U49: a producer is never more than 64 chunks or updates ahead of a slow ``async for``; nothing is lost."""
    sent = 0

    async def produce(hand: Hand, message: BusJobRequestMessage) -> None:
        nonlocal sent
        if kind == "chunks":
            await hand.send_job_stream_start(message.job_id)
        send = hand.send_job_stream_data if kind == "chunks" else hand.send_job_update
        for number in range(500):
            await send(message.job_id, {"n": number})
            sent += 1

    ahead: list[int] = []
    async with open_runner(Hand("doer", produce)) as runner, within(999), runner.job("doer", name="do") as asked:
        await settle()
        assert sent == WINDOW
        consumed = 0
        async for event in asked:
            if event.data is not None:
                consumed += 1
                await settle()
                ahead.append(sent - consumed)
    assert (sent, consumed) == (500, 500)
    assert max(ahead) <= WINDOW


async def test_a_full_window_says_would_block(autojump_clock: MockClock) -> None:
    """U49: without credit the sync twins raise ``trio.WouldBlock`` and send nothing; urgent updates go through all the same."""
    result: list[Any] = []

    async def fill(doer: Doer, message: BusJobRequestMessage) -> None:
        for number in range(WINDOW):
            doer.send_job_update_nowait(message.job_id, {"n": number})
        with pytest.raises(trio.WouldBlock):
            doer.send_job_update_nowait(message.job_id, {"n": -1})
        await doer.send_job_stream_start(message.job_id)
        with pytest.raises(trio.WouldBlock):
            doer.send_job_stream_data_nowait(message.job_id, {"n": -1})
        for number in range(WINDOW, 3 * WINDOW):
            await doer.send_job_update(message.job_id, {"n": number}, urgent=True)
        result.append("filled")
        await doer.send_job_stream_end(message.job_id)

    async with open_runner(Doer("doer", fill)) as runner, within(9), runner.job("doer") as asked:
        await settle()
        assert result == ["filled"]
        assert numbers([event async for event in asked]) == list(range(3 * WINDOW))


async def test_nobody_iterates_then_leaving_the_block_frees_the_producer(autojump_clock: MockClock) -> None:
    """J7, U49: a producer whose block does not iterate waits after a window, and goes on as soon as the block is being left."""
    counter = Counter("counter")
    async with open_runner(counter) as runner, within(9):
        async with runner.job("counter", name="count", payload={"to": 1000}) as asked:
            await trio.sleep(1)
            assert (len(counter.sent), asked._events.waiting) == (WINDOW, WINDOW + 1)
        assert (len(counter.sent), asked._events.waiting) == (1000, 0)


@pytest.mark.parametrize("way", ["break", "exception", "cancel"])
async def test_leaving_the_iteration_frees_the_producer(way: str, autojump_clock: MockClock) -> None:
    """J6, J7: an ``async for`` left early, in whatever way, counts as consumed: the producer goes on while the body does."""
    counter = Counter("counter")

    async def iterate(asked: JobContext) -> None:
        iterator = aiter(asked)
        for _ in range(10):
            await anext(iterator)
        if way == "exception":
            raise KeyError
        if way == "cancel":
            await trio.sleep_forever()

    async with open_runner(counter) as runner, within(9), runner.job("counter", name="count", payload={"to": 1000}) as asked:
        with trio.move_on_after(1):
            try:
                await iterate(asked)
            except KeyError as error:
                error.__traceback__ = None
        gc.collect()
        await settle()
        assert len(counter.sent) == 1000


async def test_an_asker_without_block_and_hooks_consumes_at_once(autojump_clock: MockClock) -> None:
    """J6: events that nobody will look at are consumed on arrival: nothing is buffered, nobody waits."""
    counter, asker = Counter("counter"), BaseWorker("asker")
    async with open_runner(counter, asker), within(9):
        await asker.request_job("counter", name="count", payload={"to": 1000})
        await settle()
        assert len(counter.sent) == 1000
        assert asker.statistics().mailbox.peak == 0


async def test_slow_hooks_hold_the_producer_back(autojump_clock: MockClock) -> None:
    """J6, U49: credit comes back when the hooks have run: a slow hook bounds what waits in its asker's mailbox."""
    counter, asker = Counter("counter"), BaseWorker("asker")
    seen: list[int] = []

    @asker.event_handler("on_job_stream_data")
    async def slowly(worker: BaseWorker, message: BusJobStreamDataMessage) -> None:
        seen.append(len(counter.sent))
        await trio.sleep(1)

    async with open_runner(counter, asker), within(999):
        await asker.request_job("counter", name="count", payload={"to": 300})
        await trio.sleep(301)
        assert len(seen) == 300
        assert max(sent - number for number, sent in enumerate(seen)) <= WINDOW
        assert asker.statistics().mailbox.peak <= WINDOW


async def test_both_the_hooks_and_the_iterator_must_have_seen_an_event(autojump_clock: MockClock) -> None:
    """J6: for a block with hooks, an event is consumed when both have seen it, whichever is slower."""
    counter, asker = Counter("counter"), BaseWorker("asker")

    @asker.event_handler("on_job_stream_data")
    async def slowly(worker: BaseWorker, message: BusJobStreamDataMessage) -> None:
        await trio.sleep(1)

    async with open_runner(counter, asker), within(999):
        async with asker.job("counter", name="count", payload={"to": 200}) as asked:
            seen = 0
            async for _ in asked:
                seen += 1
                assert len(counter.sent) <= trio.current_time() + 1 + WINDOW
        assert seen == 202
        assert trio.current_time() >= 200 - WINDOW


async def test_waiting_senders_are_served_in_order() -> None:
    """J6: credit goes to the sender that waits longest; who comes later, and does not wait, cannot take it away."""
    credit, log = Credit(0), Log()

    async def send(number: int) -> None:
        await credit.take()
        log.append(number)

    async with trio.open_nursery() as nursery:
        for number in (1, 2, 3):
            nursery.start_soon(send, number)
            await settle()
        for number in (1, 2):
            credit.grant(1)
            assert not credit.take_nowait()
            await settle()
            assert log[-1] == number
        credit.grant(2)
        assert credit.take_nowait()
        assert not credit.take_nowait()
    assert log == [1, 2, 3]


async def test_a_cancelled_sender_takes_no_credit(autojump_clock: MockClock) -> None:
    """J6: a send cancelled while it waits for credit has sent nothing and used nothing."""
    left: list[bool] = []

    async def impatient(hand: Hand, message: BusJobRequestMessage) -> None:
        for number in range(WINDOW):
            await hand.send_job_update(message.job_id, {"n": number})
        for _ in range(WINDOW):
            with trio.move_on_after(0.01) as scope:
                await hand.send_job_update(message.job_id, {"n": -1})
            left.append(scope.cancelled_caught)
        for number in range(WINDOW, 3 * WINDOW):
            await hand.send_job_update(message.job_id, {"n": number})

    async with open_runner(Hand("doer", impatient)) as runner, within(99), runner.job("doer", name="do") as asked:
        await trio.sleep(10)
        assert left == [True] * WINDOW
        assert numbers([event async for event in asked]) == list(range(3 * WINDOW))


async def test_a_producer_that_waits_wakes_when_its_job_is_answered(autojump_clock: MockClock) -> None:
    """J7: a send that waits for credit wakes with ``NoSuchJobError`` when somebody else answers its job."""
    doer = Hand("doer", tell)
    errors: list[Exception] = []

    async def careful(hand: Hand, message: BusJobRequestMessage) -> None:
        try:
            await tell(hand, message)
        except NoSuchJobError as error:
            errors.append(error)

    doer.script = careful
    async with open_runner(doer) as runner, within(9):
        async with runner.job("doer", name="do", payload={"to": 100}) as asked:
            await settle()
            doer.send_job_response_nowait(asked.job_id, {"other": True})
        await settle()
        assert asked.response == {"other": True}
    assert len(errors) == 1


async def test_a_cancelled_handler_may_still_send_whole_windows(autojump_clock: MockClock) -> None:
    """J7: what a handler sends in its shielded cleanup has no consumer any more: it never waits for credit, and the block is left."""

    async def talkative(hand: Hand, message: BusJobRequestMessage) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 5):
                await tell(hand, message)

    async with open_runner(Hand("doer", talkative)) as runner, within(9):
        await failure(runner, "doer", timeout=1, payload={"to": 3 * WINDOW})
        assert trio.current_time() == 1


@pytest.mark.parametrize("lane", ["data", "system"])
async def test_a_hook_may_hold_a_long_stream(lane: str, autojump_clock: MockClock) -> None:
    """U7, J7: a stream longer than the window can be asked for and iterated inside a hook, though that hook holds up its own lane."""

    class Asker(Recorder):
        """Iterates in a hook."""

        async def on_job_response(self, message: Any) -> None:
            """Ask for a stream."""
            async with self.job("counter", name="count", payload={"to": 3 * WINDOW}) as stream:
                got.extend([event async for event in stream])

    async def answer(doer: Doer, message: BusJobRequestMessage) -> None:
        await doer.send_job_response(message.job_id, urgent=lane == "system")

    got: list[JobEvent] = []
    asker = Asker("asker")
    async with open_runner(Counter("counter"), Doer("doer", answer), asker, shutdown_timeout=1), within(20):
        await asker.request_job("doer")
        await trio.sleep(10)
    assert len(got) == 3 * WINDOW + 2


async def test_the_asker_may_be_a_runner(autojump_clock: MockClock) -> None:
    """Plain trio code iterates through the runner with the same bounds."""
    counter = Counter("counter")

    async def first_ten(runner: WorkerRunner) -> list[int]:
        async with runner.job("counter", name="count", payload={"to": 100}) as asked:
            return numbers(await some(asked, 11))

    async with open_runner(counter) as runner, within(9):
        assert await first_ten(runner) == list(range(10))
        assert len(counter.sent) == 100
