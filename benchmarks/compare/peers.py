"""Contenders: other SDKs and HTTP clients, with the policies that they have by default."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from benchmarks.compare.bare import tls
from benchmarks.compare.contender import Call, check
from benchmarks.compare.target import KEY, PATH, Target, fields

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HEADERS = {"cv-api-key": KEY}


@contextlib.asynccontextmanager
async def aiohttp_retry(target: Target) -> AsyncIterator[Call]:
    """Call aiohttp through RetryClient."""
    import aiohttp
    import aiohttp_retry

    url = target.url + PATH
    connector = aiohttp.TCPConnector(limit=max(100, target.concurrency), ssl=tls(target))
    async with aiohttp_retry.RetryClient(connector=connector) as session:

        async def call(number: int) -> None:
            async with session.post(url, json=fields(number), headers=HEADERS) as response:
                answer = await response.json()
            check(answer["success"])

        yield call


@contextlib.asynccontextmanager
async def elastic_transport(target: Target) -> AsyncIterator[Call]:
    """Call through the transport of Elasticsearch's client, on aiohttp."""
    import elastic_transport as elastic
    from elastic_transport.client_utils import url_to_node_config

    node = url_to_node_config(target.url).replace(
        connections_per_node=target.concurrency, ca_certs=target.authority
    )
    transport = elastic.AsyncTransport([node], node_class=elastic.AiohttpHttpNode)
    headers = {**HEADERS, "content-type": "application/json", "accept": "application/json"}

    async def call(number: int) -> None:
        answer = await transport.perform_request("POST", PATH, body=fields(number), headers=headers)
        check(answer.body["success"])

    yield call
    await transport.close()


@contextlib.asynccontextmanager
async def azure_core(target: Target) -> AsyncIterator[Call]:
    """Call through azure-core's pipeline with its usual policies, on aiohttp."""
    from azure.core import AsyncPipelineClient
    from azure.core.pipeline import policies
    from azure.core.pipeline.transport import AioHttpTransport
    from azure.core.rest import HttpRequest

    usual = [
        policies.RequestIdPolicy(),
        policies.HeadersPolicy(HEADERS),
        policies.UserAgentPolicy("benchmark"),
        policies.ContentDecodePolicy(),
        policies.AsyncRedirectPolicy(),
        policies.AsyncRetryPolicy(),
        policies.NetworkTraceLoggingPolicy(),
    ]
    transport = AioHttpTransport(use_env_settings=False)
    async with AsyncPipelineClient(target.url, policies=usual, transport=transport) as client:

        async def call(number: int) -> None:
            request = HttpRequest("POST", target.url + PATH, json=fields(number))
            response = await client.send_request(request)
            check(response.json()["success"])

        yield call


@contextlib.asynccontextmanager
async def stripe_aiohttp(target: Target) -> AsyncIterator[Call]:
    """Create a payment intent with stripe-python on aiohttp."""
    import stripe

    async with _stripe(target, stripe.AIOHTTPClient()) as call:
        yield call


@contextlib.asynccontextmanager
async def stripe_httpx(target: Target) -> AsyncIterator[Call]:
    """Create one with stripe-python on httpx, which it takes where that is installed."""
    import stripe

    async with _stripe(target, stripe.HTTPXClient()) as call:
        yield call


@contextlib.asynccontextmanager
async def _stripe(target: Target, transport: Any) -> AsyncIterator[Call]:
    import stripe

    client = stripe.StripeClient(
        "sk_test_benchmark", http_client=transport, base_addresses={"api": target.url}
    )

    async def call(number: int) -> None:
        values = {**fields(number), "amount": 4990, "currency": "usd"}
        key = values.pop("idempotencyKey")
        answer: Any = await client.v1.payment_intents.create_async(
            values,
            {"idempotency_key": key},
        )
        check(answer["success"])

    yield call
    await transport.close_async()


@contextlib.asynccontextmanager
async def openai_aiohttp(target: Target) -> AsyncIterator[Call]:
    """Post through openai-python on aiohttp."""
    import openai

    async with _openai(target, openai.DefaultAioHttpClient()) as call:
        yield call


@contextlib.asynccontextmanager
async def openai_default(target: Target) -> AsyncIterator[Call]:
    """Post through openai-python as it is."""
    async with _openai(target, None) as call:
        yield call


@contextlib.asynccontextmanager
async def _openai(target: Target, http_client: Any) -> AsyncIterator[Call]:
    import openai

    client = openai.AsyncOpenAI(api_key="benchmark", base_url=target.url, http_client=http_client)
    async with client:

        async def call(number: int) -> None:
            answer: Any = await client.post(PATH, cast_to=object, body=fields(number))
            check(answer["success"])

        yield call


@contextlib.asynccontextmanager
async def httpx(target: Target) -> AsyncIterator[Call]:
    """Post through httpx."""
    import httpx as library

    most = max(100, target.concurrency)
    limits = library.Limits(max_connections=most, max_keepalive_connections=most)
    async with library.AsyncClient(limits=limits, headers=HEADERS) as client:

        async def call(number: int) -> None:
            response = await client.post(target.url + PATH, json=fields(number))
            check(response.json()["success"])

        yield call


@contextlib.asynccontextmanager
async def pyreqwest(target: Target) -> AsyncIterator[Call]:
    """Post through pyreqwest, whose work is done in Rust."""
    from pyreqwest.client import ClientBuilder

    async with ClientBuilder().build() as client:

        async def call(number: int) -> None:
            request = client.post(target.url + PATH).header("cv-api-key", KEY)
            response = await request.body_json(fields(number)).build().send()
            answer = json.loads(bytes(await response.bytes()))
            check(answer["success"])

        yield call
