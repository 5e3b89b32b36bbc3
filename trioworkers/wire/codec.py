"""The table of tags, and the two directions."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterable
from enum import Enum
from functools import partial
from types import NoneType, UnionType
from typing import Any, Final, Literal, NoReturn, Union, get_args, get_origin

import attrs
from cattrs import Converter

from .. import messages
from .._checks import check_name
from .._decorators import is_message_class
from .._leaves import describe
from ..errors import WireError
from ..messages import BusLocalMessage, BusMessage

DEPTH: Final = 100
"""How deep dicts and lists may be nested: what a sender may send, any receiver can read, however little of its stack is left."""

BUILT_IN: Final[dict[str, type[BusMessage]]] = {
    "activate": messages.BusActivateWorkerMessage,
    "deactivate": messages.BusDeactivateWorkerMessage,
    "end": messages.BusEndMessage,
    "end-worker": messages.BusEndWorkerMessage,
    "ready": messages.BusWorkerReadyMessage,
    "cancel": messages.BusCancelMessage,
    "cancel-worker": messages.BusCancelWorkerMessage,
    "registry": messages.BusWorkerRegistryMessage,
    "gone": messages.BusWorkersGoneMessage,
    "wanted": messages.BusWorkersWantedMessage,
    "room": messages.BusWorkerRoomMessage,
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

_TAG: Final = "@type"  # no attrs field can be called that
_PLAIN: Final = (str, int, float, bool, NoneType)
_TEXT: Final = frozenset({str})
_CLEAR: Final = frozenset({str, int, bool, NoneType})
_INFINITE: Final = {math.inf: "inf", -math.inf: "-inf"}
_INFINITIES: Final = {name: number for number, name in _INFINITE.items()}

Out = Callable[[Any], Any]
In = Callable[[Any, Any], Any]


# -- one type at a time: how it leaves, how it comes in ------------------------------------------------------------------


def _exactly(cls: Any, value: Any) -> Any:
    """Return the value if it is of this very type: one of a subclass would arrive as something else."""
    if type(value) is not cls:
        raise TypeError(f"a {type(value).__name__} is no {cls.__name__}")
    return value


def _primitive_out(primitive: type) -> Out:
    return lambda value: value.value if isinstance(value, Enum) else _exactly(primitive, value)


def _primitive_in(primitive: type) -> In:
    return lambda value, cls: cls(_exactly(primitive, value))  # ``cls`` may be a StrEnum


def _number(value: Any) -> Any:
    if type(value) not in (int, float):
        raise TypeError(f"a {type(value).__name__} is no number")
    return value


def _float_out(value: Any) -> Any:
    return _INFINITE.get(_number(value), value)


def _float_in(value: Any, _: object) -> Any:
    return _number(_INFINITIES.get(value) if type(value) is str else value)


def _attrs_out(cls: Any, converter: Converter) -> Out:
    fields_of = converter.gen_unstructure_attrs_fromdict(cls)
    return lambda value: fields_of(_exactly(cls, value))


def _is_collection(cls: Any) -> bool:
    origin = get_origin(cls) or cls
    return isinstance(origin, type) and issubclass(origin, Collection) and not attrs.has(origin)


def _shape(cls: Any) -> tuple[type, Any]:
    """Return which collection it is and what is in it, if JSON can tell it from others."""
    origin, inside = get_origin(cls) or cls, get_args(cls)
    if origin in (list, dict, tuple) and not inside:
        return origin, Any
    if origin is list or (origin is tuple and inside[1:] == (...,)):
        return origin, inside[0]
    if origin is dict and inside[0] is str:
        return origin, inside[1]
    raise TypeError(f"a field of type {cls} cannot be sent: use list[...], tuple[..., ...] or dict[str, ...]")


def _collection_out(cls: Any, converter: Converter) -> Out:
    origin, inside = _shape(cls)
    try:
        out = converter.get_unstructure_hook(inside)
    except RecursionError:  # cattrs says so of a class that holds others of its own kind
        out = partial(converter.unstructure, unstructure_as=inside)
    if origin is dict:
        return lambda value: {key: out(item) for key, item in _exactly(dict, value).items()}
    return lambda value: [out(item) for item in _exactly(origin, value)]


def _collection_in(cls: Any, converter: Converter) -> In:
    origin, inside = _shape(cls)
    make: Any = origin
    take = converter.get_structure_hook(inside)
    if origin is dict:
        return lambda value, _: {key: take(item, inside) for key, item in _exactly(dict, value).items()}
    return lambda value, _: make(take(item, inside) for item in _exactly(list, value))


def _is_choice(cls: Any) -> bool:
    """Whether it is a ``Literal`` of plain values, or a union of plain types, which JSON keeps apart."""
    origin, members = get_origin(cls), get_args(cls)
    if origin is Literal:
        return all(type(member) in _PLAIN for member in members)
    return origin in (Union, UnionType) and len(members) > 1 + (NoneType in members) and all(member in _PLAIN for member in members)


def _chooser(cls: Any) -> Callable[[Any], bool]:
    members = get_args(cls)
    if get_origin(cls) is Literal:
        return lambda value: any(type(value) is type(member) and value == member for member in members)
    return lambda value: type(value) in members or (type(value) is int and float in members)


def _choice_out(cls: Any) -> Out:
    is_one = _chooser(cls)

    def check(value: Any) -> Any:
        if not is_one(value):
            raise TypeError(f"{value!r} is none of {cls}")
        return value

    return check


def _choice_in(cls: Any) -> In:
    check = _choice_out(cls)
    return lambda value, _: check(value)


def _unknown(cls: Any) -> NoReturn:
    raise TypeError(f"a field of type {cls} cannot be sent")


def _converter() -> Converter:
    converter = Converter(forbid_extra_keys=True, omit_if_default=True, detailed_validation=False, structure_fallback_factory=_unknown)
    for primitive in (str, int, bool):
        converter.register_unstructure_hook(primitive, _primitive_out(primitive))
        converter.register_structure_hook(primitive, _primitive_in(primitive))
    converter.register_unstructure_hook(float, _float_out)
    converter.register_structure_hook(float, _float_in)
    converter.register_unstructure_hook_factory(_is_collection, _collection_out)
    converter.register_structure_hook_factory(_is_collection, _collection_in)
    converter.register_unstructure_hook_factory(_is_choice, _choice_out)
    converter.register_structure_hook_factory(_is_choice, _choice_in)
    converter.register_unstructure_hook_factory(attrs.has, _attrs_out)
    converter.register_unstructure_hook_func(lambda cls: cls is Any, lambda value: value)
    return converter


def check_plain(value: Any, *path: object) -> None:
    """Refuse what would silently turn into something else."""
    if not is_plain((value,), DEPTH):
        _complain(value, *path)


def is_plain(values: Iterable[Any], depth: int) -> bool:
    """Whether :func:`check_plain` has nothing to complain of: that quickly, for most are."""
    for value in values:
        kind = type(value)
        if kind in _CLEAR:
            continue
        if kind is float:
            if not math.isfinite(value):
                return False
        elif kind is dict:
            if not (depth and _TEXT.issuperset(map(type, value)) and is_plain(value.values(), depth - 1)):
                return False
        elif not (kind is list and depth and (_CLEAR.issuperset(map(type, value)) or is_plain(value, depth - 1))):
            return False
    return True


def _complain(value: Any, *path: object) -> None:
    """Find what it is, and say where."""
    kind = type(value)
    if len(path) > DEPTH:
        raise TypeError(f"{_shown(path[:1])} is nested deeper than {DEPTH} levels")
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise TypeError(f"{_shown(path)} has the key {key!r}: only str keys can be sent")
            _complain(item, *path, key)
    elif kind is list:
        for index, item in enumerate(value):
            _complain(item, *path, index)
    elif kind not in _PLAIN:
        raise TypeError(f"{_shown(path)} is a {kind.__name__}: only dict, list, str, int, float, bool and None can be sent")
    elif kind is float and not math.isfinite(value):
        raise TypeError(f"{_shown(path)} is {value!r}: only finite numbers can be sent")


def _shown(path: tuple[object, ...]) -> str:
    field, *keys = path
    return f"{field}{''.join(f'[{key!r}]' for key in keys)}"


# -- the table -----------------------------------------------------------------------------------------------------------


class Codec:
    """Turns messages into bytes and back.

    ::

        codec = Codec({"price": PriceChanged})
        assert codec.loads(codec.dumps(message)) == message

    Args:
        types: Message classes of your own, by tag; both sides need the same table.

    Raises:
        TypeError: A tag is no ``str``, a class is none of messages, never leaves the process, or has a field of a type that
            cannot be sent.
        ValueError: A tag or a class is in the table already.
    """

    def __init__(self, types: dict[str, type[BusMessage]] | None = None) -> None:
        self._converter = _converter()
        self._classes: dict[str, type[BusMessage]] = {}
        self._tags: dict[type[BusMessage], str] = {}
        for tag, cls in (*BUILT_IN.items(), *(types or {}).items()):
            self._add(check_name(tag, "a tag"), cls)

    def _add(self, tag: str, cls: type[BusMessage]) -> None:
        if not is_message_class(cls) or issubclass(cls, BusLocalMessage):
            raise TypeError(f"only classes of messages that may leave the process can be sent, not {cls!r}")
        if tag in self._classes or cls in self._tags:
            raise ValueError(f"{tag!r} or {cls.__name__} is in the table already")
        self._converter.get_structure_hook(cls)  # here a field's type is refused, not when the first message comes
        self._classes[tag] = cls
        self._tags[cls] = tag

    def dumps(self, message: BusMessage) -> bytes:
        """Return the message as bytes.

        Raises:
            WireError: Its class is not in the table, it never leaves the process, or it holds something that cannot be sent.
        """
        name = type(message).__name__
        tag = self._tags.get(type(message))
        if tag is None:
            raise WireError(f"{name} cannot be sent: it is not in the table, or never leaves the process")
        try:
            fields = self._converter.unstructure(message)
            check_plain(fields)
            text = json.dumps({_TAG: tag, **fields}, separators=(",", ":"), ensure_ascii=False)
        except Exception as error:
            raise WireError(f"{name} cannot be sent: {describe(error)}") from error
        return text.encode("utf-8", "surrogatepass")

    def loads(self, data: bytes) -> BusMessage:
        """Return the message in the bytes.

        Raises:
            WireError: They are no message: nothing was imported, nothing built.
        """
        try:
            fields = json.loads(data.decode("utf-8", "surrogatepass"), parse_float=_finite, parse_constant=_finite)
            cls = self._classes[fields.pop(_TAG)]
            return self._converter.structure(fields, cls)
        except Exception as error:
            raise WireError(f"no message: {describe(error)}") from error


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number that can be sent")
    return number
