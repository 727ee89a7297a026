"""Random texts of a grammar, drawn byte by byte, as a model without any sense would."""

from __future__ import annotations

import functools
import random
from typing import Any, cast

from localchat.llama.matcher import Matcher
from localchat.llama.vocabulary import Vocabulary

END = 256


class Bytes:
    """A vocabulary of the 256 bytes and one end token."""

    size = 257

    def piece(self, token: int) -> bytes:
        return bytes([token]) if token != END else b""

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        return list(text.encode())

    def text(self, token: int) -> str:
        return "<end>"

    def is_end(self, token: int) -> bool:
        return token == END


@functools.cache
def vocabulary() -> Vocabulary:
    return cast(Vocabulary, cast(Any, Bytes()))


def matches(grammar: str, text: str) -> bool:
    """Whether the whole text is one of the grammar's."""
    matcher = Matcher(grammar, vocabulary())
    return all(matcher.accept(byte) for byte in text.encode()) and matcher.accept(END)


def walk(grammar: str, seed: int, longest: int = 400) -> str | None:
    """A text of the grammar; None if it was not complete after `longest` bytes."""
    matcher, chance, text = Matcher(grammar, vocabulary()), random.Random(seed), bytearray()
    eager = chance.random()
    for _ in range(longest):
        mask = matcher.allowed()
        tokens = [token for token in range(END + 1) if mask[token]]
        closing = [token for token in tokens if token == END or token in b'"]}']
        token = chance.choice(closing if closing and chance.random() < eager else tokens)
        assert matcher.accept(token)
        if token == END:
            return text.decode()
        text.append(token)
    return None
