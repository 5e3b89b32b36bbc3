"""Reading and writing together, in virtual time, before a server that is the test: who is asked one thing is answered in one step."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from station_support import FakeStation
from support import settle
from trio.testing import MockClock

from trioworkers.bus.redis.book import Book, Keys
from trioworkers.bus.redis.carrier import StreamCarrier
from trioworkers.bus.redis.line import LineLost, RedisLine, serve_line
from trioworkers.bus.redis.reading import MOMENT, Reading
from trioworkers.bus.redis.replies import Speech
from trioworkers.bus.redis.roster import Roster
from trioworkers.bus.redis.writing import PORTION, Writing
from trioworkers.bus.remote.transport import Parcel

KEYS = Keys("test")
BLOCK = 2.0


def resp(value: Any) -> bytes:
    """Return a reply as a server writes it."""
    match value:
        case None:
            return b"*-1\r\n"
        case list():
            return b"*%d\r\n" % len(value) + b"".join(map(resp, value))
        case str():
            return resp(value.encode())
    assert isinstance(value, bytes)
    return b"$%d\r\n%s\r\n" % (len(value), value)


@attrs.define(eq=False)
class Scene:
    """A station between its two halves, and what the server has been given.

    Args:
        station: Whose they are.
        roster: Who is a member.
        reading: One half.
        writing: The other.
        lines: The two lines.
        given: The commands, in order, each as its name and what it is about.
    """

    station: FakeStation
    roster: Roster
    reading: Reading
    writing: Writing
    lines: dict[str, RedisLine] = attrs.field(factory=dict)
    given: list[str] = attrs.field(factory=list)
    _far: dict[str, Any] = attrs.field(factory=dict)
    _id: int = 0

    async def serve(self, name: str, far: Any) -> None:
        """Be the server of one line: take everything down, answer what is written."""
        self._far[name] = far
        speech = Speech()
        async for data in far:
            for words in speech.feed(data):
                assert isinstance(words, list)
                match [word.decode() for word in words]:
                    case ["XADD", _, "NOMKSTREAM", "*", *fields]:
                        self.given.append(" ".join(["write", *fields[1::2]])[:40])
                        await far.send_all(resp("1-1"))
                    case ["XREAD", "COUNT", _, "BLOCK", *_]:
                        self.given.append("read")
                    case ["XREAD", *_]:
                        self.given.append("look")
                        await far.send_all(resp(None))
                    case ["HGET", *_]:
                        await far.send_all(resp("2"))
                    case ["ZRANGE", *_]:
                        await far.send_all(resp(["me", "you"]))
                    case ["XTRIM", *_]:
                        await far.send_all(resp("1"))
                    case other:
                        raise AssertionError(other)

    async def bring(self, *frames: str, news: bool = False) -> None:
        """Answer the read that is given."""
        self._id += 1
        entries = [[f"{self._id}-1", [word for frame in frames for word in ("f", frame)]]]
        streams: list[Any] = [[KEYS.inbox("me", 1), entries]] if frames else []
        if news:
            streams.append([KEYS.of("news"), [[f"{self._id}-1", ["n", "1"]]]])
        self.given.clear()
        await self._far["reads"].send_all(resp(streams or None))


def a_scene() -> Scene:
    """Nothing runs yet."""
    station = FakeStation("me")
    roster = Roster("me", station.members)
    roster.fetched(1, ("me", "you"))
    reading = Reading(KEYS, station, roster, BLOCK, 60)
    return Scene(station, roster, reading, Writing(Book(KEYS, "me", 5, 60), station, reading, 256))


@asynccontextmanager
async def connected(scene: Scene, *, reads_first: bool = True) -> AsyncIterator[Scene]:
    """Both halves run, on lines of their own."""
    reads, writes = trio.testing.memory_stream_pair(), trio.testing.memory_stream_pair()
    scene.given.clear()
    async with (
        serve_line(StreamCarrier(reads[0]), silence=60) as reading_line,
        serve_line(StreamCarrier(writes[0]), silence=60) as writing_line,
        trio.open_nursery() as nursery,
    ):
        scene.lines = {"reads": reading_line, "writes": writing_line}
        nursery.start_soon(scene.serve, "reads", reads[1])
        nursery.start_soon(scene.serve, "writes", writes[1])
        scene.reading.use(reading_line)
        halves = [(scene.reading.run, reading_line), (scene.writing.run, writing_line)]
        for run, line in halves[:: 1 if reads_first else -1]:
            nursery.start_soon(run, line)
            await trio.lowlevel.checkpoint()
        await settle()
        yield scene
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def a_conversation() -> AsyncIterator[Scene]:
    """Both halves run, and a read is given."""
    async with connected(a_scene()) as scene:
        assert scene.given == ["read"]
        yield scene


async def test_an_answer_is_written_in_one_step_and_the_next_read_with_it(autojump_clock: MockClock) -> None:
    """One frame comes: what is said next is written as it is said, the next read given with it, and no task is woken for either."""
    async with a_conversation() as scene:
        for number in range(3):
            await scene.bring(f"ask {number}")
            await settle()
            assert (scene.reading.is_asked, scene.given, scene.station.woken) == (True, [], 0)
            scene.station.send("you", b"answer")
            assert not scene.reading.is_asked
            await settle()
            assert sorted(scene.given) == ["read", "write answer"]
        assert (scene.station.frames, scene.station.woken, trio.current_time()) == ([b"ask 0", b"ask 1", b"ask 2"], 0, 0)
        await trio.sleep(10 * MOMENT)
        assert sorted(scene.given) == ["read", "write answer"]


async def test_only_one_is_written_at_once(autojump_clock: MockClock) -> None:
    """What is said after the answer is gathered, and written in the next turn: a flood is not written in drops."""
    async with a_conversation() as scene:
        await scene.bring("ask")
        await settle()
        for frame in (b"1", b"2", b"3", b"4"):
            scene.station.send("you", frame)
        await settle()
        assert [command for command in scene.given if command != "read"] == ["write 1", "write 2 3 4"]


async def test_a_prompt_for_nothing(autojump_clock: MockClock) -> None:
    """A station that prompts, and then has nothing to give, has said nothing: whoever asked is still to be answered."""
    async with a_conversation() as scene:
        await scene.bring("ask")
        await settle()
        assert scene.station.prompt is not None
        assert scene.station.prompt()
        assert (scene.reading.is_asked, scene.given) == (True, [])


async def test_no_answer(autojump_clock: MockClock) -> None:
    """Nothing is said: the next read is given a moment later; what is said after that is written by the task that writes."""
    async with a_conversation() as scene:
        await scene.bring("news")
        await settle()
        assert scene.given == []
        await trio.sleep(MOMENT / 2)
        assert scene.given == []
        await trio.sleep(MOMENT)
        assert (scene.given, scene.reading.is_asked) == (["read"], False)
        scene.station.send("you", b"late")
        await settle()
        assert (scene.given, scene.station.woken) == (["read", "write late"], 1)


async def test_an_answer_in_the_last_moment(autojump_clock: MockClock) -> None:
    """An answer that comes when the moment has just passed gives the next read, or finds it given: there are never two."""
    for early in (True, False):
        async with a_conversation() as scene:
            await scene.bring("ask")
            await settle()
            if early:
                with trio.CancelScope(deadline=trio.current_time() + MOMENT):  # wakes in the same turn as the reading task
                    await trio.sleep_forever()
            else:
                await trio.sleep(MOMENT)
            scene.station.send("you", b"answer")
            await settle()
            assert sorted(scene.given) == ["read", "write answer"]
            await scene.bring("ask again")
            await settle()
            assert scene.reading.is_asked


@pytest.mark.parametrize("frames", [(), ("1", "2"), ("1", "2", "3")])
async def test_many_or_none_are_not_answered_at_once(frames: tuple[str, ...], autojump_clock: MockClock) -> None:
    """Several frames come, or a read ends with none: the next one is given without a moment, and what is said is gathered."""
    async with a_conversation() as scene:
        await scene.bring(*frames)
        while len(scene.station.frames) < len(frames):
            await trio.lowlevel.checkpoint()
        assert not scene.reading.is_asked
        scene.station.send("you", b"1")
        scene.station.send("you", b"2")
        await settle()
        assert (sorted(scene.given), trio.current_time()) == (["read", "write 1 2"], 0)


async def test_news_come_first(autojump_clock: MockClock) -> None:
    """A frame that comes with news of the members: they are looked up before the next read, whatever is said."""
    async with a_conversation() as scene:
        await scene.bring("ask", news=True)
        await settle()
        assert (scene.given, scene.reading.is_asked, scene.station.present) == (["look", "read"], False, ["me", "you"])


async def test_a_list_that_is_stale_is_looked_up_after_the_next_word(autojump_clock: MockClock) -> None:
    """A beat finds the list stale while somebody is asked: the answer gives the next read all the same, the list comes after that."""
    async with a_conversation() as scene:
        await scene.bring("ask")
        await settle()
        scene.roster.compare(2)
        scene.station.send("you", b"answer")
        await settle()
        assert sorted(scene.given) == ["read", "write answer"]
        await scene.bring("ask")
        await settle()
        assert (scene.given, scene.roster.stale) == (["look", "read"], False)


async def test_a_stale_list_and_no_answer(autojump_clock: MockClock) -> None:
    """While a list is looked up nobody is asked: an answer that comes then does not give a read of its own."""
    async with a_conversation() as scene:
        await scene.bring("ask")
        await settle()
        scene.roster.compare(2)
        with trio.CancelScope(deadline=trio.current_time() + MOMENT):
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        scene.station.send("you", b"answer")
        await settle()
        assert [command for command in scene.given if "write" not in command] == ["look", "read"]


async def test_not_at_once_if_much_is_unanswered(autojump_clock: MockClock) -> None:
    """What has been written and is not answered by the server is bounded: then also an answer waits for its turn."""
    async with a_conversation() as scene:
        scene._far["writes"].send_stream.send_all_hook = trio.sleep_forever  # the server's answers come no more
        scene.station.send("you", b"x" * PORTION)
        await settle()
        await scene.bring("ask")
        await settle()
        assert scene.reading.is_asked
        scene.station.send("you", b"answer")
        assert scene.reading.is_asked
        await settle()
        assert scene.given == []


async def test_an_answer_that_waits_for_its_turn_gives_the_next_read_as_well(autojump_clock: MockClock) -> None:
    """Every so many bytes the server's answers are waited for: the answer that has to wait for that costs no moment."""
    async with a_conversation() as scene:
        for _ in range(10):
            await scene.bring("ask")
            await settle()
            scene.station.send("you", b"x" * (PORTION // 4))
            await settle()
            assert sorted(command[:7] for command in scene.given) == ["read", "write x"]
        assert (trio.current_time(), scene.station.woken) == (0, 2)


@pytest.mark.parametrize("which", ["reads", "writes"])
async def test_a_line_that_is_lost_is_not_the_speaker_s_concern(which: str, autojump_clock: MockClock) -> None:
    """If one of the lines is lost in that very moment, whoever speaks hears nothing of it; whoever serves the lines does."""
    log = []
    with pytest.raises(ExceptionGroup) as raised:
        async with a_conversation() as scene:
            await scene.bring("ask")
            await settle()
            scene.lines[which].lose("cut")
            scene.station.send("you", b"answer")
            log.append("said")
            if which == "writes":
                scene.station.leave()  # the writing half looks at its line again when there is something to write
            await trio.sleep(MOMENT)
            await settle()
    assert ([type(error) for error in raised.value.exceptions], log) == ([LineLost], ["said"])
    assert scene.station.prompt is None


@pytest.mark.parametrize("reads_first", [True, False])
async def test_who_was_asked_on_a_line_that_is_lost_is_not_asked_any_more(*, reads_first: bool, autojump_clock: MockClock) -> None:
    """N4: the next line begins with a look and one read, whichever half goes first, however much is to be written again."""
    scene = a_scene()
    async with connected(scene):
        await scene.bring("ask")
        await settle()
        assert scene.reading.is_asked
    scene.roster.stale = True  # as after every loss
    scene.station.send("you", b"again")
    async with connected(scene, reads_first=reads_first):
        assert sorted(scene.given) == ["look", "read", "write again"]
        await scene.bring("ask")
        await settle()
        scene.station.send("you", b"x" * PORTION)
        await settle()
        assert scene.station.woken == 1
    async with connected(scene):
        await scene.bring("ask")
        await settle()
        scene.station.send("you", b"answer")  # what the last line had to answer is no affair of this one
        assert not scene.reading.is_asked


async def test_a_prompt_in_the_midst_of_a_write(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a garbage collection says while something else is being written is not written before it."""
    refused: list[bool] = []

    def interrupted(station: FakeStation, limit: int) -> list[Parcel]:
        monkeypatch.undo()
        parcels = station.outgoing(limit)
        station.send("you", b"late")
        refused.append(scene.reading.is_asked)
        return parcels

    async with a_conversation() as scene:
        for busy in ("at once", "in turn"):
            await scene.bring("ask")
            await settle()
            if busy == "in turn":
                prompt, scene.station.prompt = scene.station.prompt, None
                scene.station.send("you", b"first")
                scene.station.prompt = prompt
            monkeypatch.setattr(FakeStation, "outgoing", interrupted)
            if busy == "at once":
                scene.station.send("you", b"first")
            await settle()
            assert [command for command in scene.given if command != "read"] == ["write first", "write late"]
            assert scene.given.count("read") == 1
    assert refused == [True, True]
