"""
What a message that is sent once more tells of its deliveries so far.

RabbitMQ and Kafka cannot be asked to deliver a message again after a while: it is published anew,
and counts from zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from carevalidate_async.errors import Outcome
from carevalidate_async.integrations.letters import BEGAN, IN_DOUBT, PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carevalidate_async.events import Decision

__all__ = ["AGAIN", "EARLIER", "again_headers", "doubt_headers", "earlier", "leaves_doubt"]

EARLIER = f"{PREFIX}Earlier"
"""How often the event was delivered before this message of it was sent."""

AGAIN = frozenset({BEGAN, EARLIER, IN_DOUBT})
"""The headers of a message that is sent once more, and of no other."""


def again_headers(began: float, deliveries: int, *, in_doubt: bool) -> dict[str, str]:
    """
    Return the headers of a message that is sent once more.

    Args:
        began: When its payment may have been asked for first; seconds since 1970.

        deliveries: How often it was delivered.

        in_doubt: Whether one of these may have put its payment on record.
    """
    return {
        EARLIER: str(deliveries),
        BEGAN: f"{began:.3f}",
        **doubt_headers(in_doubt=in_doubt),
    }


def doubt_headers(*, in_doubt: bool) -> dict[str, str]:
    """Return the header of a message whose payment may be on record; none where it is not."""
    return {IN_DOUBT: "1"} if in_doubt else {}


def leaves_doubt(decision: Decision | None) -> bool:
    """Tell whether a payment may be on record; None is for a delivery that nobody knows about."""
    return decision is None or decision.outcome is Outcome.UNKNOWN


def earlier(headers: Mapping[str, Any]) -> int:
    """Return how often an event was delivered before this message of it was sent."""
    try:
        return max(0, int(str(headers.get(EARLIER, 0))))
    except ValueError:
        return 0
