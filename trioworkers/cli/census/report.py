"""The report: from what was found to text. Everything is sorted, so equal findings give equal reports."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import attrs

from .tally import Tally
from .text import printable, table

ROWS = 10
EXAMPLES = 5


@attrs.frozen
class WorkerRow:
    """What one worker has done.

    Args:
        name: Its name.
        depth: How many owners it has above it.
        ended: Its jobs, counted by how they ended.
        lines: How many lines it has read.
        peak: The most messages that waited in its mailbox at once.
        latencies: Seconds from asking to answer, for each of its jobs.
    """

    name: str
    depth: int
    ended: Mapping[str, int]
    lines: int
    peak: int
    latencies: Sequence[float]


@attrs.frozen
class Findings:
    """All that a census has found.

    Args:
        root: Where.
        tally: The sums.
        complete: Whether every file was looked at.
        seconds: How long it took.
        workers: Who did it, parents before their children.
    """

    root: str
    tally: Tally
    complete: bool
    seconds: float
    workers: Sequence[WorkerRow]


def report(findings: Findings) -> str:
    """Return the whole text, without a last line feed."""
    tally = findings.tally
    sections = (
        _summary(findings),
        _kinds(tally),
        _functions(tally),
        _modules(tally),
        _examples("Not parsed, only counted", tally.unparsed),
        _examples("Failed", tally.failed),
        _workers(findings.workers),
    )
    return "\n\n".join(section for section in sections if section)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that ``percent`` of all values do not exceed (nearest rank); NaN if there are no values."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)] if values else math.nan


def _summary(findings: Findings) -> str:
    tally = findings.tally
    lines = [
        f"Census of {printable(findings.root)}",
        f"{tally.total.files:,} files, {tally.total.lines:,} lines, {tally.total.size:,} bytes in {findings.seconds:.2f} s",
    ]
    if not findings.complete:
        of_all = "" if tally.expected is None else f" of {tally.expected:,}"
        lines.append(f"Interrupted: only {tally.seen:,}{of_all} files were looked at")
    return "\n".join(lines)


def _kinds(tally: Tally) -> str:
    found = sorted(tally.kinds.items(), key=lambda item: (-item[1].lines, item[0]))
    rows: list[tuple[object, ...]] = [(kind or "(none)", sums.files, sums.lines, sums.size) for kind, sums in found[:ROWS]]
    others = [sums for _, sums in found[ROWS:]]
    if others:
        sums = (sum(other.files for other in others), sum(other.lines for other in others), sum(other.size for other in others))
        rows.append((f"({len(others):,} others)", *sums))
    return table("File types", ("type", "files", "lines", "bytes"), rows)


def _functions(tally: Tally) -> str:
    rows = [(function.lines, function.name, f"{path}:{function.line}") for function, path in tally.functions]
    return table("Longest functions", ("lines", "function", "where"), rows)


def _modules(tally: Tally) -> str:
    found = sorted(tally.modules.items(), key=lambda item: (-item[1], item[0]))
    return table("Most imported modules", ("files", "module"), [(files, module) for module, files in found[:ROWS]])


def _examples(title: str, reasons: Mapping[str, str]) -> str:
    if not reasons:
        return ""
    kinds = Counter(Path(path).suffix.lower() or "(none)" for path in reasons)
    most = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    title = f"{title}: {len(reasons):,} ({', '.join(_some([f'{files:,} {printable(kind)}' for kind, files in most]))})"
    return "\n".join([title, *(f"  {text}" for text in _some([printable(f"{path}: {reasons[path]}") for path in sorted(reasons)]))])


def _some(texts: list[str]) -> Iterable[str]:
    yield from texts[:EXAMPLES]
    if len(texts) > EXAMPLES:
        yield f"and {len(texts) - EXAMPLES:,} more"


def _workers(workers: Sequence[WorkerRow]) -> str:
    """The tree. A job goes past the mailbox: only hooks wait there, such as the census's ``on_job_response``."""
    rows = [
        (
            "  " * worker.depth + worker.name,
            worker.ended.get("completed", 0),
            sum(worker.ended.values()) - worker.ended.get("completed", 0),
            worker.lines,
            worker.peak,
            *(percentile(worker.latencies, percent) * 1000 for percent in (50, 90, 99)),
        )
        for worker in workers
    ]
    return table("Workers", ("name", "jobs done", "failed", "lines", "mailbox peak", "p50 ms", "p90 ms", "p99 ms"), rows)
