"""Being on the bus: one incarnation after the other, and the names that they hold.

An incarnation ends when the transport says so: it was taken for dead, or the server has lost what it knew. Then everybody else is
gone for it, and there is another one at once, with the same names. If one of those was claimed by somebody else meanwhile, it is not
ours any more: there is one of each.

**What is being said outlasts a cancellation.** While the workers wind down they have something to say, so a runner that is cancelled
stays on the bus until they are gone; :meth:`Membership.held` ends it then, and waits for the last words to be written, but not for
ever.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import attrs
import trio

from ..._leaves import flat_group, leaves
from ..._sources import random_name
from ...errors import BusConnectionError, DuplicateWorkerError
from ...types import Loss
from .session import Session
from .transport import NameTakenError, SessionOver, Transport

_RETRY: Final = 1.0
"""After so many seconds a runner that could not come back tries again."""


class _Joined(trio.TaskStatus[None]):
    """Passes ``started()`` on, the first time; tells the membership each time."""

    def __init__(self, tell: Callable[[], None], first: trio.TaskStatus[None]) -> None:
        self._tell = tell
        self._first: trio.TaskStatus[None] | None = first

    def started(self, value: None = None) -> None:
        """The incarnation is a member."""
        self._tell()
        if self._first is not None:
            first, self._first = self._first, None
            first.started(value)

    @property
    def is_first(self) -> bool:
        """Whether nothing has been started yet."""
        return self._first is not None


@attrs.frozen(kw_only=True, eq=False)
class Bearings:
    """What a membership needs of the bus whose it is.

    Args:
        new_session: Makes one incarnation of this id, which claims these names.
        evict: A worker here has lost its name; the second argument says why.
        runner_of: What the runner of an incarnation is called.
        tick: Some time has passed.
    """

    new_session: Callable[[str, Collection[str]], Session]
    evict: Callable[[str, str], None]
    runner_of: Callable[[str], str]
    tick: Callable[[], None]


@attrs.define(eq=False)
class Membership:
    """One runner's place on the bus.

    Args:
        transport: What makes it a member.
        bearings: What it needs of the bus.
        beat: How many seconds lie between two ticks.
        leave_timeout: How many seconds are spent on leaving.
        session: The present incarnation; ``None`` if this runner is not on the bus.
        nursery: Where tasks of the bus live, as long as it is.
        claims: The names it holds.
        resets: How often it has lost its place, and begun again.
    """

    _transport: Transport
    _bearings: Bearings
    _beat: float
    _leave_timeout: float
    session: Session | None = attrs.field(default=None, init=False)
    nursery: trio.Nursery | None = attrs.field(default=None, init=False)
    claims: dict[str, None] = attrs.field(factory=dict, init=False)
    resets: int = attrs.field(default=0, init=False)
    _joined: trio.Event = attrs.field(factory=trio.Event, init=False)
    _over: trio.Event = attrs.field(factory=trio.Event, init=False)
    _leaving: bool = attrs.field(default=False, init=False)

    @property
    def present(self) -> Session:
        """The present incarnation, where there must be one."""
        assert self.session is not None  # noqa: S101 - one follows the other without a pause, as long as this runner is on the bus
        return self.session

    @property
    def incarnation(self) -> str | None:
        """The id of the present incarnation, if it has joined."""
        return self.session.incarnation if self.session is not None and self._joined.is_set() else None

    # -- from the first incarnation to the last ----------------------------------------------------------------------------

    @asynccontextmanager
    async def held(self, runner: str) -> AsyncIterator[None]:
        """Be a member while the block runs; what it raises comes out as it is, unless the bus itself has failed.

        Raises:
            BusConnectionError: The bus cannot be reached.
            DuplicateWorkerError: The runner's name is taken.
        """
        outcome: BaseException | None = None
        failure: list[BaseException] = []
        try:
            async with trio.open_nursery() as nursery:
                try:
                    await nursery.start(self._keep, runner)
                    yield
                except BaseException as error:  # noqa: BLE001, ASYNC103 - raised below, without the nursery's wrapping
                    outcome = error
                finally:
                    await self._leave()  # noqa: ASYNC102 - it shields itself
        except BaseExceptionGroup as group:  # the bus itself has failed, and has cancelled the block for it
            failure = leaves(group)
        if failure:
            errors = [error for error in (leaves(outcome) if outcome else []) if not isinstance(error, trio.Cancelled)]
            raise flat_group(f"the bus of runner {runner!r} failed", [*failure, *errors])
        if outcome is not None:
            raise outcome

    async def _keep(self, runner: str, *, task_status: trio.TaskStatus[None]) -> None:
        self.claims[runner] = None
        failure: Exception | None = None
        try:
            with trio.CancelScope() as scope:  # noqa: ASYNC912 - to be a member waits
                status = _Joined(partial(self._has_joined, scope), task_status)
                async with trio.open_nursery() as self.nursery:
                    try:
                        await self._be_members(self.nursery, runner, status)
                    except Exception as error:  # noqa: BLE001 - raised below, without the nursery's wrapping
                        failure = error
                    self.nursery.cancel_scope.cancel(reason="the runner has left the bus")
        finally:
            self.nursery = None
            self._over.set()
        if failure is not None:
            raise failure

    def _has_joined(self, scope: trio.CancelScope) -> None:
        scope.shield = True
        self._joined.set()

    async def _be_members(self, nursery: trio.Nursery, runner: str, status: _Joined) -> None:
        nursery.start_soon(self._tick, name="bus:tick")
        last: str | None = None
        while not self._leaving:
            last = await self._be_member(runner, last, status)

    async def _be_member(self, runner: str, last: str | None, status: _Joined) -> str | None:
        incarnation = random_name(runner)
        session = self.session = self._bearings.new_session(incarnation, self.claims)
        try:
            await self._transport.run(session, replaces=last, task_status=status)
        except SessionOver as error:
            self.resets += 1
            self._joined = trio.Event()
            self._part(session, f"this runner has lost its place on the bus: {error}")
            return incarnation
        except NameTakenError as error:
            self._lose_name(error, runner)
        except BusConnectionError:
            if status.is_first:
                raise
            await trio.sleep(_RETRY)
        finally:
            self._part(session, "this runner has left the bus")
            self.session = None
        return last

    @staticmethod
    def _part(session: Session, reason: str) -> None:
        for peer in list(session.peers.values()):
            session.lose(peer, Loss.BUS_RESET, reason)

    def _lose_name(self, error: NameTakenError, runner: str) -> None:
        if error.name == runner:
            raise self._duplicate(error)
        self.claims.pop(error.name, None)
        self._bearings.evict(error.name, f"while this runner was away from the bus, its name was claimed by {error.owner!r}")

    async def _tick(self) -> None:
        while True:
            await trio.sleep(self._beat)
            self._bearings.tick()
            self.present.tick()

    async def _leave(self) -> None:
        """Say what is left to be said, and go; not for ever, if nobody listens."""
        self._leaving = True
        nursery = self.nursery
        if nursery is not None:
            session = self.present  # there will not be another
            with trio.CancelScope(shield=True), trio.move_on_after(self._leave_timeout):
                await session.wait_flushed()
                await trio.lowlevel.checkpoint_if_cancelled()  # who has no time says nothing
                session.leave()
                await self._over.wait()
            nursery.cancel_scope.cancel(reason="the bus could not be left in time")

    # -- names -------------------------------------------------------------------------------------------------------------

    @property
    def may_claim(self) -> bool:
        """Whether there is somebody to claim a name from: it is on the bus, and stays there."""
        return self.nursery is not None and not self._leaving

    async def claim(self, name: str) -> None:
        """Hold a name from now on, in this incarnation and in all that follow; waits for a connection if there is none.

        Raises:
            DuplicateWorkerError: It belongs to somebody else who is alive.
        """
        self.claims[name] = None
        held = False
        try:
            while not held:
                held = await self._claimed(name)
        finally:
            if not held:
                self.disclaim(name)

    async def _claimed(self, name: str) -> bool:
        try:
            await self._transport.claim(name)
        except SessionOver:
            await self._joined.wait()
            return False
        except NameTakenError as error:
            raise self._duplicate(error) from None
        return True

    def disclaim(self, name: str) -> None:
        """Give a name back."""
        self.claims.pop(name, None)
        self._transport.release([name])

    def _duplicate(self, error: NameTakenError) -> DuplicateWorkerError:
        owner = self._bearings.runner_of(error.owner)
        return DuplicateWorkerError(
            f"the name {error.name!r} is taken on this bus by runner {owner!r}: choose another, or wait until it is free"
        )
