"""What the unit tests draw from: names, payloads, every kind of message."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from trioworkers import (
    BusActivateWorkerMessage,
    BusCancelMessage,
    BusCancelWorkerMessage,
    BusDeactivateWorkerMessage,
    BusEndMessage,
    BusEndWorkerMessage,
    BusJobCancelMessage,
    BusJobRequestMessage,
    BusJobResponseMessage,
    BusJobResponseUrgentMessage,
    BusJobStreamCreditMessage,
    BusJobStreamDataMessage,
    BusJobStreamEndMessage,
    BusJobStreamStartMessage,
    BusJobUpdateMessage,
    BusJobUpdateRequestMessage,
    BusJobUpdateUrgentMessage,
    BusMessage,
    BusWorkerErrorMessage,
    BusWorkerReadyMessage,
    BusWorkerRegistryMessage,
    BusWorkerRoomMessage,
    BusWorkersGoneMessage,
    BusWorkersWantedMessage,
    JobStatus,
    Loss,
    WorkerRegistryEntry,
)

steady = settings(deadline=None, derandomize=True)
"""The same examples in every run, and as much time as the machine needs."""

texts = st.text(st.characters(), max_size=10)
"""Any text, lone surrogates included."""

names = st.text(st.characters(), min_size=1, max_size=10)
job_ids = texts
maybe_text = st.none() | texts
times = st.none() | st.floats(allow_nan=False) | st.integers(0, 10**30)
payloads = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
"""Whatever JSON has."""

dicts: st.SearchStrategy[dict[str, Any] | None] = st.none() | st.dictionaries(texts, payloads, max_size=3)
entries = st.builds(WorkerRegistryEntry, names, st.none() | names, st.booleans(), st.booleans(), times)


def _draw(cls: type[BusMessage], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[BusMessage]:
    return st.builds(cls, source=names, target=st.none() | names, **fields)


by_class: dict[type[BusMessage], st.SearchStrategy[BusMessage]] = {
    BusActivateWorkerMessage: _draw(BusActivateWorkerMessage, args=dicts),
    BusDeactivateWorkerMessage: _draw(BusDeactivateWorkerMessage),
    BusEndMessage: _draw(BusEndMessage, reason=maybe_text),
    BusEndWorkerMessage: _draw(BusEndWorkerMessage, reason=maybe_text),
    BusWorkerReadyMessage: _draw(
        BusWorkerReadyMessage, runner=texts, parent=maybe_text, active=st.booleans(), bridged=st.booleans(), started_at=times
    ),
    BusCancelMessage: _draw(BusCancelMessage, reason=maybe_text),
    BusCancelWorkerMessage: _draw(BusCancelWorkerMessage, reason=maybe_text),
    BusWorkerRegistryMessage: _draw(BusWorkerRegistryMessage, runner=texts, workers=st.lists(entries, max_size=3)),
    BusWorkersGoneMessage: _draw(BusWorkersGoneMessage, workers=st.lists(names, max_size=3)),
    BusWorkersWantedMessage: _draw(BusWorkersWantedMessage, workers=st.lists(names, max_size=3), wanted=st.booleans()),
    BusWorkerRoomMessage: _draw(BusWorkerRoomMessage, worker=names, room=st.booleans()),
    BusWorkerErrorMessage: _draw(BusWorkerErrorMessage, error=texts),
    BusJobRequestMessage: _draw(
        BusJobRequestMessage,
        job_id=job_ids,
        job_name=maybe_text,
        payload=dicts,
        timeout=times,
        deadline=st.floats(allow_nan=False),
        chain=st.lists(job_ids, max_size=3),
        window=st.integers(1, 1000),
    ),
    BusJobResponseMessage: _draw(
        BusJobResponseMessage,
        job_id=job_ids,
        status=st.sampled_from(JobStatus),
        response=dicts,
        reason=maybe_text,
        traceback=maybe_text,
        loss=st.none() | st.sampled_from(Loss),
    ),
    BusJobResponseUrgentMessage: _draw(
        BusJobResponseUrgentMessage, job_id=job_ids, status=st.sampled_from(JobStatus), response=dicts, reason=maybe_text
    ),
    BusJobUpdateMessage: _draw(BusJobUpdateMessage, job_id=job_ids, update=dicts),
    BusJobUpdateUrgentMessage: _draw(BusJobUpdateUrgentMessage, job_id=job_ids, update=dicts),
    BusJobUpdateRequestMessage: _draw(BusJobUpdateRequestMessage, job_id=job_ids),
    BusJobStreamStartMessage: _draw(BusJobStreamStartMessage, job_id=job_ids, data=dicts),
    BusJobStreamDataMessage: _draw(BusJobStreamDataMessage, job_id=job_ids, data=dicts),
    BusJobStreamEndMessage: _draw(BusJobStreamEndMessage, job_id=job_ids, data=dicts),
    BusJobStreamCreditMessage: _draw(BusJobStreamCreditMessage, job_id=job_ids, credit=st.integers(1, 1000)),
    BusJobCancelMessage: _draw(BusJobCancelMessage, job_id=job_ids, reason=maybe_text),
}
"""A strategy for each class that may leave the process."""

any_message = st.one_of(list(by_class.values()))
