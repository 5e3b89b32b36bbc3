"""Anything is done to puppets at any moment, one thing after the other, as Hypothesis likes; the promises are looked at each time."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from property.profiles import PROFILE, PROFILES
from property.theatres import THEATRES, Theatre

from trioworkers.testing.hypothesis import LifecycleMachine, check_machine

SETTINGS = settings(PROFILES[PROFILE], max_examples=PROFILES[PROFILE].max_examples // len(THEATRES))


@pytest.mark.parametrize("theatre", THEATRES, ids=str)
def test_anything_at_any_moment(theatre: Theatre) -> None:
    """L1-L7, J1-J7, B1-B5, R1, R2, C1 hold after every rule, in families of any shape; and enough has happened to say so."""

    class TheatreMachine(LifecycleMachine):
        shutdown_timeout = theatre.shutdown_timeout

        def make_runner(self) -> Any:
            return theatre.open()

    check_machine(TheatreMachine, settings=SETTINGS)
