"""What can go wrong on purpose: the faults, and the plan that says which request meets which."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, ClassVar, Literal, Self, TypeAlias

import attrs

from carevalidate_async.sandbox._answers import Reply, Vendor

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random

LONGEST_WAIT = 10**9
"""Seconds that a wait may last: some thirty years, and no number that a clock cannot add."""

Effect: TypeAlias = Literal["pass", "answer", "drop", "truncate", "hang"]

_PAGE = b"<!doctype html><html><title>Bad gateway</title><h1>Bad gateway</h1></html>\n"
_SETTABLE: Mapping[Effect, frozenset[str]] = {
    "pass": frozenset({"seconds"}),
    "answer": frozenset({"seconds", "records", "status", "retry_after", "location", "body"}),
    "drop": frozenset({"seconds", "records"}),
    "truncate": frozenset({"seconds"}),
    "hang": frozenset({"seconds", "records"}),
}


@attrs.frozen(kw_only=True, repr=False)
class Fault:
    """
    Something that goes wrong with one request, or ``Fault.OK``.

    A constant is called to set its parameters: ``Fault.RATE_LIMIT(retry_after=2)``,
    ``Fault.DELAY(seconds=0.2)``, ``Fault.HTML(status=200, records=True)``.

    | fault | what the client sees | is a good request on record? |
    |---|---|---|
    | `OK` | the documented answer | yes |
    | `DELAY` | the documented answer, late | yes, before the wait |
    | `REFUSE` | 503 | no |
    | `RATE_LIMIT` | 429 with `Retry-After` | no |
    | `REDIRECT` | 302 to another path | no |
    | `HTML` | 502 and a page | no |
    | `ERROR_AFTER` | 500 | yes |
    | `TRUNCATE` | the documented head and half of the body, then the end | yes |
    | `DROP_BEFORE` | the connection is reset | no |
    | `DROP_AFTER` | the connection is reset | yes |
    | `HANG` | nothing | no |
    | `HANG_AFTER` | nothing | yes |

    Where a fault records, the request is judged first and what the judge says stays unseen; a bad
    request is never on record.

    Attributes:
        name: Name of the constant that it was made from.

        effect: What is done on the wire.

        records: Whether a good request is put on record before the effect.

        seconds: Wait before the effect, after the recording. For a hang: how long it lasts until
            the connection is reset, None for as long as the sandbox runs.

        status: HTTP status of the answer.

        retry_after: The `Retry-After` header as it is sent, None for none. A number is written as
            such; any text goes.

        location: The `Location` header, a path or a whole URL.

        body: Body of the answer, None for the vendor's own words.

        content_type: Content type of the answer.
    """

    OK: ClassVar[Fault]
    DELAY: ClassVar[Fault]
    REFUSE: ClassVar[Fault]
    RATE_LIMIT: ClassVar[Fault]
    REDIRECT: ClassVar[Fault]
    HTML: ClassVar[Fault]
    ERROR_AFTER: ClassVar[Fault]
    TRUNCATE: ClassVar[Fault]
    DROP_BEFORE: ClassVar[Fault]
    DROP_AFTER: ClassVar[Fault]
    HANG: ClassVar[Fault]
    HANG_AFTER: ClassVar[Fault]
    EVERY: ClassVar[tuple[Fault, ...]]

    name: str
    effect: Effect
    records: bool
    seconds: float | None = None
    status: int | None = None
    retry_after: str | None = None
    location: str | None = None
    body: bytes | None = None
    content_type: str = "application/json"

    def __attrs_post_init__(self) -> None:
        if self.seconds is not None and not 0 <= self.seconds <= LONGEST_WAIT:
            raise ValueError(f"seconds must be from zero to {LONGEST_WAIT}")
        if self.status is not None and not 200 <= self.status <= 599:
            raise ValueError(f"status must be from 200 to 599, not {self.status}")
        for value in (self.retry_after, self.location):
            if value is not None and not (value.isprintable() and value.isascii()):
                raise ValueError("a header's value must be printable ASCII")

    def __repr__(self) -> str:
        shown = (
            f"{field}={value!r}"
            for field in sorted(_SETTABLE[self.effect])
            if (value := getattr(self, field)) != getattr(_CONSTANTS[self.name], field)
        )
        arguments = ", ".join(shown)
        return f"Fault.{self.name}({arguments})" if arguments else f"Fault.{self.name}"

    def __call__(
        self,
        *,
        seconds: float | None = None,
        records: bool | None = None,
        status: int | None = None,
        retry_after: str | float | None = None,
        location: str | None = None,
        body: str | bytes | None = None,
    ) -> Self:
        """
        Return the same fault with other parameters; what is None stays.

        Raises:
            TypeError: The fault has no such parameter.
            ValueError: A value that HTTP does not allow.
        """
        given = {
            "seconds": seconds,
            "records": records,
            "status": status,
            "retry_after": None if retry_after is None else str(retry_after),
            "location": location,
            "body": body.encode() if isinstance(body, str) else body,
        }
        changes = {field: value for field, value in given.items() if value is not None}
        unknown = sorted(changes.keys() - _SETTABLE[self.effect])
        if unknown:
            raise TypeError(f"{self!r} has no parameter {unknown[0]!r}")
        return attrs.evolve(self, **changes)  # type: ignore[arg-type]  # Checked above, by name.

    def reply(self, vendor: Vendor) -> Reply:
        """Return the answer that this fault gives in *vendor*'s words."""
        status = 500 if self.status is None else self.status
        body = vendor.failure(status).body if self.body is None else self.body
        headers = {"Content-Type": self.content_type}
        if self.retry_after is not None:
            headers["Retry-After"] = self.retry_after
        if self.location is not None:
            headers["Location"] = self.location
        return Reply(status, body, headers)


_CONSTANTS: Mapping[str, Fault] = {
    fault.name: fault
    for fault in (
        Fault(name="OK", effect="pass", records=True),
        Fault(name="DELAY", effect="pass", records=True, seconds=0.05),
        Fault(name="REFUSE", effect="answer", records=False, status=503),
        Fault(name="RATE_LIMIT", effect="answer", records=False, status=429, retry_after="1"),
        Fault(name="REDIRECT", effect="answer", records=False, status=302, location="/elsewhere"),
        Fault(
            name="HTML",
            effect="answer",
            records=False,
            status=502,
            body=_PAGE,
            content_type="text/html; charset=utf-8",
        ),
        Fault(name="ERROR_AFTER", effect="answer", records=True, status=500),
        Fault(name="TRUNCATE", effect="truncate", records=True),
        Fault(name="DROP_BEFORE", effect="drop", records=False),
        Fault(name="DROP_AFTER", effect="drop", records=True),
        Fault(name="HANG", effect="hang", records=False),
        Fault(name="HANG_AFTER", effect="hang", records=True),
    )
}
for _fault in _CONSTANTS.values():
    setattr(Fault, _fault.name, _fault)
Fault.EVERY = tuple(fault for fault in _CONSTANTS.values() if fault is not Fault.OK)

BY_CHANCE = tuple(
    fault(retry_after=0) if fault is Fault.RATE_LIMIT else fault for fault in Fault.EVERY
)
"""All that can go wrong by chance; a refusal by chance says nothing of the requests to come."""


class FaultPlan:
    """
    Says which fault the next request meets: the scripted ones first, then by chance.

    Args:
        rates: Probability of each fault.

        rng: Where chance comes from.
    """

    def __init__(self, rates: Mapping[Fault, float], rng: Random) -> None:
        self.rates = rates
        self._rng = rng
        self._scripted: dict[str | None, deque[Fault]] = {}

    @property
    def rates(self) -> Mapping[Fault, float]:
        """Probability of each fault that has one; may be set, from any thread."""
        return dict(self._rates)

    @rates.setter
    def rates(self, rates: Mapping[Fault, float]) -> None:
        for fault in rates:
            if not isinstance(fault, Fault):
                raise TypeError(f"a fault is one of Fault's constants, not {fault!r}")
        if any(not 0 <= rate <= 1 for rate in rates.values()) or sum(rates.values()) > 1 + 1e-9:
            raise ValueError("the faults' rates must be from 0 to 1 and add up to at most 1")
        # One assignment: a request meets the old rates or the new ones.
        self._rates = tuple((fault, float(rate)) for fault, rate in rates.items() if rate)

    def script(self, faults: tuple[Fault, ...], operation: str | None) -> None:
        """Queue *faults* for the next requests of *operation*, None for any."""
        self._scripted.setdefault(operation, deque()).extend(faults)

    def clear(self) -> None:
        """Forget what is scripted."""
        self._scripted.clear()

    @property
    def left(self) -> tuple[Fault, ...]:
        """What is scripted and was not met yet."""
        return tuple(fault for queue in self.waiting.values() for fault in queue)

    @property
    def waiting(self) -> Mapping[str | None, tuple[Fault, ...]]:
        """What is scripted and was not met yet, by operation, None for any."""
        # Copies that no other thread can come between.
        queues = list(self._scripted.items())
        return {name: faults for name, queue in queues if (faults := tuple(queue))}

    def next_for(self, operation: str) -> Fault:
        """Return what the request of *operation* that arrived now meets."""
        if self._scripted:
            for name in (operation, None):
                queue = self._scripted.get(name)
                if queue:
                    return queue.popleft()
        if self._rates:
            mark = self._rng.random()
            for fault, rate in self._rates:
                mark -= rate
                if mark < 0:
                    return fault
        return Fault.OK
