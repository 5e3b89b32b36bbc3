"""The server's book of members and names, as one incarnation writes in it and reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import attrs

from ..remote.transport import SessionOver
from .line import LineLost, RedisLine
from .replies import Argument, RedisReplyError, Reply
from .scripts import BEAT, CLAIM, JOIN, LEAVE, RELEASE, Script

LANES = ("hi", "lo")


@attrs.frozen
class Keys:
    """The keys of a bus.

    Args:
        bus: Its name.
    """

    bus: str

    @property
    def prefix(self) -> str:
        """What all of them begin with; the braces make one node of a cluster hold them all."""
        return f"tw:{{{self.bus}}}:"

    def of(self, what: str) -> str:
        """Return one of the four that all members share: ``members``, ``state``, ``names``, ``news``."""
        return self.prefix + what

    def inbox(self, incarnation: str, lane: int) -> str:
        """Return an inbox."""
        return f"{self.prefix}{incarnation}:{LANES[lane]}"


@attrs.frozen
class Joined:
    """A new member's first look at the book.

    Args:
        epoch: The token by which it will know the book again.
        generation: How often the members have changed.
        news: The id of the last wake-up.
        members: Who is a member now.
    """

    epoch: str
    generation: int
    news: str
    members: tuple[str, ...]


@attrs.frozen
class Taken:
    """A name is held by somebody else.

    Args:
        name: The name.
        owner: Its incarnation.
        heard: When the owner was last heard of: if it changes, the owner is alive.
    """

    name: str
    owner: str
    heard: str


@attrs.frozen
class OtherProtocol:
    """The members speak something else.

    Args:
        protocol: What they speak.
    """

    protocol: str


@attrs.frozen
class Book:
    """What one incarnation does with the book; each method is one step at the server.

    Args:
        keys: Where it is.
        incarnation: Who.
        ttl: For how many seconds of silence it wants to stay a member.
        keep: For how many seconds of silence its inbox stays if nobody sweeps.
    """

    keys: Keys
    incarnation: str
    ttl: float
    keep: float

    async def join(
        self, line: RedisLine, names: Sequence[str], *, token: str, protocol: int, replaces: str | None
    ) -> Joined | Taken | OtherProtocol:
        """Become a member with some names; or hear why not, and that nothing was changed but that ``replaces`` is a member no more.

        Raises:
            LineLost: The line is lost; it may be a member all the same.
        """
        settings = (token, protocol, replaces or "", milliseconds(self.ttl), milliseconds(self.keep))
        reply = await self._run(JOIN, line, *settings, *names)
        if reply[0] == b"protocol":
            return OtherProtocol((reply[1] or b"?").decode())
        if reply[0] == b"taken":
            return _taken(reply)
        _, epoch, generation, news, members = reply
        return Joined(epoch.decode(), generation, news.decode(), decoded(members))

    async def beat(self, line: RedisLine, epoch: str) -> int:
        """Say that it is alive; return the generation.

        Raises:
            SessionOver: It is no member any more.
            LineLost: The line is lost.
        """
        reply = await self._run(BEAT, line, epoch, milliseconds(self.keep))
        if reply[0] == b"reset":
            raise SessionOver("the server has lost what it knew: it was restarted without its data, or the data was removed")
        if reply[0] == b"fenced":
            fenced()
        return int(reply[1])

    async def claim(self, line: RedisLine, name: str) -> Taken | None:
        """Hold a name, or hear who holds it.

        Raises:
            SessionOver: It is no member any more.
            LineLost: The line is lost.
        """
        reply = await self._run(CLAIM, line, name)
        if reply[0] == b"fenced":
            fenced()
        return _taken(reply) if reply[0] == b"taken" else None

    async def release(self, line: RedisLine, names: Sequence[str]) -> None:
        """Give back those of the names that it holds.

        Raises:
            LineLost: The line is lost.
        """
        await self._run(RELEASE, line, *names)

    async def leave(self, line: RedisLine) -> None:
        """Be a member no more; nothing if it is none.

        Raises:
            LineLost: The line is lost.
        """
        await self._run(LEAVE, line)

    async def _run(self, script: Script, line: RedisLine, *args: Argument) -> Reply:
        keys = [self.keys.of(what) for what in ("members", "state", "names", "news")]
        try:
            return await script.run(line, keys, (self.keys.prefix, self.incarnation, *args))
        except RedisReplyError as error:
            raise _useless(line, error) from error


def sound(line: RedisLine, replies: Sequence[Reply]) -> bool:
    """Whether none of some replies is an error that should be none. If one is, the line is lost.

    Out of memory, not permitted, somebody else's data under our keys: whatever it is, it cannot be worked with, and another connection
    may find that it has passed.
    """
    error = next((reply for reply in replies if isinstance(reply, RedisReplyError)), None)
    if error is not None:
        _useless(line, error)
    return error is None


def fenced() -> NoReturn:
    """Say that one has been removed.

    Raises:
        SessionOver: Always.
    """
    raise SessionOver("this incarnation was taken for dead: nothing was heard of it for too long")


def milliseconds(seconds: float) -> int:
    """Return whole milliseconds, at least one."""
    return max(1, round(seconds * 1000))


def decoded(words: Sequence[bytes]) -> tuple[str, ...]:
    """Return bytes as text."""
    return tuple(word.decode() for word in words)


def _useless(line: RedisLine, error: RedisReplyError) -> LineLost:
    line.lose(f"the server says {error}", error.code)
    return LineLost(f"the server says {error}", error.code)


def _taken(reply: Sequence[bytes]) -> Taken:
    return Taken(*decoded(reply[1:]))
