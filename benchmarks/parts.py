"""
What the parts of a call cost that send nothing: microseconds, and as multiples of a yardstick.

The yardstick is `json.dumps` of a payment's ten fields in the same run, since machines differ::

    python -m benchmarks.parts
"""

from __future__ import annotations

import asyncio
import json
import time
import timeit
from typing import TYPE_CHECKING, Any, cast

from benchmarks.compare.target import fields, payment
from carevalidate_async import RetryQuota
from carevalidate_async._call import Call
from carevalidate_async._codec import Spelling, encode
from carevalidate_async._config import Settings
from carevalidate_async._secret import Secret
from carevalidate_async._wire import Reply, Sealed
from carevalidate_async.carevalidate import CONFIRM_PAYMENT
from carevalidate_async.idempotency import new_idempotency_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from carevalidate_async._transport import Transport
    from carevalidate_async.models import ConfirmationReceipt

_TIMES = 20_000
_REPLY = Reply(
    status=200,
    headers={"date": "Mon, 02 Nov 2026 10:00:00 GMT", "content-type": "application/json"},
    body=b'{"status":200,"success":true}',
)


class AtOnce:
    """A transport that has its answer already."""

    closed = False

    async def send(
        self, _: Sealed, *, on_turn: Callable[[], None], on_wire: Callable[[], None], **__: Any
    ) -> Reply:
        """Give the answer."""
        on_turn()
        on_wire()
        return _REPLY

    async def rest(self, _: float) -> None:
        """Wait for nothing."""


def parts() -> dict[str, Callable[[], object]]:
    """Return what is measured, by its name; an event loop has to run."""
    one, secret = payment(1), Secret("cv-key-of-a-benchmark")
    head = CONFIRM_PAYMENT.head(origin="https://v.test", secret=secret, headers={}, path={})
    sealed = CONFIRM_PAYMENT.seal(one, head=head, secret=secret, fields={})
    codec, settings, quota = Spelling.CAMEL.value, Settings(), RetryQuota()
    body = codec.dump(one)
    transport = cast("Transport", AtOnce())

    def call() -> ConfirmationReceipt | None:
        coroutine = Call(
            CONFIRM_PAYMENT,
            one,
            fields={},
            sealed=sealed,
            accept_duplicate=False,
            transport=transport,
            secret=secret,
            settings=settings,
            quota=quota,
        ).run()
        try:
            coroutine.send(None)
        except StopIteration as end:
            return cast("ConfirmationReceipt", end.value)
        return None

    plain = fields(1)
    return {
        "the yardstick: json.dumps": lambda: json.dumps(plain),
        "model, checked": lambda: payment(1),
        "model to the body's fields": lambda: codec.dump(one),
        "fields to bytes": lambda: encode(body),
        "random key": new_idempotency_key,
        "model to bytes, with its key": lambda: CONFIRM_PAYMENT.seal(
            one, head=head, secret=secret, fields={}
        ),
        "answer to a typed result": lambda: CONFIRM_PAYMENT.read(
            _REPLY, request=one, fields={}, secret=secret, now=time.time()
        ),
        "a whole call but its sending": call,
    }


async def main() -> None:
    """Measure, and print."""
    yardstick = None
    for name, part in parts().items():
        part()
        seconds = min(timeit.repeat(part, number=_TIMES, repeat=7)) / _TIMES
        yardstick = yardstick or seconds
        print(f"{name:32} {1e6 * seconds:7.2f} µs {seconds / yardstick:7.2f}")


if __name__ == "__main__":
    asyncio.run(main())
