"""Transport: inboxes with two lanes, and the bus that fills them."""

from __future__ import annotations

from .base import BusStatistics as BusStatistics
from .base import SenderWaiting as SenderWaiting
from .base import WorkerBus as WorkerBus
from .inbox import Inbox as Inbox
from .inbox import MailboxStatistics as MailboxStatistics
from .local import LocalBus as LocalBus
from .redis import RedisBus as RedisBus
from .redis import RedisSettings as RedisSettings
from .remote import LinkStatistics as LinkStatistics
from .remote import PeerStatistics as PeerStatistics
from .remote import RemoteBus as RemoteBus
from .remote import RemoteBusStatistics as RemoteBusStatistics
