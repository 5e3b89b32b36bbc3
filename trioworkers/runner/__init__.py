"""The top of the tree: what runs the roots."""

from __future__ import annotations

from .open import open_runner as open_runner
from .runner import RunnerStatistics as RunnerStatistics
from .runner import WorkerRunner as WorkerRunner
