"""GGUF headers written by hand, real ones cut short, and files that count what is read of them."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gguf

STRING, ARRAY, UINT32, INT32, UINT64, BOOL = 8, 9, 4, 5, 10, 7
START = b"GGUF" + struct.pack("<I", 3)
_SHORT = 3  # elements that are left of a list


def text(value: bytes, order: str = "<") -> bytes:
    return struct.pack(f"{order}Q", len(value)) + value


def pair(key: bytes, kind: int, value: bytes, order: str = "<") -> bytes:
    return text(key, order) + struct.pack(f"{order}I", kind) + value


def string(key: bytes, value: bytes) -> bytes:
    return pair(key, STRING, text(value))


def number(key: bytes, value: int, order: str = "<") -> bytes:
    return pair(key, UINT32, struct.pack(f"{order}I", value), order)


def array(kind: int, length: int, content: bytes = b"") -> bytes:
    return struct.pack("<IQ", kind, length) + content


def strings(*values: bytes) -> bytes:
    return array(STRING, len(values), b"".join(map(text, values)))


def tensor(name: bytes, *dimensions: int) -> bytes:
    layout = f"<I{len(dimensions)}QIQ"
    return text(name) + struct.pack(layout, len(dimensions), *dimensions, 0, 0)


ARCHITECTURE = string(b"general.architecture", b"llama")
BLOCKS = number(b"llama.block_count", 7)
TOKENS = pair(b"tokenizer.ggml.tokens", ARRAY, strings(b"a", b"b", b"c"))


def file(*pairs: bytes, count: int | None = None, tensors: Sequence[bytes] = ()) -> bytes:
    counts = struct.pack("<QQ", len(tensors), len(pairs) if count is None else count)
    return START + counts + b"".join(pairs) + b"".join(tensors)


def cut_short(path: Path) -> tuple[list[bytes], list[bytes]]:
    """Of the model at `path`: the entries, with lists cut short, and the first of the tensors."""
    reader = gguf.GGUFReader(path)
    fields = [field for name, field in reader.fields.items() if not name.startswith("GGUF.")]
    tensors = [_joined(found.field.parts) for found in reader.tensors[:_SHORT]]
    return [_cut_short(field) for field in fields], tensors


def _cut_short(field: Any) -> bytes:
    if field.types[0] != ARRAY:
        return _joined(field.parts)
    # Its parts: length of the key, key, type, type of the elements, their number, the elements.
    kept = len(field.data[:_SHORT])
    parts_each = 2 if field.types[-1] == STRING else 1
    elements = _joined(field.parts[5 : 5 + parts_each * kept])
    return _joined(field.parts[:4]) + struct.pack("<Q", kept) + elements


def _joined(parts: Sequence[Any]) -> bytes:
    return b"".join(part.tobytes() for part in parts)


class Watched(io.BytesIO):
    """Counts what is read of it, and how often it is moved."""

    num_reads = 0
    num_bytes = 0
    num_seeks = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.num_reads += 1
        self.num_bytes += len(data)
        return data

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self.num_seeks += 1
        assert whence == 0, "the end of a file that is read by range costs a request"
        return super().seek(offset, whence)
