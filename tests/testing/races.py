"""Classic mistakes with tasks, each as a program of a few lines that nearly always works, and the same program without the mistake.

Each function is the program; ``mended`` says which of the two. Where it goes wrong it fails an assertion, or waits for ever. Tasks
that begin together do so, by the plain schedule, in the order of their names.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, nullcontext
from typing import Any

import attrs
import trio

step = trio.lowlevel.checkpoint


async def steps(count: int) -> None:
    """So many checkpoints: some work that lets others in."""
    for _ in range(count):
        await step()


async def together(**tasks: Callable[[], Awaitable[object]]) -> None:
    """Run them at the same time, by their names."""
    async with trio.open_nursery() as nursery:
        for name, task in tasks.items():
            nursery.start_soon(task, name=name)


@attrs.define(eq=False)
class Slot:
    """A place that tasks share."""

    value: Any = None
    full: bool = False
    version: int = 0
    bell: trio.Event | None = None
    items: list[Any] = attrs.field(factory=list)


async def lost_wakeup(*, mended: bool) -> None:
    """Who finds nothing leaves a bell; but between the look and the bell the other one may have come."""
    slot = Slot()

    async def consumer() -> None:
        if not slot.full:
            await steps(0 if mended else 1)
            slot.bell = trio.Event()
            await slot.bell.wait()

    async def producer() -> None:
        await step()
        slot.full = True
        if slot.bell is not None:
            slot.bell.set()

    await together(consumer=consumer, producer=producer)


async def check_then_act(*, mended: bool) -> None:
    """A connection is made if there is none; while it is made there still is none."""
    slot = Slot()

    async def connect() -> str:
        await step()
        slot.items.append("connected")
        return "connection"

    async def get() -> None:
        if slot.value is None:
            slot.value = await connect()

    async def user(pause: int) -> None:
        await steps(pause)
        async with lock if mended else nullcontext():
            await get()

    lock = trio.Lock()
    await together(early=lambda: user(0), late=lambda: user(4))
    assert slot.items == ["connected"]


async def answer_after_cancel(*, mended: bool) -> None:
    """Whether somebody still waits for the answer is looked up, and then the answer is written, which takes a moment."""
    waiting, log = {"job"}, list[str]()

    async def asker() -> None:
        await steps(3)
        waiting.discard("job")
        log.append("cancelled")

    async def server() -> None:
        if "job" in waiting:
            await step()
            if mended and "job" not in waiting:
                return
            log.append("answered")

    await together(server=server, stopper=asker)
    assert log != ["cancelled", "answered"]


async def lost_update(*, mended: bool) -> None:
    """Read, work, write: what somebody else has written in between is lost."""
    slot = Slot(value=0)

    async def add() -> None:
        before = slot.value
        await step()
        slot.value = (slot.value if mended else before) + 1

    await together(one=add, other=add)
    assert slot.value == 2


async def checked_once(*, mended: bool) -> None:
    """Checked before the lock, to save time, and not again behind it."""
    slot, lock = Slot(), trio.Lock()

    async def get() -> None:
        if slot.value is None:
            async with lock:
                if not mended or slot.value is None:
                    slot.value = object()
                    slot.items.append("made")
                    await step()

    await together(one=get, other=get)
    assert slot.items == ["made"]


async def opposite_locks(*, mended: bool) -> None:
    """Two locks, taken in opposite order."""
    left, right = trio.Lock(), trio.Lock()

    async def move(first: trio.Lock, second: trio.Lock) -> None:
        async with first, second:
            await step()

    await together(
        one=lambda: move(left, right),
        other=lambda: move(left, right) if mended else move(right, left),
    )


async def notified_too_early(*, mended: bool) -> None:
    """Looked at outside of the condition's lock: the notification comes before there is anybody to hear it."""
    slot, condition = Slot(), trio.Condition()

    async def hasty() -> None:
        if not slot.items:
            async with condition:
                await condition.wait()

    async def careful() -> None:
        async with condition:
            while not slot.items:
                await condition.wait()

    async def producer() -> None:
        await step()
        async with condition:
            slot.items.append("item")
            condition.notify()

    await together(consumer=careful if mended else hasty, producer=producer)


async def leaked_semaphore(*, mended: bool) -> None:
    """Who is cancelled between taking and giving back gives nothing back."""
    semaphore, scope = trio.Semaphore(1), trio.CancelScope()

    async def guest() -> None:
        with scope:
            async with AsyncExitStack() as stack:
                await semaphore.acquire()
                if mended:
                    stack.callback(semaphore.release)
                await steps(2)
                if not mended:
                    semaphore.release()

    async def host() -> None:
        await steps(3)
        scope.cancel()

    await together(guest=guest, host=host)
    await semaphore.acquire()


async def late_for_the_queue(*, mended: bool) -> None:
    """The last look into the queue comes after the gate is closed, but before the last one who got through has put something in."""
    slot, handled = Slot(), list[str]()

    async def closer() -> None:
        await steps(2)
        slot.full = True
        while slot.items:
            handled.append(slot.items.pop())

    async def sender() -> None:
        if not slot.full:
            await steps(0 if mended else 1)
            slot.items.append("item")

    await together(sender=sender, shutdown=closer)
    assert not slot.items, "accepted, and never handled"


async def starved_ack(*, mended: bool) -> None:
    """The watchdog counts its own turns, as if others had as many."""
    acknowledged = trio.Event()

    async def acknowledge() -> None:
        await steps(3)
        acknowledged.set()

    async def watchdog() -> None:
        if mended:
            with trio.fail_after(1):
                await acknowledged.wait()
        for _ in range(30):
            await step()
        assert acknowledged.is_set(), "given up"

    await together(ack=acknowledge, watchdog=watchdog)


async def late_reply(*, mended: bool) -> None:
    """A reply that takes 0.999 s races with a timeout of 1 s, and both of them end the job."""
    ends, reply = list[str](), trio.Event()

    def end(how: str) -> None:
        if not (mended and ends):
            ends.append(how)

    async def asker() -> None:
        with trio.move_on_after(1) as scope:
            await reply.wait()
        if scope.cancelled_caught:
            end("timeout")

    async def server() -> None:
        await trio.sleep(0.999)
        await steps(3)
        end("reply")
        reply.set()

    await together(asker=asker, server=server)
    assert len(ends) == 1


async def late_scope(*, mended: bool) -> None:
    """A job puts itself on the list of those to cancel when it begins: who cancels before that misses it."""
    scopes: list[trio.CancelScope] = []

    def listed() -> trio.CancelScope:
        scopes.append(trio.CancelScope())
        return scopes[-1]

    async def job() -> None:
        with early or listed():
            await trio.sleep_forever()

    async def stop() -> None:
        await step()
        for scope in scopes:
            scope.cancel()

    early = listed() if mended else None
    await together(job=job, stop=stop)


async def begun_in_order(*, mended: bool) -> None:
    """What is started first is taken to run first."""
    slot = Slot()

    async def opener(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        slot.value = "open"
        task_status.started()
        await step()

    async def user() -> None:
        assert slot.value == "open"
        await step()

    async with trio.open_nursery() as nursery:
        if mended:
            await nursery.start(opener)
        else:
            nursery.start_soon(opener, name="opener")
        nursery.start_soon(user, name="user")


async def reset_after_use(*, mended: bool) -> None:
    """A bell is replaced after its news have been read: what rang in between rang for nobody."""
    slot, read = Slot(bell=trio.Event()), list[int]()

    async def reader() -> None:
        while len(read) < 2:
            assert slot.bell is not None
            await slot.bell.wait()
            if mended:
                slot.bell = trio.Event()
            read.extend(slot.items)
            slot.items.clear()
            await step()
            if not mended:
                slot.bell = trio.Event()

    async def writer() -> None:
        for number in range(2):
            await step()
            slot.items.append(number)
            assert slot.bell is not None
            slot.bell.set()

    await together(reader=reader, writer=writer)


async def inverted_priorities(*, mended: bool) -> None:
    """Which of two queues goes first is decided, and then the item is taken, which takes a moment."""
    urgent, normal = list[str](), list[str]()
    ready = trio.Semaphore(0)

    async def consumer() -> None:
        for _ in range(3):
            await ready.acquire()
            queue = urgent or normal
            await step()
            queue = (urgent or normal) if mended else queue
            assert queue is urgent or not urgent, "something urgent waits"
            queue.pop()

    async def producer(queue: list[str], count: int) -> None:
        for _ in range(count):
            await step()
            queue.append("item")
            ready.release()

    await together(consumer=consumer, normal=lambda: producer(normal, 2), urgent=lambda: producer(urgent, 1))


async def swallowed_cancel(*, mended: bool) -> None:
    """Who catches everything catches its own cancellation, and goes on as if it had an answer."""
    answer, scope = trio.Event(), trio.CancelScope()

    async def asker() -> None:
        with scope:
            try:
                await answer.wait()
            except BaseException:
                if mended:
                    raise
            assert answer.is_set(), "goes on without an answer"

    async def server() -> None:
        await step()
        answer.set()

    async def stop() -> None:
        await step()
        scope.cancel()

    await together(asker=asker, server=server, stop=stop)


async def published_too_early(*, mended: bool) -> None:
    """It stands in the register before it is ready."""
    register: dict[str, Slot] = {}

    async def start() -> None:
        slot = Slot()
        if not mended:
            register["worker"] = slot
        await step()
        slot.value = "ready"
        register["worker"] = slot

    async def user() -> None:
        await steps(2)
        if "worker" in register:
            assert register["worker"].value == "ready"

    await together(start=start, user=user)


async def there_and_back(*, mended: bool) -> None:
    """A flag is as it was, so nothing is taken to have happened: but it has been changed, and changed back."""
    slot = Slot(value=10)

    async def careful() -> None:
        flag, version, value = slot.full, slot.version, slot.value
        await step()
        if slot.full == flag and (not mended or slot.version == version):
            assert slot.value == value, "changed behind its back"

    async def changer() -> None:
        slot.full, slot.version = True, 1
        slot.value = 20
        await step()
        slot.full = False

    await together(careful=careful, changer=changer)


async def reused_barrier(*, mended: bool) -> None:
    """Who is quick comes to a barrier for the second time before all have left it: it is still open."""
    slot = Slot(value=0, bell=trio.Event())
    arrived, (send, receive) = [0, 0], trio.open_memory_channel[int](0)

    async def barrier() -> None:
        bell, slot.value = slot.bell, slot.value + 1
        assert bell is not None
        if slot.value < 2:
            await bell.wait()
        elif mended:
            slot.value, slot.bell = 0, trio.Event()
        bell.set()
        if not mended:
            slot.value -= 1
            slot.bell = bell if slot.value else trio.Event()

    async def runner() -> None:
        for lap in range(2):
            arrived[lap] += 1
            await barrier()
            assert arrived[lap] == 2, "went on alone"
            await send.send(lap)

    async def judge() -> None:
        for _ in range(4):
            await receive.receive()

    await together(one=runner, other=runner, ref=judge)
