"""The plain trio code around the workers: ask for the census, add up what streams in, print the report."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import trio

from trioworkers import BaseWorker, JobError, JobEvent, JobStatus, open_runner

from .count import FileCount
from .progress import Progress
from .report import Findings, WorkerRow, report
from .tally import Tally
from .workers import Census, Reader

INTERRUPTED = 130  # what a shell says of a program that SIGINT has ended


def run(root: str, readers: int) -> int:
    """Take a census, print the report; return the exit code."""
    code = INTERRUPTED
    try:
        findings = trio.run(take_census, root, readers, Progress(sys.stderr))
        show(report(findings))
        code = 0 if findings.complete else INTERRUPTED
    except* KeyboardInterrupt:  # before there were workers to end, or when they had ended
        pass
    return code


def show(text: str) -> None:
    """Print, whatever stdout can encode, and even if nobody reads it to the end, as in ``demo | head``."""
    encoding = sys.stdout.encoding
    try:
        print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would try again, and complain, at its exit


async def take_census(root: str, number_of_readers: int, progress: Progress) -> Findings:
    """Run the workers, ask for the census, and return what was found: everything, or what there was when Ctrl-C came."""
    tally, complete, began = Tally(), False, trio.current_time()
    census = Census()
    readers = [Reader(f"reader-{number}") for number in range(1, number_of_readers + 1)]
    await census.add_workers(*readers)  # they start with it, and it is ready when they are
    with progress:
        try:
            async with open_runner(census, handle_sigint=True) as runner:
                async with runner.job("census", name="take", payload={"root": root}) as job:
                    async for event in job:
                        note(tally, event)
                        progress.show(tally)
                complete = job.response["complete"]
        except JobError as error:  # Ctrl-C before the census began, or a second time
            if error.status is not JobStatus.CANCELLED:
                raise
    seconds = trio.current_time() - began
    workers = [
        worker_row(census, 0, tally.total.lines, [seconds]),
        *(worker_row(reader, 1, census.lines[reader.name], census.latencies[reader.name]) for reader in readers),
    ]
    return Findings(root, tally, complete, seconds, workers)


def note(tally: Tally, event: JobEvent) -> None:
    """Add one event of the census's stream."""
    match event.type, event.data:
        case JobEvent.STREAM_START, {"files": expected}:
            tally.expected = expected
        case JobEvent.STREAM_DATA, {"path": path, "count": count}:
            tally.count(path, FileCount.from_dict(count))
        case JobEvent.STREAM_DATA, {"path": path, "failed": reason}:
            tally.fail(path, reason)


def worker_row(worker: BaseWorker, depth: int, lines: int, latencies: Sequence[float]) -> WorkerRow:
    """Return what a worker has done; its statistics can be asked for after its end, too."""
    statistics = worker.statistics()
    return WorkerRow(worker.name, depth, statistics.answering.ended, lines, statistics.mailbox.peak, latencies)
