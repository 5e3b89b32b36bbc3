"""Strategies for Hypothesis: what goes wrong, and who runs when. Values, so that Hypothesis can print them and make them small."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

try:
    from hypothesis import strategies as st
except ImportError as _missing:
    raise ImportError("trioworkers.testing.hypothesis needs Hypothesis: pip install 'trioworkers[test]'") from _missing

from ._weather import KINDS, MISHAPS, TIMES, WAYS, Fault, Role, roles
from .faults import FaultPlan
from .machine import LifecycleMachine as LifecycleMachine
from .machine import check_machine as check_machine
from .machine import names as names
from .machine import owners as owners
from .machine import scripts as scripts
from .machine import spare as spare
from .machine import steps as steps
from .machine import timeouts as timeouts
from .machine import uses as uses
from .machine import which as which
from .schedule import Hold, Schedule
from .simulate import STEP_COST, SimResult


def fault_plans(
    *nodes: str,
    max_faults: int = 3,
    messages: int = 20,
    jobs: int = 4,
    times: Sequence[float] = TIMES,
    kinds: Sequence[type[Fault]] | None = None,
) -> st.SearchStrategy[FaultPlan]:
    """Plans of what goes wrong between nodes; the simplest is that nothing does.

    ::

        @given(plan=fault_plans("client", "worker"), seed=st.integers(0, 2**16))
        def test_each_job_is_done_once(plan, seed):
            simulate(story, plan, seed=seed).unwrap()

    Args:
        nodes: The names of the nodes, for faults that are about nodes.
        max_faults: How many faults at most.
        messages: About how many messages there are: faults hit those with smaller numbers.
        jobs: About how many jobs there are.
        times: The moments and lengths to choose from, in seconds; that of your own timeouts should be among them.
        kinds: The kinds of faults to choose from; if left out, all, but without nodes none that are about nodes.

    Raises:
        ValueError: There is nothing to choose from.
    """
    one = faults(*nodes, messages=messages, jobs=jobs, times=times, kinds=kinds)
    return st.lists(one, max_size=max_faults, unique=True).map(_plan)


def faults(
    *nodes: str,
    messages: int = 20,
    jobs: int = 4,
    times: Sequence[float] = TIMES,
    kinds: Sequence[type[Fault]] | None = None,
) -> st.SearchStrategy[Fault]:
    """Single faults; see :func:`fault_plans`."""
    values = _values(nodes, messages, jobs, times)
    possible = [kind for kind in KINDS if set(roles(kind).values()) <= set(values)]
    chosen = possible if kinds is None else list(kinds)
    unknown = [kind.__name__ for kind in chosen if kind not in possible]
    if unknown or not chosen:
        raise ValueError(f"no faults of the kinds [{', '.join(unknown)}] can be drawn: some are about nodes, which must be given")
    return st.one_of([st.builds(kind, **{name: values[role] for name, role in roles(kind).items()}) for kind in chosen])


def schedules(
    seen: SimResult[Any], *, max_holds: int = 4, step_costs: Sequence[float] = (0.0, STEP_COST)
) -> st.SearchStrategy[Schedule]:
    """Schedules of a program that has been seen to run once: few interruptions, anywhere; the simplest is that there are none.

    ::

        @given(schedule=schedules(simulate(program)))
        def test_program(schedule):
            simulate(program, schedule=schedule).unwrap()

    Args:
        seen: A run: its tasks, and how many steps each took, are what there is to choose from.
        max_holds: How many interruptions at most.
        step_costs: How long a step takes at most, in virtual seconds.

    Raises:
        ValueError: There is nothing to choose from.
    """
    holds = _holds(seen)
    chosen = st.lists(st.sampled_from(holds), max_size=max_holds, unique=True) if holds else st.just([])
    return st.builds(Schedule, chosen.map(tuple), st.integers(0, 2**16), _some(step_costs, "step_costs"))


def _plan(faults: list[Fault]) -> FaultPlan:
    return FaultPlan(*faults)


def _some(values: Sequence[float], what: str) -> st.SearchStrategy[float]:
    if not values:
        raise ValueError(f"{what} must not be empty")
    return st.sampled_from(values)


def _values(nodes: Sequence[str], messages: int, jobs: int, times: Sequence[float]) -> dict[Role, st.SearchStrategy[Any]]:
    """What there is to choose from for each role that a field can have; nodes only if there are any."""
    time = _some(times, "times")
    values: dict[Role, st.SearchStrategy[Any]] = {
        "number": st.integers(0, max(0, messages - 1)),
        "count": st.integers(2, 6),
        "job": st.integers(0, max(0, jobs - 1)),
        "time": time,
        "length": st.one_of(st.just(math.inf), time),
        "way": st.sampled_from(WAYS),
        "what": st.sampled_from(MISHAPS),
        "flag": st.booleans(),
    }
    if nodes:
        pairs = [(one, other) for one in nodes for other in nodes if one != other]
        values |= {"node": st.sampled_from(nodes), "cut": st.sampled_from([*nodes, *pairs])}
    return values


def _holds(seen: SimResult[Any]) -> list[Hold]:
    """Each step that was taken, held for each other task once."""
    labels = list(dict.fromkeys(step.label for step in seen.trace))
    taken: dict[str, int] = {}
    holds: list[Hold] = []
    for step in seen.trace:
        number = taken[step.label] = taken.get(step.label, -1) + 1
        holds.extend(Hold(step.label, number, label) for label in labels if label != step.label)
    return holds
