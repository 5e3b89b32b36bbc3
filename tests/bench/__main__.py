"""The in-process benchmark: ``nox -s bench``, or ``python tests/bench`` where the library and pipecat-ai are installed.

Each scenario is run by this library, by the reference and by bare trio, each in a process of its own that is idle while the others
have their turn; rounds alternate, and their order is turned round each time. What is compared is the least processor time of all
rounds: the machine's other work can only add to it.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time  # noqa: TID251 - it says how long it takes
from collections.abc import Sequence
from contextlib import ExitStack
from fnmatch import fnmatch
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import attrs
from bench import jobs, lives, memory, messages, turns
from bench.harness import SIDES, THEIRS, Case, Reading, Row, included, interleave, markdown, rows, table

CASES: tuple[Case, ...] = (*messages.CASES, *jobs.CASES, *lives.CASES, *memory.CASES)
PAGE = Path(__file__).parents[2] / "docs" / "performance.md"


def chosen(only: Sequence[str], *, quick: bool) -> list[Case]:
    """The cases to run: by pattern of their key or their scenario, else all; the quick run leaves out what takes long."""
    if not only:
        return [case for case in CASES if case.quick or not quick]
    return [case for case in CASES if any(fnmatch(case.key, each) or fnmatch(case.scenario, each) for each in only)]


def measure(cases: Sequence[Case], sides: Sequence[str], rounds: int | None) -> list[Row]:
    """Run them all."""
    found: list[Row] = []
    with ExitStack() as stack:
        processes = {which: turns.Process(which) for which in sides}
        for process in processes.values():
            stack.callback(process.close)

        def turn(which: str, case: Case) -> dict[str, Reading]:
            readings = dict(processes[which].measure(case))
            if not readings:
                print(f"{case.key}: {which} could not do it", file=sys.stderr)
            return readings

        for case in cases:
            start = time.perf_counter()
            count = case.rounds if rounds is None else min(rounds, case.rounds)
            found += rows(case, interleave(case, sides, count, turn))
            print(f"{case.key}: {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
    return found


def surroundings(sides: Sequence[str]) -> str:
    """On what it was measured, in a sentence."""
    names = ["trioworkers", "trio", "attrs", *(["pipecat-ai"] if THEIRS in sides else [])]
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    return f"Python {platform.python_version()}, {versions}; {platform.system()} on {platform.machine()}."


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="nox -s bench --", description=__doc__)
    parser.add_argument("--only", nargs="+", default=[], metavar="PATTERN", help="scenarios, or cases, by name")
    parser.add_argument("--quick", action="store_true", help="the short cases, three rounds each: about a minute")
    parser.add_argument("--rounds", type=int, help="at most so many")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES), help="who takes part")
    parser.add_argument("--json", type=Path, help="write everything here")
    parser.add_argument("--docs", action="store_true", help="write the table into docs/performance.md")
    parser.add_argument("--list", action="store_true", help="say what there is")
    options = parser.parse_args()
    if options.docs and (options.only or options.quick or options.rounds or set(options.sides) != set(SIDES)):
        parser.error("--docs is for the whole: without --only, --quick, --rounds and --sides")
    cases = chosen(options.only, quick=options.quick)
    if options.list:
        print(*(f"{case.key:24} {case.what.format(size=f'{case.size:,}')}" for case in cases), sep="\n")
        return
    sides = [which for which in options.sides if which != THEIRS or find_spec("pipecat") is not None]
    found = measure(cases, sides, options.rounds or (3 if options.quick else None))
    about = surroundings(sides)
    print(about, table(found), sep="\n\n")
    if options.json is not None:
        report = {"about": about, "rows": [{**attrs.asdict(row), "ahead": row.ahead(), "of_floor": row.of_floor()} for row in found]}
        options.json.write_text(json.dumps(report, indent=1), encoding="utf-8")
    if options.docs:
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(included(page, f"{about}\n\n{markdown(found)}"), encoding="utf-8")


if __name__ == "__main__":
    main()
