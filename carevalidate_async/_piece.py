"""
Reads an answer that came in one piece; any other, and an odd one, is left to aiohttp's parser.

Nearly every answer of a vendor is one. What it takes is less than what HTTP allows: a line of its
head is plain ASCII, its length is said once, and it is neither packed, in chunks, nor the last one
of its connection.

Source: RFC 9112, sections 4, 5 and 6.
"""

from __future__ import annotations

import functools
import re

from carevalidate_async._wire import Reply

_REMEMBERED = 256  # bytes of a line; as they are, most come again and again
_LONGEST_LINE = 4096  # bytes; aiohttp's parser refuses one of twice as many
_MOST_LINES = 64
_BODILESS = frozenset({204, 205, 304})
# Of them each says that there is more to know of the body, or of the connection.
_CONNECTION = frozenset({"connection", "proxy-connection"})
_STRANGE = frozenset(
    {"content-encoding", "transfer-encoding", "trailer", "upgrade", "set-cookie"} | _CONNECTION
)
_HANDSHAKE = "sec-websocket-"
_STATUS = re.compile(rb"HTTP/1\.1 ([2-5][0-9]{2}) [ -~]*")
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+): *([!-~](?:[ -~]*[!-~])?)? *")
_LENGTH = re.compile("0|[1-9][0-9]{0,6}")


def read_piece(data: bytes) -> Reply | None:
    """Return the answer that *data* is, to its last byte; None where it may be something else."""
    head, end, body = data.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    status = _status(first) if len(first) <= _REMEMBERED else None
    if not end or status is None or len(lines) > _MOST_LINES:
        return None
    headers: dict[str, str] = {}
    length = None
    for line in lines:
        field = (_field if len(line) <= _REMEMBERED else _field.__wrapped__)(line)
        if field is None or len(line) > _LONGEST_LINE:
            return None
        name, value = field
        if name == "content-length":
            if length is not None:
                return None
            length = value
        elif name in _STRANGE:
            if name not in _CONNECTION or value.lower() != "keep-alive":
                return None
        elif name.startswith(_HANDSHAKE):
            return None
        headers[name] = value
    if length is None or not _LENGTH.fullmatch(length) or int(length) != len(body):
        return None
    return Reply(status=status, headers=headers, body=body)


@functools.lru_cache(maxsize=64)
def _status(line: bytes) -> int | None:
    found = _STATUS.fullmatch(line)
    status = None if found is None else int(found[1])
    return None if status in _BODILESS else status


@functools.lru_cache(maxsize=256)
def _field(line: bytes) -> tuple[str, str] | None:
    found = _FIELD.fullmatch(line)
    return None if found is None else (found[1].decode().lower(), (found[2] or b"").decode())
