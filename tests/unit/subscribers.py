"""Subscribers of a bus that are no workers: an inbox, and a log."""

from __future__ import annotations

from typing import Any

import trio

from trioworkers import BusMessage
from trioworkers._hooks import Hooks, WorkerHooks
from trioworkers._load import Load
from trioworkers._routes import Effect
from trioworkers.bus import Inbox


class Subscriber(WorkerHooks):
    """Writes down each message of the classes it handles."""

    def __init__(self, name: str, *handled: type[BusMessage], log: list[Any] | None = None) -> None:
        self.log: list[Any] = [] if log is None else log
        self.load = Load()
        self.hooks = Hooks(self, WorkerHooks)
        self.inbox = Inbox(name, self.hooks, self.load, handlers=dict.fromkeys(handled, self.handle))

    async def handle(self, message: BusMessage) -> None:
        """Write it down."""
        self.log.append((self.inbox.name, message))

    def effect(self, cls: type[BusMessage], effect: Effect) -> None:
        """Do something on the arrival of messages of a class."""
        self.inbox.routes.claim(self, {cls: lambda _, message: effect(message)})

    def open(self, nursery: trio.Nursery) -> None:
        """Run the lanes."""
        self.inbox.system.open(nursery)
        nursery.start_soon(self.inbox.data.serve)


class Curious(Subscriber):
    """Wants to see every message."""

    async def on_bus_message(self, message: BusMessage) -> None:
        """Write it down."""
        self.log.append((self.inbox.name, "saw", message))
