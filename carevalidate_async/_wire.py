"""What crosses the boundary to the transport: sealed bytes out, a reply or its absence back."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC
from typing import final

import attrs

REQUEST_ID_HEADERS = (
    "x-request-id",
    "request-id",
    "x-correlation-id",
    "x-amzn-requestid",
    "cf-ray",
)


@final
class Head:
    """
    Where a request goes, and its headers: the same for many of them.

    Args:
        method: HTTP method, upper case.

        url: Absolute URL.

        headers: All headers that we set, the credential among them where the vendor wants it there.

    Attributes:
        method: As given.

        url: As given.

        prepared: What a way of sending made of it for the next time.
    """

    __slots__ = ("__headers", "method", "prepared", "url")

    def __init__(self, method: str, url: str, headers: Mapping[str, str]) -> None:
        self.method: str = method
        self.url: str = url
        # In a function: a slot is shown by whatever lists attributes.
        self.__headers: Callable[[], Mapping[str, str]] = lambda: headers
        self.prepared: object = None

    @property
    def headers(self) -> Mapping[str, str]:
        """All headers that we set."""
        return self.__headers()

    def __repr__(self) -> str:
        return f"<{self.method} {self.url}>"


@attrs.frozen(kw_only=True)
class Sealed:
    """
    A request as every attempt sends it: nothing can change after this.

    Attributes:
        head: Where it goes, and its headers.

        body: UTF-8 JSON, the credential among it where the vendor wants it there.

        idempotency_key: The key inside *body*; None for operations without one.
    """

    head: Head
    body: bytes = attrs.field(repr=False)
    idempotency_key: str | None = None


@attrs.define(kw_only=True)
class Reply:
    """
    A whole answer.

    Attributes:
        status: HTTP status.

        headers: Names in lower case; of a repeated header the last value.

        body: As it arrived, after transfer and content decoding.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)

    @property
    def request_id(self) -> str | None:
        """The vendor's (or its gateway's) id of the exchange."""
        for name in REQUEST_ID_HEADERS:
            if name in self.headers:
                return self.headers[name]
        return None

    def retry_after(self, now: float) -> float | None:
        """Seconds to wait as the answer asks, None where it does not say; *now* is POSIX time."""
        return parse_retry_after(self.headers.get("retry-after"), now)


@attrs.frozen(kw_only=True)
class NoReply:
    """
    An attempt that ended without a trustworthy answer.

    Attributes:
        what: What happened, in words free of secrets.

        sent: Whether a byte of the request may have left; False is a certainty.

        timed_out: Whether our own clock ended it.

        transient: Whether trying again can help; a bad certificate does not heal.

        cause: The transport's own exception, its traceback removed: frames hold credentials.
    """

    what: str
    sent: bool
    timed_out: bool = False
    transient: bool = True
    cause: BaseException | None = attrs.field(default=None, repr=False)


def plain_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return an answer's *headers* as a `Reply` has them; cookies are no business of ours."""
    lower = {name.lower(): value for name, value in headers.items()}
    lower.pop("set-cookie", None)
    return lower


def parse_retry_after(text: str | None, now: float) -> float | None:
    """
    Read a Retry-After header, whatever stands in it.

    Args:
        text: The header's value: seconds, a date, or nonsense; None where the answer has none.

        now: POSIX time, in seconds.

    Returns:
        Seconds, never negative and always finite; None where it cannot be understood.

    Source: RFC 9110, section 10.2.3.
    """
    if text is None:
        return None
    text = text.strip()
    try:
        seconds = float(text)
    except ValueError:
        seconds = _seconds_until(text, now)
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _seconds_until(text: str, now: float) -> float:
    from email.utils import parsedate_to_datetime  # slow, and loaded with aiohttp in any case

    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:  # "-0000": a UTC time of unknown origin
            moment = moment.replace(tzinfo=UTC)
        return moment.timestamp() - now
    except (ValueError, TypeError, IndexError, OverflowError):
        return math.nan
