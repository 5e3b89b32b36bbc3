"""Names across runners: each root's and each runner's is one runner's at a time."""

from __future__ import annotations

import pytest
import trio
from job_support import Hand, ask, echo
from memory_bus import TTL, MemoryBus, Server, no_server
from remote_support import quiet, town
from support import Recorder
from trio.testing import MockClock

from trioworkers import (
    BaseWorker,
    BusConnectionError,
    DuplicateWorkerError,
    WireError,
    WorkerRegistry,
    WorkerRunner,
    WorkerStateError,
    open_runner,
)


class Stuck(BaseWorker):
    """Holds its name, and never gets ready."""

    async def start(self) -> None:
        """Claim, and fail."""
        await self.bus.claim(self.name)
        await trio.sleep(1)
        raise ZeroDivisionError


async def test_a_root_s_name_is_taken(autojump_clock: MockClock) -> None:
    """N4, U56: a root whose name a runner elsewhere has is refused, with that runner's name; nothing of it stays."""
    async with town() as place:
        left, right = await place.open_all(left=[Recorder("a")], right=[])
        with pytest.RaisesGroup(pytest.RaisesExc(DuplicateWorkerError, match="'a' is taken on this bus by runner 'left'")):
            await right.runner.add_workers(Recorder("a"), Recorder("b"))
        assert right.runner.workers == []
        assert right.runner.registry.remote_workers == ["a"]
        await left.runner.end_workers("a")
        await right.runner.add_workers(Recorder("a"), Recorder("b"))
        await left.runner.registry.wait_ready("a", "b")
        assert place.server.names["a"] == right.incarnation


async def test_a_root_fails_before_it_is_ready(autojump_clock: MockClock) -> None:
    """The name of a root that has claimed it and was never ready is free again."""
    async with town() as place:
        left, right = await place.open_all(left=[], right=[])
        with pytest.RaisesGroup(ZeroDivisionError):
            await left.runner.add_workers(Stuck("a"))
        await right.runner.add_workers(Recorder("a"))


async def test_a_root_is_given_up_while_it_claims(autojump_clock: MockClock) -> None:
    """A root that is cancelled while it waits for its name has not got it; without a line it waits, and then has it."""
    async with town() as place:
        left, right = await place.open_all(left=[], right=[])
        left.way.cut()
        with trio.move_on_after(1) as scope:
            await left.runner.add_workers(Recorder("a"))
        assert scope.cancelled_caught
        async with trio.open_nursery() as nursery:
            nursery.start_soon(left.runner.add_workers, Recorder("b"))
            await trio.sleep(1)
            assert "b" not in left.runner.registry
            left.way.mend()
        await right.runner.add_workers(Recorder("a"))
        assert place.server.names["b"] == left.incarnation


@pytest.mark.parametrize("how", ["left", "crashed", "fails"])
async def test_names_are_free_when_their_runner_is_gone(how: str, autojump_clock: MockClock) -> None:
    """N4: the names of a runner that is gone, roots' and its own, are free: at once if it has left, else when it is declared down."""
    async with town() as place:
        left, right = await place.open_all(left=[Recorder("a")], right=[])
        if how == "left":
            await left.leave()
        elif how == "crashed":
            left.crash()
        else:
            left.scope.cancel()
            await left.gone.wait()
        start = trio.current_time()
        again = await place.open("left")
        await right.runner.add_workers(Recorder("a"))
        assert trio.current_time() - start < (TTL + 2 if how == "crashed" else 0.1)
        assert right.runner.registry.local_workers == ["a"]
        await again.runner.registry.wait_ready("a")


async def test_a_runner_s_name_is_taken(autojump_clock: MockClock) -> None:
    """N4: a second runner of a name is refused, with nothing else wrapped around it, and so is one called like a root."""
    async with town() as place:
        await place.open("left", Recorder("a"))
        root = Recorder("b")
        for name in ("left", "a"):
            with pytest.raises(DuplicateWorkerError, match=f"the name '{name}' is taken on this bus by runner 'left"):
                await place.open(name, root if name == "left" else Recorder("c"))
        assert await place.open("right", Recorder("b")) is not None  # its name is free
        with pytest.RaisesGroup(DuplicateWorkerError):
            await place.places[1].runner.add_workers(Recorder("left"))


async def test_a_bus_for_each_runner(autojump_clock: MockClock) -> None:
    """A bus that spans runners serves one runner, once."""
    bus = MemoryBus(Server())
    async with open_runner(name="left", bus=bus):
        with pytest.raises(WorkerStateError, match="carries for runner 'left': make one for each"):
            async with open_runner(name="other", bus=bus):
                raise NotImplementedError
    with pytest.raises(WorkerStateError, match="make one for each"):
        async with open_runner(name="other", bus=bus):
            raise NotImplementedError


@pytest.mark.parametrize("name", ["\ud800", "x" * 1001, "ü" * 1001])
async def test_runners_names_that_cannot_be_said(name: str, autojump_clock: MockClock) -> None:
    """A runner whose name does not fit on the wire is refused before anything is connected."""
    server = Server()
    with pytest.raises(ValueError, match="a runner's name on this bus must be Unicode, of at most 1000 characters"):
        async with open_runner(name=name, bus=MemoryBus(server)):
            raise NotImplementedError
    assert not server.frames
    async with open_runner(name="ü" * 1000, bus=MemoryBus(server)):
        assert len(server.members) == 1


async def test_roots_names_that_cannot_be_said(autojump_clock: MockClock) -> None:
    """A root whose name cannot be said to others is refused when it starts."""
    async with town() as place:
        left = await place.open("left")
        await place.open("right")
        with pytest.RaisesGroup(WireError):
            await left.runner.add_workers(Recorder("\ud800"))
        await trio.sleep(3)
        assert quiet(left)


@pytest.mark.parametrize("why", ["cut", "down"])
async def test_a_server_that_cannot_be_reached(why: str, autojump_clock: MockClock) -> None:
    """If the bus cannot be reached when a runner begins, that comes out bare; nothing was started, and the workers' names are free."""
    server = Server()
    bus, worker = MemoryBus(server), Recorder("a")
    if why == "cut":
        bus.way.cut()
    else:
        server.crash(keep=True)
    with pytest.raises(BusConnectionError, match="the server cannot be reached"):
        async with open_runner(worker, name="left", bus=bus):
            raise NotImplementedError
    assert worker.log == []
    assert "a" not in bus
    assert bus.statistics().incarnation is None
    assert server.members == {}


async def test_given_up_while_it_connects(autojump_clock: MockClock) -> None:
    """A runner that is cancelled while it still connects leaves nothing."""
    server = Server(latency=5)
    bus = MemoryBus(server)
    with trio.move_on_after(1) as scope:
        async with open_runner(Recorder("a"), name="left", bus=bus):
            raise NotImplementedError
    assert scope.cancelled_caught
    assert bus.statistics().subscribers == 0
    await trio.sleep(10)
    assert server.members == {}
    async with open_runner(Recorder("a"), name="left", bus=MemoryBus(Server())):
        pass


async def test_ended_while_it_connects(autojump_clock: MockClock) -> None:
    """A runner that is ended while its bus still connects starts nothing, and leaves."""
    server = Server(latency=5)
    worker = Recorder("a")
    async with trio.open_nursery() as nursery:
        runner = WorkerRunner(name="left", bus=MemoryBus(server), handle_sigint=False, handle_sigterm=False)
        await runner.add_workers(worker)
        nursery.start_soon(runner.run)
        await trio.sleep(1)
        runner.end_nowait("no")
    assert worker.log == []
    assert server.members == {}


async def test_a_root_run_by_hand(autojump_clock: MockClock) -> None:
    """A root that is attached to a bus by hand, outside any runner's time, claims nothing."""
    bus = MemoryBus(Server())
    worker = Recorder("a")
    await bus.claim("a")
    await worker.attach(registry=WorkerRegistry("nobody"), bus=bus)
    assert bus._membership.claims == {}
    await worker.stop()
    assert "a" not in bus


async def test_forgotten_twice(autojump_clock: MockClock) -> None:
    """What was not subscribed can be forgotten, and nothing happens."""
    async with town() as place:
        left = await place.open("left", Recorder("a"))
        inbox = left.bus._inboxes["a"]
        await left.runner.end_workers("a")
        await left.runner.add_workers(Recorder("a"))
        left.bus.unsubscribe(inbox)
        assert "a" in left.bus
        assert place.server.names["a"] == left.incarnation


async def test_a_claim_outlasts_a_reset(autojump_clock: MockClock) -> None:
    """A root that claims its name while its runner loses its place has it in the runner's next life."""
    async with town() as place:
        left = await place.open("left")
        right = await place.open("right", Hand("hand", echo))
        async with trio.open_nursery() as nursery:
            with no_server(place.server, keep=False):
                nursery.start_soon(left.runner.add_workers, Recorder("a"))
                await trio.sleep(1)
        await right.runner.registry.wait_ready("a")
        assert place.server.names["a"] == left.incarnation
        assert await ask(left.runner, "hand") == {"echo": {}}
