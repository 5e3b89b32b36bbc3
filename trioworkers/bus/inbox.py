"""What a subscriber of the bus has: effects on arrival, and two lanes of hooks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs
import trio

from .._hooks import Hooks
from .._load import Load
from .._routes import Effect, Routes
from ..messages import BusMessage, Priority
from ..observers import NOBODY, Observers
from .lane import Lane, lineage

Call = tuple[str, *tuple[object, ...]]
"""One hook to fire: its name, its arguments."""

Step = tuple[str, Callable[[Any], Any] | None, tuple[object, ...] | None]
"""One thing to run: its name; the method to call if it is a marked one, else it is a hook; with what, if not with the message."""

_EVERYTHING: Final[tuple[Step, ...]] = (("on_bus_message", None, None),)


def _never(error: BaseException) -> bool:
    del error
    return False


@attrs.define(eq=False, repr=False)
class Showing:
    """One arrival, as user code will see it.

    Args:
        message: What arrived; ``None`` if the arrival was no message.
        steps: What to run, in order, and with what.
        seen: What to do when all have run.
        still: Whether it still makes sense when its turn comes; ``None`` if it always does.
    """

    message: BusMessage | None = None
    steps: tuple[Step, ...] = ()
    seen: Callable[[], None] | None = None
    still: Callable[[], bool] | None = None


def one(call: Call, seen: Callable[[], None] | None = None) -> Showing:
    """Of an arrival that was no message, one hook."""
    return Showing(None, ((call[0], None, call[1:]),), seen)


@attrs.frozen
class MailboxStatistics:
    """What waits in an inbox.

    Args:
        system: System messages whose hooks have not started.
        data: The same for data messages.
        peak: The most data messages that ever waited.
        handled: Messages whose hooks have run.
        dropped: Messages whose hooks never will: the worker was cancelled or had finished.
        unhandled: Messages of a class that this subscriber does nothing with.
    """

    system: int
    data: int
    peak: int
    handled: int
    dropped: int
    unhandled: int


@attrs.define(eq=False, repr=False)
class Inbox:
    """One subscriber of the bus: *effects on arrival, hooks in order*.

    :meth:`deliver` is called by the bus, synchronously, in the sender's task. It runs the effect that a part of the subscriber
    claimed for this class of message, and the effect decides by :meth:`show` what user code will see of it, in which lane.

    Args:
        name: The subscriber's name.
        hooks: Its hooks.
        load: What it still has to do.
        forgives: Whether an exception that a hook raises is nobody's affair any more.
        handlers: The methods marked for messages, by class.
        broadcasts: The classes of broadcasts that take effect here, whether or not anybody wants to see them.
    """

    name: str
    hooks: Hooks
    load: Load
    _forgives: Callable[[BaseException], bool] = _never
    _handlers: dict[type[BusMessage], Callable[[Any], Any]] = attrs.field(factory=dict, alias="handlers")
    _broadcasts: tuple[type[BusMessage], ...] = attrs.field(default=(), alias="broadcasts")
    unhandled: int = attrs.field(default=0, init=False)
    _marked: dict[type[BusMessage], tuple[Step, ...]] = attrs.field(factory=dict, init=False)
    observers: Observers = attrs.field(default=NOBODY, init=False)
    routes: Routes = attrs.field(init=False)
    system: Lane[Showing] = attrs.field(init=False)
    data: Lane[Showing] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Make the two lanes, the system one ahead."""
        self.routes = Routes(self._plain)
        lost = self._lost
        self.system = Lane("system", self.name, self.perform, self.load, lost=lost)
        self.data = Lane("data", self.name, self.perform, self.load, ahead=self.system, lost=lost)

    def subscribed(self, observers: Observers) -> None:
        """It is on a bus; these look on there."""
        self.observers = observers

    def deliver(self, message: BusMessage) -> None:
        """Let one message take effect."""
        effect: Effect = self.routes.of(type(message))
        effect(message)

    def listens_to(self) -> tuple[type[BusMessage], ...]:
        """The classes of broadcasts to be told of (their subclasses included)."""
        everything = (BusMessage,) if self.hooks.wants("on_bus_message") else ()
        return (*everything, *self._broadcasts, *self._handlers)

    def would_show(self, message: BusMessage, hook: str) -> bool:
        """Whether :meth:`show` would queue anything for a message, and the hook of that name."""
        wanted = self.hooks.wanted
        return hook in wanted or "on_bus_message" in wanted or bool(self._methods_for(type(message)))

    def show(
        self,
        message: BusMessage,
        *calls: Call,
        lane: Lane[Showing] | None = None,
        seen: Callable[[], None] | None = None,
        still: Callable[[], bool] | None = None,
    ) -> bool:
        """Queue what user code wants to see of a message.

        Args:
            message: The message; ``on_bus_message`` and marked methods see it too.
            calls: The hooks made for it.
            lane: Where, if not by the message's priority.
            seen: Called when all have run, or at once if nobody wants to see it.
            still: Asked again when its turn comes; if not, nobody sees it.

        Returns:
            Whether anything was queued.
        """
        wanted = self.hooks.wanted
        steps = self._methods_for(type(message))
        for call in calls:
            if call[0] in wanted:
                steps = (*steps, (call[0], None, call[1:]))
        if "on_bus_message" in wanted:
            steps += _EVERYTHING
        if not steps:
            if seen is not None:
                seen()
            return False
        (lane or self.lane_of(message)).put(Showing(message, steps, seen, still))
        return True

    def _methods_for(self, kind: type[BusMessage]) -> tuple[Step, ...]:
        marked = self._marked.get(kind)
        if marked is None:
            found = [(f"handles:{cls.__name__}", method, None) for cls, method in self._handlers.items() if issubclass(kind, cls)]
            marked = self._marked[kind] = tuple(found)
        return marked

    async def perform(self, lane: str, showing: Showing) -> None:
        """Run all that user code wants to see of one arrival, in the lane of that name."""
        if showing.still is not None and not showing.still():
            return
        for label, method, given in showing.steps:
            arguments = (showing.message,) if given is None else given
            if tell := self.observers.hook_started:
                tell(self.name, lane, label, arguments[0] if arguments else None)
            error: BaseException | None = None
            try:
                await (self.hooks.fire(label, *arguments) if method is None else method(*arguments))
            except BaseException as raised:
                error = raised
                if self._forgives(raised):
                    return  # noqa: ASYNC104 - a job's error, never a Cancelled
                raise
            finally:
                if end := self.observers.hook_ended:
                    end(self.name, lane, label, error)
                error = None  # or it would hold this frame, which holds it
        if showing.seen is not None:
            showing.seen()

    def call(self, call: Call, *, lane: Lane[Showing] | None = None, seen: Callable[[], None] | None = None) -> None:
        """Queue one hook that is about no message, in the data lane unless told otherwise; only if somebody wants it."""
        if self.hooks.wants(call[0]):
            (lane or self.data).put(one(call, seen))
        elif seen is not None:
            seen()

    async def shown(self, call: Call, *, lane: Lane[Showing]) -> None:
        """Queue a hook that is about no message and wait until it has run, or would have; returns at once if the lane is closed."""
        if not lane.closed:
            done = trio.Event()
            lane.put(one(call, done.set) if self.hooks.wants(call[0]) else Showing(seen=done.set))
            await done.wait()

    def lane_of(self, message: BusMessage) -> Lane[Showing]:
        """The lane for a message's priority."""
        return self.system if message.priority is Priority.SYSTEM else self.data

    def close(self) -> None:
        """Show nothing more; what waits is dropped and counted. Effects go on until the bus is told to forget this inbox."""
        self.data.close()
        self.system.close()

    @property
    def is_closed(self) -> bool:
        """Whether nothing more is shown."""
        return self.system.closed

    async def room(self, capacity: float) -> None:
        """Wait until fewer than ``capacity`` data messages wait, or the lane is closed."""
        while self.data.waiting >= capacity and not self.data.closed:
            await self.data.moved()

    def is_inside_hook(self) -> bool:
        """Whether the present code runs inside a hook of a lane, itself or in a nursery that the hook has opened."""
        busy = [lane for lane in (self.data, self.system) if lane.busy]
        return bool(busy) and any(lane.is_hook_at(step) for step in lineage() for lane in busy)

    def lane_around(self) -> Lane[Showing] | None:
        """The lane whose running hook may be waiting for the present code: the code runs in that lane's task, or below it.

        A data lane's task is its worker's own, so jobs are below it: the hook may have asked for one, by whatever way.
        """
        if not (self.data.busy or self.system.busy):
            return None
        busy = [lane for lane in (self.data, self.system) if lane.busy]
        return next((lane for task, _ in lineage() for lane in busy if lane.task is task), None)

    def statistics(self) -> MailboxStatistics:
        """A snapshot."""
        return MailboxStatistics(
            self.system.waiting,
            self.data.waiting,
            self.data.peak,
            self.data.handled + self.system.handled,
            self.data.dropped + self.system.dropped,
            self.unhandled,
        )

    def lose(self, message: BusMessage, why: str) -> None:
        """Tell whoever looks on that a message was dropped here."""
        if tell := self.observers.message_dropped:
            tell(message, self.name, why)

    def _lost(self, showing: Showing) -> None:
        if showing.message is not None:
            self.lose(showing.message, "stopped")

    def _plain(self, message: BusMessage) -> None:
        if not self.show(message):
            self.unhandled += 1
