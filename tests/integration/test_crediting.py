"""When credit goes back to who streams, and what the hooks of a block inside a hook see."""

from __future__ import annotations

import pytest
import trio
from job_support import Counter, Hand, Log, drain
from support import Note, Recorder, settle, within
from trio.testing import MockClock

from trioworkers import (
    BaseWorker,
    BusJobRequestMessage,
    BusJobStreamCreditMessage,
    BusJobStreamDataMessage,
    BusJobStreamEndMessage,
    JobGroupError,
    JobStatus,
    handles,
    open_runner,
)


@pytest.mark.parametrize(("members", "to", "amount"), [(1, 200, 32), (2, 100, 16), (3, 70, 10), (70, 4, 1)])
async def test_credit_goes_back_by_half_a_window(members: int, to: int, amount: int, autojump_clock: MockClock) -> None:
    """J6: what was consumed is credited half a member's window at a time (one, if the window is one), and not after the answer."""
    counters = [Counter(f"c{number}") for number in range(members)]
    async with open_runner(*counters) as runner, within(9):
        with runner.bus.tap(100_000) as messages:
            async with runner.job_group(*[counter.name for counter in counters], name="count", payload={"to": to}) as group:
                async for _ in group:
                    pass
            seen = drain(messages)
    for counter in counters:
        granted = [message for message in seen if isinstance(message, BusJobStreamCreditMessage) and message.target == counter.name]
        (answer,) = (message for message in seen if isinstance(message, BusJobStreamEndMessage) and message.source == counter.name)
        assert {message.credit for message in granted} == {amount}
        assert sum(message.credit for message in granted) >= to - max(1, 64 // members) - amount
        assert seen.index(granted[-1]) < seen.index(answer)


async def test_hooks_of_a_block_inside_a_hook_come_after_it(autojump_clock: MockClock) -> None:
    """A hook that reads a stream itself does not lose the stream's hooks: they come in order when it has returned."""

    class Asker(Recorder):
        """Reads a stream inside a hook."""

        @handles(Note)
        async def on_note(self, message: Note) -> None:
            """Count to three."""
            async with self.job("counter", name="count", payload={"to": 2}) as counting:
                self.note("read", [event.data async for event in counting])

    asker = Asker("asker")
    async with open_runner(asker, Counter("counter")) as runner, within(9):
        await settle()
        asker.log.clear()
        runner.bus.post(Note(source="test", target="asker"))
        await settle()
        assert [entry[1:] for entry in asker.log] == [
            ("read", [None, {"n": 0}, {"n": 1}, None]),
            ("stream start", "counter", None),
            ("stream data", "counter", {"n": 0}),
            ("stream data", "counter", {"n": 1}),
            ("stream end", "counter", None),
            ("completed", {"counter": {}}),
        ]


async def test_a_failure_without_a_reason_is_told_as_one(autojump_clock: MockClock) -> None:
    """When a member fails without a reason, the error of the group says who it was, how, and that no reason was given."""

    async def fail(hand: Hand, message: BusJobRequestMessage) -> None:
        await hand.send_job_response(message.job_id, status=JobStatus.FAILED)

    reasons: Log = []
    async with open_runner(Hand("doer", fail)) as runner, within(9):
        with pytest.raises(JobGroupError) as caught:
            async with runner.job_group("doer", name="do"):
                pass
        reasons.append(caught.value.reason)
    assert reasons == ["worker 'doer' answered failed: no reason given"]


class Reader(BaseWorker):
    """Reads a stream of a hundred, in a nursery that a hook has opened; and sees each piece in a hook, too."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.read: list[int] = []
        self.seen: list[int] = []

    async def count(self) -> None:
        """Read."""
        async with self.job("counter", name="count", payload={"to": 100}) as counting:
            async for event in counting:
                self.read += event.data.values() if event.data else ()

    @handles(Note)
    async def on_note(self, message: Note) -> None:
        """Read in a task of a nursery inside a nursery; or just take some time."""
        if message.text == "sleep":
            await trio.sleep(5)
            return
        async with trio.open_nursery() as outer:

            async def inside() -> None:
                async with trio.open_nursery() as inner:
                    inner.start_soon(self.count)

            outer.start_soon(inside)

    async def on_job_stream_data(self, message: BusJobStreamDataMessage) -> None:
        """Write it down."""
        self.seen += (message.data or {}).values()


async def test_a_reader_in_a_nursery_of_a_hook_waits_for_no_hook_behind_it(autojump_clock: MockClock) -> None:
    """J6: a block in a nursery that a hook has opened is inside that hook: its own hooks, which wait behind it, hold nobody up."""
    reader = Reader("reader")
    async with open_runner(reader, Counter("counter")) as runner, within(9):
        runner.bus.post(Note(source="test", target="reader", text="read"))
        await settle()
        assert trio.current_time() == 0
        assert reader.read == reader.seen == list(range(100))


async def test_a_hook_that_is_busy_with_something_else_holds_the_producer_back(autojump_clock: MockClock) -> None:
    """J6: a block outside the hooks has its hooks seen before credit goes back, though they wait behind a hook that is busy."""
    reader, counter = Reader("reader"), Counter("counter")
    async with open_runner(reader, counter) as runner, within(9), trio.open_nursery() as nursery:
        runner.bus.post(Note(source="test", target="reader", text="sleep"))
        await settle()
        nursery.start_soon(reader.count)
        await settle()
        assert (reader.read, reader.seen, len(counter.sent)) == (list(range(64)), [], 64)
        await trio.sleep(6)
        assert reader.read == reader.seen == list(range(100))
