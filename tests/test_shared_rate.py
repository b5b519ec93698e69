from __future__ import annotations

import asyncio
import logging
import time
import uuid
from typing import TYPE_CHECKING

import pytest
import redis.asyncio

from brokers import free_port, listens
from carevalidate_async.integrations.shared_rate import SharedRate
from cli_support import start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

URL = "redis://127.0.0.1:6379"
needs_redis = pytest.mark.skipif(not listens(6379), reason="no Redis server at 127.0.0.1:6379")


@pytest.fixture
async def key() -> AsyncIterator[str]:
    name = f"test:{uuid.uuid4()}"
    yield name
    async with redis.asyncio.from_url(URL) as client:
        await client.delete(name)


@needs_redis
class TestTurns:
    @pytest.mark.parametrize("rate", [20.0, 2.5])
    async def test_are_shared(self, key: str, rate: float) -> None:
        """
        Whoever takes them, turns are no more than the rate allows, after the first.
        """
        turns = 5
        async with (
            SharedRate(URL, rate, key=key, burst=1) as one,
            SharedRate(URL, rate, key=key, burst=1) as two,
        ):
            began = time.monotonic()
            await asyncio.gather(*(side.acquire() for side in (one, two, one, two, one)))
            took = time.monotonic() - began

        assert took >= (turns - 1) / rate * 0.95  # by another clock

    async def test_a_few_may_be_taken_at_once(self, key: str) -> None:
        """
        After a while without any, as many turns as the burst has are there at once.
        """
        async with redis.asyncio.from_url(URL) as client:
            limit = SharedRate(client, 0.01, key=key, burst=3)
            async with asyncio.timeout(20):  # rather than minutes
                for _ in range(3):
                    await limit.acquire()
            await limit.aclose()
            assert await client.ping()  # it was lent


async def test_nobody_gets_a_turn_while_the_server_is_away(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """
    A server that does not answer is waited for, and told of once.
    """
    async with SharedRate(f"redis://127.0.0.1:{free_port()}", 100) as limit:
        with pytest.raises(TimeoutError), caplog.at_level(logging.WARNING):
            async with asyncio.timeout(1.5):
                await limit.acquire()

    assert ["the Redis server of the shared rate is away; waiting for it"] == caplog.messages


@pytest.mark.parametrize("rate", [0, -1, float("inf"), float("nan")])
def test_a_rate_that_is_none(rate: float) -> None:
    """
    What is no number above 0 is no rate.
    """
    with pytest.raises(ValueError, match="rate must be a number above 0"):
        SharedRate(URL, rate)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--shared-rate", "5"), "--shared-rate needs --redis"),
        (("--shared-rate", "5", "--redis", "nonsense"), "--redis must be a URL"),
        (("--shared-rate", "nan", "--redis", URL), "--shared-rate must be a number"),
    ],
)
def test_worker_says_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], why: str
) -> None:
    """
    A worker that is given half a limit says what is missing.
    """
    monkeypatch.setenv("CAREVALIDATE_API_KEY", "test")
    broker = ("--broker", "nats://127.0.0.1:9", "--base-url", "http://127.0.0.1:9")
    process = start("worker", *broker, *options)
    _, said = process.communicate(timeout=30)

    assert 2 == process.returncode
    assert why in said
