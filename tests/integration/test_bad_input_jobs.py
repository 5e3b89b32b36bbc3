"""Wrong arguments: a clear error at the call, and nothing sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from math import nan
from typing import Any

import pytest
from job_support import Hand, forever
from support import settle, within
from trio.testing import MockClock

from trioworkers import BaseWorker, JobStatus, open_runner

ASKING: dict[str, Callable[[Any, list[Any], dict[str, Any]], Any]] = {
    "job": lambda asker, names, settings: asker.job(*names, **settings),
    "request_job": lambda asker, names, settings: asker.request_job(*names, **settings),
    "job_group": lambda asker, names, settings: asker.job_group(*names, **settings),
    "request_job_group": lambda asker, names, settings: asker.request_job_group(*names, **settings),
    "create_job_group": lambda asker, names, settings: asker.create_job_group_and_request_job(names, **settings),
}
GROUPS = ["job_group", "request_job_group", "create_job_group"]

WRONG: list[tuple[list[Any], dict[str, Any], type[Exception], str]] = [
    ([5], {}, TypeError, "a worker's name must be a str, not 5"),
    ([None], {}, TypeError, "a worker's name must be a str, not None"),
    ([""], {}, ValueError, "a worker's name must not be empty"),
    (["doer"], {"name": 5}, TypeError, "a job's name must be a str"),
    (["doer"], {"name": ""}, ValueError, "a job's name must not be empty"),
    (["doer"], {"payload": [1]}, TypeError, "a job's payload must be a dict or None"),
    (["doer"], {"payload": "text"}, TypeError, "a job's payload must be a dict or None"),
    (["doer"], {"timeout": -1}, ValueError, "timeout must be zero or more seconds, not -1"),
    (["doer"], {"timeout": nan}, ValueError, "timeout must be zero or more seconds, not nan"),
    (["doer"], {"timeout": "1"}, TypeError, "timeout must be a number of seconds"),
    (["doer"], {"timeout": True}, TypeError, "timeout must be a number of seconds"),
]


async def refused(act: Callable[[], Any], error: type[Exception], text: str) -> None:
    """Do something that must be refused, at the call or when it is awaited."""
    with pytest.raises(error, match=text):
        result = act()
        assert isinstance(result, Awaitable)
        await result


@pytest.mark.parametrize("verb", ASKING)
@pytest.mark.parametrize(("names", "settings", "error", "text"), WRONG)
async def test_wrong_arguments_are_refused_before_anything_is_sent(
    verb: str, names: list[Any], settings: dict[str, Any], error: type[Exception], text: str, autojump_clock: MockClock
) -> None:
    """U27: wrong types, empty names, negative and NaN timeouts are a ``TypeError`` or ``ValueError`` at the call; nothing is sent."""
    asker = BaseWorker("asker")
    async with open_runner(asker, Hand("doer", forever)) as runner, within(1):
        posted = runner.bus.statistics().posted
        await refused(lambda: ASKING[verb](asker, names, settings), error, text)
        assert (runner.bus.statistics().posted, asker.job_groups) == (posted, {})


@pytest.mark.parametrize("verb", GROUPS)
async def test_a_group_needs_a_name(verb: str, autojump_clock: MockClock) -> None:
    """U3: a group of nobody is a ``ValueError`` at the call, not a wait for nothing."""
    asker = BaseWorker("asker")
    async with open_runner(asker), within(1):
        await refused(lambda: ASKING[verb](asker, [], {}), ValueError, "name at least one worker to ask")


@pytest.mark.parametrize("verb", GROUPS)
async def test_a_group_asks_nobody_twice(verb: str, autojump_clock: MockClock) -> None:
    """U4: a doubled name is a ``ValueError`` at the call; nobody is asked."""
    asker, doer = BaseWorker("asker"), Hand("doer", forever)
    async with open_runner(asker, doer), within(1):
        await refused(lambda: ASKING[verb](asker, ["doer", "doer"], {"name": "do"}), ValueError, "each worker can be asked once")
        assert doer.active_jobs == {}


@pytest.mark.parametrize("asker_kind", ["worker", "runner"])
async def test_a_wrong_grace_is_refused(asker_kind: str, autojump_clock: MockClock) -> None:
    """``cancel_grace`` is checked at the call, like a timeout; so are the runner's verbs."""
    worker = BaseWorker("asker")
    async with open_runner(worker) as runner, within(1):
        asker: Any = worker if asker_kind == "worker" else runner
        for verb in ("job", "job_group"):
            with pytest.raises(ValueError, match="cancel_grace must be zero or more seconds"):
                ASKING[verb](asker, ["doer"], {"cancel_grace": -1})
            with pytest.raises(TypeError, match="cancel_grace must be a number of seconds"):
                ASKING[verb](asker, ["doer"], {"cancel_grace": "1"})
            with pytest.raises(ValueError, match="timeout must be zero or more"):
                ASKING[verb](asker, ["doer"], {"timeout": -1})
        with pytest.raises(TypeError, match="a worker's name must be a str"):
            await ASKING["request_job"](asker, [5], {})


ANSWERING: dict[str, tuple[Callable[[Any, str], Any], type[Exception], str]] = {
    "response": (lambda doer, job_id: doer.send_job_response(job_id, [1]), TypeError, "a job's response must be a dict or None"),
    "response_nowait": (lambda doer, job_id: doer.send_job_response_nowait(job_id, 5), TypeError, "a job's response must be"),
    "status": (lambda doer, job_id: doer.send_job_response(job_id, status="done"), ValueError, "'done' is not a valid JobStatus"),
    "update": (lambda doer, job_id: doer.send_job_update(job_id, 5), TypeError, "a job's update must be a dict or None"),
    "urgent": (lambda doer, job_id: doer.send_job_update(job_id, 5, urgent=True), TypeError, "a job's update must be a dict"),
    "stream_start": (lambda doer, job_id: doer.send_job_stream_start(job_id, 5), TypeError, "a stream's data must be a dict"),
}


@pytest.mark.parametrize("what", ANSWERING)
async def test_a_wrong_answer_is_refused_and_the_job_goes_on(what: str, autojump_clock: MockClock) -> None:
    """A response, update or chunk that is no dict, or an unknown status, is an error to the answerer; the job is still active."""
    act, error, text = ANSWERING[what]
    doer, asker = Hand("doer", forever), BaseWorker("asker")
    async with open_runner(doer, asker) as runner, within(1):
        job_id = await asker.request_job("doer", name="do")
        await settle()
        posted = runner.bus.statistics().posted
        with pytest.raises(error, match=text):
            await act(doer, job_id)
        assert (runner.bus.statistics().posted, list(doer.active_jobs)) == (posted, [job_id])
        await doer.send_job_stream_start(job_id)
        for verb in (doer.send_job_stream_data, doer.send_job_stream_end):
            with pytest.raises(TypeError, match="a stream's data must be a dict or None"):
                await verb(job_id, 5)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="a stream's data must be a dict or None"):
            doer.send_job_stream_data_nowait(job_id, 5)  # type: ignore[arg-type]
        await doer.send_job_stream_end(job_id)
        assert (doer.active_jobs, doer.statistics().answering.ended) == ({}, {JobStatus.COMPLETED: 1})


async def test_wrong_ids_and_reasons_are_refused(autojump_clock: MockClock) -> None:
    """``cancel_job_group`` and ``request_job_update`` check their arguments."""
    asker: Any = BaseWorker("asker")
    async with open_runner(asker, Hand("doer", forever)), within(1):
        job_id = await asker.request_job("doer", name="do")
        await refused(lambda: asker.cancel_job_group(5), TypeError, "a job's id must be a str")
        await refused(lambda: asker.cancel_job_group(job_id, reason=5), TypeError, "a reason must be a str")
        await refused(lambda: asker.request_job_update(5, "doer"), TypeError, "a job's id must be a str")
        await refused(lambda: asker.request_job_update(job_id, 5), TypeError, "a worker's name must be a str")
        assert list(asker.job_groups) == [job_id]
