"""The requests that arrived, each with what became of it, as many as are kept."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Mapping
from typing import Literal, TypeAlias

import attrs

from carevalidate_async.sandbox._answers import Reply
from carevalidate_async.sandbox._faults import Fault

Ending: TypeAlias = Literal["answered", "cut", "reset", "gone"]
Verdict: TypeAlias = Literal["recorded", "replayed", "refused"]


@attrs.define(kw_only=True, eq=False)
class ReceivedRequest:
    """
    A request that arrived.

    Attributes:
        number: 1 for the first that arrived.

        operation: Name of the operation, None where the request line means none.

        method: HTTP method.

        path: The request's target as it came.

        headers: Its headers; names in any case.

        body: The bytes of the body; empty until they are all there.

        fault: What went wrong on purpose, ``Fault.OK`` for nothing.

        status: HTTP status of the answer; None where there was none, or none yet.

        arrived: When its head was there, in seconds of POSIX time.

        seconds: From then to its ending, None until there is one.

        verdict: What it was judged: ``recorded``; ``replayed``, its idempotency key being on record
            already; ``refused``. None where it was not judged, as under a fault that comes before.

        reply: The answer, None where there was none, or none yet.

        ending: How it ended: ``answered``; ``cut``, the head and half of the body; ``reset``, the
            connection; ``gone``, the client hung up first. None until it has ended.
    """

    number: int
    operation: str | None
    method: str
    path: str
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(default=b"", repr=False)
    fault: Fault = attrs.field(factory=lambda: Fault.OK)
    status: int | None = None
    arrived: float = attrs.field(default=0.0, repr=False)
    seconds: float | None = attrs.field(default=None, repr=False)
    verdict: Verdict | None = attrs.field(default=None, repr=False)
    reply: Reply | None = attrs.field(default=None, repr=False)
    ending: Ending | None = attrs.field(default=None, repr=False)

    @property
    def size(self) -> int:
        """About how many bytes of memory it takes."""
        texts = sum(map(len, self.headers.keys())) + sum(map(len, self.headers.values()))
        answer = 0 if self.reply is None else len(self.reply.body)
        return 1000 + texts + len(self.path) + len(self.body) + answer


class Exchanges:
    """
    The latest requests, in order, and how many there were in all.

    Args:
        most: How many to keep, None for all.

        most_bytes: Memory that those which have ended may take, None for any amount.

    Attributes:
        received: How many arrived, kept or not, since the last `clear`.

        era: How often they were forgotten.
    """

    def __init__(self, most: int | None, most_bytes: int | None) -> None:
        self._kept: deque[ReceivedRequest] = deque()
        self._most = most
        self._most_bytes = most_bytes
        self._bytes = 0
        self.received = 0
        self.era = 0

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, seen: ReceivedRequest) -> None:
        """Keep a request, whose number is one more than the last one's."""
        self.received += 1
        self._kept.append(seen)
        if self._most is not None and len(self._kept) > self._most:
            self._forget()

    def weigh(self, seen: ReceivedRequest) -> None:
        """Count what a request takes that has just ended, and make room where that is too much."""
        if self._most_bytes is None or self.get(seen.number) is not seen:
            return
        self._bytes += seen.size
        while self._bytes > self._most_bytes and len(self._kept) > 1:
            self._forget()

    def _forget(self) -> None:
        oldest = self._kept.popleft()
        if self._most_bytes is not None and oldest.seconds is not None:
            self._bytes -= oldest.size

    def kept(self) -> list[ReceivedRequest]:
        """Return those that are kept, in order."""
        return list(self._kept)

    def some(self, first: int, most: int) -> list[ReceivedRequest]:
        """Return at most *most* of those that are kept, in order, from number *first* on."""
        # From the end, which watchers are near to.
        back = min(self.received - first + 1, len(self._kept))
        found = itertools.islice(reversed(self._kept), max(0, back - most), max(0, back))
        return list(found)[::-1]

    def get(self, number: int) -> ReceivedRequest | None:
        """Return the request of that number, None where it is not kept."""
        if not self._kept or not self._kept[0].number <= number <= self.received:
            return None
        return self._kept[number - self._kept[0].number]

    def clear(self) -> None:
        """Forget all of them, and count from 1 again."""
        self._kept.clear()
        self._bytes = 0
        self.received = 0
        self.era += 1
