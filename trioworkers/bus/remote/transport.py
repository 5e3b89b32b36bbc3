"""What lies between two buses: frames go from one runner to another, and everybody knows who is there.

A transport moves *frames* (bytes) and keeps the *membership*; it knows nothing of workers, messages or jobs. It may lose frames when
its connection is lost, may bring some twice, and keeps those of one sender, receiver and lane in order while a connection lasts: the
:class:`~trioworkers.bus.remote.link.Link` above it numbers, acknowledges and repeats them. What it must never do is to disagree about
who is a member: an *incarnation*, one life of one runner on the bus, is a member from one moment to another, and never again.

The bus is not called from here but for the plain functions of a :class:`Station`: nothing in them waits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Protocol

import attrs
import trio

from ...errors import WorkersError


@attrs.define
class Parcel:
    """A frame on its way.

    Args:
        receiver: The incarnation it is for.
        lane: Whether it is urgent: 0 for the system lane, 1 for the data lane, as :class:`~trioworkers.messages.Priority` has it.
        data: The frame.
    """

    receiver: str
    lane: int
    data: bytes


class SessionOver(WorkersError):  # noqa: N818 - it is how a session ends, whoever is to blame
    """This incarnation is no member any more, and will never be again: the bus starts another one."""


class NameTakenError(WorkersError):
    """A name is claimed by another incarnation that is alive.

    Args:
        name: The name.
        owner: The incarnation.
    """

    def __init__(self, name: str, owner: str) -> None:
        super().__init__(name, owner)
        self.name = name
        self.owner = owner


class Station(Protocol):
    """One incarnation of a runner, as its transport sees it. Every method but :meth:`wait_outgoing` is sync and returns at once."""

    @property
    def incarnation(self) -> str:
        """Its id; unique for ever."""
        ...

    @property
    def claims(self) -> Collection[str]:
        """The names it holds: its runner's, its roots'. To be claimed in one step when it joins."""
        ...

    @property
    def leaving(self) -> trio.Event:
        """Set when everything outgoing should be written, and the membership given up."""
        ...

    prompt: Callable[[], bool] | None
    """If the transport sets it: called when something was said that :meth:`outgoing` can give, in the same step. If it returns true,
    nobody need be woken for it any more by :meth:`wait_outgoing`."""

    async def wait_outgoing(self) -> None:
        """Wait until :meth:`outgoing` has something to give, or :attr:`leaving` is set."""
        ...

    def outgoing(self, limit: int) -> list[Parcel]:
        """Take up to ``limit`` frames to write, in order.

        They are given again after the next :meth:`connected`, unless they have been acknowledged.
        """
        ...

    def connected(self) -> None:
        """Frames can be written and read (again)."""
        ...

    def disconnected(self, reason: str) -> None:
        """The connection is lost; it will be tried again."""
        ...

    def arrived(self, frames: Iterable[bytes]) -> None:
        """Some frames have been read, in this order."""
        ...

    def members(self, present: Collection[str]) -> None:
        """Who is a member now, this one left out or not: the whole list, whenever it has changed.

        Everything that those who are missing have written for this one has arrived before: a farewell comes after the last words.
        """
        ...

    def unreachable(self, receiver: str) -> None:
        """A frame could not be written, for its receiver has no place to write it to: it will soon be missing, or is back."""
        ...


class Transport(ABC):
    """What carries the frames of one bus for one runner."""

    @abstractmethod
    async def run(self, station: Station, *, replaces: str | None, task_status: trio.TaskStatus[None]) -> None:
        """Be a member as this station until it wants to leave; connect as often as need be.

        ``started()`` is called when it is a member, the members have been told, and frames flow. Until then, errors are raised as they
        are; later, a lost connection is connected again.

        Args:
            station: Who is a member.
            replaces: The incarnation that the same runner had before, if it had one: it is no member from now on.
            task_status: For ``nursery.start``.

        Raises:
            SessionOver: This incarnation is no member any more: it was taken for dead, the server has lost what it knew, or it could
                not be reached for too long.
            NameTakenError: It cannot be a member: one of the names it claims belongs to somebody else.
            BusConnectionError: The bus cannot be reached, or refuses; only before ``started()``.

        If it is cancelled, it is left as if it had crashed: the others find out in their time.
        """

    @abstractmethod
    async def claim(self, name: str) -> None:
        """Hold a name; waits for a connection, and for the verdict on an owner that is silent.

        Raises:
            NameTakenError: Somebody else holds it, and is alive.
            SessionOver: The incarnation that claims is over.
        """

    @abstractmethod
    def release(self, names: Sequence[str]) -> None:
        """Give names back, soon; one that the station claims again by then is kept."""
