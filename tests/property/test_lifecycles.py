"""Clients do everything to workers at once, under many schedules, in theatres of all shapes; the promises are watched all along."""

from __future__ import annotations

import pytest
from property.profiles import PROFILE
from property.theatres import THEATRES, Theatre

from trioworkers.testing import Hold, Operation, Plan, check_lifecycle

WORLDS = {"dev": 200, "ci": 1500, "nightly": 50_000}[PROFILE]
CHUNK = {"dev": 40, "ci": 50, "nightly": 500}[PROFILE]


@pytest.mark.parametrize("chunk", range(WORLDS // CHUNK // len(THEATRES)))
@pytest.mark.parametrize("theatre", THEATRES, ids=str)
def test_whatever_clients_do(theatre: Theatre, chunk: int) -> None:
    """L1-L7, J1-J7, B1-B5, R1, R2, C1: whatever clients do at the same time, under whatever schedule, in families of any shape."""
    seed = (THEATRES.index(theatre) * WORLDS) + chunk * CHUNK
    check_lifecycle(theatre.open, shutdown_timeout=theatre.shutdown_timeout, max_examples=CHUNK, seed=seed).check()


FOUND = [
    Plan(
        203357,
        (Operation(4, "add", ("spare", "", "slow")), Operation(6, "end_worker", ("spare",))),
        step_cost=0.0078125,
        holds=(Hold("add#4", 0, "runner"),),
    ),
    Plan(
        205297,
        (
            Operation(3, "tell", ("boss", "", 1), 0.25),
            Operation(5, "end_worker", ("left",)),
            Operation(7, "add", ("spare", "left", "slow")),
        ),
        holds=(
            Hold("add#7", 0, "runner"),
            Hold("add#7", 2, "watch_signals"),
            Hold("add#7", 2, "runner"),
            Hold("end_worker#5", 2, "worker:boss"),
        ),
    ),
]


@pytest.mark.parametrize("plan", FOUND, ids=lambda plan: str(plan.seed))
def test_an_end_before_the_first_step(plan: Plan) -> None:
    """L6: a worker that is ended between its start and its first step has its owner's time to end, and not a time of its own."""
    hasty = next(theatre for theatre in THEATRES if theatre.name == "hasty")
    check_lifecycle(hasty.open, shutdown_timeout=hasty.shutdown_timeout, replay=plan).check()
