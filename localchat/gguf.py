"""Reads what a GGUF file says of its model, without its weights and without llama.cpp.

The file may be anybody's, so all that is read, kept or walked through has a limit.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from localchat.errors import ModelLoadFailed
from localchat.gguf_cursor import ARRAY, STRING, Budget, Cursor, Scalar, width

Value = Scalar | tuple[Scalar, ...]

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_SMALLEST_PAIR = 8 + 4 + 1  # bytes: the length of an empty key, a type, a value
_SMALLEST_TENSOR = 8 + 4 + 4 + 8  # bytes: an empty name, no dimensions, a type, a place

# Limits that no real header comes near. Those of what is kept bound memory to a few MB.
_MOST_PAIRS = 2**9
_MOST_TENSORS = 2**14
_MOST_DIMENSIONS = 4
_LONGEST_KEY = 2**8  # bytes
_LONGEST_STRING = 2**10  # bytes of a value that is kept
_LONGEST_TEMPLATE = 2**20  # bytes
_LONGEST_ARRAY = 2**12  # elements of a value that is kept; more than any model has layers
_MOST_TEXT = 2**17  # bytes of all keys and kept strings together
_MOST_ELEMENTS = 2**14  # kept in all arrays together

# Before its numbers a file may have a short list or two. There are vocabularies of 262,144 tokens
# with half a million merges, 13 MB of them: to walk through those takes 0.15 s.
_NUMBERS = Budget(strings=2**12, size=2**22, block=2**16)
_NUMBERS_OF_A_LOCAL_FILE = Budget(strings=2**20, size=2**26, block=2**16)
_WHOLE = Budget(strings=2**20, size=2**26, block=2**20)

_VOCABULARY = "tokenizer.ggml.tokens"
_TEMPLATE = "tokenizer.chat_template"
_PART = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf")

# In the order of `general.file_type`; "-" was given up by llama.cpp.
_QUANTIZATIONS = (
    "F32 F16 Q4_0 Q4_1 - - - Q8_0 Q5_0 Q5_1 Q2_K Q3_K_S Q3_K_M Q3_K_L Q4_K_S Q4_K_M Q5_K_S Q5_K_M"
    " Q6_K IQ2_XXS IQ2_XS Q2_K_S IQ3_XS IQ3_XXS IQ1_S IQ4_NL IQ3_S IQ3_M IQ2_S IQ2_M IQ4_XS IQ1_M"
    " BF16 - - - TQ1_0 TQ2_0 MXFP4_MOE NVFP4 Q1_0 Q2_0"
)


@dataclass(frozen=True, slots=True)
class Header:
    """The metadata of one file: scalars, short strings and short arrays, by key."""

    architecture: str
    metadata: Mapping[str, Value]
    vocabulary_size: int
    """Tokens; 0 if the file does not say."""
    chat_template: str | None = None
    """The Jinja template in the file; None if it has none, or if the header was not read whole."""
    parameters: int = 0
    """Weights in this file; 0 if the header was not read whole."""

    def values(self, key: str) -> tuple[int, ...]:
        """The whole numbers under the architecture's own `key`: one, one per layer, or none."""
        found = self.metadata.get(f"{self.architecture}.{key}", ())
        numbers = found if isinstance(found, tuple) else (found,)
        return tuple(int(number) for number in numbers if isinstance(number, int))

    def number(self, key: str, default: int = 0) -> int:
        """The largest of `values`."""
        return max(self.values(key), default=default)

    @property
    def name(self) -> str:
        """What the makers call the model; empty if the file does not say."""
        return self._text("general.name")

    @property
    def licence(self) -> str:
        """SPDX identifier in most files; empty if the file does not say."""
        return self._text("general.license")

    @property
    def quantization(self) -> str | None:
        """How most of the weights are packed, as llama.cpp writes it; None if it is not known.

        Files made by llama.cpp's own quantizer say it behind the vocabulary.
        """
        number, names = self.metadata.get("general.file_type"), _QUANTIZATIONS.split()
        if not isinstance(number, int) or not 0 <= number < len(names) or names[number] == "-":
            return None
        return names[number]

    @property
    def context_length(self) -> int:
        """Tokens that the model was trained to see at once; 0 if the file does not say."""
        return max(0, self.number("context_length"))

    @property
    def num_parts(self) -> int:
        """Files that the model is split into."""
        number = self.metadata.get("split.count")
        return max(1, number) if isinstance(number, int) else 1

    def _text(self, key: str) -> str:
        value = self.metadata.get(key)
        return value if isinstance(value, str) else ""


def read_file(path: str | Path, *, whole: bool = False) -> Header:
    """The header of the file at `path`; see `read` and, for `whole`, `read_whole`.

    Numbers that stand behind a long vocabulary are found too, which takes longer than `read` may.
    Raises ModelLoadFailed, also when the file can't be read.
    """
    try:
        with Path(path).open("rb", buffering=0) as file:
            budget = _WHOLE if whole else _NUMBERS_OF_A_LOCAL_FILE
            return _Reader(file, Path(path).stat().st_size, budget).header(whole=whole)
    except (OSError, ModelLoadFailed) as error:
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        raise ModelLoadFailed(
            f"localchat can't load {path}: {reason.removesuffix('.')}.",
            "Get the file again, or take another model: localchat models list",
        ) from error


def read(file: BinaryIO, size: int) -> Header:
    """The header that the seekable `file` begins with; `size` is of the whole file, in bytes.

    Reading stops at the vocabulary, which is large, where what comes before it suffices: the first
    64 KiB in most files, 4 MiB and some 10 ms in any. Raises ModelLoadFailed for what is no GGUF
    file, for versions other than 2 and 3, for a header that contradicts itself, and for one whose
    numbers stand behind a long list.
    """
    return _Reader(file, size, _NUMBERS).header(whole=False)


def read_whole(file: BinaryIO, size: int) -> Header:
    """Like `read`, but all of it: what stands behind the vocabulary, chat template and tensors.

    64 MiB are read at most, 20 MB of a large vocabulary, and it takes up to 0.3 s.
    """
    return _Reader(file, size, _WHOLE).header(whole=True)


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
    def __init__(self, file: BinaryIO, size: int, budget: Budget) -> None:
        self._size = size
        self._cursor = Cursor(file, size, budget)
        self._elements_left = _MOST_ELEMENTS
        self._text_left = _MOST_TEXT

    def header(self, *, whole: bool) -> Header:
        cursor = self._cursor
        self._check_version()
        num_tensors, num_pairs = cursor.number("Q"), cursor.number("Q")
        if num_tensors > min(_MOST_TENSORS, cursor.left // _SMALLEST_TENSOR):
            raise ModelLoadFailed(f"its header claims {num_tensors:,} tensors")
        if num_pairs > min(_MOST_PAIRS, cursor.left // _SMALLEST_PAIR):
            raise ModelLoadFailed(f"its header claims {num_pairs:,} entries")
        metadata: dict[str, Value] = {}
        template = None
        vocabulary_size = 0
        keys = set[str]()
        for _ in range(num_pairs):
            key, kind = self._key(), cursor.number("I")
            if key in keys:
                raise ModelLoadFailed("its header has an entry twice")
            keys.add(key)
            if key == _VOCABULARY and kind == ARRAY:
                element, vocabulary_size = self._array_type()
                if not whole and _suffices(metadata):
                    break
                self._skip_array(element, vocabulary_size)
            elif key == _TEMPLATE and kind == STRING:
                template = self._template(keep=whole)
            elif (value := self._value(kind)) is not None:
                metadata[key] = value
        architecture = metadata.get("general.architecture")
        if not isinstance(architecture, str):
            raise ModelLoadFailed("its header does not name an architecture")
        declared = metadata.get(f"{architecture}.vocab_size")
        if not vocabulary_size and isinstance(declared, int):
            vocabulary_size = max(0, declared)
        num_weights = self._count_weights(num_tensors) if whole else 0
        return Header(architecture, metadata, vocabulary_size, template, num_weights)

    def _check_version(self) -> None:
        cursor = self._cursor
        if self._size < len(_MAGIC) or cursor.take(len(_MAGIC)) != _MAGIC:
            raise ModelLoadFailed("it is not a GGUF file")
        version = cursor.number("I")
        if version and not version & 0xFFFF:
            cursor.use_order(">")
            version = int.from_bytes(version.to_bytes(4, "little"), "big")
        if version not in _VERSIONS:
            raise ModelLoadFailed(f"it is GGUF of version {version}; versions 2 and 3 can be read")

    def _key(self) -> str:
        length = self._cursor.number("Q")
        if length > _LONGEST_KEY:
            raise ModelLoadFailed(f"its header has a key of {length:,} bytes")
        self._text_left -= length
        return self._cursor.take(length).decode("utf-8", "replace")

    def _value(self, kind: int) -> Value | None:
        """The value at this place; None if it is too long to be kept, and then it is skipped."""
        cursor = self._cursor
        if kind == STRING:
            length = cursor.length(1)
            if length > min(_LONGEST_STRING, self._text_left):
                cursor.skip(length)
                return None
            self._text_left -= length
            return cursor.take(length).decode("utf-8", "replace")
        if kind == ARRAY:
            element, length = self._array_type()
            if element == STRING or length > min(_LONGEST_ARRAY, self._elements_left):
                self._skip_array(element, length)
                return None
            self._elements_left -= length
            return cursor.values(element, length)
        return cursor.values(kind, 1)[0]

    def _template(self, *, keep: bool) -> str | None:
        length = self._cursor.length(1)
        if length > _LONGEST_TEMPLATE:
            raise ModelLoadFailed(f"it has a chat template of {length:,} bytes")
        if not keep:
            self._cursor.skip(length)
            return None
        return self._cursor.take(length).decode("utf-8", "replace")

    def _array_type(self) -> tuple[int, int]:
        """The type and number of an array's elements."""
        kind = self._cursor.number("I")
        return kind, self._cursor.length(8 if kind == STRING else width(kind))

    def _skip_array(self, kind: int, length: int) -> None:
        if kind == STRING:
            self._cursor.skip_strings(length)
        else:
            self._cursor.skip(length * width(kind))

    def _count_weights(self, num_tensors: int) -> int:
        """The elements of all tensors, whose descriptions begin at this place."""
        cursor = self._cursor
        total = 0
        for _ in range(num_tensors):
            cursor.skip(cursor.length(1))  # its name
            num_dimensions = cursor.number("I")
            if num_dimensions > _MOST_DIMENSIONS:
                raise ModelLoadFailed(f"it has a tensor of {num_dimensions:,} dimensions")
            total += math.prod(cursor.number("Q") for _ in range(num_dimensions))
            cursor.skip(4 + 8)  # type and place
        return total


def _suffices(metadata: Mapping[str, Value]) -> bool:
    """Whether the model's own numbers came already: they stand together, whatever their order."""
    return f"{metadata.get('general.architecture')}.block_count" in metadata
