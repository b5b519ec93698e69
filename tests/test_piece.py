"""Answers that are read in one piece, beside aiohttp's parser."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import Mock

import pytest
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpResponseParser
from hypothesis import given
from hypothesis import strategies as st

from carevalidate_async._piece import read_piece
from carevalidate_async._wire import Reply, plain_headers

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
ODD = (
    b"HTTP/1.1 503 Slow Down\r\nRetry-After:  7 \r\nX: \r\nX: b c\r\nConnection: Keep-Alive\r\n"
    b"Content-Length: 1\r\n\r\n\xff"
)


def parsed(data: bytes) -> Reply | None:
    """Return what aiohttp's parser makes of *data*; None unless it is one answer, to its end."""
    loop = asyncio.new_event_loop()
    try:
        parser: Any = HttpResponseParser(
            Mock(_reading_paused=False), loop, 65536, read_until_eof=True, auto_decompress=False
        )
        messages, upgraded, tail = parser.feed_data(data)
        if len(messages) != 1 or upgraded or tail:
            return None
        message, payload = messages[0]
        if message.should_close or not payload.is_eof():
            return None
        body = payload.read_nowait() if payload.total_bytes else b""
        # Older versions leave the blanks after a value, which are none of it (RFC 9110, 5.5).
        headers = {k: v.strip(" \t") for k, v in plain_headers(message.headers).items()}
        return Reply(status=message.code, headers=headers, body=body)
    except HttpProcessingError:
        return None
    finally:
        loop.close()


class TestReads:
    @pytest.mark.parametrize(
        ("data", "status", "headers", "body"),
        [
            (PLAIN, 200, {"content-type": "application/json", "content-length": "2"}, b"{}"),
            (b"HTTP/1.1 401 \r\ncontent-length:0\r\n\r\n", 401, {"content-length": "0"}, b""),
            (
                ODD,
                503,
                {
                    "retry-after": "7",
                    "x": "b c",
                    "connection": "Keep-Alive",
                    "content-length": "1",
                },
                b"\xff",
            ),
        ],
    )
    def test_plain_ones(
        self, data: bytes, status: int, headers: dict[str, str], body: bytes
    ) -> None:
        """
        A plain answer is read, as aiohttp reads it.
        """
        reply = read_piece(data)

        assert Reply(status=status, headers=headers, body=body) == reply
        assert parsed(data) == reply

    def test_one_with_many_long_lines(self) -> None:
        """
        What is too long to be remembered is read each time.
        """
        line = b"X-Long: " + b"x" * 2000
        data = PLAIN.replace(b"Content-Type", line + b"\r\nContent-Type")

        assert {"x-long": "x" * 2000} == {
            name: value
            for name, value in (read_piece(data) or Mock()).headers.items()
            if name == "x-long"
        }


class TestLeavesAlone:
    @pytest.mark.parametrize("cut", range(1, len(PLAIN)))
    def test_pieces(self, cut: int) -> None:
        """
        What is not whole is for a parser that waits for the rest.
        """
        assert None is read_piece(PLAIN[:cut])

    @pytest.mark.parametrize(
        ("was", "is_"),
        [
            (b"{}", b"{}H"),
            (b"HTTP/1.1", b"HTTP/1.0"),
            (b"HTTP/1.1", b"HTTP/2.0"),
            (b"HTTP/1.1", b"http/1.1"),
            (b"200 OK", b"200"),
            (b"200 OK", b"2000 OK"),
            (b"200 OK", b"100 Continue"),
            (b"200 OK", b"101 Switching Protocols"),
            (b"200 OK", b"204 No Content"),
            (b"200 OK", b"304 Not Modified"),
            (b"200 OK", b"200 O\xe9"),
            (b"200 OK", b"200 " + b"O" * 300),
            (b"Type:", b"Type:\t"),
            (b"Length: 2", b"Length: 2\t"),
            (b"Type:", b"Type :"),
            (b"Type:", b"Type"),
            (b"Content-Type:", b":"),
            (b"Content-Type:", b" Content-Type:"),
            (b"application/json", b"application/json\r\n folded"),
            (b"application/json", b"application/\0json"),
            (b"application/json", b"application/j\xe9son"),
            (b"application/json", b"application/\rjson"),
            (b"application/json", b"application/\njson"),
            (b"Length: 2", b"Length: 2\r\nContent-Length: 2"),
            (b"Length: 2", b"Length: 2, 2"),
            (b"Length: 2", b"Length: +2"),
            (b"Length: 2", b"Length: 02"),
            (b"Length: 2", b"Length: 0x2"),
            (b"Length: 2", b"Length: 2 2"),
            (b"Length: 2", b"Length:"),
            (b"Length: 2", b"Length: 1"),
            (b"Length: 2", b"Length: 3"),
            (b"Length: 2", b"Length: 20000000"),
            (b"Content-Length: 2\r\n", b""),
            (b"Content-Type", b"Transfer-Encoding: chunked\r\nContent-Type"),
            (b"Content-Type", b"Content-Encoding: gzip\r\nContent-Type"),
            (b"Content-Type", b"Connection: close\r\nContent-Type"),
            (b"Content-Type", b"Connection: upgrade\r\nContent-Type"),
            (b"Content-Type", b"Proxy-Connection: close\r\nContent-Type"),
            (b"Content-Type", b"Sec-WebSocket-Key1: x\r\nContent-Type"),
            (b"Content-Type", b"X: " + b"y" * 5000 + b"\r\nContent-Type"),
            (b"Content-Type", b"Trailer: X\r\nContent-Type"),
            (b"Content-Type", b"Upgrade: h2c\r\nContent-Type"),
            (b"Content-Type", b"Set-Cookie: a=b\r\nContent-Type"),
            (b"Content-Type", b"X: y\r\n" * 70 + b"Content-Type"),
            (b"\r\n", b"\n"),
            (b"HTTP", b"\r\nHTTP"),
        ],
    )
    def test_odd_ones(self, was: bytes, is_: bytes) -> None:
        """
        Whatever is not plain is aiohttp's.
        """
        data = PLAIN.replace(was, is_)

        assert data != PLAIN
        assert None is read_piece(data)


LINES = st.sampled_from(
    [
        *(b"Content-Length: %d" % n for n in range(4)),
        *(b"content-length:2", b"Content-Length: 2 ", b"Content-Length:\t2", b"CONTENT-LENGTH: 2"),
        *(b"Connection: keep-alive", b"Connection: close", b"Connection: keep-alive, x"),
        *(b"Proxy-Connection: close", b"Proxy-Connection: keep-alive", b"Sec-WebSocket-Key1: x"),
        *(b"Transfer-Encoding: chunked", b"Transfer-Encoding : chunked", b"Content-Encoding: br"),
        *(b"X-Request-Id: 7", b"x-request-id: 8", b"Retry-After:  3", b"A:", b"A: ", b" A: b"),
        *(b"A: b\tc", b"A: b\x7f", b"A\x00: b", b"A: \xc3\xa9", b"!#$%&'*+-.^_`|~9: x", b""),
    ]
)
FIRST = st.sampled_from([b"HTTP/1.1 200 OK", b"HTTP/1.1 409 ", b"HTTP/1.1 500 a b"])
BYTES = st.sampled_from(
    [b"", b" ", b"\t", b"\r", b"\n", b"\r\n", b":", b",", b"\0", b"\xe9", b"2", b"a"]
)


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """Answers, some of them with a line or a byte too much, too few or another one."""
    body = draw(st.binary(max_size=3))
    lines = draw(st.lists(LINES, max_size=2)) if draw(st.booleans()) else []
    lines.append(b"Content-Length: %d" % len(body))
    head = [draw(FIRST), *draw(st.permutations(lines)), b"", b""]
    data = bytearray(b"\r\n".join(head) + body)
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(data)))
        data[place : place + draw(st.integers(0, 1))] = draw(BYTES)
    return bytes(data)


class TestBesideTheParser:
    @given(answers())
    def test_says_what_the_parser_says(self, data: bytes) -> None:
        """
        Whatever is read at all is what aiohttp's parser makes of the same bytes.
        """
        reply = read_piece(data)

        assert reply is None or parsed(data) == reply

    @given(
        st.lists(LINES.filter(lambda line: line.startswith((b"X", b"x", b"R"))), max_size=4),
        st.binary(),
    )
    def test_reads_plain_ones(self, lines: list[bytes], body: bytes) -> None:
        """
        Nothing plain is left to the parser.
        """
        head = b"\r\n".join([b"HTTP/1.1 200 OK", *lines, b"Content-Length: %d" % len(body)])

        assert None is not read_piece(head + b"\r\n\r\n" + body)
