"""From a message's class to what it does: a dictionary by exact type, filled in when the first message of a class comes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MethodType
from typing import Any

import attrs

Effect = Callable[[Any], None]
"""What a message does on arrival."""

Effects = Mapping[type, Callable[[Any, Any], None]]
"""What each class of message does to a part of its receiver: a method of the part's class."""


@attrs.define(eq=False, repr=False)
class Routes:
    """What each class of message does on arrival at one subscriber.

    The effects stand in one table for all parts of a kind; they are bound to the part when the first message comes that needs it.

    Args:
        otherwise: For classes that nobody claimed.
    """

    otherwise: Effect
    _claims: list[tuple[object, Effects]] = attrs.field(factory=list, init=False)
    _known: dict[type, Effect] = attrs.field(factory=dict, init=False)

    def claim(self, part: object, effects: Effects) -> None:
        """Have one part answer for the classes in its table.

        Raises:
            ValueError: A class is claimed already: two parts would answer for one thing.
        """
        for _, others in self._claims:
            for cls in effects.keys() & others.keys():
                raise ValueError(f"{cls.__name__} is claimed twice")
        self._claims.append((part, effects))
        self._known.clear()

    def of(self, cls: type) -> Effect:
        """Return the effect for this class, that of its nearest claimed base, or ``otherwise``."""
        effect = self._known.get(cls)
        if effect is None:
            effect = self._known[cls] = self._find(cls)
        return effect

    def _find(self, cls: type) -> Effect:
        for base in cls.__mro__:
            for part, effects in self._claims:
                if base in effects:
                    return MethodType(effects[base], part)
        return self.otherwise
