"""A hundred thousand damaged headers, always the same ones: each gives a header or a sentence."""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from localchat import gguf
from localchat.errors import ModelLoadFailed
from tests.gguf_headers import START, Watched, cut_short, file

ARCHITECTURES = ("llama", "gemma3", "falcon", "jamba", "bert")

EDGES = [255, 2**16, 2**21, 2**24, 2**28, 2**31 - 1, 2**32 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1]
COUNTS = len(START)  # where the numbers of tensors and entries stand
PARTS = 4  # so that several processes can share the work
KEPT = 9  # entries of a header, beside the architecture: more would make the test slow
Pieces = tuple[list[bytes], list[bytes]]
"""Entries and tensors."""


@pytest.mark.parametrize("count", [25_000, pytest.param(250_000, marks=pytest.mark.long)])
@pytest.mark.parametrize("part", range(PARTS))
def test_damaged_headers_give_a_header_or_a_typed_error(
    tiny: Callable[..., Path], part: int, count: int
) -> None:
    headers = [cut_short(tiny(architecture)) for architecture in ARCHITECTURES]
    random = Random(count * PARTS + part)
    reasons = Counter[str]()
    for _ in range(count):
        content = damage(headers, random)
        # Half of the files say that they are longer than they are, as if their end were missing.
        size = len(content) + random.choice((0, 2**32))
        for read in (gguf.read, gguf.read_whole):
            watched = Watched(content)
            try:
                reason = outcome(read(watched, size))
            except ModelLoadFailed as error:
                reason = re.sub(r"[\d,]+", "N", str(error))
            except BaseException as error:
                error.add_note(f"{read.__name__} of {size} bytes: {content.hex()}")
                raise
            reasons[reason] += 1
            assert watched.num_reads <= 2
    assert set(reasons) >= EXPECTED
    assert all(reasons[reason] >= count / 4000 for reason in EXPECTED), reasons


EXPECTED = {
    "read",
    "read, with a template",
    "it is not a GGUF file",
    "it is GGUF of version N; versions N and N can be read",
    "it ends within its header",
    "its header claims N tensors",
    "its header claims N entries",
    "its header claims N values beyond the end of the file",
    "its header does not name an architecture",
    "its header has a key of N bytes",
    "its header has a list of N strings",
    "its header has a string that goes beyond the file's end",
    "its header has a value of the unknown type N",
    "its header has an entry twice",
    "it has a chat template of N bytes",
    "it has a tensor of N dimensions",
}
"""Each of them comes often, so every part of the reader was reached."""


def outcome(header: gguf.Header) -> str:
    """Asks the header for everything that it has a name for."""
    assert isinstance(header.name + header.licence + (header.quantization or ""), str)
    numbers = (header.context_length, header.num_parts, header.vocabulary_size, header.parameters)
    assert min(numbers) >= 0
    assert isinstance(header.number("block_count"), int)
    return "read" if header.chat_template is None else "read, with a template"


def damage(headers: list[Pieces], random: Random) -> bytes:
    """Some of a header with one to three things wrong, among its pieces and in its bytes."""
    (all_entries, all_tensors), other = random.choice(headers), random.choice(headers)
    kept = sorted(random.sample(range(1, len(all_entries)), KEPT))
    entries = [all_entries[0], *(all_entries[index] for index in kept)]
    tensors = list(all_tensors)
    depth = random.choice((1, 1, 2, 3))
    for change in random.choices(PIECEWISE, k=random.randint(0, depth)):
        change(random.choice((entries, entries, tensors)), random.choice(other), random)
        depth -= 1
    content = bytearray(file(*entries, tensors=tensors))
    for change_bytes in random.choices(BYTEWISE, k=depth):
        change_bytes(content, random)
    return bytes(content)


Piecewise = Callable[[list[bytes], list[bytes], Random], None]
"""Changes entries or tensors; the second list is another model's."""
Bytewise = Callable[[bytearray, Random], None]


def repeat(pieces: list[bytes], _: list[bytes], random: Random) -> None:
    pieces.insert(random.randint(0, len(pieces)), random.choice(pieces))


def lose(pieces: list[bytes], _: list[bytes], random: Random) -> None:
    if len(pieces) > 1:
        del pieces[random.randrange(len(pieces))]


def splice(pieces: list[bytes], other: list[bytes], random: Random) -> None:
    pieces[random.randrange(len(pieces)) :] = other[random.randrange(len(other)) :]


def move(pieces: list[bytes], _: list[bytes], random: Random) -> None:
    pieces.insert(random.randint(0, len(pieces) - 1), pieces.pop(random.randrange(len(pieces))))


def lengthen_key(pieces: list[bytes], _: list[bytes], random: Random) -> None:
    _overwrite(pieces, random, lambda piece: 0, struct.pack("<Q", _edge(random)))


def change_type(pieces: list[bytes], _: list[bytes], random: Random) -> None:
    """Of an entry; of a tensor, how many dimensions it has."""
    _overwrite(pieces, random, _after_key, struct.pack("<I", random.randrange(15)))


def lengthen_value(pieces: list[bytes], _: list[bytes], random: Random) -> None:
    """Of a string, or of a list, whose length stands behind the type of its elements."""
    behind = random.choice((4, 8))
    length = struct.pack("<Q", _edge(random))
    _overwrite(pieces, random, lambda piece: _after_key(piece) + behind, length)


def _overwrite(
    pieces: list[bytes], random: Random, place: Callable[[bytes], int], new: bytes
) -> None:
    index = random.randrange(len(pieces))
    piece = pieces[index]
    at = place(piece)
    pieces[index] = piece[:at] + new + piece[at + len(new) :]


def _after_key(piece: bytes) -> int:
    length: int = struct.unpack_from("<Q", piece)[0]
    return 8 + min(length, len(piece))


def flip(content: bytearray, random: Random) -> None:
    content[random.randrange(len(content))] ^= 1 << random.randrange(8)


def cut(content: bytearray, random: Random) -> None:
    del content[random.randrange(len(content)) + 1 :]


def lose_bytes(content: bytearray, random: Random) -> None:
    at = random.randrange(len(content)) + 1  # something is always left
    del content[at : at + random.randint(1, 16)]


def insert_bytes(content: bytearray, random: Random) -> None:
    at = random.randrange(len(content))
    content[at:at] = random.randbytes(random.randint(1, 16))


def overwrite_number(content: bytearray, random: Random) -> None:
    width = random.choice((4, 8))
    at = random.randrange(len(content))
    content[at : at + width] = struct.pack("<Q", _edge(random))[:width]


def change_counts(content: bytearray, random: Random) -> None:
    at = COUNTS + random.choice((0, 8))
    content[at : at + 8] = struct.pack("<Q", random.choice((_edge(random), random.randrange(32))))


def change_version(content: bytearray, random: Random) -> None:
    """Also to one whose numbers are read in the other byte order."""
    content[4:8] = struct.pack("<I", random.choice((0, 1, 2, 4, 2**32 - 1, 3 << 24)))


PIECEWISE: list[Piecewise] = [
    repeat,
    lose,
    splice,
    move,
    lengthen_key,
    change_type,
    lengthen_value,
]
BYTEWISE: list[Bytewise] = [
    flip,
    cut,
    lose_bytes,
    insert_bytes,
    overwrite_number,
    change_counts,
    change_version,
]


def _edge(random: Random) -> int:
    return random.choice(EDGES) if random.random() < 0.7 else random.randrange(64)
