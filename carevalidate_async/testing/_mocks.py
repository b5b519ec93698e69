"""For tests that mock aiohttp: a request that somebody reads."""

from __future__ import annotations

from typing import Any


class _Reader:
    """What a body is written to."""

    async def write(self, chunk: bytes) -> None:
        """Take a part of it."""


async def as_sent(
    url: object,  # noqa: ARG001  # It is given.
    /,
    **request: Any,  # noqa: ANN401  # As it comes.
) -> None:
    """
    Read a mocked request's body, as a server does; a callback for aioresponses.

    A client of the package believes no answer to a request of which nothing was written: on a real
    connection it would be the answer to another one. So a mocked answer needs this::

        mocked.post(URL, payload={"status": 200, "success": True}, callback=as_sent)

    With it, an exception in place of the answer is an answer that was lost: the payment may be on
    record. Without, nothing was sent.

    Args:
        url: Where to; not used.

        request: What `aiohttp.ClientSession.request` was given; its ``data`` is read.
    """
    await request["data"].write_with_length(_Reader(), None)
