"""The bus: who is subscribed, and how a message finds its way.

**One entrance.** :meth:`WorkerBus.post` is sync and never blocks. A targeted message costs one dictionary look-up; a broadcast goes
to those who listen to its class. A post made inside the effects of another is delivered when the outer one returns: messages take
effect in the order they were posted, never inside one another, and a cascade through a thousand workers needs no deep stack.

**Nobody there.** A message for a name that nobody has is handed to :meth:`WorkerBus.publish`, which on a bus that spans processes
knows more names; if that does not help it is a dead letter: counted, and *bounced* to its sender if the sender waits for an answer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial

import attrs
import trio

from .._checks import check_seconds
from .._leaves import describe
from .._sources import IdSource, present_ids
from ..errors import DuplicateWorkerError
from ..messages import BusMessage, Priority
from ..observers import Observer, Observers
from .directory import Roster
from .inbox import Inbox

PACE = 32
"""A sender yields to the others at least once in so many sends."""


@attrs.frozen
class SenderWaiting:
    """A ``send`` that waits for room.

    Args:
        source: Who sends.
        target: Whose mailbox is full.
        since: Since when, by trio's clock.
    """

    source: str
    target: str
    since: float


@attrs.frozen
class BusStatistics:
    """What has happened on a bus.

    Args:
        subscribers: How many there are.
        posted: Messages handed in.
        delivered: Deliveries; a broadcast may have many, or none.
        dead_letters: Messages for names that nobody had.
        over_capacity: Posts that went into a full mailbox all the same.
        tap_losses: Messages that taps lost because they were slow.
        waiting: The sends that wait for room.
    """

    subscribers: int
    posted: int
    delivered: int
    dead_letters: int
    over_capacity: int
    tap_losses: int
    waiting: tuple[SenderWaiting, ...]


@attrs.define(eq=False, repr=False)
class _Tap:
    size: int
    send: trio.MemorySendChannel[BusMessage]
    receive: trio.MemoryReceiveChannel[BusMessage]

    def offer(self, message: BusMessage) -> int:
        """Hand over; return how many older messages had to go for it."""
        try:
            self.send.send_nowait(message)
        except trio.WouldBlock:
            self.receive.receive_nowait()
            self.send.send_nowait(message)
            return 1
        except trio.BrokenResourceError:
            return 1
        return 0


class WorkerBus(ABC):
    """What carries messages between workers. Use :class:`LocalBus`, or subclass this for a bus that leaves the process.

    Args:
        mailbox_capacity: How many data messages may wait at one worker before ``send`` to it waits; ``None`` for no bound. A soft
            bound: ``post``, and a ``send`` from inside a lane's hook, ignore it and are counted.
        new_id: Where job ids come from; if left out, from where :func:`sources` says, or from a random prefix and a counter.
        strict: Whether every ``send`` is a schedule point, as trio's own rule has it, and not one in 32.

    Raises:
        TypeError: The capacity is no number.
        ValueError: The capacity is below 1.

    Reference: WorkerBus.
    """

    def __init__(self, *, mailbox_capacity: float | None = None, new_id: IdSource | None = None, strict: bool = False) -> None:
        self._capacity = float("inf") if mailbox_capacity is None else check_seconds(mailbox_capacity, "mailbox_capacity")
        if self._capacity < 1:
            raise ValueError(f"mailbox_capacity must be at least 1 message, not {mailbox_capacity!r}")
        self.new_id: IdSource = new_id or present_ids()
        self.observers: Observers = Observers()
        self._inboxes: dict[str, Inbox] = {}
        self._listeners: dict[type, dict[str, Inbox]] = {}
        self._underway: deque[BusMessage] = deque()
        self._delivering = False
        self._taps: list[_Tap] = []
        self._waiting: dict[int, SenderWaiting] = {}
        self._pace = 1 if strict else PACE
        self._sends = 0
        self._posted = self._delivered = self._dead_letters = self._over_capacity = self._tap_losses = 0

    @abstractmethod
    def publish(self, message: BusMessage) -> bool:
        """Hand a message that is not only for this process to the outside. Sync; must not block.

        Returns:
            Whether somebody out there may receive it; ``False`` makes a targeted message a dead letter.
        """

    @asynccontextmanager
    async def serving(self, roster: Roster) -> AsyncIterator[None]:
        """Carry messages for a runner, whose registry is given, while the block runs: its workers live inside.

        A bus that needs a connection or tasks has them here. On leaving, what the last worker has said is still sent.

        Raises:
            BusConnectionError: The bus cannot be reached.
            DuplicateWorkerError: The runner's name is taken.
        """
        del roster
        yield

    async def claim(self, name: str) -> None:
        """Make sure that this name is nobody's elsewhere: called for each root, before it is ready.

        Raises:
            DuplicateWorkerError: Another runner has a root, or is, of that name.
        """
        del name

    # -- who is there ------------------------------------------------------------------------------------------------------

    def subscribe(self, inbox: Inbox) -> None:
        """Deliver to this inbox from now on.

        Raises:
            DuplicateWorkerError: Its name is taken.
        """
        if inbox.name in self._inboxes:
            raise DuplicateWorkerError(
                f"the name {inbox.name!r} is taken on this bus: choose another, or wait until its worker has finished"
            )
        self._inboxes[inbox.name] = inbox
        inbox.subscribed(self.observers)
        self.listen(inbox)

    def listen(self, inbox: Inbox) -> None:
        """Take notice of which broadcasts the inbox listens to, now that it may be more; nothing if it is not subscribed."""
        if self._inboxes.get(inbox.name) is inbox:
            for cls in inbox.listens_to():
                self._listeners.setdefault(cls, {})[inbox.name] = inbox

    def unsubscribe(self, inbox: Inbox) -> None:
        """Deliver nothing more to this inbox; its name is free. Harmless if it was not subscribed."""
        if self._inboxes.get(inbox.name) is inbox:
            del self._inboxes[inbox.name]
            for listeners in self._listeners.values():
                listeners.pop(inbox.name, None)

    def __contains__(self, name: object) -> bool:
        """Whether the name is taken here."""
        return name in self._inboxes

    # -- sending -----------------------------------------------------------------------------------------------------------

    @trio.lowlevel.enable_ki_protection
    def post(self, message: BusMessage) -> None:
        """Send without waiting: the message has taken effect when this returns (or, inside another post's effects, soon after).

        ::

            bus.post(PriceChanged(source="shop", target="till", cents=250))

        Safe in ``finally`` and while being cancelled.

        Raises:
            TypeError: It is no message.
            WireError: It has to leave the process, and cannot: it holds something that has no bytes, or is too large.
            RuntimeError: It is called from inside an observer's hook.
        """
        if not isinstance(message, BusMessage):
            raise TypeError(f"only messages can be posted, not {message!r}")
        if self.observers.telling:
            raise RuntimeError("observers read and do not act: nothing can be posted from inside an observer's hook")
        self.hand_in(message)

    @trio.lowlevel.enable_ki_protection
    def hand_in(self, message: BusMessage) -> None:
        """Post from anywhere: for what a garbage collection may cause, which knows no right moment."""
        if self._delivering:
            self._underway.append(message)
            return
        self._delivering = True
        try:
            self._route(message)
            while self._underway:
                self._route(self._underway.popleft())
        except BaseException as error:  # perhaps a publish's: the rest is delivered all the same
            self._deliver_rest(error)
            raise
        finally:
            self._delivering = False
            if self._underway:  # a garbage collection, between the last look and here
                self.hand_in(self._underway.popleft())

    def _deliver_rest(self, first: BaseException) -> None:
        failed, last = 0, ""
        while self._underway:
            try:
                self._route(self._underway.popleft())
            except BaseException as error:  # noqa: BLE001, ASYNC103 - told with the first, which is raised
                failed, last = failed + 1, describe(error)
        if failed:
            first.add_note(f"{failed} more messages, posted meanwhile, could not be delivered either; the last: {last}")

    def check(self, message: BusMessage) -> None:
        """Do nothing, if a message can be sent to its target: for those who must know before they do something else.

        Raises:
            WireError: It has to leave the process, and cannot.
        """
        del message

    async def send(self, message: BusMessage) -> None:
        """Send, after waiting for room in a bounded mailbox.

        ::

            await bus.send(PriceChanged(source="shop", target="till", cents=250))

        Always a cancel point, and a schedule point at least once in 32 sends; each time, if the bus is strict. If it is cancelled,
        nothing was sent.

        Raises:
            TypeError: It is no message.
            WireError: It has to leave the process, and cannot.
        """
        if not isinstance(message, BusMessage):
            raise TypeError(f"only messages can be sent, not {message!r}")
        await self.pace()
        if message.target is not None and message.priority is Priority.DATA:
            room = self._lacks_room(message, message.target)
            if room is not None and not any(inbox.is_inside_hook() for inbox in self._inboxes.values()):
                await self._wait_for_room(room, message.source, message.target)
        self.post(message)

    async def pace(self) -> None:
        """A cancel point, and one time in 32 a schedule point: what every async verb that sends starts with."""
        self._sends += 1
        if self._sends % self._pace:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            await trio.lowlevel.checkpoint()

    # -- looking on --------------------------------------------------------------------------------------------------------

    @contextmanager
    def tap(self, size: int = 1024) -> Iterator[trio.MemoryReceiveChannel[BusMessage]]:
        """Listen in on everything posted here.

        ::

            with bus.tap() as messages:
                async for message in messages:
                    print(message)

        Args:
            size: How many messages may wait; a tap that is slower than the bus loses its oldest, which ``statistics()`` counts.

        Raises:
            ValueError: ``size`` is below 1.
        """
        if size < 1:
            raise ValueError(f"a tap must hold at least 1 message, not {size!r}")
        tap = _Tap(size, *trio.open_memory_channel[BusMessage](size))
        self._taps.append(tap)
        try:
            yield tap.receive
        finally:
            self._taps.remove(tap)
            tap.send.close()

    def add_observer(self, observer: Observer) -> None:
        """Tell an observer, from now on, after those that were added before; nothing happens if it is there already.

        ::

            bus.add_observer(Diary())

        Raises:
            TypeError: It is no :class:`Observer`, or one of its hooks is ``async``.
        """
        self.observers.add(observer)

    def remove_observer(self, observer: Observer) -> None:
        """Tell an observer nothing any more.

        Raises:
            LookupError: It is not there: it was never added, or it has raised, and was detached.
        """
        self.observers.remove(observer)

    def statistics(self) -> BusStatistics:
        """A snapshot."""
        return BusStatistics(
            subscribers=len(self._inboxes),
            posted=self._posted,
            delivered=self._delivered,
            dead_letters=self._dead_letters,
            over_capacity=self._over_capacity,
            tap_losses=self._tap_losses,
            waiting=tuple(self._waiting.values()),
        )

    # -- inside ------------------------------------------------------------------------------------------------------------

    def _route(self, message: BusMessage) -> None:
        self._posted += 1
        if tell := self.observers.message_posted:
            tell(message)
        for tap in self._taps:
            self._tap_losses += tap.offer(message)
        if message.target is None:
            self._broadcast(message)
            return
        inbox = self._receiver(message, message.target)
        if inbox is not None:
            if inbox.data.waiting >= self._capacity and message.priority is Priority.DATA:
                self._over_capacity += 1
            self._hand_over(message, inbox)
        elif message.local or not self.publish(message):
            self._dead_letter(message)

    def _broadcast(self, message: BusMessage) -> None:
        receivers: dict[str, Inbox] = {}
        for cls in type(message).__mro__:
            receivers |= self._listeners.get(cls, {})
        for inbox in receivers.values():
            self._hand_over(message, inbox)
        if not message.local:
            self.publish(message)

    def _hand_over(self, message: BusMessage, inbox: Inbox) -> None:
        self._delivered += 1
        if tell := self.observers.message_delivered:
            tell(message, inbox.name)
        inbox.deliver(message)

    def _dead_letter(self, message: BusMessage) -> None:
        self._dead_letters += 1
        if tell := self.observers.message_dropped:
            tell(message, None, "dead letter")
        bounced = message.bounce(f"no worker {message.target!r} here: it is not there yet, or has finished")
        if bounced is not None:
            self._underway.append(bounced)

    def _receiver(self, message: BusMessage, target: str) -> Inbox | None:
        """Whose it is, if it stays here."""
        del message
        return self._inboxes.get(target)

    def _lacks_room(self, message: BusMessage, target: str) -> Callable[[], Awaitable[None]] | None:
        """How to wait for room at the receiver; ``None`` if there is room."""
        inbox = self._receiver(message, target)
        if inbox is None or inbox.data.waiting < self._capacity:
            return None
        return partial(inbox.room, self._capacity)

    async def _wait_for_room(self, room: Callable[[], Awaitable[None]], source: str, target: str) -> None:
        key = id(trio.lowlevel.current_task())
        self._waiting[key] = SenderWaiting(source, target, trio.current_time())
        try:
            await room()
        finally:
            del self._waiting[key]
