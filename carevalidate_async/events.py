"""
A payment event, and what is to be done with the message that it came in. Knows no broker.

::

    handler = ConfirmHandler(care)
    decision = await handler(Event(id="m-1", data=message.body, attempt=message.deliveries))
    if decision.action is Action.ACK:
        await message.ack()

What a decision says is done before the message is acknowledged, never after: a message that was
acknowledged first is a payment that is lost when the process dies between the two. Whoever is
cancelled while the handler runs acknowledges nothing.

=====================================  =============================  ============================
the payment, as far as is known        may pass by itself             will not
=====================================  =============================  ============================
on record, by this delivery or before  `Action.ACK`                   `Action.ACK`
may or may not be, by this delivery    `Action.RETRY`, and `PARK`     `Action.RETRY`, and `PARK`
                                       after so many deliveries       after so many deliveries
is not, by this delivery               `Action.RETRY`                 `Action.DEAD`, or `PARK` where
                                                                      an earlier one may have put it
=====================================  =============================  ============================

That there is no connection is nothing of the payment's, and may pass, whatever the reason. Above
that table, a credential that is refused is `Action.STOP`: it says nothing of any payment, and
a consumer that went on would empty its queue.
"""

from __future__ import annotations

import enum
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from carevalidate_async._checks import check_key
from carevalidate_async._files.columns import near_misses
from carevalidate_async._files.fields import (
    SPELLED,
    FileRow,
    Number,
    Problem,
    content_key,
    to_row,
)
from carevalidate_async._files.json_rows import object_row
from carevalidate_async._outage import asked_wait, is_fatal, own_words
from carevalidate_async._policy import RetryPolicy
from carevalidate_async._retry import time_to_wait
from carevalidate_async.bulk import combined
from carevalidate_async.errors import (
    APIConnectionError,
    CareValidateError,
    InvalidRequestError,
    Outcome,
)
from carevalidate_async.models import ConfirmationReceipt, PaymentConfirmation

if TYPE_CHECKING:
    from carevalidate_async.carevalidate import CareValidate

__all__ = ["Action", "ConfirmHandler", "Decision", "Event", "KeyOf", "Read", "read_payment"]

MAX_DOUBTS = 20
"""Deliveries after which a payment that may be on record is left to a person: an hour's, or so."""

MAX_KEY_AGE = 86_400.0
"""Seconds for which a key that may have been sent is sent again: a day."""

FIRST_DELAY = 1.0
"""Seconds; the longest delay before the second delivery. It doubles with each."""

MAX_DELAY = 300.0
"""Seconds; no delay of our own is longer."""

ATTEMPTS = 2
"""Requests of one delivery at most, by default: the broker delivers again."""


class Action(enum.StrEnum):
    """What is to be done with a message."""

    ACK = "ack"
    """Acknowledge it: the payment is on record."""

    RETRY = "retry"
    """Have it delivered again after the delay, under the same key."""

    DEAD = "dead"
    """Put it among the dead letters, then acknowledge it: the payment surely is not on record."""

    PARK = "park"
    """Leave it to a person, then acknowledge it: the payment may be on record."""

    STOP = "stop"
    """
    Give it back and take no further message: the credential is refused, or the client cannot send.
    """


@attrs.frozen(kw_only=True)
class Event:
    """
    A payment event as it was delivered.

    Attributes:
        id: The message's own, for people; it says nothing of which payment this is.

        data: The payment: a JSON object as bytes or text, which keeps amounts exact, or its fields,
            in snake_case or camelCase; amounts are a Decimal, an int or text.

        attempt: 1 for the first delivery; None where the broker does not count them.

        in_doubt: Whether an earlier delivery may have put the payment on record. None where nobody
            knows: then each delivery does that is not known to be the first one. Of a broker that
            only tells whether a message was delivered before, say that.

        age: Seconds since its first delivery, or since it was published, when this was made; None
            where nobody knows.

        made: When this was made, by `time.monotonic`.
    """

    id: str
    data: Mapping[str, Any] | bytes | str = attrs.field(repr=False)
    attempt: int | None
    in_doubt: bool | None = None
    age: float | None = None
    made: float = attrs.field(factory=time.monotonic, repr=False, eq=False)

    @property
    def age_now(self) -> float | None:
        """Its age at the moment: it may be held for long before it is asked for."""
        return None if self.age is None else self.age + (time.monotonic() - self.made)

    @property
    def may_have_landed(self) -> bool:
        """Whether an earlier delivery may have put the payment on record."""
        return self.attempt != 1 if self.in_doubt is None else self.in_doubt


@attrs.frozen(kw_only=True)
class Decision:
    """
    What is to be done with a message, and why.

    Attributes:
        action: What.

        outcome: What is known of the payment after all deliveries.

        reason: Why, in words of ours, free of personal data.

        delay: Seconds before the next delivery.

        key: The idempotency key that the payment has; None where its event cannot be read.

        receipt: The vendor's answer, where it is on record by this delivery.

        error: What the last request met. Its text may repeat the vendor's words.
    """

    action: Action
    outcome: Outcome
    reason: str = ""
    delay: float = 0.0
    key: str | None = None
    receipt: ConfirmationReceipt | None = None
    error: CareValidateError | None = attrs.field(default=None, repr=False)


Read: TypeAlias = Callable[[Event], PaymentConfirmation]
"""Returns the payment that an event names; raises `InvalidRequestError` where it names none."""

KeyOf: TypeAlias = Callable[[Event, PaymentConfirmation], str]
"""Returns the idempotency key of the payment that an event names."""


def read_payment(event: Event) -> PaymentConfirmation:
    """
    Return the payment that *event* names, its data being the payment's fields.

    What is no field's is left alone, but a name that is nearly one is refused.

    It is read as a row of a file is: ids, days and amounts that a spreadsheet or a float has
    spoiled are refused.

    Raises:
        InvalidRequestError: It names none. The fields that are wrong are named, and no value is
            repeated.
    """
    row = _row(event.data)
    if row.payment is not None:
        return row.payment
    first, *others = row.problems
    more = "".join(f"; {problem}" for problem in others)
    raise InvalidRequestError(first.field, f"{first.reason}{more}")


class ConfirmHandler:
    """
    Confirms the payments that events name, and says what is to be done with their messages.

    One handler serves any number of events at a time; how many is for the consumer to bound.

    Args:
        client: Its own retries are cut to *attempts*: the broker delivers again.

        read: Returns the payment that an event names.

        key: Returns its idempotency key, where *read* gives none. By default the one that the
            payment's content gives, as `carevalidate confirm` makes it of a row: two events, or an
            event and a row, that say the same are one payment. Events that name one payment and
            may differ in a field, a description say, need a key of your own, made of what tells it
            apart: ``derive_idempotency_key("confirm_payment", payment.case_id, your_record_id)``.

        attempts: Requests of one delivery at most. With one, a `Consumer` knows of each before the
            next; with two, a lost answer is mostly settled at once.

        max_doubts: Deliveries after which a payment that may be on record is left to a person.

        max_key_age: Seconds for which a key that may have been sent is sent again, for events that
            say how old they are: the vendor may have forgotten an older one, and would record the
            payment once more. None for any age.

        first_delay: Seconds; the longest delay before the second delivery. It doubles with each.

        max_delay: Seconds; no delay of our own is longer. The vendor's Retry-After may be.
    """

    def __init__(
        self,
        client: CareValidate,
        *,
        read: Read = read_payment,
        key: KeyOf | None = None,
        attempts: int = ATTEMPTS,
        max_doubts: int = MAX_DOUBTS,
        max_key_age: float | None = MAX_KEY_AGE,
        first_delay: float = FIRST_DELAY,
        max_delay: float = MAX_DELAY,
    ) -> None:
        self._client = client.with_options(retry=RetryPolicy(max_attempts=attempts))
        self._read = read
        self._key = key or _content
        self._max_doubts = max_doubts
        self._max_key_age = max_key_age
        self._first_delay = first_delay
        self._max_delay = max_delay

    async def __call__(self, event: Event) -> Decision:
        """
        Confirm the payment that *event* names.

        Raises:
            Exception: What *read* and *key* raise beside `InvalidRequestError`: a mistake of the
                program, which is no reason to give a payment up. Acknowledge nothing.

            asyncio.CancelledError: The task was cancelled. The payment may be on record; the next
                delivery will tell.
        """
        key: str | None = None
        try:
            payment = self._read(event)
            key = self._key_of(event, payment)
            if self._is_too_old(event):
                return self._too_old(key)
            receipt = await self._client.confirm_payment(
                attrs.evolve(payment, idempotency_key=key), accept_duplicate=True
            )
        except CareValidateError as error:
            return self._decide(event, key, error)
        return Decision(
            action=Action.ACK,
            outcome=Outcome.RECORDED,
            reason="on record already" if receipt.meta.already_recorded else "on record",
            key=key,
            receipt=receipt,
        )

    def _key_of(self, event: Event, payment: PaymentConfirmation) -> str:
        key = payment.idempotency_key
        if key is None:
            key = self._key(event, payment)
            if key is None:
                # A new one would be another one for each delivery.
                raise TypeError("the function that makes keys gave None")
        check_key(key)
        return key

    def _is_too_old(self, event: Event) -> bool:
        age = event.age_now
        if self._max_key_age is None or age is None or not event.may_have_landed:
            return False
        return age > self._max_key_age

    def _too_old(self, key: str) -> Decision:
        return Decision(
            action=Action.PARK,
            outcome=Outcome.UNKNOWN,
            reason="not asked for again: its key may have been sent too long ago",
            key=key,
        )

    def _decide(self, event: Event, key: str | None, error: CareValidateError) -> Decision:
        outcome = combined(Outcome.UNKNOWN if event.may_have_landed else None, error.outcome)
        # That there is no connection is nothing of the payment's, even where it will not pass by
        # itself, as with a certificate that is not trusted.
        passing = error.retryable or isinstance(error, APIConnectionError)
        action = Action.STOP if is_fatal(error) else _ACTIONS[error.outcome, passing]
        reason = own_words(error)
        if action is Action.RETRY and error.outcome is Outcome.UNKNOWN:
            if event.attempt is not None and event.attempt >= self._max_doubts:
                action, reason = Action.PARK, f"{reason}; {event.attempt:,} deliveries told no more"
        elif action is Action.DEAD and outcome is Outcome.UNKNOWN:
            action, reason = Action.PARK, f"{reason}, but an earlier delivery may have put it there"
        return Decision(
            action=action,
            outcome=outcome,
            reason=reason,
            delay=self._delay(event, error) if action in {Action.RETRY, Action.STOP} else 0.0,
            key=key,
            error=error,
        )

    def _delay(self, event: Event, error: CareValidateError) -> float:
        longest = min(self._max_delay, self._first_delay * 2.0 ** min((event.attempt or 1) - 1, 60))
        # Not from zero on: a broker that delivers at once would not give the vendor any rest.
        seconds = random.uniform(longest / 2, longest)  # noqa: S311 - jitter, no secret
        return time_to_wait(seconds + (asked_wait(error) or 0.0))


def _content(_: Event, payment: PaymentConfirmation) -> str:
    return content_key(payment)


# By what this delivery alone tells, and whether the cause may pass by itself. As long as a vendor
# takes no payment at all, none is given up for that.
_ACTIONS = {
    (Outcome.RECORDED, False): Action.ACK,
    (Outcome.RECORDED, True): Action.ACK,
    (Outcome.UNKNOWN, False): Action.RETRY,
    (Outcome.UNKNOWN, True): Action.RETRY,
    (Outcome.REJECTED, False): Action.DEAD,
    (Outcome.REJECTED, True): Action.RETRY,
    (Outcome.NOT_SENT, False): Action.DEAD,
    (Outcome.NOT_SENT, True): Action.RETRY,
}


_NO_OBJECT = "is not one JSON object"
_FLOAT = "is a float, which cannot hold cents exactly; give a Decimal, an int or text"


def _row(data: object) -> FileRow:
    if not isinstance(data, Mapping):
        text = data.decode("utf-8", "surrogateescape") if isinstance(data, bytes) else data
        if not isinstance(text, str):
            return FileRow(line=1, problems=(Problem("", _NO_OBJECT),))
        return object_row(1, text.removeprefix("\ufeff").strip())[0]
    if not all(isinstance(name, str) for name in data):
        return FileRow(line=1, problems=(Problem("", _NO_OBJECT),))
    fields = [SPELLED[name] for name in data if name in SPELLED]
    problems = [Problem(field, "is given twice") for field, n in Counter(fields).items() if n > 1]
    problems += [Problem(near, "is spelled differently") for near in near_misses(data)]
    values = {SPELLED[name]: _plain(value) for name, value in data.items() if name in SPELLED}
    floats = [name for name, value in values.items() if isinstance(value, float)]
    if floats:  # whatever else is wrong
        return FileRow(line=1, problems=tuple(Problem(name, _FLOAT) for name in floats))
    return to_row(1, values, "", problems)


def _plain(value: object) -> object:
    """Return what a row may hold for a value that others have read; a float stays what it is."""
    if isinstance(value, enum.Enum):
        return _plain(value.value)
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return Number(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        return value.isoformat()
    return value
