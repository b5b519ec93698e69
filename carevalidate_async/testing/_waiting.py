"""Delays that pass at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carevalidate_async import _retry

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


def no_waiting() -> AbstractContextManager[list[float]]:
    """
    Return a context manager under which no retry waits: tests of failures take no time.

    It switches off the delays between the attempts of a call, those that the vendor asks for too,
    and the pauses between the asks of `confirm_payments`, in all tasks and threads. What is decided
    stays as it is: how often a call is tried, whether a delay would end past its deadline, and what
    the attempts say of their delays. It may be nested.

    It gives a list, to which each delay between the attempts of a call is added, in seconds, when
    it would begin::

        with no_waiting() as delays:
            await care.confirm_payment(payment)
        assert len(delays) == 2
    """
    return _retry.no_waiting()
