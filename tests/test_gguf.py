"""Any file gives a header or a sentence, in little time."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from gguf import GGUFReader, LlamaFileType
from hypothesis import example, given
from hypothesis import strategies as st

from localchat import gguf
from localchat.errors import ModelLoadFailed
from localchat.llama.model import Model
from tests.gguf_headers import (
    ARCHITECTURE,
    ARRAY,
    BLOCKS,
    BOOL,
    INT32,
    STRING,
    TOKENS,
    UINT32,
    UINT64,
    Watched,
    array,
    file,
    number,
    pair,
    string,
    strings,
    tensor,
    text,
)
from tests.tiny_models import ARCHITECTURES, CHATML, EMBEDDING, LAYERS

Tiny = Callable[..., Path]


def read(content: bytes) -> gguf.Header:
    return gguf.read(io.BytesIO(content), len(content))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_real_header_is_read(tiny: Tiny, architecture: str) -> None:
    header = gguf.read_file(tiny(architecture, context_length=512))
    assert header.architecture == architecture
    assert header.context_length == 512
    assert header.number("embedding_length") == EMBEDDING
    assert header.number("block_count") == LAYERS
    assert header.vocabulary_size > 256


def test_a_real_model_is_read_without_its_vocabulary(starter: Path) -> None:
    with starter.open("rb") as opened:
        watched = Watched(opened.read(2**20))
    header = gguf.read(watched, starter.stat().st_size)
    assert (header.vocabulary_size, header.context_length) == (49152, 8192)
    assert (watched.num_reads, watched.num_bytes, watched.num_seeks) == (1, 2**16, 1)


def test_a_real_model_is_read_whole(starter: Path) -> None:
    header = gguf.read_file(starter, whole=True)
    assert header.name.startswith("Smollm2 135M")
    assert header.licence == "apache-2.0"
    assert header.quantization == "Q4_1"
    assert header.parameters == 134_515_008
    assert header.num_parts == 1
    model = Model(str(starter))
    assert header.chat_template == model.chat_template
    model.close()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_tiny_model_is_read_whole(tiny: Tiny, architecture: str) -> None:
    path = tiny(architecture)
    header = gguf.read_file(path, whole=True)
    assert header.chat_template == CHATML
    assert header.quantization == "F32"
    expected = sum(int(found.n_elements) for found in GGUFReader(path).tensors)
    assert header.parameters == expected


def test_what_a_header_says_behind_the_vocabulary() -> None:
    content = file(
        ARCHITECTURE,
        BLOCKS,
        TOKENS,
        string(b"tokenizer.chat_template", "é{{ x }}".encode() * 2**12),
        string(b"general.name", b"Name"),
        string(b"general.license", b"mit"),
        number(b"general.file_type", 15),
        pair(b"split.count", 2, struct.pack("<H", 3)),
        tensors=[tensor(b"a", 5), tensor(b"b", 2, 3, 4)],
    )
    header = gguf.read_whole(io.BytesIO(content), len(content))
    assert header.chat_template == "é{{ x }}" * 2**12
    assert (header.name, header.licence, header.quantization) == ("Name", "mit", "Q4_K_M")
    assert (header.num_parts, header.parameters, header.vocabulary_size) == (3, 29, 3)
    header = read(content)
    assert (header.name, header.licence, header.quantization) == ("", "", None)
    assert (header.num_parts, header.parameters, header.chat_template) == (1, 0, None)


@pytest.mark.parametrize("kind", LlamaFileType)
def test_quantizations_have_the_names_that_llama_cpp_gives_them(kind: LlamaFileType) -> None:
    header = read(file(ARCHITECTURE, number(b"general.file_type", kind)))
    if kind == LlamaFileType.GUESSED:
        assert header.quantization is None
    else:
        assert header.quantization == kind.name.removeprefix("ALL_").removeprefix("MOSTLY_")


@pytest.mark.parametrize("kind", [-1, 4, 33, 42, 2**31 - 1])
def test_other_numbers_are_no_quantization(kind: int) -> None:
    header = read(file(ARCHITECTURE, pair(b"general.file_type", INT32, struct.pack("<i", kind))))
    assert header.quantization is None


def test_values_of_another_type_than_expected_are_none() -> None:
    keys = (b"general.name", b"general.license")
    entries = [number(key, 1) for key in keys]
    entries += [string(key, b"x") for key in (b"general.file_type", b"split.count")]
    entries.append(pair(b"llama.context_length", INT32, struct.pack("<i", -5)))
    entries.append(pair(b"llama.vocab_size", INT32, struct.pack("<i", -5)))
    header = read(file(ARCHITECTURE, *entries))
    assert (header.name, header.licence, header.quantization) == ("", "", None)
    assert (header.num_parts, header.context_length, header.vocabulary_size) == (1, 0, 0)


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
        (file(bytes(2**21), count=513), "claims 513 entries"),
        (file(ARCHITECTURE, ARCHITECTURE), "an entry twice"),
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
    assert sum(len(value) for value in kept.values() if isinstance(value, tuple)) == 2**14


def test_what_is_kept_of_many_strings_has_a_limit() -> None:
    pairs = [string(b"%03d" % index, bytes(1000)) for index in range(400)]
    kept = read(file(ARCHITECTURE, *pairs)).metadata
    assert 2**17 - 2000 < sum(len(f"{key}{value}") for key, value in kept.items()) < 2**17


def test_numbers_behind_a_long_list_are_read_from_local_files_only(tmp_path: Path) -> None:
    count = 2**12 + 1
    merges = pair(b"tokenizer.ggml.merges", ARRAY, array(STRING, count, text(b"a b") * count))
    content = file(merges, ARCHITECTURE, BLOCKS)
    with pytest.raises(ModelLoadFailed, match="a list of 4,097 strings"):
        read(content)
    (tmp_path / "model.gguf").write_bytes(content)
    for whole in (False, True):
        header = gguf.read_file(tmp_path / "model.gguf", whole=whole)
        assert header.number("block_count") == 7


@pytest.mark.parametrize("whole", [False, True])
def test_a_list_too_long_to_walk_through_is_refused(tmp_path: Path, whole: bool) -> None:
    count = 2**20 + 1
    content = file(pair(b"k", ARRAY, array(STRING, count, bytes(8 * count))), ARCHITECTURE)
    (tmp_path / "model.gguf").write_bytes(content)
    with pytest.raises(ModelLoadFailed, match="a list of 1,048,577 strings"):
        gguf.read_file(tmp_path / "model.gguf", whole=whole)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            file(string(b"tokenizer.chat_template", bytes(2**20 + 1)), ARCHITECTURE),
            "a chat template of 1,048,577 bytes",
        ),
        (file(ARCHITECTURE, tensors=[tensor(b"a", 1, 1, 1, 1, 1)]), "a tensor of 5 dimensions"),
        (file(ARCHITECTURE, tensors=[bytes(24)] * (2**14 + 1)), "claims 16,385 tensors"),
        (file(ARCHITECTURE, tensors=[bytes(8)]), "claims 1 tensors|ends within"),
        (file(ARCHITECTURE, tensors=[text(b"a" * 99)[:-1]]), "beyond the end"),
        (file(ARCHITECTURE, tensors=[tensor(b"a", 1)[:-1]]), "ends within"),
    ],
)
def test_what_can_not_be_read_whole_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(ModelLoadFailed, match=said):
        gguf.read_whole(io.BytesIO(content), len(content))


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


VALID = file(
    ARCHITECTURE, BLOCKS, pair(b"a", ARRAY, array(UINT32, 2, bytes(8))), TOKENS, number(b"b", 1)
)
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
