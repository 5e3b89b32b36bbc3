"""Links: each message once, in order, whatever the transport does to the frames."""

from __future__ import annotations

from collections import deque

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from unit.strategies import steady

from trioworkers.bus.remote.frames import Frame, pack, unpack
from trioworkers.bus.remote.link import Link, LinkStatistics


def push(link: Link, lane: int, *bodies: str, job: str | None = None) -> None:
    """Send some."""
    for body in bodies:
        link.push(lane, body.encode(), job)


def feed(link: Link, *frames: Frame) -> list[str]:
    """Take frames in; return what was handed on."""
    return [body.decode() for frame in frames for body in link.receive(frame)]


def pair(window: int = 8) -> tuple[Link, Link]:
    """Both ends of a link."""
    return Link("a.1", window), Link("b.1", window)


# -- one after the other -------------------------------------------------------------------------------------------------


def test_in_order() -> None:
    """N1: what is pushed comes out at the other end, the system lane first."""
    a, b = pair()
    push(a, 1, "x", "y")
    push(a, 0, "!")
    assert feed(b, *a.take(10)) == ["!", "x", "y"]
    assert a.take(10) == []
    assert b.seen == (1, 2)


def test_limits() -> None:
    """N7: not more is taken than asked for, nor than the window has room for."""
    a, b = pair(window=2)
    push(a, 0, "!")
    push(a, 1, "1", "2", "3")
    assert a.take(0) == []
    assert [frame.body for frame in a.take(2)] == [b"!", b"1"]
    assert [frame.body for frame in a.take(9)] == [b"2"]
    assert not a.can_take
    assert (a.backlog, a.is_flushed) == (3, False)
    assert feed(b, Frame("a.1", 1, 1, 0, (0, 0), body=b"1")) == ["1"]
    assert feed(a, *b.take(9)) == []
    assert [frame.body for frame in a.take(9)] == [b"3"]
    assert (a.backlog, a.is_flushed) == (2, True)


def test_acknowledgements() -> None:
    """A quarter of a window, or a tick, has an acknowledgement sent; one that rides on a message saves its own frame."""
    a, b = pair(window=8)
    push(a, 1, "1")
    feed(b, *a.take(9))
    assert b.take(9) == []
    push(a, 1, "2")
    feed(b, *a.take(9))
    assert b.take(9) == [Frame("b.1", 0, 0, 0, (0, 2))]
    push(a, 1, "3")
    feed(b, *a.take(9))
    b.tick()
    assert b.take(9) == [Frame("b.1", 0, 0, 0, (0, 3))]
    b.tick()
    assert b.take(9) == []
    push(a, 0, "4")
    feed(b, *a.take(9))
    push(b, 1, "hello")
    assert b.take(9) == [Frame("b.1", 1, 1, 0, (1, 3), body=b"hello")]
    b.tick()
    assert not b.can_take


def test_order_between_the_lanes_within_a_job() -> None:
    """N1: an urgent message waits for what was said of the same job in the other lane, and for nothing else."""
    a, b = pair()
    push(a, 1, "chunk", job="7")
    push(a, 0, "answer", job="7")
    push(a, 0, "other")
    system = [frame for frame in a.take(9) if frame.lane == 0]
    assert [frame.after for frame in system] == [1, 0]
    data = Frame("a.1", 1, 1, 0, (0, 0), body=b"chunk")
    assert feed(b, *system) == []
    assert feed(b, data) == ["chunk", "answer", "other"]


def test_no_order_after_an_acknowledgement() -> None:
    """What the other side has acknowledged need not be waited for, and a job that is through leaves no mark."""
    a, b = pair()
    push(a, 0, "request", job="7")
    feed(b, *a.take(9))
    b.tick()
    feed(a, *b.take(9))
    assert a._jobs == {}
    push(a, 1, "data", job="7")
    assert [frame.after for frame in a.take(9)] == [0]


def test_rewind() -> None:
    """N1: after a reconnection all that is not acknowledged is sent again; what has come already is a duplicate."""
    a, b = pair()
    push(a, 1, "1", "2")
    feed(b, *a.take(9)[:1])
    a.rewind()
    push(a, 1, "3")
    assert feed(b, *a.take(9)) == ["2", "3"]
    assert b.statistics() == LinkStatistics(0, 0, 3, 1, 0, 0)
    assert a.statistics() == LinkStatistics(3, 2, 0, 0, 0, 3)
    b.tick()
    feed(a, *b.take(9))
    assert a.statistics() == LinkStatistics(3, 2, 0, 0, 0, 0)


def test_acknowledged_while_it_waits_to_be_sent_again() -> None:
    """What had arrived after all is not sent again, and was sent once."""
    a, b = pair()
    push(a, 1, "1")
    feed(b, *a.take(9))
    a.rewind()
    b.tick()
    feed(a, *b.take(9))
    assert a.take(9) == []
    assert a.statistics() == LinkStatistics(1, 0, 0, 0, 0, 0)


def test_a_gap() -> None:
    """N1: whoever misses something says so once; then it comes again."""
    a, b = pair()
    push(a, 1, "1", "2", "3")
    _, *rest = a.take(9)
    assert feed(b, *rest) == []
    assert b.statistics().gaps == 2
    again = b.take(9)
    assert again == [Frame("b.1", 0, 0, 0, (0, 0), again=True)]
    assert b.take(9) == []
    assert feed(a, *again) == []
    assert feed(b, *a.take(9)) == ["1", "2", "3"]


def test_a_gap_is_said_again_after_a_tick() -> None:
    """If that was lost, too, it is said again when some time has passed and it still comes too early."""
    a, b = pair()
    push(a, 1, "1", "2")
    late = a.take(9)[1]
    feed(b, late)
    b.take(9)
    feed(b, late)
    assert not b.can_take
    b.tick()
    feed(b, late)
    assert b.can_take


def test_the_last_one_lost() -> None:
    """N1: what was lost, and nothing came after it, is asked after when three ticks have brought no word of it."""
    a, b = pair()
    push(a, 0, "!")
    push(a, 1, "1", "2", "3")
    assert len(a.take(9)) == 4
    for _ in range(2):
        a.tick()
        assert not a.can_take
    a.tick()
    assert a.can_take
    first = a.take(1)
    assert feed(b, *first) == ["!"]
    assert feed(b, *a.take(9)) == []
    assert a.take(9) == []
    feed(a, *b.take(9))
    assert feed(b, *a.take(9)) == ["1", "2", "3"]
    b.tick()
    feed(a, *b.take(9))
    for _ in range(9):
        a.tick()
        assert not a.can_take
    assert a.statistics() == LinkStatistics(4, 5, 0, 0, 0, 0)


def test_asked_again_from_the_beginning() -> None:
    """A side that has just met the other may ask for what it has missed."""
    a, b = pair()
    push(a, 1, "1")
    a.take(9)
    b.ask_again()
    assert b.can_take
    feed(a, *b.take(9))
    assert feed(b, *a.take(9)) == ["1"]


@pytest.mark.parametrize(("here", "there"), [(1, 64), (64, 1), (2, 3)])
def test_windows_that_differ(here: int, there: int) -> None:
    """Two sides with different windows understand each other all the same."""
    a, b = Link("a.1", here), Link("b.1", there)
    sent = [str(number) for number in range(50)]
    for number, body in enumerate(sent):
        push(a, number % 2, body, job="7")
    received: list[str] = []
    for _ in range(200):
        frames = a.take(1000)
        received += feed(b, *(frame for frame in frames if frame.lane == 0), *(frame for frame in frames if frame.lane == 1))
        feed(a, *b.take(1000))
        a.tick()
        b.tick()
    assert received == sent
    assert a.statistics().unacknowledged == 0


# -- liars ---------------------------------------------------------------------------------------------------------------

few = st.integers(0, 6) | st.sampled_from([2**63, 2**64 - 1])
lies = st.builds(Frame, st.just("b.1"), st.integers(0, 1), few, few, st.tuples(few, few), st.booleans(), st.just(b"lie"))


@steady
@given(st.lists(lies, max_size=60), st.integers(1, 3))
def test_lies(frames: list[Frame], window: int) -> None:
    """N8: a peer that says anything at all raises nothing, is handed on at most once for each number, and fills no memory."""
    link = Link("a.1", window)
    for number, frame in enumerate(frames):
        push(link, number % 2, str(number), job=str(number % 3))
        before = link.seen
        handed = feed(link, frame)
        assert len(handed) == sum(link.seen) - sum(before)
        assert len(link.take(100)) <= 2 * window + 2
        link.tick()
        assert sum(len(lane.held) for lane in link._in) <= 2 * window
        assert sum(len(out) for out in link._out) <= number + 1
        assert len(link._jobs) <= 3


def test_replayed() -> None:
    """Frames that somebody plays again and again are duplicates, and cost nothing."""
    a, b = pair()
    push(a, 1, "1", "2")
    frames = a.take(9)
    assert feed(b, *frames) == ["1", "2"]
    for _ in range(100):
        assert feed(b, *frames) == []
    assert b.statistics().duplicates == 200
    assert len(b.take(9)) == 1


def test_what_can_never_be_handed_on() -> None:
    """N7: messages that claim to wait for what will never come are kept up to a window, and no further."""
    link = Link("a.1", 4)
    for number in range(1, 100):
        assert feed(link, Frame("b.1", 1, number, 2**60, (0, 0), body=b"x")) == []
    assert len(link._in[1].held) == 4
    assert link.statistics().gaps == 95


# -- anything ------------------------------------------------------------------------------------------------------------


@attrs.frozen
class Sent:
    """What was pushed."""

    lane: int
    job: str | None
    body: bytes


@attrs.define(eq=False)
class End:
    """One side, what it has said and heard, and what is on its way from it."""

    link: Link
    said: list[Sent] = attrs.field(factory=list)
    heard: list[bytes] = attrs.field(factory=list)
    lanes: tuple[deque[bytes], deque[bytes]] = attrs.field(factory=lambda: (deque(), deque()))


sides = st.integers(0, 1)
lanes = st.integers(0, 1)


class LossyLink(RuleBasedStateMachine):
    """Two links over a transport that loses, repeats and delays; FIFO in each lane as long as a connection lasts."""

    @initialize(windows=st.tuples(st.integers(1, 8), st.integers(1, 8)))
    def begin(self, windows: tuple[int, int]) -> None:
        """Both sides are there."""
        self.ends = End(Link("a.1", windows[0])), End(Link("b.1", windows[1]))
        self.windows = windows

    @rule(side=sides, lane=lanes, job=st.sampled_from([None, "x", "y"]), count=st.integers(1, 5))
    def say(self, side: int, lane: int, job: str | None, count: int) -> None:
        """Push some."""
        end = self.ends[side]
        for _ in range(count):
            body = str(len(end.said)).encode()
            end.said.append(Sent(lane, job, body))
            end.link.push(lane, body, job)

    @rule(side=sides, limit=st.integers(1, 10))
    def write(self, side: int, limit: int) -> None:
        """Take frames, and write them."""
        end = self.ends[side]
        frames = end.link.take(limit)
        assert len(frames) <= limit
        for frame in frames:
            end.lanes[frame.lane].append(pack(frame))

    @rule(side=sides, lane=lanes, count=st.integers(1, 10))
    def read(self, side: int, lane: int, count: int) -> None:
        """The other side reads some."""
        line, other = self.ends[side].lanes[lane], self.ends[1 - side]
        for _ in range(min(count, len(line))):
            self._hear(other, other.link.receive(unpack(line.popleft())))

    def _hear(self, end: End, bodies: object) -> None:
        said = self.ends[end is self.ends[0]].said
        for body in bodies:  # type: ignore[attr-defined]
            sent = said[int(body)]
            assert sent.body not in end.heard, "twice"
            for earlier in said[: int(body)]:
                related = earlier.lane == sent.lane or (earlier.job is not None and earlier.job == sent.job)
                assert not related or earlier.body in end.heard, "too early"
            end.heard.append(body)

    @rule(side=sides, lane=lanes, place=st.integers(0, 10))
    def lose(self, side: int, lane: int, place: int) -> None:
        """A frame is lost, in the middle of others."""
        line = self.ends[side].lanes[lane]
        if place < len(line):
            del line[place]

    @rule(side=sides, kept=st.integers(0, 10))
    def reconnect(self, side: int, kept: int) -> None:
        """A connection is lost, and some of what was on its way; there is another."""
        end = self.ends[side]
        for line in end.lanes:
            while len(line) > kept:
                line.pop()
        end.link.rewind()

    @rule(side=sides, lane=lanes)
    def repeat(self, side: int, lane: int) -> None:
        """Everything on its way comes twice."""
        line = self.ends[side].lanes[lane]
        line.extend(list(line))

    @rule(side=sides)
    def tick(self, side: int) -> None:
        """Some time passes."""
        self.ends[side].link.tick()

    @rule(side=sides)
    def ask_again(self, side: int) -> None:
        """One side is not sure whether it has missed something."""
        self.ends[side].link.ask_again()

    @invariant()
    def bounds(self) -> None:
        """The window holds; what is unacknowledged is never more than what was said."""
        for end, window in zip(getattr(self, "ends", ()), getattr(self, "windows", ()), strict=True):
            for out in end.link._out:
                assert len(out.underway) <= window
            for lane in end.link._in:
                assert len(lane.held) <= window
            statistics = end.link.statistics()
            assert 0 <= statistics.unacknowledged <= len(end.said)
            assert statistics.sent <= len(end.said)

    def teardown(self) -> None:
        """When nothing is lost any more, all arrives, all is acknowledged, and no mark of a job is left."""
        for _ in range(400):
            for side, end in enumerate(self.ends):
                self.write(side, 1000)
                for lane in (0, 1):
                    self.read(side, lane, 10_000)
                end.link.tick()
        for side, end in enumerate(self.ends):
            other = self.ends[1 - side]
            assert len(other.heard) == len(end.said)
            assert end.link.statistics().unacknowledged == 0
            assert end.link.statistics().sent == len(end.said)
            assert end.link._jobs == {}
            assert end.link.is_flushed
            assert not end.link.can_take


def test_anything_at_any_moment() -> None:
    """N1: each message once, in the order of its lane, never before what was said earlier of its job; in the end, everything."""
    run_state_machine_as_test(LossyLink, settings=settings(steady, max_examples=200, stateful_step_count=40))
