"""A process for each side, so that no side's objects are in another's way: ``python tests/bench/turns.py SIDE`` is one of them."""

from __future__ import annotations

import inspect
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.harness import RUNS, THEIRS, Case, Meter, Reading

FAMILIES = ("messages", "jobs", "lives", "memory")
LIMIT = 300
"""Seconds after which a round is given up."""


def load(which: str) -> None:
    """Import what this side runs: the reference where nothing of ours is, and the other way round."""
    for family in FAMILIES:
        import_module(f"bench.theirs_{family}" if which == THEIRS else f"bench.{family}")


def runner_of(which: str) -> Callable[..., Any]:
    """Return what runs an async function on this side."""
    if which == THEIRS:
        import asyncio  # noqa: PLC0415 - only here

        return lambda function, *arguments: asyncio.run(function(*arguments))
    import trio  # noqa: PLC0415 - only here

    return trio.run


def one(which: str, scenario: str, size: int, times: int) -> dict[str, Reading]:
    """Have one round here, in this process."""
    meter = Meter()
    function = RUNS[which, scenario]
    if inspect.iscoroutinefunction(function):
        runner_of(which)(function, meter, size, times)
    else:
        function(meter, size, times)
    return meter.found


class Process:
    """The process of one side, started when it is first needed, and again after it has died."""

    def __init__(self, which: str) -> None:
        self.which = which
        self.popen: subprocess.Popen[str] | None = None

    def measure(self, case: Case) -> Mapping[str, Reading]:
        """Have it do one round; nothing if it could not."""
        if self.popen is None:
            command = [sys.executable, str(Path(__file__)), self.which]
            self.popen = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.popen.stdin is not None
        assert self.popen.stdout is not None
        print(json.dumps([case.scenario, case.size, case.times]), file=self.popen.stdin, flush=True)
        line = self.popen.stdout.readline()
        if not line:
            self.close()
            return {}
        return {name: Reading(*values) for name, values in json.loads(line).items()}

    def close(self) -> None:
        """End it."""
        if self.popen is not None:
            self.popen.kill()
            self.popen.wait()
            self.popen = None


def serve(which: str, results: TextIO) -> None:
    """Do what each line asks for, until there are no more."""
    load(which)
    for line in sys.stdin:
        scenario, size, times = json.loads(line)
        signal.alarm(LIMIT)
        found = one(which, scenario, size, times)
        signal.alarm(0)
        print(json.dumps({name: [each.value, each.wall, each.unit] for name, each in found.items()}), file=results, flush=True)


if __name__ == "__main__":
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)  # whatever else is printed goes elsewhere
        serve(sys.argv[1], out)
