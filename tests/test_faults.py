"""
Whatever happens to a request: what the SDK says is what the server holds.

The sandbox is the judge of the first half, bare bytes do the harm in the second.
"""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import aiohttp
import attrs
import pytest

from calls import AT_ONCE, CALLS, CONFIRM, INTEND, PAY_CASE, UPDATE_METHOD, Calling, Client, settle
from carevalidate_async import (
    APIStatusError,
    Attempt,
    CareValidateError,
    Outcome,
    RateLimitError,
    ResponseDecodeError,
)
from carevalidate_async._operation import KeyInBody, OnceOnly
from carevalidate_async.models import Answer
from carevalidate_async.sandbox import Fault, Sandbox
from raw_server import (
    RawServer,
    Step,
    answers,
    breaks_off,
    good,
    http,
    ok,
    resets,
    says,
    silent,
)

NOT_SENT, REJECTED, RECORDED, UNKNOWN = Outcome

# Long enough for an answer that comes, on a busy machine too; short enough for one that does not.
PATIENCE = 1.0

# What the fault means for the first attempt: may it have landed, and does the policy try again?
FAULTS = {
    Fault.OK: (RECORDED, False),
    Fault.DELAY: (RECORDED, False),
    Fault.REFUSE: (UNKNOWN, True),
    Fault.RATE_LIMIT(retry_after=0): (REJECTED, True),
    Fault.REDIRECT: (UNKNOWN, False),
    Fault.REDIRECT(status=307): (UNKNOWN, False),
    Fault.HTML: (UNKNOWN, True),
    Fault.HTML(status=200): (UNKNOWN, True),
    Fault.HTML(status=200, records=True): (UNKNOWN, True),
    Fault.ERROR_AFTER: (UNKNOWN, True),
    Fault.TRUNCATE: (UNKNOWN, True),
    Fault.DROP_BEFORE: (UNKNOWN, True),
    Fault.DROP_AFTER: (UNKNOWN, True),
    Fault.HANG: (UNKNOWN, True),
    Fault.HANG_AFTER: (UNKNOWN, True),
}


@attrs.frozen(kw_only=True)
class Told:
    """What a call said about itself."""

    answer: Answer | None
    error: CareValidateError | None
    attempts: tuple[Attempt, ...]

    @property
    def key(self) -> str | None:
        if self.error is not None:
            return self.error.idempotency_key
        assert self.answer is not None
        return self.answer.meta.idempotency_key

    @property
    def outcome(self) -> Outcome:
        return RECORDED if self.error is None else self.error.outcome


async def ask(calling: Calling, client: Client) -> Told:
    """Make the call and return what it said, well or not."""
    try:
        answer = await calling.ask(client)
    except CareValidateError as error:
        return Told(answer=None, error=error, attempts=error.attempts)
    return Told(answer=answer, error=None, attempts=answer.meta.attempts)


async def ask_under(calling: Calling, *faults: Fault) -> tuple[Sandbox, Told]:
    """Make the call against a sandbox that does *faults*, and check that it told the truth."""
    async with Sandbox() as sandbox:
        sandbox.script(*faults)
        async with calling.client(sandbox.url, attempt_timeout=PATIENCE) as client:
            told = await ask(calling, client)
    check(calling, sandbox, told)
    return sandbox, told


def check(calling: Calling, sandbox: Sandbox, told: Told) -> None:
    """Compare what was told with what the sandbox holds."""
    recorded = len(calling.records(sandbox))
    # Nobody sends but the policy, and always the same.
    assert sandbox.received == len(told.attempts)
    assert list(range(1, sandbox.received + 1)) == [attempt.number for attempt in told.attempts]
    assert 1 == len(set(sandbox.bodies))
    assert all("cookie" not in request.headers for request in sandbox.requests)
    # The outcome is the truth, or that nobody knows it.
    assert told.outcome is not NOT_SENT
    if told.outcome is RECORDED:
        assert recorded >= 1
    if told.outcome is REJECTED:
        assert 0 == recorded
    # Never twice what may not be twice.
    if not isinstance(calling.operation.idempotency, KeyInBody | OnceOnly):
        return
    assert recorded <= 1
    if isinstance(calling.operation.idempotency, OnceOnly):
        assert 1 == sandbox.received


@pytest.mark.deep
class TestEachFault:
    @pytest.mark.parametrize("fault", FAULTS, ids=repr)
    @pytest.mark.parametrize("calling", CALLS, ids=repr)
    async def test_once(self, calling: Calling, fault: Fault) -> None:
        """One fault is one attempt more, where the operation may be repeated, and then success."""
        outcome, passes = FAULTS[fault]
        repeated = passes and calling is not INTEND

        sandbox, told = await ask_under(calling, fault)

        assert outcome is told.attempts[0].outcome
        assert (2 if repeated else 1) == sandbox.received
        if repeated or outcome is RECORDED:
            conflict = calling is PAY_CASE and repeated and fault.records
            assert conflict is (told.error is not None)
            assert RECORDED is told.outcome
            assert calling.records(sandbox)
        else:
            assert outcome is told.outcome

    @pytest.mark.parametrize("fault", FAULTS, ids=repr)
    async def test_again_and_again(self, fault: Fault) -> None:
        """A fault that stays uses the attempts up; the outcome stays the truth."""
        outcome, passes = FAULTS[fault]
        faults = [fault] * AT_ONCE.max_attempts

        # Side by side, since a hang takes its time.
        asked = await asyncio.gather(*(ask_under(calling, *faults) for calling in CALLS))

        for calling, (sandbox, told) in zip(CALLS, asked, strict=True):
            repeated = passes and calling is not INTEND
            assert (AT_ONCE.max_attempts if repeated else 1) == sandbox.received
            assert outcome is told.outcome

    @pytest.mark.parametrize("fault", [Fault.ERROR_AFTER, Fault.DROP_AFTER, Fault.TRUNCATE])
    async def test_receipt_says_that_it_landed_before(self, fault: Fault) -> None:
        """A confirmation whose answer was lost is a success that was recorded already."""
        _, told = await ask_under(CONFIRM, fault)

        assert told.answer is not None
        assert told.answer.meta.already_recorded

    async def test_new_record_is_new(self) -> None:
        """A confirmation whose first attempt did not land is recorded by the second."""
        _, told = await ask_under(CONFIRM, Fault.DROP_BEFORE)

        assert told.answer is not None
        assert not told.answer.meta.already_recorded

    async def test_retry_after_is_told(self) -> None:
        """A vendor that wants to be left alone for longer than we wait is not asked again."""
        sandbox, told = await ask_under(CONFIRM, Fault.RATE_LIMIT(retry_after=3600))

        assert isinstance(told.error, RateLimitError)
        assert (3600.0, True) == (told.error.retry_after, told.error.retryable)
        assert 1 == sandbox.received


@pytest.mark.deep
class TestManyFaults:
    @pytest.mark.parametrize("calling", CALLS, ids=repr)
    async def test_in_any_order(self, calling: Calling) -> None:
        """Whatever faults follow each other, the outcome is the truth."""
        chance = random.Random(calling.operation.name)
        sequences = [chance.choices(list(FAULTS), k=4) for _ in range(40)]

        for some in (sequences[:20], sequences[20:]):
            # Each is checked against what its sandbox holds; the faults it did not meet are left.
            asked = await asyncio.gather(*(ask_under(calling, *faults) for faults in some))
            for sandbox, told in asked:
                assert 4 - len(told.attempts) == len(sandbox.script_left)

    async def test_two_hundred_calls_on_one_client(self) -> None:
        """Two hundred calls side by side, with every fault, each tell the truth of their own."""
        calls = 200
        faults = [fault for fault in FAULTS if not fault.name.startswith(("OK", "HANG"))]
        hangs = [fault(seconds=0.1) for fault in (Fault.HANG, Fault.HANG_AFTER)]
        rates = dict.fromkeys([*faults, *hangs], 0.05)
        async with (
            Sandbox(faults=rates, seed=4) as sandbox,
            CONFIRM.client(sandbox.url, attempt_timeout=2) as client,
        ):
            told = await asyncio.gather(*(ask(CONFIRM, client) for _ in range(calls)))

        assert sandbox.received == sum(len(one.attempts) for one in told)
        by_key: dict[str, list[bytes]] = {}
        for body in sandbox.bodies:
            by_key.setdefault(json.loads(body)["idempotencyKey"], []).append(body)
        assert calls == len(by_key)
        held = {payment.idempotency_key for payment in sandbox.payments}
        assert len(sandbox.payments) == len(held)
        for one in told:
            key = one.key
            assert key is not None
            assert len(one.attempts) == len(by_key[key])
            assert 1 == len(set(by_key[key]))
            if one.outcome is not UNKNOWN:
                assert (one.outcome is RECORDED) is (key in held)

    async def test_fifty_failing_calls_share_nothing(self) -> None:
        """Of fifty calls that fail side by side each has its own four attempts."""
        async with (
            Sandbox(faults={Fault.REFUSE: 1}) as sandbox,
            CONFIRM.client(sandbox.url, retry_quota=None) as care,
        ):
            told = await asyncio.gather(*(ask(CONFIRM, care) for _ in range(50)))

        assert 200 == sandbox.received
        for one in told:
            assert [1, 2, 3, 4] == [attempt.number for attempt in one.attempts]
            assert {UNKNOWN} == {attempt.outcome for attempt in one.attempts}
        assert 50 == len({one.error.idempotency_key for one in told if one.error})


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"
WIRE: dict[str, Step] = {
    "closed": breaks_off(),
    "reset": resets(),
    "half a head": breaks_off(HEAD[:20]),
    "half a body": breaks_off(HEAD + b'{"success": true'),
    "junk": says(b"junk\r\n\r\n"),
    "silence": silent,
    "longer than a mebibyte": answers(200, b" " * 2**20 + b"{}"),
    "half of JSON": answers(200, b'{"success": true, "status": 20'),
    "JSON, but no object": answers(200, b"[]"),
    "neither yes nor no": answers(200, {}),
    "nothing": answers(204),
}
# Whether the connection is new, or kept from a request before.
KEPT = pytest.mark.parametrize("kept", [False, True])


@pytest.mark.deep
class TestWire:
    @KEPT
    @pytest.mark.parametrize("fault", WIRE)
    @pytest.mark.parametrize("calling", CALLS, ids=repr)
    async def test_arrived_as_often_as_counted(
        self, calling: Calling, fault: str, kept: bool
    ) -> None:
        """As many requests arrive as the call has attempts, on new and on kept connections."""
        async with (
            RawServer(*([ok] if kept else []), *[WIRE[fault]] * 2) as server,
            calling.client(server.url, attempt_timeout=PATIENCE) as client,
        ):
            if kept:
                await calling.ask(client)
                server.requests.clear()
            told = await ask(calling, client)

        if calling is INTEND:
            assert 1 == len(server.requests)
            assert UNKNOWN is told.outcome
            assert told.error is not None
            assert not told.error.retryable
        else:
            assert 3 == len(server.requests)
            assert told.error is None
        assert len(server.requests) == len(told.attempts)
        assert 1 == len(set(server.bodies))
        assert UNKNOWN is told.attempts[0].outcome

    @pytest.mark.parametrize("borrowed", [False, True])
    async def test_put_on_a_connection_that_dies(self, borrowed: bool) -> None:
        """
        The PUT whose kept connection dies after it was carried out arrives as often as the call has
        attempts, over a session of the caller's too.
        """
        async with (
            RawServer(ok, breaks_off()) as server,
            aiohttp.ClientSession() as session,
            UPDATE_METHOD.client(server.url, session=session if borrowed else None) as client,
        ):
            await UPDATE_METHOD.ask(client)
            told = await ask(UPDATE_METHOD, client)

        assert (1 + 2) == len(server.requests)
        assert [UNKNOWN, RECORDED] == [attempt.outcome for attempt in told.attempts]

    async def test_control(self) -> None:
        """Bare aiohttp repeats that PUT unasked, and counts one."""
        async with RawServer(ok, breaks_off()) as server, aiohttp.ClientSession() as session:
            url = server.url + UPDATE_METHOD.operation.path
            for _ in range(2):
                async with session.put(url, data=b"{}") as response:
                    assert 200 == response.status

        assert (1 + 2) == len(server.requests)

    @pytest.mark.parametrize("calling", CALLS, ids=repr)
    async def test_connection_that_closes_in_the_moment_of_sending(self, calling: Calling) -> None:
        """A request that meets the end of its connection arrives no more often than counted."""
        async with RawServer() as server, calling.client(server.url) as client:
            await calling.ask(client)
            server.reset_all()
            told = await ask(calling, client)

        arrived = len(server.requests) - 1
        assert UNKNOWN is told.attempts[0].outcome
        if calling is INTEND:
            assert (0, 1, UNKNOWN) == (arrived, len(told.attempts), told.outcome)
        else:
            assert (1, 2, RECORDED) == (arrived, len(told.attempts), told.outcome)

    @pytest.mark.parametrize("calling", CALLS, ids=repr)
    async def test_answer_that_nobody_asked_for(self, calling: Calling) -> None:
        """
        A success that lies on the connection before the request is not the request's: without this
        a payment that was never sent would be reported as recorded.
        """
        async with RawServer() as server, calling.client(server.url) as client:
            await calling.ask(client)
            server.say_to_all(good(server.requests[0].path))
            await settle()
            server.script.append(answers(404, {"success": False, "status": "route-not-found"}))
            told = await ask(calling, client)

        assert REJECTED is told.outcome
        assert isinstance(told.error, APIStatusError)
        assert 2 == len(server.requests)

    async def test_redirect_to_another_host(self) -> None:
        """Neither the request nor the key goes where a redirect points."""
        async with RawServer() as other, RawServer() as server:
            for status in (301, 302, 303, 307, 308):
                server.script.append(answers(status, b"", f"Location: {other.url}/"))
                async with CONFIRM.client(server.url) as client:
                    told = await ask(CONFIRM, client)
                assert UNKNOWN is told.outcome
                assert [status] == [attempt.status for attempt in told.attempts]

        assert [] == other.requests
        assert 5 == len(server.requests)

    async def test_body_that_denies_its_status(self) -> None:
        """A 200 that says it failed is no success, and recorded nothing."""
        body: dict[str, Any] = {"success": False, "message": "Amount must be a positive number"}
        async with RawServer(answers(200, body)) as server, CONFIRM.client(server.url) as client:
            told = await ask(CONFIRM, client)

        assert REJECTED is told.outcome
        assert 1 == len(server.requests)

    async def test_error_tells_what_could_not_be_read(self) -> None:
        """A success that stays unreadable is an error of its own, with the status."""
        steps = [says(http(200, b"<html>", "X-Request-Id: r-1"))] * 4
        async with RawServer(*steps) as server, CONFIRM.client(server.url) as client:
            told = await ask(CONFIRM, client)

        assert isinstance(told.error, ResponseDecodeError)
        assert (200, "r-1", UNKNOWN) == (
            told.error.status,
            told.error.request_id,
            told.error.outcome,
        )
