"""Reads an answer's body within bounds: of what arrives, and of what it unpacks to."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

MAX_ANSWER_BYTES = 1024 * 1024

_GZIP = 16 + zlib.MAX_WBITS
_RAW_DEFLATE = -zlib.MAX_WBITS


class BodyError(Exception):
    """A body that cannot be trusted; its text says why, without any of it."""


async def read_bounded(chunks: AsyncIterable[bytes], encoding: str) -> bytes:
    """
    Return the body in *chunks*, unpacked.

    A kilobyte of gzip can stand for a megabyte of zeros, so no chunk is unpacked further than the
    bound: neither memory nor the event loop's time is the sender's to spend.

    Args:
        chunks: As they arrive.

        encoding: The answer's Content-Encoding; empty where it has none.

    Raises:
        BodyError: It is longer than `MAX_ANSWER_BYTES`, packed or unpacked, or it cannot be
            unpacked.
    """
    packed = bytearray()
    async for chunk in chunks:
        packed += chunk
        if len(packed) > MAX_ANSWER_BYTES:
            raise _too_long()
    match encoding.strip().lower():
        case "" | "identity":
            return bytes(packed)
        case "gzip" | "x-gzip":
            return _unpacked(packed, _GZIP)
        case "deflate":
            # Some servers leave the zlib header out; its first half byte is always 8.
            wrapped = bool(packed) and packed[0] & 0x0F == zlib.DEFLATED
            return _unpacked(packed, zlib.MAX_WBITS if wrapped else _RAW_DEFLATE)
        case _:
            raise BodyError("packed in a way that was not asked for")


def _unpacked(packed: bytearray, wbits: int) -> bytes:
    if not packed:
        return b""
    unpacking = zlib.decompressobj(wbits)
    try:
        body = unpacking.decompress(packed, MAX_ANSWER_BYTES + 1)
    except zlib.error:
        raise BodyError("not packed as it says") from None
    if len(body) > MAX_ANSWER_BYTES:
        raise _too_long()
    if not unpacking.eof:
        raise BodyError("cut short")
    if unpacking.unused_data:
        raise BodyError("followed by something else")
    return body


def _too_long() -> BodyError:
    return BodyError(f"longer than {MAX_ANSWER_BYTES} bytes")
