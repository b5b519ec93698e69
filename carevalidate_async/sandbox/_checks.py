"""
The words that a body's checks are written in: strict JSON, and what a field may hold.

A check takes a field's name and value and returns what is wrong, or None.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any, NoReturn, TypeAlias

MAX_AMOUNT = 10**12

_CENT = Decimal("0.01")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)

Check: TypeAlias = Callable[[str, Any], str | None]  # (name, value) -> what is wrong, or None


class FlawError(Exception):
    """
    A field is missing or wrong; the vendor's judge words the refusal.

    Attributes:
        missing: Whether the field is not there at all.
    """

    def __init__(self, reason: str, *, missing: bool = False) -> None:
        super().__init__(reason)
        self.missing = missing


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and the infinities are not JSON.


_DECODER = json.JSONDecoder(parse_float=Decimal, parse_constant=_refuse_constant)


def read_json(body: bytes) -> Any:  # noqa: ANN401  # JSON may be anything.
    """
    Return what *body* says as JSON, numbers with a fraction as Decimal.

    Raises:
        ValueError: Not strict JSON in UTF-8, nested too deeply, a number beyond reading, or text
            that is not valid Unicode.
    """
    text = body.decode()
    try:
        value = _DECODER.decode(text)
        if "\\u" in text:  # Only an escape can spell a lone surrogate.
            json.dumps(value, ensure_ascii=False, default=str).encode()
    except (ArithmeticError, RecursionError) as error:
        raise ValueError(type(error).__name__) from None
    return value


def text(name: str, value: object) -> str | None:
    """Want text that is not empty."""
    return None if isinstance(value, str) and value else f"{name} must be text, not empty"


def text_or_empty(name: str, value: object) -> str | None:
    """Want text."""
    return None if isinstance(value, str) else f"{name} must be text"


def matching(pattern: re.Pattern[str], what: str) -> Check:
    """Want text of which all matches *pattern*."""

    def check(name: str, value: object) -> str | None:
        good = isinstance(value, str) and pattern.fullmatch(value)
        return None if good else f"{name} must be {what}"

    return check


def one_of(*names: str) -> Check:
    """Want one of *names*."""
    choice = ", ".join(names)

    def check(name: str, value: object) -> str | None:
        good = isinstance(value, str) and value in names
        return None if good else f"{name} must be one of {choice}"

    return check


def whole(low: int, high: int) -> Check:
    """Want an integer from *low* to *high*."""

    def check(name: str, value: object) -> str | None:
        good = type(value) is int and low <= value <= high
        return None if good else f"{name} must be an integer from {low} to {high}"

    return check


def flag(name: str, value: object) -> str | None:
    """Want true or false."""
    return None if isinstance(value, bool) else f"{name} must be true or false"


def day(name: str, value: object) -> str | None:
    """Want a calendar day as YYYY-MM-DD."""
    if isinstance(value, str) and _DAY.fullmatch(value):
        try:
            date.fromisoformat(value)
        except ValueError:
            return f"{name} is not a day of the calendar"
        return None
    return f"{name} must be YYYY-MM-DD"


def dollars(value: object) -> str | None:
    """Want a number that is exact in cents; its sign is for the caller to judge."""
    if type(value) is not int and not isinstance(value, Decimal):
        return "Amount must be a positive number"
    if not -MAX_AMOUNT <= value <= MAX_AMOUNT:  # abs() would overflow on a huge exponent.
        return f"Amount must be at most {MAX_AMOUNT}"
    if type(value) is not int and value != Decimal(value).quantize(_CENT):
        return "Amount must have at most two decimal places"
    return None


def positive_amount(_name: str, value: Any) -> str | None:  # noqa: ANN401  # As it was read.
    """Want an amount above zero."""
    return dollars(value) or (None if value > 0 else "Amount must be a positive number")


def amount_or_zero(_name: str, value: Any) -> str | None:  # noqa: ANN401  # As it was read.
    """Want an amount of zero or more: a waived payment can be confirmed too."""
    return dollars(value) or (None if value >= 0 else "Amount must not be negative")


def method_types(_name: str, value: object) -> str | None:
    """Want a list of names."""
    good = isinstance(value, list) and value and all(isinstance(v, str) and v for v in value)
    return None if good else "Invalid payment method types"


def fields_of(
    required: Mapping[str, Check], optional: Mapping[str, Check], *, least: int = 0
) -> Check:
    """Want an object with *required* and maybe *optional* fields, *least* of them, and no other."""
    known = {**required, **optional}

    def check(name: str, value: object) -> str | None:
        if not isinstance(value, dict):
            return f"{name} must be an object"
        path = f"{name}." if name else ""
        for field in required:
            if value.get(field) is None:
                label = "Amount" if field == "amount" else path + field
                raise FlawError(f"{label} is required", missing=True)
        if len(value) < least:
            raise FlawError(f"{name} must not be empty", missing=True)
        for field, content in value.items():
            look = known.get(field)
            if look is None:
                return f"{path}{field} is not a known field"
            reason = look(path + field, content)
            if reason is not None:
                return reason
        return None

    return check
