from __future__ import annotations

import math
import time
from email.utils import formatdate
from typing import TYPE_CHECKING

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from carevalidate_async._wire import (
    Head,
    NoReply,
    Reply,
    Sealed,
    parse_retry_after,
)
from strategies import NOW

if TYPE_CHECKING:
    from collections.abc import Callable

DATE_LIKE = st.from_regex(
    r"[A-Z][a-z]{2}, [0-9]{1,3} [A-Z][a-z]{2} [0-9]{1,6} [0-9:]{1,9} ([A-Z]{1,4}|[+-][0-9]{1,9})",
    fullmatch=True,
)


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("120", 120.0),
            ("0", 0.0),
            (" 7 ", 7.0),
            ("1.5", 1.5),
            ("-5", 0.0),
            ("31536000", 31_536_000.0),
            ("inf", None),
            ("-inf", None),
            ("nan", None),
            ("1e999", None),
            ("", None),
            ("soon", None),
            ("0x10", None),
            ("12 apples", None),
            ("Thu, 01 Jan 2026 00:02:00 GMT", 120.0),
            ("Thu, 01 Jan 2026 00:02:00 -0000", 120.0),
            ("Thu, 01 Jan 2026 00:02:00 +0100", 0.0),
            ("Wed, 31 Dec 2025 23:59:59 GMT", 0.0),
            ("Thursday, 01-Jan-26 00:02:00 GMT", 120.0),
            ("Thu Jan  1 00:02:00 2026", 120.0),
            ("Thu, 01 Jan 99999 00:00:00 GMT", None),
            ("Thu, 99 Jan 2026 00:00:00 GMT", None),
            ("Thu, 01 Jan 2026 00:00:00 +99999999", None),
            ("Thu, 01 Jan 2026 00:00:00 +99999999999999999999", None),
            ("Thu, 01 Jan 99999999999999999999 00:00:00 GMT", None),
        ],
    )
    def test_table(self, text: str, seconds: float | None) -> None:
        """
        Seconds and dates are seconds from now, never negative, and nonsense is no answer.
        """
        assert seconds == parse_retry_after(text, NOW)

    @pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
    def test_local_time_does_not_count(self, zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        A date without a known timezone is one in UTC, wherever the machine stands.
        """
        with monkeypatch.context() as patch:
            patch.setenv("TZ", zone)
            time.tzset()
            seconds = parse_retry_after("Thu, 01 Jan 2026 00:02:00 -0000", NOW)
        time.tzset()

        assert 120.0 == seconds

    def test_absent(self) -> None:
        """
        Without the header there is nothing to wait for.
        """
        assert parse_retry_after(None, NOW) is None
        assert Reply(status=429, headers={}, body=b"").retry_after(NOW) is None

    def test_of_a_reply(self) -> None:
        """
        A reply reads its own header.
        """
        reply = Reply(status=429, headers={"retry-after": "3"}, body=b"")

        assert 3.0 == reply.retry_after(NOW)

    def test_of_a_reply_with_a_date(self) -> None:
        """
        A date in a reply's header counts from the moment that the reply is looked at.
        """
        reply = Reply(status=429, headers={"retry-after": formatdate(NOW + 9)}, body=b"")

        assert 7.0 == reply.retry_after(NOW + 2)

    @settings(max_examples=300, deadline=None)
    @given(text=st.text(max_size=40) | DATE_LIKE, now=st.floats(0, 1e11))
    @example(text="1" * 5000, now=NOW)
    @example(text="\x00", now=NOW)
    @example(text="٣", now=NOW)
    def test_total(self, text: str, now: float) -> None:
        """
        Whatever stands in the header, there are finite seconds of at least zero, or None.
        """
        seconds = parse_retry_after(text, now)

        assert seconds is None or (0 <= seconds and math.isfinite(seconds))

    @settings(max_examples=50, deadline=None)
    @given(ahead=st.integers(0, 10**8))
    def test_dates(self, ahead: int) -> None:
        """
        An HTTP date is as many seconds away as it says.
        """
        assert ahead == parse_retry_after(formatdate(NOW + ahead, usegmt=True), NOW)


class TestRequestId:
    @pytest.mark.parametrize(
        "name", ["x-request-id", "request-id", "x-correlation-id", "x-amzn-requestid", "cf-ray"]
    )
    def test_any_of_the_names(self, name: str) -> None:
        """
        The id of the exchange is found under each name that vendors and gateways use.
        """
        assert "id-1" == Reply(status=200, headers={name: "id-1"}, body=b"").request_id

    def test_the_vendors_own_first(self) -> None:
        """
        The vendor's own id beats that of the gateway before it.
        """
        headers = {"cf-ray": "gateway", "x-request-id": "vendor"}

        assert "vendor" == Reply(status=200, headers=headers, body=b"").request_id

    def test_none(self) -> None:
        """
        Without any of them there is none.
        """
        assert Reply(status=200, headers={"date": "x"}, body=b"").request_id is None


class TestSealed:
    def test_cannot_be_changed(self) -> None:
        """
        A sealed request is the same for every attempt: nothing in it can be set.
        """
        sealed = Sealed(head=Head("POST", "https://x", {}), body=b"{}")

        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            sealed.body = b""  # type: ignore[misc]  # it is frozen
        assert sealed.idempotency_key is None


class TestNoReply:
    def test_defaults(self) -> None:
        """
        Unless it says otherwise, an attempt without a reply was no timeout and may be tried again.
        """
        lost = NoReply(what="lost", sent=True)

        assert (False, True, None) == (lost.timed_out, lost.transient, lost.cause)


class TestWhatCrosses:
    @pytest.mark.parametrize(
        "one",
        [
            Sealed(head=Head("POST", "https://x", {"cv-api-key": "canary"}), body=b"canary"),
            Reply(status=200, headers={"set-cookie": "canary"}, body=b"canary"),
            NoReply(what="lost", sent=True, cause=OSError("canary")),
        ],
        ids=lambda one: type(one).__name__,
    )
    def test_hides_what_it_holds(self, one: object) -> None:
        """
        Neither headers nor bodies nor foreign exceptions are in a repr: each may hold a secret.
        """
        assert repr(one).startswith(type(one).__name__)
        assert "canary" not in repr(one)

    @pytest.mark.parametrize(
        ("kind", "facts"),
        [
            (Sealed, ("POST", "https://x", {}, b"")),
            (Reply, (200, {}, b"")),
            (NoReply, ("lost", True)),
        ],
    )
    def test_facts_have_names(self, kind: Callable[..., object], facts: tuple[object, ...]) -> None:
        """
        Two facts of one kind cannot change places: each is given by its name.
        """
        with pytest.raises(TypeError, match="positional"):
            kind(*facts)
