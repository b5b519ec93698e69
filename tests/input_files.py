"""Input files for tests: the same payments as CSV, JSON Lines and Parquet, good and bad."""

from __future__ import annotations

import csv
import io
import json
import pathlib
import subprocess
import sys
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from carevalidate_async._files.rows import FileFormat, RowReader
from carevalidate_async._files.unpack import DamagedError
from carevalidate_async.models import PaymentConfirmation, PaymentStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from carevalidate_async._files.fields import FileRow

HEADER = "case_id,amount,payment_date,valid_until,status"
GOOD = "case-1,49.00,2026-01-05,2026-02-05,PAID"
CELLS = dict(zip(HEADER.split(","), GOOD.split(","), strict=True))
PAYMENT = PaymentConfirmation(
    case_id="case-1",
    amount=Decimal(49),
    payment_date=date(2026, 1, 5),
    valid_until=date(2026, 2, 5),
    status=PaymentStatus.PAID,
)


def reader(text: str | bytes, form: FileFormat | None = None) -> RowReader:
    """Return a reader of a file that holds *text*."""
    data = text.encode() if isinstance(text, str) else text
    return RowReader(io.BytesIO(data), form)


def rows(text: str | bytes, form: FileFormat | None = None) -> list[FileRow]:
    """Return the rows of a file that holds *text*."""
    return list(reader(text, form))


def problems(found: Iterable[FileRow]) -> list[tuple[int, str, str]]:
    """Return the line, the field and the reason of all that is wrong with rows."""
    return [
        (row.line, problem.field, problem.reason)
        for row in found
        for problem in row.problems
        if row.payment is None
    ]


def until_it_breaks(data: bytes) -> tuple[list[FileRow], str]:
    """Return the rows of a file that breaks off, and what is said at that place."""
    found: list[FileRow] = []
    read = reader(data)
    with pytest.raises(DamagedError) as broken:
        found.extend(read)
    assert broken.value.strerror == str(broken.value)
    return found, str(broken.value)


def before_a_break(text: str | bytes) -> tuple[list[FileRow], str]:
    """Return the rows of a file that is read to its end or to where it breaks off, and why."""
    found: list[FileRow] = []
    try:
        found.extend(reader(text))
    except DamagedError as error:
        return found, str(error)
    return found, ""


def memory_of(code: str, path: pathlib.Path) -> tuple[str, int]:
    """
    Run *code*, which reads the file *path*, in an interpreter of its own.

    Returns:
        What it printed, and the mebibytes that it took at most beyond those before it.
    """
    status = pathlib.Path("/proc/self/status")
    if not status.exists():
        pytest.skip("needs a system that tells how much memory was in use")
    # Not getrusage, which counts the process that this one was forked from.
    peak = f"int(open('{status}').read().split('VmHWM:')[1].split()[0])"
    whole = f"""
import sys
import pyarrow.parquet
from carevalidate_async._files.rows import FileError, RowReader
path, before = sys.argv[1], {peak}
{code}
print(({peak} - before) // 1024)
"""
    done = subprocess.run(
        [sys.executable, "-c", whole, path], capture_output=True, text=True, check=True
    )
    *printed, mebibytes = done.stdout.splitlines()
    return "\n".join(printed), int(mebibytes)


def as_csv(objects: Sequence[Mapping[str, str]]) -> bytes:
    """Return rows of texts as a CSV file."""
    names = list(dict.fromkeys(name for row in objects for name in row))
    file = io.StringIO()
    writer = csv.DictWriter(file, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(objects)
    return file.getvalue().encode("utf-8", "surrogateescape")


def as_jsonl(objects: Sequence[Mapping[str, str]]) -> bytes:
    """Return rows of texts as JSON Lines."""
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in objects)
    return "".join(lines).encode("utf-8", "surrogateescape")


def as_parquet(objects: Sequence[Mapping[str, str]]) -> bytes:
    """Return rows of texts as Parquet, each column of them one of texts."""
    names = list(dict.fromkeys(name for row in objects for name in row))
    return parquet({name: [row.get(name) for row in objects] for name in names})


def parquet(columns: Mapping[str, Any], **options: Any) -> bytes:
    """Return columns, by name, as a Parquet file; *options* are pyarrow's."""
    file = io.BytesIO()
    table = pa.Table.from_arrays([pa.array(c) for c in columns.values()], names=list(columns))
    pq.write_table(table, file, **options)
    return file.getvalue()


def payments(count: int, **columns: Any) -> dict[str, Any]:
    """Return the columns of so many payments, each as its own type; None leaves one out."""
    given = {
        "case_id": pa.array([f"case-{n}" for n in range(1, count + 1)], pa.string()),
        "amount": pa.array([Decimal(n) for n in range(1, count + 1)], pa.decimal128(12, 2)),
        "payment_date": pa.array([date(2026, 1, 5)] * count, pa.date32()),
        "valid_until": pa.array([date(2026, 2, 5)] * count, pa.date32()),
        "status": pa.array(["PAID"] * count, pa.string()),
    }
    return {name: column for name, column in (given | columns).items() if column is not None}
