"""What needs an extra says so, and nothing else needs it."""

from __future__ import annotations

import subprocess
import sys

import pytest

BLOCKED = """
import sys
for name in {missing!r}: sys.modules[name] = None
import trioworkers, trioworkers.bus
try:
    trioworkers.RedisBus("redis://localhost")
except ImportError as error:
    print(error)
"""


@pytest.mark.parametrize("missing", [["hiredis"], ["msgspec"], ["hiredis", "msgspec"]])
def test_a_redis_bus_names_its_extra(missing: list[str]) -> None:
    """Without the extra the package imports as ever, and whoever makes a RedisBus reads what to install."""
    run = subprocess.run([sys.executable, "-c", BLOCKED.format(missing=missing)], capture_output=True, text=True, check=True)  # noqa: S603 - our own
    assert run.stdout == "a bus over Redis needs hiredis and msgspec: pip install 'trioworkers[redis]'\n"


def test_the_base_does_without() -> None:
    """Importing the package imports neither hiredis nor msgspec."""
    code = "import sys, trioworkers; print({'hiredis', 'msgspec'} & {*sys.modules})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603 - our own
    assert run.stdout == "set()\n"
