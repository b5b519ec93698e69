"""Files of a wrong kind end a run before anything is sent, and say what they are and what to do."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import pathlib
import sqlite3
import subprocess
import sys
import tarfile
import zipfile

import pytest
from click.testing import CliRunner, Result

from carevalidate_async import cli
from carevalidate_async._files.kinds import is_parquet, refusal
from carevalidate_async._files.rows import FileError
from carevalidate_async._files.unpack import packing_of
from cli_support import run_with, start, unread, wait_for
from input_files import GOOD, HEADER, parquet, payments, reader

TEXT = f"{HEADER}\n{GOOD}\n"
UNPACK = "unpack it, or compress the file of payments with gzip or zstd"
EXPORT = "export the payments as CSV, JSON Lines or Parquet"
SHEET = "save the sheet as CSV (UTF-8) and give that file"
UTF8 = "save it as UTF-8 and try again"
TABLE = "write the payments as Parquet, CSV or JSON Lines"


def archive(*names: str) -> bytes:
    """Return a ZIP archive with files of these names."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        for name in names:
            made.writestr(name, "application/vnd.oasis.opendocument.spreadsheet")
    return file.getvalue()


def tape() -> bytes:
    """Return a tar archive with the payments."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as made:
        member = tarfile.TarInfo("payments.csv")
        member.size = len(TEXT)
        made.addfile(member, io.BytesIO(TEXT.encode()))
    return file.getvalue()


def database() -> bytes:
    """Return an SQLite database."""
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE payments (case_id)")
    data = connection.serialize()
    connection.close()
    return data


# What is in the file, and what is said of it.
KINDS = [
    (archive("[Content_Types].xml", "xl/workbook.xml"), f"an Excel workbook; {SHEET}"),
    (archive("xl/worksheets/sheet1.xml"), f"an Excel workbook; {SHEET}"),
    (archive("mimetype"), f"an OpenDocument spreadsheet; {SHEET}"),
    (
        archive("payments.csv"),
        "a ZIP archive or a spreadsheet; unpack it and give the file of payments",
    ),
    (archive(), "a ZIP archive or a spreadsheet; unpack it and give the file of payments"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504), f"an old Excel workbook (.xls); {SHEET}"),
    (b"%PDF-1.7\n%\xe2\xe3\n", f"a PDF document; {EXPORT}"),
    (b"{\\rtf1\\ansi case_id\n", f"an RTF document; {EXPORT}"),
    (
        database(),
        "an SQLite database, such as the journal of a run; give the file of payments itself",
    ),
    (bytes(8) + b"DUCK\x40" + bytes(99), f"a DuckDB database; {EXPORT}"),
    (b"\0\x01\0\0Standard ACE DB\0", f"an Access database; {EXPORT}"),
    (b"ARROW1\0\0" + bytes(99), f"an Arrow or Feather file; {TABLE}"),
    (b"Obj\x01\x04\x14avro.codec", f"an Avro file; {TABLE}"),
    (b"ORC\x0a\x03", f"an ORC file; {TABLE}"),
    (b"PARE" + bytes(99), "an encrypted Parquet file; write it without encryption"),
    (TEXT.encode("utf-16"), f"UTF-16 text, not UTF-8; {UTF8}"),
    (TEXT.encode("utf-16-be"), f"UTF-16 text, not UTF-8; {UTF8}"),
    (TEXT.encode("utf-16-le"), f"UTF-16 text, not UTF-8; {UTF8}"),
    (TEXT.encode("utf-32"), f"UTF-32 text; {UTF8}"),
    (bz2.compress(TEXT.encode()), f"compressed with bzip2; {UNPACK}"),
    (lzma.compress(TEXT.encode()), f"compressed with xz; {UNPACK}"),
    (b"\x04\x22\x4d\x18\x64\x40\xa7", f"compressed with LZ4; {UNPACK}"),
    (b"\x1f\x9d\x90c", f"compressed with compress (.Z); {UNPACK}"),
    (b"\xff\x06\0\0sNaPpY", f"compressed with Snappy; {UNPACK}"),
    (b"7z\xbc\xaf\x27\x1c\0\x04", "a 7-Zip archive; unpack it and give the file of payments"),
    (b"Rar!\x1a\x07\x01\0", "a RAR archive; unpack it and give the file of payments"),
    (tape(), "a tar archive; unpack it and give the file of payments"),
    (b"-----BEGIN PGP MESSAGE-----\n", "encrypted or signed with PGP; decrypt it first"),
    (b"age-encryption.org/v1\n-> X25519", "encrypted with age; decrypt it first"),
    (b"\x89PNG\r\n\x1a\n", f"an image; {EXPORT}"),
    (b"\xff\xd8\xff\xe0\0\x10JFIF", f"an image; {EXPORT}"),
    (b"GIF89a", f"an image; {EXPORT}"),
    (b"RIFF\x24\0\0\0WEBPVP8 ", f"an image; {EXPORT}"),
    (b"\0\0\0\x18ftypheic", f"an image; {EXPORT}"),
    (pathlib.Path(sys.executable).read_bytes()[:4096], "a program; give the file of payments"),
    (b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff\0\0", "a program; give the file of payments"),
    *(
        (
            page,
            "an HTML page, such as a login page that was saved in its place; get the file again",
        )
        for page in (
            b"<!DOCTYPE html>\n<html><body>Please sign in</body></html>",
            b"\xef\xbb\xbf\r\n <HTML lang='en'>",
            b"<html>\n",
            b'<meta charset="utf-8">',
        )
    ),
    (b'<?xml version="1.0"?>\n<Workbook/>', "an XML file; save it as CSV (UTF-8) or JSON Lines"),
    (b"<payments>\n</payments>", "an XML file; save it as CSV (UTF-8) or JSON Lines"),
]


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """A folder where nothing is yet."""
    monkeypatch.chdir(tmp_path)


def confirm(file: str, *options: str) -> Result:
    return CliRunner().invoke(cli.cli, ["confirm", file, "--sandbox", *options])


class TestKinds:
    @pytest.mark.parametrize(("data", "said"), KINDS)
    def test_a_wrong_one_is_told_by_its_content(self, data: bytes, said: str) -> None:
        """
        The reason says what the file seems to be, and what to do.
        """
        with pytest.raises(FileError) as refused:
            reader(data)

        assert f"it seems to be {said}" == str(refused.value)

    @pytest.mark.parametrize(("data", "said"), KINDS)
    def test_inside_compressed_data_too(self, data: bytes, said: str) -> None:
        """
        What a compressed file holds is told likewise.
        """
        with pytest.raises(FileError) as refused:
            reader(gzip.compress(data))

        assert f"what its gzip data holds seems to be {said}" == str(refused.value)

    @pytest.mark.parametrize(
        ("data", "said"),
        [
            (b"", "it is empty"),
            (b"\n \r\n\t\n", "it is empty but for blank lines"),
            (b"\xef\xbb\xbf", "it is empty but for blank lines"),
            (b'[{"case_id": "c"}]', "it is a JSON array; write one object a line (JSON Lines)"),
            (b"[\n", "it is a JSON array; write one object a line (JSON Lines)"),
            (b"\0" * 99, "it is not UTF-8 text; save it as UTF-8 and try again"),
            (
                HEADER.encode() + b",caf\xe9\n",
                "it is not UTF-8 text; save it as UTF-8 and try again",
            ),
        ],
    )
    def test_a_text_that_is_no_table(self, data: bytes, said: str) -> None:
        """
        So is a text without rows, or in a form that is not read.
        """
        with pytest.raises(FileError) as refused:
            reader(data)

        assert said == str(refused.value)

    @pytest.mark.parametrize(
        "text",
        [
            *(TEXT, json.dumps({"case_id": "c"}), f"\ufeff{TEXT}", f"\n\n{TEXT}"),
            *(f"{name},{TEXT}" for name in ("PARENT_ID", "PAR1", "ORCID", "FEA1", "MZ", "BZh9")),
            *(f"{name},{TEXT}" for name in ("<", "7z", "II*", "GIF8", "Objects", "%PDF", "Rar!")),
            *(f"case_id,{name},{TEXT}" for name in ("DUCK", "x" * 248 + "ustar")),
        ],
    )
    def test_text_is_mistaken_for_none_of_them(self, text: str) -> None:
        """
        A text may begin with what some other kinds begin with.
        """
        assert refusal(text.encode()) is None
        assert not is_parquet(text.encode())
        assert packing_of(text.encode()) is None


class TestCommand:
    @pytest.mark.parametrize(("data", "said"), [KINDS[0], KINDS[8], KINDS[-2]])
    def test_nothing_is_sent_or_made(self, data: bytes, said: str) -> None:
        """
        The command ends with status 2 and one line, and leaves no journal and no rejects file.
        """
        pathlib.Path("payments.csv").write_bytes(data)
        result = confirm("payments.csv", "--rejects", "r.csv")

        assert 2 == result.exit_code
        assert f"Error: payments.csv: it seems to be {said}\n" == result.stderr
        assert ["payments.csv"] == [path.name for path in pathlib.Path().iterdir()]

    def test_a_journal_is_not_its_file(self) -> None:
        """
        The journal that a run left beside its file is told from it.
        """
        pathlib.Path("payments.csv").write_text(TEXT, encoding="utf-8")
        confirm("payments.csv", "--journal", "payments.csv.journal")
        result = confirm("payments.csv.journal")

        assert 2 == result.exit_code
        assert "such as the journal of a run; give the file of payments itself" in result.stderr

    def test_a_header_alone_is_a_run_of_no_rows(self) -> None:
        """
        An export of a day without payments is no mistake.
        """
        pathlib.Path("payments.csv").write_text(f"{HEADER}\n", encoding="utf-8")
        pathlib.Path("payments.parquet").write_bytes(parquet(payments(0)))
        for file in ("payments.csv", "payments.parquet"):
            result = confirm(file, "--json")

            assert 0 == result.exit_code
            assert 0 == json.loads(result.stdout.splitlines()[-1])["rows"]

    @pytest.mark.parametrize("redirection", ["", "<."])
    def test_a_folder_is_no_file(self, redirection: str) -> None:
        """
        Neither by its name nor as standard input.
        """
        result = run_with(redirection, "confirm", "-" if redirection else ".", "--sandbox")

        assert result.returncode != 0
        assert "directory" in result.stderr

    def test_a_file_without_rights_is_named(self) -> None:
        """
        A file that the user may not read is a wrong command.
        """
        file = pathlib.Path("payments.csv")
        file.write_text(TEXT, encoding="utf-8")
        file.chmod(0)
        if os.access(file, os.R_OK):
            pytest.skip("root may read everything")
        result = confirm("payments.csv")

        assert 2 == result.exit_code
        assert "payments.csv" in result.stderr
        assert "ermission denied" in result.stderr or "not readable" in result.stderr

    def test_standard_input_is_named_as_such(self) -> None:
        """
        What is wrong with it is not said of a file called "-".
        """
        pathlib.Path("page").write_bytes(KINDS[-3][0])
        result = run_with("<page", "confirm", "-", "--sandbox")

        assert 2 == result.returncode
        assert "Error: standard input: it seems to be an HTML page" in result.stderr

    def test_the_beginning_of_a_pipe_is_waited_for(self) -> None:
        """
        A kind is told by as many bytes as that takes, in however small pieces they come.
        """
        run = start("confirm", "-", "--sandbox", stdin=subprocess.PIPE)
        assert run.stdin is not None
        for letter in "%PDF":
            run.stdin.write(letter)
            run.stdin.flush()
            wait_for(lambda: 0 == unread(run.stdin))
        _, err = run.communicate("-1.7\n", timeout=20)

        assert 2 == run.returncode
        assert "standard input: it seems to be a PDF document" in err
