"""One incarnation, as its transport sees it: what it gives, and what it makes of what it is told."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trioworkers import BusEndMessage, BusMessage, Loss
from trioworkers.bus.remote.frames import Frame, pack, unpack
from trioworkers.bus.remote.session import Incidents, Peer, Session
from trioworkers.wire.packed import PackedCodec

CODEC = PackedCodec()
BODY = CODEC.dumps(BusEndMessage(source="x", target="y"))


class Log:
    """A host that writes down what it is told."""

    def __init__(self) -> None:
        self.log: list[tuple[object, ...]] = []

    def peer_joined(self, peer: Peer) -> None:
        """Write it down."""
        self.log.append(("joined", str(peer)))

    def peer_lost(self, peer: Peer, loss: Loss, reason: str) -> None:
        """Write it down."""
        self.log.append(("lost", str(peer), loss))

    def heard(self, peer: Peer, message: BusMessage) -> None:
        """Nobody says anything here."""
        raise NotImplementedError

    def line(self, connected: bool, reason: str | None) -> None:
        """Write it down."""
        self.log.append(("line", connected, reason))


@pytest.fixture
def host() -> Log:
    """Whose session it is."""
    return Log()


def begin(host: Log, *peers: str, window: int = 8) -> Session:
    """A session that has met these, and has said so."""
    session = Session("me-1", ("me",), host, CODEC, None, window, Incidents())
    session.members(("me-1", *peers))
    session.connected()
    while session.outgoing(100):
        pass
    return session


def taken(session: Session, limit: int = 100) -> list[tuple[str, int]]:
    """What it gives: to whom, with which numbers."""
    return [(parcel.receiver, unpack(parcel.data).number) for parcel in session.outgoing(limit)]


async def test_nothing_to_give_after_a_loss(host: Log) -> None:
    """A session whose only peer with something to be told is lost waits again, and does not spin."""
    session = begin(host, "a-1", "b-1")
    session.push(session.peers["a-1"], 1, BODY, None)
    session.members(("me-1", "b-1"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.wait_outgoing)
        await wait_all_tasks_blocked()
        session.push(session.peers["b-1"], 1, BODY, None)
    assert taken(session) == [("b-1", 1)]


async def test_each_in_its_turn(host: Log) -> None:
    """A limit holds over all, and whoever has waited longest is next."""
    session = begin(host, "a-1", "b-1", "c-1")
    for name in ("a-1", "b-1", "c-1"):
        for _ in range(3):
            session.push(session.peers[name], 1, BODY, None)
    assert taken(session, 4) == [("a-1", 1), ("a-1", 2), ("a-1", 3), ("b-1", 1)]
    assert taken(session, 2) == [("c-1", 1), ("c-1", 2)]
    assert taken(session, 9) == [("b-1", 2), ("b-1", 3), ("c-1", 3)]
    assert taken(session) == []


async def test_unreachable(host: Log) -> None:
    """What could not be written is tried again with the next tick, or when more is said; of a stranger it is nothing."""
    session = begin(host, "a-1")
    session.push(session.peers["a-1"], 1, BODY, None)
    assert taken(session) == [("a-1", 1)]
    session.unreachable("a-1")
    session.unreachable("b-1")
    assert taken(session) == []
    session.tick()
    assert taken(session) == [("a-1", 1)]
    session.unreachable("a-1")
    session.push(session.peers["a-1"], 1, BODY, None)
    assert taken(session) == [("a-1", 1), ("a-1", 2)]


async def test_a_lost_peer_is_told_nothing(host: Log) -> None:
    """What is said to somebody who is gone goes nowhere, and what he still says is a stranger's."""
    session = begin(host, "a-1")
    peer = session.peers["a-1"]
    session.members(("me-1",))
    session.push(peer, 1, BODY, None)
    session.tick()
    assert taken(session) == []
    session.arrived([pack(Frame("a-1", 1, 1, 0, (0, 0), body=BODY))])
    assert host.log == [("joined", "runner 'a-1'"), ("line", True, None), ("lost", "runner 'a-1'", Loss.PEER_DOWN)]
    assert session.statistics() == ()


async def test_flushed(host: Log) -> None:
    """All is flushed when all has been taken, or whoever it was for is gone."""
    session = begin(host, "a-1", "b-1", window=1)
    for name in ("a-1", "b-1"):
        for _ in range(2):
            session.push(session.peers[name], 1, BODY, None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.wait_flushed)
        await wait_all_tasks_blocked()
        assert taken(session) == [("a-1", 1), ("b-1", 1)]
        session.arrived([pack(Frame("a-1", 0, 0, 0, (0, 1)))])
        assert taken(session) == [("a-1", 2)]
        await wait_all_tasks_blocked()
        assert nursery.child_tasks
        session.members(("me-1", "a-1"))


async def test_whoever_prompts_is_asked_first(host: Log) -> None:
    """What is said is offered in the same step, once; if it is taken, nobody is woken, and if not, or it is no word, then as ever."""
    session = begin(host, "a-1")
    peer = session.peers["a-1"]
    offered: list[object] = []
    woken: list[str] = []

    def take() -> bool:
        offered.append(taken(session))
        return True

    def decline() -> bool:
        offered.append("declined")
        return False

    async def wait() -> None:
        await session.wait_outgoing()
        woken.append("woken")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        session.prompt = take
        session.push(peer, 1, BODY, None)
        session.push(peer, 0, BODY, None)
        await wait_all_tasks_blocked()
        assert (offered, woken) == ([[("a-1", 1)], [("a-1", 1)]], [])
        session.prompt = decline
        session.push(peer, 1, BODY, None)
        session.push(peer, 1, BODY, None)
        await wait_all_tasks_blocked()
        assert (offered[2:], woken) == (["declined"], ["woken"])
        assert taken(session) == [("a-1", 2), ("a-1", 3)]
        nursery.start_soon(wait)
        session.connected()  # all of it is to be given again: much, and not an answer to anything
        await wait_all_tasks_blocked()
    assert (offered[3:], woken) == ([], ["woken"] * 2)
