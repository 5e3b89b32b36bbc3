"""One link: what one runner and one other say to each other, in order, each thing once.

No I/O, no time, no trio: numbers and queues. Each side numbers what it sends, in two lanes, keeps it until the other side has
acknowledged it, and says it again after a reconnection, or when the other side has missed something. The receiver takes each number
once, in order. So a transport may lose, repeat and delay what it carries, and nobody above notices.

**Between the lanes** there is order within a job, and only there: an urgent answer must not overtake the chunks before it, nor a
cancel the request that it cancels. So each frame says which number of the *other* lane has to be seen first: the last one of the
same job. Since that was sent earlier, nothing can wait in a circle.

**The window.** At most ``window`` messages of a lane are under way, that is, in the other's inbox or in the air; the rest waits here.
That bounds what a slow or silent receiver costs the server. Acknowledgements ride on whatever goes the other way; one of their own
is sent when a quarter of the window has come without, and with every :meth:`Link.tick`.

**The last one lost.** What is lost is missed when something comes after it. If nothing does, nobody would notice: so what has not been
acknowledged for some ticks is asked after, by saying the last of it again.

Reference: cumulative acknowledgement with go-back-n, as in any textbook on transport protocols (Kurose and Ross, chapter 3).
"""

from __future__ import annotations

from collections import deque
from typing import Final

import attrs

from .frames import Frame

_PATIENCE: Final = 3
"""After so many ticks without a word on what is under way, the last of it is said again."""


@attrs.define(eq=False)
class _Item:
    number: int
    after: int
    job: str | None
    body: bytes


@attrs.define(eq=False)
class _Outgoing:
    """One lane, going out: what waits to be taken, what is under way, whether that is doubtful."""

    last: int = 0
    acknowledged: int = 0
    taken: int = 0
    silence: int = 0
    doubtful: bool = False
    waiting: deque[_Item] = attrs.field(factory=deque)
    underway: deque[_Item] = attrs.field(factory=deque)

    def __len__(self) -> int:
        return len(self.waiting) + len(self.underway)

    def broken_silence(self) -> None:
        """Something was said, either way."""
        self.silence = 0
        self.doubtful = False

    def tick(self) -> None:
        """Some time has passed: perhaps the other side should have said something by now."""
        self.silence += 1
        self.doubtful = self.silence >= _PATIENCE and bool(self.underway)


@attrs.define(eq=False)
class _Incoming:
    """One lane, coming in: the last number seen, and what has come and waits for the other lane."""

    seen: int = 0
    held: deque[Frame] = attrs.field(factory=deque)


@attrs.frozen
class LinkStatistics:
    """What has gone over one link.

    Args:
        sent: Messages taken for the first time.
        resent: Messages taken again.
        received: Messages handed on.
        duplicates: Messages that had come before.
        gaps: Messages that came too early, something before them being lost.
        unacknowledged: Messages that the other side has not acknowledged.
    """

    sent: int
    resent: int
    received: int
    duplicates: int
    gaps: int
    unacknowledged: int


@attrs.define(eq=False)
class Link:
    """This side of a link.

    ::

        link = Link("alpha.1", window=1024)
        link.push(1, b"...", job="7")
        for frame in link.take(256): ...
        for body in link.receive(frame): ...

    Args:
        sender: The incarnation on this side.
        window: How many messages of each lane may be under way.
    """

    _sender: str
    _window: int
    _out: tuple[_Outgoing, _Outgoing] = attrs.field(factory=lambda: (_Outgoing(), _Outgoing()), init=False)
    _in: tuple[_Incoming, _Incoming] = attrs.field(factory=lambda: (_Incoming(), _Incoming()), init=False)
    _much: int = attrs.field(init=False)
    _jobs: dict[str, list[int]] = attrs.field(factory=dict, init=False)
    _untold: int = attrs.field(default=0, init=False)
    _again: bool = attrs.field(default=False, init=False)
    _missed: tuple[int, int] | None = attrs.field(default=None, init=False)
    _sent: int = attrs.field(default=0, init=False)
    _resent: int = attrs.field(default=0, init=False)
    _received: int = attrs.field(default=0, init=False)
    _duplicates: int = attrs.field(default=0, init=False)
    _gaps: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._much = max(1, self._window // 4)

    # -- going out ---------------------------------------------------------------------------------------------------------

    def push(self, lane: int, body: bytes, job: str | None = None) -> None:
        """Send a message, after all that was sent in this lane, and all of the same job."""
        out = self._out[lane]
        out.last += 1
        after = 0
        if job is not None:
            marks = self._jobs.setdefault(job, [0, 0])
            after = marks[1 - lane] if marks[1 - lane] > self._out[1 - lane].acknowledged else 0
            marks[lane] = out.last
        out.waiting.append(_Item(out.last, after, job, body))

    def take(self, limit: int) -> list[Frame]:
        """Return up to ``limit`` frames to write now, the system lane's first."""
        frames: list[Frame] = []
        for lane, out in enumerate(self._out):
            while out.waiting and len(out.underway) < self._window and len(frames) < limit:
                item = out.waiting.popleft()
                out.underway.append(item)
                frames.append(self._frame(lane, item))
            if out.doubtful and len(frames) < limit:
                frames.append(self._frame(lane, out.underway[-1]))
        if not frames and self._must_tell and limit:
            frames.append(Frame(self._sender, 0, 0, 0, self.seen, self._again))
        if frames:
            self._untold = 0
            self._again = False
        return frames

    @property
    def can_take(self) -> bool:
        """Whether :meth:`take` has something to give."""
        for out in self._out:
            if out.doubtful or (out.waiting and len(out.underway) < self._window):
                return True
        return self._must_tell

    @property
    def backlog(self) -> int:
        """How many data messages are not acknowledged."""
        return len(self._out[1])

    @property
    def is_flushed(self) -> bool:
        """Whether everything has been taken."""
        return not any(out.waiting for out in self._out)

    @property
    def seen(self) -> tuple[int, int]:
        """The highest numbers handed on, by lane."""
        return self._in[0].seen, self._in[1].seen

    def rewind(self) -> None:
        """What is under way may be lost: take it again."""
        for out in self._out:
            out.waiting.extendleft(reversed(out.underway))
            out.underway.clear()
            out.doubtful = False

    def ask_again(self) -> None:
        """Something may have been missed: have everything that is not acknowledged sent again."""
        self._again = True

    def tick(self) -> None:
        """Some time has passed: acknowledge what has come, however little it is; say again what has been missed."""
        if self._untold:
            self._untold = self._window
        self._missed = None
        for out in self._out:
            out.tick()

    @property
    def _must_tell(self) -> bool:
        return self._again or self._untold >= self._much

    def _frame(self, lane: int, item: _Item) -> Frame:
        out = self._out[lane]
        if item.number > out.taken:
            out.taken = item.number
            self._sent += 1
        else:
            self._resent += 1
        out.broken_silence()
        return Frame(self._sender, lane, item.number, item.after, self.seen, self._again, item.body)

    # -- coming in ---------------------------------------------------------------------------------------------------------

    def receive(self, frame: Frame) -> list[bytes]:
        """Take a frame in; return the messages whose turn has come."""
        for out, seen in zip(self._out, frame.seen, strict=True):
            if out.acknowledged < seen:
                self._acknowledge(out, seen)
        if frame.again:
            self.rewind()
        if frame.number:
            self._hold(frame)
        return self._release()

    def _hold(self, frame: Frame) -> None:
        lane = self._in[frame.lane]
        expected = lane.seen + len(lane.held) + 1
        if frame.number < expected:
            self._duplicates += 1
            self._untold += 1
        elif frame.number > expected or len(lane.held) >= self._window:
            self._gaps += 1
            if self._missed != (frame.lane, expected):  # said once: what is on its way comes too early, too
                self._missed = (frame.lane, expected)
                self._again = True
        else:
            lane.held.append(frame)

    def _release(self) -> list[bytes]:
        bodies: list[bytes] = []
        moved = True
        while moved:
            moved = False
            for lane, other in (self._in, self._in[::-1]):
                while lane.held and lane.held[0].after <= other.seen:
                    moved = True
                    lane.seen += 1
                    self._untold += 1
                    self._received += 1
                    bodies.append(lane.held.popleft().body)
        return bodies

    def _acknowledge(self, out: _Outgoing, seen: int) -> None:
        out.acknowledged = min(seen, out.last)
        out.broken_silence()
        for queue in (out.underway, out.waiting):  # what is to be taken again may have arrived the first time
            while queue and queue[0].number <= out.acknowledged:
                self._forget(queue.popleft())

    def _forget(self, item: _Item) -> None:
        marks = self._jobs.get(item.job) if item.job is not None else None
        if marks is not None and all(mark <= out.acknowledged for mark, out in zip(marks, self._out, strict=True)):
            self._jobs.pop(item.job or "")

    def statistics(self) -> LinkStatistics:
        """A snapshot."""
        unacknowledged = sum(len(out) for out in self._out)
        return LinkStatistics(self._sent, self._resent, self._received, self._duplicates, self._gaps, unacknowledged)
