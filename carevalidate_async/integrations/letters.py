"""
What is published about a payment event: a result, or a dead letter. The same for every broker.

A result says what became of a payment, in JSON, without anything of whom it is about. A dead letter
is the event's own message, its bytes and headers as they came, and on top of them headers that say
why it is one. It holds what the event held: who may read events may read dead letters.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from carevalidate_async.errors import Outcome
from carevalidate_async.events import Action

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carevalidate_async.events import Decision, Event

__all__ = [
    "ACTION",
    "ATTEMPT",
    "BEGAN",
    "DEAD_LETTERED",
    "IN_DOUBT",
    "KEY",
    "OUTCOME",
    "REASON",
    "SOURCE",
    "age_of",
    "dead_headers",
    "in_doubt",
    "is_letter",
    "is_result",
    "result_body",
]

PREFIX = "Carevalidate-"
ACTION = f"{PREFIX}Action"
"""``dead``: the payment surely is not on record. ``park``: it may be."""

OUTCOME = f"{PREFIX}Outcome"
"""What is known about the money, in the words of `Outcome`."""

REASON = f"{PREFIX}Reason"
"""Why it is there, in words of ours, free of personal data."""

KEY = f"{PREFIX}Idempotency-Key"
"""The payment's idempotency key."""

ATTEMPT = f"{PREFIX}Attempt"
"""How often its message was delivered."""

SOURCE = f"{PREFIX}Source"
"""Where its message was: a subject, a queue, a topic."""

DEAD_LETTERED = f"{PREFIX}Dead-Lettered"
"""When it was put there; seconds since 1970."""

BEGAN = f"{PREFIX}Began"
"""When its payment may have been asked for first; seconds since 1970."""

IN_DOUBT = f"{PREFIX}In-Doubt"
"""``1`` where the payment may be on record; a message that is sent once more keeps it."""

_LONGEST = 500


def is_result(decision: Decision) -> bool:
    """Tell whether *decision* is published as a result."""
    return decision.action is Action.ACK


def is_letter(decision: Decision) -> bool:
    """Tell whether *decision* is published as a dead letter."""
    return decision.action in {Action.DEAD, Action.PARK}


def result_body(event: Event, decision: Decision) -> bytes:
    """Return what is published of a payment that is on record: JSON, without personal data."""
    receipt = decision.receipt
    meta = None if receipt is None else receipt.meta
    return msgspec.json.encode(
        {
            "id": event.id,
            "key": decision.key,
            "outcome": str(decision.outcome),
            "already_recorded": meta is None or meta.already_recorded,
            "attempts": 0 if meta is None else len(meta.attempts),
            "request_id": None if meta is None else meta.request_id,
            "deliveries": event.attempt,
        }
    )


def dead_headers(
    event: Event, decision: Decision, *, source: str, original: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """
    Return the headers of a dead letter.

    Args:
        event: Whose message it is.

        decision: Why it is one.

        source: Where its message was.

        original: Its own headers, which stay.
    """
    now = time.time()
    began = now - (event.age_now or 0.0)
    ours = {
        ACTION: str(decision.action),
        OUTCOME: str(decision.outcome),
        REASON: _printable(decision.reason),
        KEY: decision.key or "",
        ATTEMPT: "" if event.attempt is None else str(event.attempt),
        SOURCE: source,
        BEGAN: f"{began:.3f}",
        DEAD_LETTERED: f"{now:.3f}",
    }
    if decision.outcome is Outcome.UNKNOWN:  # so that it may be sent once more as it is
        ours[IN_DOUBT] = "1"
    kept = {} if original is None else {str(n): str(v) for n, v in original.items()}
    return {**{n: v for n, v in kept.items() if n not in ours}, **ours}


def age_of(headers: Mapping[str, Any] | None, published: float | None) -> float | None:
    """
    Return the seconds since an event's payment may have been asked for first.

    Args:
        headers: Of its message; one that was sent once more says when it began.

        published: When its message was published, or is delivered first, in seconds since 1970;
            None if nobody knows.
    """
    began = _number((headers or {}).get(BEGAN))
    first = min((moment for moment in (began, published) if moment is not None), default=None)
    return None if first is None else max(0.0, time.time() - first)


def in_doubt(headers: Mapping[str, Any] | None) -> bool | None:
    """Return whether a message was sent once more for a payment that may be on record."""
    return True if str((headers or {}).get(IN_DOUBT, "")) == "1" else None


def _number(text: object) -> float | None:
    try:
        return float(str(text)) if text is not None else None
    except ValueError:
        return None


def _printable(text: str) -> str:
    """Return what every broker's headers take."""
    plain = text.encode("ascii", "replace").decode()
    return " ".join(plain.split())[:_LONGEST]
