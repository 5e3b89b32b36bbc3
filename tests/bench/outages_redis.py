"""What outages of the server cost: ``python tests/bench/outages_redis.py``.

Eight callers ask one worker in another process, again and again; the server is killed (SIGKILL) and started again after a while,
with an append-only file and without. Each job must end in one of three ways: done, ``BusResetError``, ``PeerDownError``. A job that
runs into its timeout of half a minute has been lost silently.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time  # noqa: TID251 - it waits for a server
from collections import Counter
from contextlib import suppress
from pathlib import Path

import trio

from trioworkers import JobError, RedisBus, RemoteBusStatistics, WorkerRunner, open_runner

HERE = Path(__file__).parent
PORT = "6396"
URL = f"redis://localhost:{PORT}"
OUTAGES = (0.3, 1.0, 3.0, 10.0)


class Server:
    """A server that can be killed."""

    def __init__(self, folder: str, *options: str) -> None:
        self.command = ["redis-server", "--port", PORT, "--dir", folder, "--save", "", *options]
        self.start()

    def start(self) -> None:
        """Start it."""
        self.popen = subprocess.Popen(self.command, stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        """Kill it."""
        self.popen.kill()
        self.popen.wait()


async def call(runner: WorkerRunner, ends: Counter[str], latencies: list[float], over: trio.Event) -> None:
    """Ask until it is over."""
    number = 0
    while not over.is_set():
        number += 1
        start = trio.current_time()
        try:
            async with runner.job("echo", name="echo", payload={"number": number}, timeout=30) as asking:
                pass
        except JobError as error:
            ends["silently lost" if error.reason == "timeout" else type(error).__name__] += 1
        else:
            ends["done" if asking.response == {"number": number} else "wrong"] += 1
        latencies.append(trio.current_time() - start)
        await trio.sleep(0.001)


async def outage(server: Server, seconds: float) -> str:
    """Have one outage; say what it did."""
    ends: Counter[str] = Counter()
    latencies: list[float] = []
    over = trio.Event()
    async with open_runner(bus=RedisBus(URL, name="bench")) as runner:
        await runner.registry.wait_ready("echo")
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(call, runner, ends, latencies, over)
            await trio.sleep(1)
            server.kill()
            await trio.sleep(seconds)
            server.start()
            await trio.sleep(3)
            over.set()
        found = runner.bus.statistics()
    assert isinstance(found, RemoteBusStatistics)
    links = [peer.link for peer in found.peers]
    told = f"resent {sum(link.resent for link in links)}, duplicates {sum(link.duplicates for link in links)}"
    return f"{dict(ends)}, {told}, longest {max(latencies):.2f} s"


def main() -> None:
    """Have them all."""
    for options in (("--appendonly", "yes", "--appendfsync", "everysec"), ()):
        for seconds in OUTAGES:
            with tempfile.TemporaryDirectory() as folder:
                server = Server(folder, *options)
                time.sleep(0.5)
                command = [sys.executable, str(HERE / "redis_ours.py"), URL, "answer"]
                answerer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                assert answerer.stdout is not None
                answerer.stdout.readline()
                try:
                    print(f"{'AOF' if options else 'no AOF':8} {seconds:5.1f} s: {trio.run(outage, server, seconds)}", flush=True)
                finally:
                    answerer.kill()
                    server.kill()
                    with suppress(OSError):
                        answerer.wait()


if __name__ == "__main__":
    main()
