"""What a Parquet file says of its own pages, and files that would take all memory."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from carevalidate_async._files import parquet_pages, parquet_rows
from carevalidate_async._files.kinds import FileError
from carevalidate_async._files.parquet_pages import largest_pages
from carevalidate_async._files.thrift import Compact, Struct
from input_files import memory_of, parquet, payments, rows

if TYPE_CHECKING:
    import pathlib

PLAIN: dict[str, Any] = {"compression": "zstd", "use_dictionary": False}


def columns(**texts: list[str]) -> pa.Table:
    """Return columns of texts without nulls, whose pages hold nothing but the texts."""
    fields = [pa.field(name, pa.string(), nullable=False) for name in texts]
    return pa.table(list(texts.values()), schema=pa.schema(fields))


def largest(table: pa.Table, **options: Any) -> int:
    file = io.BytesIO()
    pq.write_table(table, file, **(PLAIN | options))
    return largest_pages(file)


END = b"\0"


def field(delta: int, kind: int, data: bytes = b"") -> bytes:
    """Return a field whose number is so much higher than that of the one before it."""
    return bytes([delta << 4 | kind]) + data


class TestLargestPages:
    @pytest.mark.parametrize("version", ["1.0", "2.0"])
    def test_pages_of_all_columns_add_up(self, version: str) -> None:
        """
        A text takes its bytes and four more; pages of different columns are in memory together.
        """
        table = columns(a=["x" * 96] * 100, b=["x" * 6] * 100)

        assert 100 * (100 + 10) == largest(table, data_page_version=version)

    def test_pages_of_one_column_follow_each_other(self) -> None:
        """
        Of a column's pages, the largest one counts.
        """
        texts = ["x" * 96] * 60 + ["x" * 996] * 40
        table = columns(a=texts)

        assert 10 * 1000 == largest(table, data_page_size=1, write_batch_size=10)

    def test_row_groups_follow_each_other(self) -> None:
        """
        The worst one counts.
        """
        table = columns(a=["x" * 6] * 50 + ["x" * 96] * 10 + ["x" * 6] * 20)

        assert 10 * 100 + 10 * 10 == largest(table, row_group_size=20, write_batch_size=50)

    def test_a_dictionary_is_a_page(self) -> None:
        """
        Values that repeat stand there once.
        """
        table = columns(a=["x" * 996, "y" * 996] * 500)

        assert 2 * 1000 == largest(table, use_dictionary=True)

    def test_a_header_may_be_long(self) -> None:
        """
        It has the smallest and the largest text of its page.
        """
        table = columns(a=["x" * 3996, "y" * 3996])

        assert 2 * 4000 == largest(table, write_statistics=True)

    def test_a_header_without_end_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        It is looked for no further than pyarrow does.
        """
        monkeypatch.setattr(parquet_pages, "_LONGEST_HEADER", 1000)
        with pytest.raises(FileError, match="it is a Parquet file that is damaged; get a whole"):
            largest(columns(a=["x" * 3996, "y" * 3996]), write_statistics=True)

    def test_what_follows_the_last_value_is_no_page(self) -> None:
        """
        Some programs fill up a column's bytes; its number of values says when it is over.
        """
        counts = field(1, 5, b"\x06") + END  # 3 values
        header = field(1, 5, b"\x00") + field(1, 5, b"\x08") + field(1, 5, b"\x02")
        page = header + field(2, 12, counts) + END + b"x"
        file = io.BytesIO(page * 2 + b"\xff" * 9)
        chunk = Struct(i64={5: 6, 7: len(file.getvalue()), 9: 0})

        assert [(4, 3), (4, 3)] == list(parquet_pages._pages(file, parquet_pages._chunk(chunk)))

    def test_without_rows_there_are_none(self) -> None:
        """
        An empty file takes no memory.
        """
        assert 0 == largest(columns(a=[]))

    def test_nested_columns_are_found(self) -> None:
        """
        Lists are told from structs and from what follows them, and only they have many values in a
        row.
        """
        nested = pa.array([{"a": [{"b": 1, "c": [1]}], "d": 1}] * 3)
        table = pa.table({"x": nested, "y": pa.array([1] * 3), "z": pa.array([[1]] * 3)})
        file = io.BytesIO()
        pq.write_table(table, file)
        footer = parquet_pages._footer(file)

        assert [True, True, False, False, True] == parquet_pages._repeated(footer.lists[2])


@pytest.mark.deep
class TestBounds:
    def test_pages_beyond_them_are_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        The reason says how large they are and what to change.
        """
        monkeypatch.setattr(parquet_pages, "MAX_PAGES", 2**20)
        with pytest.raises(FileError) as refused:
            largest(columns(a=["x" * 2**20] * 3))

        assert (
            "its pages take 3 MiB at once, and at most 1 are read; write it with smaller pages, or "
            "with fewer rows in a row group"
        ) == str(refused.value)

    @pytest.mark.parametrize(("items", "fine"), [(1000, True), (1001, False)])
    def test_so_are_lists(self, items: int, *, fine: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        One row may have all items of its row group.
        """
        monkeypatch.setattr(parquet_pages, "MAX_ITEMS", 1000)
        data = parquet(payments(1, other=pa.array([[1] * items])))
        if fine:
            assert 1 == len(rows(data))
        else:
            with pytest.raises(FileError, match="a column of lists that are too long; leave it"):
                rows(data)

    def test_many_rows_are_no_list(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        Other columns may have as many values as they have rows.
        """
        monkeypatch.setattr(parquet_pages, "MAX_ITEMS", 1000)

        assert 2000 == len(rows(parquet(payments(2000))))

    @pytest.mark.parametrize("number", [b"\x01", b"\x07"])
    def test_a_page_that_is_smaller_than_nothing_is_none(self, number: bytes) -> None:
        """
        A header that cannot be true is damage.
        """
        data = parquet(payments(1, note=pa.array(["x" * 40])), **PLAIN)
        # The first page's type, and its size when it is unpacked.
        assert b"PAR1\x15\x00\x15" == data[:7]
        with pytest.raises(FileError, match="it is a Parquet file that is damaged; get a whole"):
            rows(data[:7] + number + data[8:])

    def test_a_bomb_takes_no_memory(self, tmp_path: pathlib.Path) -> None:
        """
        A file of some kilobytes, with a text of 512 MiB, is refused by what it says of itself.
        """
        texts = pa.array(["x" * 2**29] + ["y"] * 999)
        path = tmp_path / "bomb"
        path.write_bytes(parquet(payments(1000, note=texts), **PLAIN, write_statistics=False))
        del texts
        code = "try: RowReader(open(path, 'rb'))\nexcept FileError as error: print(error)"
        said, mebibytes = memory_of(code, path)

        assert 2**16 > path.stat().st_size
        assert "its pages take 512 MiB at once" in said
        assert 64 > int(mebibytes)

    def test_many_row_groups_take_little_memory(self, tmp_path: pathlib.Path) -> None:
        """
        Of each column of each row group a few numbers are kept, not all that is said of it.
        """
        path = tmp_path / "p.parquet"
        path.write_bytes(parquet(payments(3000), row_group_size=1))
        code = """
from carevalidate_async._files.parquet_pages import largest_pages
with open(path, "rb") as file:
    print(largest_pages(file) > 0)
"""
        read, mebibytes = memory_of(code, path)

        assert "True" == read
        assert 25 > mebibytes

    def test_one_long_text_in_all_rows_is_read_in_small_batches(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        A dictionary has the text once, and each row of a batch has it again.
        """
        sizes = []
        real = pq.ParquetFile.iter_batches

        def iter_batches(self: Any, size: int, **options: Any) -> Any:
            sizes.append(size)
            return real(self, size, **options)

        monkeypatch.setattr(pq.ParquetFile, "iter_batches", iter_batches)
        monkeypatch.setattr(parquet_rows, "_MEMORY", 10 * 100_000)
        rows(parquet(payments(99, note=pa.array(["x" * 100_000] * 99))))
        rows(parquet(payments(99)))

        assert [9, parquet_rows.BATCH] == sizes


class TestThrift:
    def test_numbers_structs_and_lists_of_structs_are_kept(self) -> None:
        """
        By the field's number, which is written as a difference, or as it is.
        """
        inner = field(1, 5, b"\x02") + END
        data = b"".join(
            [
                field(1, 5, b"\x03"),
                field(2, 6, b"\xac\x02"),
                field(1, 12, inner),
                field(1, 9, b"\x2c" + inner * 2),
                field(0, 5, b"\x28" + b"\x01"),
                END,
            ]
        )
        reader = Compact(data + b"more")

        assert (
            Struct(
                i32={1: -2, 20: -1},
                i64={3: 150},
                structs={4: Struct(i32={1: 1})},
                lists={5: [Struct(i32={1: 1})] * 2},
            )
            == reader.struct()
        )
        assert len(data) == reader.at

    def test_of_a_list_what_matters_is_kept(self) -> None:
        """
        Each of its structs becomes what is made of it; lists inside them are no such lists.
        """
        inner = field(4, 9, b"\x1c" + field(1, 5, b"\x02") + END) + END
        data = field(4, 9, b"\x2c" + inner * 2) + END

        found = Compact(data, {4: lambda struct: len(struct.lists[4])}).struct()

        assert {4: [1, 1]} == found.lists

    @pytest.mark.parametrize(
        "skipped",
        [
            *(field(1, 1), field(1, 2), field(1, 3, b"x"), field(1, 4, b"\x80\x01")),
            *(field(1, 7, bytes(8)), field(1, 8, b"\x03abc"), field(1, 13, bytes(16))),
            *(field(1, 9, b"\x38\x01a\x01b\0"), field(1, 10, b"\x21\x01\x02"), field(1, 11, b"\0")),
            *(field(1, 11, b"\x02\x85\x01a\x02\x01b\x04"), field(1, 9, b"\xf3\x10" + bytes(16))),
            *(field(1, 9, b"\x19\x15\x02"), field(1, 11, b"\x01\x5c\x02" + END)),
        ],
    )
    def test_all_else_is_skipped(self, skipped: bytes) -> None:
        """
        What follows it is found.
        """
        assert {2: -1} == Compact(skipped + field(1, 5, b"\x01") + END).struct().i32

    @pytest.mark.parametrize(
        "data",
        [b"", field(1, 5), field(1, 8, b"\x05abc"), field(1, 12), field(1, 9, b"\xfc\xff\x7f")],
    )
    def test_one_that_ends_too_early_is_told(self, data: bytes) -> None:
        """
        There may be more of it.
        """
        with pytest.raises(IndexError):
            Compact(data).struct()

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (field(1, 14) + END, "no value"),
            (field(1, 5, b"\xff" * 10) + END, "number that is too long"),
            (field(1, 12) * 30, "nested too deeply"),
            (field(1, 9) + b"\x19" * 5000, "nested too deeply"),
            (field(1, 11) + b"\x01\xbb" * 5000, "nested too deeply"),
            (field(1, 5, b"\x01") + field(0, 5, b"\x02\x01") + END, "twice"),
        ],
    )
    def test_one_that_is_none_is_told(self, data: bytes, reason: str) -> None:
        """
        So is one that another reader might take otherwise.
        """
        with pytest.raises(ValueError, match=reason):
            Compact(data).struct()
