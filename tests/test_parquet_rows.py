"""Rows of Parquet files: the same payments as in CSV, by type, and files that cannot be read."""

from __future__ import annotations

import csv
import io
import json
import os
import pathlib
import subprocess
import sys
import uuid
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from pyarrow.parquet import encryption

from carevalidate_async import cli
from carevalidate_async._files.fields import content_key
from carevalidate_async._files.rejects import Rejects
from carevalidate_async._files.rows import FileError, FileFormat
from cli_support import run_with, running_sandbox
from input_files import (
    CELLS,
    GOOD,
    HEADER,
    PAYMENT,
    memory_of,
    parquet,
    payments,
    problems,
    reader,
    rows,
    until_it_breaks,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carevalidate_async.sandbox import Sandbox

NO_FLOAT = (
    "a binary float is no exact money: write it as decimal(12, 2), as a whole number or as text"
)
NO_MOMENT = "a moment is no calendar day: write it as a date, or as text (YYYY-MM-DD)"
A_UUID = uuid.UUID("8770c116-4729-48bb-af44-c0e39e085a34")


def types_of(field: str) -> list[Any]:
    """Return columns of a good value and of nothing, in every type that a field may have."""
    texts = [CELLS.get(field, "x"), None]
    found = [
        pa.array(texts, pa.string()),
        pa.array(texts, pa.large_string()),
        pa.array(texts, pa.string_view()),
        pa.array(texts).dictionary_encode(),
    ]
    if field == "amount":
        found += [pa.array([Decimal(49), None], pa.decimal128(p, s)) for p, s in ((2, 0), (12, 2))]
        found += [pa.array([Decimal(49), None], pa.decimal128(38, 18))]
        found += [pa.array([Decimal(49), None], pa.decimal256(50, 3))]
        found += [pa.array([49, None], kind) for kind in (pa.int8(), pa.uint16(), pa.int64())]
    if field in {"payment_date", "valid_until"}:
        days = [date.fromisoformat(CELLS[field]), None]
        found += [pa.array(days, pa.date32()), pa.array(days, pa.date64())]
    return found


TYPES = [(field, column) for field in CELLS for column in types_of(field)]


class TestTypes:
    @pytest.mark.parametrize("schema", [True, False], ids=["from Arrow", "from anywhere"])
    @pytest.mark.parametrize(
        ("field", "column"), TYPES, ids=[f"{field}-{column.type}" for field, column in TYPES]
    )
    def test_each_gives_the_payment(self, field: str, column: Any, *, schema: bool) -> None:
        """
        A value means the same in every type that can hold it, and null is as good as nothing.
        """
        columns = {name: [value, value] for name, value in CELLS.items()} | {field: column}
        first, second = rows(parquet(columns, store_schema=schema))

        assert PAYMENT == first.payment
        assert content_key(PAYMENT) == content_key(first.payment)
        assert [(2, field, "is missing")] == problems([second])

    @pytest.mark.parametrize("schema", [True, False], ids=["from Arrow", "from anywhere"])
    def test_a_uuid_is_a_text(self, *, schema: bool) -> None:
        """
        A case is a UUID, and may be written as one.
        """
        ids = pa.array([A_UUID.bytes, None], pa.uuid())
        columns = payments(2, case_id=ids, decision_id=ids)
        first, second = rows(parquet(columns, store_schema=schema))

        assert first.payment is not None
        assert (str(A_UUID), str(A_UUID)) == (first.payment.case_id, first.payment.decision_id)
        assert [(2, "case_id", "is missing")] == problems([second])

    def test_a_column_of_nulls_has_no_type(self) -> None:
        """
        What a program writes for a column that is empty is an empty column.
        """
        (found,) = rows(parquet(payments(1, email=pa.nulls(1), description=pa.nulls(1))))

        assert found.payment is not None
        assert (None, None) == (found.payment.email, found.payment.description)

    @pytest.mark.parametrize(
        ("field", "column", "reason"),
        [
            (
                "amount",
                pa.array([49.0]),
                f"is double; {NO_FLOAT}",
            ),
            (
                "amount",
                pa.array([49.0], pa.float32()),
                f"is float; {NO_FLOAT}",
            ),
            (
                "amount",
                pa.array([True]),
                "is bool; write it as decimal(12, 2), as a whole number or as text",
            ),
            (
                "payment_date",
                pa.array([datetime(2026, 1, 5)], pa.timestamp("us")),  # noqa: DTZ001 - as exports are
                f"is timestamp[us]; {NO_MOMENT}",
            ),
            (
                "valid_until",
                pa.array([0], pa.timestamp("ms", "UTC")),
                f"is timestamp[ms, tz=UTC]; {NO_MOMENT}",
            ),
            (
                "valid_until",
                pa.array([46027]),
                "is int64; write it as a date, or as text (YYYY-MM-DD)",
            ),
            ("case_id", pa.array([1]), "is int64; write it as text"),
            ("case_id", pa.array([b"case-1"]), "is binary; write it as text"),
            ("status", pa.array([True]), "is bool; write it as text"),
            ("email", pa.array([["a@example.com"]]), "is list<element: string>; write it as text"),
            (
                "idempotency_key",
                pa.array([1]).dictionary_encode(),
                "is int64; write it as text",
            ),
            (
                "description",
                pa.array([{"x" * 99: 1}]),
                f"is struct<{'x' * 53}; write it as text",
            ),
        ],
    )
    def test_another_is_refused_at_once(self, field: str, column: Any, reason: str) -> None:
        """
        A type that cannot hold the field's values exactly is refused for the whole file, by the
        name of the column, with what to write.
        """
        with pytest.raises(FileError) as refused:
            reader(parquet(payments(1, **{field: column})))

        assert f'the column "{field}" {reason}' == str(refused.value)

    @pytest.mark.parametrize(
        ("field", "column", "reason"),
        [
            (
                "amount",
                pa.array([Decimal("49.001")], pa.decimal128(12, 3)),
                "has more than two decimal places",
            ),
            ("amount", pa.array([-1]), "must not be negative; a refund is a status"),
            ("amount", pa.array([10**13]), "must be at most 1000000000000"),
            ("payment_date", pa.array([10**9], pa.int32()).cast(pa.date32()), "must be a date as"),
            ("payment_date", pa.array([-719_600], pa.int32()).cast(pa.date32()), ""),
        ],
    )
    def test_a_value_of_a_good_type_can_be_bad(self, field: str, column: Any, reason: str) -> None:
        """
        Such a row is refused alone.
        """
        ((line, name, said),) = problems(rows(parquet(payments(1, **{field: column}))))

        assert (1, field) == (line, name)
        assert said.startswith(reason)

    def test_text_that_is_not_utf8_is_told(self) -> None:
        """
        Only the row that has it is refused.
        """
        starts = pa.array([0, 4, 5], pa.int32()).buffers()[1]
        texts = pa.StringArray.from_buffers(2, starts, pa.py_buffer(b"caf\xe9x"))
        first, second = rows(parquet(payments(2, case_id=texts)))

        assert [(1, "case_id", "is not UTF-8 text; save the file as UTF-8")] == problems([first])
        assert second.payment is not None


class TestColumns:
    def test_both_spellings_in_any_order(self) -> None:
        """
        Columns are named as in CSV, and blanks around a name are none of it.
        """
        columns = {"status": ["PAID"], "caseId ": ["case-1"], "validUntil": ["2026-02-05"]}
        columns |= {" amount": ["49.00"], "payment_date": ["2026-01-05"]}

        assert [PAYMENT] == [row.payment for row in rows(parquet(columns))]

    @pytest.mark.parametrize(
        ("columns", "reason"),
        [
            (payments(1, case_id=None, status=None), "these columns are missing: case_id, status"),
            (
                payments(1, caseId=pa.array(["x"])),
                "these columns are there more than once: case_id",
            ),
            (
                payments(1, Email=pa.array(["x"])),
                'rename the column "Email" to email',
            ),
            (
                payments(1, amount=pa.array([1.5]), status=None),
                f'these columns are missing: status; the column "amount" is double; {NO_FLOAT}',
            ),
        ],
    )
    def test_wrong_ones_are_refused_at_once(self, columns: dict[str, Any], reason: str) -> None:
        """
        All that is wrong with them is said in one message.
        """
        with pytest.raises(FileError) as refused:
            reader(parquet(columns))

        assert reason == str(refused.value)

    def test_two_of_one_name_are_refused(self) -> None:
        """
        A Parquet file may have them; nobody knows which one counts.
        """
        file = io.BytesIO()
        columns = payments(1)
        names = [*columns, "amount"]
        pq.write_table(pa.Table.from_arrays([*columns.values(), columns["amount"]], names), file)
        with pytest.raises(FileError, match="there more than once: amount"):
            reader(file.getvalue())

    def test_others_are_ignored_and_named(self) -> None:
        """
        Our own error columns are ignored without a word.
        """
        found = reader(parquet(payments(1, note=pa.array([1]), error_line=pa.array(["7"]))))

        assert FileFormat.PARQUET is found.format
        assert ["note"] == found.ignored
        assert [()] == [row.problems for row in found]


class TestRowNumbers:
    @pytest.mark.parametrize("group", [1, 50, 64, 1000])
    def test_the_first_is_1(self, group: int) -> None:
        """
        The line of a row is its number in the file, however the rows are grouped.
        """
        found = rows(parquet(payments(200), row_group_size=group))

        assert list(range(1, 201)) == [row.line for row in found]
        assert list(range(1, 201)) == [row.payment.amount for row in found if row.payment]

    def test_progress_follows_them(self) -> None:
        """
        The bytes read are those that so many rows have on average.
        """
        data = parquet(payments(100))
        found = reader(data)
        shares = [found.bytes_read for _ in found]

        assert [len(data) * number // 100 for number in range(1, 101)] == shares
        assert len(parquet(payments(0))) == reader(parquet(payments(0))).bytes_read


OTHERS = {
    "uuid": (pa.array([A_UUID.bytes], pa.uuid()), str(A_UUID)),
    "binary": (pa.array([b"\xff\x00"]), "\udcff\x00"),
    "fixed": (pa.array([b"ab"], pa.binary(2)), "ab"),
    "bool": (pa.array([True]), "true"),
    "float": (pa.array([1.5]), "1.5"),
    "half": (pa.array([1.5], pa.float16()), "1.5"),
    "decimal": (pa.array([Decimal("1.500")]), "1.50"),
    "moment": (pa.array([1], pa.timestamp("ns")), "1970-01-01 00:00:00.000000001"),
    "time": (pa.array([time(1, 2)]), "01:02:00.000000"),
    "span": (pa.array([timedelta(seconds=1)]), "1000000"),
    "list": (pa.array([["a", None]]), '["a", null]'),
    "struct": (pa.array([{"day": date(2026, 1, 5), "raw": b"\xff"}]), None),
    "map": (pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int8())), '[["k", 1]]'),
    "json": (pa.array(['{"a": 1}'], pa.json_()), '{"a": 1}'),
    "nothing": (pa.nulls(1), ""),
    "empty": (pa.array([None], pa.list_(pa.string())), ""),
    "odd": (pa.array([[1]], pa.list_(pa.timestamp("ns"))), "(cannot be shown)"),
    "nowhere": (pa.array([0], pa.timestamp("us", "No/Where")), "(cannot be shown)"),
}
OTHERS["struct"] = (OTHERS["struct"][0], '{"day": "2026-01-05", "raw": "ff"}')


class TestRejects:
    def write(self, path: pathlib.Path, data: bytes) -> bytes:
        read = reader(data)
        rejects = Rejects(str(path), read)
        for row in read:
            rejects.write(row, row.problems)
        rejects.close()
        return path.read_bytes()

    @pytest.mark.parametrize("name", OTHERS)
    def test_columns_of_all_types_stand_there_as_text(
        self, tmp_path: pathlib.Path, name: str
    ) -> None:
        """
        Nothing of a row is lost: what is nested stands there as JSON, bytes as they are.
        """
        column, text = OTHERS[name]
        data = self.write(tmp_path / "r", parquet(payments(1, other=column)))
        file = io.StringIO(data.decode("utf-8", "surrogateescape"), newline="")
        (found,) = csv.DictReader(file)

        assert text == found["other"]
        assert ("1", "case-1", "1.00", "2026-01-05", "PAID") == tuple(
            found[name] for name in ("error_line", "case_id", "amount", "payment_date", "status")
        )

    def test_a_corrected_file_can_be_run(self, tmp_path: pathlib.Path) -> None:
        """
        It is CSV, with the error columns and one for a key.
        """
        amounts = pa.array(["$49"])
        columns = payments(1, amount=amounts, description=pa.array(["one, two\r\nthree"]))
        data = self.write(tmp_path / "r", parquet(columns)).replace(b"$", b"")
        (found,) = rows(data)

        assert data.startswith(b"error_line,error_field,error_reason,idempotency_key,case_id,")
        assert found.payment is not None
        assert "one, two\nthree" == found.payment.description

    @pytest.mark.parametrize("others", [0, 9])
    def test_a_row_that_is_too_long_is_no_row(self, tmp_path: pathlib.Path, others: int) -> None:
        """
        A CSV file with its cells could not be read; cut off, it would be another payment.
        """
        many = {f"x{n}": pa.array(["x" * 120_000] * 2) for n in range(others)}
        long = pa.array(["x" * (10 if others else 131_073), "y"])
        columns = payments(2, description=long, **many)
        if others:
            columns |= {f"x{n}": pa.array(["x" * 120_000, "y"]) for n in range(others)}
        first, second = rows(parquet(columns))
        data = self.write(tmp_path / "r", parquet(columns))

        reason = "is too long; a cell has at most 131072 characters, a row 1048576"
        assert [(1, "", reason)] == problems([first])
        assert second.payment is not None
        assert 10_000 > len(data)
        assert "too few cells" in problems(rows(data))[0][2]


class Keys(encryption.KmsClient):  # type: ignore[misc]  # pyarrow has no types
    """Keeps keys in the open."""

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:
        return key_bytes

    def unwrap_key(self, wrapped_key: bytes, master_key_identifier: str) -> bytes:
        return wrapped_key


def encrypted(*, plain_footer: bool) -> bytes:
    """Return a Parquet file whose column of cases is encrypted."""
    settings = encryption.EncryptionConfiguration(
        footer_key="k", column_keys={"k": ["case_id"]}, plaintext_footer=plain_footer
    )
    made = encryption.CryptoFactory(lambda _: Keys()).file_encryption_properties(
        encryption.KmsConnectionConfig(), settings
    )
    file, table = io.BytesIO(), pa.table(payments(3))
    with pq.ParquetWriter(file, table.schema, encryption_properties=made) as writer:
        writer.write_table(table)
    return file.getvalue()


WHOLE = parquet(payments(300), row_group_size=100, compression="none", write_page_checksum=True)


def changed(at: int, data: bytes) -> bytes:
    """Return the whole file with other bytes at a place."""
    return WHOLE[:at] + data + WHOLE[at + len(data) :]


class TestDamaged:
    @pytest.mark.parametrize("kept", [4, 7, 8, 12, 100, len(WHOLE) // 2, len(WHOLE) - 1])
    def test_one_that_is_cut_short_is_no_file(self, kept: int) -> None:
        """
        Its end says where everything is.
        """
        with pytest.raises(
            FileError, match=r"^it is a Parquet file that is (cut short|damaged); get"
        ):
            reader(WHOLE[:kept])

    @pytest.mark.parametrize("plain", [True, False])
    def test_an_encrypted_one_says_so(self, *, plain: bool) -> None:
        """
        Whether or not its footer can be read.
        """
        with pytest.raises(FileError, match="an encrypted Parquet file; write it without encrypti"):
            reader(encrypted(plain_footer=plain))

    @pytest.mark.parametrize(
        "data",
        [
            changed(len(WHOLE) - 300, b"\xff" * 100),  # in the footer
            changed(len(WHOLE) - 8, b"\xff\xff\xff\x7f"),  # in its length
            changed(20, b"\xff" * 50),  # in the header of a page
        ],
    )
    def test_a_broken_structure_is_no_file(self, data: bytes) -> None:
        """
        Where the file's own description of itself is damaged, no row is read.
        """
        with pytest.raises(FileError, match=r"damaged; get a whole copy|cannot be read"):
            reader(data)

    def test_a_name_that_is_no_text_is_no_file(self) -> None:
        """
        Not even pyarrow reads it.
        """
        columns = payments(1, note=pa.array([1]))
        data = parquet(columns, store_schema=False, write_statistics=False)
        with pytest.raises(FileError, match="it is a Parquet file that cannot be read: 'utf-8'"):
            reader(data.replace(b"note", b"no\xe9e"))

    def test_an_altered_value_is_no_value(self) -> None:
        """
        Where pages have checksums, an amount that was changed on the way is not believed.
        """
        found, said = until_it_breaks(changed(WHOLE.index(b"case-250"), b"case-999"))

        assert list(range(1, 201)) == [row.line for row in found]
        assert said.startswith("the input is damaged: its Parquet data cannot be read: ")
        assert said.endswith("; nothing after row 200 was read")

    def test_an_altered_value_at_the_beginning_is_no_file(self) -> None:
        """
        The first rows are read before a run begins.
        """
        with pytest.raises(FileError, match=r"^its Parquet data cannot be read: [^;]*$"):
            reader(changed(WHOLE.index(b"case-50"), b"case-99"))

    def test_rows_that_are_missing_are_told(self) -> None:
        """
        A file that says it has more rows than it gives is not taken for whole.
        """
        # 300 and 301 rows, as the footer's first number of rows writes them.
        says, wrong = b"\x16\xd8\x04", b"\x16\xda\x04"
        footer = WHOLE.index(b"schema")
        data = WHOLE[:footer] + WHOLE[footer:].replace(says, wrong, 1)
        found, said = until_it_breaks(data)

        assert 300 == len(found)
        assert (
            "the input is damaged: its Parquet data says that there are 301 rows; "
            "nothing after row 300 was read"
        ) == said


class TestExtra:
    def test_without_it_a_file_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        It is large, and not needed for CSV.
        """
        monkeypatch.delitem(sys.modules, "carevalidate_async._files.parquet_rows", raising=False)
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        with pytest.raises(FileError) as refused:
            reader(WHOLE)

        hint = "pip install 'carevalidate-async[parquet]'"
        assert f"it is a Parquet file, which takes an extra: {hint}" == str(refused.value)

    def test_another_missing_module_is_not_mistaken_for_it(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Only pyarrow's absence leads to the hint.
        """
        monkeypatch.setitem(sys.modules, "carevalidate_async._files.parquet_rows", None)
        with pytest.raises(ModuleNotFoundError, match="parquet_rows"):
            reader(WHOLE)

    def test_it_is_loaded_when_it_is_needed(self, tmp_path: pathlib.Path) -> None:
        """
        Other files are read without it.
        """
        (tmp_path / "p").write_text(f"{HEADER}\n{GOOD}\n", encoding="utf-8")
        code = (
            "import sys\nfrom carevalidate_async._files.rows import RowReader\n"
            "with open(sys.argv[1], 'rb') as file: print(len(list(RowReader(file))))\n"
            "print('pyarrow' in sys.modules)\n"
        )
        result = subprocess.run(
            [sys.executable, "-c", code, tmp_path / "p"], capture_output=True, text=True, check=True
        )

        assert "1\nFalse\n" == result.stdout

    def test_the_format_cannot_be_another(self) -> None:
        """
        What a file is said to be is not read as something else.
        """
        with pytest.raises(FileError, match=r"^it is a Parquet file, not csv$"):
            reader(WHOLE, FileFormat.CSV)


LEAVING = """
import atexit, os, sys, threading
from carevalidate_async._files.rows import RowReader

class Slow:
    '''Reads on when Python is about to end.'''

    def __init__(self, file):
        self.file = file

    def __getattr__(self, name):
        return getattr(self.file, name)

    def read(self, *args):
        if slow.is_set():
            reading.set()
            ending.wait()
        return self.file.read(*args)

slow, reading, ending = threading.Event(), threading.Event(), threading.Event()

def work():
    rows = iter(reader)
    for row in rows:
        if row.line == 64:
            slow.set()
        if row.line == 65:
            os.write(1, b"was read")
            threading.Event().wait()

reader = RowReader(Slow(open(sys.argv[1], "rb")))
atexit.register(ending.set)
threading.Thread(target=work, daemon=True).start()
reading.wait()
"""


class TestResources:
    def test_memory_does_not_grow_with_a_row_group(self, tmp_path: pathlib.Path) -> None:
        """
        Of a file that is one row group, only a page of each column is held.
        """
        path = tmp_path / "p"
        peaks = []
        for count in (2000, 20_000):
            texts = pa.array([os.urandom(1000).hex() for _ in range(count)])
            path.write_bytes(
                parquet(payments(count, note=texts), row_group_size=count, compression="none")
            )
            given, peak = memory_of("print(sum(1 for _ in RowReader(open(path, 'rb'))))", path)
            peaks.append(peak)
            assert str(count) == given

        assert 32 * 2**20 < path.stat().st_size
        assert 12 > peaks[1] - peaks[0]

    def test_a_thread_that_reads_does_not_end_the_program(self, tmp_path: pathlib.Path) -> None:
        """
        Python waits for a thread that is inside pyarrow, and lets none in any more.
        """
        path = tmp_path / "p"
        path.write_bytes(parquet(payments(65), row_group_size=64))
        result = subprocess.run(
            [sys.executable, "-c", LEAVING, path],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

        assert (0, "") == (result.returncode, result.stderr)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> Iterator[Sandbox]:
    """A sandbox, and a folder where nothing is yet."""
    monkeypatch.setenv("CAREVALIDATE_API_KEY", "test")
    monkeypatch.chdir(tmp_path)
    with running_sandbox(api_key="test") as sandbox:
        yield sandbox


def confirm(*arguments: str) -> tuple[int, dict[str, Any], str]:
    """Run the command; return its status, its document and its standard error."""
    result = CliRunner().invoke(cli.cli, ["confirm", *arguments, "--json"])
    lines = result.stdout.splitlines()
    return result.exit_code, json.loads(lines[-1]) if lines else {}, result.stderr


class TestCommand:
    def test_bad_rows_come_back_as_csv(self, served: Sandbox) -> None:
        """
        Good rows go on record, bad ones into a file that can be corrected and run.
        """
        amounts = [Decimal(n) if n % 10 else Decimal(-n) for n in range(1, 101)]
        columns = payments(100, amount=pa.array(amounts, pa.decimal128(12, 2)))
        pathlib.Path("p").write_bytes(parquet(columns, row_group_size=30))
        first = confirm("p", "--base-url", served.url, "--rejects", "r.csv")
        text = pathlib.Path("r.csv").read_text(encoding="utf-8")
        pathlib.Path("r2.csv").write_text(text.replace(",-", ","), encoding="utf-8")
        again = confirm("r2.csv", "--base-url", served.url)

        assert (1, 90, 10) == (first[0], first[1]["confirmed"], first[1]["invalid"])
        assert "line 10: invalid: amount: must not be negative" in first[2]
        assert [str(10 * n) for n in range(1, 11)] == [
            row["error_line"] for row in csv.DictReader(io.StringIO(text))
        ]
        assert (0, 10) == (again[0], again[1]["confirmed"])
        assert 100 == len({payment.case_id for payment in served.payments})

    def test_rows_before_the_damage_count(self, served: Sandbox) -> None:
        """
        What was read is sent and settled, the command says where the file breaks off and ends with
        status 1, and a whole copy resumes.
        """
        pathlib.Path("p").write_bytes(changed(WHOLE.index(b"case-250"), b"case-999"))
        status, found, said = confirm("p", "--base-url", served.url)
        pathlib.Path("p").write_bytes(WHOLE)
        again = confirm("p", "--base-url", served.url)

        assert (1, 200, 200) == (status, found["rows"], found["confirmed"])
        assert (
            "Error: the run cannot go on: the input is damaged: its Parquet data cannot be" in said
        )
        assert "; nothing after row 200 was read\n" in said
        assert (0, 300) == (again[0], again[1]["confirmed"])
        assert 300 == len(served.payments)

    def test_the_same_payments_as_csv_are_on_record(self, served: Sandbox) -> None:
        """
        A payment has the same key in every kind of file.
        """
        pathlib.Path("p").write_bytes(parquet(payments(3)))
        lines = (f"case-{n},{n}.00,2026-01-05,2026-02-05,PAID\n" for n in (1, 2, 3))
        pathlib.Path("c").write_text(f"{HEADER}\n{''.join(lines)}", encoding="utf-8")
        confirm("p", "--base-url", served.url)
        again = confirm("c", "--base-url", served.url)

        assert (0, 3) == (again[0], again[1]["already_recorded"])

    @pytest.mark.parametrize(
        ("redirection", "status", "said"),
        [
            ("<p", 0, ""),
            (
                "<fifo",
                2,
                "Error: standard input: a Parquet file cannot be read from a pipe; give its name\n",
            ),
        ],
    )
    def test_standard_input_has_to_be_a_file(
        self, served: Sandbox, redirection: str, status: int, said: str
    ) -> None:
        """
        A pipe has no end that could be read first.
        """
        pathlib.Path("p").write_bytes(parquet(payments(3)))
        os.mkfifo("fifo")
        writing = subprocess.Popen(["sh", "-c", "cat p > fifo"]) if status else None
        result = run_with(redirection, "confirm", "-", "--base-url", served.url)
        if writing is not None:
            writing.wait(10)

        assert status == result.returncode
        assert said in result.stderr
        assert 3 * (not status) == len(served.payments)
