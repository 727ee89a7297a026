from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localchat.registry.files import chunks
from localchat.registry.files.chunks import Chunks, Hasher


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK", 4)


def of(data: bytes) -> Chunks:
    return chunks.hash_file(io.BytesIO(data)).chunks()


@given(st.lists(st.binary(max_size=9)))
def test_however_the_bytes_come_the_digests_are_those_of_the_file(pieces: list[bytes]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "CHUNK", 4)
        data, hasher = b"".join(pieces), Hasher()
        for piece in pieces:
            hasher.update(piece)
        assert hasher.sha256() == hashlib.sha256(data).hexdigest()
        expected = [hashlib.sha256(data[at : at + 4]).hexdigest() for at in range(0, len(data), 4)]
        assert hasher.chunks() == Chunks(len(data), tuple(expected))
        assert Chunks.parse(hasher.chunks().dump()) == hasher.chunks()


def test_damage_is_named_by_chunk() -> None:
    right = of(b"aaaabbbbccccd")
    assert right.damaged(of(b"aaaabbbXccccd")) == [1]
    assert right.damaged(of(b"aaaabb")) == [1, 2, 3]
    assert right.damaged(right) == []
    assert right.span(3) == (12, 13)


def test_they_are_kept_beside_the_file(tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    assert chunks.read(model) is None
    for content in (b"aaaabbbbc", b""):
        chunks.write(model, of(content))
        assert chunks.read(model) == of(content)
        assert [path.name for path in tmp_path.iterdir()] == ["model.chunks"]
    chunks.location(model).write_bytes(b"[]")
    assert chunks.read(model) is None


def test_the_digest_of_one_chunk() -> None:
    assert of(b"aaaabb").digests == (chunks.digest(b"aaaa"), chunks.digest(b"bb"))


def test_the_first_bytes_of_a_file() -> None:
    assert chunks.hash_file(io.BytesIO(b"aaaabbbb"), most=6).chunks() == of(b"aaaabb")


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"null", b'{"size": 5, "sha256": []}', b'{"size": 1, "sha256": [5]}', b"[" * 9999],
)
def test_what_is_no_list_of_chunks_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        Chunks.parse(data)
