"""Buses that span runners: numbered links over a transport, who is where, and what becomes of those who wait for somebody lost."""

from __future__ import annotations

from .bus import RemoteBus as RemoteBus
from .bus import RemoteBusStatistics as RemoteBusStatistics
from .link import LinkStatistics as LinkStatistics
from .session import PeerStatistics as PeerStatistics
from .transport import NameTakenError as NameTakenError
from .transport import Parcel as Parcel
from .transport import SessionOver as SessionOver
from .transport import Station as Station
from .transport import Transport as Transport
