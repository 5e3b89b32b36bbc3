"""The messages: what they are, what they refuse, what their senders are told when nobody is there."""

from __future__ import annotations

import copy
import inspect
import math
import pickle
from typing import Any

import attrs
import pytest
from hypothesis import given
from unit.strategies import any_message, by_class, steady

from trioworkers import (
    BusActivateWorkerMessage,
    BusCancelMessage,
    BusCancelWorkerMessage,
    BusDataMessage,
    BusDeactivateWorkerMessage,
    BusEndMessage,
    BusEndWorkerMessage,
    BusJobCancelMessage,
    BusJobRequestMessage,
    BusJobResponseMessage,
    BusJobResponseUrgentMessage,
    BusJobStreamCreditMessage,
    BusJobStreamDataMessage,
    BusJobStreamEndMessage,
    BusJobStreamStartMessage,
    BusJobUpdateMessage,
    BusJobUpdateRequestMessage,
    BusJobUpdateUrgentMessage,
    BusLocalMessage,
    BusMessage,
    BusSystemMessage,
    BusWorkerErrorMessage,
    BusWorkerLocalErrorMessage,
    BusWorkerReadyMessage,
    BusWorkerRegistryMessage,
    BusWorkerRoomMessage,
    BusWorkersGoneMessage,
    BusWorkersWantedMessage,
    JobStatus,
    WorkerRegistryEntry,
    messages,
)
from trioworkers.messages import BusJobAnswerMessage, Priority, unchecked

SYSTEM: list[type[BusMessage]] = [
    BusCancelMessage,
    BusCancelWorkerMessage,
    BusWorkerRegistryMessage,
    BusWorkerErrorMessage,
    BusWorkerRoomMessage,
    BusWorkersGoneMessage,
    BusWorkersWantedMessage,
    BusWorkerLocalErrorMessage,
    BusJobResponseUrgentMessage,
    BusJobUpdateUrgentMessage,
    BusJobCancelMessage,
    BusJobStreamCreditMessage,
]
DATA: list[type[BusMessage]] = [
    BusActivateWorkerMessage,
    BusDeactivateWorkerMessage,
    BusEndMessage,
    BusEndWorkerMessage,
    BusWorkerReadyMessage,
    BusJobRequestMessage,
    BusJobResponseMessage,
    BusJobUpdateMessage,
    BusJobUpdateRequestMessage,
    BusJobStreamStartMessage,
    BusJobStreamDataMessage,
    BusJobStreamEndMessage,
]
BASES = [BusMessage, BusDataMessage, BusSystemMessage, BusLocalMessage, BusJobAnswerMessage]

WRONG_TYPES: list[tuple[type[BusMessage], dict[str, Any]]] = [
    (BusActivateWorkerMessage, {"args": [1]}),
    (BusEndMessage, {"reason": 5}),
    (BusEndWorkerMessage, {"reason": 5}),
    (BusCancelMessage, {"reason": 5}),
    (BusCancelWorkerMessage, {"reason": 5}),
    (BusWorkerReadyMessage, {"runner": None}),
    (BusWorkerReadyMessage, {"runner": "r", "parent": 5}),
    (BusWorkerReadyMessage, {"runner": "r", "active": 1}),
    (BusWorkerReadyMessage, {"runner": "r", "bridged": None}),
    (BusWorkerReadyMessage, {"runner": "r", "started_at": "now"}),
    (BusWorkerRegistryMessage, {"runner": 5}),
    (BusWorkerRegistryMessage, {"runner": "r", "workers": 5}),
    (BusWorkerRegistryMessage, {"runner": "r", "workers": ["w"]}),
    (BusWorkersGoneMessage, {"workers": [5]}),
    (BusWorkersGoneMessage, {"workers": 5}),
    (BusWorkersWantedMessage, {"workers": ["w"], "wanted": 1}),
    (BusWorkersWantedMessage, {"workers": [None]}),
    (BusWorkerRoomMessage, {"worker": 5, "room": True}),
    (BusWorkerRoomMessage, {"worker": "w", "room": None}),
    (BusWorkerErrorMessage, {"error": ValueError("boom")}),
    (BusWorkerLocalErrorMessage, {"error": None}),
    (BusJobRequestMessage, {"job_id": None}),
    (BusJobRequestMessage, {"job_id": "j", "job_name": 5}),
    (BusJobRequestMessage, {"job_id": "j", "payload": [1]}),
    (BusJobRequestMessage, {"job_id": "j", "timeout": "5"}),
    (BusJobRequestMessage, {"job_id": "j", "deadline": None}),
    (BusJobRequestMessage, {"job_id": "j", "chain": [5]}),
    (BusJobRequestMessage, {"job_id": "j", "window": 1.5}),
    (BusJobResponseMessage, {"job_id": 5}),
    (BusJobResponseMessage, {"job_id": "j", "response": "x"}),
    (BusJobResponseMessage, {"job_id": "j", "reason": ValueError("boom")}),
    (BusJobResponseMessage, {"job_id": "j", "traceback": 5}),
    (BusJobResponseUrgentMessage, {"job_id": "j", "response": "x"}),
    (BusJobUpdateMessage, {"job_id": "j", "update": "x"}),
    (BusJobUpdateUrgentMessage, {"job_id": None, "update": {}}),
    (BusJobStreamStartMessage, {"job_id": "j", "data": "x"}),
    (BusJobStreamDataMessage, {"job_id": "j", "data": "x"}),
    (BusJobStreamEndMessage, {"job_id": "j", "data": "x"}),
    (BusJobUpdateRequestMessage, {"job_id": 5}),
    (BusJobCancelMessage, {"job_id": 5}),
    (BusJobCancelMessage, {"job_id": "j", "reason": 5}),
    (BusJobStreamCreditMessage, {"job_id": None}),
    (BusJobStreamCreditMessage, {"job_id": "j", "credit": 0.5}),
]


def test_every_class_is_listed_here() -> None:
    """The lists of these tests, and the strategies, know each message class that there is."""
    defined = {cls for _, cls in inspect.getmembers(messages, inspect.isclass) if cls.__name__.startswith("Bus")}
    assert defined == {*SYSTEM, *DATA, *BASES}
    assert {*by_class} == {*SYSTEM, *DATA} - {BusWorkerLocalErrorMessage}


@pytest.mark.parametrize("cls", SYSTEM)
def test_system_messages_are_urgent(cls: type[BusMessage]) -> None:
    """A system message has high priority, whatever else it is."""
    assert issubclass(cls, BusSystemMessage)
    assert cls.priority is Priority.SYSTEM


@pytest.mark.parametrize("cls", DATA)
def test_data_messages_are_not(cls: type[BusMessage]) -> None:
    """A data message has normal priority."""
    assert issubclass(cls, BusDataMessage)
    assert not issubclass(cls, BusSystemMessage)
    assert cls.priority is Priority.DATA


def test_system_goes_first() -> None:
    """Of the two priorities, the lower number goes first."""
    assert sorted([Priority.DATA, Priority.SYSTEM]) == [Priority.SYSTEM, Priority.DATA]


def test_only_the_local_error_stays_in_the_process() -> None:
    """Of the library's messages, one is marked local."""
    assert [cls for cls in (*SYSTEM, *DATA) if cls.local] == [BusWorkerLocalErrorMessage]
    assert issubclass(BusWorkerLocalErrorMessage, BusLocalMessage)


def test_the_local_mark_may_stand_anywhere() -> None:
    """A class of messages that bears the mark is local, in whatever order its bases are written."""

    class First(BusLocalMessage, BusDataMessage):
        pass

    class Last(BusDataMessage, BusLocalMessage):
        pass

    assert (First.local, Last.local) == (True, True)


@pytest.mark.parametrize(("cls", "fields"), WRONG_TYPES, ids=lambda value: value.__name__ if isinstance(value, type) else str(value))
def test_wrong_types_are_refused(cls: type[BusMessage], fields: dict[str, Any]) -> None:
    """U58: a field of the wrong type is refused where the message is made."""
    with pytest.raises(TypeError):
        cls(source="a", **fields)


@pytest.mark.parametrize("cls", [BusMessage, BusDeactivateWorkerMessage])
def test_names_are_checked(cls: type[BusMessage]) -> None:
    """A source or target that is no str, or an empty one, is refused."""
    wrong: Any = 5
    for field in ("source", "target"):
        with pytest.raises(TypeError):
            cls(**{"source": "a", field: wrong})
        with pytest.raises(ValueError, match="must not be empty"):
            cls(**{"source": "a", field: ""})


def test_values_are_checked() -> None:
    """A status that is none, a window or a credit below 1 are refused."""
    wrong: Any = "done"
    with pytest.raises(ValueError, match="'done' is not a valid JobStatus"):
        BusJobResponseMessage(source="a", job_id="j", status=wrong)
    with pytest.raises(ValueError, match="window must be 1 or more"):
        BusJobRequestMessage(source="a", job_id="j", window=0)
    with pytest.raises(ValueError, match="credit must be 1 or more"):
        BusJobStreamCreditMessage(source="a", job_id="j", credit=0)


@pytest.mark.parametrize("cls", [cls for cls in (*SYSTEM, *DATA) if "job_id" in attrs.fields_dict(cls)])
def test_a_job_id_is_required(cls: Any) -> None:
    """U58: a message about a job without a job id cannot be made."""
    with pytest.raises(TypeError, match="job_id"):
        cls(source="a")


@pytest.mark.parametrize("cls", [*SYSTEM, *DATA])
def test_fields_are_keywords(cls: Any) -> None:
    """Every field is given by keyword, so that fields can be added."""
    with pytest.raises(TypeError, match="positional"):
        cls("a")


def test_sequences_become_tuples() -> None:
    """A list given for a chain or for entries is kept as a tuple: the message is frozen all through."""
    chain: Any = ["x", "y"]
    workers: Any = [WorkerRegistryEntry("w")]
    assert BusJobRequestMessage(source="a", job_id="j", chain=chain).chain == ("x", "y")
    assert BusWorkerRegistryMessage(source="a", runner="r", workers=workers).workers == (WorkerRegistryEntry("w"),)


def test_a_request_has_defaults() -> None:
    """A request without more has no limit, an empty payload, no job around it, and the usual window."""
    request = BusJobRequestMessage(source="a", job_id="j")
    assert attrs.asdict(request) == {
        "source": "a",
        "target": None,
        "job_id": "j",
        "job_name": None,
        "payload": {},
        "timeout": None,
        "deadline": math.inf,
        "chain": (),
        "window": 64,
    }


def test_an_answer_completes_unless_it_says_otherwise() -> None:
    """The default status is COMPLETED; a str of the same value is turned into a status."""
    given_as_text: Any = "failed"
    assert BusJobResponseMessage(source="a", job_id="j").status is JobStatus.COMPLETED
    assert BusJobResponseMessage(source="a", job_id="j", status=given_as_text).status is JobStatus.FAILED


def test_a_request_bounces_as_an_error() -> None:
    """J7: whoever asks somebody who is not there is answered, in that one's name."""
    request = BusJobRequestMessage(source="a", target="gone", job_id="j")
    assert request.bounce("no worker 'gone' here") == BusJobResponseMessage(
        source="gone", target="a", job_id="j", status=JobStatus.ERROR, reason="no worker 'gone' here"
    )


def test_a_request_without_a_target_bounces_in_its_own_name() -> None:
    """A bounce needs a source: without a target it is the sender itself."""
    bounced = BusJobRequestMessage(source="a", job_id="j").bounce("nobody")
    assert bounced is not None
    assert (bounced.source, bounced.target) == ("a", "a")


@steady
@given(any_message)
def test_nothing_else_bounces(message: BusMessage) -> None:
    """Only a request makes its sender wait, so nothing else is answered when its target is not there."""
    bounced = message.bounce("nobody")
    assert (bounced is not None) is isinstance(message, BusJobRequestMessage)


@steady
@given(any_message)
def test_messages_are_values(message: BusMessage) -> None:
    """Any message is frozen, equal to its copies, and no message of another class."""
    again = pickle.loads(pickle.dumps(message))  # noqa: S301 - our own bytes
    assert again == copy.copy(message) == attrs.evolve(message) == message
    assert message != BusMessage(source=message.source, target=message.target)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        message.source = "b"  # type: ignore[misc]


def test_an_urgent_answer_is_not_the_plain_one() -> None:
    """Messages of different classes differ, even with equal fields."""
    assert BusJobResponseUrgentMessage(source="a", job_id="j") != BusJobResponseMessage(source="a", job_id="j")


def test_messages_of_ones_own() -> None:
    """A subclass has the fields it declares, and its base's lane."""

    @attrs.frozen(kw_only=True)
    class PriceChanged(BusDataMessage):
        cents: int

    message = PriceChanged(source="shop", target="till", cents=250)
    assert (message.cents, message.priority, message.bounce("nobody")) == (250, Priority.DATA, None)


@steady
@given(any_message)
def test_an_unchecked_message_is_like_a_checked_one(message: BusMessage) -> None:
    """What the library makes of checked values cannot be told from what their class would have made of them."""
    values = {field.name: getattr(message, field.name) for field in attrs.fields(type(message))}
    made = unchecked(type(message))(**values)
    assert (type(made), made) == (type(message), message)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        made.source = "somebody else"  # type: ignore[misc]


def test_an_unchecked_message_has_all_its_fields() -> None:
    """Nothing is made up for a field that was left out: that is a mistake of ours."""
    with pytest.raises(KeyError):
        unchecked(BusJobStreamDataMessage)(source="a", target="b", job_id="c")
