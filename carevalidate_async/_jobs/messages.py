"""
What is put into the broker about a job, and where.

========================================  ===================================================
``carevalidate.work.JOB.LINE``            a row that is to be confirmed
``carevalidate.out.JOB.result.LINE``      what became of it
``carevalidate.out.JOB.tries.LINE.M.N``   what the Nth delivery of its Mth message met, where there
                                          is to be another
``carevalidate.out.JOB.refused.LINE``     a row that was refused before it was queued
========================================  ===================================================

JOB is the job's name and when it was begun. A row's result is written once, and only ever replaced
by one that knows more. Rows hold what their file held: who may read the broker's streams may read
the file.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import msgspec

from carevalidate_async._files.fields import FileRow, JsonObject, Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carevalidate_async.errors import Attempt

WORK = "CAREVALIDATE_WORK"
"""The stream of rows to be confirmed."""

OUT = "CAREVALIDATE_OUT"
"""The stream of what became of them."""

JOBS = "CAREVALIDATE_JOBS"
"""The bucket that has a record of each job."""

WORK_SUBJECTS = "carevalidate.work.*.*"
OUT_SUBJECTS = "carevalidate.out.>"

REPLAYED = "Carevalidate-Replayed"
"""A header of a row that is queued once more: its next result replaces the one that it has."""

RECORDED = frozenset({"confirmed", "already_recorded"})
"""States of rows that are on record."""

LONGEST_NAME = 64
_NAME = re.compile(rf"[A-Za-z0-9_-]{{1,{LONGEST_NAME}}}")


def is_job_name(text: str) -> bool:
    """Tell whether a job may be called so."""
    return _NAME.fullmatch(text) is not None


def job_name(file: str) -> str:
    """Return what a job is called for a file of that name, unless its user says otherwise."""
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", file).strip("-")
    return stem[:LONGEST_NAME] or "job"


def work_subject(job: str, line: int | str) -> str:
    """Return where a row waits."""
    return f"carevalidate.work.{job}.{line}"


def out_subject(job: str, kind: str, *rest: int) -> str:
    """Return where something about a row is put."""
    return ".".join(("carevalidate.out", job, kind, *map(str, rest)))


def parts_of(subject: str) -> tuple[str, str]:
    """Return the job that a message of `OUT` is about, and its kind."""
    _, _, job, kind, *_ = subject.split(".")
    return job, kind


def job_of(subject: str) -> str:
    """Return the job that a message of `WORK` is of."""
    return subject.split(".")[2]


class Job(msgspec.Struct, kw_only=True, omit_defaults=True):
    """
    How far a job is queued.

    Attributes:
        file: Name of its file.

        began: When it was begun; seconds since 1970.

        duplicates: What was to be done with equal rows.

        form: How the file's rows are written.

        header: Its columns; empty where each row names its own.

        rows: Rows of it that have their place: queued, or refused.

        line: Where the last of them stands.

        digest: Of all of them, so that another file under the job's name is told from it.

        queued: How many of them were queued.

        invalid: How many were refused as no payment.

        repeated: How many were refused, or left out, as duplicates.

        whole: Whether the file was read to its end.

        planned: Rows of it that may be in the broker already: those, and those of the batch that
            was under way.

        planned_digest: Of all of them.
    """

    file: str
    began: float
    duplicates: str
    form: str
    header: list[str] = []
    rows: int = 0
    line: int = 0
    digest: str = ""
    queued: int = 0
    invalid: int = 0
    repeated: int = 0
    whole: bool = False
    planned: int = 0
    planned_digest: str = ""

    def token(self, name: str) -> str:
        """
        Return what its subjects have for JOB, *name* being its own.

        Of two jobs of one name, one of them forgotten, nothing gets to the other.
        """
        return f"{name}-{self.began * 1000:.0f}"


class Work(msgspec.Struct, kw_only=True, omit_defaults=True):
    """
    A row that is to be confirmed.

    Attributes:
        line: Where it stands.

        payment: The payment's fields, its idempotency key among them: a JSON object.

        original: The row as it was read; see `packed`.

        reject_key: What a rejects file has for its key, where that is not its own.
    """

    line: int
    payment: msgspec.Raw
    original: str
    reject_key: str | None = None


class Try(msgspec.Struct, array_like=True):
    """
    A request.

    Attributes:
        duration: Seconds.

        outcome: What it alone told about the money.

        status: HTTP status of the answer; None where there was none.
    """

    duration: float
    outcome: str
    status: int | None = None


class Result(msgspec.Struct, kw_only=True, omit_defaults=True):
    """
    What became of a row.

    Attributes:
        line: Where it stands.

        state: What it is counted as: ``confirmed``, ``already_recorded``, ``rejected`` or
            ``unknown``.

        key: Its idempotency key.

        tries: The requests of its last delivery.

        reason: Why it is not on record, in words of ours.

        error: Name of the error's class.

        status: HTTP status of the vendor's answer.

        code: The vendor's code.

        said: What a rejects file says about it: the vendor's own words, which may be personal.

        began: When it may have been asked for first; seconds since 1970.

        work: Its own message, unless it is on record: it may be replayed.
    """

    line: int
    state: str
    key: str
    tries: list[Try] = []
    reason: str | None = None
    error: str | None = None
    status: int | None = None
    code: str | None = None
    said: str | None = None
    began: float | None = None
    work: Work | None = None


class Tries(msgspec.Struct, kw_only=True, omit_defaults=True):
    """
    What a delivery met, where there is to be another.

    Attributes:
        line: Where the row stands.

        outcome: What is known of the payment.

        tries: The requests.
    """

    line: int
    outcome: str
    tries: list[Try] = []


class Refused(msgspec.Struct, kw_only=True, omit_defaults=True):
    """
    A row that was refused before it was queued.

    Attributes:
        line: Where it stands.

        counted: What it is counted as: ``invalid`` or ``duplicates``.

        problems: Fields and reasons.

        original: The row as it was read.

        reject_key: What a rejects file has for its key; None for what the row has.
    """

    line: int
    counted: str
    problems: list[tuple[str, str]]
    original: str
    reject_key: str | None = None


def tries_of(attempts: Sequence[Attempt]) -> list[Try]:
    """Return requests as they are put into a message."""
    return [
        Try(
            duration=round(attempt.duration, 6), outcome=str(attempt.outcome), status=attempt.status
        )
        for attempt in attempts
    ]


def packed(row: FileRow) -> str:
    """Return a row as it was read, in ASCII: it may hold bytes that are no text."""
    original = row.original
    if isinstance(original, JsonObject):
        return json.dumps({"object": original})
    return json.dumps(original if isinstance(original, str) else [*original])


def unpacked(line: int, original: str) -> FileRow:
    """Return what `packed` was given, for a rejects file."""
    found = json.loads(original)
    if isinstance(found, dict):
        found = JsonObject(found["object"])
    return FileRow(line=line, original=found)


def problems_of(refused: Refused) -> list[Problem]:
    """Return why a row was refused."""
    return [Problem(field, reason) for field, reason in refused.problems]
