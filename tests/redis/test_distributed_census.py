"""The census over processes: started as its users start it, one reader killed in the middle, and counted right all the same."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import trio
from redis_support import RedisServer, program_running, until

PROGRAMS = Path(__file__).parents[2] / "examples" / "distributed_census"
PATIENCE = 60.0
SOURCE = "import os\n\n\nclass Greeter:\n    def greet(self):\n        async def wave(): ...\n"


def program(name: str, *arguments: str) -> list[str]:
    """Return how one of the programs is started; what it warns of is an error."""
    return [sys.executable, "-W", "error", str(PROGRAMS / name), *arguments]


def opened_for_writing(pipe: Path) -> int | None:
    """Open a pipe that somebody reads; return ``None`` if nobody does."""
    try:
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None


async def somebody_reads(pipe: Path) -> int:
    """Wait until somebody reads a pipe, which only a reader does that is in the middle of a batch; return the end to write to."""
    ends: list[int] = []

    def opened() -> bool:
        end = opened_for_writing(pipe)
        if end is not None:
            ends.append(end)
        return end is not None

    await until(opened, "a reader in the middle of its batch")
    return ends[0]


def census_in_one_process(folder: Path) -> str:
    """Return what the same count says that knows nothing of workers."""
    return subprocess.run(program("counting.py", str(folder)), capture_output=True, text=True, check=True, timeout=PATIENCE).stdout  # noqa: S603


async def test_a_reader_that_is_killed_costs_nothing(redis_server: RedisServer, tmp_path: Path) -> None:
    """N2, N6: a reader killed in the middle of a batch is found out, another one counts it, and the sums are those of one process.

    One of the files is a pipe: whoever reads it has begun its batch and cannot finish it, until the test writes.
    """
    folder, server = tmp_path / "sources", f"redis://127.0.0.1:{redis_server.port}"
    folder.mkdir()
    for number in range(200):
        (folder / f"module_{number:03}.py").write_text(SOURCE * number)
    (folder / "no_python.py").write_text("print 'hello'\n")
    (folder / "a_folder.py").mkdir()
    pipe = folder / "a_pipe.py"
    os.mkfifo(pipe)
    logs = [tmp_path / f"log-{number}" for number in range(3)]
    with trio.fail_after(PATIENCE):
        async with (
            program_running(tmp_path / "log", *program("coordinator.py", server, str(folder))) as coordinator,
            program_running(logs[0], *program("reader.py", server)) as victim,
        ):
            end = await somebody_reads(pipe)
            async with (
                program_running(logs[1], *program("reader.py", server)) as one,
                program_running(logs[2], *program("reader.py", server)) as other,
            ):
                victim.kill()
                await victim.wait()
                os.close(end)
                end = await somebody_reads(pipe)
                os.write(end, SOURCE.encode())
                os.close(end)
                codes = [await process.wait() for process in (coordinator, one, other)]
    written = (tmp_path / "log").read_text()
    assert codes == [0, 0, 0], [written, *(log.read_text() for log in logs)]
    assert f"reader-{victim.pid}@" in written
    assert "has not counted 25 files: they go to another\n" in written
    pipe.unlink()
    pipe.write_text(SOURCE)
    in_one = await trio.to_thread.run_sync(partial(census_in_one_process, folder))
    assert written.endswith(in_one)
    assert "  202 files\n" in in_one


async def test_readers_may_come_before_the_census_and_outlive_it(redis_server: RedisServer, tmp_path: Path) -> None:
    """N6: a reader waits for a census, is told when that is killed, and works for the next one."""
    folder, server, log = tmp_path / "sources", f"redis://127.0.0.1:{redis_server.port}", tmp_path / "log"
    folder.mkdir()
    pipe = folder / "a_pipe.py"
    os.mkfifo(pipe)
    with trio.fail_after(PATIENCE):
        async with program_running(log, *program("reader.py", server)) as reader:
            async with program_running(tmp_path / "first", *program("coordinator.py", server, str(folder))):
                end = await somebody_reads(pipe)
            await until(lambda: "once more: " in log.read_text(), "the reader to be told")
            os.close(end)
            pipe.unlink()
            pipe.write_text(SOURCE)
            async with program_running(tmp_path / "second", *program("coordinator.py", server, str(folder))) as second:
                assert (await second.wait(), await reader.wait()) == (0, 0)
    assert "runner 'coordinator'" in log.read_text()
    assert (tmp_path / "second").read_text().endswith(census_in_one_process(folder))


async def test_a_folder_without_files_needs_no_readers(redis_server: RedisServer, tmp_path: Path) -> None:
    """Where there is nothing to count, the census is done at once."""
    server = f"redis://127.0.0.1:{redis_server.port}"
    (tmp_path / "empty").mkdir()
    done = await trio.run_process(program("coordinator.py", server, str(tmp_path / "empty")), capture_stdout=True)
    assert done.stdout.decode().splitlines()[0] == "         0 files"
