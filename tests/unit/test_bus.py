"""The bus: one entrance, one look-up for a target, listeners alone for a broadcast, and nothing lost in silence."""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from support import Alarm, Note, settle
from unit.strategies import steady
from unit.subscribers import Curious, Subscriber

from trioworkers import (
    BusDataMessage,
    BusJobRequestMessage,
    BusJobResponseMessage,
    BusLocalMessage,
    BusMessage,
    BusStatistics,
    BusWorkerLocalErrorMessage,
    DuplicateWorkerError,
    JobStatus,
    LocalBus,
    SenderWaiting,
    WorkerBus,
)
from trioworkers.bus.base import PACE


def note(text: str = "", target: str | None = "w", source: str = "a") -> Note:
    """A data message."""
    return Note(source=source, target=target, text=text)


def alarm(text: str = "", target: str | None = "w") -> Alarm:
    """A system message."""
    return Alarm(source="a", target=target, text=text)


@attrs.frozen(kw_only=True)
class Whisper(BusLocalMessage, BusDataMessage):
    """A message that never leaves the process."""


@attrs.frozen(kw_only=True)
class Special(Note):
    """A more special message."""


class Spanning(WorkerBus):
    """A bus that reaches others outside, and writes down what it is asked to publish."""

    def __init__(self, *known: str) -> None:
        super().__init__()
        self.known = known
        self.published: list[BusMessage] = []

    def publish(self, message: BusMessage) -> bool:
        """Write it down; some names are known."""
        self.published.append(message)
        return message.target in self.known


def subscribed(bus: WorkerBus, *subscribers: Subscriber) -> None:
    """Subscribe them all."""
    for subscriber in subscribers:
        bus.subscribe(subscriber.inbox)


def effects(subscriber: Subscriber, cls: type[BusMessage] = BusMessage) -> list[BusMessage]:
    """Write down what takes effect at this subscriber."""
    seen: list[BusMessage] = []
    subscriber.effect(cls, seen.append)
    return seen


@contextmanager
def counted_steps() -> Iterator[list[trio.lowlevel.Task]]:
    """Write down each step of the present task."""
    steps: list[trio.lowlevel.Task] = []
    me = trio.lowlevel.current_task()

    class Steps(trio.abc.Instrument):
        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            steps.extend([task] * (task is me))

    instrument = Steps()
    trio.lowlevel.add_instrument(instrument)
    yield steps
    trio.lowlevel.remove_instrument(instrument)


# -- targets -------------------------------------------------------------------------------------------------------------


def test_a_targeted_message_reaches_its_target_alone() -> None:
    """B3: a message with a target has taken effect there, once, when ``post`` returns; nobody else is told."""
    bus = LocalBus()
    one, other = Subscriber("w"), Curious("other", BusMessage)
    seen, elsewhere = effects(one), effects(other)
    subscribed(bus, one, other)
    bus.post(note("1"))
    assert (seen, elsewhere) == ([note("1")], [])
    assert (bus.statistics().posted, bus.statistics().delivered) == (1, 1)


def test_a_targeted_message_costs_one_look_up() -> None:
    """U51: however many subscribers there are, a targeted message looks up one."""
    looked: list[Any] = []

    class Counting(dict[Any, Any]):
        def get(self, key: Any, default: Any = None) -> Any:
            looked.append(key)
            return super().get(key, default)

    bus = LocalBus()
    subscribed(bus, *(Curious(f"w{number}") for number in range(1000)))
    bus._inboxes = Counting(bus._inboxes)
    bus.post(note(target="w7"))
    assert looked == ["w7"]
    assert bus.statistics().delivered == 1


@pytest.mark.parametrize("wrong", [None, "hello", 5, Note])
async def test_only_messages_can_be_sent(wrong: Any) -> None:
    """What is no message is a TypeError at the call, and nothing is sent."""
    bus = LocalBus()
    with pytest.raises(TypeError, match="only messages can be posted, not"):
        bus.post(wrong)
    with pytest.raises(TypeError, match="only messages can be sent, not"):
        await bus.send(wrong)
    assert bus.statistics().posted == 0


# -- broadcasts ----------------------------------------------------------------------------------------------------------


def test_a_broadcast_reaches_its_listeners() -> None:
    """U51, U52: a broadcast goes to those who listen to its class, or a base of it, once each, and to nobody else."""
    bus = LocalBus()
    log: list[tuple[str, str]] = []
    subscribers = [
        Subscriber("special", Special),
        Subscriber("note", Note),
        Subscriber("data", BusDataMessage),
        Subscriber("both", Special, Note),
        Curious("all"),
        Subscriber("alarm", Alarm),
        Subscriber("none"),
    ]
    for subscriber in subscribers:
        subscriber.effect(BusMessage, lambda message, name=subscriber.inbox.name: log.append((message.text, name)))  # type: ignore[misc]
    subscribed(bus, *subscribers)
    bus.post(Special(source="a", text="special"))
    bus.post(note("note", None))
    bus.post(alarm("alarm", None))
    assert sorted(log) == [
        ("alarm", "alarm"),
        ("alarm", "all"),
        ("note", "all"),
        ("note", "both"),
        ("note", "data"),
        ("note", "note"),
        ("special", "all"),
        ("special", "both"),
        ("special", "data"),
        ("special", "note"),
        ("special", "special"),
    ]
    assert bus.statistics() == BusStatistics(
        subscribers=7, posted=3, delivered=11, dead_letters=0, over_capacity=0, tap_losses=0, waiting=()
    )


def test_the_same_listeners_in_the_same_order() -> None:
    """Broadcasts reach their listeners in the order these subscribed, every time."""
    bus = LocalBus()
    log: list[str] = []
    for name in ("c", "a", "b"):
        subscriber = Subscriber(name, Note)
        subscriber.effect(Note, lambda _, name=name: log.append(name))  # type: ignore[misc]
        subscribed(bus, subscriber)
    bus.post(note(target=None))
    assert log == ["c", "a", "b"]


def test_a_broadcast_that_nobody_wants_is_no_dead_letter() -> None:
    """A broadcast is for whoever listens: nobody need."""
    bus = LocalBus()
    subscribed(bus, Subscriber("w"))
    bus.post(note(target=None))
    assert (bus.statistics().posted, bus.statistics().delivered, bus.statistics().dead_letters) == (1, 0, 0)


def test_listening_to_more_later() -> None:
    """A subscriber that registers a handler listens to more, once the bus is told; unsubscribing ends all of it."""
    bus = LocalBus()
    subscriber = Subscriber("w")
    seen = effects(subscriber)
    subscribed(bus, subscriber)
    subscriber.hooks.register("on_bus_message", print)
    bus.post(note("before", None))
    bus.listen(subscriber.inbox)
    bus.post(note("after", None))
    bus.unsubscribe(subscriber.inbox)
    bus.post(note("gone", None))
    assert seen == [note("after", None)]


def test_a_handler_that_the_bus_was_not_told_of() -> None:
    """Unsubscribing forgets a subscriber even if it listens to more than it ever told the bus."""
    bus = LocalBus()
    subscriber = Subscriber("w")
    subscribed(bus, subscriber)
    subscriber.hooks.register("on_bus_message", print)
    bus.unsubscribe(subscriber.inbox)
    assert "w" not in bus


# -- who is there --------------------------------------------------------------------------------------------------------


def test_a_name_is_taken_once() -> None:
    """I18: a name in use is refused, and nothing changes for whoever has it; unsubscribed, it is free again."""
    bus = LocalBus()
    first, second = Subscriber("w", Note), Subscriber("w", Note)
    seen, others = effects(first), effects(second)
    subscribed(bus, first)
    with pytest.raises(DuplicateWorkerError, match="the name 'w' is taken on this bus"):
        subscribed(bus, second)
    bus.unsubscribe(second.inbox)
    bus.post(note("1"))
    bus.post(note("2", None))
    assert "w" in bus
    bus.unsubscribe(first.inbox)
    bus.unsubscribe(first.inbox)
    assert "w" not in bus
    subscribed(bus, second)
    bus.post(note("3"))
    assert (seen, others) == ([note("1"), note("2", None)], [note("3")])


@steady
@given(
    st.lists(
        st.tuples(st.sampled_from(["subscribe", "unsubscribe", "post", "request"]), st.sampled_from("abc"), st.sampled_from("abc")),
        max_size=30,
    )
)
def test_any_coming_and_going(story: list[tuple[str, str, str]]) -> None:
    """B1, B3: whoever comes and goes, each message reaches its target once, in order, or is counted, and a request is answered."""
    bus = LocalBus()
    there: dict[str, Subscriber] = {}
    seen: list[tuple[str, BusMessage]] = []
    expected: list[tuple[str, BusMessage]] = []
    dead = 0
    for number, (what, name, source) in enumerate(story):
        if what == "subscribe" and name not in there:
            there[name] = Subscriber(name)
            there[name].effect(BusMessage, lambda message, name=name: seen.append((name, message)))  # type: ignore[misc]
            subscribed(bus, there[name])
        elif what == "unsubscribe" and name in there:
            bus.unsubscribe(there.pop(name).inbox)
        elif what in {"post", "request"}:
            message = (
                note(str(number), name, source)
                if what == "post"
                else BusJobRequestMessage(source=source, target=name, job_id=str(number))
            )
            bus.post(message)
            answer = None if name in there else message.bounce(f"no worker {name!r} here: it is not there yet, or has finished")
            dead += (name not in there) + (answer is not None and source not in there)
            expected += [(name, message)] * (name in there)
            expected += [(source, answer)] if answer is not None and source in there else []
    assert seen == expected
    assert (bus.statistics().subscribers, bus.statistics().dead_letters) == (len(there), dead)


# -- a post inside a post ------------------------------------------------------------------------------------------------


def test_a_post_made_inside_a_post() -> None:
    """B1: what is posted inside an effect takes effect when that has returned, in the order posted."""
    bus = LocalBus()
    log: list[str] = []
    subscriber = Subscriber("w")

    def effect(message: Note) -> None:
        log.append(f"{message.text} begins")
        for text in {"a": ["b", "c"], "b": ["d"]}.get(message.text, []):
            bus.post(note(text))
        log.append(f"{message.text} ends")

    subscriber.effect(Note, effect)
    subscribed(bus, subscriber)
    bus.post(note("a"))
    assert log == [f"{text} {what}" for text in "abcd" for what in ("begins", "ends")]


def test_a_long_cascade_needs_no_deep_stack() -> None:
    """Each message of a cascade may make the next, however long it is."""
    bus = LocalBus()
    subscriber = Subscriber("w")

    def effect(message: Note) -> None:
        if len(message.text) < 5000:
            bus.post(note(message.text + "."))

    subscriber.effect(Note, effect)
    subscribed(bus, subscriber)
    bus.post(note())
    assert bus.statistics().delivered == 5001


def test_an_effect_that_raises_costs_no_other_message() -> None:
    """B5: when an effect raises, what was posted inside it is delivered all the same, and the bus goes on."""
    bus = LocalBus()
    log: list[str] = []
    subscriber = Subscriber("w")

    def effect(message: Note) -> None:
        log.append(message.text)
        if message.text == "a":
            bus.post(note("b"))
            bus.post(note("c"))
            raise ValueError("boom")

    subscriber.effect(Note, effect)
    subscribed(bus, subscriber)
    with pytest.raises(ValueError, match="boom"):
        bus.post(note("a"))
    assert log == ["a", "b", "c"]
    bus.post(note("d"))
    assert log == ["a", "b", "c", "d"]


def test_however_many_deliveries_raise_the_first_is_told() -> None:
    """B5: when an effect raises, and all that was posted inside it does, the first error comes out, and tells how many followed."""
    bus = LocalBus()
    many = sys.getrecursionlimit()
    subscriber = Subscriber("w")

    def effect(message: Note) -> None:
        if message.text == "first":
            for _ in range(many):
                bus.post(note("later"))
        raise ValueError(f"boom {message.text}")

    subscriber.effect(Note, effect)
    subscribed(bus, subscriber)
    with pytest.raises(ValueError, match="boom first") as caught:
        bus.post(note("first"))
    assert caught.value.__notes__ == [
        f"{many} more messages, posted meanwhile, could not be delivered either; the last: ValueError: boom later"
    ]
    assert bus.statistics().posted == many + 1


def test_no_interrupt_between_a_message_and_its_effect() -> None:
    """Effects are protected from KeyboardInterrupt, which would tear them in two; user code is not."""
    bus = LocalBus()
    protected: list[bool] = []
    subscriber = Subscriber("w")
    subscriber.effect(Note, lambda _: protected.append(trio.lowlevel.currently_ki_protected()))
    subscribed(bus, subscriber)
    bus.post(note())
    assert protected == [True]


# -- nobody there --------------------------------------------------------------------------------------------------------


def test_a_message_for_nobody_is_counted() -> None:
    """I17: a message for a name that nobody has is a dead letter."""
    bus = LocalBus()
    bus.post(note())
    bus.post(BusWorkerLocalErrorMessage(source="a", target="w", error="boom"))
    assert (bus.statistics().posted, bus.statistics().delivered, bus.statistics().dead_letters) == (2, 0, 2)


def test_a_request_for_nobody_is_answered() -> None:
    """U2, J7: a request for a name that nobody has comes back as an ERROR."""
    bus = LocalBus()
    asker = Subscriber("asker")
    seen = effects(asker)
    subscribed(bus, asker)
    bus.post(BusJobRequestMessage(source="asker", target="gone", job_id="j"))
    assert seen == [
        BusJobResponseMessage(
            source="gone",
            target="asker",
            job_id="j",
            status=JobStatus.ERROR,
            reason="no worker 'gone' here: it is not there yet, or has finished",
        )
    ]
    assert bus.statistics().dead_letters == 1


def test_a_request_from_nobody_to_nobody() -> None:
    """The answer to a request whose sender is gone, too, is a dead letter of its own, and that is all."""
    bus = LocalBus()
    bus.post(BusJobRequestMessage(source="gone", target="gone too", job_id="j"))
    assert (bus.statistics().posted, bus.statistics().dead_letters) == (2, 2)


# -- a bus that leaves the process ---------------------------------------------------------------------------------------


def test_what_is_published() -> None:
    """Broadcasts, and messages for names that are not here, go out; what is local, or has been delivered here, does not."""
    bus = Spanning("remote")
    subscribed(bus, Subscriber("w", BusMessage))
    out = [note("1", None), note("2", "remote"), note("3", "nobody")]
    for message in (*out, note("4"), Whisper(source="a"), Whisper(source="a", target="remote")):
        bus.post(message)
    assert bus.published == out
    assert bus.statistics().dead_letters == 2


def test_a_local_bus_has_no_outside() -> None:
    """``LocalBus`` publishes to nobody."""
    assert LocalBus().publish(note()) is False


def test_a_bus_must_say_how_it_publishes() -> None:
    """``WorkerBus`` itself is abstract."""
    with pytest.raises(TypeError, match="publish"):
        WorkerBus()  # type: ignore[abstract]


def test_ids_can_be_injected() -> None:
    """Job ids come from the source given, or from one that never repeats."""
    assert LocalBus(new_id=lambda: "id").new_id() == "id"
    assert LocalBus().new_id() != LocalBus().new_id()


# -- send ----------------------------------------------------------------------------------------------------------------


async def test_a_send_is_a_post() -> None:
    """What is sent has taken effect when ``send`` returns."""
    bus = LocalBus()
    subscriber = Subscriber("w", Note)
    seen = effects(subscriber)
    subscribed(bus, subscriber)
    for message in (note("1"), note("2", None), note("3", "nobody")):
        await bus.send(message)
    assert seen == [note("1"), note("2", None)]
    assert bus.statistics().dead_letters == 1


async def test_every_send_is_a_cancel_point() -> None:
    """A cancelled ``send`` sends nothing, whichever of the 32 it is."""
    bus = LocalBus()
    cancelled: list[bool] = []
    for _ in range(PACE + 1):
        with trio.CancelScope() as scope:
            scope.cancel()
            await bus.send(note())
        cancelled.append(scope.cancelled_caught)
    assert cancelled == [True] * (PACE + 1)
    assert bus.statistics().posted == 0


async def test_a_sender_lets_the_others_run() -> None:
    """Of 32 sends one is a schedule point: so often, and no oftener, the others get their turn."""
    bus = LocalBus()
    with counted_steps() as steps:
        for _ in range(10 * PACE):
            await bus.send(note())
    assert PACE == 32
    assert len(steps) == 10


async def test_on_a_strict_bus_every_send_is_a_schedule_point() -> None:
    """``strict=True`` keeps trio's own rule: each ``send`` gives the others their turn."""
    bus = LocalBus(strict=True)
    with counted_steps() as steps:
        for _ in range(10):
            await bus.send(note())
    assert len(steps) == 10


# -- a bounded mailbox ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("capacity", "error", "match"),
    [
        (0, ValueError, "mailbox_capacity must be at least 1 message, not 0"),
        (-5, ValueError, "mailbox_capacity must be"),
        (math.nan, ValueError, "mailbox_capacity must be"),
        ("5", TypeError, "mailbox_capacity must be a number"),
        (True, TypeError, "mailbox_capacity must be a number"),
    ],
)
def test_the_capacity_is_checked(capacity: Any, error: type[Exception], match: str) -> None:
    """A capacity below one message, or one that is no number, is refused."""
    with pytest.raises(error, match=match):
        LocalBus(mailbox_capacity=capacity)


async def test_a_full_mailbox_makes_senders_wait(autojump_clock: trio.testing.MockClock) -> None:
    """I14: ``send`` to a full mailbox waits for room, and ``statistics`` says who waits for whom since when."""
    bus = LocalBus(mailbox_capacity=2)
    receiver = Subscriber("w", Note)
    subscribed(bus, receiver)
    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(bus.send, note(str(number), source=f"s{number}"))
            await trio.sleep(1)
        start = trio.current_time() - 5
        assert bus.statistics().waiting == tuple(SenderWaiting(f"s{number}", "w", start + number) for number in (2, 3, 4))
        assert (receiver.inbox.data.waiting, bus.statistics().posted) == (2, 2)
        receiver.open(nursery)
        await settle()
        assert bus.statistics().waiting == ()
        receiver.inbox.close()
    assert sorted(message.text for _, message in receiver.log) == ["0", "1", "2", "3", "4"]
    assert receiver.inbox.data.peak == 2
    assert bus.statistics().over_capacity == 0


async def test_a_cancelled_wait_sends_nothing() -> None:
    """I4: a ``send`` that is cancelled while it waits for room had no effect, and does not wait in the statistics any more."""
    bus = LocalBus(mailbox_capacity=1)
    subscribed(bus, Subscriber("w", Note))
    await bus.send(note("1"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bus.send, note("2"))
        await settle()
        assert len(bus.statistics().waiting) == 1
        nursery.cancel_scope.cancel()
    assert bus.statistics().waiting == ()
    assert bus.statistics().posted == 1


async def test_what_does_not_wait_for_room() -> None:
    """I14: ``post`` goes into a full mailbox all the same, and is counted; system messages and broadcasts never wait."""
    bus = LocalBus(mailbox_capacity=1)
    receiver = Subscriber("w", Note, Alarm)
    subscribed(bus, receiver)
    bus.post(note("1"))
    bus.post(note("2"))
    bus.post(note("3"))
    assert bus.statistics().over_capacity == 2
    bus.post(alarm())
    await bus.send(alarm())
    await bus.send(note("4", None))
    await bus.send(note("5", "nobody"))
    assert (receiver.inbox.data.waiting, receiver.inbox.system.waiting) == (4, 2)
    assert bus.statistics().over_capacity == 2


async def test_a_lane_never_waits_for_room() -> None:
    """I10: inside a lane's hook ``send`` does not wait, or two full mailboxes could wait for each other for ever."""
    bus = LocalBus(mailbox_capacity=1)

    class Sender(Subscriber):
        async def handle(self, message: BusMessage) -> None:
            for _ in range(3):
                await bus.send(note(target="full"))

    full, sender = Subscriber("full", Note), Sender("sender", Note, Alarm)
    subscribed(bus, full, sender)
    async with trio.open_nursery() as nursery:
        sender.open(nursery)
        bus.post(note(target="sender"))
        bus.post(alarm(target="sender"))
        await settle()
        assert bus.statistics().waiting == ()
        assert (full.inbox.data.waiting, bus.statistics().over_capacity) == (6, 5)
        sender.inbox.close()


@pytest.mark.parametrize("how", ["closed", "unsubscribed"])
async def test_a_mailbox_that_goes_away(how: str) -> None:
    """J7: whoever waits for room in the mailbox of a worker that stops goes on: the message is dropped there, or a dead letter."""
    bus = LocalBus(mailbox_capacity=1)
    receiver = Subscriber("w", Note)
    subscribed(bus, receiver)
    bus.post(note("1"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bus.send, note("2"))
        await settle()
        if how == "unsubscribed":
            bus.unsubscribe(receiver.inbox)
        receiver.inbox.close()
    assert receiver.inbox.data.dropped == (2 if how == "closed" else 1)
    assert bus.statistics().dead_letters == (0 if how == "closed" else 1)


async def test_no_bound_unless_asked_for() -> None:
    """Without ``mailbox_capacity`` a ``send`` never waits."""
    bus = LocalBus()
    receiver = Subscriber("w", Note)
    subscribed(bus, receiver)
    for _ in range(1000):
        await bus.send(note())
    assert (receiver.inbox.data.waiting, bus.statistics().over_capacity) == (1000, 0)


# -- taps ----------------------------------------------------------------------------------------------------------------


async def drained(messages: trio.MemoryReceiveChannel[BusMessage]) -> list[BusMessage]:
    """What waits in a tap that has ended."""
    return [message async for message in messages]


async def test_a_tap_hears_everything() -> None:
    """A tap is handed every message in the order posted: targeted, broadcast, bounced, for nobody; and ends with its block."""
    bus = LocalBus()
    subscribed(bus, Subscriber("w", Note))
    request = BusJobRequestMessage(source="w", target="gone", job_id="j")
    bus.post(note("before"))
    with bus.tap() as messages:
        for message in (note("1"), note("2", None), alarm("3", "nobody"), request):
            bus.post(message)
    bus.post(note("after"))
    assert await drained(messages) == [
        note("1"),
        note("2", None),
        alarm("3", "nobody"),
        request,
        request.bounce("no worker 'gone' here: it is not there yet, or has finished"),
    ]
    assert bus.statistics().tap_losses == 0


async def test_a_slow_tap_loses_its_oldest() -> None:
    """A tap that is full loses its oldest message, which is counted; another tap, and the receiver, lose nothing."""
    bus = LocalBus()
    receiver = Subscriber("w", Note)
    subscribed(bus, receiver)
    with bus.tap(2) as slow, bus.tap() as roomy:
        for number in range(5):
            bus.post(note(str(number)))
    assert [message.text for message in await drained(slow) if isinstance(message, Note)] == ["3", "4"]
    assert len(await drained(roomy)) == 5
    assert bus.statistics().tap_losses == 3
    assert receiver.inbox.data.waiting == 5


async def test_a_tap_is_heard_while_it_runs() -> None:
    """A reader that waits at a tap gets each message when it comes."""
    bus = LocalBus()
    heard: list[BusMessage] = []

    async def listen() -> None:
        with bus.tap(1) as messages:
            while True:
                heard.append(await messages.receive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        await settle()
        for number in range(3):
            bus.post(note(str(number)))
            await settle()
        nursery.cancel_scope.cancel()
    assert heard == [note("0"), note("1"), note("2")]
    assert bus.statistics().tap_losses == 0


def test_a_tap_closed_by_its_reader_harms_nobody() -> None:
    """A reader may close its end: messages go on as if there were no tap."""
    bus = LocalBus()
    receiver = Subscriber("w", Note)
    subscribed(bus, receiver)
    with bus.tap(1) as messages:
        bus.post(note("1"))
        messages.close()
        bus.post(note("2"))
        bus.post(note("3"))
    bus.post(note("4"))
    assert receiver.inbox.data.waiting == 4


def test_a_tap_is_gone_whatever_happens() -> None:
    """A block that is left by an exception takes its tap with it."""
    bus = LocalBus()
    with pytest.raises(ValueError, match="boom"), bus.tap():
        raise ValueError("boom")
    assert bus._taps == []


@pytest.mark.parametrize(
    ("size", "error"), [(0, ValueError), (-1, ValueError), ("many", TypeError), (1.5, TypeError), (None, TypeError)]
)
def test_the_size_of_a_tap_is_checked(size: Any, error: type[Exception]) -> None:
    """A tap that could hold nothing, or whose size is no number of messages, is refused, and nothing stays behind."""
    bus = LocalBus()
    with ExitStack() as stack, pytest.raises(error):
        stack.enter_context(bus.tap(size))
    assert bus._taps == []


# -- numbers -------------------------------------------------------------------------------------------------------------


def test_statistics_are_a_snapshot() -> None:
    """What ``statistics`` returned does not change afterwards."""
    bus = LocalBus()
    before = bus.statistics()
    bus.post(note())
    assert before == BusStatistics(subscribers=0, posted=0, delivered=0, dead_letters=0, over_capacity=0, tap_losses=0, waiting=())
    assert bus.statistics() != before


def test_what_is_posted_at_the_last_moment_is_delivered() -> None:
    """A message that a garbage collection posts just as the others have been delivered does not wait for the next post."""

    class Late(deque[BusMessage]):
        def __init__(self, message: BusMessage) -> None:
            super().__init__()
            self.late = [message]

        def __bool__(self) -> bool:
            if not len(self) and self.late:
                self.append(self.late.pop())
                return False
            return len(self) > 0

    bus, subscriber = LocalBus(), Subscriber("w")
    seen: list[str] = []
    subscriber.effect(Note, lambda message: seen.append(message.text))
    bus.subscribe(subscriber.inbox)
    bus._underway = Late(note("late"))
    bus.post(note("first"))
    assert seen == ["first", "late"]
