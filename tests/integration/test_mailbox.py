"""Plain messages between workers: in which order their hooks run, who sees them, and what becomes of those that nobody sees."""

from __future__ import annotations

from functools import partial
from typing import Any

import attrs
import pytest
import trio
from life_support import Actor, Log, Napper, Slow, ask, boom, errors_of, idle, state
from support import Alarm, Note, settle, within
from trio.testing import MockClock

from trioworkers import (
    BaseWorker,
    BusActivateWorkerMessage,
    BusJobRequestMessage,
    BusMessage,
    LocalBus,
    SenderWaiting,
    WorkerRunner,
    handles,
    job,
    open_runner,
)
from trioworkers._transitions import WorkerState


@attrs.frozen(kw_only=True)
class Postscript(Note):
    """A note of a narrower class."""


class Reader(BaseWorker):
    """Writes down the notes and alarms it reads; a note may take some seconds to read."""

    def __init__(self, name: str, *, seconds: float = 0) -> None:
        super().__init__(name)
        self.seconds = seconds
        self.log: Log = []

    @property
    def texts(self) -> Log:
        """What it has read, without by whom."""
        return [text for _, text in self.log]

    @handles(Note)
    async def read(self, message: Note) -> None:
        """Read a note."""
        self.log.append((message.source, message.text))
        if self.seconds:
            await trio.sleep(self.seconds)

    @handles(Alarm)
    async def listen(self, message: Alarm) -> None:
        """Hear an alarm."""
        self.log.append((message.source, message.text))


def note(text: str, *, target: str | None = "reader") -> Note:
    """Return a note from nobody in particular."""
    return Note(source="test", target=target, text=text)


def alarm(text: str, *, target: str | None = "reader") -> Alarm:
    """Return an alarm from nobody in particular."""
    return Alarm(source="test", target=target, text=text)


# -- order ---------------------------------------------------------------------------------------------------------------


async def test_messages_of_one_sender_stay_in_order(autojump_clock: MockClock) -> None:
    """B1: hooks run in the order sent, for each sender and priority, however the senders take turns."""
    reader = Reader("reader")

    async def write(actor: Actor) -> None:
        for number in range(200):
            kind = Alarm if number % 5 == 0 else Note
            await actor.send_bus_message(kind(source=actor.name, target="reader", text=f"{number:03}"))
            if number % 7 == 0:
                await trio.sleep(0.001)

    async with open_runner(reader, *(Actor(f"writer-{number}", write) for number in range(3))):
        await trio.sleep(1)
    assert len(reader.log) == 600
    for number in range(3):
        texts = [text for source, text in reader.log if source == f"writer-{number}"]
        for urgent in (True, False):
            of_kind = [text for text in texts if (int(text) % 5 == 0) is urgent]
            assert of_kind == sorted(of_kind)


async def test_system_messages_overtake_data() -> None:
    """B2: system messages are handled before every data message that waits, each kind in its own order."""
    reader = Reader("reader")
    async with open_runner(reader) as runner:
        for number in range(100):
            runner.bus.post(note(f"note {number}"))
            runner.bus.post(alarm(f"alarm {number}"))
        await settle()
    assert reader.texts == [f"alarm {number}" for number in range(100)] + [f"note {number}" for number in range(100)]


async def test_no_data_hook_starts_before_a_system_message() -> None:
    """B2: an alarm that arrives while a note is read is heard before the next note, which waits already."""
    log: Log = []

    class Alarmed(Reader):
        @handles(Note)
        async def read(self, message: Note) -> None:
            await super().read(message)
            self.bus.post(alarm(f"alarm after {message.text}"))

    reader = Alarmed("reader")
    async with open_runner(reader) as runner:
        for number in range(70):
            runner.bus.post(note(f"{number}"))
            log += [f"{number}", f"alarm after {number}"]
        await settle()
    assert reader.texts == log


async def test_both_lanes_live_at_once(autojump_clock: MockClock) -> None:
    """B2, U48: a system message is handled while a data hook awaits something, and the other way round; one hook per lane."""
    log: Log = []

    class Slowly(BaseWorker):
        async def on_bus_message(self, message: BusMessage) -> None:
            if isinstance(message, (Note, Alarm)):
                log.append(("enter", message.text, trio.current_time()))
                await trio.sleep(4)
                log.append(("exit", message.text, trio.current_time()))

    async with open_runner(Slowly("reader")) as runner:
        for message in (note("n1"), alarm("a1"), note("n2"), alarm("a2")):
            runner.bus.post(message)
            await trio.sleep(1)
        await trio.sleep(9)
    assert log == [
        ("enter", "n1", 0),
        ("enter", "a1", 1),
        ("exit", "n1", 4),
        ("enter", "n2", 4),
        ("exit", "a1", 5),
        ("enter", "a2", 5),
        ("exit", "n2", 8),
        ("exit", "a2", 9),
    ]


async def test_a_hook_may_wait_for_a_job(autojump_clock: MockClock) -> None:
    """I10: a hook, in either lane, may await a job, of another worker or of its own, and gets the answer."""
    log: Log = []

    class Asker(Napper):
        @handles(Note)
        async def read(self, message: Note) -> None:
            log.append((message.text, await ask(self, message.text, "nap", seconds=1)))

        @handles(Alarm)
        async def listen(self, message: Alarm) -> None:
            log.append((message.text, await ask(self, message.text, "nap", seconds=2)))

    async with open_runner(Asker("reader"), Napper("napper")) as runner, within(10):
        for message in (note("napper"), note("reader"), alarm("reader")):
            runner.bus.post(message)
        await trio.sleep(4)
    assert sorted(log, key=str) == [("napper", {"slept": 1}), ("reader", {"slept": 2}), ("reader", {"slept": 2})]


# -- who sees what -------------------------------------------------------------------------------------------------------


async def test_marked_methods_see_subclasses_and_broadcasts() -> None:
    """@handles is called for its class and its subclasses, sent or broadcast; several methods each once, then on_bus_message."""
    log: Log = []

    class Careful(BaseWorker):
        @handles(Postscript)
        async def read_postscript(self, message: Postscript) -> None:
            log.append(("postscript", message.text))

        @handles(Note)
        async def read_note(self, message: Note) -> None:
            log.append(("note", message.text))

        async def on_bus_message(self, message: BusMessage) -> None:
            log.extend([("any", message.text)] if isinstance(message, (Note, Alarm)) else [])

    async with open_runner(Careful("reader")) as runner:
        for message in (note("one"), Postscript(source="test", text="two"), note("three", target=None), alarm("four", target=None)):
            runner.bus.post(message)
            await settle()
    assert log == [
        ("note", "one"),
        ("any", "one"),
        ("postscript", "two"),
        ("note", "two"),
        ("any", "two"),
        ("note", "three"),
        ("any", "three"),
        ("any", "four"),
    ]


async def test_a_broadcast_reaches_those_who_ask() -> None:
    """A broadcast is delivered only to workers whose class or handlers ask for it, the sender included; others cost nothing."""
    reader, deaf = Reader("reader"), BaseWorker("deaf")
    async with open_runner(reader, deaf, BaseWorker("dull")) as runner:
        await settle()
        before = runner.bus.statistics()
        await reader.send_bus_message(Note(source="reader", text="to all"))
        await deaf.send_bus_message(BusActivateWorkerMessage(source="deaf", args={"nobody": "asks"}))
        await settle()
        after = runner.bus.statistics()
        assert (after.posted - before.posted, after.delivered - before.delivered) == (2, 1)
        assert (deaf.activation_args, deaf.statistics().mailbox.unhandled) == (None, 0)
    assert reader.log == [("reader", "to all")]


async def test_a_targeted_message_is_delivered_once() -> None:
    """B3: a message with a target reaches that worker, once, whoever else listens; the payload is the very object."""
    log: Log = []
    workers = [BaseWorker(name) for name in ("one", "two")]
    for worker in workers:
        worker.add_event_handler("on_bus_message", lambda worker, message: log.append((worker.name, message)))
    async with open_runner(*workers) as runner:
        await settle()
        del log[:]
        sent = note("for two", target="two")
        await workers[0].send_bus_message(sent)
        await settle()
        assert [name for name, _ in log] == ["two"]
        assert log[0][1] is sent
        assert runner.bus.statistics().dead_letters == 0


async def test_on_bus_message_is_a_plain_hook() -> None:
    """on_bus_message sees what the worker does by itself when it is done, and the worker does it though ``super`` is not called."""
    log: Log = []

    class Watcher(BaseWorker):
        @job
        async def add(self, message: BusJobRequestMessage) -> dict[str, Any]:
            await shown.wait()
            return {"sum": sum(message.payload["numbers"])}

        async def on_bus_message(self, message: BusMessage) -> None:
            if message.target == self.name:
                log.append((type(message).__name__, len(self.active_jobs), self.active))
                shown.set()

    shown, watcher = trio.Event(), Watcher("watcher", active=False)
    async with open_runner(watcher) as runner:
        assert await ask(runner, "watcher", "add", numbers=[1, 2]) == {"sum": 3}
        await watcher.activate_worker("watcher")
        await settle()
        assert log == [("BusJobRequestMessage", 1, False), ("BusActivateWorkerMessage", 0, True)]


async def test_on_bus_message_sees_the_end() -> None:
    """A worker that is told to end sees the message, and all that was sent before it, before it is finished."""
    log: Log = []
    worker = BaseWorker("worker")
    worker.add_event_handler(
        "on_bus_message", lambda worker, message: log.append((type(message).__name__, worker.registry.local_workers))
    )
    async with open_runner(worker) as runner:
        await settle()
        runner.bus.post(note("last words", target="worker"))
        await runner.end_workers("worker")
    assert log == [
        ("BusWorkerReadyMessage", ["worker"]),
        ("Note", ["worker"]),
        ("BusEndWorkerMessage", ["worker"]),
    ]


async def test_what_nobody_wants_is_counted() -> None:
    """A message of a class that the worker does nothing with is counted as unhandled, and queues nothing."""
    worker = BaseWorker("worker")
    async with open_runner(worker) as runner:
        for message in (note("one", target="worker"), alarm("two", target="worker")):
            runner.bus.post(message)
        mailbox = worker.statistics().mailbox
        assert (mailbox.unhandled, mailbox.data, mailbox.system, mailbox.peak) == (2, 0, 0, 0)


async def test_a_tap_sees_everything() -> None:
    """A tap sees each message, targeted, broadcast and undeliverable, in the order posted, hooks or no hooks."""
    texts: Log = []
    async with open_runner(Reader("reader"), BaseWorker("deaf")) as runner:
        with runner.bus.tap() as messages:
            for number, target in enumerate(("reader", None, "ghost", "deaf")):
                runner.bus.post((note, alarm)[number % 2](f"{number} to {target}", target=target))
        async for message in messages:
            assert isinstance(message, (Note, Alarm))
            texts.append(message.text)
        assert runner.bus.statistics().dead_letters == 1
    assert texts == ["0 to reader", "1 to None", "2 to ghost", "3 to deaf"]


# -- before and after a life ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("starting", [True, False])
async def test_what_comes_before_ready_is_shown_then(starting: bool, autojump_clock: MockClock) -> None:
    """B5: messages that arrive before READY are kept; their hooks run at READY, system before data."""

    class SlowReader(Slow, Reader):
        def __init__(self) -> None:
            Reader.__init__(self, "reader")
            self.up, self.down = 1, 0

    reader, runner = SlowReader(), WorkerRunner()
    await runner.add_workers(reader)
    async with trio.open_nursery() as nursery:
        if starting:
            nursery.start_soon(partial(runner.run, auto_end=False))
            await settle()
        for message in (note("one"), alarm("two"), note("three")):
            runner.bus.post(message)
        await settle()
        assert reader.log == []
        if not starting:
            nursery.start_soon(partial(runner.run, auto_end=False))
        await trio.sleep(2)
        assert reader.texts == ["two", "one", "three"]
        await runner.end()


async def test_what_never_gets_ready_drops_and_counts() -> None:
    """B5: what a worker was sent before READY is counted as dropped if READY never comes."""

    class Broken(Reader):
        async def start(self) -> None:
            self.bus.post(note("one"))
            self.bus.post(alarm("two"))
            await boom(self)

    broken = Broken("reader")
    async with open_runner() as runner:
        assert await errors_of(partial(runner.add_workers, broken)) == ["ValueError: boom"]
    assert (broken.log, broken.statistics().mailbox.dropped) == ([], 2)


async def test_a_message_to_a_finished_worker_is_a_dead_letter() -> None:
    """B4: a message to a worker that has finished is counted by the bus, and neither takes effect nor runs a hook."""
    reader = Reader("reader")
    async with open_runner(reader) as runner:
        await reader.stop()
        before, mailbox = runner.bus.statistics(), reader.statistics().mailbox
        for message in (note("one"), alarm("two"), BusActivateWorkerMessage(source="test", target="reader", args={"n": 1})):
            await runner.bus.send(message)
        await runner.bus.send(note("three", target=None))
        await settle()
        after = runner.bus.statistics()
        assert (after.dead_letters - before.dead_letters, after.delivered - before.delivered) == (3, 0)
        assert (reader.log, reader.activation_args, reader.statistics().mailbox) == ([], None, mailbox)


async def test_a_handler_added_after_the_end_hears_nothing() -> None:
    """B4: a finished worker is told of no broadcast, though a handler for them is added then."""
    worker = BaseWorker("worker")
    log: Log = []
    async with open_runner(worker) as runner:
        await worker.stop()
        worker.add_event_handler("on_bus_message", lambda worker, message: log.append(message))
        before, mailbox = runner.bus.statistics().delivered, worker.statistics().mailbox
        runner.bus.post(note("to all", target=None))
        await settle()
        assert (log, runner.bus.statistics().delivered, worker.statistics().mailbox) == ([], before, mailbox)


async def test_a_cancel_drops_and_counts(autojump_clock: MockClock) -> None:
    """B5: at a cancel the hooks that have not started are dropped and counted; those that have are cancelled."""
    reader = Reader("reader", seconds=5)
    async with open_runner(reader) as runner:
        for number in range(10):
            runner.bus.post(note(f"{number}"))
        await trio.sleep(6)
        mailbox = reader.statistics().mailbox
        assert (mailbox.data, mailbox.handled, mailbox.peak) == (8, 1, 10)
        await reader.stop()
    mailbox = reader.statistics().mailbox
    assert (reader.texts, mailbox.data, mailbox.handled, mailbox.dropped) == (["0", "1"], 0, 2, 8)


async def test_a_graceful_end_drops_nothing(autojump_clock: MockClock) -> None:
    """B5: at a graceful end every hook that was queued runs."""
    reader = Reader("reader", seconds=1)
    async with open_runner(reader) as runner:
        for number in range(5):
            runner.bus.post(note(f"{number}"))
        await runner.end_workers("reader")
        assert trio.current_time() == 5
    assert (reader.texts, reader.statistics().mailbox.dropped) == ([f"{number}" for number in range(5)], 0)


@pytest.mark.parametrize("kind", ["mark", "system", "hook", "handler"])
async def test_a_hook_that_raises_fails_its_worker(kind: str) -> None:
    """I7: an error that leaves a hook fails the worker, in whichever lane; what waits behind is dropped and counted."""

    class Marked(BaseWorker):
        @handles(Note)
        async def read(self, message: Note) -> None:
            await boom(self)

        @handles(Alarm)
        async def listen(self, message: Alarm) -> None:
            await boom(self)

    class Hooked(BaseWorker):
        async def on_bus_message(self, message: BusMessage) -> None:
            if isinstance(message, Note):
                await boom(self)

    worker = Marked("reader") if kind in {"mark", "system"} else Hooked("reader") if kind == "hook" else Reader("reader")
    if kind == "handler":
        worker.add_event_handler("on_bus_message", lambda worker, message: boom(worker) if isinstance(message, Note) else None)

    async def run() -> None:
        async with open_runner(worker) as runner:
            await settle()
            for number in range(3):
                runner.bus.post((alarm if kind == "system" else note)(f"{number}"))
            await trio.sleep_forever()

    assert await errors_of(run) == ["ValueError: boom"]
    assert (state(worker), worker.statistics().mailbox.dropped) == (WorkerState.FAILED, 2)


# -- bounded mailboxes ---------------------------------------------------------------------------------------------------


async def test_a_sender_waits_for_room(autojump_clock: MockClock) -> None:
    """With a capacity, ``send`` waits while that many data messages wait; who waits on whom since when is to be seen."""
    log: Log = []

    async def write(actor: Actor) -> None:
        for number in range(5):
            await actor.send_bus_message(Note(source=actor.name, target="reader", text=f"{number}"))
            log.append(trio.current_time())
            await settle()
        await actor.send_bus_message(Alarm(source=actor.name, target="reader", text="alarm"))
        log.append(trio.current_time())

    reader, bus = Reader("reader", seconds=10), LocalBus(mailbox_capacity=2)
    async with open_runner(reader, bus=bus) as runner:
        await runner.add_workers(Actor("writer", write))
        await trio.sleep(5)
        assert bus.statistics().waiting == (SenderWaiting("writer", "reader", 0),)
        await trio.sleep(95)
        assert bus.statistics().waiting == ()
        assert bus.statistics().over_capacity == 0
    assert log == [0, 0, 0, 10, 20, 20]
    assert reader.texts == ["0", "1", "2", "alarm", "3", "4"]
    assert reader.statistics().mailbox.peak == 2


async def test_a_lane_hook_never_waits_for_room(autojump_clock: MockClock) -> None:
    """A ``send`` from a lane hook does not wait, and is counted: two workers that flood each other cannot block each other."""
    log: Log = []

    class Flooder(BaseWorker):
        @handles(Note)
        async def read(self, message: Note) -> None:
            log.append((self.name, message.text))
            for number in range(5 if message.text == "go" else 0):
                await self.send_bus_message(Note(source=self.name, target=message.source, text=f"{number}"))

    bus = LocalBus(mailbox_capacity=1)
    async with open_runner(Flooder("one"), Flooder("two"), bus=bus), within(1):
        for source, target in (("one", "two"), ("two", "one")):
            bus.post(Note(source=source, target=target, text="go"))
        await settle()
        assert bus.statistics().over_capacity > 0
    assert sorted(log) == [(name, text) for name in ("one", "two") for text in ("0", "1", "2", "3", "4", "go")]


async def test_a_task_of_a_lane_hook_never_waits_for_room(autojump_clock: MockClock) -> None:
    """A task that a lane hook has started in a nursery of its own does not wait either: the hook waits for it."""

    class Echoing(BaseWorker):
        @handles(Note)
        async def read(self, message: Note) -> None:
            async with trio.open_nursery() as nursery:
                for number in range(3 if message.text == "go" else 0):
                    nursery.start_soon(self.send_bus_message, Note(source="echo", target="echo", text=f"{number}"))

    echoing, bus = Echoing("echo"), LocalBus(mailbox_capacity=1)
    async with open_runner(echoing, bus=bus), within(1):
        bus.post(note("go", target="echo"))
        await settle()
        assert (bus.statistics().waiting, bus.statistics().over_capacity) == ((), 2)
    assert echoing.statistics().mailbox.handled == 4


async def test_a_task_beside_a_lane_hook_waits_for_room(autojump_clock: MockClock) -> None:
    """Jobs and children of a worker are not inside the hook that its lane happens to run, though they live in its nursery."""

    class Writer(Reader):
        @job(name="write")
        async def write(self, message: BusJobRequestMessage) -> None:
            await self.send_bus_message(Note(source=self.name, target="reader"))

    reader, writer, bus = Reader("reader", seconds=10), Writer("writer", seconds=100), LocalBus(mailbox_capacity=1)
    await writer.add_workers(Writer("child"))
    async with open_runner(reader, writer, bus=bus) as runner, within(200), trio.open_nursery() as nursery:
        bus.post(note("busy", target="writer"))
        for _ in range(2):
            bus.post(note("full"))
            await settle()
        for name in ("writer", "child"):
            nursery.start_soon(ask, runner, name, "write")
            await settle()
        assert bus.statistics().waiting == (SenderWaiting("writer", "reader", 0), SenderWaiting("child", "reader", 0))
        assert bus.statistics().over_capacity == 0


@pytest.mark.parametrize("way", ["receiver stops", "sender is cancelled"])
async def test_a_wait_for_room_ends(way: str, autojump_clock: MockClock) -> None:
    """A waiting ``send`` goes on when the receiver stops, its message counted as lost; when it is cancelled, nothing was sent."""
    reader, bus = Reader("reader", seconds=100), LocalBus(mailbox_capacity=1)
    async with open_runner(reader, bus=bus), within(50):
        for _ in range(2):
            bus.post(note("before"))
            await settle()
        posted = bus.statistics().posted
        with trio.move_on_after(3) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(bus.send, note("late"))
                await trio.sleep(1)
                assert [waiting.since for waiting in bus.statistics().waiting] == [0]
                if way == "receiver stops":
                    await reader.stop()
        assert scope.cancelled_caught is (way == "sender is cancelled")
        assert bus.statistics().waiting == ()
        lost = bus.statistics().dead_letters + reader.statistics().mailbox.dropped
        assert lost == (2 if way == "receiver stops" else 0)
        assert (bus.statistics().posted > posted) is (way == "receiver stops")
        await reader.stop()
    assert reader.texts == ["before"]


async def test_a_long_on_activated_waits_for_room_and_harms_nobody(autojump_clock: MockClock) -> None:
    """An activation hook is no lane hook: its ``send`` waits, while the sender's own messages and jobs go on."""

    class Writer(Napper):
        async def on_activated(self, args: object) -> None:
            for number in range(3):
                await self.send_bus_message(note(f"{number}"))
            await idle(self)

    reader, writer, bus = Reader("reader", seconds=4), Writer("writer"), LocalBus(mailbox_capacity=1)
    async with open_runner(reader, writer, bus=bus) as runner, within(30):
        assert await ask(runner, "writer", "nap", seconds=1) == {"slept": 1}
        assert [waiting.source for waiting in bus.statistics().waiting] == ["test"]
        await trio.sleep(9)
        assert (reader.texts, bus.statistics().waiting) == (["0", "1", "2"], ())
        await writer.stop()
