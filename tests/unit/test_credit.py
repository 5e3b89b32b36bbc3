"""How far a producer may be ahead of its consumer."""

from __future__ import annotations

import trio
from hypothesis import given
from hypothesis import strategies as st
from support import settle
from unit.strategies import steady

from trioworkers.jobs.credit import Credit


def test_so_many_and_no_more() -> None:
    """J6: without waiting, as many events can be sent as there is credit."""
    credit = Credit(2)
    assert [credit.take_nowait() for _ in range(3)] == [True, True, False]
    credit.grant(1)
    assert [credit.take_nowait() for _ in range(2)] == [True, False]


async def test_taking_what_is_there_does_not_wait() -> None:
    """While there is credit, taking it returns at once."""
    credit = Credit(1)
    await credit.take()
    assert credit.left == 0


async def test_senders_are_served_in_order() -> None:
    """J6: those who wait are let through in the order they came, each for one grant."""
    credit, log, served = Credit(0), list[int](), list[list[int]]()

    async def send(number: int) -> None:
        await credit.take()
        log.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(send, number)
            await settle()
        assert log == []
        for amount in (1, 2, 5):
            credit.grant(amount)
            await settle()
            served.append(sorted(log))
            log.clear()
    assert served == [[0], [1, 2], [3]]
    assert credit.left == 4


async def test_nobody_pushes_in() -> None:
    """J6: credit that was granted while somebody waits is that one's, though somebody else comes before it has run."""
    credit, log = Credit(0), list[str]()

    async def wait() -> None:
        await credit.take()
        log.append("waited")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await settle()
        assert not credit.take_nowait()
        credit.grant(1)
        assert not credit.take_nowait()
        log.append("refused")
    assert log == ["refused", "waited"]
    assert credit.left == 0


async def test_a_cancelled_wait_takes_nothing() -> None:
    """J6: a sender that is cancelled while it waits leaves its place, and the credit, to the next."""
    credit, log = Credit(0), list[str]()

    async def send(name: str, scope: trio.CancelScope) -> None:
        with scope:
            await credit.take()
            log.append(name)

    scopes = {name: trio.CancelScope() for name in "abc"}
    async with trio.open_nursery() as nursery:
        for name, scope in scopes.items():
            nursery.start_soon(send, name, scope)
            await settle()
        scopes["b"].cancel()
        await settle()
        credit.grant(2)
        await settle()
        assert sorted(log) == ["a", "c"]
    assert credit.left == 0


async def test_credit_that_was_handed_over_cannot_be_cancelled_away() -> None:
    """J6: a sender that is cancelled after it was let through has its credit: it is spent once, and not lost."""
    credit, log = Credit(0), list[str]()

    async def send(scope: trio.CancelScope) -> None:
        with scope:
            await credit.take()
            log.append("sent")

    scope = trio.CancelScope()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send, scope)
        await settle()
        credit.grant(1)
        scope.cancel()
    assert log == ["sent"]
    assert credit.left == 0


async def test_closing_lets_everybody_through() -> None:
    """J7: when there is no consumer any more, nobody waits, now or later."""
    credit = Credit(0)
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(credit.take)
        await settle()
        assert len(nursery.child_tasks) == 3
        credit.close()
    await credit.take()
    assert credit.take_nowait()
    credit.grant(5)
    assert credit.closed


@steady
@given(window=st.integers(1, 5), story=st.lists(st.sampled_from(["send", "consume", "cancel"]), max_size=40))
def test_never_more_than_the_window(window: int, story: list[str]) -> None:
    """J6: whatever is sent, consumed and cancelled: at most a window is unconsumed, and nobody waits while there is room."""
    sent: list[int] = []

    async def main() -> None:
        credit = Credit(window)
        waiting: dict[int, trio.CancelScope] = {}
        consumed = 0

        async def send(number: int) -> None:
            with waiting[number]:
                await credit.take()
                sent.append(number)
            waiting.pop(number)

        async with trio.open_nursery() as nursery:
            for number, what in enumerate(story):
                if what == "send":
                    waiting[number] = trio.CancelScope()
                    nursery.start_soon(send, number)
                elif what == "consume" and consumed < len(sent):
                    consumed += 1
                    credit.grant(1)
                elif what == "cancel" and waiting:
                    next(iter(waiting.values())).cancel()
                await settle()
                assert len(sent) - consumed <= window
                assert not waiting or len(sent) - consumed == window
            credit.close()
        assert not waiting

    trio.run(main)
    assert sent == sorted(sent)
