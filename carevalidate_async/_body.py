"""Reads an answer's body within bounds: of what arrives, and of what it unpacks to."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

MAX_ANSWER_BYTES = 1024 * 1024

_GZIP = 16 + zlib.MAX_WBITS
_RAW_DEFLATE = -zlib.MAX_WBITS
# Each costs time that is not in proportion to the bytes that arrive.
_MOST_CODINGS = 2
_MOST_MEMBERS = 50


class BodyError(Exception):
    """A body that cannot be trusted; its text says why, without any of it."""


async def read_bounded(chunks: AsyncIterable[bytes], encoding: str) -> bytes:
    """
    Return the body in *chunks*, unpacked.

    A kilobyte of gzip can stand for a megabyte of zeros, so nothing is unpacked further than the
    bound: neither memory nor the event loop's time is the sender's to spend.

    Args:
        chunks: As they arrive.

        encoding: The answer's Content-Encoding; empty where it has none. What is packed in a way
            that is not known here comes back as it is: gateways also write there what is none.

    Raises:
        BodyError: It is longer than `MAX_ANSWER_BYTES`, packed or unpacked, or it cannot be
            unpacked.
    """
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise _too_long()
    return whole(bytes(body), encoding)


def whole(body: bytes, encoding: str) -> bytes:
    """
    Return *body*, unpacked, as `read_bounded` does with one that came in pieces.

    Raises:
        BodyError: As there.
    """
    if len(body) > MAX_ANSWER_BYTES:
        raise _too_long()
    if not encoding:
        return body
    unpacked = body
    codings = [coding.strip() for coding in encoding.lower().split(",")]
    codings = [coding for coding in codings if coding not in {"", "identity"}]
    if len(codings) > _MOST_CODINGS:
        raise BodyError("packed too often")
    for coding in reversed(codings):  # the last one was put on last
        if coding in {"gzip", "x-gzip"}:
            unpacked = _unpacked(unpacked, _GZIP)
        elif coding == "deflate":
            # Some servers leave the zlib header out; its first half byte is always 8.
            wrapped = unpacked[:1] and unpacked[0] & 0x0F == zlib.DEFLATED
            unpacked = _unpacked(unpacked, zlib.MAX_WBITS if wrapped else _RAW_DEFLATE)
        else:
            break
    return unpacked


def _unpacked(packed: bytes, wbits: int) -> bytes:
    body, members = b"", 0
    while packed:
        unpacking = zlib.decompressobj(wbits)
        try:
            body += unpacking.decompress(packed, MAX_ANSWER_BYTES + 1 - len(body))
        except zlib.error:
            raise BodyError("not packed as it says") from None
        if len(body) > MAX_ANSWER_BYTES:
            raise _too_long()
        if not unpacking.eof:
            raise BodyError("cut short")
        members += 1
        if members > _MOST_MEMBERS:
            raise BodyError("packed in too many pieces")
        # Members of gzip may follow each other, and zeros fill up what is written in blocks.
        packed = unpacking.unused_data.lstrip(b"\0")
    return body


def _too_long() -> BodyError:
    return BodyError(f"longer than {MAX_ANSWER_BYTES} bytes")
