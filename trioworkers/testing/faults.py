"""What goes wrong between nodes, as a value; and a pair of channels to which it happens.

=====================================  ======================================================================================
:class:`Drop`, :class:`Duplicate`,     one message is lost, comes twice, comes late
:class:`Delay`
:class:`Burst`                         several in a row are
:class:`DropJob`,                      all messages of one job are, in both directions or in one: what it takes to reach the bugs
:class:`DuplicateJob`,                 behind retries
:class:`DelayJob`
:class:`Slow`, :class:`Partition`      for a while everything that passes is late, or lost
:class:`Crash`                         a node dies, and comes back without a memory
=====================================  ======================================================================================

A :class:`FaultPlan` is a tuple of these: it can be printed, compared, written down in a test, drawn by Hypothesis
(:func:`trioworkers.testing.hypothesis.fault_plans`) and shrunk. Without a fault, what is sent arrives, once, and in order.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Generic, TypeVar, final

import attrs
import trio

from .._checks import check_name, check_seconds
from ._carrier import LATENCY, Carrier
from ._carrier import Crossing as Crossing
from ._weather import KINDS as KINDS
from ._weather import TIMES as TIMES
from ._weather import Burst as Burst
from ._weather import Crash as Crash
from ._weather import Delay as Delay
from ._weather import DelayJob as DelayJob
from ._weather import Drop as Drop
from ._weather import DropJob as DropJob
from ._weather import Duplicate as Duplicate
from ._weather import DuplicateJob as DuplicateJob
from ._weather import Fault as Fault
from ._weather import Partition as Partition
from ._weather import Slow as Slow
from ._weather import Weather

T = TypeVar("T")


def _no_key(item: object) -> None:
    """Nothing belongs together."""
    del item


@attrs.frozen(init=False, repr=False)
class FaultPlan:
    """Some faults.

    ::

        plan = FaultPlan(Drop(nth=3), Partition(start=0.5, length=2.0, cut="worker"))

    Args:
        faults: What goes wrong. Several may hit one message: it is lost if one of them says so, delays add up, and each copy comes.

    Raises:
        TypeError: One is no fault.
    """

    faults: tuple[Fault, ...]

    def __init__(self, *faults: Fault) -> None:
        for fault in faults:
            if not isinstance(fault, Fault):
                raise TypeError(f"a plan is made of faults, not of {fault!r}")
        object.__setattr__(self, "faults", faults)  # it is frozen

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.faults))})"

    @asynccontextmanager
    async def link(
        self,
        one: str,
        other: str,
        *,
        latency: float = LATENCY,
        key: Callable[[Any], Hashable] = _no_key,
    ) -> AsyncIterator[Link[Any]]:
        """Open two channels that are connected by a line to which all this happens; for any trio program.

        ::

            async with plan.link("client", "worker") as link, trio.open_nursery() as nursery:
                client, worker = link
                nursery.start_soon(serve, worker)
                await ask(client)
                nursery.cancel_scope.cancel()
            assert link.struck == plan.faults

        Args:
            one: The name of one end, as the plan calls it.
            other: The name of the other.
            latency: How long the way takes, in seconds.
            key: Which job an item belongs to, for faults that hit jobs; ``None`` for none.

        Raises:
            TypeError, ValueError: Bad arguments.

        What the block raises comes out as it is. When it is left, what is on its way is lost, and both ends are closed.
        """
        if check_name(one, "a node's name") == check_name(other, "a node's name"):
            raise ValueError(f"a link has two ends, and both are called {one!r}")
        link: Link[Any] = Link(self, one, other, check_seconds(latency, "latency"), key)
        async with link.opened():
            yield link


@final
class Link(Generic[T]):
    """A line between two nodes; see :meth:`FaultPlan.link`. Iterating over it gives its two ends."""

    def __init__(self, plan: FaultPlan, one: str, other: str, latency: float, key: Callable[[T], Hashable]) -> None:
        self.plan = plan
        self._key = key
        self._carrier: Carrier[tuple[T, ...]] = Carrier(Weather(plan.faults), latency, self._deliver, self._crash)
        self._ends = {name: LinkEnd[T](name, partial(self._send, name, to)) for name, to in ((one, other), (other, one))}

    def __iter__(self) -> Iterator[LinkEnd[T]]:
        return iter(self._ends.values())

    @property
    def struck(self) -> tuple[Fault, ...]:
        """The faults of the plan that have done something, so far: a test that needs one can see that it was not idle."""
        return self._carrier.weather.struck

    @property
    def log(self) -> list[Crossing]:
        """What was sent, what arrived and what was lost, in order."""
        return self._carrier.log

    async def host(self, node: str, fn: Callable[..., Awaitable[object]], *args: Any) -> None:
        """Run ``fn(*args)`` as the program of a node; return when it has, or when the node is down for ever.

        A :class:`Crash` of the node cancels it. When the node is up again, it is called again: what it remembers must be elsewhere.
        """
        await self._carrier.host(node, partial(fn, *args))

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Carry as long as the block runs."""
        try:
            async with self._carrier.opened():
                yield
        finally:
            for end in self._ends.values():
                end.close()
                end.hang_up()

    def _send(self, sender: str, receiver: str, *items: T) -> None:
        if not self._carrier.is_open:
            return
        if items:
            self._carrier.send(sender, receiver, items, repr(items[0]), self._key(items[0]))
        else:
            self._carrier.tell(sender, receiver, items, "hangs up")

    def _deliver(self, sender: str, receiver: str, items: tuple[T, ...]) -> str | None:
        del sender
        end = self._ends[receiver]
        if items:
            return end.take(*items)
        end.hang_up()
        return None

    def _crash(self, crash: Crash) -> bool:
        end = self._ends.get(crash.node)
        return end is not None and end.forget()


@final
class LinkEnd(trio.abc.Channel[T]):
    """One end of a :class:`Link`: a channel of trio's, which sends without waiting.

    Args:
        name: The node's name.
    """

    def __init__(self, name: str, send: Callable[..., None]) -> None:
        self.name = name
        self._send = send
        self._put, self._get = trio.open_memory_channel[T](float("inf"))
        self._closed = False

    def send_nowait(self, value: T) -> None:
        """Send. It is not known whether it will arrive.

        Raises:
            trio.ClosedResourceError: This end is closed.
        """
        if self._closed:
            raise trio.ClosedResourceError
        self._send(value)

    async def send(self, value: T) -> None:
        """Like :meth:`send_nowait`, and a checkpoint."""
        await trio.lowlevel.checkpoint()
        self.send_nowait(value)

    def receive_nowait(self) -> T:
        """Take what has arrived.

        Raises:
            trio.WouldBlock: Nothing has.
            trio.EndOfChannel: The other end was closed, and everything sent before that is taken, or lost.
            trio.ClosedResourceError: This end is closed.
        """
        return self._get.receive_nowait()

    async def receive(self) -> T:
        """Wait for something to arrive; see :meth:`receive_nowait`."""
        return await self._get.receive()

    async def aclose(self) -> None:
        """Like :meth:`close`, and a checkpoint."""
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """Send and receive no more; the other end hears of it, unless that is cut off. Idempotent."""
        if not self._closed:
            self._closed = True
            self._get.close()
            self._send()

    def take(self, value: T) -> str | None:
        """Something has arrived: return why it is not taken, or ``None``."""
        try:
            self._put.send_nowait(value)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return "closed"
        return None

    def hang_up(self) -> None:
        """Nothing will arrive any more."""
        self._put.close()

    def forget(self) -> bool:
        """Lose what has arrived and was not taken; return whether there was anything."""
        waiting = self._get.statistics().current_buffer_used
        for _ in range(waiting):
            self._get.receive_nowait()
        return waiting > 0
