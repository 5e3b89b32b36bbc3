"""The bus between workers: effects on arrival, two lanes of hooks, who is told what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import trio
from job_support import Hand, Log, ask, failure, forever, nap
from support import Alarm, Doer, Note, settle, within
from trio.testing import MockClock

from trioworkers import (
    BaseWorker,
    BusActivateWorkerMessage,
    BusDeactivateWorkerMessage,
    BusEndWorkerMessage,
    BusJobCancelMessage,
    BusJobRequestMessage,
    BusJobResponseMessage,
    BusJobStreamCreditMessage,
    BusMessage,
    LocalBus,
    WorkerRunner,
    handles,
    open_runner,
)


class Reader(BaseWorker):
    """Hears notes and alarms, and writes down when each hook begins and ends."""

    def __init__(self, name: str, log: Log, *, note: float = 0, alarm: float = 0) -> None:
        super().__init__(name)
        self.log = log
        self.seconds = {Note: note, Alarm: alarm}

    @handles(Note)
    async def on_note(self, message: Note) -> None:
        """Take its time."""
        await self.hear(message)

    @handles(Alarm)
    async def on_alarm(self, message: Alarm) -> None:
        """Take its time."""
        await self.hear(message)

    async def hear(self, message: Note | Alarm) -> None:
        """Write down the beginning, and the end if that takes time."""
        self.log.append(message.text)
        if seconds := self.seconds[type(message)]:
            await trio.sleep(seconds)
            self.log.append(f"{message.text} ends")


def note(text: object, target: str | None = "reader", source: str = "a") -> Note:
    """Return a data message."""
    return Note(source=source, target=target, text=str(text))


def alarm(text: object, target: str | None = "reader", source: str = "a") -> Alarm:
    """Return a system message."""
    return Alarm(source=source, target=target, text=str(text))


# -- two lanes ------------------------------------------------------------------------------------------------------------


async def test_hooks_keep_the_order_of_each_priority(autojump_clock: MockClock) -> None:
    """B1: hooks run in the order of arrival, for each sender and priority, however many there are."""
    log: Log = []
    async with open_runner(Reader("reader", log)) as runner, within(9):
        for number in range(300):
            runner.bus.post(note(f"n{number}"))
            runner.bus.post(alarm(f"a{number}"))
        await settle()
    assert [entry for entry in log if entry[0] == "n"] == [f"n{number}" for number in range(300)]
    assert [entry for entry in log if entry[0] == "a"] == [f"a{number}" for number in range(300)]


async def test_system_messages_overtake_data_that_waits(autojump_clock: MockClock) -> None:
    """B2: no data hook starts while a system message waits that the free system lane could take: all data that waits is overtaken."""
    log: Log = []
    async with open_runner(Reader("reader", log)) as runner, within(9):
        await settle()
        for number in range(3):
            runner.bus.post(note(number))
        for number in range(3):
            runner.bus.post(alarm(f"alarm {number}"))
        await settle()
    assert log == ["alarm 0", "alarm 1", "alarm 2", "0", "1", "2"]


async def test_a_system_message_in_the_middle_goes_before_the_next_data_hook(autojump_clock: MockClock) -> None:
    """B2: the test for system messages is made before each data hook, within a batch too."""
    log: Log = []

    class Poster(Reader):
        """Posts an alarm to itself while it hears a note."""

        async def hear(self, message: Note | Alarm) -> None:
            """Post, at the second note."""
            await super().hear(message)
            if message.text == "1":
                self.bus.post(alarm("alarm"))

    async with open_runner(Poster("reader", log)) as runner, within(9):
        await settle()
        for number in range(4):
            runner.bus.post(note(number))
        await settle()
    assert log == ["0", "1", "alarm", "2", "3"]


async def test_a_data_hook_that_waits_does_not_hold_up_system_messages(autojump_clock: MockClock) -> None:
    """B2, U48: the two lanes are both live: a system hook may begin and end while a data hook awaits something."""
    log: Log = []
    async with open_runner(Reader("reader", log, note=3, alarm=1)) as runner, within(9):
        runner.bus.post(note("data"))
        await settle()
        runner.bus.post(alarm("system"))
        await trio.sleep(4)
    assert log == ["data", "system", "system ends", "data ends"]


async def test_a_busy_system_lane_does_not_hold_up_data(autojump_clock: MockClock) -> None:
    """B2, U48: while a system hook awaits something, data hooks go on, even if further system messages wait behind it."""
    log: Log = []
    async with open_runner(Reader("reader", log, alarm=3)) as runner, within(9):
        runner.bus.post(alarm("first"))
        await settle()
        runner.bus.post(alarm("second"))
        runner.bus.post(note("data"))
        await trio.sleep(7)
    assert log == ["first", "data", "first ends", "second", "second ends"]


class Steps(trio.abc.Instrument):
    """Writes down how much longer a log has grown in each step of each task."""

    def __init__(self, log: Log) -> None:
        self.grown: list[int] = []
        self._log = log
        self._before = len(log)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Look."""
        self.grown.append(len(self._log) - self._before)
        self._before = len(self._log)


class Turns(trio.abc.Instrument):
    """Counts how often the task that made it lets others take a turn."""

    def __init__(self) -> None:
        self.taken = 0
        self._maker = trio.lowlevel.current_task()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Count."""
        self.taken += task is self._maker


async def test_a_lane_gives_way_after_a_batch(autojump_clock: MockClock) -> None:
    """A lane runs at most 64 hooks that await nothing before it lets other tasks run."""
    log: Log = []
    async with open_runner(Reader("reader", log)) as runner, within(9):
        await settle()
        steps = Steps(log)
        trio.lowlevel.add_instrument(steps)
        for number in range(200):
            runner.bus.post(note(number))
        await settle()
        trio.lowlevel.remove_instrument(steps)
    assert [grown for grown in steps.grown if grown] == [64, 64, 64, 8]


async def test_sending_gives_way_now_and_then(autojump_clock: MockClock) -> None:
    """``send`` is always a cancel point, and a schedule point at least once in 32; cancelled, it has sent nothing."""
    log: Log = []
    async with open_runner(Reader("reader", log)) as runner, within(9):
        turns = Turns()
        trio.lowlevel.add_instrument(turns)
        for number in range(320):
            await runner.bus.send(note(number))
        trio.lowlevel.remove_instrument(turns)
        assert 9 <= turns.taken <= 11
        with trio.CancelScope() as scope:
            scope.cancel()
            await runner.bus.send(note("cancelled"))
        assert scope.cancelled_caught
        await settle()
    assert log == [str(number) for number in range(320)]


async def test_one_entrance(autojump_clock: MockClock) -> None:
    """R8, B1: what a worker sends itself goes the way of all messages, and keeps its place among those of others."""
    log: Log = []

    class Echo(Reader):
        """Answers each note of others with one of its own."""

        async def hear(self, message: Note | Alarm) -> None:
            """Send itself a note."""
            await super().hear(message)
            if message.source != self.name:
                await self.send_bus_message(note(f"echo {message.text}", source=self.name))

    async with open_runner(Echo("reader", log)) as runner, within(9):
        for number in range(3):
            runner.bus.post(note(number))
        await settle()
    assert log == ["0", "1", "2", "echo 0", "echo 1", "echo 2"]


# -- on arrival -----------------------------------------------------------------------------------------------------------


async def nothing(doer: Doer, message: BusJobRequestMessage) -> None:
    """A script: return without an answer."""


async def test_what_the_protocol_needs_happens_on_arrival(autojump_clock: MockClock) -> None:
    """When ``post`` returns the message has taken effect, before any hook: request, answer, cancel, credit, activation, end."""
    hooks: Log = []
    worker = Hand("worker", forever)
    for hook in ("on_bus_message", "on_activated", "on_deactivated", "on_job_response"):
        worker.add_event_handler(hook, lambda *args: hooks.append(args))
    async with open_runner(worker, Doer("other", nothing)) as runner, within(9):
        await settle()
        hooks.clear()
        post: Callable[[BusMessage], None] = runner.bus.post
        mine = await worker.request_job("other")
        post(BusJobRequestMessage(source="asker", target="worker", job_id="one", job_name="do", window=1))
        assert list(worker.active_jobs) == ["one"]
        worker.send_job_update_nowait("one")
        post(BusJobStreamCreditMessage(source="asker", target="worker", job_id="one"))
        worker.send_job_update_nowait("one")
        post(BusJobCancelMessage(source="asker", target="worker", job_id="one"))
        post(BusJobResponseMessage(source="other", target="worker", job_id=mine))
        assert worker.job_groups == {}
        post(BusDeactivateWorkerMessage(source="a", target="worker"))
        assert not worker.active
        post(BusActivateWorkerMessage(source="a", target="worker", args={"a": 1}))
        assert (worker.active, worker.activation_args) == (True, {"a": 1})
        post(BusEndWorkerMessage(source="a", target="worker"))
        assert str(worker) == "<Hand 'worker' ending>"
        assert hooks == []


async def test_a_post_inside_the_effects_of_another_waits_its_turn(autojump_clock: MockClock) -> None:
    """A post made inside a post's effects is delivered when the outer one returns: messages take effect one after another."""
    order: Log = []

    class Watching(LocalBus):
        """Writes down the messages as they are routed."""

        def _route(self, message: BusMessage) -> None:
            order.append(("begins", type(message).__name__))
            super()._route(message)
            order.append(("ends", type(message).__name__))

    async with open_runner(BaseWorker("doer"), bus=Watching()) as runner, within(9):
        await settle()
        order.clear()
        assert "no handler" in str(await failure(runner, "doer"))
        assert order == [
            ("begins", "BusJobRequestMessage"),
            ("ends", "BusJobRequestMessage"),
            ("begins", "BusJobResponseMessage"),
            ("ends", "BusJobResponseMessage"),
        ]


async def test_no_slow_hook_delays_an_answer(autojump_clock: MockClock) -> None:
    """A worker whose lanes are both held up by slow hooks still gets its answers, and does jobs, at once."""

    class Stuck(Reader):
        """Hears slowly, and does jobs."""

        async def on_job_request(self, message: BusJobRequestMessage) -> None:
            """Answer."""
            await self.send_job_response(message.job_id, {"at": trio.current_time()})

    stuck = Stuck("reader", [], note=5, alarm=5)
    async with open_runner(stuck, Hand("doer", nap(1))) as runner, within(9):
        runner.bus.post(note("slow"))
        runner.bus.post(alarm("slow"))
        await settle()
        assert await ask(stuck, "doer") == {"slept": 1}
        assert await ask(runner, "reader", None) == {"at": 1}
        assert trio.current_time() == 1


async def test_a_job_may_start_before_earlier_messages_are_heard(autojump_clock: MockClock) -> None:
    """A job may begin before the hooks of plain messages sent earlier: only ``sequential`` promises an order of starts."""
    log: Log = []

    class Both(Reader):
        """Hears notes slowly, and does jobs."""

        async def on_job_request(self, message: BusJobRequestMessage) -> None:
            """Answer."""
            self.log.append("job")
            await self.send_job_response(message.job_id)

    async with open_runner(Both("reader", log, note=1)) as runner, within(9):
        runner.bus.post(note("one"))
        runner.bus.post(note("two"))
        await ask(runner, "reader", None)
        await trio.sleep(3)
    assert sorted(log[:2]) == ["job", "one"]
    assert log[2:] == ["one ends", "two", "two ends"]


async def test_what_comes_before_readiness_is_kept(autojump_clock: MockClock) -> None:
    """B5: plain messages that come before a worker is ready are heard when it is."""
    log: Log = []

    class Slow(Reader):
        """Takes its time to be ready."""

        async def start(self) -> None:
            """Take it."""
            await trio.sleep(2)
            self.log.append("ready")
            await super().start()

    async with open_runner() as runner, within(9), trio.open_nursery() as nursery:
        nursery.start_soon(runner.add_workers, Slow("reader", log))
        await trio.sleep(1)
        runner.bus.post(note("early"))
        runner.bus.post(alarm("early alarm"))
        await trio.sleep(2)
    assert log == ["ready", "early alarm", "early"]


# -- to whom --------------------------------------------------------------------------------------------------------------


async def test_a_targeted_message_is_for_one(autojump_clock: MockClock) -> None:
    """B3, R20: a targeted message is delivered to that worker, once, and to no sibling, whatever they listen to."""
    log: Log = []
    readers = [Reader(name, log) for name in ("one", "two", "three")]
    for reader in readers:
        reader.add_event_handler("on_bus_message", lambda worker, message: log.append((worker.name, type(message))))
    async with open_runner(*readers) as runner, within(9):
        await settle()
        log.clear()
        delivered = runner.bus.statistics().delivered
        runner.bus.post(note("hello", target="two"))
        await settle()
        assert runner.bus.statistics().delivered == delivered + 1
        assert log == ["hello", ("two", Note)]


async def test_a_broadcast_reaches_those_who_ask_for_it(autojump_clock: MockClock) -> None:
    """A broadcast is delivered to those whose class or handlers ask for its type, its sender among them, and to nobody else."""
    log: Log = []
    everything = BaseWorker("everything")
    everything.add_event_handler("on_bus_message", lambda worker, message: log.append(worker.name))
    async with open_runner(Reader("reader", log), everything, BaseWorker("nothing")) as runner, within(9):
        await settle()
        log.clear()
        delivered = runner.bus.statistics().delivered
        runner.bus.post(note("hello", target=None, source="reader"))
        await settle()
        assert runner.bus.statistics().delivered == delivered + 2
        assert sorted(log) == ["everything", "hello"]


async def test_a_message_for_nobody_is_a_dead_letter(autojump_clock: MockClock) -> None:
    """A message for a name that nobody has is counted, never silent; one that nobody handles is counted at its receiver."""
    reader = Reader("reader", [])
    async with open_runner(reader, BaseWorker("plain")) as runner, within(9):
        runner.bus.post(note("lost", target="nobody"))
        runner.bus.post(note("unread", target="plain"))
        assert runner.bus.statistics().dead_letters == 1
        plain = runner.get_worker("plain")
        assert plain is not None
        assert plain.statistics().mailbox.unhandled == 1


async def test_a_slow_tap_loses_its_oldest_and_slows_nobody(autojump_clock: MockClock) -> None:
    """A tap that is slower than the bus loses its oldest messages, counted; delivery goes on."""
    log: Log = []
    async with open_runner(Reader("reader", log)) as runner, within(9):
        with runner.bus.tap(size=2) as messages:
            for number in range(5):
                runner.bus.post(note(number))
            await settle()
            kept: list[Any] = [messages.receive_nowait(), messages.receive_nowait()]
        assert [message.text for message in kept] == ["3", "4"]
        assert log == ["0", "1", "2", "3", "4"]
        assert runner.bus.statistics().tap_losses == 3


# -- bounded mailboxes ----------------------------------------------------------------------------------------------------


async def test_send_waits_for_room_and_post_does_not(autojump_clock: MockClock) -> None:
    """With ``mailbox_capacity`` a ``send`` waits for room, visibly; ``post``, counted, and system messages ignore the bound."""
    log: Log = []
    times: Log = []
    bus = LocalBus(mailbox_capacity=2)
    async with open_runner(Reader("reader", log, note=1), bus=bus) as runner, within(20), trio.open_nursery() as nursery:

        async def send_five() -> None:
            for number in range(5):
                await bus.send(note(number))
                times.append(trio.current_time())

        nursery.start_soon(send_five)
        await trio.sleep(0.5)
        (waiting,) = runner.statistics().bus.waiting
        assert (waiting.source, waiting.target, waiting.since) == ("a", "reader", 0)
        before = bus.statistics().over_capacity
        bus.post(note("posted"))
        await bus.send(alarm("urgent"))
        assert bus.statistics().over_capacity == before + 1
        await trio.sleep(9)
        assert bus.statistics().waiting == ()
    assert times == [0, 0, 0, 2, 3]
    assert [entry for entry in log if entry.isdigit()] == ["0", "1", "2", "3", "4"]


async def test_a_hook_never_waits_for_room(autojump_clock: MockClock) -> None:
    """B5: inside a lane's hook ``send`` does not wait for room: two workers that send to each other cannot lock each other out."""
    heard: Log = []

    class Chatty(BaseWorker):
        """Answers each note with two, up to some depth."""

        @handles(Note)
        async def on_note(self, message: Note) -> None:
            """Send two more."""
            heard.append(message.text)
            if len(message.text) < 7:
                other = "b" if self.name == "a" else "a"
                for way in "01":
                    await self.send_bus_message(note(message.text + way, target=other, source=self.name))

    bus = LocalBus(mailbox_capacity=1)
    async with open_runner(Chatty("a"), Chatty("b"), bus=bus) as runner, within(20):
        assert isinstance(runner, WorkerRunner)
        bus.post(note("0", target="a", source="b"))
        await settle()
    assert len(heard) == 2**7 - 1


async def test_who_waits_for_room_is_woken_when_the_receiver_is_gone(autojump_clock: MockClock) -> None:
    """J7: a ``send`` that waits for room goes on when the receiver finishes; its message is counted, as dropped or dead."""
    bus = LocalBus(mailbox_capacity=1)
    reader = Reader("reader", [], note=5)
    async with open_runner(reader, bus=bus), within(60), trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(bus.send, note(number))
        await trio.sleep(1)
        assert len(bus.statistics().waiting) >= 1
        await reader.stop()
        await settle()
        assert bus.statistics().waiting == ()
        assert reader.statistics().mailbox.dropped + bus.statistics().dead_letters >= 2
