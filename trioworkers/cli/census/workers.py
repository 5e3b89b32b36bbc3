"""The two workers: a census, and the readers it owns."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import trio

from trioworkers import BaseWorker, BusJobRequestMessage, BusJobResponseMessage, JobError, JobFailed, job

from .count import NotTextError, count
from .files import files_below, read_file


class Reader(BaseWorker):
    """Reads files and counts what they hold: one job, one file."""

    @job
    async def read(self, message: BusJobRequestMessage) -> dict[str, Any]:
        """Count the file at ``payload["path"]``. A file that cannot be counted fails this job, and this job only."""
        path: str = message.payload["path"]
        try:
            data = await trio.to_thread.run_sync(read_file, path, abandon_on_cancel=True)
            return count(path, data).to_dict()
        except OSError as error:
            raise JobFailed(error.strerror or str(error)) from error
        except NotTextError as error:
            raise JobFailed(str(error)) from error


class Census(BaseWorker):
    """Hands the files of a tree to its children, and passes on what they find."""

    def __init__(self) -> None:
        super().__init__("census")
        self.lines: Counter[str] = Counter()
        self.latencies: defaultdict[str, list[float]] = defaultdict(list)

    @job
    async def take(self, message: BusJobRequestMessage) -> dict[str, Any]:
        """Count all files below ``payload["root"]``: a stream of one piece per file, ``{"path": ..., "count" or "failed": ...}``.

        The stream starts with how many files there are. The response says whether each was looked at: not if an end came between.
        """
        root: str = message.payload["root"]
        give, take = trio.open_memory_channel[str](0)
        async with trio.open_nursery() as nursery:
            for reader in self.children:
                nursery.start_soon(self._feed, reader.name, root, take, message.job_id)
            complete = await self._hand_out(root, give, message.job_id)
        return {"complete": complete}

    async def _hand_out(self, root: str, give: trio.MemorySendChannel[str], job_id: str) -> bool:
        """Give each file to the first reader that is free. Return whether none is left: an end of this worker comes first."""
        complete = False
        async with give, trio.open_nursery() as nursery:
            nursery.start_soon(self._cancel_when_ending, nursery.cancel_scope)
            paths = await trio.to_thread.run_sync(files_below, root, abandon_on_cancel=True)
            await self.send_job_stream_start(job_id, {"files": len(paths)})
            for path in paths:
                await give.send(path)
            complete = True
            nursery.cancel_scope.cancel()
        return complete

    async def _cancel_when_ending(self, scope: trio.CancelScope) -> None:
        await self.wait_ending()
        scope.cancel()

    async def _feed(self, reader: str, root: str, take: trio.MemoryReceiveChannel[str], job_id: str) -> None:
        """Keep one reader busy: its next file goes out when the answer for the last one has been passed on."""
        async for path in take:
            asked = trio.current_time()
            try:
                async with self.job(reader, name="read", payload={"path": str(Path(root, path))}) as asking:
                    pass
                piece: dict[str, Any] = {"path": path, "count": asking.response}
            except JobError as error:
                piece = {"path": path, "failed": error.reason or str(error)}
            self.latencies[reader].append(trio.current_time() - asked)
            await self.send_job_stream_data(job_id, piece)

    async def on_job_response(self, message: BusJobResponseMessage) -> None:
        """Look on: how much each reader has read. Hooks run in order beside the blocks, and see all that comes."""
        self.lines[message.source] += (message.response or {}).get("lines", 0)
