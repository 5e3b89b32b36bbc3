"""One connection to a Redis server, shared by any number of tasks.

**Order is all there is.** RESP2 numbers nothing: the n-th reply answers the n-th command. So a command is written, or it is not; and
whoever asked, its reply is waited for by the line itself. A caller packs its commands, hands them to the carrier and adds itself to
the end of a queue, all in one step that awaits nothing; what the carrier does not take at once, a task writes, and everything that is
given until then goes behind it. Another task reads replies and tells the first in the queue, in place. A caller that is cancelled
leaves its place in the queue behind, which takes its replies and drops them: a cancel can neither tear a command nor shift a reply.

**In a hurry, or not.** Somebody waits for most replies. Of those to what is posted, one only wants to know at some time that they are
good: for their sake nobody is woken before there are many of them, or somebody waits for one after them.

**Lost once, lost for all.** Whatever breaks a line (the stream ends, a reply that is none, one that nobody has asked for, silence) is
written down as its one :class:`LineLost`, which everybody who waits, and everybody who comes later, is told. A line is not repaired;
another one is opened.

**Silence.** Each call says how long the server may be silent while it waits. Bytes for somebody before it in the queue are a sign of
life: a large reply takes the time it takes.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, TypeAlias

import attrs
import trio

from ..._moment import Moment
from .carrier import Carrier
from .replies import NOT_NOW, Argument, Command, NotRedisError, RedisReplyError, Reply, Speech

Answered: TypeAlias = Callable[[list[Reply]], object]

_MANY: Final = 4096
"""So many bytes of replies for which nobody waits may lie unread."""


class LineLost(Exception):  # noqa: N818 - what has happened, not what somebody did wrong
    """The connection is gone; whether the command was executed, nobody can say.

    Args:
        reason: Why, in words.
        code: The server's own code, if it was the server who said so.
    """

    def __init__(self, reason: str, code: str | None = None) -> None:
        super().__init__(reason, code)
        self.reason = reason
        self.code = code

    def __str__(self) -> str:
        """The reason."""
        return self.reason


def _nobody(replies: list[Reply]) -> None:
    """Whoever asked waits, or has gone."""


@attrs.define(eq=False)
class _Call(Moment):
    """A place in the queue: how many replies are missing, and those that have come. It is over with the last, or with the line."""

    missing: int
    since: float
    silence: float
    answered: Answered
    replies: list[Reply] = attrs.field(factory=list)


class RedisLine:
    """One connection. Made by :func:`serve_line` or :func:`~trioworkers.bus.redis.dial.open_line`.

    Args:
        carrier: What carries it.
        silence: How many seconds the server may be silent while a call waits, if the call does not say.
    """

    def __init__(self, carrier: Carrier, *, silence: float) -> None:
        self._carrier = carrier
        self._silence = silence
        self._speech = Speech()
        self._unwritten: list[bytes] = []
        self._to_write = trio.Event()
        self._entering: deque[tuple[_Call, bytes]] = deque()
        self._is_entering = False
        self._queue: deque[_Call] = deque()
        self._urgent: _Call | None = None
        self._heard = trio.current_time()
        self._lost: LineLost | None = None
        self._ended = trio.Event()
        self._watching = trio.CancelScope()

    @property
    def lost(self) -> LineLost | None:
        """Why it is lost, if it is."""
        return self._lost

    async def wait_lost(self) -> LineLost:
        """Wait until it is lost, and return why."""
        await self._ended.wait()
        assert self._lost is not None  # noqa: S101 - set before the event
        return self._lost

    async def execute(self, *args: Argument, silence: float | None = None) -> Reply:
        """Give one command, and return its reply.

        ::

            members = await line.execute("ZRANGE", key, 0, -1)

        If it is cancelled, the command may have been executed.

        Raises:
            RedisReplyError: The server has answered with an error.
            LineLost: The line is lost.
            TypeError: An argument is neither text nor bytes nor a number.
        """
        (reply,) = await self.pipeline([args], silence=silence)
        if isinstance(reply, RedisReplyError):
            raise reply
        return reply

    async def pipeline(self, commands: Sequence[Command], *, silence: float | None = None) -> list[Reply]:
        """Give some commands at once, with nobody's in between, and return their replies; errors are among them, not raised.

        Raises:
            LineLost: The line is lost.
            TypeError: An argument is neither text nor bytes nor a number: none of the commands is given.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if not commands:
            return []
        call = self._give(commands, _nobody, silence)
        await self._over(call)
        return call.replies

    def give(self, commands: Sequence[Command], answered: Answered, *, silence: float | None = None) -> None:
        """Give some commands at once, without waiting; ``answered`` is called with their replies by the task that reads.

        Nothing is called when the line is lost; what ``answered`` raises comes out of :func:`serve_line`.

        Raises:
            LineLost: The line is lost.
            TypeError: An argument is neither text nor bytes nor a number: none of the commands is given.
        """
        self._give(commands, answered, silence)

    def post(self, commands: Sequence[Command], answered: Answered) -> None:
        """The same, without a hurry: ``answered`` is called when there are many replies, or when somebody waits for a later one.

        Raises:
            LineLost: The line is lost.
            TypeError: An argument is neither text nor bytes nor a number: none of the commands is given.
        """
        if self._urgent is None or not self._urgent.missing:
            self._carrier.wake_at(_MANY)
        self._enter(commands, answered, math.inf)

    async def settled(self) -> None:
        """Wait until everything that was given so far is answered. A schedule point only if something is not.

        Raises:
            LineLost: The line is lost.
        """
        if self._lost is not None:
            raise self._new_loss(self._lost)
        if self._queue:
            call = self._queue[-1]
            call.since = trio.current_time()
            call.silence = min(call.silence, self._silence)
            self._hurry(call)
            await self._over(call)

    def lose(self, reason: str, code: str | None = None) -> None:
        """Give the line up; nothing if it is lost already."""
        if self._lost is None:
            self._lost = LineLost(reason, code)
            self._ended.set()
            for call in self._queue:
                call.come()
            self._queue.clear()

    def _give(self, commands: Sequence[Command], answered: Answered, silence: float | None) -> _Call:
        call = self._enter(commands, answered, self._silence if silence is None else silence)
        self._hurry(call)
        return call

    @trio.lowlevel.enable_ki_protection
    def _enter(self, commands: Sequence[Command], answered: Answered, silence: float) -> _Call:
        """Take a place in the queue, and have the commands written: both or neither."""
        if self._lost is not None:
            raise self._new_loss(self._lost)
        data = self._speech.pack(commands)
        call = _Call(len(commands), trio.current_time(), silence, answered)
        self._entering.append((call, data))
        while self._entering and not self._is_entering:  # a garbage collection may give commands in the midst of this
            self._is_entering = True
            try:
                self._enter_first(*self._entering.popleft())
            finally:
                self._is_entering = False
        return call

    def _enter_first(self, call: _Call, data: bytes) -> None:
        if self._lost is None:
            self._queue.append(call)
            self._send(data)
        else:
            call.come()

    def _send(self, data: bytes) -> None:
        if not self._unwritten:
            try:
                data = data[self._carrier.send_now(data) :]
            except trio.BrokenResourceError as error:
                self._lose_for(error)
                return
        if data:
            self._unwritten.append(data)
            self._to_write.set()

    def _hurry(self, call: _Call) -> None:
        """Be woken for its replies, or for the lack of them."""
        self._urgent = call
        self._carrier.wake_at(1)
        limit = self._limit(call)
        if limit < self._watching.deadline:  # noqa: PLR1730 - to set a deadline costs something, and it seldom changes
            self._watching.deadline = limit

    async def _over(self, call: _Call) -> None:
        await call.wait()
        if call.missing and self._lost is not None:
            raise self._new_loss(self._lost)

    def _limit(self, call: _Call) -> float:
        return max(call.since, self._heard) + call.silence

    async def read(self) -> None:
        """Hand out replies until the line is lost: one of its three tasks."""
        try:
            while data := await self._carrier.receive_some():
                self._heard = trio.current_time()
                for reply in self._speech.feed(data):
                    self._answer(reply)
            self.lose("the server has closed the connection")
        except NotRedisError as error:
            self.lose(str(error))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._lose_for(error)

    async def watch(self) -> None:
        """Lose the line when the server is silent for too long: the third, so that a call need not have a deadline of its own."""
        while self._lost is None:
            with trio.CancelScope(deadline=min(map(self._limit, self._queue), default=math.inf)) as self._watching:
                await trio.sleep_forever()
            silent = next((call for call in self._queue if self._limit(call) <= trio.current_time()), None)
            if silent is not None:
                self.lose(f"the server was silent for {silent.silence:g} s")

    async def write(self) -> None:
        """Write what the carrier has not taken at once, until the line is lost: another one."""
        try:
            while True:
                await self._to_write.wait()
                count = len(self._unwritten)
                await self._carrier.send_all(b"".join(self._unwritten))
                del self._unwritten[:count]
                if not self._unwritten:
                    self._to_write = trio.Event()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._lose_for(error)

    def _lose_for(self, error: trio.BrokenResourceError | trio.ClosedResourceError) -> None:
        self.lose(f"the connection is broken: {error.__cause__ or error}")

    def _answer(self, reply: Reply) -> None:
        if self._lost is not None:
            return
        if isinstance(reply, RedisReplyError) and reply.code in NOT_NOW:
            self.lose(f"the server says {reply}", reply.code)
        elif not self._queue:
            self.lose(f"the server has answered what nobody has asked: {reply!r:.80}")
        else:
            self._hand_over(self._queue[0], reply)

    def _hand_over(self, call: _Call, reply: Reply) -> None:
        call.replies.append(reply)
        call.missing -= 1
        if not call.missing:
            self._queue.popleft()
            call.come()
            call.answered(call.replies)

    @staticmethod
    def _new_loss(loss: LineLost) -> LineLost:
        """Each caller raises one of its own: a raised exception collects the traceback of who raises it."""
        return LineLost(loss.reason, loss.code)


@asynccontextmanager
async def serve_line(carrier: Carrier, *, silence: float) -> AsyncIterator[RedisLine]:
    """A line over a carrier, which is closed when the block is left, by force: whoever leaves has had the replies it wants.

    What the block raises comes out as it is, in no group.
    """
    line = RedisLine(carrier, silence=silence)
    raised: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(line.read)
            nursery.start_soon(line.write)
            nursery.start_soon(line.watch)
            try:
                yield line
            finally:
                nursery.cancel_scope.cancel(reason="nobody needs the line any more")
    except BaseExceptionGroup as group:
        raised = alone(group)
    finally:
        line.lose("the line was closed")
        with trio.CancelScope(shield=True):  # it does not wait; a cancel from outside must not take the place of what was raised
            await carrier.aclose()
    if raised is not None:  # not in the `except`, where it would get another context
        raise raised


def alone(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return what a nursery's body or its one failing task has raised, without the group around it and the ``Cancelled`` beside it."""
    errors = [error for error in group.exceptions if not isinstance(error, trio.Cancelled)]
    return errors[0] if len(errors) == 1 else group
