"""Instructions per operation of the hot paths, by callgrind: ``nox -s bench-instructions``, or ``python tests/bench/instructions.py``.

Times on a shared machine say little; these counts repeat, to a per mille or so. Each path is run twice, each time in a fresh
interpreter whose hashes are not random, and the difference between the two is what the operations take. They are compared with
``budget.json`` as ratios to the naive trio job (:class:`bench.jobs.Naive`), for interpreters differ in what an instruction buys; a
tenth more passes. Needs ``valgrind``.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import attrs
import trio
from bench.harness import SLACK, Meter, budget_of, judge, number
from bench.jobs import PAYLOAD, Helper, ask, naive
from bench.lives import start_and_stop
from bench.messages import BURST, Note, Sink

from trioworkers import BaseWorker, open_runner

BUDGET = Path(__file__).parent / "budget.json"
YARDSTICK = "naive trio job"


async def naive_jobs(times: int) -> None:
    """The yardstick."""
    async with naive() as dispatcher:
        for _ in range(times):
            await dispatcher.ask()


async def jobs(times: int) -> None:
    """Round trips, one after the other."""
    asker = BaseWorker("asker")
    async with open_runner(asker, Helper("helper")):
        await ask(asker, times)


async def timed_jobs(times: int) -> None:
    """Round trips with a timeout."""
    asker = BaseWorker("asker")
    async with open_runner(asker, Helper("helper")):
        await ask(asker, times, 60)


async def groups(times: int) -> None:
    """Groups of ten; a target is one operation."""
    asker, names = BaseWorker("asker"), [f"helper-{n}" for n in range(10)]
    async with open_runner(asker, *map(Helper, names)):
        for _ in range(times // 10):
            async with asker.job_group(*names, name="echo", payload=PAYLOAD):
                pass


async def pieces(times: int) -> None:
    """A stream whose producer never waits."""
    asker = BaseWorker("asker")
    async with open_runner(asker, Helper("helper")), asker.job("helper", name="burst", payload={"number": times}) as asking:
        async for _ in asking:
            pass


async def posts(times: int) -> None:
    """Messages, posted in bursts."""
    sink = Sink("sink")
    async with open_runner(sink) as runner:
        enough = sink.want(times)
        for n in range(times):
            runner.bus.post(Note(source="me", target="sink", number=n))
            if n % BURST == 0:
                await trio.lowlevel.checkpoint()
        await enough.wait()


async def sends(times: int) -> None:
    """Messages, sent one by one."""
    sink = Sink("sink")
    async with open_runner(sink) as runner:
        enough = sink.want(times)
        for n in range(times):
            await runner.bus.send(Note(source="me", target="sink", number=n))
        await enough.wait()


async def lives(times: int) -> None:
    """Workers: made, started together, ended together."""
    await start_and_stop(Meter(), times, parent=None)


@attrs.frozen
class Hot:
    """What is counted: a function, and how many operations it does in the shorter and in the longer run."""

    run: Callable[[int], Awaitable[None]]
    few: int
    many: int


PATHS: Mapping[str, Hot] = {
    YARDSTICK: Hot(naive_jobs, 100, 400),
    "job round trip": Hot(jobs, 100, 400),
    "job with a timeout": Hot(timed_jobs, 100, 400),
    "job in a group of 10, per target": Hot(groups, 100, 400),
    "piece of a stream": Hot(pieces, 640, 2_560),
    "message by post": Hot(posts, 640, 2_560),
    "message by send": Hot(sends, 640, 2_560),
    "life of a worker": Hot(lives, 50, 150),
}


def count(path: str, times: int) -> int:
    """Return how many instructions a whole run takes.

    Raises:
        RuntimeError: It has failed.
    """
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable, __file__, "--run", path, str(times)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONHASHSEED": "0"})
    collected = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or collected is None:
        raise RuntimeError(f"{path} could not be counted: {done.stderr}")
    return int(collected.group(1))


def slopes(names: Sequence[str]) -> dict[str, float]:
    """Return the instructions of one operation of each path."""
    runs = [(name, times) for name in names for times in (PATHS[name].few, PATHS[name].many)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # other work does not change what is counted
        counts = dict(zip(runs, pool.map(lambda run: count(*run), runs), strict=True))
    found = {}
    for name in names:
        few, many = PATHS[name].few, PATHS[name].many
        found[name] = (counts[name, many] - counts[name, few]) / (many - few)
    return found


def main() -> None:
    """Count, compare, say so."""
    parser = argparse.ArgumentParser(prog="nox -s bench-instructions --", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PATHS, default=list(PATHS), metavar="PATH")
    parser.add_argument("--update", action="store_true", help="write what was counted as the new budget")
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        gc.collect()
        gc.freeze()  # the modules are no part of what is counted
        trio.run(PATHS[options.run[0]].run, int(options.run[1]))
        return
    found = slopes(list(dict.fromkeys((YARDSTICK, *options.only))))
    budget = json.loads(BUDGET.read_text(encoding="utf-8")) if BUDGET.exists() else {"paths": {}}
    verdicts = judge(found, budget["paths"], YARDSTICK)
    for each in verdicts:
        allowed = "no budget" if each.allowed is None else f"budget {each.allowed:.3f} + {SLACK:.0%}"
        print(
            f"{each.path:34}{number(each.instructions / 1e3):>8} thousand {each.ratio:8.3f}x  {allowed}{'  EXCEEDED' * each.exceeded}"
        )
    if options.update:
        paths = {**budget["paths"], **budget_of(found, YARDSTICK)}
        text = json.dumps({"python": platform.python_version(), "yardstick": YARDSTICK, "paths": paths}, indent=1)
        BUDGET.write_text(f"{text}\n", encoding="utf-8")
    elif any(each.exceeded for each in verdicts):
        sys.exit("a hot path takes more than its budget")


if __name__ == "__main__":
    main()
