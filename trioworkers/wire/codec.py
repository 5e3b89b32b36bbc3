"""The table of tags, and the two directions."""

from __future__ import annotations

import json
import math
from typing import Any, Final

from cattrs import Converter
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn

from .. import messages
from .._decorators import is_message_class
from ..errors import WireError
from ..messages import BusLocalMessage, BusMessage
from ..types import JobStatus, WorkerRegistryEntry

_TAG: Final = "type"

BUILT_IN: Final[dict[str, type[BusMessage]]] = {
    "activate": messages.BusActivateWorkerMessage,
    "deactivate": messages.BusDeactivateWorkerMessage,
    "end": messages.BusEndMessage,
    "end-worker": messages.BusEndWorkerMessage,
    "ready": messages.BusWorkerReadyMessage,
    "cancel": messages.BusCancelMessage,
    "cancel-worker": messages.BusCancelWorkerMessage,
    "registry": messages.BusWorkerRegistryMessage,
    "error": messages.BusWorkerErrorMessage,
    "job": messages.BusJobRequestMessage,
    "job-response": messages.BusJobResponseMessage,
    "job-response-urgent": messages.BusJobResponseUrgentMessage,
    "job-update": messages.BusJobUpdateMessage,
    "job-update-urgent": messages.BusJobUpdateUrgentMessage,
    "job-update-request": messages.BusJobUpdateRequestMessage,
    "job-stream-start": messages.BusJobStreamStartMessage,
    "job-stream-data": messages.BusJobStreamDataMessage,
    "job-stream-end": messages.BusJobStreamEndMessage,
    "job-stream-credit": messages.BusJobStreamCreditMessage,
    "job-cancel": messages.BusJobCancelMessage,
}


def _strict(cls: type) -> Any:
    def structure(value: object, _: type) -> object:
        if type(value) is not cls:
            raise TypeError(f"{value!r} is no {cls.__name__}")
        return value

    return structure


def _structure_float(value: object, _: type) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{value!r} is no float")
    return float(value)


def _check_plain(value: object, where: str) -> None:
    """Refuse what JSON would silently turn into something else."""
    waiting: list[tuple[object, str]] = [(value, where)]
    while waiting:
        current, path = waiting.pop()
        if isinstance(current, float) and not math.isfinite(current):
            raise WireError(f"{path} is {current!r}: only finite numbers can be sent")
        if type(current) is dict:
            for key, inner in current.items():
                if type(key) is not str:
                    raise WireError(f"{path} has the key {key!r}: only str keys can be sent")
                waiting.append((inner, f"{path}[{key!r}]"))
        elif type(current) is list:
            waiting.extend((inner, f"{path}[{index}]") for index, inner in enumerate(current))
        elif not (current is None or type(current) in (str, int, float, bool)):
            raise WireError(f"{path} is {current!r}: only dict, list, str, int, float, bool and None can be sent")


def _converter() -> Converter:
    converter = Converter(forbid_extra_keys=True, detailed_validation=False)
    for primitive in (str, int, bool):
        converter.register_structure_hook(primitive, _strict(primitive))
    converter.register_structure_hook(float, _structure_float)
    converter.register_structure_hook(dict[str, Any], _strict(dict))
    converter.register_unstructure_hook(JobStatus, lambda status: status.value)
    converter.register_unstructure_hook(float, lambda number: None if math.isinf(number) else number)
    return converter


class Codec:
    """Turns messages into bytes and back.

    ::

        codec = Codec({"price": PriceChanged})
        assert codec.loads(codec.dumps(message)) == message

    Args:
        types: Message classes of your own, by tag; both sides need the same table.

    Raises:
        TypeError: A class is no attrs class of messages.
        ValueError: A tag or a class is in the table already.
    """

    def __init__(self, types: dict[str, type[BusMessage]] | None = None) -> None:
        self._converter = _converter()
        self._classes: dict[str, type[BusMessage]] = {}
        self._tags: dict[type[BusMessage], str] = {}
        for tag, cls in (*BUILT_IN.items(), *(types or {}).items()):
            self._add(tag, cls)

    def _add(self, tag: str, cls: type[BusMessage]) -> None:
        if not is_message_class(cls):
            raise TypeError(f"only classes of messages can be sent, not {cls!r}")
        if tag in self._classes or cls in self._tags:
            raise ValueError(f"{tag!r} or {cls.__name__} is in the table already")
        for plain in (cls, WorkerRegistryEntry):
            self._converter.register_unstructure_hook(
                plain, make_dict_unstructure_fn(plain, self._converter, _cattrs_omit_if_default=True)
            )
            self._converter.register_structure_hook(
                plain, make_dict_structure_fn(plain, self._converter, _cattrs_forbid_extra_keys=True)
            )
        self._classes[tag] = cls
        self._tags[cls] = tag

    def dumps(self, message: BusMessage) -> bytes:
        """Return the message as bytes.

        Raises:
            WireError: Its class is not in the table, it never leaves the process, or it holds something that cannot be sent.
        """
        tag = self._tags.get(type(message))
        if tag is None or isinstance(message, BusLocalMessage):
            raise WireError(f"{type(message).__name__} cannot be sent: it is not in the table, or is for this process only")
        fields = self._converter.unstructure(message)
        for name, value in fields.items():
            _check_plain(value, f"{type(message).__name__}.{name}")
        return json.dumps({_TAG: tag, **fields}, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")

    def loads(self, data: bytes) -> BusMessage:
        """Return the message in the bytes.

        Raises:
            WireError: They are no message: nothing was imported, nothing built.
        """
        try:
            fields = json.loads(data.decode("utf-8", "surrogatepass"), parse_constant=_no_constant)
            cls = self._classes[fields.pop(_TAG)]
            return self._converter.structure(fields, cls)
        except Exception as error:
            raise WireError(f"no message: {type(error).__name__}") from error


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number that can be sent")
