"""The example applications under their real servers: whatever happens, each payment is one."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from aiohttp import ClientError

from carevalidate_async import webhooks
from carevalidate_async.sandbox import Fault, Sandbox
from web_support import APPS, CASE, App, example, happens, paid

if TYPE_CHECKING:
    import pathlib

MANY = 200
SECRET = "whsec-of-the-example"


def records(sandbox: Sandbox) -> Counter[str]:
    """Return how often each case has a payment on record."""
    return Counter(payment.case_id for payment in sandbox.payments)


@pytest.mark.deep
@pytest.mark.parametrize("name", APPS)
async def test_a_bad_day(name: str, tmp_path: pathlib.Path) -> None:
    """
    Of payments of many callers at a time each is on record once, though every third request to the
    vendor meets a fault; no answer claims what is not so; and the server ends in peace.
    """
    async with (
        Sandbox(api_key="test", fault_rate=0.02, hang_seconds=0.2, seed=7) as sandbox,
        example(name, sandbox, tmp_path) as app,
    ):

        async def pay(number: int) -> int:
            case, asked = f"case-{number}", 0
            while True:
                asked += 1
                answer = await app.ask("/payments", paid(number), key=f'"{number}"')
                there = records(sandbox)[case]
                if answer.status == 200:
                    assert 1 == there
                    return asked
                assert "application/problem+json" == answer.kind
                outcome = answer.body["outcome"]
                assert 0 == there or outcome == "unknown"
                assert (outcome == "unknown") == answer.body["type"].endswith(":unknown-outcome")
                assert 500 <= answer.status
                assert asked < 6

        asked = await asyncio.gather(*map(pay, range(MANY)))
        assert 0 == await app.ended(signal.SIGTERM)

    assert {f"case-{number}": 1 for number in range(MANY)} == records(sandbox)
    assert sandbox.received > MANY  # faults were met
    assert MANY <= sum(asked)


@pytest.mark.parametrize("name", APPS)
async def test_callers(name: str, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """What callers do in one application's life: each finds its docstring true."""
    async with example(name, sandbox, tmp_path) as app:
        for happening in (double_click, double_click_of_a_case_payment, send_webhooks, hang_up):
            sandbox.reset()
            await happening(app, sandbox)
        assert 0 == await app.ended(signal.SIGTERM)
        assert " cancelled after " not in app.logged()


async def double_click(app: App, sandbox: Sandbox) -> None:
    """
    The same request twice at a time, and once more later, is one payment, and each of the answers
    says that it is on record; another user's key is another key.
    """
    sandbox.script(Fault.DELAY(seconds=0.3))
    first, second = await asyncio.gather(*(app.ask("/payments", paid()) for _ in range(2)))
    third = await app.ask("/payments", paid())
    changed = await app.ask("/payments", paid(amount=50))
    other = await app.ask("/payments", paid(2), user="u-2")

    assert [200, 200, 200] == [first.status, second.status, third.status]
    assert third.body["already_recorded"]
    assert 422 == changed.status
    assert changed.body["type"].endswith(":key-reused")
    assert (200, False) == (other.status, other.body["already_recorded"])
    assert {"case-1": 1, "case-2": 1} == records(sandbox)


async def double_click_of_a_case_payment(app: App, sandbox: Sandbox) -> None:
    """At a time both have the payment's id; later it is lost, and the answer says recorded."""
    path, wanted = f"/cases/{CASE}/payments", {"amount": 1.15, "description": "A visit"}
    sandbox.script(Fault.DELAY(seconds=0.3))
    first, second = await asyncio.gather(*(app.ask(path, wanted) for _ in range(2)))
    third = await app.ask(path, wanted)

    assert (201, 201) == (first.status, second.status)
    assert first.body == second.body
    assert (409, "recorded") == (third.status, third.body["outcome"])
    assert {CASE: 1} == records(sandbox)


async def hang_up(app: App, sandbox: Sandbox) -> None:
    """
    A caller who is gone once the vendor has the request leaves no doubt: the call is finished, and
    asking again finds the payment on record.
    """
    sandbox.script(Fault.DELAY(seconds=0.2))
    body = json.dumps(paid(3)).encode()
    await app.hang_up("/payments", body, key="k-3", until=lambda: sandbox.received == 1)
    await happens(lambda: records(sandbox)["case-3"] == 1)
    again = await app.ask("/payments", paid(3), key="k-3")

    assert (200, {"case-3": 1}) == (again.status, records(sandbox))


async def send_webhooks(app: App, _: Sandbox) -> None:
    """One that is signed is heard; one that is not, or cannot be read or held, is refused."""
    body, large = b'{"event": "PAYMENT_ADDED"}', b" " * (2**20 + 1)
    answers = []
    for sent, signature in (
        (body, webhooks.sign(body, SECRET)),
        (body, webhooks.sign(body, "another")),
        (body, None),
        (b"[]", webhooks.sign(b"[]", SECRET)),
        (large, webhooks.sign(large, SECRET)),
    ):
        headers = {} if signature is None else {webhooks.SIGNATURE_HEADER: signature}
        answers.append(await app.post_bytes("/webhooks", sent, headers))

    assert [204, 401, 401, 400, 413] == answers
    assert 1 == app.logged().count("webhook PAYMENT_ADDED")


@pytest.mark.parametrize("name", APPS)
async def test_terminated(name: str, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """
    A server that is told to end answers what has begun, through a retry, and ends with status 0;
    no payment is in doubt.
    """
    sandbox.script(*[Fault.DELAY(seconds=0.4)] * 10, *[Fault.ERROR_AFTER] * 10)
    async with example(name, sandbox, tmp_path) as app:
        asking = [
            asyncio.create_task(app.ask("/payments", paid(number), key=str(number)))
            for number in range(20)
        ]
        await happens(lambda: sandbox.received >= 20)
        status = await app.ended(signal.SIGTERM)
        answers = await asyncio.gather(*asking)

        assert 0 == status
        assert {200} == {answer.status for answer in answers}
        assert {f"case-{number}": 1 for number in range(20)} == records(sandbox)
        log = app.logged()
        assert "in time; they end now" not in log
        assert " cancelled after " not in log


@pytest.mark.parametrize("name", APPS)
async def test_killed(name: str, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """
    After a process that was killed in the midst, the same requests under the same keys put each
    payment on record once.
    """
    sandbox.script(*[Fault.HANG_AFTER, Fault.HANG] * 10)
    async with example(name, sandbox, tmp_path) as app:
        asking = [
            asyncio.create_task(app.ask("/payments", paid(number), key=str(number)))
            for number in range(20)
        ]
        await happens(lambda: sandbox.received == 20)
        await app.ended(signal.SIGKILL)
        lost = await asyncio.gather(*asking, return_exceptions=True)
        before = records(sandbox)
    async with example(name, sandbox, tmp_path) as app:
        answers = await asyncio.gather(
            *(app.ask("/payments", paid(number), key=str(number)) for number in range(20))
        )

    assert all(isinstance(each, ClientError) for each in lost)
    assert 10 == before.total()
    assert {200} == {answer.status for answer in answers}
    assert 10 == sum(answer.body["already_recorded"] for answer in answers)
    assert {f"case-{number}": 1 for number in range(20)} == records(sandbox)
