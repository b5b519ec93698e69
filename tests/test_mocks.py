"""What those can rely on who mock aiohttp."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import aiohttp
import pytest
from aioresponses import aioresponses

from calls import AT_ONCE, CONFIRM, ONCE, PAYMENT
from carevalidate_async import APIConnectionError, CareValidate, Outcome
from carevalidate_async.testing import as_sent
from raw_server import RawServer, answers

if TYPE_CHECKING:
    from collections.abc import Iterator

VENDOR = "https://vendor.example"
URL = f"{VENDOR}/api/v1/customer-payment-confirmation"
OK = {"status": 200, "success": True}
KNOWN = {"status": 409, "success": False, "code": "IDEMPOTENCY_ERROR"}
SINCE_3_14 = not aiohttp.__version__.startswith("3.13.")
FIRST_UNDER_A_MOCK = """
import asyncio, datetime, sys
from aioresponses import aioresponses
from carevalidate_async import APIConnectionError, CareValidate, PaymentConfirmation, RetryPolicy

day = datetime.date(2026, 11, 2)
payment = PaymentConfirmation(
    case_id="c", amount=1, payment_date=day, valid_until=day, status="PAID"
)

async def count(reader, writer):
    connections.append(1)
    writer.close()

async def main():
    server = await asyncio.start_server(count, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    with aioresponses():
        assert "carevalidate_async._direct" not in sys.modules
        async with CareValidate("k", base_url=url, retry=RetryPolicy(max_attempts=1)) as care:
            try:
                await care.confirm_payment(payment)
            except APIConnectionError as error:
                print(error.outcome, len(connections))
    server.close()

connections = []
asyncio.run(main())
"""


class Answer(aiohttp.ClientResponse):
    """An answer of aioresponses, which does not know what aiohttp 3.14 wants."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        if SINCE_3_14:
            named.setdefault("stream_writer", Mock(output_size=0))
        super().__init__(*arguments, **named)


@pytest.fixture
def mocked() -> Iterator[aioresponses]:
    """No request leaves this process."""
    with aioresponses() as mock:
        yield mock


class TestAioresponses:
    @pytest.mark.parametrize("way", ["auto", "session", "direct"])
    async def test_answers(self, mocked: aioresponses, way: Any) -> None:
        """Answers that read the request are believed, whichever way the client was to send."""
        mocked.post(URL, status=503, response_class=Answer, callback=as_sent)
        mocked.post(URL, payload=OK, response_class=Answer, callback=as_sent)
        async with CareValidate("k", base_url=VENDOR, transport=way, retry=AT_ONCE) as care:
            receipt = await care.confirm_payment(PAYMENT)

        assert [503, 200] == [attempt.status for attempt in receipt.meta.attempts]

    async def test_lost_answer(self, mocked: aioresponses) -> None:
        """An exception after the request was read is an answer that was lost."""
        lost = aiohttp.ServerDisconnectedError()
        mocked.post(URL, exception=lost, callback=as_sent)
        mocked.post(URL, status=409, payload=KNOWN, response_class=Answer, callback=as_sent)
        async with CareValidate("k", base_url=VENDOR, retry=AT_ONCE) as care:
            receipt = await care.confirm_payment(PAYMENT)

        assert receipt.meta.already_recorded
        assert Outcome.UNKNOWN is receipt.meta.attempts[0].outcome

    async def test_unread(self, mocked: aioresponses) -> None:
        """An answer to a request that nobody read is not believed, and nothing was sent."""
        mocked.post(URL, payload=OK, response_class=Answer)
        async with CareValidate("k", base_url=VENDOR, retry=ONCE) as care:
            with pytest.raises(APIConnectionError, match="an answer lay on it") as caught:
                await care.confirm_payment(PAYMENT)

        assert Outcome.NOT_SENT is caught.value.outcome

    @pytest.mark.skipif(not SINCE_3_14, reason="aioresponses knows what aiohttp 3.13 wants")
    async def test_its_own_answers(self, mocked: aioresponses) -> None:
        """By itself aioresponses 0.7.9 cannot answer on aiohttp 3.14; a later one may."""
        mocked.post(URL, payload=OK, callback=as_sent)
        async with CareValidate("k", base_url=VENDOR, retry=ONCE) as care:
            with pytest.raises(APIConnectionError, match="TypeError"):
                await care.confirm_payment(PAYMENT)

    async def test_client_that_was_made_before(self) -> None:
        """A client that has connections already sends nothing past the mock, and goes on after."""
        async with (
            RawServer(*[answers(200, b'{"status": 200, "success": true}')] * 2) as server,
            CONFIRM.client(server.url) as client,
        ):
            await CONFIRM.ask(client)
            with aioresponses() as mock:
                url = f"{server.url}/api/v1/customer-payment-confirmation"
                mock.post(url, payload=OK, response_class=Answer, callback=as_sent)
                await CONFIRM.ask(client)
            assert 1 == len(server.requests)
            await CONFIRM.ask(client)
            assert 2 == len(server.requests)

    def test_first_client_under_a_mock(self) -> None:
        """Nor does the first client of a process, whose code is loaded under the mock."""
        done = subprocess.run(
            [sys.executable, "-c", FIRST_UNDER_A_MOCK],
            capture_output=True,
            check=True,
            encoding="utf-8",
            timeout=50,
        )

        assert "not_sent 0\n" == done.stdout
