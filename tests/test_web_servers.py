"""The example applications under their real servers: whatever happens, each payment is one."""

from __future__ import annotations

import asyncio
import json
import pathlib
import random
import re
import signal
from collections import Counter

import pytest
from aiohttp import ClientError

from carevalidate_async import webhooks
from carevalidate_async.sandbox import Fault, Sandbox
from web_support import APPS, CASE, EXAMPLES, SECRET, Answer, App, example, happens, paid, run_with

ROOT = pathlib.Path(__file__).parents[1]
GUIDE = (ROOT / "docs" / "guides" / "web-servers.md").read_text(encoding="utf-8")
MANY = 200
FEW = 20


def records(sandbox: Sandbox) -> Counter[str]:
    """Return how often each case has a payment on record."""
    return Counter(payment.case_id for payment in sandbox.payments)


@pytest.mark.deep
@pytest.mark.parametrize("name", APPS)
async def test_life(name: str, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """
    In an application's life, through a kill, a bad day and its end, each step finds its own
    docstring true, and no payment was left in doubt but by the kill.
    """
    async with example(name, sandbox, tmp_path) as app:
        for step in (double_click, double_click_of_a_case_payment, send_webhooks, hang_up):
            sandbox.reset()
            await step(app, sandbox)
        sandbox.reset()
        await kill(app, sandbox)
    async with example(name, sandbox, tmp_path) as app:
        await ask_again(app, sandbox)
        for step in (bad_day, terminate):
            sandbox.reset()
            await step(app, sandbox)
        log = app.logged()

    assert "; they end now" not in log
    assert " cancelled after " not in log


async def bad_day(app: App, sandbox: Sandbox) -> None:
    """
    Of payments of many callers at a time each is on record once, though every fifth request to the
    vendor meets a fault, and no answer claims what is not so.
    """
    rng = random.Random(7)
    faults = [*Fault.EVERY, Fault.HANG(seconds=0.1), Fault.HANG_AFTER(seconds=0.1)]
    faults = [fault for fault in faults if fault not in {Fault.HANG, Fault.HANG_AFTER}]
    bad = [rng.choice(faults) if rng.random() < 0.2 else Fault.OK for _ in range(4 * MANY)]
    sandbox.script(*bad)

    async def pay(number: int) -> None:
        case = f"case-{number}"
        for _ in range(6):
            answer = await app.ask("/payments", paid(number), key=f"bad-day-{number}")
            there = records(sandbox)[case]
            if answer.status == 200:
                assert 1 == there
                return
            assert "application/problem+json" == answer.kind
            outcome = answer.body["outcome"]
            assert 0 == there or outcome == "unknown"
            assert (outcome == "unknown") == answer.body["type"].endswith(":unknown-outcome")
            assert 500 <= answer.status
        pytest.fail(f"{case} had no success")

    await asyncio.gather(*map(pay, range(MANY)))

    assert {f"case-{number}": 1 for number in range(MANY)} == records(sandbox)
    assert sandbox.received > MANY  # faults were met


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
    sandbox.script(Fault.DELAY(seconds=1))
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


async def pay_many(app: App, name: str) -> list[Answer | BaseException]:
    """Ask for payments, all at a time."""
    return await asyncio.gather(
        *(app.ask("/payments", paid(n), key=f"{name}-{n}") for n in range(FEW)),
        return_exceptions=True,
    )


async def kill(app: App, sandbox: Sandbox) -> None:
    """A process that is killed in the midst leaves payments on record that nobody heard of."""
    sandbox.script(*[Fault.HANG_AFTER, Fault.HANG] * (FEW // 2))
    asking = asyncio.create_task(pay_many(app, "killed"))
    await happens(lambda: sandbox.received == FEW)
    await app.ended(signal.SIGKILL)

    assert all(isinstance(each, ClientError) for each in await asking)
    assert FEW // 2 == records(sandbox).total()


async def ask_again(app: App, sandbox: Sandbox) -> None:
    """After it, the same requests under the same keys put each payment on record once."""
    answers = [each for each in await pay_many(app, "killed") if isinstance(each, Answer)]

    assert [200] * FEW == [answer.status for answer in answers]
    assert FEW // 2 == sum(answer.body["already_recorded"] for answer in answers)
    assert {f"case-{number}": 1 for number in range(FEW)} == records(sandbox)


async def terminate(app: App, sandbox: Sandbox) -> None:
    """
    A server that is told to end answers what has begun, through a retry, and ends with status 0.
    """
    half = FEW // 2
    sandbox.script(*[Fault.DELAY(seconds=0.4)] * half, *[Fault.ERROR_AFTER] * half)
    asking = asyncio.create_task(pay_many(app, "terminated"))
    await happens(lambda: sandbox.received >= FEW)
    status = await app.ended(signal.SIGTERM)
    answers = [each for each in await asking if isinstance(each, Answer)]

    assert 0 == status
    assert [200] * FEW == [answer.status for answer in answers]
    assert {f"case-{number}": 1 for number in range(FEW)} == records(sandbox)


@pytest.mark.deep
async def test_several_workers(sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """
    Of several processes each has a client of its own, and the same request is one payment whichever
    of them takes it; told to end, they answer what has begun.
    """
    options = ("--workers", "2", "--timeout-graceful-shutdown", "5", "--app-dir", str(EXAMPLES))
    command = ("-m", "uvicorn", "fastapi_app:app", *options)
    async with run_with(command, sandbox, tmp_path / "workers.log") as app:
        for each in range(2):  # over new connections, which any of them may take
            app.http.headers["Connection"] = "close"
            answers = [a for a in await pay_many(app, "workers") if isinstance(a, Answer)]
            already = sum(answer.body["already_recorded"] for answer in answers)
            assert ([200] * FEW, each * FEW) == ([answer.status for answer in answers], already)
        assert {f"case-{number}": 1 for number in range(FEW)} == records(sandbox)
        sandbox.reset()
        await terminate(app, sandbox)
        log = app.logged()

    assert 2 == log.count("Application startup complete.")
    assert "; they end now" not in log


@pytest.mark.parametrize("name", APPS)
async def test_own_sandbox(name: str, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """With ``--sandbox`` an example needs no account, and asks none that there is."""
    async with example(name, sandbox, tmp_path, "--sandbox") as app:
        answer = await app.ask("/payments", paid())

        assert 0 == await app.ended(signal.SIGTERM)
    assert (200, 0) == (answer.status, sandbox.received)
    assert EXAMPLES / f"{name}.py" == ROOT / re.findall(rf"python (\S+{name}\.py)`", GUIDE)[0]
