"""An outage of the vendor under load, and calls that have little time: on a simulated clock."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import attrs
import pytest

import virtual
from calls import CALLS, CONFIRM, Calling
from carevalidate_async import (
    APITimeoutError,
    CareValidateError,
    GaveUp,
    InternalServerError,
    Outcome,
    RetryPolicy,
    RetryQuota,
)
from matrix.vendor import WELL, Exchange, Step, Vendor
from raw_server import RawServer, silent

if TYPE_CHECKING:
    from collections.abc import Coroutine

pytestmark = pytest.mark.deep

MINUTE = 60.0
BEFORE = 5.0
AFTER = 55.0
DOWN: dict[str, list[Step]] = {
    "503": [{"answer": {"status": 503}}],
    "503 with Retry-After": [{"answer": {"status": 503, "headers": {"Retry-After": "1"}}}],
    "429": [{"answer": {"status": 429}}],
    "closed": [{"end": "close"}],
    "reset": [{"read": "a byte"}, {"end": "reset"}],
    "silent": [{"hang": True}],
}


class Outages(Vendor):
    """A vendor that is down from one moment to another."""

    def __init__(self, fault: list[Step], begins: float, ends: float) -> None:
        super().__init__()
        self._fault = fault
        self._begins, self._ends = begins, ends
        self.met = 0

    def next_steps(self, exchange: Exchange) -> list[Step]:
        """Fail while it is down."""
        if self._begins <= virtual.now() < self._ends:
            self.met += 1
            return self._fault
        return list(WELL)


@attrs.define(kw_only=True)
class Load:
    """
    Calls at a constant rate.

    Attributes:
        before, during, after: Calls that were begun before, in and after the outage.

        failed_after: Calls begun after the outage that failed.

        requests: Requests that the vendor saw in the outage.

        quota: Tokens at the end of the outage, and after each call that succeeded since.
    """

    before: int = 0
    during: int = 0
    after: int = 0
    failed_after: int = 0
    requests: int = 0
    quota: list[int] = attrs.Factory(list)


async def outage(fault: list[Step], rate: int, **options: Any) -> Load:
    """Call *rate* times a second, before, in and after an outage of a minute."""
    begins, ends = BEFORE, BEFORE + MINUTE
    load = Load()
    async with Outages(fault, begins, ends) as vendor:
        url = f"http://127.0.0.1:{vendor.port}"
        async with CONFIRM.client(
            url, retry=RetryPolicy(), attempt_timeout=2, deadline=10, **options
        ) as client:
            quota = client.retry_quota

            async def call() -> None:
                after = virtual.now() >= ends
                try:
                    await CONFIRM.ask(client)
                except CareValidateError:
                    load.failed_after += after
                else:
                    if after and quota is not None:
                        load.quota.append(quota.tokens)

            async with asyncio.TaskGroup() as tasks:
                for number in range(int((ends + AFTER) * rate)):
                    # Ten moments a second, since each costs the simulated clock some effort.
                    await asyncio.sleep(number * 10 // rate / 10 - virtual.now())
                    now = virtual.now()
                    load.before += now < begins
                    load.during += begins <= now < ends
                    load.after += now >= ends
                    tasks.create_task(call())
            load.requests = vendor.met
    return load


class TestOutage:
    @pytest.mark.parametrize(("down", "rate"), [*((down, 10) for down in DOWN), ("503", 50)])
    def test_is_not_made_worse(self, down: str, rate: int) -> None:
        """
        A vendor that is down for a minute gets at most 1.2 times the requests that there are
        calls, and once it is up every call succeeds at once, and within one refill of the quota
        retries are paid for as before.
        """
        load = virtual.run(outage(DOWN[down], rate))

        assert (BEFORE * rate, MINUTE * rate, AFTER * rate) == (
            load.before,
            load.during,
            load.after,
        )
        assert load.during <= load.requests <= 1.2 * load.during
        assert load.requests <= load.during + RetryQuota().capacity // RetryQuota.COST
        assert 0 == load.failed_after
        # Each success brings a token, so as many as the quota holds are one refill.
        refill = RetryQuota().capacity
        assert load.quota[0] < refill / 2
        assert refill == max(load.quota[: refill + 1])

    def test_is_made_worse_without_a_quota(self) -> None:
        """Without a quota the same policy sends the vendor more than twice as many."""
        load = virtual.run(outage(DOWN["503"], 10, retry_quota=None))

        assert load.requests > 2 * load.during

    def test_error_says_that_the_quota_is_used_up(self) -> None:
        """A call that is not tried again for want of tokens says so, and its outcome is true."""

        async def main() -> list[CareValidateError]:
            async with Outages(DOWN["503"], 0, MINUTE) as vendor:
                url = f"http://127.0.0.1:{vendor.port}"
                async with CONFIRM.client(
                    url, retry=RetryPolicy(), retry_quota=RetryQuota(10)
                ) as client:
                    calls = [CONFIRM.ask(client) for _ in range(3)]
                    errors = [await caught(call) for call in calls]
                    assert 0 == len(vendor.executions)
                    return errors

        errors = virtual.run(main())

        assert [3, 1, 1] == [len(error.attempts) for error in errors]
        assert {GaveUp.RETRY_QUOTA} == {error.gave_up for error in errors}
        assert {Outcome.UNKNOWN} == {error.outcome for error in errors}
        assert all(isinstance(error, InternalServerError) for error in errors)
        assert "gave up: retry_quota" in str(errors[0])


async def caught(call: Coroutine[Any, Any, Any]) -> CareValidateError:
    """Return the error of *call*."""
    with pytest.raises(CareValidateError) as error:
        await call
    return error.value


# Where a call's time can go; each gives the options that it needs.
SLOW: dict[str, tuple[list[Step], dict[str, Any]]] = {
    "no answer": ([{"hang": True}], {}),
    "stops reading": ([{"read": "the head"}, {"hang": True}], {}),
    "drips a head": (
        [{"bytes": "HTTP/1.1 200 OK\r\n"}, {"drip": {"text": "X: y\r\n", "every": 0.07}}],
        {},
    ),
    "drips a body": (
        [
            {"bytes": "HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"},
            {"drip": {"text": " ", "every": 0.07}},
        ],
        {},
    ),
    "short attempts": ([{"hang": True}], {"attempt_timeout": 0.3}),
    "attempts longer than the call": ([{"hang": True}], {"attempt_timeout": 60}),
    "always down": ([{"answer": {"status": 503}}], {}),
    "wants to be left alone": (
        [{"answer": {"status": 503, "headers": {"Retry-After": "1"}}}],
        {},
    ),
}


class TestDeadline:
    @pytest.mark.parametrize("calling", CALLS, ids=repr)
    @pytest.mark.parametrize("slow", SLOW)
    def test_bounds_the_whole_call(self, slow: str, calling: Calling) -> None:
        """A call with a deadline of two seconds ends within them, wherever its time goes."""
        fault, options = SLOW[slow]

        async def main() -> tuple[float, CareValidateError]:
            async with (
                Outages(fault, 0, MINUTE) as vendor,
                calling.client(
                    f"http://127.0.0.1:{vendor.port}",
                    deadline=2.0,
                    retry=RetryPolicy(max_attempts=100, base_delay=0.1),
                    **options,
                ) as client,
            ):
                began = virtual.now()
                error = await caught(calling.ask(client))
                return virtual.now() - began, error

        seconds, error = virtual.run(main())

        assert seconds <= 2.0 + 1e-6
        assert Outcome.UNKNOWN is error.outcome
        assert error.gave_up in {GaveUp.DEADLINE, GaveUp.UNSAFE}

    def test_bounds_the_wait_for_a_connection(self) -> None:
        """With a full pool it ends at the deadline, was surely not sent, and says how it waited."""

        async def main() -> tuple[float, list[CareValidateError]]:
            async with (
                Outages([{"hang": True}], 0, MINUTE) as vendor,
                CONFIRM.client(
                    f"http://127.0.0.1:{vendor.port}", deadline=2.0, max_connections=1
                ) as client,
            ):
                patient = client.with_options(deadline=50.0, attempt_timeout=50.0)
                first = asyncio.ensure_future(caught(CONFIRM.ask(patient)))
                await asyncio.sleep(0.5)
                began = virtual.now()
                errors = await asyncio.gather(*(caught(CONFIRM.ask(client)) for _ in range(9)))
                seconds = virtual.now() - began
                await first
                assert 1 == len(vendor.exchanges)
                return seconds, errors

        seconds, errors = virtual.run(main())

        assert 2.0 == pytest.approx(seconds, abs=1e-6)
        for error in errors:
            assert isinstance(error, APITimeoutError)
            assert (Outcome.NOT_SENT, GaveUp.DEADLINE) == (error.outcome, error.gave_up)
            (attempt,) = error.attempts
            assert 0 == attempt.duration
            assert 2.0 == pytest.approx(attempt.queued, abs=1e-6)

    def test_as_many_connections_as_it_was_told(self) -> None:
        """Of as many calls as there may be connections none waits for one, however many."""

        async def main() -> list[Any]:
            slow: list[Step] = [{"wait": 3}, *WELL]
            async with (
                Outages(slow, 0, MINUTE) as vendor,
                CONFIRM.client(
                    f"http://127.0.0.1:{vendor.port}", attempt_timeout=4.0, max_connections=150
                ) as client,
            ):
                return list(await asyncio.gather(*(CONFIRM.ask(client) for _ in range(150))))

        attempts = [receipt.meta.attempts for receipt in virtual.run(main())]

        assert {1} == {len(tries) for tries in attempts}
        assert {0} == {round(tries[0].queued, 2) for tries in attempts}

    def test_wait_for_a_connection_is_not_the_attempts_time(self) -> None:
        """A call that waits for its turn has all of its attempt's time once it has it."""

        async def main() -> list[Any]:
            late: list[Step] = [{"wait": 3}, *WELL]
            async with (
                Outages(late, 0, MINUTE) as vendor,
                CONFIRM.client(
                    f"http://127.0.0.1:{vendor.port}", attempt_timeout=4.0, max_connections=1
                ) as client,
            ):
                receipts = [CONFIRM.ask(client) for _ in range(3)]
                return list(await asyncio.gather(*receipts))

        attempts = [receipt.meta.attempts for receipt in virtual.run(main())]

        assert [1, 1, 1] == [len(tries) for tries in attempts]
        assert [3, 3, 3] == pytest.approx([tries[0].duration for tries in attempts], abs=0.01)
        assert [0, 3, 6] == pytest.approx([tries[0].queued for tries in attempts], abs=0.01)

    async def test_on_a_real_clock(self) -> None:
        """On a real clock a call to a server that never answers ends after its two seconds."""
        async with RawServer(silent) as server, CONFIRM.client(server.url, deadline=2.0) as client:
            loop = asyncio.get_running_loop()
            began = loop.time()
            error = await caught(CONFIRM.ask(client))
            seconds = loop.time() - began

        # By how much it may be late is not for a machine that is shared to say.
        assert 2.0 <= seconds < 10
        assert isinstance(error, APITimeoutError)
        assert (Outcome.UNKNOWN, GaveUp.DEADLINE) == (error.outcome, error.gave_up)
