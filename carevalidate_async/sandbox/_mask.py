"""
What of an exchange the page may show: what is known to be harmless, and nothing else.

A sandbox is fed made-up data, and one day somebody's real data by mistake. So this is a list of
what is shown, not of what is hidden: a field that nobody thought of is hidden, and so is a known
one that does not look like what it is for.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, TypeAlias
from urllib.parse import unquote

from carevalidate_async._dialect import blank_out
from carevalidate_async.sandbox._checks import read_json

HIDDEN = "\u2022\u2022\u2022\u2022"

LONGEST_BODY = 2**16
"""Bytes of a body that is looked at; what is in a longer one is not shown."""

_DEEPEST = 20
_MOST_PRIVATE = 200
_EVERYBODYS = frozenset({"test"})
"""What is no secret: the sandbox's credential unless it is given another."""

_SHORTEST_SECRET = 4  # characters; a shorter text is in another by chance
_LONGEST_NUMBER = 10**9  # with more digits it may be a phone number or a card's
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
_DERIVED = re.compile(r"(cv1-)?[0-9a-f]{24,64}", re.ASCII)
_WORD = re.compile(r"[A-Za-z0-9_.:-]{1,100}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9_-]{1,60}", re.ASCII)
_PAYMENT_SECRET = re.compile(r"\w*_secret_\w*", re.ASCII | re.IGNORECASE)
_MANY_DIGITS = re.compile(r"(\d[().-]{0,2}){7}", re.ASCII)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}:\d{2}(\.\d{1,6})?Z)?", re.ASCII)
_LOOPBACK = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.ASCII)
_PORT_OR_SIZE = re.compile(r"\d{1,9}", re.ASCII)
_ORIGIN = re.compile(r"\Ahttps?://[^/?#]*", re.IGNORECASE)

Shape: TypeAlias = Callable[[str, tuple[str, ...]], str | None]  # (text, private) -> as shown
Hide: TypeAlias = Callable[[str, Any], Any]  # (field, value) -> what stands in its place


def word(text: str, private: tuple[str, ...] = ()) -> str | None:
    """Return *text* where it is one plain word, no number of somebody, and repeats no secret."""
    if _UUID.fullmatch(text):
        return text
    plain = _WORD.fullmatch(text) and not _MANY_DIGITS.search(text)
    if not plain or _PAYMENT_SECRET.search(text) or len(private) > _MOST_PRIVATE:
        return None
    told = text.casefold()
    secrets = (secret.casefold() for secret in private if len(secret) >= _SHORTEST_SECRET)
    return None if any(secret in told for secret in secrets) else text


def is_made(key: str) -> bool:
    """Tell whether an idempotency key is random or derived, and so tells nothing."""
    return bool(_UUID.fullmatch(key) or _DERIVED.fullmatch(key))


def key(text: str, private: tuple[str, ...] = ()) -> str | None:
    """Return an idempotency key without what could name somebody, should it hold any."""
    if is_made(text):
        return text
    return None if len(private) > _MOST_PRIVATE else _words(text, private)


def _words(text: str, private: tuple[str, ...]) -> str:
    return blank_out(_PAYMENT_SECRET.sub(HIDDEN, text), private)


def _day(text: str, _private: tuple[str, ...]) -> str | None:
    return text if _DAY.fullmatch(text) else None


_REQUEST: Mapping[str, Shape] = {
    **dict.fromkeys(("action", "application", "application_view", "session_view", "view"), word),
    **dict.fromkeys(("caseId", "decisionId", "paymentMethodTypes", "productId", "status"), word),
    **dict.fromkeys(("paymentDate", "validUntil"), _day),
    "idempotencyKey": key,
}
_ANSWER: Mapping[str, Shape] = {
    **dict.fromkeys(("code", "paymentId", "status"), word),
    **dict.fromkeys(("error", "message"), _words),
    "createdAt": _day,
}
_NUMBERS = frozenset({"amount", "exp_month", "exp_year", "id", "status"})
_HEADERS = frozenset(
    {
        *("accept", "accept-encoding", "allow", "connection", "content-encoding"),
        *("content-length", "content-type", "date", "expect", "host", "location", "retry-after"),
        *("server", "transfer-encoding", "user-agent", "x-request-id"),
    }
)


def hidden(_name: str, _value: object) -> str:
    """Return what stands in the place of everything that is not shown."""
    return HIDDEN


class Mask:
    """
    Shows an exchange.

    Args:
        body: The request's body, from which it learns what is private.

        headers: The request's headers, likewise.

        hide: Gives what stands in the place of what is not shown.

    Attributes:
        fields: The request's body as it is shown, None where it is no JSON or too long.

        private: What the request held and is not shown.
    """

    def __init__(
        self, body: bytes, headers: Mapping[str, str] | None = None, hide: Hide = hidden
    ) -> None:
        self._hide = hide
        secret = (text for name, text in (headers or {}).items() if name.lower() not in _HEADERS)
        self._texts: set[str] = set(secret)
        self.private: tuple[str, ...] = ()
        self.fields: Any = None
        document = readable(body)
        if document is not None:
            self._value("", document, _REQUEST, 0)  # What comes first may repeat what comes last.
        self.private = tuple(self._texts - _EVERYBODYS)
        if document is not None:
            self.fields = self._value("", document, _REQUEST, 0)

    def answer(self, body: bytes) -> Any:  # noqa: ANN401  # JSON may be anything.
        """Return an answer's JSON as it is shown, None where it is no JSON or too long."""
        document = readable(body)
        if document is None:
            return None
        shapes = _ANSWER
        if isinstance(document, dict) and document.get("code") == "IDEMPOTENCY_ERROR":
            shapes = {**_ANSWER, "description": _words}  # the vendor's own words
        return self._value("", document, shapes, 0)

    def text(self, text: str) -> str:
        """Return a *text*, which may repeat the request, in one line, without what is private."""
        return HIDDEN if len(self.private) > _MOST_PRIVATE else _words(text, self.private)

    def headers(self, headers: Mapping[str, str]) -> list[tuple[str, str]]:
        """Return headers as they are shown."""
        return [(_named(name, "x"), self._header(name, text)) for name, text in headers.items()]

    def _header(self, name: str, text: str) -> str:
        if name.lower() not in _HEADERS:
            return HIDDEN
        if name.lower() == "location":
            return self.text(path(text))
        plain = _PORT_OR_SIZE.fullmatch(text) or _LOOPBACK.fullmatch(text)
        return text if plain else self.text(text)

    def _value(self, name: str, value: Any, shapes: Mapping[str, Shape], depth: int) -> Any:  # noqa: ANN401  # JSON may be anything.
        if value is None or isinstance(value, bool):
            return value
        if depth > _DEEPEST:
            return self._hidden(name, value)
        if isinstance(value, dict):
            shown: dict[str, Any] = {}
            for field, inner in value.items():
                shown[_named(field, "hidden", shown)] = self._value(field, inner, shapes, depth + 1)
            return shown
        if isinstance(value, list):
            return [self._value(name, inner, shapes, depth + 1) for inner in value]
        if not isinstance(value, str):
            number = name in _NUMBERS and abs(value) < _LONGEST_NUMBER
            return value if number else self._hidden(name, value)
        shape = shapes.get(name)
        if shape is _words:
            return self.text(value)
        told = None if shape is None else shape(value, self.private)
        return self._hidden(name, value) if told is None else told

    def _hidden(self, name: str, value: Any) -> Any:  # noqa: ANN401  # As it was read.
        if isinstance(value, int | str | Decimal):
            self._texts.add(str(value))
        return self._hide(name, value)


def readable(body: bytes) -> Any:  # noqa: ANN401  # JSON may be anything.
    """Return what a body says as JSON, None where it is none or too long to be looked at."""
    if len(body) > LONGEST_BODY:
        return None
    try:
        return read_json(body)
    except ValueError:
        return None


@functools.lru_cache(256)  # Most requests are for the same few.
def path(target: str) -> str:
    """Return a request's target as it is shown: its words, and no value of its query."""
    route, _, query = _ORIGIN.sub("", target[:2000]).partition("?")
    shown = "/".join(
        part if not part or (part == unquote(part) and word(part)) else HIDDEN
        for part in route.split("/")
    )
    return f"{shown}?{HIDDEN}" if query else shown


def _named(name: str, other: str, beside: Mapping[str, object] | None = None) -> str:
    """Return the name of a field or a header; *other* where it could be somebody's."""
    if _NAME.fullmatch(name) and not _MANY_DIGITS.search(name):
        return name
    return f"({other} {len(beside) + 1})" if beside is not None else f"({other})"
