"""The reference's side of the Redis benchmark: what :mod:`redis_ours` does, with pipecat."""

# mypy: ignore-errors
from __future__ import annotations

import asyncio
import json
import sys
import time  # noqa: TID251 - it measures

from loguru import logger

logger.remove()

from pipecat.bus.network.redis import RedisBus
from pipecat.pipeline.job_decorator import job
from pipecat.workers.base_worker import BaseWorker
from pipecat.workers.runner import WorkerRunner
from redis.asyncio import Redis

PAYLOAD = {"text": "x" * 50, "number": 1.5, "list": [1, 2, 3], "flag": True}


class Echo(BaseWorker):
    """Answers with what it was asked."""

    @job(name="echo")
    async def on_echo(self, message):
        """Answer."""
        await self.send_job_response(message.job_id, dict(message.payload))


async def ask(worker, times, latencies):
    """Ask so many times, one after the other."""
    for _ in range(times):
        start = time.perf_counter()
        async with worker.job("echo", name="echo", payload=PAYLOAD) as asking:
            pass
        latencies.append(time.perf_counter() - start)
        assert asking.response == PAYLOAD


async def measure(worker, at_once, times):
    """Ask from so many tasks at once; return how long it took."""
    latencies = []
    start, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(ask(worker, times // at_once, latencies) for _ in range(at_once)))
    return {"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu, "latencies": sorted(latencies)}


async def main(url, role):
    """Play the role until the input ends."""
    runner = WorkerRunner(bus=RedisBus(redis=Redis.from_url(url), channel="bench"), handle_sigint=False)
    worker = Echo("echo") if role == "answer" else BaseWorker(f"{role}-{runner.name}")
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run(auto_end=False))
    await asyncio.sleep(1)
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        at_once, times = map(int, line.split())
        print(json.dumps(await measure(worker, at_once, times)), flush=True)
    await runner.cancel()
    await running


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
