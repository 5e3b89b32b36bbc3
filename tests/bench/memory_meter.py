"""How memory and imports are measured, the same on all sides."""

from __future__ import annotations

import gc
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

from bench.harness import Meter


@contextmanager
def weighing(meter: Meter, name: str, count: int) -> Iterator[None]:
    """Note how many bytes each of so many things takes."""
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    try:
        yield
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    meter.note(name, (after - before) / count, "bytes")


@contextmanager
def counting(meter: Meter, name: str) -> Iterator[None]:
    """Note how many more objects there are."""
    gc.collect()
    before = len(gc.get_objects())
    yield
    gc.collect()
    meter.note(name, len(gc.get_objects()) - before, "objects")


def import_time(meter: Meter, statement: str) -> None:
    """Note how long an import takes in a fresh interpreter, by its own account."""
    told = subprocess.run([sys.executable, "-X", "importtime", "-c", statement], capture_output=True, text=True, check=True).stderr
    lines = [line.removeprefix("import time:").split("|") for line in told.splitlines() if line.startswith("import time:")]
    names = [name.strip() for _, _, name in lines]
    own = lines[names.index("site") + 1 :]
    meter.note("time", sum(int(itself) for itself, _, _ in own) / 1e3, "ms")
    meter.note("modules", len(own), "modules")
