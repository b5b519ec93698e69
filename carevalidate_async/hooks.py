"""
What a caller can watch: the start of each call, each attempt, and each call's end.

A `Hook` is a plain function of one event, called in the task of the call, which waits for it. What
it raises is logged and changes nothing. Events hold neither the request nor the answer; an error
holds the vendor's own words, personal data included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

import attrs

from carevalidate_async.errors import Attempt, CareValidateError, Outcome


@attrs.frozen(kw_only=True, eq=False)
class CallInfo:
    """
    Where a call goes. All events of one call hold the same object, and no other call's do.

    So it is what tells concurrent calls apart, as a key of a dict for one; it can be compared with
    nothing but itself. It is empty in an event that was made by hand.

    Attributes:
        method: HTTP method.

        origin: Scheme, host and port, without a slash at the end.

        path: Path under it, in which ``{case_id}`` stands for a parameter: it names nobody, and all
            calls of an operation have the same.
    """

    method: str = ""
    origin: str = ""
    path: str = ""

    @classmethod
    def of(cls, *, method: str, url: str, template: str) -> CallInfo:
        """
        Return what is known of a call.

        Args:
            method: HTTP method.

            url: Absolute URL of its requests.

            template: The operation's path, with the names of its parameters. The base URL may have
                a path too, which stands in front of it.
        """
        parts = urlsplit(url)
        before = parts.path.split("/")[: -template.count("/")]
        path = "/".join(before) + template
        return cls(method=method, origin=f"{parts.scheme}://{parts.netloc}", path=path)


@attrs.frozen(kw_only=True)
class CallStarted:
    """
    A call is about to be tried for the first time.

    Attributes:
        operation: Name of the operation, such as ``confirm_payment``.

        idempotency_key: The key that every attempt carries; None for operations without one.

        call: Where it goes, and which of all calls it is.
    """

    operation: str
    idempotency_key: str | None
    call: CallInfo = attrs.field(factory=CallInfo, eq=False)


@attrs.frozen(kw_only=True)
class AttemptEnded:
    """
    An attempt has ended, well or not, and it is known whether there will be another.

    Attributes:
        operation: Name of the operation.

        idempotency_key: The key that every attempt carries.

        attempt: Its number, duration, status and outcome, and the delay before the next.

        call: Where the call goes, and which of all calls it is.
    """

    operation: str
    idempotency_key: str | None
    attempt: Attempt
    call: CallInfo = attrs.field(factory=CallInfo, eq=False)


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

        already_recorded: Whether the call gives an answer because its key was on record: by an
            earlier attempt of its own or, where duplicates are accepted, by an earlier call.

        quota_tokens: What the client's `RetryQuota` has left; None without one.

        call: Where the call went, and which of all calls it is.
    """

    operation: str
    idempotency_key: str | None
    attempts: tuple[Attempt, ...]
    outcome: Outcome
    error: CareValidateError | None
    cancelled: bool
    elapsed: float
    already_recorded: bool = False
    quota_tokens: int | None = None
    call: CallInfo = attrs.field(factory=CallInfo, eq=False)


Event = CallStarted | AttemptEnded | CallEnded
Hook = Callable[[Event], None]


def hooks_for(kind: type[Event], hooks: Iterable[Hook]) -> tuple[Hook, ...]:
    """Return those of *hooks* that want events of this *kind*."""
    return tuple(hook for hook in hooks if _wants(hook, kind))


def _wants(hook: Hook, kind: type[Event]) -> bool:
    wanted = getattr(hook, "wants", None)
    # A mock has an attribute of any name.
    return not isinstance(wanted, tuple) or kind in wanted
