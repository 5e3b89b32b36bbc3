"""From a message's class to what it does: a dictionary by exact type, filled in from the base classes on a miss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

Effect = Callable[[Any], None]


@attrs.define(eq=False, repr=False)
class Routes:
    """What each class of message does on arrival.

    Args:
        otherwise: For classes that nobody claimed.
    """

    otherwise: Effect
    _claimed: dict[type, Effect] = attrs.field(factory=dict, init=False)
    _known: dict[type, Effect] = attrs.field(factory=dict, init=False)

    def claim(self, routes: Mapping[type, Effect]) -> None:
        """Add the routes of one part.

        Raises:
            ValueError: A class is claimed already: two parts would answer for one thing.
        """
        for cls, effect in routes.items():
            if cls in self._claimed:
                raise ValueError(f"{cls.__name__} is claimed twice")
            self._claimed[cls] = effect
        self._known.clear()

    def of(self, cls: type) -> Effect:
        """Return the effect for this class, that of its nearest claimed base, or ``otherwise``."""
        effect = self._known.get(cls)
        if effect is None:
            effect = next((self._claimed[base] for base in cls.__mro__ if base in self._claimed), self.otherwise)
            self._known[cls] = effect
        return effect
