"""One node's bus on a simulated network: what it knows of the other nodes, and what it does when one is gone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final, Protocol, final

import attrs
import trio

from .._leaves import describe
from .._sources import counted_ids
from ..bus import Inbox, WorkerBus
from ..errors import DuplicateWorkerError, WireError
from ..messages import (
    BusEndMessage,
    BusJobCancelMessage,
    BusJobRequestMessage,
    BusJobResponseMessage,
    BusJobStreamEndMessage,
    BusMessage,
    BusWorkerReadyMessage,
    BusWorkerRegistryMessage,
)
from ..observers import Observer
from ..runner import WorkerRunner
from ..types import JobStatus, WorkerRegistryEntry

_ANSWERS: Final = (BusJobResponseMessage, BusJobStreamEndMessage)


class Ways(Protocol):
    """What a node needs of the network."""

    def holder(self, name: str) -> SimBus | None:
        """The living node that has this name."""
        ...

    def send(self, sender: str, receivers: Sequence[str], message: BusMessage, *, counted: bool = True) -> None:
        """Send to some nodes; only a cut stops what no fault counts."""
        ...


@attrs.define(eq=False)
class Peer:
    """What one node knows of another.

    Args:
        node: Its name.
        is_lost: Whether it is taken for gone.
        runner: Its runner's name, once it has said so.
        workers: Its workers, as it said.
        heard: Other names, from which something has come from there.
        asked: The requests that went there and are not answered: who asked, by job and worker.
        accepted: The requests that came from there and are not answered: who asked, by job and worker.
        cancelled: Those that were cancelled from there when they were not open, by job and worker.
        given_up: The requests that went there, were cancelled, and are not answered: the cancel, and when it was last sent.
    """

    node: str
    is_lost: bool = False
    runner: str | None = None
    workers: dict[str, WorkerRegistryEntry] = attrs.field(factory=dict)
    heard: dict[str, None] = attrs.field(factory=dict)
    asked: dict[tuple[str, str], str] = attrs.field(factory=dict)
    accepted: dict[tuple[str, str], str] = attrs.field(factory=dict)
    cancelled: dict[tuple[str, str], None] = attrs.field(factory=dict)
    given_up: dict[tuple[str, str], tuple[BusJobCancelMessage, float]] = attrs.field(factory=dict)

    def takes(self, message: BusMessage) -> bool:
        """Whether that message seems to be for somebody there, or about a job that was asked for there."""
        name = message.target
        there = name is None or name == self.runner or name in self.workers or name in self.heard
        return there or (getattr(message, "job_id", None), name) in self.asked

    def has_gone(self, message: BusMessage, target: str) -> None:
        """A message has left for it."""
        if isinstance(message, BusJobRequestMessage):
            self.asked[message.job_id, target] = message.source
        elif isinstance(message, BusJobCancelMessage):
            self.given_up[message.job_id, target] = message, trio.current_time()
        elif isinstance(message, _ANSWERS):
            self.accepted.pop((message.job_id, message.source), None)

    def has_come(self, message: BusMessage, target: str) -> BusMessage | None:
        """A message from it is here; return the answer if it need go no further.

        A cancel of what is not open here is answered: its request, or the answer to that, is lost, and who cancels waits for an
        answer. Should the request come after all, it has been cancelled.
        """
        if isinstance(message, BusJobRequestMessage):
            if (message.job_id, target) in self.cancelled:
                return _cancelled(message, target)
            self.accepted[message.job_id, target] = message.source
        elif isinstance(message, BusJobCancelMessage):
            if (message.job_id, target) not in self.accepted:
                self.cancelled[message.job_id, target] = None
                return _cancelled(message, target)
        elif isinstance(message, _ANSWERS):
            self.asked.pop((message.job_id, message.source), None)
            self.given_up.pop((message.job_id, message.source), None)
        return None

    def last_words(self, reason: str) -> Iterator[BusMessage]:
        """What it would have to say to those who wait for it, and cannot any more."""
        for (job_id, worker), asker in self.asked.items():
            yield _answer(worker, asker, job_id, JobStatus.ERROR, reason)
        for (job_id, worker), asker in self.accepted.items():
            yield BusJobCancelMessage(source=asker, target=worker, job_id=job_id, reason=reason)


class _Announcer(Observer):
    """Tells the others when a worker of its node comes, goes, or is not what it was."""

    def __init__(self, bus: SimBus) -> None:
        self._bus = bus

    def worker_registered(self, entry: WorkerRegistryEntry, /) -> None:
        """Tell, if it is of this node."""
        self.worker_unregistered(entry.name)

    def worker_unregistered(self, name: str, /) -> None:
        """Tell, if it is of this node."""
        if name in self._bus:
            self._bus.announce()


@final
class SimBus(WorkerBus):
    """One node's bus; :meth:`SimNetwork.bus` makes it.

    Args:
        ways: The network.
        node: The node's name.
        ids: What its job ids begin with.
        mailbox_capacity: See :class:`WorkerBus`.
    """

    def __init__(self, ways: Ways, node: str, ids: str, mailbox_capacity: float | None) -> None:
        super().__init__(mailbox_capacity=mailbox_capacity, new_id=counted_ids(ids))
        self.node = node
        self.is_dead: bool = False
        self._ways = ways
        self._runner: WorkerRunner | None = None
        self._peers: dict[str, Peer] = {}
        self._arriving: BusMessage | None = None
        self.add_observer(_Announcer(self))

    def __repr__(self) -> str:
        return f"<SimBus {self.node!r}{' (dead)' if self.is_dead else ''}>"

    # -- what a bus does ---------------------------------------------------------------------------------------------------

    def subscribe(self, inbox: Inbox) -> None:
        """Deliver to this inbox; a runner's brings its registry along.

        Raises:
            DuplicateWorkerError: Its name is taken, here or on another node.
            ValueError: This node has a runner already.
        """
        holder = self._ways.holder(inbox.name)
        if holder is not None and holder is not self:
            raise DuplicateWorkerError(f"the name {inbox.name!r} is taken on node {holder.node!r}: choose another")
        runner = _runner_of(inbox)
        if runner is not None and self._runner is not None and self._runner.name in self:
            raise ValueError(f"node {self.node!r} has the runner {self._runner.name!r}: give each runner a node of its own")
        super().subscribe(inbox)
        self._forget(inbox.name)
        if runner is not None:
            self._join(runner)

    def publish(self, message: BusMessage) -> bool:
        """Send it to the node that has its target, or to all."""
        if self.is_dead or message is self._arriving:  # what comes from outside is not sent back
            return False
        peers = [peer for peer in self._peers.values() if not peer.is_lost and peer.takes(message)]
        self._send([peer.node for peer in peers], message)
        if message.target is not None:
            for peer in peers:
                peer.has_gone(message, message.target)
        return bool(peers)

    # -- what the network does ---------------------------------------------------------------------------------------------

    def arrive(self, node: str, message: BusMessage) -> None:
        """Something has come from another node."""
        peer = self._peers[node]
        if isinstance(message, BusWorkerRegistryMessage):
            self._learn(peer, message)
            return
        self._hear(peer, message.source)
        answer = None if message.target is None else peer.has_come(message, message.target)
        if answer is not None:
            self._ways.send(self.node, [node], answer, counted=False)
            return
        self._arriving = message
        try:
            self.post(message)
        finally:
            self._arriving = None

    def remind(self, after: float) -> float:
        """Cancel again what was cancelled so many seconds ago and is not answered; return when that is to be done the next time."""
        now = trio.current_time()
        for peer in self._peers.values():
            for job, (message, sent) in peer.given_up.items():
                if now >= sent + after:
                    peer.given_up[job] = message, now
                    self._ways.send(self.node, [peer.node], message, counted=False)
        return min((sent + after for peer in self._peers.values() for _, sent in peer.given_up.values()), default=math.inf)

    def meet(self, node: str) -> None:
        """There is another node, or it is there again: tell it who is here."""
        if node not in self._peers or self._peers[node].is_lost:
            self._peers[node] = Peer(node)
        self.announce(node)

    def lose(self, node: str, reason: str) -> None:
        """Another node is gone: say so to whoever waits for it, on its behalf."""
        peer = self._peers.get(node)
        if peer is None or peer.is_lost:
            return
        self._peers[node] = Peer(node, is_lost=True)
        for name in peer.workers:
            self._unregister(peer, name)
        for message in peer.last_words(reason):
            self.post(message)

    def die(self, reason: str) -> None:
        """This node crashes: nothing leaves it any more, and whoever runs on it is cancelled."""
        self.is_dead = True
        if self._runner is not None:
            self._runner.cancel_nowait(reason)
        self.cut_off(reason)

    def cut_off(self, reason: str) -> None:
        """Nothing leaves this node any more, and nothing comes."""
        self.is_dead = True
        for node in self._peers:
            self.lose(node, reason)

    def announce(self, *nodes: str) -> None:
        """Tell who is here: these nodes, or all."""
        if self._runner is None or self.is_dead:
            return
        registry = self._runner.registry
        entries = [entry for name in registry.local_workers if (entry := registry.get(name)) is not None]
        message = BusWorkerRegistryMessage(source=self._runner.name, runner=self._runner.name, workers=entries)
        receivers = nodes or [peer.node for peer in self._peers.values() if not peer.is_lost]
        self._ways.send(self.node, receivers, message, counted=False)

    # -- inside ------------------------------------------------------------------------------------------------------------

    def _send(self, nodes: Sequence[str], message: BusMessage) -> None:
        try:
            self._ways.send(self.node, nodes, message, counted=not isinstance(message, BusWorkerReadyMessage))
        except WireError as error:
            if message.target is None or not isinstance(message, _ANSWERS):
                raise
            instead = _answer(message.source, message.target, message.job_id, JobStatus.ERROR, describe(error))
            self._ways.send(self.node, nodes, instead)

    def _join(self, runner: WorkerRunner) -> None:
        self._runner = runner
        for peer in self._peers.values():
            for entry in peer.workers.values():
                runner.registry.register(entry, runner=peer.runner)
        self.announce()

    def _hear(self, peer: Peer, name: str) -> None:
        """Somebody has spoken of whom nobody has told: answers go where the question came from."""
        if not any(name in other.workers or name == other.runner for other in self._peers.values()):
            for other in self._peers.values():
                other.heard.pop(name, None)
            peer.heard[name] = None

    def _learn(self, peer: Peer, message: BusWorkerRegistryMessage) -> None:
        """Know of another node what it says, but for old news: of whom has got his name somewhere else by now."""
        told = {entry.name: entry for entry in message.workers if self._is_there(entry.name, peer.node)}
        for name in list(peer.workers):
            if name not in told or peer.runner != message.runner:
                del peer.workers[name]
                self._unregister(peer, name)
        peer.runner = message.runner
        for name, entry in told.items():
            if peer.workers.get(name) != entry:
                self._forget(name, besides=peer)
                peer.workers[name] = entry
                if self._runner is not None:
                    self._runner.registry.register(entry, runner=peer.runner)

    def _is_there(self, name: str, node: str) -> bool:
        holder = self._ways.holder(name)
        return holder is None or holder.node == node

    def _forget(self, name: str, besides: Peer | None = None) -> None:
        """Somebody else has this name now."""
        for peer in self._peers.values():
            if peer is not besides:
                peer.heard.pop(name, None)
                if peer.workers.pop(name, None) is not None:
                    self._unregister(peer, name)

    def _unregister(self, peer: Peer, name: str) -> None:
        if self._runner is not None:
            self._runner.registry.unregister(name, runner=peer.runner)


def _answer(worker: str, asker: str, job_id: str, status: JobStatus, reason: str) -> BusMessage:
    return BusJobResponseMessage(source=worker, target=asker, job_id=job_id, status=status, reason=reason)


def _cancelled(message: BusJobCancelMessage | BusJobRequestMessage, worker: str) -> BusMessage:
    return _answer(worker, message.source, message.job_id, JobStatus.CANCELLED, "cancelled when it was not there")


def _runner_of(inbox: Inbox) -> WorkerRunner | None:
    """The runner whose inbox this is, if it is a runner's: only runners answer for the end of a session."""
    owner = getattr(inbox.routes.of(BusEndMessage), "__self__", None)
    return owner if isinstance(owner, WorkerRunner) else None
