"""The plugin for pytest: suites that know nothing of it, under many schedules."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import pytest

from trioworkers.testing import Hold, Schedule, _pytest_runs, _pytest_session, pytest_plugin
from trioworkers.testing.schedule import Granularity
from trioworkers.testing.strategies import Name

pytest_plugins = ["pytester"]

INI = """
[pytest]
trio_mode = true
filterwarnings = error
addopts = --strict-markers -p no:cacheprovider
"""
RACE = """
import pytest, trio

async def consumer(box):
    if not box.full:
        await trio.lowlevel.checkpoint()
        box.bell = trio.Event()
        await box.bell.wait()

async def producer(box):
    for _ in range(3):  # in trio's own order, which goes in rounds, the consumer has a bell by then
        await trio.lowlevel.checkpoint()
    box.full = True
    if box.bell is not None:
        box.bell.set()

class Box:
    full = False
    bell = None

async def both(box):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(consumer, box)
        nursery.start_soon(producer, box)
"""
HELD = "consumer is held at consumer (test_it.py:6) while producer runs"


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    """A place for a suite, in which pytest-trio runs async tests."""
    pytester.makeini(INI)
    return pytester


def run(suite: pytest.Pytester, text: str, *options: str, **counts: int) -> str:
    """Run a suite of one module, expect so many outcomes, return what is printed."""
    suite.makepyfile(test_it=text)
    result = suite.runpytest_inprocess(*options)
    result.assert_outcomes(**counts)
    return str(result.stdout)


def tokens(text: str) -> Sequence[str]:
    """The tokens in what was printed."""
    return re.findall(r"--tw-replay=(\S+)", text)


def lines(text: str, start: str) -> Sequence[str]:
    """The lines that begin so."""
    return [line for line in text.splitlines() if line.strip().startswith(start)]


# -- a suite that knows nothing of it ------------------------------------------------------------------------------------


def test_without_an_option_nothing_is_changed(suite: pytest.Pytester) -> None:
    """A suite that is run without an option is run as ever: once, by trio itself, without a word."""
    printed = run(
        suite,
        """
        import sys, trio

        async def test_it(request):
            assert not trio.lowlevel.current_root_task().child_nurseries[0].child_tasks & {None}
            assert request.config.pluginmanager.get_plugin("trioworkers-session") is None
            await trio.to_thread.run_sync(int)
        """,
        passed=1,
    )
    assert "schedule" not in printed


def test_a_race_is_found_and_told(suite: pytest.Pytester) -> None:
    """A race that trio's own order never shows is found, shrunk, and told in one line; the test fails once."""
    test = RACE + "\nasync def test_it(autojump_clock):\n    await both(Box())\n"
    assert "schedule" not in run(suite, test, passed=1)
    printed = run(suite, test, "--tw-explore=100", failed=1)
    assert len(lines(printed, "found by schedule")) == 1
    assert [line.split(maxsplit=1)[1] for line in lines(printed, "t=0.000 ")] == [HELD]
    assert "shrunk to 1 in" in printed
    assert "- schedule -" in printed
    assert "test 'test_it' @ both (test_it.py:24)" in printed
    assert re.search(r"^1 test, \d+ schedules, \d+ distinct courses$", printed, re.MULTILINE)


def test_a_schedule_is_run_again_by_its_token(suite: pytest.Pytester) -> None:
    """The line that a failure prints runs the test under just that schedule, and it fails in the same way."""
    test = RACE + "\nasync def test_it(autojump_clock):\n    await both(Box())\n"
    (token,) = tokens(run(suite, test, "--tw-explore=100", failed=1))
    assert Schedule.from_token(token).holds == (Hold("consumer", 1, "producer"),)
    printed = run(suite, test, f"--tw-replay={token}", failed=1)
    assert lines(printed, "replayed") == ["replayed, 1 hold:"]
    assert tokens(printed) == [token]
    assert "1 test, 1 schedule, 1 distinct course" in printed
    run(suite, test, f"--tw-replay={Schedule().to_token()}", passed=1)
