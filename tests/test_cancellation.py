"""Wherever a call is cancelled, nothing is sent after it, nothing leaks, and its key is told."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import logging
import pathlib
import sys
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

import attrs
import pytest

import virtual
from calls import CONFIRM, INTEND, UPDATE_METHOD, Calling
from carevalidate_async import Answer, AttemptEnded, Outcome, RetryPolicy
from carevalidate_async.hooks import CallEnded, CallStarted, Event
from matrix.vendor import Exchange, Step, Vendor
from test_transport import free

if TYPE_CHECKING:
    from collections.abc import Generator

# How a call can go; each makes it wait at other places.
WAYS: dict[str, list[list[Step]]] = {
    "well": [],
    "an answer in two parts": [
        [
            {"record": True},
            {"bytes": "HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n"},
            {"wait": 1},
            {"bytes": '{"success":true}'},
        ]
    ],
    "recorded, then closed": [[{"record": True}, {"end": "close"}]],
    "reset": [[{"read": "a byte"}, {"end": "reset"}]],
    "recorded, and no answer": [[{"record": True}, {"hang": True}]],
    "told to wait": [
        [{"answer": {"status": 429, "headers": {"Retry-After": "5"}}}],
        [{"answer": {"status": 503, "headers": {"Retry-After": "5"}}}],
    ],
    "refused": [[{"answer": {"status": 401}}]],
}


@attrs.define
class CancelledAt:
    """
    Awaits something, and cancels the task at the *at*-th place where that gives way to others.

    Attributes:
        reached: Whether there was such a place.
    """

    awaited: Awaitable[Any]
    at: int
    reached: bool = False

    def __await__(self) -> Generator[Any, Any, Any]:
        inner = self.awaited.__await__()
        step, given = inner.send, None
        for place in itertools.count(1):
            try:
                waits_for = step(given)
            except StopIteration as end:
                return end.value
            if place == self.at:
                self.reached = True
                task = asyncio.current_task()
                assert task is not None
                asyncio.get_running_loop().call_soon(task.cancel)
            try:
                given, step = (yield waits_for), inner.send
            except BaseException as error:  # noqa: BLE001 - handed on as it is
                given, step = error, inner.throw
        raise AssertionError


@attrs.frozen(kw_only=True)
class Ended:
    """How a call ended that was cancelled at one place."""

    reached: bool
    cancelled: bool
    answer: Answer | None
    events: list[Event]
    requests: list[Exchange]
    records: int
    later: int
    tasks: int


async def cancel_at(calling: Calling, way: str, at: int, *, kept: bool) -> Ended:
    """Make the call, cancel it there, and wait for what should not come, past its deadline."""
    events: list[Event] = []
    async with Vendor() as vendor:
        url = f"http://127.0.0.1:{vendor.port}"
        client = calling.client(
            url,
            retry=RetryPolicy(base_delay=1),
            max_connections=1,
            deadline=300,
            hooks=[events.append],
        )
        if kept:
            await calling.ask(client)
            events.clear()
            vendor.exchanges.clear()
            vendor.executions.clear()
        vendor.planned.extend(WAYS[way])
        around = asyncio.all_tasks()
        waiting = CancelledAt(calling.ask(client), at)

        async def call() -> Answer:
            answer: Answer = await waiting
            return answer

        task = asyncio.ensure_future(call())
        await asyncio.wait([task])
        sent = len(vendor.exchanges)
        await asyncio.sleep(400)
        later = len(vendor.exchanges) - sent
        records, requests = vendor.records, list(vendor.exchanges)
        left = asyncio.all_tasks() - around - vendor.tasks
        assert 1 == free(client._session._transport)
        # The client works on.
        vendor.planned.clear()
        await calling.ask(client.with_options(hooks=()))
        await client.aclose()
        return Ended(
            reached=waiting.reached,
            cancelled=task.cancelled(),
            answer=None if task.cancelled() or task.exception() else task.result(),
            events=events,
            requests=requests,
            records=records,
            later=later,
            tasks=len(left),
        )


def open_files() -> int:
    """How many file descriptors this process has open; 0 where that cannot be told."""
    folder = pathlib.Path("/proc/self/fd")
    return sum(1 for _ in folder.iterdir()) if folder.exists() else 0


@pytest.mark.deep
@pytest.mark.parametrize("kept", [False, True], ids=["new", "kept"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("calling", [CONFIRM, INTEND, UPDATE_METHOD], ids=repr)
def test_at_every_place(
    caplog: pytest.LogCaptureFixture, calling: Calling, way: str, kept: bool
) -> None:
    """
    At each of its places a cancelled call sends nothing more, leaves no task, connection or
    descriptor behind, names its key, and states an outcome that is true.
    """
    gc.collect()  # What others left open is not to be closed in between.
    before = open_files()
    for at in itertools.count(1):
        caplog.clear()
        ended = virtual.run(cancel_at(calling, way, at, kept=kept))
        assert before == open_files()
        assert 0 == ended.tasks
        if not ended.reached:
            # It was no short way, and not to be cancelled past its end.
            assert at > (1 if kept else 3)
            assert not ended.cancelled
            return
        check(ended, caplog.records)


def check(ended: Ended, records: list[logging.LogRecord]) -> None:
    """Compare what was told with what the vendor saw and holds."""
    started, *attempts, last = ended.events
    assert isinstance(started, CallStarted)
    assert isinstance(last, CallEnded)
    key = started.idempotency_key
    if ended.cancelled:
        assert last.cancelled
        assert last.error is None
        # An attempt that was not on the wire yet is none.
        (told,) = [record.getMessage() for record in records if record.levelno == logging.WARNING]
        assert f"outcome {last.outcome}; idempotency key {key}" in told
    ended_attempts = [one.attempt for one in attempts if isinstance(one, AttemptEnded)]
    assert len(attempts) == len(ended_attempts)
    assert list(last.attempts) == ended_attempts
    requests = ended.requests
    assert len(requests) <= len(last.attempts)
    assert {key} >= {json.loads(one.body).get("idempotencyKey") for one in requests if one.body}
    assert 0 == ended.later
    # One that was on the wire, and did not arrive, counts all the same.
    assert len(last.attempts) - len(requests) <= 1
    match last.outcome:
        case Outcome.RECORDED:
            assert 1 <= ended.records
        case Outcome.NOT_SENT:
            assert [] == requests
        case Outcome.REJECTED:
            assert 0 == ended.records
        case outcome:
            assert Outcome.UNKNOWN is outcome


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows a process its descriptors")
def test_descriptors_are_counted() -> None:
    """A descriptor that is left open is seen."""
    before = open_files()
    with pathlib.Path(__file__).open("rb"):
        assert before + 1 == open_files()
