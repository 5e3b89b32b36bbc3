"""A network in one process, in virtual time: runners on it talk to each other as they would from machine to machine.

User code stays as it is: a runner is given its node's bus, that is all. Whatever goes from one node to another goes through
:mod:`trioworkers.wire`, as bytes; nothing live crosses. It takes its time, it arrives in order (for each pair of nodes), and once;
unless the plan says otherwise.

**Who is where.** Runners tell each other who is ready, so the workers of all others are in each one's registry. A node sends what is
for a worker to the node which said that it has it, or from which it has heard of it.

**When a node is gone.** A node that has crashed, or was cut off for longer than it takes to detect that, is *lost* to the others: its
workers leave their registries, whoever waits for a job there has an ERROR for an answer, and what its workers had asked for is
cancelled. What was on its way between the two is not taken any more, should it arrive after all.

**Nobody waits for ever.** Whoever gives a job up waits until its answerer says that nothing runs there any more. So a cancel is said
again, as often as it takes; and a cancel of what is not there is answered all the same. A request with a timeout ends, and so does
the block around it, whatever is lost, if only the cuts end, or nodes that are cut off are taken for lost.

What the network says on its own account (who is there, a cancel said again, an answer on somebody's behalf) no fault counts or hits: a
real bus has places that last for it. Only a cut stops it, and then it is said again.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import lru_cache
from types import TracebackType
from typing import Self, final

import attrs
import trio

from .._checks import check_name, check_seconds
from ..messages import BusJobCancelMessage, BusMessage
from ..wire import Codec
from ._carrier import LATENCY, Carrier, Crossing
from ._simbus import SimBus
from ._weather import Crash, Fault, Weather
from .faults import FaultPlan

DETECTION = 1.0
"""After so many virtual seconds of silence a node is taken for lost, if nobody says otherwise."""


@attrs.frozen
class _Parcel:
    """Bytes on their way, and the session of the two nodes in which they were sent."""

    data: bytes
    session: int


@attrs.define(eq=False)
class _Pair:
    """Two nodes, as they see each other.

    Args:
        session: Counts how often they have met.
        lost: Whether they take each other for gone.
        since: Since when nothing gets through, one way at least; ``None`` if it does.
    """

    session: int = 0
    lost: bool = True
    since: float | None = None


@final
class SimNetwork:
    """Some nodes, and the ways between them.

    ::

        async with SimNetwork(FaultPlan(Drop(nth=0))) as network:
            async with (
                open_runner(Adder("adder"), bus=network.bus("right")),
                open_runner(bus=network.bus("left")) as runner,
            ):
                async with runner.job("adder", name="add", payload={"numbers": [1, 2]}, timeout=5, cancel_grace=1) as job:
                    pass
        assert network.struck

    Args:
        plan: What goes wrong; its times count from the moment the network is entered. To its faults, a job is what shares a job id.
        latency: How long it takes from node to node, in virtual seconds.
        detection: After so many virtual seconds in which nothing gets through, two nodes take each other for gone; ``inf`` allowed.
        types: Message classes of your own, by tag; see :class:`trioworkers.wire.Codec`.
        mailbox_capacity: See :class:`WorkerBus`.

    Raises:
        TypeError, ValueError: Bad arguments.
    """

    def __init__(
        self,
        plan: FaultPlan | None = None,
        *,
        latency: float = LATENCY,
        detection: float = DETECTION,
        types: Mapping[str, type[BusMessage]] | None = None,
        mailbox_capacity: float | None = None,
    ) -> None:
        self.plan: FaultPlan = FaultPlan() if plan is None else plan
        self._detection = check_seconds(detection, "detection")
        self._codec = _codec(tuple((types or {}).items()))
        self._capacity = mailbox_capacity
        self._buses: dict[str, SimBus] = {}
        self._numbers: dict[str, int] = {}
        self._pairs: dict[tuple[str, str], _Pair] = {}
        self._weather = Weather(self.plan.faults)
        self._carrier: Carrier[_Parcel] = Carrier(
            self._weather, check_seconds(latency, "latency"), self._deliver, self._crash, self._look
        )
        self._opened: AbstractAsyncContextManager[None] | None = None

    async def __aenter__(self) -> Self:
        """Carry from now on.

        Raises:
            RuntimeError: It is entered a second time.
        """
        opened = self._carrier.opened()
        await opened.__aenter__()
        self._opened = opened
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        """What is on its way is lost; what waits for it is told. What the block has raised comes out as it is."""
        for bus in self._buses.values():
            bus.cut_off("the network is closed")
        assert self._opened is not None  # noqa: S101 - it has been entered
        return await self._opened.__aexit__(exc_type, exc, traceback)  # noqa: ASYNC102 - handed through

    # -- for tests ---------------------------------------------------------------------------------------------------------

    @property
    def struck(self) -> tuple[Fault, ...]:
        """The faults of the plan that have done something, so far: a test that needs one can see that it was not idle."""
        return self._weather.struck

    @property
    def log(self) -> list[Crossing]:
        """What was sent, what arrived and what was lost, in order. Printed line by line, it shows who has which number."""
        return self._carrier.log

    def bus(self, node: str) -> SimBus:
        """The bus of a node, for its runner; a node is there from the first time that its bus is asked for.

        After a crash the node has a new bus.

        Raises:
            RuntimeError: The network is not open, or the node is down.
        """
        check_name(node, "a node's name")
        if not self._carrier.is_open:
            raise RuntimeError("a network carries while it is open: async with SimNetwork(...) as network")
        if self._weather.up_at(node, trio.current_time()) > trio.current_time():
            raise RuntimeError(f"node {node!r} is down: let SimNetwork.host() run what lives on it")
        bus = self._buses.get(node)
        return self._boot(node) if bus is None or bus.is_dead else bus

    async def host(self, node: str, fn: Callable[[SimBus], Awaitable[object]]) -> None:
        """Run ``fn(bus)`` as the program of a node; return when it has, or when the node is down for ever.

        ::

            async def serve(bus):
                async with open_runner(Adder("adder"), bus=bus):
                    await trio.sleep_forever()

            nursery.start_soon(network.host, "right", serve)

        A :class:`Crash` of the node cancels it. When the node is up again, it is called again, with a new bus.
        """
        await self._carrier.host(node, lambda: fn(self.bus(node)))

    # -- for the nodes -----------------------------------------------------------------------------------------------------

    def holder(self, name: str) -> SimBus | None:
        """The living node that has this name."""
        return next((bus for bus in self._buses.values() if name in bus and not bus.is_dead), None)

    def send(self, sender: str, receivers: Sequence[str], message: BusMessage, *, counted: bool = True) -> None:
        """Send to some nodes: the same bytes to each. Only a cut stops what no fault counts.

        Raises:
            WireError: It cannot be sent; nobody gets it.
        """
        if not (receivers and self._carrier.is_open):
            return
        data = self._codec.dumps(message)
        if isinstance(message, BusJobCancelMessage):
            self._carrier.poke()  # it may have to be said again
        for receiver in receivers:
            parcel = _Parcel(data, self._pair(sender, receiver).session)
            if counted:
                self._carrier.send(sender, receiver, parcel, _told(message), getattr(message, "job_id", None))
            else:
                self._carrier.tell(sender, receiver, parcel, _told(message))

    # -- inside ------------------------------------------------------------------------------------------------------------

    def _pair(self, one: str, other: str) -> _Pair:
        return self._pairs.setdefault((min(one, other), max(one, other)), _Pair())

    def _boot(self, node: str) -> SimBus:
        number = self._numbers[node] = self._numbers.get(node, 0) + 1
        others = [bus for bus in self._buses.values() if bus.node != node and not bus.is_dead]
        bus = self._buses[node] = SimBus(self, node, node if number == 1 else f"{node}#{number}", self._capacity)
        for other in others:
            pair = self._pair(node, other.node)
            if not pair.lost:
                pair.lost = True
                other.lose(node, f"node {node!r} has crashed, and is up again")
            self._meet(pair, bus, other)
        self._carrier.poke()
        return bus

    @staticmethod
    def _meet(pair: _Pair, *buses: SimBus) -> None:
        pair.session += pair.lost
        pair.lost = False
        pair.since = None
        for bus, other in zip(buses, reversed(buses), strict=True):
            bus.meet(other.node)

    def _deliver(self, sender: str, receiver: str, parcel: _Parcel) -> str | None:
        bus = self._buses[receiver]
        if bus.is_dead:
            return "nobody is there"
        if parcel.session != self._pair(sender, receiver).session:
            return "too late"
        bus.arrive(sender, self._codec.loads(parcel.data))
        return None

    def _crash(self, crash: Crash) -> bool:
        bus = self._buses.get(crash.node)
        if bus is None or bus.is_dead:
            return False
        bus.die(f"node {crash.node!r} has crashed")
        return True

    def _look(self) -> float:
        """See who has not heard from whom for too long, and who has again; return when to look the next time."""
        now = trio.current_time()
        for (one, other), pair in list(self._pairs.items()):
            if not self._is_cut(one, other, now):
                if pair.since is not None:
                    self._meet(pair, self._buses[one], self._buses[other])
                continue
            if pair.since is None:
                pair.since = now
            if not pair.lost and now >= pair.since + self._detection:
                self._part(pair, one, other)
        parting = (pair.since + self._detection for pair in self._pairs.values() if pair.since is not None and not pair.lost)
        reminding = (bus.remind(self._detection) for bus in self._buses.values())
        return min((*parting, *reminding), default=math.inf)

    def _is_cut(self, one: str, other: str, now: float) -> bool:
        ways = ((one, other), (other, one))
        return any(self._buses[node].is_dead for node in (one, other)) or any(self._weather.cut(*way, now) for way in ways)

    def _part(self, pair: _Pair, one: str, other: str) -> None:
        pair.lost = True
        for node, lost in ((one, other), (other, one)):
            fault = self._weather.cut(lost, node, trio.current_time())
            if fault is not None:
                self._weather.strike(fault)
            self._buses[node].lose(lost, f"node {lost!r} is lost: nothing got through for {self._detection:g} s")


@lru_cache(maxsize=8)
def _codec(types: tuple[tuple[str, type[BusMessage]], ...]) -> Codec:
    """A codec has no state, and takes longer to make than many a network lives."""
    return Codec(dict(types))


def _told(message: BusMessage) -> str:
    """A message in words."""
    kind = type(message).__name__.removeprefix("Bus").removesuffix("Message")
    job_id = getattr(message, "job_id", None)
    to = "" if message.target is None else f" to {message.target}"
    return f"{kind} from {message.source}{to}{'' if job_id is None else f', job {job_id}'}"
