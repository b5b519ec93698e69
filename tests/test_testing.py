"""What the package gives to the tests of its users."""

from __future__ import annotations

import asyncio

import pytest

from calls import CONFIRM, PAYMENT
from carevalidate_async import CareValidateError, GaveUp, Outcome, RetryPolicy
from carevalidate_async.bulk import confirm_payments
from carevalidate_async.testing import no_waiting
from raw_server import RawServer, answers

DOWN = answers(503, b"", "Retry-After: 50")
PATIENT = RetryPolicy(base_delay=1000, max_delay=1000)


class TestNoWaiting:
    async def test_call(self) -> None:
        """A call that fails makes all its attempts at once, and tells the delays of a real one."""
        async with (
            RawServer(*[DOWN] * 4) as server,
            CONFIRM.client(server.url, retry=PATIENT, deadline=None) as client,
        ):
            with no_waiting(), pytest.raises(CareValidateError) as caught:
                async with asyncio.timeout(5):
                    await CONFIRM.ask(client)

        assert GaveUp.MAX_ATTEMPTS is caught.value.gave_up
        delays = [attempt.delay for attempt in caught.value.attempts]
        assert all(50 <= delay <= 1050 for delay in delays[:3] if delay is not None)
        assert [False, False, False, True] == [delay is None for delay in delays]

    async def test_deadline_is_kept(self) -> None:
        """What would not be waited for is not tried again, as without it."""
        async with (
            RawServer(*[DOWN] * 4) as server,
            CONFIRM.client(server.url, retry=PATIENT, deadline=40) as client,
        ):
            with no_waiting(), pytest.raises(CareValidateError) as caught:
                await CONFIRM.ask(client)

        assert (GaveUp.DEADLINE, 1) == (caught.value.gave_up, len(server.requests))

    async def test_many_payments(self) -> None:
        """Nor does a bulk run pause between its asks."""
        async with (
            RawServer(*[DOWN] * 30) as server,
            CONFIRM.client(server.url, retry=RetryPolicy(max_attempts=1)) as client,
        ):
            with no_waiting():
                async with asyncio.timeout(5):
                    rows = [row async for row in confirm_payments(client, [PAYMENT] * 3)]  # type: ignore[arg-type]  # of the right vendor

        assert [Outcome.UNKNOWN] * 3 == [row.outcome for row in rows]
        assert 30 == len(server.requests)
