"""What a tap that its reader has closed loses."""

from __future__ import annotations

import pytest
from support import Note

from trioworkers import LocalBus


def test_a_tap_closed_by_its_reader_loses_each_message() -> None:
    """Each message for a tap whose reader has closed its end is one loss, as ``statistics()`` tells."""
    bus = LocalBus()
    with bus.tap() as messages:
        bus.post(Note(source="a", target=None))
        assert bus.statistics().tap_losses == 0
        messages.close()
        for _ in range(3):
            bus.post(Note(source="a", target=None))
    bus.post(Note(source="a", target=None))
    assert bus.statistics().tap_losses == 3


@pytest.mark.parametrize("size", [0, -1])
def test_a_tap_that_could_hold_nothing_says_so(size: int) -> None:
    """The error for a tap without room tells how much it must hold at least, and what it was given."""
    with pytest.raises(ValueError, match=f"^a tap must hold at least 1 message, not {size}$"):
        LocalBus().tap(size).__enter__()
