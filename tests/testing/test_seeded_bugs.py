"""The tester is tested: bugs are put into the library, and each is found within its budget, under the name of its promise."""

from __future__ import annotations

import pytest
from testing.seeded_bugs import BUGS, Bug

from trioworkers.testing import check_lifecycle


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_seeded_bug_is_found(bug: Bug) -> None:
    """A bug that a tired maintainer could have made is found, by the promise that it breaks, and shrunk to a few operations."""
    with bug.planted():
        broken = check_lifecycle(max_examples=bug.budget, system=bug.system).broken
    assert broken is not None
    told = f"{type(broken.course.error).__name__}: {broken.course.error}"
    assert any(promise in told for promise in bug.promises), told
    assert len(broken.plan.operations) <= 5


def test_without_a_bug_nothing_is_found() -> None:
    """What finds the bugs has nothing to say against the library as it is."""
    verdict = check_lifecycle(max_examples=300)
    assert (verdict.worlds, verdict.broken) == (300, None)


def test_there_are_many_kinds() -> None:
    """The table has a bug for every kind of promise."""
    assert len(BUGS) >= 50
    kinds = {promise[0] for bug in BUGS for promise in bug.promises}
    assert kinds >= {"L", "J", "B", "R"}
