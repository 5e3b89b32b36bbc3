"""The worker: its life, its family, its face."""

from __future__ import annotations

from .base import BaseWorker as BaseWorker
from .core import WorkerStatistics as WorkerStatistics
from .params import WorkerParams as WorkerParams
