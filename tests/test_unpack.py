"""Compressed input: gzip and zstd, whole and damaged, from files and through pipes."""

from __future__ import annotations

import gzip
import io
import json
import pathlib
import random
import re
import subprocess
import sys
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from carevalidate_async import cli
from carevalidate_async._files.rejects import Rejects
from carevalidate_async._files.rows import FileError, FileFormat, RowReader
from cli_support import good, run_with, running_sandbox, wait_for
from input_files import (
    CELLS,
    GOOD,
    HEADER,
    PAYMENT,
    as_jsonl,
    memory_of,
    reader,
    rows,
    until_it_breaks,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from carevalidate_async.sandbox import Sandbox

TEXT = f"{HEADER}\n{GOOD}\n{GOOD}\n".encode()
BROKEN = "the input is damaged: its (gzip|zstd)"
SKIPPED = b"\x5e\x2a\x4d\x18\x03\0\0\0abc"


def checked(data: bytes) -> bytes:
    """Return a zstd frame with a checksum, in small blocks, as a program writes it bit by bit."""
    compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter.checksum_flag: 1})
    pieces = [data[at : at + 8192] for at in range(0, len(data), 8192)]
    blocks = [compressor.compress(piece, compressor.FLUSH_BLOCK) for piece in pieces]
    return b"".join([*blocks, compressor.flush()])


PACKINGS = pytest.mark.parametrize("pack", [gzip.compress, checked], ids=["gzip", "zstd"])


def many(count: int = 2000) -> bytes:
    """Return a CSV file that does not compress well, and so is read in several pieces."""
    digits = random.Random(1)
    lines = (f"case-{digits.randrange(10**12)},1,2026-01-05,2026-02-05,PAID" for _ in range(count))
    return "\n".join([HEADER, *lines, ""]).encode()


class TestUnpacked:
    @PACKINGS
    @pytest.mark.parametrize(
        "text",
        [TEXT, TEXT.replace(b"\n", b"\r\n"), as_jsonl([CELLS] * 2), b"\xef\xbb\xbf" + TEXT],
        ids=["CSV", "CRLF", "JSON Lines", "byte order mark"],
    )
    def test_it_is_told_by_its_content(self, pack: Callable[[bytes], bytes], text: bytes) -> None:
        """
        Whatever its name, a compressed file is read as what it holds.
        """
        assert [PAYMENT, PAYMENT] == [row.payment for row in rows(pack(text))]

    @pytest.mark.parametrize(
        "data",
        [
            b"".join(map(gzip.compress, TEXT.splitlines(keepends=True))),
            b"".join(gzip.compress(TEXT[n : n + 1]) for n in range(len(TEXT))),
            gzip.compress(TEXT) + bytes(1000),
            gzip.compress(TEXT[:20]) + bytes(9000) + gzip.compress(TEXT[20:]) + bytes(2),
            gzip.compress(b"") + gzip.compress(TEXT) + gzip.compress(b""),
            b"".join(map(checked, TEXT.splitlines(keepends=True))),
            SKIPPED + checked(TEXT[:20]) + SKIPPED * 2 + checked(TEXT[20:]) + SKIPPED,
            zstd.compress(b"") + zstd.compress(TEXT),
        ],
    )
    def test_several_members_are_one_file(self, data: bytes) -> None:
        """
        Members and frames that follow each other, as those of logs and of parallel compressors,
        with frames to be skipped and the filling of tapes, are read as one text.
        """
        read = reader(data)

        assert [PAYMENT, PAYMENT] == [row.payment for row in read]
        assert len(data) == read.bytes_read

    @pytest.mark.parametrize("size", [1, 2, 3])
    @pytest.mark.parametrize(
        "data",
        [
            TEXT,
            gzip.compress(TEXT[:9]) + gzip.compress(TEXT[9:]) + bytes(9),
            checked(TEXT[:9]) + SKIPPED + checked(TEXT[9:]),
        ],
        ids=["plain", "gzip", "zstd"],
    )
    def test_pieces_of_any_size_are_put_together(self, data: bytes, size: int) -> None:
        """
        A pipe gives what it has, be it in the midst of what tells a kind of file.
        """

        class Pipe(io.BytesIO):
            def seekable(self) -> bool:
                return False

            def read1(self, _: int | None = -1) -> bytes:
                return super().read1(size)

        found = RowReader(Pipe(data))

        assert [PAYMENT, PAYMENT] == [row.payment for row in found]
        assert len(data) == found.bytes_read

    @PACKINGS
    def test_bytes_are_counted_as_they_lie_on_the_disk(
        self, pack: Callable[[bytes], bytes]
    ) -> None:
        """
        From the part of a file's own bytes follows how many rows it has.
        """
        data = pack(many(8000))
        read = reader(data)
        shares = [
            (number / 8000, read.bytes_read / len(data)) for number, _ in enumerate(read, start=1)
        ]

        assert 1 == shares[-1][1]
        assert 0.1 > max(abs(taken - given) for given, taken in shares)

    @PACKINGS
    def test_the_format_can_be_forced(self, pack: Callable[[bytes], bytes]) -> None:
        """
        What a file is said to be is what is compressed in it.
        """
        with pytest.raises(FileError, match="columns are missing"):
            reader(pack(as_jsonl([CELLS])), FileFormat.CSV)

    @PACKINGS
    def test_rejects_are_plain_text(
        self, pack: Callable[[bytes], bytes], tmp_path: pathlib.Path
    ) -> None:
        """
        Rows to be corrected can be opened with an editor.
        """
        read = reader(pack(TEXT.replace(b"49.00", b"$49")))
        rejects = Rejects(str(tmp_path / "r"), read)
        for row in read:
            rejects.write(row, row.problems)
        rejects.close()

        corrected = (tmp_path / "r").read_bytes().replace(b"$49", b"49")
        assert [PAYMENT, PAYMENT] == [row.payment for row in rows(corrected)]

    def test_without_its_package_zstd_says_what_to_install(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        The extra of the command line brings it.
        """
        monkeypatch.setitem(sys.modules, zstd.__name__, None)
        with pytest.raises(FileError) as refused:
            reader(checked(TEXT))

        hint = "pip install 'carevalidate-async[cli]'"
        assert f"it is compressed with zstd, which is an extra: {hint}" == str(refused.value)

    @pytest.mark.parametrize(
        ("data", "said"),
        [
            (gzip.compress(gzip.compress(TEXT)), "it is compressed twice; unpack the gzip data"),
            (gzip.compress(checked(TEXT)), "it is compressed twice; unpack the gzip data"),
            (checked(gzip.compress(TEXT)), "it is compressed twice; unpack the zstd data"),
            (
                gzip.compress(b"PAR1\x15\0"),
                "it is a Parquet file inside gzip data; unpack it first",
            ),
            (gzip.compress(b""), "it is empty"),
        ],
    )
    def test_what_cannot_be_in_it_is_refused(self, data: bytes, said: str) -> None:
        """
        A compressed file in a compressed file, or one that has to be read from its end.
        """
        with pytest.raises(FileError, match=said):
            reader(data)


class TestDamaged:
    @PACKINGS
    @pytest.mark.parametrize("kept", [4, 5, 12, 20])
    def test_a_beginning_that_cannot_be_read_is_no_file(
        self, pack: Callable[[bytes], bytes], kept: int
    ) -> None:
        """
        Where not even the first line is there, the file is refused as a whole.
        """
        with pytest.raises(FileError, match=r"^its (gzip|zstd) data is cut short$"):
            reader(pack(TEXT)[:kept])

    @PACKINGS
    def test_so_is_one_whose_first_line_is_cut(self, pack: Callable[[bytes], bytes]) -> None:
        """
        Be it as long as it may.
        """
        line = as_jsonl([CELLS | {"note": many(500).hex()}])
        with pytest.raises(FileError, match=r"^its (gzip|zstd) data is cut short$"):
            reader(pack(line)[:-2000])

    @PACKINGS
    def test_a_small_one_with_a_wrong_sum_is_no_file(self, pack: Callable[[bytes], bytes]) -> None:
        """
        What fits into one piece is checked before any of it is taken.
        """
        data = bytearray(pack(TEXT))
        data[-2] ^= 1
        with pytest.raises(FileError, match="so what was read of it may be wrong"):
            reader(bytes(data))

    @PACKINGS
    @pytest.mark.parametrize("missing", [1, 8, 5000])
    def test_one_that_is_cut_short_says_how_far_it_was_read(
        self, pack: Callable[[bytes], bytes], missing: int
    ) -> None:
        """
        Whole lines before the place are rows; the one that is cut is none.
        """
        found, said = until_it_breaks(pack(many())[:-missing])

        assert re.fullmatch(
            rf"{BROKEN} data is cut short; nothing after line \d+ was read",
            said,
        )
        assert f"line {len(found) + 1} " in said
        assert len(found) > 500

    @PACKINGS
    def test_a_wrong_sum_puts_all_of_it_in_doubt(self, pack: Callable[[bytes], bytes]) -> None:
        """
        It stands at the end, so it is told when most rows are read.
        """
        data = bytearray(pack(many()))
        data[-2] ^= 1
        found, said = until_it_breaks(bytes(data))

        assert "so what was read of it may be wrong; nothing after line" in said
        assert len(found) > 500

    @PACKINGS
    def test_broken_data_is_told(self, pack: Callable[[bytes], bytes]) -> None:
        """
        Bytes that no compressor wrote end the reading where they stand.
        """
        data = bytearray(pack(many()))
        middle = len(data) // 2
        data[middle : middle + 200] = b"\xff" * 200
        _, said = until_it_breaks(bytes(data))

        assert re.match(
            rf"{BROKEN} data cannot be unpacked: .+; nothing after line \d+ was read",
            said,
        )

    @PACKINGS
    def test_something_else_behind_it_is_told(self, pack: Callable[[bytes], bytes]) -> None:
        """
        Rows that were put behind a compressed file by hand are not lost without a word.
        """
        found, said = until_it_breaks(pack(many()) + GOOD.encode())

        assert 2000 == len(found)
        assert "data; nothing after line 2001 was read" in said
        assert "something else follows" in said

    def test_a_window_beyond_bounds_is_refused(self) -> None:
        """
        A frame that wants two gigabytes to be unpacked does not get them.
        """
        compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 31})
        data = compressor.compress(TEXT * 9) + compressor.flush()
        with pytest.raises(FileError, match="too much memory"):
            reader(data)


BOMB = 256  # mebibytes
READ = """
try: print([p.reason for row in RowReader(open(path, "rb")) for p in row.problems])
except (FileError, OSError) as error: print(error)
"""


@pytest.mark.deep
class TestBombs:
    @PACKINGS
    @pytest.mark.parametrize(
        ("before", "said"),
        [
            (b"", "its first line is longer than 1048576 bytes"),
            (HEADER.encode() + b"\n", "is too long; a cell has at most"),
            (HEADER.encode() + b'\n"', "has a quote that is not closed, or is too long"),
            (b'{}\n{"a":"', "is longer than 1048576 bytes"),
        ],
    )
    def test_an_endless_line_takes_no_memory(
        self, pack: Callable[[bytes], bytes], before: bytes, said: str, tmp_path: pathlib.Path
    ) -> None:
        """
        However much a small file unpacks to, a line is held up to its bound, and no more.
        """
        member = pack(b"x" * 2**20)
        path = tmp_path / "bomb"
        path.write_bytes(pack(before) + member * BOMB)
        found, mebibytes = memory_of(READ, path)

        assert path.stat().st_size < 2**20
        assert said in found
        assert BOMB / 8 > mebibytes


def in_members() -> tuple[Callable[[bytes], bytes], Callable[[], bytes]]:
    """Return what compresses a text with gzip bit by bit, and what ends it."""
    packer = zlib.compressobj(wbits=31)
    return lambda data: packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH), packer.flush


def in_blocks() -> tuple[Callable[[bytes], bytes], Callable[[], bytes]]:
    """Return the same for zstd."""
    packer = zstd.ZstdCompressor()
    return lambda data: packer.compress(data, packer.FLUSH_BLOCK), packer.flush


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> Iterator[Sandbox]:
    """A sandbox, and a folder where nothing is yet."""
    monkeypatch.setenv("CAREVALIDATE_API_KEY", "test")
    monkeypatch.chdir(tmp_path)
    with running_sandbox(api_key="test") as sandbox:
        yield sandbox


def confirm(*arguments: str) -> Result:
    return CliRunner().invoke(cli.cli, ["confirm", *arguments])


def document(output: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


@pytest.mark.deep
class TestCommand:
    @PACKINGS
    @pytest.mark.parametrize("damage", ["cut", "changed"])
    @pytest.mark.parametrize("source", ["file", "-"])
    def test_nothing_of_a_damaged_file_is_sent(
        self, served: Sandbox, pack: Callable[[bytes], bytes], source: str, damage: str
    ) -> None:
        """
        A file's end is looked at before its beginning is sent, for its sums stand there.
        """
        whole = bytearray(pack(many(600)))
        if damage == "cut":
            del whole[len(whole) // 2 :]
        else:
            whole[-6] ^= 1
        pathlib.Path("file").write_bytes(whole)
        result = run_with("<file", "confirm", source, "--base-url", served.url)

        assert 2 == result.returncode
        assert re.search(r"Error: .*: its (gzip|zstd) data .*; get a whole copy\n", result.stderr)
        assert 0 == served.received
        assert ["file"] == [path.name for path in pathlib.Path().iterdir()]

    @PACKINGS
    def test_of_a_pipe_rows_before_the_damage_count(
        self, served: Sandbox, pack: Callable[[bytes], bytes]
    ) -> None:
        """
        What was read is sent and settled, the command says where the input breaks off and ends with
        status 1, and a whole copy of it resumes.
        """
        whole = pack(many(600))
        pathlib.Path("file").write_bytes(whole[: len(whole) // 2])
        options = ("--base-url", served.url, "--journal", "j", "--json")
        first = subprocess.run(
            [
                *("sh", "-c", 'cat file | exec "$@"', "sh", sys.executable),
                *("-m", "carevalidate_async", "confirm", "-", *options),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        sent = document(first.stdout)["confirmed"]
        pathlib.Path("file").write_bytes(whole)
        again = run_with("<file", "confirm", "-", *options)

        assert 1 == first.returncode
        assert 100 < sent == document(first.stdout)["rows"] < 500
        assert re.search(
            r"Error: the run cannot go on: the input is damaged: its \w+ data is cut short; "
            rf"nothing after line {sent + 1} was read\n",
            first.stderr,
        )
        assert (0, 600) == (again.returncode, document(again.stdout)["confirmed"])
        assert 600 == len(served.payments)

    @PACKINGS
    def test_a_broken_beginning_sends_nothing(
        self, served: Sandbox, pack: Callable[[bytes], bytes]
    ) -> None:
        """
        Without a first line there is no run, and no journal.
        """
        pathlib.Path("file").write_bytes(pack(TEXT)[:12])
        result = confirm("file", "--base-url", served.url)

        assert 2 == result.exit_code
        assert "Error: file: its " in result.stderr
        assert ["file"] == [path.name for path in pathlib.Path().iterdir()]

    @pytest.mark.parametrize("bit_by_bit", [in_members, in_blocks])
    def test_a_pipe_is_read_as_it_comes(
        self,
        served: Sandbox,
        bit_by_bit: Callable[[], tuple[Callable[[bytes], bytes], Callable[[], bytes]]],
    ) -> None:
        """
        A row is sent once its bytes are there, however long the pipe stays open.
        """
        pack, end = bit_by_bit()
        run = subprocess.Popen(
            [sys.executable, "-m", "carevalidate_async", "confirm", "-", "--base-url", served.url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert run.stdin is not None
        for number in range(3):
            text = (HEADER + "\n") * (number == 0) + good(number)
            run.stdin.write(pack(text.encode()))
            run.stdin.flush()
            wait_for(lambda count=number + 1: count == len(served.payments))
        run.communicate(end(), timeout=20)

        assert 0 == run.returncode
