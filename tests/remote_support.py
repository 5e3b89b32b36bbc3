"""What the tests of the bus that spans runners share: a few runners on one server, which may come, go, and crash."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio
from memory_bus import MemoryBus, MemoryTransport, Server

from trioworkers import BaseWorker, BusMessage, Observer, WorkerRunner, open_runner


@attrs.define(eq=False)
class Place:
    """One runner.

    Args:
        name: Its name.
        bus: Its bus.
    """

    name: str
    bus: MemoryBus
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    leaving: trio.Event = attrs.field(factory=trio.Event)
    gone: trio.Event = attrs.field(factory=trio.Event)
    error: BaseException | None = None
    _runner: WorkerRunner | None = None

    @property
    def runner(self) -> WorkerRunner:
        """The runner."""
        assert self._runner is not None
        return self._runner

    @property
    def way(self) -> MemoryTransport:
        """Its way to the server."""
        return self.bus.way

    @property
    def incarnation(self) -> str:
        """Which life it is in."""
        incarnation = self.bus.statistics().incarnation
        assert incarnation is not None
        return incarnation

    async def live(self, workers: tuple[BaseWorker, ...], options: dict[str, Any], *, task_status: trio.TaskStatus[None]) -> None:
        """Be there until it is to leave, or crashes."""
        started = False
        try:
            with self.scope:
                async with open_runner(*workers, name=self.name, bus=self.bus, **options) as self._runner:
                    started = True
                    task_status.started()
                    await self.leaving.wait()
        except Exception as error:
            if not started:
                raise
            self.error = error
        finally:
            self.gone.set()

    async def leave(self) -> None:
        """Leave in order."""
        self.leaving.set()
        await self.gone.wait()

    def crash(self) -> None:
        """The process is killed: nothing of it is heard of any more."""
        self.way.cut()
        self.way.resume()
        self.scope.cancel()


@attrs.define(eq=False)
class Town:
    """A server, and the runners on it.

    Args:
        server: The server.
        options: What all buses are made with.
    """

    server: Server
    nursery: trio.Nursery
    options: dict[str, Any]
    places: list[Place] = attrs.field(factory=list)

    async def open(self, name: str, *workers: BaseWorker, runner: dict[str, Any] | None = None, **options: Any) -> Place:
        """Open a runner; what it raises before it is ready is raised here."""
        place = Place(name, MemoryBus(self.server, **{**self.options, **options}))
        await self.nursery.start(place.live, workers, runner or {})
        self.places.append(place)
        return place

    async def open_all(self, **workers: Sequence[BaseWorker]) -> list[Place]:
        """Open some, and wait until all roots are known to all."""
        places = [await self.open(name, *given) for name, given in workers.items()]
        for place in places:
            await place.runner.registry.wait_ready(*(worker.name for given in workers.values() for worker in given))
        return places


@asynccontextmanager
async def town(*, patience: float = 1000.0, **options: Any) -> AsyncIterator[Town]:
    """Some runners; in the end they leave, one after the other, and nothing is left of any."""
    with trio.fail_after(patience):  # rather than wait for ever
        async with trio.open_nursery() as nursery:
            place = Town(Server(), nursery, options)
            yield place
            for one in place.places:
                await one.leave()
    check_nothing_left(place)


def check_nothing_left(place: Town) -> None:
    """Every runner is gone, in order: nothing of any is left, at the server or in its own memory."""
    crashed = [one for one in place.places if one.scope.cancel_called]
    for one in place.places:
        statistics = one.bus.statistics()
        assert statistics.incarnation is None
        assert not statistics.peers
        assert not statistics.waiting
        assert statistics.subscribers == 0
        assert statistics.jobs == 0
        assert one.runner.registry.local_workers == one.runner.registry.remote_workers == []
        where = one.bus._where
        left = {"homes": [*where._homes], "heard": [*where._heard], "wanted": [*where._wanted]}
        assert not any(left.values()), f"runner {one.name!r} still knows {left}"
    if not crashed:
        server = place.server
        assert [*server.members, *server.names, *server.inboxes] == []


def quiet(*places: Place) -> bool:
    """Whether nothing is under way between these, and no job is open."""
    statistics = [place.bus.statistics() for place in places]
    return all(one.jobs == 0 and all(peer.link.unacknowledged == 0 for peer in one.peers) for one in statistics)


class Lines(Observer):
    """Writes down what happens on the way to others."""

    def __init__(self) -> None:
        self.log: list[tuple[str, ...]] = []
        self.dropped: list[tuple[BusMessage, str | None, str]] = []

    def bus_connected(self, incarnation: str, /) -> None:
        """Write it down."""
        self.log.append(("connected", incarnation))

    def bus_disconnected(self, reason: str, /) -> None:
        """Write it down."""
        self.log.append(("disconnected", reason))

    def peer_joined(self, incarnation: str, /) -> None:
        """Write it down."""
        self.log.append(("joined", incarnation))

    def peer_lost(self, incarnation: str, reason: str, /) -> None:
        """Write it down."""
        self.log.append(("lost", incarnation, reason))

    def message_dropped(self, message: BusMessage, name: str | None, why: str, /) -> None:
        """Write it down."""
        self.dropped.append((message, name, why))
