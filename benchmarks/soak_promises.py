"""
What a soak checks: pure functions over what the calls said, what the sandbox holds, and figures.

Each returns its findings as sentences, none where all is well.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Self

import attrs

RECORDED, UNKNOWN, NOT_SENT = "recorded", "unknown", "not_sent"
KEYED = frozenset({"confirm_payment", "create_case_payment"})
ONCE_ONLY = "create_payment_intent"

FIRST, WARM, LAST = "first", "after the warm-up", "last"
OPEN = ", clients open"

OBJECTS = 200
"""
Objects that may be there more at the end than after the warm-up; a clean run has up to fifty.

Some are made when something happens for the first time, which a short run may see late.
"""

OBJECTS_OPEN = 1000
"""
The same while clients are open.

Their connections have timers to come, behind which the event loop keeps up to a hundred that calls
have cancelled, each with the context of its call.
"""

OBJECTS_PER_CONNECTION = 60
"""Objects that may come with each idle connection of an open client; about 35 do."""

MEMORY = 12 * 2**20
"""Bytes that the process may be larger; the allocator's freedom, which a short run has more of."""


@attrs.frozen(kw_only=True)
class Said:
    """
    What one call said of itself.

    Attributes:
        thing: Number of what was to be recorded; several calls may ask for the same.

        operation: Name of the operation.

        how: How it ended: ``returned``, ``cancelled``, or the name of an error's class.

        strange: What is wrong with that end in itself; None where nothing is.

        outcome: What the caller knows about the money by the receipt, by the error or, where the
            call was cancelled, by the hooks; None where it was cancelled before it began.

        hooked: The same as the hooks tell it; None where they were not called.

        key: Its idempotency key.

        told: Attempts on the receipt or the error; None where it was cancelled.

        watched: Attempts that the hooks saw.

        on_wire: Those of them that may have arrived.

        answered: Those of them that got an answer.

        started: How often the hooks saw it start.

        ended: How often the hooks saw it end.

        id: The vendor's id of the record, where the answer gives one.

        amount: The amount that was asked for, where there is one.
    """

    thing: int
    operation: str
    how: str
    strange: str | None = None
    outcome: str | None
    hooked: str | None
    key: str | None = None
    told: int | None
    watched: int
    on_wire: int
    answered: int
    started: int
    ended: int
    id: str | None = None
    amount: str | None = None

    def line(self) -> str:
        """Return it as a line of JSON."""
        return json.dumps(attrs.asdict(self))

    @classmethod
    def read(cls, line: str) -> Self:
        """Return what `line` wrote."""
        return cls(**json.loads(line))


@attrs.frozen(kw_only=True)
class Record:
    """
    What the sandbox has on record.

    Attributes:
        operation: Name of the operation.

        thing: Number of what was recorded.

        key: The idempotency key that it came with.

        id: The sandbox's id of it.

        amount: US dollars, where there is an amount.
    """

    operation: str
    thing: int
    key: str | None
    id: str
    amount: str | None


@attrs.frozen(kw_only=True)
class Held:
    """
    What the sandbox holds at the end.

    Attributes:
        received: Requests that arrived.

        without_body: Those of them of which the body never came.

        arrived: The others, by the thing they are about.

        faults: How often each fault was met.

        records: What is on record.
    """

    received: int
    without_body: int
    arrived: Mapping[int, int]
    faults: Mapping[str, int]
    records: tuple[Record, ...]

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Return what the sandbox's process printed."""
        return cls(
            **{
                **document,
                "arrived": dict(document["arrived"]),
                "records": tuple(Record(**record) for record in document["records"]),
            }
        )


@attrs.frozen(kw_only=True)
class Figures:
    """
    What the process has at a moment at which no call is under way.

    Attributes:
        objects: Objects that the garbage collector knows.

        kinds: How many of them there are of each type.

        memory: Bytes in main memory; None where the system does not say.

        descriptors: Open file descriptors; None where the system does not say.

        tasks: Tasks of the event loop.
    """

    objects: int
    kinds: Counter[str] = attrs.field(repr=False)
    memory: int | None
    descriptors: int | None
    tasks: int


def broken(said: Iterable[Said], held: Held) -> Iterator[str]:
    """Compare what the calls said with what the sandbox holds."""
    calls: defaultdict[int, list[Said]] = defaultdict(list)
    on_wire = 0
    for one in said:
        calls[one.thing].append(one)
        on_wire += one.on_wire
        yield from _wrong_by_itself(one)
    if held.received > on_wire:
        yield f"{held.received} requests arrived, and the calls counted {on_wire}"
    keys = Counter(record.key for record in held.records if record.key is not None)
    for key, count in keys.items():
        if count > 1:
            yield f"key {key} is on record {count} times"
    records: defaultdict[int, list[Record]] = defaultdict(list)
    for record in held.records:
        records[record.thing].append(record)
    for thing in sorted(held.arrived.keys() | records.keys() | calls.keys()):
        if thing in calls:
            findings = _wrong(calls[thing], records[thing], held.arrived.get(thing, 0))
        else:
            findings = iter(("nobody asked for it",))
        for finding in findings:
            yield f"thing {thing}: {finding}"


def _wrong_by_itself(one: Said) -> Iterator[str]:
    name = f"thing {one.thing}: {one.operation}, {one.how}"
    if one.strange is not None:
        yield f"{name}: {one.strange}"
    if one.started != one.ended or one.started > 1:
        yield f"{name}: the hooks saw {one.started} starts and {one.ended} ends"
    if one.started and one.hooked != one.outcome:
        yield f"{name}: said {one.outcome} to the caller and {one.hooked} to the hooks"
    if one.told is not None and one.told != one.watched:
        yield f"{name}: told of {one.told} attempts, and the hooks saw {one.watched}"
    if one.operation == ONCE_ONLY and one.on_wire > 1:
        yield f"{name}: {one.on_wire} attempts may have arrived, of what must not arrive twice"


def _wrong(calls: list[Said], records: list[Record], arrived: int) -> Iterator[str]:
    """Compare the calls for one thing, one after the other or side by side, with its records."""
    operation = calls[0].operation
    outcomes = {one.outcome for one in calls}
    said = ", ".join(f"{one.how} ({one.outcome})" for one in calls)
    if operation in KEYED | {ONCE_ONLY} and len(records) > 1:
        yield f"{operation} is on record {len(records)} times; its calls said {said}"
    if RECORDED in outcomes and not records:
        yield f"{operation} is not on record; its calls said {said}"
    if not outcomes & {RECORDED, UNKNOWN} and records:
        yield f"{operation} is on record; its calls said {said}"
    on_wire = sum(one.on_wire for one in calls)
    answered = sum(one.answered for one in calls)
    if not answered <= arrived <= on_wire:
        yield (
            f"{arrived} requests arrived; its calls counted {on_wire} that may have, {answered} of "
            f"them with an answer"
        )
    for record in records:
        asked = calls[0].amount
        if record.operation != operation:
            yield f"{record.operation} is on record, and {operation} was asked for"
        if (None if asked is None else Decimal(asked)) != (
            None if record.amount is None else Decimal(record.amount)
        ):
            yield f"{record.amount} dollars are on record, and {asked} were asked for"
    ids = {record.id for record in records}
    for one in calls:
        if one.id is not None and one.id not in ids:
            yield f"a call returned the id {one.id}, which is not on record"


def leaks(marks: Mapping[str, Figures]) -> Iterator[str]:
    """
    Compare what the process had at these moments, at which no call is under way.

    Args:
        marks: ``first`` (before the first client was made), ``after the warm-up`` and ``last``,
            where every client is closed, and before these two ``…, clients open``.
    """
    first = marks[FIRST]
    for when, figures in marks.items():
        if figures.tasks > first.tasks:
            yield f"{figures.tasks - first.tasks} tasks are left: {when}"
    for when in (WARM, LAST):
        opened, before = marks[when].descriptors, first.descriptors
        if opened is not None and before is not None and opened > before:
            yield f"{opened - before} descriptors are left: {when}"
    for suffix, room in (("", OBJECTS), (OPEN, OBJECTS_OPEN)):
        warm, last = marks[WARM + suffix], marks[LAST + suffix]
        connections = max(0, (last.descriptors or 0) - (warm.descriptors or 0))
        more = last.objects - warm.objects
        if more > room + connections * OBJECTS_PER_CONNECTION:
            kinds = ", ".join(f"{n} {kind}" for kind, n in (last.kinds - warm.kinds).most_common(5))
            yield f"{more} objects more than after the warm-up, among them {kinds}: {LAST}{suffix}"
    grown, warm_size = marks[LAST].memory, marks[WARM].memory
    if grown is not None and warm_size is not None and grown - warm_size > MEMORY:
        yield f"{(grown - warm_size) / 2**20:.1f} MiB more than after the warm-up: {LAST}"


def settled_later(said: Iterable[Said]) -> int:
    """Return how many things were in doubt after a call, and on record after a later one."""
    doubtful: set[int] = set()
    settled: set[int] = set()
    for one in said:
        if one.outcome == UNKNOWN:
            doubtful.add(one.thing)
        elif one.outcome == RECORDED and one.thing in doubtful:
            settled.add(one.thing)
    return len(settled)
