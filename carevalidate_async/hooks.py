"""
What a caller can watch: the start of each call, each attempt, and each call's end.

A `Hook` is a plain function of one event, called in the task of the call, which waits for it. What
it raises is logged and changes nothing. Events hold neither the request nor the answer; an error
holds the vendor's own words, personal data included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs

from carevalidate_async.errors import Attempt, CareValidateError, Outcome


@attrs.frozen(kw_only=True)
class CallStarted:
    """
    A call is about to be tried for the first time.

    Attributes:
        operation: Name of the operation, such as ``confirm_payment``.

        idempotency_key: The key that every attempt carries; None for operations without one.
    """

    operation: str
    idempotency_key: str | None


@attrs.frozen(kw_only=True)
class AttemptEnded:
    """
    An attempt has ended, well or not, and it is known whether there will be another.

    Attributes:
        operation: Name of the operation.

        idempotency_key: The key that every attempt carries.

        attempt: Its number, duration, status and outcome, and the delay before the next.
    """

    operation: str
    idempotency_key: str | None
    attempt: Attempt


@attrs.frozen(kw_only=True)
class CallEnded:
    """
    A call has ended.

    Attributes:
        operation: Name of the operation.

        idempotency_key: The key that every attempt carried.

        attempts: All of them, oldest first.

        outcome: What is known about the money after the whole call.

        error: What is raised; None where the call gives an answer, or was cancelled.

        cancelled: Whether the caller's task was cancelled in the midst of the call. The last of
            *attempts* is then the one that was on the wire, if one was.

        elapsed: Seconds from start to end.
    """

    operation: str
    idempotency_key: str | None
    attempts: tuple[Attempt, ...]
    outcome: Outcome
    error: CareValidateError | None
    cancelled: bool
    elapsed: float


Event = CallStarted | AttemptEnded | CallEnded
Hook = Callable[[Event], None]


def hooks_for(kind: type[Event], hooks: Iterable[Hook]) -> tuple[Hook, ...]:
    """Return those of *hooks* that want events of this *kind*."""
    return tuple(hook for hook in hooks if _wants(hook, kind))


def _wants(hook: Hook, kind: type[Event]) -> bool:
    wanted = getattr(hook, "wants", None)
    # A mock has an attribute of any name.
    return not isinstance(wanted, tuple) or kind in wanted
