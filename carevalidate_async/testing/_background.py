"""The sandbox on a thread with an event loop of its own, for tests that are no coroutines."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Self, TypeVar

from carevalidate_async.sandbox import Sandbox
from carevalidate_async.testing._assertions import (
    Seen,
    Wanted,
    wrong_with_attempts,
    wrong_with_keys,
    wrong_with_nothing,
    wrong_with_number,
    wrong_with_script,
)
from carevalidate_async.testing._thread import LoopThread, StoppedError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import TracebackType

    from carevalidate_async._client import Client
    from carevalidate_async._operation import Operation
    from carevalidate_async.sandbox import Fault, ReceivedRequest, Recorded, RecordedPayment

T = TypeVar("T")

# Turns of the event loop from bytes that wait on a connection nobody accepted yet to their record:
# accept, connect, read the head, read the body, judge; and twice as many more.
_TURNS = 15


class BackgroundSandbox:
    """
    Both vendors on this machine's loopback, served by a thread.

    ::

        with BackgroundSandbox() as sandbox:
            asyncio.run(confirm_invoices(base_url=sandbox.url))
            sandbox.assert_recorded(case_id="case-1", amount=50)

    Any thread, and any event loop, may use it. What was sent before one of its methods is called
    has been served when that method looks, unless a fault holds it up.

    The assertions show what is on record and what arrived. Fields that the models keep out of their
    repr (email addresses, phone numbers, descriptions) are compared, and never shown.

    Args:
        sandbox: What to serve; it must not run yet. None for one with the key and the token
            ``test``.
    """

    def __init__(self, sandbox: Sandbox | None = None) -> None:
        self._sandbox = Sandbox() if sandbox is None else sandbox
        self._rate_limit = self._sandbox.rate_limit
        self._thread: LoopThread | None = None

    def __repr__(self) -> str:
        return f"<Background{repr(self._sandbox).removeprefix('<')}"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> Self:
        """
        Start to listen; nothing happens where it listens already.

        Raises:
            OSError: The sandbox's port is taken, or not allowed.
        """
        if self._thread is None:
            self._thread = LoopThread(type(self).__name__)
            try:
                self._run(self._sandbox.start())
            except BaseException:
                self.close()
                raise
        return self

    def close(self) -> None:
        """
        Stop at once; every connection is closed.

        What is on record and what arrived stays readable. Closing again does nothing.
        """
        thread, self._thread = self._thread, None
        if thread is not None:
            try:
                thread.run(self._sandbox.aclose())
            finally:
                thread.stop()

    @property
    def url(self) -> str:
        """
        The sandbox's origin, without a slash at the end.

        Raises:
            RuntimeError: It is not running.
        """
        return self._sandbox.url

    @property
    def payments(self) -> list[RecordedPayment]:
        """Confirmations and case payments on record, oldest first; a new list each time."""
        return self._read(lambda: self._sandbox.payments)

    @property
    def intents(self) -> list[Recorded]:
        """Payment intents on record, oldest first; a new list each time."""
        return self._read(lambda: self._sandbox.intents)

    @property
    def user_updates(self) -> list[Recorded]:
        """Updates of users on record, oldest first; a new list each time."""
        return self._read(lambda: self._sandbox.user_updates)

    @property
    def method_updates(self) -> list[Recorded]:
        """Updates of payment methods on record, oldest first; a new list each time."""
        return self._read(lambda: self._sandbox.method_updates)

    @property
    def requests(self) -> list[ReceivedRequest]:
        """Every request that arrived and is kept, in order; a new list each time."""
        return self._read(lambda: self._sandbox.requests)

    @property
    def received(self) -> int:
        """How many requests arrived, kept or not."""
        return self._read(lambda: self._sandbox.received)

    @property
    def script_left(self) -> tuple[Fault, ...]:
        """Scripted faults that no request has met yet."""
        return self._read(lambda: self._sandbox.script_left)

    @property
    def rate_limit(self) -> float | None:
        """Requests admitted a second, None for any number; may be set, until `reset`."""
        return self._read(lambda: self._sandbox.rate_limit)

    @rate_limit.setter
    def rate_limit(self, rate: float | None) -> None:
        self._read(lambda: setattr(self._sandbox, "rate_limit", rate))

    def script(self, *faults: Fault, operation: Operation[Any, Any] | str | None = None) -> None:
        """
        Let the next requests meet *faults*, one each, in order; see `Sandbox.script`.

        Args:
            faults: What the next requests meet; ``Fault.OK`` for none.

            operation: Only this operation's requests count, None for any operation's.

        Raises:
            ValueError: There is no such operation.
        """
        self._read(lambda: self._sandbox.script(*faults, operation=operation))

    def reset(self) -> None:
        """
        Forget what is on record, what arrived, what is scripted and a rate that was set.

        Its address stays, and connections stay open.
        """

        def forget() -> None:
            self._sandbox.reset()
            self._sandbox.rate_limit = self._rate_limit

        self._read(forget)

    def close_client(self, client: Client) -> None:
        """
        Close a `CareValidate` or `Planocore` whose event loop is over, or rests.

        Raises:
            ConfigurationError: An event loop that is running uses it: close it there.
            RuntimeError: The sandbox is not running.
        """
        self._run(client.aclose())

    def assert_recorded(
        self, *, times: int = 1, operation: str | None = None, **fields: object
    ) -> list[RecordedPayment]:
        """
        Assert that so many payments with these fields are on record.

        Args:
            times: How many; others, with other fields, may be there as well.

            operation: ``confirm_payment`` or ``create_case_payment``; None for either.

            fields: Values by the names of the models' fields (`PaymentConfirmation`,
                `CasePaymentRequest`), such as ``case_id``, ``amount`` in US dollars as Decimal or
                int, ``payment_date`` as a date; None for what the payment came without.

        Returns:
            Those payments, oldest first.

        Raises:
            AssertionError: There are more, or fewer.
            TypeError: No payment has such a field.
            ValueError: No payment has such an operation.
            InvalidRequestError: A value is not of its field's kind, such as an amount as a float.
        """
        __tracebackhide__ = True
        seen = self._seen()
        wrong, places = wrong_with_number(seen, Wanted(operation=operation, fields=fields), times)
        _raise(wrong)
        return [seen.payments[place] for place in places]

    def assert_nothing_recorded(self) -> None:
        """
        Assert that nothing is on record: no payment, no intent, no update.

        Raises:
            AssertionError: Something is.
        """
        __tracebackhide__ = True
        _raise(wrong_with_nothing(self._seen()))

    def assert_attempts(self, times: int, *, operation: str | None = None) -> None:
        """
        Assert that so many requests arrived, whatever came of them.

        Args:
            times: How many.

            operation: Name of the operation whose requests count; None for any.

        Raises:
            AssertionError: More arrived, or fewer; or only those of one operation count, and the
                sandbox does not keep all requests.
            ValueError: There is no such operation.
        """
        __tracebackhide__ = True
        _raise(wrong_with_attempts(self._seen(), times, operation))

    def assert_no_duplicates(self) -> None:
        """
        Assert that no payment was, or could have been, recorded twice.

        Each payment on record came with an idempotency key; no two of them are alike in all but
        their keys; and all requests under one key were the same, byte for byte.

        Raises:
            AssertionError: One of these does not hold, or the sandbox does not keep all requests.
        """
        __tracebackhide__ = True
        _raise(wrong_with_keys(self._seen()))

    def assert_script_met(self) -> None:
        """
        Assert that a request met each scripted fault.

        Raises:
            AssertionError: Some are left.
        """
        __tracebackhide__ = True
        _raise(wrong_with_script(self._seen()))

    def _seen(self) -> Seen:
        sandbox = self._sandbox
        return self._read(
            lambda: Seen(
                payments=sandbox.payments,
                others=[*sandbox.intents, *sandbox.user_updates, *sandbox.method_updates],
                requests=sandbox.requests,
                received=sandbox.received,
                organizations=sandbox._organizations,  # noqa: SLF001  # For nobody else.
                script_left=sandbox.script_left,
            )
        )

    def _read(self, look: Callable[[], T]) -> T:
        """Return what *look* returns in the sandbox's thread, once what arrived is served."""

        async def settled() -> T:
            for _ in range(_TURNS):
                await asyncio.sleep(0)
            return look()

        thread = self._thread
        if thread is not None:
            with contextlib.suppress(StoppedError):  # Another thread closes it right now.
                return thread.run(settled())
        return look()  # Nobody serves beside us.

    def _run(self, what: Coroutine[Any, Any, T]) -> T:
        """Return what a coroutine returns in the sandbox's event loop."""
        thread = self._thread
        if thread is None:
            what.close()
            raise RuntimeError("the sandbox is not running: use with, or start()")
        return thread.run(what)


def _raise(wrong: str | None) -> None:
    __tracebackhide__ = True
    if wrong is not None:
        raise AssertionError(wrong)
