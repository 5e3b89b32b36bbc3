"""Frames: what is packed comes out again, what is no frame is refused, and nobody without the key can say anything."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.strategies import steady

from trioworkers import WireError
from trioworkers.bus.remote.frames import ForgedFrameError, Frame, pack, sign, unpack, verify

numbers = st.integers(0, 2**64 - 1)
senders = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
seen = st.tuples(numbers, numbers)
told = st.builds(Frame, senders, st.integers(0, 1), st.integers(1, 2**64 - 1), numbers, seen, st.booleans(), st.binary(max_size=40))
bare = st.builds(Frame, senders, st.integers(0, 1), st.just(0), numbers, seen, st.booleans(), st.just(b""))
frames = told | bare
keys = st.binary(min_size=1, max_size=70)


@steady
@given(frames)
def test_round_trip(frame: Frame) -> None:
    """Whatever is packed is unpacked as it was."""
    assert unpack(pack(frame)) == frame


@steady
@given(st.binary(max_size=120))
def test_any_bytes(data: bytes) -> None:
    """N8: any bytes are a frame or a WireError, and nothing else."""
    with suppress(WireError):
        assert pack(unpack(data)) == data


@steady
@given(frames, st.data())
def test_cut_short(frame: Frame, data: st.DataObject) -> None:
    """A frame whose header is cut short is refused; one whose message is cut short has a shorter message."""
    packed = pack(frame)
    header = len(packed) - len(frame.body)
    short = packed[: data.draw(st.integers(0, len(packed) - 1))]
    if len(short) < header:
        with pytest.raises(WireError, match="no frame"):
            unpack(short)
    else:
        assert frame.body.startswith(unpack(short).body)


@steady
@given(frames, st.data())
def test_one_bit(frame: Frame, data: st.DataObject) -> None:
    """A flipped bit makes another frame, or none; never anything else."""
    packed = bytearray(pack(frame))
    bit = data.draw(st.integers(0, 8 * len(packed) - 1))
    packed[bit // 8] ^= 1 << bit % 8
    with suppress(WireError):
        assert unpack(bytes(packed)) != frame


@pytest.mark.parametrize(
    "change",
    [
        pytest.param((0, 2), id="another version"),
        pytest.param((1, 4), id="unknown flags"),
        pytest.param((1, 2), id="bare, with a number"),
        pytest.param((2, 2), id="a third lane"),
        pytest.param((36, 0), id="no sender"),
        pytest.param((36, 200), id="a sender longer than all there is"),
        pytest.param((37, 0xFF), id="a sender that is no UTF-8"),
    ],
)
def test_senseless_headers(change: tuple[int, int]) -> None:
    """A header that makes no sense is refused."""
    packed = bytearray(pack(Frame("a", 0, 7, 0, (0, 0), body=b"x")))
    place, value = change
    packed[place] = value
    with pytest.raises(WireError, match="no frame"):
        unpack(bytes(packed))


@steady
@given(frames, keys, senders)
def test_signed(frame: Frame, key: bytes, receiver: str) -> None:
    """What is signed with a key for a receiver is verified with that key by that receiver."""
    assert verify(key, receiver, sign(key, receiver, pack(frame))) == pack(frame)


@steady
@given(frames, senders, senders)
def test_signed_for_another(frame: Frame, receiver: str, other: str) -> None:
    """N8: what was signed for one receiver is a forgery to another."""
    if other != receiver:
        with pytest.raises(ForgedFrameError):
            verify(b"key", other, sign(b"key", receiver, pack(frame)))


@steady
@given(frames, senders)
def test_signed_with_another_key(frame: Frame, receiver: str) -> None:
    """What was signed with another key is a forgery."""
    with pytest.raises(ForgedFrameError):
        verify(b"key", receiver, sign(b"another key", receiver, pack(frame)))


@steady
@given(frames, senders, st.data())
def test_tampered(frame: Frame, receiver: str, data: st.DataObject) -> None:
    """N8: one changed, missing or added byte anywhere is a forgery."""
    signed = sign(b"key", receiver, pack(frame))
    place = data.draw(st.integers(0, len(signed) - 1))
    byte = bytes([signed[place] ^ data.draw(st.integers(1, 255))])
    for forged in (signed[:place] + byte + signed[place + 1 :], signed[:place], signed + byte, b""):
        with pytest.raises(ForgedFrameError):
            verify(b"key", receiver, forged)
