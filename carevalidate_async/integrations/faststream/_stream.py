"""An entry of a Redis stream, and how it is settled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import msgspec
from faststream.redis.parser import MessageFormat

from carevalidate_async.events import Event
from carevalidate_async.integrations.faststream._again import doubt_headers, leaves_doubt
from carevalidate_async.integrations.letters import (
    age_of,
    dead_headers,
    in_doubt,
    is_letter,
    is_result,
    result_body,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis.asyncio import Redis

    from carevalidate_async.events import Decision

__all__ = ["Stream", "StreamDelivery"]

_DATA = b"__data__"  # FastStream's name for the field that holds its envelope.
_LONGEST = 2**16  # of a header: the envelope has two bytes for its length.
_BY_CLOCK = 10**12  # milliseconds; an entry's id that is lower holds no time: it was chosen

# A script, not a transaction, which goes on after a command that fails, and would acknowledge what
# it could not publish; a script ends there. What somebody else has settled is left alone.
_SETTLE = """
if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1) == 0 then
    return 0
end
if KEYS[2] then
    redis.call('XADD', KEYS[2], '*', ARGV[3], ARGV[4])
end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
redis.call('XDEL', KEYS[1], ARGV[2])
return 1
"""


@attrs.frozen(kw_only=True)
class Stream:
    """
    A stream of events, and where what becomes of them goes.

    Attributes:
        name: The stream's.

        group: Of consumers.

        consumer: Its member's name.

        dead: Stream that dead letters go to.

        results: Stream that results go to; None for nowhere.

        min_idle: Seconds without a word after which an entry is delivered again.

        form: FastStream's envelope of a message's body and headers.
    """

    name: str
    group: str
    consumer: str
    dead: str
    results: str | None
    min_idle: float
    form: type[MessageFormat]

    def opened(self, fields: Mapping[bytes, bytes]) -> tuple[bytes, dict[str, str]]:
        """
        Return an entry's body and headers.

        One that was not published by FastStream has no headers, and its fields as JSON for a body,
        as FastStream has it.
        """
        if _DATA not in fields:
            plain = {_text(name): _text(value) for name, value in fields.items()}
            return msgspec.json.encode(plain), {}
        body, found = self.form.parse(fields[_DATA])
        headers: object = found  # In the older envelope, JSON, they may be anything.
        if not isinstance(headers, dict):
            return body, {}
        return body, {str(name): str(value) for name, value in headers.items()}

    async def closed(self, body: bytes, headers: Mapping[str, str]) -> bytes:
        """Return the envelope of a body and headers."""
        # As bytes, for FastStream counts a text's characters where it should count its bytes.
        pairs = ((n.encode(), v.encode()) for n, v in headers.items() if n != "correlation_id")
        fitting: dict[Any, Any] = {n: v for n, v in pairs if max(len(n), len(v)) < _LONGEST}
        about = headers.get("correlation_id", "")
        return await self.form.encode(
            message=body, reply_to=None, headers=fitting, correlation_id=about
        )


class StreamDelivery:
    """
    An entry of a stream; a `carevalidate_async.consumer.Delivery`.

    Args:
        entry: Its id.

        fields: What it holds.

        client: Of Redis.

        stream: Where it is.

        attempt: How often it was delivered.

    Attributes:
        event: The payment event that it brings.
    """

    def __init__(
        self,
        entry: bytes,
        fields: Mapping[bytes, bytes],
        client: Redis,
        stream: Stream,
        attempt: int,
    ) -> None:
        self._entry = entry
        self._client = client
        self._stream = stream
        self._body, self._headers = stream.opened(fields)
        self._out: tuple[str, bytes] | None = None
        self._is_held = True
        self.event = Event(
            id=entry.decode(),
            data=self._body,
            attempt=attempt,
            in_doubt=in_doubt(self._headers),
            age=age_of(self._headers, _moment(entry)),
        )

    async def extend(self) -> None:
        """Let Redis wait from now on anew: it is claimed by who has it, and not counted."""
        if self._is_held:
            await self._claim(0.0)

    async def publish(self, decision: Decision) -> None:
        """Make ready what is published with the acknowledgement, in one step: neither is alone."""
        stream = self._stream
        if is_result(decision) and stream.results is not None:
            body, headers = result_body(self.event, decision), {"content-type": "application/json"}
            self._out = stream.results, await stream.closed(body, headers)
        elif is_letter(decision):
            ours = dead_headers(self.event, decision, source=stream.name, original=self._headers)
            headers = {**ours, **doubt_headers(in_doubt=leaves_doubt(decision))}
            self._out = stream.dead, await stream.closed(self._body, headers)

    async def ack(self) -> None:
        """Publish what is to be published, acknowledge it and delete it, all or nothing."""
        self._is_held = False
        keys = [self._stream.name]
        args: list[str | bytes] = [self._stream.group, self._entry]
        if self._out is not None:
            keys.append(self._out[0])
            args += [_DATA, self._out[1]]
        await self._client.register_script(_SETTLE)(keys=keys, args=args)

    async def retry(self, delay: float) -> None:
        """
        Have it delivered again after so many seconds, *min_idle* at most.

        It stays what it is, and only looks as if nobody had touched it for a while. Were it added
        anew and acknowledged, it would come at once, or need a place of its own to wait in.
        """
        self._is_held = False  # A word now would take the delay back.
        await self._claim(max(0.0, self._stream.min_idle - delay))

    async def give_back(self) -> None:
        """
        Leave it: it is delivered again once it was not touched for *min_idle*.

        Given back before, it would come again to who gave it back, and be counted each time.
        """

    async def _claim(self, idle: float) -> None:
        stream = self._stream
        # Of an entry that was settled meanwhile, this does nothing.
        await self._client.xclaim(
            stream.name,
            stream.group,
            stream.consumer,
            min_idle_time=0,
            message_ids=[self._entry],
            idle=round(idle * 1000),
            justid=True,
        )


def _moment(entry: bytes) -> float | None:
    """Return when an entry was added, in seconds since 1970; None where its id does not tell."""
    number = int(entry.partition(b"-")[0])
    return number / 1000 if number > _BY_CLOCK else None


def _text(data: bytes) -> str:
    return data.decode(errors="backslashreplace")
