"""
Helps to test what uses the package.

::

    from carevalidate_async.testing import no_waiting

    @pytest.fixture(autouse=True)
    def at_once():
        with no_waiting():
            yield
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from carevalidate_async import _retry

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

__all__ = ["no_waiting"]


def no_waiting() -> AbstractContextManager[None]:
    """
    Return a context manager under which no retry waits: tests of failures take no time.

    It switches off the delays between the attempts of a call, those that the vendor asks for too,
    and the pauses between the asks of `confirm_payments`, in all tasks and threads. What is decided
    stays as it is: how often a call is tried, whether a delay would end past its deadline, and what
    the attempts say of their delays. It may be nested.
    """
    return _retry.no_waiting()
