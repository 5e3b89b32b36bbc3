"""One incarnation of a runner on the bus: whom it knows, and what is said either way. What a transport sees of a bus."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Protocol

import attrs
import trio

from ...errors import WireError
from ...messages import BusMessage
from ...types import Loss, WorkerRegistryEntry
from ...wire import Serializer
from .frames import ForgedFrameError, Frame, pack, sign, unpack, verify
from .link import Link, LinkStatistics
from .transport import Parcel


@attrs.define(eq=False)
class Peer:
    """What one runner knows of another.

    Args:
        incarnation: Which life of it.
        link: What they say to each other.
        runner: Its runner's name, once it has said so.
        entries: Its workers, as it said: the roots, and of the others those in whom somebody here is interested.
        wants: Whom, besides the roots, it wants to hear of.
        told: Of whom it has been told.
        full: Whose mailboxes there have no room.
        stopped: Of whose mailboxes here it has been told that they have no room.
        lost: Whether it is gone.
        moved: Where those wait who have more to send than it takes.
    """

    incarnation: str
    link: Link
    runner: str | None = None
    entries: dict[str, WorkerRegistryEntry] = attrs.field(factory=dict)
    wants: dict[str, None] = attrs.field(factory=dict)
    told: dict[str, None] = attrs.field(factory=dict)
    full: dict[str, None] = attrs.field(factory=dict)
    stopped: dict[str, None] = attrs.field(factory=dict)
    lost: bool = False
    moved: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)

    def __str__(self) -> str:
        """For those who read a reason."""
        return f"runner {self.incarnation!r}" if self.runner is None else f"runner {self.runner!r} ({self.incarnation})"


@attrs.frozen
class PeerStatistics:
    """What one runner knows of another, at one moment.

    Args:
        incarnation: Which life of it.
        runner: Its runner's name, once it has said so.
        workers: Its workers that are known here.
        link: What has gone either way.
    """

    incarnation: str
    runner: str | None
    workers: tuple[str, ...]
    link: LinkStatistics


class Host(Protocol):
    """Whose session it is."""

    def peer_joined(self, peer: Peer) -> None:
        """Another runner is there."""
        ...

    def peer_lost(self, peer: Peer, loss: Loss, reason: str) -> None:
        """It is gone."""
        ...

    def heard(self, peer: Peer, message: BusMessage) -> None:
        """It has said something."""
        ...

    def line(self, connected: bool, reason: str | None) -> None:
        """The transport is connected, or is not."""
        ...


@attrs.define(eq=False)
class Incidents:
    """What has come that was nothing.

    Args:
        malformed: Frames and messages that nobody could read.
        forged: Frames with a wrong signature.
        strangers: Frames of runners that nobody knows, and messages that were not their sender's to say.
    """

    malformed: int = 0
    forged: int = 0
    strangers: int = 0


@attrs.define(eq=False)
class Session:
    """One incarnation, from its joining to its end. Everything is sync but :meth:`wait_outgoing`.

    Args:
        incarnation: Its id.
        claims: The names it holds.
        host: Whose it is.
        codec: Turns messages into bytes and back.
        key: What frames are signed with; ``None`` if they are not.
        window: How many messages of a lane may be under way to a peer.
        incidents: Counts what was nothing.
        prompt: Called when something was said to a peer; returns whether nobody need be woken for it.
    """

    incarnation: str
    claims: Collection[str]
    _host: Host
    _codec: Serializer
    _key: bytes | None
    _window: int
    _incidents: Incidents
    leaving: trio.Event = attrs.field(factory=trio.Event, init=False)
    prompt: Callable[[], bool] | None = attrs.field(default=None, init=False)
    peers: dict[str, Peer] = attrs.field(factory=dict, init=False)
    _ready: dict[str, Peer] = attrs.field(factory=dict, init=False)
    _bell: trio.Event = attrs.field(factory=trio.Event, init=False)
    _flushing: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)

    # -- going out ---------------------------------------------------------------------------------------------------------

    def push(self, peer: Peer, lane: int, body: bytes, job: str | None) -> None:
        """Send to a peer; to one that is lost, nowhere."""
        if not peer.lost:
            peer.link.push(lane, body, job)
            if self._has_more(peer) and not (self.prompt is not None and self.prompt()):
                self._bell.set()

    def leave(self) -> None:
        """Have everything written that is to be written, and the membership given up."""
        self.leaving.set()
        self._bell.set()

    async def wait_outgoing(self) -> None:
        """Wait until there is something to take, or it is to leave."""
        while not (self._ready or self.leaving.is_set()):
            self._bell = trio.Event()  # it may have rung for a peer that is lost by now
            await self._bell.wait()
        await trio.lowlevel.checkpoint_if_cancelled()

    def outgoing(self, limit: int) -> list[Parcel]:
        """Take up to ``limit`` frames, each peer's in its turn."""
        parcels: list[Parcel] = []
        for peer in list(self._ready.values()):
            if len(parcels) >= limit:
                break
            del self._ready[peer.incarnation]
            frames = peer.link.take(limit - len(parcels))
            parcels += [Parcel(peer.incarnation, frame.lane, self._packed(peer, frame)) for frame in frames]
            self._wake(peer)
        if self._flushing:
            self._flushing.unpark_all()
        return parcels

    async def wait_flushed(self) -> None:
        """Wait until all that was said to anybody has been taken, as far as it goes at one time."""
        while not all(peer.link.is_flushed for peer in self.peers.values()):
            await self._flushing.park()

    def _packed(self, peer: Peer, frame: Frame) -> bytes:
        data = pack(frame)
        return data if self._key is None else sign(self._key, peer.incarnation, data)

    def _wake(self, peer: Peer) -> None:
        if self._has_more(peer):
            self._bell.set()

    def _has_more(self, peer: Peer) -> bool:
        """Whether there is something to take of which nobody has been told."""
        if peer.incarnation in self._ready or peer.lost or not peer.link.can_take:
            return False
        self._ready[peer.incarnation] = peer
        return True

    def tick(self) -> None:
        """Some time has passed: acknowledge, and try again what could not be written."""
        for peer in self.peers.values():
            peer.link.tick()
            self._wake(peer)

    # -- what the transport tells ------------------------------------------------------------------------------------------

    def connected(self) -> None:
        """What is not acknowledged is given again."""
        for peer in self.peers.values():
            peer.link.rewind()
            self._wake(peer)
        self._host.line(True, None)  # noqa: FBT003 - as a switch is

    def disconnected(self, reason: str) -> None:
        """Nothing can be written for now."""
        self._host.line(False, reason)  # noqa: FBT003 - as a switch is

    def unreachable(self, receiver: str) -> None:
        """Try again with the next tick, unless it turns out to be gone."""
        peer = self.peers.get(receiver)
        if peer is not None:
            peer.link.rewind()
            self._ready.pop(receiver, None)

    def members(self, present: Collection[str]) -> None:
        """Meet the new ones, part from those that are missing."""
        for incarnation in [name for name in self.peers if name not in present]:
            self.lose(self.peers[incarnation], Loss.PEER_DOWN, "it has left, or nothing was heard of it for too long")
        for incarnation in present:
            if incarnation != self.incarnation and incarnation not in self.peers:
                self._meet(incarnation)

    def lose(self, peer: Peer, loss: Loss, reason: str) -> None:
        """A peer is gone, whoever is to blame."""
        del self.peers[peer.incarnation]
        self._ready.pop(peer.incarnation, None)
        peer.lost = True
        peer.moved.unpark_all()
        self._flushing.unpark_all()
        self._host.peer_lost(peer, loss, reason)

    def arrived(self, frames: Iterable[bytes]) -> None:
        """Some frames have come."""
        heard: dict[Peer, None] = {}
        for data in frames:
            frame = self._unpacked(data)
            if frame is not None:
                peer = self.peers.get(frame.sender)
                if peer is not None:
                    heard[peer] = None
                    self._take_in(peer, frame)
                else:  # not a member any more, or not known to be one yet: then it will be asked to say it again
                    self._incidents.strangers += 1
        for peer in heard:
            if peer.moved and peer.link.backlog < self._window:
                peer.moved.unpark_all()
            self._wake(peer)

    def _unpacked(self, data: bytes) -> Frame | None:
        try:
            return unpack(data if self._key is None else verify(self._key, self.incarnation, data))
        except ForgedFrameError:
            self._incidents.forged += 1
        except WireError:
            self._incidents.malformed += 1
        return None

    def _meet(self, incarnation: str) -> None:
        peer = self.peers[incarnation] = Peer(incarnation, Link(self.incarnation, self._window))
        peer.link.ask_again()  # what it has said before this one knew of it
        self._host.peer_joined(peer)
        self._wake(peer)

    def _take_in(self, peer: Peer, frame: Frame) -> None:
        for body in peer.link.receive(frame):
            try:
                message = self._codec.loads(body)
            except WireError:
                self._incidents.malformed += 1
            else:
                self._host.heard(peer, message)

    def statistics(self) -> tuple[PeerStatistics, ...]:
        """What is known of each peer."""
        return tuple(
            PeerStatistics(peer.incarnation, peer.runner, tuple(peer.entries), peer.link.statistics()) for peer in self.peers.values()
        )
