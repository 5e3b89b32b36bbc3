"""Names that are imported when they are first asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

import trioworkers
from trioworkers import _later, bus

ALONE = """
import sys, trioworkers
heavy = ("cattrs", "msgspec", "trioworkers.wire", "trioworkers.bus.remote", "trioworkers.bus.redis")
assert not [name for name in heavy if name in sys.modules], sys.modules
from trioworkers import RedisBus
assert "trioworkers.bus.redis" in sys.modules
assert vars(trioworkers)["RedisBus"] is trioworkers.bus.RedisBus is RedisBus
"""


def test_what_spans_processes_is_imported_when_it_is_asked_for() -> None:
    """Importing the library imports neither a bus between processes nor what makes bytes; its names are there all the same."""
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    assert (done.stderr, done.returncode) == ("", 0)


def test_a_name_that_comes_later_is_listed() -> None:
    """``dir`` tells of the names that have not been asked for yet."""
    assert {"RedisBus", "LocalBus"} <= set(dir(trioworkers)) & set(dir(bus))
    package = {"__name__": "trioworkers", "here": 1}
    _, listed = _later.names(package, {"RedisBus": ".bus"})
    assert listed() == ["RedisBus", "__name__", "here"]


def test_a_name_that_is_not_there_is_no_attribute() -> None:
    """Asking for another name fails as it does with any module, and says which."""
    with pytest.raises(AttributeError, match="module 'trioworkers' has no attribute 'Nonsense'") as caught:
        trioworkers.Nonsense  # type: ignore[attr-defined]  # noqa: B018 - that is the mistake
    assert caught.value.name == "Nonsense"
