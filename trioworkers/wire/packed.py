"""The same table of tags, in MessagePack: a tenth of the time, and half the bytes.

The messages that the library knows are encoded and decoded by msgspec, straight from and to their classes; its decoding is as
strict as the cattrs one's, but for unknown fields, which it ignores: so a newer release may add one. Classes of your own go through
cattrs, as in :class:`~trioworkers.wire.Codec`, and then through MessagePack. Where a class has nothing but plain fields, as most
have, cattrs would change nothing: it is asked only if there is something to complain of.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import NoneType, UnionType
from typing import Any, Final, Union, final, get_args, get_origin

import attrs
import msgspec

from .._leaves import describe
from ..errors import WireError
from ..messages import BusMessage
from .codec import BUILT_IN, DEPTH, Codec, check_plain, is_plain

_LONGEST: Final = 255
"""So many bytes a tag may have: their number is one byte."""

_PLAIN: Final[tuple[tuple[Any, frozenset[type]], ...]] = (
    *((kind, frozenset({kind})) for kind in (NoneType, str, int, bool, list, dict)),
    (float, frozenset({float, int})),
    (list[Any], frozenset({list})),
    (dict[str, Any], frozenset({dict})),
    (Any, frozenset({NoneType, str, int, bool, float, list, dict})),
)
"""The types of plain fields, and the classes of what may be in them."""


@attrs.frozen(eq=False)
class _PlainFields:
    """The fields of a class that has nothing but plain ones.

    Args:
        kinds: What may be in each.
        required: Those that must not be left out.
        defaults: What is in each of the others if it is.
    """

    kinds: dict[str, frozenset[type]]
    required: tuple[str, ...]
    defaults: dict[str, Any]

    @classmethod
    def of(cls, message_class: type[BusMessage]) -> _PlainFields | None:
        """Return those of a class; ``None`` if it has others, too."""
        kinds: dict[str, frozenset[type]] = {}
        defaults: dict[str, Any] = {}
        for field in attrs.fields(message_class):
            members = get_args(field.type) if get_origin(field.type) in (Union, UnionType) else (field.type,)
            inside = [classes for member in members for kind, classes in _PLAIN if kind == member]
            if not field.init or field.alias != field.name or len(inside) < len(members):
                return None
            kinds[field.name] = frozenset().union(*inside)
            if isinstance(field.default, attrs.Factory):  # type: ignore[arg-type]  # it is a class, whatever its stub says
                if field.default.factory not in (list, dict):
                    return None
                defaults[field.name] = field.default.factory()
            elif field.default is not attrs.NOTHING:
                defaults[field.name] = field.default
        return cls(kinds, tuple(name for name in kinds if name not in defaults), defaults)

    def of_message(self, message: BusMessage) -> dict[str, Any]:
        """Return what is in them, but for defaults: so who does not know a new field yet can read all that does not use it."""
        fields = {name: getattr(message, name) for name in self.required}
        for name, default in self.defaults.items():
            value = getattr(message, name)
            if value is not default and (type(value) is not type(default) or value != default):
                fields[name] = value
        return fields

    def fit(self, fields: Any) -> bool:
        """Whether they can be sent, or taken, as they are."""
        if type(fields) is not dict:
            return False
        kinds = self.kinds
        for name, value in fields.items():
            if name not in kinds or type(value) not in kinds[name]:
                return False
        return is_plain(fields.values(), DEPTH - 1)


@final
class PackedCodec(Codec):
    """Turns messages into MessagePack and back; needs ``msgspec``.

    ::

        codec = PackedCodec({"price": PriceChanged})
        assert codec.loads(codec.dumps(message)) == message

    Args:
        types: Message classes of your own, by tag; both sides need the same table.

    Raises:
        TypeError, ValueError: See :class:`~trioworkers.wire.Codec`.
    """

    def __init__(self, types: dict[str, type[BusMessage]] | None = None) -> None:
        super().__init__(types)
        self._encode: Callable[[Any], bytes] = msgspec.msgpack.Encoder().encode
        self._decoders: dict[bytes, Callable[[bytes], Any]] = {}
        self._free: dict[type[BusMessage], tuple[tuple[str, ...], tuple[str, ...]]] = {}
        self._plain: dict[type[BusMessage], _PlainFields] = {}
        self._heads: dict[type[BusMessage], bytes] = {}
        for tag, cls in self._classes.items():
            name = tag.encode("utf-8", "surrogatepass")
            if len(name) > _LONGEST:
                raise ValueError(f"the tag {tag!r} is too long: it may have {_LONGEST} bytes")
            self._heads[cls] = b"%c%s" % (len(name), name)
            if BUILT_IN.get(tag) is cls:
                self._free[cls] = _fields(cls, "dict"), _fields(cls, "int", "float")
                self._decoders[name] = self._decoding(cls)
            else:
                plain = _PlainFields.of(cls)
                if plain is not None:
                    self._plain[cls] = plain
                self._decoders[name] = self._structuring(cls, plain)

    def dumps(self, message: BusMessage) -> bytes:
        """Return the message as bytes.

        Raises:
            WireError: Its class is not in the table, it never leaves the process, or it holds something that cannot be sent.
        """
        cls = type(message)
        head = self._heads.get(cls)
        if head is None:
            raise WireError(f"{cls.__name__} cannot be sent: it is not in the table, or never leaves the process")
        try:
            body = self._encode(self._checked(cls, message))
        except Exception as error:
            raise WireError(f"{cls.__name__} cannot be sent: {describe(error)}") from error
        return head + body

    def loads(self, data: bytes) -> BusMessage:
        """Return the message in the bytes.

        Raises:
            WireError: They are no message: nothing was imported, nothing built.
        """
        try:
            start = 1 + data[0]
            message = self._decoders[data[1:start]](data[start:])
        except Exception as error:
            raise WireError(f"no message: {describe(error)}") from error
        assert isinstance(message, BusMessage)  # noqa: S101 - the table holds nothing else
        return message

    def _checked(self, cls: type[BusMessage], message: BusMessage) -> object:
        if cls in self._free:
            self._check(cls, message)
            return message
        plain = self._plain.get(cls)
        if plain is not None and plain.fit(fields := plain.of_message(message)):
            return fields
        fields = self._converter.unstructure(message)
        check_plain(fields)
        return fields

    def _check(self, cls: type[BusMessage], message: BusMessage) -> None:
        """Refuse what the type of a field lets through, but JSON would not."""
        free, numbers = self._free[cls]
        for name in free:
            value = getattr(message, name)
            if value:
                check_plain(value, name)
        for name in numbers:
            number = getattr(message, name)
            if number is not None and (type(number) not in (int, float) or number != number):  # noqa: PLR0124 - so NaN is known
                raise TypeError(f"{name} is {number!r}: only a number can be sent")

    def _decoding(self, cls: type[BusMessage]) -> Callable[[bytes], BusMessage]:
        decode = msgspec.msgpack.Decoder(cls).decode
        check = partial(self._check, cls)

        def take(data: bytes) -> BusMessage:
            message = decode(data)
            check(message)
            return message

        return take

    def _structuring(self, cls: type[BusMessage], plain: _PlainFields | None) -> Callable[[bytes], BusMessage]:
        decode = msgspec.msgpack.decode
        structure = self._converter.get_structure_hook(cls)

        def take(data: bytes) -> BusMessage:
            fields = decode(data)
            if plain is not None and plain.fit(fields):
                return cls(**fields)
            check_plain(fields)
            message: BusMessage = structure(fields, cls)
            return message

        return take


def _fields(cls: type[BusMessage], *words: str) -> tuple[str, ...]:
    """The fields whose type has one of these words in it."""
    return tuple(field.name for field in attrs.fields(cls) if any(word in str(field.type).split("[")[0] for word in words))
