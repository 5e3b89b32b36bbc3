"""Ends, cancels, errors and room in mailboxes, across runners."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from job_support import Hand, ask, echo, nap
from memory_bus import TTL, MemoryBus, Server
from remote_support import quiet, town
from support import Alarm, Note, Recorder
from trio.testing import MockClock

from trioworkers import BaseWorker, BusCancelWorkerMessage, BusWorkerErrorMessage, WorkerErrorData, handles, open_runner

TYPES = {"note": Note, "alarm": Alarm}


class Reader(BaseWorker):
    """Reads slowly."""

    def __init__(self, name: str, seconds: float = 0.0) -> None:
        super().__init__(name)
        self.read: list[str] = []
        self.seconds = seconds

    @handles(Note)
    async def note(self, message: Note) -> None:
        """Read."""
        await trio.sleep(self.seconds)
        self.read.append(message.text)

    @handles(Alarm)
    async def alarm(self, message: Alarm) -> None:
        """Read at once."""
        self.read.append(message.text)


class ErrorListener(BaseWorker):
    """Listens to errors."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.heard: list[str] = []

    @handles(BusWorkerErrorMessage)
    async def error(self, message: BusWorkerErrorMessage) -> None:
        """Write it down."""
        self.heard.append(f"{message.source}: {message.error}")


@pytest.mark.parametrize("verb", ["end", "cancel"])
@pytest.mark.parametrize("scope", ["runner", "bus"])
async def test_ending_a_session(verb: str, scope: Any, autojump_clock: MockClock) -> None:
    """U54: an end or a cancel is its own runner's affair, unless it is said to be for the whole bus."""
    workers = [Recorder("a"), Recorder("b"), Recorder("c")]
    async with town() as place:
        one, two, three = await place.open_all(one=[workers[0]], two=[workers[1]], three=[workers[2]])
        await (workers[0].end if verb == "end" else workers[0].cancel)(reason="done", scope=scope)
        await workers[0].wait()
        await trio.sleep(1)
        here = [str(worker.statistics().state) for worker in workers]
        assert here == (["finished"] * 3 if scope == "bus" else ["finished", "ready", "ready"])
        for one_of in (two, three):
            assert (str(one_of.runner.statistics().state) in {"ending", "cancelling", "finished"}) == (scope == "bus")
        assert one.error is None


async def test_errors_are_heard_everywhere(autojump_clock: MockClock) -> None:
    """A root's error is heard by all who listen, in other runners, too; it is only its own runner's ``on_error``."""
    listener, root = ErrorListener("listener"), Recorder("root")
    errors: list[tuple[str, WorkerErrorData]] = []
    async with town() as place:
        left, right = await place.open_all(left=[listener], right=[root])
        left.runner.add_event_handler("on_error", lambda runner, data: errors.append(("left", data)))
        right.runner.add_event_handler("on_error", lambda runner, data: errors.append(("right", data)))
        await root.send_bus_error_message("oh")
        await trio.sleep(1)
        assert listener.heard == ["root: oh"]
        assert [(where, data.error) for where, data in errors] == [("right", "oh")]


async def test_a_worker_elsewhere_is_ended(autojump_clock: MockClock) -> None:
    """What is said to one worker, say to stop, reaches it wherever it is."""
    async with town() as place:
        left, right = await place.open_all(left=[], right=[Recorder("a"), Recorder("b")])
        a = right.runner.get_worker("a")
        assert a is not None
        left.bus.post(BusCancelWorkerMessage(source="left", target="a", reason="go"))
        await a.wait()
        assert right.runner.registry.local_workers == ["b"]


# -- plain messages, in order, as much as there is room ------------------------------------------------------------------


async def test_messages_in_order(autojump_clock: MockClock) -> None:
    """N1, B1: from one worker to another messages of a kind come in order, the urgent ones before those that wait."""
    reader = Reader("reader", 0.01)
    async with town(types=TYPES) as place:
        left, _ = await place.open_all(left=[], right=[reader])
        for number in range(20):
            left.bus.post(Note(source="left", target="reader", text=str(number)))
            left.bus.post(Alarm(source="left", target="reader", text=f"!{number}"))
        await trio.sleep(3)
        assert [text for text in reader.read if not text.startswith("!")] == [str(number) for number in range(20)]
        assert reader.read[:20] == [f"!{number}" for number in range(20)]


async def test_a_full_mailbox_elsewhere(autojump_clock: MockClock) -> None:
    """N7: ``send`` to a full mailbox elsewhere waits, is in the statistics, and goes on when there is room."""
    reader = Reader("reader", 1.0)
    async with town(types=TYPES, mailbox_capacity=4) as place:
        left, right = await place.open_all(left=[Reader("here", 1.0)], right=[reader])
        for _ in range(7):
            await left.bus.send(Note(source="left", target="here"))  # at home it waits as it does elsewhere
        assert trio.current_time() > 1

        async def write() -> None:
            for number in range(40):
                await left.bus.send(Note(source="left", target="reader", text=str(number)))
                await trio.sleep(0.05)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            await trio.sleep(3)
            assert [(wait.source, wait.target) for wait in left.bus.statistics().waiting] == [("left", "reader")]
            assert reader.statistics().mailbox.data <= 6
            left.bus.post(Note(source="left", target="reader", text="posted"))
            await left.bus.send(Alarm(source="left", target="reader", text="!"))
        await trio.sleep(20)
        assert [text for text in reader.read if text.isdigit()] == [str(number) for number in range(40)]
        assert reader.statistics().mailbox.peak <= 8
        assert reader.read.index("!") < 5
        await trio.sleep(10)
        assert quiet(left, right)


async def test_whoever_waits_for_room(autojump_clock: MockClock) -> None:
    """A ``send`` that waits for room can be given up, and then was not sent; it goes on when the reader has gone, or its runner."""
    reader = Reader("reader", 1000.0)
    other = Reader("other", 1000.0)
    async with town(types=TYPES, mailbox_capacity=1) as place:
        left, right = await place.open_all(left=[], right=[reader, other])
        for name in ("reader", "other"):
            for _ in range(3):
                left.bus.post(Note(source="left", target=name))
        await trio.sleep(1)
        with trio.move_on_after(1) as scope:
            await left.bus.send(Note(source="left", target="reader", text="given up"))
        assert scope.cancelled_caught
        async with trio.open_nursery() as nursery:
            nursery.start_soon(left.bus.send, Note(source="left", target="reader", text="late"))
            nursery.start_soon(left.bus.send, Note(source="left", target="other", text="later"))
            await trio.sleep(1)
            assert len(left.bus.statistics().waiting) == 2
            await reader.stop()
            await trio.sleep(1)
            assert len(left.bus.statistics().waiting) == 1
            right.crash()
            await trio.sleep(TTL + 2)
            assert not left.bus.statistics().waiting
        lost = [side.bus.statistics().dead_letters for side in (left, right)]
        assert sum(lost) == 2, "the room may be told of before the end is, and then the message finds nobody there"


async def test_a_full_window(autojump_clock: MockClock) -> None:
    """N7: ``send`` waits when as many as the window has room for are under way; ``post`` does not."""
    reader = Reader("reader")
    async with town(types=TYPES, window=4) as place:
        left, right = await place.open_all(left=[], right=[reader])
        left.way.cut()
        for number in range(4):
            await left.bus.send(Note(source="left", target="reader", text=str(number)))
        with trio.move_on_after(1) as scope:
            await left.bus.send(Note(source="left", target="reader", text="given up"))
        assert scope.cancelled_caught
        left.bus.post(Note(source="left", target="reader", text="4"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(left.bus.send, Note(source="left", target="reader", text="5"))
            await trio.sleep(1)
            left.way.mend()
        await trio.sleep(3)
        assert reader.read == [str(number) for number in range(6)]
        assert quiet(left, right)


async def test_a_send_that_waits_when_its_runner_leaves(autojump_clock: MockClock) -> None:
    """Whoever waits for room elsewhere does not wait any more when their own runner has left."""
    async with town(types=TYPES, mailbox_capacity=1, leave_timeout=2) as place:
        left, _ = await place.open_all(left=[], right=[Reader("reader", 1000.0)])
        for _ in range(3):
            left.bus.post(Note(source="left", target="reader"))
        await trio.sleep(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(left.bus.send, Note(source="left", target="reader"))
            await trio.sleep(1)
            await left.leave()
        place.places[1].runner.cancel_nowait("enough")


async def test_leaving_while_others_do_not_read(autojump_clock: MockClock) -> None:
    """A runner that has more to say than goes at one time waits for the others to read, but not for ever, nor for one that is gone."""
    readers = [Reader("reader"), Reader("other")]
    async with town(types=TYPES, window=4) as place:
        left, right, _ = await place.open_all(left=[], right=readers[:1], third=readers[1:])
        right.way.pause()
        for number in range(50):
            for name in ("reader", "other"):
                left.bus.post(Note(source="left", target=name, text=str(number)))
        start = trio.current_time()
        await left.leave()
        assert 1 < trio.current_time() - start <= TTL + 1
        await trio.sleep(1)
        right.way.resume()
        assert readers[1].read == [str(number) for number in range(50)]


async def test_leaving_without_a_word(autojump_clock: MockClock) -> None:
    """A runner that spends no time on leaving says nothing: it is a member until its lease has run out."""
    server = Server()
    for number in range(1, 21):
        async with open_runner(name=f"runner-{number}", bus=MemoryBus(server, leave_timeout=0)):
            pass
        assert len(server.members) == number


async def test_losing_one_s_place_while_leaving(autojump_clock: MockClock) -> None:
    """A runner that finds out, while it still has something to say, that it is no member any more, is gone."""
    async with town(types=TYPES, window=4) as place:
        left, right = await place.open_all(left=[], right=[Reader("reader")])
        right.way.pause()
        for _ in range(50):
            left.bus.post(Note(source="left", target="reader"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(left.leave)
            await trio.sleep(1)
            place.server.crash(keep=False)
            place.server.restart()
            start = trio.current_time()
        assert trio.current_time() - start < 1
        right.way.resume()


async def test_statistics(autojump_clock: MockClock) -> None:
    """The statistics say who is there, what has gone either way, and what is open."""
    async with town() as place:
        left, right = await place.open_all(left=[], right=[Hand("hand", nap(2)), Hand("other", echo)])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, left.runner, "hand")
            await trio.sleep(1)
            here, there = left.bus.statistics(), right.bus.statistics()
            assert (here.jobs, there.jobs, here.connected, here.resets) == (1, 1, True, 0)
            assert (here.malformed, here.forged) == (0, 0)
            [peer] = here.peers
            assert (peer.incarnation, peer.runner, sorted(peer.workers)) == (right.incarnation, "right", ["hand", "other"])
            assert here.incarnation == there.peers[0].incarnation
        await trio.sleep(3)
        [link] = [peer.link for peer in left.bus.statistics().peers]
        [knil] = [peer.link for peer in right.bus.statistics().peers]
        assert (link.sent, link.received) == (knil.received, knil.sent)
        assert (link.unacknowledged, link.gaps) == (0, 0)
