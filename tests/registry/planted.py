"""What the tests of the care of installed models share: models that are there, and their damage."""

from __future__ import annotations

import functools
import random
from hashlib import sha256
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from localchat.paths import Paths, make_private
from localchat.registry import installed
from localchat.registry.files import blobs, chunks
from localchat.registry.installed import Record
from tests import tiny_models

CHUNK = 1_000
"""Bytes of a chunk, where a test says so: real ones are 64 MiB."""
SIZE = 10 * CHUNK + 500
REPO = "owner/model-GGUF"
FILE = "model.Q4_K_M.gguf"


def content(seed: int = 4, size: int = SIZE) -> bytes:
    return b"GGUF" + random.Random(seed).randbytes(size - 4)


def put(places: Paths, *files: bytes, projector: bytes | None = None, **fields: Any) -> Record:
    """A model of these files, installed as `pull` does it; no model.json nor header is needed."""
    make_private(places.models)
    digests = [_put(places, each) for each in (*files, *([projector] if projector else []))]
    parts = tuple(blobs.part(digest, places) for digest in digests)
    count = len(files)
    record = Record(
        **{"name": "model", "keys": ("model",), "origin": "import", "quantization": "Q4_0"}
        | fields,
        parts=parts[:count],
        projector=parts[count] if projector else None,
    )
    blobs.lay_out(record.parts, places)
    installed.record(record, places)
    return record


def _put(places: Paths, data: bytes) -> str:
    digest = sha256(data).hexdigest()
    path = installed.location(digest, places)
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    path.chmod(0o444)
    hasher = chunks.Hasher()
    hasher.update(data)
    chunks.write(path, hasher.chunks())
    return digest


def files_of(record: Record, places: Paths) -> list[Path]:
    return [installed.location(part.sha256, places) for part in record.all_parts]


def flip(path: Path, *places_in_it: int) -> None:
    """Flips every bit of some bytes, as a disk would: the file keeps its inode and mode."""
    data = bytearray(path.read_bytes())
    for at in places_in_it:
        data[at] ^= 0xFF
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(0o444)


def on_hub(path: str = FILE, revision: str = "main") -> dict[str, Any]:
    """A source as the lock file has it."""
    return {"type": "hub", "repo": REPO, "file": path, "revision": revision}


def write_split(folder: Path, stem: str = "tiny", **options: Any) -> list[Path]:
    """A tiny model that is split into several files, as llama.cpp's own tool names them."""
    folder.mkdir(parents=True, exist_ok=True)
    writer = functools.partial(gguf.GGUFWriter, split_max_tensors=8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.tiny_models.gguf.GGUFWriter", writer)
        tiny_models.write_tiny_model(folder / f"{stem}.gguf", "llama", **options)
    return sorted(folder.glob(f"{stem}-*.gguf"))


def write_projector(path: Path) -> Path:
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_tensor("v.patch_embd.weight", np.zeros((4, 4), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def spoil(path: Path) -> Path:
    """Makes one weight of a model no number: its header is as before."""
    tensor = gguf.GGUFReader(path).tensors[-1]
    with path.open("r+b") as file:
        file.seek(int(tensor.data_offset))
        file.write(np.float32(np.nan).tobytes())
    return path


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK", CHUNK)
