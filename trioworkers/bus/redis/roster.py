"""Who is a member, as it is told to the station: the last words of those who are gone come before their farewell.

**By level, not by edge.** News wake; what they say is looked up. The list is fetched whole whenever it may have changed, so nothing
has to be remembered across a lost connection, and nothing is missed.

**Farewells wait.** Whatever a member has written for us, it has written before it was removed, and so before a list without it was
fetched. Once a read that was made *after* the list was fetched has emptied the inboxes, all of it has arrived: then, and not before,
the list is told. A list that only has more members than the last one is told at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import attrs

from .book import fenced


@attrs.define(eq=False)
class Roster:
    """The list of members, fetched and told.

    Args:
        me: Who must be in it.
        tell: Called with each list.
        stale: Whether the list should be fetched.
    """

    _me: str
    _tell: Callable[[Collection[str]], None]
    stale: bool = attrs.field(default=False, init=False)
    _generation: int = attrs.field(default=0, init=False)
    _told: tuple[str, ...] = attrs.field(default=(), init=False)
    _held_back: tuple[str, ...] | None = attrs.field(default=None, init=False)

    @property
    def waiting(self) -> bool:
        """Whether a list waits for the inboxes to be empty."""
        return self._held_back is not None

    def compare(self, generation: int) -> None:
        """Take notice of a generation: if it is not that of the list, the list is stale."""
        if generation != self._generation:
            self.stale = True

    def fetched(self, generation: int, members: tuple[str, ...]) -> None:
        """Take a list that was just fetched.

        Raises:
            SessionOver: We are not in it.
        """
        if self._me not in members:
            fenced()
        self.stale = False
        self._generation = generation
        self._held_back = members
        if all(member in members for member in self._told):
            self.emptied()

    def emptied(self) -> None:
        """All that was written before the last list was fetched has arrived."""
        if self._held_back is None:
            return
        members, self._held_back = self._held_back, None
        if sorted(members) != sorted(self._told):
            self._told = members
            self._tell(members)
