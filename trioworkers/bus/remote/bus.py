"""The bus of a runner whose workers talk to those of other runners.

**Names.** A message goes to whoever has the name here; else to the runner that has said that it has it, or from which somebody of that
name has been heard. Roots are known to all, their names are *claimed*, and belong to one runner at a time. Children stay home:
their names are their runner's own affair, and elsewhere they are known to those that watch them, wait for them, or have been spoken
to by them.

**Jobs** go by the job and not by names (:mod:`.calls`), so an asker and an answerer find each other whoever else is called like them.

**When somebody is gone**, whoever waits for it is told on its behalf, at once: a job asked for there ends with ERROR, a job asked
for from there is cancelled. When this runner itself has lost its place (:class:`~.transport.SessionOver`), everybody else is gone
for it in the same way, and it begins again as another incarnation, with the workers that it has.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import attrs
import trio

from ..._leaves import describe
from ..._sources import IdSource
from ...errors import MessageTooLargeError, WireError, WorkerStateError
from ...messages import (
    BusCancelWorkerMessage,
    BusJobCancelMessage,
    BusJobRequestMessage,
    BusJobResponseMessage,
    BusMessage,
    BusWorkerReadyMessage,
    BusWorkerRegistryMessage,
    BusWorkerRoomMessage,
    BusWorkersGoneMessage,
    BusWorkersWantedMessage,
    Priority,
)
from ...types import Loss
from ...wire import Serializer
from ..base import BusStatistics, WorkerBus
from ..directory import Roster
from ..inbox import Inbox
from .calls import Calls, job_of
from .membership import Bearings, Membership
from .session import Incidents, Peer, PeerStatistics, Session
from .transport import Transport
from .whereabouts import MOST, Ways, Whereabouts

_LONGEST: Final = 1000


@attrs.frozen
class RemoteBusStatistics(BusStatistics):
    """What has happened on a bus that spans runners.

    Args:
        incarnation: Which life of its runner this is; ``None`` if it is not on the bus at present.
        connected: Whether the transport is connected.
        resets: How often the runner has lost its place, and begun again.
        jobs: How many jobs are open that cross the bus, asked for here or there.
        malformed: Frames and messages that nobody could read.
        forged: Frames with a wrong signature.
        strangers: Frames of runners unknown, and messages that were not their sender's to say.
        peers: What is known of each other runner.
    """

    incarnation: str | None
    connected: bool
    resets: int
    jobs: int
    malformed: int
    forged: int
    strangers: int
    peers: tuple[PeerStatistics, ...]


class RemoteBus(WorkerBus):
    """A bus over a transport. Subclass it to say which; :class:`~trioworkers.RedisBus` does.

    Args:
        transport: What carries its frames.
        serializer: Turns messages into bytes and back.
        key: What frames are signed with; ``None`` if they are not.
        window: How many messages of a lane may be under way to another runner, unacknowledged; ``send`` waits when there are more.
        max_message: How many bytes a message may have.
        beat: After so many seconds what has come is acknowledged, however little it is.
        leave_timeout: So many seconds are spent on writing what is left, and on leaving, when the runner ends.
        mailbox_capacity: See :class:`~trioworkers.WorkerBus`; it holds for senders in other runners, too.
        new_id: See :class:`~trioworkers.WorkerBus`.
        strict: See :class:`~trioworkers.WorkerBus`.
    """

    def __init__(
        self,
        transport: Transport,
        serializer: Serializer,
        *,
        key: bytes | None = None,
        window: int = 1024,
        max_message: int = 1 << 20,
        beat: float = 1.0,
        leave_timeout: float = 5.0,
        mailbox_capacity: float | None = None,
        new_id: IdSource | None = None,
        strict: bool = False,
    ) -> None:
        super().__init__(mailbox_capacity=mailbox_capacity, new_id=new_id, strict=strict)
        self._codec = serializer
        self._key = key
        self._window = window
        self._max_message = max_message
        self._roster: Roster | None = None
        self._connected = False
        self._calls = Calls()
        self._incidents = Incidents()
        bearings = Bearings(new_session=self._new_session, evict=self._evict, runner_of=self._runner_of, tick=self._look_again)
        self._membership = Membership(transport, bearings, beat, leave_timeout)
        ways = Ways(self._tell, self._peers, self.__contains__, self.hand_in, self._membership.disclaim, self._can_say)
        self._where = Whereabouts(ways)
        self._arriving: BusMessage | None = None
        self._packed: tuple[BusMessage, bytes] | None = None
        self._effects: dict[type[BusMessage], Callable[[Peer, Any], None]] = {
            BusWorkerRegistryMessage: self._where.told,
            BusWorkersGoneMessage: self._where.told_gone,
            BusWorkersWantedMessage: self._where.told_wanted,
            BusWorkerRoomMessage: self._told_room,
        }

    # -- the runner's life -------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def serving(self, roster: Roster) -> AsyncIterator[None]:
        """Be on the bus while the block runs; see :meth:`~trioworkers.WorkerBus.serving`.

        Raises:
            WorkerStateError: It serves another runner already, or has served one.
        """
        if self._roster is not None:
            raise WorkerStateError(
                f"this {type(self).__name__} carries for runner {self._roster.runner_name!r}: make one for each runner"
            )
        if not self._can_say(roster.runner_name) or len(roster.runner_name) > _LONGEST:
            raise ValueError(f"a runner's name on this bus must be Unicode, of at most {_LONGEST} characters")
        self._roster = roster
        self._where.share(roster)
        try:
            async with self._membership.held(roster.runner_name):
                yield
        finally:
            self._where.share(None)

    def _new_session(self, incarnation: str, claims: Collection[str]) -> Session:
        return Session(incarnation, claims, self, self._codec, self._key, self._window, self._incidents)

    def _runner_of(self, incarnation: str) -> str:
        return self._where.runner_of(incarnation)

    def _look_again(self) -> None:
        self._where.look_again()

    def _evict(self, name: str, reason: str) -> None:
        self.hand_in(BusCancelWorkerMessage(source=self._serves, target=name, reason=reason))

    async def claim(self, name: str) -> None:
        """Hold a root's name on the whole bus; waits for a connection if there is none.

        Raises:
            DuplicateWorkerError: See :meth:`~trioworkers.WorkerBus.claim`.
            WireError: Nobody elsewhere could be told of that name.
        """
        if self._membership.may_claim:
            self._try_to_say(name)
            await self._membership.claim(name)

    def _can_say(self, name: str) -> bool:
        try:
            self._try_to_say(name)
        except WireError:
            return False
        return True

    def _try_to_say(self, name: str) -> None:
        self._codec.dumps(BusWorkersGoneMessage(source=name, workers=(name,)))

    def unsubscribe(self, inbox: Inbox) -> None:
        """Deliver nothing more to this inbox; its name is free, perhaps for somebody elsewhere."""
        was_here = self._inboxes.get(inbox.name) is inbox
        super().unsubscribe(inbox)
        if was_here:
            if inbox.name in self._membership.claims and inbox.name != self._serves:
                self._membership.disclaim(inbox.name)  # of one that was never ready, nobody else will say that it is gone
            self._where.free(inbox.name)

    # -- sending -----------------------------------------------------------------------------------------------------------

    def publish(self, message: BusMessage) -> bool:
        """Send to the runner that has the target, or to all."""
        session = self._membership.session
        if message is self._arriving or isinstance(message, BusWorkerReadyMessage):
            return False  # what has come from outside is not sent back; of who is ready, the runners tell each other
        if message.target is None:
            peers = self._peers()
        else:
            peer = self._peer_of(message, message.target)
            peers = [peer] if peer is not None else []
            self._calls.answered(message)
        if session is None or not peers:
            return False
        body = self._body(message)
        for peer in peers:
            session.push(peer, message.priority, body, job_of(message))
            if message.target is not None:
                self._calls.asked(message, message.target, peer)
        return True

    def check(self, message: BusMessage) -> None:
        """See :meth:`~trioworkers.WorkerBus.check`."""
        if message.target is not None and not message.local and self._peer_of(message, message.target) is not None:
            self._packed = message, self._body(message)

    def _peer_of(self, message: BusMessage, target: str) -> Peer | None:
        return self._calls.peer_of(message) or (None if target in self else self._where.home_of(target))

    def _receiver(self, message: BusMessage, target: str) -> Inbox | None:
        if message is not self._arriving and self._calls.peer_of(message) is not None:
            return None
        return super()._receiver(message, target)

    def _body(self, message: BusMessage) -> bytes:
        packed, self._packed = self._packed, None
        if packed is not None and packed[0] is message:
            return packed[1]
        try:
            return self._as_bytes(message)
        except WireError as error:
            wordless = _without_words(message, error)
            if wordless is None:
                raise
            return self._as_bytes(wordless)

    def _as_bytes(self, message: BusMessage) -> bytes:
        if isinstance(message, BusJobRequestMessage) and math.isfinite(message.deadline):
            body = self._codec.dumps(attrs.evolve(message, deadline=message.deadline - trio.current_time()))  # as time left
        else:
            body = self._codec.dumps(message)
        if len(body) > self._max_message:
            raise MessageTooLargeError(
                f"{type(message).__name__} from {message.source!r} to {message.target!r} has {len(body)} bytes, and this bus carries "
                f"{self._max_message}: send a reference to what is large, or raise max_message"
            )
        return body

    @property
    def _serves(self) -> str:
        """The runner for which it carries."""
        assert self._roster is not None  # noqa: S101 - there is one as long as it is on the bus
        return self._roster.runner_name

    def _peers(self) -> list[Peer]:
        session = self._membership.session
        return [] if session is None else list(session.peers.values())

    def _tell(self, peer: Peer, message: BusMessage) -> None:
        self._membership.present.push(peer, message.priority, self._codec.dumps(message), None)

    def _lacks_room(self, message: BusMessage, target: str) -> Callable[[], Awaitable[None]] | None:
        peer = self._peer_of(message, target)
        if peer is None:
            return super()._lacks_room(message, target)
        return partial(self._room_at, peer, target) if self._is_full(peer, target) else None

    async def _room_at(self, peer: Peer, target: str) -> None:
        while self._is_full(peer, target):
            await peer.moved.park()

    def _is_full(self, peer: Peer, target: str) -> bool:
        return not peer.lost and (target in peer.full or peer.link.backlog >= self._window)

    # -- what the session tells --------------------------------------------------------------------------------------------

    def line(self, connected: bool, reason: str | None) -> None:
        """The transport is connected, or is not."""
        self._connected = connected
        if connected and (tell := self.observers.bus_connected):
            tell(self._membership.present.incarnation)
        elif not connected and (tell_of_it := self.observers.bus_disconnected):
            tell_of_it(reason or "")

    def peer_joined(self, peer: Peer) -> None:
        """Another runner is there."""
        if tell := self.observers.peer_joined:
            tell(peer.incarnation)
        self._where.joined(peer)

    def peer_lost(self, peer: Peer, loss: Loss, reason: str) -> None:
        """It is gone: say so to whoever waits for it."""
        if tell := self.observers.peer_lost:
            tell(peer.incarnation, reason)
        self._where.lost(peer)
        for message in self._calls.last_words(peer, loss, f"{peer} is gone: {reason}" if loss is Loss.PEER_DOWN else reason):
            self.hand_in(message)

    def heard(self, peer: Peer, message: BusMessage) -> None:
        """It has said something: to this runner, or to somebody on it."""
        effect = self._effects.get(type(message))
        if effect is not None:
            effect(peer, message)
            return
        if self._is_no_worker_s(message) or not self._calls.admit(message, message.target, peer):
            self._incidents.strangers += 1
            refusal = self._calls.refusal(message, peer)
            if refusal is not None:
                self._tell(peer, refusal)
            return
        self._where.heard_of(message.source, peer)
        if isinstance(message, BusJobRequestMessage) and math.isfinite(message.deadline):
            message = attrs.evolve(message, deadline=message.deadline + trio.current_time())
        self._arrive(message)
        self._mind_room(peer, message)

    def _is_no_worker_s(self, message: BusMessage) -> bool:
        return isinstance(message, BusJobRequestMessage) and message.target == self._serves

    def _arrive(self, message: BusMessage) -> None:
        self._arriving = message
        try:
            self.hand_in(message)
        finally:
            self._arriving = None

    # -- room in mailboxes -------------------------------------------------------------------------------------------------

    def _mind_room(self, peer: Peer, message: BusMessage) -> None:
        """If a mailbox here is full now, tell whoever fills it from there; and again when there is room."""
        inbox = self._inboxes.get(message.target or "")
        if inbox is None or message.priority is not Priority.DATA or inbox.data.waiting < self._capacity or inbox.name in peer.stopped:
            return
        nursery = self._membership.nursery
        assert nursery is not None  # noqa: S101 - it has one as long as it has peers
        peer.stopped[inbox.name] = None
        self._tell_room(peer, inbox.name, room=False)
        nursery.start_soon(self._watch_room, peer, inbox, name=f"bus:room:{inbox.name}")

    async def _watch_room(self, peer: Peer, inbox: Inbox) -> None:
        await inbox.room(max(1, self._capacity // 2))
        peer.stopped.pop(inbox.name, None)
        self._tell_room(peer, inbox.name, room=True)

    def _tell_room(self, peer: Peer, worker: str, *, room: bool) -> None:
        self._tell(peer, BusWorkerRoomMessage(source=self._serves, worker=worker, room=room))

    @staticmethod
    def _told_room(peer: Peer, message: BusWorkerRoomMessage) -> None:
        if message.room:
            peer.full.pop(message.worker, None)
            peer.moved.unpark_all()
        elif len(peer.full) < MOST:
            peer.full[message.worker] = None

    # -- looking on --------------------------------------------------------------------------------------------------------

    def statistics(self) -> RemoteBusStatistics:
        """A snapshot."""
        session = self._membership.session
        return RemoteBusStatistics(
            **attrs.asdict(super().statistics(), recurse=False),
            incarnation=self._membership.incarnation,
            connected=session is not None and self._connected,
            resets=self._membership.resets,
            jobs=len(self._calls),
            malformed=self._incidents.malformed,
            forged=self._incidents.forged,
            strangers=self._incidents.strangers,
            peers=() if session is None else session.statistics(),
        )


def _without_words(message: BusMessage, error: WireError) -> BusMessage | None:
    """The same without its reason, if it has nothing else to say: a job's end, or its cancel, must not be lost over a word."""
    reason = f"its reason could not be sent: {describe(error)}"
    if isinstance(message, BusJobCancelMessage):
        return attrs.evolve(message, reason=reason)
    if isinstance(message, BusJobResponseMessage) and message.response is None and message.reason is not None:
        return attrs.evolve(message, reason=reason, traceback=None)
    return None
