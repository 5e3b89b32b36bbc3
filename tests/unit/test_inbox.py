"""One subscriber: effects on arrival, hooks in order, in the right lane, only if somebody wants them."""

from __future__ import annotations

from typing import Any

import trio
from support import Alarm, Note, settle
from unit.subscribers import Curious, Subscriber

from trioworkers import BusDataMessage, BusMessage, MailboxStatistics
from trioworkers.bus.inbox import Showing

NOTE = Note(source="a", target="w", text="note")
ALARM = Alarm(source="a", target="w", text="alarm")


class Listener(Curious):
    """Overrides one more hook."""

    async def on_activated(self, args: dict[str, Any] | None) -> None:
        """Write it down."""
        self.log.append(("activated", args))


async def shown(subscriber: Subscriber) -> list[Any]:
    """Run the lanes until nothing is left, and return what was written down."""
    async with trio.open_nursery() as nursery:
        subscriber.open(nursery)
        await settle()
        subscriber.inbox.close()
    return subscriber.log


# -- arrivals ------------------------------------------------------------------------------------------------------------


def test_the_effect_comes_at_once() -> None:
    """What a part claimed for a class happens inside ``deliver``, before it returns."""
    subscriber = Subscriber("w")
    subscriber.effect(Note, lambda message: subscriber.log.append(("effect", message)))
    subscriber.inbox.deliver(NOTE)
    assert subscriber.log == [("effect", NOTE)]
    assert subscriber.inbox.unhandled == 0


def test_a_message_that_nobody_wants_is_counted() -> None:
    """A message without an effect and without a looker-on is counted, and nothing is queued."""
    subscriber = Subscriber("w")
    subscriber.inbox.deliver(NOTE)
    assert subscriber.inbox.statistics() == MailboxStatistics(system=0, data=0, peak=0, handled=0, dropped=0, unhandled=1)


async def test_a_message_without_an_effect_is_shown() -> None:
    """A message of the user's own goes to the methods marked for its class, or a base of it, and to ``on_bus_message``."""
    subscriber = Curious("w", BusDataMessage)
    subscriber.inbox.deliver(NOTE)
    subscriber.inbox.deliver(ALARM)
    assert await shown(subscriber) == [("w", "saw", ALARM), ("w", NOTE), ("w", "saw", NOTE)]
    assert subscriber.inbox.unhandled == 0


# -- showing -------------------------------------------------------------------------------------------------------------


async def test_the_order_of_what_sees_a_message() -> None:
    """First the marked methods, then the hooks made for it, then ``on_bus_message``, then whoever counts it as seen."""
    subscriber = Listener("w", Note)
    wanted = subscriber.inbox.show(NOTE, ("on_activated", None), seen=lambda: subscriber.log.append("seen"))
    assert wanted
    assert subscriber.log == []
    assert await shown(subscriber) == [("w", NOTE), ("activated", None), ("w", "saw", NOTE), "seen"]


def test_only_wanted_hooks_are_queued() -> None:
    """Hooks that nobody overrides cost nothing: without a looker-on nothing is queued, and it counts as seen at once."""
    subscriber = Subscriber("w")
    assert not subscriber.inbox.show(NOTE, ("on_activated", None))
    assert not subscriber.inbox.show(NOTE, ("on_activated", None), seen=lambda: subscriber.log.append("seen"))
    assert subscriber.log == ["seen"]
    assert subscriber.inbox.data.waiting == 0


async def test_a_message_goes_to_the_lane_of_its_priority() -> None:
    """A message is shown in the lane of its priority, unless another lane is given."""
    subscriber = Subscriber("w", Note, Alarm)
    inbox = subscriber.inbox
    inbox.show(NOTE)
    inbox.show(ALARM)
    assert (inbox.data.waiting, inbox.system.waiting) == (1, 1)
    inbox.show(ALARM, lane=inbox.data)
    assert (inbox.data.waiting, inbox.system.waiting) == (2, 1)
    assert await shown(subscriber) == [("w", ALARM), ("w", NOTE), ("w", ALARM)]


async def test_a_hook_about_no_message() -> None:
    """A hook alone is queued in the data lane, or the one given, if anybody wants it; seen when it has run."""
    subscriber = Listener("w")
    inbox = subscriber.inbox
    inbox.call(("on_activated", {"lane": "data"}), seen=lambda: subscriber.log.append("seen"))
    inbox.call(("on_activated", {"lane": "system"}), lane=inbox.system)
    assert await shown(subscriber) == [("activated", {"lane": "system"}), ("activated", {"lane": "data"}), "seen"]


def test_a_hook_that_nobody_wants() -> None:
    """A hook alone that nobody wants counts as seen at once."""
    subscriber = Subscriber("w")
    subscriber.inbox.call(("on_activated", None))
    subscriber.inbox.call(("on_activated", None), seen=lambda: subscriber.log.append("seen"))
    assert subscriber.log == ["seen"]
    assert subscriber.inbox.data.waiting == 0


async def test_what_makes_no_sense_any_more_is_not_shown() -> None:
    """J3: what was queued for a reason that is gone when its turn comes is not shown."""
    subscriber = Listener("w", Note)
    for number, sense in enumerate((True, False)):
        subscriber.inbox.show(NOTE, ("on_activated", {"n": number}), still=lambda sense=sense: sense)  # type: ignore[misc]
    assert await shown(subscriber) == [("w", NOTE), ("activated", {"n": 0}), ("w", "saw", NOTE)]
    assert subscriber.inbox.data.handled == 2


async def test_waiting_until_a_hook_has_run() -> None:
    """I10: whoever queues a hook can wait until it has run; in a lane that is closed it never will, and nobody waits."""
    subscriber = Listener("w")
    call = ("on_activated", None)

    async def wait() -> None:
        await subscriber.inbox.shown(call, lane=subscriber.inbox.data)
        subscriber.log.append("it has run")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await settle()
        assert subscriber.log == []
        subscriber.open(nursery)
        await settle()
        subscriber.inbox.close()
    await wait()
    assert subscriber.log == [("activated", None), "it has run", "it has run"]


async def test_an_empty_showing() -> None:
    """A showing of nothing to nobody does nothing."""
    subscriber = Curious("w")
    await subscriber.inbox.perform("data", Showing())
    assert subscriber.log == []


# -- what it listens to --------------------------------------------------------------------------------------------------


def test_an_inbox_listens_to_what_somebody_handles() -> None:
    """Broadcasts are wanted by the classes of the marked methods, or all of them if ``on_bus_message`` would run."""
    assert Subscriber("w").inbox.listens_to() == ()
    assert Subscriber("w", Note, Alarm).inbox.listens_to() == (Note, Alarm)
    assert Curious("w", Note).inbox.listens_to() == (BusMessage, Note)
    subscriber = Subscriber("w")
    subscriber.hooks.register("on_bus_message", print)
    assert subscriber.inbox.listens_to() == (BusMessage,)


# -- room, numbers, the end ----------------------------------------------------------------------------------------------


async def test_room() -> None:
    """Whoever waits for room goes on when fewer data messages wait, and not before."""
    subscriber = Subscriber("w", Note)
    for _ in range(3):
        subscriber.inbox.deliver(NOTE)

    async def wait(capacity: float) -> None:
        await subscriber.inbox.room(capacity)
        subscriber.log.append(capacity)

    await wait(4)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, 3)
        await settle()
        assert subscriber.log == [4]
        subscriber.open(nursery)
        await settle()
        assert subscriber.log[-1] == 3
        subscriber.inbox.close()


async def test_room_in_a_closed_inbox() -> None:
    """J7: whoever waits for room goes on when the inbox is closed, for then nothing waits there."""
    subscriber = Subscriber("w", Note)
    subscriber.inbox.deliver(NOTE)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(subscriber.inbox.room, 1)
        await settle()
        assert nursery.child_tasks
        subscriber.inbox.close()
        await settle()
        assert not nursery.child_tasks


async def test_an_inbox_knows_what_runs_inside_its_hooks() -> None:
    """Code in a lane's hook, or in a nursery which that hook has opened, is inside; code beside the hook is not."""
    subscriber = Subscriber("w", Note, Alarm)
    inbox, seen = subscriber.inbox, list[tuple[str, bool]]()

    async def look(where: str) -> None:
        await trio.lowlevel.checkpoint()
        seen.append((where, inbox.is_inside_hook()))

    async def look_twice(where: str) -> None:
        beside.start_soon(look, f"beside {where}")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(look, f"below {where}")
            await look(where)

    async def serve() -> None:
        async with trio.open_nursery() as nursery:
            inbox.system.open(nursery)
            nursery.start_soon(look, "before")
            await inbox.data.serve()
            await look("after")

    async with trio.open_nursery() as beside:
        beside.start_soon(serve)
        await settle()
        for lane in (inbox.system, inbox.data):
            lane.put(Showing(steps=(("look twice", look_twice, (lane.name,)),)))
            await look("outside")
            await settle()
        inbox.close()
    inside = ["below data:w", "below system:w", "data:w", "system:w"]
    outside = ["after", "before", "beside data:w", "beside system:w", "outside", "outside"]
    assert sorted(seen) == [*((where, where in inside) for where in sorted([*inside, *outside]))]


async def test_an_inbox_knows_which_hook_may_wait_for_the_present_code() -> None:
    """Code below the task of a busy lane is taken for something that the lane's hook may wait for, whoever has started it."""
    subscriber, seen = Subscriber("w", Note), list[tuple[str, str | None]]()
    inbox, done = subscriber.inbox, trio.Event()

    async def look(where: str) -> None:
        around = inbox.lane_around()
        seen.append((where, None if around is None else around.name))

    async def hook(where: str) -> None:
        await look(where)
        await done.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look, "before")
        await settle()
        inbox.data.put(Showing(steps=(("hook", hook, ("hook",)),)))

        async def job() -> None:
            await settle()
            await look("job")
            done.set()
            await settle()
            await look("job, later")
            inbox.close()

        nursery.start_soon(job)
        await inbox.data.serve()
    assert seen == [("before", None), ("hook", "data:w"), ("job", "data:w"), ("job, later", None)]


async def test_the_statistics_tell_both_lanes() -> None:
    """A mailbox's numbers: what waits in each lane, the peak, what was handled and dropped, and what nobody wanted."""
    subscriber = Subscriber("w", Note, Alarm)
    inbox = subscriber.inbox
    for message in (NOTE, NOTE, ALARM, BusMessage(source="a")):
        inbox.deliver(message)
    assert inbox.statistics() == MailboxStatistics(system=1, data=2, peak=2, handled=0, dropped=0, unhandled=1)
    await shown(subscriber)
    assert inbox.statistics() == MailboxStatistics(system=0, data=0, peak=2, handled=3, dropped=0, unhandled=1)


def test_a_closed_inbox_shows_nothing_more() -> None:
    """B4: after closing, what waits and what comes is dropped and counted; effects go on until it is unsubscribed."""
    subscriber = Subscriber("w", Alarm)
    inbox = subscriber.inbox
    subscriber.effect(Note, lambda message: subscriber.log.append(("effect", message)))
    inbox.deliver(ALARM)
    inbox.close()
    inbox.deliver(ALARM)
    inbox.deliver(NOTE)
    assert subscriber.log == [("effect", NOTE)]
    assert inbox.statistics() == MailboxStatistics(system=0, data=0, peak=0, handled=0, dropped=2, unhandled=0)
    assert subscriber.load.count == 0
