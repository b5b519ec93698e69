"""
Compressed input as it comes: gzip and zstd, told by their first bytes, a bounded piece at a time.

However much a piece unpacks to, no more of it is held than was asked for, and a pipe gives what it
has.
"""

from __future__ import annotations

import errno
import io
import re
import sys
import zlib
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeAlias

from carevalidate_async._files.kinds import HEAD, FileError

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import BufferedReader

    from _typeshed import WriteableBuffer

# Compressed bytes that are read at once: few, so that those read tell how many rows there will be.
_PIECE = 4096
_DOUBT = re.compile("data check|length check|checksum")


class DamagedError(OSError):
    """The input breaks off where it must not; the message says why, and how far it was read."""

    def __init__(self, reason: str) -> None:
        super().__init__(errno.EIO, reason)

    def __str__(self) -> str:
        return str(self.strerror)

    def after(self, place: str) -> DamagedError:
        """Return the error that says that nothing after *place* was read."""
        return DamagedError(f"the input is damaged: {self}; nothing after {place} was read")


class Member(Protocol):
    """
    One gzip member or zstd frame; several make a file.

    Attributes:
        name: Of the compression.

        magic: What it begins with.

        left: Compressed bytes that were given and not used.

        ended: Whether it is over; what is left belongs to the next one.
    """

    name: ClassVar[str]
    magic: ClassVar[re.Pattern[bytes]]
    left: bytes
    ended: bool

    def unpack(self, data: bytes, size: int) -> bytes:
        """Return at most *size* bytes of what *data* holds; none where it takes more data."""


class GzipMember:
    """A part of a gzip file; its sums are checked at its end."""

    name: ClassVar[str] = "gzip"
    magic: ClassVar[re.Pattern[bytes]] = re.compile(rb"\x1f\x8b")

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        self.left = b""
        self.ended = False

    def unpack(self, data: bytes, size: int) -> bytes:
        """Return at most *size* bytes of what *data* holds; none where it takes more data."""
        try:
            text = self._inner.decompress(data, size)
        except zlib.error as error:
            raise _damaged(self.name, error) from None
        self.left = self._inner.unused_data or self._inner.unconsumed_tail
        self.ended = self._inner.eof
        return text


class ZstdFrame:
    """
    A part of a zstd file, which takes windows of up to 128 MiB, as the program of that name does.

    Raises:
        FileError: The package for it is not installed.
    """

    name: ClassVar[str] = "zstd"
    # The second one is a frame to be skipped: pzstd begins with it, and seekable files end with it.
    # https://datatracker.ietf.org/doc/html/rfc8878#name-zstandard-frames
    magic: ClassVar[re.Pattern[bytes]] = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18")

    def __init__(self) -> None:
        try:
            if sys.version_info >= (3, 14):
                from compression.zstd import ZstdDecompressor, ZstdError
            else:
                from backports.zstd import ZstdDecompressor, ZstdError
        except ModuleNotFoundError:
            hint = "pip install 'carevalidate-async[cli]'"
            raise FileError(f"it is compressed with zstd, which is an extra: {hint}") from None
        self._error = ZstdError
        self._inner = ZstdDecompressor()
        self.left = b""
        self.ended = False

    def unpack(self, data: bytes, size: int) -> bytes:
        """Return at most *size* bytes of what *data* holds; none where it takes more data."""
        try:
            text = self._inner.decompress(data, size)
        except self._error as error:
            raise _damaged(self.name, error) from None
        self.left = self._inner.unused_data
        self.ended = self._inner.eof
        return text


Packing: TypeAlias = type[Member]


def _damaged(name: str, error: Exception) -> DamagedError:
    what = str(error).rpartition(": ")[2]
    # The sum over all that was unpacked stands at its end.
    doubt = ", so what was read of it may be wrong" if _DOUBT.search(what) else ""
    return DamagedError(f"its {name} data cannot be unpacked: {what}{doubt}")


def packing_of(head: bytes) -> Packing | None:
    """Return how a file that begins with *head* is compressed, None where it is not."""
    packings: tuple[Packing, ...] = (GzipMember, ZstdFrame)
    return next((packing for packing in packings if packing.magic.match(head)), None)


class Unpacked:
    """
    What a compressed stream holds.

    Attributes:
        taken: Compressed bytes that were read so far.

    Args:
        read: Returns some of the compressed bytes, at most so many, and none at their end.

        packing: How they are compressed.

    Raises:
        FileError: It takes a package that is not installed.
    """

    def __init__(self, read: Callable[[int], bytes], packing: Packing) -> None:
        self._read = read
        self._packing = packing
        self._member: Member | None = packing()
        self._left = b""
        self.taken = 0

    def read(self, size: int) -> bytes:
        """
        Return some of what is unpacked, at most *size* bytes, and none at its end.

        Raises:
            DamagedError: It breaks here.
        """
        while self._member is not None or self._next_member():
            member = self._member
            assert member is not None  # noqa: S101 - for the type checker
            text = member.unpack(self._left, size)
            self._left = member.left
            if member.ended:
                self._member = None
            if text:
                return text
            if not member.ended and not self._more():
                raise DamagedError(f"its {self._packing.name} data is cut short")
        return b""

    def _next_member(self) -> bool:
        """Begin the next member, where there is one."""
        while True:
            self._left = self._left.lstrip(b"\0")  # fills up the last block of a tape
            if len(self._left) >= 4 or not self._more():
                break
        if not self._left:
            return False
        if self._packing.magic.match(self._left) is None:
            raise DamagedError(f"something else follows its {self._packing.name} data")
        self._member = self._packing()
        return True

    def _more(self) -> bool:
        data = self._read(_PIECE)
        self.taken += len(data)
        self._left += data
        return bool(data)


class Source(io.RawIOBase):
    """
    A stream whose beginning can be looked at before it is read.

    Args:
        read: Returns some bytes, at most so many, and none at their end.
    """

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._kept = b""

    def head(self) -> bytes:
        """Return the first bytes, as many as tell what it is; waits for no more than a line."""
        while len(self._kept) < HEAD and b"\n" not in self._kept and not packing_of(self._kept):
            more = self._read(HEAD)
            if not more:
                break
            self._kept += more
        return self._kept

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read some bytes: what there is, without waiting for more."""
        view = memoryview(buffer).cast("B")
        data = self._kept[: len(view)] or self._read(len(view))
        self._kept = self._kept[len(data) :]
        view[: len(data)] = data
        return len(data)


def check_whole(stream: BufferedReader) -> None:
    """
    Unpack all of a file that is compressed, keep nothing of it, and go back to where it was.

    Raises:
        FileError: It is damaged or cut short.
    """
    start = stream.tell()
    source = Source(stream.read1)
    packing = packing_of(source.head())
    if packing is not None:
        unpacked = Unpacked(lambda size: source.read(size) or b"", packing)
        try:
            while unpacked.read(_PIECE):
                pass
        except DamagedError as error:
            raise FileError(f"{error}; get a whole copy") from None
    stream.seek(start)
