"""Transport: inboxes with two lanes, and the bus that fills them.

What spans processes is imported when it is first asked for: most programs never do, and it takes as long as all the rest.
"""

from __future__ import annotations

import typing

from .. import _later
from .base import BusStatistics as BusStatistics
from .base import SenderWaiting as SenderWaiting
from .base import WorkerBus as WorkerBus
from .inbox import Inbox as Inbox
from .inbox import MailboxStatistics as MailboxStatistics
from .local import LocalBus as LocalBus

if typing.TYPE_CHECKING:
    from .redis import RedisBus as RedisBus
    from .redis import RedisSettings as RedisSettings
    from .remote import LinkStatistics as LinkStatistics
    from .remote import PeerStatistics as PeerStatistics
    from .remote import RemoteBus as RemoteBus
    from .remote import RemoteBusStatistics as RemoteBusStatistics
else:
    __getattr__, __dir__ = _later.names(
        globals(),
        {
            "RedisBus": ".redis",
            "RedisSettings": ".redis",
            "LinkStatistics": ".remote",
            "PeerStatistics": ".remote",
            "RemoteBus": ".remote",
            "RemoteBusStatistics": ".remote",
        },
    )
