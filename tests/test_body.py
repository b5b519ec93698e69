from __future__ import annotations

import gzip
import random
import sys
import zlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carevalidate_async._body import MAX_ANSWER_BYTES, BodyError, read_bounded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


def zipped(data: bytes) -> bytes:
    """Return *data* as gzip; without a date, since it stands in the names of tests."""
    return gzip.compress(data, mtime=0)


GZIP = zipped(b"body")


def raw_deflate(data: bytes) -> bytes:
    """Return *data* packed without the zlib header, as some servers do."""
    packing = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packing.compress(data) + packing.flush()


async def chunks(data: bytes, size: int = 65536) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


PACKINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "not": ("", bytes),
    "identity": ("identity", bytes),
    "gzip": ("gzip", zipped),
    "x-gzip": (" X-GZip ", zipped),
    "zlib": ("deflate", zlib.compress),
    "raw deflate": ("Deflate", raw_deflate),
}


class TestReadBounded:
    @pytest.mark.parametrize("packing", PACKINGS)
    @given(body=st.binary(max_size=2000), size=st.integers(1, 500))
    async def test_whole_body(self, packing: str, body: bytes, size: int) -> None:
        """A body comes back as it was, however it was packed and cut into chunks."""
        encoding, pack = PACKINGS[packing]

        assert body == await read_bounded(chunks(pack(body), size), encoding)

    @pytest.mark.parametrize("packing", PACKINGS)
    async def test_nothing(self, packing: str) -> None:
        """No body at all is an empty one, whatever it is said to be packed with."""
        assert b"" == await read_bounded(chunks(b""), PACKINGS[packing][0])

    @pytest.mark.parametrize("packing", PACKINGS)
    async def test_bound(self, packing: str) -> None:
        """A body of one mebibyte is read, one of a byte more is not."""
        encoding, pack = PACKINGS[packing]
        most = b" " * MAX_ANSWER_BYTES

        assert most == await read_bounded(chunks(pack(most)), encoding)
        with pytest.raises(BodyError, match="longer than 1048576 bytes"):
            await read_bounded(chunks(pack(most + b" ")), encoding)

    @pytest.mark.parametrize("packing", PACKINGS)
    async def test_far_repetition(self, packing: str) -> None:
        """A body that repeats what came 30,000 bytes before is unpacked as it was."""
        encoding, pack = PACKINGS[packing]
        body = random.Random(1).randbytes(30_000) * 2

        assert body == await read_bounded(chunks(pack(body)), encoding)

    async def test_no_more_is_asked_for(self) -> None:
        """Of a body without end no more is taken than the bound and the chunk that passes it."""
        taken = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal taken
            while True:
                taken += 1000
                yield b" " * 1000

        with pytest.raises(BodyError):
            await read_bounded(endless(), "")

        assert MAX_ANSWER_BYTES < taken <= MAX_ANSWER_BYTES + 1000

    @pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss is the system's own")
    @pytest.mark.parametrize("pack", [zipped, zlib.compress])
    async def test_bomb_takes_no_memory(self, pack: Callable[[bytes], bytes]) -> None:
        """What would unpack to 64 mebibytes is refused before it is a few mebibytes."""
        resource = pytest.importorskip("resource", reason="it measures memory")
        packing = zlib.compressobj(9, wbits=31 if pack is zipped else 15)
        zeros = bytes(2**20)
        bomb = b"".join(packing.compress(zeros) for _ in range(64)) + packing.flush()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

        with pytest.raises(BodyError, match="longer"):
            await read_bounded(chunks(bomb), "gzip" if pack is zipped else "deflate")

        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 * 1024  # KiB

    @pytest.mark.parametrize(
        ("packed", "encoding", "why"),
        [
            (b"body", "gzip", "not packed as it says"),
            (b"\xff\xff", "deflate", "not packed as it says"),
            (zlib.compress(b"body"), "gzip", "not packed as it says"),
            (GZIP[:-1], "gzip", "cut short"),
            (GZIP[:12], "gzip", "cut short"),
            (zlib.compress(b"body")[:-1], "deflate", "cut short"),
            (GZIP + b"\r\n", "gzip", "not packed as it says|cut short"),
            (GZIP + b"\0XX", "gzip", "not packed as it says|cut short"),
            (GZIP[:-4] + b"0000", "gzip", "not packed as it says"),
            (GZIP, "gzip, gzip", "not packed as it says"),
            (GZIP, "gzip, gzip, gzip", "packed too often"),
            (zipped(b"") * 51, "gzip", "packed in too many pieces"),
        ],
    )
    async def test_what_cannot_be_trusted(self, packed: bytes, encoding: str, why: str) -> None:
        """A body that is not what it says is refused, with the reason."""
        with pytest.raises(BodyError, match=f"^(?:{why})$"):
            await read_bounded(chunks(packed), encoding)

    @pytest.mark.parametrize(
        ("packed", "encoding"),
        [
            (zipped(b"bo") + zipped(b"dy"), "gzip"),
            (GZIP + b"\0" * 500, "gzip"),
            (zipped(b"") * 49 + GZIP, "gzip"),
            (zipped(GZIP), "gzip, GZIP"),
            (zlib.compress(GZIP), "gzip, deflate"),
            (GZIP, "identity, gzip, "),
            (GZIP, "gzip, identity"),
            (b"body", "identity, identity, ,"),
        ],
    )
    async def test_in_pieces_and_layers(self, packed: bytes, encoding: str) -> None:
        """A body may be packed in several pieces, filled up with zeros, and twice."""
        assert b"body" == await read_bounded(chunks(packed), encoding)

    @pytest.mark.parametrize("encoding", ["utf-8", "none", "aws-chunked", "br", "gzip, br"])
    async def test_unknown_packing(self, encoding: str) -> None:
        """What is packed in no known way comes back as it arrived, since often it is not packed."""
        assert b'{"success": true}' == await read_bounded(chunks(b'{"success": true}'), encoding)
