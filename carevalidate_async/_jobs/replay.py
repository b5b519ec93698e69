"""Rows that ended without being on record: listed, and queued once more."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import attrs
import msgspec
import nats.errors
import nats.js.errors
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from carevalidate_async._jobs.ledger import is_there
from carevalidate_async._jobs.messages import (
    OUT,
    RECORDED,
    REPLAYED,
    Result,
    Tries,
    out_subject,
    work_subject,
)
from carevalidate_async.integrations.letters import BEGAN, IN_DOUBT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from carevalidate_async._jobs.ledger import Ledger

_GONE = frozenset({10037, 10057})  # err_codes

FETCHED = 500
"""Results that are asked for at once."""


@attrs.frozen(kw_only=True)
class Letter:
    """
    A row that is not on record, as far as is known.

    Attributes:
        result: What became of it.

        number: Of that message in its stream.
    """

    result: Result
    number: int

    @property
    def age(self) -> float | None:
        """Seconds since it may have been asked for first; None where nobody knows."""
        began = self.result.began
        return None if began is None else max(0.0, time.time() - began)

    def is_too_old(self, max_key_age: float | None) -> bool:
        """
        Tell whether the vendor may have forgotten its key, and would record it once more.

        Only for a payment that may be on record: of one that was refused, nothing is.
        """
        if max_key_age is None or self.result.state != "unknown":
            return False
        return self.age is None or self.age > max_key_age


async def letters(ledger: Ledger, name: str) -> AsyncIterator[Letter]:
    """Give all rows of a job that ended without being on record, in the order in which they did."""
    job = (await ledger.record(name)).token(name)
    subject = out_subject(job, "result")
    config = ConsumerConfig(
        deliver_policy=DeliverPolicy.ALL, ack_policy=AckPolicy.NONE, inactive_threshold=30.0
    )
    sub = await ledger.js.pull_subscribe(f"{subject}.*", stream=OUT, config=config)
    try:
        left = (await sub.consumer_info()).num_pending or 0
        while left > 0:
            messages = await sub.fetch(min(left, FETCHED), timeout=5.0)
            left -= len(messages)
            for message in messages:
                result = msgspec.json.decode(message.data, type=Result)
                if result.state not in RECORDED and result.work is not None:
                    yield Letter(result=result, number=message.metadata.sequence.stream)
    finally:
        with contextlib.suppress(nats.errors.Error, OSError):
            await sub.unsubscribe()


async def replay(ledger: Ledger, name: str, letter: Letter) -> None:
    """
    Queue a row once more, under its own key; one that waits already is left as it is.

    First it is queued, then its result goes: a process that dies between the two loses neither. A
    worker that is faster than this one has written another result over it, which stays.
    """
    result, job = letter.result, (await ledger.record(name)).token(name)
    headers = {REPLAYED: "1"}
    if result.state == "unknown":
        headers[IN_DOUBT] = "1"
        # While it waits it has no result, and is in doubt all the same.
        doubt = Tries(line=result.line, outcome="unknown")
        tries = out_subject(job, "tries", result.line, 0, 0)
        await ledger.js.publish(tries, msgspec.json.encode(doubt))
    if result.began is not None:
        headers[BEGAN] = f"{result.began:.3f}"
    body = msgspec.json.encode(result.work)
    try:
        await ledger.js.publish(work_subject(job, result.line), body, headers=headers)
    except nats.js.errors.APIError as error:
        if not is_there(error):
            raise
        return  # perhaps it is about to be acknowledged: then its result is all that there is of it
    try:
        await ledger.js.delete_msg(OUT, letter.number)
    except nats.js.errors.APIError as error:
        if error.err_code not in _GONE:
            raise
