"""Idempotency keys: made once per call, or derived from the business facts that a payment is."""

from __future__ import annotations

import enum
import functools
import hashlib
import os
import uuid
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from carevalidate_async._checks import check_key
from carevalidate_async.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

KeyPart = str | int | Decimal | bool | date | enum.Enum | uuid.UUID | None

_VERSION = b"carevalidate-async/1"
_LONGEST_NUMBER = 1000  # digits; 1E+999999999 would be written out in full
_BEYOND = 10**_LONGEST_NUMBER
_NONE = "none:0:"
_EMPTY = frozenset({_NONE, "text:0:"})


def new_idempotency_key() -> str:
    """Return a random key: a UUID of version 4."""
    # Not from a store of randomness: whatever copies the process's memory, a snapshot of a machine
    # or a fork that Python does not hear of, would give the same keys to different payments.
    digits = os.urandom(16).hex()
    # RFC 9562, section 5.4: the version is 4, and the variant's two bits are 10.
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def derive_idempotency_key(*parts: KeyPart) -> str:
    """
    Return the key that these business facts always give, on every machine and in every process.

    It is ``cv1-`` and 40 hexadecimal digits (160 bits) of the SHA-256 over a version tag and, for
    each part, its kind, its length and its text. So neither order, kind nor boundaries can be
    mixed up: ``("ab", "c")`` and ``("a", "bc")``, ``1`` and ``"1"`` give different keys. Equal
    amounts of money are one part, however they are written: ``Decimal("50")``,
    ``Decimal("50.00")``, ``50``. An enum's member is its value (so ``PaymentStatus.PAID`` is
    ``"PAID"``) and a UUID its text; text counts to the letter. Nothing of a part can be read back
    from the key, but whoever can guess all parts can confirm the guess.

    Args:
        parts: What makes this payment this payment, such as the case's id, the id of your own
            payment record, the amount and the payment date. Leave out what may differ between two
            tellings of the same payment (the time of sending, a retry counter), and include what
            tells two honest payments apart, or the second one counts as recorded already.

    Returns:
        44 printable ASCII characters.

    Raises:
        InvalidRequestError: No part was given, all are None or empty, or a part is of a kind that
            has no exact text (a float, a list, any object).
    """
    facts = _facts(parts)
    if isinstance(facts, InvalidRequestError):
        del parts  # error reporters send the local variables of frames along
        raise facts
    data = "".join(facts).encode("utf-8", "surrogatepass")
    return f"cv1-{hashlib.sha256(_VERSION + data).hexdigest()[:40]}"


def checked_key(key: str | None) -> str:
    """
    Return *key* once it is known to be usable, or a new one for None.

    Raises:
        InvalidRequestError: Not 1 to 255 printable ASCII characters without outer blanks.
    """
    if key is None:
        return new_idempotency_key()
    check_key(key)
    return key


def _facts(parts: Sequence[Any]) -> list[str] | InvalidRequestError:
    """Return the text that each part is, with its kind and its length in front."""
    facts = []
    for index, part in enumerate(parts):
        kind = type(part)
        if kind is str and part.isascii():  # as most are
            facts.append(f"text:{len(part)}:{part}")
        elif part is None:
            facts.append(_NONE)
        else:
            # These repeat from payment to payment. A number that is none has no hash.
            repeats = kind is date or isinstance(part, enum.StrEnum)
            known = repeats or (kind is Decimal and part.is_finite())
            fact = _known(part) if known else _canonical(part)
            if fact is None:
                # A datetime's text depends on its timezone, a float's on its rounding.
                plain = part.value if isinstance(part, enum.Enum) else part
                reason = f"has no exact text: {type(plain).__name__}"
                return InvalidRequestError(f"parts[{index}]", reason)
            facts.append(fact)
    if _EMPTY.issuperset(facts):
        return InvalidRequestError("parts", "must hold at least one business fact")
    return facts


def _canonical(part: object) -> str | None:
    text: tuple[str, str] | None = None
    # bool before int, datetime before date: each is a kind of the other.
    plain = part.value if isinstance(part, enum.Enum) else part
    if plain is None:
        return _NONE
    match plain:
        case bool():
            text = "bool", str(plain)
        case str() | uuid.UUID():
            text = "text", str(plain)
        case int() if abs(plain) < _BEYOND:
            text = "number", str(plain)
        case Decimal() if plain.is_finite() and abs(plain.adjusted()) < _LONGEST_NUMBER:
            text = "number", _plain(plain)
        case date() if not isinstance(plain, datetime):
            text = "date", plain.isoformat()
    if text is None:
        return None
    kind, told = text
    return f"{kind}:{len(told.encode('utf-8', 'surrogatepass'))}:{told}"


_known = functools.lru_cache(maxsize=4096, typed=True)(_canonical)


def _plain(number: Decimal) -> str:
    """Return the one text of equal numbers: no exponent, no trailing zeros, no minus zero."""
    text = f"{number:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text
