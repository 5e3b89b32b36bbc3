"""Every test here may ask for a server of its own."""

from __future__ import annotations

from redis_support import redis_server as redis_server
