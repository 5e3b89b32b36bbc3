"""The plugin for pytest: simulations as fixtures, and a suite of pytest-trio tests under many schedules without a change in it.

=============================  ==================================================================================================
fixture ``world``              a :class:`~trioworkers.testing.World`, closed after the test
fixture ``simulated``          ``simulated(async_fn, *args)``: what it returns, in virtual time, under a schedule of the test's own
``--tw-explore=N``             run each test of pytest-trio's, and each that uses a fixture above, under N schedules
``--tw-strategy=NAME``         which schedules: portfolio, uniform, pos, pct or exhaustive
``--tw-replay=TOKEN``          run the selected tests under exactly the schedule that a failure has printed
``--tw-seed=S``                look elsewhere; without it, each test has a seed of its own, made from its name
``--tw-step-cost=SECONDS``     each step takes up to so many virtual seconds; 0 for pytest-trio's tests if left out
``--tw-granularity=KIND``      ``step``: any task may be next after each step; ``batch``: only orders that trio has today
``@pytest.mark.tw_plain``      leave this test alone
=============================  ==================================================================================================

A test has one outcome: it passes if it does under each schedule. Otherwise it is told how it fails under the first one that makes it
fail, after that schedule was shrunk; the section ``schedule`` says who was held where while whom ran, and how to run it again. For
each schedule the whole test is run anew, with its fixtures, those of classes, modules and the session excepted. A test that needs
threads, sockets or real time cannot be simulated: it is run once as it always is, and the summary says so. A limit of time that
another plugin sets for a test is for all its schedules together.

Without any of these options nothing is changed, and nothing else is imported: each start of pytest loads this module, which is why
it is outside of the package.
"""

from __future__ import annotations

import math
from argparse import ArgumentTypeError
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from trioworkers.testing import World
    from trioworkers.testing._pytest_runs import Run
    from trioworkers.testing.pytest_plugin import Simulated

OPTIONS = ("tw_explore", "tw_strategy", "tw_replay", "tw_seed", "tw_step_cost", "tw_granularity")
STRATEGIES = ("portfolio", "uniform", "pos", "pct", "exhaustive")
GRANULARITIES = ("step", "batch")
RUN: pytest.StashKey[Run] = pytest.StashKey()
"""The present run of a test."""


# -- options -------------------------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("trioworkers", "schedules (trioworkers)")
    group.addoption("--tw-explore", metavar="N", type=_count, help="run each simulated test under N schedules")
    group.addoption("--tw-strategy", choices=STRATEGIES, help="how the schedules are chosen (default: portfolio)")
    group.addoption("--tw-replay", metavar="TOKEN", help="run the tests under exactly this schedule")
    group.addoption("--tw-seed", metavar="S", type=int, help="the seed of the schedules (default: made from each test's name)")
    group.addoption("--tw-step-cost", metavar="SECONDS", type=_seconds, help="each step takes up to so many virtual seconds")
    group.addoption("--tw-granularity", choices=GRANULARITIES, help="step (default), or batch: only orders that trio has today")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker; and what runs tests under schedules, if an option asks for it."""
    config.addinivalue_line("markers", "tw_plain: do not run this test under other schedules (trioworkers)")
    if any(config.getoption(name) is not None for name in OPTIONS):
        from trioworkers.testing._pytest_session import Session  # noqa: PLC0415 - it is heavy

        config.pluginmanager.register(Session(config), "trioworkers-session")


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ArgumentTypeError(f"must be 1 or more, not {text}")
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 <= number < math.inf:
        raise ArgumentTypeError(f"must be zero or more seconds, and finite, not {text}")
    return number


# -- fixtures ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """A trio program, stepped by hand; closed after the test, and what goes wrong then is an error of the test."""
    from trioworkers.testing._pytest_runs import run_of  # noqa: PLC0415 - it is heavy

    with run_of(request.node).world() as world:
        yield world


@pytest.fixture
def simulated(request: pytest.FixtureRequest) -> Simulated:
    """Run an async function under a schedule, in virtual time: ``simulated(async_fn, *args)`` returns what it returns."""
    from trioworkers.testing._pytest_runs import run_of  # noqa: PLC0415 - it is heavy

    return run_of(request.node).simulated


# -- reports -------------------------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell of the simulations that a test has made by itself, if it has failed."""
    report = yield
    run = item.stash.get(RUN, None)
    if run is not None:
        if report.failed and run.tells:
            add_section(report, run.tale(item, run.head))
        if report.when == "teardown":
            del item.stash[RUN]
    return report


def add_section(report: pytest.TestReport, text: str) -> None:
    """Add a section ``schedule``: where it is always shown, if the report can be added to."""
    shown: Any = report.longrepr
    if hasattr(shown, "addsection"):
        shown.addsection("schedule", text)
    else:
        report.sections.append(("schedule", text))
