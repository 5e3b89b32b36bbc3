"""Jobs from process to process over Redis, beside the reference's, interleaved: ``python tests/bench/bench_redis.py``.

A round trip is a message and one back, or a whole job. One server, two processes each (one asks, one answers), and in the last
scenarios four more that do nothing. Rounds alternate, and the order is turned round each time; what is compared is the median of
the rounds. Needs ``redis-server``, and pipecat-ai and redis in this environment: ``nox -s bench-redis`` has them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SIDES = ("ours", "theirs")
KINDS = ("message", "job")
PORT = "6398"
URL = f"redis://localhost:{PORT}"


class Process:
    """One process of one side."""

    def __init__(self, side: str, role: str) -> None:
        command = [sys.executable, str(HERE / f"redis_{side}.py"), URL, role]
        self.popen = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._line() == "ready"

    def _line(self) -> str:
        assert self.popen.stdout is not None
        return self.popen.stdout.readline().strip()

    def measure(self, kind: str, at_once: int, times: int) -> dict[str, Any]:
        """Have it ask."""
        assert self.popen.stdin is not None
        print(kind, at_once, times, file=self.popen.stdin, flush=True)
        found: dict[str, Any] = json.loads(self._line())
        return found

    def close(self) -> None:
        """End it."""
        self.popen.kill()
        self.popen.wait()


def rounds(askers: dict[str, Process], kind: str, at_once: int, times: int, count: int) -> dict[str, dict[str, float]]:
    """Measure alternately; return the medians."""
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for number in range(count):
        for side in SIDES[:: 1 if number % 2 else -1]:
            found[side].append(askers[side].measure(kind, at_once, times))
    return {side: _summary(results) for side, results in found.items()}


def _summary(results: list[dict[str, Any]]) -> dict[str, float]:
    counts = [len(result["latencies"]) for result in results]
    return {
        "trips/s": statistics.median(count / result["seconds"] for count, result in zip(counts, results, strict=True)),
        "p50 us": statistics.median(result["latencies"][len(result["latencies"]) // 2] for result in results) * 1e6,
        "p99 us": statistics.median(result["latencies"][int(len(result["latencies"]) * 0.99)] for result in results) * 1e6,
        "cpu us": statistics.median(result["cpu"] / count for count, result in zip(counts, results, strict=True)) * 1e6,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    report: dict[str, dict[str, dict[str, float]]] = {}
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        command = ["redis-server", "--port", PORT, "--save", "", "--dir", folder]  # the first of them in the path
        server = stack.enter_context(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        stack.callback(server.kill)
        for side in SIDES:
            stack.callback(Process(side, "answer").close)
        askers = {side: Process(side, "ask") for side in SIDES}
        for asker in askers.values():
            stack.callback(asker.close)
        for kind in KINDS:
            rounds(askers, kind, 8, 400, 1)  # to get warm
            report[f"{kind}s, one by one"] = rounds(askers, kind, 1, 600, options.rounds)
            report[f"{kind}s, 64 at once"] = rounds(askers, kind, 64, 3200, options.rounds)
        for side in SIDES:
            for _ in range(4):
                stack.callback(Process(side, "idle").close)
        for kind in KINDS:
            report[f"{kind}s, one by one, 4 bystanders"] = rounds(askers, kind, 1, 600, options.rounds)
            report[f"{kind}s, 64 at once, 4 bystanders"] = rounds(askers, kind, 64, 3200, options.rounds)
    show(report)
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=1), encoding="utf-8")


def show(report: dict[str, dict[str, dict[str, float]]]) -> None:
    """Print a table."""
    columns = [(side, what) for what in ("trips/s", "p50 us", "p99 us", "cpu us") for side in SIDES]
    print(f"{'':36}{''.join(f'{side} {what}'.rjust(16) for side, what in columns)}   ratio")
    for scenario, sides in report.items():
        cells = "".join(f"{sides[side][what]:16.0f}" for side, what in columns)
        print(f"{scenario:36}{cells} {sides['ours']['trips/s'] / sides['theirs']['trips/s']:6.2f}x")


if __name__ == "__main__":
    main()
