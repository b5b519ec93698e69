"""A webhook's bytes, read within bounds, and what they say once their signature is good."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carevalidate_async import webhooks
from carevalidate_async.integrations.problems import refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterable

    from carevalidate_async.webhooks import WebhookEvent

MAX_WEBHOOK_BYTES = 2**20
"""Bytes that a webhook's body may have."""


async def read_event(
    chunks: AsyncIterable[bytes], signature: str | None, secret: str | Iterable[str]
) -> WebhookEvent:
    """
    Return the event that a webhook's body reports.

    Args:
        chunks: The body as it comes.

        signature: Value of the header `carevalidate_async.webhooks.SIGNATURE_HEADER`.

        secret: One secret, or several while they are changed.

    Raises:
        ProblemError: The body is too large (413); what comes after that is not read.
        WebhookSignatureError: See `carevalidate_async.webhooks.verify`.
        WebhookPayloadError: As above.
    """
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > MAX_WEBHOOK_BYTES:
            raise refusal("too-large", 413, f"A webhook has {MAX_WEBHOOK_BYTES} bytes at most.")
    return webhooks.verify(bytes(body), signature, secret)
