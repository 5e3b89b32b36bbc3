"""Messages as bytes and back: round trip is identity, and whatever is not exactly right is refused."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum, IntEnum
from typing import Any, Literal, NewType, Optional

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from unit.strategies import any_message, by_class, payloads, steady

from trioworkers import (
    BusActivateWorkerMessage,
    BusDataMessage,
    BusDeactivateWorkerMessage,
    BusJobCancelMessage,
    BusJobRequestMessage,
    BusJobResponseMessage,
    BusJobResponseUrgentMessage,
    BusLocalMessage,
    BusMessage,
    BusWorkerLocalErrorMessage,
    BusWorkerReadyMessage,
    BusWorkerRegistryMessage,
    JobStatus,
    WireError,
    WorkerRegistryEntry,
)
from trioworkers.wire import Codec
from trioworkers.wire.codec import BUILT_IN, DEPTH

codec = Codec()


class Colour(IntEnum):
    """Numbers with names."""

    RED = 1


class Shape(Enum):
    """An enumeration that is neither text nor number."""

    ROUND = "round"


@attrs.frozen
class Node:
    """A value that holds others of its kind."""

    number: int
    below: tuple[Node, ...] = ()


@attrs.frozen
class Wider(Node):
    """A subclass, which would arrive as its base."""


@attrs.frozen
class Sized:
    """A value that looks like a collection."""

    number: int

    def __len__(self) -> int:
        return self.number

    def __iter__(self) -> Any:
        return iter(range(self.number))

    def __contains__(self, item: object) -> bool:
        return item in range(self.number)


Cents = NewType("Cents", int)


def with_field(annotation: Any) -> Any:
    """A class of messages with one field of that type."""
    return attrs.make_class(
        "Custom", {"x": attrs.field(type=annotation)}, bases=(BusDataMessage,), frozen=True, kw_only=True, class_body={}
    )


def there_and_back(annotation: Any, value: Any) -> Any:
    """What arrives of a value in a field of that type."""
    cls = with_field(annotation)
    custom = Codec({"custom": cls})
    message = cls(source="s", x=value)
    arrived: Any = custom.loads(custom.dumps(message))
    assert arrived == message
    return arrived.x


def received(annotation: Any, raw: str) -> Any:
    """What is made of some JSON in a field of that type."""
    arrived: Any = Codec({"custom": with_field(annotation)}).loads(f'{{"@type":"custom","source":"s","x":{raw}}}'.encode())
    return arrived.x


def raw(tag: Any, **fields: Any) -> bytes:
    """Bytes as a peer may send them."""
    return json.dumps({"@type": tag, "source": "s", **fields}).encode()


def request(**fields: Any) -> BusJobRequestMessage:
    """A request."""
    return BusJobRequestMessage(source="s", job_id="j", **fields)


# -- there and back ------------------------------------------------------------------------------------------------------


@steady
@given(any_message)
def test_round_trip_is_identity(message: BusMessage) -> None:
    """N8, R21, R22: every message that may leave the process comes back equal, and of the same class, from its bytes."""
    arrived = codec.loads(codec.dumps(message))
    assert type(arrived) is type(message)
    assert arrived == message


@pytest.mark.parametrize("cls", by_class)
def test_every_class_makes_the_trip(cls: type[BusMessage]) -> None:
    """R22: each class of messages has a tag of its own, which is no Python path."""
    tags = [tag for tag, tagged in BUILT_IN.items() if tagged is cls]
    assert len(tags) == 1
    assert "." not in tags[0]
    fields: dict[str, Any] = {"job_id": "j", "runner": "r", "error": "e", "worker": "w", "workers": (), "room": True}
    message = cls(source="s", **{name: value for name, value in fields.items() if name in attrs.fields_dict(cls)})
    data = codec.dumps(message)
    assert json.loads(data)["@type"] == tags[0]
    assert codec.loads(data) == message


def test_the_table_is_complete() -> None:
    """All classes of messages are in the table but the one that never leaves the process."""
    assert {*BUILT_IN.values()} == {*by_class}


@steady
@given(payloads)
def test_payloads_keep_their_types(value: Any) -> None:
    """Whatever JSON has arrives as the same types: 1, 1.0 and True are three."""
    arrived = codec.loads(codec.dumps(request(payload={"value": value})))
    assert isinstance(arrived, BusJobRequestMessage)
    assert repr(arrived.payload) == repr({"value": value})


def test_defaults_are_not_sent() -> None:
    """A field that has its default is left out, and is there again on the other side."""
    assert json.loads(codec.dumps(request())) == {"@type": "job", "source": "s", "job_id": "j"}


@pytest.mark.parametrize("deadline", [math.inf, -math.inf, 0.0, 5, 1e308])
@pytest.mark.parametrize("timeout", [None, math.inf, 0, 0.25, 10**400])
def test_times_may_be_infinite(deadline: float, timeout: float | None) -> None:
    """``inf``, as a deadline or a timeout, arrives as itself, in plain JSON; so does a number too large for a float."""
    data = codec.dumps(request(deadline=deadline, timeout=timeout))
    json.loads(data, parse_constant=pytest.fail)
    assert codec.loads(data) == request(deadline=deadline, timeout=timeout)


def test_entries_of_a_registry() -> None:
    """A registry arrives with its entries, a tuple again."""
    message = BusWorkerRegistryMessage(
        source="r", runner="r", workers=(WorkerRegistryEntry("a", started_at=1.5), WorkerRegistryEntry("b", "a", active=False))
    )
    assert codec.loads(codec.dumps(message)) == message


def test_an_urgent_answer_stays_urgent() -> None:
    """A subclass has its own tag: an urgent answer does not arrive as a plain one."""
    message = BusJobResponseUrgentMessage(source="s", job_id="j", status=JobStatus.ERROR)
    assert type(codec.loads(codec.dumps(message))) is BusJobResponseUrgentMessage


def test_a_user_may_use_any_key() -> None:
    """U58: no key of a payload means anything to the codec."""
    payload = {"@type": "cancel", "__type__": "bytes", "__data__": "AAAA", "type": "x"}
    arrived = codec.loads(codec.dumps(request(payload=payload)))
    assert arrived == request(payload=payload)


def test_a_name_may_be_a_str_enum() -> None:
    """A member of a StrEnum as a name is equal to the str that arrives."""
    message = BusDeactivateWorkerMessage(source=JobStatus.FAILED, target="t")
    arrived = codec.loads(codec.dumps(message))
    assert arrived == message
    assert type(arrived.source) is str


# -- messages of one's own -----------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class PriceChanged(BusDataMessage):
    """A message as users write them."""

    cents: int
    type: str = "net"


def test_a_message_of_ones_own() -> None:
    """A class given to both sides makes the trip, even if it has a field called ``type``."""
    ours, theirs = Codec({"price": PriceChanged}), Codec({"price": PriceChanged})
    message = PriceChanged(source="shop", cents=250, type="gross")
    assert theirs.loads(ours.dumps(message)) == message


def test_a_class_that_only_one_side_has() -> None:
    """R22: a tag that the other side does not know is an error there, and nothing else."""
    data = Codec({"price": PriceChanged}).dumps(PriceChanged(source="shop", cents=250))
    with pytest.raises(WireError, match="no message: KeyError: 'price'"):
        codec.loads(data)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, 5),
        (int, 10**30),
        (bool, False),
        (float, 5),
        (float, 2.5),
        (str, "\ud800"),
        (str, "\ud83d\ude00"),
        (str, "\N{GRINNING FACE}"),
        (float | None, -math.inf),
        (int | str, "5"),
        (int | str, 5),
        (int | str | None, None),
        (float | str, "inf"),
        (float | str, 5),
        (Optional[int], 5),  # noqa: UP045 - the older spelling is another type
        (JobStatus, JobStatus.ERROR),
        (JobStatus | None, JobStatus.ERROR),
        (Colour, Colour.RED),
        (Shape, Shape.ROUND),
        (Literal["a", 1] | None, "a"),
        (Literal["a", 1] | None, None),
        (Cents, Cents(5)),
        (Node, Node(1, (Node(2), Node(3, (Node(4),))))),
        (Node | None, Node(1)),
        (list[Node], [Node(1, (Node(2),))]),
        (tuple[Node, ...], (Node(1),)),
        (dict[str, Node], {"a": Node(1)}),
        (dict[str, list[int | None]], {"a": [1, None], "b": []}),
        (list, [1, {"a": [None]}]),
        (dict, {"a": [1.5]}),
        (tuple, (1, "a")),
        (Any, {"a": [1, None, True]}),
        (Sized, Sized(3)),
    ],
    ids=repr,
)
def test_types_of_fields(annotation: Any, value: Any) -> None:
    """A field may have any type that JSON can tell from others; its value arrives equal, and of the same type."""
    assert type(there_and_back(annotation, value)) is type(value)


def test_a_sized_value_is_no_collection() -> None:
    """An attrs class that can be iterated is sent by its fields, like any other."""
    value = Sized(3)
    assert (len(value), [*value], 2 in value) == (3, [0, 1, 2], True)
    assert there_and_back(list[Sized], [value]) == [value]


@pytest.mark.parametrize(
    "annotation",
    [
        set[int],
        frozenset[int],
        Sequence[int],
        Mapping[str, int],
        tuple[int, str],
        dict[int, str],
        list[datetime],
        datetime,
        object,
        Node | str,
        Node | Wider,
        list[set[int]],
    ],
    ids=str,
)
def test_types_that_cannot_be_sent_are_refused_at_once(annotation: Any) -> None:
    """A field whose type does not survive the trip is an error when the codec is made, not when the first message is sent."""
    with pytest.raises(TypeError, match=r"a field of type .* cannot be sent|disambiguate|no usable"):
        Codec({"custom": with_field(annotation)})


@pytest.mark.parametrize(
    ("types", "error", "match"),
    [
        ({"x": int}, TypeError, "only classes of messages that may leave the process can be sent, not <class 'int'>"),
        ({"x": "BusMessage"}, TypeError, "not 'BusMessage'"),
        ({"x": BusWorkerLocalErrorMessage}, TypeError, "may leave the process"),
        ({5: PriceChanged}, TypeError, "a tag must be a str, not 5"),
        ({"": PriceChanged}, ValueError, "a tag must not be empty"),
        ({"job": PriceChanged}, ValueError, "'job' or PriceChanged is in the table already"),
        ({"request": BusJobRequestMessage}, ValueError, "'request' or BusJobRequestMessage is in the table already"),
        ({"price": PriceChanged, "price2": PriceChanged}, ValueError, "'price2' or PriceChanged is in the table already"),
    ],
)
def test_the_table_is_checked(types: Any, error: type[Exception], match: str) -> None:
    """What is no class of messages, is for this process only, or is in the table already cannot be added."""
    with pytest.raises(error, match=match):
        Codec(types)


# -- refused at the sender -----------------------------------------------------------------------------------------------


class Name(str):
    """A subclass of str."""

    __slots__ = ()


def nested(levels: int) -> Any:
    """An empty list inside so many lists."""
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


cyclic: dict[str, Any] = {}
cyclic["self"] = [cyclic, cyclic]


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ((1, 2), r"payload\['a'\] is a tuple"),
        ({1}, r"payload\['a'\] is a set"),
        (datetime(2025, 1, 1, tzinfo=UTC), r"payload\['a'\] is a datetime"),
        (1j, r"payload\['a'\] is a complex"),
        (b"x", r"payload\['a'\] is a bytes"),
        (Name("x"), r"payload\['a'\] is a Name"),
        (JobStatus.ERROR, r"payload\['a'\] is a JobStatus"),
        (WorkerRegistryEntry("w"), r"payload\['a'\] is a WorkerRegistryEntry"),
        (object(), r"payload\['a'\] is a object"),
        ({"b": [0, {"c": {3: 4}}]}, r"payload\['a'\]\['b'\]\[1\]\['c'\] has the key 3: only str keys"),
        ({None: 1}, r"payload\['a'\] has the key None"),
        (math.nan, r"payload\['a'\] is nan: only finite numbers"),
        (math.inf, r"payload\['a'\] is inf"),
        ([-math.inf], r"payload\['a'\]\[0\] is -inf"),
        (nested(DEPTH), f"payload is nested deeper than {DEPTH} levels"),
        (nested(100_000), f"payload is nested deeper than {DEPTH} levels"),
        (cyclic, f"payload is nested deeper than {DEPTH} levels"),
        (10**5000, "ValueError"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_json_would_change_is_refused(value: Any, match: str) -> None:
    """U58: what cannot arrive as it is is refused at the sender, who is told where it is."""
    with pytest.raises(WireError, match=f"^BusJobRequestMessage cannot be sent: .*{match}"):
        codec.dumps(request(payload={"a": value}))


def test_keys_are_checked_at_the_top() -> None:
    """U58: a payload's own keys are str."""
    wrong: Any = {3: "int key"}
    with pytest.raises(WireError, match="payload has the key 3"):
        codec.dumps(request(payload=wrong))


def test_as_deep_as_allowed() -> None:
    """Nesting up to the bound makes the trip."""
    message = request(payload={"a": nested(DEPTH - 2)})
    assert codec.loads(codec.dumps(message)) == message
    with pytest.raises(WireError, match="nested deeper"):
        codec.dumps(request(payload={"a": nested(DEPTH - 1)}))


@pytest.mark.parametrize("fields", [{"deadline": math.nan}, {"timeout": math.nan}, {"timeout": True}, {"deadline": Name}])
def test_times_are_numbers(fields: dict[str, Any]) -> None:
    """NaN is no time, and neither is a bool, whatever the message's own checks let through."""
    message = request()
    for name, value in fields.items():
        object.__setattr__(message, name, value)
    with pytest.raises(WireError, match="BusJobRequestMessage cannot be sent"):
        codec.dumps(message)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, "5"),
        (int, True),
        (int, 5.0),
        (str, 5),
        (str, Name("x")),
        (bool, 1),
        (float, "inf"),
        (float, None),
        (int | str, None),
        (int | str, 5.0),
        (int | str, [5]),
        (Literal["a", 1], True),
        (Literal["a", 1], "b"),
        (Literal["a", 1], ["a"]),
        (Shape, "round"),
        (Node, Wider(1)),
        (Node, None),
        (list[int], (1,)),
        (list[int], ["1"]),
        (tuple[int, ...], [1]),
        (dict[str, int], {"a": "1"}),
        (dict[str, int], {1: 1}),
        (dict[str, int], [("a", 1)]),
        (bytes, b"x"),
    ],
    ids=repr,
)
def test_values_of_the_wrong_type_are_refused(annotation: Any, value: Any) -> None:
    """A value that the other side would refuse, or take for another, does not leave: nothing is converted on the way."""
    cls = with_field(annotation)
    with pytest.raises(WireError, match="Custom cannot be sent"):
        Codec({"custom": cls}).dumps(cls(source="s", x=value))


@attrs.frozen(kw_only=True)
class Secret(BusLocalMessage, BusDataMessage):
    """A message of the user's own that never leaves."""


@pytest.mark.parametrize(
    "message",
    [
        BusWorkerLocalErrorMessage(source="s", error="boom"),
        Secret(source="s"),
        PriceChanged(source="s", cents=1),
        BusMessage(source="s"),
    ],
    ids=lambda message: type(message).__name__,
)
def test_messages_that_do_not_leave(message: BusMessage) -> None:
    """A local message, and one of a class that is not in the table, is refused at the sender."""
    with pytest.raises(WireError, match=f"{type(message).__name__} cannot be sent: it is not in the table, or never leaves"):
        codec.dumps(message)


def test_a_subclass_is_not_its_base() -> None:
    """A message of a subclass that is not in the table does not travel as its base."""

    class Special(BusJobCancelMessage):
        """A subclass."""

    with pytest.raises(WireError, match="Special cannot be sent"):
        codec.dumps(Special(source="s", job_id="j"))


# -- refused at the receiver ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"{",
        b"null",
        b"5",
        b'"cancel"',
        b"[]",
        b'["@type"]',
        b'[["@type","cancel"]]',
        b"{}",
        b'{"source":"s"}',
        raw("this"),
        raw("os.system"),
        raw("trioworkers.messages.BusCancelMessage"),
        raw("BusCancelMessage"),
        raw(None),
        raw(5),
        raw([]),
        raw({}),
        raw("error-local", error="boom"),
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"@type":"job","source":"s","job_id":"j","payload":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
        b'{"@type":"job","source":"s","job_id":"j","payload":{"a":' + b"9" * 5000 + b"}}",
    ],
    ids=lambda data: repr(data[:40]),
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    """U58, R22: bytes that are no JSON object with a known tag are a WireError, whatever they are."""
    with pytest.raises(WireError, match=r"^no message: "):
        codec.loads(data)


@pytest.mark.parametrize(
    ("tag", "fields"),
    [
        ("cancel", {"source": 5}),
        ("cancel", {"source": None}),
        ("cancel", {"source": ""}),
        ("cancel", {"target": ""}),
        ("cancel", {"reason": 5}),
        ("cancel", {"reasn": "typo"}),
        ("cancel", {"priority": 1}),
        ("job", {}),
        ("job", {"job_id": None}),
        ("job", {"job_id": 5}),
        ("job", {"job_id": "j", "payload": [1]}),
        ("job", {"job_id": "j", "payload": "x"}),
        ("job", {"job_id": "j", "timeout": "5"}),
        ("job", {"job_id": "j", "timeout": True}),
        ("job", {"job_id": "j", "timeout": [5]}),
        ("job", {"job_id": "j", "deadline": None}),
        ("job", {"job_id": "j", "deadline": "nan"}),
        ("job", {"job_id": "j", "chain": "abc"}),
        ("job", {"job_id": "j", "chain": {"a": 1}}),
        ("job", {"job_id": "j", "chain": [1]}),
        ("job", {"job_id": "j", "window": 1.0}),
        ("job", {"job_id": "j", "window": True}),
        ("job", {"job_id": "j", "window": 0}),
        ("job-response", {"job_id": "j", "status": "done"}),
        ("job-response", {"job_id": "j", "status": ["completed"]}),
        ("job-response", {"job_id": "j", "status": None}),
        ("job-stream-credit", {"job_id": "j", "credit": -1}),
        ("ready", {"runner": "r", "active": 1}),
        ("ready", {"runner": "r", "started_at": "now"}),
        ("registry", {"runner": "r", "workers": {"name": "w"}}),
        ("registry", {"runner": "r", "workers": "w"}),
        ("registry", {"runner": "r", "workers": ["w"]}),
        ("registry", {"runner": "r", "workers": [None]}),
        ("registry", {"runner": "r", "workers": [["w"]]}),
        ("registry", {"runner": "r", "workers": [{}]}),
        ("registry", {"runner": "r", "workers": [{"name": 5}]}),
        ("registry", {"runner": "r", "workers": [{"name": "w", "activated": False}]}),
    ],
    ids=str,
)
def test_strict_types(tag: str, fields: dict[str, Any]) -> None:
    """U58: a number is no text, a missing field is no None, a text is no list, an unknown field is an error."""
    with pytest.raises(WireError, match=r"^no message: "):
        codec.loads(raw(tag, **fields))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_numbers_are_finite(number: str) -> None:
    """What JSON has no word for, or no float can hold, does not come in as infinity or NaN."""
    with pytest.raises(WireError, match=f"{number} is no number that can be sent"):
        codec.loads(f'{{"@type":"job","source":"s","job_id":"j","payload":{{"a":{number}}}}}'.encode())


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, "1.0"),
        (str, "null"),
        (Colour, "true"),
        (Colour, "1.0"),
        (Colour, "2"),
        (Shape, '"square"'),
        (Cents, '"5"'),
        (int | str, "true"),
        (Literal["a", 1], "true"),
        (list[int], '"12"'),
        (list[int], '{"1":2}'),
        (dict[str, int], "[]"),
        (dict[str, int], '{"a":"1"}'),
        (tuple, '"ab"'),
        (Node, '{"number":1,"below":"ab"}'),
        (Node, '{"number":1,"below":[{"number":"2"}]}'),
        (Node, "[1]"),
        (Optional[int], '"1"'),  # noqa: UP045 - as above
    ],
    ids=str,
)
def test_values_of_the_wrong_type_do_not_come_in(annotation: Any, value: str) -> None:
    """The fields of a user's own messages are as strict as ours."""
    with pytest.raises(WireError, match=r"^no message: "):
        received(annotation, value)


def test_a_float_may_come_without_a_point() -> None:
    """Another JSON library may write 5.0 as 5: an int is a float, too."""
    assert received(float, "5") == 5
    assert received(float | None, "null") is None


# -- whatever comes ------------------------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
field_names = sorted({field.name for cls in by_class for field in attrs.fields(cls)})


def loads_or_wire_error(data: bytes) -> BusMessage | None:
    """The message, if it is one; only a WireError may say that it is none."""
    try:
        return codec.loads(data)
    except WireError:
        return None


@steady
@given(st.binary(max_size=60))
@example(b"\x00")
def test_random_bytes(data: bytes) -> None:
    """U58, R22: whatever bytes arrive, they are a message or a WireError, and nothing is imported for them."""
    before = {*sys.modules}
    message = loads_or_wire_error(data)
    assert {*sys.modules} == before
    assert message is None


@steady
@given(
    any_message,
    st.sampled_from([None, None, *BUILT_IN, "this", "antigravity", "builtins"]),
    st.dictionaries(st.sampled_from([*field_names, "__type__", "__class__"]), json_values, max_size=2),
)
def test_random_objects(message: BusMessage, tag: str | None, changes: dict[str, Any]) -> None:
    """U58, R22: a message with other fields or another tag is a message that can be sent again, or a WireError."""
    before = {*sys.modules}
    fields = json.loads(codec.dumps(message)) | changes
    arrived = loads_or_wire_error(json.dumps(fields if tag is None else {**fields, "@type": tag}).encode())
    assert {*sys.modules} == before
    if arrived is not None:
        assert type(arrived) is (type(message) if tag is None else BUILT_IN[tag])
        assert codec.loads(codec.dumps(arrived)) == arrived


@steady
@given(any_message, st.data())
def test_damaged_messages(message: BusMessage, data: st.DataObject) -> None:
    """U58: a message of which one byte is lost or changed is another message, or a WireError."""
    whole = codec.dumps(message)
    place = data.draw(st.integers(0, len(whole) - 1))
    instead = data.draw(st.binary(max_size=1))
    arrived = loads_or_wire_error(whole[:place] + instead + whole[place + 1 :])
    assert arrived is None or type(arrived) in by_class


def test_the_cause_is_kept() -> None:
    """Both directions keep what went wrong as the cause of the WireError."""
    with pytest.raises(WireError) as received_wrong:
        codec.loads(raw("job"))
    with pytest.raises(WireError) as sent_wrong:
        codec.dumps(BusActivateWorkerMessage(source="s", args={"a": {1}}))
    assert isinstance(received_wrong.value.__cause__, KeyError)
    assert isinstance(sent_wrong.value.__cause__, TypeError)


def test_codecs_are_independent() -> None:
    """What one codec is taught, another does not know."""
    Codec({"price": PriceChanged})
    with pytest.raises(WireError):
        codec.dumps(PriceChanged(source="s", cents=1))


def test_equal_messages_have_equal_bytes() -> None:
    """The bytes depend on the message alone."""
    one = BusJobResponseMessage(source="s", job_id="j", response={"b": 1, "a": [1.5]})
    assert codec.dumps(one) == Codec().dumps(attrs.evolve(one))
    assert codec.dumps(BusWorkerReadyMessage(source="s", runner="r")) == b'{"@type":"ready","source":"s","runner":"r"}'
