"""Few reads, none beyond the budget, whatever a file claims; and every value at its right place."""

from __future__ import annotations

import io
import struct
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localchat import gguf
from localchat.errors import ModelLoadFailed
from localchat.gguf_cursor import Budget, Cursor
from tests.gguf_headers import (
    ARCHITECTURE,
    ARRAY,
    BLOCKS,
    STRING,
    TOKENS,
    UINT64,
    Watched,
    array,
    file,
    number,
    pair,
    string,
    tensor,
    text,
)

Reads = Callable[[Watched, int], gguf.Header]

AMPLE = Budget(strings=2**20, size=2**20, block=16)


@given(st.lists(st.binary(max_size=40), max_size=20), st.integers(8, 64))
def test_strings_are_skipped_wherever_blocks_end(values: list[bytes], block: int) -> None:
    content = b"".join(map(text, values)) + b"end"
    cursor = Cursor(io.BytesIO(content), len(content), Budget(100, 2**20, block))
    cursor.skip_strings(len(values))
    assert cursor.take(3) == b"end"
    assert cursor.left == 0


@given(st.lists(st.integers(0, 99), max_size=20), st.data())
def test_what_is_taken_stands_at_its_place(steps: list[int], data: st.DataObject) -> None:
    content = bytes(range(256)) * 8
    cursor, at = Cursor(io.BytesIO(content), len(content), AMPLE), 0
    for step in steps:
        if data.draw(st.booleans()):
            assert cursor.take(step) == content[at : at + step]
        else:
            cursor.skip(step)
        at += step
        assert cursor.left == len(content) - at


def test_a_file_that_reads_less_than_asked_is_read_on() -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or 0, 3))

    cursor = Cursor(Slow(bytes(range(100))), 100, AMPLE)
    assert cursor.take(50) == bytes(range(50))


def test_what_is_skipped_is_not_read() -> None:
    watched = Watched(bytes(1000))
    cursor = Cursor(watched, 1000, AMPLE)
    cursor.skip(900)
    cursor.skip(50)
    assert watched.num_reads == 0
    cursor.take(1)
    assert (watched.num_reads, watched.num_bytes) == (1, 16)


@pytest.mark.parametrize("length", [93, 2**31, 2**63 - 9, 2**63, 2**64 - 1])
@pytest.mark.parametrize("behind", [0, 1])
def test_strings_beyond_the_end_are_refused(length: int, behind: int) -> None:
    content = text(b"a") + struct.pack("<Q", length) + bytes(92)
    with pytest.raises(ModelLoadFailed, match="beyond the file's end"):
        Cursor(io.BytesIO(content), len(content), AMPLE).skip_strings(2 + behind)


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (Cursor.take, "ends within"),
        (Cursor.skip, "ends within"),
        (Cursor.length, "9 values beyond the end"),
    ],
)
def test_nothing_goes_beyond_the_end(step: Callable[[Cursor, int], Any], said: str) -> None:
    content = struct.pack("<Q", 9) + bytes(8)
    with pytest.raises(ModelLoadFailed, match=said):
        step(Cursor(io.BytesIO(content), len(content), AMPLE), 17)


def test_no_more_is_read_than_the_budget_has() -> None:
    watched = Watched(bytes(2**10))
    cursor = Cursor(watched, 2**10, Budget(strings=0, size=40, block=16))
    cursor.take(32)
    with pytest.raises(ModelLoadFailed, match="too long"):
        cursor.take(1)
    assert watched.num_bytes == 32


class Sparse(Watched):
    """Pieces that begin `distance` bytes from each other; zeros between and after them."""

    def __init__(self, pieces: list[bytes], distance: int) -> None:
        super().__init__()
        self._pieces = pieces
        self._distance = distance
        self._position = 0

    def read(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        data = bytearray(size)
        for index, piece in enumerate(self._pieces):
            at = index * self._distance - self._position
            if 0 <= at < size:
                data[at : at + len(piece)] = piece
        self.num_reads += 1
        self.num_bytes += size
        self._position += size
        return bytes(data[:size])

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self.num_seeks += 1
        self._position = offset
        return offset


FAR = 2**21  # bytes; more than a block
MANY = 2**9 - 1  # entries beside the architecture
BAD = b"\xff" * 240  # no text: each byte becomes a character of its own
HOSTILE = {
    "many entries": file(ARCHITECTURE, *(number(b"%d" % index, 0) for index in range(MANY))),
    "long keys and strings": file(
        ARCHITECTURE, *(string(BAD + b"%d" % index, b"\xff" * 256) for index in range(MANY))
    ),
    "numbers": file(
        ARCHITECTURE,
        *(pair(b"%d" % index, ARRAY, array(UINT64, 32, b"\xff" * 256)) for index in range(MANY)),
    ),
    "strings": file(
        pair(b"k", ARRAY, array(STRING, 2**12, text(b"abcdefg") * 2**12)), ARCHITECTURE
    ),
    "tensors": file(ARCHITECTURE, BLOCKS, TOKENS, tensors=[tensor(b"a", *4 * [2**64 - 1])] * 2**14),
    "a long list": file(
        pair(b"k", ARRAY, array(STRING, 2**20, text(b"abcdefg") * 2**20)), ARCHITECTURE
    ),
    "a long template": file(string(b"tokenizer.chat_template", b"\xff" * 2**20), ARCHITECTURE),
}


@pytest.mark.parametrize(
    ("read", "calls", "memory"), [(gguf.read, 2**14, 2**22), (gguf.read_whole, 2**21, 2**25)]
)
@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_no_header_takes_long(content: bytes, read: Reads, calls: int, memory: int) -> None:
    """In calls of functions, which take some 0.1 µs each, and in bytes held."""
    made = count_calls(lambda: accept_or_refuse(read, Watched(content), len(content)))
    assert made < calls
    watched = Watched(content)
    tracemalloc.start()
    accept_or_refuse(read, watched, len(content))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < memory


def far_to_the_next(piece: bytes) -> bytes:
    """`piece` and the length of a string that reaches to the next one."""
    return piece + struct.pack("<Q", FAR - len(piece) - 8)


@pytest.mark.parametrize(("read", "size"), [(gguf.read, 2**22), (gguf.read_whole, 2**26)])
@pytest.mark.parametrize(
    "pieces",
    [
        [
            far_to_the_next(file(pair(b"k", ARRAY, array(STRING, 2**12)), count=2)),
            *[far_to_the_next(b"")] * 200,
        ],
        [
            far_to_the_next((file(count=MANY) if not index else b"") + entry)
            for index in range(200)
            for entry in [text(b"%03d" % index) + struct.pack("<I", STRING)]
        ],
    ],
    ids=["strings", "entries"],
)
def test_what_lies_far_apart_is_not_read_for_long(
    pieces: list[bytes], read: Reads, size: int
) -> None:
    sparse = Sparse(pieces, FAR)
    with pytest.raises(ModelLoadFailed, match="too long"):
        read(sparse, 2**62)
    assert sparse.num_bytes == size
    assert sparse.num_reads == 2**6
    assert sparse.num_seeks <= 2**6 + 1


def accept_or_refuse(read: Reads, watched: Watched, size: int) -> None:
    try:
        read(watched, size)
    except ModelLoadFailed:
        return


def count_calls(function: Callable[[], None]) -> int:
    """Calls of functions, C's too, while `function` runs."""
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(before)
    return calls
