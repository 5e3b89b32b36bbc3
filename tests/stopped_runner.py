"""A process that is a member of a bus, and says so: the tests stop it and let it run again.

Run as ``python stopped_runner.py PORT INCARNATION BEAT TTL``.
"""

from __future__ import annotations

import sys

import trio
from station_support import a_place

from trioworkers.bus.redis.settings import RedisSettings
from trioworkers.bus.redis.transport import RedisTransport


async def main(port: str, incarnation: str, beat: str, ttl: str) -> None:
    """Join, say ``joined``, live, and say what it has ended with."""
    settings = RedisSettings(host="127.0.0.1", port=int(port))
    async with a_place() as place:
        life = await place.begin(RedisTransport(settings, bus="b", beat=float(beat), ttl=float(ttl)), incarnation)
        print("joined", flush=True)  # noqa: T201 - it is how the test knows
        while not life.ended:  # noqa: ASYNC110 - a script of ten lines
            await trio.sleep(0.01)
        print(f"{type(life.error).__name__}: {life.error}", flush=True)  # noqa: T201 - the same


if __name__ == "__main__":
    PORT, INCARNATION, BEAT, TTL = sys.argv[1:]
    trio.run(main, PORT, INCARNATION, BEAT, TTL)
