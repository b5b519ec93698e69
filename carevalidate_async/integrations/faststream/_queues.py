"""
The queues of RabbitMQ that payments need: what they are like, and that they are there.

===========  =======================================================================================
work         events; what was delivered too often goes to *dead*
retry        one for each of a few delays, after which a message goes back to *work*
dead         dead letters
results      results, where they are asked for
===========  =======================================================================================

All are quorum queues, and full rather than forgetful. What passes from one to another by itself
leaves the first one only when the second one has it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import attrs
from aio_pika.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed

from carevalidate_async.integrations.mismatch import MismatchError

if TYPE_CHECKING:
    from aio_pika.abc import AbstractConnection

__all__ = ["Queues", "provide_queues"]

DELIVERY_LIMIT = 100
"""
Deliveries of one message, none of which came to a decision: it ends the process, say. RabbitMQ's
own limit is 20 from version 4 on, none before, and what exceeds it is gone.
"""

_FORM = {
    "x-queue-type": "quorum",
    "x-overflow": "reject-publish",
}
_PASSED_ON = {
    **_FORM,
    "x-dead-letter-exchange": "",  # The one that knows each queue by its name.
    "x-dead-letter-strategy": "at-least-once",
}
_DIFFERENCE = re.compile(
    r"inequivalent arg '(?P<name>[^']+)' .*?: received (?P<want>.+) but current is (?P<have>.+)",
    re.DOTALL,
)


@attrs.frozen(kw_only=True)
class Queues:
    """
    The names of the queues.

    Attributes:
        work: Of events.

        dead: Of dead letters.

        results: Of results; None for nowhere.

        delays: Seconds after which a message can be delivered again, ascending.
    """

    work: str
    dead: str
    results: str | None
    delays: tuple[float, ...]

    def retry(self, delay: float) -> str:
        """Return the queue for messages that are to wait so many seconds, or the longest there."""
        fitting = (each for each in self.delays if each >= delay)
        return self._retry(next(fitting, self.delays[-1]))

    def _retry(self, seconds: float) -> str:
        return f"{self.work}.retry.{seconds:g}s"  # An other delay is an other queue, no mismatch.

    def arguments(self) -> dict[str, dict[str, Any]]:
        """Return each queue's arguments; those that others pass messages on to come first."""
        work = {
            **_PASSED_ON,
            "x-dead-letter-routing-key": self.dead,
            "x-delivery-limit": DELIVERY_LIMIT,
        }
        retries = {
            self._retry(seconds): {
                **_PASSED_ON,
                "x-dead-letter-routing-key": self.work,
                "x-message-ttl": round(seconds * 1000),
            }
            for seconds in self.delays
        }
        kept = {name: _FORM for name in (self.dead, self.results) if name is not None}
        return {**kept, self.work: work, **retries}


async def provide_queues(connection: AbstractConnection, queues: Queues, *, own: bool) -> None:
    """
    Make the queues that are not there, and see that those that are there are like them.

    Args:
        connection: To RabbitMQ.

        queues: What they are called.

        own: Whether to make and compare them; otherwise only see that all are there.

    Raises:
        MismatchError: One is there, and is not like it, or it is not there and is not ours to make.
    """
    for name, arguments in queues.arguments().items():
        channel = await connection.channel()  # RabbitMQ closes it where something is the matter.
        try:
            await channel.declare_queue(
                name, durable=True, passive=not own, arguments=arguments if own else None
            )
        except ChannelPreconditionFailed as error:
            raise MismatchError(f"queue {name}", (_difference(str(error)),)) from error
        except ChannelNotFoundEntity as error:
            raise MismatchError(f"queue {name}", ("it is not there",)) from error
        finally:
            await channel.close()


def _difference(text: str) -> str:
    """Return what differs, out of RabbitMQ's own words: the first thing that it came upon."""
    found = _DIFFERENCE.search(text)
    return f"{found['name']} is {found['have']}, not {found['want']}" if found else text
