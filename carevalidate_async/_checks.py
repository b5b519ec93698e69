"""Checks of request fields: each names the field and the reason, and repeats nothing personal."""

from __future__ import annotations

import functools
import re
import uuid
from collections.abc import Iterable
from datetime import date, datetime
from decimal import Context, Decimal

from carevalidate_async.errors import InvalidRequestError

MAX_AMOUNT = Decimal(10**12)
MAX_KEY_LENGTH = 255
_CENT = Decimal("0.01")
_EXACT = Context(prec=28, traps=[])
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_PROVINCE = re.compile(r"[a-z]{2}_[a-z0-9]{1,3}")
_KEY = re.compile(r"[!-~](?:[ -~]*[!-~])?")


def to_dollars(value: Decimal | int) -> Decimal:
    """
    Return *value* as US dollars in its one canonical form: ``50``, ``1.15``, ``1.10``.

    Raises:
        InvalidRequestError: Not a Decimal or int, not finite, finer than a cent, or beyond 10^12.
    """
    if type(value) is Decimal and value.is_finite():
        return _canonical(value)
    if isinstance(value, float):
        reason = "is a float, which cannot hold cents exactly; give a Decimal or an int"
        raise InvalidRequestError("amount", reason)
    if isinstance(value, bool) or not isinstance(value, Decimal | int):
        reason = f"must be a Decimal or an int, not {type(value).__name__}"
        raise InvalidRequestError("amount", reason)
    amount = Decimal(value)
    if not amount.is_finite():
        raise InvalidRequestError("amount", f"must be a finite number, not {amount}")
    return _canonical(amount)


@functools.lru_cache(maxsize=4096)  # prices repeat
def _canonical(amount: Decimal) -> Decimal:
    if amount.copy_abs() > MAX_AMOUNT:
        raise InvalidRequestError("amount", f"must be at most {MAX_AMOUNT}")
    # A context of our own: the caller's may be too narrow, or trap what is fine here.
    cents = amount.quantize(_CENT, context=_EXACT)
    if cents != amount:
        raise InvalidRequestError("amount", f"{amount} is finer than a cent; two places at most")
    if cents == 0:
        return Decimal(0)  # not -0
    whole = cents.to_integral_value(context=_EXACT)
    return whole if whole == cents else cents


def to_uuid(value: str | uuid.UUID | None) -> str | None:
    """Return the text of a UUID object; anything else as it is."""
    return str(value) if isinstance(value, uuid.UUID) else value


def to_names(value: Iterable[str] | None) -> tuple[str, ...] | None:
    """Return *value* as a tuple; a lone string is left for the check to refuse."""
    if value is None or isinstance(value, str) or not isinstance(value, Iterable):
        return value  # type: ignore[return-value]  # refused by the model's check, by name
    return tuple(value)


def check_text(field: str, value: object, *, empty: bool = False) -> None:
    """Refuse what is not text that can be sent as UTF-8."""
    if type(value) is str and value.isascii() and (not value.isspace() if value else empty):
        return  # as nearly all are
    if not isinstance(value, str):
        raise InvalidRequestError(field, f"must be text, not {type(value).__name__}")
    if not empty and not value.strip():
        raise InvalidRequestError(field, "must not be empty")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidRequestError(field, "holds a lone surrogate, not valid Unicode") from None


def check_optional(model: object, *names: str) -> None:
    """Refuse a set optional text that is empty or no text."""
    for name in names:
        value = getattr(model, name)
        if value is not None:
            check_text(name, value)


def check_email(field: str, value: str) -> None:
    """Refuse what cannot be an email address."""
    check_text(field, value)
    if not _EMAIL.fullmatch(value):
        raise InvalidRequestError(field, "is not an email address")


def check_day(field: str, value: object) -> None:
    """Refuse what is not a calendar day."""
    if type(value) is date:
        return
    if isinstance(value, datetime):
        raise InvalidRequestError(field, "is a datetime; give the calendar day with .date()")
    if not isinstance(value, date):
        reason = f"must be a datetime.date, not {type(value).__name__}"
        raise InvalidRequestError(field, reason)


def check_uuid(field: str, value: object) -> None:
    """Refuse what is not a UUID in its 36-character form; it keeps ids out of the URL's grammar."""
    check_text(field, value)
    if not _UUID.fullmatch(str(value)):
        raise InvalidRequestError(field, "is not a UUID")


def check_flag(field: str, value: object) -> None:
    """Refuse what is not a bool."""
    if not isinstance(value, bool):
        raise InvalidRequestError(field, f"must be True or False, not {type(value).__name__}")


def check_whole(field: str, value: object, low: int, high: int) -> None:
    """Refuse what is not an int from *low* to *high*."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidRequestError(field, f"must be an int, not {type(value).__name__}")
    if not low <= value <= high:
        raise InvalidRequestError(field, f"must be from {low} to {high}")


def check_key(value: object) -> None:
    """
    Refuse an idempotency key that may not survive every hop unchanged.

    Raises:
        InvalidRequestError: Not 1 to 255 printable ASCII characters without outer blanks.
    """
    if type(value) is str and len(value) <= MAX_KEY_LENGTH and _KEY.fullmatch(value):
        return  # as nearly all are
    check_text("idempotency_key", value)
    if len(str(value)) > MAX_KEY_LENGTH:
        reason = f"has {len(str(value))} characters; {MAX_KEY_LENGTH} at most"
        raise InvalidRequestError("idempotency_key", reason)
    if not _KEY.fullmatch(str(value)):
        reason = "must be printable ASCII without blanks at either end"
        raise InvalidRequestError("idempotency_key", reason)


def check_positive(amount: Decimal) -> None:
    """Refuse zero and less."""
    if amount <= 0:
        raise InvalidRequestError("amount", "must be a positive number")


def check_types(field: str, value: object) -> None:
    """Refuse what is not a filled tuple of names."""
    if not isinstance(value, tuple):
        raise InvalidRequestError(field, "must be a sequence of names, such as ('card',)")
    if not value:
        raise InvalidRequestError(field, "must name one at least; leave it out for the default")
    for name in value:
        check_text(field, name)


def check_province(field: str, value: str) -> None:
    """Refuse what is not a country and a province in snake_case."""
    if not _PROVINCE.fullmatch(value):
        raise InvalidRequestError(field, "must look like us_co")
