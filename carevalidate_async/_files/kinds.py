"""
What a file is, told by its first bytes, and why most kinds of files cannot be run.

A file of the wrong kind is told before anything is sent: read as text it would be a thousand bad
rows, none of which says what to do.
"""

from __future__ import annotations

import enum
import re

HEAD = 512
"""Bytes that tell what a file is; a tar archive says so after 257."""

_SHEET = "save the sheet as CSV (UTF-8) and give that file"
_UNPACK = "unpack it and give the file of payments"
_PACKED = "unpack it, or compress the file of payments with gzip or zstd"
_EXPORT = "export the payments as CSV, JSON Lines or Parquet"
_ENCRYPTED = "decrypt it first"
_UTF8 = "save it as UTF-8 and try again"
_TABLE = "write the payments as Parquet, CSV or JSON Lines"

# A column may be called PARENT_ID or ORCID: where magic is letters, no text follows.
_BINARY = rb"(?=.{0,15}[\0-\x08\x0e-\x1f])"

# The first that fits says what it is, and what to do.
_KINDS = tuple(
    (re.compile(pattern, re.DOTALL), what, advice)
    for pattern, what, advice in (
        (rb"PK\x03\x04.{26}(\[Content_Types\]|_rels/|docProps/|xl/)", "an Excel workbook", _SHEET),
        (rb"PK\x03\x04.{26}mimetypeapplication/vnd\.oasis", "an OpenDocument spreadsheet", _SHEET),
        (rb"PK(\x03\x04|\x05\x06|\x07\x08)", "a ZIP archive or a spreadsheet", _UNPACK),
        (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook (.xls)", _SHEET),
        (rb"\{\\rtf", "an RTF document", _EXPORT),
        (rb"%PDF-", "a PDF document", _EXPORT),
        (
            rb"SQLite format 3\0",
            "an SQLite database, such as the journal of a run",
            "give the file of payments itself",
        ),
        (rb".{8}DUCK.\0\0\0", "a DuckDB database", _EXPORT),
        (rb"\0\x01\0\0Standard (Jet|ACE) DB", "an Access database", _EXPORT),
        (rb"PARE" + _BINARY, "an encrypted Parquet file", "write it without encryption"),
        (rb"ARROW1\0\0|FEA1\0", "an Arrow or Feather file", _TABLE),
        (rb"Obj\x01", "an Avro file", _TABLE),
        (rb"ORC" + _BINARY, "an ORC file", _TABLE),
        (rb"\xff\xfe\0\0|\0\0\xfe\xff", "UTF-32 text", _UTF8),
        (rb"\xff\xfe|\xfe\xff|([^\0]\0){4}|(\0[^\0]){4}", "UTF-16 text, not UTF-8", _UTF8),
        (rb"BZh[1-9]1AY&SY", "compressed with bzip2", _PACKED),
        (rb"\xfd7zXZ\0", "compressed with xz", _PACKED),
        (rb"\x04\x22\x4d\x18", "compressed with LZ4", _PACKED),
        (rb"\x1f\x9d", "compressed with compress (.Z)", _PACKED),
        (rb"\xff\x06\0\0sNaPpY", "compressed with Snappy", _PACKED),
        (rb"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
        (rb"Rar!\x1a\x07", "a RAR archive", _UNPACK),
        (rb"[^\0]+\0.{0,255}ustar[\0 ]", "a tar archive", _UNPACK),
        (rb"-----BEGIN PGP", "encrypted or signed with PGP", _ENCRYPTED),
        (rb"age-encryption\.org/|-----BEGIN AGE", "encrypted with age", _ENCRYPTED),
        (
            rb"\x89PNG|\xff\xd8\xff|GIF8[79]a|II\*\0|MM\0\*|RIFF.{4}WEBP|\0\0\0.ftyp",
            "an image",
            _EXPORT,
        ),
        (rb"\x7fELF|\xcf\xfa\xed\xfe|MZ.{10,}\0\0", "a program", "give the file of payments"),
    )
)
_MARKUP = tuple(
    (re.compile(pattern, re.IGNORECASE), what, advice)
    for pattern, what, advice in (
        (
            rb"<!doctype html|<(html|head|body|script|meta)\b",
            "an HTML page, such as a login page that was saved in its place",
            "get the file again",
        ),
        (rb"<[?!a-z]", "an XML file", "save it as CSV (UTF-8) or JSON Lines"),
    )
)


class FileFormat(enum.StrEnum):
    """How the rows of a file are written."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"


class FileError(Exception):
    """The file cannot be used at all; no row of it was taken."""


def is_parquet(head: bytes) -> bool:
    """Tell whether a file that begins with *head* is Parquet."""
    return re.match(rb"PAR1" + _BINARY, head, re.DOTALL) is not None or head == b"PAR1"


def refusal(head: bytes) -> str | None:
    """Return what a file that begins with *head* seems to be, and what to do; None for text."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for kinds, beginning in ((_KINDS, head), (_MARKUP, text)):
        for pattern, what, advice in kinds:
            if pattern.match(beginning):
                return f"seems to be {what}; {advice}"
    return None
