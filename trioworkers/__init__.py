"""Workers for trio: named actors in nurseries that mirror who owns whom, one bus, and jobs that always end.

The house, from the ground up; a lower floor never imports a higher one:

0. `errors`, `types`, `messages`, `_transitions`: the vocabulary. No trio, no behaviour; the lifecycles as tables.
1. `_hooks`, `_routes`, `_decorators`, `_load`, `_leaves`, `_checks`, `_sources`, `_later`, `observers`, `wire`: small mechanisms.
   No trio.
2. `bus`: inboxes with two lanes, effects on arrival, hooks in order.
3. `registry`: who is there.
4. `jobs`: asking (`JobRequester`), answering (`JobResponder`), and the block that holds both ends (`JobContext`).
5. `worker`: `Lifecycle`, `Family`, `Activation`, put together in `WorkerCore`, shown as `BaseWorker`.
6. `runner`: the top of the tree.
7. `cli`: ``python -m trioworkers``.
"""

from __future__ import annotations

import typing

from . import _later
from ._decorators import handles as handles
from ._decorators import job as job
from ._decorators import worker_ready as worker_ready
from ._sources import sources as sources
from ._transitions import JobState as JobState
from ._transitions import WorkerState as WorkerState
from .bus import BusStatistics as BusStatistics
from .bus import LocalBus as LocalBus
from .bus import MailboxStatistics as MailboxStatistics
from .bus import SenderWaiting as SenderWaiting
from .bus import WorkerBus as WorkerBus
from .errors import BusConnectionError as BusConnectionError
from .errors import BusResetError as BusResetError
from .errors import DuplicateWorkerError as DuplicateWorkerError
from .errors import FamilyError as FamilyError
from .errors import JobError as JobError
from .errors import JobFailed as JobFailed
from .errors import JobGroupError as JobGroupError
from .errors import MessageTooLargeError as MessageTooLargeError
from .errors import NoSuchJobError as NoSuchJobError
from .errors import PeerDownError as PeerDownError
from .errors import TransitionError as TransitionError
from .errors import UnknownWorkerError as UnknownWorkerError
from .errors import WireError as WireError
from .errors import WorkersError as WorkersError
from .errors import WorkerStartError as WorkerStartError
from .errors import WorkerStateError as WorkerStateError
from .jobs import DEFERRED as DEFERRED
from .jobs import JobContext as JobContext
from .jobs import JobGroup as JobGroup
from .jobs import JobGroupContext as JobGroupContext
from .jobs import RequesterStatistics as RequesterStatistics
from .jobs import ResponderStatistics as ResponderStatistics
from .messages import BusActivateWorkerMessage as BusActivateWorkerMessage
from .messages import BusCancelMessage as BusCancelMessage
from .messages import BusCancelWorkerMessage as BusCancelWorkerMessage
from .messages import BusDataMessage as BusDataMessage
from .messages import BusDeactivateWorkerMessage as BusDeactivateWorkerMessage
from .messages import BusEndMessage as BusEndMessage
from .messages import BusEndWorkerMessage as BusEndWorkerMessage
from .messages import BusJobCancelMessage as BusJobCancelMessage
from .messages import BusJobRequestMessage as BusJobRequestMessage
from .messages import BusJobResponseMessage as BusJobResponseMessage
from .messages import BusJobResponseUrgentMessage as BusJobResponseUrgentMessage
from .messages import BusJobStreamCreditMessage as BusJobStreamCreditMessage
from .messages import BusJobStreamDataMessage as BusJobStreamDataMessage
from .messages import BusJobStreamEndMessage as BusJobStreamEndMessage
from .messages import BusJobStreamStartMessage as BusJobStreamStartMessage
from .messages import BusJobUpdateMessage as BusJobUpdateMessage
from .messages import BusJobUpdateRequestMessage as BusJobUpdateRequestMessage
from .messages import BusJobUpdateUrgentMessage as BusJobUpdateUrgentMessage
from .messages import BusLocalMessage as BusLocalMessage
from .messages import BusMessage as BusMessage
from .messages import BusSystemMessage as BusSystemMessage
from .messages import BusWorkerErrorMessage as BusWorkerErrorMessage
from .messages import BusWorkerLocalErrorMessage as BusWorkerLocalErrorMessage
from .messages import BusWorkerReadyMessage as BusWorkerReadyMessage
from .messages import BusWorkerRegistryMessage as BusWorkerRegistryMessage
from .messages import BusWorkerRoomMessage as BusWorkerRoomMessage
from .messages import BusWorkersGoneMessage as BusWorkersGoneMessage
from .messages import BusWorkersWantedMessage as BusWorkersWantedMessage
from .observers import Observer as Observer
from .registry import WorkerRegistry as WorkerRegistry
from .runner import RunnerStatistics as RunnerStatistics
from .runner import WorkerRunner as WorkerRunner
from .runner import open_runner as open_runner
from .types import JobEvent as JobEvent
from .types import JobGroupEvent as JobGroupEvent
from .types import JobGroupResponse as JobGroupResponse
from .types import JobOutcome as JobOutcome
from .types import JobStatus as JobStatus
from .types import Loss as Loss
from .types import WorkerActivationArgs as WorkerActivationArgs
from .types import WorkerErrorData as WorkerErrorData
from .types import WorkerLostData as WorkerLostData
from .types import WorkerReadyData as WorkerReadyData
from .types import WorkerRegistryEntry as WorkerRegistryEntry
from .worker import BaseWorker as BaseWorker
from .worker import WorkerParams as WorkerParams
from .worker import WorkerStatistics as WorkerStatistics

if typing.TYPE_CHECKING:
    from .bus import LinkStatistics as LinkStatistics
    from .bus import PeerStatistics as PeerStatistics
    from .bus import RedisBus as RedisBus
    from .bus import RedisSettings as RedisSettings
    from .bus import RemoteBusStatistics as RemoteBusStatistics
else:  # imported when first asked for; `bus` says why
    __getattr__, __dir__ = _later.names(
        globals(), dict.fromkeys(("LinkStatistics", "PeerStatistics", "RedisBus", "RedisSettings", "RemoteBusStatistics"), ".bus")
    )
