"""What the fields of a row mean: plain values to a payment confirmation, or to what is wrong."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from functools import partial
from operator import attrgetter
from typing import Any

import attrs

from carevalidate_async._codec import camel
from carevalidate_async._files.misspelled import wrong_amount, wrong_day
from carevalidate_async._files.texts import (
    ORDINARY,
    control,
    damage,
    identifier,
    placeholder,
    unseen,
)
from carevalidate_async.errors import InvalidRequestError
from carevalidate_async.idempotency import derive_idempotency_key
from carevalidate_async.models import PaymentConfirmation, PaymentStatus

FIELDS = tuple(field.name for field in attrs.fields(PaymentConfirmation))
REQUIRED = tuple(f.name for f in attrs.fields(PaymentConfirmation) if f.default is attrs.NOTHING)
SPELLED = {spell: name for name in FIELDS for spell in (name, camel(name))}
"""Fields by the names that a file may give them."""

_CONTENT = attrgetter(*(name for name in FIELDS if name != "idempotency_key"))

ERROR_COLUMNS = ("error_line", "error_field", "error_reason")
"""What a rejects file says about a row; no field of it."""

UNDECIDED = "\u2192 decide"
"""Begins an idempotency key that a rejects file leaves to a person; no run sends it."""

# Whatever an editor's encoding made of the arrow: nothing, a question mark, two other letters (with
# which no key is usable).
_UNDECIDED = re.compile(r"\W*decide\s*(\(was .*)?", re.DOTALL)

_COPY = re.compile(r"\W*copy ([0-9]{1,9}) of (\S+)")

_AMOUNT = re.compile(r"[0-9]+(?:\.[0-9]{1,2})?")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class Number(str):
    """The text of a JSON number, so that nothing of it is lost."""

    __slots__ = ()


class JsonObject(str):
    """The text of a JSON object, which takes less memory than what it says."""

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


@attrs.define(kw_only=True)
class FileRow:
    """
    One row of a file.

    Attributes:
        line: Number of its first line, the file's first line being 1; of a Parquet file, which has
            no lines, the number of the row, the first one being 1.

        payment: What it says; None where it has problems.

        problems: All that is wrong with it.

        original: The row as it was read, for the rejects file: its cells, a `JsonObject`, or a text
            that is none. It holds personal data.
    """

    line: int
    payment: PaymentConfirmation | None = None
    problems: tuple[Problem, ...] = ()
    original: Sequence[str] | str = attrs.field(default="", repr=False)

    @property
    def memory(self) -> int:
        """Bytes that its texts take in memory."""
        if not isinstance(self.original, str):
            return sum(map(str.__sizeof__, self.original))  # its payment is made of these texts
        values = [getattr(self.payment, name) for name in FIELDS] if self.payment else []
        return sum(map(sys.getsizeof, [self.original, *values]))


def content_key(payment: PaymentConfirmation) -> str:
    """
    Return the key that the content of *payment* always gives, whatever its own key is.

    It is `derive_idempotency_key` of the operation's name and every other field, in the model's
    order.
    """
    return derive_idempotency_key("confirm_payment", *_CONTENT(payment))


def copy_cell(content: str, copy: int) -> str:
    """
    Return what stands for the key of a row that is equal to others in every field.

    It holds for the row as it is. Once the row was corrected it is another payment, with the key of
    what it says then, in a rejects file as in the file that the row came from.

    Args:
        content: The key that the content gives.

        copy: Which of the equal rows it is, 2 or more.
    """
    return f"\u2192 copy {copy} of {content}"


def read_amount(text: str) -> Decimal:
    """
    Return the US dollars that *text* says: digits, and at most two more after a point.

    Raises:
        ValueError: Anything else; its message is the reason.
    """
    if _AMOUNT.fullmatch(text):
        return Decimal(text)
    raise ValueError(wrong_amount(text))


def read_day(text: str) -> date:
    """
    Return the calendar day that *text* says as YYYY-MM-DD.

    Raises:
        ValueError: Anything else; its message is the reason.
    """
    # Stricter than fromisoformat, which also takes 20250101 and weeks.
    if not _DAY.fullmatch(text):
        raise ValueError(wrong_day(text))
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError("is no day of the calendar") from None


def _read_status(text: str) -> PaymentStatus | str:
    """Return the status that *text* is, or *text* itself for the model to refuse."""
    if text in PaymentStatus.__members__:
        return PaymentStatus(text)
    meant = re.sub(r"[\s-]+", "_", text).upper()
    if meant != text and meant in PaymentStatus.__members__:
        raise ValueError("must be in capital letters, with _ between words")
    return text


def _read_text(text: str) -> str:
    """Return *text* with LF at the ends of its lines: the same one, whoever wrote the file."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


_READERS: Mapping[str, Callable[[str], object]] = {
    "amount": read_amount,
    "payment_date": read_day,
    "valid_until": read_day,
    "status": _read_status,
}
_USUAL: Mapping[str, re.Pattern[str]] = {
    "amount": _AMOUNT,
    "payment_date": _DAY,
    "valid_until": _DAY,
    "status": re.compile("|".join(PaymentStatus)),
}
"""Values of the `_READERS`' fields that need no further look; of others they are `ORDINARY`."""

# What is wrong with a text before anybody reads it as a value; ids, keys and all that is no prose
# have the second one.
_LOOKS: Mapping[str, Callable[[str], str | None]] = {
    "amount": partial(unseen, blanks=True),
    "description": control,
    **dict.fromkeys(("case_id", "decision_id", "idempotency_key", "phone_number"), identifier),
}


_TEXTS = frozenset(FIELDS) - _READERS.keys() - {"idempotency_key"}
"""Fields whose value is the text itself."""

_LONGEST_VALUE = 32  # characters of a day, a state, an amount


def _read(name: str, value: object) -> object:
    if type(value) is str:  # as all of a CSV file are
        if name == "idempotency_key" and _UNDECIDED.fullmatch(value):
            reason = "is undecided: give the row one of its own, or delete it if it is the same"
            raise ValueError(reason)
        if name in _READERS:
            # What is longer is no such value; a store of cells would take as much memory as the
            # file.
            short = len(value) <= _LONGEST_VALUE
            return (_read_value if short else _read_value.__wrapped__)(name, value)
        if not ORDINARY.fullmatch(value):
            _look_at(name, value)
        return _read_text(value)
    if isinstance(value, Number):
        if name != "amount":
            raise ValueError("must be text, not a number")
        return read_amount(value)
    reason = "must be a number or text" if name == "amount" else "must be text"
    raise ValueError(reason)


@functools.lru_cache(maxsize=4096)  # days, states and amounts repeat from row to row
def _read_value(name: str, value: str) -> object:
    if not _USUAL[name].fullmatch(value):
        _look_at(name, value)
    return _READERS[name](value)


def _look_at(name: str, value: str) -> None:
    """Refuse what no person means as a value of that field."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("is not UTF-8 text; save the file as UTF-8") from None
    wrong = placeholder(value) or _LOOKS.get(name, damage)(value)
    if wrong is not None:
        raise ValueError(wrong)


def to_row(
    line: int,
    values: Mapping[str, object],
    original: Sequence[str] | str,
    problems: Sequence[Problem] = (),
) -> FileRow:
    """Return the row that *values* make, by field; blank and None are as good as absent."""
    found = list(problems)
    fields: dict[str, object] = {}
    for name in FIELDS:
        value = values.get(name)
        if type(value) is str:
            value = value.strip()
            if name in _TEXTS and ORDINARY.fullmatch(value):  # as most are
                fields[name] = value
                continue
        if value is None or value == "":
            if name in REQUIRED:
                found.append(Problem(name, "is missing"))
            continue
        try:
            fields[name] = _read(name, value)
        except ValueError as error:
            found.append(Problem(name, str(error)))
    payment = None
    if not found:
        try:
            payment = _payment(fields)
        except InvalidRequestError as error:
            # Of two days the model says which they are; they are the row's.
            reason = "is before payment_date" if error.field == "valid_until" else error.reason
            found.append(Problem(error.field, reason))
    return FileRow(line=line, payment=payment, problems=tuple(found), original=original)


def _payment(fields: Mapping[str, Any]) -> PaymentConfirmation:
    """Return what a row says; a `copy_cell` is the key that it stands for, or none."""
    key = fields.get("idempotency_key")
    found = None if key is None else _COPY.fullmatch(key)
    if found is None:
        return PaymentConfirmation(**fields)
    copy, content = found.groups()
    payment = PaymentConfirmation(**{**fields, "idempotency_key": None})
    if content_key(payment) != content:
        return payment
    return attrs.evolve(payment, idempotency_key=derive_idempotency_key(content, int(copy)))
