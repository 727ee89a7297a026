"""Any file gives a header or a sentence, in little time."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from localchat import gguf
from localchat.errors import ModelLoadFailed
from tests.tiny_models import ARCHITECTURES, EMBEDDING, LAYERS

Tiny = Callable[..., Path]

STRING, ARRAY, UINT32, UINT64, BOOL = 8, 9, 4, 10, 7
START = b"GGUF" + struct.pack("<IQ", 3, 0)


def text(value: bytes, order: str = "<") -> bytes:
    return struct.pack(f"{order}Q", len(value)) + value


def pair(key: bytes, kind: int, value: bytes, order: str = "<") -> bytes:
    return text(key, order) + struct.pack(f"{order}I", kind) + value


def number(key: bytes, value: int, order: str = "<") -> bytes:
    return pair(key, UINT32, struct.pack(f"{order}I", value), order)


def array(kind: int, length: int, content: bytes = b"") -> bytes:
    return struct.pack("<IQ", kind, length) + content


def strings(*values: bytes) -> bytes:
    return array(STRING, len(values), b"".join(map(text, values)))


ARCHITECTURE = pair(b"general.architecture", STRING, text(b"llama"))
BLOCKS = number(b"llama.block_count", 7)
TOKENS = pair(b"tokenizer.ggml.tokens", ARRAY, strings(b"a", b"b", b"c"))


def file(*pairs: bytes, count: int | None = None) -> bytes:
    return START + struct.pack("<Q", len(pairs) if count is None else count) + b"".join(pairs)


def read(content: bytes) -> gguf.Header:
    return gguf.read(io.BytesIO(content), len(content))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_real_header_is_read(tiny: Tiny, architecture: str) -> None:
    header = gguf.read_file(tiny(architecture, context_length=512))
    assert header.architecture == architecture
    assert header.number("context_length") == 512
    assert header.number("embedding_length") == EMBEDDING
    assert header.number("block_count") == LAYERS
    assert header.vocabulary_size > 256


def test_a_real_model_is_read_without_its_vocabulary(starter: Path) -> None:
    class Counting(io.FileIO):
        taken = 0

        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size) or b""
            self.taken += len(data)
            return data

    with Counting(starter) as file:
        header = gguf.read(file, starter.stat().st_size)
        assert (header.vocabulary_size, header.number("context_length")) == (49152, 8192)
        assert file.taken < 10_000


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("order", "<>")
def test_both_versions_and_byte_orders(version: int, order: str) -> None:
    content = b"GGUF" + struct.pack(f"{order}IQQ", version, 0, 2)
    content += pair(b"general.architecture", STRING, text(b"llama", order), order)
    content += number(b"llama.block_count", 9, order)
    assert read(content).number("block_count") == 9


def test_a_value_per_layer() -> None:
    heads = pair(
        b"llama.attention.head_count_kv", ARRAY, array(UINT32, 3, struct.pack("<3I", 0, 8, 4))
    )
    header = read(file(ARCHITECTURE, heads))
    assert header.values("attention.head_count_kv") == (0, 8, 4)
    assert header.number("attention.head_count_kv") == 8
    assert header.values("attention.head_count") == ()
    assert header.number("attention.head_count", 5) == 5


@pytest.mark.parametrize(
    "pairs",
    [
        (ARCHITECTURE, BLOCKS, TOKENS),
        (TOKENS, ARCHITECTURE, BLOCKS),  # sorted in another way: what comes after still counts
        (ARCHITECTURE, TOKENS, BLOCKS),
        (ARCHITECTURE, pair(b"tokenizer.ggml.merges", ARRAY, strings(b"a b")), BLOCKS, TOKENS),
    ],
)
def test_the_order_of_keys_does_not_matter(pairs: tuple[bytes, ...]) -> None:
    header = read(file(*pairs))
    assert (header.vocabulary_size, header.number("block_count")) == (3, 7)


def test_without_a_vocabulary_the_declared_size_counts() -> None:
    assert read(file(ARCHITECTURE, number(b"llama.vocab_size", 12))).vocabulary_size == 12


def test_long_values_and_bytes_that_are_no_text_do_no_harm() -> None:
    header = read(
        file(
            pair(b"tokenizer.chat_template", STRING, text(b"x" * 10**6)),
            pair(b"\xff\xfe", STRING, text(b"\xff")),
            pair(b"scores", ARRAY, array(UINT32, 10**5, bytes(4 * 10**5))),
            ARCHITECTURE,
        )
    )
    assert set(header.metadata) == {"\ufffd\ufffd", "general.architecture"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a GGUF file"),
        (b"GGU", "not a GGUF file"),
        (b"PK\3\4" * 9, "not a GGUF file"),
        (b"GGUF", "ends within its header"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 1; versions 2 and 3"),
        (b"GGUF" + struct.pack("<IQQ", 4, 0, 0), "version 4"),
        (b"GGUF" + struct.pack("<IQQ", 0, 0, 0), "version 0"),
        (file(), "does not name an architecture"),
        (file(number(b"general.architecture", 1)), "does not name an architecture"),
        (file(count=2**62), "claims 4,611,686,018,427,387,904 entries"),
        (file(bytes(2**21), count=2**15), "claims 32,768 entries"),
        (file(ARCHITECTURE, count=2), "claims 2 entries|ends within"),
        (file(struct.pack("<Q", 2**62), bytes(99)), "a key of 4,611,686,018,427,387,904 bytes"),
        (file(pair(b"k", STRING, struct.pack("<Q", 2**62)), bytes(9)), "beyond the end"),
        (file(pair(b"k", 13, bytes(9))), "unknown type 13"),
        (file(pair(b"k", ARRAY, array(UINT64, 2**62))), "beyond the end"),
        (file(pair(b"k", ARRAY, array(STRING, 2**62))), "beyond the end"),
        (file(pair(b"k", ARRAY, array(ARRAY, 1, array(UINT32, 1, bytes(4))))), "unknown type 9"),
        (file(pair(b"tokenizer.ggml.tokens", ARRAY, array(STRING, 2**60))), "beyond the end"),
        (file(pair(b"k", ARRAY, array(STRING, 2, text(b"a") + bytes(7)))), "beyond|ends within"),
    ],
)
def test_what_is_no_header_is_refused_with_a_reason(content: bytes, said: str) -> None:
    with pytest.raises(ModelLoadFailed, match=said):
        read(content)


def test_what_is_kept_of_many_arrays_has_a_limit() -> None:
    pairs = [pair(b"a%d" % index, ARRAY, array(BOOL, 4096, bytes(4096))) for index in range(40)]
    kept = read(file(ARCHITECTURE, *pairs)).metadata
    assert sum(len(value) for value in kept.values() if isinstance(value, tuple)) == 2**17


def test_a_list_too_long_to_walk_through_is_refused() -> None:
    count = gguf._MOST_STRINGS + 1
    with pytest.raises(ModelLoadFailed, match="a list of 2,097,153 strings"):
        read(file(pair(b"k", ARRAY, array(STRING, count, bytes(8 * count)))))


def test_a_file_that_ends_before_its_size_is_refused() -> None:
    content = file(ARCHITECTURE, BLOCKS)
    with pytest.raises(ModelLoadFailed, match="ends within its header"):
        gguf.read(io.BytesIO(content[:-2]), len(content))


def test_the_start_of_a_file_is_enough(starter: Path) -> None:
    with starter.open("rb") as file:
        start = io.BytesIO(file.read(2**14))
    assert gguf.read(start, starter.stat().st_size).vocabulary_size == 49152


def test_the_sentence_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "text.gguf").write_text("This is not a model.")
    with pytest.raises(ModelLoadFailed, match=r"can't load .*text\.gguf: it is not a GGUF file\.$"):
        gguf.read_file(tmp_path / "text.gguf")
    with pytest.raises(ModelLoadFailed, match=r"none\.gguf: No such file or directory\.$"):
        gguf.read_file(tmp_path / "none.gguf")


def test_the_parts_of_a_split_model(tmp_path: Path) -> None:
    names = [f"m[1]-0000{part}-of-00003.gguf" for part in (1, 2, 3)]
    others = ["m[1]-00001-of-00002.gguf", "m1-00001-of-00003.gguf", "m.gguf"]
    for name in names + others:
        (tmp_path / name).touch()
    assert gguf.parts(tmp_path / names[0]) == [tmp_path / name for name in names]
    assert gguf.parts(tmp_path / "m.gguf") == [tmp_path / "m.gguf"]


VALID = file(ARCHITECTURE, BLOCKS, pair(b"a", ARRAY, array(UINT32, 2, bytes(8))), TOKENS, BLOCKS)
LENGTHS = st.sampled_from([0, 1, 2**16, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1])


@given(st.integers(0, len(VALID)), st.integers(0, len(VALID)), st.binary(max_size=64))
@example(4, 8, b"")
def test_random_damage_gives_a_header_or_a_typed_error(at: int, to: int, junk: bytes) -> None:
    accept_or_refuse(VALID[:at] + junk + VALID[to:])


@given(st.integers(0, len(VALID) - 8), LENGTHS)
def test_absurd_lengths_anywhere_give_a_header_or_a_typed_error(at: int, length: int) -> None:
    accept_or_refuse(VALID[:at] + struct.pack("<Q", length) + VALID[at + 8 :])


def accept_or_refuse(content: bytes) -> None:
    """Anything but ModelLoadFailed, MemoryError above all, fails the test."""
    try:
        header = read(content)
    except ModelLoadFailed:
        return
    assert isinstance(header.number("block_count"), int)
