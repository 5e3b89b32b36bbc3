"""What carries things from node to node: one task for each direction of each pair, in virtual time, by a plan."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from contextvars import Context, ContextVar, copy_context
from functools import partial
from typing import Any, Generic, Literal, TypeVar, final

import attrs
import trio

from ._weather import Crash, Weather

T = TypeVar("T")
Event = Literal["sent", "arrived", "lost"]
WEATHERS: ContextVar[list[Weather] | None] = ContextVar("WEATHERS", default=None)
"""Whoever wants to know which faults struck finds here what was opened."""

LATENCY = 0.001
"""How long it takes from node to node, in virtual seconds, if nobody says otherwise."""


@attrs.frozen
class Crossing:
    """One line of a network's diary.

    Args:
        time: When it happened, in seconds since the network was opened.
        number: The message's number, as faults count; ``None`` for what they do not count.
        sender: From which node.
        receiver: To which.
        what: What it is, in words.
        event: ``"sent"``, ``"arrived"`` or ``"lost"``. A copy arrives (or is lost) without being sent.
        why: The faults, or the words, that say why it was lost, or why it will be late.
    """

    time: float
    number: int | None
    sender: str
    receiver: str
    what: str
    event: Event
    why: str = ""

    def __str__(self) -> str:
        number = "" if self.number is None else f" #{self.number}"
        why = f" ({self.why})" if self.why else ""
        return f"t={self.time:.3f}{number} {self.sender} -> {self.receiver} {self.what}: {self.event}{why}"


@attrs.define(eq=False)
class Alarm:
    """Waits until a time, or until it is poked."""

    _poked: trio.Event = attrs.field(factory=trio.Event, init=False)

    async def wait(self, until: float) -> None:
        """Wait."""
        with trio.move_on_at(until):
            await self._poked.wait()
        self._poked = trio.Event()

    def poke(self) -> None:
        """Whoever waits, or will wait next, goes on."""
        self._poked.set()


@attrs.frozen(eq=False)
class Parcel(Generic[T]):
    """One thing on its way."""

    item: T
    what: str
    number: int | None


@attrs.define(eq=False)
class Lane(Generic[T]):
    """One direction of one pair of nodes.

    Args:
        arrive: Called with each parcel when it is due; earlier ones first, of equal ones the one that was put first.
    """

    _arrive: Callable[[Parcel[T]], None]
    _waiting: list[tuple[float, int, Parcel[T]]] = attrs.field(factory=list, init=False)
    _numbers: itertools.count[int] = attrs.field(factory=itertools.count, init=False)
    _last: float = attrs.field(default=-math.inf, init=False)
    _alarm: Alarm = attrs.field(factory=Alarm, init=False)

    def put(self, parcel: Parcel[T], due: float) -> None:
        """It is due then, whatever is due before or after it."""
        heapq.heappush(self._waiting, (due, next(self._numbers), parcel))
        self._alarm.poke()

    def append(self, parcel: Parcel[T], due: float) -> float:
        """It is due then, but not before what was appended earlier; return when."""
        self._last = max(self._last, due)
        self.put(parcel, self._last)
        return self._last

    async def serve(self) -> None:
        """Let arrive what is due."""
        while True:
            await self._alarm.wait(self._waiting[0][0] if self._waiting else math.inf)
            while self._waiting and self._waiting[0][0] <= trio.current_time():
                self._arrive(heapq.heappop(self._waiting)[2])
                await trio.lowlevel.checkpoint()


@final
@attrs.define(eq=False)
class Carrier(Generic[T]):
    """The ways between all nodes.

    Args:
        weather: What goes wrong.
        latency: How long the way takes, in seconds.
        deliver: Called with sender, receiver and item when it arrives; returns why it is not taken, or ``None``.
        crash: Called when a node dies; returns whether anything was there.
        look: Called whenever a cut begins or ends, and at the moment that it returned the last time.
    """

    weather: Weather
    latency: float
    _deliver: Callable[[str, str, T], str | None]
    _crash: Callable[[Crash], bool]
    _look: Callable[[], float] = lambda: math.inf
    log: list[Crossing] = attrs.field(factory=list, init=False)
    _hosted: list[tuple[str, trio.CancelScope]] = attrs.field(factory=list, init=False)
    _lanes: dict[tuple[str, str], Lane[T]] = attrs.field(factory=dict, init=False)
    _alarm: Alarm = attrs.field(factory=Alarm, init=False)
    _nursery: trio.Nursery | None = attrs.field(default=None, init=False)
    _was_opened: bool = attrs.field(default=False, init=False)
    _context: Context = attrs.field(factory=copy_context, init=False)

    @property
    def is_open(self) -> bool:
        """Whether it carries anything."""
        return self._nursery is not None

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Carry, as long as the block runs; what is on its way when it is left is lost.

        What the block raises comes out as it is.
        """
        if self._was_opened:
            raise RuntimeError("a network is opened once: make a new one")
        self._was_opened = True
        own: BaseException | None = None
        try:
            async with trio.open_nursery() as nursery:
                self._begin(nursery)
                try:
                    yield
                except BaseException as error:
                    own = error
                    raise
                finally:
                    nursery.cancel_scope.cancel(reason="the network is closed")
                    self._nursery = None
        except BaseExceptionGroup as group:
            if own is None or any(not (error is own or isinstance(error, trio.Cancelled)) for error in group.exceptions):
                raise
        if own is not None:
            raise own

    def send(self, sender: str, receiver: str, item: T, what: str, key: Hashable = None) -> None:
        """Something is sent, and meets its fate."""
        now = trio.current_time()
        fate = self.weather.fate(sender, receiver, key, now)
        parcel = Parcel(item, what, fate.number)
        why = ", ".join(map(str, fate.why))
        self._note(sender, receiver, parcel, "sent", why if fate.arrives else "")
        lane = self._lane(sender, receiver)
        arrives = fate.arrives and self._may_pass(sender, receiver, parcel)
        due = now + self.latency + fate.held
        if arrives and fate.late:
            lane.put(parcel, due + fate.late)
        elif arrives:
            due = lane.append(parcel, due)
        elif not fate.arrives:
            self._note(sender, receiver, parcel, "lost", why)
        for after in fate.copies:
            lane.put(parcel, due + fate.late + after)

    def tell(self, sender: str, receiver: str, item: T, what: str) -> None:
        """Something is sent that no fault counts: only a cut stops it."""
        parcel = Parcel(item, what, None)
        if self._may_pass(sender, receiver, parcel):
            self._lane(sender, receiver).append(parcel, trio.current_time() + self.latency)

    async def host(self, node: str, fn: Callable[[], Awaitable[object]]) -> None:
        """Run ``fn()`` as what lives on a node: a crash cancels it, and when the node is up again, it is called again."""
        await trio.lowlevel.checkpoint()
        while (up := self.weather.up_at(node, trio.current_time())) < math.inf:
            if up > trio.current_time():
                await trio.sleep_until(up)
            elif not await self._live(node, fn):
                return

    def poke(self) -> None:
        """Look again: something has changed."""
        self._alarm.poke()

    # -- inside ------------------------------------------------------------------------------------------------------------

    def _begin(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._context = copy_context()
        self.weather.start = trio.current_time()
        self._start("clock", self._keep_time)
        weathers = WEATHERS.get()
        if weathers is not None:
            weathers.append(self.weather)

    async def _live(self, node: str, fn: Callable[[], Awaitable[object]]) -> bool:
        """Run it once; return whether it was a crash that ended it."""
        with trio.CancelScope() as scope:
            self._hosted.append((node, scope))
            try:
                await fn()
            finally:
                self._hosted.remove((node, scope))
        return scope.cancel_called

    def _die(self, crash: Crash) -> None:
        hosted = [scope for node, scope in self._hosted if node == crash.node]
        for scope in hosted:
            scope.cancel(reason=f"node {crash.node!r} has crashed")
        if self._crash(crash) or hosted:
            self.weather.strike(crash)

    def _lane(self, sender: str, receiver: str) -> Lane[T]:
        lane = self._lanes.get((sender, receiver))
        if lane is None:
            lane = self._lanes[sender, receiver] = Lane(partial(self._arrive, sender, receiver))
            self._start(f"{sender}->{receiver}", lane.serve)
        return lane

    def _start(self, name: str, fn: Callable[[], Awaitable[Any]]) -> None:
        assert self._nursery is not None  # noqa: S101 - nobody sends anything before it is open, or after
        self._context.copy().run(partial(self._nursery.start_soon, fn, name=f"net:{name}"))

    def _arrive(self, sender: str, receiver: str, parcel: Parcel[T]) -> None:
        if self._may_pass(sender, receiver, parcel):
            place = len(self.log)  # before whatever its arrival causes
            refused = self._deliver(sender, receiver, parcel.item)
            self._note(sender, receiver, parcel, "arrived" if refused is None else "lost", refused or "", place)

    def _may_pass(self, sender: str, receiver: str, parcel: Parcel[T]) -> bool:
        fault = self.weather.cut(sender, receiver, trio.current_time())
        if fault is not None:
            self.weather.strike(fault)
            self._note(sender, receiver, parcel, "lost", str(fault))
        return fault is None

    def _note(self, sender: str, receiver: str, parcel: Parcel[T], event: Event, why: str, place: int | None = None) -> None:
        time = trio.current_time() - self.weather.start
        line = Crossing(time, parcel.number, sender, receiver, parcel.what, event, why)
        self.log.insert(len(self.log) if place is None else place, line)

    async def _keep_time(self) -> None:
        crashes = self.weather.crashes()
        while True:
            now = trio.current_time()
            while crashes and crashes[0][0] <= now:
                self._die(crashes.pop(0)[1])
            await self._alarm.wait(min(self.weather.next_change(now), self._look()))
