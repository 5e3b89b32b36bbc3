"""Messages as MessagePack: as strict as JSON, and nothing but WireErrors for whoever sends nonsense."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support import Note
from unit.strategies import any_message, by_class, steady

from trioworkers import (
    BusActivateWorkerMessage,
    BusDataMessage,
    BusEndMessage,
    BusJobRequestMessage,
    BusJobResponseMessage,
    BusJobStreamCreditMessage,
    BusMessage,
    BusWorkerLocalErrorMessage,
    BusWorkerReadyMessage,
    JobStatus,
    WireError,
    WorkerRegistryEntry,
)
from trioworkers.wire.codec import BUILT_IN, DEPTH
from trioworkers.wire.packed import PackedCodec


@attrs.frozen
class Price:
    """A value inside a message."""

    cents: int
    shop: str | None = None


@attrs.frozen(kw_only=True)
class PriceChanged(BusDataMessage):
    """A message of the tests' own, with a bit of everything."""

    price: Price
    history: tuple[Price, ...] = ()
    notes: dict[str, Any] = attrs.field(factory=dict)
    limit: float = float("inf")


CODEC = PackedCodec({"note": Note, "price": PriceChanged})
prices = st.builds(Price, st.integers(-(2**63), 2**63 - 1), st.none() | st.text(st.characters(exclude_categories=["Cs"])))


def can_be_sent(value: object) -> bool:
    """Whether MessagePack has it: no lone surrogates, no integers beyond 64 bits."""
    if isinstance(value, (BusMessage, WorkerRegistryEntry)):
        return all(can_be_sent(getattr(value, field.name)) for field in attrs.fields(type(value)))
    if isinstance(value, str):
        return not any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, dict):
        return all(can_be_sent(item) for pair in value.items() for item in pair)
    if isinstance(value, (list, tuple)):
        return all(map(can_be_sent, value))
    return not isinstance(value, int) or -(2**63) <= value < 2**64


def packed(tag: str, fields: object) -> bytes:
    """What somebody might send under a tag."""
    return bytes([len(tag)]) + tag.encode() + msgspec.msgpack.encode(fields)


def test_every_class_is_tried() -> None:
    """Each class that may leave the process is among those tried here."""
    assert set(by_class) == set(BUILT_IN.values())


@pytest.mark.parametrize("cls", by_class, ids=lambda cls: cls.__name__)
def test_round_trip(cls: type[BusMessage]) -> None:
    """N8, R21: every message arrives as it was, or is refused at its sender because MessagePack cannot say it."""

    @steady
    @given(by_class[cls])
    def check(message: BusMessage) -> None:
        if can_be_sent(message):
            arrived = CODEC.loads(CODEC.dumps(message))
            assert arrived == message
            assert type(arrived) is cls
        else:
            with pytest.raises(WireError, match=f"{cls.__name__} cannot be sent"):
                CODEC.dumps(message)

    check()


@steady
@given(prices, st.lists(prices), st.floats(allow_nan=False))
def test_classes_of_ones_own(price: Price, history: list[Price], limit: float) -> None:
    """A user's classes, in the table under a tag, arrive as they were, with the values inside."""
    message = PriceChanged(source="shop", price=price, history=tuple(history), notes={"a": [1, None]}, limit=limit)
    assert CODEC.loads(CODEC.dumps(message)) == message


@attrs.frozen(kw_only=True)
class Plain(BusDataMessage):
    """A message with nothing but plain fields, of every kind."""

    text: str
    number: int = 1
    share: float = 0.5
    flag: bool = False
    either: int | str | None = None
    anything: Any = None
    some: list[Any] | None = None
    more: list = attrs.field(factory=list)  # type: ignore[type-arg]  # that is how some write it
    fields: dict[str, Any] = attrs.field(factory=dict)
    least: int = attrs.field(default=0, validator=attrs.validators.ge(0))


class Colour(StrEnum):
    """Text, and then not."""

    RED = "red"


ODD: list[Any] = [*"ab", 1, -1, 2**70, 1.5, float("inf"), float("nan"), True, None, Colour.RED, "\ud800", "inf", "nan"]
ODD += [b"x", (1,), {1}, [1, [2.5, None]], {"a": {"b": []}}, {1: 2}, ["a", float("nan")], [b"x"]]
odd = st.sampled_from(ODD) | st.lists(st.sampled_from(ODD), max_size=2)
anything_plain = st.dictionaries(
    st.sampled_from([field.name for field in attrs.fields(Plain)] + ["source", "target", "nothing", 7]), odd, max_size=6
)


@pytest.fixture(scope="module")
def slow_codec() -> PackedCodec:
    """One that asks cattrs about everything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trioworkers.wire.packed._PlainFields.of", lambda _: None)
        return PackedCodec({"plain": Plain})


def outcome(call: Callable[[], object]) -> object:
    """What comes of it: a value, with the types of what is in it, or an error's text."""
    try:
        return repr(call())
    except WireError as error:
        return str(error)


PLAIN_CODEC = PackedCodec({"plain": Plain})


@pytest.mark.parametrize("body", [[], ["a", "b"], "text", 1, None, b"x"])
def test_what_has_no_fields_is_no_message(slow_codec: PackedCodec, body: object) -> None:
    """Something else where the fields should be is refused, in the words in which cattrs refuses it."""
    data = b"\5plain" + msgspec.msgpack.encode(body)
    with pytest.raises(WireError) as refused:
        slow_codec.loads(data)
    with pytest.raises(WireError, match=re.escape(str(refused.value))):
        PLAIN_CODEC.loads(data)


@given(anything_plain)
@example({"share": 1})
@example({"share": "inf"})
@example({"nothing": 1})
@example({"least": -1})
def test_plain_fields_are_taken_as_cattrs_takes_them(slow_codec: PackedCodec, fields: dict[Any, Any]) -> None:
    """What comes in has the same effect, down to the words of the error, as if cattrs were asked about each field."""
    data = b""
    with suppress(TypeError, OverflowError, UnicodeEncodeError, ValueError):  # not even bytes
        data = b"\5plain" + msgspec.msgpack.encode({"source": "a", "text": "b"} | fields)
    if data:
        assert outcome(lambda: PLAIN_CODEC.loads(data)) == outcome(lambda: slow_codec.loads(data))


@given(anything_plain)
@example({"share": 1, "text": "b"})
@example({"share": float("inf"), "text": "b"})
@example({"text": Colour.RED})
def test_plain_fields_are_sent_as_cattrs_sends_them(slow_codec: PackedCodec, fields: dict[Any, Any]) -> None:
    """What goes out arrives as the same, or is refused in the same words, as if cattrs were asked about each field."""
    arguments: dict[str, Any] = {"source": "a", "text": "b"} | fields
    message = None
    with suppress(TypeError, ValueError):  # not even a message
        message = Plain(**arguments)
    if message is not None:
        assert outcome(lambda: slow_codec.loads(PLAIN_CODEC.dumps(message))) == outcome(
            lambda: slow_codec.loads(slow_codec.dumps(message))
        )


@attrs.frozen(kw_only=True)
class Newer(BusDataMessage):
    """A note of a later release."""

    text: str
    level: int = 1
    currency: str = "EUR"
    share: float = 0.5
    tags: list[Any] = attrs.field(factory=list)
    fields: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Made(BusDataMessage):
    """Nothing but plain fields, and a default that is made."""

    tags: list[Any] = attrs.field(factory=lambda: ["a"])


def test_defaults_are_not_sent(slow_codec: PackedCodec) -> None:
    """What is at its default is left out: who knows a class without its newest fields reads what does not use them."""
    newer, older = PackedCodec({"note": Newer}), PackedCodec({"note": Note})
    assert older.loads(newer.dumps(Newer(source="a", text="b", currency="E" + "UR"))) == Note(source="a", text="b")
    for changed in ({"level": 2}, {"share": 1.0}, {"tags": [1]}, {"fields": {"a": 1}}):
        message = Newer(source="a", text="b", **changed)
        assert newer.loads(newer.dumps(message)) == message
        with pytest.raises(WireError):
            older.loads(newer.dumps(message))


def test_a_default_that_is_made_goes_through_cattrs() -> None:
    """Only who makes it knows what it is; it is left out all the same."""
    codec = PackedCodec({"made": Made})
    assert len(codec.dumps(Made(source="a"))) < len(codec.dumps(Made(source="a", tags=["b"])))
    assert codec.loads(codec.dumps(Made(source="a", tags=[]))) == Made(source="a", tags=[])


def test_plain_fields_may_be_missing_only_if_they_have_a_default() -> None:
    """What is left out is the default; without one it is no message, and the error says what is missing."""
    assert PLAIN_CODEC.loads(b"\5plain" + msgspec.msgpack.encode({"source": "a", "text": "b"})) == Plain(source="a", text="b")
    with pytest.raises(WireError, match="missing 1 required keyword-only argument: 'text'"):
        PLAIN_CODEC.loads(b"\5plain" + msgspec.msgpack.encode({"source": "a"}))


def test_what_is_plain_does_without_cattrs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A class of plain fields makes the trip by the table; one with a field that needs cattrs, by cattrs."""
    codec = PackedCodec({"plain": Plain, "price": PriceChanged})
    asked: list[str] = []
    monkeypatch.setattr("trioworkers.wire.packed.check_plain", lambda fields: asked.append(fields["source"]))
    for message in (
        Plain(source="table", text="x", fields={"a": [1, 2.5]}, either="y"),
        PriceChanged(source="cattrs", price=Price(1)),
        Plain(source="cattrs, for a number that JSON lacks", text="x", share=float("inf")),
    ):
        assert codec.loads(codec.dumps(message)) == message
    assert asked == ["cattrs"] * 2 + ["cattrs, for a number that JSON lacks"] * 2


def test_a_class_that_is_not_in_the_table() -> None:
    """A message of a class that is not in the table, or stays in its process, is refused at its sender."""
    for message in (Note(source="a"), BusWorkerLocalErrorMessage(source="a", error="x")):
        with pytest.raises(WireError, match="not in the table"):
            PackedCodec().dumps(message)


def test_a_tag_too_long() -> None:
    """A tag of more than 255 bytes is refused when the codec is made; one of 255 works."""
    with pytest.raises(ValueError, match="too long"):
        PackedCodec({"ü" * 128: Note})
    codec = PackedCodec({"t" * 255: Note})
    assert codec.loads(codec.dumps(Note(source="a"))) == Note(source="a")


def test_a_tag_of_any_text() -> None:
    """A tag may be any text, as with JSON."""
    codec = PackedCodec({"\ud800": Note})
    assert codec.loads(codec.dumps(Note(source="a"))) == Note(source="a")


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), (1, 2), {1, 2}, b"x", {1: 2}, object(), JobStatus.FAILED, "\udfff", 2**64, [[b"x"]], print]
)
def test_payloads_that_cannot_be_sent(value: object) -> None:
    """N8, U58: what would arrive as something else, or not at all, is refused at the sender, wherever it is."""
    for message in (
        BusActivateWorkerMessage(source="a", args={"x": value}),
        BusJobRequestMessage(source="a", job_id="j", payload={"x": [value]}),
        BusJobResponseMessage(source="a", job_id="j", response={"x": {"y": value}}),
        PriceChanged(source="a", price=Price(1), notes={"x": value}),
    ):
        with pytest.raises(WireError, match="cannot be sent"):
            CODEC.dumps(message)


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (BusJobRequestMessage(source="a", job_id="j", timeout=float("nan")), "timeout"),
        (BusJobRequestMessage(source="a", job_id="j", deadline=float("nan")), "deadline"),
        (BusWorkerReadyMessage(source="a", runner="r", started_at=True), "started_at"),
        (BusJobStreamCreditMessage(source="a", job_id="j", credit=True), "credit"),
    ],
)
def test_numbers_that_are_none(message: BusMessage, field: str) -> None:
    """NaN and booleans where numbers belong are refused at the sender, as with JSON."""
    with pytest.raises(WireError, match=f"{field} is .* only a number can be sent"):
        CODEC.dumps(message)


def test_deep_payloads() -> None:
    """A payload may be nested as deep as JSON's may; a deeper one is refused at the sender, and at the receiver."""

    def nested(depth: int) -> dict[str, Any]:
        value: Any = 1
        for _ in range(depth - 1):
            value = [value]
        return {"x": value}

    message = BusActivateWorkerMessage(source="a", args=nested(DEPTH - 1))
    assert CODEC.loads(CODEC.dumps(message)) == message
    with pytest.raises(WireError, match="nested deeper"):
        CODEC.dumps(BusActivateWorkerMessage(source="a", args=nested(DEPTH + 1)))
    with pytest.raises(WireError, match="nested deeper"):
        CODEC.loads(packed("activate", {"source": "a", "args": nested(DEPTH + 1)}))


@pytest.mark.parametrize("tag", ["activate", "job", "price", "registry"])
def test_arrays_within_arrays(tag: str) -> None:
    """A hundred thousand nested arrays are no message, wherever they stand; the receiver survives them."""
    deep = b"\x91" * 100_000 + b"\x90"
    start = bytes([len(tag)]) + tag.encode()
    for body in (deep, b"\x82\xa6source\xa1a\xa4args" + deep, b"\x81\xa5notes" + deep):
        with pytest.raises(WireError, match="no message"):
            CODEC.loads(start + body)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"\x03end",
        packed("nobody", {"source": "a"}),
        packed("os.system", {"source": "a"}),
        packed("end", {}),
        packed("end", {"source": 5}),
        packed("end", {"source": ""}),
        packed("end", {"source": "a", "reason": 5}),
        packed("end", ["a"]),
        packed("end", None),
        packed("end", {"source": "a"}) + b"x",
        packed("job", {"source": "a", "job_id": None}),
        packed("job", {"source": "a", "job_id": "j", "payload": None}),
        packed("job", {"source": "a", "job_id": "j", "payload": {"x": b"bytes"}}),
        packed("job", {"source": "a", "job_id": "j", "payload": {"x": {1: 2}}}),
        packed("job", {"source": "a", "job_id": "j", "payload": {"x": float("nan")}}),
        packed("job", {"source": "a", "job_id": "j", "payload": {"x": msgspec.msgpack.Ext(5, b"x")}}),
        packed("job", {"source": "a", "job_id": "j", "timeout": float("nan")}),
        packed("job", {"source": "a", "job_id": "j", "deadline": float("nan")}),
        packed("job", {"source": "a", "job_id": "j", "window": 0}),
        packed("job", {"source": "a", "job_id": "j", "chain": "abc"}),
        packed("job-response", {"source": "a", "job_id": "j", "status": "splendid"}),
        packed("job-response", {"source": "a", "job_id": "j", "loss": "keys"}),
        packed("job-stream-credit", {"source": "a", "job_id": "j", "credit": 0}),
        packed("registry", {"source": "a", "runner": "r", "workers": [{"name": 1}]}),
        packed("room", {"source": "a", "worker": "", "room": True}),
        packed("price", {"source": "a"}),
        packed("price", {"source": "a", "price": {"cents": "5"}}),
        packed("price", {"source": "a", "price": {"cents": 5}, "surplus": 1}),
        packed("price", {"source": "a", "price": {"cents": 5}, "notes": {"x": b"bytes"}}),
        packed("price", ["a"]),
        packed("price", 5),
    ],
)
def test_no_messages(data: bytes) -> None:
    """Unknown tags, missing fields, wrong types, what JSON does not have: a WireError each."""
    with pytest.raises(WireError, match="no message"):
        CODEC.loads(data)


def test_a_newer_release_may_add_fields() -> None:
    """A field that a built-in message does not have is ignored."""
    assert CODEC.loads(packed("end", {"source": "a", "reason": "r", "mood": "good"})) == BusEndMessage(source="a", reason="r")


def test_nothing_is_imported() -> None:
    """N8, U58: no name in the bytes makes anything be imported or built, however it is dressed up."""
    before = set(sys.modules)
    for fields in (
        {"@type": "this.s", "source": "a"},
        {"__type__": "this.s", "__data__": {}, "source": "a"},
        {"source": "a", "args": {"__type__": "this.s"}},
    ):
        for tag in ("this.s", "activate", "price"):
            with suppress(WireError):
                CODEC.loads(packed(tag, fields))
    assert set(sys.modules) - before == set()


@steady
@given(st.binary(max_size=100))
def test_any_bytes(data: bytes) -> None:
    """N8: any bytes are a message or a WireError."""
    with suppress(WireError):
        CODEC.loads(data)


@steady
@given(st.sampled_from([*BUILT_IN, "note", "price"]), st.binary(max_size=60))
def test_any_bytes_with_a_tag(tag: str, data: bytes) -> None:
    """Any bytes behind a tag are a message or a WireError."""
    with suppress(WireError):
        CODEC.loads(bytes([len(tag)]) + tag.encode() + data)


@steady
@given(any_message.filter(can_be_sent), st.data())
def test_damaged(message: BusMessage, data: st.DataObject) -> None:
    """A message cut short is none; one with a changed byte is another, or none."""
    whole = CODEC.dumps(message)
    place = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(WireError):
        CODEC.loads(whole[:place])
    changed = bytes([whole[place] ^ data.draw(st.integers(1, 255))])
    with suppress(WireError):
        CODEC.loads(whole[:place] + changed + whole[place + 1 :])
