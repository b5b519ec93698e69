"""What the fields of a row mean: plain values to a payment confirmation, or to what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from decimal import Decimal

import attrs

from carevalidate_async._codec import camel
from carevalidate_async.errors import InvalidRequestError
from carevalidate_async.idempotency import derive_idempotency_key
from carevalidate_async.models import PaymentConfirmation

FIELDS = tuple(field.name for field in attrs.fields(PaymentConfirmation))
REQUIRED = tuple(f.name for f in attrs.fields(PaymentConfirmation) if f.default is attrs.NOTHING)
SPELLED = {spell: name for name in FIELDS for spell in (name, camel(name))}
"""Fields by the names that a file may give them."""

ERROR_COLUMNS = ("error_line", "error_field", "error_reason")
"""What a rejects file says about a row; no field of it."""

UNDECIDED = "\u2192 decide"
"""Begins an idempotency key that a rejects file leaves to a person; no run sends it."""

# Whatever an editor's encoding made of the arrow: nothing, a question mark, two other letters (with
# which no key is usable).
_UNDECIDED = re.compile(r"\W*decide\s*(\(was .*)?", re.DOTALL)

_BARE = {name.replace("_", ""): name for name in FIELDS}
_AMOUNT = re.compile(r"[0-9]+(?:\.[0-9]{1,2})?")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_WRONG_AMOUNTS = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), reason)
    for pattern, reason in (
        (r"[+-]?(s?nan|inf(inity)?)", "must be a finite number"),
        (r".*[$€£¥].*|usd.*|.*usd", "has a currency sign; write the number alone"),
        (r".*,.*", "has a comma; write it without thousands separators, cents after a point"),
        (r"[+-]?[0-9.]+e[+-]?[0-9]+", "has an exponent; write it out in digits"),
        (r"[-\u2212].*|\(.*\)", "must not be negative; a refund is a status"),
        (r"[0-9]*\.[0-9]{3,}", "has more than two decimal places"),
        (r".*", "is not an amount such as 1234.50"),
    )
)


class Number(str):
    """The text of a JSON number, so that nothing of it is lost."""

    __slots__ = ()


@attrs.frozen
class Problem:
    """
    Why a row cannot be sent.

    Attributes:
        field: Name of the field, as the model spells it; empty where it is the row as a whole.

        reason: What is wrong, free of values from the file.
    """

    field: str
    reason: str

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}" if self.field else self.reason


@attrs.frozen(kw_only=True)
class FileRow:
    """
    One row of a file.

    Attributes:
        line: Number of its first line; the file's first line is 1.

        payment: What it says; None where it has problems.

        problems: All that is wrong with it.

        original: The row as it was read, for the rejects file; it holds personal data.
    """

    line: int
    payment: PaymentConfirmation | None = None
    problems: tuple[Problem, ...] = ()
    original: Sequence[str] | Mapping[str, object] | str = attrs.field(default="", repr=False)


def content_key(payment: PaymentConfirmation) -> str:
    """
    Return the key that the content of *payment* always gives, whatever its own key is.

    It is `derive_idempotency_key` of the operation's name and every other field, in the model's
    order.
    """
    parts = [getattr(payment, name) for name in FIELDS if name != "idempotency_key"]
    return derive_idempotency_key("confirm_payment", *parts)


def read_amount(text: str) -> Decimal:
    """
    Return the US dollars that *text* says: digits, and at most two more after a point.

    Raises:
        ValueError: Anything else; its message is the reason.
    """
    if _AMOUNT.fullmatch(text):
        return Decimal(text)
    raise ValueError(next(reason for wrong, reason in _WRONG_AMOUNTS if wrong.fullmatch(text)))


def read_day(text: str) -> date:
    """
    Return the calendar day that *text* says as YYYY-MM-DD.

    Raises:
        ValueError: Anything else; its message is the reason.
    """
    # Stricter than fromisoformat, which also takes 20250101 and weeks.
    if not _DAY.fullmatch(text):
        raise ValueError("must be a date as YYYY-MM-DD")
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError("is no day of the calendar") from None


_READERS: Mapping[str, Callable[[str], object]] = {
    "amount": read_amount,
    "payment_date": read_day,
    "valid_until": read_day,
}


def _read(name: str, value: object) -> object:
    if isinstance(value, Number) and name != "amount":
        raise ValueError("must be text, not a number")
    if not isinstance(value, str):
        reason = "must be a number or text" if name == "amount" else "must be text"
        raise ValueError(reason)  # noqa: TRY004 - what a file holds is a value
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("is not UTF-8 text") from None
    return _READERS.get(name, str)(value)


def to_row(
    line: int,
    values: Mapping[str, object],
    original: Sequence[str] | Mapping[str, object],
    problems: Sequence[Problem] = (),
) -> FileRow:
    """Return the row that *values* make, by field; blank and None are as good as absent."""
    found = list(problems)
    fields: dict[str, object] = {}
    for name in FIELDS:
        value = values.get(name)
        if isinstance(value, str) and type(value) is str:
            value = value.strip()
        if value is None or value == "":
            if name in REQUIRED:
                found.append(Problem(name, "is missing"))
            continue
        if name == "idempotency_key" and isinstance(value, str) and _UNDECIDED.fullmatch(value):
            reason = "is undecided: give the row one of its own, or delete it if it is the same"
            found.append(Problem(name, reason))
            continue
        try:
            fields[name] = _read(name, value)
        except ValueError as error:
            found.append(Problem(name, str(error)))
    payment = None
    if not found:
        try:
            payment = PaymentConfirmation(**fields)  # type: ignore[arg-type]  # the model checks
        except InvalidRequestError as error:
            found.append(Problem(error.field, error.reason))
    return FileRow(line=line, payment=payment, problems=tuple(found), original=original)


def near_misses(names: Sequence[str] | Mapping[str, object]) -> dict[str, str]:
    """Return the fields that are nearly named, each with the name that was meant for it."""
    bare = {name: re.sub(r"[\s_-]", "", name).lower() for name in names if name not in SPELLED}
    return {_BARE[plain]: name for name, plain in bare.items() if plain in _BARE}
