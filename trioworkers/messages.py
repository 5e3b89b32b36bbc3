"""What travels on the bus.

Every message is a frozen value with keyword-only fields, a ``source`` and, unless it is for everybody, a ``target``. Its *class*
says how urgent it is (:attr:`BusMessage.priority`) and whether it may leave the process (:attr:`BusMessage.local`). No message
carries a live object: what it announces has been done by its sender already.

Reference: pipecat.bus.messages.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from enum import IntEnum
from functools import partial
from typing import Any, ClassVar, ParamSpec, TypeVar, cast

import attrs

from .types import JobStatus, Loss, WorkerRegistryEntry

WINDOW = 64
"""How many chunks and updates a request's answerer may be ahead of its asker."""


class Priority(IntEnum):
    """The two lanes of an inbox; the lower number goes first."""

    SYSTEM = 0
    DATA = 1


_Check = Callable[[object, "attrs.Attribute[Any]", Any], None]


def _of(*types: type, none: bool = False, least: int | None = None) -> _Check:
    """Return a validator: one function for each kind of field, for messages are made by the thousand.

    Args:
        types: The types that a value may have.
        none: Whether it may be ``None``, too.
        least: The least number, or the least length, that it may have.
    """
    first = types[0]
    exact = frozenset({first, type(None)} if none else {first})
    sized = first is str

    def check(message: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if type(value) not in exact and not isinstance(value, types):
            kinds = " or ".join(kind.__name__ for kind in types)
            raise TypeError(f"{type(message).__name__}.{attribute.name} must be a {kinds}{' or None' * none}, not {value!r}")
        if least is not None and value is not None and (len(value) if sized else value) < least:
            rule = "must not be empty" if sized else f"must be {least} or more, not {value!r}"
            raise ValueError(f"{type(message).__name__}.{attribute.name} {rule}")

    return check


def _each(kind: type) -> Callable[[object, attrs.Attribute[Any], tuple[Any, ...]], None]:
    check = _of(kind)

    def check_each(message: object, attribute: attrs.Attribute[Any], values: tuple[Any, ...]) -> None:
        for value in values:
            check(message, attribute, value)

    return check_each


_NAME = _of(str, least=1)
_OPTIONAL_NAME = _of(str, none=True, least=1)
_TEXT = _of(str)
_OPTIONAL_TEXT = _of(str, none=True)
_DICT = _of(dict)
_OPTIONAL_DICT = _of(dict, none=True)
_BOOL = _of(bool)
_SECONDS = _of(float, int)
_OPTIONAL_SECONDS = _of(float, int, none=True)
_COUNT = _of(int, least=1)


class BusLocalMessage:
    """A mark: such a message never leaves the process. It may stand anywhere among the bases."""

    __slots__ = ()


@attrs.frozen(kw_only=True)
class BusMessage:
    """The base of all messages; subclass :class:`BusDataMessage` or :class:`BusSystemMessage` for your own.

    ::

        @attrs.frozen(kw_only=True)
        class PriceChanged(BusDataMessage):
            cents: int

        await self.send_bus_message(PriceChanged(source=self.name, target="till", cents=250))

    Args:
        source: The sender's name.
        target: The receiver's name; ``None`` for everybody who asks for such messages.
    """

    priority: ClassVar[Priority] = Priority.DATA
    local: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        """The mark decides where it may go."""
        cls.local = issubclass(cls, BusLocalMessage)

    source: str = attrs.field(validator=_NAME)
    target: str | None = attrs.field(default=None, validator=_OPTIONAL_NAME)

    def bounce(self, reason: str) -> BusMessage | None:
        """What the sender is told when nobody called ``target`` is there; ``None`` if it does not wait for anything."""
        del reason
        return None


class BusDataMessage(BusMessage):
    """Normal priority."""

    __slots__ = ()


class BusSystemMessage(BusMessage):
    """High priority: overtakes every data message that still waits."""

    __slots__ = ()
    priority: ClassVar[Priority] = Priority.SYSTEM


P = ParamSpec("P")
M = TypeVar("M", bound=BusMessage)


def unchecked(cls: Callable[P, M]) -> Callable[P, M]:
    """Return what makes messages of a class from values that have been checked already: it takes *all* fields, by keyword.

    To check them costs as much as all else about a message. This is for this package; whoever uses it makes messages by their class.
    """
    kind = cast("type[BusMessage]", cls)
    fill = [(field.name, getattr(kind, field.name).__set__) for field in attrs.fields(kind)]
    new = cast("Callable[[], M]", partial(object.__new__, kind))

    def make(*args: P.args, **values: P.kwargs) -> M:
        del args
        message = new()
        for name, put in fill:
            put(message, values[name])
        return message

    return make


# -- lives ---------------------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class BusActivateWorkerMessage(BusDataMessage):
    """Asks the target to be active. ``args``: what its ``on_activated`` receives."""

    args: dict[str, Any] | None = attrs.field(default=None, validator=_OPTIONAL_DICT)


@attrs.frozen(kw_only=True)
class BusDeactivateWorkerMessage(BusDataMessage):
    """Asks the target to be inactive."""


@attrs.frozen(kw_only=True)
class BusEndMessage(BusDataMessage):
    """Asks the runner to end its whole session gracefully."""

    reason: str | None = attrs.field(default=None, validator=_OPTIONAL_TEXT)


@attrs.frozen(kw_only=True)
class BusEndWorkerMessage(BusDataMessage):
    """Asks one worker, with all below it, to end gracefully."""

    reason: str | None = attrs.field(default=None, validator=_OPTIONAL_TEXT)


@attrs.frozen(kw_only=True)
class BusWorkerReadyMessage(BusDataMessage):
    """Announces that the source is ready; the fields are those of its registry entry, and its runner's name."""

    runner: str = attrs.field(validator=_TEXT)
    parent: str | None = attrs.field(default=None, validator=_OPTIONAL_TEXT)
    active: bool = attrs.field(default=True, validator=_BOOL)
    bridged: bool = attrs.field(default=False, validator=_BOOL)
    started_at: float | None = attrs.field(default=None, validator=_OPTIONAL_SECONDS)


@attrs.frozen(kw_only=True)
class BusCancelMessage(BusSystemMessage):
    """Asks the runner to cancel its whole session at once."""

    reason: str | None = attrs.field(default=None, validator=_OPTIONAL_TEXT)


@attrs.frozen(kw_only=True)
class BusCancelWorkerMessage(BusSystemMessage):
    """Asks one worker, with all below it, to stop at once."""

    reason: str | None = attrs.field(default=None, validator=_OPTIONAL_TEXT)


def _ids(ids: Iterable[str]) -> tuple[str, ...]:
    return tuple(ids)


def _entries(entries: Iterable[WorkerRegistryEntry]) -> tuple[WorkerRegistryEntry, ...]:
    return tuple(entries)


@attrs.frozen(kw_only=True)
class BusWorkerRegistryMessage(BusSystemMessage):
    """One runner tells another of workers that are there, or are not what they were."""

    runner: str = attrs.field(validator=_TEXT)
    workers: tuple[WorkerRegistryEntry, ...] = attrs.field(default=(), converter=_entries, validator=_each(WorkerRegistryEntry))


@attrs.frozen(kw_only=True)
class BusWorkersGoneMessage(BusSystemMessage):
    """One runner tells another which of its workers are not there any more."""

    workers: tuple[str, ...] = attrs.field(converter=_ids, validator=_each(str))


@attrs.frozen(kw_only=True)
class BusWorkersWantedMessage(BusSystemMessage):
    """One runner tells another of whom, though no roots, it wants to hear; or, not ``wanted``, that it does no more."""

    workers: tuple[str, ...] = attrs.field(converter=_ids, validator=_each(str))
    wanted: bool = attrs.field(default=True, validator=_BOOL)


@attrs.frozen(kw_only=True)
class BusWorkerRoomMessage(BusSystemMessage):
    """One runner tells another whether there is room in a worker's mailbox."""

    worker: str = attrs.field(validator=_NAME)
    room: bool = attrs.field(validator=_BOOL)


@attrs.frozen(kw_only=True)
class BusWorkerErrorMessage(BusSystemMessage):
    """A root reports an error to whoever listens, over the network too."""

    error: str = attrs.field(validator=_TEXT)


@attrs.frozen(kw_only=True)
class BusWorkerLocalErrorMessage(BusLocalMessage, BusSystemMessage):
    """A child reports an error to its parent."""

    error: str = attrs.field(validator=_TEXT)


def _status(status: JobStatus) -> JobStatus:
    return status if type(status) is JobStatus else JobStatus(status)  # to call an Enum costs as much as a whole message


def _loss(loss: Loss | None) -> Loss | None:
    return None if loss is None else Loss(loss)


def _payload(payload: dict[str, Any] | None) -> dict[str, Any]:
    return {} if payload is None else payload


# -- jobs ----------------------------------------------------------------------------------------------------------------


class AboutJob:
    """A mark: the message is about one job, whose id is its ``job_id``. Without the mark, a field of that name is the class's own."""

    __slots__ = ()

    job_id: str


@attrs.frozen(kw_only=True)
class BusJobRequestMessage(BusDataMessage, AboutJob):
    """Asks the target for a job.

    Args:
        job_id: Unique across processes; the members of a group share one.
        job_name: Which handler; ``None`` for ``on_job_request``.
        payload: What the handler reads; ``{}`` if nothing was given.
        timeout: Seconds the job has left, enforced on both sides; ``None`` for no limit.
        deadline: When the asker's surroundings will give up, by the trio clock they share (``inf`` if never): information only.
        chain: The jobs inside which this one is asked for, outermost first, each as ``job_id@worker``.
        window: How many events the answerer may be ahead.
    """

    job_id: str = attrs.field(validator=_TEXT)
    job_name: str | None = attrs.field(default=None, validator=_OPTIONAL_TEXT)
    payload: dict[str, Any] = attrs.field(factory=dict, converter=_payload, validator=_DICT)
    timeout: float | None = attrs.field(default=None, validator=_OPTIONAL_SECONDS)
    deadline: float = attrs.field(default=math.inf, validator=_SECONDS)
    chain: tuple[str, ...] = attrs.field(default=(), converter=_ids, validator=_each(str))
    window: int = attrs.field(default=WINDOW, validator=_COUNT)

    def bounce(self, reason: str) -> BusMessage | None:
        """An ERROR answer: whoever asks somebody who is not there must not wait for ever."""
        return BusJobResponseMessage(
            source=self.target or self.source, target=self.source, job_id=self.job_id, status=JobStatus.ERROR, reason=reason
        )


@attrs.frozen(kw_only=True)
class BusJobAnswerMessage(BusDataMessage, AboutJob):
    """What an answerer tells its asker about one job: the common root of everything below."""

    job_id: str = attrs.field(validator=_TEXT)


@attrs.frozen(kw_only=True)
class BusJobResponseMessage(BusJobAnswerMessage):
    """The answer, which ends the job. ``reason`` and ``traceback``: why it did not complete, in words. ``loss``: a bus answered."""

    status: JobStatus = attrs.field(default=JobStatus.COMPLETED, converter=_status)
    response: dict[str, Any] | None = attrs.field(default=None, validator=_OPTIONAL_DICT)
    reason: str | None = attrs.field(default=None, validator=_OPTIONAL_TEXT)
    traceback: str | None = attrs.field(default=None, validator=_OPTIONAL_TEXT)
    loss: Loss | None = attrs.field(default=None, converter=_loss)


@attrs.frozen(kw_only=True)
class BusJobResponseUrgentMessage(BusJobResponseMessage, BusSystemMessage):
    """The answer, in the system lane."""

    priority: ClassVar[Priority] = Priority.SYSTEM


@attrs.frozen(kw_only=True)
class BusJobUpdateMessage(BusJobAnswerMessage):
    """News of a job that goes on."""

    update: dict[str, Any] | None = attrs.field(default=None, validator=_OPTIONAL_DICT)


@attrs.frozen(kw_only=True)
class BusJobUpdateUrgentMessage(BusJobUpdateMessage, BusSystemMessage):
    """News of a job that goes on, in the system lane."""

    priority: ClassVar[Priority] = Priority.SYSTEM


@attrs.frozen(kw_only=True)
class BusJobStreamStartMessage(BusJobAnswerMessage):
    """A stream begins."""

    data: dict[str, Any] | None = attrs.field(default=None, validator=_OPTIONAL_DICT)


@attrs.frozen(kw_only=True)
class BusJobStreamDataMessage(BusJobAnswerMessage):
    """A piece of a stream."""

    data: dict[str, Any] | None = attrs.field(default=None, validator=_OPTIONAL_DICT)


@attrs.frozen(kw_only=True)
class BusJobStreamEndMessage(BusJobAnswerMessage):
    """A stream ends, and with it its job, COMPLETED; ``data`` is the response."""

    data: dict[str, Any] | None = attrs.field(default=None, validator=_OPTIONAL_DICT)


@attrs.frozen(kw_only=True)
class BusJobUpdateRequestMessage(BusDataMessage, AboutJob):
    """Asks the answerer for news of a job."""

    job_id: str = attrs.field(validator=_TEXT)


@attrs.frozen(kw_only=True)
class BusJobCancelMessage(BusSystemMessage, AboutJob):
    """Asks the answerer to give a job up."""

    job_id: str = attrs.field(validator=_TEXT)
    reason: str | None = attrs.field(default=None, validator=_OPTIONAL_TEXT)


@attrs.frozen(kw_only=True)
class BusJobStreamCreditMessage(BusSystemMessage, AboutJob):
    """Tells the answerer that ``credit`` more of its events have been consumed."""

    job_id: str = attrs.field(validator=_TEXT)
    credit: int = attrs.field(default=1, validator=_COUNT)
