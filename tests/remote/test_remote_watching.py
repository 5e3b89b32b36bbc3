"""Who hears of whom across runners: roots of all, children of those who ask."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import trio
from job_support import Hand, ask, echo, nap
from memory_bus import MemoryBus
from remote_support import Place, Town, quiet, town
from support import Note, Recorder
from trio.testing import MockClock, wait_all_tasks_blocked

from trioworkers import (
    BaseWorker,
    BusJobRequestMessage,
    BusWorkerReadyMessage,
    WorkerActivationArgs,
    WorkerReadyData,
    WorkerRunner,
    handles,
    job,
    worker_ready,
)


class Waiter(Recorder):
    """Has a method for the readiness of ``kid``."""

    @worker_ready(name="kid")
    async def kid_is_ready(self, data: WorkerReadyData) -> None:
        """Write it down."""
        self.note("my kid", data.worker_name, data.runner)


class Parent(BaseWorker):
    """Has children, and asks one when asked."""

    @job
    async def ask_kid(self, message: BusJobRequestMessage) -> dict[str, Any]:
        """Hand it down."""
        return await ask(self, "kid")


def heard(recorder: Recorder) -> list[tuple[str, str]]:
    """What it has heard of others' lives."""
    return [(what, name) for _, what, name, *_ in (entry for entry in recorder.log if entry[1] in {"ready", "lost", "my kid"})]


async def test_roots_are_known_to_all(autojump_clock: MockClock) -> None:
    """N6, R1: each registry lists the roots of the other runners, with what they said of them, until they are gone."""
    async with town() as place:
        one, two, three = await place.open_all(one=[Recorder("a")], two=[Recorder("b", active=False)], three=[])
        for at, local, remote in ((one, ["a"], ["b"]), (two, ["b"], ["a"]), (three, [], ["a", "b"])):
            assert (at.runner.registry.local_workers, sorted(at.runner.registry.remote_workers)) == (local, remote)
        here, there = two.runner.registry.get("b"), three.runner.registry.get("b")
        assert here is not None
        assert here == there
        assert not here.active
        await one.runner.end_workers("a")
        await trio.sleep(0.1)
        assert "a" not in three.runner.registry
        assert [peer.runner for peer in two.bus.statistics().peers] == ["one", "three"]
        assert [peer.workers for peer in three.bus.statistics().peers] == [(), ("b",)]


async def test_an_entry_changes(autojump_clock: MockClock) -> None:
    """Whether a root elsewhere is active is what its entry says, and what can be changed from here."""
    recorder = Recorder("a")
    async with town() as place:
        _, two = await place.open_all(one=[recorder], two=[Recorder("b")])
        b = two.runner.get_worker("b")
        assert b is not None
        await b.deactivate_worker("a")
        await trio.sleep(0.1)
        entry = two.runner.registry.get("a")
        assert entry is not None
        assert not entry.active
        await b.activate_worker("a", args=WorkerActivationArgs(metadata={"x": 1}), deactivate_self=True)
        assert not b.active
        await trio.sleep(0.1)
        assert recorder.log == [("a", "activated", None), ("a", "deactivated"), ("a", "activated", {"metadata": {"x": 1}})]


async def test_roots_do_not_hear_of_roots_elsewhere_unasked(autojump_clock: MockClock) -> None:
    """A root hears of the other roots of its own runner, and of those elsewhere only if it watches them."""
    one, two = Recorder("one"), Recorder("two")
    async with town() as place:
        left = await place.open("left", one, Recorder("neighbour"))
        await place.open("right", two)
        await trio.sleep(1)
        assert heard(one) == [("ready", "neighbour")]
        assert heard(two) == []
        await two.watch_workers("one", "nobody")
        await trio.sleep(1)
        await left.runner.end_workers("one")
        await trio.sleep(1)
        assert heard(two) == [("ready", "one"), ("lost", "one")]


async def test_the_readiness_of_a_root_elsewhere_is_announced(autojump_clock: MockClock) -> None:
    """Whoever looks at messages sees that a root elsewhere is ready, as if it were here."""
    async with town() as place:
        left = await place.open("left")
        with left.bus.tap() as messages:
            await place.open("right", Recorder("a"))
            await left.runner.registry.wait_ready("a")
            await trio.sleep(0.1)
            announced = messages.receive_nowait()
        assert isinstance(announced, BusWorkerReadyMessage)
        assert (announced.source, announced.runner) == ("a", "right")


async def test_children_are_watched(autojump_clock: MockClock) -> None:
    """A child of a runner elsewhere is heard of by those who watch it, early or late, each time it comes and goes, and by no other."""
    waiter, other, parent = Waiter("waiter"), Recorder("other"), Parent("parent")
    async with town() as place:
        left, _ = await place.open_all(left=[waiter, other], right=[parent])
        await parent.add_workers(Hand("kid", echo))
        await trio.sleep(0.1)
        assert heard(waiter) == [("ready", "other"), ("my kid", "kid"), ("ready", "kid")]
        assert left.runner.registry.remote_workers == ["parent", "kid"]
        entry = left.runner.registry.get("kid")
        assert entry is not None
        assert entry.parent == "parent"
        await parent.end_workers("kid")
        await trio.sleep(0.1)
        await parent.add_workers(Hand("kid", echo))
        await trio.sleep(0.1)
        await other.watch_workers("kid")
        await trio.sleep(0.1)
        assert heard(waiter)[3:] == [("lost", "kid"), ("my kid", "kid"), ("ready", "kid")]
        assert heard(other) == [("ready", "waiter"), ("ready", "kid")]
        assert ("waiter", "my kid", "kid", "right") in waiter.log


async def test_children_nobody_asked_for_stay_home(autojump_clock: MockClock) -> None:
    """U55: a child whom nobody elsewhere watches costs no frame, however often it comes and goes."""
    parent = Parent("parent")
    async with town() as place:
        left, right = await place.open_all(left=[], right=[parent])
        await trio.sleep(5)
        before = place.server.frames
        for _ in range(20):
            await parent.add_workers(Hand("kid", echo))
            await parent.end_workers("kid")
            await trio.sleep(2)
        assert place.server.frames == before
        assert "kid" not in left.runner.registry
        assert quiet(left, right)


async def test_watches_are_forgotten(autojump_clock: MockClock) -> None:
    """When nobody watches or waits any more, the other runners are told, and nothing stays."""
    watcher, parent = Recorder("watcher"), Parent("parent")
    async with town() as place:
        left, right = await place.open_all(left=[watcher], right=[parent])
        await watcher.watch_workers("kid", "nobody")
        with trio.move_on_after(1):
            await left.runner.registry.wait_ready("somebody")
        await trio.sleep(1)
        [peer] = right.bus._peers()
        assert list(peer.wants) == ["parent", "kid", "nobody"]
        await watcher.stop()
        await trio.sleep(1)
        assert list(peer.wants) == ["parent"]  # a root that was waited for is known as long as it lives
        await parent.add_workers(Hand("kid", echo))
        await trio.sleep(1)
        assert "kid" not in left.runner.registry
        assert list(left.bus._where._wanted) == ["parent"]


async def test_a_known_child_is_forgotten_when_it_goes(autojump_clock: MockClock) -> None:
    """A child elsewhere that is known stays known as long as it lives, for there may be a job on its way; then it is forgotten."""
    parent = Parent("parent")
    async with town() as place:
        left, right = await place.open_all(left=[], right=[parent])
        await parent.add_workers(Hand("kid", echo))
        assert await ask(left.runner, "kid") == {"echo": {}}
        await trio.sleep(1)
        assert "kid" in left.runner.registry
        await parent.end_workers("kid")
        await trio.sleep(1)
        assert "kid" not in left.runner.registry
        assert [list(peer.wants) for peer in right.bus._peers()] == [["parent"]]
        assert [list(peer.told) for peer in right.bus._peers()] == [["parent"]]


async def test_newcomers_hear_of_everybody_and_of_what_is_wanted(autojump_clock: MockClock) -> None:
    """N6: a runner that joins later is told of all roots, and asked for the children that are waited for."""
    watcher = Recorder("watcher")
    async with town() as place:
        await place.open("left", watcher)
        await watcher.watch_workers("kid", "root")
        await trio.sleep(10)
        parent = Parent("parent")
        await parent.add_workers(Hand("kid", echo))
        right = await place.open("right", parent, Recorder("root"))
        await right.runner.registry.wait_ready("watcher")
        await trio.sleep(0.1)
        assert sorted(heard(watcher)) == [("ready", "kid"), ("ready", "root")]


async def test_watched_before_the_beginning(autojump_clock: MockClock) -> None:
    """Whoever is watched, or waited for, before a runner begins, is asked for when it is on the bus."""
    parent, ready = Parent("parent"), list[WorkerReadyData]()
    await parent.add_workers(Hand("kid", echo), Hand("other", echo))
    async with town() as place:
        await place.open("right", parent)
        runner = WorkerRunner(name="left", bus=MemoryBus(place.server), handle_sigint=False, handle_sigterm=False)
        runner.registry.watch("kid", ready.append)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runner.registry.wait_ready, "other")
            await wait_all_tasks_blocked()
            await nursery.start(partial(runner.run, auto_end=False))
            await trio.sleep(1)
            runner.end_nowait()
        assert ready == [WorkerReadyData("kid", "right")]


# -- one name, several homes ---------------------------------------------------------------------------------------------


async def families(place: Town) -> tuple[Place, Place, Place]:
    """Two runners with a parent each, whose child is called ``kid``; a third without."""
    one, two, three = Parent("one"), Parent("two"), Recorder("watcher")
    places = await place.open_all(left=[one], right=[two], middle=[three])
    await one.add_workers(Hand("kid", nap(1)))
    await two.add_workers(Hand("kid", echo))
    left, right, middle = places
    return left, right, middle


async def test_children_of_one_name(autojump_clock: MockClock) -> None:
    """Children of two runners may be called the same: each parent asks its own, and an answer goes where the question came from."""
    async with town() as place:
        left, right, middle = await families(place)
        assert await ask(middle.runner, "one", "ask_kid") == {"slept": 1}
        assert await ask(middle.runner, "two", "ask_kid") == {"echo": {}}
        assert await ask(left.runner, "two", "ask_kid") == {"echo": {}}
        kid = left.runner.get_worker("kid")
        assert kid is not None
        assert await ask(kid, "two", "ask_kid") == {"echo": {}}  # who asks is called like the one who is asked in the end
        await trio.sleep(3)
        assert quiet(left, right, middle)


async def test_one_name_one_home(autojump_clock: MockClock) -> None:
    """Seen from a third runner a name means the first that was heard of; when that goes, the other shows."""
    watcher = Recorder("watcher")
    async with town() as place:
        one, two = Parent("one"), Parent("two")
        left, _, middle = await place.open_all(left=[one], right=[two], middle=[watcher])
        await watcher.watch_workers("kid")
        await one.add_workers(Hand("kid", nap(1)))
        await trio.sleep(1)
        await two.add_workers(Hand("kid", echo))
        assert await ask(middle.runner, "kid") == {"slept": 1}
        await one.end_workers("kid")
        await trio.sleep(1)
        assert await ask(middle.runner, "kid") == {"echo": {}}
        assert heard(watcher) == [("ready", "kid"), ("lost", "kid"), ("ready", "kid")]
        await left.leave()
        assert await ask(middle.runner, "kid") == {"echo": {}}
        await two.stop()
        await trio.sleep(1)
        assert heard(watcher)[3:] == [("lost", "kid")]


async def test_a_child_here_hides_one_elsewhere(autojump_clock: MockClock) -> None:
    """A child that comes here, of a name known from elsewhere, is the one from then on; when it goes, the other shows again."""
    watcher = Recorder("watcher")
    async with town() as place:
        one, two = Parent("one"), Parent("two")
        left, _ = await place.open_all(left=[one, watcher], right=[two])
        await watcher.watch_workers("kid")
        await two.add_workers(Hand("kid", echo))
        assert await ask(left.runner, "kid") == {"echo": {}}
        await one.add_workers(Hand("kid", nap(1)))
        assert await ask(left.runner, "kid") == {"slept": 1}
        await one.end_workers("kid")
        assert await ask(left.runner, "kid") == {"echo": {}}
        await two.end_workers("kid")
        await trio.sleep(1)
        told = [what for what, name in heard(watcher) if name == "kid"]
        assert told == ["ready", "lost", "ready", "lost", "ready", "lost"]


async def test_whoever_waits_for_one_that_was_here(autojump_clock: MockClock) -> None:
    """Who watches a name that was here, and is not any more, hears of it elsewhere, too."""
    watcher = Recorder("watcher")
    async with town() as place:
        one, two = Parent("one"), Parent("two")
        await one.add_workers(Hand("kid", nap(1)))
        await place.open_all(left=[one, watcher], right=[two])
        await watcher.watch_workers("kid")
        await one.end_workers("kid")
        await two.add_workers(Hand("kid", echo))
        await trio.sleep(3)
        assert [what for what, name in heard(watcher) if name == "kid"] == ["ready", "lost", "ready"]


async def test_a_child_called_like_a_runner(autojump_clock: MockClock) -> None:
    """A runner's name leads to the runner again when a child of that name elsewhere is gone."""
    async with town(types={"note": Note}) as place:
        parent = Parent("parent")
        left, _ = await place.open_all(left=[], right=[parent])
        await parent.add_workers(Hand("third", echo))
        assert await ask(left.runner, "third") == {"echo": {}}
        third = await place.open("third", Recorder("hello"))
        await left.runner.registry.wait_ready("hello")
        await parent.end_workers("third")
        await trio.sleep(1)
        with third.bus.tap() as messages:
            left.bus.post(Note(source="left", target="third", text="hello"))
            await trio.sleep(1)
            assert messages.receive_nowait() == Note(source="left", target="third", text="hello")


# -- plain messages ------------------------------------------------------------------------------------------------------


class Correspondent(BaseWorker):
    """Writes down what it reads, and answers letters."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.read: list[tuple[str, str]] = []

    @handles(Note)
    async def letter(self, message: Note) -> None:
        """Answer whoever it was."""
        self.read.append((message.source, message.text))
        if message.text.endswith("?"):
            await self.send_bus_message(Note(source=self.name, target=message.source, text="yes"))


async def test_replies_to_whoever_has_written(autojump_clock: MockClock) -> None:
    """Whoever has said something can be answered, even a child of whom nobody here has heard."""
    parent, kid, there = Parent("parent"), Correspondent("kid"), Correspondent("there")
    async with town(types={"note": Note}) as place:
        left, right = await place.open_all(left=[parent], right=[there])
        await parent.add_workers(kid)
        await kid.send_bus_message(Note(source="kid", target="there", text="hello?"))
        await trio.sleep(1)
        assert (kid.read, there.read) == ([("there", "yes")], [("kid", "hello?")])
        assert "kid" not in right.runner.registry
        await kid.stop()
        await there.send_bus_message(Note(source="there", target="kid", text="still there?"))
        await trio.sleep(1)
        assert left.bus.statistics().dead_letters == 1


async def test_broadcasts_reach_each_listener_once(autojump_clock: MockClock) -> None:
    """A message for everybody reaches each who listens, here and in every other runner, once, and is not sent on."""
    readers = [Correspondent(name) for name in ("a", "b", "c", "d")]
    async with town(types={"note": Note}) as place:
        one, two, three = await place.open_all(one=readers[:2], two=readers[2:3], three=readers[3:])
        one.bus.post(Note(source="a", text="all"))
        await trio.sleep(1)
        assert [reader.read for reader in readers] == [[("a", "all")]] * 4
        three.bus.post(Note(source="d", text="again"))
        await trio.sleep(3)
        assert [reader.read for reader in readers] == [[("a", "all"), ("d", "again")]] * 4
        assert quiet(one, two, three)


async def test_the_heard_are_not_remembered_for_ever(autojump_clock: MockClock) -> None:
    """Of those who have said something, and of whom nobody has told, so many are remembered and no more."""
    there = Correspondent("there")
    async with town(types={"note": Note}) as place:
        left, right = await place.open_all(left=[], right=[there])
        for number in range(5000):
            left.bus.post(Note(source=f"somebody {number}", target="there"))
        await trio.sleep(5)
        assert len(there.read) == 5000
        assert len(right.bus._where._heard) == 4096


@pytest.mark.parametrize("name", ["\ud800", "\udfff!"])
async def test_names_that_cannot_be_said(name: str, autojump_clock: MockClock) -> None:
    """Whoever waits for a name that no bytes can say waits in peace: nobody elsewhere can have it."""
    watcher = Recorder("watcher")
    async with town() as place:
        left, _ = await place.open_all(left=[watcher], right=[Parent("parent")])
        await watcher.watch_workers(name)
        with trio.move_on_after(1):
            await left.runner.registry.wait_ready(name)
        third = await place.open("third", Recorder("late"))
        await third.runner.registry.wait_ready("watcher", "parent")
        parent = left.runner.get_worker("watcher")
        assert parent is not None
        await parent.add_workers(Hand(name, echo))
        await trio.sleep(1)
        assert ("ready", name) in heard(watcher)
