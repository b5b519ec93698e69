from __future__ import annotations

import enum
import hashlib
import itertools
import os
import subprocess
import sys
import traceback
import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal, Inexact, InvalidOperation, Rounded, localcontext
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carevalidate_async.errors import InvalidRequestError
from carevalidate_async.idempotency import (
    checked_key,
    derive_idempotency_key,
    new_idempotency_key,
)
from carevalidate_async.models import PaymentStatus


class Kind(enum.Enum):
    """Members with values of several kinds."""

    TEXT = "text"
    NUMBER = 7
    NOTHING = None
    RATIO = 1.5


FACTS = ("case-1", Decimal("50.00"), date(2025, 1, 1), PaymentStatus.PAID, None, True, 7)

# What these facts gave when the first version was published. Rows in journals and keys in the
# vendor's records were made this way, so a change here records payments twice.
GOLDEN: list[tuple[tuple[Any, ...], str]] = [
    (FACTS, "cv1-39f64ad895087f8d1e4ae04a1819ae99ee33d50e"),
    (("case-1",), "cv1-c55f8f298d8de0836e8f37b18575fc993695b383"),
    ((Decimal("1.15"),), "cv1-a0a50ae39f26e5f59b7d200a3c8d6235bb7c506e"),
    ((0,), "cv1-ec85a283306bf310dcf2b9834eed16ad3f9c9b7b"),
    (("café", "\ud800"), "cv1-e5e18523af4ced382b88f5a2716e6e3a02c75763"),
    ((uuid.UUID(int=5), False), "cv1-d5bb6eb62fa19a4c1859d3e7f1379563ff45d562"),
    ((-12345678901234567890, Decimal("-0.01")), "cv1-abbb0ba1ccb1f8449d599820e68b6c30d44bb3e8"),
]

PARTS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(max_size=8),
    st.dates(),
    st.uuids(),
    st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20),
    st.sampled_from(PaymentStatus),
)


def by_hand(*parts: tuple[str, str]) -> str:
    """Return the key of parts given as kind and text, made as the documentation says."""
    stream = b"carevalidate-async/1"
    for kind, text in parts:
        data = text.encode()
        stream += f"{kind}:{len(data)}:".encode() + data
    return f"cv1-{hashlib.sha256(stream).hexdigest()[:40]}"


class TestGolden:
    @pytest.mark.parametrize(("parts", "key"), GOLDEN)
    def test_never_changes(self, parts: tuple[Any, ...], key: str) -> None:
        """
        The same facts give the same key in every version of this package, for ever.
        """
        assert key == derive_idempotency_key(*parts)

    @pytest.mark.parametrize("seed", ["0", "1", "4711"])
    def test_every_process(self, seed: str) -> None:
        """
        Another process, with another hash seed, locale and timezone, gives the same keys.
        """
        program = (
            "from datetime import date\n"
            "from decimal import Decimal\n"
            "from carevalidate_async import PaymentStatus, derive_idempotency_key\n"
            "print(derive_idempotency_key('case-1', Decimal('50.00'), date(2025, 1, 1), "
            "PaymentStatus.PAID, None, True, 7), derive_idempotency_key('caf\\u00e9'))"
        )
        done = subprocess.run(
            [sys.executable, "-P", "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": "Asia/Tokyo", "LC_ALL": "C"},
            capture_output=True,
            check=True,
            encoding="ascii",
            timeout=50,
        )

        assert [derive_idempotency_key(*FACTS), derive_idempotency_key("café")] == (
            done.stdout.split()
        )

    def test_as_documented(self) -> None:
        """
        A key is made of the tag and each part's kind, length in bytes and text, so that another
        program can make it too.
        """
        expected = by_hand(
            ("text", "case-1"),
            ("number", "50"),
            ("date", "2025-01-01"),
            ("text", "PAID"),
            ("none", ""),
            ("bool", "True"),
            ("number", "7"),
        )

        assert expected == derive_idempotency_key(*FACTS)
        assert by_hand(("text", "café")) == derive_idempotency_key("café")

    @settings(max_examples=100, deadline=None)
    @given(parts=st.lists(PARTS, max_size=4))
    def test_is_a_key(self, parts: list[Any]) -> None:
        """
        What is derived is 44 characters that any vendor takes as a key.
        """
        key = derive_idempotency_key("fact", *parts)

        assert 44 == len(key)
        assert key == checked_key(key)


class TestTellsApart:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (("a", "b"), ("b", "a")),
            (("ab", "c"), ("a", "bc")),
            (("a", ""), ("a",)),
            (("a", None), ("a",)),
            (("a", None), ("a", "")),
            (("a", None), (None, "a")),
            ((1,), ("1",)),
            ((1,), (True,)),
            ((0,), (False,)),
            (("True",), (True,)),
            (("2025-01-01",), (date(2025, 1, 1),)),
            ((Decimal("1.15"),), ("1.15",)),
            ((Decimal("1.15"),), (Decimal("1.16"),)),
            ((Decimal("1E+3"),), (Decimal("1E+4"),)),
            ((-1,), (1,)),
            (("a:1:b",), ("a", "b")),
            (("1:text:1:2",), ("1", "2")),
            (("\ud800",), ("\ud801",)),
            (("é",), ("e\u0301",)),
            (("A",), ("a",)),
            (("a",), ("a ",)),
        ],
    )
    def test_pairs(self, one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
        """
        Order, kind, boundaries and spelling of the facts all count.
        """
        assert derive_idempotency_key(*one) != derive_idempotency_key(*other)

    def test_every_order(self) -> None:
        """
        No two orders of the same facts share a key.
        """
        keys = {derive_idempotency_key(*order) for order in itertools.permutations(FACTS[:5])}

        assert 120 == len(keys)

    @settings(max_examples=100, deadline=None)
    @given(
        texts=st.lists(st.text("ab:1", max_size=4), min_size=2, max_size=4), cut=st.integers(1, 20)
    )
    def test_boundaries(self, texts: list[str], cut: int) -> None:
        """
        The same letters in other parts are other facts.
        """
        texts = [*texts, "x"]
        whole = "".join(texts)
        at = cut % len(whole) or 1
        split = [whole[:at], whole[at:]]

        same = texts == split
        assert same is (derive_idempotency_key(*texts) == derive_idempotency_key(*split))

    @settings(max_examples=100, deadline=None)
    @given(one=st.lists(PARTS, max_size=3), other=st.lists(PARTS, max_size=3))
    def test_any_two(self, one: list[Any], other: list[Any]) -> None:
        """
        Two lists of facts share a key exactly when they say the same.
        """
        same = _canonical(one) == _canonical(other)

        assert same is (
            derive_idempotency_key("fact", *one) == derive_idempotency_key("fact", *other)
        )


class TestTellsTheSame:
    @pytest.mark.parametrize(
        "forms",
        [
            (Decimal(50), Decimal("50.00"), Decimal("5E+1"), Decimal("50.0"), 50),
            (Decimal("1.15"), Decimal("1.150"), Decimal("115E-2")),
            (Decimal(0), Decimal("-0.00"), Decimal("0E-10"), Decimal("0E+10"), 0, -0),
            (Decimal("-1.50"), Decimal("-1.5")),
            (Decimal("0.10"), Decimal(".1")),
            (PaymentStatus.PAID, "PAID"),
            (Kind.TEXT, "text"),
            (Kind.NUMBER, 7, Decimal(7)),
            (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        ],
        ids=str,
    )
    def test_forms(self, forms: tuple[Any, ...]) -> None:
        """
        Equal amounts are one fact however they are written, an enum's member is its value, a
        UUID its text.
        """
        assert 1 == len({derive_idempotency_key("case", form) for form in forms})

    @settings(max_examples=100, deadline=None)
    @given(cents=st.integers(-(10**14), 10**14), zeros=st.integers(0, 6))
    def test_trailing_zeros(self, cents: int, zeros: int) -> None:
        """
        Zeros behind an amount change nothing.
        """
        amount = Decimal(cents).scaleb(-2)
        longer = Decimal(f"{amount:f}{'0' * zeros}" if "." in f"{amount:f}" else f"{amount:f}")

        assert derive_idempotency_key(amount) == derive_idempotency_key(longer)

    @pytest.mark.parametrize(
        "number", [10**1000 - 1, 1 - 10**1000, Decimal("1E+999"), Decimal("1E-999")], ids=repr
    )
    def test_long_numbers(self, number: int | Decimal) -> None:
        """
        A number of a thousand digits is written out in full, and so are its neighbours.
        """
        assert by_hand(
            ("number", f"{number:f}" if isinstance(number, Decimal) else str(number))
        ) == (derive_idempotency_key(number))

    def test_callers_context(self) -> None:
        """
        A narrow and trapping decimal context of the caller's changes nothing.
        """
        amount = Decimal("123456789.1200")
        expected = derive_idempotency_key(amount)

        with localcontext(Context(prec=1, traps=[Inexact, Rounded, InvalidOperation])):
            assert expected == derive_idempotency_key(amount)


class TestRefuses:
    def test_parts_stay_out_of_the_traceback(self) -> None:
        """
        Error reporters that send local variables along send no business fact.
        """
        parts: Any = ["jane@example.com", object()]
        with pytest.raises(InvalidRequestError) as caught:
            derive_idempotency_key(*parts)
        shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        _ours, *inner = shown.stack

        assert inner
        assert all("jane" not in str(frame.locals) for frame in inner)

    @pytest.mark.parametrize(
        ("part", "name"),
        [
            (1.5, "float"),
            (50.0, "float"),
            (float("nan"), "float"),
            (datetime(2025, 1, 1, tzinfo=UTC), "datetime"),
            (time(12), "time"),
            (timedelta(1), "timedelta"),
            (b"text", "bytes"),
            (["a"], "list"),
            (("a",), "tuple"),
            ({"a": 1}, "dict"),
            (object(), "object"),
            (1 + 0j, "complex"),
            (Fraction(1, 2), "Fraction"),
            (Decimal("NaN"), "Decimal"),
            (Decimal("sNaN"), "Decimal"),
            (Decimal("Infinity"), "Decimal"),
            (Decimal("1E+1000"), "Decimal"),
            (Decimal("1E-1000"), "Decimal"),
            (Decimal("1E+999999"), "Decimal"),
            (10**1000, "int"),
            (-(10**5000), "int"),
            (Kind.RATIO, "float"),
            (Kind, "EnumType"),
        ],
        ids=lambda value: value if isinstance(value, str) else type(value).__name__,
    )
    def test_no_exact_text(self, part: Any, name: str) -> None:
        """
        What has no exact text is refused by its position and kind, not by its value.
        """
        with pytest.raises(InvalidRequestError) as caught:
            derive_idempotency_key("case-1", part)

        assert f"parts[1]: has no exact text: {name}" == str(caught.value)

    @pytest.mark.parametrize(
        "parts", [(), (None,), ("",), ("", None, ""), (Kind.NOTHING,)], ids=str
    )
    def test_nothing(self, parts: tuple[Any, ...]) -> None:
        """
        No fact at all makes no key: every empty row of a file would have the same.
        """
        with pytest.raises(InvalidRequestError, match="parts: must hold at least one"):
            derive_idempotency_key(*parts)

    @pytest.mark.parametrize("part", [0, False, " ", "0", Decimal(0)])
    def test_small_facts(self, part: Any) -> None:
        """
        A zero, a False and a blank are facts.
        """
        assert derive_idempotency_key(part).startswith("cv1-")


class TestKeys:
    def test_new(self) -> None:
        """
        A made key is a random UUID.
        """
        keys = {new_idempotency_key() for _ in range(100)}

        assert 100 == len(keys)
        assert {4} == {uuid.UUID(key).version for key in keys}

    def test_made_for_none(self) -> None:
        """
        Without a key one is made.
        """
        assert 4 == uuid.UUID(checked_key(None)).version
        assert checked_key(None) != checked_key(None)

    @pytest.mark.parametrize("key", ["k", "~", "!", "a b", "k" * 255, "unique-payment-key-123"])
    def test_good(self, key: str) -> None:
        """
        Up to 255 printable ASCII characters are a key, as they are.
        """
        assert key == checked_key(key)

    @pytest.mark.parametrize(
        ("key", "words"),
        [
            ("", "must not be empty"),
            ("   ", "must not be empty"),
            ("k" * 256, "has 256 characters; 255 at most"),
            (" k", "without blanks at either end"),
            ("k ", "without blanks at either end"),
            ("k\n", "must be printable ASCII"),
            ("k\r\nx: y", "must be printable ASCII"),
            ("k\x00", "must be printable ASCII"),
            ("k\x7f", "must be printable ASCII"),
            ("ключ", "must be printable ASCII"),
            ("k\ud800", "lone surrogate"),
            (5, "must be text, not int"),
            (b"k", "must be text, not bytes"),
        ],
    )
    def test_bad(self, key: Any, words: str) -> None:
        """
        A key that may not survive every hop is refused.
        """
        with pytest.raises(InvalidRequestError, match=words) as caught:
            checked_key(key)

        assert "idempotency_key" == caught.value.field


def _canonical(parts: list[Any]) -> list[tuple[str, object]]:
    # Written another way than the package does it.
    found: list[tuple[str, object]] = []
    for part in parts:
        if part is None:
            found.append(("none", None))
        elif isinstance(part, bool):
            found.append(("bool", part))
        elif isinstance(part, int | Decimal):
            found.append(("number", Fraction(part)))
        elif isinstance(part, date):
            found.append(("date", part))
        else:
            found.append(("text", str(part)))
    return found
