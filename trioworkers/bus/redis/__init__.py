"""Redis (>= 6.2) or Valkey between buses: streams as inboxes, leases as membership.

Needs ``pip install 'trioworkers[redis]'``; what needs it is imported when a bus is made, not before. From the bottom up:
:mod:`settings` says where the server is; :mod:`replies` turns commands into bytes and bytes into replies, which a :mod:`carrier` takes
and brings; :mod:`line` is one connection, and :mod:`dial` opens it; :mod:`scripts` is what the server does atomically; :mod:`roster`
is who was there when; :mod:`session` is one incarnation; :mod:`transport` is the whole.
"""

from __future__ import annotations

from .bus import RedisBus as RedisBus
from .settings import RedisSettings as RedisSettings
