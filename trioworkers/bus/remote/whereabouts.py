"""Who is where: what runners tell each other of their workers, and how a name finds its runner.

Each runner tells each other of its roots, all of them, always; and of those children in whom the other has said to be interested, by
name, for as long as it is. All this goes over the links, so it is in order and nothing of it is lost; there is no other copy.

**One name, one home.** A name that is taken here means whoever is here. Of those elsewhere, the first that has been heard of is the
one; the others of that name are hidden, and show when it is gone. (For roots that lasts only as long as it takes to find out that a
runner is dead whose successor is here already. For children it is as it should be: their names are their runner's own affair.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import attrs

from ...messages import (
    BusMessage,
    BusWorkerReadyMessage,
    BusWorkerRegistryMessage,
    BusWorkersGoneMessage,
    BusWorkersWantedMessage,
)
from ...types import WorkerRegistryEntry
from ..directory import Roster
from .session import Peer

_HEARD: Final = 4096
"""So many names are remembered of whom nobody has told, but who have said something: for answers to them."""

MOST: Final = 65_536
"""So many workers of another runner are known, and so many of its wishes: a runner that says more is out of order."""


@attrs.frozen(eq=False)
class Ways:
    """What it takes to tell others.

    Args:
        send: Send to a peer.
        peers: Who is there.
        is_here: Whether a name is taken here.
        announce: Tell those here who listen.
        release: A name need not be held any more.
        can_say: Whether a name can be sent; if not, nobody elsewhere has it.
    """

    send: Callable[[Peer, BusMessage], None]
    peers: Callable[[], Iterable[Peer]]
    is_here: Callable[[str], bool]
    announce: Callable[[BusMessage], None]
    release: Callable[[str], None]
    can_say: Callable[[str], bool]


@attrs.define(eq=False)
class Whereabouts:
    """The names that one runner knows."""

    _ways: Ways
    _roster: Roster | None = attrs.field(default=None, init=False)
    _homes: dict[str, Peer] = attrs.field(factory=dict, init=False)
    _heard: dict[str, Peer] = attrs.field(factory=dict, init=False)
    _wanted: dict[str, None] = attrs.field(factory=dict, init=False)
    _freed: dict[str, None] = attrs.field(factory=dict, init=False)

    def share(self, roster: Roster | None) -> None:
        """Tell of this runner's workers, and tell this runner of the others'; ``None``: of nobody any more."""
        for names in (self._wanted, self._freed):  # whoever still waits when this runner has left will not say when it has stopped
            names.clear()
        for each, directory in ((self._roster, None), (roster, self)):
            if each is not None:
                each.share(directory)
        self._roster = roster

    # -- asked -------------------------------------------------------------------------------------------------------------

    def home_of(self, name: str) -> Peer | None:
        """Where somebody of that name is who is not here."""
        return self._homes.get(name) or self._heard.get(name)

    def runner_of(self, incarnation: str) -> str:
        """What its runner is called, if it is known."""
        return next((peer.runner for peer in self._ways.peers() if peer.incarnation == incarnation and peer.runner), incarnation)

    def heard_of(self, name: str, peer: Peer) -> None:
        """Somebody has said something: an answer to that name goes there."""
        if name not in self._homes:
            self._heard.pop(name, None)
            self._heard[name] = peer
            if len(self._heard) > _HEARD:
                del self._heard[next(iter(self._heard))]

    # -- what this runner's registry says ----------------------------------------------------------------------------------

    def changed(self, entry: WorkerRegistryEntry) -> None:
        """A worker here is ready, or its entry is another."""
        for peer in self._ways.peers():
            if entry.parent is None or entry.name in peer.wants:
                self._tell(peer, [entry])

    def gone(self, entry: WorkerRegistryEntry) -> None:
        """A worker here is not there any more."""
        if entry.parent is None:
            self._ways.release(entry.name)
        for peer in self._ways.peers():
            if entry.name in peer.told:
                del peer.told[entry.name]
                self._ways.send(peer, BusWorkersGoneMessage(source=self._runner, workers=(entry.name,)))

    def wanted(self, name: str) -> None:
        """Somebody here wants to hear of a name that is not here."""
        if name in self._wanted or name in self._homes or self._ways.is_here(name):
            return
        if self._ways.can_say(name):
            self._wanted[name] = None
            for peer in self._ways.peers():
                self._ask(peer, [name])

    def unwanted(self, name: str) -> None:
        """Nobody does any more. Whoever is known by then stays known, for there may be a job on its way."""
        if name in self._wanted and name not in self._homes:
            del self._wanted[name]
            for peer in self._ways.peers():
                self._ask(peer, [name], wanted=False)

    # -- what other runners say --------------------------------------------------------------------------------------------

    def joined(self, peer: Peer) -> None:
        """Another runner is there: tell it who is here, and whom this one wants to hear of."""
        entries = [self._here.get(name) for name in self._here.local_workers]
        self._tell(peer, [entry for entry in entries if entry is not None and entry.parent is None])
        if self._wanted:
            self._ask(peer, list(self._wanted))

    def lost(self, peer: Peer) -> None:
        """It is gone, and all its workers."""
        for name in list(peer.entries):
            self._forget(peer, name)
        for name in [name for name, home in self._heard.items() if home is peer]:
            del self._heard[name]
        if peer.runner is not None and self._homes.get(peer.runner) is peer:
            del self._homes[peer.runner]
            self.free(peer.runner)

    def taken(self, name: str) -> None:
        """A worker of this name is going to be here: whoever has it elsewhere is hidden by that."""
        peer = self._homes.get(name)
        if peer is not None and name in peer.entries:
            del self._homes[name]
            self._here.unregister(name, runner=peer.runner)

    def told(self, peer: Peer, message: BusWorkerRegistryMessage) -> None:
        """It tells of workers that are there, or are not what they were; the first time, what its runner is called, too."""
        if message.runner == self._runner:
            return
        if peer.runner is None:
            peer.runner = message.runner
            self._homes.setdefault(message.runner, peer)
        for entry in message.workers:
            if entry.name in peer.entries or len(peer.entries) < MOST:
                peer.entries[entry.name] = entry
                self._show(peer, entry)

    def told_gone(self, peer: Peer, message: BusWorkersGoneMessage) -> None:
        """It tells of workers that are not there any more."""
        for name in message.workers:
            self._forget(peer, name)

    def told_wanted(self, peer: Peer, message: BusWorkersWantedMessage) -> None:
        """It tells of whom it wants to hear, or does no more."""
        for name in message.workers:
            entry = self._here.get(name) if self._ways.is_here(name) else None
            if not message.wanted:
                peer.wants.pop(name, None)
            elif name not in peer.wants and len(peer.wants) < MOST:
                peer.wants[name] = None
                if entry is not None and name not in peer.told:
                    self._tell(peer, [entry])

    def free(self, name: str) -> None:
        """Nobody has this name here, or there where it was: whoever was hidden by that shows."""
        for peer in self._ways.peers():
            entry = peer.entries.get(name)
            if entry is not None:
                self._show(peer, entry)
            elif peer.runner == name:
                self._homes.setdefault(name, peer)
        self._freed[name] = None

    def look_again(self) -> None:
        """Some time has passed: whoever still waits for one that was here may have one elsewhere. Most do not: it was their child."""
        freed, self._freed = self._freed, {}
        for name in freed:
            if self._here.wants(name):
                self.wanted(name)

    # -- inside ------------------------------------------------------------------------------------------------------------

    @property
    def _here(self) -> Roster:
        assert self._roster is not None  # noqa: S101 - there is one as long as there are peers
        return self._roster

    @property
    def _runner(self) -> str:
        return self._here.runner_name

    def _tell(self, peer: Peer, entries: list[WorkerRegistryEntry]) -> None:
        peer.told |= dict.fromkeys(entry.name for entry in entries)
        self._ways.send(peer, BusWorkerRegistryMessage(source=self._runner, runner=self._runner, workers=entries))

    def _ask(self, peer: Peer, names: list[str], *, wanted: bool = True) -> None:
        self._ways.send(peer, BusWorkersWantedMessage(source=self._runner, workers=names, wanted=wanted))

    def _show(self, peer: Peer, entry: WorkerRegistryEntry) -> None:
        name = entry.name
        if peer.runner is None or self._ways.is_here(name) or self._homes.get(name, peer) is not peer:
            return
        self._homes[name] = peer
        self._heard.pop(name, None)
        if self._here.register(entry, runner=peer.runner) and entry.parent is None:
            self._ways.announce(_readiness(entry, peer.runner))

    def _forget(self, peer: Peer, name: str) -> None:
        if peer.entries.pop(name, None) is None:
            return
        was_home = self._homes.get(name) is peer
        if was_home:
            del self._homes[name]
            self._here.unregister(name, runner=peer.runner)
        if self._here.wants(name):
            self.wanted(name)
        else:
            self.unwanted(name)
        if was_home:
            self.free(name)


def _readiness(entry: WorkerRegistryEntry, runner: str) -> BusMessage:
    return BusWorkerReadyMessage(
        source=entry.name, runner=runner, parent=entry.parent, active=entry.active, bridged=entry.bridged, started_at=entry.started_at
    )
