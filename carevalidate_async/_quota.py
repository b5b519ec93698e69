"""What the calls of a client may spend on trying again, all together."""

from __future__ import annotations

import os
import threading
import weakref

from carevalidate_async.errors import ConfigurationError


class RetryQuota:
    """
    A bucket of tokens that pays for retries, so that a vendor in trouble is not flooded with them.

    It starts full. A retry takes `COST` tokens, one after a timeout `TIMEOUT_COST`; without enough
    tokens there is no retry, and the error says so (``gave_up`` is `GaveUp.RETRY_QUOTA`). First
    tries are never held back. A retry that ends in a clear answer gives back what it took; a first
    try that does brings `EARNED`. So however long an outage lasts, the retries in it are at most
    ``capacity / COST`` (100 by default), and as soon as calls go well they pay for retries again.

    Each client has one of its own, which its `with_options` copies share. Give the same one to
    several clients (``retry_quota=``) to let them share it; that is safe between threads.

    Args:
        capacity: The most tokens that it holds; below `COST` there are no retries at all.

    Raises:
        ConfigurationError: *capacity* is no int of at least 0.

    Source of the numbers: the standard retry mode of the AWS SDKs.
    """

    COST = 5
    """Tokens that a retry takes."""

    TIMEOUT_COST = 10
    """Tokens that a retry takes after a try that timed out: it held a connection all that time."""

    EARNED = 1
    """Tokens that a first try brings when it gets a clear answer."""

    def __init__(self, capacity: int = 500) -> None:
        if type(capacity) is not int or capacity < 0:
            raise ConfigurationError("RetryQuota.capacity must be an int of at least 0")
        self._capacity = capacity
        self._tokens = capacity
        self._lock = threading.Lock()
        _quotas.add(self)

    def unlock(self) -> None:
        """Make a lock anew that another thread held when this process was forked."""
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<RetryQuota {self._tokens} of {self._capacity} tokens>"

    @property
    def capacity(self) -> int:
        """The most tokens that it holds."""
        return self._capacity

    @property
    def tokens(self) -> int:
        """Tokens that it holds now."""
        return self._tokens

    def take(self, *, timed_out: bool) -> int | None:
        """
        Take what a retry costs.

        Args:
            timed_out: Whether the try before it timed out.

        Returns:
            The tokens taken; None where there are not enough, and nothing was taken.
        """
        cost = self.TIMEOUT_COST if timed_out else self.COST
        with self._lock:
            if cost > self._tokens:
                return None
            self._tokens -= cost
        return cost

    def give_back(self, tokens: int) -> None:
        """Put *tokens* in, as many as there is room for."""
        if self._tokens < self._capacity:  # which it seldom is, and then it costs nothing
            with self._lock:
                self._tokens = min(self._capacity, self._tokens + tokens)


_quotas: weakref.WeakSet[RetryQuota] = weakref.WeakSet()


def _unlock_all() -> None:
    for quota in list(_quotas):
        quota.unlock()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_unlock_all)
