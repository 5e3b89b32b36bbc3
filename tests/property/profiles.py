"""How much the property tests try: ``TRIOWORKERS_PROFILE=dev``, ``ci`` (the default) or ``nightly``."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

_NO_CLOCK = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
PROFILES = {
    "dev": settings(_NO_CLOCK, max_examples=25, stateful_step_count=20),
    "ci": settings(_NO_CLOCK, max_examples=300, stateful_step_count=30, derandomize=True),
    "nightly": settings(_NO_CLOCK, max_examples=10_000, stateful_step_count=50),
}
PROFILE = os.environ.get("TRIOWORKERS_PROFILE", "ci")
