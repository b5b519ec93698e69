"""What the clients of both vendors have in common: a session to run on, and its end."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Self, Unpack

if TYPE_CHECKING:
    from types import TracebackType

    from carevalidate_async._config import CallOptions
    from carevalidate_async._policy import WorstCase
    from carevalidate_async._quota import RetryQuota
    from carevalidate_async.session import Session


class Client:
    """
    The parent of the clients.

    Args:
        session: Runs the calls.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def __repr__(self) -> str:
        if not hasattr(self, "_session"):  # A subclass's traceback shows one that was not made.
            return f"<{type(self).__name__}>"
        state = ", closed" if self._session.closed else ""
        return f"<{type(self).__name__} at {self._session.origin}{state}>"

    @property
    def closed(self) -> bool:
        """Whether the client can make no more calls."""
        return self._session.closed

    @property
    def retry_quota(self) -> RetryQuota | None:
        """What pays for the retries of this client's calls; None where nothing limits them."""
        return self._session.quota

    def worst_case(self) -> WorstCase:
        """
        Return what a call of this client may cost at most.

        ``print(client.worst_case())`` says "at most 4 requests and 120 seconds" for the defaults.
        """
        return self._session.worst_case()

    def with_options(self, **changes: Unpack[CallOptions]) -> Self:
        """
        Return a client with other options that shares this one's connections and retry quota.

        Closing it leaves them open; once this client is closed, neither works any more.

        Args:
            changes: ``attempt_timeout``, ``deadline``, ``retry``, ``hooks``; see `CallOptions`.

        Raises:
            ConfigurationError: A value cannot be used.
            TypeError: There is no such option.
        """
        other = copy.copy(self)
        other._session = self._session.with_options(**changes)  # noqa: SLF001 - our own copy
        return other

    async def aclose(self) -> None:
        """
        Close the connections; calls in flight end, and their errors tell what is known.

        A second call does nothing. A session or connector of the caller's stays open.

        Raises:
            ConfigurationError: Another running event loop uses them: close the client there.
        """
        await self._session.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()
