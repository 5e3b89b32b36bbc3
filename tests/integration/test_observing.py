"""Observers of a whole program: each event is told exactly when it is promised, in order, and the stream says all there is to know."""

from __future__ import annotations

import itertools
from collections import Counter as Tally
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest
import trio
from job_support import Counter, Hand, ask, boom, echo, failure, forever, nap
from observer_support import Told, recording
from support import Note, settle, within
from trio.testing import MockClock

from trioworkers import (
    BaseWorker,
    BusActivateWorkerMessage,
    BusDeactivateWorkerMessage,
    BusJobCancelMessage,
    BusJobRequestMessage,
    BusJobResponseMessage,
    BusJobStreamCreditMessage,
    BusJobStreamDataMessage,
    BusJobUpdateRequestMessage,
    BusMessage,
    DuplicateWorkerError,
    JobEvent,
    JobGroupError,
    JobOutcome,
    JobState,
    JobStatus,
    LocalBus,
    Observer,
    WorkerReadyData,
    WorkerRegistry,
    WorkerRegistryEntry,
    WorkerRunner,
    WorkerState,
    handles,
    open_runner,
    sources,
    worker_ready,
)
from trioworkers.jobs.events import EventIterator

LIVES = ("worker_attached", "worker_state", "worker_active")
ASKING = ("job_asked", "job_decided", "job_acknowledged", "job_over")
EVENTS = ("job_event", "job_event_seen")
ANSWERING = ("job_accepted", "job_state", "job_refused")
CREDIT = ("credit_granted", "credit_spent")
LANES = ("hook_started", "hook_ended")
REGISTRY = ("worker_registered", "worker_unregistered", "watch_fired")
NEW, ATTACHED, STARTING, READY = WorkerState.NEW, WorkerState.ATTACHED, WorkerState.STARTING, WorkerState.READY
ENDING, CANCELLING, FINISHED, FAILED = WorkerState.ENDING, WorkerState.CANCELLING, WorkerState.FINISHED, WorkerState.FAILED


@pytest.fixture(autouse=True)
def counted() -> Iterator[None]:
    """Job ids and names that a test can foretell."""
    numbers = itertools.count(1)
    with sources(new_id=lambda: f"j{next(numbers)}", clock=lambda: 5.0):
        yield


# -- lives ---------------------------------------------------------------------------------------------------------------


async def test_lives_are_told(autojump_clock: MockClock) -> None:
    """Every step of every worker and runner is told in order, from the place it gets to its end; children with their parents."""
    log: Told = []
    parent = BaseWorker("parent", active=False)
    await parent.add_workers(BaseWorker("child"))
    async with open_runner(parent, name="house", observers=[recording(log, *LIVES)]):
        assert log[:8] == [
            ("worker_attached", "house", None, "house"),
            ("worker_state", "house", NEW, ATTACHED, None),
            ("worker_attached", "parent", None, "house"),
            ("worker_state", "parent", NEW, ATTACHED, None),
            ("worker_active", "parent", False),
            ("worker_attached", "child", "parent", "house"),
            ("worker_state", "child", NEW, ATTACHED, None),
            ("worker_active", "child", True),
        ]
        assert [(name, str(new)) for _, name, _, new, _ in log[8:]] == [
            ("house", "starting"),
            ("parent", "starting"),
            ("child", "starting"),
            ("child", "ready"),
            ("parent", "ready"),
            ("house", "ready"),
        ]
        del log[:]
    left = "its block was left"
    assert log == [
        ("worker_state", "parent", READY, ENDING, left),
        ("worker_state", "child", READY, ENDING, left),
        ("worker_state", "house", READY, ENDING, left),
        ("worker_state", "child", ENDING, FINISHED, left),
        ("worker_state", "parent", ENDING, FINISHED, left),
        ("worker_state", "house", ENDING, FINISHED, left),
    ]


async def test_abandoned_workers_are_told() -> None:
    """Workers that are never started are told of, too, with the reason, the lowest first."""
    log: Told = []
    parent, runner = BaseWorker("parent"), WorkerRunner(name="house")
    await parent.add_workers(BaseWorker("child"))
    await runner.add_workers(parent)
    runner.bus.add_observer(recording(log, *LIVES))
    runner.end_nowait()
    assert log == [
        ("worker_state", name, old, new, "never started")
        for name in ("child", "parent", "house")
        for old, new in ((ATTACHED, CANCELLING), (CANCELLING, FINISHED))
    ]


async def test_a_death_is_told(autojump_clock: MockClock) -> None:
    """A worker that dies goes through CANCELLING to FAILED, with its error as reason; so does its owner, with it."""
    log: Told = []

    class Dying(BaseWorker):
        async def on_activated(self, args: dict[str, Any] | None) -> None:
            await trio.sleep(1)  # by then its owner is ready
            raise ValueError("boom")

    runner = WorkerRunner(name="house", observers=[recording(log, "worker_state")])
    await runner.add_workers(Dying("dying"))
    with pytest.raises(ExceptionGroup):
        await runner.run()
    assert log[-4:] == [
        ("worker_state", "dying", READY, CANCELLING, "cancelled"),
        ("worker_state", "dying", CANCELLING, FAILED, "ValueError: boom"),
        ("worker_state", "house", READY, CANCELLING, "its child 'dying' failed"),
        ("worker_state", "house", CANCELLING, FAILED, "ValueError: boom"),
    ]


async def test_what_is_told_has_happened(autojump_clock: MockClock) -> None:
    """When a state, a wish, a decision is told, whoever asks sees it; and nobody who waited for it has gone on yet."""
    log: list[Any] = []

    class Looking(Observer):
        def worker_state(self, name: str, old: WorkerState, new: WorkerState, reason: str | None) -> None:
            log.append(worker.statistics().state is new if name == "w" else None)

        def worker_active(self, name: str, active: bool) -> None:
            log.append(worker.active is active)

        def job_decided(self, asker: str, job_id: str, name: str, outcome: JobOutcome) -> None:
            log.append(asking[0].job_groups[job_id].outcomes == {name: outcome})

    class Asking(BaseWorker):
        async def on_activated(self, args: dict[str, Any] | None) -> None:
            asking.append(self)
            log.append(await ask(self, "w"))

    asking: list[BaseWorker] = []
    worker = Hand("w", echo)
    async with open_runner(worker, observers=[Looking()]) as runner:
        await runner.add_workers(Asking("asking"))
        await settle()
    assert [entry for entry in log if entry is not None] == [*[True] * 6, {"echo": {}}, *[True] * 2]


async def test_the_wish_is_told_when_it_changes(autojump_clock: MockClock) -> None:
    """``worker_active`` is told of each change of the wish, before and after READY, and not of what changes nothing."""
    log: Told = []
    runner = WorkerRunner(name="house", observers=[recording(log, "worker_active")])
    await runner.add_workers(BaseWorker("w"))
    runner.bus.post(BusDeactivateWorkerMessage(source="test", target="w"))
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        runner.bus.post(BusDeactivateWorkerMessage(source="test", target="w"))
        runner.bus.post(BusActivateWorkerMessage(source="test", target="w"))
        runner.bus.post(BusActivateWorkerMessage(source="test", target="w", args={"other": 1}))
        runner.end_nowait()
    assert [active for _, _, active in log] == [True, False, True]


async def test_an_observer_hears_from_when_it_is_added(autojump_clock: MockClock) -> None:
    """An observer added in the middle is told what happens from then on; one that is removed, what happened until then."""
    log: Told = []
    observer = recording(log, "worker_state")
    async with open_runner(BaseWorker("one")) as runner:
        runner.bus.add_observer(observer)
        await runner.add_workers(BaseWorker("two"))
        runner.bus.remove_observer(observer)
        await runner.add_workers(BaseWorker("three"))
    assert log == [("worker_state", "two", old, new, None) for old, new in ((NEW, ATTACHED), (ATTACHED, STARTING), (STARTING, READY))]


def test_a_runner_that_cannot_be_made_leaves_no_observers() -> None:
    """If a runner's name is taken, its observers are not on the bus, except those that had been there."""
    bus, log = LocalBus(), Told()
    there, new = recording(log), recording(log)
    WorkerRunner(name="house", bus=bus, observers=[there])
    with pytest.raises(DuplicateWorkerError):
        WorkerRunner(name="house", bus=bus, observers=[there, new])
    bus.remove_observer(there)
    with pytest.raises(LookupError):
        bus.remove_observer(new)


# -- messages and hooks --------------------------------------------------------------------------------------------------


async def test_messages_are_told(autojump_clock: MockClock) -> None:
    """A message is told as posted, once, and as delivered to each receiver, before its effects; and in the order of effect."""
    log: Told = []

    class Listening(BaseWorker):
        @handles(Note)
        async def read(self, message: Note) -> None:
            """Only listen."""

    broadcast = Note(source="test")
    request = BusJobRequestMessage(source="nobody", target="a", job_id="x", job_name="do")
    async with open_runner(Listening("a"), Listening("b"), name="house") as runner:
        runner.bus.add_observer(recording(log, "message_posted", "message_delivered", "message_dropped", "job_refused"))
        runner.bus.post(broadcast)
        runner.bus.post(request)
        told = [*log]
    reason = "no handler for job 'do' on worker 'a'"
    answer = BusJobResponseMessage(source="a", target="nobody", job_id="x", status=JobStatus.FAILED, reason=reason)
    assert told == [
        ("message_posted", broadcast),
        ("message_delivered", broadcast, "a"),
        ("message_delivered", broadcast, "b"),
        ("message_posted", request),
        ("message_delivered", request, "a"),
        ("job_refused", "a", "x", JobStatus.FAILED, reason),
        ("message_posted", answer),
        ("message_dropped", answer, None, "dead letter"),
    ]


async def test_lost_messages_are_told(autojump_clock: MockClock) -> None:
    """A message about no job of its sender's, and one whose hooks never run, is told as dropped, by whom and why, as it is counted."""
    log: Told = []

    class Slow(Hand):
        @handles(Note)
        async def read(self, message: Note) -> None:
            await trio.sleep_forever()

    worker = Slow("w", forever)
    notes = [Note(source="test", target="w", text=text) for text in ("read", "taken", "waiting", "late")]
    strangers: list[BusMessage] = [
        BusJobCancelMessage(source="x", target="w", job_id="none"),
        BusJobUpdateRequestMessage(source="x", target="w", job_id="none"),
        BusJobStreamCreditMessage(source="x", target="w", job_id="none"),
        BusJobResponseMessage(source="x", target="w", job_id="none"),
        BusJobRequestMessage(source="test", target="w", job_id="j", job_name="do"),
    ]
    async with open_runner(worker, name="house") as runner:
        runner.bus.post(BusJobRequestMessage(source="test", target="w", job_id="j", job_name="do"))
        runner.bus.add_observer(recording(log, "message_dropped"))
        for message in (*strangers, *notes[:3]):
            runner.bus.post(message)
        await settle()
        assert log == [("message_dropped", message, "w", "stranger") for message in strangers]
        del log[:]
        runner.bus.post(BusJobCancelMessage(source="test", target="w", job_id="j"))
        await worker.stop()
        told = [told for told in log if isinstance(told[1], Note)]
    assert told == [("message_dropped", message, "w", "stopped") for message in notes[1:3]]
    assert worker.statistics().mailbox.dropped == 2
    assert worker.statistics().answering.strangers + worker.statistics().asking.strangers == len(strangers)


async def test_a_message_for_a_closed_mailbox_is_told(autojump_clock: MockClock) -> None:
    """A message that comes while the worker winds down takes effect, and is told as dropped for those who would have seen it."""
    log: Told = []

    class Tidy(BaseWorker):
        @handles(Note)
        async def read(self, message: Note) -> None:
            with trio.CancelScope(shield=True):
                await trio.sleep(2)

    worker, late = Tidy("w"), Note(source="test", target="w", text="late")
    async with open_runner(worker, observers=[recording(log, "message_dropped")]) as runner, trio.open_nursery() as nursery:
        runner.bus.post(Note(source="test", target="w"))
        await settle()
        nursery.start_soon(worker.stop)
        await trio.sleep(1)
        runner.bus.post(late)
        assert log == [("message_dropped", late, "w", "stopped")]


async def test_hooks_are_told(autojump_clock: MockClock) -> None:
    """Each hook and marked method that runs in a lane is told when it starts and when it has ended; those nobody overrides, not."""
    log: Told = []

    class Busy(BaseWorker):
        async def on_activated(self, args: dict[str, Any] | None) -> None:
            log.append(("runs", "on_activated"))

        async def on_deactivated(self) -> None:
            """Nothing."""

        async def on_bus_message(self, message: BusMessage) -> None:
            log.append(("runs", type(message).__name__))

        @worker_ready(name="late")
        async def late_is_there(self, data: WorkerReadyData) -> None:
            await trio.sleep(1)

        @handles(Note)
        async def read(self, message: Note) -> None:
            log.append(("runs", "read"))

    message, off = Note(source="test", target="w"), BusDeactivateWorkerMessage(source="test", target="w")
    async with open_runner(Busy("w"), name="house") as runner:
        await settle()
        del log[:]
        runner.bus.add_observer(recording(log, *LANES))
        runner.bus.post(message)
        await settle()
        assert log == [
            ("hook_started", "w", "data", "handles:Note", message),
            ("runs", "read"),
            ("hook_ended", "w", "data", "handles:Note", None),
            ("hook_started", "w", "data", "on_bus_message", message),
            ("runs", "Note"),
            ("hook_ended", "w", "data", "on_bus_message", None),
        ]
        del log[:]
        runner.bus.post(off)
        runner.bus.post(BusActivateWorkerMessage(source="test", target="w", args={"why": "work"}))
        await settle()
        assert [told for told in log if told[2:3] == ("activation",)] == [
            ("hook_started", "w", "activation", "on_deactivated", None),
            ("hook_ended", "w", "activation", "on_deactivated", None),
            ("hook_started", "w", "activation", "on_activated", {"why": "work"}),
            ("hook_ended", "w", "activation", "on_activated", None),
        ]
        del log[:]
        await runner.add_workers(BaseWorker("late"))
        await settle()
        data = WorkerReadyData("late", "house")
        assert ("hook_started", "w", "data", "worker_ready:late", data) in log
        assert ("hook_ended", "w", "data", "worker_ready:late", None) not in log
        await trio.sleep(1)
        await settle()
        assert ("hook_ended", "w", "data", "worker_ready:late", None) in log


async def test_hooks_that_raise_are_told(autojump_clock: MockClock) -> None:
    """``hook_ended`` says what the hook raised: its error, or the Cancelled that stopped it; failures have a lane of their own."""
    log: Told = []

    class Parent(BaseWorker):
        async def on_worker_failed(self, data: object) -> None:
            await trio.sleep(1)

        @handles(Note)
        async def read(self, message: Note) -> None:
            await trio.sleep_forever()

    class Child(BaseWorker):
        @handles(Note)
        async def read(self, message: Note) -> None:
            raise ValueError("boom")

    parent, runner = Parent("parent"), WorkerRunner(name="house", observers=[recording(log, *LANES)])
    await parent.add_workers(Child("child"))
    await runner.add_workers(parent)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(failing, runner)
        await settle()
        for name in ("parent", "child"):
            runner.bus.post(Note(source="test", target=name))
            await settle()
    assert [(what, name, lane, hook) for what, name, lane, hook, _ in log] == [
        ("hook_started", "parent", "data", "handles:Note"),
        ("hook_started", "child", "data", "handles:Note"),
        ("hook_ended", "child", "data", "handles:Note"),
        ("hook_started", "parent", "failures", "on_worker_failed"),
        ("hook_ended", "parent", "failures", "on_worker_failed"),
        ("hook_ended", "parent", "data", "handles:Note"),
    ]
    assert [type(told[4]).__name__ for told in log if told[0] == "hook_ended"] == ["ValueError", "NoneType", "Cancelled"]


async def failing(runner: WorkerRunner) -> None:
    """Run a runner that fails."""
    with pytest.raises(ExceptionGroup):
        await runner.run()


# -- jobs ----------------------------------------------------------------------------------------------------------------


async def test_a_job_is_told_from_both_sides(autojump_clock: MockClock) -> None:
    """A job's way is told in order: asked, accepted, running, answered, decided, acknowledged, over, gone."""
    log: Told = []
    async with open_runner(Hand("w", echo), name="house", observers=[recording(log, *ASKING, *ANSWERING)]) as runner:
        await ask(runner, "w")
    assert log[1][2] == BusJobRequestMessage(source="house", target="w", job_id="j1", job_name="do")
    assert [(*told[:2], *("request" if isinstance(part, BusMessage) else part for part in told[2:])) for told in log] == [
        ("job_asked", "house", "j1", ("w",)),
        ("job_accepted", "w", "request"),
        ("job_state", "w", "j1", JobState.ACCEPTED, JobState.RUNNING),
        ("job_state", "w", "j1", JobState.RUNNING, JobState.ANSWERED),
        ("job_decided", "house", "j1", "w", JobOutcome(JobStatus.COMPLETED, {"echo": {}})),
        ("job_acknowledged", "house", "j1", "w"),
        ("job_over", "house", "j1"),
        ("job_state", "w", "j1", JobState.ANSWERED, JobState.GONE),
    ]


async def test_a_job_that_is_given_up_is_told(autojump_clock: MockClock) -> None:
    """A timeout decides at once, and is acknowledged when the handler has gone; nothing that comes between is an event."""
    log: Told = []

    async def stubborn(hand: Hand, message: BusJobRequestMessage) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
                await hand.send_job_update(message.job_id, {"late": True}, urgent=True)
            log.append(("cleaned up", trio.current_time()))

    async with open_runner(Hand("w", stubborn), name="house", observers=[recording(log, *ASKING, *EVENTS)]) as runner, within(9):
        assert (await failure(runner, "w", timeout=3)).reason == "timeout"
    assert log == [
        ("job_asked", "house", "j1", ("w",)),
        ("job_decided", "house", "j1", "w", JobOutcome(JobStatus.CANCELLED, reason="timeout")),
        ("cleaned up", 4),
        ("job_acknowledged", "house", "j1", "w"),
        ("job_over", "house", "j1"),
    ]


async def test_every_member_is_decided_exactly_once(autojump_clock: MockClock) -> None:
    """J1: of each request, each member is decided once and acknowledged once, whatever way it ends, or if it was never asked."""
    log: Told = []
    workers = [Hand("echo", echo), Hand("boom", boom), Hand("slow", nap(5)), BaseWorker("idle"), Hand("stopped", nap(50))]
    async with open_runner(*workers, name="house", observers=[recording(log, *ASKING)]) as runner, within(100):
        for names in (["echo"], ["boom"], ["idle"], ["echo", "slow"], ["slow", "boom", "echo"], ["idle", "echo"], ["slow", "stopped"]):
            for settings in ({}, {"timeout": 3}, {"cancel_on_error": False}):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(try_group, runner, names, settings)
                    await trio.sleep(1)
                    runner.bus.post(BusJobCancelMessage(source="stranger", target="slow", job_id="j1"))
                    await trio.sleep(3)
                    if "stopped" in names and settings.get("timeout") is None:
                        await workers[4].stop()
                        workers[4] = Hand("stopped", nap(50))
                        await runner.add_workers(workers[4])
    asked = {(told[2], name) for told in log if told[0] == "job_asked" for name in told[3]}
    for event in ("job_decided", "job_acknowledged"):
        assert Tally((told[2], told[3]) for told in log if told[0] == event) == dict.fromkeys(asked, 1)
    assert len(asked) == 3 * 12
    for job_id in {job_id for job_id, _ in asked}:
        order = [told[0] for told in log if told[2] == job_id]
        assert (order[0], order[-1], order.count("job_over")) == ("job_asked", "job_over", 1)


async def try_group(runner: WorkerRunner, names: list[str], settings: dict[str, Any]) -> None:
    """Ask, whatever comes of it."""
    try:
        async with runner.job_group(*names, name="do", **settings):
            pass
    except JobGroupError:
        pass


async def test_a_stream_and_its_credit_are_told(autojump_clock: MockClock) -> None:
    """Each event is told as it takes effect, and once as seen; each credit as it is spent, and as it is granted."""
    log: Told = []
    observers = [recording(log, *EVENTS, *CREDIT)]
    async with (
        open_runner(Counter("w"), name="house", observers=observers) as runner,
        within(9),
        runner.job("w", name="count", payload={"to": 200}) as counting,
    ):
        assert len([event async for event in counting if event.type == JobEvent.STREAM_DATA]) == 200
    tally = Tally(told[0] for told in log)
    assert (tally["job_event"], tally["job_event_seen"], tally["credit_spent"]) == (202, 202, 200)
    left, seen = 64, 0
    for what, *rest in log:
        match what, rest:
            case "credit_granted", [_, _, credit, now]:
                left += credit
                assert left == now
            case "credit_spent", [_, _, now]:
                left -= 1
                assert left == now >= 0
            case "job_event_seen", _:
                seen += 1
            case _:
                assert seen <= tally["job_event"]
    assert 200 - tally["credit_granted"] * 32 + left == 64


async def test_events_without_a_block_are_seen_when_their_hooks_have_run(autojump_clock: MockClock) -> None:
    """For a request without a block, an event is seen when the hook that sees it has run; the end of the stream, at once."""
    log: Told = []

    class Asker(BaseWorker):
        async def on_activated(self, args: dict[str, Any] | None) -> None:
            await self.request_job("w", name="count", payload={"to": 1})

        async def on_job_stream_data(self, message: BusJobStreamDataMessage) -> None:
            await trio.sleep(1)
            log.append(("hook", trio.current_time()))

    async with open_runner(Counter("w"), observers=[recording(log, *EVENTS)]) as runner, within(9):
        await runner.add_workers(Asker("asker"))
        await trio.sleep(2)
    kinds = [type(told[4]).__name__ if told[0] == "job_event" else told[0] for told in log]
    assert kinds == [
        "BusJobStreamStartMessage",
        "job_event_seen",
        "BusJobStreamDataMessage",
        "BusJobStreamEndMessage",
        "job_event_seen",
        "hook",
        "job_event_seen",
    ]


async def test_a_garbage_collection_inside_a_hook_loses_no_credit(autojump_clock: MockClock) -> None:
    """An ``async for`` may be collected at any moment: if it is inside an observer's hook, its credit goes back all the same."""
    kept: list[EventIterator[JobEvent]] = []

    class Dropping(Observer):
        def message_posted(self, message: BusMessage) -> None:
            if isinstance(message, Note):
                kept.clear()

    worker = Counter("w")
    async with (
        open_runner(worker, observers=[Dropping()]) as runner,
        within(9),
        runner.job("w", name="count", payload={"to": 200}) as counting,
    ):
        kept.append(aiter(counting))
        await settle()
        assert len(worker.sent) == 64
        runner.bus.post(Note(source="test"))
        assert kept == []
        await settle()
        assert len(worker.sent) == 200


# -- the registry --------------------------------------------------------------------------------------------------------


async def test_the_registry_is_told(autojump_clock: MockClock) -> None:
    """Entries are told as they come, change and go, then each watch that fires, with the name of the worker that watches."""
    log: Told = []

    class Watching(BaseWorker):
        async def on_worker_lost(self, data: object) -> None:
            """Only listen."""

    async with open_runner(name="house", observers=[recording(log, *REGISTRY)]) as runner:
        runner.registry.watch("w", lambda data: log.append(("plain", "w")), lambda data: log.append(("plain", "w")))
        await runner.add_workers(Watching("watching"))
        del log[:]
        worker = BaseWorker("w")
        await runner.add_workers(worker)
        entry = WorkerRegistryEntry("w", None, active=True, bridged=False, started_at=5.0)
        came = [("watch_fired", None, "w", True), ("plain", "w"), ("watch_fired", "watching", "w", True)]
        assert log == [("worker_registered", entry), *came]
        del log[:]
        runner.registry.watch("w", lambda data: None, watcher="late")
        runner.registry.watch_roots(lambda data: None)
        assert log == [("watch_fired", "late", "w", True), *(("watch_fired", None, name, True) for name in ("watching", "w"))]
        del log[:]
        runner.bus.post(BusDeactivateWorkerMessage(source="test", target="w"))
        assert log == [("worker_registered", attrs.evolve(entry, active=False))]
        del log[:]
        await worker.stop()
        went = [("watch_fired", None, "w", False), ("plain", "w"), ("watch_fired", "watching", "w", False)]
        assert log == [("worker_unregistered", "w"), *went]


async def test_a_registry_made_by_hand_may_be_observed() -> None:
    """A registry that no runner has made tells those whom it is given; a worker is told of with the name of that registry's runner."""
    log: Told = []
    bus = LocalBus()
    bus.add_observer(recording(log, "worker_attached", *REGISTRY))
    registry, worker = WorkerRegistry("hand", observers=bus.observers), BaseWorker("w")
    await worker.attach(registry=registry, bus=bus)
    registry.register(WorkerRegistryEntry("remote", started_at=1.0), runner="elsewhere")
    registry.unregister("remote", runner="elsewhere")
    registry.unregister("remote", runner="elsewhere")
    assert log == [
        ("worker_attached", "w", None, "hand"),
        ("worker_registered", WorkerRegistryEntry("remote", started_at=1.0)),
        ("worker_unregistered", "remote"),
    ]
    await worker.cleanup()


# -- the whole -----------------------------------------------------------------------------------------------------------


@attrs.define
class Seen:
    """What the stream says of one worker."""

    parent: str | None
    state: WorkerState = NEW
    active: bool = False
    open: int = 0
    asked: int = 0
    accepted: int = 0
    ended: Tally[str] = attrs.field(factory=Tally)
    strangers: int = 0


class Fold(Observer):
    """Makes the statistics of a runner out of the stream alone."""

    def __init__(self) -> None:
        self.seen: dict[str, Seen] = {}
        self.registered: dict[str, None] = {}
        self.counts: Tally[str] = Tally()
        self.answered: dict[tuple[str, str], None] = {}

    def worker_attached(self, name: str, parent: str | None, runner: str) -> None:
        """One more."""
        self.seen[name] = Seen(parent)

    def worker_state(self, name: str, old: WorkerState, new: WorkerState, reason: str | None) -> None:
        """It went on from where it was."""
        assert self.seen[name].state is old
        self.seen[name].state = new

    def worker_active(self, name: str, active: bool) -> None:
        """The wish."""
        self.seen[name].active = active

    def worker_registered(self, entry: WorkerRegistryEntry) -> None:
        """New, or not."""
        self.counts["started"] += entry.name not in self.registered
        self.registered[entry.name] = None

    def worker_unregistered(self, name: str) -> None:
        """Gone."""
        self.counts["finished"] += 1
        del self.registered[name]

    def message_posted(self, message: BusMessage) -> None:
        """One more; an answer says how the job ended that has just been answered."""
        self.counts["posted"] += 1
        match message:
            case BusJobResponseMessage(source=name, job_id=job_id, status=status) if (name, job_id) in self.answered:
                self.ended(name, status)
                del self.answered[name, job_id]

    def message_delivered(self, message: BusMessage, name: str) -> None:
        """One more."""
        self.counts["delivered"] += 1

    def message_dropped(self, message: BusMessage, name: str | None, why: str) -> None:
        """By the bus, or by a worker."""
        self.counts[why] += 1
        if name is not None and why == "stranger":
            self.seen[name].strangers += 1

    def job_asked(self, asker: str, job_id: str, names: tuple[str, ...]) -> None:
        """One more is open."""
        self.seen[asker].asked += 1
        self.seen[asker].open += 1

    def job_over(self, asker: str, job_id: str) -> None:
        """One fewer is open."""
        self.seen[asker].open -= 1

    def job_accepted(self, name: str, request: BusJobRequestMessage) -> None:
        """One more is active."""
        self.seen[name].accepted += 1

    def job_state(self, name: str, job_id: str, old: JobState, new: JobState) -> None:
        """One fewer is active when it is answered."""
        if new is JobState.ANSWERED:
            self.seen[name].accepted -= 1
            self.answered[name, job_id] = None

    def job_refused(self, name: str, job_id: str, status: JobStatus, reason: str) -> None:
        """Ended before it began."""
        self.ended(name, status)

    def ended(self, name: str, status: JobStatus) -> None:
        """One more."""
        self.seen[name].ended[status.value] += 1

    def check(self, runner: WorkerRunner, *gone: BaseWorker) -> None:
        """Compare with what the runner says, and what workers say that are gone."""
        told = runner.statistics()
        assert (told.state, told.started, told.finished) == (
            self.seen[told.name].state,
            self.counts["started"],
            self.counts["finished"],
        )
        bus = told.bus
        assert (bus.posted, bus.delivered, bus.dead_letters) == tuple(
            self.counts[name] for name in ("posted", "delivered", "dead letter")
        )
        over = (FINISHED, FAILED)
        there = [name for name, seen in self.seen.items() if seen.state not in over]
        assert bus.subscribers == len(there)
        assert sorted(worker.name for worker in told.workers) == sorted(name for name in there if name != told.name)
        for worker in (*told.workers, *(worker.statistics() for worker in gone)):
            seen = self.seen[worker.name]
            assert (worker.state, worker.active, worker.parent) == (seen.state, seen.active, seen.parent)
            assert sorted(worker.children) == sorted(name for name in there if self.seen[name].parent == worker.name)
            assert (worker.asking.open, worker.asking.asked) == (seen.open, seen.asked)
            assert (worker.answering.active, worker.answering.ended) == (seen.accepted, dict(seen.ended))
            assert worker.asking.strangers + worker.answering.strangers == seen.strangers


class Boss(BaseWorker):
    """Asks for what it is told to ask."""

    @handles(Note)
    async def read(self, message: Note) -> None:
        """Ask the worker that the note names."""
        await self.request_job(message.text, name="do", timeout=8)


async def test_the_stream_says_what_the_statistics_say(autojump_clock: MockClock) -> None:
    """Folding the stream gives the same as ``statistics()``, at any quiet moment of an eventful run, and after it."""
    fold = Fold()
    boss, runner = Boss("boss"), WorkerRunner(name="house", observers=[fold])
    await boss.add_workers(Hand("echo", echo), Hand("slow", nap(5)), Hand("never", forever))
    await runner.add_workers(boss, BaseWorker("idle", active=False))
    fold.check(runner)

    def post(message: BusMessage) -> None:
        runner.bus.post(message)
        fold.check(runner)

    async with trio.open_nursery() as nursery, within(60):
        await nursery.start(runner.run)
        fold.check(runner)
        for name in ("echo", "slow", "never", "boss"):
            post(Note(source="test", target="boss", text=name))
            await trio.sleep(1)
            fold.check(runner)
        post(BusJobResponseMessage(source="echo", target="boss", job_id="j1"))
        post(BusJobCancelMessage(source="test", target="slow", job_id="j1"))
        post(BusJobRequestMessage(source="test", target="echo", job_id="x", job_name="no such job"))
        post(BusActivateWorkerMessage(source="test", target="idle"))
        post(Note(source="test", target="nobody"))
        for _ in range(6):
            await trio.sleep(1)
            fold.check(runner)
        slow = boss.children[1]
        await boss.end_workers("slow")
        fold.check(runner, slow)
        post(Note(source="test", target="boss", text="never"))
        await trio.sleep(1)
        runner.cancel_nowait("enough")
        fold.check(runner, slow)
    fold.check(runner, boss, slow)
    assert fold.counts["stranger"] >= 2  # the two above, and perhaps a cancel that comes as late as its deadline


async def test_two_runs_tell_the_same_story(autojump_clock: MockClock) -> None:
    """With ids, names and clock given, the stream of one run is, word for word, the stream of the next."""

    async def story() -> Told:
        log: Told = []
        with sources(new_id=(f"job-{n}" for n in itertools.count()).__next__, names=numbered(), clock=lambda: 1e9):
            async with open_runner(Hand("w", echo), observers=[recording(log)]) as runner:
                await runner.add_workers(BaseWorker())
                await ask(runner, "w")
                told = [*log]
        return told

    def numbered() -> Callable[[str], str]:
        numbers = itertools.count(1)
        return lambda kind: f"{kind.lower()} {next(numbers)}"

    one, two = await story(), await story()
    assert [told for told in one if told[0] in {"worker_attached", "job_asked"}] == [
        ("worker_attached", "runner 1", None, "runner 1"),
        ("worker_attached", "w", None, "runner 1"),
        ("worker_attached", "baseworker 2", None, "runner 1"),
        ("job_asked", "runner 1", "job-0", ("w",)),
    ]
    assert one == two
