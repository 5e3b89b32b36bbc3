"""What a transport carries: a header of numbers, and one message as bytes.

=====  ======================================================================================================
bytes  what
=====  ======================================================================================================
1      version of the protocol
1      flags: 1 the receiver of this has missed something, say it again; 2 no message, acknowledgements alone
1      the lane: 0 system, 1 data
8      the message's number in its lane, from 1 on
8      the number, in the other lane, of what must be seen before this (0: nothing)
8 + 8  the highest numbers seen by the sender of this, in either lane
2      length of the sender's incarnation, which follows in UTF-8
rest   the message
=====  ======================================================================================================

With a key, 32 bytes stand in front: HMAC-SHA256 over the receiver's incarnation and all that follows, so that whoever can write to the
server but does not have the key cannot say anything, nor say to one what was said to another. What is said twice is dropped by number.
"""

from __future__ import annotations

import hmac
import struct
from typing import Final

import attrs

from ...errors import WireError

PROTOCOL: Final = 1
"""The version of this protocol; a bus has one."""

_HEADER: Final = struct.Struct("!BBBQQQQH")
_AGAIN, _BARE = 1, 2
_SIGNED: Final = 32


class ForgedFrameError(WireError):
    """The signature is not that of the bus's key."""


@attrs.define  # frozen, making, packing and unpacking one would take a quarter longer
class Frame:
    """One frame.

    Args:
        sender: The incarnation that sends it.
        lane: In which lane.
        number: Its number there; 0 if it carries no message.
        after: What must be seen first, in the other lane.
        seen: What its sender has seen, by lane.
        again: Whether its sender has missed something: everything that it has not seen is to be sent again.
        body: The message.
    """

    sender: str
    lane: int
    number: int
    after: int
    seen: tuple[int, int]
    again: bool = False
    body: bytes = b""


def pack(frame: Frame) -> bytes:
    """Return a frame as bytes."""
    sender = frame.sender.encode()
    flags = frame.again * _AGAIN | (not frame.number) * _BARE
    header = _HEADER.pack(PROTOCOL, flags, frame.lane, frame.number, frame.after, *frame.seen, len(sender))
    return b"".join((header, sender, frame.body))


def unpack(data: bytes) -> Frame:
    """Return the frame in the bytes.

    Raises:
        WireError: There is none.
    """
    try:
        version, flags, lane, number, after, seen, seen_of_data, length = _HEADER.unpack_from(data)
        start = _HEADER.size + length
        sender = data[_HEADER.size : start].decode()
    except (struct.error, UnicodeDecodeError) as error:
        raise WireError(f"no frame: {error}") from None
    if (
        version != PROTOCOL
        or flags > (_AGAIN | _BARE)
        or lane > 1
        or not sender
        or len(data) < start
        or bool(flags & _BARE) != (number == 0)
    ):
        raise WireError("no frame: its header makes no sense")
    return Frame(sender, lane, number, after, (seen, seen_of_data), bool(flags & _AGAIN), data[start:])


def sign(key: bytes, receiver: str, data: bytes) -> bytes:
    """Return the bytes with their signature in front."""
    return hmac.digest(key, b"%s\0%s" % (receiver.encode(), data), "sha256") + data


def verify(key: bytes, receiver: str, data: bytes) -> bytes:
    """Return the bytes without their signature.

    Raises:
        ForgedFrameError: It is wrong.
    """
    signature, rest = data[:_SIGNED], data[_SIGNED:]
    if not hmac.compare_digest(signature, hmac.digest(key, b"%s\0%s" % (receiver.encode(), rest), "sha256")):
        raise ForgedFrameError("the signature is wrong: another key, another receiver, or a forger")
    return rest
