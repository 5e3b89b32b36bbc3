"""Clients do everything to workers at once, under many schedules, in theatres of all shapes; the promises are watched all along."""

from __future__ import annotations

import pytest
from property.profiles import PROFILE
from property.theatres import THEATRES, Theatre

from trioworkers.testing import check_lifecycle

WORLDS = {"dev": 200, "ci": 1500, "nightly": 50_000}[PROFILE]
CHUNK = {"dev": 40, "ci": 50, "nightly": 500}[PROFILE]


@pytest.mark.parametrize("chunk", range(WORLDS // CHUNK // len(THEATRES)))
@pytest.mark.parametrize("theatre", THEATRES, ids=str)
def test_whatever_clients_do(theatre: Theatre, chunk: int) -> None:
    """L1-L7, J1-J7, B1-B5, R1, R2, C1: whatever clients do at the same time, under whatever schedule, in families of any shape."""
    seed = (THEATRES.index(theatre) * WORLDS) + chunk * CHUNK
    check_lifecycle(theatre.open, shutdown_timeout=theatre.shutdown_timeout, max_examples=CHUNK, seed=seed).check()
