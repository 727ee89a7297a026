"""Reads what a GGUF file says of its model, and never the vocabulary: no weights, no llama.cpp.

The file may be anybody's, so every length in it is checked against what is left of the file, and
what is walked through has a limit.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from localchat.errors import ModelLoadFailed

Scalar = bool | int | float | str
Value = Scalar | tuple[Scalar, ...]

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_STRING, _ARRAY = 8, 9
_FORMATS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_SMALLEST_PAIR = 8 + 4 + 1  # bytes: the length of an empty key, a type, a value

# Limits that no real header comes near; together they bound memory to some 50 MB.
_MOST_PAIRS = 2**14
_LONGEST_KEY = 2**10  # bytes
_LONGEST_STRING = 2**10  # bytes of a value that is kept; chat templates are not
_LONGEST_ARRAY = 2**12  # elements of a value that is kept; more than any model has layers
_MOST_ELEMENTS = 2**17  # kept in all arrays together
_MOST_STRINGS = 2**21  # in all arrays together that have to be walked through

_VOCABULARY = "tokenizer.ggml.tokens"
_PART = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf")


@dataclass(frozen=True, slots=True)
class Header:
    """The metadata of one file: scalars, short strings and short arrays, by key."""

    architecture: str
    metadata: Mapping[str, Value]
    vocabulary_size: int
    """Tokens; 0 if the file does not say."""

    def values(self, key: str) -> tuple[int, ...]:
        """The whole numbers under the architecture's own `key`: one, one per layer, or none."""
        found = self.metadata.get(f"{self.architecture}.{key}", ())
        numbers = found if isinstance(found, tuple) else (found,)
        return tuple(int(number) for number in numbers if isinstance(number, int))

    def number(self, key: str, default: int = 0) -> int:
        """The largest of `values`."""
        return max(self.values(key), default=default)


def read_file(path: str | Path) -> Header:
    """The header of the file at `path`. Raises ModelLoadFailed, also when it can't be read."""
    try:
        with Path(path).open("rb") as file:
            return read(file, Path(path).stat().st_size)
    except (OSError, ModelLoadFailed) as error:
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        raise ModelLoadFailed(
            f"localchat can't load {path}: {reason.removesuffix('.')}.",
            "Get the file again, or take another model: localchat models list",
        ) from error


def read(file: BinaryIO, size: int) -> Header:
    """The header that the seekable `file` begins with; `size` is of the whole file, in bytes.

    Reading stops at the vocabulary, which is large, where what comes before it suffices.
    Raises ModelLoadFailed for what is no GGUF file, for versions other than 2 and 3, and for a
    header that contradicts itself.
    """
    return _Reader(file, size).header()


def parts(path: Path) -> list[Path]:
    """The files of a model that is split into several, of which `path` is one; else `path`."""
    match = _PART.fullmatch(path.name)
    if match is None:
        return [path]
    stem, _, count = match.groups()
    return sorted(path.parent.glob(f"{_literally(stem)}-[0-9][0-9][0-9][0-9][0-9]-of-{count}.gguf"))


def _literally(text: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", text)


class _Reader:
    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        self._order = "<"
        self._strings_left = _MOST_STRINGS
        self._elements_left = _MOST_ELEMENTS

    def header(self) -> Header:
        self._file.seek(0)
        if self._size < len(_MAGIC) or self._bytes(len(_MAGIC)) != _MAGIC:
            raise ModelLoadFailed("it is not a GGUF file")
        version = self._number("I")
        if version and not version & 0xFFFF:
            self._order = ">"
            version = int.from_bytes(version.to_bytes(4, "little"), "big")
        if version not in _VERSIONS:
            raise ModelLoadFailed(f"it is GGUF of version {version}; versions 2 and 3 can be read")
        self._number("Q")  # tensors
        count = self._number("Q")
        if count > min(_MOST_PAIRS, self._left // _SMALLEST_PAIR):
            raise ModelLoadFailed(f"its header claims {count:,} entries")
        metadata: dict[str, Value] = {}
        vocabulary_size = 0
        for _ in range(count):
            key, kind = self._key(), self._number("I")
            if key == _VOCABULARY and kind == _ARRAY:
                element, vocabulary_size = self._array_type()
                if _suffices(metadata):
                    break
                self._skip_array(element, vocabulary_size)
            elif (value := self._value(kind)) is not None:
                metadata[key] = value
        architecture = metadata.get("general.architecture")
        if not isinstance(architecture, str):
            raise ModelLoadFailed("its header does not name an architecture")
        declared = metadata.get(f"{architecture}.vocab_size")
        if not vocabulary_size and isinstance(declared, int):
            vocabulary_size = declared
        return Header(architecture, metadata, vocabulary_size)

    @property
    def _left(self) -> int:
        return self._size - self._file.tell()

    def _key(self) -> str:
        length = self._number("Q")
        if length > _LONGEST_KEY:
            raise ModelLoadFailed(f"its header has a key of {length:,} bytes")
        return self._bytes(length).decode("utf-8", "replace")

    def _value(self, kind: int) -> Value | None:
        """The value at this place; None if it is too long to be kept, and then it is skipped."""
        if kind == _STRING:
            length = self._length(1)
            if length > _LONGEST_STRING:
                self._skip(length)
                return None
            return self._bytes(length).decode("utf-8", "replace")
        if kind == _ARRAY:
            element, length = self._array_type()
            if element == _STRING or length > min(_LONGEST_ARRAY, self._elements_left):
                self._skip_array(element, length)
                return None
            self._elements_left -= length
            return self._unpack(_format(element), length)
        return self._unpack(_format(kind), 1)[0]

    def _array_type(self) -> tuple[int, int]:
        """The type and number of an array's elements."""
        kind = self._number("I")
        width = 8 if kind == _STRING else struct.calcsize(_format(kind))
        return kind, self._length(width)

    def _skip_array(self, kind: int, length: int) -> None:
        if kind != _STRING:
            self._skip(length * struct.calcsize(_format(kind)))
            return
        self._strings_left -= length
        if self._strings_left < 0:
            raise ModelLoadFailed(f"its header has a list of {length:,} strings")
        for _ in range(length):
            self._skip(self._length(1))

    def _length(self, width: int) -> int:
        """A length, of elements at least `width` bytes wide, that the rest of the file can hold."""
        length = self._number("Q")
        if length * width > self._left:
            raise ModelLoadFailed(f"its header claims {length:,} values beyond the end of the file")
        return length

    def _number(self, form: str) -> int:
        return int(self._unpack(form, 1)[0])

    def _unpack(self, form: str, count: int) -> tuple[Scalar, ...]:
        layout = f"{self._order}{count}{form}"
        return struct.unpack(layout, self._bytes(struct.calcsize(layout)))

    def _bytes(self, count: int) -> bytes:
        data = self._file.read(count) if count <= self._left else b""
        if len(data) < count:
            raise ModelLoadFailed("it ends within its header")
        return data

    def _skip(self, count: int) -> None:
        self._file.seek(count, 1)


def _format(kind: int) -> str:
    """`struct`'s letter for a GGUF type; arrays of arrays are not a thing llama.cpp reads."""
    if kind not in _FORMATS:
        raise ModelLoadFailed(f"its header has a value of the unknown type {kind}")
    return _FORMATS[kind]


def _suffices(metadata: Mapping[str, Value]) -> bool:
    """Whether the model's own numbers came already: they stand together, whatever their order."""
    return f"{metadata.get('general.architecture')}.block_count" in metadata
