"""What comes from somebody who has nothing to say: dropped and counted, whatever it looks like."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from job_support import Hand, ask, echo, forever
from memory_bus import MemoryBus, Server
from remote_support import Lines, Place, town
from support import Recorder
from trio.testing import MockClock
from unit.strategies import steady

from trioworkers import (
    BusJobCancelMessage,
    BusJobRequestMessage,
    BusJobResponseMessage,
    BusJobStreamCreditMessage,
    BusJobUpdateMessage,
    BusJobUpdateRequestMessage,
    BusMessage,
    BusWorkerRegistryMessage,
    BusWorkerRoomMessage,
    BusWorkersGoneMessage,
    BusWorkersWantedMessage,
    WorkerRegistryEntry,
    open_runner,
)
from trioworkers.bus.remote import Parcel, whereabouts
from trioworkers.bus.remote import bus as remote_bus
from trioworkers.bus.remote.frames import Frame, pack, sign
from trioworkers.wire.packed import PackedCodec

CODEC = PackedCodec()


def say(liar: Place, to: Place, message: BusMessage) -> None:
    """Send a message beside the bus, over its link: the frames are in order, their sender is a member."""
    peer = liar.bus._membership.session.peers[to.incarnation]  # type: ignore[union-attr]
    liar.bus._membership.session.push(peer, message.priority, CODEC.dumps(message), None)  # type: ignore[union-attr]


def write(to: Place, frame: Frame, key: bytes | None = None) -> None:
    """Put a frame into somebody's inbox at the server."""
    data = pack(frame)
    to.way.server.write(Parcel(to.incarnation, frame.lane, data if key is None else sign(key, to.incarnation, data)))


def lies(job_id: str, source: str, target: str) -> list[BusMessage]:
    """All that can be said about a job."""
    return [
        BusJobResponseMessage(source=source, target=target, job_id=job_id, response={"a": "lie"}),
        BusJobUpdateMessage(source=source, target=target, job_id=job_id, update={"a": "lie"}),
        BusJobCancelMessage(source=source, target=target, job_id=job_id),
        BusJobUpdateRequestMessage(source=source, target=target, job_id=job_id),
        BusJobStreamCreditMessage(source=source, target=target, job_id=job_id, credit=1000),
    ]


async def test_no_frames_and_no_members(autojump_clock: MockClock) -> None:
    """Noise is malformed, a frame of somebody who is no member a stranger's; nothing else happens."""
    async with town() as place:
        left, right = await place.open_all(left=[], right=[Hand("hand", echo)])
        cancel = CODEC.dumps(BusJobCancelMessage(source="left", target="hand", job_id="x"))
        before = right.bus.statistics().strangers
        write(right, Frame("nobody-1", 0, 1, 0, (0, 0), body=cancel))
        right.way.server.write(Parcel(right.incarnation, 0, b"noise"))
        right.way.server.write(Parcel(right.incarnation, 1, b""))
        [peer] = left.bus._peers()
        peer.link.push(0, b"no message")
        assert await ask(left.runner, "hand") == {"echo": {}}
        await trio.sleep(2)
        statistics = right.bus.statistics()
        assert (statistics.malformed, statistics.forged, statistics.strangers) == (3, 0, before + 1)


async def test_a_third_party(autojump_clock: MockClock) -> None:
    """N8: nobody but the two runners of a job has anything to say about it, not even with the right names and the right id."""
    asker = Recorder("asker")
    async with town() as place:
        left, right, liar = await place.open_all(left=[asker], right=[Hand("hand", forever)], liar=[])
        job_id = await asker.request_job("hand", name="do")
        await trio.sleep(1)
        before = left.bus.statistics().strangers, right.bus.statistics().strangers
        for message in lies(job_id, "hand", "asker"):
            say(liar, left, message)
        for message in lies(job_id, "asker", "hand"):
            say(liar, right, message)
        await trio.sleep(2)
        assert (left.bus.statistics().strangers, right.bus.statistics().strangers) == (before[0] + 5, before[1] + 5)
        assert left.bus.statistics().jobs == right.bus.statistics().jobs == 1
        assert [entry for entry in asker.log if entry[1] not in {"ready", "activated"}] == []


async def test_the_wrong_names(autojump_clock: MockClock) -> None:
    """Even the right runner must speak for the right worker, to the right one, about the right job, and to nobody else."""
    asker = Recorder("asker")
    async with town() as place:
        left, right = await place.open_all(left=[asker], right=[Hand("hand", forever), Hand("other", echo)])
        job_id = await asker.request_job("hand", name="do")
        await trio.sleep(1)
        before = left.bus.statistics().strangers
        wrong = [
            *lies(job_id, "other", "asker"),
            *lies(job_id, "hand", "left"),
            *lies("another", "hand", "asker"),
            *(attrs.evolve(message, target=None) for message in lies(job_id, "hand", "asker")),
        ]
        for message in wrong:
            say(right, left, message)
        await trio.sleep(2)
        assert left.bus.statistics().strangers == before + len(wrong)
        assert left.bus.statistics().jobs == 1
        assert [entry for entry in asker.log if entry[1] not in {"ready", "activated"}] == []


async def test_one_id_twice(autojump_clock: MockClock) -> None:
    """A request with the id of another one's job is answered as an error, and the job goes on; a doubled request is dropped."""
    asker = Recorder("asker")
    hand = Hand("hand", forever)
    lines = Lines()
    async with town() as place:
        left, right, third = await place.open_all(left=[asker], right=[hand], third=[Recorder("other")])
        third.bus.add_observer(lines)
        job_id = await asker.request_job("hand", name="do")
        await trio.sleep(1)
        doubled = BusJobRequestMessage(source="asker", target="hand", job_id=job_id, job_name="do")
        before = right.bus.statistics().strangers
        say(left, right, doubled)
        await trio.sleep(1)
        assert left.bus.statistics().jobs == 1
        third.bus.post(BusJobRequestMessage(source="other", target="hand", job_id=job_id, job_name="do"))
        await trio.sleep(1)
        [(message, *_)] = lines.dropped
        assert isinstance(message, BusJobResponseMessage)
        assert message.reason == f"worker 'hand' has a job {job_id!r} of somebody else"
        assert right.bus.statistics().strangers == before + 2
        assert third.bus.statistics().jobs == 0
        assert list(hand.active_jobs) == [job_id]


async def test_a_job_for_a_runner(autojump_clock: MockClock) -> None:
    """A runner does no jobs: whoever asks one is told so."""
    async with town() as place:
        left, right = await place.open_all(left=[Recorder("asker")], right=[])
        left.bus.post(BusJobRequestMessage(source="asker", target="right", job_id="x"))
        await trio.sleep(1)
        assert left.bus.statistics().jobs == right.bus.statistics().jobs == 0


async def test_names_that_are_not_ones_own(autojump_clock: MockClock) -> None:
    """A runner that tells of somebody else's workers, or changes its name, takes nobody's place."""
    async with town() as place:
        left, right, liar = await place.open_all(left=[], right=[Hand("hand", echo)], liar=[])
        entries = tuple(WorkerRegistryEntry(name, None, active=True, started_at=1.0) for name in ("hand", "new"))
        for runner in ("liar", "right", "left", "third"):
            say(liar, left, BusWorkerRegistryMessage(source=runner, runner=runner, workers=entries))
        await trio.sleep(1)
        assert await ask(left.runner, "hand") == {"echo": {}}
        assert sorted(left.runner.registry.remote_workers) == ["hand", "new"]
        assert left.bus._where.runner_of(liar.incarnation) == "liar"
        await liar.leave()
        assert left.runner.registry.remote_workers == ["hand"]
        assert await ask(left.runner, "hand") == {"echo": {}}
        await right.leave()


async def test_wanted_twice(autojump_clock: MockClock) -> None:
    """Whoever says twice that he wants to hear of somebody is told once."""
    async with town() as place:
        left, right = await place.open_all(left=[], right=[Recorder("a")])
        for _ in range(2):
            say(left, right, BusWorkersWantedMessage(source="left", workers=("a", "b")))
        await trio.sleep(2)
        [peer] = right.bus._peers()
        assert list(peer.wants) == ["a", "b"]
        assert list(peer.told) == ["a"]
        say(left, right, BusWorkersWantedMessage(source="left", workers=("a", "b"), wanted=False))
        await trio.sleep(2)


async def test_somebody_unknown_is_gone(autojump_clock: MockClock) -> None:
    """Whoever tells that one is gone of whom he has never told, changes nothing."""
    async with town() as place:
        left, right = await place.open_all(left=[], right=[Recorder("a")])
        say(right, left, BusWorkersGoneMessage(source="right", workers=("nobody", "left")))
        await trio.sleep(2)
        assert left.runner.registry.remote_workers == ["a"]


async def test_who_does_not_stop_talking(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """N7: whatever a runner says of its workers, of whom it wants to hear, and of mailboxes, only so much of it is remembered."""
    for module in (whereabouts, remote_bus):
        monkeypatch.setattr(module, "MOST", 10)
    names = [f"w{number}" for number in range(50)]
    async with town() as place:
        left, right = await place.open_all(left=[], right=[Recorder("a")])
        for name in names:
            entries = [WorkerRegistryEntry(name)]
            say(right, left, BusWorkerRegistryMessage(source="right", runner="right", workers=entries))
            say(right, left, BusWorkerRoomMessage(source="right", worker=name, room=False))
        say(right, left, BusWorkersWantedMessage(source="right", workers=names))
        await trio.sleep(1)
        (peer,) = left.bus._membership.present.peers.values()
        assert list(peer.entries) == ["a", *names[:9]]
        assert list(peer.wants) == list(peer.full) == names[:10]
        say(right, left, BusWorkersGoneMessage(source="right", workers=tuple(names)))
        say(right, left, BusWorkersWantedMessage(source="right", workers=names, wanted=False))
        await trio.sleep(1)
        assert (list(peer.entries), list(peer.wants)) == (["a"], [])


async def test_an_answer_that_nobody_has_asked_for(autojump_clock: MockClock) -> None:
    """An answer to a job that was never asked for goes to whoever has the name, and is nothing there."""
    async with town() as place:
        left, right = await place.open_all(left=[Recorder("asker")], right=[Hand("hand", echo)])
        before = left.bus.statistics().strangers
        right.bus.post(BusJobResponseMessage(source="hand", target="asker", job_id="x"))
        await trio.sleep(1)
        assert left.bus.statistics().strangers == before + 1


async def test_signed(autojump_clock: MockClock) -> None:
    """N8: on a bus with a key, nobody without it has anything to say, and nothing said to one can be said to another."""
    async with town(key=b"secret") as place:
        left, right, third = await place.open_all(left=[], right=[Hand("hand", echo)], third=[])
        assert await ask(left.runner, "hand") == {"echo": {}}
        await trio.sleep(3)
        frame = Frame(left.incarnation, 0, 1000, 0, (0, 0), body=b"x")
        write(right, frame)
        write(right, frame, b"guessed")
        right.way.server.write(Parcel(right.incarnation, 0, sign(b"secret", third.incarnation, pack(frame))))
        await trio.sleep(1)
        statistics = right.bus.statistics()
        assert (statistics.forged, statistics.malformed) == (3, 0)
        with trio.move_on_after(3):
            outsider = await place.open("outsider", key=b"another")
            await outsider.runner.registry.wait_ready("hand")
        assert "hand" not in outsider.runner.registry
        assert outsider.bus.statistics().forged > 0


@steady
@given(
    st.lists(
        st.binary(max_size=80)
        | st.builds(
            pack,
            st.builds(
                Frame,
                st.just("left"),
                st.integers(0, 1),
                st.integers(1, 5),
                st.integers(0, 5),
                st.tuples(st.integers(0, 9), st.integers(0, 9)),
                st.booleans(),
                st.sampled_from([b"", b"\x03end", *(CODEC.dumps(message) for message in lies("x", "hand", "asker"))]),
            ),
        ),
        max_size=20,
    )
)
def test_anything_arrives(frames: list[bytes]) -> None:
    """N8: whatever arrives, from a member or not, the runner stands, and still does what it is for."""

    async def run() -> None:
        server = Server()
        bus = MemoryBus(server)
        async with open_runner(Hand("hand", echo), Recorder("asker"), name="right", bus=bus) as runner:
            assert bus._membership.session is not None
            bus._membership.session.members((bus._membership.session.incarnation, "left"))
            for frame in frames:
                bus._membership.session.arrived([frame])
            assert await ask(runner, "hand") == {"echo": {}}
            bus._membership.session.members((bus._membership.session.incarnation,))
        assert bus.statistics().jobs == 0

    clock: Any = trio.testing.MockClock(autojump_threshold=0)
    trio.run(run, clock=clock)
